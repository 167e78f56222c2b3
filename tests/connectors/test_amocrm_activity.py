"""Tasks, calls and the change log: sections 6.6 and 6.7 of the amoCRM reference."""

from datetime import timedelta

import pytest
from amo_fake import (
    ACCOUNT_BODY,
    CHANGED,
    FIRST,
    FROM_THE_BEGINNING,
    LONG_LIVED,
    SEPTEMBER,
    SEPTEMBER_S,
    amo,
    call,
    event,
    of,
    page,
    read,
    rows_of,
    stage_event,
    task,
)

from connectors.amocrm.mapping import call_status
from connectors.connector import Window
from connectors.records import (
    Call,
    Contact,
    Deal,
    DealAmountChange,
    DealOwnerChange,
    DealStageTransition,
    MergeLink,
    Notice,
    Patch,
    RawRecord,
    Reread,
    Task,
    TaskLink,
    Tombstone,
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


# Events


def test_c83_moves_through_the_stages():
    moves = [
        stage_event("e1", (SALES, 60200001), (SALES, 60200002)),
        stage_event("e2", (SALES, 60200002), (SALES, 142), created_at=SEPTEMBER_S + 90, created_by=0),
    ]
    first, second = of(DealStageTransition, read_events(*moves))
    assert (first.change_id, first.deal_id, first.changed_at) == ("event:e1", "lead:18800001", A_MINUTE_IN)
    assert (first.from_stage_id, first.to_stage_id, first.by_user_id) == (
        "status:60200001",
        "status:60200002",
        "user:9101002",
    )
    assert (second.to_stage_id, second.by_user_id, second.origin) == ("status:142", "user:0", "event")


def test_c84_a_move_to_another_pipeline_is_one_move():
    move = of(DealStageTransition, read_events(stage_event("e1", (SALES, 60200002), (REPEAT, 60200012))))[0]
    assert (move.from_pipeline_id, move.to_pipeline_id) == (f"pipeline:{SALES}", f"pipeline:{REPEAT}")


def test_c85_c86_moves_keep_both_ends_so_that_they_can_be_chained():
    same_second = [
        stage_event("e2", (SALES, 60200002), (SALES, 60200003)),
        stage_event("e1", (SALES, 60200001), (SALES, 60200002)),
    ]
    moves = of(
        DealStageTransition, read_events(*same_second, stage_event("e3", (SALES, 1), (SALES, 143), value_before=[]))
    )
    assert [(move.from_stage_id, move.to_stage_id) for move in moves] == [
        ("status:60200002", "status:60200003"),
        ("status:60200001", "status:60200002"),
        (None, "status:143"),
    ]


def test_c97_a_deal_may_pass_to_nobody():
    change = event(
        "entity_responsible_changed",
        "e1",
        value_before=[{"responsible_user": {"id": 9101002}}],
        value_after=[{"responsible_user": {"id": 0}}],
    )
    contacts = {**change, "id": "e2", "entity_type": "contact"}
    rows = of(DealOwnerChange, read_events(change, contacts))
    assert [(row.from_user_id, row.to_user_id) for row in rows] == [("user:9101002", None)]


@pytest.mark.parametrize(("sale", "minor"), [(145000, 14500000), ("145000", 14500000), (None, None)])
def test_amounts_change_as_numbers_text_or_nothing(sale, minor):
    change = event(
        "sale_field_changed",
        "e1",
        value_before=[{"sale_field_value": {"sale": sale}}],
        value_after=[{"sale_field_value": {"sale": 0}}],
    )
    row = of(DealAmountChange, read_events(change))[0]
    assert (row.from_minor, row.to_minor, row.currency) == (minor, 0, "RUB")


def test_c53_a_deal_deleted_and_restored_is_read_again_whatever_the_order_of_events():
    restored = event("lead_restored", "e2", created_at=SEPTEMBER_S + 90)
    yielded = read_events(restored, event("lead_deleted", "e1"))
    assert of(Tombstone, yielded) == [Tombstone(Deal, "main", "lead:18800001", A_MINUTE_IN)]
    assert of(Patch, yielded) == [
        Patch(Deal, "main", "lead:18800001", "restored_at", SEPTEMBER + timedelta(seconds=90))
    ]
    assert of(Reread, yielded) == [Reread("leads", ("18800001",))]


def test_a_deleted_task_is_marked():
    yielded = read_events(event("task_deleted", "e1", 4100001, entity_type="task"))
    assert of(Tombstone, yielded) == [Tombstone(Task, "main", "task:4100001", A_MINUTE_IN)]


@pytest.mark.parametrize("values", [[], [{}], [7], [{"hologram": {"id": 1}}], {"0": {"x": 1}}, None])
def test_c90_c91_values_nobody_knows_stop_nothing(values):
    odd = event("hologram_changed", "e1", value_after=values)
    broken = event("lead_status_changed", "e2", value_after=values)
    good = stage_event("e3", (SALES, 1), (SALES, 2))
    yielded = read_events(odd, broken, good)
    assert [row.change_id for row in of(DealStageTransition, yielded)] == ["event:e3"]
    assert [raw.native_id for raw in of(RawRecord, yielded)] == ["e1", "e2", "e3"]
    assert [notice.n for notice in of(Notice, yielded) if notice.is_unknown] == [1]


def merge(winner: int, **changes):
    return event("entity_merged", "e1", winner, entity_type="contact", **changes)


def deletion(loser: int, **changes):
    return event("contact_deleted", f"d{loser}", loser, entity_type="contact", **changes)


def test_c93_a_deletion_in_the_same_moment_tells_who_was_merged_into_whom():
    link = of(MergeLink, read_events(merge(1), deletion(2, created_at=SEPTEMBER_S + 62)))[0]
    assert (link.kind, link.from_id, link.into_id, link.merged_at) == ("contact", "contact:2", "contact:1", A_MINUTE_IN)


@pytest.mark.parametrize("other", [{"created_by": 9101001}, {"created_at": SEPTEMBER_S + 63}, {"entity_id": 1}])
def test_a_merge_is_not_guessed_from_another_persons_or_a_later_deletion(other):
    assert not of(MergeLink, read_events(merge(1), deletion(2) | other))


def test_c94_a_merge_without_a_trace_of_the_loser_reads_the_winner_again():
    yielded = read_events(merge(1))
    assert not of(MergeLink, yielded)
    assert of(Reread, yielded) == [Reread("contacts", ("1",))]


def test_a_later_read_follows_links_and_tags_because_they_may_not_move_the_change_time():
    linked = event("entity_tag_added", "e1", 5, entity_type="company")
    assert of(Reread, read_events(linked, window=CHANGED)) == [Reread("companies", ("5",))]
    for window, settings, is_asked in (
        (CHANGED, LONG_LIVED, True),
        (FIRST, LONG_LIVED, False),
        (CHANGED, LONG_LIVED.model_copy(update={"reread_links": False}), False),
    ):
        api, server = amo(settings=settings)
        read(api, "events", window)
        assert ("entity_tag_added" in server.asked(EVENTS)[0]["filter[type]"].split(",")) is is_asked


def test_windows_of_events_reach_two_seconds_over_each_other_so_that_no_merge_is_cut_in_two():
    api, server = amo()
    read(api, "events", Window("created", SEPTEMBER, SEPTEMBER + timedelta(days=7)))
    asked = server.asked(EVENTS)[0]
    assert int(asked["filter[created_at][from]"]) <= SEPTEMBER_S - 2
    assert int(asked["filter[created_at][to]"]) >= SEPTEMBER_S + 7 * 86_400 + 2


def test_a_deleted_card_is_marked_and_asked_for_again_in_case_its_return_left_no_trace():
    yielded = read_events(deletion(2))
    assert of(Tombstone, yielded) == [Tombstone(Contact, "main", "contact:2", A_MINUTE_IN)]
    assert of(Reread, yielded) == [Reread("contacts", ("2",))]
