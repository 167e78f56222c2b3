"""E10: stages leapt over; E11: whether the funnel is a ladder."""

from datetime import timedelta
from typing import Any

import pytest
from engines import on_every_engine
from funnel_paths import AS_OF, EIGHT, START, answer, by_stage, path, stages

from metrics.skipped_stages import SHAPE, SKIPS

DAY = timedelta(days=1)


@on_every_engine
def test_e10_the_example_of_the_catalogue(engine: Any) -> None:
    result = answer(SKIPS, engine, *EIGHT)
    assert by_stage(result, "num", "den") == {"1": (1, 7), "2": (1, 4), "3": (0, 2)}
    assert sorted(result.drilldown.select("entity_id", "group_key").rows()) == [("d2", "p|2"), ("d7", "p|1")]


def test_a_moment_on_a_stage_is_a_skip(polars_engine: Any) -> None:
    one = path("d", "123")
    one["visits"][1] |= {"is_pass_through": True}
    assert by_stage(answer(SKIPS, polars_engine, one), "num", "den")["2"] == (1, 1)


def test_a_deal_won_at_once_leapt_over_all_that_follows(polars_engine: Any) -> None:
    found = by_stage(answer(SKIPS, polars_engine, path("d", "1W")), "num", "den")
    assert found == {"1": (0, 1), "2": (1, 1), "3": (1, 1)}


def test_those_who_leapt_are_set_beside_those_who_did_not(polars_engine: Any) -> None:
    rows = [path(f"s{n}", "13W" if n < 15 else "13L") for n in range(20)]
    rows += [path(f"v{n}", "123W" if n < 5 else "123L") for n in range(20)]
    found = by_stage(answer(SKIPS, polars_engine, *rows), "skipped_win_rate", "visited_win_rate", "win_diff")
    assert found["2"] == pytest.approx((0.75, 0.25, 0.5))
    assert found["1"][2] is None, "nobody leapt over the first"


def entries(*counts: int) -> list[dict[str, Any]]:
    """Deals created on the first, second … stage, so that as many stood on each as `counts` say."""
    return [
        path(f"{stage}:{n}", stage, start=START + timedelta(minutes=n))
        for stage, count in zip("1234", counts, strict=True)
        for n in range(count)
    ]


@on_every_engine
def test_e11_the_example_of_the_catalogue(engine: Any) -> None:
    result = answer(SHAPE, engine, *entries(100, 60, 75, 20), ladder=stages("1234"))
    row = result.tables["summary"].row(0, named=True)
    assert row["monotone_score"] == pytest.approx(0.941176, abs=1e-6)
    assert row["n_violations"] == 1
    assert by_stage(result, "excess", "is_violation") == {
        "1": (0, False),
        "2": (15, True),
        "3": (0, False),
        "4": (0, False),
    }


def test_deals_created_in_the_middle_are_listed_by_source(polars_engine: Any) -> None:
    rows = [path("a", "1"), path("b", "2", source_id="source:1"), path("c", "2")]
    result = answer(SHAPE, polars_engine, *rows)
    assert result.tables["by_source"].select("stage_id", "source_id", "n").rows() == [
        ("2", "source:1", 1),
        ("2", None, 1),
    ]
    assert sorted(result.drilldown["entity_id"].to_list()) == ["b", "c"]


def test_a_bulge_is_a_congested_stage_with_more_deals_than_the_one_before(polars_engine: Any) -> None:
    """Stays on 2 used to last two days; six deals have stood there for forty, five of them on 1 for as long."""
    passed = [path(f"f{n}", "123", start=AS_OF - 60 * DAY, hours=48) for n in range(12)]
    on_2 = [path(f"s{n}", "2", start=AS_OF - 40 * DAY) for n in range(6)]
    on_1 = [path(f"t{n}", "1", start=AS_OF - 40 * DAY) for n in range(5)]
    found = by_stage(answer(SHAPE, polars_engine, *passed, *on_2, *on_1), "stock", "next_stock", "is_bulge")
    assert found == {"1": (5, 6, True), "2": (6, 12, None), "3": (12, None, None)}
    wide = [path(f"w{n}", "1", start=AS_OF - DAY) for n in range(2)]
    assert by_stage(answer(SHAPE, polars_engine, *passed, *on_2, *on_1, *wide), "is_bulge")["1"] is False
