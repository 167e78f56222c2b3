"""Changes people make in the emulated account: each alters cards and writes the events amoCRM would write.

`mutate(account, order)` takes `{"op": …}`; what an operation needs stands in `OPERATIONS`. The instant is the account's
clock unless the order has an `at`.
"""

from collections.abc import Callable
from typing import Any

from demo import office
from demo.amocrm_account import Account, pending_lead
from demo.amocrm_events import NAMES, NOTE_EVENTS, body
from demo.amocrm_store import Table
from demo.model import (
    COMPANY,
    CONTACT,
    CUSTOMER,
    LEAD,
    CallNote,
    Contact,
    Customer,
    Deal,
    Firm,
    Purchase,
    Talk,
    Task,
    TextNote,
)
from demo.office import LOST, WON

Json = dict[str, Any]
KIND_OF = {"leads": LEAD, "contacts": CONTACT, "companies": COMPANY, "customers": CUSTOMER}


class OrderError(Exception):
    """The order cannot be carried out; the text says why."""


def mutate(account: Account, order: Json) -> Json:
    """Carry out one order; returns ids that came of it."""
    name = order.get("op")
    if name not in OPERATIONS:
        raise OrderError(f"unknown op {name!r}, know {', '.join(sorted(OPERATIONS))}")
    try:
        return OPERATIONS[name](account, order)
    except KeyError as missing:
        raise OrderError(f"op {name} needs {missing}") from missing


def _at(account: Account, order: Json) -> int:
    return int(order.get("at", account.now))


def _by(order: Json) -> int:
    return int(order.get("by", office.HEAD))


def _table(account: Account, order: Json) -> tuple[str, int, Table]:
    entity = order["entity"]
    table = account.card_table(entity)
    if table is None:
        raise OrderError(f"no entity {entity!r}")
    return entity, KIND_OF[entity], table


def _row(table: Table, number: Any) -> Any:
    row = table.get(int(number))
    if row is None:
        raise OrderError(f"no card {number}")
    return row


def _create(account: Account, order: Json) -> Json:
    """entity, and any fields of the card; a lead may name pipeline_id, stage_id, contact_ids, company_id, price."""
    entity, kind, table = _table(account, order)
    at, by = int(order.get("created_at", _at(account, order))), _by(order)
    number = table.next_id
    user = int(order.get("user_id", by))
    fields = order.get("fields", {})
    row: Any
    if entity == "leads":
        pipeline = int(order.get("pipeline_id", office.SALES))
        stage = int(order.get("stage_id", office.OPEN_STAGES[pipeline][0]))
        contacts = tuple(order.get("contact_ids", ()))
        closed_at = at if stage in {WON, LOST} else 0
        row = Deal(
            number, -1, order.get("name", f"Сделка {number}"), order.get("price", 0), user, pipeline, stage, pipeline,
            stage, 0, 0, by, at, at, closed_at, int(order.get("company_id", 0)), contacts, next(iter(contacts), 0),
            False, (), (), (),
        )  # fmt: skip
    elif entity == "contacts":
        phones, emails = tuple(order.get("phones", ())), tuple(order.get("emails", ()))
        company_id = int(order.get("company_id", 0))
        row = Contact(number, order.get("name", "Новый"), "", user, company_id, at, by, at, phones, emails, (), ())
    elif entity == "customers":
        status, segment = office.CUSTOMER_STATUSES[0].id, office.SEGMENTS[0].id
        contact_id, company_id = int(order.get("contact_id", 0)), int(order.get("company_id", 0))
        row = Customer(
            number, f"Покупатель {number}", contact_id, company_id, user, status, segment, 0, 0, by, at, at, (), ()
        )
    else:
        phones = tuple(order.get("phones", ()))
        row = Firm(number, order.get("name", "Новая"), user, at, by, at, phones, (), (), ())
    table.put(row._replace(**fields))
    if order.get("event", True):
        account.events.add(f"{NAMES[kind]}_added", at, body(NAMES[kind], number, by, after=[{"note": {"id": number}}]))
    return {"id": number}


def _edit(account: Account, order: Json) -> Json:
    """entity, id, fields: any columns of the card. Price and responsible user leave events."""
    _, kind, table = _table(account, order)
    row, at, by = _row(table, order["id"]), _at(account, order), _by(order)
    fields = {name: tuple(value) if isinstance(value, list) else value for name, value in order["fields"].items()}
    new = row._replace(**{"updated_at": at, **fields})
    if "price" in fields and fields["price"] != row.price:
        after, before = [{"sale_field_value": {"sale": new.price}}], [{"sale_field_value": {"sale": row.price}}]
        account.events.add("sale_field_changed", at, body("lead", row.id, by, after=after, before=before))
    if "user_id" in fields and fields["user_id"] != row.user_id:
        after, before = [{"responsible_user": {"id": new.user_id}}], [{"responsible_user": {"id": row.user_id}}]
        account.events.add("entity_responsible_changed", at, body(NAMES[kind], row.id, by, after=after, before=before))
    table.put(new)
    return {"id": row.id}


def _move(account: Account, order: Json) -> Json:
    """id, stage_id, pipeline_id (else the present one), loss_reason_id."""
    row, at, by = _row(account.leads, order["id"]), _at(account, order), _by(order)
    pipeline, stage = int(order.get("pipeline_id", row.pipeline_id)), int(order["stage_id"])
    is_closed = stage in {WON, LOST}
    if not is_closed and row.closed_at:
        account.painter.last_closed[row.id] = row.closed_at
    account.leads.put(
        row._replace(
            pipeline_id=pipeline,
            stage_id=stage,
            updated_at=at,
            closed_at=at if is_closed else 0,
            loss_reason_id=int(order.get("loss_reason_id", 0)) if stage == LOST else 0,
        )
    )
    after = [{"lead_status": {"id": stage, "pipeline_id": pipeline}}]
    before = [{"lead_status": {"id": row.stage_id, "pipeline_id": row.pipeline_id}}]
    account.events.add("lead_status_changed", at, body("lead", row.id, by, after=after, before=before))
    return {"id": row.id}


def _delete(account: Account, order: Json) -> Json:
    """entity, id: into the trash. Tasks too, though they have none."""
    at, by = _at(account, order), _by(order)
    if order["entity"] == "tasks":
        task = _row(account.tasks, order["id"])
        account.tasks.put(task._replace(deleted_at=at))
        account.events.add("task_deleted", at, body("task", task.id, by))
        return {"id": task.id}
    _, kind, table = _table(account, order)
    row = _row(table, order["id"])
    table.put(row._replace(deleted_at=at))
    if order.get("event", True):
        account.events.add(f"{NAMES[kind]}_deleted", at, body(NAMES[kind], row.id, by))
    return {"id": row.id}


def _purge(account: Account, order: Json) -> Json:
    """entity, id: out of the trash for good, without a trace."""
    _, _, table = _table(account, order)
    row = _row(table, order["id"])
    at = _at(account, order)
    table.put(row._replace(deleted_at=row.deleted_at or at, purged=True))
    return {"id": row.id}


def _restore(account: Account, order: Json) -> Json:
    """entity, id: back from the trash."""
    _, kind, table = _table(account, order)
    row, at = _row(table, order["id"]), _at(account, order)
    is_bumped = account.switches.restore_bumps_updated_at
    table.put(row._replace(deleted_at=0, purged=False, updated_at=at if is_bumped else row.updated_at))
    account.events.add(f"{NAMES[kind]}_restored", at, body(NAMES[kind], row.id, _by(order)))
    return {"id": row.id}


def _merge(account: Account, order: Json) -> Json:
    """entity, id (loser), into_id (winner). Deals, tasks and (by switch) notes go over to the winner."""
    _, kind, table = _table(account, order)
    loser, winner = _row(table, order["id"]), _row(table, order["into_id"])
    at, by = _at(account, order), _by(order)
    table.put(loser._replace(deleted_at=at, updated_at=at, purged=True))
    table.put(winner._replace(updated_at=at))
    if kind in {CONTACT, COMPANY}:
        for number in list(account.linked(kind, loser.id)):
            deal = _row(account.leads, number)
            if kind == CONTACT:
                contacts = tuple(dict.fromkeys(winner.id if i == loser.id else i for i in deal.contact_ids))
                main = winner.id if deal.main_contact_id == loser.id else deal.main_contact_id
                account.leads.put(deal._replace(contact_ids=contacts, main_contact_id=main))
            else:
                account.leads.put(deal._replace(company_id=winner.id))
    _move_along(account.tasks, kind, loser.id, winner.id)
    if account.switches.merge_moves_notes:
        _move_along(account.notes[kind], kind, loser.id, winner.id)
    account.events.add("entity_merged", at, body(NAMES[kind], winner.id, by))
    if account.switches.merge_emits_delete:
        account.events.add(f"{NAMES[kind]}_deleted", at, body(NAMES[kind], loser.id, by))
    return {"id": winner.id}


def _move_along(table: Table, kind: int, from_id: int, into_id: int) -> None:
    for number in list(table.ids):
        row = table.get(number)
        if row is not None and row.entity_kind == kind and row.entity_id == from_id:
            table.put(row._replace(entity_id=into_id))


def _note(account: Account, order: Json) -> Json:
    """entity, id, text (a common note), or note_type with params."""
    entity, kind, table = _table(account, order)
    row, at, by = _row(table, order["id"]), _at(account, order), _by(order)
    number = max(notes.next_id for notes in account.notes.values())
    params = order.get("params", {"text": order.get("text", "")})
    note_type = order.get("note_type", "common")
    account.notes[kind].put(TextNote(number, kind, row.id, at, at, by, by, note_type, params))
    if name := NOTE_EVENTS.get(note_type):
        account.events.add(name, at, body(NAMES[kind], row.id, by, after=[{"note": {"id": number}}]))
    if account.switches.notes_bump_updated_at:
        account.card_table(entity).put(row._replace(updated_at=at))  # type: ignore[union-attr]
    return {"id": number}


def _call(account: Account, order: Json) -> Json:
    """entity, id, is_in, duration, status, phone, uniq (a number), created_at: a call note."""
    entity, kind, table = _table(account, order)
    row, at, by = _row(table, order["id"]), _at(account, order), _by(order)
    number = max(notes.next_id for notes in account.notes.values())
    user = int(order.get("user_id", by))
    created_at, is_in = int(order.get("created_at", at)), int(order.get("is_in", 1))
    account.notes[kind].put(
        CallNote(
            number, kind, row.id, created_at, at, user, user, 0, is_in, int(order.get("duration", 0)),
            int(order.get("status", 0)), int(order.get("phone", 0)), int(order.get("uniq", 0)),
            int(order.get("provider", 0)), int(order.get("style", 0)),
        )
    )  # fmt: skip
    name = "incoming_call" if is_in else "outgoing_call"
    account.events.add(name, created_at, body(NAMES[kind], row.id, user, after=[{"note": {"id": number}}]))
    if account.switches.notes_bump_updated_at:
        account.card_table(entity).put(row._replace(updated_at=at))  # type: ignore[union-attr]
    return {"id": number}


def _task(account: Account, order: Json) -> Json:
    """entity, id, due_at, type_id, user_id; or task_id with completed: true to finish one."""
    at, by = _at(account, order), _by(order)
    if "task_id" in order:
        task = _row(account.tasks, order["task_id"])
        account.tasks.put(task._replace(completed_at=at, updated_at=at))
        account.events.add("task_completed", at, body("task", task.id, by))
        return {"id": task.id}
    number = account.tasks.next_id
    kind = KIND_OF.get(order.get("entity", ""), 0)
    entity_id = int(order.get("id", 0)) if kind else 0
    user, due_at = int(order.get("user_id", by)), int(order.get("due_at", at + 86_400))
    type_id = int(order.get("type_id", 1))
    account.tasks.put(Task(number, kind, entity_id, type_id, user, by, at, at, due_at, 0, 1, 0, 0, 0))
    account.events.add("task_added", at, body("task", number, by))
    return {"id": number}


def _tag(account: Account, order: Json) -> Json:
    """entity, id, name."""
    _, kind, table = _table(account, order)
    row, at = _row(table, order["id"]), _at(account, order)
    tags = account.painter.extra_tags.setdefault((kind, row.id), [])
    tags.append({"id": 390_000 + len(account.painter.extra_tags), "name": order["name"], "color": None})
    table.put(row._replace(updated_at=at) if account.switches.tags_bump_updated_at else row)
    after = [{"tag": {"name": order["name"]}}]
    account.events.add("entity_tag_added", at, body(NAMES[kind], row.id, _by(order), after=after))
    return {"id": row.id}


def _link(account: Account, order: Json) -> Json:
    """id (a lead), contact_id: link a contact; `is_main` makes it the main one."""
    deal, at = _row(account.leads, order["id"]), _at(account, order)
    contact_id = int(order["contact_id"])
    contacts = (*deal.contact_ids, *(() if contact_id in deal.contact_ids else (contact_id,)))
    main = contact_id if order.get("is_main") or not deal.main_contact_id else deal.main_contact_id
    new = deal._replace(contact_ids=contacts, main_contact_id=main)
    account.leads.put(new._replace(updated_at=at) if account.switches.links_bump_updated_at else new)
    ends = [("lead", deal.id), ("contact", contact_id)]
    if account.switches.link_told_of == "contact":
        ends.reverse()
    (told_of, (kind, number)) = ends
    after = [{"link": {"entity": {"type": kind, "id": number}}}]
    account.events.add("entity_linked", at, body(*told_of, _by(order), after=after))
    return {"id": deal.id}


def _message(account: Account, order: Json) -> Json:
    """contact_id, id (a lead, may be absent), is_in, talk_id: a chat message."""
    at = _at(account, order)
    contact_id, lead_id = int(order["contact_id"]), int(order.get("id", 0))
    value: Json = {"id": f"00000000-0000-4000-b001-{len(account.events.extras):012d}"}
    if account.switches.chat_event_value != "id":
        value |= {"talk_id": int(order.get("talk_id", 0)), "origin": "telegram"}
    entity = ("lead", lead_id) if lead_id else ("contact", contact_id)
    by = 0 if order.get("is_in", True) else _by(order)
    found = body(*entity, by, after=[{"message": value}])
    if lead_id:
        found["linked_talk_contact_id"] = contact_id
    account.events.add("incoming_chat_message" if order.get("is_in", True) else "outgoing_chat_message", at, found)
    return {"id": value["id"]}


def _purchase(account: Account, order: Json) -> Json:
    """id (a customer), price; or purchase_id with fields to change, or with deleted: true."""
    at, by, table = _at(account, order), _by(order), account.purchases
    if "purchase_id" in order:
        row = _row(table, order["purchase_id"])
        changes = {"deleted_at": at} if order.get("deleted") else order.get("fields", {})
        table.put(row._replace(**{"updated_at": at, **changes}))
        return {"id": row.id}
    customer, number = _row(account.customers, order["id"]), table.next_id
    table.put(Purchase(number, customer.id, int(order["price"]), by, at, at, at))
    after = [{"transaction": {"id": number}}]
    account.events.add("transaction_added", at, body("customer", customer.id, by, after=after))
    return {"id": number}


def _request(account: Account, order: Json) -> Json:
    """uid (else the oldest that waits), accepted: true makes its cards ordinary ones, false deletes its lead."""
    uid = order.get("uid") or next(iter(account.requests), None)
    if uid not in account.requests:
        raise OrderError(f"no request {uid!r}")
    at, by, request = _at(account, order), _by(order), account.requests.pop(uid)
    lead = account.leads.get(request.deal_id) or pending_lead(request)
    if not order["accepted"]:
        account.leads.put(lead._replace(deleted_at=at, updated_at=at))
        account.events.add("lead_deleted", at, body("lead", lead.id, by))
        return {"uid": uid, "id": lead.id}
    phones = (f"+{request.phone}",)
    contact = Contact(request.contact_id, "Новый", "", by, 0, request.created_at, 0, at, phones, (), (), ())
    stage = office.OPEN_STAGES[lead.pipeline_id][0]
    account.contacts.put(contact)
    account.leads.put(
        lead._replace(user_id=by, stage_id=stage, updated_at=at, contact_ids=(contact.id,), main_contact_id=contact.id)
    )
    after = [{"lead_status": {"id": stage, "pipeline_id": lead.pipeline_id}}]
    before = [{"lead_status": {"id": lead.stage_id, "pipeline_id": lead.pipeline_id}}]
    is_move = account.switches.accept_event == "lead_status_changed"
    changed = body("lead", lead.id, by, after=after, before=before) if is_move else body("lead", lead.id, by)
    account.events.add(account.switches.accept_event, at, changed)
    return {"uid": uid, "id": lead.id}


def _talk(account: Account, order: Json) -> Json:
    """talk_id of one that is closed or (`is_in_work`) taken up again; else contact_id, and id of a lead: a new one."""
    at, is_in_work = _at(account, order), int(order.get("is_in_work", "talk_id" not in order))
    if "talk_id" in order:
        talk = _row(account.talks, order["talk_id"])._replace(updated_at=at, is_in_work=is_in_work)
    else:
        contact_id, lead_id = int(order["contact_id"]), int(order.get("id", 0))
        talk = Talk(account.talks.next_id, contact_id, lead_id, at, at, 0, is_in_work, 0, 0, 0)
    account.talks.put(talk)
    return {"id": talk.id}


def _event(account: Account, order: Json) -> Json:
    """type, entity_type, id, value_after, value_before: a bare event, for what no operation does."""
    found = body(order["entity_type"], int(order["id"]), _by(order))
    found |= {"value_after": order.get("value_after", []), "value_before": order.get("value_before", [])}
    account.events.add(order["type"], _at(account, order), found)
    return {"id": order["id"]}


OPERATIONS: dict[str, Callable[[Account, Json], Json]] = {
    "create": _create,
    "edit": _edit,
    "move": _move,
    "delete": _delete,
    "purge": _purge,
    "restore": _restore,
    "merge": _merge,
    "note": _note,
    "call": _call,
    "task": _task,
    "tag": _tag,
    "link": _link,
    "message": _message,
    "talk": _talk,
    "purchase": _purchase,
    "request": _request,
    "event": _event,
}
