"""C5: from which stage deals are lost, and whether they had been further before.

The stage of a loss is the last open stage before it; stages people marked as technical are passed over, for robots
move deals through them. A deal that was created lost has none.

Source: the metric catalogue, C5. What a loss is: `metrics.losses`.
"""

from typing import Any

import narwhals.stable.v2 as nw
import polars as pl
from pydantic import Field

from metrics.funnel import DAY_S, start_of
from metrics.losses import DEAL, DECIDED_INPUTS, STAGE, LossParams, decided, last_open_stays
from metrics.metric import Frames, Metric, MetricResult, Period, Text, drilldown_rows
from metrics.people import of_population
from metrics.rates import MIN_N, low_n, rate_columns

Lazy = nw.LazyFrame[Any]

CREATED_LOST = "none"
"""The group of deals that were on no open stage; people read `(создана проигранной)`."""


class LossStagesParams(LossParams):
    """Which deals are looked at and when a stage has too few."""

    min_n: int = Field(default=MIN_N, ge=0)
    """Below so many deals that left the stage a row is marked low_n."""


def reduce(frames: Frames, params: LossStagesParams, period: Period) -> dict[str, Lazy]:
    """Deals lost in the period with the stage they were lost from, and how many deals left each stage then."""
    col = nw.col
    since, until = period.period_from, period.period_to
    deals = decided(frames, since, until, pipeline_id=params.pipeline_id)
    lost = deals.filter(col("outcome") == "lost").drop("created_local", "outcome_local")
    left = frames["stage_interval"].filter(
        col("stage_kind") == "open", col("left_local") >= start_of(since), col("left_local") < start_of(until)
    )
    sold = frames["deal_state"].filter((col("entity_kind") == "deal").fill_null(True), col("is_sales").fill_null(True))
    return {
        "lost": lost.join(last_open_stays(frames).drop("pipeline_id"), on=DEAL, how="left"),
        "left": _leavers(left, sold, frames),
        "stages": frames["stage"].select(
            *STAGE, stage_name="name", stage_sort="sort", is_kev=col("is_kev").fill_null(False)
        ),
    }


def _leavers(left: Lazy, deals: Lazy, frames: Frames) -> Lazy:
    """One row per deal and stage it left: with who is responsible, so that a population can be taken."""
    now = frames["clock"].select("account_id", "as_of_epoch")
    mine = deals.select(*DEAL, user_id=nw.coalesce("outcome_user_id", "responsible_user_id"))
    return (
        left.join(now, on="account_id")
        .filter(nw.col("left_epoch") <= nw.col("as_of_epoch"))
        .select(*STAGE, "deal_id")
        .unique([*STAGE, "deal_id"])
        .join(mine, on=DEAL)
        .group_by(*STAGE, "user_id")
        .agg(n=nw.len().cast(nw.Int64))
    )


def finish(collected: dict[str, pl.DataFrame], params: LossStagesParams, period: Period) -> MetricResult:
    """Losses per stage, key stages first; and how far the lost ones had been."""
    lost = (
        of_population(collected["lost"], params.population)
        .join(collected["stages"].select(*STAGE, "stage_sort"), on=STAGE, how="left", maintain_order="left")
        .with_columns(
            group_key=pl.concat_str("pipeline_id", pl.lit("|"), pl.col("stage_id").fill_null(CREATED_LOST)),
            dwell_d=pl.col("dwell_s") / DAY_S,
            was_further=(pl.col("top_sort") > pl.col("stage_sort")).fill_null(False),
        )
        .sort("account_id", "outcome_epoch", "deal_id")
    )
    left = of_population(collected["left"], params.population)
    return METRIC.result(
        params,
        period,
        tables={"stages": _stages(lost, left, collected["stages"], params)},
        drilldown=drilldown_rows(
            lost,
            entity_kind=pl.lit("deal"),
            entity_id="deal_id",
            event_at="outcome_at",
            value="amount_minor",
            value_unit=pl.lit("minor"),
            reason=pl.when(pl.col("stage_id").is_null()).then(pl.lit("CREATED_LOST")).otherwise(pl.lit("LOST_HERE")),
        ),
    )


def _stages(lost: pl.DataFrame, left: pl.DataFrame, stages: pl.DataFrame, params: LossStagesParams) -> pl.DataFrame:
    """Per stage: losses from it (num) of the deals that left it (den), money, the median stay before the loss, and how
    many had been on a higher stage. A deal lost from a stage it left before the period can make num greater than den:
    there is no rate then."""
    keys = [*STAGE, "group_key"]
    counted = lost.group_by(keys).agg(
        num=pl.len().cast(pl.Int64),
        amount_minor=pl.col("amount_minor").sum(),
        n_null_amount=pl.col("amount_minor").is_null().sum().cast(pl.Int64),
        median_dwell_d=pl.col("dwell_d").median(),
        n_further=pl.col("was_further").sum().cast(pl.Int64),
    )
    deals = left.group_by(STAGE).agg(n_left=pl.col("n").sum())
    sold_from = counted.join(deals, on=STAGE, how="left").with_columns(
        den=pl.when(pl.col("n_left") >= pl.col("num")).then("n_left")
    )
    return (
        sold_from.join(stages, on=STAGE, how="left")
        .with_columns(pl.col("is_kev").fill_null(False), *rate_columns(), low_n=_few(params))
        .select(*STAGES)
        .sort(
            ["account_id", "pipeline_id", "is_kev", "num", "stage_sort", "stage_id"],
            descending=[False, False, True, True, False, False],
            nulls_last=True,
        )
    )


def _few(params: LossStagesParams) -> pl.Expr:
    return low_n("den", min_n=params.min_n).fill_null(True)


STAGES = (
    *STAGE,
    "stage_name",
    "stage_sort",
    "is_kev",
    "num",
    "den",
    "rate",
    "ci_lo",
    "ci_hi",
    "low_n",
    "amount_minor",
    "n_null_amount",
    "median_dwell_d",
    "n_further",
    "group_key",
)

RU = Text(
    name="Этап отвала",
    definition=(
        "С какого этапа теряют сделки, сколько они на нём простояли и не были ли раньше дальше. Этап отвала — "
        "последний открытый этап перед проигрышем; технические этапы пропускаются. Сначала ключевые этапы."
    ),
    formula=(
        "Доля потерь = сделки, проигранные прямо с этапа / сделки, ушедшие с него за период. «Были дальше» — те, что "
        "раньше стояли на более позднем этапе и вернулись."
    ),
    pitfalls=(
        "Если робот перед проигрышем переводит сделку на служебный этап, отметьте его как технический, иначе все "
        "потери покажутся на нём. Этап-фильтр теряет много по замыслу. Сделка, созданная сразу проигранной, этапа не "
        "имеет."
    ),
)
EN = Text(
    name="Stage of loss",
    definition=(
        "From which stage deals are lost, how long they had stood there and whether they had been further before. The "
        "stage of a loss is the last open stage before it; technical stages are passed over. Key stages come first."
    ),
    formula=(
        "Loss rate = deals lost straight from the stage / deals that left it in the period. “Were further” are those "
        "that had been on a later stage and came back."
    ),
    pitfalls=(
        "Where a robot moves deals to a service stage just before they are lost, mark that stage as technical, or all "
        "losses will show there. A filter stage is meant to lose many. A deal created as lost has no stage."
    ),
)

METRIC = Metric(
    id="C5",
    text={"ru": RU, "en": EN},
    params=LossStagesParams,
    inputs=(*DECIDED_INPUTS, "stage", "stage_interval"),
    resources=("deal", "user", "deal_stage_transition"),
    subject={"stages": None, "drilldown": "user_id"},
    semantics="flow",
    reduce=reduce,
    finish=finish,
    default_period_d=90,
    counted={"stages": ("num",)},
)
