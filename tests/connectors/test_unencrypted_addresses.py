"""Secrets are never sent unencrypted, but to our own machine, or where a person has allowed it."""

import pytest
from bitrix_portal import BY_CONSENT, settings
from pydantic import ValidationError

from connectors.amocrm.settings import AmoSettings
from connectors.bitrix24.access import webhook
from connectors.bitrix24.settings import TOKEN_URL
from connectors.errors import CredentialsError

OURS = ("http://127.0.0.1:8123", "http://localhost", "http://[::1]:8123")


def amo(base_url: str) -> AmoSettings:
    return AmoSettings(id="main", connector="amocrm", base_url=base_url, token_env="T")


def of_webhook(base_url: str, **keys: bool) -> str:
    return webhook(settings(**keys), {"BITRIX_WEBHOOK": f"{base_url}/rest/1/secret/"}).base_url


@pytest.mark.parametrize("address", ["http://volga.amocrm.ru", "HTTP://volga.amocrm.ru", "http://127.0.0.1.evil.org"])
def test_amocrm_is_not_asked_over_http(address):
    with pytest.raises(ValidationError, match="it must begin with https://"):
        amo(address)


@pytest.mark.parametrize("address", ["volga.amocrm.ru", "ftp://volga.amocrm.ru", "https://", "https://volga:port"])
def test_an_address_that_is_none_is_refused(address):
    with pytest.raises(ValidationError, match="an address such as"):
        amo(address)
    with pytest.raises(ValidationError, match="an address such as"):
        settings(BY_CONSENT, base_url=address)


def test_bitrix24_is_not_asked_over_http_without_leave():
    with pytest.raises(ValidationError, match="allow_http: true allows it"):
        settings(BY_CONSENT, base_url="http://crm.example.org")
    with pytest.raises(CredentialsError, match="set allow_http: true") as caught:
        of_webhook("http://crm.example.org")
    assert "secret/" not in str(caught.value)


def test_a_portal_on_a_server_of_ones_own_may_be_asked_over_http():
    assert settings(BY_CONSENT, base_url="http://crm.example.org", allow_http=True).base_url == "http://crm.example.org"
    assert of_webhook("http://crm.example.org", allow_http=True) == "http://crm.example.org"


@pytest.mark.parametrize("allowed", [False, True])
def test_the_vendor_is_never_asked_for_tokens_over_http(allowed):
    with pytest.raises(ValidationError, match="it must begin with https://"):
        settings(BY_CONSENT, token_url=TOKEN_URL.replace("https", "http"), allow_http=allowed)


@pytest.mark.parametrize("address", OURS)
def test_our_own_machine_may_be_asked_over_http(address):
    assert amo(address).base_url == address
    assert settings(BY_CONSENT, base_url=address, token_url=f"{address}/oauth/token/").base_url == address
    assert of_webhook(address) == address
