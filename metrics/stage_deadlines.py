"""E8: stays that were longer than their stage allows, by the stage's own clock.

Source: the metric catalogue, E8. Deadlines are set by people; a stage without one is not judged.
"""

from typing import Any

import narwhals.stable.v2 as nw
import polars as pl
from pydantic import Field

from metrics.funnel import DEAL, STAGE
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
    deal_rows,
    in_period,
    in_stage_order,
    rates,
    scope,
    shaped,
    stage_key,
)
from metrics.metric import Frames, Metric, MetricResult, Period, Text
from metrics.people import group_key, with_user_flags
from metrics.rates import MIN_N, low_n, ranked, rate_columns
from metrics.stage_clock import deadlines, no_deadline_notices, on_stage_clock
from metrics.stats.survival import kaplan_meier
from metrics.team import COMPARED, compared

HOUR_S = 3600


class StageDeadlinesParams(FunnelParams):
    """Which deals are looked at."""

    min_n: int = Field(default=MIN_N, ge=0)
    """Below so many judged stays a rate is shown but neither ranked nor tested."""


def reduce(frames: Frames, params: StageDeadlinesParams, period: Period) -> dict[str, Lazy]:
    """Stays on stages with a deadline that ended within the period or still last, in seconds of the stage's clock."""
    col = nw.col
    seen = scope(frames, params)
    is_known = ~col("entered_epoch").is_null() & ~col("is_inferred").fill_null(False)
    visits = seen.visits.filter(
        col("stage_kind") == "open",
        ~col("is_pass_through").fill_null(False),
        is_known & ~col("is_truncated").fill_null(False),
    )
    is_open = col("left_epoch").is_null()
    judged = visits.filter(is_open | in_period(period, "left_local"))
    people = seen.deals.select(*DEAL, "client_id", "responsible_user_id")
    now = seen.clock.select("account_id", "as_of_epoch", "as_of_local")
    ended = (
        judged.join(people, on=DEAL, how="inner")
        .join(now, on="account_id", how="inner")
        .with_columns(
            is_open=is_open,
            user_id=nw.when(is_open).then(col("responsible_user_id")).otherwise(col("owner_user_id")),
            end_epoch=nw.coalesce("left_epoch", "as_of_epoch"),
            end_local=nw.when(is_open).then(col("as_of_local")).otherwise(col("left_local")),
        )
    )
    timed = on_stage_clock(ended, frames, seen, start="entered", end="end", into="clock_s")
    stays = timed.filter(~col("sla_s").is_null(), ~col("clock_s").is_null()).select(
        *STAGE, "deal_id", "n", "client_id", "user_id", "is_open", "entered_at", "clock_s", "sla_s"
    )
    return {
        "rungs": deadlines(frames, seen),
        "pipelines": seen.pipelines,
        "standing": judged.select(*STAGE).unique(STAGE),
        "stays": with_user_flags(stays, frames),
    }


def finish(collected: dict[str, pl.DataFrame], params: StageDeadlinesParams, period: Period) -> MetricResult:
    """Breaches per stage and per manager, and the deals that are late now."""
    late = pl.col("clock_s") > pl.col("sla_s")
    stays = collected["stays"].with_columns(is_late=late, late_s=pl.col("clock_s") - pl.col("sla_s"))
    stages = collected["rungs"].join(_counted(stays, STAGE), on=STAGE).join(_km(stays), on=STAGE, how="left")
    rated = stages.with_columns(*rate_columns(), low_n("den", min_n=params.min_n))
    owned = stays.with_columns(group_key())
    by_user = _counted(owned, ["account_id", "user_id", "user_active", "user_is_robot", "group_key"]).with_columns(
        *rate_columns(), low_n("den", min_n=params.min_n)
    )
    beside = compared(
        by_user.sort("account_id", "user_id", nulls_last=True),
        "num",
        "den",
        within=["account_id"],
        tested=~pl.col("low_n"),
        in_team=pl.col("user_active") & ~pl.col("user_is_robot"),
    )
    overdue = stays.filter("is_open", "is_late").with_columns(stage_key())
    return METRIC.result(
        params,
        period,
        tables={
            "stages": in_stage_order(rated, collected["pipelines"]).pipe(shaped, STAGES),
            "by_user": ranked(beside, "rate", "den", "account_id", "user_id").pipe(shaped, BY_USER),
        },
        drilldown=deal_rows(
            overdue.sort("account_id", "late_s", "deal_id", descending=[False, True, False]),
            event_at="entered_at",
            value=pl.col("late_s") / HOUR_S,
            value_unit=pl.lit("h"),
            reason=pl.lit("OVERDUE"),
        ),
        warnings=no_deadline_notices(collected["rungs"], collected["standing"]),
    )


COUNTS: dict[str, pl.DataType] = {
    "num": INT,
    "den": INT,
    **rates(),
    "low_n": FLAG,
    "n_finished": INT,
    "n_not_due": INT,
    "overdue_now": INT,
}
STAGES: dict[str, pl.DataType] = {
    **STAGE_COLUMNS,
    "sla_s": INT,
    "sla_clock": TEXT,
    **COUNTS,
    "km_breach": REAL,
    "group_key": TEXT,
}
"""One row per stage with a deadline. num = finished stays over it + open ones over it (overdue_now); den = finished +
overdue_now; n_not_due: open and still in time, in neither. km_breach: share that outstays it by Kaplan–Meier."""
BY_USER: dict[str, pl.DataType] = {
    "account_id": TEXT,
    "user_id": TEXT,
    "user_active": FLAG,
    **COUNTS,
    **COMPARED,
}
"""By whoever was responsible when the stay began; of open stays by whoever is now."""


def _counted(stays: pl.DataFrame, by: list[str]) -> pl.DataFrame:
    is_open, is_late = pl.col("is_open"), pl.col("is_late")
    return stays.group_by(by).agg(
        num=is_late.sum().cast(pl.Int64),
        den=(~is_open | is_late).sum().cast(pl.Int64),
        n_finished=(~is_open).sum().cast(pl.Int64),
        n_not_due=(is_open & ~is_late).sum().cast(pl.Int64),
        overdue_now=(is_open & is_late).sum().cast(pl.Int64),
    )


def _km(stays: pl.DataFrame) -> pl.DataFrame:
    """S(SLA): still there when the deadline comes."""

    def stays_on(part: pl.DataFrame) -> float:
        curve = kaplan_meier(part["clock_s"].to_numpy(), (~part["is_open"]).to_numpy())
        return curve.at(float(part["sla_s"][0]))

    rows: list[dict[str, Any]] = [
        {**dict(zip(STAGE, key, strict=True)), "km_breach": stays_on(part)}
        for key, part in stays.group_by(STAGE, maintain_order=True)
    ]
    return pl.DataFrame(rows, schema={**dict.fromkeys(STAGE, TEXT), "km_breach": REAL})


RU = Text(
    name="Нарушение срока этапа",
    definition=(
        "Какая доля стоянок на этапе длилась дольше срока, который вы для него задали. Считаются стоянки, законченные "
        "за период, и те открытые, что срок уже превысили; ещё не просроченные открытые ни за, ни против."
    ),
    formula=(
        "Доля нарушений = (законченные дольше срока + открытые дольше срока) / (законченные + открытые дольше срока). "
        "Рядом оценка по Каплану — Мейеру. Время — рабочее (по календарю ответственного) или календарное, как задано."
    ),
    pitfalls=(
        "Этап без срока не оценивается: «не задано» не значит «в порядке». Стоянка числится за тем, кто был "
        "ответственным в её начале, открытая — за нынешним ответственным."
    ),
)
EN = Text(
    name="Stage deadline breaches",
    definition=(
        "What share of stays on a stage lasted longer than the deadline you set for it. Counted are stays that ended "
        "in the period and open ones already past the deadline; open ones still in time count neither way."
    ),
    formula=(
        "Breach rate = (finished past the deadline + open past it) / (finished + open past it). Beside: the "
        "Kaplan–Meier estimate. Time is working time (of the responsible person's calendar) or all hours, as set."
    ),
    pitfalls=(
        "A stage without a deadline is not judged: “not set” does not mean “fine”. A stay belongs to whoever was "
        "responsible when it began, an open one to the present responsible."
    ),
)

METRIC = Metric(
    id="E8",
    text={"ru": RU, "en": EN},
    params=StageDeadlinesParams,
    inputs=(*FUNNEL_INPUTS, "user", "calendar_day"),
    resources=FUNNEL_RESOURCES,
    subject={"stages": None, "by_user": "user_id", "drilldown": "user_id"},
    semantics="flow",
    reduce=reduce,
    finish=finish,
    default_period_d=30,
    counted={"stages": ("overdue_now",)},
)
