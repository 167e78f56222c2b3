"""E5: how long deals stand on each stage, those that still stand there taken into account.

Source: the metric catalogue, E5; Kaplan and Meier (S-KM), destinations by Aalen and Johansen (S-AJ).
"""

from typing import Any, Literal

import narwhals.stable.v2 as nw
import polars as pl
from pydantic import Field

from metrics.funnel import DAY_S, DEAL, STAGE
from metrics.funnel_scope import (
    FLAG,
    FUNNEL_INPUTS,
    FUNNEL_RESOURCES,
    INT,
    REAL,
    STAGE_COLUMNS,
    TEXT,
    FunnelParams,
    Lazy,
    Scope,
    deal_rows,
    in_order,
    in_stage_order,
    scope,
    shaped,
    stage_key,
    within,
)
from metrics.incidence import incidence
from metrics.metric import Frames, Metric, MetricResult, Notice, Period, Text
from metrics.rates import MIN_N, low_n
from metrics.stats.survival import kaplan_meier

DESTINATIONS = ("next", "back", "won", "lost", "moved")


class StageDurationParams(FunnelParams):
    """What a stay is and how its times are summed up."""

    per_visit: bool = False
    """Each stay by itself; otherwise the total time of a deal on the stage."""
    truncated: Literal["drop", "enter"] = "drop"
    """Stays begun before the stage history is complete: left out, or watched from that day on (delayed entry)."""
    tau_d: int = Field(default=90, ge=1, le=3650)
    """The mean time is taken within so many days (RMST)."""
    min_n: int = Field(default=MIN_N, ge=0)
    """Below so many stays a row says little."""


def reduce(frames: Frames, params: StageDurationParams, period: Period) -> dict[str, Lazy]:
    """One row per stay (or deal and stage) that touches the period's deals: how long, whether over, and where to."""
    seen = scope(frames, params)
    begun = seen.deals.filter(within(period.period_from, period.period_to, "created_local")).select(*DEAL)
    return {
        "rungs": seen.rungs,
        "pipelines": seen.pipelines,
        "known": frames["coverage"]
        .filter(nw.col("resource") == "deal_stage_transition")
        .select("account_id", "complete_from"),
        "stays": _stays(seen, seen.visits.join(begun, on=DEAL, how="semi"), params),
    }


def _stays(seen: Scope, visits: Lazy, params: StageDurationParams) -> Lazy:
    """STAGE, deal_id, client_id, user_id, since_at, dwell_s, is_open, destination; late_epoch: entry of a stay begun
    before the history is complete, left_epoch: its end."""
    col = nw.col
    flag = {True: nw.lit(1), False: nw.lit(0)}
    is_late = col("is_truncated").fill_null(False)
    is_unknown = col("is_inferred").fill_null(False) | col("entered_epoch").is_null()
    if params.truncated == "drop":
        is_unknown = is_unknown | is_late
    to_other = col("next_pipeline_id") != col("pipeline_id")
    destination = (
        nw.when(col("left_epoch").is_null())
        .then(nw.lit(None, dtype=nw.String))
        .when(to_other.fill_null(False))
        .then(nw.lit("moved"))
        .when(col("next_kind") == "won")
        .then(nw.lit("won"))
        .when(col("next_kind") == "lost")
        .then(nw.lit("lost"))
        .when(col("next_sort") < col("stage_sort"))
        .then(nw.lit("back"))
        .otherwise(nw.lit("next"))
    )
    next_sort = seen.rungs.select(
        "account_id", next_pipeline_id="pipeline_id", next_stage_id="stage_id", next_sort="stage_sort"
    )
    stood = (
        visits.filter(col("stage_kind") == "open", ~col("is_pass_through").fill_null(False))
        .join(seen.clock.select("account_id", "as_of_epoch"), on="account_id", how="inner")
        .join(next_sort, on=["account_id", "next_pipeline_id", "next_stage_id"], how="left")
        .select(
            *STAGE,
            "deal_id",
            "n",
            since_at=nw.when(col("left_epoch").is_null()).then(col("entered_at")),
            dwell_s=nw.coalesce("left_epoch", "as_of_epoch") - col("entered_epoch"),
            late_epoch=nw.when(is_late).then(col("entered_epoch")),
            left_epoch=col("left_epoch"),
            n_unknown=nw.when(is_unknown).then(flag[True]).otherwise(flag[False]),
            n_open=nw.when(col("left_epoch").is_null()).then(flag[True]).otherwise(flag[False]),
            last_n=col("n"),
            destination=destination,
        )
    )
    if not params.per_visit:
        last = stood.select(*STAGE, "deal_id", "destination", last_n="n")
        totals = stood.group_by(*STAGE, "deal_id").agg(
            since_at=col("since_at").max(),
            dwell_s=col("dwell_s").sum(),
            late_epoch=col("late_epoch").min(),
            left_epoch=col("left_epoch").max(),
            n_unknown=col("n_unknown").max(),
            n_open=col("n_open").max(),
            last_n=col("last_n").max(),
        )
        stood = totals.join(last, on=[*STAGE, "deal_id", "last_n"], how="left")
    people = seen.deals.select(*DEAL, "client_id", user_id="responsible_user_id")
    return (
        stood.filter(col("n_unknown") == 0)
        .join(people, on=DEAL, how="inner")
        .select(
            *STAGE,
            "deal_id",
            "client_id",
            "user_id",
            "since_at",
            "last_n",
            "destination",
            dwell_s=col("dwell_s").cast(nw.Int64),
            late_epoch=col("late_epoch").cast(nw.Int64),
            left_epoch=nw.when(col("n_open") == 0).then(col("left_epoch")).cast(nw.Int64),
            is_open=col("n_open") == 1,
        )
    )


def finish(collected: dict[str, pl.DataFrame], params: StageDurationParams, period: Period) -> MetricResult:
    """The curve of each stage in a few numbers, where deals go from it, and the longest stays that still last."""
    pipelines = collected["pipelines"]
    stays = _watched(collected).join(collected["rungs"].select(STAGE), on=STAGE, how="semi").with_columns(stage_key())
    rows = [
        {**dict(zip(STAGE, key, strict=True)), **_row(part, params)}
        for key, part in stays.group_by(STAGE, maintain_order=True)
    ]
    times = pl.DataFrame(rows, schema={**dict.fromkeys(STAGE, TEXT), **TIMES})
    stages = collected["rungs"].join(times, on=STAGE).with_columns(low_n("n", min_n=params.min_n))
    standing = stays.filter("is_open").sort("account_id", "dwell_s", "deal_id", descending=[False, True, False])
    return METRIC.result(
        params,
        period,
        tables={
            "stages": in_stage_order(stages, pipelines).pipe(shaped, STAGES),
            "destinations": _destinations(stays, collected, params),
        },
        drilldown=deal_rows(
            standing,
            event_at="since_at",
            value=pl.col("dwell_s") / DAY_S,
            value_unit=pl.lit("d"),
            reason=pl.lit("STANDS_HERE"),
        ),
        warnings=_notices(params),
    )


def _watched(collected: dict[str, pl.DataFrame]) -> pl.DataFrame:
    """The stays with late_s: how long each had lasted before anybody watched; those over by then are not known of."""
    known = collected["known"].select("account_id", known_epoch=pl.col("complete_from").dt.epoch("s"))
    late_s = pl.col("known_epoch") - pl.col("late_epoch")
    stays = collected["stays"].join(known.unique("account_id"), on="account_id", how="left", maintain_order="left")
    was_over = pl.col("late_epoch").is_not_null() & (pl.col("left_epoch") < pl.col("known_epoch"))
    return stays.filter(~was_over.fill_null(False)).with_columns(late_s=late_s.clip(0).fill_null(0))


TIMES: dict[str, pl.DataType] = {
    "n": INT,
    "n_open": INT,
    "km_median_d": REAL,
    "ci_lo_d": REAL,
    "ci_hi_d": REAL,
    "km_p75_d": REAL,
    "km_p90_d": REAL,
    "rmst_d": REAL,
    "naive_median_d": REAL,
}
STAGES: dict[str, pl.DataType] = {**STAGE_COLUMNS, **TIMES, "low_n": FLAG, "group_key": TEXT}
"""One row per stage, days. n stays of known length, n_open of them still last. km_*: by Kaplan–Meier, null where so
many have not left yet. rmst_d: mean days on the stage within the first `tau_d`. naive_median_d: of finished
stays only."""
TO: dict[str, pl.DataType] = {
    **STAGE_COLUMNS,
    "horizon_d": INT,
    "n": INT,
    **{f"to_{name}": REAL for name in DESTINATIONS},
    "still_here": REAL,
}
"""Where deals have gone from the stage within horizon_d days: the shares sum to 1."""


def _row(stays: pl.DataFrame, params: StageDurationParams) -> dict[str, Any]:
    left = ~stays["is_open"]
    entries = stays["late_s"].to_numpy() if params.truncated == "enter" else None
    curve = kaplan_meier(stays["dwell_s"].to_numpy(), left.to_numpy(), entries)
    lo, hi = curve.quantile_ci()
    seconds = {
        "km_median_d": curve.median,
        "ci_lo_d": lo,
        "ci_hi_d": hi,
        "km_p75_d": curve.quantile(0.75),
        "km_p90_d": curve.quantile(0.9),
        "rmst_d": curve.rmst(params.tau_d * DAY_S),
        "naive_median_d": stays.filter(left)["dwell_s"].median(),
    }
    days = {name: None if value is None else float(value) / DAY_S for name, value in seconds.items()}  # type: ignore[arg-type]
    return {"n": stays.height, "n_open": stays.height - int(left.sum()), **days}


def _destinations(stays: pl.DataFrame, collected: dict[str, pl.DataFrame], params: StageDurationParams) -> pl.DataFrame:
    shares = incidence(
        stays,
        STAGE,
        duration="dwell_s",
        outcome="destination",
        causes=DESTINATIONS,
        horizons=sorted({7 * DAY_S, 30 * DAY_S, params.tau_d * DAY_S}),
    ).with_columns(horizon_d=(pl.col("horizon") / DAY_S).cast(pl.Int64))
    named = shares.rename({f"cif_{name}": f"to_{name}" for name in DESTINATIONS} | {"still_open": "still_here"})
    rows = collected["rungs"].join(named, on=STAGE)
    ordered = in_order(rows, collected["pipelines"], "stage_sort", "stage_id", "horizon_d")
    return shaped(ordered, TO)


def _notices(params: StageDurationParams) -> tuple[Notice, ...]:
    if params.truncated == "drop":
        return ()
    return (
        Notice(
            "delayed_entry",
            "Стоянки, начатые до начала истории этапов, учтены с дня её начала; доли направлений — без этой поправки.",
            "Stays begun before the stage history count from its first day on; destinations are not adjusted for it.",
        ),
    )


RU = Text(
    name="Длительность этапа",
    definition=(
        "Сколько времени сделки стоят на этапе, прежде чем уйти с него куда угодно: дальше, назад или в отказ. Те, что "
        "стоят до сих пор, не выброшены: про них известно «не меньше стольких дней». Сделки — созданные за период."
    ),
    formula=(
        "Медиана, 75-й и 90-й процентили — по Каплану — Мейеру. Среднее в пределах 90 дней — площадь под той же "
        "кривой. Рядом наивная медиана завершённых стоянок для сравнения. Куда уходят — по Аалену — Йохансену."
    ),
    pitfalls=(
        "Средняя длительность завершённых стоянок вдвое занижает правду именно там, где сделки застревают. Пустая "
        "медиана значит, что половина сделок ещё не ушла. Заходы короче минуты (ошибочный перенос карточки) не в счёт."
    ),
)
EN = Text(
    name="Stage duration",
    definition=(
        "How long deals stand on a stage before they leave it for anywhere: onward, back or lost. Those that still "
        "stand there are not thrown away: of them “at least so many days” is known. Deals are those created in the "
        "period."
    ),
    formula=(
        "Median, 75th and 90th percentile by Kaplan–Meier. The mean within 90 days is the area under the same curve. "
        "The naive median of finished stays is shown beside for contrast. Where they go: Aalen–Johansen."
    ),
    pitfalls=(
        "The mean of finished stays halves the real time exactly where deals get stuck. An empty median means that "
        "half of the deals have not left yet. Visits shorter than a minute (a card dropped by mistake) do not count."
    ),
)

METRIC = Metric(
    id="E5",
    text={"ru": RU, "en": EN},
    params=StageDurationParams,
    inputs=(*FUNNEL_INPUTS, "coverage"),
    resources=FUNNEL_RESOURCES,
    subject={"stages": None, "destinations": None, "drilldown": "user_id"},
    semantics="cohort",
    reduce=reduce,
    finish=finish,
    default_period_d=365,
    counted={"stages": ("n_open",)},
)
