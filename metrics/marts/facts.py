"""What was known of one account at `as_of` (R-ASOF), and how to ask for it.

Marts are built account by account, so that time zone, currency and `as_of` are plain values and keys are plain ids.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import cast

import polars as pl
import polars.selectors as cs

from metrics.marts.parts import digest
from metrics.marts.schema import MartParams

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
PART_ROWS = 500_000
"""About how many rows of a large table are worked on at a time: memory hangs on it, what comes out does not."""
SMALL = 20
"""A month with less than this part of them is not worth a part of its own."""
OF_DEALS = ("deal", "deal_stage_transition", "deal_owner_change", "deal_amount_change")
"""Tables whose rows are of one deal each."""

Span = tuple[datetime, datetime]
"""From the first instant to before the second."""


@dataclass(frozen=True)
class Facts:
    """Published canonical tables of one account as they stood at `as_of`."""

    account_id: str
    tz: str
    base_currency: str
    as_of: datetime
    tables: Mapping[str, pl.LazyFrame]
    params: MartParams
    of_some: Mapping[str, pl.LazyFrame] = field(default_factory=dict)
    """In place of tables of the same names: rows of some deals only."""

    def rows(
        self, table: str, columns: Sequence[str], *, at: str | None = None, within: Span | None = None
    ) -> pl.DataFrame:
        """Rows of `table` without the account; those whose instant `at` is later than `as_of` are invisible.

        within: only those whose `at` is in the span.
        """
        own = self._own(table)
        seen = own if at is None else own.filter(pl.col(at) <= self.as_of)
        if at is not None and within is not None:
            seen = seen.filter(pl.col(at) >= within[0], pl.col(at) < within[1])
        return seen.select(columns).collect()

    def _own(self, table: str) -> pl.LazyFrame:
        rows = self.of_some[table] if table in self.of_some else self.tables[table]
        return rows.filter(pl.col("account_id") == self.account_id)

    def alive(self, table: str, columns: Sequence[str], *, at: str, within: Span | None = None) -> pl.DataFrame:
        """`rows` without those deleted by `as_of` (R-DEL); one deleted later is still there."""
        seen = self.rows(table, [*columns, "deleted_at"], at=at, within=within)
        return seen.filter(~self.is_deleted()).drop("deleted_at")

    def spans(self, table: str, at: str) -> list[Span]:
        """Spans in order, one at least, that hold all that `rows` sees: months, so that what comes in changes few.

        Small months go together, large ones are cut, each at `PART_ROWS` of their own.
        """
        instants = self.rows(table, [at], at=at).sort(at)
        begins: list[datetime] = []
        n = PART_ROWS
        for (month,), rows in instants.group_by(pl.col(at).dt.truncate("1mo"), maintain_order=True):
            if n >= PART_ROWS // SMALL:
                begins, n = [*begins, cast(datetime, month)], 0
            cuts = rows[at].gather_every(PART_ROWS)[1:]
            begins, n = [*begins, *cuts.to_list()], n + rows.height - PART_ROWS * len(cuts)
        return list(pairwise([*(sorted({*begins}) or [self.as_of]), self.as_of + timedelta(microseconds=1)]))

    def digest(self, *frames: pl.DataFrame) -> str:
        """Of all that a part of a mart is made from: `frames`, account, time zone and parameters.

        `as_of` is none of it: what is visible then, the frames hold.
        """
        return digest(f"{self.account_id}:{self.tz}:{self.params.model_dump_json()}", *frames)

    def by_deals(self) -> Iterator["Facts"]:
        """The same facts with some of the deals only, deals in order of their ids, and all that is theirs."""
        ids = self.rows("deal", ["deal_id"]).to_series().sort()
        begins = ids.gather_every(max(PART_ROWS // 2, 1)).to_list()
        for begin, end in pairwise([None, *begins[1:], None]):
            deal_id = pl.col("deal_id")
            after = pl.lit(True) if begin is None else deal_id >= begin
            before = pl.lit(True) if end is None else deal_id < end
            own = {
                name: self._own(name).filter(after, before).select(~cs.ends_with("_local", "_epoch")).collect().lazy()
                for name in OF_DEALS
            }
            yield replace(self, of_some=own)

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
