"""A7: in which bucket a call is, and how a manager differs."""

import pytest
from calls import answer, got_in, got_out, tried
from engines import on_every_engine
from pydantic import ValidationError

from metrics.call_durations import METRIC


def talks(user, *seconds, **more):
    return [
        got_out(f"{user}-{n}", "2026-04-06 10:00", user_id=user, talk_s=talk_s, **more)
        for n, talk_s in enumerate(seconds)
    ]


def cells(result, user):
    rows = result.tables["cells"].filter(user_id=user)
    return dict(rows.select("bucket_from_s", "n").iter_rows())


@on_every_engine
def test_the_example_of_the_catalogue(engine):
    result = answer(METRIC, engine, talks("user:1", 5, 9, 10, 29, 30, 59, 60, 200, 700))
    assert cells(result, "user:1") == {0: 0, 1: 2, 10: 2, 30: 2, 60: 1, 180: 1, 600: 1}
    assert result.tables["cells"]["share"].to_list() == pytest.approx([0, 2 / 9, 2 / 9, 2 / 9, 1 / 9, 1 / 9, 1 / 9])
    (row,) = result.tables["by_user"].rows(named=True)
    assert (row["median_s"], row["p90_s"]) == (30, pytest.approx(300))


def test_answered_without_talk_is_the_first_bucket_and_an_unknown_length_is_in_none(polars_engine):
    result = answer(METRIC, polars_engine, talks("user:1", 0, None))
    assert sum(cells(result, "user:1").values()) == 1
    assert cells(result, "user:1")[0] == 1
    assert result.tables["by_user"].select("n", "n_talk_unknown").rows() == [(1, 1)]


def test_only_conversations_of_the_direction_count(polars_engine):
    calls = [tried("o", "2026-04-06 10:00"), got_in("i", "2026-04-06 10:00", talk_s=5), *talks("user:1", 5)]
    calls += [got_out("v", "2026-04-06 10:00", talk_s=5, is_voicemail=True)]
    counts = {
        way: answer(METRIC, polars_engine, calls, params={"direction": way}).drilldown.height
        for way in ("in", "out", "any")
    }
    assert counts == {"in": 1, "out": 1, "any": 2}


def test_residuals_are_the_adjusted_ones_of_haberman(polars_engine):
    """Of a 2x2 table 30 10 / 10 30 all are ±4.472136 = sqrt(chi2) = sqrt(20)."""
    calls = talks("user:1", *[5] * 30, *[50] * 10) + talks("user:2", *[5] * 10, *[50] * 30)
    found = answer(METRIC, polars_engine, calls, params={"edges": (0, 10)}).tables["cells"]
    assert found["resid"].to_list() == pytest.approx([20**0.5, -(20**0.5), -(20**0.5), 20**0.5])
    alone = answer(METRIC, polars_engine, talks("user:1", 5, 50)).tables["cells"]
    assert alone["resid"].null_count() == alone.height


def test_the_team_is_compared_whole_and_shown_in_part(polars_engine):
    calls = talks("user:1", *[5] * 30, *[50] * 10) + talks("user:2", *[5] * 10, *[50] * 30)
    result = answer(METRIC, polars_engine, calls, params={"edges": (0, 10), "population": ("user:2",)})
    assert result.tables["cells"]["resid"].to_list() == pytest.approx([-(20**0.5), 20**0.5])
    assert result.tables["total"]["n"].to_list() == [40]


def test_calls_of_a_cell_are_found_by_its_key(polars_engine):
    result = answer(METRIC, polars_engine, talks("user:1", 700, 5) + talks(None, 6))
    assert result.drilldown.select("value", "group_key").rows() == [
        (5, "user:1 1"),
        (6, "unassigned 1"),
        (700, "user:1 600"),
    ]


@pytest.mark.parametrize("edges", [(1, 10), (0, 10, 10), (0, 20, 10), (0,)])
def test_edges_that_are_none_are_refused(edges):
    with pytest.raises(ValidationError):
        METRIC.params(edges=edges)
