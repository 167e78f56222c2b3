"""What the tests of the sync say about the warehouse."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from warehouse.database import open_warehouse
from warehouse.models import CANONICAL, raw_record

VARYING = ("read_seq", "load_seq", "synced_at")

Look = Callable[[str], list[tuple[Any, ...]]]
"""Runs a query over the warehouse."""


def tables_of(data_dir: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Everything canonical, but what depends on the run it was read in."""
    engine = open_warehouse(data_dir)
    try:
        with engine.begin() as connection:
            found = {
                table.name: connection.exec_driver_sql(
                    f'SELECT * EXCLUDE ({", ".join(VARYING)}) FROM "{table.name}" ORDER BY ALL'
                ).fetchall()
                for table in CANONICAL
            }
            found[raw_record.name] = connection.exec_driver_sql(
                "SELECT account_id, entity, native_id, raw_hash FROM raw_record ORDER BY ALL"
            ).fetchall()
    finally:
        engine.dispose()
    return {name: [tuple(row) for row in rows] for name, rows in found.items() if rows}
