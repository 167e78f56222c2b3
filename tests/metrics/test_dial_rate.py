"""A6: whose calls are answered, whom a manager reaches, and what is a difference."""

import pytest
from calls import answer, got_in, got_out, missed, tried
from engines import on_every_engine

from metrics.dial_rate import METRIC


def users(result):
    return {row["user_id"]: row for row in result.tables["by_user"].iter_rows(named=True)}


def outbound(user, n, n_answered):
    """So many outbound calls of a user, each to another client, the first of them answered."""
    made = [(got_out if number < n_answered else tried) for number in range(n)]
    return [
        make(
            f"{user}-{number:03}", "2026-04-06 10:00", client=f"contact:{user[-1]}{number:03}", user_id=user, talk_s=30
        )
        for number, make in enumerate(made)
    ]


@on_every_engine
def test_the_example_of_the_catalogue(engine):
    result = answer(METRIC, engine, [*outbound("user:1", 100, 45), *outbound("user:2", 200, 137)])
    first = users(result)["user:1"]
    assert (first["n_out_answered"], first["n_out"]) == (45, 100)
    beside = [first[f"dial_{name}"] for name in ("diff", "diff_lo", "diff_hi")]
    assert beside == pytest.approx([-0.235, -0.346598, -0.116456], abs=1e-6)
    assert first["dial_p"] == pytest.approx(1.0247e-04, rel=1e-4)
    assert first["dial_flag"]
    assert result.tables["by_user"]["user_id"].to_list() == ["user:1", "user:2"], "the lowest dial-through first"
    single = users(answer(METRIC, engine, outbound("user:1", 100, 62)))["user:1"]
    assert (single["dial_ci_lo"], single["dial_ci_hi"]) == pytest.approx((0.522098, 0.709024), abs=1e-6)


def test_both_rates_of_a_table_are_one_family(polars_engine):
    alone = users(answer(METRIC, polars_engine, [*outbound("user:1", 100, 45), *outbound("user:2", 200, 137)]))
    inbound = [got_in(f"i{n}", "2026-04-06 10:00", user_id=f"user:{1 + n % 2}") for n in range(40)]
    both = users(answer(METRIC, polars_engine, [*outbound("user:1", 100, 45), *outbound("user:2", 200, 137), *inbound]))
    assert alone["user:1"]["dial_q"] == pytest.approx(1.0247e-04, rel=1e-4)
    assert both["user:1"]["dial_q"] == pytest.approx(2 * 1.0247e-04, rel=1e-4)
    assert both["user:1"]["answer_q"] == 1


def test_inbound_calls_are_his_who_answered_or_alone_was_rung(polars_engine):
    calls = [
        got_in("i1", "2026-04-06 10:00", user_id="user:1"),
        missed("m1", "2026-04-06 11:00", rung_user_id="user:1"),
        missed("m2", "2026-04-06 12:00", responsible_user_id="user:1"),  # a group was rung
        missed("m3", "2026-04-06 12:00", rung_user_id="user:1", client="contact:9", is_spam=True),
    ]
    result = answer(METRIC, polars_engine, calls)
    assert [(row["n_in_answered"], row["n_in"]) for row in users(result).values()] == [(1, 2)]
    assert result.tables["total"].select("n_in", "answer_rate").rows() == [(2, 0.5)]


@pytest.mark.parametrize(
    ("talk_s", "min_talk_s", "n"), [(0, 1, 0), (0, 0, 1), (1, 1, 1), (29, 30, 0), (30, 30, 1), (None, 30, 1)]
)
def test_a_conversation_has_a_least_length(polars_engine, talk_s, min_talk_s, n):
    calls = [got_out("o1", "2026-04-06 10:00", talk_s=talk_s)]
    total = answer(METRIC, polars_engine, calls, params={"min_talk_s": min_talk_s}).tables["total"]
    assert total["n_out_answered"].to_list() == [n]


def test_voice_mail_is_no_reach(polars_engine):
    calls = [got_out("o1", "2026-04-06 10:00", talk_s=20, is_voicemail=True)]
    assert answer(METRIC, polars_engine, calls).tables["total"]["n_out_answered"].to_list() == [0]


@on_every_engine
def test_clients_are_counted_once_and_attempts_each(engine):
    calls = [
        tried("o1", "2026-04-06 10:00", user_id="user:1"),
        tried("o2", "2026-04-06 11:00", user_id="user:1"),
        got_out("o3", "2026-04-06 12:00", user_id="user:1", talk_s=9),
        got_out("o4", "2026-04-06 13:00", user_id="user:1", talk_s=9),
        tried("o5", "2026-04-06 14:00", user_id="user:1", client="contact:2"),
        tried("o6", "2026-04-06 15:00", user_id="user:1", client=None),
    ]
    (row,) = users(answer(METRIC, engine, calls)).values()
    assert (row["clients_reached"], row["clients_dialled"], row["reach_rate"]) == (1, 2, 0.5)
    assert (row["n_out"], row["n_to_clients"], row["attempts_per_reach"]) == (6, 5, 5.0)


def test_nobody_reached_has_no_number_of_attempts(polars_engine):
    (row,) = users(answer(METRIC, polars_engine, [tried("o1", "2026-04-06 10:00", user_id="user:1")])).values()
    assert (row["reach_rate"], row["attempts_per_reach"], row["answer_rate"]) == (0.0, None, None)


def test_attempts_somebody_talked_after_are_not_listed(polars_engine):
    calls = [
        tried("o1", "2026-04-06 10:00", user_id="user:1", client="contact:1"),
        got_in("i1", "2026-04-06 12:00", user_id="user:2", client="contact:1", talk_s=9),
        tried("o2", "2026-04-06 13:00", user_id="user:1", client="contact:1"),
        tried("o3", "2026-04-06 10:00", user_id="user:1", client="contact:2"),
        got_out("o4", "2026-04-06 09:00", user_id="user:1", client="contact:2", talk_s=9),
    ]
    result = answer(METRIC, polars_engine, calls)
    assert result.drilldown.select("client_id", "reason").rows() == [
        ("contact:2", "NOT_REACHED"),
        ("contact:1", "NOT_REACHED"),
    ]
    assert users(result)["user:1"]["n_not_reached"] == 2


def test_leavers_robots_and_nobody_are_in_no_comparison(polars_engine):
    people = [{"user_id": "user:3", "is_active": False}, {"user_id": "user:4", "is_robot": True}]
    calls = [call for n in (1, 2, 3, 4) for call in outbound(f"user:{n}", 20, 10)]
    rows = users(answer(METRIC, polars_engine, calls, user=people))
    assert {user: row["dial_rest_rate"] for user, row in rows.items()} == {
        "user:1": 0.5,
        "user:2": 0.5,
        "user:3": None,
        None: None,
    }


def test_lines_and_hours_stand_beside(polars_engine):
    calls = [
        tried("o1", "2026-04-06 13:00", line="shop"),
        got_out("o2", "2026-04-06 15:00", line="shop", talk_s=9),
        got_out("o3", "2026-04-06 15:00", talk_s=9, client="contact:2"),
    ]
    result = answer(METRIC, polars_engine, calls)
    assert result.tables["by_line"].select("line", "dial_rate").rows() == [("shop", 0.5), (None, 1.0)]
    assert result.tables["by_hour"].select("hour", "dial_rate").rows() == [(13, 0.0), (15, 1.0)]
