"""A card whose part cannot be read costs that part, not the list it is in."""

import json
from typing import Any

import pytest
from bitrix_demo import Portal
from bitrix_rows import of

from connectors.connector import Window
from connectors.errors import PayloadError, RetriableError
from connectors.records import Activity, Chat, DealItem, Invoice, Message, Notice, Payment, Record, Yield

NUMBERED = Window("numbered")
ODD = {"error": 0, "error_description": "Could not load the item"}
Json = dict[str, Any]


def refusing(portal: Portal, method: str, error: Json, *, n: int) -> None:
    """The portal answers the first `n` questions of a method with an error, as commands of a batch."""
    refused: list[str] = []

    def repaint(asked: str, answer: Json) -> Json:
        what, _, body = asked.partition(" ")
        if what != "batch":
            return answer
        result = answer["result"]
        for key, command in json.loads(body)["cmd"].items():
            if command.startswith(f"{method}?") and (command in refused or len(refused) < n):
                refused.append(command)
                result["result"].pop(key, None)
                result["result_error"] = {**(result["result_error"] or {}), key: error}
        return answer

    portal.repaint = repaint


def read(portal: Portal, resource: str) -> list[Yield]:
    return list(portal.reads(resource, NUMBERED))


@pytest.mark.parametrize(
    ("resource", "method", "whole", "part"),
    [
        ("invoices", "crm.item.payment.list", Invoice, Payment),
        ("lines", "crm.item.productrow.list", None, DealItem),
        ("conversations", "imopenlines.session.history.get", Chat, Message),
        ("comments", "crm.timeline.comment.list", None, Activity),
    ],
)
def test_an_odd_card_goes_without_its_part_and_is_told(
    resource: str, method: str, whole: type[Record] | None, part: type[Record]
):
    before = read(Portal(), resource)
    portal = Portal()
    refusing(portal, method, ODD, n=2)
    found = read(portal, resource)
    if whole:
        assert len(of(whole, found)) == len(of(whole, before))
    assert 0 < len(of(part, found)) <= len(of(part, before))
    told = {str(notice.text): notice.n for notice in of(Notice, found)}
    assert told[f"{method}: could not be read for single rows"] == 2


def test_what_all_rows_are_refused_with_stops_the_list():
    portal = Portal()
    refusing(portal, "crm.item.payment.list", ODD, n=10**6)
    with pytest.raises(PayloadError, match="Could not load the item"):
        read(portal, "invoices")


def test_what_is_worth_asking_again_stops_the_list_though_it_is_of_one_row():
    portal = Portal()
    refusing(portal, "crm.item.payment.list", {"error": "INTERNAL_SERVER_ERROR", "error_description": ""}, n=1)
    with pytest.raises(RetriableError):
        read(portal, "invoices")
