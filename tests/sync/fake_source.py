"""A source in memory: deals, users and events that change over time, read through a connector like any other."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from connectors.connector import Connector, Resource, Settings, Window
from connectors.errors import ConnectorError
from connectors.records import (
    Account,
    Call,
    Deal,
    DealStageTransition,
    EntityTag,
    Listing,
    OwnedSet,
    RawRecord,
    Record,
    Reread,
    Shown,
    Stub,
    Tombstone,
    User,
    Yield,
)
from sync import SyncAccount

OPENED = datetime(2026, 1, 1, tzinfo=UTC)
START = datetime(2026, 3, 1, 3, tzinfo=UTC)
PAGE = 2


@dataclass
class Thing:
    """A deal of the source. moves: instants of stage changes, each to the next stage."""

    number: int
    created_at: datetime
    changed_at: datetime
    stage: int = 10
    tags: tuple[str, ...] = ()
    user: int | None = None
    minor: int | None = None
    closed_at: datetime | None = None


@dataclass
class FakeSource:
    """What the source holds, its clock, what it was asked, and how it misbehaves."""

    things: dict[int, Thing] = field(default_factory=dict)
    users: list[int] = field(default_factory=lambda: [1, 2])
    events: list[tuple[int, datetime, str, int]] = field(default_factory=list)
    """id, instant, kind (moved, deleted), deal."""
    now: datetime = START
    number: str = "31000001"
    opened_at: datetime | None = OPENED
    failing: dict[str, ConnectorError | Exception] = field(default_factory=dict)
    asked: list[tuple[str, Window]] = field(default_factory=list)
    before_page: Callable[[str, Window], None] = lambda name, window: None
    local: Any = field(default_factory=threading.local)
    ordinals: Callable[[], int] = lambda: 0
    hidden: frozenset[int] = frozenset()
    """Deals that sweeps do not show."""
    closed: int = 0

    def server_now(self) -> datetime:
        return self.now

    def read_seq(self) -> int:
        return int(self.local.seq)

    def end(self) -> None:
        pass

    def close(self) -> None:
        self.closed += 1

    def answer(self, name: str, window: Window) -> None:
        if name in self.failing:
            raise self.failing[name]
        self.before_page(name, window)
        self.local.seq = self.ordinals()

    def add(self, number: int, created_at: datetime, **fields: Any) -> None:
        self.things[number] = Thing(number, created_at, created_at, **fields)

    def move(self, number: int, at: datetime) -> None:
        self.things[number].stage += 1
        self.things[number].changed_at = at
        self.events.append((len(self.events) + 1, at, "moved", number))

    def delete(self, number: int, at: datetime) -> None:
        del self.things[number]
        self.events.append((len(self.events) + 1, at, "deleted", number))


def _pages(api: FakeSource, name: str, window: Window, rows: Sequence[Any]) -> Iterator[Any]:
    api.asked.append((name, window))
    for first in range(0, len(rows), PAGE) or (0,):
        api.answer(name, window)
        yield rows[first : first + PAGE]


def _within(at: datetime, window: Window) -> bool:
    return (window.start is None or at >= window.start) and (window.end is None or at <= window.end)


def deals(api: FakeSource, account: Account, window: Window) -> Iterator[Yield]:
    wanted = [
        thing
        for thing in sorted(api.things.values(), key=lambda t: t.number)
        if (str(thing.number) in window.ids if window.kind == "ids" else True)
        and (_within(thing.created_at, window) if window.kind == "created" else True)
        and (_within(thing.changed_at, window) if window.kind in ("changed", "changed_within") else True)
    ]
    for page in _pages(api, "deals", window, wanted):
        for thing in page:
            raw = RawRecord.of(account.account_id, "leads", thing.number, vars(thing) | {"account": account.account_id})
            yield raw
            yield from _deal(thing, account, raw.raw_hash)


def swept_deals(api: FakeSource, account: Account, window: Window) -> Iterator[Yield]:
    if window.kind in ("sweep", "probe"):
        api.asked.append(("deals", window))
        api.answer("deals", window)
    if window.kind == "sweep":
        ids = [str(number) for number in sorted(api.things) if number not in api.hidden]
        yield Shown(Deal, account.account_id, "lead", ids)
    elif window.kind == "probe":
        found = set()
        for item in deals(api, account, replace(window, kind="ids")):
            if isinstance(item, RawRecord):
                found.add(item.native_id)
            yield item
        for native_id in sorted(set(window.ids) - found):
            yield Tombstone(Deal, account.account_id, f"lead:{native_id}", api.now, is_vague=True)
    else:
        yield from deals(api, account, window)


def _deal(thing: Thing, account: Account, raw_hash: str) -> Iterator[Yield]:
    name = f"lead:{thing.number}"
    yield Stub(User(account_id=account.account_id, user_id="user:9", name="?", is_active=False))
    yield Deal(
        account_id=account.account_id,
        deal_id=name,
        entity_kind="deal",
        name=f"Deal {thing.number}",
        pipeline_id="pipeline:1",
        stage_id=f"status:{thing.stage}",
        responsible_user_id=thing.user and f"user:{thing.user}",
        amount_minor=thing.minor,
        currency=account.base_currency,
        created_at=thing.created_at,
        closed_at=thing.closed_at,
        source_updated_at=thing.changed_at,
        raw_hash=raw_hash,
    )
    rows = [EntityTag(account_id=account.account_id, entity_id=name, tag=t, entity_kind="deal") for t in thing.tags]
    yield OwnedSet(EntityTag, account.account_id, name, Deal, rows)


def users(api: FakeSource, account: Account, window: Window) -> Iterator[Yield]:
    for page in _pages(api, "users", window, api.users):
        for number in page:
            yield User(account_id=account.account_id, user_id=f"user:{number}", name=f"User {number}", is_active=True)
    yield Listing(User, account.account_id, frozenset((f"user:{n}",) for n in api.users), api.now)


def events(api: FakeSource, account: Account, window: Window) -> Iterator[Yield]:
    """Newest first, as the real ones come."""
    wanted = [event for event in reversed(api.events) if _within(event[1], window)]
    for page in _pages(api, "events", window, wanted):
        for number, at, kind, deal in page:
            if kind == "deleted":
                yield Tombstone(Deal, account.account_id, f"lead:{deal}", at)
                yield Reread("deals", (str(deal),))
            else:
                yield DealStageTransition(
                    account_id=account.account_id,
                    change_id=f"event:{number}",
                    deal_id=f"lead:{deal}",
                    changed_at=at,
                    to_pipeline_id="pipeline:1",
                    to_stage_id="status:11",
                    origin="event",
                )


def calls(api: FakeSource, account: Account, window: Window) -> Iterator[Yield]:
    api.asked.append(("calls", window))
    api.answer("calls", window)
    yield Call(
        account_id=account.account_id, call_id="note:1", direction="in", subtype="normal", status="missed",
        started_at=OPENED + timedelta(days=2),
    )  # fmt: skip


RESOURCES = (
    Resource("users", users, ("whole",), (User,)),
    Resource("deals", deals, ("created", "changed", "ids"), (Deal,), is_core=True, after=("users",)),
    Resource("calls", calls, ("changed",), (Call,), is_core=True),
    Resource("events", events, ("created", "changed"), (DealStageTransition,), is_core=True, after=("deals",)),
)
SWEPT = (
    RESOURCES[0],
    replace(RESOURCES[1], read=swept_deals, windows=(*RESOURCES[1].windows, "sweep", "probe")),
    *RESOURCES[2:],
)
"""Deals are looked for as well."""


def connector(source: FakeSource, resources: tuple[Resource, ...] = RESOURCES) -> Connector:
    def open_source(
        settings: Settings, *, env: Mapping[str, str], ordinals: Callable[[], int], state_dir: str
    ) -> FakeSource:
        source.ordinals = ordinals
        return source

    def read_account(api: FakeSource, settings: Settings) -> Account:
        api.answer("account", Window("whole"))
        return Account(
            account_id=settings.id,
            connector="fake",
            name="Fake & Co",
            base_url="https://fake.example",
            external_id=source.number,
            tz="Europe/Moscow",
            base_currency="RUB",
            default_region="RU",
            created_at=source.opened_at,
        )

    return Connector(Settings, open_source, read_account, resources)


def account(
    source: FakeSource,
    account_id: str = "main",
    *,
    feeds: str | None = None,
    resources: tuple[Resource, ...] = RESOURCES,
) -> SyncAccount:
    settings = Settings(id=account_id, connector="fake", feeds=feeds)
    return SyncAccount(account_id, connector(source, resources), settings, {}, feeds)


def filled() -> FakeSource:
    """Nine deals over two months (one older than the account), three moved, one deleted."""
    source = FakeSource()
    source.add(1, OPENED - timedelta(days=400), tags=("imported",))
    for number in range(2, 10):
        source.add(number, OPENED + timedelta(days=7 * number - 10), tags=("vip", "hot")[: number % 3])
    for number in (2, 3, 4):
        source.move(number, OPENED + timedelta(days=20 + number))
    source.delete(9, START - timedelta(hours=2))
    return source


Kinds = tuple[type[Record], ...]
