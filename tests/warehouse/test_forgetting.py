"""One person erased from a few rows: which spellings are found, what others keep, how the list is read."""

import re
from datetime import timedelta

import pytest
from warehouse_words import KEY, NOON, Table, contact, contacts, deal, load, raw

from connectors.records import Call, ClientPhone, Contact, OwnedSet
from warehouse import suppression
from warehouse.forgetting import Asked, Person, erase, find, is_unusual, spellings

PHONE, OTHER = "+79991234567", "+79997654321"


def phones(number, *values):
    owner = f"contact:{number}"
    common = {"account_id": "main", "entity_id": owner, "entity_kind": "contact", "contact_id": owner}
    rows = [ClientPhone(**common, phone_e164=value, phone_raw=value) for value in values]
    return OwnedSet(ClientPhone, "main", owner, Contact, rows)


def call(number, phone, **fields):
    known = {"direction": "in", "subtype": "normal", "started_at": NOON, "status": "missed", "raw_hash": f"c{number}"}
    return Call(**{"account_id": "main", "call_id": f"note:{number}", **known, "phone_e164": phone, **fields})


def forget(engine, asked):
    with engine.begin() as connection:
        person = find(connection, asked)
        return erase(connection, person, belongs_to=asked.hash(KEY), key=KEY, load_seq=9, now=NOON)


@pytest.mark.parametrize(
    "said",
    ["+79991234567", "8 (999) 123-45-67", "7 999 123 45 67", "9991234567", "tel:+7(999)123–45–67", '"8-999-1234567"'],
)
def test_a_number_is_found_in_its_usual_spellings(said):
    assert re.search(str(spellings(Person(phones=(PHONE,)))), f"звоните {said}, днём")


@pytest.mark.parametrize("said", ["19991234567", "99912345678", "999123456", "1,9,9,9,1,2,3,4,5,6,7"])
def test_another_number_is_not_taken_for_it(said):
    assert not re.search(str(spellings(Person(phones=(PHONE,)))), said)


def test_only_a_full_name_is_looked_for():
    assert is_unusual("Аркадий Штейнберг")
    assert not is_unusual("Аркадий")
    assert not is_unusual("Ян Ли")
    assert not is_unusual("Заявка 15")


def test_a_call_stays_without_whose_it_was(engine, table: Table):
    load(
        engine,
        (1, contact(1, name="Anna Karenina")),
        (2, phones(1, PHONE)),
        (3, call(1, PHONE, contact_id="contact:1")),
    )
    forget(engine, Asked("phone", PHONE))
    ((phone, key, digits, who, at),) = table(
        "call", "phone_e164", "phone_key", "phone_digits", "contact_id", "started_at"
    )
    assert (phone, digits, at) == (None, 0, NOON)
    assert key.startswith("forgotten-")
    assert table("contact", "contact_id", "name") == [(who, None)]
    assert table("client_phone", "phone_key", "contact_id") == [(key, who)]
    assert who != "contact:1"


def test_what_is_read_again_stays_without_whose_it_was(engine, table: Table):
    reads = (
        contact(1, name="Anna Karenina"),
        phones(1, PHONE),
        call(1, PHONE, contact_id="contact:1"),
        deal(1),
        contacts(1, 1),
    )
    load(engine, *enumerate(reads, 1))
    forget(engine, Asked("card", "contact:1", "main"))
    columns = ("phone_e164", "phone_key", "contact_id", "raw_hash")
    before = (
        table("call", *columns),
        table("contact", "*"),
        table("deal_contact", "deal_id", "contact_id"),
        table("deal", "name"),
    )
    load(engine, *enumerate(reads, 11), (20, raw(7, {"contact_id": 1})), (20, raw(8, {"phone": "8 999 123-45-67"})))
    after = (
        table("call", *columns),
        table("contact", "*"),
        table("deal_contact", "deal_id", "contact_id"),
        table("deal", "name"),
    )
    assert after == before
    assert table("raw_record", "native_id") == []
    assert table("deal", "name") == [None]


@pytest.mark.parametrize(
    "said",
    [
        "8 999 123-45-67",
        "89990000000 89991234567",
        "02.03.2026 8 (999) 123-45-67",
        "тел.9991234567\n7",
        "+7 999 1234567",
    ],
)
def test_a_number_of_the_list_is_found_in_texts_whatever_digits_stand_beside_it(engine, table: Table, said):
    load(engine, (1, contact(1)), (2, phones(1, PHONE)))
    forget(engine, Asked("phone", PHONE))
    uuid = "89991234-5671-4234-8567-899912345670"
    load(engine, (5, deal(1, name=said)), (6, raw(1, {"name": said})), (7, raw(2, {"uuid": uuid})), (8, deal(2)))
    assert table("deal", "name") == ["Deal 2", None]
    assert table("raw_record", "native_id") == ["2"]


def test_a_new_call_of_a_forgotten_person_is_a_call_of_nobody(engine, table: Table):
    load(engine, (1, contact(1)), (2, phones(1, PHONE)))
    forget(engine, Asked("phone", PHONE))
    load(engine, (5, call(2, PHONE, contact_id="contact:1")), (6, call(3, OTHER)))
    assert table("call", "call_id", "phone_e164", "contact_id") == [("note:2", None, None), ("note:3", OTHER, None)]


def test_the_list_tells_hashes_and_counts_and_lets_go(engine, table: Table):
    load(engine, (1, contact(1)), (2, phones(1, PHONE)))
    asked = Asked("phone", PHONE)
    forget(engine, asked)
    with engine.begin() as connection:
        (one,) = suppression.listed(connection)
        assert (one["hash"], one["n_phones"], one["n_cards"]) == (asked.hash(KEY), 1, 1)
        assert suppression.lift(connection, asked.hash(KEY)[:12]) == 2
        assert suppression.listed(connection) == []
    load(engine, (9, contact(1, name="Anna Karenina", source_updated_at=NOON + timedelta(days=1))))
    assert "contact:1" in table("contact", "contact_id")
