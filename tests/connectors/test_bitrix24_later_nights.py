"""What later nights of a portal bring: rights that are missing for a night, changes that no time tells of, cards that
come into sight."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from bitrix_demo import Portal, rows
from bitrix_rows import of
from test_bitrix24_odd_cards import refusing

from connectors.connector import Window
from connectors.records import Call, Invoice, LeftOut, Message, Notice, Payment, Reread
from warehouse.status import RunStatus

DAY = timedelta(days=1)
DENIED = {"error": "ACCESS_DENIED", "error_description": "Access denied!"}


def night(portal: Portal, data_dir: Path) -> RunStatus:
    portal.passes(DAY)
    run = portal.synced(data_dir)
    assert run.is_well
    return run


def deals(portal: Portal) -> list[int]:
    found = map(portal.row, ["deal"] * len(portal.ids("deal")), portal.ids("deal"))
    return [row["ID"] for row in found if not row["IS_RECURRING"]]


def line(portal: Portal, price: str) -> dict[str, Any]:
    product = portal.row("productrow", portal.ids("productrow")[0])["PRODUCT_ID"]
    return {"PRODUCT_ID": product, "PRODUCT_NAME": "a line", "PRICE": price, "QUANTITY": 1}


def test_what_there_was_no_right_to_for_a_night_is_read_when_there_is(tmp_path: Path):
    portal = Portal()
    portal.synced(tmp_path)
    touched = deals(portal)[:3]
    for deal in touched:
        portal.people("comment", table="deal", id=deal, text="a word")
        portal.people("lines", id=deal, lines=[line(portal, "77")])
    portal.server.switch(denied_methods=("crm.timeline.comment.list", "crm.item.productrow.list"))
    run = night(portal, tmp_path).account("main")
    assert {run.resource(name).state for name in ("lines", "comments")} == {"left_out"}
    portal.server.switch(denied_methods=())
    night(portal, tmp_path)
    ids = ", ".join(f"'deal:{deal}'" for deal in touched)
    assert rows(tmp_path, f"SELECT count(*), min(price_minor) FROM deal_item WHERE deal_id IN ({ids})") == [(3, 7700)]
    assert rows(tmp_path, "SELECT count(*) FROM activity WHERE text = 'a word'") == [(3,)]


@pytest.mark.parametrize(
    ("resource", "method", "n"),
    [
        ("lines", "crm.item.productrow.list", 1),
        ("comments", "crm.timeline.comment.list", 1),
        ("invoices", "crm.item.payment.list", 10**6),
        ("conversations", "imopenlines.session.history.get", 10**6),
        ("calls", "crm.activity.list", 10**6),
    ],
)
def test_rows_that_came_without_what_there_was_no_right_to_are_asked_for_again(resource: str, method: str, n: int):
    portal = Portal()
    refusing(portal, method, DENIED, n=n)
    found = list(portal.reads(resource, Window("numbered")))
    assert of(LeftOut, found) == []
    assert any(f"{method}: the token has no right" in str(notice.text) for notice in of(Notice, found))
    (again,) = of(Reread, found)
    assert again.resource == resource
    if n == 1:
        assert len(again.ids) == 1
    refusing(portal, method, DENIED, n=10**6)
    assert of(LeftOut, list(portal.reads(resource, Window("ids", ids=again.ids)))) == [LeftOut()]


PARTS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "invoices": ("crm.item.payment.list", lambda one: isinstance(one, Payment)),
    "conversations": ("imopenlines.session.history.get", lambda one: isinstance(one, Message)),
    "calls": ("crm.activity.list", lambda one: isinstance(one, Call) and one.deal_id is not None),
}


@pytest.mark.parametrize("resource", PARTS)
def test_rows_asked_for_again_come_whole(resource: str):
    method, is_part = PARTS[resource]
    portal = Portal()
    whole = sum(map(is_part, portal.reads(resource, Window("numbered"))))
    refusing(portal, method, DENIED, n=10**6)
    found = list(portal.reads(resource, Window("numbered")))
    assert sum(map(is_part, found)) == 0 < whole
    if resource == "invoices":
        assert of(Invoice, found)
        assert any("nothing of it comes into these tables: payment" in str(notice.text) for notice in of(Notice, found))
    portal.repaint = None
    (again,) = of(Reread, found)
    assert sum(map(is_part, portal.reads(resource, Window("ids", ids=again.ids)))) == whole


@pytest.mark.parametrize(
    ("method", "resource", "table"),
    [("crm.stagehistory.list", "history", "deal_stage_transition"), ("crm.item.list", "deals", "deal, deal_contact")],
)
def test_a_list_there_is_no_right_to_is_left_out_and_told_with_what_it_costs(method: str, resource: str, table: str):
    found = list(Portal(denied_methods=(method,)).reads(resource, Window("changed")))
    assert of(LeftOut, found)
    (said, *_) = [str(notice.text) for notice in of(Notice, found)]
    assert f"{method}: the token has no right to read this" in said
    assert f"nothing of it comes into these tables: {table}" in said


def test_what_changes_without_a_change_time_is_found_by_the_sweep(tmp_path: Path):
    portal = Portal()
    portal.synced(tmp_path)
    (bound, moved, owned, paid), contacts = deals(portal)[:4], portal.ids("contact")[:2]
    lead = portal.ids("lead")[0]
    portal.people("contacts", id=bound, contact_ids=contacts)
    portal.people("update", table="deal", id=moved, fields={"STAGE_ID": "C1:WON", "CATEGORY_ID": 1}, quiet=True)
    for table, number in (("deal", owned), ("lead", lead)):
        portal.people("update", table=table, id=number, fields={"ASSIGNED_BY_ID": 1}, quiet=True)
    portal.people("update", table="deal", id=paid, fields={"OPPORTUNITY": "123.45"}, quiet=True)
    night(portal, tmp_path)
    members = f"SELECT contact_id FROM deal_contact WHERE deal_id = 'deal:{bound}' ORDER BY position"
    assert rows(tmp_path, members) == [(f"contact:{contact}",) for contact in contacts]
    owners = f"SELECT DISTINCT responsible_user_id FROM deal WHERE deal_id IN ('deal:{owned}', 'lead:{lead}')"
    assert rows(tmp_path, owners) == [("user:1",)]
    assert rows(tmp_path, f"SELECT stage_id FROM deal WHERE deal_id = 'deal:{moved}'") == [("stage:C1:WON",)]
    assert rows(tmp_path, f"SELECT amount_minor FROM deal WHERE deal_id = 'deal:{paid}'") == [(12345,)]
    portal.passes(DAY)
    asked = len(portal.asked)
    portal.synced(tmp_path)
    assert not [one for one in portal.asked[asked:] if "filter[%40id]" in one]  # what says the same is not read again


def test_a_deal_that_came_into_sight_and_was_changed_in_one_night_has_its_past(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("sync.plan.NUMBERS_AGAIN", 0)
    portal = Portal(hidden_categories=(1,))
    lines = map(portal.row, ["productrow"] * len(portal.ids("productrow")), portal.ids("productrow"))
    with_lines = {row["OWNER_ID"] for row in lines if row["OWNER_TYPE"] == "D"}
    deal = next(number for number in deals(portal) if portal.row("deal", number)["CATEGORY_ID"] == 1)
    portal.people("comment", table="deal", id=deal, text="long ago")
    portal.passes(DAY)
    portal.synced(tmp_path)
    portal.server.switch(hidden_categories=())
    portal.people("update", table="deal", id=deal, fields={"TITLE": "another"})
    night(portal, tmp_path)
    past = [portal.row("stagehistory:2", number) for number in portal.ids("stagehistory:2")]
    there = {f"history:2:{row['ID']:012d}" for row in past if row["OWNER_ID"] == deal}
    known = rows(tmp_path, f"SELECT change_id FROM deal_stage_transition WHERE deal_id = 'deal:{deal}'")
    assert {change for (change,) in known} >= there
    assert len(there) > 1
    assert rows(tmp_path, "SELECT count(*) FROM activity WHERE text = 'long ago'") == [(1,)]
    found = rows(tmp_path, f"SELECT count(*) > 0 FROM deal_item WHERE deal_id = 'deal:{deal}'")
    assert found == [(deal in with_lines,)]


def test_a_task_that_is_deleted_after_its_deal_is_found_gone(tmp_path: Path):
    portal = Portal()
    portal.synced(tmp_path)
    task, deal = next(
        (number, int(card[2:]))
        for number in portal.ids("task")
        for card in portal.row("task", number)["UF_CRM_TASK"]
        if card.startswith("D_")
    )
    alive = f"SELECT deleted_at IS NULL FROM task WHERE task_id = 'task:{task}'"
    for table, number, is_alive in (("deal", deal, True), ("task", task, False)):
        portal.people("delete", table=table, id=number)
        night(portal, tmp_path)
        assert rows(tmp_path, alive) == [(is_alive,)]
