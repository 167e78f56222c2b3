"""Wilson limits against the catalogue's numbers, low counts, and the order of rankings."""

import polars as pl
import pytest

from metrics.rates import low_n, ranked, rate_columns


@pytest.mark.parametrize(
    ("num", "den", "limits"),
    [
        (8, 10, (0.490162, 0.943318)),
        (0, 10, (0.0, 0.277533)),
        (34, 200, (0.124279, 0.228158)),
        (62, 100, (0.522098, 0.709024)),
        (1, 5, (0.036224, 0.624465)),
        (2, 5, (0.117621, 0.769276)),
    ],
)
def test_limits_are_those_of_the_catalogue(num, den, limits):
    row = pl.DataFrame({"num": [num], "den": [den]}).with_columns(rate_columns()).row(0, named=True)
    assert row["rate"] == pytest.approx(num / den)
    assert (row["ci_lo"], row["ci_hi"]) == pytest.approx(limits, abs=1e-6)


def test_limits_of_none_and_all_are_exact():
    rows = pl.DataFrame({"num": [0, 7], "den": [7, 7]}).with_columns(rate_columns())
    assert (rows["ci_lo"][0], rows["ci_hi"][1]) == (0.0, 1.0)


def test_a_rate_of_nothing_is_unknown():
    row = pl.DataFrame({"num": [0], "den": [0]}).with_columns(rate_columns()).row(0, named=True)
    assert [row[name] for name in ("rate", "ci_lo", "ci_hi")] == [None, None, None]


def test_fewer_than_ten_is_low():
    assert pl.DataFrame({"den": [9, 10]}).select(low_n())["low_n"].to_list() == [True, False]


def test_ranking_is_by_rate_then_by_denominator_then_by_id_and_low_counts_come_last():
    rows = pl.DataFrame(
        {
            "user_id": ["low", "b", "a", "large", "small", None],
            "rate": [1.0, 0.5, 0.5, 0.5, 0.2, None],
            "den": [3, 20, 20, 30, 20, 20],
        }
    ).with_columns(low_n())
    assert ranked(rows, "rate", "den", "user_id")["user_id"].to_list() == ["large", "a", "b", "small", None, "low"]
