"""E2: how far the deals of a cohort got."""

from collections import Counter
from datetime import date, timedelta
from typing import Any

import pytest
from engines import on_every_engine
from funnel_paths import AS_OF, EIGHT, START, answer, by_stage, path

from metrics.cohort_funnel import METRIC
from metrics.metric import Period


@on_every_engine
def test_e2_the_example_of_the_catalogue(engine: Any) -> None:
    result = answer(METRIC, engine, *EIGHT)
    assert by_stage(result, "reached", "entered") == {"1": (8, 7), "2": (7, 6), "3": (4, 4)}
    assert by_stage(result, "num", "den") == {"1": (7, 8), "2": (4, 7), "3": (2, 4)}
    assert by_stage(result, "conv_rate") == {"1": 7 / 8, "2": 4 / 7, "3": 2 / 4}
    row = result.tables["summary"].row(0, named=True)
    assert (row["won"], row["lost"], row["n_open"], row["n"]) == (2, 3, 3, 8)
    assert (row["rate"], row["decided_rate"]) == (0.25, 0.4)
    assert (row["ci_lo"], row["ci_hi"]) == pytest.approx((0.071479, 0.590725), abs=1e-6)
    assert row["semantics"] == "cohort"


def test_the_drilldown_is_who_stopped_where(polars_engine: Any) -> None:
    result = answer(METRIC, polars_engine, *EIGHT)
    found = {(row["entity_id"], row["group_key"], row["reason"]) for row in result.drilldown.iter_rows(named=True)}
    assert found == {
        ("d8", "p|1", "OPEN_HERE"),
        ("d5", "p|2", "OPEN_HERE"),
        ("d6", "p|3", "OPEN_HERE"),
        ("d3", "p|2", "LOST_HERE"),
        ("d7", "p|2", "LOST_HERE"),
        ("d4", "p|3", "LOST_HERE"),
    }


def test_steps_between_stages_really_stood_on_may_grow_and_then_have_no_interval(polars_engine: Any) -> None:
    rows = [*EIGHT, path("late", "3W"), path("later", "3W"), path("last", "3")]
    result = answer(METRIC, polars_engine, *rows, mode="entered")
    assert by_stage(result, "num", "den")["2"] == (7, 6)
    assert by_stage(result, "conv_rate", "conv_ci_lo", "conv_ci_hi")["2"] == (7 / 6, None, None)


def test_money_of_unknown_amounts_is_counted_apart(polars_engine: Any) -> None:
    rows = [path("a", "12W", amount_minor=300), path("b", "12L", amount_minor=None), path("c", "1L", amount_minor=100)]
    result = answer(METRIC, polars_engine, *rows)
    assert by_stage(result, "amount_minor", "n_null_amount", "conv_amount")["1"] == (400, 1, 0.75)
    row = result.tables["summary"].row(0, named=True)
    assert (row["amount_minor"], row["won_minor"], row["rate_amount"]) == (400, 300, 0.75)


def test_a_horizon_leaves_younger_deals_out(polars_engine: Any) -> None:
    old, young = path("old", "1W"), path("young", "1", start=AS_OF - timedelta(days=20))
    result = answer(METRIC, polars_engine, old, young, horizon_d=30)
    assert result.tables["summary"].row(0, named=True)["n"] == 1
    both = answer(METRIC, polars_engine, old, young).tables["summary"].row(0, named=True)
    assert (both["n"], both["mature_share"]) == (2, 0.5)


def test_months_are_cut_in_the_accounts_zone_and_the_running_one_is_not_complete(polars_engine: Any) -> None:
    """22:00 in London on the last of March is April in Moscow."""
    rows = [path("a", "1W", start=START), path("b", "1", start=START.replace(month=3, day=31, hour=22))]
    period = Period(START.replace(month=4, day=20), date(2026, 3, 1), date(2026, 5, 1))
    table = answer(METRIC, polars_engine, *rows, period=period).tables["months"]
    assert table.select("month", "n", "won", "complete").rows() == [
        (date(2026, 3, 1), 1, 1, True),
        (date(2026, 4, 1), 1, 0, False),
    ]


def test_managers_are_compared_with_the_rest_and_leavers_are_not(polars_engine: Any) -> None:
    def sold(user: str, won: int, lost: int) -> list[dict[str, Any]]:
        marks = ["1W"] * won + ["1L"] * lost
        return [path(f"{user}{n}", mark, outcome_user_id=user) for n, mark in enumerate(marks)]

    rows = [*sold("user:1", 30, 10), *sold("user:2", 10, 30), *sold("user:3", 20, 20), *sold("user:4", 1, 2)]
    users = [{"user_id": f"user:{n}", "is_active": n != 3} for n in range(1, 5)]
    table = answer(METRIC, polars_engine, *rows, more={"user": users}).tables["by_user"]
    flags = dict(table.select("user_id", "flag").iter_rows())
    assert flags == {"user:1": True, "user:2": True, "user:3": None, "user:4": None}
    assert table.row(0, named=True)["diff"] == pytest.approx(30 / 40 - 11 / 43)
    assert table["user_id"].to_list()[-1] == "user:4", "too few cases to rank"


def test_a_deal_moved_to_another_pipeline_is_moved_here(polars_engine: Any) -> None:
    ladder = [stage | {"pipeline_id": name} for name in ("p", "p1") for stage in LADDER]
    result = answer(METRIC, polars_engine, path("d", "12|1"), ladder=ladder, anchor="entered_pipeline")
    rows = result.tables["summary"].select("pipeline_id", "n", "n_open", "n_moved").rows()
    assert rows == [("p", 1, 0, 1), ("p1", 1, 1, 0)]
    assert Counter(result.drilldown["group_key"].to_list()) == {"p1|1": 1}


LADDER = [
    {"stage_id": "1", "name": "1", "sort": 10, "kind": "open"},
    {"stage_id": "2", "name": "2", "sort": 20, "kind": "open"},
]


def test_nothing_created_in_the_period_is_an_empty_answer(polars_engine: Any) -> None:
    early = Period(AS_OF, date(2025, 1, 1), date(2025, 2, 1))
    result = answer(METRIC, polars_engine, *EIGHT, period=early)
    assert all(table.is_empty() for table in result.tables.values())
    assert result.drilldown.is_empty()
