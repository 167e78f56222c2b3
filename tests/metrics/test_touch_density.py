"""B3: months with and without touches, and which clients were dropped."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from engines import on_every_engine

from metrics.evaluate import evaluate
from metrics.metric import MetricResult, Period
from metrics.touch_density import METRIC, TouchDensityParams

MOSCOW = ZoneInfo("Europe/Moscow")
AS_OF = datetime(2026, 4, 30, 12, tzinfo=MOSCOW).astimezone(UTC)
NOW = Period(AS_OF, date(2026, 4, 1), date(2026, 4, 30))
Row = dict[str, Any]


def touches(client_id: str, first: str, counts: Sequence[int]) -> list[Row]:
    """`counts` touches a month, the first month `first` (YYYY-MM)."""
    start = int(first[:4]) * 12 + int(first[5:]) - 1
    return [
        {
            "touch_id": f"{client_id}/{start + month}/{n}",
            "client_id": client_id,
            "touched_at": datetime((start + month) // 12, (start + month) % 12 + 1, n + 1, 12, tzinfo=MOSCOW),
            "is_meaningful": True,
        }
        for month, count in enumerate(counts)
        for n in range(count)
    ]


def answer(engine: Any, rows: Sequence[Row], owner: str = "user:1", **params: Any) -> MetricResult:
    names = sorted({row["client_id"] for row in rows})
    created = datetime(2020, 1, 1, tzinfo=UTC)
    clients = [{"client_id": name, "responsible_user_id": owner, "created_at": created} for name in names]
    people = [{"user_id": "user:1"}, {"user_id": "user:left", "is_active": False}]
    tables: Mapping[str, Sequence[Row]] = {"client": clients, "touch": rows, "user": people}
    return evaluate(METRIC, engine.frames(tables, as_of=AS_OF), TouchDensityParams(**params), NOW)


def only(result: MetricResult) -> Row:
    return result.tables["clients"].row(0, named=True)


@on_every_engine
def test_b3_the_example_of_the_catalogue(engine):
    result = answer(engine, touches("contact:1", "2025-06", [3, 2, 0, 1, 0, 0, 4, 1, 0, 0]))
    row = only(result)
    assert (row["n_months"], row["n_holes"], row["longest_hole"], row["trailing_hole"]) == (10, 5, 2, 2)
    assert row["mean_per_month"] == pytest.approx(1.1)
    assert row["is_dropped"]
    assert result.tables["months"]["n"].to_list() == [3, 2, 0, 1, 0, 0, 4, 1, 0, 0]
    assert result.tables["months"]["month"].to_list()[0] == date(2025, 6, 1)
    assert result.drilldown.select("client_id", "value", "reason").rows() == [("contact:1", 2.0, "DROPPED")]


def test_the_running_month_is_neither_a_hole_nor_a_touch(polars_engine):
    row = only(answer(polars_engine, touches("contact:1", "2026-01", [1, 1, 1, 5])))
    assert (row["n_months"], row["n_holes"], row["trailing_hole"]) == (3, 0, 0)
    assert answer(polars_engine, touches("contact:1", "2026-04", [2])).tables["clients"].is_empty()


def test_months_before_the_first_touch_are_no_holes_but_those_before_the_first_within_the_window_are(polars_engine):
    late = only(answer(polars_engine, touches("contact:1", "2026-01", [1, 1, 1])))
    assert (late["n_months"], late["n_holes"]) == (3, 0)
    old = only(answer(polars_engine, touches("contact:1", "2024-01", [1, *[0] * 23, 1, 1, 1])))
    assert (old["n_months"], old["n_holes"], old["longest_hole"], old["trailing_hole"]) == (12, 9, 9, 0)


def test_who_was_touched_before_the_window_only_is_silent_all_through_it_but_had_no_rhythm_to_break(polars_engine):
    row = only(answer(polars_engine, touches("contact:1", "2024-01", [1, 1, 1, 1])))
    assert (row["n_months"], row["longest_hole"], row["trailing_hole"], row["mean_per_month"]) == (12, 12, 12, 0)
    assert not row["is_dropped"]


@pytest.mark.parametrize(
    ("counts", "params", "is_dropped"),
    [
        ([1, 1, 1, 0, 0], {}, True),
        ([1, 1, 1, 1, 0], {}, False),
        ([1, 1, 1, 1, 0], {"min_hole": 1}, True),
        ([0, 1, 1, 0, 0], {}, False),
    ],
)
def test_dropped_is_a_rhythm_broken_off_for_long_enough(polars_engine, counts, params, is_dropped):
    row = only(answer(polars_engine, touches("contact:1", "2025-11", counts), **params))
    assert row["is_dropped"] is is_dropped


def test_managers_are_measured_on_their_own_clients_and_those_of_a_leaver_stand_apart(polars_engine):
    rows = [*touches("contact:1", "2025-11", [1, 1, 1, 0, 0]), *touches("contact:2", "2026-01", [1, 2, 3])]
    mine = answer(polars_engine, rows)
    assert mine.tables["by_user"].select("user_id", "num", "den", "mean_per_month").rows() == [
        ("user:1", 1, 2, 9 / 8),
    ]
    assert mine.tables["total"].select("num", "den").rows() == [(1, 2)]
    assert mine.tables["reassign"].is_empty()
    left = answer(polars_engine, rows, owner="user:left")
    assert left.tables["by_user"].is_empty()
    assert left.tables["reassign"].select("num", "den").rows() == [(1, 2)]
