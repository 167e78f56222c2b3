"""What replaces the warehouse is killed, or loses its disk, at any step: afterwards it is as before, or done."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
import traced
from test_migrations import BEFORE_HEAD, HEAD, columns_in, fill, opened, state_of
from traced import FAULTS, copied

from warehouse.backup import backup, restore
from warehouse.database import UNFINISHED_RESTORE, WAREHOUSE, LockedError, migrate, open_warehouse
from warehouse.rewriting import rewrite

pytestmark = traced.needed

NOW = datetime(2026, 3, 1, 3, tzinfo=UTC)


def at_a_step(sampled: str) -> pytest.MarkDecorator:
    """One step with one fault; in `make test-all` every step with each."""
    whole = [pytest.param(fault, None, marks=pytest.mark.slow, id=f"{fault} at every step") for fault in FAULTS]
    return pytest.mark.parametrize(("fault", "n"), [(sampled, 1), *whole])


def start(data_dir: Path) -> None:
    """What every command begins with."""
    open_warehouse(data_dir).dispose()


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse of the schema before the newest, rows in all its tables."""
    folder = tmp_path_factory.mktemp("old") / "data"
    start(folder)
    engine = opened(folder)
    with engine.begin() as connection:
        migrate(connection, BEFORE_HEAD)
        fill(connection)
    engine.dispose()
    return folder


@at_a_step("killed")
def test_a_migration_is_done_by_the_next_start_or_was_never_begun(fault: str, n: int | None, old: Path, tmp_path: Path):
    columns, rows = columns_in(old), state_of(old)[1]
    for folder, ran in traced.scan(start, before=old, to=tmp_path, fault=fault, n=n):
        start(folder)
        assert state_of(folder, columns) == (HEAD, rows), ran.met
        assert names(folder) == {WAREHOUSE}, ran.met


@at_a_step("full")
def test_a_first_start_is_followed_by_a_second(fault: str, n: int | None, old: Path, tmp_path: Path):
    nothing = tmp_path / "nothing"
    nothing.mkdir()
    for folder, ran in traced.scan(start, before=nothing, to=tmp_path, fault=fault, n=n):
        start(folder)
        assert state_of(folder)[0] == HEAD, ran.met
        assert names(folder) == {WAREHOUSE}, ran.met


@at_a_step("read_only")
def test_a_file_written_anew_has_all_rows_whatever_happens(fault: str, n: int | None, new: Path, tmp_path: Path):
    rows = state_of(new)
    for folder, ran in traced.scan(rewrite, before=new, to=tmp_path, fault=fault, n=n):
        assert state_of(folder) == rows, ran.met
        start(folder)
        assert names(folder) == {WAREHOUSE}, ran.met


@pytest.fixture(scope="module")
def new(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse of this program, rows in all its tables, some of them deleted again."""
    folder = tmp_path_factory.mktemp("new") / "data"
    start(folder)
    engine = opened(folder)
    with engine.begin() as connection:
        fill(connection, range(10, 13))
        connection.exec_driver_sql("DELETE FROM deal WHERE account_id = 'account_id 10'")
    engine.dispose()
    return folder


# --- backup and restore -----------------------------------------------------------------------------------------------


def backed_up(folder: Path) -> None:
    backup(folder / "data", folder / "backup.tar", program="1.0", now=NOW)


def restored(folder: Path) -> None:
    restore(folder / "backup.tar", folder / "data", force=True, now=NOW)


@pytest.fixture(scope="module")
def two(new: Path, old: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of one warehouse, beside another with the key of phones, a setting and somebody's tokens."""
    folder = tmp_path_factory.mktemp("two")
    copied(new, folder / "data")
    backed_up(folder)
    data = folder / "data"
    (data / WAREHOUSE).unlink()
    start(data)
    (data / "phone.key").write_text("there")
    (data / "state" / "main").mkdir(parents=True)
    (data / "state" / "main" / "main.oauth.json").write_text("there")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    found = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if path.name != "sync.lock"}


@at_a_step("killed")
def test_a_restore_that_was_cut_off_is_done_by_the_next(
    fault: str, n: int | None, two: Path, new: Path, tmp_path: Path
):
    rows, there = state_of(new), contents(two / "data")
    for folder, ran in traced.scan(restored, before=two, to=tmp_path, fault=fault, n=n):
        restored(folder)
        assert state_of(folder / "data") == rows, ran.met
        asides = list((folder / "data").glob("before-restore-*"))
        assert there in [contents(path) for path in asides], ran.met
        assert all(any(path.iterdir()) for path in asides), ran.met
        assert not [name for name in names(folder / "data") if name[0] == "." or name == UNFINISHED_RESTORE], ran.met


@at_a_step("full")
def test_a_backup_that_was_cut_off_leaves_the_one_before_it(fault: str, n: int | None, two: Path, tmp_path: Path):
    before = (two / "backup.tar").read_bytes()
    for folder, ran in traced.scan(backed_up, before=two, to=tmp_path, fault=fault, n=n):
        if ran.error:
            assert (folder / "backup.tar").read_bytes() == before, ran.met
        restore(folder / "backup.tar", folder / "elsewhere", force=False, now=NOW)
        backed_up(folder)
        assert names(folder) == {"data", "elsewhere", "backup.tar"}, ran.met


def test_what_a_killed_backup_left_goes_with_the_next_whatever_that_is_called(two: Path, tmp_path: Path):
    folder = copied(two, tmp_path / "two")
    steps = traced.run(backed_up, folder, folder=folder).steps
    (begun,) = (n for n, step in enumerate(steps) if step.call == "fsync" and step.path.endswith(".partial"))
    assert traced.run(backed_up, folder, folder=folder, fault=traced.killed, at=begun).was_killed
    (folder / ".notes.partial").touch()  # of another program
    assert len(names(folder)) == 4
    backup(folder / "data", folder / "tuesday.tar", program="1.0", now=NOW)
    assert names(folder) == {"data", "backup.tar", "tuesday.tar", ".notes.partial"}


def test_a_backup_that_has_to_wait_leaves_the_one_that_runs_alone(two: Path, tmp_path: Path):
    folder, n = copied(two, tmp_path / "two"), 0

    def beside(_done: int, _of: int) -> None:
        nonlocal n
        n += 1
        with pytest.raises(LockedError):
            backed_up(folder)

    backup(folder / "data", folder / "backup.tar", program="1.0", now=NOW, moved=beside)
    assert n
    restore(folder / "backup.tar", folder / "elsewhere", force=False, now=NOW)


def test_a_restore_killed_before_it_moved_anything_leaves_no_empty_folder(two: Path, tmp_path: Path):
    folder = copied(two, tmp_path / "two")
    (folder / "data").rename(folder / "old data")
    steps = traced.run(restored, copied(folder, tmp_path / "recorded"), folder=tmp_path / "recorded").steps
    last = max(number for number, step in enumerate(steps) if step.path == "data/restore.unfinished")
    assert traced.run(restored, folder, folder=folder, fault=traced.killed, at=last + 2).was_killed
    assert not [*(folder / "data").glob("before-restore-*")]
