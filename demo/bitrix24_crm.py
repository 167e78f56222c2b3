"""The `crm.*` methods of the emulated Bitrix24 (`bitrix24.md`, section 4)."""

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

from demo import bitrix24_php as php
from demo.bitrix24_calls import (
    Answer,
    Call,
    Json,
    Page,
    Registry,
    controller_page,
    counted_page,
    old_page,
    order_of,
)
from demo.bitrix24_errors import RestError, invalid_argument
from demo.bitrix24_fields import described, fields_of, universal
from demo.bitrix24_filters import Dialect, Query, read_datetime
from demo.bitrix24_values import Row
from demo.bitrix24_wire import ITEM_ONLY, MULTI_FIELDS, SWITCHED_OFF, item_name

CRM = Registry()
LEAD, DEAL, CONTACT, COMPANY, OLD_INVOICE, QUOTE = 1, 2, 3, 4, 5, 7
CARDS = {"lead": LEAD, "deal": DEAL, "contact": CONTACT, "company": COMPANY}
NAMES = {number: name for name, number in CARDS.items()}
ABBREVIATIONS = {LEAD: "L", DEAL: "D", CONTACT: "C", COMPANY: "CO", QUOTE: "Q", 31: "SI"}
EQUAL_ONLY = frozenset({*MULTI_FIELDS, "STATUS_ID", "STAGE_ID", "SOURCE_ID", "TYPE_ID", "COMPANY_ID", "CONTACT_ID"})
SEMANTICS = {"S": "success", "F": "failure"}


def table_name(entity_type: int) -> str:
    return NAMES.get(entity_type, f"item:{entity_type}")


def user_fields(call: Call, entity_type: int) -> list[Row]:
    return call.rows(f"userfield:{table_name(entity_type)}")


def old_filter(call: Call, name: str = "filter") -> Any:
    """The filter of an old method.

    Raises:
        RestError: if it is no array.
    """
    wanted = call.param(name, {})
    if not isinstance(wanted, dict | list):
        raise RestError("", f"Parameter '{name}' must be array.")
    return wanted


def filters_by(wanted: Any, name: str) -> bool:
    """Whether an old filter asks for a field by equality."""
    return any(key.lstrip("=@") == name for key, _ in php.items(wanted))


def hidden(call: Call, entity_type: int) -> list[Callable[[Row], bool]]:
    """Tests that rows must pass for the caller to see them."""
    lost = set(call.switches.hidden_categories)
    return [lambda row: row.get("CATEGORY_ID") not in lost] if lost and entity_type == DEAL else []


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


def shuffled(call: Call, query: Query) -> None:
    """An order nobody asked for is nobody's business."""
    if not query.order and call.switches.shuffle_without_order:
        query.shuffle = call.engine.chance


def old_rows(call: Call, source: str, page: Page, select: list[str]) -> list[Json]:
    """Rows in the old dialect. Doubles of a join stay, but where rows are keyed by their id."""
    is_keyed = not select or "*" in select or any(name in MULTI_FIELDS for name in select)
    ids: Iterable[int] = dict.fromkeys(page.ids) if is_keyed else page.ids
    if select and set(select) <= {"ID"}:
        return [{"ID": str(number)} for number in ids]
    chosen = cache(lambda names: _selected(names, select))  # rows of a list nearly always have the same names
    return [call.wire.old(row, chosen(tuple(row))) for row in present(call, source, ids)]


def _selected(names: tuple[str, ...], select: list[str]) -> list[str]:
    """Names of the fields asked for; unknown ones are passed over, the id is always given."""
    every, own, users = not select, "*" in select, "UF_*" in select
    if not (every or own or users):
        return [name for name in dict.fromkeys(("ID", *select)) if name in names and name not in ITEM_ONLY]
    asked = set(select)
    return [
        name
        for name in names
        if name in asked or name == "ID" or _is_masked(name, every or own, every or users)
        if name not in ITEM_ONLY
    ]


def _is_masked(name: str, own: bool, users: bool) -> bool:
    if name in MULTI_FIELDS or name in {"COMMUNICATIONS", "FILES", "BINDINGS"}:
        return False
    return users if name.startswith("UF_") else own


def present(call: Call, source: str, ids: Iterable[int]) -> Iterable[Row]:
    """The rows with those ids that are (still) there."""
    table = call.table(source)
    return (row for number in ids if table and (row := table.get(number)) is not None)


def one(call: Call, source: str, number: int, *, missing: RestError | None = None) -> Row:
    """The row with that id.

    Raises:
        RestError: as old methods refuse, or `missing`.
    """
    if number <= 0 and missing is None:
        raise RestError("", "ID is not defined or invalid.")
    table = call.table(source)
    row = table.get(number) if table else None
    if row is None or not all(test(row) for test in hidden(call, CARDS.get(source, 0))):
        raise missing or RestError("", "Not found")
    return row


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


def _user_field_list(entity_type: int) -> Callable[[Call], Answer]:
    def run(call: Call) -> Answer:
        wanted = dict(php.items(old_filter(call)))
        language = wanted.pop("LANG", None)
        found = []
        rows = user_fields(call, entity_type)
        conditions = Dialect({name: name for row in rows for name in row}).conditions(wanted)
        for row in rows:
            if all(condition.times(row, call.wire.zone) for condition in conditions):
                names = [name for name in row if language or not name.endswith("_LABEL")]
                found.append(call.wire.old(row, [name for name in names if name != "LIST"]) | _options(call, row))
        return Answer(found, len(found))

    return run


def _options(call: Call, row: Row) -> Json:
    return {"LIST": [call.wire.old(option, option) for option in row["LIST"]]} if row.get("LIST") else {}


for _name, _number in CARDS.items():
    CRM.add(f"crm.{_name}.list", ("crm",), _old_list(_number))
    CRM.add(f"crm.{_name}.get", ("crm",), _old_get(_number))
    CRM.add(f"crm.{_name}.fields", ("crm",), _old_fields(_number))
    CRM.add(f"crm.{_name}.userfield.list", ("crm",), _user_field_list(_number))


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
    query.conditions = Dialect(names, is_strict=is_strict).conditions(_array(call, "filter"))
    query.order = order_of(_array(call, "order"), names, on_unknown=_bad_order if is_strict else None)
    shuffled(call, query)
    page = controller_page(call, call.select(query))
    select = [str(name) for name in php.values(call.param("select") or ["*"])]
    originals = call.param("useOriginalUfNames") == "Y"
    write = _item_writer(call, entity_type, select, originals=originals)
    rows = [write(row) for row in _narrow(call, source, page, select)]
    return page.answer({"items": rows}, has_star="*" in select)


def _array(call: Call, name: str) -> Any:
    wanted = call.param(name) or {}
    if not isinstance(wanted, dict | list):
        raise invalid_argument(f"Invalid value of parameter '{name}'")
    return wanted


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


@CRM.method("crm.type.list", "crm")
def _types(call: Call) -> Answer:
    if not call.switches.is_admin:
        raise RestError("ACCESS_DENIED", "Access denied!", status=400)
    names = {item_name(name): name for row in call.rows("type")[:1] for name in row}
    query = Query("type")
    query.conditions = Dialect(names, is_strict=True).conditions(_array(call, "filter"))
    query.order = order_of(_array(call, "order"), names, on_unknown=_unknown_definition)
    page = controller_page(call, call.select(query))
    return page.answer({"types": [call.wire.item(row, row) for row in present(call, "type", page.ids)]})


def _unknown_definition(name: str) -> RestError:
    snake = "".join(f"_{letter}" if letter.isupper() else letter.upper() for letter in name).lstrip("_")
    return RestError(100, f"Unknown field definition `{snake}` for Type Entity.")


@CRM.method("crm.stagehistory.list", "crm")
def _history(call: Call) -> Answer:
    entity_type = call.integer("entityTypeId")
    source = f"stagehistory:{entity_type}"
    if entity_type not in {LEAD, OLD_INVOICE} and call.table(source) is None:
        raise RestError("ENTITY_TYPE_NOT_SUPPORTED", f"Entity type {entity_type} is not supported")
    names = _history_names(entity_type)
    for key, value in php.items(_array(call, "filter")):
        if key.endswith("CREATED_TIME") and read_datetime(value, call.wire.zone) is None:
            raise invalid_argument(f"Invalid filter: value of '{key}' is not a date")
    query = Query(source)
    query.conditions = Dialect(names, is_strict=True).conditions(_array(call, "filter"))
    query.order = order_of(_array(call, "order"), names)
    query.tests = _history_rights(call, entity_type)
    shuffled(call, query)
    page = controller_page(call, call.select(query))
    select = set(map(str, php.values(call.param("select") or names)))
    rows = [
        {name: value for name, value in _history_row(call, row, names).items() if name == "ID" or name in select}
        for row in present(call, source, page.ids)
    ]
    return page.answer({"items": rows})


def _history_names(entity_type: int) -> dict[str, str]:
    """Leads and old invoices speak of a status where the others have a stage of a category."""
    word = "STATUS" if entity_type in {LEAD, OLD_INVOICE} else "STAGE"
    names = ["ID", "TYPE_ID", "OWNER_ID", "CREATED_TIME", f"{word}_SEMANTIC_ID", f"{word}_ID"]
    return {name: name for name in (names if word == "STATUS" else [*names, "CATEGORY_ID"])}


def _history_row(call: Call, row: Row, names: dict[str, str]) -> Json:
    written = call.wire.native(row, [name for name in names if name in row])
    if call.switches.history_ids_as_text:
        return {name: str(value) if isinstance(value, int) else value for name, value in written.items()}
    return written


def _history_rights(call: Call, entity_type: int) -> list[Callable[[Row], bool]]:
    tests = hidden(call, entity_type)
    owners = call.table(table_name(entity_type))
    if call.switches.history_current_category_only and entity_type == DEAL and owners is not None:
        tests.append(lambda row: (owners.get(row["OWNER_ID"]) or row)["CATEGORY_ID"] == row["CATEGORY_ID"])
    return tests


@CRM.method("crm.item.productrow.list", "crm")
def _product_rows(call: Call) -> Answer:
    wanted = dict(php.items(_array(call, "filter")))
    kind = wanted.get("=ownerType", wanted.get("ownerType"))
    owner = wanted.get("=ownerId", wanted.get("ownerId"))
    if kind is None or owner is None:
        raise RestError("REQUIRED_ARG_MISSING", "Required filter fields: =ownerType, =ownerId")
    rows = [row for row in _rows_of(call, str(kind), php.integer(owner)) if row["ID"] > _above(wanted)]
    start = max(call.start, 0) // 50 * 50
    items = [call.wire.item(row, row) for row in rows[start : start + 50]]
    following = start + 50 if start + 50 < len(rows) and call.start >= 0 else None
    return Answer({"productRows": items}, None if call.start == -1 else len(rows), following)


def _above(wanted: Json) -> int:
    return php.integer(wanted.get(">id", wanted.get(">ID", 0)))


def _rows_of(call: Call, kind: str, owner: int) -> list[Row]:
    """Product rows of one owner, by id."""
    return owned(call, "productrow", kind, owner)


def owned(call: Call, source: str, *owner: Any) -> list[Row]:
    """Rows that belong to one owner, by id."""
    table = call.table(source)
    return list(present(call, source, table.owned_by(*owner))) if table else []


@CRM.method("crm.deal.productrows.get", "crm")
def _deal_product_rows(call: Call) -> Answer:
    deal = one(call, "deal", call.integer("id"))
    rows = _rows_of(call, "D", deal["ID"])
    return Answer([call.wire.old(row, row, native={"PRODUCT_ID", "QUANTITY"}) for row in rows])


@CRM.method("crm.item.payment.list", "crm")
def _payments(call: Call) -> Answer:
    if not call.integer("entityId") or not call.integer("entityTypeId"):
        raise RestError(0, "Could not find value for parameter {entityId}")
    rows = owned(call, "payment", call.integer("entityTypeId"), call.integer("entityId"))
    return Answer([
        {key: value for key, value in call.wire.item(row, row).items() if not key.startswith("entity")} for row in rows
    ])  # fmt: skip


# --- bindings


def _bindings(source: str, names: tuple[str, str]) -> Callable[[Call], Answer]:
    many, key = names

    def run(call: Call) -> Answer:
        row = one(call, source, call.integer("id"))
        single = row.get(key)
        numbers = row.get(many) or ([single] if single else [])
        return Answer([
            {key: number, "SORT": 10 * place, "ROLE_ID": 0, "IS_PRIMARY": "Y" if place == 1 else "N"}
            for place, number in enumerate(numbers, 1)
        ])  # fmt: skip

    return run


CRM.add("crm.deal.contact.items.get", ("crm",), _bindings("deal", ("CONTACT_IDS", "CONTACT_ID")))
CRM.add("crm.lead.contact.items.get", ("crm",), _bindings("lead", ("CONTACT_IDS", "CONTACT_ID")))
CRM.add("crm.contact.company.items.get", ("crm",), _bindings("contact", ("COMPANY_IDS", "COMPANY_ID")))
CRM.add("crm.company.contact.items.get", ("crm",), _bindings("company", ("CONTACT_IDS", "CONTACT_ID")))


# --- directories


@CRM.method("crm.category.list", "crm")
def _categories(call: Call) -> Answer:
    entity_type = call.integer("entityTypeId")
    if call.table(f"category:{entity_type}") is None:
        raise RestError("ENTITY_TYPE_NOT_SUPPORTED", f"Entity type {entity_type} is not supported")
    rows = [row for row in call.rows(f"category:{entity_type}") if row["ID"] not in call.switches.hidden_categories]
    found = [{**call.wire.item(row, row), "entityTypeId": entity_type} for row in rows]
    return Answer({"categories": found}, len(found))


@CRM.method("crm.status.list", "crm")
def _statuses(call: Call) -> Answer:
    wanted = old_filter(call)
    rows = call.rows("status")
    names = {name: name for row in rows[:1] for name in row}
    conditions = Dialect(names).conditions(wanted)
    query = Query("status", conditions=conditions, order=order_of(call.param("order"), names))
    selection = call.select(query)
    ids = selection.all() if selection else []
    found = [_status(call, row) for row in present(call, "status", ids)]
    return Answer(found, len(found))


def _status(call: Call, row: Row) -> Json:
    one_status = call.wire.old(row, row)
    if "STAGE" in row["ENTITY_ID"] or row["ENTITY_ID"] == "STATUS":
        semantics = SEMANTICS.get(row.get("SEMANTICS") or "", "process")
        one_status["EXTRA"] = {"SEMANTICS": semantics, "COLOR": row.get("COLOR")}
    return one_status


@CRM.method("crm.status.entity.types", "crm")
def _status_types(call: Call) -> Answer:
    found: dict[str, Json] = {}
    for row in call.rows("status"):
        entity = row["ENTITY_ID"]
        category = row.get("CATEGORY_ID")
        is_stages = "STAGE" in entity
        found.setdefault(entity, {
            "ID": entity, "NAME": entity, "ENTITY_TYPE_ID": DEAL if entity.startswith("DEAL_STAGE") else 0,
            "CATEGORY_ID": category if category is None or not is_stages else str(category),
            "PREFIX": f"C{category}" if is_stages and category else "",
            "SEMANTIC_INFO": {"START_FIELD": "NEW", "FINAL_SUCCESS_FIELD": "WON"} if is_stages else [],
        })  # fmt: skip
    return Answer(list(found.values()))


@CRM.method("crm.currency.list", "crm")
def _currencies(call: Call) -> Answer:
    """The total is always 0."""
    found = [call.wire.old(row, [name for name in row if name != "ID"]) for row in call.rows("currency")]
    return Answer(found, 0)


@CRM.method("userfieldconfig.list", "userfieldconfig")
def _user_field_configs(call: Call) -> Answer:
    entity = str(dict(php.items(call.param("filter"))).get("entityId", ""))
    found = [
        {item_name(name): call.wire.values(value) for name, value in row.items() if name != "LIST"}
        for number in (LEAD, DEAL, CONTACT, COMPANY)
        for row in user_fields(call, number)
        if row["ENTITY_ID"] == entity
    ]
    return Answer({"fields": found}, len(found))


# --- activities, comments


@CRM.method("crm.activity.list", "crm")
def _activities(call: Call) -> Answer:
    names = {name: name for name in (*ACTIVITY_FIELDS, "BINDINGS")}
    query = Query("activity")
    query.conditions = Dialect(names).conditions(old_filter(call))
    query.order = order_of(call.param("order"), names) or [("START_TIME", False)]
    page = old_page(call, call.select(query))
    select = [str(name) for name in php.values(call.param("select") or [])]
    if "BINDINGS" in select and not call.switches.bindings_in_activity_list:
        select.remove("BINDINGS")
    heavy = "*" in select or not select or "COMMUNICATIONS" in select
    return page.answer(old_rows(call, "activity", page, select), has_star=heavy)


ACTIVITY_FIELDS = (
    "ID", "OWNER_ID", "OWNER_TYPE_ID", "TYPE_ID", "PROVIDER_ID", "PROVIDER_TYPE_ID", "PROVIDER_GROUP_ID",
    "ASSOCIATED_ENTITY_ID", "SUBJECT", "CREATED", "LAST_UPDATED", "START_TIME", "END_TIME", "DEADLINE", "COMPLETED",
    "STATUS", "RESPONSIBLE_ID", "PRIORITY", "DIRECTION", "SETTINGS", "ORIGIN_ID", "AUTHOR_ID", "EDITOR_ID",
    "PROVIDER_PARAMS", "RESULT_STREAM", "DESCRIPTION", "LOCATION",
)  # fmt: skip


@CRM.method("crm.activity.get", "crm")
def _activity(call: Call) -> Answer:
    row = one(call, "activity", call.integer("id"))
    if row["PROVIDER_ID"] == "CONFIGURABLE_REST_APP":
        raise RestError("", "Access denied.")
    return Answer(call.wire.old(row, [name for name in row if name != "BINDINGS"]))


@CRM.method("crm.activity.binding.list", "crm")
def _activity_bindings(call: Call) -> Answer:
    row = one(call, "activity", call.integer("activityId"), missing=RestError("NOT_FOUND", "Activity not found"))
    return Answer([{"entityTypeId": b["OWNER_TYPE_ID"], "entityId": b["OWNER_ID"]} for b in row.get("BINDINGS") or ()])


@CRM.method("crm.timeline.comment.list", "crm")
def _comments(call: Call) -> Answer:
    wanted = dict(php.items(old_filter(call)))
    kind, owner = wanted.get("ENTITY_TYPE"), php.integer(wanted.get("ENTITY_ID"))
    if not kind or not owner:
        raise RestError("", "Entity ID and entity type are required.")
    names = {"ID": "ID", "CREATED": "CREATED", "AUTHOR_ID": "AUTHOR_ID"}
    rows = owned(call, "comment", str(kind).lower(), owner)
    query = Query("comment", order=order_of(call.param("order"), names))
    query.conditions = Dialect({"ID": "ID"}).conditions({"ID": [row["ID"] for row in rows] or [0]})
    page = counted_page(call, call.select(query))
    select = [str(name) for name in php.values(call.param("select") or [])]
    return page.answer(old_rows(call, "comment", page, select))


@CRM.method("crm.duplicate.findbycomm", "crm")
def _duplicates(call: Call) -> Answer:
    kind, wanted = str(call.param("type", "")).upper(), [str(v) for v in php.values(call.param("values") or [])]
    if kind not in {"PHONE", "EMAIL"}:
        raise RestError("", "Communication type is not defined.")
    asked = str(call.param("entity_type", "")).upper()
    found: dict[str, list[int]] = {}
    for name in CARDS:
        if name == "deal" or (asked and asked != name.upper()):
            continue
        table = call.table(name)
        rows = (table.get(number) for number in table.ids) if table else ()
        ids = [row["ID"] for row in rows if row and any(p["VALUE"] in wanted[:20] for p in row.get(kind) or ())]
        if ids:
            found[name.upper()] = ids[:20]
    return Answer(found or [])
