"""B4: how much of a base was touched in a period, at which pace, and how long the rest takes; who was at work when."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from engines import on_every_engine

from metrics.base_coverage import METRIC, BaseCoverageParams
from metrics.evaluate import collect, evaluate
from metrics.metric import MetricResult, Period
from metrics.presence import present_days

MOSCOW = ZoneInfo("Europe/Moscow")
Row = dict[str, Any]


def moscow(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=MOSCOW).astimezone(UTC)


AS_OF = moscow("2026-04-30 12:00")
FIRST, END = date(2026, 4, 2), date(2026, 4, 30)
NOW = Period(AS_OF, FIRST, END)
LONG_AGO = moscow("2024-01-10")


def day(on: date, hours: int = 8, **more: Any) -> Row:
    """A row of `calendar_day`; no hours: a day off."""
    opens = int(datetime(on.year, on.month, on.day, 9, tzinfo=MOSCOW).timestamp())
    closes = opens + hours * 3600
    row = {"calendar_id": "default", "day": on, "is_working": hours > 0, "before_s": 0, "open_epoch": opens}
    return {**row, "close_epoch": closes, "open2_epoch": closes, "close2_epoch": closes, **more}


DAYS = [day(FIRST + timedelta(days=n), 8 if (FIRST + timedelta(days=n)).isoweekday() < 6 else 0) for n in range(30)]
"""20 working days in the period."""


def touch(client_id: str, at: str, user_id: str = "user:1", **more: Any) -> Row:
    row = {"touch_id": f"{client_id}@{at}", "client_id": client_id, "touched_at": moscow(at), "user_id": user_id}
    return {**row, "kind": "call", "direction": "out", "is_meaningful": True, **more}


def client(client_id: str, owner: str | None = "user:1") -> Row:
    return {"client_id": client_id, "responsible_user_id": owner, "created_at": LONG_AGO}


PEOPLE = ({"user_id": "user:1"}, {"user_id": "user:2"}, {"user_id": "user:left", "is_active": False})


def answer(
    engine: Any, clients: Sequence[Row], touches: Sequence[Row], *, period: Period = NOW, **params: Any
) -> MetricResult:
    deals = [
        {"deal_id": row["client_id"], "client_id": row["client_id"], "outcome": "won", "created_at": LONG_AGO}
        for row in clients
    ]
    tables: Mapping[str, Sequence[Row]] = {
        "client": clients,
        "touch": touches,
        "user": PEOPLE,
        "deal_state": deals,
        "calendar_day": DAYS,
    }
    return evaluate(METRIC, engine.frames(tables, as_of=AS_OF), BaseCoverageParams(**params), period)


@on_every_engine
def test_b4_the_example_of_the_catalogue(engine):
    clients = [client(f"contact:{n}") for n in range(150)]
    touches = [touch(f"contact:{n}", f"2026-04-{2 + n % 20:02d} 11:00") for n in range(48)]
    result = answer(engine, clients, touches)
    row = result.tables["by_user"].row(0, named=True)
    assert (row["num"], row["den"], row["present_days"]) == (48, 150, 20)
    assert (row["rate"], row["pace"], row["days_to_cover"]) == pytest.approx((0.32, 2.4, 42.5))
    assert row["capacity_gap"] == pytest.approx(150 / 20 - 2.4)
    assert result.drilldown.height == row["n_not_touched"] == 102


def test_five_touches_of_one_client_cover_one_client(polars_engine):
    touches = [touch("contact:1", f"2026-04-1{n} 11:00") for n in range(5)]
    row = (
        answer(polars_engine, [client("contact:1"), client("contact:2")], touches).tables["by_user"].row(0, named=True)
    )
    assert (row["num"], row["den"]) == (1, 2)


def test_a_colleagues_touch_covers_the_client_and_is_not_the_managers_own(polars_engine):
    touches = [touch("contact:1", "2026-04-10 11:00", "user:2"), touch("contact:2", "2026-04-10 11:00", "user:1")]
    clients = [client("contact:1"), client("contact:2"), client("contact:3")]
    row = answer(polars_engine, clients, touches).tables["by_user"].row(0, named=True)
    assert (row["num"], row["n_own"], row["own_share"]) == (2, 1, 0.5)


def test_only_touches_within_the_period_count_and_no_attempts(polars_engine):
    touches = [
        touch("contact:1", "2026-04-01 23:59"),
        touch("contact:1", "2026-04-30 00:00"),
        touch("contact:1", "2026-04-10 11:00", is_meaningful=False, is_attempt=True),
    ]
    assert answer(polars_engine, [client("contact:1")], touches).tables["by_user"]["num"].to_list() == [0]
    first = [touch("contact:1", "2026-04-02 00:00")]
    assert answer(polars_engine, [client("contact:1")], first).tables["by_user"]["num"].to_list() == [1]


def test_a_target_below_the_whole_base_is_reached_sooner(polars_engine):
    clients = [client(f"contact:{n}") for n in range(10)]
    touches = [touch(f"contact:{n}", "2026-04-10 11:00") for n in range(5)]

    def days_to_cover(target):
        tables = answer(polars_engine, clients, touches, target_coverage=target).tables
        return tables["by_user"]["days_to_cover"].to_list()

    assert days_to_cover(1.0) == [5 / (5 / 20)]
    assert days_to_cover(0.8) == pytest.approx([3 / (5 / 20)])
    assert days_to_cover(0.4) == [0]


def test_without_a_touch_there_is_no_pace_to_reckon_with(polars_engine):
    row = answer(polars_engine, [client("contact:1")], []).tables["by_user"].row(0, named=True)
    assert (row["pace"], row["days_to_cover"]) == (0, None)


def test_clients_of_who_has_left_stand_apart(polars_engine):
    clients = [client("contact:1"), client("contact:2", "user:left")]
    tables = answer(polars_engine, clients, []).tables
    assert tables["by_user"]["user_id"].to_list() == ["user:1"]
    assert tables["reassign"].select("user_id", "num", "den").rows() == [("user:left", 0, 1)]
    assert tables["total"]["den"].to_list() == [1]


def test_the_answer_says_that_responsibles_are_those_of_now(polars_engine):
    assert "owner_current" in {notice.code for notice in answer(polars_engine, [client("contact:1")], []).warnings}


# --- who was at work -------------------------------------------------------------------------------------------------


@on_every_engine
def test_people_are_at_work_on_working_days_unless_absent(engine):
    people = [
        {"user_id": "user:1"},
        {"user_id": "user:2"},
        {"user_id": "user:new", "hired_on": date(2026, 4, 20)},
        {"user_id": "user:gone", "left_on": date(2026, 4, 3)},
        {"user_id": "user:sick"},
        {"user_id": "user:robot", "is_robot": True},
    ]
    absences = [
        {"user_id": "user:2", "first_day": date(2026, 4, 6), "end_day": date(2026, 4, 13)},
        {"user_id": "user:2", "first_day": date(2026, 4, 10), "end_day": date(2026, 4, 14)},
        {"user_id": "user:sick", "first_day": date(2026, 4, 6), "end_day": None},
    ]
    days_set = [
        {"account_id": "main", **{name: row.get(name) for name in ("user_id", "hired_on", "left_on")}} for row in people
    ]
    set_by_people = {"user": pl.DataFrame(days_set, infer_schema_length=None)}
    users = [{name: row[name] for name in ("user_id", "is_robot") if name in row} for row in people]
    frames = engine.frames(
        {"user": users, "user_absence": absences, "calendar_day": DAYS}, period=NOW, user_set=set_by_people
    )
    days = collect({"days": present_days(frames)})["days"]
    counted = dict(days.group_by("user_id").len().iter_rows())
    assert counted == {"user:1": 20, "user:2": 14, "user:new": 8, "user:gone": 2, "user:sick": 2}
    assert days["working_s"].unique().to_list() == [8 * 3600]
