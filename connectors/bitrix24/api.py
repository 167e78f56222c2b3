"""An opened Bitrix24 portal, and what it is like."""

import re
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import httpx

from connectors.auth import TokenStore
from connectors.bitrix24.access import BitrixToken, WebhookAuth, oauth_client, portal_pace, webhook
from connectors.bitrix24.answers import BitrixAnswers
from connectors.bitrix24.batching import Batching, Command, Outcome
from connectors.bitrix24.budget import BATCH, Budget
from connectors.bitrix24.identity import known_as
from connectors.bitrix24.reading import Book
from connectors.bitrix24.settings import BitrixSettings
from connectors.errors import PayloadError
from connectors.http import ApiClient, Pace, Route, SourceAuth
from connectors.money import currency_code
from connectors.paging import Json, as_list, as_object
from connectors.records import Account, RawRecord

METHODS = frozenset(
    {
        "app.info",
        "catalog.catalog.list",
        "catalog.product.list",
        "crm.activity.binding.list",
        "crm.activity.list",
        "crm.category.list",
        "crm.company.fields",
        "crm.company.list",
        "crm.company.userfield.list",
        "crm.contact.fields",
        "crm.contact.list",
        "crm.contact.userfield.list",
        "crm.currency.list",
        "crm.deal.contact.items.get",
        "crm.deal.fields",
        "crm.deal.list",
        "crm.deal.productrows.get",
        "crm.deal.userfield.list",
        "crm.item.fields",
        "crm.item.get",
        "crm.item.list",
        "crm.item.payment.list",
        "crm.item.productrow.list",
        "crm.lead.fields",
        "crm.lead.list",
        "crm.lead.productrows.get",
        "crm.lead.userfield.list",
        "crm.product.list",
        "crm.productrow.list",
        "crm.productsection.list",
        "crm.stagehistory.list",
        "crm.status.entity.types",
        "crm.status.list",
        "crm.timeline.comment.list",
        "crm.type.list",
        "department.get",
        "event.offline.list",
        "im.dialog.messages.get",
        "imopenlines.config.list.get",
        "imopenlines.crm.chat.get",
        "imopenlines.session.history.get",
        "profile",
        "scope",
        "server.time",
        "tasks.task.list",
        "user.get",
        "userfieldconfig.list",
        "voximplant.statistic.get",
    }
)
"""All a connector may call, alone or in a batch; nothing here writes."""
ROUTES = (Route("POST", BATCH), *(Route("POST", re.escape(method)) for method in sorted(METHODS)))
COUNTRIES = {"ru": "RU", "by": "BY", "kz": "KZ", "ua": "UA", "de": "DE", "fr": "FR", "es": "ES", "it": "IT", "pl": "PL"}
"""By the last part of a portal's domain; others write their phones with the country."""
NOWHERE = "ZZ"
NO_PLACE = "Etc/GMT"
"""Zones called so have an offset, but no summer time."""
ZONES = {timedelta(hours=3): "Europe/Moscow", timedelta(0): "UTC"}


@dataclass(frozen=True)
class Facts:
    """What the portal says of itself and of whose rights we have.

    host: its address now. number: the host it was first read under, which survives renaming. scopes: what may be
    called. offset: of the server's zone now. user_zone: the employee's, in whose time tasks are printed.
    """

    profile: Json
    host: str
    number: str
    user_id: str
    is_admin: bool
    scopes: frozenset[str]
    offset: timedelta
    user_zone: str | None
    currency: str


class BitrixApi:
    """One portal for one run, shared by its threads. book: what the run has read of it."""

    def __init__(
        self,
        client: ApiClient,
        calls: Batching,
        settings: BitrixSettings,
        *,
        base_url: str,
        number: Callable[[str], str],
    ) -> None:
        """base_url: as configured. number: of the account, by the host that has answered."""
        self.settings = settings
        self.base_url = base_url
        self.book = Book()
        self._client = client
        self._calls = calls
        self._number = number
        self._lock = Lock()
        self._ahead = ThreadPoolExecutor(1, thread_name_prefix=settings.id)

    def call(self, method: str, params: Mapping[str, Any] | None = None) -> Any:
        """The `result` of one method."""
        return self._calls.call(method, params)

    def batch(self, commands: Mapping[str, Command], *, halt: bool = False) -> dict[str, Outcome]:
        """What became of each of the commands, of which there may be any number."""
        return self._calls.batch(commands, halt=halt)

    def chain(self, method: str, wanted: int, commands: Callable[[int], list[Command]]) -> list[Outcome]:
        """Outcomes of commands that refer to each other, up to the first that failed."""
        return self._calls.chain(method, wanted, commands)

    def ahead(self, ask: Callable[[], object]) -> None:
        """Let something be asked that is asked once a run, while others go on: who needs it waits for it, and asks
        again where it failed."""
        self._ahead.submit(ask)

    def in_hand(self) -> AbstractContextManager[None]:
        """Hold the rows of a batch: only so many threads may at once."""
        return self._calls.in_hand()

    def server_now(self) -> datetime:
        """The portal's clock as of its last answer (UTC)."""
        told = self._calls.portal_now()
        return self._client.server_now() if told is None else datetime.fromtimestamp(told, UTC)

    def read_seq(self) -> int:
        return self._client.read_seq()

    def end(self) -> None:
        self._client.end()

    def close(self) -> None:
        self._ahead.shutdown(cancel_futures=True)
        self._client.close()

    def tells_operating(self) -> bool:
        """Whether an answer has said so far how much server time was used."""
        return self._calls.tells_operating()

    @property
    def host(self) -> str:
        """Where the portal answers now: a renamed one has another than was configured."""
        return self._client.host

    @property
    def facts(self) -> Facts:
        """Read once a run."""
        with self._lock:
            return self._facts

    @cached_property
    def _facts(self) -> Facts:
        asked = self.batch(
            {
                "me": Command("profile"),
                "scope": Command("scope"),
                "time": Command("server.time"),
                "money": Command("crm.currency.list"),
            }
        )
        if asked["me"].error is not None:
            raise asked["me"].error
        profile = asked["me"].result
        if not isinstance(profile, dict) or not profile.get("ID"):
            raise PayloadError("{where}: this is not a portal of Bitrix24.", where=self._client.account)
        money = [as_object(row) for row in as_list(asked["money"].result)]
        base = next((row for row in money if row.get("BASE") == "Y"), {})
        return Facts(
            profile=profile,
            host=self.host,
            number=self._number(self.host),
            user_id=str(profile["ID"]),
            is_admin=profile.get("ADMIN") is True,
            scopes=frozenset(map(str, as_list(asked["scope"].result))),
            offset=offset_of(asked["time"].result),
            user_zone=profile.get("TIME_ZONE") or None,
            currency=currency_code(base.get("CURRENCY") or "RUB"),
        )


def offset_of(text: Any) -> timedelta:
    """The offset of an ISO instant; none where it is not one."""
    try:
        return datetime.fromisoformat(str(text)).utcoffset() or timedelta(0)
    except ValueError:
        return timedelta(0)


def zone_of(api: BitrixApi) -> tzinfo:
    """The zone days are reckoned in: of the settings, else of the employee where it agrees with the server, else one
    with the server's offset, which knows no summer time.

    Raises PayloadError where a person has to name it.
    """
    facts, settings = api.facts, api.settings
    if not settings.timezone:
        if (zone := portal_zone(api)) is not None:
            return zone
        raise PayloadError(
            "{where}: the clock is at {offset}, which tells no time zone; set timezone of {account} in the config.",
            where=facts.host,
            offset=timezone(facts.offset),
            account=settings.id,
        )
    try:
        return ZoneInfo(settings.timezone)
    except (ZoneInfoNotFoundError, ValueError):
        raise PayloadError(
            "{where}: unknown time zone of the account; set timezone of {account} in the config.",
            where=facts.host,
            account=settings.id,
        ) from None


def portal_zone(api: BitrixApi) -> ZoneInfo | None:
    """The zone of the portal itself; None where its clock tells none."""
    facts = api.facts
    try:
        zone = ZoneInfo(facts.user_zone or "")
    except (ZoneInfoNotFoundError, ValueError):
        zone = None
    if zone and api.server_now().astimezone(zone).utcoffset() == facts.offset:
        return zone
    if known := ZONES.get(facts.offset):
        return ZoneInfo(known)
    hours, rest = divmod(facts.offset, timedelta(hours=1))
    return None if rest else ZoneInfo(f"{NO_PLACE}{-hours:+d}")  # which counts the other way round


def told(api: BitrixApi) -> RawRecord:
    """What the portal says of itself and of us that reading depends on, put together."""
    facts, zone = api.facts, portal_zone(api)
    said = {"profile": facts.profile, "host": facts.host, "number": facts.number, "currency": facts.currency}
    return RawRecord.of(api.settings.id, PORTAL, facts.number, {**said, "zone": zone and zone.key})


PORTAL = "profile"
"""What `raw_record` calls what a portal says of itself."""


def account(api: BitrixApi, settings: BitrixSettings) -> Account:
    """Who we are. The portal does not say when it was opened."""
    facts, raw = api.facts, told(api)
    return Account(
        account_id=settings.id,
        raw_hash=raw.raw_hash,
        connector="bitrix24",
        name=facts.host,
        base_url=settings.base_url or api.base_url,
        external_id=facts.number,
        tz=str(zone_of(api)),
        base_currency=settings.currency or facts.currency,
        default_region=region_of(facts.host, settings),
    )


def region_of(host: str, settings: BitrixSettings) -> str:
    """The country of phone numbers that name none."""
    return settings.phone_country or COUNTRIES.get(host.rpartition(".")[2], NOWHERE)


def viewer(api: BitrixApi) -> str:
    """Whose rights we have: lists hold only what that employee may see, without a word about the rest. Scopes are not
    part of it: a list without its scope is refused, it does not come with fewer rows."""
    facts = api.facts
    return f"user:{facts.user_id} {'admin' if facts.is_admin else 'not admin'}"


def open_api(
    settings: BitrixSettings,
    *,
    env: Mapping[str, str],
    ordinals: Callable[[], int],
    state_dir: str,
    transport: httpx.BaseTransport | None = None,
    pace: Pace | None = None,
    clock: Callable[[], float] = time.time,
) -> BitrixApi:
    """Raises CredentialsError where a secret is missing or is none; asks the portal nothing yet."""
    auth: SourceAuth
    store = TokenStore.of(settings.id, state_dir)
    if settings.webhook_env:
        hook = webhook(settings, env)
        base_url, auth = hook.base_url, WebhookAuth(hook, variable=settings.webhook_env)
        answers = BitrixAnswers(auth, secret=hook.secret)
    else:
        base_url = str(settings.base_url)
        auth = BitrixToken(oauth_client(settings, env), store, in_header=settings.token_in == "header", clock=clock)
        answers = BitrixAnswers(auth)

    def number(host: str) -> str:
        tokens = None if settings.webhook_env else store.read()
        hosts = Path(state_dir) / f"{settings.id}.hosts.json"
        return known_as(httpx.URL(base_url).host, host, hosts, member=tokens.number if tokens else None)

    pace = pace or portal_pace(settings, base_url, state_dir)
    client = ApiClient(
        base_url,
        source="Bitrix24",
        auth=auth,
        answers=answers,
        routes=ROUTES,
        pace=pace,
        ordinals=ordinals,
        transport=transport,
    )
    calls = Batching(
        client,
        answers,
        methods=METHODS,
        pace=pace,
        budget=Budget(settings.operating_limit_s, clock=pace.clock, sleep=pace.sleep),
        commands_per_batch=settings.commands_per_batch,
    )
    return BitrixApi(client, calls, settings, base_url=base_url, number=number)
