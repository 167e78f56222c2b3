"""B6: touches between the creation of a deal and its end, won beside lost."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from engines import on_every_engine

from metrics.evaluate import evaluate
from metrics.metric import MetricResult, Period
from metrics.touches_before_sale import METRIC, TouchesBeforeSaleParams

MOSCOW = ZoneInfo("Europe/Moscow")
Row = dict[str, Any]


def moscow(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=MOSCOW).astimezone(UTC)


AS_OF = moscow("2026-04-30 12:00")
NOW = Period(AS_OF, date(2026, 4, 1), date(2026, 4, 30))


def deal(n: int, outcome: str = "won", created: str = "2026-04-02", closed: str = "2026-04-20", **more: Any) -> Row:
    return {
        "deal_id": f"lead:{n}",
        "client_id": f"contact:{n}",
        "entity_kind": "deal",
        "pipeline_id": "pipeline:1",
        "outcome": outcome,
        "created_at": moscow(created),
        "outcome_at": moscow(closed),
        "outcome_user_id": "user:1",
        **more,
    }


def touches(number: int, at: str, n: int, **more: Any) -> list[Row]:
    row = {"client_id": f"contact:{number}", "touched_at": moscow(at), "is_meaningful": True}
    return [{"touch_id": f"{number}/{at}/{i}/{sorted(more)}", **row, **more} for i in range(n)]


def answer(
    engine: Any, deals: Sequence[Row], rows: Sequence[Row], sales: Sequence[Row] = (), **params: Any
) -> MetricResult:
    tables: Mapping[str, Sequence[Row]] = {"deal_state": deals, "touch": rows, "sale": sales}
    return evaluate(METRIC, engine.frames(tables, as_of=AS_OF), TouchesBeforeSaleParams(**params), NOW)


@on_every_engine
def test_b6_the_example_of_the_catalogue(engine):
    counts = {1: 3, 2: 5, 3: 8, 4: 12}
    rows = [row for number, n in counts.items() for row in touches(number, "2026-04-10", n)]
    result = answer(engine, [deal(number) for number in counts], rows)
    row = result.tables["total"].row(0, named=True)
    assert (row["n_won"], row["median_touches"]) == (4, 6.5)
    assert (row["p25_touches"], row["p75_touches"]) == (4.5, 9.0)
    assert sorted(result.drilldown["value"]) == [3, 5, 8, 12]


def test_only_touches_while_the_deal_was_open_count(polars_engine):
    rows = [
        *touches(1, "2026-04-01 23:59", 1),
        *touches(1, "2026-04-02 00:00", 1),
        *touches(1, "2026-04-20 00:00", 1),
        *touches(1, "2026-04-20 00:01", 1),
    ]
    assert answer(polars_engine, [deal(1)], rows).tables["total"]["median_touches"].to_list() == [2]


def test_unanswered_calls_are_attempts_not_touches(polars_engine):
    rows = touches(1, "2026-04-10", 3, is_meaningful=False, is_attempt=True)
    row = answer(polars_engine, [deal(1)], rows).tables["total"].row(0, named=True)
    assert (row["median_touches"], row["median_attempts"], row["n_untouched"]) == (0, 3, 1)


def test_lost_deals_stand_beside_and_are_no_rows_of_the_drilldown(polars_engine):
    deals = [deal(1), deal(2, "lost"), deal(3, "open", closed="2026-04-21")]
    rows = [*touches(1, "2026-04-10", 4), *touches(2, "2026-04-10", 1)]
    result = answer(polars_engine, deals, rows)
    row = result.tables["total"].row(0, named=True)
    assert (row["n_won"], row["n_lost"], row["lost_median_touches"]) == (1, 1, 1)
    assert result.drilldown["entity_id"].to_list() == ["lead:1"]


def test_a_deal_of_who_bought_before_is_a_repeat_sale(polars_engine):
    own = {"sale_id": "s1", "basis": "won_deal", "client_id": "contact:1", "sold_at": moscow("2026-04-20")}
    earlier = {"sale_id": "s2", "basis": "won_deal", "client_id": "contact:2", "sold_at": moscow("2026-01-20")}
    table = answer(polars_engine, [deal(1), deal(2)], [], [own, earlier]).tables["by_repeat"]
    assert sorted(table.select("is_repeat", "n_won").rows()) == [(False, 1), (True, 1)]


def test_deals_closed_outside_the_period_or_in_pipelines_that_do_not_sell_are_left_out(polars_engine):
    deals = [deal(1, closed="2026-03-31 23:59"), deal(2, closed="2026-04-30 00:00"), deal(3, is_sales=False)]
    assert answer(polars_engine, deals, []).tables["total"].is_empty()
    both = [deal(1), deal(2, pipeline_id="pipeline:2")]
    assert answer(polars_engine, both, [], pipeline_id="pipeline:2").tables["total"]["n_won"].to_list() == [1]


def test_groups_add_up(polars_engine):
    deals = [deal(1), deal(2, outcome_user_id="user:2", source_id="source:1"), deal(3, "lost", outcome_user_id=None)]
    tables = answer(polars_engine, deals, []).tables
    for name in ("by_user", "by_source", "by_repeat"):
        assert (tables[name]["n_won"].sum(), tables[name]["n_lost"].sum()) == (2, 1)
    assert "unassigned" in tables["by_user"]["group_key"].to_list()
