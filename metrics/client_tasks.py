"""What is planned with a client: his tasks at `as_of`, whichever of his cards they hang on."""

from typing import Any

import narwhals.stable.v2 as nw

from metrics.metric import Frames
from metrics.rows import latest

Lazy = nw.LazyFrame[Any]


def client_tasks(frames: Frames) -> Lazy:
    """One row per client with tasks: account_id, client_id, n_open_tasks, next_task_on, `last_task_*`.

    next_task_on: the nearest due day, today or later, of an open task; null where nothing is planned.
    last_task_kind, last_task_due_at, last_task_is_done: of the task created last.
    """
    col = nw.col
    tasks = _tasks(frames)
    planned = (
        tasks.with_columns(
            is_open=nw.when(~col("is_done")).then(nw.lit(1)).otherwise(nw.lit(0)).cast(nw.Int64),
            next_on=nw.when(~col("is_done") & (col("due_on") >= col("as_of_on"))).then(col("due_on")),
        )
        .group_by("account_id", "client_id")
        .agg(n_open_tasks=col("is_open").sum(), next_task_on=col("next_on").min())
        .with_columns(col("n_open_tasks").cast(nw.Int64))
    )
    return planned.join(_latest(tasks), on=["account_id", "client_id"], how="left")


def _tasks(frames: Frames) -> Lazy:
    """One row per client and task that existed at `as_of`, with `is_done` as of then."""
    col = nw.col
    cards = nw.concat(
        [
            frames["task"].select("account_id", "task_id", "entity_id"),
            frames["task_link"].select("account_id", "task_id", "entity_id"),
        ]
    )
    members = frames["client_member"].select("account_id", "entity_id", "client_id")
    of_client = (
        cards.join(members, on=["account_id", "entity_id"]).select("account_id", "task_id", "client_id").unique()
    )
    is_later = (col("completed_epoch") > col("as_of_epoch")).fill_null(False)
    return (
        frames["task"]
        .join(of_client, on=["account_id", "task_id"])
        .join(frames["clock"].select("account_id", "as_of_epoch", "as_of_on"), on="account_id")
        .filter(
            (col("created_epoch") <= col("as_of_epoch")).fill_null(True),
            (col("deleted_epoch") > col("as_of_epoch")).fill_null(True),
        )
        .select(
            "account_id",
            "client_id",
            "task_id",
            "kind",
            "due_at",
            "created_epoch",
            "as_of_on",
            due_on=col("due_local").dt.date(),
            is_done=col("is_completed").fill_null(False) & ~is_later,
        )
    )


def _latest(tasks: Lazy) -> Lazy:
    """The task of each client that was created last; of two in one second the one with the smaller id."""
    return latest(tasks, ["account_id", "client_id"], by="created_epoch", row_id="task_id").select(
        "account_id",
        "client_id",
        last_task_kind=nw.col("kind"),
        last_task_due_at=nw.col("due_at"),
        last_task_is_done=nw.col("is_done"),
    )
