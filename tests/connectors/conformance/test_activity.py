"""Tasks and calls: section 6.6 of the amoCRM reference."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest
from amo_demo import DAY, Crm, published, rows
from amo_fake import (
    CHANGED,
    FIRST,
    FROM_THE_BEGINNING,
    SEPTEMBER,
    SEPTEMBER_S,
    amo,
    call,
    event,
    of,
    page,
    read,
    rows_of,
    task,
)

from connectors.amocrm.mapping import call_status
from connectors.records import (
    Call,
    Patch,
    Stub,
    Task,
    TaskLink,
    TaskType,
)
from metrics.missed_calls import METRIC as MISSED_CALLS

EVENTS = "/api/v4/events"
CONTACT_NOTES = "/api/v4/contacts/notes"
A_MINUTE_IN = SEPTEMBER + timedelta(seconds=60)
SALES, REPEAT = 7100101, 7100102


def read_task(**changes) -> Task:
    api, _ = amo({"/api/v4/tasks": page("tasks", task(1, **changes))})
    return of(Task, read(api, "tasks", FROM_THE_BEGINNING))[0]


def read_call(**changes) -> Call:
    api, _ = amo({CONTACT_NOTES: page("notes", call(66500001, **changes))})
    return of(Call, read(api, "calls", FROM_THE_BEGINNING))[0]


def read_events(*events, window=FIRST):
    api, _ = amo({EVENTS: page("events", *events)})
    return read(api, "events", window)


# Tasks


@pytest.mark.parametrize(("result", "told"), [([], None), ({"text": "ok"}, "ok"), (None, None)])
def test_c68_the_result_of_a_task(result, told):
    assert read_task(result=result).result == told


def test_c69_a_task_may_hang_on_nothing():
    api, _ = amo({"/api/v4/tasks": page("tasks", task(1, entity_id=None, entity_type=None), task(2))})
    yielded = read(api, "tasks", FROM_THE_BEGINNING)
    assert [(row.entity_kind, row.entity_id) for row in of(Task, yielded)] == [(None, None), ("deal", "lead:18800001")]
    assert [(link.task_id, link.entity_kind) for link in rows_of(TaskLink, yielded)] == [("task:2", "deal")]


def test_c70_when_a_task_was_completed_comes_from_its_event():
    done = event("task_completed", "e1", 4100001, entity_type="task")
    patch = Patch(Task, "main", "task:4100001", "completed_at", A_MINUTE_IN)
    assert of(Patch, read_events(done)) == [patch]


def test_c71_without_an_event_the_last_change_stands_in_flagged():
    done, waiting = read_task(is_completed=True), read_task()
    assert (done.completed_at, done.completed_is_estimate) == (SEPTEMBER + timedelta(seconds=120), True)
    assert (waiting.completed_at, waiting.completed_is_estimate) == (None, False)
    assert Task.patched == {"completed_at": "completed_is_estimate"}


def test_c72_kinds_of_tasks_and_one_nobody_knows():
    kinds = [read_task(task_type_id=type_id).kind for type_id in (1, 2, 2740010, 99)]
    assert kinds == ["follow_up", "meeting", "other", "unknown"]
    assert read_task(task_type_id=99).task_type_id == "task_type:99"
    api, _ = amo({"/api/v4/tasks": page("tasks", task(1, task_type_id=99), task(2, task_type_id=99))})
    stubs = [stub.record for stub in of(Stub, read(api, "tasks", FROM_THE_BEGINNING)) if type(stub.record) is TaskType]
    assert [(row.task_type_id, row.name) for row in stubs] == [("task_type:99", "#99")]


def test_c73_tasks_are_walked_by_id_because_they_cannot_be_ordered_by_change():
    api, server = amo()
    read(api, "tasks", CHANGED)
    assert server.asked("/api/v4/tasks")[0]["order[id]"] == "asc"


def test_a_deadline_at_the_last_minute_of_the_local_day_is_the_whole_day():
    last_minute = SEPTEMBER_S - 3 * 3600 + 86_399  # 23:59:59 in Moscow
    assert read_task(complete_till=last_minute).due_is_allday
    assert not read_task(complete_till=last_minute, duration=1800).due_is_allday
    assert not read_task(complete_till=last_minute - 3600).due_is_allday


# Calls


def test_c74_calls_are_read_from_the_notes_of_every_kind_of_card():
    own = {"/api/v4/leads/notes": page("notes", call(2)), "/api/v4/companies/notes": page("notes", call(3))}
    api, server = amo({CONTACT_NOTES: page("notes", call(1)), **own})
    calls = of(Call, read(api, "calls", FROM_THE_BEGINNING))
    assert [(row.entity_kind, row.contact_id, row.deal_id, row.company_id) for row in calls] == [
        ("contact", "contact:27700001", None, None),
        ("deal", None, "lead:27700001", None),
        ("company", None, None, "company:27700001"),
    ]
    asked = server.asked(CONTACT_NOTES)[0]
    assert (asked["filter[note_type][0]"], asked["filter[note_type][1]"]) == ("call_in", "call_out")


def test_c75_the_same_call_on_two_cards_keeps_what_tells_that_it_is_the_same():
    api, _ = amo({CONTACT_NOTES: page("notes", call(1)), "/api/v4/leads/notes": page("notes", call(2))})
    one, other = of(Call, read(api, "calls", FROM_THE_BEGINNING))
    keys = {(row.provider, row.external_uniq, row.direction, row.phone_e164, row.started_at) for row in (one, other)}
    assert keys == {("PBX", "u-1", "in", "+79991234567", A_MINUTE_IN)}
    assert (one.call_id, other.call_id) == ("note:1", "note:2")


def test_c77_numbers_that_come_as_text():
    row = read_call(duration="0", call_status="6")
    assert (row.talk_s, row.status) == (0, "missed")


@pytest.mark.parametrize("params", [[], None])
def test_c78_a_call_without_params_is_a_call(params):
    row = read_call(note_params=params)
    assert (row.talk_s, row.external_uniq, row.phone_raw, row.status) == (None, None, None, "unknown")


def test_c79_a_list_is_not_a_key():
    assert read_call(uniq=["a", "b"]).external_uniq is None
    assert read_call(uniq="  ").external_uniq is None


def test_c80_a_recording_is_an_address_or_nothing():
    assert read_call(link=None).recording_url is None
    assert read_call(link="javascript:alert(1)").recording_url is None
    assert read_call(link="https://pbx.example.org/8f52.mp3").recording_url == "https://pbx.example.org/8f52.mp3"


@pytest.mark.parametrize(
    ("direction", "talk_s", "code", "status"),
    [
        ("in", 0, 4, "missed"),  # many PBXs always say "talked"
        ("out", 0, 4, "no_answer"),
        ("in", 60, 4, "answered"),
        ("in", 60, None, "answered"),
        ("in", 60, 8, "answered"),
        ("out", 60, 2, "answered"),
        ("in", 60, 1, "voicemail"),
        ("out", 60, 5, "wrong_number"),
        ("in", 20, 6, "missed"),
        ("out", 20, 7, "busy"),
        ("in", None, 4, "answered"),
        ("in", None, 2, "missed"),
        ("out", None, 3, "no_answer"),
        ("out", None, 7, "busy"),
        ("in", None, None, "unknown"),
        ("in", None, 8, "unknown"),
    ],
)
def test_what_became_of_a_call(direction, talk_s, code, status):
    assert call_status(direction, talk_s, code, zero_talk_is_missed=True) == status


def test_a_call_of_no_length_may_be_believed_where_the_account_says_so():
    assert call_status("in", 0, 4, zero_talk_is_missed=False) == "answered"
    assert call_status("in", 0, None, zero_talk_is_missed=False) == "missed"


@pytest.mark.parametrize(
    ("said", "user"),
    [
        ({"call_responsible": 9101003}, "user:9101003"),
        ({"call_responsible": "9101003"}, "user:9101003"),
        ({"call_responsible": "Борис"}, "user:9101002"),
        ({"note_created_by": 0}, "user:9101001"),
        ({"note_created_by": 0, "note_responsible_user_id": 0}, None),
    ],
)
def test_whose_call_it_was(said, user):
    assert read_call(**said).user_id == user


def test_notes_that_are_not_calls_are_passed_over_where_the_filter_is_ignored():
    api, _ = amo({CONTACT_NOTES: page("notes", call(1, note_type="common"), call(2))})
    assert [row.call_id for row in of(Call, read(api, "calls", FROM_THE_BEGINNING))] == ["note:2"]


def test_c82_a_note_that_moved_is_the_same_call_on_another_card():
    assert read_call(note_entity_id=5).contact_id == "contact:5"
    assert read_call(note_entity_id=5).call_id == read_call().call_id


def test_c81_that_a_telephony_may_know_more_calls_is_said_where_calls_are_counted():
    """A call of a number that is on no card never reaches the CRM: the page shows what the metric says of itself."""
    assert "сверьте с отчётом телефонии" in MISSED_CALLS.text["ru"].pitfalls
    assert "compare with the telephony report" in MISSED_CALLS.text["en"].pitfalls


# Whole syncs against the emulated account


@dataclass
class Told:
    """What a sync and a publication made of the tasks and calls below, and their ids."""

    data_dir: Path
    table: Callable[[str], pl.DataFrame]
    ids: dict[str, int]
    done_at: datetime

    def tasks(self, *columns: str, **names: str) -> list[tuple[Any, ...]]:
        asked = f"SELECT {', '.join(columns)} FROM task WHERE task_id = 'task:{self.ids[names['of']]}'"
        return rows(self.data_dir, asked)

    def episodes(self, *notes: str) -> pl.DataFrame:
        """What the calls of these notes were counted as."""
        named = [f"note:{self.ids[note]}" for note in notes]
        counted = self.table("call_episode_leg").filter(pl.col("call_id").is_in(named))["episode_id"].unique()
        return self.table("call_episode").filter(pl.col("episode_id").is_in(counted.to_list()))


VARIANTS = [{}, {"empty_object_as_list": False, "notes_bump_updated_at": True, "range_to_inclusive": False}]
MINUTE = timedelta(minutes=1)


@pytest.fixture(scope="module", params=VARIANTS, ids=["as documented", "otherwise"])
def told(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Told:
    crm, data_dir, ids = Crm(**request.param), tmp_path_factory.mktemp("activity"), {}

    def client(name: str, number: int) -> tuple[int, int]:
        """A contact, and a deal of it, open since a day ago."""
        contact = crm.people("create", entity="contacts", phones=[f"+{number}"])["id"]
        ids[f"deal of {name}"] = crm.people("create", entity="leads", contact_ids=[contact])["id"]
        return contact, number

    def call_of(name: str, contact: int, number: int, *, entity: str = "contacts", after_s: int = 0, **order: Any):
        at = crm.account.now + after_s
        ids[name] = crm.people("call", entity=entity, id=contact, phone=number, duration=60, created_at=at, **order)[
            "id"
        ]

    alone, twice, double, apart = (client(f"{n}", 7_916_000_00_00 + n) for n in range(4))
    crm.passes(DAY)
    call_of("alone", *alone, uniq=900_001)
    call_of("on the contact", *twice, uniq=900_002)
    call_of("on the deal", ids["deal of 1"], twice[1], entity="leads", uniq=900_002)
    for direction, is_in in (("in", 1), ("out", 0)):
        crm.passes(10 * MINUTE)
        for name, contact, after_s in (("at once", double, 5), ("later", apart, 10)):
            call_of(f"{name}, {direction}, first", *contact, is_in=is_in)
            call_of(f"{name}, {direction}, second", *contact, is_in=is_in, after_s=after_s)
    for name in ("told", "untold"):
        ids[name] = crm.people("task", entity="contacts", id=alone[0])["id"]
    ids["free"] = crm.people("task", type_id=99)["id"]
    crm.passes(MINUTE)
    assert crm.synced(data_dir).is_well
    crm.passes(DAY)
    crm.people("task", task_id=ids["told"], completed=True)
    done = crm.account.tasks.get(ids["untold"])._replace(completed_at=crm.account.now, updated_at=crm.account.now)
    crm.account.tasks.put(done)
    done_at = crm.now
    crm.passes(DAY)
    edited = crm.account.tasks.get(ids["told"])._replace(updated_at=crm.account.now)
    crm.account.tasks.put(edited)
    assert crm.synced(data_dir).is_well
    return Told(data_dir, published(data_dir, now=crm.now), ids, done_at)


def test_c69_c72_a_task_of_nothing_and_of_no_known_kind_is_stored(told: Told):
    columns = ("entity_id", "entity_kind", "kind", "task_type_id")
    assert told.tasks(*columns, of="free") == [(None, None, "unknown", "task_type:99")]
    free = told.table("task").filter(pl.col("task_id") == f"task:{told.ids['free']}")
    kinds = free.join(told.table("task_type"), on=["account_id", "task_type_id"], how="left")
    assert kinds["name"].to_list() == ["#99"]


def test_c70_c71_completion_is_told_by_its_event_or_estimated(told: Told):
    columns = ("completed_at", "completed_is_estimate")
    assert told.tasks(*columns, of="told") == [(told.done_at, False)]  # though the task was changed a day later
    assert told.tasks(*columns, of="untold") == [(told.done_at, True)]


@pytest.mark.parametrize("bounds_are_inclusive", [pytest.param(True, marks=pytest.mark.slow), False])
def test_c73_a_task_changed_behind_the_walk_is_found_by_the_next_sync(tmp_path: Path, bounds_are_inclusive: bool):
    crm, touched = Crm(range_to_inclusive=bounds_are_inclusive), []
    crm.synced(tmp_path)
    crm.passes(DAY)
    there = [crm.account.tasks.get(number) for number in crm.account.tasks.ids]
    for row in there:
        crm.account.tasks.put(row._replace(updated_at=crm.account.now))
    crm.passes(MINUTE)

    def change(_: int, url: httpx.URL) -> None:
        if url.path == "/api/v4/tasks" and url.params.get("page") == "2" and not touched:
            crm.passes(MINUTE)
            touched.append(crm.people("task", task_id=there[0].id, completed=True)["id"])

    crm.before, began = change, crm.now
    assert crm.synced(tmp_path, page_size=20).is_well
    assert touched
    assert rows(tmp_path, "SELECT watermark FROM coverage WHERE resource = 'task'") == [(began,)]
    crm.before = lambda *_: None
    crm.passes(DAY)
    assert crm.synced(tmp_path).is_well
    assert rows(tmp_path, f"SELECT is_completed FROM task WHERE task_id = 'task:{touched[0]}'") == [(True,)]
    assert rows(tmp_path, "SELECT count(*) FROM task WHERE deleted_at IS NULL") == [(len(there),)]


def test_c74_a_call_on_a_contact_belongs_to_its_open_deal(told: Told):
    (episode,) = told.episodes("alone").to_dicts()
    assert (episode["deal_id"], episode["deal_rule"]) == (f"lead:{told.ids['deal of 0']}", "open_deal")


def test_c75_a_call_on_a_contact_and_on_a_deal_is_one_call_of_the_deal(told: Told):
    (episode,) = told.episodes("on the contact", "on the deal").to_dicts()
    assert (episode["n_dup_removed"], episode["talk_s"]) == (1, 60)
    assert (episode["deal_id"], episode["deal_rule"]) == (f"lead:{told.ids['deal of 1']}", "named")


@pytest.mark.parametrize(
    ("notes", "n_calls", "talk_s"),
    [("at once, in", 1, 60), ("at once, out", 1, 60), ("later, in", 1, 120), ("later, out", 2, 60)],
)
def test_c76_two_notes_without_an_id_are_one_call_where_they_are_as_close_as_doubles(
    told: Told, notes: str, n_calls: int, talk_s: int
):
    """The reference would join what is 10 s apart; R-DEDUP of the catalogue joins within 5 s, and inbound legs."""
    counted = told.episodes(f"{notes}, first", f"{notes}, second")
    assert (counted.height, counted["talk_s"].max()) == (n_calls, talk_s)
