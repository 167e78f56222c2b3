"""A list of the demo Bitrix24: ids in order, rows painted when they are asked for, and what was changed since."""

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from types import MappingProxyType
from typing import Any

from demo.amocrm_store import Order
from demo.bitrix24_values import Row

NOTHING = array("q")
Owners = Callable[[Row], Iterable[tuple[Any, ...]]]


def named_by(*columns: str) -> Owners:
    """The one owner that columns together name."""
    return lambda row: [tuple(row[name] for name in columns)]


class Table:
    """Rows by id. Those that were deleted are in no list and cannot be got either.

    `stamp`: the column that says when a row was changed; `modified` keeps the ids in its order (None without one).
    """

    def __init__(
        self,
        ids: "array[int]",
        paint: Callable[[int], Row],
        *,
        stamp: str = "",
        changed: "array[int]" = NOTHING,
        next_id: int = 0,
        owners: Owners | None = None,
        told: Mapping[str, Callable[[int], Any]] = MappingProxyType({}),
    ) -> None:
        """`ids` ascend, `changed` are the instants of `stamp`. owners: whose a row is, see `owned_by`.

        told: columns that are known by the id, without painting the row: filters on them look at every row.
        """
        self.ids = ids
        self.stamp = stamp
        self.modified = Order(changed, ids) if stamp else None
        self.version = 0
        self.next_id = next_id or (ids[-1] + 1 if ids else 1)
        self.deleted: dict[int, Row] = {}
        """Rows as they were when they were deleted."""
        self.templates: set[int] = set()
        """Recurring deals among the rows put so far: one of the lists hides them, and has to know without painting."""
        self._paint, self._owners, self._told = paint, owners, told
        self._changed: dict[int, Row] = {}
        self._owned: tuple[int, dict[tuple[Any, ...], list[int]]] = (-1, {})

    @classmethod
    def of(cls, rows: Sequence[Row], *, stamp: str = "", owners: Owners | None = None) -> "Table":
        """A short list, whose rows are all there already."""
        by_id = {row["ID"]: row for row in rows}
        ids = array("q", sorted(by_id))
        changed = array("q", (by_id[number][stamp] for number in ids)) if stamp else NOTHING
        table = cls(ids, by_id.__getitem__, stamp=stamp, changed=changed, owners=owners)
        table.templates = {row["ID"] for row in rows if row.get("IS_RECURRING")}
        return table

    def __contains__(self, number: int) -> bool:
        place = bisect_left(self.ids, number)
        return place < len(self.ids) and self.ids[place] == number

    def get(self, number: int) -> Row | None:
        """The row, if it is listed. Not to be changed in place."""
        if number in self._changed:
            return self._changed[number]
        return self._paint(number) if number in self else None

    def glimpse(self, number: int, names: Set[str]) -> Row | None:
        """At least the named columns of a row, if it is listed; the whole row where they take painting it."""
        if number in self._changed or not names <= self._told.keys():
            return self.get(number)
        return {name: self._told[name](number) for name in names} if number in self else None

    def put(self, row: Row) -> None:
        """Add a row, or replace the one with its id."""
        number: int = row["ID"]
        self._unstamp(number)
        if number not in self:
            self.ids.insert(bisect_left(self.ids, number), number)
        self._changed[number] = row
        (self.templates.add if row.get("IS_RECURRING") else self.templates.discard)(number)
        if self.modified is not None:
            self.modified.add(row[self.stamp], number)
        self.next_id = max(self.next_id, number + 1)
        self.version += 1

    def remove(self, number: int) -> Row | None:
        """Delete a row; it is kept in `deleted`."""
        row = self.get(number)
        if row is not None:
            self._unstamp(number)
            self.ids.pop(bisect_left(self.ids, number))
            self._changed.pop(number, None)
            self.templates.discard(number)
            self.deleted[number] = row
            self.version += 1
        return row

    def _unstamp(self, number: int) -> None:
        if self.modified is not None and (row := self.get(number)) is not None:
            self.modified.remove(row[self.stamp], number)

    def owned_by(self, *owner: Any) -> list[int]:
        """Ids of the rows of one owner, named as `owners` names them."""
        if self._owners is not None and self._owned[0] != self.version:
            found: dict[tuple[Any, ...], list[int]] = {}
            for number in self.ids:
                row: Any = self.get(number)
                for one in self._owners(row):
                    found.setdefault(one, []).append(number)
            self._owned = (self.version, found)
        return self._owned[1].get(owner, [])
