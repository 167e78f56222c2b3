"""PHP's ways that show through the REST of Bitrix24: query strings, arrays that are lists or objects, casts."""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import unquote_plus

Params = dict[str, Any]


def parse_str(query: str) -> Params:
    """`filter[>ID]=10&select[]=ID` → `{"filter": {">ID": "10"}, "select": ["ID"]}`; every value is a string."""
    pairs = (part.partition("=") for part in query.split("&") if part)
    return nested((_plain(name), _plain(value)) for name, _, value in pairs)


_plain = lru_cache(4096)(unquote_plus)  # a batch names the same parameters in each of its fifty commands


def nested(pairs: Iterable[tuple[str, str]]) -> Params:
    """The same from the decoded pairs of a query or a form."""
    result: Params = {}
    for name, value in pairs:
        _put(result, _keys(name), value)
    return {name: _lists(value) for name, value in result.items()}


@lru_cache(4096)
def _keys(name: str) -> tuple[str, ...]:
    head, *rest = name.split("[")
    return (head, *(part.removesuffix("]") for part in rest))


def _put(into: Params, keys: Sequence[str], value: str) -> None:
    for key in keys[:-1]:
        inner = into.get(key) if key else None
        if not isinstance(inner, dict):  # what was there is overwritten
            inner = into[key or _next_key(into)] = {}
        into = inner
    into[keys[-1] or _next_key(into)] = value


def _next_key(array: Params) -> str:
    return str(max((int(key) + 1 for key in array if key.isdigit()), default=0))


def _lists(value: Any) -> Any:
    return array({key: _lists(inner) for key, inner in value.items()}) if isinstance(value, dict) else value


def array(values: Mapping[str, Any]) -> Any:
    """A PHP array as JSON writes it: a list where the keys are 0, 1, 2 …, also where there are none."""
    is_list = all(key == str(place) for place, key in enumerate(values))
    return list(values.values()) if is_list else dict(values)


def items(value: Any) -> list[tuple[str, Any]]:
    """Keys and values of an array, whether it came as a list or as an object."""
    if isinstance(value, list):
        return [(str(place), inner) for place, inner in enumerate(value)]
    return list(value.items()) if isinstance(value, dict) else []


def element(value: Any, key: str) -> Any:
    """What an array has under a key.

    Raises:
        LookupError: if it has nothing there.
    """
    if isinstance(value, list):
        place = int(key) if key.isdecimal() else -1
        if key != str(place):
            raise KeyError(key)
        return value[place]
    if not isinstance(value, dict):
        raise KeyError(key)
    return value[key]


def values(value: Any) -> list[Any]:
    """Values of an array; a scalar stands for itself."""
    return [inner for _, inner in items(value)] if isinstance(value, list | dict) else [value]


def integer(value: Any) -> int:
    """`(int)` of anything: 1 for an array that holds something, leading digits of a string."""
    if isinstance(value, list | dict):
        return int(bool(value))
    if isinstance(value, bool | int | float):
        return int(value)
    text = str(value or "").strip()
    sign = text[:1] if text[:1] in "+-" else ""
    digits = ""
    for letter in text.removeprefix(sign):
        if not letter.isdigit():
            break
        digits += letter
    return int(sign + digits) if digits else 0
