"""Kill −9 after any answer: the next run ends in the tables of a run that nobody disturbed."""

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from itertools import cycle, product
from pathlib import Path
from random import Random
from subprocess import PIPE, Popen

import pytest
from sources import Source, find_sources
from suite_words import DAY, a_day_later, after_first, after_second, blank, contents, n_first, n_second, run

HERE = Path(__file__).parent
SCRIPT = """
import os, signal, sys
from pathlib import Path
from sync import reader, writer
from suite_words import run
from test_suite_kill import BEGIN

reader.CHUNK, writer.BATCH = 50, 500  # so that there is always something half written

def play(begin, name, folder, n_answers):
    def kill(n, _):
        if n > int(n_answers):
            os.kill(os.getpid(), signal.SIGKILL)

    source = BEGIN[begin](name, Path(folder))
    source.before = kill
    run(source, Path(folder))

for line in sys.stdin:
    child = os.fork()  # nothing has run here that would have started a thread
    if not child:
        play(*line.rstrip("\\n").split("\\t"))
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
N_SAMPLED = 1


def never_read(name: str, folder: Path) -> Source:
    blank(folder)
    return find_sources()[name]()


def read_yesterday(name: str, folder: Path) -> Source:
    if not folder.exists():
        return a_day_later(name, folder)
    source = find_sources()[name]()
    source.passes(DAY)
    source.a_day()
    return source


BEGIN: dict[str, Callable[[str, Path], Source]] = {"never": never_read, "yesterday": read_yesterday}
"""When the folder was read last. In the process that is to be killed it is there already."""


def unrepaired(begin: str, name: str, tmp_path: Path, points: Sequence[int]) -> list[int]:
    """Kill a sync in a process of its own when it asks for more than so many answers, for each of `points`, and sync
    again: after which of them that does not end in the expected tables. While one is repaired, the next is killed."""
    paths = os.pathsep.join(map(str, (HERE.parents[2], HERE.parent, HERE)))
    env = {**os.environ, "PYTHONPATH": paths}
    found = []
    with Popen([sys.executable, "-c", SCRIPT], env=env, stdin=PIPE, stdout=PIPE, text=True) as killer:
        assert killer.stdin is not None
        assert killer.stdout is not None

        def begin_at(n: int) -> tuple[int, Path, Source]:
            folder = tmp_path / str(n)
            source = BEGIN[begin](name, folder)
            print(begin, name, folder, n, sep="\t", file=killer.stdin, flush=True)
            return n, folder, source

        doomed = begin_at(points[0])
        for following in (*points[1:], None):
            assert killer.stdout.readline() == "-9\n"
            n, folder, source = doomed
            if following is not None:
                doomed = begin_at(following)
            assert run(source, folder).is_well
            if contents(folder) != EXPECTED[begin](name):
                found.append(n)
            shutil.rmtree(folder)  # hundreds of them would fill a disk
        killer.stdin.close()
    return found


EXPECTED = {"never": after_first, "yesterday": after_second}
N_ANSWERS = {"never": n_first, "yesterday": n_second}


SAMPLED = set(zip(sorted(find_sources()), cycle(sorted(BEGIN)), strict=False))
"""Each source, another beginning each."""


@pytest.mark.parametrize(
    ("name", "begin"),
    [
        pytest.param(*case, marks=[] if case in SAMPLED else pytest.mark.slow)
        for case in product(sorted(find_sources()), sorted(BEGIN))
    ],
)
def test_a_sync_killed_after_some_answers_is_repaired_by_the_next(name: str, tmp_path: Path, begin: str):
    points = Random(begin).sample(range(1, N_ANSWERS[begin](name)), N_SAMPLED)
    assert unrepaired(begin, name, tmp_path, points) == []


@pytest.mark.slow
@pytest.mark.parametrize("begin", sorted(BEGIN))
def test_a_sync_killed_after_any_answer_is_repaired_by_the_next(name: str, tmp_path: Path, begin: str):
    points = range(N_ANSWERS[begin](name))
    assert unrepaired(begin, name, tmp_path, points) == []
