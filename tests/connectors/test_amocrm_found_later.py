"""What only one place at the source tells of, and when a sync finds it."""

from datetime import timedelta
from pathlib import Path

import pytest
from amo_demo import DAY, Crm, rows

from connectors.errors import Phrase


def of_deal(data_dir: Path, number: int, what: str) -> list[tuple[object, ...]]:
    return rows(data_dir, f"SELECT {what} FROM deal WHERE deal_id = 'lead:{number}'")


@pytest.mark.parametrize("told_of", ["lead", "contact"])
def test_a_new_contact_of_a_deal_is_seen_whichever_card_the_event_is_of(tmp_path: Path, told_of: str):
    crm = Crm(link_told_of=told_of)
    deal, contact = (crm.people("create", entity=entity)["id"] for entity in ("leads", "contacts"))
    crm.passes(DAY)  # so that no overlap of windows reads the deal anyway
    crm.synced(tmp_path)
    crm.passes(DAY)
    crm.people("link", id=deal, contact_id=contact)
    crm.passes(DAY)
    crm.synced(tmp_path)
    assert of_deal(tmp_path, deal, "main_contact_id") == [(f"contact:{contact}",)]


@pytest.mark.parametrize("is_filtered", [True, False])
def test_a_trash_that_does_not_filter_is_named_and_one_that_does_is_quiet(tmp_path: Path, is_filtered: bool):
    crm = Crm(trash_is_filtered=is_filtered)
    deal = crm.people("create", entity="leads")["id"]
    crm.synced(tmp_path)
    crm.passes(DAY)
    crm.people("delete", entity="leads", id=deal, event=False)
    crm.passes(DAY)
    run = crm.synced(tmp_path)
    assert of_deal(tmp_path, deal, "deleted_at IS NOT NULL") == [(True,)]
    said = Phrase(
        "{list}: the filter by {field} has no effect, the whole list is read", list="leads/trash", field="updated_at"
    )
    warnings = run.account("main").resource("trash").warnings
    assert any(said in warning for warning in warnings) is not is_filtered
    assert bool(warnings) is not is_filtered


def test_a_deal_dated_in_the_future_is_there_after_the_first_sync(tmp_path: Path):
    crm = Crm()
    ahead = int((crm.now + timedelta(hours=5)).timestamp())
    deal = crm.people("create", entity="leads", created_at=ahead)["id"]
    crm.synced(tmp_path)
    assert of_deal(tmp_path, deal, "count(*)") == [(1,)]
