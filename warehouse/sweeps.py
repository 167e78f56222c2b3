"""What a sweep showed against what is on hand.

Ids wait in a temporary table until the sweep is over: a million of them are no business of Python's memory. A killed
run loses them; the next one sweeps again.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import polars as pl
from sqlalchemy import Connection

from connectors.records import Company, Contact, Deal, Record, Shown
from warehouse.columns import Layout, layout, quoted
from warehouse.suppression import STAND_IN, Suppression

Part = tuple[str, str, str, type[Record], str]
"""Account and resource that were swept, account the rows belong to, kind, prefix."""
NAMED_IN: Mapping[type[Record], Sequence[str]] = {
    Contact: ("contact_id", "main_contact_id"),
    Company: ("company_id",),
}
"""Columns that name cards which people merge: what named the one that is gone names the other then, and nothing else
may tell that it has changed."""

ON_HAND = "t.account_id = ? AND t.read_seq > 0"
"""SQL: rows that were read, not only mentioned."""
SEPARATOR = "/"
ONE_TEXT = {
    "contact_ids": "SELECT string_agg(m.contact_id, ',' ORDER BY m.contact_id) FROM deal_contact m "
    f"WHERE m.account_id = t.account_id AND m.deal_id = t.deal_id AND NOT contains(m.contact_id, '{STAND_IN}')"
}
"""What `Shown` says of a row that is no column of its table."""


@dataclass(frozen=True)
class Difference:
    """The source's own ids. missing: on hand and not shown. unknown: shown and not on hand, or held to be deleted, or
    saying another thing there.

    n_known: rows on hand, the deleted ones apart. is_doubtful: so is what was missing, and it was left out.
    naming: by swept resource, rows on hand that name what is missing, or was deleted since the last sweep.
    """

    n_known: int = 0
    missing: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    is_doubtful: bool = False
    naming: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class Sweeps:
    """The sweeps of one run, over one connection."""

    def __init__(self, connection: Connection, forgotten: Suppression | None = None) -> None:
        """forgotten: people of whom nothing is to be read again, though lists show them and nothing is on hand."""
        self.connection, self.forgotten = connection, forgotten
        self.parts: dict[Part, int] = {}
        self.outliving: set[int] = set()
        self.saying: dict[int, tuple[str, ...]] = {}

    def take(self, account_id: str, resource: str, shown: Shown) -> None:
        """Note what a page showed, inside the caller's transaction."""
        if not self.parts:
            self.connection.exec_driver_sql(
                "CREATE OR REPLACE TEMP TABLE shown (part INTEGER, row_id VARCHAR, says VARCHAR)"
            )
        part = self.parts.setdefault(
            (account_id, resource, shown.account_id, shown.kind, shown.prefix), len(self.parts)
        )
        if shown.outlives_cards:
            self.outliving.add(part)
        says: Sequence[str | None] = [None] * len(shown.ids)
        if shown.says:
            self.saying[part] = tuple(shown.says)
            says = [SEPARATOR.join(map(as_text, values)) for values in zip(*shown.says.values(), strict=True)]
        row_ids = [f"{shown.prefix}:{native_id}" for native_id in shown.ids]
        page = pl.DataFrame({"row_id": row_ids, "says": says}, schema={"row_id": pl.String, "says": pl.String})
        if self.forgotten:
            page = self.forgotten.unseen(page, shown.account_id)
        driver: Any = self.connection.connection.dbapi_connection
        driver.register("page", page.to_arrow())
        try:
            self.connection.exec_driver_sql(f"INSERT INTO shown SELECT {part}, row_id, says FROM page")
        finally:
            driver.unregister("page")

    def difference(self, account_id: str, resource: str, *, since: datetime) -> Difference:
        """What all pages of a resource together showed. Nothing at all was shown: nothing is missing either.

        since: of the last sweep.
        """
        mine = {part: number for part, number in self.parts.items() if part[:2] == (account_id, resource)}
        found = [self._difference(*part[2:], number) for part, number in mine.items()]
        naming = defaultdict[str, set[str]](set)
        for part, one in zip(mine, found, strict=True):
            if part[3] in NAMED_IN:
                for other, ids in self._naming(part, one.missing, since):
                    naming[other].update(ids)
        return Difference(
            sum(one.n_known for one in found),
            tuple(native_id for one in found for native_id in one.missing),
            tuple(native_id for one in found for native_id in one.unknown),
            naming={other: tuple(sorted(ids)) for other, ids in naming.items()},
        )

    def strangers(self, records: Sequence[Record]) -> tuple[str, ...]:
        """The source's own ids of records, all of one kind, that are not on hand, or held to be deleted."""
        if not records:
            return ()
        lay, owner = layout(type(records[0])), records[0].account_id
        key = lay.keys[1]
        named = sorted({getattr(record, key) for record in records})
        if self.forgotten:
            named = [row_id for row_id in named if self.forgotten.owner("card", owner, row_id) is None]
        return self._ids(
            "SELECT n.row_id FROM (SELECT unnest(?::VARCHAR[]) AS row_id) n WHERE NOT EXISTS (FROM "
            f"{quoted(lay.table)} t WHERE {ON_HAND} AND t.{lay.removal} IS NULL AND t.{quoted(key)} = n.row_id)",
            named,
            owner,
        )

    def _naming(self, gone: Part, missing: Sequence[str], since: datetime) -> Iterator[tuple[str, Sequence[str]]]:
        """Rows that name what is gone and were not read again since: resources with the source's own ids."""
        account_id, _, owner, kind, prefix = gone
        cards = (
            "WITH card AS (SELECT row_id, read_seq FROM tombstone WHERE account_id = ? AND table_name = ? "
            "AND deleted_at >= ? UNION ALL SELECT unnest(?), NULL) "
        )
        values = (owner, kind.table(), since, [f"{prefix}:{native_id}" for native_id in missing])
        for account, resource, rows_of, other, other_prefix in self.parts:
            lay = layout(other)
            columns = [name for name in NAMED_IN[kind] if name in lay.names and name != lay.keys[1]]
            if (account, rows_of) != (account_id, owner) or not columns:
                continue
            table, key = quoted(lay.table), f"t.{quoted(lay.keys[1])}"
            joined = [f"{table} t JOIN card ON t.{name} = card.row_id" for name in columns]
            if other is Deal and kind is Contact:
                joined.append(
                    "deal t JOIN deal_contact m USING (account_id, deal_id) JOIN card ON m.contact_id = card.row_id"
                )
            alike = (
                f"t.account_id = ? AND t.{lay.removal} IS NULL AND starts_with({key}, '{other_prefix}:') "
                "AND (card.read_seq IS NULL OR t.read_seq < card.read_seq)"
            )
            naming = " UNION ".join(f"SELECT {key} FROM {one} WHERE {alike}" for one in joined)
            yield resource, self._ids(f"{cards}{naming}", *values, *[owner for _ in joined])

    def _difference(self, account_id: str, kind: type[Record], prefix: str, part: int) -> Difference:
        lay = layout(kind)
        key, table = quoted(lay.keys[1]), quoted(lay.table)
        on_hand = f"{ON_HAND} AND NOT contains(t.{key}, '{STAND_IN}')"
        alive = f"{on_hand} AND t.{lay.removal} IS NULL"
        held = on_hand if kind.ended else alive  # what is over may well be listed
        ours = f"{alive} AND starts_with(t.{key}, '{prefix}:')"
        if part not in self.outliving:
            ours += on_living_cards(lay)
        known = self.connection.exec_driver_sql(f"SELECT count(*) FROM {table} t WHERE {ours}", (account_id,))
        n_known = int(known.scalar_one())
        missing = self._ids(
            f"SELECT t.{key} FROM {table} t WHERE {ours} "
            f"AND NOT EXISTS (FROM shown s WHERE s.part = {part} AND s.row_id = t.{key}) ORDER BY 1",
            account_id,
        )
        unknown = self._ids(
            f"SELECT DISTINCT s.row_id FROM shown s WHERE s.part = {part} "
            f"AND NOT EXISTS (FROM {table} t WHERE {held} AND t.{key} = s.row_id"
            f"{_says(self.saying.get(part, ()))}) ORDER BY 1",
            account_id,
        )
        return Difference(n_known, missing, unknown)

    def _ids(self, query: str, *values: Any) -> tuple[str, ...]:
        found = self.connection.exec_driver_sql(query, values).fetchall()
        return tuple(row[0].partition(":")[2] for row in found)


def _says(names: Sequence[str]) -> str:
    """SQL: the row on hand says in these columns what was shown."""
    if not names:
        return ""
    said = [f"({ONE_TEXT.get(name, f't.{quoted(name)}')})::VARCHAR" for name in names]
    values = ", ".join(f"CASE WHEN contains({one}, '{STAND_IN}') THEN '' ELSE coalesce({one}, '') END" for one in said)
    return f" AND concat_ws('{SEPARATOR}', {values}) = s.says"


def as_text(value: Any) -> str:
    return "" if value is None else str(value)


def on_living_cards(lay: Layout) -> str:
    """SQL: what hangs on a deleted card left the lists with it, and happened all the same."""
    cards = ["entity_id"] if "entity_id" in lay.names else ["contact_id", "company_id", "deal_id"]
    if not {*cards} <= {*lay.names}:
        return ""
    hangs_on = ", ".join(f"t.{name}" for name in cards)
    return (
        f" AND NOT EXISTS (FROM tombstone d WHERE d.account_id = t.account_id AND d.row_id IN ({hangs_on}) "
        "AND d.deleted_at IS NOT NULL)"
    )
