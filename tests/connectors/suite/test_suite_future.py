"""What a newer program, or a clock that was wrong, has left behind."""

from datetime import timedelta
from pathlib import Path

import pytest
from amo_demo import rows
from suite_words import DAY, after_first, after_second, contents, run, synced

from sync import inbox
from warehouse.database import open_warehouse

WATERMARKS = "SELECT DISTINCT watermark FROM sync_watermark"
LEFT_BEHIND = (
    "INSERT INTO sync_watermark (account_id, resource, table_name, target_account_id, is_core, watermark, "
    "complete_from) SELECT account_id, 'holograms', 'deal', target_account_id, true, NULL, NULL FROM sync_watermark "
    "LIMIT 1",
    "INSERT INTO sync_state (account_id, resource, window_key, started_at, run_id, done_at) "
    "VALUES ('main', 'holograms', 'orbit:1', TIMESTAMPTZ '2026-01-01', 1, TIMESTAMPTZ '2026-01-01')",
    "INSERT INTO sync_reread (account_id, resource, native_id, run_id) VALUES ('main', 'holograms', '1', 1)",
    "INSERT INTO sync_sweep (account_id, resource, swept_at, n_missing) "
    "VALUES ('main', 'holograms', TIMESTAMPTZ '2026-01-01', 7)",
)


def write(data_dir: Path, *statements: str) -> None:
    engine = open_warehouse(data_dir)
    try:
        with engine.begin() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)
    finally:
        engine.dispose()


@pytest.mark.parametrize("ahead", [timedelta(hours=1), pytest.param(400 * DAY, marks=pytest.mark.slow)])
def test_a_watermark_from_the_future_is_told_and_a_full_sync_puts_it_right(name: str, folder: Path, ahead: timedelta):
    """Read from there on, what has changed since the real last sync would never be asked for."""
    source = synced(name, folder)
    write(folder, f"UPDATE sync_watermark SET watermark = TIMESTAMPTZ '{source.now + DAY + ahead}'")
    source.passes(DAY)
    n_asked = len(source.asked)
    told = run(source, folder).account("main")
    assert "later than now" in (told.error or "")
    assert "voronka sync --full" in (told.error or "")
    assert len(source.asked) - n_asked == 1  # who we are
    assert contents(folder) == after_first(name)
    assert run(source, folder, full=True).is_well
    assert rows(folder, WATERMARKS) == [(source.now,)]
    source.a_day()
    assert run(source, folder).is_well
    assert len(contents(folder)["deal"]) == len(after_second(name)["deal"])


def test_what_a_newer_connector_has_noted_disturbs_nothing(name: str, folder: Path):
    source = synced(name, folder)
    write(folder, *LEFT_BEHIND)
    inbox.note(folder, "main", {"holograms": {"1"}})
    source.passes(DAY)
    source.a_day()
    assert run(source, folder).is_well
    assert contents(folder) == after_second(name)
