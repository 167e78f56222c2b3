"""A11: how many people it takes to answer the calls of each weekday and hour (Erlang C, and A with impatient clients).

Calls per hour: `metrics.call_hours`; formulas: `metrics.stats.queueing`. Source: the metric catalogue, A11.
"""

import math
from typing import Any

import narwhals.stable.v2 as nw
import polars as pl
from pydantic import Field

from metrics.call_hours import CALL_HOURS_INPUTS, CELL, call_hours, in_cells, known_days, of_days
from metrics.call_scope import SHORT_ABANDON_S
from metrics.metric import Frames, Metric, MetricResult, Notice, Params, Period, Text, drilldown_rows
from metrics.presence import PRESENCE_INPUTS, present_days
from metrics.rates import MIN_N
from metrics.stats.counts import distribution
from metrics.stats.queueing import agents_needed, erlang_a
from metrics.stats.survival import kaplan_meier

Lazy = nw.LazyFrame[Any]

HOUR_S = 3600


class StaffingParams(Params):
    """What service is wanted, and how people work."""

    sl: float = Field(default=0.80, gt=0, lt=1)
    """Share of calls to be answered within `sl_t_s`."""
    sl_t_s: int = Field(default=20, ge=0)
    """Seconds a client may wait."""
    wrap_s: int = Field(default=30, ge=0)
    """Seconds of work after each call."""
    patience_s: float = Field(default=120, gt=0)
    """Mean seconds until a waiting client hangs up, where waits are not recorded."""
    shrinkage: float = Field(default=0.30, ge=0, lt=1)
    """Share of paid time away from the phone: breaks, training, illness."""
    max_occ: float = Field(default=0.85, gt=0, le=1)
    """Nobody is to be on the phone for a greater share of the time."""
    lambda_q: float = Field(default=0.8, gt=0, lt=1)
    """`lambda_hi` is exceeded in the remaining share of such hours."""
    short_abandon_s: int = Field(default=SHORT_ABANDON_S, ge=0)
    """Unanswered calls of a known wait below so many seconds do not count."""
    min_n: int = Field(default=MIN_N, ge=1)
    """With fewer abandoned calls of a known wait, patience is assumed."""


def reduce(frames: Frames, params: StaffingParams, period: Period) -> dict[str, Lazy]:
    """Inbound calls by wall-clock day and hour, and from when to when people were at work."""
    col = nw.col
    now = frames["clock"].select("account_id", account_calendar="calendar_id")
    calendars = (
        frames["user"]
        .join(now, on="account_id")
        .select("account_id", "user_id", calendar_id=nw.coalesce("calendar_id", "account_calendar"))
    )
    hours = frames["calendar_day"].drop("is_working", "before_s")
    present = (
        present_days(frames)
        .drop("working_s")
        .join(calendars, on=["account_id", "user_id"])
        .join(hours, on=["account_id", "calendar_id", "day"])
    )
    spans = [
        present.select("account_id", "user_id", "day", opens=col(f"open{n}_epoch"), closes=col(f"close{n}_epoch"))
        for n in ("", "2")
    ]
    at_work = nw.concat(spans).filter(col("closes") > col("opens"))
    return {**call_hours(frames, direction="in", short_abandon_s=params.short_abandon_s), "at_work": at_work}


# --- finish ----------------------------------------------------------------------------------------------------------


def finish(collected: dict[str, pl.DataFrame], params: StaffingParams, period: Period) -> MetricResult:
    """People needed per weekday and hour beside those who were there, and what it was computed from."""
    days = known_days(collected, period)
    calls = of_days(collected["calls"], days)
    basis = _basis(calls, params)
    cells = _with_agents(_loads(calls, days, params), basis, params)
    team = calls.filter("is_answered").select("account_id", "user_id").drop_nulls().unique()
    at_work = collected["at_work"].join(team, on=["account_id", "user_id"], how="semi")
    present = _present(at_work.join(days, on=["account_id", "day"]), collected["clock"])
    cells = _beside_present(cells, present, collected["working"])
    return METRIC.result(
        params,
        period,
        tables={"cells": cells, "basis": basis},
        drilldown=_drilldown(cells),
        warnings=_notices(basis, params),
    )


def _basis(calls: pl.DataFrame, params: StaffingParams) -> pl.DataFrame:
    """Per account: n calls, aht_s (mean talk and the work after; null where no talk is known), patience_s, assumed."""
    talk = pl.col("talk_s").filter(pl.col("is_answered"))
    handled = calls.group_by("account_id").agg(n=pl.len().cast(pl.Int64), aht_s=talk.mean() + params.wrap_s)
    found = {account: _patience(part, params) for (account,), part in calls.group_by("account_id")}
    known = handled.sort("account_id").with_columns(
        patience_s=pl.Series([found[account] for account in handled.sort("account_id")["account_id"]], dtype=pl.Float64)
    )
    return known.with_columns(pl.col("patience_s").fill_null(params.patience_s), assumed=pl.col("patience_s").is_null())


def _patience(calls: pl.DataFrame, params: StaffingParams) -> float | None:
    """Mean patience in seconds of an exponential one through the curve of waits (S-KM; who was answered is censored).

    Through its median, or its last point where half never gave up. None where too few waits are recorded.
    """
    known = calls.filter(pl.col("wait_s").is_not_null())
    gave_up = ~known["is_answered"]
    if int(gave_up.sum()) < params.min_n:
        return None
    curve = kaplan_meier(known["wait_s"].to_numpy(), gave_up.to_numpy())
    if curve.median:
        return curve.median / math.log(2)
    last, left = float(curve.times[-1]), float(curve.survival[-1])
    return -last / math.log(left) if 0 < left < 1 and last > 0 else None


def _loads(calls: pl.DataFrame, days: pl.DataFrame, params: StaffingParams) -> pl.DataFrame:
    """Cells with `lambda` (calls an hour) and lambda_hi: its upper quantile over such hours, Poisson or wider."""
    daily = calls.group_by(*CELL, "day").agg(n=pl.len())
    squares = daily.group_by(CELL).agg(squares=(pl.col("n") ** 2).sum().cast(pl.Float64))
    cells = in_cells(calls, days).join(squares, on=CELL, how="left").with_columns(pl.col("squares").fill_null(0.0))
    n, n_days = pl.col("n"), pl.col("days")
    # Days without calls in this hour are zeros: they have a share in the variance, but no rows.
    variance = (pl.col("squares") - n * n / n_days) / pl.when(n_days > 1).then(n_days - 1)
    rows = cells.with_columns(variance=variance).select("mean", "variance").iter_rows()
    high = [None if mean is None else _upper(mean, variance, params.lambda_q) for mean, variance in rows]
    return cells.select(*CELL, "group_key", "n", "days", pl.col("mean").alias("lambda")).with_columns(
        lambda_hi=pl.Series(high, dtype=pl.Float64)
    )


def _upper(mean: float, variance: float | None, share: float) -> float:
    return float(distribution(mean, variance).ppf(share)) if mean > 0 else 0.0


NEEDED: dict[str, pl.DataType] = {
    "agents": pl.Int64(),
    "agents_hi": pl.Int64(),
    "scheduled": pl.Int64(),
    "sl": pl.Float64(),
    "asa_s": pl.Float64(),
    "occupancy": pl.Float64(),
    "p_abandon": pl.Float64(),
    "wait_s": pl.Float64(),
}


def _with_agents(cells: pl.DataFrame, basis: pl.DataFrame, params: StaffingParams) -> pl.DataFrame:
    """`cells` with aht_s, patience `assumed`, and `NEEDED`: Erlang C's people, and how they serve by C and by A."""
    known = cells.join(basis.select("account_id", "aht_s", "patience_s", "assumed"), on="account_id")
    rows = known.select("lambda", "lambda_hi", "aht_s", "patience_s").iter_rows()
    needed = pl.DataFrame([_needed(*row, params=params) for row in rows], schema=NEEDED)
    return pl.concat([known.drop("patience_s"), needed], how="horizontal")


def _needed(
    calls: float | None, calls_hi: float | None, aht_s: float | None, patience_s: float, *, params: StaffingParams
) -> dict[str, Any]:
    if calls is None or calls_hi is None or aht_s is None:
        return dict.fromkeys(NEEDED)
    wanted = {"sl": params.sl, "target_s": params.sl_t_s, "max_occupancy": params.max_occ}
    served, busier = (agents_needed(rate / HOUR_S, aht_s, **wanted) for rate in (calls, max(calls, calls_hi)))
    leaving = erlang_a(calls / HOUR_S, max(aht_s, 1e-9), patience_s, served.n)
    return {
        "agents": served.n,
        "agents_hi": busier.n,
        "scheduled": math.ceil(served.n / (1 - params.shrinkage) - 1e-9),
        "sl": served.sl,
        "asa_s": served.asa_s,
        "occupancy": served.occupancy,
        "p_abandon": leaving.p_abandon,
        "wait_s": leaving.wait_s,
    }


def _present(at_work: pl.DataFrame, clock: pl.DataFrame) -> pl.DataFrame:
    """Seconds of work within each cell, over all days: account_id, weekday, hour, present_s."""
    zones = dict(clock.select("account_id", "tz").iter_rows())
    parts = [
        part.with_columns(begin=_second("opens", zones[account]), end=_second("closes", zones[account]))
        for (account,), part in at_work.group_by("account_id", maintain_order=True)
    ]
    schema = {"account_id": pl.String, "weekday": pl.Int64, "hour": pl.Int64, "present_s": pl.Int64}
    if not parts:
        return pl.DataFrame(schema=schema)
    # The end of a span at midnight is the end of its own day.
    end = pl.when(pl.col("end") <= pl.col("begin")).then(24 * HOUR_S).otherwise("end")
    spans = pl.concat(parts).group_by("account_id", "weekday", "begin", end.alias("end")).agg(times=pl.len())
    hours = pl.DataFrame({"hour": range(24)}, schema={"hour": pl.Int64})
    first = pl.col("hour") * HOUR_S
    inside = pl.min_horizontal("end", first + HOUR_S) - pl.max_horizontal("begin", first)
    return (
        spans.join(hours, how="cross")
        .group_by(CELL)
        .agg(present_s=(inside.clip(lower_bound=0) * pl.col("times")).sum().cast(pl.Int64))
    )


def _second(epoch: str, tz: str) -> pl.Expr:
    """Seconds of the wall clock since midnight."""
    local = pl.from_epoch(epoch, "s").dt.replace_time_zone("UTC").dt.convert_time_zone(tz)
    return local.dt.hour().cast(pl.Int64) * HOUR_S + local.dt.minute().cast(pl.Int64) * 60 + local.dt.second()


def _beside_present(cells: pl.DataFrame, present: pl.DataFrame, working: pl.DataFrame) -> pl.DataFrame:
    """`cells` with present_mean, people at work in such an hour (null without a calendar), and is_understaffed."""
    has_calendar = pl.col("account_id").is_in(working["account_id"].unique().to_list())
    mean = pl.col("present_s").fill_null(0) / HOUR_S / pl.when(pl.col("days") > 0).then(pl.col("days"))
    return (
        cells.join(present, on=CELL, how="left", maintain_order="left")
        .with_columns(present_mean=pl.when(has_calendar).then(mean))
        .with_columns(is_understaffed=(pl.col("present_mean") < pl.col("agents")).fill_null(False))
        .drop("present_s")
    )


def _drilldown(cells: pl.DataFrame) -> pl.DataFrame:
    """Weekdays and hours with fewer people than needed, the greatest lack first; value = people lacking."""
    lacking = cells.filter("is_understaffed").with_columns(lack=pl.col("agents") - pl.col("present_mean"))
    return drilldown_rows(
        lacking.sort(["lack", "lambda", *CELL], descending=[True, True, False, False, False]),
        entity_kind=pl.lit("hour"),
        entity_id=pl.lit(None, pl.String),
        user_id=pl.lit(None, pl.String),
        client_id=pl.lit(None, pl.String),
        event_at=pl.lit(None, pl.Datetime("us", "UTC")),
        value="lack",
        value_unit=pl.lit("n"),
        reason=pl.lit("UNDERSTAFFED"),
    )


def _notices(basis: pl.DataFrame, params: StaffingParams) -> tuple[Notice, ...]:
    assumed = basis.filter("assumed")["account_id"].to_list()
    silent = basis.filter(pl.col("aht_s").is_null())["account_id"].to_list()
    return (
        *(
            Notice(
                "patience_assumed",
                f"Сколько ждут клиенты аккаунта «{account}», телефония не пишет: терпение принято за "
                f"{params.patience_s:g} с.",
                f"How long clients of account “{account}” wait is not recorded: patience is taken as "
                f"{params.patience_s:g} s.",
            )
            for account in assumed
        ),
        *(
            Notice(
                "talk_unknown",
                f"Длительность разговоров аккаунта «{account}» неизвестна: число людей не посчитать.",
                f"No talk time of account “{account}” is known: people needed cannot be told.",
            )
            for account in silent
        ),
    )


RU = Text(
    name="Нужное число операторов",
    definition=(
        "Сколько человек должно отвечать на звонки в каждый час каждого дня недели, чтобы 80 % клиентов ждали не "
        "дольше 20 секунд и никто не был на телефоне больше 85 % времени. Рядом — сколько выводить в график с учётом "
        "обедов, учёбы и болезней, сколько нужно в напряжённый час и сколько людей было на работе на самом деле."
    ),
    formula=(
        "Нагрузка = звонков в час × (среднее время разговора + 30 секунд после него). Люди — по формуле Эрланга C. В "
        "график = люди / (1 − 30 %), с округлением вверх. Напряжённый час — такой, что нагрузка выше него бывает в "
        "одном случае из пяти. Доля бросивших трубку — по Эрлангу A с терпением клиентов. На работе — те, кто "
        "отвечает на входящие, по рабочему календарю без отпусков."
    ),
    pitfalls=(
        "Это нижняя граница: менеджеры ещё звонят сами, сидят на встречах и пишут. amoCRM видит не все пропущенные, "
        "поэтому звонков на самом деле больше. Для часа с одним звонком в неделю формула тоже просит человека: "
        "смотрите на число звонков. Время разговора — одно на аккаунт. Ожидание без терпения клиентов завышено, если "
        "они кладут трубку; терпение по умолчанию 120 секунд, если телефония не пишет ожидание."
    ),
)
EN = Text(
    name="Staffing suggestion",
    definition=(
        "How many people have to answer calls in each hour of each weekday for 80 % of clients to wait no longer than "
        "20 seconds and nobody to be on the phone more than 85 % of the time. Beside stands how many to put on the "
        "roster for breaks, training and illness, how many a busy hour takes, and how many people were at work."
    ),
    formula=(
        "Load = calls an hour × (mean talk time + 30 seconds after it). People by the Erlang C formula. On the roster "
        "= people / (1 − 30 %), rounded up. A busy hour is one whose load is exceeded one time in five. The share that "
        "hangs up is by Erlang A with the clients' patience. At work are those who answer inbound calls, by the "
        "working calendar without absences."
    ),
    pitfalls=(
        "This is a floor: managers also call out, meet and write. amoCRM does not see all missed calls, so there are "
        "more calls than shown. An hour with one call a week asks for a person too: look at the number of calls. Talk "
        "time is one for the account. Waits are too long where clients hang up; patience is taken as 120 seconds where "
        "the telephony does not record waits."
    ),
)

METRIC = Metric(
    id="A11",
    text={"ru": RU, "en": EN},
    params=StaffingParams,
    inputs=tuple(dict.fromkeys((*CALL_HOURS_INPUTS, *PRESENCE_INPUTS))),
    resources=("call", "user"),
    subject={"cells": None, "basis": None, "drilldown": None},
    semantics="flow",
    reduce=reduce,
    finish=finish,
    default_period_d=56,
    counted={"cells": ("is_understaffed",)},
    adds_up={"cells": "basis"},
)
