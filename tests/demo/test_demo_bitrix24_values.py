"""How the emulated Bitrix24 writes values (`bitrix24.md`, sections 3 and 4)."""

from datetime import date
from decimal import Decimal

import pytest
from small_portal import NOW, REASONS, Bitrix, activity, contact, deal, lead, move, task, user

from demo.bitrix24_switches import Switches
from demo.bitrix24_values import Day, Instant
from demo.bitrix24_wire import Wire, item_name

WINTER, SUMMER = 1_796_000_000, NOW


@pytest.fixture
def bitrix():
    return Bitrix()


def wire(zone, now=SUMMER, **switches):
    return Wire(Switches(server_zone=zone, **switches), lambda: now)


# dialects


def test_an_old_row_holds_texts(bitrix):
    row = bitrix.result("crm.deal.get", id=101)
    expected = {
        "ID": "101", "CATEGORY_ID": "0", "OPPORTUNITY": "19999.99", "OPENED": "Y", "CLOSED": "N", "LEAD_ID": None,
        "CONTACT_ID": "84", "DATE_CREATE": "2026-08-10T12:54:03+03:00", "BEGINDATE": "2026-08-01T03:00:00+03:00",
        "UF_CRM_LOSS_REASON": "3157", "UF_CRM_IS_VIP": "1", "UF_CRM_1721244482250": False,
    }  # fmt: skip
    assert {name: row[name] for name in expected} == expected
    assert "CONTACT_IDS" not in row


def test_an_item_holds_numbers_under_names_of_its_own(bitrix):
    item = bitrix.result("crm.item.get", entityTypeId=2, id=101)["item"]
    expected = {
        "id": 101, "categoryId": 0, "opportunity": 19999.99, "opened": "Y", "closed": "N", "leadId": None,
        "contactIds": [84, 91], "observers": [], "createdTime": "2026-08-10T12:54:03+03:00", "createdBy": 1,
        "updatedBy": 5, "movedBy": 5, "begindate": "2026-08-01T03:00:00+03:00", "ufCrmLossReason": 3157,
        "ufCrmIsVip": "Y", "ufCrm_1721244482250": [], "isWon": None, "entityTypeId": 2,
    }  # fmt: skip
    assert {name: item[name] for name in expected} == expected
    assert "fm" not in item


def test_a_whole_number_of_money_is_an_integer():
    bitrix = Bitrix({"deal": [deal(1, OPPORTUNITY=Decimal("120000.00"))]})
    assert bitrix.http.post("/rest/1/demo-secret/crm.item.get", json={"entityTypeId": 2, "id": 1}).text.count(
        '"opportunity":120000,'
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("UF_CRM_1721244482250", "ufCrm_1721244482250"),
        ("UF_CRM_2_1639669411830", "ufCrm2_1639669411830"),
        ("UF_CRM_LOSS_REASON", "ufCrmLossReason"),
        ("UF_CRM_5DE0A1B2C3", "ufCrm_5DE0A1B2C3"),
        ("DATE_MODIFY", "updatedTime"),
        ("PARENT_ID_2", "parentId2"),
        ("MYCOMPANY_ID", "mycompanyId"),
        ("UTM_SOURCE", "utmSource"),
    ],
)
def test_names_of_fields_change_as_the_reference_says(name, expected):
    assert item_name(name) == expected


def test_a_lead_without_a_company_has_the_company_zero(bitrix):
    item = bitrix.result("crm.item.get", entityTypeId=1, id=7)["item"]
    assert (item["companyId"], item["contactId"], item["stageId"]) == (0, 0, "NEW")
    row = bitrix.result("crm.lead.get", id=7)
    assert (row["DATE_CLOSED"], row["COMPANY_ID"], row["CONTACT_IDS"]) == ("", None, [])


def test_phones_are_given_when_named_and_absent_when_there_are_none(bitrix):
    both = bitrix.result("crm.contact.list", select=["ID", "PHONE"], order={"ID": "ASC"})
    assert [one["VALUE"] for one in both[0]["PHONE"]] == ["+79990000001", "+79990000002"]
    assert both[0]["PHONE"][0] == {"ID": "840", "VALUE_TYPE": "WORK", "VALUE": "+79990000001", "TYPE_ID": "PHONE"}
    assert both[1] == {"ID": "91"}
    assert "PHONE" not in bitrix.result("crm.contact.list", select=["*"])[0]


def test_items_have_phones_only_with_everything_else(bitrix):
    whole = bitrix.result("crm.item.list", entityTypeId=3, select=["*"], order={"id": "ASC"})["items"]
    assert whole[0]["fm"][0] == {"id": 840, "valueType": "WORK", "value": "+79990000001", "typeId": "PHONE"}
    assert whole[1]["fm"] == []
    assert bitrix.result("crm.item.list", entityTypeId=3, select=["id", "fm"], order={"id": "ASC"})["items"] == [
        {"id": 84},
        {"id": 91},
    ]


def test_select_takes_masks_and_passes_over_unknown_names(bitrix):
    rows = bitrix.result("crm.deal.list", select=["UF_*", "NO_SUCH"], filter={"ID": 101})
    assert rows[0].keys() == {"ID", "UF_CRM_LOSS_REASON", "UF_CRM_1721244482250", "UF_CRM_IS_VIP"}
    assert "UF_CRM_IS_VIP" not in bitrix.result("crm.deal.list", select=["*"], filter={"ID": 101})[0]
    assert "UF_CRM_IS_VIP" in bitrix.result("crm.deal.list", filter={"ID": 101})[0]


def test_original_names_with_named_fields_leave_the_user_fields_only(bitrix):
    asked = {"entityTypeId": 2, "filter": {"id": 101}, "useOriginalUfNames": "Y"}
    some = bitrix.result("crm.item.list", select=["id", "title", "UF_CRM_LOSS_REASON"], **asked)
    assert some["items"] == [{"UF_CRM_LOSS_REASON": 3157}]
    assert bitrix.result("crm.item.list", select=["id", "title"], **asked)["items"] == [[]]
    bitrix.switch(empty_item_as_list=False)
    assert bitrix.result("crm.item.list", select=["id", "title"], **asked)["items"] == [{}]
    whole = bitrix.result("crm.item.list", select=["*"], **asked)["items"][0]
    assert (whole["UF_CRM_LOSS_REASON"], whole["title"], "ufCrmLossReason" in whole) == (3157, "Deal 101", False)


@pytest.mark.parametrize(("switch", "expected"), [("false", False), ("null", None), ("text", ""), ("list", [])])
def test_a_field_of_many_values_is_empty_in_several_ways(bitrix, switch, expected):
    bitrix.switch(empty_multiple=switch)
    assert bitrix.result("crm.deal.get", id=101)["UF_CRM_1721244482250"] == expected


# dates


def test_datetimes_have_the_offset_of_the_server():
    assert wire("Europe/Moscow").instant(NOW) == "2026-08-20T12:52:22+03:00"
    assert wire("Europe/Berlin").instant(NOW) == "2026-08-20T11:52:22+02:00"
    assert wire("Europe/Berlin").instant(WINTER)[-6:] == "+01:00"


@pytest.mark.parametrize(
    ("zone", "now", "day", "expected"),
    [
        ("Europe/Moscow", SUMMER, date(2024, 9, 9), "2024-09-09T03:00:00+03:00"),
        ("Europe/Berlin", SUMMER, date(2024, 9, 9), "2024-09-09T02:00:00+02:00"),
        ("Europe/Berlin", WINTER, date(2024, 9, 9), "2024-09-09T01:00:00+02:00"),
        ("America/New_York", WINTER, date(2024, 9, 9), "2024-09-08T19:00:00-04:00"),
        ("America/Bogota", WINTER, date(2024, 9, 9), "2024-09-08T19:00:00-05:00"),
    ],
)
def test_a_day_is_local_midnight_plus_the_offset_of_today(zone, now, day, expected):
    assert wire(zone, now).day(Day(day)) == expected


def test_no_deadline_is_the_year_9999(bitrix):
    row = bitrix.result("crm.activity.list", order={"ID": "ASC"})[0]
    assert row["DEADLINE"] == "9999-12-31T00:00:00+03:00"


def test_tasks_are_in_the_user_s_zone_with_the_offset_of_now():
    before_summer = Instant(1_772_000_000)  # February 2026
    bitrix = Bitrix({"task": [task(1, DEADLINE=before_summer)]}, user_zone="Europe/Berlin")
    row = bitrix.result("tasks.task.list", select=["ID", "DEADLINE"])["tasks"][0]
    assert row == {"id": "1", "deadline": "2026-02-25T08:13:20+02:00"}


# single methods


def test_tasks_speak_in_camel_case_and_texts(bitrix):
    row = bitrix.result("tasks.task.list", select=["*", "UF_CRM_TASK"], filter={"ID": 3})["tasks"][0]
    expected = {"id": "3", "status": "3", "subStatus": "-1", "closedDate": None, "responsibleId": "5",
                "auditors": ["13"], "accomplices": [], "group": [], "ufCrmTask": False}  # fmt: skip
    assert {name: row[name] for name in expected} == expected
    assert "ufCrmTask" not in bitrix.result("tasks.task.list", select=["*"], filter={"ID": 3})["tasks"][0]


def test_calls_are_texts_but_for_the_file_of_the_record(bitrix):
    row = bitrix.result("voximplant.statistic.get", FILTER={"ID": 7})[0]
    assert (row["ID"], row["CALL_DURATION"], row["RECORD_FILE_ID"], row["COST"]) == ("7", "95", 9079, "0.0000")
    assert (row["CALL_FAILED_CODE"], row["CALL_TYPE"]) == ("603-S", "2")


def test_users_have_booleans_and_lists_and_lack_what_is_empty(bitrix):
    first, second = bitrix.result("user.get")
    assert (first["ID"], first["ACTIVE"], first["IS_ONLINE"], first["UF_DEPARTMENT"]) == ("5", True, "N", [1, 14])
    assert first["TIMESTAMP_X"] == {}
    assert "IS_ADMIN" not in first
    assert ("SECOND_NAME" in first, second["SECOND_NAME"], second["ACTIVE"]) == (False, "I.", False)


def test_a_narrow_scope_hides_addresses_of_users():
    brief = Bitrix(scopes=("user_brief",)).result("user.get")[0]
    assert ("EMAIL" in brief, "UF_DEPARTMENT" in brief) == (False, True)
    assert "EMAIL" in Bitrix(scopes=("user_basic",)).result("user.get")[0]


def test_departments_lack_what_is_not_set(bitrix):
    assert bitrix.result("department.get", ID=15) == [{"ID": "15", "NAME": "D15", "SORT": 500, "PARENT": "1"}]


def test_settings_of_activities_are_a_list_while_empty():
    bitrix = Bitrix({"activity": [activity(1), activity(2, SETTINGS={"MISSED_CALL": True})]})
    rows = bitrix.result("crm.activity.list", order={"ID": "ASC"})
    assert [row["SETTINGS"] for row in rows] == [[], {"MISSED_CALL": True}]
    assert (rows[0]["ID"], rows[0]["COMPLETED"]) == ("1", "N")


def test_activities_are_by_their_start_and_name_people_only_when_asked(bitrix):
    rows = bitrix.result("crm.activity.list")
    assert [row["ID"] for row in rows[:2]] == ["120", "119"]
    assert not {"COMMUNICATIONS", "BINDINGS"} & rows[0].keys()
    named = bitrix.result("crm.activity.list", select=["ID", "COMMUNICATIONS", "BINDINGS"], filter={"ID": 1})[0]
    assert named == {"ID": "1", "COMMUNICATIONS": [{"VALUE": "+79990000000"}]}
    bitrix.switch(bindings_in_activity_list=True)
    named = bitrix.result("crm.activity.list", select=["ID", "BINDINGS"], filter={"ID": 1})[0]
    assert named["BINDINGS"][1] == {"OWNER_TYPE_ID": 3, "OWNER_ID": 84}
    assert bitrix.result("crm.activity.binding.list", activityId=1) == [
        {"entityTypeId": 2, "entityId": 101},
        {"entityTypeId": 3, "entityId": 84},
    ]


def test_history_has_numbers_and_leads_have_a_status(bitrix):
    row = bitrix.result("crm.stagehistory.list", entityTypeId=2, filter={"ID": 3})["items"][0]
    assert row == {"ID": 3, "TYPE_ID": 1, "OWNER_ID": 103, "CREATED_TIME": bitrix.server.engine.wire.instant(NOW + 3),
                   "CATEGORY_ID": 0, "STAGE_SEMANTIC_ID": "P", "STAGE_ID": "NEW"}  # fmt: skip
    narrow = bitrix.result("crm.stagehistory.list", entityTypeId=2, filter={"ID": 3}, select=["OWNER_ID", "NO"])
    assert narrow["items"] == [{"ID": 3, "OWNER_ID": 103}]
    bitrix.switch(history_ids_as_text=True)
    assert bitrix.result("crm.stagehistory.list", entityTypeId=2, filter={"ID": 3})["items"][0]["OWNER_ID"] == "103"


def test_history_of_leads_has_a_status():
    row = {"ID": 1, "TYPE_ID": 1, "OWNER_ID": 7, "CREATED_TIME": Instant(NOW), "STATUS_ID": "NEW",
           "STATUS_SEMANTIC_ID": "P"}  # fmt: skip
    bitrix = Bitrix({"stagehistory:1": [row], "lead": [lead(7)]})
    found = bitrix.result("crm.stagehistory.list", entityTypeId=1)["items"][0]
    assert found.keys() == row.keys()
    assert bitrix.error("crm.stagehistory.list", entityTypeId=1, filter={"STAGE_ID": "NEW"})[0] == 400


def test_history_may_hold_the_current_pipeline_only():
    rows = [move(1, 1, CATEGORY_ID=0), move(2, 1, CATEGORY_ID=1)]
    bitrix = Bitrix({"deal": [deal(1, CATEGORY_ID=1)], "stagehistory:2": rows}, history_current_category_only=True)
    assert [row["ID"] for row in bitrix.result("crm.stagehistory.list", entityTypeId=2)["items"]] == [2]


def test_stages_tell_their_semantics_twice(bitrix):
    rows = {row["STATUS_ID"]: row for row in bitrix.result("crm.status.list")}
    assert (rows["NEW"]["SEMANTICS"], rows["NEW"]["EXTRA"]["SEMANTICS"]) == (None, "process")
    assert (rows["LOSE"]["SEMANTICS"], rows["LOSE"]["EXTRA"]["SEMANTICS"]) == ("F", "failure")
    assert "EXTRA" not in rows["WEB"]
    assert [row["ID"] for row in bitrix.result("crm.status.list", filter={"ENTITY_ID": "SOURCE"})] == ["3"]


def test_fields_name_the_options_of_lists(bitrix):
    assert bitrix.result("crm.deal.fields")["UF_CRM_LOSS_REASON"]["items"] == [{"ID": "3157", "VALUE": "Too expensive"}]
    found = bitrix.result("crm.item.fields", entityTypeId=2)["fields"]
    assert (found["ufCrmLossReason"]["upperName"], found["updatedTime"]["upperName"]) == (
        "UF_CRM_LOSS_REASON",
        "DATE_MODIFY",
    )


def test_labels_of_user_fields_come_with_a_language_only(bitrix):
    without = bitrix.result("crm.deal.userfield.list")[0]
    with_labels = bitrix.result("crm.deal.userfield.list", filter={"LANG": "ru"})[0]
    assert ("EDIT_FORM_LABEL" in without, with_labels["EDIT_FORM_LABEL"]) == (False, REASONS["EDIT_FORM_LABEL"])
    assert (without["ID"], without["MULTIPLE"], without["LIST"][0]["ID"]) == ("6799", "N", "3157")


def test_product_rows_belong_to_one_owner_who_must_be_named(bitrix):
    asked = {"filter": {"=ownerType": "D", "=ownerId": 101}}
    found = bitrix.result("crm.item.productrow.list", **asked)["productRows"]
    assert [(row["id"], row["price"], row["quantity"]) for row in found] == [(5, 899.1, 3), (6, 899.1, 3)]
    assert bitrix.error("crm.item.productrow.list", filter={"=ownerType": "D"}) == (400, "REQUIRED_ARG_MISSING")
    old = bitrix.result("crm.deal.productrows.get", id=101)[0]
    assert (old["ID"], old["PRODUCT_ID"], old["PRICE"]) == ("5", 450, "899.10")


def test_payments_belong_to_one_item(bitrix):
    found = bitrix.result("crm.item.payment.list", entityId=3, entityTypeId=31)
    assert [(row["id"], row["sum"], row["paid"]) for row in found] == [(1036, 500, "Y")]
    assert bitrix.error("crm.item.payment.list", entityId=3) == (400, 0)


def test_contacts_of_a_deal_are_in_order(bitrix):
    found = bitrix.result("crm.deal.contact.items.get", id=101)
    assert [(one["CONTACT_ID"], one["IS_PRIMARY"]) for one in found] == [(84, "Y"), (91, "N")]


def test_people_of_a_company_are_those_who_name_it():
    people = [contact(1) | {"COMPANY_ID": 9}, contact(2)]
    bitrix = Bitrix({"contact": people, "company": [contact(9)]})
    found = bitrix.result("crm.company.contact.items.get", id=9)
    assert [one["CONTACT_ID"] for one in found] == [1]
    assert bitrix.result("crm.contact.company.items.get", id=1)[0]["COMPANY_ID"] == 9
    assert bitrix.result("crm.contact.company.items.get", id=2) == []


def test_a_session_keeps_its_messages_by_id_the_newest_first(bitrix):
    found = bitrix.result("imopenlines.session.history.get", SESSION_ID=321)
    assert (found["chatId"], list(found["message"])) == (1763, ["2", "1"])
    assert (found["message"]["1"]["senderid"], found["files"]) == ("0", [])
    assert bitrix.error("imopenlines.session.history.get", SESSION_ID=1)[1] == "ACCESS_DENIED"


def test_chats_of_a_card_are_those_going_on_unless_asked_otherwise(bitrix):
    card = {"CRM_ENTITY_TYPE": "DEAL", "CRM_ENTITY": 101}
    assert bitrix.result("imopenlines.crm.chat.get", **card) == []
    assert bitrix.result("imopenlines.crm.chat.get", ACTIVE_ONLY="N", **card)[0]["CHAT_ID"] == "1763"
    assert bitrix.result("imopenlines.dialog.get", SESSION_ID=321)["entity_data_1"].split("|")[5] == "321"


def test_messages_of_a_chat_are_read_back_from_the_last(bitrix):
    page = bitrix.result("im.dialog.messages.get", DIALOG_ID="chat1763", LIMIT=1)
    assert [one["id"] for one in page["messages"]] == ["2"]
    page = bitrix.result("im.dialog.messages.get", DIALOG_ID="chat1763", LAST_ID=1)
    assert page["messages"] == []


def test_duplicates_are_found_by_phone(bitrix):
    asked = {"type": "PHONE", "values": ["+79990000002"]}
    assert bitrix.result("crm.duplicate.findbycomm", **asked) == {"CONTACT": [84]}
    assert bitrix.result("crm.duplicate.findbycomm", type="PHONE", values=["1"]) == []


def test_products_want_their_catalogue_named(bitrix):
    asked = {"select": ["id", "iblockId", "name"], "filter": {"iblockId": 24}}
    assert bitrix.result("catalog.product.list", **asked)["products"] == [{"iblockId": 24, "id": 1, "name": "Door"}]
    assert bitrix.error("catalog.product.list", select=["id", "iblockId"])[0] == 400
    assert bitrix.error("catalog.product.list", select=["id"], filter={"iblockId": 24})[0] == 400
    assert bitrix.result("catalog.catalog.list")["catalogs"][0]["iblockId"] == 24


def test_a_user_of_the_portal_is_shown_without_secrets(bitrix):
    profile = bitrix.result("profile")
    assert (profile["ID"], profile["ADMIN"], profile["NAME"]) == ("5", True, "Ivan")
    assert Bitrix({"user": [user(5)]}, is_admin=False).result("profile")["ADMIN"] is False


def test_slashes_and_brackets_of_tags_are_escaped_in_the_bytes():
    bitrix = Bitrix({"deal": [deal(1, TITLE="<b>a/b & c</b>")]})
    answer = bitrix.ask("crm.deal.get", id=1)
    assert b"<" not in answer.content
    assert rb"a\/b" in answer.content
    assert answer.json()["result"]["TITLE"] == "<b>a/b & c</b>"
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
