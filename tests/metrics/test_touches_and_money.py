"""B5: whether clients who are touched more bring more money afterwards."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from engines import on_every_engine

from metrics.evaluate import evaluate
from metrics.metric import MetricResult, Period
from metrics.touches_and_money import METRIC, TouchesAndMoneyParams

AS_OF = datetime(2026, 4, 30, 9, tzinfo=UTC)
NOW = Period(AS_OF, date(2026, 1, 1), date(2026, 4, 30))
TURN = AS_OF - timedelta(days=90)
DAY = timedelta(days=1)
Row = dict[str, Any]
X, Y = (2, 5, 1, 8, 4, 7, 3, 6, 0, 9), (30, 55, 10, 70, 65, 90, 20, 60, 15, 80)


def client(n: int, owner: str = "user:1") -> Row:
    return {"client_id": f"contact:{n}", "responsible_user_id": owner, "created_at": TURN - 400 * DAY}


def touch(n: int, at: datetime, number: int = 0, **more: Any) -> Row:
    row = {"touch_id": f"{n}/{at}/{number}", "client_id": f"contact:{n}", "touched_at": at, "kind": "call"}
    return row | {"direction": "out", "is_meaningful": True} | more


def sale(n: int, at: datetime, amount: int | None) -> Row:
    row = {"sale_id": f"{n}/{at}", "basis": "won_deal", "client_id": f"contact:{n}", "sold_at": at}
    return row | {"amount_minor": amount}


def known(n: int) -> Row:
    """The client himself wrote long ago: he is known before the turning point and was given nothing."""
    return touch(n, TURN - 200 * DAY, direction="in", kind="message")


def answer(
    engine: Any, clients: Sequence[Row], touches: Sequence[Row], sales: Sequence[Row] = (), **more: Any
) -> MetricResult:
    params = TouchesAndMoneyParams(**more.pop("params", {}))
    tables = {"client": clients, "touch": touches, "sale": sales, "user": [{"user_id": "user:1"}]} | more
    return evaluate(METRIC, engine.frames(tables, as_of=AS_OF), params, NOW)


def example():
    touches = [known(n) for n in range(10)]
    touches += [touch(n, TURN - DAY, k) for n, count in enumerate(X) for k in range(count)]
    return [client(n) for n in range(10)], touches, [sale(n, TURN + DAY, money) for n, money in enumerate(Y)]


def pair(result: MetricResult, unit: str = "client", name: str = "revenue") -> Row:
    return result.tables["pairs"].filter(unit=unit, pair=name).row(0, named=True)


@on_every_engine
def test_b5_the_example_of_the_catalogue(engine):
    result = answer(engine, *example())
    row = pair(result)
    assert (row["n"], row["rho"], row["ci_lo"], row["ci_hi"]) == pytest.approx(
        (10, 0.903030, 0.543749, 0.982583), abs=1e-6
    )
    assert (row["low_n"], row["q"]) == (True, None)
    assert row["tau"] > 0
    assert result.tables["buckets"].select("bucket", "n", "n_buyers").rows() == [
        ("0", 1, 1),
        ("1", 1, 1),
        ("2–3", 2, 2),
        ("4–6", 3, 3),
        ("7+", 3, 3),
    ]
    assert "association" in {notice.code for notice in result.warnings}


def test_touches_are_counted_before_the_turning_point_and_money_after_it(polars_engine):
    touches = [known(1), touch(1, TURN - 91 * DAY), touch(1, TURN - 90 * DAY), touch(1, TURN)]
    sales = [sale(1, TURN - DAY, 5), sale(1, TURN, 7), sale(1, AS_OF + DAY, 11)]
    result = answer(polars_engine, [client(1)], touches, sales)
    assert result.tables["buckets"].select("bucket", "mean_revenue_minor").rows() == [("1", 7.0)]


def test_touches_on_deals_already_won_serve_an_order(polars_engine):
    deals = [{"deal_id": "lead:1", "client_id": "contact:1", "outcome": "won", "outcome_at": TURN - 10 * DAY}]
    touches = [
        known(1),
        touch(1, TURN - 11 * DAY, deal_id="lead:1"),
        touch(1, TURN - 9 * DAY, deal_id="lead:1"),
        touch(1, TURN - 8 * DAY, deal_id="lead:1"),
    ]
    result = answer(polars_engine, [client(1)], touches, deal_state=deals)
    assert result.tables["buckets"]["bucket"].to_list() == ["1"]


def test_who_was_unknown_before_the_turning_point_is_not_looked_at(polars_engine):
    touches = [touch(1, TURN + DAY), known(2)]
    sales = [sale(3, TURN - DAY, 5), sale(4, TURN + DAY, 5)]
    result = answer(polars_engine, [client(n) for n in (1, 2, 3, 4)], touches, sales)
    assert sorted(result.drilldown["entity_id"]) == ["contact:2", "contact:3"]


def test_who_bought_nothing_has_no_check(polars_engine):
    clients, touches, sales = example()
    result = answer(polars_engine, clients, touches, [*sales[:4], sale(0, TURN + 2 * DAY, 50), sale(9, TURN, None)])
    assert (pair(result)["n"], pair(result, name="check")["n"]) == (10, 4)
    assert result.tables["buckets"].filter(bucket="2–3")["mean_check_minor"].to_list() == [40.0]


def test_enough_clients_are_corrected_for_the_number_of_pairs(polars_engine):
    result = answer(polars_engine, *example(), params={"min_n": 5})
    row = pair(result)
    assert row["p"] <= row["q"] <= 2 * row["p"]


def test_managers_are_compared_by_the_means_of_their_clients(polars_engine):
    touches = [*(known(n) for n in (1, 2)), *(touch(1, TURN - DAY, k) for k in range(4))]
    result = answer(polars_engine, [client(1), client(2)], touches, [sale(2, TURN, 100)])
    row = result.tables["managers"].row(0, named=True)
    assert (row["n"], row["mean_touches"], row["mean_revenue_minor"], row["mean_check_minor"]) == (2, 2, 50, 100)
    assert pair(result, "manager")["n"] == 1
    assert pair(result, "manager")["rho"] is None
