"""How lists of a portal are walked: by ascending id, packed in batches, without counting.

A page is asked for by the id after which it begins, so that rows which come, go or change move nothing; `total` and
`next` are not looked at. In a chain each command refers to the last row of the one before it; after the first short
page the rest of the chain means nothing, for there the reference has no row to find. Reference, 2.4 and 2.5.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from math import ceil
from typing import Any, Literal

from connectors.bitrix24.api import BitrixApi
from connectors.bitrix24.batching import Command, Outcome, Reference, chunks
from connectors.connector import Span, Window
from connectors.errors import ForbiddenError, MissingError, PayloadError
from connectors.paging import Json, as_list, as_object

PAGE = 50
"""Rows of a page, which cannot be changed."""
GROWTH = 7
"""A list of unknown length is asked for 1, 7, 49 pages: most of what has changed since yesterday fits on one."""
UNCOUNTED = -1
Style = Literal["crm", "flat", "user"]


@dataclass(frozen=True)
class List:
    """A list method, and how it wants to be asked.

    rows: key of its rows within the result; "" where the result is the list. key: of the id in a row. cursor: name of
    the id in filter and order. changed: filter of change time, without its operator. style: `crm` takes
    `order: {ID: ASC}`, `flat` FILTER, SORT and ORDER, `user` FILTER, sort and order. to_the_end: filters that join may
    make a page short that is not the last. `params` may hold a `filter` of its own.
    """

    method: str
    rows: str = ""
    key: str = "ID"
    cursor: str = "ID"
    params: Mapping[str, Any] = field(default_factory=dict)
    select: tuple[str, ...] = ()
    changed: str = ""
    style: Style = "crm"
    to_the_end: bool = False

    def command(self, filters: Mapping[str, Any], *, order: str = "ASC") -> Command:
        own = dict(self.params)
        where = {**own.pop("filter", {}), **filters}
        if self.style == "crm":
            sorting: dict[str, Any] = {"filter": where, "order": {self.cursor: order}}
        elif self.style == "flat":
            sorting = {"FILTER": where, "SORT": self.cursor, "ORDER": order}
        else:
            sorting = {"FILTER": where, "sort": self.cursor, "order": order}
        select = {"select": list(self.select)} if self.select else {}
        return Command(self.method, {**own, **select, **sorting, "start": UNCOUNTED})

    def among(self, ids: Iterable[str]) -> dict[str, Any]:
        """The filter for some ids."""
        return {f"@{self.cursor}" if self.style == "crm" else self.cursor: list(ids)}

    def since(self, instant: datetime) -> dict[str, Any]:
        return {f">={self.changed}": instant.isoformat(timespec="seconds")}

    @property
    def fails_at_its_end(self) -> bool:
        """Whether a reference to a row that is not there is an error, which ends a chain. Other lists begin anew, and
        that takes as long as any page. Reference, 2.4."""
        return self.rows == "items"

    def last_of(self, key: str) -> Reference:
        """The id of the last row of an earlier command's full page."""
        path = f"[{self.rows}]" if self.rows else ""
        return Reference(f"$result[{key}]{path}[{PAGE - 1}][{self.key}]")

    def rows_of(self, result: Any) -> list[Json]:
        """Raises PayloadError for a result that is something else than this list: taken as an empty one it would end
        the walk, and what is missing would never be asked for again."""
        found = as_object(result).get(self.rows) if self.rows else result
        rows = [row for row in as_list(found) if isinstance(row, dict)]
        if result and not rows and (found or self.rows not in as_object(result)):
            raise self._other()
        return rows

    def numbered(self, result: Any) -> dict[int, Json]:
        """The rows by their ids. Raises PayloadError where one has none."""
        try:
            return {int(row[self.key]): row for row in self.rows_of(result)}
        except (KeyError, TypeError, ValueError):
            raise self._other() from None

    def _other(self) -> PayloadError:
        return PayloadError("{list}: the answer is not this list; nothing of it was believed.", list=self.method)


def walk(api: BitrixApi, listing: List, window: Window) -> Iterator[list[Json]]:
    """Pages of a window of any kind."""
    if window.kind in {"ids", "probe"}:
        yield from by_ids(api, listing, window.ids)
    elif window.kind == "sweep":
        yield from keyset(api, replace(listing, select=(listing.cursor,) if listing.select else ()))
    elif window.kind == "changed" and window.start is not None:
        yield from keyset(api, listing, listing.since(window.start))
    else:
        yield from keyset(api, listing, after=window.after, until=window.until, greatest=window.greatest)


def keyset(
    api: BitrixApi,
    listing: List,
    filters: Mapping[str, Any] | None = None,
    *,
    after: int = 0,
    until: int | None = None,
    greatest: int | None = None,
) -> Iterator[list[Json]]:
    """Pages of rows in ascending order of id, each row once: those above `after`, none above `until`.

    greatest: the greatest id there is, where that is known.

    Raises PayloadError where the list does not obey its filter and would be walked for ever.
    """
    filters = filters or {}
    if api.settings.batching == "windows" and until is not None and not (filters or listing.to_the_end):
        yield from by_windows(api, listing, after=after, until=until)
        return
    place = Place(api, listing, filters, at=after, until=until, expected=until or greatest or 0)
    while not place.is_end:
        with api.in_hand():
            for outcome in api.chain(listing.method, place.wanted(), place.commands):
                if outcome.error is not None:
                    raise outcome.error
                if page := place.take(outcome):
                    yield page
                if place.is_broken:
                    break


@dataclass
class Place:
    """Where a walk has come to.

    at: the last id it has seen. expected: up to which there are rows, as far as is known. is_broken: the page was not
    full, so what was asked for after it means nothing.
    """

    api: BitrixApi
    listing: List
    filters: Mapping[str, Any]
    at: int
    until: int | None
    expected: int
    n_rows: int = 0
    n_wanted: int = 1
    is_broken: bool = False
    is_end: bool = False

    def __post_init__(self) -> None:
        self.began_at = self.at
        self.trusts_short = self.api.settings.short_page_is_end and not self.listing.to_the_end

    def wanted(self) -> int:
        """How many pages to ask for at once: as many as there may be, by how dense the ids are so far."""
        self.is_broken = False
        if self.api.settings.batching == "single" or not self.trusts_short:
            return 1
        if self.at >= self.expected:
            wanted, self.n_wanted = self.n_wanted, min(self.n_wanted * GROWTH, self.api.settings.commands_per_batch)
            return wanted
        density = self.n_rows / (self.at - self.began_at) if self.n_rows else 1.0
        is_safe = self.n_rows or self.listing.fails_at_its_end
        most = self.api.settings.commands_per_batch if is_safe else GROWTH
        return min(most, max(1, ceil(density * (self.expected - self.at) / PAGE)))

    def commands(self, n: int) -> list[Command]:
        cursors = [self.at, *(self.listing.last_of(f"p{number}") for number in range(n - 1))]
        above, below = f">{self.listing.cursor}", f"<={self.listing.cursor}"
        bound = {} if self.until is None else {below: self.until}
        return [self.listing.command({**self.filters, above: cursor, **bound}) for cursor in cursors]

    def take(self, outcome: Outcome) -> list[Json]:
        """The rows of a page that are within the walk; moves on."""
        page, n_rows = self.listing.numbered(outcome.result), len(self.listing.rows_of(outcome.result))
        if page and max(page) <= self.at:
            raise PayloadError(
                "{list}: the list does not go on after id {number} but begins anew, so it cannot be read whole.",
                list=self.listing.method,
                number=self.at,
            )
        before, is_short = self.at, n_rows < PAGE
        self.is_broken = is_short
        self.is_end = not n_rows or (is_short and self.trusts_short)
        if page:
            self.at = max(page)
            self.n_rows += len(page)
        if self.until is not None and self.at >= self.until:
            self.is_broken = self.is_end = True
        return [row for number, row in sorted(page.items()) if before < number <= (self.until or number)]


def by_windows(api: BitrixApi, listing: List, *, after: int, until: int) -> Iterator[list[Json]]:
    """Pages of 50 ids, of which none can be too full: nothing depends on what another has brought."""
    above, below = f">{listing.cursor}", f"<={listing.cursor}"
    for lows in chunks(range(after, until, PAGE), api.settings.commands_per_batch):
        commands = {f"w{low}": listing.command({above: low, below: min(low + PAGE, until)}) for low in lows}
        with api.in_hand():
            yield from pages_of(api, listing, commands)


def by_ids(api: BitrixApi, listing: List, ids: Iterable[str]) -> Iterator[list[Json]]:
    """Rows by their ids; those the portal does not show (deleted, no right) are left out."""
    numbers = sorted({int(native_id) for native_id in ids})
    for some in chunks(numbers, PAGE * api.settings.commands_per_batch):
        commands = {
            f"i{number}": listing.command(listing.among(map(str, part)))
            for number, part in enumerate(chunks(some, PAGE))
        }
        with api.in_hand():
            yield from pages_of(api, listing, commands)


def pages_of(api: BitrixApi, listing: List, commands: Mapping[str, Command]) -> Iterator[list[Json]]:
    """Pages that do not depend on each other."""
    for outcome in api.batch(commands).values():
        if outcome.error is not None:
            raise outcome.error
        if page := list(listing.numbered(outcome.result).values()):
            yield page


def by_start(api: BitrixApi, listing: List, params: Mapping[str, Any] | None = None) -> Iterator[list[Json]]:
    """Pages of a list that knows no filter by id: by how many rows to pass over, until no new ones come. Beyond the end
    such a list may begin anew, so the ids decide."""
    seen: set[int] = set()
    ordered = {"sort": listing.cursor, "order": "ASC", **listing.params, **(params or {})}
    while True:
        result = api.call(listing.method, {**ordered, "start": len(seen)})
        page = {number: row for number, row in listing.numbered(result).items() if number not in seen}
        if page:
            yield list(page.values())
        seen.update(page)
        if len(listing.rows_of(result)) < PAGE or not page:
            return


def whole(api: BitrixApi, method: str, params: Mapping[str, Any] | None = None, rows: str = "") -> list[Json]:
    """All rows of a list that comes at once."""
    return List(method, rows).rows_of(api.call(method, params))


def spans(api: BitrixApi, lists: Mapping[str, List]) -> dict[str, Span]:
    """The least and the greatest id of each list that has rows. One that is refused has a span of nothing, so that
    whoever reads it is told why."""
    orders = ("ASC", "DESC")
    commands = {
        f"{order}{part}": replace(listing, select=(listing.cursor,) if listing.select else ()).command({}, order=order)
        for part, listing in lists.items()
        for order in orders
    }
    outcomes = api.batch(commands)
    found = {}
    for part, listing in lists.items():
        ends = [outcomes[f"{order}{part}"] for order in orders]
        errors = [end.error for end in ends if end.error is not None]
        if errors and not isinstance(errors[0], ForbiddenError | MissingError):
            raise errors[0]
        numbers = [number for end in ends for number in listing.numbered(end.result)]
        if errors:
            found[part] = Span(0, 0)
        elif numbers:
            found[part] = Span(min(numbers), max(numbers))
    return found
