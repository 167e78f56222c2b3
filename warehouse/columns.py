"""Turns records into columns, and knows which column of a table comes from where."""

import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from operator import attrgetter
from typing import Any

import polars as pl
import pyarrow as pa
from sqlalchemy import BigInteger, Boolean, Date, Double, Text
from sqlalchemy.types import TIMESTAMP

from connectors.records import Call, ClientEmail, ClientPhone, Record, Request
from warehouse.models import key_of, metadata

BOOKKEEPING = ("source_updated_at", "synced_at", "raw_hash", "read_seq", "load_seq")
"""What the loader keeps about every row."""

ARROW = {
    Text: pa.string(),
    BigInteger: pa.int64(),
    Double: pa.float64(),
    Boolean: pa.bool_(),
    Date: pa.date32(),
    TIMESTAMP: pa.timestamp("us", "UTC"),
}


@dataclass(frozen=True)
class Layout:
    """How records of one kind lie in their table.

    names: fields of the record that are columns. keys: the key. rest: the other columns, bookkeeping apart.
    owner: the column that names the owner of a set, None for rows that stand alone. removal: the column a tombstone
    or a listing touches.
    """

    table: str
    keys: tuple[str, ...]
    rest: tuple[str, ...]
    names: tuple[str, ...]
    types: tuple[pa.DataType, ...]
    values: Callable[[Record], tuple[Any, ...]]
    owner: str | None
    removal: str | None
    has_activity: bool


@cache
def layout(kind: type[Record]) -> Layout:
    table = metadata.tables[kind.table()]
    stored = [column for column in table.columns if column.name in kind.model_fields]
    names = tuple(column.name for column in stored)
    keys = key_of(table)
    return Layout(
        table=table.name,
        keys=keys,
        rest=tuple(c.name for c in table.columns if c.name not in keys and c.name not in BOOKKEEPING),
        names=names,
        types=tuple(ARROW[type(column.type)] for column in stored),
        values=attrgetter(*names),
        owner=table.info["owner"],
        removal=kind.ended or next((name for name in ("deleted_at", "removed_at") if name in table.columns), None),
        has_activity="is_active" in table.columns,
    )


def to_frame(
    kind: type[Record],
    records: Sequence[Record],
    seqs: Sequence[int],
    *,
    load_seq: int,
    synced_at: datetime,
    key: bytes,
) -> pl.DataFrame:
    """`records` of one kind as columns, one row a key: of two readings the later, of two of one reading the last."""
    lay = layout(kind)
    columns = zip(*map(lay.values, records), strict=True)
    arrays = [pa.array(values, type=of) for values, of in zip(columns, lay.types, strict=True)]
    frame = pl.DataFrame(pa.Table.from_arrays(arrays, names=list(lay.names))).with_columns(
        pl.Series("read_seq", seqs, dtype=pl.Int64),
        pl.lit(load_seq, dtype=pl.Int64).alias("load_seq"),
        pl.lit(synced_at, dtype=pl.Datetime("us", "UTC")).alias("synced_at"),
    )
    frame = frame.with_columns(*_loaded(kind, frame, key))
    if not frame["read_seq"].is_sorted():
        frame = frame.sort("read_seq", maintain_order=True)
    return frame.unique(list(lay.keys), keep="last", maintain_order=True)


def _loaded(kind: type[Record], frame: pl.DataFrame, key: bytes) -> list[pl.Series | pl.Expr]:
    """Columns computed at load: keyed hashes of personal data, so that the rest of the house can join by them."""
    digits = pl.col("phone_raw").str.count_matches(r"[0-9]").fill_null(0).cast(pl.Int64).alias("phone_digits")
    if kind is Call:
        return [_hashes("phone_key", frame["phone_e164"], key), digits]
    if kind is Request:
        return [_hashes("phone_key", frame["phone_e164"], key)]
    if kind is ClientPhone:
        # a number nobody can parse still has to be a row of its own; it never equals the key of a call
        said = frame.select(pl.coalesce("phone_e164", pl.format("raw:{}", "phone_raw"))).to_series()
        return [_hashes("phone_key", said, key), digits]
    if kind is ClientEmail:
        return [_hashes("email_key", frame["email_norm"], key)]
    return []


def _hashes(name: str, values: pl.Series, key: bytes) -> pl.Series:
    digest = hmac.digest
    hashed = [None if value is None else digest(key, value.encode(), "sha256").hex() for value in values]
    return pl.Series(name, hashed, dtype=pl.String)


def quoted(name: str) -> str:
    return f'"{name}"'
