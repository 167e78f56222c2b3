"""Which account a portal is that tells no number of its own: the one that was first read under its address.

A renamed portal leads from its old address to the new one and stays the same account: where it has led to is remembered
in the account's private folder, for the old address is given up sooner or later. An address that nothing has led to is
another account.
"""

import logging
import os
from pathlib import Path

import orjson

from connectors.auth import fill, sync_folder

log = logging.getLogger(__name__)


def known_as(asked: str, now: str, file: Path) -> str:
    """The host a portal was first read under. asked: that of the configuration; now: the one which has answered; file:
    JSON, the first host by each that was led to."""
    first = _read(file)
    name = first.get(asked, asked)
    if now not in (asked, name) and first.get(now) != name:
        try:
            _write(file, {**first, now: name})
        except OSError as error:
            log.warning("%s: that it is %s now cannot be kept in %s (%s)", name, now, file.name, error.strerror)
    return name


def _read(file: Path) -> dict[str, str]:
    try:
        found = orjson.loads(file.read_bytes())
    except (FileNotFoundError, NotADirectoryError, orjson.JSONDecodeError):
        return {}
    return found if isinstance(found, dict) else {}


def _write(file: Path, first: dict[str, str]) -> None:
    """Replace the file in one step."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = file.with_name(f".{file.name}.{os.getpid()}")
    os.close(os.open(new, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600))
    fill(new, orjson.dumps(first))
    os.replace(new, file)
    sync_folder(file.parent)
