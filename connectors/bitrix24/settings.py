"""What a person may say about a Bitrix24 portal in `config.yaml`.

What is only seen in server code, or uncertain, is a key here; its likelier value is the default.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo, model_validator

from connectors.addresses import base_of, is_open
from connectors.connector import Settings

TOKEN_URL = "https://oauth.bitrix24.tech/oauth/token/"
"""Before 2025 it was on oauth.bitrix.info, which answers still. https://apidocs.bitrix24.ru/settings/oauth/"""
Batching = Literal["chained", "windows", "single"]


def _base_url(text: str, info: ValidationInfo) -> str:
    address = base_of(text)
    if address is None:
        raise ValueError("it must be an address such as https://example.bitrix24.ru")
    if is_open(address) and not info.data.get("allow_http"):
        raise ValueError(
            "it must begin with https://, or everybody on the way could read the secrets; allow_http: true allows it "
            "for a portal on a server of your own"
        )
    return address


def _token_url(text: str) -> str:
    if base_of(text) is None or is_open(text):
        raise ValueError("it must begin with https://, or everybody on the way could read the secrets")
    return text


class BitrixSettings(Settings):
    """An account of `config.yaml` whose connector is `bitrix24`.

    webhook_env: variable with the whole address of an incoming webhook, which is a secret; or, for OAuth, base_url,
    client_id_env, client_secret_env and redirect_uri.
    allow_http: base_url, or the webhook, may begin with http://: of a portal on the company's own server, where nobody
    but the company listens; what is sent there is not encrypted.
    token_url: where OAuth tokens are had; the vendor's by default. token_in: how a request carries one.
    requests_per_second, burst: the portal's leaky bucket; 5 and 250 in the Enterprise plan.
    operating_limit_s: server time a method may take within ten minutes; 420 on some portals.
    batching: how lists are read: pages of a batch that refer to each other (`chained`), windows of 50 ids (`windows`),
    or page by page (`single`). commands_per_batch: 50 is the most a portal takes.
    short_page_is_end: a page of fewer than 50 rows ends a list; otherwise only an empty one does.
    phone_country: of numbers written without one (ISO 3166); by default that of the portal's domain.
    loss_reason_fields: user field with the reason by kind of card, such as `deal: UF_CRM_1700000000`: a
    list, a status, or a text, which is then published as it was written.
    missed_codes: codes of calls nobody answered. calls_window_d: so many days of calls are read again by every sync,
    for a call is written down before it is over.
    smart_processes: entity types to read; all that may be seen where none are named.
    tasks_timezone: zone the portal prints times of tasks in, which is the employee's; by default as the profile says.
    sweep_every_days: daily, for no list here tells of deletions, and ids with a few columns are cheap to read.
    product_rows, comments: whether lines of products on leads and deals, and comments on cards are read, which takes a
    question for every card that was changed.
    """

    SHAPING = (*Settings.SHAPING, "phone_country", "loss_reason_fields", "missed_codes", "tasks_timezone")

    allow_http: bool = False  # before base_url, which is checked by it
    base_url: Annotated[str, AfterValidator(_base_url)] | None = None
    webhook_env: str | None = None
    client_id_env: str | None = None
    client_secret_env: str | None = None
    redirect_uri: str | None = None
    token_url: Annotated[str, AfterValidator(_token_url)] = TOKEN_URL
    token_in: Literal["body", "header"] = "body"
    requests_per_second: float = Field(default=2.0, gt=0)
    burst: int = Field(default=50, ge=1)
    operating_limit_s: float = Field(default=480.0, gt=0)
    batching: Batching = "chained"
    commands_per_batch: int = Field(default=50, ge=1, le=50)
    short_page_is_end: bool = True
    phone_country: str | None = Field(default=None, pattern="^[A-Z]{2}$")
    loss_reason_fields: dict[str, str] = Field(default_factory=dict)
    missed_codes: tuple[str, ...] = ("304", "603", "603-S", "480", "486")
    calls_window_d: int = Field(default=7, ge=0)
    smart_processes: tuple[int, ...] | None = None
    tasks_timezone: str | None = None
    sweep_every_days: int = Field(default=1, ge=0)
    product_rows: bool = True
    comments: bool = True

    @model_validator(mode="after")
    def _one_way_in(self) -> "BitrixSettings":
        oauth = (self.client_id_env, self.client_secret_env, self.redirect_uri)
        if self.webhook_env and any(oauth):
            raise ValueError("give either webhook_env or the OAuth keys, not both")
        if not self.webhook_env and not (all(oauth) and self.base_url):
            raise ValueError("give webhook_env, or base_url, client_id_env, client_secret_env and redirect_uri")
        return self
