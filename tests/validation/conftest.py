"""Outside data, optional: where the folder is absent these tests skip with a message."""

import os
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "metrics"))  # whole tables from a few columns: `published`


@pytest.fixture(scope="session")
def outside_data() -> Path:
    """The folder of the data sets: VORONKA_VALIDATION_DATA, else `shared/data` beside the project."""
    folder = Path(os.environ.get("VORONKA_VALIDATION_DATA") or HERE.parents[2] / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no validation data in {folder}: set VORONKA_VALIDATION_DATA")
    return folder


@pytest.fixture(scope="session")
def bpic2012(outside_data: Path) -> Path:
    """The log of BPI Challenge 2012: 13 087 loan applications."""
    log = outside_data / "bpic2012.xes.gz"
    if not log.exists():
        pytest.skip(f"{log.name} is not in {outside_data}")
    return log


@pytest.fixture(scope="session")
def maven_crm(outside_data: Path) -> Path:
    """The folder of Maven Analytics' "CRM Sales Opportunities": 8 800 opportunities."""
    folder = outside_data / "maven_crm"
    if not (folder / "sales_pipeline.csv").exists():
        pytest.skip(f"maven_crm/sales_pipeline.csv is not in {outside_data}")
    return folder
