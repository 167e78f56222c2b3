"""What a sync reads, in which windows, what it remembers, and what a failure stops."""

import os
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fake_source import OPENED, RESOURCES, START, FakeSource, account, filled
from sync_words import Look, tables_of

from connectors.connector import Window
from connectors.errors import CredentialsError, ForbiddenError, RetriableError
from sync import publication, publish_all, sync
from sync.plan import first_windows, plan, window_key
from warehouse import state
from warehouse.database import LockedError, WarehouseError, open_warehouse, writer_lock
from warehouse.load import Loader
from warehouse.publish import Local, read_manifest
from warehouse.status import read_status

DAY = timedelta(days=1)
DEALS = RESOURCES[1]


def asked(source: FakeSource, name: str) -> list[Window]:
    return [window for resource, window in source.asked if resource == name]


def test_the_first_read_goes_by_windows_of_creation_from_the_beginning():
    windows = first_windows(DEALS, begin=OPENED, start=START)
    assert windows[0] == Window("created", None, OPENED)
    assert windows[1] == Window("created", OPENED, OPENED + 30 * DAY)
    assert windows[-2:] == [Window("created", OPENED + 30 * DAY, START), Window("created", START)]


def test_the_last_window_of_creation_is_open_so_that_it_is_never_done():
    last = first_windows(DEALS, begin=OPENED, start=START)[-1]
    assert (last, last.is_closed) == (Window("created", START), False)
    by_change = first_windows(replace(DEALS, windows=("changed_within",)), begin=OPENED, start=START)
    assert by_change[-1] == Window("changed_within", OPENED + 30 * DAY, START)  # what changed since is read afterwards


def test_what_is_dated_in_the_future_is_there_after_the_first_read(data_dir: Path, look: Look):
    source = filled()
    source.add(99, START + 3 * DAY)
    for _ in range(2):
        sync(data_dir, [account(source)], now=lambda: START)
        assert look("SELECT count(*) FROM deal WHERE deal_id = 'lead:99'") == [(1,)]
    assert look("SELECT count(*) FROM sync_state WHERE window_key LIKE 'created:%:'") == [(0,)]


def test_a_day_later_the_full_windows_of_the_first_read_are_the_same():
    now, later = (first_windows(DEALS, begin=OPENED, start=START + n * DAY) for n in (0, 1))
    assert now[:-2] == later[: len(now) - 2]


def test_later_reads_go_by_change_from_before_the_watermark_without_an_end():
    known = state.Resume(START)
    ten = timedelta(minutes=10)
    assert plan(DEALS, known, begin=OPENED, start=START + DAY, overlap=ten) == [Window("changed", START - ten)]


def test_a_resource_without_change_times_is_read_between_watermark_and_start():
    only_created = replace(DEALS, windows=("created",))
    ten = timedelta(minutes=10)
    found = plan(only_created, state.Resume(START), begin=OPENED, start=START + DAY, overlap=ten)
    assert found == [Window("created", START - ten, START + DAY)]


def test_done_windows_of_an_unfinished_first_read_are_left_out():
    windows = first_windows(DEALS, begin=OPENED, start=START)
    known = state.Resume(None, {window_key(windows[1]): START})
    assert plan(DEALS, known, begin=OPENED, start=START, overlap=DAY) == [windows[0], *windows[2:]]


def test_a_first_read_by_change_time_ends_with_what_changed_meanwhile(data_dir: Path, look: Look):
    by_change = replace(DEALS, windows=("changed_within", "changed", "ids"))
    source = filled()

    def change(name: str, window: Window) -> None:
        if name == "deals" and window.kind == "changed_within" and 5 not in moved:
            moved.add(5)
            source.move(5, START + timedelta(minutes=1))  # out of a window nobody has read yet

    moved: set[int] = set()
    source.before_page = change
    resources = (RESOURCES[0], by_change, *RESOURCES[2:])
    run = sync(data_dir, [account(source, resources=resources)])
    windows = [window for window in asked(source, "deals") if window.kind != "ids"]
    assert windows[-1] == Window("changed", START - timedelta(minutes=10))
    assert {window.kind for window in windows[:-1]} == {"changed_within"}
    assert look("SELECT count(*) FROM deal") == [(8,)]
    assert run.account("main").resource("deals").watermark == START

    source.now, source.asked = START + DAY, []
    sync(data_dir, [account(source, resources=resources)])
    assert [window.kind for window in asked(source, "deals") if window.kind != "ids"] == ["changed"]


def test_a_first_read_by_change_time_goes_on_where_it_was_stopped():
    by_change = replace(DEALS, windows=("changed_within", "changed"))
    windows = first_windows(by_change, begin=OPENED, start=START)
    known = state.Resume(None, {window_key(windows[1]): START})
    assert plan(by_change, known, begin=OPENED, start=START, overlap=DAY) == [windows[0], windows[2]]
    assert {window.kind for window in windows} == {"changed_within"}


def test_a_first_sync_reads_everything_and_the_next_only_what_changed(data_dir: Path, look: Look):
    source = filled()
    first = sync(data_dir, [account(source)])
    assert first.is_well
    assert look("SELECT count(*), count(deleted_at) FROM deal") == [(8, 0)]
    assert look("SELECT count(*) FROM deal_stage_transition") == [(3,)]

    source.now, source.asked = START + DAY, []
    source.add(10, START + timedelta(hours=1), tags=("new",))
    source.move(2, START + timedelta(hours=2))
    source.delete(3, START + timedelta(hours=3))
    second = sync(data_dir, [account(source)])
    assert second.is_well
    assert asked(source, "deals")[0] == Window("changed", START - timedelta(minutes=10))
    assert look("SELECT stage_id FROM deal WHERE deal_id = 'lead:2'") == [("status:12",)]
    assert look("SELECT deal_id FROM deal WHERE deleted_at IS NOT NULL") == [("lead:3",)]
    assert second.account("main").resource("deals").n_read == 2


def test_ids_that_a_walk_names_are_read_after_everything_else(data_dir: Path):
    source = filled()
    sync(data_dir, [account(source)])
    assert source.asked[-1] == ("deals", Window("ids", ids=("9",)))


def test_ids_not_read_again_because_of_a_failure_are_asked_for_next_time(data_dir: Path):
    source = filled()

    def refuse(name: str, window: Window) -> None:
        if window.kind == "ids":
            raise RetriableError("too busy")

    source.before_page = refuse
    assert not sync(data_dir, [account(source)]).is_well
    source.before_page, source.asked, source.events = (lambda name, window: None), [], []
    assert sync(data_dir, [account(source)]).is_well
    assert source.asked[-1] == ("deals", Window("ids", ids=("9",)))
    source.asked = []
    sync(data_dir, [account(source)])
    assert ("deals", Window("ids", ids=("9",))) not in source.asked


def test_watermarks_are_the_start_of_the_run_by_the_sources_clock(data_dir: Path, look: Look):
    sync(data_dir, [account(filled())])
    assert look("SELECT resource, complete_from, watermark FROM coverage ORDER BY resource") == [
        (table, OPENED, START) for table in ("call", "deal", "deal_stage_transition", "user")
    ]


def test_a_failed_resource_keeps_its_watermark_and_does_not_stop_others(data_dir: Path, look: Look):
    source = filled()
    sync(data_dir, [account(source)])
    source.now, source.failing = START + DAY, {"deals": RetriableError("the CRM does not answer")}
    run = sync(data_dir, [account(source)])
    states = {status.resource: (status.state, status.error) for status in run.account("main").resources}
    assert states == {
        "users": ("done", None),
        "deals": ("failed", "the CRM does not answer"),
        "calls": ("done", None),
        "events": ("done", None),
    }
    assert run.state == run.account("main").state == "failed"
    assert look("SELECT resource, watermark FROM coverage WHERE resource IN ('deal', 'call') ORDER BY ALL") == [
        ("call", START + DAY),
        ("deal", START),
    ]
    assert look("SELECT resource, status, error FROM sync_run WHERE run_id = 2 AND status <> 'done'") == [
        ("deals", "failed", "the CRM does not answer")
    ]


def test_a_forbidden_list_fails_alone(data_dir: Path):
    source = filled()
    source.failing = {"calls": ForbiddenError("the token may not read calls")}
    run = sync(data_dir, [account(source)])
    assert [s.resource for s in run.account("main").resources if s.state == "failed"] == ["calls"]


def test_a_bug_in_a_resource_fails_it_with_a_sentence_and_no_details(data_dir: Path):
    source = filled()
    source.failing = {"calls": KeyError("+7 916 123-45-67")}
    run = sync(data_dir, [account(source)])
    error = run.account("main").resource("calls").error
    assert error == "An error in the program (KeyError); the log has the details."


def test_refused_credentials_stop_the_account_and_not_the_others(data_dir: Path, look: Look):
    refused, fine = filled(), filled()
    refused.failing = {"account": CredentialsError("AMOCRM_TOKEN was refused; make a new one")}
    fine.number = "2"
    run = sync(data_dir, [account(refused), account(fine, "shop")])
    assert (run.account("main").state, run.account("main").error) == (
        "failed",
        "AMOCRM_TOKEN was refused; make a new one",
    )
    assert run.account("shop").state == "done"
    assert look("SELECT DISTINCT account_id FROM deal") == [("shop",)]


def test_credentials_refused_in_the_middle_leave_every_unfinished_resource_failed(data_dir: Path, look: Look):
    source = filled()
    source.failing = {"deals": CredentialsError("the account is blocked")}
    run = sync(data_dir, [account(source)])
    assert run.account("main").error == "the account is blocked"
    assert run.account("main").resource("events").state == "failed"
    assert look("SELECT watermark FROM coverage WHERE resource IN ('deal', 'deal_stage_transition')") == [(None,)] * 2


def test_another_account_behind_the_same_id_is_refused_and_nothing_is_written(data_dir: Path, look: Look):
    source = filled()
    sync(data_dir, [account(source)])
    source.number = "777"
    source.add(99, START)
    run = sync(data_dir, [account(source)])
    assert "main was number 31000001 in its CRM so far, now number 777 answers" in (run.account("main").error or "")
    assert look("SELECT count(*) FROM deal WHERE deal_id = 'lead:99'") == [(0,)]


def test_full_reads_everything_again_and_moves_no_watermark_back(data_dir: Path):
    source = filled()
    sync(data_dir, [account(source)])
    before, source.asked = tables_of(data_dir), []
    sync(data_dir, [account(source)], full=True)
    assert Window("created", None, OPENED) in asked(source, "deals")
    assert tables_of(data_dir) == before


def test_only_the_resources_asked_for_are_read(data_dir: Path):
    source = filled()
    run = sync(data_dir, [account(source)], resources=["users"])
    assert {name for name, _ in source.asked} == {"users"}
    assert run.is_well
    assert run.account("main").resource("deals").state == "skipped"


def test_a_source_that_feeds_another_account_fills_that_ones_tables(data_dir: Path, look: Look):
    main, pbx = filled(), FakeSource(number="5")
    only_calls = (RESOURCES[2],)
    sync(data_dir, [account(main), account(pbx, "pbx", feeds="main", resources=only_calls)])
    assert look("SELECT DISTINCT account_id FROM call") == [("main",)]
    assert look("SELECT account_id FROM account") == [("main",)]
    pbx.number = "6"
    run = sync(data_dir, [account(pbx, "pbx", feeds="main", resources=only_calls)])
    assert "now number 6 answers" in (run.account("pbx").error or "")


def test_a_table_two_sources_fill_is_covered_as_far_as_both_are(data_dir: Path, look: Look):
    main, pbx = filled(), FakeSource(number="5", now=START - DAY, opened_at=OPENED + DAY)
    sync(data_dir, [account(main), account(pbx, "pbx", feeds="main", resources=(RESOURCES[2],))])
    coverage = look("SELECT complete_from, watermark FROM coverage WHERE resource = 'call'")
    assert coverage == [(OPENED + DAY, START - DAY)]


def test_a_second_sync_is_refused_while_one_runs(data_dir: Path):
    with writer_lock(data_dir), pytest.raises(LockedError):
        sync(data_dir, [account(filled())])


def test_the_status_file_tells_the_run(data_dir: Path):
    sync(data_dir, [account(filled())])
    status = read_status(data_dir)
    assert status is not None
    assert (status["run_id"], status["state"]) == (1, "done")
    (mine,) = status["accounts"]
    deals = next(resource for resource in mine["resources"] if resource["resource"] == "deals")
    assert (mine["account_id"], mine["name"], mine["state"]) == ("main", "Fake & Co", "done")
    assert deals == {
        "resource": "deals",
        "state": "done",
        "n_read": 8,
        "n_written": 25,
        "n_unknown": 0,
        "windows_done": 5,  # four of creation, one of ids
        "windows_total": 5,
        "watermark": "2026-03-01T03:00:00Z",
        "error": None,
        "warnings": [],
        "failure": None,
    }
    assert [path.name for path in data_dir.iterdir() if path.name.endswith(".tmp")] == []


def test_an_account_that_was_not_asked_for_stays_in_the_status(data_dir: Path):
    sync(data_dir, [account(filled())])
    sync(data_dir, [account(FakeSource(number="2"), "shop")])
    status = read_status(data_dir) or {}
    assert [mine["account_id"] for mine in status["accounts"]] == ["shop", "main"]


def test_a_failure_stays_in_the_status_until_its_resource_is_read_well(data_dir: Path):
    source = filled()
    source.failing = {"calls": RetriableError("down")}

    def failed(*names: str) -> dict[str, Any]:
        sync(data_dir, [account(source)], resources=names, now=lambda: source.now)
        source.now += DAY
        (mine,) = (read_status(data_dir) or {})["accounts"]
        return {one["resource"]: one["failure"] for one in mine["resources"] if one["failure"]}

    for names in ((), ("deals",), ("users",)):
        told = failed(*names)
        assert [*told] == ["calls"]
        assert (told["calls"]["at"], told["calls"]["error"]["text"]) == ("2026-03-01T03:00:00Z", "down")
    source.failing = {}
    assert not failed("calls")


def test_progress_is_told_per_resource(data_dir: Path):
    told: list[tuple[str, str, int, int | None]] = []
    sync(data_dir, [account(filled())], progress=lambda *step: told.append(step))
    assert ("main", "deals", 0, 4) in told
    assert ("main", "deals", 4, 4) in told


def test_a_run_asked_to_stop_ends_and_the_next_goes_on(data_dir: Path):
    source, stop = filled(), threading.Event()

    def stopping(name: str, window: Window) -> None:
        if name == "deals":
            stop.set()

    source.before_page = stopping
    run = sync(data_dir, [account(source)], stop=stop)
    assert run.state == "interrupted"
    assert (read_status(data_dir) or {})["state"] == "interrupted"
    source.before_page = lambda name, window: None
    assert sync(data_dir, [account(source)]).is_well


def test_a_full_disk_is_a_sentence_and_the_next_run_goes_on(data_dir: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    source = filled()
    with monkeypatch.context() as patched:
        patched.setattr(Loader, "load", full)
        with pytest.raises(WarehouseError, match=r"is full. Free some space and run again: nothing"):
            sync(data_dir, [account(source)])
    assert (read_status(data_dir) or {})["state"] == "failed"
    assert sync(data_dir, [account(source)]).is_well


def test_apis_are_closed_whatever_happens(data_dir: Path):
    source = filled()
    source.failing = {"deals": KeyError("bug")}
    sync(data_dir, [account(source)])
    assert source.closed == 1


def test_the_folder_for_tokens_is_for_its_owner_only(data_dir: Path):
    sync(data_dir, [account(filled())])
    assert os.stat(data_dir / "state" / "main").st_mode & 0o777 == 0o700


def test_a_source_that_does_not_say_when_it_was_opened_is_read_from_2010(data_dir: Path, look: Look):
    source = filled()
    source.opened_at = None
    sync(data_dir, [account(source)])
    assert look("SELECT DISTINCT complete_from FROM coverage") == [(datetime(2010, 1, 1, tzinfo=UTC),)]


def test_what_was_synced_is_published_with_its_marts(data_dir: Path):
    sync(data_dir, [account(filled())])
    manifest = publish_all(data_dir, now=START + timedelta(hours=1))
    tables = manifest["tables"]
    assert {name: tables[name]["rows"] for name in ("deal", "client", "deal_state", "call_episode")} == {
        "deal": 8,
        "client": 8,
        "deal_state": 8,
        "call_episode": 1,
    }
    assert (manifest["as_of"], manifest["accounts"][0]["is_stale"]) == ("2026-03-01T03:00:00Z", False)
    assert read_manifest(data_dir / "publication") == manifest


def test_a_first_sync_that_failed_leaves_nothing_to_publish(data_dir: Path):
    source = filled()
    source.failing["account"] = CredentialsError("no token")
    sync(data_dir, [account(source)])
    with pytest.raises(WarehouseError, match="nothing to publish"):
        publish_all(data_dir, local={"main": Local()}, now=START)
    assert not (data_dir / "publication").exists()


def test_an_account_that_could_not_be_read_is_named_beside_those_that_were(data_dir: Path):
    locked = filled()
    locked.failing["account"] = CredentialsError("no token")
    sync(data_dir, [account(filled()), account(locked, "shop")])
    manifest = publish_all(data_dir, local={"main": Local(), "shop": Local()}, now=START)
    assert [one["account_id"] for one in manifest["accounts"]] == ["main"]
    assert manifest["unread_accounts"] == ["shop"]


def test_a_publish_is_refused_while_a_sync_runs(data_dir: Path):
    with writer_lock(data_dir), pytest.raises(LockedError):
        publish_all(data_dir, now=START)


def test_a_row_that_is_there_twice_is_never_published(data_dir: Path):
    sync(data_dir, [account(filled())])
    engine = open_warehouse(data_dir)
    with engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO deal FROM deal LIMIT 1")
    engine.dispose()
    with pytest.raises(WarehouseError, match="rows twice in deal; nothing was published"):
        publish_all(data_dir, now=START)
    assert not (data_dir / "publication").exists()


def test_marts_that_fail_leave_no_draft(data_dir: Path, monkeypatch: pytest.MonkeyPatch):
    sync(data_dir, [account(filled())])
    monkeypatch.setattr(publication, "build_parts", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        publish_all(data_dir, now=START)
    assert list((data_dir / "publication").iterdir()) == []
