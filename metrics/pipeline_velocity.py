"""E19: how much money a pipeline brings a day: open qualified deals × win rate × average won amount / cycle.

Source: the metric catalogue, E19.
"""

from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
import polars as pl
from pydantic import Field

from metrics.funnel import DAY_S, PIPELINE
from metrics.funnel_scope import (
    FLAG,
    FUNNEL_INPUTS,
    FUNNEL_RESOURCES,
    INT,
    PIPELINE_COLUMNS,
    REAL,
    TEXT,
    FunnelParams,
    Lazy,
    deal_rows,
    in_order,
    in_period,
    pipeline_key,
    scope,
    shaped,
    whole_minor,
)
from metrics.metric import Frames, Metric, MetricResult, Period, Text
from metrics.rates import MIN_N


class PipelineVelocityParams(FunnelParams):
    """What counts as qualified, and how the interval is drawn."""

    qualified_stage: int = Field(default=2, ge=1)
    """Open deals count from the so-manieth stage of their pipeline on."""
    bootstrap: int = Field(default=2000, ge=100, le=20_000)
    """How often decided and open deals are drawn anew for the interval."""
    seed: int = Field(default=20260101, ge=0)
    min_n: int = Field(default=MIN_N, ge=0)
    """Below so many decided deals the numbers say little."""


def reduce(frames: Frames, params: PipelineVelocityParams, period: Period) -> dict[str, Lazy]:
    """Deals decided within the period, and deals open now."""
    seen = scope(frames, params)
    decided = seen.deals.filter(nw.col("outcome").is_in(["won", "lost"]), in_period(period, "outcome_local"))
    cycle_s = nw.col("outcome_epoch") - nw.col("created_epoch")
    columns = [*PIPELINE, "deal_id", "client_id", "amount_minor"]
    owner = {"user_id": "responsible_user_id"}
    return {
        "rungs": seen.rungs,
        "pipelines": seen.pipelines,
        "decided": decided.select(*PIPELINE, "deal_id", "outcome", "amount_minor", cycle_s=cycle_s),
        "open": seen.deals.filter(nw.col("outcome") == "open").select(*columns, "stage_id", "created_at", **owner),
    }


def finish(collected: dict[str, pl.DataFrame], params: PipelineVelocityParams, period: Period) -> MetricResult:
    """Velocity per pipeline with its interval, and the open deals it rests on."""
    rung = pl.int_range(1, pl.len() + 1).over(PIPELINE)
    rungs = collected["rungs"].sort(*PIPELINE, "stage_sort", "stage_id").with_columns(rung=rung)
    last = rungs.group_by(PIPELINE).agg(last=pl.col("rung").max())
    placed = collected["open"].join(rungs.select(*PIPELINE, "stage_id", "rung"), on=[*PIPELINE, "stage_id"])
    from_rung = pl.min_horizontal(pl.lit(params.qualified_stage), "last")  # a pipeline of one stage has no second
    is_qualified = pl.col("rung") >= from_rung
    qualified = (
        placed.join(last, on=PIPELINE).filter(is_qualified).with_columns(pipeline_key()).sort("account_id", "deal_id")
    )
    decided = collected["decided"].sort("account_id", "deal_id")
    known = pl.concat([qualified.select(PIPELINE), decided.select(PIPELINE)]).unique()
    named = collected["pipelines"].join(known, on=PIPELINE, how="semi").sort("account_id", "pipeline_id")
    rows = [
        {**row, **_velocity(decided.filter(**row), qualified.filter(**row).height, params)}
        for row in named.select(PIPELINE).iter_rows(named=True)
    ]
    schema = {**dict.fromkeys(PIPELINE, TEXT), **dict.fromkeys(NUMBERS, REAL)}
    table = pl.DataFrame(rows, schema=schema).with_columns(
        pipeline_key(),
        *(whole_minor(pl.col(name)) for name in NUMBERS if name.endswith("_minor")),
        low_n=pl.col("n_decided") < params.min_n,
    )
    return METRIC.result(
        params,
        period,
        tables={"summary": in_order(table, collected["pipelines"]).pipe(shaped, SUMMARY)},
        drilldown=deal_rows(
            qualified.sort(
                "account_id",
                "group_key",
                "amount_minor",
                "deal_id",
                descending=[False, False, True, False],
                nulls_last=True,
            ),
            event_at="created_at",
            value="amount_minor",
            value_unit=pl.lit("minor"),
            reason=pl.lit("OPEN_QUALIFIED"),
        ),
    )


NUMBERS = (
    "n_open_qualified",
    "n_won",
    "n_decided",
    "win_rate",
    "won_mean_minor",
    "cycle_d",
    "velocity_minor",
    "ci_lo_minor",
    "ci_hi_minor",
)
SUMMARY: dict[str, pl.DataType] = {
    **PIPELINE_COLUMNS,
    **{name: INT if name.startswith("n_") or name.endswith("_minor") else REAL for name in NUMBERS},
    "low_n": FLAG,
    "group_key": TEXT,
}
"""One row per pipeline: velocity_minor a day = n_open_qualified · win_rate · won_mean_minor / cycle_d; its 95 %
interval by bootstrap over decided deals. win_rate, won_mean_minor and cycle_d (mean days from creation to win) are of
deals decided within the period; null where none was won."""


def velocity(n_open: float, win_rate: float, won_mean: float, cycle_d: float) -> float:
    """Money a day."""
    return n_open * win_rate * won_mean / cycle_d


def _velocity(decided: pl.DataFrame, n_open: int, params: PipelineVelocityParams) -> dict[str, Any]:
    is_won = (decided["outcome"] == "won").to_numpy()
    amounts = decided["amount_minor"].cast(pl.Float64).fill_null(np.nan).to_numpy()
    cycle_d = decided["cycle_s"].to_numpy() / DAY_S
    counts = {"n_open_qualified": n_open, "n_won": int(is_won.sum()), "n_decided": decided.height}
    if not np.isfinite(amounts[is_won]).any() or cycle_d[is_won].mean() <= 0:
        return counts
    parts = (float(is_won.mean()), float(np.nanmean(amounts[is_won])), float(cycle_d[is_won].mean()))
    rng = np.random.default_rng(params.seed)
    drawn = []
    for _ in range(params.bootstrap):
        pick = rng.integers(0, is_won.size, is_won.size)
        won = pick[is_won[pick]]
        paid = amounts[won]
        if np.isfinite(paid).any() and cycle_d[won].mean() > 0:
            drawn.append(velocity(n_open, won.size / pick.size, float(np.nanmean(paid)), float(cycle_d[won].mean())))
        else:
            drawn.append(0.0)
    lo, hi = np.quantile(drawn, (0.025, 0.975))
    names = dict(zip(("win_rate", "won_mean_minor", "cycle_d"), parts, strict=True))
    return {
        **counts,
        **names,
        "velocity_minor": velocity(n_open, *parts),
        "ci_lo_minor": float(lo),
        "ci_hi_minor": float(hi),
    }


RU = Text(
    name="Скорость воронки",
    definition=(
        "Сколько денег в день приносит воронка при нынешнем числе открытых сделок, доле побед, среднем чеке и цикле."
    ),
    formula=(
        "Открытые сделки со второго этапа × доля побед × средний чек выигранных / дней от создания до победы. Доля, "
        "чек и цикл — по сделкам, решённым за период. Интервал — бутстрепом."
    ),
    pitfalls=(
        "Это произведение четырёх оценок: смотрите на интервал, а не на одно число. Открытые сделки, с которыми никто "
        "не работает, завышают его."
    ),
)
EN = Text(
    name="Pipeline velocity",
    definition=(
        "How much money a day the pipeline brings at the present number of open deals, win rate, amount and cycle."
    ),
    formula=(
        "Open deals from the second stage on × win rate × mean won amount / days from creation to the win. Rate, "
        "amount and cycle are of deals decided within the period. The interval is a bootstrap."
    ),
    pitfalls=(
        "A product of four estimates: look at the interval, not at one number. Open deals nobody works on inflate it."
    ),
)

METRIC = Metric(
    id="E19",
    text={"ru": RU, "en": EN},
    params=PipelineVelocityParams,
    inputs=FUNNEL_INPUTS,
    resources=FUNNEL_RESOURCES,
    subject={"summary": None, "drilldown": "user_id"},
    semantics="snapshot",
    reduce=reduce,
    finish=finish,
    default_period_d=90,
    counted={"summary": ("n_open_qualified",)},
)
