"""What decides between two readings of one thing, and what a batch does to the tables."""

import hashlib
import hmac
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine
from warehouse_words import (
    KEY,
    NOON,
    Table,
    contact,
    contacts,
    deal,
    deleted,
    load,
    raw,
    stage,
    tags,
    task,
    user,
)

from connectors.records import (
    Call,
    ClientEmail,
    ClientPhone,
    Contact,
    Deal,
    Listing,
    Notice,
    OwnedSet,
    Patch,
    Reread,
    Stage,
    Stub,
    Task,
    User,
    UserDepartment,
)

EARLIER, LATER = NOON + timedelta(hours=1), NOON + timedelta(hours=2)


def test_a_later_reading_overwrites(engine: Engine, table: Table):
    load(engine, (1, deal(name="old")))
    load(engine, (2, deal(name="new")))
    assert table("deal", "name", "read_seq") == [("new", 2)]


def test_an_earlier_reading_never_wins(engine: Engine, table: Table):
    load(engine, (2, deal(name="new")))
    load(engine, (1, deal(name="old")))
    assert table("deal", "name", "read_seq") == [("new", 2)]


def test_of_a_key_twice_in_a_batch_the_later_reading_wins_then_the_last(engine: Engine, table: Table):
    load(engine, (2, deal(name="a")), (2, deal(name="b")), (1, deal(name="c")))
    assert table("deal", "name") == ["b"]


def test_load_seq_moves_only_for_a_row_that_changed(engine: Engine, table: Table):
    load(engine, (1, deal(1)), (1, deal(2)), load_seq=1)
    load(engine, (2, deal(1)), (2, deal(2, stage_id="status:11")), load_seq=2)
    assert table("deal", "deal_id", "load_seq") == [("lead:1", 1), ("lead:2", 2)]


def test_load_seq_moves_when_a_mapping_changed_although_the_source_did_not(engine: Engine, table: Table):
    load(engine, (1, deal(raw_hash="same", utm_source=None)), load_seq=1)
    load(engine, (2, deal(raw_hash="same", utm_source="yandex")), load_seq=2)
    assert table("deal", "load_seq") == [2]


def test_instants_keep_their_microseconds_in_utc(engine: Engine, table: Table):
    at = datetime(2026, 3, 2, 15, 0, 0, 123456, tzinfo=UTC)
    load(engine, (1, deal(created_at=at)))
    assert table("deal", "created_at") == [at]


def test_a_tombstone_touches_deleted_at_only(engine: Engine, table: Table):
    load(engine, (1, deal(name="kept")), load_seq=1)
    load(engine, (2, deleted(Deal, "lead:1", EARLIER)), load_seq=2)
    assert table("deal", "name", "deleted_at", "load_seq") == [("kept", EARLIER, 2)]


def test_a_tombstone_read_later_than_the_row_holds_when_the_row_is_written_after_it(engine: Engine, table: Table):
    load(engine, (5, deleted(Deal, "lead:1", EARLIER)))
    assert table("deal", "deal_id") == []
    load(engine, (4, deal()))
    assert table("deal", "deleted_at") == [EARLIER]


def test_a_row_read_after_its_tombstone_is_restored(engine: Engine, table: Table):
    load(engine, (1, deal()))
    load(engine, (2, deleted(Deal, "lead:1", EARLIER)))
    load(engine, (3, deal()), load_seq=9)
    assert table("deal", "deleted_at", "load_seq") == [(None, 9)]


def test_an_old_page_does_not_bring_a_deleted_row_back(engine: Engine, table: Table):
    load(engine, (2, deal()))
    load(engine, (3, deleted(Deal, "lead:1", EARLIER)))
    load(engine, (1, deal()))
    load(engine, (2, deal()))
    assert table("deal", "deleted_at") == [EARLIER]


def test_a_tombstone_without_an_instant_restores(engine: Engine, table: Table):
    load(engine, (1, deal(deleted_at=EARLIER)))
    load(engine, (2, deleted(Deal, "lead:1", None)))
    assert table("deal", "deleted_at") == [None]


def test_a_tombstone_of_an_unknown_row_makes_no_row(engine: Engine, table: Table):
    load(engine, (1, deleted(Deal, "lead:404")))
    assert table("deal", "deal_id") == []


def test_rows_with_a_double_key_are_named_with_a_slash(engine: Engine, table: Table):
    load(engine, (1, stage("status:10")), (1, stage("status:11")))
    load(engine, (2, deleted(Stage, "pipeline:1/status:11", EARLIER)))
    assert table("stage", "stage_id", "deleted_at") == [("status:10", None), ("status:11", EARLIER)]


def test_a_set_replaces_all_rows_of_its_owner(engine: Engine, table: Table):
    load(engine, (1, deal(1)), (1, tags(1, "vip", "cold")), (1, deal(2)), (1, tags(2, "vip")))
    load(engine, (2, deal(1)), (2, tags(1, "hot", "vip")))
    assert table("entity_tag", "entity_id", "tag") == [("lead:1", "hot"), ("lead:1", "vip"), ("lead:2", "vip")]


def test_an_empty_set_empties(engine: Engine, table: Table):
    load(engine, (1, deal()), (1, tags(1, "vip")))
    load(engine, (2, deal()), (2, tags(1)))
    assert table("entity_tag", "tag") == []


def test_a_set_read_before_its_owner_was_read_again_is_ignored(engine: Engine, table: Table):
    load(engine, (2, deal()), (2, tags(1)))
    load(engine, (1, deal()), (1, tags(1, "vip")))
    assert table("entity_tag", "tag") == []


def test_of_two_sets_of_an_owner_in_a_batch_the_later_reading_wins(engine: Engine, table: Table):
    load(engine, (2, deal()), (2, tags(1, "new")), (1, deal()), (1, tags(1, "old")))
    assert table("entity_tag", "tag") == ["new"]


def test_sets_of_one_kind_may_hang_on_different_cards(engine: Engine, table: Table):
    phones = OwnedSet(ClientPhone, "main", "contact:1", Contact, [_phone("+79161234567", "8 916 123-45-67")])
    mine = OwnedSet(ClientPhone, "main", "lead:1", Deal, [_phone(None, "ask the secretary", entity_id="lead:1")])
    load(engine, (1, contact()), (1, phones), (1, deal()), (1, mine))
    assert table("client_phone", "entity_id", "phone_digits") == [("contact:1", 11), ("lead:1", 0)]


def _phone(e164: str | None, raw_phone: str, entity_id: str = "contact:1") -> ClientPhone:
    return ClientPhone(
        account_id="main", entity_id=entity_id, entity_kind="contact", phone_e164=e164, phone_raw=raw_phone
    )


def _hmac(text: str) -> str:
    return hmac.new(KEY, text.encode(), hashlib.sha256).hexdigest()


def test_a_phone_is_joined_by_a_keyed_hash_of_its_international_form(engine: Engine, table: Table):
    call = Call(
        account_id="main", call_id="note:1", direction="in", subtype="normal", started_at=NOON, status="missed",
        phone_e164="+79161234567", phone_raw="89161234567",
    )  # fmt: skip
    load(
        engine, (1, contact()), (1, OwnedSet(ClientPhone, "main", "contact:1", Contact, [_phone("+79161234567", "x")]))
    )
    load(engine, (1, call), (1, call.model_copy(update={"call_id": "note:2", "phone_e164": None, "phone_raw": None})))
    assert table("client_phone", "phone_key") == [_hmac("+79161234567")]
    assert table("call", "call_id", "phone_key", "phone_digits") == [
        ("note:1", _hmac("+79161234567"), 11),
        ("note:2", None, 0),
    ]


def test_a_number_nobody_can_parse_has_a_key_that_joins_no_call(engine: Engine, table: Table):
    load(engine, (1, contact()), (1, OwnedSet(ClientPhone, "main", "contact:1", Contact, [_phone(None, "доб. 12")])))
    assert table("client_phone", "phone_key") == [_hmac("raw:доб. 12")]


def test_an_email_is_joined_by_a_keyed_hash(engine: Engine, table: Table):
    mail = ClientEmail(account_id="main", entity_id="contact:1", entity_kind="contact", email_norm="a@example.org")
    load(engine, (1, contact()), (1, OwnedSet(ClientEmail, "main", "contact:1", Contact, [mail])))
    assert table("client_email", "email_key") == [_hmac("a@example.org")]


def test_every_version_of_a_raw_object_is_kept_once_with_its_first_and_last_reading(engine: Engine, table: Table):
    load(engine, (3, raw(1, {"a": 1})), (4, raw(1, {"a": 2})))
    load(engine, (1, raw(1, {"a": 1})), (2, raw(1, {"a": 1})), (9, raw(1, {"a": 1})))
    assert table("raw_record", "first_read_seq", "last_read_seq") == [(1, 9), (4, 4)]
    assert set(table("raw_record", "body")) == {b'{"a":1}', b'{"a":2}'}


def _completed(number: int, at: datetime | None, *, estimate: bool) -> Task:
    return task(number, completed_at=at, completed_is_estimate=estimate, is_completed=at is not None)


def test_an_instant_from_an_event_replaces_an_estimate_and_survives_the_next_reading(engine: Engine, table: Table):
    load(engine, (1, _completed(1, LATER, estimate=True)))
    load(engine, (2, Patch(Task, "main", "task:1", "completed_at", EARLIER)), load_seq=7)
    assert table("task", "completed_at", "completed_is_estimate", "load_seq") == [(EARLIER, False, 7)]
    load(engine, (3, _completed(1, LATER, estimate=True)), load_seq=8)
    assert table("task", "completed_at", "completed_is_estimate", "load_seq") == [(EARLIER, False, 7)]


def test_an_event_read_before_its_row_is_not_lost(engine: Engine, table: Table):
    load(engine, (1, Patch(Task, "main", "task:1", "completed_at", EARLIER)))
    load(engine, (2, _completed(1, LATER, estimate=True)))
    assert table("task", "completed_at", "completed_is_estimate") == [(EARLIER, False)]


def test_of_two_events_the_later_wins_in_any_order(engine: Engine, table: Table):
    load(engine, (1, _completed(1, LATER, estimate=True)), (2, Patch(Task, "main", "task:1", "completed_at", LATER)))
    load(engine, (3, Patch(Task, "main", "task:1", "completed_at", EARLIER)))
    assert table("task", "completed_at") == [LATER]


def test_an_exact_instant_of_the_row_itself_gives_way_only_to_a_later_event(engine: Engine, table: Table):
    load(engine, (1, _completed(1, LATER, estimate=False)), (2, Patch(Task, "main", "task:1", "completed_at", EARLIER)))
    assert table("task", "completed_at") == [LATER]


def test_a_task_opened_again_is_not_completed(engine: Engine, table: Table):
    load(engine, (1, _completed(1, LATER, estimate=True)), (1, Patch(Task, "main", "task:1", "completed_at", EARLIER)))
    load(engine, (2, _completed(1, None, estimate=False)))
    assert table("task", "completed_at", "completed_is_estimate") == [(None, False)]


def test_a_patch_without_an_estimate_fills_what_the_row_does_not_say(engine: Engine, table: Table):
    load(engine, (1, deal()), (2, Patch(Deal, "main", "lead:1", "restored_at", EARLIER)))
    load(engine, (3, deal()))
    assert table("deal", "restored_at") == [EARLIER]


def test_a_stub_gives_way_to_any_row_and_never_takes_its_place(engine: Engine, table: Table):
    load(engine, (9, Stub(user(1, name="?"))), (9, Stub(user(2, name="?"))))
    load(engine, (5, user(1, name="Anna")))
    load(engine, (10, Stub(user(1, name="?"))))
    assert table("user", "name") == ["?", "Anna"]


def test_of_mentions_that_say_when_they_changed_the_newest_stays(engine: Engine, table: Table):
    def mentions(number: int) -> tuple[Stub, Stub]:
        return tuple(Stub(user(number, name=str(at), source_updated_at=at)) for at in (NOON, LATER))

    for number, (first, second) in ((1, mentions(1)), (2, mentions(2)[::-1])):
        load(engine, (1, first))
        load(engine, (2, second), (3, Stub(user(number, name="?"))))
    load(engine, *((4, stub) for stub in mentions(3)[::-1]))
    load(engine, (5, Stub(user(4, name="first"))), (5, Stub(user(4, name="?"))))
    assert table("user", "name", "read_seq") == [*[(str(LATER), 0)] * 3, ("first", 0)]


def test_what_a_listing_does_not_name_was_removed_and_stays_for_history(engine: Engine, table: Table):
    load(engine, (1, user(1)), (1, user(2)), (1, user(3, deleted_at=NOON)))
    load(engine, (2, user(1)), (2, Listing(User, "main", frozenset({("user:1",)}), LATER)))
    assert table("user", "user_id", "is_active", "deleted_at") == [
        ("user:1", True, None),
        ("user:2", False, LATER),
        ("user:3", True, NOON),
    ]


def test_what_was_only_mentioned_is_not_removed_by_a_listing(engine: Engine, table: Table):
    load(engine, (1, Stub(user(9))), (2, Listing(User, "main", frozenset(), LATER)))
    assert table("user", "is_active", "deleted_at") == [(True, None)]


def test_a_listing_leaves_other_accounts_alone(engine: Engine, table: Table):
    load(engine, (1, user(1)), (1, user(1, account_id="shop")))
    load(engine, (2, Listing(User, "main", frozenset(), LATER)))
    assert table("user", "account_id", "deleted_at") == [("main", LATER), ("shop", None)]


def test_who_is_listed_again_is_back(engine: Engine, table: Table):
    load(engine, (1, user(1)), (2, Listing(User, "main", frozenset(), LATER)))
    load(engine, (3, user(1)), (3, Listing(User, "main", frozenset({("user:1",)}), LATER)))
    assert table("user", "is_active", "deleted_at") == [(True, None)]


def test_a_listing_of_some_rows_leaves_the_others_alone(engine: Engine, table: Table):
    load(engine, (1, stage("status:1")), (1, stage("status:2", kind="won")))
    load(engine, (2, Listing(Stage, "main", frozenset(), LATER, among=("kind", "won"))))
    assert table("stage", "stage_id", "deleted_at") == [("status:1", None), ("status:2", LATER)]


def test_listed_pairs_are_compared_whole(engine: Engine, table: Table):
    load(engine, (1, stage("status:142")), (1, stage("status:142", pipeline_id="pipeline:2")))
    load(engine, (2, Listing(Stage, "main", frozenset({("pipeline:1", "status:142")}), LATER)))
    assert table("stage", "pipeline_id", "deleted_at") == [("pipeline:1", None), ("pipeline:2", LATER)]


def _in(departments: dict[int, bool], at: datetime) -> OwnedSet:
    rows = [
        UserDepartment(
            account_id="main", user_id="user:1", department_id=f"department:{n}", valid_from=at, is_main=main
        )
        for n, main in departments.items()
    ]
    return OwnedSet(UserDepartment, "main", "user:1", User, rows)


def test_departments_over_time_are_made_of_snapshots(engine: Engine, table: Table):
    past = datetime(1970, 1, 1, tzinfo=UTC)
    for seq, departments, at in ((1, {1: True}, NOON), (2, {1: True}, EARLIER), (3, {2: True}, LATER)):
        load(engine, (seq, user(1)), (seq, _in(departments, at)))
    assert table("user_department", "department_id", "valid_from", "valid_to") == [
        ("department:1", past, LATER),
        ("department:2", LATER, None),
    ]


def test_a_snapshot_without_departments_closes_the_open_ones(engine: Engine, table: Table):
    load(engine, (1, user(1)), (1, _in({1: True}, EARLIER)))
    load(engine, (2, user(1)), (2, _in({}, LATER)))
    assert table("user_department", "valid_to") == [NOON]  # the instant of the load: an empty set has none


def test_the_same_snapshot_twice_changes_nothing(engine: Engine, table: Table):
    for _ in range(2):
        load(engine, (1, user(1)), (1, _in({1: True, 2: False}, EARLIER)))
    assert len(table("user_department", "department_id")) == 2


def test_the_syncs_own_words_are_not_rows(engine: Engine, table: Table):
    assert load(engine, (1, Notice("x")), (1, Reread("leads", ("1",))), (1, deal()), (1, contacts(1, 7))) == 2


def test_a_deletion_of_something_that_cannot_be_deleted_is_a_bug(engine: Engine):
    from connectors.records import DealContact

    with pytest.raises(ValueError, match="deal_contact has no column"):
        load(engine, (1, deleted(DealContact, "lead:1")))
