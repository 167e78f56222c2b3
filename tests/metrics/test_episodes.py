"""From call records to episodes: doubles, legs, scope, client and deal (R-DEDUP, R-CALLSCOPE, R-ATTR)."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from published import canonical

from metrics.marts import MartParams, build

NOON = datetime(2026, 4, 6, 9, 0, tzinfo=UTC)
AS_OF = NOON + timedelta(days=30)
ANNA, BORIS = "user:1", "user:2"
CARDS = {
    "contact": [{"contact_id": "contact:1", "created_at": NOON - timedelta(days=90), "responsible_user_id": ANNA}],
    "client_phone": [{"entity_id": "contact:1", "phone_key": "phone"}],
}


def call(number, after_s=0, **changes):
    """An inbound call of the contact that nobody took, `after_s` seconds after noon."""
    return {
        "call_id": f"note:{number}",
        "external_uniq": None,
        "direction": "in",
        "subtype": "normal",
        "started_at": NOON + timedelta(seconds=after_s),
        "talk_s": 0,
        "status": "missed",
        "user_id": ANNA,
        "phone_key": "phone",
        "phone_digits": 11,
        "contact_id": "contact:1",
        "provider": "pbx",
        **changes,
    }


def answered(number, after_s=0, talk_s=60, **changes):
    return call(number, after_s, **{"status": "answered", "talk_s": talk_s, **changes})


def marts(*calls, as_of=AS_OF, params=None, **tables):
    return build(canonical({**CARDS, **tables, "call": list(calls)}), as_of, params or MartParams())


def episodes(*calls, **given):
    return marts(*calls, **given)["call_episode"]


def only(*calls, **given):
    rows = episodes(*calls, **given)
    assert rows.height == 1
    return rows.row(0, named=True)


# Step 1: one id


def test_one_call_on_contact_and_deal_is_one_record_with_both_links():
    lead = {"deal_id": "lead:1", "entity_kind": "deal", "created_at": NOON - timedelta(days=1), "currency": "RUB"}
    episode = only(
        answered(1, external_uniq="u", entity_kind="contact", entity_id="contact:1"),
        answered(2, 30, external_uniq="u", contact_id=None, deal_id="lead:1", entity_kind="lead", entity_id="lead:1"),
        deal=[{**lead, "main_contact_id": "contact:1"}],
    )
    assert episode["n_dup_removed"] == 1
    assert (episode["client_id"], episode["deal_id"], episode["deal_rule"]) == ("contact:1", "lead:1", "named")
    assert (episode["card_kind"], episode["card_id"]) == ("lead", "lead:1")
    assert episode["talk_s"] == 60


def test_of_doubles_the_one_with_a_recording_stays_then_with_a_user_then_of_the_smallest_id():
    with_recording = answered(3, external_uniq="u", has_recording=True)
    assert only(answered(1, external_uniq="u"), with_recording)["episode_id"] == "note:3"
    assert only(answered(1, external_uniq="u", user_id=None), answered(2, external_uniq="u"))["user_id"] == ANNA
    assert only(answered(2, external_uniq="u"), answered(1, external_uniq="u"))["episode_id"] == "note:1"


@pytest.mark.parametrize(
    "other",
    [
        {"after_s": 301},
        {"direction": "out", "status": "answered"},
        {"provider": "another"},
        {"phone_key": "another"},
    ],
    ids=["six minutes later", "the other way", "another telephony", "another phone"],
)
def test_an_equal_id_alone_proves_nothing(other):
    second = answered(2, **{"after_s": 100, "external_uniq": "u", **other})
    assert episodes(answered(1, talk_s=10, external_uniq="u"), second).height == 2


def test_a_record_without_user_or_phone_goes_with_the_one_that_has_them():
    assert only(answered(1, external_uniq="u", user_id=None, phone_key=None), answered(2, 9, external_uniq="u"))


def test_one_id_and_different_users_are_legs():
    episode = only(call(1, external_uniq="u"), answered(2, 3, external_uniq="u", user_id=BORIS))
    assert (episode["n_legs"], episode["n_dup_removed"], episode["n_rung"]) == (2, 0, 2)


# Step 2: no id


def test_records_of_one_instant_are_one_call_where_an_id_is_missing():
    assert only(answered(1, external_uniq="u"), answered(2, 5, talk_s=58))["n_dup_removed"] == 1
    assert only(answered(1, direction="out"), answered(2, 4, direction="out"))["n_dup_removed"] == 1


@pytest.mark.parametrize(
    "second",
    [
        answered(2, 6, direction="out"),
        answered(2, 3, talk_s=57, direction="out"),
        answered(2, 3, user_id=BORIS, direction="out"),
        answered(2, 3, external_uniq="v", direction="out"),
    ],
    ids=["six seconds later", "three seconds longer", "another user", "both have ids"],
)
def test_records_that_differ_are_two_calls(second):
    first = answered(1, external_uniq="u", direction="out")
    assert episodes(first, second).height == 2


# Step 3: legs


def test_a_ring_group_is_one_call_and_whoever_took_it_is_its_user():
    """Three phones ring, two in vain: counting legs would call two thirds of the calls missed."""
    episode = only(
        call(1, wait_s=10), call(2, 3, user_id="user:3", wait_s=10), answered(3, 6, user_id=BORIS, wait_s=4, talk_s=90)
    )
    assert episode["is_answered"]
    assert (episode["user_id"], episode["talk_s"], episode["n_legs"], episode["n_rung"]) == (BORIS, 90, 3, 3)
    assert episode["rung_user_id"] is None
    assert episode["wait_s"] == 10
    assert episode["started_at"] == NOON


def test_of_a_transferred_call_talk_is_the_sum_and_the_user_who_talked_longest():
    episode = only(answered(1, talk_s=20), answered(2, 22, talk_s=100, user_id=BORIS))
    assert (episode["talk_s"], episode["user_id"]) == (120, BORIS)


def test_a_missed_call_belongs_to_the_only_user_rung():
    assert only(call(1))["rung_user_id"] == ANNA
    assert only(call(1), call(2, 2, user_id=BORIS, talk_s=0))["rung_user_id"] is None


def test_legs_may_follow_within_the_gap_and_no_later():
    legs = [answered(1, talk_s=20), answered(2, 25, user_id=BORIS)]
    assert only(*legs)["n_legs"] == 2
    assert episodes(legs[0], answered(2, 26, user_id=BORIS)).height == 2
    assert episodes(*legs, params=MartParams(leg_gap_s=4)).height == 2


def test_phones_that_ring_one_after_another_are_legs_by_their_shared_id():
    """amoCRM tells no waiting time, so unanswered legs have no length."""
    episode = only(call(1, external_call_id="c"), answered(2, 40, user_id=BORIS, external_call_id="c"))
    assert episode["n_legs"] == 2


def test_another_line_and_outbound_calls_are_never_joined():
    assert episodes(call(1, line="a"), call(2, 1, line="b", user_id=BORIS)).height == 2
    assert episodes(call(1, direction="out"), call(2, 1, direction="out", user_id=BORIS)).height == 2


def test_every_record_says_where_it_went():
    legs = marts(call(1, external_uniq="u"), call(2, 1, external_uniq="u"), answered(3, 4, user_id=BORIS))[
        "call_episode_leg"
    ]
    assert legs.select("call_id", "episode_id", "is_duplicate").rows() == [
        ("note:1", "note:1", False),
        ("note:2", "note:1", True),
        ("note:3", "note:1", False),
    ]


# Scope


def test_short_numbers_are_internal_hidden_ones_are_not():
    assert only(call(1, phone_key=None, phone_digits=3))["is_internal"]
    assert not only(call(1, phone_key=None, phone_digits=0))["is_internal"]
    assert not only(call(1, phone_digits=6))["is_internal"]
    assert only(call(1, is_internal=True))["is_internal"]


def test_a_robot_answers_nobody_and_voicemail_is_a_missed_call():
    robot = only(answered(1, subtype="robot"))
    assert (robot["is_robot"], robot["is_answered"]) == (True, False)
    voicemail = only(call(1, status="voicemail", talk_s=12))
    assert (voicemail["is_voicemail"], voicemail["is_answered"], voicemail["talk_s"]) == (True, False, 0)


def test_talk_nobody_measured_is_not_known():
    assert only(answered(1, talk_s=None))["talk_s"] is None


def test_a_client_whose_every_deal_was_lost_as_spam_is_spam():
    stage = [{"pipeline_id": "p", "stage_id": "l", "kind": "lost", "sort": 1, "name": "l"}]
    reason = [
        {"loss_reason_id": "loss_reason:1", "name": "Спам"},
        {"loss_reason_id": "loss_reason:2", "name": "Дорого"},
    ]
    deal = {"entity_kind": "deal", "pipeline_id": "p", "stage_id": "l", "currency": "RUB", "created_at": NOON}
    deal |= {"main_contact_id": "contact:1", "closed_at": NOON}
    lost = [{**deal, "deal_id": f"lead:{n}", "loss_reason_id": f"loss_reason:{n}"} for n in (1, 2)]
    assert only(call(1), stage=stage, loss_reason=reason, deal=lost[:1])["is_spam"]
    taken_up = {**deal, "deal_id": "lead:9", "entity_kind": "lead", "pipeline_id": "leads", "stage_id": "w"}
    converted = [*stage, {"pipeline_id": "leads", "stage_id": "w", "kind": "won", "sort": 1, "name": "w"}]
    assert only(call(1), stage=converted, loss_reason=reason, deal=[lost[0], taken_up])["is_spam"]
    assert not only(call(1), stage=stage, loss_reason=reason, deal=lost)["is_spam"]


# Client and deal


def test_a_contact_of_a_company_calls_for_the_company():
    company = [{"company_id": "company:1", "created_at": NOON - timedelta(days=99), "responsible_user_id": BORIS}]
    contact = [{**CARDS["contact"][0], "company_id": "company:1"}]
    episode = only(call(1), company=company, contact=contact)
    assert (episode["client_id"], episode["responsible_user_id"]) == ("company:1", BORIS)


def test_a_phone_names_the_client_only_where_no_card_does_and_only_one_has_it():
    assert only(call(1, contact_id=None))["client_id"] == "contact:1"
    shared = [*CARDS["client_phone"], {"entity_id": "contact:2", "phone_key": "phone"}]
    contacts = [*CARDS["contact"], {"contact_id": "contact:2", "created_at": NOON}]
    assert only(call(1, contact_id=None), client_phone=shared, contact=contacts)["client_id"] is None


def test_calls_of_a_deleted_client_stay_without_him():
    deleted = [{**CARDS["contact"][0], "deleted_at": NOON + timedelta(days=2)}]
    assert only(call(1), contact=deleted)["client_id"] is None
    assert only(call(1), contact=deleted, as_of=NOON + timedelta(days=1))["client_id"] == "contact:1"


def test_an_unnamed_deal_is_the_newest_one_open_at_that_instant():
    stage = [
        {"pipeline_id": "p", "stage_id": name, "kind": kind, "sort": n, "name": name}
        for n, (name, kind) in enumerate([("s", "open"), ("w", "won")])
    ]
    deal = {
        "entity_kind": "deal",
        "pipeline_id": "p",
        "stage_id": "s",
        "currency": "RUB",
        "main_contact_id": "contact:1",
    }
    deals = [
        {**deal, "deal_id": "lead:1", "created_at": NOON - timedelta(days=9)},
        {**deal, "deal_id": "lead:2", "created_at": NOON - timedelta(days=8)},
        {**deal, "deal_id": "lead:3", "created_at": NOON - timedelta(days=7), "stage_id": "w"},
        {**deal, "deal_id": "lead:4", "created_at": NOON + timedelta(days=1)},
    ]
    won = {"change_id": "1", "deal_id": "lead:3", "from_pipeline_id": "p", "from_stage_id": "s", "to_pipeline_id": "p"}
    won |= {"to_stage_id": "w", "changed_at": NOON - timedelta(days=1), "origin": "event"}
    episode = only(call(1), stage=stage, deal=deals, deal_stage_transition=[won])
    assert (episode["deal_id"], episode["deal_rule"]) == ("lead:2", "open_deal")
    later = {**won, "changed_at": NOON + timedelta(days=1)}
    assert only(call(1), stage=stage, deal=deals, deal_stage_transition=[later])["deal_id"] == "lead:3"


# Touches


def test_touches_are_answered_calls_human_messages_and_meetings_attempts_are_unanswered_calls_out():
    message = {"direction": "in", "channel": "whatsapp", "contact_id": "contact:1", "sent_at": NOON}
    touched = marts(
        answered(1, talk_s=10),
        answered(2, 100, talk_s=9, direction="out"),
        call(3, 200, direction="out", status="no_answer"),
        call(4, 300),
        message=[
            {**message, "message_id": f"m:{author}", "author": author}
            for author in ("client", "user", "bot", "broadcast")
        ],
        activity=[
            {"activity_id": f"a:{kind}", "kind": kind, "done_at": NOON, "contact_id": "contact:1"}
            for kind in ("meeting", "note")
        ],
    )
    rows = touched["touch"].sort("touch_id").select("touch_id", "kind", "is_meaningful", "is_attempt").rows()
    assert rows == [
        ("activity:a:meeting", "meeting", True, False),
        ("call:note:1", "call", True, False),
        ("call:note:2", "call", False, False),
        ("call:note:3", "call", False, True),
        ("message:m:client", "message", True, False),
        ("message:m:user", "message", True, False),
    ]
    assert touched["client"]["first_touch_at"].to_list() == [NOON]


def test_a_task_to_meet_that_was_completed_is_a_meeting_with_the_client_of_its_card():
    task = {"kind": "meeting", "entity_kind": "contact", "entity_id": "contact:1", "responsible_user_id": ANNA}
    done = {**task, "completed_at": NOON, "is_completed": True}
    deal = {"deal_id": "lead:1", "pipeline_id": "p", "stage_id": "s", "currency": "RUB", "main_contact_id": "contact:1"}
    tasks = [
        {**done, "task_id": "task:1"},
        {**done, "task_id": "task:2", "entity_kind": "deal", "entity_id": "lead:1"},
        {**done, "task_id": "call", "kind": "call"},
        {**done, "task_id": "later", "completed_at": NOON + timedelta(days=900)},
        {**done, "task_id": "opened again", "is_completed": False},
        {**done, "task_id": "deleted", "deleted_at": NOON},
        {**task, "task_id": "waiting"},
    ]
    touched = marts(task=tasks, deal=[{**deal, "created_at": NOON - timedelta(days=9)}])["touch"].sort("touch_id")
    assert touched.select("touch_id", "client_id", "kind", "user_id", "deal_id", "touched_at").rows() == [
        ("task:task:1", "contact:1", "meeting", ANNA, "lead:1", NOON),  # his open deal
        ("task:task:2", "contact:1", "meeting", ANNA, "lead:1", NOON),
    ]


# Properties

records = st.lists(
    st.builds(
        lambda number, after_s, uniq, user, talk_s, direction: answered(
            number, after_s, talk_s, external_uniq=uniq, user_id=user, direction=direction
        ),
        st.integers(10, 99),
        st.integers(0, 900),
        st.sampled_from([None, "u", "v"]),
        st.sampled_from([None, ANNA, BORIS]),
        st.integers(0, 60),
        st.sampled_from(["in", "out"]),
    ),
    max_size=8,
    unique_by=lambda row: row["call_id"],
)
TOLD = ["direction", "is_answered", "started_at", "talk_s", "n_legs", "user_id", "client_id"]


def told(calls):
    return episodes(*calls).select(TOLD).sort(TOLD)


@given(records, st.randoms())
def test_the_order_of_records_means_nothing(calls, random):
    shuffled = random.sample(calls, len(calls))
    assert_frame_equal(episodes(*calls), episodes(*shuffled))


@given(records)
def test_a_record_repeated_with_its_id_changes_nothing(calls):
    again = [
        {**row, "call_id": f"note:9{row['call_id'][5:]}"} for row in calls if row["external_uniq"] and row["user_id"]
    ]
    assert_frame_equal(told(calls), told([*calls, *again]))


@given(records)
def test_calls_after_the_instant_of_knowledge_change_nothing(calls):
    later = [{**row, "call_id": f"note:9{row['call_id'][5:]}", "started_at": AS_OF + timedelta(1)} for row in calls]
    assert_frame_equal(episodes(*calls), episodes(*calls, *later))


def test_nothing_gives_empty_tables_of_the_right_shape():
    from metrics.marts import MARTS

    built = build(canonical({}), AS_OF, MartParams())
    assert {name: dict(frame.schema) for name, frame in built.items()} == MARTS
    assert all(frame.is_empty() for name, frame in built.items() if name != "calendar_day")
    assert isinstance(built["call_episode"], pl.DataFrame)
