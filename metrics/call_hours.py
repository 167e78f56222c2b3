"""Calls by weekday and hour, against the days there were: what A8 (heat map) and A11 (staffing) share.

A mean per hour is over the days of the calendar, not over days with calls. Only whole days count that are known from
beginning to end: before the day of `as_of`, and since calls are completely synced.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfo

import narwhals.stable.v2 as nw
import polars as pl

from metrics.call_scope import IS_ANSWERED, in_period, in_scope, is_short, with_performer, with_receiver
from metrics.metric import Frames, Period

Lazy = nw.LazyFrame[Any]

CELL = ["account_id", "weekday", "hour"]
CALL_HOURS_INPUTS = ("call_episode", "user", "calendar_day", "coverage")

CALLS = (
    "account_id",
    "episode_id",
    "user_id",
    "client_id",
    "deal_id",
    "card_kind",
    "card_id",
    "started_at",
    "day",
    "hour",
    "is_answered",
    "wait_s",
    "talk_s",
)


def call_hours(frames: Frames, *, direction: Literal["in", "out"], short_abandon_s: int) -> dict[str, Lazy]:
    """Calls with their wall-clock day and hour, and `day_frames`."""
    calls = in_period(in_scope(frames).filter(nw.col("direction") == direction), frames)
    owned = with_receiver(calls.filter(~is_short(short_abandon_s)), frames)
    theirs = owned if direction == "in" else with_performer(calls, frames)
    day, hour = nw.col("started_local").dt.date(), nw.col("started_local").dt.hour().cast(nw.Int64)
    return {
        "calls": theirs.with_columns(day=day, hour=hour, is_answered=IS_ANSWERED).select(*CALLS),
        **day_frames(frames),
    }


def day_frames(frames: Frames) -> dict[str, Lazy]:
    """What `known_days` takes: working days by the account's calendar, its now, since when calls are synced."""
    calendar = frames["clock"].select("account_id", "calendar_id")
    days = frames["calendar_day"].join(calendar, on=["account_id", "calendar_id"])
    return {
        "working": days.select("account_id", "day", "is_working"),
        "clock": frames["clock"].select("account_id", "tz", "as_of_on"),
        "synced": frames["coverage"].filter(nw.col("resource") == "call").select("account_id", "complete_from"),
    }


def known_days(collected: dict[str, pl.DataFrame], period: Period) -> pl.DataFrame:
    """One row per account and known day of the period: account_id, day, weekday (ISO), is_working (null: unknown)."""
    synced = dict(collected["synced"].iter_rows())
    rows = [
        (account_id, day, day.isoweekday())
        for account_id, tz, as_of_on in collected["clock"].sort("account_id").iter_rows()
        for day in _days(_first_day(synced.get(account_id), tz, period.period_from), min(period.period_to, as_of_on))
    ]
    schema = {"account_id": pl.String(), "day": pl.Date(), "weekday": pl.Int64()}
    days = pl.DataFrame(rows, schema=schema, orient="row")
    return days.join(collected["working"], on=["account_id", "day"], how="left", maintain_order="left")


def _first_day(complete_from: datetime | None, tz: str, period_from: date) -> date:
    """The first day of the period of which all calls are known."""
    if complete_from is None:
        return period_from
    local = (complete_from if complete_from.tzinfo else complete_from.replace(tzinfo=UTC)).astimezone(ZoneInfo(tz))
    whole = local.date() if local.time() == local.time().min else local.date() + timedelta(days=1)
    return max(period_from, whole)


def _days(first: date, end: date) -> list[date]:
    return [first + timedelta(days=n) for n in range((end - first).days)]


def of_days(calls: pl.DataFrame, days: pl.DataFrame) -> pl.DataFrame:
    """`calls` of those days, with weekday and is_working."""
    return calls.join(days, on=["account_id", "day"])


def in_cells(calls: pl.DataFrame, days: pl.DataFrame) -> pl.DataFrame:
    """Every weekday and hour of each account with calls: n, n_missed, days, mean (calls an hour; null without days).

    Args:
        calls: `of_days` of `days`.
    """
    hours = pl.DataFrame({"hour": range(24)}, schema={"hour": pl.Int64})
    weekdays = pl.DataFrame({"weekday": range(1, 8)}, schema={"weekday": pl.Int64})
    counted = calls.group_by(CELL).agg(
        n=pl.len().cast(pl.Int64), n_missed=(~pl.col("is_answered")).sum().cast(pl.Int64)
    )
    return (
        calls.select("account_id")
        .unique()
        .join(weekdays, how="cross")
        .join(hours, how="cross")
        .join(counted, on=CELL, how="left")
        .join(_number_of(days, ["account_id", "weekday"]), on=["account_id", "weekday"], how="left")
        .with_columns(pl.col("n", "n_missed", "days").fill_null(0))
        .with_columns(
            mean=pl.col("n") / pl.when(pl.col("days") > 0).then(pl.col("days")),
            group_key=pl.format("{} {}", "weekday", "hour"),
        )
        .sort(CELL)
    )


def busy_hours(calls: pl.DataFrame, days: pl.DataFrame) -> pl.DataFrame:
    """Per account the time-consistent busy hour: the hour of working days with most calls on average.

    Returns:
        account_id, busy_hour, busy_lambda (calls an hour), busy_days; of equal hours the earliest.
    """
    working = days.filter("is_working")
    return (
        calls.filter("is_working")
        .group_by("account_id", busy_hour="hour")
        .agg(n=pl.len())
        .join(_number_of(working, ["account_id"]).rename({"days": "busy_days"}), on="account_id")
        .sort(["account_id", "n", "busy_hour"], descending=[False, True, False])
        .unique("account_id", keep="first", maintain_order=True)
        .select("account_id", "busy_hour", (pl.col("n") / pl.col("busy_days")).alias("busy_lambda"), "busy_days")
    )


def _number_of(days: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
    return days.group_by(by).agg(days=pl.len().cast(pl.Int64))
