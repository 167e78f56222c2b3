"""The audit log: who took something out of here, erased or removed something, or put a backup in; when, and what.

A line says what was asked for and how many rows it had, never what stood in them. It is written before the thing is
done, and what cannot be written down is not done: else whoever fills the disk exports unseen. Lines are rows of `audit`
in `app.sqlite` (`settings.SettingsStore`), which only its owner reads and nothing changes; many processes may write.
"""

import getpass
import os
import sqlite3
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from settings import SettingsStore

UNWRITABLE = (
    "The audit log {file} cannot be written: {reason}. Nothing was done, for nothing is done here without a line in "
    "it: free some space, or mend the rights, and run again."
)

PERSONAL = frozenset({"label", "phone", "text", "name"})
"""Columns of answers that say who a client is."""


class AuditError(Exception):
    """There is no line, so nothing was done. `template` and `fields` let the caller say it in Russian too."""

    def __init__(self, template: str, **fields: object) -> None:
        self.template, self.fields = template, fields
        super().__init__(template.format(**fields))


@dataclass(frozen=True)
class Export:
    """What leaves. what: a metric, `sql`, two generations, the list of a page. form: of the file. rows: of all tables
    together. is_personal: a column says who a client is."""

    what: str
    form: str
    rows: int
    is_personal: bool = False
    tables: tuple[str, ...] = ()


def note_export(file: Path, export: Export, *, author: str, to: str) -> None:
    """to: the file it goes into, else `pipe` or `browser`. Raises AuditError."""
    note(file, "export", author=author, **asdict(export), to=to)


def note(file: Path, action: str, /, *, author: str, **detail: Any) -> None:
    """Add a line to the log in `file`. Raises AuditError."""
    try:
        SettingsStore(file).log(action, author=author, **detail)
    except (OSError, sqlite3.Error) as error:
        raise AuditError(UNWRITABLE, file=file, reason=getattr(error, "strerror", None) or error) from None


def take_over(file: Path, other: Path) -> None:
    """Add to the log in `file` what only the one in `other` has."""
    with suppress(sqlite3.Error):  # a damaged one may be why somebody restores
        SettingsStore(file).take_over_audit(other)


def is_personal(columns: Iterable[str]) -> bool:
    return not PERSONAL.isdisjoint(columns)


def os_user() -> str:
    """Who runs the command; a container may have no name for its user."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
