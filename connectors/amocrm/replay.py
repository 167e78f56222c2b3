"""Raw objects of amoCRM as records again.

What raw objects are called to what they become, by the functions resources read with. The trash and lists that
no table holds give nothing: tombstones are kept by the warehouse itself.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from connectors.amocrm import mapping
from connectors.amocrm.api import account_of, to_facts
from connectors.amocrm.catalogs import ELEMENTS, lead_records
from connectors.amocrm.conversations import chat, message_of
from connectors.amocrm.customers import customer_records, payment
from connectors.amocrm.dictionaries import CATALOG_KINDS, UNKNOWN
from connectors.amocrm.events import amount_records, event_records
from connectors.amocrm.goods import PRODUCTS, product_records
from connectors.amocrm.mapping import CARDS, ENTITY_KINDS
from connectors.amocrm.notes import all_types, of_types
from connectors.amocrm.reading import Reading
from connectors.amocrm.requests import request
from connectors.amocrm.resources import UNLISTED_PIPELINES
from connectors.amocrm.settings import AmoSettings
from connectors.amocrm.values import field_records
from connectors.amocrm.walking import ToRecords, of_kind, one
from connectors.connector import Replay
from connectors.paging import Json, as_object, whole
from connectors.records import Account, RawRecord, Record, Stub, UserDepartment, Yield
from connectors.walk import kept_raw, records_of

ACCOUNT, CATALOGS, ELEMENT = "account", "catalogs", "catalogs/elements"
ELEMENT_FIELDS = re.compile(r"catalogs/(?P<catalog>[0-9]+)/custom_fields")
UNKNOWN_SINCE = datetime(1970, 1, 1, tzinfo=UTC)
KEPT_RAW = (
    CATALOGS, "roles", "events/types", "contacts/chats", "customers/statuses", "customers/segments",
    *(f"{word}/tags" for word in CARDS), *(f"{word}/trash" for word in CARDS),
)  # fmt: skip


def user_records(user: Json, reading: Reading, raw_hash: str) -> Iterable[Yield]:
    """Since when he is in his group only its reading knew: what is on hand of that stays."""
    return mapping.user_records(user, reading, raw_hash, UNKNOWN_SINCE)


def unlisted(pipeline: Json, reading: Reading, raw_hash: str) -> Iterator[Yield]:
    yield from map(Stub, mapping.pipeline_records(pipeline, reading, raw_hash))


def account_records(body: Json, reading: Reading, _: str) -> Iterator[Yield]:
    yield account_of(to_facts(body, reading.settings), reading.settings).model_copy(
        update={"account_id": reading.account_id}
    )


def catalog_of(element: Json, reading: Reading) -> str:
    """The type of the catalog that an element belongs to."""
    return reading.goods.kinds.get(str(element.get("catalog_id")), "")


def element_records(element: Json, reading: Reading, raw_hash: str) -> Iterator[Yield]:
    _, _, to_records = ELEMENTS.get(catalog_of(element, reading), (Record, "", kept_raw))
    yield from to_records(element, reading, raw_hash)


def element_fields(entity: str) -> ToRecords | None:
    """What becomes of the fields of a catalog, each of which has a list of its own."""
    if (found := ELEMENT_FIELDS.fullmatch(entity)) is None:
        return None

    def to_records(definition: Json, reading: Reading, raw_hash: str) -> Iterable[Yield]:
        kind = CATALOG_KINDS.get(reading.goods.kinds.get(found["catalog"], ""), UNKNOWN)
        return field_records(definition, kind, reading, raw_hash)

    return to_records


MAKES: Mapping[str, ToRecords] = {
    **dict.fromkeys(KEPT_RAW, kept_raw),
    ACCOUNT: account_records,
    "users_groups": one(mapping.department),
    "task_types": one(mapping.task_type),
    "users": user_records,
    "pipelines": mapping.pipeline_records,
    UNLISTED_PIPELINES: unlisted,
    "loss_reasons": one(mapping.loss_reason),
    "sources": one(mapping.source),
    **{f"{word}/custom_fields": of_kind(field_records, ENTITY_KINDS[prefix]) for word, prefix in CARDS.items()},
    "customers/segments/custom_fields": of_kind(field_records, UNKNOWN),
    ELEMENT: element_records,
    "leads": lead_records,
    "contacts": mapping.contact_records,
    "companies": mapping.company_records,
    "customers": customer_records,
    "customers/transactions": one(payment),
    "tasks": mapping.task_records,
    "leads/unsorted": one(request),
    **{f"{word}/{name}": of_types(types, CARDS[word]) for word in CARDS for types, name in all_types()},
    "events": event_records,
    "events/amounts": amount_records,
    "events/messages": message_of(names_talks=False),
    "talks": one(chat),
}


def makes(entity: str) -> ToRecords | None:
    return MAKES.get(entity) or element_fields(entity)


class AmoReplay(Replay):
    """What was read of an account, as it was when it was read: of catalogs what they held then."""

    context = frozenset({ACCOUNT, CATALOGS, ELEMENT})
    kept: frozenset[type[Record]] = frozenset({UserDepartment})

    def __init__(self, settings: AmoSettings, account: Account, entities: Collection[str]) -> None:
        self.reading = Reading(
            account_id=account.account_id,
            is_replay=True,
            zone=ZoneInfo(account.tz),
            currency=account.base_currency,
            region=account.default_region,
            settings=settings,
            task_kinds={},
            users_are_hidden="users" not in entities,
        )

    def knows(self, entity: str) -> bool:
        return makes(entity) is not None

    def learn(self, raw: RawRecord, item: Any) -> None:
        if raw.entity == ACCOUNT:
            self._know_account(item)
        elif raw.entity == CATALOGS:
            if (number := whole(as_object(item).get("id")) or 0) > 0:
                self.reading.goods.kinds[str(number)] = str(item.get("type"))
        elif catalog_of(as_object(item), self.reading) == PRODUCTS:
            quiet = replace(self.reading, _notices=Counter())
            for _ in records_of(item, raw, product_records, quiet):
                pass  # its prices are noted on the way

    def records(self, raw: RawRecord, item: Any) -> Iterator[Yield]:
        if to_records := makes(raw.entity):
            yield from records_of(item, raw, to_records, self.reading)
            yield from self.reading.mentions()
            self.reading.goods.unpriced.clear()

    def conclusions(self) -> Iterator[Yield]:
        return self.reading.conclusions()

    def _know_account(self, body: Json) -> None:
        facts, reading = to_facts(body, self.reading.settings), self.reading
        reading.zone, reading.currency, reading.region = facts.zone, facts.currency, facts.region
        reading.task_kinds = facts.task_kinds
        if invoices := as_object(body.get("invoices_settings")).get("invoices_catalog_id"):
            reading.goods.invoices_catalog_id = str(invoices)
