"""REST 3.0 and offline events of the emulated Bitrix24 (`bitrix24.md`, 2.7 and 7)."""

import pytest
from small_portal import NOW, Bitrix, task
from test_demo_bitrix24_gate import login

V3 = "/rest/api/1/demo-secret"
CODE = "BITRIX_REST_V3_EXCEPTION_"


@pytest.fixture
def bitrix():
    return Bitrix({"task": [task(number) for number in range(1, 1201)]})


def items(bitrix, method="tasks.task.list", **params):
    body = bitrix.call(method, path=V3, **params)
    assert body.keys() == {"result", "time"}
    return body["result"]["items"]


def refusal(bitrix, method="tasks.task.list", **params):
    answer = bitrix.ask(method, path=V3, **params)
    return answer.status_code, answer.json()["error"]["code"].removeprefix(CODE)


def test_a_page_of_tasks_has_fifty_and_at_most_a_thousand(bitrix):
    assert len(items(bitrix)) == 50
    assert len(items(bitrix, pagination={"limit": 5000})) == 1000
    assert items(bitrix, pagination={"page": 2, "limit": 1000})[0] == {"id": 1001}
    assert items(bitrix, pagination={"offset": 1199})[-1] == {"id": 1200}
    assert items(bitrix, pagination={"page": 3, "limit": 1000}) == []
    assert refusal(bitrix, pagination={"limit": 0}) == (400, "INVALIDPAGINATIONEXCEPTION")


def test_without_select_there_is_only_the_id(bitrix):
    assert items(bitrix, pagination={"limit": 1}) == [{"id": 1}]
    row = items(bitrix, select=["title", "status", "responsibleId", "deadline", "noSuch"], pagination={"limit": 1})[0]
    assert row == {"id": 1, "title": "Call back", "status": "in_progress", "responsibleId": 5,
                   "deadline": "2026-08-21T12:52:22+03:00"}  # fmt: skip
    assert refusal(bitrix, select=["none.name"]) == (400, "INVALIDSELECTEXCEPTION")


def test_tasks_are_filtered_by_triples_and_by_id_only(bitrix):
    assert [row["id"] for row in items(bitrix, filter=[["id", ">", 1198]])] == [1199, 1200]
    assert [row["id"] for row in items(bitrix, filter=[["id", "in", [3, 5]]])] == [3, 5]
    either = {"logic": "or", "conditions": [["id", 1], ["id", "between", [4, 5]]]}
    assert [row["id"] for row in items(bitrix, filter=[either, ["id", "<", 5]])] == [1, 4]
    assert refusal(bitrix, filter=[["title", "=", "x"]]) == (400, "UNKNOWNDTOPROPERTYEXCEPTION")
    assert refusal(bitrix, filter=[["id", "like", "x"]]) == (400, "UNKNOWNFILTEROPERATOREXCEPTION")
    assert refusal(bitrix, order={"noSuch": "ASC"}) == (400, "INVALIDORDEREXCEPTION")


def test_a_tail_goes_on_beyond_a_value(bitrix):
    cursor = {"field": "id", "order": "ASC", "value": 100, "limit": 1000}
    assert [row["id"] for row in items(bitrix, "tasks.task.tail", cursor=cursor)][::999] == [101, 1100]
    wrong = {"cursor": cursor, "filter": [["id", ">", 5]]}
    assert refusal(bitrix, "tasks.task.tail", **wrong) == (400, "INVALIDFILTEREXCEPTION")


def test_a_batch_is_an_array_and_all_or_nothing(bitrix):
    def batch(*numbers):
        commands = [{"method": "tasks.task.get", "query": {"id": number}} for number in numbers]
        return bitrix.http.post(f"{V3}/batch", json=commands)

    assert [one["item"]["id"] for one in batch(2, 1).json()["result"]] == [2, 1]
    failed = batch(1, 9999)
    assert (failed.status_code, failed.json()["error"]["code"]) == (400, f"{CODE}ENTITYNOTFOUNDEXCEPTION")


def test_errors_are_objects(bitrix):
    assert bitrix.ask("profile", path="/rest/api/1/wrong").json()["error"]["code"] == f"{CODE}ACCESSDENIEDEXCEPTION"
    assert refusal(bitrix, "crm.deal.list") == (404, "ERROR_METHOD_NOT_FOUND")
    answer = bitrix.http.post(f"{V3}/tasks.task.list", content=b"{", headers={"content-type": "application/json"})
    assert answer.json()["error"]["code"] == f"{CODE}INVALIDJSONEXCEPTION"
    bitrix.switch(scopes=("crm",))
    assert refusal(bitrix) == (403, "INSUFFICIENTSCOPEEXCEPTION")


def test_what_is_there_can_be_asked_for(bitrix):
    paths = bitrix.call("rest.documentation.openapi", path=V3)["result"]["paths"]
    assert "/tasks.task.tail" in paths
    assert bitrix.error("tasks.task.tail") == (404, "ERROR_METHOD_NOT_FOUND")  # not on the old path


def test_an_application_is_let_in_by_a_token_in_the_body(bitrix):
    access = login(bitrix)["access_token"]
    answer = bitrix.http.post("/rest/api/tasks.task.get", json={"auth": access, "id": 5})
    assert answer.json()["result"] == {"item": {"id": 5}}


# offline events


class App:
    """An application that reads the queue."""

    def __init__(self, **switches):
        self.bitrix = Bitrix(**switches)
        self.access = login(self.bitrix)["access_token"]

    def ask(self, method, **params):
        return self.bitrix.http.post(f"/rest/{method}", json={"auth": self.access, **params}).json()

    def get(self, **params):
        return self.ask("event.offline.get", **params)["result"]

    def tell(self, name, number, at=NOW):
        self.bitrix.portal.events.append((name, 2, number, at))


def told(answer):
    return [(event["EVENT_NAME"], event["EVENT_DATA"]["FIELDS"]["ID"]) for event in answer["events"]]


def test_an_event_of_an_object_is_one_row_with_its_last_time():
    app = App()
    app.tell("ONCRMDEALUPDATE", 5)
    app.tell("ONCRMDEALADD", 5, NOW + 1)
    before = app.ask("event.offline.list")["result"][0]["ID"]
    app.tell("ONCRMDEALUPDATE", 5, NOW + 2)
    answer = app.get()
    assert answer["events"][1]["ID"] == before
    assert told(answer) == [("ONCRMDEALADD", 5), ("ONCRMDEALUPDATE", 5)]
    assert answer["events"][1]["TIMESTAMP_X"] == "2026-08-20T12:52:24+03:00"


def test_what_is_read_is_gone_unless_it_is_reserved():
    app = App()
    app.tell("ONCRMDEALUPDATE", 5)
    assert told(app.get()) == [("ONCRMDEALUPDATE", 5)]
    assert app.get() == {"process_id": None, "events": []}
    app.tell("ONCRMDEALUPDATE", 6)
    reserved = app.get(clear=0)
    assert len(reserved["process_id"]) == 32
    assert app.get(clear=0)["events"] == []
    assert app.get(process_id=reserved["process_id"])["events"] == reserved["events"]
    app.tell("ONCRMDEALUPDATE", 6)
    assert told(app.get(clear=0)) == [("ONCRMDEALUPDATE", 6)]  # changed while reserved: another row
    app.ask("event.offline.clear", process_id=reserved["process_id"])
    assert app.get(process_id=reserved["process_id"])["events"] == []


def test_readers_of_the_queue_get_different_rows():
    app = App()
    app.tell("ONCRMDEALUPDATE", 7)
    app.tell("ONCRMDEALUPDATE", 8)
    first, second = app.get(clear=0, limit=1), app.get(clear=0, limit=1)
    assert (told(first), told(second)) == ([("ONCRMDEALUPDATE", 7)], [("ONCRMDEALUPDATE", 8)])
    assert app.get(process_id=first["process_id"])["events"] == first["events"]


def test_reserving_needs_a_tariff():
    app = App(offline_extended=False)
    assert app.ask("event.offline.get", clear=0)["error"] == "WRONG_LICENSE"
    assert app.ask("feature.get", CODE="rest_offline_extended")["result"] == {"value": "N"}
    assert app.get()["events"] == []


def test_events_can_be_looked_at_without_taking_them():
    app = App()
    for number in range(60):
        app.tell("ONCRMDEALDELETE", number)
    body = app.ask("event.offline.list")
    assert (len(body["result"]), body["next"], body["total"]) == (50, 50, 60)
    assert len(app.get(limit=55)["events"]) == 55
    assert len(app.get(filter={"EVENT_NAME": "ONCRMLEADADD"})["events"]) == 0
    assert len(app.get()["events"]) == 5


def test_events_are_kept_for_about_a_month_and_for_administrators():
    app = App()
    app.tell("ONCRMDEALDELETE", 1, NOW - 40 * 86_400)
    app.tell("ONCRMDYNAMICITEMDELETE", 2)
    assert app.get()["events"][0]["EVENT_DATA"] == {"FIELDS": {"ID": 2, "ENTITY_TYPE_ID": 2}}
    app.bitrix.switch(is_admin=False)
    assert app.ask("event.offline.get")["error"] == "ACCESS_DENIED"
