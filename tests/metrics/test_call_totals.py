"""A1: which calls are counted, how long people talked, and over which days."""

from datetime import date

from calls import APRIL, answer, call, got_in, got_out, missed, moscow, tried
from engines import on_every_engine
from published import canonical

from metrics import marts
from metrics.call_totals import METRIC
from metrics.metric import Period

COUNTS = ("n_in", "n_in_answered", "n_out", "n_out_answered")


def total(engine, calls, **more):
    return answer(METRIC, engine, calls, **more).tables["total"].row(0, named=True)


def record(call_id, at, **more):
    return {"call_id": call_id, "started_at": moscow(at), "phone_digits": 11, "subtype": "normal", **more}


@on_every_engine
def test_the_example_of_the_catalogue(engine):
    """11 records become 8 calls: doubles are removed, legs are joined."""
    twice = {
        "direction": "in",
        "status": "answered",
        "talk_s": 60,
        "phone_key": "k1",
        "external_uniq": "u1",
        "user_id": "user:1",
    }
    ring = {"direction": "in", "phone_key": "k2", "line": "main"}
    records = [
        record("n1", "2026-04-06 09:00:00", **twice, entity_kind="lead", entity_id="lead:1"),
        record("n2", "2026-04-06 09:00:00", **twice, entity_kind="contact", entity_id="contact:1"),
        record("r1", "2026-04-06 10:00:00", **ring, user_id="user:1", status="missed", talk_s=0, wait_s=12),
        record("r2", "2026-04-06 10:00:00", **ring, user_id="user:2", status="missed", talk_s=0, wait_s=12),
        record("r3", "2026-04-06 10:00:00", **ring, user_id="user:3", status="answered", talk_s=95, wait_s=12),
    ]
    for n in range(6):
        outcome = {"status": "answered", "talk_s": 30} if n < 4 else {"status": "no_answer", "talk_s": 0}
        records.append(
            record(f"o{n}", f"2026-04-06 11:0{n}", direction="out", phone_key=f"c{n}", user_id="user:1", **outcome)
        )
    built = marts.build(canonical({"call": records}), APRIL.as_of, marts.MartParams())
    found = total(engine, built["call_episode"])
    assert tuple(found[name] for name in COUNTS) == (2, 2, 6, 4)
    assert (found["n_calls"], found["n_dup_removed"], found["talk_s_total"]) == (8, 1, 60 + 95 + 4 * 30)


def test_robots_are_apart_and_spam_and_hidden_numbers_are_in(polars_engine):
    calls = [
        missed("m1", "2026-04-06 10:00", is_robot=True),
        missed("m2", "2026-04-06 10:00", is_spam=True, client="contact:2"),
        missed("m3", "2026-04-06 10:00", client=None),
        got_in("i1", "2026-04-06 10:00", talk_s=5, is_internal=True),
        got_in("i2", "2026-04-06 11:00", talk_s=5),
    ]
    found = total(polars_engine, calls)
    assert (found["n_in"], found["n_spam"], found["n_hidden"], found["n_robot"]) == (3, 1, 1, 1)
    assert found["n_unique_clients"] == 1


def test_only_robots_called_is_a_row_of_zeros(polars_engine):
    found = total(polars_engine, [missed("m1", "2026-04-06 10:00", is_robot=True)])
    assert (found["n_calls"], found["n_robot"]) == (0, 1)


def test_an_unknown_length_is_not_zero(polars_engine):
    calls = [got_in(f"i{n}", "2026-04-06 10:00", talk_s=talk_s) for n, talk_s in enumerate((10, None, 20, 0))]
    found = total(polars_engine, calls)
    assert (found["talk_s_total"], found["talk_s_median"]) == (30, 10)
    assert (found["n_talk_unknown"], found["n_answered_without_talk"]) == (1, 1)
    found = total(polars_engine, calls[1:2])
    assert (found["talk_s_total"], found["talk_s_median"]) == (None, None)
    assert total(polars_engine, [missed("m", "2026-04-06 10:00")])["talk_s_total"] == 0


def test_attempts_can_be_left_out(polars_engine):
    calls = [
        got_out("o1", "2026-04-06 10:00", talk_s=5),
        tried("o2", "2026-04-06 11:00"),
        missed("m", "2026-04-06 12:00"),
    ]
    assert total(polars_engine, calls)["n_out"] == 2
    found = total(polars_engine, calls, params={"count_attempts": False})
    assert (found["n_out"], found["n_in"]) == (1, 1)


def test_a_call_of_a_robot_user_is_nobodys_and_a_leavers_stays_his(polars_engine):
    users = [{"user_id": "user:0", "is_robot": True}, {"user_id": "user:1", "is_active": False}]
    calls = [
        got_out("o1", "2026-04-06 10:00", user_id="user:0"),
        got_out("o2", "2026-04-06 11:00", user_id="user:1"),
        tried("o3", "2026-04-06 12:00", user_id="user:1"),
    ]
    result = answer(METRIC, polars_engine, calls, user=users)
    rows = result.tables["by_user"].select("user_id", "user_active", "group_key", "n_calls").rows()
    assert rows == [("user:1", False, "user:1", 2), (None, None, "unassigned", 1)]


def test_buckets_are_local_and_the_running_one_is_not_complete(polars_engine):
    calls = [
        got_in("i1", "2026-04-06 23:59", talk_s=1),
        got_in("i2", "2026-04-07 00:01", talk_s=1),
        got_in("i3", "2026-04-08 11:00", talk_s=1),
    ]
    by_day = answer(METRIC, polars_engine, calls).tables["over_time"]
    assert by_day.select("day", "n_in", "complete").rows() == [
        (date(2026, 4, 6), 1, True),
        (date(2026, 4, 7), 1, True),
        (date(2026, 4, 8), 1, False),
    ]
    by_week = answer(METRIC, polars_engine, calls, params={"grain": "week"}).tables["over_time"]
    assert by_week.select("week", "n_in", "complete").rows() == [(date(2026, 4, 6), 3, False)]


def test_a_month_cut_by_the_period_is_not_complete(polars_engine):
    calls = [got_in("i1", "2026-03-31 10:00", talk_s=1), got_in("i2", "2026-02-10 10:00", talk_s=1)]
    period = Period(APRIL.as_of, date(2026, 2, 2), date(2026, 4, 1))
    found = answer(METRIC, polars_engine, calls, period=period, params={"grain": "month"}).tables["over_time"]
    assert found.select("month", "complete").rows() == [(date(2026, 2, 1), False), (date(2026, 3, 1), True)]
    period = Period(APRIL.as_of, date(2026, 2, 1), date(2026, 3, 15))
    found = answer(
        METRIC, polars_engine, [calls[1], got_in("i3", "2026-03-02 10:00")], period=period, params={"grain": "month"}
    )
    assert found.tables["over_time"]["complete"].to_list() == [True, False]


def test_every_call_opens_its_card(polars_engine):
    calls = [
        got_out("o1", "2026-04-06 11:00", talk_s=7, user_id="user:1"),
        call("m1", "2026-04-06 10:00", "in", answered=False, client=None, card_kind="lead", card_id="lead:3"),
    ]
    rows = answer(METRIC, polars_engine, calls).drilldown
    assert rows.select("entity_id", "value", "reason", "group_key").rows() == [
        ("lead:3", None, "IN_UNANSWERED", "unassigned"),
        ("contact:1", 7.0, "OUT_ANSWERED", "user:1"),
    ]


def test_population_leaves_only_their_calls(polars_engine):
    calls = [got_out("o1", "2026-04-06 10:00", user_id="user:1"), got_out("o2", "2026-04-06 10:00", user_id="user:2")]
    assert total(polars_engine, calls, params={"population": ("user:2",)})["n_out"] == 1
