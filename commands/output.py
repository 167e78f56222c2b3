"""Results on standard output or in a file: table, csv, json, parquet, xlsx.

A terminal gets coloured tables of its width, and row after row where a table is too wide for it: a number that is cut
is another number. A pipe gets every column whole and no colours. Nothing but the result goes to standard output.
"""

import io
import re
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal

import orjson
import polars as pl
import xlsxwriter
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from app.spreadsheets import harmless_rows
from commands.text import _
from config import ConfigError
from metrics.metric import MetricResult
from warehouse.database import private_opener

Format = Literal["table", "csv", "json", "parquet", "xlsx"]
BINARY = ("parquet", "xlsx")
WIDE = 100_000
"""Characters a line may have where nobody looks at a terminal: no column is cut."""

PROSE = 24
"""Characters in a line of a text that is folded; shorter texts and all numbers stay whole."""

NO_FOLDER = "There is no folder {folder}. Make it, or name another file with --output."
IS_FOLDER = "{file} is a folder. Name a file with --output."
NEEDS_FILE = "The format {format} is not text: name a file with --output, or send the output into a file or a pipe."


def deliver(
    content: bytes,
    output: Path | None,
    *,
    is_text: bool,
    form: str = "",
    leaving: Callable[[str], None] | None = None,
) -> None:
    """Write a result where it was asked for, a new file for its owner only. Binary formats are never poured onto a
    terminal.

    leaving: told where to, before anything is written, when the result leaves as data: into a file, or in a format of
    programs into a pipe. A table for people on standard output is looked at.
    """
    if leaving is not None and output is not None and output.parent.is_dir() and not output.is_dir():
        leaving(str(output.absolute()))
    elif leaving is not None and output is None and form not in ("", "table") and not sys.stdout.isatty():
        leaving("pipe")
    if output is not None:
        try:
            with open(output, "wb", opener=private_opener) as file:
                file.write(content)
        except (FileNotFoundError, NotADirectoryError):
            raise ConfigError(NO_FOLDER, folder=output.parent) from None
        except IsADirectoryError:
            raise ConfigError(IS_FOLDER, file=output) from None
    elif not is_text and sys.stdout.isatty():
        raise ConfigError(NEEDS_FILE, format=form)
    else:
        sys.stdout.flush()
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()


def frames_as(frames: Mapping[str, pl.DataFrame], form: Format, *, titled: bool = False) -> bytes:
    """Frames in a format. CSV and Parquet hold one table, the first; XLSX one sheet per table; JSON {name: rows}.

    CSV is read by spreadsheets: text that would be a formula there gets an apostrophe. JSON and Parquet have it as is.
    """
    first = next(iter(frames.values()))
    match form:
        case "table":
            return tables_text(frames, titled=titled).encode()
        case "csv":
            return csv(first)
        case "json":
            return to_json({name: rows(frame) for name, frame in frames.items()} if titled else rows(first))
        case "parquet":
            return _bytes(first.write_parquet)
        case "xlsx":
            return workbook(frames)


def csv(frame: pl.DataFrame) -> bytes:
    instants = "%Y-%m-%dT%H:%M:%S%z"
    wall = [name for name, kind in frame.schema.items() if isinstance(kind, pl.Datetime) and kind.time_zone is None]
    whole = flat(frame).with_columns(pl.col(wall).dt.to_string(instants.removesuffix("%z")))  # they have no offset
    return harmless_rows(whole).write_csv(datetime_format=instants).encode()


def result_json(
    result: MetricResult, *, generation: str, tables: Mapping[str, pl.DataFrame], with_drilldown: bool
) -> bytes:
    """A metric's answer as JSON; the shape is part of the command line's contract."""
    shape: dict[str, Any] = {
        "metric_id": result.metric_id,
        "generation": generation,
        "params": result.params.model_dump(mode="json"),
        "as_of": result.as_of,
        "from": result.period_from,
        "to": result.period_to,
        "semantics": result.semantics,
        "coverage": rows(result.coverage),
        "warnings": [{"code": notice.code, "ru": notice.ru, "en": notice.en} for notice in result.warnings],
        "tables": {name: rows(table) for name, table in tables.items()},
    }
    if with_drilldown:
        shape["drilldown"] = rows(result.drilldown)
    return to_json(shape)


def rows(frame: pl.DataFrame) -> list[dict[str, Any]]:
    """Rows as dictionaries; NaN and infinity, which JSON has not, are null."""
    return finite(frame).to_dicts()


def finite(frame: pl.DataFrame) -> pl.DataFrame:
    floats = [
        pl.when(pl.col(name).is_finite()).then(pl.col(name)) for name, kind in frame.schema.items() if kind.is_float()
    ]
    return frame.with_columns(*floats)


def flat(frame: pl.DataFrame) -> pl.DataFrame:
    """What neither CSV nor a sheet can hold as text: lists and their like as JSON, bytes as hexadecimal digits."""
    texts = [
        pl.Series(name, [None if value is None else _text(value) for value in frame[name]], dtype=pl.String)
        for name, kind in frame.schema.items()
        if kind.is_nested() or kind in (pl.Binary, pl.Duration)
    ]
    return frame.with_columns(*texts)


def _text(value: Any) -> str:
    match value:
        case bytes():
            return value.hex()
        case timedelta():
            return str(value)
    return orjson.dumps(value.to_list() if isinstance(value, pl.Series) else value, default=_plain).decode()


def to_json(value: Any) -> bytes:
    return orjson.dumps(value, default=_plain, option=orjson.OPT_INDENT_2 | orjson.OPT_UTC_Z) + b"\n"


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() and abs(value) < 2**63 else float(value)
    if isinstance(value, bytes):
        return value.hex()
    return str(value)


def tables_text(frames: Mapping[str, pl.DataFrame], *, titled: bool, width: int | None = None) -> str:
    """Tables for people: aligned, coloured on a terminal only. width: characters in a line, if not the terminal's."""
    seen = sys.stdout.isatty()
    room = width or (shutil.get_terminal_size().columns if seen else WIDE)
    text = io.StringIO()
    console = Console(file=text, force_terminal=seen, no_color=not seen, width=room)
    for name, frame in frames.items():
        if titled:
            console.print(Text(name, style="bold"))
        for table in tables_of(frame, room):
            console.print(table)
    lines = (line.rstrip() for line in text.getvalue().splitlines())
    return "\n".join(lines) + "\n"


def tables_of(frame: pl.DataFrame, room: int) -> list[Table]:
    """A frame as one table, or where that is wider than `room` a small one for each row: names down, values beside."""
    names = [clean(name) for name in frame.columns]
    cells = [[shown(value) for value in row] for row in frame.iter_rows()]
    whole = [max(map(wide, column)) for column in zip(names, *cells, strict=True)]
    is_number = [kind.is_numeric() for kind in frame.dtypes]
    least = [
        min(length, max(wide(name), PROSE)) if kind == pl.String else length
        for name, kind, length in zip(names, frame.dtypes, whole, strict=True)
    ]
    if sum(least) + GAP * (len(least) - 1) > room:
        return [record(f"{n} / {len(cells)}", names, row) for n, row in enumerate(cells, 1)] or [record("0", names, [])]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name, right, length in zip(names, is_number, least, strict=True):
        table.add_column(Text(name), justify="right" if right else "left", min_width=length, overflow="fold")
    for row in cells or [[""] * len(names)]:
        table.add_row(*map(Text, row))
    return [table]


GAP = 2
"""Characters between columns."""


def record(number: str, names: Sequence[str], row: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(number, overflow="fold")
    table.add_column(overflow="fold")
    for name, value in zip_longest(names, row, fillvalue=""):
        table.add_row(Text(name), Text(value))
    return table


def wide(text: str) -> int:
    return max(map(cell_len, text.split("\n")))


CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]+")
"""What a terminal obeys instead of showing it; strangers write into names."""


def clean(text: str) -> str:
    return CONTROL.sub(" ", text)


def shown(value: object) -> str:
    """A cell for people: short numbers, instants to the second, a dash for what is not known."""
    match value:
        case None:
            return "—"
        case bool():
            return _("yes") if value else _("no")
        case float():
            return f"{value:.4g}" if abs(value) < 1000 else f"{value:.1f}"
        case datetime():
            return (
                value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ") if value.tzinfo else f"{value:%Y-%m-%d %H:%M:%S}"
            )
        case date():
            return value.isoformat()
        case _:
            return clean(value.hex() if isinstance(value, bytes) else str(value))


def workbook(frames: Mapping[str, pl.DataFrame]) -> bytes:
    """An XLSX file, a sheet per table. Text stays text: a name that begins with `=` must not become a formula."""
    content = io.BytesIO()
    options = {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
    with xlsxwriter.Workbook(content, options) as book:
        for name, whole in frames.items():
            frame = finite(flat(whole))
            aware = [column for column, kind in frame.schema.items() if kind == pl.Datetime("us", "UTC")]
            # A sheet has no time zones; the column keeps its name, `_at`, which means UTC.
            plain = frame.with_columns(pl.col(aware).dt.replace_time_zone(None)) if aware else frame
            plain.write_excel(book, worksheet=name[:31], autofit=plain.height < 10_000)
    return content.getvalue()


def _bytes(write: Any) -> bytes:
    content = io.BytesIO()
    write(content)
    return content.getvalue()
