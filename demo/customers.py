"""Customers of the demo company: clients whose purchases amoCRM keeps apart from deals, and what they bought."""

from collections.abc import Sequence
from random import Random

from demo import office, words
from demo.model import CUSTOMER, DAY, Client, Customer, Purchase, Values
from demo.office import MSK_S

FIRST_CUSTOMER, FIRST_PURCHASE = 9_200_001, 9_700_001
PERIOD_D = 30
"""How often a customer is expected to buy."""


def make_customers(
    rng: Random, clients: Sequence[Client], *, n: int, started_at: int, now: int
) -> tuple[list[Customer], list[Purchase]]:
    """`n` customers and one to eight purchases of each, both in the order they came to be."""
    with_cards = [client for client in clients if client.contact_ids]
    chosen = rng.sample(with_cards, min(n, len(with_cards)))
    born = sorted((_moment(rng, max(client.created_at, started_at), now, 0.7), client.no) for client in chosen)
    by_number = {client.no: client for client in chosen}
    customers, bought = [], []
    for number, (created_at, client_no) in enumerate(born, FIRST_CUSTOMER):
        moments = sorted(_moment(rng, created_at, now, 1) for _ in range(rng.randrange(1, 9)))
        prices = [rng.randrange(9, 400) * 100 for _ in moments]
        bought += [(at, number, price) for at, price in zip(moments, prices, strict=True)]
        client, last_at = by_number[client_no], moments[-1]
        customers.append(
            _customer(rng, client, number, born_at=created_at, last_at=last_at, price=max(prices), now=now)
        )
    purchases = [
        _purchase(rng, number, customers[customer_id - FIRST_CUSTOMER], at=at, price=price, now=now)
        for number, (at, customer_id, price) in enumerate(sorted(bought), FIRST_PURCHASE)
    ]
    return customers, purchases


def _customer(
    rng: Random, client: Client, number: int, *, born_at: int, last_at: int, price: int, now: int
) -> Customer:
    """A customer as the last purchase left it: some are linked to a company only, some to a contact only."""
    has_both = rng.random() < 0.6
    next_day = (last_at + MSK_S) // DAY + PERIOD_D
    return Customer(
        number,
        f"Покупатель {number}",
        client.contact_ids[0] if has_both or not client.company_id else 0,
        client.company_id,
        client.user_id,
        status_at(last_at, now),
        rng.choice(office.SEGMENTS).id,
        price,
        next_day * DAY - MSK_S,
        client.user_id,
        born_at,
        last_at,
        _values(rng),
        (rng.choice(office.TAGS[CUSTOMER]).id,) if rng.random() < 0.3 else (),
    )


def status_at(last_at: int, now: int) -> int:
    """The status amoCRM keeps by itself, from how long ago the last purchase was."""
    periods = (now - last_at) // (PERIOD_D * DAY)
    return office.CUSTOMER_STATUSES[min(periods, len(office.CUSTOMER_STATUSES) - 1)].id


def _purchase(rng: Random, number: int, customer: Customer, *, at: int, price: int, now: int) -> Purchase:
    """A purchase, written down soon after; now and then one that was a mistake and was deleted."""
    created_at = min(at + rng.randrange(3_600), now - 60)
    deleted_at = created_at + rng.randrange(60, 3_600) if rng.random() < 0.02 else 0
    deleted_at = deleted_at if deleted_at < now else 0
    is_dated = rng.random() < 0.9
    return Purchase(
        number,
        customer.id,
        price,
        customer.user_id,
        at if is_dated else 0,
        created_at,
        deleted_at or created_at,
        deleted_at,
    )


def _values(rng: Random) -> Values:
    values: list[tuple[int, tuple[object, ...]]] = []
    if rng.random() < 0.4:
        values.append((office.LEVEL, (992_001 + rng.randrange(2),)))
    if rng.random() < 0.2:
        values.append((office.WISHES, (rng.choice(words.COMMENTS),)))
    return tuple(values)


def _moment(rng: Random, since: int, now: int, share: float) -> int:
    """Some time between `since` and an hour ago, in the first `share` of it."""
    return since + int(rng.random() * share * max(now - 3_600 - since, 0))
