"""How long until something happens, where it has not happened to all yet. NumPy in, numbers out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats as scipy_stats

from metrics.stats.rates import Z95, Floats

HALF = 1e-12
"""Products of floats such as 0.5000000000000001 count as one half."""


@dataclass(frozen=True)
class Survival:
    """A product-limit curve (S-KM): S(t) just after each event time, with 95 % bands on log(-log S).

    times: distinct event times, rising. at_risk, events: at each. lo, hi: NaN where S is 0 or 1 and there is no band.
    """

    n: int
    times: Floats
    at_risk: Floats
    events: Floats
    survival: Floats
    lo: Floats
    hi: Floats

    def at(self, t: float) -> float:
        """S(t)."""
        i = int(np.searchsorted(self.times, t, side="right"))
        return float(self.survival[i - 1]) if i else 1.0

    def quantile(self, share: float) -> float | None:
        """The smallest t by which `share` have had the event; None if that is never seen."""
        return _first(self.times, self.survival <= 1 - share + HALF)

    def quantile_ci(self, share: float = 0.5) -> tuple[float | None, float | None]:
        """Where the lower and the upper band fall to 1 - share; None where one never does."""
        level = 1 - share + HALF
        return _first(self.times, self._band(self.lo) <= level), _first(self.times, self._band(self.hi) <= level)

    @property
    def median(self) -> float | None:
        return self.quantile(0.5)

    def rmst(self, tau: float) -> float:
        """The mean time lived within `tau`: the area under S up to it."""
        inside = self.times < tau
        edges = np.concatenate(([0.0], self.times[inside], [tau]))
        heights = np.concatenate(([1.0], self.survival[inside]))
        return float(np.sum(np.diff(edges) * heights))

    def _band(self, band: Floats) -> Floats:
        """At S = 0 both bands are 0; above the first event both are 1."""
        return np.where(np.isnan(band), np.where(self.survival <= HALF, 0.0, 1.0), band)


def kaplan_meier(durations: ArrayLike, is_event: ArrayLike, entries: ArrayLike | None = None) -> Survival:
    """S-KM. Durations in any unit; where is_event is false the end is not seen yet. Ties: events before censorings.

    entries: time since its own start at which each came under observation (delayed entry), 0 where None.

    Kaplan & Meier 1958; variance by Greenwood; bands on log(-log S), Kalbfleisch & Prentice 2002, 1.4.
    """
    t = np.asarray(durations, dtype=float)
    seen = np.asarray(is_event, dtype=bool)
    # Who is watched from the start is at risk at 0 too: a stay of no length is an event.
    start = np.full_like(t, -np.inf) if entries is None else np.asarray(entries, dtype=float)
    times, events = np.unique(t[seen], return_counts=True)
    at_risk = _at_risk(times, t, start)
    d = events.astype(float)
    survival = np.cumprod(1 - d / at_risk).astype(np.float64)
    lo, hi = _log_log_bands(survival, d, at_risk)
    return Survival(int(t.size), times, at_risk, d, survival, lo, hi)


def _at_risk(times: Floats, durations: Floats, starts: Floats) -> Floats:
    """How many are under observation just before each of `times`."""
    left = np.searchsorted(np.sort(durations), times, side="left")
    come = np.searchsorted(np.sort(starts), times, side="left")
    return (come - left).astype(float)


def _log_log_bands(survival: Floats, d: Floats, at_risk: Floats) -> tuple[Floats, Floats]:
    with np.errstate(divide="ignore", invalid="ignore"):
        greenwood = np.cumsum(d / (at_risk * (at_risk - d)))
        log_s = np.log(survival)
        spread = Z95 * np.sqrt(greenwood) / np.abs(log_s)
        lo, hi = survival ** np.exp(spread), survival ** np.exp(-spread)
    defined = (survival > HALF) & (survival < 1)
    return np.where(defined, lo, np.nan), np.where(defined, hi, np.nan)


def _first(times: Floats, where: NDArray[np.bool_]) -> float | None:
    hits = np.flatnonzero(where)
    return float(times[hits[0]]) if hits.size else None


@dataclass(frozen=True)
class Incidence:
    """Competing outcomes (S-AJ): the share that has had each by the time, and the share still without any."""

    times: Floats
    open: Floats
    by_cause: dict[Any, Floats]

    def at(self, t: float, cause: Any) -> float:
        """CIF of `cause` by `t`; 0 for a cause nobody has had."""
        return self._value(self.by_cause.get(cause), t, 0.0)

    def open_at(self, t: float) -> float:
        return self._value(self.open, t, 1.0)

    def _value(self, curve: Floats | None, t: float, before: float) -> float:
        i = int(np.searchsorted(self.times, t, side="right"))
        return float(curve[i - 1]) if i and curve is not None else before


def aalen_johansen(durations: ArrayLike, causes: Sequence[Any] | NDArray[Any]) -> Incidence:
    """S-AJ. `causes`: what each ended with, None where it has not ended yet.

    CIF_c(t) = sum over u <= t of S(u-) d_c(u) / n(u), S the all-cause Kaplan-Meier curve. 1 - KM with other causes as
    censoring would overstate each. Aalen & Johansen 1978.
    """
    t = np.asarray(durations, dtype=float)
    what = np.array([*causes, None], dtype=object)[:-1]
    ended = np.array([cause is not None for cause in what], dtype=bool)
    curve = kaplan_meier(t, ended)
    before = np.concatenate(([1.0], curve.survival[:-1])) if curve.times.size else np.empty(0)
    by_cause = {}
    for cause in sorted({cause for cause in what if cause is not None}):
        own, counts = np.unique(t[what == cause], return_counts=True)
        d = np.zeros(curve.times.size)
        d[np.searchsorted(curve.times, own)] = counts
        by_cause[cause] = np.cumsum(before * d / curve.at_risk)
    return Incidence(curve.times, curve.survival, by_cause)


def shares_by(
    groups: ArrayLike,
    durations: ArrayLike,
    is_event: ArrayLike,
    is_wanted: ArrayLike,
    *,
    horizons: Sequence[float],
    n: int,
) -> Floats:
    """CIF (S-AJ) of the wanted among competing events, of many groups at once: a row per group 0..n-1, NaN where it is
    empty, a column per horizon.

    Events of one time are taken one after another, which multiplies out to the same: (n-1)/n · (n-2)/(n-1) = (n-2)/n.
    """
    group, t = np.asarray(groups, dtype=np.int64), np.asarray(durations, dtype=float)
    seen, wanted = np.asarray(is_event, dtype=bool), np.asarray(is_wanted, dtype=bool)
    size = np.bincount(group, minlength=n)
    order = np.lexsort((~seen, t, group))
    group, t, seen, wanted = group[order], t[order], seen[order], wanted[order]
    at_risk = np.cumsum(size)[group] - np.arange(group.size)
    factors = np.where(seen & (at_risk > 1), 1 - 1 / at_risk, 1.0)  # the last of a group leaves nobody after it
    logs = np.concatenate(([0.0], np.cumsum(np.log(factors))))
    first = np.cumsum(size) - size
    weights = np.where(seen & wanted, np.exp(logs[:-1] - logs[first[group]]) / at_risk, 0.0)
    columns = [np.bincount(group, weights * (t <= horizon), n) for horizon in horizons]
    return np.where(size[:, None] > 0, np.stack(columns, axis=1), np.nan)


def logrank(durations: ArrayLike, is_event: ArrayLike, is_first: ArrayLike) -> tuple[float, float]:
    """chi2 (1 degree of freedom) and p of two groups having one survival curve (S-LOGRANK). Mantel 1966."""
    t, seen = np.asarray(durations, dtype=float), np.asarray(is_event, dtype=bool)
    one = np.asarray(is_first, dtype=bool)
    times, events = np.unique(t[seen], return_counts=True)
    n = _at_risk(times, t, np.zeros_like(t))
    n1 = _at_risk(times, t[one], np.zeros(int(one.sum())))
    own, counts = np.unique(t[seen & one], return_counts=True)
    d, d1 = events.astype(float), np.zeros(times.size)
    d1[np.searchsorted(times, own)] = counts
    expected = d * n1 / n
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = np.where(n > 1, d * (n1 / n) * (1 - n1 / n) * (n - d) / (n - 1), 0.0)
    total = float(variance.sum())
    if total == 0:
        return 0.0, 1.0
    chi2 = float((d1 - expected).sum() ** 2 / total)
    return chi2, float(scipy_stats.chi2.sf(chi2, 1))
