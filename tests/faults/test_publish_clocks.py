"""Clocks that jump between publishes: generations keep their order, readers theirs, and old ones go all the same."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from warehouse import publish
from warehouse.publish import generations, read_manifest

NIGHT = datetime(2026, 3, 10, 3, tzinfo=UTC)
DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
FAR_AHEAD = datetime(2099, 1, 1, tzinfo=UTC)  # an empty battery, a mistyped year
BERLIN = ZoneInfo("Europe/Berlin")


def made(publication: Path, now: datetime) -> str:
    """A generation, with nothing in it."""
    return str(publish.seal(publish.begin(publication, now=now), {})["generation"])


def is_whole(publication: Path) -> bool:
    """Whether the current generation took nothing over from the one before."""
    manifest = read_manifest(publication) or {}
    return bool(manifest["full_at"] == manifest["created_at"])


@pytest.mark.parametrize(
    "clock",
    [
        [NIGHT, NIGHT + 400 * DAY, NIGHT + 400 * DAY + MINUTE],
        [NIGHT, NIGHT - 400 * DAY, NIGHT - 400 * DAY, NIGHT + MINUTE],
        [NIGHT, FAR_AHEAD, NIGHT + MINUTE, NIGHT + 2 * MINUTE],
        [
            datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=0),
            datetime(2026, 10, 25, 2, 10, tzinfo=BERLIN, fold=1),
            datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=1),
        ],
        [datetime(2026, 3, 29, 1, 59, tzinfo=BERLIN), datetime(2026, 3, 29, 3, 0, tzinfo=BERLIN)],
    ],
    ids=["forward", "back", "far ahead for once", "an hour that comes twice", "an hour that is left out"],
)
def test_names_of_generations_are_in_the_order_they_were_made(tmp_path: Path, clock: list[datetime]):
    names = [made(tmp_path, now) for now in clock]
    assert names == sorted(set(names))
    assert generations(tmp_path)[-1] == (tmp_path / "current").read_text() == names[-1]


def test_after_a_clock_that_was_far_ahead_for_once_old_generations_go_as_ever(tmp_path: Path):
    made(tmp_path, NIGHT)
    made(tmp_path, FAR_AHEAD)
    nightly = [made(tmp_path, NIGHT + n * DAY) for n in range(1, 60)]
    left = generations(tmp_path)
    assert left[-7:] == nightly[-7:]
    assert len(left) <= 7 + 3 + 2  # days, months, and the two from before


def test_after_a_clock_that_was_far_ahead_for_once_readers_keep_theirs_for_two_hours(tmp_path: Path):
    made(tmp_path, FAR_AHEAD)
    often = [made(tmp_path, NIGHT + 20 * n * MINUTE) for n in range(6)]
    assert generations(tmp_path)[-6:] == often
    made(tmp_path, NIGHT + 8 * HOUR)
    assert set(generations(tmp_path)) & {*often[:4]} == set()


def test_a_clock_set_back_by_an_hour_takes_no_generation_from_its_readers(tmp_path: Path):
    often = [made(tmp_path, NIGHT + 10 * n * MINUTE) for n in range(5)]
    often += [made(tmp_path, NIGHT - HOUR + 10 * n * MINUTE) for n in range(5)]
    assert generations(tmp_path) == often


def test_a_clock_that_jumps_puts_off_no_week_in_which_all_is_written_anew(tmp_path: Path):
    clock = [NIGHT, NIGHT + DAY, FAR_AHEAD, NIGHT + 2 * DAY, *(NIGHT + n * DAY for n in range(3, 11))]
    seen = [(made(tmp_path, now), is_whole(tmp_path))[1] for now in clock]
    assert seen == [True, False, True, True, *[False] * 6, True, False]


def test_what_is_no_generation_is_no_matter(tmp_path: Path):
    (tmp_path / "lost+found").mkdir()
    names = [made(tmp_path, NIGHT + n * DAY) for n in range(2)]
    assert generations(tmp_path) == names
