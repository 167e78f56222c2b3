"""What hangs on cards of the emulated Bitrix24: history, goods, payments, links, activities, comments (4.4 to 4.13)."""

from collections.abc import Callable

from demo import bitrix24_php as php
from demo.bitrix24_calls import Answer, Call, Json, Registry, controller_page, counted_page, old_page, order_of
from demo.bitrix24_errors import RestError, invalid_argument
from demo.bitrix24_filters import Dialect, Query, read_datetime
from demo.bitrix24_rows import (
    CARDS,
    DEAL,
    LEAD,
    OLD_INVOICE,
    array_of,
    hidden,
    old_filter,
    old_rows,
    one,
    owned,
    present,
    shuffled,
    table_name,
)
from demo.bitrix24_values import Row

DETAILS = Registry()


# --- stage history


@DETAILS.method("crm.stagehistory.list", "crm")
def _history(call: Call) -> Answer:
    entity_type = call.integer("entityTypeId")
    source = f"stagehistory:{entity_type}"
    if entity_type not in {LEAD, OLD_INVOICE} and call.table(source) is None:
        raise RestError("ENTITY_TYPE_NOT_SUPPORTED", f"Entity type {entity_type} is not supported")
    names = _history_names(entity_type)
    for key, value in php.items(array_of(call, "filter")):
        if key.endswith("CREATED_TIME") and read_datetime(value, call.wire.zone) is None:
            raise invalid_argument(f"Invalid filter: value of '{key}' is not a date")
    query = Query(source)
    query.conditions = Dialect(names, is_strict=True).conditions(array_of(call, "filter"))
    query.order = order_of(array_of(call, "order"), names)
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


# --- goods, payments


@DETAILS.method("crm.item.productrow.list", "crm")
def _product_rows(call: Call) -> Answer:
    wanted = dict(php.items(array_of(call, "filter")))
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


@DETAILS.method("crm.deal.productrows.get", "crm")
def _deal_product_rows(call: Call) -> Answer:
    deal = one(call, "deal", call.integer("id"))
    rows = _rows_of(call, "D", deal["ID"])
    return Answer([call.wire.old(row, row, native={"PRODUCT_ID", "QUANTITY"}) for row in rows])


@DETAILS.method("crm.item.payment.list", "crm")
def _payments(call: Call) -> Answer:
    if not call.integer("entityId") or not call.integer("entityTypeId"):
        raise RestError(0, "Could not find value for parameter {entityId}")
    rows = owned(call, "payment", call.integer("entityTypeId"), call.integer("entityId"))
    return Answer([
        {key: value for key, value in call.wire.item(row, row).items() if not key.startswith("entity")} for row in rows
    ])  # fmt: skip


# --- links between cards


def _bindings(source: str, names: tuple[str, str]) -> Callable[[Call], Answer]:
    many, key = names

    def run(call: Call) -> Answer:
        row = one(call, source, call.integer("id"))
        single = row.get(key)
        return _bound(key, row.get(many) or ([single] if single else []))

    return run


def _bound(key: str, numbers: list[int]) -> Answer:
    return Answer([
        {key: number, "SORT": 10 * place, "ROLE_ID": 0, "IS_PRIMARY": "Y" if place == 1 else "N"}
        for place, number in enumerate(numbers, 1)
    ])  # fmt: skip


DETAILS.add("crm.deal.contact.items.get", ("crm",), _bindings("deal", ("CONTACT_IDS", "CONTACT_ID")))
DETAILS.add("crm.lead.contact.items.get", ("crm",), _bindings("lead", ("CONTACT_IDS", "CONTACT_ID")))
DETAILS.add("crm.contact.company.items.get", ("crm",), _bindings("contact", ("COMPANY_IDS", "COMPANY_ID")))


@DETAILS.method("crm.company.contact.items.get", "crm")
def _people_of_company(call: Call) -> Answer:
    company = one(call, "company", call.integer("id"))["ID"]
    return _bound("CONTACT_ID", [row["ID"] for row in call.rows("contact") if row.get("COMPANY_ID") == company])


@DETAILS.method("crm.duplicate.findbycomm", "crm")
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


# --- activities, comments


ACTIVITY_FIELDS = (
    "ID", "OWNER_ID", "OWNER_TYPE_ID", "TYPE_ID", "PROVIDER_ID", "PROVIDER_TYPE_ID", "PROVIDER_GROUP_ID",
    "ASSOCIATED_ENTITY_ID", "SUBJECT", "CREATED", "LAST_UPDATED", "START_TIME", "END_TIME", "DEADLINE", "COMPLETED",
    "STATUS", "RESPONSIBLE_ID", "PRIORITY", "DIRECTION", "SETTINGS", "ORIGIN_ID", "AUTHOR_ID", "EDITOR_ID",
    "PROVIDER_PARAMS", "RESULT_STREAM", "DESCRIPTION", "LOCATION",
)  # fmt: skip


@DETAILS.method("crm.activity.list", "crm")
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


@DETAILS.method("crm.activity.get", "crm")
def _activity(call: Call) -> Answer:
    row = one(call, "activity", call.integer("id"))
    if row["PROVIDER_ID"] == "CONFIGURABLE_REST_APP":
        raise RestError("", "Access denied.")
    return Answer(call.wire.old(row, [name for name in row if name != "BINDINGS"]))


@DETAILS.method("crm.activity.binding.list", "crm")
def _activity_bindings(call: Call) -> Answer:
    row = one(call, "activity", call.integer("activityId"), missing=RestError("NOT_FOUND", "Activity not found"))
    return Answer([{"entityTypeId": b["OWNER_TYPE_ID"], "entityId": b["OWNER_ID"]} for b in row.get("BINDINGS") or ()])


@DETAILS.method("crm.timeline.comment.list", "crm")
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
