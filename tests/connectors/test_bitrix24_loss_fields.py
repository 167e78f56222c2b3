"""Fields that are named for the reasons of losses in `config.yaml`."""

import pytest
from bitrix_demo import Portal
from bitrix_rows import of

from connectors.connector import Window
from connectors.records import Notice
from demo.bitrix24_setup import LOSS_FIELD


def told(**named: str) -> list[str]:
    found = list(Portal().reads("fields", Window("whole"), loss_reason_fields=named))
    return [str(notice.text) for notice in of(Notice, found)]


def test_a_field_the_portal_has_is_nothing_to_tell():
    assert told(deal=LOSS_FIELD) == told() == []


@pytest.mark.parametrize(
    ("kind", "field"), [("deal", "UF_CRM_0"), ("lead", LOSS_FIELD), ("deals", LOSS_FIELD), ("deal", LOSS_FIELD.lower())]
)
def test_a_field_the_portal_lacks_is_told(kind: str, field: str):
    (why,) = told(**{kind: field})
    assert f"there is no field {field} of {kind}" in why


def test_a_field_of_numbers_is_told():
    portal = Portal()
    fields = [portal.row("userfield:deal", number) for number in portal.ids("userfield:deal")]
    (numbers, *_) = [field["FIELD_NAME"] for field in fields if field["USER_TYPE_ID"] == "double"]
    (why,) = told(deal=numbers)
    assert "is of the type double, which gives no reasons" in why
