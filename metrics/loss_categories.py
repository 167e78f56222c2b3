"""C-MAP: what a loss reason means, whatever the account calls it. People may set a category; stems fill in the rest."""

from typing import Any

import narwhals.stable.v2 as nw

from metrics.metric import Frames

STEMS: dict[str, str] = {
    # category: stems of Russian names, first match in this order. More than the catalogue's: amoCRM gives every account
    # «Пропала потребность» and «Выбрали других», and people write «Не дозвонились» as often as «Недозвон».
    "price": "дорог|цен|бюджет|денег",
    "competitor": "конкурент|у других|выбрали друг|купил",
    "timing": "подума|отлож|позже|не сейчас|ожида",
    "no_need": "неактуал|не актуал|не нужн|потребност",
    "no_contact": "недозвон|не дозв|не отвеч|не выходит на связь|пропал|нет связи",
    "duplicate": "дубл",
    "spam_invalid": "спам|ошиб|не туда|тест",
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
