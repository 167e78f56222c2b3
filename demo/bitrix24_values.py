"""Values of the demo Bitrix24 that are neither text nor number before they are written as one of its dialects."""

from dataclasses import dataclass
from datetime import date
from enum import Enum
from typing import Any, Final, Literal

Row = dict[str, Any]
"""Values under the UPPER_CASE names of the old methods: int, Decimal, bool, str, list, dict, None, and those below."""


class Instant(int):
    """A datetime: whole seconds since 1970, UTC."""


@dataclass(frozen=True)
class Day:
    """A date without a time of day."""

    day: date


@dataclass(frozen=True)
class File:
    """A file of a user field, by its number."""

    number: int


class _Never(Enum):
    NEVER = "9999-12-31"


Never: Final[Literal[_Never.NEVER]] = _Never.NEVER
"""How Bitrix24 keeps "no deadline"."""
