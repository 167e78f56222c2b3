"""Publication: what readers read. Generations of Parquet files, each whole, never changed, one of them current.

A generation is made in a hidden folder (`begin`, `export`, `write`), then sealed: manifest, rename, last the pointer.
Killed anywhere before that, it was never there; the next publish clears what is left. Files of months in which nothing
changed are hard links to the generation before (copies where links are impossible). Everything is written read-only and
flushed to the disk before the pointer names it.

A file that may be taken over has a stamp: what it was made of, in few words. Equal stamps are equal rows.
"""

import hashlib
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import chain, count
from pathlib import Path
from typing import Any

import orjson
import polars as pl
from sqlalchemy import Connection, Engine, Row, Table
from sqlalchemy.types import TIMESTAMP

from warehouse.checks import CLOCK_SKEW
from warehouse.columns import BOOKKEEPING, quoted
from warehouse.database import WarehouseError, private_folder, said_plainly, schema_version
from warehouse.models import CANONICAL, key_of
from warehouse.status import STALE_AFTER, iso, replace_file, sync_folder

CURRENT, MANIFEST, DRAFT = "current", "manifest.json", ".draft-"
GENERATION = re.compile(r"[0-9]{8}T[0-9]{6}-[0-9]{6}")
FORMAT = 2  # goes up when files of the same rows are to be written anew
ROOM = 2  # free space asked for, in sizes of the generation before: marts stand in files twice while they are made
KEEP_NEWEST, KEEP_YOUNGER = 3, timedelta(hours=2)
FULL_AFTER = timedelta(days=7)
"""How old the oldest of linked files may grow: then a generation is written whole, whatever its stamps say."""

MONTHS: dict[str, str] = {
    "call": "started_at",
    "message": "sent_at",
    "deal_stage_transition": "changed_at",
    "deal_owner_change": "changed_at",
    "deal_amount_change": "changed_at",
}
"""Canonical tables cut by the UTC month of an instant that does not change."""

DERIVED: dict[str, dict[str, str]] = {
    "message": {"text_len": "length(text)"},
    "task": {"text_len": "length(text)", "result_len": "length(result)"},
    "activity": {"text_len": "length(text)"},
    "transcript": {"text_len": "length(text)"},
    "deal": {"comment_letters": r"length(regexp_replace(coalesce(loss_comment, ''), '[^\p{L}]', '', 'g'))"},
    "call": {"has_recording": "coalesce(recording_url, '') <> ''"},
    "field_value": {
        "is_empty": "trim(coalesce(t.value_text, '')) = '' AND t.value_num IS NULL AND t.value_ts IS NULL "
        "AND t.value_date IS NULL AND t.enum_id IS NULL AND t.enum_code IS NULL"
    },
}
"""What may be known of personal text without reading it, as SQL."""


PERSONAL_NAMES = (
    r"(^|\PL)((инн|кпп|огрн|огрнип|inn|kpp|ogrn|ogrnip|tin|ssn|vat\PL*(id|no|nr|num|number))(\PL|$)"
    r"|паспорт|снилс|рожд|телефон|passport|snils|birth|phone)"
)
"""Names and codes of fields that hold numbers of papers, birthdays and phones, as a regular expression of RE2."""

IS_OPEN_FIELD = (
    "EXISTS (SELECT 1 FROM field_def d WHERE d.account_id = t.account_id AND d.field_id = t.field_id "
    "AND d.type <> 'birthday' AND NOT (d.type = 'date' AND d.entity_kind = 'contact') "
    f"AND (d.type = 'bool' OR NOT regexp_matches(lower(d.name || ' ' || coalesce(d.code, '')), '{PERSONAL_NAMES}')))"
)
"""Numbers and dates of the field may be published: by its type first, then by its name. One without a definition may
not, for nobody knows what it is."""


@dataclass(frozen=True)
class Local:
    """What the config says of an account against what the source says; None: as the source says."""

    tz: str | None = None
    calendar_id: str | None = None
    base_currency: str | None = None


@dataclass
class Draft:
    """A generation in the making."""

    publication: Path
    generation: str
    created_at: datetime
    previous: dict[str, Any] | None
    """Manifest of the current generation."""
    tables: dict[str, Any] = field(default_factory=dict)
    n_linked: int = 0

    @property
    def folder(self) -> Path:
        return self.publication / f"{DRAFT}{self.generation}"

    def path(self, file: str) -> Path:
        return self.folder / file

    def scan(self, table: str) -> pl.LazyFrame:
        """A table written already, lazily."""
        return pl.scan_parquet([self.path(file["name"]) for file in self.tables[table]["files"]])


# --- a generation from its first file to the pointer ------------------------------------------------------------------


def begin(publication: Path, *, now: datetime, full: bool = False) -> Draft:
    """An empty draft; what killed publishes left is removed. full: link nothing, write everything, as each week.

    Raises WarehouseError when the disk has too little room: the generation at hand goes on serving.
    """
    private_folder(publication)
    current = read_manifest(publication)
    with said_plainly(publication):
        _clear_leftovers(publication)
        _ask_for_room(publication, current)
        generation = _name(publication, now)
        draft = Draft(publication, generation, now, None if full or _is_week_over(current, now) else current)
        draft.folder.mkdir(mode=0o700)
    return draft


def _is_week_over(current: dict[str, Any] | None, now: datetime) -> bool:
    """Nothing tells when it was written whole, or it was in the future, before a clock was set: yes."""
    written = (current or {}).get("full_at")
    return written is None or not timedelta(0) <= now - datetime.fromisoformat(written) < FULL_AFTER


def write(into: Draft, name: str, rows: pl.DataFrame, *, part: str = "", stamp: str | None = None) -> None:
    """Write a derived table, or a part of it, to a file of its own. part: what people call it by."""
    with said_plainly(into.publication):
        file = _free_name(into, name, part)
        rows.write_parquet(into.path(file), compression="zstd")
        _add(into, name, file, rows=rows.height, stamp=stamp)


def before(into: Draft, name: str, stamp: str) -> Path | None:
    """The file of that stamp in the generation before."""
    known = _known(into, name, stamp)
    if known is None or into.previous is None:
        return None
    file = into.publication / str(into.previous["generation"]) / known["name"]
    return file if file.exists() else None


def take(into: Draft, name: str, stamp: str, *, part: str = "") -> bool:
    """Take the file of that stamp over from the generation before; whether there was one."""
    with said_plainly(into.publication):
        return _link(into, name, _free_name(into, name, part), stamp)


def seal(into: Draft, manifest: Mapping[str, Any], *, daily: int = 7, monthly: int = 12) -> dict[str, Any]:
    """Make the draft the current generation, pointer last, and let old ones go; return the manifest."""
    content = {
        "generation": into.generation,
        "created_at": iso(into.created_at),
        "full_at": iso(into.created_at) if into.previous is None else into.previous["full_at"],
        **manifest,
        "tables": {name: into.tables[name] for name in sorted(into.tables)},
    }
    with said_plainly(into.publication):
        manifest_file = into.path(MANIFEST)
        manifest_file.write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2))
        _finish(manifest_file)
        sync_folder(into.folder)
        into.folder.rename(into.publication / into.generation)
        sync_folder(into.publication)
        replace_file(into.publication / CURRENT, into.generation.encode())
        _retire(into.publication, into.generation, into.created_at, daily=daily, monthly=monthly)
    return content


def abandon(into: Draft) -> None:
    """Throw a draft away."""
    shutil.rmtree(into.folder, ignore_errors=True)


def read_manifest(publication: Path) -> dict[str, Any] | None:
    """Manifest of the current generation; None when there is none."""
    try:
        generation = (publication / CURRENT).read_text().strip()
        content: dict[str, Any] = orjson.loads((publication / generation / MANIFEST).read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return None
    return content


def _name(publication: Path, now: datetime) -> str:
    """A name that sorts after every name there was, even if the clock went back; never used before."""
    newest = max(generations(publication), default="")
    name = instant_name(now)
    return name if name > newest else instant_name(name_instant(newest) + timedelta(microseconds=1))


def instant_name(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y%m%dT%H%M%S-%f")


def name_instant(name: str) -> datetime:
    return datetime.strptime(name, "%Y%m%dT%H%M%S-%f").replace(tzinfo=UTC)


def generations(publication: Path) -> list[str]:
    """Names of sealed generations, in the order they were made, which is that of the names."""
    return sorted(path.name for path in publication.iterdir() if GENERATION.fullmatch(path.name))


def _clear_leftovers(publication: Path) -> None:
    """Remove drafts. A sealed generation is whole whether a pointer names it or not: `_retire` thins them out."""
    for path in publication.iterdir():
        if path.name.startswith("."):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def _ask_for_room(publication: Path, current: dict[str, Any] | None) -> None:
    if current is None:
        return
    folder = publication / current["generation"]
    needed = ROOM * sum(file.stat().st_size for file in folder.iterdir())
    free = shutil.disk_usage(publication).free
    if free < needed:
        raise WarehouseError(
            "The disk with {folder} has {free} GB left, a new generation needs {needed} GB. "
            "Free some space and publish again; the data shown stays that of the last publication.",
            folder=publication,
            free=f"{free / 1e9:.1f}",
            needed=f"{needed / 1e9:.1f}",
        )


def keep(made_at: Mapping[str, datetime], *, now: datetime, daily: int, monthly: int) -> set[str]:
    """Which generations stay: the newest three, those younger than two hours, one a day and one a month.

    One that a clock ahead of ours has dated is not young until that day comes.
    """
    newest_first = sorted(made_at, reverse=True)
    kept = set(newest_first[:KEEP_NEWEST])
    kept |= {name for name, at in made_at.items() if abs(now - at) < KEEP_YOUNGER}
    for length, n in (("%Y-%m-%d", daily), ("%Y-%m", monthly)):
        last_of: dict[str, str] = {}
        for name in newest_first:
            last_of.setdefault(made_at[name].strftime(length), name)
        kept |= set(list(last_of.values())[:n])
    return kept


def _retire(publication: Path, current: str, now: datetime, *, daily: int, monthly: int) -> None:
    made_at = {name: _made_at(publication, name) for name in generations(publication)}
    for name in set(made_at) - keep(made_at, now=now, daily=daily, monthly=monthly) - {current}:
        gone = publication / f"{DRAFT}{name}"  # out of sight at once, then file by file
        (publication / name).rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


def _made_at(publication: Path, name: str) -> datetime:
    """When a generation was made, UTC: once a clock was ahead, the names that follow tell the order and no more."""
    try:
        said = orjson.loads((publication / name / MANIFEST).read_bytes())["created_at"]
        return datetime.fromisoformat(said).astimezone(UTC)
    except (OSError, ValueError, KeyError):
        return name_instant(name)


# --- files ------------------------------------------------------------------------------------------------------------


def _add(into: Draft, table: str, file: str, *, rows: int, stamp: str | None = None) -> None:
    _finish(into.path(file))
    entry = into.tables.setdefault(str(table), {"files": [], "rows": 0})  # names of SQLAlchemy are not plain text
    entry["files"].append({"name": file, "rows": rows} | ({"stamp": f"{FORMAT}:{stamp}"} if stamp else {}))
    entry["rows"] += rows


def _finish(file: Path) -> None:
    """Flush a file to the disk and make it read-only. A linked file is both already."""
    if file.stat().st_nlink > 1:
        return
    with file.open("rb") as written:
        os.fsync(written.fileno())
    file.chmod(0o400)


def _free_name(into: Draft, table: str, part: str) -> str:
    """Of a file that is not there yet: parts of two accounts may be called the same."""
    stem = f"{table}.{part}" if part else table
    names = chain((f"{stem}.parquet",), (f"{stem}.{n}.parquet" for n in count(2)))
    return next(name for name in names if not into.path(name).exists())


def _known(into: Draft, table: str, stamp: str) -> dict[str, Any] | None:
    """What the generation before says of its file of that stamp."""
    files = ((into.previous or {}).get("tables", {}).get(table) or {}).get("files", [])
    return next((entry for entry in files if entry.get("stamp") == f"{FORMAT}:{stamp}"), None)


def _link(into: Draft, table: str, file: str, stamp: str) -> bool:
    """Take the file of that stamp over from the generation before, under the name `file`; whether there was one."""
    known, old = _known(into, table, stamp), before(into, table, stamp)
    if known is None or old is None:
        return False
    try:
        os.link(old, into.path(file))
    except OSError:  # a disk without links
        shutil.copyfile(old, into.path(file))
    into.n_linked += 1
    _add(into, table, file, rows=known["rows"], stamp=stamp)
    return True


def _after(month: datetime) -> datetime:
    """The first instant of the month after the one that begins at `month`."""
    return (month + timedelta(days=32)).replace(day=1)


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


# --- canonical tables -------------------------------------------------------------------------------------------------


Month = tuple[datetime, int, int]
"""When it begins, how many rows it has, and the newest `load_seq` of them."""


def export(engine: Engine, into: Draft, *, local: Mapping[str, Local] | None = None) -> None:
    """Write the canonical tables, personal data apart, every instant also as wall time and as seconds."""
    with said_plainly(into.publication), engine.begin() as connection:
        _claim(connection, into)
        zones = _zones(connection, local or {})
        for table in CANONICAL:
            public, personal = _public(table, local or {}, zones), _personal(table)
            months = _months(connection, table.name)
            _export(connection, into, table, table.name, months, columns=public)
            if personal is not None:
                _export(connection, into, table, f"{table.name}_pii", months, columns=personal)


def _claim(connection: Connection, into: Draft) -> None:
    """Remember what was exported last, and link to nothing else.

    A new warehouse under an old publication, or one restored from a backup, counts its loads from a number that was
    used before: equal stamps would then stand for different rows. Written before the draft is sealed: should it never
    be, the next generation is written whole.
    """
    last = connection.exec_driver_sql("SELECT published FROM identity").scalar_one()
    if into.previous is not None and into.previous["generation"] != last:
        into.previous = None
    connection.exec_driver_sql("UPDATE identity SET published = ?", (into.generation,))


def _zones(connection: Connection, local: Mapping[str, Local]) -> dict[str, list[str]]:
    """Time zones, and whose they are."""
    rows = connection.exec_driver_sql("SELECT account_id, tz FROM account ORDER BY account_id").fetchall()
    zones: dict[str, list[str]] = {}
    for account_id, tz in rows:
        own = (local[account_id].tz if account_id in local else None) or tz
        zones.setdefault(own or "UTC", []).append(account_id)
    return zones


def _wall_time(instant: str, zones: Mapping[str, Sequence[str]]) -> str:
    """SQL of an instant in the account's time; UTC where nothing is known of the account.

    Each zone stands in a branch of its own, as a constant: from a column DuckDB looks it up for every row, six times
    as slow.
    """
    branches = "".join(
        f" WHEN t.account_id IN ({', '.join(map(_text, accounts))}) THEN timezone({_text(zone)}, {instant})"
        for zone, accounts in zones.items()
    )
    unknown = f"timezone('UTC', {instant})"
    return f"CASE{branches} ELSE {unknown} END" if branches else unknown


def _public(table: Table, local: Mapping[str, Local], zones: Mapping[str, Sequence[str]]) -> list[str]:
    """SQL of the columns everybody may read."""
    columns: list[str] = []
    for column in table.columns:
        if column.info.get("pii") or column.name in BOOKKEEPING[1:]:
            continue
        if column.info.get("guarded"):
            columns.append(f"CASE WHEN {IS_OPEN_FIELD} THEN t.{column.name} END AS {column.name}")
            continue
        columns.append(_of_config(column.name, local) if table.name == "account" else f"t.{quoted(column.name)}")
        if isinstance(column.type, TIMESTAMP) and column.name.endswith("_at") and column.name != "source_updated_at":
            stem = column.name.removesuffix("_at")
            columns.append(f"{_wall_time(f't.{column.name}', zones)} AS {stem}_local")
            columns.append(f"CAST(floor(epoch(t.{column.name})) AS BIGINT) AS {stem}_epoch")
    return columns + [f"{sql} AS {name}" for name, sql in DERIVED.get(table.name, {}).items()]


def _of_config(name: str, local: Mapping[str, Local]) -> str:
    """A column of `account`: the config's word wins over the source's."""
    said = {account_id: getattr(own, name, None) for account_id, own in sorted(local.items())}
    cases = "".join(f" WHEN {_text(account_id)} THEN {_text(value)}" for account_id, value in said.items() if value)
    return f"CASE t.account_id{cases} ELSE t.{quoted(name)} END AS {quoted(name)}" if cases else f"t.{quoted(name)}"


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _personal(table: Table) -> list[str] | None:
    """SQL of the key and the personal columns; None when there are none."""
    names = [column.name for column in table.columns if column.info.get("pii") or column.info.get("guarded")]
    return [f"t.{quoted(name)}" for name in (*key_of(table), *names)] if names else None


def _export(
    connection: Connection, into: Draft, table: Table, name: str, months: Sequence[Month], *, columns: Sequence[str]
) -> None:
    """Write one table, in one file or by months; rows lie in the order of the key, so equal tables are equal files."""
    source = f"SELECT {', '.join(columns)} FROM {quoted(table.name)} t"
    keys = ", ".join(f"t.{quoted(name)}" for name in key_of(table))
    cut = MONTHS.get(table.name)
    if not months:
        file = f"{name}.parquet"
        rows = _copy(connection, f"{source} ORDER BY {keys}", into.path(file))
        _add(into, name, file, rows=rows)
        return
    for begin, rows, load_seq in months:
        month = f"{begin:%Y-%m}"
        within = (
            f"t.{cut} >= '{begin.isoformat()}'::TIMESTAMPTZ AND t.{cut} < '{_after(begin).isoformat()}'::TIMESTAMPTZ"
        )
        stamp = f"{month}:{rows}:{load_seq}:{_digest(source)}"
        file = f"{name}.{month}.parquet"
        if not _link(into, name, file, stamp):
            written = _copy(connection, f"{source} WHERE {within} ORDER BY t.{cut}, {keys}", into.path(file))
            _add(into, name, file, rows=written, stamp=stamp)


def _months(connection: Connection, table: str) -> list[Month]:
    """None for a table that is not cut."""
    cut = MONTHS.get(table)
    if cut is None:
        return []
    found = connection.exec_driver_sql(  # of a plain timestamp: that of an instant asks for its zone, row by row
        f"SELECT date_trunc('month', make_timestamp(epoch_us({cut}))) AS month, count(*), max(load_seq) "
        f"FROM {quoted(table)} GROUP BY month ORDER BY month"
    )
    return [(row[0].replace(tzinfo=UTC), row[1], row[2]) for row in found.fetchall()]


def _copy(connection: Connection, query: str, file: Path) -> int:
    """Write a query's rows; how many."""
    copied = connection.exec_driver_sql(f"COPY ({query}) TO {_text(str(file))} (FORMAT parquet, COMPRESSION zstd)")
    return int(copied.scalar_one())


# --- the manifest -----------------------------------------------------------------------------------------------------


def describe(engine: Engine, *, now: datetime, local: Mapping[str, Local] | None = None) -> dict[str, Any]:
    """What the manifest says of the warehouse: schema, accounts with their `as_of`, coverage.

    An account of which no core resource was ever read whole is only named, in `unread_accounts`: its few rows would
    pass for all there is. Those left out hold no account back, but where it has no other. local: as for `export`; its
    keys are the accounts that ought to be there.

    Raises WarehouseError where no account was read at all.
    """
    with engine.begin() as connection:
        found = connection.exec_driver_sql(
            "SELECT a.account_id, a.connector, a.base_url, a.tz, a.base_currency, a.default_region, a.calendar_id, "
            "CASE WHEN count(w.resource) FILTER (is_given) = count(w.watermark) FILTER (is_given) "
            "THEN min(w.watermark) FILTER (is_given) END AS watermark, "
            "coalesce(min(w.watermark) FILTER (is_given), min(w.watermark)) AS reached "
            "FROM account a LEFT JOIN (SELECT *, is_left_out IS NOT TRUE AS is_given FROM sync_watermark) w "
            "ON w.account_id = a.account_id AND w.is_core "
            "GROUP BY ALL ORDER BY a.account_id"
        )
        opened = [_plain(row) for row in found]
        coverage = connection.exec_driver_sql(
            "SELECT account_id, resource, complete_from, watermark FROM coverage ORDER BY ALL"
        )
        covered = [_plain(row) for row in coverage]
        version = schema_version(connection)
        warehouse_id: str = connection.exec_driver_sql("SELECT warehouse_id FROM identity").scalar_one()
    accounts = [account for account in opened if account["reached"]]
    if not accounts:
        raise WarehouseError(
            "No account was read yet, so there is nothing to publish. Run `voronka sync`; what stopped it stands in "
            "`voronka status`."
        )
    for account in accounts:
        own = (local or {}).get(account["account_id"], Local())
        account |= {name: value for name, value in vars(own).items() if value is not None}
    as_of = settle(accounts, now=now)
    read = {account["account_id"] for account in accounts}
    covered = [entry for entry in covered if entry["account_id"] in read]
    for entry in (*accounts, *covered):
        entry |= {name: iso(value) for name, value in entry.items() if isinstance(value, datetime)}
    return {
        "schema_version": version,
        "warehouse_id": warehouse_id,
        "as_of": iso(as_of),
        "accounts": accounts,
        "unread_accounts": sorted({*(local or ()), *(account["account_id"] for account in opened)} - read),
        "coverage": covered,
    }


def _plain(row: Row[Any]) -> dict[str, Any]:
    return {str(name): value for name, value in row._mapping.items()}


def settle(accounts: Sequence[dict[str, Any]], *, now: datetime) -> datetime:
    """Give every account its `as_of` and `is_stale`; return that of the whole: the smallest of the fresh ones.

    A stale account is computed at what it `reached`, so that it holds nobody back: one without a word for
    `STALE_AFTER`, one that was never read whole, and one read by a clock that is ahead of ours, whose age nobody knows.
    """
    for account in accounts:
        watermark = account["watermark"]
        account["is_stale"] = watermark is None or not -CLOCK_SKEW <= now - watermark <= STALE_AFTER
    fresh = [account["watermark"] for account in accounts if not account["is_stale"]]
    as_of: datetime = min(fresh) if fresh else max(account["reached"] for account in accounts)
    for account in accounts:
        reached = account.pop("reached")
        account["as_of"] = min(reached, as_of) if account["is_stale"] else as_of
    return as_of
