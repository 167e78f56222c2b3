"""How many rows of each warehouse table a complete sync of the demo company must give.

Rules: a deleted or purged card is in no list, so a first sync never sees it; its events are in the log all the same and
count. A deleted purchase of a customer and a deleted invoice stay in their lists, marked. Values of all custom fields
count, of elements of catalogs too, phones and e-mails among them. Users are those listed, the robot and whoever else is
named only by id; so are loss reasons.
"""

from collections.abc import Iterable

from demo.catalogs import product_values
from demo.model import DELETED, LEAD, MERGED, Company, Contact, Customer, Deal, Firm, Values
from demo.notes import LETTERS


def counts(company: Company) -> dict[str, int]:
    """Rows by table."""
    deals = [deal for deal in company.deals if not deal.deleted_at]
    living = {deal.id for deal in deals}
    contacts = [contact for contact in company.contacts if not contact.deleted_at]
    firms = [firm for firm in company.firms if not firm.deleted_at]
    customers = [customer for customer in company.customers if not customer.deleted_at]
    filled: list[Deal | Customer] = [*deals, *customers]
    tasks = company.tasks.column("deleted_at")
    task_kinds = company.tasks.column("entity_kind")
    cards: list[Contact | Firm] = [*contacts, *firms]
    return {
        "account": 1,
        "department": len(company.groups),
        "user": len(company.users) + 1,
        "user_department": len(company.users),
        "pipeline": len(company.pipelines),
        "stage": sum(len(pipeline.stages) for pipeline in company.pipelines),
        "loss_reason": len(
            {row.id for row in company.loss_reasons} | {deal.loss_reason_id for deal in deals if deal.loss_reason_id}
        ),
        "source": len({deal.source_id for deal in deals if deal.source_id}),
        "field_def": len(company.fields),
        "field_enum": sum(len(field.enums) for field in company.fields),
        "field_required": sum(len(field.required) for field in company.fields),
        "field_value": sum(_values(card.values) for card in filled)
        + sum(map(_card_values, cards))
        + sum(_values(product_values(product)) for product in company.products)
        + sum(_values(invoice.values) for invoice in company.invoices),
        "entity_tag": _tags(company, deals) + _tags(company, cards) + _tags(company, customers),
        "deal": len(deals),
        "deal_item": sum(len(deal.items) for deal in deals),
        "product": len(company.products),
        "invoice": len(company.invoices),
        "deal_invoice": sum(invoice.deal_id in living for invoice in company.invoices),
        "deal_contact": sum(len(deal.contact_ids) for deal in deals),
        "company": len(firms),
        "customer": len(customers),
        "payment": len(company.purchases),
        "request": len(company.requests),
        "contact": len(contacts),
        "client_phone": sum(len({phone_key(phone) for phone in card.phones}) for card in cards),
        "client_email": sum(len({email.strip().lower() for email in card.emails}) for card in cards),
        "task": sum(1 for deleted_at in tasks if not deleted_at),
        "task_link": sum(1 for deleted_at, kind in zip(tasks, task_kinds, strict=True) if kind and not deleted_at),
        "task_type": len(company.task_types),
        "call": len(company.calls),
        "message": len(company.messages) + sum(note.note_type in LETTERS for note in company.notes),
        "chat": len(company.talks),
        "activity": sum(note.note_type not in LETTERS for note in company.notes),
        "deal_stage_transition": sum(company.moves.column("is_logged")),
        "deal_owner_change": sum(1 for kind in company.owner_changes.column("entity_kind") if kind == LEAD),
        "deal_amount_change": len(company.price_changes),
        "merge_link": _merges(company),
    }


def phone_key(written: str) -> str:
    """Equal for spellings of one Russian number; what is no number stands for itself."""
    digits = "".join(filter(str.isdigit, written))
    return f"7{digits[-10:]}" if len(digits) in {10, 11} else written


def _values(values: Values) -> int:
    return sum(len(items) for _, items in values)


def _card_values(card: Contact | Firm) -> int:
    return _values(card.values) + len(card.phones) + len(card.emails)


def _tags(company: Company, cards: Iterable[Deal | Contact | Firm | Customer]) -> int:
    """Tags by visible name: two ids of one name are one row."""
    names = {tag.id: tag.name for tags in company.tags.values() for tag in tags}
    return sum(len({names[tag] for tag in card.tags}) for card in cards)


def _merges(company: Company) -> int:
    """Merges with evidence: a deletion of the same kind of card, in the same second, by the same user."""
    seen = {(e.entity_kind, e.at, e.by_user_id): e.what for e in company.card_events if e.what == DELETED}
    return sum((e.entity_kind, e.at, e.by_user_id) in seen for e in company.card_events if e.what == MERGED)
