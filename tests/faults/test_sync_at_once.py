"""While a sync runs, whoever else would write says so in a sentence and ends with 3; nothing is doubled."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest
from fault_words import STATES, Case, Ended, begun, contents, differences, doomed, misbehaviour, served
from sources import find_sources

WRITERS = (
    ("sync",),
    ("sync", "--full"),
    ("check",),
    ("publish",),
    ("remap",),
    ("backup", "{folder}.backup"),
    ("forget", "contact:1", "--yes"),
    ("account", "remove", "main", "--yes"),
)
LOCKED = 3


@pytest.mark.parametrize("connector", sorted(find_sources()))
def test_a_sync_in_the_middle_is_left_alone_by_all_who_write(connector: str, tmp_path: Path):
    folder = tmp_path / "data"
    source, order = begun(Case(connector, "yesterday"), folder)
    reached, goes_on = threading.Event(), threading.Event()

    def wait(n: int, _: object) -> None:
        if n == 20:
            reached.set()
            goes_on.wait(120)

    source.before = wait
    with served(source) as address:
        order = replace(order, address=address)
        running = doomed().begin(order)
        assert reached.wait(60)
        for arguments in WRITERS:
            told = tuple(one.format(folder=folder) for one in arguments)
            other = replace(order, arguments=told, name=arguments[0])
            code = doomed().end_of(doomed().begin(other))
            said = other.said.read_text("utf-8")
            assert code == LOCKED, (arguments, code, said)
            assert len(said.splitlines()) == 1, (arguments, said)
            assert not misbehaviour("", Ended(0, said))
        goes_on.set()
        assert doomed().end_of(running) == 0, order.said.read_text("utf-8")
    assert differences(contents(folder), STATES["yesterday"][1](connector)) == {}


@pytest.mark.parametrize("connector", sorted(find_sources()))
def test_of_two_syncs_started_at_once_one_works(connector: str, tmp_path: Path):
    folder = tmp_path / "data"
    source, order = begun(Case(connector, "yesterday"), folder)
    with served(source) as address:
        both = [replace(order, address=address, name=name) for name in ("one", "two")]
        running = [doomed().begin(one) for one in both]
        codes = [doomed().end_of(process) for process in running]
    assert 0 in codes, [one.said.read_text("utf-8") for one in both]
    assert set(codes) <= {0, LOCKED}
    assert differences(contents(folder), STATES["yesterday"][1](connector)) == {}
