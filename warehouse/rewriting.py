"""Writes the warehouse anew, so that what was deleted from it is gone from the disk too.

DuckDB only marks rows as deleted: their bytes stay in the file until something else happens to be written there, and
its log and spills hold copies of them. Whoever erases something deletes the rows, commits, closes the warehouse, calls
`rewrite`, publishes, and calls `remove_generations`.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import orjson

from warehouse.database import (
    MEMORY_LIMIT,
    REWRITTEN,
    WAREHOUSE,
    WarehouseError,
    ask_for_room,
    flush,
    remove_leftovers,
    said_plainly,
    settle,
)
from warehouse.publish import CURRENT, DRAFT, MANIFEST, generations


def rewrite(data_dir: Path) -> None:
    """Copy all rows that are left, keys and sequences into a new file, which takes the old one's place in one step.

    Under the writer lock, the warehouse closed. Killed anywhere, the old file or the new one is there, each whole;
    what is left beside it is cleared by the next opening. Raises WarehouseError where the disk has no room: nothing was
    changed.
    """
    file, new = data_dir / WAREHOUSE, data_dir / REWRITTEN
    remove_leftovers(data_dir)
    settle(data_dir)
    ask_for_room(data_dir, file.stat().st_size)
    try:
        with said_plainly(data_dir):
            _copy(file, new, spills=data_dir / f"{REWRITTEN}.tmp")
            new.chmod(0o600)
            flush(new)
            new.replace(file)
            flush(file)
    finally:
        remove_leftovers(data_dir)


def _copy(file: Path, new: Path, *, spills: Path) -> None:
    with duckdb.connect(config={"memory_limit": MEMORY_LIMIT, "temp_directory": str(spills)}) as connection:
        connection.execute(f"ATTACH {_text(file)} AS old (READ_ONLY)")
        connection.execute(f"ATTACH {_text(new)} AS new")
        connection.execute("COPY FROM DATABASE old TO new")
        counts = [_counts(connection, name) for name in ("old", "new")]
        if counts[0] != counts[1]:  # never seen; the old file is still in its place
            raise WarehouseError(
                "{file} could not be written anew without losing rows, so it stays as it was. Make a backup and report "
                "this.",
                file=file,
            )
        connection.execute("CHECKPOINT new")
        connection.execute("DETACH new")


def _counts(connection: duckdb.DuckDBPyConnection, database: str) -> list[tuple[Any, ...]]:
    tables = connection.execute(
        "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = ? ORDER BY ALL", [database]
    ).fetchall()
    count = 'SELECT count(*) FROM {}."{}"."{}"'
    return [
        (schema, table, *(connection.execute(count.format(database, schema, table)).fetchone() or ()))
        for schema, table in tables
    ]


def remove_generations(publication: Path, holds: Callable[[dict[str, Any]], bool] = lambda _: True) -> int:
    """Delete old generations of the publication whose manifest says they hold what has to go, by default all but the
    current one; how many. One without a manifest that can be read goes too: nobody knows what is in it."""
    if not publication.exists():
        return 0
    current = (publication / CURRENT).read_text().strip() if (publication / CURRENT).exists() else None
    gone = [name for name in generations(publication) if name != current and _said_by(publication / name, holds)]
    for name in gone:
        hidden = publication / f"{DRAFT}{name}"  # out of sight at once, then file by file
        (publication / name).rename(hidden)
    for path in publication.glob(f"{DRAFT}*"):  # those of a killed publish as well
        shutil.rmtree(path)
    return len(gone)


def remove_publication(publication: Path) -> int:
    """Delete all generations, the pointer first; how many."""
    (publication / CURRENT).unlink(missing_ok=True)
    return remove_generations(publication)


def _said_by(generation: Path, holds: Callable[[dict[str, Any]], bool]) -> bool:
    try:
        return holds(orjson.loads((generation / MANIFEST).read_bytes()))
    except (OSError, orjson.JSONDecodeError):
        return True


def _text(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"
