"""What is remembered between runs: a watermark moves when everything before it is on hand, and not before."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from amo_demo import rows
from suite_words import DAY, a_day_later, after_first, after_second, contents, n_second, run, synced

from connectors.connector import find_connectors
from warehouse.models import CANONICAL
from warehouse.sweeps import Difference, Sweeps

WATERMARKS = "SELECT resource, min(watermark), max(watermark) FROM sync_watermark GROUP BY resource"


def test_every_connector_is_here(name: str):
    assert name in find_connectors()


def watermarks(data_dir: Path) -> dict[str, Any]:
    found = {resource: (low, high) for resource, low, high in rows(data_dir, WATERMARKS)}
    assert all(low == high for low, high in found.values())
    return {resource: low for resource, (low, _) in found.items()}


@pytest.mark.parametrize(
    "share", [pytest.param(0.2, marks=pytest.mark.slow), 0.5, pytest.param(0.8, marks=pytest.mark.slow)]
)
def test_a_watermark_moves_where_all_was_read_and_stays_where_an_answer_never_came(
    name: str, folder: Path, share: float
):
    source = a_day_later(name, folder)
    before, lost, at = watermarks(folder), [], share * n_second(name)

    def lose(n: int, asked: Any) -> None:
        if not lost and n >= at:
            lost.append(str(asked))
        if str(asked) in lost:
            raise httpx.ConnectError("no route")

    source.before = lose
    told = run(source, folder).account("main")
    failed = {status.resource for status in told.resources if status.state != "done"}
    after = watermarks(folder)
    assert failed
    assert {resource for resource in after if after[resource] == before[resource]} == failed
    assert {after[resource] for resource in after if resource not in failed} <= {source.now}

    source.before = lambda *_: None
    assert run(source, folder).is_well
    assert contents(folder) == after_second(name)


def test_a_first_sync_that_was_cut_off_goes_on_instead_of_beginning_anew(name: str, folder: Path):
    source = synced(name, folder / "whole")
    run(source, folder / "cut")
    n_whole = len(source.asked)

    def lose(n: int, _: Any) -> None:
        if n > n_whole + 0.9 * n_whole:
            raise httpx.ConnectError("no route")

    again = folder / "again"
    source.before = lose
    assert not run(source, again).is_well
    source.before, n_asked = lambda *_: None, len(source.asked)
    assert run(source, again).is_well
    assert len(source.asked) - n_asked < 0.8 * n_whole
    assert contents(again) == after_first(name)


def test_a_run_in_which_nothing_happened_writes_nothing(name: str, folder: Path):
    source = synced(name, folder)
    tables = [table.name for table in CANONICAL if table.name != "coverage"]
    loads = " UNION ALL ".join(f"SELECT '{table}', max(load_seq), count(*) FROM \"{table}\"" for table in tables)
    before = rows(folder, loads)
    assert run(source, folder).is_well
    assert (rows(folder, loads), contents(folder)) == (before, after_first(name))


def test_reading_everything_again_gives_what_was_there(name: str, folder: Path):
    source = synced(name, folder)
    assert run(source, folder, full=True).is_well
    assert contents(folder) == after_first(name)


def test_a_sweep_of_what_is_on_hand_asks_for_nothing_again(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch):
    """Else a list that never agrees is read card by card at every sweep."""
    source, found, difference = synced(name, folder), [], Sweeps.difference

    def spy(*args: Any, **more: Any) -> Difference:
        found.append(difference(*args, **more))
        return found[-1]

    monkeypatch.setattr(Sweeps, "difference", spy)
    source.passes(8 * DAY)
    assert run(source, folder).is_well
    assert sum(one.n_known for one in found) > 100
    assert [one for one in found if one.missing or one.unknown] == []
