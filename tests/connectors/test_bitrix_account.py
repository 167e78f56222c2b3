"""What a portal of Bitrix24 says of itself: the account, whose rights we have, and what the doctor finds."""

from typing import Any

import pytest
from bitrix_portal import BY_CONSENT, ENV, HOST, Portal, currency, settings
from pydantic import ValidationError

from connectors.bitrix24.access import login_url, webhook
from connectors.bitrix24.api import account, open_api, viewer
from connectors.bitrix24.doctor import WANTED, examine
from connectors.bitrix24.settings import BitrixSettings
from connectors.errors import CredentialsError, PayloadError


def findings(portal: Portal, state_dir: Any = "/nonexistent") -> dict[str, bool | None]:
    api = portal.open(state_dir=state_dir)
    return {found.code: found.is_ok for found in examine(api, api.settings, env=ENV)}


def test_a_portal_is_an_account():
    api = Portal().open()
    found = account(api, api.settings)
    assert (found.account_id, found.connector, found.base_url) == ("main", "bitrix24", HOST)
    assert (found.external_id, found.name) == ("volga.bitrix24.ru", "volga.bitrix24.ru")
    assert (found.tz, found.base_currency, found.default_region) == ("Europe/Moscow", "RUB", "RU")
    assert viewer(api).startswith("user:5 admin")


def test_a_scope_more_or_less_makes_no_other_viewer():
    assert viewer(Portal().open()) == viewer(Portal(scopes=("crm",)).open()) == "user:5 admin"


def test_the_base_currency_is_the_portals():
    portal = Portal({"currency": [currency(1, "KZT") | {"BASE": True}, currency(2, "USD")]})
    assert account(portal.open(), settings()).base_currency == "KZT"


def test_what_the_settings_say_goes_first():
    keys = settings(timezone="Asia/Omsk", currency="USD", phone_country="KZ")
    found = account(Portal().open(keys), keys)
    assert (found.tz, found.base_currency, found.default_region) == ("Asia/Omsk", "USD", "KZ")


def test_an_unknown_zone_in_the_settings_is_told():
    keys = settings(timezone="Mars/Base")
    with pytest.raises(PayloadError, match="unknown time zone"):
        account(Portal().open(keys), keys)


@pytest.mark.parametrize(
    ("server", "user", "zone"),
    [
        ("Europe/Berlin", "Europe/Berlin", "Europe/Berlin"),
        ("Europe/Moscow", "Asia/Vladivostok", "Europe/Moscow"),
        ("UTC", "Asia/Omsk", "UTC"),
        ("Asia/Almaty", "Europe/Moscow", "Etc/GMT-5"),
        ("America/Bogota", "Europe/Moscow", "Etc/GMT+5"),
    ],
)
def test_days_are_the_servers_and_named_by_the_user_where_they_agree(server, user, zone):
    api = Portal(server_zone=server, user_zone=user).open()
    assert account(api, api.settings).tz == zone


@pytest.mark.parametrize(("server", "offset"), [("Asia/Kolkata", r"UTC\+05:30"), ("America/St_Johns", "UTC-02:30")])
def test_half_an_hour_tells_no_zone(server, offset):
    api = Portal(server_zone=server, user_zone="Europe/Moscow").open()
    with pytest.raises(PayloadError, match=f"clock is at {offset}.*set timezone of main"):
        account(api, api.settings)
    keys = settings(timezone=server)
    assert account(Portal(server_zone=server, user_zone="Europe/Moscow").open(keys), keys).tz == server


def test_an_offset_without_a_zone_is_found():
    api = Portal(scopes=WANTED, server_zone="Asia/Almaty").open()
    found = next(one for one in examine(api, api.settings, env=ENV) if one.code == "zone")
    assert found.is_ok is None
    assert "UTC+05:00 without summer time: set timezone" in found.en


def test_an_application_is_told_which_events_to_bind(tmp_path):
    portal, keys = Portal(scopes=WANTED), settings(BY_CONSENT)
    portal.consent(keys, tmp_path)
    found = {one.code: one for one in examine(portal.open(keys, state_dir=tmp_path), keys, env=ENV)}
    for said in (found["deletions"].ru, found["deletions"].en):
        assert "event_type=offline" in said
        assert "onCrmDealDelete" in said
        assert "onTaskDelete" in said
        assert "sweep_every_days: 1" in said


def test_a_portal_is_swept_daily():
    assert settings().sweep_every_days == 1


def test_a_healthy_portal_has_nothing_to_complain_of():
    assert findings(Portal(scopes=WANTED)) == {"rights": True, "scopes": True, "limits": None}


def test_what_is_missing_is_found(tmp_path):
    assert findings(Portal(is_admin=False))["rights"] is False
    assert findings(Portal(scopes=("crm", "user_brief")))["scopes"] is False
    assert findings(Portal(moved_to="neva.bitrix24.ru"), tmp_path)["address"] is None


def test_missing_scopes_are_named_in_both_languages():
    api = Portal(scopes=("crm", "task", "telephony", "user_basic", "department", "im", "catalog")).open()
    found = next(one for one in examine(api, api.settings, env=ENV) if one.code == "scopes")
    for said in (found.ru, found.en):
        assert "imopenlines, userfieldconfig" in said
        assert "user_basic" not in said


@pytest.mark.parametrize(("flavour", "said"), [("cloud", "tells how much"), ("box", "tells nothing")])
def test_it_is_said_whether_the_portal_tells_of_its_limits(flavour, said):
    api = Portal(flavour=flavour).open()
    found = next(one for one in examine(api, api.settings, env=ENV) if one.code == "limits")
    assert said in found.en


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"webhook_env": "A", "client_id_env": "B"},
        {**BY_CONSENT, "base_url": None},
        {**BY_CONSENT, "redirect_uri": None},
    ],
)
def test_there_is_one_way_in(keys):
    with pytest.raises(ValidationError, match="webhook_env"):
        BitrixSettings(**{"id": "main", "connector": "bitrix24", **keys})


def test_a_secret_that_is_not_there_is_named():
    with pytest.raises(CredentialsError, match="BITRIX_WEBHOOK is empty"):
        open_api(settings(), env={}, ordinals=int, state_dir="/nonexistent")
    with pytest.raises(CredentialsError, match="nothing to log in to"):
        login_url(settings(), env=ENV)


def test_what_is_printed_of_a_webhook_is_its_host():
    assert repr(webhook(settings(), ENV)) == f"Webhook('{HOST}')"
