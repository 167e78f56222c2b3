"""Custom fields: their definitions and the values of cards.

https://www.amocrm.ru/developers/content/crm_platform/custom-fields
"""

import math
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Any

import orjson

from connectors.amocrm.reading import Reading, flag, known_as
from connectors.errors import Phrase
from connectors.paging import Json, as_list, as_object, whole
from connectors.records import FieldDef, FieldEnum, FieldRequired, FieldValue, OwnedSet, Yield

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TEXT, NUMBER, DATE, ENUM, MULTI, BOOL, URL, OTHER = "text", "number", "date", "enum", "multi", "bool", "url", "other"
FIELD_TYPES = {
    **dict.fromkeys(("text", "textarea", "streetaddress", "smart_address", "org_legal_name", "tracking_data"), TEXT),
    **dict.fromkeys(("numeric", "price", "monetary"), NUMBER),
    **dict.fromkeys(("date", "date_time"), DATE),
    "birthday": "birthday",
    **dict.fromkeys(("select", "radiobutton", "category"), ENUM),
    **dict.fromkeys(("legal_entity", "items", "linked_entity", "chained_list", "file", "payer", "supplier"), OTHER),
    "multiselect": MULTI,
    "checkbox": BOOL,
    "url": URL,
    "multitext": TEXT,
}
MULTITEXT_TYPES = {"PHONE": "phone", "EMAIL": "email"}

Columns = dict[str, Any]
"""Value columns of a `FieldValue`."""


def field_records(definition: Json, entity_kind: Any, reading: Reading, raw_hash: str) -> list[Yield]:
    """A definition with its options and the stages from which it is mandatory."""
    field_id = known_as("field", definition["id"])
    native_type = str(definition.get("type"))
    kind: Any = FIELD_TYPES.get(native_type)
    if kind is None:
        reading.notice(
            Phrase("custom fields of the unknown type {type} are kept as text", type=native_type[:40]), is_unknown=True
        )
    if native_type == "multitext":
        kind = MULTITEXT_TYPES.get(str(definition.get("code")), TEXT)
    common: Json = {"account_id": reading.account_id, "field_id": field_id, "raw_hash": raw_hash}
    options = as_list(definition.get("enums")) + as_list(definition.get("nested"))
    enums = {
        str(option["id"]): FieldEnum(
            **common,
            enum_id=str(option["id"]),
            name=as_text(option.get("value")) or "",
            sort=reading.count(option, "sort"),
        )
        for option in map(as_object, options)
        if option.get("id") is not None
    }
    required = {
        (pipeline_id, stage_id): FieldRequired(**common, pipeline_id=pipeline_id, stage_id=stage_id)
        for status in map(as_object, as_list(definition.get("required_statuses")))
        if (pipeline_id := known_as("pipeline", status.get("pipeline_id")))
        and (stage_id := known_as("status", status.get("status_id")))
    }
    return [
        FieldDef(
            **common,
            entity_kind=entity_kind,
            name=as_text(definition.get("name")) or f"#{definition['id']}",
            code=as_text(definition.get("code")),
            type=kind or "unknown",
            is_api_only=reading.is_set(definition, "is_api_only") is True,
        ),
        OwnedSet(FieldEnum, reading.account_id, field_id, FieldDef, tuple(enums.values())),
        OwnedSet(FieldRequired, reading.account_id, field_id, FieldDef, tuple(required.values())),
    ]


def field_values(card: Json, entity_id: str, entity_kind: str, reading: Reading, raw_hash: str) -> list[FieldValue]:
    """A row per value of each custom field that is filled. A value that cannot be read costs no other."""
    rows = []
    for field in entries(card.get("custom_fields_values")):
        for position, item in enumerate(entries(field.get("values")) if isinstance(field, dict) else [None]):
            try:
                columns = decoder(field, reading)(item, reading)
                if columns:
                    rows.append(
                        FieldValue(
                            account_id=reading.account_id,
                            raw_hash=raw_hash,
                            entity_id=entity_id,
                            entity_kind=entity_kind,
                            field_id=known_as("field", field["field_id"]),
                            position=position,
                            **columns,
                        )
                    )
            except (AttributeError, KeyError, TypeError, ValueError):
                reading.notice(Phrase("values of custom fields that cannot be read are kept raw only"), is_unknown=True)
    return rows


def entries(value: Any) -> list[Any]:
    """`value` as a list; what should have been one and is not is its only entry."""
    return as_list(value) if value is None or isinstance(value, list | dict) else [value]


def filled(card: Json) -> Iterator[tuple[Json, list[Json]]]:
    """Custom fields that have values, with those; what cannot be read is passed over."""
    for field in map(as_object, as_list(card.get("custom_fields_values"))):
        if items := [item for item in as_list(field.get("values")) if isinstance(item, dict)]:
            yield field, items


def decoder(field: Json, reading: Reading) -> Callable[[Any, Reading], Columns | None]:
    kind = str(field.get("field_type"))
    if kind not in DECODERS:
        reading.notice(
            Phrase("values of custom fields of the unknown type {type} are kept as JSON", type=kind[:40]),
            is_unknown=True,
        )
    return DECODERS.get(kind, _json)


def _text(item: Json, _: Reading) -> Columns | None:
    value = item.get("value")
    if value is None:
        return None
    return {"value_text": value if type(value) is str else _written(value)}


def _option(item: Json, reading: Reading) -> Columns | None:
    value, enum_id = item.get("value"), reading.number("option", item.get("enum_id"))
    if value is None and enum_id is None:
        return None
    return {
        "value_text": value if value is None or type(value) is str else _written(value),
        "enum_id": None if enum_id is None else str(enum_id),
        "enum_code": item.get("enum_code") and str(item["enum_code"]),
    }


def _number(item: Json, reading: Reading) -> Columns | None:
    value = item.get("value")
    if value is None:
        return None
    number = to_number(value)
    if number is None:
        reading.notice(Phrase("numbers that cannot be read are kept as text"))
        return {"value_text": _written(value)}
    return {"value_num": number}


def _flag(item: Json, _: Reading) -> Columns | None:
    value = item.get("value")
    if value is None:
        return None
    if (is_set := flag(value)) is None:
        raise ValueError("neither yes nor no")
    return {"value_num": float(is_set)}


def _day(item: Json, reading: Reading) -> Columns | None:
    value = item.get("value")
    if value is None or value == "":
        return None
    day = to_day(value, UTC if reading.settings.dates_are_utc else reading.zone)
    if day is None:
        reading.notice(Phrase("dates that cannot be read are kept as text"))
        return {"value_text": _written(value)}
    return {"value_date": day}


def _moment(item: Json, reading: Reading) -> Columns | None:
    value = item.get("value")
    if value is None or value == "":
        return None
    moment = to_moment(value, reading.zone)
    if moment is None:
        reading.notice(Phrase("dates that cannot be read are kept as text"))
        return {"value_text": _written(value)}
    return {"value_ts": moment}


def _object(item: Json, _: Reading) -> Columns | None:
    value = item.get("value")
    return None if value is None else {"value_text": _written(value)}


def _json(item: Any, _: Reading) -> Columns | None:
    return None if item is None else {"value_text": _written(item)}


DECODERS: dict[Any, Callable[[Any, Reading], Columns | None]] = {
    **dict.fromkeys(("text", "textarea", "url", "streetaddress", "org_legal_name", "tracking_data"), _text),
    **dict.fromkeys(("numeric", "price", "monetary"), _number),
    **dict.fromkeys(("select", "radiobutton", "multiselect", "category", "multitext", "smart_address"), _option),
    **dict.fromkeys(("date", "birthday"), _day),
    **dict.fromkeys(("legal_entity", "items", "linked_entity", "file", "payer", "supplier"), _object),
    "date_time": _moment,
    "checkbox": _flag,
    "chained_list": _json,  # {"catalog_id": …, "catalog_element_id": …}: no `value`
}
"""How to read an item of `values` by `field_type`."""


def to_number(value: Any) -> float | None:
    """A number that may come as text with a decimal comma and spaces."""
    if isinstance(value, str):
        value = value.replace(" ", "").replace("\u00a0", "").replace(",", ".")
    try:
        number = float(value)
    except (OverflowError, TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def to_moment(value: Any, zone: tzinfo) -> datetime | None:
    """An instant from unix seconds (negative before 1970, maybe as text) or ISO 8601 (local where it names no zone)."""
    seconds = whole(value)
    try:
        if seconds is not None:
            return EPOCH + timedelta(seconds=seconds)
        moment = datetime.fromisoformat(str(value))
        return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def to_day(value: Any, zone: tzinfo) -> date | None:
    """The account's local day of a date that comes as a midnight in unix seconds or as `2020-05-08`."""
    moment = to_moment(value, zone)
    try:
        return moment and moment.astimezone(zone).date()
    except OverflowError:
        return None


def as_text(value: Any) -> str | None:
    """A name, a code: what should be text and may come as a number. Nothing for what is empty."""
    return _written(value) if value else None


def _written(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
