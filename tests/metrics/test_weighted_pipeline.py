"""E17: what open deals are worth by their chances."""

from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from engines import on_every_engine
from funnel_paths import AS_OF, EIGHT, answer, by_stage, path, stages

from metrics.stats.forecast import mean_and_sd, sum_quantiles
from metrics.weighted_pipeline import METRIC

FOUR = [1_000_000, 500_000, 200_000, 2_000_000], [0.2, 0.5, 0.8, 0.1]


def test_e17_the_example_of_the_catalogue() -> None:
    assert mean_and_sd(*FOUR) == pytest.approx((810_000, 767_398.2), abs=0.05)
    assert sum_quantiles(*FOUR, (0.1, 0.5), seed=1) == [200_000, 700_000]


def test_drawn_quantiles_are_near_the_exact_ones() -> None:
    rng = np.random.default_rng(3)
    amounts, p = rng.random(40) * 1e6, np.full(40, 0.5)
    low, middle, high = sum_quantiles(amounts, p, (0.1, 0.5, 0.9), seed=1)
    mean, sd = mean_and_sd(amounts, p)
    assert middle == pytest.approx(mean, abs=0.05 * sd)
    assert (high - low) / sd == pytest.approx(2 * 1.2816, rel=0.05)


def settled(won: int, lost: int) -> list[dict[str, Any]]:
    return [
        path(f"{mark}{n}", f"1{mark}", amount_minor=1000) for mark, k in (("W", won), ("L", lost)) for n in range(k)
    ]


@on_every_engine
def test_e17_six_wins_of_forty(engine: Any) -> None:
    open_deals = [path("known", "1", amount_minor=2000), path("unknown", "1", amount_minor=None)]
    result = answer(METRIC, engine, *settled(6, 34), *open_deals, ladder=stages("1"))
    row = result.tables["stages"].row(0, named=True)
    assert row["p"] == pytest.approx(0.158537, abs=1e-6)
    assert (row["wins"], row["decided"], row["p_basis"]) == (6, 40, "stage")
    assert (row["n"], row["n_imputed"], row["amount_minor"]) == (2, 1, 3000)
    assert row["weighted_minor"] == round(3000 * 6.5 / 41)
    assert result.drilldown.select("entity_id", "reason").rows() == [("known", "OPEN"), ("unknown", "AMOUNT_IMPUTED")]


def test_deals_that_came_too_lately_say_nothing_of_the_odds(polars_engine: Any) -> None:
    late = [path(f"late{n}", "1W", start=AS_OF - timedelta(days=30)) for n in range(30)]
    row = answer(METRIC, polars_engine, *settled(6, 34), *late, ladder=stages("1")).tables["stages"]
    assert row.is_empty() or row["decided"].to_list() == [40]
    with_open = answer(METRIC, polars_engine, *settled(6, 34), *late, path("o", "1"), ladder=stages("1"))
    assert by_stage(with_open, "decided") == {"1": 40}


def test_a_young_pipeline_borrows_the_odds_of_the_same_place_and_says_so(polars_engine: Any) -> None:
    ladder = [*stages("12", "p"), *stages("12", "p1")]
    rows = [*settled(10, 30), path("o", "1", pipelines=("p1",))]
    result = answer(METRIC, polars_engine, *rows, ladder=ladder)
    row = result.tables["stages"].filter(pipeline_id="p1", stage_id="1").row(0, named=True)
    assert (row["wins"], row["decided"], row["p_basis"]) == (10, 40, "all_pipelines")
    assert [notice.code for notice in result.warnings] == ["odds_of_all_pipelines"]


def test_stages_of_the_example_hold_its_open_deals(polars_engine: Any) -> None:
    assert by_stage(answer(METRIC, polars_engine, *EIGHT), "n") == {"1": 1, "2": 1, "3": 1}
