"""What a sync does not take at its word: the source's clock, a list that shrank, how far back a log reaches."""

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from fake_source import OPENED, RESOURCES, START, account, filled
from sync_words import Look

from sync import sync
from sync.reader import CLOCK_TOLERANCE

DAY = timedelta(days=1)
WITH_LOG = (*RESOURCES[:3], replace(RESOURCES[3], log_column="changed_at"))
KNOWN_SINCE = "SELECT complete_from FROM coverage WHERE resource = 'deal_stage_transition'"


def watermark_of(look: Look, table: str = "deal") -> datetime:
    return look(f"SELECT watermark FROM coverage WHERE resource = '{table}'")[0][0]


def test_a_source_whose_clock_is_days_ahead_is_not_read(data_dir: Path, look: Look):
    source = filled()
    sync(data_dir, [account(source)], now=lambda: START)
    source.now = START + 2 * DAY
    run = sync(data_dir, [account(source)], now=lambda: START)
    assert "clock" in (run.account("main").error or "")
    assert watermark_of(look) == START


def test_a_source_whose_clock_stands_still_behind_ours_is_read(data_dir: Path, look: Look):
    assert sync(data_dir, [account(filled())], now=lambda: START + 9 * DAY).is_well
    assert watermark_of(look) == START


def test_no_watermark_is_further_ahead_than_our_own_clock_allows(data_dir: Path, look: Look):
    ours = START - timedelta(hours=5)
    assert sync(data_dir, [account(filled())], now=lambda: ours).is_well
    assert watermark_of(look) == ours + CLOCK_TOLERANCE


@pytest.mark.parametrize(("left", "n_gone"), [(range(1, 4), 0), (range(1, 6), 5)])
def test_a_list_that_suddenly_lacks_most_rows_removes_nobody(data_dir: Path, look: Look, left: range, n_gone: int):
    source = filled()
    source.users = list(range(1, 11))
    sync(data_dir, [account(source)])
    source.users = list(left)
    run = sync(data_dir, [account(source)])
    assert run.is_well
    assert look('SELECT count(deleted_at) FROM "user"') == [(n_gone,)]
    told = [text for text in run.account("main").resource("users").warnings if "More than half" in text]
    assert len(told) == (not n_gone)


def test_a_full_sync_believes_a_short_list(data_dir: Path, look: Look):
    source = filled()
    source.users = list(range(1, 11))
    sync(data_dir, [account(source)])
    source.users = [1]
    sync(data_dir, [account(source)], full=True)
    assert look('SELECT count(deleted_at) FROM "user"') == [(9,)]


def test_a_log_is_complete_since_its_first_entry_and_stays_so(data_dir: Path, look: Look):
    source = filled()
    first = OPENED + timedelta(days=22)
    sync(data_dir, [account(source, resources=WITH_LOG)])
    assert look(KNOWN_SINCE) == [(first,)]
    source.now = START + DAY
    source.move(5, START + timedelta(hours=2))
    sync(data_dir, [account(source, resources=WITH_LOG)])
    assert look(KNOWN_SINCE) == [(first,)]


def test_an_empty_log_is_complete_since_it_was_looked_at(data_dir: Path, look: Look):
    source = filled()
    source.events = []
    sync(data_dir, [account(source, resources=WITH_LOG)])
    assert look(KNOWN_SINCE) == [(START,)]


def test_entries_older_than_the_account_do_not_make_the_log_reach_further(data_dir: Path, look: Look):
    source = filled()
    source.move(1, OPENED - timedelta(days=90))
    sync(data_dir, [account(source, resources=WITH_LOG)])
    assert look(KNOWN_SINCE) == [(OPENED,)]
