"""The one way to a source: pace, retries, time limits, what status codes mean, and no secrets in any message.

Read-only by construction: a client is given the (method, path) pairs it may ask for, anything else is a bug.
"""

import fcntl
import logging
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
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NoReturn

import httpx
import orjson

from connectors.errors import (
    ConnectorError,
    CredentialsError,
    ForbiddenError,
    MissingError,
    PayloadError,
    Phrase,
    RetriableError,
    SlowError,
)

for _chatty in ("httpx", "httpcore"):  # at INFO they print every URL, and a URL can be a secret
    logging.getLogger(_chatty).setLevel(logging.WARNING)

log = logging.getLogger(__name__)

MAX_TRIES = 4
RETRY_AFTER_S = (1.0, 4.0, 15.0)
"""Waits between tries after a failure that may pass by itself."""
PAUSE_AFTER_429_S = (10.0, 30.0, 120.0, 300.0)
"""Waits after 429s in a row where the source names none."""
MAX_PAUSE_S = 900.0
HEADROOM = 0.015
"""Turns are that much further apart than the rate allows: requests travel for unequal times, and a source that counts
them by the second would see one too many."""
SHARED = struct.Struct("=ddq")
MAX_AHEAD_S = 86_400.0
"""No turn is ever that far off: who finds one has found a broken file."""
MAX_429 = 3
DEADLINE_S = 300.0
"""The longest one answer may take, all of its body included."""
TIMEOUT = httpx.Timeout(60.0, connect=10.0)
N_PAUSES, SENT_AT = "voronka_n_pauses", "voronka_sent_at"
"""Notes on a request: how many pauses there were before it was sent, and when that was."""
READ = httpx.ByteStream(b"")
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


def user_agent() -> str:
    try:
        return f"voronka/{version('voronka')}"
    except PackageNotFoundError:
        return "voronka/dev"


class Pace:
    """Evenly spaced requests of one account, whatever the number of threads and processes; a pause holds all of them.

    file: what the processes share: when it was last written, the next free turn, how many pauses there were; without
    one the account is this process's alone. clock and sleep are given, so that tests need neither; the clock must be
    the machine's, as `time.monotonic` is. That one goes back by a restart of the machine only: what was written later
    than now was written before it, and is void.
    """

    def __init__(
        self,
        per_second: float,
        file: Path | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.interval_s = (1 + HEADROOM) / per_second
        self.clock = clock
        self.sleep = sleep
        self._lock = threading.Lock()
        self._handle = None if file is None else _opened(file)
        self._shared = mmap.mmap(-1 if self._handle is None else self._handle, SHARED.size)
        if self._handle is not None:
            weakref.finalize(self, os.close, self._handle)

    def wait(self) -> int:
        """Sleep until a turn is free and take it; return how many pauses there were before it.

        Turns are counted from when the last one was really taken: a thread that wakes late may not let two requests
        follow each other faster than the source allows.
        """
        while True:
            with self._alone():
                now = self.clock()
                next_at, n_pauses = self._read(now)
                if next_at <= now:
                    SHARED.pack_into(self._shared, 0, now, now + self.interval_s, n_pauses)
                    return n_pauses
            self.sleep(next_at - now)

    def pause(self, seconds: float) -> None:
        with self._alone():
            now = self.clock()
            next_at, n_pauses = self._read(now)
            SHARED.pack_into(self._shared, 0, now, max(next_at, now + seconds), n_pauses + 1)

    @property
    def n_pauses(self) -> int:
        with self._alone():
            return self._read(self.clock())[1]

    def _read(self, now: float) -> tuple[float, int]:
        written_at, next_at, n_pauses = SHARED.unpack_from(self._shared)
        return (next_at if written_at <= now and next_at - written_at <= MAX_AHEAD_S else now), n_pauses

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with self._lock:
            if self._handle is None:
                yield
                return
            fcntl.flock(self._handle, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(self._handle, fcntl.LOCK_UN)


def _opened(file: Path) -> int:
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(file, os.O_CREAT | os.O_RDWR, 0o600)
    os.ftruncate(handle, SHARED.size)
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
        routes: Sequence[Route],
        pace: Pace,
        ordinals: Callable[[], int],
        transport: httpx.BaseTransport | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        host = httpx.URL(base_url).host
        self.host = host
        self._where = f"{source} ({host})"
        self._auth = auth
        self._routes = tuple(routes)
        self._pace = pace
        self._ordinals = ordinals
        self._now = now
        self._server_now: datetime | None = None
        self._read = threading.local()
        self._lock = threading.Lock()
        self._n_429 = 0
        self._stopped: ConnectorError | None = None
        self._http = httpx.Client(
            base_url=base_url,
            auth=auth,
            event_hooks={"request": [self._before], "response": [self._after]},  # also of the requests auth makes
            headers={"User-Agent": user_agent(), "Accept": "application/json"},
            timeout=TIMEOUT,
            limits=httpx.Limits(max_connections=64, max_keepalive_connections=64),
            follow_redirects=False,  # a redirect means the wrong host, and the token must not go there
            transport=transport,
            trust_env=host not in LOOPBACK,  # a proxy cannot reach our own machine
        )

    def close(self) -> None:
        self._http.close()

    def server_now(self) -> datetime:
        """The source's clock as of its last answer (UTC); ours where it tells none."""
        return self._server_now or self._now()

    def read_seq(self) -> int:
        """Ordinal of the last answer that this thread has read; 0 before the first."""
        return int(getattr(self._read, "seq", 0))

    def get(self, path: str, params: Mapping[str, Any] | None = None, *, missing_ok: bool = False) -> Any:
        """The JSON at `path`, or None where there is nothing (204; with `missing_ok` also 404)."""
        route = self._route("GET", path)
        what = "GET " + re.sub(r"(?<=/)\d+(?=/|$)", "{id}", path)
        response = self._answer(what, path, params)
        if response.status_code == httpx.codes.NOT_FOUND and missing_ok:
            return None
        if not response.is_success:
            self._refuse(response, what, is_extra=route.is_extra)
        if not response.content.strip():
            return None
        try:
            return orjson.loads(response.content)
        except orjson.JSONDecodeError:
            raise PayloadError("{where}: the answer is not JSON.", where=f"{self._where}, {what}") from None

    def _route(self, method: str, path: str) -> Route:
        for route in self._routes:
            if method == route.method and re.fullmatch(route.path, path):
                return route
        raise AssertionError(f"{method} {path} is not among the requests this connector may make")

    def _answer(self, what: str, path: str, params: Mapping[str, Any] | None) -> httpx.Response:
        """An answer worth looking at: failures that may pass were repeated, pauses kept."""
        failure = Phrase("")
        status = 0
        for tried in range(MAX_TRIES):
            if tried:
                self._pace.sleep(RETRY_AFTER_S[tried - 1])
            try:
                response = self._ask_in_turn(what, path, params)
            except (httpx.TransportError, httpx.DecodingError) as error:
                failure, status = _network_trouble(error), 0
            else:
                status = response.status_code
                if status < httpx.codes.INTERNAL_SERVER_ERROR and not _is_cut_off(response):
                    return response
                failure = (
                    Phrase("status {status}", status=status)
                    if not response.is_success
                    else Phrase("the answer was cut off")
                )
            log.debug("%s %s: %s, try %d", self.host, what, failure, tried + 1)
            if status == httpx.codes.GATEWAY_TIMEOUT and tried:
                raise SlowError("{where}: too slow (504) twice.", where=f"{self._where}, {what}")
        raise RetriableError(
            "{where}: no answer after {n} tries ({failure}). "
            "The next sync tries again; if it goes on, check the network and the service's status page.",
            where=f"{self._where}, {what}",
            n=MAX_TRIES,
            failure=failure,
        )

    def _ask_in_turn(self, what: str, path: str, params: Mapping[str, Any] | None) -> httpx.Response:
        """One request at our pace; a 429 has paused the whole account and the request is sent again."""
        while True:
            try:
                response = self._send(what, path, params)
            except CredentialsError as error:  # from the auth flow: a lost authorisation is lost for every thread
                self._stop(error)
            if response.status_code != httpx.codes.TOO_MANY_REQUESTS:
                return response

    def _send(self, what: str, path: str, params: Mapping[str, Any] | None) -> httpx.Response:
        answer = self._http.get(path, params=params)
        answer.stream = READ  # else the stream and the answer hold each other, and the body, until the collector runs
        self._read.seq = self._ordinals()
        if moment := _http_date(answer):
            self._server_now = moment
        log.debug(
            "%s %s: %d in %.2f s, request %s",
            self.host,
            what,
            answer.status_code,
            self._pace.clock() - answer.request.extensions[SENT_AT],
            answer.headers.get("x-request-id", "-"),
        )
        return answer

    def _before(self, request: httpx.Request) -> None:
        """Hold any request until its turn; none is sent once the account is lost."""
        self._raise_if_stopped()
        request.extensions[N_PAUSES] = self._pace.wait()
        self._raise_if_stopped()
        request.extensions[SENT_AT] = self._pace.clock()

    def _after(self, response: httpx.Response) -> None:
        """Put a deadline on any answer's body, and heed its status if it is about our pace."""
        sent = response.request.extensions
        assert isinstance(response.stream, httpx.SyncByteStream)
        response.stream = Timely(response.stream, until=sent[SENT_AT] + DEADLINE_S, clock=self._pace.clock)
        if response.status_code == httpx.codes.TOO_MANY_REQUESTS:
            response.read()
            self._pause_after(response, sent[N_PAUSES])
        elif self._n_429 and sent[N_PAUSES] == self._pace.n_pauses:
            self._n_429 = 0

    def _pause_after(self, response: httpx.Response, n_pauses: int) -> None:
        with self._lock:
            if n_pauses < self._pace.n_pauses:
                return  # sent before the pause another thread has already made: the same 429
            self._n_429 += 1
            n_429 = self._n_429
            seconds = _retry_after(response) or PAUSE_AFTER_429_S[min(n_429, len(PAUSE_AFTER_429_S)) - 1]
            if n_429 < MAX_429 and seconds <= MAX_PAUSE_S:
                log.warning("%s: rate limit, pause of %.0f s", self.host, seconds)
                self._pace.pause(seconds)
                return
        self._stop(
            RetriableError(
                "{where}: rate limited. The run stops here and the next one goes on; "
                "if it happens again, lower requests_per_second of this account.",
                where=self._where,
            )
        )

    def _raise_if_stopped(self) -> None:
        if self._stopped is not None:
            raise type(self._stopped)(self._stopped.said)

    def _stop(self, error: ConnectorError) -> NoReturn:
        self._stopped = self._stopped or error
        raise error

    def _refuse(self, response: httpx.Response, what: str, *, is_extra: bool) -> NoReturn:
        """What an unsuccessful status means; the order is that of the codes."""
        status = response.status_code
        problem = _problem(response)
        said = _said(problem)
        where = f"{self._where}, {what}"
        if response.is_redirect:
            self._stop(
                CredentialsError("{where}: answered from a wrong host; check base_url of this account.", where=where)
            )
        if status == httpx.codes.UNAUTHORIZED:
            self._stop(self._auth.refusal(self._where))
        if status == httpx.codes.PAYMENT_REQUIRED and is_extra:
            raise ForbiddenError("{where}: not in the plan of this account (402).", where=where)
        if status == httpx.codes.PAYMENT_REQUIRED:
            self._stop(
                CredentialsError("{where}: the account is not paid for, so it cannot be read.", where=self._where)
            )
        if status == httpx.codes.FORBIDDEN:
            self._forbid(response, problem, what)
        if status == httpx.codes.NOT_FOUND:
            raise MissingError("{where}: there is no such list (404); check base_url of this account.", where=where)
        raise PayloadError("{where}: refused with {status}{said}.", where=where, status=status, said=said)

    def _forbid(self, response: httpx.Response, problem: Mapping[str, Any] | None, what: str) -> NoReturn:
        if "113" in str((problem or {}).get("code", "")) or "this IP" in response.text[:500]:
            self._stop(
                CredentialsError(
                    "{where}: this server's IP address is not on the account's white list; add it there.",
                    where=self._where,
                )
            )
        if problem is None:
            self._stop(
                CredentialsError(
                    "{where}: requests are blocked (a 403 page instead of data). "
                    "Do not run it again before support has lifted the block.",
                    where=self._where,
                )
            )
        raise ForbiddenError(
            "{where}: the token has no right to read this{said}. Let an administrator of the account create it.",
            where=f"{self._where}, {what}",
            said=_said(problem),
        )


def _network_trouble(error: Exception) -> Phrase:
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return Phrase("cannot connect")
    if isinstance(error, httpx.TimeoutException):
        return Phrase("timed out")
    return Phrase("the connection broke")


def _is_cut_off(response: httpx.Response) -> bool:
    """A success whose body ends in the middle: read again. Anything else that is not JSON is the caller's matter."""
    if response.status_code != httpx.codes.OK:
        return False
    body = response.content.strip()
    return body[:1] in (b"{", b"[") and body[-1:] not in (b"}", b"]")


def _http_date(response: httpx.Response) -> datetime | None:
    try:
        return parsedate_to_datetime(response.headers["date"]).astimezone(UTC)
    except (KeyError, ValueError, TypeError):
        return None


def _retry_after(response: httpx.Response) -> float | None:
    """Seconds to wait: from the body, else from the header."""
    for value in ((_problem(response) or {}).get("retry_after"), response.headers.get("retry-after")):
        try:
            seconds = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            continue
        if seconds > 0:
            return seconds
    return None


def _problem(response: httpx.Response) -> Mapping[str, Any] | None:
    """The JSON object of an error answer; None for HTML and text."""
    try:
        body = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        return None
    return body if isinstance(body, dict) else None


def _said(problem: Mapping[str, Any] | None) -> str:
    """What the source says about a refusal, short and without anything that could be a secret or a person."""
    if not problem:
        return ""
    words = [str(problem[key]) for key in ("title", "detail", "hint") if problem.get(key)]
    return f" ({redacted('; '.join(words))[:200]})" if words else ""


def redacted(text: str) -> str:
    """`text` without what looks like an e-mail, an address, a phone number or a token."""
    return re.sub(r"\S+@\S+|https?://\S+|\+?\d[\d\s()-]{6,}\d|[\w.-]{24,}", "…", text)
