"""Who reads now may see less or more than who read before: neither may be taken for a change of the data."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from fake_source import FakeSource, filled
from fake_source import account as account_of
from sync_words import Look

from sync import sync
from warehouse.status import RunStatus

ADMIN, MANAGER = "user:1 admin", "user:2 not admin"
DEALS, MOVES = "SELECT count(*) FROM deal", "SELECT count(*) FROM deal_stage_transition"
STAGE = "SELECT stage_id FROM deal WHERE deal_id = 'lead:5'"


@pytest.fixture
def source() -> FakeSource:
    return filled()


def night(data_dir: Path, source: FakeSource, viewer: str, **how: bool) -> RunStatus:
    """A sync with somebody's token; the source's clock goes on by a day. A manager sees deals up to number 4."""
    mine = account_of(source)
    hidden = {} if viewer == ADMIN else {number: thing for number, thing in source.things.items() if number > 4}
    shown, told = dict(source.things), list(source.events)
    source.things = {number: thing for number, thing in shown.items() if number not in hidden}
    source.events = [event for event in told if event[3] not in hidden]
    run = sync(data_dir, [replace(mine, connector=replace(mine.connector, viewer=lambda api: viewer))], **how)
    source.things, source.events = shown, told
    source.now += timedelta(days=1)
    return run


def move_five(source: FakeSource) -> None:
    source.move(5, source.now - timedelta(hours=3))


def test_a_lesser_token_is_refused_and_the_day_it_did_not_see_is_read_later(
    data_dir: Path, look: Look, source: FakeSource
):
    assert night(data_dir, source, ADMIN).is_well
    move_five(source)
    run = night(data_dir, source, MANAGER)
    assert "may see less" in str(run.account("main").error)
    assert look(STAGE) == [("status:10",)]
    assert night(data_dir, source, ADMIN).is_well
    assert look(STAGE) == [("status:11",)]


def test_who_sees_more_than_before_reads_everything(data_dir: Path, look: Look, source: FakeSource):
    move_five(source)
    night(data_dir, source, MANAGER)
    assert (look(DEALS), look(MOVES)) == ([(4,)], [(3,)])
    assert night(data_dir, source, ADMIN).is_well
    assert (look(DEALS), look(MOVES)) == ([(8,)], [(4,)])


def test_reading_everything_for_who_sees_more_goes_on_after_a_failure(data_dir: Path, look: Look, source: FakeSource):
    night(data_dir, source, MANAGER)
    source.failing = {"deals": RuntimeError()}
    night(data_dir, source, ADMIN)
    source.failing = {}
    assert night(data_dir, source, ADMIN).is_well
    assert look(DEALS) == [(8,)]


def test_with_a_lesser_token_everything_is_read_where_that_is_asked_for(data_dir: Path, source: FakeSource):
    night(data_dir, source, ADMIN)
    assert night(data_dir, source, MANAGER, full=True).is_well
    assert night(data_dir, source, MANAGER).is_well


def test_one_administrator_is_as_good_as_another(data_dir: Path, source: FakeSource):
    night(data_dir, source, ADMIN)
    source.asked.clear()
    assert night(data_dir, source, "user:7 admin").is_well
    assert all(window.kind != "created" or window.start for _, window in source.asked)


def test_one_crm_under_two_ids_is_read_once(data_dir: Path, look: Look, source: FakeSource):
    """In one run, in a later one, and when an entry is called by another name."""
    both = [account_of(source), account_of(source, "other")]
    told = [str(one.error) for one in sync(data_dir, both).accounts]
    assert sum("already read as" in one for one in told) == 1
    one = next(name for name, error in zip(("main", "other"), told, strict=True) if "already" not in error)
    run = sync(data_dir, [account_of(source, "renamed")])
    assert f"already read as {one}" in str(run.account("renamed").error)
    assert look(DEALS) == [(8,)]


def test_a_source_that_feeds_an_account_may_have_its_number(data_dir: Path, source: FakeSource):
    run = sync(data_dir, [account_of(source), account_of(source, "pbx", feeds="main")])
    assert [one.error for one in run.accounts] == [None, None]
