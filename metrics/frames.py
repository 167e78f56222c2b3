"""Opens a publication as lazy frames of one engine: the only module of `metrics` that tells the engines apart.

A `FrameSet` is what a metric's *reduce* gets: published tables by name, each a Narwhals lazy frame, with the columns
people set joined on (`USER_SET`) and, once a period is known, the table `clock`. Nothing is read before a collect.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any, Literal, Protocol
from zoneinfo import ZoneInfo

import duckdb
import narwhals.stable.v2 as nw
import polars as pl

from metrics import marts
from metrics.metric import Period
from metrics.user_set import USER_SET

EngineName = Literal["polars", "duckdb", "spark"]
Lazy = nw.LazyFrame[Any]

CLOCK: dict[str, pl.DataType] = {
    "account_id": pl.String(),
    "tz": pl.String(),
    "calendar_id": pl.String(),
    "as_of_at": pl.Datetime("us", "UTC"),
    "as_of_local": pl.Datetime("us"),
    "as_of_epoch": pl.Int64(),
    "as_of_on": pl.Date(),
    "period_from": pl.Date(),
    "period_to": pl.Date(),
    "from_epoch": pl.Int64(),
    "to_epoch": pl.Int64(),
}
"""One row per account: its own now, and the period's ends as local midnights. Joined on `account_id`, so that no metric
converts time zones."""


class NoPublication(Exception):  # noqa: N818 — it is an answer, not a fault
    """There is nothing to read yet. The text is a sentence for people; pages and the command line show it as it is."""

    def __init__(self, where: Path) -> None:
        super().__init__(f"Nothing has been published in {where} yet: run `voronka sync` first.")
        self.where = where


class DamagedPublication(NoPublication):
    """The pointer names a generation whose files are not there."""

    def __init__(self, where: Path, generation: str) -> None:
        Exception.__init__(
            self, f"Files of {where / generation} are missing: run `voronka publish` to write them anew."
        )
        self.where = where


class UnknownTableError(KeyError):
    """A metric asked for a table that is not published."""


MISSING_FILE: tuple[type[Exception], ...] = (FileNotFoundError, duckdb.IOException)
"""What a collect raises when the generation was cleared away under a reader: `reopened()` and run whole again."""


class Engine(Protocol):
    """Where frames live."""

    name: EngineName

    def scan(self, files: Sequence[Path]) -> Lazy:
        """One table from its Parquet files."""

    def inject(self, frame: pl.DataFrame) -> Lazy:
        """A small Polars frame as a lazy frame of this engine."""


class PolarsEngine:
    name: EngineName = "polars"

    def scan(self, files: Sequence[Path]) -> Lazy:
        return nw.from_native(pl.scan_parquet(list(files), cache=False))

    def inject(self, frame: pl.DataFrame) -> Lazy:
        return nw.from_native(frame.lazy())


class DuckDbEngine:
    """An in-memory DuckDB that reads Parquet and spills into a private folder."""

    name: EngineName = "duckdb"

    def __init__(self, memory_limit: str | None = None) -> None:
        self._spill = tempfile.TemporaryDirectory(prefix="voronka-duckdb-")
        settings: dict[str, str | bool | int | float | list[str]] = {
            "temp_directory": self._spill.name,
            "preserve_insertion_order": "false",
        }
        if limit := memory_limit or os.environ.get("VORONKA_MEMORY_LIMIT"):
            settings["memory_limit"] = limit
        self._connection = duckdb.connect(":memory:", config=settings)
        self._connection.execute("SET TimeZone = 'UTC'")  # else the zone is Etc/UTC, which Polars holds to be another

    def scan(self, files: Sequence[Path]) -> Lazy:
        return nw.from_native(self._connection.read_parquet([str(file) for file in files]))

    def inject(self, frame: pl.DataFrame) -> Lazy:
        return nw.from_native(self._connection.from_arrow(frame.to_arrow()))


class SparkEngine:
    """A Spark Connect server (Apache Spark, Databricks, Sail); its address is in SPARK_REMOTE.

    The server opens the files itself, so it has to see the publication under the same path.
    """

    name: EngineName = "spark"

    def __init__(self, remote: str | None = None) -> None:
        from pyspark.sql import SparkSession

        address = remote or os.environ.get("SPARK_REMOTE")
        if not address:
            raise ValueError(
                "The spark engine needs SPARK_REMOTE, the address of a Spark Connect server (sc://host:15002)."
            )
        self._session = SparkSession.builder.remote(address).getOrCreate()
        self._session.conf.set("spark.sql.session.timeZone", "UTC")

    def scan(self, files: Sequence[Path]) -> Lazy:
        table: Lazy = nw.from_native(self._session.read.parquet(*[str(file) for file in files]))
        return table

    def inject(self, frame: pl.DataFrame) -> Lazy:
        from pyspark.sql import functions as sf
        from pyspark.sql.pandas.types import from_arrow_schema

        arrow = frame.to_arrow()
        # Nothing to infer a schema from: it has to be told.
        native = (
            self._session.createDataFrame([], from_arrow_schema(arrow.schema))
            if frame.is_empty()
            else self._session.createDataFrame(arrow)
        )
        wall = [name for name, kind in frame.schema.items() if kind == pl.Datetime("us")]
        # It takes every timestamp for an instant; a wall time has to be told apart.
        as_wall = {name: sf.col(name).cast("timestamp_ntz") for name in wall}
        table: Lazy = nw.from_native(native.withColumns(as_wall) if as_wall else native)
        return table


def engine_named(name: EngineName) -> Engine:
    match name:
        case "polars":
            return PolarsEngine()
        case "duckdb":
            return DuckDbEngine()
        case "spark":
            return SparkEngine()


Source = tuple[Path, ...] | pl.DataFrame
"""Where a table's rows are: the files of a publication, or a frame in memory."""


@dataclass(frozen=True)
class FrameSet(Mapping[str, Lazy]):
    """Published tables of one generation as lazy frames of one engine.

    A table is opened when it is first asked for. `manifest` is the publication's, as its JSON has it.
    """

    manifest: Mapping[str, Any]
    on: Engine
    sources: Mapping[str, Source]
    publication: Path | None = None
    user_set: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    only: tuple[str, ...] | None = None
    uncut: tuple[Mapping[str, Any], ...] | None = None
    """Set by `accounts`: every account of the generation. What is built and kept is built for all of them."""
    rebuilt_for: datetime | None = None
    """Set by `at`: the instant the marts were rebuilt for."""
    opened: dict[str, Lazy] = field(default_factory=dict, repr=False, compare=False)

    @property
    def engine(self) -> EngineName:
        return self.on.name

    @property
    def generation(self) -> str:
        return str(self.manifest["generation"])

    def __getitem__(self, table: str) -> Lazy:
        if table not in self.opened:
            if table not in self.sources:
                raise UnknownTableError(table)
            self.opened[table] = self._open(table)
        return self.opened[table]

    def __iter__(self) -> Iterator[str]:
        return iter(self.sources)

    def __len__(self) -> int:
        return len(self.sources)

    def __contains__(self, table: object) -> bool:
        return table in self.sources

    def _open(self, table: str) -> Lazy:
        source = self.sources[table]
        frame = self.on.inject(source) if isinstance(source, pl.DataFrame) else self.on.scan(source)
        if self.only is not None:
            frame = frame.filter(nw.col("account_id").is_in(list(self.only)))
        if self.rebuilt_for is not None and table in EVENT:
            frame = known_at(frame, EVENT[table], self.rebuilt_for)
        frame = with_user_set(frame, table, self.user_set.get(table), self.on)
        if table == "call_episode" and "client" in self.user_set:
            frame = with_spam_clients(frame, self["client"])
        if table in ("deal_state", "sale") and "pipeline" in self.user_set:
            frame = of_sales(frame, self)
        return frame

    def has_rows(self, table: str) -> bool:
        """Whether the table is there and holds anything, of whatever account."""
        source = self.sources.get(table, ())
        if isinstance(source, pl.DataFrame):
            return not source.is_empty()
        return any(not pl.scan_parquet(file).head(1).collect().is_empty() for file in source)

    def first_known(self, tables: Collection[str]) -> dict[str, datetime]:
        """Per account the first instant of which any of the `EVENT` tables holds a row, deleted since or not."""
        known = polars_tables(self)
        firsts = [
            known[table].group_by("account_id").agg(first=pl.col(f"{EVENT[table]}_at").min())
            for table in sorted(tables)
            if table in known
        ]
        if not firsts:
            return {}
        rows = pl.concat(firsts).group_by("account_id").agg(pl.col("first").min()).collect()
        return {account_id: first for account_id, first in rows.iter_rows() if first is not None}

    def from_polars(self, frame: pl.DataFrame) -> Lazy:
        """A small frame in this engine, to be joined with the tables."""
        return self.on.inject(frame)

    def accounts(self, account_ids: Sequence[str]) -> "FrameSet":
        """The same tables with the rows of these accounts only."""
        known = self.manifest["accounts"]
        kept = [account for account in known if account["account_id"] in account_ids]
        return replace(
            self,
            only=tuple(account_ids),
            uncut=tuple(known) if self.uncut is None else self.uncut,
            manifest={**self.manifest, "accounts": kept},
            opened={},
        )

    def with_clock(self, period: Period) -> "FrameSet":
        """The same set with the table `clock` for `period`."""
        return replace(self, sources={**self.sources, "clock": clock(self.manifest["accounts"], period)}, opened={})

    def at(self, as_of: datetime, params: "marts.MartParams | None" = None) -> "FrameSet":
        """The same set as it would have been at `as_of` (R-ASOF): marts rebuilt, under other parameters if given."""
        wanted = params or marts.MartParams.model_validate(self.manifest.get("mart_params") or {})
        return replace(self, sources={**self.sources, **_marts_of(self, as_of, wanted)}, rebuilt_for=as_of, opened={})

    def reopened(self) -> "FrameSet":
        """The same request on the newest generation, for a reader whose files were cleared away meanwhile."""
        if self.publication is None:
            return self
        fresh = open_frames(self.publication, self.on, user_set=self.user_set)
        fresh = fresh if self.only is None else fresh.accounts(self.only)
        return fresh if self.rebuilt_for is None else fresh.at(self.rebuilt_for)


def open_frames(
    publication: Path,
    engine: EngineName | Engine = "polars",
    *,
    user_set: Mapping[str, pl.DataFrame] | None = None,
    generation: str | None = None,
) -> FrameSet:
    """The tables of a publication: of the generation its pointer names, or of `generation`.

    `user_set` holds, per table of `USER_SET`, a frame of its key and any of its columns. Personal tables may be
    missing: then the set has none of them. Raises NoPublication where nothing was published, DamagedPublication where
    other files are missing.
    """
    on = engine_named(engine) if isinstance(engine, str) else engine
    for _ in range(POINTER_READS):
        name = generation or _pointer(publication)
        found = _manifest(publication / name)
        if found is not None:
            sources = {table: _files(publication / name, entry) for table, entry in found["tables"].items()}
            gone = {table for table, files in sources.items() if not all(file.exists() for file in files)}
            if all(table.endswith("_pii") for table in gone):
                sources = {table: files for table, files in sources.items() if table not in gone}
                return FrameSet(found, on, dict(sources), publication, dict(user_set or {}))
        if generation is not None:
            break
    raise DamagedPublication(publication, name)


POINTER_READS = 5
"""A generation lives two hours at least: a reader that loses its files twice in a row is already unlucky."""


def frames_from(
    tables: Mapping[str, pl.DataFrame],
    engine: EngineName | Engine,
    accounts: Sequence[Mapping[str, Any]],
    *,
    user_set: Mapping[str, pl.DataFrame] | None = None,
    coverage: Sequence[Mapping[str, Any]] = (),
    checks: Sequence[Mapping[str, Any]] = (),
) -> FrameSet:
    """A frame set over frames in memory, as a publication of them would be. `accounts` as in the manifest."""
    manifest = {
        "generation": "in-memory",
        "accounts": [dict(account) for account in accounts],
        "coverage": list(coverage),
        "checks": list(checks),
        "mart_params": {},
    }
    on = engine_named(engine) if isinstance(engine, str) else engine
    return FrameSet(manifest, on, dict(tables), user_set=dict(user_set or {}))


def clock(accounts: Sequence[Mapping[str, Any]], period: Period) -> pl.DataFrame:
    """`CLOCK` of `period`. An account whose data end earlier than `period.as_of` (it is stale) has its own now."""
    return pl.DataFrame([_clock_row(account, period) for account in accounts], schema=CLOCK)


def _clock_row(account: Mapping[str, Any], period: Period) -> dict[str, Any]:
    zone = ZoneInfo(account["tz"])
    as_of = min(filter(None, (period.as_of, instant_of(account.get("as_of"))))).astimezone(UTC)
    local = as_of.astimezone(zone).replace(tzinfo=None)
    return {
        "account_id": account["account_id"],
        "tz": account["tz"],
        "calendar_id": account.get("calendar_id") or marts.DEFAULT_CALENDAR,
        "as_of_at": as_of,
        "as_of_local": local,
        "as_of_epoch": int(as_of.timestamp()),
        "as_of_on": local.date(),
        "period_from": period.period_from,
        "period_to": period.period_to,
        "from_epoch": _midnight(period.period_from, zone),
        "to_epoch": _midnight(period.period_to, zone),
    }


def _midnight(day: date, zone: ZoneInfo) -> int:
    """The first second of a local day, since 1970."""
    return int(datetime.combine(day, time.min, zone).timestamp())


def instant_of(value: str | datetime | None) -> datetime | None:
    """An instant of the manifest: ISO 8601 text, or already a datetime."""
    parsed = datetime.fromisoformat(value) if isinstance(value, str) else value
    return parsed if parsed is None or parsed.tzinfo else parsed.replace(tzinfo=UTC)


def with_user_set(frame: Lazy, table: str, rows: pl.DataFrame | None, engine: Engine) -> Lazy:
    """`frame` with the user-set columns of `table`, left-joined; null where nobody set anything.

    Where the frame has such a column of its own (client flags), what people set wins and the rest stays.
    """
    if table not in USER_SET:
        return frame
    key, columns = USER_SET[table].key, USER_SET[table].columns
    own = set(frame.collect_schema().names()) & set(columns)
    if rows is None or rows.is_empty():
        missing = {name: nw.lit(None, dtype=NARWHALS[kind]) for name, kind in columns.items() if name not in own}
        return frame.with_columns(**missing) if missing else frame
    given = rows.select(
        *key,
        *(
            (pl.col(name) if name in rows.columns else pl.lit(None)).cast(kind).alias(f"set_{name}")
            for name, kind in columns.items()
        ),
    ).unique(list(key), keep="last", maintain_order=True)
    joined = frame.join(engine.inject(given), on=list(key), how="left")
    merged = {name: nw.coalesce(f"set_{name}", name) if name in own else nw.col(f"set_{name}") for name in columns}
    return joined.with_columns(**merged).drop(*(f"set_{name}" for name in columns))


def with_spam_clients(episodes: Lazy, clients: Lazy) -> Lazy:
    """Calls of clients whom people marked as spam are spam too."""
    flags = clients.select("account_id", "client_id", client_is_spam="is_spam")
    return (
        episodes.join(flags, on=["account_id", "client_id"], how="left")
        .with_columns(is_spam=nw.coalesce("client_is_spam", "is_spam"))
        .drop("client_is_spam")
    )


def of_sales(frame: Lazy, frames: FrameSet) -> Lazy:
    """`deal_state` and `sale` after what people say pipelines are for (R-ENTITY): other pipelines sell nothing."""
    if "sale_id" in frame.collect_schema().names():
        sold = frames["deal_state"].filter(nw.col("is_sales")).select("account_id", "deal_id", is_of_sales=nw.lit(True))
        joined = frame.join(sold, on=["account_id", "deal_id"], how="left")
        kept = joined.filter((nw.col("basis") != "won_deal") | nw.col("is_of_sales").fill_null(False))
        return kept.drop("is_of_sales")
    purposes = frames["pipeline"].select("account_id", "pipeline_id", "purpose")
    sells = nw.col("purpose").is_in(list(SALES_PURPOSES)) | nw.col("purpose").is_null()
    joined = frame.join(purposes, on=["account_id", "pipeline_id"], how="left")
    return joined.with_columns(is_sales=nw.col("is_sales") & sells).drop("purpose")


SALES_PURPOSES = ("sales", "repeat")

EVENT: dict[str, str] = {
    # table: stem of the instant since which a row is known
    "deal": "created",
    "contact": "created",
    "company": "created",
    "customer": "created",
    "task": "created",
    "call": "started",
    "message": "sent",
    "chat": "opened",
    "activity": "done",
    "request": "received",
    "sales_doc": "doc",
    "payment": "paid",
    "deal_stage_transition": "changed",
    "deal_owner_change": "changed",
    "deal_amount_change": "changed",
    "process_item": "created",
    "process_item_transition": "changed",
    "merge_link": "merged",
}


def known_at(frame: Lazy, stem: str, as_of: datetime) -> Lazy:
    """Rows of a canonical table that were there at `as_of` (R-ASOF): later ones hidden, later deletions undone."""
    epoch = int(as_of.timestamp())
    seen = frame.filter(nw.col(f"{stem}_epoch") <= epoch)
    if "deleted_at" not in frame.collect_schema().names():
        return seen
    was_deleted = nw.col("deleted_epoch") <= epoch
    return seen.with_columns(
        **{name: nw.when(was_deleted).then(nw.col(name)) for name in ("deleted_at", "deleted_local", "deleted_epoch")}
    )


NARWHALS: dict[pl.DataType, Any] = {
    pl.Boolean(): nw.Boolean,
    pl.Int64(): nw.Int64,
    pl.String(): nw.String,
    pl.Date(): nw.Date,
}


def polars_tables(frames: FrameSet) -> dict[str, pl.LazyFrame]:
    """The published tables as Polars lazy frames, whatever the engine of the set."""
    return {
        name: source.lazy() if isinstance(source, pl.DataFrame) else pl.scan_parquet(list(source))
        for name, source in frames.sources.items()
    }


def _marts_of(frames: FrameSet, as_of: datetime, params: "marts.MartParams") -> dict[str, Source]:
    """Marts as of an instant, of all accounts; with a publication they are kept in a cache folder beside it."""
    everyone = frames.manifest["accounts"] if frames.uncut is None else frames.uncut
    accounts = {account["account_id"]: _own_now(account, as_of) for account in everyone}
    if frames.publication is None:
        return {
            name: frame.lazy().collect() for name, frame in marts.build(polars_tables(frames), accounts, params).items()
        }
    folder = _cache_folder(frames, as_of, params)
    if folder.exists():
        os.utime(folder)  # the caches asked for last are the ones that stay
    else:
        _write_marts(marts.build(polars_tables(frames), accounts, params), folder)
    return {name: (folder / f"{name}.parquet",) for name in marts.MARTS}


def _own_now(account: Mapping[str, Any], as_of: datetime) -> datetime:
    return min(filter(None, (as_of, instant_of(account.get("as_of")))))


def _cache_folder(frames: FrameSet, as_of: datetime, params: "marts.MartParams") -> Path:
    assert frames.publication is not None
    digest = hashlib.blake2b(params.model_dump_json().encode(), digest_size=6).hexdigest()
    return (
        frames.publication.parent / "cache" / frames.generation / f"{as_of.astimezone(UTC):%Y%m%dT%H%M%S.%fZ}-{digest}"
    )


def _write_marts(built: Mapping[str, pl.DataFrame | pl.LazyFrame], folder: Path) -> None:
    """Writes beside, then renames: a folder that exists is whole. Caches nobody needs any more go."""
    for parent in (folder.parent.parent, folder.parent):
        parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    beside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=BUILDING))
    for name, frame in built.items():
        file = beside / f"{name}.parquet"
        frame.lazy().sink_parquet(file)
        file.chmod(0o600)
    try:
        beside.rename(folder)
    except OSError:  # another reader built the same
        shutil.rmtree(beside, ignore_errors=True)
    _forget_old_caches(folder.parent)


BUILDING = ".building-"
CACHES_KEPT = 8
"""Instants per generation whose marts stay on disk. A reader that loses his meanwhile builds them again."""
KILLED_AFTER_S = 3600
"""A folder still being built when one begun so much later is done was left by a process that was killed."""


def _forget_old_caches(newest: Path) -> None:
    """Caches of generations that are gone, all but the newest of this one, and what killed builds left."""
    publication = newest.parent.parent / "publication"
    for cache in newest.parent.iterdir():
        if cache != newest and not (publication / cache.name).exists():
            shutil.rmtree(cache, ignore_errors=True)
    by_age = sorted(((_changed_at(folder), folder) for folder in newest.iterdir()), reverse=True)
    whole = [folder for _, folder in by_age if not folder.name.startswith(BUILDING)]
    killed = [
        folder for at, folder in by_age if folder.name.startswith(BUILDING) and at < by_age[0][0] - KILLED_AFTER_S
    ]
    for folder in (*whole[CACHES_KEPT:], *killed):
        shutil.rmtree(folder, ignore_errors=True)


def _changed_at(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except FileNotFoundError:  # another reader cleared it away
        return 0.0


def generations(publication: Path) -> list[str]:
    """Names of the generations there are, the oldest first."""
    return sorted(folder.name for folder in publication.glob("[!.]*") if (folder / "manifest.json").exists())


def made_at(generation: str) -> datetime:
    """When a generation was made, by its name."""
    return datetime.strptime(generation, "%Y%m%dT%H%M%S-%f").replace(tzinfo=UTC)


def _pointer(publication: Path) -> str:
    try:
        return (publication / "current").read_text().strip()
    except FileNotFoundError:
        raise NoPublication(publication) from None


def _manifest(generation: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads((generation / "manifest.json").read_text())
    except FileNotFoundError:
        return None
    return found


def _files(generation: Path, entry: Mapping[str, Any]) -> tuple[Path, ...]:
    return tuple(generation / file["name"] for file in entry["files"])
