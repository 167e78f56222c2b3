"""Stays in stages, outcomes and sales (R-STAGE, R-OUTCOME, R-NULL, R-MONEY), whatever the order events come in."""

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from published import ALWAYS, canonical

from metrics.marts import MartParams, build

BORN = datetime(2026, 4, 1, 9, 0, tzinfo=UTC)
AS_OF = BORN + timedelta(days=30)
STAGES = [("new", "open"), ("qualified", "open"), ("offer", "open"), ("won", "won"), ("lost", "lost")]
STAGE = [
    {"pipeline_id": pipeline, "stage_id": name, "kind": kind, "sort": n, "name": name}
    for pipeline in ("p", "q")
    for n, (name, kind) in enumerate(STAGES)
]
ANNA, BORIS = "user:1", "user:2"


def day(n, second=0):
    return BORN + timedelta(days=n, seconds=second)


def deal(stage="new", number=1, **changes):
    return {
        "deal_id": f"lead:{number}",
        "entity_kind": "deal",
        "pipeline_id": "p",
        "stage_id": stage,
        "responsible_user_id": ANNA,
        "amount_minor": 100_00,
        "currency": "RUB",
        "created_at": BORN,
        **changes,
    }


def moves(*steps, number=1):
    """`(day, from, to)`; a place is a stage of pipeline p, or (pipeline, stage)."""
    rows = []
    for n, (when, source, target) in enumerate(steps):
        (p1, s1), (p2, s2) = (place if isinstance(place, tuple) else ("p", place) for place in (source, target))
        at = when if isinstance(when, datetime) else day(when)
        places = {"from_pipeline_id": p1, "from_stage_id": s1, "to_pipeline_id": p2, "to_stage_id": s2}
        rows.append({"change_id": f"event:{number}:{n}", "deal_id": f"lead:{number}", "changed_at": at, **places})
    return [{**row, "origin": "event"} for row in rows]


def marts(deals, history=(), as_of=AS_OF, params=None, **tables):
    deals = [deals] if isinstance(deals, dict) else deals
    given = {"stage": STAGE, **tables, "deal": deals, "deal_stage_transition": list(history)}
    return build(canonical(given), as_of, params or MartParams())


def way(built):
    """Stays as (stage, days entered and left since creation)."""
    rows = built["stage_interval"].select("stage_id", "entered_at", "left_at").rows()
    return [(stage, _days(entered), _days(left)) for stage, entered, left in rows]


def _days(at):
    return None if at is None else (at - BORN) / timedelta(days=1)


def state(built):
    assert built["deal_state"].height == 1
    return built["deal_state"].row(0, named=True)


# The chain


def test_the_first_stage_is_where_the_first_move_came_from_since_creation():
    built = marts(deal("offer"), moves((2, "new", "qualified"), (5, "qualified", "offer")))
    assert way(built) == [("new", 0, 2), ("qualified", 2, 5), ("offer", 5, None)]
    assert built["stage_interval"]["is_inferred"].to_list() == [False, False, False]
    assert built["stage_interval"]["next_stage_id"].to_list() == ["qualified", "offer", None]
    assert built["stage_interval"]["n"].to_list() == [1, 2, 3]


def test_a_deal_that_never_moved_stands_where_it_was_created():
    assert way(marts(deal("qualified"))) == [("qualified", 0, None)]


def test_moves_of_one_second_are_put_so_that_each_starts_where_the_last_ended():
    backwards = moves((2, "qualified", "offer"), (2, "new", "qualified"), (3, "offer", "won"))
    assert way(marts(deal("won"), backwards)) == [
        ("new", 0, 2),
        ("qualified", 2, 2),
        ("offer", 2, 3),
        ("won", 3, None),
    ]


def test_each_second_of_several_moves_goes_on_from_the_move_before_it():
    first = ((2, "qualified", "offer"), (2, "new", "qualified"))
    second = ((4, "offer", "won"), (4, "qualified", "offer"))
    built = marts(deal("won"), moves(*first, (3, "offer", "qualified"), *second))
    assert [stage for stage, _, _ in way(built)] == ["new", "qualified", "offer", "qualified", "offer", "won"]
    close = marts(deal("won"), moves(*first, (3, "offer", "qualified"), (3, "won", "offer"), (3, "qualified", "won")))
    assert [stage for stage, _, _ in way(close)][3:] == ["qualified", "won", "offer", "won"]


def test_in_a_second_there_and_back_the_deal_ends_where_it_went():
    there_and_back = moves((1, "new", "qualified"), (2, "offer", "qualified"), (2, "qualified", "offer"))
    assert [stage for stage, _, _ in way(marts(deal("qualified"), there_and_back))] == [
        "new",
        "qualified",
        "offer",
        "qualified",
    ]


def test_a_move_nobody_recorded_is_put_in_with_an_unknown_entry():
    built = marts(deal("won"), moves((2, "new", "qualified"), (5, "offer", "won")))
    assert way(built) == [("new", 0, 2), ("qualified", 2, 5), ("offer", None, 5), ("won", 5, None)]
    assert built["stage_interval"]["is_inferred"].to_list() == [False, False, True, False]


def test_a_deal_that_stands_elsewhere_than_its_moves_say_has_moved_unseen():
    seen = day(9)
    built = marts(deal("offer", source_updated_at=seen), moves((2, "new", "qualified")))
    assert way(built) == [("new", 0, 2), ("qualified", 2, 9), ("offer", None, None)]
    closed = marts(deal("won", closed_at=day(7)), moves((2, "new", "qualified")))
    assert way(closed) == [("new", 0, 2), ("qualified", 2, 7), ("won", 7, None)]


def test_one_stage_told_twice_is_one_stay():
    assert way(marts(deal("qualified"), moves((2, "new", "qualified"), (3, "qualified", "qualified")))) == [
        ("new", 0, 2),
        ("qualified", 2, None),
    ]


def test_a_stage_has_the_same_name_in_every_pipeline():
    built = marts(deal("won", pipeline_id="q"), moves((2, "won", ("q", "won"))))
    assert built["stage_interval"]["pipeline_id"].to_list() == ["p", "q"]
    assert built["stage_interval"]["visit_no"].to_list() == [1, 1]


def test_visits_are_counted_and_short_ones_are_passed_through():
    built = marts(
        deal("qualified"),
        moves((1, "new", "qualified"), (2, "qualified", "new"), (day(2, 59), "new", "qualified")),
    )
    assert built["stage_interval"]["visit_no"].to_list() == [1, 1, 2, 2]
    assert built["stage_interval"]["is_pass_through"].to_list() == [False, False, True, False]
    longer = marts(deal("new"), moves((1, "new", "qualified"), (day(1, 60), "qualified", "new")))
    assert not longer["stage_interval"]["is_pass_through"].any()


def test_a_snapshot_shows_that_a_deal_moved_but_not_when():
    seen = [{**row, "origin": "snapshot"} for row in moves((2, "new", "qualified"))]
    assert marts(deal("qualified"), seen)["stage_interval"]["is_inferred"].to_list() == [False, True]


def arrivals(*steps):
    """Moves of a source that does not say where they come from."""
    nowhere = {"from_pipeline_id": None, "from_stage_id": None}
    return [{**row, **nowhere} for row in moves(*((when, "new", target) for when, target in steps))]


def test_where_a_move_came_from_is_where_the_one_before_it_led():
    told = arrivals((0, "new"), (2, "qualified"), (5, "offer"))
    assert way(marts(deal("offer"), told)) == [("new", 0, 2), ("qualified", 2, 5), ("offer", 5, None)]
    assert state(marts(deal("offer"), told, as_of=day(3)))["stage_id"] == "qualified"


def test_a_snapshot_of_what_an_event_tells_says_nothing_new():
    told = arrivals((0, "new"), (2, "qualified"))
    seen = {**told[1], "change_id": "snap:1", "changed_at": day(2, -1), "origin": "snapshot"}
    built = marts(deal("qualified"), [*told, seen])
    assert way(built) == [("new", 0, 2), ("qualified", 2, None)]
    assert not built["stage_interval"]["is_inferred"].any()


def test_a_snapshot_of_what_no_event_tells_is_a_stay_that_is_inferred():
    told = arrivals((0, "new"), (2, "qualified"))
    seen = {**told[1], "change_id": "snap:1", "to_stage_id": "offer", "changed_at": day(6), "origin": "snapshot"}
    built = marts(deal("offer"), [*told, seen])
    assert way(built) == [("new", 0, 2), ("qualified", 2, 6), ("offer", 6, None)]
    assert built["stage_interval"]["is_inferred"].to_list() == [False, False, True]


def test_a_snapshot_starts_where_a_move_that_came_to_be_known_later_led():
    told = moves((2, "new", "qualified"), (6, "new", "offer"))
    told[1] |= {"change_id": "seen:1", "origin": "snapshot"}
    assert way(marts(deal("offer"), told)) == [("new", 0, 2), ("qualified", 2, 6), ("offer", 6, None)]


def test_a_deal_begins_where_its_first_snapshot_starts():
    told = [{**row, "origin": "snapshot"} for row in moves((2, "new", "qualified"))]
    assert way(marts(deal("qualified"), told)) == [("new", 0, 2), ("qualified", 2, None)]


# What is older than the history


def begun(n):
    return [{"resource": "deal_stage_transition", "complete_from": day(n), "watermark": ALWAYS}]


def test_a_stay_begun_before_the_history_is_truncated_and_its_entry_unknown():
    built = marts(deal("offer"), moves((5, "qualified", "offer")), coverage=begun(3))
    assert way(built) == [("qualified", None, 5), ("offer", 5, None)]
    assert built["stage_interval"]["is_truncated"].to_list() == [True, False]
    assert built["stage_interval"]["is_inferred"].to_list() == [True, False]


def test_without_any_history_nothing_is_known_but_where_deals_stand():
    built = marts(deal("offer"), coverage=[])
    assert way(built) == [("offer", None, None)]
    assert built["stage_interval"]["is_truncated"].to_list() == [True]


def test_a_closed_deal_without_moves_was_brought_in_and_closed_when_the_source_says():
    built = marts(deal("won", closed_at=day(4)), coverage=begun(10))
    assert way(built) == [("won", 4, None)]
    assert state(built)["outcome_at"] == day(4)
    assert built["sale"]["sold_at"].to_list() == [day(4)]


# Outcomes


def test_an_outcome_begins_with_the_last_run_of_its_kind():
    reopened = moves((2, "new", "lost"), (4, "lost", "new"), (6, "new", "lost"))
    found = state(marts(deal("lost"), reopened))
    assert (found["outcome"], found["outcome_at"], found["n_reopened"]) == ("lost", day(6), 1)


def test_a_reopened_deal_is_open_and_its_sale_is_taken_back():
    built = marts(deal("new"), moves((2, "new", "won"), (4, "won", "new")))
    assert (state(built)["outcome"], state(built)["outcome_at"]) == ("open", None)
    assert built["sale"].select("sold_at", "valid_from", "valid_until").rows() == [(day(2), day(2), day(4))]


def test_a_loss_is_blamed_on_the_last_open_stage_of_its_pipeline():
    history = moves((1, "new", "offer"), (3, "offer", ("q", "new")), (5, ("q", "new"), ("q", "lost")))
    assert state(marts(deal("lost", pipeline_id="q"), history))["lost_from_stage_id"] == "new"
    assert state(marts(deal("lost"), moves((1, "new", "offer"), (5, "offer", "lost"))))["lost_from_stage_id"] == "offer"
    assert state(marts(deal("lost", closed_at=BORN)))["lost_from_stage_id"] is None


def test_a_pipeline_is_entered_at_the_first_move_into_it():
    built = marts(deal("new", pipeline_id="q"), moves((3, "new", ("q", "new"))))
    assert state(built)["entered_pipeline_at"] == day(3)
    assert state(marts(deal("new")))["entered_pipeline_at"] == BORN


# Who and how much


def owner(n, before, after):
    change = {"change_id": f"o{n}", "deal_id": "lead:1", "changed_at": day(n), "origin": "event"}
    return {**change, "from_user_id": before, "to_user_id": after}


def test_events_belong_to_who_was_responsible_then():
    history, changed = moves((2, "new", "won")), [owner(1, BORIS, None), owner(3, None, ANNA)]
    built = marts(deal("won"), history, deal_owner_change=changed)
    assert built["stage_interval"]["owner_user_id"].to_list() == [BORIS, None]
    assert state(built)["outcome_user_id"] is None
    assert state(built)["responsible_user_id"] == ANNA
    assert built["sale"]["user_id"].to_list() == [None]


def test_a_change_of_the_same_second_has_already_happened():
    built = marts(deal("won"), moves((2, "new", "won")), deal_owner_change=[owner(2, BORIS, ANNA)])
    assert state(built)["outcome_user_id"] == ANNA


def test_without_a_history_of_owners_everything_belongs_to_the_present_one():
    built = marts(deal("won"), moves((2, "new", "won")))
    assert built["stage_interval"]["owner_user_id"].to_list() == [ANNA, ANNA]


def test_the_amount_of_an_outcome_is_what_it_was_then():
    change = {"change_id": "a", "deal_id": "lead:1", "changed_at": day(4), "currency": "RUB", "origin": "event"}
    change |= {"from_minor": 70_00, "to_minor": 100_00}
    built = marts(deal("won"), moves((2, "new", "won")), deal_amount_change=[change])
    assert (state(built)["amount_minor"], built["sale"]["amount_minor"].item()) == (70_00, 70_00)


@pytest.mark.parametrize(("stage", "kept"), [("new", None), ("lost", None), ("won", 0)])
def test_a_zero_amount_is_not_known_unless_the_deal_was_won(stage, kept):
    assert state(marts(deal(stage, amount_minor=0, closed_at=day(1))))["amount_minor"] == kept
    as_it_is = marts(deal(stage, amount_minor=0, closed_at=day(1)), params=MartParams(zero_amount_is_null=False))
    assert state(as_it_is)["amount_minor"] == 0


def test_money_is_converted_by_the_rate_of_its_local_day_no_older_than_a_week():
    rate = [
        {"day": date(2026, 4, n), "currency": "USD", "rate_to_base": value} for n, value in ((3, 90.0), (4, 91.255))
    ]
    dollars = deal("won", currency="USD", amount_minor=10)
    assert state(marts(dollars, moves((3, "new", "won")), fx_rate=rate))["amount_minor"] == 913
    assert state(marts(dollars, moves((10, "new", "won")), fx_rate=rate))["amount_minor"] == 913
    assert state(marts(dollars, moves((11, "new", "won")), fx_rate=rate))["amount_minor"] is None
    yen = deal("won", currency="JPY", amount_minor=1_000)
    yen_rate = [{"day": date(2026, 4, 4), "currency": "JPY", "rate_to_base": 0.5}]
    assert state(marts(yen, moves((3, "new", "won")), fx_rate=yen_rate))["amount_minor"] == 500_00


# The instant of knowledge


def test_what_came_after_the_instant_of_knowledge_is_undone():
    history = moves((2, "new", "qualified"), (5, "qualified", "won"))
    changed = [owner(1, BORIS, ANNA)]
    then = marts(deal("won", closed_at=day(5)), history, as_of=day(3), deal_owner_change=changed)
    assert way(then) == [("new", 0, 2), ("qualified", 2, None)]
    assert (state(then)["outcome"], state(then)["stage_id"]) == ("open", "qualified")
    at_first = marts(deal("won", closed_at=day(5)), history, as_of=day(0, 60), deal_owner_change=changed)
    assert way(at_first) == [("new", 0, None)]
    assert state(at_first)["responsible_user_id"] == BORIS
    assert at_first["sale"].is_empty()


def test_a_deal_is_gone_from_its_deletion_on_and_not_before():
    deleted = deal("new", deleted_at=day(5))
    assert marts(deleted, as_of=day(5))["deal_state"].is_empty()
    assert marts(deleted, as_of=day(5))["stage_interval"].is_empty()
    assert marts(deleted, as_of=day(4))["deal_state"].height == 1
    assert marts(deal(), as_of=BORN - timedelta(seconds=1))["deal_state"].is_empty()


# Properties

PLACES = [(pipeline, name) for pipeline in ("p", "q") for name, _ in STAGES]


@st.composite
def histories(draw):
    """A deal that really walked, with its moves as a source tells them: whole seconds, several in one."""
    steps = draw(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(PLACES)), max_size=8))
    at, place, told = BORN, ("p", "new"), []
    for wait, target in steps:
        at += timedelta(hours=wait)
        if target != place:
            told.append((at, place, target))
            place = target
    return deal(place[1], pipeline_id=place[0]), moves(*told), [("p", "new"), *(target for _, _, target in told)]


@given(histories())
def test_stays_tile_the_time_of_a_deal_without_gap_or_overlap(history):
    row, told, walked = history
    visits = marts(row, told)["stage_interval"]
    assert visits.select("pipeline_id", "stage_id").rows() == walked
    assert visits["entered_at"].to_list() == [BORN, *visits["left_at"].to_list()[:-1]]
    assert visits["left_at"].to_list()[-1] is None
    assert not visits["is_inferred"].any()


@given(histories(), st.randoms())
def test_the_order_of_moves_in_the_table_means_nothing(history, random):
    row, told, _ = history
    shuffled = marts(row, random.sample(told, len(told)))
    for name, frame in marts(row, told).items():
        assert_frame_equal(frame, shuffled[name])


@given(histories(), st.integers(-1, 24))
def test_knowledge_of_an_earlier_instant_is_what_was_known_then(history, hours):
    """A rebuild for T from today's tables equals a build from the tables as they were at T."""
    row, told, _ = history
    then = BORN + timedelta(hours=hours)
    past = [move for move in told if move["changed_at"] <= then]
    place = (past[-1]["to_pipeline_id"], past[-1]["to_stage_id"]) if past else ("p", "new")
    row_then = {**row, "pipeline_id": place[0], "stage_id": place[1]}
    rebuilt, built = marts(row, told, as_of=then), marts(row_then, past, as_of=then)
    for name in ("deal_state", "stage_interval", "sale"):
        assert_frame_equal(rebuilt[name], built[name])


def test_every_deal_stands_on_exactly_one_stage():
    deals = [deal("new", number=n) for n in range(5)]
    visits = marts(deals)["stage_interval"]
    assert visits.filter(pl.col("left_at").is_null()).height == 5
