"""Numbers, money, days and lengths as people read them. None is «нет данных», never 0."""

from datetime import date, datetime

from app.i18n import _, language, plural

NBSP = "\u00a0"
SIGNS = {"RUB": "₽", "USD": "$", "EUR": "€", "KZT": "₸", "BYN": "Br", "UZS": "soʻm"}
DAY_H = 24


def no_data() -> str:
    return _("no data")


def number(value: float | None, digits: int = 0) -> str:
    """`1 234,5` in Russian, `1,234.5` in English."""
    if value is None:
        return no_data()
    text = f"{value:,.{digits}f}"
    return text.replace(",", NBSP).replace(".", ",") if language() == "ru" else text


def sign(currency: str) -> str:
    return SIGNS.get(currency, currency)


def money(minor: float | None, currency: str = "RUB") -> str:
    """Whole units: `1 234 567 ₽`."""
    return no_data() if minor is None else f"{number(minor / 100)}{NBSP}{sign(currency)}"


def short_money(minor: float | None, currency: str = "RUB") -> str:
    """Three digits that matter: `1,23 млн ₽`."""
    if minor is None:
        return no_data()
    units = minor / 100
    for size, name in ((1e9, _("bn")), (1e6, _("m")), (1e3, _("k"))):
        if abs(units) >= size:
            scaled = units / size
            digits = 2 if abs(scaled) < 10 else 1 if abs(scaled) < 100 else 0
            text = _trimmed(number(scaled, digits))
            return f"{text}{NBSP}{name}{NBSP}{sign(currency)}"
    return money(minor, currency)


def _trimmed(text: str) -> str:
    for point in (",", "."):
        head, found, tail = text.rpartition(point)
        if found and tail.strip("0") == "" and len(tail) < 3:
            return head
    return text


def rate(value: float | None, *, low_n: bool | None = False, digits: int = 0) -> str:
    """`12 %`; too few cases say so instead of a percentage that means nothing."""
    if low_n and value is not None:
        return _("too few")
    if value is None:
        return no_data()
    text = number(value * 100, digits)
    return f"{text}{NBSP}%" if language() == "ru" else f"{text}%"


def points(value: float | None) -> str:
    """A difference of two rates in percentage points, signed."""
    if value is None:
        return no_data()
    return f"{'+' if value >= 0 else '−'}{number(abs(value) * 100, 1)}{NBSP}{_('pp')}"


def day(value: date | None) -> str:
    return no_data() if value is None else f"{value:%d.%m.%Y}" if language() == "ru" else f"{value:%Y-%m-%d}"


def moment(value: datetime | None) -> str:
    if value is None:
        return no_data()
    return f"{value:%d.%m.%Y %H:%M}" if language() == "ru" else f"{value:%Y-%m-%d %H:%M}"


def month(value: date) -> str:
    """`ноя 25`."""
    names = _("Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec").split()
    return f"{names[value.month - 1]}{NBSP}{value:%y}"


def hours(value: float | None) -> str:
    """A length in hours: `40 мин`, `19 ч`, `6 дн`."""
    if value is None:
        return no_data()
    if value < 1:
        return f"{number(value * 60)}{NBSP}{_('min')}"
    if value < 2 * DAY_H:
        return f"{number(value)}{NBSP}{_('h')}"
    return days(value / DAY_H)


def days(value: float | None, digits: int = 0) -> str:
    return no_data() if value is None else f"{number(value, digits)}{NBSP}{_('d')}"


def count(n: int | None, one: str, many: str) -> str:
    """A number with its noun in the right form; `{n}` stands in both phrases."""
    return no_data() if n is None else plural(one, many, n).format(n=number(n))
