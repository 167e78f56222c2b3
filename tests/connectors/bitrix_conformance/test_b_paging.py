"""Paging: cases 34 to 47 of section 10 of the Bitrix24 reference; and windows by number."""

from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import httpx
import pytest
from bitrix_portal import (
    CALLS,
    DEALS,
    DEPARTMENTS,
    HISTORY,
    NOW,
    OLD_DEALS,
    TASKS,
    USERS,
    Portal,
    call,
    currency,
    deal,
    department,
    error,
    ids,
    many,
    move,
    settings,
    task,
    user,
)

from connectors.bitrix24.batching import Outcome
from connectors.bitrix24.paging import List, by_start, keyset, spans, walk, whole
from connectors.connector import Span, Window
from connectors.errors import ForbiddenError, PayloadError
from demo.bitrix24_values import Instant

HOW = ("single", "chained", "windows")


def upto(n: int) -> list[int]:
    return list(range(1, n + 1))


@pytest.mark.parametrize("out_of_range", ["first", "empty"])
@pytest.mark.parametrize("n", [100, 120, 150])
def test_b34_a_list_that_begins_anew_beyond_its_end_ends(out_of_range, n):
    portal = Portal({"deal": many(n)}, out_of_range_page=out_of_range)
    by_hand = List("crm.deal.list", params={"order": {"ID": "ASC"}})
    assert ids(by_start(portal.open(), by_hand)) == upto(n)
    assert len(portal.asked("/crm.deal.list")) < 5


@pytest.mark.parametrize("how", HOW)
def test_b35_a_total_of_nothing_does_not_end_a_list(how):
    portal = Portal({"deal": many(230)})
    assert ids(keyset(portal.open(settings(batching=how)), OLD_DEALS, until=230)) == upto(230)


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("total", ["absent", "0"])
def test_b36_nor_does_none_at_all(how, total):
    portal = Portal({"deal": many(230)}, negative_start_total=total)
    assert ids(keyset(portal.open(settings(batching=how)), DEALS, until=230)) == upto(230)


def test_b37_a_last_page_that_is_full_is_followed_by_an_empty_one():
    portal = Portal({"deal": many(100)})
    assert ids(keyset(portal.open(settings(batching="single")), OLD_DEALS)) == upto(100)
    assert len(portal.asked("/crm.deal.list")) == 3


@pytest.mark.parametrize("how", ["single", "chained"])
@pytest.mark.parametrize("listing", [OLD_DEALS, DEALS], ids=["old", "items"])
def test_b38_rows_that_come_and_go_hide_no_other(how, listing):
    portal = Portal({"deal": many(400)})
    n_asked = 0

    def before(_: httpx.Request) -> None:
        nonlocal n_asked
        n_asked += 1
        gone = {1, 2, 3, 50, 51, 100, 399} if n_asked > 1 else set()
        portal.rows.put("deal", [row for row in many(400 + 10 * n_asked) if row["ID"] not in gone])

    portal.before = before
    read = ids(keyset(portal.open(settings(batching=how)), listing))
    assert len(read) == len(set(read))
    assert set(upto(400)) - {1, 2, 3, 50, 51, 100, 399} <= set(read)


def test_b39_a_row_that_changes_behind_the_walk_is_read_anew_by_what_has_changed():
    portal = Portal({"deal": many(120)})
    api = portal.open(settings(batching="single"))
    versions = []

    def before(_: httpx.Request) -> None:
        changed = deal(1, TITLE="New", DATE_MODIFY=Instant(NOW + 1))
        portal.rows.put("deal", [changed, *many(119, 2)] if len(portal.asked()) else many(120))

    portal.before = before
    since = Window("changed", datetime.fromtimestamp(NOW, UTC))
    for window in (Window("numbered"), since):
        for page in walk(api, OLD_DEALS, window):
            versions += [(row["TITLE"], api.read_seq()) for row in page if row["ID"] == "1"]
    (old, read_first), (new, read_last) = versions
    assert (old, new) == ("Deal 1", "New")
    assert read_last > read_first


@pytest.mark.parametrize("how", ["single", "chained"])
def test_b40_a_list_that_ignores_the_cursor_is_an_error_and_no_loop(how):
    wrong = replace(OLD_DEALS, cursor="id", key="ID")  # old lists want capitals and pass over what they do not know
    portal = Portal({"deal": many(120)}, shuffle_without_order=False)
    with pytest.raises(PayloadError, match=r"does not go on after id 50\b.*begins anew"):
        ids(keyset(portal.open(settings(batching=how)), wrong))
    assert len(portal.asked()) == 2


@pytest.mark.parametrize("listing", [OLD_DEALS, DEALS], ids=["text", "number"])
def test_b41_ids_are_numbers_however_they_are_written(listing):
    numbers = [9, 10, 99, 100, 101, *range(900, 1100)]
    portal = Portal({"deal": [deal(number) for number in numbers]})
    assert ids(keyset(portal.open(), listing)) == numbers


def scripted(*pages: list[int], **keys) -> SimpleNamespace:
    """An API whose answers are given; a command's filter is kept."""
    waiting = [[{"ID": str(number)} for number in page] for page in pages]
    api = SimpleNamespace(settings=settings(**keys), in_hand=nullcontext, asked=[])

    def chain(method: str, wanted: int, commands):
        made = commands(wanted)
        api.asked.append([command.params["filter"] for command in made])
        return [Outcome(waiting.pop(0)) for _ in made]

    api.chain = chain
    return api


def test_b42_where_filters_join_only_an_empty_page_is_the_end():
    api = scripted(upto(49), list(range(50, 100)), [100], [])
    listing = replace(OLD_DEALS, to_the_end=True)
    assert ids(keyset(api, listing)) == upto(100)
    assert api.asked == [[{">ID": 0}], [{">ID": 49}], [{">ID": 99}], [{">ID": 100}]]


def test_short_pages_may_be_distrusted_everywhere():
    api = scripted(upto(49), [50], [], short_page_is_end=False)
    assert ids(keyset(api, OLD_DEALS)) == upto(50)


def test_rows_that_come_twice_within_a_page_are_rows_once():
    page = sorted([*upto(49), 7])
    assert ids(keyset(scripted(page, [50], batching="single"), OLD_DEALS)) == upto(50)


def test_rows_above_the_window_are_not_of_it():
    """Where the upper bound of the filter is passed over."""
    assert ids(keyset(scripted(upto(50), batching="single"), OLD_DEALS, until=30)) == upto(30)


@pytest.mark.parametrize("how", HOW)
def test_b43_rows_may_call_their_id_otherwise_than_the_filter(how):
    portal = Portal({"task": [task(number) for number in upto(180)]})
    assert ids(keyset(portal.open(settings(batching=how)), TASKS, until=180)) == upto(180)


def test_b44_departments_are_paged_by_start():
    portal = Portal({"department": [department(number) for number in upto(120)]})
    assert ids(by_start(portal.open(), DEPARTMENTS)) == upto(120)
    assert [entry["params"]["start"] for entry in portal.asked("/department.get")] == [0, 50, 100]


def test_b45_a_whole_list_is_read_whatever_its_total():
    money = [currency(n, code) for n, code in enumerate(("RUB", "USD", "EUR", "KZT"), 1)]
    portal = Portal({"currency": money})
    assert [row["CURRENCY"] for row in whole(portal.open(), "crm.currency.list")] == ["RUB", "USD", "EUR", "KZT"]


def test_b46_no_rows_and_no_total_are_no_rows():
    portal = Portal({"user": []})
    assert ids(keyset(portal.open(), USERS)) == []
    assert len(portal.asked("/user.get")) == 1


@pytest.mark.parametrize(
    "result", [{"ID": "5", "ADMIN": True}, [{"STATUS_ID": "NEW"}], {"items": [{"id": 7}]}, [["1"]]], ids=str
)
def test_an_answer_that_is_another_list_is_no_empty_one(result):
    for listing in (OLD_DEALS, TASKS):
        with pytest.raises(PayloadError, match="not this list"):
            listing.numbered(result)


@pytest.mark.parametrize("result", [None, [], {}, {"tasks": []}, {"tasks": None}], ids=str)
def test_a_list_of_tasks_without_rows_is_empty_however_it_is_written(result):
    assert TASKS.numbered(result) == {}


@pytest.mark.parametrize("how", HOW)
def test_users_are_read_by_id_too(how):
    portal = Portal({"user": [user(number) for number in upto(130)]})
    assert ids(keyset(portal.open(settings(batching=how)), USERS, until=130)) == upto(130)


@pytest.mark.parametrize("how", HOW)
def test_b47_telephony_is_asked_for_in_order(how):
    portal = Portal({"call": [call(number) for number in upto(230)]}, shuffle_without_order=True)
    assert ids(keyset(portal.open(settings(batching=how)), CALLS, until=230)) == upto(230)
    first = portal.asked()[0]["params"]
    assert how != "single" or (first["SORT"], first["ORDER"]) == ("ID", "ASC")


@pytest.mark.parametrize("how", HOW)
def test_history_is_read_by_id(how):
    portal = Portal({"stagehistory:2": [move(number) for number in upto(120)]})
    assert ids(keyset(portal.open(settings(batching=how)), HISTORY, until=120)) == upto(120)


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("listing", [OLD_DEALS, DEALS], ids=["old", "items"])
def test_windows_by_number_fit_each_other(how, listing):
    portal = Portal({"deal": many(1000)})
    api = portal.open(settings(batching=how))
    windows = [Window("numbered", after=0, until=333), Window("numbered", after=333, until=700)]
    read = [ids(walk(api, listing, window)) for window in [*windows, Window("numbered", after=700)]]
    assert read == [list(range(1, 334)), list(range(334, 701)), list(range(701, 1001))]


def test_an_open_window_is_asked_for_as_far_as_there_were_rows_and_then_for_what_has_come_since():
    portal = Portal({"deal": many(1130)})
    api = portal.open()
    assert spans(api, {"": DEALS}) == {"": Span(1, 1130)}
    window = Window("numbered", after=0, greatest=1000)
    assert ids(walk(api, DEALS, window)) == upto(1130)
    assert portal.n_commands() == [2, 20, 7]  # and a single page before the last


def test_gaps_among_ids_cost_few_pages():
    portal = Portal({"deal": [deal(number) for number in range(10, 20_001, 10)]})
    assert len(ids(keyset(portal.open(), DEALS, until=20_000))) == 2000
    assert sum(portal.n_commands()) < 40 + 15


@pytest.mark.parametrize("listing", [OLD_DEALS, DEALS], ids=["old", "items"])
def test_a_window_without_rows_costs_few_pages(listing):
    portal = Portal({"deal": many(3, first=90_000)}, page_cost_s=1.0)
    api = portal.open()
    for _ in range(5):
        assert ids(keyset(api, listing, after=20_000, until=22_500)) == []
    assert len(portal.asked()) == 5
    assert portal.server.meter.used(("webhook:1", listing.method), portal.server.switches) <= 5 * 7


def test_a_dense_window_is_one_request():
    portal = Portal({"deal": many(10_000)}, page_cost_s=0.2)
    api = portal.open()
    ids(keyset(api, DEALS, until=1000))
    n_before = len(portal.asked())
    assert len(ids(keyset(api, DEALS, after=2500, until=5000))) == 2500
    assert len(portal.asked()) == n_before + 1


def test_what_has_changed_is_mostly_one_request():
    portal = Portal({"deal": [*many(200), deal(201, DATE_MODIFY=Instant(NOW + 5))]})
    api = portal.open()
    since = datetime.fromtimestamp(NOW, UTC).astimezone()
    assert ids(walk(api, OLD_DEALS, Window("changed", since))) == [201]
    assert ids(walk(api, DEALS, Window("changed", since - timedelta(days=1)))) == upto(201)
    assert len(portal.asked("/crm.deal.list")) == 1


def test_rows_are_asked_for_by_their_ids_fifty_a_page():
    portal = Portal({"deal": many(200), "call": [call(1), call(2)], "user": [user(5)], "task": [task(8)]})
    api = portal.open()
    wanted = Window("ids", ids=tuple(str(number) for number in [*range(1, 150), 999]))
    assert ids(walk(api, OLD_DEALS, wanted)) == list(range(1, 150))
    assert ids(walk(api, DEALS, wanted)) == list(range(1, 150))
    assert ids(walk(api, CALLS, wanted)) == [1, 2]
    assert ids(walk(api, USERS, wanted)) == [5]
    assert ids(walk(api, TASKS, wanted)) == [8]


def test_a_sweep_asks_for_ids_alone():
    portal = Portal({"deal": many(60)})
    (first, *_) = walk(portal.open(), OLD_DEALS, Window("sweep"))
    assert set(first[0]) == {"ID"}


def test_spans_tell_how_far_lists_reach():
    portal = Portal({"deal": many(60, 41), "call": [call(7)], "task": []}, denied_methods=("crm.stagehistory.list",))
    found = spans(portal.open(), {"d": DEALS, "o": OLD_DEALS, "c": CALLS, "t": TASKS, "h": HISTORY})
    assert found == {"d": Span(41, 100), "o": Span(41, 100), "c": Span(7, 7), "h": Span(0, 0)}
    with pytest.raises(ForbiddenError):  # whoever reads it is told why
        ids(walk(portal.open(), HISTORY, Window("numbered")))


def test_an_account_that_is_lost_is_told_by_any_command():
    portal = Portal({"deal": many(5)})
    portal.before = lambda _: error(401, "NO_AUTH_FOUND", "Wrong authorization data")
    with pytest.raises(Exception, match="did not accept the webhook"):
        spans(portal.open(), {"": DEALS})
