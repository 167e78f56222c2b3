"""Touches: answered calls, human messages, meetings and visits; and attempts, calls out that nobody answered.

A task to meet that was completed is a meeting. It is derived here, not stored as an activity, so that it follows what
becomes of the task: completed at another instant, opened again, deleted.
"""

from collections.abc import Iterator

import polars as pl

from metrics.marts.facts import Facts, Span
from metrics.marts.links import CARDS, Links, with_client, with_deal

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


def touches_by_call(episodes: pl.DataFrame, min_talk_s: int) -> pl.DataFrame:
    """Rows of `touch` without account and wall times, of clients that are known only."""
    is_attempt = ~pl.col("is_answered") & (pl.col("direction") == "out")
    known = episodes.filter(
        pl.col("is_answered") | is_attempt, ~pl.col("is_internal"), ~pl.col("is_robot")
    ).with_columns(
        touch_id=pl.lit("call:") + pl.col("episode_id"),
        touched_at="started_at",
        kind=pl.lit("call"),
        is_meaningful=(pl.col("is_answered") & (pl.col("talk_s") >= min_talk_s)).fill_null(False),
        is_attempt=is_attempt,
    )
    return _of_clients(known)


def other_records(facts: Facts) -> Iterator[pl.DataFrame]:
    """What is no call, part by part: columns of `touch` that the rows themselves tell, and whom they name."""
    of_tables = (
        (_messages, "message", "sent_at"),
        (_activities, "activity", "done_at"),
        (_meetings, "task", "completed_at"),
    )
    for rows_of, table, at in of_tables:
        for within in facts.spans(table, at):
            rows = rows_of(facts, within)
            yield rows.with_columns(
                pl.lit(None, pl.String).alias(name) for name in (*CARDS, "phone_key") if name not in rows.columns
            )


def other_touches(records: pl.DataFrame, known: Links, client_grain: str) -> pl.DataFrame:
    """`touches_by_call`, of `other_records`."""
    linked = with_deal(with_client(records, known, client_grain), known, key="touch_id", at="touched_at")
    return _of_clients(linked).sort("touched_at", "touch_id")


def _of_clients(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.select(COLUMNS).filter(pl.col("client_id").is_not_null()).with_columns(weight=pl.lit(1.0))


def _messages(facts: Facts, within: Span) -> pl.DataFrame:
    """Messages of people: mailings and bots touch nobody."""
    links = ["contact_id", "company_id", "deal_id"]
    columns = ["message_id", "author", "direction", "sent_at", "user_id", *links]
    rows = facts.alive("message", columns, at="sent_at", within=within)
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


def _meetings(facts: Facts, within: Span) -> pl.DataFrame:
    columns = ["task_id", "kind", "is_completed", "completed_at", "responsible_user_id", "entity_kind", "entity_id"]
    rows = facts.alive("task", columns, at="completed_at", within=within)
    nothing = pl.lit(None, pl.String)
    return rows.filter(pl.col("kind") == "meeting", pl.col("is_completed")).select(
        nothing.alias("direction"),
        user_id="responsible_user_id",
        deal_id=pl.when(pl.col("entity_kind").is_in(["deal", "lead"])).then("entity_id"),
        card_id="entity_id",
        touch_id=pl.lit("task:") + pl.col("task_id"),
        touched_at="completed_at",
        kind=pl.lit("meeting"),
        is_meaningful=pl.lit(True),
        is_attempt=pl.lit(False),
    )


def _activities(facts: Facts, within: Span) -> pl.DataFrame:
    links = ["contact_id", "company_id", "deal_id"]
    columns = ["activity_id", "kind", "done_at", "user_id", *links]
    rows = facts.alive("activity", columns, at="done_at", within=within)
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
