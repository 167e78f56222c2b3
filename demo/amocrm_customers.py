"""Customers of the emulated account, their statuses and segments, and what they bought (`amocrm.md`, 3.18).

Cards are listed, filtered and got as other cards are (`demo.amocrm_api`); here is what only customers have.
"""

from typing import TYPE_CHECKING

from demo import office
from demo.amocrm_account import Account
from demo.amocrm_cards import Json
from demo.amocrm_query import integer, numbers
from demo.amocrm_store import Query
from demo.customers import PERIOD_D
from demo.model import CUSTOMER, Customer, Purchase

if TYPE_CHECKING:
    from demo.amocrm_api import Reply, _Call


def answer(account: Account, call: "_Call", rest: list[str]) -> "Reply":
    """`statuses`, `segments`, `transactions` or `{id}/transactions`; nothing where customers are switched off."""
    is_on = account.card_table("customers") is not None
    match rest:
        case ["statuses"]:
            return call.whole("statuses", statuses(account) if is_on else [])
        case ["segments"]:
            return call.page("segments", len(office.SEGMENTS) if is_on else 0, lambda a, b: segments(account)[a:b])
    query = Query(call.key)
    if len(rest) == 2:
        customer_id = integer(rest[0], -1)
        query.tests.append(lambda row: row.customer_id == customer_id)
    if account.switches.transactions_id_filter:
        query.ids = numbers(call.filters.get("id"))
    table = account.purchases
    ids = account.cache.ids(call.key, table.version, lambda: query.run(table)) if is_on else []
    return call.page("transactions", len(ids), lambda a, b: [purchase(account, i) for i in ids[a:b]])


def statuses(account: Account) -> list[Json]:
    """The statuses in which amoCRM keeps customers by how long they have bought nothing."""
    return [
        {"id": status.id, "name": status.name, "sort": 10 * place, "is_default": place == 1, "color": "#99ccff",
         "type": int(status.code), "conditions": [], "account_id": account.company.account_id,
         "_links": account.painter.link(f"customers/statuses/{status.id}")}
        for place, status in enumerate(office.CUSTOMER_STATUSES, 1)
    ]  # fmt: skip


def segments(account: Account) -> list[Json]:
    members = [customer.segment_id for customer in account.company.customers]
    since = account.company.started_at
    return [
        {"id": segment.id, "name": segment.name, "color": "10599d", "customers_count": members.count(segment.id),
         "created_at": since, "updated_at": since, "custom_fields_values": None,
         "available_products_price_types": [], "account_id": account.company.account_id,
         "_links": account.painter.link(f"customers/segments/{segment.id}")}
        for segment in office.SEGMENTS
    ]  # fmt: skip


def customer(account: Account, row: Customer, with_: frozenset[str]) -> Json:
    """A customer as a list or a by-id answer shows it."""
    painter = account.painter
    prices = [purchase.price for purchase in account.purchases_of(row.id) if not purchase.deleted_at]
    card: Json = {
        "id": row.id,
        "name": row.name,
        "next_price": row.next_price,
        "next_date": row.next_date,
        "responsible_user_id": row.user_id,
        "group_id": painter.group(row.user_id),
        "status_id": row.status_id,
        "periodicity": PERIOD_D,
        "created_by": row.created_by,
        "updated_by": row.user_id,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
        "closest_task_at": None,
        "is_deleted": bool(row.deleted_at),
        "custom_fields_values": painter.values(row.values),
        "ltv": sum(prices),
        "purchases_count": len(prices),
        "average_check": sum(prices) // len(prices) if prices else 0,
        "account_id": account.company.account_id,
        "_links": painter.link(f"customers/{row.id}"),
    }
    if account.switches.price_minor_units:
        card["next_price_with_minor_units"] = float(row.next_price)
    embedded: Json = {"segments": [{"id": row.segment_id}], "tags": painter.tags(CUSTOMER, row.id, row.tags)}
    contacts = [{"id": row.contact_id, "is_main": True}] if row.contact_id else []
    companies = [{"id": row.company_id}] if row.company_id else []
    for name, cards in (("contacts", contacts), ("companies", companies), ("catalog_elements", [])):
        if name in with_ and (cards or account.switches.embedded_when_empty_include):
            embedded[name] = cards
    return card | {"_embedded": embedded}


def purchase(account: Account, number: int) -> Json:
    row: Purchase = account.purchases.get(number)  # type: ignore[assignment]
    return {
        "id": row.id,
        "price": row.price,
        "comment": None,
        "completed_at": row.completed_at or None,
        "customer_id": row.customer_id,
        "created_by": row.created_by,
        "updated_by": row.created_by,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
        "is_deleted": bool(row.deleted_at),
        "account_id": account.company.account_id,
        "_links": account.painter.link(f"customers/transactions/{row.id}"),
        "_embedded": {"catalog_elements": [], "customers": [{"id": row.customer_id}]},
    }
