"""B1: the last time anybody was in touch with a client.

A touch is a talk of at least ten seconds, a message a person wrote (in either direction), or a completed meeting: the
meaningful rows of the mart `touch`. Mailings and bots are none; unanswered calls to the client are attempts.

Source: the metric catalogue, B1.
"""

from typing import Any, Literal

import narwhals.stable.v2 as nw

from metrics.metric import Frames
from metrics.rows import latest

Lazy = nw.LazyFrame[Any]
TouchDirection = Literal["any", "out"]


def last_touch(frames: Frames, *, direction: TouchDirection = "any") -> Lazy:
    """One row per client that has touches or attempts by `as_of`.

    Args:
        direction: any = the client's own call or message counts too; out = only what came from us (meetings included).

    Returns:
        account_id, client_id, `last_touch_*`, last_touch_kind, last_touch_direction, last_touch_user_id,
        last_outbound_at (last outbound touch), last_attempt_at (last unanswered call to the client). Null: never.
    """
    col = nw.col
    seen = (
        frames["touch"]
        .join(frames["clock"].select("account_id", "as_of_epoch"), on="account_id")
        .filter(~col("client_id").is_null(), col("touched_epoch") <= col("as_of_epoch"))
    )
    is_touch = col("is_meaningful").fill_null(False)
    outbound = is_touch & (col("direction") == "out").fill_null(False)
    summary = (
        seen.with_columns(
            outbound_at=nw.when(outbound).then(col("touched_at")),
            attempt_at=nw.when(col("is_attempt").fill_null(False)).then(col("touched_at")),
        )
        .group_by("account_id", "client_id")
        .agg(last_outbound_at=col("outbound_at").max(), last_attempt_at=col("attempt_at").max())
    )
    counts = is_touch if direction == "any" else is_touch & (col("direction") != "in").fill_null(True)
    return summary.join(_latest(seen.filter(counts)), on=["account_id", "client_id"], how="left")


def _latest(touches: Lazy) -> Lazy:
    """The last touch of each client; of two in one second the one with the smaller id."""
    col = nw.col
    return latest(touches, ["account_id", "client_id"], by="touched_epoch", row_id="touch_id").select(
        "account_id",
        "client_id",
        last_touch_at=col("touched_at"),
        last_touch_local=col("touched_local"),
        last_touch_epoch=col("touched_epoch"),
        last_touch_kind=col("kind"),
        last_touch_direction=col("direction"),
        last_touch_user_id=col("user_id"),
    )
