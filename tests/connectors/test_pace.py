"""One pace per account, whatever the number of threads and processes; nobody here really waits."""

import os
import stat
import subprocess
import sys
import threading
from itertools import count
from pathlib import Path
from time import monotonic

import httpx
import pytest
from amo_fake import FakeTime

from connectors.amocrm.answers import AmoAnswers
from connectors.auth import Bearer
from connectors.errors import Phrase, RetriableError
from connectors.http import HEADROOM, LATE_SHARE, SHARED, ApiClient, HeldError, Pace, Route

ROOT = Path(__file__).parents[2]
APART = 1 + HEADROOM
PER_SECOND = 20_000
TAKER = """
import sys
from time import monotonic
from pathlib import Path
from connectors.http import Pace

def clock():
    global now
    now = monotonic()
    return now

pace = Pace(float(sys.argv[2]), Path(sys.argv[1]), clock=clock, sleep=lambda _: None)
print("ready", flush=True)
sys.stdin.readline()
turns = []
for _ in range(2000):
    pace.wait()
    turns.append(now)
print(*map(repr, turns))
"""


@pytest.fixture(params=["memory", "file"])
def file(request, tmp_path):
    return tmp_path / "main.pace" if request.param == "file" else None


def test_turns_are_evenly_spaced(file):
    time = FakeTime()
    pace = Pace(1, file, clock=time, sleep=time.sleep)
    for _ in range(50):
        pace.wait()
    assert time.sleeps == pytest.approx([APART] * 49)  # the first need not wait


def test_after_one_who_woke_late_the_next_waits_as_long_as_ever(file):
    time = FakeTime()
    pace = Pace(1, file, clock=time, sleep=lambda seconds: time.sleep(seconds + 0.5))
    for _ in range(3):
        pace.wait()
    assert time.sleeps == pytest.approx([APART + 0.5] * 2)


def test_who_wakes_a_little_late_holds_nobody_up(file):
    time = FakeTime()
    pace = Pace(1, file, clock=time, sleep=lambda seconds: time.sleep(seconds + 0.005))
    for _ in range(4):
        pace.wait()
        pace.sent()
    assert time.sleeps == pytest.approx([APART + 0.005, APART, APART])


def test_after_a_request_that_left_late_the_next_waits_from_then(file):
    time = FakeTime()
    pace = Pace(1, file, clock=time, sleep=time.sleep)
    pace.wait()
    time.sleep(0.5)  # its thread had no processor
    pace.sent()
    pace.wait()
    pace.sent()
    pace.wait()
    assert time.sleeps == pytest.approx([0.5, APART, APART])


def test_a_client_tells_its_pace_when_a_request_has_left():
    time = FakeTime()

    def answer(request: httpx.Request) -> httpx.Response:
        time.sleep(0.5)
        request.extensions["trace"]("http11.send_request_headers.complete", {})
        return httpx.Response(200, json={"id": 1})

    auth = Bearer("token", token_env="T", advice=Phrase(""))
    api = ApiClient(
        "https://volga.amocrm.ru",
        source="amoCRM",
        auth=auth,
        answers=AmoAnswers(auth),
        routes=(Route("GET", "/api/v4/account"),),
        pace=Pace(1, clock=time, sleep=time.sleep),
        ordinals=count(1).__next__,
        transport=httpx.MockTransport(answer),
    )
    for _ in range(2):
        api.get("/api/v4/account")
    assert time.sleeps == pytest.approx([0.5, APART, 0.5])


def test_no_two_threads_take_the_same_turn(file):
    local, turns = threading.local(), []

    def clock() -> float:
        local.now = monotonic()
        return local.now

    def take() -> None:
        for _ in range(200):
            pace.wait()
            turns.append(local.now)

    pace = Pace(PER_SECOND, file, clock=clock, sleep=lambda _: None)
    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert_apart(turns, 8 * 200)


def test_no_two_processes_take_the_same_turn(tmp_path):
    file = tmp_path / "main.pace"
    command = [sys.executable, "-c", TAKER, str(file), str(PER_SECOND)]
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
    assert_apart([float(turn) for process in processes for turn in process.communicate()[0].split()], 2 * 2000)


def assert_apart(turns: list[float], n: int) -> None:
    ordered = sorted(turns)
    assert len(turns) == n
    for together in (1, 7, 50):  # a little lateness may be made up for, but never twice
        gaps = [after - before for before, after in zip(ordered, ordered[together:], strict=False)]
        assert min(gaps) >= (together - LATE_SHARE) * APART / PER_SECOND - 1e-9


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


def test_nobody_waits_for_a_pause_longer_than_a_run(file):
    time = FakeTime()
    pace = Pace(1, file, clock=time, sleep=time.sleep)
    pace.pause(1200)
    with pytest.raises(HeldError) as held:
        pace.wait()
    assert (held.value.seconds, time.sleeps) == (1200, [])


def test_the_end_of_a_run_wakes_whoever_waits_for_a_turn():
    pace, woken = Pace(1), []
    pace.pause(300)

    def waiting() -> None:
        with pytest.raises(RetriableError):
            pace.wait()
        woken.append(True)

    thread = threading.Thread(target=waiting)
    thread.start()
    pace.end()
    thread.join(30)
    assert woken


def test_room_for_the_pace_is_on_the_disk_before_it_is_used(tmp_path: Path):
    Pace(1, tmp_path / "main.pace")
    assert (tmp_path / "main.pace").stat().st_blocks > 0  # a write to a hole of a full disk kills the process
