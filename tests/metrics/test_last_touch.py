"""B1 as a metric: the last touch of each client, longest silence first, and whose clients they are."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from engines import on_every_engine

from metrics.evaluate import evaluate
from metrics.last_touch import METRIC, LastTouchParams
from metrics.metric import MetricResult, Period

MOSCOW = ZoneInfo("Europe/Moscow")
Row = dict[str, Any]


def moscow(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=MOSCOW).astimezone(UTC)


AS_OF = moscow("2026-04-30 12:00")
NOW = Period(AS_OF, date(2026, 4, 1), date(2026, 4, 30))
PEOPLE = ({"user_id": "user:1"}, {"user_id": "user:2"}, {"user_id": "user:left", "is_active": False})


def client(client_id: str, owner: str | None = "user:1", created: str = "2024-01-10") -> Row:
    return {"client_id": client_id, "responsible_user_id": owner, "created_at": moscow(created)}


def touch(client_id: str, at: str, **more: Any) -> Row:
    return {
        "touch_id": f"{client_id}@{at}",
        "client_id": client_id,
        "touched_at": moscow(at),
        "kind": "call",
        "direction": "out",
        "is_meaningful": True,
        "user_id": "user:2",
        **more,
    }


def answer(engine: Any, clients: Sequence[Row], touches: Sequence[Row], **params: Any) -> MetricResult:
    tables: Mapping[str, Sequence[Row]] = {"client": clients, "touch": touches, "user": PEOPLE}
    return evaluate(METRIC, engine.frames(tables, as_of=AS_OF), LastTouchParams(**params), NOW)


CLIENTS = [
    client("contact:1"),
    client("contact:2", "user:2"),
    client("contact:3", "user:left"),
    client("contact:4", created="2026-04-20"),
]
TOUCHES = [
    touch("contact:1", "2026-04-10 12:00"),
    touch("contact:1", "2026-04-12 12:00", kind="message", direction="in"),
    touch("contact:2", "2026-04-29 12:00"),
    touch("contact:3", "2026-04-20 12:00", is_meaningful=False, is_attempt=True),
]


@on_every_engine
def test_b1_each_client_has_the_last_touch_and_who_was_longest_left_alone_comes_first(engine):
    listed = answer(engine, CLIENTS, TOUCHES).tables["clients"]
    assert listed.select("client_id", "days_since", "never").rows() == [
        ("contact:3", 841, True),
        ("contact:1", 18, False),
        ("contact:4", 10, True),
        ("contact:2", 1, False),
    ]
    first = listed.filter(client_id="contact:1").row(0, named=True)
    assert (first["last_touch_kind"], first["last_touch_user_id"]) == ("message", "user:2")
    assert first["last_outbound_at"] == moscow("2026-04-10 12:00")


def test_only_what_came_from_us_where_that_is_asked_for(polars_engine):
    listed = answer(polars_engine, CLIENTS[:1], TOUCHES, direction="out").tables["clients"]
    assert listed["days_since"].to_list() == [20]


def test_clients_of_who_has_left_stand_apart(polars_engine):
    tables = answer(polars_engine, CLIENTS, TOUCHES).tables
    assert tables["by_user"].select("user_id", "n", "n_never", "median_days_since").rows() == [
        ("user:1", 2, 1, 14.0),
        ("user:2", 1, 0, 1.0),
    ]
    assert tables["reassign"].select("user_id", "n", "n_never").rows() == [("user:left", 1, 1)]


def test_every_client_is_a_row_of_his_responsible(polars_engine):
    result = answer(polars_engine, CLIENTS, TOUCHES)
    assert result.drilldown.select("client_id", "group_key", "value", "reason").rows() == [
        ("contact:3", "user:left", 841.0, "NEVER"),
        ("contact:1", "user:1", 18.0, "LAST_TOUCH"),
        ("contact:4", "user:1", 10.0, "NEVER"),
        ("contact:2", "user:2", 1.0, "LAST_TOUCH"),
    ]


def test_only_clients_of_the_people_asked_for(polars_engine):
    assert answer(polars_engine, CLIENTS, TOUCHES, population=("user:2",)).tables["clients"]["client_id"].to_list() == [
        "contact:2"
    ]
