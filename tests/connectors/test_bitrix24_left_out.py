"""Lists a portal does not give: each is told with what it costs, and the others are read."""

from pathlib import Path

import pytest
from bitrix_demo import Portal, rows

from warehouse.status import RunStatus

N_CALLS = "SELECT count(*) FILTER (starts_with(call_id, 'call:')), count(*) FROM call"


def told(done: RunStatus) -> list[str]:
    (access,) = [status for status in done.account("main").resources if status.resource == "access"]
    return list(access.warnings)


def states(done: RunStatus) -> dict[str, str]:
    return {status.resource: status.state for status in done.account("main").resources if status.state != "done"}


def scopes_without(*missing: str) -> tuple[str, ...]:
    return tuple(scope for scope in Portal().server.switches.scopes if scope not in missing)


def test_without_its_scope_telephony_is_left_out_until_it_is_given(tmp_path: Path):
    portal = Portal(scopes=scopes_without("telephony"))
    done = portal.synced(tmp_path)
    assert done.is_well
    assert states(done) == {"calls": "left_out"}
    (why,) = told(done)
    assert "the scope telephony is missing" in why
    assert "calls are known from activities only" in why
    ((of_telephony, of_activities),) = rows(tmp_path, N_CALLS)
    assert (of_telephony, of_activities > 0) == (0, True)

    portal.server.switch(scopes=scopes_without())
    assert portal.synced(tmp_path).is_well
    ((of_telephony, _),) = rows(tmp_path, N_CALLS)
    assert of_telephony == len(portal.ids("call"))


WAITED_FOR = "SELECT count(*) = count(watermark) FROM sync_watermark WHERE is_core"


def test_an_account_does_not_wait_for_what_it_never_had(tmp_path: Path):
    portal = Portal(scopes=scopes_without("telephony"))
    portal.synced(tmp_path)
    assert rows(tmp_path, WAITED_FOR) == [(True,)]
    portal.server.switch(scopes=scopes_without())
    portal.synced(tmp_path)
    assert rows(tmp_path, "SELECT DISTINCT is_core FROM sync_watermark WHERE resource = 'calls'") == [(True,)]


@pytest.mark.parametrize(
    ("missing", "left_out", "table"),
    [
        ("imopenlines", {"conversations"}, "chat"),
        ("catalog", {"products"}, "product"),
        ("department", {"departments"}, "department"),
    ],
)
def test_what_a_missing_scope_costs_is_named(tmp_path: Path, missing: str, left_out: set[str], table: str):
    done = Portal(scopes=scopes_without(missing)).synced(tmp_path)
    assert done.is_well
    assert set(states(done)) == left_out
    (why,) = told(done)
    assert f"the scope {missing} is missing" in why
    assert f"these tables stay empty: {table}" in why
    assert rows(tmp_path, f"SELECT count(*) FROM {table}") == [(0,)]


def test_a_module_that_is_off_is_left_out(tmp_path: Path):
    done = Portal(absent_methods=("voximplant.*",)).synced(tmp_path)
    assert (done.is_well, states(done)) == (True, {"calls": "left_out"})
    (why,) = told(done)
    assert "not available on this portal" in why
