"""Looks for a person in everything the data folder holds: the proof of an erasure.

Columns of text and bytes are read through their compression: of the warehouse with its log, of every Parquet file of
every generation and cache, of every SQLite file. Then every file is read as bytes once more.
"""

import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from warehouse.columns import quoted
from warehouse.forgetting import card_pattern
from warehouse.suppression import Name

CHUNK, OVERLAP = 1 << 22, 512
TEXTS = ("VARCHAR", "BLOB")


@dataclass(frozen=True)
class Wanted:
    """pattern: of texts (`forgetting.spellings`). cards: looked for as whole values, and by their numbers in raw
    objects."""

    pattern: str | None
    cards: Sequence[Name] = ()


@dataclass
class Searched:
    """n_columns: of text and bytes, in how many tables (n_tables) and files. places: where something was found, and how
    often. unread: files that are damaged."""

    n_tables: int = 0
    n_columns: int = 0
    n_files: int = 0
    n_bytes: int = 0
    places: list[tuple[str, int]] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)

    def note(self, where: str, n: int) -> None:
        if n:
            self.places.append((where, n))


def search(data_dir: Path, wanted: Wanted) -> Searched:
    """Everything under `data_dir`, where nobody is writing."""
    found = Searched()
    files = sorted(path for path in data_dir.rglob("*") if path.is_file())
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for file in files:
            where = str(file.relative_to(data_dir))
            try:
                _tables(connection, found, file, where, wanted)
            except (duckdb.Error, sqlite3.DatabaseError):  # damaged: nobody can say what is in it
                found.unread.append(where)
    for file in files:
        _bytes(found, file, str(file.relative_to(data_dir)), wanted)
    return found


def _tables(connection: duckdb.DuckDBPyConnection, found: Searched, file: Path, where: str, wanted: Wanted) -> None:
    if file.suffix == ".duckdb":
        connection.execute(f"ATTACH {_text(str(file))} AS w (READ_ONLY)")
        for (table,) in connection.execute(
            "SELECT table_name FROM duckdb_tables() WHERE database_name = 'w' ORDER BY 1"
        ).fetchall():
            _table(connection, found, f"w.{quoted(table)}", f"{where}: {table}", wanted)
        connection.execute("DETACH w")
    elif file.suffix == ".parquet":
        _table(connection, found, f"read_parquet({_text(str(file))})", where, wanted)
    elif file.suffix == ".sqlite":
        _sqlite(found, file, where, wanted)


def _table(connection: duckdb.DuckDBPyConnection, found: Searched, source: str, where: str, wanted: Wanted) -> None:
    columns = connection.execute(f"DESCRIBE FROM {source}").fetchall()
    has_account = any(name == "account_id" for name, *_ in columns)
    asked: list[str] = []
    values: list[object] = []
    names = [(name, kind) for name, kind, *_ in columns if kind in TEXTS]
    for name, kind in names:
        parts, of_column = _conditions(name, kind, wanted, has_account=has_account)
        values += of_column
        asked.append(f"count(*) FILTER ({' OR '.join(parts) or 'false'})")
    found.n_tables += 1
    found.n_columns += len(names)
    if not asked:
        return
    counts = connection.execute(f"SELECT {', '.join(asked)} FROM {source}", values).fetchone() or ()
    for (name, _), n in zip(names, counts, strict=True):
        found.note(f"{where}.{name}", n)


def _conditions(name: str, kind: str, wanted: Wanted, *, has_account: bool) -> tuple[list[str], list[object]]:
    """SQL: the person stands in a column; and the values of its parameters."""
    text = f"try(decode({quoted(name)}))" if kind == "BLOB" else quoted(name)
    parts: list[str] = []
    values: list[object] = []
    if wanted.pattern is not None:
        parts.append(f"regexp_matches({text}, ?)")
        values.append(wanted.pattern)
    for account_id in sorted({card[0] for card in wanted.cards}):
        ids = [card[1] for card in wanted.cards if card[0] == account_id]
        named = card_pattern(wanted.cards, account_id) if kind == "BLOB" else ids
        if named is not None:
            test = f"regexp_matches({text}, ?)" if kind == "BLOB" else f"list_contains(?, {text})"
            parts.append(f"(account_id = ? AND {test})" if has_account else f"({test})")
            values += [account_id, named] if has_account else [named]
    return parts, values


def _sqlite(found: Searched, file: Path, where: str, wanted: Wanted) -> None:
    whole = [rf"(?<!\d){re.escape(card[1])}(?!\d)" for card in wanted.cards]
    texts = [wanted.pattern.removeprefix("(?i)")] if wanted.pattern else []
    looked_for = re.compile("|".join([*whole, *texts]) or r"(?!)", re.IGNORECASE)
    with closing(sqlite3.connect(file)) as connection:
        for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            rows = connection.execute(f"SELECT * FROM {quoted(table)}")
            found.n_tables += 1
            found.n_columns += len(rows.description)
            n = sum(1 for row in rows for value in row if isinstance(value, str) and looked_for.search(value))
            found.note(f"{where}: {table}", n)


def _bytes(found: Searched, file: Path, where: str, wanted: Wanted) -> None:
    looked_for = re.compile(wanted.pattern or r"(?!)")
    found.n_files += 1
    n = 0
    for text in _texts(file):
        found.n_bytes += len(text)
        n += sum(1 for _ in looked_for.finditer(text))
    found.note(where, n)


def _texts(file: Path) -> Iterator[str]:
    """The file in pieces that overlap: what lies on a border is seen."""
    before = b""
    with file.open("rb") as content:
        while piece := content.read(CHUNK):
            yield (before + piece).decode(errors="replace")
            before = piece[-OVERLAP:]


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
