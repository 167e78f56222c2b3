"""Reading: threads of one account."""

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TypeVar

from connectors.connector import Api, Resource, Window
from connectors.errors import ConnectorError, CredentialsError, PayloadError, Phrase
from connectors.records import Account, LeftOut, Notice, RawRecord, Yield
from sync.events import (
    AccountDone,
    AllRead,
    Chunk,
    Event,
    Failed,
    NotGiven,
    Opened,
    Planned,
    ResourceDone,
    Stopped,
    SweepDone,
    SweepRead,
    SyncAccount,
    WindowDone,
)
from sync.identity import other_viewer, read_twice, sight
from sync.plan import Step, catch_up, joined, plan
from warehouse import state
from warehouse.database import plainly
from warehouse.load import Read
from warehouse.state import CLOCK_TOLERANCE

log = logging.getLogger("voronka.sync")

MOST_CLOCK_SKEW = timedelta(days=1)
FALLBACK_START = datetime(2010, 1, 1, tzinfo=UTC)  # for a source that does not say when the account was opened
CHUNK = 1_000  # yields a reader collects before it hands them over
IDS_A_WINDOW = 250
MOST_REFUSED = 10  # ids of a window; if the source refuses more, it is not about them
REREAD_ROUNDS = 3
EARLY = timedelta(hours=1)  # a nightly run may begin some seconds earlier than that of the day before
Result = TypeVar("Result")


class Lanes:
    """Threads of one account by lane of its resources, so many of each; made when they are first needed."""

    def __init__(self, parallel: int, name: str) -> None:
        self._parallel, self._name = parallel, name
        self._pools: dict[str, ThreadPoolExecutor] = {}
        self._stack = ExitStack()

    def submit(self, lane: str, function: Callable[..., Result], *arguments: object) -> "Future[Result]":
        if lane not in self._pools:
            pool = ThreadPoolExecutor(self._parallel, thread_name_prefix=self._name)
            self._pools[lane] = self._stack.enter_context(pool)
        return self._pools[lane].submit(function, *arguments)

    def __enter__(self) -> "Lanes":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


@dataclass
class Reader:
    """Reads one account: runs in a thread of its own, with a pool for its windows; says everything through `tell`."""

    target: SyncAccount
    resources: Sequence[Resource]
    known: Mapping[str, state.Resume]
    before: state.KnownAccount
    read_as: dict[tuple[str, str], str]
    """Ids of accounts by connector and number, those of this run as they are opened."""
    sweeps: Mapping[str, state.Swept]
    """The last sweeps, by resource."""
    full: bool
    ordinals: Callable[[], int]
    state_dir: Path
    overlap: timedelta
    parallel: int
    tell: Callable[[Event], None]
    stop: threading.Event
    now: Callable[[], datetime]
    failed: set[str] = field(default_factory=set)
    left_out: dict[str, Phrase | None] = field(default_factory=dict)
    """Why, by resource."""
    reached: dict[str, Mapping[str, int]] = field(default_factory=dict)
    """Of resources with numbered lists: the greatest number of each before it was read."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    is_over: bool = False
    api: Api | None = None

    def end(self) -> None:
        """Wake whatever waits for the source, from another thread: nobody listens any more."""
        if self.api is not None:
            self.api.end()

    def run(self) -> None:
        """Read the account whole. Never raises: what went wrong is told."""
        api: Api | None = None
        try:
            self.api = api = self.target.connector.open_api(
                self.target.settings, env=self.target.env, ordinals=self.ordinals, state_dir=str(self.state_dir)
            )
            self._read(api)
        except Stopped:
            pass
        except Exception as error:  # the account is lost for this run, the others are not
            with suppress(Stopped):
                self._give_up(None, error)
        finally:
            if api is not None:
                with suppress(Exception):
                    api.close()
            with suppress(Stopped):
                self.tell(AccountDone(self.target.account_id))

    def _read(self, api: Api) -> None:
        account = self.target.connector.account(api, self.target.settings)
        if (error := self._stranger(account.external_id)) is not None:
            self._fail(None, error)
            return
        theirs, ours = api.server_now(), self.now()
        if theirs - ours > MOST_CLOCK_SKEW:
            self._fail(None, _clock_ahead(self.target.account_id, theirs, ours))
            return
        start = min(theirs, ours + CLOCK_TOLERANCE).replace(microsecond=0)
        noted = max((known.watermark for known in self.known.values() if known.watermark), default=start)
        if noted - max(start, ours) > CLOCK_TOLERANCE:
            self._fail(None, _read_in_the_future(self.target.account_id, noted, ours))
            return
        account = account.model_copy(update={"account_id": self.target.target})
        viewer = self._viewer(api)
        change = sight(self.before.viewer, viewer)
        if change == "less" and not self.full:
            self._fail(None, other_viewer(self.target.account_id))
            return
        begins_again = change != "same"
        if begins_again:
            self.known = {name: state.Resume() for name in self.known}
        self.tell(Opened(self.target.account_id, account, account.external_id, start, viewer, begins_again))
        with Lanes(self.parallel, self.target.account_id) as lanes:
            self._read_resources(lanes, api, account, start)
            self._sweep(lanes, api, account, start)
            self._read_again(lanes, api, account, start)

    def _read_resources(self, lanes: Lanes, api: Api, account: Account, start: datetime) -> None:
        """Start a resource when those it comes after are over, well or not; tell its end when its windows are."""
        waiting = {resource.name: resource for resource in self.resources}
        running: dict[Future[list[Step] | int], Resource] = {}
        steps: dict[str, list[Step]] = {}
        left: dict[str, int] = {}
        begin = account.created_at or FALLBACK_START

        def submit(resource: Resource, some: Iterable[list[Window]]) -> None:
            for windows in some:
                read = partial(self._windows, api, account, resource, windows, start)
                running[lanes.submit(resource.lane, read)] = resource
                left[resource.name] += 1

        def go_on(resource: Resource) -> None:
            """The resource's next windows, or its end. A step without windows was done by a run that was killed."""
            while steps[resource.name]:
                submit(resource, steps[resource.name][0].first(self.parallel))
                if left[resource.name]:
                    return
                del steps[resource.name][0]
            del left[resource.name]
            self._finished(resource, begin, start)

        while waiting or running:
            ready = [r for r in waiting.values() if not ({*waiting, *left} & {*r.after} - {r.name})]
            if not ready and not running:
                raise ValueError(f"resources wait for each other: {', '.join(waiting)}")
            for resource in ready:
                del waiting[resource.name]
                left[resource.name] = 1
                running[lanes.submit(resource.lane, partial(self._steps, api, resource, begin, start))] = resource
            over, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in over:
                resource = running.pop(future)
                left[resource.name] -= 1
                found = future.result()
                if isinstance(found, int):
                    submit(resource, steps[resource.name][0].after(found))
                else:
                    steps[resource.name] = found
                if not left[resource.name]:
                    go_on(resource)

    def _steps(self, api: Api, resource: Resource, begin: datetime, start: datetime) -> list[Step]:
        """Windows of a resource to read, one step after another; none where that cannot be found out."""
        steps: list[Step] = []
        if self._is_pointless(resource):
            return steps
        known = self.known[resource.name]
        with self._owned_by(resource):
            spans = resource.spans(api) if resource.spans else {}
            self.reached[resource.name] = {part: span.greatest for part, span in spans.items() if span.greatest}
            steps += [
                Step(plan(resource, known, begin=begin, start=start, overlap=self.overlap, spans=spans)),
                Step(catch_up(resource, known, start=start, overlap=self.overlap)),
            ]
            self.tell(Planned(self.target.account_id, resource.name, sum(len(step.left) for step in steps)))
        return steps

    def _finished(self, resource: Resource, begin: datetime, start: datetime) -> None:
        if resource.name in self.left_out:
            self.tell(NotGiven(self.target.account_id, resource.name, self.left_out[resource.name]))
        if self._is_pointless(resource):
            return
        known = self.known[resource.name]
        # windows that an earlier run read are as old as that run
        watermark = min([start, *known.done.values()]) if known.watermark is None else start
        reached = self.reached.get(resource.name, {})
        self.tell(ResourceDone(self.target.account_id, resource.name, watermark, begin, reached))

    def _stranger(self, number: str) -> Phrase | None:
        """Why the account that answers may not be read, if so."""
        mine = self.target
        if self.before.number not in (None, number):
            return state.other_account(mine.account_id, self.before.number, number)
        if mine.feeds is not None:
            return None
        other = self.read_as.setdefault((mine.settings.connector, number), mine.account_id)
        return None if other == mine.account_id else read_twice(mine.account_id, number, other)

    def _viewer(self, api: Api) -> str | None:
        ask = self.target.connector.viewer
        try:
            return "" if ask is None else ask(api)
        except CredentialsError:
            raise
        except ConnectorError:
            return None

    def _sweep(self, lanes: Lanes, api: Api, account: Account, start: datetime) -> None:
        """Look for every row on hand where it is due: what left without a trace is found in no window."""
        due = [resource for resource in self.resources if self._is_due(resource, start)]
        sweep = Window("sweep")
        shown = [lanes.submit(resource.lane, self._window, api, account, resource, sweep, start) for resource in due]
        for future in shown:
            future.result()
        for resource in due:
            if self._is_pointless(resource):
                continue
            swept = SweepRead(self.target.account_id, resource.name, start)
            self.tell(swept)
            found = self._answer(swept.answer)
            probes = [Window("probe", ids=tuple(part)) for part in _parts(found.missing, IDS_A_WINDOW)]
            probed = [lanes.submit(resource.lane, self._window, api, account, resource, part, start) for part in probes]
            for future in probed:
                future.result()
            if not (found.is_doubtful or self._is_pointless(resource)):
                self.tell(SweepDone(self.target.account_id, resource.name, start))

    def _is_due(self, resource: Resource, start: datetime) -> bool:
        """A resource that was read whole by an earlier run, and was not swept for as long as the settings say."""
        last, days = self.sweeps.get(resource.name), self.target.settings.sweep_every_days
        if "sweep" not in resource.windows or last is None:
            return False
        return self.full or (days > 0 and start - last.swept_at >= timedelta(days=days) - EARLY)

    def _answer(self, answer: Future[Result]) -> Result:
        """What the writer answers, once it has everything that was read before."""
        while True:
            with suppress(TimeoutError):
                return answer.result(timeout=0.5)
            if self.stop.is_set():
                raise Stopped

    def _read_again(self, lanes: Lanes, api: Api, account: Account, start: datetime) -> None:
        """Ids that walks, sweeps or earlier runs asked for, when everything else is read: a list read last is the
        truth."""
        by_name = {resource.name: resource for resource in self.target.connector.resources}
        for _ in range(REREAD_ROUNDS):
            read = AllRead(self.target.account_id)
            self.tell(read)
            windows = [
                (by_name[name], Window("ids", ids=tuple(part)))
                for name, ids in self._answer(read.answer).items()
                if name in by_name and not self._is_pointless(by_name[name])
                for part in _parts(ids, IDS_A_WINDOW)
            ]
            if not windows:
                return
            futures = [lanes.submit(one[0].lane, self._window, api, account, *one, start) for one in windows]
            for future in futures:
                future.result()

    def _window(self, api: Api, account: Account, resource: Resource, window: Window, start: datetime) -> None:
        self._windows(api, account, resource, [window], start)

    def _windows(
        self, api: Api, account: Account, resource: Resource, windows: Sequence[Window], start: datetime
    ) -> int:
        """Read windows that are neighbours as one, into the queue; a failure is the resource's. Returns how many
        objects they hold."""
        n = 0
        if self._is_pointless(resource):
            return n
        reads: list[Read] = []
        window = joined(windows)
        is_later = resource.past_of is not None and window.kind in ("changed", "numbered")
        chunk = partial(
            Chunk,
            self.target.account_id,
            resource.name,
            before=self.known[resource.name].watermark if is_later else None,
        )
        with self._owned_by(resource):
            for item in _items(api, account, resource, window):
                reads.append((api.read_seq(), item))
                if isinstance(item, RawRecord):
                    n += 1
                elif isinstance(item, LeftOut):
                    self.left_out.setdefault(resource.name, item.why)
                if len(reads) >= CHUNK:
                    self.tell(chunk(reads))
                    reads = []
                if self.is_over or resource.name in self.failed or self.stop.is_set():
                    return n
            self.tell(chunk(reads))
            if resource.name in self.left_out:
                return n
            for one in windows:
                self.tell(WindowDone(self.target.account_id, resource.name, one, start))
        return n

    @contextmanager
    def _owned_by(self, resource: Resource) -> Iterator[None]:
        """A failure within is the resource's and does not stop the others; a lost authorisation is the account's."""
        try:
            yield
        except Stopped:
            raise
        except CredentialsError as error:
            self._give_up(None, error)
        except Exception as error:
            self._give_up(resource.name, error)

    def _is_pointless(self, resource: Resource) -> bool:
        is_out = resource.name in self.failed or resource.name in self.left_out
        return self.is_over or is_out or self.stop.is_set()

    def _give_up(self, resource: str | None, error: Exception) -> None:
        if isinstance(error, ConnectorError):
            self._fail(resource, error.said)
            return
        if isinstance(error, OSError) and (said := plainly(error, self.state_dir)):  # the network's are ConnectorErrors
            self._fail(resource, said)
            return
        log.exception("%s: a bug in the connector", self.target.account_id, exc_info=error)
        self._fail(
            resource, Phrase("An error in the program ({error}); the log has the details.", error=type(error).__name__)
        )

    def _fail(self, resource: str | None, sentence: Phrase) -> None:
        with self.lock:
            known = resource in self.failed if resource else self.is_over
            if resource is None:
                self.is_over = True
            else:
                self.failed.add(resource)
        if not known:
            self.tell(Failed(self.target.account_id, resource, sentence))


def _items(api: Api, account: Account, resource: Resource, window: Window) -> Iterator[Yield]:
    """What a window holds. An id the source does not let itself be asked for is found by halves and left out: it would
    hold up all others for good."""
    if not window.ids:
        yield from resource.read(api, account, window)
        return
    waiting, refused = [window.ids], list[str]()
    while waiting:
        some = waiting.pop()
        try:
            yield from resource.read(api, account, replace(window, ids=some))
        except PayloadError as error:
            if len(some) > 1:
                middle = len(some) // 2
                waiting += [some[middle:], some[:middle]]
                continue
            refused += some
            if len(refused) > MOST_REFUSED:
                raise
            why = error.said
    if refused:
        ids = ", ".join(refused)
        yield Notice(
            Phrase(
                "{list}: {n} ids the CRM refuses to be asked for were left out ({ids}). {error}",
                list=resource.name,
                n=len(refused),
                ids=ids,
                error=why,
            ),
            len(refused),
        )


def _read_in_the_future(account_id: str, noted: datetime, now: datetime) -> Phrase:
    return Phrase(
        "{account} is noted as read up to {noted} UTC, later than now, {now} UTC: a clock was wrong then or is now. "
        "Nothing was read, for what has changed since the real last sync would never be asked for. Set the clock; if "
        "it is right, run voronka sync --full.",
        account=account_id,
        noted=f"{noted:%Y-%m-%d %H:%M}",
        now=f"{now:%Y-%m-%d %H:%M}",
    )


def _clock_ahead(account_id: str, theirs: datetime, ours: datetime) -> Phrase:
    return Phrase(
        "The clock of {account}'s CRM says {theirs} UTC, this machine's {ours}: nothing was read, for what changes "
        "meanwhile would never be asked for. Set this machine's clock; if it is right, try again later.",
        account=account_id,
        theirs=f"{theirs:%Y-%m-%d %H:%M}",
        ours=f"{ours:%Y-%m-%d %H:%M}",
    )


def _parts(ids: Sequence[str], size: int) -> Iterable[Sequence[str]]:
    return (ids[n : n + size] for n in range(0, len(ids), size))
