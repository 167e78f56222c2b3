"""What other settings make of the same deals is no change of theirs."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from fake_source import START, FakeSource, account
from sync_words import Look

from sync import sync

DAY = timedelta(days=1)
AMOUNTS = "SELECT from_minor, to_minor FROM deal_amount_change"


class Night:
    """Syncs a day apart; each tells what is said of the account."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir, self.source = data_dir, FakeSource()
        self.source.add(1, START - 9 * DAY, minor=100)

    def __call__(self, minor: int, *, currency: str | None = None, full: bool = False, only: str = "") -> list[str]:
        thing = self.source.things[1]
        if thing.minor != minor:
            thing.minor, thing.changed_at = minor, self.source.now - timedelta(hours=1)
        mine = account(self.source)
        mine = replace(mine, settings=mine.settings.model_copy(update={"currency": currency}))
        names = [only] if only else None
        run = sync(self.data_dir, [mine], full=full, resources=names, now=lambda: self.source.now)
        self.source.now += DAY
        return [str(one) for one in run.account("main").warnings]


@pytest.fixture
def night(data_dir: Path) -> Night:
    return Night(data_dir)


def test_what_changed_settings_make_of_a_deal_is_no_change_of_it(night: Night, look: Look):
    night(100)
    night(200, currency="USD")
    assert look(AMOUNTS) == []


def test_changed_settings_are_spoken_of_until_everything_was_read_with_them(night: Night, look: Look):
    assert night(100) == night(100) == []
    for full, only in ((False, ""), (False, ""), (True, "users")):
        (told,) = night(100, currency="USD", full=full, only=only)
        assert told.startswith("Settings have changed: currency. What was read before stays as it was")
    assert night(200, currency="USD", full=True) == []
    assert look(AMOUNTS) == []
    assert night(300, currency="USD") == []
    assert look(AMOUNTS) == [(200, 300)]


def test_settings_that_came_back_left_rows_of_others(night: Night):
    night(100)
    night(100, currency="USD")
    assert len(night(100)) == 1
    assert night(100, full=True) == night(100) == []
