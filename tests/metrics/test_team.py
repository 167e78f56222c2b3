"""A member beside the rest of the team (R-TEST), on the catalogue's numbers."""

import polars as pl
import pytest

from metrics.team import COMPARED, compared

REASONS = pl.DataFrame({"team": ["a"] * 4, "k": [18, 10, 9, 8], "n": [60, 70, 65, 75]})


def beside(table, tested=None, **how):
    return compared(table, "k", "n", within=["team"], tested=pl.lit(True) if tested is None else tested, **how)


def test_each_is_compared_with_the_others_and_all_comparisons_are_one_family():
    """C3 of the catalogue."""
    table = beside(REASONS)
    assert table["p"].to_list() == pytest.approx([0.0029613, 0.5821628, 0.5695142, 0.1435465], abs=1e-6)
    assert table["q"].to_list() == pytest.approx([0.0118454, 0.5821628, 0.5821628, 0.2870930], abs=1e-6)
    assert table.row(0, named=True)["diff"] == pytest.approx(0.171429, abs=1e-6)
    assert table.select("diff_lo", "diff_hi").row(0) == pytest.approx((0.057799, 0.302361), abs=1e-6)
    assert table["flag"].to_list() == [True, False, False, False]


def test_a_sure_but_small_difference_is_not_flagged():
    many = pl.DataFrame({"team": ["a"] * 2, "k": [5200, 5000], "n": [10_000, 10_000]})
    table = beside(many)
    assert table["q"].max() < 0.01
    assert not table["flag"].any()
    assert beside(many, min_effect=0.01)["flag"].all()


def test_who_has_too_few_cases_is_not_tested_but_one_of_the_others():
    table = beside(REASONS, pl.col("n") < 75)
    assert table["q"].is_null().to_list() == [False, False, False, True]
    assert table["rest_rate"].to_list()[0] == 27 / 210
    alone = beside(REASONS.head(1))
    assert alone.select(list(COMPARED)).null_count().row(0) == (1,) * len(COMPARED)


def test_who_has_left_is_in_nobodys_rest():
    two = beside(REASONS, in_team=pl.col("n").is_in([60, 70]))
    assert two["rest_rate"].to_list() == [10 / 70, 18 / 60, None, None]


def test_teams_are_compared_apart_but_judged_together():
    other = pl.DataFrame({"team": ["b"] * 2, "k": [1, 1], "n": [10, 10]})
    table = beside(pl.concat([other, REASONS]))
    assert table["diff"].to_list()[:2] == [0, 0]
    assert table["q"].to_list()[2] == pytest.approx(0.0029613 * 6, abs=1e-6)


def test_nobody_is_compared_in_an_empty_table():
    assert beside(REASONS.clear()).schema == {**REASONS.schema, **COMPARED}
