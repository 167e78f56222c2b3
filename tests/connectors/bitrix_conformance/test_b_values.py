"""How Bitrix24 writes values: cases 48 to 59 of the reference."""

from datetime import UTC, date, datetime

import pytest
from bitrix_rows import ACTIVITY, CALL, DEAL, become, field, of, only, reading, stubs, unknowns

from connectors.bitrix24.activities import activity_records
from connectors.bitrix24.calls import call_records
from connectors.bitrix24.contacts import contact_records
from connectors.bitrix24.deals import deal_records, lead_records
from connectors.bitrix24.people import user_records
from connectors.bitrix24.stages import status_records
from connectors.records import (
    Call,
    ClientPhone,
    Deal,
    DealContact,
    FieldValue,
    Stage,
    Task,
    User,
    UserDepartment,
)

NOW = datetime(2026, 9, 1, tzinfo=UTC)
CONTACT = {"id": 84, "name": "Анна", "lastName": "Ильина", "createdTime": "2026-08-01T10:00:01+03:00"}


@pytest.mark.parametrize(
    "written", ["2024-09-08T19:00:00-05:00", "2024-09-09T02:00:00+02:00", "2024-09-09T01:00:00+02:00"]
)
def test_b48_a_date_is_the_day_people_chose_wherever_the_server_stands(written: str):
    deal = only(Deal, become(deal_records, DEAL | {"closedate": written}))
    assert deal.expected_close_on == date(2024, 9, 9)


def test_b49_what_is_empty_in_any_spelling_is_nothing():
    fields = field("ufCrm_1", "string") | field("ufCrm_2", "enumeration", is_multiple=True, o1="Да")
    empty = {"companyId": 0, "contactId": "0", "contactIds": [], "leadId": None, "ufCrm_1": False, "ufCrm_2": []}
    found = become(deal_records, DEAL | empty | {"closedate": "", "currencyId": ""}, reading(fields))
    deal = only(Deal, found)
    assert (deal.company_id, deal.main_contact_id, deal.parent_lead_id, deal.expected_close_on) == (None,) * 4
    assert (of(DealContact, found), of(FieldValue, found)) == ([], [])
    lead = DEAL | {"dateClosed": "", "stageId": "NEW", "companyId": "", "assignedById": 0}
    lead_row = only(Deal, become(lead_records, lead))
    assert (lead_row.closed_at, lead_row.company_id, lead_row.responsible_user_id) == (None, None, None)


@pytest.mark.parametrize(("written", "minor"), [("19999.99", 1_999_999), (999.9, 99_990), (0.29, 29), (0, 0)])
def test_b50_money_is_exact(written: object, minor: int):
    assert only(Deal, become(deal_records, DEAL | {"opportunity": written})).amount_minor == minor


def test_b50_money_has_the_decimals_of_its_currency():
    deal = only(Deal, become(deal_records, DEAL | {"opportunity": "1500", "currencyId": "JPY"}))
    assert (deal.amount_minor, deal.currency) == (1500, "JPY")


@pytest.mark.parametrize(("written", "is_set"), [("1", 1.0), ("Y", 1.0), (True, 1.0), ("0", 0.0), ("N", 0.0)])
def test_b51_a_flag_is_a_flag_in_every_spelling(written: object, is_set: float):
    found = become(deal_records, DEAL | {"ufCrm_1": written}, reading(field("ufCrm_1", "boolean")))
    assert only(FieldValue, found).value_num == is_set
    assert only(Deal, become(deal_records, DEAL | {"isReturnCustomer": written})).is_repeat is bool(is_set)
    rows = user_records({"ID": "3", "ACTIVE": written}, reading(), "", now=NOW)
    assert only(User, list(rows)).is_active is bool(is_set)


@pytest.mark.parametrize("written", ["9999-12-31T00:00:00+03:00", "9999-12-31T23:59:59-10:00"])
def test_b52_a_deadline_in_the_year_9999_is_none(written: str):
    found = become(activity_records, ACTIVITY | {"DEADLINE": written}, key="ID")
    assert only(Task, found).due_at is None


def test_b53_users_with_odd_and_missing_columns_are_read():
    user = {"ID": "3", "ACTIVE": True, "NAME": "Иван", "TIMESTAMP_X": {}, "UF_DEPARTMENT": [1, 14]}
    found = list(user_records(user, reading(), "", now=NOW))
    assert (only(User, found).name, only(User, found).source_updated_at) == ("Иван", None)
    assert [row.department_id for row in of(UserDepartment, found)] == ["department:1", "department:14"]
    site_format = user | {"TIMESTAMP_X": "24.08.2023 13:19:39"}
    assert only(User, list(user_records(site_format, reading(), "", now=NOW))).source_updated_at is None


def test_b53_where_the_scope_shows_no_departments_nothing_is_said_of_them():
    found = list(user_records({"ID": "3", "ACTIVE": False}, reading(), "", now=NOW))
    assert not only(User, found).is_active
    assert len(found) == 1


def test_b54_settings_are_a_list_or_an_object():
    written_by_hand = ACTIVITY | {"PROVIDER_ID": "CRM_CALL_TRACKER", "TYPE_ID": "6", "COMPLETED": "Y"}
    calm = become(activity_records, written_by_hand | {"SETTINGS": []}, key="ID")
    missed = become(activity_records, written_by_hand | {"SETTINGS": {"MISSED_CALL": True}}, key="ID")
    assert (only(Call, calm).status, only(Call, missed).status) == ("answered", "missed")


def test_b55_no_phones_are_an_empty_list_and_two_are_two_rows():
    assert of(ClientPhone, become(contact_records, CONTACT)) == []
    two = [
        {"id": 11, "valueType": "WORK", "value": "+7 906 000-00-01", "typeId": "PHONE"},
        {"id": 12, "valueType": "HOME", "value": "89060000002", "typeId": "PHONE"},
        {"id": 13, "valueType": "WORK", "value": "a@example.org", "typeId": "EMAIL"},
    ]
    found = become(contact_records, CONTACT | {"fm": two})
    assert [row.phone_e164 for row in of(ClientPhone, found)] == ["+79060000001", "+79060000002"]
    old = [{"ID": "11", "VALUE_TYPE": "WORK", "VALUE": "+79060000001", "TYPE_ID": "PHONE"}]
    assert [row.phone_e164 for row in of(ClientPhone, become(contact_records, CONTACT | {"PHONE": old}))] == [
        "+79060000001"
    ]


def test_b56_numbers_and_texts_of_a_call_keep_their_columns():
    outgoing = become(call_records, CALL | {"CALL_FAILED_CODE": "603-S", "CALL_TYPE": "1"}, key="ID")
    call = only(Call, outgoing)
    assert call.call_id == f"call:{CALL['CALL_ID']}"
    assert (call.talk_s, call.status, call.phone_e164) == (95, "cancelled", "+79060000000")


def test_b57_an_option_its_list_lacks_keeps_its_id():
    fields = field("ufCrm_1", "enumeration", o1="Дорого")
    found = become(deal_records, DEAL | {"ufCrm_1": 3157}, reading(fields))
    value = only(FieldValue, found)
    assert (value.enum_id, value.value_text) == ("3157", "unknown (3157)")
    assert unknowns(found)


def test_b58_a_stage_no_directory_has_gets_a_row_that_says_so():
    found = become(deal_records, DEAL | {"stageId": "C7:GONE", "categoryId": 7, "stageSemanticId": "F"})
    (stage,) = stubs(Stage, found)
    assert (stage.pipeline_id, stage.stage_id, stage.name, stage.kind) == (
        "pipeline:2:7",
        "stage:C7:GONE",
        "#C7:GONE",
        "lost",
    )
    assert only(Deal, found).stage_id == "stage:C7:GONE"


def test_b58_a_stage_in_the_directory_is_not_mentioned():
    assert stubs(Stage, become(deal_records, DEAL)) == []


@pytest.mark.parametrize(
    ("semantics", "kind"), [(None, "open"), ("", "open"), ("P", "open"), ("S", "won"), ("F", "lost")]
)
def test_b59_in_process_has_three_spellings(semantics: str | None, kind: str):
    status = {"ID": "1", "ENTITY_ID": "DEAL_STAGE_1", "STATUS_ID": "C1:X", "NAME": "X", "SEMANTICS": semantics}
    stage = only(Stage, become(status_records, status, key="ID"))
    assert (stage.kind, stage.pipeline_id) == (kind, "pipeline:2:1")
