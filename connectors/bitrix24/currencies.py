"""Currencies of an account: `crm.currency.list` has the rate of today only.

https://apidocs.bitrix24.ru/api-reference/crm/currency/crm-currency-list.html
"""

from collections.abc import Iterator
from datetime import date

from connectors.bitrix24.goods import number
from connectors.bitrix24.reading import Reading
from connectors.money import currency_code
from connectors.paging import Json
from connectors.records import FxRate, Yield


def rate(currency: Json, reading: Reading, raw_hash: str, *, day: date) -> Iterator[Yield]:
    """What one unit costs in the base currency: `AMOUNT` of that for `AMOUNT_CNT` units."""
    code = currency_code(currency["CURRENCY"])
    amount, count = number(currency.get("AMOUNT")), number(currency.get("AMOUNT_CNT"))
    if code != reading.currency and amount and count:
        yield FxRate(
            account_id=reading.account_id, raw_hash=raw_hash, day=day, currency=code, rate_to_base=amount / count
        )
