"""What counts as a sale, and what a client is worth: money of the last year, by which call lists are ordered."""

from typing import Any, Literal

import narwhals.stable.v2 as nw

from metrics.metric import Frames

YEAR_S = 365 * 86_400

SaleBasis = Literal["won_deal", "payment", "invoice_paid", "shipment"]


def valid_sales(frames: Frames, *, basis: SaleBasis) -> nw.LazyFrame[Any]:
    """Rows of `sale` of one basis that count at `as_of`, with `as_of_epoch`: a deal reopened since is no sale."""
    col = nw.col
    return (
        frames["sale"]
        .filter(col("basis") == basis)
        .join(frames["clock"].select("account_id", "as_of_at", "as_of_epoch"), on="account_id")
        .filter(
            col("valid_from").is_null() | (col("valid_from") <= col("as_of_at")),
            col("valid_until").is_null() | (col("valid_until") > col("as_of_at")),
            col("sold_epoch") <= col("as_of_epoch"),
        )
        .drop("as_of_at")
    )


def revenue_12m(frames: Frames, *, basis: SaleBasis = "won_deal") -> nw.LazyFrame[Any]:
    """One row per client with sales in the 365 days up to `as_of`: account_id, client_id, revenue_12m_minor (Int64).

    Sales of unknown amount add nothing.
    """
    col = nw.col
    return (
        valid_sales(frames, basis=basis)
        .filter(~col("client_id").is_null(), col("sold_epoch") > col("as_of_epoch") - YEAR_S)
        .group_by("account_id", "client_id")
        .agg(revenue_12m_minor=col("amount_minor").sum())
        .with_columns(col("revenue_12m_minor").fill_null(0).cast(nw.Int64))
    )
