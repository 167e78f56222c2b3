"""Sums of money that may or may not come. NumPy in, numbers out."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from metrics.stats.rates import Floats

EXACT_SUMS = 200_000
"""Up to so many different sums the distribution is worked out whole; beyond it is drawn."""
DRAWS = 20_000


def mean_and_sd(amounts: ArrayLike, p: ArrayLike) -> tuple[float, float]:
    """Of the sum of independent amounts that come with probability p each: Σap and √Σa²p(1-p)."""
    a, chance = np.asarray(amounts, dtype=float), np.asarray(p, dtype=float)
    return float(np.sum(a * chance)), float(np.sqrt(np.sum(a * a * chance * (1 - chance))))


def sum_quantiles(amounts: ArrayLike, p: ArrayLike, shares: Sequence[float], *, seed: int) -> list[float]:
    """The smallest sums that are not exceeded with probability `shares`.

    Exact while there are few different sums; else from `DRAWS` draws with `seed`.
    """
    a, chance = np.asarray(amounts, dtype=float), np.asarray(p, dtype=float)
    sums: Floats = np.zeros(1)
    masses: Floats = np.ones(1)
    for amount, likely in zip(a, chance, strict=True):
        both = np.concatenate((sums, sums + amount))
        weights = np.concatenate((masses * (1 - likely), masses * likely))
        sums, place = np.unique(both, return_inverse=True)
        masses = np.bincount(place, weights=weights).astype(np.float64)
        if sums.size > EXACT_SUMS:
            return _drawn(a, chance, shares, seed)
    reached = np.cumsum(masses)
    return [float(sums[min(int(np.searchsorted(reached, share - 1e-12)), sums.size - 1)]) for share in shares]


def _drawn(amounts: Floats, p: Floats, shares: Sequence[float], seed: int) -> list[float]:
    rng = np.random.default_rng(seed)
    total = np.zeros(DRAWS)
    for amount, chance in zip(amounts, p, strict=True):
        total += amount * (rng.random(DRAWS) < chance)
    return [float(value) for value in np.quantile(total, shares, method="inverted_cdf")]
