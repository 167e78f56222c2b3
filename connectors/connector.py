"""What a connector is: settings, a way to open an API, and resources. Found by scanning this package.

A connector is one folder (or file) with a module constant `CONNECTOR`; nothing else is edited to add one.
"""

import importlib
import pkgutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from typing import Any, ClassVar, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

import connectors
from connectors.records import Account, RawRecord, Record, Yield

WindowKind = Literal["created", "changed_within", "numbered", "changed", "ids", "whole", "sweep", "probe"]
FIRST_KINDS: tuple[WindowKind, ...] = ("created", "changed_within", "numbered")
"""Kinds a first read is cut into, so that it can be read in parallel and goes on where it was stopped."""


@dataclass(frozen=True)
class Window:
    """What part of a resource to read. Bounds are inclusive: overlaps are harmless, gaps are not.

    created: both bounds fixed (membership does not move). changed_within: both fixed, by change time: a row that
    changes during the walk leaves it, so a `changed` one from the walk's start follows. numbered: rows of the list
    `part` whose number at the source is above `after` and not above `until` (None: whatever comes; `greatest` is the
    greatest there was, which tells how much to expect). changed: `start` only (a fixed upper bound would lose such a
    row). ids: the source's own ids. whole: everything there is. sweep: the ids of everything there is (`Shown`), and
    the rows where they come with them. probe: ids a sweep missed; each gives its row or a vague `Tombstone`.
    """

    kind: WindowKind
    start: datetime | None = None
    end: datetime | None = None
    ids: tuple[str, ...] = ()
    part: str = ""
    after: int = 0
    until: int | None = None
    greatest: int | None = field(default=None, compare=False)

    @property
    def is_closed(self) -> bool:
        """Whether nothing can come into it any more, so that once read it is done for good."""
        return self.end is not None or self.until is not None


@dataclass(frozen=True)
class Span:
    """The least and the greatest number of a list's rows."""

    least: int
    greatest: int


class Api(Protocol):
    """What the sync needs of an opened API; resources use the connector's own class."""

    def server_now(self) -> datetime:
        """The source's clock (UTC), from the headers of its last answer."""

    def read_seq(self) -> int:
        """Ordinal of the last response read in this thread (see `open`'s `ordinals`)."""

    def end(self) -> None:
        """The run is over: whatever waits, wakes; nothing more is asked."""

    def close(self) -> None: ...


@dataclass(frozen=True)
class Resource:
    """A kind of thing a source can list.

    read: generator of records for a window. It yields a page's records before it asks for the next page, so that
    `api.read_seq()` is the ordinal of the response they came in.
    windows: kinds it can read. `created` or `changed_within` is used for the first read (cut into windows of
    `first_window`), `changed` for later ones; a resource with `changed` alone is first read from the beginning in one
    walk; `whole` is read whole every time; one with `ids` alone only when another asks for it. `sweep` and `probe` come
    on top, now and then. With `numbered` the first read is cut by number, and later ones are what has changed and what
    is numbered above all that was there last time, whatever its dates say: rows come back from a bin, or are imported.
    spans: of a resource with `numbered`: how far each of its lists reaches now, by part; empty ones are left out.
    lane: resources of one lane share so many threads of the account, those of another have their own: for a source
    that holds up each kind of request by itself.
    is_core: the account's watermark waits for it (deals, stage events, calls, tasks).
    after: names of resources whose rows this one refers to; they are read first.
    fills: canonical tables whose completeness it decides, for `coverage`. has_others: other resources know, if less of
    each, all that it fills them with: where it is not given, they alone decide.
    past_of: the kind of those of its rows whose past other resources list by numbers and times of its own: a row that
    is asked for by its id asks for that too, and one that comes into sight after it was made is asked for so.
    log_column: for a log of which nobody says how far back it reaches: the instant of its entries in `fills`. They are
    complete since the earliest that was read, not since the account was opened. log_prefix: how ids of entries begin,
    where another resource fills the same table.
    """

    name: str
    read: Callable[[Any, Account, Window], Iterator[Yield]]
    windows: tuple[WindowKind, ...]
    fills: tuple[type[Record], ...]
    first_window: timedelta = timedelta(days=30)
    spans: Callable[[Any], Mapping[str, Span]] | None = None
    lane: str = ""
    is_core: bool = False
    after: tuple[str, ...] = ()
    has_others: bool = False
    past_of: type[Record] | None = None
    log_column: str | None = None
    log_prefix: str = ""


@dataclass(frozen=True)
class Slice:
    """Rows of a list with `Comparable.by` within [start, end). stage: our ids of pipeline and stage; None: of any."""

    start: datetime
    end: datetime
    stage: tuple[str, str] | None = None


Row = tuple[str, Record]
"""The source's own id of a row, and what it is to us."""


@dataclass(frozen=True)
class Count:
    """Whether a slice holds as many rows as was expected (None: the source does not say), and some of its rows."""

    is_equal: bool | None
    rows: Sequence[Row] = ()


@dataclass(frozen=True)
class Comparable:
    """A list that `voronka check` compares with the rows on hand, by few requests and few columns.

    resource: whose list it is. kind, prefix: of rows and their ids. by: the column slices are cut by. page: rows that a
    request brings; counts: slices that a request counts.
    can_slice: api → whether slices can be asked for; where not, `listed` is asked for everything (None) only.
    listed: (api, account, slice) → its rows. newest: (api, account) → the rows with the greatest ids.
    named: (api, account, ids) → rows by the source's own ids. counted: (api, account, {slice: expected rows}) → counts.
    has_others: rows on hand may come from elsewhere too, so that the list may well lack them.
    settles: how long after its instant a row may come into the list.
    """

    resource: str
    kind: type[Record]
    prefix: str
    page: Callable[[Any], int]
    listed: Callable[[Any, Account, Slice | None], Iterator[Row]]
    newest: Callable[[Any, Account], Iterator[Row]]
    named: Callable[[Any, Account, Iterable[str]], Iterator[Row]]
    counted: Callable[[Any, Account, Mapping[Slice, int]], Mapping[Slice, Count]] | None = None
    can_slice: Callable[[Any], bool] = lambda _: True
    by: str = "created_at"
    counts: int = 1
    has_others: bool = False
    settles: timedelta = timedelta(0)


class Settings(BaseModel):
    """Keys of a config entry that every connector understands; a connector adds its own.

    sweep_every_days: how often everything on hand is looked for at the source, to find what left without a trace; 0: in
    `voronka sync --full` only. vanish_share: where a greater share is missing, a sweep takes none as deleted;
    `--full` believes it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    SHAPING: ClassVar[tuple[str, ...]] = ("timezone", "currency")
    """Keys that decide what is made of the source's answers: what was read before one changed stays as it was."""
    ASKING: ClassVar[tuple[str, ...]] = ()
    """Those of them that decide what is asked for, too: what raw objects on hand give then is not all."""

    id: str
    connector: str
    timezone: str | None = None
    calendar: Any = None
    currency: str | None = None
    feeds: str | None = None
    sweep_every_days: int = Field(default=7, ge=0)
    vanish_share: float = Field(default=0.02, ge=0, le=1)


@dataclass(frozen=True)
class Finding:
    """What `voronka doctor` learnt about one thing at the source, as a ready sentence in both languages.

    is_ok: None for something worth knowing that is neither well nor ill.
    """

    code: str
    is_ok: bool | None
    ru: str
    en: str


@dataclass(frozen=True)
class Heard:
    """What a webhook names: the source's own account number, and ids to be read again by resource."""

    number: str
    ids: Mapping[str, frozenset[str]]


class Replay(Protocol):
    """Makes records of raw objects that were read earlier, as reading does, without the source.

    context: entities of objects that say how others are to be read (options of fields, prices); `learn` is told each of
    their versions before what was read with it.
    kept: kinds of rows that hold something no raw object says, such as the day of a rate: what is on hand stays.
    """

    @property
    def context(self) -> frozenset[str]: ...

    @property
    def kept(self) -> frozenset[type[Record]]: ...

    def knows(self, entity: str) -> bool:
        """Whether resources make records of, or keep raw, objects of that name."""

    def learn(self, raw: RawRecord, item: Any) -> None: ...

    def records(self, raw: RawRecord, item: Any) -> Iterator[Yield]: ...

    def conclusions(self) -> Iterator[Yield]:
        """What is known only when all objects were seen."""


@dataclass(frozen=True)
class Connector:
    """A source system.

    open: settings, environment (where secrets are), `ordinals` (each call gives the next read ordinal; the API calls it
    once per response, from any thread), `state_dir` (a private folder for rotating tokens) → an API.
    account: reads who we are; the sync stores it and refuses an `id` that suddenly names another `external_id`.
    examine: (api, settings, *, env) → what there is to know of token, rights and switches of the account, for `voronka
    doctor`; raises ConnectorError where it cannot go on.
    login_url: (settings, *, env) → the page where a person consents. login: (settings, answer, *, env, state_dir) keeps
    the tokens for `answer`, a code or the whole redirect address. None where a source has no OAuth.
    viewer: api → whose rights the token has, in a few words that stay the same and end in " admin" for who sees
    everything, else in " not admin": what another viewer was shown may be out of sight now. None where that cannot
    change.
    hear: body of a webhook → what it names; ValueError where it is none. None where a source sends none.
    comparables: lists that can be compared with the rows on hand. traces: resources whose `changed` windows name what
    was deleted, moved or came back meanwhile; none where a source tells of no deletion when it was.
    replay: (settings, account, entities) → how records are made of the raw objects of `account`, as it is on hand;
    entities: names of those there are.
    An opened API serves one run: it remembers what the run has found out.
    """

    settings: type[Settings]
    open: Callable[..., Api]
    account: Callable[[Any, Any], Account]
    resources: tuple[Resource, ...]
    replay: Callable[[Any, Account, Collection[str]], Replay] | None = None
    examine: Callable[..., Iterator[Finding]] | None = None
    login_url: Callable[..., str] | None = None
    login: Callable[..., None] | None = None
    hear: Callable[[bytes], Heard] | None = None
    viewer: Callable[[Any], str] | None = None
    comparables: tuple[Comparable, ...] = ()
    traces: tuple[str, ...] = ()

    def open_api(
        self, settings: Settings, *, env: Mapping[str, str], ordinals: Callable[[], int], state_dir: str
    ) -> Api:
        return self.open(settings, env=env, ordinals=ordinals, state_dir=state_dir)


@cache
def find_connectors() -> dict[str, Connector]:
    """Every connector of this package by the name of its folder or file, as used in `config.yaml`."""
    modules = (
        importlib.import_module(f"connectors.{module.name}") for module in pkgutil.iter_modules(connectors.__path__)
    )
    found = {module.__name__.rpartition(".")[2]: getattr(module, "CONNECTOR", None) for module in modules}
    return {name: connector for name, connector in found.items() if connector is not None}
