"""E3: what happened in the funnel within a period."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from engines import on_every_engine
from funnel_paths import AS_OF, EIGHT, answer, by_stage, path, stages

from metrics.metric import Period
from metrics.period_flow import METRIC

APRIL = Period(AS_OF, date(2026, 4, 1), date(2026, 5, 1))
TENTH = datetime(2026, 4, 10, 9, tzinfo=UTC)


def deal(number: int, born: datetime, *, days: float | None = None) -> dict[str, Any]:
    return path(f"d{number}", "1W" if days is not None else "1", start=born, hours=24 * (days or 0))


@on_every_engine
def test_e3_the_example_of_the_catalogue(engine: Any) -> None:
    """40 created in April, 12 won, 9 of them created before; the April cohort itself has 3 of 40."""
    rows = [deal(number, TENTH - timedelta(days=20), days=20) for number in range(9)]
    rows += [deal(9 + number, TENTH, days=1 if number < 3 else None) for number in range(40)]
    result = answer(METRIC, engine, *rows, period=APRIL, ladder=stages("1"))
    row = result.tables["summary"].row(0, named=True)
    assert (row["created"], row["won"], row["won_older"], row["cohort_won"]) == (40, 12, 9, 3)
    assert row["ratio"] == pytest.approx(0.30)
    assert row["semantics"] == "flow"
    assert by_stage(result, "entries", "next_entries") == {"1": (40, 12)}
    assert result.drilldown["reason"].to_list() == ["WON"] * 12


def test_a_flow_may_exceed_one(polars_engine: Any) -> None:
    rows = [deal(number, TENTH - timedelta(days=20), days=20) for number in range(3)]
    result = answer(METRIC, polars_engine, *rows, deal(9, TENTH), period=APRIL, ladder=stages("1"))
    assert by_stage(result, "ratio")["1"] == 3.0


def test_a_stage_passed_through_in_a_moment_was_not_entered(polars_engine: Any) -> None:
    one = path("d", "12", start=TENTH)
    one["visits"][0] |= {"is_pass_through": True}
    assert by_stage(answer(METRIC, polars_engine, one, period=APRIL), "entries") == {"1": 0, "2": 1, "3": 0}


def test_a_deal_entering_a_stage_twice_is_one_entry(polars_engine: Any) -> None:
    one = path("d", "121", start=TENTH)
    assert by_stage(answer(METRIC, polars_engine, one, period=APRIL), "entries")["1"] == 1


def test_a_reopened_deal_is_in_no_periods_wins(polars_engine: Any) -> None:
    result = answer(METRIC, polars_engine, path("d", "1W1", start=TENTH), period=APRIL)
    assert result.tables["summary"].select("created", "won").rows() == [(1, 0)]


def test_months_go_by_the_day_of_the_outcome(polars_engine: Any) -> None:
    rows = [deal(1, TENTH - timedelta(days=20), days=30), deal(2, TENTH, days=40)]
    table = answer(METRIC, polars_engine, *rows, ladder=stages("1")).tables["months"]
    assert table.select("month", "created", "won").rows() == [
        (date(2026, 3, 1), 1, 0),
        (date(2026, 4, 1), 1, 1),
        (date(2026, 5, 1), 0, 1),
    ]


def test_all_of_the_eight(polars_engine: Any) -> None:
    result = answer(METRIC, polars_engine, *EIGHT)
    assert by_stage(result, "entries", "next_entries") == {"1": (7, 6), "2": (6, 4), "3": (4, 2)}
    assert result.tables["summary"].select("created", "won", "lost").rows() == [(8, 2, 3)]
