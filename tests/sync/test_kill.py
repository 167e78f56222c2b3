"""Whatever is killed wherever: the next run ends in the tables of a run that nobody disturbed.

At every commit, in this process; tests/connectors/suite kills real ones after every page of real connectors.
"""

import shutil
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fake_source import START, SWEPT, FakeSource, account, filled
from sync_words import tables_of

from connectors.connector import Window
from sync import sync
from sync.writer import Writer
from warehouse import state

EVERY = [pytest.param(1, marks=pytest.mark.slow), 4]
"""Of the commits: `make test` kills at some of them."""


class Killed(BaseException):
    """Stands for a kill −9: nothing in the program handles it."""


def undisturbed(tmp_path: Path) -> dict[str, Any]:
    sync(tmp_path / "undisturbed", [account(filled())])
    return tables_of(tmp_path / "undisturbed")


def dying(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, at: int, *, after: bool) -> Callable[[], bool]:
    """Make the `at`-th call of `owner.name` die, before it does anything or after it has done everything."""
    original, calls = getattr(owner, name), []

    def call(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) == at and not after:
            raise Killed
        result = original(*args, **kwargs)
        if len(calls) == at:
            raise Killed
        return result

    monkeypatch.setattr(owner, name, call)
    return lambda: len(calls) >= at


class Lost(Exception):  # noqa: N818
    """The source goes away in the middle of a page."""


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("every", EVERY)
@pytest.mark.parametrize("after", [False, True], ids=["before the commit", "after the commit"])
def test_killed_at_any_commit_the_next_run_ends_in_the_same_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: bool, every: int
):
    expected = undisturbed(tmp_path)
    for at in range(2 - after, 100, every):
        data_dir, source = tmp_path / f"{at}", filled()
        with monkeypatch.context() as patched:
            # the log is the last statement of a transaction
            owner, name = (Writer, "commit") if after else (state, "log")
            died = dying(patched, owner, name, at, after=after)
            with suppress(Killed):
                sync(data_dir, [account(source)])
            if not died():
                break
        assert sync(data_dir, [account(source)]).is_well
        assert tables_of(data_dir) == expected, f"killed at commit {at}"
    assert at > 5  # there were commits to be killed at


def a_week_later() -> FakeSource:
    """A source that has lost a deal without a trace by then, and shows one that no window has shown."""
    source = filled()
    source.now += timedelta(days=7)
    del source.things[8]
    source.add(20, START - timedelta(days=300))
    return source


@pytest.mark.parametrize("every", EVERY)
def test_killed_at_any_commit_of_a_sweep_the_next_run_ends_in_the_same_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: int
):
    monkeypatch.setattr("sync.writer.BATCH", 0)  # each event is a commit
    deals = SWEPT[1:2]
    sync(tmp_path / "read", [account(filled(), resources=deals)])

    def copied(name: str) -> Path:
        return Path(shutil.copytree(tmp_path / "read", tmp_path / name))

    sync(copied("undisturbed"), [account(a_week_later(), resources=deals)])
    expected = tables_of(tmp_path / "undisturbed")
    for at in range(1, 100, every):
        data_dir, source = copied(f"{at}"), a_week_later()
        with monkeypatch.context() as patched:
            died = dying(patched, state, "log", at, after=False)
            with suppress(Killed):
                sync(data_dir, [account(source, resources=deals)])
            if not died():
                break
        assert sync(data_dir, [account(source, resources=deals)]).is_well
        assert tables_of(data_dir) == expected, f"killed at commit {at}"
    assert at > 10


def cut_off_in_the_last_window(data_dir: Path, source: FakeSource) -> None:
    """A first sync that read all windows of deals but the last."""

    def lose(name: str, window: Window) -> None:
        if name == "deals" and window.kind == "created" and window.start is None:
            raise Lost

    source.before_page = lose
    assert not sync(data_dir, [account(source)], parallel=1).is_well
    source.before_page, source.asked = (lambda name, window: None), []


def test_a_first_sync_goes_on_at_the_window_it_was_cut_off_in(tmp_path: Path):
    source = filled()
    cut_off_in_the_last_window(tmp_path, source)
    sync(tmp_path, [account(source)])
    created = [window for name, window in source.asked if name == "deals" and window.kind == "created"]
    assert created
    assert all(window.start is None or window.end is None for window in created)  # an open end is never done


def test_the_watermark_of_a_resumed_first_sync_is_the_start_of_the_run_that_read_its_oldest_window(tmp_path: Path):
    source = filled()
    cut_off_in_the_last_window(tmp_path, source)
    source.now = START + timedelta(days=3)
    run = sync(tmp_path, [account(source)])
    assert run.account("main").resource("deals").watermark == START
