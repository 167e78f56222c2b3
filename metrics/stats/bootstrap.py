"""How far a sum could have come out otherwise, by drawing its cases anew (Efron 1979). NumPy in, numbers out."""

import numpy as np
from numpy.typing import ArrayLike

from metrics.stats.rates import Floats

DRAWN_WHOLE = 1_000
"""Sums of more values than so many are drawn from the normal distribution they converge to."""


def resampled_sums(values: ArrayLike, n: int, *, draws: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Per draw of n cases, of which those without a value bring nothing: the sum, and how many had a value."""
    x = np.sort(np.asarray(values, dtype=float))
    sizes = rng.binomial(n, x.size / n if n else 0.0, draws)
    if x.size > DRAWN_WHOLE:
        sums = rng.normal(x.mean() * sizes, x.std() * np.sqrt(sizes))
    elif x.size:
        drawn = x[rng.integers(0, x.size, int(sizes.sum()))]
        sums = np.bincount(np.repeat(np.arange(draws), sizes), weights=drawn, minlength=draws)
    else:
        sums = np.zeros(draws)
    return sums.astype(np.float64), sizes.astype(np.float64)


def percentile_limits(draws: Floats) -> tuple[float, float] | None:
    """The middle 95 % of draws; those that say nothing (NaN) are left out, None where none does."""
    known = draws[~np.isnan(draws)]
    if known.size == 0:
        return None
    lo, hi = np.quantile(known, (0.025, 0.975))
    return float(lo), float(hi)
