"""Lists of the emulated amoCRM: paging, filters, orders and shapes as the reference describes them."""

import pytest

from demo.amocrm_query import parse, scalars
from demo.model import DAY

NOW_WINDOW_D = 40


def ids(rows):
    return [row["id"] for row in rows]


# paging


def test_default_limit_is_50_and_the_first_page_is_1(client):
    body = client.get("leads").json()
    assert len(body["_embedded"]["leads"]) == 50
    assert body["_page"] == 1
    assert set(body["_links"]) == {"self", "next"}


def test_later_pages_link_back(client):
    links = client.get("leads?page=2&limit=10").json()["_links"]
    assert "page=1&limit=10" in links["first"]["href"]
    assert "page=1&limit=10" in links["prev"]["href"]
    assert "page=3&limit=10" in links["next"]["href"]


def test_a_walk_by_page_number_gives_every_row_once(client, company):
    found = ids(client.walk("leads?order[id]=asc"))
    assert found == sorted({deal.id for deal in company.deals if not deal.deleted_at})


@pytest.mark.parametrize("path", ["leads?page=1000", "customers/notes", "sources", "webhooks", "leads?filter[id]=1"])
def test_an_empty_list_is_204_without_a_body(client, path):
    answer = client.get(path)
    assert (answer.status_code, answer.content) == (204, b"")


def test_next_is_there_on_the_last_full_page_although_the_next_one_is_empty(client, company):
    n = sum(not deal.deleted_at for deal in company.deals)
    limit = next(size for size in range(250, 1, -1) if n % size == 0)
    last = client.get(f"leads?limit={limit}&page={n // limit}").json()
    assert "next" in last["_links"]
    assert client.get(f"leads?limit={limit}&page={n // limit + 1}").status_code == 204


def test_pages_shift_when_rows_vanish_during_a_walk(client):
    first = ids(client.rows("leads?order[id]=asc&limit=10&page=1"))
    second = ids(client.rows("leads?order[id]=asc&limit=10&page=2"))
    client.mutate(op="delete", entity="leads", id=first[0])
    assert ids(client.rows("leads?order[id]=asc&limit=10&page=2"))[0] == second[1]


def test_users_roles_and_custom_fields_say_how_many_there_are(client, company):
    body = client.get("users?limit=3").json()
    assert (body["_total_items"], body["_page_count"]) == (len(company.users), -(-len(company.users) // 3))
    assert "_total_items" not in client.get("leads").json()


def test_answers_are_hal_json_with_the_account_s_clock(client, company):
    answer = client.get("leads?limit=1")
    assert answer.headers["content-type"] == "application/hal+json"
    assert answer.headers["date"] == "Fri, 20 Nov 2026 21:00:00 GMT"
    assert answer.headers["x-request-id"]


# the parser and the filters


@pytest.mark.parametrize(
    "spelling",
    [
        "filter[id][]=18800001&filter[id][]=18800003",
        "filter[id][0]=18800001&filter[id][1]=18800003",
        "filter%5Bid%5D%5B0%5D=18800001&filter%5Bid%5D%5B1%5D=18800003",
        "filter[id][5]=18800001&filter[id][7]=18800003",
        "filter[id]=18800001,18800003",
    ],
)
def test_arrays_are_read_in_every_spelling_of_php(client, spelling):
    assert ids(client.rows(f"leads?{spelling}")) == [18800001, 18800003]


def test_the_parser_nests_brackets():
    assert parse("filter[a][b][]=1&filter[a][b][]=2&x=3") == {"filter": {"a": {"b": {"0": "1", "1": "2"}}}, "x": "3"}
    assert parse("a=1&a[b]=2") == {"a": "1"}
    assert scalars({"0": "1,2", "1": "3"}) == ["1", "2", "3"]


def test_a_window_of_creation_holds_its_bounds_and_nothing_outside(client, company):
    deals = sorted((deal.created_at, deal.id) for deal in company.deals if not deal.deleted_at)
    low, high = deals[100][0], deals[200][0]
    found = client.walk(f"leads?filter[created_at][from]={low}&filter[created_at][to]={high}&order[id]=asc")
    assert ids(found) == sorted(number for at, number in deals if low <= at <= high)


def test_a_range_by_change_has_an_open_end(client, company):
    since = company.now - 10 * DAY
    found = client.walk(f"leads?filter[updated_at][from]={since}&order[id]=asc")
    assert ids(found) == [d.id for d in company.deals if d.updated_at >= since and not d.deleted_at]


def test_a_bare_number_means_that_very_second_on_leads_and_since_on_tasks_and_notes(client, company):
    deal = company.deals[5]
    same = client.rows(f"leads?filter[updated_at]={deal.updated_at}")
    assert all(row["updated_at"] == deal.updated_at for row in same)
    assert client.rows(f"leads?filter[updated_at]={deal.updated_at + 1}") == []
    for path in ("tasks", "contacts/notes"):
        since = company.now - 20 * DAY
        found = client.walk(f"{path}?filter[updated_at]={since}")
        assert found
        assert all(row["updated_at"] >= since for row in found)


@pytest.mark.parametrize("odd", ["filter[nonsense]=1", "filter[updated_at][since]=99", "filter[id]=abc", "filter=5"])
def test_unknown_or_misshapen_filters_are_ignored(client, odd):
    assert ids(client.rows(f"leads?{odd}&limit=5")) == ids(client.rows("leads?limit=5"))


def test_leads_can_be_filtered_by_pipeline_stage_person_and_price(client, company):
    wanted = "filter[statuses][0][pipeline_id]=7100101&filter[statuses][0][status_id]=142"
    won = client.walk(f"leads?{wanted}")
    assert {(row["pipeline_id"], row["status_id"]) for row in won} == {(7100101, 142)}
    user = company.users[2].id
    assert {row["responsible_user_id"] for row in client.walk(f"leads?filter[responsible_user_id][]={user}")} == {user}
    assert all(row["price"] >= 100_000 for row in client.walk("leads?filter[price][from]=100000"))
    assert {row["pipeline_id"] for row in client.walk("leads?filter[pipeline_id]=7100102")} == {7100102}


def test_leads_can_be_filtered_by_the_value_of_a_custom_field(client):
    found = client.walk("leads?filter[custom_fields_values][780101][]=990012")
    assert found
    for row in found:
        values = next(f for f in row["custom_fields_values"] if f["field_id"] == 780101)["values"]
        assert values[0]["enum_id"] == 990012


def test_query_searches_names_and_phones(client, company):
    contact = next(contact for contact in company.contacts if not contact.deleted_at)
    phone = "".join(filter(str.isdigit, contact.phones[0]))[-10:]
    assert contact.id in ids(client.rows(f"contacts?query={phone}"))


@pytest.mark.parametrize("way", ["asc", "desc"])
@pytest.mark.parametrize(
    ("path", "field", "shown"),
    [
        ("leads", "created_at", "created_at"),
        ("leads", "updated_at", "updated_at"),
        ("leads", "id", "id"),
        ("contacts", "updated_at", "updated_at"),
        ("tasks", "complete_till", "complete_till"),
        ("tasks", "created_at", "created_at"),
        ("contacts/notes", "updated_at", "updated_at"),
    ],
)
def test_lists_come_in_the_order_asked_for(client, path, field, shown, way):
    values = [row[shown] for row in client.walk(f"{path}?order[{field}]={way}")]
    assert values == sorted(values, reverse=way == "desc")


def test_tasks_cannot_be_ordered_by_change(client):
    assert ids(client.rows("tasks?order[updated_at]=desc&limit=5")) == ids(client.rows("tasks?limit=5"))


def test_tasks_filter_by_person_completion_and_card(client, company):
    open_ones = client.walk("tasks?filter[is_completed]=0")
    assert open_ones
    assert not any(row["is_completed"] for row in open_ones)
    deal_id = next(task.entity_id for task in company.tasks if task.entity_kind == 1)
    found = client.walk(f"tasks?filter[entity_type]=leads&filter[entity_id]={deal_id}")
    assert {row["entity_id"] for row in found} == {deal_id}
    unfiltered = client.rows(f"tasks?filter[entity_id]={deal_id}&limit=5")  # the second needs the first
    assert ids(unfiltered) == ids(client.rows("tasks?limit=5"))


def test_notes_filter_by_type_and_card(client, company):
    incoming = client.walk("contacts/notes?filter[note_type][]=call_in")
    assert {row["note_type"] for row in incoming} == {"call_in"}
    card = incoming[0]["entity_id"]
    found = client.walk(f"contacts/notes?filter[entity_id][]={card}")
    assert {row["entity_id"] for row in found} == {card}
    assert ids(found) == ids(client.walk(f"contacts/{card}/notes"))
    number = incoming[0]["id"]
    assert client.get(f"contacts/notes/{number}").json() == incoming[0]
    assert client.get(f"leads/notes/{number}").status_code == 204


# objects


def test_with_adds_what_it_names(client, company):
    deal = next(d for d in company.deals if len(d.contact_ids) > 1 and not d.deleted_at)
    bare = client.get(f"leads/{deal.id}").json()
    assert "contacts" not in bare["_embedded"]
    assert "source_id" not in bare
    full = client.get(f"leads/{deal.id}?with=contacts,loss_reason,source_id,source,catalog_elements").json()
    assert [contact["id"] for contact in full["_embedded"]["contacts"]] == list(deal.contact_ids)
    assert [c["id"] for c in full["_embedded"]["contacts"] if c["is_main"]] == [deal.main_contact_id]
    assert set(full["_embedded"]["contacts"][0]) == {"id", "is_main", "_links"}


def test_the_trash_shows_rows_that_are_nearly_null(client, company):
    trash = client.walk("leads?with=only_deleted")
    assert ids(trash) == [deal.id for deal in company.deals if deal.deleted_at and not deal.purged]
    for row in trash:
        filled = {name for name, value in row.items() if value is not None}
        assert filled == {"id", "updated_by", "updated_at", "is_deleted", "account_id"}


def test_deleted_and_unknown_cards_are_not_found_by_id(client, company):
    deleted = next(deal.id for deal in company.deals if deal.deleted_at)
    for number in (deleted, 5):
        assert client.get(f"leads/{number}").status_code == 204


def test_the_account_shows_only_what_with_asks_for(client):
    assert client.get("account").json()["_embedded"] == {}
    full = client.get("account?with=users_groups,task_types,datetime_settings,is_api_filter_enabled").json()
    assert full["_embedded"]["users_groups"][0] == {"id": 0, "name": "Отдел продаж", "uuid": None}
    assert full["_embedded"]["datetime_settings"]["timezone"] == "Europe/Moscow"
    assert full["is_api_filter_enabled"] is True


def test_who_left_is_listed_as_inactive(client, company):
    users = {user["id"]: user for user in client.walk("users?with=role,group")}
    inactive = [number for number, user in users.items() if not user["rights"]["is_active"]]
    assert inactive == [company.planted.leaver_user_id]
    assert users[9101001]["rights"]["is_admin"]
    assert users[9101002]["_embedded"]["groups"]


def test_won_and_lost_have_the_same_ids_in_every_pipeline(client):
    body = client.get("leads/pipelines").json()
    assert body["_total_items"] == 4
    for pipeline in body["_embedded"]["pipelines"]:
        assert {142, 143} <= {status["id"] for status in pipeline["_embedded"]["statuses"]}
        assert [status["type"] for status in pipeline["_embedded"]["statuses"]].count(1) == 1
    assert client.get("leads/pipelines/7100102/statuses/142").json()["name"] == "Купил снова"


def test_custom_fields_are_paged_and_filled_values_refer_to_them(client):
    defined = {row["id"] for row in client.walk("leads/custom_fields", limit=5)}
    used = {value["field_id"] for lead in client.walk("leads") for value in lead["custom_fields_values"] or ()}
    assert used <= defined
    assert len(defined) == 13


def test_call_notes_show_the_oddities_of_telephonies(client):
    calls = "filter[note_type][]=call_in&filter[note_type][]=call_out"
    params = [row["params"] for path in ("contacts", "leads") for row in client.walk(f"{path}/notes?{calls}")]
    assert {type(p["duration"]) for p in params} >= {int, str}
    assert {type(p["call_status"]) for p in params if "call_status" in p} == {int, str}
    assert any(not p["uniq"] for p in params)
    assert any(p["link"] for p in params)
    assert len({p["phone"][:2] for p in params if p["phone"]}) > 3


def test_a_task_without_result_has_an_empty_list_for_it(client):
    results = [row["result"] for row in client.walk("tasks")]
    assert [] in results
    assert any(isinstance(result, dict) and result["text"] for result in results)


def test_links_tell_cards_and_products_of_a_lead(client, company):
    deal = next(d for d in company.deals if d.items and d.contact_ids and not d.deleted_at)
    links = client.rows(f"leads/{deal.id}/links")
    assert {link["to_entity_type"] for link in links} >= {"contacts", "catalog_elements"}
    many = client.rows(f"leads/links?filter[entity_id][]={deal.id}&filter[to_entity_type]=contacts")
    assert [link["to_entity_id"] for link in many] == list(deal.contact_ids)
    assert client.get("leads/links").status_code == 400


def test_talks_have_no_id_of_their_own_name(client, company):
    talks = client.walk("talks")
    assert len(talks) == len(company.talks)
    assert "id" not in talks[0]
    talk_id = talks[3]["talk_id"]
    assert client.get(f"talks/{talk_id}").json() == talks[3]
    assert client.get("talks/1").status_code == 404
    assert all(row["is_in_work"] for row in client.rows("talks?filter[only_in_work]=1"))


def test_requests_nobody_accepted_are_apart_from_leads(client, company):
    waiting = client.walk("leads/unsorted")
    assert [row["uid"] for row in waiting] == [request.uid for request in company.requests]
    lead_ids = {row["_embedded"]["leads"][0]["id"] for row in waiting}
    assert not lead_ids & set(ids(client.walk("leads")))
    assert client.get("leads/unsorted/summary").json()["total"] == len(waiting)


def test_dictionaries_are_served(client, company):
    assert len(client.walk("leads/loss_reasons")) == len(company.loss_reasons)
    assert len(client.walk("leads/tags")) == len(company.tags[1])
    assert client.rows("catalogs")[0]["type"] == "products"
    assert len(client.walk("catalogs/5601/elements", limit=5)) == len(company.products)
    assert client.rows("roles?with=users")[0]["_embedded"]["users"]
    assert client.rows("currencies")[0]["code"] == "RUB"


def test_unknown_paths_are_404_and_writes_405(client):
    assert client.get("nothing/here").status_code == 404
    headers = {"Authorization": "Bearer demo-token"}
    for method in ("POST", "PATCH", "DELETE"):
        assert client.http.request(method, "/api/v4/leads", headers=headers).status_code == 405
