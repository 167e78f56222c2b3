"""The demo company as the Bitrix24 portal holds it: the same clients, moves, calls and tasks under its rules."""

from collections import Counter, defaultdict
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from demo import office
from demo.bitrix24_filters import Cache, Condition, Query, Selection
from demo.bitrix24_past import CREATED, FINISHED, MOVED, PIPELINE_CHANGED
from demo.bitrix24_portal import Portal
from demo.bitrix24_setup import CATEGORIES, LOSS_FIELD, OPEN_CODES, PLACES, ROOT_DEPARTMENT, UNSORTED
from demo.bitrix24_switches import Switches
from demo.company import Company
from demo.model import LEAD, Deal
from demo.notes import LETTERS
from demo.office import LOST, WON

Row = dict[str, Any]


@pytest.fixture(scope="module")
def portal(company: Company) -> Portal:
    return Portal(company, Switches())


def rows(portal: Portal, name: str) -> list[Row]:
    """All rows of a list, by id."""
    table = portal.table(name)
    assert table is not None
    found = [table.get(number) for number in table.ids]
    assert all(row is not None for row in found)
    return found  # type: ignore[return-value]


def of(portal: Portal, name: str) -> dict[int, Row]:
    return {row["ID"]: row for row in rows(portal, name)}


def histories(portal: Portal, entity_type: int) -> dict[int, list[Row]]:
    """Rows of the stage history of each item, in order of id."""
    found: dict[int, list[Row]] = defaultdict(list)
    for row in rows(portal, f"stagehistory:{entity_type}"):
        found[row["OWNER_ID"]].append(row)
    return found


def test_every_list_is_ordered_by_id_and_its_changes_by_instant(portal: Portal) -> None:
    for name in portal.names():
        table = portal.table(name)
        assert table is not None
        assert list(table.ids) == sorted(set(table.ids)), name
        if table.modified is not None:
            stamps = [row[table.stamp] for number in table.modified.ids if (row := table.get(number))]
            assert stamps == sorted(stamps) == list(table.modified.values), name


def test_deals_keep_the_twins_ids_people_and_instants(portal: Portal, company: Company) -> None:
    found = of(portal, "deal")
    assert set(found) == {deal.id for deal in company.deals if not deal.deleted_at}
    for deal in company.deals:
        if row := found.get(deal.id):
            assert (row["DATE_CREATE"], row["DATE_MODIFY"]) == (deal.created_at, deal.updated_at)
            assert (row["ASSIGNED_BY_ID"], row["COMPANY_ID"] or 0) == (deal.user_id, deal.company_id)
            assert (row["CONTACT_ID"] or 0, sorted(row["CONTACT_IDS"])) == (
                deal.main_contact_id,
                sorted(deal.contact_ids),
            )
            assert row["OPPORTUNITY"] == (deal.price or 0)
            assert row[LOSS_FIELD] == (deal.loss_reason_id or None)


def test_pipelines_are_categories_and_142_and_143_are_won_and_lost(portal: Portal, company: Company) -> None:
    found = of(portal, "deal")
    for deal in company.deals:
        if row := found.get(deal.id):
            number = CATEGORIES[deal.pipeline_id]
            assert row["CATEGORY_ID"] == number
            assert row["STAGE_ID"] == (f"C{number}:" if number else "") + code_of(deal)
            assert row["STAGE_SEMANTIC_ID"] == {WON: "S", LOST: "F"}.get(deal.stage_id, "P")
            assert row["CLOSED"] is (deal.stage_id in {WON, LOST})


def code_of(deal: Deal) -> str:
    """The code of a deal's stage, whatever its category."""
    closed = {WON: "WON", LOST: "LOSE"}
    return closed.get(deal.stage_id) or OPEN_CODES[office.OPEN_STAGES[deal.pipeline_id].index(deal.stage_id)]


def test_the_history_of_a_deal_ends_where_it_stands(portal: Portal) -> None:
    deals = of(portal, "deal")
    found = histories(portal, 2)
    assert set(found) == set(deals)  # those of deleted deals are gone
    for number, turns in found.items():
        assert turns[-1]["STAGE_ID"] == deals[number]["STAGE_ID"]
        assert deals[number]["MOVED_TIME"] == turns[-1]["CREATED_TIME"]


def test_the_type_of_a_history_row_tells_how_the_deal_moved(portal: Portal) -> None:
    for turns in histories(portal, 2).values():
        is_closed = turns[0]["STAGE_SEMANTIC_ID"] != "P"
        assert turns[0]["TYPE_ID"] == (FINISHED if is_closed else CREATED)
        for before, turn in pairwise(turns):
            assert turn["STAGE_ID"] != before["STAGE_ID"]
            if turn["CATEGORY_ID"] != before["CATEGORY_ID"]:
                assert turn["TYPE_ID"] == PIPELINE_CHANGED
            else:
                assert turn["TYPE_ID"] == (FINISHED if turn["STAGE_SEMANTIC_ID"] != "P" else MOVED)
    types = Counter(row["TYPE_ID"] for row in rows(portal, "stagehistory:2"))
    assert set(types) == {CREATED, MOVED, FINISHED, PIPELINE_CHANGED}


def test_history_holds_each_move_but_the_accepting_of_what_was_unsorted(portal: Portal, company: Company) -> None:
    alive = {deal.id for deal in company.deals if not deal.deleted_at}
    planted = Counter(
        (move.deal_id, move.at, PLACES[move.to_pipeline_id, move.to_stage_id].code)
        for move in company.moves
        if move.deal_id in alive
    )
    found = histories(portal, 2)
    beginnings = {(turns[0]["OWNER_ID"], turns[0]["CREATED_TIME"], turns[0]["STAGE_ID"]) for turns in found.values()}
    listed = Counter((row["OWNER_ID"], row["CREATED_TIME"], row["STAGE_ID"]) for row in rows(portal, "stagehistory:2"))
    accepted = {
        (move.deal_id, move.at, PLACES[move.to_pipeline_id, move.to_stage_id].code)
        for move in company.moves
        if move.from_stage_id in UNSORTED and move.deal_id in alive
    }
    assert accepted
    assert accepted <= beginnings
    assert listed - planted == Counter(beginnings - accepted)
    assert not planted - listed


def test_a_deal_brought_in_closed_has_one_row_of_its_closing(portal: Portal, company: Company) -> None:
    found = histories(portal, 2)
    brought = [d for d in company.deals if d.is_imported and d.closed_at and not d.deleted_at]
    assert brought
    for deal in brought:
        (turn,) = found[deal.id]
        assert (turn["TYPE_ID"], turn["CREATED_TIME"]) == (FINISHED, deal.closed_at)


def test_what_came_in_unsorted_was_a_lead(portal: Portal, company: Company) -> None:
    leads, deals = of(portal, "lead"), of(portal, "deal")
    turns = histories(portal, 1)
    unsorted = [d for d in company.deals if d.first_stage_id in UNSORTED and not d.deleted_at]
    assert unsorted
    for deal in unsorted:
        lead = leads[deals[deal.id]["LEAD_ID"]]
        assert lead["DATE_CREATE"] == deal.created_at == turns[lead["ID"]][0]["CREATED_TIME"]
        assert [turn["STATUS_ID"] for turn in turns[lead["ID"]]] == ["NEW", "CONVERTED"]
        assert (lead["CONTACT_IDS"][:1], lead["COMPANY_ID"]) == (
            deals[deal.id]["CONTACT_IDS"][:1],
            deals[deal.id]["COMPANY_ID"],
        )
    waiting = {row["ID"] for row in leads.values() if row["STATUS_ID"] == "NEW"}
    assert waiting == {request.deal_id for request in company.requests}
    assert set(leads) == waiting | {deal.id for deal in unsorted}


def test_cards_carry_phones_as_they_were_typed(portal: Portal, company: Company) -> None:
    for name, cards in (("contact", company.contacts), ("company", company.firms)):
        found = of(portal, name)
        for card in cards:
            assert (card.id in found) is not bool(card.deleted_at)
            if not card.deleted_at:
                assert [phone["VALUE"] for phone in found[card.id]["PHONE"]] == list(card.phones)
    ids = [value["ID"] for name in ("contact", "company") for row in rows(portal, name)
           for kind in ("PHONE", "EMAIL") for value in row[kind]]  # fmt: skip
    assert len(ids) == len(set(ids))


def test_one_company_is_the_accounts_own(portal: Portal) -> None:
    (own,) = [row["ID"] for row in rows(portal, "company") if row["IS_MY_COMPANY"]]
    assert all(deal["COMPANY_ID"] != own for deal in rows(portal, "deal"))


def calls_of(portal: Portal) -> dict[tuple[str, str], list[Row]]:
    """Calls by direction and number, extensions and hidden ones left out, in order of start."""
    found: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in sorted(rows(portal, "call"), key=lambda row: (row["CALL_START_DATE"], row["ID"])):
        phone = row["PHONE_NUMBER"].lstrip("+")
        if len(phone) == 11:
            found["out" if row["CALL_TYPE"] == 1 else "in", phone].append(row)
    return found


def test_every_conversation_is_one_call_or_the_legs_of_one(portal: Portal, company: Company) -> None:
    of_client = {phone: client.no for client in company.clients for phone in client.phones}
    heard = []
    for (way, phone), calls in calls_of(portal).items():
        legs: list[Row] = []
        for call in calls:
            if legs and call["CALL_START_DATE"] > legs[-1]["CALL_START_DATE"] + legs[-1]["CALL_DURATION"] + 5:
                heard.append((of_client[int(phone)], way, legs))
                legs = []
            legs.append(call)
        heard.append((of_client[int(phone)], way, legs))
    found = Counter(
        (client_no, way == "in", legs[0]["CALL_START_DATE"], any(leg["CALL_FAILED_CODE"] == "200" for leg in legs),
         sum(leg["CALL_DURATION"] for leg in legs), len({leg["PORTAL_USER_ID"] for leg in legs}) > 1)
        for client_no, way, legs in heard
    )  # fmt: skip
    planted = Counter(
        (talk.client_no, bool(talk.is_in), talk.at, bool(talk.is_answered), max(talk.talk_s, 0))
        for talk in company.conversations
        if not talk.kind
    )
    assert Counter(key[:5] for key in found.elements()) == planted
    several = {(talk.client_no, talk.at) for talk in company.conversations if talk.n_rung > 1}
    assert several <= {(key[0], key[2]) for key in found if key[5]}


def test_legs_of_a_call_are_on_one_line(portal: Portal) -> None:
    for calls in calls_of(portal).values():
        for before, call in pairwise(calls):
            if call["CALL_START_DATE"] - before["CALL_START_DATE"] < 2_000:
                assert call["PORTAL_NUMBER"] == before["PORTAL_NUMBER"]


def test_a_call_and_its_activity_name_each_other(portal: Portal) -> None:
    activities = of(portal, "activity")
    for call in rows(portal, "call"):
        activity = activities[call["CRM_ACTIVITY_ID"]]
        assert activity["ORIGIN_ID"] == f"VI_{call['CALL_ID']}"
        assert activity["START_TIME"] == call["CALL_START_DATE"]
        is_missed = call["CALL_TYPE"] == 2 and call["CALL_FAILED_CODE"] == "304"
        assert activity["SETTINGS"] == ({"MISSED_CALL": True} if is_missed else {})
    assert sum(one["TYPE_ID"] == 2 for one in activities.values()) == len(rows(portal, "call"))


def test_activities_hang_on_cards_that_are_there(portal: Portal) -> None:
    cards = {1: of(portal, "lead"), 2: of(portal, "deal"), 3: of(portal, "contact"), 4: of(portal, "company")}
    for row in rows(portal, "activity"):
        assert row["OWNER_ID"] in cards[row["OWNER_TYPE_ID"]]
        assert {"OWNER_TYPE_ID": row["OWNER_TYPE_ID"], "OWNER_ID": row["OWNER_ID"]} == row["BINDINGS"][0]


def test_tasks_to_meet_are_activities(portal: Portal, company: Company) -> None:
    gone = {deal.id for deal in company.deals if deal.deleted_at}
    planted = Counter(
        (task.created_at, task.due_at, task.completed_at, task.user_id)
        for task in company.tasks
        if task.type_id == office.TASK_TYPES[1].id and not task.deleted_at and task.entity_kind
        if not (task.entity_kind == LEAD and task.entity_id in gone)
    )
    meetings = [row for row in rows(portal, "activity") if row["TYPE_ID"] == 1]
    assert planted == Counter(
        (row["CREATED"], row["DEADLINE"], row["START_TIME"] if row["COMPLETED"] else 0, row["RESPONSIBLE_ID"])
        for row in meetings
    )
    assert all(row["LAST_UPDATED"] == row["START_TIME"] for row in meetings if row["COMPLETED"])


def test_letters_are_activities_and_other_notes_comments(portal: Portal, company: Company) -> None:
    letters = [row for row in rows(portal, "activity") if row["PROVIDER_ID"] in {"CRM_EMAIL", "CRM_SMS"}]
    assert len(letters) == sum(note.note_type in LETTERS for note in company.notes)
    assert len(rows(portal, "comment")) == sum(note.note_type not in LETTERS for note in company.notes)
    assert {row["DIRECTION"] for row in letters} == {1, 2}


def test_sessions_hold_the_messages_of_their_chat(portal: Portal, company: Company) -> None:
    sessions = of(portal, "session")
    written: dict[int, list[tuple[int, bool, int]]] = defaultdict(list)
    for message in company.messages:
        written[message.talk_id].append((message.at, bool(message.is_in), message.user_id))
    numbers = []
    for talk in company.talks:
        opening, *lines = sessions[talk.id]["MESSAGES"]
        guests = {user["ID"] for user in sessions[talk.id]["USERS"] if user["CONNECTOR"]}
        bots = {user["ID"] for user in sessions[talk.id]["USERS"] if user["BOT"]}
        assert opening["SENDERID"] == 0
        assert [
            (line["DATE"], line["SENDERID"] in guests, 0 if line["SENDERID"] in guests | bots else line["SENDERID"])
            for line in lines
        ] == written[talk.id]
        numbers += [line["ID"] for line in (opening, *lines)]
    assert numbers == sorted(set(numbers))
    named = [r["ASSOCIATED_ENTITY_ID"] for r in rows(portal, "activity") if r["PROVIDER_ID"] == "IMOPENLINES_SESSION"]
    assert sorted(named) == sorted(sessions)


def test_tasks_keep_their_instants_and_cards(portal: Portal, company: Company) -> None:
    found = of(portal, "task")
    for task in company.tasks:
        is_meeting = task.type_id == office.TASK_TYPES[1].id and bool(task.entity_kind)
        assert (task.id in found) is not (bool(task.deleted_at) or is_meeting)
        if row := found.get(task.id):
            assert (row["CREATED_DATE"], row["DEADLINE"], row["CLOSED_DATE"] or 0) == (
                task.created_at,
                task.due_at,
                task.completed_at,
            )
            assert len(row["UF_CRM_TASK"]) == bool(task.entity_kind)
            assert row["STATUS"] == (5 if task.completed_at else 2)


def test_every_code_that_cards_name_is_in_its_directory(portal: Portal) -> None:
    codes: dict[str, set[str]] = defaultdict(set)
    for row in rows(portal, "status"):
        codes[row["ENTITY_ID"]].add(row["STATUS_ID"])
    for deal in rows(portal, "deal"):
        number = deal["CATEGORY_ID"]
        assert deal["STAGE_ID"] in codes[f"DEAL_STAGE_{number}" if number else "DEAL_STAGE"]
        assert deal["SOURCE_ID"] is None or deal["SOURCE_ID"] in codes["SOURCE"]
    assert {row["STATUS_ID"] for row in rows(portal, "lead")} <= codes["STATUS"]
    assert {row["STAGE_ID"] for row in rows(portal, "item:31")} <= codes["SMART_INVOICE_STAGE_1"]
    assert {row["STAGE_ID"] for row in rows(portal, "item:1036")} <= codes["DYNAMIC_1036_STAGE_7"]


def test_every_value_of_a_user_field_has_a_field(portal: Portal) -> None:
    for card in ("deal", "contact", "company"):
        fields = {row["FIELD_NAME"]: row for row in rows(portal, f"userfield:{card}")}
        seen: set[str] = set()
        for row in rows(portal, card):
            named = {name for name in row if name.startswith("UF_CRM_")}
            assert named == set(fields)
            seen |= {name for name in named if row[name] not in (None, [])}
            for name, field in fields.items():
                if field["USER_TYPE_ID"] == "enumeration" and name != LOSS_FIELD:
                    chosen = row[name] if field["MULTIPLE"] else [row[name]] if row[name] else []
                    assert set(chosen) <= {option["ID"] for option in field["LIST"]}
        assert seen >= {name for name in fields if name != "UF_CRM_780108"}


def test_product_rows_are_those_of_the_deals(portal: Portal, company: Company) -> None:
    table = portal.table("productrow")
    assert table is not None
    for deal in company.deals:
        lines = [table.get(number) for number in table.owned_by("D", deal.id)]
        listed = [(line["PRODUCT_ID"], line["QUANTITY"]) for line in lines if line]
        assert listed == ([] if deal.deleted_at else list(deal.items))


def test_bills_are_paid_as_their_stage_says(portal: Portal) -> None:
    payments = portal.table("payment")
    assert payments is not None
    stages = set()
    for bill in rows(portal, "item:31"):
        paid = sum(row["SUM"] for number in payments.owned_by(31, bill["ID"]) if (row := payments.get(number)))
        share = {"DT31_1:P": 1.0, "DT31_1:S": 0.5, "DT31_1:N": 0.0}[bill["STAGE_ID"]]
        assert float(paid) == pytest.approx(share * float(bill["OPPORTUNITY"]))
        stages.add(bill["STAGE_ID"])
    assert len(stages) == 3


@pytest.mark.parametrize("entity_type", [31, 1036])
def test_items_stand_where_their_history_ends(portal: Portal, entity_type: int) -> None:
    turns = histories(portal, entity_type)
    items = of(portal, f"item:{entity_type}")
    assert items
    assert set(turns) == set(items)
    for number, item in items.items():
        assert (turns[number][-1]["STAGE_ID"], turns[number][0]["TYPE_ID"]) == (item["STAGE_ID"], CREATED)
        assert turns[number][-1]["CREATED_TIME"] == item["MOVED_TIME"] == item["UPDATED_TIME"]


def test_people_are_in_departments_below_the_company(portal: Portal, company: Company) -> None:
    departments = of(portal, "department")
    assert "PARENT" not in departments[ROOT_DEPARTMENT]
    users = of(portal, "user")
    assert {user.id: not user.left_at for user in company.users} == {n: row["ACTIVE"] for n, row in users.items()}
    for row in users.values():
        assert set(row["UF_DEPARTMENT"]) <= set(departments) - {ROOT_DEPARTMENT}


def test_the_same_company_gives_the_same_portal(company: Company) -> None:
    first, second = Portal(company, Switches()), Portal(company, Switches())
    for name in first.names():
        assert rows(first, name) == rows(second, name)


def test_a_filter_on_what_activities_are_paints_none_that_it_passes_over(portal: Portal, monkeypatch: Any) -> None:
    activities = portal.table("activity")
    assert activities is not None
    wanted = [row["ID"] for row in rows(portal, "activity") if row["PROVIDER_ID"] == "IMOPENLINES_SESSION"]
    painted: list[int] = []
    monkeypatch.setattr(activities, "_paint", painted.append)
    query = Query("activity", [Condition("PROVIDER_ID", "=", "IMOPENLINES_SESSION")], order=[("ID", False)])
    found = Selection(activities, query, ZoneInfo("Europe/Moscow"), Cache()).first(50)
    assert found == wanted[:50]
    assert not painted


def test_what_is_told_of_a_row_unpainted_is_what_the_row_says(portal: Portal) -> None:
    activities = portal.table("activity")
    assert activities is not None
    for row in rows(portal, "activity"):
        glimpse = activities.glimpse(row["ID"], {"PROVIDER_ID"})
        assert glimpse is not None
        assert glimpse["PROVIDER_ID"] == row["PROVIDER_ID"]


def test_a_changed_row_is_seen_as_it_is_now(company: Company) -> None:
    activities = Portal(company, Switches()).table("activity")
    assert activities is not None
    first = activities.get(activities.ids[0])
    assert first is not None
    activities.put({**first, "PROVIDER_ID": "CRM_TODO"})
    seen = activities.glimpse(first["ID"], {"PROVIDER_ID"})
    assert seen is not None
    assert seen["PROVIDER_ID"] == "CRM_TODO"
