"""The connector reads the demo amoCRM whole, and finds what was planted: the two sides were written apart."""

import asyncio
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import count

import httpx
import pytest
from demo_crm import unpaced

from connectors.amocrm.api import AmoApi, account, open_api
from connectors.amocrm.resources import RESOURCES
from connectors.amocrm.settings import AmoSettings
from connectors.connector import Window
from connectors.records import (
    ClientPhone,
    Listing,
    Notice,
    OwnedSet,
    Patch,
    RawRecord,
    Record,
    Reread,
    Stub,
    Tombstone,
    Yield,
)
from demo.amocrm import create_app
from demo.amocrm_switches import Switches
from demo.company import answer_key, build
from warehouse import models

AS_OF = datetime(2026, 11, 20, 21, tzinfo=UTC)  # midnight in Moscow
SETTINGS = AmoSettings(
    id="main", connector="amocrm", base_url="https://testserver", token_env="TOKEN", requests_per_second=1e6
)


@pytest.fixture(scope="module")
def company():
    return build(scale=0.01, as_of=AS_OF)


@pytest.fixture(scope="module")
def planted(company):
    return answer_key(company)


class InProcess(httpx.BaseTransport):
    """An ASGI application as the other end of a synchronous client: no socket."""

    def __init__(self, app) -> None:
        self._app = httpx.ASGITransport(app)
        self._loop = asyncio.new_event_loop()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return self._loop.run_until_complete(self._answer(request))

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        answer = await self._app.handle_async_request(request)
        return httpx.Response(answer.status_code, headers=answer.headers, content=await answer.aread())

    def close(self) -> None:
        self._loop.close()


def opened(company, **switches) -> AmoApi:
    transport = InProcess(create_app(company, Switches(**switches)))
    return open_api(
        SETTINGS,
        env={"TOKEN": "demo-token"},
        ordinals=count(1).__next__,
        state_dir="/nonexistent",
        transport=transport,
        pace=unpaced(),
    )


def read_all(api: AmoApi) -> tuple[dict[str, dict], list[Notice]]:
    """Tables as a warehouse would have them after a first sync, and what was noticed."""
    tables: dict[str, dict] = {}
    return tables, read_into(tables, api, since=None)


def read_into(tables: dict[str, dict], api: AmoApi, *, since: datetime | None) -> list[Notice]:
    """A first read, or a later one of what changed since an instant; returns what was noticed."""
    notices: list[Notice] = []
    rereads: Counter[tuple[str, str]] = Counter()
    me = account(api, SETTINGS)
    store(tables, [me])
    for resource in RESOURCES:
        kind = resource.windows[0]
        if since and kind != "whole":
            window = Window("changed", start=since)
        else:
            window = Window(kind, end=api.server_now() if kind == "created" else None)
        for item in resource.read(api, me, window):
            if isinstance(item, Notice):
                notices.append(item)
            elif isinstance(item, Reread):
                rereads.update((item.resource, native_id) for native_id in item.ids)
            else:
                store(tables, [item])
    by_name = {resource.name: resource for resource in RESOURCES}
    while rereads:
        (name, native_id), _ = rereads.popitem()
        items = list(by_name[name].read(api, me, Window("ids", ids=(native_id,))))
        rereads.update((item.resource, one) for item in items if isinstance(item, Reread) for one in item.ids)
        store(tables, [item for item in items if not isinstance(item, Reread)])
    return notices


def store(tables: dict[str, dict], items: Iterable[Yield]) -> None:
    """What the loader does, in a few lines."""
    for item in items:
        if isinstance(item, Record):
            rows = tables.setdefault(item.table(), {})
            rows[key_of(item)] = with_known(item, rows.get(key_of(item)))
        elif isinstance(item, Stub):
            tables.setdefault(item.record.table(), {}).setdefault(key_of(item.record), item.record)
        elif isinstance(item, OwnedSet):
            rows = tables.setdefault(item.kind.table(), {})
            for key in [key for key, row in rows.items() if key[0] == item.owner_id]:
                del rows[key]
            rows.update((key_of(row), row) for row in item.rows)
        elif isinstance(item, Tombstone):
            rows = tables.setdefault(item.kind.table(), {})
            if row := rows.get((item.id,)):
                rows[(item.id,)] = row.model_copy(update={"deleted_at": item.deleted_at})
        elif isinstance(item, Patch):
            rows = tables.setdefault(item.kind.table(), {})
            flag = item.kind.patched[item.column]
            if row := rows.get((item.id,)):
                rows[(item.id,)] = row.model_copy(update={item.column: item.at} | ({flag: False} if flag else {}))
        else:
            assert isinstance(item, RawRecord | Listing | Notice)


def with_known(row: Record, old: Record | None) -> Record:
    """`row` with the exact instants only events know."""
    for column, flag in row.patched.items():
        is_vague = getattr(row, flag) if flag else getattr(row, column) is None
        if old and is_vague and getattr(old, column) and not (flag and getattr(old, flag)):
            row = row.model_copy(update={column: getattr(old, column)} | ({flag: False} if flag else {}))
    return row


def key_of(row: Record) -> tuple:
    if isinstance(row, ClientPhone):
        return (row.entity_id, row.phone_e164 or row.phone_raw)
    names = models.key_of(models.metadata.tables[row.table()])[1:]
    return tuple(getattr(row, name, None) or getattr(row, "email_norm", None) for name in names)


@pytest.mark.parametrize(
    "switches",
    [
        {},
        {
            "events_max_limit": 250,
            "missing_by_id": 404,
            "range_to_inclusive": False,
            "next_on_last_full_page": False,
            "empty_object_as_list": False,
            "embedded_when_empty_include": False,
            "loss_reason_shape": "object",
            "closed_at_open": "0",
            "closed_at_after_reopen": "keep",
            "price_minor_units": True,
        },
        {"filters_enabled": "false", "next_missing_on": ("leads", "contacts", "companies", "events", "tasks")},
        {"filters_enabled": "error"},
    ],
    ids=["as documented", "otherwise", "filters without effect", "filters refused"],
)
def test_a_complete_read_gives_what_was_planted(company, planted, switches):
    api = opened(company, **switches)
    tables, notices = read_all(api)
    api.close()
    assert {name: len(tables.get(name, {})) for name in planted["counts"]} == planted["counts"]
    assert not notices


def test_a_later_read_finds_what_people_did_meanwhile(company):
    api = opened(company)
    tables, _ = read_all(api)
    living = [row for row in tables["deal"].values() if not row.deleted_at]
    lost, back, tagged, moved = (deal.deal_id for deal in living[:4])
    loser, winner = (row.contact_id for row in list(tables["contact"].values())[:2])
    waiting = next(row.task_id for row in tables["task"].values() if not row.is_completed)

    def change(kind: str, entity_id: str, entity: str = "leads", **more) -> dict:
        return {"op": kind, "entity": entity, "id": int(entity_id.partition(":")[2]), **more}

    app = httpx.Client(transport=api._client._http()._transport, base_url="https://testserver")
    app.post("/_emu/clock", json={"advance": 3600}).raise_for_status()
    before = api.server_now()
    orders = [
        change("delete", lost),
        change("delete", back),
        change("restore", back),
        change("tag", tagged, name="спешит"),
        change("move", moved, stage_id=142),
        change("merge", loser, "contacts", into_id=int(winner.partition(":")[2])),
        {"op": "task", "task_id": int(waiting.partition(":")[2]), "completed": True},
    ]
    app.post("/_emu/mutate", json=orders).raise_for_status()
    again = open_api(
        SETTINGS,
        env={"TOKEN": "demo-token"},
        ordinals=count(1_000_000).__next__,
        state_dir="/nonexistent",
        transport=api._client._http()._transport,
        pace=unpaced(),
    )
    read_into(tables, again, since=before)

    deals = {key[0]: row for key, row in tables["deal"].items()}
    assert deals[lost].deleted_at == again.server_now()
    assert (deals[back].deleted_at, deals[back].restored_at) == (None, again.server_now())
    assert (tagged, "спешит") in tables["entity_tag"]
    assert deals[moved].stage_id == "status:142"
    assert tables["merge_link"][("contact", loser)].into_id == winner
    assert tables["contact"][(loser,)].deleted_at == again.server_now()
    done = tables["task"][(waiting,)]
    assert (done.is_completed, done.completed_is_estimate, done.completed_at) == (True, False, again.server_now())
