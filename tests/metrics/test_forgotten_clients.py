"""B2 and B1: what a touch is, who is in the base, who is forgotten, whose he is and whom to call first."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from engines import on_every_engine
from polars.testing import assert_frame_equal

from metrics.evaluate import collect, evaluate
from metrics.forgotten_clients import METRIC, ForgottenClientsParams
from metrics.last_touch import last_touch
from metrics.metric import DRILLDOWN, MetricResult, Period

MOSCOW = ZoneInfo("Europe/Moscow")
Row = dict[str, Any]


def moscow(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=MOSCOW).astimezone(UTC)


AS_OF = moscow("2026-04-30 12:00")
NOW = Period(AS_OF, date(2026, 3, 1), date(2026, 4, 30))
LONG_AGO = moscow("2024-01-10")


def client(client_id: str, owner: str | None = "user:1", **more: Any) -> Row:
    return {"client_id": client_id, "responsible_user_id": owner, "created_at": LONG_AGO, **more}


def deal(client_id: str, outcome: str = "won", **more: Any) -> Row:
    number = more.pop("number", 1)
    return {
        "deal_id": f"deal-of-{client_id}-{number}",
        "client_id": client_id,
        "entity_kind": "deal",
        "outcome": outcome,
        "created_at": LONG_AGO,
        **more,
    }


def touch(client_id: str, at: str, **more: Any) -> Row:
    return {
        "touch_id": f"{client_id}@{at}",
        "client_id": client_id,
        "touched_at": moscow(at),
        "kind": "call",
        "direction": "out",
        "is_meaningful": True,
        "user_id": "user:1",
        **more,
    }


def answer(
    engine: Any,
    clients: Sequence[Row],
    *,
    touch: Sequence[Row] = (),
    deals: Sequence[Row] | None = None,
    params: Mapping[str, Any] | None = None,
    period: Period = NOW,
    user_set: Mapping[str, pl.DataFrame] | None = None,
    **tables: Sequence[Row],
) -> MetricResult:
    """The metric's answer; every client has one won deal unless `deals` are given."""
    given = [deal(row["client_id"]) for row in clients] if deals is None else deals
    frames = engine.frames(
        {"client": clients, "touch": touch, "deal_state": given, **tables}, as_of=period.as_of, user_set=user_set
    )
    return evaluate(METRIC, frames, ForgottenClientsParams(**(params or {})), period)


def forgotten(result: MetricResult) -> dict[str, int]:
    """days_since by client."""
    return dict(result.tables["clients"].select("client_id", "days_since").iter_rows())


# --- B1 --------------------------------------------------------------------------------------------------------------


@on_every_engine
def test_the_example_of_the_last_touch(engine):
    touches = [
        touch("contact:1", "2026-04-10 12:00", touch_id="call"),
        touch("contact:1", "2026-04-12 12:00", touch_id="chat", kind="message", direction="in", user_id="user:2"),
        touch("contact:1", "2026-04-20 12:00", touch_id="try", is_meaningful=False, is_attempt=True),
        touch("contact:1", "2026-04-25 12:00", touch_id="mailing", kind="message", is_meaningful=False),
    ]
    frames = engine.frames({"touch": touches}, as_of=AS_OF, period=NOW)
    row = collect({"last": last_touch(frames)})["last"].row(0, named=True)
    assert row["last_touch_at"] == moscow("2026-04-12 12:00")
    assert (row["last_touch_kind"], row["last_touch_direction"], row["last_touch_user_id"]) == (
        "message",
        "in",
        "user:2",
    )
    assert row["last_outbound_at"] == moscow("2026-04-10 12:00")
    assert row["last_attempt_at"] == moscow("2026-04-20 12:00")
    result = answer(engine, [client("contact:1")], touch=touches, params={"n_days": 17})
    assert forgotten(result) == {"contact:1": 18}


def test_of_two_touches_in_one_second_the_smaller_id_is_shown(engine):
    touches = [
        touch("contact:1", "2026-04-10 12:00", touch_id="b", kind="message"),
        touch("contact:1", "2026-04-10 12:00", touch_id="a", kind="call"),
    ]
    frames = engine.frames({"touch": touches}, as_of=AS_OF, period=NOW)
    assert collect({"last": last_touch(frames)})["last"]["last_touch_kind"].to_list() == ["call"]


# --- who is forgotten ------------------------------------------------------------------------------------------------

CATALOGUE = (
    client("contact:1"),
    client("contact:2"),
    client("contact:3", created_at=moscow("2026-01-10 15:00")),
)
CATALOGUE_TOUCHES = (touch("contact:1", "2026-03-01 12:00"), touch("contact:2", "2026-02-28 12:00"))


@on_every_engine
def test_the_example_of_the_catalogue(engine):
    result = answer(engine, CATALOGUE, touch=CATALOGUE_TOUCHES)
    total = result.tables["total"].row(0, named=True)
    assert (total["num"], total["den"]) == (2, 3)
    assert total["rate"] == pytest.approx(2 / 3)
    assert forgotten(result) == {"contact:2": 61, "contact:3": 110}
    assert dict(result.drilldown.select("client_id", "reason").iter_rows()) == {
        "contact:2": "FORGOTTEN",
        "contact:3": "NEVER",
    }


def test_days_are_local_dates_not_periods_of_24_hours(engine):
    touches = [touch("contact:1", "2026-02-28 23:59"), touch("contact:2", "2026-03-01 00:00")]
    result = answer(engine, CATALOGUE[:2], touch=touches)
    assert forgotten(result) == {"contact:1": 61}


@pytest.mark.parametrize(("n_days", "names"), [(60, ["contact:2"]), (59, ["contact:1", "contact:2"]), (61, [])])
def test_the_limit_is_strict(engine, n_days, names):
    result = answer(engine, CATALOGUE[:2], touch=CATALOGUE_TOUCHES, params={"n_days": n_days})
    assert sorted(forgotten(result)) == names


def test_the_clients_own_touch_counts_unless_only_ours_are_asked_for(engine):
    touches = [
        touch("contact:1", "2026-04-20 12:00", direction="in"),
        touch("contact:1", "2026-01-20 12:00"),
        touch("contact:2", "2026-04-20 12:00", kind="meeting", direction=None),
    ]
    clients = CATALOGUE[:2]
    assert forgotten(answer(engine, clients, touch=touches)) == {}
    assert forgotten(answer(engine, clients, touch=touches, params={"direction": "out"})) == {"contact:1": 100}


def test_attempts_and_mailings_do_not_un_forget(engine):
    touches = [touch("contact:1", "2026-04-29 12:00", is_meaningful=False, is_attempt=True)]
    listed = answer(engine, [client("contact:1")], touch=touches).tables["clients"].row(0, named=True)
    assert listed["never"]
    assert listed["last_attempt_at"] == moscow("2026-04-29 12:00")


def test_a_planned_task_is_shown_and_does_not_un_forget(engine):
    old = {"created_at": LONG_AGO, "kind": "call"}
    done = {"created_at": moscow("2026-01-02"), "kind": "meeting", "is_completed": True}
    tasks = [
        {"task_id": "task:1", "entity_id": "lead:1", "due_at": moscow("2026-05-02"), **old},
        {"task_id": "task:2", "entity_id": "lead:1", "due_at": moscow("2026-01-03"), **done},
        {"task_id": "task:3", "due_at": moscow("2026-04-01"), **old},
    ]
    members = [
        {"entity_id": "lead:1", "client_id": "contact:1"},
        {"entity_id": "contact:2", "client_id": "contact:2"},
    ]
    links = [{"task_id": "task:3", "entity_id": "contact:2"}]
    result = answer(
        engine, [client("contact:1"), client("contact:2")], task=tasks, task_link=links, client_member=members
    )
    listed = {row["client_id"]: row for row in result.tables["clients"].iter_rows(named=True)}
    assert listed["contact:1"]["has_next_task"]
    assert listed["contact:1"]["next_task_on"] == date(2026, 5, 2)
    assert (listed["contact:1"]["last_task_kind"], listed["contact:1"]["last_task_is_done"]) == ("meeting", True)
    assert not listed["contact:2"]["has_next_task"]  # overdue is not planned
    assert listed["contact:2"]["n_open_tasks"] == 1
    assert result.tables["total"]["n_next_task"].to_list() == [1]


def test_a_task_due_today_is_planned_and_one_done_or_deleted_is_not(engine):
    due = {"created_at": LONG_AGO, "due_at": moscow("2026-04-30 00:00")}
    later = moscow("2026-05-01")
    tasks = [
        {"task_id": "task:1", "entity_id": "contact:1", **due},
        {"task_id": "task:2", "entity_id": "contact:2", "is_completed": True, **due},
        {"task_id": "task:3", "entity_id": "contact:3", "deleted_at": LONG_AGO, **due},
        {
            "task_id": "task:4",
            "entity_id": "contact:4",
            "is_completed": True,
            "completed_at": later,
            **due,
        },
    ]
    clients = [client(f"contact:{n}") for n in (1, 2, 3, 4)]
    members = [{"entity_id": row["client_id"], "client_id": row["client_id"]} for row in clients]
    listed = answer(engine, clients, task=tasks, client_member=members).tables["clients"]
    assert listed.filter("has_next_task")["client_id"].to_list() == ["contact:1", "contact:4"]


# --- the base --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base", "names"),
    [
        ("existing", ["open", "rejected-then-open", "won"]),
        ("buyers", ["won"]),
        ("open", ["open", "rejected-then-open"]),
        ("all", ["lead-only", "lost", "new", "no-deals", "open", "rejected-then-open", "won", "won-elsewhere"]),
    ],
)
def test_who_is_in_the_base(engine, base, names):
    deals = [
        deal("won"),
        deal("open", "open"),
        deal("lost", "lost", loss_reason_id="price"),
        deal("lead-only", "open", entity_kind="lead"),
        deal("new", "unsorted"),
        deal("won-elsewhere", is_sales=False),
        deal("rejected", "lost", loss_reason_id="spam"),
        deal("rejected", "lost", loss_reason_id="twin", number=2),
        deal("rejected", "won", entity_kind="lead", number=3),
        deal("rejected-then-open", "lost", loss_reason_id="spam"),
        deal("rejected-then-open", "open", number=2),
    ]
    reasons = [
        {"loss_reason_id": "price", "name": "Слишком ДОРОГО"},
        {"loss_reason_id": "spam", "name": "Спам"},
        {"loss_reason_id": "twin", "name": "Дубль заявки"},
    ]
    every = sorted({row["client_id"] for row in deals} | {"no-deals"})
    result = answer(engine, [client(name) for name in every], deals=deals, loss_reason=reasons, params={"base": base})
    assert sorted(forgotten(result)) == names


def test_what_people_call_a_disqualifying_reason_decides(engine):
    meant = pl.DataFrame({"account_id": ["main"], "loss_reason_id": ["reason"], "category": ["spam_invalid"]})
    kwargs = {
        "deals": [deal("contact:1", "lost", loss_reason_id="reason")],
        "loss_reason": [{"loss_reason_id": "reason", "name": "Не наш"}],
        "params": {"base": "all"},
    }
    assert forgotten(answer(engine, [client("contact:1")], **kwargs))
    assert not forgotten(answer(engine, [client("contact:1")], user_set={"loss_reason": meant}, **kwargs))


@pytest.mark.parametrize("flag", ["is_deleted", "is_spam", "is_stop_listed"])
def test_deleted_spam_and_stop_listed_clients_are_left_out(engine, flag):
    result = answer(engine, [client("contact:1", **{flag: True})])
    assert result.tables["total"].is_empty()


def test_a_deal_won_after_as_of_was_still_open_then(engine):
    deals = [deal("contact:1", outcome_at=moscow("2026-05-02"))]
    assert forgotten(answer(engine, [client("contact:1")], deals=deals, params={"base": "open"}))
    assert not forgotten(answer(engine, [client("contact:1")], deals=deals, params={"base": "buyers"}))


# --- whose he is, and whom to call first -----------------------------------------------------------------------------


def test_clients_of_leavers_and_robots_are_to_be_handed_over(engine):
    users = [{"user_id": "user:1"}, {"user_id": "user:2", "is_active": False}, {"user_id": "user:0", "is_robot": True}]
    owners = ("user:1", "user:1", "user:2", "user:0", None)
    clients = [client(f"contact:{n}", owner) for n, owner in enumerate(owners)]
    touches = [touch("contact:1", "2026-04-29 12:00")]
    result = answer(engine, clients, touch=touches, user=users)
    assert result.tables["by_user"].select("user_id", "group_key", "num", "den").rows() == [
        (None, "unassigned", 1, 1),
        ("user:1", "user:1", 1, 2),
    ]
    assert result.tables["reassign"].select("user_id", "user_is_robot", "num", "den").rows() == [
        ("user:0", True, 1, 1),
        ("user:2", False, 1, 1),
    ]
    total = result.tables["total"].select("num", "den", "reassign_num", "reassign_den")
    assert total.rows() == [(2, 3, 2, 2)]
    assert result.tables["segments"]["num"].sum() == 2
    assert result.drilldown.height == 4


def test_an_account_with_nothing_but_clients_to_hand_over_has_a_total_without_a_rate(engine):
    result = answer(engine, [client("contact:1")], user=[{"user_id": "user:1", "is_active": False}])
    assert result.tables["total"].select("num", "den", "rate", "reassign_num").rows() == [(0, 0, None, 1)]


def test_a_leaver_is_one_whose_last_day_people_have_set(engine):
    days = pl.DataFrame({"account_id": ["main"], "user_id": ["user:1"], "left_on": [date(2026, 4, 1)]})
    result = answer(engine, [client("contact:1")], user=[{"user_id": "user:1"}], user_set={"user": days})
    assert result.tables["reassign"]["user_id"].to_list() == ["user:1"]


def test_a_user_deleted_at_the_source_is_a_leaver_from_then_on(engine):
    users = [
        {"user_id": "user:1", "deleted_at": moscow("2026-04-01")},
        {"user_id": "user:2", "deleted_at": moscow("2026-05-01")},
    ]
    result = answer(engine, [client("contact:1", "user:1"), client("contact:2", "user:2")], user=users)
    assert result.tables["reassign"]["user_id"].to_list() == ["user:1"]
    assert result.tables["by_user"]["user_id"].to_list() == ["user:2"]


def test_the_list_begins_with_money_times_silence(engine):
    clients = [client(f"contact:{n}") for n in (1, 2, 3, 4)]
    touches = [
        touch("contact:1", "2026-02-01 12:00"),  # the shortest silence: rank 1/4
        touch("contact:2", "2025-12-01 12:00"),
        touch("contact:3", "2025-10-01 12:00"),
        touch("contact:4", "2025-08-01 12:00"),
    ]
    sales = [
        {"sale_id": str(n), "basis": "won_deal", "client_id": name, "sold_at": moscow(at), "amount_minor": amount}
        for n, (name, at, amount) in enumerate(
            [("contact:1", "2026-02-01", 100), ("contact:2", "2025-12-01", 60), ("contact:4", "2025-02-01", 900)]
        )
    ]
    listed = answer(engine, clients, touch=touches, sale=sales).tables["clients"]
    assert listed.select("client_id", "revenue_12m_minor", "priority").rows() == [
        ("contact:2", 60, 30.0),
        ("contact:1", 100, 25.0),
        ("contact:4", 0, 0.0),  # its sale is older than a year
        ("contact:3", 0, 0.0),
    ]


def test_segments_follow_the_limit(engine):
    clients = [client(f"contact:{n}") for n in range(6)]
    days = [
        "2026-02-28",
        "2026-01-30",
        "2026-01-29",
        "2025-11-01",
        "2025-10-31",
        "2026-04-29",
    ]  # 61, 90, 91, 180, 181, 1
    touches = [touch(f"contact:{n}", f"{day} 12:00") for n, day in enumerate(days)]
    result = answer(engine, clients, touch=touches)
    assert result.tables["segments"].select("segment", "days_from", "days_to", "num").rows() == [
        (1, 61, 90, 2),
        (2, 91, 180, 2),
        (3, 181, None, 1),
    ]
    total = result.tables["total"].row(0, named=True)
    assert [total[f"n_segment_{n}"] for n in (1, 2, 3)] == [2, 2, 1]
    short = answer(engine, clients, touch=touches, params={"n_days": 10}).tables["segments"]
    assert short.select("days_from", "days_to").rows() == [(11, 15), (16, 30), (31, None)]


def test_a_population_cuts_clients_but_not_the_touches_of_others(engine):
    clients = [client("contact:1", "user:1"), client("contact:2", "user:1"), client("contact:3", "user:2")]
    touches = [touch("contact:1", "2026-04-29 12:00", user_id="user:2")]
    result = answer(engine, clients, touch=touches, params={"population": ("user:1",)})
    assert result.tables["total"].select("num", "den").rows() == [(1, 2)]


def test_cards_of_companies_contacts_and_leads_are_linked(engine):
    clients = [client("company:1"), client("contact:2"), client("lead:3")]
    links = answer(engine, clients).drilldown.select("entity_kind", "url").rows()
    assert links == [
        ("company", "https://example.amocrm.ru/companies/detail/1"),
        ("contact", "https://example.amocrm.ru/contacts/detail/2"),
        ("lead", "https://example.amocrm.ru/leads/detail/3"),
    ]


def test_without_synced_messages_the_answer_says_that_only_calls_are_seen(engine):
    seen = [{"resource": "message", "watermark": AS_OF}]
    assert "messages_not_synced" in {one.code for one in answer(engine, CATALOGUE).warnings}
    assert "messages_not_synced" not in {one.code for one in answer(engine, CATALOGUE, coverage=seen).warnings}


def test_no_clients_give_empty_tables_of_the_same_shape(engine):
    users = [{"user_id": "user:1", "is_active": False}]
    full, empty = answer(engine, CATALOGUE, user=users), answer(engine, [])
    assert {name: frame.schema for name, frame in empty.tables.items()} == {
        name: frame.schema for name, frame in full.tables.items()
    }
    assert all(frame.is_empty() for frame in empty.tables.values())
    assert_frame_equal(empty.drilldown, pl.DataFrame(schema=DRILLDOWN))
