"""Catalogs of the demo account: what is sold, and the invoices of its deals."""

from collections.abc import Sequence
from random import Random
from typing import Any

from demo import office, words
from demo.model import DAY, Deal, Field, Invoice, Named, Product, Values

PRODUCTS_ID, INVOICES_ID = office.CATALOG_ID, 5602
CATALOGS = [Named(PRODUCTS_ID, "Товары", "products"), Named(INVOICES_ID, "Счета", "invoices")]
SKU, PRICE, GROUP = range(790_001, 790_004)
BILL_STATUS, BILL_PRICE, PAYER, ITEMS, PAID_ON = range(791_001, 791_006)
STATUSES = (
    (1_301, "Создан", "created"),
    (1_302, "Оплачен", "paid"),
    (1_303, "Частично оплачен", "partially_paid"),
    (1_304, "Оплачен авансом", "paid_in_advance"),
)
CREATED, PAID, PARTLY, IN_ADVANCE = (number for number, _, _ in STATUSES)
_OF_PRODUCTS, _OF_INVOICES = f"catalogs/{PRODUCTS_ID}", f"catalogs/{INVOICES_ID}"
FIELDS = [
    Field(SKU, _OF_PRODUCTS, "Артикул", "text", "SKU"),
    Field(PRICE, _OF_PRODUCTS, "Цена", "price", "PRICE"),
    Field(GROUP, _OF_PRODUCTS, "Группа", "category", "GROUP", tuple((n, name, "") for n, name in words.GOOD_GROUPS)),
    Field(BILL_STATUS, _OF_INVOICES, "Статус", "select", "BILL_STATUS", STATUSES),
    Field(BILL_PRICE, _OF_INVOICES, "Итоговая сумма", "numeric", "BILL_PRICE"),
    Field(PAYER, _OF_INVOICES, "Плательщик", "payer", "PAYER"),
    Field(ITEMS, _OF_INVOICES, "Позиции", "items", "ITEMS"),
    Field(PAID_ON, _OF_INVOICES, "Дата оплаты", "date_time", "BILL_PAYMENT_DATE"),
]
"""Custom fields of elements, by the path of their catalog."""
FIRST_INVOICE = 5_600_001


def product_values(product: Product) -> Values:
    return ((SKU, (product.sku,)), (PRICE, (str(product.price),)), (GROUP, (1_200 + product.group,)))


def make_invoices(rng: Random, deals: Sequence[Deal], *, n: int, now: int) -> list[Invoice]:
    """`n` invoices: one or two of a deal with a price, some of none, a few deleted."""
    priced = [deal for deal in deals if deal.price and not deal.deleted_at and not deal.is_imported]
    invoices: list[Invoice] = []
    while priced and len(invoices) < n:
        deal = rng.choice(priced)
        for _ in range(1 if rng.random() < 0.85 else 2):
            invoices.append(_invoice(rng, deal, FIRST_INVOICE + len(invoices), now=now))
    return invoices[:n]


def _invoice(rng: Random, deal: Deal, number: int, *, now: int) -> Invoice:
    created_at = deal.created_at + rng.randrange(max(min(20 * DAY, now - deal.created_at - 60), 1))
    status = rng.choices((CREATED, PAID, PARTLY, IN_ADVANCE), (30, 55, 10, 5))[0]
    values: list[tuple[int, tuple[Any, ...]]] = [(BILL_STATUS, (status,))]
    if rng.random() < 0.8:
        values.append((BILL_PRICE, (str(deal.price),)))
    payer = _payer(rng, deal)
    if payer:
        values.append((PAYER, (payer,)))
    values.append((ITEMS, tuple(_line(product, rng.randrange(1, 4)) for product in rng.sample(office.PRODUCTS, 2))))
    if status in (PAID, IN_ADVANCE):
        values.append((PAID_ON, (min(created_at + rng.randrange(10 * DAY), now - 60),)))
    fate = rng.random()  # deleted ones and those of no deal
    deleted_at = min(created_at + DAY, now - 60) if fate < 0.03 else 0
    deal_id = 0 if fate < 0.08 else deal.id
    return Invoice(
        number, f"Счёт {number - FIRST_INVOICE + 1}", deal_id, created_at, created_at, tuple(values), deleted_at
    )


def _payer(rng: Random, deal: Deal) -> dict[str, Any] | None:
    """The deal's company, else its contact; now and then a name that is no card."""
    if rng.random() < 0.1:
        return {"name": "ООО Ромашка", "entity_id": None, "entity_type": None}
    if deal.company_id:
        return {"name": "Покупатель", "entity_id": deal.company_id, "entity_type": "companies"}
    if deal.main_contact_id:
        return {"name": "Покупатель", "entity_id": deal.main_contact_id, "entity_type": "contacts"}
    return None


def _line(product: Product, quantity: int) -> dict[str, Any]:
    return {
        "sku": product.sku,
        "description": product.name,
        "unit_price": product.price,
        "quantity": quantity,
        "unit_type": "шт",
        "product_id": product.id,
        "total_sum": product.price * quantity,
    }
