"""Lists read by number: a grid at first, then what has changed and what is numbered above all that was there."""

import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from fake_source import OPENED, RESOURCES, START, FakeSource, account, deals, filled
from sync_words import Look

from connectors.connector import Resource, Span, Window
from connectors.errors import CredentialsError, RetriableError
from connectors.records import Account, Deal, Yield
from sync import sync
from sync.plan import NUMBERS_A_WINDOW, NUMBERS_AGAIN, plan, window_key
from warehouse import state

DAY = timedelta(days=1)
STEP = NUMBERS_A_WINDOW


def by_number(api: FakeSource, account: Account, window: Window) -> Iterator[Yield]:
    """The deals of a window, however it is asked for."""
    if window.kind != "numbered":
        yield from deals(api, account, window)
        return
    api.asked.append(("deals", window))
    chosen = replace(api, things={}, asked=[])
    for number, thing in api.things.items():
        if number > window.after and (window.until is None or number <= window.until):
            chosen.things[number] = thing
    api.answer("deals", window)
    chosen.local = api.local
    chosen.before_page = lambda name, _: None
    yield from deals(chosen, account, Window("changed"))


def spans(api: FakeSource) -> Mapping[str, Span]:
    if error := api.failing.get("spans"):
        raise error
    return {"": Span(min(api.things), max(api.things))} if api.things else {}


DEALS = Resource("deals", by_number, ("numbered", "changed", "ids"), (Deal,), is_core=True, spans=spans, lane="deals")
ALL = (RESOURCES[0], DEALS)


def numbered(after: int, until: int | None = None, part: str = "") -> Window:
    return Window("numbered", part=part, after=after, until=until)


def planned(known: state.Resume = state.Resume(), **reach: Span) -> list[Window]:  # noqa: B008 — it is frozen
    lists = {part.strip("_"): span for part, span in reach.items()}
    return plan(DEALS, known, begin=OPENED, start=START, overlap=DAY, spans=lists)


def test_a_first_read_is_a_grid_whose_last_window_is_open():
    assert planned(_=Span(18_800_001, 18_806_000)) == [
        numbered(18_800_000, 18_802_500),
        numbered(18_802_500, 18_805_000),
        numbered(18_805_000),
    ]
    assert planned(_=Span(1, STEP)) == [numbered(0)]
    assert [window.greatest for window in planned(_=Span(1, STEP + 7))] == [None, STEP + 7]
    assert planned(_=Span(1, STEP + 1)) == [numbered(0, STEP), numbered(STEP)]


def test_nothing_is_planned_of_a_list_without_rows_and_all_of_one_that_cannot_be_seen():
    assert planned() == []
    assert planned(_=Span(0, 0)) == [numbered(0)]


def test_windows_that_are_done_are_left_out_when_the_list_has_grown():
    first = planned(_=Span(5, 2 * STEP + 5))
    done = {window_key(window): START for window in first if window.is_closed}
    assert planned(state.Resume(done=done), _=Span(5, 3 * STEP + 5)) == [
        numbered(2 * STEP, 3 * STEP),
        numbered(3 * STEP),
    ]


def test_later_reads_ask_for_what_has_changed_and_for_what_is_new_with_some_numbers_again():
    known = state.Resume(START, numbers={"": 700})
    assert planned(known, _=Span(1, 900)) == [numbered(700 - NUMBERS_AGAIN), Window("changed", START - DAY)]


def test_each_list_of_a_resource_is_counted_by_itself():
    known = state.Resume(START, numbers={"lead": 700})
    assert planned(known, lead=Span(1, 900), deal=Span(1, STEP + 1)) == [
        numbered(650, part="lead"),
        numbered(0, STEP, part="deal"),
        numbered(STEP, part="deal"),
        Window("changed", START - DAY),
    ]


def test_sparse_numbers_make_longer_windows():
    windows = planned(_=Span(1, 100_000_000))
    assert 32 < len(windows) <= 65
    assert all(later.after == sooner.until for sooner, later in pairwise(windows))


def keys(look: Look) -> list[str]:
    return [row[0] for row in look("SELECT window_key FROM sync_state ORDER BY ALL")]


def numbers(look: Look) -> list[Any]:
    return look("SELECT resource, part, number FROM sync_number")


def test_a_row_that_comes_back_with_old_dates_is_found_by_its_number(data_dir, look):
    source = filled()
    sync(data_dir, [account(source, resources=ALL)], now=lambda: source.now)
    assert numbers(look) == [("deals", "", 8)]
    source.now += DAY
    source.add(500, OPENED - timedelta(days=300))
    source.asked.clear()
    sync(data_dir, [account(source, resources=ALL)], now=lambda: source.now)
    assert look("SELECT count(*) FROM deal WHERE deal_id = 'lead:500'") == [(1,)]
    assert numbers(look) == [("deals", "", 500)]
    assert {window.kind for name, window in source.asked if name == "deals"} == {"numbered", "changed"}


def test_a_first_read_that_was_stopped_goes_on_with_the_windows_it_lacks(data_dir, look):
    source = filled()
    for number in (STEP + 1, 2 * STEP + 1):
        source.add(number, OPENED)

    def fail(name: str, window: Window) -> None:
        if window.after == STEP:
            raise RetriableError("no answer")

    source.before_page = fail
    run = sync(data_dir, [account(source, resources=ALL)], now=lambda: source.now, parallel=1)
    assert run.state == "failed"
    assert keys(look) == [f"numbered::0:{STEP}"]
    assert numbers(look) == []
    source.before_page = lambda name, window: None
    source.asked.clear()
    source.add(3 * STEP + 1, OPENED - DAY)
    assert sync(data_dir, [account(source, resources=ALL)], now=lambda: source.now).is_well
    asked = [window for name, window in source.asked if name == "deals"]
    assert {window.after for window in asked} == {STEP, 2 * STEP, 3 * STEP}
    assert numbers(look) == [("deals", "", 3 * STEP + 1)]
    assert keys(look) == []


def test_an_open_window_is_never_done(data_dir, look):
    source = filled()
    two = replace(DEALS, spans=lambda api: {"a": Span(1, 8), "b": Span(1, STEP + 1)})

    def fail(name: str, window: Window) -> None:
        if window.part == "b" and window.is_closed:
            raise RetriableError("no answer")

    source.before_page = fail
    assert sync(data_dir, [account(source, resources=(RESOURCES[0], two))], parallel=1).state == "failed"
    read = [(window.part, window.until) for name, window in source.asked if name == "deals"]
    assert read[:2] == [("a", None), ("b", STEP)]
    assert keys(look) == []


def test_everything_is_read_again_when_asked_to(data_dir):
    source = filled()
    for _ in range(2):
        sync(data_dir, [account(source, resources=ALL)], now=lambda: source.now, full=True)
    assert [window for name, window in source.asked if name == "deals"] == [numbered(0), numbered(0)]


@pytest.mark.parametrize(("error", "fails"), [(RetriableError("x"), {"deals"}), (CredentialsError("x"), set())])
def test_a_list_whose_reach_cannot_be_found_out_fails_alone_and_a_lost_account_whole(data_dir, error, fails):
    source = filled()
    source.failing["spans"] = error
    run = sync(data_dir, [account(source, resources=ALL)], now=lambda: source.now)
    assert run.state == "failed"
    statuses = {status.resource: status.state for status in run.account("main").resources}
    assert (statuses["users"] == "done") == bool(fails)
    assert statuses["deals"] == "failed"


def test_a_lane_that_is_held_up_holds_up_no_other(data_dir):
    """One thread a lane: that of deals waits until users, which come later, are read."""
    source, is_over = filled(), threading.Event()

    def wait(name: str, window: Window) -> None:
        if name == "calls":
            is_over.set()
        elif name == "deals" and not is_over.wait(20):
            raise RetriableError("calls were held up")

    source.before_page = wait
    held = (replace(DEALS, after=()), RESOURCES[2])
    assert sync(data_dir, [account(source, resources=held)], now=lambda: source.now, parallel=1).is_well
