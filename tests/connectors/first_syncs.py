"""The first sync of an account that nobody has touched, made once a process: later ones are copies of what it left."""

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from demo_crm import scratch

from warehouse.status import RunStatus

_made: dict[str, tuple[Path, RunStatus, list[Any]]] = {}


def first_sync(key: str, data_dir: Path, make: Callable[[Path], tuple[RunStatus, list[Any]]]) -> tuple[RunStatus, list]:
    """How a first sync into `data_dir` ended and what it asked. make: syncs an untouched account into a folder, and
    says the same; key: what that account and its settings are."""
    if key not in _made:
        folder = Path(scratch().name) / f"first-{len(_made)}"
        _made[key] = (folder, *make(folder))
    folder, run, asked = _made[key]
    shutil.copytree(folder, data_dir, dirs_exist_ok=True)
    return copy.deepcopy(run), [*asked]


def is_empty(data_dir: Path) -> bool:
    return not data_dir.exists() or not any(data_dir.iterdir())
