"""Results on standard output or in a file: table, csv, json, parquet, xlsx.

A terminal gets coloured tables cut to its width; a pipe gets every column whole and no colours. Nothing but the result
goes to standard output.
"""

import io
import sys
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import orjson
import polars as pl
import xlsxwriter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from app.spreadsheets import harmless_rows
from commands.text import _
from config import ConfigError
from metrics.metric import MetricResult

Format = Literal["table", "csv", "json", "parquet", "xlsx"]
BINARY = ("parquet", "xlsx")
WIDE = 100_000
"""Characters a line may have where nobody looks at a terminal: no column is cut."""

NEEDS_FILE = "The format {format} is not text: name a file with --output, or send the output into a file or a pipe."


def deliver(content: bytes, output: Path | None, *, is_text: bool, form: str = "") -> None:
    """Write a result where it was asked for. Binary formats are never poured onto a terminal."""
    if output is not None:
        output.write_bytes(content)
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
            return harmless_rows(first).write_csv(datetime_format="%Y-%m-%dT%H:%M:%S%z").encode()
        case "json":
            return to_json({name: rows(frame) for name, frame in frames.items()} if titled else rows(first))
        case "parquet":
            return _bytes(first.write_parquet)
        case "xlsx":
            return workbook(frames)


def result_json(result: MetricResult, *, tables: Mapping[str, pl.DataFrame], with_drilldown: bool) -> bytes:
    """A metric's answer as JSON; the shape is part of the command line's contract."""
    shape: dict[str, Any] = {
        "metric_id": result.metric_id,
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
    floats = [
        pl.when(pl.col(name).is_finite()).then(pl.col(name)) for name, kind in frame.schema.items() if kind.is_float()
    ]
    return frame.with_columns(*floats).to_dicts()


def to_json(value: Any) -> bytes:
    return orjson.dumps(value, default=_plain, option=orjson.OPT_INDENT_2 | orjson.OPT_UTC_Z) + b"\n"


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, bytes):
        return value.hex()
    return str(value)


def tables_text(frames: Mapping[str, pl.DataFrame], *, titled: bool) -> str:
    """Tables for people: aligned, coloured on a terminal only."""
    seen = sys.stdout.isatty()
    text = io.StringIO()
    console = Console(file=text, force_terminal=seen, no_color=not seen, width=None if seen else WIDE)
    for name, frame in frames.items():
        if titled:
            console.print(Text(name, style="bold"))
        console.print(table_of(frame))
    lines = (line.rstrip() for line in text.getvalue().splitlines())
    return "\n".join(lines) + "\n"


def table_of(frame: pl.DataFrame) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name, kind in frame.schema.items():
        table.add_column(name, justify="right" if kind.is_numeric() else "left", no_wrap=True)
    for row in frame.iter_rows():
        table.add_row(*(Text(shown(value)) for value in row))
    if frame.is_empty():
        table.add_row(*(Text("") for _column in frame.columns))
    return table


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
            return str(value)


def workbook(frames: Mapping[str, pl.DataFrame]) -> bytes:
    """An XLSX file, a sheet per table. Text stays text: a name that begins with `=` must not become a formula."""
    content = io.BytesIO()
    options = {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
    with xlsxwriter.Workbook(content, options) as book:
        for name, frame in frames.items():
            aware = [column for column, kind in frame.schema.items() if kind == pl.Datetime("us", "UTC")]
            # A sheet has no time zones; the column keeps its name, `_at`, which means UTC.
            plain = frame.with_columns(pl.col(aware).dt.replace_time_zone(None)) if aware else frame
            plain.write_excel(book, worksheet=name[:31], autofit=plain.height < 10_000)
    return content.getvalue()


def _bytes(write: Any) -> bytes:
    content = io.BytesIO()
    write(content)
    return content.getvalue()
