"""What changes between two syncs is in the log, whether or not the source tells of it."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from fake_source import RESOURCES, START, FakeSource, account
from sync_words import Look

from connectors.connector import Resource, Window
from connectors.errors import RetriableError
from connectors.records import Account, Deal, LeftOut, Stage, Yield
from sync import sync

DAY = timedelta(days=1)
MOVES = "SELECT deal_id, changed_at, from_stage_id, to_stage_id, origin FROM deal_stage_transition ORDER BY changed_at"
OWNERS = "SELECT deal_id, changed_at, from_user_id, to_user_id, origin FROM deal_owner_change"
AMOUNTS = "SELECT deal_id, changed_at, from_minor, to_minor, currency, origin FROM deal_amount_change"

CLOSING = {12: "lost", 13: "won"}

Night = Callable[[], None]


def stages(api: FakeSource, account: Account, window: Window) -> Iterator[Yield]:
    api.answer("stages", window)
    for n in range(10, 15):
        yield Stage(
            account_id=account.account_id,
            pipeline_id="pipeline:1",
            stage_id=f"status:{n}",
            name=f"Stage {n}",
            sort=n,
            kind=CLOSING.get(n, "open"),
        )


WITH_STAGES = (Resource("stages", stages, ("whole",), (Stage,)), *RESOURCES)


@pytest.fixture
def source() -> FakeSource:
    one = FakeSource()
    one.add(1, START - 9 * DAY, user=1, minor=100)
    return one


@pytest.fixture
def night(data_dir: Path, source: FakeSource) -> Night:
    """A sync, and the source's clock a day later."""

    def run() -> None:
        sync(data_dir, [account(source, resources=WITH_STAGES)], overlap=2 * DAY, now=lambda: source.now)
        source.now += DAY

    return run


def put(source: FakeSource, **fields: object) -> None:
    """Change the deal an hour before the next sync, and tell nobody."""
    for name, value in {"changed_at": source.now - timedelta(hours=1), **fields}.items():
        setattr(source.things[1], name, value)


def test_what_changed_unseen_is_dated_by_the_card(source: FakeSource, night: Night, look: Look):
    night()
    put(source, stage=12, user=2, minor=None)
    night()
    at = START + DAY - timedelta(hours=1)
    assert look(MOVES) == [("lead:1", at, "status:10", "status:12", "snapshot")]
    assert look(OWNERS) == [("lead:1", at, "user:1", "user:2", "snapshot")]
    assert look(AMOUNTS) == [("lead:1", at, 100, None, "RUB", "snapshot")]


def test_nothing_is_written_where_nothing_changed(source: FakeSource, night: Night, look: Look):
    night()
    night()
    assert look(MOVES) == look(OWNERS) == look(AMOUNTS) == []


def test_what_the_source_tells_is_told_once(source: FakeSource, night: Night, look: Look):
    night()
    source.move(1, source.now - timedelta(hours=1))
    night()
    assert [row[-1] for row in look(MOVES)] == ["event"]


def test_a_closing_is_dated_by_the_closing(source: FakeSource, night: Night, look: Look):
    night()
    put(source, stage=12, closed_at=source.now - timedelta(hours=3))
    night()
    assert look(MOVES)[0][1] == START + DAY - timedelta(hours=3)


def test_what_a_deal_was_closed_with_is_dated_before_its_closing_whoever_touches_it_later(
    source: FakeSource, night: Night, look: Look
):
    night()
    closed_at = source.now - timedelta(hours=3)
    put(source, stage=13, user=2, minor=900, closed_at=closed_at)
    night()
    assert [row[1] < closed_at for row in (*look(OWNERS), *look(AMOUNTS))] == [True, True]


@pytest.mark.parametrize("failing", [{}, {"events": RetriableError("down")}], ids=["read", "waited for"])
def test_what_is_corrected_in_a_closed_deal_is_dated_by_the_card(
    source: FakeSource, night: Night, look: Look, failing: dict[str, Exception]
):
    """Also while the log of stages is waited for, which is to tell of the closing."""
    night()
    source.failing = failing
    put(source, stage=13, closed_at=source.now - timedelta(hours=3))
    night()
    put(source, user=2, minor=900)
    night()
    at = START + 2 * DAY - timedelta(hours=1)
    assert [row[1] for row in (*look(OWNERS), *look(AMOUNTS))] == [at, at]


def test_owners_do_not_wait_for_the_log_of_stages(source: FakeSource, night: Night, look: Look):
    """Which tells nothing of owners."""
    night()
    source.failing = {"events": RetriableError("down")}
    put(source, user=2, stage=11)
    night()
    assert (len(look(OWNERS)), len(look(MOVES))) == (1, 0)
    source.failing = {}
    night()
    assert (len(look(OWNERS)), len(look(MOVES))) == (1, 1)


def test_a_move_between_open_stages_is_not_dated_by_an_earlier_closing(source: FakeSource, night: Night, look: Look):
    night()
    put(source, stage=11, closed_at=source.now - timedelta(hours=3))
    night()
    assert look(MOVES)[0][1] == START + DAY - timedelta(hours=1)


def test_a_card_with_an_impossible_date_is_dated_by_the_sync(source: FakeSource, night: Night, look: Look):
    night()
    put(source, stage=12, changed_at=source.now + 400 * DAY)
    night()
    assert look(MOVES)[0][1] == START + DAY


def test_an_event_that_comes_later_takes_its_place(source: FakeSource, night: Night, look: Look):
    night()
    put(source, stage=11)
    night()
    assert [row[-1] for row in look(MOVES)] == ["snapshot"]
    source.events.append((1, source.now - timedelta(hours=25), "moved", 1))
    night()
    assert [row[-1] for row in look(MOVES)] == ["event"]


def test_an_event_dated_after_the_card_takes_its_place_too(source: FakeSource, night: Night, look: Look):
    night()
    source.move(1, source.now - timedelta(minutes=30))
    put(source)
    night()
    assert [row[-1] for row in look(MOVES)] == ["event"]


def test_an_event_after_the_deal_was_read_is_another_change(source: FakeSource, night: Night, look: Look):
    """10 → 11 unseen, back again before the next sync, then 10 → 11 told."""
    night()
    put(source, stage=11)
    night()
    source.things[1].stage = 10
    source.move(1, source.now - timedelta(hours=2))
    night()
    assert [(*row[3:], row[1]) for row in look(MOVES)] == [
        ("status:11", "snapshot", START + DAY - timedelta(hours=1)),
        ("status:11", "event", START + 2 * DAY - timedelta(hours=2)),
    ]


def test_an_event_before_the_last_look_is_another_change(source: FakeSource, night: Night, look: Look):
    """The log led to 11, but the deal was seen in 10 since; then it goes to 11 unseen."""
    source.events.append((1, START - DAY, "moved", 1))
    night()
    put(source, stage=11)
    night()
    assert [row[2:] for row in look(MOVES)] == [
        (None, "status:11", "event"),
        ("status:10", "status:11", "snapshot"),
    ]


def test_each_of_several_changes_stays(source: FakeSource, night: Night, look: Look):
    night()
    for stage in (12, 13, 12):
        put(source, stage=stage)
        night()
    ways = [row[2:4] for row in look(MOVES)]
    assert ways == [("status:10", "status:12"), ("status:12", "status:13"), ("status:13", "status:12")]


def test_a_change_starts_where_the_log_has_led(source: FakeSource, night: Night, look: Look):
    night()
    source.move(1, source.now - timedelta(hours=2))
    put(source, stage=14)
    night()
    assert [row[2:] for row in look(MOVES)][1] == ("status:11", "status:14", "snapshot")


def test_a_log_that_was_not_read_says_nothing(source: FakeSource, night: Night, look: Look):
    night()
    put(source, stage=11)
    source.failing = {"events": RetriableError("down")}
    night()
    assert look(MOVES) == []
    source.failing = {}
    source.events.append((1, source.now - timedelta(hours=25), "moved", 1))
    night()
    assert [row[-1] for row in look(MOVES)] == ["event"]


def test_deals_read_without_their_log_are_known_from_then_on(source: FakeSource, night: Night, look: Look):
    night()
    source.failing = {"events": RetriableError("down")}
    source.add(2, source.now - timedelta(hours=2))
    night()
    source.failing = {}
    source.things[2].stage, source.things[2].changed_at = 12, source.now - timedelta(hours=1)
    night()
    assert [row[2:4] for row in look(MOVES)] == [("status:10", "status:12")]


@pytest.mark.parametrize(("nights", "n_seen"), [(6, 0), (7, 1)])
def test_a_log_not_read_for_a_week_is_not_waited_for(
    source: FakeSource, night: Night, look: Look, nights: int, n_seen: int
):
    night()
    source.failing = {"events": RetriableError("down")}
    put(source, stage=11)
    for _ in range(nights):
        night()
    assert len(look(MOVES)) == n_seen
    source.failing = {}
    source.events.append((1, START + DAY - timedelta(hours=1), "moved", 1))
    night()
    assert [row[-1] for row in look(MOVES)] == ["event"]


def left_out(api: FakeSource, account: Account, window: Window) -> Iterator[Yield]:
    api.answer("events", window)
    yield LeftOut()


def test_a_log_that_is_not_given_is_not_waited_for(source: FakeSource, data_dir: Path, look: Look):
    resources = (*RESOURCES[:-1], replace(RESOURCES[-1], read=left_out))
    sync(data_dir, [account(source, resources=resources)])
    source.now += DAY
    put(source, stage=11)
    sync(data_dir, [account(source, resources=resources)])
    assert [row[-1] for row in look(MOVES)] == ["snapshot"]


def test_deals_that_moved_unseen_are_counted(source: FakeSource, data_dir: Path, night: Night):
    night()
    put(source, stage=11)
    (found,) = sync(data_dir, [account(source)]).account("main").checks
    assert (found["code"], found["sample"]) == ("history_differs", ["lead:1"])


def test_what_changes_while_the_sources_clock_stands_still_is_seen_when_it_goes_on(
    source: FakeSource, data_dir: Path, look: Look
):
    sync(data_dir, [account(source)])
    for stage in (12, 13):
        put(source, stage=stage, changed_at=source.now)
        sync(data_dir, [account(source)])
    ways = "SELECT from_stage_id, to_stage_id FROM deal_stage_transition ORDER BY changed_at, change_id"
    assert look(ways) == []
    source.now += DAY
    sync(data_dir, [account(source)])
    assert look(ways) == [("status:10", "status:13")]


@pytest.mark.parametrize("n_given", [0, 1], ids=["never given", "given once"])
def test_one_of_two_lists_of_deals_that_is_left_out_neither_stops_nor_dates_what_is_seen_of_the_other(
    source: FakeSource, data_dir: Path, look: Look, n_given: int
):
    def others(api: FakeSource, account: Account, window: Window) -> Iterator[Yield]:
        api.answer("others", window)
        if (api.now - START) // DAY >= n_given:
            yield LeftOut()

    resources = (*RESOURCES, Resource("others", others, ("whole",), (Deal,), is_core=True))
    due = []
    for user in (1, 1, 2, 3, 4):
        put(source, user=user, minor=100 * user)
        due += [source.things[1].changed_at] if user > 1 else []
        assert sync(data_dir, [account(source, resources=resources)]).is_well
        source.now += DAY
    assert [row[1:4] for row in sorted(look(OWNERS))] == [
        (due[0], "user:1", "user:2"), (due[1], "user:2", "user:3"), (due[2], "user:3", "user:4"),
    ]  # fmt: skip
    assert [row[1:4] for row in sorted(look(AMOUNTS))] == [(due[0], 100, 200), (due[1], 200, 300), (due[2], 300, 400)]


def test_a_closing_that_its_log_was_waited_for_is_dated_by_the_closing(source: FakeSource, night: Night, look: Look):
    """Looks at owners and amounts have shown it meanwhile; those at stages have not."""
    night()
    source.failing = {"events": RetriableError("down")}
    closed_at = source.now - timedelta(hours=3)
    put(source, stage=13, closed_at=closed_at)
    night()
    put(source, user=2)
    night()
    source.failing = {}
    night()
    assert [row[1] for row in look(MOVES)] == [closed_at]


def test_histories_of_which_nothing_new_has_come_are_not_gone_over_again(source: FakeSource, night: Night, look: Look):
    """There are millions of them: what is told is compared when it comes. Here it seems to have been there before."""
    night()
    put(source, stage=11)
    night()
    look(
        "INSERT INTO deal_stage_transition BY NAME SELECT * REPLACE ('event:1' AS change_id, 'event' AS origin, "
        "0 AS load_seq) FROM deal_stage_transition"
    )
    night()
    assert [row[-1] for row in look(MOVES)] == ["snapshot", "event"]
    look("UPDATE deal_stage_transition SET load_seq = 1::BIGINT << 50 WHERE origin = 'event'")
    night()
    assert [row[-1] for row in look(MOVES)] == ["event"]
