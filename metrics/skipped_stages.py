"""E10: stages that deals leap over, and whether that does harm; E11: the shape of the ladder.

Both look at where deals of a cohort really stood; the shape also at where they pile up now (E7).

Source: the metric catalogue, E10 and E11.
"""

import narwhals.stable.v2 as nw
import polars as pl
from pydantic import Field

from metrics import funnel
from metrics.congestion import CongestionParams, stock_inputs, stocks_by_day, verdicts
from metrics.funnel import DEAL, MEMBER, PIPELINE, STAGE
from metrics.funnel_scope import (
    FLAG,
    FUNNEL_INPUTS,
    FUNNEL_RESOURCES,
    INT,
    PIPELINE_COLUMNS,
    REAL,
    STAGE_COLUMNS,
    TEXT,
    FunnelParams,
    Lazy,
    cohort,
    deal_rows,
    in_order,
    in_stage_order,
    pipeline_key,
    rates,
    scope,
    shaped,
    stage_key,
)
from metrics.metric import Frames, Metric, MetricResult, Period, Text
from metrics.rates import MIN_N, low_n, rate_columns
from metrics.team import compared


class LadderParams(FunnelParams):
    """Which deals form the cohort."""

    anchor: funnel.Anchor = "created"
    """What makes a deal one of the period: its creation, or its first entry into the pipeline."""
    min_n: int = Field(default=MIN_N, ge=0)
    """Below so many deals a rate is shown but not compared."""


def reduce(frames: Frames, params: LadderParams, period: Period) -> dict[str, Lazy]:
    """Who got beyond a stage and who of them never stood on it; who stood where; where deals were created."""
    seen = scope(frames, params)
    rows = cohort(seen, period, params.anchor)
    rungs = seen.rungs.select(*STAGE, rung_sort="stage_sort")
    beyond = rows.join(rungs, on=PIPELINE, how="inner").filter(
        nw.col("has_won") | (nw.col("top_sort") > nw.col("rung_sort")).fill_null(False)
    )
    stood = (
        seen.visits.filter(nw.col("stage_kind") == "open", ~nw.col("is_pass_through").fill_null(False))
        .select(*STAGE, "deal_id")
        .unique([*STAGE, "deal_id"])
    )
    visited = stood.with_columns(was_there=nw.lit(1))
    split = beyond.join(visited, on=[*STAGE, "deal_id"], how="left").with_columns(
        is_skipped=nw.col("was_there").is_null()
    )
    born = seen.visits.filter(nw.col("n") == 1, nw.col("stage_kind") == "open").join(
        rows.select(*MEMBER), on=MEMBER, how="semi"
    )
    sources = seen.deals.select(*DEAL, "source_id")
    return {
        "rungs": seen.rungs,
        "pipelines": seen.pipelines,
        "split": split.group_by(*STAGE, "is_skipped", "outcome").agg(n=nw.len().cast(nw.Int64)),
        "skipped": split.filter(nw.col("is_skipped")).select(
            *STAGE, "deal_id", "client_id", "user_id", "amount_minor", "outcome", "ended_at"
        ),
        "size": rows.group_by(*PIPELINE).agg(n=nw.len().cast(nw.Int64)),
        "entered": funnel.entered(rows, seen.visits),
        "born": born.join(sources, on=DEAL, how="left").group_by(*STAGE, "source_id").agg(n=nw.len().cast(nw.Int64)),
        "born_deals": born.join(
            seen.deals.select(*DEAL, "client_id", "amount_minor", user_id="responsible_user_id"), on=DEAL, how="inner"
        ).select(*STAGE, "stage_sort", "deal_id", "client_id", "user_id", "amount_minor", "entered_at"),
    }


def reduce_shape(frames: Frames, params: LadderParams, period: Period) -> dict[str, Lazy]:
    """The same, and the stock of each stage beside its past (`now_` …)."""
    seen = scope(frames, params)
    stocks = stock_inputs(frames, seen, CongestionParams())
    return {**reduce(frames, params, period), **{f"{NOW}{name}": rows for name, rows in stocks.items()}}


NOW = "now_"


def finish_skips(collected: dict[str, pl.DataFrame], params: LadderParams, period: Period) -> MetricResult:
    """Per stage how many leapt over it, how often both kinds are won, and the deals that leapt."""
    n, is_won = pl.col("n"), pl.col("outcome") == "won"
    is_decided = pl.col("outcome").is_in(["won", "lost"])
    counts = (
        collected["split"]
        .group_by(STAGE)
        .agg(
            num=n.filter("is_skipped").sum(),
            den=n.sum(),
            skipped_won=n.filter(pl.col("is_skipped") & is_won).sum(),
            skipped_decided=n.filter(pl.col("is_skipped") & is_decided).sum(),
            visited_won=n.filter(~pl.col("is_skipped") & is_won).sum(),
            visited_decided=n.filter(~pl.col("is_skipped") & is_decided).sum(),
        )
    )
    rungs = collected["rungs"].join(collected["size"].select(PIPELINE), on=PIPELINE, how="semi")
    numbers = [name for name in counts.columns if name not in STAGE]
    stages = rungs.join(counts, on=STAGE, how="left").with_columns(pl.col(numbers).fill_null(0))
    rated = in_stage_order(stages, collected["pipelines"]).with_columns(
        *rate_columns(),
        *rate_columns("skipped_won", "skipped_decided", "skipped_win_"),
        *rate_columns("visited_won", "visited_decided", "visited_win_"),
        low_n("den", min_n=params.min_n),
    )
    return SKIPS.result(
        params,
        period,
        tables={"stages": _with_difference(rated, params).pipe(shaped, SKIP_STAGES)},
        drilldown=deal_rows(
            collected["skipped"]
            .with_columns(stage_key())
            .sort(
                "account_id",
                "group_key",
                "amount_minor",
                "deal_id",
                descending=[False, False, True, False],
                nulls_last=True,
            ),
            event_at="ended_at",
            value="amount_minor",
            value_unit=pl.lit("minor"),
            reason=pl.lit("SKIPPED"),
        ),
    )


def _with_difference(stages: pl.DataFrame, params: LadderParams) -> pl.DataFrame:
    """win_diff with its limits and p: leapt over the stage less stood on it; null where either is too few."""
    place = stages.select(*STAGE)
    kinds = [
        place.with_columns(kind=pl.lit(kind), k=stages[f"{kind}_won"], n=stages[f"{kind}_decided"])
        for kind in ("skipped", "visited")
    ]
    both = pl.concat(kinds)
    enough = (pl.col("n") >= params.min_n).all().over(STAGE)
    beside = compared(both, "k", "n", within=STAGE, tested=enough & (pl.col("kind") == "skipped"))
    own = beside.filter(kind="skipped").select(
        *STAGE, win_diff="diff", win_lo="diff_lo", win_hi="diff_hi", p="p", q="q"
    )
    return stages.join(own, on=STAGE, how="left", maintain_order="left")


SKIP_STAGES: dict[str, pl.DataType] = {
    **STAGE_COLUMNS,
    "num": INT,
    "den": INT,
    **rates(),
    "low_n": FLAG,
    "skipped_won": INT,
    "skipped_decided": INT,
    **rates("skipped_win_"),
    "visited_won": INT,
    "visited_decided": INT,
    **rates("visited_win_"),
    "win_diff": REAL,
    "win_lo": REAL,
    "win_hi": REAL,
    "p": REAL,
    "q": REAL,
    "group_key": TEXT,
}
"""One row per stage: num of den deals that got beyond it never stood there. skipped_win_, visited_win_: won of decided
among both kinds; win_diff: their difference."""


def finish_shape(collected: dict[str, pl.DataFrame], params: LadderParams, period: Period) -> MetricResult:
    """Where more deals stood on the next stage than on this one, and the deals created there, by source."""
    rungs = collected["rungs"].join(collected["size"].select(PIPELINE), on=PIPELINE, how="semi")
    entered = rungs.join(collected["entered"], on=STAGE, how="left").with_columns(pl.col("entered").fill_null(0))
    born = collected["born"].group_by(STAGE).agg(n_born_here=pl.col("n").sum())
    stages = (
        in_stage_order(entered.join(born, on=STAGE, how="left"), collected["pipelines"])
        .with_columns(pl.col("n_born_here").fill_null(0), next_entered=pl.col("entered").shift(-1).over(PIPELINE))
        .with_columns(excess=(pl.col("next_entered") - pl.col("entered")).clip(0).fill_null(0))
        .with_columns(is_violation=pl.col("excess") > 0)
    )
    stages = _with_bulges(stages, collected)
    total = pl.col("entered").sum()
    summary = stages.group_by(PIPELINE).agg(
        n_violations=pl.col("is_violation").sum().cast(pl.Int64),
        excess=pl.col("excess").sum(),
        entered=total,
        monotone_score=1 - pl.col("excess").sum() / pl.when(total > 0).then(total),
    )
    lowest = rungs.group_by(PIPELINE).agg(lowest=pl.col("stage_sort").min())
    middle = collected["born_deals"].join(rungs.select(*STAGE), on=STAGE, how="semi").join(lowest, on=PIPELINE)
    middle = middle.filter(pl.col("stage_sort") > pl.col("lowest")).with_columns(stage_key())
    by_source = (
        collected["born"].join(rungs.select(*STAGE, "stage_name", "stage_sort"), on=STAGE).join(lowest, on=PIPELINE)
    )
    by_source = by_source.filter(pl.col("stage_sort") > pl.col("lowest"))
    return SHAPE.result(
        params,
        period,
        tables={
            "stages": stages.with_columns(
                n_born_in_middle=pl.when(pl.col("stage_sort") > pl.col("stage_sort").min().over(PIPELINE))
                .then("n_born_here")
                .otherwise(0)
            ).pipe(shaped, SHAPE_STAGES),
            "summary": in_order(summary.with_columns(pipeline_key()), collected["pipelines"]).pipe(
                shaped, SHAPE_SUMMARY
            ),
            "by_source": in_order(by_source, collected["pipelines"], "stage_sort", "stage_id", "source_id").pipe(
                shaped, BORN
            ),
        },
        drilldown=deal_rows(
            middle.sort("account_id", "group_key", "entered_at", "deal_id", nulls_last=True),
            event_at="entered_at",
            value="amount_minor",
            value_unit=pl.lit("minor"),
            reason=pl.lit("CREATED_IN_MIDDLE"),
        ),
    )


def _with_bulges(stages: pl.DataFrame, collected: dict[str, pl.DataFrame]) -> pl.DataFrame:
    """`stages` with stock, next_stock and is_bulge: more stand on the next stage, and it is congested (E7)."""
    now = {name.removeprefix(NOW): rows for name, rows in collected.items() if name.startswith(NOW)}
    usual = CongestionParams()
    found = verdicts(now, stocks_by_day(now, usual), usual).select(*STAGE, "stock", "congested")
    beside = stages.join(found, on=STAGE, how="left", maintain_order="left").with_columns(pl.col("stock").fill_null(0))
    following = {f"next_{name}": pl.col(name).shift(-1).over(PIPELINE) for name in ("stock", "congested")}
    return beside.with_columns(**following).with_columns(
        is_bulge=(pl.col("next_stock") > pl.col("stock")) & pl.col("next_congested")
    )


SHAPE_STAGES: dict[str, pl.DataType] = {
    **STAGE_COLUMNS,
    "entered": INT,
    "next_entered": INT,
    "excess": INT,
    "is_violation": FLAG,
    "stock": INT,
    "next_stock": INT,
    "is_bulge": FLAG,
    "n_born_here": INT,
    "n_born_in_middle": INT,
    "group_key": TEXT,
}
"""One row per stage: a ladder narrows, so where next_entered > entered something enters from aside (excess). is_bulge:
now more stand on the next stage than here, and E7 holds it congested; null where that cannot be told."""
SHAPE_SUMMARY: dict[str, pl.DataType] = {
    **PIPELINE_COLUMNS,
    "n_violations": INT,
    "excess": INT,
    "entered": INT,
    "monotone_score": REAL,
    "group_key": TEXT,
}
"""monotone_score = 1 - excess / entered, both over all stages: 1 is a ladder."""
BORN: dict[str, pl.DataType] = {**STAGE_COLUMNS, "source_id": TEXT, "n": INT}
"""Deals created on a later stage than the first, by their source."""

SKIPS_RU = Text(
    name="Пропущенные этапы",
    definition=(
        "Какая доля сделок, ушедших дальше этапа, на нём ни разу не стояла, и выигрывают ли такие сделки чаще или реже "
        "тех, что этап прошли. Сделки — созданные за период."
    ),
    formula=(
        "Доля пропусков = не стояли на этапе / дошли выше него или выиграны. Рядом доля побед среди решённых у "
        "пропустивших и у прошедших, их разница с интервалом."
    ),
    pitfalls=(
        "Пропуск — не всегда плохо: готовый клиент покупает сразу. Смотрите на разницу в победах: пропускают без "
        "вреда — этап лишний; с вредом — надо учить. Заход короче минуты считается пропуском."
    ),
)
SKIPS_EN = Text(
    name="Skipped stages",
    definition=(
        "What share of the deals that got beyond a stage never stood on it, and whether such deals are won more or "
        "less often than those that did. Deals are those created in the period."
    ),
    formula=(
        "Skip rate = never stood on the stage / got higher or were won. Beside: win rate of decided among those who "
        "skipped and those who did not, their difference with its interval."
    ),
    pitfalls=(
        "A skip is not always bad: a client who is ready buys at once. Look at the difference in wins: skipped without "
        "harm, the stage is idle; with harm, teach the process. A visit shorter than a minute is a skip."
    ),
)
SHAPE_RU = Text(
    name="Форма «лесенки»",
    definition=(
        "Сужается ли воронка от этапа к этапу. Если на следующем этапе побывало больше сделок, чем на этом, воронка "
        "устроена неверно или сделки создают сразу посередине: показано где, из каких источников и какие именно. Рядом "
        "— вздутия: сейчас на следующем этапе стоит больше сделок, чем на этом, и на нём затор (E7)."
    ),
    formula=(
        "Нарушение = на следующем этапе стояло больше сделок, чем на этом. Оценка = 1 − сумма превышений / сумма "
        "заходов на все этапы; 1 — настоящая лесенка."
    ),
    pitfalls=(
        "Сделки, созданные сразу на втором или третьем этапе (повторные продажи, импорт), нарушают лесенку законно: "
        "заведите для них свою воронку."
    ),
)
SHAPE_EN = Text(
    name="Ladder shape",
    definition=(
        "Whether the funnel narrows from stage to stage. Where more deals stood on the next stage than on this one, "
        "the funnel is badly built or deals are created in its middle: shown where, of which sources, and which deals. "
        "Beside it bulges: more deals stand on the next stage now than on this one, and it is congested (E7)."
    ),
    formula=(
        "Violation = more deals stood on the next stage than on this one. Score = 1 − sum of the excess / sum of "
        "entries to all stages; 1 is a true ladder."
    ),
    pitfalls=(
        "Deals created on the second or third stage (repeat sales, imports) break the ladder lawfully: give them a "
        "pipeline of their own."
    ),
)

SKIPS = Metric(
    id="E10",
    text={"ru": SKIPS_RU, "en": SKIPS_EN},
    params=LadderParams,
    inputs=FUNNEL_INPUTS,
    resources=FUNNEL_RESOURCES,
    subject={"stages": None, "drilldown": "user_id"},
    semantics="cohort",
    reduce=reduce,
    finish=finish_skips,
    default_period_d=180,
    counted={"stages": ("num",)},
)
SHAPE = Metric(
    id="E11",
    text={"ru": SHAPE_RU, "en": SHAPE_EN},
    params=LadderParams,
    inputs=(*FUNNEL_INPUTS, "coverage"),
    resources=FUNNEL_RESOURCES,
    subject={"stages": None, "summary": None, "by_source": None, "drilldown": "user_id"},
    semantics="cohort",
    reduce=reduce_shape,
    finish=finish_shape,
    default_period_d=180,
    counted={"stages": ("n_born_in_middle",)},
)
METRICS = (SKIPS, SHAPE)
