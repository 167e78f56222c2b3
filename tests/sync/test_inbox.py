"""Ids that webhooks named are read again by the next sync, and not forgotten before."""

from datetime import timedelta
from pathlib import Path

from fake_source import START, account, filled

from connectors.errors import PayloadError
from sync import inbox, sync


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
