"""What stands before every emulated CRM: the request log, faults on order, and the door to the loopback."""

import argparse
import hashlib
import json
import socket
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.responses import Response, StreamingResponse

from demo.company import Company, answer_key, build

Json = dict[str, Any]


@dataclass
class Fault:
    """Something to go wrong: from the `nth` request whose path matches, for `times` requests (0: for ever).

    Without a status the request is answered as usual, after `delay` seconds and cut after `cut_after_bytes`.
    """

    path: str
    nth: int = 1
    status: int | None = None
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    cut_after_bytes: int | None = None
    times: int = 1
    seen: int = 0

    def strikes(self, path: str) -> bool:
        """Count a request; whether it is one of those that go wrong."""
        if not fnmatch(path, self.path):
            return False
        self.seen += 1
        return self.seen >= self.nth and (not self.times or self.seen < self.nth + self.times)


class RequestLog:
    """The last hundred thousand requests; a token is shown only as a fingerprint."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.entries: deque[Json] = deque(maxlen=100_000)

    def add(self, *, method: str, path: str, query: str, token: str, **more: Any) -> Json:
        """Note a request; `more` is shown as it is, so without secrets."""
        entry: Json = {
            "at": self._clock(),
            "method": method,
            "path": path,
            "query": query,
            "key_id": hashlib.blake2b(token.encode(), digest_size=6).hexdigest() if token else None,
            "status": None,
            **more,
        }
        self.entries.append(entry)
        return entry


def cut(response: Response, n_bytes: int) -> Response:
    """The same answer, announced whole and broken off."""
    body = bytes(response.body)

    async def stream() -> AsyncIterator[bytes]:
        yield body[:n_bytes]

    headers = {name: value for name, value in response.headers.items() if name != "content-length"}
    return StreamingResponse(stream(), response.status_code, {**headers, "content-length": str(len(body))})


def arguments(program: str, description: str | None) -> argparse.ArgumentParser:
    """What every emulator is started with."""
    parser = argparse.ArgumentParser(prog=program, description=description)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=20260101)
    parser.add_argument("--as-of", type=datetime.fromisoformat, default=datetime(2026, 11, 20, 21, tzinfo=UTC))
    parser.add_argument("--key-out", type=Path, help="write the answer key there as JSON")
    parser.add_argument("--limit", action="store_true", help="turn the limits on")
    return parser


def company_of(options: argparse.Namespace, key: Callable[[Company], Any] = answer_key) -> Company:
    """The company asked for; its answer key (`key` makes it) is written if that is asked for too."""
    company = build(options.seed, options.scale, options.as_of)
    if options.key_out:
        options.key_out.write_text(json.dumps(key(company), ensure_ascii=False, indent=1), encoding="utf-8")
    return company


def serve(app: Starlette, port: int) -> None:
    """Serve on the loopback until stopped; prints `READY http://127.0.0.1:PORT` once it listens."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # inherited; else 40 ms of Nagle a page
    listener.bind(("127.0.0.1", port))
    listener.listen(128)
    print(f"READY http://127.0.0.1:{listener.getsockname()[1]}", flush=True)  # noqa: T201 - the contract with callers
    config = uvicorn.Config(app, log_level="warning", access_log=False, date_header=False, server_header=False)
    uvicorn.Server(config).run(sockets=[listener])
