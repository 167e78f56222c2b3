"""Products, and the lines of them on leads and deals.

https://apidocs.bitrix24.ru/api-reference/crm/universal/product-rows/crm-item-productrow-list.html
https://apidocs.bitrix24.ru/api-reference/catalog/product/catalog-product-list.html
"""

from collections.abc import Iterator
from typing import Any

from connectors.bitrix24.deals import is_template
from connectors.bitrix24.reading import DEAL, KINDS, LEAD, Reading, prefixed
from connectors.bitrix24.values import moment, text
from connectors.errors import Phrase
from connectors.money import currency_code, times, to_minor
from connectors.paging import Json, whole
from connectors.records import Deal, DealItem, OwnedSet, Product, Yield

LETTERS = {LEAD: "L", DEAL: "D"}
"""`ownerType` of lines. Items of smart processes may have some too, which no table holds: they are not asked for."""


def product_records(product: Json, reading: Reading, raw_hash: str) -> Iterator[Yield]:
    """A product of a catalogue. Its prices are lists of their own; what a deal paid stands in its lines."""
    yield Product(
        account_id=reading.account_id,
        source_updated_at=moment(product.get("timestampX")),
        raw_hash=raw_hash,
        product_id=f"product:{product['id']}",
        name=text(product.get("name")) or f"#{product['id']}",
        sku=text(product.get("code")),
        category=str(section) if (section := whole(product.get("iblockSectionId"))) else None,
        currency=reading.currency,
    )


def line_records(card: Json, reading: Reading, raw_hash: str) -> Iterator[Yield]:
    """All `lines` of a lead or a deal, as they were asked for it. Amounts are in its currency."""
    if is_template(card):
        return
    deal_id = f"{KINDS[card['entityTypeId']]}:{card['id']}"
    currency = currency_code(card["currencyId"]) if card.get("currencyId") else reading.currency
    items = [line(row, deal_id, currency, reading, raw_hash) for row in card["lines"]]
    yield OwnedSet(DealItem, reading.account_id, deal_id, Deal, items)


def line(row: Json, deal_id: str, currency: str, reading: Reading, raw_hash: str) -> DealItem:
    """A price is what the client pays for one, discount and tax included."""
    quantity = number(row.get("quantity"))
    if quantity is None:
        reading.notice(Phrase("products of deals without a quantity count as one"))
        quantity = 1.0
    price_minor = to_minor(row.get("price"), currency)
    return DealItem(
        account_id=reading.account_id,
        raw_hash=raw_hash,
        deal_item_id=f"productrow:{row['id']}",
        deal_id=deal_id,
        product_id=prefixed("product", row.get("productId")),
        name=text(row.get("productName")),
        qty=quantity,
        price_minor=price_minor,
        discount_minor=times(to_minor(row.get("discountSum"), currency), quantity),
        sum_minor=times(price_minor, quantity),
        currency=currency,
    )


def number(value: Any) -> float | None:
    try:
        return None if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return None
