"""Which calls the metrics of calls count (R-CALLSCOPE), whose each call is, and whether it fell into working time.

Source: the metric catalogue, R-CALLSCOPE, R-USER, R-CAL and the definitions of A1 to A12.
"""

from typing import Any

import narwhals.stable.v2 as nw
import polars as pl

from metrics.metric import Frames
from metrics.people import with_user_flags

Lazy = nw.LazyFrame[Any]

IS_ANSWERED = nw.col("is_answered").fill_null(False) & ~nw.col("is_voicemail").fill_null(False)
"""A person talked to a person; a message left on a voice mail is a missed call."""
IS_MISSED = (nw.col("direction") == "in") & ~IS_ANSWERED
HAS_THREAD_KEY = ~(nw.col("client_id").is_null() & nw.col("phone_key").is_null()) & (
    nw.col("phone_digits").fill_null(1) > 0
)
"""A number, and a client or at least its key. A hidden number opens no thread, whatever card the call is on."""

SHORT_ABANDON_S = 5
"""Who hangs up sooner, where the wait is known, gave nobody a chance: neither missed nor counted (A2)."""

HOURS = ("in_hours", "evening_night", "day_off")
"""Working hours; a working day outside its hours; a day without any."""


def with_outsiders(frames: Frames) -> Lazy:
    """Calls between us and others, started by `as_of`; robots and spam included. With `as_of_epoch`."""
    col = nw.col
    return (
        frames["call_episode"]
        .join(frames["clock"].select("account_id", "as_of_epoch"), on="account_id")
        .filter(
            col("direction").is_in(["in", "out"]),
            ~col("is_internal").fill_null(False),
            col("started_epoch") <= col("as_of_epoch"),
        )
        .with_columns(thread_key=nw.coalesce("thread_key", "client_id", "phone_key"))
    )


def in_scope(frames: Frames) -> Lazy:
    """External calls with people (R-CALLSCOPE), spam left out, started by `as_of`; with `as_of_epoch`.

    Robots are what the telephony calls a robot: a call written by an integration's user may well be a manager's.
    """
    return with_outsiders(frames).filter(
        ~nw.col("is_robot").fill_null(False),
        ~nw.col("is_spam").fill_null(False),
    )


def in_period(rows: Lazy, frames: Frames, epoch: str = "started_epoch") -> Lazy:
    """`rows` whose instant lies within the period, cut at the account's midnights."""
    bounds = frames["clock"].select("account_id", "from_epoch", "to_epoch")
    is_within = (nw.col(epoch) >= nw.col("from_epoch")) & (nw.col(epoch) < nw.col("to_epoch"))
    return rows.join(bounds, on="account_id").filter(is_within).drop("from_epoch", "to_epoch")


def is_short(short_abandon_s: int) -> nw.Expr:
    """Missed calls of known wait under `short_abandon_s` seconds."""
    return IS_MISSED & (nw.col("wait_s") < short_abandon_s).fill_null(False)


def is_conversation(min_talk_s: int) -> nw.Expr:
    """Answered, and talked for so many seconds; where no length is known the telephony is believed."""
    return IS_ANSWERED & (nw.col("talk_s") >= min_talk_s).fill_null(True)


def with_hours(calls: Lazy, frames: Frames, stem: str = "started") -> Lazy:
    """`calls` with `hours`, one of `HOURS` by the account's calendar; null where the calendar has no such day."""
    col = nw.col
    calendar = frames["clock"].select("account_id", "calendar_id")
    days = frames["calendar_day"].join(calendar, on=["account_id", "calendar_id"]).drop("calendar_id", "before_s")
    at = col(f"{stem}_epoch")
    is_open = ((at >= col("open_epoch")) & (at < col("close_epoch"))) | (
        (at >= col("open2_epoch")) & (at < col("close2_epoch"))
    )
    hours = (
        nw.when(is_open)
        .then(nw.lit("in_hours"))
        .when(col("is_working"))
        .then(nw.lit("evening_night"))
        .when(~col("is_working"))
        .then(nw.lit("day_off"))
    )
    return (
        calls.with_columns(day=col(f"{stem}_local").dt.date())
        .join(days, on=["account_id", "day"], how="left")
        .with_columns(hours=hours)
        .drop("day", "is_working", "open_epoch", "close_epoch", "open2_epoch", "close2_epoch")
    )


def with_performer(calls: Lazy, frames: Frames) -> Lazy:
    """`calls` with the person on our side as `user_id` (null: unknown, or a robot's) and `user_active`."""
    flagged = with_user_flags(calls, frames)
    is_person = ~nw.col("user_is_robot").fill_null(False)
    return flagged.with_columns(
        user_id=nw.when(is_person).then(nw.col("user_id")),
        user_active=nw.when(is_person).then(nw.col("user_active")),
    ).drop("user_is_robot")


def with_receiver(calls: Lazy, frames: Frames) -> Lazy:
    """Inbound `calls` by whom they count for: `user_id`, `user_active`, and `attribution`, how that is known.

    answered: who answered; of a missed call, rung: the only one whose phone rang; owner: the client's responsible;
    none: nobody. Unlike a thread to call back (`missed_threads.with_manager`) it stays with who has left: it happened
    to him. Robots own nothing.
    """
    col = nw.col
    names = {"user_id": "own", "rung_user_id": "rung", "responsible_user_id": "owner"}
    for name, stem in names.items():
        flags = {"user_active": f"{stem}_active", "user_is_robot": f"{stem}_robot"}
        calls = with_user_flags(calls, frames, name).rename(flags)
    is_own, is_rung, is_owner = (
        ~col(name).is_null() & ~col(f"{stem}_robot").fill_null(False) for name, stem in names.items()
    )
    by_own, by_rung, by_owner = (
        IS_ANSWERED & is_own,
        ~IS_ANSWERED & is_rung,
        ~IS_ANSWERED & ~is_rung & is_owner,
    )

    def chosen(own: nw.Expr, rung: nw.Expr, owner: nw.Expr, nobody: nw.Expr | None = None) -> nw.Expr:
        return nw.when(by_own).then(own).when(by_rung).then(rung).when(by_owner).then(owner).otherwise(nobody)

    named = calls.with_columns(
        receiver_id=chosen(col("user_id"), col("rung_user_id"), col("responsible_user_id")),
        user_active=chosen(col("own_active"), col("rung_active"), col("owner_active")),
        attribution=chosen(nw.lit("answered"), nw.lit("rung"), nw.lit("owner"), nw.lit("none")),
    )
    added = (f"{stem}_{flag}" for stem in names.values() for flag in ("active", "robot"))
    return named.drop("user_id", *added).rename({"receiver_id": "user_id"})


def card() -> dict[str, pl.Expr]:
    """`entity_kind`, `entity_id`: the card to open for a call, the client's, else the deal's, else that it is on."""
    return {
        "entity_kind": pl.when(pl.col("client_id").is_not_null())
        .then(pl.col("client_id").str.extract(r"^([a-z]+):"))
        .when(pl.col("deal_id").is_not_null())
        .then(pl.lit("deal"))
        .otherwise(pl.col("card_kind")),
        "entity_id": pl.coalesce("client_id", "deal_id", "card_id"),
    }
