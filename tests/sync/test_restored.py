"""Under the publication of before, a warehouse restored from a backup publishes what it holds and nothing else."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from fake_source import START, FakeSource, account, filled
from sync_words import tables_of

from sync import publish_all, sync
from warehouse import publish
from warehouse.backup import backup, restore


def read(data_dir: Path, source: FakeSource, now: datetime) -> None:
    source.now = now
    assert sync(data_dir, [account(source)], now=lambda: now).is_well


def published(data_dir: Path, manifest: dict[str, Any]) -> dict[str, pl.DataFrame]:
    folder = data_dir / "publication" / manifest["generation"]
    return {
        name: pl.read_parquet([folder / file["name"] for file in table["files"]])
        for name, table in manifest["tables"].items()
    }


def differences(data_dir: Path, now: datetime) -> list[str]:
    """Tables in which the next publication differs from one that is written whole."""
    linked = published(data_dir, publish_all(data_dir, now=now))
    whole = published(data_dir, publish_all(data_dir, now=now, full=True))
    assert linked.keys() == whole.keys()
    return [name for name in linked if not linked[name].equals(whole[name])]


@pytest.fixture
def restored(data_dir: Path, tmp_path: Path) -> Path:
    """Backed up after the first night; in the second one deal moved and was published; then the first is restored, and
    in the same minute of the second another deal has moved: as many rows, with the same ordinals."""
    before, after = filled(), filled()
    read(data_dir, before, START)
    publish_all(data_dir, now=START)
    backup(data_dir, tmp_path / "backup.tar", program="1.0", now=START)
    second = START + timedelta(days=1)
    before.move(5, START + timedelta(hours=1))
    read(data_dir, before, second)
    publish_all(data_dir, now=second)
    restore(tmp_path / "backup.tar", data_dir, force=True, now=second)
    after.move(6, START + timedelta(hours=1))
    read(data_dir, after, second)
    return data_dir


def test_a_publish_after_a_restore_links_nothing_of_what_was_published_since(restored: Path):
    assert differences(restored, START + timedelta(days=2)) == []


def test_without_the_claim_it_would(restored: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(publish, "_claim", lambda connection, into: None)
    assert "deal_stage_transition" in differences(restored, START + timedelta(days=2))


def test_what_is_synced_after_a_restore_is_what_was_synced_without(data_dir: Path, tmp_path: Path):
    source = filled()
    read(data_dir, source, START)
    backup(data_dir, tmp_path / "backup.tar", program="1.0", now=START)
    source.move(5, START + timedelta(hours=1))
    read(data_dir, source, START + timedelta(days=1))
    wanted = tables_of(data_dir)
    restore(tmp_path / "backup.tar", tmp_path / "elsewhere", force=False, now=START)
    read(tmp_path / "elsewhere", source, START + timedelta(days=1))
    assert tables_of(tmp_path / "elsewhere") == wanted
