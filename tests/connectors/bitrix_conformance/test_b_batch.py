"""Batches: cases 24 to 33 of section 10 of the Bitrix24 reference."""

from urllib.parse import unquote

import httpx
import orjson
import pytest
from bitrix_portal import CALLS, DEALS, NOW, OLD_DEALS, Portal, deal, ids, many

from connectors.bitrix24.batching import Command, Reference
from connectors.bitrix24.paging import keyset
from connectors.errors import ForbiddenError, MissingError, PayloadError, RetriableError
from demo import bitrix24_php as php
from demo.bitrix24_batch import parse_command
from demo.bitrix24_values import Instant
from demo.gate import Fault

ANYTHING = 'R&D #1 50% «Окна» "x" a+b [c]=d?'


def test_b24_commands_that_fail_are_told_by_key_and_the_others_answered():
    portal = Portal({"deal": many(50)}, scopes=("crm",))
    portal.server.faults.append(Fault("batch:crm.status.list", body={"error": "INTERNAL_SERVER_ERROR"}))
    commands = {f"k{n}": OLD_DEALS.command({"ID": n}) for n in range(1, 48)}
    commands |= {
        "gone": Command("crm.item.get", {"entityTypeId": 2, "id": 999}),
        "calls": CALLS.command({}),
        "later": Command("crm.status.list"),
    }
    outcomes = portal.open().batch(commands)
    assert list(outcomes) == list(commands)
    assert [outcomes[f"k{n}"].result[0]["ID"] for n in range(1, 48)] == [str(n) for n in range(1, 48)]
    assert isinstance(outcomes["gone"].error, MissingError)
    assert isinstance(outcomes["calls"].error, ForbiddenError)
    assert "scope telephony" in str(outcomes["calls"].error)  # of which the portal says nothing within a batch
    assert (outcomes["later"].result, outcomes["later"].error) == ([], None)


def test_b24_a_command_that_always_fails_is_given_up_alone():
    portal = Portal({"deal": many(1)})
    portal.server.faults.append(Fault("batch:profile", body={"error": "INTERNAL_SERVER_ERROR"}, times=0))
    outcomes = portal.open().batch({"p": Command("profile"), "d": OLD_DEALS.command({})})
    assert isinstance(outcomes["p"].error, RetriableError)
    assert len(outcomes["d"].result) == 1
    assert len(portal.asked("/batch")) == 4


def test_more_than_fifty_commands_are_sent_by_fifties():
    portal = Portal({"deal": many(1)})
    api = portal.open()
    api.batch({"p": OLD_DEALS.command({})})
    outcomes = api.batch({f"k{n}": OLD_DEALS.command({}) for n in range(120)})
    assert len(outcomes) == 120
    assert portal.n_commands() == [1, 50, 50, 20]


def test_b25_empty_maps_that_come_as_lists_are_empty():
    portal = Portal({"deal": many(1)})
    seen = []

    def before(request: httpx.Request) -> httpx.Response:
        answer = portal._loop.run_until_complete(portal._answer(request))
        seen.append(orjson.loads(answer.content)["result"])
        return answer

    portal.before = before
    api = portal.open()
    assert api.batch({"d": OLD_DEALS.command({})})["d"].error is None
    assert isinstance(api.batch({"x": Command("crm.item.get", {"entityTypeId": 2, "id": 9})})["x"].error, MissingError)
    assert next(answer["result_error"] for answer in seen) == []
    assert [answer["result"] for answer in seen][1] == []


def test_b26_no_key_is_a_number():
    portal = Portal({"deal": many(700)})
    with pytest.raises(AssertionError, match="numeric keys"):
        portal.open().batch({"0": Command("profile")})
    ids(keyset(portal.open(), OLD_DEALS))
    keys = [key for entry in portal.asked("/batch") for key in entry["params"]["cmd"]]
    assert keys
    assert not any(key.isdigit() for key in keys)


def test_b27_what_was_not_reached_is_sent_again():
    portal = Portal({"deal": many(50)})
    commands = {f"k{n}": OLD_DEALS.command({"ID": n}) for n in range(1, 51)}
    commands["k10"] = OLD_DEALS.command({}, order="ASC")
    commands["k10"] = Command("crm.deal.list", {"filter": {"ID": 10}, "select": ["ID"]})
    portal.server.faults.append(Fault("batch:crm.deal.list", nth=10, body={"error": "ERROR_CORE"}))
    outcomes = portal.open().batch(commands, halt=True)
    assert isinstance(outcomes["k10"].error, PayloadError)
    assert {key for key, outcome in outcomes.items() if outcome.error} == {"k10"}
    assert [outcomes[f"k{n}"].result[0]["ID"] for n in (1, 9, 11, 50)] == ["1", "9", "11", "50"]


@pytest.mark.parametrize("n", [312, 300, 50, 49, 0])
def test_b28_a_chain_that_begins_anew_behind_its_end_gives_rows_once(n):
    portal = Portal({"deal": many(n)})
    assert ids(keyset(portal.open(), OLD_DEALS, until=2500)) == list(range(1, n + 1))


@pytest.mark.parametrize("n", [312, 300, 50, 49, 0])
def test_b29_a_chain_of_items_ends_in_errors_that_mean_nothing(n):
    portal = Portal({"deal": many(n)})
    assert ids(keyset(portal.open(), DEALS, until=2500)) == list(range(1, n + 1))


def test_an_error_behind_a_full_page_is_one():
    portal = Portal({"deal": many(500)})
    api = portal.open()
    portal.server.faults.append(Fault("batch:crm.item.list", nth=3, body={"error": "INVALID_ARG_VALUE"}))
    with pytest.raises(PayloadError, match="INVALID_ARG_VALUE"):
        ids(keyset(api, DEALS, until=500))


def test_a_chain_that_breaks_for_a_while_goes_on_where_it_was():
    portal = Portal({"deal": many(500)})
    portal.server.faults.append(Fault("batch:crm.item.list", nth=4, body={"error": "INTERNAL_SERVER_ERROR"}, times=2))
    assert ids(keyset(portal.open(), DEALS, until=500)) == list(range(1, 501))


def test_b30_the_offset_of_an_instant_survives_a_batch():
    changed = [deal(1, DATE_MODIFY=Instant(NOW - 7200)), deal(2, DATE_MODIFY=Instant(NOW - 3600))]
    portal = Portal({"deal": changed})
    api = portal.open()
    since = {">=DATE_MODIFY": "2026-08-20T11:52:00+03:00"}
    outcome = api.batch({"d": OLD_DEALS.command(since)})["d"]
    assert [row["ID"] for row in outcome.result] == ["2"]
    (entry,) = portal.asked("/batch")
    assert "%2B03%3A00" in entry["params"]["cmd"]["d"]


def test_b31_any_text_arrives_as_it_was():
    portal = Portal({"deal": [deal(1, TITLE=ANYTHING), deal(2)]})
    outcome = portal.open().batch({"d": OLD_DEALS.command({"TITLE": ANYTHING})})["d"]
    assert [row["ID"] for row in outcome.result] == ["1"]
    assert parse_command(str(Command("crm.deal.list", {"filter": {"%TITLE": ANYTHING}})))[1] == {
        "filter": {"%TITLE": ANYTHING}
    }


def test_a_reference_is_left_for_the_portal_to_read():
    written = str(Command("crm.item.list", {"filter": {">id": Reference("$result[p0][items][49][id]")}}))
    assert written == "crm.item.list?filter[%3Eid]=$result[p0][items][49][id]"


def test_what_looks_like_a_reference_is_none():
    written = str(Command("crm.deal.list", {"filter": {"TITLE": "$result[p0]"}}))
    assert unquote(written) != written
    assert php.parse_str(written.partition("?")[2]) == {"filter": {"TITLE": "$result[p0]"}}


def test_b32_an_error_with_status_200_is_an_error():
    portal = Portal()
    portal.server.faults.append(Fault("profile", status=200, body={"error": "X", "error_description": "Y"}))
    with pytest.raises(PayloadError, match=r"refused with X \(Y\)"):
        portal.open().call("profile")


@pytest.mark.parametrize("code", ["", 0, "0", None])
@pytest.mark.parametrize("status", [200, 400])
def test_b33_an_error_is_told_by_its_key_and_not_by_its_value(code, status):
    portal = Portal()
    body = {"error": code, "error_description": "ID is not defined or invalid."}
    portal.server.faults.append(Fault("profile", status=status, body=body))
    with pytest.raises(PayloadError, match="ID is not defined"):
        portal.open().call("profile")


@pytest.mark.parametrize(
    ("text", "kind"), [("Access denied.", ForbiddenError), ("Not found", MissingError), ("?", PayloadError)]
)
def test_an_empty_code_is_understood_by_its_text(text, kind):
    portal = Portal()
    portal.server.faults.append(Fault("profile", status=400, body={"error": "", "error_description": text}))
    with pytest.raises(kind):
        portal.open().call("profile")
