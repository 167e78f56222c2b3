"""What must be found in the Bitrix24 copy of the demo company, and what that copy cannot supply.

The metrics' answers are those of `demo.answer_key`, which are of the company and of no CRM; only the ids in them are
others. Row counts follow from what was planted by the rules of `bitrix24.md`, and from no painted row.
"""

import re
from collections.abc import Mapping
from typing import Any

from demo import office
from demo.answer_key import answer_key as of_company
from demo.bitrix24_past import is_meeting
from demo.bitrix24_portal import INSTALLED_EVERY
from demo.bitrix24_setup import (
    CARDS,
    CATEGORIES,
    DEAL_TYPE,
    INVOICE_STAGES,
    LEAD_STATUSES,
    LOSS_FIELD,
    PLACES,
    PROCESS_STAGES,
    UNSORTED,
    user_fields,
)
from demo.catalogs import BILL_STATUS, CREATED
from demo.counts import phone_key
from demo.model import DAY, DOUBLE, LEAD, Company, Contact, Deal, Firm, Invoice
from demo.notes import LETTERS
from demo.office import SALES, WON

CANNOT_SUPPLY = {
    "deal_owner_change": "2.4: owner history is not in REST; the present owner stands for all times",
    "deal_amount_change": "2.4: amount history is not in REST; the present amount stands for all times",
    "deal.restored_at": "5.2: a restored deal is a new one; the company's restored deals have never been away here",
    "deleted cards": "2.4: an item disappears; what was deleted before the first sync never was, nor was its history",
    "merge_link of contacts and companies": "5.3: a merge leaves no trace in REST; links are of converted leads",
    "deal_stage_transition.by_user_id": "2.4: the stage history has no author",
    "stage of kind unsorted": "2.4: what comes in is a lead; its time unsorted is the lead's, not the deal's",
    "entity_tag": "cards have no tags in REST",
    "field_required": "user fields name no stage from which they are mandatory",
    "customer": "there are no customers beside contacts and companies, so none of their purchases either",
    "payment": "payments are of invoices; amoCRM's bills have none, its payments are purchases of customers",
    "deal_invoice": "an invoice names its deal itself (parentId2)",
    "task_type": "tasks have no types: a task to meet on a card is an activity, all others are of one kind",
    "tasks to meet on deleted deals": "activities vanish with their card",
    "request": "2.4: a request is a lead; only one that came through a form has an activity that says so",
    "call": "a PBX registers a call once: no doubles",
    "call_episode.is_voicemail": "2.4: no code says voice mail; it is a missed call",
    "call_episode.talk_s": "a double may differ by a second in amoCRM; a talk not measured is a 0 here",
    "source": "the directory lists all sources, not only those of deals",
}
"""By table or column: what differs from the amoCRM copy, and the section of the reference (or the reason) why."""


def answer_key(company: Company) -> dict[str, Any]:
    """`demo.answer_key` with the ids and the row counts of the Bitrix24 copy."""
    key: dict[str, Any] = translated(of_company(company))
    return key | {"counts": counts(company)}


STAGE_IDS = {
    f"status:{stage_id}": f"stage:{place.code}" for (_, stage_id), place in PLACES.items() if place.semantics == "P"
}
"""Open stages; 142 and 143 are of every pipeline, so nothing says which stages of ours they are."""
FIELD_IDS = {
    f"field:{field.id}": f"field:{CARDS[field.entity]}:UF_CRM_{field.id}"
    for field in office.FIELDS
    if field.entity in CARDS
}
PIPELINE_IDS = {f"pipeline:{number}": f"pipeline:{DEAL_TYPE}:{category}" for number, category in CATEGORIES.items()}


def translated(value: Any) -> Any:
    """A part of a key, or of an answer, with Bitrix24's ids for amoCRM's."""
    if isinstance(value, Mapping):
        return {translated(name): translated(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(translated, value))
    return "|".join(map(_id, value.split("|"))) if isinstance(value, str) else value


def _id(text: str) -> str:
    """An id; whatever else stays as it is."""
    known = STAGE_IDS.get(text) or PIPELINE_IDS.get(text) or FIELD_IDS.get(text)
    return known or re.sub(r"^lead:(?=\d)", "deal:", re.sub(r"^loss_reason:", f"loss:field:{LOSS_FIELD}:", text))


def counts(company: Company) -> dict[str, int]:
    """Rows by table, of a complete first sync that reads comments and product rows."""
    deals = [deal for deal in company.deals if not deal.deleted_at]
    from_leads = [deal for deal in deals if deal.first_stage_id in UNSORTED]
    contacts = [card for card in company.contacts if not card.deleted_at]
    firms = [card for card in company.firms if not card.deleted_at]
    bills = [invoice for invoice in company.invoices if not invoice.deleted_at]
    installed = [deal for deal in deals if _is_installed(deal)]
    n_leads = len(from_leads) + len(company.requests)
    fields = {card: {f.id for f in user_fields(company, card)} for card in ("deal", "contact", "company")}
    values = [
        *(value for deal in deals for value in deal.values if value[0] in fields["deal"]),
        *(value for card in contacts for value in card.values if value[0] in fields["contact"]),
        *(value for card in firms for value in card.values if value[0] in fields["company"]),
    ]
    clients: list[Contact | Firm] = [*contacts, *firms]
    phones = sum(len({phone_key(phone) for phone in card.phones}) for card in clients)
    tasks, n_links = _tasks(company)
    pipelines = [[stage for stage in pipeline.stages if stage.kind != "unsorted"] for pipeline in company.pipelines]
    return {
        "account": 1,
        "department": 1 + len(company.groups),
        "user": len(company.users) + 1,
        "user_department": len(company.users),
        "pipeline": len(pipelines) + 3,  # of leads, invoices and the smart process
        "stage": sum(map(len, pipelines)) + 1 + len(LEAD_STATUSES) + len(INVOICE_STAGES) + len(PROCESS_STAGES),
        "loss_reason": len(pipelines)
        + 2  # failure stages are reasons too, also that of leads and the second of the first pipeline
        + len({row.id for row in company.loss_reasons} | {deal.loss_reason_id for deal in deals} - {0}),
        "source": len(company.sources),
        "field_def": sum(map(len, fields.values())) + 1,
        "field_enum": sum(len(f.enums) for f in company.fields if f.id in set().union(*fields.values()))
        + len(company.loss_reasons),
        "field_required": 0,
        "field_value": sum(len(items) for _, items in values) + sum(bool(deal.loss_reason_id) for deal in deals),
        "entity_tag": 0,
        "deal": len(deals) + n_leads,
        "deal_item": sum(len(deal.items) for deal in deals),
        "product": len(company.products),
        "invoice": len(bills),
        "deal_invoice": 0,
        "deal_contact": sum(len(deal.contact_ids) for deal in deals)
        + sum(bool(deal.main_contact_id) for deal in from_leads),
        "company": len(firms) + 1,
        "customer": 0,
        "payment": sum(_status(invoice) != CREATED for invoice in bills),
        "request": sum(request.category == "forms" for request in company.requests),
        "contact": len(contacts),
        "client_phone": phones + len(company.requests),
        "client_email": sum(len({email.strip().lower() for email in card.emails}) for card in clients),
        "task": tasks,
        "task_link": n_links,
        "task_type": 0,
        "call": sum(role != DOUBLE for role in company.calls.column("role")),
        "message": len(company.messages)
        + len(company.talks)  # the line greets in each session
        + sum(note.note_type in LETTERS for note in company.notes),
        "chat": len(company.talks),
        "activity": sum(note.note_type not in LETTERS for note in company.notes),
        "deal_stage_transition": _transitions(company, deals)
        + 2 * len(from_leads)
        + len(company.requests)
        + len(deals)
        + n_leads,  # where each stands is a snapshot
        "deal_owner_change": 0,
        "deal_amount_change": 0,
        "merge_link": len(from_leads),
        "process_item": len(installed),
        "process_item_transition": sum(1 + (deal.closed_at + 10 * DAY < company.now) for deal in installed),
    }


def _is_installed(deal: Deal) -> bool:
    return deal.stage_id == WON and deal.pipeline_id == SALES and deal.id % INSTALLED_EVERY == 0


def _transitions(company: Company, deals: list[Deal]) -> int:
    """Each deal's beginning and its moves; that a lead is taken up is the beginning."""
    alive = {deal.id for deal in deals}
    moves = [move for move in company.moves if move.deal_id in alive]
    return len(deals) + sum(move.from_stage_id not in UNSORTED for move in moves)


def _tasks(company: Company) -> tuple[int, int]:
    """Tasks and meetings, and how many of them hang on a card."""
    gone = {deal.id for deal in company.deals if deal.deleted_at}
    there = [
        task
        for task in company.tasks
        if not task.deleted_at and not (is_meeting(task) and task.entity_kind == LEAD and task.entity_id in gone)
    ]
    return len(there), sum(bool(task.entity_kind) for task in there)


def _status(invoice: Invoice) -> Any:
    return dict(invoice.values)[BILL_STATUS][0]
