"""Reading all there is once more: deletions that left no event and are in no trash, changes that left no change time.

Reconciliation (4.2.3 of the reference): all rows of a list, then a question about each that the list lacks. An answer
without a body (204) or 404 says that the row is gone; that the token may not see it (403) says nothing. Robots, bulk
actions or the deletion of a stage may leave `updated_at` where it was, so the rows are taken as they are now.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

from connectors.amocrm.api import AmoApi
from connectors.amocrm.reading import Reading
from connectors.amocrm.walking import Query, ToRecords, of_page, one_of, stream, walk
from connectors.connector import Window
from connectors.errors import ForbiddenError, Phrase
from connectors.paging import Json, whole
from connectors.records import Account, Call, Company, Contact, Customer, Deal, Record, Shown, Task, Tombstone, Yield
from connectors.walk import mapped

SWEPT: dict[str, tuple[type[Record], str]] = {
    "leads": (Deal, "lead"),
    "contacts": (Contact, "contact"),
    "companies": (Company, "company"),
    "customers": (Customer, "customer"),
    "tasks": (Task, "task"),
    "notes": (Call, "note"),
}
"""Collection to the kind of its rows and the prefix of our ids."""
SWEEP = Window("whole")


def swept_stream(api: AmoApi, account: Account, window: Window, query: Query, to_records: ToRecords) -> Iterator[Yield]:
    """A window of a list that can be swept."""
    if window.kind == "sweep":
        return swept(api, account, query, to_records)
    if window.kind == "probe":
        return probed(api, account, window.ids, query, to_records)
    return stream(api, account, window, query, to_records)


def swept(
    api: AmoApi,
    account: Account,
    query: Query,
    to_records: ToRecords,
    *,
    kind_of: Callable[[Json], type[Record] | None] | None = None,
) -> Iterator[Yield]:
    """All rows of a list, page by page, and which they are.

    kind_of: what a row is to us where that differs from row to row; None: nothing.
    """
    reading = api.reading(account)
    of_all, prefix = SWEPT[query.collection]
    for page in walk(api, query, SWEEP, reading):
        ids = defaultdict[type[Record], list[str]](list)
        for row in page:
            kind = kind_of(row) if kind_of else of_all
            if kind and (number := whole(row.get("id"))):
                ids[kind].append(str(number))
        for kind, some in ids.items():
            yield Shown(kind, account.account_id, prefix, some)
        yield from of_page(page, query, to_records, reading)
    yield from reading.conclusions()


def probed(api: AmoApi, account: Account, ids: Sequence[str], query: Query, to_records: ToRecords) -> Iterator[Yield]:
    """Rows that a sweep missed: as they are now, or found gone."""
    reading = api.reading(account)
    for native_id in ids:
        try:
            row = api.get(f"{query.path}/{native_id}", query.params, missing_ok=True)
        except ForbiddenError:
            out_of_sight(query, reading)
            continue
        if row is not None:
            if found := one_of(row, query, reading):
                yield from mapped(found, query.entity, to_records, reading)
        else:
            yield gone(api, SWEPT[query.collection][0], query, native_id, reading)
    yield from reading.conclusions()


def probed_notes(
    api: AmoApi, account: Account, ids: Sequence[str], queries: Sequence[Query], kinds: Sequence[type[Record]]
) -> Iterator[Yield]:
    """Notes are asked for as notes of each kind of card. One that is there stays as it was read: a note got by its id
    does not say what kind of card it hangs on. kinds: what one that is gone may have been."""
    reading = api.reading(account)
    for native_id in ids:
        try:
            answers = (api.get(f"{query.path}/{native_id}", missing_ok=True) for query in queries)
            is_there = any(answer is not None for answer in answers)
        except ForbiddenError:
            out_of_sight(queries[0], reading)
            continue
        if not is_there:
            for kind in kinds:
                yield gone(api, kind, queries[0], native_id, reading)
    yield from reading.conclusions()


def gone(api: AmoApi, kind: type[Record], query: Query, native_id: str, reading: Reading) -> Tombstone:
    _, prefix = SWEPT[query.collection]
    return Tombstone(kind, reading.account_id, f"{prefix}:{native_id}", api.server_now(), is_vague=True)


def out_of_sight(query: Query, reading: Reading) -> None:
    reading.notice(Phrase("{list}: rows that the token may not see any more stay as they were", list=query.collection))
