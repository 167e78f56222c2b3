"""A12: which calls are attempts at one client, when he is reached, and when he is given up."""

from datetime import date

import pytest
from calls import AS_OF, answer, got_in, got_out, tried
from engines import on_every_engine

from metrics.attempts import METRIC
from metrics.metric import Period

MARCH = Period(AS_OF, date(2026, 3, 1), date(2026, 4, 1))


def sequence(client, outcomes, *, day=2, user="user:1", **more):
    """One call a day: A nobody answered, R reached."""
    made = {"A": tried, "R": got_out}
    return [
        made[outcome](
            f"{client}-{n}",
            f"2026-03-{day + n:02} 10:00",
            client=client,
            user_id=user,
            talk_s=60 * (outcome == "R"),
            **more,
        )
        for n, outcome in enumerate(outcomes)
    ]


def ask(engine, calls, **more):
    return answer(METRIC, engine, calls, **{"period": MARCH, **more})


def total(result):
    return result.tables["total"].row(0, named=True)


@on_every_engine
def test_the_example_of_the_catalogue(engine):
    calls = [
        call for n, outcomes in enumerate(("AAR", "A", "R", "AAAA")) for call in sequence(f"contact:{n}", outcomes)
    ]
    result = ask(engine, calls)
    found = total(result)
    assert (found["num"], found["den"], found["n_given_up"]) == (2, 4, 2)
    assert (found["n_given_up_after_1"], found["n_given_up_after_2"], found["n_given_up_after_3_or_more"]) == (1, 0, 1)
    assert found["given_up_after_1_share"] == 0.25
    # At risk of the first attempt 4, of the third 2: S = 3/4, then 3/8.
    assert result.tables["curve"].drop("account_id").rows() == [(1, 4, 1, 0.25), (3, 2, 1, pytest.approx(0.625))]
    assert (found["km_median_attempts"], found["median_gap_s"]) == (3, 86_400)
    assert result.drilldown.select("client_id", "value", "reason").rows() == [
        ("contact:1", 1.0, "GIVEN_UP_AFTER_1"),
        ("contact:3", 4.0, "GIVEN_UP_AFTER_3_OR_MORE"),
    ]


def test_attempts_after_the_first_conversation_do_not_count(polars_engine):
    result = ask(polars_engine, sequence("contact:1", "ARAA"))
    assert result.tables["curve"]["attempt"].to_list() == [2]
    assert total(result)["n_given_up"] == 0


def test_attempts_are_followed_beyond_the_period_but_have_to_begin_in_it(polars_engine):
    calls = [
        tried("a", "2026-03-31 10:00", client="contact:1"),
        got_out("b", "2026-04-01 10:00", client="contact:1", talk_s=9),
        tried("c", "2026-04-01 10:00", client="contact:2"),
        tried("d", "2026-02-28 10:00", client="contact:3"),
    ]
    found = total(ask(polars_engine, calls))
    assert (found["num"], found["den"]) == (1, 1)


def test_a_week_of_silence_gives_a_client_up_whatever_comes_later(polars_engine):
    def after(day, hour="10:00"):
        calls = [tried("a", "2026-03-02 10:00"), got_out("b", f"2026-03-{day:02} {hour}", talk_s=9)]
        return total(ask(polars_engine, calls))

    assert (after(9)["num"], after(9)["n_given_up"]) == (1, 0)
    assert (after(9, "10:01")["num"], after(9, "10:01")["n_given_up_after_1"]) == (0, 1)
    assert (after(9)["median_gap_s"], after(9, "10:01")["median_gap_s"]) == (7 * 86_400, None)


def test_clients_of_the_last_week_are_still_being_called(polars_engine):
    period = Period(AS_OF, date(2026, 3, 1), date(2026, 4, 9))
    calls = [tried("a", "2026-04-01 12:00", client="contact:1"), tried("b", "2026-04-01 11:59", client="contact:2")]
    found = total(ask(polars_engine, calls, period=period))
    assert (found["n_trying"], found["n_given_up"]) == (1, 1)


def test_the_client_who_got_through_himself_is_neither_reached_nor_given_up(polars_engine):
    calls = [
        got_in("i0", "2026-03-02 08:00", talk_s=9),  # before the first attempt: it tells nothing
        tried("a", "2026-03-02 10:00"),
        tried("b", "2026-03-03 10:00"),
        got_in("i1", "2026-03-03 12:00", talk_s=9),
        got_out("c", "2026-03-04 12:00", talk_s=9),
    ]
    result = ask(polars_engine, calls)
    assert (total(result)["n_called_us"], total(result)["num"], total(result)["n_given_up"]) == (1, 0, 0)
    assert total(result)["km_median_attempts"] is None


@pytest.mark.parametrize(("min_talk_s", "num"), [(1, 1), (60, 1), (61, 0)])
def test_a_switchboard_is_not_the_client(polars_engine, min_talk_s, num):
    assert total(ask(polars_engine, sequence("contact:1", "R"), params={"min_talk_s": min_talk_s}))["num"] == num


def test_one_caller_is_one_client_and_hidden_numbers_are_none(polars_engine):
    calls = sequence("contact:1", "A", phone_key="k") + sequence(None, "R", day=3, phone_key=None)
    found = total(ask(polars_engine, calls))
    assert (found["den"], found["num"]) == (1, 0)


def test_a_client_belongs_to_who_called_first(polars_engine):
    calls = sequence("contact:1", "A") + sequence("contact:1", "R", day=3, user="user:2")
    calls[1]["episode_id"] = "later"
    by_user = ask(polars_engine, calls).tables["by_user"]
    assert by_user.select("user_id", "num", "den").rows() == [("user:1", 1, 1)]


def test_who_reaches_fewer_comes_first_and_is_flagged(polars_engine):
    calls = [call for n in range(20) for call in sequence(f"contact:{n}", "R" if n < 5 else "A")]
    calls += [call for n in range(20, 60) for call in sequence(f"contact:{n}", "R" if n < 50 else "A", user="user:2")]
    by_user = ask(polars_engine, calls).tables["by_user"]
    assert by_user.select("user_id", "rate", "rest_rate", "flag").rows() == [
        ("user:1", 0.25, 0.75, True),
        ("user:2", 0.75, 0.25, True),
    ]
