"""Touches: answered calls, human messages, meetings and visits; and attempts, calls out that nobody answered.

A task to meet that was completed is a meeting. It is derived here, not stored as an activity, so that it follows what
becomes of the task: completed at another instant, opened again, deleted.
"""

import polars as pl

from metrics.marts.calls import with_client, with_deal
from metrics.marts.facts import Facts

COLUMNS = [
    "touch_id",
    "client_id",
    "user_id",
    "touched_at",
    "kind",
    "direction",
    "is_meaningful",
    "is_attempt",
    "deal_id",
]


def touches(
    facts: Facts, episodes: pl.DataFrame, members: pl.DataFrame, deals: pl.DataFrame, run: pl.DataFrame
) -> pl.DataFrame:
    """`touch` without account and wall times, clients that are known only."""
    others = pl.concat([_messages(facts), _activities(facts), _meetings(facts)], how="diagonal").with_columns(
        phone_key=pl.lit(None, pl.String)
    )
    linked = with_deal(with_client(others, members, facts), deals, run, key="touch_id", at="touched_at")
    parts = [_calls(episodes, facts.params.min_talk_s).select(COLUMNS), linked.select(COLUMNS)]
    return pl.concat(parts).filter(pl.col("client_id").is_not_null()).with_columns(weight=pl.lit(1.0))


def _calls(episodes: pl.DataFrame, min_talk_s: int) -> pl.DataFrame:
    is_attempt = ~pl.col("is_answered") & (pl.col("direction") == "out")
    return episodes.filter(
        pl.col("is_answered") | is_attempt, ~pl.col("is_internal"), ~pl.col("is_robot")
    ).with_columns(
        touch_id=pl.lit("call:") + pl.col("episode_id"),
        touched_at="started_at",
        kind=pl.lit("call"),
        is_meaningful=(pl.col("is_answered") & (pl.col("talk_s") >= min_talk_s)).fill_null(False),
        is_attempt=is_attempt,
    )


def _messages(facts: Facts) -> pl.DataFrame:
    """Messages of people: mailings and bots touch nobody."""
    links = ["contact_id", "company_id", "deal_id"]
    rows = facts.alive("message", ["message_id", "author", "direction", "sent_at", "user_id", *links], at="sent_at")
    return rows.filter(pl.col("author").is_in(["client", "user"])).select(
        "user_id",
        "direction",
        *links,
        touch_id=pl.lit("message:") + pl.col("message_id"),
        touched_at="sent_at",
        kind=pl.lit("message"),
        is_meaningful=pl.lit(True),
        is_attempt=pl.lit(False),
    )


def _meetings(facts: Facts) -> pl.DataFrame:
    columns = ["task_id", "kind", "is_completed", "completed_at", "responsible_user_id", "entity_kind", "entity_id"]
    rows = facts.alive("task", columns, at="completed_at")
    nothing = pl.lit(None, pl.String)
    return rows.filter(pl.col("kind") == "meeting", pl.col("is_completed")).select(
        nothing.alias("direction"),
        nothing.alias("contact_id"),
        nothing.alias("company_id"),
        user_id="responsible_user_id",
        deal_id=pl.when(pl.col("entity_kind").is_in(["deal", "lead"])).then("entity_id"),
        card_id="entity_id",
        touch_id=pl.lit("task:") + pl.col("task_id"),
        touched_at="completed_at",
        kind=pl.lit("meeting"),
        is_meaningful=pl.lit(True),
        is_attempt=pl.lit(False),
    )


def _activities(facts: Facts) -> pl.DataFrame:
    links = ["contact_id", "company_id", "deal_id"]
    rows = facts.alive("activity", ["activity_id", "kind", "done_at", "user_id", *links], at="done_at")
    return rows.filter(pl.col("kind").is_in(["meeting", "visit"])).select(
        "user_id",
        pl.lit(None, pl.String).alias("direction"),
        *links,
        touch_id=pl.lit("activity:") + pl.col("activity_id"),
        touched_at="done_at",
        kind="kind",
        is_meaningful=pl.lit(True),
        is_attempt=pl.lit(False),
    )
