"""Catalogs and their elements: products, invoices, and whatever else a company lists.

https://www.amocrm.ru/developers/content/crm_platform/catalogs-api

Elements can be filtered by no time, so they are read whole every time, and before the deals that have them.
"""

from collections.abc import Iterator
from typing import Any

from connectors.amocrm.api import AmoApi
from connectors.amocrm.goods import INVOICES, PRODUCTS, invoice_records, on_deal, product_records
from connectors.amocrm.mapping import deal_records
from connectors.amocrm.reading import Reading
from connectors.amocrm.walking import Keys, Query, ToRecords, if_readable, of_lists, pages
from connectors.connector import Window
from connectors.paging import Json, until_settled, whole
from connectors.records import Account, Invoice, Product, Record, Yield
from connectors.walk import kept_raw, listed_whole, mapped

ELEMENTS: dict[str, tuple[type[Record], str, ToRecords]] = {
    PRODUCTS: (Product, "element", product_records),
    INVOICES: (Invoice, "invoice", invoice_records),
}
"""What the elements of a type of catalog are to us: rows of a kind, with a prefix of our ids. Others are kept raw."""


def catalogs(api: AmoApi, account: Account, _: Window) -> Iterator[Yield]:
    """All catalogs with their elements; where they are refused, deals have products without a price."""
    reading = api.reading(account)
    listed: dict[str, Keys] = {}
    kinds: dict[str, str] = {}
    yield from if_readable(catalog_list(api, reading, into=kinds), is_all=True)
    api.goods.kinds |= kinds
    for catalog_id in kinds:
        yield from if_readable(elements(api, catalog_id, reading, into=listed), is_all=True)
    for word, (kind, _prefix, _to_records) in ELEMENTS.items():
        keys = of_lists([catalog_id for catalog_id in kinds if kinds[catalog_id] == word], listed)
        yield from listed_whole(kind, keys, reading, api.server_now())
    api.remember_goods()
    for deal in api.goods.priced():
        reading.reread("leads", deal)
    yield from reading.conclusions()


def catalog_list(api: AmoApi, reading: Reading, *, into: dict[str, str]) -> Iterator[Yield]:
    """The catalogs; nobody says whether this list has pages. Types go `into`."""
    query = Query("/api/v4/catalogs", "catalogs", "catalogs", api.settings.page_size)
    for page in pages(api, query, {}, reading):
        for catalog in page:
            yield from mapped(catalog, query.entity, kept_raw, reading)
            if (number := whole(catalog.get("id")) or 0) > 0:
                into[str(number)] = str(catalog.get("type"))


def elements(api: AmoApi, catalog_id: str, reading: Reading, *, into: dict[str, Keys]) -> Iterator[Yield]:
    """Elements of a catalog; their keys go into `into` when all are read."""
    query = Query(
        path=f"/api/v4/catalogs/{catalog_id}/elements",
        collection="elements",
        entity="catalogs/elements",
        limit=api.settings.page_size,
        to_the_end=True,
    )
    _, prefix, to_records = ELEMENTS.get(api.goods.kinds[catalog_id], (Record, "element", kept_raw))
    seen: set[Any] = set()
    for page in unordered(api, query, reading, seen=seen):
        for element in page:
            yield from mapped(element, query.entity, to_records, reading)
    into[catalog_id] = {(f"{prefix}:{native_id}",) for native_id in seen}


def unordered(api: AmoApi, query: Query, reading: Reading, *, seen: set[Any]) -> Iterator[list[Json]]:
    """Pages of a list that may shift while it is walked: one of several pages is walked until nothing new is found."""
    n_pages = 0
    for page in pages(api, query, {}, reading, seen=seen):
        n_pages += 1
        yield page
    if n_pages > 1:
        yield from until_settled(lambda: pages(api, query, {}, reading, seen=seen))


def lead_records(lead: Json, reading: Reading, raw_hash: str) -> Iterator[Yield]:
    """A deal, its products and its invoices."""
    yield from deal_records(lead, reading, raw_hash)
    yield from on_deal(lead, reading, raw_hash)
