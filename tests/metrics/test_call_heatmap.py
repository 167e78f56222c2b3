"""A8: over which days a mean is taken, in which cell a call is, and where the peak is."""

from datetime import date, timedelta

import pytest
from calls import AS_OF, answer, got_in, missed, moscow, tried
from engines import on_every_engine

from metrics.call_heatmap import METRIC
from metrics.evaluate import evaluate
from metrics.metric import Period

MONDAY = date(2026, 2, 9)
EIGHT_WEEKS = Period(AS_OF, MONDAY, MONDAY + timedelta(weeks=8))


def ask(engine, calls, period=EIGHT_WEEKS, **more):
    return answer(METRIC, engine, calls, period=period, **more)


def cell(result, weekday, hour):
    (row,) = result.tables["cells"].filter(weekday=weekday, hour=hour).rows(named=True)
    return row


def summary(result):
    return result.tables["summary"].row(0, named=True)


@on_every_engine
def test_the_example_of_the_catalogue(engine):
    """24 calls on six of eight Mondays."""
    calls = [got_in(f"i{n}", f"{MONDAY + timedelta(weeks=n % 6)} 10:{n:02}") for n in range(24)]
    result = ask(engine, calls)
    found = cell(result, 1, 10)
    assert (found["n"], found["days"], found["mean"]) == (24, 8, 3.0)
    assert result.tables["cells"].height == 168
    assert (summary(result)["peak_weekday"], summary(result)["peak_hour"], summary(result)["peak_mean"]) == (1, 10, 3.0)


def test_the_earliest_of_equal_peaks_is_named(polars_engine):
    calls = [got_in("a", "2026-02-10 15:00"), got_in("b", "2026-02-10 09:00"), got_in("c", "2026-02-12 08:00")]
    assert (summary(ask(polars_engine, calls))["peak_weekday"], summary(ask(polars_engine, calls))["peak_hour"]) == (
        2,
        9,
    )


def test_the_busy_hour_is_of_working_days(polars_engine):
    calls = [got_in(f"s{n}", "2026-02-14 12:00") for n in range(5)]  # a Saturday
    calls += [got_in("a", "2026-02-10 15:00"), got_in("b", "2026-02-11 15:00"), got_in("c", "2026-02-11 16:00")]
    found = summary(ask(polars_engine, calls))
    # 40 weekdays, of them 23 February and 9 March are holidays.
    assert (found["busy_hour"], found["busy_days"], found["busy_lambda"]) == (15, 38, pytest.approx(2 / 38))
    assert found["peak_weekday"] == 6


def test_holidays_are_no_days_where_only_working_days_count(polars_engine):
    calls = [got_in("a", "2026-02-23 10:00"), got_in("b", "2026-02-16 10:00")]
    assert (cell(ask(polars_engine, calls), 1, 10)["n"], cell(ask(polars_engine, calls), 1, 10)["days"]) == (2, 8)
    found = cell(ask(polars_engine, calls, params={"business_only": True}), 1, 10)
    assert (found["n"], found["days"]) == (1, 6)


def test_the_running_day_is_neither_a_day_nor_has_calls(polars_engine):
    period = Period(AS_OF, date(2026, 4, 6), date(2026, 4, 13))  # as of Wednesday noon
    result = ask(polars_engine, [got_in("a", "2026-04-06 10:00"), got_in("b", "2026-04-08 10:00")], period)
    assert [cell(result, weekday, 10)["days"] for weekday in (1, 2, 3, 4)] == [1, 1, 0, 0]
    assert (cell(result, 3, 10)["n"], cell(result, 3, 10)["mean"]) == (0, None)
    assert result.drilldown.height == 1


def test_days_before_calls_are_completely_synced_do_not_count(polars_engine):
    synced = [{"resource": "call", "complete_from": moscow("2026-03-02 12:00"), "watermark": AS_OF}]
    calls = [got_in("a", "2026-03-02 10:00"), got_in("b", "2026-03-09 10:00")]
    found = ask(polars_engine, calls, coverage=synced)
    assert (cell(found, 1, 10)["n"], cell(found, 1, 10)["days"]) == (1, 4)
    assert summary(found)["first_on"] == date(2026, 3, 3)


def test_missed_calls_are_shared_out_by_cell(polars_engine):
    calls = [
        got_in("a", "2026-02-10 15:00"),
        missed("b", "2026-02-17 15:59"),
        missed("c", "2026-02-17 15:30", wait_s=2),
        tried("d", "2026-02-17 15:10"),
    ]
    found = cell(ask(polars_engine, calls), 2, 15)
    assert (found["n"], found["n_missed"], found["missed_rate"], found["low_n"]) == (2, 1, 0.5, True)
    assert cell(ask(polars_engine, calls, params={"direction": "out"}), 2, 15)["n"] == 1


def test_the_day_the_clocks_change_is_one_day(polars_engine):
    """In Berlin 29 March 2026 has 23 hours."""
    account = {"account_id": "main", "connector": "amocrm", "base_url": "https://x", "tz": "Europe/Berlin"}
    calls = [got_in("a", "2026-03-29 12:00")]
    frames = polars_engine.frames({"call_episode": calls}, as_of=AS_OF, tz="Europe/Berlin", accounts=[account])
    result = evaluate(METRIC, frames, None, EIGHT_WEEKS)
    assert (cell(result, 7, 11)["n"], cell(result, 7, 11)["days"]) == (1, 8)


def test_an_account_without_calls_has_no_map(polars_engine):
    assert ask(polars_engine, []).tables["cells"].is_empty()
