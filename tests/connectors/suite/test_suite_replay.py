"""Rows made anew of raw objects, without the source, are the rows that were read."""

import shutil
from functools import cache
from pathlib import Path

from amo_demo import rows
from demo_crm import scratch
from sources import Source
from suite_words import DAY, a_day_later, contents, run

from sync.remap import Remapped, remap
from warehouse.models import CANONICAL

LOADS = " UNION ALL ".join(
    f"SELECT '{table.name}', max(load_seq), count(*) FROM \"{table.name}\"" for table in CANONICAL
)


def remapped(source, folder: Path, **settings) -> Remapped:
    account = source.as_account(**settings)
    (done,) = remap(folder, [account], now=lambda: source.now)
    return done


@cache
def _lived(name: str) -> tuple[Source, Path]:
    folder = Path(scratch().name) / f"{name}-lived"
    source = a_day_later(name, folder)
    assert run(source, folder).is_well
    source.passes(DAY)
    assert run(source, folder).is_well
    return source, folder


def lived(name: str, folder: Path) -> Source:
    """A source that was read on three days, by then: only its settings are asked for."""
    source, read = _lived(name)
    shutil.copytree(read, folder)
    return source


def test_a_replay_knows_every_object_that_resources_keep(name: str, folder: Path):
    source = lived(name, folder)
    done = remapped(source, folder)
    assert +done.unknown == {}
    assert done.n_objects == rows(folder, "SELECT count(*) FROM raw_record")[0][0]


def test_tables_made_anew_are_those_that_were_read(name: str, folder: Path):
    source = lived(name, folder)
    before, loads = contents(folder), rows(folder, LOADS)
    done = remapped(source, folder)
    assert {table.table: table.changed for table in done.tables if table.changed} == {}
    assert contents(folder) == before
    assert rows(folder, LOADS) == loads
