"""Catalogs of the emulated account and their elements (`amocrm.md`, 3.19)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from demo import office
from demo.amocrm_account import Account
from demo.amocrm_cards import Json
from demo.amocrm_query import numbers, scalars
from demo.catalogs import CATALOGS, INVOICES_ID, PRODUCTS_ID, product_values
from demo.model import Invoice, Named, Product

if TYPE_CHECKING:
    from demo.amocrm_api import Reply, _Call


def listed(account: Account, call: "_Call") -> "Reply":
    """All catalogs, or those of a type."""
    wanted = scalars(call.params.get("type"))
    shown = [catalog(account, row) for row in CATALOGS if not wanted or row.code in wanted]
    if account.switches.catalogs_are_paged:
        return call.page("catalogs", len(shown), lambda a, b: shown[a:b])
    return call.whole("catalogs", shown)


def elements_of(account: Account, call: "_Call", catalog_id: int) -> "Reply":
    every = elements(account, catalog_id)
    ids = numbers(call.filters.get("id")) or numbers(call.params.get("id"))
    rows = [row for row in every if ids is None or row.id in ids]
    return call.page("elements", len(rows), lambda a, b: [element(account, row) for row in rows[a:b]])


def elements(account: Account, catalog_id: int) -> Sequence[Product | Invoice]:
    return account.company.products if catalog_id == PRODUCTS_ID else account.company.invoices


def catalog(account: Account, row: Named) -> Json:
    since = account.company.started_at
    return {
        "id": row.id, "name": row.name, "created_by": office.HEAD, "updated_by": office.HEAD, "created_at": since,
        "updated_at": since, "sort": 10, "type": row.code, "can_add_elements": True, "can_show_in_cards": False,
        "can_link_multiple": True, "can_be_deleted": False, "sdk_widget_code": None,
        "account_id": account.company.account_id, "_links": account.painter.link(f"catalogs/{row.id}"),
    }  # fmt: skip


def element(account: Account, row: Product | Invoice) -> Json:
    catalog_id = PRODUCTS_ID if isinstance(row, Product) else INVOICES_ID
    values = product_values(row) if isinstance(row, Product) else row.values
    since = account.company.started_at
    created_at, updated_at = (since, since) if isinstance(row, Product) else (row.created_at, row.updated_at)
    return {
        "id": row.id, "catalog_id": catalog_id, "name": row.name, "created_by": office.HEAD,
        "updated_by": office.HEAD, "created_at": created_at, "updated_at": updated_at,
        "is_deleted": True if isinstance(row, Invoice) and row.deleted_at else None,
        "custom_fields_values": account.painter.values(values), "account_id": account.company.account_id,
        "_links": account.painter.link(f"catalogs/{catalog_id}/elements/{row.id}"),
    }  # fmt: skip
