"""Working time: the catalogue's examples, days of odd length, breaks."""

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from engines import on_every_engine
from hypothesis import given
from hypothesis import strategies as st

from metrics.calendar import Calendar, WorkingWeek, calendar_days, overridden, with_working_time, working_days
from metrics.evaluate import collect

FIRST, LAST = date(2024, 1, 1), date(2026, 12, 31)


def days(calendar, tz="Europe/Moscow", zone=None, first=FIRST, last=LAST):
    return calendar_days(
        WorkingWeek.of(calendar), account_id="main", calendar_id="default", tz=tz, first=first, last=last, zone=zone
    )


def worked(engine, calendar, start, end, *, tz="Europe/Moscow", zone=None):
    """Working seconds between two local wall times."""
    local = [datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(tz)) for text in (start, end)]
    row = {"client_id": "contact:1", "created_at": local[0], "first_won_at": local[1]}
    frames = engine.frames({"client": [row], "calendar_day": days(calendar, tz, zone)}, tz=tz)
    clients = frames["client"].join(
        frames["calendar_day"].select("account_id", "calendar_id").unique(), on="account_id"
    )
    timed = with_working_time(clients, frames["calendar_day"], start="created", end="first_won", into="worked_s")
    return collect({"rows": timed.select("worked_s")})["rows"].item()


def test_the_russian_production_calendar_has_248_247_247_working_days():
    years = [working_days(Calendar(), date(year, 1, 1), date(year, 12, 31)) for year in (2024, 2025, 2026)]
    assert [len(year) for year in years] == [248, 247, 247]


def test_saturdays_worked_for_a_transfer_are_working_days():
    saturdays = [day for day in working_days(Calendar(), FIRST, LAST) if day.isoweekday() == 6]
    assert saturdays == [date(2024, 4, 27), date(2024, 11, 2), date(2024, 12, 28), date(2025, 11, 1)]


@on_every_engine
def test_friday_evening_to_monday_morning_is_75_minutes(engine):
    assert worked(engine, Calendar(), "2026-04-03 17:30", "2026-04-06 09:45") == 4500


@on_every_engine
def test_victory_day_moves_the_week(engine):
    assert worked(engine, Calendar(), "2026-05-08 16:00", "2026-05-12 10:00") == 10_800
    assert worked(engine, Calendar(country=None), "2026-05-08 16:00", "2026-05-12 10:00") == 43_200


@on_every_engine
def test_a_lunch_break_is_not_working_time(engine):
    calendar = Calendar(lunch="13:00-14:00")
    assert worked(engine, calendar, "2026-04-06 12:30", "2026-04-06 14:30") == 3600
    assert worked(engine, calendar, "2026-04-06 13:10", "2026-04-06 13:50") == 0


@on_every_engine
def test_the_day_almaty_put_its_clocks_back_had_25_hours(engine):
    always = Calendar(country=None, hours={"mon-sun": "00:00-24:00"})
    assert worked(engine, always, "2024-02-29 00:00", "2024-03-01 00:00", tz="Asia/Almaty") == 25 * 3600
    assert worked(engine, always, "2024-02-28 00:00", "2024-02-29 00:00", tz="Asia/Almaty") == 24 * 3600


@on_every_engine
def test_office_hours_of_a_short_day_keep_their_length(engine):
    """Berlin went from 02:00 to 03:00 on 29 March 2026; shops open 01:00-04:00 that night worked two hours."""
    night = Calendar(country=None, hours={"mon-sun": "01:00-04:00"})
    assert worked(engine, night, "2026-03-29 00:00", "2026-03-29 12:00", tz="Europe/Berlin") == 2 * 3600


@on_every_engine
def test_hours_on_another_clock_are_cut_at_the_accounts_midnight(engine):
    """Vladivostok 09-18 is Moscow 02-11; New York 09-18 is Moscow 17-02 (winter)."""
    plain = {"mon-fri": "09:00-18:00"}
    far = Calendar(country=None, hours=plain, timezone="Asia/Vladivostok")
    assert worked(engine, far, "2026-04-06 00:00", "2026-04-06 03:00", zone=far.timezone) == 3600
    west = Calendar(country=None, hours=plain, timezone="America/New_York")
    assert worked(engine, west, "2026-01-13 00:00", "2026-01-14 00:00", zone=west.timezone) == 9 * 3600


def test_an_exception_changes_one_day_and_off_closes_it():
    calendar = Calendar(exceptions={date(2026, 4, 6): "10:00-12:00", date(2026, 4, 7): "off"})
    table = days(calendar, first=date(2026, 4, 6), last=date(2026, 4, 8))
    assert (table["close_epoch"] - table["open_epoch"]).to_list() == [7200, 0, 9 * 3600]
    assert table["before_s"].to_list() == [0, 7200, 7200]
    assert table["is_working"].to_list() == [True, False, True]


def test_rows_of_the_calendar_tables_win():
    week = overridden(
        WorkingWeek.of(Calendar()),
        hours=[{"isoweekday": 1, "opens_s": 0, "closes_s": 3600}],
        exceptions=[{"day": date(2026, 4, 13), "position": 0, "opens_s": None, "closes_s": None}],
    )
    open_days = [day for day, spans in week.hours(date(2026, 4, 6), date(2026, 4, 19)) if spans]
    assert open_days == [date(2026, 4, 6)]


def test_a_third_interval_is_refused_with_a_sentence():
    with pytest.raises(ValueError, match="at most two"):
        days(Calendar(hours={"mon": "08:00-09:00, 10:00-11:00, 12:00-13:00"}))


@given(
    st.datetimes(datetime(2025, 3, 1), datetime(2025, 11, 10)),  # noqa: DTZ001
    st.integers(0, 14 * 24 * 60),
)
def test_working_time_is_the_number_of_working_minutes(start, minutes):
    """Against the slow definition: look at every minute."""
    zone, table = ZoneInfo("Europe/Berlin"), _BERLIN
    begin = int(start.replace(second=0, microsecond=0, tzinfo=UTC).timestamp())
    stamps = range(begin, begin + minutes * 60, 60)
    hours = dict(WorkingWeek.of(_SPLIT).hours(date(2025, 2, 1), date(2025, 12, 31)))

    def is_working(stamp):
        local = datetime.fromtimestamp(stamp, zone)
        second = local.hour * 3600 + local.minute * 60
        return any(opens <= second < closes for opens, closes in hours[local.date()])

    def before(stamp):
        row = table.row(by_predicate=pl.col("day") == datetime.fromtimestamp(stamp, zone).date(), named=True)
        pairs = ((row["open_epoch"], row["close_epoch"]), (row["open2_epoch"], row["close2_epoch"]))
        return row["before_s"] + sum(min(max(stamp, opens), closes) - opens for opens, closes in pairs)

    assert before(begin + minutes * 60) - before(begin) == 60 * sum(map(is_working, stamps))


_SPLIT = Calendar(country="DE", hours={"mon-fri": "09:00-13:00, 14:00-18:00", "sat": "10:00-12:00"})
_BERLIN = days(_SPLIT, tz="Europe/Berlin", first=date(2025, 2, 1), last=date(2025, 12, 31))
