"""What the operator writes: `config.yaml` as a typed, frozen object. No secrets, only names of environment variables.

This module owns the file: where it is looked for, what may stand in it, and the sentence about what is wrong with it
(the key, its line, the nearest known key). It knows no connector: entries of `accounts` are checked by the model the
caller gives for their `connector`.
"""

import difflib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from zoneinfo import ZoneInfo, available_timezones

import yaml
from apscheduler.triggers.cron import CronTrigger
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    StringConstraints,
    ValidationError,
    field_validator,
)

from connectors.errors import Phrase
from connectors.records import RECORDS
from metrics.calendar import Calendar
from metrics.marts import DEFAULT_CALENDAR, MartParams

DEFAULT_PATH = "config.yaml"
PATH_VARIABLE = "VORONKA_CONFIG"

Model = TypeVar("Model", bound=BaseModel)
Location = tuple[str | int, ...]
"""Where in the file: `("accounts", 0, "token_env")`."""


class ConfigError(Exception):
    """A person has to change the configuration. `template` and `fields` let the command line say it in Russian too.

    key: where, as `accounts[0].token_env` ("" for the whole file). line: 1-based, None where unknown.
    """

    def __init__(self, template: str, *, key: str = "", line: int | None = None, **fields: object) -> None:
        self.template, self.key, self.line = template, key, line
        self.fields = {"key": key, "line": line, **fields}
        super().__init__(template.format(**self.fields))


# What is wrong, as templates; each is an entry of the Russian catalogue as well.
MISSING_FILE = "There is no configuration file {file}. Make one with `voronka init`, or name another with --config."
UNREADABLE = "The configuration {file} cannot be read: {reason}."
BAD_YAML = "{file}, line {line}: this is not YAML ({reason}). Check the indentation and the quotes there."
NOT_A_MAPPING = "{file}: the file must be a list of `key: value` lines. See config.example.yaml."
TWICE = "{file}, line {line}: the key `{key}` stands here for the second time. Keep one of them."
UNKNOWN = "{file}, line {line}: unknown key `{key}`. Known here: {known}."
UNKNOWN_NEAR = "{file}, line {line}: unknown key `{key}`. Did you mean `{near}`?"
REQUIRED = "{file}, line {line}: the key `{key}` is missing. Add it."
WRONG = "{file}, line {line}: `{key}` is {got}, but {expected}."
TOGETHER = "{file}, line {line}: `{key}`: {expected}."
UNKNOWN_CONNECTOR = "{file}, line {line}: `{key}` is {got}, but there is no such connector. Known: {known}."
SAME_ID = "{file}, line {line}: another account is called {got} already. Give each account an id of its own."
UNKNOWN_FEEDS = "{file}, line {line}: `{key}` is {got}, but no account has this id. Known: {known}."
WRONG_FEEDS = "{file}, line {line}: `{key}` is {got}, but it must name another account, one that feeds nobody."

NO_ACCOUNT = "There is no account {got} in the configuration. Known: {known}."

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_SPAN = r"([01]\d|2[0-3]):[0-5]\d-(?:([01]\d|2[0-3]):[0-5]\d|24:00)"


def _zone(name: str) -> str:
    if name not in available_timezones():
        raise ValueError("it must be a time zone such as Europe/Moscow")
    return ZoneInfo(name).key


def _cron(text: str) -> str:
    try:
        cron_trigger(text, "UTC")
    except ValueError:
        raise ValueError('it must be five fields of cron, such as "0 3 * * *"') from None
    return text


def cron_trigger(text: str, timezone: str) -> CronTrigger:
    """The instants a cron string names, in a time zone.

    Days of the week count as in cron, from Sunday = 0; APScheduler's own reading counts from Monday.

    Raises:
        ValueError: not five fields of cron.
    """
    fields = text.split()
    if len(fields) != 5:
        raise ValueError("five fields are needed")
    minute, hour, day, month, weekday = fields
    return CronTrigger(
        minute=minute, hour=hour, day=day, month=month, day_of_week=_cron_weekdays(weekday), timezone=timezone
    )


def _cron_weekdays(text: str) -> str:
    """`1-5` → `mon,tue,wed,thu,fri`; names, `*` and their steps stay."""
    if not any(character.isdigit() for character in text.partition("/")[0]):
        return text
    days: list[str] = []
    for item in text.split(","):
        span, _, step = item.partition("/")
        first, _, last = span.partition("-")
        if not (first.isdigit() and (last or first).isdigit() and (step or "1").isdigit()) or int(last or first) > 7:
            raise ValueError("days of the week are 0 to 7")
        days += [WEEKDAYS[(number - 1) % 7] for number in range(int(first), int(last or first) + 1, int(step or 1))]
    return ",".join(days)


def _hours(text: str) -> str:
    spans = [span.strip() for span in text.split(",")] if text.strip() != "off" else []
    bounds = [bound for span in spans for bound in span.split("-")]
    if not all(re.fullmatch(_SPAN, span) for span in spans) or len(spans) > 2 or bounds != sorted(set(bounds)):
        raise ValueError('it must be working hours such as "09:00-18:00", "09:00-13:00, 14:00-18:00" or "off"')
    return text


def _weekdays(text: str) -> str:
    first, _, last = text.partition("-")
    if first not in WEEKDAYS or (last or first) not in WEEKDAYS:
        raise ValueError("it must be a day or a span of days of the week, such as sat or mon-fri")
    return text


def _account_id(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,31}", text):
        raise ValueError("it must be 1 to 32 small Latin letters, digits, - or _")
    return text


Zone = Annotated[str, AfterValidator(_zone)]
Cron = Annotated[str, AfterValidator(_cron)]
Hours = Annotated[str, AfterValidator(_hours)]
Weekdays = Annotated[str, AfterValidator(_weekdays)]
AccountId = Annotated[str, AfterValidator(_account_id)]
Role = Literal["owner", "head", "analyst", "manager"]


class Section(BaseModel):
    """A part of the file: frozen, and without room for keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Span = Annotated[str, StringConstraints(pattern=f"^{_SPAN}$")]


class CalendarConfig(Calendar):
    """Working time. `hours` by days of the week, at most two spans a day; `lunch` is taken out of every working day.

    country: whose public holidays are days off (ISO 3166), null for none. exceptions: days with hours of their own.
    """

    hours: dict[Weekdays, Hours] = Field(default_factory=lambda: {"mon-fri": "09:00-18:00"})
    lunch: Span | None = None
    exceptions: dict[date, Hours] = Field(default_factory=dict)
    timezone: Zone | None = None


class AccountConfig(BaseModel):
    """An entry of `accounts` as far as everyone understands it; the connector's own keys are kept as they are."""

    model_config = ConfigDict(frozen=True, extra="allow")

    id: AccountId
    connector: str
    timezone: Zone | None = None
    calendar: CalendarConfig | None = None
    currency: str | None = Field(default=None, pattern="^[A-Z]{3}$")
    feeds: str | None = None


class ScheduleConfig(Section):
    """When the scheduler works, as cron strings in the global time zone."""

    sync: Cron = "0 3 * * *"


class SyncConfig(Section):
    """How the sync reads. overlap_s: how far before the watermark a later reading starts, seconds.

    windows_in_parallel: of each account; they wait for the source together, its pace stays what it is.
    """

    overlap_s: int = Field(default=600, ge=0)
    windows_in_parallel: int = Field(default=8, ge=1, le=32)


Days = int | Literal["keep"]
LOGS: dict[str, Days] = {"sync_run": 400, "audit": 1095}
"""Tables that nothing is counted from, and how many days their rows stay."""


def _table(name: str) -> str:
    if name not in LOGS and name not in RECORDS:
        raise ValueError("it must be the name of a table, such as sync_run, audit or call")
    return name


def _days(value: Any) -> Days:
    if value == "keep" or (type(value) is int and value > 0):
        kept: Days = value
        return kept
    raise ValueError("it must be a number of days, or keep")


def _kept(tables: dict[str, Days]) -> dict[str, Days]:
    if any(days != "keep" for name, days in tables.items() if name not in LOGS):
        raise ValueError(
            "only sync_run and audit can be cut: numbers are counted from the rows of all others, so these are keep"
        )
    return {**LOGS, **tables}


class RetentionConfig(Section):
    """How many old publications stay besides the newest three: the last of each day, the last of each month.

    raw_versions_days: how long versions of objects that others have taken the place of stay after they were last read,
    for `voronka remap`; the newest of each object always does. 0: for ever.
    tables: how many days rows of a table stay, or keep. Only logs can be cut.
    """

    daily_generations: int = Field(default=7, ge=0)
    monthly_generations: int = Field(default=12, ge=0)
    raw_versions_days: int = Field(default=400, ge=0)
    tables: Annotated[
        dict[Annotated[str, AfterValidator(_table)], Annotated[Days, PlainValidator(_days)]], AfterValidator(_kept)
    ] = LOGS

    def since(self, table: str, now: datetime) -> datetime | None:
        """From when on rows of a log stay; None: all do. Runs stay as long as versions that were read in them: how old
        those are is known by nothing else."""
        days = self.tables[table]
        if days == "keep" or (table == "sync_run" and self.raw_versions_days == 0):
            return None
        return now - timedelta(days=max(days, self.raw_versions_days) if table == "sync_run" else days)


class ViewerConfig(Section):
    """Who may see what. user_id: the person in the CRM (`user:1`); departments: of a head (`department:1`)."""

    login: str = Field(min_length=1)
    role: Role
    user_id: str | None = None
    departments: tuple[str, ...] = ()


class Config(Section):
    """The whole file. `data_dir` is absolute after loading (a relative one is meant from the file's folder)."""

    data_dir: Path = Path("data")
    timezone: Zone = "Europe/Moscow"
    calendar: CalendarConfig = CalendarConfig()
    accounts: tuple[Any, ...] = ()
    schedule: ScheduleConfig = ScheduleConfig()
    sync: SyncConfig = SyncConfig()
    marts: MartParams = MartParams()
    retention: RetentionConfig = RetentionConfig()
    viewers: tuple[ViewerConfig, ...] = ()

    @field_validator("marts")
    @classmethod
    def _calendars_stand_apart(cls, marts: MartParams) -> MartParams:
        if "calendars" in marts.model_fields_set:
            raise ValueError("working hours belong into `calendar`")
        return marts

    @property
    def warehouse_path(self) -> Path:
        return self.data_dir / "warehouse.duckdb"

    @property
    def publication(self) -> Path:
        return self.data_dir / "publication"

    @property
    def status_path(self) -> Path:
        return self.data_dir / "status.json"

    @property
    def settings_path(self) -> Path:
        return self.data_dir / "app.sqlite"

    def account(self, account_id: str) -> Any:
        """The entry with that id; ConfigError with the nearest one when there is none."""
        for entry in self.accounts:
            if entry.id == account_id:
                return entry
        known = ", ".join(entry.id for entry in self.accounts) or "—"
        raise ConfigError(NO_ACCOUNT, got=account_id, known=known)

    def own_calendar_of(self, account_id: str) -> CalendarConfig | None:
        """The account's own calendar; None where the global one holds."""
        own = self.account(account_id).calendar
        return None if own is None else CalendarConfig.model_validate(own)

    def timezone_of(self, account_id: str) -> str | None:
        """What the file says of an account's zone; None where the source's word counts."""
        own: str | None = self.account(account_id).timezone
        return own or (self.timezone if "timezone" in self.model_fields_set else None)

    def mart_params(self) -> MartParams:
        """Parameters of the derived tables, with the calendars: the global one, and those of accounts by their ids."""
        own = {entry.id: self.own_calendar_of(entry.id) for entry in self.accounts}
        calendars = {name: calendar for name, calendar in own.items() if calendar is not None}
        return self.marts.model_copy(update={"calendars": {DEFAULT_CALENDAR: self.calendar, **calendars}})


def config_path(given: str | Path | None, env: Mapping[str, str] = os.environ) -> Path:
    """The file to read: as given, else by the environment variable, else `config.yaml` here."""
    return Path(given or env.get(PATH_VARIABLE) or DEFAULT_PATH)


def load_config(
    path: str | Path | None = None,
    settings_of: Mapping[str, type[BaseModel]] | None = None,
    *,
    env: Mapping[str, str] = os.environ,
) -> Config:
    """Read and check the file.

    settings_of: connector name → model of its `accounts` entries. Without it (readers that need no connector) entries
    are `AccountConfig` and their own keys are not checked.

    Raises:
        ConfigError: no file, not YAML, unknown key, wrong value. Names the first thing that is wrong.
    """
    file = config_path(path, env)
    values, lines = _read(file)
    config = _checked(Config, values, lines, file)
    entries = tuple(_account(values["accounts"][n], n, settings_of, lines, file) for n in range(len(config.accounts)))
    _check_ids(entries, lines, file)
    data_dir = (file.absolute().parent / config.data_dir.expanduser()).resolve()
    return config.model_copy(update={"accounts": entries, "data_dir": data_dir})


def _read(file: Path) -> tuple[dict[str, Any], dict[Location, int]]:
    """The file's values, and the line of every key and item."""
    try:
        root = yaml.compose(file.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except FileNotFoundError:
        raise ConfigError(MISSING_FILE, file=file) from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(UNREADABLE, file=file, reason=reason) from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(BAD_YAML, file=file, line=line, reason=error.problem) from None
    except yaml.YAMLError as error:
        raise ConfigError(UNREADABLE, file=file, reason=str(error).splitlines()[0]) from None
    if root is None:
        return {}, {(): 1}
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError(NOT_A_MAPPING, file=file)
    lines = dict(_lines(root, (), file))
    return yaml.SafeLoader("").construct_document(root), lines  # built from the nodes: the file is parsed once


def _lines(node: yaml.Node, at: Location, file: Path) -> Iterator[tuple[Location, int]]:
    yield at, node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            here = (*at, str(key.value))
            line = key.start_mark.line + 1
            if here in seen:
                raise ConfigError(TWICE, file=file, line=line, key=dotted(here))
            seen.add(here)
            yield from _lines(value, here, file)
            yield here, line  # after the value's own: the key's line is what people look for
    elif isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            yield from _lines(item, (*at, number), file)


def _account(
    entry: Any, number: int, settings_of: Mapping[str, type[BaseModel]] | None, lines: dict[Location, int], file: Path
) -> Any:
    """One entry of `accounts`, checked by the connector's model where there is one."""
    at: Location = ("accounts", number)
    common = _checked(AccountConfig, entry, lines, file, at)
    if settings_of is None:
        return common
    if common.connector not in settings_of:
        where = (*at, "connector")
        known = ", ".join(sorted(settings_of)) or "—"
        raise _error(UNKNOWN_CONNECTOR, where, lines, file, got=repr(common.connector), known=known)
    return _checked(settings_of[common.connector], entry, lines, file, at)


def _check_ids(entries: Sequence[Any], lines: dict[Location, int], file: Path) -> None:
    ids = [entry.id for entry in entries]
    whole = [entry.id for entry in entries if entry.feeds is None]
    for number, entry in enumerate(entries):
        if entry.id in ids[:number]:
            raise _error(SAME_ID, ("accounts", number, "id"), lines, file, got=repr(entry.id))
        if entry.feeds is not None and entry.feeds not in ids:
            where = ("accounts", number, "feeds")
            raise _error(UNKNOWN_FEEDS, where, lines, file, got=repr(entry.feeds), known=", ".join(ids))
        if entry.feeds is not None and entry.feeds not in whole:
            raise _error(WRONG_FEEDS, ("accounts", number, "feeds"), lines, file, got=repr(entry.feeds))


def _checked(model: type[Model], values: Any, lines: dict[Location, int], file: Path, at: Location = ()) -> Model:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        # A typing mistake in a key often shows twice, as unknown and as missing: the unknown one says more.
        problems = sorted(error.errors(include_url=False), key=lambda problem: problem["type"] != "extra_forbidden")
        raise _told(model, problems[0], lines, file, at) from None


def _told(model: type[BaseModel], problem: Any, lines: dict[Location, int], file: Path, at: Location) -> ConfigError:
    """A pydantic problem as a sentence with the key, its line and what to write instead."""
    inner = tuple(part for part in problem["loc"] if part != "[key]")
    where = (*at, *inner)
    if problem["type"] == "missing":
        return _error(REQUIRED, where, lines, file)
    if problem["type"] == "extra_forbidden":
        known = sorted(_known_keys(model, inner[:-1]))
        near = difflib.get_close_matches(str(inner[-1]), known, n=1)
        if near:
            return _error(UNKNOWN_NEAR, where, lines, file, near=near[0])
        return _error(UNKNOWN, where, lines, file, known=", ".join(known))
    expected = expectation(problem)
    if problem["type"] == "value_error" and isinstance(problem["input"], dict):  # keys that do not fit each other
        return _error(TOGETHER, where, lines, file, expected=expected)
    return _error(WRONG, where, lines, file, got=_shown(problem["input"]), expected=expected)


def expectation(problem: Any) -> Phrase:
    """What should stand in the place of a pydantic problem."""
    context = problem.get("ctx", {})
    if problem["type"] == "value_error":
        return Phrase(str(context["error"]).replace("{", "{{").replace("}", "}}"))
    if problem["type"] == "literal_error":
        context = {"expected": context["expected"].replace(" or ", ", ")}
    return Phrase(EXPECTED.get(problem["type"], "{msg}"), msg=problem["msg"], **context)


EXPECTED = {
    "string_type": "it must be text",
    "int_type": "it must be a whole number",
    "int_parsing": "it must be a whole number",
    "int_from_float": "it must be a whole number",
    "float_type": "it must be a number",
    "float_parsing": "it must be a number",
    "bool_type": "it must be true or false",
    "bool_parsing": "it must be true or false",
    "model_type": "it must be a group of `key: value` lines",
    "dict_type": "it must be a group of `key: value` lines",
    "tuple_type": "it must be a list",
    "list_type": "it must be a list",
    "path_type": "it must be a folder",
    "literal_error": "it must be one of {expected}",
    "greater_than_equal": "it must be at least {ge}",
    "greater_than": "it must be more than {gt}",
    "less_than_equal": "it must be at most {le}",
    "less_than": "it must be less than {lt}",
    "finite_number": "it must be a number",
    "string_pattern_mismatch": "it must fit the pattern {pattern}",
    "string_too_short": "it must not be empty",
}


def _error(template: str, where: Location, lines: dict[Location, int], file: Path, **fields: object) -> ConfigError:
    return ConfigError(template, key=dotted(where), line=_line(where, lines), file=file, **fields)


def _line(where: Location, lines: dict[Location, int]) -> int:
    """The line of that place, or of the nearest thing around it that is in the file."""
    while where not in lines:
        where = where[:-1]
    return lines[where]


def _known_keys(model: type[BaseModel], inner: Location) -> set[str]:
    """Keys allowed at a place inside `model`."""
    for part in inner:
        if isinstance(part, int):
            continue
        model = _section_of(model.model_fields[part].annotation) or model
    return set(model.model_fields)


def _section_of(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = (_section_of(part) for part in getattr(annotation, "__args__", ()))
    return next((model for model in inner if model is not None), None)


def _shown(value: Any) -> Phrase:
    """A value short enough for a sentence. What looks like a secret pasted into the file is not repeated."""
    if value is None:
        return Phrase(EMPTY)
    if isinstance(value, str) and len(value) > 40:
        return Phrase(LONG_TEXT, n=len(value))
    if isinstance(value, dict):
        return Phrase(GROUP_OF_KEYS)
    return Phrase(LIST) if isinstance(value, list) else Phrase("{value}", value=repr(value))


EMPTY, LIST, GROUP_OF_KEYS, LONG_TEXT = "empty", "a list", "a group of keys", "a text of {n} characters"


def dotted(where: Location) -> str:
    """`("accounts", 0, "id")` → `accounts[0].id`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in where)
    return text.removeprefix(".")
