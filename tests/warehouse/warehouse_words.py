"""Short words for records and for what the warehouse holds."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Engine

from connectors.records import (
    Contact,
    Deal,
    DealContact,
    EntityTag,
    OwnedSet,
    RawRecord,
    Record,
    Stage,
    Task,
    Tombstone,
    User,
)
from warehouse.load import Loader, Read

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
KEY = b"0" * 32


def deal(number: int = 1, **fields: Any) -> Deal:
    known: dict[str, Any] = {
        "account_id": "main",
        "deal_id": f"lead:{number}",
        "entity_kind": "deal",
        "name": f"Deal {number}",
        "pipeline_id": "pipeline:1",
        "stage_id": "status:10",
        "currency": "RUB",
        "created_at": NOON,
    }
    values = known | fields
    return Deal(**{"raw_hash": str(sorted(map(str, values.values()))), **values})


def task(number: int = 1, **fields: Any) -> Task:
    known = {"account_id": "main", "task_id": f"task:{number}", "kind": "call", "created_at": NOON}
    return Task(**(known | {"due_is_allday": False, "is_completed": True} | fields))


def user(number: int = 1, **fields: Any) -> User:
    return User(
        **({"account_id": "main", "user_id": f"user:{number}", "name": f"U{number}", "is_active": True} | fields)
    )


def contact(number: int = 1, **fields: Any) -> Contact:
    return Contact(**({"account_id": "main", "contact_id": f"contact:{number}", "created_at": NOON} | fields))


def stage(code: str = "status:10", **fields: Any) -> Stage:
    known = {
        "account_id": "main",
        "pipeline_id": "pipeline:1",
        "stage_id": code,
        "name": code,
        "sort": 1,
        "kind": "open",
    }
    return Stage(**(known | fields))


def tags(number: int, *names: str) -> OwnedSet:
    owner = f"lead:{number}"
    rows = [EntityTag(account_id="main", entity_id=owner, tag=name, entity_kind="deal") for name in names]
    return OwnedSet(EntityTag, "main", owner, Deal, rows)


def contacts(number: int, *ids: int) -> OwnedSet:
    owner = f"lead:{number}"
    rows = [
        DealContact(account_id="main", deal_id=owner, contact_id=f"contact:{i}", is_main=n == 0, position=n)
        for n, i in enumerate(ids)
    ]
    return OwnedSet(DealContact, "main", owner, Deal, rows)


def deleted(kind: type[Record], row_id: str, at: datetime | None = NOON + timedelta(days=1)) -> Tombstone:
    return Tombstone(kind, "main", row_id, at)


def raw(number: int, content: Any) -> RawRecord:
    return RawRecord.of("main", "leads", number, content)


def load(engine: Engine, *reads: Read, load_seq: int = 1, loader: Loader | None = None) -> int:
    """Load one batch in a transaction of its own."""
    with engine.begin() as connection:
        mine = Loader(connection, key=KEY)
        return mine.load(reads, load_seq=load_seq, synced_at=NOON)


class Table:
    """Reads columns of a table as plain values."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def __call__(self, name: str, *columns: str) -> list[Any]:
        with self.engine.begin() as connection:
            found = connection.exec_driver_sql(f'SELECT {", ".join(columns)} FROM "{name}" ORDER BY ALL').fetchall()
        return [row[0] if len(columns) == 1 else tuple(row) for row in found]


def content(engine: Engine, names: Iterable[str]) -> dict[str, list[tuple[Any, ...]]]:
    """Everything in the tables but what depends on when it was written."""
    kept = "COLUMNS(c -> c NOT IN ('load_seq', 'synced_at'))"
    with engine.begin() as connection:
        found = {name: connection.exec_driver_sql(f'SELECT {kept} FROM "{name}"').fetchall() for name in names}
    return {name: sorted((tuple(row) for row in rows), key=str) for name, rows in found.items()}
