"""A backup has everything needed to go on elsewhere; a restore puts in all of it, or leaves what was there."""

import io
import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import tarfile
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine
from test_database import rows

from settings import SettingsStore
from sync import inbox
from warehouse import backup as backups
from warehouse import database
from warehouse.backup import backup, restore, set_aside
from warehouse.database import WAREHOUSE, LockedError, WarehouseError, open_warehouse, personal_key, writer_lock

HOUSE = Path(__file__).parents[2]
NOW = datetime(2026, 3, 1, 3, tzinfo=UTC)
TOKENS = "state/main/main.oauth.json"
MEMBERS = [WAREHOUSE, "phone.key", "listen.key", "app.sqlite", "inbox.sqlite", "status.json", TOKENS]


def write(data_dir: Path, engine: Engine, *, word: str) -> None:
    """A folder as a sync, an app and a listener leave it; `word` is in all of it."""
    with engine.begin() as connection:
        personal_key(data_dir, connection)
        connection.exec_driver_sql("INSERT INTO raw_record VALUES ('main', 'leads', '1', ?, '{}'::BLOB, 1, 1)", (word,))
    engine.dispose()
    (data_dir / "listen.key").write_text(word)
    (data_dir / "status.json").write_text(json.dumps({"word": word}))
    SettingsStore(data_dir / "app.sqlite").put(("word",), "word", word, author="owner", now=NOW)
    inbox.note(data_dir, "main", {"deals": [word]})
    (data_dir / "state" / "main").mkdir(parents=True)
    (data_dir / TOKENS).write_text(word)
    (data_dir / "state" / "main" / "main.pace").write_text("of this machine")
    (data_dir / "publication").mkdir()


def words(data_dir: Path) -> list[object]:
    """What a folder says, in the order of `MEMBERS`, the key of the phones apart."""
    engine = open_warehouse(data_dir)
    with engine.begin() as connection:
        personal_key(data_dir, connection)
        (raw,) = rows(connection, "SELECT raw_hash FROM raw_record")
    engine.dispose()
    return [
        raw[0],
        (data_dir / "listen.key").read_text(),
        SettingsStore(data_dir / "app.sqlite").get(("word",), "word"),
        *inbox.waiting(data_dir, "main")[1]["deals"],
        json.loads((data_dir / "status.json").read_text())["word"],
        (data_dir / TOKENS).read_text(),
    ]


@pytest.fixture
def here(tmp_path: Path, engine: Engine) -> Path:
    write(tmp_path / "data", engine, word="here")
    return tmp_path / "data"


@pytest.fixture
def there(tmp_path: Path) -> Path:
    write(tmp_path / "there", open_warehouse(tmp_path / "there"), word="there")
    return tmp_path / "there"


@pytest.fixture
def file(here: Path, tmp_path: Path) -> Path:
    backup(here, tmp_path / "backup.tar", program="1.0", now=NOW)
    return tmp_path / "backup.tar"


def names(file: Path) -> list[str]:
    with tarfile.open(file) as tar:
        return tar.getnames()


def contents(folder: Path) -> dict[str, bytes]:
    """All files but those of locks, by name."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "sync.lock"
    }


def test_a_restored_folder_says_what_the_backed_up_one_said(file: Path, tmp_path: Path):
    done = restore(file, tmp_path / "new", force=False, now=NOW)
    assert words(tmp_path / "new") == ["here"] * 6
    assert done.aside is None
    assert done.manifest.created_at == NOW
    assert {path.name for path in (tmp_path / "new").iterdir()} >= {name.partition("/")[0] for name in MEMBERS}


def test_a_backup_holds_no_publication_and_nothing_of_running_processes(file: Path):
    assert names(file) == ["backup.json", *MEMBERS]


def test_backup_and_restored_files_are_for_their_owner_only(file: Path, tmp_path: Path):
    restore(file, tmp_path / "new", force=False, now=NOW)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in [file, *(tmp_path / "new" / name for name in MEMBERS)]}
    assert modes == {0o600}
    assert {stat.S_IMODE(one.stat().st_mode) for one in (tmp_path / "new" / "state", tmp_path / "new/state/main")} == {
        0o700
    }


def test_rows_that_are_still_in_the_log_are_in_the_backup(here: Path, tmp_path: Path):
    script = (
        "import os, signal, sys; from pathlib import Path; from warehouse.database import open_warehouse\n"
        "c = open_warehouse(Path(sys.argv[1])).connect()\n"
        "with c.begin(): c.exec_driver_sql(\"UPDATE raw_record SET raw_hash = 'logged'\")\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", script, str(here)], cwd=HOUSE, check=False)
    assert (here / f"{WAREHOUSE}.wal").stat().st_size > 0
    backup(here, tmp_path / "backup.tar", program="1.0", now=NOW)
    restore(tmp_path / "backup.tar", tmp_path / "new", force=False, now=NOW)
    assert words(tmp_path / "new")[0] == "logged"


def test_settings_that_are_being_written_are_backed_up_as_of_one_instant(here: Path, tmp_path: Path):
    with closing(sqlite3.connect(here / "app.sqlite")) as writing:
        writing.execute("PRAGMA journal_mode = WAL")
        writing.execute("INSERT INTO audit (done_at, author, action, detail) VALUES ('', '', 'half', '{}')")
        backup(here, tmp_path / "backup.tar", program="1.0", now=NOW)
        writing.rollback()
    restore(tmp_path / "backup.tar", tmp_path / "new", force=False, now=NOW)
    assert [line["action"] for line in SettingsStore(tmp_path / "new" / "app.sqlite").audit()] == ["set"]


def test_there_is_no_backup_while_another_process_writes(here: Path, tmp_path: Path):
    with writer_lock(here), pytest.raises(LockedError):
        backup(here, tmp_path / "backup.tar", program="1.0", now=NOW)
    assert not (tmp_path / "backup.tar").exists()


def test_a_folder_without_a_warehouse_is_not_backed_up(tmp_path: Path):
    with pytest.raises(WarehouseError, match="no warehouse in"):
        backup(tmp_path, tmp_path / "backup.tar", program="1.0", now=NOW)


def test_without_room_neither_backup_nor_restore_begins(file: Path, here: Path, there: Path, monkeypatch):
    before = file.read_bytes(), contents(there)
    monkeypatch.setattr(database, "SPARE", 1 << 60)
    with pytest.raises(WarehouseError, match="nothing was changed"):
        backup(here, file, program="1.0", now=NOW)
    with pytest.raises(WarehouseError, match="nothing was changed"):
        restore(file, there, force=True, now=NOW)
    assert (file.read_bytes(), contents(there)) == before


# --- what is refused --------------------------------------------------------------------------------------------------


def refused(file: Path, there: Path, match: str) -> None:
    before = contents(there)
    with pytest.raises(WarehouseError, match=match):
        restore(file, there, force=True, now=NOW)
    assert contents(there) == before
    assert set_aside(there) == []


@pytest.mark.parametrize("share", [0, 0.0001, 0.01, 0.5, 0.9])
def test_a_cut_off_backup_is_refused(file: Path, there: Path, share: float):
    whole = file.read_bytes()
    file.write_bytes(whole[: int(len(whole) * share)])
    refused(file, there, "is no whole backup|is damaged or cut off")


@pytest.mark.parametrize("member", MEMBERS)
def test_a_backup_with_one_wrong_byte_is_refused(file: Path, there: Path, member: str):
    with tarfile.open(file) as tar:
        at = tar.getmember(member).offset_data + 1
    whole = bytearray(file.read_bytes())
    whole[at] ^= 1
    file.write_bytes(whole)
    refused(file, there, "is damaged or cut off")


@pytest.mark.parametrize("content", [b"", b"no tar", b"\0" * 10_240], ids=["empty", "text", "nulls"])
def test_another_kind_of_file_is_refused(file: Path, there: Path, content: bytes):
    file.write_bytes(content)
    refused(file, there, "is no whole backup")


def test_a_file_that_is_not_there_is_refused(tmp_path: Path, there: Path):
    refused(tmp_path / "nowhere.tar", there, "cannot be read: No such file")
    refused(tmp_path, there, "cannot be read")


def made_anew(file: Path, *, said: dict[str, object], rename: dict[str, str] | None = None) -> None:
    """The backup with other words in its manifest, its members under other names."""
    with tarfile.open(file) as tar:
        found = {entry.name: tar.extractfile(entry).read() for entry in tar}  # type: ignore[union-attr]
    manifest = json.loads(found.pop("backup.json")) | said
    for member in manifest["members"]:
        member["name"] = (rename or {}).get(member["name"], member["name"])
    with tarfile.open(file, "w") as tar:
        for name, content in {"backup.json": json.dumps(manifest).encode(), **found}.items():
            entry = tarfile.TarInfo((rename or {}).get(name, name))
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))


def test_a_backup_of_a_newer_program_is_refused(file: Path, there: Path):
    made_anew(file, said={"format": 2, "program": "9.9"})
    refused(file, there, r"newer Voronka \(9.9\)")


def test_a_backup_of_a_newer_schema_is_refused(file: Path, there: Path):
    made_anew(file, said={"schema_revision": "9999"})
    refused(file, there, "schema 9999, written by a newer Voronka")


@pytest.mark.parametrize("name", ["../escaped", "/tmp/escaped", "state/../escaped", "state/a/../../escaped", "config"])
def test_names_that_are_no_members_are_refused(file: Path, there: Path, name: str):
    made_anew(file, said={}, rename={"status.json": name})
    refused(file, there, "is no whole backup")


def test_a_link_in_the_place_of_a_member_is_refused(file: Path, there: Path):
    with tarfile.open(file) as tar:
        entries = [(entry, tar.extractfile(entry).read()) for entry in tar]  # type: ignore[union-attr]
    with tarfile.open(file, "w") as tar:
        for entry, content in entries:
            if entry.name == "listen.key":
                entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
            tar.addfile(entry, io.BytesIO(content))
    refused(file, there, "is damaged or cut off|is no whole backup")


def test_over_a_warehouse_only_with_force(file: Path, there: Path):
    before = contents(there)
    with pytest.raises(WarehouseError, match=r"There is a warehouse in .* already.*--force"):
        restore(file, there, force=False, now=NOW)
    assert contents(there) == before


# --- what becomes of what was there -----------------------------------------------------------------------------------


def test_what_was_there_is_moved_aside_whole(file: Path, there: Path):
    before = {name: content for name, content in contents(there).items() if not name.startswith("publication")}
    done = restore(file, there, force=True, now=NOW)
    assert words(there) == ["here"] * 6
    assert done.aside is not None
    assert contents(done.aside) == before
    assert set_aside(there) == [done.aside]
    assert restore(file, there, force=True, now=NOW).aside != done.aside


def test_what_was_there_is_put_back_when_a_rename_fails(file: Path, there: Path, monkeypatch: pytest.MonkeyPatch):
    before = contents(there)
    rename = Path.rename

    def fails(self: Path, target: Path) -> Path:
        if self.parent.name == backups.UNPACKED and self.name == "phone.key":
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(WarehouseError, match="input/output"):
        restore(file, there, force=True, now=NOW)
    monkeypatch.undo()
    assert contents(there) == before
    assert set_aside(there) == []


KILLED_AT = """
import os, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from warehouse import backup
left, rename = int(sys.argv[3]), Path.rename
def dies(self, target):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return rename(self, target)
Path.rename = dies
backup.restore(Path(sys.argv[1]), Path(sys.argv[2]), force=True, now=datetime.now(UTC))
"""


@pytest.mark.parametrize("n_renames", [0, 1, 4, 8, 11])
def test_killed_between_renames_the_next_restore_first_puts_back_what_was_there(
    file: Path, there: Path, tmp_path: Path, n_renames: int
):
    before = contents(there)
    command = [sys.executable, "-c", KILLED_AT, str(file), str(there), str(n_renames)]
    assert subprocess.run(command, cwd=HOUSE, check=False).returncode == -signal.SIGKILL
    with pytest.raises(WarehouseError, match=r"was cut off\. Run `voronka restore` again"):
        open_warehouse(there)
    refused_after = tmp_path / "foreign"
    refused_after.write_bytes(b"no tar")
    with pytest.raises(WarehouseError, match="is no whole backup"):
        restore(refused_after, there, force=True, now=NOW)
    assert contents(there) == before
    restore(file, there, force=True, now=NOW)
    assert words(there) == ["here"] * 6


def test_killed_in_the_middle_of_a_backup_the_file_of_before_is_there(here: Path, file: Path):
    before = file.read_bytes()
    script = (
        "import os, signal, sys; from datetime import UTC, datetime; from pathlib import Path\n"
        "from warehouse import backup\n"
        "backup.flush = lambda file: os.kill(os.getpid(), signal.SIGKILL)\n"
        "backup.backup(Path(sys.argv[1]), Path(sys.argv[2]), program='2.0', now=datetime.now(UTC))"
    )
    command = [sys.executable, "-c", script, str(here), str(file)]
    assert subprocess.run(command, cwd=HOUSE, check=False, env=os.environ).returncode == -signal.SIGKILL
    assert file.read_bytes() == before
    backup(here, file, program="2.0", now=NOW)
    assert file.read_bytes() != before
    assert {path.name for path in file.parent.iterdir() if path.is_file()} == {file.name}


def test_progress_reaches_its_end(here: Path, file: Path, tmp_path: Path):
    seen: list[tuple[int, int]] = []
    backup(here, file, program="1.0", now=NOW, moved=lambda done, of: seen.append((done, of)))
    assert seen[-1][0] == seen[-1][1]
    seen.clear()
    restore(file, tmp_path / "new", force=False, now=NOW, moved=lambda done, of: seen.append((done, of)))
    assert seen[-1][0] == seen[-1][1]
