"""A3: what opens a missed thread, what closes it, whose it is, and how it is counted."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from engines import on_every_engine
from polars.testing import assert_frame_equal

from metrics.evaluate import evaluate
from metrics.metric import DRILLDOWN, MetricResult, Period
from metrics.missed_calls import METRIC, MissedCallsParams
from metrics.missed_threads import STATES

MOSCOW = ZoneInfo("Europe/Moscow")
Row = dict[str, Any]


def moscow(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=MOSCOW).astimezone(UTC)


AS_OF = moscow("2026-04-08 12:00")
APRIL = Period(AS_OF, date(2026, 4, 1), date(2026, 4, 9))


def call(episode_id: str, client: str | None, at: str, direction: str, *, answered: bool, **more: Any) -> Row:
    return {
        "episode_id": episode_id,
        "client_id": client,
        "phone_key": f"tel-{client}" if client else None,
        "started_at": moscow(at),
        "direction": direction,
        "is_answered": answered,
        **more,
    }


def missed(episode_id: str, client: str | None, at: str, **more: Any) -> Row:
    return call(episode_id, client, at, "in", answered=False, **more)


def got_in(episode_id: str, client: str | None, at: str, **more: Any) -> Row:
    return call(episode_id, client, at, "in", answered=True, **more)


def got_out(episode_id: str, client: str | None, at: str, **more: Any) -> Row:
    return call(episode_id, client, at, "out", answered=True, **more)


def tried(episode_id: str, client: str | None, at: str, **more: Any) -> Row:
    return call(episode_id, client, at, "out", answered=False, **more)


def wrote(touch_id: str, client: str, at: str, **more: Any) -> Row:
    return {
        "touch_id": touch_id,
        "client_id": client,
        "touched_at": moscow(at),
        "kind": "message",
        "direction": "out",
        "is_meaningful": True,
        **more,
    }


def answer(
    engine: Any,
    calls: Sequence[Row],
    *,
    touch: Sequence[Row] = (),
    period: Period = APRIL,
    accounts: Sequence[Mapping[str, Any]] | None = None,
    params: Mapping[str, Any] | None = None,
    **tables: Sequence[Row],
) -> MetricResult:
    """The metric's answer to a few calls and messages."""
    frames = engine.frames({"call_episode": calls, "touch": touch, **tables}, as_of=period.as_of, accounts=accounts)
    return evaluate(METRIC, frames, MissedCallsParams(**(params or {})), period)


def states(result: MetricResult) -> dict[str, str]:
    """State by the id of the missed call that opened the thread."""
    return dict(result.tables["threads"].select("thread_id", "state").iter_rows())


def managers(result: MetricResult) -> dict[str, str | None]:
    return dict(result.tables["threads"].select("thread_id", "user_id").iter_rows())


CATALOGUE = (
    missed("m1", "contact:1", "2026-04-06 10:00"),
    got_out("o1", "contact:1", "2026-04-06 10:12"),
    missed("m2", "contact:2", "2026-04-06 17:50"),
    tried("o2", "contact:2", "2026-04-07 09:20"),
    missed("m3", "contact:3", "2026-04-06 12:00"),
    got_in("i3", "contact:3", "2026-04-06 12:30"),
    missed("m4", "contact:4", "2026-04-04 13:00"),
    got_out("o4", "contact:4", "2026-04-06 09:05"),
    missed("m5", "contact:5", "2026-04-06 15:00"),
    missed("m6", "contact:6", "2026-04-08 11:50"),
)


@on_every_engine
def test_the_example_of_the_catalogue(engine):
    result = answer(engine, CATALOGUE)
    assert states(result) == {
        "m1": "called_back",
        "m2": "attempted_only",
        "m3": "client_recovered",
        "m4": "called_back",
        "m5": "never",
        "m6": "pending",
    }
    total = result.tables["total"].row(0, named=True)
    assert {name: total[f"n_{name}"] for name in STATES} == {
        "called_back": 2,
        "client_recovered": 1,
        "messaged": 0,
        "attempted_only": 1,
        "never": 1,
        "pending": 1,
    }
    assert total["n_judged"] == 5
    assert total["never_rate"] == pytest.approx(1 / 5)
    assert total["never_ci_lo"] == pytest.approx(0.036224, abs=1e-6)
    assert total["never_ci_hi"] == pytest.approx(0.624465, abs=1e-6)
    assert total["not_reached_rate"] == pytest.approx(2 / 5)
    assert total["low_n"]


def test_who_called_this_morning_is_in_the_list_nobody_chose_days_for(engine):
    period = Period(AS_OF, *METRIC.default_period(datetime(2026, 4, 8, 12, tzinfo=UTC)))
    assert states(answer(engine, CATALOGUE, period=period))["m6"] == "pending"


def test_the_list_shows_how_long_clients_wait_and_which_card_to_open(engine):
    listed = answer(engine, CATALOGUE).drilldown
    assert listed.select("entity_kind", "entity_id", "client_id", "value", "value_unit", "reason", "url").rows() == [
        (
            "contact",
            "contact:5",
            "contact:5",
            45.0,
            "h",
            "NEVER_CALLED_BACK",
            "https://example.amocrm.ru/contacts/detail/5",
        ),
        (
            "contact",
            "contact:2",
            "contact:2",
            42 + 1 / 6,
            "h",
            "ATTEMPTED_ONLY",
            "https://example.amocrm.ru/contacts/detail/2",
        ),
    ]
    assert listed["event_at"].to_list() == [moscow("2026-04-06 15:00"), moscow("2026-04-06 17:50")]


# --- what opens a thread ---------------------------------------------------------------------------------------------


def test_further_missed_calls_join_the_open_thread(engine):
    calls = [
        missed("m1", "contact:1", "2026-04-06 10:00"),
        missed("m2", "contact:1", "2026-04-06 11:00"),
        got_out("o1", "contact:1", "2026-04-06 12:00"),
        missed("m3", "contact:1", "2026-04-06 13:00"),
    ]
    result = answer(engine, calls)
    assert states(result) == {"m1": "called_back", "m3": "never"}
    assert dict(result.tables["threads"].select("thread_id", "n_missed").iter_rows()) == {"m1": 2, "m3": 1}
    assert dict(result.tables["threads"].select("thread_id", "waited_s").iter_rows()) == {"m1": 7200, "m3": None}


def test_a_thread_opened_before_the_period_swallows_later_misses(engine):
    calls = [missed("m1", "contact:1", "2026-03-31 23:59"), missed("m2", "contact:1", "2026-04-02 10:00")]
    assert states(answer(engine, calls)) == {}
    march = Period(AS_OF, date(2026, 3, 1), date(2026, 4, 1))
    assert states(answer(engine, calls, period=march)) == {"m1": "never"}


def test_the_period_is_cut_at_local_midnights(engine):
    calls = [missed("m1", "contact:1", "2026-04-01 00:00"), missed("m2", "contact:2", "2026-04-03 00:00")]
    period = Period(AS_OF, date(2026, 4, 1), date(2026, 4, 3))
    assert states(answer(engine, calls, period=period)) == {"m1": "never"}


def test_a_number_without_a_client_is_a_thread_of_its_own(engine):
    calls = [
        missed("m1", None, "2026-04-06 10:00", phone_key="k1"),
        missed("m2", None, "2026-04-06 10:01", phone_key="k2", card_kind="lead", card_id="lead:7"),
        got_out("o1", None, "2026-04-06 11:00", phone_key="k1"),
    ]
    result = answer(engine, calls)
    assert states(result) == {"m1": "called_back", "m2": "never"}
    assert result.drilldown.select("entity_kind", "entity_id").rows() == [("lead", "lead:7")]


def test_hidden_numbers_are_listed_apart(engine):
    calls = [missed("m1", None, "2026-04-06 10:00", line="reception"), missed("m2", "contact:1", "2026-04-06 10:00")]
    result = answer(engine, calls)
    assert states(result) == {"m2": "never"}
    assert result.tables["hidden"].select("episode_id", "line").rows() == [("m1", "reception")]
    assert result.tables["total"]["n_hidden"].to_list() == [1]


def test_only_hidden_numbers_still_make_a_total(engine):
    total = answer(engine, [missed("m1", None, "2026-04-06 10:00")]).tables["total"].row(0, named=True)
    assert (total["n_hidden"], total["n_threads"], total["never_rate"], total["low_n"]) == (1, 0, None, True)


@pytest.mark.parametrize("flag", ["is_internal", "is_robot", "is_spam"])
def test_internal_robot_and_spam_calls_open_no_thread(engine, flag):
    assert states(answer(engine, [missed("m1", "contact:1", "2026-04-06 10:00", **{flag: True})])) == {}


def test_a_client_people_call_spam_opens_no_thread(engine):
    marks = pl.DataFrame({"account_id": ["main"], "client_id": ["contact:1"], "is_spam": [True]})
    calls = [missed("m1", "contact:1", "2026-04-06 10:00"), missed("m2", "contact:2", "2026-04-06 10:00")]
    clients = [{"client_id": "contact:1"}, {"client_id": "contact:2"}]
    frames = engine.frames({"call_episode": calls, "client": clients}, as_of=AS_OF, user_set={"client": marks})
    assert states(evaluate(METRIC, frames, None, APRIL)) == {"m2": "never"}


def test_a_message_on_the_voice_mail_is_a_missed_call(engine):
    calls = [got_in("m1", "contact:1", "2026-04-06 10:00", is_voicemail=True)]
    assert states(answer(engine, calls)) == {"m1": "never"}


# --- what closes it --------------------------------------------------------------------------------------------------


def test_a_callback_on_another_number_of_the_client_counts(engine):
    calls = [
        missed("m1", "contact:1", "2026-04-06 10:00", phone_key="work"),
        got_out("o1", "contact:1", "2026-04-06 11:00", phone_key="mobile"),
    ]
    assert states(answer(engine, calls)) == {"m1": "called_back"}


def test_a_contact_before_the_missed_call_does_not_count(engine):
    calls = [
        got_out("o1", "contact:1", "2026-04-06 09:00"),
        tried("o2", "contact:1", "2026-04-06 09:30"),
        missed("m1", "contact:1", "2026-04-06 10:00"),
    ]
    assert states(answer(engine, calls)) == {"m1": "never"}


def test_the_earliest_contact_closes_the_thread(engine):
    calls = [
        missed("m1", "contact:1", "2026-04-06 10:00"),
        tried("o1", "contact:1", "2026-04-06 10:30"),
        got_in("i1", "contact:1", "2026-04-06 11:00"),
        got_out("o2", "contact:1", "2026-04-06 12:00"),
    ]
    assert states(answer(engine, calls)) == {"m1": "client_recovered"}


def test_contacts_in_one_second_close_in_the_order_of_the_definition(engine):
    same = "2026-04-06 10:00"
    calls = [
        missed("z", "contact:1", same),
        got_in("a", "contact:1", same),
        got_out("b", "contact:1", same),
    ]
    assert states(answer(engine, calls)) == {"z": "called_back"}


def test_a_message_by_a_person_closes_the_thread(engine):
    calls = [missed("m1", "contact:1", "2026-04-06 10:00"), missed("m2", "contact:2", "2026-04-06 10:00")]
    messages = [
        wrote("w1", "contact:1", "2026-04-06 10:05"),
        wrote("w2", "contact:2", "2026-04-06 10:05", is_meaningful=False),  # a mailing
        wrote("w3", "contact:2", "2026-04-06 10:06", direction="in"),
    ]
    assert states(answer(engine, calls, touch=messages)) == {"m1": "messaged", "m2": "never"}


def test_messages_can_be_told_not_to_close(engine):
    calls = [missed("m1", "contact:1", "2026-04-06 10:00"), got_out("o1", "contact:1", "2026-04-06 10:30")]
    messages = [wrote("w1", "contact:1", "2026-04-06 10:05")]
    result = answer(engine, calls, touch=messages, params={"messages_close": False})
    assert states(result) == {"m1": "called_back"}


@pytest.mark.parametrize(("minutes", "state"), [(-1, "pending"), (0, "never"), (1, "never")])
def test_a_thread_is_judged_once_it_is_a_day_old(engine, minutes, state):
    at = (AS_OF - timedelta(days=1, minutes=minutes)).astimezone(MOSCOW)
    assert states(answer(engine, [missed("m1", "contact:1", f"{at:%Y-%m-%d %H:%M}")])) == {"m1": state}


def test_a_pending_thread_is_judged_sooner_when_asked(engine):
    calls = [missed("m6", "contact:6", "2026-04-08 11:50")]
    assert states(answer(engine, calls, params={"judge_after_s": 600})) == {"m6": "never"}


def test_a_colleagues_callback_counts_unless_the_own_is_asked_for(engine):
    calls = [
        missed("m1", "contact:1", "2026-04-06 10:00", rung_user_id="user:1"),
        got_out("o1", "contact:1", "2026-04-06 11:00", user_id="user:2"),
        missed("m2", "contact:2", "2026-04-06 10:00", rung_user_id="user:1"),
        got_out("o2", "contact:2", "2026-04-06 11:00", user_id="user:1"),
        missed("m3", "contact:3", "2026-04-06 10:00"),  # nobody's
        got_out("o3", "contact:3", "2026-04-06 11:00", user_id="user:2"),
    ]
    assert set(states(answer(engine, calls)).values()) == {"called_back"}
    own = states(answer(engine, calls, params={"any_user": False}))
    assert own == {"m1": "never", "m2": "called_back", "m3": "called_back"}


# --- whose it is -----------------------------------------------------------------------------------------------------


def test_the_manager_is_the_only_one_rung_else_the_clients_responsible_else_nobody(engine):
    calls = [
        missed("m1", "contact:1", "2026-04-06 10:00", rung_user_id="user:1", responsible_user_id="user:2"),
        missed("m2", "contact:2", "2026-04-06 10:00", responsible_user_id="user:2"),
        missed("m3", "contact:3", "2026-04-06 10:00"),
    ]
    result = answer(engine, calls)
    assert managers(result) == {"m1": "user:1", "m2": "user:2", "m3": None}
    by_user = result.tables["by_user"].select("user_id", "group_key", "n_never").rows()
    assert by_user == [("user:1", "user:1", 1), ("user:2", "user:2", 1), (None, "unassigned", 1)]


def test_a_leavers_threads_go_to_the_clients_present_responsible(engine):
    users = [{"user_id": "user:1", "is_active": False}, {"user_id": "user:2"}]
    calls = [missed("m1", "contact:1", "2026-04-06 10:00", rung_user_id="user:1", responsible_user_id="user:2")]
    assert managers(answer(engine, calls, user=users)) == {"m1": "user:2"}


def test_a_client_still_on_a_leaver_keeps_his_row_marked(engine):
    users = [{"user_id": "user:1", "is_active": False}]
    calls = [missed("m1", "contact:1", "2026-04-06 10:00", rung_user_id="user:1", responsible_user_id="user:1")]
    by_user = answer(engine, calls, user=users).tables["by_user"]
    assert by_user.select("user_id", "user_active").rows() == [("user:1", False)]


def test_robots_own_no_threads(engine):
    users = [{"user_id": "user:0", "is_robot": True}, {"user_id": "user:2"}]
    calls = [
        missed("m1", "contact:1", "2026-04-06 10:00", rung_user_id="user:0", responsible_user_id="user:2"),
        missed("m2", "contact:2", "2026-04-06 10:00", responsible_user_id="user:0"),
    ]
    assert managers(answer(engine, calls, user=users)) == {"m1": "user:2", "m2": None}


# --- how it is counted and shown -------------------------------------------------------------------------------------


def sale(sale_id: str, client: str, at: str, amount_minor: int, **more: Any) -> Row:
    return {
        "sale_id": sale_id,
        "basis": "won_deal",
        "client_id": client,
        "sold_at": moscow(at),
        "amount_minor": amount_minor,
        **more,
    }


def test_the_list_begins_with_the_most_valuable_clients(engine):
    calls = [missed(f"m{n}", f"contact:{n}", f"2026-04-06 1{n}:00") for n in range(4)]
    sales = [
        sale("s1", "contact:2", "2026-01-01", 5),
        sale("s2", "contact:3", "2026-02-01", 4),
        sale("s3", "contact:3", "2026-02-02", 4),
        sale("s4", "contact:0", "2025-04-01", 9),  # more than a year ago
        sale("s5", "contact:0", "2026-02-02", 9, basis="payment"),
        sale("s6", "contact:0", "2026-02-02", 9, valid_until=moscow("2026-03-01")),  # reopened since
    ]
    result = answer(engine, calls, sale=sales)
    assert result.drilldown["client_id"].to_list() == ["contact:3", "contact:2", "contact:0", "contact:1"]
    assert result.tables["threads"]["revenue_12m_minor"].to_list() == [8, 5, 0, 0]


def test_small_rows_are_shown_but_not_ranked(engine):
    calls = [missed("a", "contact:1", "2026-04-06 10:00", rung_user_id="user:9")]
    for n in range(10):
        calls += [
            missed(f"m{n}", f"contact:1{n}", "2026-04-06 10:00", rung_user_id="user:1"),
            got_out(f"o{n}", f"contact:1{n}", "2026-04-06 11:00"),
        ]
    by_user = answer(engine, calls).tables["by_user"]
    assert by_user.select("user_id", "never_rate", "low_n").rows() == [("user:1", 0.0, False), ("user:9", 1.0, True)]


def test_a_population_cuts_threads_but_not_the_contacts_that_close_them(engine):
    calls = [
        missed("m1", "contact:1", "2026-04-06 10:00", rung_user_id="user:1"),
        got_out("o1", "contact:1", "2026-04-06 11:00", user_id="user:2"),
        missed("m2", "contact:2", "2026-04-06 10:00", rung_user_id="user:2"),
    ]
    result = answer(engine, calls, params={"population": ("user:1",)})
    assert states(result) == {"m1": "called_back"}
    assert result.tables["total"]["n_threads"].to_list() == [1]


def test_accounts_do_not_mix(engine):
    accounts = [account_of("main"), account_of("shop")]
    calls = [
        missed("m1", "contact:1", "2026-04-06 10:00", account_id="main"),
        got_out("o1", "contact:1", "2026-04-06 11:00", account_id="shop"),
        missed("m1", "contact:1", "2026-04-06 12:00", account_id="shop"),
    ]
    total = answer(engine, calls, accounts=accounts).tables["total"]
    assert total.select("account_id", "n_never").rows() == [("main", 1), ("shop", 1)]


def account_of(account_id: str) -> dict[str, Any]:
    return {
        "account_id": account_id,
        "connector": "amocrm",
        "base_url": "https://example.amocrm.ru",
        "tz": "Europe/Moscow",
        "calendar_id": "default",
    }


def test_without_synced_messages_the_answer_says_that_only_calls_are_seen(engine):
    seen = [{"resource": "message", "watermark": AS_OF}]
    assert "messages_not_synced" in {one.code for one in answer(engine, CATALOGUE).warnings}
    assert answer(engine, CATALOGUE, coverage=seen).warnings == ()
    assert answer(engine, CATALOGUE, params={"messages_close": False}).warnings == ()


def test_no_calls_give_empty_tables_of_the_same_shape(engine):
    full, empty = answer(engine, CATALOGUE), answer(engine, [])
    assert {name: frame.schema for name, frame in empty.tables.items()} == {
        name: frame.schema for name, frame in full.tables.items()
    }
    assert all(frame.is_empty() for frame in empty.tables.values())
    assert_frame_equal(empty.drilldown, pl.DataFrame(schema=DRILLDOWN))
