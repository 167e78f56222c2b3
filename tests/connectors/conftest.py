"""Being here makes this folder's helpers importable from its subfolders too."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from demo_crm import AS_OF
from sqlalchemy import Engine

import sync.run
from demo.company import build
from warehouse.database import WAREHOUSE, open_warehouse


@pytest.fixture(scope="session")
def small_company() -> Any:
    return build(scale=0.004, as_of=AS_OF)


@pytest.fixture(scope="session")
def _migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("migrated")
    open_warehouse(folder).dispose()
    return folder / WAREHOUSE


@pytest.fixture
def data_dir(tmp_path: Path, _migrated: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder whose warehouse is copied instead of made: migrations take longer than most tests."""

    def open_copy(folder: Path, **config: Any) -> Engine:
        if not (folder / WAREHOUSE).exists():
            shutil.copyfile(_migrated, folder / WAREHOUSE)
        return open_warehouse(folder, **config)

    monkeypatch.setattr(sync.run, "open_warehouse", open_copy)
    return tmp_path / "data"
