"""The demo company along the whole straight line: REST → warehouse → publication. In process: no socket, no clock.

The key is plain Python over what was planted; nothing of ours is in it.
"""

import asyncio
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from connectors.amocrm import CONNECTOR
from connectors.amocrm.api import open_api
from connectors.amocrm.settings import AmoSettings
from connectors.http import Pace
from demo.amocrm import create_app
from demo.amocrm_switches import Switches
from demo.company import answer_key, build
from metrics.evaluate import evaluate
from metrics.frames import FrameSet, open_frames
from metrics.metric import Metric, MetricResult, Period
from sync import SyncAccount, publish_all, sync

AS_OF = datetime(2026, 11, 20, 21, tzinfo=UTC)  # midnight in Moscow
TODAY = date(2026, 11, 21)
SETTINGS = AmoSettings(
    id="main", connector="amocrm", base_url="https://testserver", token_env="TOKEN", requests_per_second=1e6
)


class InProcess(httpx.BaseTransport):
    """An ASGI application as the other end of a synchronous client used by several threads."""

    def __init__(self, app: Any) -> None:
        self._app = httpx.ASGITransport(app)
        self._loop = asyncio.new_event_loop()
        self._turn = threading.Lock()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        with self._turn:
            return self._loop.run_until_complete(self._answer(request))

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        answer = await self._app.handle_async_request(request)
        return httpx.Response(answer.status_code, headers=answer.headers, content=await answer.aread())


@pytest.fixture(scope="session")
def company() -> Any:
    return build(scale=0.02, as_of=AS_OF)


@pytest.fixture(scope="session")
def key(company: Any) -> Mapping[str, Any]:
    return answer_key(company)


def sync_and_publish(company: Any, data_dir: Path, now: datetime = AS_OF) -> Path:
    """The company read over its REST and published, at an instant; returns the folder of publications."""
    transport = InProcess(create_app(company, Switches()))
    opened = partial(open_api, transport=transport, pace=Pace(float("inf")))
    account = SyncAccount("main", replace(CONNECTOR, open=opened), SETTINGS, {"TOKEN": "demo-token"})
    run = sync(data_dir, [account], now=lambda: now)
    assert run.is_well
    publish_all(data_dir, now=now)
    return data_dir / "publication"


@pytest.fixture(scope="session")
def straight_line() -> Callable[..., Path]:
    """`sync_and_publish`, for tests that do it more than once."""
    return sync_and_publish


@pytest.fixture(scope="session")
def publication(company: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The company, synced and published."""
    return sync_and_publish(company, tmp_path_factory.mktemp("demo") / "data")


@pytest.fixture(params=["polars", "duckdb"])
def frames(request: pytest.FixtureRequest, publication: Any) -> FrameSet:
    return open_frames(publication, request.param)


@pytest.fixture(scope="session")
def answer() -> Callable[..., MetricResult]:
    """A metric over the `days` complete local days before the company's now."""

    def evaluated(metric: Metric, frames: FrameSet, days: int) -> MetricResult:
        return evaluate(metric, frames, None, Period(AS_OF, TODAY - timedelta(days=days), TODAY))

    return evaluated
