"""An empty migrated warehouse, and a few words for saying what was read."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine
from warehouse_words import Table

from warehouse.database import WAREHOUSE, open_warehouse


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse without rows: making one takes longer than most tests."""
    folder = tmp_path_factory.mktemp("migrated")
    open_warehouse(folder).dispose()
    return folder / WAREHOUSE


@pytest.fixture
def engine(tmp_path: Path, migrated: Path) -> Iterator[Engine]:
    (tmp_path / "data").mkdir()
    shutil.copyfile(migrated, tmp_path / "data" / WAREHOUSE)
    engine = open_warehouse(tmp_path / "data")
    yield engine
    engine.dispose()


@pytest.fixture
def table(engine: Engine) -> Table:
    return Table(engine)
