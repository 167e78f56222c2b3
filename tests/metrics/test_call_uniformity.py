"""A9: what an even share is, when it is not even, and which days stand out."""

from datetime import date, timedelta

import polars as pl
import pytest
from calls import AS_OF, answer, got_in, missed
from engines import on_every_engine

from metrics.call_uniformity import METRIC, CallUniformityParams, _fitted
from metrics.metric import Period

MARCH = Period(AS_OF, date(2026, 3, 2), date(2026, 3, 30))  # 19 working days: 9 March is a holiday
SHARES = (120, 80, 60, 40)


def shared(*counts):
    return [
        got_in(f"u{user}-{n}", "2026-03-03 10:00", user_id=f"user:{user}")
        for user, count in enumerate(counts, 1)
        for n in range(count)
    ]


def people(*numbers, **more):
    return [{"user_id": f"user:{number}", **more} for number in numbers]


def ask(engine, calls, **more):
    return answer(METRIC, engine, calls, period=MARCH, **more)


def summary(result):
    return result.tables["summary"].row(0, named=True)


def of(result, name):
    return dict(result.tables["by_user"].select("user_id", name).iter_rows())


@on_every_engine
def test_the_example_of_the_catalogue_with_equal_shares(engine):
    result = ask(engine, shared(*SHARES), user=people(1, 2, 3, 4), params={"expected": "equal"})
    found = summary(result)
    assert (found["chi2"], found["w"], found["gini"]) == pytest.approx((46.6667, 0.394405, 0.216667), abs=1e-4)
    assert (found["p"], found["df"], found["flag"]) == (pytest.approx(4.0919e-10, rel=1e-4), 3, True)
    assert of(result, "expected") == dict.fromkeys(("user:1", "user:2", "user:3", "user:4"), 75.0)


def test_the_example_of_the_catalogue_with_hours():
    """160, 120, 120 and 80 hours, through the very function."""
    received = pl.DataFrame(
        {
            "account_id": "main",
            "user_id": ["user:1", "user:2", "user:3", "user:4"],
            "user_active": True,
            "group_key": ["user:1", "user:2", "user:3", "user:4"],
            "n": SHARES,
            "present_s": [hours * 3600 for hours in (160, 120, 120, 80)],
        }
    )
    by_user, found = _fitted(received, CallUniformityParams())
    row = found.row(0, named=True)
    assert (row["chi2"], row["p"]) == pytest.approx((9.3333, 0.025172), abs=1e-4)
    assert not row["flag"]
    by_id = by_user.sort("user_id")
    assert by_id["expected"].to_list() == pytest.approx([100, 75, 75, 50])
    assert by_id["resid"].to_list() == pytest.approx([2.4495, 0.6667, -2.0, -1.5492], abs=1e-4)


def test_who_was_away_half_of_the_time_is_to_get_half(polars_engine):
    """Of 19 working days he was away from the 2nd to the 12th: 8 days."""
    away = [{"user_id": "user:2", "first_day": date(2026, 3, 2), "end_day": date(2026, 3, 13), "kind": "vacation"}]
    result = ask(polars_engine, shared(19, 11), user=people(1, 2), user_absence=away)
    assert of(result, "expected") == {"user:1": pytest.approx(19), "user:2": pytest.approx(11)}
    assert of(result, "present_s") == {"user:1": 19 * 32_400, "user:2": 11 * 32_400}
    assert (summary(result)["basis"], summary(result)["chi2"]) == ("staffed_time", pytest.approx(0))


def test_equal_shares_are_expected_where_somebodys_time_is_not_known(polars_engine):
    result = ask(polars_engine, shared(20, 20), user=people(1))
    assert summary(result)["basis"] == "equal"
    assert "hours_unknown" in {notice.code for notice in result.warnings}


def test_calls_are_his_who_answered_or_alone_was_rung(polars_engine):
    calls = [
        got_in("i1", "2026-03-03 10:00", user_id="user:1"),
        missed("m1", "2026-03-03 10:00", rung_user_id="user:2"),
        missed("m2", "2026-03-03 10:00", responsible_user_id="user:2"),
    ]
    result = ask(polars_engine, calls, user=people(1, 2))
    assert of(result, "n") == {"user:1": 1, "user:2": 1}
    assert (summary(result)["n"], summary(result)["n_nobodys"]) == (2, 1)
    assert sorted(result.drilldown["group_key"]) == ["user:1", "user:2"]


def test_few_calls_are_judged_by_simulation_with_a_seed(polars_engine):
    found = summary(ask(polars_engine, shared(7, 0, 1), user=people(1, 2, 3)))
    assert (found["is_simulated"], found["seed"], found["n_users"]) == (True, 20260101, 2)


def test_who_has_left_is_shown_but_not_compared(polars_engine):
    users = [*people(1, 2), *people(3, is_active=False)]
    result = ask(polars_engine, shared(20, 20, 90), user=users)
    assert of(result, "expected") == {"user:1": 20.0, "user:2": 20.0, "user:3": None}
    assert summary(result)["n"] == 40


def test_a_big_but_even_team_is_not_flagged_and_one_person_is_no_test(polars_engine):
    assert not summary(ask(polars_engine, shared(100, 104), user=people(1, 2)))["flag"]
    assert summary(ask(polars_engine, shared(10), user=people(1)))["p"] is None


def test_a_day_far_from_its_weekday_stands_out(polars_engine):
    """Eight Tuesdays with 20 calls, but one without any. Two Mondays are holidays, which are days of their own."""
    tuesdays = [date(2026, 2, 3) + timedelta(weeks=n) for n in range(8) if n != 3]
    calls = [got_in(f"{day}-{k}", f"{day} 10:00", user_id="user:1") for day in tuesdays for k in range(20)]
    period = Period(AS_OF, date(2026, 2, 2), date(2026, 3, 30))
    result = answer(METRIC, polars_engine, calls, period=period, user=people(1))
    assert result.tables["days"].filter("is_out")["day"].to_list() == [date(2026, 2, 24)]
    tuesday = result.tables["weekdays"].filter(weekday=2).row(0, named=True)
    assert (tuesday["days"], tuesday["mean"], tuesday["variance"]) == (8, 17.5, 50)
    mondays = result.tables["weekdays"].filter(weekday=1).sort("is_working")
    assert mondays.select("is_working", "days", "dispersion").rows() == [(False, 2, None), (True, 6, None)]
