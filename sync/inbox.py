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


@contextmanager
def inbox(data_dir: Path) -> Iterator[sqlite3.Connection]:
    """The open inbox, made if missing; commits at the end."""
    file = data_dir / FILE
    with open(file, "ab", opener=private_opener):
        pass
    with closing(sqlite3.connect(file, timeout=BUSY_S)) as connection, connection:
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


@begun_anew_if_damaged
def note(data_dir: Path, account_id: str, ids: Mapping[str, Iterable[str]]) -> int:
    """Remember ids to be read again; how many found room."""
    rows = [(account_id, resource, native_id) for resource, some in ids.items() for native_id in sorted(some)]
    with inbox(data_dir) as connection:
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
    """What an account's webhooks named, by resource, and the number to `clear` up to."""
    if not (data_dir / FILE).exists():
        return 0, {}
    ids: dict[str, set[str]] = {}
    last = 0
    with inbox(data_dir) as connection:
        for n, resource, native_id in connection.execute(
            "SELECT n, resource, native_id FROM heard WHERE account_id = ?", (account_id,)
        ):
            last = max(last, n)
            ids.setdefault(resource, set()).add(native_id)
    return last, ids


@begun_anew_if_damaged
def clear(data_dir: Path, account_id: str, last: int) -> None:
    """Forget what was taken over. A crash before this costs one more reading, never an id."""
    if last:
        with inbox(data_dir) as connection:
            connection.execute("DELETE FROM heard WHERE account_id = ? AND n <= ?", (account_id, last))
