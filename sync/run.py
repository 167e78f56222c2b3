"""One run: a reader for every account, one writer for all of them."""

import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

from sqlalchemy import Connection

from connectors.connector import Resource
from sync import inbox
from sync.events import AccountDone, Event, Stopped, SyncAccount
from sync.reader import Reader
from sync.writer import Progress, Writer
from warehouse import state, suppression
from warehouse.database import (
    WAREHOUSE,
    open_warehouse,
    private_folder,
    remove_warehouse,
    said_plainly,
    writer_lock,
)
from warehouse.raw import forget_old
from warehouse.status import AccountStatus, Failure, ResourceStatus, RunStatus, failures

OVERLAP = timedelta(minutes=10)
QUEUED_CHUNKS = 8  # a chunk of cards with many fields holds five thousand rows
MEMORY_LIMIT = "150MB"  # of DuckDB; what merges need beyond it is spilled beside the warehouse
JOIN_S = 10.0  # how long readers in the middle of a request are waited for


def sync(
    data_dir: Path,
    accounts: Sequence[SyncAccount],
    *,
    full: bool = False,
    resources: Sequence[str] | None = None,
    overlap: timedelta = OVERLAP,
    progress: Progress | None = None,
    parallel: int = 8,
    raw_versions_days: int = 0,
    runs_since: datetime | None = None,
    stop: threading.Event | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> RunStatus:
    """Read all accounts into the warehouse and say what became of each resource.

    Args:
        full: read everything from the beginning again, whatever was read before; believe lists that lack most rows;
            sweep whatever can be swept.
        resources: names of resources to read; None: all. What they come after is not read with them.
        overlap: how far before its watermark a resource is read again.
        parallel: windows read at once, per account.
        raw_versions_days: how long superseded versions of raw objects stay; 0: for ever.
        runs_since: lines of the run log from before go; None: all stay.
        stop: set from elsewhere (a signal) to end the run; what was committed stays, the next run goes on from there.

    Raises:
        LockedError: another process writes. WarehouseError: the file cannot be opened, the disk is full.
    """
    private_folder(data_dir)
    with writer_lock(data_dir), said_plainly(data_dir):
        is_new = not (data_dir / WAREHOUSE).exists()
        engine = open_warehouse(data_dir, memory_limit=MEMORY_LIMIT, threads=1)  # readers need the processors
        try:
            with engine.connect() as connection:
                run = Run(data_dir, accounts, connection, now, stop or threading.Event()).read(
                    full=full, resources=resources, overlap=overlap, progress=progress, parallel=parallel
                )
                forget_old(connection, days=raw_versions_days, now=run.started_at)
                with connection.begin():
                    suppression.save(connection, data_dir)
                    if runs_since is not None:
                        state.forget_runs(connection, before=runs_since)
        finally:
            engine.dispose()
        if is_new and all(account.name is None for account in run.accounts):
            remove_warehouse(data_dir)  # nobody answered: a first sync with a wrong token leaves nothing behind
        return run


@dataclass
class Run:
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
            read_as = state.numbers_read(self.connection)
        chosen = {a.account_id: _chosen(a.connector.resources, resources) for a in self.accounts}
        run = RunStatus(run_id, "running", started_at, started_at)
        before = failures(self.data_dir)
        run.accounts = [self._status(account, chosen[account.account_id], before) for account in self.accounts]
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
                run_id=run_id,
                full=full,
                overlap=overlap,
                parallel=parallel,
                ordinals=ordinals,
                tell=_teller(events, halt),
                halt=halt,
                read_as=read_as,
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
            for reader in readers:
                reader.end()
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
                if writer.is_late():
                    writer.commit()
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

    def _status(
        self, account: SyncAccount, chosen: Sequence[Resource], before: Mapping[tuple[str, str], Failure]
    ) -> AccountStatus:
        names = {resource.name for resource in chosen}
        with self.connection.begin():
            read_to = state.watermarks(self.connection, account.account_id)
            statuses = [
                ResourceStatus(
                    resource.name,
                    state="waiting" if resource.name in names else "skipped",
                    watermark=read_to.get(resource.name),
                    failure=before.get((account.account_id, resource.name)),
                )
                for resource in account.connector.resources
            ]
            number = state.known_account(self.connection, account.account_id).number  # webhooks are known by it
        return AccountStatus(account.account_id, number, resources=statuses)

    def _reader(
        self,
        account: SyncAccount,
        resources: Sequence[Resource],
        *,
        run_id: int,
        full: bool,
        overlap: timedelta,
        parallel: int,
        ordinals: Callable[[], int],
        tell: Callable[[Event], None],
        halt: threading.Event,
        read_as: dict[tuple[str, str], str],
    ) -> Reader:
        state_dir = self.data_dir / "state" / account.account_id
        private_folder(state_dir.parent)
        private_folder(state_dir)
        last, heard = inbox.waiting(self.data_dir, account.account_id)
        with self.connection.begin():
            state.ask_again(self.connection, account.account_id, heard.items(), run_id=run_id)
            if full:
                for resource in resources:
                    state.forget_windows(self.connection, account.account_id, resource.name)
            known = state.resumes(self.connection, account.account_id, [resource.name for resource in resources])
            before = state.known_account(self.connection, account.account_id)
            sweeps = state.sweeps(self.connection, account.account_id)
        inbox.clear(self.data_dir, account.account_id, last)
        if full:
            never = {
                name: state.Swept(account.account_id, name, r.watermark)
                for name, r in known.items()
                if r.watermark is not None
            }
            sweeps = never | sweeps
            known = {name: replace(resume, watermark=None, numbers={}) for name, resume in known.items()}
        return Reader(
            target=account,
            resources=resources,
            known=known,
            before=before,
            read_as=read_as,
            sweeps=sweeps,
            full=full,
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
        raise Stopped

    return tell
