"""E1: where open deals stand now."""

from datetime import datetime, timedelta, timezone
from typing import Any

from engines import on_every_engine
from funnel_paths import AS_OF, EIGHT, answer, by_stage, path, stages

from metrics.calendar import Calendar, WorkingWeek, calendar_days
from metrics.metric import Period
from metrics.stage_snapshot import METRIC

DAY = timedelta(days=1)


@on_every_engine
def test_e1_the_example_of_the_catalogue(engine: Any) -> None:
    result = answer(METRIC, engine, *EIGHT)
    assert by_stage(result, "n") == {"1": 1, "2": 1, "3": 1}
    found = {(row["entity_id"], row["group_key"]) for row in result.drilldown.iter_rows(named=True)}
    assert found == {("d5", "p|2"), ("d6", "p|3"), ("d8", "p|1")}
    assert result.drilldown["value"].to_list() == [100.0, 99.0, 96.0], "days on the stage, the longest first"
    assert result.semantics == "snapshot"


def test_a_deal_without_an_amount_is_counted_and_brings_no_zero(polars_engine: Any) -> None:
    result = answer(METRIC, polars_engine, path("a", "1", amount_minor=None), path("b", "1", amount_minor=500))
    assert by_stage(result, "n", "n_null_amount", "amount_minor")["1"] == (2, 1, 500)


def test_an_entry_nobody_recorded_has_no_age(polars_engine: Any) -> None:
    unknown = path("a", "1")
    unknown["visits"][0] |= {"entered_at": None}
    result = answer(METRIC, polars_engine, unknown, path("b", "1"))
    assert by_stage(result, "age_median_d", "n_age_unknown")["1"] == (100.0, 1)


def sla(days: float, clock: str = "wall") -> dict[str, Any]:
    rows = [
        {"account_id": "main", "pipeline_id": "p", "stage_id": "1", "sla_s": int(days * 86_400), "sla_clock": clock}
    ]
    return {"stage": rows}


def test_a_deadline_is_judged_where_one_is_set(polars_engine: Any) -> None:
    rows = [path("old", "1", start=AS_OF - 6 * DAY), path("new", "1", start=AS_OF - DAY), path("other", "2")]
    result = answer(METRIC, polars_engine, *rows, user_set=sla(3))
    assert by_stage(result, "num", "den", "rate") == {"1": (1, 2, 0.5), "2": (0, 0, None), "3": (0, 0, None)}
    assert [notice.code for notice in result.warnings] == ["no_stage_deadline"]


@on_every_engine
def test_a_business_deadline_does_not_run_at_night(engine: Any) -> None:
    """Friday 17:30 to Monday 09:45 is 75 minutes of work."""
    moscow = timezone(timedelta(hours=3))
    now = datetime(2026, 4, 6, 9, 45, tzinfo=moscow)
    since = datetime(2026, 4, 3, 17, 30, tzinfo=moscow)
    week = WorkingWeek.of(Calendar())
    days = calendar_days(
        week, account_id="main", calendar_id="default", tz="Europe/Moscow", first=since.date(), last=now.date()
    )
    period = Period(now, since.date(), now.date())
    found = {}
    for hours in (1.2, 1.3):
        result = answer(
            METRIC,
            engine,
            path("d", "1", start=since),
            period=period,
            more={"calendar_day": days},
            user_set=sla(hours / 24, "business"),
        )
        found[hours] = by_stage(result, "num")["1"]
    assert found == {1.2: 1, 1.3: 0}


def test_an_empty_pipeline_is_not_shown_as_zeros(polars_engine: Any) -> None:
    ladder = [*stages("12", "p"), *stages("12", "p1")]
    result = answer(METRIC, polars_engine, path("a", "1"), ladder=ladder)
    assert result.tables["stages"]["pipeline_id"].unique().to_list() == ["p"]
