"""What becomes of a list: windows of it, sweeps and probes."""

from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice, product
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from connectors.bitrix24.api import BitrixApi
from connectors.bitrix24.availability import COSTS, closed, left_out, with_cost
from connectors.bitrix24.fields import infos
from connectors.bitrix24.paging import List, keyset, spans, walk, whole
from connectors.bitrix24.reading import FieldInfo, Place, Reading
from connectors.bitrix24.stages import kinds
from connectors.connector import Span, Window, WindowKind
from connectors.errors import ForbiddenError
from connectors.paging import Json
from connectors.records import Account, LeftOut, Notice, Record, Reread, Shown, Tombstone, Yield
from connectors.walk import mapped

AGAIN: tuple[WindowKind, ...] = ("changed", "ids", "probe")
"""Windows of rows that may be on hand already."""
ToRecords = Callable[[Json, Reading, str], Iterable[Yield]]


@dataclass(frozen=True)
class Query:
    """A list and what its rows are to us.

    entity: what `raw_record` calls them. kinds: of our rows, which a sweep looks for. prefix: of our ids.
    type_id: entity type whose custom fields are to be read with the named columns.
    bare: columns enough to tell which of `kinds` a row becomes, where not every row becomes all of them.
    complete: what else belongs to rows is asked for, and put into them, `pages_at_once` together.
    needs: what of `COSTS` it stands or falls with; its own method where nothing is said.
    past: resources with what belongs to its rows, by entity type and id. What of it is old is read only with a row that
    is asked for by id: it came into sight, or was changed, and neither a number nor a time says so.
    says: what of a row, made of its `bare` columns, may change without a change time, as `Shown` has it.
    outlives_cards: rows stay in the list when the cards they hang on are deleted.
    """

    listing: List
    entity: str
    to_records: ToRecords
    prefix: str = ""
    kinds: tuple[type[Record], ...] = ()
    type_id: int | None = None
    bare: tuple[str, ...] = ()
    complete: Callable[[BitrixApi, Iterable[Json], Reading], Iterable[Json]] | None = None
    pages_at_once: int = 1
    needs: str = ""
    past: tuple[str, ...] = ()
    says: Callable[[Json, Any], Mapping[str, Any]] | None = None
    outlives_cards: bool = False


Queries = Callable[[BitrixApi], Mapping[str, Query]]
"""The lists a resource is made of, by part; a resource of one list has the part ""."""


def reading_of(api: BitrixApi, account: Account, type_id: int | None = None, *, is_again: bool = False) -> Reading:
    """type_id: entity type whose custom fields are read. is_again: as `Reading` has it."""
    return Reading(
        account_id=account.account_id,
        zone=ZoneInfo(account.tz),
        currency=account.base_currency,
        region=account.default_region,
        settings=api.settings,
        task_zone=zone_of_user(api),
        is_again=is_again,
        book=api.book,
        fields=fields_of(api, type_id) if type_id else {},
        stages=partial(stages_of, api),
        closed=partial(closed, api),
    )


def zone_of_user(api: BitrixApi) -> ZoneInfo | None:
    """The zone dates of tasks are told in, where the portal names it."""
    try:
        return ZoneInfo(api.settings.tasks_timezone or str(api.facts.profile.get("TIME_ZONE") or ""))
    except (ZoneInfoNotFoundError, ValueError):
        return None


def directories(api: BitrixApi) -> list[Json]:
    return api.book.directories(lambda: whole(api, "crm.status.list"))


def stages_of(api: BitrixApi) -> Mapping[Place, str]:
    return api.book.stages(lambda: kinds(directories(api)))


def fields_of(api: BitrixApi, type_id: int) -> Mapping[str, FieldInfo]:
    return api.book.fields(type_id, lambda: infos(api.call("crm.item.fields", {"entityTypeId": type_id})))


def is_closed(api: BitrixApi, query: Query) -> bool:
    return closing(query) in COSTS and closing(query) in closed(api)


def closing(query: Query) -> str:
    """Without which of `availability.COSTS` there is nothing to ask for."""
    return query.needs or query.listing.method


def spans_of(queries: Queries, api: BitrixApi) -> Mapping[str, Span]:
    """How far the numbers of each list of a resource reach. What its rows will need is asked meanwhile, or while they
    are read."""
    lists = queries(api)
    cards = [query.type_id for query in lists.values() if query.type_id]
    for type_id in cards:
        api.ahead(partial(fields_of, api, type_id))
    found = spans(api, {part: query.listing for part, query in lists.items()})
    api.ahead(partial(closed, api))
    if cards:
        api.ahead(partial(stages_of, api))
    return found


def read(
    queries: Queries,
    api: BitrixApi,
    account: Account,
    window: Window,
    *,
    resource: str,
    fills: Sequence[type[Record]],
) -> Iterator[Yield]:
    """A window of a resource: of one of its lists, or of all. Ids of one with several begin with their part.

    A list that is refused for want of a right is left out, and told with the tables it fills.
    """
    for part, query in queries(api).items():
        if window.part not in ("", part):
            continue
        if is_closed(api, query):
            yield left_out(api, closing(query))
            continue
        ids = tuple(one.removeprefix(f"{part}:") for one in window.ids if not part or one.startswith(f"{part}:"))
        if ids or not window.ids:
            try:
                refused = yield from stream(api, account, replace(window, ids=ids), query)
            except ForbiddenError as error:
                yield Notice(with_cost(error, *fills))
                yield LeftOut(error.said)
                continue
            if refused and window.kind == "ids":
                yield LeftOut()  # so they stay asked for
            elif refused:
                yield Reread(resource, tuple(sorted(f"{part}:{one}" if part else one for one in refused)))


def stream(api: BitrixApi, account: Account, window: Window, query: Query) -> Generator[Yield, None, Collection[str]]:
    """A window of a list: raw objects and the records made of them, page by page. Returns what `Reading` has as
    refused."""
    reading = reading_of(api, account, query.type_id, is_again=window.kind in AGAIN)
    if window.kind == "sweep":
        yield from shown(api, query, reading)
        return ()
    if window.kind == "probe":
        yield from probed(api, query, window, reading)
    else:
        for rows in handfuls(api, query, window, reading):
            if window.kind == "ids":
                for row, resource in product(rows, query.past):
                    reading.reread(resource, f"{query.type_id}:{row[query.listing.key]}")
            yield from of_rows(api, rows, query, reading)
    yield from reading.conclusions()
    return reading.refused


def handfuls(api: BitrixApi, query: Query, window: Window, reading: Reading) -> Iterator[list[Json]]:
    """Rows, as many pages at once as are completed together."""
    pages = walk(api, with_fields(query.listing, reading), window)
    while some := list(islice(pages, query.pages_at_once)):
        yield [row for page in some for row in page]


def of_rows(api: BitrixApi, rows: Iterable[Json], query: Query, reading: Reading) -> Iterator[Yield]:
    for row in query.complete(api, rows, reading) if query.complete else rows:
        yield from mapped(row, query.entity, query.to_records, reading, key=query.listing.key)
    yield from reading.mentions()


def with_fields(listing: List, reading: Reading) -> List:
    """With the custom fields among the columns, where columns are named."""
    return listing if "*" in listing.select else replace(listing, select=(*listing.select, *reading.fields))


def shown(api: BitrixApi, query: Query, reading: Reading) -> Iterator[Shown]:
    """The ids of a list, page by page. Hardly anything else of its rows is asked for, so they conclude nothing."""
    bare = replace(query.listing, select=query.bare or (query.listing.select and (query.listing.cursor,)))
    for page in keyset(api, bare):
        ids: dict[type[Record], list[str]] = {}
        says: dict[str, list[Any]] = {}
        for row in page:
            own = own_records(row, query, reading) if query.bare else dict.fromkeys(query.kinds)
            for kind, record in own.items():
                ids.setdefault(kind, []).append(str(row[query.listing.key]))
                for column, value in query.says(row, record).items() if query.says else ():
                    says.setdefault(column, []).append(value)
        for kind, some in ids.items():
            yield Shown(kind, reading.account_id, query.prefix, some, outlives_cards=query.outlives_cards, says=says)


def own_records(row: Json, query: Query, reading: Reading) -> dict[type[Record], Record]:
    """What a row becomes under its own id."""
    records = mapped(row, query.entity, query.to_records, reading, key=query.listing.key)
    own_id = f"{query.prefix}:{row[query.listing.key]}"
    found = (record for record in records if isinstance(record, query.kinds))
    return {type(record): record for record in found if getattr(record, f"{record.table()}_id") == own_id}


def probed(api: BitrixApi, query: Query, window: Window, reading: Reading) -> Iterator[Yield]:
    """Rows that a sweep missed: as they are now, or found gone. A row out of sight looks like one that is gone: whether
    so many can be gone is for the sync to say."""
    missing = set(window.ids)
    for rows in handfuls(api, query, window, reading):
        missing -= {str(row[query.listing.key]) for row in rows}
        yield from of_rows(api, rows, query, reading)
    now = api.server_now()
    for native_id in sorted(missing, key=int):
        for kind in query.kinds:
            yield Tombstone(kind, reading.account_id, f"{query.prefix}:{native_id}", now, is_vague=True)
