"""A4: when a reaction is in time, which threads are judged, and how long clients wait."""

import polars as pl
import pytest
from calls import APRIL, answer, got_in, got_out, missed, moscow, tried, working_days
from engines import on_every_engine

from metrics.callback import METRIC
from metrics.evaluate import evaluate

CATALOGUE = (
    missed("m1", "2026-04-06 10:00", client="contact:1"),
    got_out("o1", "2026-04-06 10:12", client="contact:1"),
    missed("m2", "2026-04-06 17:50", client="contact:2"),
    tried("o2", "2026-04-07 09:20", client="contact:2"),
    missed("m3", "2026-04-06 12:00", client="contact:3"),
    got_in("i3", "2026-04-06 12:30", client="contact:3"),
    missed("m4", "2026-04-04 13:00", client="contact:4"),
    got_out("o4", "2026-04-06 09:05", client="contact:4"),
    missed("m5", "2026-04-06 15:00", client="contact:5"),
    missed("m6", "2026-04-08 11:50", client="contact:6"),
)


def total(engine, calls, **more):
    return answer(METRIC, engine, calls, **more).tables["total"].row(0, named=True)


def judged(result):
    return dict(result.tables["threads"].select("thread_id", "sla_state").iter_rows())


@on_every_engine
def test_the_example_of_the_catalogue(engine):
    result = answer(METRIC, engine, CATALOGUE)
    times = {row["thread_id"]: row for row in result.tables["threads"].iter_rows(named=True)}
    assert [times[f"m{n}"]["outbound_work_s"] for n in (1, 2, 3, 4, 5)] == [720, 1800, None, 300, None]
    assert times["m4"]["outbound_wall_s"] == 158_700
    assert judged(result) == {"m1": "in_time", "m2": "late", "m3": "none", "m4": "in_time", "m5": "none", "m6": None}
    found = result.tables["total"].row(0, named=True)
    assert (found["n"], found["num"], found["den"], found["n_breached"]) == (6, 2, 5, 3)
    assert (found["rate"], found["ci_lo"], found["ci_hi"]) == pytest.approx((0.4, 0.117621, 0.769276), abs=1e-6)


def test_who_waits_is_in_the_median(polars_engine):
    """At risk of a reaction: 300, 600+ (too young), 720, 1800 and 1800+ (recovered), and one of 2.1 days."""
    found = total(polars_engine, CATALOGUE)
    assert found["km_median_attempt_s"] == 1800
    # Of 300, 720: S = 5/6, then 3/4 of it; the attempt of the second client is no contact.
    assert found["km_median_contact_s"] is None
    assert found["p90_attempt_s"] is None


def test_the_client_who_gets_through_before_the_deadline_is_not_judged(polars_engine):
    calls = [missed("m1", "2026-04-06 12:00"), got_in("i1", "2026-04-06 12:14:59")]
    assert judged(answer(METRIC, polars_engine, calls)) == {"m1": None}
    calls = [missed("m1", "2026-04-06 12:00"), got_in("i1", "2026-04-06 12:15")]
    assert judged(answer(METRIC, polars_engine, calls)) == {"m1": "none"}
    assert total(polars_engine, calls)["km_median_attempt_s"] is None


@pytest.mark.parametrize(("at", "state"), [("12:15", "in_time"), ("12:15:01", "late")])
def test_the_last_second_of_the_deadline_is_in_time(polars_engine, at, state):
    calls = [missed("m1", "2026-04-06 12:00"), tried("o1", f"2026-04-06 {at}")]
    assert judged(answer(METRIC, polars_engine, calls)) == {"m1": state}


def test_a_message_is_a_reaction(polars_engine):
    said = {"kind": "message", "direction": "out", "is_meaningful": True, "client_id": "contact:1"}
    touch = [{"touch_id": "w1", "touched_at": moscow("2026-04-06 12:05"), **said}]
    result = answer(METRIC, polars_engine, [missed("m1", "2026-04-06 12:00")], touch=touch)
    assert judged(result) == {"m1": "in_time"}


def test_time_runs_by_the_managers_own_calendar(polars_engine):
    late = working_days(hours={"mon-fri": "12:00-20:00"}).with_columns(calendar_id=pl.lit("late"))
    days = pl.concat([working_days(), late])
    calls = [
        missed("m1", "2026-04-06 10:00", rung_user_id="user:1", client="contact:1"),
        tried("o1", "2026-04-06 12:05", client="contact:1"),
        missed("m2", "2026-04-06 10:00", rung_user_id="user:2", client="contact:2"),
        tried("o2", "2026-04-06 12:05", client="contact:2"),
    ]
    users = [{"user_id": "user:1"}, {"user_id": "user:2"}]
    own = pl.DataFrame({"account_id": ["main"], "user_id": ["user:1"], "calendar_id": ["late"]})
    frames = polars_engine.frames(
        {"call_episode": calls, "calendar_day": days, "user": users},
        as_of=moscow("2026-04-08 12:00"),
        user_set={"user": own},
    )
    assert judged(evaluate(METRIC, frames, None, APRIL)) == {"m1": "in_time", "m2": "late"}


def test_breaches_are_listed_with_the_time_that_passed(polars_engine):
    rows = answer(METRIC, polars_engine, CATALOGUE).drilldown
    assert rows.select("entity_id", "reason", "value").rows() == [
        ("contact:3", "NO_CALLBACK", 1800.0),
        ("contact:5", "NO_CALLBACK", 3 * 3600 + 9 * 3600 + 3 * 3600.0),
        ("contact:2", "LATE_CALLBACK", 1800.0),
    ]
