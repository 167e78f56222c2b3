"""Tokens: section 6.1 of the amoCRM reference."""

import base64
import errno
import os
import stat
import threading
from itertools import count, pairwise
from pathlib import Path
from typing import NoReturn
from urllib.parse import parse_qs, urlsplit

import httpx
import orjson
import pytest
from amo_fake import (
    ACCOUNT_BODY,
    BLOCKED,
    CHANGED,
    ENV,
    FROM_THE_BEGINNING,
    HOST,
    LONG_LIVED,
    NOTHING,
    OAUTH,
    SEPTEMBER_S,
    Server,
    amo,
    call,
    lead,
    of,
    page,
    problem,
    read,
)
from demo_crm import BY_CONSENT, OF_THE_FOLDER, DemoCrm, settings, tables_of

from connectors.amocrm.access import AmoToken, login, login_url, oauth_client
from connectors.amocrm.api import open_api
from connectors.auth import PAIR_BYTES, Tokens, TokenStore, expiry
from connectors.errors import ConnectorError, CredentialsError, RetriableError
from connectors.http import user_agent
from connectors.records import Call, Deal
from warehouse.status import read_status

LEADS = "/api/v4/leads"
TOKEN_URL = "/oauth2/access_token"
REVOKED = problem(401, hint="Token has been revoked", title="Некорректный запрос")


def pair(number: int, **changes: object) -> httpx.Response:
    body = {"token_type": "Bearer", "expires_in": 86400, "access_token": f"a{number}", "refresh_token": f"r{number}"}
    return httpx.Response(200, json={**body, **changes})


def stored(tmp_path, *, lasts_s: float = 3600) -> None:
    TokenStore.of(OAUTH.id, str(tmp_path)).write(Tokens("a0", "r0", SEPTEMBER_S + lasts_s, "volga.amocrm.ru"))


def only_for(token: str, answer: httpx.Response):
    """`answer` for whoever brings `token`, 401 for others."""
    return lambda request: answer if request.headers["Authorization"] == f"Bearer {token}" else problem(401)


def refreshes(server: Server) -> list[dict]:
    return [orjson.loads(request.content) for request in server.requests if request.url.path == TOKEN_URL]


def test_c01_a_code_is_exchanged_and_stored_before_anything_else(tmp_path):
    server = Server({TOKEN_URL: [pair(1)]})
    login(OAUTH, "def502", env=ENV, state_dir=str(tmp_path), transport=httpx.MockTransport(server))
    assert [request.url.path for request in server.requests] == [TOKEN_URL]
    assert refreshes(server)[0]["redirect_uri"] == OAUTH.redirect_uri
    tokens = TokenStore.of(OAUTH.id, str(tmp_path)).read()
    assert (tokens.access_token, tokens.refresh_token, tokens.host) == ("a1", "r1", "volga.amocrm.ru")


def test_tokens_are_readable_by_their_owner_only(tmp_path):
    stored(tmp_path)
    assert [stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()] == [0o600]


def test_c02_a_token_about_to_end_is_refreshed_once_before_work(tmp_path):
    stored(tmp_path, lasts_s=30)
    api, server = amo({TOKEN_URL: pair(1), LEADS: page("leads", lead(1))}, settings=OAUTH, state_dir=tmp_path)
    assert len(of(Deal, read(api, "leads", CHANGED))) == 1
    assert [body["refresh_token"] for body in refreshes(server)] == ["r0"]
    assert server.requests[0].url.path == TOKEN_URL


def test_c03_a_401_with_a_token_still_good_is_refreshed_and_repeated_once(tmp_path):
    stored(tmp_path)
    answers = {TOKEN_URL: pair(1), LEADS: only_for("a1", page("leads", lead(1)))}
    api, server = amo(answers, settings=OAUTH, state_dir=tmp_path)
    assert len(of(Deal, read(api, "leads", CHANGED))) == 1
    assert len(refreshes(server)) == 1
    assert len(server.asked(LEADS)) == 2


def test_c04_a_401_after_a_refresh_ends_the_run(tmp_path):
    stored(tmp_path)
    api, server = amo({TOKEN_URL: pair(1), LEADS: problem(401)}, settings=OAUTH, state_dir=tmp_path)
    for _ in range(2):
        with pytest.raises(CredentialsError, match="voronka login main"):
            read(api, "leads", CHANGED)
    assert (len(refreshes(server)), len(server.asked(LEADS))) == (1, 2)


def test_c05_a_revoked_refresh_token_asks_for_a_person(tmp_path):
    stored(tmp_path, lasts_s=0)
    api, server = amo({TOKEN_URL: REVOKED}, settings=OAUTH, state_dir=tmp_path)
    with pytest.raises(CredentialsError, match=r"revoked.*voronka login main") as caught:
        read(api, "leads", CHANGED)
    assert "r0" not in str(caught.value)
    assert len(refreshes(server)) == 1


def test_another_process_that_refreshed_first_is_believed(tmp_path):
    stored(tmp_path)
    api, server = amo({LEADS: only_for("a7", page("leads", lead(1)))}, settings=OAUTH, state_dir=tmp_path)
    read(api, "account")
    TokenStore.of(OAUTH.id, str(tmp_path)).write(Tokens("a7", "r7", SEPTEMBER_S + 3600, "volga.amocrm.ru"))
    assert len(of(Deal, read(api, "leads", CHANGED))) == 1
    assert not refreshes(server)


def test_c06_ten_parallel_requests_with_an_ended_token_refresh_once(tmp_path):
    stored(tmp_path)
    api, server = amo({TOKEN_URL: pair(1), LEADS: only_for("a1", NOTHING)}, settings=OAUTH, state_dir=tmp_path)
    start, failures = threading.Barrier(10), []

    def ask() -> None:
        start.wait()
        try:
            api.get(LEADS)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=ask) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(refreshes(server)) == 1


def test_c07_a_refused_long_lived_token_names_its_variable_and_where_to_make_one():
    api, server = amo({LEADS: problem(401, title="Unauthorized")})
    with pytest.raises(CredentialsError, match=r"AMO_TOKEN.*amoМаркет") as caught:
        read(api, "leads", CHANGED)
    assert "long-lived-token" not in str(caught.value)
    assert not refreshes(server)
    assert len(server.asked(LEADS)) == 1


def test_an_empty_variable_is_told_before_anything_is_sent():
    with pytest.raises(CredentialsError, match=r"AMO_TOKEN is empty.*amoМаркет"):
        open_api(LONG_LIVED, env={"AMO_TOKEN": " "}, ordinals=lambda: 1, state_dir="")


def test_c08_a_token_end_point_that_blocks_is_not_asked_again(tmp_path):
    stored(tmp_path, lasts_s=0)
    api, server = amo({TOKEN_URL: BLOCKED}, settings=OAUTH, state_dir=tmp_path)
    for _ in range(2):
        with pytest.raises(CredentialsError, match="blocked"):
            read(api, "leads", CHANGED)
    assert len(server.requests) == 1


def test_a_refused_integration_names_what_to_check(tmp_path):
    stored(tmp_path, lasts_s=0)
    refused = problem(401, title="Некорректный клиент", detail="Авторизация клиента не прошла")
    api, _ = amo({TOKEN_URL: refused}, settings=OAUTH, state_dir=tmp_path)
    with pytest.raises(CredentialsError, match="id, secret and redirect address") as caught:
        read(api, "leads", CHANGED)
    assert "client-secret" not in str(caught.value)


def test_a_lost_refresh_answer_is_asked_for_again_with_what_is_stored(tmp_path):
    stored(tmp_path, lasts_s=0)
    lost = httpx.ReadError("reset")
    api, server = amo({TOKEN_URL: [lost, REVOKED]}, settings=OAUTH, state_dir=tmp_path)
    with pytest.raises(CredentialsError, match="voronka login main"):
        read(api, "leads", CHANGED)
    assert len(refreshes(server)) == 2


def test_a_token_end_point_that_fails_is_worth_another_run(tmp_path):
    stored(tmp_path, lasts_s=0)
    api, _ = amo({TOKEN_URL: problem(500)}, settings=OAUTH, state_dir=tmp_path)
    with pytest.raises(RetriableError):
        read(api, "leads", CHANGED)


def test_the_new_pair_is_stored_before_its_first_use(tmp_path):
    stored(tmp_path, lasts_s=0)
    seen = []

    def account(request: httpx.Request) -> httpx.Response:
        seen.append(TokenStore.of(OAUTH.id, str(tmp_path)).read().access_token)
        return NOTHING

    api, _ = amo({TOKEN_URL: pair(1), LEADS: account}, settings=OAUTH, state_dir=tmp_path)
    read(api, "leads", FROM_THE_BEGINNING)
    assert seen == ["a1"]


def full_disk(monkeypatch: pytest.MonkeyPatch, *, from_write: int) -> None:
    """Nothing reaches the disk any more from that write on."""
    written, real = count(1), os.fsync

    def fsync(handle: int) -> None:
        if next(written) >= from_write:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)


def test_room_for_the_new_pair_is_on_the_disk_before_the_old_one_is_spent(tmp_path):
    stored(tmp_path, lasts_s=0)
    sizes = []

    def refresh(request: httpx.Request) -> httpx.Response:
        sizes.extend(file.stat().st_size for file in tmp_path.glob(".main.oauth.json*"))
        return pair(1)

    api, _ = amo({TOKEN_URL: refresh, LEADS: NOTHING}, settings=OAUTH, state_dir=tmp_path)
    api.get(LEADS)
    assert sizes == [PAIR_BYTES]
    assert TokenStore.of(OAUTH.id, str(tmp_path)).read().access_token == "a1"
    assert not list(tmp_path.glob(".main.oauth.json*"))


def test_a_full_disk_spends_no_refresh_token(tmp_path, monkeypatch):
    stored(tmp_path, lasts_s=0)
    api, server = amo({TOKEN_URL: pair(1)}, settings=OAUTH, state_dir=tmp_path)
    full_disk(monkeypatch, from_write=1)
    with pytest.raises(RetriableError, match=r"main.*Free some space"):
        api.get(LEADS)
    assert not refreshes(server)
    assert TokenStore.of(OAUTH.id, str(tmp_path)).read().refresh_token == "r0"


def test_a_pair_that_cannot_be_written_serves_this_run(tmp_path, monkeypatch, caplog):
    stored(tmp_path, lasts_s=0)
    answers = {TOKEN_URL: [pair(1, expires_in=30), pair(2)], LEADS: NOTHING}
    api, server = amo(answers, settings=OAUTH, state_dir=tmp_path)
    full_disk(monkeypatch, from_write=2)
    api.get(LEADS)
    assert "voronka login main" in caplog.text
    monkeypatch.undo()
    api.get(LEADS)
    assert [body["refresh_token"] for body in refreshes(server)] == ["r0", "r1"]
    assert TokenStore.of(OAUTH.id, str(tmp_path)).read().access_token == "a2"


@pytest.mark.parametrize("referer", ["evil.example.org", "other.amocrm.ru", "volga.amocrm.ru.evil.org"])
def test_c09_a_redirect_from_another_account_sends_nothing(tmp_path, referer):
    server = Server({})
    answer = f"https://analytics.example.org/oauth/amo?code=c&state=s&referer={referer}"
    with pytest.raises(CredentialsError, match="Nothing was sent"):
        login(OAUTH, answer, env=ENV, state_dir=str(tmp_path), transport=httpx.MockTransport(server))
    assert not server.requests
    assert not list(tmp_path.iterdir())


def test_a_redirect_address_of_our_account_gives_its_code(tmp_path):
    server = Server({TOKEN_URL: [pair(1)]})
    (state,) = parse_qs(urlsplit(login_url(OAUTH, env=ENV)).query)["state"]
    answer = f"https://analytics.example.org/oauth/amo?code=c1&state={state}&referer=volga.amocrm.ru"
    login(OAUTH, answer, env=ENV, state_dir=str(tmp_path), transport=httpx.MockTransport(server))
    assert refreshes(server)[0]["code"] == "c1"


@pytest.mark.parametrize("state", ["", "&state=", "&state=somebody-elses", "&state=%D1%8F"])
def test_an_answer_to_somebody_elses_request_sends_nothing(tmp_path, state):
    server = Server({TOKEN_URL: [pair(1)]})
    answer = f"https://analytics.example.org/oauth/amo?code=c1&referer=volga.amocrm.ru{state}"
    with pytest.raises(CredentialsError, match=r"does not answer the link.*Nothing was sent"):
        login(OAUTH, answer, env=ENV, state_dir=str(tmp_path), transport=httpx.MockTransport(server))
    assert not server.requests
    assert not list(tmp_path.iterdir())


def test_a_declined_consent_is_told():
    with pytest.raises(CredentialsError, match="declined"):
        login(OAUTH, "https://analytics.example.org/oauth/amo?error=access_denied", env=ENV, state_dir="")


def test_the_consent_page_is_asked_for_our_integration():
    url = urlsplit(login_url(OAUTH, env=ENV))
    assert (url.netloc, url.path) == ("www.amocrm.ru", "/oauth")
    assert parse_qs(url.query)["client_id"] == ["client-id"]
    assert "client-secret" not in url.query


def test_c10_an_unreadable_token_lives_as_long_as_its_answer_says(tmp_path):
    server = Server({TOKEN_URL: [pair(1, access_token="not.a-jwt", expires_in=100)]})
    login(OAUTH, "def502", env=ENV, state_dir=str(tmp_path), transport=httpx.MockTransport(server))
    assert expiry("not.a-jwt") is None
    assert TokenStore.of(OAUTH.id, str(tmp_path)).read().expires_at > 0


def test_the_end_of_a_token_is_read_from_it():
    claims = base64.urlsafe_b64encode(orjson.dumps({"exp": 1788220800})).decode().rstrip("=")
    assert expiry(f"x.{claims}.y") == 1788220800


def test_an_account_never_authorised_is_told_so(tmp_path):
    api, server = amo(settings=OAUTH, state_dir=tmp_path)
    with pytest.raises(CredentialsError, match="voronka login main"):
        read(api, "leads", CHANGED)
    assert not server.requests


def test_tokens_do_not_show_in_a_traceback():
    assert "a0" not in repr(Tokens("a0", "r0", 0, "volga.amocrm.ru"))


def together(ask, n: int = 10) -> list[Exception]:
    """What `n` threads that ask at once come to grief of."""
    start, failures = threading.Barrier(n), []

    def asking() -> None:
        start.wait()
        try:
            ask()
        except ConnectorError as error:
            failures.append(error)

    threads = [threading.Thread(target=asking) for _ in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failures


def test_a_refused_refresh_is_final_for_all_threads(tmp_path):
    stored(tmp_path, lasts_s=0)
    api, server = amo({TOKEN_URL: REVOKED}, settings=OAUTH, state_dir=tmp_path)
    failures = together(lambda: api.get(LEADS))
    assert {type(failure) for failure in failures} == {CredentialsError}
    assert (len(failures), len(refreshes(server))) == (10, 1)


def test_a_fresh_token_that_is_refused_is_not_refreshed_again_by_other_threads(tmp_path):
    stored(tmp_path)
    auth = AmoToken(oauth_client(OAUTH, ENV), TokenStore.of(OAUTH.id, str(tmp_path)), clock=lambda: SEPTEMBER_S)
    one, other = (auth.sync_auth_flow(httpx.Request("GET", f"{HOST}{LEADS}")) for _ in range(2))
    next(one)
    assert one.send(problem(401)).url.path == TOKEN_URL
    assert one.send(pair(1)).headers["Authorization"] == "Bearer a1"
    assert next(other).headers["Authorization"] == "Bearer a1"
    assert other.send(problem(401)).url.path == LEADS
    with pytest.raises(StopIteration):
        other.send(problem(401))


def test_a_rate_limit_at_the_token_end_point_pauses_the_account(tmp_path):
    stored(tmp_path, lasts_s=0)
    limited = problem(429, retry_after=7)
    answers = {TOKEN_URL: [limited, pair(1)], LEADS: page("leads", lead(1))}
    api, server = amo(answers, settings=OAUTH, state_dir=tmp_path)
    assert api.get(LEADS) is not None
    assert server.times[1] - server.times[0] >= 7
    assert len(refreshes(server)) == 2


def test_requests_for_tokens_take_their_turn_too(tmp_path):
    stored(tmp_path, lasts_s=0)
    api, server = amo({TOKEN_URL: pair(1), LEADS: page("leads", lead(1))}, settings=OAUTH, state_dir=tmp_path)
    api.get(LEADS)
    assert [later - sooner >= 0.2 for sooner, later in pairwise(server.times)] == [True]


HERE = "https://api-b.amocrm.ru/oauth2/account/current/subdomain"


def moving(tmp_path, *, directory="api-b.amocrm.ru", refusal=REVOKED, told=None):
    """An account whose refresh is refused, and what the vendor's directory says of it."""
    claims = base64.urlsafe_b64encode(orjson.dumps({"api_domain": directory})).decode().rstrip("=")
    TokenStore.of(OAUTH.id, str(tmp_path)).write(Tokens(f"x.{claims}.y", "r0", SEPTEMBER_S, "volga.amocrm.ru"))
    found = told if told is not None else httpx.Response(200, json={"domain": "volga-new.amocrm.ru"})
    answers = {TOKEN_URL: refusal, "/oauth2/account/current/subdomain": found}
    return amo(answers, settings=OAUTH, state_dir=tmp_path)


@pytest.mark.parametrize("refusal", [REVOKED, problem(404), httpx.Response(302, headers={"Location": HERE})])
def test_an_account_that_moved_is_told_and_its_authorisation_stays_good(tmp_path, refusal):
    api, server = moving(tmp_path, refusal=refusal)
    with pytest.raises(CredentialsError, match=r"moved to volga-new\.amocrm\.ru\. Set base_url of main"):
        api.get(LEADS)
    assert [str(request.url) for request in server.requests][1:] == [HERE]
    assert server.requests[1].headers["X-Refresh-Token"] == "r0"
    assert "Authorization" not in server.requests[1].headers
    assert TokenStore.of(OAUTH.id, str(tmp_path)).read().refresh_token == "r0"
    with pytest.raises(CredentialsError, match="moved to"):
        api.get(LEADS)
    assert len(server.requests) == 2


def test_requests_for_tokens_and_for_a_moved_account_say_who_asks(tmp_path):
    api, server = moving(tmp_path)
    with pytest.raises(CredentialsError, match="moved to"):
        api.get(LEADS)
    consent = Server({TOKEN_URL: [pair(1)]})
    login(OAUTH, "def502", env=ENV, state_dir=str(tmp_path), transport=httpx.MockTransport(consent))
    said = [request.headers.get("User-Agent") for request in server.requests + consent.requests]
    assert said == [user_agent()] * 3


@pytest.mark.parametrize("directory", ["evil.example.org", "api-b.amocrm.ru.evil.org", "api-b.amocrm.ru:8443", None])
def test_a_directory_that_is_not_the_vendors_gets_no_token(tmp_path, directory):
    api, server = moving(tmp_path, directory=directory)
    with pytest.raises(CredentialsError, match="voronka login main"):
        api.get(LEADS)
    assert {request.url.host for request in server.requests} == {"volga.amocrm.ru"}


@pytest.mark.parametrize(
    "told",
    [
        httpx.Response(200, json={"domain": "volga.amocrm.ru"}),
        httpx.Response(200, json={"domain": "evil.example.org"}),
        httpx.Response(200, json=[]),
        BLOCKED,
        problem(401),
        httpx.ConnectError("no route"),
    ],
)
def test_a_refusal_stays_one_where_the_account_has_not_moved(tmp_path, told):
    api, server = moving(tmp_path, told=told)
    with pytest.raises(CredentialsError, match="voronka login main"):
        api.get(LEADS)
    assert len(refreshes(server)) == 1


@pytest.mark.parametrize("jwt_claims", ["full", "minimal", "opaque"])
def test_c10_a_token_says_what_it_likes_about_itself(small_company, tmp_path, jwt_claims):
    crm = DemoCrm(small_company, jwt_claims=jwt_claims)
    keys = settings(BY_CONSENT)
    crm.login(keys, tmp_path)
    assert read(crm.open(keys, state_dir=tmp_path), "pipelines")
    crm.account.now += 86_400 - 30  # by `expires_in`, which all answers have
    assert read(crm.open(keys, state_dir=tmp_path), "pipelines")
    assert len(crm.asked("/access_token")) == 2


def test_c05_a_lost_authorisation_is_one_clear_state_of_the_account(small_company, data_dir):
    crm = DemoCrm(small_company)
    keys = settings(BY_CONSENT)
    state_dir = data_dir / "state" / "main"
    crm.login(keys, state_dir)
    lost = crm.open(keys, state_dir=state_dir)
    crm.account.now += 86_400
    crm.before = swallowing_the_answer(crm)
    with pytest.raises(CredentialsError, match="voronka login main"):  # our second question shows that it was spent
        read(lost, "pipelines")
    crm.before = lambda _: None
    for _ in range(2):
        n_before = len(crm.asked())
        run = crm.sync(data_dir, keys)
        assert run.account("main").error == f"{SPENT} Authorise it again: voronka login main"
        assert [entry["path"] for entry in crm.asked()[n_before:]] == [TOKEN_URL]
    status = read_status(data_dir)["accounts"][0]
    assert (status["state"], status["error"]["text"]) == ("failed", run.account("main").error)


SPENT = "testserver says the stored authorisation was used up or revoked."


def swallowing_the_answer(crm: DemoCrm):
    """The first request for tokens is carried out, but its answer never comes."""
    n_lost = 0

    def before(request: httpx.Request) -> httpx.Response | None:
        nonlocal n_lost
        if request.url.path == TOKEN_URL and not n_lost:
            n_lost += 1
            crm.account.oauth.exchange(orjson.loads(request.content), crm.account.now)
            raise httpx.ReadError("reset")
        return None

    return before


def test_c11_an_account_on_kommo_gives_the_same_tables(small_company, data_dir, tmp_path):
    theirs, ours = DemoCrm(small_company), DemoCrm(small_company, domain="kommo.com", events_max_limit=250)
    expected = data_dir.parent / "amocrm"
    assert theirs.sync(expected, settings(base_url="https://volga.amocrm.ru")).is_well
    assert ours.sync(data_dir, settings(base_url="https://volga.kommo.com")).is_well
    of_the_host = ("raw_hash", "base_url", *OF_THE_FOLDER)  # raw objects have links to themselves
    assert tables_of(data_dir, without=of_the_host) == tables_of(expected, without=of_the_host)
    assert ours.hosts == {"volga.kommo.com"}
    limits = [{parse_qs(entry["query"])["limit"][0] for entry in crm.asked("/events")} for crm in (theirs, ours)]
    assert limits == [{"100"}, {"250"}]


def test_c11_on_kommo_numbers_are_of_the_accounts_country(tmp_path):
    body = {**ACCOUNT_BODY, "country": None}
    numbers = [call(1, phone="8 916 123-45-67"), call(2, phone="+1 650 253 0000")]
    found = {}
    for host in ("volga.amocrm.ru", "volga.kommo.com"):
        keys = LONG_LIVED.model_copy(update={"base_url": f"https://{host}"})
        api, _ = amo({"/api/v4/contacts/notes": page("notes", *numbers)}, settings=keys, account_body=body)
        found[host] = [one.phone_e164 for one in of(Call, read(api, "calls", CHANGED))]
    assert found == {"volga.amocrm.ru": ["+79161234567", "+16502530000"], "volga.kommo.com": [None, "+16502530000"]}


def test_tokens_of_another_user_of_the_machine_are_said_to_be_so(tmp_path, monkeypatch):
    store = TokenStore.of("main", str(tmp_path))

    def closed(*_: object, **__: object) -> NoReturn:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", closed)
    monkeypatch.setattr(os, "open", closed)
    with pytest.raises(CredentialsError, match="belongs to another user"):
        store.read()
    with pytest.raises(CredentialsError, match="belongs to another user"), store.locked():
        pass
