"""What the fault suite says: a command in a process of its own, what happens to it at a step, and how it ends.

Steps are found by a run that nothing happens to; `doomed` says what they are.
"""

import atexit
import os
import shutil
import socket
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from random import Random
from subprocess import PIPE, Popen
from tempfile import TemporaryDirectory
from typing import NamedTuple

import httpx
from demo_crm import scratch, tables_of
from doomed import Order, answer, ask
from fault_answers import SPOILERS
from fault_sources import SECRETS
from sources import Source, find_sources
from suite_words import Contents, a_day_later, after_first, after_second, blank, contents, run

HERE = Path(__file__).parent
CONNECTORS = HERE.parent / "connectors"


class Doomed:
    """The process whose forks play commands."""

    def __init__(self) -> None:
        paths = (HERE.parents[1], CONNECTORS, CONNECTORS / "suite", HERE)
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}
        self._process = Popen([sys.executable, HERE / "doomed.py"], env=env, stdin=PIPE, stdout=PIPE, text=True)

    def begin(self, order: Order) -> int:
        return self._answer(f"play {order.to_line()}")

    def end_of(self, process: int) -> int:
        return self._answer(f"wait {process}")

    def close(self) -> None:
        self._process.communicate()

    def _answer(self, order: str) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(order, file=self._process.stdin, flush=True)
        return int(self._process.stdout.readline())


@cache
def doomed() -> Doomed:
    process = Doomed()
    atexit.register(process.close)
    return process


@contextmanager
def served(source: Source) -> Iterator[str]:
    """The source on a socket, so that it outlives who reads it; the socket's path."""
    with TemporaryDirectory(prefix="voronka-line-") as folder, socket.socket(socket.AF_UNIX) as listener:
        path = f"{folder}/line"
        listener.bind(path)
        listener.listen()
        threading.Thread(target=accepted, args=(source, listener), daemon=True).start()
        yield path
        listener.shutdown(socket.SHUT_RDWR)


def accepted(source: Source, listener: socket.socket) -> None:
    while True:
        try:
            line, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=answered, args=(source, line), daemon=True).start()


def answered(source: Source, line: socket.socket) -> None:
    """Answer what is asked on one line, until nobody is there any more."""
    with line:
        while True:
            try:
                method, url, headers, content = answer(line)
                response = source.handle_request(httpx.Request(method, url, headers=headers, content=content))
                ask(line, (response.status_code, response.headers.raw, response.content))
            except (EOFError, OSError):
                return


class Ended(NamedTuple):
    """How a command ended. said: standard output and error."""

    code: int
    said: str


def play(source: Source, order: Order) -> Ended:
    with served(source) as address:
        code = doomed().end_of(doomed().begin(replace(order, address=address)))
    return Ended(code, order.said.read_text("utf-8"))


def never_read(name: str, folder: Path) -> Source:
    blank(folder)
    return find_sources()[name]()


STATES: dict[str, tuple[Callable[[str, Path], Source], Callable[[str], Contents]]] = {
    "never": (never_read, after_first),
    "yesterday": (a_day_later, after_second),
}
"""When a folder was read last: how it comes to be, and what it holds when it is read again."""


@dataclass(frozen=True)
class Case:
    """A command something happens to, in a folder of some state."""

    connector: str
    state: str
    fault: str = ""
    at: str = ""

    def __str__(self) -> str:
        return f"{self.connector}, {self.state}: {self.fault} at {self.at}"


def begun(case: Case, folder: Path) -> tuple[Source, Order]:
    """The folder and its source as the case finds them, and the order to sync."""
    source = STATES[case.state][0](case.connector, folder)
    order = Order(
        ("sync",), str(folder), case.connector, "token", "", source.now.timestamp(), fault=case.fault, at=case.at
    )
    return source, order


def recorded(connector: str, state: str) -> Path:
    """Where the run that nothing happens to leaves its data."""
    return Path(scratch().name) / f"recorded-{connector}-{state}"


@cache
def steps_of(connector: str, state: str) -> tuple[str, ...]:
    """All steps of a sync that nothing happens to; it ends as any other."""
    folder = recorded(connector, state)
    source, order = begun(Case(connector, state), folder)
    ended = play(source, order)
    assert ended.code == 0, ended.said
    assert contents(folder) == STATES[state][1](connector)
    return tuple(order.trace.read_text("utf-8").splitlines())


def trouble(case: Case, folder: Path) -> str:
    """What is wrong with how a disturbed sync ends, or with what the next one repairs; nothing if all is well."""
    source, order = begun(case, folder)
    ended = play(source, order)
    found = misbehaviour(case.fault, ended)
    if not found:
        repaired = run(source, folder)
        if not repaired.is_well:
            found = f"the next sync failed: {[account.error for account in repaired.accounts]}"
        else:
            expected = held(recorded(case.connector, case.state), case.fault)
            differing = differences(held(folder, case.fault), expected)
            found = f"other rows in {differing}" if differing else ""
    shutil.rmtree(folder)
    return f"{case}: {found} (code {ended.code})\n{ended.said}" if found else ""


def held(folder: Path, fault: str) -> Contents:
    """What a warehouse holds; raw objects left out where the source itself writes them otherwise."""
    return tables_of(folder, without=("raw_hash",)) if fault in REARRANGED else contents(folder)


REARRANGED = ("rows doubled", "rows shuffled")
KILLS = {"kill": -9, "kill at the next write": -31, "kill at the next flush": -31}


def misbehaviour(fault: str, ended: Ended) -> str:
    allowed = {KILLS[fault], 0} if fault in KILLS else {0, 1}
    if ended.code not in allowed:
        return f"ended with {ended.code}"
    for sign in ("Traceback", "An error in the program", *SECRETS):
        if sign in ended.said:
            return f"says {sign}"
    if ended.code == 1 and not ended.said.strip():
        return "failed without a word"
    return ""


def differences(one: Contents, other: Contents) -> dict[str, tuple[int, int]]:
    """Tables that differ: how many rows only the first has, and only the second."""
    differing = {}
    for name in {*one, *other}:
        mine, theirs = set(one.get(name, ())), set(other.get(name, ()))
        if mine != theirs or len(one.get(name, ())) != len(other.get(name, ())):
            differing[name] = (len(mine - theirs), len(theirs - mine))
    return differing


def drawn(fault: str, steps: Sequence[str], *, n: int, seed: str) -> list[str]:
    """`n` steps a fault can happen at: each kind of step as likely as any other, however many there are of it."""
    random, kinds = Random(f"{seed} {fault}"), defaultdict(list)
    for step in possible(fault, steps):
        kinds[step.rpartition(" ")[0]].append(step)
    return [random.choice(kinds[kind]) for kind in random.choices(sorted(kinds), k=n)]


def possible(fault: str, steps: Sequence[str]) -> list[str]:
    """What spoils answers happens at answers."""
    return [step for step in steps if fault not in SPOILERS or step.startswith("answer ")]
