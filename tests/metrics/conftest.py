"""Few columns in, whole frames out: tests name the columns they care about, the rest is filled in.

A metric's test:

    def test_a_rule(engine):
        frames = engine.frames({"call_episode": [{"episode_id": "1", "started_at": NINE}]}, as_of=NOON)
"""

import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from engines import SPARK
from published import SCHEMAS, Rows, whole

from metrics.frames import DuckDbEngine, Engine, FrameSet, PolarsEngine, SparkEngine, frames_from
from metrics.marts import MARTS
from metrics.metric import Period

ACCOUNT = ("account_id", "connector", "base_url", "tz", "base_currency", "default_region", "calendar_id")


class TestEngine:
    """An engine and how tests fill it."""

    __test__ = False

    def __init__(self, on: Engine) -> None:
        self.on = on
        self.name = on.name

    def frames(
        self,
        tables: Mapping[str, Rows],
        *,
        as_of: datetime | None = None,
        period: Period | None = None,
        tz: str = "Europe/Moscow",
        accounts: Sequence[Mapping[str, Any]] | None = None,
        user_set: Mapping[str, pl.DataFrame] | None = None,
        coverage: Sequence[Mapping[str, Any]] | None = None,
    ) -> FrameSet:
        """A frame set of `tables` (others are there, empty), with `clock` where `period` is given.

        Every resource counts as synced without gaps unless `coverage` says otherwise.
        """
        known = accounts or [account(tz=tz)]
        given = {"account": [{name: one[name] for name in ACCOUNT if name in one} for one in known], **tables}
        full = {name: whole(name, given.get(name, []), tz) for name in SCHEMAS}
        if strange := set(tables) - set(SCHEMAS):
            raise ValueError(f"no such table: {', '.join(sorted(strange))}")
        now = as_of or (period.as_of if period else None)
        stated = [{"as_of": now, **one} for one in known] if now else known
        frames = frames_from(
            full, self.on, stated, user_set=user_set, coverage=_all_synced(known) if coverage is None else coverage
        )
        return frames if period is None else frames.with_clock(period)

    def frame(self, table: str, *rows: Mapping[str, Any]) -> Any:
        """One table of a few rows as a Narwhals lazy frame."""
        return self.frames({table: rows})[table]


def account(account_id: str = "main", **changes: Any) -> dict[str, Any]:
    """An entry of the manifest's `accounts`."""
    return {
        "account_id": account_id,
        "connector": "amocrm",
        "base_url": "https://example.amocrm.ru",
        "tz": "Europe/Moscow",
        "base_currency": "RUB",
        "default_region": "RU",
        "calendar_id": "default",
        **changes,
    }


def _all_synced(accounts: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    always = {"complete_from": "2000-01-01T00:00:00+00:00", "watermark": "2100-01-01T00:00:00+00:00"}
    return [
        {"account_id": one["account_id"], "resource": name, **always}
        for one in accounts
        for name in SCHEMAS
        if name not in MARTS
    ]


def days_before(as_of: datetime, days: int = 30, tz_day: date | None = None) -> Period:
    """The `days` complete local days before the day of `as_of`."""
    to = tz_day or as_of.date()
    return Period(as_of.astimezone(UTC), to - timedelta(days=days), to)


@pytest.fixture(scope="session")
def spark_server() -> Iterator[str]:
    """The address of a Spark Connect server in this process, without a JVM."""
    sail = pytest.importorskip("pysail.spark", reason="the spark extra is not installed")
    with pytest.MonkeyPatch.context() as patch:
        # Without a file of the main program, as in a worker of xdist, pyspark takes this for its own doctests.
        patch.setattr(sys.modules["__main__"], "__file__", __file__, raising=False)
        pytest.importorskip("pyspark.sql.connect", reason="the spark extra is not installed")
    server = sail.SparkConnectServer("127.0.0.1", 0)
    server.start(background=True)
    host, port = server.listening_address
    yield f"sc://{host}:{port}"
    from pyspark.sql import SparkSession

    if session := SparkSession.getActiveSession():
        session.stop()  # first: at exit the client would try for minutes to reach a server that is gone
    server.stop()


@pytest.fixture(params=["polars", pytest.param("duckdb", marks=pytest.mark.slow), SPARK])
def engine(request: pytest.FixtureRequest) -> TestEngine:
    """Every engine a metric has to give the same answer on; DuckDB in `make test` where `on_every_engine` says so: in
    examples, in what engines open, and where random data are compared."""
    if request.param == "polars":
        return TestEngine(PolarsEngine())
    if request.param == "duckdb":
        return TestEngine(DuckDbEngine())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # pyspark about pandas 3
        return TestEngine(SparkEngine(request.getfixturevalue("spark_server")))


@pytest.fixture
def polars_engine() -> TestEngine:
    """Polars alone, for what does not depend on the engine."""
    return TestEngine(PolarsEngine())


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"
