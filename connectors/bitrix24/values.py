"""How Bitrix24 writes values: the same thing comes as text, number, flag or nothing, in two generations of methods.

What is empty (null, "", "0" or 0 of a reference, false or [] of a list) is nothing here.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

from connectors.paging import whole

NEVER_YEAR = 9999
"""Activities without a deadline are stored with one in this year."""
HALF_A_DAY = timedelta(hours=12)


def ref(value: Any) -> int | None:
    """The id of another thing; 0 refers to nothing."""
    number = whole(value)
    return number if number and number > 0 else None


def text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def code_of(value: Any) -> str:
    """The code of a stage or the like. Raises ValueError where there is none."""
    if not value or not isinstance(value, str | int):
        raise ValueError("no code")
    return str(value)


def flag(value: Any) -> bool | None:
    """true, "Y", "1" and their opposites; None for anything else."""
    return FLAGS.get(str(value).upper())


FLAGS = {"TRUE": True, "Y": True, "1": True, "FALSE": False, "N": False, "0": False}


def many(value: Any) -> list[Any]:
    """The values of a field that may hold several: a list, one value, or nothing in any of its spellings."""
    if value is None or value is False or value == "":
        return []
    if isinstance(value, list):
        return value
    return [value]


def moment(value: Any) -> datetime | None:
    """An instant from ISO 8601 with its offset. Year 9999, `{}` and site formats without an offset are none."""
    if not isinstance(value, str) or not value:
        return None
    try:
        parsed = datetime.fromisoformat(value)
    except ValueError:
        return None
    if parsed.year >= NEVER_YEAR or parsed.tzinfo is None:
        return None
    return parsed.astimezone(UTC)


def day(value: Any) -> date | None:
    """The calendar day of a date field.

    The server prints midnight UTC in its own zone, by the offset of today: west of Greenwich that is the evening
    before, and around daylight saving an hour off. Half a day later it is the right day in UTC everywhere.
    """
    instant = moment(value)
    return (instant + HALF_A_DAY).date() if instant else None


def positions(values: list[Any]) -> Iterator[tuple[int, Any]]:
    """Values that are not empty, with their places."""
    return ((place, value) for place, value in enumerate(values) if value is not None and value != "")
