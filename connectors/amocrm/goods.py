"""Elements of catalogs as products and invoices, and what of them is on a deal.

A field of an element is known by the code amoCRM gives it, else by its type. An element says today's price only, so
that of a line on a deal is marked as current.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from connectors.amocrm.mapping import CARDS, created, linked, removed_at, text_of
from connectors.amocrm.reading import Goods, Reading, at, known_as
from connectors.amocrm.values import as_text, field_values, filled, to_number
from connectors.errors import Phrase
from connectors.money import times
from connectors.paging import Json, as_object
from connectors.records import Deal, DealInvoice, DealItem, FieldValue, Invoice, OwnedSet, Product, Yield

PRODUCTS, INVOICES = "products", "invoices"
"""Types of catalogs whose elements have tables of their own."""
USUAL_PRICE = ""
STATUSES: dict[Any, Any] = {
    "created": "issued",
    "paid": "paid",
    "partially_paid": "partially_paid",
    "paid_in_advance": "paid",
}
"""Our status by the code of an option of `BILL_STATUS`."""


def remembered(file: Path) -> Goods:
    """What the last run that read the catalogs learnt; nothing where none did. A run without them must not take the
    prices off the deals it reads."""
    try:
        kept = orjson.loads(file.read_bytes())
        return Goods(**{**kept, "unpriced": {(product, deal) for product, deal in kept.get("unpriced", ())}})
    except (OSError, ValueError, TypeError):
        return Goods()


def remember(goods: Goods, file: Path) -> None:
    """For later runs; where that fails, the next reading of the catalogs will do it."""
    goods.has_news = False
    kept = {
        "kinds": goods.kinds,
        "prices": goods.prices,
        "invoices_catalog_id": goods.invoices_catalog_id,
        "unpriced": list(goods.unpriced.copy()),
    }
    with suppress(OSError):
        new = file.with_suffix(".new")
        new.write_bytes(orjson.dumps(kept))
        new.chmod(0o600)
        os.replace(new, file)


def product_records(element: Json, reading: Reading, raw_hash: str) -> list[Yield]:
    """A product with its custom values. Its prices are kept for the deals read later in the run."""
    settings = reading.settings
    product_id = known_as("element", element["id"])
    values = field_values(element, product_id, "product", reading, raw_hash)
    reading.goods.prices[str(element["id"])] = prices(element, reading)
    chosen_sku = text_of(values, settings.sku_field_id) if settings.sku_field_id else None
    return [
        Product(
            account_id=reading.account_id,
            source_updated_at=at(element.get("updated_at")),
            raw_hash=raw_hash,
            product_id=product_id,
            name=as_text(element.get("name")) or f"#{element['id']}",
            sku=chosen_sku or text(element, "SKU"),
            category=text(element, "GROUP", "category"),
            unit=text_of(values, settings.unit_field_id) if settings.unit_field_id else None,
            currency=reading.currency,
            deleted_at=removed_at(element, reading),
        ),
        OwnedSet(FieldValue, reading.account_id, product_id, Product, values),
    ]


def prices(element: Json, reading: Reading) -> dict[str, int]:
    """Minor units by the id of the price field, and the usual price."""
    fields = [(field.get("field_id"), items) for field, items in filled(element) if field.get("field_type") == "price"]
    found = {**{str(number): items for number, items in fields}, USUAL_PRICE: values_of(element, "PRICE", "price")}
    amounts = {name: reading.money(items[0].get("value")) for name, items in found.items() if items}
    return {name: minor for name, minor in amounts.items() if minor is not None}


def invoice_records(element: Json, reading: Reading, raw_hash: str) -> list[Yield]:
    """An invoice with its custom values. It does not name its deals: they name it."""
    invoice_id = known_as("invoice", element["id"])
    return [
        Invoice(
            account_id=reading.account_id,
            source_updated_at=at(element.get("updated_at")),
            raw_hash=raw_hash,
            invoice_id=invoice_id,
            **payer(element, reading),
            number=as_text(element.get("name")),
            issued_on=created(element).astimezone(reading.zone).date(),
            amount_minor=amount(element, reading),
            currency=reading.currency,
            status=status(element, reading),
            deleted_at=removed_at(element, reading),
        ),
        OwnedSet(
            FieldValue,
            reading.account_id,
            invoice_id,
            Invoice,
            field_values(element, invoice_id, "invoice", reading, raw_hash),
        ),
    ]


def payer(element: Json, reading: Reading) -> Json:
    """The card an invoice is made out to, where it names one."""
    for item in values_of(element, "PAYER", "payer"):
        named = as_object(item.get("value"))
        prefix = CARDS.get(str(named.get("entity_type")))
        if prefix in ("contact", "company") and (card_id := reading.ref(prefix, named.get("entity_id"))):
            return {f"{prefix}_id": card_id}
    return {}


def amount(element: Json, reading: Reading) -> int:
    """What is to be paid: as the invoice says, else its lines together."""
    for item in values_of(element, "BILL_PRICE"):
        minor = reading.money(item.get("value"))
        if minor is not None:
            return minor
    lines = [as_object(item.get("value")) for item in values_of(element, "ITEMS", "items")]
    sums = [line_sum(line, reading) for line in lines]
    if None in sums or not sums:
        reading.notice(Phrase("invoices without an amount count with what their lines say, else as 0"))
    return sum(filter(None, sums))


def line_sum(line: Json, reading: Reading) -> int | None:
    """A line's total; without one its price by its quantity, discounts and taxes unknown."""
    total = reading.money(line.get("total_sum"))
    quantity = to_number(line.get("quantity"))
    if total is not None or quantity is None:
        return total
    return times(reading.money(line.get("unit_price")), quantity)


def status(element: Json, reading: Reading) -> Any:
    options = values_of(element, "BILL_STATUS")
    code = str(options[0].get("enum_code")) if options else None
    if code not in STATUSES:
        what = Phrase("invoices of the unknown status {status}", status=str(code)[:40])
        reading.notice(what, is_unknown=True)
    return STATUSES.get(code, "unknown")


def on_deal(lead: Json, reading: Reading, raw_hash: str) -> Iterator[OwnedSet]:
    """Product lines and invoices of a deal. Where catalogs were not read, whatever is no invoice is a product."""
    deal_id = known_as("lead", lead["id"])
    common: Json = {"account_id": reading.account_id, "raw_hash": raw_hash, "deal_id": deal_id}
    items, invoices = [], []
    for number, element in linked(as_object(lead.get("_embedded")), "catalog_elements", reading).items():
        metadata = as_object(element.get("metadata"))
        catalog_id = str(metadata.get("catalog_id"))
        usual_kind = INVOICES if catalog_id == reading.goods.invoices_catalog_id else PRODUCTS
        kind = reading.goods.kinds.get(catalog_id, usual_kind)
        if kind == PRODUCTS:
            items.append(deal_item(number, metadata, common, reading))
            if str(number) not in reading.goods.prices:
                reading.goods.wait_for(str(number), lead["id"])
        elif kind == INVOICES:
            invoices.append(DealInvoice(**common, invoice_id=f"invoice:{number}"))
    if items and not reading.goods.kinds:
        reading.notice(
            Phrase(
                "products of deals came without prices, for no catalog was ever read; once one is, these deals are "
                "read again"
            )
        )
    yield OwnedSet(DealItem, reading.account_id, deal_id, Deal, items)
    yield OwnedSet(DealInvoice, reading.account_id, deal_id, Deal, invoices)


def deal_item(number: int, metadata: Json, common: Json, reading: Reading) -> DealItem:
    quantity = to_number(metadata.get("quantity"))
    if quantity is None:
        reading.notice(Phrase("products of deals without a quantity count as one"))
        quantity = 1.0
    known = reading.goods.prices.get(str(number), {})
    price_minor = known.get(str(metadata.get("price_id") or USUAL_PRICE))
    return DealItem(
        **common,
        deal_item_id=f"{common['deal_id']}:{number}",
        product_id=f"element:{number}",
        qty=quantity,
        price_minor=price_minor,
        sum_minor=times(price_minor, quantity),
        currency=reading.currency,
        price_is_current=price_minor is not None,
    )


# Fields of elements


def values_of(element: Json, code: str, field_type: str | None = None) -> list[Json]:
    """Values of the field with a code, else of the first field of a type."""
    fields = list(filled(element))
    named = [items for field, items in fields if field.get("field_code") == code]
    typed = [items for field, items in fields if field_type and field.get("field_type") == field_type]
    return (named or typed or [[]])[0]


def text(element: Json, code: str, field_type: str | None = None) -> str | None:
    values = values_of(element, code, field_type)
    return str(values[0]["value"]) if values and values[0].get("value") else None
