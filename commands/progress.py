"""What a running sync shows on standard error: bars on a terminal, and at the end a line per resource anywhere."""

import sys
from collections.abc import Iterator
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from app.i18n import translated
from commands.text import _
from warehouse.status import ResourceStatus, RunStatus


class SyncProgress:
    """Bars of a run, by account and resource. A context, because bars must leave the terminal as they found it."""

    def __init__(self) -> None:
        self._tasks: dict[tuple[str, str], TaskID] = {}
        self._bars = Progress(
            TextColumn("{task.description:<34}"),
            BarColumn(bar_width=30),
            TextColumn("{task.completed:>4.0f}/{task.total:.0f}"),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            disable=not sys.stderr.isatty(),
        )

    def __enter__(self) -> "SyncProgress":
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def __call__(self, account_id: str, resource: str, done: int, total: int | None) -> None:
        """The sync moved: so many windows of a resource are read, of so many (None: not known yet)."""
        key = (account_id, resource)
        if key not in self._tasks:
            self._tasks[key] = self._bars.add_task(" · ".join(key), total=total or 1)
        self._bars.update(self._tasks[key], completed=done, total=max(total or 1, done))


def lines(run: RunStatus) -> Iterator[str]:
    """What a run did, for people: a line per resource that was asked for, and what went wrong."""
    for account in run.accounts:
        if account.error:
            yield f"{account.account_id}: {translated(account.error, _)}"
        for resource in account.resources:
            if resource.state == "done" or (resource.state == "failed" and resource.error != account.error):
                yield f"{account.account_id} · {_of(resource)}"
            for warning in resource.warnings:
                yield f"{account.account_id} · {resource.resource}: {translated(warning, _)}"


def _of(resource: ResourceStatus) -> str:
    if resource.state == "failed":
        return f"{resource.resource}: {translated(resource.error, _) if resource.error else _('failed')}"
    counts = _("{read} read, {written} rows written").format(read=resource.n_read, written=resource.n_written)
    return f"{resource.resource}: {counts}"
