"""Events and the history they make: section 6.7 of the amoCRM reference."""

from datetime import timedelta

import pytest
from amo_fake import (
    CHANGED,
    FIRST,
    LONG_LIVED,
    SEPTEMBER,
    SEPTEMBER_S,
    amo,
    event,
    of,
    page,
    read,
    stage_event,
)

from connectors.connector import Window
from connectors.records import (
    Contact,
    DealAmountChange,
    DealOwnerChange,
    DealStageTransition,
    MergeLink,
    Notice,
    RawRecord,
    Reread,
    Task,
    Tombstone,
)

EVENTS = "/api/v4/events"
A_MINUTE_IN = SEPTEMBER + timedelta(seconds=60)
SALES, REPEAT = 7100101, 7100102


def read_events(*events, window=FIRST):
    api, _ = amo({EVENTS: page("events", *events)})
    return read(api, "events", window)


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
    assert of(Reread, yielded) == [Reread("contacts", ("1",)), Reread("merges", ("contact:1",))]


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
