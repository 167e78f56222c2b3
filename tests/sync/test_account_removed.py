"""An account is removed with all there is of it, and the others go on as if it had never been there."""

import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from fake_source import START, account, filled
from sync_words import Look, tables_of

from commands import account as command
from commands.account import run_account_remove
from config import Config, ConfigError, load_config
from settings import SettingsStore
from sync import inbox, publish_all, sync
from warehouse import database
from warehouse.database import WarehouseError, writer_lock
from warehouse.publish import generations, read_manifest
from warehouse.status import read_status

HOUSE = Path(__file__).parents[2]
GONE, STAYS = "gone-7f3a9", "stays"


def configured(data_dir: Path, *account_ids: str) -> Config:
    file = data_dir.parent / "config.yaml"
    entries = "".join(f"\n  - {{id: {one}, connector: amocrm}}" for one in account_ids)
    file.write_text(f"data_dir: {data_dir}\naccounts:{entries or ' []'}\n")
    return load_config(file)


def night(data_dir: Path, *account_ids: str, days: int = 0) -> None:
    """A sync and a publication."""
    now = START + timedelta(days=days)
    accounts = []
    for n, account_id in enumerate(account_ids):
        source = filled()
        source.number, source.now = f"3100000{n}", now
        accounts.append(account(source, account_id))
    assert sync(data_dir, accounts, now=lambda: now).is_well
    publish_all(data_dir, now=now)


def noted(data_dir: Path, account_id: str) -> None:
    """What lies beside the warehouse: a setting, webhooks, tokens."""
    store = SettingsStore(data_dir / "app.sqlite")
    store.put(("client", account_id, "contact:1"), "is_spam", True, author="owner")
    inbox.note(data_dir, account_id, {"deals": ["1", "2"]})
    (data_dir / "state" / account_id / f"{account_id}.oauth.json").write_text("tokens")
    (data_dir / "state" / f"{account_id}.bitrix24.ru.pace").write_text("")


@pytest.fixture(autouse=True)
def in_english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VORONKA_LANG", "en")


@pytest.fixture
def config(data_dir: Path) -> Config:
    """Two accounts, two nights; the configuration has only one of them any more."""
    night(data_dir, STAYS, GONE)
    night(data_dir, STAYS, GONE, days=1)
    noted(data_dir, STAYS)
    noted(data_dir, GONE)
    return configured(data_dir, STAYS)


def holding(data_dir: Path, word: str) -> list[str]:
    """Files with the word in a name, in their bytes, or in rows of Parquet; the line of the audit log apart."""
    found = [str(path) for path in data_dir.rglob("*") if word in path.name]
    for path in data_dir.rglob("*"):
        if path.is_file() and path.name != "app.sqlite" and word.encode() in path.read_bytes():
            found.append(str(path))
        if path.suffix == ".parquet":
            texts = pl.read_parquet(path).select(pl.col(pl.String))
            if texts.width and texts.select(pl.any_horizontal(pl.all().str.contains(word, literal=True).any())).item():
                found.append(str(path))
    return found


def test_nothing_of_the_account_is_left_and_the_others_are_whole(config: Config, capsys: pytest.CaptureFixture[str]):
    data_dir = config.data_dir
    before = {name: [row for row in rows if row[0] == STAYS] for name, rows in tables_of(data_dir).items()}
    assert holding(data_dir, GONE) != []
    assert run_account_remove(config, GONE, yes=True) == 0
    assert holding(data_dir, GONE) == []
    assert tables_of(data_dir) == {name: rows for name, rows in before.items() if rows}
    said = capsys.readouterr().out
    assert f"Removed {GONE}" in said
    assert "1 settings, 2 ids of webhooks, 2 generations" in said
    assert "Still in the configuration" not in said
    assert SettingsStore(data_dir / "app.sqlite").current()[0].scope == ("client", STAYS, "contact:1")
    assert inbox.waiting(data_dir, GONE) == (0, {})
    assert inbox.waiting(data_dir, STAYS)[1] == {"deals": {"1", "2"}}
    assert (data_dir / "state" / STAYS / f"{STAYS}.oauth.json").exists()
    assert [one["account_id"] for one in (read_status(data_dir) or {})["accounts"]] == [STAYS]
    manifest = read_manifest(config.publication) or {}
    assert [one["account_id"] for one in manifest["accounts"]] == [STAYS]
    assert generations(config.publication) == [manifest["generation"]]


def test_the_setting_of_the_account_is_gone_from_the_file_too(config: Config):
    run_account_remove(config, GONE, yes=True)
    audit = SettingsStore(config.settings_path).audit()
    assert [line["detail"].get("account") for line in audit if GONE in str(line)] == [GONE]
    assert audit[0]["action"] == "account.remove"
    assert b'["client", "' + GONE.encode() not in config.settings_path.read_bytes()


@pytest.mark.slow
def test_the_next_night_of_the_others_is_as_if_the_account_had_never_been(config: Config, tmp_path: Path):
    run_account_remove(config, GONE, yes=True)
    night(config.data_dir, STAYS, days=2)
    for days in (0, 1, 2):
        night(tmp_path / "alone", STAYS, days=days)
    assert tables_of(config.data_dir) == tables_of(tmp_path / "alone")


def test_of_the_only_account_no_publication_is_left(data_dir: Path):
    night(data_dir, GONE)
    config = configured(data_dir)
    assert run_account_remove(config, GONE, yes=True) == 0
    assert read_manifest(config.publication) is None
    assert generations(config.publication) == []
    assert holding(data_dir, GONE) == []
    assert run_or_say(config) == "Nothing is known here of an account"


def run_or_say(config: Config) -> str:
    with pytest.raises(ConfigError) as error:
        run_account_remove(config, GONE, yes=True)
    return str(error.value)[:35]


def test_an_account_that_is_still_configured_is_named(data_dir: Path, capsys: pytest.CaptureFixture[str]):
    night(data_dir, STAYS, GONE)
    run_account_remove(configured(data_dir, STAYS, GONE), GONE, yes=True)
    assert f"Still in the configuration: {GONE}." in capsys.readouterr().out


def test_nobody_to_ask_and_no_yes_changes_nothing(config: Config, monkeypatch: pytest.MonkeyPatch):
    before = tables_of(config.data_dir)
    monkeypatch.setattr("sys.stdin", open(os.devnull))  # noqa: SIM115
    with pytest.raises(ConfigError, match="--yes"):
        run_account_remove(config, GONE, yes=False)
    monkeypatch.setattr(command, "confirmed", lambda: False)
    assert run_account_remove(config, GONE, yes=False) == 1
    assert tables_of(config.data_dir) == before


def test_an_account_that_feeds_another_is_refused_and_goes_with_it(data_dir: Path, look: Look):
    feeder = account(filled(), "phones", feeds="main")
    fed = filled()
    fed.number = "31000002"
    sync(data_dir, [account(fed), feeder], now=lambda: START)
    config = configured(data_dir)
    with pytest.raises(ConfigError, match="nobody can tell them apart"):
        run_account_remove(config, "phones", yes=True)
    assert look("SELECT count(*) FROM deal") != [(0,)]
    assert run_account_remove(config, "main", yes=True) == 0
    assert look("SELECT count(*) FROM deal") == [(0,)]
    assert look("SELECT count(*) FROM sync_account") == [(0,)]
    assert not any((data_dir / "state").iterdir())


KILLED = """
import os, signal, sys
from pathlib import Path
from commands import account
from config import load_config
name = sys.argv[2]
done = getattr(account, name)
def dies(*a, **k):
    done(*a, **k)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(account, name, dies)
account.run_account_remove(load_config(sys.argv[1]), sys.argv[3], yes=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("step", ["remove_rows", "forget_accounts", "publish_with"])
def test_killed_at_any_step_the_next_call_ends_it(config: Config, step: str):
    arguments = [str(config.data_dir.parent / "config.yaml"), step, GONE]
    killed = subprocess.run([sys.executable, "-c", KILLED, *arguments], cwd=HOUSE, check=False, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert run_account_remove(config, GONE, yes=True) == 0
    assert holding(config.data_dir, GONE) == []


def test_without_room_to_write_the_file_anew_nothing_is_deleted(config: Config, monkeypatch: pytest.MonkeyPatch):
    before = tables_of(config.data_dir)
    monkeypatch.setattr(database, "SPARE", 1 << 60)
    with pytest.raises(WarehouseError, match="nothing was changed"):
        run_account_remove(config, GONE, yes=True)
    assert tables_of(config.data_dir) == before


def test_while_a_sync_runs_nothing_is_removed(config: Config):
    before = (config.data_dir / "status.json").read_bytes()
    with writer_lock(config.data_dir), pytest.raises(Exception, match="Another process"):
        run_account_remove(config, GONE, yes=True)
    assert (config.data_dir / "status.json").read_bytes() == before
