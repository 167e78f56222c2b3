"""Rates as every table shows them (R-RATE): numerator, denominator, rate, its 95 % interval, and whether it says much.

Polars expressions for the *finish* step. The interval is Wilson's score interval (S-WILSON; Wilson 1927,
https://doi.org/10.1080/01621459.1927.10502953): unlike p ± 1.96·se it stays within 0..1 and holds for small groups.
"""

import polars as pl

Z95 = 1.959963984540054
"""The 97.5 % point of the standard normal distribution."""

MIN_N = 10
"""Below so many cases a rate is shown but neither ranked nor tested."""


def wilson(num: pl.Expr, den: pl.Expr) -> tuple[pl.Expr, pl.Expr]:
    """The 95 % limits of num/den; null where den is 0 or not known."""
    n, z2 = pl.when(den > 0).then(den).cast(pl.Float64), Z95 * Z95
    p = num / n
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 * (p * (1 - p) / n + z2 / (4 * n * n)).sqrt() / (1 + z2 / n)
    # The ends are exact where rounding would leave 1e-17.
    lo = pl.when((num == 0) & n.is_not_null()).then(0.0).otherwise(centre - half)
    hi = pl.when((num == den) & n.is_not_null()).then(1.0).otherwise(centre + half)
    return lo, hi


def rate_columns(num: str = "num", den: str = "den", prefix: str = "") -> list[pl.Expr]:
    """`<prefix>rate`, `<prefix>ci_lo`, `<prefix>ci_hi` of two count columns; null where the denominator is 0."""
    k, n = pl.col(num), pl.col(den)
    lo, hi = wilson(k, n)
    rate = k / pl.when(n > 0).then(n)
    return [
        rate.cast(pl.Float64).alias(f"{prefix}rate"),
        lo.cast(pl.Float64).alias(f"{prefix}ci_lo"),
        hi.cast(pl.Float64).alias(f"{prefix}ci_hi"),
    ]


def low_n(den: str = "den", *, min_n: int = MIN_N) -> pl.Expr:
    """`low_n`: too few cases to rank."""
    return (pl.col(den) < min_n).alias("low_n")


def ranked(frame: pl.DataFrame, rate: str, den: str, *ids: str) -> pl.DataFrame:
    """Worst first (R-SORT): by rate, then by denominator, both falling, then by id; rows with `low_n` come after."""
    by = ["low_n", rate, den, *ids]
    falling = [False, True, True, *(False for _ in ids)]
    return frame.sort(by, descending=falling, nulls_last=True)
