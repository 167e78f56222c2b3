"""Runs a function in a process of its own, is asked before every step it takes on a folder, and lets one go wrong.

A step is a system call that changes a file or a folder, whoever makes it: Python, DuckDB, Polars, SQLite, in whatever
thread. The kernel hands each to us before it is done (seccomp user notification, Linux 5.9 and newer, no root): we let
it go on, answer it with an error, or kill the process. So nothing here knows what a program's steps are: a first run
without a fault tells them, and the others go wrong at one of them.
"""

import ctypes
import errno
import fcntl
import multiprocessing
import os
import platform
import random
import select
import shutil
import signal
import struct
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import zip_longest
from multiprocessing import reduction
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

PRELOADED = ["pytest", "commands.account", "commands.forget", "commands.remap", "sync.publication", "explorer"]
LONGEST_S = 120

# --- which system calls, by machine -----------------------------------------------------------------------------------

FD, PATH, AT = (
    "fd",
    "path",
    "at",
)  # the first arguments say what is changed: a file that is open, a path, a folder + path
CALLS: dict[str, dict[str, tuple[int, str]]] = {
    "x86_64": {
        "write": (1, FD), "pwrite64": (18, FD), "writev": (20, FD), "pwritev": (296, FD), "sendfile": (40, FD),
        "fsync": (74, FD), "fdatasync": (75, FD), "ftruncate": (77, FD), "fallocate": (285, FD), "fchmod": (91, FD),
        "truncate": (76, PATH), "rename": (82, PATH), "mkdir": (83, PATH), "rmdir": (84, PATH), "link": (86, PATH),
        "unlink": (87, PATH), "symlink": (88, PATH), "chmod": (90, PATH), "open": (2, PATH),
        "openat": (257, AT), "mkdirat": (258, AT), "unlinkat": (263, AT), "renameat": (264, AT), "linkat": (265, AT),
        "fchmodat": (268, AT), "renameat2": (316, AT),
    },
    "aarch64": {
        "write": (64, FD), "pwrite64": (68, FD), "writev": (66, FD), "pwritev": (70, FD), "sendfile": (71, FD),
        "fsync": (82, FD), "fdatasync": (83, FD), "ftruncate": (46, FD), "fallocate": (47, FD), "fchmod": (52, FD),
        "truncate": (45, PATH),
        "openat": (56, AT), "mkdirat": (34, AT), "unlinkat": (35, AT), "renameat": (38, AT), "linkat": (37, AT),
        "fchmodat": (53, AT), "renameat2": (276, AT),
    },
}  # fmt: skip
SECCOMP = {"x86_64": 317, "aarch64": 277}
MINE = CALLS.get(platform.machine(), {})
FLAGS_AT = {"open": 24, "openat": 32}  # where the flags of an opening lie in `struct seccomp_data`
CHANGES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC

NEEDS_ROOM = ("write", "pwrite", "send", "open", "mkdir", "link", "symlink", "fallocate")
"""Beginnings of the names of calls that a full disk refuses; it goes on renaming, cutting off and deleting."""


@dataclass(frozen=True)
class Step:
    """call: its name. path: within the folder."""

    call: str
    path: str


# --- what may go wrong ------------------------------------------------------------------------------------------------

KILL = -1
Fault = Callable[[Step], int]
"""What becomes of the step it is to happen at, and of all steps after it: 0 it is done, an error number, or `KILL`."""


def killed(_step: Step) -> int:
    """kill −9."""
    return KILL


def full(step: Step) -> int:
    """The disk is full from here on."""
    return errno.ENOSPC if step.call.startswith(NEEDS_ROOM) else 0


def read_only(_step: Step) -> int:
    """The disk was mounted anew, for reading, as the system does after errors of the disk."""
    return errno.EROFS


FAULTS: Mapping[str, Fault] = {fault.__name__: fault for fault in (killed, full, read_only)}


@dataclass
class Ran:
    """steps: all of the folder, in their order. error: kind and text of what the function raised. was_killed: by us, or
    by DuckDB. met: for people, what went wrong where."""

    steps: list[Step] = field(default_factory=list)
    result: Any = None
    error: tuple[str, str] | None = None
    was_killed: bool = False
    met: str = ""


def run(work: Callable[..., Any], *args: Any, folder: Path, fault: Fault | None = None, at: int = 0) -> Ran:
    """Call `work(*args)`, which lies in a module, in a process of its own; from step number `at` on it meets `fault`.

    What it returns is told, and what it raises by kind and text.
    """
    here, there = _context().Pipe()
    process = _context().Process(target=_child, args=(there, work, args))
    process.start()
    there.close()
    listener = reduction.recv_handle(here)
    ran = Ran()

    def answered(step: Step) -> int:
        ran.steps.append(step)
        said = fault(step) if fault is not None and len(ran.steps) > at else 0
        ran.was_killed = said == KILL
        return said

    try:
        _serve(listener, process.pid or 0, folder.resolve(), answered)
    finally:
        os.close(listener)
    process.join(LONGEST_S)
    # DuckDB ends the process itself where it can neither write its log nor cut it off again
    ran.was_killed |= process.exitcode == -signal.SIGABRT
    if not ran.was_killed:
        ran.result, ran.error = here.recv()
    here.close()
    assert process.exitcode in ((-signal.SIGKILL, -signal.SIGABRT) if ran.was_killed else (0,))
    return ran


def scan(
    work: Callable[..., Any], *args: Any, before: Path, to: Path, fault: str, n: int | None = None
) -> Iterator[tuple[Path, Ran]]:
    """What is left of copies of the folder `before` where `work(copy, *args)` met the fault: at so many steps of it,
    None: at every one. Whatever a disk does, people are told a sentence.
    """
    steps = _recorded(work, args, before)
    numbers = [*range(len(steps))] if n is None else sampled(steps, n)
    for number in numbers:
        folder = copied(before, to / f"{fault}-{number}")
        ran = run(work, folder, *args, folder=folder, fault=FAULTS[fault], at=number)
        ran.met = f"{fault} at {number}, {steps[number]}"
        assert ran.error is None or ran.error[0] in SENTENCES, f"{ran.met}: {ran.error}"
        yield folder, ran
        shutil.rmtree(folder)


SENTENCES = ("WarehouseError", "LockedError", "ConfigError")


@cache
def _recorded(work: Callable[..., Any], args: tuple[Any, ...], before: Path) -> list[Step]:
    """All steps, where nothing goes wrong."""
    with TemporaryDirectory() as beside:
        folder = copied(before, Path(beside) / "data")
        ran = run(work, folder, *args, folder=folder)
    assert ran.error is None, ran.error
    return ran.steps


def sampled(steps: Sequence[Step], n: int, *, seed: int = 20) -> list[int]:
    """Numbers of so many steps: no two alike in call, folder, kind of file while others are left; rare ones first."""
    numbers = [*range(len(steps))]
    random.Random(seed).shuffle(numbers)
    kinds: dict[tuple[str, ...], list[int]] = {}
    for number in numbers:
        path = Path(steps[number].path)
        kinds.setdefault((steps[number].call, str(path.parent), path.suffix), []).append(number)
    turns = zip_longest(*sorted(kinds.values(), key=len))
    in_turns = [number for turn in turns for number in turn if number is not None]
    return sorted(in_turns[:n])


def copied(folder: Path, to: Path) -> Path:
    """With its hard links: by them the publication knows what is finished."""
    subprocess.run(["cp", "-a", str(folder), str(to)], check=True)
    return to


@cache
def _context() -> Any:
    """Processes that begin with everything imported: reading the program takes longer than what most of them do."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


def process(work: Callable[..., Any], *args: Any) -> Any:
    """A started process of its own, with nobody looking."""
    started = _context().Process(target=work, args=args)
    started.start()
    return started


def queue() -> Any:
    """By which processes tell what they saw."""
    return _context().Queue()


def _child(there: Connection, work: Callable[..., Any], args: Sequence[Any]) -> None:
    listener = _listened()
    reduction.send_handle(there, listener, 0)
    os.close(listener)
    try:
        said: tuple[Any, Any] = (work(*args), None)
    except Exception as error:
        said = (None, (type(error).__name__, str(error)))
    there.send(said)


# --- the kernel asks --------------------------------------------------------------------------------------------------

NO_NEW_PRIVS, SET_MODE_FILTER, NEW_LISTENER = 38, 1, 1 << 3
LOAD, EQUALS, HAS_BIT, RETURN = 0x20, 0x15, 0x45, 0x06  # of BPF
ALLOW, NOTIFY = 0x7FFF0000, 0x7FC00000
RECEIVE, SEND, GO_ON = 0xC0502100, 0xC0182101, 1
NOTICE, ANSWER = struct.Struct("=QII iIQ 6Q"), struct.Struct("=QqiI")


def is_possible() -> bool:
    """Whether this machine lets a process be asked about."""
    try:
        said = Path("/proc/sys/kernel/seccomp/actions_avail").read_text()
    except OSError:
        return False
    return bool(MINE) and "user_notif" in said


needed = pytest.mark.skipif(not is_possible(), reason="needs Linux with seccomp user notification")


def _listened() -> int:
    """From here on the calls of this process are asked about; where."""
    program = b"".join(struct.pack("=HBBI", *line) for line in _filter())
    lines = ctypes.create_string_buffer(program, len(program))
    pointer = ctypes.create_string_buffer(struct.pack("@HP", len(program) // 8, ctypes.addressof(lines)))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(NO_NEW_PRIVS, 1, 0, 0, 0)
    listener = libc.syscall(SECCOMP[platform.machine()], SET_MODE_FILTER, NEW_LISTENER, pointer)
    if listener < 0:
        raise OSError(ctypes.get_errno(), "seccomp")
    return int(listener)


def _filter() -> list[tuple[int, int, int, int]]:
    """BPF: notify of the calls, of openings only where they may change something."""
    lines = [(LOAD, 0, 0, 0)]
    for name, (number, _) in MINE.items():
        if name in FLAGS_AT:
            lines += [(EQUALS, 0, 4, number), (LOAD, 0, 0, FLAGS_AT[name]), (HAS_BIT, 0, 1, CHANGES)]
            lines += [(RETURN, 0, 0, NOTIFY), (RETURN, 0, 0, ALLOW)]
        else:
            lines += [(EQUALS, 0, 1, number), (RETURN, 0, 0, NOTIFY)]
    return [*lines, (RETURN, 0, 0, ALLOW)]


def _serve(listener: int, pid: int, folder: Path, answered: Fault) -> None:
    """Answer until the process is gone."""
    names = {number: (name, how) for name, (number, how) in MINE.items()}
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    while True:
        ready = poll.poll(LONGEST_S * 1000)
        if not ready:
            os.kill(pid, signal.SIGKILL)
            raise TimeoutError(f"no step for {LONGEST_S} s")
        if not ready[0][1] & select.POLLIN:
            return
        notice = bytearray(NOTICE.size)
        try:
            fcntl.ioctl(listener, RECEIVE, notice)
            cookie, thread, _, number, _, _, *arguments = NOTICE.unpack(notice)
            name, how = names[number]
            path = _path(thread, how, arguments)
            is_ours = path is not None and path.is_relative_to(folder)
            error = answered(Step(name, str(path.relative_to(folder)))) if path is not None and is_ours else 0
            if error == KILL:
                os.kill(pid, signal.SIGKILL)
                return
            fcntl.ioctl(listener, SEND, bytearray(ANSWER.pack(cookie, 0, -error, 0 if error else GO_ON)))
        except OSError as gone:  # the thread is: of a process that ends, or a call that a signal interrupted
            if gone.errno not in (errno.ENOENT, errno.ESRCH, errno.EINTR):
                raise


def _path(thread: int, how: str, arguments: Sequence[int]) -> Path | None:
    """What a call is about; None: no file."""
    if how == FD:
        found = os.readlink(f"/proc/{thread}/fd/{ctypes.c_int(arguments[0]).value}")
        return Path(found.removesuffix(" (deleted)")) if found.startswith("/") else None
    with open(f"/proc/{thread}/mem", "rb", buffering=0) as memory:
        memory.seek(arguments[how == AT])
        text = memory.read(4096).partition(b"\0")[0].decode()
    beside = ctypes.c_int(arguments[0]).value if how == AT else -1
    return Path(os.readlink(f"/proc/{thread}/fd/{beside}" if beside >= 0 else f"/proc/{thread}/cwd")) / text
