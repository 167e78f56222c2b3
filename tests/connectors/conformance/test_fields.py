"""Custom fields: section 6.5 of the amoCRM reference."""

import json
from datetime import UTC, date, datetime

import httpx
import pytest
from amo_fake import (
    FIRST,
    LONG_LIVED,
    NOTHING,
    amo,
    contact,
    custom,
    lead,
    of,
    page,
    read,
    rows_of,
)
from hypothesis import given
from hypothesis import strategies as st

from connectors.amocrm.values import DECODERS
from connectors.records import (
    ClientPhone,
    Contact,
    Deal,
    FieldDef,
    FieldEnum,
    FieldRequired,
    FieldValue,
    Notice,
    RawRecord,
)

LEADS, CONTACTS = "/api/v4/leads", "/api/v4/contacts"


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
    assert row.value_text == '{"catalog_element_id":5500001,"catalog_id":5601}'


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
        {"_embedded": {"contacts": [{"id": 1}], "tags": "x", "companies": 7}, "created_at": {}, "updated_at": []},
        {"pipeline_id": None},
        {"status_id": None},
        {"status_id": {"id": 142}},
    ],
)
def test_an_object_that_fits_nothing_is_kept_raw_counted_and_stops_nothing(broken):
    yielded = read_leads(lead(1, **broken), lead(2))
    assert len(of(RawRecord, yielded)) == 2
    assert [deal.deal_id for deal in of(Deal, yielded)][-1:] == ["lead:2"]
    assert not [deal for deal in of(Deal, yielded) if "None" in deal.pipeline_id + deal.stage_id]
    assert [notice.is_unknown for notice in of(Notice, yielded)] == [True]


def test_the_raw_copy_names_the_version_a_row_was_mapped_from():
    yielded = read_leads(lead(1))
    raw, row = of(RawRecord, yielded)[0], of(Deal, yielded)[0]
    assert (raw.entity, raw.native_id) == ("leads", "1")
    assert row.raw_hash == raw.raw_hash


# One odd field costs no card and no other field

GOOD = custom("text", {"value": "да"}, field_id=1)


def test_lists_with_holes_come_as_objects():
    phones = custom("multitext", code="PHONE") | {"values": {"0": {"value": "+79991234567"}, "2": {"value": "8 999 1"}}}
    api, _ = amo({CONTACTS: page("contacts", contact(1, custom_fields_values={"0": GOOD, "2": phones}))})
    yielded = read(api, "contacts", FIRST)
    assert [row.value_text for row in rows_of(FieldValue, yielded)] == ["да", "+79991234567", "8 999 1"]
    assert "+79991234567" in [row.phone_e164 for row in rows_of(ClientPhone, yielded)]
    source = custom("text", code="UTM_SOURCE") | {"values": {"1": {"value": "vk"}}}
    deal = of(Deal, read_leads(lead(1, custom_fields_values={"0": source})))[0]
    assert deal.utm_source == "vk"


@pytest.mark.parametrize(
    "odd",
    [
        7,
        "text",
        ["text"],
        {"field_type": "text", "values": [{"value": "of no field"}]},
        custom("text", {"value": "of no field"}) | {"field_id": None},
        custom("text", None),
        custom("text", "bare"),
        custom("multitext", 7, code="PHONE"),
        custom("text", code="UTM_SOURCE") | {"values": 7},
    ],
)
def test_a_field_that_cannot_be_read_costs_itself_and_is_counted(odd):
    for odd_first in (True, False):
        fields = [odd, GOOD] if odd_first else [GOOD, odd]
        yielded = read_leads(lead(1, custom_fields_values=fields))
        assert [deal.deal_id for deal in of(Deal, yielded)] == ["lead:1"]
        assert [row.value_text for row in rows_of(FieldValue, yielded)] == ["да"]
        assert [(notice.n, notice.is_unknown) for notice in of(Notice, yielded)] == [(1, True)]


def test_a_value_that_cannot_be_read_costs_none_of_its_neighbours():
    assert [row.value_text for row in values(custom("text", None, {"value": "да"}))] == ["да"]


def test_a_type_that_is_no_name_is_an_unknown_type():
    yielded = read_leads(lead(1, custom_fields_values=[custom("text", {"value": 1}) | {"field_type": ["text"]}]))
    assert rows_of(FieldValue, yielded)[0].value_text == '{"value":1}'
    assert [notice.is_unknown for notice in of(Notice, yielded)] == [True]


@pytest.mark.parametrize(("name", "text"), [(777, "777"), ({"x": 1}, '{"x":1}'), ("", None), (None, None)])
def test_names_are_text_whatever_they_come_as(name, text):
    assert of(Deal, read_leads(lead(1, name=name)))[0].name == text
    api, _ = amo({CONTACTS: page("contacts", contact(1, name=name))})
    assert of(Contact, read(api, "contacts", FIRST))[0].name == text


scalars = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ["+79991234567", "a@b.c", "-1"]
)
anything = st.recursive(
    scalars | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
items = st.lists(anything | st.fixed_dictionaries({"value": anything}, optional={"enum_id": anything}), max_size=3)
fields = st.fixed_dictionaries(
    {"field_id": st.just(1) | anything, "field_type": st.sampled_from(sorted(DECODERS)) | anything},
    optional={"values": items | anything, "field_code": st.sampled_from(["PHONE", "EMAIL", "UTM_SOURCE"]) | anything},
)
filled = anything | st.lists(anything | fields, max_size=4) | st.dictionaries(st.sampled_from("0123"), fields)


@given(filled)
def test_whatever_stands_in_custom_fields_the_card_is_read(given_values):
    card = {"custom_fields_values": json.loads(json.dumps(given_values))}
    api, _ = amo({LEADS: page("leads", lead(1, **card)), CONTACTS: page("contacts", contact(2, **card))})
    assert [deal.deal_id for deal in of(Deal, read(api, "leads", FIRST))] == ["lead:1"]
    assert [row.contact_id for row in of(Contact, read(api, "contacts", FIRST))] == ["contact:2"]
