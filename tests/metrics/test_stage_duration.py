"""E5: how long deals stand on a stage."""

from datetime import date, timedelta
from typing import Any

import pytest
from engines import on_every_engine
from funnel_paths import AS_OF, START, answer, by_stage, path, stages

from metrics.metric import Period
from metrics.stage_duration import METRIC

DAY = timedelta(days=1)
SO_FAR = Period(AS_OF, date(2026, 3, 1), date(2026, 6, 10))


def stay(name: str, days: float, still: bool = False, **rest: Any) -> dict[str, Any]:
    one = path(name, "1" if still else "12", start=AS_OF - days * DAY if still else START, hours=24 * days)
    one["visits"][0] |= rest
    if not still:
        one["visits"][0] |= {"next_pipeline_id": "p", "next_stage_id": "2", "next_kind": "open"}
    return one


EXAMPLE = [stay(f"d{n}", days) for n, days in enumerate([1, 2, 2, 3, 5, 8])] + [
    stay(f"o{n}", days, still=True) for n, days in enumerate([4, 6, 10, 12])
]


@on_every_engine
def test_e5_the_example_of_the_catalogue(engine: Any) -> None:
    """1,2,2,3,4+,5,6+,8,10+,12+."""
    result = answer(METRIC, engine, *EXAMPLE, period=SO_FAR, tau_d=12)
    row = result.tables["stages"].row(0, named=True)
    assert (row["n"], row["n_open"], row["km_median_d"], row["ci_lo_d"], row["ci_hi_d"]) == (10, 4, 5.0, 1.0, None)
    assert row["rmst_d"] == pytest.approx(6.52)
    assert row["naive_median_d"] == 2.5
    assert result.drilldown.filter(group_key="p|1")["value"].to_list() == [12.0, 10.0, 6.0, 4.0]


def test_where_deals_go_from_a_stage(polars_engine: Any) -> None:
    def leaving(name: str, days: float, **to: Any) -> dict[str, Any]:
        return stay(name, days, next_pipeline_id="p", **to)

    onward = [leaving(f"n{n}", 2, next_stage_id="3", next_kind="open") for n in range(4)]
    rows = [*onward]
    for n in range(2):
        lost = path(f"l{n}", "2L", hours=48)
        lost["visits"][0] |= {"next_pipeline_id": "p", "next_stage_id": "L", "next_kind": "lost"}
        back = path(f"b{n}", "21", hours=48)
        back["visits"][0] |= {"next_pipeline_id": "p", "next_stage_id": "1", "next_kind": "open"}
        rows += [lost, back]
    table = answer(METRIC, polars_engine, *rows, period=SO_FAR).tables["destinations"]
    row = table.filter(stage_id="2", horizon_d=7).row(0, named=True)
    assert (row["to_lost"], row["to_back"]) == (0.25, 0.25), "of the eight on stage 2, four still stand there"
    assert row["still_here"] == 0.5


def test_a_total_is_one_number_for_a_deal_and_each_visit_its_own(polars_engine: Any) -> None:
    one = path("d4", "12323L")
    total = answer(METRIC, polars_engine, one, period=SO_FAR)
    each = answer(METRIC, polars_engine, one, period=SO_FAR, per_visit=True)
    assert by_stage(total, "n", "naive_median_d")["2"] == (1, 2.0)
    assert by_stage(each, "n", "naive_median_d")["2"] == (2, 1.0)


def test_a_stay_begun_before_the_history_is_dropped_or_watched_from_then_on(polars_engine: Any) -> None:
    known = START + 5 * DAY
    covered = [{"resource": "deal_stage_transition", "complete_from": known, "watermark": AS_OF}]
    rows = [stay("old", 8, is_truncated=True), stay("gone", 3, is_truncated=True), stay("new", 2)]
    dropped = answer(METRIC, polars_engine, *rows, period=SO_FAR, more={"coverage": covered})
    assert by_stage(dropped, "n")["1"] == 1
    entered = answer(METRIC, polars_engine, *rows, period=SO_FAR, more={"coverage": covered}, truncated="enter")
    assert by_stage(entered, "n", "km_median_d")["1"] == (2, 2.0), "left before anybody watched: not known at all"
    assert [notice.code for notice in entered.warnings] == ["delayed_entry"]


def test_a_moment_on_a_stage_is_no_stay(polars_engine: Any) -> None:
    one = path("d", "12")
    one["visits"][0] |= {"is_pass_through": True}
    assert by_stage(answer(METRIC, polars_engine, one, ladder=stages("12")), "n") == {"2": 1}
