"""What a running sync shows on standard error: bars on a terminal, and at the end a line per resource anywhere."""

import sys
from collections.abc import Iterator
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from app.i18n import translated
from commands.text import _
from warehouse.status import ResourceStatus, RunStatus


class Bars:
    """Bars on a terminal, each by what it is of. A context, because bars must leave the terminal as they found it."""

    def __init__(self) -> None:
        self._tasks: dict[str, TaskID] = {}
        self._bars = Progress(
            TextColumn("{task.description:<34}"),
            BarColumn(bar_width=30),
            TextColumn("{task.completed:>4.0f}/{task.total:.0f}"),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            disable=not sys.stderr.isatty(),
        )

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def move(self, of: str, done: int, total: int | None) -> None:
        """So much is done, of so much (None: not known yet)."""
        if of not in self._tasks:
            self._tasks[of] = self._bars.add_task(of, total=total or 1)
        self._bars.update(self._tasks[of], completed=done, total=max(total or 1, done))


class SyncProgress(Bars):
    """By account and resource: windows that are read."""

    def __call__(self, account_id: str, resource: str, done: int, total: int | None) -> None:
        self.move(f"{account_id} · {resource}", done, total)


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
