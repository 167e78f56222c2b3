"""What people set in the product: `<data_dir>/app.sqlite`, append-only, with author and time.

Nothing is ever changed or removed, but what `forget` erases of a person, an account that is removed, and lines of the
audit log that are older than they are kept: the last row of a (scope, key) is its value,
an older one is history, a null value takes a setting back. `version` names the state, for cache keys and manifests. A
scope is what the value is about:
`["app"]`, `["viewer", "anna"]`, `["metric", "A3"]`, `["stage", "main", "pipeline:1", "status:2"]`.

What people set about rows of published tables (`USER_SET`) goes through `user_set()` into the frames metrics see.
"""

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl

from metrics.user_set import USER_SET

Scope = tuple[str, ...]

SCHEMA = """
CREATE TABLE IF NOT EXISTS setting (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    scope TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT,             -- JSON; null: taken back
    valid_from TEXT NOT NULL,
    author TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS setting_by_key ON setting (scope, key, seq);
CREATE TABLE IF NOT EXISTS audit (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    done_at TEXT NOT NULL,
    author TEXT NOT NULL,
    action TEXT NOT NULL,
    detail TEXT NOT NULL    -- JSON
);
"""


def _keeps(table: str, verb: str) -> str:
    return (
        f"CREATE TRIGGER IF NOT EXISTS {table}_keeps_{verb.lower()} BEFORE {verb} ON {table} "
        f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END;"
    )


APPEND_ONLY = "".join(_keeps(table, verb) for table in ("setting", "audit") for verb in ("UPDATE", "DELETE"))


JSON_TYPES: dict[pl.DataType, type] = {pl.Boolean(): bool, pl.Int64(): int, pl.String(): str, pl.Date(): str}
"""What a value of a user-set column is here: JSON has no dates, they are ISO text."""


@dataclass(frozen=True)
class Setting:
    """One thing somebody set. `value` is what JSON can hold; None: taken back."""

    seq: int
    scope: Scope
    key: str
    value: Any
    valid_from: datetime
    author: str


class SettingsStore:
    """The file. Every call opens it anew: page threads and the command line may come at once, and writes are rare."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def put(self, scope: Scope, key: str, value: Any, *, author: str, now: datetime | None = None) -> int:
        """Add a value, and a line of the audit log with it; return the new version.

        Raises:
            ValueError: the scope names a published table that has no such user-set column, or the type is wrong.
        """
        _check_column(scope, key, value)
        valid_from = _stamp(now)
        with self._write() as db:
            seq = db.execute(
                "INSERT INTO setting (scope, key, value, valid_from, author) VALUES (?, ?, ?, ?, ?)",
                (_text(list(scope)), key, None if value is None else _text(value), valid_from, author),
            ).lastrowid
            _audit(db, valid_from, author, "set", {"scope": scope, "key": key, "value": value})
        return int(seq or 0)

    def get(self, scope: Scope, key: str, default: Any = None, *, at: datetime | None = None) -> Any:
        """The value of a setting now, or as it stood at an instant."""
        until = _stamp(at) if at else "9999"
        with self._read() as db:
            row = db.execute(
                "SELECT value FROM setting WHERE scope = ? AND key = ? AND valid_from <= ? ORDER BY seq DESC LIMIT 1",
                (_text(list(scope)), key, until),
            ).fetchone()
        return default if row is None or row[0] is None else json.loads(row[0])

    def of_scope(self, scope: Scope) -> dict[str, Any]:
        """All keys of one scope that have a value."""
        return {setting.key: setting.value for setting in self.current() if setting.scope == scope}

    def current(self, kind: str | None = None, *, version: int | None = None) -> list[Setting]:
        """The settings in force, of all scopes or of those that begin with `kind`; as they stood at a version."""
        with self._read() as db:
            rows = db.execute(
                "SELECT s.seq, s.scope, s.key, s.value, s.valid_from, s.author FROM setting s "
                "JOIN (SELECT max(seq) AS seq FROM setting WHERE seq <= ? GROUP BY scope, key) USING (seq) "
                "WHERE s.value IS NOT NULL ORDER BY s.scope, s.key",
                (2**62 if version is None else version,),
            ).fetchall()
        found = (_setting(row) for row in rows)
        return [setting for setting in found if kind is None or setting.scope[0] == kind]

    def history(self, scope: Scope, key: str) -> list[Setting]:
        """All values a setting had, the oldest first."""
        with self._read() as db:
            rows = db.execute(
                "SELECT seq, scope, key, value, valid_from, author FROM setting "
                "WHERE scope = ? AND key = ? ORDER BY seq",
                (_text(list(scope)), key),
            ).fetchall()
        return [_setting(row) for row in rows]

    def version(self) -> int:
        """Grows with every value set; 0 when nothing was."""
        with self._read() as db:
            return int(db.execute("SELECT coalesce(max(seq), 0) FROM setting").fetchone()[0])

    def log(self, action: str, *, author: str, now: datetime | None = None, **detail: Any) -> None:
        """Note in the audit log that somebody did something: an export, a query."""
        with self._write() as db:
            _audit(db, _stamp(now), author, action, detail)

    def audit(self, limit: int = 1000, *, since: datetime | None = None) -> list[dict[str, Any]]:
        """The newest lines of the audit log, the newest first: done_at, author, action, detail.

        detail: of a line that said who was forgotten since, nothing is left.
        """
        with self._read() as db:
            rows = db.execute(
                "SELECT done_at, author, action, detail FROM audit WHERE done_at >= ? ORDER BY seq DESC LIMIT ?",
                (_stamp(since) if since else "", limit),
            ).fetchall()
        return [
            {
                "done_at": datetime.fromisoformat(row[0]),
                "author": row[1],
                "action": row[2],
                "detail": json.loads(row[3]) or {},
            }
            for row in rows
        ]

    def prune_audit(self, *, before: datetime | None = None, most: int | None = None) -> int:
        """Drop lines of the audit log from before an instant, and the oldest beyond so many; how many."""
        if not self.path.exists():
            return 0
        with self._write() as db:
            db.execute("BEGIN IMMEDIATE")
            db.execute("DROP TRIGGER IF EXISTS audit_keeps_delete")
            n = db.execute(
                "DELETE FROM audit WHERE done_at < ? OR seq <= (SELECT coalesce(max(seq), 0) FROM audit) - ?",
                (_stamp(before) if before else "", 2**62 if most is None else most),
            ).rowcount
            db.execute(_keeps("audit", "DELETE"))
        return n

    def take_over_audit(self, other: Path) -> int:
        """Add the lines of another file's audit log that this one has not; how many. After a restore: what was done
        since the backup was done all the same."""
        if not other.exists():
            return 0
        lines = SettingsStore(other)._lines()
        known = {line[1:] for line in self._lines()}
        new = [line[1:] for line in lines if line[1:] not in known]
        if new:
            with self._write() as db:
                db.executemany("INSERT INTO audit (done_at, author, action, detail) VALUES (?, ?, ?, ?)", new)
        return len(new)

    def _lines(self) -> list[tuple[Any, ...]]:
        with self._read() as db:
            return db.execute("SELECT seq, done_at, author, action, detail FROM audit ORDER BY seq").fetchall()

    def forget(self, renamed: Mapping[tuple[str, str], str], is_about: Callable[[str], bool]) -> int:
        """Erase a person from settings and the audit log, history included; how many rows.

        renamed: (account, card) → what the card is called now. is_about: whether a text says who it was.
        """
        if not self.path.exists():
            return 0
        n = 0
        with self._write() as db:
            db.execute("PRAGMA secure_delete = ON")
            for table, columns in (("setting", ("scope", "key", "value")), ("audit", ("detail",))):
                db.execute(f"DROP TRIGGER IF EXISTS {table}_keeps_update")
                for seq, *texts in db.execute(f"SELECT seq, {', '.join(columns)} FROM {table}").fetchall():
                    new = [None if text is None else _forgotten(text, renamed, is_about) for text in texts]
                    if new != texts:
                        sets = ", ".join(f"{column} = ?" for column in columns)
                        db.execute(f"UPDATE {table} SET {sets} WHERE seq = ?", (*new, seq))
                        n += 1
            db.executescript(APPEND_ONLY)
        with closing(sqlite3.connect(self.path, timeout=30)) as db:
            db.execute("VACUUM")  # freed pages hold what was there
        return n

    def remove_account(self, account_id: str) -> int:
        """Erase what was set on rows of an account, with its lines of the audit log; how many, history included."""
        if not self.path.exists():
            return 0
        with self._write() as db:
            db.execute("PRAGMA secure_delete = ON")
            marks = ", ".join("?" for _ in USER_SET)
            n = {}
            for table, scope in (("setting", "scope"), ("audit", "json_extract(detail, '$.scope')")):
                db.execute(f"DROP TRIGGER IF EXISTS {table}_keeps_delete")
                n[table] = db.execute(
                    f"DELETE FROM {table} WHERE json_extract({scope}, '$[0]') IN ({marks}) "
                    f"AND json_extract({scope}, '$[1]') = ?",
                    (*USER_SET, account_id),
                ).rowcount
            db.executescript(APPEND_ONLY)
        with closing(sqlite3.connect(self.path, timeout=30)) as db:
            db.execute("VACUUM")  # freed pages hold what was there
        return n["setting"]

    def user_set(self, version: int | None = None) -> dict[str, list[dict[str, Any]]]:
        """What people set on rows of published tables: table → rows with `account_id`, the keys and all columns.

        version: as it stood then. Columns nobody set on a row are None; tables without any row are absent.
        """
        rows: dict[str, dict[Scope, dict[str, Any]]] = {}
        for setting in self.current(version=version):
            table, *ids = setting.scope
            if table not in USER_SET:
                continue
            empty = dict(zip(USER_SET[table].key, ids, strict=True)) | dict.fromkeys(USER_SET[table].columns)
            rows.setdefault(table, {}).setdefault(setting.scope, empty)[setting.key] = setting.value
        return {table: list(by_scope.values()) for table, by_scope in rows.items()}

    @contextmanager
    def _read(self) -> Iterator[sqlite3.Connection]:
        """For reading; where nothing was ever set there is no file, and reading makes none."""
        with closing(sqlite3.connect(self.path if self.path.exists() else ":memory:", timeout=30)) as db, db:
            _prepare(db)
            yield db

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        if not self.path.exists():
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.path.touch(mode=0o600)
        with closing(sqlite3.connect(self.path, timeout=30)) as db, db:
            _prepare(db)
            yield db


def _forgotten(text: str, renamed: Mapping[tuple[str, str], str], is_about: Callable[[str], bool]) -> str:
    """A text, JSON mostly, with other names for cards, where their account stands in it too; empty if it says who."""
    for (account_id, card), new in renamed.items():
        if f'"{account_id}"' in text:
            text = text.replace(f'"{card}"', f'"{new}"')
    return '""' if is_about(text) else text


def _prepare(db: sqlite3.Connection) -> None:
    if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'audit'").fetchone():
        db.executescript(SCHEMA + APPEND_ONLY)


def _check_column(scope: Scope, key: str, value: Any) -> None:
    if not scope or scope[0] not in USER_SET:
        return
    known = USER_SET[scope[0]]
    if len(scope) != 1 + len(known.key):
        raise ValueError(f"a setting of {scope[0]} needs {', '.join(known.key)}")
    if key not in known.columns:
        raise ValueError(f"{scope[0]} has no column {key} that people set; it has {', '.join(known.columns)}")
    wanted = JSON_TYPES[known.columns[key]]
    if value is not None and type(value) is not wanted:  # True is an int, but not a number of seconds
        raise ValueError(f"{scope[0]}.{key} must be {wanted.__name__}")
    if value is not None and known.columns[key] == pl.Date():
        date.fromisoformat(str(value))  # raises ValueError


def _audit(db: sqlite3.Connection, done_at: str, author: str, action: str, detail: Mapping[str, Any]) -> None:
    db.execute(
        "INSERT INTO audit (done_at, author, action, detail) VALUES (?, ?, ?, ?)",
        (done_at, author, action, _text(detail)),
    )


def _setting(row: tuple[Any, ...]) -> Setting:
    seq, scope, key, value, valid_from, author = row
    parsed = None if value is None else json.loads(value)
    return Setting(seq, tuple(json.loads(scope)), key, parsed, datetime.fromisoformat(valid_from), author)


def _stamp(now: datetime | None) -> str:
    return (now or datetime.now(UTC)).astimezone(UTC).isoformat(timespec="microseconds")


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)
