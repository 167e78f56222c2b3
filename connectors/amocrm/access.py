"""How to get into an amoCRM or Kommo account: a token from the environment, or a person's consent (OAuth)."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import httpx
import orjson

from connectors.amocrm.settings import VENDOR_HOST, AmoSettings
from connectors.auth import (
    Asking,
    OAuthClient,
    RotatingToken,
    Tokens,
    TokenStore,
    claims,
    code_in,
    exchange,
    headers,
    state_of,
)
from connectors.errors import CredentialsError, Phrase
from connectors.http import Pace
from connectors.paging import as_object

WHERE_TO_CREATE = Phrase(
    "An administrator creates it in amoCRM: amoМаркет → ⋮ → «Создать интеграцию» → «Закрытая» → «Ключи и доступы» → "
    "«Сгенерировать долгосрочный токен»; put it into that variable."
)


class AmoToken(RotatingToken):
    """Knows that an account may have got another address, which its old one only answers by refusing."""

    def explain(self, refused: Tokens, answer: httpx.Response) -> Asking:
        """Where the account lives now. Asking does not spend the refresh token, which stays good there.

        https://github.com/amocrm/amocrm-api-php: OAuth/AmoCRMOAuth.php
        """
        here = httpx.URL(self.client.token_url).host
        directory = str(claims(refused.access_token).get("api_domain"))
        is_lost = answer.is_redirect or answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.NOT_FOUND)
        if not (is_lost and VENDOR_HOST.fullmatch(here) and VENDOR_HOST.fullmatch(directory)):
            return None
        found = yield httpx.Request(
            "GET",
            f"https://{directory}/oauth2/account/current/subdomain",
            headers=headers() | {"X-Refresh-Token": refused.refresh_token},
        )
        found.read()
        try:
            there = str(as_object(orjson.loads(found.content)).get("domain"))
        except orjson.JSONDecodeError:
            return None
        if there == here or not VENDOR_HOST.fullmatch(there):
            return None
        return CredentialsError(
            "{here}: the account has moved to {there}. Set base_url of {account} to https://{there}; the authorisation "
            "stays good.",
            here=here,
            there=there,
            account=self.client.account,
        )


def account_pace(settings: AmoSettings, state_dir: str) -> Pace:
    return Pace(settings.requests_per_second, Path(state_dir) / f"{settings.id}.pace")


def secret(name: str, env: Mapping[str, str], settings: AmoSettings) -> str:
    value = env.get(name, "").strip()
    if not value:
        raise CredentialsError(
            "The environment variable {variable} is empty. {advice}",
            variable=name,
            advice=WHERE_TO_CREATE
            if name == settings.token_env
            else Phrase("It is on the integration's page in amoCRM."),
        )
    if not value.isascii() or any(letter.isspace() for letter in value):
        raise CredentialsError(
            "The environment variable {variable} does not hold a token but other text.", variable=name
        )
    return value


def oauth_client(settings: AmoSettings, env: Mapping[str, str]) -> OAuthClient:
    return OAuthClient(
        client_id=secret(str(settings.client_id_env), env, settings),
        client_secret=secret(str(settings.client_secret_env), env, settings),
        redirect_uri=str(settings.redirect_uri),
        token_url=f"{settings.base_url}/oauth2/access_token",
        account=settings.id,
    )


def login_url(settings: AmoSettings, *, env: Mapping[str, str]) -> str:
    """The page where a person consents. Raises CredentialsError where the account uses a long-lived token."""
    client = oauth_client(oauth_only(settings), env)
    query = {"client_id": client.client_id, "state": state_of(client), "mode": "post_message"}
    return str(httpx.URL(settings.consent_page, params=query))


def login(
    settings: AmoSettings,
    answer: str,
    *,
    env: Mapping[str, str],
    state_dir: str,
    transport: httpx.BaseTransport | None = None,
    clock: Callable[[], float] = time.time,
) -> None:
    """Exchange what the consent page gave (a code, or the whole address it led to) for stored tokens."""
    client = oauth_client(oauth_only(settings), env)
    code = code_in(answer, client, host=settings.host, host_key="referer", stranger=stranger)
    store, pace = TokenStore.of(settings.id, state_dir), account_pace(settings, state_dir)
    exchange(client, store, code, pace=pace, transport=transport, clock=clock)


def stranger(host: str) -> Phrase:
    return (
        Phrase("the account {host}", host=host)
        if VENDOR_HOST.fullmatch(host)
        else Phrase("a host that is not amoCRM's")
    )


def oauth_only(settings: AmoSettings) -> AmoSettings:
    if settings.token_env:
        raise CredentialsError(
            "{account} uses the long-lived token in {variable}; there is nothing to log in to.",
            account=settings.id,
            variable=settings.token_env,
        )
    return settings
