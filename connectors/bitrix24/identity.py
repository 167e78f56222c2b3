"""Which account a portal is: the one that was first read under its address.

A renamed portal leads from its old address to the new one and stays the same account: where it has led to is remembered
in the account's private folder, for the old address is given up sooner or later. An address that nothing has led to is
another account, unless the portal says its own number (`member_id`), which OAuth alone tells: it stays the same under
any address, and under one address another number is another portal.
"""

import logging
import os
from pathlib import Path

import orjson

from connectors.auth import fill, sync_folder

log = logging.getLogger(__name__)


MEMBER = "member_id "
"""What stands before a portal's own number: no host begins so."""


def known_as(asked: str, now: str, file: Path, *, member: str | None = None) -> str:
    """The host a portal was first read under; of one that has taken the address of another, its own number.

    asked: the host of the configuration; now: the one which has answered; member: the portal's number, where it is
    told; file: JSON, the first host by each that was led to, and by the number.
    """
    first = _read(file)
    name = first.get(asked, asked)
    own = [f"{MEMBER}{member}"] if member else []
    if own and own[0] in first:
        name = first[own[0]]
    elif own and any(known.startswith(MEMBER) and host == name for known, host in first.items()):
        return str(member)
    fresh = {known: name for known in (*own, asked, now) if known != name and first.get(known) != name}
    if fresh:
        try:
            _write(file, first | fresh)
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
