"""Customers of amoCRM and what they buy: what their rows say, and which purchases a later read asks for."""

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from amo_demo import DAY, Crm, rows
from amo_fake import (
    ACCOUNT_BODY,
    CHANGED,
    FIRST,
    FROM_THE_BEGINNING,
    SEPTEMBER,
    SEPTEMBER_S,
    amo,
    custom,
    event,
    of,
    page,
    problem,
    read,
    rows_of,
)

from connectors.connector import Window
from connectors.records import (
    Customer,
    EntityTag,
    FieldValue,
    LeftOut,
    Notice,
    Payment,
    RawRecord,
    Reread,
    Shown,
    Tombstone,
)

CUSTOMERS, TRANSACTIONS = "/api/v4/customers", "/api/v4/customers/transactions"
ON = {**ACCOUNT_BODY, "customers_mode": "periodicity"}
HOUR = timedelta(hours=1)


def with_customers(answers: dict[str, Any]) -> Any:
    return amo(answers, account_body=ON)


def customer(native_id: int = 9200001, **changes: Any) -> dict[str, Any]:
    return {
        "id": native_id,
        "name": "Иван Петров",
        "next_price": 12000,
        "next_date": 1790812800,  # 2026-10-01T00:00Z, which is 03:00 in Moscow
        "responsible_user_id": 9101002,
        "status_id": 15810001,
        "created_at": SEPTEMBER_S + 60,
        "updated_at": SEPTEMBER_S + 120,
        "is_deleted": False,
        "custom_fields_values": None,
        "_embedded": {"segments": [{"id": 501}], "tags": []},
        **changes,
    }


def purchase(native_id: int = 1, **changes: Any) -> dict[str, Any]:
    return {
        "id": native_id,
        "price": 900,
        "completed_at": SEPTEMBER_S + 30,
        "customer_id": 9200001,
        "created_at": SEPTEMBER_S + 60,
        "updated_at": SEPTEMBER_S + 120,
        "is_deleted": False,
        **changes,
    }


def read_customer(**changes: Any) -> list[Any]:
    api, _ = with_customers({CUSTOMERS: page("customers", customer(**changes))})
    return read(api, "customers", FIRST)


def payments(*purchases: dict[str, Any]) -> list[Any]:
    api, _ = with_customers({TRANSACTIONS: page("transactions", *purchases)})
    return read(api, "transactions", FROM_THE_BEGINNING)


def test_a_customer_says_whose_it_is_and_when_it_is_to_buy_next():
    cards = {"contacts": [{"id": 5}, {"id": 6, "is_main": True}], "companies": [{"id": 7}], "tags": [{"name": "vip"}]}
    yielded = read_customer(_embedded=cards, custom_fields_values=[custom("text", {"value": "ждёт"})])
    row = of(Customer, yielded)[0]
    assert (row.customer_id, row.contact_id, row.company_id) == ("customer:9200001", "contact:6", "company:7")
    assert (row.status_id, row.responsible_user_id) == ("customer_status:15810001", "user:9101002")
    assert (row.next_on, row.next_minor) == (date(2026, 10, 1), 1200000)
    assert [(tag.tag, tag.entity_kind) for tag in rows_of(EntityTag, yielded)] == [("vip", "customer")]
    assert [(value.value_text, value.entity_kind) for value in rows_of(FieldValue, yielded)] == [("ждёт", "customer")]


def test_the_day_of_the_next_purchase_is_the_accounts_own():
    before_midnight_in_utc = 1790812800 - 3 * 3600
    assert of(Customer, read_customer(next_date=before_midnight_in_utc))[0].next_on == date(2026, 10, 1)


def test_what_a_customer_does_not_say_is_null():
    row = of(Customer, read_customer(next_price=None, next_date=0, status_id=0, responsible_user_id=0))[0]
    assert (row.next_minor, row.next_on, row.status_id, row.responsible_user_id) == (None, None, None, None)
    assert of(Customer, read_customer(next_price_with_minor_units=99.5))[0].next_minor == 9950


def test_a_deleted_customer_is_marked_and_asked_for_again():
    gone = event("customer_deleted", "e1", 9200001, entity_type="customer")
    api, _ = with_customers({"/api/v4/events": page("events", gone)})
    yielded = read(api, "events", FIRST)
    assert of(Tombstone, yielded) == [
        Tombstone(Customer, "main", "customer:9200001", SEPTEMBER + timedelta(seconds=60))
    ]
    assert of(Reread, yielded) == [Reread("customers", ("9200001",))]


def test_statuses_and_segments_are_kept_raw():
    answers = {f"{CUSTOMERS}/{word}": page(word, {"id": 1, "name": "Розница"}) for word in ("statuses", "segments")}
    api, _ = with_customers(answers)
    yielded = read(api, "customer_lists")
    assert {raw.entity for raw in of(RawRecord, yielded)} == {"customers/statuses", "customers/segments"}
    assert {type(thing) for thing in yielded} == {RawRecord}


@pytest.mark.parametrize("status", [402, 403, 404])
@pytest.mark.parametrize("resource", ["customers", "customer_lists", "transactions"])
def test_lists_that_a_plan_or_a_token_lacks_are_left_out_and_told(resource: str, status: int):
    paths = (CUSTOMERS, TRANSACTIONS, f"{CUSTOMERS}/statuses", f"{CUSTOMERS}/segments")
    api, _ = with_customers(dict.fromkeys(paths, problem(status)))
    yielded = read(api, resource, FROM_THE_BEGINNING)
    assert yielded
    assert all("left out" in notice.text for notice in of(Notice, yielded))
    assert {type(thing) for thing in yielded} == ({Notice} if resource == "customer_lists" else {Notice, LeftOut})


def test_a_purchase_is_a_payment_of_its_customer():
    row = of(Payment, payments(purchase()))[0]
    assert (row.payment_id, row.customer_id) == ("transaction:1", "customer:9200001")
    assert (row.paid_at, row.amount_minor, row.direction) == (SEPTEMBER + timedelta(seconds=30), 90000, "income")
    assert row.deleted_at is None


def test_a_purchase_nobody_dated_was_paid_when_it_was_written_down():
    assert of(Payment, payments(purchase(completed_at=None)))[0].paid_at == SEPTEMBER + timedelta(seconds=60)


def test_a_purchase_may_name_its_customer_only_among_what_is_linked():
    linked = purchase(customer_id=None, _embedded={"customers": [{"id": 7}]})
    assert of(Payment, payments(linked))[0].customer_id == "customer:7"


@pytest.mark.parametrize(("changed_at", "moment"), [(SEPTEMBER_S + 120, 120), (None, 30)])
def test_a_deleted_purchase_is_marked(changed_at: int | None, moment: int):
    row = of(Payment, payments(purchase(is_deleted=True, updated_at=changed_at)))[0]
    assert row.deleted_at == SEPTEMBER + timedelta(seconds=moment)


def test_a_purchase_without_a_price_is_kept_raw_and_counted():
    yielded = payments(purchase(price=None))
    assert not of(Payment, yielded)
    assert [raw.native_id for raw in of(RawRecord, yielded)] == ["1"]
    assert [notice.is_unknown for notice in of(Notice, yielded)] == [True]


def test_events_name_purchases_all_of_them():
    two = [{"transaction": {"id": 5}}, {"transaction": {"id": 6}}]
    added = event("transaction_added", "e1", 9200001, entity_type="customer", value_after=two)
    api, server = with_customers({"/api/v4/events": page("events", added)})
    assert of(Reread, read(api, "events", CHANGED)) == [Reread("transactions", ("5", "6"))]
    read(api, "events", FIRST)
    later, first = (params["filter[type]"].split(",") for params in server.asked("/api/v4/events")[-2:])
    assert ("transaction_added" in later, "transaction_added" in first) == (True, False)  # just read whole


def test_a_later_read_of_purchases_asks_for_nothing_by_itself():
    api, server = with_customers({TRANSACTIONS: page("transactions", purchase())})
    assert not read(api, "transactions", CHANGED)
    assert not server.asked(TRANSACTIONS)


def test_a_sweep_of_purchases_reads_them_and_shows_those_that_are_alive():
    listed = [purchase(1, price=1000), purchase(2, is_deleted=True)]
    api, _ = with_customers({TRANSACTIONS: page("transactions", *listed)})
    yielded = read(api, "transactions", Window("sweep"))
    assert of(Shown, yielded) == [Shown(Payment, "main", "transaction", ["1"])]
    assert [row.amount_minor for row in of(Payment, yielded)] == [100000, 90000]


def test_a_purchase_that_is_in_no_list_any_more_is_found_gone():
    api, _ = with_customers({TRANSACTIONS: page("transactions", purchase(1))})
    yielded = read(api, "transactions", Window("probe", ids=("1", "2")))
    assert [row.payment_id for row in of(Payment, yielded)] == ["transaction:1"]
    assert [(gone.id, gone.is_vague) for gone in of(Tombstone, yielded)] == [("transaction:2", True)]


def test_a_list_that_is_cut_says_of_no_purchase_that_it_is_gone():
    api, _ = with_customers({TRANSACTIONS: page("transactions", "odd")})
    assert not of(Tombstone, read(api, "transactions", Window("probe", ids=("1",))))


# Whole syncs against the emulated account


@pytest.mark.parametrize("has_filter", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_new_purchase_is_read_by_the_next_sync(tmp_path: Path, has_filter: bool):
    crm = Crm(transactions_id_filter=has_filter)
    crm.synced(tmp_path)
    crm.passes(HOUR)
    number = crm.people("purchase", id=crm.account.customers.ids[0], price=77)["id"]
    n = len(crm.asked)
    crm.synced(tmp_path)
    found = f"SELECT amount_minor, customer_id FROM payment WHERE payment_id = 'transaction:{number}'"
    assert rows(tmp_path, found) == [(7700, f"customer:{crm.account.customers.ids[0]}")]
    asked = [url.params for url in crm.asked[n:] if url.path == TRANSACTIONS]
    assert asked[0]["filter[id][0]"] == str(number)
    assert (len(asked) == 1) is has_filter


def test_a_purchase_that_was_changed_is_found_by_the_next_sweep(tmp_path: Path):
    crm = Crm()
    number = crm.people("purchase", id=crm.account.customers.ids[0], price=100)["id"]
    crm.passes(DAY)
    crm.synced(tmp_path)
    amount = f"SELECT amount_minor FROM payment WHERE payment_id = 'transaction:{number}'"
    crm.people("purchase", purchase_id=number, fields={"price": 250})
    crm.passes(DAY)
    crm.synced(tmp_path)
    assert rows(tmp_path, amount) == [(10000,)]
    crm.passes(7 * DAY)
    crm.synced(tmp_path)
    assert rows(tmp_path, amount) == [(25000,)]


def test_customers_are_read_as_they_change_and_leave(tmp_path: Path):
    crm = Crm()
    crm.synced(tmp_path)
    crm.passes(HOUR)
    changed, gone = crm.account.customers.ids[:2]
    crm.people("edit", entity="customers", id=changed, fields={"next_price": 5})
    crm.people("delete", entity="customers", id=gone)
    new = crm.people("create", entity="customers", contact_id=crm.account.contacts.ids[0])["id"]
    crm.passes(HOUR)
    crm.synced(tmp_path)
    found = "SELECT next_minor, contact_id IS NOT NULL, deleted_at FROM customer WHERE customer_id = 'customer:{}'"
    assert rows(tmp_path, found.format(changed))[0][0] == 500
    assert rows(tmp_path, found.format(new)) == [(0, True, None)]
    assert rows(tmp_path, found.format(gone))[0][2] == crm.now - HOUR


def test_calls_and_notes_on_a_customer_are_read_and_hang_on_no_card(tmp_path: Path):
    crm = Crm()
    number = crm.account.customers.ids[0]
    call = crm.people("call", entity="customers", id=number, duration=60)["id"]
    note = crm.people("note", entity="customers", id=number, text="Перезвонить")["id"]
    task = crm.people("task", entity="customers", id=number)["id"]
    crm.passes(DAY)
    assert crm.synced(tmp_path).is_well
    hangs_on = "talk_s, contact_id, company_id, deal_id"
    assert rows(tmp_path, f"SELECT {hangs_on} FROM call WHERE call_id = 'note:{call}'") == [(60, None, None, None)]
    assert rows(tmp_path, f"SELECT text FROM activity WHERE activity_id = 'note:{note}'") == [("Перезвонить",)]
    assert rows(tmp_path, f"SELECT count(*) FROM task WHERE task_id = 'task:{task}'") == [(1,)]
