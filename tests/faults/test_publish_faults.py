"""A publish that is killed, or loses its disk, at any step: readers see whole generations, and the next is as ever."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import traced
from publish_words import (
    NIGHT,
    assert_generations_are_whole,
    everything,
    published,
    read,
    told,
)
from traced import FAULTS, Ran, copied

from commands.forget import run_forget
from config import Config
from warehouse import publish
from warehouse.backup import backup, restore
from warehouse.database import LockedError

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
    repaired(traced.scan(published, 3, before=before, to=tmp_path, fault=fault, n=1), before, undisturbed)


@pytest.mark.parametrize(
    "other",
    [
        lambda folder: published(folder, 3),
        lambda folder: backup(folder, folder / "backup.tar", program="1.0", now=NIGHT),
        lambda folder: run_forget(Config(data_dir=folder), "contact:1", account=None, yes=True),
        lambda folder: restore(folder / "backup.tar", folder, force=True, now=NIGHT),
    ],
    ids=["publish", "backup", "forget", "restore"],
)
def test_beside_a_publish_nobody_else_writes(
    other: Callable[[Path], Any], before: Path, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = copied(before, tmp_path / "data")
    seal = publish.seal

    def sealed_beside_another(*args: Any, **options: Any) -> Any:
        with pytest.raises(LockedError):
            other(folder)
        return seal(*args, **options)

    monkeypatch.setattr(publish, "seal", sealed_beside_another)
    published(folder, 3)
    assert everything(folder) == everything(undisturbed)
    assert_generations_are_whole(folder)


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_at_every_step(fault: str, before: Path, undisturbed: Path, tmp_path: Path):
    repaired(traced.scan(published, 3, before=before, to=tmp_path, fault=fault), before, undisturbed)
