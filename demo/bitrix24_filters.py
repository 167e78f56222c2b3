"""Filters and orders of list methods over neutral rows, in the dialects of `bitrix24.md` 2.6.

A filter becomes conditions. Those on the id and on the change instant are answered by the table's indexes, so that a
page of a walk by id costs a bisection; the others look at the rows.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal, InvalidOperation
from fnmatch import translate
from functools import partial
from itertools import islice
from operator import ge, gt, le, lt
from random import Random
from re import IGNORECASE
from re import compile as regex
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from demo import bitrix24_php as php
from demo.bitrix24_errors import invalid_argument
from demo.bitrix24_values import Day, Instant, Never, Row

PREFIXES = ("!><", "!=%", "!%=", "!%", "!@", "!=", "><", ">=", "<=", "=%", "%=", "!", ">", "<", "=", "@", "%")
COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {">": gt, ">=": ge, "<": lt, "<=": le}
FOREVER = 1 << 62


class Table(Protocol):
    """What the engine asks of a table of the portal. `modified` keeps the ids in the order of the column `stamp`."""

    ids: Any
    version: int
    stamp: str
    modified: Any
    templates: set[int]

    def get(self, number: int) -> Row | None:
        """The row with that id; None where there is none, or no more."""

    def glimpse(self, number: int, names: Set[str]) -> Row | None:
        """At least the named columns of that row."""

    def owned_by(self, *owner: Any) -> list[int]:
        """Ids of the rows of one owner."""


@dataclass(frozen=True)
class Condition:
    """One test of one field. `name` is the row's; `operator` one of PREFIXES."""

    name: str
    operator: str
    value: Any

    @property
    def names(self) -> frozenset[str]:
        """Of the columns it looks at."""
        return frozenset([self.name])

    def times(self, row: Row, zone: ZoneInfo) -> int:
        """How often a row passes: once for each element of a field of many values, as a join would have it."""
        held = row.get(self.name)
        if self.operator.startswith("!"):
            return int(not Condition(self.name, self.operator[1:] or "=", self.value).times(row, zone))
        if isinstance(held, list) and held:
            return sum(self._passes(one, zone) for one in held)
        return int(self._passes(None if held == [] else held, zone))

    def _passes(self, held: Any, zone: ZoneInfo) -> bool:
        operator, asked = self.operator, self.value
        if isinstance(held, dict):
            return _is_binding(held, asked)
        if operator in COMPARISONS:
            wanted = _like(held, asked, zone)
            return wanted is MEANINGLESS or (held is not None and wanted is not None
                                             and COMPARISONS[operator](_comparable(held), wanted))  # fmt: skip
        if operator == "><":
            low, high = [*php.values(asked), None, None][:2]
            return all(Condition(self.name, o, v)._passes(held, zone) for o, v in ((">=", low), ("<=", high)))
        if "%" in operator:
            return _matches(held, str(asked), exact=operator != "%")
        if isinstance(held, bool) and self.name.startswith("UF_"):  # a number here, whatever it is in answers
            return any(bool(php.integer(one)) == held for one in php.values(asked))
        wanted_ones = [_like(held, one, zone) for one in php.values(asked)]
        mine = None if held is None else _comparable(held)
        return mine in wanted_ones or MEANINGLESS in wanted_ones


class _Meaningless:
    """A value that could not be read as what the field holds: the condition then says nothing."""


MEANINGLESS = _Meaningless()


def _is_binding(held: Mapping[str, Any], asked: Any) -> bool:
    """Whether a binding (or phone) is among those asked for."""
    if "VALUE" in held:
        return str(held["VALUE"]) in map(str, php.values(asked))
    pairs = asked if isinstance(asked, list) else [asked]
    return any(
        isinstance(pair, dict) and all(str(held.get(name)) == str(value) for name, value in pair.items())
        for pair in pairs
    )


def _comparable(held: Any) -> Any:
    if isinstance(held, Day):
        return held.day
    return FOREVER if held is Never else held


def _like(held: Any, asked: Any, zone: ZoneInfo) -> Any:
    """What was asked for, as the kind of value that the row holds."""
    if isinstance(held, Instant) or held is Never:
        moment = read_datetime(asked, zone)
        return MEANINGLESS if moment is None else int(moment.timestamp())
    if isinstance(held, Day):
        moment = read_datetime(asked, zone)
        return MEANINGLESS if moment is None else moment.astimezone(zone).date()
    if isinstance(held, bool):
        return {"Y": True, "1": True, "true": True, "True": True}.get(str(asked), False)
    if isinstance(held, int | Decimal):
        return _number(asked)
    if held is None:
        return None if asked in (None, "", "0", 0, False) else asked
    return str(asked)


def _number(asked: Any) -> Any:
    if isinstance(asked, list | dict):
        return php.integer(asked)
    try:
        return Decimal(str(asked))
    except InvalidOperation:
        return None


def read_datetime(text: Any, zone: ZoneInfo) -> datetime | None:
    """ISO 8601 or `2026-01-31 00:00:00`, without an offset in the server's zone; None for what is no date."""
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=zone)


def _matches(held: Any, pattern: str, *, exact: bool) -> bool:
    asked = pattern.replace("%", "*") if exact else f"*{pattern}*"
    return bool(regex(translate(asked), IGNORECASE).match(str(held or "")))


# --- dialects


@dataclass(frozen=True)
class Dialect:
    """How a method reads `filter`: names it knows → names of the row; what becomes of the rest."""

    names: Mapping[str, str]
    is_strict: bool = False
    equal_only: frozenset[str] = frozenset()
    """Fields that only allow equality: other tests are dropped, likeness becomes equality."""

    def conditions(self, wanted: Any) -> "list[Condition | Either]":
        """The conditions of a filter.

        Raises:
            RestError: in a strict dialect, for an unknown field or a comparison with an array.
        """
        found: list[Condition | Either] = []
        for key, value in php.items(wanted):
            if self.is_strict and (key.lower() == "logic" or (key.isdigit() and isinstance(value, dict | list))):
                if key.isdigit():
                    found.append(self._nested(value))
                continue
            condition = self._condition(key, value)
            if condition is not None:
                found.append(condition)
        if self.is_strict and _logic(wanted) == "OR":
            return [Either(tuple((one,) for one in found))]
        return found

    def _nested(self, value: Any) -> "Either":
        return Either((tuple(self.conditions(value)),))

    def _condition(self, key: str, value: Any) -> Condition | None:
        operator = next((prefix for prefix in PREFIXES if key.startswith(prefix)), "")
        name = self.names.get(key.removeprefix(operator))
        if name is None:
            if self.is_strict:
                text = f"Invalid filter: field '{key.removeprefix(operator)}' is not allowed in filter"
                raise invalid_argument(text)
            return None
        if name in self.equal_only:
            if operator in COMPARISONS:
                return None
            operator = operator.replace("%", "")
        if operator in COMPARISONS and isinstance(value, list | dict):
            if self.is_strict:
                raise invalid_argument(f"Invalid filter: value of '{key}' must not be an array")
            value = php.integer(value)
        return Condition(name, operator or "=", value)


def _logic(wanted: Any) -> str:
    found = [value for key, value in php.items(wanted) if key.lower() == "logic"]
    return str(found[0]).upper() if found else "AND"


@dataclass(frozen=True)
class Either:
    """Passes where all conditions of one branch pass."""

    branches: "tuple[tuple[Condition | Either, ...], ...]"

    @property
    def names(self) -> frozenset[str]:
        return frozenset().union(*(one.names for branch in self.branches for one in branch))

    def times(self, row: Row, zone: ZoneInfo) -> int:
        return int(any(all(one.times(row, zone) for one in branch) for branch in self.branches))


# --- queries


@dataclass
class Query:
    """What a list method asks of a table. `order`: names of the row, each with whether it descends."""

    source: str
    """The table's name."""
    conditions: list[Condition | Either] = field(default_factory=list)
    order: list[tuple[str, bool]] = field(default_factory=list)
    key: str = "ID"
    left_out: frozenset[int] = frozenset()
    shuffle: Random | None = None
    """Where the order is nobody's business."""
    tests: list[Callable[[Row], bool]] = field(default_factory=list)
    """What rights hide."""


class Between(Sequence[int]):
    """A part of a long sequence of ids, not copied."""

    def __init__(self, ids: Sequence[int], first: int, end: int) -> None:
        self._ids, self._first, self._end = ids, first, max(first, end)

    def __len__(self) -> int:
        return self._end - self._first

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            first, end, step = place.indices(len(self))
            return self._ids[self._first + first : self._first + end : step]
        return self._ids[self._first + place]

    def __iter__(self) -> Iterator[int]:
        return map(self._ids.__getitem__, range(self._first, self._end))

    def __reversed__(self) -> Iterator[int]:
        return map(self._ids.__getitem__, range(self._end - 1, self._first - 1, -1))


class Selection:
    """The ids that a query finds, lazily: in order, each as often as a join would give it."""

    def __init__(self, table: Table, query: Query, zone: ZoneInfo, cache: "Cache") -> None:
        self._table, self._query, self._zone, self._cache = table, query, zone, cache
        self._low, self._high = 0, FOREVER
        self._window: tuple[int | None, int | None] | None = None
        self._ids: list[int] | None = None
        self._rest: list[Condition | Either] = []
        for condition in query.conditions:
            if not (isinstance(condition, Condition) and self._indexed(condition)):
                self._rest.append(condition)

    def _indexed(self, condition: Condition) -> bool:
        """Whether an index answers the condition; then its bounds are narrowed."""
        name, operator, value = condition.name, condition.operator, condition.value
        if name == self._query.key:
            if operator in {"=", "@"}:
                wanted = {number for one in php.values(value) if (number := _whole(one)) is not None}
                self._ids = sorted(wanted & set(self._ids) if self._ids is not None else wanted)
                return True
            if operator in COMPARISONS and (bound := _whole(value)) is not None:
                self._narrow(operator, bound)
                return True
        if name == self._table.stamp and operator in COMPARISONS:
            moment = read_datetime(value, self._zone)
            if moment is not None:
                at = int(moment.timestamp())
                low, high = self._window or (None, None)
                if operator.startswith(">"):
                    low = max(at + (operator == ">"), -FOREVER if low is None else low)
                else:
                    high = min(at - (operator == "<"), FOREVER if high is None else high)
                self._window = (low, high)
            return True
        return False

    def _narrow(self, operator: str, bound: int) -> None:
        if operator.startswith(">"):
            self._low = max(self._low, bound + (operator == ">"))
        else:
            self._high = min(self._high, bound - (operator == "<"))

    # --- ids

    def first(self, n: int, after: int = 0) -> list[int]:
        """`n` ids, `after` of them passed over."""
        return list(islice(self._walk(), after, after + n))

    def all(self) -> Sequence[int]:
        """All ids: to be counted, or entered anywhere."""
        if self._query.shuffle:
            return list(self._walk())
        if self._is_plain and self._query.order in ([], [(self._query.key, False)]):
            return self._base()
        return self._kept("all", lambda: list(self._walk()))

    def _kept(self, what: str, compute: Callable[[], Sequence[int]]) -> Sequence[int]:
        query = self._query
        name = (
            what, query.source, repr(self._rest), self._window, repr(self._ids), self._low, self._high,
            tuple(query.order), len(query.tests), query.left_out,
        )  # fmt: skip
        return self._cache.get(name, self._table.version, compute)

    @property
    def _is_plain(self) -> bool:
        """Whether indexes alone give the answer."""
        query = self._query
        return not (self._rest or query.tests or query.left_out or query.shuffle)

    def _walk(self) -> Iterator[int]:
        order = self._query.order
        if self._query.shuffle:
            ids = list(self._passing(self._base()))
            self._query.shuffle.shuffle(ids)
            return iter(ids)
        if not order or order[0][0] == self._query.key:
            ids_by_key = self._base()
            is_descending = bool(order) and order[0][1]
            return self._passing(reversed(ids_by_key) if is_descending else ids_by_key)
        return iter(self._kept("sorted", self._sorted))

    def _sorted(self) -> list[int]:
        ids = list(self._passing(self._base()))
        for name, is_descending in reversed(self._query.order):
            ids.sort(key=partial(self._rank, name), reverse=is_descending)
        return ids

    def _rank(self, name: str, number: int) -> tuple[int, Any]:
        value = (self._table.get(number) or {}).get(name)
        if value is None or value is Never:
            return (0, 0) if value is None else (2, 0)
        return 1, str(value) if isinstance(value, list | dict) else _comparable(value)

    def _base(self) -> Sequence[int]:
        """Ids between the bounds, ascending, as the indexes have them."""
        listed = self._table.ids
        if self._ids is not None:
            found: Sequence[int] = [number for number in self._ids if _holds(listed, number)]
        elif self._window is not None:
            low, high = self._window
            window = (self._query.source, low, high)
            found = self._cache.get(window, self._table.version, lambda: array("q", sorted(self._inside(low, high))))
        else:
            found = listed
        if self._ids is not None and self._window is not None:
            low, high = self._window
            inside = set(self._inside(low, high))
            found = [number for number in found if number in inside]
        return Between(found, bisect_left(found, self._low), bisect_right(found, self._high))

    def _inside(self, low: int | None, high: int | None) -> Sequence[int]:
        """Ids of the rows changed between two instants, in that order."""
        found: Sequence[int] = self._table.modified.between(low, high)
        return found

    def _passing(self, ids: Any) -> Iterator[int]:
        if self._is_plain:
            return iter(ids)
        return self._tested(ids)

    def _tested(self, ids: Any) -> Iterator[int]:
        rest, tests, zone = self._rest, self._query.tests, self._zone
        names = frozenset[str]().union(*(condition.names for condition in rest))
        get = self._table.get if tests else partial(self._table.glimpse, names=names)
        for number in ids:
            if number in self._query.left_out:
                continue
            if not rest and not tests:
                yield number
                continue
            row = get(number)
            if row is None or not all(test(row) for test in tests):
                continue
            times = 1
            for condition in rest:
                times *= condition.times(row, zone)
                if not times:
                    break
            for _ in range(times):
                yield number


def _holds(ids: Sequence[int], number: int) -> bool:
    place = bisect_left(ids, number)
    return place < len(ids) and ids[place] == number


def _whole(value: Any) -> int | None:
    """The integer that a filter on an id means; None where the old dialect would not have it."""
    if isinstance(value, list | dict):
        return None
    text = str(value).strip()
    return int(text) if text.lstrip("-").isdigit() else php.integer(text)


class Cache:
    """The last answers, each as long as its table stays as it is."""

    def __init__(self, size: int = 32) -> None:
        self._size = size
        self._kept: OrderedDict[tuple[Any, ...], tuple[int, Sequence[int]]] = OrderedDict()

    def get(self, name: tuple[Any, ...], version: int, compute: Callable[[], Sequence[int]]) -> Sequence[int]:
        """`version` of the table: an answer of another one is computed again."""
        known = self._kept.get(name)
        found = known[1] if known and known[0] == version else compute()
        self._kept[name] = (version, found)
        self._kept.move_to_end(name)
        if len(self._kept) > self._size:
            self._kept.popitem(last=False)
        return found
