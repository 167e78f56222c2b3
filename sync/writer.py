"""Writing: the caller's thread."""

import ctypes
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from connectors.connector import FIRST_KINDS, Resource
from connectors.errors import Phrase
from connectors.records import (
    Deal,
    DealAmountChange,
    DealOwnerChange,
    DealStageTransition,
    Listing,
    Notice,
    OwnedSet,
    RawRecord,
    Record,
    Reread,
    Shown,
    Stub,
)
from sync import shaping
from sync.doubts import doubt, is_doubtful
from sync.events import (
    AccountDone,
    AllRead,
    Answered,
    Chunk,
    Event,
    Failed,
    NotGiven,
    Opened,
    Planned,
    ResourceDone,
    SweepDone,
    SweepRead,
    SyncAccount,
    WindowDone,
)
from sync.plan import window_key
from warehouse import sightings, state
from warehouse.checks import AFTER_SYNC, check
from warehouse.columns import layout
from warehouse.database import personal_key
from warehouse.load import Loader, Read
from warehouse.status import AccountStatus, ResourceStatus, RunStatus, write_status
from warehouse.sweeps import Difference, Sweeps

FEWEST_DOUBTED = 4  # a list of fewer rows may well lose most of them
BATCH = 20_000  # rows committed at once
COMMIT_EVERY_S = 5.0
MOST_WARNINGS = 5
WELL = frozenset({"done", "skipped", "left_out"})
"""States of resources at the end of a run that needs nobody."""

READ = frozenset({"done", "left_out"})
"""States of resources that were read as far as the source gives them."""

PATIENCE = timedelta(days=7)
"""How long what deals say waits for a log that is not read."""

DEAL_LOGS = (DealStageTransition, DealOwnerChange, DealAmountChange)

Progress = Callable[[str, str, int, int | None], None]
"""Called with account, resource, windows done and all windows (None: not known yet)."""


class Writer:
    """Takes events in the order they come and commits them in batches, each batch whole or not at all."""

    def __init__(
        self,
        connection: Connection,
        run: RunStatus,
        *,
        accounts: Sequence[SyncAccount],
        data_dir: Path,
        now: Callable[[], datetime],
        progress: Progress | None,
        trusts_lists: bool = False,
    ) -> None:
        self.trusts_lists = trusts_lists
        self.connection, self.run, self.data_dir, self.now = connection, run, data_dir, now
        self.accounts = {account.account_id: account for account in accounts}
        self.progress = progress
        with connection.begin():
            self.loader = Loader(connection, key=personal_key(data_dir, connection))
        self.sweeps = Sweeps(connection, self.loader.suppression)
        self.viewers: dict[str, str | None] = {}
        self.commits = count(1)
        self.batch: list[Event] = []
        self.n = 0
        self.committed_at = self.told_at = time.monotonic()

    def take(self, event: Event) -> None:
        """Note an event; commit when enough has come together."""
        self._count(event)
        self.batch.append(event)
        if isinstance(event, Chunk):
            self.n += sum(len(item.rows) if isinstance(item, OwnedSet) else 1 for _, item in event.reads)
        if self.n >= BATCH or self.is_late() or isinstance(event, Answered | Failed | AccountDone):
            self.commit()
        if isinstance(event, SweepRead):
            event.answer.set_result(self._difference(event))
        elif isinstance(event, AllRead):
            with self.connection.begin():
                event.answer.set_result(state.asked_again(self.connection, event.account_id))

    def is_late(self) -> bool:
        return time.monotonic() - self.committed_at > COMMIT_EVERY_S

    def commit(self) -> None:
        """Write everything noted in one transaction: rows first, then what they complete."""
        batch, self.batch, self.n = self.batch, [], 0
        self.committed_at = time.monotonic()
        if not batch:
            return
        seq, now = (self.run.run_id << 32) + next(self.commits), self.now()
        with self.connection.begin():
            reads = [read for event in batch if isinstance(event, Chunk) for read in self._believed(event)]
            reads += [(seq, event.account) for event in batch if isinstance(event, Opened) and self._is_own(event)]
            self._greet([event for event in batch if isinstance(event, Chunk)])
            self.loader.load(reads, load_seq=seq, synced_at=now)
            self._remember(batch, now)
            for event in batch:
                self._mark(event)
            self._done([event for event in batch if isinstance(event, ResourceDone)])
            if any(isinstance(event, Opened | ResourceDone | NotGiven) for event in batch):
                state.refresh_coverage(self.connection, seq=seq, now=now)
            for event in batch:
                if isinstance(event, AccountDone) and event.account_id in self.viewers:
                    self._mind_shape(event.account_id)
                    self._look(event.account_id, seq=seq, now=now)
                    self._tell_findings(event.account_id, now)
            over = (e for e in batch if isinstance(e, Planned | ResourceDone | Failed | NotGiven))
            changed: set[tuple[str, str | None]] = {(e.account_id, e.resource) for e in over}
            changed |= {(e.account_id, None) for e in batch if isinstance(e, AccountDone)}
            state.log(self.connection, self._lines(changed, now))
        give_back()

    def heartbeat(self, *, force: bool = False) -> None:
        """Write the status file, at most once a second."""
        if not force and time.monotonic() - self.told_at < 1:
            return
        self.told_at = time.monotonic()
        self.run.heartbeat_at = self.now()
        write_status(self.data_dir, self.run)

    def _believed(self, event: Chunk) -> list[Read]:
        """What was read, less listings that suddenly lack most rows: burying them is for a person to decide."""
        doubted = [item for _, item in event.reads if type(item) is Listing and self._is_doubtful(item)]
        if not doubted:
            return event.reads
        warnings = self.run.account(event.account_id).resource(event.resource).warnings
        doubt = Phrase(
            "More than half of the list is gone; nothing was taken as removed. If it is right, run voronka sync --full"
        )
        warnings.insert(0, doubt)
        return [read for read in event.reads if not any(read[1] is one for one in doubted)]

    def _is_doubtful(self, listing: Listing) -> bool:
        if self.trusts_lists or listing.is_queue:
            return False
        known = state.n_listed(self.connection, listing, str(layout(listing.kind).removal))
        return known >= FEWEST_DOUBTED and 2 * len(listing.keys) < known

    def _difference(self, event: SweepRead) -> Difference:
        """What a sweep missed; where that is doubtful, it is remembered as such and nothing is concluded. What is to be
        read again is asked for at once: the sweep may be over before it is."""
        account, viewer = self.accounts[event.account_id], self.viewers[event.account_id]
        with self.connection.begin():
            before = state.sweeps(self.connection, event.account_id)[event.resource]
            found = self.sweeps.difference(event.account_id, event.resource, since=before.swept_at)
            if is_doubtful(found, before, viewer=viewer, settings=account.settings, trusts_viewer=self.trusts_lists):
                doubted = replace(before, swept_at=event.started_at, met=viewer, n_missing=len(found.missing))
                state.remember_sweep(self.connection, doubted)
                found = replace(found, missing=(), naming={}, is_doubtful=True)
            self._ask_again(event.account_id, [(event.resource, found.unknown), *found.naming.items()])
        return found

    def _greet(self, chunks: Sequence[Chunk]) -> None:
        """Ask by their ids for rows of chunks that are no news of the source's but have come into sight."""
        for chunk in chunks:
            if chunk.before is None:
                continue
            resources = self.accounts[chunk.account_id].connector.resources
            kind: Any = next(one.past_of for one in resources if one.name == chunk.resource)
            older = [item for _, item in chunk.reads if isinstance(item, kind) and item.created_at < chunk.before]
            self._ask_again(chunk.account_id, [(chunk.resource, self.sweeps.strangers(older))])

    def _ask_again(self, account_id: str, asked: Iterable[tuple[str, Iterable[str]]]) -> None:
        state.ask_again(self.connection, account_id, asked, run_id=self.run.run_id)

    def _mind_shape(self, account_id: str) -> None:
        """Where what is on hand was read with other settings, what they make of deals is no change of theirs."""
        account, mine = self.run.account(account_id), self.accounts[account_id]
        known = shaping.compared(state.shape(self.connection, account_id), mine.settings)
        is_whole = account.error is None and all(status.state in READ for status in account.resources)
        is_read_anew = self.trusts_lists and is_whole
        if known.changed:
            state.forget_seen(self.connection, mine.target)
        if known.changed and not is_read_anew:
            account.warnings.append(shaping.mixed(known.changed))
        state.know_shape(self.connection, account_id, shaping.shape(mine.settings) if is_read_anew else known.shape)

    def _look(self, account_id: str, *, seq: int, now: datetime) -> None:
        """See what deals say, where they were read as far as the source gives them; what it leaves out stays as it was
        and dates nothing. A log of their changes that is behind them is waited for: what it has yet to tell would seem
        to be left out. One that was not read for long may have nothing to tell, and is not waited for: what it tells
        later takes its place."""
        run, mine = self.run.account(account_id), self.accounts[account_id]
        parts = [(set(one.fills), run.resource(one.name)) for one in mine.connector.resources]
        deals = [status for kinds, status in parts if Deal in kinds]
        read_to = [status.watermark for status in deals if status.state == "done" and status.watermark is not None]
        if not read_to or not {status.state for status in deals} <= READ:
            return
        behind = [
            kinds
            for kinds, status in parts
            if status.state not in READ and status.watermark is not None and now - status.watermark < PATIENCE
        ]
        waiting = {log.table() for log in DEAL_LOGS if any(log in kinds for kinds in behind)}
        sightings.look(self.connection, mine.target, at=min(read_to), load_seq=seq, waiting=waiting)

    def _tell_findings(self, account_id: str, now: datetime) -> None:
        """Rows the last sweeps did not see, whenever that was, and deals whose history leads elsewhere."""
        account, mine = self.run.account(account_id), self.accounts[account_id]
        sweeps = state.sweeps(self.connection, account_id)
        for status in account.resources:
            swept = sweeps.get(status.resource)
            if swept is not None and swept.n_missing:
                status.warnings.insert(0, doubt(swept, mine.settings))
        account.checks = check(self.connection, now=now, codes=AFTER_SYNC, account_id=mine.target)
        if n := self.loader.suppression.stopped[mine.target]:
            account.warnings.append(
                Phrase("rows and objects about forgotten people left out or emptied: {n} (voronka forget --list)", n=n)
            )

    def _is_own(self, event: Opened) -> bool:
        return self.accounts[event.account_id].feeds is None

    def _remember(self, batch: Sequence[Event], now: datetime) -> None:
        """Windows that are done, ids to be read again and ids that sweeps show, all of a batch at once."""
        done = [
            state.DoneWindow(
                event.account_id, event.resource, window_key(event.window), event.started_at, self.run.run_id, now
            )
            for event in batch
            if isinstance(event, WindowDone) and event.window.kind in FIRST_KINDS and event.window.is_closed
        ]
        state.windows_done(self.connection, done)
        asked: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        for event in batch:
            if isinstance(event, WindowDone) and event.window.kind == "ids":
                asked[event.account_id][event.resource] -= set(event.window.ids)
                state.read_again(self.connection, event.account_id, event.resource, event.window.ids)
            elif isinstance(event, Chunk):
                for _, item in event.reads:
                    if isinstance(item, Reread):
                        asked[event.account_id][item.resource].update(item.ids)
                    elif isinstance(item, Shown):
                        self.sweeps.take(event.account_id, event.resource, item)
        for account_id, ids in asked.items():
            self._ask_again(account_id, ids.items())

    def _mark(self, event: Event) -> None:
        """What else an event says that is not a row."""
        if isinstance(event, Opened):
            self.viewers[event.account_id] = event.viewer
            mine = self.accounts[event.account_id]
            connector = mine.settings.connector
            state.know_account(
                self.connection,
                mine.account_id,
                connector=connector,
                number=event.number,
                target=mine.target,
                viewer=event.viewer,
            )
            known = shaping.compared(state.shape(self.connection, mine.account_id), mine.settings)
            state.know_shape(self.connection, mine.account_id, known.shape)
            if event.begins_again:
                state.begin_again(self.connection, mine.account_id)
            state.know_resources(
                self.connection,
                mine.account_id,
                target=mine.target,
                resources=[_filled(r) for r in mine.connector.resources],
            )
        elif isinstance(event, NotGiven):
            state.not_given(self.connection, event.account_id, event.resource)
        elif isinstance(event, SweepDone):
            state.remember_sweep(self.connection, self._seen(event, event.started_at))

    def _done(self, over: Sequence[ResourceDone]) -> None:
        """What was read whole, all of a batch at once."""
        state.read_whole(
            self.connection,
            [
                state.ReadWhole(event.account_id, event.resource, event.watermark, self._known_since(event))
                for event in over
            ],
        )
        state.know_numbers(
            self.connection,
            [
                state.Reached(event.account_id, event.resource, part, number)
                for event in over
                for part, number in event.numbers.items()
            ],
        )
        state.first_sight(self.connection, [self._seen(event, event.watermark) for event in over])

    def _seen(self, event: ResourceDone | SweepDone, at: datetime) -> state.Swept:
        """Everything of a resource was seen, by who reads now."""
        viewer = self.viewers[event.account_id]
        return state.Swept(event.account_id, event.resource, at, viewer, viewer)

    def _resource(self, event: ResourceDone | NotGiven) -> Resource:
        resources = self.accounts[event.account_id].connector.resources
        return next(one for one in resources if one.name == event.resource)

    def _known_since(self, event: ResourceDone) -> datetime:
        """Since when a resource is complete; a log, of which nobody knows how far it reaches, since its first entry."""
        mine, resource = self.accounts[event.account_id], self._resource(event)
        if resource.log_column is None:
            return event.complete_from
        keys = {kind.table(): layout(kind).keys[1] for kind in resource.fills}
        oldest = state.oldest(self.connection, mine.target, keys, resource.log_column, prefix=resource.log_prefix)
        return max(event.complete_from, oldest or event.watermark)

    def _count(self, event: Event) -> None:
        """Keep the status of the run in step with what happens."""
        account = self.run.account(event.account_id)
        if isinstance(event, AllRead):
            return
        if isinstance(event, Opened):
            account.number, account.name, account.state = event.number, event.account.name, "running"
            return
        if isinstance(event, AccountDone):
            self._account_over(account)
            return
        if isinstance(event, Failed) and event.resource is None:
            account.error, account.state = event.error, "failed"
            return
        status = account.resource(event.resource or "")
        if isinstance(event, Planned):
            status.state, status.windows_total = "running", event.windows
        elif isinstance(event, Chunk):
            _count_reads(status, event.reads)
        elif isinstance(event, WindowDone):
            status.windows_done += 1
            status.windows_total = max(status.windows_total or 0, status.windows_done)
        elif isinstance(event, ResourceDone):
            status.state, status.watermark, status.failure = "done", event.watermark, None
        elif isinstance(event, Failed):
            status.fail(event.error, self.now())
        elif isinstance(event, NotGiven):
            _leave_out(status, event.why, (kind.table() for kind in self._resource(event).fills))
        if self.progress is not None:
            self.progress(event.account_id, status.resource, status.windows_done, status.windows_total)

    def _account_over(self, account: AccountStatus) -> None:
        for status in account.resources:
            if status.state in {"waiting", "running"}:  # the account was given up before the resource ended
                status.fail(account.error, self.now())
        well = account.error is None and all(status.state in WELL for status in account.resources)
        account.state = "done" if well else "failed"

    def _lines(self, changed: Iterable[tuple[str, str | None]], now: datetime) -> Iterable[state.Logged]:
        for account_id, resource in changed:
            for status in self.run.account(account_id).resources:
                if resource not in (None, status.resource) or status.state in {"waiting", "skipped"}:
                    continue
                over = status.state in {"done", "failed", "left_out"}
                yield state.Logged(
                    run_id=self.run.run_id,
                    account_id=account_id,
                    resource=status.resource,
                    started_at=self.run.started_at,
                    finished_at=now if over else None,
                    status=status.state if over else "running",
                    n_read=status.n_read,
                    n_written=status.n_written,
                    n_unknown=status.n_unknown,
                    error=status.error,
                )


def give_back() -> None:
    """Hand what a batch took back to the system: glibc keeps the freed memory of every thread for that thread."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _filled(resource: Resource) -> state.Filled:
    tables = tuple(kind.table() for kind in resource.fills)
    return state.Filled(resource.name, tables, resource.is_core, resource.has_others)


def _leave_out(status: ResourceStatus, why: Phrase | None, tables: Iterable[str]) -> None:
    """The source does not give a resource. Of one that it once gave, the reason is told with since when."""
    status.state, status.failure = "left_out", None
    if why is None or status.watermark is None:
        return
    since = Phrase(
        "Nothing of it has come into these tables since {day}: {tables}.",
        day=f"{status.watermark:%Y-%m-%d}",
        tables=", ".join(tables),
    )
    others = [one for one in status.warnings if one.fields.get("error") != why]
    status.warnings = [Phrase("{error} {cost}", error=why, cost=since), *others]


def _count_reads(status: ResourceStatus, reads: Iterable[Read]) -> None:
    for _, item in reads:
        if isinstance(item, RawRecord):
            status.n_read += 1
        elif isinstance(item, Record | Stub):
            status.n_written += 1
        elif isinstance(item, OwnedSet):
            status.n_written += len(item.rows)
        elif isinstance(item, Notice):
            status.n_unknown += item.n if item.is_unknown else 0
            if item.text not in status.warnings and len(status.warnings) < MOST_WARNINGS:
                status.warnings.append(item.text)
