"""What networks and servers do to answers."""

import json
from collections.abc import Callable, Iterator, Mapping
from itertools import repeat
from time import sleep
from typing import Any

import httpx

Spoiler = Callable[[httpx.Response, httpx.Response | None], httpx.Response]
"""Makes of an answer, and one that came before it, the answer that arrives."""


class Reset(httpx.SyncByteStream):
    """Half a body, and then the connection is gone."""

    def __init__(self, content: bytes) -> None:
        self._half = content[: len(content) // 2]

    def __iter__(self) -> Iterator[bytes]:
        yield self._half
        raise httpx.ReadError("Connection reset by peer")


class Drip(httpx.SyncByteStream):
    """A body that never ends: a space at a time, which JSON allows."""

    def __iter__(self) -> Iterator[bytes]:
        for space in repeat(b" "):
            sleep(0.02)
            yield space


def once(spoil: Spoiler) -> Callable[[], Spoiler]:
    """The first answer is spoilt, those after it arrive well."""

    def new() -> Spoiler:
        left = [spoil]
        return lambda response, before: left.pop()(response, before) if left else response

    return new


def always(spoil: Spoiler) -> Callable[[], Spoiler]:
    return lambda: spoil


def with_body(response: httpx.Response, content: bytes | httpx.SyncByteStream) -> httpx.Response:
    headers = {k: v for k, v in response.headers.items() if k not in ("content-length", "content-encoding")}
    if isinstance(content, bytes):
        return httpx.Response(response.status_code, headers=headers, content=content)
    return httpx.Response(response.status_code, headers=headers, stream=content)


def gone(response: httpx.Response, before: httpx.Response | None) -> httpx.Response:
    raise httpx.ConnectError("Connection refused")


def half(response: httpx.Response, before: httpx.Response | None) -> httpx.Response:
    return with_body(response, response.content[: len(response.content) // 2])


def cut_at_a_brace(response: httpx.Response, before: httpx.Response | None) -> httpx.Response:
    """What is left looks like a whole body to whoever looks at its ends only."""
    return with_body(response, response.content[:-1].rpartition(b"}")[0] + b"}")


def empty(response: httpx.Response, before: httpx.Response | None) -> httpx.Response:
    return with_body(response, b"")


def of_another(response: httpx.Response, before: httpx.Response | None) -> httpx.Response:
    return before or response


def doubled(response: httpx.Response, before: httpx.Response | None) -> httpx.Response:
    return rearranged(response, lambda rows: [*rows, *rows])


def shuffled(response: httpx.Response, before: httpx.Response | None) -> httpx.Response:
    return rearranged(response, lambda rows: rows[::-1])


def rearranged(response: httpx.Response, how: Callable[[list[Any]], list[Any]]) -> httpx.Response:
    try:
        body = json.loads(response.content)
    except ValueError:
        return response
    for rows in pages(body):
        rows[:] = how(rows)
    return with_body(response, json.dumps(body).encode())


def pages(body: Any) -> Iterator[list[Any]]:
    """The lists of rows that an answer is, or that commands of a batch brought."""
    if not isinstance(body, dict):
        return
    if "_page" in body:
        yield from (rows for rows in body["_embedded"].values() if isinstance(rows, list))
    result = body.get("result")
    results = [result]
    if isinstance(result, dict) and "result_time" in result:
        results = [*result["result"].values()] if isinstance(result["result"], dict) else []
    for one in results:
        parts = one.values() if isinstance(one, dict) else [one]
        yield from (rows for rows in parts if is_page(rows))


def is_page(rows: Any) -> bool:
    """A list of rows of their own; lines of a card are a part of it."""
    return isinstance(rows, list) and all(isinstance(row, dict) and "ownerId" not in row for row in rows)


SPOILERS: Mapping[str, Callable[[], Spoiler]] = {
    "reset": once(lambda response, _: with_body(response, Reset(response.content))),
    "server gone": always(gone),
    "slow drip": once(lambda response, _: with_body(response, Drip())),
    "body cut": once(half),
    "body cut at a brace": once(cut_at_a_brace),
    "bodies cut": always(half),
    "empty body": once(empty),
    "answer of another request": once(of_another),
    "rows doubled": always(doubled),
    "rows shuffled": always(shuffled),
}
