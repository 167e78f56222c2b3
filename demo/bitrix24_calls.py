"""What every method of the emulated Bitrix24 is given and gives back, and the ways lists are paged (2.5)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, NamedTuple, Protocol

from demo import bitrix24_php as php
from demo.bitrix24_errors import RestError
from demo.bitrix24_filters import Cache, Query, Selection, Table
from demo.bitrix24_switches import Switches
from demo.bitrix24_wire import Wire

Json = dict[str, Any]
PAGE = 50


class Portal(Protocol):
    """What the engine asks of the data (`demo.bitrix24_portal`)."""

    now: int
    user: Any
    switches: Switches

    def table(self, name: str) -> Any:
        """The table of that name; None where the portal has none."""


@dataclass(frozen=True)
class Caller:
    """Who asks. kind: webhook or oauth. key: what his operating time is counted by."""

    kind: str
    key: str
    user_id: int


@dataclass
class Answer:
    """What a method gives, and what made it dear."""

    result: Any
    total: int | None = None
    next: int | None = None
    n_passed_over: int = 0
    is_counted: bool = False
    has_star: bool = False


@dataclass
class Engine:
    """What calls share: the portal and how it writes and looks up."""

    portal: Portal
    switches: Switches
    wire: Wire = field(init=False)
    cache: Cache = field(default_factory=Cache)
    chance: Random = field(default_factory=lambda: Random(0))
    offline: Any = None

    def __post_init__(self) -> None:
        self.wire = Wire(self.switches, lambda: self.portal.now)

    def table(self, name: str) -> Table | None:
        found: Table | None = self.portal.table(name)
        return found


@dataclass
class Call:
    """One call of one method. `params` without those the server itself reads."""

    engine: Engine
    caller: Caller
    params: Json
    start: int

    @property
    def switches(self) -> Switches:
        return self.engine.switches

    @property
    def wire(self) -> Wire:
        return self.engine.wire

    def param(self, name: str, default: Any = None) -> Any:
        """A parameter, whatever the case of its name."""
        if name in self.params:
            return self.params[name]
        return next((value for key, value in self.params.items() if key.lower() == name.lower()), default)

    def integer(self, name: str) -> int:
        return php.integer(self.param(name))

    def table(self, name: str) -> Table | None:
        return self.engine.table(name)

    def rows(self, name: str) -> list[Any]:
        """All rows of a small table."""
        table = self.table(name)
        return [table.get(number) for number in table.ids] if table else []

    def select(self, query: Query) -> Selection | None:
        """What a query finds; None where the portal lacks the table."""
        table = self.table(query.source)
        return Selection(table, query, self.wire.zone, self.engine.cache) if table else None


@dataclass(frozen=True)
class Method:
    """One method. scopes: one of them is needed; none at all for `()`."""

    name: str
    scopes: tuple[str, ...]
    run: Callable[[Call], Answer]
    is_for_apps: bool = False


class Registry(dict[str, Method]):
    """Methods by their names in lower case."""

    def method(self, name: str, *scopes: str, is_for_apps: bool = False) -> Callable[[Any], Any]:
        def keep(run: Callable[[Call], Answer]) -> Callable[[Call], Answer]:
            self.add(name, scopes, run, is_for_apps=is_for_apps)
            return run

        return keep

    def add(
        self, name: str, scopes: tuple[str, ...], run: Callable[[Call], Answer], *, is_for_apps: bool = False
    ) -> None:
        self[name.lower()] = Method(name, scopes, run, is_for_apps)


class Page(NamedTuple):
    """Ids of one page and what is told about the rest."""

    ids: Sequence[int]
    total: int | None
    next: int | None
    n_passed_over: int
    is_counted: bool

    def answer(self, result: Any, *, has_star: bool = False) -> Answer:
        return Answer(result, self.total, self.next, self.n_passed_over, self.is_counted, has_star)


NOTHING = Page((), 0, None, 0, False)


def old_page(call: Call, selection: Selection | None) -> Page:
    """Family A: beyond the end comes the first page again; any negative start means uncounted."""
    if selection is None:
        return NOTHING
    if call.start < 0:
        return Page(selection.first(PAGE), 0, None, 0, False)
    return _counted(call.start // PAGE * PAGE, selection, wraps=call.switches.out_of_range_page == "first")


def counted_page(call: Call, selection: Selection | None) -> Page:
    """Family A': pages by start, always counted, nothing beyond the end."""
    return NOTHING if selection is None else _counted(max(call.start, 0) // PAGE * PAGE, selection)


def controller_page(call: Call, selection: Selection | None) -> Page:
    """Family B: -1 alone means uncounted, and then neither total nor next is told."""
    if selection is None:
        return NOTHING
    if call.start == -1:
        total = 0 if call.switches.negative_start_total == "0" else None
        return Page(selection.first(PAGE), total, None, 0, False)
    return _counted(max(call.start, 0) // PAGE * PAGE, selection)


def offset_page(call: Call, selection: Selection | None) -> Page:
    """Family C: start is an exact offset; any negative start means uncounted."""
    if selection is None:
        return NOTHING
    if call.start < 0:
        return Page(selection.first(PAGE), 0, None, 0, False)
    return _counted(call.start, selection)


def _counted(offset: int, selection: Selection, *, wraps: bool = False) -> Page:
    found = selection.all()
    total = len(found)
    if wraps and offset >= total:
        offset = 0
    following = offset + PAGE
    return Page(
        found[offset:following], total, following if following < total else None, offset // PAGE, is_counted=True
    )


def order_of(
    wanted: Any, names: Mapping[str, str], *, on_unknown: Callable[[str], RestError] | None = None
) -> list[tuple[str, bool]]:
    """An order as names of the row; unknown ones are passed over, or refused.

    Raises:
        RestError: by `on_unknown`.
    """
    found = []
    for key, direction in php.items(wanted):
        if key in names:
            found.append((names[key], str(direction).lower().startswith("desc")))
        elif on_unknown:
            raise on_unknown(key)
    return found
