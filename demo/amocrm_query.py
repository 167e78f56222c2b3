"""PHP's way of writing nested query parameters, and what amoCRM reads from it."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl

Node = str | dict[str, Any]


def parse(query: str) -> dict[str, Any]:
    """`filter[id][]=1&filter[id][]=2` → `{"filter": {"id": {"0": "1", "1": "2"}}}`, brackets encoded or not."""
    result: dict[str, Any] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        head, *rest = name.split("[")
        keys = [head, *(part.rstrip("]") for part in rest)]
        _put(result, keys, value)
    return result


def _put(into: dict[str, Any], keys: list[str], value: str) -> None:
    for key in keys[:-1]:
        inner = into.setdefault(key or str(len(into)), {})
        if not isinstance(inner, dict):
            return  # a scalar was there first: PHP would warn and drop it
        into = inner
    into[keys[-1] or str(len(into))] = value


def scalars(node: Node | None) -> list[str]:
    """All values of a filter, whether written once, as an array with or without indices, or with commas."""
    return [part for value in _leaves(node) for part in value.split(",") if part]


def _leaves(node: Node | None) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif node:
        for inner in node.values():
            yield from _leaves(inner)


def numbers(node: Node | None) -> set[int] | None:
    """The integers of a filter; None where it holds none (then the filter is ignored)."""
    found = {int(part) for part in scalars(node) if part.lstrip("-").isdigit()}
    return found or None


def bounds(node: Node | None) -> tuple[int | None, int | None] | None:
    """`[from]` and `[to]` of a range; None where the filter has another shape."""
    if not isinstance(node, dict) or not ({"from", "to"} & node.keys()):
        return None
    return _integer(node.get("from")), _integer(node.get("to"))


def _integer(value: Any) -> int | None:
    return int(value) if isinstance(value, str) and value.lstrip("-").isdigit() else None


def integer(node: Node | None, default: int) -> int:
    found = _integer(node)
    return default if found is None else found
