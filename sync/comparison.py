"""One list of the CRM against the rows on hand.

A row is suspected when a list shows it otherwise than it is on hand, or not at all. It is asked for by its id then:
what has changed since the last sync is newer and no difference, what pages of a moving list have hidden is none either.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice, pairwise
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl

from connectors.connector import Comparable, Connector, Resource, Row, Slice, Window
from connectors.errors import Phrase
from connectors.records import (
    Account,
    DealAmountChange,
    DealOwnerChange,
    DealStageTransition,
    LeftOut,
    Patch,
    Record,
    Reread,
    Tombstone,
)
from sync import slices
from sync.doubts import FEW
from warehouse.on_hand import SCHEMA, columns_of, values_of

MOST_SUSPECTED = 2_000
"""More rows than these are not asked for one by one."""
MOST_PROBED = 100
RESERVE = 10
"""Requests kept for what is suspected."""
AT_ONCE = 250
ASPECTS = {"stage": ("pipeline_id", "stage_id"), "amount": ("amount_minor",), "owner": ("owner",)}
ASPECTS |= {"created": ("created_at",)}
"""Kinds of differences of a row that is on both sides, and the columns they are seen by."""
Shown = dict[str, Any]
"""A row by the names of `SCHEMA`."""


@dataclass(frozen=True)
class Budget:
    """Requests of one check of an account. used: so far."""

    most: int
    used: Callable[[], int]

    def left(self) -> int:
        return self.most - self.used()


@dataclass(frozen=True)
class Side:
    """The CRM as a check sees it. touched: our ids of what the source says has happened to since the last sync; None
    where it does not say. is_forgotten: whether a card, by our id, was erased here and is to stay so."""

    api: Any
    account: Account
    connector: Connector
    budget: Budget
    zone: ZoneInfo
    vanish_share: float
    touched: Callable[[], Collection[str] | None]
    is_forgotten: Callable[[str], bool] = lambda _: False

    def resource(self, name: str) -> Resource:
        return next(one for one in self.connector.resources if one.name == name)


@dataclass(frozen=True)
class Differing:
    """A row that is not the same here and there. kind: missing_here, missing_there, gone (missing there, and nobody
    says since when) or one of `ASPECTS`. native_id: the source's own. here, there: the row; None where it is not."""

    kind: str
    id: str
    native_id: str
    here: Shown | None
    there: Shown | None


@dataclass
class Compared:
    """What came of a list. n_here: living rows on hand. n_read: rows compared one by one; n_counted: others, in
    slices of which the source holds as many. is_whole: all were compared one by one. n_newer: rows that have changed
    since the last sync. found: the differences."""

    comparable: Comparable
    n_here: int = 0
    n_read: int = 0
    n_counted: int = 0
    is_whole: bool = False
    n_newer: int = 0
    found: list[Differing] = field(default_factory=list)
    notes: list[Phrase] = field(default_factory=list)
    error: Phrase | None = None


@dataclass
class Comparison:
    """ours: `on_hand`. end: what is newer than that the last sync need not have seen. pages: how many requests rows may
    be read with. turn: which older months are read this time."""

    side: Side
    of: Comparable
    ours: pl.DataFrame
    end: datetime
    pages: int
    turn: int
    stages: Collection[tuple[str, str]] = ()
    suspected: dict[str, str] = field(default_factory=dict)
    """The source's own ids by ours."""
    newer: set[str] = field(default_factory=set)
    read_ids: set[str] = field(default_factory=set)
    counted_ids: set[str] = field(default_factory=set)

    def run(self) -> Compared:
        result = Compared(self.of, n_here=int(self.ours["is_alive"].sum()))
        listed = self.listed()
        if self.of.can_slice(self.side.api):
            self.by_slices(listed, result)
        elif -(-listed.height // self.of.page(self.side.api)) <= self.pages:
            self.suspect(self.of.listed(self.side.api, self.side.account, None), listed)
            result.is_whole = True
        else:
            result.notes.append(Phrase("The account has no filters: of older rows nothing was compared."))
        self.suspect(self.of.newest(self.side.api, self.side.account))
        result.n_read, result.n_counted = len(self.read_ids), len(self.counted_ids - self.read_ids)
        self.conclude(result)
        return result

    def listed(self) -> pl.DataFrame:
        """Rows the list is to show, that are not too new."""
        return self.ours.filter("is_listed", pl.col(self.by) < self.end).sort(self.by)

    @property
    def by(self) -> str:
        return "changed_at" if self.of.by == "source_updated_at" else "created_at"

    def by_slices(self, listed: pl.DataFrame, result: Compared) -> None:
        first = listed[self.by].min() if listed.height else self.end
        assert isinstance(first, datetime)
        bounds = slices.months(first, self.end, self.side.zone)
        places = [int(listed[self.by].search_sorted(bound)) for bound in bounds]
        counts = [after - before for before, after in pairwise(places)]
        pages = min(self.pages, self.side.budget.left() - RESERVE)
        taken = slices.chosen(counts, page=self.of.page(self.side.api), pages=pages, turn=self.turn)
        for start, end in taken:
            self.read(Slice(bounds[start], bounds[end]), listed)
        left_over = slices.rest(taken, len(counts))
        result.is_whole = not left_over
        if left_over and self.of.counted:
            pieces = slices.groups(left_over, counts, most=slices.GROUPS * self.of.counts)
            parts = [Slice(bounds[start], bounds[end]) for start, end in pieces]
            older = bounds[-1 - min(slices.RECENT, len(counts))]
            parts += [Slice(bounds[0], older, stage) for stage in self.stages if bounds[0] < older]
            self.count(parts, listed, result)

    def read(self, part: Slice, listed: pl.DataFrame) -> None:
        rows = self.of.listed(self.side.api, self.side.account, part)
        self.suspect(rows, within(listed, part, self.by))

    def count(self, parts: Sequence[Slice], listed: pl.DataFrame, result: Compared) -> None:
        """Ask how many rows slices hold; of what is not equal the halves, until a request can bring their rows."""
        assert self.of.counted is not None
        waiting = {part: within(listed, part, self.by) for part in parts}
        page = self.of.page(self.side.api)
        while waiting and self.side.budget.left() > RESERVE:
            some = dict(islice(waiting.items(), self.of.counts))
            answers = self.of.counted(self.side.api, self.side.account, {part: f.height for part, f in some.items()})
            for part, rows in some.items():
                del waiting[part]
                self.suspect(answers[part].rows)
                if answers[part].is_equal:
                    self.counted_ids.update(() if part.stage else rows["id"])
                elif rows.height <= page or not (halves := halved(part, rows, self.by)):
                    self.read(part, listed)
                else:
                    waiting |= {half: within(rows, half, self.by) for half in halves}
        if waiting:
            result.notes.append(
                Phrase("parts that were not counted, for the requests of this check were used up: {n}", n=len(waiting))
            )

    def suspect(self, rows: Iterable[Row], expected: pl.DataFrame | None = None) -> None:
        """Compare rows of the list with those on hand. expected: all that ought to be among them."""
        there = frame_of(rows, self.of.kind)
        self.read_ids.update(there["id"])
        both = there.join(self.ours, on="id", how="left", suffix="_here")
        differing = both.filter(~pl.col("is_alive").fill_null(value=False) | differs(self.of.kind))
        newer = differing.filter(pl.coalesce("changed_at", "created_at") >= self.end)
        self.newer.update(newer["id"])
        self.suspected |= dict(differing.select("id", "native_id").iter_rows())
        if expected is not None and not self.of.has_others:
            missing = expected.join(there, on="id", how="anti")["id"]
            self.suspected |= {one: one.removeprefix(self.of.prefix) for one in missing if one not in self.suspected}

    def conclude(self, result: Compared) -> None:
        """Ask for each suspected row by its id, and say what it is."""
        ids = {own: native for own, native in self.suspected.items() if own not in self.newer}
        if len(ids) > MOST_SUSPECTED:
            result.notes.append(
                Phrase("{n} rows differ; {most} of them were looked at one by one.", n=len(ids), most=MOST_SUSPECTED)
            )
            ids = dict(islice(ids.items(), MOST_SUSPECTED))
        here = {row["id"]: row for row in self.ours.filter(pl.col("id").is_in([*ids])).iter_rows(named=True)}
        here = {own: row for own, row in here.items() if row["is_alive"]}
        there = self.named(ids.values()) if ids else {}
        absent = {own: ids[own] for own in ids if own not in there and own in here}
        there = {own: row for own, row in there.items() if own in here or not self.side.is_forgotten(own)}
        found = [one for own in ids if own in there for one in self.judged(own, ids[own], here.get(own), there[own])]
        found += self.absent(absent, here, result)
        touched = self.side.touched() if found else ()
        for one in found:
            if touched and one.id in touched:
                self.newer.add(one.id)
        dated = touched is not None and bool(self.side.connector.traces)
        result.found = [
            one if dated or one.kind != "missing_there" else Differing("gone", one.id, one.native_id, one.here, None)
            for one in found
            if one.id not in self.newer
        ]
        result.n_newer = len(self.newer)

    def named(self, ids: Collection[str]) -> dict[str, Shown]:
        waiting, found = iter(ids), dict[str, Shown]()
        while some := list(islice(waiting, AT_ONCE)):
            rows = frame_of(self.of.named(self.side.api, self.side.account, some), self.of.kind)
            found |= {row["id"]: row for row in rows.iter_rows(named=True)}
        return found

    def judged(self, own: str, native_id: str, here: Shown | None, there: Shown) -> Iterator[Differing]:
        if (there["changed_at"] or there["created_at"]) >= self.end:
            self.newer.add(own)
        elif here is None:
            yield Differing("missing_here", own, native_id, None, there)
        else:
            for kind, columns in ASPECTS.items():
                known = [name for name in columns if name in columns_of(self.of.kind)]
                if any(here[name] != there[name] for name in known):
                    yield Differing(kind, own, native_id, here, there)

    def absent(self, ids: Mapping[str, str], here: Mapping[str, Shown], result: Compared) -> Iterator[Differing]:
        """Rows on hand that the source does not show: gone, unless they are only out of sight."""
        if len(ids) > max(FEW, self.side.vanish_share * result.n_here):
            result.error = Phrase(
                "The CRM does not show {n} of the rows on hand, more than {share} %: that is rather for want of rights "
                "than because they are deleted, so none counts as missing. Check the rights of the token's owner.",
                n=len(ids),
                share=f"{100 * self.side.vanish_share:g}",
            )
            return
        resource = self.side.resource(self.of.resource)
        if "probe" not in resource.windows:
            return
        some = dict(islice(ids.items(), MOST_PROBED))
        probed = resource.read(self.side.api, self.side.account, Window("probe", ids=tuple(some.values())))
        gone = {item.id for item in probed if isinstance(item, Tombstone)}
        for own, native_id in some.items():
            if own in gone:
                yield Differing("missing_there", own, native_id, here[own], None)


def within(rows: pl.DataFrame, part: Slice, by: str) -> pl.DataFrame:
    found = rows.filter(pl.col(by) >= part.start, pl.col(by) < part.end)
    if part.stage:
        pipeline, stage = part.stage
        found = found.filter(pl.col("pipeline_id") == pipeline, pl.col("stage_id") == stage)
    return found


def halved(part: Slice, rows: pl.DataFrame, by: str) -> list[Slice]:
    """Both halves of a slice by the number of its rows; none where it cannot be cut."""
    middle: datetime = rows[by][rows.height // 2].replace(microsecond=0)
    if not part.start < middle < part.end - timedelta(seconds=1):
        return []
    return [Slice(part.start, middle, part.stage), Slice(middle, part.end, part.stage)]


def frame_of(rows: Iterable[Row], kind: type[Record]) -> pl.DataFrame:
    """native_id, id and the columns of `SCHEMA` of rows the source shows, each once."""
    values, columns = values_of(kind), columns_of(kind)
    schema: dict[str, Any] = {"native_id": pl.String(), "id": pl.String()} | {name: SCHEMA[name] for name in columns}
    data = [(native_id, *values(record)) for native_id, record in rows]
    frame = pl.DataFrame(data, schema=schema, orient="row").unique("id", keep="last", maintain_order=True)
    others = [pl.lit(None, of).alias(name) for name, of in SCHEMA.items() if name not in columns]
    return frame.with_columns(others).select("native_id", "id", *SCHEMA)


def differs(kind: type[Record]) -> pl.Expr:
    """That a row is not as it is on hand, in one of the columns its kind has."""
    names = [name for some in ASPECTS.values() for name in some if name in columns_of(kind)]
    return pl.any_horizontal(pl.col(name).ne_missing(pl.col(f"{name}_here")) for name in names)


def touched(api: Any, account: Account, connector: Connector, since: datetime) -> Collection[str] | None:
    """Our ids of whatever the source says has happened to since an instant; None where it does not say."""
    found = set[str]()
    prefixes = {(one.resource, one.prefix) for one in connector.comparables}
    for name in connector.traces:
        resource = next(one for one in connector.resources if one.name == name)
        for item in resource.read(api, account, Window("changed", start=since)):
            match item:
                case LeftOut():
                    return None
                case Tombstone() | Patch():
                    found.add(item.id)
                case Reread():
                    found |= {f"{prefix}{one}" for of, prefix in prefixes if of == item.resource for one in item.ids}
                case DealStageTransition() | DealOwnerChange() | DealAmountChange():
                    found.add(item.deal_id)
    return found
