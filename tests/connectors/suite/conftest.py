"""Being here makes this folder's helpers importable. Every rule is tried on every source."""

from pathlib import Path

import pytest
from sources import find_sources


@pytest.fixture(params=sorted(find_sources()))
def name(request: pytest.FixtureRequest) -> str:
    """Of a connector."""
    return request.param


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder that is not there yet."""
    return tmp_path / "data"
