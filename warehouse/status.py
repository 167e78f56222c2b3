"""`<data_dir>/status.json`: what the sync is doing, for everybody who may not open the warehouse.

```
{run_id, state, started_at, heartbeat_at, finished_at, accounts: [
    {account_id, number, name, state, error, warnings, checks, check, resources: [
        {resource, state, n_read, n_written, n_unknown, windows_done, windows_total, watermark, error, warnings,
            failure: {at, error} or null}]}]}
```

state of a run: running, done, failed (some account or resource did), interrupted. Of an account and a resource:
waiting, running, done, failed, skipped (not asked for this time), left_out (the source does not give it). error and
each warning: {text, template, fields},
the English sentence and what it takes to say it in another language. number: of the account in its CRM. checks: as in
the manifest, of gates that are looked at after every sync. failure: what went wrong last with a resource, in this run
or an earlier one, until it is read well. n_read: objects of the source; n_written: canonical rows.
check: the last comparison with the CRM itself, null before the first; a sync keeps it (see `write_check`).
Instants are ISO 8601 in UTC. A run that is `running` with an old heartbeat was killed. Accounts that this run did not
read stay as the run before left them.
"""

import os
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from connectors.errors import Phrase

FILE = "status.json"
STALE_AFTER = timedelta(hours=36)
"""A nightly sync makes data at most a day and some hours old."""


@dataclass(frozen=True)
class Failure:
    """What went wrong, as a run says it or as the file keeps it, and when."""

    at: datetime | str
    error: Phrase | Mapping[str, Any]


@dataclass
class ResourceStatus:
    resource: str
    state: str = "waiting"
    n_read: int = 0
    n_written: int = 0
    n_unknown: int = 0
    windows_done: int = 0
    windows_total: int | None = None
    watermark: datetime | None = None
    error: Phrase | None = None
    warnings: list[Phrase] = field(default_factory=list)
    failure: Failure | None = None

    def fail(self, error: Phrase | None, at: datetime) -> None:
        self.state, self.error = "failed", error
        self.failure = self.failure if error is None else Failure(at, error)


@dataclass
class AccountStatus:
    account_id: str
    number: str | None = None
    name: str | None = None
    state: str = "waiting"
    error: Phrase | None = None
    warnings: list[Phrase] = field(default_factory=list)
    checks: list[dict[str, Any]] = field(default_factory=list)
    resources: list[ResourceStatus] = field(default_factory=list)

    def resource(self, name: str) -> ResourceStatus:
        return next(status for status in self.resources if status.resource == name)


@dataclass
class RunStatus:
    run_id: int
    state: str
    started_at: datetime
    heartbeat_at: datetime
    finished_at: datetime | None = None
    accounts: list[AccountStatus] = field(default_factory=list)

    @property
    def is_well(self) -> bool:
        """Everything that was asked for was read."""
        return self.state == "done"

    def account(self, account_id: str) -> AccountStatus:
        return next(status for status in self.accounts if status.account_id == account_id)


def write_status(data_dir: Path, status: RunStatus) -> None:
    """Replace the file whole: a reader sees the old text or the new one."""
    content = asdict(status)
    before = {account["account_id"]: account for account in (read_status(data_dir) or {}).get("accounts", [])}
    for account in content["accounts"]:
        account["check"] = before.pop(account["account_id"], {}).get("check")
    content["accounts"] += before.values()
    _write(data_dir, content)


def write_check(data_dir: Path, account_id: str, result: Mapping[str, Any]) -> None:
    """Keep what a comparison with the CRM came to; whoever calls this holds the writer's lock. An account that no sync
    has told of has no place to keep it.

    ```
    {at, state, n_requests, n_asked, error, summary, notes, history, outcomes: {open: {n_here, n_there}, …}, cells: [
        {month, stage, n_here, n_there, amount_minor_here, amount_minor_there}], lists: [
            {resource, table, n_here, n_read, n_counted, is_whole, n_newer, differences: {kind: n}, sample: [
                {kind, what, id, url, here, there}], told, notes, error}]}
    ```

    state: equal, differs, failed (the account, or a list of it, could not be compared). n_here: living rows on hand;
    n_read: rows compared one by one; n_counted: others, in slices of which the CRM holds as many. n_newer: rows that
    have changed since the last sync, which are no differences. Kinds: missing_here, missing_there, stage, amount,
    owner, created; `gone` is what the CRM does not have and does not say since when: no difference either.
    n_asked: rows the next sync reads again. summary, what, told, notes: sentences, as errors are kept. cells: where
    deals or their sums differ. history: findings of the gate `history_differs`.
    """
    content = read_status(data_dir) or {"accounts": []}
    for account in content["accounts"]:
        if account["account_id"] == account_id:
            account["check"] = result
    _write(data_dir, content)


def _write(data_dir: Path, content: Mapping[str, Any]) -> None:
    options = orjson.OPT_INDENT_2 | orjson.OPT_UTC_Z | orjson.OPT_PASSTHROUGH_SUBCLASS
    replace_file(data_dir / FILE, orjson.dumps(content, default=_plain, option=options))


def plain(content: Any) -> Any:
    """As the file keeps it."""
    return orjson.loads(
        orjson.dumps(content, default=_plain, option=orjson.OPT_UTC_Z | orjson.OPT_PASSTHROUGH_SUBCLASS)
    )


def _plain(value: object) -> Any:
    if isinstance(value, Phrase):
        return {"text": str(value), "template": value.template, "fields": value.fields}
    return str(value)


def read_status(data_dir: Path) -> dict[str, Any] | None:
    """The last run's own account of itself; None when there is none or it cannot be read."""
    try:
        content: dict[str, Any] = orjson.loads((data_dir / FILE).read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return None
    return content


def forget_accounts(data_dir: Path, account_ids: Collection[str]) -> None:
    """Take accounts out of the file."""
    content = read_status(data_dir)
    if content is not None:
        content["accounts"] = [one for one in content["accounts"] if one["account_id"] not in account_ids]
        replace_file(data_dir / FILE, orjson.dumps(content, option=orjson.OPT_INDENT_2))


def failures(data_dir: Path) -> dict[tuple[str, str], Failure]:
    """What went wrong with resources that were not read well since, by account and resource."""
    accounts = (read_status(data_dir) or {}).get("accounts", [])
    found = {
        (account["account_id"], one["resource"]): one.get("failure")
        for account in accounts
        for one in account["resources"]
    }
    return {key: Failure(failure["at"], failure["error"]) for key, failure in found.items() if failure}


def replace_file(file: Path, content: bytes) -> None:
    """Write `file` whole or not at all, also when the power fails. By one process at a time: who holds the lock."""
    new = file.with_name(f".{file.name}.tmp")
    try:
        with open(new, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        new.replace(file)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    sync_folder(file.parent)


def sync_folder(folder: Path) -> None:
    """Make renames in `folder` survive a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def iso(instant: datetime | None) -> str | None:
    """As the status and the manifest write instants: `2026-11-21T00:00:00Z`."""
    return None if instant is None else instant.astimezone(UTC).isoformat().replace("+00:00", "Z")
