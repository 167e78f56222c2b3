"""The accounts of the suite as `config.yaml` has them, by token and by consent."""

from typing import Any

import bitrix_demo
import demo_crm
from bitrix_demo import HOST
from sources import find_sources

ENV = {"amocrm": demo_crm.ENV, "bitrix24": bitrix_demo.ENV}
BY_CONSENT: dict[str, dict[str, Any]] = {
    "amocrm": {"token_env": None, **{k: v for k, v in demo_crm.BY_CONSENT.items() if k != "connector"}},
    "bitrix24": {
        "webhook_env": None,
        "base_url": HOST,
        "client_id_env": "CLIENT_ID",
        "client_secret_env": "CLIENT_SECRET",
        "redirect_uri": "https://analytics.example.org/oauth/bitrix24",
        "token_url": f"{HOST}/oauth/token/",
    },
}
BY = {"token": {name: {} for name in BY_CONSENT}, "consent": BY_CONSENT}
SECRETS = ("demo-token", "d3m0secret", "demo-secret", "demo-client-secret", "def50200", "demo-access", "demo-refresh")


def new_code(connector: str, source: Any) -> str:
    """Of a person's consent."""
    if connector == "amocrm":
        return str(source.account.oauth.new_code(source.account.now))
    return str(source.server.oauth.new_code(source.portal.now))


def entry_of(connector: str, by: str) -> dict[str, Any]:
    """An account of `config.yaml`."""
    settings = find_sources()[connector]().as_account(**BY[by][connector]).settings
    return settings.model_dump(mode="json", exclude_unset=True, exclude_none=True)


ENTRIES = {(name, by): entry_of(name, by) for name in find_sources() for by in BY}
