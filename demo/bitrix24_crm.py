"""Leads, deals, contacts, companies, items of the emulated Bitrix24, in both dialects (`bitrix24.md`, 4.2, 4.3)."""

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

from demo import bitrix24_php as php
from demo.bitrix24_calls import Answer, Call, Json, Page, Registry, controller_page, old_page, order_of
from demo.bitrix24_errors import RestError, invalid_argument
from demo.bitrix24_fields import described, fields_of, universal
from demo.bitrix24_filters import Dialect, Query
from demo.bitrix24_rows import (
    CARDS,
    COMPANY,
    CONTACT,
    DEAL,
    LEAD,
    NAMES,
    OLD_INVOICE,
    QUOTE,
    array_of,
    filters_by,
    hidden,
    old_filter,
    old_rows,
    one,
    present,
    shuffled,
    table_name,
    user_fields,
)
from demo.bitrix24_values import Row
from demo.bitrix24_wire import ITEM_ONLY, MULTI_FIELDS, SWITCHED_OFF, item_name

CRM = Registry()
EQUAL_ONLY = frozenset({*MULTI_FIELDS, "STATUS_ID", "STAGE_ID", "SOURCE_ID", "TYPE_ID", "COMPANY_ID", "CONTACT_ID"})


# --- old lists and single cards


def _known(call: Call, entity_type: int) -> dict[str, str]:
    names = {*fields_of(entity_type), *(row["FIELD_NAME"] for row in user_fields(call, entity_type))} - set(ITEM_ONLY)
    return {name: name for name in names}


def _old_list(entity_type: int) -> Callable[[Call], Answer]:
    source = NAMES[entity_type]

    def run(call: Call) -> Answer:
        names = _known(call, entity_type)
        wanted = old_filter(call)
        query = Query(source, tests=hidden(call, entity_type))
        query.conditions = Dialect(names, equal_only=EQUAL_ONLY).conditions(wanted)
        query.order = order_of(call.param("order"), names)
        if entity_type == DEAL and not filters_by(wanted, "ID") and not filters_by(wanted, "IS_RECURRING"):
            table = call.table(source)
            query.left_out = frozenset(table.templates if table else ())
        shuffled(call, query)
        page = old_page(call, call.select(query))
        select = [str(name) for name in php.values(call.param("select") or [])]
        return page.answer(old_rows(call, source, page, select), has_star=not select or "*" in select)

    return run


def _old_get(entity_type: int) -> Callable[[Call], Answer]:
    def run(call: Call) -> Answer:
        row = one(call, NAMES[entity_type], call.integer("id"))
        names = [name for name in row if name not in ITEM_ONLY]
        card = call.wire.old(row, names)
        if entity_type == LEAD:
            card["CONTACT_IDS"] = [str(number) for number in row.get("CONTACT_IDS") or ()]
        return Answer(card, has_star=True)

    return run


def _old_fields(entity_type: int) -> Callable[[Call], Answer]:
    return lambda call: Answer(dict(described(entity_type, user_fields(call, entity_type))))


for _name, _number in CARDS.items():
    CRM.add(f"crm.{_name}.list", ("crm",), _old_list(_number))
    CRM.add(f"crm.{_name}.get", ("crm",), _old_get(_number))
    CRM.add(f"crm.{_name}.fields", ("crm",), _old_fields(_number))


@CRM.method("crm.quote.list", "crm")
def _quotes(call: Call) -> Answer:
    """A company that writes no quotes."""
    return Answer([], 0)


# --- universal items


def _entity_type(call: Call) -> int:
    """The type asked for.

    Raises:
        RestError: for a type that is not there, or not served this way.
    """
    number = call.integer("entityTypeId")
    if number == OLD_INVOICE:
        raise RestError("ENTITY_TYPE_NOT_SUPPORTED", "Entity type 5 is not supported")
    if number != QUOTE and call.table(table_name(number)) is None:
        raise RestError("NOT_FOUND", "Smart process not found")
    return number


def _item_names(call: Call, entity_type: int) -> dict[str, str]:
    """Names that universal methods take → names of the row; upper-case ones are taken too."""
    names = [*fields_of(entity_type), *(row["FIELD_NAME"] for row in user_fields(call, entity_type))]
    return {item_name(name): name for name in names} | {name: name for name in names}


@CRM.method("crm.item.list", "crm")
def _items(call: Call) -> Answer:
    entity_type = _entity_type(call)
    names = _item_names(call, entity_type)
    source = table_name(entity_type)
    query = Query(source, tests=hidden(call, entity_type))
    is_strict = call.switches.unknown_filter == "400"
    query.conditions = Dialect(names, is_strict=is_strict).conditions(array_of(call, "filter"))
    query.order = order_of(array_of(call, "order"), names, on_unknown=_bad_order if is_strict else None)
    shuffled(call, query)
    page = controller_page(call, call.select(query))
    select = [str(name) for name in php.values(call.param("select") or ["*"])]
    originals = call.param("useOriginalUfNames") == "Y"
    write = _item_writer(call, entity_type, select, originals=originals)
    rows = [write(row) for row in _narrow(call, source, page, select)]
    return page.answer({"items": rows}, has_star="*" in select)


def _bad_order(name: str) -> RestError:
    return invalid_argument(f"Invalid order: field '{name}' is not allowed in order")


def _narrow(call: Call, source: str, page: Page, select: list[str]) -> Iterable[Row]:
    """Each row once, as the second statement of the server gives them; ids alone need no rows."""
    ids = dict.fromkeys(page.ids)
    return ({"ID": number} for number in ids) if set(select) <= {"id", "ID"} else present(call, source, ids)


def _item_writer(call: Call, entity_type: int, select: list[str], *, originals: bool = False) -> Callable[[Row], Any]:
    """Writes one item: what was selected, or everything."""
    asked, wire = {"id", *select}, call.wire

    @cache
    def chosen(names: tuple[str, ...]) -> list[str]:
        own = [name for name in names if name not in MULTI_FIELDS]
        return own if "*" in select else [name for name in own if item_name(name) in asked or name in asked]

    def some(row: Row) -> Json:
        return _as_item(call, entity_type, row, chosen(tuple(row)))

    def some_originals(row: Row) -> Any:
        """Only the user fields come through."""
        users = {name: wire.values(row[name]) for name in chosen(tuple(row)) if name.startswith("UF_")}
        return users or ([] if call.switches.empty_item_as_list else {})

    def everything(row: Row) -> Json:
        item = some(row)
        if originals:
            item |= {name: item.pop(item_name(name)) for name in row if name.startswith("UF_")}
        if entity_type in {LEAD, CONTACT, COMPANY}:
            item["fm"] = wire.multi_fields(row)
        return {**item, **dict.fromkeys(SWITCHED_OFF), "entityTypeId": entity_type}

    if "*" in select:
        return everything
    return some_originals if originals else some


def _as_item(call: Call, entity_type: int, row: Row, names: list[str]) -> Json:
    item = call.wire.item(row, names)
    if entity_type == LEAD:
        for name in ("companyId", "contactId"):
            if name in item:
                item[name] = item[name] or 0
    return item


@CRM.method("crm.item.get", "crm")
def _item_get(call: Call) -> Answer:
    entity_type = _entity_type(call)
    missing = RestError("NOT_FOUND", "Элемент не найден")
    row = one(call, table_name(entity_type), call.integer("id"), missing=missing)
    return Answer({"item": _item_writer(call, entity_type, ["*"])(row)}, has_star=True)


@CRM.method("crm.item.fields", "crm")
def _item_fields(call: Call) -> Answer:
    entity_type = _entity_type(call)
    return Answer({"fields": universal(entity_type, user_fields(call, entity_type))})
