"""What belongs to a row has numbers and times of its own: a row that comes into sight late asks for it."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from fake_source import RESOURCES, START, FakeSource, account, filled
from sync_words import Look

from connectors.connector import Window
from connectors.errors import RetriableError
from connectors.records import Deal
from sync import sync
from warehouse.status import RunStatus

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
WITH_PAST = (RESOURCES[0], replace(RESOURCES[1], past_of=Deal))


def night(data_dir: Path, source: FakeSource) -> RunStatus:
    source.asked.clear()
    source.now += DAY
    return sync(data_dir, [account(source, resources=WITH_PAST)])


def asked_by_id(source: FakeSource) -> list[tuple[str, ...]]:
    return [window.ids for _, window in source.asked if window.kind == "ids"]


@pytest.fixture
def source(data_dir: Path) -> FakeSource:
    """A source that was read; since then a deal has come into sight that was made long before, and changed."""
    source = filled()
    sync(data_dir, [account(source, resources=WITH_PAST)])
    source.add(20, START - 30 * DAY)
    source.things[20].changed_at = START + HOUR
    return source


def test_a_row_that_is_older_than_the_last_reading_and_comes_late_is_asked_for_by_its_id_once(
    data_dir: Path, source: FakeSource
):
    assert night(data_dir, source).is_well
    assert asked_by_id(source) == [("20",)]
    source.move(20, source.now + HOUR)
    night(data_dir, source)
    assert asked_by_id(source) == []


def test_neither_new_rows_nor_those_on_hand_are_asked_for(data_dir: Path, source: FakeSource):
    del source.things[20]
    source.add(21, START + HOUR)
    source.move(5, START + HOUR)
    night(data_dir, source)
    assert asked_by_id(source) == []


def test_a_row_that_came_late_is_asked_for_until_it_was_read(data_dir: Path, look: Look, source: FakeSource):
    def fail(name: str, window: Window) -> None:
        if window.kind == "ids":
            raise RetriableError("gone away")

    source.before_page = fail
    assert not night(data_dir, source).is_well
    source.before_page = lambda name, window: None
    night(data_dir, source)
    assert asked_by_id(source) == [("20",)]
    assert look("SELECT * FROM sync_reread") == []
