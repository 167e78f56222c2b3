"""What is read, and what readers tell the writer about it."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime

from connectors.connector import Connector, Settings, Window
from connectors.errors import Phrase
from connectors.records import Account
from warehouse.load import Read
from warehouse.sweeps import Difference


@dataclass(frozen=True)
class SyncAccount:
    """An account to be read. env: where its secrets are. feeds: the account its rows belong to, if not its own."""

    account_id: str
    connector: Connector
    settings: Settings
    env: Mapping[str, str] = field(repr=False)
    feeds: str | None = None

    @property
    def target(self) -> str:
        return self.feeds or self.account_id


@dataclass(frozen=True)
class Opened:
    account_id: str
    account: Account
    number: str
    started_at: datetime
    viewer: str | None = None
    """Who the token reads as; None where that could not be found out."""
    begins_again: bool = False
    """Who reads now may see other things than who has read so far: what that one read counts as never read."""


@dataclass(frozen=True)
class Planned:
    account_id: str
    resource: str
    windows: int


@dataclass(frozen=True)
class Chunk:
    account_id: str
    resource: str
    reads: list[Read]
    before: datetime | None = None
    """Up to when the resource was read by earlier runs, where its rows are those of a window that follows. One that is
    older and was not on hand has come into sight since: its past is read with it when it is asked for by its id."""


@dataclass(frozen=True)
class WindowDone:
    account_id: str
    resource: str
    window: Window
    started_at: datetime


@dataclass(frozen=True)
class ResourceDone:
    account_id: str
    resource: str
    watermark: datetime
    complete_from: datetime
    numbers: Mapping[str, int] = field(default_factory=dict)
    """Up to where each numbered list was read, by part."""


@dataclass(frozen=True)
class SweepRead:
    """All ids of a resource were shown; `answer` gets those to be probed and read again."""

    account_id: str
    resource: str
    started_at: datetime
    answer: "Future[Difference]" = field(default_factory=Future)


@dataclass(frozen=True)
class SweepDone:
    """Whatever a sweep had missed was probed."""

    account_id: str
    resource: str
    started_at: datetime


@dataclass(frozen=True)
class AllRead:
    """Everything was read but what earlier answers ask for; `answer` gets the source's own ids of that, by resource."""

    account_id: str
    answer: "Future[Mapping[str, Sequence[str]]]" = field(default_factory=Future)


@dataclass(frozen=True)
class Failed:
    """A resource, or (None) the whole account."""

    account_id: str
    resource: str | None
    error: Phrase


@dataclass(frozen=True)
class NotGiven:
    """The source left a resource out: neither read nor failed."""

    account_id: str
    resource: str
    why: Phrase | None = None


@dataclass(frozen=True)
class AccountDone:
    account_id: str


Answered = SweepRead | AllRead
"""Events whose reader waits for what the writer makes of all that came before."""
Event = Opened | Planned | Chunk | WindowDone | ResourceDone | SweepDone | Answered | Failed | NotGiven | AccountDone


class Stopped(Exception):  # noqa: N818 — not an error: somebody asked us to stop
    """Raised inside readers when the run ends early."""
