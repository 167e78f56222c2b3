"""Whatever happens at whichever step of a login, or of a sync that needs new tokens: either the account stays
authorised, or one sentence says who has to do what; and a login after that is a login."""

import shutil
from collections.abc import Callable
from datetime import timedelta
from functools import cache
from pathlib import Path

import pytest
import seccomp
from demo_crm import scratch
from doomed import Order
from fault_sources import new_code
from fault_words import Case, Ended, drawn, misbehaviour, play, possible
from sources import Source, find_sources
from suite_words import blank
from test_sync_faults import DISKS, KILLS

pytestmark = pytest.mark.skipif(not seccomp.is_possible(), reason="system calls can be made to fail on Linux only")

ASKS_FOR_A_PERSON = "voronka login main"
LOST_ANSWERS = ("reset", "slow drip", "body cut", "empty body")
FAULTS = (*KILLS, *DISKS, *LOST_ANSWERS)
RENEWING = "sync, authorised long ago"
LONG_AGO = timedelta(days=2)
"""Longer than an access token lives."""


def login(connector: str, source: Source, folder: Path, *, fault: str = "", at: str = "") -> Order:
    arguments = ("login", "main", "--code", new_code(connector, source))
    return order(arguments, connector, source, folder, fault=fault, at=at)


def users(connector: str, source: Source, folder: Path, *, fault: str = "", at: str = "") -> Order:
    """A short sync."""
    return order(("sync", "--resource", "users"), connector, source, folder, fault=fault, at=at)


def order(arguments: tuple[str, ...], connector: str, source: Source, folder: Path, *, fault: str, at: str) -> Order:
    return Order(arguments, str(folder), connector, "consent", "", source.now.timestamp(), fault=fault, at=at)


def never(connector: str, folder: Path) -> Source:
    blank(folder)
    return find_sources()[connector]()


def authorised(connector: str, folder: Path) -> Source:
    source = never(connector, folder)
    assert play(source, login(connector, source, folder)).code == 0
    return source


def long_ago(connector: str, folder: Path) -> Source:
    source = authorised(connector, folder)
    source.passes(LONG_AGO)
    return source


Command = Callable[..., Order]
STATES: dict[str, tuple[Callable[[str, Path], Source], Command]] = {
    "login, never authorised": (never, login),
    "login, authorised": (authorised, login),
    RENEWING: (long_ago, users),
}


@cache
def steps_of(connector: str, state: str) -> tuple[str, ...]:
    folder = Path(scratch().name) / f"recorded {connector} {state}"
    begin, command = STATES[state]
    source = begin(connector, folder)
    recorded = command(connector, source, folder)
    ended = play(source, recorded)
    assert ended.code == 0, ended.said
    steps = recorded.trace.read_text("utf-8").splitlines()
    # of a sync what it does for new tokens; what else it does is no matter here
    return tuple(step for step in steps if state != RENEWING or "oauth" in step)


def trouble(case: Case, folder: Path) -> str:
    begin, command = STATES[case.state]
    source = begin(case.connector, folder)
    struck = play(source, command(case.connector, source, folder, fault=case.fault, at=case.at))
    found = misbehaviour(case.fault, struck) or aftermath(case, source, folder, struck)
    shutil.rmtree(folder)
    return f"{case}: {found} (code {struck.code})\n{struck.said}" if found else ""


def aftermath(case: Case, source: Source, folder: Path, struck: Ended) -> str:
    """What is wrong with the runs that follow."""
    then = play(source, users(case.connector, source, folder))
    if then.code and (misbehaviour("", then) or ASKS_FOR_A_PERSON not in then.said or "cannot be read" in then.said):
        return f"the next sync says {then.said}"
    if then.code and struck.code == 0 and case.state != RENEWING:
        return "a login that ended well was none"
    if then.code and case.state == "login, authorised":
        return "a login that failed took the earlier one away"
    again = play(source, login(case.connector, source, folder))
    after = play(source, users(case.connector, source, folder))
    return f"what follows a new login: {again.said}{after.said}" if again.code or after.code else ""


@pytest.mark.parametrize(
    ("connector", "state", "fault"),
    [("amocrm", "login, authorised", "kill"), ("bitrix24", "login, never authorised", "disk read-only")],
)
def test_a_login_something_happens_to_is_repaired_by_the_next(connector: str, state: str, fault: str, tmp_path: Path):
    (step,) = drawn(fault, steps_of(connector, state), n=1, seed=connector)
    assert not trouble(Case(connector, state, fault, step), tmp_path / "data")


@pytest.mark.parametrize("connector", sorted(find_sources()))
def test_a_sync_killed_between_new_tokens_and_their_saving_asks_for_a_person(connector: str, tmp_path: Path):
    steps = steps_of(connector, RENEWING)
    (step,) = [one for one in steps if one.startswith("answer ")]
    assert not trouble(Case(connector, RENEWING, "kill", step), tmp_path / "data")


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("state", sorted(STATES))
@pytest.mark.parametrize("connector", sorted(find_sources()))
def test_whatever_happens_to_a_login_is_repaired_by_the_next(connector: str, state: str, fault: str, tmp_path: Path):
    cases = [Case(connector, state, fault, step) for step in possible(fault, steps_of(connector, state))]
    assert "\n".join(filter(None, (trouble(case, tmp_path / "data") for case in cases))) == ""
