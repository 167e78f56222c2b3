"""A right that is taken away after the first sync: nothing waits for what the source gives no more, and nothing of it
is lost when it is given again."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fake_source import RESOURCES, START, FakeSource, account
from sync_words import Look

from connectors.connector import Resource, Window
from connectors.errors import Phrase, RetriableError
from connectors.records import Account, Call, LeftOut, Notice, Yield
from sync import sync
from warehouse.database import open_warehouse
from warehouse.publish import describe
from warehouse.status import ResourceStatus, RunStatus

DAY = timedelta(days=1)
WHY = Phrase("{where}: no right.", where="fake.example")
USERS, DEALS, CALLS, EVENTS = RESOURCES
COVERED = "SELECT watermark FROM coverage WHERE resource = '{}'"


@dataclass
class Nights:
    """Syncs a day apart. refused: names of resources the source does not give now."""

    data_dir: Path
    source: FakeSource
    resources: tuple[Resource, ...] = RESOURCES
    refused: set[str] = field(default_factory=set)
    last: datetime = START

    def sync(self) -> RunStatus:
        resources = tuple(replace(one, read=self.reading(one)) for one in self.resources)
        self.last = self.source.now
        run = sync(self.data_dir, [account(self.source, resources=resources)], now=lambda: self.last)
        self.source.now += DAY
        return run

    def reading(self, resource: Resource) -> Callable[[Any, Account, Window], Iterator[Yield]]:
        def read(api: FakeSource, account: Account, window: Window) -> Iterator[Yield]:
            api.answer(resource.name, window)
            if resource.name not in self.refused:
                yield from resource.read(api, account, window)
                return
            yield Notice(Phrase("{error} {cost}", error=WHY, cost="Something is missing."))
            yield LeftOut(WHY)

        return read

    def published(self) -> dict[str, Any]:
        """The manifest a publish after the last sync would write."""
        engine = open_warehouse(self.data_dir)
        try:
            return describe(engine, now=self.last)
        finally:
            engine.dispose()


@pytest.fixture
def nights(data_dir: Path) -> Nights:
    source = FakeSource()
    source.add(1, START - 9 * DAY)
    return Nights(data_dir, source)


def status_of(run: RunStatus, resource: str) -> ResourceStatus:
    return run.account("main").resource(resource)


def test_an_account_goes_on_without_what_it_is_given_no_more(nights: Nights, look: Look):
    nights.sync()
    nights.refused = {"calls"}
    nights.sync()
    run = nights.sync()
    assert (run.is_well, status_of(run, "calls").state) == (True, "left_out")
    (mine,) = nights.published()["accounts"]
    assert (mine["as_of"], mine["is_stale"]) == ("2026-03-03T03:00:00Z", False)
    assert look(COVERED.format("call")) == [(START,)]
    assert look(COVERED.format("deal")) == [(START + 2 * DAY,)]


def test_one_sentence_says_which_right_was_lost_and_what_stands_still_since_when(nights: Nights):
    nights.sync()
    nights.refused = {"calls"}
    nights.sync()
    for _ in range(2):
        said = status_of(nights.sync(), "calls").warnings
        assert said == ["fake.example: no right. Nothing of it has come into these tables since 2026-03-01: call."]


def test_what_was_never_given_stands_still_since_no_day(nights: Nights):
    nights.refused = {"calls"}
    nights.sync()
    assert status_of(nights.sync(), "calls").warnings == ["fake.example: no right. Something is missing."]


def test_what_is_refused_for_some_nights_is_read_from_where_it_was_read_to(nights: Nights, look: Look):
    nights.sync()
    nights.refused = {"deals"}
    nights.source.move(1, nights.source.now - timedelta(hours=1))
    nights.source.add(2, nights.source.now - timedelta(hours=1))
    nights.sync()
    nights.sync()
    nights.refused = set()
    run = nights.sync()
    assert look("SELECT deal_id, stage_id FROM deal ORDER BY ALL") == [("lead:1", "status:11"), ("lead:2", "status:10")]
    asked = [window for name, window in nights.source.asked if name == "deals"]
    assert (asked[-1].kind, asked[-1].start) == ("changed", START - timedelta(minutes=10))
    assert status_of(run, "deals").warnings == []
    assert look(COVERED.format("deal")) == [(START + 3 * DAY,)]


def test_what_was_left_out_and_fails_then_is_not_waited_for(nights: Nights):
    """A month without a right, and one bad night: nobody wants to read the numbers of a month ago again."""
    nights.sync()
    nights.refused = {"calls"}
    nights.sync()
    nights.source.failing = {"calls": RetriableError("down")}
    assert not nights.sync().is_well
    assert nights.published()["as_of"] == "2026-03-03T03:00:00Z"


def test_what_is_given_again_is_waited_for_again(nights: Nights):
    nights.sync()
    nights.refused = {"calls"}
    nights.sync()
    nights.refused = set()
    nights.sync()
    nights.source.failing = {"calls": RetriableError("down")}
    nights.sync()
    assert nights.published()["as_of"] == "2026-03-03T03:00:00Z"


def test_an_account_of_which_everything_is_refused_keeps_what_it_had(nights: Nights):
    nights.sync()
    nights.refused = {"deals", "calls", "events"}
    for _ in range(3):
        nights.sync()
    (mine,) = nights.published()["accounts"]
    assert (mine["as_of"], mine["is_stale"]) == ("2026-03-01T03:00:00Z", True)


def test_tables_that_others_fill_with_the_same_go_on_with_those(nights: Nights, look: Look):
    """As if it had never been given; when it is given again, with both."""

    def read(api: FakeSource, account: Account, window: Window) -> Iterator[Yield]:
        api.answer("activities", window)
        yield from ()

    activities = Resource("activities", read, ("changed",), (Call,), is_core=True)
    nights.resources = (USERS, DEALS, replace(CALLS, has_others=True), EVENTS, activities)
    nights.sync()
    nights.refused = {"calls"}
    nights.sync()
    assert look(COVERED.format("call")) == [(START + DAY,)]
    nights.refused = set()
    nights.source.failing = {"calls": RetriableError("down")}
    nights.sync()
    assert look(COVERED.format("call")) == [(START + 2 * DAY,)]
    nights.source.failing = {}
    nights.sync()
    assert look(COVERED.format("call")) == [(START + 3 * DAY,)]
