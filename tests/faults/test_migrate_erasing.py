"""Erasing that is killed, or loses its disk, at any step: run again it ends, and what was to go is nowhere."""

from pathlib import Path

import pytest
import traced
from publish_words import (
    DAY,
    NAME,
    NIGHT,
    PHONE,
    account,
    assert_generations_are_whole,
    contact,
    deal,
    everything,
    published,
    read,
)
from traced import FAULTS

from commands.account import run_account_remove
from commands.forget import run_forget
from config import Config
from settings import SettingsStore
from sync import inbox
from sync.publication import PUBLICATION
from warehouse import state
from warehouse.database import open_warehouse, personal_key
from warehouse.forgetting import Person, spellings
from warehouse.load import Loader
from warehouse.searching import Wanted, search
from warehouse.suppression import LIST

pytestmark = traced.needed

MANY = 40  # of nearly a thousand steps, of which most are tables of a publication: test_publish_faults has them
GONE = "gone-7f3a9"
EVERYTHING_OF = Wanted(spellings(Person(phones=(PHONE,), names=(NAME,))), [("main", "contact:1")])


def forgotten(data_dir: Path, who: str) -> int:
    return run_forget(Config(data_dir=data_dir), who, account=None, yes=True)


def removed(data_dir: Path) -> int:
    return run_account_remove(Config(data_dir=data_dir), GONE, yes=True)


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two nights of one account, in the second another one as well; of both a setting, and webhooks that wait."""
    folder = tmp_path_factory.mktemp("erasing") / "data"
    read(folder, 1)
    published(folder, 1)
    read(folder, 2)
    read_the_other(folder)
    published(folder, 2)
    for account_id in ("main", GONE):
        store = SettingsStore(folder / "app.sqlite")
        card = "contact:1" if account_id == "main" else "contact:7"
        store.put(("client", account_id, card), "is_spam", True, author="owner", now=NIGHT)
        inbox.note(folder, account_id, {"contacts": [card.partition(":")[2]]})
        (folder / "state" / account_id).mkdir(parents=True)
    return folder


def read_the_other(data_dir: Path) -> None:
    engine = open_warehouse(data_dir)
    with engine.begin() as connection:
        key = personal_key(data_dir, connection)
        state.know_resources(connection, GONE, target=GONE, resources=[state.Filled("deals", (), is_core=True)])
        state.read_whole(connection, [state.ReadWhole(GONE, "deals", NIGHT + 2 * DAY, NIGHT)])
        reads = [account(GONE), deal(7, account_id=GONE), contact(7, account_id=GONE)]
        Loader(connection, key=key).load(enumerate(reads, 900), load_seq=9, synced_at=NIGHT)
    engine.dispose()


@pytest.mark.parametrize(
    ("fault", "who", "n"),
    [
        ("killed", "contact:1", 1),
        *(pytest.param(fault, who, MANY, marks=pytest.mark.slow) for fault in FAULTS for who in ("contact:1", PHONE)),
    ],
)
def test_a_forgotten_person_is_nowhere_once_it_is_run_again(fault: str, who: str, n: int, before: Path, tmp_path: Path):
    assert search(before, EVERYTHING_OF).places
    for folder, ran in traced.scan(forgotten, who, before=before, to=tmp_path, fault=fault, n=n):
        everything(folder)
        assert forgotten(folder, who) == 0, ran.met
        assert search(folder, EVERYTHING_OF).places == [], ran.met
        assert_only_what_belongs_there(folder, ran.met)


@pytest.mark.parametrize(
    ("fault", "n"), [("full", 1), *(pytest.param(fault, MANY, marks=pytest.mark.slow) for fault in FAULTS)]
)
def test_a_removed_account_is_nowhere_once_it_is_run_again(fault: str, n: int, before: Path, tmp_path: Path):
    for folder, ran in traced.scan(removed, before=before, to=tmp_path, fault=fault, n=n):
        everything(folder)
        if (folder / "state" / GONE).exists() or ran.result != 0:
            assert removed(folder) == 0, ran.met
        assert holding(folder, GONE) == [], ran.met
        assert_only_what_belongs_there(folder, ran.met)


def holding(folder: Path, word: str) -> list[str]:
    """Files with the word in their name or bytes, but for the line of the audit log."""
    files = [path for path in folder.rglob("*") if path.name != "app.sqlite"]
    return [str(path) for path in files if word in path.name or (path.is_file() and word.encode() in path.read_bytes())]


def assert_only_what_belongs_there(folder: Path, met: str) -> None:
    assert_generations_are_whole(folder)
    known = {"warehouse.duckdb", "phone.key", "sync.lock", "app.sqlite", "inbox.sqlite", "state", PUBLICATION}
    assert {path.name for path in folder.iterdir()} - {LIST} == known, met
