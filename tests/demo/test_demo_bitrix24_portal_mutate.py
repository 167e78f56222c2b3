"""What people change in the demo Bitrix24 alters rows, change instants and histories as its REST would show it."""

from typing import Any

import pytest

from demo.bitrix24_mutate import OrderError, mutate
from demo.bitrix24_past import CREATED, FINISHED, MOVED, PIPELINE_CHANGED
from demo.bitrix24_portal import Portal, Table
from demo.bitrix24_setup import LOSS_FIELD
from demo.bitrix24_switches import Switches
from demo.company import Company

Row = dict[str, Any]
LATER = 3_600


@pytest.fixture
def portal(company: Company) -> Portal:
    """The portal an hour after the company's now."""
    portal = Portal(company, Switches())
    portal.now += LATER
    return portal


def table(portal: Portal, name: str) -> Table:
    found = portal.table(name)
    assert found is not None
    return found


def row(portal: Portal, name: str, number: int) -> Row:
    found = table(portal, name).get(number)
    assert found is not None
    return found


def first(portal: Portal, name: str, **wanted: Any) -> Row:
    """The first row of a list with these values."""
    rows = (table(portal, name).get(number) for number in table(portal, name).ids)
    return next(one for one in rows if one and all(one[key] == value for key, value in wanted.items()))


def changed_since(portal: Portal, name: str, since: int) -> list[int]:
    order = table(portal, name).modified
    assert order is not None
    return list(order.between(since, None))


def turns(portal: Portal, number: int, entity_type: int = 2) -> list[Row]:
    history = table(portal, f"stagehistory:{entity_type}")
    return [row(portal, f"stagehistory:{entity_type}", one) for one in history.owned_by(number)]


def do(portal: Portal, what: str, **order: Any) -> int:
    number: int = mutate(portal, {"what": what, **order})["id"]
    return number


def test_a_changed_field_moves_the_change_date(portal: Portal) -> None:
    deal = first(portal, "deal", STAGE_SEMANTIC_ID="P")
    do(portal, "update", table="deal", id=deal["ID"], fields={"TITLE": "Другая"}, by=9_101_002)
    new = row(portal, "deal", deal["ID"])
    assert (new["TITLE"], new["DATE_MODIFY"], new["MODIFY_BY_ID"]) == ("Другая", portal.now, 9_101_002)
    assert changed_since(portal, "deal", portal.now) == [deal["ID"]]
    assert new["MOVED_TIME"] == deal["MOVED_TIME"]


def test_saving_nothing_new_and_recalculations_do_not_move_it(portal: Portal) -> None:
    deal = first(portal, "deal")
    do(portal, "update", table="deal", id=deal["ID"], fields={"TITLE": deal["TITLE"]})
    do(portal, "update", table="deal", id=deal["ID"], fields={"PROBABILITY": 50}, quiet=True)
    assert row(portal, "deal", deal["ID"])["PROBABILITY"] == 50
    assert changed_since(portal, "deal", portal.company.now) == []


def test_a_move_writes_history_and_the_moment(portal: Portal) -> None:
    deal = first(portal, "deal", STAGE_ID="NEW")
    do(portal, "move", table="deal", id=deal["ID"], stage="PREPARATION")
    do(portal, "move", table="deal", id=deal["ID"], stage="C1:NEW")
    do(portal, "move", table="deal", id=deal["ID"], stage="C1:LOSE", fields={LOSS_FIELD: 4_203_744})
    do(portal, "move", table="deal", id=deal["ID"], stage="C1:PREPARATION")
    *_, sent, handed, lost, back = turns(portal, deal["ID"])
    assert [one["TYPE_ID"] for one in (sent, handed, lost, back)] == [MOVED, PIPELINE_CHANGED, FINISHED, MOVED]
    assert all(one["CREATED_TIME"] == portal.now for one in (sent, handed, lost, back))
    new = row(portal, "deal", deal["ID"])
    assert (new["CATEGORY_ID"], new["STAGE_SEMANTIC_ID"], new["CLOSED"]) == (1, "P", False)
    assert new["MOVED_TIME"] == new["DATE_MODIFY"] == portal.now
    assert new[LOSS_FIELD] == 4_203_744  # reopened deals keep the old reason


def test_a_new_deal_begins_its_history_where_it_was_made(portal: Portal) -> None:
    opened = do(portal, "add", table="deal", fields={"STAGE_ID": "C2:NEW", "OPPORTUNITY": "19999.99"})
    closed = do(portal, "add", table="deal", fields={"STAGE_ID": "WON"})
    assert [one["TYPE_ID"] for one in turns(portal, opened)] == [CREATED]
    assert [one["TYPE_ID"] for one in turns(portal, closed)] == [FINISHED]
    assert str(row(portal, "deal", opened)["OPPORTUNITY"]) == "19999.99"
    assert row(portal, "deal", opened)["CATEGORY_ID"] == 2
    assert row(portal, "deal", closed)["CLOSED"] is True
    assert closed == opened + 1 == max(table(portal, "deal").ids)


def test_an_imported_deal_has_old_dates_and_a_history_of_now(portal: Portal) -> None:
    old = portal.now - 400 * 86_400
    number = do(portal, "add", table="deal", fields={"DATE_CREATE": old, "DATE_MODIFY": old, "STAGE_ID": "WON"})
    deal = row(portal, "deal", number)
    assert (deal["DATE_CREATE"], deal["DATE_MODIFY"]) == (old, old)
    assert number not in changed_since(portal, "deal", portal.company.now)
    assert [one["CREATED_TIME"] for one in turns(portal, number)] == [portal.now]


def test_a_deleted_deal_takes_its_history_and_its_lines_along(portal: Portal) -> None:
    line = first(portal, "productrow")
    do(portal, "delete", table="deal", id=line["OWNER_ID"])
    deals = table(portal, "deal")
    assert deals.get(line["OWNER_ID"]) is None
    assert line["OWNER_ID"] not in deals.ids
    assert line["OWNER_ID"] not in changed_since(portal, "deal", 0)
    assert turns(portal, line["OWNER_ID"]) == []
    assert table(portal, "productrow").owned_by("D", line["OWNER_ID"]) == []
    assert portal.events[-1] == ("ONCRMDEALDELETE", 2, line["OWNER_ID"], portal.now)


def test_a_restored_deal_has_a_new_id_and_its_old_dates(portal: Portal) -> None:
    deal = first(portal, "deal", STAGE_SEMANTIC_ID="S")
    do(portal, "delete", table="deal", id=deal["ID"])
    number = do(portal, "restore", table="deal", id=deal["ID"])
    assert number > deal["ID"]
    assert row(portal, "deal", number) == deal | {"ID": number}
    assert number not in changed_since(portal, "deal", portal.company.now)
    assert [(one["TYPE_ID"], one["CREATED_TIME"]) for one in turns(portal, number)] == [(FINISHED, portal.now)]
    with pytest.raises(OrderError, match="nothing deleted"):
        do(portal, "restore", table="deal", id=deal["ID"])


def test_a_merge_changes_only_the_survivor(portal: Portal) -> None:
    deal = first(portal, "deal", COMPANY_ID=None)
    activity = first(portal, "activity", OWNER_TYPE_ID=3, OWNER_ID=deal["CONTACT_ID"])
    loser = row(portal, "contact", activity["OWNER_ID"])
    survivor = do(portal, "add", table="contact", phones=["+79990009999"])
    portal.now += 60
    do(portal, "merge", table="contact", id=loser["ID"], into=survivor)
    assert table(portal, "contact").get(loser["ID"]) is None
    assert changed_since(portal, "contact", portal.now) == [survivor]
    kept = row(portal, "contact", survivor)
    assert [one["VALUE"] for one in kept["PHONE"]] == ["+79990009999", *(one["VALUE"] for one in loser["PHONE"])]
    moved = row(portal, "activity", activity["ID"])
    assert (moved["OWNER_ID"], moved["LAST_UPDATED"]) == (survivor, activity["LAST_UPDATED"])
    bound = row(portal, "deal", deal["ID"])
    assert (bound["CONTACT_ID"], bound["CONTACT_IDS"][0], bound["DATE_MODIFY"]) == (
        survivor,
        survivor,
        deal["DATE_MODIFY"],
    )
    assert [event[0] for event in portal.events[-2:]] == ["ONCRMCONTACTUPDATE", "ONCRMCONTACTDELETE"]


def test_bindings_and_comments_do_not_change_a_deal(portal: Portal) -> None:
    deal, contact = first(portal, "deal", STAGE_SEMANTIC_ID="P"), first(portal, "contact")
    do(portal, "contacts", id=deal["ID"], contact_ids=[contact["ID"]])
    do(portal, "comment", table="deal", id=deal["ID"], text="Перезвонить")
    new = row(portal, "deal", deal["ID"])
    assert (new["CONTACT_ID"], new["LAST_ACTIVITY_TIME"], new["DATE_MODIFY"]) == (
        contact["ID"], portal.now, deal["DATE_MODIFY"],
    )  # fmt: skip
    (comment,) = table(portal, "comment").owned_by("deal", deal["ID"])[-1:]
    assert row(portal, "comment", comment)["COMMENT"] == "Перезвонить"


@pytest.mark.parametrize("is_manual", [False, True])
def test_product_rows_change_a_deal_unless_its_amount_is_a_manual_one(portal: Portal, is_manual: bool) -> None:
    number = do(portal, "add", table="deal", fields={"IS_MANUAL_OPPORTUNITY": is_manual})
    portal.now += 60
    do(portal, "lines", id=number, lines=[{"PRODUCT_ID": 5_500_001, "PRICE": "100.50", "QUANTITY": 3}])
    deal = row(portal, "deal", number)
    assert str(deal["OPPORTUNITY"]) == ("0" if is_manual else "301.50")
    assert (deal["DATE_MODIFY"] == portal.now) is not is_manual
    (line,) = table(portal, "productrow").owned_by("D", number)
    assert row(portal, "productrow", line)["OWNER_ID"] == number


def test_an_activity_goes_to_another_card_without_being_changed(portal: Portal) -> None:
    activity, deal = first(portal, "activity"), first(portal, "deal")
    do(portal, "owner", id=activity["ID"], owner_type_id=2, owner_id=deal["ID"])
    new = row(portal, "activity", activity["ID"])
    assert (new["OWNER_TYPE_ID"], new["OWNER_ID"]) == (2, deal["ID"])
    assert new["BINDINGS"] == [{"OWNER_TYPE_ID": 2, "OWNER_ID": deal["ID"]}]
    assert new["LAST_UPDATED"] == activity["LAST_UPDATED"]


def test_late_facts_of_a_call_leave_no_trace_of_a_change(portal: Portal) -> None:
    call = first(portal, "call")
    late = {"CALL_VOTE": 4, "COMMENT": "Вежливо", "RECORD_FILE_ID": 9_079}
    do(portal, "update", table="call", id=call["ID"], fields=late)
    assert row(portal, "call", call["ID"]) == call | late
    number = do(portal, "add", table="call", fields={"PHONE_NUMBER": "79990000001", "CALL_START_DATE": portal.now - 90})
    assert number > max(one for one in table(portal, "call").ids if one != number)
    assert changed_since(portal, "call", portal.now - 90) == [number]


def test_a_message_changes_the_activity_of_its_session(portal: Portal) -> None:
    session = first(portal, "session")
    number = do(portal, "message", id=session["ID"], text="Здравствуйте")
    *_, last = row(portal, "session", session["ID"])["MESSAGES"]
    assert (last["ID"], last["DATE"], last["TEXT"]) == (number, portal.now, "Здравствуйте")
    guests = {person["ID"] for person in session["USERS"] if person["CONNECTOR"]}
    assert last["SENDERID"] in guests
    (activity,) = changed_since(portal, "activity", portal.now)
    assert row(portal, "activity", activity)["ASSOCIATED_ENTITY_ID"] == session["ID"]


def test_a_lead_becomes_a_deal(portal: Portal) -> None:
    lead = first(portal, "lead", STATUS_ID="NEW")
    number = do(portal, "convert", id=lead["ID"], fields={"OPPORTUNITY": 500})
    deal, converted = row(portal, "deal", number), row(portal, "lead", lead["ID"])
    assert (deal["LEAD_ID"], deal["TITLE"], deal["SOURCE_ID"]) == (lead["ID"], lead["TITLE"], lead["SOURCE_ID"])
    assert (converted["STATUS_ID"], converted["STATUS_SEMANTIC_ID"]) == ("CONVERTED", "S")
    assert converted["DATE_CLOSED"] == portal.now
    assert [one["TYPE_ID"] for one in turns(portal, lead["ID"], 1)] == [CREATED, FINISHED]


def test_a_new_row_has_nothing_of_the_row_it_is_made_like(portal: Portal) -> None:
    number = do(portal, "add", table="deal")
    deal = row(portal, "deal", number)
    references = ("LEAD_ID", "COMPANY_ID", "CONTACT_ID", "SOURCE_ID", "UTM_SOURCE", LOSS_FIELD, "UF_CRM_780101")
    assert [deal[name] for name in references] == [None] * len(references)
    assert deal["CONTACT_IDS"] == deal["UF_CRM_780106"] == []
    task = row(portal, "task", do(portal, "add", table="task"))
    assert (task["CLOSED_DATE"], task["DEADLINE"], task["STATUS"], task["UF_CRM_TASK"]) == (None, None, 2, [])


@pytest.mark.parametrize(
    ("order", "says"),
    [
        ({"what": "explode"}, "unknown order"),
        ({"what": "update", "table": "deal"}, "needs 'id'"),
        ({"what": "update", "table": "deal", "id": 1, "fields": {}}, "no row 1"),
        ({"what": "delete", "table": "quote", "id": 1}, "no table 'quote'"),
        ({"what": "move", "table": "contact", "id": 1, "stage": "NEW"}, "has no stages"),
    ],
)
def test_an_order_that_cannot_be_carried_out_says_why(portal: Portal, order: Row, says: str) -> None:
    with pytest.raises(OrderError, match=says):
        mutate(portal, order)


def test_what_is_changed_here_is_not_in_another_portal_of_the_company(portal: Portal, company: Company) -> None:
    deal = first(portal, "deal")
    do(portal, "delete", table="deal", id=deal["ID"])
    do(portal, "add", table="department", fields={"NAME": "Новый"})
    other = Portal(company, Switches())
    assert row(other, "deal", deal["ID"]) == deal
    assert len(table(other, "department").ids) == len(table(portal, "department").ids) - 1
