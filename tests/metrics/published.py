"""Columns of published tables, and whole frames from a few of them."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any

import polars as pl
from sqlalchemy import TIMESTAMP, Boolean, Date, Double, Table, Text

from metrics.marts import MARTS
from warehouse import models

Rows = pl.DataFrame | Sequence[Mapping[str, Any]]

INTERNAL = {"synced_at", "raw_hash", "read_seq", "load_seq"}
FLAGS_TRUE = {"is_active", "is_sales"}
"""Flags that are true unless a test says otherwise; all others are false, as marts never leave a flag null."""


def published(table: Table) -> dict[str, pl.DataType]:
    """Columns of a canonical table as a publication has them."""
    schema: dict[str, pl.DataType] = {}
    for column in table.columns:
        if column.name in INTERNAL or column.info.get("pii"):
            continue
        match column.type:
            case Text():
                schema[column.name] = pl.String()
            case Boolean():
                schema[column.name] = pl.Boolean()
            case Date():
                schema[column.name] = pl.Date()
            case Double():
                schema[column.name] = pl.Float64()
            case TIMESTAMP():
                schema[column.name] = pl.Datetime("us", "UTC")
                if column.name.endswith("_at") and column.name != "source_updated_at":
                    schema[f"{column.name[:-3]}_local"] = pl.Datetime("us")
                    schema[f"{column.name[:-3]}_epoch"] = pl.Int64()
            case _:
                schema[column.name] = pl.Int64()
    return schema | DERIVED.get(table.name, {})


DERIVED: dict[str, dict[str, pl.DataType]] = {
    "message": {"text_len": pl.Int64()},
    "task": {"text_len": pl.Int64(), "result_len": pl.Int64()},
    "deal": {"comment_letters": pl.Int64()},
    "call": {"has_recording": pl.Boolean()},
    "field_value": {"is_empty": pl.Boolean()},
}
NOT_PUBLISHED = {"raw_record", "sync_state", "sync_run"}

SCHEMAS: dict[str, dict[str, pl.DataType]] = {
    **{name: published(table) for name, table in models.metadata.tables.items() if name not in NOT_PUBLISHED},
    **MARTS,
}


@cache
def _empty(table: str) -> pl.DataFrame:
    return pl.DataFrame(schema=SCHEMAS[table])


def whole(table: str, rows: Rows, tz: str = "Europe/Moscow") -> pl.DataFrame:
    """`rows` of `table` with every column: account `main`, `_local` and `_epoch` from `_at`, flags, then nulls."""
    if not isinstance(rows, pl.DataFrame) and not rows:
        return _empty(table)
    schema = SCHEMAS[table]
    given = rows if isinstance(rows, pl.DataFrame) else _of_dicts(rows, schema)
    if strange := set(given.columns) - set(schema):
        raise ValueError(f"{table} has no column {', '.join(sorted(strange))}")
    frame = given.cast({name: schema[name] for name in given.columns})
    for name in [name for name in frame.columns if name.endswith("_at") and f"{name[:-3]}_epoch" in schema]:
        instant, stem = pl.col(name), name[:-3]
        frame = frame.with_columns(
            instant.dt.convert_time_zone(tz).dt.replace_time_zone(None).alias(f"{stem}_local"),
            instant.dt.epoch("s").alias(f"{stem}_epoch"),
        )
    defaults = {
        name: pl.lit(_default(name, kind), dtype=kind) for name, kind in schema.items() if name not in frame.columns
    }
    return frame.with_columns(**defaults).select(*schema)


def _of_dicts(rows: Sequence[Mapping[str, Any]], schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    names = {name: None for row in rows for name in row}
    if strange := set(names) - set(schema):
        raise ValueError(f"no such column: {', '.join(sorted(strange))}")
    return pl.DataFrame([dict(row) for row in rows], schema={name: schema[name] for name in names})


def _default(name: str, kind: pl.DataType) -> Any:
    if name == "account_id":
        return "main"
    if kind == pl.Boolean() and name.startswith(("is_", "has_")) and name != "is_paid":
        return name in FLAGS_TRUE
    return None


def canonical(
    tables: Mapping[str, Rows], tz: str = "Europe/Moscow", accounts: Sequence[Mapping[str, Any]] = ()
) -> dict[str, pl.LazyFrame]:
    """Every canonical table, whole and lazy, as `marts.build` gets them; stage moves are complete unless said."""
    known = list(accounts) or [{"account_id": "main", "tz": tz, "base_currency": "RUB"}]
    complete = [
        {"account_id": one["account_id"], "resource": "deal_stage_transition", "watermark": ALWAYS} for one in known
    ]
    given = {"account": known, "coverage": complete, **tables}
    return {name: whole(name, given.get(name, []), tz).lazy() for name in SCHEMAS if name not in MARTS}


ALWAYS = datetime(2100, 1, 1, tzinfo=UTC)


def set_by_people(stages: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """What metrics need people to say, said of `stages`: a deadline of three days for each, and a key stage."""
    key = ["account_id", "pipeline_id", "stage_id"]
    rungs = stages.filter(kind="open").sort("account_id", "pipeline_id", "sort", "stage_id")
    is_second = pl.int_range(pl.len()).over("account_id", "pipeline_id") == 1
    told = rungs.select(*key, sla_s=pl.lit(3 * 86_400), sla_clock=pl.lit("wall"), is_kev=is_second)
    return {"stage": told}
