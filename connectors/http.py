"""The one way to a source: pace, retries, time limits, what status codes mean, and no secrets in any message.

Read-only by construction: a client is given the (method, path) pairs it may ask for, anything else is a bug.
"""

import logging
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NoReturn

import httpx
import orjson

from connectors.errors import (
    ConnectorError,
    CredentialsError,
    ForbiddenError,
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
MAX_429 = 3
DEADLINE_S = 300.0
"""The longest one answer may take, all of its body included."""
TIMEOUT = httpx.Timeout(60.0, connect=10.0)
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


def user_agent() -> str:
    try:
        return f"voronka/{version('voronka')}"
    except PackageNotFoundError:
        return "voronka/dev"


class Pace:
    """Evenly spaced requests of one account, whatever the number of threads; a pause holds all of them.

    Shared by everything that speaks to the same account. Clock and sleep are given, so that tests need neither.
    """

    def __init__(
        self,
        per_second: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.interval_s = 1.0 / per_second
        self.clock = clock
        self.sleep = sleep
        self._lock = threading.Lock()
        self._next_at = clock()
        self._paused_until = self._next_at
        self.n_pauses = 0

    def wait(self) -> int:
        """Sleep until it is this request's turn; return how many pauses there were before it was sent."""
        while True:
            with self._lock:
                now = self.clock()
                turn_at = max(now, self._next_at, self._paused_until)
                self._next_at = turn_at + self.interval_s
            if turn_at > now:
                self.sleep(turn_at - now)
            with self._lock:
                if self.clock() >= self._paused_until:  # nobody paused the account while we slept
                    return self.n_pauses

    def pause(self, seconds: float) -> None:
        with self._lock:
            self.n_pauses += 1
            self._paused_until = max(self._paused_until, self.clock() + seconds)
            self._next_at = self._paused_until  # turns handed out before are void: their threads ask again


class SourceAuth(httpx.Auth):
    """Puts the token on a request; knows what to tell a person whose token was refused."""

    def refusal(self, where: str) -> CredentialsError:
        raise NotImplementedError


@dataclass(frozen=True)
class Route:
    """A request a client may make. `path` is a regular expression for the whole path."""

    method: str
    path: str


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
        self._routes = [(route.method, re.compile(route.path)) for route in routes]
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
        self._check_route("GET", path)
        what = "GET " + re.sub(r"\d+(?=/|$)", "{id}", path)
        response = self._answer(what, path, params)
        if response.status_code == httpx.codes.NOT_FOUND and missing_ok:
            return None
        if not response.is_success:
            self._refuse(response, what)
        if not response.content.strip():
            return None
        try:
            return orjson.loads(response.content)
        except orjson.JSONDecodeError:
            raise PayloadError("{where}: the answer is not JSON.", where=f"{self._where}, {what}") from None

    def _check_route(self, method: str, path: str) -> None:
        if not any(method == allowed and pattern.fullmatch(path) for allowed, pattern in self._routes):
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
        """One request at our pace; a 429 pauses the whole account and the request is sent again."""
        while True:
            self._raise_if_stopped()
            n_pauses = self._pace.wait()
            self._raise_if_stopped()
            try:
                response = self._send(what, path, params)
            except CredentialsError as error:  # from the auth flow: a lost authorisation is lost for every thread
                self._stop(error)
            if response.status_code != httpx.codes.TOO_MANY_REQUESTS:
                with self._lock:
                    self._n_429 = 0
                return response
            self._pause_after(response, n_pauses)

    def _send(self, what: str, path: str, params: Mapping[str, Any] | None) -> httpx.Response:
        started_at = self._pace.clock()
        with self._http.stream("GET", path, params=params) as response:
            parts = []
            for part in response.iter_bytes():
                parts.append(part)
                if self._pace.clock() - started_at > DEADLINE_S:
                    raise httpx.ReadTimeout("the answer never ended")
        answer = httpx.Response(
            response.status_code,
            headers={name: value for name, value in response.headers.items() if name != "content-encoding"},
            content=b"".join(parts),
        )
        self._read.seq = self._ordinals()
        if moment := _http_date(answer):
            self._server_now = moment
        log.debug(
            "%s %s: %d in %.2f s, request %s",
            self.host,
            what,
            answer.status_code,
            self._pace.clock() - started_at,
            answer.headers.get("x-request-id", "-"),
        )
        return answer

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

    def _refuse(self, response: httpx.Response, what: str) -> NoReturn:
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
        if status == httpx.codes.PAYMENT_REQUIRED:
            self._stop(
                CredentialsError("{where}: the account is not paid for, so it cannot be read.", where=self._where)
            )
        if status == httpx.codes.FORBIDDEN:
            self._forbid(response, problem, what)
        if status == httpx.codes.NOT_FOUND:
            raise PayloadError("{where}: there is no such list (404); check base_url of this account.", where=where)
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
