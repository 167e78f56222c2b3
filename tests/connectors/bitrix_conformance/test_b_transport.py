"""Transport and authorisation: cases 1 to 12 of section 10 of the Bitrix24 reference."""

import logging
import threading

import httpx
import pytest
from bitrix_portal import (
    BY_CONSENT,
    CALLS,
    ENV,
    HOST,
    NOW,
    OLD_DEALS,
    SECRET,
    Portal,
    call,
    error,
    ids,
    many,
    settings,
)

from connectors.auth import TokenStore
from connectors.bitrix24.access import login, login_url, oauth_client, webhook
from connectors.bitrix24.api import METHODS, account
from connectors.bitrix24.batching import Command
from connectors.bitrix24.paging import keyset
from connectors.errors import CredentialsError, ForbiddenError, MissingError, PayloadError, RetriableError
from connectors.http import user_agent
from demo.gate import Fault

WRITING = {"add", "update", "delete", "set", "register", "start", "bind", "unbind", "complete", "import", "send"}


def test_b01_a_webhook_tells_portal_user_and_rights_and_no_log_holds_it(caplog):
    caplog.set_level(logging.DEBUG)
    portal = Portal()
    facts = portal.open().facts
    assert (facts.number, facts.user_id, facts.is_admin) == ("volga.bitrix24.ru", "5", True)
    assert "crm" in facts.scopes
    assert "volga.bitrix24.ru batch: 200" in caplog.text
    assert SECRET not in caplog.text


def test_no_error_of_a_request_holds_the_webhook():
    portal = Portal()
    portal.before = lambda _: error(400, "ERROR_CORE", f"cannot run {HOST}/rest/1/{SECRET}/profile by {SECRET}")
    with pytest.raises(PayloadError, match="cannot run") as caught:
        portal.open().call("profile")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("status_mode", ["code", "documentation"])
def test_b02_a_refused_webhook_stops_at_once(status_mode):
    portal = Portal(status_mode=status_mode)
    api = portal.open(env={**ENV, "BITRIX_WEBHOOK": f"{HOST}/rest/1/another1secret"})
    for _ in range(2):
        with pytest.raises(CredentialsError, match="did not accept the webhook in BITRIX_WEBHOOK"):
            api.call("profile")
    assert len(portal.asked()) == 1


@pytest.mark.parametrize("status_mode", ["code", "documentation"])
def test_b03_a_missing_scope_is_named_and_concerns_its_lists_only(status_mode):
    portal = Portal({"deal": many(3), "call": [call(1)]}, scopes=("crm",), status_mode=status_mode)
    api = portal.open()
    with pytest.raises(ForbiddenError, match="the scope telephony is missing"):
        ids(keyset(api, CALLS))
    assert ids(keyset(api, OLD_DEALS)) == [1, 2, 3]


def test_b03_a_missing_scope_is_no_reason_to_refresh(tmp_path):
    portal, keys = Portal(scopes=("crm",)), settings(BY_CONSENT)
    portal.consent(keys, tmp_path)
    with pytest.raises(ForbiddenError, match="the scope telephony is missing"):
        portal.open(keys, state_dir=tmp_path).call("voximplant.statistic.get")
    assert [entry["status"] for entry in portal.asked("/voximplant.statistic.get")] == [401]
    assert len(portal.asked("/oauth/token/")) == 1


def test_b04_a_token_that_expires_on_page_3_is_refreshed_once_and_the_page_repeated(tmp_path):
    portal, keys = Portal({"deal": many(230)}), settings(BY_CONSENT, batching="single")
    portal.consent(keys, tmp_path)
    api = portal.open(keys, state_dir=tmp_path)

    def before(request: httpx.Request) -> None:
        if len(portal.asked("/crm.deal.list")) == 2:
            portal.before = lambda _: None
            portal.server.oauth.expire()

    portal.before = before
    assert ids(keyset(api, OLD_DEALS)) == list(range(1, 231))
    assert len(portal.asked("/oauth/token/")) == 2  # the consent and the refresh
    assert [entry["status"] for entry in portal.asked("/crm.deal.list")] == [200, 200, 401, 200, 200, 200]


def test_requests_for_tokens_say_who_asks():
    request = oauth_client(settings(BY_CONSENT), ENV).request(grant_type="refresh_token", refresh_token="r")
    assert request.headers["User-Agent"] == user_agent()


def test_b05_ten_calls_refused_together_refresh_once(tmp_path):
    portal, keys = Portal(), settings(BY_CONSENT)
    portal.consent(keys, tmp_path)
    api = portal.open(keys, state_dir=tmp_path)
    portal.server.oauth.expire()
    together = threading.Barrier(10)
    answers = []

    def ask() -> None:
        together.wait()
        answers.append(api.call("profile")["ID"])

    threads = [threading.Thread(target=ask) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == ["5"] * 10
    assert len(portal.asked("/oauth/token/")) == 2
    tokens = TokenStore.of(keys.id, str(tmp_path)).read()
    assert tokens.refresh_token in portal.server.oauth._refresh
    assert tokens.number
    assert api.facts.number == "volga.bitrix24.ru"


def test_b06_a_refused_refresh_asks_for_a_person_and_does_not_loop(tmp_path):
    portal, keys = Portal(), settings(BY_CONSENT)
    portal.consent(keys, tmp_path)
    api = portal.open(keys, state_dir=tmp_path)
    portal.server.oauth.revoke()
    for _ in range(2):
        with pytest.raises(CredentialsError, match=r"used up or revoked.*voronka login main"):
            api.call("profile")
    assert len(portal.asked("/oauth/token/")) == 2


def test_b07_an_error_of_the_token_end_point_is_one_whatever_its_status(tmp_path):
    keys = settings(BY_CONSENT)
    with pytest.raises(CredentialsError, match="refused our integration"):
        login(keys, "code", env={**ENV, "BITRIX_ID": "another"}, state_dir=str(tmp_path), transport=Portal())
    assert TokenStore.of(keys.id, str(tmp_path)).read() is None


def test_a_plan_without_applications_is_said_so(tmp_path):
    with pytest.raises(CredentialsError, match="plan has no REST"):
        login(settings(BY_CONSENT), "code", env=ENV, state_dir=str(tmp_path), transport=Portal(tariff="free"))


def test_b08_a_renamed_portal_is_asked_again_at_its_new_address_which_is_kept(tmp_path):
    portal = Portal({"deal": many(3)}, moved_to="neva.bitrix24.ru")
    api = portal.open(state_dir=tmp_path)
    assert ids(keyset(api, OLD_DEALS)) == [1, 2, 3]
    api.call("profile")
    assert portal.hosts == ["volga.bitrix24.ru", "neva.bitrix24.ru", "neva.bitrix24.ru"]
    first, repeated, _ = portal.asked()
    assert first["params"] == repeated["params"] != {}
    assert first["key_id"] == repeated["key_id"]
    found = account(api, api.settings)
    assert (found.name, found.external_id) == ("neva.bitrix24.ru", "volga.bitrix24.ru")


@pytest.mark.parametrize(
    "location",
    [
        "https://evil.example.org/rest/",
        "https://bitrix24.ru.evil.org/",
        "http://neva.bitrix24.ru/",
        "https://neva.bitrix24.com/",
    ],
)
def test_a_redirect_never_takes_the_secret_out_of_the_vendors_domain(location):
    portal = Portal()
    portal.before = lambda _: httpx.Response(302, headers={"Location": location})
    with pytest.raises(CredentialsError, match="not followed"):
        portal.open().call("profile")
    assert portal.hosts == ["volga.bitrix24.ru"]


def test_addresses_that_lead_in_a_circle_are_given_up():
    portal = Portal()
    other = {"volga.bitrix24.ru": "neva", "neva.bitrix24.ru": "volga"}
    portal.before = lambda asked: httpx.Response(
        302, headers={"Location": f"https://{other[asked.url.host]}.bitrix24.ru/"}
    )
    with pytest.raises(CredentialsError, match="circle"):
        portal.open().call("profile")
    assert len(portal.hosts) < 6


def test_b09_pages_of_a_gateway_are_no_data_and_are_asked_for_again():
    portal = Portal()
    portal.server.faults.append(Fault("profile", status=502, body="<h1>Bad Gateway</h1>", times=2))
    assert portal.open().call("profile")["ID"] == "5"
    assert [entry["status"] for entry in portal.asked()] == [502, 502, 200]


@pytest.mark.parametrize("body", ["<h1>Maintenance</h1>", '{"result": [{"ID": ', "{}", '{"time": {}}'])
def test_b09_a_page_with_status_200_is_not_read_as_data(body):
    portal = Portal()
    portal.before = lambda _: httpx.Response(200, text=body)
    with pytest.raises(RetriableError, match="after 4 tries"):
        portal.open().call("profile")


def test_b10_a_method_the_portal_lacks_is_told_and_the_others_go_on():
    portal = Portal({"deal": many(2)}, absent_methods=("voximplant.*",))
    api = portal.open()
    with pytest.raises(MissingError, match="not available on this portal"):
        ids(keyset(api, CALLS))
    assert ids(keyset(api, OLD_DEALS)) == [1, 2]


@pytest.mark.parametrize("status_mode", ["code", "documentation"])
def test_b11_an_overloaded_portal_is_left_alone(status_mode):
    portal = Portal(is_overloaded=True, status_mode=status_mode)
    api = portal.open()
    for _ in range(2):
        with pytest.raises(CredentialsError, match="support has lifted the block"):
            api.call("profile")
    assert len(portal.asked()) == 1


@pytest.mark.parametrize(
    ("status", "name", "kind"),
    [
        (403, "INSUFFICIENTSCOPE", ForbiddenError),
        (403, "ACCESSDENIED", ForbiddenError),
        (401, "ACCESSDENIED", CredentialsError),
        (400, "ENTITYNOTFOUND", MissingError),
        (400, "VALIDATION_REQUESTVALIDATION", PayloadError),
    ],
)
def test_b12_an_error_that_is_an_object_is_classified_too(status, name, kind):
    portal = Portal()
    code = f"BITRIX_REST_V3_EXCEPTION_{name}EXCEPTION"
    portal.before = lambda _: httpx.Response(status, json={"error": {"code": code, "message": "?"}})
    with pytest.raises(kind):
        portal.open().call("tasks.task.list")


@pytest.mark.parametrize(
    ("switches", "sentence"),
    [
        ({"tariff": "free"}, "plan has no REST"),
        ({"portal": "deleted"}, "deleted or closed"),
        ({"portal": "closed"}, "deleted or closed"),
    ],
)
def test_what_ends_an_account_is_one_sentence(switches, sentence):
    portal = Portal(**switches)
    with pytest.raises(CredentialsError, match=sentence):
        portal.open().call("profile")
    assert len(portal.asked()) == 1


def test_nothing_can_be_asked_that_writes():
    assert not {method for method in METHODS if method.rpartition(".")[2] in WRITING}
    portal = Portal()
    api = portal.open()
    with pytest.raises(AssertionError, match="not among the methods"):
        api.call("crm.deal.add")
    with pytest.raises(AssertionError, match="not among the methods"):
        api.batch({"a": Command("crm.deal.update", {"id": 1})})
    assert not portal.asked()


@pytest.mark.parametrize("written", ["https://volga.bitrix24.ru/rest/secret123456/", "token", "ftp://x/rest/1/a"])
def test_an_address_that_is_no_webhook_is_told_without_showing_it(written):
    with pytest.raises(CredentialsError, match="number of the employee") as caught:
        Portal().open(env={"BITRIX_WEBHOOK": written})
    assert "secret123456" not in str(caught.value)


@pytest.mark.parametrize("pasted", ["", "profile", "profile.json"])
def test_a_webhook_may_be_pasted_with_a_method(pasted):
    portal = Portal()
    api = portal.open(env={"BITRIX_WEBHOOK": f" https://VOLGA.bitrix24.ru/rest/1/{SECRET}/{pasted}\n"})
    assert api.call("profile")["ID"] == "5"


def test_a_secret_may_have_any_letters_of_an_address():
    hook = webhook(settings(), {"BITRIX_WEBHOOK": f"{HOST}/rest/12/demo-secret_A1/"})
    assert hook.prefix == "/rest/12/demo-secret_A1"


@pytest.mark.parametrize("token_in", ["body", "header"])
def test_a_token_is_in_no_address(tmp_path, token_in):
    portal, keys = Portal(), settings(BY_CONSENT, token_in=token_in)
    portal.consent(keys, tmp_path)
    seen = []
    portal.before = lambda request: seen.append(str(request.url))
    assert portal.open(keys, state_dir=tmp_path).call("profile")["ID"] == "5"
    assert seen == [f"{HOST}/rest/profile"]


def test_a_consent_is_for_this_portal_and_answers_our_question(tmp_path):
    keys = settings(BY_CONSENT)
    state = httpx.URL(login_url(keys, env=ENV)).params["state"]
    portal = Portal()
    for answer, sentence in (
        ("https://analytics.example.org/?error=access_denied", "declined"),
        (f"https://analytics.example.org/?code=c&domain=neva.bitrix24.ru&state={state}", "another portal"),
        ("https://analytics.example.org/?code=c&domain=volga.bitrix24.ru&state=x", "does not answer the link"),
    ):
        with pytest.raises(CredentialsError, match=sentence):
            login(keys, answer, env=ENV, state_dir=str(tmp_path), transport=portal)
    assert not portal.asked()
    code = portal.server.oauth.new_code(NOW)
    answer = f"https://analytics.example.org/?code={code}&domain=volga.bitrix24.ru&state={state}"
    login(keys, answer, env=ENV, state_dir=str(tmp_path), transport=portal, clock=portal.now)
    assert TokenStore.of(keys.id, str(tmp_path)).read().number
