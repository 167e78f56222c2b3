"""What rights had hidden comes with its past when they are given back."""

from datetime import timedelta
from pathlib import Path

import pytest
from bitrix_demo import Portal, rows
from bitrix_rows import of

from connectors.connector import Window
from connectors.records import DealStageTransition, ProcessItemTransition, Reread

DAY = timedelta(days=1)
HIDDEN = (1,)
PAST = (
    "SELECT change_id, deal_id FROM deal_stage_transition WHERE starts_with(change_id, 'history:2:') ORDER BY change_id"
)


def test_deals_that_come_back_into_sight_have_their_history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sync.plan.NUMBERS_AGAIN", 0)
    portal = Portal(hidden_categories=HIDDEN)
    assert portal.synced(tmp_path).is_well
    seen = rows(tmp_path, PAST)
    last = max(deal_id for _, deal_id in seen)
    portal.server.switch(hidden_categories=())
    portal.passes(8 * DAY)
    assert portal.synced(tmp_path).is_well
    found = {(change_id, deal_id) for change_id, deal_id in rows(tmp_path, PAST)}
    history = [portal.row("stagehistory:2", number) for number in portal.ids("stagehistory:2")]
    there = {(f"history:2:{row['ID']:012d}", f"deal:{row['OWNER_ID']}") for row in history}
    assert found >= {(change_id, deal_id) for change_id, deal_id in there if deal_id <= last} > set(seen)


def test_deals_that_come_back_into_sight_between_sweeps_have_their_history_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("sync.plan.NUMBERS_AGAIN", 0)
    portal = Portal(hidden_categories=HIDDEN)
    assert portal.synced(tmp_path).is_well
    on_hand = {deal_id for (deal_id,) in rows(tmp_path, "SELECT deal_id FROM deal")}
    touched = [number for number in portal.ids("deal") if f"deal:{number}" not in on_hand][:3]
    portal.server.switch(hidden_categories=())
    portal.passes(DAY / 12)
    for number in touched:
        portal.people("update", table="deal", id=number, fields={"TITLE": "in sight"})
    assert portal.synced(tmp_path).is_well
    owned = [portal.row("stagehistory:2", number) for number in portal.ids("stagehistory:2")]
    there = {(f"history:2:{row['ID']:012d}", f"deal:{row['OWNER_ID']}") for row in owned if row["OWNER_ID"] in touched}
    assert there
    assert {*rows(tmp_path, PAST)} >= there


def owners(portal: Portal, type_id: int, n: int) -> list[int]:
    table = f"stagehistory:{type_id}"
    return list(dict.fromkeys(portal.row(table, number)["OWNER_ID"] for number in portal.ids(table)))[:n]


def test_history_is_read_by_its_cards():
    portal = Portal()
    deals, (item,) = owners(portal, 2, 60), owners(portal, 1036, 1)
    asked = (*(f"2:{deal}" for deal in deals), f"1036:{item}")
    found = list(portal.reads("history", Window("ids", ids=asked)))
    assert {row.deal_id for row in of(DealStageTransition, found)} == {f"deal:{deal}" for deal in deals}
    assert len(of(DealStageTransition, found)) > len(deals)
    assert {row.item_id for row in of(ProcessItemTransition, found)} == {f"item:1036:{item}"}


def test_only_cards_that_were_asked_for_by_id_ask_for_their_past():
    portal = Portal()
    (deal, *_), (contact, *_) = portal.ids("deal"), portal.ids("contact")
    by_id = list(portal.reads("deals", Window("ids", ids=(str(deal),))))
    past = [(name, (f"2:{deal}",)) for name in ("comments", "history", "lines")]
    assert [(one.resource, one.ids) for one in of(Reread, by_id)] == past
    assert of(Reread, list(portal.reads("deals", Window("numbered")))) == []
    of_contact = of(Reread, list(portal.reads("contacts", Window("ids", ids=(str(contact),)))))
    assert [(one.resource, one.ids) for one in of_contact] == [("comments", (f"3:{contact}",))]
