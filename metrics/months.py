"""Whole local months as numbers, so that every engine counts them alike."""

from datetime import date

import narwhals.stable.v2 as nw
import polars as pl


def month_no(day: nw.Expr) -> nw.Expr:
    """Months since year 0 of a local day or wall time."""
    return day.dt.year().cast(nw.Int64) * 12 + day.dt.month().cast(nw.Int64) - 1


def number_of(day: date) -> int:
    """`month_no` of one day."""
    return day.year * 12 + day.month - 1


def first_day(number: pl.Expr) -> pl.Expr:
    """The first day of a `month_no`."""
    return pl.date(number // 12, number % 12 + 1, 1)
