"""Whose rows the warehouse holds, and how those of one account leave it."""

from collections.abc import Collection

from sqlalchemy import Connection

from warehouse.columns import quoted

OWNERS = ("account_id", "target_account_id")
"""Columns that say whose a row is. Every table that has one of them holds rows of accounts, also tables made later."""


def tables_of_accounts(connection: Connection) -> dict[str, list[str]]:
    """Tables with rows of accounts, each with its columns of `OWNERS`."""
    found: dict[str, list[str]] = {}
    for table, column in connection.exec_driver_sql(
        "SELECT table_name, column_name FROM duckdb_columns() "
        "WHERE NOT internal AND column_name IN (?, ?) ORDER BY ALL",
        OWNERS,
    ).fetchall():
        found.setdefault(table, []).append(column)
    return found


def feeds(connection: Connection) -> dict[str, str]:
    """Accounts that were read, each with the one its rows lie under: itself, or the one it feeds."""
    found = connection.exec_driver_sql("SELECT account_id, target_account_id FROM sync_account ORDER BY 1").fetchall()
    return {row[0]: row[1] for row in found} | {
        row[0]: row[0] for row in connection.exec_driver_sql("SELECT account_id FROM account").fetchall()
    }


def remove_rows(connection: Connection, account_ids: Collection[str]) -> dict[str, int]:
    """Delete all rows of these accounts; how many by table. Their bytes go with the next `rewrite`."""
    removed: dict[str, int] = {}
    marks = ", ".join("?" for _ in account_ids)
    for table, columns in tables_of_accounts(connection).items():
        where = " OR ".join(f"{column} IN ({marks})" for column in columns)
        deleted = connection.exec_driver_sql(
            f"DELETE FROM {quoted(table)} WHERE {where}", tuple(account_ids) * len(columns)
        )
        removed[table] = int(deleted.scalar_one())
    return {table: n for table, n in removed.items() if n}


def is_anything_read(connection: Connection) -> bool:
    """Whether any account is left that a publication could show."""
    found = connection.exec_driver_sql(
        "SELECT count(*) FROM account a JOIN sync_watermark w ON w.account_id = a.account_id "
        "WHERE w.is_core AND w.watermark IS NOT NULL"
    )
    return bool(found.scalar_one())
