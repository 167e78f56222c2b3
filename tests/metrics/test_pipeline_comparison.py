"""E13: pipelines side by side."""

from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from engines import on_every_engine
from funnel_paths import AS_OF, START, answer, path, stages

from metrics.metric import MetricResult
from metrics.pipeline_comparison import METRIC
from metrics.stats.bootstrap import resampled_sums

DAY = timedelta(days=1)
LADDER = [*stages("12", "p"), *stages("12", "q")]


def deals(pipeline: str, marks: str, n: int, **more: Any) -> list[dict[str, Any]]:
    name = f"{pipeline}{marks}{sorted(map(str, more.items()))}"
    return [path(f"{name}{k}", marks, pipelines=(pipeline, "x"), **more) for k in range(n)]


def compared(engine: Any, *rows: dict[str, Any], **options: Any) -> MetricResult:
    return answer(METRIC, engine, *rows, ladder=LADDER, **options)


def of_pipeline(result: MetricResult, pipeline: str, *columns: str) -> Any:
    row = result.tables["summary"].filter(pipeline_id=pipeline).select(columns).row(0)
    return row[0] if len(columns) == 1 else row


def pair(result: MetricResult) -> dict[str, Any]:
    return result.tables["pairs"].row(0, named=True)


EXAMPLE = [*deals("p", "1W", 45), *deals("p", "1L", 105), *deals("q", "1W", 30), *deals("q", "1L", 30)]


@on_every_engine
def test_e13_the_example_of_the_catalogue(engine: Any) -> None:
    result = compared(engine, *EXAMPLE)
    columns = ("won", "n", "rate", "ci_lo", "ci_hi")
    assert of_pipeline(result, "p", *columns) == pytest.approx((45, 150, 0.3, 0.232408, 0.377580), abs=5e-7)
    assert of_pipeline(result, "q", *columns) == pytest.approx((30, 60, 0.5, 0.377350, 0.622650), abs=5e-7)
    found = pair(result)
    assert (found["pipeline_id"], found["other_pipeline_id"], found["flag"]) == ("p", "q", True)
    assert found["diff"] == pytest.approx(-0.2), "the first less the other"
    # The catalogue prints 0.340014: two digits changed places. 0.2 + sqrt((0.622650 - 0.5)^2 + (0.3 - 0.232408)^2):
    assert (found["diff_lo"], found["diff_hi"]) == pytest.approx((-0.340041, -0.054874), abs=5e-7)
    assert found["p"] == pytest.approx(0.010347, abs=5e-7)
    assert result.drilldown["group_key"].value_counts().sort("group_key").rows() == [("p", 45), ("q", 30)]


def test_a_deal_counts_as_what_it_was_at_the_horizon(polars_engine: Any) -> None:
    late = deals("p", "1W", 2, hours=24 * 95)
    moved = deals("p", "1|1", 3)
    young = deals("p", "1W", 4, start=AS_OF - 20 * DAY)
    result = compared(polars_engine, *late, *moved, *young, *deals("p", "1W", 1, hours=24 * 90))
    assert of_pipeline(result, "p", "n", "won", "n_open", "n_moved", "n_young") == (6, 1, 2, 3, 4)


def test_where_all_deals_are_young_it_is_said_and_there_is_no_zero_rate(polars_engine: Any) -> None:
    result = compared(polars_engine, *deals("p", "1", 4, start=AS_OF - 20 * DAY))
    assert of_pipeline(result, "p", "n", "n_young", "rate", "per_created_minor", "cycle_median_d") == (
        0,
        4,
        None,
        None,
        None,
    )
    assert "all_young" in [notice.code for notice in result.warnings]


def test_an_end_without_a_date_is_left_out(polars_engine: Any) -> None:
    rows = [*deals("p", "1W", 1, outcome_at=None), *deals("p", "1W", 2)]
    result = compared(polars_engine, *rows)
    assert of_pipeline(result, "p", "n", "won", "n_undated") == (2, 2, 1)


def test_money_per_created_deal_and_its_limits(polars_engine: Any) -> None:
    won = [path(f"w{k}", "1W", amount_minor=1_000 * (k + 1)) for k in range(20)]
    result = compared(polars_engine, *won, *deals("p", "1L", 20))
    check, lo, hi = of_pipeline(result, "p", "check_minor", "check_lo_minor", "check_hi_minor")
    assert check == 10_500
    assert (lo, hi) == pytest.approx((10_500 - 1.96 * 1_289, 10_500 + 1.96 * 1_289), rel=0.03)
    each, lo, hi = of_pipeline(result, "p", "per_created_minor", "per_created_lo_minor", "per_created_hi_minor")
    spread = 1.96 * float(np.std([*range(1_000, 21_000, 1_000), *[0] * 20])) / 40**0.5
    assert each == 5_250
    assert (lo, hi) == pytest.approx((5_250 - spread, 5_250 + spread), rel=0.05)


def test_an_unknown_amount_is_no_zero(polars_engine: Any) -> None:
    rows = [*deals("p", "1W", 2, amount_minor=300), *deals("p", "1W", 1, amount_minor=None), *deals("p", "1L", 1)]
    columns = ("check_minor", "per_created_minor", "n_null_amount")
    assert of_pipeline(compared(polars_engine, *rows), "p", *columns) == (300, 200, 1)
    unknown = compared(polars_engine, *deals("p", "1W", 1, amount_minor=None), *deals("p", "1L", 1))
    assert of_pipeline(unknown, "p", *columns) == (None, None, 1)


def test_many_amounts_are_drawn_as_from_the_normal_distribution() -> None:
    values = np.arange(1, 1_002)
    few, many = (
        resampled_sums(values[:n], 2_000, draws=4_000, rng=np.random.default_rng(1))[0] / 2_000 for n in (1_000, 1_001)
    )
    assert many.mean() == pytest.approx(few.mean(), rel=0.01)
    assert many.std() == pytest.approx(few.std(), rel=0.05)


def test_the_same_seed_gives_the_same_interval_whatever_other_pipelines_there_are(polars_engine: Any) -> None:
    won = [path(f"w{k}", "1W", amount_minor=7_919 * (k + 1) ** 2) for k in range(10)]
    alone, beside, other = (
        of_pipeline(compared(polars_engine, *won, *more, seed=seed), "p", "check_lo_minor")
        for seed, more in ((1, []), (1, deals("q", "1W", 3)), (2, []))
    )
    assert alone == beside != other


def test_the_cycle_is_the_time_to_a_decision(polars_engine: Any) -> None:
    fast, slow = deals("p", "1W", 20, hours=24 * 5), deals("q", "1W", 20, hours=24 * 30)
    result = compared(polars_engine, *fast, *slow, *deals("p", "1", 5), *deals("q", "1", 5))
    assert of_pipeline(result, "p", "cycle_median_d", "won_median_d") == (5.0, 5.0)
    assert of_pipeline(result, "q", "cycle_median_d") == 30.0
    assert pair(result)["cycle_p"] < 0.001
    assert pair(result)["p"] == 1.0, "as many are won"


def test_a_difference_that_turns_round_within_sources_is_not_flagged(polars_engine: Any) -> None:
    """Simpson: in each source p wins more often, yet it gets most of its deals from the poor one."""

    def of(pipeline: str, source: str, won: int, n: int) -> list[dict[str, Any]]:
        return [
            *deals(pipeline, "1W", won, source_id=source),
            *deals(pipeline, "1L", n - won, source_id=source),
        ]

    rows = [*of("p", "good", 19, 20), *of("p", "poor", 30, 100), *of("q", "good", 80, 100), *of("q", "poor", 2, 20)]
    found = pair(compared(polars_engine, *rows))
    assert found["q"] < 0.1
    assert found["diff"] < -0.05
    assert found["mh_or"] > 1
    assert (found["n_strata"], found["flag"]) == (2, False)


@pytest.mark.parametrize(("purpose", "n"), [(None, 1), ("repeat", 1), ("qualification", 0)])
def test_only_pipelines_for_sales_are_compared(polars_engine: Any, purpose: str | None, n: int) -> None:
    said = {"pipeline": [{"account_id": "main", "pipeline_id": "q", "purpose": purpose}]} if purpose else {}
    result = compared(polars_engine, *EXAMPLE, user_set=said)
    assert result.tables["pairs"].height == n
    assert result.tables["summary"].height == 2


def test_few_deals_are_shown_and_not_compared(polars_engine: Any) -> None:
    result = compared(polars_engine, *deals("p", "1W", 20), *deals("q", "1W", 9), *deals("x", "1W", 9, start=START))
    assert result.tables["pairs"].is_empty()
    assert of_pipeline(result, "q", "n", "low_n") == (9, True)
