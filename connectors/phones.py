"""Phone numbers to E.164 (rule R-PHONE of the catalogue): the key by which calls find their cards."""

import re
from functools import lru_cache

import phonenumbers

MIN_DIGITS = 7
RUSSIAN_PLAN = frozenset({"RU", "KZ"})
EXTENSION = re.compile(r"(?:доб|внутр|ext|[#;]).*$|,\s*\d{1,5}\s*$", re.IGNORECASE | re.DOTALL)
BETWEEN_NUMBERS = re.compile(r"[,;/\n]|\s+(?:и|или|and|or)\s+", re.IGNORECASE)
NOT_DIGIT = re.compile(r"\D+")


@lru_cache(maxsize=1 << 17)  # the same clients call again and again
def to_e164(raw: str | None, region: str) -> str | None:
    """The number in E.164, or None where `raw` holds no number that could be called.

    Russian and Kazakh accounts (`region` RU, KZ): 11 digits beginning with 8 or 7, and any 10 digits, are +7…; the rest
    is read as the region dials it. Extensions are dropped.
    """
    if not raw:
        return None
    written = EXTENSION.sub("", raw)
    digits = NOT_DIGIT.sub("", written)
    if len(digits) < MIN_DIGITS or digits.count("0") == len(digits):
        return None
    is_international = written.lstrip().startswith("+")
    if region in RUSSIAN_PLAN and (russian := _russian(digits, is_international)):
        return russian
    if is_international:
        return _dialled(f"+{digits}", None)
    return _dialled(digits, region) or _dialled(f"+{digits}", None)


def _russian(digits: str, is_international: bool) -> str | None:
    if len(digits) == 11 and digits[0] == "7":
        return f"+{digits}"
    if len(digits) == 11 and digits[0] == "8":
        foreign = _dialled(f"+{digits}", None) if is_international else None  # +81 … is Japan, not a trunk prefix
        return foreign or f"+7{digits[1:]}"
    if len(digits) == 10 and not is_international:
        return f"+7{digits}"
    return None


def _dialled(number: str, region: str | None) -> str | None:
    try:
        parsed = phonenumbers.parse(number, region)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_valid_number(parsed):
        return None
    return str(phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164))


def numbers_in(raw: str, region: str) -> list[tuple[str, str | None]]:
    """The numbers of one value, as written and in E.164; people put several into one field.

    A value that is not several recognisable numbers stays whole: (raw, its E.164 or None).
    """
    parts = [part.strip() for part in BETWEEN_NUMBERS.split(raw)]
    found: list[tuple[str, str | None]] = [(part, number) for part in parts if (number := to_e164(part, region))]
    if len(found) > 1:
        return found
    return [(raw, to_e164(raw, region) or (found[0][1] if found else None))]
