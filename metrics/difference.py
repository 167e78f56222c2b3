"""Why a number changed between two generations: parts that sum exactly to the change, for every metric alike.

The older generation is turned into the newer one in steps (`row_changes.PARTS`): first the clock is moved, then rows
are changed class by class, last the definitions (mart parameters, settings, accounts as configured). After every step
the marts are built and the metric is run; what a step changes is its part. The differences of neighbouring steps sum to
the difference of the ends whatever the metric computes, so no metric needs to know of this.

Marts of the older generation as they were published are the beginning: what today's program makes of the same rows is a
redefinition too. Metrics themselves are today's on both sides.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl

from metrics import marts
from metrics.evaluate import evaluate, made_from
from metrics.frames import FrameSet, Source, instant_of
from metrics.metric import DRILLDOWN, Metric, MetricResult, Notice, Params, Period
from metrics.row_changes import CARDS, NEW, PARTS, REDEFINED, Changed, Known, card, changed, shared

NUMBER = pl.Decimal(38, 12)
"""Numbers are compared with twelve places after the point, as whole numbers: sums of floats are not exact."""

NUMBERS: dict[str, pl.DataType] = {
    "table": pl.String(),
    "row": pl.String(),  # key of the row: `account_id=main user_id=user:1`
    "number": pl.String(),  # column
    "before": NUMBER,  # null: there was no such row, or the number was not known; counts as 0
    "after": NUMBER,
    "change": NUMBER,
    **dict.fromkeys(PARTS, NUMBER),
}
ROWS: dict[str, pl.DataType] = {"part": pl.String(), "how": pl.String(), **DRILLDOWN}
"""Rows of the drill-down a step brought, took away or changed: entered, left, changed (as it is after)."""
FACTS: dict[str, pl.DataType] = {"part": pl.String(), "table": pl.String(), "n": pl.Int64()}
"""How many rows of a table have a difference of the part."""

ROW_KEYS = (
    *("account_id", "user_id", "pipeline_id", "source_id", "month", "segment", "semantics", "horizon_d", "bucket"),
    *("hours", "weekday", "hour", "line", "day", "bucket_from_s", "unit", "pair", "is_repeat", "is_contacted"),
    *("series", "week", "attempt", "is_working"),
    *("loss_reason_id", "category", "stage_pipeline_id", "code", "destination", "to_stage_id", "stage_id"),
)
"""What tells rows of an aggregate apart. A stage last: some tables have one row per pipeline and name a stage in it."""
OF_CARDS = {*CARDS, "client_id", "thread_id", "episode_id", "call_id"}
"""A table with such a column is a list of cards, not an aggregate."""


@dataclass(frozen=True)
class Asked:
    """A metric with its parameters, over the same local days in both generations."""

    metric: Metric
    params: Params
    period_from: date
    period_to: date


@dataclass(frozen=True)
class Difference:
    """Why the numbers of one metric changed: frames with the columns `NUMBERS` (changed ones only), `ROWS`, `FACTS`."""

    asked: Asked
    as_of_before: datetime
    as_of_after: datetime
    numbers: pl.DataFrame
    rows: pl.DataFrame
    facts: pl.DataFrame
    warnings: tuple[Notice, ...] = ()


def differences(asked: Sequence[Asked], older: FrameSet, newer: FrameSet, folder: Path) -> list[Difference]:
    """A difference per metric asked for, all from one walk from `older` to `newer`.

    folder: where tables in between may be written; the caller removes it.
    Raises polars' ColumnNotFoundError where both generations lack a column this program needs.
    """
    tables = {name for one in asked for name in made_from(one.metric)} | READ_BY_MARTS
    between = _changes(older, newer, sorted(tables - set(marts.MARTS)), folder)
    steps: list[tuple[str, list[MetricResult]]] = []
    for part, frames in _states(older, newer, between, folder):
        steps.append((part, [_answer(one, frames) for one in asked]))
    counts = [(part, table, n) for table, one in between.items() for part, n in one.counts.items() if n]
    facts = pl.DataFrame(counts, FACTS, orient="row").with_columns(_at=_place(pl.col("part"))).sort("_at", "table")
    return [
        Difference(
            one,
            _as_of(older),
            _as_of(newer),
            _numbers([(part, results[place]) for part, results in steps]),
            _rows([(part, results[place].drilldown) for part, results in steps]),
            facts.filter(pl.col("table").is_in(list(made_from(one.metric)))).drop("_at"),
            _notices(older, newer),
        )
        for place, one in enumerate(asked)
    ]


READ_BY_MARTS = {"account", "coverage", *(table for tables in marts.FED_BY.values() for table in tables)}


def _place(part: pl.Expr) -> pl.Expr:
    return part.replace_strict({name: place for place, name in enumerate(PARTS)}, return_dtype=pl.Int64)


def _answer(one: Asked, frames: FrameSet) -> MetricResult:
    return evaluate(one.metric, frames, one.params, Period(_as_of(frames), one.period_from, one.period_to))


def _as_of(frames: FrameSet) -> datetime:
    as_of = instant_of(frames.manifest["as_of"])
    assert as_of is not None
    return as_of


# --- from one generation to the other --------------------------------------------------------------------------------


def _changes(older: FrameSet, newer: FrameSet, tables: Sequence[str], folder: Path) -> dict[str, Changed]:
    """Every canonical table with its differences; merges and moves first, for they tell of other tables."""
    nothing = pl.Series(dtype=pl.String)
    known = Known(nothing, nothing, nothing)
    merged = _changed("merge_link", older, newer, known).rows.filter("_in_b", ~pl.col("_in_a"))
    moved = _changed("deal_stage_transition", older, newer, known).rows.filter("_in_b", ~pl.col("_in_a"))
    known = Known(
        merged.select(card("from_id")).to_series(),
        merged.select(card("_b_into_id")).to_series(),
        moved.select(card("_b_deal_id")).to_series().unique(),
    )
    return {table: _changed(table, older, newer, known) for table in tables if table in older or table in newer}


def _changed(table: str, older: FrameSet, newer: FrameSet, known: Known) -> Changed:
    """A table that one generation lacks is empty there."""
    was, now = older.sources.get(table), newer.sources.get(table)
    if isinstance(was, tuple) and isinstance(now, tuple):
        old_files, new_files, both = shared(was, now)
        empty = _scan(was or now).clear()
        parts = [_scan(files) if files else empty for files in (old_files, new_files)]
        return changed(table, parts[0], parts[1], known, _scan(both) if both else None)
    given = [_scan(source) for source in (was, now) if source is not None]
    before = given[0] if was is not None else given[0].clear()
    after = given[-1] if now is not None else given[-1].clear()
    return changed(table, before, after, known, None)


def _scan(source: Source) -> pl.LazyFrame:
    return source.lazy() if isinstance(source, pl.DataFrame) else pl.scan_parquet(list(source))


def _states(
    older: FrameSet, newer: FrameSet, between: Mapping[str, Changed], folder: Path
) -> Iterator[tuple[str, FrameSet]]:
    """Frames after each step with the part the step belongs to, the first being what was published first."""
    written = {
        table: older.sources[table]
        for table, one in between.items()
        if one.rows.is_empty() and table in older and tuple(_scan(older.sources[table]).collect_schema()) == one.columns
    }
    tables = _put_in(between, 0, written, folder)
    first = replace(older, publication=None, opened={})
    if has_marts_of_today(older):
        own = {name: source for name, source in older.sources.items() if name in marts.MARTS}
        yield "before", replace(first, sources={**tables, **own})
    params = marts.MartParams.model_validate(older.manifest.get("mart_params") or {})
    yield "redefined", _with_marts(first, tables, params)
    manifest = _later(older.manifest, newer.manifest)
    frames = replace(first, manifest=manifest)
    if _instants(older.manifest) != _instants(manifest):
        frames = _with_marts(frames, tables, params)
        yield "time", frames
    for step in range(1, NEW + 1):
        if any(one.counts[PARTS[step]] for one in between.values()):
            tables = _put_in(between, step, written, folder)
            yield PARTS[step], _with_marts(frames, tables, params)
    last = replace(newer, publication=None, opened={})
    if has_marts_of_today(newer):
        yield "redefined", last
    else:
        params = marts.MartParams.model_validate(newer.manifest.get("mart_params") or {})
        yield "redefined", _with_marts(last, _put_in(between, REDEFINED, written, folder), params)


def has_marts_of_today(frames: FrameSet) -> bool:
    """Whether the generation's marts have the columns this program reads: an older one may have made them."""
    return all(
        mart in frames and set(schema) <= set(_scan(frames.sources[mart]).collect_schema())
        for mart, schema in marts.MARTS.items()
    )


def _put_in(between: Mapping[str, Changed], step: int, written: dict[str, Source], folder: Path) -> dict[str, Source]:
    """The tables with the differences up to `step`, as files; written anew where the step changes a table."""
    for table, one in between.items():
        if table in written and not one.counts[PARTS[step]]:
            continue
        file = folder / f"{table}.{step}.parquet"
        one.until(step).sink_parquet(file, compression="lz4")
        written[table] = (file,)
    return dict(written)


def _with_marts(frames: FrameSet, tables: Mapping[str, Source], params: marts.MartParams) -> FrameSet:
    as_of = {account: at for account, at in _instants(frames.manifest).items() if at is not None}
    built = marts.build({name: _scan(source) for name, source in tables.items()}, as_of, params)
    return replace(frames, sources={**tables, **built}, opened={})


def _instants(manifest: Mapping[str, Any]) -> dict[str, datetime | None]:
    """`as_of` of every account; one that has none of its own has the generation's."""
    whole = instant_of(manifest["as_of"])
    return {account["account_id"]: instant_of(account.get("as_of")) or whole for account in manifest["accounts"]}


def _later(older: Mapping[str, Any], newer: Mapping[str, Any]) -> dict[str, Any]:
    """The older manifest at the newer one's instants, with the accounts that came since."""
    instants = _instants(newer)
    kept = [{**one, "as_of": instants.get(one["account_id"], one.get("as_of"))} for one in older["accounts"]]
    known = {account["account_id"] for account in kept}
    came = [account for account in newer["accounts"] if account["account_id"] not in known]
    return {**older, "as_of": newer["as_of"], "accounts": [*kept, *came]}


def _notices(older: FrameSet, newer: FrameSet) -> tuple[Notice, ...]:
    found = []
    if _as_of(older) != _as_of(newer):
        was, now = (f"{_as_of(frames):%Y-%m-%d %H:%MZ}" for frames in (older, newer))
        found.append(
            Notice(
                "as_of_differs",
                f"Поколения — на разное время: {was} и {now}. То, что меняет само время, — в части «time».",
                f"The generations are as of different instants: {was} and {now}. What the clock alone changes is the "
                "part “time”.",
            )
        )
    if older.manifest.get("schema_version") != newer.manifest.get("schema_version") or not has_marts_of_today(older):
        found.append(
            Notice(
                "other_version",
                "Поколения записаны разными версиями программы: столбцы, которых не было, считаются пустыми, а то, что "
                "они добавили, — в части «redefined».",
                "The generations were written by different versions of the program: columns one lacks count as empty, "
                "what they add is in the part “redefined”.",
            )
        )
    return tuple(found)


# --- what the steps did ----------------------------------------------------------------------------------------------


def _numbers(steps: Sequence[tuple[str, MetricResult]]) -> pl.DataFrame:
    """`NUMBERS` of every number that any step changed."""
    names = [name for name, table in steps[0][1].tables.items() if not OF_CARDS & set(table.columns)]
    found = [_of_table(name, [(part, result.tables[name]) for part, result in steps]) for name in names]
    return pl.concat([pl.DataFrame(schema=NUMBERS), *found])


def _of_table(name: str, steps: Sequence[tuple[str, pl.DataFrame]]) -> pl.DataFrame:
    keys = _row_keys([table for _, table in steps])
    if keys is None:
        return pl.DataFrame(schema=NUMBERS)
    wide: pl.DataFrame | None = None
    for place, (_, table) in enumerate(steps):
        own = _long(table, keys).rename({"value": str(place)})
        wide = own if wide is None else wide.join(own, on=["row", "number"], how="full", coalesce=True)
    assert wide is not None
    value = [pl.col(str(place)).fill_null(0) for place in range(len(steps))]
    own_part = {part: [place for place, (of, _) in enumerate(steps) if place and of == part] for part in PARTS}
    nothing = pl.lit(0, NUMBER)
    parts = {
        part: sum((value[place] - value[place - 1] for place in places), nothing) for part, places in own_part.items()
    }
    whole = wide.select(
        "row", "number", table=pl.lit(name), before="0", after=str(len(steps) - 1), change=value[-1] - value[0], **parts
    ).cast(dict.fromkeys(("before", "after", "change", *PARTS), NUMBER))
    is_changed = pl.any_horizontal(pl.col(part) != 0 for part in PARTS)
    return whole.filter(is_changed).select(*NUMBERS).sort("row", "number")


def _row_keys(tables: Sequence[pl.DataFrame]) -> list[str] | None:
    """The fewest of `ROW_KEYS` by which no table has a row twice; None: there are none."""
    known = [name for name in ROW_KEYS if name in tables[0].columns]
    for keys in (known[:-1] if known[-1:] == ["stage_id"] else known, known):
        if keys and not any(table.select(pl.struct(keys).is_duplicated().any()).item() for table in tables):
            return keys
    return None


def _long(table: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
    """row, number, value: one row per numeric cell that is known."""
    numeric = [name for name, kind in table.schema.items() if kind.is_numeric() and name not in keys]
    named = [pl.format(f"{name}={{}}", pl.col(name).cast(pl.String).fill_null("—")) for name in keys]
    values = [_exact(name, table.schema[name]) for name in numeric]
    return (
        table.select(pl.concat_str(named, separator=" ").alias("row"), *values)
        .unpivot(index="row", on=numeric, variable_name="number", value_name="_value")
        .select("row", "number", value=pl.col("_value").cast(NUMBER))  # a number may be called `value` itself
        .drop_nulls("value")
    )


def _exact(name: str, kind: pl.DataType) -> pl.Expr:
    value = pl.col(name)
    return (pl.when(value.is_finite()).then(value.round(12)) if kind.is_float() else value).cast(NUMBER)


SAME_CARD = ("account_id", "entity_id", "client_id", "reason")


def _rows(steps: Sequence[tuple[str, pl.DataFrame]]) -> pl.DataFrame:
    """`ROWS`: drill-down rows that a step brought, took or changed."""
    found = [pl.DataFrame(schema=ROWS)]
    for (_, before), (part, after) in pairwise(steps):
        left, entered = _without(before, after), _without(after, before)
        was, became = (frame.select(SAME_CARD).unique() for frame in (left, entered))
        parts = {
            "entered": entered.join(was, on=SAME_CARD, how="anti", nulls_equal=True),
            "left": left.join(became, on=SAME_CARD, how="anti", nulls_equal=True),
            "changed": entered.join(was, on=SAME_CARD, how="semi", nulls_equal=True),
        }
        found += [
            rows.select(pl.lit(part).alias("part"), pl.lit(how).alias("how"), *DRILLDOWN) for how, rows in parts.items()
        ]
    return pl.concat(found)


def _without(rows: pl.DataFrame, others: pl.DataFrame) -> pl.DataFrame:
    """Rows that are not among the others; of equal ones as many as are too many."""
    numbered = [frame.with_columns(_no=pl.int_range(pl.len()).over(list(DRILLDOWN))) for frame in (rows, others)]
    return numbered[0].join(numbered[1], on=[*DRILLDOWN, "_no"], how="anti", nulls_equal=True).drop("_no")
