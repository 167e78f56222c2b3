"""A2: which calls are missed, which are not counted at all, whose they are and when they came."""

import pytest
from calls import answer, got_in, missed, tried
from engines import on_every_engine

from metrics.missed_rate import METRIC

OWNED = {"user_id": "user:1", "rung_user_id": "user:1"}


def total(engine, calls, **more):
    return answer(METRIC, engine, calls, **more).tables["total"].row(0, named=True)


def per(result, table, key):
    return {row[key]: (row["num"], row["den"]) for row in result.tables[table].iter_rows(named=True)}


@on_every_engine
def test_the_example_of_the_catalogue(engine):
    calls = [missed(f"m{n}", "2026-04-06 10:00") for n in range(34)]
    calls += [got_in(f"i{n}", "2026-04-06 11:00") for n in range(166)]
    found = total(engine, calls)
    assert (found["num"], found["den"]) == (34, 200)
    assert (found["rate"], found["ci_lo"], found["ci_hi"]) == pytest.approx((0.17, 0.124279, 0.228158), abs=1e-6)
    assert not found["low_n"]


def test_who_gave_up_at_once_is_neither_missed_nor_counted(polars_engine):
    calls = [
        missed("m1", "2026-04-06 10:00", wait_s=4),
        missed("m2", "2026-04-06 10:00", wait_s=5),
        missed("m3", "2026-04-06 10:00"),
        got_in("i1", "2026-04-06 10:00", wait_s=2),
    ]
    found = total(polars_engine, calls)
    assert (found["num"], found["den"], found["n_short"]) == (2, 3, 1)
    assert total(polars_engine, calls, params={"short_abandon_s": 0})["num"] == 3


def test_voice_mail_is_missed_and_outbound_spam_internal_and_robots_are_not_looked_at(polars_engine):
    calls = [
        got_in("i1", "2026-04-06 10:00", is_voicemail=True),
        tried("o1", "2026-04-06 10:00"),
        *(missed(flag, "2026-04-06 10:00", **{flag: True}) for flag in ("is_spam", "is_internal", "is_robot")),
    ]
    found = total(polars_engine, calls)
    assert (found["num"], found["den"]) == (1, 1)


@on_every_engine
def test_a_missed_call_is_the_only_ones_who_was_rung_else_the_responsibles_else_nobodys(engine):
    calls = [
        missed("m1", "2026-04-06 10:00", rung_user_id="user:1", responsible_user_id="user:2"),
        missed("m2", "2026-04-06 10:00", responsible_user_id="user:2"),
        missed("m3", "2026-04-06 10:00"),
        missed("m4", "2026-04-06 10:00", rung_user_id="user:0"),
        got_in("i1", "2026-04-06 10:00", user_id="user:2", responsible_user_id="user:1"),
    ]
    users = [{"user_id": "user:0", "is_robot": True}, {"user_id": "user:1"}, {"user_id": "user:2"}]
    result = answer(METRIC, engine, calls, user=users)
    assert per(result, "by_user", "user_id") == {"user:1": (1, 1), "user:2": (1, 2), None: (2, 2)}
    row = result.tables["by_user"].filter(user_id="user:2").row(0, named=True)
    assert (row["n_rung"], row["n_owner"]) == (0, 1)


def test_what_a_leaver_missed_stays_his_and_is_compared_with_nobody(polars_engine):
    users = [{"user_id": "user:1", "is_active": False}]
    calls = [missed(f"m{n}", "2026-04-06 10:00", **OWNED, responsible_user_id="user:2") for n in range(20)]
    calls += [got_in(f"i{n}", "2026-04-06 10:00", user_id=f"user:{2 + n % 2}") for n in range(40)]
    by_user = answer(METRIC, polars_engine, calls, user=users).tables["by_user"]
    assert by_user.select("user_id", "user_active", "num", "rest_rate").row(0) == ("user:1", False, 20, None)
    assert by_user.filter(user_id="user:2")["rest_rate"].to_list() == [0.0]


def test_a_manager_who_misses_more_than_the_others_is_flagged(polars_engine):
    calls = [missed(f"m{n}", "2026-04-06 10:00", **OWNED) for n in range(20)]
    calls += [got_in(f"i{n}", "2026-04-06 10:00", user_id=f"user:{1 + n % 3}") for n in range(60)]
    by_user = answer(METRIC, polars_engine, calls).tables["by_user"]
    assert by_user.select("user_id", "flag").row(0) == ("user:1", True)
    assert by_user.row(0, named=True)["diff"] == pytest.approx(0.5)


def test_the_hour_is_local_and_working_time_is_by_the_calendar(polars_engine):
    calls = [
        missed("m1", "2026-04-06 09:00"),
        missed("m2", "2026-04-06 18:00"),  # closing time is out
        missed("m3", "2026-04-05 12:00"),  # Sunday
        got_in("i1", "2026-04-07 08:59"),
    ]
    result = answer(METRIC, polars_engine, calls)
    assert per(result, "by_hours", "hours") == {"in_hours": (1, 1), "evening_night": (1, 2), "day_off": (1, 1)}
    assert result.tables["by_hours"]["hours"].to_list() == ["in_hours", "evening_night", "day_off"]
    assert per(result, "by_hour", "hour") == {8: (0, 1), 9: (1, 1), 12: (1, 1), 18: (1, 1)}
    reasons = result.drilldown["reason"].to_list()
    assert reasons == ["MISSED_OUT_OF_HOURS", "MISSED_IN", "MISSED_OUT_OF_HOURS"]
    assert total(polars_engine, calls, params={"hours": "in"})["den"] == 1
    assert total(polars_engine, calls, params={"hours": "out"})["den"] == 3


def test_lines_are_apart(polars_engine):
    calls = [missed("m1", "2026-04-06 10:00", line="shop"), got_in("i1", "2026-04-06 10:00")]
    assert per(answer(METRIC, polars_engine, calls), "by_line", "line") == {"shop": (1, 1), None: (0, 1)}


def test_the_team_is_compared_whole_and_shown_in_part(polars_engine):
    calls = [missed(f"m{n}", "2026-04-06 10:00", **OWNED) for n in range(20)]
    calls += [got_in(f"i{n}", "2026-04-06 10:00", user_id="user:2") for n in range(20)]
    result = answer(METRIC, polars_engine, calls, params={"population": ("user:1",)})
    assert result.tables["by_user"].select("user_id", "rest_rate").rows() == [("user:1", 0.0)]
    assert result.tables["total"]["den"].to_list() == [20]
    assert result.drilldown.height == 20
