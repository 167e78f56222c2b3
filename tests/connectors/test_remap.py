"""Rows made anew of raw objects: after a mapping or a setting changed, cut off anywhere, with versions dropped."""

import os
import shutil
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from subprocess import run as process
from typing import Any

import pytest
from amo_demo import Crm, rows
from bitrix_demo import Portal
from demo_crm import tables_of

from connectors.amocrm import mapping
from sync.remap import Remapped, by_target, remap
from warehouse import raw
from warehouse.database import PHONE_KEY, REMAPPED, WarehouseError, open_warehouse

DAY = timedelta(days=1)


def remapped(source: Any, folder: Path, **settings: Any) -> Remapped:
    (done,) = remap(folder, [source.as_account(**settings)], now=lambda: source.now)
    return done


def changed(done: Remapped) -> dict[str, int]:
    return {table.table: table.changed for table in done.tables if table.changed}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


HERE = Path(__file__).parent
AMO_SETTINGS: list[dict[str, Any]] = [
    {"zero_talk_is_missed": False},
    {"phone_country": "KZ"},
    {"timezone": "Asia/Almaty"},
    {"dates_are_utc": True},
]
BITRIX_SETTINGS: list[dict[str, Any]] = [
    {"phone_country": "KZ"},
    {"missed_codes": ("304",)},
    {"timezone": "Asia/Almaty"},
    {"loss_reason_fields": {}},
]


CASES = [*((Crm, one) for one in AMO_SETTINGS), *((Portal, one) for one in BITRIX_SETTINGS)]


@pytest.mark.parametrize(
    ("make", "settings"),
    [one if one == (Crm, {"phone_country": "KZ"}) else pytest.param(*one, marks=pytest.mark.slow) for one in CASES],
)
def test_after_a_setting_changed_the_tables_are_those_of_reading_everything_with_it(
    make: Any, settings: Any, folder: Path
):
    source, anew = make(), folder.with_name("anew")
    assert source.synced(folder).is_well
    assert changed(remapped(source, folder, **settings))
    anew.mkdir()
    shutil.copy(folder / PHONE_KEY, anew)
    assert source.synced(anew, **settings).is_well
    assert tables_of(folder) == tables_of(anew)


def test_after_a_setting_changed_nothing_is_mixed_any_more(folder: Path):
    source = Crm()
    source.synced(folder)
    done = remapped(source, folder, zero_talk_is_missed=False)
    assert done.still_mixed == ()
    source.passes(DAY)
    told = source.synced(folder, zero_talk_is_missed=False).account("main")
    assert [str(said) for said in told.warnings] == []


def test_a_setting_that_decides_what_is_asked_for_stays_mixed_until_a_full_sync(folder: Path):
    source = Crm()
    source.synced(folder)
    done = remapped(source, folder, amount_field_id=1)
    assert done.still_mixed == ("amount_field_id",)
    told = source.synced(folder, amount_field_id=1).account("main")
    assert "amount_field_id" in str(told.warnings[0])


def test_a_changed_mapping_changes_rows_and_no_more_and_is_no_change_of_deals(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    source = Crm()
    source.synced(folder)
    loads = rows(folder, "SELECT max(load_seq) FROM task UNION ALL SELECT max(load_seq) FROM call")
    monkeypatch.setattr(mapping, "amount", lambda *_: 1_00)
    done = remapped(source, folder)
    assert changed(done) == {"deal": rows(folder, "SELECT count(*) FROM deal")[0][0]}
    assert rows(folder, "SELECT DISTINCT amount_minor FROM deal") == [(1_00,)]
    assert rows(folder, "SELECT max(load_seq) FROM task UNION ALL SELECT max(load_seq) FROM call") == loads
    told = rows(folder, "SELECT count(*) FROM deal_amount_change")
    source.passes(DAY)
    source.synced(folder)
    assert rows(folder, "SELECT count(*) FROM deal_amount_change") == told


def test_a_deal_that_was_one_thing_then_another_and_the_first_again_is_the_first(folder: Path):
    source = Crm()
    number = source.account.leads.ids[0]
    for price in (100, 200, 100):
        source.repaint = priced(number, price)
        source.synced(folder, full=True)
    assert rows(folder, f"SELECT count(*) FROM raw_record WHERE entity = 'leads' AND native_id = '{number}'") == [(2,)]
    before = tables_of(folder)
    remapped(source, folder)
    assert tables_of(folder) == before
    assert rows(folder, f"SELECT amount_minor FROM deal WHERE deal_id = 'lead:{number}'") == [(100_00,)]


def priced(number: int, price: int) -> Any:
    def repaint(_: Any, body: Any) -> Any:
        for lead in body.get("_embedded", {}).get("leads", ()):
            if lead.get("id") == number:
                lead["price"] = price
        return body

    return repaint


def test_rows_of_versions_that_are_gone_stay(folder: Path):
    source = Portal()
    source.synced(folder)
    source.passes(DAY)
    deal = source.ids("deal")[0]
    source.people("move", table="deal", id=deal, stage="LOSE")
    source.synced(folder)
    source.passes(3 * DAY)
    source.synced(folder)
    before = tables_of(folder)
    assert forgotten(folder, days=2, now=source.now) > 0
    done = remapped(source, folder)
    assert tables_of(folder) == before
    assert done.whole_since == source.now - 2 * DAY
    assert any(table.kept for table in done.tables if table.table == "deal_stage_transition")


def forgotten(folder: Path, **how: Any) -> int:
    engine = open_warehouse(folder)
    try:
        with engine.connect() as connection:
            return raw.forget_old(connection, **how)
    finally:
        engine.dispose()


def test_the_newest_version_of_an_object_is_never_dropped(folder: Path):
    source = Crm()
    source.synced(folder)
    objects = "SELECT count(*) FROM (SELECT DISTINCT entity, native_id FROM raw_record)"
    before = rows(folder, objects)
    source.passes(DAY)
    source.people("edit", entity="leads", id=source.account.leads.ids[0], fields={"price": 5})
    source.synced(folder)
    assert forgotten(folder, days=400, now=source.now) == 0
    assert forgotten(folder, days=0, now=source.now + 1000 * DAY) == 0
    source.passes(1000 * DAY)
    source.synced(folder)
    assert forgotten(folder, days=400, now=source.now) > 0
    assert rows(folder, objects) >= before
    assert rows(folder, "SELECT count(*) = count(DISTINCT (entity, native_id)) FROM raw_record WHERE entity = 'leads'")


def test_objects_nobody_knows_are_told_and_their_rows_stay(folder: Path):
    source = Crm()
    source.synced(folder)
    rows(folder, "UPDATE raw_record SET entity = 'holograms' WHERE entity = 'tasks'")
    before = tables_of(folder)
    done = remapped(source, folder)
    assert +done.unknown == {"holograms": len(before["task"])}
    assert tables_of(folder) == before


KILLED = """
import os, signal, sys
from pathlib import Path
from amo_demo import Crm
from sync import remap as module
from warehouse import load, shadow

where, folder = sys.argv[1], Path(sys.argv[2])
def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
if where == "loading":
    load.Loader._gone = die
else:
    shadow.Shadow._mind_sights = lambda self: None
    shadow.Shadow._add = die
source = Crm()
list(module.remap(folder, [source.as_account(zero_talk_is_missed=False)], now=lambda: source.now))
"""


@pytest.mark.parametrize("where", ["loading", "replacing"])
def test_killed_anywhere_it_has_changed_nothing(folder: Path, where: str):
    source = Crm()
    source.synced(folder)
    before = tables_of(folder)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE.parents[1]), str(HERE)])}
    killed = process([sys.executable, "-c", KILLED, where, str(folder)], env=env, check=False)
    assert killed.returncode == -9
    assert (folder / REMAPPED).exists()
    assert tables_of(folder) == before
    assert changed(remapped(source, folder, zero_talk_is_missed=False))
    assert not (folder / REMAPPED).exists()


def test_two_accounts_of_one_connector_in_one_are_refused():
    source = Crm()
    one, other = source.as_account(), replace(source.as_account(), account_id="other", feeds="main")
    with pytest.raises(WarehouseError, match="cannot be told apart"):
        by_target([one, other])
