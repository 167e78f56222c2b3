"""Whatever happens at whichever step of a sync: it ends with a sentence, and the next one ends in the tables of a run
that nothing happened to. tests/connectors/suite kills syncs after every answer.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
import seccomp
from fault_answers import SPOILERS
from fault_words import STATES, Case, drawn, possible, steps_of, trouble
from sources import find_sources

pytestmark = pytest.mark.skipif(not seccomp.is_possible(), reason="system calls can be made to fail on Linux only")

DISKS = ("disk full", "quota", "disk broken", "flushes fail", "disk read-only", "files too large")
KILLS = ("kill", "kill at the next write", "kill at the next flush")
CLOCKS = (
    "clock back an hour",
    "clock back three days",
    "clock ahead an hour",
    "clock ahead three days",
    "another time zone",
)
FAULTS = (*KILLS, *DISKS, *CLOCKS, *SPOILERS)
UNSEEN = {("bitrix24", "answer of another request")}
"""Its answers name neither method nor page: one of the same shape cannot be told from the right one. Those of other
shapes are refused (tests/connectors/bitrix_conformance)."""
SAMPLED = [("amocrm", "kill"), ("bitrix24", "disk full")]
N_SCANNED = os.environ.get("VORONKA_FAULT_STEPS", "2")
"""At so many steps of each run every fault is tried in `make test-all`; `all`: at every one, which takes days."""


def of_each(faults: Sequence[str]) -> list[tuple[str, str]]:
    """Each connector with each fault that it could do something about."""
    return [(name, fault) for name in sorted(find_sources()) for fault in faults if (name, fault) not in UNSEEN]


@pytest.mark.parametrize(("connector", "fault"), SAMPLED)
def test_a_sync_something_happens_to_is_repaired_by_the_next(connector: str, fault: str, tmp_path: Path):
    (step,) = drawn(fault, steps_of(connector, "yesterday"), n=1, seed=connector)
    assert not trouble(Case(connector, "yesterday", fault, step), tmp_path / "data")


@pytest.mark.slow
@pytest.mark.parametrize("state", sorted(STATES))
@pytest.mark.parametrize(("connector", "fault"), of_each(FAULTS))
def test_whatever_happens_to_a_sync_is_repaired_by_the_next(connector: str, state: str, fault: str, tmp_path: Path):
    steps = steps_of(connector, state)
    chosen = (
        possible(fault, steps)
        if N_SCANNED == "all"
        else drawn(fault, steps, n=int(N_SCANNED), seed=f"{connector} {state}")
    )
    cases = [Case(connector, state, fault, step) for step in chosen]
    assert "\n".join(filter(None, (trouble(case, tmp_path / "data") for case in cases))) == ""
