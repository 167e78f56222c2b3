"""What the token's owner may no longer see is out of sight, not gone."""

from pathlib import Path

import pytest
from amo_demo import rows
from sources import Sight
from suite_words import DAY, contents, run, synced

from warehouse.models import CANONICAL

REMOVALS = " UNION ALL ".join(
    f"SELECT '{table.name}', count({column}) FROM \"{table.name}\""
    for table in CANONICAL
    for column in ("deleted_at", "removed_at")
    if column in table.columns
)


@pytest.mark.parametrize("sight", ["part", "nothing"])
@pytest.mark.parametrize("days", [1, pytest.param(8, marks=pytest.mark.slow)])
def test_what_went_out_of_sight_is_not_deleted(name: str, folder: Path, sight: Sight, days: int):
    """After a week even what left without a trace is looked for."""
    source = synced(name, folder)
    before, there = rows(folder, REMOVALS), contents(folder)
    source.passes(days * DAY)
    source.sight = sight
    done = run(source, folder)
    assert rows(folder, REMOVALS) == before
    assert {table: len(found) for table, found in contents(folder).items()} == {
        table: len(found) for table, found in there.items()
    }
    told = [text for status in done.account("main").resources for text in (*status.warnings, status.error) if text]
    assert told
    source.sight = "whole"
    assert run(source, folder).is_well
    assert rows(folder, REMOVALS) == before
