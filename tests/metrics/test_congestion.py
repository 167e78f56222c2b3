"""E7: where deals pile up, and why they do not move."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from engines import on_every_engine
from funnel_paths import AS_OF, answer, by_stage, path

from metrics.congestion import METRIC

DAY = timedelta(days=1)
WEEKLY = (31, 29, 33, 30, 28, 35, 32, 30, 34, 31, 29, 33)


def stays(levels: Sequence[int], now: int) -> list[dict[str, Any]]:
    """Deals that keep the stock of stage 1 at each of `levels` for a week, at `now` today; the oldest leave first."""
    changes = [(AS_OF - DAY * (91 if n == 0 else 7 * (12 - n)), level) for n, level in enumerate(levels)]
    standing: list[tuple[str, datetime]] = []
    deals: list[dict[str, Any]] = []
    for at, level in [*changes, (AS_OF - timedelta(hours=1), now)]:
        while len(standing) > level:
            name, since = standing.pop(0)
            deals.append(path(name, "12", start=since, hours=(at - since) / timedelta(hours=1)))
        while len(standing) < level:
            standing.append((f"d{len(deals) + len(standing)}", at))
    return [*deals, *(path(name, "1", start=since) for name, since in standing)]


def of_first(result: Any, *columns: str) -> Any:
    return by_stage(result, *columns)["1"]


@on_every_engine
def test_e7_the_example_of_the_catalogue(engine: Any) -> None:
    result = answer(METRIC, engine, *stays(WEEKLY, 48))
    stock, median, ucl, rz = of_first(result, "stock", "stock_median", "ucl", "rz")
    assert (stock, median) == (48, 31)
    assert ucl == pytest.approx(39.8956)
    assert rz == pytest.approx(5.7332, abs=5e-5)
    assert of_first(result, "inflow", "outflow", "is_over", "congested") == (19, 5, True, True)
    days = result.tables["days"].filter(stage_id="1")
    assert days["stock"].to_list() == [level for level in WEEKLY for _ in range(7)]


def test_a_stock_that_shrinks_is_no_congestion(polars_engine: Any) -> None:
    result = answer(METRIC, polars_engine, *stays([30] * 8 + [60] * 4, 50))
    assert of_first(result, "stock", "ucl", "inflow", "outflow", "is_over") == (50, 30, 0, 10, False)


def test_one_deal_more_than_ever_is_no_congestion(polars_engine: Any) -> None:
    result = answer(METRIC, polars_engine, *stays([30] * 12, 31))
    assert of_first(result, "stock", "ucl", "rz", "is_over") == (31, 30, None, False)
    assert of_first(answer(METRIC, polars_engine, *stays([30] * 12, 35)), "is_over")


def test_a_stage_in_use_for_less_than_four_weeks_has_no_usual_stock(polars_engine: Any) -> None:
    new = [path(f"n{n}", "1", start=AS_OF - 20 * DAY) for n in range(20)]
    result = answer(METRIC, polars_engine, *new)
    assert of_first(result, "stock", "n_days", "stock_median", "ucl", "is_over") == (20, 20, None, None, None)
    assert of_first(result, "congested") is None, "neither its stock nor its ages can be judged"
    assert "short_history" in [notice.code for notice in result.warnings]


def test_days_before_the_stage_history_is_complete_say_nothing(polars_engine: Any) -> None:
    known = [{"resource": "deal_stage_transition", "complete_from": AS_OF - 40 * DAY}]
    result = answer(METRIC, polars_engine, *stays(WEEKLY, 48), more={"coverage": known})
    assert of_first(result, "n_days") == 39


def finished(n: int, days: float = 2) -> list[dict[str, Any]]:
    return [path(f"f{k}", "12", start=AS_OF - 40 * DAY, hours=24 * days) for k in range(n)]


def standing(n: int, days: float = 30, **state: Any) -> list[dict[str, Any]]:
    return [path(f"s{days}-{k}", "1", start=AS_OF - days * DAY, **state) for k in range(n)]


@on_every_engine
def test_stale_is_older_than_nine_tenths_of_stays(engine: Any) -> None:
    result = answer(METRIC, engine, *finished(50), *standing(5))
    assert of_first(result, "p90_d", "p90_basis", "num", "den", "stale_share") == (2.0, "km", 5, 5, 1.0)
    assert of_first(result, "is_stale", "congested") == (True, True)
    assert result.drilldown["group_key"].to_list() == ["p|1"] * 5
    assert result.drilldown["value"].to_list() == [30.0] * 5, "days on the stage"


def test_where_too_many_never_leave_the_finished_stays_say_what_is_long(polars_engine: Any) -> None:
    result = answer(METRIC, polars_engine, *finished(12), *standing(5))
    assert of_first(result, "p90_d", "p90_basis", "is_stale") == (2.0, "finished", True)


def test_few_finished_stays_do_not_tell_what_is_long(polars_engine: Any) -> None:
    result = answer(METRIC, polars_engine, *finished(9), *standing(5))
    assert of_first(result, "p90_d", "num", "den", "stale_share", "is_stale") == (None, 0, 0, None, None)


def test_a_handful_of_stale_deals_is_no_congestion(polars_engine: Any) -> None:
    result = answer(METRIC, polars_engine, *finished(50), *standing(4))
    assert of_first(result, "num", "den", "is_stale") == (4, 4, False)


@on_every_engine
def test_each_stale_deal_has_one_cause(engine: Any) -> None:
    """Nobody answers; a task is planned; silence; there is talk."""

    def touch(client: str, days: float, **kind: bool) -> dict[str, Any]:
        named = {"client_id": client, "touch_id": f"{client}{days}", "touched_at": AS_OF - days * DAY}
        return {**named, "kind": "call", "direction": "out", **kind}

    touches = [
        touch("called", 3, is_attempt=True),
        touch("called", 20, is_meaningful=True),
        touch("talked", 13, is_meaningful=True),
        touch("talked", 3, is_attempt=True),
        touch("long ago", 15, is_meaningful=True),
    ]
    clients = ["called", "planned", "long ago", "overdue", "talked"]
    tasks = [
        {"task_id": f"t{client}", "entity_id": f"lead:{client}", "due_at": AS_OF + days * DAY, "is_completed": False}
        for client, days in (("planned", 5), ("called", 5), ("overdue", -5))
    ]
    members = [{"entity_id": f"lead:{client}", "entity_kind": "deal", "client_id": client} for client in clients]
    stale = [path(f"lead:{client}", "1", start=AS_OF - 30 * DAY, client_id=client) for client in clients]
    result = answer(
        METRIC,
        engine,
        *finished(50),
        *stale,
        more={
            "touch": touches,
            "task": [{**task, "created_at": AS_OF - 20 * DAY} for task in tasks],
            "client_member": members,
        },
    )
    found = dict(result.drilldown.select("client_id", "reason").iter_rows())
    assert found == {
        "called": "UNREACHED",
        "planned": "WAITING_TASK",
        "long ago": "NO_TOUCH",
        "overdue": "NO_TOUCH",
        "talked": "IN_TOUCH",
    }
    assert of_first(result, "n_unreached", "n_waiting_task", "n_no_touch", "n_in_touch") == (1, 1, 2, 1)


@on_every_engine
def test_a_stay_without_a_recorded_entry_counts_from_the_end_of_the_one_before(engine: Any) -> None:
    unknown = path("u", "12", start=AS_OF - 60 * DAY, hours=24 * 10)
    unknown["visits"][1] |= {"entered_at": None, "is_inferred": True}
    result = answer(METRIC, engine, unknown)
    assert by_stage(result, "stock", "n_days", "den")["2"] == (1, 50, 0), "its age is not known"


def test_littles_law(polars_engine: Any) -> None:
    """One a day, each for two days: two at a time."""
    daily = [path(f"d{n}", "12", start=AS_OF - n * DAY, hours=48) for n in range(2, 60)]
    here = [path(f"h{n}", "1", start=AS_OF - n * DAY) for n in range(2)]
    little, ratio = of_first(answer(METRIC, polars_engine, *daily, *here), "little_stock", "little_ratio")
    assert little == pytest.approx(2)
    assert ratio == pytest.approx(1)


def test_deals_lost_from_a_stage_are_told_apart_in_its_outflow(polars_engine: Any) -> None:
    gone = [path(f"l{n}", "1L", start=AS_OF - 10 * DAY) for n in range(7)]
    for deal in gone:
        deal["visits"][0] |= {"next_kind": "lost"}
    result = answer(METRIC, polars_engine, *gone, *finished(3, days=20))
    assert of_first(result, "inflow", "outflow", "outflow_lost") == (7, 10, 7)
