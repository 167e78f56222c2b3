"""The living account behind the emulated amoCRM: cards that can change, kept in order for filters and paging.

A `Table` holds the frozen rows of the company, what was changed since, and three orders (id, created, updated), so that
a page of a window of a million rows costs a bisection and a slice. Paging is by offset over the present rows: what
changes during a walk does shift pages.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any

Row = Any
"""A named tuple of `demo.model` with `id`, `created_at`, `updated_at`."""


class Joined(Sequence[Row]):
    """Two sequences one after the other, neither copied."""

    def __init__(self, first: Sequence[Row], second: Sequence[Row]) -> None:
        self._first, self._second = first, second

    def __len__(self) -> int:
        return len(self._first) + len(self._second)

    def __getitem__(self, place: Any) -> Any:
        n_first = len(self._first)
        return self._first[place] if place < n_first else self._second[place - n_first]

    def __iter__(self) -> Iterator[Row]:
        return chain(self._first, self._second)


class Order:
    """Ids sorted by a value of their rows, then by id."""

    def __init__(self, values: "array[int]", ids: "array[int]") -> None:
        """`ids` ascend, `values` are theirs."""
        places = sorted(range(len(ids)), key=values.__getitem__)  # stable: equal values stay in the order of ids
        self.values = array("q", map(values.__getitem__, places))
        self.ids = array("q", map(ids.__getitem__, places))

    def between(self, low: int | None, high: int | None) -> "array[int]":
        """Ids with low <= value <= high."""
        first = 0 if low is None else bisect_left(self.values, low)
        last = len(self.values) if high is None else bisect_right(self.values, high)
        return self.ids[first:last]

    def add(self, value: int, number: int) -> None:
        place = self._place(value, number)
        self.values.insert(place, value)
        self.ids.insert(place, number)

    def remove(self, value: int, number: int) -> None:
        place = self._place(value, number)
        if place < len(self.ids) and self.ids[place] == number:
            self.values.pop(place)
            self.ids.pop(place)

    def _place(self, value: int, number: int) -> int:
        first = bisect_left(self.values, value)
        return bisect_left(self.ids, number, first, bisect_right(self.values, value, first))


class Table:
    """Rows of one list. Rows for which `is_listed` is false are in no list but can be got by id."""

    def __init__(self, rows: Sequence[Row], *, first_id: int, is_listed: Callable[[Row], bool]) -> None:
        """`rows` have consecutive ids from `first_id`."""
        self._rows, self._first_id, self._is_listed = rows, first_id, is_listed
        self._changed: dict[int, Row] = {}
        self.version = 0
        self.ids, created, updated = array("q"), array("q"), array("q")
        for row in rows:
            if is_listed(row):
                self.ids.append(row.id)
                created.append(row.created_at)
                updated.append(row.updated_at)
        self.created, self.updated = Order(created, self.ids), Order(updated, self.ids)
        self.next_id = first_id + len(rows)

    def get(self, number: int) -> Row | None:
        """The row with that id, listed or not."""
        if (row := self._changed.get(number)) is not None:
            return row
        place = number - self._first_id
        return self._rows[place] if 0 <= place < len(self._rows) else None

    def put(self, row: Row) -> None:
        """Add a row or replace the one with its id."""
        old = self.get(row.id)
        if old is not None and self._is_listed(old):
            self.ids.remove(row.id)
            self.created.remove(old.created_at, row.id)
            self.updated.remove(old.updated_at, row.id)
        self._changed[row.id] = row
        if self._is_listed(row):
            self.ids.insert(bisect_left(self.ids, row.id), row.id)
            self.created.add(row.created_at, row.id)
            self.updated.add(row.updated_at, row.id)
        self.next_id = max(self.next_id, row.id + 1)
        self.version += 1

    def unlisted(self) -> list[Row]:
        """Rows that are in no list, changed or not, by id: for the trash."""
        numbers = range(self._first_id, self._first_id + len(self._rows))
        rows = (self.get(number) for number in {*numbers, *self._changed})
        return sorted((row for row in rows if row is not None and not self._is_listed(row)), key=lambda row: row.id)


Test = Callable[[Row], bool]


class Query:
    """What is asked of a table: ids, windows, further tests, and an order. `key` names it in the cache."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.ids: set[int] | None = None
        self.created: tuple[int | None, int | None] | None = None
        self.updated: tuple[int | None, int | None] | None = None
        self.tests: list[Test] = []
        self.order: tuple[str, bool] = ("id", False)

    def run(self, table: Table) -> Sequence[int]:
        """Ids of the rows asked for, in order."""
        found, is_sorted = self._candidates(table)
        if self.tests:
            tests, get = self.tests, table.get
            found = [number for number in found if all(test(get(number)) for test in tests)]
        by, is_descending = self.order
        if by == "id":
            if is_sorted != "id":
                found = sorted(found)
        elif by != is_sorted:
            get = table.get
            found = sorted(found, key=lambda number: (getattr(get(number), by), number))
        return found[::-1] if is_descending else found

    def _candidates(self, table: Table) -> tuple[Sequence[int], str]:
        """The smallest indexed set that holds the answer, and by what it is ordered."""
        if self.ids is not None:
            listed = table.ids
            found = [i for i in sorted(self.ids) if (p := bisect_left(listed, i)) < len(listed) and listed[p] == i]
            for name, window in (("created_at", self.created), ("updated_at", self.updated)):
                if window:
                    self.tests.append(_within(name, window))
            return found, "id"
        if self.updated:
            if self.created:
                self.tests.append(_within("created_at", self.created))
            return table.updated.between(*self.updated), "updated_at"
        if self.created:
            return table.created.between(*self.created), "created_at"
        by = self.order[0]
        if by == "created_at":
            return table.created.ids, by
        if by == "updated_at":
            return table.updated.ids, by
        return table.ids, "id"


def _within(name: str, window: tuple[int | None, int | None]) -> Test:
    low, high = window
    return lambda row: (low is None or getattr(row, name) >= low) and (high is None or getattr(row, name) <= high)


class Cache:
    """The answers of the last queries, as long as nothing changed: a walk computes its ids once."""

    def __init__(self, size: int = 64) -> None:
        self._size = size
        self._kept: OrderedDict[tuple[str, int], Sequence[int]] = OrderedDict()

    def ids(self, key: str, version: int, compute: Callable[[], Sequence[int]]) -> Sequence[int]:
        name = (key, version)
        if name in self._kept:
            self._kept.move_to_end(name)
            return self._kept[name]
        found = compute()
        self._kept[name] = found
        if len(self._kept) > self._size:
            self._kept.popitem(last=False)
        return found
