"""Addresses of cards in the CRM (R-URL). No address is ever guessed: where none is known it is null."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

CARDS: dict[tuple[str, str], tuple[str, str]] = {
    # (connector, kind in the id): what stands before the native number, and after it
    ("amocrm", "lead"): ("/leads/detail/", ""),
    ("amocrm", "contact"): ("/contacts/detail/", ""),
    ("amocrm", "company"): ("/companies/detail/", ""),
    ("bitrix24", "deal"): ("/crm/deal/details/", "/"),
    ("bitrix24", "lead"): ("/crm/lead/details/", "/"),
    ("bitrix24", "contact"): ("/crm/contact/details/", "/"),
    ("bitrix24", "company"): ("/crm/company/details/", "/"),
}


def card_url(account: Mapping[str, Any], entity_id: str | None) -> str | None:
    """The address of one card: `card_url(main, "lead:1")` ends in `/leads/detail/1`."""
    kind, _, number = (entity_id or "").partition(":")
    card = CARDS.get((str(account.get("connector")), kind))
    if card is None or not number.isdigit() or not account.get("base_url"):
        return None
    before, after = card
    return f"{str(account['base_url']).rstrip('/')}{before}{number}{after}"


def with_urls(rows: pl.DataFrame, accounts: Sequence[Mapping[str, Any]], *, of: str = "entity_id") -> pl.DataFrame:
    """`rows` with `url`: the card that `of` names in the row's account."""
    bases = pl.DataFrame(
        [
            {
                "account_id": account["account_id"],
                "_kind": kind,
                "_before": str(account["base_url"]).rstrip("/") + before,
                "_after": after,
            }
            for account in accounts
            for (connector, kind), (before, after) in CARDS.items()
            if account.get("connector") == connector and account.get("base_url")
        ],
        schema={"account_id": pl.String, "_kind": pl.String, "_before": pl.String, "_after": pl.String},
    )
    number = pl.col(of).str.extract(r"^[a-z]+:(\d+)$")
    return (
        rows.with_columns(_kind=pl.col(of).str.extract(r"^([a-z]+):"), _number=number)
        .join(bases, on=["account_id", "_kind"], how="left", maintain_order="left")
        .with_columns(url=pl.concat_str("_before", "_number", "_after"))
        .select(*rows.columns, *([] if "url" in rows.columns else ["url"]))
    )
