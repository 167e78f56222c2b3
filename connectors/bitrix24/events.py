"""Deletions, as events tell of them: the offline queue of an OAuth application, and outgoing webhooks.

https://apidocs.bitrix24.ru/api-reference/events/offline-events.html

The queue is only looked at, not emptied: what lies there for a month drops out by itself. It says what happened to
which row; what the row is like now, its list says. What was deleted never comes back under its id.
Only what somebody has bound comes into it: that is writing, so a person does it, and an empty queue tells nothing.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from connectors.bitrix24.api import BitrixApi
from connectors.bitrix24.paging import List, by_start
from connectors.bitrix24.reading import FIRST_PROCESS, INVOICE, Reading
from connectors.bitrix24.values import moment, ref
from connectors.bitrix24.walking import reading_of
from connectors.connector import Window
from connectors.errors import ForbiddenError, MissingError, Phrase
from connectors.paging import Json, as_object
from connectors.records import (
    Account,
    Activity,
    Call,
    Company,
    Contact,
    Deal,
    Invoice,
    Message,
    Notice,
    ProcessItem,
    Record,
    Request,
    Task,
    Tombstone,
    Yield,
)
from connectors.walk import mapped

QUEUE = List("event.offline.list")


class Deleted(NamedTuple):
    """What an event of a deletion is about."""

    kinds: tuple[type[Record], ...]
    prefix: str


DELETIONS: Mapping[str, Deleted] = {
    "onCrmLeadDelete": Deleted((Deal,), "lead"),
    "onCrmDealDelete": Deleted((Deal,), "deal"),
    "onCrmContactDelete": Deleted((Contact,), "contact"),
    "onCrmCompanyDelete": Deleted((Company,), "company"),
    "onCrmActivityDelete": Deleted((Call, Activity, Message, Task, Request), "activity"),
    "onCrmTimelineCommentDelete": Deleted((Activity,), "comment"),
    "onTaskDelete": Deleted((Task,), "task"),
}
OF_ITEMS = "onCrmDynamicItemDelete"
TO_BIND = (*DELETIONS, OF_ITEMS)
"""Events as they are bound; the queue has their names in capitals, those of items with a number behind."""
BY_NAME = {name.upper(): deleted for name, deleted in DELETIONS.items()}


def events(api: BitrixApi, account: Account, window: Window) -> Iterator[Yield]:
    """What the queue has of deletions. A webhook may not look at it: then only sweeps find what is gone."""
    if api.settings.webhook_env:
        return
    reading = reading_of(api, account)
    try:
        for page in by_start(api, QUEUE, {"order": {"ID": "ASC"}}):
            for event in page:
                if is_news(event, window):
                    yield from mapped(event, QUEUE.method, deletion_records, reading, key="ID")
    except (ForbiddenError, MissingError) as error:
        yield Notice(Phrase("{error} Deletions are found by sweeps only (sweep_every_days: {days}).", error=error.said,
                            days=api.settings.sweep_every_days))  # fmt: skip
    yield from reading.conclusions()


def is_news(event: Json, window: Window) -> bool:
    at = moment(event.get("TIMESTAMP_X"))
    return at is None or window.start is None or at >= window.start


def deletion_records(event: Json, reading: Reading, raw_hash: str) -> Iterator[Yield]:
    """Events of one row come in any order; a deletion is the last of them whatever stands beside it."""
    name = str(event.get("EVENT_NAME")).upper()
    told = as_object(event.get("EVENT_DATA"))
    data = as_object(told.get("FIELDS")) or as_object(told.get("FIELDS_BEFORE"))  # the latter of tasks
    deleted, number = deleted_by(name, data), ref(data.get("ID"))
    if deleted is None or number is None:
        return
    at = moment(event.get("TIMESTAMP_X"))
    if at is None:
        raise ValueError("an event without a time")
    for kind in deleted.kinds:
        yield Tombstone(kind, reading.account_id, f"{deleted.prefix}:{number}", at)


def deleted_by(name: str, data: Json) -> Deleted | None:
    if not name.startswith(OF_ITEMS.upper()):
        return BY_NAME.get(name)
    type_id = ref(data.get("ENTITY_TYPE_ID")) or 0
    if type_id == INVOICE:
        return Deleted((Invoice,), "invoice")
    return Deleted((ProcessItem,), f"item:{type_id}") if type_id >= FIRST_PROCESS else None
