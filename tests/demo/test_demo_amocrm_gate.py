"""What stands before the emulated API: tokens, rate limit, faults, log, clock; and the changes tests may order."""

import base64
import json

import pytest

from demo.amocrm_oauth import ACCESS_S, CLIENT_ID, CLIENT_SECRET, REDIRECT_URI


def ask_for_token(client, **form):
    known = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "redirect_uri": REDIRECT_URI}
    return client.http.post("/oauth2/access_token", json={**known, **form})


def tokens(client):
    answer = ask_for_token(client, grant_type="authorization_code", code="demo-code")
    assert answer.status_code == 200
    return answer.json()


# tokens


def test_without_a_good_token_the_answer_is_401(client):
    answer = client.get("account", token="wrong")
    assert answer.status_code == 401
    assert answer.json()["detail"] == "Invalid user name or password"
    assert client.http.get("/api/v4/account").status_code == 401


def test_a_code_is_good_once(client):
    first = tokens(client)
    assert first["token_type"] == "Bearer"
    assert client.get("account", token=first["access_token"]).status_code == 200
    assert ask_for_token(client, grant_type="authorization_code", code="demo-code").status_code == 400
    code = client.http.post("/_emu/oauth/code").json()["code"]
    assert ask_for_token(client, grant_type="authorization_code", code=code).status_code == 200


def test_a_refresh_token_rotates_and_the_spent_one_is_revoked(client):
    first = tokens(client)
    second = ask_for_token(client, grant_type="refresh_token", refresh_token=first["refresh_token"])
    assert second.status_code == 200
    assert second.json()["refresh_token"] != first["refresh_token"]
    again = ask_for_token(client, grant_type="refresh_token", refresh_token=first["refresh_token"])
    assert (again.status_code, again.json()["hint"]) == (401, "Token has been revoked")


def test_an_access_token_lives_a_day_of_the_account_s_clock(client):
    token = tokens(client)["access_token"]
    client.http.post("/_emu/clock", json={"advance": ACCESS_S})
    assert client.get("account", token=token).status_code == 401
    assert client.get("account").status_code == 200  # the long-lived one


def test_a_wrong_client_and_a_wrong_redirect_are_refused(client):
    answer = ask_for_token(client, grant_type="authorization_code", code="demo-code", client_secret="x")
    assert (answer.status_code, answer.json()["detail"]) == (401, "Авторизация клиента не прошла")
    answer = ask_for_token(
        client, grant_type="authorization_code", code="demo-code", redirect_uri="https://evil.example"
    )
    assert answer.status_code == 400


def test_the_account_s_host_can_be_looked_up_without_spending_the_refresh_token(client):
    refresh = tokens(client)["refresh_token"]
    found = client.http.get("/oauth2/account/current/subdomain", headers={"X-Refresh-Token": refresh})
    assert found.json()["domain"] == "volga.amocrm.ru"
    assert ask_for_token(client, grant_type="refresh_token", refresh_token=refresh).status_code == 200
    spent = client.http.get("/oauth2/account/current/subdomain", headers={"X-Refresh-Token": refresh})
    assert spent.status_code == 401


@pytest.mark.parametrize(
    ("claims", "expected"), [("full", {"exp", "api_domain"}), ("minimal", {"exp"}), ("opaque", None)]
)
def test_the_access_token_is_a_jwt_or_not(open_client, claims, expected):
    token = tokens(open_client(jwt_claims=claims))["access_token"]
    if expected is None:
        assert "." not in token
        return
    payload = token.split(".")[1]
    found = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    assert expected <= set(found)
    assert ("api_domain" in found) == (claims == "full")


# rate limit


def statuses(client, n, token=None):
    return [client.get("account", token=token).status_code for _ in range(n)]


def test_the_limit_is_off_unless_switched_on(client):
    assert set(statuses(client, 60)) == {200}


def test_the_eighth_request_within_a_second_is_429(open_client):
    client = open_client(limiter=True)
    assert statuses(client, 8) == [200] * 7 + [429]
    client.clock.now += 1.0
    assert statuses(client, 1) == [200]


def test_the_second_slides(open_client):
    client = open_client(limiter=True)
    statuses(client, 4)
    client.clock.now += 0.9
    assert statuses(client, 4) == [200, 200, 200, 429]
    client.clock.now += 0.2
    assert statuses(client, 5) == [200, 200, 200, 200, 429]


def test_fifty_a_second_are_the_account_s_whole_ration(open_client):
    client = open_client(limiter=True)
    found = [status for number in range(9) for status in statuses(client, 6, token=f"integration-{number}")]
    assert found[:50] == [401] * 50
    assert found[50:] == [429] * 4


def test_twenty_refusals_in_a_minute_block_everything_with_an_html_page(open_client):
    client = open_client(limiter=True)
    assert statuses(client, 27) == [200] * 7 + [429] * 20
    client.clock.now += 3600
    blocked = client.get("account")
    assert blocked.status_code == 403
    assert blocked.headers["content-type"].startswith("text/html")
    assert client.get("account", token="another").status_code == 403
    client.http.post("/_emu/reset")
    assert statuses(client, 1) == [200]


def test_refusals_spread_over_minutes_block_nothing(open_client):
    client = open_client(limiter=True)
    for _ in range(30):
        statuses(client, 8)
        client.clock.now += 10
    assert statuses(client, 1) == [200]


@pytest.mark.parametrize("how", ["body", "header", "none"])
def test_when_to_come_back_is_said_as_switched(open_client, how):
    client = open_client(limiter=True, retry_after=how)
    statuses(client, 7)
    refused = client.get("account")
    assert ("retry_after" in refused.json()) == (how == "body")
    assert ("retry-after" in refused.headers) == (how == "header")


# faults, log, clock


def test_a_fault_strikes_the_nth_request_of_a_path_as_often_as_ordered(client):
    client.http.post("/_emu/fault", json={"path": "*/leads", "nth": 2, "status": 504, "body": "<html>", "times": 2})
    assert [client.get("leads").status_code for _ in range(4)] == [200, 504, 504, 200]
    assert client.get("contacts").status_code == 200


def test_a_fault_may_bring_json_and_headers_and_be_taken_back(client):
    order = {"path": "*", "status": 429, "body": {"retry_after": 7}, "headers": {"Retry-After": "9"}, "times": 0}
    client.http.post("/_emu/fault", json=order)
    refused = client.get("leads")
    assert (refused.json(), refused.headers["retry-after"]) == ({"retry_after": 7}, "9")
    client.http.delete("/_emu/fault")
    assert client.get("leads").status_code == 200
    assert client.http.post("/_emu/fault", json={"path": "*", "nonsense": 1}).status_code == 400


def test_a_cut_answer_announces_more_than_it_brings(client):
    client.http.post("/_emu/fault", json={"path": "*/leads", "cut_after_bytes": 100})
    answer = client.get("leads")
    assert len(answer.content) == 100 < int(answer.headers["content-length"])


def test_the_token_end_point_can_fail_too(client):
    client.http.post(
        "/_emu/fault", json={"path": "/oauth2/access_token", "status": 403, "body": "<html>blocked</html>"}
    )
    answer = ask_for_token(client, grant_type="authorization_code", code="demo-code")
    assert (answer.status_code, answer.headers["content-type"][:9]) == (403, "text/html")
    assert ask_for_token(client, grant_type="authorization_code", code="demo-code").status_code == 200


def test_the_log_tells_what_was_asked_but_no_token(client):
    client.get("leads?limit=5")
    client.get("account", token="wrong")
    entries = client.http.get("/_emu/log").json()["requests"]
    assert [(e["method"], e["path"], e["query"], e["status"]) for e in entries] == [
        ("GET", "/api/v4/leads", "limit=5", 200),
        ("GET", "/api/v4/account", "", 401),
    ]
    assert "demo-token" not in json.dumps(entries)
    assert entries[0]["key_id"] != entries[1]["key_id"]


def test_the_clock_stands_until_it_is_moved(client, company):
    assert client.http.get("/_emu/clock").json()["now"] == company.now
    client.http.post("/_emu/clock", json={"advance": 60})
    assert client.get("account").headers["date"] == "Fri, 20 Nov 2026 21:01:00 GMT"


# changes


@pytest.fixture
def lead(company):
    return next(deal for deal in company.deals if not deal.closed_at and not deal.deleted_at and deal.contact_ids)


def newest_event(client, kind):
    return client.rows(f"events?filter[type]={kind}&limit=1")[0]


def test_a_created_lead_is_listed_and_logged(client, company, lead):
    number = client.mutate(op="create", entity="leads", name="Новая", price=5, contact_ids=[lead.contact_ids[0]])["id"]
    assert client.walk("leads?order[id]=asc")[-1]["id"] == number
    assert client.rows(f"leads?filter[created_at][from]={company.now}")[0]["name"] == "Новая"
    assert newest_event(client, "lead_added")["entity_id"] == number
    assert number in [
        row["id"] for row in client.get(f"contacts/{lead.contact_ids[0]}?with=leads").json()["_embedded"]["leads"]
    ]


def test_a_move_changes_the_card_and_writes_the_event(client, company, lead):
    client.http.post("/_emu/clock", json={"advance": 60})
    client.mutate(op="move", id=lead.id, stage_id=143, loss_reason_id=4203744, by=9101002)
    card = client.get(f"leads/{lead.id}?with=loss_reason").json()
    assert (card["status_id"], card["closed_at"], card["updated_at"]) == (143, company.now + 60, company.now + 60)
    assert card["_embedded"]["loss_reason"][0]["name"] == "Дорого"
    event = newest_event(client, "lead_status_changed")
    assert (event["entity_id"], event["created_at"], event["created_by"]) == (lead.id, company.now + 60, 9101002)
    assert event["value_before"] == [{"lead_status": {"id": lead.stage_id, "pipeline_id": lead.pipeline_id}}]
    assert client.rows(f"leads?filter[updated_at][from]={company.now}")[0]["id"] == lead.id


def test_edits_of_price_and_owner_leave_events(client, lead):
    client.mutate(op="edit", entity="leads", id=lead.id, fields={"price": 777, "user_id": 9101004})
    assert newest_event(client, "sale_field_changed")["value_after"] == [{"sale_field_value": {"sale": 777}}]
    assert newest_event(client, "entity_responsible_changed")["entity_id"] == lead.id


def test_delete_restore_and_purge_walk_through_the_trash(client, lead):
    path = f"leads/{lead.id}"
    client.mutate(op="delete", entity="leads", id=lead.id)
    assert client.get(path).status_code == 204
    assert lead.id in [row["id"] for row in client.walk("leads?with=only_deleted")]
    client.mutate(op="restore", entity="leads", id=lead.id)
    assert client.get(path).json()["is_deleted"] is False
    client.mutate(op="delete", entity="leads", id=lead.id)
    client.mutate(op="purge", entity="leads", id=lead.id)
    assert lead.id not in [row["id"] for row in client.walk("leads?with=only_deleted")]
    types = [e["type"] for e in client.rows(f"events?filter[entity]=lead&filter[entity_id]={lead.id}&limit=3")]
    assert types == ["lead_deleted", "lead_restored", "lead_deleted"]


def with_calls(company):
    """A contact that has calls and a deal, and another one."""
    called = {note.entity_id for note in company.calls if note.entity_kind == 2}
    deal = next(deal for deal in company.deals if deal.main_contact_id in called and not deal.deleted_at)
    other = next(number for number in called if number not in deal.contact_ids)
    return deal, deal.main_contact_id, other


def test_a_merge_moves_deals_and_notes_to_the_winner(client, company):
    deal, loser, winner = with_calls(company)
    notes = {row["id"] for row in client.walk(f"contacts/{loser}/notes")}
    client.mutate(op="merge", entity="contacts", id=loser, into_id=winner)
    assert client.get(f"contacts/{loser}").status_code == 204
    assert loser not in [row["id"] for row in client.walk("contacts?with=only_deleted")]
    assert notes <= {row["id"] for row in client.walk(f"contacts/{winner}/notes")}
    contacts = client.get(f"leads/{deal.id}?with=contacts").json()["_embedded"]["contacts"]
    assert winner in [row["id"] for row in contacts]
    assert newest_event(client, "entity_merged")["entity_id"] == winner
    assert newest_event(client, "contact_deleted")["entity_id"] == loser


def test_calls_notes_tasks_and_messages_can_be_added(client, company, lead):
    contact = lead.contact_ids[0]
    call = client.mutate(op="call", entity="contacts", id=contact, is_in=0, duration=30, phone=79990000001, uniq=7)[
        "id"
    ]
    note = client.mutate(op="note", entity="contacts", id=contact, text="Привет")["id"]
    assert client.get(f"contacts/notes/{call}").json()["params"]["duration"] == 30
    assert client.get(f"contacts/notes/{note}").json()["params"] == {"text": "Привет"}
    assert note not in [row["id"] for row in client.walk("contacts/notes?filter[note_type]=call_in,call_out")]
    task = client.mutate(op="task", entity="leads", id=lead.id)["id"]
    assert client.get(f"tasks/{task}").json()["is_completed"] is False
    client.mutate(op="task", task_id=task)
    assert client.get(f"tasks/{task}").json()["is_completed"] is True
    assert newest_event(client, "task_completed")["entity_id"] == task
    client.mutate(op="message", contact_id=contact, id=lead.id)
    assert newest_event(client, "incoming_chat_message")["entity_id"] == lead.id


def test_a_wrong_order_says_what_it_lacks(client):
    answer = client.http.post("/_emu/mutate", json={"op": "move", "id": 18800001})
    assert answer.status_code == 400
    assert "stage_id" in answer.json()["detail"]
    assert "unknown op" in client.http.post("/_emu/mutate", json={"op": "fly"}).json()["detail"]
