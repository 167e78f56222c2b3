"""Which deals the metrics of the funnel (E) look at, and what their tables and drill-downs have in common."""

from dataclasses import dataclass
from datetime import date
from typing import Any

import narwhals.stable.v2 as nw
import polars as pl

from metrics import funnel
from metrics.funnel import DEAL, PIPELINE, start_of
from metrics.metric import Frames, Params, Period, drilldown_rows
from metrics.people import of_population

Lazy = nw.LazyFrame[Any]

FUNNEL_INPUTS = ("deal_state", "stage_interval", "stage", "pipeline")
FUNNEL_RESOURCES = ("deal", "deal_stage_transition", "stage", "pipeline")


class FunnelParams(Params):
    """Which deals are looked at."""

    pipeline_id: str | None = None
    """One pipeline; None: all, each apart."""
    population: tuple[str, ...] | None = None
    """Responsible users whose deals are counted; None: everybody's."""


@dataclass(frozen=True)
class Scope:
    """Deals (no leads) and their stays as far as `as_of` sees them, of the pipelines and people asked for.

    pipelines: account_id, pipeline_id, pipeline_name, pipeline_sort. rungs: `funnel.ladder`.
    """

    clock: Lazy
    deals: Lazy
    visits: Lazy
    rungs: Lazy
    pipelines: Lazy


def scope(frames: Frames, params: FunnelParams) -> Scope:
    """What `params` asks for. Deals keep their row even where they stand in another pipeline now."""
    clock = frames["clock"]
    deals, visits = funnel.seen(frames["deal_state"], frames["stage_interval"], clock)
    own = of_population(deals, params.population, "responsible_user_id")
    named = frames["pipeline"].select(*PIPELINE, pipeline_name="name", pipeline_sort="sort")
    return Scope(
        clock,
        own,
        _of_pipeline(visits, params).join(own.select(*DEAL), on=DEAL, how="semi"),
        _of_pipeline(funnel.ladder(frames["stage"], clock), params),
        _of_pipeline(named, params),
    )


def _of_pipeline(rows: Lazy, params: FunnelParams) -> Lazy:
    return rows if params.pipeline_id is None else rows.filter(nw.col("pipeline_id") == params.pipeline_id)


IS_ON_LADDER = (nw.col("outcome") != "unsorted") | ~nw.col("top_sort").is_null()
"""A request nobody has sorted yet has not begun its way."""


def within(first: date, end: date, local: str) -> nw.Expr:
    """Whether a wall time falls in the local days [first, end); false where it is not known."""
    return ((nw.col(local) >= start_of(first)) & (nw.col(local) < start_of(end))).fill_null(False)


def in_period(period: Period, local: str) -> nw.Expr:
    return within(period.period_from, period.period_to, local)


def cohort(scope: Scope, period: Period, anchor: funnel.Anchor = "created") -> Lazy:
    """Members (`funnel.members`) that began within the period, with age_s at `as_of`."""
    now = scope.clock.select("account_id", "as_of_epoch")
    return (
        funnel.members(scope.deals, scope.visits, anchor=anchor)
        .filter(in_period(period, "start_local"), IS_ON_LADDER)
        .join(now, on="account_id", how="inner")
        .with_columns(age_s=nw.col("as_of_epoch") - nw.col("start_epoch"))
        .drop("as_of_epoch")
    )


# The finishing half.


def stage_key() -> pl.Expr:
    """`group_key` of a stage: pipelines of one source may share stage ids. Without a stage the pipeline and `|`."""
    return pl.concat_str("pipeline_id", pl.lit("|"), pl.col("stage_id").fill_null("")).alias("group_key")


def pipeline_key() -> pl.Expr:
    return pl.col("pipeline_id").alias("group_key")


def in_order(table: pl.DataFrame, pipelines: pl.DataFrame, *by: str) -> pl.DataFrame:
    """`table` with pipeline_name, in the order of pipelines and then of `by`."""
    named = table.join(pipelines, on=PIPELINE, how="left", maintain_order="left")
    order = ["account_id", "pipeline_sort", "pipeline_id", *by]
    return named.sort(order, nulls_last=True).drop("pipeline_sort")


def in_stage_order(table: pl.DataFrame, pipelines: pl.DataFrame) -> pl.DataFrame:
    """`table` of rungs with pipeline_name and group_key, in the order of the ladder."""
    return in_order(table, pipelines, "stage_sort", "stage_id").with_columns(stage_key())


def only_with_deals(rungs: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    """Rungs of pipelines that `rows` know any deal of: of an empty pipeline nothing can be said."""
    return rungs.join(rows.select(PIPELINE).unique(), on=PIPELINE, how="semi", maintain_order="left")


def shaped(table: pl.DataFrame, schema: dict[str, pl.DataType]) -> pl.DataFrame:
    """Exactly the columns of `schema`, in its order and types."""
    return table.select(*schema).cast(pl.Schema(schema))


def deal_rows(rows: pl.DataFrame, **columns: pl.Expr | str) -> pl.DataFrame:
    """`rows` of deals (deal_id, client_id, user_id) as a drill-down."""
    return drilldown_rows(rows, entity_kind=pl.lit("deal"), entity_id="deal_id", **columns)


def whole_minor(value: pl.Expr) -> pl.Expr:
    """Money, rounded once."""
    return value.round(mode="half_to_even").cast(pl.Int64)


TEXT, INT, REAL, FLAG, DAY = pl.String(), pl.Int64(), pl.Float64(), pl.Boolean(), pl.Date()

RATE: dict[str, pl.DataType] = {"rate": REAL, "ci_lo": REAL, "ci_hi": REAL}


def rates(prefix: str = "") -> dict[str, pl.DataType]:
    return {f"{prefix}{name}": kind for name, kind in RATE.items()}


STAGE_COLUMNS: dict[str, pl.DataType] = {
    "account_id": TEXT,
    "pipeline_id": TEXT,
    "pipeline_name": TEXT,
    "stage_id": TEXT,
    "stage_name": TEXT,
}
PIPELINE_COLUMNS: dict[str, pl.DataType] = {"account_id": TEXT, "pipeline_id": TEXT, "pipeline_name": TEXT}
