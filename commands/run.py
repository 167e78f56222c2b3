"""`voronka sync`, `publish` and `scheduler`: the straight line with a configuration, an environment and a person."""

import difflib
import gc
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import scheduler
from app.i18n import translated
from commands.erasing import forget_again
from commands.progress import SyncProgress, lines
from commands.text import _, note, say
from config import Config, ConfigError
from connectors.connector import find_connectors
from connectors.records import Deal
from settings import SettingsStore
from sync import SyncAccount, publish_all, sync
from sync.reconcile import reconcile
from warehouse.database import LockedError, WarehouseError
from warehouse.publish import Local, read_manifest
from warehouse.status import RunStatus, plain, read_status

log = logging.getLogger("voronka")

FAILED = 1
MOST_LINES = 1_000_000
"""Of the audit log, however long they are kept: some 300 MB."""

NO_ACCOUNTS = "There are no accounts in the configuration. Add one to `accounts`, or run `voronka init`."
CRM_FEEDS = (
    "{account} is a CRM of its own and cannot feed {feeds}: their deals have the same numbers and would overwrite each "
    "other. Remove `feeds` there."
)
UNKNOWN_RESOURCE = "There is no resource {got}. Known: {known}."
UNKNOWN_RESOURCE_NEAR = "There is no resource {got}. Did you mean `{near}`?"


def run_sync(
    config: Config, accounts: Sequence[str], *, full: bool, resources: Sequence[str], stop: threading.Event
) -> int:
    """Read the accounts (all when none is named); 0, or 1 when anything failed or was stopped."""
    return told(sync_with(config, accounts, full=full, resources=resources, stop=stop))


def sync_with(
    config: Config,
    accounts: Sequence[str] = (),
    *,
    full: bool = False,
    resources: Sequence[str] = (),
    stop: threading.Event | None = None,
    env: Mapping[str, str] = os.environ,
) -> RunStatus:
    """One run over the configured accounts."""
    targets = targets_of(config, accounts, env)
    check_resources(resources, targets)
    forget_again(config)
    kept, now = config.retention, datetime.now(UTC)
    SettingsStore(config.settings_path).prune_audit(before=kept.since("audit", now), most=MOST_LINES)
    with SyncProgress() as progress, collecting_rarely():
        return sync(
            config.data_dir,
            targets,
            full=full,
            resources=list(resources) or None,
            overlap=timedelta(seconds=config.sync.overlap_s),
            progress=progress,
            parallel=config.sync.windows_in_parallel,
            raw_versions_days=kept.raw_versions_days,
            runs_since=kept.since("sync_run", now),
            stop=stop,
        )


@contextmanager
def collecting_rarely() -> Iterator[None]:
    """Let the cyclic garbage collector run seldom: a run makes millions of objects, hardly any of them in cycles.

    At its usual thresholds it walked the queued records over and over.
    """
    usual = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(200_000, 50, 1_000)
    try:
        yield
    finally:
        gc.set_threshold(*usual)
        gc.unfreeze()


def check_with(
    config: Config, accounts: Sequence[str] = (), env: Mapping[str, str] = os.environ
) -> dict[str, dict[str, Any]]:
    """What came of each account that can be compared, as the status keeps it."""
    targets = [one for one in targets_of(config, accounts, env) if one.connector.comparables and not one.feeds]
    if not targets:
        return {}
    results: dict[str, dict[str, Any]] = plain(
        reconcile(config.data_dir, targets, overlap=timedelta(seconds=config.sync.overlap_s))
    )
    return results


def targets_of(config: Config, accounts: Sequence[str], env: Mapping[str, str]) -> list[SyncAccount]:
    entries = [config.account(account_id) for account_id in accounts] or list(config.accounts)
    if not entries:
        raise ConfigError(NO_ACCOUNTS)
    known = find_connectors()
    for entry in entries:
        if entry.feeds and any(Deal in resource.fills for resource in known[entry.connector].resources):
            raise ConfigError(CRM_FEEDS, account=entry.id, feeds=entry.feeds)
    return [SyncAccount(entry.id, known[entry.connector], entry, env, entry.feeds) for entry in entries]


def check_resources(names: Sequence[str], targets: Sequence[SyncAccount]) -> None:
    known = [resource.name for target in targets for resource in target.connector.resources]
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            template = UNKNOWN_RESOURCE_NEAR if near else UNKNOWN_RESOURCE
            raise ConfigError(template, got=name, near="".join(near), known=", ".join(known))


def told(run: RunStatus) -> int:
    """Say what a run did on standard error; its exit code."""
    for line in lines(run):
        note(line)
    if run.state == "interrupted":
        note(_("Stopped. The next run goes on from here."))
    return 0 if run.is_well else FAILED


def run_publish(config: Config) -> int:
    manifest = publish_with(config)
    say(_("Published {generation}.").format(generation=manifest["generation"]))
    return 0


def publish_with(config: Config, *, full: bool = False) -> dict[str, Any]:
    """A generation of what the warehouse holds; its manifest. full: nothing is linked from the one before."""
    forget_again(config)
    return publish_all(
        config.data_dir,
        local={entry.id: local_of(config, entry) for entry in config.accounts if not entry.feeds},
        params=config.mart_params(),
        settings_version=SettingsStore(config.settings_path).version(),
        full=full,
        daily=config.retention.daily_generations,
        monthly=config.retention.monthly_generations,
    )


def local_of(config: Config, entry: Any) -> Local:
    """What the configuration says of an account against its source."""
    calendar_id = entry.id if config.own_calendar_of(entry.id) else None
    return Local(tz=config.timezone_of(entry.id), calendar_id=calendar_id, base_currency=entry.currency)


def run_scheduler(config: Config) -> None:
    """The jobs of the configuration until SIGTERM; what fails is logged, and the next time it is tried again."""
    targets_of(config, (), os.environ)
    stop = threading.Event()

    def read() -> None:
        run = sync_with(config, stop=stop)
        for line in lines(run):
            log.log(logging.INFO if run.is_well else logging.WARNING, line)

    def compare() -> None:
        try:
            results = check_with(config)
        except LockedError:
            raise
        except WarehouseError as error:  # readers get what was read all the same
            log.error("%s", translated(error.said, _))
            return
        for account_id, result in results.items():
            level = logging.INFO if result["state"] == "equal" else logging.WARNING
            log.log(level, "%s: %s", account_id, translated(result["error"] or result["summary"], _))

    def show() -> None:
        log.info("published %s", publish_with(config)["generation"])

    def nightly() -> None:
        try:
            when_free(read, stop)
            when_free(compare, stop)
            when_free(show, stop)
        except WarehouseError as error:  # a full disk, a damaged file: the sentence says what to do
            log.error("%s", translated(error.said, _))

    scheduler.run(
        config,
        {"sync": nightly},
        last_run=lambda _name: last_sync(config),
        stop=stop,
        starting=lambda runs: announce(runs, config.timezone),
        stopping=lambda: note(_("Stopping: what is running finishes what it has in hand.")),
    )
    note(_("Stopped."))


def announce(runs: Mapping[str, datetime], zone: str) -> None:
    for job, at in runs.items():
        note(_("{job}: next at {at} ({zone}).").format(job=job, at=f"{at:%Y-%m-%d %H:%M}", zone=zone))
    note(_("Ctrl-C or SIGTERM stops."))


AGAIN_AFTER_S = 300.0


def when_free(step: Callable[[], None], stop: threading.Event) -> None:
    """Do a step of the night; while another process writes, wait for it, unless `stop` is set."""
    is_told = False
    while not stop.is_set():
        try:
            step()
        except LockedError as error:
            if not is_told:
                log.warning("%s It is tried again every %d minutes.", error, AGAIN_AFTER_S / 60)
                is_told = True
            stop.wait(AGAIN_AFTER_S)
        else:
            return


def last_sync(config: Config) -> datetime | None:
    """When the night began that readers see: the last run, if it was published; None: never, or it was cut short.

    A run that was not published counts only as far as the publication goes, and one that read some resources only as
    far as its data do: what such a night left out is still to be caught up.
    """
    status, manifest = read_status(config.data_dir), read_manifest(config.publication)
    if status is None or manifest is None or status["state"] not in ("done", "failed"):
        return None
    reached = [status["started_at"], manifest["created_at"]]
    if any(resource["state"] == "skipped" for account in status["accounts"] for resource in account["resources"]):
        reached.append(manifest["as_of"])
    return min(map(datetime.fromisoformat, reached))


@contextmanager
def stop_on_signals() -> Iterator[threading.Event]:
    """Set by SIGTERM and the first Ctrl-C: the writer finishes its batch. A second Ctrl-C stops at once."""
    stop = threading.Event()

    def ask(number: int, _frame: Any) -> None:
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
