"""What all metrics of lost deals (C) mean by a loss, a decided deal, and the stage it was lost from.

A loss is a deal whose last outcome is lost (R-OUTCOME), on the day it was lost; decided = won or lost. Both of
pipelines that sell (R-ENTITY); a deal reopened since is neither. The manager is who was responsible at the outcome.
"""

from datetime import date
from typing import Any

import narwhals.stable.v2 as nw
import polars as pl

from metrics.funnel import start_of
from metrics.loss_categories import loss_categories
from metrics.metric import Frames, Params
from metrics.people import with_user_flags
from metrics.rows import latest

Lazy = nw.LazyFrame[Any]

DEAL = ["account_id", "deal_id"]
STAGE = ["account_id", "pipeline_id", "stage_id"]

NO_REASON = "none"
"""The group of losses without a reason; people read `(не указана)`."""
UNSTATED = ("other", NO_REASON)
"""Categories that say nothing of why."""


class LossParams(Params):
    """Which deals are looked at."""

    pipeline_id: str | None = None
    """One pipeline; None: all that sell."""
    population: tuple[str, ...] | None = None
    """Users whose deals are counted; None: everybody's."""


DECIDED_INPUTS = ("deal_state", "loss_reason", "user")
"""Tables that `decided` reads."""


def decided(frames: Frames, since: date, until: date, *, pipeline_id: str | None = None) -> Lazy:
    """One row per deal won or lost on the local days [since, until), as `as_of` knows it.

    Returns:
        account_id, deal_id, client_id, pipeline_id, source_id, amount_minor, created_*, outcome (won, lost),
        outcome_*; user_id (at the outcome, else now), user_active, user_is_robot; of losses loss_reason_id, reason
        (its name, null if none) and category (`none` without a reason).
    """
    col = nw.col
    is_lost = col("outcome") == "lost"
    names = frames["loss_reason"].select("account_id", "loss_reason_id", reason="name")
    closed = (
        frames["deal_state"]
        .filter(
            (col("entity_kind") == "deal").fill_null(True),
            col("outcome").is_in(["won", "lost"]),
            col("is_sales").fill_null(True),
            *([] if pipeline_id is None else [col("pipeline_id") == pipeline_id]),
            col("outcome_local") >= start_of(since),
            col("outcome_local") < start_of(until),
        )
        .join(frames["clock"].select("account_id", "as_of_epoch"), on="account_id")
        .filter(col("outcome_epoch") <= col("as_of_epoch"))
        .with_columns(
            user_id=nw.coalesce("outcome_user_id", "responsible_user_id"),
            loss_reason_id=nw.when(is_lost).then(col("loss_reason_id")),
        )
        .join(names, on=["account_id", "loss_reason_id"], how="left")
        .join(loss_categories(frames), on=["account_id", "loss_reason_id"], how="left")
    )
    category = nw.when(is_lost).then(
        nw.when(col("loss_reason_id").is_null()).then(nw.lit(NO_REASON)).otherwise(col("category").fill_null("other"))
    )
    return with_user_flags(closed.with_columns(category=category).select(*DECIDED), frames)


DECIDED = (
    *DEAL,
    "client_id",
    "pipeline_id",
    "source_id",
    "user_id",
    "amount_minor",
    "created_at",
    "created_local",
    "created_epoch",
    "outcome",
    "outcome_at",
    "outcome_local",
    "outcome_epoch",
    "loss_reason_id",
    "reason",
    "category",
)


def last_open_stays(frames: Frames) -> Lazy:
    """The last stay of each deal on an open stage that people did not mark as technical, and how far it ever got.

    Returns:
        account_id, deal_id, pipeline_id, stage_id (the last open stage), dwell_s (null: entry not recorded),
        top_sort (the highest `sort` of its open stages in that pipeline).
    """
    col = nw.col
    technical = frames["stage"].filter(col("is_technical").fill_null(False)).select(*STAGE)
    stays = (
        frames["stage_interval"]
        .filter(col("stage_kind") == "open")
        .join(frames["clock"].select("account_id", "as_of_epoch"), on="account_id")
        .filter((col("entered_epoch") <= col("as_of_epoch")).fill_null(True))
        .join(technical, on=STAGE, how="anti")
    )
    tops = stays.group_by("account_id", "deal_id", "pipeline_id").agg(top_sort=col("stage_sort").max())
    return (
        latest(stays, DEAL, by="n", row_id="stage_id")
        .select(*DEAL, "pipeline_id", "stage_id", dwell_s=col("left_epoch") - col("entered_epoch"))
        .join(tops, on=[*DEAL, "pipeline_id"], how="left")
    )


def reason_key() -> pl.Expr:
    """`group_key` of a loss reason."""
    return pl.col("loss_reason_id").fill_null(NO_REASON).alias("group_key")
