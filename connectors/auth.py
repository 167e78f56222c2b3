"""How a request proves who it is: a long-lived token, or OAuth with a refresh token that every use replaces.

The rotating pair is stored in a file only its owner can read, outside the warehouse, and saved before its first use: a
refresh token can be used once, and losing the new one means asking a person again. A file lock keeps refreshes of one
account apart, across threads and processes; who waited for it finds the pair another one has fetched.
"""

import base64
import fcntl
import hmac
import logging
import os
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import orjson

from connectors.errors import CredentialsError, Phrase, RetriableError
from connectors.http import TIMEOUT, Pace, SourceAuth, limit, user_agent

log = logging.getLogger(__name__)

REFRESH_BEFORE_S = 60.0
PAIR_BYTES = 16_384
"""More than any pair takes; a file of tokens ends in spaces."""


class Bearer(SourceAuth):
    """A long-lived token. A refusal is final."""

    def __init__(self, token: str, *, token_env: str, advice: Phrase) -> None:
        """advice: where a person creates the token, to end a message with."""
        self._header = f"Bearer {token}"
        self._token_env = token_env
        self._advice = advice

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["Authorization"] = self._header
        yield request

    def refusal(self, where: str) -> CredentialsError:
        return CredentialsError(
            "{where} did not accept the token in {variable}: it is wrong, revoked or has expired. {advice}",
            where=where,
            variable=self._token_env,
            advice=self._advice,
        )


@dataclass(frozen=True)
class Tokens:
    """An OAuth pair. expires_at: unix seconds after which the access token is worth nothing. number: the source's own
    of the account, where the token end point names it."""

    access_token: str
    refresh_token: str
    expires_at: float
    host: str
    number: str | None = None

    def __repr__(self) -> str:
        return f"Tokens(host={self.host!r})"

    @classmethod
    def from_answer(cls, answer: Mapping[str, Any], *, host: str, now: float) -> "Tokens":
        """The body of a token end point's answer; KeyError where it is not one."""
        access_token = str(answer["access_token"])
        expires_at = now + float(answer["expires_in"]) if answer.get("expires_in") else expiry(access_token)
        return cls(access_token, str(answer["refresh_token"]), expires_at or now + 3600, host)


def expiry(token: str) -> float | None:
    """`exp` of a JWT in unix seconds, its signature unchecked; None where it cannot be read."""
    try:
        return float(claims(token)["exp"])
    except (KeyError, TypeError, ValueError):
        return None


def claims(token: str) -> Mapping[str, Any]:
    """What a JWT says, its signature unchecked; nothing where it is none."""
    try:
        payload = token.split(".")[1]
        said = orjson.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (IndexError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


class TokenStore:
    """One account's tokens in a file of its own, readable by its owner only."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of(cls, account: str, state_dir: str) -> "TokenStore":
        """The one of an account of config.yaml, in its private folder."""
        return cls(Path(state_dir) / f"{account}.oauth.json")

    def read(self) -> Tokens | None:
        try:
            return Tokens(**orjson.loads(self.path.read_bytes()))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._closed() from error
        except (ValueError, TypeError):
            raise CredentialsError(
                "{file} cannot be read: authorise this account again.", file=self.path.name
            ) from None

    def _closed(self) -> CredentialsError:
        return CredentialsError(
            "{file} cannot be opened: it belongs to another user of this machine. Run `voronka login` and `voronka "
            "sync` as the same user, and give {folder} to that one.",
            file=self.path.name,
            folder=self.path.parent,
        )

    def write(self, tokens: Tokens) -> None:
        """Replace the file in one step; when this returns the pair has reached the disk."""
        with self.room() as put:
            put(tokens)

    @contextmanager
    def room(self) -> Iterator[Callable[[Tokens], None]]:
        """Room for a pair that is still to be asked for, on the disk already; gives what writes it there.

        To be held under the lock. Raises RetriableError where there is no room, and the old pair stays good.
        """
        new = self.path.with_name(f".{self.path.name}.new")

        def put(tokens: Tokens) -> None:
            fill(new, orjson.dumps(asdict(tokens)).ljust(PAIR_BYTES))
            os.replace(new, self.path)
            sync_folder(self.path.parent)

        try:
            try:
                self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                os.close(os.open(new, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600))
                fill(new, b" " * PAIR_BYTES)
            except OSError as error:
                raise RetriableError(
                    "{folder}: {file} cannot be written, so no new tokens were asked for and the stored ones stay good."
                    " Free some space or mend the rights of the folder, and run again.",
                    folder=self.path.parent,
                    file=self.path.name,
                ) from error
            yield put
        finally:
            with suppress(OSError):
                new.unlink(missing_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the account's lock; other threads and processes wait."""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(f"{self.path}.lock", os.O_CREAT | os.O_RDWR, 0o600)
        except OSError as error:
            raise self._closed() from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)  # which also unlocks


def fill(file: Path, content: bytes) -> None:
    """Write over what the file holds; when this returns it has reached the disk."""
    with open(file, "r+b") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())


def sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@dataclass(frozen=True)
class OAuthClient:
    """What an integration is registered as, and where its token end point is."""

    client_id: str
    client_secret: str
    redirect_uri: str
    token_url: str
    account: str
    """The account's id in config.yaml, for messages."""

    def __repr__(self) -> str:
        return f"OAuthClient(account={self.account!r})"

    def request(self, **grant: str) -> httpx.Request:
        body = {
            "client_id": self.client_id,
            "client_secret": self.client_secret,
            **grant,
            "redirect_uri": self.redirect_uri,
        }
        return httpx.Request("POST", self.token_url, json=body, headers=headers())

    def tokens(self, answer: httpx.Response, *, now: float) -> Tokens:
        """The pair an answer of the token end point holds, or the error that says who has to do what."""
        return tokens_from(answer, self, now=now)


def headers() -> dict[str, str]:
    """Of requests that no client gives its own headers to."""
    return {"User-Agent": user_agent(), "Accept": "application/json"}


Asking = Generator[httpx.Request, httpx.Response, Any]


class RotatingToken(SourceAuth):
    """OAuth: refreshes shortly before the access token ends, and once after it was refused.

    A refused refresh is final for the run: every thread gets its error, none asks again.
    """

    def __init__(self, client: OAuthClient, store: TokenStore, *, clock: Callable[[], float] = time.time) -> None:
        self.client = client
        self._store = store
        self._clock = clock
        self._tokens: Tokens | None = None
        self._fetched: Tokens | None = None
        self._unsaved: Tokens | None = None
        self._lost: CredentialsError | None = None

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        tokens = self._tokens or self._stored()
        if self._clock() > tokens.expires_at - REFRESH_BEFORE_S:
            tokens = yield from self._renewed(tokens)
        response = yield self.signed(request, tokens)
        if self.is_refused(response):
            if tokens != self._fetched:  # one just fetched is refused for another reason than its age
                tokens = yield from self._renewed(tokens)
            yield self.signed(request, tokens)

    def signed(self, request: httpx.Request, tokens: Tokens) -> httpx.Request:
        """The request with the access token where the source wants it."""
        request.headers["Authorization"] = f"Bearer {tokens.access_token}"
        return request

    def is_refused(self, response: httpx.Response) -> bool:
        """Whether an answer means that the access token is worth nothing any more. Its body is still to be read."""
        return response.status_code == httpx.codes.UNAUTHORIZED

    def refusal(self, where: str) -> CredentialsError:
        return again(self.client.account, Phrase("{where} does not accept our authorisation any more", where=where))

    def explain(self, refused: Tokens, answer: httpx.Response) -> Asking:
        """For connectors that can find out more about a refused refresh: returns a better error, or None."""
        return None
        yield

    def _stored(self) -> Tokens:
        tokens = self._unsaved or self._store.read()
        if tokens is None:
            raise again(self.client.account, Phrase("This account has not been authorised yet"))
        self._tokens = tokens
        return tokens

    def _renewed(self, refused: Tokens) -> Asking:
        """The pair after `refused`: another thread's or process's if there is one, else from the token end point."""
        with self._store.locked():
            stored = self._stored()
            if stored.access_token != refused.access_token:
                return stored
            if self._lost:
                raise CredentialsError(self._lost.said)
            with self._store.room() as put:
                tokens = yield from self._asked(stored)
                self._save(tokens, put)
        self._tokens = self._fetched = tokens
        return tokens

    def _asked(self, stored: Tokens) -> Asking:
        """A new pair from the token end point, which spends the stored one."""
        request = self.client.request(grant_type="refresh_token", refresh_token=stored.refresh_token)
        while (answer := (yield request)).status_code == httpx.codes.TOO_MANY_REQUESTS:
            pass  # the client has paused the account, or it ends the run
        answer.read()
        try:
            return self.client.tokens(answer, now=self._clock())
        except CredentialsError as error:
            self._lost = error  # before the question, whose answer may never come
            self._lost = (yield from self.explain(stored, answer)) or error
            raise self._lost from None

    def _save(self, tokens: Tokens, put: Callable[[Tokens], None]) -> None:
        """Store the pair; one that cannot be stored still serves this run, for the old one is spent."""
        try:
            put(tokens)
            self._unsaved = None
        except OSError as error:
            self._unsaved = tokens
            log.warning(
                "%s: the new tokens cannot be written (%s) and serve this run only; before the next one mend the disk "
                "and authorise the account again: voronka login %s",
                self.client.account,
                error.strerror,
                self.client.account,
            )


def exchange(
    client: OAuthClient,
    store: TokenStore,
    code: str,
    *,
    pace: Pace,
    transport: httpx.BaseTransport | None = None,
    clock: Callable[[], float] = time.time,
) -> None:
    """Turn the code of a consent into tokens, and store them before anything uses them."""
    with httpx.Client(transport=transport, timeout=TIMEOUT) as http, store.locked(), store.room() as put:
        pace.wait()
        http.event_hooks = {"response": [partial(limit, since=pace.clock(), clock=pace.clock)]}
        try:
            answer = http.send(client.request(grant_type="authorization_code", code=code))
        except (httpx.TransportError, httpx.DecodingError):
            raise RetriableError(
                "{host}: the code could not be exchanged, for no whole answer came. A code can be used once: run "
                "voronka login {account} again.",
                host=httpx.URL(client.token_url).host,
                account=client.account,
            ) from None
        put(client.tokens(answer, now=clock()))


def code_in(answer: str, client: OAuthClient, *, host: str, host_key: str, stranger: Callable[[str], Phrase]) -> str:
    """The code in what a person pasted: the code itself, or the address that the consent page led to.

    Anyone can write such an address: the host it names (`host_key` of its query) and its `state` must be ours.
    stranger: what to call another host.
    """
    answer = answer.strip()
    if "://" not in answer:
        return answer
    query = httpx.URL(answer).params
    if "error" in query or "code" not in query:
        raise CredentialsError("The consent was declined. Run voronka login {account} again.", account=client.account)
    if (named := query.get(host_key, host)) != host:
        raise CredentialsError(
            "The consent is for {named}, but base_url is {host}. Nothing was sent.", named=stranger(named), host=host
        )
    if not hmac.compare_digest(query.get("state", "").encode(), state_of(client).encode()):
        raise CredentialsError(
            "This address does not answer the link of voronka login {account}. Nothing was sent; run it again and open "
            "the link it prints.",
            account=client.account,
        )
    return query["code"]


def tokens_from(answer: httpx.Response, client: OAuthClient, *, now: float) -> Tokens:
    """The pair a token end point gave, or the error that says who has to do what."""
    host = httpx.URL(client.token_url).host
    try:
        body = orjson.loads(answer.content)
    except orjson.JSONDecodeError:
        body = None
    if answer.status_code == httpx.codes.OK:
        try:
            return Tokens.from_answer(body, host=host, now=now)
        except (KeyError, TypeError, ValueError):
            raise again(client.account, Phrase("{host} answered without tokens", host=host)) from None
    if answer.status_code == httpx.codes.FORBIDDEN and not isinstance(body, dict):
        raise CredentialsError(
            "{host}: requests are blocked (a 403 page instead of tokens). "
            "Do not run it again before support has lifted the block.",
            host=host,
        )
    if answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR or answer.status_code == httpx.codes.TOO_MANY_REQUESTS:
        raise RetriableError(
            "{host}: the token end point answered {status}; the next run tries again.",
            host=host,
            status=answer.status_code,
        )
    hint = str(body.get("hint") or "") if isinstance(body, dict) else ""
    if hint:
        raise again(client.account, Phrase("{host} says the stored authorisation was used up or revoked", host=host))
    raise again(
        client.account,
        Phrase(
            "{host} refused our integration; check its id, secret and redirect address ({redirect})",
            host=host,
            redirect=client.redirect_uri,
        ),
    )


def state_of(client: OAuthClient) -> str:
    """What the consent page hands back, so that an answer to somebody else's request is known as such.

    Made from the secret instead of kept: the person who pastes the address may do so in another call of the program.
    """
    return hmac.digest(client.client_secret.encode(), f"state:{client.account}".encode(), "sha256").hex()[:32]


def again(account: str, why: Phrase) -> CredentialsError:
    """The one state every lost authorisation ends in."""
    return CredentialsError("{why}. Authorise it again: voronka login {account}", account=account, why=why)
