"""Batches in any order, repeated and cut off, end in the same tables."""

from datetime import timedelta
from functools import cache
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, create_engine
from warehouse_words import KEY, NOON, Table, content, deal, deleted, load, raw, stage, tags, task, user

from connectors.records import Deal, Patch, Stage, Stub, Task, User
from warehouse.database import migrate
from warehouse.load import Loader, Read

TABLES = ("deal", "entity_tag", "task", "user", "stage", "raw_record")
HOUR = timedelta(hours=1)


def reading(seq: int, *items: Any) -> list[Read]:
    return [(seq, item) for item in items]


# What a few answers of a source said, each an answer of its own: rows with their sets, deletions, events, mentions.
SCRIPT: tuple[list[Read], ...] = (
    reading(1, raw(1, {"v": 1}), deal(1, name="a"), tags(1, "x", "y"), deal(2), tags(2, "z"), Stub(user(7))),
    reading(2, deleted(Deal, "lead:1", NOON + HOUR)),
    reading(3, raw(1, {"v": 2}), deal(1, name="b"), tags(1, "y"), deal(3), tags(3)),
    reading(4, task(1, completed_at=NOON + 5 * HOUR, completed_is_estimate=True), task(2, is_completed=False)),
    reading(5, Patch(Task, "main", "task:1", "completed_at", NOON + 2 * HOUR)),
    reading(6, Patch(Task, "main", "task:1", "completed_at", NOON + HOUR)),
    reading(7, deal(2, name="c"), tags(2), user(7, name="seven"), stage()),
    reading(8, deleted(Deal, "lead:3"), deleted(Stage, "pipeline:1/status:10"), deleted(User, "user:7")),
    reading(9, raw(1, {"v": 1}), deal(1, name="a"), tags(1, "x", "y"), user(8), deleted(User, "user:8", None)),
    reading(10, task(1, completed_at=NOON + 6 * HOUR, completed_is_estimate=True)),
)


class Killed(Exception):  # noqa: N818
    pass


@cache
def warehouse() -> Engine:
    engine = create_engine("duckdb:///:memory:", connect_args={"config": {"threads": 1}})
    with engine.begin() as connection:
        connection.exec_driver_sql("SET TimeZone = 'UTC'")
        migrate(connection)
    return engine


def tables_after(batches: list[list[Read]], killed: set[int]) -> Any:
    """Load the batches, each in a transaction; those at `killed` are rolled back when done and loaded once more."""
    engine = warehouse()
    with engine.begin() as connection:
        for name in (*TABLES, "tombstone", "patch"):
            connection.exec_driver_sql(f'DELETE FROM "{name}"')
    for number, batch in enumerate(batches):
        for die in (True, False) if number in killed else (False,):
            try:
                with engine.begin() as connection:
                    Loader(connection, key=KEY).load(batch, load_seq=number, synced_at=NOON)
                    if die:
                        raise Killed
            except Killed:
                pass
    return content(engine, TABLES)


@cache
def expected() -> Any:
    return tables_after(list(SCRIPT), killed=set())


@given(
    order=st.permutations(range(len(SCRIPT))),
    again=st.lists(st.integers(0, len(SCRIPT) - 1), max_size=5),
    cuts=st.sets(st.integers(1, len(SCRIPT) + 4), max_size=8),
    killed=st.sets(st.integers(0, len(SCRIPT)), max_size=3),
)
def test_any_order_repetition_and_cut_ends_in_the_same_tables(
    order: list[int], again: list[int], cuts: set[int], killed: set[int]
):
    answers = [SCRIPT[n] for n in (*order, *again)]
    edges = [0, *sorted(cut for cut in cuts if cut < len(answers)), len(answers)]
    batches = [[read for answer in answers[low:high] for read in answer] for low, high in pairwise(edges)]
    assert tables_after(batches, killed) == expected()


def test_what_the_script_ends_in(table: Table, engine: Engine):
    load(engine, *(read for answer in SCRIPT for read in answer))
    gone = NOON + timedelta(days=1)
    assert table("deal", "deal_id", "name", "deleted_at") == [
        ("lead:1", "a", None),
        ("lead:2", "c", None),
        ("lead:3", "Deal 3", gone),
    ]
    assert table("entity_tag", "tag") == ["x", "y"]
    assert table("task", "completed_at") == [NOON + 2 * HOUR, None]
    assert table("user", "name", "is_active") == [("U8", True), ("seven", False)]
    assert table("stage", "deleted_at") == [gone]
