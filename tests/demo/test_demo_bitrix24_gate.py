"""What stands before the methods of the emulated Bitrix24: who may, how often, how long (`bitrix24.md`, 1 and 2)."""

import pytest
from small_portal import NOW, Bitrix, contact, deal, ids

from demo.bitrix24_oauth import ACCESS_S, CLIENT_ID, CLIENT_SECRET, CODE_S


@pytest.fixture
def bitrix():
    return Bitrix()


def token(bitrix, **form):
    known = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
    return bitrix.http.get("/oauth/token/", params={**known, **form})


def code(bitrix):
    return bitrix.http.post("/_emu/oauth/code").json()["code"]


def login(bitrix):
    answer = token(bitrix, grant_type="authorization_code", code=code(bitrix))
    assert answer.status_code == 200
    return answer.json()


# the webhook


def test_a_webhook_reads_with_its_user_and_secret_in_the_path(bitrix):
    assert bitrix.http.get("/rest/1/demo-secret/profile").status_code == 200
    assert bitrix.http.get("/rest/1/demo-secret/profile.json").json()["result"]["ID"] == "5"


@pytest.mark.parametrize(("mode", "status"), [("code", 401), ("documentation", 403)])
def test_a_wrong_secret_is_refused_with_a_status_one_may_doubt(bitrix, mode, status):
    bitrix.switch(status_mode=mode)
    for path in ("/rest/1/wrong", "/rest/2/demo-secret"):
        assert bitrix.error("profile", path=path) == (status, "INVALID_CREDENTIALS")


def test_without_the_user_s_number_the_secret_is_taken_for_a_method(bitrix):
    assert bitrix.error("profile", path="/rest/demo-secret") == (401, "NO_AUTH_FOUND")


def test_names_of_methods_have_no_case(bitrix):
    assert len(bitrix.result("CRM.Deal.List")) == 50


def test_unknown_methods_and_absent_modules_are_the_same(bitrix):
    assert bitrix.error("crm.nothing.list") == (404, "ERROR_METHOD_NOT_FOUND")
    bitrix.switch(absent_methods=("voximplant.*",))
    assert bitrix.error("voximplant.statistic.get") == (404, "ERROR_METHOD_NOT_FOUND")
    assert bitrix.result("method.get", name="voximplant.statistic.get") == {"isExisting": False, "isAvailable": False}


@pytest.mark.parametrize(("mode", "status"), [("code", 401), ("documentation", 403)])
def test_a_missing_scope_is_named_and_the_rest_goes_on(bitrix, mode, status):
    bitrix.switch(scopes=("crm",), status_mode=mode)
    assert bitrix.error("voximplant.statistic.get") == (status, "insufficient_scope")
    assert bitrix.result("scope") == ["crm"]
    assert bitrix.result("method.get", name="user.get") == {"isExisting": True, "isAvailable": False}
    assert bitrix.call("crm.deal.list")["total"] == 120


def test_methods_of_applications_are_denied_to_a_webhook(bitrix):
    assert bitrix.error("event.offline.get") == (403, "WRONG_AUTH_TYPE")


def test_rights_are_refused_with_an_empty_code_or_make_rows_vanish(bitrix):
    bitrix.switch(denied_methods=("crm.lead.list", "crm.item.list"))
    assert bitrix.error("crm.lead.list") == (400, "")
    assert bitrix.error("crm.item.list", entityTypeId=2) == (403, "ACCESS_DENIED")
    lost = Bitrix({"deal": [deal(1), deal(2, CATEGORY_ID=3)]}, hidden_categories=(3,))
    assert ids(lost.result("crm.deal.list")) == [1]
    assert lost.error("crm.item.get", entityTypeId=2, id=2) == (400, "NOT_FOUND")
    assert lost.call("crm.item.list", entityTypeId=2)["total"] == 1


def test_calls_are_narrowed_to_one_s_own_or_denied(bitrix):
    bitrix.switch(telephony_rights="own")
    assert bitrix.call("voximplant.statistic.get", FILTER={"PORTAL_USER_ID": 99})["total"] == 120
    bitrix.switch(telephony_rights="none")
    assert bitrix.error("voximplant.statistic.get") == (403, "ACCESS_DENIED")


def test_types_of_smart_processes_are_for_administrators(bitrix):
    bitrix.switch(is_admin=False)
    assert bitrix.error("crm.type.list") == (400, "ACCESS_DENIED")


def test_gone_rows_and_types_are_told_differently_by_each_generation(bitrix):
    answer = bitrix.ask("crm.deal.get", id=9999)
    assert (answer.status_code, answer.json()) == (400, {"error": "", "error_description": "Not found"})
    assert bitrix.ask("crm.deal.get").json()["error_description"] == "ID is not defined or invalid."
    assert bitrix.error("crm.item.get", entityTypeId=2, id=9999) == (400, "NOT_FOUND")
    assert bitrix.error("crm.item.list", entityTypeId=999) == (400, "NOT_FOUND")
    assert bitrix.error("crm.item.list", entityTypeId=5) == (400, "ENTITY_TYPE_NOT_SUPPORTED")
    assert bitrix.error("crm.category.list", entityTypeId=1) == (400, "ENTITY_TYPE_NOT_SUPPORTED")


@pytest.mark.parametrize(
    ("switches", "expected"),
    [
        ({"tariff": "free"}, (401, "ACCESS_DENIED")),
        ({"portal": "deleted"}, (403, "PORTAL_DELETED")),
        ({"portal": "deleted", "status_mode": "documentation"}, (500, "PORTAL_DELETED")),
        ({"is_overloaded": True}, (401, "OVERLOAD_LIMIT")),
        ({"is_overloaded": True, "status_mode": "documentation"}, (503, "OVERLOAD_LIMIT")),
    ],
)
def test_a_portal_can_be_closed_to_all(bitrix, switches, expected):
    bitrix.switch(**switches)
    assert bitrix.error("profile") == expected


def test_a_renamed_portal_sends_elsewhere(bitrix):
    bitrix.switch(moved_to="new.bitrix24.ru")
    answer = bitrix.ask("crm.deal.list", start=50)
    assert (answer.status_code, answer.headers["location"]) == (
        302,
        "http://new.bitrix24.ru/rest/1/demo-secret/crm.deal.list",
    )
    there = bitrix.http.post("http://new.bitrix24.ru/rest/1/demo-secret/profile")
    assert there.status_code == 200


# requests


def test_query_and_body_are_one_and_the_body_wins(bitrix):
    url = "/rest/1/demo-secret/crm.deal.list?order[ID]=ASC&start=100"
    assert ids(bitrix.http.get(url).json()["result"])[0] == 201
    assert ids(bitrix.http.post(url, json={"start": 50}).json()["result"])[0] == 151


def test_a_form_is_read_in_php_s_way(bitrix):
    form = {"filter[>ID]": "150", "order[ID]": "ASC", "select[]": "ID"}
    answer = bitrix.http.post("/rest/1/demo-secret/crm.deal.list", data=form)
    assert answer.json()["result"][0] == {"ID": "151"}
    multipart = bitrix.http.post("/rest/1/demo-secret/crm.deal.list", data=form, files={"x": b""})
    assert multipart.json()["result"][0] == {"ID": "151"}


def test_a_body_that_is_no_json_is_dropped(bitrix):
    answer = bitrix.http.post(
        "/rest/1/demo-secret/crm.deal.list", content=b"{oops", headers={"content-type": "application/json"}
    )
    assert answer.json()["total"] == 120


def test_a_get_has_no_body(bitrix):
    answer = bitrix.http.request("GET", "/rest/1/demo-secret/crm.duplicate.findbycomm", json={"type": "PHONE"})
    assert answer.json()["error_description"] == "Communication type is not defined."


# OAuth


def test_a_code_is_good_once_and_for_half_a_minute(bitrix):
    one = code(bitrix)
    first = token(bitrix, grant_type="authorization_code", code=one).json()
    assert (first["expires_in"], first["client_endpoint"]) == (3600, "http://testserver/rest/")
    assert not {"expires", "user_id"} & first.keys()
    assert token(bitrix, grant_type="authorization_code", code=one).json()["error"] == "invalid_grant"
    late = code(bitrix)
    bitrix.http.post("/_emu/clock", json={"advance": CODE_S + 1})
    assert token(bitrix, grant_type="authorization_code", code=late).status_code == 400


def test_a_token_opens_the_api_wherever_it_is_sent(bitrix):
    access = login(bitrix)["access_token"]
    for answer in (
        bitrix.http.get("/rest/profile", params={"auth": access}),
        bitrix.http.post("/rest/profile", json={"auth": access}),
        bitrix.http.post("/rest/profile", data={"access_token": access}),
        bitrix.http.post("/rest/profile", headers={"Authorization": f"Bearer {access}"}),
    ):
        assert answer.json()["result"]["ID"] == "5"


def test_a_token_expires_after_an_hour_and_an_unknown_one_is_invalid(bitrix):
    access = login(bitrix)["access_token"]
    bitrix.http.post("/_emu/clock", json={"advance": ACCESS_S})
    answer = bitrix.http.post("/rest/profile", json={"auth": access})
    assert (answer.status_code, answer.json()["error"]) == (401, "expired_token")
    assert bitrix.http.post("/rest/profile", json={"auth": "x"}).json()["error"] == "invalid_token"
    assert bitrix.http.post("/rest/profile").json()["error"] == "NO_AUTH_FOUND"


def test_a_refresh_token_rotates_and_the_spent_one_is_no_grant(bitrix):
    first = login(bitrix)
    second = token(bitrix, grant_type="refresh_token", refresh_token=first["refresh_token"]).json()
    assert second["refresh_token"] != first["refresh_token"]
    assert (second["user_id"], second["expires"]) == (1, NOW + ACCESS_S)
    spent = token(bitrix, grant_type="refresh_token", refresh_token=first["refresh_token"])
    assert (spent.status_code, spent.json()["error"]) == (400, "invalid_grant")


@pytest.mark.parametrize("survives", [True, False])
def test_the_access_token_of_before_may_survive_a_refresh(survives):
    bitrix = Bitrix(access_survives_refresh=survives)
    first = login(bitrix)
    token(bitrix, grant_type="refresh_token", refresh_token=first["refresh_token"])
    answer = bitrix.http.post("/rest/profile", json={"auth": first["access_token"]})
    assert answer.status_code == (200 if survives else 401)


def test_a_wrong_client_is_told_with_status_200(bitrix):
    answer = token(bitrix, grant_type="refresh_token", client_id="x")
    assert (answer.status_code, answer.json()["error"]) == (200, "WRONG_CLIENT")
    assert token(bitrix, grant_type="refresh_token", client_secret="x").json()["error"] == "invalid_client"
    assert token(bitrix, grant_type="password").json()["error"] == "invalid_request"


def test_tokens_can_be_made_to_expire_or_be_taken_back(bitrix):
    tokens = login(bitrix)
    bitrix.http.post("/_emu/reset", json={"tokens": True})
    assert bitrix.http.post("/rest/profile", json={"auth": tokens["access_token"]}).json()["error"] == "expired_token"
    bitrix.http.post("/_emu/reset", json={"refresh": True})
    answer = token(bitrix, grant_type="refresh_token", refresh_token=tokens["refresh_token"])
    assert answer.json()["error"] == "invalid_grant"


# the bucket


def test_the_bucket_holds_fifty_and_drains_two_a_second():
    bitrix = Bitrix(limiter=True)
    statuses = [bitrix.ask("profile").status_code for _ in range(53)]
    assert statuses == [200] * 51 + [503] * 2  # the request after the one that crossed the line
    answer = bitrix.ask("profile")
    assert answer.json() == {"error": "QUERY_LIMIT_EXCEEDED", "error_description": "Too many requests"}
    assert "retry-after" not in answer.headers
    bitrix.clock.now += 1
    assert [bitrix.ask("profile").status_code for _ in range(3)] == [200, 200, 503]


def test_the_bucket_drains_in_steps_or_continuously():
    for step, expected in ((True, 503), (False, 200)):
        bitrix = Bitrix(limiter=True, rate_step_drain=step)
        for _ in range(51):
            bitrix.ask("profile")
        bitrix.clock.now += 0.5
        assert bitrix.ask("profile").status_code == expected


def test_refused_requests_may_count_too():
    for counts, expected in ((False, 200), (True, 503)):
        bitrix = Bitrix(limiter=True, rate_count_rejected=counts)
        for _ in range(60):
            bitrix.ask("profile")
        bitrix.clock.now += 1
        assert bitrix.ask("profile").status_code == expected


def test_a_batch_is_one_request_and_all_credentials_share_the_bucket():
    bitrix = Bitrix(limiter=True)
    access = login(bitrix)["access_token"]
    for _ in range(51):
        assert bitrix.ask("batch", cmd=["profile"] * 50).status_code == 200
    assert bitrix.http.post("/rest/profile", json={"auth": access}).status_code == 503
    bitrix.http.post("/_emu/reset")
    assert bitrix.ask("profile").status_code == 200


def test_a_box_has_no_limits_and_tells_no_operating_time():
    bitrix = Bitrix(limiter=True, flavour="box", page_cost_s=10.0)
    bodies = [bitrix.call("crm.deal.list") for _ in range(60)]
    assert not {"operating", "operating_reset_at"} & bodies[-1]["time"].keys()


def test_a_refusal_may_say_when_to_come_again():
    bitrix = Bitrix(limiter=True, rate_x=0, retry_after=True)
    bitrix.ask("profile")
    assert bitrix.ask("profile").headers["retry-after"] == "1"


# the meter


def test_operating_time_adds_up_for_each_method():
    bitrix = Bitrix(page_cost_s=3.0)
    assert bitrix.call("crm.deal.list")["time"]["operating"] == 3.0
    assert bitrix.call("crm.deal.list")["time"]["operating"] == 6.0
    assert bitrix.call("crm.lead.list")["time"]["operating"] == 3.0
    access = login(bitrix)["access_token"]
    body = bitrix.http.post("/rest/crm.deal.list", json={"auth": access}).json()
    assert body["time"]["operating"] == 3.0


def test_a_method_over_its_time_is_refused_before_the_next_call_and_others_go_on():
    bitrix = Bitrix(limiter=True, page_cost_s=50.0)
    for _ in range(10):
        bitrix.call("crm.deal.list")  # the call that crosses the line still completes
    answer = bitrix.ask("crm.deal.list")
    assert (answer.status_code, answer.json()["error"]) == (429, "OPERATION_TIME_LIMIT")
    assert bitrix.ask("crm.lead.list").status_code == 200
    nested = bitrix.batch({"a": "crm.deal.list", "b": "profile"})
    assert nested["result_error"]["a"]["error"] == "OPERATION_TIME_LIMIT"
    assert "b" in nested["result"]


def test_operating_time_falls_minute_by_minute():
    bitrix = Bitrix(limiter=True, page_cost_s=30.0, rate_x=1000)
    for _ in range(2):
        for _ in range(10):
            bitrix.ask("crm.deal.list")
        bitrix.clock.now += 61
    assert bitrix.error("crm.deal.list") == (429, "OPERATION_TIME_LIMIT")
    bitrix.clock.now += 600 - 122 + 1
    body = bitrix.call("crm.deal.list")
    assert body["time"]["operating"] == 240.0  # the first minute's ten calls are gone, the second's seven are not
    assert body["time"]["operating_reset_at"] == NOW + 60


def test_single_quick_calls_are_free_and_the_same_in_a_batch_are_not():
    bitrix = Bitrix(page_cost_s=0.09)
    for _ in range(5):
        assert bitrix.call("crm.deal.list")["time"]["operating"] == 0
    commands = {f"c{n}": "crm.deal.list" for n in range(5)}
    times = bitrix.batch(commands)["result_time"]
    assert times["c4"]["operating"] == 0.45
    assert bitrix.call("crm.deal.list")["time"]["operating"] == 0.45


def test_nested_calls_are_billed_to_their_methods_and_the_batch_to_nobody():
    bitrix = Bitrix(page_cost_s=1.0)
    body = bitrix.call("batch", cmd={"a": "crm.deal.list", "b": "crm.lead.list", "c": "crm.deal.list"})
    times = {key: block["operating"] for key, block in body["result"]["result_time"].items()}
    assert times == {"a": 1.0, "b": 1.0, "c": 2.0}
    assert "operating" not in body["time"]


def test_a_batch_may_be_billed_as_one_method():
    bitrix = Bitrix(page_cost_s=200.0, timeout_s=1e9, op_billing="envelope", limiter=True)
    body = bitrix.call("batch", cmd={"a": "crm.deal.list", "b": "crm.lead.list", "c": "profile"})
    assert body["time"]["operating"] == 600.0
    assert bitrix.error("batch", cmd={"a": "profile"}) == (429, "OPERATION_TIME_LIMIT")
    assert bitrix.call("crm.deal.list")["time"]["operating"] == 200.0


def test_batches_of_webhooks_may_share_one_budget_apart_from_single_calls():
    for is_shared, expected in ((False, 2.0), (True, 1.0)):
        bitrix = Bitrix(page_cost_s=1.0, op_webhook_batch_shared=is_shared)
        bitrix.batch(["crm.deal.list"])
        assert bitrix.call("crm.deal.list")["time"]["operating"] == expected
        access = login(bitrix)["access_token"]
        bitrix.http.post("/rest/batch", json={"auth": access, "cmd": ["crm.deal.list"]})
        body = bitrix.http.post("/rest/crm.deal.list", json={"auth": access}).json()
        assert body["time"]["operating"] == 2.0  # applications keep their own


def test_the_meter_may_be_off_as_it_is_on_most_boxes():
    bitrix = Bitrix(op_enabled=False, limiter=True, page_cost_s=50.0)
    assert "operating" not in [bitrix.call("crm.deal.list") for _ in range(11)][-1]["time"]


def test_costs_are_those_of_the_method_the_count_the_star_and_the_depth():
    bitrix = Bitrix(
        cost_per_page_s={"crm.deal.list": 1.0}, page_cost_s=9.0, count_cost_s=10.0, star_cost_s=100.0,
        offset_cost_s=1000.0, timeout_s=1e9,
    )  # fmt: skip
    narrow = {"select": ["ID"], "order": {"ID": "ASC"}}

    def cost(**params):
        bitrix.http.post("/_emu/reset")
        return bitrix.call("crm.deal.list", **params)["time"]["operating"]

    assert cost(start=-1, **narrow) == 1.0
    assert cost(**narrow) == 11.0
    assert cost(start=-1) == 101.0
    assert cost(start=100, **narrow) == 2011.0


def test_an_answer_longer_than_a_minute_is_cut():
    bitrix = Bitrix(page_cost_s=61.0)
    assert bitrix.ask("crm.deal.list").status_code == 504
    assert Bitrix(page_cost_s=61.0, flavour="box").ask("crm.deal.list").status_code == 200


# the time block


def test_time_is_the_portal_s_clock_and_stands_still_unless_it_runs():
    bitrix = Bitrix(page_cost_s=1.5)
    bitrix.clock.now += 100
    block = bitrix.call("profile")["time"]
    assert (block["start"], block["finish"], block["date_start"]) == (NOW, NOW + 1.5, "2026-08-20T12:52:22+03:00")
    running = Bitrix(clock_runs=True)
    running.clock.now += 100.5
    assert running.call("profile")["time"]["start"] == NOW + 100.5
    assert running.result("server.time") == "2026-08-20T12:54:02+03:00"
    running.http.post("/_emu/clock", json={"now": NOW})
    assert running.http.get("/_emu/clock").json() == {"now": NOW}


def test_time_may_be_whole_seconds_and_the_reset_a_text():
    block = Bitrix(time_int=True, op_reset_iso=True, page_cost_s=0.3).call("profile")["time"]
    assert (block["start"], block["processing"], type(block["start"])) == (NOW, 0, int)
    assert block["operating_reset_at"] == "2026-08-20T13:02:22+03:00"


def test_the_clock_may_be_off():
    answer = Bitrix(clock_skew_s=3600).ask("profile")
    assert answer.json()["time"]["date_start"] == "2026-08-20T13:52:22+03:00"
    assert answer.headers["date"] == "Thu, 20 Aug 2026 10:52:22 GMT"


# doors


def test_faults_strike_a_method_and_commands_of_a_batch(bitrix):
    bitrix.http.post("/_emu/fault", json={"path": "crm.deal.list", "nth": 2, "status": 502, "body": "<html>"})
    refusal = {"error": "X", "error_description": "Y"}
    bitrix.http.post("/_emu/fault", json={"path": "batch:crm.lead.list", "body": refusal})
    bitrix.http.post("/_emu/fault", json={"path": "profile", "status": 200, "body": refusal})
    assert [bitrix.ask("crm.deal.list").status_code for _ in range(3)] == [200, 502, 200]
    assert bitrix.ask("crm.lead.list").status_code == 200
    assert bitrix.batch(["crm.lead.list"])["result_error"] == [refusal]
    assert bitrix.error("profile") == (200, "X")
    bitrix.http.delete("/_emu/fault")
    assert bitrix.http.post("/_emu/fault", json={"path": "*", "no": 1}).status_code == 400


def test_an_answer_can_be_cut_short(bitrix):
    bitrix.http.post("/_emu/fault", json={"path": "profile", "cut_after_bytes": 5})
    answer = bitrix.ask("profile")
    assert answer.content == b'{"res'


def test_the_log_knows_methods_and_parameters_but_no_secret(bitrix):
    access = login(bitrix)["access_token"]
    bitrix.ask("crm.deal.list", filter={">ID": 5})
    bitrix.http.post("/rest/profile", json={"auth": access})
    text = bitrix.http.get("/_emu/log").text
    entries = bitrix.http.get("/_emu/log").json()["requests"]
    assert [entry["path"] for entry in entries] == ["/oauth/token/", "/rest/crm.deal.list", "/rest/profile"]
    assert (entries[1]["params"], entries[1]["status"]) == ({"filter": {">ID": 5}}, 200)
    assert "demo-secret" not in text
    assert access not in text
    bitrix.http.delete("/_emu/log")
    assert bitrix.http.get("/_emu/log").json() == {"requests": [], "over_time": 0}


def test_switches_can_be_turned_while_the_portal_keeps_its_changes(bitrix):
    bitrix.http.post("/_emu/mutate", json={"what": "delete", "table": "deal", "id": 101})
    assert bitrix.http.post("/_emu/switches", json={"time_int": True, "scopes": ["crm"]}).json()["time_int"] is True
    assert bitrix.call("crm.deal.list")["total"] == 119
    assert bitrix.http.post("/_emu/switches", json={"no_such": 1}).status_code == 400


def test_people_can_change_the_portal(bitrix):
    assert bitrix.http.post("/_emu/mutate", json={"what": "no"}).status_code == 400
    order = {"what": "update", "table": "deal", "id": 101, "fields": {"TITLE": "new"}}
    assert bitrix.http.post("/_emu/mutate", json=[order]).json() == {"results": [{"id": 101}]}
    assert bitrix.result("crm.deal.get", id=101)["TITLE"] == "new"


# pages for people


def test_links_lead_to_cards_and_to_a_word_about_those_gone():
    loud = {"NAME": "<script>alert(2)</script>"}
    people = [contact(84, "+79990000001") | loud, contact(91)]
    bitrix = Bitrix({"deal": [deal(1, TITLE="<script>alert(1)</script>")], "user": [], "contact": people})
    page = bitrix.http.get("/crm/deal/details/1/")
    assert page.status_code == 200
    assert "&lt;script&gt;" in page.text
    assert "<script>" not in page.text
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    gone = bitrix.http.get("/crm/deal/details/9/")
    assert (gone.status_code, "такой карточки больше нет" in gone.text) == (404, True)
    assert bitrix.http.get("/crm/contact/details/84/").status_code == 200
    assert bitrix.http.get("/crm/nothing/details/84/").status_code == 404
