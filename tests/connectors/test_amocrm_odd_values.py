"""What comes in another type than the reference says: it is unknown and counted, it is no fact and ends no list."""

import pytest
from amo_fake import CHANGED, SEPTEMBER_S, amo, call, contact, event, lead, page, read, rows_of, task
from httpx import Response

from connectors.connector import Window
from connectors.records import (
    Call,
    Chat,
    Contact,
    Deal,
    DealContact,
    DealOwnerChange,
    Listing,
    LossReason,
    Message,
    Notice,
    Pipeline,
    RawRecord,
    Reread,
    Stage,
    Stub,
    Task,
    Tombstone,
    User,
    Yield,
)

LEADS = "/api/v4/leads"
NO_ID = [[1, 2], {"id": 1}, True]
UNREADABLE = [[9101002], {"id": 9101002}, "nobody", "", True]


def of(kind: type, yielded: list[Yield]) -> list:
    return [thing for thing in yielded if type(thing) is kind]


def unknowns(yielded: list[Yield]) -> list[str]:
    return [notice.text for notice in of(Notice, yielded) if notice.is_unknown]


def read_one(resource: str, path: str, item: object, *, collection: str = "", window: Window = CHANGED) -> list[Yield]:
    api, _ = amo({path: page(collection or resource, item)})
    return read(api, resource, window)


# Odd ids


@pytest.mark.parametrize("odd", NO_ID)
def test_a_row_whose_id_is_none_is_kept_raw_and_the_others_are_read(odd):
    api, _ = amo({LEADS: page("leads", lead(1), lead(odd), lead(3))})
    yielded = read(api, "leads", CHANGED)
    assert [deal.deal_id for deal in of(Deal, yielded)] == ["lead:1", "lead:3"]
    assert len(of(RawRecord, yielded)) == 3
    assert unknowns(yielded) == ["leads: objects kept raw only, because of deal_id"]


@pytest.mark.parametrize("odd", NO_ID)
def test_where_a_row_has_no_id_nothing_is_taken_as_removed(odd):
    path = "/api/v4/leads/loss_reasons"
    for native_id, n_listings in ((2, 1), (odd, 0)):
        api, _ = amo({path: page("loss_reasons", {"id": 1, "name": "a"}, {"id": native_id, "name": "b"})})
        yielded = read(api, "loss_reasons")
        assert len(of(LossReason, yielded)) == 1 + n_listings
        assert len(of(Listing, yielded)) == n_listings


@pytest.mark.parametrize("odd", [None, 7, "x", []])
def test_an_answer_by_ids_that_holds_no_object_ends_nothing(odd):
    api, _ = amo({LEADS: page("leads", odd, lead(1))})
    yielded = read(api, "leads", Window("ids", ids=("1", "2")))
    assert [deal.deal_id for deal in of(Deal, yielded)] == ["lead:1"]
    assert "leads: items that are not objects were left out" in [notice.text for notice in of(Notice, yielded)]


@pytest.mark.parametrize("odd", NO_ID)
def test_a_row_without_an_id_among_those_asked_for_does_not_make_the_filter_look_ignored(odd):
    api, server = amo({LEADS: page("leads", lead(odd), lead(1))})
    assert [deal.deal_id for deal in of(Deal, read(api, "leads", Window("ids", ids=("1",))))] == ["lead:1"]
    assert len(server.asked(LEADS)) == 1


@pytest.mark.parametrize("kind", ["ids", "probe"])
@pytest.mark.parametrize("odd", [[1], "x", 7])
def test_an_address_of_a_row_that_answers_something_else_says_nothing_of_it(kind, odd):
    answers = {f"{LEADS}/1": Response(200, json=odd), f"{LEADS}/2": Response(200, json=lead(2))}
    api, _ = amo(answers)
    api.ignores_filters("leads")
    yielded = read(api, "leads", Window(kind, ids=("1", "2")))
    assert [deal.deal_id for deal in of(Deal, yielded)] == ["lead:2"]
    assert not of(Tombstone, yielded)


def test_a_linked_card_without_an_id_costs_no_other():
    linked = {"contacts": [{"id": [5]}, {"id": 6, "is_main": True}, {"id": "7"}], "companies": [{"id": {}}, {"id": 8}]}
    yielded = read_one("leads", LEADS, lead(1, _embedded=linked))
    (deal,) = of(Deal, yielded)
    assert (deal.main_contact_id, deal.company_id) == ("contact:6", "company:8")
    assert [row.contact_id for row in rows_of(DealContact, yielded)] == ["contact:6", "contact:7"]
    assert unknowns(yielded) == ["ids of contacts that cannot be read are left empty"]


# Ids of other things


@pytest.mark.parametrize("odd", UNREADABLE)
def test_an_unreadable_user_is_nobody_and_no_user_is_invented(odd):
    api, _ = amo({LEADS: page("leads", lead(1, created_by=odd, responsible_user_id=odd))})
    yielded = read(api, "leads", CHANGED)
    (deal,) = of(Deal, yielded)
    assert (deal.created_by, deal.responsible_user_id) == (None, None)
    assert not [stub for stub in of(Stub, yielded) if isinstance(stub.record, User)]
    counted = [notice.n for notice in of(Notice, yielded) if notice.is_unknown]
    assert counted == ([2] if odd else [])


@pytest.mark.parametrize("written", [9101002, "9101002"])
def test_an_id_may_come_as_text(written):
    (deal,) = of(Deal, read_one("leads", LEADS, lead(1, created_by=written, loss_reason_id=written)))
    assert (deal.created_by, deal.loss_reason_id) == ("user:9101002", "loss_reason:9101002")


@pytest.mark.parametrize("zero", [0, "0"])
def test_zero_is_the_robot_who_made_a_card_and_nobody_who_owns_it(zero):
    (deal,) = of(Deal, read_one("leads", LEADS, lead(1, created_by=zero, responsible_user_id=zero)))
    assert (deal.created_by, deal.responsible_user_id) == ("user:0", None)


@pytest.mark.parametrize("odd", [[1], {"id": 1}, "x"])
def test_things_named_by_a_lead_that_have_no_id_cost_the_lead_nothing(odd):
    named = {
        "loss_reason": [{"id": odd, "name": "?"}],
        "source": {"id": odd, "name": "?"},
        "tags": [{"id": odd, "name": "t"}],
    }
    yielded = read_one("leads", LEADS, lead(1, loss_reason_id=odd, source_id=odd, _embedded=named))
    (deal,) = of(Deal, yielded)
    assert (deal.loss_reason_id, deal.source_id) == (None, None)
    assert not [stub for stub in of(Stub, yielded) if isinstance(stub.record, LossReason)]
    assert set(unknowns(yielded)) == {
        f"ids of {kind} that cannot be read are left empty" for kind in ("loss_reason", "source", "tag")
    }


@pytest.mark.parametrize("odd", [[1], {"id": 1}, "x"])
def test_a_stage_that_cannot_be_read_refuses_the_deal(odd):
    yielded = read_one("leads", LEADS, lead(1, status_id=odd))
    assert not of(Deal, yielded)
    assert unknowns(yielded) == ["leads: objects kept raw only, because of stage_id"]


@pytest.mark.parametrize("odd", [[1], {"id": 1}, "x"])
def test_a_task_or_a_call_on_a_card_that_cannot_be_read_hangs_on_nothing(odd):
    (row,) = of(Task, read_one("tasks", "/api/v4/tasks", task(1, entity_id=odd, task_type_id=odd)))
    assert (row.entity_id, row.entity_kind, row.task_type_id, row.kind) == (None, None, None, "unknown")
    path = "/api/v4/contacts/notes"
    (note,) = of(Call, read_one("calls", path, call(1, note_entity_id=odd), collection="notes"))
    assert (note.entity_id, note.contact_id) == (None, None)


@pytest.mark.parametrize("odd", [[1], {"id": 1}, "x"])
def test_an_event_of_a_card_that_cannot_be_read_deletes_nothing(odd):
    for name in ("task_deleted", "lead_deleted", "task_completed", "lead_restored", "lead_status_changed"):
        yielded = read_one("events", "/api/v4/events", event(name, "e1", odd))
        assert [type(thing) for thing in yielded] == [RawRecord, Notice]


def test_an_owner_that_cannot_be_read_is_no_owner():
    sides = {"value_after": [{"responsible_user": {"id": [7]}}], "value_before": [{"responsible_user": {"id": 8}}]}
    yielded = read_one("events", "/api/v4/events", event("entity_responsible_changed", "e1", **sides))
    (change,) = of(DealOwnerChange, yielded)
    assert (change.from_user_id, change.to_user_id) == ("user:8", None)


@pytest.mark.parametrize("odd", [[1], {"id": 1}, "x"])
def test_a_message_of_a_talk_that_cannot_be_read_is_kept_without_one(odd):
    said = event("outgoing_chat_message", "e1", entity_type="contact", created_by=odd)
    said["value_after"] = [{"message": {"id": "a-b", "talk_id": odd}}]
    yielded = read_one("messages", "/api/v4/events", said, collection="events")
    (message,) = of(Message, yielded)
    assert (message.message_id, message.chat_id, message.user_id, message.author) == (
        "message:a-b",
        None,
        None,
        "unknown",
    )
    assert not of(Reread, yielded)


# Yes and no


@pytest.mark.parametrize(
    ("written", "is_completed"),
    [("0", False), (0, False), (False, False), (None, False), ("1", True), (1, True), (True, True), ("true", True)],
)
def test_a_flag_may_be_written_as_number_or_text(written, is_completed):
    (row,) = of(Task, read_one("tasks", "/api/v4/tasks", task(1, is_completed=written)))
    assert (row.is_completed, row.completed_at is not None) == (is_completed, is_completed)


@pytest.mark.parametrize("odd", ["maybe", 2, [], {"a": 1}])
def test_a_task_that_does_not_say_whether_it_is_completed_is_refused(odd):
    yielded = read_one("tasks", "/api/v4/tasks", task(1, is_completed=odd))
    assert not of(Task, yielded)
    assert sorted(unknowns(yielded)) == [
        "tasks: objects kept raw only, because of is_completed",
        "values of is_completed that are neither yes nor no count as unknown",
    ]


@pytest.mark.parametrize(("written", "is_gone"), [(1, True), ("1", True), ("true", True), (0, False), ("0", False)])
@pytest.mark.parametrize(("resource", "kind", "make"), [("leads", Deal, lead), ("contacts", Contact, contact)])
def test_what_calls_itself_deleted_in_any_spelling_is(resource, kind, make, written, is_gone):
    (row,) = of(kind, read_one(resource, f"/api/v4/{resource}", make(1, is_deleted=written)))
    assert (row.deleted_at is not None) is is_gone


def test_what_may_be_deleted_or_not_is_alive_and_counted():
    yielded = read_one("leads", LEADS, lead(1, is_deleted="maybe"))
    assert of(Deal, yielded)[0].deleted_at is None
    assert unknowns(yielded) == ["values of is_deleted that are neither yes nor no count as unknown"]


def test_the_trash_may_write_its_flag_as_a_number():
    api, _ = amo({LEADS: page("leads", lead(1, is_deleted=1), lead([2], is_deleted=1))})
    yielded = read(api, "trash", CHANGED)
    assert [grave.id for grave in of(Tombstone, yielded)] == ["lead:1"]


def test_stages_written_as_text_are_won_lost_and_unsorted():
    statuses = [{"id": written, "name": "s", "sort": 1, "type": kind} for written, kind in
                (("142", 0), ("143", "0"), ("7", "1"), (8, 0))]  # fmt: skip
    pipeline = {"id": "1", "name": "p", "is_archive": "0", "_embedded": {"statuses": statuses}}
    yielded = read_one("pipelines", "/api/v4/leads/pipelines", pipeline, window=Window("whole"))
    assert [stage.kind for stage in of(Stage, yielded)] == ["won", "lost", "unsorted", "open"]
    assert not of(Pipeline, yielded)[0].is_archived


@pytest.mark.parametrize(
    ("written", "is_active"), [(False, False), ("0", False), (0, False), (None, True), ("1", True)]
)
def test_a_user_is_active_unless_it_is_said_that_he_is_not(written, is_active):
    user = {"id": 5, "name": "u", "rights": {"is_active": written, "group_id": [1]}}
    yielded = read_one("users", "/api/v4/users", user, window=Window("whole"))
    (row,) = [row for row in of(User, yielded) if row.user_id == "user:5"]
    assert row.is_active is is_active


@pytest.mark.parametrize(("written", "is_closed"), [("0", True), (0, True), ("1", False), ("maybe", False)])
def test_a_talk_is_closed_when_it_is_said_not_to_be_in_work(written, is_closed):
    talk = {"talk_id": "5", "is_in_work": written, "created_at": SEPTEMBER_S, "updated_at": SEPTEMBER_S + 60}
    (chat,) = of(Chat, read_one("talks", "/api/v4/talks", talk, window=CHANGED))
    assert (chat.chat_id, chat.closed_at is not None) == ("talk:5", is_closed)


# Numbers


@pytest.mark.parametrize("odd", [1.5, "1.5", "x", [1]])
def test_a_number_that_is_not_whole_is_unknown_and_counted(odd):
    status = {"id": 8, "name": "s", "sort": odd, "type": 0}
    pipeline = {"id": 1, "name": "p", "sort": 10, "_embedded": {"statuses": [status]}}
    yielded = read_one("pipelines", "/api/v4/leads/pipelines", pipeline, window=Window("whole"))
    assert of(Stage, yielded)[0].sort == 0
    assert unknowns(yielded) == ["values of sort that are no whole numbers are left empty"]


def test_an_id_with_a_part_is_no_other_cards_id():
    assert not of(Deal, read_one("leads", LEADS, lead(1.5)))
    yielded = read_one("leads", LEADS, lead(1, _embedded={"contacts": [{"id": 7.5}]}))
    assert of(Deal, yielded)[0].main_contact_id is None
    assert unknowns(yielded) == ["ids of contacts that cannot be read are left empty"]


@pytest.mark.parametrize(("price", "minor", "n"), [(None, None, 0), ("", None, 0), ("много", None, 1), (1.5, 150, 0)])
def test_an_amount_that_cannot_be_read_is_unknown_and_counted(price, minor, n):
    yielded = read_one("leads", LEADS, lead(1, price=price))
    assert of(Deal, yielded)[0].amount_minor == minor
    assert unknowns(yielded) == ["amounts that cannot be read are left empty"] * n


@pytest.mark.parametrize(
    ("duration", "talk_s", "status", "n"),
    [(60.4, 61, "answered", 0), ("0,4", 1, "answered", 0), (0, 0, "missed", 0), (-3, None, "answered", 1),
     ("long", None, "answered", 1), (None, None, "answered", 0)],
)  # fmt: skip
def test_a_talk_of_less_than_a_second_is_one(duration, talk_s, status, n):
    note = call(1, duration=duration, call_status=4)
    yielded = read_one("calls", "/api/v4/contacts/notes", note, collection="notes")
    assert [(row.talk_s, row.status) for row in of(Call, yielded)] == [(talk_s, status)]
    assert unknowns(yielded) == ["lengths of calls that cannot be read are left empty"] * n


def test_an_instant_may_have_a_part_of_a_second():
    (deal,) = of(Deal, read_one("leads", LEADS, lead(1, created_at=SEPTEMBER_S + 0.5)))
    assert deal.created_at.timestamp() == SEPTEMBER_S + 0.5
