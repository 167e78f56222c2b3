"""Custom fields: section 6.5 of the amoCRM reference."""

from datetime import UTC, date, datetime

import httpx
import pytest
from amo_fake import (
    FIRST,
    LONG_LIVED,
    NOTHING,
    amo,
    custom,
    lead,
    of,
    page,
    read,
    rows_of,
)

from connectors.records import (
    Deal,
    FieldDef,
    FieldEnum,
    FieldRequired,
    FieldValue,
    Notice,
    RawRecord,
)

LEADS = "/api/v4/leads"


def read_leads(*leads, **settings):
    api, _ = amo({LEADS: page("leads", *leads)}, settings=LONG_LIVED.model_copy(update=settings))
    return read(api, "leads", FIRST)


def values(*fields, **settings) -> list[FieldValue]:
    return rows_of(FieldValue, read_leads(lead(1, custom_fields_values=list(fields)), **settings))


def test_c60_a_birthday_before_1970_is_negative():
    assert values(custom("birthday", {"value": -86400}))[0].value_date == date(1969, 12, 31)


def test_c61_dates_come_as_numbers_and_two_kinds_of_text():
    items = [{"value": 1788220800}, {"value": "2020-05-08"}, {"value": "1788220800"}]
    days = [row.value_date for row in values(custom("date", *items))]
    assert days == [date(2026, 9, 1), date(2020, 5, 8), date(2026, 9, 1)]


def test_a_date_is_a_day_of_the_accounts_zone():
    midnight_in_moscow = 1788220800 - 3 * 3600
    assert values(custom("date", {"value": midnight_in_moscow}))[0].value_date == date(2026, 9, 1)
    in_utc = values(custom("date", {"value": midnight_in_moscow}), dates_are_utc=True)
    assert in_utc[0].value_date == date(2026, 8, 31)


def test_a_date_with_a_time_is_an_instant():
    assert values(custom("date_time", {"value": 1788255000}))[0].value_ts == datetime.fromtimestamp(1788255000, UTC)


def test_c62_a_chained_list_keeps_its_ids():
    row = values(custom("chained_list", {"catalog_id": 5601, "catalog_element_id": 5500001}))[0]
    assert row.value_text == '{"catalog_id":5601,"catalog_element_id":5500001}'


@pytest.mark.parametrize("empty", [None, [], [{"value": None}]])
def test_c63_no_values_are_no_rows(empty):
    assert not values({"field_id": 1, "field_type": "text", "values": empty})


def test_c64_definitions_are_paged_through():
    definitions = [{"id": n, "name": f"Поле {n}", "type": "text"} for n in range(120)]

    def answer(request: httpx.Request) -> httpx.Response:
        first = (int(request.url.params["page"]) - 1) * 50  # whatever `limit` says
        some = definitions[first : first + 50]
        return page("custom_fields", *some) if some else NOTHING

    api, _ = amo({"/api/v4/leads/custom_fields": answer})
    assert len(of(FieldDef, read(api, "fields"))) == 120


def test_c65_two_fields_with_one_name_are_two_fields():
    definitions = [{"id": n, "name": "Бюджет", "type": "numeric"} for n in (1, 2)]
    api, _ = amo({"/api/v4/leads/custom_fields": page("custom_fields", *definitions)})
    assert [row.field_id for row in of(FieldDef, read(api, "fields"))] == ["field:1", "field:2"]


def test_c66_an_unknown_type_is_kept_as_json_and_counted():
    yielded = read_leads(lead(1, custom_fields_values=[custom("hologram", {"value": {"x": 1}})]))
    assert rows_of(FieldValue, yielded)[0].value_text == '{"value":{"x":1}}'
    assert [(notice.is_unknown, notice.n) for notice in of(Notice, yielded)] == [(True, 1)]


def test_c67_a_no_is_not_a_nothing_and_a_comma_is_a_point():
    assert values(custom("checkbox", {"value": False}))[0].value_num == 0
    assert values(custom("checkbox", {"value": True}))[0].value_num == 1
    assert [row.value_num for row in values(custom("numeric", {"value": "12,5"}, {"value": "12.5"}))] == [12.5, 12.5]
    assert values(custom("numeric", {"value": "много"}))[0].value_text == "много"


def test_options_keep_their_number_and_their_text():
    item = {"value": "VK", "enum_id": 990012, "enum_code": None}
    row = values(custom("select", item))[0]
    assert (row.value_text, row.enum_id, row.enum_code, row.entity_kind) == ("VK", "990012", None, "deal")


def test_a_definition_comes_with_options_and_the_stages_that_demand_it():
    definition = {
        "id": 780101,
        "name": "Источник",
        "type": "select",
        "enums": [{"id": 990011, "value": "Яндекс", "sort": 1}],
        "required_statuses": [{"status_id": 142, "pipeline_id": 7100101}],
    }
    api, _ = amo({"/api/v4/leads/custom_fields": page("custom_fields", definition)})
    yielded = read(api, "fields")
    assert [(row.type, row.entity_kind) for row in of(FieldDef, yielded)] == [("enum", "deal")]
    assert [row.name for row in rows_of(FieldEnum, yielded)] == ["Яндекс"]
    assert [(row.pipeline_id, row.stage_id) for row in rows_of(FieldRequired, yielded)] == [
        ("pipeline:7100101", "status:142")
    ]


def test_phones_and_e_mails_are_fields_of_their_own_types():
    definitions = [
        {"id": n, "name": code, "code": code, "type": "multitext"} for n, code in enumerate(["PHONE", "EMAIL", "IM"])
    ]
    api, _ = amo({"/api/v4/contacts/custom_fields": page("custom_fields", *definitions)})
    assert [row.type for row in of(FieldDef, read(api, "fields"))] == ["phone", "email", "text"]


@pytest.mark.parametrize(
    "broken",
    [
        {"created_at": None, "updated_at": None},
        {"custom_fields_values": [7]},
        {"custom_fields_values": {"a": 1}},
        {"_embedded": {"contacts": [{"id": 1}], "tags": "x", "companies": 7}, "created_at": {}, "updated_at": []},
        {"name": {"x": 1}},
    ],
)
def test_an_object_that_fits_nothing_is_kept_raw_counted_and_stops_nothing(broken):
    yielded = read_leads(lead(1, **broken), lead(2))
    assert len(of(RawRecord, yielded)) == 2
    assert "lead:2" in [deal.deal_id for deal in of(Deal, yielded)]
    assert [notice.is_unknown for notice in of(Notice, yielded)] == [True]


def test_the_raw_copy_names_the_version_a_row_was_mapped_from():
    yielded = read_leads(lead(1))
    raw, row = of(RawRecord, yielded)[0], of(Deal, yielded)[0]
    assert (raw.entity, raw.native_id) == ("leads", "1")
    assert row.raw_hash == raw.raw_hash
