"""Erasing one person from what was read of a whole company: nothing of them is left, and no later reading brings it."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import polars as pl
import pytest
from amo_demo import Crm, published, rows, shown
from bitrix_demo import Portal

from commands.forget import erased_in_warehouse, run_forget
from config import Config
from metrics.evaluate import evaluate
from metrics.metric import Period, find_metrics
from sync import publish_all
from sync.publication import PUBLICATION
from warehouse.forgetting import Person, spellings
from warehouse.rewriting import remove_generations
from warehouse.searching import Searched, Wanted, search

METRICS = sorted(find_metrics())
BUSIEST = """
    SELECT contact_id, phone_e164, name, email_norm FROM contact
    JOIN client_phone USING (account_id, contact_id) LEFT JOIN client_email USING (account_id, contact_id)
    JOIN deal_contact USING (account_id, contact_id)
    WHERE phone_e164 IN (SELECT phone_e164 FROM client_phone GROUP BY 1 HAVING count(DISTINCT entity_id) = 1)
    ORDER BY (SELECT count(*) FROM call WHERE call.contact_id = contact.contact_id) DESC, contact_id LIMIT 1
"""


@pytest.fixture(params=[Crm, Portal])
def crm(request: pytest.FixtureRequest) -> Any:
    return request.param()


def everything(card: str, phone: str, name: str, email: str | None) -> Wanted:
    person = Person(phones=(phone,), emails=(email,) if email else (), names=(name,))
    return Wanted(spellings(person), [("main", card)])


def answers(data_dir: Path, now: datetime, metrics: Sequence[str] = METRICS) -> dict[str, list[Any]]:
    """What every metric of `metrics` says of the last 180 days, whatever cards are called, in no order."""
    frames = shown(data_dir)
    period = Period(now, now.date() - timedelta(days=180), now.date())
    found: dict[str, list[Any]] = {}
    for metric in map(find_metrics().__getitem__, metrics):
        result = evaluate(metric, frames, None, period)
        for name, table in {**result.tables, "drilldown": result.drilldown}.items():
            plain = table.select(pl.exclude("url").cast(pl.String, strict=False)) if table.width else table
            nameless = plain.with_columns(pl.all().str.replace_all(r"contact:[\w-]+", "contact"))
            found[f"{metric.id} {name}"] = sorted(map(str, nameless.rows()))
    return found


def forget(data_dir: Path, who: str, now: datetime) -> Person:
    erased = erased_in_warehouse(Config(data_dir=data_dir), who, None, yes=True)
    assert erased is not None
    publish_all(data_dir, now=now, full=True)
    remove_generations(data_dir / PUBLICATION)
    return erased


def raw_naming(data_dir: Path, card: str) -> list[Any]:
    """Raw objects in which the number of the card stands, whatever for: those of the demo are long."""
    number = card.partition(":")[2]
    query = "SELECT entity, decode(body) FROM raw_record WHERE regexp_matches(decode(body), '(^|[^0-9]){}([^0-9]|$)')"
    return rows(data_dir, query.format(number))


def places(found: Searched) -> list[Any]:
    return found.places


@pytest.mark.parametrize(
    "metrics",
    [Random("forgotten").sample(METRICS, 6), pytest.param(METRICS, marks=pytest.mark.slow)],
    ids=["six", "all"],
)
def test_a_forgotten_person_is_nowhere_and_every_metric_says_the_same(crm: Any, tmp_path: Path, metrics: list[str]):
    crm.synced(tmp_path)
    published(tmp_path, now=crm.now)
    card, phone, name, email = rows(tmp_path, BUSIEST)[0]
    wanted = everything(card, phone, name, email)
    assert {where.partition(":")[0].partition("/")[0] for where, _ in search(tmp_path, wanted).places} >= {
        "warehouse.duckdb",
        "publication",
    }
    before = answers(tmp_path, crm.now, metrics)
    forget(tmp_path, phone, crm.now)
    assert places(search(tmp_path, wanted)) == []
    assert raw_naming(tmp_path, card) == []
    assert answers(tmp_path, crm.now, metrics) == before


@pytest.mark.slow
@pytest.mark.parametrize("full", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_no_later_reading_brings_a_forgotten_person_back(crm: Any, tmp_path: Path, full: bool):
    crm.synced(tmp_path)
    card, phone, name, email = rows(tmp_path, BUSIEST)[0]
    published(tmp_path, now=crm.now)
    forget(tmp_path, card, crm.now)
    before = answers(tmp_path, crm.now)
    kept = "SELECT entity, native_id, raw_hash FROM raw_record"
    raw = set(rows(tmp_path, kept))
    run = crm.synced(tmp_path, full=full)
    published(tmp_path, now=crm.now)
    remove_generations(tmp_path / PUBLICATION)
    assert places(search(tmp_path, everything(card, phone, name, email))) == []
    assert raw_naming(tmp_path, card) == []
    assert {name: found for name, found in answers(tmp_path, crm.now).items() if found != before[name]} == {}
    if full:
        assert set(rows(tmp_path, kept)) <= raw
        assert [w for w in run.accounts[0].warnings if "forgotten people" in w.template]
        assert rows(tmp_path, "SELECT sum(n_stopped) > 0 FROM forgotten") == [(True,)]


@pytest.mark.slow
def test_another_card_with_the_number_is_the_same_person(tmp_path: Path):
    crm = Crm()
    crm.synced(tmp_path)
    card, phone, *_ = rows(tmp_path, BUSIEST)[0]
    (other,) = rows(
        tmp_path, f"SELECT contact_id FROM contact WHERE contact_id <> '{card}' AND deleted_at IS NULL LIMIT 1"
    )[0]
    published(tmp_path, now=crm.now)
    forget(tmp_path, phone, crm.now)
    number = int(other.partition(":")[2])
    crm.repaint = lambda _, answer: painted(answer, number, phone)
    crm.synced(tmp_path, full=True)
    published(tmp_path, now=crm.now)
    remove_generations(tmp_path / PUBLICATION)
    assert rows(tmp_path, f"SELECT count(*) FROM contact WHERE contact_id = '{other}'") == [(0,)]
    found = places(search(tmp_path, Wanted(spellings(Person(phones=(phone,))), [("main", other)])))
    assert [where for where in found if "warehouse.duckdb: " in where[0] or "publication" in where[0]] == []


def painted(answer: Any, number: int, phone: str) -> Any:
    """The contact's first phone is another one."""
    for one in answer.get("_embedded", {}).get("contacts", []):
        if one.get("id") == number and "custom_fields_values" in one:
            value = {"field_id": 770001, "field_code": "PHONE", "field_type": "multitext", "field_name": "Телефон"}
            one["custom_fields_values"] = [{**value, "values": [{"value": phone, "enum_id": 1, "enum_code": "WORK"}]}]
    return answer


@pytest.mark.slow
def test_a_switchboard_stays_with_the_others(tmp_path: Path):
    crm = Crm()
    crm.synced(tmp_path)
    card, *_ = rows(tmp_path, BUSIEST)[0]
    other, shared = rows(
        tmp_path,
        f"SELECT contact_id, phone_e164 FROM client_phone WHERE contact_id <> '{card}' AND phone_e164 > '' LIMIT 1",
    )[0]
    number = int(card.partition(":")[2])
    crm.repaint = lambda _, answer: painted(answer, number, shared)
    crm.synced(tmp_path, full=True)
    published(tmp_path, now=crm.now)
    person = forget(tmp_path, card, crm.now)
    assert (person.phones, person.n_shared) == ((), 1)
    assert rows(tmp_path, f"SELECT contact_id FROM client_phone WHERE phone_e164 = '{shared}'") == [(other,)]


@pytest.mark.slow
def test_the_command_proves_itself_and_runs_again(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    crm = Crm()
    crm.synced(tmp_path)
    published(tmp_path, now=crm.now)
    _, phone, *_ = rows(tmp_path, BUSIEST)[0]
    assert run_forget(Config(data_dir=tmp_path), phone, account=None, yes=True) == 0
    assert run_forget(Config(data_dir=tmp_path), phone, account=None, yes=True) == 0
    (tmp_path / "notes.txt").write_text(f"8 ({phone[2:5]}) {phone[5:8]}-{phone[8:10]}-{phone[10:]}")
    assert run_forget(Config(data_dir=tmp_path), phone, account=None, yes=True) == 1
    assert "notes.txt" in capfd.readouterr().err
