"""What the sync remembers between runs: how far it read, which windows are done, what it was asked to read again.

Everything is written in the transaction of the rows it speaks of, so that a kill leaves no mark without its rows.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, field, fields
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from connectors.errors import Phrase
from connectors.records import Account, Listing
from warehouse.database import WarehouseError

CLOCK_TOLERANCE = timedelta(minutes=10)
"""A source may be that far ahead of us and still be believed."""
KILLED = "The run was killed; the next one goes on where it stopped."
SQL_TYPES: Mapping[Any, str] = {str: "VARCHAR", str | None: "VARCHAR", int: "BIGINT", bool: "BOOLEAN"}
"""Of the columns that rows of this file are written to; all others are instants."""


@dataclass(frozen=True)
class KnownAccount:
    """Who answered to an account so far. number: in its CRM; viewer: whose rights it was last read with."""

    number: str | None = None
    viewer: str | None = None


@dataclass(frozen=True)
class Filled:
    """A resource as coverage sees it: the tables whose completeness it decides; is_core: the account waits for it.

    has_others: other resources know, if less of each, all that it fills them with.
    """

    resource: str
    tables: tuple[str, ...]
    is_core: bool
    has_others: bool = False


@dataclass(frozen=True)
class Resume:
    """Where to go on with a resource.

    watermark: everything changed before it was read; None: never read whole. done: finished windows of an unfinished
    first walk, each with the start (server clock) of the run that read it. numbers: up to where each numbered list was
    read, by part; none before the resource was read whole.
    """

    watermark: datetime | None = None
    done: Mapping[str, datetime] = field(default_factory=dict)
    numbers: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class DoneWindow:
    """A window of a first walk that was read whole. started_at: of the run, by the server's clock."""

    account_id: str
    resource: str
    window_key: str
    started_at: datetime
    run_id: int
    done_at: datetime


@dataclass(frozen=True)
class ReadWhole:
    """A resource that was read whole: up to `watermark`, complete since `complete_from`."""

    account_id: str
    resource: str
    watermark: datetime
    complete_from: datetime


@dataclass(frozen=True)
class Reached:
    """Up to where a part of a numbered list was read."""

    account_id: str
    resource: str
    part: str
    number: int


@dataclass(frozen=True)
class Logged:
    """A line of the run log."""

    run_id: int
    account_id: str
    resource: str
    started_at: datetime
    finished_at: datetime | None
    status: str
    n_read: int
    n_written: int
    n_unknown: int
    error: str | None


@dataclass(frozen=True)
class Awaited:
    """A table that a resource fills, whether or not it was ever read."""

    account_id: str
    resource: str
    table_name: str
    target_account_id: str
    is_core: bool
    has_others: bool


@dataclass(frozen=True)
class Swept:
    """The last sweep of a resource."""

    account_id: str
    resource: str
    swept_at: datetime
    viewer: str | None = None
    met: str | None = None
    n_missing: int = 0


def table_of(rows: Sequence[Any]) -> tuple[str, tuple[list[Any], ...]]:
    """Rows of one dataclass as a query with its fields for columns, and its parameters: one statement writes them all,
    where a statement each costs milliseconds."""
    kinds = {column.name: SQL_TYPES.get(column.type, "TIMESTAMPTZ") for column in fields(rows[0])}
    query = "SELECT " + ", ".join(f"unnest(?::{kind}[]) AS {name}" for name, kind in kinds.items())
    return query, tuple(list(values) for values in zip(*map(astuple, rows), strict=True))


def write(connection: Connection, table: str, rows: Sequence[Any], *, otherwise: str) -> None:
    """Insert rows of one dataclass; otherwise: what becomes of those that are there already."""
    if rows:
        query, values = table_of(rows)
        connection.exec_driver_sql(f"INSERT INTO {table} BY NAME {query} ON CONFLICT {otherwise}", values)


def start_run(connection: Connection, *, now: datetime) -> int:
    """The next run's number; runs that never ended are written down as killed."""
    run_id: int = connection.exec_driver_sql("SELECT nextval('run_id')").scalar_one()
    connection.exec_driver_sql(
        "UPDATE sync_run SET status = 'failed', finished_at = ?, error = ? WHERE status = 'running'", (now, KILLED)
    )
    return run_id


def log(connection: Connection, lines: Iterable[Logged]) -> None:
    """Write or overwrite the run log of resources."""
    changing = ("finished_at", "status", "n_read", "n_written", "n_unknown", "error")
    update = ", ".join(f"{name} = excluded.{name}" for name in changing)
    write(connection, "sync_run", [*lines], otherwise=f"DO UPDATE SET {update}")


def forget_runs(connection: Connection, *, before: datetime) -> int:
    """Drop lines of the run log from before an instant; how many. The last run of each resource stays, and so does what
    `raw.forget_old` knows the age of readings by: the last run from before."""
    gone = connection.exec_driver_sql(
        "DELETE FROM sync_run t WHERE started_at < $1 "
        "AND run_id < (SELECT max(run_id) FROM sync_run WHERE started_at < $1) "
        "AND EXISTS (FROM sync_run n WHERE n.account_id = t.account_id AND n.resource = t.resource "
        "AND n.run_id > t.run_id)",
        (before,),
    )
    return int(gone.scalar() or 0)


def known_account(connection: Connection, account_id: str) -> KnownAccount:
    """Who answered to an account so far."""
    found = connection.exec_driver_sql(
        "SELECT external_id, viewer FROM sync_account WHERE account_id = ?", (account_id,)
    ).fetchone()
    return KnownAccount(*found) if found else KnownAccount()


def numbers_read(connection: Connection) -> dict[tuple[str, str], str]:
    """Ids of accounts by connector and number in their CRM; those that feed another account left out."""
    found = connection.exec_driver_sql(
        "SELECT connector, external_id, account_id FROM sync_account WHERE account_id = target_account_id"
    )
    return {(row[0], row[1]): row[2] for row in found.fetchall()}


def know_account(
    connection: Connection, account_id: str, *, connector: str, number: str, target: str, viewer: str | None
) -> None:
    """Remember who answered to `account_id`, and as whom it was read where that is known. Raises WarehouseError when
    it was somebody else before."""
    known = known_account(connection, account_id).number
    if known is not None and known != number:
        raise WarehouseError(other_account(account_id, known, number))
    connection.exec_driver_sql(
        "INSERT INTO sync_account (account_id, connector, external_id, target_account_id, viewer) "
        "VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET viewer = coalesce(excluded.viewer, viewer)",
        (account_id, connector, number, target, viewer),
    )


def account(connection: Connection, account_id: str) -> Account | None:
    """An account as it is on hand; None before its first sync."""
    names = ", ".join(Account.model_fields)
    found = connection.exec_driver_sql(f"SELECT {names} FROM account WHERE account_id = ?", (account_id,)).fetchone()
    return Account(**dict(zip(Account.model_fields, found, strict=True))) if found else None


def shape(connection: Connection, account_id: str) -> str | None:
    """The settings that what is on hand of an account was read with, as `know_shape` was told."""
    found = connection.exec_driver_sql("SELECT shape FROM sync_account WHERE account_id = ?", (account_id,))
    known: str | None = found.scalar()
    return known


def know_shape(connection: Connection, account_id: str, shape: str) -> None:
    connection.exec_driver_sql("UPDATE sync_account SET shape = ? WHERE account_id = ?", (shape, account_id))


def forget_seen(connection: Connection, account_id: str) -> None:
    """What deals said is no measure for what they say now."""
    connection.exec_driver_sql("DELETE FROM deal_seen WHERE account_id = ?", (account_id,))


def begin_again(connection: Connection, account_id: str) -> None:
    """Nothing of an account counts as read any more; what is on hand stays."""
    connection.exec_driver_sql(
        "UPDATE sync_watermark SET watermark = NULL, complete_from = NULL WHERE account_id = ?", (account_id,)
    )
    connection.exec_driver_sql("DELETE FROM sync_state WHERE account_id = ?", (account_id,))


def other_account(account_id: str, known: str, number: str) -> Phrase:
    return Phrase(
        "The account {account} was number {known} in its CRM so far, now number {number} answers. Check the address "
        "and the token; for another CRM account add an entry with an id of its own to the configuration.",
        account=account_id,
        known=known,
        number=number,
    )


def know_resources(connection: Connection, account_id: str, *, target: str, resources: Sequence[Filled]) -> None:
    """Make a line for every resource and table, so that what was never read is known to be missing."""
    lines = [
        Awaited(account_id, one.resource, table, target, one.is_core, one.has_others)
        for one in resources
        for table in one.tables or ("",)
    ]
    query, values = table_of(lines)
    connection.exec_driver_sql(
        f"DELETE FROM sync_watermark w WHERE account_id = ? AND NOT EXISTS (FROM ({query}) l "
        "WHERE l.resource = w.resource AND l.table_name = w.table_name)",
        (account_id, *values),
    )
    update = "is_core = excluded.is_core, has_others = excluded.has_others"
    write(connection, "sync_watermark", lines, otherwise=f"DO UPDATE SET {update}")


def not_given(connection: Connection, account_id: str, resource: str) -> None:
    """The source leaves a resource out: until it was read again the account's own watermark does not wait for it, nor
    do the tables it fills where it has others to fill them. Its watermark stays: that is where it will go on."""
    connection.exec_driver_sql(
        "UPDATE sync_watermark SET is_left_out = TRUE WHERE account_id = ? AND resource = ?", (account_id, resource)
    )


def watermarks(connection: Connection, account_id: str) -> dict[str, datetime]:
    """Up to when the resources of an account were read; without those that never were, or that fill a new table."""
    found = connection.exec_driver_sql(
        "SELECT resource, min(watermark) FROM sync_watermark WHERE account_id = ? GROUP BY resource "
        "HAVING count(*) = count(watermark)",
        (account_id,),
    )
    return {row[0]: row[1] for row in found.fetchall()}


def read_whole(connection: Connection, done: Sequence[ReadWhole]) -> None:
    """Watermarks move: never back, but from the future. The windows are forgotten. What was left out is no more."""
    if not done:
        return
    query, values = table_of(done)
    tolerance = f"INTERVAL {CLOCK_TOLERANCE.seconds} SECONDS"
    connection.exec_driver_sql(
        f"UPDATE sync_watermark w SET watermark = CASE WHEN w.watermark > d.watermark + {tolerance} THEN d.watermark "
        "ELSE greatest(w.watermark, d.watermark) END, complete_from = least(w.complete_from, d.complete_from), "
        "is_left_out = FALSE "
        f"FROM ({query}) d WHERE w.account_id = d.account_id AND w.resource = d.resource",
        values,
    )
    connection.exec_driver_sql(
        f"DELETE FROM sync_state s USING ({query}) d WHERE s.account_id = d.account_id AND s.resource = d.resource",
        values,
    )


def refresh_coverage(connection: Connection, *, seq: int, now: datetime) -> None:
    """`coverage` per table from all resources that fill it: complete since the latest, read up to the earliest. What is
    left out counts where nothing else knows the same: its table is not complete without it."""
    connection.exec_driver_sql("DELETE FROM coverage")
    connection.exec_driver_sql(
        "INSERT INTO coverage (account_id, resource, complete_from, watermark, synced_at, raw_hash, read_seq, "
        "load_seq) SELECT target_account_id, table_name, "
        "CASE WHEN count(*) = count(watermark) THEN max(complete_from) END, "
        "CASE WHEN count(*) = count(watermark) THEN min(watermark) END, ?, '', ?, ? FROM sync_watermark "
        "WHERE table_name <> '' AND NOT (coalesce(is_left_out, FALSE) AND coalesce(has_others, FALSE)) "
        "GROUP BY target_account_id, table_name",
        (now, seq, seq),
    )


def oldest(
    connection: Connection, account_id: str, tables: Mapping[str, str], column: str, *, prefix: str = ""
) -> datetime | None:
    """The earliest instant that `tables` of an account hold; None where they are empty.

    tables: name to the column of its ids. prefix: how the ids that count begin.
    """
    each = " UNION ALL ".join(
        f'SELECT min({column}) AS instant FROM "{table}" WHERE account_id = $1 AND starts_with({key}, $2)'
        for table, key in tables.items()
    )
    found = connection.exec_driver_sql(f"SELECT min(instant) FROM ({each})", (account_id, prefix))
    instant: datetime | None = found.scalar()
    return instant


def n_listed(connection: Connection, listing: Listing, removal: str) -> int:
    """Rows of a dimension that a source has listed and not removed; mentions (read_seq 0) were never listed."""
    column, value = listing.scope
    found = connection.exec_driver_sql(
        f'SELECT count(*) FROM "{listing.kind.table()}" '
        f'WHERE account_id = ? AND "{column}" = ? AND {removal} IS NULL AND read_seq > 0',
        (listing.account_id, value),
    )
    return int(found.scalar_one())


def sweeps(connection: Connection, account_id: str) -> dict[str, Swept]:
    """The last sweeps of an account, by resource."""
    found = connection.exec_driver_sql(
        "SELECT account_id, resource, swept_at, viewer, met, n_missing FROM sync_sweep WHERE account_id = ?",
        (account_id,),
    )
    return {row[1]: Swept(*row) for row in found.fetchall()}


def first_sight(connection: Connection, swept: Sequence[Swept]) -> None:
    """Resources were read whole: as good as a sweep, where there was none yet."""
    write(connection, "sync_sweep", swept, otherwise="DO NOTHING")


def remember_sweep(connection: Connection, swept: Swept) -> None:
    update = ", ".join(f"{name} = excluded.{name}" for name in ("swept_at", "viewer", "met", "n_missing"))
    write(connection, "sync_sweep", [swept], otherwise=f"DO UPDATE SET {update}")


def resumes(connection: Connection, account_id: str, resources: Iterable[str]) -> dict[str, Resume]:
    """Where to go on with each of `resources`."""
    read_to = watermarks(connection, account_id)
    done = _by_resource(connection, "SELECT resource, window_key, started_at FROM sync_state", account_id)
    numbers = _by_resource(connection, "SELECT resource, part, number FROM sync_number", account_id)
    return {name: Resume(read_to.get(name), done[name], numbers[name] if name in read_to else {}) for name in resources}


def _by_resource(connection: Connection, query: str, account_id: str) -> dict[str, dict[str, Any]]:
    """What a query of three columns finds of an account: second to third column, by the first."""
    found: dict[str, dict[str, Any]] = defaultdict(dict)
    for resource, name, value in connection.exec_driver_sql(f"{query} WHERE account_id = ?", (account_id,)).fetchall():
        found[resource][name] = value
    return found


def know_numbers(connection: Connection, reached: Sequence[Reached]) -> None:
    """Remember up to where numbered lists were read."""
    write(connection, "sync_number", reached, otherwise="DO UPDATE SET number = excluded.number")


def windows_done(connection: Connection, windows: Sequence[DoneWindow]) -> None:
    write(connection, "sync_state", windows, otherwise="DO NOTHING")


def forget_windows(connection: Connection, account_id: str, resource: str) -> None:
    connection.exec_driver_sql("DELETE FROM sync_state WHERE account_id = ? AND resource = ?", (account_id, resource))


def ask_again(
    connection: Connection, account_id: str, asked: Iterable[tuple[str, Iterable[str]]], *, run_id: int
) -> None:
    """Remember ids of resources to be read again, until `read_again` says it has happened."""
    pairs = sorted({(resource, native_id) for resource, ids in asked for native_id in ids})
    if pairs:
        resources, native_ids = map(list, zip(*pairs, strict=True))
        connection.exec_driver_sql(
            "INSERT INTO sync_reread (account_id, resource, native_id, run_id) "
            "SELECT ?, unnest(?::VARCHAR[]), unnest(?::VARCHAR[]), ? ON CONFLICT DO NOTHING",
            (account_id, resources, native_ids, run_id),
        )


def asked_again(connection: Connection, account_id: str) -> dict[str, list[str]]:
    """Ids still to be read again, by resource."""
    found = connection.exec_driver_sql(
        "SELECT resource, list(native_id ORDER BY native_id) FROM sync_reread WHERE account_id = ? GROUP BY resource",
        (account_id,),
    )
    return {row[0]: list(row[1]) for row in found.fetchall()}


def read_again(connection: Connection, account_id: str, resource: str, ids: Iterable[str]) -> None:
    connection.exec_driver_sql(
        "DELETE FROM sync_reread WHERE account_id = ? AND resource = ? AND native_id IN (SELECT unnest(?::VARCHAR[]))",
        (account_id, resource, sorted(set(ids))),
    )
