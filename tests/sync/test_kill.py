"""Whatever is killed wherever: the next run ends in the tables of a run that nobody disturbed."""

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fake_source import START, FakeSource, account, filled
from sync_words import tables_of

from connectors.connector import Window
from sync import sync
from sync.writer import Writer
from warehouse import state

ROOT = Path(__file__).parents[2]


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
@pytest.mark.parametrize("after", [False, True], ids=["before the commit", "after the commit"])
def test_killed_at_any_commit_the_next_run_ends_in_the_same_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: bool
):
    expected = undisturbed(tmp_path)
    for at in range(1, 100):
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


@pytest.mark.usefixtures("small_batches")
def test_cut_off_at_any_page_of_a_later_sync_the_next_run_ends_in_the_same_tables(tmp_path: Path):
    def second_day(source: FakeSource) -> None:
        source.now = START + timedelta(days=1)
        source.add(10, START + timedelta(hours=1), tags=("new",))
        source.move(2, START + timedelta(hours=2))
        source.delete(3, START + timedelta(hours=3))

    def run(data_dir: Path, die_at: int) -> bool:
        source, pages = filled(), []
        sync(data_dir, [account(source)])
        second_day(source)

        def page(name: str, window: Window) -> None:
            pages.append(name)
            if len(pages) == die_at:
                raise Lost

        source.before_page = page
        sync(data_dir, [account(source)])
        source.before_page = lambda name, window: None
        assert sync(data_dir, [account(source)]).is_well
        return len(pages) >= die_at

    assert run(tmp_path / "undisturbed", die_at=0)
    expected = tables_of(tmp_path / "undisturbed")
    for die_at in range(1, 50):
        died = run(tmp_path / str(die_at), die_at)
        assert tables_of(tmp_path / str(die_at)) == expected
        if not died:
            break
    assert die_at > 3


def cut_off_in_the_last_window(data_dir: Path, source: FakeSource) -> None:
    """A first sync that read all windows of deals but the last."""

    def lose(name: str, window: Window) -> None:
        if name == "deals" and window.end == START:
            raise Lost

    source.before_page = lose
    assert not sync(data_dir, [account(source)], parallel=1).is_well
    source.before_page, source.asked = (lambda name, window: None), []


def test_a_first_sync_goes_on_at_the_window_it_was_cut_off_in(tmp_path: Path):
    source = filled()
    cut_off_in_the_last_window(tmp_path, source)
    sync(tmp_path, [account(source)])
    created = [window for name, window in source.asked if name == "deals" and window.kind == "created"]
    assert [window.end for window in created] == [START]


def test_the_watermark_of_a_resumed_first_sync_is_the_start_of_the_run_that_read_its_oldest_window(tmp_path: Path):
    source = filled()
    cut_off_in_the_last_window(tmp_path, source)
    source.now = START + timedelta(days=3)
    run = sync(tmp_path, [account(source)])
    assert run.account("main").resource("deals").watermark == START


SCRIPT = """
import os, signal, sys
from pathlib import Path
from sync import reader, sync, writer
from fake_source import account, filled
reader.CHUNK, writer.BATCH = 2, 4
commit, n = writer.Writer.commit, 0
def killing(self):
    global n
    commit(self)
    n += 1
    if n == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
writer.Writer.commit = killing
sync(Path(sys.argv[1]), [account(filled())])
"""


def test_a_process_killed_by_the_system_is_repaired_by_the_next(tmp_path: Path):
    data_dir = tmp_path / "killed"
    paths = os.pathsep.join((str(ROOT), str(Path(__file__).parent)))
    killed = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(data_dir), "4"], env={**os.environ, "PYTHONPATH": paths}, check=False
    )
    assert killed.returncode == -9
    assert sync(data_dir, [account(filled())]).is_well
    assert tables_of(data_dir) == undisturbed(tmp_path)
