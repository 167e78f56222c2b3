"""Smart invoices and what was paid of them.

https://apidocs.bitrix24.ru/api-reference/crm/universal/invoice.html
https://apidocs.bitrix24.ru/api-reference/crm/universal/payment/crm-item-payment-list.html
"""

from collections.abc import Iterator
from typing import Any

from connectors.bitrix24.deals import contacts_of, created
from connectors.bitrix24.fields import field_values
from connectors.bitrix24.reading import DEAL, INVOICE, Reading, prefixed
from connectors.bitrix24.values import code_of, day, flag, moment, text
from connectors.errors import Phrase
from connectors.money import currency_code, to_minor
from connectors.paging import Json, as_list, as_object
from connectors.records import FieldValue, Invoice, OwnedSet, Payment, Yield

COLUMNS = (
    "id", "title", "accountNumber", "categoryId", "stageId", "stageSemanticId", "opportunity", "currencyId",
    "begindate", "closedate", "companyId", "contactId", "contactIds", f"parentId{DEAL}", "createdTime", "updatedTime",
)  # fmt: skip
STATUSES: dict[str, Any] = {"won": "paid", "lost": "cancelled"}
"""Status by the kind of the stage an invoice stands at; in between it is to be paid."""


def invoice_records(invoice: Json, reading: Reading, raw_hash: str) -> Iterator[Yield]:
    """An invoice with its custom values and `payments`: what was asked for it."""
    invoice_id = f"invoice:{invoice['id']}"
    currency = currency_code(invoice["currencyId"]) if invoice.get("currencyId") else reading.currency
    amount_minor = to_minor(invoice.get("opportunity"), currency)
    if amount_minor is None:
        reading.notice(Phrase("invoices without an amount count as 0"))
    semantics = invoice.get("stageSemanticId")
    place = reading.stage(INVOICE, invoice.get("categoryId"), code_of(invoice["stageId"]), semantics)
    status = STATUSES.get(reading.kind(place, semantics))
    payments = [as_object(payment) for payment in as_list(invoice.get("payments"))]
    is_begun = any(flag(payment.get("paid")) for payment in payments)
    links = links_of(invoice)
    yield Invoice(
        account_id=reading.account_id,
        source_updated_at=moment(invoice.get("updatedTime")),
        raw_hash=raw_hash,
        invoice_id=invoice_id,
        **links,
        number=text(invoice.get("accountNumber")) or text(invoice.get("title")),
        issued_on=day(invoice.get("begindate")) or created(invoice).astimezone(reading.zone).date(),
        due_on=day(invoice.get("closedate")),
        amount_minor=amount_minor or 0,
        currency=currency,
        status=status or ("partially_paid" if is_begun else "issued"),
    )
    values = field_values(invoice, invoice_id, INVOICE, reading, raw_hash)
    yield OwnedSet(FieldValue, reading.account_id, invoice_id, Invoice, values)
    for payment in payments:
        yield from payment_records(payment, {"invoice_id": invoice_id, **links}, reading, raw_hash)


def links_of(invoice: Json) -> Json:
    contacts = contacts_of(invoice)
    return {
        "deal_id": prefixed("deal", invoice.get(f"parentId{DEAL}")),
        "contact_id": contacts[0] if contacts else None,
        "company_id": prefixed("company", invoice.get("companyId")),
    }


def payment_records(payment: Json, links: Json, reading: Reading, raw_hash: str) -> Iterator[Payment]:
    """A payment of an invoice. One that is not made yet has no time: it is only in the raw copy of its invoice."""
    paid_at = moment(payment.get("datePaid"))
    currency = currency_code(text(payment.get("currency")) or reading.currency)
    amount_minor = to_minor(payment.get("sum"), currency)
    if paid_at is not None and amount_minor is not None:
        yield Payment(
            account_id=reading.account_id,
            raw_hash=raw_hash,
            payment_id=f"payment:{payment['id']}",
            **links,
            paid_at=paid_at,
            amount_minor=amount_minor,
            currency=currency,
            direction="income",
            is_planned=flag(payment.get("paid")) is not True,
        )
