"""One pace per account, whatever the number of threads and processes; nobody here really waits."""

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from amo_fake import FakeTime

from connectors.http import HEADROOM, SHARED, Pace

ROOT = Path(__file__).parents[2]
APART = 1 + HEADROOM
TAKER = """
import sys
from pathlib import Path
from connectors.http import Pace

turns = []
pace = Pace(1, Path(sys.argv[1]), clock=lambda: 1000.0, sleep=lambda seconds: turns.append(seconds))
print("ready", flush=True)
sys.stdin.readline()
for _ in range(5000):
    pace.wait()
print(*turns)
"""


@pytest.fixture(params=["memory", "file"])
def file(request, tmp_path):
    return tmp_path / "main.pace" if request.param == "file" else None


def test_turns_are_shared_by_threads_and_evenly_spaced(file):
    time, turns = FakeTime(), []
    pace = Pace(1, file, clock=time, sleep=lambda seconds: turns.append(time.now + seconds))
    threads = [threading.Thread(target=pace.wait) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(turns) == pytest.approx([1000 + n * APART for n in range(1, 50)])  # the first need not wait


def test_turns_are_shared_by_processes(tmp_path):
    file = tmp_path / "main.pace"
    command = [sys.executable, "-c", TAKER, str(file)]
    with_path = {**os.environ, "PYTHONPATH": str(ROOT)}
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=with_path)
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    turns = [float(turn) for process in processes for turn in process.communicate()[0].split()]
    assert sorted(turns) == pytest.approx([n * APART for n in range(1, 10_000)])


def test_a_turn_that_was_not_used_is_gone(file):
    time = FakeTime()
    pace = Pace(1, file, clock=time, sleep=time.sleep)
    pace.wait()
    time.now += 60
    pace.wait()
    pace.wait()
    assert time.sleeps == pytest.approx([APART])


def test_a_pause_holds_a_turn_that_was_handed_out_before_it(file):
    time = FakeTime()

    def sleep(seconds: float) -> None:
        time.sleep(seconds)
        if len(time.sleeps) == 1:
            pace.pause(30)

    pace = Pace(1, file, clock=time, sleep=sleep)
    pace.wait()
    pace.wait()
    assert time.now >= 1031


def test_a_pause_holds_other_processes_and_later_ones(tmp_path):
    time = FakeTime()
    one, other = (Pace(1, tmp_path / "main.pace", clock=time, sleep=time.sleep) for _ in range(2))
    one.pause(300)
    one.pause(10)  # shortens nothing
    assert (other.wait(), time.sleeps) == (2, [300])


def test_what_was_written_before_the_machine_began_anew_holds_nobody(tmp_path):
    file, time = tmp_path / "main.pace", FakeTime()
    Pace(1, file, clock=time).pause(300)
    time.now = 7.0  # the clock counts from the start of the machine
    again = Pace(1, file, clock=time, sleep=time.sleep)
    again.wait()
    again.wait()
    assert time.sleeps == pytest.approx([APART])


@pytest.mark.parametrize("content", [b"", b"\xff" * 99, SHARED.pack(1.0, 1e300, 0), SHARED.pack(1.0, float("nan"), 0)])
def test_a_broken_file_holds_nobody(tmp_path, content):
    file, time = tmp_path / "main.pace", FakeTime()
    file.write_bytes(content)
    pace = Pace(1, file, clock=time, sleep=time.sleep)
    pace.wait()
    pace.wait()
    assert time.sleeps == pytest.approx([APART])


def test_the_file_is_its_owners_and_closed_with_the_last_that_uses_it(tmp_path):
    file = tmp_path / "state" / "main.pace"
    n_open = len(os.listdir("/proc/self/fd"))
    pace = Pace(1, file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    del pace
    assert len(os.listdir("/proc/self/fd")) == n_open
