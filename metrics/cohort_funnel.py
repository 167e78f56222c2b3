"""E2: how far the deals of a cohort got, stage by stage.

Reached = the highest open stage visited is at or above this one, or the deal was ever won; a skipped stage counts as
reached, not as entered. Lost is no rung: a deal lost on stage 2 reached 1 and 2.

Source: the metric catalogue, E2.
"""

from typing import Literal

import narwhals.stable.v2 as nw
import polars as pl
from pydantic import Field

from metrics import funnel
from metrics.funnel import DAY_S, DEAL, MEMBER, PIPELINE, STAGE
from metrics.funnel_scope import (
    DAY,
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
from metrics.months import first_day, month_no
from metrics.people import group_key, with_user_flags
from metrics.rates import MIN_N, low_n, ranked, rate_columns
from metrics.team import COMPARED, compared


class CohortFunnelParams(FunnelParams):
    """Which deals form the cohort and what a step is."""

    anchor: funnel.Anchor = "created"
    """What makes a deal one of the period: its creation, or its first entry into the pipeline (a later transfer)."""
    mode: Literal["reached", "entered"] = "reached"
    """Steps from reached to reached, or from really stood on to really stood on."""
    horizon_d: int | None = Field(default=None, ge=1)
    """Only deals at least so many days old; None: all."""
    mature_d: int = Field(default=60, ge=0)
    """From what age on a deal has had the time to be won or lost: `mature_share`."""
    min_n: int = Field(default=MIN_N, ge=0)
    """Below so many deals a rate is shown but neither ranked nor tested."""


def reduce(frames: Frames, params: CohortFunnelParams, period: Period) -> dict[str, Lazy]:
    """Counts per height and outcome, and the deals that stopped."""
    seen = scope(frames, params)
    rows = cohort(seen, period, params.anchor)
    if params.horizon_d is not None:
        rows = rows.filter(nw.col("age_s") >= params.horizon_d * DAY_S)
    told = rows.with_columns(
        month_no=month_no(nw.col("start_local")), is_mature=nw.col("age_s") >= params.mature_d * DAY_S
    )
    by_month = told.group_by(*PIPELINE, "month_no", "outcome", "is_mature").agg(n=nw.len().cast(nw.Int64))
    decided = rows.filter(nw.col("outcome").is_in(["won", "lost"])).select(*MEMBER, "outcome")
    owners = seen.deals.select(*DEAL, user_id="outcome_user_id")
    by_user = decided.join(owners, on=DEAL, how="inner").group_by(*PIPELINE, "user_id", "outcome")
    stopped = rows.filter(nw.col("outcome").is_in(["lost", "open", "unsorted"]))
    return {
        "rungs": seen.rungs,
        "pipelines": seen.pipelines,
        "clock": seen.clock.select("account_id", "as_of_on"),
        "standing": funnel.standing(rows),
        "entered": funnel.entered(rows, seen.visits),
        "months": by_month,
        "by_user": with_user_flags(by_user.agg(n=nw.len().cast(nw.Int64)), frames),
        "stopped": stopped.select(
            *MEMBER, "client_id", "user_id", "amount_minor", "outcome", "ended_at", "top_sort", "has_won"
        ),
    }


def finish(collected: dict[str, pl.DataFrame], params: CohortFunnelParams, period: Period) -> MetricResult:
    """The ladder, the pipeline's totals, its months, its people, and the deals that stopped."""
    pipelines = collected["pipelines"]
    return METRIC.result(
        params,
        period,
        tables={
            "stages": in_stage_order(_stages(collected, params), pipelines).pipe(shaped, STAGES),
            "summary": in_order(_summary(collected), pipelines).pipe(shaped, SUMMARY),
            "months": in_order(_months(collected), pipelines, "month").pipe(shaped, MONTHS),
            "by_user": _by_user(collected, params).pipe(shaped, BY_USER),
        },
        drilldown=_drilldown(collected),
    )


STAGES: dict[str, pl.DataType] = {
    **STAGE_COLUMNS,
    "reached": INT,
    "entered": INT,
    "num": INT,
    "den": INT,
    **rates("conv_"),
    "low_n": FLAG,
    "conv_amount": REAL,
    **rates("overall_"),
    "lost": INT,
    "n_open": INT,
    "n_moved": INT,
    "amount_minor": INT,
    "n_null_amount": INT,
    "group_key": TEXT,
}
"""One row per stage. num of den went on to the next stage, from the last one to a win. overall_: share of the whole
cohort that got here. conv_amount: the same step in money of deals whose amount is known. lost, n_open, n_moved: got no
higher and ended so."""

SUMMARY: dict[str, pl.DataType] = {
    **PIPELINE_COLUMNS,
    "semantics": TEXT,
    "n": INT,
    "won": INT,
    "lost": INT,
    "n_open": INT,
    "n_moved": INT,
    **rates(),
    "decided": INT,
    **rates("decided_"),
    "amount_minor": INT,
    "won_minor": INT,
    "rate_amount": REAL,
    "n_null_amount": INT,
    "mature_share": REAL,
    "group_key": TEXT,
}
"""One row per pipeline: rate = won / n; decided_rate = won / (won + lost); rate_amount the first in money."""

MONTHS: dict[str, pl.DataType] = {
    **PIPELINE_COLUMNS,
    "month": DAY,
    "complete": FLAG,
    "n": INT,
    "won": INT,
    "lost": INT,
    "n_open": INT,
    "n_moved": INT,
    **rates(),
    "mature_share": REAL,
    "group_key": TEXT,
}

BY_USER: dict[str, pl.DataType] = {
    "account_id": TEXT,
    "pipeline_id": TEXT,
    "user_id": TEXT,
    "user_active": FLAG,
    "num": INT,
    "den": INT,
    **rates(),
    "low_n": FLAG,
    **COMPARED,
    "group_key": TEXT,
}
"""Won of decided by whoever was responsible at the outcome, beside the rest of the team."""


def _stages(collected: dict[str, pl.DataFrame], params: CohortFunnelParams) -> pl.DataFrame:
    counts = collected["standing"]
    table = funnel.ladder_table(collected["rungs"], counts).join(
        collected["entered"], on=STAGE, how="left", maintain_order="left"
    )
    den = pl.col(params.mode)
    following = den.shift(-1).over(PIPELINE).fill_null(pl.col("won"))
    return (
        table.with_columns(pl.col("entered").fill_null(0))
        .with_columns(den=den, num=following)
        .join(_money(collected["rungs"], counts), on=STAGE, how="left", maintain_order="left")
        .join(counts.group_by(PIPELINE).agg(n=pl.col("n").sum()), on=PIPELINE, how="left", maintain_order="left")
        .with_columns(*_step_rate(), *rate_columns("reached", "n", "overall_"), low_n("den", min_n=params.min_n))
        .with_columns(pl.col("amount_minor", "n_null_amount").fill_null(0))
    )


def _step_rate() -> list[pl.Expr]:
    """The step with its interval; none of it where more stood on the next stage than on this one (`entered`)."""
    is_share = pl.col("num") <= pl.col("den")
    rate, lo, hi = rate_columns("num", "den", "conv_")
    kept = [
        pl.when(is_share).then(limit).otherwise(None).alias(f"conv_{n}") for limit, n in ((lo, "ci_lo"), (hi, "ci_hi"))
    ]
    return [rate, *kept]


def _money(rungs: pl.DataFrame, counts: pl.DataFrame) -> pl.DataFrame:
    """Per rung: amount_minor of who reached it, n_null_amount of them, conv_amount to the next."""
    reached = (
        rungs.select(*STAGE, "stage_sort")
        .join(counts, on=PIPELINE)
        .filter(pl.col("has_won") | (pl.col("top_sort") >= pl.col("stage_sort")))
        .group_by(*STAGE, "stage_sort")
        .agg(amount_minor=pl.col("amount_minor").sum(), n_null_amount=(pl.col("n") - pl.col("n_amount")).sum())
    )
    won = counts.filter(outcome="won").group_by(PIPELINE).agg(won_minor=pl.col("amount_minor").sum())
    following = pl.col("amount_minor").shift(-1).over(PIPELINE).fill_null(pl.col("won_minor").fill_null(0))
    amount = pl.col("amount_minor")
    return (
        reached.sort(*PIPELINE, "stage_sort", "stage_id")
        .join(won, on=PIPELINE, how="left", maintain_order="left")
        .with_columns(conv_amount=following / pl.when(amount > 0).then(amount))
        .drop("stage_sort", "won_minor")
    )


def _outcomes() -> list[pl.Expr]:
    """n and how many of each outcome, of rows with outcome and n."""
    kinds = {"won": ["won"], "lost": ["lost"], "n_open": ["open", "unsorted"], "n_moved": ["moved"]}
    counted = [pl.col("n").filter(pl.col("outcome").is_in(names)).sum().alias(name) for name, names in kinds.items()]
    return [pl.col("n").sum().alias("n_all"), *counted]


def _mature_share() -> pl.Expr:
    return (pl.col("n").filter("is_mature").sum() / pl.col("n").sum()).alias("mature_share")


def _summary(collected: dict[str, pl.DataFrame]) -> pl.DataFrame:
    amount = pl.col("amount_minor")
    return (
        collected["standing"]
        .group_by(PIPELINE)
        .agg(
            *_outcomes(),
            amount.sum(),
            won_minor=amount.filter(pl.col("outcome") == "won").sum(),
            n_null_amount=(pl.col("n") - pl.col("n_amount")).sum(),
        )
        .rename({"n_all": "n"})
        .join(collected["months"].group_by(PIPELINE).agg(_mature_share()), on=PIPELINE, how="left")
        .with_columns(decided=pl.col("won") + pl.col("lost"), semantics=pl.lit("cohort"))
        .with_columns(
            *rate_columns("won", "n"),
            *rate_columns("won", "decided", "decided_"),
            pipeline_key(),
            rate_amount=pl.col("won_minor") / pl.when(amount > 0).then(amount),
        )
    )


def _months(collected: dict[str, pl.DataFrame]) -> pl.DataFrame:
    """Cohorts by the month they began in; the month that is still running is not complete."""
    counted = collected["months"].group_by(*PIPELINE, "month_no").agg(*_outcomes(), _mature_share())
    return (
        counted.rename({"n_all": "n"})
        .with_columns(*rate_columns("won", "n"), pipeline_key(), month=first_day(pl.col("month_no")))
        .join(collected["clock"], on="account_id", how="left")
        .with_columns(complete=pl.col("month").dt.offset_by("1mo") <= pl.col("as_of_on"))
    )


def _by_user(collected: dict[str, pl.DataFrame], params: CohortFunnelParams) -> pl.DataFrame:
    key = ["account_id", "pipeline_id", "user_id", "user_active", "user_is_robot"]
    n = pl.col("n")
    table = (
        collected["by_user"]
        .group_by(key)
        .agg(num=n.filter(pl.col("outcome") == "won").sum(), den=n.sum())
        .with_columns(*rate_columns(), low_n("den", min_n=params.min_n), group_key())
    )
    works_here = pl.col("user_active") & ~pl.col("user_is_robot")
    in_teams = table.sort("account_id", "pipeline_id", "user_id", nulls_last=True)
    beside = compared(in_teams, "num", "den", within=PIPELINE, tested=~pl.col("low_n"), in_team=works_here)
    return ranked(beside, "rate", "den", "account_id", "pipeline_id", "user_id")


def _drilldown(collected: dict[str, pl.DataFrame]) -> pl.DataFrame:
    """Deals that stopped, most valuable first within their stage; value = amount."""
    stopped = funnel.stopped_at(collected["stopped"], collected["rungs"]).with_columns(stage_key())
    by = ["account_id", "group_key", "amount_minor", "deal_id"]
    return deal_rows(
        stopped.sort(by, descending=[False, False, True, False], nulls_last=True),
        event_at="ended_at",
        value="amount_minor",
        value_unit=pl.lit("minor"),
        reason=pl.when(pl.col("outcome") == "lost").then(pl.lit("LOST_HERE")).otherwise(pl.lit("OPEN_HERE")),
    )


RU = Text(
    name="Когортная конверсия по этапам",
    definition=(
        "Берём сделки, созданные за период (или вошедшие в воронку), и смотрим, как далеко каждая дошла к сегодняшнему "
        "дню. Дошла до этапа — побывала на нём, на любом более позднем или была выиграна; пропущенный этап считается "
        "достигнутым. Возвращённая в работу сделка считается по тому, что с ней сейчас. Отказ — не ступень: "
        "потерянная на втором этапе дошла до первого и второго."
    ),
    formula=(
        "Конверсия шага = дошли до следующего этапа / дошли до этого; с последнего этапа — выиграны. Общая = выиграно "
        "/ все сделки когорты. Доля побед среди решённых = выиграно / (выиграно + потеряно). Рядом то же в деньгах. "
        "Менеджер сравнивается с остальной командой, при многих сравнениях с поправкой."
    ),
    pitfalls=(
        "Открытые сделки остаются в знаменателе: пока когорта молода, конверсия ещё вырастет, смотрите долю созревших. "
        "Нельзя делить «выиграно в этом месяце» на «создано в этом месяце» — это другой показатель (E3). Отличие "
        "менеджера — повод посмотреть: заявки распределяются не случайно."
    ),
)
EN = Text(
    name="Cohort funnel",
    definition=(
        "The deals created (or entered into the pipeline) within the period, and how far each has got by now. A deal "
        "reached a stage if it stood on it, on any later one, or was ever won; a skipped stage counts as reached. A "
        "reopened deal counts as what it is now. Lost is no rung: a deal lost on stage 2 reached 1 and 2."
    ),
    formula=(
        "Step conversion = reached the next stage / reached this one; from the last stage to won. Overall = won / "
        "all deals of the cohort. Win rate of decided = won / (won + lost). The same in money beside. A manager is "
        "compared with the rest of the team, corrected for many comparisons."
    ),
    pitfalls=(
        "Open deals stay in the denominator: a young cohort will still grow, look at the mature share. “Won this "
        "month” divided by “created this month” is another metric (E3). A manager who differs is a reason to look: "
        "leads are not given out at random."
    ),
)

METRIC = Metric(
    id="E2",
    text={"ru": RU, "en": EN},
    params=CohortFunnelParams,
    inputs=(*FUNNEL_INPUTS, "user"),
    resources=FUNNEL_RESOURCES,
    subject={"stages": None, "summary": None, "months": None, "by_user": "user_id", "drilldown": "user_id"},
    semantics="cohort",
    reduce=reduce,
    finish=finish,
    default_period_d=180,
    counted={"stages": ("lost", "n_open")},
)
