"""Rows made anew after somebody was forgotten: what forgetting left stays, stand-ins too, and nobody comes back."""

from pathlib import Path
from typing import Any

import pytest
from amo_demo import Crm, rows
from bitrix_demo import Portal
from demo_crm import tables_of

from commands.forget import erased_in_warehouse
from config import Config
from sync.remap import remap
from warehouse.forgetting import Person, spellings
from warehouse.searching import Wanted, search
from warehouse.suppression import STAND_IN

WHO = """
    SELECT contact_id, phone_e164, name FROM contact JOIN client_phone USING (account_id, contact_id)
    JOIN deal_contact USING (account_id, contact_id)
    WHERE phone_e164 IN (SELECT phone_e164 FROM client_phone GROUP BY 1 HAVING count(DISTINCT entity_id) = 1)
    ORDER BY (SELECT count(*) FROM call WHERE call.contact_id = contact.contact_id) DESC, contact_id LIMIT 1
"""


@pytest.mark.parametrize("make", [Crm, pytest.param(Portal, marks=pytest.mark.slow)])
def test_a_remap_leaves_what_forgetting_left_and_brings_nobody_back(make: Any, tmp_path: Path):
    crm = make()
    crm.synced(tmp_path)
    card, phone, name = rows(tmp_path, WHO)[0]
    assert erased_in_warehouse(Config(data_dir=tmp_path), phone, None, yes=True) is not None
    before = tables_of(tmp_path)
    assert rows(tmp_path, f"SELECT count(*) > 0 FROM call WHERE contains(contact_id, '{STAND_IN}')") == [(True,)]
    (done,) = remap(tmp_path, [crm.as_account()], now=lambda: crm.now)
    assert {table.table: table.changed for table in done.tables if table.changed} == {}
    after = tables_of(tmp_path)
    assert [name for name in before if before[name] != after[name]] == []
    person = Person(phones=(phone,), names=(name,))
    assert search(tmp_path, Wanted(spellings(person), [("main", card)])).places == []
