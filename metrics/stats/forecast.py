"""Sums of money that may or may not come. NumPy in, numbers out."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from metrics.stats.rates import Floats, wilson

EXACT_SUMS = 200_000
"""Up to so many different sums the distribution is worked out whole; beyond it is drawn."""
DRAWS = 20_000
SHARES = (0.1, 0.5, 0.9)
"""The quantiles a forecast names; the outer two are its 80 % interval."""


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


SINGLE = 500
"""The dearest so many open deals are drawn one by one; of the rest, where no single one matters, only how many win."""
BLOCK = 50
BOOTSTRAPPED = 2_000_000
"""Beyond so many amounts to draw, their sums are taken as normal."""
OVERDISPERSED = 1.5


def chance_draws(successes: ArrayLike, trials: ArrayLike, sims: int, rng: np.random.Generator) -> Floats:
    """What the chances behind `successes` of `trials` may be: Beta(k + ½, n - k + ½), a row per pair, `sims` wide."""
    k, n = np.asarray(successes, dtype=float)[:, None], np.asarray(trials, dtype=float)[:, None]
    return rng.beta(k + 0.5, np.maximum(n - k, 0) + 0.5, (k.shape[0], sims))


def open_money(
    amounts: ArrayLike, cells: ArrayLike, chances: Floats, rng: np.random.Generator, ratios: ArrayLike = (1.0,)
) -> Floats:
    """Drawn sums of what open deals bring.

    Args:
        amounts: of each deal. cells: which row of `chances` (drawn, one column per simulation) is its own.
        ratios: final to present amounts of earlier deals; each win takes one of them at random.
    """
    money, cell, ratio = np.asarray(amounts, dtype=float), np.asarray(cells, dtype=int), np.asarray(ratios, dtype=float)
    total = np.zeros(chances.shape[1])
    dearest = np.argsort(-money, kind="stable")
    single, rest = dearest[:SINGLE], dearest[SINGLE:]
    near = chances.astype(np.float32)
    for first in range(0, single.size, BLOCK):
        some = single[first : first + BLOCK]
        deal, sim = np.nonzero(rng.random((some.size, total.size), dtype=np.float32) < near[cell[some]])
        total += np.bincount(sim, money[some][deal] * _picked(ratio, deal.size, rng), total.size)
    for own in np.unique(cell[rest]):
        group = rest[cell[rest] == own]
        total += bootstrap_sums(rng.binomial(group.size, chances[own]), money[group], rng, ratio)
    return total


def bootstrap_sums(counts: ArrayLike, pool: ArrayLike, rng: np.random.Generator, ratios: ArrayLike = (1.0,)) -> Floats:
    """For each of `counts` the sum of so many amounts drawn from `pool`, each times one of `ratios`."""
    n, money, ratio = np.asarray(counts, dtype=np.int64), np.asarray(pool, dtype=float), np.asarray(ratios, dtype=float)
    if int(n.sum()) > BOOTSTRAPPED:
        mean = money.mean() * ratio.mean()
        variance = (money**2).mean() * (ratio**2).mean() - mean**2
        sums: Floats = n * mean + np.sqrt(n * max(variance, 0.0)) * rng.standard_normal(n.size)
        return np.maximum(sums, 0.0)
    drawn = _picked(money, int(n.sum()), rng) * _picked(ratio, int(n.sum()), rng)
    return np.bincount(np.repeat(np.arange(n.size), n), drawn, n.size).astype(np.float64)


def _picked(pool: Floats, n: int, rng: np.random.Generator) -> Floats:
    return np.broadcast_to(pool, n) if pool.size == 1 else pool[rng.integers(0, pool.size, n)]


def arrivals(weekly: ArrayLike, weeks: float, sims: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Drawn counts of what arrives in `weeks`, after counts of whole weeks: Poisson, or negative binomial where they
    vary more than 1.5 times their mean (S-POIS). What the mean itself may be is drawn as well."""
    counts = np.asarray(weekly, dtype=float)
    if counts.size == 0 or weeks <= 0 or counts.sum() == 0:
        return np.zeros(sims, dtype=np.int64)
    mean = float(counts.mean())
    variance = float(counts.var(ddof=1)) if counts.size > 1 else mean
    variance = variance if variance > OVERDISPERSED * mean else mean
    rate = rng.gamma(counts.size * mean**2 / variance, variance / (counts.size * mean), sims) * weeks
    if variance > mean:
        spread = variance / mean - 1  # Gamma of this scale makes Poisson counts of that variance
        rate = rng.gamma(np.maximum(rate / spread, 1e-12), spread)
    return rng.poisson(rate).astype(np.int64)


@dataclass(frozen=True)
class Score:
    """How good earlier forecasts were (S-SCORE). bias and wape are None where nothing came."""

    n: int
    n_within: int
    coverage: float
    ci_lo: float
    ci_hi: float
    bias: float | None
    wape: float | None
    pinball: tuple[float, ...]


def score(means: ArrayLike, quantiles: ArrayLike, actual: ArrayLike, shares: Sequence[float] = SHARES) -> Score | None:
    """Of forecasts with their `quantiles` (a row each, columns as `shares`, the outer two the interval)."""
    f, q, a = (np.asarray(values, dtype=float) for values in (means, quantiles, actual))
    if a.size == 0:
        return None
    n_within = int(((q[:, 0] <= a) & (a <= q[:, -1])).sum())
    off = a[:, None] - q
    level = np.asarray(shares)
    lo, hi = wilson(n_within, a.size) or (0.0, 1.0)
    came = float(a.sum())
    return Score(
        n=int(a.size),
        n_within=n_within,
        coverage=n_within / a.size,
        ci_lo=lo,
        ci_hi=hi,
        bias=float((f - a).sum()) / came if came else None,
        wape=float(np.abs(f - a).sum()) / came if came else None,
        pinball=tuple(float(loss) for loss in np.maximum(level * off, (level - 1) * off).mean(axis=0)),
    )
