"""Read-only SQL over a publication, for analysts: one SELECT, no files, no personal data, no settings, a time limit.

An in-memory DuckDB with a view per published table on exactly the files of the manifest. Tables ending `_pii` are left
out, nothing but those files can be opened (`allowed_paths`; a folder would let COPY replace them), and the
configuration is locked. DuckDB shows views, plans and caches to whoever asks, so it knows the files by links in a
folder whose name tells nothing; `allowed_paths` it keeps as what the links lead to, so its settings cannot be asked
for. `tests/cli/test_explorer.py` is the list of what is refused.
"""

import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa

MAX_ROWS = 1_000_000
TIMEOUT_S, LONGEST_S = 60.0, 86_400.0

# What is said, as templates; the command line translates them.
ONE_STATEMENT = "Give one statement; this text holds {n}."
ONLY_SELECT = "Only SELECT and EXPLAIN are answered here: the publication is read-only."
NOT_ALLOWED = "The query reaches for something outside the published tables. Only they can be read here."
TOO_LONG = "The query took longer than {seconds} s and was stopped. Narrow the period or raise --timeout."
BAD_TIMEOUT = "--timeout must be more than 0 and at most {longest} seconds, not {got}."
TOO_MANY = "The answer has more than {rows} rows. Add LIMIT, or group."
WRONG_QUERY = "The query was not understood: {reason}"
NO_MEMORY = "The query needs more memory than {limit}. Narrow the period or group."


class QueryError(Exception):
    """The query is refused or wrong; `template` and `fields` let the caller say it in Russian too."""

    def __init__(self, template: str, **fields: object) -> None:
        self.template, self.fields = template, fields
        super().__init__(template.format(**fields))


@dataclass(frozen=True)
class Limits:
    """How much one query may take: seconds, rows of the answer, DuckDB's memory."""

    timeout_s: float = TIMEOUT_S
    rows: int = MAX_ROWS
    memory: str = "2GB"


def explore(generation: Path, query: str, *, limits: Limits = Limits()) -> pl.DataFrame:
    """The answer to one SELECT (or EXPLAIN) over the tables of a generation's folder.

    Raises:
        QueryError: refused, wrong, too long or too large.
    """
    if not 0 < limits.timeout_s <= LONGEST_S:
        raise QueryError(BAD_TIMEOUT, got=f"{limits.timeout_s:g}", longest=f"{LONGEST_S:g}")
    manifest = json.loads((generation / "manifest.json").read_text(encoding="utf-8"))
    with _links(generation, visible_tables(manifest)) as tables, _explorer(tables, limits) as connection:
        answer = _timed(connection, _only_a_select(query), limits)
    if answer.height > limits.rows:
        raise QueryError(TOO_MANY, rows=limits.rows)
    return answer


def visible_tables(manifest: Mapping[str, Any]) -> dict[str, list[str]]:
    """Published tables without personal data, with their files."""
    return {
        name: [file["name"] for file in table["files"]]
        for name, table in manifest["tables"].items()
        if not name.endswith("_pii") and table["files"]
    }


def tables_in(generation: Path, query: str) -> tuple[str, ...]:
    """Published tables that a query names; not the query itself, in which a phone may stand."""
    manifest = json.loads((generation / "manifest.json").read_text(encoding="utf-8"))
    return tuple(sorted(_names_of(query) & {*visible_tables(manifest)}))


@contextmanager
def _links(generation: Path, tables: Mapping[str, list[str]]) -> Iterator[dict[str, list[str]]]:
    """The files of the tables as links in a folder of their own."""
    with TemporaryDirectory(prefix="voronka-sql-") as folder:
        for file in (file for files in tables.values() for file in files):
            (Path(folder) / file).symlink_to((generation / file).absolute())
        yield {name: [f"{folder}/{file}" for file in files] for name, files in tables.items()}


@contextmanager
def _explorer(tables: Mapping[str, list[str]], limits: Limits) -> Iterator[duckdb.DuckDBPyConnection]:
    connection = duckdb.connect(":memory:", config={"memory_limit": limits.memory, "temp_directory": ""})
    try:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(
            "SET python_enable_replacements = false"
        )  # else a query could read our own variables by name
        for name, files in tables.items():
            listed = ", ".join(_quoted(file) for file in files)
            connection.execute(f'CREATE VIEW "{name}" AS SELECT * FROM read_parquet([{listed}])')
        allowed = ", ".join(_quoted(file) for files in tables.values() for file in files)
        connection.execute(f"SET allowed_paths = [{allowed}]")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        yield connection
    finally:
        connection.close()


def _only_a_select(query: str) -> str:
    """What is run for a query: a SELECT as it stands, or EXPLAIN written by us before a SELECT.

    EXPLAIN ANALYZE runs what it explains, so that must be a SELECT by itself: DuckDB's own parser has to say so, and
    nothing of the text around it is run.
    """
    statement = _statement(query)
    if _names_of(statement.query) & TELL_SETTINGS:
        raise QueryError(NOT_ALLOWED)
    if statement.type == duckdb.StatementType.SELECT:
        return statement.query
    if statement.type != duckdb.StatementType.EXPLAIN:
        raise QueryError(ONLY_SELECT)
    words, explained = _explained(statement.query)
    inner = _statement(explained)
    if inner.type != duckdb.StatementType.SELECT:
        raise QueryError(ONLY_SELECT)
    return f"{words} {inner.query}"


def _statement(text: str) -> duckdb.Statement:
    """The one statement of a text."""
    try:
        statements = duckdb.extract_statements(text)
    except duckdb.Error as error:
        raise QueryError(WRONG_QUERY, reason=_reason(error)) from None
    if len(statements) != 1:
        raise QueryError(ONE_STATEMENT, n=len(statements))
    return statements[0]


def _explained(text: str) -> tuple[str, str]:
    """`EXPLAIN` or `EXPLAIN ANALYZE`, and the text that follows. Options in brackets are not answered."""
    tokens = list(_tokens(text))
    words = [word.upper() for _, word in tokens[:2]]
    n = 2 if words[1:] == ["ANALYZE"] else 1
    if len(tokens) <= n or words[0] != "EXPLAIN":
        raise QueryError(ONLY_SELECT)
    return "EXPLAIN ANALYZE" if n == 2 else "EXPLAIN", text.encode()[tokens[n][0] :].decode()


TELL_SETTINGS = {"duckdb_settings(", "pg_settings", "current_setting(", "query(", "json_execute_serialized_sql("}
"""The last two run text that could ask for the others."""


def _names_of(text: str) -> set[str]:
    """Names that a statement uses, in small letters, those of functions with their bracket."""
    names = [word.strip('"').casefold() for _, word in _tokens(text)]
    return {f"{name}(" if after == "(" else name for name, after in pairwise([*names, ""])}


def _tokens(text: str) -> Iterator[tuple[int, str]]:
    """Tokens as DuckDB cuts them: where each begins in the encoded text, and its word without what follows it."""
    content = text.encode()  # DuckDB counts in bytes
    positions = [position for position, _kind in duckdb.tokenize(text)]
    for low, high in pairwise([*positions, len(content)]):
        found = TOKEN.match(content[low:high].decode(errors="replace"))
        yield low, found[0] if found else ""


TOKEN = re.compile(r'"(?:[^"]|"")*"|\w+|\S')


def _timed(connection: duckdb.DuckDBPyConnection, query: str, limits: Limits) -> pl.DataFrame:
    timer = threading.Timer(limits.timeout_s, connection.interrupt)
    timer.daemon = True
    timer.start()
    try:
        return _first_rows(*_answer(connection, query), limits.rows + 1)
    except duckdb.InterruptException:
        raise QueryError(TOO_LONG, seconds=f"{limits.timeout_s:g}") from None
    except duckdb.PermissionException:
        raise QueryError(NOT_ALLOWED) from None
    except duckdb.OutOfMemoryException:
        raise QueryError(NO_MEMORY, limit=limits.memory) from None
    except (duckdb.Error, OSError) as error:
        raise QueryError(WRONG_QUERY, reason=_reason(error)) from None
    finally:
        timer.cancel()


def _answer(connection: duckdb.DuckDBPyConnection, query: str) -> tuple[list[str], Any]:
    """Names of the columns, and their rows as Arrow batches; kinds that Polars has not are text."""
    cursor: Any = connection.execute(query)
    names = [column[0] for column in cursor.description]
    is_text = [bool(ONLY_DUCKDB.search(str(column[1]))) for column in cursor.description]
    if any(is_text):
        columns = [f"CAST(#{n} AS VARCHAR)" if as_text else f"#{n}" for n, as_text in enumerate(is_text, 1)]
        cursor = connection.sql(query).project(", ".join(columns))
    reader = cursor.to_arrow_reader(100_000) if hasattr(cursor, "to_arrow_reader") else cursor.fetch_record_batch()
    return _distinct(names), reader


ONLY_DUCKDB = re.compile(r"\b(INTERVAL|UNION|BIT|BIGNUM|VARINT|UHUGEINT|VARIANT|GEOMETRY|TIME WITH TIME ZONE)\b")


def _first_rows(names: list[str], reader: Any, rows: int) -> pl.DataFrame:
    """The answer up to `rows` rows: a mistyped join must not fill the memory of this process."""
    batches: list[pl.DataFrame] = []
    for batch in reader:
        batches.append(pl.DataFrame(pa.Table.from_batches([batch]).rename_columns(names)))
        if sum(frame.height for frame in batches) >= rows:
            break
    return pl.concat(batches) if batches else pl.DataFrame(reader.schema.empty_table().rename_columns(names))


def _distinct(names: list[str]) -> list[str]:
    """A join may bring two columns of one name: the second gets a number."""
    return [
        name if names[:n].count(name) == 0 else f"{name}_{names[:n].count(name) + 1}" for n, name in enumerate(names)
    ]


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _reason(error: BaseException) -> str:
    """DuckDB's first sentence, what it would know instead, and the place in the query; not the paths of our files.

    ```
    Binder Error: Referenced column "sum_minor" not found in FROM clause!
    Candidate bindings: "amount_minor"
    LINE 2:   sum_minor
              ^
    ```
    """
    first, *rest = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    told = [line for line in rest if line.startswith(("Candidate bindings", "LINE ")) or line.strip() == "^"]
    return "\n".join([OUR_FILE.sub("…", first), *(told if not OUR_FILE.search("\n".join(told)) else [])])


OUR_FILE = re.compile(r"""[^\s'"\[]*/[^\s'"]+\.parquet""")
