"""Deals decided in April 2026, for tests of lost deals."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from metrics.evaluate import evaluate
from metrics.metric import Metric, MetricResult, Period

MOSCOW = ZoneInfo("Europe/Moscow")
Row = dict[str, Any]


def moscow(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=MOSCOW).astimezone(UTC)


AS_OF = moscow("2026-04-30 12:00")
NOW = Period(AS_OF, date(2026, 4, 1), date(2026, 4, 30))
REASONS = [
    {"loss_reason_id": "loss_reason:price", "name": "Дорого"},
    {"loss_reason_id": "loss_reason:spam", "name": "Спам"},
    {"loss_reason_id": "loss_reason:silent", "name": "Недозвон"},
    {"loss_reason_id": "loss_reason:whim", "name": "Прочее"},
]
PEOPLE = [
    {"user_id": "user:1"},
    {"user_id": "user:2"},
    {"user_id": "user:3"},
    {"user_id": "user:left", "is_active": False},
]


def deal(number: int, outcome: str = "lost", reason: str | None = None, **more: Any) -> Row:
    """A deal of the pipeline 1, made on the 2nd and decided on the 10th of April unless `more` says otherwise."""
    return {
        "deal_id": f"lead:{number}",
        "client_id": f"contact:{number}",
        "entity_kind": "deal",
        "pipeline_id": "pipeline:1",
        "outcome": outcome,
        "created_at": moscow("2026-04-02"),
        "outcome_at": moscow("2026-04-10"),
        "outcome_user_id": "user:1",
        "loss_reason_id": reason and f"loss_reason:{reason}",
        **more,
    }


def deals(*groups: tuple[int, dict[str, Any]]) -> list[Row]:
    """`n` deals of each kind."""
    kinds = [kind for n, kind in groups for _ in range(n)]
    return [deal(number, **kind) for number, kind in enumerate(kinds, 1)]


def stays(number: int, *stages: tuple[str, str, int], days: int = 1) -> list[Row]:
    """Rows of `stage_interval`: stages as (id, kind, sort), each for `days` from the 2nd of April on."""
    return [
        {
            "deal_id": f"lead:{number}",
            "n": n,
            "pipeline_id": "pipeline:1",
            "stage_id": stage,
            "stage_kind": kind,
            "stage_sort": sort,
            "entered_at": moscow(f"2026-04-{2 + (n - 1) * days:02d}"),
            "left_at": moscow(f"2026-04-{2 + n * days:02d}") if n < len(stages) else None,
        }
        for n, (stage, kind, sort) in enumerate(stages, 1)
    ]


def answered(
    metric: Metric, engine: Any, rows: Sequence[Row], *, period: Period = NOW, params: Any = None, **tables: Any
) -> MetricResult:
    user_set = tables.pop("user_set", None)
    given = {"deal_state": rows, "loss_reason": REASONS, "user": PEOPLE, **tables}
    frames = engine.frames(given, as_of=period.as_of, user_set=user_set)
    return evaluate(metric, frames, metric.params(**(params or {})), period)
