"""E14: how fast new leads are answered."""

from datetime import date, datetime, timedelta, timezone
from typing import Any

import pytest
from engines import on_every_engine

from metrics.calendar import Calendar, WorkingWeek, calendar_days
from metrics.evaluate import evaluate
from metrics.metric import MetricResult, Period
from metrics.speed_to_lead import METRIC

MOSCOW = timezone(timedelta(hours=3))


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=MOSCOW)


MONDAY = at("2026-04-06 12:00")
APRIL = Period(MONDAY, date(2026, 4, 1), date(2026, 4, 7))
DAYS = calendar_days(
    WorkingWeek.of(Calendar()),
    account_id="main",
    calendar_id="default",
    tz="Europe/Moscow",
    first=date(2026, 4, 1),
    last=date(2026, 4, 10),
)


def lead(name: str, created: str, **changes: Any) -> dict[str, Any]:
    row = {"deal_id": name, "client_id": f"c{name}", "entity_kind": "deal", "outcome": "open", "pipeline_id": "p"}
    return row | {"responsible_user_id": "user:1", "created_at": at(created)} | changes


def touch(name: str, when: str, kind: str = "call", direction: str = "out", **changes: Any) -> dict[str, Any]:
    row = {"touch_id": f"{name}:{when}", "client_id": f"c{name}", "touched_at": at(when), "kind": kind}
    return row | {"direction": direction, "is_meaningful": True, "user_id": "user:1"} | changes


def answer(engine: Any, leads: Any, touches: Any = (), *, more: Any = None, **params: Any) -> MetricResult:
    tables = {"deal_state": leads, "touch": touches, "calendar_day": DAYS, **(more or {})}
    frames = engine.frames(tables, as_of=APRIL.as_of)
    return evaluate(METRIC, frames, METRIC.params(**params), APRIL)


LEADS = [
    lead("L1", "2026-04-06 10:00"),
    lead("L2", "2026-04-06 10:00"),
    lead("L3", "2026-04-03 18:30"),
    lead("L4", "2026-04-06 10:00"),
    lead("L5", "2026-04-06 11:58"),
]
TOUCHES = [
    touch("L1", "2026-04-06 10:03"),
    touch("L2", "2026-04-06 10:04", is_meaningful=False, is_attempt=True),
    touch("L2", "2026-04-06 10:30", "message"),
    touch("L3", "2026-04-06 09:04"),
]


@on_every_engine
def test_e14_the_example_of_the_catalogue(engine: Any) -> None:
    result = answer(engine, LEADS, TOUCHES)
    row = result.tables["total"].row(0, named=True)
    assert (row["num"], row["den"], row["rate"]) == (3, 4, 0.75)
    assert (row["ci_lo"], row["ci_hi"]) == pytest.approx((0.300642, 0.954413), abs=1e-6)
    assert (row["n_incoming"], row["n_unanswered"], row["km_median_s"]) == (5, 2, 240.0)
    assert result.drilldown.select("entity_id", "value", "reason").rows() == [("L4", 7200.0, "UNANSWERED")]


@on_every_engine
def test_seconds_of_the_example_by_both_clocks_and_policies(engine: Any) -> None:
    def median(names: str, **params: Any) -> float | None:
        found = answer(engine, [row for row in LEADS if row["deal_id"] in names], TOUCHES, **params)
        value: float | None = found.tables["total"]["km_median_s"][0]
        return value

    assert [median(name) for name in ("L1", "L2", "L3")] == [180.0, 240.0, 240.0]
    assert median("L3", clock="wall") == 225_240.0
    assert median("L2", policy="contact") is None, "no contact yet"
    assert median("L1", policy="contact") == 180.0


def test_a_reply_after_our_message_is_a_contact_and_one_before_it_is_not(polars_engine: Any) -> None:
    touches = [
        touch("L1", "2026-04-06 10:01", "message", "in"),
        touch("L1", "2026-04-06 10:05", "message"),
        touch("L1", "2026-04-06 10:20", "message", "in"),
    ]
    row = answer(polars_engine, [LEADS[0]], touches, policy="contact").tables["total"].row(0, named=True)
    assert row["km_median_s"] == 1200.0


def test_a_lead_born_from_an_answered_call_is_live_and_one_made_by_hand_is_cold(polars_engine: Any) -> None:
    rows = [lead("a", "2026-04-06 10:02"), lead("b", "2026-04-06 10:00"), lead("c", "2026-04-06 10:00")]
    authors = [{"deal_id": "b", "created_by": "user:1"}, {"deal_id": "c", "created_by": "user:9"}]
    users = [{"user_id": "user:1"}, {"user_id": "user:9", "is_robot": True}]
    touches = [touch("a", "2026-04-06 10:00", direction="in")]
    result = answer(polars_engine, rows, touches, more={"deal": authors, "user": users})
    row = result.tables["total"].row(0, named=True)
    assert (row["n_live"], row["n_cold"], row["n_incoming"], row["live_share"]) == (1, 1, 1, pytest.approx(1 / 3))


def test_the_clock_starts_with_the_request_a_lead_was_made_of(polars_engine: Any) -> None:
    asked = [{"request_id": "r", "deal_id": "L1", "received_at": at("2026-04-06 09:50"), "category": "form"}]
    row = answer(polars_engine, [LEADS[0]], TOUCHES, more={"request": asked}).tables["total"].row(0, named=True)
    assert row["km_median_s"] == 780.0


def test_a_robots_message_answers_nobody(polars_engine: Any) -> None:
    users = [{"user_id": "user:9", "is_robot": True}]
    touches = [touch("L1", "2026-04-06 10:01", "message", user_id="user:9")]
    row = answer(polars_engine, [LEADS[0]], touches, more={"user": users}).tables["total"].row(0, named=True)
    assert (row["num"], row["den"]) == (0, 1)


def test_a_deal_made_of_a_lead_is_not_a_second_lead(polars_engine: Any) -> None:
    more = {"deal": [{"deal_id": "L1", "parent_lead_id": "lead:1"}]}
    assert answer(polars_engine, [LEADS[0]], TOUCHES, more=more).tables["total"].is_empty()


def test_wins_are_shown_by_how_soon_the_lead_was_answered(polars_engine: Any) -> None:
    rows = [LEADS[0] | {"outcome": "won"}, LEADS[2] | {"outcome": "lost"}, LEADS[3] | {"outcome": "lost"}]
    table = answer(polars_engine, rows, TOUCHES).tables["buckets"]
    assert table.select("bucket", "num", "den").rows() == [("5m", 1, 2), ("none", 0, 1)]
