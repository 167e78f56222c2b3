"""C-MAP: what a loss reason means, whatever the account calls it. People may set a category; stems fill in the rest."""

from typing import Any

import narwhals.stable.v2 as nw

from metrics.metric import Frames

STEMS: dict[str, str] = {
    # category: stems of Russian names, first match in this order
    "price": "дорог|цен|бюджет|денег",
    "competitor": "конкурент|у других|купил",
    "timing": "подума|отлож|позже|не сейчас|ожида",
    "no_contact": "недозвон|не отвеч|пропал|нет связи",
    "duplicate": "дубл",
    "spam_invalid": "спам|ошиб|не туда|тест",
    "no_need": "неактуал|не нужн|нет потреб",
}

DISQUALIFIED = ("spam_invalid", "duplicate")
"""Categories that say there never was a client."""


def loss_categories(frames: Frames) -> nw.LazyFrame[Any]:
    """One row per loss reason: account_id, loss_reason_id, category (`other` where no stem matches)."""
    name = nw.col("name").str.to_lowercase()
    by_stem = nw.lit("other")
    for category, stems in reversed(STEMS.items()):
        by_stem = nw.when(name.str.contains(stems)).then(nw.lit(category)).otherwise(by_stem)
    return frames["loss_reason"].select(
        "account_id", "loss_reason_id", category=nw.coalesce(nw.col("category"), by_stem)
    )
