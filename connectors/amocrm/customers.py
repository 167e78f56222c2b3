"""Customers, what they bought, and the statuses and segments they are in.

https://www.amocrm.ru/developers/content/crm_platform/customers-api

Only an account whose `customers_mode` is on has them; of another nothing is asked.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from connectors.amocrm.api import AmoApi
from connectors.amocrm.mapping import card_sets, created, first_id, linked, main_of, removed_at
from connectors.amocrm.reading import Reading, at, flag, known_as
from connectors.amocrm.sweep import swept_stream
from connectors.amocrm.walking import BY_ID, IDS_AT_A_TIME, Query, if_readable, one, pages, raw_list
from connectors.connector import Window
from connectors.paging import Json, as_object, items_of, key_of, until_settled
from connectors.records import Account, Customer, LeftOut, Payment, Shown, Tombstone, Yield
from connectors.walk import mapped

PURCHASE = "transaction"
"""What amoCRM calls a purchase, and the prefix of our ids of them."""


def customers(api: AmoApi, account: Account, window: Window) -> Iterator[Yield]:
    """Customers with custom values and tags."""
    query = Query(
        path="/api/v4/customers",
        collection="customers",
        entity="customers",
        limit=api.settings.page_size,
        params={"with": "contacts,companies,catalog_elements", BY_ID: "asc"},
    )
    if not api.facts.has_customers:
        yield LeftOut()
        return
    yield from if_readable(swept_stream(api, account, window, query, customer_records), is_all=True)


def customer_records(customer: Json, reading: Reading, raw_hash: str) -> list[Yield]:
    """A customer and what hangs on it; its segments stay in the raw copy."""
    customer_id = known_as("customer", customer["id"])
    embedded = as_object(customer.get("_embedded"))
    clients = {
        "contact_id": known_as("contact", main_of(linked(embedded, "contacts", reading), reading)),
        "company_id": first_id(embedded, "companies", reading),
    }
    exact, next_at = customer.get("next_price_with_minor_units"), at(customer.get("next_date"))
    return [
        Customer(
            account_id=reading.account_id,
            source_updated_at=at(customer.get("updated_at")),
            raw_hash=raw_hash,
            customer_id=customer_id,
            **clients,
            status_id=reading.ref("customer_status", customer.get("status_id")),
            responsible_user_id=reading.responsible(customer.get("responsible_user_id")),
            next_on=next_at.astimezone(reading.zone).date() if next_at else None,
            next_minor=reading.money(customer.get("next_price") if exact is None else exact),
            created_at=created(customer),
            deleted_at=removed_at(customer, reading),
        ),
        *card_sets(customer, customer_id, Customer, reading, raw_hash, **clients),
    ]


def customer_lists(api: AmoApi, account: Account, _: Window) -> Iterator[Yield]:
    """Statuses and segments of customers."""
    for word in ("statuses", "segments") if api.facts.has_customers else ():
        yield from raw_list(api, account, f"customers/{word}", word)


def transactions(api: AmoApi, account: Account, window: Window) -> Iterator[Yield]:
    """Purchases. Their list has no order and knows no time, so it is read whole at first and by every sweep, which is
    when changes of old ones are seen; what is added in between, events name."""
    if not api.facts.has_customers:
        yield LeftOut()
    elif not (window.kind == "changed" and window.start):
        yield from if_readable(purchases(api, account, window), is_all=True)


def purchases(api: AmoApi, account: Account, window: Window) -> Iterator[Yield]:
    path = "/api/v4/customers/transactions"
    query = Query(path, "transactions", "customers/transactions", api.settings.page_size)
    reading = api.reading(account)
    seen: set[Any] = set()
    if window.ids:
        walked = asked_for(api, query, window.ids, reading, seen=seen)
    else:
        walked = until_settled(lambda: pages(api, query, {}, reading, seen=seen))
    for page in walked:
        if window.kind == "sweep":
            alive = [str(key_of(row)) for row in page if key_of(row) and not flag(row.get("is_deleted"))]
            yield Shown(Payment, account.account_id, PURCHASE, alive)
        for row in page:
            yield from mapped(row, query.entity, one(payment), reading)
    if window.kind == "probe" and not reading.is_odd:
        for native_id in sorted({*window.ids} - {str(number) for number in seen}):
            yield Tombstone(Payment, account.account_id, f"{PURCHASE}:{native_id}", api.server_now(), is_vague=True)
    yield from reading.conclusions()


def asked_for(
    api: AmoApi, query: Query, ids: Sequence[str], reading: Reading, *, seen: set[Any]
) -> Iterator[list[Json]]:
    """Rows by their ids; the whole list where it ignores that filter. No row has an address of its own."""
    n_at_a_time = min(IDS_AT_A_TIME, query.limit)
    for first in range(0, len(ids), n_at_a_time):
        some = ids[first : first + n_at_a_time]
        asked = {f"filter[id][{position}]": native_id for position, native_id in enumerate(some)}
        answer = api.get(query.path, {**asked, "limit": query.limit, "page": 1})
        rows = [] if answer is None else items_of(answer, query.collection, reading.odd)
        if not {str(key) for row in rows if (key := key_of(row)) is not None} <= {*some}:
            yield from until_settled(lambda: pages(api, query, {}, reading, seen=seen))
            return
        seen.update(key_of(row) for row in rows)
        yield rows


def payment(purchase: Json, reading: Reading, raw_hash: str) -> Payment:
    """What a customer paid. The customer alone is named: whose cards those are, the customer says.

    Raises:
        ValueError: a purchase without a price is no payment.
    """
    amount_minor = reading.money(purchase.get("price"))
    if amount_minor is None:
        raise ValueError("no price")
    updated_at = at(purchase.get("updated_at"))
    paid_at = at(purchase.get("completed_at")) or created(purchase)
    customer_id = reading.ref("customer", purchase.get("customer_id"))
    return Payment(
        account_id=reading.account_id,
        source_updated_at=updated_at,
        raw_hash=raw_hash,
        payment_id=known_as(PURCHASE, purchase["id"]),
        customer_id=customer_id or first_id(as_object(purchase.get("_embedded")), "customers", reading),
        paid_at=paid_at,
        amount_minor=amount_minor,
        currency=reading.currency,
        direction="income",
        deleted_at=(updated_at or paid_at) if reading.is_set(purchase, "is_deleted") else None,
    )
