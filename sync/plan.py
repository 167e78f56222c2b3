"""Which windows of a resource a run has to read."""

from datetime import UTC, datetime, timedelta

from connectors.connector import FIRST_KINDS, Resource, Window, WindowKind
from warehouse import state


def plan(
    resource: Resource, known: state.Resume, *, begin: datetime, start: datetime, overlap: timedelta
) -> list[Window]:
    """Windows to read now, those already done left out.

    begin: when the account was opened. start: when this run began, by the server's clock.
    """
    if known.watermark is None:
        windows = first_windows(resource, begin=begin, start=start)
        return [window for window in windows if window_key(window) not in known.done]
    since = min(known.watermark, start) - overlap  # a clock that was ahead has been put right
    if "changed" in resource.windows:
        return [Window("changed", since)]
    if "created" in resource.windows:
        return [Window("created", since, start)]
    return at_once(resource)


def first_windows(resource: Resource, *, begin: datetime, start: datetime) -> list[Window]:
    """Everything from the beginning. The grid stays the same from run to run, so that done windows are recognised.

    The first is open at its start: imports bring things that were created before the account was.
    """
    kind = next((kind for kind in FIRST_KINDS if kind in resource.windows), None)
    if kind is None:
        return at_once(resource)
    length = resource.first_window
    full = max(0, (start - begin) // length)
    edges = [begin + length * n for n in range(full + 1)]
    grid = [Window(kind, low, high) for low, high in zip(edges, [*edges[1:], start], strict=True)]
    return [Window(kind, None, begin), *grid]


def catch_up(resource: Resource, known: state.Resume, *, start: datetime, overlap: timedelta) -> list[Window]:
    """What to read after a first read's windows: rows that have left them, unseen, because they were changed."""
    is_due = known.watermark is None and "changed_within" in resource.windows
    return [Window("changed", start - overlap)] if is_due else []


def at_once(resource: Resource) -> list[Window]:
    """Everything in one walk; nothing of a resource that is only read when another asks for it."""
    kinds: tuple[WindowKind, ...] = ("changed", "whole")
    return [Window(kind) for kind in kinds if kind in resource.windows][:1]


def window_key(window: Window) -> str:
    low, high = (edge.astimezone(UTC).isoformat() if edge else "" for edge in (window.start, window.end))
    return f"{window.kind}:{low}:{high}"
