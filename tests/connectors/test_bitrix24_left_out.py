"""Lists a portal does not give: each is told with what it costs, and the others are read."""

from datetime import timedelta
from pathlib import Path

import pytest
from amo_demo import published
from bitrix_demo import Portal, rows

from warehouse.status import RunStatus

N_CALLS = "SELECT count(*), count(DISTINCT external_uniq), count(*) FILTER (read_seq > 0) FROM call"
EPISODES = {
    "call_episode": (
        "episode_id",
        "direction",
        "started_at",
        "is_answered",
        "talk_s",
        "n_legs",
        "user_id",
        "client_id",
    ),
    "call_episode_leg": ("call_id", "episode_id", "is_duplicate"),
}


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
    n_calls = len(portal.ids("call"))
    assert rows(tmp_path, N_CALLS) == [(n_calls, n_calls, 0)]

    portal.server.switch(scopes=scopes_without())
    assert portal.synced(tmp_path).is_well
    assert rows(tmp_path, N_CALLS) == [(n_calls, n_calls, n_calls)]


def test_telephony_that_is_given_later_leaves_the_same_episodes_as_if_it_always_had_been(tmp_path: Path):
    """Whoever is responsible for the activity of a call may be another one than who had it."""
    late, always = Portal(scopes=scopes_without("telephony")), Portal()
    for portal in (late, always):
        for number in portal.ids("activity")[:40]:
            portal.people("update", table="activity", id=number, fields={"RESPONSIBLE_ID": 1})
    late.synced(tmp_path / "late")
    late.server.switch(scopes=scopes_without())
    assert late.synced(tmp_path / "late").is_well
    assert always.synced(tmp_path / "always").is_well
    of_late, of_always = (published(tmp_path / folder, now=late.now) for folder in ("late", "always"))
    for table, (key, *columns) in EPISODES.items():
        known_late, known_always = (of(table).select(key, *columns).sort(key).rows() for of in (of_late, of_always))
        assert known_late == known_always != []


def test_whoever_may_see_only_his_own_calls_has_those_of_others_from_activities(tmp_path: Path):
    portal = Portal(telephony_rights="own", is_admin=False)
    done = portal.synced(tmp_path)
    assert done.is_well
    n_calls = len(portal.ids("call"))
    ((n_rows, n_unlike, n_real),) = rows(tmp_path, N_CALLS)
    assert (n_rows, n_unlike) == (n_calls, n_calls)
    assert n_real < n_calls
    assert any("the access is not an administrator's" in why for why in told(done))
    portal.server.switch(telephony_rights="all", is_admin=True)
    portal.passes(timedelta(hours=1))
    assert portal.synced(tmp_path).is_well
    assert rows(tmp_path, N_CALLS)[0][0] == n_calls
    assert told(portal.synced(tmp_path)) == []


def test_a_call_known_from_its_activity_only_follows_it(tmp_path: Path):
    portal = Portal(scopes=scopes_without("telephony"))
    portal.synced(tmp_path)
    ((number, call_id),) = rows(
        tmp_path,
        "SELECT r.native_id, c.call_id FROM call c JOIN raw_record r USING (raw_hash) "
        "WHERE c.direction = 'in' AND c.status = 'answered' ORDER BY ALL LIMIT 1",
    )
    portal.passes(timedelta(hours=1))
    missed = {"SETTINGS": {"MISSED_CALL": True}}
    portal.people("update", table="activity", id=int(number), fields=missed)
    assert portal.synced(tmp_path).is_well
    assert rows(tmp_path, f"SELECT status FROM call WHERE call_id = '{call_id}'") == [("missed",)]


WAITED_FOR = "SELECT count(*) = count(watermark) FROM sync_watermark WHERE is_core AND is_left_out IS NOT TRUE"


def test_an_account_does_not_wait_for_what_it_never_had(tmp_path: Path):
    portal = Portal(scopes=scopes_without("telephony"))
    portal.synced(tmp_path)
    assert rows(tmp_path, WAITED_FOR) == [(True,)]
    portal.server.switch(scopes=scopes_without())
    portal.synced(tmp_path)
    assert rows(tmp_path, "SELECT is_core, is_left_out FROM sync_watermark WHERE resource = 'calls'") == [(True, False)]


def test_a_scope_that_is_taken_away_is_named_with_the_day_nothing_came_since(tmp_path: Path):
    portal = Portal()
    portal.synced(tmp_path)
    day = f"{portal.now:%Y-%m-%d}"
    portal.server.switch(scopes=scopes_without("telephony"))
    portal.passes(timedelta(days=2))
    done = portal.synced(tmp_path)
    (why,) = done.account("main").resource("calls").warnings
    assert "the scope telephony is missing" in why
    assert f"Nothing of it has come into these tables since {day}: call." in why
    assert rows(tmp_path, "SELECT watermark FROM coverage WHERE resource = 'call'") == [(portal.now,)]


@pytest.mark.parametrize(("scope", "table"), [("telephony", "call"), ("task", "task")])
def test_what_activities_know_too_is_covered_by_them_where_its_own_list_is_not_given(
    tmp_path: Path, scope: str, table: str
):
    covered = (
        "SELECT c.watermark = a.watermark FROM coverage c, sync_watermark a "
        f"WHERE c.resource = a.table_name AND a.resource = 'activities' AND a.table_name = '{table}'"
    )
    portal = Portal(scopes=scopes_without(scope))
    for _ in range(2):
        assert portal.synced(tmp_path).is_well
        assert rows(tmp_path, covered) == [(True,)]
    portal.server.switch(scopes=scopes_without())
    assert portal.synced(tmp_path).is_well
    assert rows(tmp_path, covered) == [(True,)]


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
