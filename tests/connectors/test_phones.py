"""Phone numbers: rule R-PHONE."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.phones import numbers_in, to_e164


@pytest.mark.parametrize(
    ("raw", "number"),
    [
        ("+79999999999", "+79999999999"),
        ("79658723223", "+79658723223"),
        ("89058033708", "+79058033708"),
        ("+8 (905) 803-37-08", "+79058033708"),
        ("+7 (999) 123-45-67", "+79991234567"),
        ("9991234567", "+79991234567"),
        ("8 (383) 212-34-56", "+73832123456"),
        ("3832123456", "+73832123456"),
        ("+7 999 123-45-67 доб. 12", "+79991234567"),
        ("8 999 123 45 67 ext.5", "+79991234567"),
        ("+375 29 123-45-67", "+375291234567"),
        ("375291234567", "+375291234567"),
        ("+81 3-1234-5678", "+81312345678"),
        ("тел. 8(495)123-45-67 Иван", "+74951234567"),
    ],
)
def test_a_number_in_a_russian_account(raw, number):
    assert to_e164(raw, "RU") == number
    assert to_e164(number, "RU") == number


@pytest.mark.parametrize(
    "raw", [None, "", "anonymous", "0", "0000000000", "112", "12345", "+", "доб. 12", "999 999 999 999 999"]
)
def test_what_nobody_could_call_is_no_number(raw):
    assert to_e164(raw, "RU") is None


def test_ten_digits_are_read_as_the_accounts_country_dials_them():
    assert to_e164("9991234567", "KZ") == "+79991234567"
    assert to_e164("(202) 555-0123", "US") == "+12025550123"
    assert to_e164("029 123 45 67", "BY") == "+375291234567"


def test_several_numbers_in_one_value():
    assert numbers_in("8 999 123 45 67, +7 999 123-45-68", "RU") == [
        ("8 999 123 45 67", "+79991234567"),
        ("+7 999 123-45-68", "+79991234568"),
    ]
    assert numbers_in("8 999 123 45 67, Иван", "RU") == [("8 999 123 45 67, Иван", "+79991234567")]
    assert numbers_in("Иван", "RU") == [("Иван", None)]


@given(st.text())
def test_no_text_is_too_odd_and_a_number_is_its_own_number(raw):
    number = to_e164(raw, "RU")
    assert number is None or to_e164(number, "RU") == number
    assert numbers_in(raw, "RU")
