"""Frames: what a metric gets, whatever the engine."""

from datetime import UTC, date, datetime

import polars as pl
from engines import on_every_engine

from metrics.evaluate import collect
from metrics.metric import Period

NINE = datetime(2026, 4, 6, 6, 0, tzinfo=UTC)
PERIOD = Period(datetime(2026, 4, 8, 9, 0, tzinfo=UTC), date(2026, 3, 9), date(2026, 4, 8))


def rows(frames, table):
    return collect({table: frames[table]})[table]


@on_every_engine
def test_an_instant_comes_three_ways_and_types_survive_the_engine(engine):
    episodes = rows(engine.frames({"call_episode": [{"episode_id": "1", "started_at": NINE}]}), "call_episode")
    row = episodes.row(0, named=True)
    assert row["started_at"] == NINE
    assert row["started_local"] == datetime(2026, 4, 6, 9, 0)  # noqa: DTZ001
    assert row["started_epoch"] == int(NINE.timestamp())
    assert episodes.schema["started_at"] == pl.Datetime("us", "UTC")
    assert episodes.schema["started_local"] == pl.Datetime("us")


@on_every_engine
def test_the_clock_gives_every_account_its_own_midnights(engine):
    frames = engine.frames(
        {},
        period=PERIOD,
        accounts=[
            {"account_id": "main", "tz": "Europe/Moscow"},
            {"account_id": "far", "tz": "Asia/Vladivostok", "as_of": "2026-04-01T00:00:00+00:00"},
        ],
    )
    clock = {row["account_id"]: row for row in rows(frames, "clock").iter_rows(named=True)}
    assert clock["main"]["from_epoch"] == int(datetime(2026, 3, 8, 21, tzinfo=UTC).timestamp())
    assert clock["far"]["from_epoch"] == int(datetime(2026, 3, 8, 14, tzinfo=UTC).timestamp())
    assert clock["main"]["as_of_on"] == date(2026, 4, 8)
    assert clock["far"]["as_of_on"] == date(2026, 4, 1)


@on_every_engine
def test_what_people_set_is_joined_and_null_where_nobody_did(engine):
    stage = [{"pipeline_id": "pipeline:1", "stage_id": f"status:{n}", "name": str(n)} for n in (1, 2)]
    settings = pl.DataFrame(
        {"account_id": ["main"], "pipeline_id": ["pipeline:1"], "stage_id": ["status:1"], "is_kev": [True]}
    )
    without = rows(engine.frames({"stage": stage}), "stage").sort("stage_id")
    assert without["is_kev"].to_list() == [None, None]
    joined = rows(engine.frames({"stage": stage}, user_set={"stage": settings}), "stage").sort("stage_id")
    assert joined["is_kev"].to_list() == [True, None]
    assert joined.schema == without.schema
    assert joined.schema["sla_s"] == pl.Int64


@on_every_engine
def test_what_people_say_of_a_client_overrides_the_mart_and_reaches_his_calls(engine):
    tables = {
        "client": [{"client_id": "contact:1", "is_spam": False}, {"client_id": "contact:2", "is_spam": True}],
        "call_episode": [{"episode_id": n, "client_id": f"contact:{n}", "is_spam": n == "2"} for n in "12"],
    }
    said = pl.DataFrame({"account_id": ["main"], "client_id": ["contact:1"], "is_spam": [True]})
    frames = engine.frames(tables, user_set={"client": said})
    assert rows(frames, "client").sort("client_id")["is_spam"].to_list() == [True, True]
    assert rows(frames, "call_episode").sort("episode_id")["is_spam"].to_list() == [True, True]


@on_every_engine
def test_one_account_can_be_looked_at_alone(engine):
    tables = {"user": [{"user_id": "user:1"}, {"account_id": "shop", "user_id": "user:2"}]}
    frames = engine.frames(tables, period=PERIOD).accounts(["shop"])
    assert rows(frames, "user")["user_id"].to_list() == ["user:2"]


@on_every_engine
def test_deals_of_a_pipeline_that_is_not_for_sales_are_no_sales(engine):
    tables = {
        "pipeline": [{"pipeline_id": f"pipeline:{n}"} for n in (1, 2, 3)],
        "deal_state": [{"deal_id": f"lead:{n}", "pipeline_id": f"pipeline:{n}"} for n in (1, 2, 3)],
        "sale": [{"sale_id": f"{n}", "deal_id": f"lead:{n}", "basis": "won_deal"} for n in (1, 2, 3)]
        + [{"sale_id": "p", "deal_id": "lead:2", "basis": "payment"}],
    }
    purposes = pl.DataFrame(
        {"account_id": "main", "pipeline_id": ["pipeline:1", "pipeline:2"], "purpose": ["repeat", "rejects"]}
    )
    frames = engine.frames(tables, user_set={"pipeline": purposes})
    assert rows(frames, "deal_state").sort("deal_id")["is_sales"].to_list() == [True, False, True]
    assert sorted(rows(frames, "sale")["sale_id"]) == ["1", "3", "p"]
    assert rows(frames, "sale").schema == rows(engine.frames(tables), "sale").schema


@on_every_engine
def test_at_an_earlier_instant_later_rows_are_hidden_and_later_deletions_undone(engine):
    before, after = datetime(2026, 4, 1, tzinfo=UTC), datetime(2026, 4, 7, tzinfo=UTC)
    tables = {
        "task": [
            {"task_id": "task:1", "created_at": before, "deleted_at": after},
            {"task_id": "task:2", "created_at": after},
            {"task_id": "task:3", "created_at": before, "deleted_at": before},
        ],
        "contact": [{"contact_id": f"contact:{n}", "created_at": at} for n, at in enumerate((before, after))],
    }
    frames = engine.frames(tables, as_of=PERIOD.as_of).at(datetime(2026, 4, 3, tzinfo=UTC))
    known = rows(frames, "task").sort("task_id").select("task_id", "deleted_at", "deleted_epoch").rows()
    assert known == [("task:1", None, None), ("task:3", before, int(before.timestamp()))]
    assert rows(frames, "client")["client_id"].to_list() == ["contact:0"]
