"""The straight line from sources to readers: `sync` fills the warehouse, `publish_all` makes a generation of it.

Many threads read, one writes. Readers put what they get into a bounded queue; the caller's thread takes it out and
commits batches: rows together with the marks that say which windows they complete. So whatever is killed wherever, the
next run repeats at most what no mark speaks of, and repeating changes nothing.
"""

import logging
import queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from connectors.connector import Api, Connector, Resource, Settings, Window
from connectors.errors import ConnectorError, CredentialsError
from connectors.records import Account, Listing, Notice, OwnedSet, RawRecord, Record, Reread, Stub
from metrics.marts import MartParams, build
from warehouse import publish, state
from warehouse.checks import check
from warehouse.columns import layout
from warehouse.database import open_warehouse, personal_key, private_folder, said_plainly, writer_lock
from warehouse.load import Loader, Read
from warehouse.publish import Local
from warehouse.status import AccountStatus, ResourceStatus, RunStatus, write_status

log = logging.getLogger("voronka.sync")

OVERLAP = timedelta(minutes=10)
MOST_CLOCK_SKEW = timedelta(days=1)
CLOCK_TOLERANCE = timedelta(minutes=10)  # a source may be that far ahead of us and still be believed
FEWEST_DOUBTED = 4  # a list of fewer rows may well lose most of them
LET_GO = "nothing was taken as removed. If it is right, run voronka sync --full"
PUBLICATION = "publication"
FALLBACK_START = datetime(2010, 1, 1, tzinfo=UTC)  # for a source that does not say when the account was opened
CHUNK = 2_000  # yields a reader collects before it hands them over
BATCH = 20_000  # yields committed at once; the measured best of 5, 20 and 50 thousand
QUEUED_CHUNKS = 16
COMMIT_EVERY_S = 5.0
IDS_A_WINDOW = 250
REREAD_ROUNDS = 3
MOST_WARNINGS = 5
JOIN_S = 10.0  # how long readers in the middle of a request are waited for

Progress = Callable[[str, str, int, int | None], None]
"""Called with account, resource, windows done and all windows (None: not known yet)."""


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


# --- what readers tell the writer -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Opened:
    account_id: str
    account: Account
    number: str
    started_at: datetime


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


@dataclass(frozen=True)
class Failed:
    """A resource, or (None) the whole account."""

    account_id: str
    resource: str | None
    error: str


@dataclass(frozen=True)
class AccountDone:
    account_id: str


Event = Opened | Planned | Chunk | WindowDone | ResourceDone | Failed | AccountDone


class _Stopped(Exception):  # noqa: N818 — not an error: somebody asked us to stop
    """Raised inside readers when the run ends early."""


# --- planning ---------------------------------------------------------------------------------------------------------


def plan(
    resource: Resource, known: state.Resume, *, begin: datetime, start: datetime, overlap: timedelta
) -> list[Window]:
    """Windows to read now, those already done left out.

    begin: when the account was opened. start: when this run began, by the server's clock.
    """
    if known.watermark is None:
        windows = first_windows(resource, begin=begin, start=start)
        return [window for window in windows if window_key(window) not in known.done]
    since = known.watermark - overlap
    if "changed" in resource.windows:
        return [Window("changed", since)]
    if "created" in resource.windows:
        return [Window("created", since, start)]
    return [Window("whole")]


def first_windows(resource: Resource, *, begin: datetime, start: datetime) -> list[Window]:
    """Everything from the beginning. The grid stays the same from run to run, so that done windows are recognised.

    The first is open at its start: imports bring things that were created before the account was.
    """
    if "created" not in resource.windows:
        return [Window("changed") if "changed" in resource.windows else Window("whole")]
    length = resource.first_window
    full = max(0, (start - begin) // length)
    edges = [begin + length * n for n in range(full + 1)]
    grid = [Window("created", low, high) for low, high in zip(edges, [*edges[1:], start], strict=True)]
    return [Window("created", None, begin), *grid]


def window_key(window: Window) -> str:
    low, high = (edge.astimezone(UTC).isoformat() if edge else "" for edge in (window.start, window.end))
    return f"{window.kind}:{low}:{high}"


# --- reading: threads of one account ----------------------------------------------------------------------------------


@dataclass
class Reader:
    """Reads one account: runs in a thread of its own, with a pool for its windows; says everything through `tell`."""

    target: SyncAccount
    resources: Sequence[Resource]
    known: Mapping[str, state.Resume]
    number: str | None
    """The source's account number as it was so far."""
    pending: Mapping[str, Sequence[str]]
    """Ids earlier runs were asked to read again, by resource."""
    ordinals: Callable[[], int]
    state_dir: Path
    overlap: timedelta
    parallel: int
    tell: Callable[[Event], None]
    stop: threading.Event
    now: Callable[[], datetime]
    failed: set[str] = field(default_factory=set)
    asked: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    lock: threading.Lock = field(default_factory=threading.Lock)
    is_over: bool = False

    def run(self) -> None:
        """Read the account whole. Never raises: what went wrong is told."""
        api: Api | None = None
        try:
            api = self.target.connector.open_api(
                self.target.settings, env=self.target.env, ordinals=self.ordinals, state_dir=str(self.state_dir)
            )
            self._read(api)
        except _Stopped:
            pass
        except Exception as error:  # the account is lost for this run, the others are not
            self._give_up(None, error)
        finally:
            if api is not None:
                with suppress(Exception):
                    api.close()
            with suppress(_Stopped):
                self.tell(AccountDone(self.target.account_id))

    def _read(self, api: Api) -> None:
        account = self.target.connector.account(api, self.target.settings)
        if self.number is not None and self.number != account.external_id:
            self._fail(None, state.other_account(self.target.account_id, self.number, account.external_id))
            return
        theirs, ours = api.server_now(), self.now()
        if theirs - ours > MOST_CLOCK_SKEW:
            self._fail(None, _clock_ahead(self.target.account_id, theirs, ours))
            return
        start = min(theirs, ours + CLOCK_TOLERANCE).replace(microsecond=0)
        account = account.model_copy(update={"account_id": self.target.target})
        self.tell(Opened(self.target.account_id, account, account.external_id, start))
        with ThreadPoolExecutor(self.parallel, thread_name_prefix=self.target.account_id) as pool:
            self._read_resources(pool, api, account, start)
            self._read_again(pool, api, account, start)

    def _read_resources(self, pool: ThreadPoolExecutor, api: Api, account: Account, start: datetime) -> None:
        """Start a resource when those it comes after are over, well or not; tell its end when its windows are."""
        waiting = {resource.name: resource for resource in self.resources}
        running: dict[Future[None], Resource] = {}
        left: dict[str, int] = {}
        begin = account.created_at or FALLBACK_START
        while waiting or running:
            ready = [r for r in waiting.values() if not ({*waiting, *left} & {*r.after} - {r.name})]
            if not ready and not running:
                raise ValueError(f"resources wait for each other: {', '.join(waiting)}")
            for resource in ready:
                del waiting[resource.name]
                windows = plan(resource, self.known[resource.name], begin=begin, start=start, overlap=self.overlap)
                self.tell(Planned(self.target.account_id, resource.name, len(windows)))
                left[resource.name] = len(windows)
                for window in windows:
                    running[pool.submit(self._window, api, account, resource, window, start)] = resource
                if not windows:  # all were done by a run that was killed before it could say so
                    del left[resource.name]
                    self._finished(resource, begin, start)
            over, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in over:
                resource = running.pop(future)
                future.result()
                left[resource.name] -= 1
                if not left[resource.name]:
                    del left[resource.name]
                    self._finished(resource, begin, start)

    def _finished(self, resource: Resource, begin: datetime, start: datetime) -> None:
        if resource.name in self.failed or self.is_over:
            return
        known = self.known[resource.name]
        # windows that an earlier run read are as old as that run
        watermark = min([start, *known.done.values()]) if known.watermark is None else start
        self.tell(ResourceDone(self.target.account_id, resource.name, watermark, begin))

    def _read_again(self, pool: ThreadPoolExecutor, api: Api, account: Account, start: datetime) -> None:
        """Ids that walks asked for, when everything else is read: a list read last is the truth."""
        by_name = {resource.name: resource for resource in self.target.connector.resources}
        asked = {name: set(ids) for name, ids in self.pending.items()}
        for _ in range(REREAD_ROUNDS):
            with self.lock:
                for name, ids in self.asked.items():
                    asked.setdefault(name, set()).update(ids)
                self.asked.clear()
            windows = [
                (by_name[name], Window("ids", ids=tuple(part)))
                for name, ids in asked.items()
                if name in by_name and name not in self.failed
                for part in _parts(sorted(ids), IDS_A_WINDOW)
            ]
            asked = {}
            if not windows or self.is_over:
                return
            futures = [pool.submit(self._window, api, account, *one, start) for one in windows]
            for future in futures:
                future.result()

    def _window(self, api: Api, account: Account, resource: Resource, window: Window, start: datetime) -> None:
        """Read one window into the queue; a failure is the resource's."""
        if self._is_pointless(resource):
            return
        reads: list[Read] = []
        try:
            for item in resource.read(api, account, window):
                reads.append((api.read_seq(), item))
                if isinstance(item, Reread):
                    with self.lock:
                        self.asked[item.resource].update(item.ids)
                if len(reads) >= CHUNK:
                    self.tell(Chunk(self.target.account_id, resource.name, reads))
                    reads = []
                if self._is_pointless(resource):
                    return
        except _Stopped:
            raise
        except CredentialsError as error:
            self._give_up(None, error)
        except Exception as error:  # one resource that fails does not stop the others
            self._give_up(resource.name, error)
        else:
            self.tell(Chunk(self.target.account_id, resource.name, reads))
            self.tell(WindowDone(self.target.account_id, resource.name, window, start))

    def _is_pointless(self, resource: Resource) -> bool:
        return self.is_over or resource.name in self.failed or self.stop.is_set()

    def _give_up(self, resource: str | None, error: Exception) -> None:
        if isinstance(error, ConnectorError):
            self._fail(resource, str(error))
            return
        log.exception("%s: a bug in the connector", self.target.account_id, exc_info=error)
        self._fail(resource, f"An error in the program ({type(error).__name__}); the log has the details.")

    def _fail(self, resource: str | None, sentence: str) -> None:
        with self.lock:
            known = resource in self.failed if resource else self.is_over
            if resource is None:
                self.is_over = True
            else:
                self.failed.add(resource)
        if not known:
            self.tell(Failed(self.target.account_id, resource, sentence))


def _clock_ahead(account_id: str, theirs: datetime, ours: datetime) -> str:
    return (
        f"The clock of {account_id}'s CRM says {theirs:%Y-%m-%d %H:%M} UTC, this machine's {ours:%Y-%m-%d %H:%M}: "
        "nothing was read, for what changes meanwhile would never be asked for. Set this machine's clock; if it is "
        "right, try again later."
    )


def _parts(ids: Sequence[str], size: int) -> Iterable[Sequence[str]]:
    return (ids[n : n + size] for n in range(0, len(ids), size))


# --- writing: the caller's thread -------------------------------------------------------------------------------------


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
        self.commits = count(1)
        self.batch: list[Event] = []
        self.n = 0
        self.committed_at = self.told_at = time.monotonic()

    def take(self, event: Event) -> None:
        """Note an event; commit when enough has come together."""
        self._count(event)
        self.batch.append(event)
        if isinstance(event, Chunk):
            self.n += len(event.reads)
        late = time.monotonic() - self.committed_at > COMMIT_EVERY_S
        if self.n >= BATCH or late or isinstance(event, ResourceDone | Failed | AccountDone):
            self.commit()

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
            self.loader.load(reads, load_seq=seq, synced_at=now)
            self._remember(batch, now)
            for event in batch:
                self._mark(event)
            if any(isinstance(event, Opened | ResourceDone) for event in batch):
                state.refresh_coverage(self.connection, seq=seq, now=now)
            changed = {(e.account_id, e.resource) for e in batch if isinstance(e, Planned | ResourceDone | Failed)}
            changed |= {(e.account_id, None) for e in batch if isinstance(e, AccountDone)}
            state.log(self.connection, self.run.run_id, self._lines(changed, now))

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
        warnings.insert(0, f"{event.resource}: more than half of the list is gone; {LET_GO}")
        return [read for read in event.reads if not any(read[1] is one for one in doubted)]

    def _is_doubtful(self, listing: Listing) -> bool:
        if self.trusts_lists:
            return False
        table, removal = listing.kind.table(), layout(listing.kind).removal
        known = state.n_listed(self.connection, listing.account_id, table, str(removal))
        return known >= FEWEST_DOUBTED and 2 * len(listing.keys) < known

    def _is_own(self, event: Opened) -> bool:
        return self.accounts[event.account_id].feeds is None

    def _remember(self, batch: Sequence[Event], now: datetime) -> None:
        """Windows that are done and ids to be read again, all of a batch at once."""
        done = [
            state.DoneWindow(event.account_id, event.resource, window_key(event.window), event.started_at)
            for event in batch
            if isinstance(event, WindowDone) and event.window.kind == "created"
        ]
        if done:
            state.windows_done(self.connection, done, run_id=self.run.run_id, now=now)
        asked: dict[tuple[str, str], set[str]] = defaultdict(set)
        for event in batch:
            if isinstance(event, WindowDone) and event.window.kind == "ids":
                asked[event.account_id, event.resource] -= set(event.window.ids)
                state.read_again(self.connection, event.account_id, event.resource, event.window.ids)
            elif isinstance(event, Chunk):
                for _, item in event.reads:
                    if isinstance(item, Reread):
                        asked[event.account_id, item.resource].update(item.ids)
        for (account_id, resource), ids in asked.items():
            state.ask_again(self.connection, account_id, resource, ids, run_id=self.run.run_id)

    def _mark(self, event: Event) -> None:
        """What else an event says that is not a row."""
        if isinstance(event, Opened):
            mine = self.accounts[event.account_id]
            connector = mine.settings.connector
            state.know_account(
                self.connection, mine.account_id, connector=connector, number=event.number, target=mine.target
            )
            state.know_resources(
                self.connection,
                mine.account_id,
                target=mine.target,
                resources=[_filled(r) for r in mine.connector.resources],
            )
        elif isinstance(event, ResourceDone):
            state.move_watermark(
                self.connection,
                event.account_id,
                event.resource,
                to=event.watermark,
                complete_from=self._known_since(event),
            )

    def _known_since(self, event: ResourceDone) -> datetime:
        """Since when a resource is complete; a log, of which nobody knows how far it reaches, since its first entry."""
        mine = self.accounts[event.account_id]
        resource = next(one for one in mine.connector.resources if one.name == event.resource)
        if resource.log_column is None:
            return event.complete_from
        tables = [kind.table() for kind in resource.fills]
        oldest = state.oldest(self.connection, mine.target, tables, resource.log_column)
        return max(event.complete_from, oldest or event.watermark)

    def _count(self, event: Event) -> None:
        """Keep the status of the run in step with what happens."""
        account = self.run.account(event.account_id)
        if isinstance(event, Opened):
            account.name, account.state = event.account.name, "running"
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
            status.state, status.watermark = "done", event.watermark
        elif isinstance(event, Failed):
            status.state, status.error = "failed", event.error
        if self.progress is not None:
            self.progress(event.account_id, status.resource, status.windows_done, status.windows_total)

    def _account_over(self, account: AccountStatus) -> None:
        for status in account.resources:
            if status.state in {"waiting", "running"}:  # the account was given up before the resource ended
                status.state, status.error = "failed", account.error
        well = account.error is None and all(status.state in {"done", "skipped"} for status in account.resources)
        account.state = "done" if well else "failed"

    def _lines(self, changed: Iterable[tuple[str, str | None]], now: datetime) -> Iterable[state.Logged]:
        for account_id, resource in changed:
            for status in self.run.account(account_id).resources:
                if resource not in (None, status.resource) or status.state in {"waiting", "skipped"}:
                    continue
                over = status.state in {"done", "failed"}
                yield state.Logged(
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


def _filled(resource: Resource) -> state.Filled:
    return state.Filled(resource.name, tuple(kind.table() for kind in resource.fills), resource.is_core)


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


# --- the run ----------------------------------------------------------------------------------------------------------


def sync(
    data_dir: Path,
    accounts: Sequence[SyncAccount],
    *,
    full: bool = False,
    resources: Sequence[str] | None = None,
    overlap: timedelta = OVERLAP,
    progress: Progress | None = None,
    parallel: int = 4,
    stop: threading.Event | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> RunStatus:
    """Read all accounts into the warehouse and say what became of each resource.

    Args:
        full: read everything from the beginning again, whatever was read before; believe lists that lack most rows.
        resources: names of resources to read; None: all. What they come after is not read with them.
        overlap: how far before its watermark a resource is read again.
        parallel: windows read at once, per account.
        stop: set from elsewhere (a signal) to end the run; what was committed stays, the next run goes on from there.

    Raises:
        LockedError: another process writes. WarehouseError: the file cannot be opened, the disk is full.
    """
    private_folder(data_dir)
    with writer_lock(data_dir), said_plainly(data_dir):
        engine = open_warehouse(data_dir)
        try:
            with engine.connect() as connection:
                return _Run(data_dir, accounts, connection, now, stop or threading.Event()).read(
                    full=full, resources=resources, overlap=overlap, progress=progress, parallel=parallel
                )
        finally:
            engine.dispose()


@dataclass
class _Run:
    data_dir: Path
    accounts: Sequence[SyncAccount]
    connection: Connection
    now: Callable[[], datetime]
    stop: threading.Event

    def read(
        self,
        *,
        full: bool,
        resources: Sequence[str] | None,
        overlap: timedelta,
        progress: Progress | None,
        parallel: int,
    ) -> RunStatus:
        started_at = self.now()
        with self.connection.begin():
            run_id = state.start_run(self.connection, now=started_at)
        chosen = {a.account_id: _chosen(a.connector.resources, resources) for a in self.accounts}
        run = RunStatus(run_id, "running", started_at, started_at)
        run.accounts = [self._status(account, chosen[account.account_id]) for account in self.accounts]
        writer = Writer(
            self.connection,
            run,
            accounts=self.accounts,
            data_dir=self.data_dir,
            now=self.now,
            progress=progress,
            trusts_lists=full,
        )
        events: queue.Queue[Event] = queue.Queue(QUEUED_CHUNKS)
        ordinals = _ordinals(run_id)
        halt = threading.Event()
        readers = [
            self._reader(
                account,
                chosen[account.account_id],
                full=full,
                overlap=overlap,
                parallel=parallel,
                ordinals=ordinals,
                tell=_teller(events, halt),
                halt=halt,
            )
            for account in self.accounts
        ]
        threads = [
            threading.Thread(target=reader.run, name=reader.target.account_id, daemon=True) for reader in readers
        ]
        writer.heartbeat(force=True)
        try:
            for thread in threads:
                thread.start()
            self._write(writer, events, len(threads))
            run.state = self._verdict(run)
        except BaseException as error:
            run.state = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
            raise
        finally:
            halt.set()
            run.finished_at = self.now()
            for thread in threads:
                thread.join(JOIN_S)
            with suppress(OSError):  # a full disk must not hide what went wrong
                writer.heartbeat(force=True)
        return run

    def _write(self, writer: Writer, events: "queue.Queue[Event]", n_accounts: int) -> None:
        """Take events until every account is over, or somebody asks to stop."""
        over = 0
        while over < n_accounts and not self.stop.is_set():
            try:
                event = events.get(timeout=0.2)
            except queue.Empty:
                writer.heartbeat()
                continue
            writer.take(event)
            over += isinstance(event, AccountDone)
            writer.heartbeat()
        writer.commit()

    def _verdict(self, run: RunStatus) -> str:
        if self.stop.is_set() and any(account.state not in {"done", "failed"} for account in run.accounts):
            return "interrupted"
        return "done" if all(account.state == "done" for account in run.accounts) else "failed"

    def _status(self, account: SyncAccount, chosen: Sequence[Resource]) -> AccountStatus:
        names = {resource.name for resource in chosen}
        with self.connection.begin():
            statuses = [
                ResourceStatus(
                    resource.name,
                    state="waiting" if resource.name in names else "skipped",
                    watermark=state.watermark(self.connection, account.account_id, resource.name),
                )
                for resource in account.connector.resources
            ]
        return AccountStatus(account.account_id, resources=statuses)

    def _reader(
        self,
        account: SyncAccount,
        resources: Sequence[Resource],
        *,
        full: bool,
        overlap: timedelta,
        parallel: int,
        ordinals: Callable[[], int],
        tell: Callable[[Event], None],
        halt: threading.Event,
    ) -> Reader:
        state_dir = self.data_dir / "state" / account.account_id
        private_folder(state_dir.parent)
        private_folder(state_dir)
        with self.connection.begin():
            if full:
                for resource in resources:
                    state.forget_windows(self.connection, account.account_id, resource.name)
            known = {r.name: state.resume(self.connection, account.account_id, r.name) for r in resources}
            number = state.external_id(self.connection, account.account_id)
            pending = state.asked_again(self.connection, account.account_id)
        if full:
            known = {name: replace(resume, watermark=None) for name, resume in known.items()}
        return Reader(
            target=account,
            resources=resources,
            known=known,
            number=number,
            pending=pending,
            ordinals=ordinals,
            state_dir=state_dir,
            overlap=overlap,
            parallel=parallel,
            tell=tell,
            stop=halt,
            now=self.now,
        )


def _chosen(resources: Sequence[Resource], names: Sequence[str] | None) -> list[Resource]:
    return [resource for resource in resources if not names or resource.name in names]


def _ordinals(run_id: int) -> Callable[[], int]:
    """Ordinals of responses, the same order for all threads; no clock."""
    numbers = count((run_id << 32) + 1)
    return lambda: next(numbers)  # one bytecode of C: no two threads get the same


def _teller(events: "queue.Queue[Event]", halt: threading.Event) -> Callable[[Event], None]:
    def tell(event: Event) -> None:
        while not halt.is_set():
            try:
                events.put(event, timeout=0.5)
            except queue.Full:
                continue
            return
        raise _Stopped

    return tell


# --- publication ------------------------------------------------------------------------------------------------------


def publish_all(
    data_dir: Path,
    *,
    local: Mapping[str, Local] | None = None,
    params: MartParams | None = None,
    settings_version: str | int = 0,
    full: bool = False,
    daily: int = 7,
    monthly: int = 12,
    now: datetime | None = None,
) -> dict[str, Any]:
    """Make a generation of what the warehouse holds: export → marts.build → write → seal. Returns its manifest.

    Args:
        local: per account what the config says against the source: time zone, calendar, currency.
        params: what marts consume, calendars included.
        settings_version: of what people set in the app; goes into the manifest.
        full: link nothing from the generation before; what comes out must be the same.
        daily, monthly: how many generations of past days and months stay.

    Raises:
        LockedError: another process writes. WarehouseError: no room on the disk, damaged warehouse.
    """
    at, wanted = now or datetime.now(UTC), params or MartParams()
    with writer_lock(data_dir):
        engine = open_warehouse(data_dir)
        try:
            draft = publish.begin(data_dir / PUBLICATION, now=at, full=full)
            try:
                publish.export(engine, draft, local=local)
                manifest = publish.describe(engine, now=at, local=local)
                with engine.begin() as connection:
                    checks = check(connection, now=at)
                as_of = {a["account_id"]: datetime.fromisoformat(a["as_of"]) for a in manifest["accounts"]}
                tables = {name: draft.scan(name) for name in draft.tables if not name.endswith("_pii")}
                for name, frame in build(tables, as_of, wanted).items():
                    publish.write(draft, name, frame)
                manifest |= {
                    "mart_params": wanted.model_dump(mode="json"),
                    "settings_version": settings_version,
                    "checks": checks,
                }
                return publish.seal(draft, manifest, daily=daily, monthly=monthly)
            except BaseException:
                publish.abandon(draft)
                raise
        finally:
            engine.dispose()
