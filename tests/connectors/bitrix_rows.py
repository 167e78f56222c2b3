"""Rows of a Bitrix24 portal as its methods write them, and what becomes of one. All people are invented."""

from collections.abc import Mapping
from typing import Any
from zoneinfo import ZoneInfo

from connectors.bitrix24.reading import Book, FieldInfo, Reading
from connectors.bitrix24.settings import BitrixSettings
from connectors.records import Notice, OwnedSet, Stub
from connectors.walk import mapped

Json = dict[str, Any]
MOSCOW = ZoneInfo("Europe/Moscow")
SETTINGS = BitrixSettings(id="main", connector="bitrix24", webhook_env="WEBHOOK")
STAGES = {
    ("pipeline:1:0", "stage:NEW"): "open",
    ("pipeline:1:0", "stage:JUNK"): "lost",
    ("pipeline:2:0", "stage:NEW"): "open",
    ("pipeline:2:0", "stage:LOSE"): "lost",
    ("pipeline:2:1", "stage:C1:WON"): "won",
    ("pipeline:31:1", "stage:DT31_1:S"): "open",
    ("pipeline:31:1", "stage:DT31_1:P"): "won",
}
DEAL = {
    "id": 410,
    "title": "Office refit",
    "categoryId": 0,
    "stageId": "NEW",
    "stageSemanticId": "P",
    "opportunity": 120000,
    "currencyId": "RUB",
    "companyId": 9,
    "contactId": 84,
    "contactIds": [84, 91],
    "leadId": None,
    "assignedById": 5,
    "createdBy": 1,
    "createdTime": "2026-08-01T10:00:01+03:00",
    "updatedTime": "2026-08-20T18:40:00+03:00",
    "movedTime": "2026-08-20T18:39:59+03:00",
    "closedate": "2026-08-20T03:00:00+03:00",
    "sourceId": "WEB",
    "isRecurring": "N",
    "isReturnCustomer": "N",
}
ACTIVITY = {
    "ID": "20",
    "OWNER_ID": "15",
    "OWNER_TYPE_ID": "3",
    "TYPE_ID": "6",
    "PROVIDER_ID": "CRM_TODO",
    "SUBJECT": "Call back",
    "CREATED": "2026-08-20T13:26:55+03:00",
    "LAST_UPDATED": "2026-08-20T13:40:00+03:00",
    "START_TIME": "2026-08-20T13:25:00+03:00",
    "END_TIME": "2026-08-20T13:30:00+03:00",
    "DEADLINE": "2026-08-21T13:00:00+03:00",
    "COMPLETED": "N",
    "RESPONSIBLE_ID": "505",
    "DIRECTION": "1",
    "SETTINGS": [],
    "ORIGIN_ID": None,
    "AUTHOR_ID": "505",
}
CALL = {
    "ID": "7",
    "PORTAL_USER_ID": "1269",
    "PORTAL_NUMBER": "reg133788",
    "PHONE_NUMBER": "79060000000",
    "CALL_ID": "externalCall.716f.1773130779",
    "EXTERNAL_CALL_ID": None,
    "CALL_DURATION": "95",
    "CALL_START_DATE": "2026-03-10T11:19:38+03:00",
    "CALL_RECORD_URL": None,
    "CALL_VOTE": None,
    "COST": "0.0000",
    "COST_CURRENCY": "RUR",
    "CALL_FAILED_CODE": "200",
    "CRM_ENTITY_TYPE": "CONTACT",
    "CRM_ENTITY_ID": "797",
    "CRM_ACTIVITY_ID": "7943",
    "RECORD_FILE_ID": 9079,
    "CALL_TYPE": "2",
}


def reading(fields: Mapping[str, FieldInfo] | None = None, *, book: Book | None = None, **settings: Any) -> Reading:
    return Reading(
        account_id="main",
        zone=MOSCOW,
        currency="RUB",
        region="RU",
        settings=SETTINGS.model_copy(update=settings),
        book=book or Book(),
        fields=fields or {},
        stages=lambda: STAGES,
    )


def become(to_records: Any, row: Json, walk: Reading | None = None, *, key: str = "id") -> list[Any]:
    """All that a row gives: its raw copy, records and sets, then stubs and notices."""
    walk = walk or reading()
    return [*mapped(row, "sample", to_records, walk, key=key), *walk.conclusions()]


def of(kind: type, found: list[Any]) -> list[Any]:
    """Rows of a kind, those in sets too."""
    rows = [item for item in found if isinstance(item, kind)]
    return rows + [row for item in found if isinstance(item, OwnedSet) and item.kind is kind for row in item.rows]


def only(kind: type, found: list[Any]) -> Any:
    (row,) = of(kind, found)
    return row


def stubs(kind: type, found: list[Any]) -> list[Any]:
    return [item.record for item in found if isinstance(item, Stub) and isinstance(item.record, kind)]


def unknowns(found: list[Any]) -> list[str]:
    return [str(item.text) for item in found if isinstance(item, Notice) and item.is_unknown]


def field(name: str, kind: str, *, is_multiple: bool = False, **options: str) -> dict[str, FieldInfo]:
    """A custom field, by its name in rows. options: their names by id, with a letter before it."""
    named = {enum_id[1:]: label for enum_id, label in options.items()}
    return {name: FieldInfo(f"UF_CRM_{name.rpartition('_')[2].upper()}", kind, is_multiple, name, named)}
