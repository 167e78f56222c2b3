"""An empty migrated warehouse, and a few words for saying what was read."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine
from warehouse_words import Table

from warehouse.database import open_warehouse


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_warehouse(tmp_path / "data")
    yield engine
    engine.dispose()


@pytest.fixture
def table(engine: Engine) -> Table:
    return Table(engine)
