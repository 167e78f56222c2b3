"""The amount of a deal where it stands in a custom field: past amounts are that field's too."""

from pathlib import Path
from typing import Any

import pytest
from amo_demo import DAY, Crm, rows
from amo_fake import FIRST, LONG_LIVED, NOTHING, amo, event, of, page, read

from connectors.records import DealAmountChange, RawRecord

FIELD = 780101
OF_FIELD = f"custom_field_{FIELD}_value_changed"
CHOSEN = LONG_LIVED.model_copy(update={"amount_field_id": FIELD})


def said(text: Any, field_id: Any = FIELD) -> list[dict[str, Any]]:
    return [{"custom_field_value": {"field_id": field_id, "field_type": 2, "enum_id": None, "text": text}}]


def amounts_of(*events: dict[str, Any], settings=CHOSEN) -> list[tuple[int | None, int | None]]:
    """Before and after of each change of an amount, where the log of changes of that field is these."""

    def log(request):
        return page("events", *events) if request.url.params["filter[type]"] == OF_FIELD else NOTHING

    api, _ = amo({"/api/v4/events": log}, settings=settings)
    return [(row.from_minor, row.to_minor) for row in of(DealAmountChange, read(api, "events", FIRST))]


def test_the_field_that_holds_the_amount_is_asked_for_alone_and_only_where_one_is_chosen():
    for settings, last in ((CHOSEN, OF_FIELD), (LONG_LIVED, None)):
        api, server = amo(settings=settings)
        read(api, "events", FIRST)
        asked = [params["filter[type]"] for params in server.asked("/api/v4/events")]
        assert OF_FIELD not in asked[0]
        assert asked[1:] == [last] * bool(last)


@pytest.mark.parametrize(
    ("before", "after", "minor"),
    [
        (said("1500"), said("1 700,50"), (150000, 170050)),
        ([], said("0"), (None, 0)),
        (said("1500"), [], (150000, None)),  # cleared
        (said("1500", str(FIELD)), [], (150000, None)),
    ],
)
def test_a_change_of_the_field_is_a_change_of_the_amount(before, after, minor):
    assert amounts_of(event(OF_FIELD, "e1", value_before=before, value_after=after)) == [minor]


@pytest.mark.parametrize(
    "change",
    [
        event(OF_FIELD, "e1", entity_type="contact", value_after=said("5")),
        event(OF_FIELD, "e1", value_after=said("5", field_id=1)),  # the filter has no effect
        event("lead_added", "e1", value_after=[{"note": {"id": 1}}]),
        event(OF_FIELD, "e1"),
    ],
)
def test_what_is_no_change_of_that_field_of_a_deal_is_none_of_the_amount(change):
    assert amounts_of(change) == []


@pytest.mark.parametrize(("settings", "n"), [(CHOSEN, 0), (LONG_LIVED, 1)])
def test_the_budget_has_no_say_where_a_field_holds_the_amount(settings, n):
    change = event("sale_field_changed", "e1", value_after=[{"sale_field_value": {"sale": 5}}])
    api, _ = amo({"/api/v4/events": [page("events", change), NOTHING]}, settings=settings)
    yielded = read(api, "events", FIRST)
    assert len(of(DealAmountChange, yielded)) == n
    assert [raw.native_id for raw in of(RawRecord, yielded)] == ["e1"]


def test_past_amounts_come_from_the_field_and_not_from_the_budget(tmp_path: Path):
    crm = Crm()
    deal = crm.people("create", entity="leads", price=10)["id"]
    for before, after in (([], said("100")), (said("100"), said("250"))):
        crm.passes(DAY)
        crm.people("edit", entity="leads", id=deal, fields={"price": len(after[0])})
        crm.people(
            "event", type="custom_field_value_changed", entity_type="lead", id=deal,
            value_before=before, value_after=after,
        )  # fmt: skip
    assert crm.synced(tmp_path, amount_field_id=FIELD).is_well
    found = "SELECT from_minor, to_minor FROM deal_amount_change ORDER BY changed_at"
    assert rows(tmp_path, found) == [(None, 10000), (10000, 25000)]
