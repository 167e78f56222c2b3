"""What is on hand of a list, in the few columns that `voronka check` compares."""

from collections.abc import Callable, Mapping
from functools import cache
from operator import attrgetter
from typing import Any

import polars as pl
from sqlalchemy import Connection

from connectors.records import Record
from warehouse.columns import layout, quoted
from warehouse.suppression import STAND_IN
from warehouse.sweeps import on_living_cards

SCHEMA: Mapping[str, pl.DataType] = {
    "pipeline_id": pl.String(),
    "stage_id": pl.String(),
    "amount_minor": pl.Int64(),
    "currency": pl.String(),
    "owner": pl.String(),
    "created_at": pl.Datetime("us", "UTC"),
    "changed_at": pl.Datetime("us", "UTC"),
}
"""changed_at: by the source's clock."""
NAMES = {"owner": ("responsible_user_id", "user_id"), "created_at": ("created_at", "started_at")}
"""Columns of records, where they are called otherwise there."""


@cache
def columns_of(kind: type[Record]) -> Mapping[str, str]:
    """Those of `SCHEMA` a kind has, and what they are called there."""
    names = {name: NAMES.get(name, (name,)) for name in SCHEMA} | {"changed_at": ("source_updated_at",)}
    found = {name: next((one for one in some if one in kind.model_fields), None) for name, some in names.items()}
    return {name: column for name, column in found.items() if column is not None}


@cache
def values_of(kind: type[Record]) -> Callable[[Record], tuple[Any, ...]]:
    """Of a record: its id and what `columns_of` names."""
    return attrgetter(layout(kind).keys[1], *columns_of(kind).values())


def on_hand(connection: Connection, account_id: str, kind: type[Record], prefix: str) -> pl.DataFrame:
    """id, the columns of `SCHEMA`, is_alive, is_listed: whether the source's list is to show the row; what hangs on a
    deleted card left the list with it. What stands for a forgotten card is no row of a list."""
    lay, columns = layout(kind), columns_of(kind)
    alive = f"t.{lay.removal} IS NULL" if lay.removal else "TRUE"
    picked = ", ".join(
        f"t.{quoted(columns[name])} AS {name}" if name in columns else f"NULL AS {name}" for name in SCHEMA
    )
    driver: Any = connection.connection.dbapi_connection
    found = driver.execute(
        f"SELECT t.{quoted(lay.keys[1])} AS id, {picked}, {alive} AS is_alive, "
        f"({alive}{on_living_cards(lay)}) AS is_listed FROM {quoted(lay.table)} t "
        f"WHERE t.account_id = ? AND t.read_seq > 0 AND starts_with(t.{quoted(lay.keys[1])}, ?) "
        f"AND NOT contains(t.{quoted(lay.keys[1])}, ':{STAND_IN}')",
        (account_id, prefix),
    )
    frame = pl.DataFrame(found.to_arrow_table())
    return frame.select("id", *(pl.col(name).cast(of) for name, of in SCHEMA.items()), "is_alive", "is_listed")
