"""E1: where open deals stand now, how long they have, and how much money is in them. A stock, never a conversion.

Source: the metric catalogue, E1; the weighted amount is that of E17.
"""

import narwhals.stable.v2 as nw
import polars as pl

from metrics.funnel import DAY_S, PIPELINE, STAGE
from metrics.funnel_scope import (
    FLAG,
    FUNNEL_INPUTS,
    FUNNEL_RESOURCES,
    INT,
    PIPELINE_COLUMNS,
    REAL,
    STAGE_COLUMNS,
    TEXT,
    Lazy,
    deal_rows,
    in_order,
    in_stage_order,
    only_with_deals,
    pipeline_key,
    rates,
    scope,
    shaped,
    stage_key,
    whole_minor,
)
from metrics.metric import Frames, Metric, MetricResult, Period, Text
from metrics.rates import rate_columns
from metrics.stage_clock import deadlines, no_deadline_notices, on_stage_clock
from metrics.stage_odds import OddsParams, imputed, odds, odds_inputs, standing_deals, with_odds


class StageSnapshotParams(OddsParams):
    """Which deals are looked at, and which earlier ones the chances come from."""


def reduce(frames: Frames, params: StageSnapshotParams, period: Period) -> dict[str, Lazy]:
    """Open deals with their age on the stage, and what the chances are made of."""
    seen = scope(frames, params)
    standing = standing_deals(seen).join(seen.clock.select("account_id", "as_of_epoch"), on="account_id", how="inner")
    aged = on_stage_clock(standing, frames, seen, start="entered", end="as_of", into="clock_s")
    age_s = nw.col("as_of_epoch") - nw.col("entered_epoch")
    return {
        "rungs": deadlines(frames, seen),
        "pipelines": seen.pipelines,
        "deals": aged.with_columns(age_s=age_s).drop("entered_local", "entered_epoch", "as_of_epoch"),
        **odds_inputs(seen, params),
    }


def finish(collected: dict[str, pl.DataFrame], params: StageSnapshotParams, period: Period) -> MetricResult:
    """The stock by stage and by pipeline, and its deals, the oldest on their stage first."""
    chances = odds(collected["rungs"], collected["reached"], params)
    deals = with_odds(imputed(collected["deals"], collected["won_amounts"]), chances).with_columns(
        stage_key(), is_late=pl.col("clock_s") > pl.col("sla_s")
    )
    deals = deals.sort("account_id", "deal_id")  # sums of floats hang on the order of their parts
    pipelines, rungs = collected["pipelines"], only_with_deals(collected["rungs"], collected["deals"])
    stages = rungs.join(_counted(deals, STAGE), on=STAGE, how="left", maintain_order="left").with_columns(
        pl.col("n", "n_null_amount", "amount_minor", "weighted_minor", "num", "den", "n_age_unknown").fill_null(0)
    )
    summary = _counted(deals, PIPELINE).with_columns(pipeline_key())
    return METRIC.result(
        params,
        period,
        tables={
            "stages": in_stage_order(stages.with_columns(*rate_columns()), pipelines).pipe(shaped, STAGES),
            "summary": in_order(summary.with_columns(*rate_columns()), pipelines).pipe(shaped, SUMMARY),
        },
        drilldown=deal_rows(
            deals.sort("account_id", "age_s", "deal_id", descending=[False, True, False], nulls_last=True),
            event_at="entered_at",
            value=pl.col("age_s") / DAY_S,
            value_unit=pl.lit("d"),
            reason=pl.when("is_late").then(pl.lit("OPEN_LATE")).otherwise(pl.lit("OPEN")),
        ),
        warnings=no_deadline_notices(collected["rungs"], collected["deals"]),
    )


COUNTS: dict[str, pl.DataType] = {
    "n": INT,
    "amount_minor": INT,
    "n_null_amount": INT,
    "weighted_minor": INT,
    "age_median_d": REAL,
    "n_age_unknown": INT,
    "num": INT,
    "den": INT,
    **rates(),
}
STAGES: dict[str, pl.DataType] = {
    **STAGE_COLUMNS,
    "semantics": TEXT,
    **COUNTS,
    "sla_s": INT,
    "sla_clock": TEXT,
    "is_kev": FLAG,
    "group_key": TEXT,
}
"""One row per stage: n deals stand there now. num of den are past the stage's deadline (rate; null where none is set);
den: those whose age on the stage is known."""
SUMMARY: dict[str, pl.DataType] = {**PIPELINE_COLUMNS, "semantics": TEXT, **COUNTS, "group_key": TEXT}


def _counted(deals: pl.DataFrame, by: list[str]) -> pl.DataFrame:
    has_deadline = pl.col("sla_s").is_not_null() & pl.col("clock_s").is_not_null()
    return deals.group_by(by).agg(
        semantics=pl.lit("snapshot"),
        n=pl.len().cast(pl.Int64),
        amount_minor=pl.col("amount_minor").sum(),
        n_null_amount=pl.col("amount_minor").null_count().cast(pl.Int64),
        weighted_minor=whole_minor(pl.col("weighted").sum()),
        age_median_d=pl.col("age_s").median() / DAY_S,
        n_age_unknown=pl.col("age_s").null_count().cast(pl.Int64),
        num=(pl.col("is_late") & has_deadline).sum().cast(pl.Int64),
        den=has_deadline.sum().cast(pl.Int64),
    )


RU = Text(
    name="Распределение сделок по воронке",
    definition=(
        "Сколько открытых сделок стоит на каждом этапе прямо сейчас, сколько в них денег, как давно они там стоят "
        "и сколько из них дольше срока, заданного для этапа."
    ),
    formula=(
        "Возраст на этапе = от последнего входа до сегодня; показана медиана. Доля старше срока = сделки, чей "
        "возраст больше срока этапа (в рабочих или календарных часах) / сделки этапов со сроком. Взвешенная сумма "
        "= сумма × вероятность выиграть с этого этапа (E17)."
    ),
    pitfalls=(
        "Это остаток, а не конверсия: делить этап на этап нельзя. Сумма «0» в открытой сделке считается "
        "незаполненной. Этап без срока — «не задано», а не «всё в порядке»."
    ),
)
EN = Text(
    name="Stage snapshot",
    definition=(
        "How many open deals stand on each stage right now, how much money is in them, for how long they have stood "
        "there, and how many of them longer than the deadline set for the stage."
    ),
    formula=(
        "Age on the stage = from the last entry until now; the median is shown. Share past the deadline = deals "
        "older than the stage's deadline (working or calendar hours) / deals of stages with one. Weighted amount = "
        "amount × chance to be won from this stage (E17)."
    ),
    pitfalls=(
        "This is a stock, not a conversion: never divide stage by stage. An amount of 0 on an open deal counts as "
        "not filled in. A stage without a deadline is “not set”, not “fine”."
    ),
)

METRIC = Metric(
    id="E1",
    text={"ru": RU, "en": EN},
    params=StageSnapshotParams,
    inputs=(*FUNNEL_INPUTS, "user", "calendar_day"),
    resources=FUNNEL_RESOURCES,
    subject={"stages": None, "summary": None, "drilldown": "user_id"},
    semantics="snapshot",
    reduce=reduce,
    finish=finish,
    default_period_d=30,
    reads_period=False,
    counted={"stages": ("n",)},
    adds_up={"stages": "summary"},
)
