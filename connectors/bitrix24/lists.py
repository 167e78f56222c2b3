"""The lists of a portal, as they are asked for."""

from collections.abc import Sequence
from dataclasses import replace

from connectors.bitrix24 import activities, deals, invoices, tasks
from connectors.bitrix24.paging import List
from connectors.bitrix24.reading import DEAL, INVOICE, LEAD

EVERYTHING = ("*",)
"""All columns: only so do phones and e-mails come, which have no names that could be asked for."""


def item_list(type_id: int, columns: tuple[str, ...] = EVERYTHING, *, changed: str = "updatedTime") -> List:
    """Cards of an entity type. changed: the column that says since when something is new about one."""
    return List(
        "crm.item.list",
        rows="items",
        key="id",
        cursor="id",
        params={"entityTypeId": type_id},
        select=columns,
        changed=changed,
    )


def history_of(type_id: int) -> List:
    return List("crm.stagehistory.list", rows="items", params={"entityTypeId": type_id}, changed="CREATED_TIME")


def owned_by(history: List, owners: Sequence[str]) -> List:
    """The rows of a history that belong to some cards."""
    return replace(history, params={**history.params, "filter": {"OWNER_ID": list(owners)}})


def touched(type_id: int) -> List:
    """Cards by what happens on them: a comment does not change its card."""
    return item_list(type_id, ("id",), changed="lastActivityTime")


DEALS = item_list(DEAL, deals.COLUMNS)
WITH_LINES = {
    LEAD: item_list(LEAD, ("id", "currencyId")),
    DEAL: item_list(DEAL, ("id", "currencyId", "isRecurring")),
}
"""By entity type: cards that may have lines of products."""
INVOICES = item_list(INVOICE, invoices.COLUMNS)
ACTIVITIES = List("crm.activity.list", select=activities.COLUMNS, changed="LAST_UPDATED")
SESSIONS = List(
    "crm.activity.list",
    params={"filter": {"PROVIDER_ID": activities.SESSIONS}},
    select=activities.COLUMNS,
    changed="LAST_UPDATED",
)
CALLS = List("voximplant.statistic.get", style="flat", changed="CALL_START_DATE")
TASKS = List("tasks.task.list", rows="tasks", key="id", cursor="ID", select=tasks.COLUMNS, changed="CHANGED_DATE")
