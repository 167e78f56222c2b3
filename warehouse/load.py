"""Writes what connectors yield: columnar batches, one statement a table, never row by row.

What decides between two readings of the same thing is `read_seq`, the ordinal of the response it came in, never the
order of writing: the same batches in any order, repeated, or cut off by a kill and sent again, end in the same tables.

A row says whether it is deleted; so do tombstones and listings, which may be read before it or after. They are kept in
`tombstone`, and whichever was read later decides. `patch` keeps instants only events know, the latest wins.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

import polars as pl
from sqlalchemy import Connection

from connectors.records import (
    RECORDS,
    LeftOut,
    Listing,
    Notice,
    OwnedSet,
    Patch,
    RawRecord,
    Record,
    Reread,
    Shown,
    Stub,
    Tombstone,
    Yield,
)
from warehouse.columns import Layout, layout, quoted, to_frame
from warehouse.forgetting import erase_met
from warehouse.models import key_of, patch, raw_record, tombstone
from warehouse.suppression import REPLACEABLE, STAND_IN, Suppression

Read = tuple[int, Yield]
"""The ordinal of the response something came in, and what came."""

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
NEVER = datetime.min.replace(tzinfo=UTC)
STUB_SEQ = 0  # earlier than any reading: a real row always wins over a mention
RAW_KEY = key_of(raw_record)
TOMBSTONE_KEY = key_of(tombstone)
PATCH_KEY = key_of(patch)
INSTANT = pl.Datetime("us", "UTC")


@dataclass
class Sorted:
    """A batch by what is to be done with it."""

    records: dict[type[Record], tuple[list[int], list[Record]]] = field(
        default_factory=lambda: defaultdict(lambda: ([], []))
    )
    stubs: dict[type[Record], list[Record]] = field(default_factory=lambda: defaultdict(list))
    sets: dict[type[Record], dict[tuple[str, str], tuple[int, OwnedSet]]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    raw: list[tuple[int, RawRecord]] = field(default_factory=list)
    tombstones: list[tuple[int, Tombstone]] = field(default_factory=list)
    listings: list[tuple[int, Listing]] = field(default_factory=list)
    vague: list[tuple[int, Tombstone]] = field(default_factory=list)
    patches: list[Patch] = field(default_factory=list)


class Loader:
    """Loads batches into the warehouse over one connection, inside the caller's transactions.

    Lives as long as a run, because it remembers which tables have tombstones and patches to lay over their rows.
    """

    def __init__(self, connection: Connection, *, key: bytes) -> None:
        """key: of the HMACs of phones and e-mails (`database.personal_key`)."""
        self.connection = connection
        self.key = key
        self.tombstoned = {row[0] for row in self._sql("SELECT DISTINCT table_name FROM tombstone")}
        self.patched = {tuple(row) for row in self._sql("SELECT DISTINCT table_name, column_name FROM patch")}
        self.suppression = Suppression(connection, key=key)

    def load(self, reads: Iterable[Read], *, load_seq: int, synced_at: datetime) -> int:
        """Write a batch; return how many canonical rows were offered.

        load_seq: ordinal of this load, stored with rows that it changes. synced_at: when, for people to read.
        """
        batch = sort(reads)
        if self.suppression:
            self._withhold(batch, load_seq=load_seq, now=synced_at)
        n = 0
        self._raw(batch.raw)
        self._remember(batch)
        for kind, (seqs, records) in batch.records.items():
            frame = to_frame(kind, records, seqs, load_seq=load_seq, synced_at=synced_at, key=self.key)
            n += self._upsert(layout(kind), kind, frame)
        for kind, stubs in batch.stubs.items():
            # the newest mention stays, of those that do not say when they changed the first, however batches are cut
            newest_last = sorted(stubs, key=lambda stub: stub.source_updated_at or NEVER, reverse=True)[::-1]
            seqs = [STUB_SEQ] * len(stubs)
            frame = to_frame(kind, newest_last, seqs, load_seq=load_seq, synced_at=synced_at, key=self.key)
            n += self._mention(layout(kind), frame)
        for seq, listing in batch.listings:
            self._listing(seq, listing, load_seq=load_seq)
        for kind, sets in self._current(batch).items():
            n += self._replace(kind, sets, load_seq=load_seq, synced_at=synced_at)
        self._lay_over(batch, load_seq=load_seq)
        self._gone(batch.vague, load_seq=load_seq)
        return n

    def _withhold(self, batch: Sorted, *, load_seq: int, now: datetime) -> None:
        """Leave out what is about people who were forgotten, and the raw objects it came from, if they came before."""
        hashes = self.suppression.withhold(batch, now=now)
        if hashes:
            rows = pl.DataFrame(sorted(hashes), schema={"account_id": pl.String, "raw_hash": pl.String}, orient="row")
            with self._registered("batch", rows):
                self._sql(
                    "DELETE FROM raw_record t USING batch b "
                    "WHERE t.account_id = b.account_id AND t.raw_hash = b.raw_hash AND b.raw_hash <> ''"
                )
        erase_met(self.connection, self.suppression, load_seq=load_seq, now=now)

    def _upsert(self, lay: Layout, kind: type[Record], frame: pl.DataFrame) -> int:
        """Insert or overwrite; an earlier reading never wins, and `load_seq` moves only for a row that changed."""
        overlay, joins = self._overlay(lay, kind)
        changing = ("raw_hash", "source_updated_at", *lay.rest)
        sets = {name: f"b.{quoted(name)}" for name in (*changing, "read_seq", "synced_at")}
        if self.suppression:  # what was read is stripped of whom it points to; what stands for that person stays
            for name in {*REPLACEABLE} & {*lay.rest}:
                stays = f"CASE WHEN contains(t.{name}, '{STAND_IN}') THEN t.{name} END"
                sets[name] = f"coalesce(b.{name}, {stays})"
        for name, (was, since) in kind.remembered.items():
            old, new = f"t.{quoted(name)}", f"b.{quoted(name)}"
            # what nobody could read for a while and is again what it was has not changed
            again = f"{old} = 'unknown' AND t.{quoted(was)} = {new}"
            passing = f"{old} = {new} OR {old} = 'unknown'"
            sets[was] = f"CASE WHEN {again} THEN NULL WHEN {passing} THEN t.{quoted(was)} ELSE {old} END"
            sets[since] = f"CASE WHEN {again} THEN NULL WHEN {passing} THEN t.{quoted(since)} ELSE b.synced_at END"
        changed = " OR ".join(f"t.{quoted(name)} IS DISTINCT FROM ({sets[name]})" for name in ("raw_hash", *lay.rest))
        sets["load_seq"] = f"CASE WHEN {changed} THEN b.load_seq ELSE t.load_seq END"
        laid = ", ".join(f"{sql} AS {quoted(name)}" for name, sql in overlay.items())
        replace = f" REPLACE ({laid})" if overlay else ""
        with self._registered("batch", frame):
            self._sql(
                f"MERGE INTO {quoted(lay.table)} t USING (SELECT b.*{replace} FROM batch b {' '.join(joins)}) b "
                f"ON {_same(lay.keys)} WHEN MATCHED AND b.read_seq >= t.read_seq "
                f"THEN UPDATE SET {_assignments(sets)} WHEN NOT MATCHED THEN INSERT BY NAME"
            )
        return frame.height

    def _overlay(self, lay: Layout, kind: type[Record]) -> tuple[dict[str, str], list[str]]:
        """Columns of the batch to replace, and the joins that supply them."""
        columns: dict[str, str] = {}
        joins: list[str] = []
        if lay.table in self.tombstoned and lay.removal is not None:
            joins.append(
                f"LEFT JOIN tombstone d ON d.account_id = b.account_id AND d.table_name = '{lay.table}' "
                f"AND d.row_id = {_of(lay, 'b')} AND d.read_seq >= b.read_seq"
            )
            columns[lay.removal] = f"CASE WHEN d.row_id IS NULL THEN b.{lay.removal} ELSE d.deleted_at END"
            if lay.has_activity:
                columns["is_active"] = "b.is_active AND d.deleted_at IS NULL"
        for number, (column, flag) in enumerate(kind.patched.items()):
            if (lay.table, column) not in self.patched:
                continue
            p = f"p{number}"
            joins.append(
                f"LEFT JOIN patch {p} ON {p}.account_id = b.account_id AND {p}.table_name = '{lay.table}' "
                f"AND {p}.row_id = {_of(lay, 'b')} AND {p}.column_name = '{column}'"
            )
            columns |= _patched("b", column, flag, f"{p}.patched_at")
        return columns, joins

    def _mention(self, lay: Layout, frame: pl.DataFrame) -> int:
        """Insert rows that are not there; of mentions a newer one takes the place of an older."""
        names = ("raw_hash", "source_updated_at", *lay.rest, "load_seq", "synced_at")
        sets = {name: f"b.{quoted(name)}" for name in names if name != lay.removal}
        with self._registered("batch", frame):
            self._sql(
                f"MERGE INTO {quoted(lay.table)} t USING batch b ON {_same(lay.keys)} "
                f"WHEN MATCHED AND t.read_seq = {STUB_SEQ} "
                "AND b.source_updated_at > coalesce(t.source_updated_at, TIMESTAMPTZ '-infinity') "
                f"THEN UPDATE SET {_assignments(sets)} WHEN NOT MATCHED THEN INSERT BY NAME"
            )
        return frame.height

    def _remember(self, batch: Sorted) -> None:
        """Keep tombstones and patches, whether or not their rows are there yet."""
        for kind in {t.kind for _, t in batch.tombstones}:
            self._keep_tombstones(_tombstones(kind, batch.tombstones))
        if batch.patches:
            rows = pl.DataFrame(
                [(p.account_id, p.kind.table(), p.id, p.column, p.at) for p in batch.patches],
                schema=["account_id", "table_name", "row_id", "column_name", ("patched_at", INSTANT)],
                orient="row",
            )
            rows = rows.group_by(PATCH_KEY).agg(pl.col("patched_at").max())
            with self._registered("batch", rows):
                self._sql(
                    f"MERGE INTO patch t USING batch b ON {_same(PATCH_KEY)} WHEN MATCHED AND "
                    "b.patched_at > t.patched_at THEN UPDATE SET patched_at = b.patched_at "
                    "WHEN NOT MATCHED THEN INSERT BY NAME"
                )
            self.patched |= {(p.kind.table(), p.column) for p in batch.patches}

    def _keep_tombstones(self, rows: pl.DataFrame) -> None:
        with self._registered("batch", rows):
            self._sql(
                f"MERGE INTO tombstone t USING batch b ON {_same(TOMBSTONE_KEY)} "
                "WHEN MATCHED AND b.read_seq >= t.read_seq "
                "THEN UPDATE SET deleted_at = b.deleted_at, read_seq = b.read_seq "
                "WHEN NOT MATCHED THEN INSERT BY NAME"
            )
        self.tombstoned |= set(rows["table_name"].unique())

    def _lay_over(self, batch: Sorted, *, load_seq: int) -> None:
        """Apply this batch's tombstones and patches to rows that were written earlier."""
        for kind in {t.kind for _, t in batch.tombstones}:
            self._bury(layout(kind), _tombstones(kind, batch.tombstones), load_seq=load_seq)
        for kind, column in {(p.kind, p.column) for p in batch.patches}:
            lay = layout(kind)
            ids = [(p.account_id, p.id) for p in batch.patches if p.kind is kind and p.column == column]
            new = _patched("t", column, kind.patched[column], "p.patched_at")
            rows = pl.DataFrame(ids, schema={"account_id": pl.String, "row_id": pl.String}, orient="row").unique()
            with self._registered("batch", rows):
                self._sql(
                    f"UPDATE {quoted(lay.table)} t SET {_assignments(new)}, load_seq = {load_seq} "
                    f"FROM batch b JOIN patch p ON p.account_id = b.account_id AND p.row_id = b.row_id "
                    f"AND p.table_name = '{lay.table}' AND p.column_name = '{column}' "
                    f"WHERE t.account_id = b.account_id AND {_of(lay, 't')} = b.row_id AND ({_differs('t', new)})"
                )

    def _bury(self, lay: Layout, rows: pl.DataFrame, *, load_seq: int) -> None:
        if lay.removal is None:
            raise ValueError(f"{lay.table} has no column for a deletion")
        new = {lay.removal: "d.deleted_at"}
        if lay.has_activity:
            new["is_active"] = "t.is_active AND d.deleted_at IS NULL"
        with self._registered("batch", rows.select("account_id", "row_id")):
            self._sql(
                f"UPDATE {quoted(lay.table)} t SET {_assignments(new)}, load_seq = {load_seq} "
                f"FROM batch b JOIN tombstone d ON d.account_id = b.account_id AND d.row_id = b.row_id "
                f"AND d.table_name = '{lay.table}' "
                f"WHERE t.account_id = b.account_id AND {_of(lay, 't')} = b.row_id AND d.read_seq >= t.read_seq "
                f"AND ({_differs('t', new)})"
            )

    def _listing(self, seq: int, listing: Listing, *, load_seq: int) -> None:
        """Tombstones for rows of a dimension that its source no longer lists; stubs never were listed and stay."""
        lay = layout(listing.kind)
        column, value = listing.scope
        present = pl.DataFrame({"row_id": ["/".join(key) for key in listing.keys]}, schema={"row_id": pl.String})
        with self._registered("present", present):
            missing = self._sql(
                f"SELECT {_of(lay, 't')} FROM {quoted(lay.table)} t WHERE t.account_id = ? AND t.{quoted(column)} = ? "
                f"AND t.read_seq > {STUB_SEQ} AND t.read_seq <= ? AND t.{lay.removal} IS NULL "
                f"AND NOT EXISTS (FROM present p WHERE p.row_id = {_of(lay, 't')})",
                (listing.account_id, value, seq),
            )
        gone = [(seq, Tombstone(listing.kind, listing.account_id, row[0], listing.at)) for row in missing]
        self._remove(listing.kind, gone, load_seq=load_seq)

    def _gone(self, vague: Sequence[tuple[int, Tombstone]], *, load_seq: int) -> None:
        """Tombstones for rows that were found gone, unless they are known to be, or were read again since."""
        for kind in {t.kind for _, t in vague}:
            lay, found = layout(kind), [one for one in vague if one[1].kind is kind]
            with self._registered("batch", _tombstones(kind, found)):
                settled = self._sql(
                    f"SELECT b.account_id, b.row_id FROM batch b "
                    f"LEFT JOIN {quoted(lay.table)} t ON t.account_id = b.account_id AND {_of(lay, 't')} = b.row_id "
                    f"LEFT JOIN tombstone d ON d.account_id = b.account_id AND d.table_name = b.table_name "
                    f"AND d.row_id = b.row_id WHERE t.{lay.removal} IS NOT NULL OR t.read_seq > b.read_seq "
                    f"OR (t.account_id IS NULL AND d.deleted_at IS NOT NULL)"
                )
            known = {tuple(row) for row in settled}
            gone = [(seq, one) for seq, one in found if (one.account_id, one.id) not in known]
            self._remove(kind, gone, load_seq=load_seq)

    def _remove(self, kind: type[Record], gone: Sequence[tuple[int, Tombstone]], *, load_seq: int) -> None:
        if gone:
            rows = _tombstones(kind, gone)
            self._keep_tombstones(rows)
            self._bury(layout(kind), rows, load_seq=load_seq)

    def _replace(
        self, kind: type[Record], sets: Sequence[tuple[int, OwnedSet]], *, load_seq: int, synced_at: datetime
    ) -> int:
        """Replace the rows of each owner whole."""
        lay = layout(kind)
        records = [row for _, owned in sets for row in owned.rows]
        seqs = [seq for seq, owned in sets for _ in owned.rows]
        holed = self.suppression.holed  # what they lack was held back
        owners = pl.DataFrame(
            [(*(name := (owned.account_id, owned.owner_id)), seq, name in holed) for seq, owned in sets],
            schema={"account_id": pl.String, "owner_id": pl.String, "read_seq": pl.Int64, "is_holed": pl.Boolean},
            orient="row",
        )
        frame = to_frame(kind, records, seqs, load_seq=load_seq, synced_at=synced_at, key=self.key) if records else None
        if kind.keeps_history:
            return self._snapshot(lay, owners, frame, load_seq=load_seq, synced_at=synced_at)
        if frame is not None:
            self._upsert(lay, kind, frame)
        # what the new set does not have kept the ordinal of an earlier reading
        stand_ins = [f"contains(t.{quoted(name)}, '{STAND_IN}')" for name in lay.keys[1:] if name in REPLACEABLE]
        stays = f" AND NOT (o.is_holed AND ({' OR '.join(stand_ins)}))" if stand_ins else ""
        if kind.outlives is not None:
            stays += f" AND NOT EXISTS ({self._ended(*kind.outlives)})"
        with self._registered("owners", owners):
            self._sql(
                f"DELETE FROM {quoted(lay.table)} t USING owners o WHERE t.account_id = o.account_id "
                f"AND t.{quoted(lay.owner or '')} = o.owner_id AND t.read_seq < o.read_seq{stays}"
            )
        return 0 if frame is None else frame.height

    def _ended(self, table: str, column: str) -> str:
        """SQL: what the row `t` is a value of was no longer listed when the set of `o` was read."""
        ended = layout(record_kind(table)).removal
        return (
            f"FROM {quoted(table)} f JOIN tombstone d ON d.account_id = f.account_id AND d.table_name = '{table}' "
            f"AND d.row_id = f.{column} WHERE f.account_id = t.account_id AND f.{column} = t.{column} "
            f"AND f.{ended} IS NOT NULL AND d.read_seq <= o.read_seq"
        )

    def _current(self, batch: Sorted) -> dict[type[Record], list[tuple[int, OwnedSet]]]:
        """The sets of a batch by what they are of, less those whose owner was read again since."""
        sets = sorted((one for owned in batch.sets.values() for one in owned.values()), key=_owner_table)
        current: dict[type[Record], list[tuple[int, OwnedSet]]] = defaultdict(list)
        for _, group in groupby(sets, key=_owner_table):
            for one in self._not_outdated(list(group)):
                current[one[1].kind].append(one)
        return current

    def _not_outdated(self, sets: Sequence[tuple[int, OwnedSet]]) -> list[tuple[int, OwnedSet]]:
        """Sets that were read with their owner's row on hand, or after it. All owners are of one table."""
        owner = layout(sets[0][1].owner_table)
        asked = pl.DataFrame(
            [(number, owned.account_id, owned.owner_id, seq) for number, (seq, owned) in enumerate(sets)],
            schema={"number": pl.Int64, "account_id": pl.String, "owner_id": pl.String, "read_seq": pl.Int64},
            orient="row",
        )
        with self._registered("asked", asked):
            outdated = self._sql(
                f"SELECT a.number FROM asked a JOIN {quoted(owner.table)} t ON t.account_id = a.account_id "
                f"AND {_of(owner, 't')} = a.owner_id WHERE a.read_seq < t.read_seq"
            )
        skip = {row[0] for row in outdated}
        return [owned for number, owned in enumerate(sets) if number not in skip]

    def _snapshot(
        self, lay: Layout, owners: pl.DataFrame, frame: pl.DataFrame | None, *, load_seq: int, synced_at: datetime
    ) -> int:
        """Compare a snapshot with the rows still open: close what is gone, open what is new.

        The first rows of an owner open at the beginning of time: what was before, nobody knows.
        """
        same = " AND ".join(f"n.{quoted(name)} = t.{quoted(name)}" for name in lay.keys if name != "valid_from")
        theirs = f"t.account_id = o.account_id AND t.{quoted(lay.owner or lay.keys[1])} = o.owner_id"
        target, rows = quoted(lay.table), frame if frame is not None else _no_rows(lay)
        at = {row[0]: row[1] for row in rows.group_by(lay.keys[1]).agg(pl.col("valid_from").max()).iter_rows()}
        closes = pl.Series("closes_at", [at.get(i, synced_at) for i in owners["owner_id"]], dtype=INSTANT)
        with self._registered("owners", owners.with_columns(closes)), self._registered("batch", rows):
            self._sql(
                f"UPDATE {target} t SET valid_to = o.closes_at, load_seq = {load_seq} FROM owners o "
                f"WHERE {theirs} AND t.valid_to IS NULL AND NOT EXISTS (FROM batch n WHERE {same})"
            )
            self._sql(
                f"UPDATE {target} t SET is_main = n.is_main, load_seq = {load_seq} FROM batch n "
                f"WHERE {same} AND t.valid_to IS NULL AND t.is_main <> n.is_main"
            )
            self._sql(
                f"INSERT INTO {target} BY NAME SELECT n.* REPLACE (CASE WHEN EXISTS (FROM {target} t "
                f"WHERE t.account_id = n.account_id AND t.{lay.keys[1]} = n.{lay.keys[1]}) "
                f"THEN n.valid_from ELSE TIMESTAMPTZ '{BEGINNING.isoformat()}' END AS valid_from) FROM batch n "
                f"WHERE NOT EXISTS (FROM {target} t WHERE {same} "
                f"AND (t.valid_to IS NULL OR t.valid_from = n.valid_from))"
            )
        return rows.height

    def _raw(self, reads: Sequence[tuple[int, RawRecord]]) -> None:
        """Keep every version of an object with the first and last reading it was seen in."""
        if not reads:
            return
        account_ids, entities, native_ids, hashes, bodies = zip(*(raw for _, raw in reads), strict=True)
        columns = {"account_id": account_ids, "entity": entities, "native_id": native_ids, "raw_hash": hashes}
        seen = pl.DataFrame(columns, schema=dict.fromkeys(RAW_KEY, pl.String)).with_columns(
            pl.Series("read_seq", [seq for seq, _ in reads], dtype=pl.Int64),
            pl.Series("body", bodies, dtype=pl.Binary),
        )
        seen = seen.group_by(RAW_KEY).agg(
            pl.col("body").first(), first_read_seq=pl.col("read_seq").min(), last_read_seq=pl.col("read_seq").max()
        )
        with self._registered("batch", seen):
            self._sql(
                f"MERGE INTO raw_record t USING batch b ON {_same(RAW_KEY)} WHEN MATCHED THEN UPDATE SET "
                "first_read_seq = least(t.first_read_seq, b.first_read_seq), "
                "last_read_seq = greatest(t.last_read_seq, b.last_read_seq) WHEN NOT MATCHED THEN INSERT BY NAME"
            )

    @contextmanager
    def _registered(self, name: str, frame: pl.DataFrame) -> Iterator[None]:
        driver: Any = self.connection.connection.dbapi_connection
        driver.register(name, frame.to_arrow())
        try:
            yield
        finally:
            driver.unregister(name)

    def _sql(self, statement: str, parameters: tuple[Any, ...] = ()) -> list[Any]:
        result = self.connection.exec_driver_sql(statement, parameters)
        return list(result.fetchall()) if result.returns_rows else []


def sort(reads: Iterable[Read]) -> Sorted:
    """What is to be done with each thing read. What is the sync's business stays out."""
    batch = Sorted()
    for seq, item in reads:
        if isinstance(item, RawRecord):
            batch.raw.append((seq, item))
        elif isinstance(item, Record):
            seqs, records = batch.records[item.__class__]
            seqs.append(seq)
            records.append(item)
        elif isinstance(item, OwnedSet):
            owned, owner = batch.sets[item.kind], (item.account_id, item.owner_id)
            if owner not in owned or owned[owner][0] <= seq:
                owned[owner] = (seq, item)
        elif isinstance(item, Tombstone):
            (batch.vague if item.is_vague else batch.tombstones).append((seq, item))
        elif isinstance(item, Patch):
            batch.patches.append(item)
        elif isinstance(item, Stub):
            batch.stubs[item.record.__class__].append(item.record)
        elif isinstance(item, Listing):
            batch.listings.append((seq, item))
        elif not isinstance(item, Shown | Reread | Notice | LeftOut):
            raise TypeError(f"a resource yielded {type(item).__name__}")
    return batch


def _tombstones(kind: type[Record], tombstones: Sequence[tuple[int, Tombstone]]) -> pl.DataFrame:
    rows = [(t.account_id, kind.table(), t.id, t.deleted_at, seq) for seq, t in tombstones if t.kind is kind]
    frame = pl.DataFrame(
        rows,
        schema=["account_id", "table_name", "row_id", ("deleted_at", INSTANT), ("read_seq", pl.Int64)],
        orient="row",
    )
    return frame.sort("read_seq", maintain_order=True).unique(TOMBSTONE_KEY, keep="last", maintain_order=True)


def _patched(row: str, column: str, flag: str | None, at: str) -> dict[str, str]:
    """A patch laid over a row: an estimate gives way, of two exact instants the later stays; null with a flag stays."""
    mine = f"{row}.{column}"
    if flag is None:
        return {column: f"greatest({mine}, {at})"}  # nulls are ignored
    untouched = f"{at} IS NULL OR {mine} IS NULL"
    latest = f"CASE WHEN {untouched} THEN {mine} WHEN {row}.{flag} THEN {at} ELSE greatest({mine}, {at}) END"
    return {column: latest, flag: f"{row}.{flag} AND ({untouched})"}


def _owner_table(one: tuple[int, OwnedSet]) -> str:
    return one[1].owner_table.table()


def _no_rows(lay: Layout) -> pl.DataFrame:
    instants = {"valid_from": INSTANT, "valid_to": INSTANT}
    return pl.DataFrame(schema=dict.fromkeys(lay.keys, pl.String) | instants | {"is_main": pl.Boolean})


def _of(lay: Layout, alias: str) -> str:
    """The row's id: the key after account_id, joined by a slash."""
    names = [f"{alias}.{quoted(name)}" for name in lay.keys[1:]]
    return names[0] if len(names) == 1 else f"concat_ws('/', {', '.join(names)})"


def _same(keys: Iterable[str]) -> str:
    """SQL: the batch's row `b` and the table's row `t` are the same thing."""
    return " AND ".join(f"t.{quoted(name)} = b.{quoted(name)}" for name in keys)


def _assignments(new: dict[str, str]) -> str:
    return ", ".join(f"{quoted(name)} = {sql}" for name, sql in new.items())


def _differs(row: str, new: dict[str, str]) -> str:
    return " OR ".join(f"{row}.{quoted(name)} IS DISTINCT FROM ({sql})" for name, sql in new.items())


def record_kind(table: str) -> type[Record]:
    """The record stored in a table."""
    return RECORDS[table]
