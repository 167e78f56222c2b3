"""A data folder, and a look into the warehouse a sync left there."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sync_words import Look

import sync as syncing
from warehouse.database import open_warehouse


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
def small_batches(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Chunks and commits of a few rows, so that a few rows make many of them."""
    monkeypatch.setattr(syncing, "CHUNK", 2)
    monkeypatch.setattr(syncing, "BATCH", 4)
    yield
