"""Do two things go together, by their ranks? NumPy in, numbers out."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats as scipy_stats

from metrics.stats.rates import Z95

Floats = NDArray[np.float64]

SEED = 20260101
DRAWS = 9_999
EXACT_BELOW = 50
"""With fewer cases the t approximation is not trusted: p by permutation."""


@dataclass(frozen=True)
class Correlation:
    """rho with its 95 % limits and p; limits None below 4 cases or at rho = ±1."""

    n: int
    rho: float
    lo: float | None
    hi: float | None
    p: float


def spearman(x: ArrayLike, y: ArrayLike, *, seed: int = SEED) -> Correlation | None:
    """S-SPEAR: rho of average ranks; None where one of the two does not vary or there are fewer than 3 cases.

    Limits on Fisher's z, Bonett & Wright 2000, https://doi.org/10.1007/BF02294183. p by permutation below 50 cases.
    """
    one, two = (scipy_stats.rankdata(values) for values in (x, y))
    if one.size < 3 or np.ptp(one) == 0 or np.ptp(two) == 0:
        return None
    rho = float(np.corrcoef(one, two)[0, 1])
    p = _permuted(one, two, rho, seed) if one.size < EXACT_BELOW else float(scipy_stats.spearmanr(one, two).pvalue)
    lo, hi = _limits(rho, one.size)
    return Correlation(int(one.size), rho, lo, hi, p)


def _permuted(one: Floats, two: Floats, rho: float, seed: int) -> float:
    rng = np.random.default_rng(seed)
    shuffled = rng.permuted(np.tile(two, (DRAWS, 1)), axis=1)
    centred = one - one.mean()
    drawn = shuffled @ centred / (np.linalg.norm(centred) * np.linalg.norm(two - two.mean()))
    return float((1 + np.sum(np.abs(drawn) >= abs(rho) - 1e-12)) / (1 + DRAWS))


def _limits(rho: float, n: int) -> tuple[float | None, float | None]:
    if n < 4 or abs(rho) >= 1 - 1e-12:
        return None, None
    half = Z95 * np.sqrt((1 + rho * rho / 2) / (n - 3))
    return float(np.tanh(np.arctanh(rho) - half)), float(np.tanh(np.arctanh(rho) + half))


def partial_spearman(x: ArrayLike, y: ArrayLike, controls: Sequence[ArrayLike]) -> float | None:
    """rho of x and y with what ranks of `controls` explain taken out of both (least squares); None where nothing is
    left of one of them."""
    one, two, *others = (scipy_stats.rankdata(values) for values in (x, y, *controls))
    design = np.column_stack([np.ones_like(one), *others])
    if one.size <= design.shape[1]:
        return None
    left = [ranks - design @ np.linalg.lstsq(design, ranks, rcond=None)[0] for ranks in (one, two)]
    sizes = [float(np.linalg.norm(rest)) for rest in left]
    if min(sizes) < 1e-9 * one.size:
        return None
    return float(left[0] @ left[1] / (sizes[0] * sizes[1]))


def ordered_trend(group: ArrayLike, y: ArrayLike) -> tuple[float, float] | None:
    """Kendall's tau of ordered groups with y, and two-sided p: the Jonckheere–Terpstra test, ties corrected.

    None where one of the two does not vary. Kendall 1970, chapter 4; Jonckheere 1954.
    """
    found = scipy_stats.kendalltau(group, y, method="asymptotic")
    return None if np.isnan(found.statistic) else (float(found.statistic), float(found.pvalue))


def median_interval(values: ArrayLike) -> tuple[float, float] | None:
    """95 % limits of a median, whatever the distribution: two order statistics; None below 6 values.

    What a bootstrap of the median converges to. David & Nagaraja 2003, 7.1.
    """
    ordered = np.sort(np.asarray(values, dtype=float))
    first = int(scipy_stats.binom.ppf(0.025, ordered.size, 0.5)) - 1
    return None if first < 0 else (float(ordered[first]), float(ordered[ordered.size - 1 - first]))
