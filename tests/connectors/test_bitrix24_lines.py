"""Lines of products on leads and deals."""

from datetime import timedelta
from pathlib import Path

from bitrix_demo import Portal, rows

OF_LEADS = "SELECT deal_id, name, qty, price_minor FROM deal_item WHERE starts_with(deal_id, 'lead:')"
DOOR = {"PRODUCT_ID": 0, "PRODUCT_NAME": "Дверь", "PRICE": "899.10", "QUANTITY": 3}


def test_lines_of_leads_are_read_and_replaced_like_those_of_deals(tmp_path: Path):
    portal = Portal()
    lead = portal.ids("lead")[0]
    portal.people("lines", table="lead", id=lead, lines=[DOOR])
    assert portal.synced(tmp_path).is_well
    assert rows(tmp_path, OF_LEADS) == [(f"lead:{lead}", "Дверь", 3.0, 89_910)]
    of_deals = rows(tmp_path, "SELECT count(*) FROM deal_item WHERE starts_with(deal_id, 'deal:')")
    assert of_deals == [(len(portal.ids("productrow")) - 1,)]
    portal.passes(timedelta(hours=1))
    portal.people("lines", table="lead", id=lead, lines=[])
    assert portal.synced(tmp_path).is_well
    assert rows(tmp_path, OF_LEADS) == []
