"""How a list of amoCRM is walked: pages of a window, ids, whole lists; and what becomes of each object on the way.

First reads go by windows with both bounds fixed: of `created_at`, or of change time where a list knows no other filter;
later ones by change time with no upper bound. All are ordered by id, because ordering by change time would shift pages
when a row changes during the walk. Where a list ignores its filters it is read whole until two walks show the same ids.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice
from typing import Any

from connectors.amocrm.api import AmoApi
from connectors.amocrm.reading import Reading
from connectors.amocrm.slips import TRAIL, Log, Span, Turned, changes, removals, slipped
from connectors.connector import FIRST_KINDS, Window, WindowKind
from connectors.errors import ForbiddenError, MissingError, PayloadError, Phrase, SlowError
from connectors.paging import Json, by_page_number, items_of, key_of, until_settled, whole
from connectors.records import Account, LeftOut, Notice, Record, Reread, Yield
from connectors.walk import kept_raw, mapped

MAX_PAGES = 20_000
"""Of a walk: five million rows; more is a server that repeats itself."""
BY_ID = "order[id]"
NO_ITEMS: Json = {"_embedded": {}}
IDS_AT_A_TIME = 100
"""Longer addresses are refused by web servers."""
NOTHING_BEFORE = datetime(2000, 1, 1, tzinfo=UTC)
"""Where a window without a start begins to be cut."""
SLACK = timedelta(seconds=2)
"""Bounds may be exclusive, and a merge is told by two events up to 2 s apart: windows overlap a little."""

LEFT_OUT = Phrase("This list was left out.")

ToRecords = Callable[[Json, Reading, str], Iterable[Yield]]
Keys = set[tuple[str, ...]]


@dataclass(frozen=True)
class Query:
    """A list: where it is, and how a window of it is asked for.

    collection: its key in the answer, also its name in messages. entity: what `raw_record` calls its objects.
    created, changed: filters for windows of those kinds, and the field of a row that must obey.
    key: what a row is known by. to_the_end: the list may not announce its next page, so only an empty one is its end.
    """

    path: str
    collection: str
    entity: str
    limit: int
    params: Mapping[str, Any] = field(default_factory=dict)
    created: str = "created_at"
    changed: str = "updated_at"
    key: str = "id"
    to_the_end: bool = False


def walk(api: AmoApi, query: Query, window: Window, reading: Reading) -> Iterator[list[Json]]:
    """Pages of a window. A list that ignores filters is read whole, by the first of its windows that finds out."""
    if window.kind == "ids":
        yield from by_ids(api, query, window.ids, reading)
    elif api.filters(query.entity) or not (window.start or window.end):
        yield from filtered(api, query, window, reading)
    else:
        yield from whole_list(api, query, window, reading)


def filtered(api: AmoApi, query: Query, window: Window, reading: Reading) -> Iterator[list[Json]]:
    """Pages of a window; one that is too slow (504) even by small pages is read in halves."""
    waiting, seen = [window], set[Any]()
    while waiting:
        part = waiting.pop()
        try:
            yield from walked_once(api, query, part, reading, seen=seen)
        except SlowError:
            if not (halves := in_halves(part)):
                raise
            waiting += halves


def in_halves(window: Window) -> list[Window]:
    """Both halves of a window that has an end, the later one first; none of one that is too short."""
    if window.end is None:
        return []
    start = window.start or NOTHING_BEFORE
    if window.end - start < 2 * SLACK:
        return []
    middle = start + (window.end - start) / 2
    return [replace(window, start=middle), replace(window, end=middle)]


def walked_once(api: AmoApi, query: Query, window: Window, reading: Reading, *, seen: set[Any]) -> Iterator[list[Json]]:
    field_name = query.created if window.kind == "created" else query.changed
    bounds = to_bounds(window)
    params = {f"filter[{field_name}][{side}]": bound for side, bound in bounds.items()}
    trail: list[Turned] = []
    left = partial(departures, api, query, window.kind, seen)
    for page in pages(api, query, params, reading, seen=seen, trail=trail):
        if any(is_stray(row.get(field_name), bounds) for row in page):
            reading.notice(
                Phrase(
                    "{list}: the filter by {field} has no effect, the whole list is read",
                    list=query.entity,
                    field=field_name,
                )
            )
            api.ignores_filters(query.entity)
            yield from whole_list(api, query, window, reading)
            return
        yield page
        if len(trail) > TRAIL:
            last = trail[-1]
            yield from missed(api, query, params, reading, left, seen=seen, trail=trail)
            trail[:] = [last]
    yield from missed(api, query, params, reading, left, seen=seen, trail=trail)


def departures(
    api: AmoApi, query: Query, kind: WindowKind, seen: set[Any], trail: list[Turned]
) -> dict[Any, Span] | None:
    """What has left a window since the first page of `trail`: what was deleted, and what was seen and then changed."""
    deleted = removals(api, trail[0].at)
    if deleted is None or kind != "changed_within":
        return deleted
    since = to_bounds(Window("changed", trail[0].at))
    asked = {**query.params, f"filter[{query.changed}][from]": since["from"]}
    walked = by_page_number(
        lambda params: api.get(query.path, params),
        asked,
        collection=query.collection,
        limit=query.limit,
        max_pages=MAX_PAGES,
    )
    try:
        rows = [row for page in walked for row in page if key_of(row, query.key) in seen]
    except PayloadError:
        return None
    return deleted | changes(rows, trail, query.changed)


def missed(
    api: AmoApi,
    query: Query,
    params: Mapping[str, Any],
    reading: Reading,
    left: Log,
    *,
    seen: set[Any],
    trail: list[Turned],
) -> Iterator[list[Json]]:
    """Rows that others have moved out of the walk's sight. Lists without an order (events) never lose a row."""
    if BY_ID not in query.params:
        return
    turn = turning(api, query, trail)

    def ask(number: int, limit: int) -> list[Json]:
        return items_of(turn({**query.params, **params, "limit": limit, "page": number}) or NO_ITEMS, query.collection)

    for page in slipped(trail, ask, left, collection=query.collection, notice=reading.notice):
        if fresh := [row for row in page if key_of(row) not in seen]:
            seen.update(key_of(row) for row in fresh)
            yield fresh


def turning(api: AmoApi, query: Query, trail: list[Turned]) -> Callable[[Mapping[str, Any]], Any]:
    """Asks for a page and notes what it showed."""

    def turn(asked: Mapping[str, Any]) -> Any:
        answer = api.get(query.path, asked)
        items = items_of(answer or NO_ITEMS, query.collection)
        trail.append(Turned.of(items, number=asked["page"], limit=asked["limit"], at=api.server_now()))
        return answer

    return turn


def to_bounds(window: Window) -> dict[str, int]:
    """Bounds of a window in unix seconds with slack; a `changed` window has a lower one only."""
    bounds = {}
    if window.start:
        bounds["from"] = int((window.start - SLACK).timestamp())
    if window.end and window.kind in FIRST_KINDS:
        bounds["to"] = int((window.end + SLACK).timestamp()) + 1
    return bounds


def is_stray(moment: Any, bounds: Mapping[str, int]) -> bool:
    """Whether a row should not have come. Rows without the field are not judged."""
    seconds = whole(moment)
    if seconds is None:
        return False
    return seconds < bounds.get("from", seconds) or seconds > bounds.get("to", seconds)


def whole_list(api: AmoApi, query: Query, window: Window, reading: Reading) -> Iterator[list[Json]]:
    """All rows, or those changed since `window.start`; walked until a walk finds nothing new."""
    if window.kind in FIRST_KINDS and not api.claim(query.entity):
        return
    bounds = to_bounds(window) if window.kind == "changed" else {}
    seen: set[Any] = set()
    for page in until_settled(lambda: pages(api, query, {}, reading, seen=seen)):
        yield [row for row in page if not is_stray(row.get(query.changed), bounds)]


def pages(
    api: AmoApi,
    query: Query,
    params: Mapping[str, Any],
    reading: Reading,
    *,
    seen: set[Any] | None = None,
    trail: list[Turned] | None = None,
) -> Iterator[list[Json]]:
    return by_page_number(
        turning(api, query, [] if trail is None else trail),
        {**query.params, **params},
        collection=query.collection,
        limit=query.limit,
        max_pages=MAX_PAGES,
        key=query.key,
        to_the_end=query.to_the_end,
        seen=seen,
        on_odd=reading.odd,
    )


def by_ids(api: AmoApi, query: Query, ids: Iterable[str], reading: Reading) -> Iterator[list[Json]]:
    """Rows by their ids; ids the source does not show (deleted, no right) are left out."""
    waiting = iter(ids)
    while some := tuple(islice(waiting, min(IDS_AT_A_TIME, query.limit))):
        if api.filters(query.entity):
            params = {f"filter[{query.key}][{position}]": native_id for position, native_id in enumerate(some)}
            answer = api.get(query.path, {**query.params, **params, "limit": query.limit, "page": 1})
            rows = items_of(answer, query.collection, reading.odd) if answer else []
            if {str(key) for row in rows if (key := key_of(row, query.key)) is not None} <= set(some):
                yield rows
                continue
            api.ignores_filters(query.entity)
        found = (api.get(f"{query.path}/{native_id}", query.params, missing_ok=True) for native_id in some)
        yield [row for answer in found if (row := one_of(answer, query, reading))]


def one_of(answer: Any, query: Query, reading: Reading) -> Json | None:
    """What a row's own address answered; nothing, told, where that is no object."""
    if answer is None or (answer and isinstance(answer, dict)):
        return answer
    reading.odd(Phrase("{list}: items that are not objects were left out", list=query.collection))
    return None


def stream(api: AmoApi, account: Account, window: Window, query: Query, to_records: ToRecords) -> Iterator[Yield]:
    """Raw objects and the records mapped from them, page by page, then what only the whole walk could tell."""
    reading = api.reading(account)
    for page in walk(api, query, window, reading):
        yield from of_page(page, query, to_records, reading)
    yield from reading.conclusions()


def of_page(page: Iterable[Json], query: Query, to_records: ToRecords, reading: Reading) -> Iterator[Yield]:
    for item in page:
        yield from mapped(item, query.entity, to_records, reading, key=query.key)
    yield from reading.mentions()


def if_readable(
    read: Iterator[Yield], *, is_all: bool = False, cost: Phrase = LEFT_OUT, later: Reread | None = None
) -> Iterator[Yield]:
    """A list that not every account has and not every token may read: one that is refused is told and left out. One
    that is refused in the middle has failed: what had not come yet would be passed over.

    is_all: without it the resource has nothing. cost: what is missing without it. later: what is to be read once it is
    given, where the resource goes on without it.
    """
    has_begun = False
    try:
        for item in read:
            has_begun = True
            yield item
    except (ForbiddenError, MissingError) as error:
        if has_begun:
            raise
        yield Notice(Phrase("{error} {cost}", error=error.said, cost=cost))
        if is_all:
            yield LeftOut(error.said)
        if later:
            yield later


def of_lists(names: Iterable[str], listed: Mapping[str, Keys]) -> Keys:
    """The keys of several lists together; none where one of them was refused or empty: that says nothing."""
    lists = [listed.get(name) or set() for name in names]
    return set().union(*lists) if all(lists) else set()


def raw_list(api: AmoApi, account: Account, path: str, collection: str, *, key: str = "id") -> Iterator[Yield]:
    """A list no table holds, kept raw for whoever needs it. key: what a row is known by."""
    query = Query(f"/api/v4/{path}", collection, path, api.settings.page_size, key=key)
    return if_readable(stream(api, account, Window("whole"), query, kept_raw))


def one(to_record: Callable[[Json, Reading, str], Record]) -> ToRecords:
    return lambda item, reading, raw_hash: (to_record(item, reading, raw_hash),)


def of_kind(to_records: Callable[[Json, str, Reading, str], Iterable[Yield]], kind: str) -> ToRecords:
    return lambda item, reading, raw_hash: to_records(item, kind, reading, raw_hash)
