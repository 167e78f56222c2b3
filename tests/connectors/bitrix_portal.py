"""A Bitrix24 portal of a few rows behind the client: the emulator's engine in this process, nobody sleeps."""

import asyncio
import threading
from collections.abc import Callable, Iterable
from itertools import count
from typing import Any

import httpx
from amo_fake import FakeTime

from connectors.bitrix24.access import login
from connectors.bitrix24.api import BitrixApi, open_api
from connectors.bitrix24.paging import List
from connectors.bitrix24.settings import BitrixSettings
from connectors.http import Pace
from demo.bitrix24 import Switches, create_app
from demo.bitrix24_oauth import CLIENT_ID, CLIENT_SECRET
from demo.bitrix24_table import Table
from demo.bitrix24_values import Instant

Row = dict[str, Any]
NOW = 1_787_219_542
"""2026-08-20T12:52:22+03:00"""
HOST = "https://volga.bitrix24.ru"
BASE: Row = {"id": "main", "connector": "bitrix24"}
BY_WEBHOOK: Row = {**BASE, "webhook_env": "BITRIX_WEBHOOK"}
BY_CONSENT: Row = {
    **BASE,
    "base_url": HOST,
    "client_id_env": "BITRIX_ID",
    "client_secret_env": "BITRIX_SECRET",
    "redirect_uri": "https://analytics.example.org/oauth/bitrix24",
    "token_url": "https://oauth.bitrix24.tech/oauth/token/",
}
SECRET = "demo-secret_A1"
ENV = {"BITRIX_WEBHOOK": f"{HOST}/rest/1/{SECRET}/", "BITRIX_ID": CLIENT_ID, "BITRIX_SECRET": CLIENT_SECRET}
STAMPS = {"deal": "DATE_MODIFY", "task": "CHANGED_DATE", "call": "CALL_START_DATE", "stagehistory:2": "CREATED_TIME"}

OLD_DEALS = List("crm.deal.list", select=("ID", "TITLE"), changed="DATE_MODIFY")
DEALS = List(
    "crm.item.list",
    rows="items",
    key="id",
    cursor="id",
    params={"entityTypeId": 2},
    select=("id", "title"),
    changed="updatedTime",
)
HISTORY = List("crm.stagehistory.list", rows="items", params={"entityTypeId": 2}, changed="CREATED_TIME")
TASKS = List("tasks.task.list", rows="tasks", key="id", cursor="ID", select=("ID",), changed="CHANGED_DATE")
CALLS = List("voximplant.statistic.get", style="flat", changed="CALL_START_DATE")
USERS = List("user.get", style="user")
DEPARTMENTS = List("department.get")


def settings(keys: Row = BY_WEBHOOK, **changes: Any) -> BitrixSettings:
    return BitrixSettings(**{**keys, **changes})


def deal(number: int, **fields: Any) -> Row:
    return {"ID": number, "TITLE": f"Deal {number}", "CATEGORY_ID": 0, "STAGE_ID": "NEW", "STAGE_SEMANTIC_ID": "P",
            "IS_RECURRING": False, "DATE_CREATE": Instant(NOW - 86_400), "DATE_MODIFY": Instant(NOW - 3600),
            "CONTACT_IDS": [], "OBSERVERS": []} | fields  # fmt: skip


def call(number: int) -> Row:
    return {"ID": number, "CALL_ID": f"c{number}", "CALL_TYPE": 2, "CALL_START_DATE": Instant(NOW - 100_000 + number)}


def task(number: int) -> Row:
    return {"ID": number, "TITLE": "Call back", "CHANGED_DATE": Instant(NOW - 3600), "RESPONSIBLE_ID": 5}


def move(number: int) -> Row:
    return {"ID": number, "TYPE_ID": 1, "OWNER_ID": number, "CREATED_TIME": Instant(NOW), "CATEGORY_ID": 0,
            "STAGE_SEMANTIC_ID": "P", "STAGE_ID": "NEW"}  # fmt: skip


def department(number: int) -> Row:
    return {"ID": number, "NAME": f"D{number}", "SORT": 500, "PARENT": None, "UF_HEAD": None}


def user(number: int) -> Row:
    return {"ID": number, "ACTIVE": True, "NAME": "Ivan", "LAST_NAME": "Petrov", "TIME_ZONE": "Europe/Moscow"}


def currency(number: int, code: str) -> Row:
    return {"ID": number, "CURRENCY": code, "AMOUNT_CNT": 1, "AMOUNT": 1, "BASE": code == "RUB"}


class FewRows:
    """What the emulator asks of a portal."""

    def __init__(self, rows: dict[str, list[Row]], switches: Switches) -> None:
        self.now, self.user, self.switches = NOW, 5, switches
        self.events: list[tuple[str, int, int, int]] = []
        self.tables: dict[str, Table] = {}
        usual = {"user": [user(5)], "currency": [currency(n, code) for n, code in enumerate(("RUB", "USD"), 1)]}
        for name, found in {**usual, **rows}.items():
            self.put(name, found)

    def put(self, name: str, rows: list[Row]) -> None:
        """Another content of a table, from now on."""
        self.tables[name] = Table.of(rows, stamp=STAMPS.get(name, ""))

    def table(self, name: str) -> Table | None:
        return self.tables.get(name)


class Portal(httpx.BaseTransport):
    """The other end of a client's threads. `before` sees each request first, and may answer in the server's place.

    time: everybody's clock, which only sleeping moves.
    """

    def __init__(self, rows: dict[str, list[Row]] | None = None, **switches: Any) -> None:
        self.time = FakeTime()
        chosen = Switches(**{"clock_runs": True, **switches})
        app = create_app(rows or {}, chosen, secret=SECRET, timer=self.time, portal=FewRows)
        self.server = app.state.server
        self.hosts: list[str] = []
        self.before: Callable[[httpx.Request], httpx.Response | None] = lambda _: None
        self._app = httpx.ASGITransport(app)
        self._loop = asyncio.new_event_loop()
        self._turn = threading.Lock()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        with self._turn:
            self.hosts.append(request.url.host)
            return self.before(request) or self._loop.run_until_complete(self._answer(request))

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        answer = await self._app.handle_async_request(request)
        return httpx.Response(answer.status_code, headers=answer.headers, content=await answer.aread())

    def close(self) -> None:
        """The client closes its transport; the portal stays."""

    def __del__(self) -> None:
        self._loop.close()

    @property
    def rows(self) -> FewRows:
        portal: FewRows = self.server.portal
        return portal

    def asked(self, ending: str = "") -> list[Row]:
        """The server's own log of requests whose path ends so."""
        return [entry for entry in self.server.log.entries if entry["path"].endswith(ending)]

    def n_commands(self) -> list[int]:
        """How many commands each batch had."""
        return [len(entry["params"]["cmd"]) for entry in self.asked("/batch")]

    def consent(self, keys: BitrixSettings, state_dir: Any) -> None:
        code = self.server.oauth.new_code(self.rows.now)
        login(keys, code, env=ENV, state_dir=str(state_dir), transport=self, clock=self.now)

    def now(self) -> float:
        return float(self.rows.now)

    def open(
        self, keys: BitrixSettings | None = None, *, state_dir: Any = "/nonexistent", env: dict[str, str] = ENV
    ) -> BitrixApi:
        keys = keys or settings()
        pace = Pace(keys.requests_per_second, burst=keys.burst, clock=self.time, sleep=self.time.sleep)
        return open_api(
            keys,
            env=env,
            ordinals=count(1).__next__,
            state_dir=str(state_dir),
            transport=self,
            pace=pace,
            clock=self.now,
        )


def error(status: int, code: Any, text: str = "", **more: Any) -> httpx.Response:
    return httpx.Response(status, json={"error": code, "error_description": text, **more})


def ids(pages: Iterable[list[Row]]) -> list[int]:
    return [int(row.get("ID", row.get("id", 0))) for page in pages for row in page]


def many(n: int, first: int = 1) -> list[Row]:
    return [deal(number) for number in range(first, first + n)]
