"""Numbers in order of time: is there a trend, where is a break, how unusual is one. NumPy in, numbers out."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats as scipy_stats

from metrics.stats.rates import Floats

TO_SIGMA = 1.4826
"""The median absolute deviation times this is the standard deviation of normal data."""
MEAN_TO_SIGMA = 1.2533
"""The mean absolute deviation times this is."""


@dataclass(frozen=True)
class Trend:
    """Mann–Kendall: s, pairs that rise less those that fall; z; two-sided p. slope: Theil–Sen, per step."""

    s: int
    z: float
    p: float
    slope: float | None


def mann_kendall(values: ArrayLike) -> Trend:
    """S-MK and S-SEN: a trend of any shape, and its slope as the median of pairwise slopes; None below two values.

    Mann 1945, https://doi.org/10.2307/1907187; Sen 1968, https://doi.org/10.1080/01621459.1968.10480934
    """
    x = np.asarray(values, dtype=float)
    n = x.size
    i, j = np.triu_indices(n, 1)
    rises = x[j] - x[i]
    s = int(np.sign(rises).sum())
    ties = np.unique(x, return_counts=True)[1].astype(float)
    variance = (n * (n - 1) * (2 * n + 5) - float(np.sum(ties * (ties - 1) * (2 * ties + 5)))) / 18
    z = (s - np.sign(s)) / np.sqrt(variance) if variance > 0 else 0.0
    slope = float(np.median(rises / (j - i))) if n > 1 else None
    return Trend(s, float(z), float(2 * scipy_stats.norm.sf(abs(z))), slope)


def pettitt(values: ArrayLike) -> tuple[int, int, float] | None:
    """S-PETTITT: K, after how many values the level breaks (the first such place), approximate p; None below two.

    Pettitt 1979, https://doi.org/10.2307/2346729
    """
    x = np.asarray(values, dtype=float)
    n = x.size
    if n < 2:
        return None
    signs = np.sign(x[:, None] - x[None, :])
    u = np.array([signs[:t, t:].sum() for t in range(1, n)])
    k = int(np.abs(u).max())
    after = int(np.abs(u).argmax()) + 1
    return k, after, float(min(1.0, 2 * np.exp(-6 * k * k / (n**3 + n**2))))


def robust_z(value: float, base: ArrayLike) -> float | None:
    """S-RZ: how many robust standard deviations `value` is off the median of `base`; None where base never varies."""
    x: Floats = np.asarray(base, dtype=float)
    if x.size == 0:
        return None
    off = np.abs(x - np.median(x))
    scale = TO_SIGMA * float(np.median(off)) or MEAN_TO_SIGMA * float(np.mean(off))
    return (value - float(np.median(x))) / scale if scale else None
