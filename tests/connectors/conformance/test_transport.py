"""How the client behaves towards a source: section 6.2 of the amoCRM reference."""

import gzip
import logging
import re
import threading
from dataclasses import dataclass
from io import StringIO

import httpx
import orjson
import pytest
from amo_fake import (
    BLOCKED,
    CHANGED,
    FIRST,
    FROM_THE_BEGINNING,
    HOST,
    LONG_LIVED,
    NOTHING,
    FakeTime,
    amo,
    call,
    event,
    first_of,
    lead,
    of,
    page,
    problem,
    read,
)
from demo_crm import BY_CONSENT, DemoCrm, look, settings

from connectors.amocrm.api import ROUTES
from connectors.amocrm.resources import RESOURCES
from connectors.answers import redacted
from connectors.connector import Window
from connectors.errors import CredentialsError, ForbiddenError, PayloadError, RetriableError
from connectors.http import Pace
from connectors.records import Call, Deal, Notice, RawRecord, Stub, Task, User
from demo.amocrm_oauth import CLIENT_SECRET
from demo.gate import Fault

LEADS = "/api/v4/leads"
EVENTS = "/api/v4/events"
ALL = Window("changed")
WALKED = {"created", "changed_within", "changed", "whole"}
HTML_429 = httpx.Response(429, html="<h1>Too Many Requests</h1>")


def test_c12_never_more_than_the_pace_in_any_second():
    api, server = amo(
        {LEADS: [page("leads", *map(lead, range(n * 250, n * 250 + 250))) for n in range(40)] + [NOTHING]}
    )
    read(api, "leads", FROM_THE_BEGINNING)
    assert len(server.times) > 40
    assert all(later - sooner >= 1 - 1e-9 for sooner, later in zip(server.times, server.times[5:], strict=False))


def test_c13_a_429_waits_as_long_as_its_body_says_and_goes_on_at_the_same_page():
    api, server = amo(
        {LEADS: [page("leads", lead(1), has_next=True), problem(429, retry_after=7), page("leads", lead(2))]}
    )
    assert [deal.deal_id for deal in of(Deal, read(api, "leads", CHANGED))] == ["lead:1", "lead:2"]
    assert [params["page"] for params in server.asked(LEADS)] == ["1", "2", "2"]
    refused, repeated = [
        time for time, asked in zip(server.times, server.requests, strict=True) if asked.url.path == LEADS
    ][1:]
    assert repeated - refused >= 7


def test_a_429_waits_as_long_as_its_header_says_where_the_body_is_silent():
    api, server = amo({LEADS: [httpx.Response(429, headers={"Retry-After": "12"}), NOTHING]})
    read(api, "leads", CHANGED)
    assert 12 <= server.times[-1] - server.times[-2] < 13


def test_c14_a_429_in_html_is_a_429():
    api, server = amo({LEADS: [HTML_429, NOTHING]})
    assert not of(Deal, read(api, "leads", CHANGED))
    assert 10 <= server.times[-1] - server.times[-2] < 11


def test_c15_three_429s_in_a_row_stop_the_whole_account():
    api, server = amo({LEADS: HTML_429})
    with pytest.raises(RetriableError, match="rate limited"):
        read(api, "leads", CHANGED)
    assert len(server.asked(LEADS)) == 3
    with pytest.raises(RetriableError, match="rate limited"):
        read(api, "tasks", CHANGED)
    assert not server.asked("/api/v4/tasks")


def test_429s_of_requests_sent_together_count_once():
    api, _ = amo({LEADS: NOTHING})
    client = api._client
    before = client._pace.wait()
    for _ in range(5):  # five threads had sent theirs before the first 429 came
        client._pause_after(HTML_429, before)
    assert client._n_pleas == 1


def test_c16_a_403_page_stops_the_run_after_one_request():
    api, server = amo({LEADS: BLOCKED})
    read(api, "users")
    with pytest.raises(CredentialsError, match="blocked"):
        read(api, "leads", CHANGED)
    n_requests = len(server.requests)
    with pytest.raises(CredentialsError, match="blocked"):
        read(api, "tasks", CHANGED)
    assert len(server.requests) == n_requests
    assert len(server.asked(LEADS)) == 1


def test_c17_users_that_may_not_be_listed_are_known_by_numbers_and_the_rest_is_read():
    api, _ = amo({"/api/v4/users": problem(403, title="Forbidden"), LEADS: page("leads", lead(1))})
    yielded = read(api, "users")
    assert [user.user_id for user in of(User, yielded)] == ["user:0"]
    assert "no right" in of(Notice, yielded)[0].text
    stubs = {stub.record.user_id: stub.record for stub in of(Stub, read(api, "leads", CHANGED))}
    assert stubs["user:9101002"].name == "#9101002"
    assert stubs["user:9101002"].is_active


def test_a_403_in_json_fails_one_list_only():
    api, _ = amo({LEADS: problem(403, title="Forbidden"), "/api/v4/tasks": NOTHING})
    with pytest.raises(ForbiddenError):
        read(api, "leads", CHANGED)
    assert not of(Deal, read(api, "tasks", CHANGED))


def test_an_address_missing_from_the_white_list_is_named():
    api, _ = amo({LEADS: problem(403, code=113, detail="access from this IP is not allowed")})
    with pytest.raises(CredentialsError, match="white list"):
        read(api, "leads", CHANGED)


def test_c18_an_unpaid_account_stops_the_run():
    api, server = amo({LEADS: problem(402, title="Payment Required")})
    with pytest.raises(CredentialsError, match="not paid"):
        read(api, "leads", CHANGED)
    with pytest.raises(CredentialsError, match="not paid"):
        read(api, "tasks", CHANGED)
    assert len(server.asked(LEADS)) == 1


def slow_at_page_3(request: httpx.Request) -> httpx.Response:
    """900 leads; page 3 of 250 is too much for the server."""
    number, limit = int(request.url.params["page"]), int(request.url.params["limit"])
    if limit == 250 and number == 3:
        return httpx.Response(504, html="gateway time-out")
    rows = [lead(n) for n in range(900)][(number - 1) * limit : number * limit]
    return page("leads", *rows, has_next=number * limit < 900) if rows else NOTHING


def test_c19_a_504_halves_the_page_and_loses_or_doubles_nothing():
    api, server = amo({LEADS: slow_at_page_3})
    deals = of(Deal, read(api, "leads", FIRST))
    assert [deal.deal_id for deal in deals] == [f"lead:{n}" for n in range(900)]
    assert {params["limit"] for params in server.asked(LEADS)} == {"250", "125"}


def test_c20_two_500s_and_then_an_answer_is_an_answer():
    api, server = amo({EVENTS: [problem(500), problem(500), page("events", event("lead_added", 1))]})
    assert [raw.native_id for raw in of(RawRecord, read(api, "events", CHANGED))] == ["1"]
    assert len(server.asked(EVENTS)) == 3


def test_c21_a_list_that_is_always_500_fails_alone():
    api, server = amo({EVENTS: problem(500), LEADS: page("leads", lead(1))})
    with pytest.raises(RetriableError, match="status 500"):
        read(api, "events", CHANGED)
    assert len(server.asked(EVENTS)) == 4
    assert len(of(Deal, read(api, "leads", CHANGED))) == 1


@pytest.mark.parametrize(
    "broken",
    [
        httpx.RemoteProtocolError("peer closed connection without sending complete message body"),
        httpx.Response(200, content=b'{"_embedded": {"notes": [{"id": 1, '),
    ],
)
def test_c22_a_body_that_breaks_off_is_read_again_and_no_half_page_is_stored(broken):
    api, server = amo({"/api/v4/contacts/notes": [broken, page("notes", call(1), call(2))]})
    assert len(of(Call, read(api, "calls", CHANGED))) == 2
    assert len(server.asked("/api/v4/contacts/notes")) == 2


def test_a_200_without_a_body_is_no_empty_list_and_is_asked_for_again():
    api, server = amo({LEADS: [httpx.Response(200), page("leads", lead(1))]})
    assert len(of(Deal, read(api, "leads", FIRST))) == 1
    assert len(server.asked(LEADS)) == 2


@pytest.mark.parametrize("of_another", [f"{LEADS}?page=7", "/api/v4/contacts?page=1"])
def test_an_answer_that_says_it_is_to_another_request_is_asked_for_again(of_another):
    number, name = (7, "leads") if of_another.startswith(LEADS) else (1, "contacts")
    mixed_up = {"_page": number, "_links": {"self": {"href": HOST + of_another}}, "_embedded": {name: [{"id": 9}]}}
    api, server = amo({LEADS: [httpx.Response(200, json=mixed_up), page("leads", lead(1))]})
    assert [one.deal_id for one in of(Deal, read(api, "leads", FIRST))] == ["lead:1"]
    assert len(server.asked(LEADS)) == 2


def test_a_list_that_always_calls_itself_by_another_name_is_believed():
    named = {"_page": 1, "_links": {"self": {"href": f"{HOST}/api/v2/leads"}}, "_embedded": {"leads": [lead(1)]}}
    api, _ = amo({LEADS: httpx.Response(200, json=named)})
    assert len(of(Deal, read(api, "leads", FIRST))) == 1


def test_c23_a_slow_answer_is_waited_for_a_minute():
    api, _ = amo()
    timeout = api._client._http().timeout
    assert (timeout.connect, timeout.read) == (10, 60)


def dripping(time: FakeTime, *, seconds: float, encoding: str = "identity") -> httpx.Response:
    """An answer that comes by drops; compressed ones give nothing until the end."""
    body = page("leads", lead(1)).content
    body = gzip.compress(body) if encoding == "gzip" else body

    def drops():
        for part in (body[:9], body[9:-9], body[-9:]):
            time.sleep(seconds)
            yield part

    return httpx.Response(200, headers={"Content-Encoding": encoding}, content=drops())


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
@pytest.mark.parametrize(("seconds", "n_tries"), [(40, 1), (160, 4)])
def test_an_answer_that_drips_has_a_deadline(encoding, seconds, n_tries):
    api, server = amo()
    server.answers[LEADS] = [lambda _: dripping(server.time, seconds=seconds, encoding=encoding)]
    if n_tries == 1:
        assert len(of(Deal, read(api, "leads", CHANGED))) == 1
    else:
        with pytest.raises(RetriableError, match="timed out"):
            read(api, "leads", CHANGED)
    assert len(server.asked(LEADS)) == n_tries


def test_c24_hal_json_is_json():
    api, _ = amo({LEADS: page("leads", lead(1))})
    assert len(of(Deal, read(api, "leads", CHANGED))) == 1


def test_c25_a_redirect_is_not_followed():
    elsewhere = httpx.Response(302, headers={"Location": "https://www.amocrm.ru/"})
    api, server = amo({LEADS: elsewhere})
    with pytest.raises(CredentialsError, match="wrong host"):
        read(api, "leads", CHANGED)
    assert {request.url.host for request in server.requests} == {"volga.amocrm.ru"}


def test_c26_unknown_keys_are_stored_raw_and_disturb_nothing():
    api, _ = amo({LEADS: page("leads", lead(1, hologram={"a": [1]}))})
    yielded = read(api, "leads", CHANGED)
    assert len(of(Deal, yielded)) == 1
    assert b'"hologram":{"a":[1]}' in of(RawRecord, yielded)[0].body


def test_c110_only_reading_requests_are_possible():
    api, server = amo()
    for resource in RESOURCES:
        read(api, resource.name, first_of(resource))
    assert {request.method for request in server.requests} == {"GET"}
    with pytest.raises(AssertionError, match="not among the requests"):
        api.get("/api/v4/leads/1/notes/2")
    with pytest.raises(AssertionError):
        api._client._route("PATCH", LEADS)


def test_every_answer_has_an_ordinal_of_the_thread_that_read_it():
    api, _ = amo({LEADS: page("leads", lead(1))})
    seen = {}

    def read_seq(name: str) -> None:
        api.get(LEADS)
        seen[name] = api.read_seq()

    for name in ("one", "two"):
        thread = threading.Thread(target=read_seq, args=[name])
        thread.start()
        thread.join()
    assert seen["one"] < seen["two"]
    assert api.read_seq() == seen["one"]  # this thread has read nothing, and goes by what was read first


def test_the_servers_clock_is_that_of_its_last_answer():
    dated = httpx.Response(204, headers={"Date": "Tue, 01 Sep 2026 10:00:00 GMT"})
    api, _ = amo({LEADS: dated})
    read(api, "leads", CHANGED)
    assert api.server_now().isoformat() == "2026-09-01T10:00:00+00:00"


def test_no_message_and_no_log_line_holds_a_token_an_address_or_a_person(caplog):
    caplog.set_level(logging.DEBUG)
    detail = (
        "ivan@example.org +7 999 123-45-67 https://volga.amocrm.ru/x?token=1 eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9.a"
    )
    api, _ = amo({LEADS: problem(400, title="Bad Request", detail=detail), EVENTS: problem(500)})
    messages = []
    for resource in ("leads", "events"):
        with pytest.raises((PayloadError, RetriableError)) as caught:
            read(api, resource, CHANGED)
        messages.append(str(caught.value))
    written = "\n".join(messages) + caplog.text
    assert "Bad Request" in written
    for secret in ("long-lived-token", "ivan@", "999 123", "token=1", "eyJ0", "filter["):
        assert secret not in written


def test_redaction_keeps_the_words():
    assert redacted("Limit 250 per page") == "Limit 250 per page"


def test_our_own_machine_is_reached_past_any_proxy(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example.org:3128")
    loopback = LONG_LIVED.model_copy(update={"base_url": "http://127.0.0.1:8123"})
    for keys, goes_by_proxy in ((loopback, False), (LONG_LIVED.model_copy(update={"base_url": HOST}), True)):
        api, _ = amo(settings=keys)
        assert api._client._http().trust_env is goes_by_proxy


# Against the emulated amoCRM


def read_everything(api) -> list:
    return [item for resource in RESOURCES if resource.windows[0] in WALKED for item in read(api, resource.name, ALL)]


@pytest.mark.parametrize("per_second", [5, 7])
def test_c12_a_server_that_counts_refuses_nothing(small_company, per_second):
    time = FakeTime()
    crm = DemoCrm(small_company, timer=time, limiter=True)
    read_everything(crm.open(settings(page_size=10), pace=Pace(per_second, clock=time, sleep=time.sleep)))
    times = [entry["at"] for entry in crm.asked()]
    assert len(times) > 30
    assert not [entry for entry in crm.asked() if entry["status"] == 429]
    assert all(later - sooner > 1 for sooner, later in zip(times, times[per_second:], strict=False))
    assert (times[-1] - times[0]) / (len(times) - 1) < 1.03 / per_second


@pytest.mark.parametrize("retry_after", ["body", "header", "none"])
def test_c13_a_429_is_waited_out_however_it_is_said(small_company, retry_after):
    time = FakeTime()
    crm = DemoCrm(small_company, timer=time, limiter=True, retry_after=retry_after)
    expected = of(Task, read(DemoCrm(small_company).open(), "tasks", ALL))
    api = crm.open(settings(page_size=20), pace=Pace(20, clock=time, sleep=time.sleep))  # three times too fast
    assert of(Task, read(api, "tasks", ALL)) == expected
    entries = crm.asked()
    refused = [n for n, entry in enumerate(entries) if entry["status"] == 429]
    assert refused
    for n in refused:
        assert entries[n + 1]["query"] == entries[n]["query"]
        assert entries[n + 1]["at"] - entries[n]["at"] >= (10 if retry_after == "none" else 1)


def test_c15_after_a_rate_limit_the_next_run_goes_on_where_this_one_stopped(small_company, data_dir):
    crm = DemoCrm(small_company)
    crm.before = lambda request: HTML_429 if "lead_status_changed" in str(request.url) else None
    run = crm.sync(data_dir, parallel=2)
    assert "rate limited" in run.account("main").resource("events").error
    assert look(data_dir, "SELECT watermark FROM coverage WHERE resource = 'deal_stage_transition'") == [(None,)]
    n_before = len(crm.asked("/leads"))
    crm.before = lambda _: None
    assert crm.sync(data_dir).is_well
    assert len(crm.asked("/leads")) - n_before < n_before  # not from the beginning


def test_c17_c21_a_list_that_fails_leaves_the_others_whole(small_company, data_dir):
    crm = DemoCrm(small_company)

    def before(request: httpx.Request) -> httpx.Response | None:
        if request.url.path.endswith("/users"):
            return problem(403, title="Forbidden")
        return problem(500) if request.url.path.endswith("/notes") else None

    crm.before = before
    run = crm.sync(data_dir)
    states = {status.resource: status.state for status in run.account("main").resources}
    failed = {name for name, state in states.items() if state == "failed"}
    assert run.state == "failed"
    assert "calls" in failed
    assert not failed & {"users", "leads", "contacts", "tasks", "events"}
    (warning,) = run.account("main").resource("users").warnings
    assert "people are shown as numbers" in warning


def test_c22_bodies_that_break_off_leave_no_trace(small_company):
    whole, cut = DemoCrm(small_company), DemoCrm(small_company)
    expected = read(whole.open(), "calls", ALL)
    cut.server.faults.append(Fault("*/notes", nth=2, cut_after_bytes=1000, times=2))
    assert read(cut.open(), "calls", ALL) == expected


@dataclass
class WholeRun:
    """Two syncs of a day each with a consent, in which things go wrong; what was logged at DEBUG, and the status."""

    crm: DemoCrm
    log: str
    status: str
    tokens: set[str]


@pytest.fixture(scope="module")
def whole_run(small_company, tmp_path_factory) -> WholeRun:
    data_dir, keys = tmp_path_factory.mktemp("whole") / "data", settings(BY_CONSENT)
    written = StringIO()
    handler, root = logging.StreamHandler(written), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    crm, tokens = DemoCrm(small_company, limiter=False), set()
    said = {"detail": "Duplicate of +7 (916) 123-45-67, ivan@example.org", "title": "Bad Request"}
    try:
        crm.login(keys, data_dir / "state" / "main")
        for _ in range(2):
            crm.server.faults[:] = [
                Fault("*/contacts", nth=2, status=500, body=said),
                Fault("*/companies", status=400, body=said, times=0),
            ]
            crm.sync(data_dir, keys)
            tokens |= set(orjson.loads((data_dir / "state" / "main" / "main.oauth.json").read_bytes()).values())
            crm.account.now += 86_400
    finally:
        root.setLevel(level)
        root.removeHandler(handler)
    status = (data_dir / "status.json").read_text("utf-8")
    return WholeRun(crm, written.getvalue(), status, {token for token in tokens if isinstance(token, str)} - crm.hosts)


def test_c110_a_whole_run_asks_for_tokens_and_reads(whole_run):
    requests = {(entry["method"], entry["path"]) for entry in whole_run.crm.asked()}
    assert ("POST", "/oauth2/access_token") in requests
    assert {path for method, path in requests if method != "GET"} == {"/oauth2/access_token"}
    assert len(requests) > 15
    assert {route.method for route in ROUTES} == {"GET"}


def test_no_secret_and_no_person_is_in_the_log_of_a_whole_run(whole_run):
    company, written = whole_run.crm.account.company, whole_run.log + whole_run.status
    secrets = {*whole_run.tokens, CLIENT_SECRET, "demo-code"}
    called = {name for user in company.users for name in user.name.split()}
    called |= {name for one in company.contacts for name in (one.first_name, one.last_name)} - {""}
    addresses = {email for one in company.contacts for email in one.emails}
    numbers = {phone for one in company.contacts for phone in one.phones if sum(map(str.isdigit, phone)) > 6}
    assert "GET /api/v4/leads: 200" in written
    assert "Duplicate of" in written
    for found in (secrets, called, addresses, numbers):
        assert found
        assert not {one for one in found if one in written}
    assert not re.search(r"\d{10}|@|[а-яё]", whole_run.log, re.IGNORECASE)


@pytest.mark.parametrize(("refusals", "waited"), [([1200], []), ([30, 30, 30], [30, 30])])
def test_the_pause_that_ends_a_run_holds_the_next_one_too(tmp_path, refusals, waited):
    time = FakeTime()

    def paced() -> Pace:
        return Pace(1e6, tmp_path / "main.pace", clock=time, sleep=time.sleep)

    api, server = amo({LEADS: [problem(429, retry_after=seconds) for seconds in refusals]}, pace=paced())
    with pytest.raises(RetriableError, match="rate limited"):
        api.get(LEADS)
    assert [round(seconds) for seconds in time.sleeps] == waited
    later, server = amo({LEADS: page("leads", lead(1))}, pace=paced())
    if refusals == [1200]:
        with pytest.raises(RetriableError, match="20 minutes"):
            later.get(LEADS)
        assert server.asked(LEADS) == []
    else:
        later.get(LEADS)
        assert round(time.sleeps[-1]) == 30


def test_a_run_that_is_stopped_in_a_pause_ends_and_asks_nothing_more(small_company, tmp_path):
    crm, stop = DemoCrm(small_company), threading.Event()
    n_asked = []

    def refuse(request: httpx.Request) -> httpx.Response | None:
        n_asked.append(request)
        if len(n_asked) < 5:
            return None
        stop.set()
        return problem(429, retry_after=600)

    crm.before = refuse
    run = crm.sync(tmp_path, pace=Pace(1e6), stop=stop)
    assert run.state == "interrupted"
    n_then = len(n_asked)
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("main")] == []
    assert len(n_asked) == n_then
