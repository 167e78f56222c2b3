"""A11: how many people an hour takes, and how many were there."""

from datetime import date

import pytest
from calls import AS_OF, answer, got_in, missed, working_days
from engines import on_every_engine
from pydantic import ValidationError

from metrics.metric import Period
from metrics.staffing import METRIC

WEEK = Period(AS_OF, date(2026, 3, 30), date(2026, 4, 6))
MONDAY = "2026-03-30"


def busy(n, *, at=f"{MONDAY} 10", talk_s=180, **more):
    return [
        got_in(f"{at}-{k}", f"{at}:{k % 60:02}", talk_s=talk_s, user_id=f"user:{1 + k % 3}", **more) for k in range(n)
    ]


def ask(engine, calls, period=WEEK, users=(1, 2, 3), **more):
    people = [{"user_id": f"user:{number}"} for number in users]
    return answer(METRIC, engine, calls, period=period, **{"user": people, **more})


def cell(result, weekday=1, hour=10):
    (row,) = result.tables["cells"].filter(weekday=weekday, hour=hour).rows(named=True)
    return row


@on_every_engine
def test_the_example_of_the_catalogue(engine):
    """60 calls an hour of 180 s and 30 s after each: 6 people, 9 on the roster."""
    found = cell(ask(engine, busy(60)))
    assert (found["lambda"], found["aht_s"], found["agents"], found["scheduled"]) == (60, 210, 6, 9)
    served = (found["asa_s"], found["sl"], found["occupancy"])
    assert served == pytest.approx((14.907240, 0.860133, 0.583333), abs=1e-6)
    assert found["assumed"]
    assert 0 < found["p_abandon"] < 0.087811, "less than five people would lose"


def test_a_busy_hour_takes_more_people(polars_engine):
    """60 calls: four of five such hours have at most 66 (Poisson); calls in bursts have more."""
    found = cell(ask(polars_engine, busy(60)))
    assert (found["lambda_hi"], found["agents_hi"]) == (66, 7)
    month = Period(AS_OF, date(2026, 3, 9), date(2026, 4, 6))
    found = cell(ask(polars_engine, busy(60), period=month))
    assert (found["lambda"], found["lambda_hi"]) == (15, 22)
    assert (found["agents"], found["agents_hi"]) == (3, 3)
    found = cell(ask(polars_engine, busy(60), period=month, params={"lambda_q": 0.95}))
    assert found["agents_hi"] > 3


def test_an_hour_without_calls_takes_nobody(polars_engine):
    found = cell(ask(polars_engine, busy(60)), 2, 10)
    assert (found["agents"], found["scheduled"], found["sl"], found["is_understaffed"]) == (0, 0, 1, False)


def test_nobody_is_busier_than_allowed(polars_engine):
    assert cell(ask(polars_engine, busy(60), params={"max_occ": 0.5}))["agents"] == 7
    assert cell(ask(polars_engine, busy(60), params={"sl": 0.95}))["agents"] == 8
    assert cell(ask(polars_engine, busy(60), params={"shrinkage": 0}))["scheduled"] == 6


def test_people_at_work_are_those_who_answer_calls_less_absences(polars_engine):
    away = [{"user_id": "user:3", "first_day": date(2026, 3, 30), "end_day": date(2026, 4, 1), "kind": "sick"}]
    result = ask(polars_engine, busy(60), users=(1, 2, 3, 4), user_absence=away)
    assert [cell(result, weekday, 10)["present_mean"] for weekday in (1, 2, 3, 6)] == [2, 2, 3, 0]
    assert (cell(result, 3, 8)["present_mean"], cell(result, 3, 17)["present_mean"]) == (0, 3)
    assert cell(result)["is_understaffed"]
    (row,) = result.drilldown.rows(named=True)
    assert (row["group_key"], row["value"], row["reason"]) == ("1 10", 4.0, "UNDERSTAFFED")


def test_half_an_hour_at_work_is_half_a_person(polars_engine):
    days = working_days(hours={"mon-fri": "09:30-24:00"})
    result = ask(polars_engine, busy(60), calendar_day=days)
    assert [cell(result, 1, hour)["present_mean"] for hour in (8, 9, 10, 23)] == [0, 1.5, 3, 3]


def test_patience_is_measured_where_waits_are_recorded(polars_engine):
    """Of 20 waits half end at 69 s without an answer: mean patience 69 / ln 2."""
    calls = busy(10, wait_s=70) + [missed(f"m{k}", f"{MONDAY} 10:00", wait_s=69, client=f"c:{k}") for k in range(10)]
    result = ask(polars_engine, calls)
    (basis,) = result.tables["basis"].rows(named=True)
    assert (basis["patience_s"], basis["assumed"]) == (pytest.approx(99.546, abs=1e-3), False)
    assert "patience_assumed" not in {notice.code for notice in result.warnings}
    (basis,) = ask(polars_engine, calls[:-1]).tables["basis"].rows(named=True)
    assert (basis["patience_s"], basis["assumed"]) == (120, True)


def test_without_talk_times_nothing_is_suggested(polars_engine):
    result = ask(polars_engine, [missed("m", f"{MONDAY} 10:00")])
    assert (cell(result)["lambda"], cell(result)["aht_s"], cell(result)["agents"]) == (1, None, None)
    assert "talk_unknown" in {notice.code for notice in result.warnings}


@pytest.mark.parametrize("wrong", [{"sl": 1}, {"shrinkage": 1}, {"max_occ": 0}, {"patience_s": 0}, {"lambda_q": 0}])
def test_parameters_out_of_their_range_are_refused(wrong):
    with pytest.raises(ValidationError):
        METRIC.params(**wrong)
