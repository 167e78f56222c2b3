"""Incoming requests that wait ("unsorted"): what their rows say, and what their list concludes."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from amo_demo import DAY, Crm, rows
from amo_fake import ACCOUNT_BODY, LONG_LIVED, NOTHING, SEPTEMBER, SEPTEMBER_S, amo, of, page, problem, read

from connectors.records import LeftOut, Listing, Notice, RawRecord, Request

UNSORTED = "/api/v4/leads/unsorted"
UID = "9a1f0c6f3c5b4b2fb7c1d5f80c1de0aa"


def waiting(uid: str = UID, category: str = "forms", **metadata: Any) -> dict[str, Any]:
    return {
        "uid": uid,
        "source_uid": "site-1",
        "source_name": "Форма на сайте",
        "category": category,
        "pipeline_id": 7100101,
        "created_at": SEPTEMBER_S + 60,
        "metadata": metadata,
        "_embedded": {"contacts": [{"id": 27700009}], "leads": [{"id": 18800009}], "companies": []},
    }


def read_requests(*items: dict[str, Any]) -> list[Any]:
    api, _ = amo({UNSORTED: page("unsorted", *items)})
    return read(api, "requests")


def phone(category: str, **metadata: Any) -> str | None:
    return of(Request, read_requests(waiting(category=category, **metadata)))[0].phone_e164


def test_a_request_names_the_cards_it_will_be():
    row = of(Request, read_requests(waiting(form_name="Расчёт окна")))[0]
    assert (row.request_id, row.category) == (f"request:{UID}", "form")
    assert row.received_at == SEPTEMBER + timedelta(seconds=60)
    assert (row.deal_id, row.contact_id, row.processed_at) == ("lead:18800009", "contact:27700009", None)
    assert row.source_id is None  # the sender's own name is no source


@pytest.mark.parametrize(("named", "kind"), [("sip", "sip"), ("mail", "mail"), ("forms", "form"), ("chats", "chat")])
def test_categories_have_our_words(named: str, kind: str):
    assert of(Request, read_requests(waiting(category=named)))[0].category == kind


def test_an_unknown_category_is_kept_and_counted():
    yielded = read_requests(waiting(category="pigeons"))
    assert of(Request, yielded)[0].category == "unknown"
    assert [notice.is_unknown for notice in of(Notice, yielded)] == [True]


def test_a_caller_has_a_number_and_a_messenger_only_one_with_a_plus():
    assert phone("sip", phone="89991234567") == "+79991234567"
    assert phone("sip", phone=None, **{"from": "+7 999 123-45-67"}) == "+79991234567"
    assert phone("chats", **{"from": "+79991234567"}) == "+79991234567"
    assert phone("chats", **{"from": "9991234567"}) is None  # the messenger's number of its user
    assert phone("mail", **{"from": {"email": "a@example.org", "name": "Иван"}}) is None
    assert phone("mail", **{"from": "a@example.org"}) is None


def test_what_people_wrote_stays_in_the_raw_copy():
    yielded = read_requests(waiting(category="mail", subject="Нужны окна", **{"from": "ivan@example.org"}))
    assert "Нужны окна" in of(RawRecord, yielded)[0].body.decode()
    assert "ivan" not in of(Request, yielded)[0].model_dump_json()


def test_the_list_says_which_requests_wait_even_if_none_does():
    assert of(Listing, read_requests(waiting("a"), waiting("b")))[0].keys == {("request:a",), ("request:b",)}
    api, _ = amo({UNSORTED: NOTHING})
    assert [(listing.keys, listing.is_queue) for listing in of(Listing, read(api, "requests"))] == [(frozenset(), True)]


def test_a_list_that_was_cut_says_of_none_that_it_was_dealt_with():
    first = page("unsorted", *[waiting(f"{n}") for n in range(50)], has_next=True)
    api, _ = amo({UNSORTED: [first, NOTHING, first, NOTHING]}, settings=LONG_LIVED.model_copy(update={"page_size": 50}))
    yielded = read(api, "requests")
    assert len(of(Request, yielded)) == 50
    assert not of(Listing, yielded)


@pytest.mark.parametrize("status", [403, 404])
def test_a_list_that_is_refused_says_of_none_that_it_was_dealt_with(status: int):
    api, _ = amo({UNSORTED: problem(status)})
    yielded = read(api, "requests")
    assert [type(thing) for thing in yielded] == [Notice, LeftOut]
    assert "left out" in yielded[0].text


def test_nothing_is_asked_where_requests_are_switched_off():
    api, server = amo(account_body={**ACCOUNT_BODY, "is_unsorted_on": False})
    assert not read(api, "requests")
    assert not server.asked(UNSORTED)


def test_a_request_that_slips_to_a_page_already_read_is_found():
    """The first of the list is accepted between two pages: what follows moves up by one."""
    before = [waiting(f"{n}") for n in range(30)]
    pages = [page("unsorted", *before[:25], has_next=True), page("unsorted", *before[26:])]
    again = [page("unsorted", *before[1:26], has_next=True), page("unsorted", *before[26:])]
    api, _ = amo({UNSORTED: [*pages, *again, NOTHING]}, settings=LONG_LIVED.model_copy(update={"page_size": 25}))
    assert ("request:25",) in of(Listing, read(api, "requests"))[0].keys


# Whole syncs against the emulated account


def test_all_requests_may_be_dealt_with_at_once(tmp_path: Path):
    crm = Crm()
    n = len(crm.account.requests)
    crm.synced(tmp_path)
    crm.passes(DAY)
    while crm.account.requests:
        crm.people("request", accepted=True)
    assert crm.synced(tmp_path).is_well
    assert rows(tmp_path, "SELECT count(*), count(processed_at) FROM request") == [(n, n)]


def test_a_request_that_is_back_in_the_list_waits(tmp_path: Path):
    crm = Crm()
    before = dict(crm.account.requests)
    crm.synced(tmp_path)
    crm.account.requests.clear()
    crm.passes(DAY)
    crm.synced(tmp_path)
    crm.account.requests.update(before)
    crm.passes(DAY)
    crm.synced(tmp_path)
    assert rows(tmp_path, "SELECT count(processed_at) FROM request") == [(0,)]
