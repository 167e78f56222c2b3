"""Queueing, series and counts against the catalogue's numbers (3, 5.3) and slow definitions."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics.stats.counts import count_limits, count_p, distribution, gini, goodness_of_fit
from metrics.stats.queueing import agents_needed, erlang_a, erlang_b, erlang_c, service
from metrics.stats.series import mann_kendall, pettitt, robust_z

# Flow of the Nile at Aswan, 1871-1970 (Cobb 1978; R's datasets::Nile).
NILE = [
    *(1120, 1160, 963, 1210, 1160, 1160, 813, 1230, 1370, 1140, 995, 935, 1110, 994, 1020, 960, 1180, 799, 958, 1140),
    *(1100, 1210, 1150, 1250, 1260, 1220, 1030, 1100, 774, 840, 874, 694, 940, 833, 701, 916, 692, 1020, 1050, 969),
    *(831, 726, 456, 824, 702, 1120, 1100, 832, 764, 821, 768, 845, 864, 862, 698, 845, 744, 796, 1040, 759),
    *(781, 865, 845, 944, 984, 897, 822, 1010, 771, 676, 649, 846, 812, 742, 801, 1040, 860, 874, 848, 890),
    *(744, 749, 838, 1050, 918, 986, 797, 923, 975, 815, 1020, 906, 901, 1170, 912, 746, 919, 718, 714, 740),
]


def test_erlang_b_of_the_catalogue():
    assert erlang_b(10, 10) == pytest.approx(0.214582, abs=1e-6)


@pytest.mark.parametrize(("load", "n"), [(4.461, 10), (12.03, 20), (84.1, 100)])
def test_erlang_b_of_the_traffic_tables(load, n):
    """One call in a hundred is blocked; the tables round the load."""
    assert erlang_b(load, n) == pytest.approx(0.01, rel=1e-2)


@pytest.mark.parametrize(
    ("n", "waits", "sl"),
    [(11, 0.682118, 0.389614), (12, 0.449388, 0.640158), (13, 0.285270, 0.795595), (14, 0.174132, 0.888350)],
)
def test_erlang_c_of_a_hundred_calls_in_half_an_hour(n, waits, sl):
    served = service(100 / 1800, 180, n, target_s=20)
    assert (served.p_wait, served.sl) == pytest.approx((waits, sl), abs=1e-6)
    assert erlang_c(10, n) == pytest.approx(waits, abs=1e-6)


def test_eighty_in_twenty_needs_fourteen_agents():
    served = agents_needed(100 / 1800, 180, sl=0.8, target_s=20, max_occupancy=0.85)
    assert served.n == 14
    assert (served.asa_s, served.occupancy) == pytest.approx((7.835937, 0.714286), abs=1e-6)
    assert math.ceil(served.n / (1 - 0.30)) == 20


def test_erlang_c_of_fifty_five_agents():
    served = service(360 / 1800, 240, 55, target_s=15)
    found = (served.occupancy, served.p_wait, served.asa_s, served.sl)
    assert found == pytest.approx((0.872727, 0.238701, 8.184032, 0.845883), abs=1e-6)


def test_erlang_a_of_garnett_mandelbaum_and_reiman():
    """The paper says 3.1 %, 3.7 s, 93 %; without impatience 20.8 s and 96 %."""
    found = erlang_a(48 / 60, 60, 120, 50)
    assert (found.p_abandon, found.occupancy, found.p_wait) == pytest.approx((0.030912, 0.930324, 0.467774), abs=1e-6)
    assert found.wait_s == pytest.approx(3.709470, abs=1e-6)
    patient = service(48 / 60, 60, 50, target_s=20)
    assert (patient.asa_s, patient.p_wait, patient.occupancy) == pytest.approx((20.833668, 0.694456, 0.96), abs=1e-6)


def test_erlangs_of_a_small_team():
    """A11 of the catalogue."""
    assert service(60 / 3600, 210, 5, target_s=20).sl == pytest.approx(0.672460, abs=1e-6)
    served = agents_needed(60 / 3600, 210, sl=0.8, target_s=20, max_occupancy=0.85)
    assert served.n == 6
    found = (served.p_wait, served.asa_s, served.sl, served.occupancy)
    assert found == pytest.approx((0.177467, 14.907240, 0.860133, 0.583333), abs=1e-6)
    leaving = erlang_a(60 / 3600, 210, 120, 5)
    assert (leaving.p_abandon, leaving.wait_s) == pytest.approx((0.087811, 10.537291), abs=1e-6)
    assert leaving.occupancy == pytest.approx(0.638532, abs=1e-6)


def test_a_queue_that_only_grows_and_one_without_calls():
    grown = service(1, 10, 10, target_s=20)
    assert (grown.p_wait, grown.asa_s, grown.sl, grown.occupancy) == (1, math.inf, 0, 1)
    assert agents_needed(0, 100, sl=0.8, target_s=20, max_occupancy=0.85).n == 0
    assert erlang_a(0, 100, 100, 3).p_abandon == 0


def test_agents_are_not_busier_than_allowed():
    assert agents_needed(1, 100, sl=0.01, target_s=20, max_occupancy=0.5).n == 200
    assert agents_needed(1, 100, sl=0.01, target_s=20, max_occupancy=1).n == 101


@given(st.floats(0.01, 60), st.integers(1, 80))
def test_erlang_b_follows_its_definition(load, n):
    terms = [k * math.log(load) - math.lgamma(k + 1) for k in range(n + 1)]
    total = max(terms) + math.log(sum(math.exp(term - max(terms)) for term in terms))
    assert erlang_b(load, n) == pytest.approx(math.exp(terms[-1] - total), rel=1e-9)


@given(st.floats(0.001, 0.3), st.floats(10, 600), st.integers(1, 60))
def test_clients_of_endless_patience_leave_erlang_c(rate, aht_s, n):
    if rate * aht_s > 0.9 * n:
        return
    patient, queue = erlang_a(rate, aht_s, 1e9, n), service(rate, aht_s, n, target_s=20)
    assert patient.p_wait == pytest.approx(queue.p_wait, rel=1e-4, abs=1e-9)
    assert patient.wait_s == pytest.approx(queue.asa_s, rel=1e-3, abs=1e-6)


def test_the_nile_falls_and_broke_in_1898():
    trend = mann_kendall(NILE)
    assert (trend.s, trend.slope) == (-1387, pytest.approx(-2.6))
    assert trend.z == pytest.approx(-4.128067, abs=1e-6)
    k, after, p = pettitt(NILE)
    assert (k, after) == (1617, 28)
    assert p == pytest.approx(3.591e-7, rel=1e-3)


def test_weeks_of_a_tired_manager():
    """A10 of the catalogue: eight weeks, then four."""
    base, recent = [42, 45, 40, 44, 43, 41, 46, 44], [38, 31, 27, 24]
    trend = mann_kendall([*base, *recent])
    assert (trend.s, trend.slope) == (-33, -1.5)
    assert (trend.z, trend.p) == pytest.approx((-2.199499, 0.027842), abs=1e-6)
    k, after, p = pettitt([*base, *recent])
    assert (k, after) == (32, 8)
    assert p == pytest.approx(0.0751, abs=1e-4)
    assert robust_z(29.0, base) == pytest.approx(-6.520077, abs=1e-6)


def test_a_level_line_has_no_trend_and_no_scale():
    assert mann_kendall([3, 3, 3]).p == 1
    assert mann_kendall([3]).slope is None
    assert pettitt([3]) is None
    assert robust_z(5, [1, 1, 1]) is None
    assert robust_z(2, [1, 1, 1, 5]) == pytest.approx((2 - 1) / 1.2533)
    assert robust_z(2, []) is None


def test_a_fit_of_the_catalogue():
    """A9: to equal shares, and to hours of work."""
    equal = goodness_of_fit([120, 80, 60, 40], [75] * 4)
    assert (equal.chi2, equal.w) == pytest.approx((46.6667, 0.394405), abs=1e-4)
    assert equal.p == pytest.approx(4.0919e-10, rel=1e-4)
    worked = goodness_of_fit([120, 80, 60, 40], [100, 75, 75, 50])
    assert (worked.chi2, worked.df, worked.p) == pytest.approx((9.3333, 3, 0.025172), abs=1e-4)
    assert worked.resid == pytest.approx([2.4495, 0.6667, -2.0, -1.5492], abs=1e-4)
    assert gini([120, 80, 60, 40]) == pytest.approx(0.216667, abs=1e-6)


def test_few_expected_cases_are_judged_by_simulation():
    """Of 10 cases on two equal sides 9 and 1: exactly 22/1024."""
    fit = goodness_of_fit([9, 1], [5, 5])
    assert not fit.is_simulated
    fit = goodness_of_fit([8, 0], [4, 4])
    assert fit.is_simulated
    assert fit.p == pytest.approx(2 / 256, abs=0.003)
    assert goodness_of_fit([5], [5]) is None
    assert goodness_of_fit([0, 0], [1, 1]) is None


def test_a_surprising_count():
    # exp(-2) = 0.135335, 2 exp(-2) = 0.270671: less than two, and half of two.
    assert count_p(2, 2) == pytest.approx(2 * (1 - 0.135335 - 0.270671 - 0.135335), abs=1e-5)
    assert count_p(0, 5) == pytest.approx(math.exp(-5))
    lo, hi = count_limits(10)
    assert count_p(lo, 10) >= 0.01 > count_p(lo - 1, 10)
    assert count_p(hi, 10) >= 0.01 > count_p(hi + 1, 10)
    assert count_limits(0.0) == (0, 0)


def test_counts_that_vary_more_than_chance_have_wider_limits():
    assert count_limits(10, 15) == count_limits(10)
    assert count_limits(10, 60)[1] > count_limits(10)[1]
    wide = distribution(10, 60)
    assert (wide.mean(), wide.var()) == pytest.approx((10, 60))


@given(st.lists(st.integers(0, 9), min_size=2, max_size=12))
def test_a_trend_is_a_sum_over_pairs(values):
    s = sum(int(np.sign(later - earlier)) for earlier, later in itertools.combinations(values, 2))
    assert mann_kendall(values).s == s
    assert mann_kendall(values[::-1]).s == -s
    k, after, _ = pettitt(values)
    u = [sum(np.sign(a - b) for a in values[:t] for b in values[t:]) for t in range(1, len(values))]
    assert (k, after) == (max(abs(one) for one in u), 1 + next(i for i, one in enumerate(u) if abs(one) == k))
