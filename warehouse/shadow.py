"""Canonical tables of one account built anew beside the warehouse, and put in place of the old rows in one transaction.

They are built in a file of their own, batch by batch, and nothing of the warehouse changes until they are whole: killed
at any point, it is as before. Rows that stay the same are not touched, so that the next publication links them.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, CursorResult, Table

from connectors.records import RECORDS, Record
from warehouse.columns import quoted
from warehouse.database import REMAPPED, remove_leftovers
from warehouse.models import CANONICAL, coverage, forgotten, key_of, metadata, patch, tombstone
from warehouse.sightings import LOGS, SEEN

OWN_TABLES = (tombstone, patch)
NOT_COMPARED = ("read_seq", "load_seq", "synced_at")


@dataclass(frozen=True)
class Rebuilt:
    """Rows of an account in a table. kept: those no raw object on hand could make again."""

    table: str
    before: int
    after: int
    changed: int
    kept: int


class Shadow:
    """A copy of the canonical tables without the rows raw objects make. home: the catalog of the warehouse."""

    def __init__(
        self, connection: Connection, account_id: str, *, entities: Collection[str], kept: Collection[type[Record]]
    ) -> None:
        """entities: names of the objects that rows are made of again. kept: kinds that stay as they are."""
        self.connection, self.account_id, self.entities = connection, account_id, sorted(entities)
        self.home = quoted(str(connection.exec_driver_sql("SELECT current_catalog()").scalar_one()))
        left = {coverage.name, *(kind.table() for kind in kept)}
        self.tables = [table for table in CANONICAL if table.name not in left]
        self.n_kept: dict[str, int] = {}

    @contextmanager
    def open(self, data_dir: Path) -> Iterator[None]:
        """Make the tables; from here on until `replace`, what is named without a catalog is in here."""
        remove_leftovers(data_dir)
        self.connection.commit()
        self._sql(f"ATTACH '{str(data_dir / REMAPPED).replace(chr(39), chr(39) * 2)}' AS shadow")
        self.connection.commit()
        try:
            with self.connection.begin():
                for table in metadata.sorted_tables:
                    self._begin(table)
                self._sql("SET search_path = 'shadow.main'")
            yield
        finally:
            self.connection.rollback()
            self._sql(f"SET search_path = '{self.home}.main'")
            self.connection.commit()
            self._sql("DETACH DATABASE IF EXISTS shadow")
            self.connection.commit()
            remove_leftovers(data_dir)

    def replace(self, *, load_seq: int) -> list[Rebuilt]:
        """Put what was built in place, in the caller's transaction; what became of each table that has rows."""
        self._sql(f"SET search_path = '{self.home}.main'")
        self._mind_sights()
        done = [self._replace(table, load_seq=load_seq) for table in self.tables]
        for table in OWN_TABLES:
            self._add(table, "")
        return [one for one in done if one.before or one.after]

    def _begin(self, table: Table) -> None:
        """A table with the rows that loading needs, and that nobody can make anew."""
        name, rows = quoted(table.name), "FALSE"
        if table is forgotten:
            rows = "TRUE"
        elif table in self.tables:
            rows = f"t.account_id = {self._mine()} AND ({self._stays(table)})"
        elif table in CANONICAL or table in OWN_TABLES:
            rows = f"t.account_id = {self._mine()}"
        self._sql(f"CREATE TABLE shadow.{name} AS SELECT t.* FROM {self.home}.{name} t WHERE {rows}")
        self.n_kept[table.name] = int(self._sql(f"SELECT count(*) FROM shadow.{name}").scalar_one())

    def _stays(self, table: Table) -> str:
        """SQL: mentions, what was never an object of the source, what was made of versions that are gone (so is what
        is on hand of people who were forgotten) or that nobody here understands, and changes no log tells of."""
        made_here = f"starts_with(t.change_id, '{SEEN}') OR " if table.name in {log.table for log in LOGS} else ""
        return (
            f"{made_here}t.read_seq = 0 OR t.raw_hash = '' OR NOT EXISTS (FROM {self.home}.raw_record r "
            f"WHERE r.account_id = t.account_id AND r.raw_hash = t.raw_hash "
            f"AND r.entity IN (SELECT unnest({self.entities!r}::VARCHAR[])))"
        )

    def _replace(self, table: Table, *, load_seq: int) -> Rebuilt:
        name, mine = quoted(table.name), self._mine()
        same = " AND ".join(f"b.{quoted(key)} = t.{quoted(key)}" for key in key_of(table))
        count = f"SELECT count(*) FROM {self.home}.{name} WHERE account_id = {mine}"
        before = int(self._sql(count).scalar_one())
        gone = self._sql(
            f"DELETE FROM {self.home}.{name} t WHERE t.account_id = {mine} "
            f"AND NOT EXISTS (FROM shadow.{name} b WHERE {same})"
        ).scalar()
        changed = int(gone or 0) + self._add(table, f", load_seq = {load_seq}")
        return Rebuilt(table.name, before, int(self._sql(count).scalar_one()), changed, self.n_kept[table.name])

    def _add(self, table: Table, also: str) -> int:
        """Insert rows that are new, and overwrite those that say something else; how many."""
        name, keys = quoted(table.name), key_of(table)
        kind = RECORDS.get(table.name, Record)
        as_it_is = {*NOT_COMPARED, *(name for pair in kind.remembered.values() for name in pair)}
        rest = [column.name for column in table.columns if column.name not in {*keys, *as_it_is}]
        same = " AND ".join(f"b.{quoted(key)} = t.{quoted(key)}" for key in keys)
        differs = " OR ".join(f"t.{quoted(column)} IS DISTINCT FROM b.{quoted(column)}" for column in rest)
        news = ", ".join(f"{quoted(column)} = b.{quoted(column)}" for column in rest)
        if "read_seq" in table.columns:
            news += ", read_seq = b.read_seq"
        written = self._sql(
            f"MERGE INTO {self.home}.{name} t USING shadow.{name} b ON {same} WHEN MATCHED AND ({differs}) "
            f"THEN UPDATE SET {news}{also} WHEN NOT MATCHED THEN INSERT BY NAME"
        ).scalar()
        return int(written or 0)

    def _mind_sights(self) -> None:
        """What is made of deals otherwise now is no change of theirs: what was seen of them goes with it."""
        for log in LOGS:
            was = " AND ".join(f"s.{column} IS NOT DISTINCT FROM o.{column}" for column in log.columns)
            is_other = " OR ".join(f"n.{column} IS DISTINCT FROM o.{column}" for column in log.columns)
            news = ", ".join(f"{column} = n.{column}" for column in log.columns)
            self._sql(
                f"UPDATE {self.home}.deal_seen s SET {news} FROM {self.home}.deal o JOIN shadow.deal n "
                "ON n.account_id = o.account_id AND n.deal_id = o.deal_id "
                f"WHERE s.account_id = {self._mine()} AND s.account_id = o.account_id AND s.deal_id = o.deal_id "
                f"AND {was} AND ({is_other})"
            )

    def _mine(self) -> str:
        return "'" + self.account_id.replace("'", "''") + "'"

    def _sql(self, statement: str) -> CursorResult[Any]:
        return self.connection.exec_driver_sql(statement)
