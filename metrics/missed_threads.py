"""Missed threads: what A3 (never called back), A4 (callback time) and A5 (out-of-hours missed) mean by "a client called
and nobody answered".

A thread begins with a missed inbound call of a client who has no open thread; his further missed calls join it. The
earliest contact closes it: our answered call, his own answered call, or our message. Contacts count on any number of
the client and on any card of the number (the mart's `thread_key`): matching phones alone shows a "never" where the
manager called back another number, matching clients alone where the call back was written on another card.

Source: the metric catalogue, A3.
"""

from collections.abc import Sequence
from typing import Any

import narwhals.stable.v2 as nw

from metrics.call_scope import HAS_THREAD_KEY, IS_ANSWERED, IS_MISSED, in_scope
from metrics.metric import Frames
from metrics.people import with_user_flags

Lazy = nw.LazyFrame[Any]

STATES = ("called_back", "client_recovered", "messaged", "attempted_only", "never", "pending")
"""How a thread ended, or stands at as_of. The last three are open; all but `pending` are judged."""

# Within one second a missed call comes first: whoever got through in that very second was served.
EVENT_ORDER = ("missed", "called_back", "client_recovered", "messaged", "attempt")

NOBODY = ""
THREAD_KEY = ("account_id", "thread_key")
EVENT_KEY = ["event_epoch", "event_rank", "event_id"]


def missed_threads(
    frames: Frames, *, judge_after_s: int = 86_400, messages_close: bool = True, any_user: bool = True
) -> Lazy:
    """One row per missed thread of the whole history known at `as_of`.

    History is not cut at the period: a thread opened before it swallows the misses within it.

    Returns:
        account_id, thread_id (id of the missed episode that opened it), client_id, phone_key (null unless there is no
        client), user_id (its manager, null: nobody's), user_active (he works here), attribution (rung, owner, none),
        line, deal_id, card_kind, card_id, `first_missed_*`, n_missed, n_attempts (unanswered outbound calls since),
        `first_outbound_*` (first outbound call or message since), `resolved_*`, resolved_by_user_id, as_of_epoch, state
        (one of `STATES`).
    """
    calls = in_scope(frames).filter(HAS_THREAD_KEY)
    if not any_user:
        calls = with_manager(calls, frames)
    closes = _closes(messages_close=messages_close, any_user=any_user)
    events = nw.concat([_calls(calls, any_user=any_user), _messages(frames)]).with_columns(event_rank=_event_rank())
    opened = _threads(events.with_columns(closes=closes)).join(_openings(frames), on=["account_id", "thread_id"])
    threads = with_manager(opened, frames).rename({"manager_id": "user_id", "manager_active": "user_active"})
    return _with_state(threads, frames, judge_after_s=judge_after_s)


def _event_rank() -> nw.Expr:
    """Place of a `kind` among events of one second; chained, as `replace_strict` is missing on Spark."""
    rank = nw.lit(len(EVENT_ORDER))
    for place, kind in enumerate(EVENT_ORDER):
        rank = nw.when(nw.col("kind") == kind).then(nw.lit(place)).otherwise(rank)
    return rank.cast(nw.Int64)


def with_manager(missed: Lazy, frames: Frames) -> Lazy:
    """Missed calls with `manager_id` = who has to call back, `manager_active` and `attribution`.

    The only user rung (rung), else the client's responsible (owner), else nobody (none). Calls of somebody who has left
    go to the responsible; robots own nothing. Needs account_id, rung_user_id, responsible_user_id.
    """
    col = nw.col
    rung = with_user_flags(missed, frames, "rung_user_id").rename(
        {"user_active": "rung_active", "user_is_robot": "rung_robot"}
    )
    by_ring = col("rung_active").fill_null(False) & ~col("rung_robot").fill_null(False)
    by_owner = ~col("responsible_user_id").is_null() & ~col("user_is_robot").fill_null(False)
    named = with_user_flags(rung, frames, "responsible_user_id").with_columns(
        manager_id=nw.when(by_ring).then(col("rung_user_id")).when(by_owner).then(col("responsible_user_id")),
        manager_active=nw.when(by_ring).then(nw.lit(True)).when(by_owner).then(col("user_active")),
        attribution=nw.when(by_ring)
        .then(nw.lit("rung"))
        .when(by_owner)
        .then(nw.lit("owner"))
        .otherwise(nw.lit("none")),
    )
    return named.drop("rung_active", "rung_robot", "user_active", "user_is_robot")


def _calls(calls: Lazy, *, any_user: bool) -> Lazy:
    """Calls as events of threads.

    One row per event: thread_key, event_id, kind (of `EVENT_ORDER`), `event_*`, by_user_id; and manager_id of a missed
    call, where it matters who calls back.
    """
    col = nw.col
    kind = (
        nw.when(IS_MISSED)
        .then(nw.lit("missed"))
        .when(~IS_ANSWERED)
        .then(nw.lit("attempt"))
        .when(col("direction") == "out")
        .then(nw.lit("called_back"))
        .otherwise(nw.lit("client_recovered"))
    )
    owed_by = nw.lit(None, dtype=nw.String)
    if not any_user:
        owed_by = nw.when(IS_MISSED).then(col("manager_id").fill_null(NOBODY))
    return calls.select(
        "account_id",
        "thread_key",
        event_id=col("episode_id"),
        kind=kind,
        event_at=col("started_at"),
        event_local=col("started_local"),
        event_epoch=col("started_epoch"),
        by_user_id=col("user_id"),
        manager_id=owed_by,
    )


def _messages(frames: Frames) -> Lazy:
    """Our messages to clients, written by people (the mart's meaningful ones: no bots, no mailings)."""
    col = nw.col
    caller = (
        frames["call_episode"]
        .filter(~col("client_id").is_null())
        .group_by("account_id", "client_id")
        .agg(caller=col("thread_key").min())
    )
    return (
        frames["touch"]
        .join(frames["clock"].select("account_id", "as_of_epoch"), on="account_id")
        .filter(
            col("kind") == "message",
            col("direction") == "out",
            col("is_meaningful"),
            ~col("client_id").is_null(),
            col("touched_epoch") <= col("as_of_epoch"),
        )
        .join(caller, on=["account_id", "client_id"], how="left")
        .select(
            "account_id",
            thread_key=nw.coalesce("caller", "client_id"),
            event_id=col("touch_id"),
            kind=nw.lit("messaged"),
            event_at=col("touched_at"),
            event_local=col("touched_local"),
            event_epoch=col("touched_epoch"),
            by_user_id=col("user_id"),
            manager_id=nw.lit(None, dtype=nw.String),
        )
    )


def _closes(*, messages_close: bool, any_user: bool) -> nw.Expr:
    """1 where an event closes an open thread, else 0.

    With `any_user` off: a call or message by the manager of the latest missed call, or by anyone if it is nobody's.
    "Of the latest" rather than "of the thread's first": the first depends on which threads were closed before, the
    latest is one look back.
    """
    col = nw.col
    by_us = col("kind").is_in(["called_back", "messaged"] if messages_close else ["called_back"])
    if not any_user:
        latest_manager = col("manager_id").fill_null(strategy="forward").over(*THREAD_KEY, order_by=EVENT_KEY)
        by_us = by_us & ((col("by_user_id") == latest_manager).fill_null(False) | (latest_manager == NOBODY))
    return nw.when(by_us | (col("kind") == "client_recovered")).then(nw.lit(1)).otherwise(nw.lit(0)).cast(nw.Int64)


def _threads(events: Lazy) -> Lazy:
    """Events between two contacts are one thread, if there is a missed call among them; it begins there.

    One row per thread: thread_id, n_missed, n_attempts, resolution, `resolved_*`, `first_outbound_*`.
    """
    col = nw.col
    stretch = [*THREAD_KEY, "stretch"]
    is_missed = nw.when(col("kind") == "missed").then(nw.lit(1)).otherwise(nw.lit(0)).cast(nw.Int64)
    is_attempt = nw.when(col("kind") == "attempt").then(nw.lit(1)).otherwise(nw.lit(0)).cast(nw.Int64)
    is_outbound = col("kind").is_in(["called_back", "messaged", "attempt"])
    closing = col("closes") == 1
    instants = ("at", "local", "epoch")
    return (
        events.with_columns(stretch=_running("closes", THREAD_KEY) - col("closes"), is_missed=is_missed)
        .with_columns(missed_no=_running("is_missed", stretch))
        .filter(col("missed_no") >= 1)
        .with_columns(
            is_attempt=is_attempt,
            opening_id=nw.when((col("is_missed") == 1) & (col("missed_no") == 1)).then(col("event_id")),
            resolution=nw.when(closing).then(col("kind")),
            closing_user_id=nw.when(closing).then(col("by_user_id")),
            **{f"closing_{part}": nw.when(closing).then(col(f"event_{part}")) for part in instants},
            **{f"outbound_{part}": nw.when(is_outbound).then(col(f"event_{part}")) for part in instants},
        )
        .group_by(*stretch)
        .agg(
            thread_id=col("opening_id").max(),
            n_missed=col("is_missed").sum(),
            n_attempts=col("is_attempt").sum(),
            resolution=col("resolution").max(),
            resolved_by_user_id=col("closing_user_id").max(),
            **{f"resolved_{part}": col(f"closing_{part}").max() for part in instants},
            **{f"first_outbound_{part}": col(f"outbound_{part}").min() for part in instants},
        )
        .with_columns(col("n_missed").cast(nw.Int64), col("n_attempts").cast(nw.Int64))
    )


def _running(flag: str, within: Sequence[str]) -> nw.Expr:
    """How often `flag` was 1 up to this event. Cast: DuckDB adds integers up to a Decimal."""
    return nw.col(flag).cum_sum().over(*within, order_by=EVENT_KEY).cast(nw.Int64)


def _openings(frames: Frames) -> Lazy:
    """Calls as what they tell of the thread they open."""
    col = nw.col
    return frames["call_episode"].select(
        "account_id",
        "client_id",
        "rung_user_id",
        "responsible_user_id",
        "line",
        "deal_id",
        "card_kind",
        "card_id",
        thread_id=col("episode_id"),
        phone_key=nw.when(col("client_id").is_null()).then(col("phone_key")),
        first_missed_at=col("started_at"),
        first_missed_local=col("started_local"),
        first_missed_epoch=col("started_epoch"),
    )


def _with_state(threads: Lazy, frames: Frames, *, judge_after_s: int) -> Lazy:
    """Threads with their state at `as_of`."""
    col = nw.col
    age_s = col("as_of_epoch") - col("first_missed_epoch")
    state = (
        nw.when(~col("resolution").is_null())
        .then(col("resolution"))
        .when(age_s < judge_after_s)
        .then(nw.lit("pending"))
        .when(col("n_attempts") > 0)
        .then(nw.lit("attempted_only"))
        .otherwise(nw.lit("never"))
    )
    now = frames["clock"].select("account_id", "as_of_epoch")
    return threads.join(now, on="account_id").with_columns(state=state).drop("thread_key", "stretch", "resolution")
