"""`voronka listen`: takes webhooks and notes what they name; the next sync reads it again.

Nothing of a webhook is believed: it is not signed. Its address holds a secret of the account, its body names ids, and
what they are now is asked of the CRM with the account's own token. So a forged one costs a request, no more.
"""

import asyncio
import hmac
import logging
import os
import re
import secrets
import sqlite3
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol

from commands.text import _, note, say
from config import Config, ConfigError
from connectors.connector import Heard, find_connectors
from connectors.http import LOOPBACK
from sync import inbox
from warehouse.database import private_folder, private_opener
from warehouse.status import read_status, sync_folder

log = logging.getLogger("voronka.listen")

KEY = "listen.key"
MOST_BYTES = 1_000_000
MOST_CONNECTIONS = 100
"""Far fewer than the descriptors a process has by default."""
LONGEST_S = 30.0
TAKEN, NOBODY, TOO_BIG, BAD, LATER = (Response(status_code=code) for code in (200, 404, 413, 400, 503))
NO_SUCH_ACCOUNTS = "No account of the configuration sends webhooks."
BROKEN_KEY = (
    "{file} is damaged: it must hold 64 hex digits, which the addresses of webhooks are made from. Restore it from a "
    "backup, or remove it and put the new addresses (`voronka listen --addresses`) into the CRM's settings."
)


def run_listen(config: Config, *, host: str, port: int, only_addresses: bool = False) -> int:
    """Listen until SIGTERM. The addresses are secrets, so that no journal gets them: a person at a terminal does."""
    app = listener(config)
    if only_addresses or sys.stdout.isatty():
        for account_id, path in app.state.paths.items():
            say(_("{account}: webhooks to {address}").format(account=account_id, address=f"https://…{path}"))
    else:
        note(_("`voronka listen --addresses` prints the addresses, which are secret."))
    if only_addresses:
        return 0
    listening = _("Listening on {host}:{port}. Let a proxy with https pass what comes to /hook/ on; Ctrl-C stops.")
    note(listening.format(host=host, port=port))
    if host not in LOOPBACK:
        warning = _(
            "{host} can be reached from other machines, without encryption: a proxy with https belongs before it."
        )
        note(warning.format(host=host))
    # its access log would show the secrets
    uvicorn.run(app, host=host, port=port, http=Short, log_level="warning", access_log=False)
    return 0


class Short(H11Protocol):
    """Connections that end: of more than `MOST_CONNECTIONS` the newest at once, each after `LONGEST_S`, whatever it
    still has to say. A webhook is one short post; who opens connections and sends half a request would take all
    descriptors."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.abort()
        else:
            self.ends = self.loop.call_later(LONGEST_S, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.ends is not None:
            self.ends.cancel()
        super().connection_lost(exc)

    ends: asyncio.TimerHandle | None = None


def listener(config: Config) -> Starlette:
    """The ASGI app; `state.paths` has the secret path of each account."""
    known = find_connectors()
    listening = {entry.id: known[entry.connector] for entry in config.accounts if known[entry.connector].hear}
    if not listening:
        raise ConfigError(NO_SUCH_ACCOUNTS)
    private_folder(config.data_dir)
    key = secret_key(config.data_dir / KEY)
    paths = {account_id: f"/hook/{account_id}/{secret_of(account_id, key)}" for account_id in listening}

    async def hook(request: Request) -> Response:
        account_id = request.path_params["account_id"]
        if account_id not in paths or not hmac.compare_digest(request.url.path.encode(), paths[account_id].encode()):
            return NOBODY
        body = await body_of(request)
        if body is None:
            return TOO_BIG
        connector = listening[account_id]
        assert connector.hear is not None
        try:
            heard = connector.hear(body)
        except ValueError:
            return BAD
        readable = {resource.name for resource in connector.resources if "ids" in resource.windows}
        return await asyncio.to_thread(take, config.data_dir, account_id, heard, readable)

    app = Starlette(routes=[Route("/hook/{account_id}/{secret}", hook, methods=["POST"])])
    app.state.paths = paths
    return app


async def body_of(request: Request) -> bytes | None:
    """The body, or None where it is longer than any webhook: the rest is not waited for."""
    parts, size = [], 0
    try:
        async for part in request.stream():
            parts.append(part)
            size += len(part)
            if size > MOST_BYTES:
                return None
    except ClientDisconnect:
        return b""
    return b"".join(parts)


def take(data_dir: Path, account_id: str, heard: Heard, readable: set[str]) -> Response:
    """Note ids of an account that has been synced before; of another one nothing is done, which nobody is told."""
    number = numbers(data_dir).get(account_id)
    if number is None:  # not synced yet, or the status is lost: whose webhook it is will be known later
        return LATER
    if number != heard.number:
        return TAKEN
    try:
        n = inbox.note(data_dir, account_id, {name: ids for name, ids in heard.ids.items() if name in readable})
    except (sqlite3.OperationalError, OSError):  # full disk, or too busy: the CRM tries again later
        return LATER
    log.info("%s: %d to be read again", account_id, n)
    return TAKEN


def numbers(data_dir: Path) -> Mapping[str, str]:
    """The CRM's own number of each account, as the last sync wrote it into the status."""
    return {
        account["account_id"]: account["number"]
        for account in (read_status(data_dir) or {}).get("accounts", ())
        if account.get("number")
    }


def secret_key(file: Path) -> bytes:
    """What the secrets of all accounts are made from; created once. Who removes the file changes all addresses."""
    if not file.exists():
        make_key(file)
    key = file.read_bytes()
    if not re.fullmatch(rb"[0-9a-f]{64}", key):
        raise ConfigError(BROKEN_KEY, file=file)
    return key


def make_key(file: Path) -> None:
    """A new key, there whole or not at all, unless somebody else makes one at the same moment."""
    new = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with open(new, "w", opener=private_opener) as out:
            out.write(secrets.token_hex(32))
            out.flush()
            os.fsync(out.fileno())
        with suppress(FileExistsError):
            os.link(new, file)
    finally:
        new.unlink(missing_ok=True)
    sync_folder(file.parent)


def secret_of(account_id: str, key: bytes) -> str:
    return hmac.digest(key, f"webhook:{account_id}".encode(), "sha256").hex()[:40]
