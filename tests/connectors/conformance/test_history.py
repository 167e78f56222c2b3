"""Events and the history they make: section 6.7 of the amoCRM reference."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest
from amo_demo import DAY, Crm, published, rows
from amo_fake import (
    CHANGED,
    FIRST,
    LONG_LIVED,
    SEPTEMBER,
    SEPTEMBER_S,
    amo,
    event,
    lead,
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
    FieldValue,
    MergeLink,
    Notice,
    OwnedSet,
    RawRecord,
    Reread,
    Task,
    Tombstone,
)
from demo import office
from demo.office import LOST, OPEN_STAGES, WON
from warehouse.status import RunStatus, read_status

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


@pytest.mark.parametrize("after", [[], None, [{"custom_field_value": {"field_id": 780101, "text": "Москва"}}]])
def test_c90_a_cleared_field_is_told_by_its_card_and_its_event_is_kept_raw_only(after):
    """No table has the history of custom fields: what a card lacks is cleared, for its values are replaced whole."""
    before = [{"custom_field_value": {"field_id": 780101, "field_type": 1, "enum_id": None, "text": "Казань"}}]
    cleared = event("custom_field_value_changed", "e1", value_before=before, value_after=after)
    yielded = read_events(cleared, window=CHANGED)
    assert [type(thing) for thing in yielded] == [RawRecord]
    assert orjson.loads(yielded[0].body)["value_after"] == after

    api, server = amo({"/api/v4/leads": page("leads", lead(18800001, custom_fields_values=None))})
    read(api, "events", CHANGED)
    assert "custom_field_value_changed" not in server.asked(EVENTS)[0]["filter[type]"].split(",")
    (values,) = [one for one in of(OwnedSet, read(api, "leads", CHANGED)) if one.kind is FieldValue]
    assert (values.owner_id, values.rows) == ("lead:18800001", [])


def test_a_link_told_of_at_one_end_reads_both_ends_again():
    """One of the two has the link in its row, and nobody says which end an event is of (amocrm.md, 3.8)."""
    ends = ("link", "value_after"), ("unlink", "value_before"), ("unlink", "value_after")
    for number, (word, side) in enumerate(ends):
        linked = event(f"entity_{word}ed", f"e{number}", 5, entity_type="contact")
        linked[side] = [{word: {"entity": {"type": "lead", "id": 7}}}, {word: {"entity": {"type": "company", "id": 8}}}]
        assert of(Reread, read_events(linked, window=CHANGED)) == [
            Reread("companies", ("8",)), Reread("contacts", ("5",)), Reread("leads", ("7",)),
        ]  # fmt: skip


@pytest.mark.parametrize("entity", [None, {}, 7, {"type": "lead"}, {"type": "lead", "id": [7]}, {"type": [1], "id": 7}])
def test_the_other_end_of_a_link_may_be_anything(entity):
    linked = event("entity_linked", "e1", 5, entity_type="contact", value_after=[{"link": {"entity": entity}}])
    assert of(Reread, read_events(linked, window=CHANGED)) == [Reread("contacts", ("5",))]


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


def links(*told: tuple[str, int, int]) -> tuple[set[tuple[str, str]], list[int]]:
    """Who was merged into whom, and how many losers nobody could tell. told: `+` a winner or `-` a loser, when."""
    events = [(merge if sign == "+" else deletion)(card, created_at=SEPTEMBER_S + s) for sign, card, s in told]
    yielded = read_events(*(one | {"id": f"e{n}"} for n, one in enumerate(events)))
    return (
        {
            (link.from_id.removeprefix("contact:"), link.into_id.removeprefix("contact:"))
            for link in of(MergeLink, yielded)
        },
        [notice.n for notice in of(Notice, yielded)],
    )


TWO_MERGES = (("+", 2, 60), ("-", 1, 60), ("+", 4, 61), ("-", 3, 61))


@pytest.mark.parametrize("told", [TWO_MERGES, TWO_MERGES[::-1], TWO_MERGES[::2] + TWO_MERGES[1::2]])
def test_of_merges_close_together_each_has_the_loser_that_is_nearest_in_time(told):
    assert links(*told) == ({("1", "2"), ("3", "4")}, [])


def test_merges_of_one_second_are_not_guessed_but_told():
    assert links(("+", 2, 60), ("-", 1, 60), ("+", 4, 60), ("-", 3, 60)) == (set(), [2])
    assert links(("+", 2, 60), ("-", 1, 61), ("+", 4, 62)) == (set(), [1])


def test_a_merge_that_goes_without_makes_doubtful_whoever_may_be_its_loser():
    """The nearest merge of 1 is that of 3 into 4; it was merged into 2 all the same."""
    assert links(("+", 2, 60), ("-", 1, 61), ("+", 4, 61), ("-", 3, 62)) == (set(), [2])


@pytest.mark.parametrize("merges", [[("+", 1, 60)], [("+", 1, 60), ("+", 1, 61)]])
def test_a_card_may_win_over_several(merges):
    assert links(*merges, ("-", 2, 60), ("-", 3, 61)) == ({("2", "1"), ("3", "1")}, [])


def test_the_winner_of_a_merge_may_lose_the_next():
    assert links(("+", 2, 60), ("-", 1, 60), ("+", 3, 61), ("-", 2, 61)) == ({("1", "2"), ("2", "3")}, [])


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


# Whole syncs against the emulated account


VARIANTS = [
    {},
    {
        "closed_at_after_reopen": "keep",
        "closed_at_open": "0",
        "range_to_inclusive": False,
        "empty_object_as_list": False,
    },
]
FIRST_STAGE, SECOND_STAGE, THIRD_STAGE = OPEN_STAGES[office.SALES][:3]
REPEAT_STAGE = OPEN_STAGES[office.REPEAT][1]
HOUR = timedelta(hours=1)


@dataclass
class Told:
    """What a sync and a publication made of the deals below."""

    run: RunStatus
    table: Callable[[str], pl.DataFrame]
    deals: dict[str, str]
    data_dir: Path

    def stays(self, name: str) -> list[dict[str, Any]]:
        return self.table("stage_interval").filter(pl.col("deal_id") == self.deals[name]).sort("n").to_dicts()

    def stages(self, name: str) -> list[tuple[str, bool]]:
        return [(stay["stage_id"].removeprefix("status:"), stay["is_inferred"]) for stay in self.stays(name)]

    def state(self, name: str) -> dict[str, Any]:
        return self.table("deal_state").row(by_predicate=pl.col("deal_id") == self.deals[name], named=True)


@pytest.fixture(scope="module", params=VARIANTS, ids=["as documented", "otherwise"])
def told(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Told:
    crm = Crm(**request.param)
    deals = {}

    def born(name: str, **order: Any) -> int:
        number = crm.people("create", entity="leads", **order)["id"]
        deals[name] = f"lead:{number}"
        crm.passes(HOUR)
        return number

    def moved(number: int, *stages: int, within: timedelta = HOUR, **order: Any) -> None:
        for stage in stages:
            crm.people("move", id=number, stage_id=stage, **order)
            crm.passes(within)

    moved(born("straight"), SECOND_STAGE, office.WON)
    moved(born("other pipeline"), REPEAT_STAGE, pipeline_id=office.REPEAT)
    moved(born("in one second"), SECOND_STAGE, THIRD_STAGE, within=timedelta())
    crm.passes(HOUR)
    gap = born("gap")
    moved(gap, SECOND_STAGE)
    crm.people("edit", entity="leads", id=gap, fields={"stage_id": THIRD_STAGE})
    moved(gap, office.LOST)
    born("brought in", stage_id=office.WON)
    moved(born("reopened"), office.LOST, SECOND_STAGE, office.WON)
    nobodys = born("nobody's")
    crm.people("edit", entity="leads", id=nobodys, fields={"user_id": 0})
    crm.people("edit", entity="leads", id=born("silent"), fields={"stage_id": THIRD_STAGE})
    silent = born("silent after a move")
    moved(silent, SECOND_STAGE)
    crm.people("edit", entity="leads", id=silent, fields={"stage_id": THIRD_STAGE})
    crm.passes(HOUR)
    data_dir = tmp_path_factory.mktemp("history")
    run = crm.synced(data_dir)
    assert run.is_well
    return Told(run, published(data_dir, now=crm.now), deals, data_dir)


def test_c83_three_stays_with_their_lengths(told: Told):
    stays = told.stays("straight")
    assert [stay["stage_id"] for stay in stays] == [f"status:{s}" for s in (FIRST_STAGE, SECOND_STAGE, office.WON)]
    assert [stay["left_at"] - stay["entered_at"] for stay in stays[:2]] == [HOUR, HOUR]
    assert stays[2]["left_at"] is None


def test_c84_a_stay_ends_in_the_old_pipeline_and_one_begins_in_the_new(told: Told):
    old, new = told.stays("other pipeline")
    assert (old["pipeline_id"], old["next_pipeline_id"]) == (f"pipeline:{office.SALES}", f"pipeline:{office.REPEAT}")
    assert (new["pipeline_id"], new["entered_at"]) == (f"pipeline:{office.REPEAT}", old["left_at"])


def test_c85_two_moves_of_one_second_are_put_in_the_order_of_their_places(told: Told):
    assert told.stages("in one second") == [
        (f"{FIRST_STAGE}", False),
        (f"{SECOND_STAGE}", False),
        (f"{THIRD_STAGE}", False),
    ]


def test_c86_a_stage_no_event_led_to_is_put_in_as_inferred_without_a_length(told: Told):
    assert told.stages("gap") == [
        (f"{FIRST_STAGE}", False),
        (f"{SECOND_STAGE}", False),
        (f"{THIRD_STAGE}", True),
        (f"{office.LOST}", False),
    ]
    assert told.stays("gap")[2]["entered_at"] is None


def test_c87_a_deal_born_won_is_one_stay_won_when_it_was_closed(told: Told):
    assert told.stages("brought in") == [(f"{office.WON}", False)]
    state = told.state("brought in")
    assert (state["outcome"], state["outcome_at"]) == ("won", state["created_at"])


def test_c88_a_deal_lost_reopened_and_won_is_won_once_and_its_loss_stays_in_its_history(told: Told):
    assert [stage for stage, _ in told.stages("reopened")] == [f"{s}" for s in (FIRST_STAGE, LOST, SECOND_STAGE, WON)]
    state = told.state("reopened")
    assert (state["outcome"], state["n_reopened"]) == ("won", 1)
    assert state["outcome_at"] == told.stays("reopened")[3]["entered_at"]


def test_c97_a_deal_that_passed_to_nobody_is_nobodys(told: Told):
    changes = told.table("deal_owner_change").filter(pl.col("deal_id") == told.deals["nobody's"])
    assert changes.select("from_user_id", "to_user_id").rows() == [(f"user:{office.HEAD}", None)]
    assert told.state("nobody's")["responsible_user_id"] is None


def test_a_deal_whose_last_move_leads_elsewhere_is_counted_after_the_sync_and_ends_in_an_inferred_stay(told: Told):
    assert told.stages("silent after a move")[-1] == (f"{THIRD_STAGE}", True)
    (found,) = told.run.account("main").checks
    assert (found["code"], found["count"], found["sample"]) == (
        "history_differs", 1, [told.deals["silent after a move"]],
    )  # fmt: skip
    assert read_status(told.data_dir)["accounts"][0]["checks"][0]["count"] == 1


# Messages


@pytest.mark.parametrize("value", [pytest.param("id", marks=pytest.mark.slow), "id+talk_id+origin"])
def test_c95_a_message_hangs_on_the_deal_of_its_talk_and_on_the_contact(tmp_path: Path, value: str):
    crm = Crm(chat_event_value=value)
    contact = crm.people("create", entity="contacts")["id"]
    deal = crm.people("create", entity="leads", contact_ids=[contact])["id"]
    talk = crm.people("talk", contact_id=contact, id=deal)["id"]
    there = crm.people("message", contact_id=contact, id=deal, talk_id=talk)["id"]
    deleted = crm.people("message", contact_id=contact, talk_id=talk)["id"]  # the deal is gone: the contact stands in
    crm.passes(HOUR)
    assert crm.synced(tmp_path).is_well
    found = rows(
        tmp_path, f"SELECT message_id, contact_id, deal_id, chat_id FROM message WHERE sent_at = '{crm.now - HOUR}'"
    )
    chat = f"talk:{talk}" if "talk_id" in value else None
    assert sorted(found) == [
        (f"message:{there}", f"contact:{contact}", f"lead:{deal}", chat),
        (f"message:{deleted}", f"contact:{contact}", None, chat),
    ]


@pytest.mark.parametrize("value", ["id", pytest.param("id+talk_id+origin", marks=pytest.mark.slow)])
def test_c96_a_bots_reply_is_no_touch_and_the_managers_after_it_is(tmp_path: Path, value: str):
    crm = Crm(chat_event_value=value)
    contact = crm.people("create", entity="contacts")["id"]
    for is_in, by in ((True, 0), (False, 0), (False, office.HEAD)):
        crm.people("message", contact_id=contact, is_in=is_in, by=by)
        crm.passes(HOUR)
    assert crm.synced(tmp_path).is_well
    told = "SELECT direction, author, user_id FROM message"
    assert rows(tmp_path, f"{told} WHERE contact_id = 'contact:{contact}' ORDER BY sent_at") == [
        ("in", "client", None),
        ("out", "bot", "user:0"),
        ("out", "user", f"user:{office.HEAD}"),
    ]
    touch = published(tmp_path, now=crm.now)("touch").filter(pl.col("client_id") == f"contact:{contact}")
    ours = touch.filter(pl.col("direction") == "out")
    assert ours.select("touched_at", "user_id").rows() == [(crm.now - HOUR, f"user:{office.HEAD}")]


# Merges


@pytest.mark.parametrize(
    ("moves_notes", "emits_delete"), [pytest.param(True, True, marks=pytest.mark.slow), (False, False)]
)
def test_c82_c93_c94_after_a_merge_what_hung_on_the_loser_hangs_on_the_winner(
    tmp_path: Path, moves_notes: bool, emits_delete: bool
):
    crm = Crm(merge_moves_notes=moves_notes, merge_emits_delete=emits_delete)
    loser, winner = (crm.people("create", entity="contacts")["id"] for _ in range(2))
    deal = crm.people("create", entity="leads", contact_ids=[loser])["id"]
    note = crm.people("call", entity="contacts", id=loser, duration=60)["id"]
    task = crm.people("task", entity="contacts", id=loser)["id"]
    crm.synced(tmp_path)
    crm.passes(DAY)
    crm.people("merge", entity="contacts", id=loser, into_id=winner)
    merged_at = crm.now
    crm.passes(HOUR)
    assert crm.synced(tmp_path).is_well
    assert rows(tmp_path, f"SELECT contact_id FROM deal_contact WHERE deal_id = 'lead:{deal}'") == [
        (f"contact:{winner}",)
    ]
    assert rows(tmp_path, f"SELECT entity_id FROM task WHERE task_id = 'task:{task}'") == [(f"contact:{winner}",)]
    hangs_on = winner if moves_notes else loser
    assert rows(tmp_path, f"SELECT contact_id FROM call WHERE call_id = 'note:{note}'") == [(f"contact:{hangs_on}",)]
    links = rows(tmp_path, f"SELECT into_id FROM merge_link WHERE from_id = 'contact:{loser}'")
    assert links == [(f"contact:{winner}",)] * emits_delete
    gone = f"SELECT deleted_at FROM contact WHERE contact_id = 'contact:{loser}'"
    assert rows(tmp_path, gone) == [(merged_at if emits_delete else None,)]
    crm.passes(8 * DAY)
    crm.synced(tmp_path)
    assert rows(tmp_path, gone) == [(merged_at if emits_delete else crm.now,)]  # vanished: a sweep has found it gone


def test_c89_an_event_on_two_pages_is_one_event():
    again = stage_event("e1", (SALES, 1), (SALES, 2))
    pages = [page("events", again, has_next=True), page("events", again, stage_event("e2", (SALES, 2), (SALES, 3)))]
    api, _ = amo({EVENTS: pages})
    assert [row.change_id for row in of(DealStageTransition, read(api, "events", FIRST))] == ["event:e1", "event:e2"]


def test_c92_events_are_never_filtered_by_the_id_of_a_card(tmp_path: Path):
    crm = Crm()
    crm.synced(tmp_path)
    asked = [url for url in crm.asked if url.path == EVENTS]
    assert asked
    assert not any("entity_id" in key for url in asked for key in url.params)
