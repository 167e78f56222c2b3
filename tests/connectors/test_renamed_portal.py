"""A portal of Bitrix24 stays the account it was under a new address, and by another way in."""

import json
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from bitrix_demo import BY_CONSENT, SETTINGS, Portal, rows

from connectors.bitrix24.identity import known_as
from sync import SyncAccount, sync
from warehouse.status import RunStatus

VOLGA, NEVA, OKA = "volga.bitrix24.ru", "neva.bitrix24.ru", "oka.bitrix24.ru"
WHAT_IS_THERE = "SELECT (SELECT count(*) FROM deal), (SELECT count(DISTINCT account_id) FROM account)"


def synced(portal: Portal, data_dir: Path, host: str) -> RunStatus:
    """A sync with the webhook at that host."""
    env = {"WEBHOOK": f"https://{host}/rest/1/d3m0secret/"}
    account: SyncAccount = replace(portal.as_account(), env=env)
    return sync(data_dir, [account], parallel=1, now=lambda: portal.now)


def moves(portal: Portal, host: str) -> None:
    portal.server.switch(moved_to=host)


def test_a_renamed_portal_is_read_on_at_either_address(data_dir: Path):
    portal = Portal()
    assert synced(portal, data_dir, VOLGA).is_well
    before = rows(data_dir, WHAT_IS_THERE)
    moves(portal, NEVA)
    assert synced(portal, data_dir, VOLGA).is_well
    assert synced(portal, data_dir, NEVA).is_well
    assert rows(data_dir, WHAT_IS_THERE) == before


def test_a_portal_renamed_twice_is_still_the_same(data_dir: Path):
    portal = Portal()
    assert synced(portal, data_dir, VOLGA).is_well
    for old, new in ((VOLGA, NEVA), (NEVA, OKA)):
        moves(portal, new)
        assert synced(portal, data_dir, old).is_well
    assert synced(portal, data_dir, OKA).is_well
    assert synced(portal, data_dir, VOLGA).is_well


def test_an_address_nothing_has_led_to_is_another_account(data_dir: Path):
    portal = Portal()
    assert synced(portal, data_dir, VOLGA).is_well
    assert f"now number {NEVA} answers" in str(synced(portal, data_dir, NEVA).account("main").error)
    assert synced(portal, data_dir, VOLGA).is_well


def test_a_portal_is_the_same_by_webhook_and_by_consent(data_dir: Path):
    portal = Portal()
    assert portal.synced(data_dir).is_well
    before = rows(data_dir, WHAT_IS_THERE)
    portal.consents(data_dir / "state" / "main")
    portal.settings = BY_CONSENT
    assert portal.synced(data_dir).is_well
    portal.settings = SETTINGS
    assert portal.synced(data_dir).is_well
    assert rows(data_dir, WHAT_IS_THERE) == before


def test_a_portals_own_number_is_the_same_under_any_address_and_another_is_another_portal(tmp_path: Path):
    file = tmp_path / "main.hosts.json"
    assert known_as(VOLGA, VOLGA, file) == VOLGA
    assert known_as(VOLGA, VOLGA, file, member="a1") == VOLGA
    assert known_as(NEVA, NEVA, file, member="a1") == VOLGA
    assert known_as(NEVA, NEVA, file) == VOLGA
    assert known_as(VOLGA, VOLGA, file, member="b2") == known_as(NEVA, NEVA, file, member="b2") == "b2"
    assert known_as(OKA, OKA, file) == OKA
    assert known_as(OKA, OKA, tmp_path / "shop.hosts.json", member="a1") == OKA


def test_where_a_portal_has_moved_to_is_for_its_owner_alone(tmp_path: Path):
    file = tmp_path / "state" / "main.hosts.json"
    assert known_as(VOLGA, VOLGA, file) == VOLGA
    assert not file.exists()
    assert known_as(VOLGA, NEVA, file) == VOLGA
    assert json.loads(file.read_text()) == {NEVA: VOLGA}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [one.name for one in file.parent.iterdir()] == [file.name]


@pytest.mark.parametrize("content", ["", "[]", '{"neva'])
def test_a_broken_file_of_hosts_is_as_good_as_none(tmp_path: Path, content: str):
    file = tmp_path / "main.hosts.json"
    file.write_text(content)
    assert known_as(VOLGA, NEVA, file) == VOLGA
    assert known_as(NEVA, NEVA, file) == VOLGA


def test_a_folder_that_cannot_be_written_does_not_stop_the_reading(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    (tmp_path / "state").write_text("a file")
    assert known_as(VOLGA, NEVA, tmp_path / "state" / "main.hosts.json") == VOLGA
    assert "cannot be kept in main.hosts.json" in caplog.text
