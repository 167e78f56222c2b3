"""Formulas against the catalogue's numbers, published data and slow definitions."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics.stats.rates import (
    benjamini_hochberg,
    cochran_armitage,
    fisher,
    mantel_haenszel,
    newcombe,
    shrunken,
    wilson,
)
from metrics.stats.survival import aalen_johansen, kaplan_meier, logrank

# Freireich et al. 1963, remission of leukaemia in weeks (Gehan 1965); + still in remission.
SIX_MP = "6 6 6 7 10 13 16 22 23 6+ 9+ 10+ 11+ 17+ 19+ 20+ 25+ 32+ 32+ 34+ 35+"
PLACEBO = "1 1 2 2 3 4 4 5 5 8 8 8 8 11 11 12 12 15 17 22 23"


def observed(text):
    words = text.split()
    return [float(word.strip("+")) for word in words], [not word.endswith("+") for word in words]


def test_wilson_gives_the_catalogues_limits():
    assert wilson(8, 10) == pytest.approx((0.490162, 0.943318), abs=1e-6)
    assert wilson(0, 10) == pytest.approx((0, 0.277533), abs=1e-6)
    assert wilson(34, 200) == pytest.approx((0.124279, 0.228158), abs=1e-6)
    assert wilson(0, 0) is None


def test_newcombe_gives_the_catalogues_limits():
    assert newcombe(56, 70, 48, 80) == pytest.approx((0.2, 0.052431, 0.333873), abs=1e-6)
    assert newcombe(1, 2, 0, 0) is None


def test_fisher_sums_what_is_no_likelier():
    assert fisher([[3, 1], [1, 3]]) == pytest.approx(0.485714, abs=1e-6)


def test_q_values_keep_the_order_of_the_rows_and_never_exceed_one():
    # sorted p 0.005 0.01 0.03 0.04, times 4/1 4/2 4/3 4/4
    assert benjamini_hochberg([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.02, 0.04, 0.04, 0.02])
    assert benjamini_hochberg([0.9, 0.8]) == pytest.approx([0.9, 0.9])
    assert benjamini_hochberg([]).size == 0


# Berkeley admissions of 1973: men admitted, men refused, women admitted, women refused, by department A to F.
BERKELEY = [
    (512, 313, 89, 19),
    (353, 207, 17, 8),
    (120, 205, 202, 391),
    (138, 279, 131, 244),
    (53, 138, 94, 299),
    (22, 351, 24, 317),
]


def test_strata_turn_what_the_pooled_table_says():
    pooled = mantel_haenszel([tuple(map(sum, zip(*BERKELEY, strict=True)))])
    assert pooled is not None
    assert pooled.chi2 == pytest.approx(92.2053, rel=1e-3)  # here with n - 1, as of one stratum
    found = mantel_haenszel(BERKELEY)
    assert found is not None
    assert (found.odds_ratio, found.chi2) == pytest.approx((0.904697, 1.524607), abs=1e-6)
    assert found.lo < found.odds_ratio < 1 < found.hi


def test_a_manager_with_the_worst_leads_is_not_the_worst():
    """C3's trap: crude 26 % against 60.8 %."""
    found = mantel_haenszel([(8, 2, 70, 30), (18, 72, 3, 17)])
    assert found is not None
    assert (found.odds_ratio, found.p) == pytest.approx((1.533708, 0.412542), abs=1e-6)


def test_strata_without_both_sides_say_nothing():
    assert mantel_haenszel([(0, 5, 0, 5)]) is None
    assert mantel_haenszel([(0, 0, 3, 4)]) is None
    assert mantel_haenszel([]) is None


def test_a_rising_share_is_told_from_noise():
    """C6 of the catalogue."""
    assert cochran_armitage([6, 7, 9, 12, 13, 16], [40, 42, 45, 44, 46, 48]) == pytest.approx(
        (2.495637, 0.012573), abs=1e-6
    )
    assert cochran_armitage([1, 1], [5, 5]) == (0, 1)
    for flat in ([[0, 0], [5, 5]], [[5, 5], [5, 5]], [[], []], [[0], [0]], [[1], [5]]):
        assert cochran_armitage(*flat) is None


def test_small_groups_are_drawn_to_the_mean():
    """C3 of the catalogue, which has 0.119266 for the last: (8 + 20/6) / 95 is 0.119298."""
    rates = shrunken([18, 10, 9, 8], [60, 70, 65, 75], 1 / 6)
    assert rates == pytest.approx([0.266667, 0.148148, 0.145098, 0.119298], abs=1e-6)


def test_stage_durations_of_the_catalogue():
    """E5: + is still there."""
    curve = kaplan_meier(*observed("1 2 2 3 4+ 5 6+ 8 10+ 12+"))
    assert curve.times.tolist() == [1, 2, 3, 5, 8]
    assert curve.survival == pytest.approx([0.9, 0.7, 0.6, 0.48, 0.32])
    assert curve.median == 5
    assert curve.quantile_ci() == (1, None)
    assert curve.rmst(12) == pytest.approx(6.52)


def test_a_median_of_exactly_one_half_counts():
    curve = kaplan_meier([1, 2, 3, 4, 5, 6, 7, 8, 9, 10], [True] * 10)
    assert curve.median == 5
    assert kaplan_meier([3, 4], [False, False]).median is None


def test_remission_of_leukaemia_has_the_published_medians():
    treated, placebo = observed(SIX_MP), observed(PLACEBO)
    curve = kaplan_meier(*treated)
    assert (curve.n, curve.median, curve.quantile_ci()) == (21, 23, (13, None))
    curve = kaplan_meier(*placebo)
    assert (curve.n, curve.median, curve.quantile_ci()) == (21, 8, (4, 11))


def test_remission_of_leukaemia_has_the_published_log_rank():
    (t1, e1), (t2, e2) = observed(SIX_MP), observed(PLACEBO)
    chi2, p = logrank([*t1, *t2], [*e1, *e2], [True] * 21 + [False] * 21)
    assert chi2 == pytest.approx(16.792941, abs=1e-6)
    assert p == pytest.approx(4.168809e-05, rel=1e-6)


def test_competing_outcomes_of_the_catalogue():
    """E4: w won, l lost, o open; the wrong 1 - KM is larger."""
    durations = [1, 2, 2, 3, 4, 5, 6, 8, 10, 12]
    causes = ["won", "lost", "won", "won", None, "lost", None, "won", None, None]
    curve = aalen_johansen(durations, causes)
    assert curve.at(12, "won") == pytest.approx(0.46)
    assert curve.at(12, "lost") == pytest.approx(0.22)
    assert curve.open_at(12) == pytest.approx(0.32)
    wrong = 1 - kaplan_meier(durations, [cause == "won" for cause in causes]).at(12)
    assert wrong == pytest.approx(0.542857, abs=1e-6)


def test_nobody_and_nothing_are_answers():
    assert kaplan_meier([], []).median is None
    assert kaplan_meier([], []).rmst(10) == 10
    assert aalen_johansen([], []).at(1, "won") == 0
    assert logrank([1, 2], [False, False], [True, False]) == (0.0, 1.0)


def test_a_late_comer_is_not_at_risk_before_he_came():
    """Of three who left at 2, 3 and 4 the last came under observation at 2.5."""
    curve = kaplan_meier([2, 3, 4], [True] * 3, entries=[0, 0, 2.5])
    assert curve.at_risk.tolist() == [2, 2, 1]


observations = st.lists(st.tuples(st.integers(1, 12), st.sampled_from([None, "lost", "won"])), min_size=1, max_size=25)


@given(observations)
def test_shares_of_outcomes_and_open_ones_are_one(rows):
    durations, causes = zip(*rows, strict=True)
    curve = aalen_johansen(durations, causes)
    for t in range(13):
        assert curve.at(t, "won") + curve.at(t, "lost") + curve.open_at(t) == pytest.approx(1)


@given(observations)
def test_survival_follows_its_definition_and_any_order(rows):
    durations, causes = zip(*rows, strict=True)
    seen = [cause is not None for cause in causes]
    curve = kaplan_meier(durations, seen)
    for t in range(1, 13):
        product = 1.0
        for u in range(1, t + 1):
            d = sum(1 for duration, event in zip(durations, seen, strict=True) if duration == u and event)
            n = sum(1 for duration in durations if duration >= u)
            product *= 1 - d / n if n else 1
        assert curve.at(t) == pytest.approx(product)
    again = kaplan_meier(durations[::-1], seen[::-1])
    assert np.array_equal(curve.survival, again.survival)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_q_is_the_least_level_that_flags(p):
    """Flagging q <= level is the step-up rule: the largest i with p(i) <= i/m * level."""
    q, m = benjamini_hochberg(p), len(p)
    for level in (0.05, 0.1, 0.5):
        passing = [x for i, x in zip(itertools.count(1), sorted(p), strict=False) if x <= i / m * level * (1 + 1e-12)]
        limit = max(passing, default=-1)
        assert [bool(value <= level * (1 + 1e-12)) for value in q] == [value <= limit for value in p]
