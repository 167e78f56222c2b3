"""Activities that turn into something else, and what two lists know of the same thing."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from bitrix_demo import Portal, rows
from bitrix_rows import ACTIVITY, become, of, reading

from connectors.bitrix24.activities import activity_records
from connectors.connector import Window
from connectors.records import Activity, Call, Task, Tombstone, Yield

HOUR = timedelta(hours=1)
PLANNED = {"TYPE_ID": 2, "PROVIDER_ID": "CRM_CALL", "DIRECTION": 2, "COMPLETED": False}
ALIVE = (
    "SELECT 'task', is_completed FROM task WHERE task_id = '{id}' AND deleted_at IS NULL "
    "UNION ALL SELECT 'call', true FROM call WHERE call_id = '{id}' AND deleted_at IS NULL"
)
MISSING = "SELECT n_missing FROM sync_sweep WHERE resource = 'activities'"


@pytest.fixture
def portal() -> Portal:
    return Portal()


def plan_a_call(portal: Portal) -> int:
    (contact, *_) = portal.ids("contact")
    fields = {**PLANNED, "OWNER_TYPE_ID": 3, "OWNER_ID": contact}
    return int(portal.people("add", table="activity", fields=fields)["id"])


def later(portal: Portal, data_dir: Path, number: int, *, completed: bool) -> list[tuple[Any, ...]]:
    """What is alive of an activity once somebody has completed or reopened it, and it was read again."""
    portal.passes(HOUR)
    portal.people("update", table="activity", id=number, fields={"COMPLETED": completed})
    portal.passes(HOUR)
    assert portal.synced(data_dir).is_well
    return rows(data_dir, ALIVE.format(id=f"activity:{number}"))


def test_a_planned_call_that_took_place_is_no_task_any_more(portal: Portal, tmp_path: Path):
    number = plan_a_call(portal)
    assert portal.synced(tmp_path).is_well
    assert rows(tmp_path, ALIVE.format(id=f"activity:{number}")) == [("task", False)]
    assert later(portal, tmp_path, number, completed=True) == [("call", True)]
    assert later(portal, tmp_path, number, completed=False) == [("task", False)]
    assert later(portal, tmp_path, number, completed=True) == [("call", True)]
    assert portal.synced(tmp_path, full=True).is_well
    assert rows(tmp_path, MISSING) == [(0,)]


def gone(window: Window, row: dict[str, Any], portal: Portal) -> list[type]:
    """Kinds that an activity is said not to be any more."""
    number = plan_a_call(portal)
    portal.passes(HOUR)
    portal.people("update", table="activity", id=number, fields=row)
    found: list[Yield] = list(portal.reads("activities", window))
    return [item.kind for item in of(Tombstone, found) if item.id == f"activity:{number}"]


def test_a_first_read_buries_nothing(portal: Portal):
    assert gone(Window("numbered"), {"COMPLETED": True}, portal) == []


def test_what_has_changed_is_buried_as_what_it_was(portal: Portal):
    since = portal.now - HOUR
    assert gone(Window("changed", since), {"COMPLETED": True}, portal) == [Task]


def turned(provider: str, *, is_again: bool = True, **changes: Any) -> list[type]:
    walk = reading()
    walk.is_again = is_again
    row = ACTIVITY | {"PROVIDER_ID": provider, "TYPE_ID": "6"} | changes
    return [item.kind for item in of(Tombstone, become(activity_records, row, walk, key="ID"))]


def test_only_what_changed_after_it_was_made_can_have_been_something_else():
    assert turned("CRM_CALL", COMPLETED="Y") == [Task]
    assert turned("CRM_CALL", COMPLETED="Y", LAST_UPDATED=ACTIVITY["CREATED"]) == []
    assert turned("CRM_CALL", COMPLETED="Y", is_again=False) == []
    assert turned("CRM_CALL", COMPLETED="N") == [Call]
    assert turned("REST_APP", COMPLETED="N") == [Activity]


@pytest.mark.parametrize("provider", ["CRM_TODO", "CRM_EMAIL", "CRM_WEBFORM", "CRM_MEETING", "CRM_TASKS_TASK"])
def test_what_is_always_of_one_kind_leaves_no_tombstones(provider: str):
    assert turned(provider, COMPLETED="Y") == turned(provider, COMPLETED="N") == []
    assert turned("VOXIMPLANT_CALL", ORIGIN_ID="VI_externalCall.ab12") == []
