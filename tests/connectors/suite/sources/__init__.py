"""What a connector brings to the suite: a scripted account of its source, in this process, and a way to change it.

A connector joins by a module of its own name in this folder with a class `Source`; nothing else is edited.
"""

import importlib
import pkgutil
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Literal, Protocol

from sync import SyncAccount

Sight = Literal["whole", "part", "nothing"]


class Source(Protocol):
    """One account over many runs: no socket, nobody sleeps, its clock moves by `passes` alone.

    before: called with the number of each request (from 1) and what is asked, the same text for the same question; may
    raise what a network raises. repaint: may change the parsed body of an answer. asked: all requests so far.
    sight: how much the token's owner may see; of "part" his own cards.
    """

    before: Callable[[int, Any], None]
    repaint: Callable[[Any, Any], Any]
    asked: list[Any]
    sight: Sight
    keys: frozenset[str]
    """What objects are known by: without it nothing is the same object as before."""

    @property
    def now(self) -> datetime: ...

    def passes(self, time: timedelta) -> None: ...

    def a_day(self) -> None:
        """People create, change, move, complete, merge and delete things; the same every time."""

    def quietly(self) -> str:
        """Somebody changes the amount of a deal and no change time moves; our id of it."""

    def as_account(self) -> SyncAccount:
        """The account as the sync takes it, with pages of few rows."""

    def walk_of(self, asked: Any) -> str:
        """What is asked, page numbers aside: the same for all pages of a list."""

    def objects(self, answer: Any) -> list[dict[str, Any]]:
        """The objects of an answer that is a page of a list, to be changed in place; else none."""


def find_sources() -> dict[str, Callable[[], Source]]:
    """A new account per connector, by the connector's name."""
    names = [module.name for module in pkgutil.iter_modules(__path__)]
    return {name: importlib.import_module(f"{__name__}.{name}").Source for name in names}
