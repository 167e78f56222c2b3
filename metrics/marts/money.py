"""Money in base currency (R-MONEY): by the rate of the row's local day, at most seven days old; no rate, no amount."""

from datetime import timedelta

import polars as pl

from metrics.marts.facts import Facts

RATE_LIVES = timedelta(days=7)
EXPONENTS = {
    **dict.fromkeys(("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "VND", "XAF"), 0),
    **dict.fromkeys(("VUV", "XOF", "XPF"), 0),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
}
"""Digits of the minor unit (ISO 4217) where they are not two."""


def in_base(frame: pl.DataFrame, facts: Facts, *, day: str) -> pl.DataFrame:
    """`frame` with `amount_minor` turned from `currency` into base currency by the rate of the local day `day`."""
    is_foreign = pl.col("currency") != facts.base_currency
    if frame.is_empty() or not frame.select(is_foreign.any()).item():
        return frame
    rates = facts.rows("fx_rate", ["day", "currency", "rate_to_base"]).rename({"day": "rate_day"}).sort("rate_day")
    scale = 10.0 ** (EXPONENTS.get(facts.base_currency, 2) - pl.col("currency").replace_strict(EXPONENTS, default=2))
    converted = (pl.col("amount_minor") * pl.col("rate_to_base") * scale).round(mode="half_to_even").cast(pl.Int64)
    return (
        frame.with_row_index("row")
        .sort(day, nulls_last=True)
        .join_asof(rates, left_on=day, right_on="rate_day", by="currency", tolerance=RATE_LIVES, check_sortedness=False)
        .sort("row")
        .with_columns(amount_minor=pl.when(is_foreign).then(converted).otherwise("amount_minor"))
        .select(frame.columns)
    )
