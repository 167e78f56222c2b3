"""Amounts of a source to minor units of a currency (rule R-MONEY), through Decimal: 0.1 + 0.2 has no place here."""

from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from typing import Any

# ISO 4217: currencies whose exponent is not 2.
WITHOUT_MINOR = frozenset(
    [
        "BIF",
        "CLP",
        "DJF",
        "GNF",
        "ISK",
        "JPY",
        "KMF",
        "KRW",
        "PYG",
        "RWF",
        "UGX",
        "UYI",
        "VND",
        "VUV",
        "XAF",
        "XOF",
        "XPF",
    ]
)
IN_THOUSANDTHS = frozenset(["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"])
LARGEST = 10**17
"""Above this it is a typing error, and would not fit a BIGINT when summed."""


def currency_code(code: str | None) -> str:
    """ISO 4217 code in capitals; RUR, the rouble before 1998 that sources still say, is RUB."""
    upper = (code or "").strip().upper()
    return "RUB" if upper in ("RUR", "") else upper


def exponent(currency: str) -> int:
    """Digits after the decimal point."""
    return 0 if currency in WITHOUT_MINOR else 3 if currency in IN_THOUSANDTHS else 2


def to_minor(amount: Any, currency: str) -> int | None:
    """`amount` in major units (number or text, decimal comma allowed) as minor units; None where it is not a number."""
    if amount is None or isinstance(amount, bool):
        return None
    if isinstance(amount, int):
        minor = amount * 10 ** exponent(currency)
        return minor if abs(minor) <= LARGEST else None
    written = str(amount).replace("\u00a0", "").replace(" ", "").replace(",", ".")
    try:
        exact = Decimal(written).scaleb(exponent(currency))
    except InvalidOperation:
        return None
    if not exact.is_finite() or abs(exact) > LARGEST:
        return None
    return int(exact.to_integral_value(rounding=ROUND_HALF_EVEN))


def times(price_minor: int | None, quantity: float) -> int | None:
    """What `quantity` costs, in minor units; None where the price is unknown or the sum no amount."""
    if price_minor is None:
        return None
    exact = Decimal(str(quantity)) * price_minor
    if not exact.is_finite() or abs(exact) > LARGEST:
        return None
    return int(exact.to_integral_value(rounding=ROUND_HALF_EVEN))
