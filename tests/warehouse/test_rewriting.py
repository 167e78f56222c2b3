"""What was deleted is gone from the disk when the warehouse is written anew, and nothing else is."""

import os
import secrets
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import Engine
from test_database import KEYS, SCHEMA, rows

from warehouse import database
from warehouse.database import (
    WAREHOUSE,
    WarehouseError,
    open_warehouse,
    reading_folder,
    remove_leftovers,
    writer_lock,
)
from warehouse.rewriting import rewrite

HOUSE = Path(__file__).parents[2]
PERSON = secrets.token_bytes(400)  # nothing that packs


def filled(data_dir: Path, engine: Engine) -> None:
    """Two raw records, one of them of a person."""
    with engine.begin() as connection:
        for native_id, body in (("1", PERSON), ("2", b"{}")):
            connection.exec_driver_sql(
                "INSERT INTO raw_record VALUES ('main', 'leads', ?, 'h', ?, 1, 1)", (native_id, body)
            )
        connection.exec_driver_sql("SELECT nextval('run_id')")
    engine.dispose()


def without_the_person(data_dir: Path) -> None:
    engine = open_warehouse(data_dir)
    with engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM raw_record WHERE native_id = '1'")
    engine.dispose()


def folder_holds(folder: Path, what: bytes) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file() and what in path.read_bytes()]


@pytest.fixture
def data_dir(tmp_path: Path, engine: Engine) -> Path:
    filled(tmp_path / "data", engine)
    without_the_person(tmp_path / "data")
    return tmp_path / "data"


def test_a_deleted_row_lies_in_the_file_until_it_is_written_anew(data_dir: Path):
    assert folder_holds(data_dir, PERSON) == [WAREHOUSE]
    with writer_lock(data_dir):
        rewrite(data_dir)
    assert folder_holds(data_dir, PERSON) == []
    assert {path.name for path in data_dir.iterdir()} == {WAREHOUSE, "sync.lock"}
    assert (data_dir / WAREHOUSE).stat().st_mode & 0o777 == 0o600


def test_rows_keys_and_sequences_are_as_before(data_dir: Path):
    def look() -> list[object]:
        engine = open_warehouse(data_dir)
        with engine.begin() as connection:
            found = [rows(connection, query) for query in (SCHEMA, KEYS, "FROM raw_record", "FROM identity")]
            found.append(rows(connection, "SELECT sequence_name, last_value FROM duckdb_sequences()"))
        engine.dispose()
        return found

    before = look()
    rewrite(data_dir)
    assert look() == before
    engine = open_warehouse(data_dir)
    with engine.begin() as connection:
        assert rows(connection, "SELECT nextval('run_id')") == [(2,)]
    engine.dispose()


def test_without_room_nothing_is_touched(data_dir: Path, monkeypatch: pytest.MonkeyPatch):
    before = (data_dir / WAREHOUSE).read_bytes()
    monkeypatch.setattr(database, "SPARE", 1 << 60)
    with pytest.raises(WarehouseError, match="nothing was changed"):
        rewrite(data_dir)
    assert (data_dir / WAREHOUSE).read_bytes() == before


@pytest.mark.parametrize("where", ["_copy", "flush"])
def test_killed_in_the_middle_the_next_one_ends_it(data_dir: Path, where: str):
    script = (
        "import os, signal, sys; from pathlib import Path; from warehouse import rewriting\n"
        f"done = rewriting.{where}\n"
        "def killed(*a, **k): done(*a, **k); os.kill(os.getpid(), signal.SIGKILL)\n"
        f"rewriting.{where} = killed\n"
        "rewriting.rewrite(Path(sys.argv[1]))"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(data_dir)], cwd=HOUSE, check=False, env=os.environ)
    assert killed.returncode == -signal.SIGKILL
    engine = open_warehouse(data_dir)
    with engine.begin() as connection:
        assert rows(connection, "SELECT native_id FROM raw_record") == [("2",)]
    engine.dispose()
    rewrite(data_dir)
    assert folder_holds(data_dir, PERSON) == []
    assert [path.name for path in data_dir.iterdir()] == [WAREHOUSE]


def test_what_a_killed_comparison_left_goes_with_the_next_opening_and_a_running_one_keeps_its_own(tmp_path: Path):
    killed = tmp_path / ".diff-killed"
    killed.mkdir()
    (tmp_path / "warehouse.before-migration-from-0001.partial").write_bytes(b"Anna")
    (killed / "deal_pii.parquet").write_bytes(b"Anna")
    with reading_folder(tmp_path) as folder:
        (folder / "deal.parquet").write_bytes(b"")
        remove_leftovers(tmp_path)
        assert (killed.exists(), (folder / "deal.parquet").exists()) == (False, True)
        assert [path.name for path in tmp_path.iterdir()] == [folder.name]
    assert not folder.exists()
