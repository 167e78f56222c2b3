"""Lists as `voronka check` compares them with the rows on hand.

amoCRM tells no totals. Whether a slice holds as many rows as are on hand its last page tells: asked for by its number,
it has just the rows that are left for it, and promises no other.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import chain
from math import ceil
from typing import Any

from connectors.amocrm import mapping
from connectors.amocrm.api import AmoApi
from connectors.amocrm.mapping import CARDS
from connectors.amocrm.notes import CALLS, EXTRA, note_list, of_types
from connectors.amocrm.walking import BY_ID, Query, ToRecords, by_ids, is_stray, pages
from connectors.connector import Comparable, Count, Row, Slice
from connectors.errors import ForbiddenError, MissingError, PayloadError, SlowError
from connectors.paging import Json, as_object, items_of
from connectors.records import Account, Call, Company, Contact, Deal, Record, Task
from connectors.walk import mapped

MAX_PAGE = 100
"""Pages further back are slow (2.4 of the reference)."""

List = tuple[Query, ToRecords]


@dataclass(frozen=True)
class Rows:
    """What is compared: rows of a kind from its lists, calls being notes on several kinds of cards.

    by: the source's name of the time slices are cut by.
    """

    lists: Callable[[AmoApi], Sequence[List]]
    kind: type[Record]
    by: str = "created_at"


def cards(word: str, to_records: ToRecords) -> Callable[[AmoApi], Sequence[List]]:
    return lambda api: [(Query(f"/api/v4/{word}", word, word, api.settings.page_size, {BY_ID: "asc"}), to_records)]


def calls(api: AmoApi) -> Sequence[List]:
    words = ["contacts", "leads", "companies"] + [EXTRA] * api.facts.has_customers
    return [(note_list(api, word, CALLS, "notes"), of_types(CALLS, CARDS[word])) for word in words]


def listed(of: Rows, api: AmoApi, account: Account, part: Slice | None) -> Iterator[Row]:
    params = {} if part is None else filters(part, of.by)

    def walked(query: Query) -> Iterator[list[Json]]:
        for page in pages(api, query, params, api.reading(account)):
            if not obeys(page, part, of.by):
                raise PayloadError("{list}: the filter by {field} has no effect.", list=query.collection, field=of.by)
            yield page

    return rows(of, api, account, walked)


def newest(of: Rows, api: AmoApi, account: Account) -> Iterator[Row]:
    return rows(of, api, account, lambda query: [page_of(api, query, {BY_ID: "desc"}, 1)[0]])


def named(of: Rows, api: AmoApi, account: Account, ids: Iterable[str]) -> Iterator[Row]:
    asked = tuple(ids)
    return rows(of, api, account, lambda query: by_ids(api, query, asked, api.reading(account)))


def rows(of: Rows, api: AmoApi, account: Account, read: Callable[[Query], Iterable[Iterable[Json]]]) -> Iterator[Row]:
    """Rows of all lists. Of cards not every plan has, what is refused stops nothing else."""
    for query, to_records in of.lists(api):
        reading = api.reading(account)
        try:
            for item in chain.from_iterable(read(query)):
                for record in mapped(item, query.entity, to_records, reading):
                    if isinstance(record, of.kind):
                        yield str(item["id"]), record
        except (ForbiddenError, MissingError):
            if not query.entity.startswith(EXTRA):
                raise


def counted(of: Rows, api: AmoApi, account: Account, expected: Mapping[Slice, int]) -> dict[Slice, Count]:
    """Of a kind with one list."""
    found = {}
    for part, n in expected.items():
        page: list[Json] = []
        is_equal = None
        for query, _ in of.lists(api):
            with suppress(SlowError):
                page, is_equal = last_page(api, query, filters(part, of.by), n)
        is_equal = is_equal if obeys(page, part, of.by) else None
        found[part] = Count(is_equal, [*rows(of, api, account, lambda _, page=page: [page])])  # type: ignore[misc]
    return found


def last_page(api: AmoApi, query: Query, params: Mapping[str, Any], n: int) -> tuple[list[Json], bool | None]:
    """The page that is the last one of a list of `n` rows, and whether it is."""
    number = max(1, ceil(n / query.limit))
    if number > MAX_PAGE:
        return [], None
    page, is_promised = page_of(api, query, params, number)
    is_equal = len(page) == n - query.limit * (number - 1)
    if is_equal and is_promised:
        is_equal = not page_of(api, query, params, number + 1)[0]
    return page, is_equal


def page_of(api: AmoApi, query: Query, params: Mapping[str, Any], number: int) -> tuple[list[Json], bool]:
    """A page, and whether it promises another or is full, which says as much."""
    answer = api.get(query.path, {**query.params, **params, "limit": query.limit, "page": number})
    if answer is None:
        return [], False
    page = items_of(answer, query.collection)
    return page, bool(as_object(as_object(answer.get("_links")).get("next"))) or len(page) >= query.limit


def filters(part: Slice, by: str) -> dict[str, Any]:
    params: dict[str, Any] = {f"filter[{by}][{side}]": bound for side, bound in bounds(part).items()}
    if part.stage:
        pipeline, stage = (known.partition(":")[2] for known in part.stage)
        params |= {"filter[statuses][0][pipeline_id]": pipeline, "filter[statuses][0][status_id]": stage}
    return params


def bounds(part: Slice) -> dict[str, int]:
    """In unix seconds, both inclusive."""
    return {"from": int(part.start.timestamp()), "to": int((part.end - timedelta(seconds=1)).timestamp())}


def obeys(page: Iterable[Json], part: Slice | None, by: str) -> bool:
    """Whether a filter has had an effect: one that has none gives the whole list."""
    if part is None:
        return True
    stage = part.stage and part.stage[1].partition(":")[2]
    return not any(
        is_stray(row.get(by), bounds(part)) or (stage and str(row.get("status_id")) != stage) for row in page
    )


def comparable(resource: str, prefix: str, of: Rows, *, has_parts: bool = False) -> Comparable:
    """has_parts: its rows are in several lists, and how many are in each is not known here."""
    return Comparable(
        resource,
        of.kind,
        prefix,
        page=lambda api: int(api.settings.page_size),
        listed=partial(listed, of),
        newest=partial(newest, of),
        named=partial(named, of),
        counted=None if has_parts else partial(counted, of),
        can_slice=lambda api: bool(api.filters(resource)),
        by="source_updated_at" if of.by == "updated_at" else of.by,
    )


COMPARABLES = (
    comparable("leads", "lead:", Rows(cards("leads", mapping.deal_records), Deal)),
    comparable("contacts", "contact:", Rows(cards("contacts", mapping.contact_records), Contact)),
    comparable("companies", "company:", Rows(cards("companies", mapping.company_records), Company)),
    comparable("tasks", "task:", Rows(cards("tasks", mapping.task_records), Task, by="updated_at")),
    comparable("calls", "note:", Rows(calls, Call, by="updated_at"), has_parts=True),
)
TRACES = ("events", "trash")
