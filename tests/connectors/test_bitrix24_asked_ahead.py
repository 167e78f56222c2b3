"""What is asked once a run is asked while others go on."""

import threading
from collections.abc import Mapping
from functools import partial

from bitrix_portal import Portal

from connectors.bitrix24.reading import Book
from connectors.bitrix24.resources import CALLS_AS, DEALS_AS
from connectors.bitrix24.walking import is_closed
from connectors.errors import ConnectorError, RetriableError

WAIT_S = 2


def test_who_needs_one_thing_does_not_wait_for_another():
    book, is_asked, is_answered = Book(), threading.Event(), threading.Event()

    def slow() -> Mapping[str, ConnectorError]:
        is_asked.set()
        is_answered.wait(WAIT_S)
        return {}

    asking = threading.Thread(target=book.refusals, args=(slow,))
    asking.start()
    assert is_asked.wait(WAIT_S)
    assert book.directories(list) == []
    assert asking.is_alive()
    is_answered.set()
    asking.join(WAIT_S)
    assert not asking.is_alive()


def test_who_needs_what_is_asked_ahead_waits_for_it_and_it_is_asked_once():
    book, is_asked, n_asked = Book(), threading.Event(), 0

    def ask() -> Mapping[str, ConnectorError]:
        nonlocal n_asked
        n_asked += 1
        is_asked.set()
        return {"user.get": RetriableError("")}

    api = Portal().open()
    api.ahead(partial(book.refusals, ask))
    assert is_asked.wait(WAIT_S)
    assert book.refusals(ask).keys() == {"user.get"}
    assert n_asked == 1
    api.close()


def test_what_failed_when_it_was_asked_ahead_is_asked_again():
    api = Portal().open()

    def fail() -> Mapping[str, ConnectorError]:
        raise RetriableError("no answer")

    api.ahead(partial(api.book.refusals, fail))
    api.close()
    assert api.book.refusals(dict) == {}


def test_nobody_asks_whether_a_list_is_given_that_every_portal_has():
    portal = Portal()
    api = portal.open()
    assert not is_closed(api, DEALS_AS)
    assert portal.asked() == []
    assert not is_closed(api, CALLS_AS)
    assert portal.asked()
