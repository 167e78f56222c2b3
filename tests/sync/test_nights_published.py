"""After many nights of edits what is published is what a full rebuild publishes, in every table."""

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from sqlalchemy import Connection

from bench import large_company
from metrics.marts import facts
from sync import publish_all
from warehouse.columns import quoted
from warehouse.database import open_warehouse
from warehouse.models import CANONICAL, key_of

DAYS = 100
END = datetime(2024, 11, 20, tzinfo=UTC) + timedelta(days=DAYS)
"""Of a company of few months: each is some files to write."""
EDITED = [one for one in CANONICAL if one.name in {*large_company.CARDS, *large_company.FACTS, "stage", "loss_reason"}]
BOOKKEEPING = {"raw_hash", "read_seq", "load_seq", "synced_at", "source_updated_at"}


def edit(connection: Connection, rng: random.Random, night: int) -> None:
    """Of two tables some rows go, some take what another row has in some column, and some come anew."""
    for table in rng.sample(EDITED, 2):
        name, keys = quoted(table.name), key_of(table)
        column = quoted(rng.choice([one.name for one in table.columns if one.name not in {*BOOKKEEPING, *keys}]))
        drawn, last = f"hash({', '.join(map(quoted, keys))}, {rng.randrange(10**9)})", quoted(keys[-1])
        for statement in (
            f"DELETE FROM {name} WHERE {drawn} % 97 = 0",
            f"UPDATE {name} SET {column} = (SELECT {column} FROM {name} ORDER BY {drawn} LIMIT 1), load_seq = {night} "
            f"WHERE {drawn} % 50 = 1",
            f"INSERT INTO {name} SELECT * REPLACE ({last} || '~{night}' AS {last}, {night} AS load_seq) FROM {name} "
            f"WHERE {drawn} % 60 = 2",
        ):
            connection.exec_driver_sql(statement)


def published(data_dir: Path, manifest: dict[str, Any]) -> dict[str, list[str]]:
    folder = data_dir / "publication" / manifest["generation"]
    return {
        name: sorted(map(str, pl.concat([pl.read_parquet(folder / file["name"]) for file in table["files"]]).rows()))
        for name, table in manifest["tables"].items()
    }


def n_linked(data_dir: Path, manifest: dict[str, Any], table: str) -> int:
    folder = data_dir / "publication" / manifest["generation"]
    return sum((folder / file["name"]).stat().st_nlink > 1 for file in manifest["tables"][table]["files"])


def assert_nights_are_full(data_dir: Path, monkeypatch: pytest.MonkeyPatch, *, nights: int, seed: int) -> None:
    monkeypatch.setattr(facts, "PART_ROWS", 2000)  # a month is a part then
    monkeypatch.setattr(large_company, "SPAN_S", DAYS * 86_400)
    rng, linked = random.Random(seed), 0
    for night in range(nights + 1):
        engine = open_warehouse(data_dir)
        with engine.begin() as connection:
            if night:
                edit(connection, rng, night + 1)
            else:
                large_company.fill(connection, deals=60)
            read = END - timedelta(days=nights - night)
            connection.exec_driver_sql(f"UPDATE sync_watermark SET watermark = '{read.isoformat()}'::TIMESTAMPTZ")
        engine.dispose()
        manifest = publish_all(data_dir, now=read)
        linked += n_linked(data_dir, manifest, "call_episode")
    whole = publish_all(data_dir, now=read, full=True)
    assert linked, "no night took anything over"
    wrong = published(data_dir, manifest)
    assert [name for name, rows in published(data_dir, whole).items() if rows != wrong[name]] == []


def test_a_night_of_edits_is_what_a_full_rebuild_is(data_dir: Path, monkeypatch: pytest.MonkeyPatch):
    assert_nights_are_full(data_dir, monkeypatch, nights=1, seed=2)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_many_nights_of_edits_are_what_a_full_rebuild_is(data_dir: Path, monkeypatch: pytest.MonkeyPatch, seed: int):
    assert_nights_are_full(data_dir, monkeypatch, nights=8, seed=seed)
