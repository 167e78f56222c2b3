"""What was known of one account at `as_of` (R-ASOF), and how to ask for it.

Marts are built account by account, so that time zone, currency and `as_of` are plain values and keys are plain ids.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl

from metrics.marts.schema import MartParams

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Facts:
    """Published canonical tables of one account as they stood at `as_of`."""

    account_id: str
    tz: str
    base_currency: str
    as_of: datetime
    tables: Mapping[str, pl.LazyFrame]
    params: MartParams

    def rows(self, table: str, columns: Sequence[str], *, at: str | None = None) -> pl.DataFrame:
        """Rows of `table` without the account; those whose instant `at` is later than `as_of` are invisible."""
        own = self.tables[table].filter(pl.col("account_id") == self.account_id)
        seen = own if at is None else own.filter(pl.col(at) <= self.as_of)
        return seen.select(columns).collect()

    def alive(self, table: str, columns: Sequence[str], *, at: str) -> pl.DataFrame:
        """`rows` without those deleted by `as_of` (R-DEL); one deleted later is still there."""
        return self.rows(table, [*columns, "deleted_at"], at=at).filter(~self.is_deleted()).drop("deleted_at")

    def is_deleted(self) -> pl.Expr:
        """Whether the row's `deleted_at` has come."""
        return (pl.col("deleted_at") <= self.as_of).fill_null(False)

    def history_begins(self) -> datetime:
        """From when on all moves between stages are known; `as_of` where they were never read."""
        row = self.rows("coverage", ["resource", "complete_from", "watermark"]).filter(
            pl.col("resource") == "deal_stage_transition"
        )
        if row.is_empty() or row["watermark"][0] is None:
            return self.as_of
        begins: datetime | None = row["complete_from"][0]
        return begins or EPOCH


def three_ways(stem: str, tz: str) -> list[pl.Expr]:
    """`x_local` and `x_epoch` from `x_at`."""
    at = pl.col(f"{stem}_at")
    return [
        at.dt.convert_time_zone(tz).dt.replace_time_zone(None).alias(f"{stem}_local"),
        at.dt.epoch("s").alias(f"{stem}_epoch"),
    ]


def value_at(
    frame: pl.DataFrame, changes: pl.DataFrame, *, instant: str, was: str, now: str, by: str = "deal_id"
) -> pl.Series:
    """What a field of each row's deal was at `instant`, from its change log.

    The first change after the instant says what the field was before it; where none follows it is as `now` says. A null
    instant counts as now.

    Args:
        frame: has `by`, `instant`, `now`. changes: `by`, changed_at and `was`, the value before the change.
    """
    if changes.is_empty():
        return frame[now]
    later = changes.select(by, "changed_at", before=pl.col(was), found=pl.lit(True)).sort("changed_at")
    asked = frame.select(by, instant, now).with_row_index("row").filter(pl.col(instant).is_not_null()).sort(instant)
    matched = asked.join_asof(
        later,
        left_on=instant,
        right_on="changed_at",
        by=by,
        strategy="forward",
        allow_exact_matches=False,
        check_sortedness=False,
    )
    known = matched.filter("found").select("row", "before", "found")
    return (
        frame.select(now)
        .with_row_index("row")
        .join(known, on="row", how="left", maintain_order="left")
        .select(pl.when("found").then("before").otherwise(now).alias(now))
        .to_series()
    )
