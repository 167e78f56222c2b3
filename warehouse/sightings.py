"""Changes of deals no log of the source tells of: between two syncs a deal has come to another stage, owner or amount.

Some sources keep no such log, others leave changes out (imports, robots, rights). The row of the deal says only what is
now; what it said at the sync before is kept in `deal_seen`, and the difference becomes a row of the log with origin
`snapshot`. Such rows give way to what the source tells later.
"""

from dataclasses import dataclass

from sqlalchemy import Connection

SEEN = "seen:"
"""How ids of rows made here begin."""
TOLERANCE_S = 600
"""A card may be changed that long after a run began; what is dated later has a wrong date."""


@dataclass(frozen=True)
class Log:
    """A table of changes. columns: of the deal, to the name that `from_` and `to_` go before in the log.

    also: what else the log says of the deal. closing: the change may be a closing, whose instant is known.
    """

    table: str
    columns: dict[str, str]
    also: tuple[str, ...] = ()
    closing: bool = False

    def leads_to(self, row: str) -> str:
        """SQL: where a change leads to, as one text."""
        return (
            "concat_ws('/', " + ", ".join(f"coalesce({row}.to_{n}::VARCHAR, '')" for n in self.columns.values()) + ")"
        )


LOGS = (
    Log("deal_stage_transition", {"pipeline_id": "pipeline_id", "stage_id": "stage_id"}, closing=True),
    Log("deal_owner_change", {"responsible_user_id": "user_id"}),
    Log("deal_amount_change", {"amount_minor": "minor"}, also=("currency",)),
)
COLUMNS = tuple(column for log in LOGS for column in log.columns)
KEPT = ("currency", "source_updated_at", "synced_at", "raw_hash", "read_seq")
"""What else of a deal its rows need."""


def look(connection: Connection, account_id: str, *, load_seq: int) -> None:
    """Write what has changed since the last look and no log tells; remember what is now.

    To be called when the deals and their logs were just read: a log behind the deals would seem to leave changes out.
    """
    now = _read_to(connection, account_id)
    if now is None:
        return
    kept = ", ".join(f"d.{name}" for name in (*COLUMNS, *KEPT))
    was = ", ".join(f"s.{name} AS was_{name}" for name in COLUMNS)
    differs = " OR ".join(f"d.{name} IS DISTINCT FROM s.{name}" for name in COLUMNS)
    connection.exec_driver_sql(
        f"CREATE OR REPLACE TEMP TABLE new_sight AS SELECT d.account_id, d.deal_id, {kept}, {was}, s.seen_at, "
        "CASE WHEN EXISTS (FROM stage g WHERE g.account_id = d.account_id AND g.pipeline_id = d.pipeline_id "
        "AND g.stage_id = d.stage_id AND g.kind IN ('won', 'lost')) THEN d.closed_at END AS closed_at "
        "FROM deal d JOIN deal_seen s ON s.account_id = d.account_id AND s.deal_id = d.deal_id "
        f"WHERE d.account_id = ? AND d.deleted_at IS NULL AND ({differs})",
        (account_id,),
    )
    for log in LOGS:
        _write(connection, log, account_id, now=now, load_seq=load_seq)
        _give_way(connection, log, account_id)
    connection.exec_driver_sql(
        f"MERGE INTO deal_seen s USING (SELECT account_id, deal_id, {', '.join(COLUMNS)}, {now} AS seen_at "
        "FROM new_sight) d ON s.account_id = d.account_id AND s.deal_id = d.deal_id WHEN MATCHED THEN UPDATE BY NAME"
    )
    connection.exec_driver_sql("DROP TABLE new_sight")
    meet(connection, account_id)


def meet(connection: Connection, account_id: str) -> None:
    """Remember what deals say that were never looked at. To be called when the deals were just read: it says nothing of
    their logs."""
    now = _read_to(connection, account_id)
    if now is None:
        return
    connection.exec_driver_sql(
        f"INSERT INTO deal_seen BY NAME SELECT account_id, deal_id, {', '.join(COLUMNS)}, {now} AS seen_at FROM deal d "
        "WHERE account_id = $1 AND deleted_at IS NULL AND NOT EXISTS (FROM deal_seen s WHERE s.account_id = $1 "
        "AND s.deal_id = d.deal_id)",
        (account_id,),
    )


def _read_to(connection: Connection, account_id: str) -> str | None:
    """SQL: the instant that deals were read up to, by their source's clock."""
    read_to = connection.exec_driver_sql(
        "SELECT watermark FROM coverage WHERE account_id = ? AND resource = 'deal'", (account_id,)
    ).scalar()
    return None if read_to is None else f"TIMESTAMPTZ '{read_to.isoformat()}'"


def _write(connection: Connection, log: Log, account_id: str, *, now: str, load_seq: int) -> None:
    """Rows for deals that differ from what was seen, dated by the card: when it was closed, if it has come to a closing
    stage, or last changed.

    They start where the log has led since, else from what was seen. Their ids end with the look before.
    """
    in_time = f"BETWEEN d.seen_at AND {now} + INTERVAL {TOLERANCE_S} SECONDS"
    dates = ("closed_at", "source_updated_at") if log.closing else ("source_updated_at",)
    at = f"coalesce({', '.join(f'CASE WHEN d.{date} {in_time} THEN d.{date} END' for date in dates)}, {now})"
    last = ", ".join(f"arg_max_null(to_{name}, (changed_at, change_id)) AS {name}" for name in log.columns.values())
    ends = ", ".join(
        f"CASE WHEN l.deal_id IS NULL THEN d.was_{column} ELSE l.{name} END AS from_{name}, d.{column} AS to_{name}"
        for column, name in log.columns.items()
    )
    also = "".join(f"d.{name}, " for name in log.also)
    differs = " OR ".join(f"d.{column} IS DISTINCT FROM d.was_{column}" for column in log.columns)
    connection.exec_driver_sql(
        f"MERGE INTO {log.table} t USING (SELECT d.account_id, d.deal_id, {at} AS changed_at, "
        f"'{SEEN}' || d.deal_id || ':' || epoch_us(d.seen_at) AS change_id, {ends}, {also}'snapshot' AS origin, "
        f"d.source_updated_at, d.synced_at, d.raw_hash, d.read_seq, {load_seq} AS load_seq FROM new_sight d "
        f"LEFT JOIN (SELECT deal_id, max(changed_at) AS last_at, {last} FROM {log.table} WHERE account_id = ? "
        "AND deal_id IN (SELECT deal_id FROM new_sight) GROUP BY deal_id) l "
        f"ON l.deal_id = d.deal_id AND l.last_at >= d.seen_at WHERE {differs}) b "
        "ON t.account_id = b.account_id AND t.change_id = b.change_id "
        "WHEN MATCHED THEN UPDATE BY NAME WHEN NOT MATCHED THEN INSERT BY NAME",
        (account_id,),
    )


def _give_way(connection: Connection, log: Log, account_id: str) -> None:
    """Drop rows made here that say nothing new: the source tells of a change to the same, next to it in the history.

    Changes of one second come in any order, so any of them counts. What was told from before the look before, or after
    the deal was read, is another change: the deal has been elsewhere in between.
    """
    tolerance = f"INTERVAL {TOLERANCE_S} SECONDS"
    to = log.leads_to("t")
    connection.exec_driver_sql(
        f"WITH mine AS (SELECT deal_id FROM {log.table} WHERE account_id = $1 AND starts_with(change_id, '{SEEN}')), "
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
