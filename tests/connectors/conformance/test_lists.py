"""Lists, pages and filters: section 6.3 of the amoCRM reference."""

from datetime import UTC, datetime, timedelta

import httpx
import pytest
from amo_demo import DAY, Crm, rows
from amo_fake import (
    ACCOUNT_BODY,
    CHANGED,
    FIRST,
    FROM_THE_BEGINNING,
    LONG_LIVED,
    NOTHING,
    OCTOBER,
    SEPTEMBER,
    SEPTEMBER_S,
    amo,
    contact,
    event,
    first_of,
    lead,
    of,
    page,
    problem,
    read,
    reading,
    stage_event,
)
from demo_crm import DemoCrm, look, settings

from connectors.amocrm.resources import RESOURCES
from connectors.connector import Window
from connectors.errors import PayloadError, RetriableError
from connectors.paging import by_page_number
from connectors.records import Deal, DealStageTransition, Notice, Product, RawRecord
from demo.amocrm_mutate import mutate

LEADS = "/api/v4/leads"
EVENTS = "/api/v4/events"
OLD_S = SEPTEMBER_S - 86_400


def deal_ids(yielded) -> list[str]:
    return [deal.deal_id for deal in of(Deal, yielded)]


def pages_of(rows, collection="leads", *, has_next=True, cap=250, next_on_last_full_page=False):
    """A server's paging: `limit` above `cap` is cut silently; a page past the end is 204."""

    def answer(request: httpx.Request) -> httpx.Response:
        limit = min(int(request.url.params["limit"]), cap)
        first = (int(request.url.params["page"]) - 1) * limit
        some = rows[first : first + limit]
        is_last = first + limit >= len(rows) and not (next_on_last_full_page and len(some) == limit)
        return page(collection, *some, has_next=has_next and not is_last) if some else NOTHING

    return answer


def test_c27_an_empty_account_is_an_empty_account():
    api, _ = amo()
    for resource in RESOURCES:
        assert not of(Deal, read(api, resource.name, first_of(resource)))


def test_c28_a_next_link_to_an_empty_page_ends_the_list():
    api, server = amo({LEADS: pages_of([lead(n) for n in range(500)], next_on_last_full_page=True)})
    yielded = read(api, "leads", FIRST)
    assert len(of(Deal, yielded)) == 500
    assert not of(Notice, yielded)
    assert [(asked["page"], asked["limit"]) for asked in server.asked(LEADS)] == [
        ("1", "250"),
        ("2", "250"),
        ("3", "250"),
        ("3", "249"),  # shows rows 498 and 499 and has room for more
    ]


@pytest.mark.parametrize(("limit", "cap"), [(100, 250), (250, 100)])
def test_c29_a_missing_next_link_does_not_end_a_list(limit, cap):
    api, _ = amo(
        {LEADS: pages_of([lead(n) for n in range(137)], has_next=False, cap=cap)},
        settings=LONG_LIVED.model_copy(update={"page_size": limit}),
    )
    assert len(of(Deal, read(api, "leads", FIRST))) == 137


def test_c30_a_short_page_with_a_next_link_is_not_the_last():
    sizes = [(0, 250, True), (250, 430, True), (430, 680, False)]
    answers = [page("leads", *map(lead, range(first, last)), has_next=more) for first, last, more in sizes]
    api, _ = amo({LEADS: [*answers, NOTHING]})
    assert len(of(Deal, read(api, "leads", FIRST))) == 680


def test_c31_a_next_link_to_another_host_is_not_followed():
    elsewhere = page("leads", lead(1), has_next=True, next_href="https://shard151.amocrm.ru/api/v4/leads?page=7")
    api, server = amo({LEADS: [elsewhere, page("leads", lead(2))]})
    assert deal_ids(read(api, "leads", FIRST)) == ["lead:1", "lead:2"]
    assert {request.url.host for request in server.requests} == {"volga.amocrm.ru"}
    assert [params["page"] for params in server.asked(LEADS)] == ["1", "2"]


def test_c32_rows_are_walked_in_the_order_of_ids_so_that_a_change_shifts_no_page():
    api, server = amo({"/api/v4/contacts": page("contacts", contact(1))})
    read(api, "contacts", FIRST)
    read(api, "contacts", CHANGED)
    assert all(params["order[id]"] == "asc" for params in server.asked("/api/v4/contacts"))


def test_c33_a_later_read_has_no_upper_bound_and_so_finds_what_came_meanwhile():
    api, server = amo({LEADS: NOTHING})
    read(api, "leads", FIRST)
    read(api, "leads", Window("changed", SEPTEMBER, OCTOBER))
    first, later = server.asked(LEADS)
    assert {"filter[created_at][from]", "filter[created_at][to]"} <= set(first)
    assert "filter[updated_at][from]" in later
    assert not [key for key in later if key.endswith("[to]")]


def test_c34_an_empty_answer_in_the_middle_walks_the_window_once_more():
    served = pages_of([lead(n) for n in range(1110)])
    hiccups = iter([False, False, True])

    def answer(request: httpx.Request) -> httpx.Response:
        return NOTHING if next(hiccups, False) else served(request)

    api, server = amo({LEADS: answer})
    assert deal_ids(read(api, "leads", FIRST)) == [f"lead:{n}" for n in range(1110)]
    assert [params["page"] for params in server.asked(LEADS)] == ["1", "2", "3", "3", "1", "2", "3", "4", "5"]


def test_c35_an_account_without_filters_is_read_whole_once_a_run():
    rows = [lead(1, created_at=OLD_S, updated_at=OLD_S), lead(2)]
    api, server = amo({LEADS: page("leads", *rows)}, account_body={**ACCOUNT_BODY, "is_api_filter_enabled": False})
    assert deal_ids(read(api, "leads", FIRST)) == ["lead:1", "lead:2"]
    assert len(server.asked(LEADS)) == 2  # until two walks show the same
    assert not [key for params in server.asked(LEADS) for key in params if key.startswith("filter")]
    another = Window("created", OCTOBER, OCTOBER + timedelta(days=30))
    assert not deal_ids(read(api, "leads", another))
    assert len(server.asked(LEADS)) == 2


def test_without_filters_a_later_read_takes_what_has_changed_since():
    rows = [lead(1, updated_at=OLD_S), lead(2)]
    api, _ = amo({LEADS: page("leads", *rows)}, account_body={**ACCOUNT_BODY, "is_api_filter_enabled": False})
    assert deal_ids(read(api, "leads", CHANGED)) == ["lead:2"]


@pytest.mark.parametrize(("window", "found"), [(FIRST, ["lead:1", "lead:2"]), (CHANGED, ["lead:2"])])
def test_c36_rows_outside_the_filter_give_it_away(window, found):
    api, _ = amo({LEADS: page("leads", lead(1, created_at=OLD_S, updated_at=OLD_S), lead(2))})
    yielded = read(api, "leads", window)
    assert deal_ids(yielded) == found
    assert "no effect" in of(Notice, yielded)[0].text


def test_c37_a_row_changed_at_the_very_bound_is_asked_for():
    api, server = amo({LEADS: page("leads", lead(1, updated_at=SEPTEMBER_S))})
    assert deal_ids(read(api, "leads", Window("changed", SEPTEMBER))) == ["lead:1"]
    assert int(server.asked(LEADS)[0]["filter[updated_at][from]"]) < SEPTEMBER_S


def test_c38_events_are_asked_for_by_a_hundred():
    api, server = amo({EVENTS: NOTHING})
    read(api, "events", FIRST)
    assert [params["limit"] for params in server.asked(EVENTS)] == ["100"]


@pytest.mark.parametrize("body", [{"_page": 1}, {"_embedded": {"leads": None}}])
def test_c39_a_list_without_its_items_is_empty_with_a_warning(body):
    taken_as_empty(body)


def test_c40_a_list_whose_embedded_is_an_empty_array_is_empty_with_a_warning():
    taken_as_empty({"_embedded": []})


def taken_as_empty(body):
    api, _ = amo({LEADS: httpx.Response(200, json=body)})
    yielded = read(api, "leads", FIRST)
    assert not deal_ids(yielded)
    assert "taken as empty" in of(Notice, yielded)[0].text


def test_c41_a_list_with_holes_comes_as_an_object():
    with_holes = httpx.Response(200, json={"_embedded": {"leads": {"0": lead(1), "2": lead(3)}}})
    api, _ = amo({LEADS: with_holes})
    assert deal_ids(read(api, "leads", FIRST)) == ["lead:1", "lead:3"]


def test_an_item_that_is_no_object_is_left_out_and_told():
    api, _ = amo({LEADS: page("leads", None, lead(1), "x")})
    yielded = read(api, "leads", FIRST)
    assert deal_ids(yielded) == ["lead:1"]
    assert "not objects" in of(Notice, yielded)[0].text


def test_c42_times_are_filtered_by_ranges_only():
    api, server = amo()
    for resource in RESOURCES:
        for kind in set(resource.windows) & {"created", "changed_within", "changed"}:
            read(api, resource.name, Window(kind, SEPTEMBER, OCTOBER))
    asked = {key for request in server.requests for key in request.url.params if "_at" in key}
    assert asked
    assert all(key.endswith(("[from]", "[to]")) for key in asked)


def test_c89_an_event_that_slid_to_the_next_page_is_stored_once():
    move = stage_event("e1", (7100101, 60200001), (7100101, 60200002))
    api, _ = amo({EVENTS: [page("events", event("lead_added", "e2"), move, has_next=True), page("events", move)]})
    assert len(of(DealStageTransition, read(api, "events", CHANGED))) == 1


def test_c92_events_are_never_filtered_by_the_id_of_an_entity():
    api, server = amo()
    read(api, "events", FIRST)
    read(api, "events", CHANGED)
    assert not [key for params in server.asked(EVENTS) for key in params if key.startswith("filter[entity")]


def test_ids_are_asked_for_together_and_missing_ones_left_out():
    api, server = amo({LEADS: page("leads", lead(1), lead(3))})
    assert deal_ids(read(api, "leads", Window("ids", ids=("1", "2", "3")))) == ["lead:1", "lead:3"]
    assert server.asked(LEADS)[0].get("filter[id][2]") == "3"


@pytest.mark.parametrize("missing", [NOTHING, problem(404)])
def test_ids_are_asked_for_one_by_one_where_filters_have_no_effect(missing):
    api, _ = amo(
        {LEADS: page("leads", lead(8), lead(9)), f"{LEADS}/1": httpx.Response(200, json=lead(1)), f"{LEADS}/2": missing}
    )
    assert deal_ids(read(api, "leads", Window("ids", ids=("1", "2")))) == ["lead:1"]


def test_a_server_that_repeats_itself_is_not_believed():
    with pytest.raises(PayloadError, match="more than 3 pages"):
        list(
            by_page_number(
                lambda _: {"_links": {"next": {"href": "x"}}, "_embedded": {"leads": [{"id": 1}]}},
                {},
                collection="leads",
                limit=1,
                max_pages=3,
            )
        )


def test_a_pages_records_come_before_the_next_request():
    api, _ = amo({LEADS: [page("leads", lead(1), has_next=True), page("leads", lead(2))]})
    walk = reading(api, "leads", FROM_THE_BEGINNING)
    assert [(record.deal_id, api.read_seq()) for record in walk if type(record) is Deal] == [
        ("lead:1", 2),  # the account was answer 1
        ("lead:2", 3),
    ]


def test_c19_a_window_that_is_too_slow_by_any_page_is_read_in_halves():
    rows = [lead(n, created_at=SEPTEMBER_S + n * 7_000) for n in range(370)]

    def answer(request: httpx.Request) -> httpx.Response:
        asked = request.url.params
        low, high = (int(asked[f"filter[created_at][{side}]"]) for side in ("from", "to"))
        if high - low > 10 * 86_400:
            return problem(504)
        return pages_of([row for row in rows if low <= row["created_at"] <= high])(request)

    api, _ = amo({LEADS: answer})
    ids = deal_ids(read(api, "leads", FIRST))
    assert sorted(ids) == sorted(f"lead:{n}" for n in range(370))


def test_a_window_that_cannot_be_cut_any_more_fails_as_too_slow():
    api, server = amo({LEADS: problem(504)})
    with pytest.raises(RetriableError, match="too slow"):
        read(api, "leads", Window("created", SEPTEMBER, SEPTEMBER + timedelta(seconds=3)))
    assert {params["limit"] for params in server.asked(LEADS)} == {"250", "125", "62", "31"}


# Against the emulated amoCRM


def raws(yielded) -> list[str]:
    return [raw.native_id for raw in of(RawRecord, yielded)]


def test_c27_an_empty_account_is_synced_and_remembered_as_such(small_company, data_dir):
    crm = DemoCrm(small_company)
    crm.before = lambda request: None if request.url.path.endswith(("/account", "/users/9101001")) else NOTHING
    run = crm.sync(data_dir)
    assert run.is_well, run
    assert look(data_dir, "SELECT count(*) FROM deal") == [(0,)]
    assert look(data_dir, "SELECT watermark FROM coverage WHERE resource = 'deal'") == [(crm.now(),)]


@pytest.mark.parametrize("next_on_last_full_page", [True, False])
@pytest.mark.parametrize("name", ["contacts", "tasks"])
def test_c28_a_last_page_that_is_full_ends_a_list(small_company, next_on_last_full_page, name):
    crm = DemoCrm(small_company, next_on_last_full_page=next_on_last_full_page)
    expected = raws(read(crm.open(), name, Window("changed")))
    size = next(n for n in range(60, 1, -1) if len(expected) % n == 0)
    assert raws(read(crm.open(settings(page_size=size)), name, Window("changed"))) == expected


@pytest.mark.parametrize(("limit", "cap"), [(100, 250), (250, 100), (250, 90)])
def test_c29_a_missing_next_link_does_not_end_a_catalogue(limit, cap):
    elements = [{"id": n, "name": f"№{n}", "created_at": SEPTEMBER_S} for n in range(137)]
    api, _ = amo(
        {
            "/api/v4/catalogs": page("catalogs", {"id": 5601, "type": "products"}),
            "/api/v4/catalogs/5601/elements": pages_of(elements, "elements", has_next=False, cap=cap),
        },
        settings=LONG_LIVED.model_copy(update={"page_size": limit}),
    )
    assert len(of(Product, read(api, "catalogs"))) == 137


@pytest.mark.parametrize("next_missing_on", [(), ("leads", "contacts", "events", "tasks", "catalogs")])
def test_c29_lists_that_do_not_announce_the_next_page_are_read_whole(small_company, next_missing_on):
    expected, crm = DemoCrm(small_company), DemoCrm(small_company, next_missing_on=next_missing_on)
    for name in ("leads", "contacts", "events", "tasks", "catalogs"):
        by_twenty = crm.open(settings(page_size=20, events_page_size=20))
        window = Window("whole" if name == "catalogs" else "changed")
        assert sorted(raws(read(by_twenty, name, window))) == sorted(raws(read(expected.open(), name, window)))


def test_c32_a_row_changed_after_its_page_was_read_pushes_none_out_of_the_walk_and_is_read_by_the_next_sync(tmp_path):
    crm = Crm()
    there = [number for number in crm.account.contacts.ids if not crm.account.contacts.get(number).deleted_at]
    changed: list[int] = []

    def change(n: int, url: httpx.URL) -> None:
        if url.path == "/api/v4/contacts" and url.params["page"] == "2" and not changed:
            crm.passes(timedelta(seconds=30))
            changed.extend(there[:2])
            for number in changed:
                crm.people("edit", entity="contacts", id=number, fields={"first_name": "Renamed"})

    crm.before = change
    for n_renamed in (0, 2):
        assert crm.synced(tmp_path, page_size=5).is_well
        found = rows(tmp_path, "SELECT contact_id, name LIKE 'Renamed%' FROM contact ORDER BY 1")
        assert [contact_id for contact_id, _ in found] == sorted(f"contact:{number}" for number in there)
        assert sum(is_renamed for _, is_renamed in found) == n_renamed
        crm.passes(DAY)
    assert changed


def test_c33_what_is_created_during_the_first_sync_is_there_after_the_second(small_company, data_dir):
    crm = DemoCrm(small_company)
    created: list[int] = []

    def before(request: httpx.Request) -> None:
        if request.url.path == LEADS and not created:
            crm.account.now += 5
            created.append(mutate(crm.account, {"op": "create", "entity": "leads", "name": "New"})["id"])

    crm.before = before
    assert crm.sync(data_dir).is_well
    crm.account.now += 3600
    assert crm.sync(data_dir).is_well
    assert look(data_dir, f"SELECT count(*) FROM deal WHERE deal_id = 'lead:{created[0]}'") == [(1,)]


@pytest.mark.parametrize("filters_enabled", ["false", "error"])
def test_c35_an_account_without_filters_is_scanned_and_its_later_changes_are_found(
    small_company, data_dir, filters_enabled
):
    crm = DemoCrm(small_company, filters_enabled=filters_enabled)
    assert crm.sync(data_dir).is_well
    ((n_deals,),) = look(data_dir, "SELECT count(*) FROM deal")
    crm.account.now += 3600
    ((deal_id,),) = look(data_dir, "SELECT min(deal_id) FROM deal WHERE deleted_at IS NULL")
    mutate(crm.account, {"op": "edit", "entity": "leads", "id": int(deal_id[5:]), "fields": {"price": 777}})
    assert crm.sync(data_dir).is_well
    assert look(data_dir, f"SELECT amount_minor FROM deal WHERE deal_id = '{deal_id}'") == [(77_700,)]
    assert look(data_dir, "SELECT count(*) FROM deal") == [(n_deals,)]
    assert look(data_dir, "SELECT watermark FROM coverage WHERE resource = 'deal'") == [(crm.now(),)]
    assert not [entry for entry in crm.asked("/leads") if "_at" in entry["query"]]


def test_c36_where_the_account_says_it_filters_and_does_not_a_later_sync_tells_and_keeps_its_place(tmp_path):
    crm = Crm(filters_enabled="false")
    crm.repaint = lambda url, said: said | {"is_api_filter_enabled": True} if url.path == "/api/v4/account" else said
    deal_id = crm.people("create", entity="leads")["id"]
    price = f"SELECT amount_minor FROM deal WHERE deal_id = 'lead:{deal_id}'"
    assert crm.synced(tmp_path).is_well
    n_deals = rows(tmp_path, "SELECT count(*) FROM deal")
    crm.passes(DAY)
    crm.people("edit", entity="leads", id=deal_id, fields={"price": 777})
    crm.passes(DAY)
    begun = crm.now
    crm.before = lambda n, url: crm.passes(timedelta(seconds=30)) if url.path == LEADS else None
    run = crm.synced(tmp_path)
    assert run.is_well
    assert "no effect" in " ".join(run.account("main").resource("leads").warnings)
    assert rows(tmp_path, price) == [(77_700,)]
    assert rows(tmp_path, "SELECT watermark FROM coverage WHERE resource = 'deal'") == [(begun,)]
    assert rows(tmp_path, "SELECT count(*) FROM deal") == n_deals


@pytest.mark.parametrize("range_to_inclusive", [True, False])
@pytest.mark.parametrize(("name", "kind"), [("leads", "created"), ("tasks", "changed_within")])
def test_c37_rows_at_the_very_bounds_of_neighbouring_windows_are_in_them(small_company, range_to_inclusive, name, kind):
    crm = DemoCrm(small_company, range_to_inclusive=range_to_inclusive)
    table = getattr(crm.account, name)
    native_id = table.ids[len(table.ids) // 2]
    row = table.get(native_id)
    edge = datetime.fromtimestamp(row.created_at if kind == "created" else row.updated_at, UTC)
    day = timedelta(days=1)
    for window in (Window(kind, edge - day, edge), Window(kind, edge, edge + day)):
        assert str(native_id) in raws(read(crm.open(), name, window))
    assert str(native_id) in raws(read(crm.open(), name, Window("changed", edge)))


@pytest.mark.parametrize("limit_over_max", ["clamp", "400", "422"])
@pytest.mark.parametrize("events_max_limit", [100, 250])
def test_c38_the_page_of_events_suits_every_server(small_company, limit_over_max, events_max_limit):
    crm = DemoCrm(small_company, limit_over_max=limit_over_max, events_max_limit=events_max_limit)
    yielded = read(crm.open(), "events", Window("changed"))
    assert len(raws(yielded)) == len(set(raws(yielded))) > 250
    assert {entry["status"] for entry in crm.asked("/events")} <= {200, 204}
