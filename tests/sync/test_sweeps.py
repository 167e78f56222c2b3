"""What left a source without a trace is found by looking for every row; what is only out of sight is not gone."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from fake_source import START, SWEPT, FakeSource, filled
from fake_source import account as account_of
from sync_words import Look

from connectors.connector import Window
from connectors.errors import ForbiddenError, RetriableError
from sync import SyncAccount, sync
from sync.doubts import FEW
from warehouse.status import RunStatus, read_status
from warehouse.sweeps import Difference, Sweeps

WEEK = timedelta(days=7)
GONE = "SELECT deal_id FROM deal WHERE deleted_at IS NOT NULL ORDER BY 1"


class Source(FakeSource):
    viewer = "user:1 admin"
    """Who the token reads as."""


def many(n: int = 100) -> Source:
    source = Source(**vars(filled()))
    for number in range(100, 100 + n):
        source.add(number, START - timedelta(days=20))
    return source


def account(source: Source) -> SyncAccount:
    mine = account_of(source, resources=SWEPT)
    viewer = replace(mine.connector, viewer=lambda api: api.viewer)
    return replace(mine, connector=viewer)


def later(data_dir: Path, source: Source, after: timedelta = WEEK, **options: bool) -> RunStatus:
    """One more sync, a week later by the source's clock."""
    source.now += after
    source.asked.clear()
    return sync(data_dir, [account(source)], **options)


def swept(source: Source) -> list[tuple[str, ...]]:
    return [window.ids for name, window in source.asked if window.kind in ("sweep", "probe")]


@pytest.fixture
def source(data_dir: Path) -> Source:
    """A source that was read for the first time."""
    source = many()
    sync(data_dir, [account(source)])
    return source


def test_a_row_that_left_without_a_trace_is_found_gone(data_dir: Path, look: Look, source: Source):
    del source.things[100]
    assert later(data_dir, source).is_well
    assert look("SELECT deal_id, deleted_at FROM deal WHERE deleted_at > '2026-03-05'") == [("lead:100", source.now)]
    assert swept(source) == [(), ("100",)]


def test_a_row_that_a_list_did_not_show_but_is_there_is_read_again(data_dir: Path, look: Look, source: Source):
    source.hidden = frozenset({100})
    source.things[100].stage = 12  # the change time did not move
    before = look(GONE)
    later(data_dir, source)
    assert look(GONE) == before
    assert look("SELECT stage_id FROM deal WHERE deal_id = 'lead:100'") == [("status:12",)]


def test_a_row_that_no_window_has_shown_is_read(data_dir: Path, look: Look, source: Source):
    source.add(500, START - timedelta(days=300))
    later(data_dir, source)
    assert look("SELECT count(*) FROM deal WHERE deal_id = 'lead:500'") == [(1,)]


def test_a_row_held_to_be_deleted_that_is_there_comes_back(data_dir: Path, look: Look, source: Source):
    thing = source.things.pop(100)
    later(data_dir, source)
    source.things[100] = thing
    later(data_dir, source)
    assert ("lead:100",) not in look(GONE)


def test_a_known_deletion_keeps_its_instant(data_dir: Path, look: Look, source: Source):
    source.delete(100, source.now + timedelta(hours=1))
    at = source.now + timedelta(hours=1)
    later(data_dir, source, timedelta(days=1))
    later(data_dir, source)
    assert look("SELECT deleted_at FROM deal WHERE deal_id = 'lead:100'") == [(at,)]


def test_sweeps_come_once_a_week_or_when_everything_is_read_again(data_dir: Path, source: Source):
    later(data_dir, source, timedelta(days=1))
    assert not swept(source)
    later(data_dir, source, full=True)
    assert swept(source) == [()]
    later(data_dir, source, timedelta(days=6))
    assert not swept(source)


def test_a_run_that_begins_a_little_earlier_than_the_last_one_sweeps_too(data_dir: Path, source: Source):
    later(data_dir, source, WEEK - timedelta(minutes=5))
    assert swept(source) == [()]


def test_a_first_sync_needs_no_sweep(data_dir: Path):
    source = many()
    sync(data_dir, [account(source)], full=True)
    assert not swept(source)


@pytest.mark.parametrize(("n_gone", "is_believed"), [(FEW, True), (FEW + 1, False)])
def test_when_too_much_is_missing_nothing_is_taken_as_gone(
    data_dir: Path, look: Look, source: Source, n_gone: int, is_believed: bool
):
    before = len(look(GONE))
    for number in range(100, 100 + n_gone):
        del source.things[number]
    run = later(data_dir, source)
    assert len(look(GONE)) == before + n_gone * is_believed
    told = [text for text in run.account("main").resource("deals").warnings if "more than 2 % of all" in text]
    assert len(told) == (not is_believed)


def test_what_was_doubted_stays_in_the_status_until_a_person_has_decided(data_dir: Path, look: Look, source: Source):
    for number in range(100, 120):
        del source.things[number]
    later(data_dir, source)
    later(data_dir, source, timedelta(days=1))
    assert not swept(source)
    (deals_told,) = [r for r in read_status(data_dir)["accounts"][0]["resources"] if r["resource"] == "deals"]
    assert "20 rows could not be seen" in deals_told["warnings"][0]["text"]
    run = later(data_dir, source, full=True)
    assert len(look(GONE)) == 20
    assert not run.account("main").resource("deals").warnings


def test_a_full_sync_by_who_has_always_read_believes_that_much_is_gone_but_asks_for_each(
    data_dir: Path, look: Look, source: Source
):
    for number in range(100, 120):
        del source.things[number]
    source.hidden = frozenset({150})
    before = len(look(GONE))
    run = later(data_dir, source, full=True)
    assert len(look(GONE)) == before + 20
    assert not run.account("main").resource("deals").warnings
    assert "150" in swept(source)[1]


def test_a_full_sync_by_who_was_told_believes_that_much_is_gone(data_dir: Path, look: Look, source: Source):
    source.viewer = "user:2 admin"
    for number in range(100, 120):
        del source.things[number]
    before = len(look(GONE))
    for full, n_gone in ((False, 0), (True, 20)):
        later(data_dir, source, full=full)
        assert len(look(GONE)) == before + n_gone


def test_what_one_administrator_does_not_see_is_gone_whichever_of_them_has_read_before(
    data_dir: Path, look: Look, source: Source
):
    source.viewer = "user:2 admin"
    del source.things[100]
    run = later(data_dir, source)
    assert ("lead:100",) in look(GONE)
    assert not run.account("main").resource("deals").warnings


def test_an_administrator_who_took_over_is_told_how_to_have_much_taken_as_gone(
    data_dir: Path, look: Look, source: Source
):
    source.viewer = "user:2 admin"
    for number in range(100, 120):
        del source.things[number]
    before = len(look(GONE))
    (told,) = later(data_dir, source).account("main").resource("deals").warnings
    assert "more than 2 % of all" in told
    assert "voronka sync --full" in told
    later(data_dir, source, full=True)
    assert len(look(GONE)) == before + 20


def test_one_full_sync_with_another_administrators_token_is_enough(data_dir: Path, look: Look, source: Source):
    source.viewer = "user:2 admin"
    for number in range(100, 120):
        del source.things[number]
    before = len(look(GONE))
    later(data_dir, source, full=True)
    assert len(look(GONE)) == before + 20


def test_to_new_eyes_nothing_is_gone_until_a_person_who_knows_asks_for_everything(
    data_dir: Path, look: Look, source: Source
):
    before = look(GONE)
    source.viewer = "user:2 not admin"
    del source.things[100]
    for is_told in (True, False):
        told = later(data_dir, source, full=True).account("main").resource("deals").warnings
        assert (look(GONE) == before, bool(told)) == (is_told, is_told)


def test_a_full_sync_right_after_the_token_changed_still_asks_first(data_dir: Path, look: Look, source: Source):
    before = look(GONE)
    source.viewer = "user:2 not admin"
    del source.things[100]
    told = later(data_dir, source, full=True).account("main").resource("deals").warnings
    assert "owner or rights are others" in told[0]
    assert look(GONE) == before


def test_where_nobody_says_who_reads_nothing_is_gone(data_dir: Path, look: Look, source: Source):
    def refuse(_: FakeSource) -> str:
        raise ForbiddenError("no")

    before, mine = look(GONE), account(source)
    del source.things[100]
    source.now += WEEK
    sync(data_dir, [replace(mine, connector=replace(mine.connector, viewer=refuse))])
    assert look(GONE) == before


def test_a_sweep_that_is_cut_off_comes_again(data_dir: Path, look: Look, source: Source):
    del source.things[100]

    def lose(name: str, window: Window) -> None:
        if window.kind == "probe":
            raise RuntimeError

    source.before_page = lose
    assert not later(data_dir, source).is_well
    source.before_page = lambda name, window: None
    assert later(data_dir, source, timedelta(hours=1)).is_well
    assert ("lead:100",) in look(GONE)


def no_ids(name: str, window: Window) -> None:
    """The source does not answer when it is asked by id."""
    if window.kind == "ids":
        raise RetriableError("gone away")


def test_what_a_sweep_found_is_asked_for_until_it_was_read(data_dir: Path, look: Look, source: Source):
    source.add(500, START - timedelta(days=300))
    source.before_page = no_ids
    assert not later(data_dir, source).is_well
    source.before_page = lambda name, window: None
    assert later(data_dir, source, timedelta(hours=1)).is_well
    assert look("SELECT count(*) FROM deal WHERE deal_id = 'lead:500'") == [(1,)]
    assert look("SELECT * FROM sync_reread") == []


def test_what_names_a_card_that_is_gone_is_asked_for_until_it_was_read(
    data_dir: Path, source: Source, monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as patched:
        found = Difference(n_known=1, naming={"deals": ("100", "101")})
        patched.setattr(Sweeps, "difference", lambda *_, **__: found)
        source.before_page = no_ids
        later(data_dir, source)
    source.before_page = lambda name, window: None
    later(data_dir, source, timedelta(hours=1))
    assert [window.ids for _, window in source.asked if window.kind == "ids"] == [("100", "101")]


def test_what_is_doubted_holds_up_nothing_a_sweep_found(data_dir: Path, look: Look, source: Source):
    for number in range(100, 120):
        del source.things[number]
    source.add(500, START - timedelta(days=300))
    source.before_page = no_ids
    later(data_dir, source)
    source.before_page = lambda name, window: None
    later(data_dir, source, timedelta(hours=1))
    assert look("SELECT count(*) FROM deal WHERE deal_id = 'lead:500'") == [(1,)]
