"""Whose clients they are: the base that B1–B4 look at, at `as_of`, and which of it waits for a new owner."""

from typing import Any, Literal

import narwhals.stable.v2 as nw
import polars as pl

from metrics.loss_categories import DISQUALIFIED, loss_categories
from metrics.metric import Frames
from metrics.people import with_user_flags

Lazy = nw.LazyFrame[Any]
Base = Literal["existing", "buyers", "open", "all"]
"""existing: at least one won or open deal; buyers: a won one; open: an open one; all: every client."""

NEEDS_OWNER = ~pl.col("user_active").fill_null(True) | pl.col("user_is_robot").fill_null(False)
"""The responsible has left, or is a robot: the client has to be handed to a person."""

BASE_INPUTS = ("client", "deal_state", "loss_reason", "user")
"""Tables that `client_base` reads."""


def client_base(frames: Frames, *, base: Base = "existing") -> Lazy:
    """Clients of `base` at `as_of`: account_id, client_id, kind, as_of_on, created_on, user_id (responsible now) and
    `user_active`, `user_is_robot` of him.

    Left out: deleted, spam, on the stop list, and those whose every deal was closed as no client at all (spam, wrong
    number, duplicate).
    """
    col = nw.col
    clients = (
        frames["client"]
        .join(frames["clock"].select("account_id", "as_of_epoch", "as_of_on"), on="account_id")
        .filter(
            ~col("is_deleted").fill_null(False),
            ~col("is_spam").fill_null(False),
            ~col("is_stop_listed").fill_null(False),
            (col("created_epoch") <= col("as_of_epoch")).fill_null(True),
        )
        .join(_deals_of_clients(frames), on=["account_id", "client_id"], how="left")
    )
    counts = {name: col(name).fill_null(0) > 0 for name in ("n_won", "n_open")}
    within = {
        "existing": counts["n_won"] | counts["n_open"],
        "buyers": counts["n_won"],
        "open": counts["n_open"],
        "all": nw.lit(True),
    }[base]
    is_no_client = ((col("n_deals") > 0) & (col("n_disqualified") == col("n_deals"))).fill_null(False)
    based = clients.filter(within, ~is_no_client).select(
        "account_id",
        "client_id",
        "kind",
        "as_of_on",
        user_id=col("responsible_user_id"),
        created_on=col("created_local").dt.date(),
    )
    return with_user_flags(based, frames)


def _deals_of_clients(frames: Frames) -> Lazy:
    """One row per client with deals: account_id, client_id, n_deals, n_won, n_open, n_disqualified.

    Won and open count deals only, won those of sales (R-ENTITY); a closed lead can disqualify a client as well, one
    that became a deal is judged as that.
    """
    col = nw.col
    is_later = (col("outcome_epoch") > col("as_of_epoch")).fill_null(False)  # closed after as_of: open then
    is_deal = (col("entity_kind") == "deal").fill_null(True)
    is_closed = col("outcome").is_in(["won", "lost"])
    is_open = is_deal & ((col("outcome") == "open") | (is_closed & is_later))
    is_converted = (~is_deal & (col("outcome") == "won")).fill_null(False)
    is_won = is_deal & (col("outcome") == "won") & ~is_later & col("is_sales").fill_null(True)
    is_lost = (col("outcome") == "lost") & ~is_later
    is_disqualified = is_lost & col("category").is_in(list(DISQUALIFIED)).fill_null(False)
    return (
        frames["deal_state"]
        .join(frames["clock"].select("account_id", "as_of_epoch"), on="account_id")
        .filter(
            ~col("client_id").is_null(), ~is_converted, (col("created_epoch") <= col("as_of_epoch")).fill_null(True)
        )
        .join(loss_categories(frames), on=["account_id", "loss_reason_id"], how="left")
        .with_columns(
            n_deals=_one(nw.lit(True)), n_won=_one(is_won), n_open=_one(is_open), n_disqualified=_one(is_disqualified)
        )
        .group_by("account_id", "client_id")
        .agg(*(col(name).sum() for name in ("n_deals", "n_won", "n_open", "n_disqualified")))
        .with_columns(col("n_deals", "n_won", "n_open", "n_disqualified").cast(nw.Int64))
    )


def _one(condition: nw.Expr) -> nw.Expr:
    return nw.when(condition).then(nw.lit(1)).otherwise(nw.lit(0)).cast(nw.Int64)
