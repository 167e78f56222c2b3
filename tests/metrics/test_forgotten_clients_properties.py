"""B2 on made-up bases (catalogue 5.9): a slow reading of the definition, and what must not matter."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from metrics.evaluate import evaluate
from metrics.forgotten_clients import METRIC, ForgottenClientsParams
from metrics.frames import DuckDbEngine
from metrics.metric import MetricResult, Period

Row = dict[str, Any]

MOSCOW = ZoneInfo("Europe/Moscow")
AS_OF = datetime(2026, 4, 30, 9, tzinfo=UTC)
NOW = Period(AS_OF, date(2026, 3, 1), date(2026, 4, 30))
SECOND = timedelta(seconds=1)
CLIENTS = ("contact:1", "contact:2", "company:3", "contact:4")

few = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
fewer = settings(
    max_examples=max(2, (settings.default or settings()).max_examples // 12),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

# Whole and half days: noon and the last second of a local day.
instants = st.builds(
    lambda days, late: (
        datetime(2026, 4, 29, 23, 59, 59, tzinfo=MOSCOW) - timedelta(days=days, hours=0 if late else 12)
    ).astimezone(UTC),
    st.sampled_from([0, 10, 58, 59, 60, 89, 90, 179, 180, 300]),
    st.booleans(),
)

clients_of_a_few = st.lists(
    st.fixed_dictionaries(
        {
            "client_id": st.sampled_from(CLIENTS),
            "responsible_user_id": st.sampled_from(["user:1", "user:2", "user:left", "user:robot", None]),
            "created_at": instants,
            "is_spam": st.sampled_from([False, False, False, True]),
        }
    ),
    unique_by=lambda row: row["client_id"],
)
deals_of_them = st.lists(
    st.fixed_dictionaries(
        {
            "client_id": st.sampled_from(CLIENTS),
            "outcome": st.sampled_from(["won", "open", "lost", "unsorted"]),
            "loss_reason_id": st.sampled_from([None, "spam", "price"]),
            "created_at": instants,
        }
    ),
    max_size=8,
).map(lambda rows: [{"deal_id": f"lead:{n}", "entity_kind": "deal", **row} for n, row in enumerate(rows)])
touches_of_them = st.lists(
    st.fixed_dictionaries(
        {
            "client_id": st.sampled_from(CLIENTS),
            "touched_at": instants,
            "kind": st.sampled_from(["call", "message"]),
            "direction": st.sampled_from(["in", "out"]),
            "is_meaningful": st.booleans(),
        }
    ),
    max_size=8,
).map(lambda rows: [{"touch_id": f"t{n}", **row} for n, row in enumerate(rows)])
sales_to_them = st.lists(
    st.fixed_dictionaries(
        {
            "client_id": st.sampled_from(CLIENTS),
            "sold_at": instants,
            "amount_minor": st.sampled_from([None, 0, 100, 900]),
        }
    ),
    max_size=4,
).map(lambda rows: [{"sale_id": f"s{n}", "basis": "won_deal", **row} for n, row in enumerate(rows)])

company = st.fixed_dictionaries(
    {"client": clients_of_a_few, "deal_state": deals_of_them, "touch": touches_of_them, "sale": sales_to_them}
)
choices = st.fixed_dictionaries(
    {
        "n_days": st.sampled_from([0, 10, 60]),
        "base": st.sampled_from(["existing", "buyers", "open", "all"]),
        "direction": st.sampled_from(["any", "out"]),
        "min_n": st.just(1),
    }
)

PEOPLE = (
    {"user_id": "user:1"},
    {"user_id": "user:2"},
    {"user_id": "user:left", "is_active": False},
    {"user_id": "user:robot", "is_robot": True},
)
REASONS = ({"loss_reason_id": "spam", "name": "Спам"}, {"loss_reason_id": "price", "name": "Дорого"})


@pytest.fixture
def duckdb_engine(polars_engine: Any) -> Any:
    return type(polars_engine)(DuckDbEngine())


def answer(engine: Any, tables: dict[str, Sequence[Row]], *, period: Period = NOW, **params: Any) -> MetricResult:
    frames = engine.frames({"user": PEOPLE, "loss_reason": REASONS, **tables}, as_of=period.as_of)
    return evaluate(METRIC, frames, ForgottenClientsParams(**params), period)


def same(left: MetricResult, right: MetricResult) -> None:
    assert list(left.tables) == list(right.tables)
    for name, frame in left.tables.items():
        assert_frame_equal(frame, right.tables[name], rel_tol=1e-9, abs_tol=1e-12)
    assert_frame_equal(left.drilldown, right.drilldown, rel_tol=1e-9, abs_tol=1e-12)


def slowly(tables: dict[str, Sequence[Row]], n_days: int, base: str, direction: str) -> tuple[dict[str, int], int]:
    """The definition read aloud: days of silence of the forgotten, and how many clients were looked at."""
    found, n = {}, 0
    for row in tables["client"]:
        theirs = [deal for deal in tables["deal_state"] if deal["client_id"] == row["client_id"]]
        kinds = {deal["outcome"] for deal in theirs}
        wanted = {"existing": {"won", "open"}, "buyers": {"won"}, "open": {"open"}}
        is_no_client = theirs and all(deal["outcome"] == "lost" and deal["loss_reason_id"] == "spam" for deal in theirs)
        if row["is_spam"] or is_no_client or (base != "all" and not kinds & wanted[base]):
            continue
        n += 1
        touched = [
            touch["touched_at"]
            for touch in tables["touch"]
            if touch["client_id"] == row["client_id"]
            and touch["is_meaningful"]
            and (direction == "any" or touch["direction"] == "out")
        ]
        last = max(touched, default=row["created_at"])
        days = (AS_OF.astimezone(MOSCOW).date() - last.astimezone(MOSCOW).date()).days
        if days > n_days:
            found[row["client_id"]] = days
    return found, n


@few
@given(tables=company, params=choices)
def test_the_forgotten_are_those_of_a_slow_reading_of_the_definition(polars_engine, tables, params):
    result = answer(polars_engine, tables, **params)
    forgotten = dict(result.tables["clients"].select("client_id", "days_since").iter_rows())
    n = result.tables["by_user"]["den"].sum() + result.tables["reassign"]["den"].sum()
    assert (forgotten, n) == slowly(tables, params["n_days"], params["base"], params["direction"])


@fewer
@given(tables=company, params=choices)
def test_engines_agree(polars_engine, duckdb_engine, tables, params):
    same(answer(polars_engine, tables, **params), answer(duckdb_engine, tables, **params))


@few
@given(tables=company, params=choices)
def test_groups_add_up_to_the_total_and_rows_to_the_numerators(polars_engine, tables, params):
    result = answer(polars_engine, tables, **params)
    by_user, total, reassign = (result.tables[name] for name in ("by_user", "total", "reassign"))
    for name in ("num", "den", "n_never", "n_segment_1", "n_segment_2", "n_segment_3", "revenue_12m_minor"):
        assert by_user[name].sum() == total[name].sum()
    assert (reassign["num"].sum(), reassign["den"].sum()) == (total["reassign_num"].sum(), total["reassign_den"].sum())
    assert result.tables["segments"]["num"].sum() == total["num"].sum()
    rows = dict(result.drilldown.group_by("group_key").len().iter_rows())
    groups = [*by_user.select("group_key", "num").iter_rows(), *reassign.select("group_key", "num").iter_rows()]
    assert rows == {key: n for key, n in groups if n}


@few
@given(data=st.data(), tables=company)
def test_the_order_of_rows_does_not_matter(polars_engine, data, tables):
    shuffled = {name: data.draw(st.permutations(rows)) for name, rows in tables.items()}
    same(answer(polars_engine, tables), answer(polars_engine, shuffled))


@few
@given(tables=company, later=company)
def test_what_happens_after_as_of_changes_nothing(polars_engine, tables, later):
    def after(rows: Sequence[Row], name: str, at: str) -> list[Row]:
        return [{**row, name: f"later-{row[name]}", at: AS_OF + (AS_OF - row[at]) + SECOND} for row in rows]

    both = {
        "client": [*tables["client"], *after(later["client"], "client_id", "created_at")],
        "deal_state": [*tables["deal_state"], *after(later["deal_state"], "deal_id", "created_at")],
        "touch": [*tables["touch"], *after(later["touch"], "touch_id", "touched_at")],
        "sale": [*tables["sale"], *after(later["sale"], "sale_id", "sold_at")],
    }
    same(answer(polars_engine, tables), answer(polars_engine, both))


@fewer
@given(tables=company)
def test_before_the_data_there_is_nothing(polars_engine, tables):
    before = Period(datetime(2024, 1, 1, tzinfo=UTC), date(2023, 12, 1), date(2024, 1, 1))
    result = answer(polars_engine, tables, period=before, base="all")
    assert all(frame.is_empty() for frame in (*result.tables.values(), result.drilldown))


@few
@given(tables=company)
def test_a_longer_limit_forgets_no_more(polars_engine, tables):
    sixty = answer(polars_engine, tables, n_days=60).tables["clients"]["client_id"]
    ninety = answer(polars_engine, tables, n_days=90).tables["clients"]["client_id"]
    assert set(ninety) <= set(sixty)
