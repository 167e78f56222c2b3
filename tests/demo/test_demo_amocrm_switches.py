"""Each switch of the emulated amoCRM changes what it says, and only between the values the reference names."""

import dataclasses
from typing import get_args, get_type_hints

import pytest

from demo.amocrm import Switches
from demo.model import DAY, Move


@pytest.fixture
def lead(company):
    moved = (deal for deal in company.deals if deal.updated_at > deal.created_at and not deal.closed_at)
    return next(deal for deal in moved if not deal.deleted_at and deal.contact_ids)


def test_defaults_come_first():
    hints = get_type_hints(Switches)
    for field in dataclasses.fields(Switches):
        values = get_args(hints[field.name])
        if field.name != "next_missing_on" and values:
            assert field.default == values[0]


def test_switches_can_be_changed_while_the_server_runs(client):
    assert client.http.post("/_emu/switches", json={"missing_by_id": 404}).json()["missing_by_id"] == 404
    assert client.get("leads/5").status_code == 404
    assert client.http.post("/_emu/switches", json={"nonsense": 1}).status_code == 400


def test_domain(open_client):
    assert "volga.kommo.com" in open_client(domain="kommo.com").get("account").text
    assert "volga.amocrm.ru" in open_client().get("account").text


def test_limit_over_max(open_client, company):
    clamped = open_client().rows("leads?limit=1000")
    assert len(clamped) == 250
    assert open_client(limit_over_max="400").get("leads?limit=251").status_code == 400
    refused = open_client(limit_over_max="422").get("leads?limit=251")
    assert (refused.status_code, refused.json()["detail"]) == (422, "Limit 250 per page")


def test_events_max_limit(open_client):
    assert len(open_client(events_max_limit=250).rows("events?limit=250")) == 250
    assert len(open_client().rows("events?limit=250")) == 100


def test_missing_by_id(open_client):
    assert open_client().get("leads/5").status_code == 204
    assert open_client(missing_by_id=404).get("leads/5").status_code == 404


def test_trash_is_filtered(open_client, company):
    binned = sorted(deal.deleted_at for deal in company.deals if deal.deleted_at and not deal.purged)
    since = f"leads?with=only_deleted&filter[updated_at][from]={binned[-1]}"
    assert [row["updated_at"] for row in open_client().walk(since)] == [at for at in binned if at == binned[-1]]
    for switches in ({"trash_is_filtered": False}, {"filters_enabled": "false"}):
        assert len(open_client(**switches).walk(since)) == len(binned)
    assert open_client(filters_enabled="error").get(since).status_code == 400


@pytest.mark.parametrize(("told_of", "other"), [("lead", "contact"), ("contact", "lead")])
def test_link_told_of(open_client, company, lead, told_of, other):
    client = open_client(link_told_of=told_of)
    contact_id = next(card.id for card in company.contacts if card.id not in lead.contact_ids and not card.deleted_at)
    client.http.post("/_emu/mutate", json={"op": "link", "id": lead.id, "contact_id": contact_id})
    ids = {"lead": lead.id, "contact": contact_id}
    (event,) = client.rows("events?filter[type]=entity_linked&limit=1")
    assert (event["entity_type"], event["entity_id"]) == (told_of, ids[told_of])
    assert event["value_after"] == [{"link": {"entity": {"type": other, "id": ids[other]}}}]


def test_filters_enabled(open_client, company):
    since = f"filter[updated_at][from]={company.now - DAY}"
    few, all_of_them = (len(open_client(filters_enabled=how).walk(f"leads?{since}")) for how in ("true", "false"))
    assert few < all_of_them == sum(not deal.deleted_at for deal in company.deals)
    off = open_client(filters_enabled="false")
    assert off.get("account?with=is_api_filter_enabled").json()["is_api_filter_enabled"] is False
    assert len(off.walk(f"tasks?filter[updated_at]={company.now - DAY}")) < len(company.tasks)
    assert open_client(filters_enabled="error").get(f"leads?{since}").status_code == 400


def test_range_to_inclusive(open_client, company):
    at = company.deals[10].updated_at
    exact = f"leads?filter[updated_at][from]={at}&filter[updated_at][to]={at}"
    assert open_client().rows(exact)
    assert not open_client(range_to_inclusive=False).rows(exact)


def test_next_on_last_full_page(open_client, company):
    n = sum(not deal.deleted_at for deal in company.deals)
    limit = next(size for size in range(250, 1, -1) if n % size == 0)
    last = f"leads?limit={limit}&page={n // limit}"
    assert "next" in open_client().get(last).json()["_links"]
    assert "next" not in open_client(next_on_last_full_page=False).get(last).json()["_links"]


def test_next_missing_on(open_client):
    client = open_client(next_missing_on=("catalogs/5601/elements",))
    assert "next" not in client.get("catalogs/5601/elements?limit=5").json()["_links"]
    assert client.get("catalogs/5601/elements?limit=5&page=2").status_code == 200
    assert "next" in client.get("leads?limit=5").json()["_links"]


def test_empty_object_as_list(open_client):
    shapes = {
        how: {type(row["result"]) for row in open_client(empty_object_as_list=how).walk("tasks")}
        for how in (True, False)
    }
    assert shapes == {True: {list, dict}, False: {dict}}


def test_embedded_when_empty_include(open_client):
    path = "leads?with=contacts,loss_reason&limit=250"
    assert all({"tags", "companies", "loss_reason"} <= set(row["_embedded"]) for row in open_client().rows(path))
    bare = open_client(embedded_when_empty_include=False).rows(path)
    assert any("tags" not in row["_embedded"] for row in bare)
    assert all(row["_embedded"].get("tags") != [] for row in bare)


def test_loss_reason_shape(open_client, company):
    lost = next(d for d in company.deals if d.loss_reason_id == 4203744 and not d.deleted_at)
    path = f"leads/{lost.id}?with=loss_reason"
    assert open_client().get(path).json()["_embedded"]["loss_reason"][0]["id"] == 4203744
    assert open_client(loss_reason_shape="object").get(path).json()["_embedded"]["loss_reason"]["id"] == 4203744


def test_closed_at_open(open_client, lead):
    assert open_client().get(f"leads/{lead.id}").json()["closed_at"] is None
    assert open_client(closed_at_open="0").get(f"leads/{lead.id}").json()["closed_at"] == 0


def test_closed_at_after_reopen(open_client, company, lead):
    closed = {}
    for client, how in ((open_client(), "null"), (open_client(closed_at_after_reopen="keep"), "keep")):
        client.mutate(op="move", id=lead.id, stage_id=143, at=company.now + 5)
        client.mutate(op="move", id=lead.id, stage_id=lead.stage_id, at=company.now + 9)
        closed[how] = client.get(f"leads/{lead.id}").json()["closed_at"]
    assert closed == {"null": None, "keep": company.now + 5}


def test_closed_at_after_reopen_knows_the_past(open_client, company, lead):
    move = Move(lead.id, company.now - 900, lead.pipeline_id, lead.stage_id, lead.pipeline_id, 143, 9101002, 1)
    back = move._replace(at=company.now - 800, from_stage_id=143, to_stage_id=lead.stage_id)
    moves = company.moves.reordered(range(len(company.moves)))
    moves.append(move)
    moves.append(back)
    reopened = dataclasses.replace(company, moves=moves)
    for how, closed_at in (("null", None), ("keep", move.at)):
        client = open_client(of=reopened, closed_at_after_reopen=how)
        assert client.get(f"leads/{lead.id}").json()["closed_at"] == closed_at


def test_price_minor_units(open_client, company):
    priced = next(deal for deal in company.deals if deal.price and not deal.deleted_at)
    assert "price_with_minor_units" not in open_client().get(f"leads/{priced.id}").json()
    exact = open_client(price_minor_units=True).get(f"leads/{priced.id}").json()["price_with_minor_units"]
    assert exact == float(priced.price)


BUMPS = {
    "links_bump_updated_at": {"op": "link", "contact_id": 27700001},
    "notes_bump_updated_at": {"op": "note", "entity": "leads", "text": "x"},
    "tags_bump_updated_at": {"op": "tag", "entity": "leads", "name": "новый"},
}


@pytest.mark.parametrize("switch", BUMPS)
@pytest.mark.parametrize("is_on", [False, True])
def test_what_bumps_updated_at(open_client, company, lead, switch, is_on):
    client = open_client(**{switch: is_on})
    client.mutate(id=lead.id, at=company.now + 77, **BUMPS[switch])
    assert (client.get(f"leads/{lead.id}").json()["updated_at"] == company.now + 77) == is_on


@pytest.mark.parametrize("is_on", [False, True])
def test_restore_bumps_updated_at(open_client, company, lead, is_on):
    client = open_client(restore_bumps_updated_at=is_on)
    client.mutate(op="delete", entity="leads", id=lead.id, at=company.now + 50)
    client.mutate(op="restore", entity="leads", id=lead.id, at=company.now + 77)
    updated_at = client.get(f"leads/{lead.id}").json()["updated_at"]
    assert updated_at == (company.now + 77 if is_on else lead.updated_at)


def test_unsorted_leads_in_list(open_client, company):
    waiting = {request.deal_id for request in company.requests}
    shown = {row["id"]: row for row in open_client(unsorted_leads_in_list=True).walk("leads")}
    assert waiting <= set(shown)
    assert {shown[number]["status_id"] for number in waiting} == {60200001}
    assert not waiting & {row["id"] for row in open_client().walk("leads")}


def test_archived_pipelines_in_list(open_client):
    assert len(open_client().rows("leads/pipelines")) == 4
    assert len(open_client(archived_pipelines_in_list=False).rows("leads/pipelines")) == 3


def test_merge_emits_delete(open_client, company):
    losers = {merge.from_id for merge in company.merges}
    path = "events?filter[type]=contact_deleted,company_deleted"
    assert losers & {event["entity_id"] for event in open_client().walk(path, limit=100)}
    silent = open_client(merge_emits_delete=False)
    silent.mutate(op="merge", entity="contacts", id=27700001, into_id=27700002)
    assert not (losers | {27700001}) & {event["entity_id"] for event in silent.walk(path, limit=100)}


def test_merge_moves_notes(open_client, company):
    loser = next(note.entity_id for note in company.calls if note.entity_kind == 2)
    winner = next(note.entity_id for note in company.calls if note.entity_kind == 2 and note.entity_id != loser)
    left = {}
    for is_on in (True, False):
        client = open_client(merge_moves_notes=is_on)
        client.mutate(op="merge", entity="contacts", id=loser, into_id=winner)
        left[is_on] = bool(client.rows(f"contacts/{loser}/notes"))
    assert left == {True: False, False: True}


def test_events_default_excludes_mail(open_client):
    mails = open_client().walk("events?filter[type]=incoming_mail", limit=100)
    assert mails
    since = f"events?filter[created_at][from]={mails[0]['created_at']}&filter[created_at][to]={mails[0]['created_at']}"
    assert "incoming_mail" not in {event["type"] for event in open_client().rows(since)}
    assert "incoming_mail" in {event["type"] for event in open_client(events_default_excludes_mail=False).rows(since)}


def test_talks_list(open_client):
    assert open_client().get("talks").status_code == 200
    hidden = open_client(talks_list="404")
    assert hidden.get("talks").status_code == 404
    assert hidden.get("talks/5120").status_code == 200


def test_chat_event_value(open_client):
    path = "events?filter[type]=incoming_chat_message&limit=1"
    assert set(open_client().rows(path)[0]["value_after"][0]["message"]) == {"id"}
    full = open_client(chat_event_value="id+talk_id+origin").rows(path)[0]["value_after"][0]["message"]
    assert set(full) == {"id", "talk_id", "origin"}
