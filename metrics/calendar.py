"""Working time (R-CAL): calendars, and the seconds of them between two instants.

A calendar is weekly hours, public holidays of a country with the government's transfers, and dated exceptions. Each
working interval is turned from local time to UTC by itself, so a day of 23 or 25 hours comes out right. For metrics all
of it is one table, `calendar_day`: W(t), working seconds before t, is an equi-join on the local day and a clip, and the
working time between a and b is W(b) - W(a).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import holidays
import narwhals.stable.v2 as nw
import polars as pl
from pydantic import BaseModel, ConfigDict, Field

Lazy = nw.LazyFrame[Any]
Spans = tuple[tuple[int, int], ...]
"""Working hours of a day as pairs of seconds since local midnight, in order."""

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY_S = 24 * 3600


class Calendar(BaseModel):
    """Working time as the config states it.

    country: whose public holidays are days off (ISO 3166), null for none. hours: by days of the week, at most two spans
    a day. lunch: a span taken out of every working day. exceptions: days with hours of their own, `off` for a day off.
    timezone: whose wall clock the hours are on, the account's where null.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    country: str | None = "RU"
    hours: dict[str, str] = Field(default_factory=lambda: {"mon-fri": "09:00-18:00"})
    lunch: str | None = None
    exceptions: dict[date, str] = Field(default_factory=dict)
    timezone: str | None = None


@dataclass(frozen=True)
class WorkingWeek:
    """A calendar made ready: hours by ISO weekday, hours of exceptional days, and whose holidays are kept."""

    weekly: Mapping[int, Spans]
    exceptions: Mapping[date, Spans]
    country: str | None

    @classmethod
    def of(cls, calendar: Calendar) -> "WorkingWeek":
        lunch = _spans(calendar.lunch or "off")
        return cls(
            weekly={day: _without(_spans(hours), lunch) for day, hours in _by_weekday(calendar.hours)},
            exceptions={day: _without(_spans(hours), lunch) for day, hours in calendar.exceptions.items()},
            country=calendar.country,
        )

    def hours(self, first: date, last: date) -> Iterator[tuple[date, Spans]]:
        """Working hours of each day from `first` to `last`, both included."""
        known = _holidays(self.country, first, last)
        for n in range((last - first).days + 1):
            day = first + timedelta(days=n)
            yield day, self._of_day(day, known)

    def _of_day(self, day: date, known: "holidays.HolidayBase | None") -> Spans:
        if day in self.exceptions:
            return self.exceptions[day]
        usual = self.weekly.get(day.isoweekday(), ())
        if known is None:
            return usual
        if day in getattr(known, "weekend_workdays", ()):  # a Saturday worked for a transferred day off
            return usual or self._ordinary()
        return () if day in known else usual

    def _ordinary(self) -> Spans:
        """Hours of the first working day of the week."""
        return next((self.weekly[day] for day in sorted(self.weekly) if self.weekly[day]), ())


def calendar_days(
    week: WorkingWeek, *, account_id: str, calendar_id: str, tz: str, first: date, last: date, zone: str | None = None
) -> pl.DataFrame:
    """`MARTS["calendar_day"]` of one calendar for the local days `first` to `last` of an account in time zone `tz`.

    `zone` is the wall clock of the hours where it is not the account's: intervals are then cut at the account's
    midnights. Raises ValueError where a day would have more than two intervals.
    """
    own = ZoneInfo(tz)
    open_days = _by_local_day(_intervals(week, ZoneInfo(zone or tz), first, last), own)
    rows, before = [], 0
    for n in range((last - first).days + 1):
        day = first + timedelta(days=n)
        pieces = open_days.get(day, [])
        if len(pieces) > 2:
            raise ValueError(f"Calendar {calendar_id} has more than two working intervals on {day}: at most two fit.")
        midnight = _epoch(datetime.combine(day, time.min, own))
        (opens, closes) = pieces[0] if pieces else (midnight, midnight)
        (opens2, closes2) = pieces[1] if len(pieces) > 1 else (closes, closes)
        rows.append((account_id, calendar_id, day, bool(pieces), before, opens, closes, opens2, closes2))
        before += closes - opens + closes2 - opens2
    names = [
        "account_id",
        "calendar_id",
        "day",
        "is_working",
        "before_s",
        "open_epoch",
        "close_epoch",
        "open2_epoch",
        "close2_epoch",
    ]
    kinds = [pl.String(), pl.String(), pl.Date(), pl.Boolean(), *[pl.Int64()] * 5]
    return pl.DataFrame(rows, schema=dict(zip(names, kinds, strict=True)), orient="row")


def working_days(calendar: Calendar, first: date, last: date) -> list[date]:
    """Days from `first` to `last` with at least one working interval."""
    return [day for day, spans in WorkingWeek.of(calendar).hours(first, last) if spans]


def with_worked(
    frame: Lazy, calendar_day: Lazy, *, epoch: str, local: str, into: str, calendar_id: str = "calendar_id"
) -> Lazy:
    """`frame` with `into`: working seconds before the instant (`epoch`, `local`) under the row's calendar.

    Null where the instant is null or beyond the calendar. Only a difference of two such columns under one calendar
    means anything.
    """
    days = calendar_day.select(
        "account_id",
        "calendar_id",
        "day",
        w_before="before_s",
        w_open="open_epoch",
        w_close="close_epoch",
        w_open2="open2_epoch",
        w_close2="close2_epoch",
    )
    at = nw.col(epoch)
    worked = (
        nw.col("w_before")
        + (at.clip(nw.col("w_open"), nw.col("w_close")) - nw.col("w_open"))
        + (at.clip(nw.col("w_open2"), nw.col("w_close2")) - nw.col("w_open2"))
    )
    return (
        frame.with_columns(w_day=nw.col(local).dt.date(), w_calendar=nw.col(calendar_id))
        .join(
            days,
            left_on=["account_id", "w_calendar", "w_day"],
            right_on=["account_id", "calendar_id", "day"],
            how="left",
        )
        .with_columns(**{into: worked})
        .drop("w_day", "w_calendar", "w_before", "w_open", "w_close", "w_open2", "w_close2")
    )


def with_working_time(
    frame: Lazy, calendar_day: Lazy, *, start: str, end: str, into: str, calendar_id: str = "calendar_id"
) -> Lazy:
    """`frame` with `into`: working seconds from instant `start` to instant `end` (stems of `_epoch`, `_local`)."""
    for stem in (start, end):
        frame = with_worked(
            frame, calendar_day, epoch=f"{stem}_epoch", local=f"{stem}_local", into=f"w_{stem}", calendar_id=calendar_id
        )
    return frame.with_columns(**{into: nw.col(f"w_{end}") - nw.col(f"w_{start}")}).drop(f"w_{start}", f"w_{end}")


def _by_weekday(hours: Mapping[str, str]) -> Iterator[tuple[int, str]]:
    """`{"mon-fri": h}` → (1, h) … (5, h); a span may go over Sunday."""
    for names, text in hours.items():
        first, _, last = names.partition("-")
        start, end = WEEKDAYS.index(first), WEEKDAYS.index(last or first)
        for n in range(start, end + 1 if end >= start else end + 8):
            yield n % 7 + 1, text


def _spans(text: str) -> Spans:
    """`"09:00-13:00, 14:00-18:00"` → seconds; nothing for `"off"`."""
    if text.strip() == "off":
        return ()
    bounds = [re.fullmatch(r"(\d\d):(\d\d)-(\d\d):(\d\d)", span.strip()) for span in text.split(",")]
    if not all(bounds):
        raise ValueError(f'{text!r} is no span of hours such as "09:00-18:00", "09:00-13:00, 14:00-18:00" or "off"')
    numbers = [[int(part) for part in bound.groups()] for bound in bounds if bound]
    return tuple((h1 * 3600 + m1 * 60, h2 * 3600 + m2 * 60) for h1, m1, h2, m2 in numbers)


def _without(spans: Spans, lunch: Spans) -> Spans:
    """`spans` with the break taken out."""
    for begin, end in lunch:
        spans = tuple(
            piece
            for opens, closes in spans
            for piece in ((opens, min(closes, begin)), (max(opens, end), closes))
            if piece[0] < piece[1]
        )
    return spans


def _holidays(country: str | None, first: date, last: date) -> "holidays.HolidayBase | None":
    return holidays.country_holidays(country, years=range(first.year, last.year + 1)) if country else None


def _intervals(week: WorkingWeek, zone: ZoneInfo, first: date, last: date) -> Iterator[tuple[int, int]]:
    """Working intervals around `first` … `last` as epoch seconds, each converted by itself."""
    for day, spans in week.hours(first - timedelta(days=1), last + timedelta(days=1)):
        for opens_s, closes_s in spans:
            yield _epoch(_wall(day, opens_s, zone)), _epoch(_wall(day, closes_s, zone))


def _wall(day: date, second: int, zone: ZoneInfo) -> datetime:
    """A second of a local day as the wall clock shows it; 24:00 is the next midnight."""
    return datetime.combine(day + timedelta(days=second // DAY_S), time.min, zone) + timedelta(seconds=second % DAY_S)


def _by_local_day(intervals: Iterator[tuple[int, int]], zone: ZoneInfo) -> dict[date, list[tuple[int, int]]]:
    """Intervals cut at local midnights, those that touch joined."""
    days: dict[date, list[tuple[int, int]]] = {}
    for opens, closes in intervals:
        begin = opens
        while begin < closes:
            day = datetime.fromtimestamp(begin, zone).date()
            midnight = _epoch(datetime.combine(day + timedelta(days=1), time.min, zone))
            end = min(closes, midnight)
            pieces = days.setdefault(day, [])
            if pieces and pieces[-1][1] == begin:
                pieces[-1] = (pieces[-1][0], end)
            else:
                pieces.append((begin, end))
            begin = end
    return days


def _epoch(at: datetime) -> int:
    return int(at.astimezone(UTC).timestamp())


def overridden(
    week: WorkingWeek, hours: Sequence[Mapping[str, Any]], exceptions: Sequence[Mapping[str, Any]]
) -> WorkingWeek:
    """`week` with what the tables `calendar_hours` and `calendar_exception` say of it.

    Weekly rows, if any, replace the whole week; a dated row replaces its day (both ends null: a day off).
    """
    weekly: dict[int, list[tuple[int, int]]] = {}
    for row in sorted(hours, key=lambda row: (row["isoweekday"], row["opens_s"])):
        weekly.setdefault(row["isoweekday"], []).append((row["opens_s"], row["closes_s"]))
    dated: dict[date, list[tuple[int, int]]] = {}
    for row in sorted(exceptions, key=lambda row: (row["day"], row["position"])):
        spans = dated.setdefault(row["day"], [])
        if row["opens_s"] is not None and row["closes_s"] is not None:
            spans.append((row["opens_s"], row["closes_s"]))
    return WorkingWeek(
        weekly={day: tuple(spans) for day, spans in weekly.items()} if weekly else week.weekly,
        exceptions={**week.exceptions, **{day: tuple(spans) for day, spans in dated.items()}},
        country=week.country,
    )
