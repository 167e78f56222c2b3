"""A source changes without asking: new keys, other types, nulls. Nothing is lost, nothing stops, all is kept raw."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from amo_demo import rows
from demo_crm import tables_of
from sources import Source, find_sources
from suite_words import run, synced

from connectors.records import RECORDS
from warehouse.models import CANONICAL
from warehouse.status import RunStatus

HASHES = ("raw_hash",)
OBJECTS = "SELECT entity, native_id FROM raw_record GROUP BY ALL ORDER BY ALL"
OF_THEIR_OWN = [table.name for table in CANONICAL if RECORDS[table.name].owner is None]
"""Tables of rows that hang on nothing: of what hangs on a card, null may well mean that there is none."""
N_ROWS = " UNION ALL ".join(f"SELECT '{table}', count(*) FROM \"{table}\"" for table in OF_THEIR_OWN)
BUG = "An error in the program"
FALSE_TYPES: list[Callable[[Any], Any]] = [
    str,
    lambda value: [value],
    lambda value: {"value": value},
    lambda value: -1,
    lambda value: "",
    lambda value: [],
    lambda value: True,
]


def drifting(source: Source, drift: Callable[[dict[str, Any]], None]) -> None:
    def repaint(_: Any, answer: Any) -> Any:
        for item in source.objects(answer):
            drift(item)
        return answer

    source.repaint = repaint


def has_no_bug(done: RunStatus) -> bool:
    told = done.account("main")
    return not any(BUG in str(said) for said in (told.error, *(status.error for status in told.resources)))


def with_new_keys(value: Any) -> None:
    """In every object but the value of a field: one that is an object is kept as it is, so new keys are news."""
    parts = [part for name, part in value.items() if name != "value"] if isinstance(value, dict) else value
    for part in parts if isinstance(parts, list) else ():
        with_new_keys(part)
    if isinstance(value, dict):
        value["hologram"] = {"a": [1, None, {"b": "c"}]}


def test_new_keys_are_kept_raw_and_change_no_row(name: str, folder: Path):
    source = find_sources()[name]()
    drifting(source, with_new_keys)
    assert run(source, folder).is_well
    plain = folder.parent / "plain"
    synced(name, plain)
    assert tables_of(folder, without=HASHES) == tables_of(plain, without=HASHES)
    assert rows(folder, OBJECTS) == rows(plain, OBJECTS)
    assert rows(folder, "SELECT count(*) FROM raw_record WHERE contains(decode(body), 'hologram')") > [(100,)]


@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, 4))])
def test_values_of_other_types_lose_no_object_and_stop_no_list(name: str, folder: Path, seed: int):
    chance, source = random.Random(seed), find_sources()[name]()

    def drift(item: dict[str, Any]) -> None:
        values = sorted(item.keys() - source.keys)
        for key in chance.sample(values, k=len(values) // 4):
            item[key] = chance.choice(FALSE_TYPES)(item[key])

    drifting(source, drift)
    done = run(source, folder)
    assert has_no_bug(done)
    assert sum(status.n_unknown for status in done.account("main").resources) > 0
    plain = folder.parent / "plain"
    synced(name, plain)
    assert rows(folder, OBJECTS) == rows(plain, OBJECTS)


def test_nulls_for_everything_stop_nothing_and_take_no_row_away(name: str, folder: Path):
    source = synced(name, folder)
    before = rows(folder, N_ROWS)
    drifting(source, lambda item: item.update(dict.fromkeys(item.keys() - source.keys)))
    assert has_no_bug(run(source, folder, full=True))
    assert rows(folder, N_ROWS) == before
    source.repaint = lambda _, answer: answer
    assert run(source, folder, full=True).is_well
    plain = folder.parent / "plain"
    synced(name, plain)
    assert tables_of(folder) == tables_of(plain)
