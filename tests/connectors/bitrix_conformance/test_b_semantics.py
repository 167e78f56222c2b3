"""What was deleted, restored, merged, moved or hidden between two syncs: cases 60 to 75 of the reference."""

import shutil
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest
from amo_demo import DAY, published
from bitrix_demo import BY_CONSENT, Portal, rows
from bitrix_rows import ACTIVITY, CALL, DEAL, become, of, only, reading
from demo_crm import scratch, tables_of

from connectors.bitrix24.activities import activity_records
from connectors.bitrix24.calls import call_records
from connectors.bitrix24.contacts import company_records
from connectors.bitrix24.deals import deal_records
from connectors.bitrix24.events import deletion_records
from connectors.bitrix24.history import history_records
from connectors.connector import Window
from connectors.records import (
    Call,
    Company,
    Deal,
    DealStageTransition,
    Notice,
    OwnedSet,
    ProcessItem,
    Shown,
    Task,
    TaskLink,
    Tombstone,
)
from demo.bitrix24_values import Instant

HOUR = timedelta(hours=1)
LONG_AGO = Instant(1_751_353_200)
MOVES = "SELECT count(*) FROM deal_stage_transition WHERE starts_with(change_id, 'history:') AND deal_id = 'deal:{id}'"


@cache
def _synced() -> Path:
    folder = Path(scratch().name) / "bitrix24-conformance"
    assert Portal().synced(folder).is_well
    return folder


def read_yesterday(data_dir: Path) -> Portal:
    """A portal that was read into `data_dir` an hour ago."""
    shutil.copytree(_synced(), data_dir)
    portal = Portal()
    portal.passes(HOUR)
    return portal


def deal_of(data_dir: Path, number: int, columns: str = "deal_id") -> list[tuple[Any, ...]]:
    return rows(data_dir, f"SELECT {columns} FROM deal WHERE deal_id = 'deal:{number}'")


# What change dates do not tell


def test_b60_a_deal_out_of_the_bin_has_a_new_id_and_an_old_date_and_is_read(tmp_path: Path):
    portal = read_yesterday(tmp_path / "data")
    portal.people("delete", table="deal", id=portal.ids("deal")[0])
    portal.passes(HOUR)
    new = portal.people("restore", table="deal", id=portal.portal.table("deal").deleted.copy().popitem()[0])["id"]
    assert portal.synced(tmp_path / "data").is_well
    ((updated_at,),) = deal_of(tmp_path / "data", new, "source_updated_at")
    assert updated_at < portal.now - 30 * DAY


def test_b61_an_imported_deal_with_an_old_date_is_read(tmp_path: Path):
    portal = read_yesterday(tmp_path / "data")
    new = portal.people("add", table="deal", fields={"DATE_CREATE": LONG_AGO, "DATE_MODIFY": LONG_AGO})["id"]
    assert portal.synced(tmp_path / "data").is_well
    assert len(deal_of(tmp_path / "data", new)) == 1


# What is gone, and what is only out of sight


def test_b62_a_deleted_deal_is_marked_and_keeps_its_history(tmp_path: Path):
    portal, gone = read_yesterday(tmp_path / "data"), Portal().ids("deal")[3]
    moves = rows(tmp_path / "data", MOVES.format(id=gone))
    portal.people("delete", table="deal", id=gone)
    portal.passes(8 * DAY)
    assert portal.synced(tmp_path / "data").is_well
    ((deleted_at,),) = deal_of(tmp_path / "data", gone, "deleted_at")
    assert deleted_at == portal.now
    assert rows(tmp_path / "data", MOVES.format(id=gone)) == moves > [(0,)]


def test_b62_a_deletion_told_by_an_event_has_its_own_time(tmp_path: Path):
    portal = consented(tmp_path / "state")
    portal.people("delete", table="deal", id=portal.ids("deal")[3])
    api = portal.open(BY_CONSENT, state_dir=tmp_path / "state")
    tombstone = only(Tombstone, list(portal.reads("events", Window("changed"), api=api)))
    assert (tombstone.id, tombstone.deleted_at) == (f"deal:{Portal().ids('deal')[3]}", portal.now)


def test_b63_the_loser_of_a_merge_is_gone_and_its_deals_are_the_survivors(tmp_path: Path):
    portal = read_yesterday(tmp_path / "data")
    held = {number: portal.row("deal", number)["CONTACT_ID"] for number in portal.ids("deal")}
    deal, loser = next((number, contact) for number, contact in held.items() if contact)
    survivor = next(number for number in portal.ids("contact") if number != loser)
    portal.people("merge", table="contact", id=loser, into=survivor)
    portal.people("update", table="deal", id=deal, fields={"OPPORTUNITY": "100"})
    portal.passes(8 * DAY)
    assert portal.synced(tmp_path / "data").is_well
    assert rows(tmp_path / "data", f"SELECT deleted_at FROM contact WHERE contact_id = 'contact:{loser}'") == [
        (portal.now,)
    ]
    assert deal_of(tmp_path / "data", deal, "main_contact_id") == [(f"contact:{survivor}",)]


@pytest.mark.parametrize("told", [False, True], ids=["swept", "told"])
def test_b63_what_names_the_loser_of_a_merge_is_read_again_though_nothing_says_that_it_has_changed(
    tmp_path: Path, told: bool
):
    portal, data_dir = Portal(), tmp_path / "data"
    if told:
        portal.consents(data_dir / "state" / "main")
        portal.settings = BY_CONSENT
    assert portal.synced(data_dir).is_well
    held = {number: portal.row("deal", number)["CONTACT_IDS"] for number in portal.ids("deal")}
    losers = next(contacts for contacts in held.values() if len(contacts) > 1)
    survivor = next(number for number in portal.ids("contact") if number not in losers)
    portal.passes(DAY)
    for loser in losers:
        portal.people("merge", table="contact", id=loser, into=survivor)
    portal.passes(HOUR)
    assert portal.synced(data_dir).is_well
    named = ", ".join(f"'contact:{loser}'" for loser in losers)
    for table in ("deal_contact", "activity", "message"):
        assert rows(data_dir, f"SELECT count(*) FROM {table} WHERE contact_id IN ({named}) AND read_seq > 0") == [(0,)]
    n_asked, by_id = len(portal.asked), "filter[%40id]"
    assert any(by_id in asked for asked in portal.asked)
    portal.passes(DAY)
    assert portal.synced(data_dir).is_well
    assert not any(by_id in asked for asked in portal.asked[n_asked:])


def test_b64_deals_of_a_pipeline_that_may_not_be_seen_any_more_are_not_deleted(tmp_path: Path):
    portal = read_yesterday(tmp_path / "data")
    portal.server.switch(hidden_categories=(1,))
    portal.passes(8 * DAY)
    done = portal.synced(tmp_path / "data")
    assert rows(tmp_path / "data", "SELECT count(*) FROM deal WHERE deleted_at IS NOT NULL") == [(0,)]
    (deals,) = [status for status in done.account("main").resources if status.resource == "deals"]
    assert any("could not be seen" in text for text in deals.warnings)


# History


def arrival(number: int, **changes: Any) -> dict[str, Any]:
    place = {"CATEGORY_ID": 0, "STAGE_ID": "NEW", "STAGE_SEMANTIC_ID": "P"}
    return {"ID": number, "TYPE_ID": 1, "OWNER_ID": 21, "CREATED_TIME": "2026-08-01T10:00:01+03:00"} | place | changes


def moved(row: dict[str, Any], type_id: int = 2) -> Any:
    def to_records(row: Any, walk: Any, raw_hash: str) -> Any:
        return history_records(row, walk, raw_hash, type_id=type_id)

    return only(DealStageTransition, become(to_records, row, key="ID"))


def stays(data_dir: Path, portal: Portal, number: int) -> list[tuple[Any, ...]]:
    table = published(data_dir, now=portal.now)("stage_interval").filter(deal_id=f"deal:{number}").sort("n")
    return table.select("pipeline_id", "stage_id", "entered_at", "left_at", "is_inferred").rows()


def test_b65_a_deal_created_at_an_end_has_one_stay(tmp_path: Path):
    portal = read_yesterday(tmp_path / "data")
    new = portal.people("add", table="deal", fields={"STAGE_ID": "WON"})["id"]
    assert portal.synced(tmp_path / "data").is_well
    assert stays(tmp_path / "data", portal, new) == [("pipeline:2:0", "stage:WON", portal.now, None, False)]


def test_b66_time_is_split_where_a_deal_changed_its_pipeline(tmp_path: Path):
    portal = read_yesterday(tmp_path / "data")
    new, since = portal.people("add", table="deal")["id"], portal.now
    portal.passes(HOUR)
    portal.people("move", table="deal", id=new, stage="C1:PREPARATION")
    portal.passes(HOUR)
    assert portal.synced(tmp_path / "data").is_well
    assert stays(tmp_path / "data", portal, new) == [
        ("pipeline:2:0", "stage:NEW", since, since + HOUR, False),
        ("pipeline:2:1", "stage:C1:PREPARATION", since + HOUR, None, False),
    ]


def test_b66_every_type_of_row_is_an_arrival():
    turned = moved(arrival(7, TYPE_ID=5, CATEGORY_ID=1, STAGE_ID="C1:WON", STAGE_SEMANTIC_ID="S"))
    assert (turned.to_pipeline_id, turned.to_stage_id, turned.origin) == ("pipeline:2:1", "stage:C1:WON", "event")
    lead = {"STATUS_ID": "JUNK", "STATUS_SEMANTIC_ID": "F"}
    row = {name: value for name, value in arrival(8, TYPE_ID=3).items() if not name.startswith(("STAGE", "CATEGORY"))}
    assert moved(row | lead, type_id=1).to_pipeline_id == "pipeline:1:0"


def test_b66_moves_of_a_second_keep_their_order():
    assert moved(arrival(9)).change_id < moved(arrival(10)).change_id


def test_b67_where_history_leads_elsewhere_a_stay_since_the_last_move_is_put_in_and_marked(tmp_path: Path):
    portal = read_yesterday(tmp_path / "data")
    new, since = portal.people("add", table="deal")["id"], portal.now
    portal.passes(HOUR)
    portal.people("move", table="deal", id=new, stage="EXECUTING")
    history = portal.portal.table("stagehistory:2")
    history.remove(max(history.owned_by(new)))
    portal.passes(HOUR)
    assert portal.synced(tmp_path / "data").is_well
    assert stays(tmp_path / "data", portal, new) == [
        ("pipeline:2:0", "stage:NEW", since, since + HOUR, False),
        ("pipeline:2:0", "stage:EXECUTING", since + HOUR, None, True),
    ]


# Calls


def call(**changes: Any) -> Any:
    return only(Call, become(call_records, CALL | changes, key="ID"))


def test_b68_only_an_incoming_304_is_a_missed_call():
    assert call(CALL_TYPE="2", CALL_FAILED_CODE="304").status == "missed"
    assert call(CALL_TYPE="1", CALL_FAILED_CODE="304").status == "no_answer"


@pytest.mark.parametrize(
    ("kind", "code", "expected"),
    [
        ("3", "304", ("in", "redirect", "missed")),
        ("2", "603-S", ("in", "normal", "missed")),
        ("2", "404", ("in", "normal", "failed")),
        ("1", "486", ("out", "normal", "busy")),
        ("1", "603", ("out", "normal", "declined")),
        ("1", "404", ("out", "normal", "wrong_number")),
        ("1", "423", ("out", "normal", "failed")),
        ("4", "200", ("out", "callback_request", "answered")),
        ("5", "200", ("out", "robot", "answered")),
        ("9", "200", ("unknown", "unknown", "answered")),
    ],
)
def test_b68_types_and_codes_of_calls(kind: str, code: str, expected: tuple[str, str, str]):
    found = call(CALL_TYPE=kind, CALL_FAILED_CODE=code)
    assert (found.direction, found.subtype, found.status) == expected


def test_b68_which_codes_are_missed_is_a_setting():
    walk = reading(missed_codes=("304",))
    found = become(call_records, CALL | {"CALL_FAILED_CODE": "603"}, walk, key="ID")
    assert only(Call, found).status == "failed"


# Runs


def test_b69_a_first_sync_that_crashed_goes_on_and_has_every_row_once(tmp_path: Path):
    portal = Portal()

    def crash(n: int, _: str) -> None:
        if n > 40:
            raise httpx.ConnectError("no route")

    portal.before = crash
    assert not portal.synced(tmp_path / "data").is_well
    portal.before = lambda n, asked: None
    assert portal.synced(tmp_path / "data").is_well
    assert tables_of(tmp_path / "data", without=("phone_key", "email_key")) == tables_of(
        _synced(), without=("phone_key", "email_key")
    )


def test_b70_rows_read_again_unchanged_are_no_news(tmp_path: Path):
    portal = read_yesterday(tmp_path / "data")
    query = "SELECT (SELECT max(load_seq) FROM deal), (SELECT count(*) FROM raw_record), (SELECT count(*) FROM deal)"
    before = rows(tmp_path / "data", query)
    portal.passes(timedelta(minutes=-55))
    assert portal.synced(tmp_path / "data").is_well
    assert rows(tmp_path / "data", query) == before


# Events


def consented(state_dir: Path, **switches: Any) -> Portal:
    portal = Portal(**switches)
    portal.consents(state_dir)
    return portal


def event(name: str, number: int = 5, **fields: Any) -> dict[str, Any]:
    data = {"FIELDS": {"ID": number, **fields}}
    return {"ID": "1", "TIMESTAMP_X": "2026-08-20T12:00:00+03:00", "EVENT_NAME": name, "EVENT_DATA": data}


@pytest.mark.parametrize(
    "order", [("ADD", "UPDATE", "DELETE"), ("DELETE", "ADD", "UPDATE"), ("UPDATE", "DELETE", "ADD")]
)
def test_b71_whatever_the_order_of_events_what_was_deleted_is_deleted(order: tuple[str, ...]):
    found = [item for name in order for item in become(deletion_records, event(f"ONCRMDEAL{name}"), key="ID")]
    assert [(row.kind, row.id, row.is_vague) for row in of(Tombstone, found)] == [(Deal, "deal:5", False)]


def test_a_deleted_task_is_told_by_what_was_before():
    told = event("ONTASKDELETE") | {"EVENT_DATA": {"FIELDS_BEFORE": {"ID": 5}, "FIELDS_AFTER": "undefined"}}
    found = become(deletion_records, told, key="ID")
    assert [(row.kind, row.id) for row in of(Tombstone, found)] == [(Task, "task:5")]


def test_a_task_deleted_on_the_portal_is_told_by_the_queue(tmp_path: Path):
    portal = consented(tmp_path / "state")
    number = portal.ids("task")[0]
    portal.people("delete", table="task", id=number)
    api = portal.open(BY_CONSENT, state_dir=tmp_path / "state")
    assert only(Tombstone, list(portal.reads("events", Window("changed"), api=api))).id == f"task:{number}"


def test_b71_a_deletion_names_its_entity_type_where_ids_repeat():
    name = "ONCRMDYNAMICITEMDELETE_147"
    found = become(deletion_records, event(name, ENTITY_TYPE_ID=147), key="ID")
    assert [(row.kind, row.id) for row in of(Tombstone, found)] == [(ProcessItem, "item:147:5")]


def test_b72_without_the_queue_deletions_are_left_to_sweeps_and_that_is_told(tmp_path: Path):
    portal = consented(tmp_path / "state", denied_methods=("event.offline.*",))
    api = portal.open(BY_CONSENT, state_dir=tmp_path / "state")
    told = only(Notice, list(portal.reads("events", Window("changed"), api=api)))
    assert "Deletions are found by sweeps only (sweep_every_days: 1)." in str(told.text)


def test_b72_a_webhook_does_not_ask_for_the_queue():
    portal = Portal()
    assert list(portal.reads("events", Window("changed"))) == []
    assert not any(asked.startswith("event.") for asked in portal.asked)


# What is no deal, no client, or somebody else's


def test_b73_a_template_of_recurring_deals_is_kept_raw_and_is_no_deal():
    found = become(deal_records, DEAL | {"isRecurring": "Y"})
    assert [type(item).__name__ for item in found] == ["RawRecord"]


def test_b73_a_sweep_does_not_show_templates():
    portal = Portal()
    template = portal.people("add", table="deal", fields={"IS_RECURRING": True})["id"]
    shown = [number for page in of(Shown, list(portal.reads("deals", Window("sweep")))) for number in page.ids]
    assert str(template) not in shown
    assert len(shown) == len(portal.ids("deal")) - 1


def test_b74_a_company_of_ones_own_is_marked():
    company = {"id": 1, "title": "Окна Волги", "createdTime": "2026-08-01T10:00:01+03:00"}
    assert only(Company, become(company_records, company | {"isMyCompany": "Y"})).is_my_company
    assert not only(Company, become(company_records, company | {"isMyCompany": "N"})).is_my_company


def test_b74_a_company_of_ones_own_is_no_client(tmp_path: Path):
    shutil.copytree(_synced(), tmp_path / "data")
    clients = published(tmp_path / "data", now=Portal().now)("client")["client_id"].to_list()
    ((own,),) = rows(tmp_path / "data", "SELECT company_id FROM company WHERE is_my_company")
    assert own not in clients


@pytest.mark.parametrize(("type_id", "card"), [("1", "lead:15"), ("2", "deal:15"), ("3", "contact:15")])
def test_b75_the_same_number_of_another_type_is_another_card(type_id: str, card: str):
    found = become(activity_records, ACTIVITY | {"OWNER_TYPE_ID": type_id}, key="ID")
    assert only(Task, found).entity_id == card
    assert only(TaskLink, found).entity_id == card
    assert [item.kind for item in found if isinstance(item, OwnedSet)] == [TaskLink]
