"""Readers while publishes follow each other: each sees whole generations and no error."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import sleep
from typing import Any

import polars as pl
import pytest
import traced

from explorer import explore
from metrics.frames import EngineName, FrameSet, open_frames
from warehouse import publish

NIGHT = datetime(2026, 3, 10, 3, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
TABLES = ("deal", "call", "touch")
ALL_NUMBERS = " UNION ALL ".join(f"SELECT DISTINCT number FROM {name}" for name in TABLES)


def planted(publication: Path, number: int, *, at: datetime | None = None) -> None:
    """A generation in which every row of every table, and the manifest, say the same number."""
    draft = publish.begin(publication, now=at or NIGHT + number * MINUTE)
    for name in TABLES:
        publish.write(draft, name, pl.DataFrame({"account_id": ["main"] * 500, "number": [number] * 500}))
    publish.seal(draft, {"number": number, "accounts": []})


def number_of(frames: FrameSet) -> int:
    """What a generation says, if it says one thing."""
    found = {int(frames.manifest["number"])}
    for name in TABLES:
        found |= {*frames[name].collect("polars")["number"].to_list()}
    assert len(found) == 1, f"half a state: {found}"
    return found.pop()


def reading(publication: Path, stop: Path, told: Any) -> None:
    """Read until somebody says stop, now this way, now that; tell how often, or what went wrong.

    Between opening and reading it waits: by then the generation is often not the newest any more.
    """
    last, n = -1, 0
    try:
        while not stop.exists() or n == 0:
            frames = open_frames(publication)
            sleep(0.01)
            number = number_of(frames)
            if n % 10 == 0:
                answer = explore(publication / frames.generation, ALL_NUMBERS)
                assert {*answer["number"].to_list()} == {number}
            assert number >= last, f"{number} after {last}"
            last, n = number, n + 1
        told.put((n, None))
    except BaseException as error:
        told.put((n, f"{type(error).__name__}: {error}"))


@pytest.mark.parametrize(("readers", "publishes"), [(3, 8), pytest.param(50, 100, marks=pytest.mark.slow)])
def test_no_reader_ever_sees_an_error_or_half_a_state(readers: int, publishes: int, tmp_path: Path):
    publication, stop = tmp_path / "publication", tmp_path / "stop"
    planted(publication, 0)
    told = traced.queue()
    started = [traced.process(reading, publication, stop, told) for _ in range(readers)]
    for number in range(1, publishes + 1):
        planted(publication, number)
    stop.touch()
    said = [told.get(timeout=traced.LONGEST_S) for _ in started]
    for one in started:
        one.join(traced.LONGEST_S)
    assert [error for _, error in said if error] == []
    assert number_of(open_frames(publication)) == publishes
    print(f"{sum(n for n, _ in said)} readings")  # noqa: T201


@pytest.mark.parametrize("engine", ["polars", "duckdb"])
def test_a_reader_that_waits_reads_what_it_opened_for_two_hours_and_then_the_newest_whole(
    engine: EngineName, tmp_path: Path
):
    planted(tmp_path, 0)
    frames = open_frames(tmp_path, engine)
    for number in range(1, 12):
        planted(tmp_path, number, at=NIGHT + 10 * number * MINUTE)
        assert number_of(open_frames(tmp_path, engine, generation=frames.generation)) == 0
    assert number_of(frames) == 0
    planted(tmp_path, 12, at=NIGHT + 26 * 60 * MINUTE)
    assert not (tmp_path / frames.generation).exists()
    assert number_of(frames.reopened()) == 12


def test_a_generation_that_is_begun_or_thinned_out_is_in_nobodys_sight(tmp_path: Path):
    planted(tmp_path, 0)
    half = publish.begin(tmp_path, now=NIGHT + MINUTE)
    publish.write(half, "deal", pl.DataFrame({"account_id": ["main"], "number": [1]}))
    assert publish.generations(tmp_path) == [open_frames(tmp_path).generation]
    assert number_of(open_frames(tmp_path)) == 0
    planted(tmp_path, 2)
    assert not half.folder.exists()
