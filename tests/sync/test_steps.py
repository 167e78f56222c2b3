"""Windows of time are read in runs of neighbours, as long as there is little in them."""

from datetime import timedelta
from pathlib import Path

import pytest
from fake_source import START, FakeSource, account
from hypothesis import given
from hypothesis import strategies as st
from sync_words import Look

from connectors.connector import Window
from connectors.errors import RetriableError
from sync import sync
from sync.plan import FEW_OBJECTS, MANY_OBJECTS, MOST_JOINED, Step, is_next, joined

DAY = timedelta(days=1)
EDGES = [START + n * DAY for n in range(41)]
MONTHS = [Window("created", low, high) for low, high in zip([None, *EDGES], EDGES, strict=False)]


def lengths(holds: int, *, at_first: int = 1) -> list[int]:
    """How many windows are read as one, run after run, where each run holds so much."""
    step, found = Step(MONTHS), []
    runs = [*step.first(at_first)]
    while runs:
        run = runs.pop(0)
        found.append(len(run))
        runs += step.after(holds)
    return found


def test_after_a_run_that_held_little_the_next_is_twice_as_long():
    assert lengths(FEW_OBJECTS - 1)[:5] == [1, 2, 4, 8, MOST_JOINED]


def test_runs_that_hold_enough_stay_as_they_are():
    assert set(lengths(FEW_OBJECTS)) == {1}


def test_after_a_run_that_held_much_the_next_is_half_as_long():
    step = Step(MONTHS)
    (first,) = step.first(1)
    (second,) = step.after(0)
    (third,) = step.after(0)
    assert [len(run) for run in (first, second, third)] == [1, 2, 4]
    (fourth,) = step.after(MANY_OBJECTS + 1)
    assert len(fourth) == 2


def test_neighbours_are_read_as_one_window():
    assert joined(MONTHS[:3]) == Window("created", None, START + 2 * DAY)


def test_windows_between_which_one_is_done_are_no_neighbours():
    step = Step([MONTHS[1], MONTHS[3]])
    assert [*step.first(1)] == [[MONTHS[3]]]
    assert [*step.after(0)] == [[MONTHS[1]]]


def test_a_window_without_an_end_is_read_alone():
    assert is_next(*MONTHS[:2])
    assert not is_next(MONTHS[1], Window("created", MONTHS[1].end))


def test_windows_by_number_are_handed_out_at_once():
    windows = [*(Window("numbered", after=n, until=n + 1) for n in range(9)), Window("changed", START)]
    assert [*Step(windows).first(2)] == [[window] for window in windows]


@given(st.lists(st.integers(0, 2 * MANY_OBJECTS), min_size=1), st.integers(1, 8))
def test_every_window_is_read_once_the_last_first(holds, parallel):
    step, read = Step(MONTHS), []
    runs = [*step.first(parallel)]
    assert len(runs) == parallel
    while runs:
        run = runs.pop(0)
        read += run[::-1]
        runs += step.after(holds[len(read) % len(holds)])
    assert read[::-1] == MONTHS


def old_and_quiet() -> FakeSource:
    source = FakeSource(opened_at=START - 4000 * DAY)
    for n in range(8):
        source.add(n + 1, START - 500 * n * DAY - DAY)
    return source


def of_deals(source: FakeSource) -> list[Window]:
    return [window for name, window in source.asked if name == "deals" and window.kind == "created"]


def test_many_years_with_little_in_them_take_few_requests(data_dir: Path, look: Look):
    source = old_and_quiet()
    run = sync(data_dir, [account(source)])
    assert look("SELECT count(*) FROM deal") == [(8,)]
    assert len(of_deals(source)) < 30
    status = run.account("main").resource("deals")
    assert status.windows_done == status.windows_total > 4000 / 30


@pytest.mark.parametrize("parallel", [1, 4])
def test_windows_read_as_one_are_each_done_for_the_next_run(data_dir: Path, look: Look, parallel: int):
    source = old_and_quiet()

    def lose(name: str, window: Window) -> None:
        if name == "deals" and window.end and window.end < START - 3000 * DAY:
            raise RetriableError("lost")

    source.before_page = lose
    assert not sync(data_dir, [account(source)], parallel=parallel).is_well
    ((done,),) = look("SELECT count(*) FROM sync_state WHERE resource = 'deals'")
    assert done > 90
    source.before_page, source.asked = (lambda name, window: None), []
    assert sync(data_dir, [account(source)], parallel=parallel).is_well
    assert all(not window.end or window.end < START - 2900 * DAY for window in of_deals(source))
    assert look("SELECT count(*) FROM deal") == [(8,)]
