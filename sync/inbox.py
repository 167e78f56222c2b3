"""`<data_dir>/inbox.sqlite`: ids that webhooks named, until a sync has taken them over.

A file of its own, because whoever hears webhooks may not open the warehouse: that has one writer.
"""

import logging
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from functools import wraps
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from warehouse.database import private_opener

log = logging.getLogger(__name__)

FILE = "inbox.sqlite"
ASIDE = "inbox.damaged.sqlite"
DAMAGES = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
ROOM = 100_000  # ids per account; what finds no room is found by the next sync anyway
BUSY_S = 1.0  # a webhook has two seconds for its answer
PATIENT_S = 30.0  # a sync has time


@contextmanager
def inbox(data_dir: Path, *, wait_s: float) -> Iterator[sqlite3.Connection]:
    """The open inbox, made if missing; commits at the end. wait_s: for others who hold it."""
    file = data_dir / FILE
    with open(file, "ab", opener=private_opener):
        pass
    with closing(sqlite3.connect(file, timeout=wait_s)) as connection, connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(
            "CREATE TABLE IF NOT EXISTS heard (n INTEGER PRIMARY KEY AUTOINCREMENT, account_id TEXT NOT NULL, "
            "resource TEXT NOT NULL, native_id TEXT NOT NULL, UNIQUE (account_id, resource, native_id))"
        )
        yield connection


P = ParamSpec("P")
T = TypeVar("T")


def begun_anew_if_damaged(work: Callable[Concatenate[Path, P], T]) -> Callable[Concatenate[Path, P], T]:
    """Sets a damaged inbox aside and works on a new one: what it held is found by the next sync anyway."""

    @wraps(work)
    def works(data_dir: Path, /, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return work(data_dir, *args, **kwargs)
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode & 0xFF not in DAMAGES:  # busy, full disk: that passes
                raise
            log.warning("%s is damaged (%s) and set aside as %s; a new one begins", data_dir / FILE, error, ASIDE)
        set_aside(data_dir)
        return work(data_dir, *args, **kwargs)

    return works


def set_aside(data_dir: Path) -> None:
    for ending in ("-wal", "-shm", ""):  # the log of the old file must not be taken for the new one's
        with suppress(FileNotFoundError):
            (data_dir / f"{FILE}{ending}").replace(data_dir / f"{ASIDE}{ending}")


@contextmanager
def left_for_later(data_dir: Path) -> Iterator[None]:
    """What webhooks named is read again sooner or later: a sync does not end because its inbox is busy or read-only."""
    try:
        yield
    except sqlite3.OperationalError as error:
        log.warning("%s: %s; what webhooks named is left to the next sync", data_dir / FILE, error)


@begun_anew_if_damaged
def note(data_dir: Path, account_id: str, ids: Mapping[str, Iterable[str]]) -> int:
    """Remember ids to be read again; how many found room."""
    rows = [(account_id, resource, native_id) for resource, some in ids.items() for native_id in sorted(some)]
    with inbox(data_dir, wait_s=BUSY_S) as connection:
        taken = connection.execute("SELECT count(*) FROM heard WHERE account_id = ?", (account_id,)).fetchone()[0]
        before = connection.total_changes
        # An id that comes again takes a new number: a sync that is just emptying the inbox has not read it since.
        connection.executemany(
            "INSERT OR REPLACE INTO heard (account_id, resource, native_id) VALUES (?, ?, ?)",
            rows[: max(0, ROOM - taken)],
        )
        return connection.total_changes - before


@begun_anew_if_damaged
def waiting(data_dir: Path, account_id: str) -> tuple[int, dict[str, set[str]]]:
    """What an account's webhooks named, by resource, and the number to `clear` up to. An inbox that cannot be opened
    keeps it for the next sync."""
    if not (data_dir / FILE).exists():
        return 0, {}
    rows: list[tuple[int, str, str]] = []
    with left_for_later(data_dir), inbox(data_dir, wait_s=PATIENT_S) as connection:
        rows = connection.execute(
            "SELECT n, resource, native_id FROM heard WHERE account_id = ?", (account_id,)
        ).fetchall()
    ids: dict[str, set[str]] = {}
    for _, resource, native_id in rows:
        ids.setdefault(resource, set()).add(native_id)
    return max((n for n, _, _ in rows), default=0), ids


@begun_anew_if_damaged
def clear(data_dir: Path, account_id: str, last: int) -> None:
    """Forget what was taken over. A crash before this costs one more reading, never an id."""
    if last:
        with left_for_later(data_dir), inbox(data_dir, wait_s=PATIENT_S) as connection:
            connection.execute("DELETE FROM heard WHERE account_id = ? AND n <= ?", (account_id, last))


def erase(data_dir: Path, card: str) -> int:
    """Take out a card that was forgotten, `contact:123`, whichever account named it; how many times it stood there.

    An inbox set aside goes whole: nothing will read it.
    """
    for path in data_dir.glob(f"{ASIDE}*"):
        path.unlink()
    if not (data_dir / FILE).exists():
        return 0
    kind, _, native_id = card.partition(":")
    with inbox(data_dir, wait_s=PATIENT_S) as connection:
        gone = connection.execute(
            "DELETE FROM heard WHERE native_id = ? AND substr(resource, 1, 6) = ?", (native_id, kind[:6])
        ).rowcount
    _shrink(data_dir)
    return gone


@begun_anew_if_damaged
def remove_account(data_dir: Path, account_id: str) -> int:
    """Take out all that an account's webhooks named; how many ids. An inbox set aside goes whole: nothing reads it."""
    for path in data_dir.glob(f"{ASIDE}*"):
        path.unlink()
    if not (data_dir / FILE).exists():
        return 0
    with inbox(data_dir, wait_s=PATIENT_S) as connection:
        gone = connection.execute("DELETE FROM heard WHERE account_id = ?", (account_id,)).rowcount
    _shrink(data_dir)
    return gone


def _shrink(data_dir: Path) -> None:
    with closing(sqlite3.connect(data_dir / FILE, timeout=PATIENT_S)) as connection:
        connection.execute("VACUUM")  # freed pages hold what was there
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
