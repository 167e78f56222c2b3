"""E6: where deals, money and time are lost — which single stage to fix first.

The cohort is the deals created (or entered) within the period and at least `mature_d` days old, followed until
`as_of`. For stage i: c_i step conversion, tail_i the way from the next stage to a win, V the mean won amount.
leak_i = lost_i · tail_i · V is the won money that losses at i destroyed; delay_i the price of the days spent on i.

A +10 % *relative* lift is worth the same at every stage, so relative lifts cannot rank stages; absolute points can.

Source: the metric catalogue, E6, with E2 (reached), E3 (flow), E5 (Kaplan–Meier stays).
"""

from datetime import date, timedelta
from typing import Any, Literal

import narwhals.stable.v2 as nw
import polars as pl
from pydantic import Field

from metrics import funnel
from metrics.funnel import DAY_S, MEMBER, PIPELINE, STAGE, start_of
from metrics.metric import Frames, Metric, MetricResult, Notice, Params, Period, Text, drilldown_rows
from metrics.people import of_population
from metrics.rates import MIN_N, low_n, wilson

Lazy = nw.LazyFrame[Any]

MONTH_D = 365.25 / 12


class BottleneckParams(Params):
    """Which deals are looked at and what a lost day costs."""

    pipeline_id: str | None = None
    """One pipeline; None: all, each ranked apart."""
    anchor: funnel.Anchor = "created"
    """What makes a deal one of the period: its creation, or its first entry into the pipeline (a later transfer)."""
    mature_d: int = Field(default=60, ge=0)
    """Younger deals have had no time to be won or lost: they are left out of the cohort."""
    min_cohort: int = Field(default=30, ge=0)
    """A pipeline whose cohort is smaller is judged by the flow of the last `flow_d` days, if that holds more deals."""
    flow_d: int = Field(default=90, ge=1)
    min_n: int = Field(default=MIN_N, ge=0)
    """A stage that fewer deals reached is shown but not ranked."""
    cost_of_delay: float = Field(default=0.0005, ge=0)
    """Share of a deal's expected money that a day on a stage costs."""
    leak_weight: float = Field(default=0.7, ge=0, le=1)
    """Weight of the leak share in the score; the rest is the delay share's."""
    gain_pp: float = Field(default=0.05, gt=0, le=1)
    """By how many points (share) the what-if raises a step."""
    drill: Literal["top", "all"] = "top"
    """Which lost deals the drill-down lists: of the top stage of each pipeline, or of all stages."""
    population: tuple[str, ...] | None = None
    """Responsible users whose deals are counted; None: everybody's."""


# --- reduce ---------------------------------------------------------------------------------------------------------


def reduce(frames: Frames, params: BottleneckParams, period: Period) -> dict[str, Lazy]:
    """Counts per pipeline and outcome, one number per known stay, one row per lost deal."""
    clock = frames["clock"]
    deals, visits = funnel.seen(frames["deal_state"], frames["stage_interval"], clock)
    rungs = _of_pipeline(funnel.ladder(frames["stage"], clock), params)
    everyone = _labelled(
        of_population(funnel.members(deals, _of_pipeline(visits, params), anchor=params.anchor), params.population),
        clock,
        params,
        period,
    )
    cohort = everyone.filter(nw.col("in_period"), nw.col("is_mature"), IS_ON_LADDER)
    small = _small_pipelines(rungs, cohort, params)
    ended = everyone.filter(
        nw.col("outcome").is_in(["won", "lost"]), _within(_flow_window(params, period), "ended_local")
    )
    ended = ended.join(small, on=PIPELINE, how="semi")
    flow_visits = _of_members(visits.join(small, on=PIPELINE, how="semi"), everyone)
    return {
        "rungs": rungs,
        "pipelines": _of_pipeline(frames["pipeline"], params).select(
            *PIPELINE, pipeline_name="name", pipeline_sort="sort"
        ),
        "clock": clock.select("account_id", "as_of_on"),
        "everyone": funnel.standing(everyone.filter(nw.col("in_period")), "is_mature"),
        "cohort": funnel.standing(cohort),
        "entered": funnel.entered(cohort, visits),
        "benchmark": funnel.standing(
            everyone.filter(~nw.col("quarter").is_null(), nw.col("is_mature"), IS_ON_LADDER), "quarter", "is_truncated"
        ),
        "flow": funnel.flow(flow_visits, rungs, *_flow_window(params, period)),
        "flow_ended": funnel.standing(ended),
        **_stays("cohort", funnel.stays(_of_members(visits, cohort), clock), everyone),
        **_stays(
            "flow",
            funnel.stays(flow_visits.filter(_within(_flow_window(params, period), "entered_local")), clock),
            everyone,
        ),
        "cohort_lost": _lost(cohort),
        "flow_lost": _lost(ended),
    }


IS_ON_LADDER = (nw.col("outcome") != "unsorted") | ~nw.col("top_sort").is_null()
"""A request nobody has sorted yet has not begun its way."""


def _of_pipeline(rows: Lazy, params: BottleneckParams) -> Lazy:
    return rows if params.pipeline_id is None else rows.filter(nw.col("pipeline_id") == params.pipeline_id)


def _of_members(visits: Lazy, rows: Lazy) -> Lazy:
    return visits.join(rows.select(*MEMBER), on=MEMBER, how="semi")


def _within(window: tuple[date, date], name: str) -> nw.Expr:
    """Whether a wall time falls in the local days [since, until); false where it is not known."""
    since, until = (start_of(day) for day in window)
    return ((nw.col(name) >= since) & (nw.col(name) < until)).fill_null(False)


def _flow_window(params: BottleneckParams, period: Period) -> tuple[date, date]:
    return period.period_to - timedelta(days=params.flow_d), period.period_to


def quarters_before(day: date) -> list[date]:
    """First days of the four whole quarters before the quarter of `day`, and where they end."""
    first = date(day.year, 3 * ((day.month - 1) // 3) + 1, 1)
    months = [12 * first.year + first.month - 1 - 3 * back for back in (4, 3, 2, 1, 0)]
    return [date(month // 12, month % 12 + 1, 1) for month in months]


def _labelled(rows: Lazy, clock: Lazy, params: BottleneckParams, period: Period) -> Lazy:
    """Members with in_period, is_mature (R-MATURE) and quarter: 1 to 4 of the benchmark, null outside."""
    edges = quarters_before(period.period_from)
    passed = [
        nw.when(nw.col("start_local") >= start_of(edge)).then(nw.lit(1)).otherwise(nw.lit(0)) for edge in edges[:4]
    ]
    quarter = (passed[0] + passed[1] + passed[2] + passed[3]).cast(nw.Int64)
    return rows.join(clock.select("account_id", "as_of_epoch"), on="account_id", how="inner").with_columns(
        in_period=_within((period.period_from, period.period_to), "start_local"),
        is_mature=nw.col("start_epoch") <= nw.col("as_of_epoch") - params.mature_d * DAY_S,
        quarter=nw.when(_within((edges[0], edges[4]), "start_local")).then(quarter),
    )


def _small_pipelines(rungs: Lazy, cohort: Lazy, params: BottleneckParams) -> Lazy:
    sizes = cohort.group_by(*PIPELINE).agg(n=nw.len().cast(nw.Int64))
    return (
        rungs.select(*PIPELINE)
        .unique(PIPELINE)
        .join(sizes, on=PIPELINE, how="left")
        .filter(nw.col("n").fill_null(0) < params.min_cohort)
        .select(*PIPELINE)
    )


def _stays(scope: str, rows: Lazy, everyone: Lazy) -> dict[str, Lazy]:
    """`<scope>_stays`: one number per known stay; `<scope>_delays`: per stage, seconds times amount."""
    priced = rows.join(everyone.select(*MEMBER, "amount_minor"), on=MEMBER, how="inner")
    # Floating, because seconds times kopecks of a large account leave Int64.
    money_s = nw.col("dwell_s").cast(nw.Float64) * nw.col("amount_minor").cast(nw.Float64)
    delays = (
        priced.with_columns(money_s=money_s, n_null=nw.col("amount_minor").is_null().cast(nw.Int64))
        .group_by(*STAGE)
        .agg(money_s=nw.col("money_s").sum(), n_null_amount=nw.col("n_null").sum().cast(nw.Int64))
    )
    return {f"{scope}_stays": rows.select(*STAGE, "dwell_s", "is_open"), f"{scope}_delays": delays}


def _lost(rows: Lazy) -> Lazy:
    return rows.filter(nw.col("outcome") == "lost").select(
        *MEMBER, "client_id", "user_id", "amount_minor", "ended_at", "top_sort", "has_won"
    )


# --- finish ---------------------------------------------------------------------------------------------------------


def finish(collected: dict[str, pl.DataFrame], params: BottleneckParams, period: Period) -> MetricResult:
    """Ladders, money, ranks and the list of lost deals."""
    scopes = _scopes(collected)
    stages = pl.concat([_stages_of(scope, collected, scopes, params) for scope in ("cohort", "flow")])
    stages = _ranked(stages, params).join(collected["pipelines"], on=PIPELINE, how="left")
    mature = _maturity(collected["everyone"])
    stages = stages.join(mature.select(*PIPELINE, "mature_share"), on=PIPELINE, how="left")
    stages = stages.with_columns(
        mature_share=pl.when(pl.col("semantics") == "cohort").then("mature_share"), group_key=group_key()
    ).sort("account_id", "pipeline_sort", "pipeline_id", "is_filter", "rank", "stage_sort", "stage_id", nulls_last=True)
    summary = _summary(stages, mature, collected, params, period)
    return METRIC.result(
        params,
        period,
        tables={"stages": stages.select(*STAGES), "summary": summary},
        drilldown=_drilldown(stages, collected, params),
        warnings=_notices(summary),
    )


STAGES: dict[str, pl.DataType] = {
    "account_id": pl.String(),
    "pipeline_id": pl.String(),
    "pipeline_name": pl.String(),
    "is_filter": pl.Boolean(),
    "rank": pl.Int64(),
    "stage_id": pl.String(),
    "stage_name": pl.String(),
    "semantics": pl.String(),
    "n": pl.Int64(),
    "entered": pl.Int64(),
    "lost": pl.Int64(),
    "n_open": pl.Int64(),
    "n_moved": pl.Int64(),
    "num": pl.Int64(),
    "conv": pl.Float64(),
    "ci_lo": pl.Float64(),
    "ci_hi": pl.Float64(),
    "low_n": pl.Boolean(),
    "tail": pl.Float64(),
    "leak_minor": pl.Int64(),
    "gain_pp_minor": pl.Int64(),
    "delay_minor": pl.Int64(),
    "leak_share": pl.Float64(),
    "delay_share": pl.Float64(),
    "score": pl.Float64(),
    "benchmark_n": pl.Int64(),
    "benchmark_conv": pl.Float64(),
    "vs_benchmark": pl.Float64(),
    "vs_lo": pl.Float64(),
    "vs_hi": pl.Float64(),
    "stays_n": pl.Int64(),
    "stays_open": pl.Int64(),
    "km_median_d": pl.Float64(),
    "km_lo_d": pl.Float64(),
    "km_hi_d": pl.Float64(),
    "naive_median_d": pl.Float64(),
    "n_null_amount": pl.Int64(),
    "mature_share": pl.Float64(),
    "group_key": pl.String(),
}
"""One row per stage. n: reached. num of n went on (conv, with its Wilson interval). rank: by score within the pipeline,
filters apart; null where too few deals or no won money. stays_*, km_*, naive_*: time on the stage, days."""

SUMMARY: dict[str, pl.DataType] = {
    "account_id": pl.String(),
    "pipeline_id": pl.String(),
    "pipeline_name": pl.String(),
    "semantics": pl.String(),
    "stage_id": pl.String(),
    "stage_name": pl.String(),
    "leak_month_minor": pl.Int64(),
    "leak_minor": pl.Int64(),
    "gain_pp_month_minor": pl.Int64(),
    "gain_pp_minor": pl.Int64(),
    "km_median_d": pl.Float64(),
    "n": pl.Int64(),
    "won": pl.Int64(),
    "lost": pl.Int64(),
    "n_open": pl.Int64(),
    "n_moved": pl.Int64(),
    "n_unsorted": pl.Int64(),
    "mature_share": pl.Float64(),
    "won_mean_minor": pl.Int64(),
    "since_on": pl.Date(),
    "until_on": pl.Date(),
    "months": pl.Float64(),
    "group_key": pl.String(),
}
"""One row per pipeline: its top stage and what that stage costs a month, and the deals this rests on.

Local days [since_on, until_on), `months` long: when the deals of a cohort were created, or a flow's events happened.
n = won + lost + n_open + n_moved; a flow counts deals that ended, so it has neither n_open nor n_moved.
"""


def group_key() -> pl.Expr:
    """`group_key` of a stage: pipelines of one source may share stage ids. Without a stage the pipeline and `|`."""
    return pl.concat_str("pipeline_id", pl.lit("|"), pl.col("stage_id").fill_null(""))


def _scopes(collected: dict[str, pl.DataFrame]) -> pl.DataFrame:
    """Per pipeline with any deals: `cohort`, or `flow` where the cohort is small and the flow larger."""
    size = {
        "cohort": funnel.ladder_table(collected["rungs"], collected["cohort"]).select(*PIPELINE, size="reached"),
        "flow": collected["flow"].select(*PIPELINE, size="reached"),
    }
    # The flow is only computed for pipelines whose cohort is below min_cohort.
    sizes = [table.group_by(PIPELINE).agg(pl.col("size").max().alias(scope)) for scope, table in size.items()]
    both = sizes[0].join(sizes[1], on=PIPELINE, how="full", coalesce=True)
    cohort, flow = pl.col("cohort").fill_null(0), pl.col("flow").fill_null(0)
    return both.filter((cohort > 0) | (flow > 0)).select(
        *PIPELINE, semantics=pl.when(flow > cohort).then(pl.lit("flow")).otherwise(pl.lit("cohort"))
    )


def _stages_of(
    scope: str, collected: dict[str, pl.DataFrame], scopes: pl.DataFrame, params: BottleneckParams
) -> pl.DataFrame:
    """Stages of the pipelines judged by `scope`, unranked."""
    chosen = scopes.filter(pl.col("semantics") == scope)
    table = (_cohort_ladder if scope == "cohort" else _flow_ladder)(collected, chosen)
    table = funnel.with_conversion(table.join(chosen, on=PIPELINE))
    standing = collected["cohort" if scope == "cohort" else "flow_ended"]
    money = (
        table.join(_won_mean(standing), on=PIPELINE, how="left")
        .join(collected[f"{scope}_delays"], on=STAGE, how="left")
        .with_columns(n_null_amount=pl.col("n_null_amount").fill_null(0))
        .with_columns(**_money(params))
    )
    times = funnel.stay_table(collected[f"{scope}_stays"], STAGE)
    benchmark = _benchmark(collected).filter(scope == "cohort")
    return (
        money.join(times, on=STAGE, how="left")
        .with_columns(pl.col("stays_n", "stays_open").fill_null(0))
        .join(benchmark, on=STAGE, how="left")
        .with_columns(*_rate(), low_n("reached", min_n=params.min_n))
        .with_columns(*_difference(params))
        .rename({"reached": "n"})
    )


def _cohort_ladder(collected: dict[str, pl.DataFrame], chosen: pl.DataFrame) -> pl.DataFrame:
    counts = collected["cohort"].join(chosen.select(PIPELINE), on=PIPELINE, how="semi")
    ladder = funnel.ladder_table(collected["rungs"], counts).join(collected["entered"], on=STAGE, how="left")
    return ladder.with_columns(pl.col("entered").fill_null(0)).select(*LADDER)


def _flow_ladder(collected: dict[str, pl.DataFrame], chosen: pl.DataFrame) -> pl.DataFrame:
    """The same columns from what happened in the window; what only a cohort has is null."""
    rungs = collected["rungs"].join(chosen.select(PIPELINE), on=PIPELINE, how="semi")
    ended = funnel.ladder_table(rungs, collected["flow_ended"]).select(*STAGE, "lost", "won")
    nothing = pl.lit(None, pl.Int64)
    return (
        rungs.join(collected["flow"], on=STAGE, how="left")
        .join(ended, on=STAGE, how="left")
        .with_columns(pl.col("reached", "lost", "won").fill_null(0), entered=nothing, n_open=nothing, n_moved=nothing)
        .sort(*PIPELINE, "stage_sort", "stage_id")
        .select(*LADDER)
    )


LADDER = (*STAGE, "stage_name", "stage_sort", "is_filter", "reached", "entered", "lost", "n_open", "n_moved", "won")


def _won_mean(standing: pl.DataFrame) -> pl.DataFrame:
    """V: mean amount of the won deals whose amount is known, null where there are none."""
    won = standing.filter(pl.col("outcome") == "won").group_by(PIPELINE)
    n = pl.col("n_amount").sum()
    return won.agg(won_mean=pl.col("amount_minor").sum() / pl.when(n > 0).then(n))


def _minor(value: pl.Expr) -> pl.Expr:
    """Money, rounded once."""
    return value.round(mode="half_to_even").cast(pl.Int64)


def _money(params: BottleneckParams) -> dict[str, pl.Expr]:
    ahead = pl.col("tail") * pl.col("won_mean")
    delay = pl.col("money_s").fill_null(0.0) / DAY_S * pl.col("p_win") * params.cost_of_delay
    return {
        "leak_minor": _minor(pl.col("lost") * ahead),
        "gain_pp_minor": _minor(params.gain_pp * pl.col("reached") * ahead),
        "delay_minor": _minor(delay),
    }


def _rate() -> list[pl.Expr]:
    """Wilson limits of the step; none where the flow let more out than came in."""
    lo, hi = wilson(pl.col("num"), pl.col("reached"))
    is_share = pl.col("num") <= pl.col("reached")
    return [pl.when(is_share).then(lo).alias("ci_lo"), pl.when(is_share).then(hi).alias("ci_hi")]


def _benchmark(collected: dict[str, pl.DataFrame]) -> pl.DataFrame:
    """The same step in the pipeline's own four quarters before, where all four have deals with a complete history."""
    known = collected["benchmark"]
    enough = known.group_by(PIPELINE).agg(
        n_quarters=pl.col("quarter").n_unique(), truncated=pl.col("is_truncated").any()
    )
    enough = enough.filter(pl.col("n_quarters") == 4, ~pl.col("truncated"))
    before = funnel.ladder_table(collected["rungs"], known.join(enough, on=PIPELINE, how="semi"))
    return funnel.with_conversion(before).select(
        *STAGE, benchmark_num="num", benchmark_n="reached", benchmark_conv="conv"
    )


def _difference(params: BottleneckParams) -> list[pl.Expr]:
    """Newcombe's interval of the difference to the benchmark; null where either side is too small."""
    now, before = pl.col("conv"), pl.col("benchmark_conv")
    lo_1, hi_1 = wilson(pl.col("num"), pl.col("reached"))
    lo_2, hi_2 = wilson(pl.col("benchmark_num"), pl.col("benchmark_n"))
    enough = (pl.col("benchmark_n") >= params.min_n) & (pl.col("reached") >= params.min_n)
    difference = now - before
    lo = difference - ((now - lo_1) ** 2 + (hi_2 - before) ** 2).sqrt()
    hi = difference + ((hi_1 - now) ** 2 + (before - lo_2) ** 2).sqrt()
    named = {"vs_benchmark": difference, "vs_lo": lo, "vs_hi": hi}
    return [pl.when(enough).then(value).alias(name) for name, value in named.items()]


def _ranked(stages: pl.DataFrame, params: BottleneckParams) -> pl.DataFrame:
    """Shares, score and rank within pipeline and kind: filters lose deals on purpose and compete among themselves."""
    group = [*PIPELINE, "is_filter"]

    def share(name: str) -> pl.Expr:
        total = pl.col(name).sum().over(group)
        return pl.when(pl.col(name).is_not_null()).then((pl.col(name) / pl.when(total > 0).then(total)).fill_null(0.0))

    scored = stages.with_columns(leak_share=share("leak_minor"), delay_share=share("delay_minor")).with_columns(
        score=params.leak_weight * pl.col("leak_share") + (1 - params.leak_weight) * pl.col("delay_share")
    )
    # Sums of floats differ in the last bits from engine to engine: a tie must stay a tie.
    order = scored.with_columns(
        tie_score=pl.col("score").round(12), is_ranked=pl.col("score").is_not_null() & ~pl.col("low_n")
    ).sort(*group, "tie_score", "n", "stage_id", descending=[False, False, False, True, True, False], nulls_last=True)
    nth = pl.col("is_ranked").cast(pl.Int64).cum_sum().over(group)
    return order.with_columns(rank=pl.when("is_ranked").then(nth)).drop("tie_score", "is_ranked")


def _maturity(everyone: pl.DataFrame) -> pl.DataFrame:
    """Per pipeline: how much of the period's deals is old enough; how many wait unsorted."""
    counted = pl.col("outcome").ne("unsorted") | pl.col("top_sort").is_not_null()
    total = pl.col("n").filter(counted).sum()
    return everyone.group_by(PIPELINE).agg(
        mature_share=pl.col("n").filter(counted & pl.col("is_mature")).sum() / pl.when(total > 0).then(total),
        n_unsorted=pl.col("n").filter(~counted).sum(),
    )


def _summary(
    stages: pl.DataFrame,
    mature: pl.DataFrame,
    collected: dict[str, pl.DataFrame],
    params: BottleneckParams,
    period: Period,
) -> pl.DataFrame:
    """One row per pipeline in the order of the main table."""
    top = stages.filter(pl.col("rank") == 1).unique(PIPELINE, keep="first", maintain_order=True)
    kept = ["stage_id", "stage_name", "leak_minor", "gain_pp_minor", "km_median_d", "group_key"]
    totals = pl.concat([_totals("cohort", collected["cohort"]), _totals("flow", collected["flow_ended"])])
    months = pl.when(pl.col("months") > 0).then("months")
    return (
        stages.select(*PIPELINE, "pipeline_name", "semantics", "won_mean")
        .unique(PIPELINE, keep="first", maintain_order=True)
        .join(top.select(*PIPELINE, *kept), on=PIPELINE, how="left", maintain_order="left")
        .join(totals, on=[*PIPELINE, "semantics"], how="left", maintain_order="left")
        .join(mature, on=PIPELINE, how="left", maintain_order="left")
        .join(
            _window(collected["clock"], params, period),
            on=["account_id", "semantics"],
            how="left",
            maintain_order="left",
        )
        .with_columns(
            leak_month_minor=_minor(pl.col("leak_minor") / months),
            gain_pp_month_minor=_minor(pl.col("gain_pp_minor") / months),
            won_mean_minor=_minor(pl.col("won_mean")),
            n_unsorted=pl.col("n_unsorted").fill_null(0),
            mature_share=pl.when(pl.col("semantics") == "cohort").then("mature_share"),
        )
        .select(*SUMMARY)
        .cast(SUMMARY)  # type: ignore[arg-type]
    )


def _totals(scope: str, standing: pl.DataFrame) -> pl.DataFrame:
    def n(*outcomes: str) -> pl.Expr:
        return pl.col("n").filter(pl.col("outcome").is_in(list(outcomes))).sum()

    is_cohort = pl.lit(scope == "cohort")
    return standing.group_by(PIPELINE).agg(
        semantics=pl.lit(scope),
        n=pl.col("n").sum(),
        won=n("won"),
        lost=n("lost"),
        n_open=pl.when(is_cohort).then(n("open", "unsorted")),
        n_moved=pl.when(is_cohort).then(n("moved")),
    )


def _window(clock: pl.DataFrame, params: BottleneckParams, period: Period) -> pl.DataFrame:
    """Per account and semantics: which days are counted, and how many months they are."""
    old_enough = pl.col("as_of_on") - pl.duration(days=params.mature_d)
    first, end = pl.lit(period.period_from), pl.lit(period.period_to)
    flow_first, flow_end = (pl.lit(day) for day in _flow_window(params, period))
    scopes = {
        "cohort": (first, pl.max_horizontal(first, pl.min_horizontal(end, old_enough))),
        "flow": (flow_first, flow_end),
    }
    return pl.concat(
        [
            clock.select("account_id", semantics=pl.lit(scope), since_on=since, until_on=until)
            for scope, (since, until) in scopes.items()
        ]
    ).with_columns(months=(pl.col("until_on") - pl.col("since_on")).dt.total_days() / MONTH_D)


def _drilldown(stages: pl.DataFrame, collected: dict[str, pl.DataFrame], params: BottleneckParams) -> pl.DataFrame:
    """Lost deals, most valuable first, of the stages asked for; of all, also those that never stood on a stage."""
    lost = pl.concat(
        [
            funnel.stopped_at(collected[f"{scope}_lost"], collected["rungs"]).with_columns(semantics=pl.lit(scope))
            for scope in ("cohort", "flow")
        ]
    ).with_columns(group_key=group_key())
    top = stages.filter(pl.col("rank") == 1).unique(PIPELINE, keep="first", maintain_order=True)
    shown, on = (stages, PIPELINE) if params.drill == "all" else (top, STAGE)
    by, falling = ["account_id", "group_key", "amount_minor", "deal_id"], [False, False, True, False]
    return drilldown_rows(
        lost.join(shown, on=[*on, "semantics"], how="semi").sort(by, descending=falling, nulls_last=True),
        entity_kind=pl.lit("deal"),
        entity_id="deal_id",
        event_at="ended_at",
        value="amount_minor",
        value_unit=pl.lit("minor"),
        reason=pl.lit("LOST_HERE"),
    )


def _notices(summary: pl.DataFrame) -> tuple[Notice, ...]:
    return (*_flow_notices(summary), *_no_win_notices(summary))


def _named(summary: pl.DataFrame) -> str:
    return ", ".join(f"«{row['pipeline_name'] or row['pipeline_id']}»" for row in summary.iter_rows(named=True))


def _flow_notices(summary: pl.DataFrame) -> tuple[Notice, ...]:
    by_flow = summary.filter(pl.col("semantics") == "flow")
    if by_flow.is_empty():
        return ()
    first, last = by_flow["since_on"][0], by_flow["until_on"][0] - timedelta(days=1)  # the same days for every pipeline
    return (
        Notice(
            "flow_instead_of_cohort",
            f"Созревших сделок мало, поэтому взяты события с {first:%d.%m.%Y} по {last:%d.%m.%Y}, конверсия может "
            f"превысить 100 %: {_named(by_flow)}.",
            f"Too few mature deals, so the events from {first} to {last} are used and conversion may exceed 100%: "
            f"{_named(by_flow)}.",
        ),
    )


def _no_win_notices(summary: pl.DataFrame) -> tuple[Notice, ...]:
    without = summary.filter(pl.col("won_mean_minor").is_null())
    if without.is_empty():
        return ()
    return (
        Notice(
            "no_won_money",
            f"Нет выигранных сделок с суммой, потери в деньгах посчитать нельзя: {_named(without)}.",
            f"No won deals with an amount, so losses cannot be put into money: {_named(without)}.",
        ),
    )


METRIC = Metric(
    id="E6",
    text={
        "ru": Text(
            name="Узкое место: где теряются деньги и время",
            definition="Какой этап воронки чинить первым: сколько выигранных денег унесли потери сделок на каждом "
            "этапе и во что обходятся дни, которые сделки на нём проводят.",
            formula="Утечка = потеряно на этапе × вероятность дойти от следующего этапа до победы × средний чек "
            "выигранной "
            "сделки. Задержка = сумма (дни на этапе × сумма сделки × вероятность победы × 0,05 % в день). "
            "Оценка = 0,7 × доля утечки + 0,3 × доля задержки. Сделки — созданные за период и не моложе 60 дней; "
            "пропущенный этап считается достигнутым. Медиана времени — по Каплану — Мейеру: сделки, которые ещё стоят, "
            "не выброшены.",
            pitfalls="Этапы-фильтры теряют сделки намеренно: отметьте их, и они пойдут отдельным рейтингом. Суммы — "
            "оценка "
            "упущенного, а не выставленный счёт. Отличие от прошлых кварталов верно, только если интервал не содержит "
            "нуля.",
        ),
        "en": Text(
            name="Bottleneck: where money and time are lost",
            definition="Which stage of the funnel to fix first: how much won money the losses at each stage cost, and "
            "what "
            "the days cost that deals stand there.",
            formula="Leak = lost at the stage × chance to get from the next stage to a win × mean won amount. "
            "Delay = sum of (days on the stage × amount × chance to win × 0.05% a day). "
            "Score = 0.7 × share of the leak + 0.3 × share of the delay. Deals are those created in the period and at "
            "least "
            "60 days old; a skipped stage counts as reached. Median time is Kaplan–Meier: deals still standing are not "
            "thrown away.",
            pitfalls="Filter stages lose deals on purpose: mark them and they are ranked apart. The money is an "
            "estimate of "
            "what was missed, not a bill. A difference to past quarters is real only if its interval leaves out zero.",
        ),
    },
    params=BottleneckParams,
    inputs=("deal_state", "stage_interval", "stage", "pipeline"),
    resources=("deal", "deal_stage_transition", "stage", "pipeline"),
    subject={"stages": None, "summary": None, "drilldown": "user_id"},
    semantics="cohort",
    reduce=reduce,
    finish=finish,
    default_period_d=365,
    counted={"stages": ("lost",)},
)
