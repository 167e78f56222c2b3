"""Touches: answered calls, human messages, meetings and visits; and attempts, calls out that nobody answered."""

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
    others = pl.concat([_messages(facts), _meetings(facts)]).with_columns(
        phone_key=pl.lit(None, pl.String), card_id=pl.lit(None, pl.String)
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
