"""A8: when clients call, by weekday and hour, the peak and the busy hour.

Days and cells: `metrics.call_hours`. Source: the metric catalogue, A8; the time-consistent busy hour (ЧНН) is that of
ITU-T E.600.
"""

from typing import Any, Literal

import narwhals.stable.v2 as nw
import polars as pl
from pydantic import Field

from metrics.call_hours import CALL_HOURS_INPUTS, busy_hours, call_hours, in_cells, known_days, of_days
from metrics.call_scope import SHORT_ABANDON_S, card
from metrics.metric import Frames, Metric, MetricResult, Params, Period, Text, drilldown_rows
from metrics.people import of_population
from metrics.rates import MIN_N, low_n, rate_columns

Lazy = nw.LazyFrame[Any]


class CallHeatmapParams(Params):
    """Which calls and days make the map."""

    direction: Literal["in", "out"] = "in"
    """Calls we get, or calls we make."""
    business_only: bool = False
    """Only working days of the account's calendar: holidays are neither days nor have calls."""
    short_abandon_s: int = Field(default=SHORT_ABANDON_S, ge=0)
    """Unanswered calls of a known wait below so many seconds do not count."""
    min_n: int = Field(default=MIN_N, ge=0)
    """Below so many calls the share of missed ones says little."""
    population: tuple[str, ...] | None = None
    """Users whose calls are counted; None: everybody's."""


def reduce(frames: Frames, params: CallHeatmapParams, period: Period) -> dict[str, Lazy]:
    """Calls of the period by wall-clock day and hour, and what tells which days are known."""
    return call_hours(frames, direction=params.direction, short_abandon_s=params.short_abandon_s)


def finish(collected: dict[str, pl.DataFrame], params: CallHeatmapParams, period: Period) -> MetricResult:
    """The map, its peak and the busy hour per account, and the calls."""
    known = known_days(collected, period)
    days = known.filter("is_working") if params.business_only else known
    calls = of_days(of_population(collected["calls"], params.population), days)
    cells = in_cells(calls, days).with_columns(
        *rate_columns("n_missed", "n", "missed_"), low_n("n", min_n=params.min_n)
    )
    return METRIC.result(
        params, period, tables={"cells": cells, "summary": _summary(cells, calls, days)}, drilldown=_drilldown(calls)
    )


def _summary(cells: pl.DataFrame, calls: pl.DataFrame, days: pl.DataFrame) -> pl.DataFrame:
    """Per account: the cell with the greatest mean (of equal ones the earliest), the busy hour, and the days known."""
    peak = (
        cells.sort(["account_id", "mean", "weekday", "hour"], descending=[False, True, False, False], nulls_last=True)
        .unique("account_id", keep="first", maintain_order=True)
        .select("account_id", peak_weekday="weekday", peak_hour="hour", peak_mean="mean", peak_days="days")
    )
    seen = days.group_by("account_id").agg(
        first_on=pl.col("day").min(), last_on=pl.col("day").max(), n_days=pl.len().cast(pl.Int64)
    )
    totals = cells.group_by("account_id").agg(pl.col("n", "n_missed").sum())
    return (
        totals.join(peak, on="account_id")
        .join(busy_hours(calls, days), on="account_id", how="left")
        .join(seen, on="account_id", how="left")
        .sort("account_id")
    )


def _drilldown(calls: pl.DataFrame) -> pl.DataFrame:
    """Every call of the map, the oldest first; value = seconds of talk."""
    return drilldown_rows(
        calls.with_columns(group_key=pl.format("{} {}", "weekday", "hour")).sort(
            "started_at", "account_id", "episode_id"
        ),
        **card(),
        event_at="started_at",
        value="talk_s",
        value_unit=pl.lit("s"),
        reason=pl.when("is_answered").then(pl.lit("ANSWERED")).otherwise(pl.lit("MISSED")),
    )


RU = Text(
    name="Тепловая карта звонков, час пик",
    definition=(
        "Сколько звонков в среднем приходит в каждый час каждого дня недели, сколько из них пропущено, и когда час "
        "пик. Обычно смотрят последние восемь полных недель. Час наибольшей нагрузки (ЧНН) — час рабочих дней, в "
        "который звонков в среднем больше всего: по нему считают смены."
    ),
    formula=(
        "Среднее = звонки в этот час / число таких дней недели в периоде по календарю, а не только дней, когда "
        "звонили: 24 звонка за восемь понедельников — 3, даже если в два из них не звонил никто. Час — по местному "
        "времени аккаунта."
    ),
    pitfalls=(
        "Праздники занижают среднее своего дня недели: включите «только рабочие дни», если это мешает. Текущий день и "
        "дни, за которые звонки загружены не полностью, не входят. В день перевода часов их 23 или 25, день всё равно "
        "один. amoCRM видит не все звонки: карта верна по форме, а по высоте — нижняя граница."
    ),
)
EN = Text(
    name="Heat map of calls, peak hour",
    definition=(
        "How many calls come on average in each hour of each day of the week, how many of them are missed, and when "
        "the peak is. The last eight whole weeks are the usual choice. The busy hour is the hour of working days with "
        "most calls on average: shifts are made by it."
    ),
    formula=(
        "Mean = calls in this hour / number of such weekdays in the period by the calendar, not only of days with "
        "calls: 24 calls in eight Mondays are 3, even if nobody called on two of them. The hour is the account's wall "
        "clock."
    ),
    pitfalls=(
        "Holidays lower the mean of their weekday: ask for working days only if that is in the way. The running day, "
        "and days whose calls are not completely synced, are left out. A day on which clocks change has 23 or 25 hours "
        "and is still one day. amoCRM does not see all calls: the shape of the map holds, its height is a lower bound."
    ),
)

METRIC = Metric(
    id="A8",
    text={"ru": RU, "en": EN},
    params=CallHeatmapParams,
    inputs=CALL_HOURS_INPUTS,
    resources=("call", "user"),
    subject={"cells": None, "summary": None, "drilldown": "user_id"},
    semantics="flow",
    reduce=reduce,
    finish=finish,
    default_period_d=56,
    counted={"cells": ("n",)},
    adds_up={"cells": "summary"},
)
