"""Deadlines of stages as people set them, and how long deals stand by the clock of each: working hours or all hours."""

import narwhals.stable.v2 as nw
import polars as pl

from metrics.calendar import with_working_time
from metrics.funnel import STAGE
from metrics.funnel_scope import Lazy, Scope
from metrics.metric import Frames, Notice


def deadlines(frames: Frames, seen: Scope) -> Lazy:
    """The rungs with sla_s (null: nobody set one), sla_clock (`business` unless set to `wall`) and is_kev."""
    said = frames["stage"].select(
        *STAGE, "sla_s", sla_clock=nw.col("sla_clock").fill_null("business"), is_kev=nw.col("is_kev").fill_null(False)
    )
    return seen.rungs.join(said, on=STAGE, how="left")


def with_calendar(rows: Lazy, frames: Frames, user_id: str = "user_id") -> Lazy:
    """`rows` with calendar_id: of the person in `user_id`, else of the account."""
    own = frames["user"].select("account_id", "user_id", own_calendar="calendar_id").rename({"user_id": user_id})
    of_account = frames["clock"].select("account_id", account_calendar="calendar_id")
    return (
        rows.join(own, on=["account_id", user_id], how="left")
        .join(of_account, on="account_id", how="left")
        .with_columns(calendar_id=nw.coalesce("own_calendar", "account_calendar"))
        .drop("own_calendar", "account_calendar")
    )


def on_stage_clock(rows: Lazy, frames: Frames, seen: Scope, *, start: str, end: str, into: str) -> Lazy:
    """`rows` (STAGE, user_id) with sla_s, sla_clock, and `into`: seconds from `start` to `end` by the stage's clock.

    start, end: stems of `_epoch` and `_local`. Where `rows` lack those of `as_of` they are added.
    """
    names = set(rows.collect_schema().names())
    lacking = [f"{end}_{way}" for way in ("epoch", "local") if f"{end}_{way}" not in names]
    known = rows.join(frames["clock"].select("account_id", *lacking), on="account_id", how="inner") if lacking else rows
    timed = with_working_time(
        with_calendar(known, frames), frames["calendar_day"], start=start, end=end, into="business_s"
    )
    wall_s = nw.col(f"{end}_epoch") - nw.col(f"{start}_epoch")
    said = deadlines(frames, seen).select(*STAGE, "sla_s", "sla_clock")
    return (
        timed.join(said, on=STAGE, how="left")
        .with_columns(**{into: nw.when(nw.col("sla_clock") == "wall").then(wall_s).otherwise(nw.col("business_s"))})
        .drop("business_s", "calendar_id", *(name for name in lacking if name != "as_of_epoch"))
    )


def no_deadline_notices(rungs: pl.DataFrame, deals: pl.DataFrame) -> tuple[Notice, ...]:
    """That stages deals stand on have no deadline: neither late nor in time."""
    without = rungs.filter(pl.col("sla_s").is_null()).join(deals.select(STAGE).unique(), on=STAGE, how="semi")
    if without.is_empty():
        return ()
    n = without.height
    return (
        Notice(
            "no_stage_deadline",
            f"Этапов без срока: {n}. По ним нарушения сроков не считаются: «не задано» не значит «в порядке».",
            f"Stages without a deadline: {n}. Nothing is late or in time there: “not set” does not mean “fine”.",
        ),
    )
