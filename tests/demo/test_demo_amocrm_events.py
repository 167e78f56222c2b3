"""The event log of the emulated amoCRM."""

import pytest

from demo.answer_key import moves_by_deal
from demo.model import DAY

HISTORY = "lead_status_changed,lead_added,lead_deleted,lead_restored,entity_merged,entity_responsible_changed"


def window(company, days):
    return f"filter[created_at][from]={company.now - days * DAY}&filter[created_at][to]={company.now}"


def test_events_come_newest_first_and_a_hundred_at_most(client):
    body = client.get("events?limit=250").json()
    moments = [event["created_at"] for event in body["_embedded"]["events"]]
    assert len(moments) == 100
    assert moments == sorted(moments, reverse=True)


def test_a_walk_gives_every_event_of_the_window_once(client, company):
    found = client.walk(f"events?filter[type]=lead_status_changed&{window(company, 90)}", limit=100)
    planted = [m for m in company.moves if m.is_logged and company.now - 90 * DAY <= m.at <= company.now]
    assert len(found) == len({event["id"] for event in found}) == len(planted)


def test_a_stage_change_says_from_where_to_where(client, company):
    moves = moves_by_deal(company)
    deal_id = max(moves, key=lambda number: len(moves[number]))
    found = client.walk(f"events?filter[entity]=lead&filter[entity_id]={deal_id}&filter[type]=lead_status_changed")
    told = [
        (e["created_at"], e["value_before"][0]["lead_status"]["id"], e["value_after"][0]["lead_status"]["id"])
        for e in found
    ]
    assert sorted(told) == sorted((move.at, move.from_stage_id, move.to_stage_id) for move in moves[deal_id])


def test_ids_look_like_ulids_and_lead_back_to_the_event(client):
    event = client.rows("events?limit=1")[0]
    assert len(event["id"]) == 26
    assert client.get(f"events/{event['id']}").json() == event
    assert client.get("events/01k4a9m3q2v7w8x5y6z1b2c3d4").status_code == 204
    assert [e["id"] for e in client.rows(f"events?filter[id]={event['id']}")] == [event["id"]]


def test_types_may_be_a_comma_list_or_an_array(client):
    lists = [
        client.rows(f"events?limit=100&{spelling}")
        for spelling in (
            "filter[type]=lead_added,task_added",
            "filter[type][]=lead_added&filter[type][]=task_added",
            "filter%5Btype%5D%5B0%5D=lead_added&filter%5Btype%5D%5B1%5D=task_added",
        )
    ]
    assert lists[0] == lists[1] == lists[2]
    assert {event["type"] for event in lists[0]} == {"lead_added", "task_added"}


def test_a_bare_moment_means_since(client, company):
    since = company.now - 3 * DAY
    found = client.walk(f"events?filter[created_at]={since}", limit=100)
    assert found
    assert min(event["created_at"] for event in found) >= since


def test_imported_deals_left_no_event(client, company):
    imported = {deal.id for deal in company.deals if deal.is_imported}
    told = {event["entity_id"] for event in client.walk(f"events?filter[type]={HISTORY}", limit=100)}
    assert imported
    assert not imported & told


def test_a_merge_names_the_winner_and_a_deletion_of_the_same_second_the_loser(client, company):
    merges = client.walk("events?filter[type]=entity_merged", limit=100)
    deletions = client.walk("events?filter[type]=contact_deleted,company_deleted", limit=100)
    assert len(merges) == len(company.merges)
    assert all(event["value_after"] == event["value_before"] == [] for event in merges)
    by_second = {(e["created_at"], e["created_by"], e["entity_type"]): e["entity_id"] for e in deletions}
    planted = {(m.into_id, m.at): m.from_id for m in company.merges if m.has_trace}
    for event in merges:
        loser = by_second.get((event["created_at"], event["created_by"], event["entity_type"]))
        assert loser == planted.get((event["entity_id"], event["created_at"]))


def test_chat_events_are_asked_for_with_the_contact_and_come_back_with_the_lead(client):
    found = client.walk("events?filter[type]=incoming_chat_message&filter[entity][]=contact", limit=100)
    on_leads = [event for event in found if event["entity_type"] == "lead"]
    assert on_leads
    assert all("linked_talk_contact_id" in event["_embedded"]["entity"] for event in on_leads)
    assert not client.rows("events?filter[type]=incoming_chat_message&filter[entity][]=lead")


@pytest.mark.parametrize(
    "wrong",
    [
        "filter[entity_id]=18800001",
        "filter[entity_id]=18800001&filter[entity]=lead,contact",
        "filter[value_after]=5",
        "filter[type]=custom_field_780101_value_changed,lead_added",
        "filter[entity]=nonsense",
    ],
)
def test_filters_that_do_not_go_together_are_400(client, wrong):
    answer = client.get(f"events?{wrong}")
    assert answer.status_code == 400
    assert answer.json()["validation-errors"][0]["errors"]
    assert answer.headers["content-type"] == "application/problem+json"


def test_stage_changes_can_be_filtered_by_where_they_led(client):
    there = "filter[value_after][leads_statuses][0]"
    wanted = f"{there}[pipeline_id]=7100101&{there}[status_id]=142"
    found = client.walk(f"events?filter[type]=lead_status_changed&{wanted}", limit=100)
    assert found
    for event in found:
        assert event["value_after"] == [{"lead_status": {"id": 142, "pipeline_id": 7100101}}]


def test_events_can_be_filtered_by_author_and_carry_names_on_request(client, company):
    user = company.users[3].id
    found = client.walk(f"events?filter[created_by]={user}&filter[type]=lead_status_changed", limit=100)
    assert {event["created_by"] for event in found} == {user}
    named = client.rows("events?filter[type]=lead_added&with=lead_name&limit=20")
    assert any("name" in event["_embedded"]["entity"] for event in named)


def test_new_events_shift_the_pages_of_a_list_without_an_upper_bound(client, company):
    before = client.rows("events?filter[type]=lead_status_changed&limit=10&page=2")
    lead = next(deal for deal in company.deals if not deal.deleted_at and not deal.closed_at)
    client.mutate(op="move", id=lead.id, stage_id=142)
    after = client.rows("events?filter[type]=lead_status_changed&limit=10&page=2")
    assert after[1:] == before[:-1]


def test_types_are_listed(client):
    body = client.get("events/types?language_code=ru").json()
    assert body["_total_items"] == len(body["_embedded"]["events_types"])
    assert "lead_status_changed" in {kind["key"] for kind in body["_embedded"]["events_types"]}


def test_notes_have_events_where_the_reference_names_them(client, company):
    written = {note.id: note.note_type for note in company.notes}
    assert {"common", "sms_out", "amomail_message"} <= set(written.values())
    told = {}
    for name in ("common_note_added", "attachment_note_added", "incoming_sms", "outgoing_sms"):
        events = client.walk(f"events?filter[type]={name}", limit=100)
        told |= {event["value_after"][0]["note"]["id"]: name for event in events}
    assert set(told) == {number for number, name in written.items() if name != "amomail_message"}
    served = {row["id"] for path in ("leads", "contacts", "companies") for row in client.walk(f"{path}/notes")}
    assert set(written) <= served
