"""Lists as `voronka check` compares them with the rows on hand: few columns, many pages in a request.

`total` of a filtered list tells how many rows it holds; it is wrong now and then (2.5 of the reference), so a slice of
which it says another number than expected is read.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Any

from connectors.bitrix24.api import BitrixApi
from connectors.bitrix24.batching import Command, Outcome
from connectors.bitrix24.deals import BARE
from connectors.bitrix24.paging import PAGE, by_ids, keyset
from connectors.bitrix24.resources import CALLS_AS, COMPANIES_AS, CONTACTS_AS, DEALS_AS, LEADS_AS, TASKS_AS
from connectors.bitrix24.walking import Query, is_closed, reading_of
from connectors.connector import Comparable, Count, Row, Slice
from connectors.errors import ForbiddenError
from connectors.paging import Json, whole
from connectors.records import Account, Call, Company, Contact, Deal, Record, Task
from connectors.walk import mapped

OF_CARDS = ("id", "createdTime", "updatedTime", "assignedById")
OF_TASKS = ("ID", "CREATED_DATE", "CHANGED_DATE", "RESPONSIBLE_ID", "STATUS")
OVER_AND_WRITTEN = timedelta(days=1)
"""A call has its row when it is over; some providers send theirs later."""


@dataclass(frozen=True)
class Rows:
    """What is compared: rows of a kind from a list that is asked for with a few columns.

    created: name of the time slices are cut by. stage: names of pipeline and stage in filters. among: the column our
    ids are made of, where that is not the id of the row.
    """

    query: Query
    kind: type[Record]
    created: str
    stage: tuple[str, str] | None = None
    among: str = ""


def bare(query: Query, columns: tuple[str, ...]) -> Query:
    return replace(query, listing=replace(query.listing, select=columns), complete=None)


def listed(of: Rows, api: BitrixApi, account: Account, part: Slice | None) -> Iterator[Row]:
    check_open(of, api)
    return rows(of, api, account, keyset(api, of.query.listing, {} if part is None else filters(of, part)))


def newest(of: Rows, api: BitrixApi, account: Account) -> Iterator[Row]:
    check_open(of, api)
    command = of.query.listing.command({}, order="DESC")
    return rows(of, api, account, [of.query.listing.rows_of(api.call(command.method, command.params))])


def named(of: Rows, api: BitrixApi, account: Account, ids: Iterable[str]) -> Iterator[Row]:
    if not of.among:
        return rows(of, api, account, by_ids(api, of.query.listing, ids))
    asked = {f"n{number}": of.query.listing.command({of.among: one}) for number, one in enumerate(ids)}
    return rows(of, api, account, (of.query.listing.rows_of(done(one).result) for one in api.batch(asked).values()))


def counted(of: Rows, api: BitrixApi, account: Account, expected: Mapping[Slice, int]) -> dict[Slice, Count]:
    check_open(of, api)
    asked = {part: of.query.listing.command(filters(of, part)) for part in expected}
    outcomes = api.batch(
        {f"c{number}": Command(one.method, {**one.params, "start": 0}) for number, one in enumerate(asked.values())}
    )
    return {
        part: Count(
            None if (total := whole(outcome.total)) is None else total == n,
            [*rows(of, api, account, [of.query.listing.rows_of(done(outcome).result)])],
        )
        for (part, n), outcome in zip(expected.items(), outcomes.values(), strict=True)
    }


def done(outcome: Outcome) -> Outcome:
    if outcome.error is not None:
        raise outcome.error
    return outcome


def check_open(of: Rows, api: BitrixApi) -> None:
    if is_closed(api, of.query):
        raise ForbiddenError("{list}: not given by the portal.", list=of.query.listing.method)


def rows(of: Rows, api: BitrixApi, account: Account, pages: Iterable[Iterable[Json]]) -> Iterator[Row]:
    reading = reading_of(api, account)
    for page in pages:
        for row in page:
            for record in mapped(row, of.query.entity, of.query.to_records, reading, key=of.query.listing.key):
                if isinstance(record, of.kind):
                    yield str(row[of.query.listing.key]), record


def filters(of: Rows, part: Slice) -> dict[str, Any]:
    asked: dict[str, Any] = {
        f">={of.created}": part.start.isoformat(timespec="seconds"),
        f"<{of.created}": part.end.isoformat(timespec="seconds"),
    }
    if part.stage and of.stage:
        pipeline, stage = of.stage
        asked[stage] = part.stage[1].partition(":")[2]
        if pipeline:
            asked[pipeline] = part.stage[0].rpartition(":")[2]
    return asked


def comparable(resource: str, prefix: str, of: Rows, **more: Any) -> Comparable:
    return Comparable(
        resource,
        of.kind,
        prefix,
        page=lambda api: PAGE * int(api.settings.commands_per_batch),
        listed=partial(listed, of),
        newest=partial(newest, of),
        named=partial(named, of),
        counted=partial(counted, of),
        counts=20,
        **more,
    )


SALES = (*BARE, "updatedTime")
CREATED = "createdTime"
COMPARABLES = (
    comparable("deals", "deal:", Rows(bare(DEALS_AS, SALES), Deal, CREATED, ("categoryId", "stageId"))),
    comparable("leads", "lead:", Rows(bare(LEADS_AS, SALES), Deal, CREATED, ("", "stageId"))),
    comparable("contacts", "contact:", Rows(bare(CONTACTS_AS, OF_CARDS), Contact, CREATED)),
    comparable("companies", "company:", Rows(bare(COMPANIES_AS, OF_CARDS), Company, CREATED)),
    comparable("tasks", "task:", Rows(bare(TASKS_AS, OF_TASKS), Task, "CREATED_DATE")),
    comparable(
        "calls",
        "call:",
        Rows(replace(CALLS_AS, complete=None), Call, "CALL_START_DATE", among="CALL_ID"),
        by="started_at",
        has_others=True,
        settles=OVER_AND_WRITTEN,
    ),
)
