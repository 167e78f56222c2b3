"""When jobs run, and that they stop cleanly. No clock: instants are given."""

import os
import signal
import threading
from datetime import datetime
from zoneinfo import ZoneInfo

import scheduler
from config import Config, ScheduleConfig

MOSCOW = ZoneInfo("Europe/Moscow")
CONFIG = Config(schedule=ScheduleConfig(sync="0 3 * * *"))


def at(day: int, hour: int) -> datetime:
    return datetime(2026, 3, day, hour, tzinfo=MOSCOW)


def next_run(last: datetime | None, now: datetime) -> datetime | None:
    made = scheduler.scheduler_of(CONFIG, {"sync": lambda: None}, lambda _name: last, now)
    (job,) = made.get_jobs()
    return getattr(job, "next_run_time", None)


def test_a_run_missed_while_the_machine_was_off_is_due_at_once():
    assert next_run(last=at(1, 3), now=at(2, 8)) == at(2, 8)


def test_a_run_that_happened_is_not_repeated():
    assert next_run(last=at(2, 3), now=at(2, 8)) is None  # the trigger decides when the scheduler starts


def test_what_never_ran_is_due_at_once():
    assert next_run(last=None, now=at(2, 8)) == at(2, 8)


def test_a_job_runs_once_at_a_time_and_missed_runs_become_one():
    made = scheduler.scheduler_of(CONFIG, {"sync": lambda: None}, lambda _name: None, at(2, 8))
    (job,) = made.get_jobs()
    assert (job.max_instances, job.coalesce, job.misfire_grace_time) == (1, True, scheduler.CAUGHT_UP_S)


def test_the_next_run_is_told_in_the_zone_of_the_configuration():
    for last, expected in ((at(2, 3), at(3, 3)), (None, at(2, 8))):
        made = scheduler.scheduler_of(CONFIG, {"sync": lambda: None}, lambda _name, last=last: last, at(2, 8))
        assert scheduler.next_runs(made, at(2, 8)) == {"sync": expected}


def test_cron_is_meant_in_the_zone_of_the_configuration():
    made = scheduler.scheduler_of(CONFIG, {"sync": lambda: None}, lambda _name: at(2, 3), at(2, 8))
    (job,) = made.get_jobs()
    assert job.trigger.get_next_fire_time(None, at(2, 8)) == at(3, 3)


def test_sigterm_asks_the_running_job_to_stop_and_waits_for_it():
    stop, finished = threading.Event(), threading.Event()

    def job() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.wait(10)
        finished.set()

    told: list[str] = []
    scheduler.run(
        CONFIG,
        {"sync": job},
        last_run=lambda _name: None,
        stop=stop,
        starting=told.extend,
        stopping=lambda: told.append("stopping"),
    )
    assert finished.is_set()
    assert told == ["sync", "stopping"]


def test_after_stopping_signals_mean_again_what_they_meant():
    before = signal.getsignal(signal.SIGTERM)
    test_sigterm_asks_the_running_job_to_stop_and_waits_for_it()
    assert signal.getsignal(signal.SIGTERM) is before
