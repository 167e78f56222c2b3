"""Which windows of a resource a run has to read."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

from connectors.connector import FIRST_KINDS, Resource, Span, Window, WindowKind
from warehouse import state

OF_TIME = frozenset({"created", "changed_within"})
FEW_OBJECTS, MANY_OBJECTS = 500, 5_000
"""Of a run of windows: after one with fewer the next is twice as long, after one with more half as long."""
MOST_JOINED = 16
NO_SPANS: Mapping[str, Span] = MappingProxyType({})
NUMBERS_A_WINDOW = 2_500
"""Short enough for a middling list to be read by all threads."""
MOST_WINDOWS = 64
"""Of one list: long lists and sparse ones have longer windows, for each is a request, be there rows or not."""
NUMBERS_AGAIN = 50
"""So many of the numbers that were there last time are read again: a row gets its number before it can be seen."""


def plan(
    resource: Resource,
    known: state.Resume,
    *,
    begin: datetime,
    start: datetime,
    overlap: timedelta,
    spans: Mapping[str, Span] = NO_SPANS,
) -> list[Window]:
    """Windows to read now, those already done left out.

    begin: when the account was opened. start: when this run began, by the server's clock. spans: how far the lists of a
    resource with `numbered` reach now.
    """
    numbered = [window for part, span in spans.items() for window in by_number(part, span, known.numbers.get(part))]
    if known.watermark is None:
        windows = numbered if "numbered" in resource.windows else first_windows(resource, begin=begin, start=start)
        return left_of(windows, known)
    since = min(known.watermark, start) - overlap  # a clock that was ahead has been put right
    if "changed" in resource.windows:
        return [*left_of(numbered, known), Window("changed", since)]
    if "numbered" in resource.windows:
        return left_of(numbered, known)
    if "created" in resource.windows:
        return [Window("created", since, start)]
    return at_once(resource)


def left_of(windows: Iterable[Window], known: state.Resume) -> list[Window]:
    return [window for window in windows if window_key(window) not in known.done]


def first_windows(resource: Resource, *, begin: datetime, start: datetime) -> list[Window]:
    """Everything from the beginning. The grid stays the same from run to run, so that done windows are recognised.

    The first is open at its start: imports bring things that were created before the account was. The last one of
    creation is open at its end: an import or a clock that is ahead brings things of the future, which no reading by
    change time would find when their time comes.
    """
    kind = next((kind for kind in FIRST_KINDS if kind in resource.windows), None)
    if kind is None:
        return at_once(resource)
    length = resource.first_window
    full = max(0, (start - begin) // length)
    edges = [begin + length * n for n in range(full + 1)]
    grid = [Window(kind, low, high) for low, high in zip(edges, [*edges[1:], start], strict=True)]
    ahead = [Window(kind, start)] if kind == "created" else []
    return [Window(kind, None, begin), *grid, *ahead]


def by_number(part: str, span: Span, known: int | None) -> Iterator[Window]:
    """What of a list is above all that was there when it was last read; all of it where it never was.

    The grid stays the same from run to run but when a list has grown to twice what it was, so that done windows are
    recognised. Its last window stays open, and is read again whenever it was: more may have come into it since.
    """
    if known is not None:
        yield Window("numbered", part=part, after=max(0, known - NUMBERS_AGAIN), greatest=span.greatest)
        return
    length = NUMBERS_A_WINDOW
    while span.greatest - span.least > length * MOST_WINDOWS:
        length *= 2
    first, last = (max(0, number - 1) // length for number in (span.least, span.greatest))
    for n in range(first, last):
        yield Window("numbered", part=part, after=n * length, until=(n + 1) * length)
    yield Window("numbered", part=part, after=last * length, greatest=span.greatest)


def catch_up(resource: Resource, known: state.Resume, *, start: datetime, overlap: timedelta) -> list[Window]:
    """What to read after a first read's windows: rows that have left them, unseen, because they were changed."""
    is_due = known.watermark is None and "changed_within" in resource.windows
    return [Window("changed", start - overlap)] if is_due else []


def at_once(resource: Resource) -> list[Window]:
    """Everything in one walk; nothing of a resource that is only read when another asks for it."""
    kinds: tuple[WindowKind, ...] = ("changed", "whole")
    return [Window(kind) for kind in kinds if kind in resource.windows][:1]


class Step:
    """Windows of a resource that do not wait for each other. Those of time are handed out in runs of neighbours, which
    are read as one: an account of many years with little in most of them would else cost a request for each. The last
    go first, for there is most in them: what was learned of the quiet first ones would make one long walk of them."""

    def __init__(self, windows: Iterable[Window]) -> None:
        left = [*windows]
        self.left = left if all(window.kind in OF_TIME for window in left) else left[::-1]
        self._at_once = 1

    def first(self, n: int) -> Iterator[list[Window]]:
        """What to begin with: so many runs of windows of time, all of any others."""
        while self.left and (n > 0 or self.left[-1].kind not in OF_TIME):
            yield self._run()
            n -= 1

    def after(self, n_objects: int) -> Iterator[list[Window]]:
        """What to go on with after a run that held so many objects."""
        if n_objects < FEW_OBJECTS:
            self._at_once = min(2 * self._at_once, MOST_JOINED)
        elif n_objects > MANY_OBJECTS:
            self._at_once = max(1, self._at_once // 2)
        yield from self.first(1)

    def _run(self) -> list[Window]:
        run = deque([self.left.pop()])
        while self.left and len(run) < self._at_once and is_next(self.left[-1], run[0]):
            run.appendleft(self.left.pop())
        return [*run]


def is_next(window: Window, other: Window) -> bool:
    """Whether two windows may be read as one. One without an end stays alone: it could not be halved."""
    is_closed = window.end is not None and other.end is not None
    return is_closed and window.kind in OF_TIME and window.kind == other.kind and window.end == other.start


def joined(windows: Sequence[Window]) -> Window:
    """Neighbours as one window."""
    return replace(windows[0], end=windows[-1].end) if len(windows) > 1 else windows[0]


def window_key(window: Window) -> str:
    if window.kind == "numbered":
        return f"{window.kind}:{window.part}:{window.after}:{window.until}"
    low, high = (edge.astimezone(UTC).isoformat() if edge else "" for edge in (window.start, window.end))
    return f"{window.kind}:{low}:{high}"
