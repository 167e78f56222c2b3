"""What a person may say about an amoCRM or Kommo account in `config.yaml`.

What the reference text could not establish about the service is a key here, its likelier value the default.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any

import httpx
from pydantic import AfterValidator, Field, model_validator

from connectors.addresses import base_of, is_open
from connectors.connector import Settings

VENDOR_HOST = re.compile(r"[a-z0-9][a-z0-9-]*\.(amocrm\.ru|amocrm\.com|kommo\.com)")
"""Hosts accounts live on. https://www.amocrm.ru/developers/content/oauth/oauth"""


def _base_url(text: str) -> str:
    address = base_of(text)
    if address is None:
        raise ValueError("it must be an address such as https://example.amocrm.ru")
    if is_open(address):
        raise ValueError("it must begin with https://, or everybody on the way could read the token")
    return address


def is_kommo(host: str) -> bool:
    """Whether an account lives with amoCRM's international branch; its older ones are on amocrm.com."""
    return host.endswith((".kommo.com", ".amocrm.com"))


def _events_page_size(given: Mapping[str, Any]) -> int:
    """The documentation of amoCRM says 100, that of Kommo 250."""
    return 250 if is_kommo(httpx.URL(given.get("base_url", "")).host) else 100


class AmoSettings(Settings):
    """An account of `config.yaml` whose connector is `amocrm`.

    token_env: variable with a long-lived token; or, for OAuth, client_id_env, client_secret_env and redirect_uri.
    oauth_url: the consent page; the vendor's by default.
    requests_per_second: the documented ceiling is 7 per integration.
    page_size, events_page_size: rows asked for at a time; more than the service gives is an error there.
    phone_country: of numbers written without one (ISO 3166); by default the account's own.
    zero_talk_is_missed: a call of 0 seconds was not answered whatever its status says; many PBXs always say "talked".
    amount_field_id: custom field of deals that holds the amount, where the budget is not used. To be set before the
    first sync: changes of the budget that were read without it stay among past amounts.
    loss_comment_field_id: custom field of deals where people say in words why they lost.
    sku_field_id, unit_field_id: custom fields of products with the article number, where that is not the field with
    the code SKU, and with the unit they are counted in.
    dates_are_utc: custom dates are midnights in UTC, not in the account's zone.
    reread_links: read a card again after an event that linked, unlinked or tagged it: its change time may not move.
    """

    SHAPING = (
        *Settings.SHAPING,
        "phone_country",
        "zero_talk_is_missed",
        "amount_field_id",
        "loss_comment_field_id",
        "sku_field_id",
        "unit_field_id",
        "dates_are_utc",
    )
    ASKING = ("amount_field_id",)

    base_url: Annotated[str, AfterValidator(_base_url)]
    token_env: str | None = None
    client_id_env: str | None = None
    client_secret_env: str | None = None
    redirect_uri: str | None = None
    oauth_url: str | None = None
    requests_per_second: float = Field(default=5.0, gt=0)
    page_size: int = Field(default=250, ge=1, le=250)
    events_page_size: int = Field(default_factory=_events_page_size, ge=1, le=250)
    phone_country: str | None = Field(default=None, pattern="^[A-Z]{2}$")
    zero_talk_is_missed: bool = True
    amount_field_id: int | None = None
    loss_comment_field_id: int | None = None
    sku_field_id: int | None = None
    unit_field_id: int | None = None
    dates_are_utc: bool = False
    reread_links: bool = True

    @model_validator(mode="after")
    def _one_way_in(self) -> "AmoSettings":
        oauth = (self.client_id_env, self.client_secret_env, self.redirect_uri)
        if self.token_env and any(oauth):
            raise ValueError("give either token_env or the OAuth keys, not both")
        if not self.token_env and not all(oauth):
            raise ValueError("give token_env, or client_id_env, client_secret_env and redirect_uri")
        return self

    @property
    def host(self) -> str:
        return httpx.URL(self.base_url).host

    @property
    def product(self) -> str:
        return "Kommo" if is_kommo(self.host) else "amoCRM"

    @property
    def consent_page(self) -> str:
        return self.oauth_url or f"https://www.{'kommo.com' if is_kommo(self.host) else 'amocrm.ru'}/oauth"
