"""Changes people make in the demo Bitrix24: each alters rows, their instants of change and the stage history as
section 5 of `bitrix24.md` says, and leaves the events the portal would tell.

`mutate(portal, order)` takes `{"what": …}`; what an order needs stands in `ORDERS`. The instant is the portal's clock
unless the order has an `at` (unix), who did it the head of sales unless it has a `by`. Values in `fields` are JSON
under the UPPER_CASE names: instants as unix seconds, days as ISO dates, money as text or number.
"""

from collections.abc import Callable, Iterator
from datetime import date
from decimal import Decimal
from typing import Any

from demo import office
from demo.bitrix24_cards import multi
from demo.bitrix24_past import lead_turn_row, turn_row
from demo.bitrix24_portal import Portal
from demo.bitrix24_setup import (
    COMPANY_TYPE,
    CONTACT_TYPE,
    CURRENCY,
    DEAL_TYPE,
    INVOICE_NEW,
    LEAD_TYPE,
    PROCESS_NEW,
    Place,
    local_day,
)
from demo.bitrix24_table import Table
from demo.bitrix24_values import Day, Instant, Never, Row

Json = dict[str, Any]
TYPES = {"lead": LEAD_TYPE, "deal": DEAL_TYPE, "contact": CONTACT_TYPE, "company": COMPANY_TYPE, "activity": 6}
LETTERS = {"lead": "L", "deal": "D"}
"""Owners of product rows."""
STAMPS = frozenset({"DATE_MODIFY", "UPDATED_TIME", "LAST_UPDATED", "CHANGED_DATE"})
"""Columns a change moves; a call has none, and rows of a history are never changed."""
UNSET = frozenset({"DATE_CLOSED", "CLOSED_DATE", "BIRTHDATE", "CALL_RECORD_URL"})
"""What a new row does not have, whatever the row it is made like does."""
EDITORS = {"DATE_MODIFY": "MODIFY_BY_ID", "UPDATED_TIME": "UPDATED_BY", "LAST_UPDATED": "EDITOR_ID",
           "CHANGED_DATE": "CHANGED_BY"}  # fmt: skip
AUTHORS = frozenset(
    {"ASSIGNED_BY_ID", "CREATED_BY_ID", "MODIFY_BY_ID", "MOVED_BY_ID", "CREATED_BY", "UPDATED_BY", "MOVED_BY",
     "LAST_ACTIVITY_BY", "RESPONSIBLE_ID", "AUTHOR_ID", "EDITOR_ID", "CHANGED_BY", "PORTAL_USER_ID"}
)  # fmt: skip


class OrderError(Exception):
    """The order cannot be carried out; the text says why."""


def mutate(portal: Portal, order: Json) -> Json:
    """Carry out one order; returns the id of the row that came of it."""
    name = order.get("what")
    if name not in ORDERS:
        raise OrderError(f"unknown order {name!r}, know {', '.join(sorted(ORDERS))}")
    try:
        return ORDERS[name](portal, order)
    except KeyError as missing:
        raise OrderError(f"order {name} needs {missing}") from missing


# --- any row


def _update(portal: Portal, order: Json) -> Json:
    """table, id, fields. Moves the instant of change, unless nothing changes or the order is `quiet` (a mass
    recalculation). Another stage moves the item, see `_move`."""
    table, row = _found(portal, order)
    fields = {name: _typed(name, value, row.get(name)) for name, value in order["fields"].items()}
    new = row | fields
    if new == row:
        return {"id": row["ID"]}
    if table.stamp in STAMPS and not order.get("quiet"):
        changed = {table.stamp: Instant(_at(portal, order)), EDITORS[table.stamp]: _by(order)}
        new |= {name: value for name, value in changed.items() if name not in fields}
    stage = _stage_column(order["table"])
    if stage and new[stage] != row[stage]:
        new = _moved(portal, order, row, new)
    table.put(new)
    _tell(portal, order, "UPDATE", row["ID"])
    return {"id": row["ID"]}


def _move(portal: Portal, order: Json) -> Json:
    """table, id, stage: to another stage, by its code; one of another pipeline takes the deal there."""
    stage = _stage_column(order["table"])
    if not stage:
        raise OrderError(f"{order['table']} has no stages")
    return _update(portal, order | {"fields": {stage: order["stage"], **order.get("fields", {})}})


def _add(portal: Portal, order: Json) -> Json:
    """table, fields; phones, emails of a card. With past dates in the fields it is an import: its history begins now
    all the same."""
    name = order["table"]
    table = _table(portal, name)
    at, by = _at(portal, order), _by(order)
    number = int(order.get("fields", {}).get("ID", table.next_id))
    row = _blank(table, at, by) | _defaults(name, number, at) | {"ID": number}
    row |= {field: _typed(field, value, row.get(field)) for field, value in order.get("fields", {}).items()}
    for kind, values in (("PHONE", order.get("phones")), ("EMAIL", order.get("emails"))):
        if values:
            row |= {kind: multi(kind, number, values, shift=10 * (name == "company")), f"HAS_{kind}": True}
    if name == "activity":
        row["BINDINGS"] = [{"OWNER_TYPE_ID": row["OWNER_TYPE_ID"], "OWNER_ID": row["OWNER_ID"]}]
    if name in {"deal", "lead"} and row["CONTACT_IDS"]:
        row["CONTACT_ID"] = row["CONTACT_IDS"][0]
    _register(portal, order, table, row)
    return {"id": number}


def _delete(portal: Portal, order: Json) -> Json:
    """table, id: the row is gone, and with it its stage history and its product rows."""
    table, row = _found(portal, order)
    _erase(portal, order, table, row["ID"])
    return {"id": row["ID"]}


def _restore(portal: Portal, order: Json) -> Json:
    """table, id of a deleted row: it comes back under a new id with its old dates."""
    table = _table(portal, order["table"])
    row = table.deleted.pop(int(order["id"]), None)
    if row is None:
        raise OrderError(f"nothing deleted under {order['id']}")
    number = table.next_id
    _register(portal, order, table, row | {"ID": number})
    return {"id": number}


def _merge(portal: Portal, order: Json) -> Json:
    """table, id (the loser), into (the survivor): activities, deals and contacts go over, the survivor is changed."""
    table, loser = _found(portal, order)
    survivor = table.get(int(order["into"]))
    if survivor is None:
        raise OrderError(f"no row {order['into']}")
    new: Row = {table.stamp: Instant(_at(portal, order)), EDITORS[table.stamp]: _by(order)}
    for kind in ("PHONE", "EMAIL"):
        if loser.get(kind):
            new |= {kind: [*survivor[kind], *loser[kind]], f"HAS_{kind}": True}
    type_id = _type_id(order["table"])
    _hand_over(portal, type_id, loser["ID"], survivor["ID"])
    table.put(survivor | new)
    _tell(portal, order, "UPDATE", survivor["ID"])
    _erase(portal, order, table, loser["ID"])
    return {"id": survivor["ID"]}


def _hand_over(portal: Portal, type_id: int, loser: int, survivor: int) -> None:
    """Bindings are written directly: no row of those that name the loser says it was changed."""
    gone, stays = _owner(type_id, loser), _owner(type_id, survivor)
    activities = _table(portal, "activity")
    for row in _rows(activities):
        if gone in row["BINDINGS"]:
            bindings = [stays if one == gone else one for one in row["BINDINGS"]]
            activities.put(row | {"BINDINGS": bindings, **bindings[0]})
    if type_id not in {CONTACT_TYPE, COMPANY_TYPE}:
        return
    one, many = ("CONTACT_ID", "CONTACT_IDS") if type_id == CONTACT_TYPE else ("COMPANY_ID", "COMPANY_IDS")
    for name in ("lead", "deal", "contact"):
        table = _table(portal, name)
        for row in _rows(table):
            if row.get(one) == loser or loser in row.get(many, ()):
                named = {one: survivor if row.get(one) == loser else row.get(one)}
                if many in row:
                    named[many] = list(dict.fromkeys(survivor if card == loser else card for card in row[many]))
                table.put(row | named)


# --- what belongs to a row


def _contacts(portal: Portal, order: Json) -> Json:
    """id (a deal), contact_ids: its contacts are bound anew, which does not change the deal."""
    table, deal = _found(portal, order | {"table": "deal"})
    contacts = [int(number) for number in order["contact_ids"]]
    table.put(deal | {"CONTACT_IDS": contacts, "CONTACT_ID": contacts[0] if contacts else None})
    return {"id": deal["ID"]}


def _lines(portal: Portal, order: Json) -> Json:
    """id (a deal, or of `table` lead), lines ([{PRODUCT_ID, PRODUCT_NAME, PRICE, QUANTITY}]): all its product rows.

    They tell its amount, and so change the card, unless the amount is a manual one.
    """
    order = order | {"table": order.get("table", "deal")}
    letter, card = LETTERS[order["table"]], _found(portal, order)[1]
    table = _table(portal, "productrow")
    for number in table.owned_by(letter, card["ID"]):
        table.remove(number)
    total = Decimal(0)
    for line in order["lines"]:
        row = _blank(table, portal.now, 0) | {"ID": table.next_id, "OWNER_TYPE": letter, "OWNER_ID": card["ID"]}
        row |= {name: _typed(name, value, row.get(name)) for name, value in line.items()}
        table.put(row)
        total += row["PRICE"] * row["QUANTITY"]
    if not card["IS_MANUAL_OPPORTUNITY"]:
        _update(portal, order | {"fields": {"OPPORTUNITY": total}})
    return {"id": card["ID"]}


def _owner_of(portal: Portal, order: Json) -> Json:
    """id (an activity), owner_type_id, owner_id: it hangs on another card, which does not change it."""
    table, row = _found(portal, order | {"table": "activity"})
    owner = _owner(int(order["owner_type_id"]), int(order["owner_id"]))
    table.put(row | owner | {"BINDINGS": [owner]})
    _tell(portal, order | {"table": "activity"}, "UPDATE", row["ID"])
    return {"id": row["ID"]}


def _comment(portal: Portal, order: Json) -> Json:
    """table, id, text: a comment in the timeline; only the last activity of the card moves."""
    table, card = _found(portal, order)
    at, by = Instant(_at(portal, order)), _by(order)
    comments = _table(portal, "comment")
    number = comments.next_id
    comments.put(
        {"ID": number, "ENTITY_ID": card["ID"], "ENTITY_TYPE": order["table"], "CREATED": at,
         "COMMENT": order.get("text", ""), "AUTHOR_ID": by, "FILES": {}}
    )  # fmt: skip
    table.put(card | {"LAST_ACTIVITY_TIME": at, "LAST_ACTIVITY_BY": by})
    portal.events.append(("ONCRMTIMELINECOMMENTADD", _type_id(order["table"]), number, at))
    return {"id": number}


def _message(portal: Portal, order: Json) -> Json:
    """id (a session), text, user_id (else the client writes): one more message; the session's activity is changed."""
    table, session = _found(portal, order | {"table": "session"})
    at = Instant(_at(portal, order))
    guests = [person["ID"] for person in session["USERS"] if person["CONNECTOR"]]
    sender = int(order["user_id"]) if "user_id" in order else guests[0]
    number = max(line["ID"] for row in _rows(table) for line in row["MESSAGES"]) + 1
    line = {"ID": number, "SENDERID": sender, "DATE": at, "TEXT": order.get("text", "")}
    users = session["USERS"]
    if sender not in {person["ID"] for person in users}:
        users = [*users, {"ID": sender, "NAME": "Менеджер", "CONNECTOR": False, "BOT": False}]
    table.put(session | {"MESSAGES": [*session["MESSAGES"], line], "USERS": users})
    activities = _table(portal, "activity")
    for row in _rows(activities):
        if row["PROVIDER_ID"] == "IMOPENLINES_SESSION" and row["ASSOCIATED_ENTITY_ID"] == session["ID"]:
            activities.put(row | {"LAST_UPDATED": at, "END_TIME": at})
    return {"id": number}


def _convert(portal: Portal, order: Json) -> Json:
    """id (a lead), fields of the deal it becomes."""
    lead = _found(portal, order | {"table": "lead"})[1]
    taken = {name: lead[name] for name in ("TITLE", "CONTACT_IDS", "SOURCE_ID") if lead[name]}
    if lead["COMPANY_ID"]:
        taken["COMPANY_ID"] = lead["COMPANY_ID"]
    fields = {**taken, "LEAD_ID": lead["ID"], **order.get("fields", {})}
    deal = _add(portal, order | {"table": "deal", "fields": fields})
    _update(portal, order | {"table": "lead", "fields": {"STATUS_ID": "CONVERTED"}})
    return deal


ORDERS: dict[str, Callable[[Portal, Json], Json]] = {
    "update": _update,
    "move": _move,
    "add": _add,
    "delete": _delete,
    "restore": _restore,
    "merge": _merge,
    "contacts": _contacts,
    "lines": _lines,
    "owner": _owner_of,
    "comment": _comment,
    "message": _message,
    "convert": _convert,
}


# --- stages


def _stage_column(name: str) -> str:
    if name == "lead":
        return "STATUS_ID"
    return "STAGE_ID" if name == "deal" or name.startswith("item:") else ""


def _moved(portal: Portal, order: Json, row: Row, new: Row) -> Row:
    """`new` with what a move between stages brings along; writes the history."""
    at, by = Instant(_at(portal, order)), _by(order)
    name = order["table"]
    stage = _stage_column(name)
    semantics = _semantics(portal, new[stage])
    is_closed = semantics != "P"
    new = new | {"MOVED_TIME": at}
    if name == "lead":
        new |= {"STATUS_SEMANTIC_ID": semantics, "DATE_CLOSED": at if is_closed else None, "MOVED_BY_ID": by}
    elif name == "deal":
        new |= {"STAGE_SEMANTIC_ID": semantics, "CLOSED": is_closed, "CATEGORY_ID": _category(new[stage])}
        new |= {"MOVED_BY_ID": by, "CLOSEDATE": local_day(at) if is_closed else row["CLOSEDATE"]}
    else:
        new |= {"PREVIOUS_STAGE_ID": row[stage], "MOVED_BY": by}
    _record(portal, name, new, at, before=row)
    return new


def _record(portal: Portal, name: str, row: Row, at: int, before: Row | None = None) -> None:
    """A history row: of a creation without `before`."""
    history = _table(portal, f"stagehistory:{_type_id(name)}")
    number, stage = history.next_id, _stage_column(name)
    if name == "lead":
        history.put(lead_turn_row(number, row["ID"], at, row[stage], before[stage] if before else None))
        return

    def place(of: Row) -> Place:
        return Place(of["CATEGORY_ID"], of[stage], _semantics(portal, of[stage]))

    history.put(turn_row(number, row["ID"], at, place(row), place(before) if before else None))


def _semantics(portal: Portal, code: str) -> str:
    """As the directory says; a stage it does not know is an open one."""
    return next((row["SEMANTICS"] or "P" for row in _rows(_table(portal, "status")) if row["STATUS_ID"] == code), "P")


def _category(code: str) -> int:
    prefix, colon, _ = code.partition(":")
    return int(prefix.removeprefix("C")) if colon else 0


# --- rows


def _register(portal: Portal, order: Json, table: Table, row: Row) -> None:
    """A row that comes to be, now, whatever its dates say."""
    name, stage = order["table"], _stage_column(order["table"])
    if name in {"deal", "lead"}:
        semantics = _semantics(portal, row[stage])
        row |= {stage.replace("_ID", "_SEMANTIC_ID"): semantics}
        if name == "deal":
            row |= {"CLOSED": semantics != "P", "CATEGORY_ID": _category(row[stage])}
    table.put(row)
    if stage:
        _record(portal, name, row, _at(portal, order))
    _tell(portal, order, "ADD", row["ID"])


def _erase(portal: Portal, order: Json, table: Table, number: int) -> None:
    table.remove(number)
    if _stage_column(order["table"]):
        history = _table(portal, f"stagehistory:{_type_id(order['table'])}")
        for row_id in history.owned_by(number):
            history.remove(row_id)
    if letter := LETTERS.get(order["table"]):
        lines = _table(portal, "productrow")
        for row_id in lines.owned_by(letter, number):
            lines.remove(row_id)
    _tell(portal, order, "DELETE", number)


def _tell(portal: Portal, order: Json, what: str, number: int) -> None:
    """The event the portal tells its applications."""
    name = order["table"]
    if name in TYPES:
        event = f"ONCRM{name.upper()}{what}"
    elif name.startswith("item:"):
        event = f"ONCRMDYNAMICITEM{what}"
    elif name == "task":
        event = f"ONTASK{what}"
    else:
        return
    portal.events.append((event, _type_id(name), number, _at(portal, order)))


def _type_id(name: str) -> int:
    """Entity type of the rows of a table; 0 where they have none."""
    return int(name.removeprefix("item:")) if name.startswith("item:") else TYPES.get(name, 0)


def _owner(type_id: int, number: int) -> Row:
    return {"OWNER_TYPE_ID": type_id, "OWNER_ID": number}


def _at(portal: Portal, order: Json) -> int:
    return int(order.get("at", portal.now))


def _by(order: Json) -> int:
    return int(order.get("by", office.HEAD))


def _table(portal: Portal, name: str) -> Table:
    table = portal.table(name)
    if table is None:
        raise OrderError(f"no table {name!r}")
    return table


def _found(portal: Portal, order: Json) -> tuple[Table, Row]:
    table = _table(portal, order["table"])
    row = table.get(int(order["id"]))
    if row is None:
        raise OrderError(f"no row {order['id']} in {order['table']}")
    return table, row


def _rows(table: Table) -> Iterator[Row]:
    for number in list(table.ids):
        if (row := table.get(number)) is not None:
            yield row


def _blank(table: Table, at: int, by: int) -> Row:
    """A new row before anybody filled it: the columns of the table's first row."""
    like = table.get(table.ids[0]) if table.ids else None
    return {name: _empty(name, value, at, by) for name, value in (like or {}).items()}


def _empty(name: str, value: Any, at: int, by: int) -> Any:  # noqa: PLR0911 - one for each type of value
    match value:
        case _ if name in UNSET:
            return None
        case _ if name in AUTHORS:
            return by
        case bool():
            return False
        case Instant():
            return Instant(at)
        case Day():
            return local_day(at)
        case Decimal():
            return Decimal(0)
        case list():
            return []
        case dict():
            return {}
        case _:
            return None


def _defaults(name: str, number: int, at: int) -> Row:
    """What a new row of a table has unless the order says otherwise."""
    card: Row = {"OPENED": True, "CURRENCY_ID": CURRENCY}
    items: Row = card | {"TITLE": f"Элемент {number}"}
    defaults: dict[str, Row] = {
        "deal": card | {"TITLE": f"Сделка {number}", "STAGE_ID": "NEW", "TYPE_ID": "SALE", "IS_RECURRING": False},
        "lead": card | {"TITLE": f"Лид {number}", "STATUS_ID": "NEW"},
        "contact": {"NAME": "Новый", "TYPE_ID": "CLIENT", "OPENED": True},
        "company": card | {"TITLE": "Новая", "IS_MY_COMPANY": False},
        "item:31": items | {"STAGE_ID": INVOICE_NEW, "CATEGORY_ID": 1, "ENTITY_TYPE_ID": 31},
        "item:1036": items | {"STAGE_ID": PROCESS_NEW, "CATEGORY_ID": 7},
        "activity": {"TYPE_ID": 6, "STATUS": 1, "PRIORITY": 2, "DIRECTION": 0, "ASSOCIATED_ENTITY_ID": 0,
                     "SUBJECT": "", "DEADLINE": Never, "OWNER_TYPE_ID": 0, "OWNER_ID": 0},
        "call": {"PHONE_NUMBER": "", "CALL_ID": f"externalCall.{number:x}.{at}", "CALL_DURATION": 0, "CALL_TYPE": 2,
                 "CALL_FAILED_CODE": "304", "COST_CURRENCY": "RUR", "PORTAL_NUMBER": "reg133788"},
        "task": {"TITLE": "Задача", "STATUS": 2, "SUB_STATUS": 2, "PRIORITY": 1, "DEADLINE": None, "GROUP_ID": 0},
        "user": {"ACTIVE": True, "USER_TYPE": "employee", "NAME": "Новый", "LAST_NAME": "Сотрудник"},
        "department": {"NAME": f"Отдел {number}", "SORT": 500, "PARENT": 1},
    }  # fmt: skip
    return defaults.get(name, {})


def _typed(name: str, value: Any, like: Any) -> Any:
    """A JSON value as what the column holds; `like` is what it held before."""
    match like:
        case Instant() if isinstance(value, int):
            return Instant(value)
        case Day() if isinstance(value, str):
            return Day(date.fromisoformat(value))
        case Decimal():
            return Decimal(str(value))
    is_instant = name in {"DATE_CLOSED", "CLOSED_DATE", "DEADLINE"} and isinstance(value, int)
    return Instant(value) if is_instant else value
