"""E3: what happened in the funnel within the period, whatever deal it happened to.

A flow, not a cohort: a deal won in April may have been created in January, so ratios may exceed 1.

Source: the metric catalogue, E3.
"""

import narwhals.stable.v2 as nw
import polars as pl

from metrics.funnel import DEAL, MEMBER, PIPELINE, STAGE
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
    deal_rows,
    in_order,
    in_period,
    in_stage_order,
    only_with_deals,
    pipeline_key,
    rates,
    scope,
    shaped,
)
from metrics.metric import Frames, Metric, MetricResult, Period, Text
from metrics.months import first_day, month_no
from metrics.rates import rate_columns


class PeriodFlowParams(FunnelParams):
    """Which deals are looked at."""


def reduce(frames: Frames, params: PeriodFlowParams, period: Period) -> dict[str, Lazy]:
    """Entries per stage, and the deals that were created, won or lost within the period."""
    seen = scope(frames, params)
    stood = seen.visits.filter(
        nw.col("stage_kind") == "open", ~nw.col("is_pass_through").fill_null(False), in_period(period, "entered_local")
    )
    entries = stood.select(*STAGE, "deal_id").unique([*STAGE, "deal_id"])
    ended = seen.deals.filter(nw.col("outcome").is_in(["won", "lost"]), in_period(period, "outcome_local"))
    born = seen.visits.filter(nw.col("n") == 1).select(*MEMBER)
    created = seen.deals.filter(in_period(period, "created_local")).select(
        *DEAL, "created_local", now_pipeline_id="pipeline_id", now_outcome="outcome"
    )
    won_here = (nw.col("now_outcome") == "won") & (nw.col("now_pipeline_id") == nw.col("pipeline_id"))
    begun = born.join(created, on=DEAL, how="inner").with_columns(
        month_no=month_no(nw.col("created_local")), is_won=won_here.fill_null(False)
    )
    is_old = ~in_period(period, "created_local")
    of_pipeline = seen.pipelines.select(*PIPELINE)
    closed = ended.join(of_pipeline, on=PIPELINE, how="semi").select(
        *MEMBER,
        "client_id",
        "outcome",
        "amount_minor",
        user_id="outcome_user_id",
        event_at="outcome_at",
        is_older=is_old,
        month_no=month_no(nw.col("outcome_local")),
    )
    return {
        "rungs": seen.rungs,
        "pipelines": seen.pipelines,
        "clock": seen.clock.select("account_id", "as_of_on"),
        "entries": entries.group_by(*STAGE).agg(entries=nw.len().cast(nw.Int64)),
        "created": begun.group_by(*PIPELINE, "month_no", "is_won").agg(n=nw.len().cast(nw.Int64)),
        "ended": closed,
    }


def finish(collected: dict[str, pl.DataFrame], params: PeriodFlowParams, period: Period) -> MetricResult:
    """Entries stage by stage, the totals of the period and of its months, and the deals won and lost."""
    pipelines = collected["pipelines"]
    ended = collected["ended"].with_columns(pipeline_key())
    by_month = [*PIPELINE, "month_no"]
    months = (
        _flows(collected["created"], ended, by_month)
        .join(collected["clock"], on="account_id", how="left")
        .with_columns(month=first_day(pl.col("month_no")))
        .with_columns(complete=pl.col("month").dt.offset_by("1mo") <= pl.col("as_of_on"))
    )
    return METRIC.result(
        params,
        period,
        tables={
            "stages": in_stage_order(_stages(collected), pipelines).pipe(shaped, STAGES),
            "summary": in_order(_flows(collected["created"], ended, PIPELINE), pipelines).pipe(shaped, SUMMARY),
            "months": in_order(months, pipelines, "month").pipe(shaped, MONTHS),
        },
        drilldown=deal_rows(
            ended.sort("account_id", "event_at", "deal_id", nulls_last=True),
            value="amount_minor",
            value_unit=pl.lit("minor"),
            reason=pl.when(pl.col("outcome") == "won").then(pl.lit("WON")).otherwise(pl.lit("LOST")),
        ),
    )


STAGES: dict[str, pl.DataType] = {
    **STAGE_COLUMNS,
    "semantics": TEXT,
    "entries": INT,
    "next_entries": INT,
    "ratio": REAL,
    "group_key": TEXT,
}
"""entries: distinct deals that came to stand on the stage within the period; next_entries: on the next one, after the
last stage wins. ratio may exceed 1 and has no interval."""
COUNTS: dict[str, pl.DataType] = {
    "created": INT,
    "won": INT,
    "won_older": INT,
    "lost": INT,
    "ratio": REAL,
    "cohort_won": INT,
    **rates("decided_"),
    "won_minor": INT,
    "n_null_amount": INT,
    "group_key": TEXT,
}
SUMMARY: dict[str, pl.DataType] = {**PIPELINE_COLUMNS, "semantics": TEXT, **COUNTS}
"""ratio = won / created, a flow. won_older: of the won, created before the period. cohort_won: of those created within
it, won so far. decided_rate = won / (won + lost) by the day of the outcome. won_minor: of won deals whose amount is
known; n_null_amount: of the others."""
MONTHS: dict[str, pl.DataType] = {**PIPELINE_COLUMNS, "month": DAY, "complete": FLAG, "semantics": TEXT, **COUNTS}


def _stages(collected: dict[str, pl.DataFrame]) -> pl.DataFrame:
    rungs = only_with_deals(collected["rungs"], pl.concat([collected[name].select(PIPELINE) for name in FLOWS]))
    won = collected["ended"].filter(outcome="won").group_by(PIPELINE).agg(won=pl.len().cast(pl.Int64))
    following = pl.col("entries").shift(-1).over(PIPELINE).fill_null(pl.col("won"))
    return (
        rungs.sort(*PIPELINE, "stage_sort", "stage_id")
        .join(collected["entries"], on=STAGE, how="left", maintain_order="left")
        .join(won, on=PIPELINE, how="left", maintain_order="left")
        .with_columns(pl.col("entries", "won").fill_null(0), semantics=pl.lit("flow"))
        .with_columns(next_entries=following)
        .with_columns(ratio=pl.col("next_entries") / pl.when(pl.col("entries") > 0).then("entries"))
    )


FLOWS = ("entries", "created", "ended")


def _flows(created: pl.DataFrame, ended: pl.DataFrame, by: list[str]) -> pl.DataFrame:
    n = pl.col("n")
    begun = created.group_by(by).agg(created=n.sum(), cohort_won=n.filter("is_won").sum())
    is_won = pl.col("outcome") == "won"
    closed = ended.group_by(by).agg(
        won=is_won.sum().cast(pl.Int64),
        won_older=(is_won & pl.col("is_older")).sum().cast(pl.Int64),
        lost=(~is_won).sum().cast(pl.Int64),
        won_minor=pl.col("amount_minor").filter(is_won).sum(),
        n_null_amount=pl.col("amount_minor").filter(is_won).null_count().cast(pl.Int64),
    )
    return (
        begun.join(closed, on=by, how="full", coalesce=True)
        .with_columns(pl.exclude(by).fill_null(0))
        .with_columns(decided=pl.col("won") + pl.col("lost"), semantics=pl.lit("flow"))
        .with_columns(
            *rate_columns("won", "decided", "decided_"),
            pipeline_key(),
            ratio=pl.col("won") / pl.when(pl.col("created") > 0).then("created"),
        )
    )


RU = Text(
    name="Конверсия периода",
    definition=(
        "Что произошло в воронке за период, с какими бы сделками это ни случилось: сколько сделок создано, вошло на "
        "каждый этап, выиграно и потеряно. Выигранная в апреле сделка могла быть создана в январе."
    ),
    formula=(
        "Поток = выиграно за период / создано за период; по этапам — вошло на следующий / вошло на этот. Может быть "
        "больше 100 %. Доля побед = выиграно / (выиграно + потеряно) по дате исхода. Рядом: сколько из созданных за "
        "период уже выиграно."
    ),
    pitfalls=(
        "Рост или спад числа заявок меняет этот показатель без всякой перемены в работе: стало больше новых — поток "
        "упал. Чтобы судить о работе, смотрите когорты (E2) и конверсию с учётом незавершённых (E4)."
    ),
)
EN = Text(
    name="Period flow",
    definition=(
        "What happened in the funnel within the period, to whatever deal: how many were created, entered each stage, "
        "were won and lost. A deal won in April may have been created in January."
    ),
    formula=(
        "Flow = won in the period / created in the period; by stage entries to the next / entries to this one. May "
        "exceed 100%. Win rate = won / (won + lost) by the day of the outcome. Beside: how many of those created in "
        "the period are won so far."
    ),
    pitfalls=(
        "Growth or decline of inflow moves it without any change of skill: more new deals, lower flow. To judge work "
        "look at cohorts (E2) and conversion with censoring (E4)."
    ),
)

METRIC = Metric(
    id="E3",
    text={"ru": RU, "en": EN},
    params=PeriodFlowParams,
    inputs=FUNNEL_INPUTS,
    resources=FUNNEL_RESOURCES,
    subject={"stages": None, "summary": None, "months": None, "drilldown": "user_id"},
    semantics="flow",
    reduce=reduce,
    finish=finish,
    default_period_d=90,
    counted={"summary": ("won", "lost")},
)
