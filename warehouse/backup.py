"""One file with everything that is needed to go on on another machine, and the way back from it.

A tar: `backup.json` (`Manifest`), then the members it names, in its order, each with its size and SHA-256. The names of
members are fixed (`FILES`, `IN_STATE`): nothing else is put in, and nothing else is taken out. The publication is not
among them, because it can be made again; a publish after a restore links none of its files (`publish._claim`).

The file holds personal data, the tokens of the accounts, the key of the phone hashes and that of the webhook addresses.
"""

import hashlib
import io
import re
import shutil
import sqlite3
import tarfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain, count
from pathlib import Path
from typing import IO

import duckdb
import orjson
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from warehouse.database import (
    PHONE_KEY,
    UNFINISHED_RESTORE,
    UNPACKED,
    WAREHOUSE,
    WarehouseError,
    ask_for_room,
    copies_of_migrations,
    flush,
    private_folder,
    private_opener,
    refuse_newer,
    said_plainly,
    settle,
    writer_lock,
)
from warehouse.status import FILE as STATUS
from warehouse.status import replace_file, sync_folder
from warehouse.suppression import TO_FORGET, save_closed

MANIFEST, FORMAT = "backup.json", 1
MANIFEST_MOST = 10_000_000  # bytes
STATE = "state"
DATABASES = ("app.sqlite", "inbox.sqlite")
"""What people set in the app, and what webhooks named: others may write them while they are copied."""
FILES = (WAREHOUSE, PHONE_KEY, "listen.key", *DATABASES, STATUS)
IN_STATE = re.compile(r"state/[a-z0-9][a-z0-9_-]{0,31}/[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
OF_THIS_MACHINE = (".pace", ".lock", ".new")
"""Endings of files in `state/` that say something of running processes."""
PIECE = 1 << 20
ASIDE = "before-restore-"

Moved = Callable[[int, int], None]
"""Told how many bytes of how many are done."""


class Member(BaseModel):
    model_config = ConfigDict(frozen=True)

    name: str
    size: int = Field(ge=0)
    sha256: str


class Manifest(BaseModel):
    """program: version that made the file. schema_revision: of the warehouse."""

    model_config = ConfigDict(frozen=True)

    format: int
    program: str
    schema_revision: str
    created_at: AwareDatetime
    members: tuple[Member, ...]

    @property
    def size(self) -> int:
        """Bytes of all members."""
        return sum(member.size for member in self.members)


@dataclass(frozen=True)
class Restored:
    """aside: where what was there lies now; None where nothing was."""

    manifest: Manifest
    aside: Path | None


# --- there ------------------------------------------------------------------------------------------------------------


def backup(
    data_dir: Path, file: Path, *, program: str, now: datetime, moved: Moved = lambda _done, _of: None
) -> Manifest:
    """Write `file`, replacing it in one step; killed before that, it is as it was.

    Raises:
        LockedError: another process writes. WarehouseError: no warehouse, no room, a damaged file.
    """
    if not (data_dir / WAREHOUSE).exists():
        raise WarehouseError("There is no warehouse in {folder}, so there is nothing to back up.", folder=data_dir)
    if file.is_dir() or not file.parent.is_dir():
        raise WarehouseError("{file} must be the name of a file in a folder that is there.", file=file)
    # named after whose it is: only who holds that lock knows that nobody is writing it
    ours = f"{hashlib.sha256(bytes(data_dir.resolve())).hexdigest()[:8]}.partial"
    partial = file.with_name(f".{file.name}.{ours}")
    with writer_lock(data_dir), said_plainly(file.parent):
        for left in file.parent.glob(f".*.{ours}"):
            left.unlink()  # by a backup that was killed
        settle(data_dir)
        contents: dict[str, bytes | Path] = {WAREHOUSE: data_dir / WAREHOUSE, **_small(data_dir)}
        size = sum(len(one) if isinstance(one, bytes) else one.stat().st_size for one in contents.values())
        ask_for_room(file.parent, size)
        told = _told(moved, 2 * size)  # read twice: the sums stand before what they are of
        members = [_member(name, content, told) for name, content in contents.items()]
        revision = _revision(data_dir / WAREHOUSE)
        manifest = Manifest(
            format=FORMAT, program=program, schema_revision=revision, created_at=now, members=tuple(members)
        )
        try:
            with (
                open(partial, "wb", opener=private_opener) as out,
                tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar,
            ):
                _add(tar, MANIFEST, manifest.model_dump_json(indent=2).encode(), now, lambda _: None)
                for name, content in contents.items():
                    _add(tar, name, content, now, told)
            flush(partial)
            partial.replace(file)
            sync_folder(file.parent)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
    return manifest


def _small(data_dir: Path) -> dict[str, bytes]:
    """Everything but the warehouse, as it is now, by name: others write some of it without our lock."""
    found = {name: data_dir / name for name in FILES if name != WAREHOUSE}
    for path in sorted((data_dir / STATE).glob("*/*")):
        found[str(path.relative_to(data_dir))] = path
    return {
        name: _database(path) if name in DATABASES else path.read_bytes()
        for name, path in found.items()
        if path.is_file() and not path.is_symlink() and not name.endswith(OF_THIS_MACHINE) and is_member(name)
    }


def is_member(name: str) -> bool:
    return name in FILES or IN_STATE.fullmatch(name) is not None


def _database(file: Path) -> bytes:
    """A file of SQLite as of one instant, whoever writes it meanwhile."""
    try:
        with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(":memory:")) as copy:
            source.backup(copy)
            return copy.serialize()
    except sqlite3.DatabaseError as error:
        raise WarehouseError(
            "{file} cannot be read ({error}). Wait until nobody writes it, restore it from an earlier backup, or move "
            "it away, and run again.",
            file=file,
            error=error,
        ) from None


def _member(name: str, content: bytes | Path, told: Callable[[int], None]) -> Member:
    digest, size = hashlib.sha256(), 0
    with _opened(content) as source:
        while piece := source.read(PIECE):
            digest.update(piece)
            size += len(piece)
            told(len(piece))
    return Member(name=name, size=size, sha256=digest.hexdigest())


def _add(tar: tarfile.TarFile, name: str, content: bytes | Path, now: datetime, told: Callable[[int], None]) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content) if isinstance(content, bytes) else content.stat().st_size
    entry.mode, entry.mtime = 0o600, int(now.timestamp())
    with _opened(content) as source:
        tar.addfile(entry, _Told(source, told))


def _opened(content: bytes | Path) -> IO[bytes]:
    return io.BytesIO(content) if isinstance(content, bytes) else content.open("rb")


class _Told(io.RawIOBase):
    """A file that tells how much of it is read."""

    def __init__(self, source: IO[bytes], told: Callable[[int], None]) -> None:
        self._source, self._told = source, told

    def read(self, size: int = -1) -> bytes:
        piece = self._source.read(size)
        self._told(len(piece))
        return piece


def _told(moved: Moved, of: int) -> Callable[[int], None]:
    """Adds up pieces."""
    done = 0

    def told(size: int) -> None:
        nonlocal done
        done += size
        moved(done, of)

    return told


def _revision(warehouse: Path) -> str:
    """The schema of a warehouse nobody has open."""
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return str(row[0]) if row else ""


# --- and back ---------------------------------------------------------------------------------------------------------


def restore(
    file: Path, data_dir: Path, *, force: bool, now: datetime, moved: Moved = lambda _done, _of: None
) -> Restored:
    """Put what `file` holds into `data_dir`, once all of it is verified.

    Who was forgotten since may be in it: then `TO_FORGET` stands there until they were erased again, and nothing is
    published meanwhile.

    What was there is moved into a folder of its own, and back when anything fails. Killed in the middle, the warehouse
    cannot be opened until the next call, which first puts back what was there.

    force: also over a warehouse.

    Raises:
        LockedError: another process writes. WarehouseError: not a backup, a damaged or newer one; a warehouse is there;
            no room.
    """
    private_folder(data_dir)
    with writer_lock(data_dir), said_plainly(data_dir):
        _undo(data_dir)
        if (data_dir / WAREHOUSE).exists() and not force:
            raise WarehouseError(
                "There is a warehouse in {folder} already. Name another data folder in the configuration, or restore "
                "over it with --force: what is there is moved aside, not deleted.",
                folder=data_dir,
            )
        stage = data_dir / UNPACKED
        try:
            manifest = _unpack(file, stage, moved)
            if save_closed(data_dir):
                replace_file(data_dir / TO_FORGET, b"")
            aside = _exchange(data_dir, stage, now)
        finally:
            shutil.rmtree(stage, ignore_errors=True)
    return Restored(manifest, aside)


def _unpack(file: Path, stage: Path, moved: Moved) -> Manifest:
    """Lay all members out in `stage`, verified."""
    shutil.rmtree(stage, ignore_errors=True)
    stage.mkdir(mode=0o700)
    try:
        with _read(file) as source, tarfile.open(fileobj=source, mode="r:") as tar:
            manifest = _manifest(tar, file)
            ask_for_room(stage, manifest.size)
            told = _told(moved, manifest.size)
            for member in manifest.members:
                if _unpack_one(tar, member, stage / member.name, told) != member.sha256:
                    raise damaged(file)
            if tar.next() is not None:
                raise damaged(file)
    except (tarfile.TarError, EOFError):
        raise not_a_backup(file) from None
    try:
        revision = _revision(stage / WAREHOUSE)
    except duckdb.Error:
        raise damaged(file) from None
    if revision != manifest.schema_revision:
        raise damaged(file)
    return manifest


def _read(file: Path) -> IO[bytes]:
    try:
        return file.open("rb")
    except OSError as error:
        raise WarehouseError("{file} cannot be read: {reason}.", file=file, reason=error.strerror) from None


def _manifest(tar: tarfile.TarFile, file: Path) -> Manifest:
    first = tar.next()
    if first is None or first.name != MANIFEST or not first.isreg() or first.size > MANIFEST_MOST:
        raise not_a_backup(file)
    content = tar.extractfile(first)
    try:
        said = orjson.loads(content.read() if content else b"")
        if said["format"] > FORMAT:
            raise WarehouseError(
                "{file} was written by a newer Voronka ({program}). Update the program and restore again.",
                file=file,
                program=str(said.get("program")),
            )
        manifest = Manifest.model_validate(said)
    except (orjson.JSONDecodeError, ValidationError, KeyError, TypeError):
        raise not_a_backup(file) from None
    names = [member.name for member in manifest.members]
    if names[:1] != [WAREHOUSE] or len(set(names)) < len(names) or not all(map(is_member, names)):
        raise not_a_backup(file)
    refuse_newer(manifest.schema_revision)
    return manifest


def _unpack_one(tar: tarfile.TarFile, member: Member, to: Path, told: Callable[[int], None]) -> str:
    """Write the next member, which must be this one; the SHA-256 of what came."""
    entry = tar.next()
    content = tar.extractfile(entry) if entry is not None and entry.type == tarfile.REGTYPE else None
    if entry is None or content is None or (entry.name, entry.size) != (member.name, member.size):
        return ""
    for folder in reversed([one for one in to.parents if not one.exists()]):
        folder.mkdir(mode=0o700)
    digest = hashlib.sha256()
    with open(to, "xb", opener=private_opener) as out:
        while piece := content.read(PIECE):
            digest.update(piece)
            out.write(piece)
            told(len(piece))
    flush(to)
    return digest.hexdigest()


def damaged(file: Path) -> WarehouseError:
    return WarehouseError("{file} is damaged or cut off; nothing was changed. Restore another backup.", file=file)


def not_a_backup(file: Path) -> WarehouseError:
    return WarehouseError(
        "{file} is no whole backup of `voronka backup`; nothing was changed. Take another file.", file=file
    )


# --- the exchange: many renames that count as one ---------------------------------------------------------------------


def _exchange(data_dir: Path, stage: Path, now: datetime) -> Path | None:
    """Move what is there aside and the staged files in; where the first went."""
    names = (f"{ASIDE}{now.astimezone(UTC):%Y%m%dT%H%M%S}{more}" for more in chain([""], map("-{}".format, count(2))))
    aside = next(data_dir / name for name in names if not (data_dir / name).exists())
    had = sorted(path.name for path in _present(data_dir))
    new = sorted(path.name for path in stage.iterdir())
    replace_file(data_dir / UNFINISHED_RESTORE, orjson.dumps({"aside": aside.name, "had": had, "new": new}))
    try:
        if had:
            aside.mkdir(mode=0o700)
            for name in had:
                (data_dir / name).rename(aside / name)
            sync_folder(aside)
        for name in new:
            (stage / name).rename(data_dir / name)
        sync_folder(data_dir)
    except BaseException:
        _undo(data_dir)
        raise
    (data_dir / UNFINISHED_RESTORE).unlink()
    sync_folder(data_dir)
    return aside if had else None


def _present(data_dir: Path) -> Iterator[Path]:
    """All that a restore replaces: members, what their programs keep beside them, copies of what is replaced."""
    names = [f"{name}{ending}" for name in FILES for ending in ("", ".wal", ".tmp", "-wal", "-shm")]
    for path in (*(data_dir / name for name in (*names, STATE)), *copies_of_migrations(data_dir)):
        if path.exists():
            yield path


def _undo(data_dir: Path) -> None:
    """Put back what an exchange that did not end had moved. Killed itself, it goes on at the next call."""
    journal = data_dir / UNFINISHED_RESTORE
    if not journal.exists():
        return
    said = orjson.loads(journal.read_bytes())
    aside = data_dir / said["aside"]
    for name in said["new"]:
        if name not in said["had"] and not (data_dir / UNPACKED / name).exists():
            _remove(data_dir / name)
    for name in said["had"]:
        if (aside / name).exists():
            _remove(data_dir / name)
            (aside / name).rename(data_dir / name)
    if aside.exists():
        aside.rmdir()
    sync_folder(data_dir)
    journal.unlink()


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def set_aside(data_dir: Path) -> list[Path]:
    """Folders with what restores have replaced: whoever erases something has to know of them."""
    return sorted(data_dir.glob(f"{ASIDE}*"))
