"""Which parts of a list are compared row by row, and which are counted: what so many requests allow."""

from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from math import ceil
from zoneinfo import ZoneInfo

BEGINNING = datetime(2000, 1, 1, tzinfo=UTC)
RECENT = 3
"""Months that are compared every time; older ones take turns where not all can be."""
GROUPS = 8
"""Into so many slices that a request counts what is not compared row by row is cut."""

Run = tuple[int, int]
"""Months that follow each other: from the first up to, not with, the second."""


def months(first: datetime, end: datetime, zone: ZoneInfo) -> list[datetime]:
    """Bounds of months by the account's calendar: all that came before, the month of `first`, … up to `end`."""
    local, bounds = first.astimezone(zone), [BEGINNING]
    year, month = local.year, local.month
    while (start := datetime(year, month, 1, tzinfo=zone).astimezone(UTC)) < end:
        if start > BEGINNING:
            bounds.append(start)
        year, month = (year + 1, 1) if month == 12 else (year, month + 1)
    return [*bounds, end]


def chosen(counts: Sequence[int], *, page: int, pages: int, turn: int) -> list[Run]:
    """Months to be compared row by row, joined where they follow each other.

    counts: rows on hand of each month. page: rows a request brings; pages: how many requests there are.
    turn: moves on every day, so that every older month has its turn.
    """
    n = len(counts)
    if ceil(sum(counts) / page) <= pages:
        return [(0, n)]
    older = range(n - RECENT) if n > RECENT else range(0)
    start = turn % len(older) if older else 0
    order = [*reversed(range(len(older), n)), *older[start:], *older[:start]]
    taken, left = set[int](), pages
    for month in order:
        cost = ceil(counts[month] / page) or 1
        if cost > left:
            break
        taken.add(month)
        left -= cost
    return joined(taken)


def rest(runs: Sequence[Run], n: int) -> list[Run]:
    """Months of `n` that are in none of `runs`."""
    return joined({*range(n)} - {month for start, end in runs for month in range(start, end)})


def joined(some: Collection[int]) -> list[Run]:
    ordered = sorted(some)
    breaks = [0, *(n for n in range(1, len(ordered)) if ordered[n] != ordered[n - 1] + 1), len(ordered)]
    return [(ordered[start], ordered[end - 1] + 1) for start, end in pairwise(breaks) if end > start]


def groups(runs: Sequence[Run], counts: Sequence[int], *, most: int) -> Iterator[Run]:
    """Runs cut into about `most` pieces of like size."""
    size = sum(sum(counts[start:end]) for start, end in runs) / most
    for start, end in runs:
        first, n = start, 0
        for month in range(start, end):
            n += counts[month]
            if n >= size or month == end - 1:
                yield first, month + 1
                first, n = month + 1, 0


def shares(costs: Sequence[int], total: int) -> list[int]:
    """Requests for each of some lists: who needs little leaves the rest to the others."""
    given = [0] * len(costs)
    left = total
    for place, number in enumerate(sorted(range(len(costs)), key=lambda number: costs[number])):
        given[number] = min(costs[number], left // (len(costs) - place))
        left -= given[number]
    return given
