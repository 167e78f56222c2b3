"""Kill −9 after any answer: the next run ends in the tables of a run that nobody disturbed."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random

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
begin, name, folder, n_answers = sys.argv[1:]
source = BEGIN[begin](name, Path(folder))

def kill(n, _):
    if n > int(n_answers):
        os.kill(os.getpid(), signal.SIGKILL)

source.before = kill
run(source, Path(folder))
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


def killed(begin: str, name: str, folder: Path, n_answers: int) -> None:
    """A sync in a process of its own, killed when it asks for more than so many answers."""
    paths = os.pathsep.join(map(str, (HERE.parents[2], HERE.parent, HERE)))
    command = [sys.executable, "-c", SCRIPT, begin, name, str(folder), str(n_answers)]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, check=False)
    assert done.returncode == -9


def is_repaired(begin: str, name: str, folder: Path, n_answers: int) -> bool:
    source = BEGIN[begin](name, folder)
    killed(begin, name, folder, n_answers)
    assert run(source, folder).is_well
    found = contents(folder)
    shutil.rmtree(folder)  # hundreds of them would fill a disk
    return found == EXPECTED[begin](name)


EXPECTED = {"never": after_first, "yesterday": after_second}
N_ANSWERS = {"never": n_first, "yesterday": n_second}


@pytest.mark.parametrize("begin", sorted(BEGIN))
def test_a_sync_killed_after_some_answers_is_repaired_by_the_next(name: str, tmp_path: Path, begin: str):
    points = Random(begin).sample(range(1, N_ANSWERS[begin](name)), N_SAMPLED)
    assert [n for n in points if not is_repaired(begin, name, tmp_path / str(n), n)] == []


@pytest.mark.slow
@pytest.mark.parametrize("begin", sorted(BEGIN))
def test_a_sync_killed_after_any_answer_is_repaired_by_the_next(name: str, tmp_path: Path, begin: str):
    points = range(N_ANSWERS[begin](name))
    assert [n for n in points if not is_repaired(begin, name, tmp_path / str(n), n)] == []
