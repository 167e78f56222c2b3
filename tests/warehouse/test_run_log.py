"""Old lines of the run log go; what else is known by them stays known."""

from datetime import datetime, timedelta

from warehouse_words import NOON, Table

from warehouse import raw, state
from warehouse.state import Logged


def ran(run_id: int, at: datetime, resource: str = "leads") -> Logged:
    return Logged(run_id, "main", resource, at, at, "done", 1, 1, 0, None)


def test_old_runs_go_but_the_last_of_each_resource_and_the_last_before_the_cut_stay(engine, table: Table):
    day = timedelta(days=1)
    with engine.begin() as connection:
        state.log(connection, [ran(n, NOON + n * day) for n in range(1, 7)] + [ran(1, NOON + day, "notes")])
        assert state.forget_runs(connection, before=NOON + 5 * day) == 3
    assert table("sync_run", "run_id", "resource") == [(1, "notes"), (4, "leads"), (5, "leads"), (6, "leads")]


def test_versions_are_as_old_as_before_when_old_runs_are_gone(engine, table: Table):
    day = timedelta(days=1)
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO sync_account (account_id, connector, external_id, target_account_id) "
            "VALUES ('main', 'amocrm', '1', 'main')"
        )
        for seq in range(1, 7):
            connection.exec_driver_sql(
                "INSERT INTO raw_record VALUES ('main', 'leads', '1', ?, '{}'::BLOB, ?, ?)",
                (str(seq), seq << 32, seq << 32),
            )
        state.log(connection, [ran(n, NOON + n * day) for n in range(1, 7)])
        state.forget_runs(connection, before=NOON + 3 * day)
    with engine.connect() as connection:
        assert raw.forget_old(connection, days=2, now=NOON + 6 * day) == 3
    assert table("raw_record", "raw_hash") == ["4", "5", "6"]
