"""What holds for every metric, on small companies drawn from seeds (catalogue, 5.9)."""

from collections import Counter
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any

import polars as pl
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from published import canonical, set_by_people
from small_companies import AS_OF, OTHERWISE, company

from metrics import marts
from metrics.evaluate import evaluate
from metrics.frames import DuckDbEngine, EngineName, FrameSet, frames_from
from metrics.metric import Metric, MetricResult, Period, find_metrics

METRICS = find_metrics()
ACCOUNT = {
    "account_id": "main",
    "connector": "amocrm",
    "base_url": "https://example.amocrm.ru",
    "tz": "Europe/Moscow",
    "base_currency": "RUB",
    "calendar_id": "default",
}
PERIOD = Period(AS_OF, date(2026, 1, 1), date(2026, 4, 1))
LONG_AGO = Period(datetime(2020, 1, 1, tzinfo=UTC), date(2019, 10, 1), date(2020, 1, 1))
TO_THE_ROWS: dict[str, dict[str, Any]] = {
    "E6": {"drill": "all"},
    "E7": {"min_n": 2, "min_deals": 1},
    "E13": {"horizon_d": 20, "min_n": 1},
}
"""Parameters under which the drill-down is whole, where it is a choice, and a small company has rows to show."""

FIXED = (3, 11)
"""Seeds of `make test`: every test asks about the same companies, so each is made and answered once."""
seeds = st.sampled_from(FIXED) if settings().derandomize else st.integers(0, 10_000)
few = settings(
    max_examples=max(2, (settings.default or settings()).max_examples // 6),
    phases=(Phase.generate,),  # a smaller seed is no smaller company: nothing to shrink
)
every_metric = pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)


def those(field: str) -> pytest.MarkDecorator:
    """Metrics that say something in `field`."""
    named = [metric for metric in METRICS.values() if getattr(metric, field)]
    return pytest.mark.parametrize("metric", named, ids=[metric.id for metric in named])


def opened(tables: Any, as_of: datetime, engine: Any = "polars") -> FrameSet:
    whole = {name: frame.collect() for name, frame in canonical(tables).items()}
    built = marts.build({name: frame.lazy() for name, frame in whole.items()}, as_of, marts.MartParams())
    collected = {name: frame.lazy().collect() for name, frame in built.items()}
    said = set_by_people(whole["stage"])
    return frames_from({**whole, **collected}, engine, [{**ACCOUNT, "as_of": as_of}], user_set=said)


@lru_cache(maxsize=64)
def frames(seed: int, told: str | None = None, as_of: datetime = AS_OF, engine: EngineName = "polars") -> FrameSet:
    """The company of a seed as a publication at `as_of`; kept, for every metric asks about it."""
    tables = company(seed)
    on = DuckDbEngine() if engine == "duckdb" else engine
    return opened(tables if told is None else OTHERWISE[told](tables), as_of, on)


def answer(metric: Metric, on: FrameSet, period: Period = PERIOD) -> MetricResult:
    return evaluate(metric, on, metric.params(**TO_THE_ROWS.get(metric.id, {})), period)


@lru_cache(maxsize=512)
def usual(metric_id: str, seed: int) -> MetricResult:
    return answer(METRICS[metric_id], frames(seed))


@lru_cache(maxsize=1)
def nothing() -> FrameSet:
    return opened({}, LONG_AGO.as_of)


def same(one: MetricResult, other: MetricResult) -> None:
    """Every table and the drill-down are equal, order and types included; floats to 1e-9."""
    assert list(one.tables) == list(other.tables)
    for name, table in one.tables.items():
        assert_frame_equal(table, other.tables[name], rel_tol=1e-9, abs_tol=1e-12)
    assert_frame_equal(one.drilldown, other.drilldown, rel_tol=1e-9, abs_tol=1e-12)


def schemas(result: MetricResult) -> dict[str, pl.Schema]:
    return {name: table.schema for name, table in result.tables.items()} | {"drilldown": result.drilldown.schema}


@those("counted")
@few
@given(seed=seeds)
def test_a_number_has_as_many_rows_behind_it_as_it_says(metric: Metric, seed: int) -> None:
    """Per account and group: what `Metric.counted` names."""
    result = usual(metric.id, seed)
    said: Counter[Any] = Counter()
    for name, columns in metric.counted.items():
        for account, key, *numbers in result.tables[name].select("account_id", "group_key", *columns).iter_rows():
            said[account, key] += sum(number or 0 for number in numbers)
    assert said or result.drilldown.is_empty()
    found = Counter(result.drilldown.select("account_id", "group_key").iter_rows())
    assert said == {key: found[key] for key in said}


@those("adds_up")
@few
@given(seed=seeds)
def test_groups_add_up_to_the_whole(metric: Metric, seed: int) -> None:
    result = usual(metric.id, seed)
    for part, whole in metric.adds_up.items():
        counts = [name for name in numbers(result.tables[whole]) if name in numbers(result.tables[part])]
        assert counts, part
        sums = result.tables[part].group_by("account_id").agg(pl.col(counts).sum())
        total = result.tables[whole].group_by("account_id").agg(pl.col(counts).sum())
        everyone = total.join(sums, on="account_id", how="left", suffix="_of_parts", maintain_order="left")
        assert everyone.select(pl.col(f"{name}_of_parts").fill_null(0).alias(name) for name in counts).equals(
            everyone.select(pl.col(counts).fill_null(0))
        )


def numbers(table: pl.DataFrame) -> list[str]:
    """Columns that count."""
    return [
        name
        for name, kind in table.schema.items()
        if kind == pl.Int64 and (name in ("n", "num", "den") or name.startswith("n_"))
    ]


@every_metric
@pytest.mark.parametrize("told", OTHERWISE)
@few
@given(seed=seeds)
def test_an_answer_is_the_same(metric: Metric, told: str, seed: int) -> None:
    same(answer(metric, frames(seed, told)), usual(metric.id, seed))


@every_metric
@few
@given(seed=seeds)
def test_before_the_data_and_on_empty_tables_there_is_nothing_of_the_same_shape(metric: Metric, seed: int) -> None:
    for before in (frames(seed, as_of=LONG_AGO.as_of), nothing()):
        result = answer(metric, before, LONG_AGO)
        assert schemas(result) == schemas(usual(metric.id, seed))
        assert {name: table.height for name, table in result.tables.items() if not table.is_empty()} == {}
        assert result.drilldown.is_empty()


@every_metric
def test_engines_agree(metric: Metric) -> None:
    told = "whatever the currency"
    same(answer(metric, frames(FIXED[1], told, engine="duckdb")), answer(metric, frames(FIXED[1], told)))
