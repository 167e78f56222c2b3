"""Opening the warehouse: schema, refusals, rights."""

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, create_engine

from warehouse.database import (
    LockedError,
    WarehouseError,
    migrate,
    open_warehouse,
    personal_key,
    said_plainly,
    writer_lock,
)
from warehouse.models import key_of, metadata

SCHEMA = (
    "SELECT table_name, column_name, data_type, is_nullable, column_default FROM duckdb_columns() "
    "WHERE NOT internal AND table_name <> 'alembic_version' ORDER BY ALL"
)
KEYS = (
    "SELECT table_name, constraint_column_names FROM duckdb_constraints() "
    "WHERE constraint_type = 'PRIMARY KEY' AND table_name <> 'alembic_version' ORDER BY ALL"
)


def rows(connection: Connection, statement: str) -> list[tuple[object, ...]]:
    return [tuple(row) for row in connection.exec_driver_sql(statement).fetchall()]


def test_the_migrated_schema_is_the_schema_of_the_models(engine: Engine):
    modelled = create_engine("duckdb:///:memory:")
    metadata.create_all(modelled)
    with engine.begin() as migrated, modelled.begin() as models:
        assert rows(migrated, SCHEMA) == rows(models, SCHEMA)
        assert rows(migrated, KEYS) == rows(models, KEYS)
        assert rows(migrated, "SELECT sequence_name FROM duckdb_sequences()") == [("run_id",)]


def test_every_key_starts_with_the_account():
    state = {"forgotten", "identity", "sync_run"}
    assert [t.name for t in metadata.sorted_tables if key_of(t)[0] != "account_id"] == sorted(state)


def test_a_downgrade_leaves_nothing_and_an_upgrade_brings_it_back(engine: Engine):
    with engine.begin() as connection:
        before = rows(connection, SCHEMA)
        migrate(connection, "base")
        assert rows(connection, SCHEMA) == []
        migrate(connection)
        assert rows(connection, SCHEMA) == before


def test_a_warehouse_of_a_newer_program_is_refused_with_a_sentence(tmp_path: Path):
    engine = open_warehouse(tmp_path)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    engine.dispose()
    with pytest.raises(WarehouseError, match=r"schema 9999, written by a newer Voronka.*Update the program"):
        open_warehouse(tmp_path)


def test_a_damaged_file_is_refused_with_a_sentence(tmp_path: Path):
    (tmp_path / "warehouse.duckdb").write_bytes(b"garbage" * 1000)
    with pytest.raises(WarehouseError, match="is damaged"):
        open_warehouse(tmp_path)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "is full"),
        (errno.EDQUOT, "is full"),
        (errno.EFBIG, "may grow no more"),
        (errno.EIO, "fails"),
        (errno.EROFS, "cannot be written to"),
        (errno.EACCES, "cannot be written to"),
    ],
)
def test_what_a_disk_does_to_us_is_a_sentence(tmp_path: Path, number: int, words: str):
    with pytest.raises(WarehouseError, match=words), said_plainly(tmp_path):
        raise OSError(number, os.strerror(number))


def test_folder_file_and_key_are_for_their_owner_only(tmp_path: Path):
    with writer_lock(tmp_path / "data"):
        personal_key_in(tmp_path / "data")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "data").iterdir()}
    assert modes == {"warehouse.duckdb": 0o600, "phone.key": 0o600, "sync.lock": 0o600}
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700


def personal_key_in(data_dir: Path) -> bytes:
    engine = open_warehouse(data_dir)
    try:
        with engine.begin() as connection:
            return personal_key(data_dir, connection)
    finally:
        engine.dispose()


def test_the_log_of_the_database_is_for_its_owner_only_too(tmp_path: Path):
    with writer_lock(tmp_path):
        engine = open_warehouse(tmp_path)
        with engine.begin() as connection:
            connection.exec_driver_sql("UPDATE identity SET published = 'x'")
        mode = stat.S_IMODE((tmp_path / "warehouse.duckdb.wal").stat().st_mode)
        engine.dispose()
    assert mode == 0o600


def test_the_rights_of_other_files_are_as_before_when_the_writer_is_done(tmp_path: Path):
    (tmp_path / "before").touch()
    with writer_lock(tmp_path / "data"):
        pass
    (tmp_path / "after").touch()
    assert (tmp_path / "before").stat().st_mode == (tmp_path / "after").stat().st_mode


def test_the_key_is_made_once(tmp_path: Path):
    first = personal_key_in(tmp_path)
    assert personal_key_in(tmp_path) == first
    assert len(first) == 32


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "is missing"), ("00" * 32, "is another one"), ("half", "is damaged"), ("", "is damaged")],
)
def test_a_warehouse_whose_key_is_gone_is_refused_and_no_key_is_made(tmp_path: Path, content: str | None, said: str):
    personal_key_in(tmp_path)
    (tmp_path / "phone.key").unlink()
    if content is not None:
        (tmp_path / "phone.key").write_text(content)
    with pytest.raises(WarehouseError, match=rf"phone.key {said}.*Restore it from the backup"):
        personal_key_in(tmp_path)
    assert (tmp_path / "phone.key").exists() == (content is not None)


def test_a_new_warehouse_goes_on_with_the_key_at_hand(tmp_path: Path):
    first = personal_key_in(tmp_path)
    (tmp_path / "warehouse.duckdb").unlink()
    assert personal_key_in(tmp_path) == first


def test_sessions_are_in_utc(engine: Engine):
    with engine.begin() as connection:
        assert connection.exec_driver_sql("SELECT current_setting('TimeZone')").scalar_one() == "UTC"


def test_a_second_writer_is_refused_while_the_first_works(tmp_path: Path):
    with writer_lock(tmp_path), pytest.raises(LockedError, match="Another process"), writer_lock(tmp_path):
        pass
    with writer_lock(tmp_path):
        pass  # free again


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path):
    script = (
        "import os, signal, sys; from pathlib import Path; from warehouse.database import writer_lock\n"
        "with writer_lock(Path(sys.argv[1])): os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(tmp_path)], cwd=Path(__file__).parents[2], check=False)
    assert killed.returncode == -9
    with writer_lock(tmp_path):
        pass
