"""Calls of few words, for tests of the metrics of calls: Moscow time, an account that works Mon–Fri 9–18."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl

from metrics.calendar import Calendar, WorkingWeek, calendar_days
from metrics.evaluate import evaluate
from metrics.metric import Metric, MetricResult, Period

MOSCOW = ZoneInfo("Europe/Moscow")
Row = dict[str, Any]


def moscow(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=MOSCOW).astimezone(UTC)


AS_OF = moscow("2026-04-08 12:00")  # a Wednesday
APRIL = Period(AS_OF, date(2026, 4, 1), date(2026, 4, 9))


def call(
    episode_id: str, at: str, direction: str, *, answered: bool, client: str | None = "contact:1", **more: Any
) -> Row:
    """A call with a client of a number of his own."""
    return {
        "episode_id": episode_id,
        "client_id": client,
        "phone_key": f"tel-{client}" if client else None,
        "started_at": moscow(at),
        "direction": direction,
        "is_answered": answered,
        **more,
    }


def missed(episode_id: str, at: str, **more: Any) -> Row:
    return call(episode_id, at, "in", answered=False, **more)


def got_in(episode_id: str, at: str, **more: Any) -> Row:
    return call(episode_id, at, "in", answered=True, **more)


def got_out(episode_id: str, at: str, **more: Any) -> Row:
    return call(episode_id, at, "out", answered=True, **more)


def tried(episode_id: str, at: str, **more: Any) -> Row:
    return call(episode_id, at, "out", answered=False, **more)


def working_days(first: date = date(2026, 1, 1), last: date = date(2026, 12, 31), **calendar: Any) -> pl.DataFrame:
    """`calendar_day` of the default calendar."""
    week = WorkingWeek.of(Calendar(**calendar))
    return calendar_days(week, account_id="main", calendar_id="default", tz="Europe/Moscow", first=first, last=last)


CALENDAR = working_days()


def answer(
    metric: Metric,
    engine: Any,
    calls: Sequence[Row],
    *,
    period: Period = APRIL,
    params: Mapping[str, Any] | None = None,
    **tables: Any,
) -> MetricResult:
    """The metric's answer to a few calls."""
    frames = engine.frames({"call_episode": calls, "calendar_day": CALENDAR, **tables}, as_of=period.as_of)
    return evaluate(metric, frames, metric.params(**(params or {})), period)
