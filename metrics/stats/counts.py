"""Counts against what was to be expected: shares of a whole, counts by day, inequality. NumPy in, numbers out."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats as scipy_stats

from metrics.stats.rates import Floats

SEED, DRAWS = 20_260_101, 10_000
FEW = 5
"""An expected count below this is too small for the chi-squared distribution."""
OVERDISPERSED = 1.5
"""Counts whose variance is more than so many times their mean are no Poisson counts."""


@dataclass(frozen=True)
class Fit:
    """How well counts fit. w: effect size; resid: adjusted residual of each; is_simulated: p is by Monte Carlo."""

    chi2: float
    df: int
    p: float
    w: float
    resid: Floats
    is_simulated: bool


def goodness_of_fit(observed: ArrayLike, expected: ArrayLike, *, seed: int = SEED, draws: int = DRAWS) -> Fit | None:
    """S-CHI2-GOF: how well counts fit `expected` ones of the same sum; None below two counts, or of nothing.

    Where an expected count is below `FEW` the p is that of `draws` multinomial samples, (1 + #{chi2* >= chi2})/(1 +
    draws). Every expected count has to be above 0.
    """
    o, e = np.asarray(observed, dtype=float), np.asarray(expected, dtype=float)
    n = o.sum()
    if o.size < 2 or n == 0:
        return None
    chi2 = float(np.sum((o - e) ** 2 / e))
    is_simulated = bool((e < FEW).any())
    if is_simulated:
        drawn = np.random.default_rng(seed).multinomial(int(n), e / e.sum(), size=draws)
        reached = np.sum((drawn - e) ** 2 / e, axis=1) >= chi2 * (1 - 1e-12)
        p = (1 + int(reached.sum())) / (1 + draws)
    else:
        p = float(scipy_stats.chi2.sf(chi2, o.size - 1))
    resid = (o - e) / np.sqrt(e * (1 - e / n))
    return Fit(chi2, int(o.size - 1), p, float(np.sqrt(chi2 / n)), resid, is_simulated)


def gini(values: ArrayLike) -> float | None:
    """Mean absolute difference over twice the mean: 0, all alike; None of nothing or where all are 0."""
    x = np.asarray(values, dtype=float)
    if x.size == 0 or x.sum() == 0:
        return None
    return float(np.abs(x[:, None] - x[None, :]).sum() / (2 * x.size**2 * x.mean()))


def distribution(mean: float, variance: float | None = None) -> Any:
    """Poisson, or negative binomial by moments where the variance exceeds the mean by more than half (S-POIS)."""
    if variance is None or variance <= OVERDISPERSED * mean:
        return scipy_stats.poisson(mean)
    size = mean * mean / (variance - mean)
    return scipy_stats.nbinom(size, size / (size + mean))


def count_p(count: int, mean: float, variance: float | None = None) -> float:
    """The two-sided mid-p of a count where `mean` was expected (S-POIS)."""
    told = distribution(mean, variance)
    half = told.pmf(count) / 2
    return float(min(1.0, 2 * min(told.cdf(count) - half, told.sf(count) + half)))


def count_limits(mean: float, variance: float | None = None, *, level: float = 0.99) -> tuple[int, int]:
    """The least and the greatest count that are no surprise: their mid-p is at least 1 - level."""
    told, tail = distribution(mean, variance), (1 - level) / 2
    counts = np.arange(int(told.ppf(tail / 100)), int(told.isf(tail / 100)) + 2)
    half = told.pmf(counts) / 2
    p = 2 * np.minimum(told.cdf(counts) - half, told.sf(counts) + half)
    usual = counts[p >= 1 - level]
    return int(usual.min()), int(usual.max())
