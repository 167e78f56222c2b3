"""`voronka backup` and `voronka restore`: everything needed to go on, in one file, and back."""

import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

from audit import take_over
from commands.audit import noted
from commands.erasing import forget_again
from commands.forget import proven
from commands.text import _, say
from config import Config
from warehouse import suppression
from warehouse.backup import Manifest, Moved, backup, restore
from warehouse.database import WAREHOUSE


def run_backup(config: Config, file: Path) -> int:
    if (config.data_dir / WAREHOUSE).exists():
        noted(config, "backup", file=str(file.absolute()), is_personal=True)  # before: the line is in the backup too
    with bar() as progress:
        made = backup(config.data_dir, file, program=program(), now=datetime.now(UTC), moved=moving(progress))
    say(_("Backed up to {file}: {size}.").format(file=file, size=size_of(made)))
    say(
        _(
            "The file holds personal data, tokens of the accounts and the keys of phone hashes and webhooks; only its "
            "owner can read it. Keep it like a password. Not in it: the configuration, the environment variables it "
            "names, and the publication, which `voronka publish` makes again."
        )
    )
    return 0


def run_restore(config: Config, file: Path, *, force: bool) -> int:
    with bar() as progress:
        done = restore(file, config.data_dir, force=force, now=datetime.now(UTC), moved=moving(progress))
    at = done.manifest.created_at.astimezone(UTC)
    if done.aside is not None:
        take_over(config.settings_path, done.aside / config.settings_path.name)
    again = forget_again(config)
    noted(config, "restore", file=str(file.absolute()), made=f"{at:%Y-%m-%d %H:%M}")
    say(
        _("Restored into {folder} as of {at} UTC: {size}.").format(
            folder=config.data_dir, at=f"{at:%Y-%m-%d %H:%M}", size=size_of(done.manifest)
        )
    )
    if done.aside is not None:
        say(
            _("What was there is in {aside}. Remove that folder when you miss nothing: it holds personal data.").format(
                aside=done.aside
            )
        )
    if again.people:
        say(_("People forgotten since the backup and erased from it again: {n}.").format(n=len(again.people)))
    elif len(listed := suppression.saved(config.data_dir)["hashes"]):
        say(_("Nobody on the list of those who were forgotten ({n} hashes) was in it.").format(n=len(listed)))
    left = [proven(config, person) for person in again.people]
    say(_("Now: `voronka publish`, so that readers see what was restored."))
    return max(left, default=0)


def program() -> str:
    try:
        return version("voronka")
    except PackageNotFoundError:
        return "?"


def size_of(manifest: Manifest) -> str:
    return _("{n} files, {megabytes} MB").format(n=len(manifest.members), megabytes=f"{manifest.size / 1e6:.1f}")


def bar() -> Progress:
    """On standard error, where that is a terminal."""
    return Progress(
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    )


def moving(progress: Progress) -> Moved:
    task = progress.add_task("", total=None)
    return lambda done, of: progress.update(task, completed=done, total=of)
