"""Rows that slip from one page to another while a list is walked.

Pages are counted, not anchored: when a row of a page that was read leaves the list, all rows behind it move up by one,
and the first row of the next page is shown by neither. The log of events tells when something was deleted; the list
itself tells what was read and has left a window of change times by another change. Only pages that were turned at such
a time are asked for again, so a quiet walk costs a request or two at its end, or per `TRAIL` pages.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from connectors.amocrm.api import AmoApi
from connectors.amocrm.reading import at
from connectors.errors import PayloadError, Phrase
from connectors.paging import Json, by_page_number, key_of, whole

REMOVALS = (
    *(f"{kind}_{change}" for kind in ("lead", "contact", "company") for change in ("deleted", "restored")),
    "entity_merged",
    "customer_deleted",
    "task_deleted",
    "common_note_deleted",
)
"""Events after which some list is shorter; what was restored has left the trash."""
TRAIL = 100
"""Pages of a walk after which the log is asked."""
MOST_ROUNDS = 5
MAX_PAGES_OF_LOG = 20
SLACK = timedelta(seconds=2)
"""Between the clocks of the list and of the log."""


@dataclass(frozen=True)
class Turned:
    """A page as it was shown: its place, its first and last id (None: it was empty), when by the source's clock."""

    number: int
    limit: int
    first: int | None
    last: int | None
    at: datetime

    @classmethod
    def of(cls, items: list[Json], *, number: int, limit: int, at: datetime) -> "Turned":
        ids = [whole(item.get("id")) for item in items]
        return cls(number, limit, ids[0] if ids else None, ids[-1] if ids else None, at)


Ask = Callable[[int, int], list[Json]]
"""A page of the list by its number and size."""
Span = tuple[datetime, datetime]
"""From when to when something may have left the list."""
Log = Callable[[list[Turned]], dict[Any, Span] | None]
"""What left the list since the first of those pages, by event; None where that cannot be told."""


def slipped(
    trail: list[Turned], ask: Ask, left: Log, *, collection: str, notice: Callable[[Phrase], None]
) -> Iterator[list[Json]]:
    """Pages again that may hold rows which no page of `trail` has shown; `ask` notes what it shows in `trail`.

    The list is ordered by id. Rows it shows again are the caller's to leave out.
    """
    known: set[Any] = set()
    for _ in range(MOST_ROUNDS):
        if len(trail) < 2:
            return
        log = left(trail)
        spans = None if log is None else [span for event, span in log.items() if event not in known]
        places = list(doubtful(trail, spans))
        if not places:
            return
        trail.clear()
        for before, after in places:
            yield from around(ask, before, after)
        if log is None:
            notice(
                Phrase(
                    "{list}: the log of events cannot tell what was deleted meanwhile, so pages were read twice",
                    list=collection,
                )
            )
            return
        known |= log.keys()
    notice(
        Phrase(
            "{list}: so much was deleted while the list was read that rows may be missing; read it with --full",
            list=collection,
        )
    )


def removals(api: AmoApi, since: datetime) -> dict[Any, Span] | None:
    """When rows were deleted since an instant, by event; None where the log cannot be read."""
    params = {"filter[type]": ",".join(REMOVALS), "filter[created_at][from]": int((since - SLACK).timestamp())}
    pages = by_page_number(
        lambda asked: api.get("/api/v4/events", asked),
        params,
        collection="events",
        limit=api.settings.events_page_size,
        max_pages=MAX_PAGES_OF_LOG,
    )
    try:
        events = [event for page in pages for event in page if event.get("type") in REMOVALS]
    except PayloadError:
        return None
    return {key_of(event): (moment, moment) for event in events if (moment := at(event.get("created_at")))}


def changes(rows: Iterable[Json], trail: list[Turned], field: str) -> dict[Any, Span]:
    """When rows that `trail` has shown may have been changed first: since they were shown, until `field` says."""
    found = {}
    for row in rows:
        native_id, until = whole(row.get("id")) or 0, at(row.get(field))
        shown = (turned.at for turned in trail if (turned.first or 0) <= native_id <= (turned.last or 0))
        if until is not None:
            found[native_id, until] = min(next(shown, trail[0].at), until), until
    return found


def doubtful(trail: Iterable[Turned], spans: Iterable[Span] | None) -> Iterator[tuple[Turned, Turned]]:
    """Neighbouring pages between which something may have left the list; with `spans` None all neighbours."""
    spans = None if spans is None else list(spans)
    for before, after in pairwise(trail):
        is_turn = (after.number, after.limit) == (before.number + 1, before.limit) and before.last is not None
        if is_turn and (
            spans is None or any(before.at - SLACK <= until and since <= after.at + SLACK for since, until in spans)
        ):
            yield before, after


def around(ask: Ask, before: Turned, after: Turned) -> Iterator[list[Json]]:
    """All that stands now between the last row of `before` and the first of `after`.

    Deletions have moved it to the page of `before` or further up, rows that came in may have moved it down.
    """
    items = here = ask(before.number, before.limit)
    yield here
    number = before.number
    while items and (after.first is None or (whole(items[-1].get("id")) or 0) < after.first):
        number += 1
        yield (items := ask(number, before.limit))
    items, number = here, before.number
    while number > 1 and not (items and (whole(items[0].get("id")) or 0) <= (before.last or 0)):
        number -= 1
        yield (items := ask(number, before.limit))
