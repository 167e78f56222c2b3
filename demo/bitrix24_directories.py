"""What the cards of the emulated Bitrix24 refer to: user fields, types, pipelines, stages, currencies (4.5 and 4.6)."""

from collections.abc import Callable

from demo import bitrix24_php as php
from demo.bitrix24_calls import Answer, Call, Json, Registry, controller_page, order_of
from demo.bitrix24_errors import RestError
from demo.bitrix24_filters import Dialect, Query
from demo.bitrix24_rows import CARDS, COMPANY, CONTACT, DEAL, LEAD, array_of, old_filter, present, user_fields
from demo.bitrix24_values import Row
from demo.bitrix24_wire import item_name

DIRECTORIES = Registry()
SEMANTICS = {"S": "success", "F": "failure"}


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
    DIRECTORIES.add(f"crm.{_name}.userfield.list", ("crm",), _user_field_list(_number))


@DIRECTORIES.method("userfieldconfig.list", "userfieldconfig")
def _user_field_configs(call: Call) -> Answer:
    entity = str(dict(php.items(call.param("filter"))).get("entityId", ""))
    found = [
        {item_name(name): call.wire.values(value) for name, value in row.items() if name != "LIST"}
        for number in (LEAD, DEAL, CONTACT, COMPANY)
        for row in user_fields(call, number)
        if row["ENTITY_ID"] == entity
    ]
    return Answer({"fields": found}, len(found))


@DIRECTORIES.method("crm.type.list", "crm")
def _types(call: Call) -> Answer:
    if not call.switches.is_admin:
        raise RestError("ACCESS_DENIED", "Access denied!", status=400)
    names = {item_name(name): name for row in call.rows("type")[:1] for name in row}
    query = Query("type")
    query.conditions = Dialect(names, is_strict=True).conditions(array_of(call, "filter"))
    query.order = order_of(array_of(call, "order"), names, on_unknown=_unknown_definition)
    page = controller_page(call, call.select(query))
    return page.answer({"types": [call.wire.item(row, row) for row in present(call, "type", page.ids)]})


def _unknown_definition(name: str) -> RestError:
    snake = "".join(f"_{letter}" if letter.isupper() else letter.upper() for letter in name).lstrip("_")
    return RestError(100, f"Unknown field definition `{snake}` for Type Entity.")


@DIRECTORIES.method("crm.category.list", "crm")
def _categories(call: Call) -> Answer:
    entity_type = call.integer("entityTypeId")
    if call.table(f"category:{entity_type}") is None:
        raise RestError("ENTITY_TYPE_NOT_SUPPORTED", f"Entity type {entity_type} is not supported")
    rows = [row for row in call.rows(f"category:{entity_type}") if row["ID"] not in call.switches.hidden_categories]
    found = [{**call.wire.item(row, row), "entityTypeId": entity_type} for row in rows]
    return Answer({"categories": found}, len(found))


@DIRECTORIES.method("crm.status.list", "crm")
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


@DIRECTORIES.method("crm.status.entity.types", "crm")
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


@DIRECTORIES.method("crm.currency.list", "crm")
def _currencies(call: Call) -> Answer:
    """The total is always 0."""
    found = [call.wire.old(row, [name for name in row if name != "ID"]) for row in call.rows("currency")]
    return Answer(found, 0)
