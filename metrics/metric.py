"""What a metric is, and what it answers. Found by scanning this package.

A metric is one file with a module constant `METRIC` (a family that shares a definition: `METRICS`). Two steps:
*reduce* works on event tables through Narwhals, lazily, on any engine; *finish* works on small collected Polars frames.
No clock, no I/O, no rows in Python loops.
"""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from functools import cache
from typing import Any, Literal

import narwhals.stable.v2 as nw
import polars as pl
from pydantic import BaseModel, ConfigDict

import metrics

Lang = Literal["ru", "en"]
Semantics = Literal["cohort", "flow", "snapshot"]


class Params(BaseModel):
    """Typed parameters of a metric with the catalogue's defaults; unknown names and wrong types are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True)
class Text:
    """How a metric explains itself in one language."""

    name: str
    definition: str
    formula: str
    pitfalls: str


@dataclass(frozen=True)
class Period:
    """When: `as_of` (UTC) is the instant of knowledge, `[period_from, period_to)` are local days of each account."""

    as_of: datetime
    period_from: date
    period_to: date


@dataclass(frozen=True)
class Notice:
    """A warning a reader needs to judge the result. `code` is stable; texts are ready sentences."""

    code: str
    ru: str
    en: str


@dataclass(frozen=True)
class MetricResult:
    """What a metric answers (R-OUT).

    tables: named frames, first the main one; one with a column `url` gets the card of its `entity_id` there, as the
    drill-down does. drilldown: the rows behind the numbers, columns as `DRILLDOWN`.
    subject: per table the column that names the row's owner (a user id), None where a table has no owner.
    coverage: account_id, resource, complete_from, watermark of what was used.
    """

    metric_id: str
    params: Params
    as_of: datetime
    period_from: date
    period_to: date
    semantics: Semantics
    tables: dict[str, pl.DataFrame]
    drilldown: pl.DataFrame
    warnings: tuple[Notice, ...] = ()
    coverage: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=COVERAGE))
    subject: Mapping[str, str | None] = field(default_factory=dict)


DRILLDOWN: dict[str, pl.DataType] = {
    "account_id": pl.String(),
    "entity_kind": pl.String(),  # deal, lead, contact, company: what the card is
    "entity_id": pl.String(),  # canonical id of the card, `lead:18800001`
    "url": pl.String(),  # filled by `run`, null where there is no card
    "label": pl.String(),  # filled by the gateway: a name is personal data
    "user_id": pl.String(),
    "client_id": pl.String(),
    "event_at": pl.Datetime("us", "UTC"),
    "value": pl.Float64(),
    "value_unit": pl.String(),  # s, h, d, minor, n
    "reason": pl.String(),  # rule code: MISSED_IN, FORGOTTEN, LOST_HERE
    "group_key": pl.String(),  # the group of the main table this row is counted in
}


def drilldown_rows(rows: pl.DataFrame, **columns: pl.Expr | str) -> pl.DataFrame:
    """`rows` with `columns` as a drill-down, in their order; card links and names come later."""
    unknown = {name: pl.lit(None, pl.String) for name in ("url", "label")}
    return rows.with_columns(**unknown, **columns).select(*DRILLDOWN).cast(pl.Schema(DRILLDOWN))


COVERAGE: dict[str, pl.DataType] = {
    "account_id": pl.String(),
    "resource": pl.String(),
    "complete_from": pl.Datetime("us", "UTC"),
    "watermark": pl.Datetime("us", "UTC"),
}

Frames = Mapping[str, nw.LazyFrame[Any]]
"""Tables by name as Narwhals lazy frames of one engine, plus `clock` (see `metrics.frames`)."""


@dataclass(frozen=True)
class Metric:
    """A metric of the catalogue.

    id: the catalogue's (`A3`). inputs: published tables `reduce` reads. resources: what must have been synced for the
    answer to mean anything (names of canonical tables, as in `coverage`). subject: per output table (and `drilldown`)
    the owner column, None for none. semantics: R-COHORT.
    """

    id: str
    text: Mapping[Lang, Text]
    params: type[Params]
    inputs: tuple[str, ...]
    resources: tuple[str, ...]
    subject: Mapping[str, str | None]
    semantics: Semantics
    reduce: Callable[[Frames, Any, Period], dict[str, nw.LazyFrame[Any]]]
    finish: Callable[[dict[str, pl.DataFrame], Any, Period], MetricResult]
    needs_pii: bool = False
    default_period_d: int = 30
    """Complete local days before as_of that are looked at when nobody says otherwise."""
    includes_today: bool = False
    """The running day is looked at as well: a list of what is open now is of no use without the last hours."""
    reads_period: bool = True
    """False: the answer is about `as_of` alone, whatever the period; its days only say what must have been synced."""
    counted: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Numerators: table → columns. Per account and `group_key` their sum is the number of drill-down rows."""
    adds_up: Mapping[str, str] = field(default_factory=dict)
    """Table of groups → the table its counts (n, num, den, n_*) add up to, per account."""

    def result(
        self,
        params: Any,
        period: Period,
        *,
        tables: dict[str, pl.DataFrame],
        drilldown: pl.DataFrame,
        warnings: tuple[Notice, ...] = (),
    ) -> MetricResult:
        """An answer: what *finish* found, what was asked, and who owns which rows."""
        return MetricResult(
            metric_id=self.id,
            params=params,
            as_of=period.as_of,
            period_from=period.period_from,
            period_to=period.period_to,
            semantics=self.semantics,
            tables=tables,
            drilldown=drilldown,
            warnings=warnings,
            subject=self.subject,
        )

    def default_period(self, now: datetime) -> tuple[date, date]:
        """The days looked at when nobody says otherwise, the end exclusive. now: the wall time of `as_of`."""
        today = now.date()
        return today - timedelta(days=self.default_period_d), known_until(now) if self.includes_today else today


def known_until(now: datetime) -> date:
    """The day after the last one of which something is known. At midnight no second of the new day has passed yet."""
    return now.date() if now.time() == time.min else now.date() + timedelta(days=1)


@cache
def find_metrics() -> dict[str, Metric]:
    """Every metric of this package by its id, in the catalogue's order: A2 before A10."""
    modules = [importlib.import_module(f"metrics.{module.name}") for module in pkgutil.iter_modules(metrics.__path__)]
    found = [m for module in modules for m in (getattr(module, "METRIC", None), *getattr(module, "METRICS", ()))]
    return {metric.id: metric for metric in sorted((m for m in found if m is not None), key=place)}


def place(metric: Metric) -> tuple[str, int]:
    """Where a metric stands in the catalogue: its letter and its number."""
    return metric.id[:1], int(metric.id[1:])
