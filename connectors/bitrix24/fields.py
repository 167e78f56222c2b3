"""Custom fields: their definitions with the options of lists, and the values cards have.

https://apidocs.bitrix24.ru/api-reference/crm/universal/crm-item-fields.html

The name a field has in rows (`ufCrm_1721244482250`) is made from its real one by rules with exceptions, so it is never
computed: the description of an entity type gives both.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

import orjson

from connectors.bitrix24.reading import FIRST_PROCESS, KINDS, FieldInfo, Reading
from connectors.bitrix24.stages import field_reason
from connectors.bitrix24.values import day, flag, many, moment, positions, text
from connectors.errors import Phrase
from connectors.paging import Json, as_list, as_object
from connectors.records import FieldDef, FieldEnum, FieldValue, LossReason, OwnedSet, Yield

TYPES: Mapping[str, str] = {
    **dict.fromkeys(("string", "string_formatted", "text", "address"), "text"),
    **dict.fromkeys(("integer", "double", "money"), "number"),
    **dict.fromkeys(("date", "datetime"), "date"),
    **dict.fromkeys(
        (
            "crm", "crm_status", "crm_entity", "employee", "user", "file", "disk_file", "iblock_element",
            "iblock_section", "hlblock", "resourcebooking", "video", "vote", "url_preview", "mail_message",
            "snils", "location",
        ),
        "other",
    ),
    "enumeration": "enum",
    "boolean": "bool",
    "url": "url",
}  # fmt: skip
"""Our type by theirs."""
Columns = dict[str, Any]
"""Value columns of a `FieldValue`."""


def infos(answer: Any) -> dict[str, FieldInfo]:
    """Custom fields of `crm.item.fields`, by their names in rows."""
    fields = as_object(as_object(answer).get("fields"))
    return {
        name: FieldInfo(
            upper_name=str(described.get("upperName") or name),
            type=str(described.get("type")),
            is_multiple=flag(described.get("isMultiple")) is True,
            title=text(described.get("title")),
            options={
                str(option.get("ID")): str(option.get("VALUE") or "")
                for option in map(as_object, as_list(described.get("items")))
            },
        )
        for name, described in ((name, as_object(one)) for name, one in fields.items())
        if is_custom(str(described.get("upperName") or name))
    }


def is_custom(upper_name: str) -> bool:
    return upper_name.upper().startswith("UF_")


def field_id(kind: str, upper_name: str) -> str:
    """The same name may be a field of leads and another one of deals."""
    return f"field:{kind}:{upper_name}"


def kind_of(type_id: int) -> str:
    return KINDS[type_id] if type_id < FIRST_PROCESS else f"item{type_id}"


def field_records(info: FieldInfo, type_id: int, reading: Reading, raw_hash: str) -> Iterator[Yield]:
    """A definition with its options; those of the field that is named as the reason for losses are reasons too."""
    owner = field_id(kind_of(type_id), info.upper_name)
    type_of_field: Any = "multi" if info.type == "enumeration" and info.is_multiple else TYPES.get(info.type)
    if type_of_field is None:
        reading.unknown(Phrase("custom fields of the unknown type {type} are kept as text", type=info.type[:40]))
    kind: Any = KINDS.get(type_id, "process_item")
    yield FieldDef(
        account_id=reading.account_id,
        raw_hash=raw_hash,
        field_id=owner,
        entity_kind=kind,
        name=info.title or info.upper_name,
        code=info.upper_name,
        type=type_of_field or "unknown",
    )
    options = [
        FieldEnum(
            account_id=reading.account_id,
            raw_hash=raw_hash,
            field_id=owner,
            enum_id=enum_id,
            name=name,
            sort=place,
        )
        for place, (enum_id, name) in enumerate(info.options.items())
    ]
    yield OwnedSet(FieldEnum, reading.account_id, owner, FieldDef, options)
    if reading.settings.loss_reason_fields.get(kind) == info.upper_name:
        for option in options:
            yield LossReason(
                account_id=reading.account_id,
                raw_hash=raw_hash,
                loss_reason_id=field_reason(info.upper_name, option.enum_id),
                name=option.name,
                sort=option.sort,
            )


def check_reasons(known: Mapping[str, Collection[FieldInfo]], reading: Reading) -> None:
    """Tell of fields that are named for reasons of losses and give none. known: fields by kind of card."""
    for kind, name in reading.settings.loss_reason_fields.items():
        of_name = [info for info in known.get(kind, ()) if info.upper_name == name]
        if not of_name:
            reading.notice(
                Phrase(
                    "loss_reason_fields: there is no field {field} of {kind}, so it gives no reasons. Write it as the "
                    "portal does, UF_CRM_…, of lead or deal.",
                    field=name,
                    kind=kind,
                )
            )
        elif of_name[0].type in VALUES_ONLY:
            reading.notice(
                Phrase(
                    "loss_reason_fields: {field} of {kind} is of the type {type}, which gives no reasons.",
                    field=name,
                    kind=kind,
                    type=of_name[0].type,
                )
            )


def field_values(card: Json, entity_id: str, type_id: int, reading: Reading, raw_hash: str) -> list[FieldValue]:
    """A row per value of each custom field that is filled."""
    kind = kind_of(type_id)
    return [
        FieldValue(
            account_id=reading.account_id,
            raw_hash=raw_hash,
            entity_id=entity_id,
            entity_kind=KINDS.get(type_id, "process_item"),
            field_id=field_id(kind, info.upper_name),
            position=position,
            **columns,
        )
        for name, info in reading.fields.items()
        if (said := card.get(name)) is not None and said not in ("", [])  # most are
        for position, value in positions(values_of(said, info))
        if (columns := decoded(value, info, reading))
    ]


def values_of(value: Any, info: FieldInfo) -> list[Any]:
    """false is an empty list, but a value of a flag."""
    return [value] if info.type == "boolean" and not isinstance(value, list) else many(value)


def decoded(value: Any, info: FieldInfo, reading: Reading) -> Columns | None:
    return DECODERS.get(info.type, _text)(value, info, reading)


def _text(value: Any, _: FieldInfo, __: Reading) -> Columns:
    return {"value_text": written(value)}


def _option(value: Any, info: FieldInfo, reading: Reading) -> Columns:
    enum_id = written(value)
    name = info.options.get(enum_id)
    if name is None:
        reading.unknown(Phrase("values of list fields that their lists do not have any more"))
    return {"enum_id": enum_id, "value_text": f"unknown ({enum_id})" if name is None else name}


def _number(value: Any, _: FieldInfo, reading: Reading) -> Columns:
    """A number; money as `1500.50|RUB` keeps its currency in the text."""
    amount, bar, currency = str(value).partition("|")
    try:
        number = Decimal(amount)
    except InvalidOperation:
        reading.notice(Phrase("numbers that cannot be read are kept as text"))
        return {"value_text": written(value)}
    return {"value_num": float(number), **({"value_text": currency} if bar else {})}


def _flag(value: Any, _: FieldInfo, __: Reading) -> Columns | None:
    is_set = flag(value)
    return None if is_set is None else {"value_num": float(is_set)}


def _file(value: Any, _: FieldInfo, __: Reading) -> Columns:
    """Its number only: its addresses change with every reading."""
    return {"value_text": written(value.get("id") if isinstance(value, dict) else value)}


def _day(value: Any, _: FieldInfo, reading: Reading) -> Columns:
    return {"value_date": on} if (on := day(value)) else _unread_date(value, reading)


def _moment(value: Any, _: FieldInfo, reading: Reading) -> Columns:
    return {"value_ts": at} if (at := moment(value)) else _unread_date(value, reading)


def _unread_date(value: Any, reading: Reading) -> Columns:
    reading.notice(Phrase("dates that cannot be read are kept as text"))
    return {"value_text": written(value)}


DECODERS: Mapping[str, Callable[[Any, FieldInfo, Reading], Columns | None]] = {
    **dict.fromkeys(("integer", "double", "money"), _number),
    "enumeration": _option,
    "boolean": _flag,
    "file": _file,
    "date": _day,
    "datetime": _moment,
}


VALUES_ONLY = DECODERS.keys() - {"enumeration"}
"""Types whose values are no words."""


def written(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
