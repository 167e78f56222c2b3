"""How the lists of the emulated Bitrix24 are paged (`bitrix24.md`, 2.5)."""

import pytest
from small_portal import NOW, Bitrix, contact, deal, ids

ASCENDING = {"ID": "ASC"}
OLD = ["crm.deal.list", "crm.activity.list"]
CONTROLLERS = {
    "crm.item.list": ("items", {"entityTypeId": 2, "order": {"id": "ASC"}}),
    "crm.stagehistory.list": ("items", {"entityTypeId": 2, "order": ASCENDING}),
    "tasks.task.list": ("tasks", {"order": ASCENDING, "select": ["ID"]}),
}


@pytest.fixture
def bitrix():
    return Bitrix()


# family A


@pytest.mark.parametrize("method", OLD)
def test_an_old_list_gives_fifty_with_next_and_total(bitrix, method):
    body = bitrix.call(method, order=ASCENDING)
    assert (len(body["result"]), body["next"], body["total"]) == (50, 50, 120)
    last = bitrix.call(method, order=ASCENDING, start=100)
    assert (len(last["result"]), "next" in last, last["total"]) == (20, False, 120)


@pytest.mark.parametrize("method", OLD)
def test_an_old_list_gives_its_first_page_again_beyond_the_end(bitrix, method):
    body = bitrix.call(method, order=ASCENDING, start=150)
    assert body["result"] == bitrix.call(method, order=ASCENDING)["result"]
    assert body["next"] == 50


def test_an_old_list_beyond_the_end_may_be_empty(bitrix):
    bitrix.switch(out_of_range_page="empty")
    assert bitrix.call("crm.deal.list", start=150)["result"] == []


@pytest.mark.parametrize("method", OLD)
def test_an_old_list_with_a_negative_start_counts_nothing(bitrix, method):
    for start in (-1, -7):
        body = bitrix.call(method, order=ASCENDING, start=start)
        assert (len(body["result"]), body["total"], "next" in body) == (50, 0, False)


@pytest.mark.parametrize("start", [60, 99])
def test_start_is_rounded_down_to_a_page(bitrix, start):
    assert ids(bitrix.result("crm.deal.list", order=ASCENDING, start=start))[0] == 151
    assert ids(bitrix.result("crm.item.list", entityTypeId=2, order={"id": "ASC"}, start=start)["items"])[0] == 151


def test_departments_know_no_cursor_and_are_read_by_start(bitrix):
    first = bitrix.call("department.get", sort="ID", order="ASC")
    assert bitrix.call("department.get", sort="ID", order="ASC", **{">ID": 50})["result"] == first["result"]
    pages = [bitrix.result("department.get", sort="ID", order="ASC", start=start) for start in (0, 50, 100)]
    assert ids(pages[0] + pages[1] + pages[2]) == list(range(1, 121))


# family A'


def test_comments_are_counted_always_and_empty_beyond_the_end(bitrix):
    owner = {"filter": {"ENTITY_ID": 101, "ENTITY_TYPE": "deal"}, "order": ASCENDING}
    body = bitrix.call("crm.timeline.comment.list", start=-1, **owner)
    assert (len(body["result"]), body["total"], body["next"]) == (50, 60, 50)
    beyond = bitrix.call("crm.timeline.comment.list", start=100, **owner)
    assert (beyond["result"], beyond["total"]) == ([], 60)


# family B


@pytest.mark.parametrize("method", CONTROLLERS)
def test_a_controller_keeps_the_total_beyond_the_end(bitrix, method):
    rows, params = CONTROLLERS[method]
    body = bitrix.call(method, start=150, **params)
    assert (body["result"][rows], body["total"], "next" in body) == ([], 120, False)
    first = bitrix.call(method, **params)
    assert (len(first["result"][rows]), first["total"], first["next"]) == (50, 120, 50)


@pytest.mark.parametrize("method", CONTROLLERS)
def test_a_controller_with_minus_one_tells_neither_total_nor_next(bitrix, method):
    rows, params = CONTROLLERS[method]
    body = bitrix.call(method, start=-1, **params)
    assert (len(body["result"][rows]), "total" in body, "next" in body) == (50, False, False)
    assert bitrix.call(method, start=-2, **params)["total"] == 120


def test_a_controller_may_tell_a_total_of_zero(bitrix):
    bitrix.switch(negative_start_total="0")
    assert bitrix.call("crm.item.list", entityTypeId=2, start=-1)["total"] == 0


# family C


@pytest.mark.parametrize("method", ["user.get", "voximplant.statistic.get"])
def test_an_offset_is_exact(bitrix, method):
    body = bitrix.call(method, SORT="ID", ORDER="ASC", start=1)
    assert ids(body["result"])[0] == (6 if method == "user.get" else 2)


def test_calls_keep_their_total_beyond_the_end_and_users_do_not(bitrix):
    calls = bitrix.call("voximplant.statistic.get", start=500)
    assert (calls["result"], calls["total"]) == ([], 120)
    users = bitrix.call("user.get", start=500)
    assert (users["result"], "total" in users) == ([], False)


def test_calls_without_sort_come_in_another_order_each_time(bitrix):
    asked = [ids(bitrix.result("voximplant.statistic.get", start=-1)) for _ in range(3)]
    assert len({tuple(page) for page in asked}) == 3
    bitrix.switch(shuffle_without_order=False)
    assert ids(bitrix.result("voximplant.statistic.get", start=-1))[0] == 1
    bitrix.switch(shuffle_without_order=True)
    sorted_page = ids(bitrix.result("voximplant.statistic.get", start=-1, SORT="ID", ORDER="ASC"))
    assert sorted_page == list(range(1, 51))
    assert ids(bitrix.result("voximplant.statistic.get", start=-1, SORT="CALL_TYPE", ORDER="ASC")) != sorted_page


# family D


def test_unpaged_lists_are_whole_whatever_the_start(bitrix):
    for method, params in (("crm.status.list", {}), ("crm.category.list", {"entityTypeId": 2})):
        assert bitrix.result(method, **params) == bitrix.result(method, start=50, **params)
    body = bitrix.call("crm.currency.list")
    assert (len(body["result"]), body["total"]) == (4, 0)


# cursors


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("crm.deal.list", {"filter": {">ID": 150}, "order": ASCENDING}),
        ("crm.item.list", {"entityTypeId": 2, "filter": {">id": 150}, "order": {"id": "ASC"}}),
        ("crm.item.list", {"entityTypeId": 2, "filter": {">ID": 150}, "order": {"ID": "ASC"}}),
        ("crm.stagehistory.list", {"entityTypeId": 2, "filter": {">ID": 50}, "order": ASCENDING}),
        ("tasks.task.list", {"filter": {">ID": 50}, "order": {"ID": "asc"}}),
        ("voximplant.statistic.get", {"FILTER": {">ID": 50}, "SORT": "ID", "ORDER": "ASC"}),
        ("crm.activity.list", {"filter": {">ID": "50"}, "order": ASCENDING}),
    ],
)
def test_a_cursor_goes_on_after_the_last_id(bitrix, method, params):
    result = bitrix.result(method, start=-1, **params)
    rows = result if isinstance(result, list) else next(iter(result.values()))
    after = 150 if 150 in params.get("filter", {}).values() else 50
    assert ids(rows) == list(range(after + 1, after + 51))


def test_a_cursor_can_go_down_and_between_bounds(bitrix):
    assert ids(bitrix.result("crm.deal.list", order={"ID": "DESC"}, start=-1))[:2] == [220, 219]
    window = bitrix.result("crm.deal.list", filter={">ID": 110, "<ID": 114}, order=ASCENDING, start=-1)
    assert ids(window) == [111, 112, 113]


def test_a_cursor_in_the_wrong_case_is_dropped_by_an_old_list(bitrix):
    assert ids(bitrix.result("crm.deal.list", filter={">id": 150}, order=ASCENDING))[0] == 101


def test_types_refuse_an_order_by_upper_case_names(bitrix):
    answer = bitrix.ask("crm.type.list", order={"ID": "ASC"})
    assert answer.json()["error"] == 100
    assert answer.json()["error_description"].startswith("Unknown field definition `I_D`")
    assert ids(bitrix.result("crm.type.list", order={"id": "ASC"}, filter={">id": 0})["types"]) == [37]


def test_rows_that_a_join_doubles_are_collapsed_after_the_page_is_cut():
    doubled = [contact(1, "+71", "+72"), *(contact(n, f"+7{n}00") for n in range(2, 80))]
    bitrix = Bitrix({"contact": doubled})
    numbers = [one["VALUE"] for row in doubled for one in row["PHONE"]]
    asked = {"filter": {"PHONE": numbers}, "order": ASCENDING, "start": -1}
    assert ids(bitrix.result("crm.contact.list", select=["ID", "PHONE"], **asked)) == list(range(1, 50))
    narrow = ids(bitrix.result("crm.contact.list", select=["ID"], **asked))
    assert (len(narrow), narrow[:2]) == (50, [1, 1])


def test_an_item_is_given_once_although_the_join_doubles_it():
    bitrix = Bitrix({"deal": [deal(n, CONTACT_IDS=[1, 2]) for n in range(1, 60)]})
    items = bitrix.result(
        "crm.item.list", entityTypeId=2, filter={"@contactIds": [1, 2]}, order={"id": "ASC"}, start=-1
    )
    assert ids(items["items"]) == list(range(1, 26))


def test_start_counts_only_in_lower_case_at_the_top(bitrix):
    assert bitrix.call("crm.deal.list", START=50, order=ASCENDING)["next"] == 50
    assert bitrix.call("crm.deal.list", params={"start": 50}, order=ASCENDING)["next"] == 50


def test_people_can_change_things_between_two_pages(bitrix):
    orders = [{"what": "delete", "table": "deal", "id": 101}]
    bitrix.http.post("/_emu/script", json={"method": "crm.deal.list", "nth": 2, "orders": orders})
    first = ids(bitrix.result("crm.deal.list", order=ASCENDING))
    second = ids(bitrix.result("crm.deal.list", order=ASCENDING, start=50))
    assert (first[-1], second[0]) == (150, 152)  # what changes during a walk by start shifts its pages


def test_the_change_date_is_an_index_of_its_own(bitrix):
    since = bitrix.server.engine.wire.instant(NOW - 86_400 + 200 * 60)
    page = bitrix.result("crm.deal.list", filter={">=DATE_MODIFY": since, ">ID": 205}, order=ASCENDING, start=-1)
    assert ids(page) == list(range(206, 221))
    items = bitrix.call("crm.item.list", entityTypeId=2, filter={">=updatedTime": since}, order={"id": "ASC"})
    assert (ids(items["result"]["items"]), items["total"]) == (list(range(200, 221)), 21)


def test_what_was_counted_is_counted_again_after_a_change(bitrix):
    asked = {"filter": {"OPENED": "Y"}, "order": {"TITLE": "DESC"}}
    assert bitrix.call("crm.deal.list", **asked)["total"] == 120
    first = bitrix.result("crm.deal.list", **asked)[0]["ID"]
    bitrix.http.post("/_emu/mutate", json={"what": "delete", "table": "deal", "id": int(first)})
    body = bitrix.call("crm.deal.list", **asked)
    assert (body["total"], body["result"][0]["ID"] != first) == (119, True)
