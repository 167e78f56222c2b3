"""Amounts: rule R-MONEY."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.money import currency_code, times, to_minor


@pytest.mark.parametrize(
    ("amount", "currency", "minor"),
    [
        (145000, "RUB", 14500000),
        (0, "RUB", 0),
        (144999.99, "RUB", 14499999),
        (0.1 + 0.2, "RUB", 30),
        ("1 500,50", "RUB", 150050),
        (1.005, "RUB", 100),  # half to even
        (500, "JPY", 500),
        (500, "KWD", 500000),
        (None, "RUB", None),
        ("много", "RUB", None),
        ("nan", "RUB", None),
        (float("inf"), "RUB", None),
        (True, "RUB", None),
        (10**30, "RUB", None),
        ([], "RUB", None),
    ],
)
def test_minor_units(amount, currency, minor):
    assert to_minor(amount, currency) == minor


@pytest.mark.parametrize(
    ("price", "quantity", "total"),
    [(4500000, 3, 13500000), (10, 0.1, 1), (110, 1.15, 126), (5, 0.5, 2), (None, 3, None), (10**17, 2, None)],
)
def test_a_price_by_a_quantity_is_exact(price, quantity, total):
    assert times(price, quantity) == total


@given(st.integers(-(10**14), 10**14))
def test_text_and_number_are_the_same_amount(amount):
    assert to_minor(amount, "RUB") == to_minor(str(amount), "RUB") == amount * 100


@pytest.mark.parametrize(("said", "code"), [("RUR", "RUB"), ("rub", "RUB"), (None, "RUB"), ("kzt", "KZT")])
def test_the_old_rouble_is_the_rouble(said, code):
    assert currency_code(said) == code
