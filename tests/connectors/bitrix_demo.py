"""The emulated Bitrix24 as the other end of whole syncs, in this process: no socket, no sleep, its own clock."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import httpx
from amo_demo import company, rows, undisturbed
from demo_crm import make_blank, unpaced
from first_syncs import first_sync, is_empty

from connectors.bitrix24 import CONNECTOR
from connectors.bitrix24.access import login
from connectors.bitrix24.api import BitrixApi, account, open_api
from connectors.bitrix24.settings import BitrixSettings
from connectors.connector import Window
from connectors.records import Yield
from demo.bitrix24 import create_app
from demo.bitrix24_mutate import mutate
from demo.bitrix24_oauth import CLIENT_ID, CLIENT_SECRET
from demo.bitrix24_setup import LOSS_FIELD
from demo.bitrix24_switches import Switches
from demo.company import Company
from sync import SyncAccount, sync
from warehouse.status import RunStatus

__all__ = ["BY_CONSENT", "ENV", "SETTINGS", "Portal", "rows"]

Json = dict[str, Any]
HOST = "https://testserver"
BASE: Json = {
    "id": "main",
    "connector": "bitrix24",
    "requests_per_second": 1e6,
    "phone_country": "RU",
    "loss_reason_fields": {"deal": LOSS_FIELD},
}
SETTINGS = BitrixSettings(**BASE, webhook_env="WEBHOOK")
BY_CONSENT = BitrixSettings(
    **BASE,
    base_url=HOST,
    client_id_env="CLIENT_ID",
    client_secret_env="CLIENT_SECRET",
    redirect_uri="https://analytics.example.org/oauth/bitrix24",
    token_url=f"{HOST}/oauth/token/",
)
ENV = {"WEBHOOK": f"{HOST}/rest/1/d3m0secret/", "CLIENT_ID": CLIENT_ID, "CLIENT_SECRET": CLIENT_SECRET}


class Portal(httpx.BaseTransport):
    """One portal over many runs.

    before: called with the number of each request and what it asks; may raise. repaint: may change what was answered.
    is_touched: it may be another portal by now than its switches say, or its requests are to be seen.
    """

    settings: BitrixSettings = SETTINGS
    is_touched = False

    def __init__(self, of: Company | None = None, **switches: Any) -> None:
        self._switches = switches
        if of is not None:
            self.is_touched = True
        app = create_app(of or company(), Switches(**switches), secret="d3m0secret", timer=lambda: 0.0)
        self._server = app.state.server
        self._transport, self._loop = httpx.ASGITransport(app), asyncio.new_event_loop()
        self._lock = threading.Lock()
        self.asked: list[str] = []
        self.before: Callable[[int, str], None] = undisturbed
        self.repaint: Callable[[str, Json], Json] | None = None

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        with self._lock:
            self.asked.append(f"{request.url.path.rpartition('/')[2]} {request.content.decode()}")
            self.before(len(self.asked), self.asked[-1])
            return self._loop.run_until_complete(self._answer(request))

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        answer = await self._transport.handle_async_request(request)
        content = await answer.aread()
        if self.repaint and content:
            content = json.dumps(self.repaint(self.asked[-1], json.loads(content))).encode()
        headers = {name: value for name, value in answer.headers.items() if name != "content-length"}
        return httpx.Response(answer.status_code, headers=headers, content=content)

    def close(self) -> None:
        """Runs close what they opened; the portal lives on."""

    @property
    def server(self) -> Any:
        self.is_touched = True
        return self._server

    @property
    def portal(self) -> Any:
        return self.server.portal

    @property
    def now(self) -> datetime:
        return datetime.fromtimestamp(self._server.portal.now, UTC)

    def passes(self, time: timedelta) -> None:
        self.portal.now += int(time.total_seconds())

    def people(self, what: str, **order: Any) -> Json:
        """Somebody does something, now."""
        return mutate(self.portal, {"what": what, **order})

    def ids(self, table: str) -> list[int]:
        return [int(number) for number in self._server.portal.table(table).ids]

    def row(self, table: str, number: int) -> Json:
        return dict(self._server.portal.table(table).get(number))

    def consents(self, state_dir: Path) -> None:
        """A person lets the application in."""
        state_dir.mkdir(parents=True, exist_ok=True)
        code = self.server.oauth.new_code(self.portal.now)
        login(BY_CONSENT, code, env=ENV, state_dir=str(state_dir), transport=self, clock=lambda: self.portal.now)

    def open(self, keys: BitrixSettings | None = None, *, state_dir: Any = "/nonexistent") -> BitrixApi:
        return open_api(
            keys or self.settings,
            env=ENV,
            ordinals=count(1).__next__,
            state_dir=str(state_dir),
            transport=self,
            pace=unpaced(),
            clock=lambda: self.portal.now,
        )

    def reads(self, resource: str, window: Window, *, api: BitrixApi | None = None, **settings: Any) -> Iterator[Yield]:
        """What a resource gives for a window."""
        api = api or self.open(self.settings.model_copy(update=settings))
        (found,) = (one for one in CONNECTOR.resources if one.name == resource)
        return found.read(api, account(api, api.settings), window)

    def as_account(self, **settings: Any) -> SyncAccount:
        opened = partial(open_api, transport=self, pace=unpaced(), clock=lambda: self.portal.now)
        return SyncAccount("main", replace(CONNECTOR, open=opened), self.settings.model_copy(update=settings), ENV)

    def synced(self, data_dir: Path, *, full: bool = False, parallel: int = 1, **settings: Any) -> RunStatus:
        """Read into a warehouse; the machine's clock is the portal's."""
        is_as_made = not (self.is_touched or self.asked or self.repaint or self.before is not undisturbed)
        if is_as_made and is_empty(data_dir) and not full:
            key = f"{type(self)} {self._switches} {self.settings} {parallel} {settings}"
            run, self.asked = first_sync(key, data_dir, lambda folder: self._twin_synced(folder, parallel, settings))
            return run
        make_blank(data_dir)
        return sync(data_dir, [self.as_account(**settings)], full=full, parallel=parallel, now=lambda: self.now)

    def _twin_synced(self, data_dir: Path, parallel: int, settings: Json) -> tuple[RunStatus, list[Any]]:
        twin = type(self)(**self._switches)
        twin.settings, twin.is_touched = self.settings, True
        return twin.synced(data_dir, parallel=parallel, **settings), twin.asked
