"""Tasks and calls: section 6.6 of the amoCRM reference."""

from datetime import timedelta

import pytest
from amo_fake import (
    ACCOUNT_BODY,
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
    Task,
    TaskLink,
)

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


@pytest.mark.parametrize(("mode", "n_asked"), [("disabled", 0), ("segments", 1)])
def test_c102_customers_are_asked_about_only_where_the_account_has_them(mode, n_asked):
    api, server = amo(account_body={**ACCOUNT_BODY, "customers_mode": mode})
    read(api, "calls", FROM_THE_BEGINNING)
    assert len(server.asked("/api/v4/customers/notes")) == n_asked
