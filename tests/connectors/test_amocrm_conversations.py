"""Chats, mail, sms and notes of amoCRM: rules beside the conformance cases of the reference."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from amo_demo import DAY, Crm, rows
from amo_fake import (
    CHANGED,
    FIRST,
    FROM_THE_BEGINNING,
    NOTHING,
    SEPTEMBER,
    SEPTEMBER_S,
    amo,
    call,
    event,
    of,
    page,
    problem,
    read,
)

from connectors.amocrm.notes import CALLS, OTHERS
from connectors.amocrm.webhooks import hear
from connectors.connector import Window
from connectors.records import Activity, Call, Chat, Listing, Message, Notice, RawRecord, Reread, Shown, Tombstone
from demo.model import CONTACT

EVENTS, TALKS, NOTES = "/api/v4/events", "/api/v4/talks", "/api/v4/contacts/notes"
A_MINUTE_IN = SEPTEMBER + timedelta(seconds=60)
HOUR = timedelta(hours=1)


def said(native_id: str, *, direction: str = "incoming", **value: Any) -> dict[str, Any]:
    """A message on a deal; `value` is what it says of itself."""
    change = {"value_after": [{"message": {"id": f"uuid-{native_id}", **value}}], "created_by": 0}
    return event(f"{direction}_chat_message", native_id, **change)


def read_messages(*events: dict[str, Any], window: Window = FIRST) -> list[Any]:
    api, _ = amo({EVENTS: page("events", *events)})
    return read(api, "messages", window)


def talk(native_id: int, **changes: Any) -> dict[str, Any]:
    return {
        "talk_id": native_id,
        "created_at": SEPTEMBER_S + 60,
        "updated_at": SEPTEMBER_S + 120,
        "rate": 0,
        "contact_id": 27700001,
        "entity_id": 18800001,
        "entity_type": "lead",
        "status": "in_work",
        "is_in_work": True,
        "origin": "telegram",
        "source_id": 15500901,
        "missed_at": None,
        **changes,
    }


def read_chat(**changes: Any) -> Chat:
    api, _ = amo({TALKS: page("talks", talk(5120, **changes))})
    (found,) = of(Chat, read(api, "talks", FROM_THE_BEGINNING))
    return found


def note(native_id: int, note_type: str, *, params: Any = None, **changes: Any) -> dict[str, Any]:
    return {**call(native_id, note_type=note_type), "params": params, **changes}


def read_note(note_type: str, *, params: Any = None, kind: Any = Activity, **changes: Any) -> Any:
    api, _ = amo({NOTES: page("notes", note(1, note_type, params=params, **changes))})
    (found,) = of(kind, read(api, "notes", FROM_THE_BEGINNING))
    return found


# Messages


def test_messages_are_asked_for_by_type_as_events_of_contacts():
    api, server = amo()
    read(api, "messages", FIRST)
    asked = server.asked(EVENTS)[0]
    assert asked["filter[type]"] == "incoming_chat_message,outgoing_chat_message"
    assert asked["filter[entity][]"] == "contact"
    assert int(asked["filter[created_at][from]"]) < SEPTEMBER_S


@pytest.mark.parametrize(
    ("origin", "channel", "is_unknown"),
    [
        ("telegram", "telegram", False),
        ("com.amocrm.amocrmwa", "whatsapp", False),
        ("instagram_business", "instagram", False),
        ("vk", "vk", False),
        (None, "unknown", False),
        ("com.someone.pigeon", "other", True),
    ],
)
def test_the_channel_of_a_message_is_its_origin(origin: str | None, channel: str, is_unknown: bool):
    yielded = read_messages(said("e1", origin=origin))
    assert of(Message, yielded)[0].channel == channel
    assert [notice.is_unknown for notice in of(Notice, yielded)] == [True] * is_unknown


def test_a_message_without_an_id_has_that_of_its_event():
    named, nameless = said("e1", talk_id=5120), said("e2", id=None)
    ids = [(row.message_id, row.chat_id) for row in of(Message, read_messages(named, nameless))]
    assert ids == [("message:uuid-e1", "talk:5120"), ("event:e2", None)]


def test_other_events_are_passed_over_where_the_filter_is_ignored():
    yielded = read_messages(event("lead_added", "e1"), said("e2"))
    assert len(of(Message, yielded)) == 1
    assert len(of(RawRecord, yielded)) == 2
    assert not of(Notice, yielded)


@pytest.mark.parametrize(("window", "is_listed", "is_asked"), [(FIRST, True, 0), (CHANGED, True, 1), (FIRST, False, 1)])
def test_a_talk_that_had_messages_is_read_again_where_its_list_does_not_tell(window, is_listed, is_asked):
    answers = {EVENTS: page("events", said("e1", talk_id=5120)), TALKS: NOTHING if is_listed else problem(404)}
    api, _ = amo(answers)
    read(api, "talks", FROM_THE_BEGINNING)
    assert of(Reread, read(api, "messages", window)) == [Reread("talks", ("5120",))] * is_asked


# Talks


def test_what_a_talk_says():
    row = read_chat(rate=9, missed_at=SEPTEMBER_S + 90)
    assert (row.chat_id, row.channel, row.opened_at, row.closed_at) == ("talk:5120", "telegram", A_MINUTE_IN, None)
    assert (row.contact_id, row.deal_id, row.source_id) == ("contact:27700001", "lead:18800001", "source:15500901")
    assert (row.rating, row.missed_at, row.status) == (9, SEPTEMBER + timedelta(seconds=90), "in_work")


def test_a_talk_out_of_work_was_closed_when_it_last_changed():
    assert read_chat(is_in_work=False, status="closed").closed_at == SEPTEMBER + timedelta(seconds=120)


def test_a_rating_of_nought_is_none_and_a_customer_is_no_deal():
    row = read_chat(rate=0, entity_type="customer", source_id=None)
    assert (row.rating, row.deal_id, row.source_id) == (None, None, None)


@pytest.mark.parametrize("window", [FROM_THE_BEGINNING, Window("sweep")])
def test_at_first_and_in_a_sweep_the_list_is_read_until_a_walk_shows_nothing_new(window: Window):
    api, server = amo({TALKS: [page("talks", talk(1)), page("talks", talk(1), talk(2))]})
    yielded = read(api, "talks", window)
    assert [row.chat_id for row in of(Chat, yielded)] == ["talk:1", "talk:2"]
    assert not of(Listing, yielded)
    assert not [key for asked in server.asked(TALKS) for key in asked if key.startswith("filter")]


def test_later_the_talks_in_work_are_read_and_tell_which_are_not():
    api, server = amo({TALKS: page("talks", talk(1), talk(2))})
    (listing,) = of(Listing, read(api, "talks", CHANGED))
    assert (listing.kind, listing.keys, listing.is_queue) == (Chat, {("talk:1",), ("talk:2",)}, True)
    assert {asked["filter[only_in_work]"] for asked in server.asked(TALKS)} == {"1"}


def test_no_talk_at_all_in_work_is_a_list_too_but_a_cut_one_is_none():
    api, _ = amo({TALKS: NOTHING})
    assert of(Listing, read(api, "talks", CHANGED))[0].keys == frozenset()
    api, _ = amo({TALKS: httpx.Response(200, json={"_embedded": []})})
    assert not of(Listing, read(api, "talks", CHANGED))


def test_talks_are_asked_for_by_their_own_ids():
    api, server = amo({TALKS: page("talks", talk(1), talk(2))})
    assert len(of(Chat, read(api, "talks", Window("ids", ids=("1", "2"))))) == 2
    assert server.asked(TALKS)[0].get("filter[talk_id][1]") == "2"


def test_without_a_list_talks_are_asked_for_one_by_one():
    one = httpx.Response(200, json=talk(1))
    api, _ = amo({TALKS: problem(404), f"{TALKS}/1": one, f"{TALKS}/2": problem(404)})
    assert [row.chat_id for row in of(Chat, read(api, "talks", Window("ids", ids=("1", "2"))))] == ["talk:1"]


@pytest.mark.parametrize("chat_event_value", [pytest.param("id", marks=pytest.mark.slow), "id+talk_id+origin"])
def test_talks_that_are_closed_and_taken_up_again_are_so_in_the_warehouse(tmp_path: Path, chat_event_value: str):
    crm = Crm(chat_event_value=chat_event_value)
    contact = crm.people("create", entity="contacts")["id"]
    number = crm.people("talk", contact_id=contact)["id"]

    def closed_at() -> Any:
        crm.passes(HOUR)
        assert crm.synced(tmp_path).is_well
        ((found,),) = rows(tmp_path, f"SELECT closed_at FROM chat WHERE chat_id = 'talk:{number}'")
        return found

    assert closed_at() is None
    crm.people("talk", talk_id=number)
    assert closed_at() == crm.now  # the list of those in work tells that, not when
    crm.people("talk", talk_id=number, is_in_work=1)
    assert closed_at() is None
    crm.people("talk", talk_id=number)
    closed = crm.now
    assert closed_at() == crm.now
    crm.passes(8 * DAY)
    assert closed_at() == closed  # a sweep reads the whole list


# Notes


@pytest.mark.parametrize(
    ("note_type", "by", "kind"),
    [
        ("common", 9101002, "note"),
        ("attachment", 9101002, "note"),
        ("geolocation", 9101002, "note"),
        ("common", 0, "other"),
        ("service_message", 9101002, "other"),
        ("invoice_paid", 0, "other"),
    ],
)
def test_what_a_person_wrote_is_a_note_and_what_a_service_wrote_is_not(note_type: str, by: int, kind: str):
    row = read_note(note_type, params={"text": "просит скидку"}, created_by=by)
    assert (row.activity_id, row.kind, row.user_id) == ("note:1", kind, f"user:{by}")
    assert (row.done_at, row.contact_id, row.text) == (A_MINUTE_IN, "contact:27700001", "просит скидку")


@pytest.mark.parametrize(
    ("note_type", "income", "by", "told"),
    [
        ("amomail_message", True, 0, ("in", "client", None)),
        ("amomail_message", "1", 9101002, ("in", "client", None)),
        ("amomail_message", False, 9101002, ("out", "user", "user:9101002")),
        ("amomail_message", "0", 0, ("out", "bot", "user:0")),
        ("amomail_message", None, 0, ("unknown", "unknown", None)),
        ("sms_in", None, 0, ("in", "client", None)),
        ("sms_out", None, 9101002, ("out", "user", "user:9101002")),
        ("sms_out", None, 0, ("out", "bot", "user:0")),
    ],
)
def test_mail_and_sms_are_messages(note_type: str, income: Any, by: int, told: tuple[Any, ...]):
    row = read_note(note_type, params={"income": income, "text": None}, kind=Message, created_by=by)
    assert (row.message_id, row.channel) == ("note:1", "email" if note_type == "amomail_message" else "sms")
    assert (row.direction, row.author, row.user_id) == told
    assert row.text is None


@pytest.mark.parametrize("params", [None, [], {}, {"text": ["a"]}])
def test_a_note_that_says_nothing_is_a_note(params: Any):
    assert read_note("common", params=params).text is None


def test_mail_has_its_summary_and_files():
    row = read_note("amomail_message", params={"content_summary": "КП", "attach_cnt": "2"}, kind=Message)
    assert (row.text, row.has_file) == ("КП", True)


def test_no_note_is_asked_for_twice_and_none_of_a_type_nobody_knows():
    api, server = amo()
    read(api, "calls", CHANGED)
    read(api, "notes", CHANGED)
    by_call, by_note = ([value for key, value in asked.items() if "note_type" in key] for asked in server.asked(NOTES))
    assert (by_call, by_note) == ([*CALLS], [*OTHERS])
    assert not {*CALLS} & {*OTHERS}


def test_notes_of_unknown_types_are_kept_raw_and_counted_where_the_filter_is_ignored():
    api, _ = amo({NOTES: page("notes", call(1), note(2, "hologram"), note(3, "common"))})
    yielded = read(api, "notes", FROM_THE_BEGINNING)
    assert [raw.native_id for raw in of(RawRecord, yielded)] == ["1", "2", "3"]
    assert [row.activity_id for row in of(Activity, yielded)] == ["note:3"]
    assert [(notice.n, notice.is_unknown) for notice in of(Notice, yielded)] == [(1, True)]
    assert not of(Call, yielded)


@pytest.mark.parametrize("side", ["value_after", "value_before"])
def test_a_deleted_note_is_marked_where_its_event_names_it(side: str):
    named = event("common_note_deleted", "e1", 5, entity_type="contact", **{side: [{"note": {"id": 66500009}}]})
    silent = event("common_note_deleted", "e2", 5, entity_type="contact")
    api, _ = amo({EVENTS: page("events", named, silent)})
    assert of(Tombstone, read(api, "events", FIRST)) == [Tombstone(Activity, "main", "note:66500009", A_MINUTE_IN)]


def test_a_sweep_shows_messages_and_activities_apart():
    api, _ = amo({NOTES: page("notes", note(1, "common"), note(2, "sms_in"), note(3, "common"))})
    shown = of(Shown, read(api, "notes", Window("sweep")))
    assert [(one.kind, one.ids) for one in shown] == [(Activity, ["1", "3"]), (Message, ["2"])]


def test_notes_that_vanish_are_deleted_unless_their_card_was(tmp_path: Path):
    crm = Crm()
    alive, dead = (crm.people("create", entity="contacts")["id"] for _ in range(2))
    told: dict[int, list[str]] = {}
    for contact in (alive, dead):
        for note_type in ("common", "sms_out"):
            number = crm.people("note", entity="contacts", id=contact, note_type=note_type)["id"]
            told.setdefault(contact, []).append(f"note:{number}")
    crm.passes(HOUR)
    crm.synced(tmp_path)
    crm.people("delete", entity="contacts", id=dead)
    table = crm.account.notes[CONTACT]
    for name in (*told[alive], *told[dead]):
        table.put(table.get(int(name[5:]))._replace(entity_kind=0))
    crm.passes(8 * DAY)
    assert crm.synced(tmp_path).is_well
    either = "SELECT activity_id AS id, deleted_at FROM activity UNION ALL SELECT message_id, deleted_at FROM message"
    gone = {name for name, at in rows(tmp_path, either) if at is not None}
    assert gone == {*told[alive]}


def test_messages_are_complete_since_the_log_begins_however_old_an_sms_is(tmp_path: Path):
    crm = Crm()
    contact = crm.people("create", entity="contacts")["id"]
    crm.people("note", entity="contacts", id=contact, note_type="sms_in", at=crm.account.company.started_at - 86_400)
    for _ in range(2):
        crm.passes(HOUR)
        assert crm.synced(tmp_path).is_well
    ((begins,),) = rows(tmp_path, "SELECT complete_from FROM coverage WHERE resource = 'message'")
    assert [(begins,)] == rows(tmp_path, "SELECT min(sent_at) FROM message WHERE message_id LIKE 'message:%'")


# Webhooks


@pytest.mark.parametrize(
    ("body", "ids"),
    [
        ("message[add][0][id]=uuid&message[add][0][talk_id]=5120&message[add][0][text]=x", {"talks": {"5120"}}),
        ("talk[update][0][talk_id]=5120&talk[update][0][is_in_work]=0", {"talks": {"5120"}}),
        (
            "leads[note][0][note][id]=7&leads[note][0][note][element_id]=8",
            {"calls": {"7"}, "notes": {"7"}, "leads": {"8"}},
        ),
    ],
)
def test_a_webhook_rings_for_talks_and_notes(body: str, ids: dict[str, set[str]]):
    assert hear(f"{body}&account[id]=31004410".encode()).ids == ids


@pytest.mark.parametrize("field", ["leads[update][0][id]", "message[add][0][talk_id]", "leads[note][0][note][id]"])
def test_a_number_too_great_for_an_id_rings_for_nothing(field: str):
    greatest, number = 2**63 - 1, "account[id]=31004410"
    assert hear(f"{field}={greatest}&{number}".encode()).ids
    assert not hear(f"{field}={greatest + 1}&{number}".encode()).ids


def test_chats_of_contacts_who_have_talks_are_kept_raw():
    listed = page("talks", talk(1), talk(2), talk(3, contact_id=None), talk(4, contact_id=27700002))
    links = page("chats", {"id": 551, "chat_id": "6d3c-a001", "contact_id": 27700001})
    api, server = amo({TALKS: [listed, NOTHING], "/api/v4/contacts/chats": links})
    (asked,) = of(Reread, read(api, "talks", FROM_THE_BEGINNING))
    assert asked == Reread("contact_chats", ("27700001", "27700002"))
    yielded = read(api, asked.resource, Window("ids", ids=asked.ids))
    assert [(raw.entity, raw.native_id) for raw in of(RawRecord, yielded)] == [("contacts/chats", "551")]
    (params,) = server.asked("/api/v4/contacts/chats")
    assert (params["contact_id[0]"], params["contact_id[1]"]) == asked.ids


@pytest.mark.parametrize("status", [402, 403, 404])
def test_chats_of_contacts_that_may_not_be_read_are_told(status):
    api, _ = amo({"/api/v4/contacts/chats": problem(status, title="No")})
    assert {type(thing) for thing in read(api, "contact_chats", Window("ids", ids=("1",)))} == {Notice}


def test_a_whole_sync_keeps_the_chats_of_contacts(tmp_path: Path):
    crm = Crm()
    assert crm.synced(tmp_path).is_well
    contacts = "SELECT DISTINCT contact_id FROM chat WHERE contact_id IS NOT NULL ORDER BY ALL"
    linked = (
        "SELECT DISTINCT 'contact:' || json_extract_string(decode(body), '$.contact_id') FROM raw_record "
        "WHERE entity = 'contacts/chats' ORDER BY ALL"
    )
    assert rows(tmp_path, linked) == rows(tmp_path, contacts) != []
