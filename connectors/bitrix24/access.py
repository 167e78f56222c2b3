"""How to get into a Bitrix24 portal: an incoming webhook from the environment, or a person's consent (OAuth).

Requests are made with the name of a method for a path; where that is on the portal is known here only, for the address
of a webhook is its secret. https://apidocs.bitrix24.ru/settings/how-to-call-rest-api/index.html
"""

import re
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
import orjson

from connectors.addresses import is_open
from connectors.answers import problem_of
from connectors.auth import (
    OAuthClient,
    RotatingToken,
    Tokens,
    TokenStore,
    again,
    code_in,
    exchange,
    headers,
    state_of,
    tokens_from,
)
from connectors.bitrix24.answers import STALE, refusal_of
from connectors.bitrix24.settings import BitrixSettings
from connectors.errors import CredentialsError, Phrase, RetriableError
from connectors.http import Pace, SourceAuth
from connectors.paging import as_object

WHERE_TO_CREATE = Phrase(
    "An administrator creates it in Bitrix24: «Разработчикам» → «Другое» → «Входящий вебхук»; put its whole address "
    "into that variable."
)
WEBHOOK = re.compile(r"(?P<base_url>https?://[^/\s]+)/rest/(?P<user>[0-9]+)/(?P<secret>[A-Za-z0-9_-]+)(/\S*)?")
USED_UP = frozenset({"INVALID_GRANT", "EXPIRED_TOKEN", "INVALID_TOKEN"})


@dataclass(frozen=True)
class Webhook:
    """What the address of an incoming webhook says."""

    base_url: str
    prefix: str

    @property
    def secret(self) -> str:
        return self.prefix.rpartition("/")[2]

    def __repr__(self) -> str:
        return f"Webhook({self.base_url!r})"


class WebhookAuth(SourceAuth):
    """The secret is the path. A refusal is final."""

    def __init__(self, webhook: Webhook, *, variable: str) -> None:
        self._prefix = webhook.prefix
        self._variable = variable

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.url = request.url.copy_with(path=f"{self._prefix}{request.url.path}")
        yield request

    def refusal(self, where: str) -> CredentialsError:
        return CredentialsError(
            "{where} did not accept the webhook in {variable}: it is wrong, switched off or has expired. {advice}",
            where=where,
            variable=self._variable,
            advice=WHERE_TO_CREATE,
        )


@dataclass(frozen=True)
class BitrixClient(OAuthClient):
    """The vendor's token end point: a GET, whose errors may come with status 200.

    https://apidocs.bitrix24.ru/settings/oauth/index.html
    """

    def request(self, **grant: str) -> httpx.Request:
        query = {"client_id": self.client_id, "client_secret": self.client_secret, **grant}
        return httpx.Request("GET", self.token_url, params=query, headers=headers())

    def tokens(self, answer: httpx.Response, *, now: float) -> Tokens:
        body = problem_of(answer)
        refusal = refusal_of(body, answer.status_code)
        host = httpx.URL(self.token_url).host
        if refusal is None:
            tokens = tokens_from(answer, self, now=now)
            number = as_object(body).get("member_id")
            return Tokens(tokens.access_token, tokens.refresh_token, tokens.expires_at, host, str(number or "") or None)
        if answer.is_server_error:
            raise RetriableError(
                "{host}: the token end point answered {status}; the next run tries again.",
                host=host,
                status=answer.status_code,
            )
        if refusal.code in USED_UP:
            raise again(self.account, Phrase("{host} says the stored authorisation was used up or revoked", host=host))
        if refusal.code == "PAYMENT_REQUIRED":
            raise CredentialsError("{where}: the portal's plan has no REST, so it cannot be read.", where=self.account)
        raise again(
            self.account,
            Phrase(
                "{host} refused our integration; check its id, secret and redirect address ({redirect})",
                host=host,
                redirect=self.redirect_uri,
            ),
        )


class BitrixToken(RotatingToken):
    """A status of 401 may mean many things; only the code says that the token has grown old."""

    def __init__(
        self,
        client: OAuthClient,
        store: TokenStore,
        *,
        in_header: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(client, store, clock=clock)
        self._in_header = in_header

    def signed(self, request: httpx.Request, tokens: Tokens) -> httpx.Request:
        url = request.url.copy_with(path=f"/rest{request.url.path}")
        headers = {name: value for name, value in request.headers.items() if name != "content-length"}
        content = request.content
        if self._in_header:
            headers["Authorization"] = f"Bearer {tokens.access_token}"
        else:
            content = orjson.dumps({**orjson.loads(content), "auth": tokens.access_token})
        return httpx.Request("POST", url, headers=headers, content=content, extensions=request.extensions)

    def is_refused(self, response: httpx.Response) -> bool:
        if response.status_code not in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            return False
        response.read()
        refusal = refusal_of(problem_of(response), response.status_code)
        return refusal is not None and refusal.code in STALE


def portal_pace(settings: BitrixSettings, base_url: str, state_dir: str) -> Pace:
    """One bucket for all accounts that read a portal from this machine: so does the portal count. Reference, 2.1."""
    file = Path(state_dir).parent / f"{httpx.URL(base_url).host}.pace"
    return Pace(settings.requests_per_second, file, burst=settings.burst)


def secret(name: str, env: Mapping[str, str], advice: Phrase) -> str:
    value = env.get(name, "").strip()
    if not value:
        raise CredentialsError("The environment variable {variable} is empty. {advice}", variable=name, advice=advice)
    return value


def webhook(settings: BitrixSettings, env: Mapping[str, str]) -> Webhook:
    name = str(settings.webhook_env)
    found = WEBHOOK.fullmatch(secret(name, env, WHERE_TO_CREATE))
    if found is None:
        raise CredentialsError(
            "The environment variable {variable} does not hold the address of a webhook: one looks like "
            "https://example.bitrix24.ru/rest/1/secret/, the number of the employee included. {advice}",
            variable=name,
            advice=WHERE_TO_CREATE,
        )
    if is_open(found["base_url"]) and not settings.allow_http:
        raise CredentialsError(
            "The address in {variable} begins with http://, so everybody on the way could read the webhook, which was "
            "not used: write https://. For a portal on a server of your own that has no https, set allow_http: true.",
            variable=name,
        )
    return Webhook(found["base_url"].lower(), f"/rest/{found['user']}/{found['secret']}")


def oauth_client(settings: BitrixSettings, env: Mapping[str, str]) -> BitrixClient:
    advice = Phrase("It is on the page of the application in Bitrix24.")
    return BitrixClient(
        client_id=secret(str(settings.client_id_env), env, advice),
        client_secret=secret(str(settings.client_secret_env), env, advice),
        redirect_uri=str(settings.redirect_uri),
        token_url=settings.token_url,
        account=settings.id,
    )


def login_url(settings: BitrixSettings, *, env: Mapping[str, str]) -> str:
    """The portal's page where a person consents. Raises CredentialsError where the account uses a webhook."""
    client = oauth_client(oauth_only(settings), env)
    query = {"client_id": client.client_id, "state": state_of(client)}
    return str(httpx.URL(f"{settings.base_url}/oauth/authorize/", params=query))


def login(
    settings: BitrixSettings,
    answer: str,
    *,
    env: Mapping[str, str],
    state_dir: str,
    transport: httpx.BaseTransport | None = None,
    clock: Callable[[], float] = time.time,
) -> None:
    """Exchange what the consent page gave (a code, which lives 30 s, or the address it led to) for stored tokens."""
    client = oauth_client(oauth_only(settings), env)
    code = code_in(
        answer,
        client,
        host=httpx.URL(str(settings.base_url)).host,
        host_key="domain",
        stranger=lambda _: Phrase("another portal"),
    )
    store, pace = TokenStore.of(settings.id, state_dir), portal_pace(settings, str(settings.base_url), state_dir)
    exchange(client, store, code, pace=pace, transport=transport, clock=clock)


def oauth_only(settings: BitrixSettings) -> BitrixSettings:
    if settings.webhook_env:
        raise CredentialsError(
            "{account} uses the webhook in {variable}; there is nothing to log in to.",
            account=settings.id,
            variable=settings.webhook_env,
        )
    return settings
