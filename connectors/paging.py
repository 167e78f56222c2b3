"""Generators of pages."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from connectors.errors import PayloadError, Phrase, SlowError

Json = dict[str, Any]

SMALLEST_PAGE = 25
SERVER_CAPS = frozenset({50, 100, 200})
"""Sizes that look like a short last page but are a server's silent cap."""


def by_page_number(
    get: Callable[[Mapping[str, Any]], Any],
    params: Mapping[str, Any],
    *,
    collection: str,
    limit: int,
    max_pages: int,
    key: str = "id",
    to_the_end: bool = False,
    seen: set[Any] | None = None,
    on_odd: Callable[[Phrase], None] = lambda _: None,
) -> Iterator[list[Json]]:
    """Items of a HAL list that were not on an earlier page, page 1, 2, 3 … with our own counter and parameters.

        {"_links": {"next": {"href": …}}, "_embedded": {"<collection>": [{"id": 1, …}, …]}}

    `_links.next` can be missing, lead to an empty page or name another host, so it only decides whether one more page
    is asked for. Ends on an empty answer or on a short page without `next`; `to_the_end` trusts the empty answer only.
    A page that repeats the one before it and promises no other is an end too: such a list knows no pages.
    An empty answer where `next` had promised a page is the end after a last page that was full, or a hiccup: a page of
    another size that begins before that place tells (`_last_rows`). If it does not, the list is walked once more, and
    what is empty again is taken as the end, which `on_odd` is told. A list that is too slow (504) goes on with half the
    page.

    get: asks for a page, None where there is nothing. seen: keys already yielded, to share between walks.
    on_odd: told, in words, of answers that were not what the documentation says.

    Raises:
        PayloadError: more than `max_pages` pages, or an answer that is not an object.
    """
    seen = set() if seen is None else seen
    may_walk_again = True
    is_promised = False
    number, n_rows, n_here = 1, 0, 0
    last: list[int | str | None] = []
    while number <= max_pages:
        try:
            answer = get({**params, "limit": limit, "page": number})
        except SlowError:
            if limit // 2 < SMALLEST_PAGE:
                raise
            last = []
            limit //= 2  # the same number of smaller pages is further back: rows come again, none is passed over
            continue
        items = [] if answer is None else items_of(answer, collection, on_odd)
        if not items:
            is_lost = is_promised or (number == 1 and not may_walk_again)
            if not is_lost:
                return
            size, before = n_here - 1, (number - 1) * n_here
            rest = _last_rows(get, params, collection, size=size, before=before) if size > 0 else None
            if rest is not None:
                if fresh := [item for item in rest if _is_new(item, key, seen)]:
                    yield fresh
                return
            if not may_walk_again:
                on_odd(
                    Phrase(
                        "{list}: a promised page came empty twice; {n} rows were taken as the whole list, "
                        "which is right where its last page was full",
                        list=collection,
                        n=n_rows,
                    )
                )
                return
            may_walk_again = False
            number, is_promised, last = 1, False, []
            continue
        here = [key_of(item, key) for item in items]
        if None in here:
            on_odd(Phrase("{list}: rows came without an id, so nothing is taken as removed", list=collection))
        if fresh := [item for item in items if _is_new(item, key, seen)]:
            n_rows += len(fresh)
            yield fresh
        n_here, is_promised = len(items), _is_promised(answer)
        is_again, last = here == last, here
        if is_again and not is_promised and n_here == limit:
            on_odd(Phrase("{list}: every page is the same, so nothing is taken as removed", list=collection))
        is_short = len(items) < limit and len(items) not in SERVER_CAPS
        if not is_promised and (is_again or (is_short and not to_the_end)):
            return
        number += 1
    raise PayloadError(
        "{list}: more than {n} pages of {limit}; nothing of this window was concluded.",
        list=collection,
        n=max_pages,
        limit=limit,
    )


def _last_rows(
    get: Callable[[Mapping[str, Any]], Any], params: Mapping[str, Any], collection: str, *, size: int, before: int
) -> list[Json] | None:
    """The last rows of a list that may end after `before` rows: a page of `size` with room for one more than they are.
    None where it is full, empty or promises another: then it does not show that the list ends."""
    if before % size == 0:  # such a page would be full as well
        return None
    try:
        answer = get({**params, "limit": size, "page": before // size + 1})
    except SlowError:
        return None
    items = [] if answer is None else items_of(answer, collection)
    return items if 0 < len(items) < size and not _is_promised(answer) else None


def _is_promised(answer: Json) -> bool:
    return bool(as_object(as_object(answer.get("_links")).get("next")))


def until_settled(walk: Callable[[], Iterator[list[Json]]], *, max_walks: int = 4) -> Iterator[list[Json]]:
    """Repeat a walk that remembers what it has seen until one finds nothing new.

    For lists that can be neither filtered nor ordered: what changes during a walk shifts its pages.
    """
    for _ in range(max_walks):
        found = False
        for page in walk():
            found = True
            yield page
        if not found:
            return


def items_of(answer: Any, collection: str, on_odd: Callable[[Phrase], None] = lambda _: None) -> list[Json]:
    """The objects of a page; PHP writes an empty object as `[]` and a list with holes as an object."""
    if not isinstance(answer, dict):
        raise PayloadError("{list}: the answer is not an object.", list=collection)
    embedded = answer.get("_embedded")
    if not isinstance(embedded, dict) or embedded.get(collection) is None:
        on_odd(Phrase("{list}: a list came without its items and was taken as empty", list=collection))
        return []
    items = as_list(embedded[collection])
    objects = [item for item in items if isinstance(item, dict)]
    if len(objects) < len(items):
        on_odd(Phrase("{list}: items that are not objects were left out", list=collection))
    return objects


def as_list(value: Any) -> list[Any]:
    """`value` as a list: a list itself, the values of `{"0": …, "2": …}`, nothing for null."""
    if isinstance(value, list):
        return value
    if isinstance(value, dict):
        return list(value.values())
    return []


def as_object(value: Any) -> Json:
    """`value` as an object: `[]`, null and anything else are an empty one."""
    return value if isinstance(value, dict) else {}


def whole(value: Any) -> int | None:
    """An integer that may come as text or as 12.0; None where it is none."""
    if type(value) is int:
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    if not isinstance(value, str):
        return None
    try:
        return int(value)
    except ValueError:
        return None


def key_of(item: Json, key: str = "id") -> int | str | None:
    """What a row is known by: a number or text. Nothing can be known by anything else."""
    value = item.get(key)
    return value if type(value) in (int, str) else None


def _is_new(item: Json, key: str, seen: set[Any]) -> bool:
    identity = key_of(item, key)
    if identity is None:
        return True
    if identity in seen:
        return False
    seen.add(identity)
    return True
