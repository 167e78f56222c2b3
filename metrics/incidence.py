"""Competing outcomes of many groups at once (S-AJ), as frames: what `stats.survival.aalen_johansen` is for one group.

CIF_c(t) = sum over u <= t of S(u-) d_c(u) / n(u), S the all-cause Kaplan-Meier curve. Aalen & Johansen 1978.
"""

from collections.abc import Sequence

import polars as pl


def incidence(
    rows: pl.DataFrame,
    by: Sequence[str],
    *,
    duration: str,
    outcome: str,
    causes: Sequence[str],
    horizons: Sequence[float],
) -> pl.DataFrame:
    """The share that has had each outcome by each horizon, those still without any censored.

    Args:
        rows: a row per case; `outcome` other than one of `causes` is censored at `duration`. Events come before
            censorings of the same time. by: one column at least. horizons: in the unit of `duration`.

    Returns:
        by, horizon, n (cases of the group), n_at_risk (cases at least so old), cif_<cause>, still_open.
    """
    keys = list(by)
    happened = [(pl.col(outcome) == cause).sum().alias(f"d_{cause}") for cause in causes]
    counted = rows.group_by(*keys, duration).agg(pl.len().alias("gone"), *happened).sort(*keys, duration)
    d = pl.sum_horizontal(f"d_{cause}" for cause in causes)
    curve = (
        counted.with_columns(total=pl.col("gone").sum().over(keys))
        .with_columns(at_risk=pl.col("total") - pl.col("gone").cum_sum().over(keys) + pl.col("gone"))
        .with_columns(open=(1 - d / pl.col("at_risk")).cum_prod().over(keys))
        .with_columns(before=pl.col("open").shift(1, fill_value=1.0).over(keys))
        .with_columns(
            (pl.col("before") * pl.col(f"d_{cause}") / pl.col("at_risk")).cum_sum().over(keys).alias(f"cif_{cause}")
            for cause in causes
        )
    )
    reached = [_at(rows, curve, keys, duration, horizon) for horizon in horizons]
    names = {name: pl.col(name).fill_null(0.0) for name in curve.columns if name.startswith("cif_")}
    parts = pl.concat(reached).with_columns(**names, still_open=pl.col("open").fill_null(1.0))
    return parts.select(*keys, "horizon", "n", "n_at_risk", *names, "still_open").sort(*keys, "horizon")


def _at(rows: pl.DataFrame, curve: pl.DataFrame, keys: list[str], duration: str, horizon: float) -> pl.DataFrame:
    """Every group with the last values of its curves by one horizon; null where it has none so early."""
    n_at_risk = (pl.col(duration) >= horizon).sum().cast(pl.Int64)
    groups = rows.group_by(keys).agg(n=pl.len().cast(pl.Int64), n_at_risk=n_at_risk)
    # The curves move one way only: their last values are the furthest.
    furthest = [pl.col(name).max() for name in curve.columns if name.startswith("cif_")]
    last = curve.filter(pl.col(duration) <= horizon).group_by(keys).agg(*furthest, pl.col("open").min())
    return groups.join(last, on=keys, how="left", nulls_equal=True).with_columns(horizon=pl.lit(float(horizon)))
