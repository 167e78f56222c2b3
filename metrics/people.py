"""Whose row is whose (R-USER): people who work here, people who have left, robots, and rows that belong to nobody.

Nobody is dropped: who has left keeps his rows with `user_active` false. Names are for the gateway to fill.
"""

from collections.abc import Sequence
from typing import Any, TypeVar

import narwhals.stable.v2 as nw
import polars as pl

from metrics.metric import Frames

UNASSIGNED = "unassigned"
"""The group of rows without a user; people read `(не назначен)`."""


def people(frames: Frames) -> nw.LazyFrame[Any]:
    """One row per user: account_id, user_id, user_active, user_is_robot (never null).

    Active = the source says so, not deleted at `as_of`, and not past the last day people set (`left_on`). The source
    only says what is now: who was deleted or left after `as_of` still worked here then.
    """
    col = nw.col
    is_deleted = (col("deleted_at") <= col("as_of_at")).fill_null(False)
    has_left = (col("left_on") <= col("as_of_on")).fill_null(False)
    goes_later = (col("deleted_at") > col("as_of_at")).fill_null(False)
    goes_later = goes_later | (col("left_on") > col("as_of_on")).fill_null(False)
    return (
        frames["user"]
        .join(frames["clock"].select("account_id", "as_of_at", "as_of_on"), on="account_id")
        .select(
            "account_id",
            "user_id",
            user_active=(col("is_active").fill_null(True) | goes_later) & ~is_deleted & ~has_left,
            user_is_robot=col("is_robot").fill_null(False),
        )
    )


def with_user_flags(rows: nw.LazyFrame[Any], frames: Frames, user_id: str = "user_id") -> nw.LazyFrame[Any]:
    """`rows` with `user_active` and `user_is_robot` of the user in the column `user_id`.

    Both are null where there is no user; a user the source never listed counts as active and human.
    """
    known = people(frames).rename({"user_id": user_id})
    is_named = ~nw.col(user_id).is_null()
    return rows.join(known, on=["account_id", user_id], how="left").with_columns(
        user_active=nw.when(is_named).then(nw.col("user_active").fill_null(True)),
        user_is_robot=nw.when(is_named).then(nw.col("user_is_robot").fill_null(False)),
    )


Rows = TypeVar("Rows", pl.DataFrame, nw.LazyFrame[Any])


def of_population(rows: Rows, population: Sequence[str] | None, user_id: str = "user_id") -> Rows:
    """Rows of these users only; all of them where no population is given."""
    if population is None:
        return rows
    if isinstance(rows, pl.DataFrame):
        return rows.filter(pl.col(user_id).is_in(population))
    return rows.filter(nw.col(user_id).is_in(list(population)))


def group_key(user_id: str = "user_id") -> pl.Expr:
    """`group_key` of a per-user table and of its drill-down rows: the user's id, or `UNASSIGNED`."""
    return pl.col(user_id).fill_null(UNASSIGNED).alias("group_key")
