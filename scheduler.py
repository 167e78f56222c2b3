"""When: the jobs of `config.yaml` in the foreground, one at a time.

A run that was missed (the machine slept or was off, the last run was still going) is caught up once. SIGTERM and
Ctrl-C let the running job finish what it has in hand: it is asked through `stop`, and the next one does not begin.
Every job is also a command, for those who have cron.
"""

import signal
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from types import FrameType
from zoneinfo import ZoneInfo

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.blocking import BlockingScheduler
from apscheduler.triggers.cron import CronTrigger

from config import Config, cron_trigger

Job = Callable[[], None]
CAUGHT_UP_S = 24 * 3600
"""A run missed by less than this still happens, once: yesterday's missed night must not wait for the next one."""


LastRun = Callable[[str], datetime | None]
"""When a job last began, by its name; None: never."""


def scheduler_of(config: Config, jobs: Mapping[str, Job], last_run: LastRun, now: datetime) -> BlockingScheduler:
    """A scheduler with every job of `jobs` that `schedule` has a cron string for.

    A job whose time passed since it last began, or that never ran, is due at once.
    """
    # One thread for all jobs: they write the same warehouse.
    scheduler = BlockingScheduler(timezone=ZoneInfo(config.timezone), executors={"default": ThreadPoolExecutor(1)})
    for name, cron in config.schedule.model_dump().items():
        if cron and name in jobs:
            trigger = cron_trigger(cron, config.timezone)
            due = {"next_run_time": now} if is_overdue(trigger, last_run(name), now) else {}
            scheduler.add_job(
                jobs[name],
                trigger,
                id=name,
                max_instances=1,
                coalesce=True,
                misfire_grace_time=CAUGHT_UP_S,
                **due,
            )
    return scheduler


def next_runs(scheduler: BlockingScheduler, now: datetime) -> dict[str, datetime]:
    """When each job of a scheduler that did not start yet will run, by its name."""
    runs: dict[str, datetime] = {}
    for job in scheduler.get_jobs():
        at = getattr(job, "next_run_time", None) or job.trigger.get_next_fire_time(None, now)
        if at is not None:
            runs[job.id] = at.astimezone(scheduler.timezone)
    return runs


def is_overdue(trigger: CronTrigger, last_began_at: datetime | None, now: datetime) -> bool:
    """Whether the trigger's instant after the last beginning has passed already."""
    if last_began_at is None:
        return True
    due = trigger.get_next_fire_time(None, last_began_at + timedelta(minutes=1))  # clocks differ by seconds
    return due is not None and due <= now


def run(
    config: Config,
    jobs: Mapping[str, Job],
    *,
    last_run: LastRun,
    stop: threading.Event,
    starting: Callable[[Mapping[str, datetime]], None],
    stopping: Callable[[], None],
) -> None:
    """Work until SIGTERM or Ctrl-C; `stop` is set then, and the running job is waited for.

    starting is told when each job runs next, in the time zone of the configuration.
    """
    now = datetime.now(UTC)
    scheduler = scheduler_of(config, jobs, last_run, now)

    stopper: list[threading.Thread] = []

    def shut_down() -> None:
        stopping()
        scheduler.shutdown(wait=True)

    def ask_to_stop(_signal: int, _frame: FrameType | None) -> None:
        stop.set()
        # From a thread of its own: shutdown waits for the job, and a signal handler must not.
        if not stopper:
            stopper.append(threading.Thread(target=shut_down))
            stopper[0].start()

    before = {number: signal.signal(number, ask_to_stop) for number in (signal.SIGTERM, signal.SIGINT)}
    starting(next_runs(scheduler, now))
    try:
        scheduler.start()
        for thread in stopper:
            thread.join()  # start() returns as soon as shutdown begins, before the running job has finished
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
