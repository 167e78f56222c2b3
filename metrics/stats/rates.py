"""Two counts and what may be said of their rates: intervals, differences, tests. NumPy in, numbers out."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats as scipy_stats

Z95 = 1.959963984540054
"""The 97.5 % point of the standard normal distribution."""

Floats = NDArray[np.float64]


def wilson(k: int, n: int, z: float = Z95) -> tuple[float, float] | None:
    """The score interval of a rate k/n (S-WILSON); None where n is 0.

    Wilson 1927, https://doi.org/10.1080/01621459.1927.10502953
    """
    if n == 0:
        return None
    p, z2 = k / n, z * z
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = z * np.sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return (0.0 if k == 0 else float(centre - half)), (1.0 if k == n else float(centre + half))


def newcombe(k1: int, n1: int, k2: int, n2: int) -> tuple[float, float, float] | None:
    """The difference of two rates k1/n1 - k2/n2 and its limits (S-NEWCOMBE); None where an n is 0.

    Newcombe 1998, method 10, https://doi.org/10.1002/(SICI)1097-0258(19980430)17:8<873::AID-SIM779>3.0.CO;2-I
    """
    first, second = wilson(k1, n1), wilson(k2, n2)
    if first is None or second is None:
        return None
    p1, p2 = k1 / n1, k2 / n2
    (l1, u1), (l2, u2) = first, second
    d = p1 - p2
    lo = d - np.sqrt((p1 - l1) ** 2 + (u2 - p2) ** 2)
    hi = d + np.sqrt((u1 - p1) ** 2 + (p2 - l2) ** 2)
    return d, float(lo), float(hi)


def fisher(table: Sequence[Sequence[int]]) -> float:
    """The two-sided p of a 2x2 table: the sum of all tables no likelier than this one (S-FISHER)."""
    return float(scipy_stats.fisher_exact(table).pvalue)


def benjamini_hochberg(p: ArrayLike) -> Floats:
    """q of each p, in the order given (S-BH): at most this share of those flagged up to here is chance."""
    values = np.asarray(p, dtype=float)
    m = values.size
    order = np.argsort(values, kind="stable")
    raised = values[order] * m / np.arange(1, m + 1)
    q = np.minimum(np.minimum.accumulate(raised[::-1])[::-1], 1.0)
    result: Floats = np.empty(m)
    result[order] = q
    return result


def shrunken(k: ArrayLike, n: ArrayLike, mean: ArrayLike, weight: float = 20) -> Floats:
    """Rates k/n drawn towards `mean` as if each had `weight` cases more of it (S-EB): to rank small groups by."""
    counted = np.asarray(k, dtype=float)
    rates: Floats = (counted + weight * np.asarray(mean, dtype=float)) / (np.asarray(n, dtype=float) + weight)
    return rates


@dataclass(frozen=True)
class MantelHaenszel:
    """One odds ratio over strata, its 95 % limits, and whether it is 1 (chi2 of 1 degree of freedom, uncorrected)."""

    odds_ratio: float
    lo: float
    hi: float
    chi2: float
    p: float


def mantel_haenszel(tables: ArrayLike) -> MantelHaenszel | None:
    """S-MH over 2x2 tables [[a, b], [c, d]]; None where no stratum has both rows and both outcomes.

    Mantel & Haenszel 1959; limits by Robins, Breslow & Greenland 1986, https://doi.org/10.2307/2531052
    """
    cells = np.asarray(tables, dtype=float).reshape(-1, 4)
    cells = cells[cells.sum(axis=1) > 1]
    a, b, c, d = cells.T
    n = cells.sum(axis=1)
    one, two, hits, misses = a + b, c + d, a + c, b + d
    variance = float((one * two * hits * misses / (n * n * (n - 1))).sum())
    r, s = a * d / n, b * c / n
    up, down = float(r.sum()), float(s.sum())
    if variance == 0 or up == 0 or down == 0:
        return None
    chi2 = float((a - one * hits / n).sum() ** 2 / variance)
    p_share, q_share = (a + d) / n, (b + c) / n
    spread = (
        (p_share * r).sum() / (2 * up**2)
        + (p_share * s + q_share * r).sum() / (2 * up * down)
        + (q_share * s).sum() / (2 * down**2)
    )
    ratio, half = up / down, Z95 * float(np.sqrt(spread))
    return MantelHaenszel(
        ratio,
        float(ratio * np.exp(-half)),
        float(ratio * np.exp(half)),
        chi2,
        float(scipy_stats.chi2.sf(chi2, 1)),
    )


def cochran_armitage(k: ArrayLike, n: ArrayLike) -> tuple[float, float] | None:
    """Z and two-sided p of a trend of the rates k/n over equally spaced times (S-CA); None where there is none to see.

    Cochran 1954, Armitage 1955, https://doi.org/10.2307/3001775
    """
    hits, cases = np.asarray(k, dtype=float), np.asarray(n, dtype=float)
    w, total = np.arange(hits.size, dtype=float), cases.sum()
    mean = hits.sum() / total if total else 0.0
    variance = mean * (1 - mean) * ((w * w * cases).sum() - (w * cases).sum() ** 2 / total) if total else 0.0
    if variance <= 0:
        return None
    z = float((w * (hits - cases * mean)).sum() / np.sqrt(variance))
    return z, float(2 * scipy_stats.norm.sf(abs(z)))
