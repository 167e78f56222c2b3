"""E19: money a day."""

from typing import Any

from engines import on_every_engine
from funnel_paths import answer, path, stages

from metrics.pipeline_velocity import METRIC, velocity


def deals(marks: str, n: int, amount_minor: int | None = 50_000, days: float = 30) -> list[dict[str, Any]]:
    return [path(f"{marks}{k}", marks, hours=24 * days, amount_minor=amount_minor) for k in range(n)]


def test_e19_the_formula() -> None:
    assert velocity(60, 0.25, 50_000, 30) == 25_000


@on_every_engine
def test_e19_the_example_of_the_catalogue(engine: Any) -> None:
    """60 open qualified, a quarter won, 50 000 each, 30 days."""
    rows = [*deals("1W", 10), *deals("1L", 30), *deals("2", 60)]
    result = answer(METRIC, engine, *rows, ladder=stages("12"))
    row = result.tables["summary"].row(0, named=True)
    assert (row["n_open_qualified"], row["win_rate"], row["won_mean_minor"], row["cycle_d"]) == (60, 0.25, 50_000, 30.0)
    assert row["velocity_minor"] == 25_000
    assert row["ci_lo_minor"] < 25_000 < row["ci_hi_minor"]
    assert result.drilldown.height == 60


def test_the_same_seed_gives_the_same_interval(polars_engine: Any) -> None:
    won = [path(f"w{k}", "1W", hours=24 * (k + 3), amount_minor=7_919 * (k + 1) ** 2) for k in range(10)]
    rows = [*won, *deals("1L", 30), *deals("2", 6)]
    one, two, other = (
        answer(METRIC, polars_engine, *rows, ladder=stages("12"), seed=seed).tables["summary"] for seed in (1, 1, 2)
    )
    assert one.equals(two)
    assert not one.equals(other)


def test_without_a_won_amount_there_is_no_velocity_and_no_zero(polars_engine: Any) -> None:
    rows = [*deals("1W", 5, amount_minor=None), *deals("2", 6)]
    row = answer(METRIC, polars_engine, *rows, ladder=stages("12")).tables["summary"].row(0, named=True)
    assert (row["n_won"], row["velocity_minor"], row["ci_lo_minor"]) == (5, None, None)


def test_the_first_stage_is_not_qualified(polars_engine: Any) -> None:
    row = answer(METRIC, polars_engine, *deals("1", 4), *deals("2", 3)).tables["summary"].row(0, named=True)
    assert row["n_open_qualified"] == 3
    assert row["velocity_minor"] is None
