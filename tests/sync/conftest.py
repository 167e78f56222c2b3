"""A data folder, and a look into the warehouse a sync left there."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from sync_words import Look

import sync.publication
import sync.reader
import sync.run
import sync.writer
from warehouse.database import WAREHOUSE, open_warehouse


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse without rows: making one takes longer than most tests."""
    folder = tmp_path_factory.mktemp("migrated")
    open_warehouse(folder).dispose()
    return folder / WAREHOUSE


@pytest.fixture(autouse=True)
def ready_made(migrated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give every new data folder that warehouse."""

    def open_copy(data_dir: Path, **config: Any) -> Engine:
        if not (data_dir / WAREHOUSE).exists():
            shutil.copyfile(migrated, data_dir / WAREHOUSE)
        return open_warehouse(data_dir, **config)

    monkeypatch.setattr(sync.run, "open_warehouse", open_copy)
    monkeypatch.setattr(sync.publication, "open_warehouse", open_copy)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def look(data_dir: Path) -> Look:
    def rows(statement: str) -> list[tuple[Any, ...]]:
        engine = open_warehouse(data_dir)
        try:
            with engine.begin() as connection:
                return [tuple(row) for row in connection.exec_driver_sql(statement).fetchall()]
        finally:
            engine.dispose()

    return rows


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks and commits of a few rows, so that a few rows make many of them."""
    monkeypatch.setattr(sync.reader, "CHUNK", 4)
    monkeypatch.setattr(sync.writer, "BATCH", 6)
