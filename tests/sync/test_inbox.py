"""Ids that webhooks named are read again by the next sync, and not forgotten before."""

import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from fake_source import START, account, filled

from connectors.errors import CredentialsError, PayloadError
from sync import inbox, sync
from warehouse.status import read_status


def asked_ids(source) -> set[str]:
    return {one for _, window in source.asked if window.kind == "ids" for one in window.ids}


def test_what_a_webhook_named_is_read_again(data_dir: Path):
    source = filled()
    sync(data_dir, [account(source)])
    inbox.note(data_dir, "main", {"deals": {"1"}})
    source.asked.clear()
    assert sync(data_dir, [account(source)]).is_well
    assert asked_ids(source) == {"1"}
    assert inbox.waiting(data_dir, "main")[1] == {}
    source.asked.clear()
    sync(data_dir, [account(source)])
    assert asked_ids(source) == set()


def test_what_could_not_be_read_again_is_asked_for_next_time(data_dir: Path):
    source = filled()
    sync(data_dir, [account(source)])
    inbox.note(data_dir, "main", {"deals": {"1"}})
    source.failing["deals"] = PayloadError("nonsense")
    assert not sync(data_dir, [account(source)]).is_well
    source.failing.clear()
    source.asked.clear()
    source.now = START + timedelta(hours=1)
    sync(data_dir, [account(source)])
    assert asked_ids(source) == {"1"}


def test_ids_of_an_account_that_does_not_sync_now_wait(data_dir: Path):
    source = filled()
    inbox_of_other = {"deals": {"1"}}
    sync(data_dir, [account(source)])
    inbox.note(data_dir, "other", inbox_of_other)
    sync(data_dir, [account(source)])
    assert inbox.waiting(data_dir, "other")[1] == inbox_of_other


def test_the_number_of_a_known_account_is_told_while_it_is_being_opened_and_after_it_was_not(data_dir: Path):
    source, told = filled(), []

    def look(name, window) -> None:
        if name == "account":
            told.append(read_status(data_dir)["accounts"][0]["number"])

    source.before_page = look
    for _ in range(2):
        sync(data_dir, [account(source)])
    source.failing["account"] = CredentialsError("refused")
    sync(data_dir, [account(source)])
    told.append(read_status(data_dir)["accounts"][0]["number"])
    assert told == [None, source.number, source.number]


@pytest.mark.parametrize("damaged_from", [0, 4096], ids=["no database", "broken pages"])
def test_a_damaged_inbox_is_set_aside_and_stops_nobody(data_dir: Path, caplog, damaged_from):
    source = filled()
    sync(data_dir, [account(source)])
    inbox.note(data_dir, "main", {"deals": {"1"}})
    file = data_dir / inbox.FILE
    whole = file.read_bytes()
    broken = whole[:damaged_from] + b"x" * (len(whole) - damaged_from)
    file.write_bytes(broken)
    assert sync(data_dir, [account(source)]).is_well
    assert (data_dir / inbox.ASIDE).read_bytes() == broken
    assert "is damaged" in caplog.text
    file.write_bytes(broken)
    assert inbox.note(data_dir, "main", {"deals": {"2"}}) == 1
    assert inbox.waiting(data_dir, "main")[1] == {"deals": {"2"}}


def test_an_inbox_that_is_only_busy_is_not_set_aside(data_dir: Path, monkeypatch):
    monkeypatch.setattr(inbox, "BUSY_S", 0.0)
    data_dir.mkdir()
    inbox.note(data_dir, "main", {"deals": {"1"}})
    with closing(sqlite3.connect(data_dir / inbox.FILE, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            inbox.note(data_dir, "main", {"deals": {"2"}})
    assert inbox.waiting(data_dir, "main")[1] == {"deals": {"1"}}


def test_a_sync_goes_on_while_its_inbox_is_busy(data_dir: Path, monkeypatch, caplog):
    monkeypatch.setattr(inbox, "PATIENT_S", 0.0)
    source = filled()
    sync(data_dir, [account(source)])
    inbox.note(data_dir, "main", {"deals": {"1"}})
    with closing(sqlite3.connect(data_dir / inbox.FILE, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert sync(data_dir, [account(source)]).is_well
        assert "left to the next sync" in caplog.text
    assert inbox.waiting(data_dir, "main")[1] == {"deals": {"1"}}
    sync(data_dir, [account(source)])
    assert inbox.waiting(data_dir, "main")[1] == {}
