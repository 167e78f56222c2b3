"""Marts are worked on a part at a time: what comes out depends neither on where an account is cut, nor on which parts
were taken over from the night before."""

import random
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from demo_tables import demo_tables
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from published import canonical

from demo.company import build as demo_company
from metrics.marts import MARTS, InMemory, MartParams, build, build_parts, facts, parts

NOON = datetime(2026, 4, 6, 9, 0, tzinfo=UTC)
AS_OF = NOON + timedelta(days=30)
PARAMS = MartParams()
CARDS = {
    "contact": [
        {"contact_id": f"contact:{n}", "created_at": NOON - timedelta(days=90), "responsible_user_id": "user:1"}
        for n in range(3)
    ],
    "client_phone": [{"entity_id": f"contact:{n}", "phone_key": f"phone {n}"} for n in range(3)],
    "deal": [
        {
            "deal_id": f"deal:{n}",
            "main_contact_id": f"contact:{n}",
            "created_at": NOON + timedelta(seconds=200 * n),
            "entity_kind": "deal",
            "pipeline_id": "pipeline:1",
            "stage_id": "stage:1",
        }
        for n in range(3)
    ],
}


def some(*values):
    return st.sampled_from([None, *values])


CALL = st.fixed_dictionaries(
    {
        # short steps and long ones: on both sides of every limit of R-DEDUP
        "step_s": st.sampled_from([0, 1, 2, 4, 5, 6, 30, 150, 299, 300, 301, 700]),
        "phone_key": some("phone 0", "phone 1", "phone 3"),
        "external_uniq": some("u1", "u2", "u3", " "),
        "call_group_id": some("g1", "1"),
        "external_call_id": some("g1", "e1"),
        "user_id": some("user:1", "user:2"),
        "wait_s": some(0, 5, 290, 900),
        "talk_s": some(0, 3, 295, 1500),
        "line": some("line"),
        "provider": some("pbx"),
        "direction": st.sampled_from(["in", "in", "in", "out"]),
        "status": st.sampled_from(["answered", "missed"]),
        "contact_id": some("contact:2"),
    }
)


def calls(drawn):
    at, rows = NOON, []
    for number, one in enumerate(drawn):
        at += timedelta(seconds=one["step_s"])
        fixed = {
            "call_id": f"note:{number * 7 % 10}{number}",
            "started_at": at,
            "phone_digits": 11,
            "subtype": "normal",
        }
        rows.append({**{name: value for name, value in one.items() if name != "step_s"}, **fixed})
    return rows


def cut(tables, n_rows, monkeypatch, as_of=AS_OF):
    with monkeypatch.context() as small:
        small.setattr(facts, "PART_ROWS", n_rows)
        return build(tables, as_of, MartParams())


def night(tables, last, as_of, params=PARAMS):
    """The marts, with what was made the night before at hand."""
    made = InMemory(last)
    build_parts(tables, as_of, params, made)
    return made


def assert_same(one, other):
    for name, frame in one.items():
        is_ordered = name != "call_episode_leg"  # by id within a part only
        assert_frame_equal(frame, other[name], check_row_order=is_ordered)


@pytest.fixture(scope="module")
def patch():
    with pytest.MonkeyPatch.context() as made:
        yield made


@settings(max_examples=20, deadline=None)
@given(st.lists(CALL, max_size=12), st.integers(1, 4))
def test_calls_become_the_same_episodes_wherever_they_are_cut(patch, drawn, n_rows):
    tables = canonical({**CARDS, "call": calls(drawn)})
    assert_same(cut(tables, n_rows, patch), cut(tables, 10**9, patch))


def test_the_demo_company_is_the_same_in_parts(monkeypatch):
    demo = demo_company(scale=0.02)
    tables = {name: frame.collect().lazy() for name, frame in demo_tables(demo).items()}
    whole = cut(tables, 10**9, monkeypatch, demo.as_of)
    assert whole["call_episode"].height > 300
    assert_same(cut(tables, 97, monkeypatch, demo.as_of), whole)


# --- nights in a row ---

STAMPED = ("call_episode", "call_episode_leg", "touch")


def made_of(parts_made):
    return {name: parts_made.all(name).collect() for name in MARTS}


def remade(made, last):
    """How many parts of each mart were not taken over."""
    known = {name: [rows for _, rows in last.rows[name]] for name in STAMPED}
    return {name: sum(not any(rows is one for one in known[name]) for _, rows in made.rows[name]) for name in STAMPED}


def edited(tables, rng):
    """The tables after a day: of each a row went, and one row in fifty took what another row had in some column."""
    after = {}
    for name, frame in tables.items():
        rows = frame.collect()
        if name not in {"account", "coverage"} and rows.height > 1:
            rows = rows.filter(pl.int_range(pl.len()) != rng.randrange(rows.height))
            keys = {"account_id", f"{name}_id", "change_id"}
            for _ in range(1 + rows.height // 50):
                stem = rng.choice([one for one in rows.columns if one not in keys]).removesuffix("_at")
                of_stem = [one for one in rows.columns if one.removesuffix("_at").startswith(stem)]
                n, other = rng.randrange(rows.height), rng.randrange(rows.height)
                is_row = pl.int_range(pl.len()) == n
                rows = rows.with_columns(
                    pl.when(is_row).then(pl.col(one).get(other)).otherwise(one).alias(one) for one in of_stem
                )
        after[name] = rows.lazy()
    return after


def assert_nights_are_full(patch, n_nights, seed):
    rng, demo = random.Random(seed), demo_company(scale=0.02)
    patch.setattr(facts, "PART_ROWS", 200)
    tables, last = {name: frame.collect().lazy() for name, frame in demo_tables(demo).items()}, None
    for n in range(n_nights):
        as_of = demo.as_of - timedelta(days=n_nights - n)
        made = night(tables, last, as_of)
        full = made_of(night(tables, None, as_of))
        assert_same(made_of(made), full)
        assert full["call_episode"]["client_id"].n_unique() > 20
        tables, last = edited(tables, rng), made


def test_after_random_edits_a_night_is_what_a_full_build_is(monkeypatch):
    assert_nights_are_full(monkeypatch, 3, seed=5)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_after_random_edits_many_nights_are_what_full_builds_are(monkeypatch, seed):
    assert_nights_are_full(monkeypatch, 12, seed=seed)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(st.lists(CALL, max_size=12), st.integers(1, 4), st.sets(st.integers(0, 11)))
def test_calls_that_come_late_or_go_leave_no_old_part_behind(patch, drawn, n_rows, late):
    patch.setattr(facts, "PART_ROWS", n_rows)
    all_calls = calls(drawn)
    some_calls = [one for n, one in enumerate(all_calls) if n not in late]
    for before, after in ((some_calls, all_calls), (all_calls, some_calls)):
        tables = canonical({**CARDS, "call": after})
        last = night(canonical({**CARDS, "call": before}), None, AS_OF - timedelta(days=1))
        assert_same(made_of(night(tables, last, AS_OF)), made_of(night(tables, None, AS_OF)))


ANSWERED = {"direction": "in", "status": "answered", "subtype": "normal", "phone_digits": 11, "talk_s": 60}
MONTHLY = [
    {**ANSWERED, "call_id": f"note:{n}", "started_at": NOON - timedelta(days=31 * (3 - n)), "phone_key": f"phone {n}"}
    for n in range(3)
]
EARLY = {**CARDS, "deal": [{**one, "created_at": NOON - timedelta(days=100)} for one in CARDS["deal"]], "call": MONTHLY}
"""Three months with one call each, of three clients with a deal each."""


@pytest.fixture
def two_nights(monkeypatch):
    """A function: tables that changed → how many parts of call_episode were made anew. The result is as a full one."""
    monkeypatch.setattr(facts, "PART_ROWS", 5)  # a month is a part then

    def run(**changed):
        last = night(canonical(EARLY), None, AS_OF - timedelta(days=1))
        tables = canonical({**EARLY, **changed})
        made = night(tables, last, AS_OF)
        assert_same(made_of(made), made_of(night(tables, None, AS_OF)))
        return remade(made, last)["call_episode"]

    return run


def changed(rows, number, **fields):
    return [{**one, **fields} if n == number else one for n, one in enumerate(rows)]


def test_where_nothing_changed_no_part_is_made_anew(two_nights):
    assert two_nights() == 0


def test_a_new_call_costs_its_own_month(two_nights):
    late = {**ANSWERED, "call_id": "note:9", "started_at": MONTHLY[2]["started_at"] + timedelta(hours=9)}
    assert two_nights(call=[*MONTHLY, late]) == 1


def test_edits_of_deals_cost_no_month_of_calls(two_nights):
    """They were lost tonight, cost more, and are somebody else's: months gone by knew them as open."""
    lost = {"stage_id": "stage:2", "closed_at": AS_OF - timedelta(hours=5), "amount_minor": 7}
    deals = [{**one, **lost, "responsible_user_id": "user:9"} for one in EARLY["deal"]]
    stages = [
        {"pipeline_id": "pipeline:1", "stage_id": f"stage:{n}", "kind": kind} for n, kind in ((1, "open"), (2, "lost"))
    ]
    moves = [
        {
            "change_id": f"change:{n}",
            "deal_id": f"deal:{n}",
            "changed_at": AS_OF - timedelta(hours=5),
            "from_pipeline_id": "pipeline:1",
            "from_stage_id": "stage:1",
            "to_pipeline_id": "pipeline:1",
            "to_stage_id": "stage:2",
            "origin": "event",
        }
        for n in range(3)
    ]
    assert two_nights(deal=deals, stage=stages, deal_stage_transition=moves) == 0


def test_an_edit_of_a_client_costs_the_months_it_called_in(two_nights):
    assert two_nights(contact=changed(CARDS["contact"], 1, responsible_user_id="user:9")) == 1


def test_a_phone_that_becomes_two_peoples_costs_the_months_it_called_in(two_nights):
    phones = [*CARDS["client_phone"], {"entity_id": "contact:2", "phone_key": "phone 0"}]
    assert two_nights(client_phone=phones) == 1


def test_a_call_that_ties_callers_of_old_months_changes_their_threads(two_nights):
    """It is written on the card of one and comes from the phone of another."""
    tie = {**ANSWERED, "call_id": "note:9", "started_at": NOON, "phone_key": "phone 1", "contact_id": "contact:0"}
    assert two_nights(call=[*MONTHLY, tie]) == 2  # its own month and that of contact 1, whose smallest is contact 0 now


def test_an_old_call_deleted_costs_its_month(two_nights):
    gone = changed([{**one, "deleted_at": None} for one in MONTHLY], 0, deleted_at=AS_OF - timedelta(hours=1))
    assert two_nights(call=gone) == 1


@pytest.mark.parametrize("what", ["definitions", "parameters"])
def test_other_definitions_and_other_parameters_make_everything_anew(monkeypatch, what):
    monkeypatch.setattr(facts, "PART_ROWS", 5)
    tables = canonical(EARLY)
    last = night(tables, None, AS_OF)
    if what == "definitions":
        monkeypatch.setattr(parts, "_definitions", lambda: "others")
    made = night(tables, last, AS_OF, PARAMS if what == "definitions" else MartParams(min_talk_s=11))
    assert remade(made, last) == {name: len(made.rows[name]) for name in STAMPED}
