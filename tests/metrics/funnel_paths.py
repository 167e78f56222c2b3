"""Deals told by the stages they went through, for the tests of the funnel metrics."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl

from metrics.evaluate import evaluate
from metrics.metric import Metric, MetricResult, Period

START = datetime(2026, 3, 1, 9, tzinfo=UTC)
AS_OF = START + timedelta(days=100)
RUNGS = {"1": 10, "2": 20, "3": 30, "4": 40}
KINDS = {"W": "won", "L": "lost", "U": "unsorted"}


def stages(names: str, pipeline_id: str = "p") -> list[dict[str, Any]]:
    """A pipeline's stages: the rungs `names`, won and lost."""
    rungs = [{"stage_id": name, "name": f"Этап {name}", "sort": RUNGS[name], "kind": "open"} for name in names]
    ends = [
        {"stage_id": "W", "name": "Успех", "sort": 10_000, "kind": "won"},
        {"stage_id": "L", "name": "Отказ", "sort": 11_000, "kind": "lost"},
    ]
    return [{"pipeline_id": pipeline_id, **stage} for stage in (*rungs, *ends)]


def path(
    deal_id: str,
    marks: str,
    *,
    start: datetime = START,
    hours: float = 24,
    pipelines: Sequence[str] = ("p", "p1", "p2"),
    **state: Any,
) -> dict[str, Any]:
    """A deal that went through `marks` ("12W"), `hours` on each; `|` goes on in the next of `pipelines` ("12|1").

    `state` overrides columns of its `deal_state` row.
    """
    nth, visits, now = 0, [], start
    for mark in marks:
        if mark == "|":
            nth += 1
            continue
        left = now + timedelta(hours=hours)
        visits.append(
            {
                "deal_id": deal_id,
                "n": len(visits) + 1,
                "pipeline_id": pipelines[nth],
                "stage_id": mark,
                "stage_kind": KINDS.get(mark, "open"),
                "stage_sort": RUNGS.get(mark, 10_000),
                "entered_at": now,
                "left_at": left,
            }
        )
        now = left
    last = visits[-1]
    last["left_at"] = None
    is_decided = last["stage_kind"] in {"won", "lost"}
    row = {
        "deal_id": deal_id,
        "entity_kind": "deal",
        "client_id": f"c{deal_id}",
        "pipeline_id": last["pipeline_id"],
        "stage_id": last["stage_id"],
        "outcome": last["stage_kind"],
        "responsible_user_id": "user:1",
        "amount_minor": 100,
        "created_at": start,
        "outcome_at": last["entered_at"] if is_decided else None,
    }
    return {"state": row | state, "visits": visits}


def tables(*paths: dict[str, Any], ladder: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """The tables the funnel metrics read."""
    known = dict.fromkeys(stage["pipeline_id"] for stage in ladder)
    return {
        "deal_state": [one["state"] for one in paths],
        "stage_interval": [visit for one in paths for visit in one["visits"]],
        "stage": list(ladder),
        "pipeline": [{"pipeline_id": name, "name": f"Воронка {name}", "sort": n} for n, name in enumerate(known)],
    }


EIGHT = [
    path(f"d{number}", marks)
    for number, marks in enumerate(["123W", "13W", "12L", "12323L", "12", "1L123", "2L", "1"], start=1)
]
"""The paths of the catalogue's examples: d1 1→2→3→W · d2 1→3→W · d3 1→2→L · d4 1→2→3→2→3→L · d5 1→2 · d6 1→L→1→2→3 ·
d7 2→L · d8 1."""
SPRING = Period(AS_OF, date(2026, 3, 1), date(2026, 6, 1))


def answer(
    metric: Metric, engine: Any, *paths: dict[str, Any], ladder: Sequence[dict[str, Any]] | None = None, **options: Any
) -> MetricResult:
    """What a metric says of these deals; options: `period`, `user_set`, other tables (`more`), parameters."""
    period, more = options.pop("period", SPRING), options.pop("more", {})
    user_set = {table: pl.DataFrame(rows) for table, rows in options.pop("user_set", {}).items()}
    given = tables(*paths, ladder=stages("123") if ladder is None else ladder) | more
    frames = engine.frames(given, as_of=period.as_of, user_set=user_set)
    return evaluate(metric, frames, metric.params(**options), period)


def by_stage(result: MetricResult, *columns: str, table: str = "stages") -> dict[str, Any]:
    """Stage → value of a column, or tuple of several."""
    rows = result.tables[table].select("stage_id", *columns).rows()
    return {stage: values[0] if len(columns) == 1 else tuple(values) for stage, *values in rows}
