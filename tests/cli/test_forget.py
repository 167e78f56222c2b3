"""`voronka forget` as people call it; what it erases is tested with the warehouse and with whole syncs."""

from datetime import datetime

import pytest
import yaml

from connectors.records import Account, Contact
from warehouse.database import open_warehouse, personal_key
from warehouse.load import Loader

NOON = datetime.fromisoformat("2026-03-02T12:00:00+00:00")


def account(account_id, host):
    named = {"connector": "amocrm", "name": "Acme", "base_url": host, "external_id": account_id, "tz": "Europe/Moscow"}
    return Account(account_id=account_id, **named, base_currency="RUB", default_region="RU")


@pytest.fixture
def config(tmp_path):
    """Two accounts, each with a contact 1."""
    data_dir = tmp_path / "data"
    engine = open_warehouse(data_dir)
    with engine.begin() as connection:
        reads = [account("main", "https://a.example.org"), account("shop", "https://b.example.org")]
        reads += [Contact(account_id=one, contact_id="contact:1", created_at=NOON) for one in ("main", "shop")]
        loader = Loader(connection, key=personal_key(data_dir, connection))
        loader.load(enumerate(reads, 1), load_seq=1, synced_at=NOON)
    engine.dispose()
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump({"data_dir": str(data_dir)}))
    return file


def left(config):
    engine = open_warehouse(config.parent / "data")
    with engine.begin() as connection:
        found = connection.exec_driver_sql("SELECT account_id FROM contact WHERE contact_id = 'contact:1' ORDER BY 1")
        accounts = [row[0] for row in found]
    engine.dispose()
    return accounts


def test_nothing_is_erased_without_a_yes(voronka, config):
    said = voronka("forget", "contact:1", "--account", "main", "--config", config)
    assert (said.code, left(config)) == (2, ["main", "shop"])
    assert "--yes" in said.err


def test_a_card_of_two_accounts_is_asked_about(voronka, config):
    said = voronka("forget", "contact:1", "--yes", "--config", config)
    assert (said.code, left(config)) == (2, ["main", "shop"])
    assert "main, shop" in said.err


def test_the_address_of_a_card_says_its_account(voronka, config):
    said = voronka("forget", "https://b.example.org/contacts/detail/1", "--yes", "--config", config)
    assert (said.code, left(config)) == (0, ["main"])
    assert "Found: 0." in said.err


def test_the_list_shows_hashes_and_a_hash_can_be_lifted(voronka, config):
    voronka("forget", "contact:1", "--account", "main", "--yes", "--config", config)
    listed = voronka("forget", "--list", "--config", config).out
    assert "contact" not in listed
    assert voronka("forget", "--lift", listed.split()[7][:12], "--config", config).code == 0
    assert voronka("forget", "--lift", "0" * 12, "--config", config).code == 2


@pytest.mark.parametrize("who", ["nobody", "12", "deal:5"])
def test_what_is_no_person_is_refused_with_a_sentence(voronka, config, who):
    said = voronka("forget", who, "--yes", "--config", config)
    assert said.code == 2
    assert "contact:123" in said.err


def test_of_whom_nothing_is_known_nothing_is_done(voronka, config):
    said = voronka("forget", "+79991234567", "--yes", "--config", config)
    assert (said.code, left(config)) == (1, ["main", "shop"])
