"""The one gateway: pages ask here for the publication, for answers of metrics, and for names.

What is cached, and by what: open frames by (folder, generation, settings version); an answer, complete and with its
labels, by the same and the parameters; what a viewer may not see is cut after the cache. A page takes the publication
once (`current`) and asks with it, so that one screen never mixes two generations.
"""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import streamlit as st

from app import labels
from app.rights import LOCAL_OWNER, Viewer, departments, scoped
from config import Config, config_path, load_config
from metrics.evaluate import evaluate
from metrics.frames import FrameSet, NoPublication, open_frames
from metrics.links import with_urls
from metrics.metric import Metric, MetricResult, Params, Period, find_metrics
from metrics.user_set import user_set_frames
from settings import SettingsStore

DATA_DIR_VARIABLE = "VORONKA_DATA_DIR"
STALE_AFTER = timedelta(hours=36)
"""A nightly sync makes data at most a day and some hours old; older ones need a look.

The publish calls accounts stale by the same age; the dashboard may not import it, so a test holds the two equal."""


class BrokenPublication(Exception):  # noqa: N818 — a state the page speaks of
    """Something is published but cannot be read."""


class MissingMetric(Exception):  # noqa: N818 — likewise
    """A page asks for a metric that is not part of this installation. `args[0]` is its id."""


@dataclass(frozen=True)
class Publication:
    """One generation, as its manifest describes it."""

    folder: Path
    manifest: Mapping[str, Any]

    @property
    def generation(self) -> str:
        return str(self.manifest["generation"])

    @cached_property
    def as_of(self) -> datetime:
        """The instant of knowledge, UTC."""
        return instant(self.manifest["as_of"])

    @property
    def accounts(self) -> list[dict[str, Any]]:
        return list(self.manifest["accounts"])

    @cached_property
    def zone(self) -> ZoneInfo:
        """The time zone pages speak in: the first account's."""
        return ZoneInfo(self.accounts[0]["tz"] if self.accounts else "UTC")

    @cached_property
    def now(self) -> datetime:
        """`as_of` as pages tell it."""
        return self.as_of.astimezone(self.zone)

    @property
    def today(self) -> date:
        """The local day of `as_of`: periods of complete days end before it."""
        return self.now.date()

    @property
    def currency(self) -> str:
        return str(self.accounts[0].get("base_currency") or "RUB") if self.accounts else "RUB"

    def complete_from(self, resource: str) -> date | None:
        """Since which local day a resource is complete in every account; None where nobody knows."""
        rows = [row for row in self.manifest.get("coverage", ()) if row["resource"] == resource]
        known = [instant(row["complete_from"]) for row in rows if row.get("complete_from")]
        return max(known).astimezone(self.zone).date() if known else None


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def now() -> datetime:
    """The wall clock, for the age of data only; tests replace it."""
    return datetime.now(UTC)


def config() -> Config:
    """The configuration, or its defaults where the app was started with a data folder alone. Raises ConfigError."""
    folder = os.environ.get(DATA_DIR_VARIABLE)
    file = config_path(None)
    if file.exists():
        loaded = _config(file.absolute(), file.stat().st_mtime_ns)
    elif folder:
        loaded = Config()
    else:
        loaded = load_config()  # says what is missing and what to do
    return loaded.model_copy(update={"data_dir": Path(folder).resolve()}) if folder else loaded


@st.cache_resource(max_entries=2, show_spinner=False)
def _config(file: Path, changed_ns: int) -> Config:
    """Parsed once per change of the file."""
    del changed_ns
    return load_config(file)


def current() -> Publication | None:
    """What the pointer names now; None before the first publication. Raises BrokenPublication, ConfigError."""
    folder = config().publication
    try:
        generation = (folder / "current").read_text("utf-8").strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BrokenPublication(str(error)) from error
    return _publication(folder, generation)


@st.cache_resource(max_entries=8, show_spinner=False)
def _publication(folder: Path, generation: str) -> Publication:
    try:
        manifest = json.loads((folder / generation / "manifest.json").read_text("utf-8"))
        files = [file["name"] for table in manifest["tables"].values() for file in table["files"]]
        found = Publication(folder, manifest)
        _ = found.as_of, found.zone
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BrokenPublication(f"{generation}: {error}") from error
    if missing := [name for name in files if not (folder / generation / name).exists()]:
        raise BrokenPublication(f"{generation}: {missing[0]}")
    return found


def status() -> dict[str, Any] | None:
    """What the last sync wrote about itself; None when there was none or its note cannot be read."""
    try:
        found: dict[str, Any] = json.loads(config().status_path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return found


def settings_store() -> SettingsStore:
    return SettingsStore(config().settings_path)


def metric(metric_id: str) -> Metric:
    """Raises MissingMetric: a page must say so, not look as if there were nothing to show."""
    try:
        return find_metrics()[metric_id]
    except KeyError:
        raise MissingMetric(metric_id) from None


@dataclass(frozen=True)
class Answer:
    """A result and how it was asked."""

    metric: Metric
    result: MetricResult

    def table(self, name: str) -> pl.DataFrame:
        return self.result.tables[name]

    @property
    def is_covered(self) -> bool:
        """Whether everything the metric needs is synced for the period: else its empty tables do not mean zero."""
        return not self._warns_of("no_data", "after_data")

    @property
    def is_complete(self) -> bool:
        """Whether that holds for every account and all of the period.

        Else nothing found is no reason to rest, and counts are too small to be compared with.
        """
        return self.is_covered and not self._warns_of("unread_account", "before_complete", "ends_after_data")

    def _warns_of(self, *codes: str) -> bool:
        return any(notice.code in codes for notice in self.result.warnings)


def run(
    publication: Publication,
    viewer: Viewer,
    metric_id: str,
    params: Mapping[str, Any] | None = None,
    *,
    period: tuple[date, date] | None = None,
    as_of: datetime | None = None,
    users: frozenset[str] | None = None,
) -> Answer:
    """A metric's answer as this viewer may see it.

    Args:
        params: values that differ from the metric's defaults.
        period: local days, the end exclusive; None: the metric's own default before the publication's day.
        as_of: the instant of knowledge, if an earlier one than the publication's.
        users: only about these users (the page's filter), within the viewer's rights.
    """
    found = metric(metric_id)
    seen = _within(viewer.user_ids, users)
    values = dict(params or {})
    if seen is not None and "population" in found.params.model_fields:
        values["population"] = tuple(sorted(seen))
    first, end = period or default_period(publication, found)
    chosen = found.params.model_validate(values)
    result = _complete(
        str(publication.folder),
        publication.generation,
        settings_version(),
        metric_id=metric_id,
        params=chosen.model_dump_json(),
        first=first,
        end=end,
        as_of=as_of or publication.as_of,
    )
    return Answer(found, scoped(result, seen))


def _within(allowed: frozenset[str] | None, wanted: frozenset[str] | None) -> frozenset[str] | None:
    if allowed is None or wanted is None:
        return wanted if allowed is None else allowed
    return allowed & wanted


def default_period(publication: Publication, found: Metric) -> tuple[date, date]:
    return found.default_period(publication.now)


def before(publication: Publication, period: tuple[date, date]) -> tuple[tuple[date, date], datetime]:
    """As many days right before `period`, and the instant that lies after them as `as_of` lies after the period.

    Known later, those days would have had longer to be put right, and every period would look worse than the last.
    """
    first, end = period
    length = end - first
    return (first - length, first), (publication.as_of.astimezone(publication.zone) - length).astimezone(UTC)


def settings_version() -> int:
    return settings_store().version()


@st.cache_resource(max_entries=300, show_spinner=False)
def _complete(
    folder: str, generation: str, version: int, *, metric_id: str, params: str, first: date, end: date, as_of: datetime
) -> MetricResult:
    """The answer about everybody, labelled. Never shown as it is: `run` cuts it to the viewer."""
    frames = _frames(folder, generation, version)
    found = metric(metric_id)
    chosen: Params = found.params.model_validate_json(params)
    result = evaluate(found, frames, chosen, Period(as_of, first, end))
    cards = {name: with_cards(table, frames) for name, table in result.tables.items() if "client_id" in table.columns}
    return replace(result, tables=result.tables | cards, drilldown=labels.labelled(result.drilldown, frames))


def with_cards(rows: pl.DataFrame, frames: FrameSet) -> pl.DataFrame:
    """A table of clients as a list shows it: with entity_id (unless it has one), `label`, `phone` and `url`."""
    own = {} if "entity_id" in rows.columns else {"entity_id": pl.col("client_id")}
    named = labels.labelled(rows.with_columns(label=pl.lit(None, pl.String), **own), frames)
    return with_urls(named.with_columns(labels.phones(named, frames)), frames.manifest["accounts"])


@st.cache_resource(max_entries=3, show_spinner=False)
def _frames(folder: str, generation: str, version: int) -> FrameSet:
    try:
        said = user_set_frames(settings_store().user_set())
        return open_frames(Path(folder), generation=generation, user_set=said)
    except NoPublication as error:
        raise BrokenPublication(generation) from error


@st.cache_resource(max_entries=16, show_spinner=False)
def _dimension(folder: str, generation: str, version: int, table: str) -> pl.DataFrame:
    native: pl.DataFrame = _frames(folder, generation, version)[table].collect("polars").to_native()
    return native


def dimension(publication: Publication, table: str) -> pl.DataFrame:
    """A small published table whole: users, pipelines, stages, departments. Empty where it is not published."""
    if table not in publication.manifest["tables"]:
        return pl.DataFrame()
    return _dimension(str(publication.folder), publication.generation, settings_version(), table)


def user_names(publication: Publication) -> dict[str, str]:
    """User id → name, unique: namesakes get their number. Robots included: they own rows too."""
    return labels.user_names(dimension(publication, "user"))


def people(publication: Publication) -> dict[str, str]:
    """The same without robots: whom a filter offers."""
    users = dimension(publication, "user")
    return labels.user_names(users if users.is_empty() else users.filter(~pl.col("is_robot").fill_null(False)))


def account_names(publication: Publication) -> dict[str, str]:
    """Account id → what the company calls itself in the CRM; else its address there, else our own short name."""
    table = dimension(publication, "account")
    named = {} if table.is_empty() else dict(table.select("account_id", "name").iter_rows())
    return {
        account["account_id"]: named.get(account["account_id"])
        or str(account.get("base_url") or account["account_id"]).split("://")[-1].rstrip("/")
        for account in publication.accounts
    }


def department_members(publication: Publication) -> dict[str, set[str]]:
    memberships, tree = dimension(publication, "user_department"), dimension(publication, "department")
    if memberships.is_empty() or tree.is_empty():
        return {}
    return departments(memberships.filter(pl.col("valid_to").is_null()), tree)


def age(publication: Publication) -> timedelta:
    """How old the data are now."""
    return max(now() - publication.as_of, timedelta(0))


def warm_up(publication: Publication, metric_ids: Iterable[str], *, compared: Iterable[str]) -> None:
    """Compute what pages will ask of these metrics; of those `compared` also about the days before."""
    for metric_id in metric_ids:
        run(publication, LOCAL_OWNER, metric_id)
    for metric_id in compared:
        earlier, then = before(publication, default_period(publication, metric(metric_id)))
        run(publication, LOCAL_OWNER, metric_id, period=earlier, as_of=then)
