"""Makes system calls of this process fail as a broken disk does, for good: without rights, without another disk, and
below whatever library writes. https://www.kernel.org/doc/html/latest/userspace-api/seccomp_filter.html
"""

import ctypes
import os
import platform
import struct
from collections.abc import Iterable, Sequence

NUMBERS = {
    "x86_64": {
        "write": 1, "pwrite64": 18, "writev": 20, "pwritev": 296, "pwritev2": 328, "fallocate": 285, "fsync": 74,
        "fdatasync": 75, "rename": 82, "renameat": 264, "renameat2": 316, "unlink": 87, "unlinkat": 263, "mkdir": 83,
        "mkdirat": 258, "chmod": 90, "fchmodat": 268, "ftruncate": 77, "truncate": 76, "open": 2, "openat": 257,
    },
    "aarch64": {
        "write": 64, "pwrite64": 68, "writev": 66, "pwritev": 70, "pwritev2": 287, "fallocate": 47, "fsync": 82,
        "fdatasync": 83, "renameat": 38, "renameat2": 276, "unlinkat": 35, "mkdirat": 34, "fchmodat": 53,
        "ftruncate": 46, "truncate": 45, "openat": 56,
    },
}  # fmt: skip
SECCOMP = {"x86_64": 317, "aarch64": 277}
WRITES = ("write", "pwrite64", "writev", "pwritev", "pwritev2", "fallocate")
FLUSHES = ("fsync", "fdatasync")
NAMES = ("rename", "renameat", "renameat2", "unlink", "unlinkat", "mkdir", "mkdirat", "chmod", "fchmodat")
SIZES = ("ftruncate", "truncate")
FLAGS_OF = {"open": 1, "openat": 2}
"""Which argument says what a file is opened for."""
CHANGES = (*WRITES, *FLUSHES, *NAMES, *SIZES, *FLAGS_OF)
"""All that a file system which has become read-only refuses."""

Instruction = tuple[int, int, int, int]
LOAD, EQUAL, GREATER, ANY_BIT, RETURN = 0x20, 0x15, 0x25, 0x45, 0x06
ALLOW, FAIL, KILL = 0x7FFF0000, 0x00050000, 0x80000000
LAST_STANDARD = 2  # standard output and error are no part of the disk
FOR_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


class Program(ctypes.Structure):
    _fields_ = (("n", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def is_possible() -> bool:
    return platform.system() == "Linux" and platform.machine() in NUMBERS


def fail(calls: Iterable[str], number: int) -> None:
    """From now on `calls` fail with an error number, in every thread."""
    install(calls, FAIL | number)


def die(calls: Iterable[str]) -> None:
    """The next of `calls`, in whichever thread, kills the process before it is made."""
    install(calls, KILL)


def install(calls: Iterable[str], verdict: int) -> None:
    numbers = NUMBERS[platform.machine()]
    rules = [rule for call in calls if call in numbers for rule in guarded(call, numbers[call], verdict)]
    load_number: Instruction = (LOAD, 0, 0, 0)
    submit([load_number, *rules, (RETURN, 0, 0, ALLOW)])


def guarded(call: str, number: int, verdict: int) -> list[Instruction]:
    """Instructions for one call; those for the next follow. The number of the call is loaded before and after."""
    reload: Instruction = (LOAD, 0, 0, 0)
    if call in (*WRITES, *FLUSHES, "ftruncate"):
        # not for standard output and error
        check = [(LOAD, 0, 0, argument(0)), (GREATER, 0, 1, LAST_STANDARD), (RETURN, 0, 0, verdict), reload]
    elif call in FLAGS_OF:
        check = [(LOAD, 0, 0, argument(FLAGS_OF[call])), (ANY_BIT, 0, 1, FOR_WRITING), (RETURN, 0, 0, verdict), reload]
    else:
        check = [(RETURN, 0, 0, verdict)]
    return [(EQUAL, 0, len(check), number), *check]


def argument(n: int) -> int:
    """Where the low half of an argument is."""
    return 16 + 8 * n


def submit(instructions: Sequence[Instruction]) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    packed = b"".join(struct.pack("=HBBI", *one) for one in instructions)
    kept = ctypes.create_string_buffer(packed, len(packed))
    program = Program(len(instructions), ctypes.cast(kept, ctypes.c_void_p))
    no_new_privileges, for_all_threads = 38, 1
    libc.prctl(no_new_privileges, 1, 0, 0, 0)
    if libc.syscall(SECCOMP[platform.machine()], 1, for_all_threads, ctypes.byref(program)):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
