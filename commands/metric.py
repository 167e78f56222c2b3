"""`voronka metric`: a metric's answer on the command line, the same that the page shows."""

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError

from app.labels import labelled, user_names, with_names
from app.rights import departments, scoped, viewer_of
from audit import Export, is_personal
from commands.audit import leaving
from commands.output import BINARY, Format, deliver, frames_as, result_json, tables_text
from commands.text import _, language, note, warn
from config import Config, ConfigError, expectation
from metrics.evaluate import evaluate
from metrics.frames import EngineName, FrameSet, instant_of, open_frames
from metrics.metric import Metric, MetricResult, Params, Period, find_metrics
from metrics.user_set import user_set_frames
from settings import SettingsStore

UNKNOWN_METRIC = "There is no metric {got}. Known: {known}."
UNKNOWN_ACCOUNT = "There is no account {got} in the publication. Known: {known}."
UNKNOWN_PARAMETER = "The metric {metric} has no parameter `{got}`. Known: {known}."
UNKNOWN_PARAMETER_NEAR = "The metric {metric} has no parameter `{got}`. Did you mean `{near}`?"
BAD_ASSIGNMENT = "`--set {got}` must look like name=value."
BAD_VALUE = "The parameter `{name}` of {metric} cannot be {got}: {reason}."
BAD_VALUES = "These parameters of {metric} do not fit each other: {reason}."
UNKNOWN_ID = "`{name}`: the publication has no {got}. It has {known}."
UNKNOWN_ID_NEAR = "`{name}`: the publication has no {got}. Did you mean {near}?"
BAD_INSTANT = "`--as-of {got}` must be a day or an instant, such as 2026-11-21 or 2026-11-21T00:00:00+03:00."
LATE_INSTANT = "`--as-of {got}` is later than the publication knows: {known}. Sync first, or ask for an earlier one."
EMPTY_PERIOD = "The period is empty: --from {first} is not before --to {end} (the end is exclusive)."
NO_PERIOD = "{metric} has no period: it tells what is so at one instant. Drop --from and --to, or use --as-of."
UNKNOWN_TABLE = "The metric {metric} has no table {got}. It has {known}."
NO_SPARK = "The spark engine is not installed here. Install the extra: uv sync --extra spark (or voronka[spark])."
ONE_TABLE = "One {format} file holds one table: give either --table or --drilldown."
NO_LOGIN = "Nobody is called {got} in `viewers` of the configuration."


@dataclass(frozen=True)
class Question:
    """What is asked. period_from inclusive, period_to exclusive, both local days; as_of as people write it."""

    metric_id: str
    period_from: date | None = None
    period_to: date | None = None
    as_of: str | None = None
    assignments: Sequence[str] = ()
    accounts: Sequence[str] = ()
    engine: EngineName = "polars"
    viewer: str | None = None


@dataclass(frozen=True)
class Answered:
    """An answer and what of it: the generation it was computed on, the zone its days are of, names by user id."""

    result: MetricResult
    generation: str
    zone: ZoneInfo
    users: dict[str, str]


def answer(question: Question, config: Config) -> Answered:
    """Run the metric on the publication.

    Raises:
        ConfigError: something in the question is wrong. NoPublication: nothing was published yet.
    """
    metric = metric_named(question.metric_id)
    params = params_of(metric, question.assignments)
    frames = _of_accounts(_open(config, question.engine), question.accounts)
    check_ids(params, frames)
    zone = ZoneInfo(frames.manifest["accounts"][0]["tz"] if frames.manifest["accounts"] else config.timezone)
    period = period_of(metric, question, as_of_of(question.as_of, frames, zone), zone)
    viewer = None
    if question.viewer is not None:
        entry = next((one for one in config.viewers if one.login.casefold() == question.viewer.casefold()), None)
        if entry is None:
            raise ConfigError(NO_LOGIN, got=question.viewer)
        check_ids(entry, frames)
        viewer = viewer_of(question.viewer, config.viewers, _members(frames), is_forwarded=False)
        if viewer.user_ids is not None and "population" in metric.params.model_fields:
            params = params.model_copy(update={"population": tuple(sorted(viewer.user_ids))})
    found = evaluate(metric, frames, params, period)
    result = replace(found, drilldown=labelled(found.drilldown, frames))
    seen = result if viewer is None else scoped(result, viewer.user_ids)
    users = user_names(frames["user"].collect("polars").to_native()) if "user" in frames else {}
    return Answered(seen, frames.generation, zone, users)


def metric_named(metric_id: str) -> Metric:
    known = {name.casefold(): metric for name, metric in find_metrics().items()}
    if metric_id.casefold() not in known:
        raise ConfigError(UNKNOWN_METRIC, got=metric_id, known=", ".join(find_metrics()) or "—")
    return known[metric_id.casefold()]


def params_of(metric: Metric, assignments: Iterable[str]) -> Params:
    """Typed parameters from `name=value` pairs; what is not named has the metric's default."""
    values: dict[str, Any] = {}
    fields = metric.params.model_fields
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals or not name:
            raise ConfigError(BAD_ASSIGNMENT, got=assignment)
        if name not in fields:
            near = difflib.get_close_matches(name, fields, n=1)
            template = UNKNOWN_PARAMETER_NEAR if near else UNKNOWN_PARAMETER
            listed = ", ".join(fields) or "—"
            raise ConfigError(template, metric=metric.id, got=name, near="".join(near), known=listed)
        values[name] = _typed(text, fields[name].annotation)
    try:
        return metric.params.model_validate(values)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        reason = expectation(problem)
        if not problem["loc"]:
            raise ConfigError(BAD_VALUES, metric=metric.id, reason=reason) from None
        name = str(problem["loc"][0])
        raise ConfigError(BAD_VALUE, name=name, metric=metric.id, got=repr(values.get(name)), reason=reason) from None


OF_TABLE = {"population": "user", "departments": "department"}
"""Fields that hold ids of a table without its name in theirs."""


def check_ids(chosen: BaseModel, frames: Mapping[str, Any]) -> None:
    """Ids that a parameter or a viewer names are in the publication: a mistyped one would look like "nothing found".

    Raises:
        ConfigError: with the nearest id, also for somebody who wrote a name.
    """
    for field, value in chosen:
        table = OF_TABLE.get(field, field.removesuffix("_id"))
        if table not in frames or not value or field not in (*OF_TABLE, f"{table}_id"):
            continue
        rows = frames[table].collect("polars").to_native()
        names = dict(rows.select(f"{table}_id", "name").sort(f"{table}_id").iter_rows())
        for wanted in [value] if isinstance(value, str) else value:
            if wanted not in names:
                raise _unknown_id(field, wanted, names)


def _unknown_id(field: str, wanted: str, names: Mapping[str, str | None]) -> ConfigError:
    shown = {key: f"{key} ({name})" if name else key for key, name in names.items()}
    words = {word.casefold(): key for key, name in names.items() for word in (name or key, key.partition(":")[2], key)}
    near = difflib.get_close_matches(wanted.casefold(), words, n=3)
    found = list(dict.fromkeys(shown[words[word]] for word in near))
    known = ", ".join([*shown.values()][:MOST_KNOWN]) or "—"
    template = UNKNOWN_ID_NEAR if found else UNKNOWN_ID
    return ConfigError(template, got=wanted, name=field, near=", ".join(found), known=known)


MOST_KNOWN = 10


def _typed(text: str, annotation: Any) -> Any:
    """Text as a value of the field's type; what is no scalar (a list, a mapping) is written as YAML or JSON."""
    with suppress(ValidationError):
        return TypeAdapter(annotation).validate_strings(text)
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def as_of_of(text: str | None, frames: FrameSet, zone: ZoneInfo) -> datetime:
    """The instant of knowledge: as asked (a bare day or time is local), else the publication's."""
    published = instant_of(frames.manifest.get("as_of")) or datetime.now(UTC)
    if text is None:
        return published
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(BAD_INSTANT, got=text) from None
    wanted = (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)
    if wanted > published:
        raise ConfigError(LATE_INSTANT, got=text, known=f"{published:%Y-%m-%dT%H:%M:%SZ}")
    return wanted


def period_of(metric: Metric, question: Question, as_of: datetime, zone: ZoneInfo) -> Period:
    """The asked days; ends nobody named are the metric's defaults, a start so many days before the end that was."""
    if not metric.reads_period and (question.period_from or question.period_to):
        raise ConfigError(NO_PERIOD, metric=metric.id)
    default_from, default_to = metric.default_period(as_of.astimezone(zone))
    end = question.period_to or default_to
    if question.period_to is not None:
        default_from = end - timedelta(days=metric.default_period_d)
    first = question.period_from or default_from
    if first >= end:
        raise ConfigError(EMPTY_PERIOD, first=first, end=end)
    return Period(as_of, first, end)


def tables_of(result: MetricResult, table: str | None) -> dict[str, pl.DataFrame]:
    """All tables of an answer, or the one that was named."""
    if table is None:
        return dict(result.tables)
    if table not in result.tables:
        raise ConfigError(UNKNOWN_TABLE, metric=result.metric_id, got=table, known=", ".join(result.tables))
    return {table: result.tables[table]}


def catalogue() -> list[dict[str, Any]]:
    """What can be asked: id, names, definition, tables' owners, parameters with their defaults."""
    return [
        {
            "id": metric.id,
            "name": {lang: text.name for lang, text in metric.text.items()},
            "definition": {lang: text.definition for lang, text in metric.text.items()},
            "params": metric.params().model_dump(mode="json"),
            "allowed": {name: allowed(field) for name, field in properties(metric).items()},
            "default_period_d": metric.default_period_d,
            "includes_today": metric.includes_today,
            "reads_period": metric.reads_period,
            "resources": list(metric.resources),
            "needs_pii": metric.needs_pii,
        }
        for metric in find_metrics().values()
    ]


def properties(metric: Metric) -> dict[str, dict[str, Any]]:
    """JSON Schema of each parameter."""
    found: dict[str, dict[str, Any]] = metric.params.model_json_schema()["properties"]
    return found


def allowed(field: Mapping[str, Any]) -> str:
    """What a parameter may be, in signs of every language: `any | out`, `≥ 0`, `[…]`."""
    if "anyOf" in field:
        return " | ".join(allowed(one) for one in field["anyOf"])
    if "enum" in field:
        return " | ".join(map(str, field["enum"]))
    bounds = [f"{sign} {field[name]:g}" for name, sign in BOUNDS.items() if name in field]
    return ", ".join(bounds) or KINDS.get(field.get("type", ""), "…")


BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
KINDS = {"boolean": "true | false", "null": "null", "array": "[…]"}


def catalogue_tables() -> dict[str, pl.DataFrame]:
    """The same for people: a table of parameters for each metric."""
    names = [_("parameter"), _("default"), _("may be")]
    return {
        f"{entry['id']} · {entry['name'][language()]}": pl.DataFrame(
            [(name, _json(value), entry["allowed"][name]) for name, value in entry["params"].items()],
            schema=dict.fromkeys(names, pl.String),
            orient="row",
        )
        for entry in catalogue()
    }


def _json(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _open(config: Config, engine: EngineName) -> FrameSet:
    said = user_set_frames(SettingsStore(config.settings_path).user_set())
    try:
        return open_frames(config.publication, engine, user_set=said)
    except ModuleNotFoundError:
        raise ConfigError(NO_SPARK) from None


def _of_accounts(frames: FrameSet, wanted: Sequence[str]) -> FrameSet:
    if not wanted:
        return frames
    known = [account["account_id"] for account in frames.manifest["accounts"]]
    for account_id in wanted:
        if account_id not in known:
            raise ConfigError(UNKNOWN_ACCOUNT, got=account_id, known=", ".join(known) or "—")
    return frames.accounts(wanted)


def _members(frames: Mapping[str, Any]) -> dict[str, set[str]]:
    """Department id → its users, for heads."""
    if not {"department", "user_department"} <= set(frames):
        return {}
    present = frames["user_department"].collect("polars").to_native().filter(pl.col("valid_to").is_null())
    return departments(present, frames["department"].collect("polars").to_native())


def present(
    answered: Answered, config: Config, form: Format, *, table: str | None, drilldown: bool, output: Path | None
) -> None:
    """Write an answer, with the names of users. JSON and XLSX hold all tables; CSV and Parquet the named one, the
    drill-down, or the first. People get the totals first, and of long tables on a screen the first rows."""
    result = _with_users(answered.result, answered.users)
    tables = tables_of(result, table)
    shown = {**tables, DRILLDOWN: result.drilldown} if drilldown else tables
    if form == "json":
        content = result_json(result, generation=answered.generation, tables=tables, with_drilldown=drilldown)
        deliver(content, output, is_text=True, form=form, leaving=leaving(config, export_of(result, shown, form)))
        return
    heading = heading_of(answered)
    if drilldown and form in ("csv", "parquet"):
        if table is not None:
            raise ConfigError(ONE_TABLE, format=form)
        shown = {DRILLDOWN: result.drilldown}
    if form == "table":
        content = _for_people(heading, shown, is_cut=output is None, asked=table)
    elif form == "xlsx":
        content = frames_as({"about": about(answered, heading), **shown}, form)
    else:
        content = frames_as(shown, form)
        note(_lines(heading).rstrip("\n"))
    gone = leaving(config, export_of(result, shown, form))
    deliver(content, output, is_text=form not in BINARY, form=form, leaving=gone)
    warn(result.warnings)


def export_of(result: MetricResult, tables: Mapping[str, pl.DataFrame], form: Format) -> Export:
    """What leaves, for the audit log."""
    held = dict([next(iter(tables.items()))]) if form in ("csv", "parquet") else tables  # one file, one table
    columns = {column for rows in held.values() for column in rows.columns}
    rows = sum(table.height for table in held.values())
    return Export(result.metric_id, form, rows, is_personal(columns), tuple(held))


DRILLDOWN = "drilldown"
TOTALS = ("total", "summary")
"""Tables that answer in a row or a few."""
FIRST = 20
"""Rows of a long table that a screen shows."""


def _with_users(result: MetricResult, names: dict[str, str]) -> MetricResult:
    tables = {name: _with_user(table, names) for name, table in result.tables.items()}
    return replace(result, tables=tables, drilldown=_with_user(result.drilldown, names))


def _with_user(rows: pl.DataFrame, names: dict[str, str]) -> pl.DataFrame:
    """`rows` with the name of their user beside the id."""
    for column in ("user_id", "responsible_user_id"):
        if column in rows.columns and "user_name" not in rows.columns:
            at = rows.columns.index(column) + 1
            return with_names(rows, names, of=column).select(*rows.columns[:at], "user_name", *rows.columns[at:])
    return rows


Said = list[tuple[str, str]]
"""Names and values, for people."""


def heading_of(answered: Answered) -> Said:
    """What the numbers are of: metric, period, instant of knowledge, publication, parameters that are not the usual."""
    result = answered.result
    metric = find_metrics()[result.metric_id]
    last = result.period_to - timedelta(days=1)
    usual = metric.params().model_dump(mode="json")
    own = {name: value for name, value in result.params.model_dump(mode="json").items() if value != usual[name]}
    said = [(_("Metric"), f"{metric.id} · {metric.text[language()].name}")]
    if metric.reads_period:
        said.append((_("Period"), _("{first} to {last}, both included").format(first=result.period_from, last=last)))
    said += [(_("As of"), _local(result.as_of, answered.zone)), (_("Publication"), answered.generation)]
    if own:
        said.append((_("Parameters"), ", ".join(f"{name}={_json(value)}" for name, value in own.items())))
    return said


def about(answered: Answered, heading: Said) -> pl.DataFrame:
    """The first sheet of a workbook: the heading, what the metric means, how complete its data are, its warnings."""
    result, zone = answered.result, answered.zone
    text = find_metrics()[result.metric_id].text[language()]
    said = [*heading, (_("Definition"), text.definition), (_("Formula"), text.formula)]
    for row in result.coverage.iter_rows(named=True):
        since, until = (_local(row[name], zone) for name in ("complete_from", "watermark"))
        told = _("{account}: complete since {since}, read up to {until}")
        said.append((row["resource"], told.format(account=row["account_id"], since=since, until=until)))
    said += [(_("Warning"), notice.ru if language() == "ru" else notice.en) for notice in result.warnings]
    return pl.DataFrame(said, {_("Of the answer"): pl.String, _("Value"): pl.String}, orient="row")


def _local(moment: datetime | None, zone: ZoneInfo) -> str:
    return moment.astimezone(zone).isoformat(" ", "minutes") if moment else "—"


def _lines(said: Said) -> str:
    return "".join(f"{name}: {value}\n" for name, value in said)


def _for_people(heading: Said, tables: Mapping[str, pl.DataFrame], *, is_cut: bool, asked: str | None) -> bytes:
    parts = [_lines(heading)]
    for name in sorted(tables, key=lambda name: name not in TOTALS):
        whole = tables[name]
        rows = whole.head(FIRST) if is_cut and name != asked else whole
        parts.append(tables_text({name: rows}, titled=True))
        if rows.height < whole.height:
            how = "--drilldown --format csv" if name == DRILLDOWN else f"--table {name}"
            parts[-1] += _("… {n} more: {how}").format(n=whole.height - rows.height, how=how) + "\n"
    return "\n".join(parts).encode()
