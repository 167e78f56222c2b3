"""D6 and D1: which clients are new, active, at risk, churned and reactivated."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from engines import on_every_engine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from pydantic import ValidationError

from metrics.client_flows import (
    METRIC,
    OVERDUE_RATIO,
    ClientFlowsParams,
    buyers,
    day_number,
    local_today,
    months_covering,
    occasions,
    sales_seen,
    with_overdue,
)
from metrics.evaluate import evaluate
from metrics.frames import DuckDbEngine
from metrics.metric import DRILLDOWN, MetricResult, Period

MSK_NOON_H = 9
"""Noon in Moscow, UTC hours."""


def instant(day: date, hour: int = MSK_NOON_H) -> datetime:
    return datetime(day.year, day.month, day.day, hour, tzinfo=UTC)


def midnight(day: date) -> datetime:
    """Midnight in Moscow of a local day."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC) - timedelta(hours=3)


def sale(client_id: str | None, day: str, amount_minor: int | None = 100_00, **rest: Any) -> dict[str, Any]:
    sold_at = instant(date.fromisoformat(day))
    return {
        "sale_id": f"{client_id}:{day}:{rest.get('n', 1)}",
        "basis": "won_deal",
        "client_id": client_id,
        "sold_at": sold_at,
        "valid_from": sold_at,
        "amount_minor": amount_minor,
        **{name: value for name, value in rest.items() if name != "n"},
    }


def client(client_id: str, user_id: str | None = "user:1", **rest: Any) -> dict[str, Any]:
    return {"client_id": client_id, "kind": "contact", "responsible_user_id": user_id, **rest}


def history(**days: str) -> dict[str, list[dict[str, Any]]]:
    """Clients and the days they bought on."""
    return {
        "client": [client(name) for name in days],
        "sale": [sale(name, day) for name, bought in days.items() for day in bought.split()],
    }


EXAMPLE = history(
    c1="2025-09-10 2026-01-15 2026-03-20",
    c2="2025-07-01 2026-02-10",
    c3="2025-11-20",
    c4="2026-01-05 2026-01-25",
    c5="2025-06-15",
    c6="2026-03-03",
)
JUNE = Period(midnight(date(2026, 6, 1)), date(2025, 12, 1), date(2026, 6, 1))


def run(engine: Any, tables: Mapping[str, Any], period: Period = JUNE, **params: Any) -> MetricResult:
    return evaluate(METRIC, engine.frames(tables, as_of=period.as_of), ClientFlowsParams(**params), period)


def by_month(result: MetricResult, *names: str) -> dict[str, tuple[Any, ...]]:
    rows = result.tables["months"].iter_rows(named=True)
    return {f"{row['month']:%b}": tuple(row[name] for name in names) for row in rows}


@on_every_engine
def test_the_example_of_the_catalogue(engine: Any) -> None:
    result = run(engine, EXAMPLE)
    assert by_month(result, "active", "at_risk", "churned") == {
        "Dec": (1, 1, 2),
        "Jan": (3, 0, 2),
        "Feb": (3, 1, 1),
        "Mar": (4, 1, 1),
        "Apr": (3, 2, 1),
        "May": (2, 2, 2),
    }
    assert {
        month: n for month, n in by_month(result, "new", "reactivated_n", "churned_n").items() if n != (0, 0, 0)
    } == {
        "Dec": (0, 0, 2),
        "Jan": (1, 0, 0),
        "Feb": (0, 1, 0),
        "Mar": (1, 0, 0),
        "May": (0, 0, 1),
    }
    assert by_month(result, "churn_num", "churn_den", "churn_rate")["May"] == (1, 5, 0.2)
    assert by_month(result, "complete")["May"] == (True,)


def test_every_event_opens_to_its_clients(engine: Any) -> None:
    rows = run(engine, EXAMPLE).drilldown
    events = rows.select("group_key", "reason", "client_id", "value").rows()
    assert ("2026-02", "REACTIVATED", "c2", 224.0) in events
    assert ("2026-05", "CHURNED", "c3", 193.0) in events, "days without a purchase, up to now"
    assert ("2026-01", "NEW", "c4", None) in events
    assert not any(client_id == "c1" and reason == "REACTIVATED" for _, reason, client_id, _ in events), (
        "a gap of 127 days"
    )


def test_a_churn_happens_at_the_midnight_its_day_begins_with(engine: Any) -> None:
    rows = run(engine, EXAMPLE).drilldown.filter(pl.col("reason") == "CHURNED", pl.col("client_id") == "c3")
    assert rows["event_at"].to_list() == [midnight(date(2026, 5, 20))], "181 days after 20 November"


def test_the_drilldown_counts_what_the_months_count(engine: Any) -> None:
    result = run(engine, EXAMPLE)
    assert_drilldown_counts(result)
    assert result.drilldown.schema == pl.Schema(DRILLDOWN)


def assert_drilldown_counts(result: MetricResult) -> None:
    """Events open in the drill-down, the stocks of the last month in the table of clients, of each manager too."""
    found = Counter(result.drilldown.select("account_id", "group_key", "reason").rows())
    told: Counter[tuple[str, str, str]] = Counter()
    for row in result.tables["months"].iter_rows(named=True):
        for column, reason in {"new": "NEW", "churned_n": "CHURNED", "reactivated_n": "REACTIVATED"}.items():
            told[row["account_id"], row["group_key"], reason] += row[column]
    assert found == +told
    assert_stocks_open(result, "months", ["account_id", "group_key", "stock_on"])
    assert_stocks_open(result, "managers", ["account_id", "group_key", "stock_on", "user_id"])


def assert_stocks_open(result: MetricResult, table: str, by: Sequence[str]) -> None:
    rows = result.tables[table]
    last = rows.filter(pl.col("month") == pl.col("month").max().over("account_id"))
    told: Counter[tuple[Any, ...]] = Counter()
    for row in last.iter_rows(named=True):
        for state in ("active", "at_risk", "churned"):
            told[*(row[name] for name in by), state] += row[state]
    assert Counter(result.tables["clients"].select(*by, "state").rows()) == +told


def clients_of(result: MetricResult, *names: str) -> dict[str, Any]:
    rows = result.tables["clients"].iter_rows(named=True)
    return {row["client_id"]: tuple(row[name] for name in names) for row in rows}


def test_every_client_has_a_state_at_the_end_of_the_period(engine: Any) -> None:
    result = run(engine, EXAMPLE)
    assert clients_of(result, "state", "last_sale_on", "days_since", "n_sales", "revenue_minor") == {
        "c1": ("active", date(2026, 3, 20), 72, 3, 300_00),
        "c2": ("at_risk", date(2026, 2, 10), 110, 2, 200_00),
        "c3": ("churned", date(2025, 11, 20), 192, 1, 100_00),
        "c4": ("at_risk", date(2026, 1, 25), 126, 2, 200_00),
        "c5": ("churned", date(2025, 6, 15), 350, 1, 100_00),
        "c6": ("active", date(2026, 3, 3), 89, 1, 100_00),
    }


def test_a_client_comes_with_his_rhythm_his_manager_and_his_card(engine: Any) -> None:
    tables = history(**{"contact:7": "2025-12-01 2026-01-10 2026-01-30", "contact:8": "2026-05-01"})
    rows = run(engine, tables, personal=True).tables["clients"]
    assert rows["client_id"].to_list() == ["contact:7", "contact:8"], "who brought most comes first"
    names = ("median_gap_d", "usual_gap_d", "overdue_ratio", "active_d", "churn_d", "user_id", "user_active")
    assert rows.select(names).rows() == [
        (30.0, 30.0, 121 / 30, 60, 120, "user:1", True),
        (None, 30.0, 30 / 30, 60, 120, "user:1", True),
    ]
    assert rows["url"].to_list() == [f"https://example.amocrm.ru/contacts/detail/{number}" for number in (7, 8)]
    assert set(rows["currency"]) == {"RUB"}


def test_clients_of_a_past_period_are_as_they_were_at_its_end(engine: Any) -> None:
    april = Period(midnight(date(2026, 6, 1)), date(2026, 3, 1), date(2026, 4, 10))
    result = run(engine, history(c1="2026-01-15 2026-05-20", c2="2026-05-20"), april)
    assert clients_of(result, "state", "stock_on", "n_sales", "revenue_minor") == {
        "c1": ("at_risk", date(2026, 4, 30), 1, 100_00)
    }


def test_clients_of_an_account_behind_the_others_are_counted_in_its_own_last_month(engine: Any) -> None:
    accounts = [{"account_id": name, "tz": "Europe/Moscow"} for name in ("main", "old", "older")]
    accounts[1]["as_of"] = "2026-04-20T12:00:00+00:00"
    accounts[2]["as_of"] = "2025-11-25T12:00:00+00:00"  # before the first month: it has no stocks to show
    tables = {
        name: [{**row, "account_id": known["account_id"]} for known in accounts for row in rows]
        for name, rows in EXAMPLE.items()
    }
    frames = engine.frames(tables, as_of=JUNE.as_of, accounts=accounts)
    result = evaluate(METRIC, frames, None, JUNE)
    assert_drilldown_counts(result)
    assert set(result.tables["clients"].select("account_id", "group_key", "stock_on").rows()) == {
        ("main", "2026-05", date(2026, 5, 31)),
        ("old", "2026-04", date(2026, 4, 20)),
    }


def test_a_return_on_the_very_day_of_churning_is_both(engine: Any) -> None:
    result = run(engine, history(c1="2025-09-01 2026-03-01"))  # 181 days
    assert by_month(result, "churned_n", "reactivated_n", "churned")["Mar"] == (1, 1, 0)


def test_a_return_one_day_earlier_is_neither(engine: Any) -> None:
    result = run(engine, history(c1="2025-09-01 2026-02-28"))  # 180 days
    assert by_month(result, "churned_n", "reactivated_n")["Feb"] == (0, 0)
    assert by_month(result, "churned_n", "reactivated_n")["Mar"] == (0, 0)


def test_the_running_month_is_not_complete_and_ends_today(engine: Any) -> None:
    period = Period(instant(date(2026, 5, 20)), date(2026, 5, 1), date(2026, 5, 20))
    result = run(engine, history(c1="2026-05-19"), period)
    assert by_month(result, "complete", "stock_on", "active") == {"May": (False, date(2026, 5, 20), 1)}


def test_a_month_is_complete_when_its_last_day_is_over(engine: Any) -> None:
    rows = history(c1="2026-05-19")
    evening = Period(instant(date(2026, 5, 31), hour=20), date(2026, 5, 1), date(2026, 5, 31))  # 23 o'clock
    assert by_month(run(engine, rows, evening), "complete") == {"May": (False,)}
    night = Period(midnight(date(2026, 6, 1)), date(2026, 5, 1), date(2026, 6, 1))
    assert by_month(run(engine, rows, night), "complete") == {"May": (True,)}


def test_at_midnight_days_are_counted_to_the_day_that_begins(engine: Any) -> None:
    period = Period(midnight(date(2026, 5, 20)), date(2026, 5, 1), date(2026, 5, 20))
    result = run(engine, history(c1="2026-02-18", c2="2026-02-19"), period)  # 91 and 90 days
    assert by_month(result, "stock_on", "active", "at_risk") == {"May": (date(2026, 5, 20), 1, 1)}


def test_a_period_means_the_months_it_touches() -> None:
    period = Period(midnight(date(2026, 2, 2)), date(2025, 12, 31), date(2026, 2, 2))
    assert months_covering(period) == [
        (date(2025, 12, 1), date(2025, 12, 31)),
        (date(2026, 1, 1), date(2026, 1, 31)),
        (date(2026, 2, 1), date(2026, 2, 28)),
    ]


@pytest.mark.parametrize("today", [date(2026, 11, 1), date(2026, 11, 2), date(2026, 11, 21), date(2026, 3, 31)])
def test_the_default_period_is_thirteen_months(today: date) -> None:
    period = Period(midnight(today), today - timedelta(days=METRIC.default_period_d), today)
    assert len(months_covering(period)) == 13


def test_a_refunded_purchase_was_none(engine: Any) -> None:
    tables = {
        "client": [client("c1"), client("c2")],
        "sale": [
            sale("c1", "2026-01-10", 500, deal_id="lead:1", basis="payment"),
            sale("c1", "2026-03-10", -500, deal_id="lead:1", basis="payment"),
            sale("c2", "2026-01-10", 500, deal_id="lead:2", basis="payment"),
            sale("c2", "2026-03-10", -200, deal_id="lead:2", basis="payment"),
        ],
    }
    result = run(engine, tables, sale_basis="payment")
    assert clients_of(result, "n_sales", "revenue_minor") == {"c2": (1, 300)}
    assert by_month(result, "new", "buyers", "revenue_minor", "revenue_new_minor", "revenue_returned_minor") == {
        "Dec": (0, 0, 0, 0, 0),
        "Jan": (1, 1, 1000, 500, 500),
        "Feb": (0, 1, 0, 0, 0),
        "Mar": (0, 1, -700, 0, -700),
        "Apr": (0, 1, 0, 0, 0),
        "May": (0, 1, 0, 0, 0),
    }


def test_a_refund_without_a_deal_is_set_off_on_its_day(engine: Any) -> None:
    rows = [sale("c1", "2026-01-10", 500), sale("c1", "2026-01-10", -500, n=2), sale("c1", "2026-02-10", 300)]
    result = run(engine, {"client": [client("c1")], "sale": rows})
    assert by_month(result, "new")["Jan"] == (0,)
    assert by_month(result, "new")["Feb"] == (1,)


def test_a_sale_without_an_amount_is_no_purchase_and_is_told(engine: Any) -> None:
    tables = {
        "client": [client("c1")],
        "sale": [sale("c1", "2026-01-10", None), sale("c1", "2026-01-11", 0), sale("c1", "2026-02-10")],
    }
    result = run(engine, tables)
    assert by_month(result, "new")["Feb"] == (1,)
    assert [notice.ru for notice in result.warnings if notice.code == "sales_without_amount"] == [
        "Продажи без суммы не считаются покупками: 2. Заполните бюджет выигранных сделок."
    ]


def test_revenue_is_split_by_what_the_buyer_was(engine: Any) -> None:
    result = run(engine, EXAMPLE)
    names = ("revenue_new_minor", "revenue_active_minor", "revenue_at_risk_minor", "revenue_reactivated_minor")
    assert by_month(result, *names)["Jan"] == (10000, 10000, 10000, 0)
    assert by_month(result, *names)["Feb"] == (0, 0, 0, 10000)
    assert by_month(result, *names, "revenue_minor")["Mar"] == (10000, 10000, 0, 0, 20000)


def test_a_sale_taken_back_since_never_was(engine: Any) -> None:
    rows = [sale("c1", "2026-01-10", valid_until=instant(date(2026, 2, 1))), sale("c1", "2026-03-10")]
    assert by_month(run(engine, {"client": [client("c1")], "sale": rows}), "new")["Mar"] == (1,)


def test_managers_add_up_to_the_whole(engine: Any) -> None:
    tables = {**EXAMPLE, "client": [client(f"c{n}", None if n == 3 else f"user:{n % 2}") for n in range(1, 7)]}
    result = run(engine, tables)
    counted = ["active", "at_risk", "churned", "new", "churned_n", "reactivated_n", "revenue_minor", "churn_den"]
    summed = result.tables["managers"].group_by("month").agg(pl.col(counted).sum()).sort("month")
    assert_frame_equal(summed, result.tables["months"].select("month", *counted))


def test_managers_are_those_of_now_and_it_says_so(engine: Any) -> None:
    tables = {**EXAMPLE, "user": [{"user_id": "user:1", "is_active": False}]}
    result = run(engine, tables)
    row = result.tables["managers"].row(0, named=True)
    assert (row["user_active"], row["owner_source"], row["moved_in_n"]) == (False, "current", None)
    assert "owner_source_current" in {notice.code for notice in result.warnings}


def test_a_population_cuts_clients(engine: Any) -> None:
    tables = {**EXAMPLE, "client": [client(f"c{n}", f"user:{n % 2}") for n in range(1, 7)]}
    result = run(engine, tables, population=("user:0",))
    assert set(result.drilldown["client_id"]) == {"c2", "c4", "c6"}
    assert set(result.tables["clients"]["client_id"]) == {"c2", "c4", "c6"}
    assert by_month(result, "buyers")["May"] == (3,)


def test_personal_rhythm_forgives_who_buys_rarely(engine: Any) -> None:
    rarely = history(rare="2024-01-01 2024-12-31 2025-12-30", often="2025-12-01 2025-12-11 2025-12-21")
    fixed, personal = run(engine, rarely), run(engine, rarely, personal=True)
    # rare: gaps 365 and 364, so at risk after 729 days; often: gaps of 10, so the least limits 30 and 60 hold.
    assert by_month(fixed, "active", "at_risk", "churned")["Mar"] == (0, 2, 0)
    assert by_month(personal, "active", "at_risk", "churned")["Mar"] == (1, 0, 1)
    assert by_month(personal, "churned_n")["Feb"] == (1,)


def test_one_purchase_takes_the_rhythm_of_the_account(engine: Any) -> None:
    rows = history(c1="2025-12-01 2025-12-21 2026-01-10", c2="2026-01-10")
    # Median gap of the account 20 days: active up to 40, churned from 81 days on (1 April).
    result = run(engine, rows, personal=True)
    assert by_month(result, "at_risk", "churned_n")["Mar"] == (2, 0)
    assert by_month(result, "churned_n")["Apr"] == (2,)


def test_two_purchases_are_no_rhythm_yet(engine: Any) -> None:
    rows = history(c1="2025-12-01 2025-12-21 2026-01-10", c2="2025-06-04 2026-01-10")
    # Gaps 20, 20 and 220: the account's rhythm is 20 days, and c2 with one gap of 220 follows it.
    assert by_month(run(engine, rows, personal=True), "churned_n")["Apr"] == (2,)


def test_a_short_threshold_is_remarked(engine: Any) -> None:
    rows = history(**{f"c{n}": "2025-01-01 2026-01-01" for n in range(10)})
    assert "churn_threshold_short" in {notice.code for notice in run(engine, rows).warnings}


def test_the_rhythm_of_a_client_does_not_depend_on_who_looks(engine: Any) -> None:
    """c1 bought once: his rhythm is the account's, to which the clients of others belong."""
    tables = {
        "client": [client("c1", "user:1"), client("c2", "user:2")],
        "sale": [sale("c1", "2026-01-10"), *(sale("c2", day) for day in ("2025-12-01", "2025-12-21", "2026-01-10"))],
    }
    whole = run(engine, tables, personal=True)
    own = run(engine, tables, personal=True, population=("user:1",))
    for name in ("managers", "clients"):
        assert_frame_equal(own.tables[name], whole.tables[name].filter(pl.col("user_id") == "user:1"))
    assert own.tables["managers"]["churned"].to_list()[-1] == 1
    assert clients_of(own, "usual_gap_d") == {"c1": (20.0,)}


def test_a_won_deal_of_unknown_date_is_told(engine: Any) -> None:
    undated = [{"deal_id": f"lead:{n}", "outcome": outcome} for n, outcome in enumerate(("won", "won", "lost", "open"))]
    dated = {"deal_id": "lead:9", "outcome": "won", "outcome_at": instant(date(2026, 1, 1))}
    tables = {**EXAMPLE, "deal_state": [*undated, dated]}
    told = {notice.code: notice.en for notice in run(engine, tables).warnings}
    assert told["sales_without_date"].endswith(": 2.")
    assert "sales_without_date" not in {notice.code for notice in run(engine, tables, sale_basis="payment").warnings}


def test_deleted_clients_are_left_out(engine: Any) -> None:
    tables = {**EXAMPLE, "client": [client(f"c{n}", is_deleted=n == 6) for n in range(1, 7)]}
    assert by_month(run(engine, tables), "new")["Mar"] == (0,)


def test_without_sales_the_tables_are_empty_with_their_columns(engine: Any) -> None:
    result = run(engine, {})
    full = run(engine, EXAMPLE)
    for name, table in result.tables.items():
        assert table.is_empty()
        assert table.schema == full.tables[name].schema
    assert result.drilldown.is_empty()


def test_before_the_first_sale_there_is_nothing(engine: Any) -> None:
    period = Period(midnight(date(2025, 6, 1)), date(2025, 1, 1), date(2025, 6, 1))
    assert run(engine, EXAMPLE, period).tables["months"].is_empty()


def test_what_happens_after_as_of_changes_nothing(engine: Any) -> None:
    later = {**EXAMPLE, "sale": [*EXAMPLE["sale"], sale("c5", "2026-06-01"), sale("c3", "2026-06-10", valid_from=None)]}
    same(run(engine, later), run(engine, EXAMPLE))


def test_the_order_of_rows_changes_nothing(engine: Any) -> None:
    turned = {name: rows[::-1] for name, rows in EXAMPLE.items()}
    same(run(engine, turned), run(engine, EXAMPLE))


def test_money_in_another_currency_changes_only_money(engine: Any) -> None:
    richer = {**EXAMPLE, "sale": [{**row, "amount_minor": row["amount_minor"] * 90} for row in EXAMPLE["sale"]]}
    money = [name for name in run(engine, EXAMPLE).tables["months"].columns if name.endswith("_minor")]
    left, right = (run(engine, tables).tables["months"] for tables in (richer, EXAMPLE))
    assert_frame_equal(left, right.with_columns(pl.col(money) * 90))


def same(left: MetricResult, right: MetricResult) -> None:
    for name, table in right.tables.items():
        assert_frame_equal(left.tables[name], table, rel_tol=1e-9, abs_tol=0)
    assert_frame_equal(left.drilldown, right.drilldown)


# Random histories -----------------------------------------------------------------------------------------------------

HISTORIES = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 800), st.integers(-3, 10), st.integers(0, 4)), max_size=40
)


def tables_of(rows: Sequence[tuple[int, int, int, int]]) -> dict[str, Any]:
    first = date(2024, 1, 1)
    return {
        "client": [client(f"c{n}", None if n == 5 else f"user:{n % 3}") for n in range(6)],
        "sale": [
            sale(
                f"c{who}", str(first + timedelta(days=day)), amount, deal_id=f"lead:{deal}" if deal else None, n=number
            )
            for number, (who, day, amount, deal) in enumerate(rows)
        ],
    }


LONG = Period(midnight(date(2026, 3, 11)), date(2024, 3, 1), date(2026, 3, 11))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=HISTORIES, personal=st.booleans())
def test_identities_hold_on_random_histories(
    polars_engine: Any, rows: list[tuple[int, int, int, int]], personal: bool
) -> None:
    result = run(polars_engine, tables_of(rows), LONG, personal=personal, active_d=20, churn_d=45)
    assert "client_flows_do_not_add_up" not in {notice.code for notice in result.warnings}
    for table in (result.tables["months"], result.tables["managers"]):
        assert table["buyers"].equals((table["active"] + table["at_risk"] + table["churned"]).rename("buyers"))
        assert table["buyers"].equals((table["buyers_start"] + table["new"]).rename("buyers"))
        gone = table["churned_start"] + table["churned_n"] - table["reactivated_n"]
        assert table["churned"].equals(gone.rename("churned"))
        assert (table["churn_num"] <= table["churn_den"] + table["reactivated_n"] + table["new"]).all()
        parts = [name for name in table.columns if name.startswith("revenue_") and name != "revenue_minor"]
        assert table["revenue_minor"].equals(table.select(pl.sum_horizontal(parts)).to_series().rename("revenue_minor"))
    assert_drilldown_counts(result)


@settings(max_examples=3, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=HISTORIES, personal=st.booleans())
def test_engines_agree_on_random_histories(
    polars_engine: Any, rows: list[tuple[int, int, int, int]], personal: bool
) -> None:
    tables, duckdb_engine = tables_of(rows), type(polars_engine)(DuckDbEngine())
    same(run(duckdb_engine, tables, LONG, personal=personal), run(polars_engine, tables, LONG, personal=personal))


# D1: the last purchase ------------------------------------------------------------------------------------------------


def test_last_purchase_and_rhythm(engine: Any) -> None:
    days = [date(2026, 1, 1)]
    for gap in (30, 28, 35, 31):
        days.append(days[-1] + timedelta(days=gap))
    as_of = midnight(days[-1] + timedelta(days=75)) + timedelta(hours=12)
    period = Period(as_of, days[0], days[-1])
    frames = engine.frames({"sale": [sale("c1", str(day)) for day in days]}, as_of=as_of, period=period)
    bought = occasions(sales_seen(frames, basis="won_deal"))
    table = with_overdue(buyers(bought), local_today(frames["clock"])).collect("polars").to_native()
    row = table.with_columns(OVERDUE_RATIO).row(0, named=True)
    assert row["median_gap_d"] == 30.5
    assert row["days_since"] == 75
    assert row["overdue_ratio"] == pytest.approx(2.459016, rel=1e-6)
    assert (row["n_sales"], row["revenue_minor"], row["is_lapsing"]) == (5, 50_000, True)
    assert row["last_sale_at"] == instant(days[-1])


def test_two_sales_of_a_day_are_one_occasion(engine: Any) -> None:
    rows = [sale("c1", "2026-01-10"), sale("c1", "2026-01-10", n=2), sale("c1", "2026-02-10")]
    frames = engine.frames({"sale": rows}, as_of=JUNE.as_of, period=JUNE)
    bought = occasions(sales_seen(frames, basis="won_deal"))
    table = bought.sort("day").select("gap_d", "amount_minor").collect("polars").to_native()
    assert table.rows() == [(None, 20_000), (31, 10_000)]
    assert table.schema == {"gap_d": pl.Int64, "amount_minor": pl.Int64}


@pytest.mark.parametrize("day", ["1970-01-01", "2000-02-29", "2024-12-31", "2025-01-01", "2100-03-01"])
def test_day_numbers_are_days_since_1970(engine: Any, day: str) -> None:
    frame = engine.frame("sale", sale("c1", day)).select(day=day_number("sold_local"))
    assert frame.collect("polars").to_native().item() == (date.fromisoformat(day) - date(1970, 1, 1)).days


def test_at_risk_must_come_before_churned() -> None:
    with pytest.raises(ValidationError, match="active_d must be smaller"):
        ClientFlowsParams(active_d=200)
