"""A backup from before somebody was forgotten does not bring them back."""

import shutil
from datetime import datetime

import pytest

from connectors.records import Account, Call, ClientPhone, Contact, Deal, DealContact, OwnedSet, RawRecord
from settings import SettingsStore
from warehouse.database import WAREHOUSE, open_warehouse, personal_key
from warehouse.forgetting import Person, spellings
from warehouse.load import Loader
from warehouse.searching import Wanted, search

NOON = datetime.fromisoformat("2026-03-02T12:00:00+00:00")
PHONE, NAME, CARD = "+79991234567", "Аркадий Штейнберг", "contact:1"


def company():
    """A forgotten person's contact with a deal, a call and raw copies, and somebody else's."""
    named = {"connector": "amocrm", "name": "Acme", "base_url": "https://a.example.org", "external_id": "1"}
    yield Account(account_id="main", **named, tz="Europe/Moscow", base_currency="RUB", default_region="RU")
    for number, name, phone in ((1, NAME, PHONE), (2, "Борис Годунов", "+79997654321")):
        card, lead, of = f"contact:{number}", f"lead:{number}", {"account_id": "main"}
        raw = RawRecord.of("main", "contacts", number, {"id": number, "name": name, "phone": phone})
        yield raw
        yield Contact(**of, contact_id=card, name=name, created_at=NOON, raw_hash=raw.raw_hash)
        held = ClientPhone(
            **of, entity_id=card, entity_kind="contact", contact_id=card, phone_e164=phone, phone_raw=phone
        )
        yield OwnedSet(ClientPhone, "main", card, Contact, [held])
        places = {"pipeline_id": "pipeline:1", "stage_id": "status:1", "currency": "RUB", "created_at": NOON}
        yield Deal(**of, deal_id=lead, entity_kind="deal", name=f"Сделка: {name}", **places)
        link = DealContact(**of, deal_id=lead, contact_id=card, is_main=True, position=0)
        yield OwnedSet(DealContact, "main", lead, Deal, [link])
        call = {"direction": "in", "subtype": "normal", "started_at": NOON, "status": "missed", "contact_id": card}
        yield Call(**of, call_id=f"note:{number}", phone_e164=phone, **call)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("made") / "data"
    engine = open_warehouse(data_dir)
    with engine.begin() as connection:
        loader = Loader(connection, key=personal_key(data_dir, connection))
        loader.load(enumerate(company(), 1), load_seq=1, synced_at=NOON)
    engine.dispose()
    SettingsStore(data_dir / "app.sqlite").put(("client", "main", CARD), "is_spam", False, author="anna", now=NOON)
    return data_dir


@pytest.fixture
def config(made, tmp_path, voronka):
    """A backup with the person in it; since then the person was forgotten."""
    shutil.copytree(made, tmp_path / "data")
    file = tmp_path / "config.yaml"
    file.write_text("data_dir: data\n")
    assert voronka("backup", tmp_path / "b.tar", "--config", file).code == 0
    assert voronka("forget", PHONE, "--yes", "--config", file).code == 0
    return file


def places(config):
    person = Person(phones=(PHONE,), names=(NAME,))
    return search(config.parent / "data", Wanted(spellings(person), [("main", CARD)])).places


def others(config):
    engine = open_warehouse(config.parent / "data")
    with engine.begin() as connection:
        found = connection.exec_driver_sql("SELECT name FROM contact WHERE name IS NOT NULL").fetchall()
    engine.dispose()
    return [row[0] for row in found]


def test_who_was_forgotten_since_the_backup_is_erased_from_it_again(voronka, config, tmp_path):
    assert places(config) == []
    done = voronka("restore", tmp_path / "b.tar", "--force", "--config", config)
    assert (done.code, places(config), others(config)) == (0, [], ["Борис Годунов"])
    assert "erased from it again: 1." in done.out


def test_a_damaged_warehouse_does_not_take_the_list_with_it(voronka, config, tmp_path):
    (config.parent / "data" / WAREHOUSE).write_bytes(b"damaged")
    done = voronka("restore", tmp_path / "b.tar", "--force", "--config", config)
    assert places(config) == []
    assert "nobody can say who is in it: before-restore-" in done.err
    assert done.code == 1


def test_a_restore_that_was_killed_before_publishes_nobody(voronka, config, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("commands.backup.forget_again", lambda _config: pytest.exit("killed"))
        with pytest.raises(pytest.exit.Exception):
            voronka("restore", tmp_path / "b.tar", "--force", "--config", config)
    assert places(config)
    assert voronka("publish", "--config", config).code == 1  # nothing was ever synced here
    assert places(config) == []


def test_who_was_lifted_since_comes_back(voronka, config, tmp_path):
    listed = voronka("forget", "--list", "--config", config).out
    assert voronka("forget", "--lift", listed.split()[7][:12], "--config", config).code == 0
    done = voronka("restore", tmp_path / "b.tar", "--force", "--config", config)
    assert (done.code, sorted(others(config))) == (0, ["Аркадий Штейнберг", "Борис Годунов"])


def test_forgetting_names_the_copies_that_were_made_before(voronka, made, tmp_path):
    shutil.copytree(made, tmp_path / "data")
    file = tmp_path / "config.yaml"
    file.write_text("data_dir: data\n")
    voronka("backup", tmp_path / "b.tar", "--config", file)
    voronka("backup", tmp_path / "gone.tar", "--config", file)
    (tmp_path / "gone.tar").unlink()
    voronka("restore", tmp_path / "b.tar", "--force", "--config", file)
    said = voronka("forget", PHONE, "--yes", "--config", file)
    assert f"{tmp_path / 'b.tar'} (backup)" in said.err
    assert "before-restore-" in said.err
    assert "gone.tar" not in said.err
