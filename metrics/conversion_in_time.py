"""E4: the chance to be won within 30, 60, 90, 180 days, with deals that are still open taken into account.

Source: the metric catalogue, E4; Aalen and Johansen (S-AJ). 1 - Kaplan-Meier with losses as censoring overstates wins.
"""

from typing import Annotated

import narwhals.stable.v2 as nw
import polars as pl
from pydantic import Field

from metrics import funnel
from metrics.funnel import DAY_S, DEAL, PIPELINE
from metrics.funnel_scope import (
    DAY,
    FLAG,
    FUNNEL_INPUTS,
    FUNNEL_RESOURCES,
    INT,
    PIPELINE_COLUMNS,
    REAL,
    TEXT,
    FunnelParams,
    Lazy,
    cohort,
    deal_rows,
    in_order,
    pipeline_key,
    scope,
    shaped,
)
from metrics.incidence import incidence
from metrics.metric import Frames, Metric, MetricResult, Period, Text
from metrics.months import first_day, month_no
from metrics.people import group_key, with_user_flags
from metrics.rates import MIN_N, low_n

CAUSES = ("won", "lost", "moved")


class ConversionInTimeParams(FunnelParams):
    """Which deals form the cohort, and after how many days they are judged."""

    anchor: funnel.Anchor = "created"
    """What makes a deal one of the period: its creation, or its first entry into the pipeline."""
    horizons_d: tuple[Annotated[int, Field(ge=1, le=3650)], ...] = Field(default=(30, 60, 90, 180), min_length=1)
    """Days since the start of a deal at which the shares are read."""
    mature_share: float = Field(default=0.9, ge=0, le=1)
    """The final win rate is given only where at least this share of the deals is decided."""
    min_n: int = Field(default=MIN_N, ge=0)
    """Below so many deals a row says little."""


def reduce(frames: Frames, params: ConversionInTimeParams, period: Period) -> dict[str, Lazy]:
    """A row per deal of the cohort: how long it took and what it came to."""
    seen = scope(frames, params)
    rows = cohort(seen, period, params.anchor)
    sources = seen.deals.select(*DEAL, "source_id")
    lasted = nw.coalesce(nw.col("ended_epoch") - nw.col("start_epoch"), nw.col("age_s"))
    told = rows.join(sources, on=DEAL, how="left").select(
        *PIPELINE,
        "deal_id",
        "client_id",
        "user_id",
        "source_id",
        "amount_minor",
        "outcome",
        "ended_at",
        month_no=month_no(nw.col("start_local")),
        lasted_s=nw.when(lasted < 0).then(nw.lit(0)).otherwise(lasted).cast(nw.Int64),
    )
    return {"pipelines": seen.pipelines, "deals": with_user_flags(told, frames)}


def finish(collected: dict[str, pl.DataFrame], params: ConversionInTimeParams, period: Period) -> MetricResult:
    """The shares by horizon: per pipeline, month of start, source and manager."""
    deals, pipelines = collected["deals"].with_columns(pipeline_key()), collected["pipelines"]
    by_user = _table(deals, [*PIPELINE, "user_id", "user_active"], params).with_columns(group_key())
    months = _table(deals, [*PIPELINE, "month_no"], params).with_columns(month=first_day(pl.col("month_no")))
    decided = deals.filter(pl.col("outcome").is_in(["won", "lost"]))
    return METRIC.result(
        params,
        period,
        tables={
            "horizons": in_order(
                _table(deals, PIPELINE, params).with_columns(pipeline_key()), pipelines, "horizon_d"
            ).pipe(shaped, HORIZONS),
            "months": in_order(months, pipelines, "month", "horizon_d").pipe(shaped, MONTHS),
            "by_source": in_order(
                _table(deals, [*PIPELINE, "source_id"], params), pipelines, "source_id", "horizon_d"
            ).pipe(shaped, BY_SOURCE),
            "by_user": in_order(by_user, pipelines, "user_id", "horizon_d").pipe(shaped, BY_USER),
            "summary": in_order(_summary(deals), pipelines).pipe(shaped, SUMMARY),
        },
        drilldown=deal_rows(
            decided.sort("account_id", "lasted_s", "deal_id"),
            event_at="ended_at",
            value=pl.col("lasted_s") / DAY_S,
            value_unit=pl.lit("d"),
            reason=pl.when(pl.col("outcome") == "won").then(pl.lit("WON")).otherwise(pl.lit("LOST")),
        ),
    )


SHARES: dict[str, pl.DataType] = {
    "horizon_d": INT,
    "n": INT,
    "n_at_risk": INT,
    "cif_won": REAL,
    "cif_lost": REAL,
    "cif_moved": REAL,
    "still_open": REAL,
    "limit": REAL,
    "mature_share": REAL,
    "low_n": FLAG,
}
HORIZONS: dict[str, pl.DataType] = {**PIPELINE_COLUMNS, "semantics": TEXT, **SHARES, "group_key": TEXT}
"""cif_won: share of n that is won within horizon_d days; the four shares sum to 1. n_at_risk: watched so long
or longer. limit: won / (won + lost) in the end, null unless mature_share of the deals are decided or moved."""
MONTHS: dict[str, pl.DataType] = {**PIPELINE_COLUMNS, "month": DAY, **SHARES}
BY_SOURCE: dict[str, pl.DataType] = {**PIPELINE_COLUMNS, "source_id": TEXT, **SHARES}
BY_USER: dict[str, pl.DataType] = {
    **PIPELINE_COLUMNS,
    "user_id": TEXT,
    "user_active": FLAG,
    **SHARES,
    "group_key": TEXT,
}
SUMMARY: dict[str, pl.DataType] = {
    **PIPELINE_COLUMNS,
    "n": INT,
    "won": INT,
    "lost": INT,
    "n_open": INT,
    "n_moved": INT,
    "group_key": TEXT,
}


def _table(deals: pl.DataFrame, by: list[str], params: ConversionInTimeParams) -> pl.DataFrame:
    horizons = [day * DAY_S for day in sorted(set(params.horizons_d))]
    shares = incidence(deals, by, duration="lasted_s", outcome="outcome", causes=CAUSES, horizons=horizons)
    won, lost = (pl.col("outcome") == name for name in ("won", "lost"))
    ends = deals.group_by(by).agg(
        limit=won.sum() / pl.when((won | lost).sum() > 0).then((won | lost).sum()),
        mature_share=pl.col("outcome").is_in(CAUSES).mean(),
    )
    is_mature = pl.col("mature_share") >= params.mature_share
    return (
        shares.join(ends, on=by, how="left", nulls_equal=True, maintain_order="left")
        .with_columns(
            low_n("n", min_n=params.min_n),
            horizon_d=(pl.col("horizon") / DAY_S).cast(pl.Int64),
            limit=pl.when(is_mature).then("limit"),
            semantics=pl.lit("cohort"),
        )
        .drop("horizon")
    )


def _summary(deals: pl.DataFrame) -> pl.DataFrame:
    kinds = {"won": ["won"], "lost": ["lost"], "n_open": ["open", "unsorted"], "n_moved": ["moved"]}
    counts = {name: pl.col("outcome").is_in(of).sum().cast(pl.Int64) for name, of in kinds.items()}
    return deals.group_by(PIPELINE).agg(n=pl.len().cast(pl.Int64), **counts).with_columns(pipeline_key())


RU = Text(
    name="Конверсия с учётом незавершённых",
    definition=(
        "Какая доля сделок выигрывается за 30, 60, 90 и 180 дней с начала, если честно учесть те, что ещё открыты: "
        "они не выброшены и не записаны в проигранные. Так можно сравнить старые и совсем свежие сделки."
    ),
    formula=(
        "Оценка Аалена — Йохансена: в каждый день доля выигранных среди тех, кто до этого дня ещё не решён, умноженная "
        "на долю доживших до него, и сумма по дням. Выиграно + потеряно + переведено в другую воронку + ещё открыто = "
        "100 %. Итоговая доля побед показана, только когда решено почти всё."
    ),
    pitfalls=(
        "Сравнивать месяцы по простой доле выигранных нельзя: у свежих месяцев сделки ещё не успели закрыться. Где под "
        "наблюдением осталось мало сделок (столбец n_at_risk), оценка дальнего срока шаткая."
    ),
)
EN = Text(
    name="Conversion with censoring",
    definition=(
        "What share of deals is won within 30, 60, 90 and 180 days of their start, with those still open counted "
        "honestly: neither thrown away nor written off as lost. Old and quite fresh deals can be compared this way."
    ),
    formula=(
        "Aalen–Johansen: on each day the share won among those not decided before it, times the share that got this "
        "far, summed over days. Won + lost + moved to another pipeline + still open = 100%. The final win rate is "
        "shown only where nearly all is decided."
    ),
    pitfalls=(
        "Months cannot be compared by the plain share won: deals of fresh months have had no time. Where few deals are "
        "still watched (column n_at_risk) the far horizons are shaky."
    ),
)

METRIC = Metric(
    id="E4",
    text={"ru": RU, "en": EN},
    params=ConversionInTimeParams,
    inputs=(*FUNNEL_INPUTS, "user"),
    resources=FUNNEL_RESOURCES,
    subject={
        "horizons": None,
        "months": None,
        "by_source": None,
        "by_user": "user_id",
        "summary": None,
        "drilldown": "user_id",
    },
    semantics="cohort",
    reduce=reduce,
    finish=finish,
    default_period_d=365,
    counted={"summary": ("won", "lost")},
)
