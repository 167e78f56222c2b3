"""`voronka diff`: why numbers changed between two publications, in parts that sum to the change."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo

import polars as pl

from app.labels import labelled
from audit import Export
from commands.audit import leaving
from commands.metric import UNKNOWN_ACCOUNT, Question, check_ids, metric_named, params_of, period_of
from commands.output import csv, deliver, rows, tables_text, to_json
from commands.text import _, language, warn
from config import Config, ConfigError
from metrics.difference import NUMBER, Asked, Difference, differences
from metrics.frames import (
    MISSING_FILE,
    FrameSet,
    UnknownTableError,
    generations,
    instant_of,
    made_at,
    open_frames,
)
from metrics.metric import find_metrics
from metrics.row_changes import PARTS
from metrics.user_set import user_set_frames
from settings import SettingsStore
from warehouse.database import reading_folder

TextFormat = Literal["table", "json", "csv"]

ONLY_ONE = "There is one publication only, {known}: nothing to compare it with yet. Publish again after the next sync."
UNKNOWN_GENERATION = "There is no publication {got}; it may have been removed, as `retention` says. There are: {known}."
SEVERAL_GENERATIONS = "{got} begins several publications: {known}. Give more of the name."
SAME_GENERATION = "Both are the publication {got}. Name two, or none for the two newest."
SET_NEEDS_METRIC = "`--set` needs one `--metric`: parameters are of a metric."
GONE_MEANWHILE = "A publication was removed while it was read. Run it again; there are: {known}."
OTHER_PROGRAM = (
    "One of the publications {older} and {newer} was written by another version of the program and lacks {what}. "
    "Run `voronka publish`, and compare with publications made since."
)
MOST_KNOWN = 10
FIRST = 20
"""Rows behind the numbers that a screen shows."""


@dataclass(frozen=True)
class Compared:
    """What is asked. generations: names, beginnings of names or days, as people write them."""

    generations: Sequence[str] = ()
    metrics: Sequence[str] = ()
    period_from: date | None = None
    period_to: date | None = None
    assignments: Sequence[str] = ()
    accounts: Sequence[str] = ()


def run_diff(compared: Compared, config: Config, form: TextFormat, *, drilldown: bool, output: Path | None) -> None:
    """Compare two publications and write why numbers changed.

    Raises:
        ConfigError: something in the question is wrong. NoPublication: nothing was published yet.
    """
    older, newer = _opened(compared, config)
    zone = ZoneInfo(newer.manifest["accounts"][0]["tz"] if newer.manifest["accounts"] else config.timezone)
    asked = _asked(compared, older, newer, zone)
    found = _explained(asked, older, newer, config)
    content = _written(found, older, newer, form, drilldown=drilldown)
    n = sum(one.rows.height if drilldown else one.numbers.height for one in found)
    export = Export(f"diff {older.generation} {newer.generation}", form, n, is_personal=drilldown or form != "csv")
    deliver(content, output, is_text=True, form=form, leaving=leaving(config, export))
    warn({notice.code: notice for one in found for notice in one.warnings}.values())


# --- what is compared ------------------------------------------------------------------------------------------------


def chosen(wanted: Sequence[str], known: Sequence[str], zone: ZoneInfo) -> tuple[str, str]:
    """The names of the two generations, the older first; one that is named is compared with the newest.

    Args:
        known: the names there are, the oldest first. zone: in which days are.
    """
    if len(known) < 2:
        raise ConfigError(ONLY_ONE, known=_listed(known))
    names = [generation_named(text, known, zone) for text in wanted]
    if not names:
        names = [*known[-2:]]
    older, newer = sorted(names if len(names) > 1 else [*names, known[-1]])
    if older == newer:
        raise ConfigError(SAME_GENERATION, got=older)
    return older, newer


def generation_named(text: str, known: Sequence[str], zone: ZoneInfo) -> str:
    """The generation whose name begins so; of a day (2026-11-21) the last one made on it."""
    if text in known:
        return text
    try:
        day = date.fromisoformat(text) if "-" in text else None
    except ValueError:
        day = None
    if day is not None:
        found = [name for name in known if made_at(name).astimezone(zone).date() == day][-1:]
    else:
        found = [name for name in known if text and name.startswith(text)]
    if not found:
        raise ConfigError(UNKNOWN_GENERATION, got=text, known=_listed(known))
    if len(found) > 1:
        raise ConfigError(SEVERAL_GENERATIONS, got=text, known=_listed(found))
    return found[0]


def _listed(names: Sequence[str]) -> str:
    more = "…, " if len(names) > MOST_KNOWN else ""
    return more + ", ".join(names[-MOST_KNOWN:]) if names else "—"


def _opened(compared: Compared, config: Config) -> tuple[FrameSet, FrameSet]:
    current = open_frames(config.publication).generation  # says what to do where nothing is published
    known = generations(config.publication)
    older, newer = chosen(compared.generations, known, ZoneInfo(config.timezone))
    frames = [_of(name, config, is_current=name == current) for name in (older, newer)]
    accounts = {account["account_id"] for one in frames for account in one.manifest["accounts"]}
    for account_id in compared.accounts:
        if account_id not in accounts:
            raise ConfigError(UNKNOWN_ACCOUNT, got=account_id, known=", ".join(sorted(accounts)) or "—")
    cut = [one.accounts(compared.accounts) if compared.accounts else one for one in frames]
    return cut[0], cut[1]


def _of(name: str, config: Config, *, is_current: bool) -> FrameSet:
    """A generation with what people had set when it was published; the current one as readers see it, with all."""
    version = open_frames(config.publication, generation=name).manifest.get("settings_version")
    until = None if is_current or version is None else int(version)
    said = SettingsStore(config.settings_path).user_set(until)
    return open_frames(config.publication, generation=name, user_set=user_set_frames(said))


def _asked(compared: Compared, older: FrameSet, newer: FrameSet, zone: ZoneInfo) -> list[Asked]:
    """Metrics over the days that are usual at the older generation, where nobody names others: both know them."""
    if compared.assignments and len(compared.metrics) != 1:
        raise ConfigError(SET_NEEDS_METRIC)
    as_of = instant_of(older.manifest["as_of"]) or datetime.now(UTC)
    asked = []
    for metric in [metric_named(name) for name in compared.metrics] or find_metrics().values():
        params = params_of(metric, compared.assignments)
        check_ids(params, newer)
        is_said = metric.reads_period or bool(compared.metrics)
        days = (compared.period_from, compared.period_to) if is_said else (None, None)
        period = period_of(metric, Question(metric.id, *days), as_of, zone)
        asked.append(Asked(metric, params, period.period_from, period.period_to))
    return asked


def _explained(asked: Sequence[Asked], older: FrameSet, newer: FrameSet, config: Config) -> list[Difference]:
    # Beside the publication: in between, tables are as large as there.
    with reading_folder(config.data_dir) as folder:
        try:
            return differences(asked, older, newer, folder)
        except MISSING_FILE:
            raise ConfigError(GONE_MEANWHILE, known=_listed(generations(config.publication))) from None
        except (pl.exceptions.ColumnNotFoundError, UnknownTableError) as error:
            what = str(error).strip().splitlines()[0]
            raise ConfigError(OTHER_PROGRAM, older=older.generation, newer=newer.generation, what=what) from None


# --- how it is shown -------------------------------------------------------------------------------------------------


def _written(
    found: Sequence[Difference], older: FrameSet, newer: FrameSet, form: TextFormat, *, drilldown: bool
) -> bytes:
    match form:
        case "json":
            return to_json(
                {
                    "older": _generation(older),
                    "newer": _generation(newer),
                    "metrics": [_for_programs(one, newer) for one in found],
                    "warnings": [vars(notice) for notice in (found[0].warnings if found else ())],
                }
            )
        case "csv":
            shown = [(one, labelled(one.rows, newer) if drilldown else one.numbers) for one in found]
            return csv(pl.concat(_of_metric(one, frame) for one, frame in shown))
        case "table":
            return "\n".join([_heading(older, newer), *(_for_people(one, newer) for one in found)]).encode()


def _generation(frames: FrameSet) -> dict[str, Any]:
    return {"generation": frames.generation, "as_of": instant_of(frames.manifest["as_of"])}


def _for_programs(one: Difference, frames: FrameSet) -> dict[str, Any]:
    return {
        "metric_id": one.asked.metric.id,
        "params": one.asked.params.model_dump(mode="json"),
        "from": one.asked.period_from,
        "to": one.asked.period_to,
        "numbers": rows(one.numbers),
        "rows": rows(labelled(one.rows, frames)),
        "facts": rows(one.facts),
    }


def _of_metric(one: Difference, frame: pl.DataFrame) -> pl.DataFrame:
    return frame.select(pl.lit(one.asked.metric.id).alias("metric_id"), pl.all())


def plain(numbers: pl.DataFrame) -> pl.DataFrame:
    """Numbers as people write them, no zeros at their end."""
    names = [name for name, kind in numbers.schema.items() if kind == NUMBER]
    return numbers.with_columns(
        pl.col(name).cast(pl.String).str.strip_chars_end("0").str.strip_chars_end(".") for name in names
    )


def _heading(older: FrameSet, newer: FrameSet) -> str:
    told = [(_("From"), older), (_("To"), newer)]
    return "".join(
        f"{name}: {_('{generation}, as of {at}').format(generation=frames.generation, at=_instant(frames))}\n"
        for name, frames in told
    )


def _instant(frames: FrameSet) -> str:
    return f"{instant_of(frames.manifest['as_of']):%Y-%m-%d %H:%M:%SZ}"


def _for_people(one: Difference, frames: FrameSet) -> str:
    metric = one.asked.metric
    title = f"{metric.id} · {metric.text[language()].name}"
    if metric.reads_period:
        title += f" · {one.asked.period_from} … {one.asked.period_to}"
    if one.numbers.is_empty():
        return f"{title}\n{_('Nothing changed.')}\n"
    used = [part for part in PARTS if one.numbers.select((pl.col(part) != 0).any()).item()]
    shown = {title: plain(one.numbers.drop([part for part in PARTS if part not in used]))}
    if not one.facts.is_empty():
        shown[_("Rows of tables that differ")] = one.facts
    cards = labelled(one.rows.head(FIRST), frames).select("part", "how", "entity_id", "label", "value", "reason", "url")
    if not cards.is_empty():
        shown[_("Rows behind the numbers")] = cards
    more = one.rows.height - cards.height
    text = tables_text(shown, titled=True)
    return text + (_("… {n} more: {how}").format(n=more, how="--drilldown --format csv") + "\n" if more else "")
