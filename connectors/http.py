"""The one way to a source: pace, retries, time limits, no secrets in any message. What answers mean is its own affair.

Read-only by construction: a client is given the (method, path) pairs it may ask for, anything else is a bug.
"""

import ctypes
import fcntl
import logging
import math
import mmap
import os
import re
import struct
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NoReturn

import httpx
import orjson

from connectors.answers import Answers, Asked, PassingError
from connectors.errors import ConnectorError, CredentialsError, MissingError, Phrase, RetriableError, SlowError

for _chatty in ("httpx", "httpcore"):  # at INFO they print every URL, and a URL can be a secret
    logging.getLogger(_chatty).setLevel(logging.WARNING)

log = logging.getLogger(__name__)

MAX_TRIES = 4
RETRY_AFTER_S = (1.0, 4.0, 15.0)
"""Waits between tries after a failure that may pass by itself."""
MAX_PAUSE_S = 900.0
HEADROOM = 0.02
"""Turns are that much further apart than the rate allows: requests travel for unequal times, and a source that counts
them by the second would see one too many."""
LATE_S, LATE_SHARE = HEADROOM / 2, 0.1
"""Who takes a turn so little late, in seconds and of the time between two, holds nobody up: of any second's headroom
half is left."""
ROUNDING_S = 1e-9
SHARED = struct.Struct("=ddq")
MAX_AHEAD_S = 86_400.0
"""No turn is ever that far off: who finds one has found a broken file."""
MAX_MOVES = 3
"""So many new addresses of an account in a row are a circle."""
DEADLINE_S = 300.0
"""The longest one answer may take, all of its body included."""
TIMEOUT = httpx.Timeout(60.0, connect=10.0)
N_PAUSES, SENT_AT = "voronka_n_pauses", "voronka_sent_at"
"""Notes on a request: how many pauses there were before it was sent, and when that was."""
LEFT = "http11.send_request_headers.complete"
"""What httpcore calls the moment a request has left."""
READ = httpx.ByteStream(b"")
_flock = ctypes.PyDLL(None).flock
"""flock(2) that keeps the interpreter: Python's own lets go of it, and gets it back only when a busy thread's time is
up, a hundred times later than the call takes, while everybody else waits for the turn."""
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


def user_agent() -> str:
    try:
        return f"voronka/{version('voronka')}"
    except PackageNotFoundError:
        return "voronka/dev"


class HeldError(Exception):
    """The source has asked for a longer pause than a run waits for. seconds: what is left of it."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class Pace:
    """Requests of one account, whatever the number of threads and processes: `burst` at once, then evenly spaced; a
    pause holds all of them.

    burst: turns that may be taken before they are due (a leaky bucket of that size); 1: none. file: what the processes
    share: when it was last written, when the next turn is due, how many pauses there were; without one the account is
    this process's alone. clock and sleep are given, so that tests need neither; the clock must be the machine's, as
    `time.monotonic` is. That one goes back by a restart of the machine only: what was written later than now was
    written before it, and is void.
    """

    def __init__(
        self,
        per_second: float,
        file: Path | None = None,
        *,
        burst: int = 1,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        self.interval_s = (1 + HEADROOM) / per_second
        self._early_s = (burst - 1) * self.interval_s
        self._late_s = min(LATE_S, LATE_SHARE * self.interval_s)
        self.clock = clock
        self._ended = threading.Event()
        self._sleep = sleep or self._ended.wait
        self._lock = threading.Lock()
        self._handle = None if file is None else _opened(file)
        self._shared = mmap.mmap(-1 if self._handle is None else self._handle, SHARED.size)
        if self._handle is not None:
            weakref.finalize(self, os.close, self._handle)

    def sleep(self, seconds: float) -> None:
        """Raises RetriableError once the run was ended, at once."""
        self._sleep(seconds)
        if self._ended.is_set():
            raise RetriableError("The run was ended.")

    def end(self) -> None:
        """Wake whoever sleeps: nobody waits for their turn any more."""
        self._ended.set()

    def wait(self) -> int:
        """Sleep until a turn is free and take it; return how many pauses there were before it.

        Raises HeldError where that is longer than anybody should wait.

        Turns are counted from when the last one was due, or from when it was really taken where that was much later: a
        thread that wakes late may not let more requests come in a second than the source allows.
        """
        while True:
            with self._alone():
                now = self.clock()
                due_at, n_pauses = self._read(now)
                wait_s = due_at - self._early_s - now
                if wait_s <= ROUNDING_S:
                    is_on_time = now - due_at <= self._late_s
                    self._write(now, (due_at if is_on_time else now) + self.interval_s, n_pauses)
                    return n_pauses
            if wait_s > MAX_PAUSE_S:
                raise HeldError(wait_s)
            self.sleep(wait_s)

    def sent(self) -> None:
        """The request of a turn has left just now: a thread may have had to wait for the processor since its turn, and
        the source counts from when a request comes."""
        with self._alone():
            now = self.clock()
            due_at, n_pauses = self._read(now)
            if now + self.interval_s - due_at > self._late_s:
                self._write(now, now + self.interval_s, n_pauses)

    def pause(self, seconds: float) -> None:
        """Hold everybody; after it turns are evenly spaced, for the source has just said that its bucket is full."""
        with self._alone():
            now = self.clock()
            due_at, n_pauses = self._read(now)
            held_until = now + seconds + self._early_s
            self._write(now, max(due_at, held_until), n_pauses + 1)

    @property
    def n_pauses(self) -> int:
        with self._alone():
            return self._read(self.clock())[1]

    def _write(self, now: float, due_at: float, n_pauses: int) -> None:
        SHARED.pack_into(self._shared, 0, now, due_at, n_pauses)

    def _read(self, now: float) -> tuple[float, int]:
        written_at, next_at, n_pauses = SHARED.unpack_from(self._shared)
        return (next_at if written_at <= now and next_at - written_at <= MAX_AHEAD_S else now), n_pauses

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with self._lock:
            if self._handle is None:
                yield
                return
            if _flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB):  # another process has it
                fcntl.flock(self._handle, fcntl.LOCK_EX)
            try:
                yield
            finally:
                _flock(self._handle, fcntl.LOCK_UN)


def _opened(file: Path) -> int:
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(file, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        os.posix_fallocate(handle, 0, SHARED.size)  # a hole would kill whoever writes to it on a full disk (SIGBUS)
    except OSError:
        os.close(handle)
        raise
    return handle


@dataclass
class Timely(httpx.SyncByteStream):
    """A body that has to be whole by an instant: time limits of the network are of single reads, so a body that comes
    by drops meets them all."""

    stream: httpx.SyncByteStream
    until: float
    clock: Callable[[], float]

    def __iter__(self) -> Iterator[bytes]:
        for part in self.stream:
            if self.clock() > self.until:
                raise httpx.ReadTimeout("the answer never ended")
            yield part

    def close(self) -> None:
        self.stream.close()


def limit(response: httpx.Response, *, since: float, clock: Callable[[], float]) -> None:
    """Put the deadline on an answer's body."""
    assert isinstance(response.stream, httpx.SyncByteStream)
    response.stream = Timely(response.stream, until=since + DEADLINE_S, clock=clock)


class SourceAuth(httpx.Auth):
    """Puts the token on a request; knows what to tell a person whose token was refused."""

    def refusal(self, where: str) -> CredentialsError:
        raise NotImplementedError


@dataclass(frozen=True)
class Route:
    """A request a client may make. `path` is a regular expression for the whole path.

    is_extra: not in every plan, so that 402 concerns this list, not the account.
    """

    method: str
    path: str
    is_extra: bool = False


@dataclass(frozen=True)
class Ask:
    """One request. is_divisible: less can be asked for at once, so that a single time too slow is enough to know."""

    method: str
    path: str
    asked: Asked
    params: Mapping[str, Any] | None = None
    body: bytes | None = None
    is_divisible: bool = False


class ApiClient:
    """Asks one account of one source; safe to share between threads.

    Raises RetriableError when repeating did not help, CredentialsError when a person has to act, PayloadError when the
    answer makes no sense. After a refusal that concerns the account (token, payment, block, rate limit) it sends
    nothing more: every later call raises the same error.
    """

    def __init__(
        self,
        base_url: str,
        *,
        source: str,
        auth: SourceAuth,
        answers: Answers,
        routes: Sequence[Route],
        pace: Pace,
        ordinals: Callable[[], int],
        transport: httpx.BaseTransport | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._source = source
        self._auth = auth
        self._answers = answers
        self._routes = tuple(routes)
        self._pace = pace
        self._ordinals = ordinals
        self._first_seq = 0
        self._now = now
        self._server_now: datetime | None = None
        self._read = threading.local()
        self._lock = threading.Lock()
        self._n_pleas = 0
        self._n_moves = 0
        self._stopped: ConnectorError | None = None
        self._home = httpx.URL(base_url)
        self._own = threading.local()
        self._opened: list[httpx.Client] = []
        self._open = partial(
            httpx.Client,
            auth=auth,
            event_hooks={"request": [self._before], "response": [self._after]},  # also of the requests auth makes
            headers={"User-Agent": user_agent(), "Accept": "application/json"},
            timeout=TIMEOUT,
            follow_redirects=False,  # the token goes to no host that its source has not been asked about
            transport=transport,
            verify=httpx.create_ssl_context() if transport is None else True,
            trust_env=self._home.host not in LOOPBACK,  # a proxy cannot reach our own machine
        )

    def close(self) -> None:
        for http in self._opened:
            http.close()

    @property
    def host(self) -> str:
        return self._home.host

    def _http(self) -> httpx.Client:
        """This thread's own client: threads that share one wait for each other, for it looks at all connections under
        one lock before it sends anything."""
        http: httpx.Client | None = getattr(self._own, "http", None)
        if http is None:
            http = self._own.http = self._open()
            self._opened.append(http)
        http.base_url = self._home
        return http

    @property
    def account(self) -> str:
        """The source and its host, as messages name them."""
        return f"{self._source} ({self.host})"

    def server_now(self) -> datetime:
        """The source's clock as of its last answer (UTC); ours where it tells none."""
        return self._server_now or self._now()

    def read_seq(self) -> int:
        """Ordinal of the last answer that this thread has read; one that has read none goes by what was read first,
        before there were threads; 0 before that."""
        return int(getattr(self._read, "seq", self._first_seq))

    def took_s(self) -> float:
        """How long the last answer that this thread has read was waited for, seconds."""
        return float(getattr(self._read, "took_s", 0.0))

    def get(self, path: str, params: Mapping[str, Any] | None = None, *, missing_ok: bool = False) -> Any:
        """The JSON at `path`, or None where there is nothing (204; with `missing_ok` also 404)."""
        route = self._route("GET", path)
        what = "GET " + re.sub(r"(?<=/)\d+(?=/|$)", "{id}", path)
        try:
            return self._answer(Ask("GET", path, Asked(self.account, what, route.is_extra), params=params))
        except MissingError:
            if missing_ok:
                return None
            raise

    def post(self, name: str, body: Mapping[str, Any], *, is_divisible: bool = False) -> Any:
        """The JSON that a remote procedure answers; one that reads, for every route is such."""
        route = self._route("POST", name)
        asked = Asked(self.account, name, route.is_extra)
        return self._answer(Ask("POST", name, asked, body=orjson.dumps(body), is_divisible=is_divisible))

    def _route(self, method: str, path: str) -> Route:
        for route in self._routes:
            if method == route.method and re.fullmatch(route.path, path):
                return route
        raise AssertionError(f"{method} {path} is not among the requests this connector may make")

    def _answer(self, ask: Ask) -> Any:
        """What an answer holds: failures that may pass were repeated, pauses kept."""
        failure = Phrase("")
        for tried in range(MAX_TRIES):
            if tried:
                self._pace.sleep(RETRY_AFTER_S[tried - 1])
            is_slow = False
            try:
                return self._answers.read(self._ask_in_turn(ask), ask.asked)
            except (httpx.TransportError, httpx.DecodingError) as error:
                failure = _network_trouble(error)
                is_slow = ask.is_divisible and isinstance(error, httpx.ReadTimeout)
            except PassingError as error:
                failure = error.said
                is_slow = error.is_slow and (ask.is_divisible or tried > 0)
            except CredentialsError as error:  # a lost account is lost for every thread
                self.stop(error)
            log.debug("%s %s: %s, try %d", self.host, ask.asked.what, failure, tried + 1)
            if is_slow and ask.is_divisible:
                raise SlowError("{where}: too slow for so much at once.", where=ask.asked.where)
            if is_slow:
                raise SlowError("{where}: too slow (504) twice.", where=ask.asked.where)
        raise RetriableError(
            "{where}: no answer after {n} tries ({failure}). "
            "The next sync tries again; if it goes on, check the network and the service's status page.",
            where=ask.asked.where,
            n=MAX_TRIES,
            failure=failure,
        )

    def _ask_in_turn(self, ask: Ask) -> httpx.Response:
        """One request at our pace; a plea to slow down has paused the whole account and the request is sent again."""
        while True:
            response = self._send(ask)
            if home := self._answers.new_home(response):
                self._move_to(home)
            elif not self._answers.is_too_fast(response):
                return response

    def _move_to(self, home: httpx.URL) -> None:
        with self._lock:
            if home.host == self.host:
                return  # another thread was told before us
            self._n_moves += 1
            if self._n_moves > MAX_MOVES:
                self.stop(
                    CredentialsError("{where}: its addresses lead in a circle; set base_url anew.", where=self.account)
                )
            log.warning("%s: the account has moved to %s", self.host, home.host)
            self._home = home

    def _send(self, ask: Ask) -> httpx.Response:
        headers = None if ask.body is None else {"Content-Type": "application/json"}
        answer = self._http().request(ask.method, ask.path, params=ask.params, content=ask.body, headers=headers)
        answer.stream = READ  # else the stream and the answer hold each other, and the body, until the collector runs
        self._read.seq = self._ordinals()
        self._first_seq = self._first_seq or self._read.seq
        self._read.took_s = self._pace.clock() - answer.request.extensions[SENT_AT]
        if moment := _http_date(answer):
            self._server_now = moment
        log.debug(
            "%s %s: %d in %.2f s, request %s",
            self.host,
            ask.asked.what,
            answer.status_code,
            self._read.took_s,
            answer.headers.get("x-request-id", "-"),
        )
        return answer

    def _before(self, request: httpx.Request) -> None:
        """Hold any request until its turn; none is sent once the account is lost."""
        self._raise_if_stopped()
        try:
            request.extensions[N_PAUSES] = self._pace.wait()
        except HeldError as held:
            self.stop(
                RetriableError(
                    "{where}: the service has asked for a pause, of which {n} minutes are left. Nothing was asked; a "
                    "sync after that goes on.",
                    where=self.account,
                    n=math.ceil(held.seconds / 60),
                )
            )
        self._raise_if_stopped()
        request.extensions[SENT_AT] = self._pace.clock()
        request.extensions["trace"] = self._watch

    def _watch(self, event: str, _: object) -> None:
        if event == LEFT:
            self._pace.sent()

    def _after(self, response: httpx.Response) -> None:
        """Put a deadline on any answer's body, and heed it if it is about our pace."""
        sent = response.request.extensions
        limit(response, since=sent[SENT_AT], clock=self._pace.clock)
        if self._answers.is_too_fast(response):
            response.read()
            self._pause_after(response, sent[N_PAUSES])
        elif self._n_pleas and sent[N_PAUSES] == self._pace.n_pauses:
            self._n_pleas = 0

    def _pause_after(self, response: httpx.Response, n_pauses: int) -> None:
        pauses_s = self._answers.pauses_s
        with self._lock:
            if n_pauses < self._pace.n_pauses:
                return  # sent before the pause another thread has already made: the same plea
            self._n_pleas += 1
            seconds = self._answers.pause_s(response) or pauses_s[min(self._n_pleas, len(pauses_s)) - 1]
            self._pace.pause(min(seconds, MAX_AHEAD_S))  # for other runs too, where this one ends
            if self._n_pleas < self._answers.most_pleas and seconds <= MAX_PAUSE_S:
                log.warning("%s: rate limit, pause of %.0f s", self.host, seconds)
                return
        self.stop(
            RetriableError(
                "{where}: rate limited. The run stops here and the next one goes on; "
                "if it happens again, lower requests_per_second of this account.",
                where=self.account,
            )
        )

    def end(self) -> None:
        """The run is over: send nothing more and let nobody sleep."""
        self._stopped = self._stopped or RetriableError("The run was ended.")
        self._pace.end()

    def _raise_if_stopped(self) -> None:
        if self._stopped is not None:
            raise type(self._stopped)(self._stopped.said)

    def stop(self, error: ConnectorError) -> NoReturn:
        """Raise `error`, for this thread and for every later call: the account is lost for this run."""
        self._stopped = self._stopped or error
        raise error


def _network_trouble(error: Exception) -> Phrase:
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return Phrase("cannot connect")
    if isinstance(error, httpx.TimeoutException):
        return Phrase("timed out")
    return Phrase("the connection broke")


def _http_date(response: httpx.Response) -> datetime | None:
    try:
        return parsedate_to_datetime(response.headers["date"]).astimezone(UTC)
    except (KeyError, ValueError, TypeError):
        return None
