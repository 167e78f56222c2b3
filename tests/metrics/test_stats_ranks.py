"""Rank correlation against the catalogue's numbers and slow definitions."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from metrics.stats.ranks import median_interval, ordered_trend, partial_spearman, spearman

X = [2, 5, 1, 8, 4, 7, 3, 6, 0, 9]
Y = [30, 55, 10, 70, 65, 90, 20, 60, 15, 80]


def test_b5_of_the_catalogue():
    found = spearman(X, Y)
    assert found is not None
    assert (found.rho, found.lo, found.hi) == pytest.approx((0.903030, 0.543749, 0.982583), abs=1e-6)
    assert scipy_stats.spearmanr(X, Y).pvalue == pytest.approx(3.4361e-04, rel=1e-4)
    assert found.p == pytest.approx(0.00086, abs=5e-4)  # of a million permutations; the t approximation is too sure


def test_p_of_few_is_that_of_all_permutations():
    x, y = [1, 2, 3, 4, 5, 6], [2, 1, 4, 3, 6, 5]
    rho = spearman(x, y)
    assert rho is not None
    all_of_them = [spearman_of(x, other) for other in itertools.permutations(y)]
    exact = np.mean([abs(other) >= abs(rho.rho) - 1e-12 for other in all_of_them])
    assert rho.p == pytest.approx(exact, abs=0.01)


def spearman_of(x, y):
    return float(np.corrcoef(scipy_stats.rankdata(x), scipy_stats.rankdata(y))[0, 1])


def test_of_many_p_is_by_t():
    x = list(range(60))
    y = [(n * 7) % 60 for n in x]
    found = spearman(x, y)
    assert found is not None
    assert found.p == pytest.approx(scipy_stats.spearmanr(x, y).pvalue)


def test_what_does_not_vary_goes_with_nothing():
    assert spearman([1, 1, 1], [1, 2, 3]) is None
    assert spearman([1, 2], [1, 2]) is None
    assert partial_spearman([1, 2, 3, 4], [1, 2, 3, 4], [[1, 2, 3, 4]]) is None
    assert ordered_trend([0, 0, 0], [1, 2, 3]) is None


def test_of_a_perfect_order_there_are_no_limits():
    found = spearman([1, 2, 3, 4], [1, 2, 3, 4])
    assert found is not None
    assert (found.rho, found.lo, found.hi) == (pytest.approx(1), None, None)


def test_what_a_third_thing_explains_is_taken_out():
    rng = np.random.default_rng(1)
    age = rng.normal(size=400)
    touches, money = age + rng.normal(size=400), age + rng.normal(size=400)
    raw = spearman(touches, money)
    assert raw is not None
    assert raw.rho > 0.35
    assert abs(partial_spearman(touches, money, [age]) or 1) < 0.12


def test_ordered_groups_are_counted_pair_by_pair():
    """Jonckheere's J: pairs of different groups in which the later has more, ties for half."""
    groups, y = [0, 0, 0, 1, 1, 2, 2, 2], [1, 4, 2, 3, 5, 4, 6, 7]
    pairs = [(a, b) for a, b in itertools.combinations(range(8), 2) if groups[a] != groups[b]]
    j = sum((y[b] > y[a]) + (y[b] == y[a]) / 2 for a, b in pairs)
    assert j == 18.5  # of 21
    found = ordered_trend(groups, y)
    assert found is not None
    # With S = 2 J - pairs the variance of J is a quarter of that of S; z is the same.
    n, sizes, ties = 8, (3, 2, 3), (2,)
    weigh = lambda k: k * (k - 1) * (2 * k + 5)  # noqa: E731
    variance = (weigh(n) - sum(map(weigh, sizes)) - sum(map(weigh, ties))) / 72
    variance += sum(k * (k - 1) for k in sizes) * sum(t * (t - 1) for t in ties) / (8 * n * (n - 1))
    z = (j - 21 / 2) / variance**0.5
    assert found[1] == pytest.approx(2 * scipy_stats.norm.sf(abs(z)), rel=1e-9)


@given(st.lists(st.integers(-50, 50), min_size=6, max_size=40))
def test_the_limits_of_a_median_lie_around_it(values):
    lo, hi = median_interval(values) or (1, 0)
    assert lo <= np.median(values) <= hi


def test_few_values_limit_no_median():
    assert median_interval([1, 2, 3, 4, 5]) is None
    assert median_interval([1, 2, 3, 4, 5, 6]) == (1, 6)
