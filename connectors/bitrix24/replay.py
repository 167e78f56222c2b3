"""Raw objects of Bitrix24 as records again.

What raw objects are called to what they become, by the functions resources read with. Descriptions of fields, stages,
employees and the titles of smart processes are taken as they were when an object was read.
"""

from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from connectors.bitrix24.api import PORTAL, region_of
from connectors.bitrix24.availability import QUESTIONS
from connectors.bitrix24.comments import comment_records
from connectors.bitrix24.details import COMMENTS, LINES
from connectors.bitrix24.directories import CATEGORIES, DEPARTMENTS, PRODUCTS, TYPES, USERS
from connectors.bitrix24.events import QUEUE, deletion_records
from connectors.bitrix24.fields import field_records, infos
from connectors.bitrix24.goods import line_records, product_records
from connectors.bitrix24.history import history_records
from connectors.bitrix24.people import department_records, user_records
from connectors.bitrix24.processes import item_records
from connectors.bitrix24.reading import FIRST_PROCESS, Book, FieldInfo, Place, Reading
from connectors.bitrix24.resources import (
    ACTIVITIES_AS,
    CALLS_AS,
    COMPANIES_AS,
    CONTACTS_AS,
    DEALS_AS,
    INVOICES_AS,
    ITEMS,
    LEADS_AS,
    SESSIONS_AS,
    TASKS_AS,
)
from connectors.bitrix24.settings import BitrixSettings
from connectors.bitrix24.stages import category_records, kinds, status_records
from connectors.bitrix24.values import ref, text
from connectors.bitrix24.walking import ToRecords
from connectors.connector import Replay
from connectors.paging import Json, as_object
from connectors.records import Account, FxRate, RawRecord, Record, UserDepartment, Yield
from connectors.walk import kept_raw, records_of

UNKNOWN_SINCE = datetime(1970, 1, 1, tzinfo=UTC)
STATUSES, FIELDS = "crm.status.list", "crm.item.fields"
QUERIES = (
    LEADS_AS, DEALS_AS, CONTACTS_AS, COMPANIES_AS, INVOICES_AS, ACTIVITIES_AS, TASKS_AS, CALLS_AS, SESSIONS_AS,
)  # fmt: skip
"""Lists of one kind of thing. Those there is one of for each entity type are in `of_type`."""


def described(answer: Json, reading: Reading, raw_hash: str, *, type_id: int) -> Iterator[Yield]:
    for info in infos(answer).values():
        yield from field_records(info, type_id, reading, raw_hash)


MAKES: Mapping[str, ToRecords] = {
    **{query.entity: query.to_records for query in QUERIES},
    USERS.method: partial(user_records, now=UNKNOWN_SINCE),  # since when he is in a department is kept as it is
    DEPARTMENTS.method: department_records,
    STATUSES: status_records,
    PRODUCTS.method: product_records,
    QUEUE.method: deletion_records,
    TYPES.method: kept_raw,
    "crm.currency.list": kept_raw,  # of which day a rate was, only its reading knew
}


def of_type(entity: str) -> ToRecords | None:
    """For a list that each entity type has of its own: `crm.stagehistory.list/2`."""
    method, _, number = entity.partition("/")
    type_id = ref(number)
    if type_id is None:
        return None
    if method == ITEMS:
        return partial(item_records, type_id=type_id) if type_id >= FIRST_PROCESS else None
    of_any: Mapping[str, ToRecords] = {
        CATEGORIES: partial(category_records, type_id=type_id),
        "crm.stagehistory.list": partial(history_records, type_id=type_id),
        LINES.method: line_records,
        COMMENTS.method: comment_records,
    }
    return of_any.get(method)


class BitrixReplay(Replay):
    """What was read of a portal, as it was when it was read."""

    context = frozenset({PORTAL, FIELDS, STATUSES, USERS.method, TYPES.method})
    kept: frozenset[type[Record]] = frozenset({UserDepartment, FxRate})

    def __init__(self, settings: BitrixSettings, account: Account, entities: Collection[str]) -> None:
        self.settings, self.account = settings, account
        self.employees: set[str] = set()
        self.titles: dict[int, str] = {}
        self.stages: dict[Place, str] = {}
        self.fields: dict[int, Mapping[str, FieldInfo]] = {}
        self.book = Book(employees=self.employees if USERS.method in entities else None, processes=self.titles)
        closed = QUESTIONS.keys() - entities
        self.reading = Reading(
            account_id=account.account_id,
            is_replay=True,
            zone=ZoneInfo(account.tz),
            currency=account.base_currency,
            region=account.default_region,
            settings=settings,
            is_again=True,
            book=self.book,
            stages=lambda: self.stages,
            closed=lambda: closed,
        )

    def knows(self, entity: str) -> bool:
        return entity in (PORTAL, FIELDS) or self._makes(entity) is not None

    def learn(self, raw: RawRecord, item: Any) -> None:
        if raw.entity == PORTAL:
            self._know_portal(raw, as_object(item))
        elif raw.entity == FIELDS:
            self.fields[ref(raw.native_id) or 0] = infos(item)
        elif raw.entity == STATUSES:
            self.stages |= kinds([as_object(item)])
        elif raw.entity == USERS.method:
            self.employees.add(f"user:{raw.native_id}")
        else:
            number = ref(raw.native_id) or 0
            self.titles[number] = text(as_object(item).get("title")) or f"#{number}"

    def records(self, raw: RawRecord, item: Any) -> Iterator[Yield]:
        if raw.entity == PORTAL:
            yield self.account
            return
        type_id = ref(raw.native_id if raw.entity == FIELDS else raw.entity.partition("/")[2]) or 0
        self.reading.fields = self.fields.get(type_id, {})
        to_records = partial(described, type_id=type_id) if raw.entity == FIELDS else self._makes(raw.entity)
        if to_records is not None:
            yield from records_of(item, raw, to_records, self.reading)
            yield from self.reading.mentions()

    def conclusions(self) -> Iterator[Yield]:
        return self.reading.conclusions()

    def _makes(self, entity: str) -> ToRecords | None:
        return MAKES.get(entity) or of_type(entity)

    def _know_portal(self, raw: RawRecord, told: Json) -> None:
        settings, host = self.settings, str(told.get("host"))
        self.account = self.account.model_copy(
            update={
                "raw_hash": raw.raw_hash,
                "name": host,
                "tz": settings.timezone or told.get("zone") or self.account.tz,
                "base_currency": settings.currency or told.get("currency"),
                "default_region": region_of(host, settings),
            }
        )
        self.reading.zone = ZoneInfo(self.account.tz)
        self.reading.currency, self.reading.region = self.account.base_currency, self.account.default_region
        self.reading.task_zone = zone_or_none(
            settings.tasks_timezone or as_object(told.get("profile")).get("TIME_ZONE")
        )


def zone_or_none(name: Any) -> ZoneInfo | None:
    try:
        return ZoneInfo(str(name or ""))
    except (ZoneInfoNotFoundError, ValueError):
        return None
