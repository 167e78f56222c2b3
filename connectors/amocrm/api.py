"""An opened amoCRM or Kommo account, and what it is like."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import httpx

from connectors.amocrm.access import WHERE_TO_CREATE, AmoToken, account_pace, oauth_client, secret
from connectors.amocrm.answers import AmoAnswers
from connectors.amocrm.goods import remember, remembered
from connectors.amocrm.mapping import TASK_KINDS
from connectors.amocrm.reading import Reading, at, flag
from connectors.amocrm.settings import AmoSettings
from connectors.auth import Bearer, TokenStore, expiry
from connectors.errors import ForbiddenError, PayloadError
from connectors.http import ApiClient, Pace, Route, SourceAuth
from connectors.money import currency_code
from connectors.paging import Json, as_list, as_object, whole
from connectors.records import Account, RawRecord

ROUTES = (
    Route("GET", "/api/v4/account"),
    Route("GET", "/api/v4/(users|sources|events|events/types)"),
    Route("GET", "/api/v4/users/[0-9]+"),
    Route("GET", "/api/v4/roles"),
    Route("GET", "/api/v4/leads/pipelines/[0-9]+"),
    Route("GET", "/api/v4/catalogs(/[0-9]+/(elements|custom_fields))?", is_extra=True),
    Route("GET", "/api/v4/customers/(segments/)?custom_fields", is_extra=True),
    Route("GET", "/api/v4/customers/tags", is_extra=True),
    Route("GET", "/api/v4/(leads|contacts|companies)/tags"),
    Route("GET", "/api/v4/leads/(pipelines|loss_reasons|unsorted)"),
    Route("GET", "/api/v4/(leads|contacts|companies|tasks)(/[0-9]+)?"),
    Route("GET", "/api/v4/customers(/[0-9]+|/statuses|/segments|/transactions)?", is_extra=True),
    Route("GET", "/api/v4/(leads|contacts|companies)/custom_fields"),
    Route("GET", "/api/v4/(leads|contacts|companies)/notes(/[0-9]+)?"),
    Route("GET", "/api/v4/customers/notes(/[0-9]+)?", is_extra=True),
    Route("GET", "/api/v4/talks(/[0-9]+)?"),
    Route("GET", "/api/v4/contacts/chats", is_extra=True),
)
"""All a connector may ask; nothing here writes."""

ACCOUNT_WITH = "users_groups,task_types,datetime_settings,is_api_filter_enabled,invoices_settings"
FILTERED_LISTS = frozenset(
    f"{word}{part}" for word in ("leads", "contacts", "companies", "customers") for part in ("", "/trash")
)
"""Lists whose filters the account's `is_api_filter_enabled` switches."""
WARN_BEFORE = timedelta(days=30)
"""Nobody can renew a long-lived token but a person: say it early."""
CUSTOMERS_ON = frozenset({"segments", "dynamic", "periodicity"})
USUAL_TASK_KINDS = {1: "follow_up", 2: "meeting", 3: "email"}


class Home(NamedTuple):
    """What holds for an account that does not say where it is at home."""

    country: str
    timezone: str


HOMES = {"amoCRM": Home("RU", "Europe/Moscow"), "Kommo": Home("ZZ", "UTC")}
"""ZZ is no country: only phone numbers written with theirs are understood."""


@dataclass(frozen=True)
class Facts:
    """What `/api/v4/account` says that reading depends on. zone: the account's, of its custom dates."""

    account: RawRecord
    body: Json
    zone: ZoneInfo
    currency: str
    region: str
    has_filters: bool
    has_customers: bool
    has_requests: bool
    task_kinds: dict[int, str]


class AmoApi:
    """One account for one run, shared by its threads.

    Remembers what a run finds out on the way: that users may not be listed, which lists ignore filters, what catalogs
    hold, which pipelines (by id) the list has.
    """

    def __init__(
        self, client: ApiClient, settings: AmoSettings, *, goods_file: Path, token_ends_at: datetime | None = None
    ) -> None:
        """goods_file: where runs leave what catalogs hold. token_ends_at: of a long-lived token, where it says so."""
        self.settings = settings
        self.token_ends_at = token_ends_at
        self.users_are_hidden = False
        self.goods = remembered(goods_file)
        self._goods_file = goods_file
        self.pipelines: set[Any] | None = None
        self._client = client
        self._lock = threading.Lock()
        self._unfiltered: set[str] = set()
        self._claimed: set[str] = set()

    def remember_goods(self) -> None:
        with self._lock:
            remember(self.goods, self._goods_file)

    def get(self, path: str, params: Mapping[str, Any] | None = None, *, missing_ok: bool = False) -> Any:
        answer = self._client.get(path, params, missing_ok=missing_ok)
        if not is_own(answer, path, params or {}):
            # answers were mixed up on the way: what it lacks would never be asked for again. A server that calls this
            # one so twice is believed.
            answer = self._client.get(path, params, missing_ok=missing_ok)
        return answer

    def server_now(self) -> datetime:
        return self._client.server_now()

    def read_seq(self) -> int:
        return self._client.read_seq()

    def end(self) -> None:
        self._client.end()

    def close(self) -> None:
        self._client.close()

    @property
    def facts(self) -> Facts:
        """Read once a run."""
        with self._lock:
            return self._facts

    @cached_property
    def _facts(self) -> Facts:
        body = self.get("/api/v4/account", {"with": ACCOUNT_WITH})
        if not isinstance(body, dict) or not body.get("id"):
            raise PayloadError(
                "{where}: this is not an account; check base_url.",
                where=f"{self.settings.product} ({self.settings.host})",
            )
        facts = to_facts(body, self.settings)
        if not facts.has_filters:
            self._unfiltered |= FILTERED_LISTS
        if invoices := as_object(body.get("invoices_settings")).get("invoices_catalog_id"):
            self.goods.invoices_catalog_id = str(invoices)
        return facts

    def reading(self, account: Account) -> Reading:
        facts = self.facts
        return Reading(
            account_id=account.account_id,
            zone=facts.zone,
            currency=facts.currency,
            region=account.default_region,
            settings=self.settings,
            task_kinds=facts.task_kinds,
            users_are_hidden=self.users_are_hidden,
            goods=self.goods,
            pipelines=self.pipelines,
        )

    def filters(self, collection: str) -> bool:
        """Whether filters of this list have an effect, as far as is known."""
        _ = self.facts  # which says whether the account has filters at all
        return collection not in self._unfiltered

    def ignores_filters(self, collection: str) -> None:
        with self._lock:
            self._unfiltered.add(collection)

    def claim(self, collection: str) -> bool:
        """Whether the caller is the first of this run to read the whole list: windows of it all mean the same."""
        with self._lock:
            is_first = collection not in self._claimed
            self._claimed.add(collection)
            return is_first


def is_own(answer: Any, path: str, params: Mapping[str, Any]) -> bool:
    """Whether an answer is to what was asked, as far as it says: by the path and the page it names as its own."""
    said = as_object(answer)
    page, asked = whole(said.get("_page")), params.get("page")
    href = as_object(as_object(said.get("_links")).get("self")).get("href")
    is_here = not isinstance(href, str) or href.partition("?")[0].endswith(path)
    return is_here and (page is None or asked is None or page == asked)


def to_facts(body: Json, settings: AmoSettings) -> Facts:
    embedded = as_object(body.get("_embedded"))
    home = HOMES[settings.product]
    named = str(as_object(embedded.get("datetime_settings")).get("timezone") or "")
    try:
        zone = ZoneInfo(named or settings.timezone or home.timezone)
    except (ZoneInfoNotFoundError, ValueError):
        raise PayloadError(
            "{where}: unknown time zone of the account; set timezone of {account} in the config.",
            where=f"{settings.product} ({settings.host})",
            account=settings.id,
        ) from None
    kinds = {
        number: TASK_KINDS.get(str(kind.get("code")), USUAL_TASK_KINDS.get(number, "other"))
        for kind in map(as_object, as_list(embedded.get("task_types")))
        if (number := whole(kind.get("id")))
    }
    return Facts(
        account=RawRecord.of(settings.id, "account", body["id"], body),
        body=body,
        zone=zone,
        currency=currency_code(body.get("currency")),
        region=settings.phone_country or str(body.get("country") or home.country).upper(),
        has_filters=flag(body.get("is_api_filter_enabled")) is not False,
        has_customers=body.get("customers_mode") in CUSTOMERS_ON,
        has_requests=flag(body.get("is_unsorted_on")) is not False,
        task_kinds=USUAL_TASK_KINDS | kinds,
    )


def account(api: AmoApi, settings: AmoSettings) -> Account:
    """Who we are. https://www.amocrm.ru/developers/content/crm_platform/account-info"""
    return account_of(api.facts, settings)


def account_of(facts: Facts, settings: AmoSettings) -> Account:
    return Account(
        account_id=settings.id,
        raw_hash=facts.account.raw_hash,
        source_updated_at=at(facts.body.get("updated_at")),
        connector="amocrm",
        name=str(facts.body.get("name") or settings.host),
        base_url=settings.base_url,
        external_id=str(facts.body["id"]),
        tz=settings.timezone or facts.zone.key,
        base_currency=settings.currency or facts.currency,
        default_region=facts.region,
        created_at=at(facts.body.get("created_at")),
    )


def viewer(api: AmoApi) -> str:
    """Whose rights the token has. Lists hold only what that user may see (1.8 of the reference)."""
    me = api.facts.body.get("current_user_id")
    try:
        user = as_object(api.get(f"/api/v4/users/{me}", missing_ok=True)) if me else {}
    except ForbiddenError:
        user = {}
    is_admin = flag(as_object(user.get("rights")).get("is_admin"))
    return f"user:{me} {'admin' if is_admin else 'not admin'}"


def open_api(
    settings: AmoSettings,
    *,
    env: Mapping[str, str],
    ordinals: Callable[[], int],
    state_dir: str,
    transport: httpx.BaseTransport | None = None,
    pace: Pace | None = None,
    clock: Callable[[], float] = time.time,
) -> AmoApi:
    """Raises CredentialsError where a secret is missing; asks the server nothing yet."""
    auth: SourceAuth
    token_ends_at = None
    if settings.token_env:
        token = secret(settings.token_env, env, settings)
        auth = Bearer(token, token_env=settings.token_env, advice=WHERE_TO_CREATE)
        token_ends_at = at(expiry(token))
    else:
        auth = AmoToken(oauth_client(settings, env), TokenStore.of(settings.id, state_dir), clock=clock)
    client = ApiClient(
        settings.base_url,
        source=settings.product,
        auth=auth,
        answers=AmoAnswers(auth),
        routes=ROUTES,
        pace=pace or account_pace(settings, state_dir),
        ordinals=ordinals,
        transport=transport,
    )
    return AmoApi(client, settings, goods_file=Path(state_dir) / f"{settings.id}.goods", token_ends_at=token_ends_at)
