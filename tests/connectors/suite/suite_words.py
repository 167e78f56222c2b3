"""What the suite says: runs over a source, and all that a warehouse holds after them."""

import shutil
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

from amo_demo import rows
from demo_crm import make_blank, scratch, tables_of
from sources import Source, find_sources

from sync import sync
from warehouse.database import PHONE_KEY
from warehouse.status import RunStatus

DAY = timedelta(days=1)
RAW = "SELECT account_id, entity, native_id, raw_hash FROM raw_record ORDER BY ALL"
Contents = dict[str, list[tuple[Any, ...]]]


def blank(data_dir: Path) -> None:
    """A warehouse without rows. All have one key, so that what they hold can be compared."""
    make_blank(data_dir)
    if not (data_dir / PHONE_KEY).exists():
        (data_dir / PHONE_KEY).write_text("5e" * 32)


def run(source: Source, data_dir: Path, **how: Any) -> RunStatus:
    """A whole sync by the source's clock, one window after the other: which card mentions a thing first is always the
    same."""
    blank(data_dir)
    return sync(data_dir, [source.as_account()], now=lambda: source.now, parallel=1, **how)


def contents(data_dir: Path) -> Contents:
    """All canonical rows, but what depends on the run they were read in, and which raw objects there are."""
    return {**tables_of(data_dir), "raw_record": rows(data_dir, RAW)}


def synced(name: str, data_dir: Path) -> Source:
    """A source that was read into `data_dir` for the first time, undisturbed."""
    shutil.copytree(_synced(name)[0], data_dir)
    return find_sources()[name]()


def a_day_later(name: str, data_dir: Path) -> Source:
    """A source that was read into `data_dir` before the day that has gone by since."""
    source = synced(name, data_dir)
    source.passes(DAY)
    source.a_day()
    return source


Done = tuple[Path, int]
"""Where an undisturbed run left its data, and how many requests it took."""


@cache
def _synced(name: str) -> Done:
    return _well_run(find_sources()[name](), Path(scratch().name) / f"{name}-first")


@cache
def _synced_twice(name: str) -> Done:
    folder = Path(scratch().name) / f"{name}-second"
    return _well_run(a_day_later(name, folder), folder)


def _well_run(source: Source, folder: Path) -> Done:
    assert run(source, folder).is_well
    return folder, len(source.asked)


@cache
def after_first(name: str) -> Contents:
    return contents(_synced(name)[0])


@cache
def after_second(name: str) -> Contents:
    return contents(_synced_twice(name)[0])


def n_first(name: str) -> int:
    """How many requests a first sync takes."""
    return _synced(name)[1]


def n_second(name: str) -> int:
    """How many requests the sync of a day later takes."""
    return _synced_twice(name)[1]
