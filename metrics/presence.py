"""Who was at work when: working days of a person's calendar less his absences."""

from typing import Any

import narwhals.stable.v2 as nw

from metrics.metric import Frames

PRESENCE_INPUTS = ("user", "user_absence", "calendar_day")
"""Tables that `present_days` reads."""


def present_days(frames: Frames) -> nw.LazyFrame[Any]:
    """One row per person and working day of the period, up to the day of `as_of`, on which he was not absent.

    Returns:
        account_id, user_id, day; working_s: seconds of work of that day. Robots have none; a person works by his own
        calendar, else by the account's, from the day he was hired to the day he left where those are set.
    """
    col = nw.col
    now = frames["clock"].select("account_id", "period_from", "period_to", "as_of_on", own_calendar="calendar_id")
    people = (
        frames["user"]
        .filter(~col("is_robot").fill_null(False))
        .join(now, on="account_id")
        .with_columns(calendar=nw.coalesce("calendar_id", "own_calendar"))
        .select("account_id", "user_id", "calendar", "hired_on", "left_on", "period_from", "period_to", "as_of_on")
    )
    days = (
        frames["calendar_day"]
        .filter(col("is_working"))
        .select(
            "account_id",
            "day",
            calendar="calendar_id",
            working_s=(col("close_epoch") - col("open_epoch") + col("close2_epoch") - col("open2_epoch")).cast(
                nw.Int64
            ),
        )
    )
    worked = people.join(days, on=["account_id", "calendar"]).filter(
        col("day") >= col("period_from"),
        col("day") < col("period_to"),
        col("day") <= col("as_of_on"),
        (col("day") >= col("hired_on")).fill_null(True),
        (col("day") <= col("left_on")).fill_null(True),
    )
    absences = frames["user_absence"].select("account_id", "user_id", "first_day", "end_day")
    away = (
        worked.select("account_id", "user_id", "day")
        .join(absences, on=["account_id", "user_id"])
        .filter(col("day") >= col("first_day"), (col("day") < col("end_day")).fill_null(True))
        .select("account_id", "user_id", "day")
        .unique(["account_id", "user_id", "day"])
    )
    return worked.join(away, on=["account_id", "user_id", "day"], how="anti").select(
        "account_id", "user_id", "day", "working_s"
    )
