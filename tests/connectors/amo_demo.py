"""The emulated amoCRM as the other end of whole syncs, in this process: no socket, no sleep, its own clock."""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from connectors.amocrm import CONNECTOR
from connectors.amocrm.api import open_api
from connectors.amocrm.settings import AmoSettings
from connectors.http import Pace
from demo.amocrm import create_app
from demo.amocrm_mutate import mutate
from demo.amocrm_switches import Switches
from sync import SyncAccount, sync
from warehouse.status import RunStatus

Json = dict[str, Any]
SETTINGS = AmoSettings(
    id="main", connector="amocrm", base_url="http://testserver", token_env="TOKEN", requests_per_second=1e6
)
DAY = timedelta(days=1)
CREATED_WINDOW = timedelta(days=1200)
"""As long as the company is old: first reads then take few pages."""


class Crm(httpx.BaseTransport):
    """One account over many runs. `before` is called with the number of each request and its URL, and may raise."""

    def __init__(self, company: Any, **switches: Any) -> None:
        self._app = create_app(company, Switches(**switches))
        self._transport, self._loop = httpx.ASGITransport(self._app), asyncio.new_event_loop()
        self._lock = threading.Lock()
        self.asked: list[httpx.URL] = []
        self.before: Callable[[int, httpx.URL], None] = lambda n, url: None
        self.paint: Callable[[httpx.URL, Json], Json] = lambda url, body: body

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        with self._lock:
            self.asked.append(request.url)
            self.before(len(self.asked), request.url)
            return self._loop.run_until_complete(self._answer(request))

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        answer = await self._transport.handle_async_request(request)
        return httpx.Response(answer.status_code, headers=answer.headers, content=await answer.aread())

    def close(self) -> None:
        """Runs close what they opened; the account lives on."""

    @property
    def account(self) -> Any:
        return self._app.state.server.account

    @property
    def now(self) -> datetime:
        return datetime.fromtimestamp(self.account.now, UTC)

    def passes(self, time: timedelta) -> None:
        self.account.now += int(time.total_seconds())

    def people(self, op: str, **order: Any) -> Json:
        """Somebody does something, now."""
        return mutate(self.account, {"op": op, **order})

    def as_account(self, **settings: Any) -> SyncAccount:
        opened = partial(open_api, transport=self, pace=Pace(1e6, sleep=lambda _: None))
        connector = replace(CONNECTOR, open=opened, resources=tuple(map(with_long_windows, CONNECTOR.resources)))
        return SyncAccount("main", connector, SETTINGS.model_copy(update=settings), {"TOKEN": "demo-token"})

    def synced(self, data_dir: Path, *, full: bool = False, parallel: int = 1, **settings: Any) -> RunStatus:
        """Read into a warehouse; the machine's clock is the source's."""
        return sync(data_dir, [self.as_account(**settings)], full=full, parallel=parallel, now=lambda: self.now)


def with_long_windows(resource: Any) -> Any:
    return replace(resource, first_window=CREATED_WINDOW)
