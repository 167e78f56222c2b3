"""Opens the warehouse: one DuckDB file, one process, migrated to the newest schema.

DuckDB lets one process write; readers read the publication instead. The lock file says so before DuckDB does, in words
a person understands.
"""

import fcntl
import hashlib
import logging
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
from alembic import command
from alembic.config import Config
from alembic.ddl.impl import DefaultImpl
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import StaticPool

from connectors.errors import Phrase, SpokenError
from warehouse.status import sync_folder

logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)  # what breaks is raised; here it would be shown twice

MIGRATIONS = Path(__file__).parent / "migrations"
WAREHOUSE, PHONE_KEY = "warehouse.duckdb", "phone.key"
BEFORE_MIGRATION = "warehouse.before-migration-from-{revision}.duckdb"
UNFINISHED_RESTORE = "restore.unfinished"  # while it is there, a restore (`backup`) is in the middle of its renames
BEGUN, UNPACKED, REWRITTEN, REMAPPED = ".begun.duckdb", ".restoring", ".rewritten.duckdb", "remap.duckdb"
LEFTOVERS = (
    *(BEGUN, UNPACKED, f"{WAREHOUSE}.tmp"),
    *(f"{name}{ending}" for name in (REWRITTEN, REMAPPED) for ending in ("", ".wal", ".tmp")),
)
"""What a first start, a restore, a rewriting and a remap make beside the warehouse, and DuckDB's spills: killed, they
leave it."""

PARTIAL = ".partial"  # of a copy before a migration
READING = ".diff-"  # folders of readers that compare generations
KEY_BYTES = 32
MEMORY_LIMIT = "2GB"  # beyond it DuckDB spills into <warehouse>.tmp beside the file
SPARE = 16 << 20  # bytes of disk left free beside what a copy needs: logs, folders, what others write meanwhile
CHECKPOINT_AT = "64MB"  # of log; a first sync would stop to tidy up every second at the default of 16


class DuckDBImpl(DefaultImpl):
    """Alembic knows no DuckDB; its default DDL is what DuckDB understands. Registered by being defined."""

    __dialect__ = "duckdb"
    transactional_ddl = True


class WarehouseError(SpokenError):
    """The warehouse or the publication cannot be used as things are; the message says what to do."""


class LockedError(WarehouseError):
    """Another process is writing (exit code 3)."""


@contextmanager
def writer_lock(data_dir: Path) -> Iterator[None]:
    """Hold the only right to write under `data_dir`; released by the system when the process dies.

    Files made meanwhile, DuckDB's log and spills among them, are for their owner only. Raises LockedError at once when
    another process holds the lock.
    """
    private_folder(data_dir)
    with said_plainly(data_dir):
        lock = private_opener(str(data_dir / "sync.lock"), os.O_RDWR | os.O_CREAT)
    try:
        with said_plainly(data_dir):
            _hold(lock, data_dir)
        before = os.umask(0o077)
        try:
            yield
        finally:
            os.umask(before)
    finally:
        os.close(lock)


def _hold(lock: int, data_dir: Path) -> None:
    """Lock the open file, or say who has; our own number is in it from here on."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise LockedError(
            "Another process (number {number}) is writing to {folder}. Wait until it ends, or stop it.",
            number=os.read(lock, 20).decode().strip() or "unknown",
            folder=data_dir,
        ) from None
    os.ftruncate(lock, 0)
    os.write(lock, str(os.getpid()).encode())


def open_warehouse(data_dir: Path, *, memory_limit: str = MEMORY_LIMIT, threads: int | None = None) -> Engine:
    """The warehouse of `data_dir`, created if missing and migrated to the newest schema.

    An existing one is copied before it is migrated, and the copy is put back if that fails. threads: DuckDB's own; as
    many as there are processors by default.

    Raises WarehouseError for a file of a newer program, a damaged file and a full or unwritable disk.
    """
    private_folder(data_dir)
    if (data_dir / UNFINISHED_RESTORE).exists():
        raise WarehouseError(
            "A restore into {folder} was cut off. Run `voronka restore` again: it first puts back what was there.",
            folder=data_dir,
        )
    file = data_dir / WAREHOUSE
    config: dict[str, str | int] = {"memory_limit": memory_limit, "checkpoint_threshold": CHECKPOINT_AT}
    if threads is not None:
        config["threads"] = threads
    engine = create_engine(
        f"duckdb:///{file}",
        connect_args={"config": config},
        poolclass=StaticPool,  # one connection: DuckDB's own threads do the rest
    )
    event.listen(engine, "connect", _set_utc)
    try:
        with said_plainly(data_dir):
            if not file.exists():
                _make_empty(file)
            _bring_to_head(engine, data_dir)
            file.chmod(0o600)
        remove_leftovers(data_dir)
    except BaseException:
        engine.dispose()
        raise
    return engine


def _make_empty(file: Path) -> None:
    """A database without tables, whole or not at all: DuckDB writes its first pages one by one, and calls a file
    without the last of them damaged."""
    new = file.with_name(BEGUN)
    new.unlink(missing_ok=True)
    duckdb.connect(str(new)).close()
    new.replace(file)
    sync_folder(file.parent)


def remove_leftovers(data_dir: Path) -> None:
    """Remove what killed processes left: it holds personal data. By whoever alone may write, and before writing."""
    halves = data_dir.glob(Path(BEFORE_MIGRATION.format(revision="*")).with_suffix(PARTIAL).name)
    for path in (*(data_dir / name for name in LEFTOVERS), *halves):
        with suppress(OSError):  # a disk that cannot be written to is spoken of by whoever needs it
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    for folder in data_dir.glob(f"{READING}*"):
        with suppress(OSError), _held(folder, fcntl.LOCK_EX):
            shutil.rmtree(folder)


@contextmanager
def reading_folder(data_dir: Path) -> Iterator[Path]:
    """A folder under `data_dir` for what a reader needs in between; left by a killed one, the next opening removes it,
    for nobody holds it then."""
    made = TemporaryDirectory(dir=data_dir, prefix=READING, ignore_cleanup_errors=True)
    with made as name, _held(Path(name), fcntl.LOCK_SH):
        yield Path(name)


@contextmanager
def _held(folder: Path, how: int) -> Iterator[None]:
    """Hold a folder as long as this process lives. Raises BlockingIOError while somebody else holds it otherwise."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, how | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


def remove_warehouse(data_dir: Path) -> None:
    """Take back a warehouse that nothing was ever read into. Its key goes too: it has hashed nothing."""
    for name in (WAREHOUSE, f"{WAREHOUSE}.wal", PHONE_KEY):
        (data_dir / name).unlink(missing_ok=True)


def _bring_to_head(engine: Engine, data_dir: Path) -> None:
    """Migrate what is there. A copy stands beside it from before a migration until that has ended well.

    A migration is one transaction, so a kill leaves the file as it was or migrated, and the next opening goes on from
    there. Should it be damaged all the same, the copy takes its place; nothing was written since.
    """
    present, head = _present(engine, data_dir), revisions()[-1]
    if present in (None, head):
        with engine.begin() as connection:
            migrate(connection)
        _remove_copies(data_dir)
        return
    engine.dispose()  # the file is copied closed, its log in it
    copy = _copy_aside(data_dir, present)
    try:
        with engine.begin() as connection:
            migrate(connection)
        engine.dispose()
        settle(data_dir)
    except BaseException:
        engine.dispose()
        _put_back(data_dir, copy)
        raise
    _remove_copies(data_dir)


def _present(engine: Engine, data_dir: Path) -> str | None:
    """The schema of the file; of the copy from before a migration, put back, where that has damaged the file."""
    try:
        return _revision(engine)
    except Exception as error:
        copies, said = copies_of_migrations(data_dir), plainly(error, data_dir)
        if not copies or said is None or said.template != DAMAGED:
            raise
        engine.dispose()
        _put_back(data_dir, copies[-1])
        return _revision(engine)


def _revision(engine: Engine) -> str | None:
    with engine.connect() as connection:
        present = MigrationContext.configure(connection).get_current_revision()
        refuse_newer(present)
    return present


def copies_of_migrations(data_dir: Path) -> list[Path]:
    """Copies of the warehouse from before migrations that did not end yet."""
    return sorted(data_dir.glob(BEFORE_MIGRATION.format(revision="*")))


def _copy_aside(data_dir: Path, revision: str) -> Path:
    """Copy the closed warehouse; the copy is there whole or not at all. Older ones go, for they are of no use."""
    file, copy = data_dir / WAREHOUSE, data_dir / BEFORE_MIGRATION.format(revision=revision)
    partial = copy.with_suffix(PARTIAL)
    partial.unlink(missing_ok=True)
    _remove_copies(data_dir)
    ask_for_room(data_dir, file.stat().st_size)
    settle(data_dir)
    try:
        partial.touch(mode=0o600)
        shutil.copyfile(file, partial)
        flush(partial)
        partial.replace(copy)
        sync_folder(data_dir)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    return copy


def _put_back(data_dir: Path, copy: Path) -> None:
    (data_dir / f"{WAREHOUSE}.wal").unlink(missing_ok=True)
    copy.replace(data_dir / WAREHOUSE)
    sync_folder(data_dir)


def _remove_copies(data_dir: Path) -> None:
    copies = copies_of_migrations(data_dir)
    for copy in copies:
        copy.unlink()
    if copies:
        sync_folder(data_dir)  # or the power might bring back what is older than the next rows


def migrate(connection: Connection, to: str = "head") -> None:
    """Bring the schema to revision `to`, forward or (`base`, `0001`) back, in the caller's transaction."""
    config = _alembic()
    config.attributes["connection"] = connection
    known = revisions()
    present = MigrationContext.configure(connection).get_current_revision()
    refuse_newer(present)
    target = {"head": known[-1], "base": None}.get(to, to)
    if target == present:
        return
    if target is None or (present is not None and known.index(target) < known.index(present)):
        command.downgrade(config, to)
    else:
        command.upgrade(config, to)


@cache
def revisions() -> list[str]:
    """All revisions of the schema this program knows, the oldest first; looked up once, for it loads every file."""
    script = ScriptDirectory.from_config(_alembic())
    return [revision.revision for revision in reversed(list(script.walk_revisions()))]


def refuse_newer(present: str | None) -> None:
    known = revisions()
    if present is not None and present not in known:
        raise WarehouseError(
            "The warehouse has schema {present}, written by a newer Voronka; this one knows up to {known}. "
            "Update the program, or restore a backup made before.",
            present=present,
            known=known[-1],
        )


def _alembic() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("path_separator", "os")
    return config


def schema_version(connection: Connection) -> str:
    """The revision of the schema, as the manifest tells it."""
    return MigrationContext.configure(connection).get_current_revision() or ""


def personal_key(data_dir: Path, connection: Connection) -> bytes:
    """The key of the HMACs of phones and e-mails, created once; whoever has it can test a number against a hash.

    The warehouse keeps its fingerprint: under another key the hashes of new rows would join none of the old ones, and
    nobody would see it. Raises WarehouseError when the file is gone, damaged, or another one.
    """
    private_folder(data_dir)
    file = data_dir / PHONE_KEY
    known = connection.exec_driver_sql("SELECT key_fingerprint FROM identity").scalar_one()
    if known is None:
        _make_key(file)
    key = _read_key(file)
    mine = None if key is None else hashlib.sha256(b"voronka " + key).hexdigest()[:16]
    if key is None or known not in (None, mine):
        missing, damaged, other = Phrase("is missing"), Phrase("is damaged"), Phrase("is another one than before")
        raise WarehouseError(
            "{file} {what}; phones hashed with it would join none of those in {warehouse}. Restore it from the backup "
            "the warehouse is from; if there is none, move both files away and sync again.",
            file=file,
            what=missing if not file.exists() else damaged if key is None else other,
            warehouse=data_dir / WAREHOUSE,
        )
    if known is None:
        connection.exec_driver_sql("UPDATE identity SET key_fingerprint = ?", (mine,))
    return key


def _read_key(file: Path) -> bytes | None:
    try:
        key = bytes.fromhex(file.read_text(encoding="ascii").strip())
    except (FileNotFoundError, ValueError):
        return None
    return key if len(key) == KEY_BYTES else None


def _make_key(file: Path) -> None:
    """A new key, unless there is one."""
    if not file.exists():
        new = file.with_name(f".{PHONE_KEY}.tmp")
        with open(new, "w", opener=private_opener) as out:
            out.write(secrets.token_hex(KEY_BYTES))
            out.flush()
            os.fsync(out.fileno())
        new.rename(file)
        sync_folder(file.parent)


@contextmanager
def said_plainly(where: Path) -> Iterator[None]:
    """Turn what the disk and the file can do to us into WarehouseError; everything else is a bug and flies."""
    try:
        yield
    except Exception as error:
        said = plainly(error, where)
        if said is None:
            raise
        raise WarehouseError(said) from error


FULL = "The disk with {folder} is full. Free some space and run again: nothing that was written is lost."
OPEN_ELSEWHERE = "Another program has {file} open. Close it and run again."
DAMAGED = "{file} is damaged. Restore a backup, or move the file away and sync again."
NEWER = "{file} was written by a newer DuckDB. Update the program, or restore a backup."
UNWRITABLE = "{folder} cannot be written to. Check the owner and the mount of the folder."
TOO_LARGE = (
    "A file in {folder} may grow no more: the limit of this process (`ulimit -f`) or of the file system is reached. "
    "Raise it and run again: nothing that was written is lost."
)
BROKEN = (
    "The disk with {folder} fails (an input/output error). Look after the disk before you run again; if the warehouse "
    "has suffered, restore a backup."
)
TROUBLES = {
    "No space left on device": FULL,
    "Disk quota exceeded": FULL,
    "failed to allocate": FULL,
    "File too large": TOO_LARGE,
    "Input/output error": BROKEN,
    "fsync failed": BROKEN,
    "Conflicting lock is held": OPEN_ELSEWHERE,
    "not a valid DuckDB database file": DAMAGED,
    "Could not read enough bytes": DAMAGED,
    "Failure while replaying WAL": DAMAGED,
    "Corrupt database file": DAMAGED,
    "database file with version number": NEWER,
    "Read-only file system": UNWRITABLE,
    "Permission denied": UNWRITABLE,
}
"""What the system or DuckDB says, and what a person is told."""


def plainly(error: Exception, where: Path) -> Phrase | None:
    """What a person is told of what the disk or the file has done to us under `where`; None for a bug."""
    text = str(error)
    found = next((sentence for words, sentence in TROUBLES.items() if words in text), None)
    return Phrase(found, folder=where, file=where / WAREHOUSE) if found else None


def private_folder(folder: Path) -> None:
    """Make sure `folder` is there and readable by its owner only."""
    with said_plainly(folder):
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)


def ask_for_room(folder: Path, needed: int) -> None:
    """Raise WarehouseError unless the disk of `folder` has room for `needed` bytes more."""
    free = shutil.disk_usage(folder).free
    if free < needed + SPARE:
        raise WarehouseError(
            "The disk with {folder} has {free} GB left, {needed} GB are needed. Free some space and run again: nothing "
            "was changed.",
            folder=folder,
            free=f"{free / 1e9:.1f}",
            needed=f"{(needed + SPARE) / 1e9:.1f}",
        )


def settle(data_dir: Path) -> None:
    """Bring the log of the closed warehouse into its file, so that the file alone is the warehouse; nothing else of it
    changes. Under the writer lock."""
    with said_plainly(data_dir):
        with duckdb.connect(str(data_dir / WAREHOUSE)) as connection:
            connection.execute("CHECKPOINT")
        flush(data_dir / WAREHOUSE)


def flush(file: Path) -> None:
    """Bring a written file, and its name, to the disk."""
    with file.open("rb") as written:
        os.fsync(written.fileno())
    sync_folder(file.parent)


def private_opener(path: str, flags: int) -> int:
    """For `open(..., opener=)`: files that only the owner can read."""
    return os.open(path, flags, 0o600)


def _set_utc(connection: Any, _record: Any) -> None:
    # the default session zone prints as Etc/UTC, and then Polars refuses to compare with UTC
    connection.execute("SET TimeZone = 'UTC'")
