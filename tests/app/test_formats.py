"""Numbers, money and days as people read them."""

from datetime import date

import pytest

from app import i18n
from app.ui import formats

GAP = formats.NBSP


@pytest.mark.parametrize(
    ("minor", "text"),
    [
        (123_456_789_00, f"123{GAP}млн{GAP}₽"),
        (1_234_567_00, f"1,23{GAP}млн{GAP}₽"),
        (1_000_000_00, f"1{GAP}млн{GAP}₽"),
        (320_000_00, f"320{GAP}тыс.{GAP}₽"),
        (500_00, f"500{GAP}₽"),
        (0, f"0{GAP}₽"),
        (None, "нет данных"),
    ],
)
def test_money_keeps_the_digits_that_matter(minor, text):
    assert formats.short_money(minor) == text


def test_no_data_is_not_zero():
    assert formats.number(None) == formats.rate(None) == formats.money(None) == formats.day(None) == "нет данных"
    assert formats.number(0) == "0"


def test_a_rate_over_few_cases_is_words_not_a_percentage():
    assert formats.rate(0.5, low_n=True) == "мало данных"
    assert formats.rate(None, low_n=True) == "нет данных"
    assert formats.rate(0.421, digits=1) == f"42,1{GAP}%"


def test_numbers_follow_the_language():
    assert formats.number(1234.5, 1) == f"1{GAP}234,5"
    i18n.use("en")
    assert formats.number(1234.5, 1) == "1,234.5"
    assert formats.day(date(2026, 11, 2)) == "2026-11-02"


@pytest.mark.parametrize(("hours", "text"), [(0.5, "30 мин"), (19, "19 ч"), (47, "47 ч"), (48, "2 дн"), (144, "6 дн")])
def test_lengths_use_the_unit_people_would(hours, text):
    assert formats.hours(hours).replace(GAP, " ") == text


@pytest.mark.parametrize(("n", "text"), [(1, "1 сделка"), (3, "3 сделки"), (11, "11 сделок"), (21, "21 сделка")])
def test_russian_plurals(n, text):
    assert formats.count(n, "{n} deal", "{n} deals") == text
