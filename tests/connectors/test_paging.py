"""Where a list ends, by its answers alone: amoCRM may promise a page after a last one that was full."""

from collections.abc import Callable

import pytest

from connectors.errors import Phrase, SlowError
from connectors.paging import by_page_number, until_settled, whole

Get = Callable[[dict], dict | None]


def listing(n: int, *, cap: int = 250, empty_from: int | None = None, asked: list[dict] | None = None) -> Get:
    """A list of `n` rows that promises a page after every full one; no page that begins at `empty_from` has rows."""

    def get(params: dict) -> dict | None:
        (asked if asked is not None else []).append(params)
        size = min(params["limit"], cap)
        first = (params["page"] - 1) * size
        items = [{"id": number} for number in range(first, min(first + size, n))]
        if not items or (empty_from is not None and first >= empty_from):
            return None
        links = {"next": {"href": "…"}} if len(items) == size else {}
        return {"_links": links, "_embedded": {"tasks": items}}

    return get


def walked(get: Get, *, limit: int = 250, **how: object) -> tuple[list[int], list[Phrase]]:
    """Ids of a walk and what was told of it."""
    told: list[Phrase] = []
    pages = by_page_number(get, {}, collection="tasks", limit=limit, max_pages=99, on_odd=told.append, **how)
    return [item["id"] for page in pages for item in page], told


@pytest.mark.parametrize("to_the_end", [True, False])
@pytest.mark.parametrize(("n", "limit", "cap"), [(1500, 250, 250), (250, 250, 250), (600, 250, 100), (90, 250, 90)])
def test_a_last_page_that_is_full_ends_a_list_and_nothing_is_told(n, limit, cap, to_the_end):
    asked: list[dict] = []
    ids, told = walked(listing(n, cap=cap, asked=asked), limit=limit, to_the_end=to_the_end)
    assert (ids, told) == (list(range(n)), [])
    assert len(asked) == n // min(limit, cap) + 2  # the empty page, and one that shows the end


def test_a_list_read_until_it_settles_tells_nothing_either():
    seen: set[int] = set()
    told: list[Phrase] = []
    get = listing(500)
    walks = until_settled(
        lambda: by_page_number(get, {}, collection="tasks", limit=250, max_pages=9, seen=seen, on_odd=told.append)
    )
    assert sum(map(len, walks)) == 500
    assert told == []


def test_a_page_that_stays_empty_in_the_middle_is_told():
    ids, told = walked(listing(900, empty_from=500))
    assert ids == list(range(500))
    assert "came empty twice; 500 rows" in str(told[0])


def test_a_page_that_was_empty_once_is_read_again():
    whole, empty = listing(900), [3]

    def get(params: dict) -> dict | None:
        return None if params["page"] in empty and empty.pop() else whole(params)

    assert walked(get) == (list(range(900)), [])


def test_a_row_that_came_while_the_end_was_looked_for_is_read():
    before, after = listing(500), listing(501)
    assert walked(lambda params: (before if params["limit"] == 250 else after)(params)) == (list(range(501)), [])


def test_an_end_too_slow_to_be_shown_is_looked_for_by_a_second_walk():
    def get(params: dict) -> dict | None:
        if params["limit"] == 249:
            raise SlowError("slow")
        return listing(500)(params)

    ids, told = walked(get)
    assert (ids, len(told)) == (list(range(500)), 1)


def test_pages_of_one_row_end_too():
    ids, told = walked(listing(3), limit=1)
    assert (ids, len(told)) == ([0, 1, 2], 1)


@pytest.mark.parametrize(("n", "is_told"), [(50, False), (250, True), (300, False)])
def test_a_list_that_knows_no_pages_ends_with_its_first_one_again(n, is_told):
    """250 rows may be the most it shows: then there may be more, and nothing is taken as removed."""
    asked: list[dict] = []

    def get(params: dict) -> dict:
        asked.append(params)
        return {"_embedded": {"tasks": [{"id": number} for number in range(n)]}}

    ids, told = walked(get)
    assert ids == list(range(n))
    assert len(asked) == 2
    assert bool(told) is is_told


@pytest.mark.parametrize(
    ("written", "number"),
    [(12, 12), ("12", 12), (12.0, 12), (1.5, None), (-0.5, None), ("1.5", None), (True, None), (float("nan"), None)],
)
def test_a_number_with_a_part_is_no_whole_one(written, number):
    assert whole(written) == number
