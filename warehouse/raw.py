"""Raw objects on hand: their versions in the order they were read, and how long superseded ones are kept.

The newest version of an object always stays: whatever is mapped anew needs it. An older one is dropped when nothing was
read as it says for longer than the retention; what was made of it in the warehouse stays.
"""

from collections.abc import Collection, Iterator
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection

from connectors.records import RawRecord

BATCH = 5_000


class Version(NamedTuple):
    """One version of an object. seq: the last reading that showed it. is_told: others are to be read by it from here
    on; otherwise its own rows are to be made."""

    raw: RawRecord
    seq: int
    is_told: bool


def entities(connection: Connection, account_id: str) -> dict[str, int]:
    """How many versions there are of the objects of each name."""
    found = connection.exec_driver_sql(
        "SELECT entity, count(*) FROM raw_record WHERE account_id = ? GROUP BY entity ORDER BY entity", (account_id,)
    )
    return {row[0]: row[1] for row in found.fetchall()}


def versions(connection: Connection, account_id: str, context: Collection[str], *, of: str) -> Iterator[list[Version]]:
    """All versions of an account, batch by batch, in the order they were last read: what an object was at the end is
    what its last reading showed, also where it had been so once before.

    Those of `context` are told when they were first read too: what was read in between was read by them; and the first
    version there is of each of its objects before everything else. of: the catalog `raw_record` is in.
    """
    listed = f"(SELECT unnest({sorted(context)!r}::VARCHAR[]))"
    columns = "entity, native_id, raw_hash, body, last_read_seq"
    oldest = "first_read_seq = min(first_read_seq) OVER (PARTITION BY entity, native_id)"
    driver: Any = connection.connection.dbapi_connection
    cursor = driver.duplicate()  # a reading of its own: others write meanwhile
    try:
        reader = cursor.execute(
            f"SELECT {columns}, last_read_seq AS place, FALSE AS is_told FROM {of}.raw_record WHERE account_id = $1 "
            f"UNION ALL SELECT {columns}, CASE WHEN {oldest} THEN 0 ELSE first_read_seq END AS place, TRUE "
            f"FROM {of}.raw_record WHERE account_id = $1 AND entity IN {listed} "
            f"UNION ALL SELECT {columns}, last_read_seq AS place, TRUE FROM {of}.raw_record "
            f"WHERE account_id = $1 AND entity IN {listed} AND first_read_seq < last_read_seq "
            "ORDER BY place, is_told DESC, entity, native_id, last_read_seq",
            [account_id],
        ).to_arrow_reader(BATCH)
        for batch in reader:
            rows = zip(*(column.to_pylist() for column in batch.columns), strict=True)
            yield [
                Version(RawRecord(account_id, entity, native_id, raw_hash, body), seq, is_told)
                for entity, native_id, raw_hash, body, seq, _, is_told in rows
            ]
    finally:
        cursor.close()


def forget_old(connection: Connection, *, days: int, now: datetime) -> int:
    """Drop superseded versions that nothing was read as for `days`; how many. An account at a time, each whole.

    days: 0 keeps every version.
    """
    if days <= 0:
        return 0
    since = now - timedelta(days=days)
    with connection.begin():
        # the last run before: those that began later may stand in the log no more
        run_id = connection.exec_driver_sql("SELECT max(run_id) FROM sync_run WHERE started_at < ?", (since,)).scalar()
        accounts = [row[0] for row in connection.exec_driver_sql("SELECT DISTINCT target_account_id FROM sync_account")]
    if run_id is None:
        return 0
    return sum(_forget(connection, account_id, before=(run_id + 1) << 32, since=since) for account_id in accounts)


def _forget(connection: Connection, account_id: str, *, before: int, since: datetime) -> int:
    """Versions last read before the reading `before`, of objects that were read as something else later."""
    same = "n.account_id = t.account_id AND n.entity = t.entity AND n.native_id = t.native_id"
    with connection.begin():
        old = connection.exec_driver_sql(
            "SELECT count(*) FROM raw_record WHERE account_id = ? AND last_read_seq < ?", (account_id, before)
        ).scalar_one()
        if not old:  # most nights: blocks of rows say which readings they hold, so hardly anything is looked at
            return 0
        dropped = connection.exec_driver_sql(
            f"DELETE FROM raw_record t WHERE t.account_id = $1 AND t.last_read_seq < $2 AND EXISTS (FROM raw_record n "
            f"WHERE {same} AND n.last_read_seq > t.last_read_seq)",
            (account_id, before),
        ).scalar()
        if dropped:
            connection.exec_driver_sql(
                "UPDATE sync_account SET raw_whole_since = greatest(raw_whole_since, ?) WHERE target_account_id = ?",
                (since, account_id),
            )
    return int(dropped or 0)


def whole_since(connection: Connection, account_id: str) -> datetime | None:
    """From when on every version is on hand; None: none was ever dropped."""
    found = connection.exec_driver_sql(
        "SELECT max(raw_whole_since) FROM sync_account WHERE target_account_id = ?", (account_id,)
    )
    instant: datetime | None = found.scalar()
    return instant
