"""What a walk over a list finds out on its way, and what becomes of each object: the same for every source."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from pydantic import ValidationError

from connectors.connector import Resource, Window
from connectors.errors import Phrase
from connectors.paging import Json
from connectors.records import Account, Listing, Notice, RawRecord, Record, Reread, Stub, Yield


@dataclass(kw_only=True)
class Walk:
    """One walk over one window of one resource.

    is_odd: a list was not as it should be, so what it lacks may still be there. is_replay: the source is not asked, so
    nothing can be read again.
    """

    account_id: str
    is_odd: bool = False
    is_replay: bool = False
    _rereads: dict[str, set[str]] = field(default_factory=dict)
    _mentioned: dict[tuple[type[Record], Any], Record | None] = field(default_factory=dict)
    _notices: Counter[tuple[Phrase, bool]] = field(default_factory=Counter)

    def notice(self, text: Phrase, *, is_unknown: bool = False) -> None:
        self._notices[text, is_unknown] += 1

    def odd(self, text: Phrase) -> None:
        self.is_odd = True
        self.notice(text)

    def reread(self, resource: str, native_id: Any) -> None:
        if not self.is_replay:
            self._rereads.setdefault(resource, set()).add(str(native_id))

    def mention(self, kind: type[Record], key: Any, make: Callable[[], Record]) -> None:
        """Something a row names: it gets a row of its own where no list has it."""
        if (kind, key) not in self._mentioned:
            self._mentioned[kind, key] = make()

    def mentions(self) -> Iterator[Stub]:
        """What was mentioned first since the last call."""
        fresh = [(name, record) for name, record in self._mentioned.items() if record is not None]
        for name, record in fresh:
            self._mentioned[name] = None
            yield Stub(record)

    def conclusions(self) -> Iterator[Yield]:
        """What is known only when the walk is over."""
        yield from self.mentions()
        for resource, ids in sorted(self._rereads.items()):
            yield Reread(resource, tuple(sorted(ids)))
        for (text, is_unknown), n in self._notices.items():
            yield Notice(text, n, is_unknown)


AnyWalk = TypeVar("AnyWalk", bound=Walk)
NO_ID = str(None)
"""What `raw_record` calls an object without an id."""


def mapped(
    item: Json,
    entity: str,
    to_records: Callable[[Json, AnyWalk, str], Iterable[Yield]],
    walk: AnyWalk,
    *,
    key: str = "id",
) -> Iterator[Yield]:
    """One raw object and its records. Under that `entity` the connector's replay has to know the same function."""
    raw = RawRecord.of(walk.account_id, entity, item.get(key), item)
    yield raw
    yield from records_of(item, raw, to_records, walk)


def records_of(
    item: Any, raw: RawRecord, to_records: Callable[[Any, AnyWalk, str], Iterable[Yield]], walk: AnyWalk
) -> Iterator[Yield]:
    """The records of a raw object. One that fits nothing is kept raw, counted, and stops nothing."""
    if raw.native_id == NO_ID:
        walk.notice(Phrase("{list}: objects kept raw only, for they have no id", list=raw.entity), is_unknown=True)
        return
    try:
        yield from to_records(item, walk, raw.raw_hash)
    except ValidationError as error:
        fields = ", ".join(sorted({str(problem["loc"][0]) for problem in error.errors() if problem["loc"]}))
        what = Phrase("{list}: objects kept raw only, because of {fields}", list=raw.entity, fields=fields)
        walk.notice(what, is_unknown=True)
    except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
        what = Phrase("{list}: objects kept raw only ({error})", list=raw.entity, error=type(error).__name__)
        walk.notice(what, is_unknown=True)


def listed_whole(
    kind: type[Record],
    keys: Iterable[tuple[str, ...]],
    walk: Walk,
    at: datetime,
    *,
    among: tuple[str, str] | None = None,
) -> Iterator[Listing]:
    """A listing, unless the list is empty or was cut: every row it lacks would be buried."""
    if (found := frozenset(keys)) and not walk.is_odd:
        yield Listing(kind, walk.account_id, found, at, among=among)


def with_deletions(*resources: Resource) -> tuple[Resource, ...]:
    """The resources, and last one that asks for what a webhook calls deleted, each by its id: that a list does not show
    it would say nothing. Its ids are `resource/id`."""

    def read(api: Any, account: Account, window: Window) -> Iterator[Yield]:
        for resource in resources:
            mark = f"{resource.name}/"
            ids = tuple(one.removeprefix(mark) for one in window.ids if one.startswith(mark))
            if ids and "probe" in resource.windows:
                yield from resource.read(api, account, Window("probe", ids=ids))

    return (*resources, Resource("deletions", read, ("ids",), ()))


def kept_raw(*_: Any) -> Iterable[Yield]:
    """For objects no table holds."""
    return ()
