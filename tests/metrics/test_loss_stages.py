"""C5: the stage deals are lost from."""

import polars as pl
import pytest
from decided_deals import answered, deal, moscow, stays
from engines import on_every_engine

from metrics.loss_stages import METRIC

NEW, CALL, OFFER = ("new", "open", 10), ("call", "open", 20), ("offer", "open", 30)
ROBOT, WON, LOST = ("robot", "open", 40), ("w", "won", 100), ("l", "lost", 110)
STAGES = [
    {"pipeline_id": "pipeline:1", "stage_id": stage, "kind": kind, "sort": sort, "name": stage.upper()}
    for stage, kind, sort in (NEW, CALL, OFFER, ROBOT, WON, LOST)
]


def asked(engine, rows, *ways, marked=None, **params):
    user_set = None
    if marked:
        row = {"account_id": "main", "pipeline_id": "pipeline:1", **marked}
        user_set = {"stage": pl.DataFrame([row])}
    visits = [visit for way in ways for visit in way]
    result = answered(METRIC, engine, rows, stage=STAGES, stage_interval=visits, user_set=user_set, params=params)
    return result.tables["stages"], result.drilldown


@on_every_engine
def test_c5_the_example_of_the_catalogue(engine):
    table, rows = asked(engine, [deal(1)], stays(1, NEW, CALL, OFFER, CALL, LOST))
    row = table.row(0, named=True)
    assert (row["stage_id"], row["stage_name"], row["num"], row["n_further"]) == ("call", "CALL", 1, 1)
    assert row["median_dwell_d"] == 1
    assert rows.select("entity_id", "reason", "group_key").rows() == [("lead:1", "LOST_HERE", "pipeline:1|call")]


def test_a_technical_stage_is_passed_over(polars_engine):
    way = stays(1, NEW, OFFER, ROBOT, LOST)
    assert asked(polars_engine, [deal(1)], way)[0]["stage_id"].to_list() == ["robot"]
    table, _ = asked(polars_engine, [deal(1)], way, marked={"stage_id": "robot", "is_technical": True})
    assert table["stage_id"].to_list() == ["offer"]


def test_a_deal_created_lost_has_no_stage_and_is_counted(polars_engine):
    table, rows = asked(polars_engine, [deal(1)], stays(1, LOST))
    assert table.select("stage_id", "num", "den", "rate").rows() == [(None, 1, None, None)]
    assert rows["reason"].to_list() == ["CREATED_LOST"]


def test_the_rate_is_of_all_deals_that_left_the_stage_in_the_period(polars_engine):
    ways = [
        stays(1, NEW, LOST),
        stays(2, NEW, CALL),
        stays(3, NEW, NEW, CALL),
        stays(4, NEW),
        [{**visit, "left_at": moscow("2026-03-20")} for visit in stays(5, NEW, CALL)[:1]],
    ]
    rows = [deal(1), *(deal(n, "open", outcome_at=None) for n in (2, 3, 4, 5))]
    table, _ = asked(polars_engine, rows, *ways, min_n=1)
    assert table.select("num", "den").rows() == [(1, 3)]
    assert table["rate"].to_list() == pytest.approx([1 / 3])


def test_deals_of_pipelines_that_do_not_sell_are_not_in_the_rate(polars_engine):
    rows = [deal(1), deal(2, "open", outcome_at=None, is_sales=False)]
    table, _ = asked(polars_engine, rows, stays(1, NEW, LOST), stays(2, NEW, CALL))
    assert table.select("num", "den").rows() == [(1, 1)]


def test_key_stages_come_first(polars_engine):
    rows = [deal(1), deal(2), deal(3)]
    ways = [stays(1, NEW, LOST), stays(2, NEW, LOST), stays(3, OFFER, LOST)]
    table, _ = asked(polars_engine, rows, *ways, marked={"stage_id": "offer", "is_kev": True})
    assert table["stage_id"].to_list() == ["offer", "new"]


def test_only_the_losses_of_the_people_asked_for(polars_engine):
    rows = [deal(1), deal(2, outcome_user_id="user:2")]
    ways = [stays(1, NEW, LOST), stays(2, NEW, LOST)]
    table, drill = asked(polars_engine, rows, *ways, population=("user:2",))
    assert table.select("num", "den").rows() == [(1, 1)]
    assert drill["entity_id"].to_list() == ["lead:2"]
