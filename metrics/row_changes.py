"""What became of the rows of one table between two generations, class by class, and the table with some classes done.

A row is known by its key. A class (`PARTS`) is told of every difference: of a row that went or came as a whole, of a
row that is in both column by column, since one deal may have been edited and handed over. `Changed.until(part)` is the
older table with all differences up to that class put in; up to the last one it is the newer table.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import polars as pl

PARTS = ("time", "deleted", "merged", "reassigned", "edited", "new", "redefined")
"""Why a number changes, in the order in which the differences are put in: the clock, then rows, then definitions."""
DELETED, MERGED, REASSIGNED, EDITED, NEW, REDEFINED = (PARTS.index(part) for part in PARTS[1:])

KEYS: dict[str, tuple[str, ...]] = {
    # table: its key after account_id
    "account": (),
    "activity": ("activity_id",),
    "calendar_exception": ("calendar_id", "day", "position"),
    "calendar_hours": ("calendar_id", "isoweekday", "opens_s"),
    "call": ("call_id",),
    "client_phone": ("entity_id", "phone_key"),
    "company": ("company_id",),
    "contact": ("contact_id",),
    "coverage": ("resource",),
    "customer": ("customer_id",),
    "deal": ("deal_id",),
    "deal_amount_change": ("change_id",),
    "deal_contact": ("deal_id", "contact_id"),
    "deal_invoice": ("deal_id", "invoice_id"),
    "deal_item": ("deal_item_id",),
    "deal_owner_change": ("change_id",),
    "deal_stage_transition": ("change_id",),
    "fx_rate": ("day", "currency"),
    "invoice": ("invoice_id",),
    "loss_reason": ("loss_reason_id",),
    "merge_link": ("kind", "from_id"),
    "message": ("message_id",),
    "payment": ("payment_id",),
    "pipeline": ("pipeline_id",),
    "request": ("request_id",),
    "sales_doc": ("doc_id",),
    "source": ("source_id",),
    "stage": ("pipeline_id", "stage_id"),
    "task": ("task_id",),
    "task_link": ("task_id", "entity_id"),
    "user": ("user_id",),
    "user_absence": ("user_id", "first_day"),
}

WHOLE = {
    "merge_link": MERGED,
    "deal_owner_change": REASSIGNED,
    "deal_amount_change": EDITED,
    "coverage": NEW,
    "calendar_hours": REDEFINED,
    "calendar_exception": REDEFINED,
}
"""Tables of which every difference is of one class: logs that tell of changes, and what is no fact of the source."""
CARDS = ("entity_id", "contact_id", "company_id", "main_contact_id", "deal_id")
"""Columns that name a card. One that names the winner of a merge where it named the loser was changed by the merge."""
SETS = ("deal_contact", "client_phone", "deal_invoice", "task_link")
"""Tables of links: one to a winner of a merge that is new came with it."""
PLACE = ("pipeline_id", "stage_id", "closed_at", "closed_local", "closed_epoch", "loss_reason_id", "source_updated_at")
"""Columns of a deal that a move changes: they go with the move, which is a new row of its log."""


@dataclass(frozen=True)
class Known:
    """What other tables tell of rows. Cards as `account|id`."""

    losers: pl.Series
    winners: pl.Series
    moved: pl.Series


@dataclass(frozen=True)
class Changed:
    """A table in two generations: `same` rows, and the `rows` that differ with both versions and their classes.

    columns: of both generations together; what one lacks is null there.
    """

    table: str
    columns: tuple[str, ...]
    same: pl.LazyFrame
    rows: pl.DataFrame

    def until(self, step: int) -> pl.LazyFrame:
        """The table with the differences of classes up to `step` put in."""
        is_gone, is_new = pl.col("_in_a") & ~pl.col("_in_b"), pl.col("_in_b") & ~pl.col("_in_a")
        is_there = pl.when(is_gone).then(pl.col("_class") > step).when(is_new).then(pl.col("_class") <= step)
        keys = keys_of(self.table, self.columns)
        values = [
            pl.when(is_new | (~is_gone & (pl.col(f"_class_{name}") <= step)))
            .then(f"_b_{name}")
            .otherwise(name)
            .alias(name)
            for name in self.columns
            if name not in keys
        ]
        rows = self.rows.filter(is_there.otherwise(True)).select(*keys, *values).select(self.columns)
        return pl.concat([self.same.select(self.columns), rows.lazy()])

    @cached_property
    def counts(self) -> dict[str, int]:
        """How many rows have a difference of each part."""
        whole = pl.col("_in_a") & pl.col("_in_b")
        differs = {
            name: pl.col(name).ne_missing(pl.col(f"_b_{name}"))
            for name in self.columns
            if f"_class_{name}" in self.rows.columns
        }
        found = {}
        for step, part in enumerate(PARTS):
            own = [differs[name] & (pl.col(f"_class_{name}") == step) for name in differs]
            of_columns = pl.any_horizontal(own) if own else pl.lit(False)
            n = self.rows.filter(pl.when(whole).then(of_columns).otherwise(pl.col("_class") == step)).height
            found[part] = n
        return found


def keys_of(table: str, columns: Iterable[str]) -> list[str]:
    """The key of a table; of one that is not known, all its columns: its rows only come and go."""
    return ["account_id", *KEYS[table]] if table in KEYS else list(columns)


def changed(table: str, older: pl.LazyFrame, newer: pl.LazyFrame, known: Known, same: pl.LazyFrame | None) -> Changed:
    """Compare two versions of a table by key and a hash of their rows.

    same: rows known to be in both as they are, of files that both generations share.
    """
    was, now = older.collect_schema(), newer.collect_schema()
    columns = (*now.names(), *(name for name in was.names() if name not in now))
    a, b = (_aligned(frame, columns, {**was, **now}) for frame in (older, newer))
    keys = keys_of(table, columns)
    sums = [frame.select(*keys, _sum=pl.struct(columns).hash(seed=20260101)) for frame in (a, b)]
    both = sums[0].join(sums[1], on=keys, how="full", coalesce=True, nulls_equal=True, suffix="_b")
    differ = both.filter(pl.col("_sum").ne_missing(pl.col("_sum_b"))).select(keys).collect(engine="streaming")
    rows = _paired(a, b, differ, keys)
    kept = a.join(differ.lazy(), on=keys, how="anti", nulls_equal=True) if differ.height else a
    unchanged = kept if same is None else pl.concat([kept, _aligned(same, columns, {**was, **now})])
    classes = _classes(table, columns, keys, set(was.names()) ^ set(now.names()), known)
    return Changed(table, columns, unchanged, rows.with_columns(**classes))


def _aligned(frame: pl.LazyFrame, columns: Iterable[str], types: Mapping[str, pl.DataType]) -> pl.LazyFrame:
    own = frame.collect_schema()
    return frame.select(
        (pl.col(name) if name in own else pl.lit(None)).cast(types[name]).alias(name) for name in columns
    )


def _paired(a: pl.LazyFrame, b: pl.LazyFrame, differ: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """Both versions of the rows whose keys are in `differ`: the newer one's columns as `_b_<name>`."""
    own = differ.lazy()
    left, right = (
        frame.join(own, on=keys, how="semi", nulls_equal=True).with_columns(**{flag: pl.lit(True)})
        for frame, flag in ((a, "_in_a"), (b, "_in_b"))
    )
    renamed = right.rename({name: f"_b_{name}" for name in b.collect_schema().names() if name not in keys})
    paired = left.join(renamed, on=keys, how="full", coalesce=True, nulls_equal=True)
    return paired.with_columns(pl.col("_in_a", "_in_b").fill_null(False)).collect(engine="streaming")


def _classes(table: str, columns: Iterable[str], keys: list[str], lacked: set[str], known: Known) -> dict[str, pl.Expr]:
    """`_class` of a row that went or came, and `_class_<column>` of each column of a row that is in both."""
    of_keys = [name for name in CARDS if name in keys]
    lost = _names(of_keys, known.losers)
    won = _names(of_keys, known.winners) if table in SETS else pl.lit(False)
    if table in WHOLE:
        whole = {"_class": pl.lit(WHOLE[table])}
    else:
        gone = pl.when(lost).then(MERGED).otherwise(DELETED)
        whole = {"_class": pl.when("_in_b").then(pl.when(won).then(MERGED).otherwise(NEW)).otherwise(gone)}
    moved = _names(["deal_id"], known.moved) if table == "deal" else pl.lit(False)
    for name in columns:
        if name in keys:
            continue
        if name in lacked or table == "account":
            one = pl.lit(REDEFINED)
        elif table in WHOLE:
            one = pl.lit(WHOLE[table])
        elif name in CARDS:
            one = pl.when(lost | _names([name], known.losers)).then(MERGED).otherwise(EDITED)
        elif name.startswith("deleted_"):
            one = pl.when(lost).then(MERGED).otherwise(DELETED)
        elif name == "responsible_user_id":
            one = pl.when(lost).then(MERGED).otherwise(REASSIGNED)
        elif name in PLACE:
            one = pl.when(lost).then(MERGED).when(moved).then(NEW).otherwise(EDITED)
        else:
            one = pl.when(lost).then(MERGED).otherwise(EDITED)
        whole[f"_class_{name}"] = one
    return whole


def _names(columns: Iterable[str], cards: pl.Series) -> pl.Expr:
    """Whether any of the columns names one of the cards."""
    named = [card(name).is_in(cards.implode()).fill_null(False) for name in columns]
    return pl.any_horizontal(named) if named and cards.len() else pl.lit(False)


def card(column: str) -> pl.Expr:
    """A card of an account as one text."""
    return pl.concat_str("account_id", pl.lit("|"), column)


Files = tuple[Path, ...]


def shared(older: Files, newer: Files) -> tuple[Files, Files, Files]:
    """Files that only the older, only the newer, and both generations have: months that were linked are one file."""
    known = {_identity(file): file for file in newer}
    both = tuple(file for file in older if _identity(file) in known)
    of_both = {_identity(file) for file in both}
    return (
        tuple(file for file in older if _identity(file) not in of_both),
        tuple(file for file in newer if _identity(file) not in of_both),
        both,
    )


def _identity(file: Path) -> tuple[int, int]:
    seen = file.stat()
    return seen.st_dev, seen.st_ino
