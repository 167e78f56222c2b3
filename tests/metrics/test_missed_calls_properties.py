"""A3 on made-up histories (catalogue 5.8 (5) and 5.9): a slow reading of the definition gives the same threads.

And what must not matter does not matter.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from engines import on_every_engine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from metrics.evaluate import evaluate
from metrics.frames import DuckDbEngine
from metrics.metric import MetricResult, Period
from metrics.missed_calls import METRIC, MissedCallsParams
from metrics.missed_threads import STATES

Row = dict[str, Any]

BEGIN = datetime(2026, 3, 2, tzinfo=UTC)
AS_OF = datetime(2026, 3, 8, 12, tzinfo=UTC)
WEEK = Period(AS_OF, date(2026, 3, 4), date(2026, 3, 9))
JUDGE_AFTER_S = 86_400
USERS = ("user:1", "user:2", None)

few = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
fewer = settings(
    max_examples=max(2, (settings.default or settings()).max_examples // 12),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

calls_of_few_clients = st.lists(
    st.fixed_dictionaries(
        {
            "client_id": st.sampled_from(["contact:1", "contact:2", None]),
            "phone_key": st.sampled_from(["k1", "k2", None]),
            # Few instants, so that several events fall into one second.
            "started_at": st.integers(0, 40).map(lambda n: BEGIN + timedelta(hours=4 * n)),
            "direction": st.sampled_from(["in", "in", "out"]),
            "is_answered": st.booleans(),
            "rung_user_id": st.sampled_from(USERS),
            "responsible_user_id": st.sampled_from(USERS),
            "user_id": st.sampled_from(USERS),
        }
    ),
    max_size=14,
).map(lambda rows: [{"episode_id": f"e{n:02}", **row} for n, row in enumerate(rows)])

messages_to_them = st.lists(
    st.fixed_dictionaries(
        {
            "client_id": st.sampled_from(["contact:1", "contact:2"]),
            "touched_at": st.integers(0, 40).map(lambda n: BEGIN + timedelta(hours=4 * n)),
            "user_id": st.sampled_from(USERS),
        }
    ),
    max_size=4,
).map(
    lambda rows: [
        {"touch_id": f"t{n}", "kind": "message", "direction": "out", "is_meaningful": True, **row}
        for n, row in enumerate(rows)
    ]
)


choices = st.fixed_dictionaries({"any_user": st.booleans(), "messages_close": st.booleans(), "min_n": st.just(1)})


@pytest.fixture
def duckdb_engine(polars_engine: Any) -> Any:
    return type(polars_engine)(DuckDbEngine())


def answer(
    engine: Any,
    calls: Sequence[Row],
    messages: Sequence[Row] = (),
    *,
    period: Period = WEEK,
    **params: Any,
) -> MetricResult:
    frames = engine.frames({"call_episode": calls, "touch": messages}, as_of=period.as_of)
    return evaluate(METRIC, frames, MissedCallsParams(**params), period)


KINDS = {
    ("in", False): "missed",
    ("in", True): "client_recovered",
    ("out", False): "attempt",
    ("out", True): "called_back",
}


def slowly(calls: Sequence[Row], messages: Sequence[Row], period: Period = WEEK) -> dict[str, str]:
    """The definition read aloud: one client after the other, one event after the other. State by opening call."""
    events: dict[str, list[tuple[Any, ...]]] = {}
    for row in calls:
        key = row["client_id"] or row["phone_key"]
        if key is not None and row["started_at"] <= period.as_of:
            kind = {("in", False): "missed", ("in", True): "client_recovered"}.get(
                (row["direction"], row["is_answered"])
            )
            kind = kind or ("called_back" if row["is_answered"] else "attempt")
            events.setdefault(key, []).append((row["started_at"], kind, row["episode_id"]))
    for row in messages:
        if row["touched_at"] <= period.as_of:
            events.setdefault(row["client_id"], []).append((row["touched_at"], "messaged", row["touch_id"]))
    order = ("missed", "called_back", "client_recovered", "messaged", "attempt")
    found: dict[str, tuple[datetime, str]] = {}
    for history in events.values():
        opened: tuple[datetime, str] | None = None
        attempts = 0
        for at, kind, name in sorted(history, key=lambda event: (event[0], order.index(event[1]), event[2])):
            if opened is None:
                opened, attempts = ((at, name), 0) if kind == "missed" else (None, 0)
            elif kind == "attempt":
                attempts += 1
            elif kind != "missed":
                found[opened[1]] = (opened[0], kind)
                opened = None
        if opened is not None:
            age_s = (period.as_of - opened[0]).total_seconds()
            state = "pending" if age_s < JUDGE_AFTER_S else "attempted_only" if attempts else "never"
            found[opened[1]] = (opened[0], state)
    moscow = timedelta(hours=3)
    return {
        name: state
        for name, (at, state) in found.items()
        if period.period_from <= (at + moscow).date() < period.period_to
    }


def states(result: MetricResult) -> dict[str, str]:
    return dict(result.tables["threads"].select("thread_id", "state").iter_rows())


def same(left: MetricResult, right: MetricResult) -> None:
    """Every table and the drill-down are equal, order and types included; floats to 1e-9."""
    assert list(left.tables) == list(right.tables)
    for name, frame in left.tables.items():
        assert_frame_equal(frame, right.tables[name], rel_tol=1e-9, abs_tol=1e-12)
    assert_frame_equal(left.drilldown, right.drilldown, rel_tol=1e-9, abs_tol=1e-12)


@few
@given(calls=calls_of_few_clients, messages=messages_to_them)
def test_threads_are_those_of_a_slow_reading_of_the_definition(polars_engine, calls, messages):
    assert states(answer(polars_engine, calls, messages)) == slowly(calls, messages)


@fewer
@given(calls=calls_of_few_clients, messages=messages_to_them, params=choices)
def test_engines_agree(polars_engine, duckdb_engine, calls, messages, params):
    same(answer(polars_engine, calls, messages, **params), answer(duckdb_engine, calls, messages, **params))


@few
@given(calls=calls_of_few_clients, messages=messages_to_them)
def test_groups_add_up_to_the_total_and_rows_to_the_numerators(polars_engine, calls, messages):
    result = answer(polars_engine, calls, messages)
    by_user, total = result.tables["by_user"], result.tables["total"]
    for state in STATES:
        assert by_user[f"n_{state}"].sum() == total[f"n_{state}"].sum()
    rows = dict(result.drilldown.group_by("group_key").len().iter_rows())
    assert rows == {key: n for key, n in by_user.select("group_key", "n_not_reached").iter_rows() if n}
    assert (by_user["n_judged"] == by_user["n_threads"] - by_user["n_pending"]).all()


@few
@given(data=st.data(), calls=calls_of_few_clients, messages=messages_to_them)
def test_the_order_of_rows_does_not_matter(polars_engine, data, calls, messages):
    shuffled = data.draw(st.permutations(calls)), data.draw(st.permutations(messages))
    same(answer(polars_engine, calls, messages), answer(polars_engine, *shuffled))


@few
@given(calls=calls_of_few_clients, messages=messages_to_them, later=calls_of_few_clients)
def test_what_happens_after_as_of_changes_nothing(polars_engine, calls, messages, later):
    after = [
        {**row, "episode_id": f"later-{row['episode_id']}", "started_at": AS_OF + (row["started_at"] - BEGIN) + SECOND}
        for row in later
    ]
    same(answer(polars_engine, calls, messages), answer(polars_engine, [*calls, *after], messages))


SECOND = timedelta(seconds=1)


@fewer
@given(calls=calls_of_few_clients)
def test_before_the_data_there_is_nothing(polars_engine, calls):
    before = Period(BEGIN - SECOND, date(2026, 2, 1), date(2026, 3, 9))
    result = answer(polars_engine, calls, period=before)
    assert all(frame.is_empty() for frame in (*result.tables.values(), result.drilldown))


@few
@given(calls=calls_of_few_clients, messages=messages_to_them, weeks=st.integers(-8, 8))
def test_a_shift_by_whole_weeks_shifts_the_answer(polars_engine, calls, messages, weeks):
    shift = timedelta(weeks=weeks)
    moved = answer(
        polars_engine,
        [{**row, "started_at": row["started_at"] + shift} for row in calls],
        [{**row, "touched_at": row["touched_at"] + shift} for row in messages],
        period=Period(AS_OF + shift, WEEK.period_from + shift, WEEK.period_to + shift),
    )
    plain = answer(polars_engine, calls, messages)
    assert states(moved) == states(plain)
    assert_frame_equal(moved.tables["by_user"], plain.tables["by_user"])


@few
@given(calls=calls_of_few_clients, messages=messages_to_them)
def test_names_of_rows_do_not_matter(polars_engine, calls, messages):
    """Ids renamed so that their order turns round: counts per state stay, whoever owns the thread."""
    renamed = [{**row, "episode_id": f"z{99 - int(row['episode_id'][1:]):02}"} for row in calls]
    keys = ["account_id", *(f"n_{state}" for state in STATES), "n_hidden"]
    assert_frame_equal(
        answer(polars_engine, calls, messages).tables["total"].select(keys),
        answer(polars_engine, renamed, messages).tables["total"].select(keys),
    )


@few
@given(calls=calls_of_few_clients, messages=messages_to_them)
def test_a_missed_call_told_twice_changes_no_state(polars_engine, calls, messages):
    """Marts remove duplicates; should one slip through, a thread is still one thread."""
    twins = [{**row, "episode_id": f"{row['episode_id']}-again"} for row in calls]
    counts = [f"n_{state}" for state in STATES]
    assert_frame_equal(
        answer(polars_engine, calls, messages).tables["total"].select(counts),
        answer(polars_engine, [*calls, *twins], messages).tables["total"].select(counts),
    )


@on_every_engine
@pytest.mark.parametrize("kind", ["called_back", "never"])
def test_merged_clients_share_a_thread(engine, kind):
    """Cards merged into one client: the marts name its root on every call, so a callback to the other card counts."""
    at = BEGIN + timedelta(days=3)
    calls = [
        {"episode_id": "m1", "client_id": "contact:1", "phone_key": "old", "started_at": at, "direction": "in"},
        {
            "episode_id": "m2",
            "client_id": "contact:1",
            "phone_key": "new",
            "started_at": at + SECOND,
            "direction": "in",
        },
    ]
    if kind == "called_back":
        back = {"phone_key": "new", "started_at": at + 2 * SECOND, "direction": "out", "is_answered": True}
        calls.append({"episode_id": "o1", "client_id": "contact:1", **back})
    threads = answer(engine, calls).tables["threads"]
    assert threads.select("thread_id", "state", "n_missed").rows() == [("m1", kind, 2)]
