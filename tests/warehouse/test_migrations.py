"""From every schema there ever was, with rows in every table, forward and back; and what a failed migration leaves."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.pool import StaticPool

from warehouse import database
from warehouse.columns import quoted
from warehouse.database import WAREHOUSE, WarehouseError, copies_of_migrations, migrate, open_warehouse, revisions

HOUSE = Path(__file__).parents[2]
REVISIONS = revisions()
HEAD, BEFORE_HEAD = REVISIONS[-1], REVISIONS[-2]

LOST_BY_DOWNGRADE = {
    "0002": {"sync_sweep"},
    "0003": {"payment.customer_id"},
    "0004": {"deal_invoice"},
    "0005": {"sync_number"},
    "0006": {"deal_seen"},
    "0007": {"sync_account.viewer"},
    "0008": {"sync_account.shape"},
    "0009": {"sync_account.raw_whole_since"},
    "0010": {"forgotten"},
    "0011": {"deal_look", "sync_watermark.has_others", "sync_watermark.is_left_out"},
    "0012": {"field_def.was_type", "field_def.retyped_at"},
}
"""What going back from a revision drops by design: what only that revision knows. Every revision says it here."""

VALUES = {
    "VARCHAR": "'{column} ' || i",
    "BIGINT": "i + 1",
    "DOUBLE": "i + 0.5",
    "BOOLEAN": "i % 2 = 0",
    "DATE": "DATE '2026-01-31' + CAST(i AS INTEGER)",
    "TIMESTAMP WITH TIME ZONE": "TIMESTAMPTZ '2026-01-31 23:59:59.123456+03' + i * INTERVAL 1 MONTH",
    "BLOB": "encode('{column} ' || i)",
}
"""SQL of the values of row `i`, by type."""

Columns = dict[str, dict[str, tuple[str, bool]]]
Rows = dict[str, list[tuple[Any, ...]]]


@pytest.fixture
def connection() -> Any:
    engine = create_engine("duckdb:///:memory:", poolclass=StaticPool)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def columns_of(connection: Connection) -> Columns:
    """By table and column: type, and whether it may be null."""
    found: Columns = {}
    for table, column, kind, is_nullable in connection.exec_driver_sql(
        "SELECT table_name, column_name, data_type, is_nullable FROM duckdb_columns() "
        "WHERE NOT internal AND table_name <> 'alembic_version' ORDER BY table_name, column_index"
    ).fetchall():
        found.setdefault(table, {})[column] = (kind, is_nullable)
    return found


def fill(connection: Connection, rows: range = range(3)) -> None:
    """Rows in every table; in the last one of them everything that may be null is."""
    for table, columns in columns_of(connection).items():
        values = [
            f"CASE WHEN i < {rows[-1]} THEN {value} END" if is_nullable else value
            for name, (kind, is_nullable) in columns.items()
            for value in [VALUES[kind].format(column=name)]
        ]
        names = ", ".join(map(quoted, columns))
        connection.exec_driver_sql(
            f'INSERT INTO "{table}" ({names}) SELECT {", ".join(values)} FROM range({rows[0]}, {rows[-1] + 1}) t(i)'
        )


def rows_of(connection: Connection, columns: Columns) -> Rows:
    """All rows, of these columns."""
    found: Rows = {}
    for table, names in columns.items():
        rows = connection.exec_driver_sql(f"SELECT {', '.join(map(quoted, names))} FROM {quoted(table)}").fetchall()
        found[table] = sorted(map(tuple, rows), key=repr)
    return found


def lost(before: Columns, after: Columns) -> set[str]:
    tables = set(before) - set(after)
    return tables | {f"{t}.{name}" for t in set(before) - tables for name in set(before[t]) - set(after[t])}


@pytest.mark.parametrize("revision", REVISIONS)
def test_from_every_released_schema_nothing_is_lost_on_the_way_to_the_newest(connection: Connection, revision: str):
    migrate(connection, revision)
    fill(connection)
    columns = columns_of(connection)
    before = rows_of(connection, columns)
    assert all(len(rows) >= 3 for rows in before.values())
    migrate(connection)
    assert lost(columns, columns_of(connection)) == set()
    assert rows_of(connection, columns) == before


def test_step_by_step_back_and_forward_again_only_what_a_step_drops_by_design_is_lost(connection: Connection):
    migrate(connection)
    fill(connection)
    for revision, below in reversed(list(zip(REVISIONS[1:], REVISIONS, strict=False))):
        columns = columns_of(connection)
        before = rows_of(connection, columns)
        migrate(connection, below)
        left = columns_of(connection)
        assert lost(columns, left) == LOST_BY_DOWNGRADE[revision], f"say what the downgrade of {revision} drops"
        common = rows_of(connection, left)
        assert common == of_columns(before, columns, left), revision
        migrate(connection, revision)
        assert columns_of(connection) == columns
        assert rows_of(connection, left) == common, revision
        migrate(connection, below)
    migrate(connection)
    assert rows_of(connection, left) == common


def of_columns(rows: Rows, columns: Columns, left: Columns) -> Rows:
    """Of these rows, the columns that are left."""
    found: Rows = {}
    for table, names in left.items():
        places = [list(columns[table]).index(name) for name in names]
        found[table] = sorted((tuple(row[n] for n in places) for row in rows[table]), key=repr)
    return found


# --- a migration that does not end well -------------------------------------------------------------------------------


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A folder with a warehouse of the schema before the newest, rows in it."""
    engine = opened(tmp_path)
    with engine.begin() as connection:
        migrate(connection, BEFORE_HEAD)
        fill(connection)
    engine.dispose()
    return tmp_path


def opened(data_dir: Path) -> Engine:
    """The file as it is, not migrated."""
    return create_engine(f"duckdb:///{data_dir / WAREHOUSE}", poolclass=StaticPool)


def state_of(data_dir: Path, columns: Columns | None = None) -> tuple[str, Rows]:
    """Schema and rows of the file as it is."""
    engine = opened(data_dir)
    with engine.connect() as connection:
        rows = rows_of(connection, columns or columns_of(connection))
        (revision,) = connection.exec_driver_sql("SELECT version_num FROM alembic_version").one()
    engine.dispose()
    return revision, rows


def columns_in(data_dir: Path) -> Columns:
    engine = opened(data_dir)
    with engine.connect() as connection:
        columns = columns_of(connection)
    engine.dispose()
    return columns


def names_in(data_dir: Path) -> set[str]:
    return {path.name for path in data_dir.iterdir()}


def run_killed_at(data_dir: Path, patch: str) -> None:
    """Open the warehouse in a process of its own that kills itself where `patch` says."""
    script = (
        "import os, signal, sys, warehouse.database as database; from pathlib import Path\n"
        "die = lambda: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"{patch}\n"
        "database.open_warehouse(Path(sys.argv[1]))"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(data_dir)], cwd=HOUSE, check=False, env=os.environ)
    assert killed.returncode == -signal.SIGKILL


AFTER_DDL = """
upgrade = database.command.upgrade
def dies(*a): upgrade(*a); die()
database.command.upgrade = dies"""
BEFORE_THE_COPY_GOES = "database._remove_copies = lambda d: die() if database.copies_of_migrations(d) else None"
WHILE_COPYING = "database.flush = lambda file: die() if file.suffix == '.partial' else None"


def test_a_migration_that_ends_well_leaves_no_copy(old: Path):
    columns = columns_in(old)
    before = state_of(old)[1]
    seen: list[set[str]] = []
    upgrade = database.command.upgrade
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(database.command, "upgrade", lambda *a: (seen.append(names_in(old)), upgrade(*a)))
        open_warehouse(old).dispose()
    copy = f"warehouse.before-migration-from-{BEFORE_HEAD}.duckdb"
    assert copy in seen[0]
    assert names_in(old) == {WAREHOUSE}
    assert state_of(old, columns) == (HEAD, before)


def test_what_a_failed_migration_began_is_put_back(old: Path, monkeypatch: pytest.MonkeyPatch):
    before = state_of(old)
    upgrade = database.command.upgrade

    def fails(*arguments: Any) -> None:
        upgrade(*arguments)
        raise RuntimeError("half way")

    monkeypatch.setattr(database.command, "upgrade", fails)
    with pytest.raises(RuntimeError):
        open_warehouse(old)
    assert names_in(old) == {WAREHOUSE}
    assert state_of(old) == before


def test_the_file_of_a_killed_migration_is_whole_without_its_copy(old: Path):
    before = state_of(old)
    run_killed_at(old, AFTER_DDL)
    for copy in copies_of_migrations(old):
        copy.unlink()
    assert state_of(old) == before


@pytest.mark.parametrize("patch", [AFTER_DDL, BEFORE_THE_COPY_GOES, WHILE_COPYING], ids=["ddl", "end", "copying"])
def test_the_next_opening_ends_a_killed_migration(old: Path, patch: str):
    columns = columns_in(old)
    before = state_of(old)[1]
    run_killed_at(old, patch)
    assert names_in(old) > {WAREHOUSE}
    open_warehouse(old).dispose()
    assert state_of(old, columns) == (HEAD, before)
    assert names_in(old) == {WAREHOUSE}


def test_a_file_that_a_migration_damaged_is_replaced_by_its_copy(old: Path):
    columns = columns_in(old)
    before = state_of(old)[1]
    run_killed_at(old, AFTER_DDL)
    (old / WAREHOUSE).write_bytes(b"garbage" * 1000)
    open_warehouse(old).dispose()
    assert state_of(old, columns) == (HEAD, before)


def test_without_room_for_a_copy_nothing_is_migrated(old: Path, monkeypatch: pytest.MonkeyPatch):
    before = (old / WAREHOUSE).read_bytes()
    monkeypatch.setattr(database, "SPARE", 1 << 60)
    with pytest.raises(WarehouseError, match=r"GB left, .* GB are needed\. Free some space and run again: nothing was"):
        open_warehouse(old)
    assert (old / WAREHOUSE).read_bytes() == before
    assert names_in(old) == {WAREHOUSE}


def test_a_newer_warehouse_is_refused_untouched(old: Path):
    engine = opened(old)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    engine.dispose()
    before = (old / WAREHOUSE).read_bytes()
    with pytest.raises(WarehouseError, match=r"schema 9999, written by a newer Voronka.*Update the program"):
        open_warehouse(old)
    assert (old / WAREHOUSE).read_bytes() == before
    assert names_in(old) == {WAREHOUSE}
