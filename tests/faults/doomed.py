"""The process something happens to: plays commands of the program, each in a fork of its own, over a source that lives
in another process. Started by `fault_words`; reads orders from standard input, one a line.

A step is whatever the program does to the world: a request, its answer, a statement, a commit, a file of the data
folder that is opened, renamed, removed. Its name and how many of that name came before make it the same step in every
run: `sql MERGE INTO deal 2`, `answer GET /api/v4/leads 1`, `os.rename status.json 1`.
"""

import fcntl
import gc
import json
import os
import pickle
import re
import resource
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from errno import EDQUOT, EIO, ENOSPC, EROFS
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb_engine
import httpx
import seccomp
from fault_answers import SPOILERS, Spoiler
from fault_sources import ENTRIES, ENV
from sources import find_sources
from sqlalchemy import Engine, event

import cli
import commands.forget
import commands.login
import commands.run
import sync
from connectors import http
from connectors.connector import Connector
from sync import reader, reconcile, writer

PIPE_BYTES = 1 << 20
playing: dict[int, tuple[int, Path]] = {}
"""Children: where they are heard, and the file for what they say."""
FILES = frozenset({"open", "os.rename", "os.remove", "os.mkdir", "os.truncate"})
BEGIN = "begin"
NUMBER = re.compile(r"\d+")


@dataclass(frozen=True)
class Order:
    """One command to be played. now: the source's clock as it begins. fault, at: what happens, and at which step; the
    steps of a run without one are written to `trace`."""

    arguments: tuple[str, ...]
    folder: str
    connector: str
    by: str
    address: str
    now: float
    fault: str = ""
    at: str = ""
    name: str = "played"

    @property
    def said(self) -> Path:
        """What it says on both its outputs."""
        return Path(f"{self.folder}.{self.name}.said")

    @property
    def trace(self) -> Path:
        return Path(f"{self.folder}.{self.name}.steps")

    def to_line(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def of_line(cls, line: str) -> "Order":
        read = json.loads(line)
        return cls(**{**read, "arguments": tuple(read["arguments"])})


class Clock:
    """The machine's: that of the source, until somebody moves it."""

    def __init__(self, now: float) -> None:
        self.seconds = now

    def __call__(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.seconds, UTC)

    def jump(self, by: timedelta) -> None:
        self.seconds += by.total_seconds()


class Steps:
    """Counts steps; at the chosen one the fault comes true, once."""

    def __init__(self, chosen: str, strike: Callable[[], None]) -> None:
        self._chosen, self._strike = chosen, strike
        self._n: Counter[str] = Counter()
        self._lock = threading.Lock()
        self.seen: list[str] = []

    def __call__(self, name: str) -> None:
        with self._lock:
            self._n[name] += 1
            step = f"{name} {self._n[name]}"
            self.seen.append(step)
        if step == self._chosen:
            self._strike()


class Line(httpx.BaseTransport):
    """The way to the source, a socket a thread. spoil: what happens to answers from now on."""

    def __init__(self, address: str) -> None:
        self._address, self._own = address, threading.local()
        self.steps: Callable[[str], None] = lambda _: None
        self.spoil: Spoiler | None = None
        self.before: httpx.Response | None = None

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        name = f"{request.method} {NUMBER.sub('N', request.url.path)}"
        self.steps(f"ask {name}")
        ask(self._socket(), (request.method, str(request.url), request.headers.raw, request.read()))
        status, headers, content = answer(self._socket())
        response = httpx.Response(status, headers=headers, content=content)
        self.steps(f"answer {name}")
        arrives = response if self.spoil is None else self.spoil(response, self.before)
        self.before = httpx.Response(status, headers=headers, content=content)
        return arrives

    def _socket(self) -> socket.socket:
        if not hasattr(self._own, "socket"):
            self._own.socket = socket.socket(socket.AF_UNIX)
            self._own.socket.connect(self._address)
        return self._own.socket  # type: ignore[no-any-return]


def ask(line: socket.socket, said: Any) -> None:
    packed = pickle.dumps(said)
    line.sendall(len(packed).to_bytes(8, "big") + packed)


def answer(line: socket.socket) -> Any:
    return pickle.loads(exactly(line, int.from_bytes(exactly(line, 8), "big")))


def exactly(line: socket.socket, n: int) -> bytes:
    got = bytearray()
    while len(got) < n:
        part = line.recv(n - len(got))
        if not part:
            raise EOFError
        got += part
    return bytes(got)


def disturbed(fault: str, line: Line, clock: Clock) -> None:
    """Make a fault come true."""
    if fault in SPOILERS:
        line.spoil = SPOILERS[fault]()
        return
    faults: Mapping[str, Callable[[], Any]] = {
        "": lambda: None,
        "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
        "kill at the next write": lambda: seccomp.die(seccomp.WRITES),
        "kill at the next flush": lambda: seccomp.die(seccomp.FLUSHES),
        "disk full": lambda: seccomp.fail(seccomp.WRITES, ENOSPC),
        "quota": lambda: seccomp.fail(seccomp.WRITES, EDQUOT),
        "disk broken": lambda: seccomp.fail((*seccomp.WRITES, *seccomp.FLUSHES), EIO),
        "flushes fail": lambda: seccomp.fail(seccomp.FLUSHES, EIO),
        "disk read-only": lambda: seccomp.fail(seccomp.CHANGES, EROFS),
        "files too large": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY)),
        "clock back an hour": lambda: clock.jump(-timedelta(hours=1)),
        "clock back three days": lambda: clock.jump(-timedelta(days=3)),
        "clock ahead an hour": lambda: clock.jump(timedelta(hours=1)),
        "clock ahead three days": lambda: clock.jump(timedelta(days=3)),
        "another time zone": lambda: zone("America/St_Johns"),
    }
    faults[fault]()


def zone(name: str) -> None:
    os.environ["TZ"] = name
    time.tzset()


def play(order: Order) -> int:
    """Run the command as the console script does; its exit code."""
    line, clock = Line(order.address), Clock(order.now)
    steps = Steps(order.at, partial(disturbed, order.fault, line, clock))
    file = Path(f"{order.folder}.{order.name}.yaml")
    entry = ENTRIES[order.connector, order.by]
    file.write_text(
        json.dumps({"data_dir": order.folder, "accounts": [entry], "sync": {"windows_in_parallel": 1}}), "utf-8"
    )
    os.environ.update(ENV[order.connector], VORONKA_LANG="en", VORONKA_CONFIG=str(file))
    patch(order, line, clock)
    watch(order, steps)
    line.steps = steps
    sys.argv = ["voronka", *order.arguments]
    steps(BEGIN)
    try:
        cli.main()
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    if not order.fault:
        order.trace.write_text("\n".join(steps.seen), "utf-8")
    return code


def patch(order: Order, line: Line, clock: Clock) -> None:
    """Put the line in the network's place, and the given clock in the machine's."""
    mine = CONNECTORS[order.connector]
    opened = partial(mine.open, transport=line, clock=clock)
    login = partial(mine.login, transport=line, clock=clock) if mine.login else None
    known = {order.connector: replace(mine, open=opened, login=login)}
    for module in (commands.run, commands.login):
        module.find_connectors = lambda: known  # type: ignore[attr-defined]
    commands.run.sync = partial(sync.sync, now=clock.now)
    commands.run.reconcile = partial(reconcile.reconcile, now=clock.now)
    http.RETRY_AFTER_S, http.DEADLINE_S = (0.0, 0.0, 0.0), 1.0
    reader.CHUNK, writer.BATCH = 50, 500  # so that there is always something half written
    writer.time = SimpleNamespace(monotonic=lambda: 0.0)  # the same commits in every run


def watch(order: Order, steps: Steps) -> None:
    """Let statements, commits and files of the data folder be steps."""
    folder = f"{order.folder}/"

    def file(name: str, arguments: tuple[Any, ...]) -> None:
        if name in FILES and arguments and str(arguments[0]).startswith(folder):
            steps(f"{name} {NUMBER.sub('N', str(arguments[0]).removeprefix(folder))}")

    sys.addaudithook(file)

    @event.listens_for(Engine, "before_cursor_execute")
    def _(_c: Any, _k: Any, statement: str, *_: Any) -> None:
        words = statement.replace('"', "").split()
        steps(f"sql {' '.join(words[:1] if words[0] in ('SELECT', 'WITH') else words[:3])}")

    do_commit = duckdb_engine.Dialect.do_commit

    def commit(self: Any, connection: Any) -> None:
        steps("commit")
        do_commit(self, connection)
        steps("committed")

    duckdb_engine.Dialect.do_commit = commit


def plain(connector: Connector) -> Connector:
    """Without what its source in this process put into it."""
    kept = connector.open
    return replace(connector, open=kept.func) if isinstance(kept, partial) else connector


CONNECTORS = {name: plain(make().as_account().connector) for name, make in find_sources().items()}


def forked(order: Order) -> int:
    """A child that plays; its number. What it says goes through a pipe, which is on no disk."""
    hears, speaks = os.pipe()
    fcntl.fcntl(speaks, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    child = os.fork()  # nothing has run here that would have started a thread
    if child:
        os.close(speaks)
        playing[child] = hears, order.said
        return child
    code = 99
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.dup2(speaks, 1)
        os.dup2(speaks, 2)
        code = play(order)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        sys.stdout.flush()
        os._exit(code)


def orders() -> Iterator[str]:
    """Answers: `play ORDER` with the number of a process, `wait NUMBER` with its exit code."""
    for line in sys.stdin:
        word, _, rest = line.rstrip("\n").partition(" ")
        yield str(forked(Order.of_line(rest)) if word == "play" else code_of(int(rest)))


def code_of(process: int) -> int:
    """The exit code of a child, once it has ended; what it said is then in its file."""
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    hears, said = playing.pop(process)
    with open(hears, "rb") as heard:
        said.write_bytes(heard.read())
    return code


if __name__ == "__main__":
    gc.freeze()
    for reply in orders():
        print(reply, flush=True)  # noqa: T201
