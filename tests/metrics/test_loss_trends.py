"""C2 and C6: whether a reason rises, month by month, and whose refusals for the price are more than the others'."""

from datetime import date
from itertools import combinations
from statistics import median

import pytest
from decided_deals import AS_OF, answered, deal, moscow
from engines import on_every_engine

from metrics.loss_trends import PRICE, REASONS, window
from metrics.metric import Period

HALF_YEAR = Period(AS_OF, date(2025, 10, 1), date(2026, 4, 1))
PRICED, DECIDED = (6, 7, 9, 12, 13, 16), (40, 42, 45, 44, 46, 48)
MONTHS = ("2025-10", "2025-11", "2025-12", "2026-01", "2026-02", "2026-03")


def history(priced=PRICED, decided_n=DECIDED, user="user:1"):
    """Of `decided_n` deals a month `priced` lost for the price, the others won."""
    rows, number = [], 0
    for month, k, n in zip(MONTHS, priced, decided_n, strict=True):
        for i in range(n):
            number += 1
            kind = {"outcome": "lost", "reason": "price"} if i < k else {"outcome": "won"}
            name = f"lead:{user}:{number}"
            rows.append(deal(number, **kind, deal_id=name, outcome_at=moscow(f"{month}-15"), outcome_user_id=user))
    return rows


@on_every_engine
def test_c6_the_example_of_the_catalogue(engine):
    result = answered(PRICE, engine, history(), period=HALF_YEAR)
    assert result.tables["months"]["rate"].to_list() == pytest.approx(
        [0.150, 0.167, 0.200, 0.273, 0.283, 0.333], abs=5e-4
    )
    row = result.tables["trend"].row(0, named=True)
    assert (row["ca_z"], row["ca_p"]) == pytest.approx((2.495637, 0.012573), abs=1e-6)
    assert row["is_rising"]
    assert row["flag"]
    rates = [k / n for k, n in zip(PRICED, DECIDED, strict=True)]
    slopes = [(rates[j] - rates[i]) / (j - i) for i, j in combinations(range(6), 2)]
    assert row["slope"] == pytest.approx(median(slopes))


def test_c2_gives_the_same_for_the_reason_and_compares_the_last_two_months(polars_engine):
    row = answered(REASONS, polars_engine, history(), period=HALF_YEAR).tables["trend"].row(0, named=True)
    assert (row["reason"], row["num"], row["den"]) == ("Дорого", 63, 265)
    assert row["ca_z"] == pytest.approx(2.495637, abs=1e-6)
    assert (row["last_rate"], row["previous_rate"]) == (16 / 48, 13 / 46)
    assert row["last_diff_lo"] < row["last_diff"] < row["last_diff_hi"]


def test_the_months_are_whole_ones_before_the_end_of_the_period(polars_engine):
    assert window(Period(AS_OF, date(2026, 1, 1), date(2026, 4, 30)), 6) == (date(2025, 10, 1), date(2026, 4, 1))
    later = Period(AS_OF, date(2026, 1, 1), date(2026, 5, 1))  # April is not over
    rows = [*history(), deal(9999, reason="price")]
    months = answered(REASONS, polars_engine, rows, period=later).tables["months"]["month"]
    assert (months.min(), months.max()) == (date(2025, 11, 1), date(2026, 3, 1))


def test_a_month_without_the_reason_is_a_zero_and_one_without_deals_is_none(polars_engine):
    rows = history((3, 0, 0, 0, 2, 2), (10, 10, 0, 10, 10, 10))
    months = answered(REASONS, polars_engine, rows, period=HALF_YEAR).tables["months"]
    assert months.select("month", "num").rows() == [
        (date(2025, 10, 1), 3),
        (date(2025, 11, 1), 0),
        (date(2026, 1, 1), 0),
        (date(2026, 2, 1), 2),
        (date(2026, 3, 1), 2),
    ]


def test_an_account_that_lost_nothing_for_the_price_shows_zeros_not_nothing(polars_engine):
    result = answered(PRICE, polars_engine, history((0,) * 6), period=HALF_YEAR)
    assert result.tables["months"]["num"].to_list() == [0] * 6
    row = result.tables["trend"].row(0, named=True)
    assert (row["rate"], row["ca_z"], row["flag"]) == (0, None, None)


def test_too_few_deals_are_not_tested(polars_engine):
    few = history((0, 0, 0, 0, 1, 2), (1, 1, 1, 1, 2, 3))
    row = answered(REASONS, polars_engine, few, period=HALF_YEAR).tables["trend"].row(0, named=True)
    assert (row["low_n"], row["ca_p"], row["flag"]) == (True, None, None)
    asked = answered(REASONS, polars_engine, few, period=HALF_YEAR, params={"min_n": 5})
    assert asked.tables["trend"]["ca_p"].null_count() == 0


def test_the_more_reasons_the_stricter_the_flag(polars_engine):
    rows = [*history()]
    for number, reason in enumerate(("spam", "silent", "whim")):
        rows += [
            deal(0, reason=reason, deal_id=f"lead:{number}:{month}", outcome_at=moscow(f"{month}-15"))
            for month in MONTHS
        ]
    trend = answered(REASONS, polars_engine, rows, period=HALF_YEAR).tables["trend"].row(0, named=True)
    assert trend["q"] == pytest.approx(min(1, trend["ca_p"] * 4), rel=1e-6)


def test_a_manager_is_compared_with_the_others_and_a_leaver_with_nobody(polars_engine):
    rows = [
        *history((1,) * 6, (20,) * 6),
        *history((10,) * 6, (20,) * 6, "user:2"),
        *history((20,) * 6, (20,) * 6, "user:left"),
    ]
    table = answered(PRICE, polars_engine, rows, period=HALF_YEAR).tables["by_user"]
    found = {row["user_id"]: row for row in table.iter_rows(named=True)}
    assert found["user:2"]["diff"] == pytest.approx(60 / 120 - 6 / 120)
    assert found["user:2"]["flag"]
    assert found["user:left"]["diff"] is None


def test_amount_and_discount_of_those_lost_for_the_price_stand_beside(polars_engine):
    rows = [
        deal(1, reason="price", amount_minor=100),
        deal(2, reason="price", amount_minor=None),
        deal(3, "won", amount_minor=900),
    ]
    items = [
        {"deal_item_id": "1", "deal_id": "lead:1", "discount_minor": 10, "currency": "RUB"},
        {"deal_item_id": "2", "deal_id": "lead:1", "discount_minor": 5, "currency": "RUB"},
        {"deal_item_id": "3", "deal_id": "lead:2", "discount_minor": 7, "currency": "USD"},
        {"deal_item_id": "4", "deal_id": "lead:3", "discount_minor": 500, "currency": "RUB"},
    ]
    may = Period(moscow("2026-05-02"), date(2026, 4, 1), date(2026, 5, 1))
    row = answered(PRICE, polars_engine, rows, period=may, deal_item=items).tables["months"].row(0, named=True)
    assert (row["mean_amount_minor"], row["n_null_amount"]) == (100, 1)
    assert (row["mean_discount_minor"], row["n_discounted"]) == (15, 1)


def test_rows_behind_the_price_are_the_losses_of_each_manager(polars_engine):
    result = answered(PRICE, polars_engine, history(), period=HALF_YEAR)
    assert result.drilldown.height == result.tables["by_user"]["num"].sum() == 63
