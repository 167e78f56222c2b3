"""`batch` of the emulated Bitrix24 (`bitrix24.md`, 2.4)."""

import pytest
from small_portal import Bitrix, command, deal, ids

from demo.bitrix24_batch import parse_command, resolved


@pytest.fixture
def bitrix():
    return Bitrix()


def chain(method="crm.deal.list", n=4, last="[{}][49][ID]", key="filter[>ID]", **more):
    first = command(method, **{"order[ID]": "ASC", key: 0, "start": -1}, **more)
    return {"p0": first} | {
        f"p{place}": command(method, **{"order[ID]": "ASC", "start": -1}, **more)
        + f"&{key.replace('>', '%3E')}=$result{last.format(f'p{place - 1}')}"
        for place in range(1, n)
    }


def test_a_chain_walks_by_the_last_id_of_the_page_before(bitrix):
    pages = bitrix.batch(chain(n=3))["result"]
    assert [len(page) for page in pages.values()] == [50, 50, 20]
    assert [int(row["ID"]) for page in pages.values() for row in page] == list(range(101, 221))


def test_after_a_short_page_a_chain_of_an_old_list_starts_over(bitrix):
    pages = bitrix.batch(chain(n=5))["result"]
    assert ids(pages["p3"]) == list(range(101, 151))  # the page became an array, and (int) of an array is 1
    assert ids(pages["p4"]) == list(range(151, 201))


def test_an_array_as_a_cursor_is_the_number_one():
    pages = Bitrix({"deal": [deal(number) for number in range(1, 61)]}).batch(chain(n=3))["result"]
    assert (len(pages["p1"]), ids(pages["p2"])[0]) == (10, 2)


def test_after_a_short_page_a_chain_of_items_is_refused(bitrix):
    commands = chain("crm.item.list", 4, "[{}][items][49][id]", "filter[>id]", entityTypeId=2)
    commands = {key: text.replace("order%5BID%5D", "order%5Bid%5D") for key, text in commands.items()}
    answer = bitrix.batch(commands)
    assert list(answer["result"]) == ["p0", "p1", "p2"]
    assert answer["result_error"]["p3"]["error"] == "INVALID_ARG_VALUE"


def test_a_reference_to_an_empty_list_means_from_the_beginning(bitrix):
    answer = bitrix.batch({
        "a": command("crm.deal.list", **{"filter[>ID]": 900, "start": -1}),
        "b": "crm.deal.list?order[ID]=ASC&filter[%3EID]=$result[a][49][ID]&start=-1",
    })  # fmt: skip
    assert answer["result"]["a"] == []
    assert ids(answer["result"]["b"])[0] == 101


def test_a_reference_inside_a_text_is_put_there_and_an_array_leaves_the_text(bitrix):
    answer = bitrix.batch({
        "a": command("crm.deal.get", id=101),
        "b": "crm.deal.list?filter[TITLE]=Deal+$result[a][ID]",
        "c": "crm.deal.list?filter[TITLE]=Deal+$result[a]",
        "d": "crm.deal.list?order[ID]=ASC&filter[%3EID]=$total[b]&start=-1",
    })  # fmt: skip
    assert ids(answer["result"]["b"]) == [101]
    assert answer["result"]["c"] == []
    assert ids(answer["result"]["d"])[0] == 101
    found = {"result": {"a": {"ID": "1"}}, "total": {"a": 5}}
    texts = {"x": ["id $result[a][ID]", "all $result[a]", "$total[a]"]}
    assert resolved(texts, found) == {"x": ["id 1", "all $result[a]", 5]}


def test_an_unencoded_plus_loses_the_offset_and_with_it_the_filter(bitrix):
    when = "2026-08-20T12:52:22+03:00"
    right = bitrix.batch({"a": command("crm.deal.list", **{"filter[>=DATE_MODIFY]": when, "order[ID]": "ASC"})})
    wrong = bitrix.batch({"a": f"crm.deal.list?filter[>=DATE_MODIFY]={when}&order[ID]=ASC"})
    assert wrong["result_total"]["a"] == 120
    assert "a" not in right["result_total"] or right["result_total"]["a"] < 120


def test_a_sharp_cuts_a_command_and_encoded_values_arrive_whole():
    assert parse_command("crm.deal.list?filter[TITLE]=a#b&start=-1") == ("crm.deal.list", {"filter": {"TITLE": "a"}})
    text = "a&b#c%d Привет 'x' \"y\""
    bitrix = Bitrix({"deal": [deal(1, TITLE=text), deal(2)]})
    answer = bitrix.batch({"a": command("crm.deal.list", **{"filter[TITLE]": text})})
    assert ids(answer["result"]["a"]) == [1]


def test_every_value_of_a_command_is_a_text_and_arrays_have_brackets():
    assert parse_command("m?a[]=1&a[]=2&b[x][y]=3&c[0]=4&c[2]=5&d=") == (
        "m",
        {"a": ["1", "2"], "b": {"x": {"y": "3"}}, "c": {"0": "4", "2": "5"}, "d": ""},
    )


def test_errors_of_commands_stand_under_their_keys_and_the_status_is_200(bitrix):
    answer = bitrix.batch({"a": "no.such.method", "b": "crm.deal.get?id=9999", "c": "profile"})
    assert answer["result"].keys() == {"c"}
    assert answer["result_error"] == {
        "a": {"error": "ERROR_METHOD_NOT_FOUND", "error_description": "Method not found!"},
        "b": {"error": "", "error_description": "Not found"},
    }
    assert answer["result_time"].keys() == {"c"}


def test_empty_parts_are_lists(bitrix):
    answer = bitrix.batch({"a": "profile"})
    assert (answer["result_error"], answer["result_next"], answer["result_total"]) == ([], [], [])
    assert bitrix.batch({"a": "no.such.method"})["result"] == []


def test_gapless_numeric_keys_make_a_list_until_one_of_them_fails(bitrix):
    assert bitrix.batch(["server.time", "server.time"])["result"] == ["2026-08-20T12:52:22+03:00"] * 2
    assert bitrix.batch({"0": "profile", "1": "server.time"})["result"][1] == "2026-08-20T12:52:22+03:00"
    assert bitrix.batch(["profile", "no.such.method", "server.time"])["result"].keys() == {"0", "2"}
    bitrix.switch(batch_numeric_keys_list=False)
    assert bitrix.batch(["server.time"])["result"].keys() == {"0"}


def test_halt_stops_after_the_first_error(bitrix):
    commands = {"a": "profile", "b": "no.such.method", "c": "profile"}
    halted = bitrix.batch(commands, halt=1)
    assert (list(halted["result"]), list(halted["result_error"])) == (["a"], ["b"])
    assert list(bitrix.batch(commands)["result"]) == ["a", "c"]


def test_commands_beyond_fifty_are_refused(bitrix):
    answer = bitrix.batch({f"c{n}": "profile" for n in range(52)})
    assert len(answer["result"]) == 50
    assert {error["error"] for error in answer["result_error"].values()} == {"ERROR_BATCH_LENGTH_EXCEEDED"}
    assert list(answer["result_error"]) == ["c50", "c51"]


def test_a_batch_within_a_batch_is_refused(bitrix):
    answer = bitrix.batch({"a": "batch?cmd[x]=profile"})
    assert answer["result_error"]["a"]["error"] == "ERROR_BATCH_METHOD_NOT_ALLOWED"


def test_a_missing_scope_has_no_description_in_a_batch(bitrix):
    bitrix.switch(scopes=("crm",))
    answer = bitrix.batch({"a": "voximplant.statistic.get"})
    assert answer["result_error"]["a"] == {"error": "insufficient_scope", "error_description": ""}


def test_a_command_that_is_no_text_is_passed_over_silently(bitrix):
    answer = bitrix.batch({"a": {"method": "profile"}, "b": "profile"})
    assert (list(answer["result"]), answer["result_error"]) == (["b"], [])


def test_a_batch_longer_than_a_minute_is_cut(bitrix):
    bitrix.switch(page_cost_s=2.0)
    answer = bitrix.ask("batch", cmd={f"c{n}": "profile" for n in range(40)})
    assert answer.status_code == 504
    assert "html" in answer.headers["content-type"]
    assert bitrix.call("profile")["time"]["operating"] == 31 * 2 + 2  # what came after the cut was not run
    assert bitrix.ask("batch", cmd={f"c{n}": "profile" for n in range(20)}).status_code == 200


def test_a_batch_sent_as_a_form_is_the_same(bitrix):
    answer = bitrix.http.post("/rest/1/demo-secret/batch", data={"halt": "0", "cmd[a]": "crm.deal.get?id=101"})
    assert answer.json()["result"]["result"]["a"]["ID"] == "101"
