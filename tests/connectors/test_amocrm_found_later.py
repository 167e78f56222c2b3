"""What only one place at the source tells of, and when a sync finds it."""

from datetime import timedelta
from pathlib import Path

import pytest
from amo_demo import DAY, Crm, rows

from connectors.errors import Phrase
from demo import office
from demo.model import CONTACT


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


WEEK = 7 * DAY


def quietly(table, number: int, **columns: object) -> None:
    """Columns change as by a robot or a bulk action: the change time stays, and no event tells."""
    table.put(table.get(number)._replace(**columns))


def test_what_changed_without_its_change_time_is_right_after_the_next_sweep_and_in_the_history(tmp_path: Path):
    crm = Crm()
    deal = crm.people("create", entity="leads", price=100)["id"]
    crm.passes(DAY)
    crm.synced(tmp_path)
    first, second = office.OPEN_STAGES[office.SALES][:2]
    owner = next(user.id for user in crm.account.company.users if user.id != crm.account.leads.get(deal).user_id)
    quietly(crm.account.leads, deal, stage_id=second, user_id=owner)
    crm.passes(DAY)
    crm.synced(tmp_path)
    assert of_deal(tmp_path, deal, "stage_id") == [(f"status:{first}",)]
    crm.passes(WEEK)
    assert crm.synced(tmp_path).is_well
    assert of_deal(tmp_path, deal, "stage_id, responsible_user_id") == [(f"status:{second}", f"user:{owner}")]
    moves = f"SELECT from_stage_id, to_stage_id, origin FROM deal_stage_transition WHERE deal_id = 'lead:{deal}'"
    assert rows(tmp_path, moves) == [(f"status:{first}", f"status:{second}", "snapshot")]
    owners = f"SELECT to_user_id, origin FROM deal_owner_change WHERE deal_id = 'lead:{deal}'"
    assert rows(tmp_path, owners) == [(f"user:{owner}", "snapshot")]


@pytest.mark.parametrize(
    ("entity", "table", "prefix"),
    [("contacts", "contact", "contact"), ("companies", "company", "company"), ("customers", "customer", "customer")],
)
def test_a_card_of_any_kind_that_got_another_owner_in_bulk_has_it_after_a_sweep(
    tmp_path: Path, entity: str, table: str, prefix: str
):
    crm = Crm()
    card = crm.people("create", entity=entity)["id"]
    crm.passes(DAY)
    crm.synced(tmp_path)
    cards = crm.account.card_table(entity)
    owner = next(user.id for user in crm.account.company.users if user.id != cards.get(card).user_id)
    quietly(cards, card, user_id=owner)
    crm.passes(WEEK)
    crm.synced(tmp_path)
    found = f"SELECT responsible_user_id FROM {table} WHERE {table}_id = '{prefix}:{card}'"
    assert rows(tmp_path, found) == [(f"user:{owner}",)]


def test_a_task_and_a_call_that_changed_quietly_are_right_after_a_sweep(tmp_path: Path):
    crm = Crm()
    card = crm.people("create", entity="contacts")["id"]
    task = crm.people("task", entity="contacts", id=card)["id"]
    call = crm.people("call", entity="contacts", id=card, duration=60)["id"]
    crm.passes(DAY)
    crm.synced(tmp_path)
    owner = next(user.id for user in crm.account.company.users if user.id != crm.account.tasks.get(task).user_id)
    quietly(crm.account.tasks, task, user_id=owner)
    quietly(crm.account.notes[CONTACT], call, duration=61)
    crm.passes(WEEK)
    crm.synced(tmp_path)
    assert rows(tmp_path, f"SELECT responsible_user_id FROM task WHERE task_id = 'task:{task}'") == [(f"user:{owner}",)]
    assert rows(tmp_path, f"SELECT talk_s FROM call WHERE call_id = 'note:{call}'") == [(61,)]


def test_a_sweep_brings_nothing_back_that_was_deleted(tmp_path: Path):
    """Its page was answered before the card was thrown away, and the trash read after that."""
    crm = Crm()
    deal = crm.people("create", entity="leads")["id"]
    crm.passes(DAY)
    crm.synced(tmp_path)
    crm.passes(WEEK)

    def before(_: int, url) -> None:
        is_sweep = "only_deleted" in url.params.get("with", "") and "filter" not in str(url.params)
        if is_sweep and not crm.account.leads.get(deal).deleted_at:
            crm.people("delete", entity="leads", id=deal)

    crm.before = before
    crm.synced(tmp_path)
    assert of_deal(tmp_path, deal, "deleted_at IS NOT NULL") == [(True,)]
