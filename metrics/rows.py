"""Picking rows the same way on every engine."""

from collections.abc import Sequence
from typing import Any

import narwhals.stable.v2 as nw


def latest(rows: nw.LazyFrame[Any], per: Sequence[str], *, by: str, row_id: str) -> nw.LazyFrame[Any]:
    """The row with the greatest `by` (a number) of each `per`; of equals the one with the smallest `row_id`.

    Numbered by a running sum of ones: the engines share neither `first` nor a rank with an order.
    """
    number = nw.col("one").cum_sum().over(*per, order_by=["recency", row_id]).cast(nw.Int64)
    return (
        rows.with_columns(recency=-nw.col(by), one=nw.lit(1))
        .with_columns(recent_no=number)
        .filter(nw.col("recent_no") == 1)
        .drop("recency", "one", "recent_no")
    )
