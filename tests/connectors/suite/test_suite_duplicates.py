"""The same object may come twice: on a page, on two pages, in two windows. It is one row and one raw object."""

import copy
from pathlib import Path
from typing import Any

from sources import find_sources
from suite_words import DAY, a_day_later, after_first, after_second, contents, run


def test_an_object_twice_on_a_page_is_one(name: str, folder: Path):
    source = find_sources()[name]()

    def twice(_: Any, answer: Any) -> Any:
        items = source.objects(answer)
        items += copy.deepcopy(items)
        return answer

    source.repaint = twice
    assert run(source, folder).is_well
    assert contents(folder) == after_first(name)


def test_an_object_on_two_pages_is_one(name: str, folder: Path):
    """As where rows slide to the next page while the list is read."""
    source, last = find_sources()[name](), dict[str, Any]()

    def slid(asked: Any, answer: Any) -> Any:
        if items := source.objects(answer):
            walk = source.walk_of(asked)
            items[:0] = last.get(walk, [])
            last[walk] = copy.deepcopy(items[-1:])
        return answer

    source.repaint = slid
    assert run(source, folder).is_well
    assert contents(folder) == after_first(name)


def test_an_object_in_two_windows_is_one(name: str, folder: Path):
    """A later read may ask for more kinds of objects than the first: of the raw ones only that none is there twice."""
    source = a_day_later(name, folder)
    assert run(source, folder, overlap=30 * DAY).is_well
    found, expected = contents(folder), dict(after_second(name))
    raw = found.pop("raw_record")
    assert len(raw) == len(set(raw)) >= len(expected.pop("raw_record"))
    assert found == expected
