"""Which ways of contact an account has in the data at all. Where chats were never synced, silence may be a chat."""

from typing import Any

import narwhals.stable.v2 as nw
import polars as pl

from metrics.metric import Frames, Notice


def message_coverage(frames: Frames) -> nw.LazyFrame[Any]:
    """One row per account: account_id, has_messages (messages were synced at least once)."""
    synced = (
        frames["coverage"]
        .filter(nw.col("resource") == "message", ~nw.col("watermark").is_null())
        .select("account_id", has_messages=nw.lit(True))
    )
    return (
        frames["clock"]
        .select("account_id")
        .join(synced, on="account_id", how="left")
        .with_columns(nw.col("has_messages").fill_null(False))
    )


def calls_only_notices(coverage: pl.DataFrame, *, ru: str, en: str) -> tuple[Notice, ...]:
    """A warning per account of `message_coverage` without messages, then `ru`, `en`: what that does to the metric.

    Apart, so that metrics shown together name the accounts once.
    """
    silent = coverage.filter(~pl.col("has_messages"))["account_id"].sort().to_list()
    named = [
        Notice(
            "messages_not_synced",
            f"Переписка аккаунта «{account}» не загружена, видны только звонки.",
            f"Messages of account “{account}” are not synced, only calls are seen.",
        )
        for account in silent
    ]
    return (*named, Notice("messages_not_synced", ru, en)) if named else ()
