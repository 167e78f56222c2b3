"""The emulated amoCRM in this process, read by real syncs: no socket, no clock, nobody sleeps."""

import asyncio
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from itertools import count
from pathlib import Path
from shutil import copyfile
from tempfile import TemporaryDirectory
from typing import Any

import httpx
from amo_fake import FakeTime
from sqlalchemy import Connection

from connectors.amocrm import CONNECTOR
from connectors.amocrm.access import login
from connectors.amocrm.api import AmoApi, open_api
from connectors.amocrm.settings import AmoSettings
from connectors.http import Pace
from demo.amocrm import create_app
from demo.amocrm_oauth import CLIENT_ID, CLIENT_SECRET, REDIRECT_URI
from demo.amocrm_switches import Switches
from sync import SyncAccount, sync
from warehouse.database import WAREHOUSE, open_warehouse
from warehouse.models import CANONICAL
from warehouse.status import RunStatus

AS_OF = datetime(2026, 11, 20, 21, tzinfo=UTC)  # midnight in Moscow
BASE: dict[str, Any] = {"id": "main", "connector": "amocrm", "requests_per_second": 1e6}
BY_TOKEN: dict[str, Any] = {**BASE, "token_env": "TOKEN"}
BY_CONSENT: dict[str, Any] = {
    **BASE,
    "client_id_env": "CLIENT_ID",
    "client_secret_env": "CLIENT_SECRET",
    "redirect_uri": REDIRECT_URI,
}
ENV = {"TOKEN": "demo-token", "CLIENT_ID": CLIENT_ID, "CLIENT_SECRET": CLIENT_SECRET}
OF_THE_RUN = ("read_seq", "load_seq", "synced_at")
OF_THE_FOLDER = ("phone_key", "email_key")
"""Made with a key of the folder's own."""


def settings(keys: Mapping[str, Any] = BY_TOKEN, **changes: Any) -> AmoSettings:
    return AmoSettings(**{"base_url": "https://testserver", **keys, **changes})


CREATED_WINDOW = timedelta(days=1200)
"""As long as the company is old: first reads then take few pages."""


@cache
def scratch() -> "TemporaryDirectory[str]":
    """A folder that is gone when the process ends."""
    return TemporaryDirectory(prefix="voronka-test-")


@cache
def migrated() -> Path:
    """A warehouse without rows: making one takes longer than most tests."""
    folder = Path(scratch().name) / "blank"
    open_warehouse(folder).dispose()
    return folder / WAREHOUSE


def make_blank(data_dir: Path) -> None:
    data_dir.mkdir(parents=True, exist_ok=True)
    if not (data_dir / WAREHOUSE).exists():
        copyfile(migrated(), data_dir / WAREHOUSE)


def with_long_windows(resource: Any) -> Any:
    return replace(resource, first_window=CREATED_WINDOW)


def unpaced() -> Pace:
    time = FakeTime()
    return Pace(1e6, clock=time, sleep=time.sleep)


class DemoCrm(httpx.BaseTransport):
    """The other end of a client's threads. `before` sees each request first, and may answer in the server's place."""

    def __init__(self, company: Any, *, timer: Callable[[], float] = lambda: 0.0, **switches: Any) -> None:
        app = create_app(company, Switches(**switches), timer=timer)
        self.server = app.state.server
        self.hosts: set[str] = set()
        self.before: Callable[[httpx.Request], httpx.Response | None] = lambda _: None
        self._app = httpx.ASGITransport(app)
        self._loop = asyncio.new_event_loop()
        self._turn = threading.Lock()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        with self._turn:
            self.hosts.add(request.url.host)
            return self.before(request) or self._loop.run_until_complete(self._answer(request))

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        answer = await self._app.handle_async_request(request)
        return httpx.Response(answer.status_code, headers=answer.headers, content=await answer.aread())

    @property
    def account(self) -> Any:
        return self.server.account

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.account.now, UTC)

    def asked(self, ending: str = "") -> list[dict[str, Any]]:
        """The server's own log of requests whose path ends so."""
        return [entry for entry in self.server.log.entries if entry["path"].endswith(ending)]

    def login(self, keys: AmoSettings, state_dir: Path) -> None:
        """A person consents."""
        code = self.account.oauth.new_code(self.account.now)
        login(keys, code, env=ENV, state_dir=str(state_dir), transport=self, clock=lambda: self.account.now)

    def open(
        self, keys: AmoSettings | None = None, *, state_dir: Any = "/nonexistent", pace: Pace | None = None
    ) -> AmoApi:
        return open_api(
            keys or settings(),
            env=ENV,
            ordinals=count(1).__next__,
            state_dir=str(state_dir),
            transport=self,
            pace=pace or unpaced(),
            clock=lambda: self.account.now,
        )

    def sync(
        self, data_dir: Path, keys: AmoSettings | None = None, *, pace: Pace | None = None, **how: Any
    ) -> RunStatus:
        """A whole run of the real sync."""
        make_blank(data_dir)
        opened = partial(open_api, transport=self, pace=pace or unpaced(), clock=lambda: self.account.now)
        connector = replace(CONNECTOR, open=opened, resources=tuple(map(with_long_windows, CONNECTOR.resources)))
        account = SyncAccount("main", connector, keys or settings(), ENV)
        return sync(data_dir, [account], now=self.now, **how)


def look(data_dir: Path, statement: str) -> list[tuple[Any, ...]]:
    def rows(connection: Connection) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in connection.exec_driver_sql(statement).fetchall()]

    engine = open_warehouse(data_dir)
    try:
        with engine.begin() as connection:
            return rows(connection)
    finally:
        engine.dispose()


def tables_of(data_dir: Path, *, without: tuple[str, ...] = ()) -> dict[str, list[tuple[Any, ...]]]:
    """Everything canonical, but what depends on the run it was read in."""
    engine = open_warehouse(data_dir)
    try:
        with engine.begin() as connection:
            found = {}
            for table in CANONICAL:
                left_out = [name for name in (*OF_THE_RUN, *without) if name in table.columns]
                query = f'SELECT * EXCLUDE ({", ".join(left_out)}) FROM "{table.name}" ORDER BY ALL'
                found[table.name] = [tuple(row) for row in connection.exec_driver_sql(query).fetchall()]
    finally:
        engine.dispose()
    return {name: rows for name, rows in found.items() if rows}
