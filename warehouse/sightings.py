"""Changes of deals no log of the source tells of: between two syncs a deal has come to another stage, owner or amount.

Some sources keep no such log, others leave changes out (imports, robots, rights). The row of the deal says only what is
now; what it said at the sync before is kept in `deal_seen`, and the difference becomes a row of the log with origin
`snapshot`. Such rows give way to what the source tells later.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

SEEN = "seen:"
"""How ids of rows made here begin."""
TOLERANCE_S = 600
"""A card may be changed that long after a run began; what is dated later has a wrong date."""


@dataclass(frozen=True)
class Log:
    """A table of changes. columns: of the deal, to the name that `from_` and `to_` go before in the log.

    seen_at: where `deal_seen` says since when it knows them. also: what else the log says of the deal.
    """

    table: str
    columns: dict[str, str]
    seen_at: str
    also: tuple[str, ...] = ()

    @property
    def differs(self) -> str:
        """SQL: the deal `d` does not say what it said."""
        return " OR ".join(f"d.{column} IS DISTINCT FROM d.was_{column}" for column in self.columns)

    def leads_to(self, row: str) -> str:
        """SQL: where a change leads to, as one text."""
        return (
            "concat_ws('/', " + ", ".join(f"coalesce({row}.to_{n}::VARCHAR, '')" for n in self.columns.values()) + ")"
        )


@dataclass(frozen=True)
class Look:
    """When all deals were last compared with what they had said of a log's columns, and the load of that look."""

    looked_at: datetime
    load_seq: int


STAGES = Log("deal_stage_transition", {"pipeline_id": "pipeline_id", "stage_id": "stage_id"}, "stage_seen_at")
LOGS = (
    STAGES,
    Log("deal_owner_change", {"responsible_user_id": "user_id"}, "owner_seen_at"),
    Log("deal_amount_change", {"amount_minor": "minor"}, "amount_seen_at", also=("currency",)),
)
COLUMNS = tuple(column for log in LOGS for column in log.columns)
KEPT = ("currency", "source_updated_at", "synced_at", "raw_hash", "read_seq")
"""What else of a deal its rows need."""


def look(
    connection: Connection, account_id: str, *, at: datetime, load_seq: int, waiting: Collection[str] = ()
) -> None:
    """Write what has changed since the last look and no log tells; remember what is now.

    To be called when the deals were just read. at: the instant they were read at. load_seq: of this look, its own.
    waiting: logs that are behind the deals, and would seem to leave changes out; of these only deals that were never
    looked at are noted.
    """
    now = f"TIMESTAMPTZ '{at.isoformat()}'"
    logs = [log for log in LOGS if log.table not in waiting]
    if logs:
        _sight(connection, logs, account_id)
    for log in logs:
        before = _last_look(connection, log, account_id)
        if before is not None and at <= before.looked_at:
            continue  # a clock that stands still: what has changed since is seen by the next look
        _write(connection, log, account_id, before=before, now=now, load_seq=load_seq)
        _give_way(connection, log, account_id, before=before)
        sets = ", ".join(f"{name} = d.{name}" for name in log.columns)
        connection.exec_driver_sql(
            f"UPDATE deal_seen s SET {sets}, {log.seen_at} = {now} FROM new_sight d WHERE s.account_id = d.account_id "
            f"AND s.deal_id = d.deal_id AND ({log.differs})"
        )
        connection.exec_driver_sql(
            f"INSERT INTO deal_look VALUES (?, '{log.table}', {now}, {load_seq}) "
            "ON CONFLICT DO UPDATE SET looked_at = excluded.looked_at, load_seq = excluded.load_seq",
            (account_id,),
        )
    instants = ", ".join(f"{now} AS {log.seen_at}" for log in LOGS)
    connection.exec_driver_sql(
        f"INSERT INTO deal_seen BY NAME SELECT account_id, deal_id, {', '.join(COLUMNS)}, {instants} FROM deal d "
        "WHERE account_id = $1 AND deleted_at IS NULL AND NOT EXISTS (FROM deal_seen s WHERE s.account_id = $1 "
        "AND s.deal_id = d.deal_id)",
        (account_id,),
    )


def _last_look(connection: Connection, log: Log, account_id: str) -> Look | None:
    found = connection.exec_driver_sql(
        f"SELECT looked_at, load_seq FROM deal_look WHERE account_id = ? AND table_name = '{log.table}'", (account_id,)
    ).fetchone()
    return Look(*found) if found else None


def _sight(connection: Connection, logs: Iterable[Log], account_id: str) -> None:
    """Make `new_sight`: deals that do not say what they said, and what that was. closed_at: if closed since then."""
    kept = ", ".join(f"d.{name}" for name in (*COLUMNS, *KEPT))
    was = ", ".join((*(f"s.{name} AS was_{name}" for name in COLUMNS), *(f"s.{log.seen_at}" for log in LOGS)))
    differs = " OR ".join(f"d.{column} IS DISTINCT FROM s.{column}" for log in logs for column in log.columns)
    connection.exec_driver_sql(
        "CREATE OR REPLACE TEMP TABLE new_sight AS SELECT d.* EXCLUDE (closed_at), "
        f"CASE WHEN g.kind IN ('won', 'lost') AND ({STAGES.differs}) THEN d.closed_at END AS closed_at FROM ("
        f"SELECT d.account_id, d.deal_id, d.closed_at, {kept}, {was} FROM deal d "
        "JOIN deal_seen s ON s.account_id = d.account_id AND s.deal_id = d.deal_id "
        f"WHERE d.account_id = ? AND d.deleted_at IS NULL AND ({differs})) d LEFT JOIN stage g "
        "ON g.account_id = d.account_id AND g.pipeline_id = d.pipeline_id AND g.stage_id = d.stage_id",
        (account_id,),
    )


def _write(connection: Connection, log: Log, account_id: str, *, before: Look | None, now: str, load_seq: int) -> None:
    """Rows for deals that differ from what was seen. They have changed somewhere between the looks: taken for when the
    card was last changed or, of one that was closed in between, for its closing, owner and amount for just before: who
    closes a deal fills it in, and robots touch it afterwards. A closing before the last look is none in between, though
    another log may still wait to tell of it.

    They start where the log has led since, else from what was seen. Their ids end with the instant since when what was
    seen was so.
    """
    seen = f"d.{log.seen_at}"
    last = f"greatest({seen}, TIMESTAMPTZ '{before.looked_at.isoformat()}')" if before else seen
    in_time = f"AND {now} + INTERVAL {TOLERANCE_S} SECONDS"
    closed = "d.closed_at" if log is STAGES else f"greatest(d.closed_at - INTERVAL 1 MINUTE, {last})"
    at = (
        f"CASE WHEN d.closed_at BETWEEN {last} {in_time} THEN {closed} "
        f"WHEN d.source_updated_at BETWEEN {seen} {in_time} THEN d.source_updated_at ELSE {now} END"
    )
    led = ", ".join(f"arg_max_null(to_{name}, (changed_at, change_id)) AS {name}" for name in log.columns.values())
    ends = ", ".join(
        f"CASE WHEN l.deal_id IS NULL THEN d.was_{column} ELSE l.{name} END AS from_{name}, d.{column} AS to_{name}"
        for column, name in log.columns.items()
    )
    also = "".join(f"d.{name}, " for name in log.also)
    connection.exec_driver_sql(
        f"INSERT INTO {log.table} BY NAME SELECT d.account_id, d.deal_id, {at} AS changed_at, "
        f"'{SEEN}' || d.deal_id || ':' || epoch_us({seen}) AS change_id, {ends}, {also}"
        "'snapshot' AS origin, "
        f"d.source_updated_at, d.synced_at, d.raw_hash, d.read_seq, {load_seq} AS load_seq FROM new_sight d "
        f"LEFT JOIN (SELECT deal_id, max(changed_at) AS last_at, {led} FROM {log.table} WHERE account_id = ? "
        "AND deal_id IN (SELECT deal_id FROM new_sight) GROUP BY deal_id) l "
        f"ON l.deal_id = d.deal_id AND l.last_at >= {seen} WHERE {log.differs}",
        (account_id,),
    )


def _give_way(connection: Connection, log: Log, account_id: str, *, before: Look | None) -> None:
    """Drop rows made here that say nothing new: the source tells of a change to the same, next to it in the history.
    Only deals of which either has come since the look before are gone over.

    Changes of one second come in any order, so any of them counts. What was told from before the look before, or after
    the deal was read, is another change: the deal has been elsewhere in between.
    """
    tolerance = f"INTERVAL {TOLERANCE_S} SECONDS"
    to = log.leads_to("t")
    since = before.load_seq if before else -1
    connection.exec_driver_sql(
        f"WITH news AS (SELECT deal_id FROM {log.table} WHERE account_id = $1 AND load_seq > {since}), "
        f"mine AS (SELECT deal_id FROM {log.table} WHERE account_id = $1 AND starts_with(change_id, '{SEEN}') "
        "AND deal_id IN (FROM news)), "
        f"step AS (SELECT deal_id, changed_at, list({to}) FILTER (NOT starts_with(change_id, '{SEEN}')) AS told "
        f"FROM {log.table} t WHERE account_id = $1 AND deal_id IN (FROM mine) GROUP BY deal_id, changed_at), "
        "around AS (SELECT deal_id, changed_at, told, lag(told) OVER each AS before, lag(changed_at) OVER each AS "
        "before_at, lead(told) OVER each AS after, lead(changed_at) OVER each AS after_at "
        "FROM step WINDOW each AS (PARTITION BY deal_id ORDER BY changed_at)) "
        f"DELETE FROM {log.table} t USING around a WHERE t.account_id = $1 AND t.deal_id = a.deal_id "
        f"AND t.changed_at = a.changed_at AND starts_with(t.change_id, '{SEEN}') AND (list_contains(a.told, {to}) "
        f"OR list_contains(a.before, {to}) "
        f"AND epoch_us(a.before_at + {tolerance}) >= split_part(t.change_id, ':', -1)::BIGINT "
        f"OR list_contains(a.after, {to}) AND a.after_at <= t.synced_at + {tolerance})",
        (account_id,),
    )
