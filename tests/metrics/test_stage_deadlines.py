"""E8: stays longer than their stage allows."""

from datetime import date, timedelta
from typing import Any

import pytest
from engines import on_every_engine
from funnel_paths import AS_OF, START, answer, path

from metrics.metric import Period
from metrics.stage_deadlines import METRIC

DAY = timedelta(days=1)
SO_FAR = Period(AS_OF, date(2026, 3, 1), date(2026, 6, 10))


def sla(days: float, clock: str = "wall") -> dict[str, Any]:
    row = {"account_id": "main", "pipeline_id": "p", "stage_id": "1", "sla_s": int(days * 86_400), "sla_clock": clock}
    return {"stage": [row]}


def stay(name: str, days: float, still: bool = False, **state: Any) -> dict[str, Any]:
    return path(name, "1" if still else "12", start=AS_OF - days * DAY if still else START, hours=24 * days, **state)


EXAMPLE = [stay(f"f{days}", days) for days in (1, 2, 4, 5)] + [stay(f"o{days}", days, still=True) for days in (1, 6)]


@on_every_engine
def test_e8_the_example_of_the_catalogue(engine: Any) -> None:
    """SLA 3 d: finished 1, 2, 4, 5; open 1, 6."""
    result = answer(METRIC, engine, *EXAMPLE, period=SO_FAR, user_set=sla(3))
    (row,) = result.tables["stages"].iter_rows(named=True)
    assert (row["num"], row["den"], row["rate"]) == (3, 5, 0.6)
    assert (row["ci_lo"], row["ci_hi"]) == pytest.approx((0.230724, 0.882379), abs=1e-6)
    assert (row["overdue_now"], row["n_not_due"], row["n_finished"]) == (1, 1, 4)
    # At risk 6 at day 1 (one leaves, one is censored), 4 at day 2: S(3) = 5/6 * 3/4, and 1 - S would be who is in time.
    assert row["km_breach"] == pytest.approx(5 / 6 * 3 / 4)
    assert result.drilldown.select("entity_id", "value").rows() == [("o6", 72.0)], "hours over"


def test_a_stage_without_a_deadline_is_not_set_and_not_fine(polars_engine: Any) -> None:
    result = answer(METRIC, polars_engine, *EXAMPLE, period=SO_FAR)
    assert result.tables["stages"].is_empty()
    assert [notice.code for notice in result.warnings] == ["no_stage_deadline"]


def test_exactly_the_deadline_is_in_time(polars_engine: Any) -> None:
    result = answer(METRIC, polars_engine, stay("d", 3), period=SO_FAR, user_set=sla(3))
    assert result.tables["stages"]["num"].to_list() == [0]


def test_a_finished_stay_is_of_whoever_had_it_and_an_open_one_of_who_has_it(polars_engine: Any) -> None:
    handed = stay("h", 5, responsible_user_id="user:2")
    handed["visits"][0] |= {"owner_user_id": "user:1"}
    still = stay("s", 5, still=True, responsible_user_id="user:2")
    still["visits"][0] |= {"owner_user_id": "user:1"}
    table = answer(METRIC, polars_engine, handed, still, period=SO_FAR, user_set=sla(3)).tables["by_user"]
    assert sorted(table.select("user_id", "num", "overdue_now").rows()) == [("user:1", 1, 0), ("user:2", 1, 1)]


def test_an_entry_nobody_recorded_is_not_judged(polars_engine: Any) -> None:
    one = stay("d", 5)
    one["visits"][0] |= {"is_inferred": True}
    assert answer(METRIC, polars_engine, one, period=SO_FAR, user_set=sla(3)).tables["stages"].is_empty()
