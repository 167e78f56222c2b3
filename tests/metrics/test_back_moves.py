"""E9: deals sent back and deals reopened."""

from datetime import timedelta
from typing import Any

import pytest
from engines import on_every_engine
from funnel_paths import EIGHT, START, answer, path

from metrics.back_moves import METRIC


@on_every_engine
def test_e9_the_example_of_the_catalogue(engine: Any) -> None:
    result = answer(METRIC, engine, *EIGHT)
    row = result.tables["summary"].row(0, named=True)
    assert (row["back_num"], row["reopened_num"], row["den"]) == (1, 1, 8)
    assert (row["back_rate"], row["reopened_rate"]) == (0.125, 0.125)
    pairs = result.tables["pairs"].select("segment", "from_stage_id", "to_stage_id", "n_moves").rows()
    assert sorted(pairs) == [("back", "3", "2", 1), ("reopened", "L", "1", 1)]
    assert sorted(result.drilldown.select("entity_id", "reason").rows()) == [("d4", "SENT_BACK"), ("d6", "REOPENED")]


def test_a_card_dropped_by_mistake_and_put_back_is_no_back_move(polars_engine: Any) -> None:
    one = path("d", "131")
    one["visits"][1] |= {"is_pass_through": True}
    row = answer(METRIC, polars_engine, one).tables["summary"].row(0, named=True)
    assert (row["back_num"], row["n_back_moves"]) == (0, 0)


def test_days_on_stages_once_more_are_counted_for_deals_sent_back(polars_engine: Any) -> None:
    one = path("d", "12323L")
    one["visits"][3] |= {"visit_no": 2}
    one["visits"][4] |= {"visit_no": 2}
    row = answer(METRIC, polars_engine, one).tables["summary"].row(0, named=True)
    assert (row["again_d"], row["again_median_d"], row["n_back_moves"]) == (2.0, 2.0, 1)


def test_the_author_of_a_move_is_named_where_the_source_says(polars_engine: Any) -> None:
    moved = {"change_id": "1", "deal_id": "d", "changed_at": START + timedelta(days=2), "by_user_id": "user:7"}
    moved |= {"to_pipeline_id": "p", "to_stage_id": "1"}
    table = answer(METRIC, polars_engine, path("d", "121"), more={"deal_stage_transition": [moved]}).tables["by_user"]
    assert table.select("user_id", "n_back_moves").rows() == [("user:7", 1)]


def test_a_move_to_another_pipeline_is_no_back_move(polars_engine: Any) -> None:
    row = answer(METRIC, polars_engine, path("d", "3|1")).tables["summary"].row(0, named=True)
    assert row["back_num"] == 0


@pytest.mark.parametrize("marks", ["1W1", "1L1", "1L1L1"])
def test_a_deal_reopened_is_counted_once(polars_engine: Any, marks: str) -> None:
    row = answer(METRIC, polars_engine, path("d", marks)).tables["summary"].row(0, named=True)
    assert (row["reopened_num"], row["n_reopenings"]) == (1, marks.count("W") + marks.count("L"))
