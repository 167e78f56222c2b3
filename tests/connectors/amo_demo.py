"""The emulated amoCRM as the other end of whole syncs, in this process: no socket, no sleep, its own clock."""

import asyncio
import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import polars as pl
from amo_fake import WHOLE
from demo_crm import make_blank, unpaced, with_long_windows
from first_syncs import first_sync, is_empty

from connectors.amocrm import CONNECTOR
from connectors.amocrm.api import open_api
from connectors.amocrm.settings import AmoSettings
from connectors.connector import Window
from connectors.records import Yield
from demo.amocrm import create_app
from demo.amocrm_mutate import mutate
from demo.amocrm_switches import Switches
from demo.company import Company, build
from metrics.frames import FrameSet, open_frames
from sync import SyncAccount, publish_all, sync
from sync.publication import PUBLICATION
from warehouse.database import open_warehouse
from warehouse.status import RunStatus

Json = dict[str, Any]
SETTINGS = AmoSettings(
    id="main", connector="amocrm", base_url="https://testserver", token_env="TOKEN", requests_per_second=1e6
)
DAY = timedelta(days=1)


@cache
def company() -> Company:
    return build(scale=0.001)


def rows(data_dir: Path, query: str) -> list[tuple[Any, ...]]:
    """What a query finds in the warehouse."""
    engine = open_warehouse(data_dir)
    try:
        with engine.begin() as connection:
            return [tuple(row) for row in connection.exec_driver_sql(query).fetchall()]
    finally:
        engine.dispose()


def published(data_dir: Path, *, now: datetime) -> Callable[[str], pl.DataFrame]:
    """Publish, and give the tables of that by their names."""
    manifest = publish_all(data_dir, now=now)
    folder = data_dir / PUBLICATION / manifest["generation"]

    def table(name: str) -> pl.DataFrame:
        return pl.read_parquet([folder / file["name"] for file in manifest["tables"][name]["files"]])

    return table


def shown(data_dir: Path) -> FrameSet:
    """What was published last, as metrics and the app read it."""
    return open_frames(data_dir / PUBLICATION)


def undisturbed(n: int, asked: Any) -> None:
    pass


class Crm(httpx.BaseTransport):
    """One account over many runs.

    before: called with the number of each request and its URL; may raise. repaint: may change what was answered.
    is_touched: it may be another account by now than its switches say, or its requests are to be seen.
    """

    is_touched = False

    def __init__(self, **switches: Any) -> None:
        self._switches = switches
        self._app = create_app(company(), Switches(**switches))
        self._transport, self._loop = httpx.ASGITransport(self._app), asyncio.new_event_loop()
        self._lock = threading.Lock()
        self.asked: list[httpx.URL] = []
        self.before: Callable[[int, httpx.URL], None] = undisturbed
        self.repaint: Callable[[httpx.URL, Json], Json] | None = None

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        with self._lock:
            self.asked.append(request.url)
            self.before(len(self.asked), request.url)
            return self._loop.run_until_complete(self._answer(request))

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        answer = await self._transport.handle_async_request(request)
        content = await answer.aread()
        if self.repaint and content:
            content = json.dumps(self.repaint(request.url, json.loads(content))).encode()
        headers = {name: value for name, value in answer.headers.items() if name != "content-length"}
        return httpx.Response(answer.status_code, headers=headers, content=content)

    def close(self) -> None:
        """Runs close what they opened; the account lives on."""

    @property
    def account(self) -> Any:
        self.is_touched = True
        return self._app.state.server.account

    @property
    def now(self) -> datetime:
        return datetime.fromtimestamp(self._app.state.server.account.now, UTC)

    def passes(self, time: timedelta) -> None:
        self.account.now += int(time.total_seconds())

    def people(self, op: str, **order: Any) -> Json:
        """Somebody does something, now."""
        return mutate(self.account, {"op": op, **order})

    def as_account(self, **settings: Any) -> SyncAccount:
        opened = partial(open_api, transport=self, pace=unpaced())
        connector = replace(CONNECTOR, open=opened, resources=tuple(map(with_long_windows, CONNECTOR.resources)))
        return SyncAccount("main", connector, SETTINGS.model_copy(update=settings), {"TOKEN": "demo-token"})

    def read(self, state_dir: Path, resource: str, window: Window = WHOLE, **settings: Any) -> list[Yield]:
        """What one resource yields, without a warehouse."""
        opened = self.as_account(**settings)
        api = opened.connector.open_api(
            opened.settings, env=opened.env, ordinals=count(1).__next__, state_dir=str(state_dir)
        )
        account = opened.connector.account(api, opened.settings)
        chosen = next(one for one in opened.connector.resources if one.name == resource)
        return list(chosen.read(api, account, window))

    def synced(
        self,
        data_dir: Path,
        *,
        full: bool = False,
        parallel: int = 1,
        resources: Sequence[str] | None = None,
        **settings: Any,
    ) -> RunStatus:
        """Read into a warehouse; the machine's clock is the source's."""
        is_as_made = not (self.is_touched or self.asked or self.repaint or self.before is not undisturbed)
        if is_as_made and is_empty(data_dir) and not full and resources is None:
            key = f"{type(self)} {self._switches} {parallel} {settings}"
            run, self.asked = first_sync(key, data_dir, lambda folder: self._twin_synced(folder, parallel, settings))
            return run
        make_blank(data_dir)
        return sync(
            data_dir,
            [self.as_account(**settings)],
            full=full,
            parallel=parallel,
            resources=resources,
            now=lambda: self.now,
        )

    def _twin_synced(self, data_dir: Path, parallel: int, settings: Json) -> tuple[RunStatus, list[Any]]:
        twin = type(self)(**self._switches)
        twin.is_touched = True
        return twin.synced(data_dir, parallel=parallel, **settings), twin.asked
