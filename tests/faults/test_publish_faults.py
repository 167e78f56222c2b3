"""A publish that is killed, or loses its disk, at any step: readers see whole generations, and the next is as ever."""

from pathlib import Path

import pytest
import traced
from publish_words import (
    assert_generations_are_whole,
    copied,
    everything,
    published,
    read,
    told,
)
from traced import FAULTS, Step

pytestmark = traced.needed


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two nights are published, the third is read."""
    folder = tmp_path_factory.mktemp("publish") / "before"
    for night in (1, 2):
        read(folder, night)
        published(folder, night)
    read(folder, 3)
    return folder


@pytest.fixture(scope="module")
def steps(before: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Step]:
    """Those of a publish that nothing happens to."""
    folder = copied(before, tmp_path_factory.mktemp("recorded") / "data")
    ran = traced.run(published, folder, 3, folder=folder)
    assert ran.error is None
    return ran.steps


@pytest.fixture(scope="module")
def undisturbed(before: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = copied(before, tmp_path_factory.mktemp("undisturbed") / "data")
    published(folder, 3)
    return folder


def scan(numbers: list[int], fault: str, before: Path, undisturbed: Path, tmp_path: Path) -> None:
    old, new = everything(before), everything(undisturbed)
    names = {path.name for path in undisturbed.iterdir()}
    for number in numbers:
        folder = copied(before, tmp_path / f"{number}")
        ran = traced.run(published, folder, 3, folder=folder, fault=FAULTS[fault], at=number)
        where = f"{fault} at {number}: {ran.steps[number] if len(ran.steps) > number else None}"
        assert ran.error is None or ran.error[0] == "WarehouseError", f"{where}: {ran.error}"
        seen = everything(folder)
        assert seen in (old, new), where
        assert ran.was_killed or ran.error or seen == new, where
        published(folder, 3, hours=1)
        assert everything(folder) == new, where
        assert told(folder) == told(undisturbed), where
        assert_generations_are_whole(folder)
        assert {path.name for path in folder.iterdir()} == names, where


@pytest.mark.parametrize("fault", FAULTS)
def test_whatever_goes_wrong_readers_see_a_whole_generation_and_the_next_publish_is_as_ever(
    fault: str, before: Path, undisturbed: Path, steps: list[Step], tmp_path: Path
):
    scan(traced.sampled(steps, 3, seed=20), fault, before, undisturbed, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_at_every_step(fault: str, before: Path, undisturbed: Path, steps: list[Step], tmp_path: Path):
    scan([*range(len(steps))], fault, before, undisturbed, tmp_path)
