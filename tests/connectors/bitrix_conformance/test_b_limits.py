"""Limits: cases 13 to 23 of section 10 of the Bitrix24 reference."""

import itertools
import random
import threading
from datetime import UTC, datetime

import httpx
import pytest
from amo_fake import FakeTime
from bitrix_portal import DEALS, NOW, OLD_DEALS, TASKS, Portal, error, ids, many, settings, task

from connectors.bitrix24.access import portal_pace
from connectors.bitrix24.batching import MOST_IN_HAND, Command
from connectors.bitrix24.budget import AFTER_RESET_S, BATCH, FIRST_COMMANDS, SHARE, Budget
from connectors.bitrix24.paging import keyset, spans
from connectors.errors import PayloadError, RetriableError
from connectors.http import HEADROOM, Pace
from demo.gate import Fault

WEBHOOK = "webhook:1"
LIMIT_S = 480.0
ALL = list(range(1, 1001))


def statuses(portal: Portal) -> set[int]:
    return {entry["status"] for entry in portal.asked()}


def spent(portal: Portal, method: str, seconds: float) -> None:
    """Somebody with the same webhook has used up server time."""
    portal.server.meter.add((WEBHOOK, method), seconds, portal.server.switches)


def test_b13_200_requests_take_as_long_as_the_bucket_needs_and_none_is_refused():
    portal = Portal(limiter=True)
    api = portal.open()
    for _ in range(200):
        api.call("profile")
    assert statuses(portal) == {200}
    assert 75 <= portal.time.now - 1_000 < 77


def test_a_bucket_that_is_smaller_than_told_refuses_and_nothing_is_lost():
    portal = Portal({"deal": many(3000)}, limiter=True, rate_x=20)
    assert ids(keyset(portal.open(settings(batching="single")), OLD_DEALS)) == list(range(1, 3001))
    assert statuses(portal) == {200, 503}


def test_b14_pleas_to_slow_down_now_and_then_cost_rows_nothing_and_little_time():
    portal, dice = Portal({"deal": many(2500)}), random.Random(7)

    def before(_: httpx.Request) -> httpx.Response | None:
        return error(503, "QUERY_LIMIT_EXCEEDED", "Too many requests") if dice.random() < 0.1 else None

    portal.before = before
    assert ids(keyset(portal.open(settings(batching="single")), OLD_DEALS)) == list(range(1, 2501))
    assert portal.time.now - 1_000 < 60


def test_a_portal_that_goes_on_refusing_ends_the_run():
    portal = Portal()
    portal.before = lambda _: error(503, "QUERY_LIMIT_EXCEEDED", "Too many requests")
    api = portal.open()
    with pytest.raises(RetriableError, match="rate limited"):
        api.call("profile")
    assert len(portal.hosts) == 10


@pytest.mark.parametrize("portal", ["volga", "neva"])
def test_b15_accounts_of_one_portal_share_its_bucket(tmp_path, portal):
    time = FakeTime()
    hosts = {"main": "https://volga.bitrix24.ru", "shop": f"https://{portal}.bitrix24.ru"}
    paces = [portal_pace(settings(id=name), host, str(tmp_path / name)) for name, host in hosts.items()]
    for pace in paces:
        pace.clock, pace.sleep = time, time.sleep
    for _ in range(30):
        for pace in paces:
            pace.wait()
    assert len(time.sleeps) == (10 if portal == "volga" else 0)


def test_a_burst_is_there_again_after_a_while():
    time = FakeTime()
    pace = Pace(2, burst=50, clock=time, sleep=time.sleep)
    for _ in range(50):
        pace.wait()
    assert time.sleeps == []
    time.now += 25 * (1 + HEADROOM)
    for _ in range(51):
        pace.wait()
    assert time.sleeps == [pytest.approx((1 + HEADROOM) / 2)]


def test_after_a_pause_there_is_no_burst():
    time = FakeTime()
    pace = Pace(2, burst=50, clock=time, sleep=time.sleep)
    pace.pause(10)
    for _ in range(3):
        pace.wait()
    assert time.sleeps == pytest.approx([10, (1 + HEADROOM) / 2, (1 + HEADROOM) / 2])


def refusals(api) -> list[tuple]:
    """What the budget will be told of refusals."""
    told, refused = [], api._calls._budget.refused
    api._calls._budget.refused = lambda *what: (told.append(what), refused(*what))
    return told


def test_b16_a_method_out_of_time_waits_for_its_reset_and_the_others_go_on():
    portal = Portal({"deal": many(3), "task": [task(1)]})
    api = portal.open()
    api.call("crm.deal.list")  # whose answer says that its minute ends in 600 s
    portal.server.faults.append(Fault("batch:crm.deal.list", body={"error": "OPERATION_TIME_LIMIT"}))
    outcomes = api.batch({"d": OLD_DEALS.command({}), "t": TASKS.command({})})
    assert [len(outcomes["d"].result), len(outcomes["t"].result["tasks"])] == [3, 1]
    first, second = portal.asked("/batch")
    assert list(first["params"]["cmd"]) == ["d", "t"]
    assert list(second["params"]["cmd"]) == ["d"]
    assert 599 <= second["at"] - first["at"] <= 603


def test_b16_a_single_call_waits_by_the_portals_clock():
    portal = Portal({"deal": many(3)})
    api = portal.open()
    api.call("profile")  # which tells the portal's time
    refusal = {"error": "OPERATION_TIME_LIMIT", "time": {"operating_reset_at": NOW + 300}}
    portal.server.faults.append(Fault("crm.deal.list", status=429, body=refusal))
    assert ids(keyset(api, OLD_DEALS)) == [1, 2, 3]
    refused, repeated = portal.asked("/crm.deal.list")
    assert 299 <= repeated["at"] - refused["at"] <= 303


def test_b16_threads_of_other_methods_do_not_wait_for_a_method_that_is_out_of_time():
    held, now = threading.Event(), [0.0]

    def sleep(seconds: float) -> None:
        held.wait(10)
        now[0] += seconds

    budget = Budget(LIMIT_S, clock=lambda: now[0], sleep=sleep)
    budget.refused("crm.deal.list", 600)
    waiting = threading.Thread(target=budget.take, args=[{"crm.deal.list": 1}], daemon=True)
    waiting.start()
    assert budget.take({"tasks.task.list": 3}, most=50) == {"tasks.task.list": 3}
    assert budget.take({"crm.deal.list": 5, "user.get": 2}, most=50) == {"user.get": 2}
    assert waiting.is_alive()
    held.set()
    waiting.join(10)
    assert not waiting.is_alive()


@pytest.mark.parametrize("how", ["single", "chained"])
def test_b17_a_method_that_is_nearly_out_of_time_is_delayed_instead_of_refused(how):
    portal = Portal({"deal": many(500)}, limiter=True)
    spent(portal, "crm.deal.list", 470)
    assert ids(keyset(portal.open(settings(batching=how)), OLD_DEALS)) == ALL[:500]
    assert statuses(portal) == {200}
    assert 600 <= portal.time.now - 1_000 < 700


def test_b17_server_time_is_used_up_and_never_overdrawn():
    """400 pages of 4 s: 480 s in the first ten minutes, as much in the next, and so on."""
    portal = Portal({"deal": many(20_000)}, limiter=True, page_cost_s=4.0, timeout_s=600)
    api = portal.open()
    told = refusals(api)
    assert len(ids(keyset(api, OLD_DEALS))) == 20_000
    assert (told, statuses(portal)) == ([], {200})
    assert portal.time.now - 1_000 < (1600 / (SHARE * LIMIT_S) + 0.1) * 600


@pytest.mark.parametrize("billing", ["nested", "envelope"])
def test_no_batch_is_refused_whatever_name_the_portal_bills_it_to(billing):
    portal = Portal({"deal": many(5000)}, limiter=True, page_cost_s=6.0, timeout_s=600, op_billing=billing)
    api = portal.open()
    told = refusals(api)
    assert len(ids(keyset(api, OLD_DEALS))) == 5000
    assert (told, statuses(portal)) == ([], {200})


def test_a_limit_that_is_lower_than_told_is_learnt_from_one_refusal():
    portal = Portal({"deal": many(12_000)}, limiter=True, page_cost_s=4.0, timeout_s=600, op_limit_s=420)
    api = portal.open()
    told = refusals(api)
    assert len(ids(keyset(api, OLD_DEALS))) == 12_000
    assert 1 <= len(told) <= 2


def test_who_waits_for_a_method_keeps_no_other_from_its_rows():
    portal = Portal({"deal": many(120), "task": [task(number) for number in range(1, 121)]})
    api = portal.open(settings())
    held, budget = threading.Event(), api._calls._budget

    def sleep(_: float) -> None:
        held.wait(20)
        raise RetriableError("The run was ended.")

    def held_back() -> None:
        with pytest.raises(RetriableError):
            list(keyset(api, OLD_DEALS))

    budget._sleep = sleep
    budget.refused("crm.deal.list", 600)
    deals = [threading.Thread(target=held_back, daemon=True) for _ in range(MOST_IN_HAND)]
    for thread in deals:
        thread.start()
    tasks = threading.Thread(target=lambda: list(keyset(api, TASKS, until=120)), daemon=True)
    tasks.start()
    tasks.join(10)
    assert not tasks.is_alive()
    held.set()
    for thread in deals:
        thread.join(10)
    assert not any(thread.is_alive() for thread in deals)


@pytest.mark.parametrize(("used_s", "at_once"), [(0.12, 7), (300.0, 2), (404.0, 1)])
def test_full_batches_of_unknown_cost_go_at_once_as_far_as_a_minute_of_each_is_left(used_s, at_once):
    """A request is cut after a minute: seven of them cannot use up 480 s, whoever has used some of it before."""
    budget = Budget(LIMIT_S, clock=lambda: 0.0, sleep=lambda _: None)
    method, full = "crm.item.list", {"crm.item.list": 50}
    taken = budget.take({method: 2}, most=50, in_batch=True)
    budget.settle(taken, {method: {"operating": used_s, "operating_reset_at": 600, "finish": 1.0}})
    assert [budget.take(full, most=50, in_batch=True)[method] for _ in range(at_once)] == [50] * at_once
    assert budget._room(method, 50) == 0


def test_an_answer_to_several_commands_tells_what_one_of_them_costs():
    """So as many full batches go at once as there are threads, and not as many as could be cut."""
    portal = Portal({"deal": many(1000)}, page_cost_s=0.2, clock_runs=False)
    api = portal.open()
    spans(api, {"": DEALS})
    budget, method = api._calls._budget, DEALS.method
    for _ in range(MOST_IN_HAND):
        assert budget._room(method, 50) == 50
        budget.take({method: 50}, most=50, in_batch=True)


def test_what_is_left_for_less_than_a_request_that_is_cut_is_tried_with_a_few_commands():
    budget = Budget(LIMIT_S, clock=lambda: 0.0, sleep=lambda _: None)
    method = "crm.item.list"
    taken = budget.take({method: 2}, most=50, in_batch=True)
    budget.settle(taken, {method: {"operating": 420.0, "operating_reset_at": 600, "finish": 1.0}})
    assert budget.take({method: 50}, most=50, in_batch=True)[method] == FIRST_COMMANDS


def test_threads_together_do_not_overdraw():
    """What is under way counts, before its answer tells what it has cost."""
    budget = Budget(LIMIT_S, clock=lambda: 0.0, sleep=lambda _: None)
    method = "crm.item.list"
    for operating in (5.0, 10.0):  # one second a command
        taken = budget.take({method: 5}, most=50, in_batch=True)
        assert taken[method] == FIRST_COMMANDS
        budget.settle(taken, {method: {"operating": operating, "operating_reset_at": 600, "finish": operating}})
    under_way = [budget.take({method: 50}, most=50, in_batch=True)[method] for _ in range(10)]
    assert under_way == [50] * 9 + [5]
    assert sum(under_way) + 10 <= SHARE * LIMIT_S


def test_b18_a_budget_that_comes_back_minute_by_minute_is_waited_for_again():
    portal = Portal({"deal": many(3)}, limiter=True)
    for seconds in (90, 300, 300):
        spent(portal, "crm.deal.list", seconds)
        portal.time.now += 60
    assert ids(keyset(portal.open(), OLD_DEALS)) == [1, 2, 3]
    refused = [entry["at"] for entry in portal.asked() if entry["status"] == 429]
    assert len(refused) >= 2
    assert all(later - sooner >= 10 for sooner, later in itertools.pairwise(refused))


def test_b19_a_portal_that_tells_no_server_time_is_only_paced():
    portal = Portal({"deal": many(1000)}, flavour="box")
    assert ids(keyset(portal.open(), OLD_DEALS)) == ALL
    assert portal.time.sleeps == []


def test_b20_a_reset_may_be_an_iso_text():
    portal = Portal({"deal": many(100)}, limiter=True, op_reset_iso=True)
    spent(portal, "crm.deal.list", 470)
    assert ids(keyset(portal.open(settings(batching="single")), OLD_DEALS)) == ALL[:100]
    assert 600 <= portal.time.now - 1_000 < 700


@pytest.mark.parametrize("reset", [None, "soon", {}, True])
def test_b20_a_reset_that_cannot_be_read_is_passed_over(reset):
    time = FakeTime()
    budget = Budget(LIMIT_S, clock=time, sleep=time.sleep)
    taken = budget.take({"user.get": 1})
    budget.settle(taken, {"user.get": {"operating": 479.0, "operating_reset_at": reset, "finish": NOW}})
    assert budget.take({"user.get": 1}) == {"user.get": 1}


def test_b21_an_error_without_times_disturbs_nothing():
    portal = Portal({"deal": many(1)})
    portal.server.faults.append(
        Fault("crm.deal.list", status=400, body={"error": "ERROR_CORE", "error_description": ""})
    )
    api = portal.open()
    with pytest.raises(PayloadError):
        ids(keyset(api, OLD_DEALS))
    assert ids(keyset(api, OLD_DEALS)) == [1]
    assert api._calls._budget._uses["crm.deal.list"].n_requests == 0


def test_b22_times_in_whole_seconds_are_read():
    portal = Portal({"deal": many(1000)}, time_int=True, page_cost_s=0.05)
    api = portal.open()
    assert ids(keyset(api, OLD_DEALS)) == ALL
    assert api.server_now() >= datetime.fromtimestamp(NOW, UTC)


def test_b23_a_batch_that_is_cut_off_is_halved():
    portal = Portal({"deal": many(5000)}, page_cost_s=1.6)
    assert ids(keyset(portal.open(settings(operating_limit_s=1e6)), OLD_DEALS, until=5000)) == list(range(1, 5001))
    assert portal.n_commands()[:2] == [FIRST_COMMANDS, 50]
    cut = [entry["status"] for entry in portal.asked("/batch")].index(504)
    assert portal.n_commands()[cut : cut + 2] == [50, 25]
    assert [entry["status"] for entry in portal.asked()].count(504) == 1


def test_b23_commands_of_a_batch_that_was_cut_off_are_each_answered():
    portal = Portal({"deal": many(3)}, page_cost_s=1.6)
    api = portal.open(settings(operating_limit_s=1e6))
    outcomes = api.batch({f"k{n}": OLD_DEALS.command({"ID": 1 + n % 3}) for n in range(60)})
    assert [outcome.result[0]["ID"] for outcome in outcomes.values()] == ["1", "2", "3"] * 20


def test_a_portal_that_is_slow_is_asked_for_as_much_as_it_can_give_in_half_a_minute():
    portal = Portal({"deal": many(2000)})
    portal.before = lambda _: portal.time.sleep(50)
    ids(keyset(portal.open(), OLD_DEALS, until=2000))
    assert portal.n_commands() == [5, 3]


def test_what_is_said_of_the_whole_batch_blocks_batches_only():
    time = FakeTime()
    budget = Budget(LIMIT_S, clock=time, sleep=time.sleep)
    budget.refused(BATCH, 30)
    assert budget.take({"profile": 1}) == {"profile": 1}
    assert not time.sleeps
    budget.take({"user.get": 1}, in_batch=True)
    assert time.now - 1_000 == pytest.approx(30 + AFTER_RESET_S)


def test_a_list_of_items_is_metered_like_any_other():
    portal = Portal({"deal": many(120)}, limiter=True)
    spent(portal, "crm.item.list", 479)
    assert ids(keyset(portal.open(), DEALS)) == list(range(1, 121))
    assert statuses(portal) == {200}


def test_a_batch_of_commands_waits_for_the_one_that_is_full():
    portal = Portal({"deal": many(1)}, limiter=True)
    spent(portal, "crm.deal.list", 500)
    outcomes = portal.open().batch({"d": OLD_DEALS.command({}), "p": Command("profile")})
    assert (outcomes["d"].result[0]["ID"], outcomes["p"].result["ID"]) == ("1", "5")
