"""E4: the chance to be won by a day, with open deals taken into account."""

from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from engines import on_every_engine
from funnel_paths import AS_OF, START, answer, path, stages

from metrics.conversion_in_time import METRIC
from metrics.incidence import incidence
from metrics.metric import Period
from metrics.stats.survival import aalen_johansen

DAY = timedelta(days=1)
SO_FAR = Period(AS_OF, date(2026, 3, 1), date(2026, 6, 10))


def lasting(name: str, days: int, mark: str) -> dict[str, Any]:
    """A deal that took `days` to its outcome, or is so old and still open."""
    if mark == "1":
        return path(name, "1", start=AS_OF - days * DAY)
    return path(name, f"1{mark}", start=START, hours=24 * days)


EXAMPLE = [
    lasting(f"d{n}", days, {"w": "W", "l": "L", "o": "1"}[mark])
    for n, (days, mark) in enumerate(
        [(1, "w"), (2, "l"), (2, "w"), (3, "w"), (4, "o"), (5, "l"), (6, "o"), (8, "w"), (10, "o"), (12, "o")]
    )
]


@on_every_engine
def test_e4_the_example_of_the_catalogue(engine: Any) -> None:
    table = answer(METRIC, engine, *EXAMPLE, period=SO_FAR, ladder=stages("1"), horizons_d=(12,)).tables["horizons"]
    row = table.row(0, named=True)
    assert (row["cif_won"], row["cif_lost"], row["still_open"]) == pytest.approx((0.46, 0.22, 0.32))
    assert (row["n"], row["limit"], row["mature_share"]) == (10, None, 0.6)


def test_all_groups_at_once_say_what_each_says_alone() -> None:
    rng = np.random.default_rng(5)
    n = 400
    rows = pl.DataFrame(
        {
            "group": rng.integers(0, 5, n),
            "t": rng.integers(0, 40, n),
            "what": rng.choice(["won", "lost", "open"], n),
        }
    )
    table = incidence(rows, ["group"], duration="t", outcome="what", causes=("won", "lost"), horizons=(5, 20, 100))
    for group, horizon, won, lost, still in table.select(
        "group", "horizon", "cif_won", "cif_lost", "still_open"
    ).iter_rows():
        part = rows.filter(group=group)
        causes = [None if what == "open" else what for what in part["what"]]
        alone = aalen_johansen(part["t"].to_numpy(), causes)
        assert (won, lost, still) == pytest.approx(
            (alone.at(horizon, "won"), alone.at(horizon, "lost"), alone.open_at(horizon))
        )


def test_before_the_first_outcome_all_are_open(polars_engine: Any) -> None:
    table = answer(METRIC, polars_engine, lasting("d", 40, "W"), ladder=stages("1"), horizons_d=(30, 60)).tables[
        "horizons"
    ]
    assert table.select("horizon_d", "cif_won", "still_open").rows() == [(30, 0.0, 1.0), (60, 1.0, 0.0)]


def test_a_final_rate_is_given_where_nearly_all_is_decided(polars_engine: Any) -> None:
    rows = [lasting(f"w{n}", 3, "W") for n in range(6)] + [lasting(f"l{n}", 3, "L") for n in range(4)]
    table = answer(METRIC, polars_engine, *rows, ladder=stages("1"), horizons_d=(30,)).tables["horizons"]
    assert table["limit"].to_list() == [0.6]


def test_a_move_to_another_pipeline_competes_with_wins(polars_engine: Any) -> None:
    ladder = [*stages("12", "p"), *stages("12", "p1")]
    table = answer(METRIC, polars_engine, path("d", "1|1"), ladder=ladder, horizons_d=(30,)).tables["horizons"]
    assert table.filter(pipeline_id="p").select("cif_moved", "still_open").rows() == [(1.0, 0.0)]


def test_segments_hold_the_same_deals(polars_engine: Any) -> None:
    result = answer(METRIC, polars_engine, *EXAMPLE, period=SO_FAR, ladder=stages("1"), horizons_d=(12,))
    assert all(result.tables[name]["n"].sum() == 10 for name in ("months", "by_source", "by_user", "summary"))
    assert result.drilldown.height == 6
