"""`voronka check`: exit codes and words; what is compared how is tried in tests/sync and in the suite of connectors."""

import json
from types import SimpleNamespace

import pytest

from commands import run
from commands.status import _compared
from connectors.errors import Phrase
from warehouse.database import LockedError, WarehouseError

CONFIG = """
data_dir: {folder}
timezone: Europe/Moscow
accounts:
  - id: main
    connector: amocrm
    base_url: https://volga.amocrm.ru
    token_env: TOKEN
"""
SUMMARY = Phrase(
    "{deals} deals and {others} other rows compared with the CRM: {n} differences ({newer} newer than the last sync).",
    deals="20 000",
    others="1",
    n="1",
    newer="2",
)
ROW = {
    "kind": "stage",
    "what": Phrase("another stage"),
    "id": "lead:7",
    "url": "https://volga.amocrm.ru/leads/detail/7",
    "here": "Продажи · Новая",
    "there": "Продажи · Переговоры",
}


def result(state="differs", *rows, error=None):
    leads = {
        "resource": "leads",
        "differences": {"stage": len(rows)} if rows else {},
        "sample": list(rows),
        "told": [Phrase("all rows compared one by one: {n}", n="20 000")],
        "notes": [],
        "error": None,
    }
    return {
        "at": "2026-03-01T21:00:00Z",
        "state": state,
        "error": error,
        "summary": None if error else SUMMARY,
        "notes": [],
        "n_asked": len(rows),
        "lists": [] if error else [leads],
    }


@pytest.fixture
def check(voronka, tmp_path, monkeypatch):
    """Runs the command over what a comparison came to, or the error it raised."""
    file = tmp_path / "config.yaml"
    file.write_text(CONFIG.format(folder=tmp_path / "data"))

    def check(outcome, *arguments):
        def reconcile(*_, **__):
            if isinstance(outcome, Exception):
                raise outcome
            return {"main": outcome}

        monkeypatch.setattr(run, "reconcile", reconcile)
        return voronka("check", *arguments, "--config", file)

    return check


def test_equal_is_0_and_a_sentence(check):
    said = check(result("equal"))
    assert said.code == 0
    assert "20 000 deals and 1 other rows compared with the CRM: 1 differences (2 newer" in said.out


def test_a_difference_is_1_and_shows_the_card_and_both_values(check):
    said = check(result("differs", ROW))
    assert said.code == 1
    for words in ("another stage", "lead:7", "Продажи · Новая", "Продажи · Переговоры", "/leads/detail/7"):
        assert words in said.out
    assert "The next sync reads these rows again: 1." in said.out


def test_an_account_that_cannot_be_compared_is_1(check):
    said = check(result("failed", error=Phrase("The run was ended.")))
    assert (said.code, "The run was ended." in said.out) == (1, True)


def test_a_warehouse_in_use_is_3(check):
    assert check(LockedError("Another process (number {number}) is writing.", number=7)).code == 3


def test_for_programs_it_is_json(check):
    said = check(result("differs", ROW), "--json")
    assert said.code == 1
    assert json.loads(said.out)["main"]["lists"][0]["sample"][0]["url"] == ROW["url"]


def test_the_status_tells_the_last_comparison(monkeypatch):
    monkeypatch.setenv("VORONKA_LANG", "ru")
    clock = SimpleNamespace(ago=lambda text: text)
    equal = _compared(result("equal"), clock)
    assert len(equal) == 1
    assert "Сверено с CRM сделок: 20 000" in equal[0]
    differing = _compared(result("differs", ROW), clock)
    assert differing[0].startswith("  ! Сверка")
    assert "Сделки (leads)" in differing[1]
    assert _compared(None, clock) == []


class Step:
    def __init__(self, name, done, error=None):
        self.name, self.done, self.error = name, done, error

    def __call__(self, *_, **__):
        self.done.append(self.name)
        if self.error:
            raise self.error
        return {"generation": "g"} if self.name == "publish" else {}


@pytest.mark.parametrize("error", [None, WarehouseError("The disk is full.")])
def test_the_night_compares_after_the_sync_and_publishes_whatever_came_of_it(tmp_path, monkeypatch, error):
    done = []
    monkeypatch.setattr(run, "targets_of", lambda *_: [])
    monkeypatch.setattr(run, "lines", lambda _run: [])
    for name, step in {"sync_with": "sync", "check_with": "check", "publish_with": "publish"}.items():
        monkeypatch.setattr(run, name, Step(step, done, error if step == "check" else None))
    monkeypatch.setattr(run.scheduler, "run", lambda _config, jobs, **_: jobs["sync"]())
    run.run_scheduler(run.Config(data_dir=tmp_path))
    assert done == ["sync", "check", "publish"]
