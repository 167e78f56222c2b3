"""What the emulated Bitrix24 makes of filters and orders (`bitrix24.md`, 2.6)."""

from datetime import date
from decimal import Decimal

import pytest
from small_portal import NOW, Bitrix, activity, contact, deal, ids

from demo.bitrix24_values import Day, Instant, Never

DEALS = [
    deal(1, TITLE="Office refit", OPPORTUNITY=Decimal(100), UF_CRM_LOSS_REASON=None, UF_CRM_IS_VIP=False),
    deal(2, TITLE="Office move", OPPORTUNITY=Decimal("200.50"), CLOSED=True, STAGE_ID="WON"),
    deal(3, TITLE="Door", OPPORTUNITY=Decimal(300), LEAD_ID=7, CLOSEDATE=Day(date(2026, 10, 1))),
]


@pytest.fixture
def bitrix():
    return Bitrix({"deal": DEALS})


def old(bitrix, **wanted):
    return ids(bitrix.result("crm.deal.list", filter=wanted["filter"], order={"ID": "ASC"}))


def new(bitrix, wanted):
    return ids(bitrix.result("crm.item.list", entityTypeId=2, filter=wanted, order={"id": "ASC"})["items"])


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"ID": 2}, [2]),
        ({"=ID": ["1", "3"]}, [1, 3]),
        ({"@ID": [1, 3]}, [1, 3]),
        ({"!ID": 2}, [1, 3]),
        ({"!@ID": [1, 2]}, [3]),
        ({">OPPORTUNITY": "200"}, [2, 3]),
        ({"<=OPPORTUNITY": 200.5}, [1, 2]),
        ({"%TITLE": "office"}, [1, 2]),
        ({"=%TITLE": "Office%"}, [1, 2]),
        ({"!%TITLE": "office"}, [3]),
        ({"CLOSED": "Y"}, [2]),
        ({"LEAD_ID": ""}, [1, 2]),
        ({"LEAD_ID": 7}, [3]),
        ({">CLOSEDATE": "2026-09-15"}, [3]),
        ({"STAGE_ID": "WON", "CLOSED": "Y"}, [2]),
        ({">ID": 1, "<ID": 3}, [2]),
        ({"ID": [1, 2], ">ID": 1}, [2]),
    ],
)
def test_prefixes_mean_what_the_documentation_says(bitrix, wanted, expected):
    assert old(bitrix, filter=wanted) == expected


def test_an_old_list_drops_unknown_fields_silently(bitrix):
    for wanted in ({"NO_SUCH": 1}, {"opportunity": 100}, {"CONTACT_IDS": [5]}, {"LOGIC": "OR", "ID": 1, "%TITLE": "x"}):
        dropped = {key: value for key, value in wanted.items() if key in {"ID", "%TITLE"}}
        assert old(bitrix, filter=wanted) == ([1, 2, 3] if not dropped else [])


def test_an_old_list_wants_an_array_as_its_filter(bitrix):
    assert bitrix.error("crm.deal.list", filter="ID=1") == (400, "")


def test_an_old_list_makes_equality_of_likeness_on_directories(bitrix):
    assert old(bitrix, filter={"%STAGE_ID": "WO"}) == []
    assert old(bitrix, filter={"%STAGE_ID": "WON"}) == [2]


def test_a_universal_list_refuses_unknown_fields_in_filter_and_order(bitrix):
    for params in ({"filter": {">noSuch": 1}}, {"order": {"noSuch": "ASC"}}, {"filter": {">id": ["1", "2"]}}):
        assert bitrix.error("crm.item.list", entityTypeId=2, **params) == (400, "INVALID_ARG_VALUE")
    answer = bitrix.ask("crm.item.list", entityTypeId=2, filter={">noSuch": 1})
    assert answer.json()["error_description"] == "Invalid filter: field 'noSuch' is not allowed in filter"
    bitrix.switch(unknown_filter="drop")
    assert new(bitrix, {">noSuch": 1}) == [1, 2, 3]


def test_a_universal_list_knows_alternatives(bitrix):
    assert new(bitrix, {"logic": "OR", "0": {"id": 1}, "1": {">opportunity": 250}}) == [1, 3]
    assert new(bitrix, {"0": {"logic": "OR", "0": {"id": 1}, "1": {"id": 2}}, "opened": "Y"}) == [1, 2]
    assert new(bitrix, {"@stageId": ["WON"]}) == [2]


def test_a_boolean_user_field_is_asked_for_by_a_number(bitrix):
    assert new(bitrix, {"ufCrmIsVip": 1}) == [2, 3]
    assert new(bitrix, {"ufCrmIsVip": "Y"}) == [1]
    assert old(bitrix, filter={"UF_CRM_IS_VIP": "0"}) == [1]


def test_an_enumeration_is_asked_for_by_its_option(bitrix):
    assert old(bitrix, filter={"UF_CRM_LOSS_REASON": "3157"}) == [2, 3]
    assert old(bitrix, filter={"!UF_CRM_LOSS_REASON": ""}) == [2, 3]


def test_dates_are_instants_and_without_an_offset_in_the_server_s_zone():
    bitrix = Bitrix({"deal": [deal(1, DATE_CREATE=Instant(NOW)), deal(2, DATE_CREATE=Instant(NOW + 3600))]})
    for text in ("2026-08-20T10:22:22+00:00", "2026-08-20T13:22:22+03:00", "2026-08-20 13:22:22"):
        assert old(bitrix, filter={">DATE_CREATE": text}) == [2]


def test_a_date_that_cannot_be_read_asks_for_nothing(bitrix):
    assert old(bitrix, filter={">DATE_MODIFY": "yesterday evening"}) == [1, 2, 3]
    assert old(bitrix, filter={">DATE_CREATE": "2026-08-20T12:52:22 03:00"}) == [1, 2, 3]


def test_phones_are_found_by_the_exact_number_only():
    bitrix = Bitrix({"contact": [contact(1, "+79990000001"), contact(2)]})
    assert ids(bitrix.result("crm.contact.list", filter={"PHONE": "+79990000001"})) == [1]
    assert ids(bitrix.result("crm.contact.list", filter={"%PHONE": "+7999"})) == []


def test_bindings_of_an_activity_double_it_in_a_narrow_list():
    bitrix = Bitrix({"activity": [activity(1), activity(2, BINDINGS=[])]})
    pairs = [{"OWNER_TYPE_ID": 2, "OWNER_ID": 101}, {"OWNER_TYPE_ID": 3, "OWNER_ID": 84}]
    assert ids(bitrix.result("crm.activity.list", filter={"BINDINGS": pairs}, select=["ID"])) == [1, 1]


def test_no_deadline_is_later_than_any():
    bitrix = Bitrix({"activity": [activity(1, DEADLINE=Never), activity(2, DEADLINE=Instant(NOW))]})
    assert ids(bitrix.result("crm.activity.list", filter={">DEADLINE": "2100-01-01"})) == [1]
    assert ids(bitrix.result("crm.activity.list", order={"DEADLINE": "DESC"})) == [1, 2]


def test_history_can_be_filtered_by_its_own_fields_only(bitrix):
    assert bitrix.error("crm.stagehistory.list", entityTypeId=2, filter={"TITLE": "x"}) == (400, "INVALID_ARG_VALUE")
    wrong = {">CREATED_TIME": "yesterday"}
    assert bitrix.error("crm.stagehistory.list", entityTypeId=2, filter=wrong) == (400, "INVALID_ARG_VALUE")
    rows = bitrix.result("crm.stagehistory.list", entityTypeId=2, filter={"OWNER_ID": 105}, order={"NO": "ASC"})
    assert ids(rows["items"]) == [5]


def test_tasks_refuse_an_unknown_order(bitrix):
    assert bitrix.error("tasks.task.list", order={"no": "asc"}) == (400, "0")


def test_templates_of_recurring_deals_are_items_but_no_deals():
    bitrix = Bitrix({"deal": [deal(1), deal(2, IS_RECURRING=True)]})
    assert old(bitrix, filter={}) == [1]
    assert old(bitrix, filter={"ID": 2}) == [2]
    assert old(bitrix, filter={"IS_RECURRING": "Y"}) == [2]
    assert new(bitrix, {}) == [1, 2]


def test_an_order_by_another_field_is_by_its_values(bitrix):
    assert ids(bitrix.result("crm.deal.list", order={"TITLE": "ASC"})) == [3, 2, 1]
    assert ids(bitrix.result("crm.deal.list", order={"LEAD_ID": "DESC", "ID": "ASC"})) == [3, 1, 2]


def test_users_are_filtered_by_flat_parameters_too(bitrix):
    assert ids(bitrix.result("user.get", ID=6)) == [6]
    assert ids(bitrix.result("user.get", FILTER={"ACTIVE": True})) == [5]
    assert ids(bitrix.result("user.get", FILTER={">ID": 5}, sort="ID", order="ASC")) == [6]
