"""On which engines a test runs."""

import pytest

SPARK = pytest.param("spark", marks=[pytest.mark.spark, pytest.mark.slow])
on_every_engine = pytest.mark.parametrize("engine", ["polars", "duckdb", SPARK], indirect=True)
"""DuckDB in `make test` too: for what engines may well disagree about."""
