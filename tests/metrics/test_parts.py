"""Marts are worked on a part at a time: what comes out does not depend on where an account is cut."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from demo_tables import demo_tables
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from published import canonical

from demo.company import build as demo_company
from metrics.marts import MARTS, MartParams, build, build_lazily, facts

NOON = datetime(2026, 4, 6, 9, 0, tzinfo=UTC)
AS_OF = NOON + timedelta(days=30)
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


def cut(tables, n_rows, monkeypatch, as_of=AS_OF, folder=None):
    with monkeypatch.context() as small:
        small.setattr(facts, "PART_ROWS", n_rows)
        if folder is None:
            return build(tables, as_of, MartParams())
        lazy = build_lazily(tables, as_of, MartParams(), folder=folder)
        return {name: frame.collect() for name, frame in lazy.items()}


def assert_same(one, other):
    for name in MARTS:
        is_ordered = name != "call_episode_leg"  # by id within a part only
        assert_frame_equal(one[name], other[name], check_row_order=is_ordered)


@pytest.fixture(scope="module")
def patch():
    with pytest.MonkeyPatch.context() as made:
        yield made


@settings(max_examples=40, deadline=None)
@given(st.lists(CALL, max_size=12), st.integers(1, 4))
def test_calls_become_the_same_episodes_wherever_they_are_cut(patch, drawn, n_rows):
    tables = canonical({**CARDS, "call": calls(drawn)})
    assert_same(cut(tables, n_rows, patch), cut(tables, 10**9, patch))


def test_the_demo_company_is_the_same_in_parts_and_in_files(monkeypatch, tmp_path):
    demo = demo_company(scale=0.02)
    tables = {name: frame.collect().lazy() for name, frame in demo_tables(demo).items()}
    whole = cut(tables, 10**9, monkeypatch, demo.as_of)
    assert whole["call_episode"].height > 300
    assert_same(cut(tables, 97, monkeypatch, demo.as_of, tmp_path), whole)
    assert len(list(tmp_path.rglob("call_episode.*.parquet"))) > 3
    assert len(list(tmp_path.rglob("deal_state.*.parquet"))) > 3


def test_a_month_is_read_without_the_others(monkeypatch, tmp_path):
    """Bounds of the instant get down to the files, past links to clients and the order."""
    answered = {"step_s": 301, "phone_key": "phone 0", "direction": "in", "status": "answered"}
    tables = canonical({**CARDS, "call": calls([answered] * 3)})
    monkeypatch.setattr(facts, "PART_ROWS", 1)
    lazy = build_lazily(tables, AS_OF, MartParams(), folder=tmp_path)
    for name, instant in (("call_episode", "started_at"), ("touch", "touched_at")):
        plan = lazy[name].filter(pl.col(instant) >= NOON).explain()
        assert "FILTER" not in plan
        assert plan.count("SELECTION:") == plan.count("Parquet SCAN") == 1
