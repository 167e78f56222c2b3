"""E1–E5: members of a funnel, what they reached, how long they stood, what flowed."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from engines import on_every_engine
from funnel_paths import AS_OF, START, path, stages, tables

from metrics import funnel
from metrics.funnel import DAY_S
from metrics.metric import Period

PERIOD = Period(AS_OF, date(2026, 3, 1), date(2026, 6, 1))
STAGES = stages("123")


EXAMPLE = [
    path(f"d{number}", stages)
    for number, stages in enumerate(["123W", "13W", "12L", "12323L", "12", "1L123", "2L", "1"], start=1)
]


class Opened:
    """A funnel on an engine: what the tests ask of it, collected."""

    def __init__(self, engine: Any, *paths: dict[str, Any], ladder: list[dict[str, Any]] = STAGES) -> None:
        self.frames = engine.frames(tables(*paths, ladder=ladder), as_of=AS_OF, period=PERIOD)
        self.clock = self.frames["clock"]
        self.deals, self.visits = funnel.seen(self.frames["deal_state"], self.frames["stage_interval"], self.clock)
        self.rungs = funnel.ladder(self.frames["stage"], self.clock)
        self.members = funnel.members(self.deals, self.visits)

    def ladder(self) -> pl.DataFrame:
        counts = collect(funnel.standing(self.members))
        return funnel.with_conversion(funnel.ladder_table(collect(self.rungs), counts))

    def stays(self, **how: Any) -> pl.DataFrame:
        return collect(funnel.stays(self.visits, self.clock, **how)).sort("stage_id", "deal_id", "dwell_s")


def collect(frame: Any) -> pl.DataFrame:
    return frame.collect("polars").to_native()


@on_every_engine
def test_reached_of_the_example(engine: Any) -> None:
    ladder = Opened(engine, *EXAMPLE).ladder()
    assert ladder["reached"].to_list() == [8, 7, 4]
    assert ladder["won"].to_list() == [2, 2, 2]
    assert ladder["conv"].to_list() == [7 / 8, 4 / 7, 2 / 4]
    assert ladder["p_win"].to_list() == pytest.approx([2 / 8, 2 / 7, 2 / 4])
    assert ladder["lost"].to_list() == [0, 2, 1], "d3 and d7 got to 2, d4 to 3"
    assert ladder["n_open"].to_list() == [1, 1, 1], "d8, d5, d6"


@on_every_engine
def test_entered_of_the_example(engine: Any) -> None:
    one = Opened(engine, *EXAMPLE)
    rows = collect(funnel.entered(one.members, one.visits)).sort("stage_id")
    assert rows["entered"].to_list() == [7, 6, 4]
    assert rows.schema["entered"] == pl.Int64


@on_every_engine
def test_snapshot_of_the_example(engine: Any) -> None:
    one = Opened(engine, *EXAMPLE)
    rows = collect(funnel.snapshot(one.deals, one.rungs)).sort("stage_id")
    assert rows.select("stage_id", "n", "amount_minor").rows() == [("1", 1, 100), ("2", 1, 100), ("3", 1, 100)]


def test_a_pass_through_is_reached_but_not_entered(engine: Any) -> None:
    one = path("d1", "12")
    one["visits"][1] |= {"is_pass_through": True}
    opened = Opened(engine, one)
    assert opened.ladder()["reached"].to_list() == [1, 1, 0]
    assert collect(funnel.entered(opened.members, opened.visits))["stage_id"].to_list() == ["1"]
    assert opened.stays()["stage_id"].to_list() == ["1"]


def test_a_moved_deal_leaves_one_cohort_and_joins_another(engine: Any) -> None:
    one = Opened(engine, path("d1", "12|1"))
    rows = collect(funnel.members(one.deals, one.visits, anchor="entered_pipeline")).sort("pipeline_id")
    assert rows.select("pipeline_id", "entry", "outcome").rows() == [
        ("p", "created", "moved"),
        ("p1", "transfer", "open"),
    ]
    assert rows["start_epoch"].to_list() == [
        int(START.timestamp()),
        int(START.timestamp()) + 2 * DAY_S,
    ], "the second funnel begins with the move"
    assert rows["ended_epoch"].to_list() == [int(START.timestamp()) + 2 * DAY_S, None]


def test_a_deal_that_came_back_is_judged_by_what_it_is_now(engine: Any) -> None:
    one = path("d1", "1|1")
    back = {**one["visits"][0], "n": 3, "entered_at": START + timedelta(days=2), "left_at": None}
    one["visits"][1]["left_at"] = back["entered_at"]
    one["visits"].append(back)
    one["state"] |= {"pipeline_id": "p", "outcome": "open"}
    rows = collect(Opened(engine, one).members).sort("pipeline_id")
    assert rows.select("pipeline_id", "outcome").rows() == [("p", "open"), ("p1", "moved")]


def test_a_reopened_win_reached_everything_and_is_not_won(engine: Any) -> None:
    ladder = Opened(engine, path("d1", "1W1")).ladder()
    assert ladder["reached"].to_list() == [1, 1, 1]
    assert ladder["won"].to_list() == [0, 0, 0]


def test_an_unsorted_request_reaches_nothing(engine: Any) -> None:
    ladder = Opened(engine, path("d1", "U")).ladder()
    assert ladder["reached"].to_list() == [0, 0, 0]
    assert ladder["conv"].to_list() == [None, None, None]


def test_a_stage_deleted_since_counts_as_the_rung_below(engine: Any) -> None:
    gone = {**STAGES[1], "deleted_at": AS_OF - timedelta(days=1)}
    ladder = Opened(engine, path("d1", "12L"), ladder=[STAGES[0], gone, *STAGES[2:]]).ladder()
    assert ladder.select("stage_id", "reached", "lost").rows() == [("1", 1, 1), ("3", 0, 0)]


def test_a_stage_deleted_after_as_of_is_still_a_rung(engine: Any) -> None:
    gone = {**STAGES[1], "deleted_at": AS_OF + timedelta(days=1)}
    assert Opened(engine, path("d1", "1"), ladder=[STAGES[0], gone]).ladder()["stage_id"].to_list() == ["1", "2"]


def test_leads_of_their_own_kind_are_no_deals(engine: Any) -> None:
    assert collect(Opened(engine, path("d1", "1", entity_kind="lead")).members).is_empty()


def test_what_begins_after_as_of_is_not_seen(engine: Any) -> None:
    one = path("d1", "12", hours=24 * 200)
    opened = Opened(engine, one)
    assert opened.ladder()["reached"].to_list() == [1, 0, 0]
    assert opened.stays().select("dwell_s", "is_open").rows() == [(100 * DAY_S, True)], "the stay still lasts"


def test_flow_counts_entries_of_the_window_whoever_made_them(engine: Any) -> None:
    """E3: 40 created in April, 12 won in April, 9 of them created before; the April cohort itself has 3 wins."""
    april = datetime(2026, 4, 10, 9, tzinfo=UTC)

    def deal(number: int, born: datetime, *, days: int | None = None) -> dict[str, Any]:
        return path(f"d{number}", "1W" if days is not None else "1", start=born, hours=24 * (days or 0))

    deals = [deal(number, april - timedelta(days=20), days=20) for number in range(9)]
    deals += [deal(9 + number, april, days=0 if number < 3 else None) for number in range(40)]
    one = Opened(engine, *deals, ladder=[STAGES[0], STAGES[3], STAGES[4]])
    rows = collect(funnel.flow(one.visits, one.rungs, date(2026, 4, 1), date(2026, 5, 1)))
    assert rows["reached"].to_list() == [40]
    everyone = collect(one.members)
    won = everyone.filter(pl.col("outcome") == "won", pl.col("ended_local").dt.month() == 4)
    assert (won.height, won.height / 40) == (12, 0.30)
    cohort = everyone.filter(pl.col("start_local").dt.month() == 4)
    assert (cohort.filter(pl.col("outcome") == "won").height, cohort.height) == (3, 40)


def test_a_skipped_stage_is_first_reached_with_the_next(engine: Any) -> None:
    one = Opened(engine, path("d1", "13W"))
    rows = collect(funnel.first_reaches(one.visits, one.rungs)).sort("stage_id")
    local = START.replace(tzinfo=None) + timedelta(hours=3)
    assert rows["reached_local"].to_list() == [local, local + timedelta(days=1), local + timedelta(days=1)]


def test_a_win_is_the_first_reach_of_every_stage_jumped_over(engine: Any) -> None:
    one = Opened(engine, path("d1", "1W"))
    rows = collect(funnel.first_reaches(one.visits, one.rungs)).sort("stage_id")
    local = START.replace(tzinfo=None) + timedelta(hours=3)
    assert rows["reached_local"].to_list() == [local, local + timedelta(days=1), local + timedelta(days=1)]


def stay(deal_id: str, days: float, still: bool = False, **rest: Any) -> dict[str, Any]:
    one = path(deal_id, "1")
    begun = AS_OF - timedelta(days=days) if still else START
    one["visits"][0] |= {"entered_at": begun, "left_at": None if still else START + timedelta(days=days), **rest}
    return one


@on_every_engine
def test_stay_times_of_the_example(engine: Any) -> None:
    """E5: 1,2,2,3,4+,5,6+,8,10+,12+."""
    done = [stay(f"d{n}", days) for n, days in enumerate([1, 2, 2, 3, 5, 8])]
    still = [stay(f"o{n}", days, still=True) for n, days in enumerate([4, 6, 10, 12])]
    rows = Opened(engine, *done, *still).stays()
    table = funnel.stay_table(rows, funnel.STAGE)
    assert table.select("stays_n", "stays_open", "km_median_d", "km_lo_d", "km_hi_d", "naive_median_d").rows() == [
        (10, 4, 5.0, 1.0, None, 2.5)
    ]


def test_a_deal_counts_once_with_its_total_or_each_visit(engine: Any) -> None:
    one = Opened(engine, path("d4", "12323L"))
    assert one.stays().select("stage_id", "dwell_s").rows() == [("1", DAY_S), ("2", 2 * DAY_S), ("3", 2 * DAY_S)]
    assert one.stays(per_visit=True)["dwell_s"].to_list() == [DAY_S] * 5
    assert one.stays().schema["dwell_s"] == pl.Int64


@pytest.mark.parametrize("unknown", [{"is_inferred": True}, {"is_truncated": True}, {"entered_at": None}])
def test_a_stay_of_unknown_beginning_has_no_length(engine: Any, unknown: dict[str, Any]) -> None:
    one = path("d1", "121")
    one["visits"][0] |= unknown
    opened = Opened(engine, one)
    assert opened.stays()["stage_id"].to_list() == ["2"], "the total on 1 is not known either"
    assert opened.stays(per_visit=True)["stage_id"].to_list() == ["1", "2"]


def test_how_deals_ended_and_when(engine: Any) -> None:
    one = Opened(engine, path("won", "12W"), path("lost", "1L"), path("open", "1"), path("moved", "1|1"))
    rows = collect(funnel.fates(one.members, one.clock)).filter(pl.col("pipeline_id") == "p").sort("deal_id")
    assert rows.select("deal_id", "outcome", "lasted_s").rows() == [
        ("lost", "lost", DAY_S),
        ("moved", "moved", DAY_S),
        ("open", "open", 100 * DAY_S),
        ("won", "won", 2 * DAY_S),
    ]


def test_an_empty_funnel_has_no_rungs_and_no_stays(engine: Any) -> None:
    one = Opened(engine)
    assert one.ladder().is_empty()
    assert funnel.stay_table(one.stays(), funnel.STAGE).is_empty()
