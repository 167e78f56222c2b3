"""E12: getting to the key stage, and what it goes with."""

from datetime import timedelta
from typing import Any

import pytest
from engines import on_every_engine
from funnel_paths import AS_OF, START, answer, path

from metrics.key_stage import METRIC

MARKED = {"stage": [{"account_id": "main", "pipeline_id": "p", "stage_id": "2", "is_kev": True}]}


def deals(marks: str, n: int, **rest: Any) -> list[dict[str, Any]]:
    return [path(f"{marks}{number}", marks, **rest) for number in range(n)]


@on_every_engine
def test_e12_the_example_of_the_catalogue(engine: Any) -> None:
    """36 of 60 with, 14 of 90 without."""
    rows = [*deals("12W", 36), *deals("12L", 24), *deals("1W", 14), *deals("1L", 76)]
    row = answer(METRIC, engine, *rows, user_set=MARKED).tables["summary"].row(0, named=True)
    assert (row["kev_num"], row["kev_den"], row["nokev_num"], row["nokev_den"]) == (36, 60, 14, 90)
    assert (row["diff"], row["diff_lo"], row["diff_hi"]) == pytest.approx((0.444444, 0.290035, 0.573807), abs=1e-6)
    assert row["p"] == pytest.approx(2.094e-08, rel=1e-3)
    assert (row["to_kev_num"], row["to_kev_den"], row["to_kev_median_d"]) == (60, 74, 1.0)


def test_a_key_stage_leapt_over_was_not_reached(polars_engine: Any) -> None:
    result = answer(METRIC, polars_engine, path("d", "13W"), user_set=MARKED)
    assert result.tables["summary"]["to_kev_num"].to_list() == [0]
    assert result.drilldown.is_empty()


def test_without_a_mark_meetings_count_and_it_is_said(polars_engine: Any) -> None:
    met = {"touch_id": "t", "client_id": "cd", "deal_id": "d", "kind": "meeting", "is_meaningful": True}
    met |= {"touched_at": START + timedelta(days=3)}
    result = answer(METRIC, polars_engine, path("d", "1W"), path("e", "1W"), more={"touch": [met]})
    row = result.tables["summary"].row(0, named=True)
    assert (row["to_kev_num"], row["to_kev_median_d"]) == (1, 3.0)
    assert [notice.code for notice in result.warnings] == ["no_key_stage"]
    marked = answer(METRIC, polars_engine, path("d", "1W"), more={"touch": [met]}, user_set=MARKED)
    assert marked.tables["summary"]["to_kev_num"].to_list() == [0], "where a stage is marked it decides"


def test_young_deals_are_not_in_the_comparison(polars_engine: Any) -> None:
    rows = [path("old", "12W"), path("young", "12", start=AS_OF - timedelta(days=20))]
    row = answer(METRIC, polars_engine, *rows, user_set=MARKED).tables["summary"].row(0, named=True)
    assert (row["to_kev_num"], row["kev_den"]) == (2, 1)
