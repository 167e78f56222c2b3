"""The answers beside the answer key: counts per table, and the four metrics.

Each comparison is a pure function of what was planted (the key, JSON) and what was found (frames, a result).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from math import isclose
from typing import Any
from zoneinfo import ZoneInfo

import narwhals.stable.v2 as nw
import polars as pl

from metrics.evaluate import evaluate
from metrics.frames import FrameSet
from metrics.metric import MetricResult, Params, Period, find_metrics

Key = Mapping[str, Any]
RELATIVE = 1e-9


@dataclass(frozen=True)
class Comparison:
    """One thing looked at: what the key says, what was found."""

    what: str
    expected: Any
    found: Any

    @property
    def is_equal(self) -> bool:
        return _equal(self.expected, self.found)


def _equal(expected: Any, found: Any) -> bool:
    if isinstance(expected, float) and isinstance(found, int | float):
        return isclose(expected, found, rel_tol=RELATIVE, abs_tol=RELATIVE)
    return bool(expected == found)


def counts(key: Key, frames: FrameSet) -> list[Comparison]:
    """Rows per table: the key's beside the published ones of its account."""
    return [
        Comparison(name, expected, _rows(frames[name]) if name in frames else None)
        for name, expected in sorted(key["counts"].items())
    ]


def _rows(frame: nw.LazyFrame[Any]) -> int:
    return int(frame.select(nw.len()).collect().item())


def metrics(key: Key, frames: FrameSet) -> list[Comparison]:
    """The four metrics, as they are told to people by default, beside the key."""
    return [*missed_calls(key, frames), *forgotten_clients(key, frames), *bottleneck(key, frames), *flows(key, frames)]


def missed_calls(key: Key, frames: FrameSet) -> Iterator[Comparison]:
    """A3: threads by state, in all and per manager; the two rates; the clients still waiting."""
    planted = key["A3"]
    result = answer("A3", key, frames, days=planted["period"])
    total, by_user = result.tables["total"], result.tables["by_user"]
    for state, expected in planted["states"].items():
        yield Comparison(f"A3 {state}", expected, _only(total, f"n_{state}", 0))
    for rate in ("never_rate", "not_reached_rate"):
        yield Comparison(f"A3 {rate}", planted[rate], _only(total, rate, None))
    states = list(planted["states"])
    found = {row["user_id"]: {state: row[f"n_{state}"] for state in states} for row in by_user.iter_rows(named=True)}
    yield Comparison("A3 by manager", planted["by_user"], found)
    waiting = result.tables["threads"].filter(pl.col("state").is_in(["never", "attempted_only", "pending"]))
    listed = sorted(waiting.select("client_id", "state").rows())
    yield Comparison(
        "A3 clients waiting", sorted((row["client_id"], row["state"]) for row in planted["unresolved"]), listed
    )


def forgotten_clients(key: Key, frames: FrameSet) -> Iterator[Comparison]:
    """B2: forgotten of all, in all and per manager; those of people who left; who they are."""
    planted = key["B2"]
    result = answer("B2", key, frames)
    by_user = result.tables["by_user"]
    yield Comparison("B2 forgotten", planted["num"], by_user["num"].sum())
    yield Comparison("B2 of", planted["den"], by_user["den"].sum())
    found = {row["user_id"]: {"num": row["num"], "den": row["den"]} for row in by_user.iter_rows(named=True)}
    yield Comparison("B2 by manager", planted["by_user"], found)
    left = result.tables["reassign"]
    yield Comparison("B2 to reassign", planted["reassign"], {"num": left["num"].sum(), "den": left["den"].sum()})
    clients = sorted(result.tables["clients"]["client_id"])
    listed = sorted((*planted["forgotten"], *planted.get("reassign_forgotten", ())))
    yield Comparison("B2 who", listed, clients)


def bottleneck(key: Key, frames: FrameSet) -> Iterator[Comparison]:
    """E6: the stage to fix, and reached, lost, conversion, tail and leak of every stage, for every pipeline."""
    for planted in key.get("E6_by_pipeline", [key["E6"]]):
        result = answer("E6", key, frames, days=planted["period"], pipeline_id=planted["pipeline_id"])
        stages = {row["stage_id"]: row for row in result.tables["stages"].iter_rows(named=True)}
        name = f"E6 {planted['pipeline_id']}"
        top = result.tables["stages"].sort("leak_minor", descending=True, nulls_last=True)["stage_id"].first()
        yield Comparison(f"{name} bottleneck", planted["bottleneck_stage_id"], top)
        for field, column in (("reached", "n"), ("lost", "lost"), ("conv", "conv"), ("tail", "tail")):
            expected = {stage["stage_id"]: _rounded(stage[field]) for stage in planted["stages"]}
            found = {stage_id: _rounded(row[column]) for stage_id, row in stages.items()}
            yield Comparison(f"{name} {field}", expected, found)
        expected = {stage["stage_id"]: round(stage["leak_minor"]) for stage in planted["stages"]}
        yield Comparison(f"{name} leak", expected, {stage_id: row["leak_minor"] for stage_id, row in stages.items()})


def flows(key: Key, frames: FrameSet) -> Iterator[Comparison]:
    """D6: stocks and events of the last 13 months."""
    months = key["D6"]["months"]
    first, last = (date.fromisoformat(months[index]["month"]) for index in (0, -1))
    result = answer("D6", key, frames, days=(first.isoformat(), today(key).isoformat() if today(key) > last else None))
    found = {row["month"].isoformat(): row for row in result.tables["months"].iter_rows(named=True)}
    for name in ("active", "at_risk", "churned", "new", "churned_n", "reactivated_n"):
        expected = {month["month"]: month[name] for month in months}
        yield Comparison(f"D6 {name}", expected, {month: row.get(name) for month, row in found.items()})


def answer(metric_id: str, key: Key, frames: FrameSet, days: Any = None, **params: Any) -> MetricResult:
    """A metric as of the key's instant, for the key's days or the metric's default."""
    metric = find_metrics()[metric_id]
    as_of = datetime.fromisoformat(key["as_of"]).astimezone(UTC)
    first, end = metric.default_period(as_of.astimezone(ZoneInfo(key["tz"])))
    if days is not None:
        first = date.fromisoformat(days[0])
        end = date.fromisoformat(days[1]) if days[1] else end
    chosen: Params = metric.params.model_validate(params)
    return evaluate(metric, frames, chosen, Period(as_of, first, end))


def today(key: Key) -> date:
    """The local day that begins at the key's `as_of`."""
    return datetime.fromisoformat(key["as_of"]).astimezone(ZoneInfo(key["tz"])).date()


def _only(table: pl.DataFrame, column: str, nothing: Any) -> Any:
    return table[column][0] if table.height else nothing


def _rounded(value: Any) -> Any:
    """Shares to nine digits: the key multiplies in another order."""
    return round(value, 9) if isinstance(value, float) else value
