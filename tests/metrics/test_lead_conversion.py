"""E15: leads that become deals."""

from datetime import timedelta
from typing import Any

import pytest
from engines import on_every_engine
from funnel_paths import START, answer, path, stages

from metrics.lead_conversion import METRIC


def leads(n: int, outcome: str, **rest: Any) -> list[dict[str, Any]]:
    mark = {"won": "1W", "lost": "1L", "open": "1"}[outcome]
    return [path(f"{outcome}{number}", mark, entity_kind="lead", **rest) for number in range(n)]


def total(engine: Any, *paths: dict[str, Any], **options: Any) -> dict[str, Any]:
    row: dict[str, Any] = answer(METRIC, engine, *paths, **options).tables["total"].row(0, named=True)
    return row


@on_every_engine
def test_e15_the_example_of_the_catalogue(engine: Any) -> None:
    """120 leads: 66 converted, 40 junk, 14 open."""
    row = total(engine, *leads(66, "won"), *leads(40, "lost"), *leads(14, "open"))
    assert (row["num"], row["n"], row["rate"]) == (66, 120, 0.55)
    assert (row["n_decided"], row["decided_rate"]) == (106, pytest.approx(0.622642, abs=1e-6))


def test_an_unsorted_request_is_converted_when_it_is_taken_up(polars_engine: Any) -> None:
    row = total(polars_engine, path("a", "U1"), path("b", "UL"), path("c", "U"), path("d", "12"))
    assert (row["n"], row["num"], row["n_disqualified"], row["n_open"]) == (3, 1, 1, 1), "d was never a lead"


def test_a_deal_leaves_the_qualification_pipeline_for_a_sales_stage(polars_engine: Any) -> None:
    ladder = [*stages("12", "p"), *stages("12", "p1")]
    kinds = {"pipeline": [{"account_id": "main", "pipeline_id": "p", "purpose": "qualification"}]}
    rows = [path("a", "12|1"), path("b", "12"), path("c", "1L"), path("d", "1", pipelines=("p1",))]
    row = total(polars_engine, *rows, ladder=ladder, user_set=kinds)
    assert (row["n"], row["num"], row["n_disqualified"], row["n_open"]) == (3, 1, 1, 1)


def test_a_second_lead_of_the_client_within_a_week_is_the_same_lead(polars_engine: Any) -> None:
    day = timedelta(days=1)
    rows = [path(f"a{n}", "U1", client_id="c", start=START + days * day) for n, days in enumerate((0, 5, 30))]
    row = total(polars_engine, *rows)
    assert (row["n"], row["n_again"]) == (2, 1)


def test_a_horizon_counts_leads_old_enough_and_conversions_within_it(polars_engine: Any) -> None:
    slow, fast = path("s", "U1", hours=24 * 40), path("f", "U1")
    row = total(polars_engine, slow, fast)
    assert (row["num"], row["num_horizon"], row["n_horizon"]) == (2, 1, 2)


def test_why_leads_are_thrown_out(polars_engine: Any) -> None:
    reasons = [{"loss_reason_id": "r", "name": "Спам"}]
    rows = [path("a", "UL", loss_reason_id="r"), path("b", "UL")]
    table = answer(METRIC, polars_engine, *rows, more={"loss_reason": reasons}).tables["reasons"]
    assert sorted(table.select("segment", "n").rows(), key=str) == [("spam_invalid", 1), (None, 1)] or len(table) == 2
