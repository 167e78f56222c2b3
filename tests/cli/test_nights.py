"""The nights of `voronka scheduler`: which of them count, and what happens when somebody else is writing."""

import json
import logging
from datetime import datetime
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import pytest

from commands import run
from config import Config
from warehouse.database import LockedError, WarehouseError

MONDAY, TUESDAY = "2026-03-02T03:00:00Z", "2026-03-03T03:00:00Z"
LATER_MONDAY, LATER_TUESDAY = "2026-03-02T03:20:00Z", "2026-03-03T03:20:00Z"


@pytest.fixture
def config(tmp_path):
    return Config(data_dir=tmp_path)


def began(config, at, *, resources=("done",), state="done"):
    accounts = [{"account_id": "main", "resources": [{"state": one} for one in resources]}]
    (config.data_dir / "status.json").write_text(json.dumps({"state": state, "started_at": at, "accounts": accounts}))


def published(config, at, *, as_of):
    (config.publication / "g").mkdir(parents=True)
    (config.publication / "current").write_text("g")
    (config.publication / "g" / "manifest.json").write_text(json.dumps({"created_at": at, "as_of": as_of}))


def counted(config):
    found = run.last_sync(config)
    return found and found.strftime("%Y-%m-%dT%H:%M:%SZ")


def test_a_night_that_was_published_counts_from_its_beginning(config):
    began(config, TUESDAY)
    published(config, LATER_TUESDAY, as_of=TUESDAY)
    assert counted(config) == TUESDAY


def test_a_night_whose_publication_failed_is_still_to_be_caught_up(config):
    began(config, TUESDAY)
    published(config, LATER_MONDAY, as_of=MONDAY)
    assert counted(config) == LATER_MONDAY


def test_a_night_before_the_first_publication_does_not_count(config):
    began(config, TUESDAY)
    assert counted(config) is None


def test_a_run_by_hand_over_some_resources_is_no_night(config):
    began(config, TUESDAY, resources=("done", "skipped"))
    published(config, LATER_TUESDAY, as_of=MONDAY)
    assert counted(config) == MONDAY


@pytest.mark.parametrize("state", ["running", "interrupted"])
def test_a_night_that_was_cut_short_does_not_count(config, state):
    began(config, TUESDAY, state=state)
    published(config, LATER_TUESDAY, as_of=TUESDAY)
    assert counted(config) is None


class Stop:
    """An event that waits no time; it is set after `patience` waits."""

    def __init__(self, patience=10):
        self.patience, self.waits = patience, []

    def is_set(self):
        return len(self.waits) >= self.patience

    def wait(self, seconds):
        self.waits.append(seconds)


def step(*outcomes):
    """A step that ends each time as it is told: with an error or well."""
    left = list(outcomes)

    def go():
        outcome = left.pop(0)
        if outcome is not None:
            raise outcome

    return SimpleNamespace(go=go, left=left)


BUSY = LockedError("Another process (number 7) is writing.")


def test_while_somebody_writes_the_night_waits_and_says_so_once(caplog):
    stop, busy = Stop(), step(BUSY, BUSY, None)
    run.when_free(busy.go, stop)
    assert stop.waits == [run.AGAIN_AFTER_S] * 2
    assert busy.left == []
    assert [record.getMessage() for record in caplog.records] == [
        "Another process (number 7) is writing. It is tried again every 5 minutes."
    ]


def test_a_night_that_is_asked_to_stop_waits_no_longer():
    busy = step(BUSY, BUSY, None)
    run.when_free(busy.go, Stop(patience=1))
    assert len(busy.left) == 2


@pytest.fixture
def night(config, monkeypatch):
    """Runs the night's job once; returns what was published."""

    def night(sync, publish):
        made = []
        monkeypatch.setattr(run, "targets_of", lambda *_: [])
        monkeypatch.setattr(run, "sync_with", lambda *_, **__: sync.go())
        monkeypatch.setattr(run, "lines", lambda _run: [])
        monkeypatch.setattr(run, "publish_with", lambda _config: publish.go() or made.append(1) or {"generation": "g"})
        monkeypatch.setattr(run, "AGAIN_AFTER_S", 0.0)
        monkeypatch.setattr(run.scheduler, "run", lambda _config, jobs, **_: jobs["sync"]())
        run.run_scheduler(config)
        return made

    return night


def test_a_lock_at_the_publication_does_not_read_the_crm_again(night):
    reading = step(None, AssertionError("read twice"))
    assert night(reading, step(BUSY, None)) == [1]
    assert len(reading.left) == 1


def test_the_scheduler_says_when_it_runs_next_and_that_it_stops(config, monkeypatch, capsys):
    monkeypatch.setenv("VORONKA_LANG", "en")
    monkeypatch.setattr(run, "targets_of", lambda *_: [])
    at = datetime(2026, 3, 3, 3, tzinfo=ZoneInfo("Europe/Moscow"))

    def told(_config, _jobs, *, starting, stopping, **_):
        starting({"sync": at})
        stopping()

    monkeypatch.setattr(run.scheduler, "run", told)
    run.run_scheduler(config)
    first, *_, stopping, last = capsys.readouterr().err.splitlines()
    assert first == "sync: next at 2026-03-03 03:00 (Europe/Moscow)."
    assert stopping.startswith("Stopping")
    assert last == "Stopped."


def test_a_full_disk_is_one_sentence_in_the_log(night, caplog):
    assert night(step(WarehouseError("The disk is full.")), step(None)) == []
    assert [(record.levelno, record.getMessage(), record.exc_info) for record in caplog.records] == [
        (logging.ERROR, "The disk is full.", None)
    ]
