"""C1: loss reasons, their share among losses and their incidence among decided deals."""

from datetime import date

import polars as pl
import pytest
from decided_deals import AS_OF, answered, deal, deals, moscow, stays
from engines import on_every_engine

from metrics.loss_reasons import METRIC
from metrics.metric import Period

PRICE = {"reason": "price"}
WON = {"outcome": "won"}


def reasons(result, table="reasons", *columns):
    return result.tables[table].select(*columns).rows()


@on_every_engine
def test_c1_the_example_of_the_catalogue(engine):
    rows = deals((8, PRICE), (12, {"reason": "whim"}), (10, WON))
    table = answered(METRIC, engine, rows).tables["by_user"].filter(reason="Дорого")
    row = table.row(0, named=True)
    assert (row["n"], row["n_lost"], row["den"]) == (8, 20, 30)
    assert (row["share"], row["rate"]) == pytest.approx((0.4, 0.266667), abs=1e-6)


def test_shares_are_of_all_losses_those_without_a_reason_included(polars_engine):
    result = answered(METRIC, polars_engine, deals((1, PRICE), (3, {})))
    assert reasons(result, "reasons", "group_key", "category", "share") == [
        ("none", "none", 0.75),
        ("loss_reason:price", "price", 0.25),
    ]
    assert result.drilldown["group_key"].value_counts(sort=True).rows() == [("none", 3), ("loss_reason:price", 1)]


def test_an_unknown_amount_is_counted_not_summed(polars_engine):
    rows = [deal(1, amount_minor=500, **PRICE), deal(2, amount_minor=None, **PRICE)]
    assert reasons(answered(METRIC, polars_engine, rows), "reasons", "amount_minor", "n_null_amount") == [(500, 1)]


def test_a_loss_belongs_to_the_day_it_was_lost_and_to_who_was_responsible_then(polars_engine):
    rows = [
        deal(1, outcome_at=moscow("2026-03-31 23:59"), **PRICE),
        deal(2, outcome_at=moscow("2026-04-01 00:00"), outcome_user_id="user:2", responsible_user_id="user:1", **PRICE),
        deal(3, outcome_at=moscow("2026-04-30 00:00"), **PRICE),
        deal(4, outcome_user_id=None, responsible_user_id="user:3", **PRICE),
    ]
    table = answered(METRIC, polars_engine, rows).tables["by_user"]
    assert dict(table.select("user_id", "n").iter_rows()) == {"user:2": 1, "user:3": 1}


def test_leads_open_deals_and_pipelines_that_do_not_sell_are_no_losses(polars_engine):
    rows = [
        deal(1, entity_kind="lead"),
        deal(2, "open", outcome_at=None),
        deal(3, is_sales=False),
        deal(4, pipeline_id="pipeline:2"),
    ]
    assert reasons(answered(METRIC, polars_engine, rows), "reasons", "n") == [(1,)]
    assert answered(METRIC, polars_engine, rows, params={"pipeline_id": "pipeline:1"}).tables["reasons"].is_empty()


def test_the_stage_of_a_loss_is_the_last_open_one_that_is_not_technical(polars_engine):
    stages = [
        {"pipeline_id": "pipeline:1", "stage_id": stage, "kind": kind, "sort": sort, "name": stage.upper()}
        for stage, kind, sort in (("new", "open", 10), ("offer", "open", 20), ("robot", "open", 30), ("l", "lost", 90))
    ]
    way = stays(1, ("new", "open", 10), ("offer", "open", 20), ("robot", "open", 30), ("l", "lost", 90))
    marked = pl.DataFrame(
        [{"account_id": "main", "pipeline_id": "pipeline:1", "stage_id": "robot", "is_technical": True}]
    )
    rows = [deal(1, **PRICE), deal(2, **PRICE)]
    result = answered(METRIC, polars_engine, rows, stage=stages, stage_interval=way, user_set={"stage": marked})
    assert reasons(result, "by_stage", "stage_id", "stage_name", "n") == [("offer", "OFFER", 1), (None, None, 1)]


def test_a_month_of_which_the_period_has_a_part_is_not_complete(polars_engine):
    period = Period(AS_OF, date(2026, 2, 10), date(2026, 4, 30))
    rows = [deal(n, outcome_at=moscow(f"2026-0{n}-20"), **PRICE) for n in (2, 3, 4)]
    table = answered(METRIC, polars_engine, rows, period=period)
    assert reasons(table, "by_month", "month", "complete") == [
        (date(2026, 2, 1), False),
        (date(2026, 3, 1), True),
        (date(2026, 4, 1), False),
    ]


def test_every_dimension_adds_up_to_the_losses(polars_engine):
    rows = deals(
        (3, PRICE), (2, {"outcome_user_id": "user:2"}), (2, {"source_id": "source:1", "reason": "spam"}), (4, WON)
    )
    result = answered(METRIC, polars_engine, rows)
    for name in ("reasons", "by_user", "by_stage", "by_month", "by_source"):
        assert result.tables[name]["n"].sum() == 7
