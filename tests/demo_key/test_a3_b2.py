"""A3 and B2 against the demo company's answer key, along the whole straight line: REST → warehouse → marts → metric.

The key is plain Python over what was planted; nothing of ours is in it. In process: no socket, no clock.
"""

import asyncio
import threading
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any

import httpx
import polars as pl
import pytest

from connectors.amocrm import CONNECTOR
from connectors.amocrm.api import open_api
from connectors.amocrm.settings import AmoSettings
from connectors.http import Pace
from demo.amocrm import create_app
from demo.amocrm_switches import Switches
from demo.company import answer_key, build
from metrics.evaluate import evaluate
from metrics.forgotten_clients import METRIC as FORGOTTEN
from metrics.frames import FrameSet, open_frames
from metrics.metric import MetricResult, Period
from metrics.missed_calls import METRIC as MISSED
from metrics.missed_threads import STATES
from sync import SyncAccount, publish_all, sync

AS_OF = datetime(2026, 11, 20, 21, tzinfo=UTC)  # midnight in Moscow
TODAY = date(2026, 11, 21)
SETTINGS = AmoSettings(
    id="main", connector="amocrm", base_url="http://testserver", token_env="TOKEN", requests_per_second=1e6
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


@pytest.fixture(scope="module")
def company() -> Any:
    return build(scale=0.02, as_of=AS_OF)


@pytest.fixture(scope="module")
def key(company: Any) -> Mapping[str, Any]:
    return answer_key(company)


@pytest.fixture(scope="module")
def publication(company: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The company, synced and published."""
    data_dir = tmp_path_factory.mktemp("demo") / "data"
    transport = InProcess(create_app(company, Switches()))
    opened = partial(open_api, transport=transport, pace=Pace(1e6, sleep=lambda _: None))
    account = SyncAccount("main", replace(CONNECTOR, open=opened), SETTINGS, {"TOKEN": "demo-token"})
    run = sync(data_dir, [account], now=lambda: AS_OF)
    assert run.is_well
    publish_all(data_dir, now=AS_OF)
    return data_dir / "publication"


@pytest.fixture(params=["polars", "duckdb"])
def frames(request: pytest.FixtureRequest, publication: Any) -> FrameSet:
    return open_frames(publication, request.param)


def answer(metric: Any, frames: FrameSet, days: int) -> MetricResult:
    return evaluate(metric, frames, None, Period(AS_OF, TODAY - timedelta(days=days), TODAY))


def test_missed_threads_are_those_that_were_planted(frames, key):
    planted = key["A3"]
    assert planted["period"] == [str(TODAY - timedelta(days=30)), str(TODAY)]
    result = answer(MISSED, frames, days=30)
    total = result.tables["total"].row(0, named=True)
    assert {state: total[f"n_{state}"] for state in STATES} == planted["states"]
    assert total["never_rate"] == pytest.approx(planted["never_rate"])
    assert total["not_reached_rate"] == pytest.approx(planted["not_reached_rate"])
    by_user = {
        row["user_id"]: {state: row[f"n_{state}"] for state in STATES}
        for row in result.tables["by_user"].iter_rows(named=True)
    }
    assert by_user == planted["by_user"]


def test_the_list_to_call_back_names_the_planted_clients(frames, key):
    result = answer(MISSED, frames, days=30)
    open_threads = result.tables["threads"].filter(pl.col("state").is_in(["never", "attempted_only", "pending"]))
    planted = sorted((row["client_id"], row["state"]) for row in key["A3"]["unresolved"])
    assert sorted(open_threads.select("client_id", "state").rows()) == planted
    judged = sorted(client for client, state in planted if state != "pending")
    assert sorted(result.drilldown["client_id"]) == judged
    assert result.drilldown["url"].str.contains("^http://testserver/(companies|contacts|leads)/detail/[0-9]+$").all()


def test_forgotten_clients_are_those_that_were_planted(frames, key):
    planted = key["B2"]
    result = answer(FORGOTTEN, frames, days=60)
    total = result.tables["total"].row(0, named=True)
    assert (total["num"], total["den"]) == (planted["num"], planted["den"])
    reassign = {"num": total["reassign_num"], "den": total["reassign_den"]}
    assert reassign == planted["reassign"]
    by_user = {
        row["user_id"]: {"num": row["num"], "den": row["den"]} for row in result.tables["by_user"].iter_rows(named=True)
    }
    assert by_user == planted["by_user"]
    assert result.tables["reassign"]["user_id"].to_list() == [key["leaver_user_id"]]
    listed = sorted(result.tables["clients"]["client_id"])
    assert listed == sorted([*planted["forgotten"], *planted["reassign_forgotten"]])


def test_the_answers_say_that_chats_are_not_seen(frames):
    """The connector of amoCRM does not read messages yet: silence may be a chat."""
    for metric, days in ((MISSED, 30), (FORGOTTEN, 60)):
        assert "messages_not_synced" in {notice.code for notice in answer(metric, frames, days).warnings}
