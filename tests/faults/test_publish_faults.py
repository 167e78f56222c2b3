"""A publish that is killed, or loses its disk, at any step: readers see whole generations, and the next is as ever."""

from collections.abc import Iterable
from pathlib import Path

import pytest
import traced
from publish_words import (
    assert_generations_are_whole,
    everything,
    published,
    read,
    told,
)
from traced import FAULTS, Ran, copied

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
def undisturbed(before: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = copied(before, tmp_path_factory.mktemp("undisturbed") / "data")
    published(folder, 3)
    return folder


def repaired(scanned: Iterable[tuple[Path, Ran]], before: Path, undisturbed: Path) -> None:
    old, new = everything(before), everything(undisturbed)
    names = {path.name for path in undisturbed.iterdir()}
    for folder, ran in scanned:
        seen = everything(folder)
        assert seen in (old, new), ran.met
        assert ran.was_killed or ran.error or seen == new, ran.met
        published(folder, 3, hours=1)
        assert everything(folder) == new, ran.met
        assert told(folder) == told(undisturbed), ran.met
        assert_generations_are_whole(folder)
        assert {path.name for path in folder.iterdir()} == names, ran.met


@pytest.mark.parametrize("fault", FAULTS)
def test_whatever_goes_wrong_readers_see_a_whole_generation_and_the_next_publish_is_as_ever(
    fault: str, before: Path, undisturbed: Path, tmp_path: Path
):
    repaired(traced.scan(published, 3, before=before, to=tmp_path, fault=fault, n=3), before, undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_at_every_step(fault: str, before: Path, undisturbed: Path, tmp_path: Path):
    repaired(traced.scan(published, 3, before=before, to=tmp_path, fault=fault), before, undisturbed)
