"""One account leaves the warehouse, from every table there is."""

from sqlalchemy import Engine
from test_database import rows
from test_migrations import VALUES, columns_of

from warehouse.accounts import OWNERS, feeds, is_anything_read, remove_rows, tables_of_accounts
from warehouse.columns import quoted

WITHOUT_ACCOUNTS = {"identity", "forgotten"}
"""Tables in which no row is of an account; `forgotten` has hashes of people, who may be in several."""


def filled(engine: Engine, *account_ids: str) -> None:
    """Two rows of each account in every table that has rows of accounts."""
    with engine.begin() as connection:
        columns = columns_of(connection)
        for n, account_id in enumerate(account_ids):
            for table in tables_of_accounts(connection):
                values = [
                    f"'{account_id}'" if name in OWNERS else VALUES[kind].format(column=name)
                    for name, (kind, _) in columns[table].items()
                ]
                if table == "sync_account":  # one row an account
                    connection.exec_driver_sql(
                        f"INSERT INTO sync_account SELECT {', '.join(values)} FROM range(1) t(i)"
                    )
                    continue
                connection.exec_driver_sql(
                    f"INSERT INTO {quoted(table)} SELECT {', '.join(values)} FROM range({2 * n}, {2 * n + 2}) t(i)"
                )


def test_every_table_says_whose_its_rows_are_or_has_none_of_an_account(engine: Engine):
    with engine.begin() as connection:
        assert set(columns_of(connection)) - set(tables_of_accounts(connection)) == WITHOUT_ACCOUNTS


def test_an_account_leaves_every_table_and_the_others_stay_whole(engine: Engine):
    filled(engine, "main", "gone")
    with engine.begin() as connection:
        tables = tables_of_accounts(connection)
        before = {table: rows(connection, f"FROM {quoted(table)} WHERE account_id = 'main'") for table in tables}
        removed = remove_rows(connection, ["gone"])
        assert removed == {table: 1 if table == "sync_account" else 2 for table in tables}
        assert {table: rows(connection, f"FROM {quoted(table)}") for table in tables} == before
        assert remove_rows(connection, ["gone"]) == {}


def test_what_a_source_noted_that_feeds_an_account_goes_by_whose_rows_it_fed(engine: Engine):
    filled(engine, "main", "phones")
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE sync_account SET target_account_id = 'main' WHERE account_id = 'phones'")
        connection.exec_driver_sql("DELETE FROM account WHERE account_id = 'phones'")
        assert feeds(connection) == {"main": "main", "phones": "main"}
        remove_rows(connection, ["main"])
        assert rows(connection, "SELECT account_id FROM sync_account") == []


def test_without_an_account_that_was_read_there_is_nothing_to_publish(engine: Engine):
    with engine.begin() as connection:
        assert not is_anything_read(connection)
    filled(engine, "main")
    with engine.begin() as connection:
        assert is_anything_read(connection)
        remove_rows(connection, ["main"])
        assert not is_anything_read(connection)
