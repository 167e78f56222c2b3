"""Tasks of the emulated Bitrix24, as version 2 has them (`bitrix24.md`, 4.9)."""

from collections.abc import Callable

from demo import bitrix24_php as php
from demo.bitrix24_calls import Answer, Call, Json, Registry, controller_page, order_of
from demo.bitrix24_errors import RestError
from demo.bitrix24_filters import Dialect, Query
from demo.bitrix24_rows import old_filter, one, present
from demo.bitrix24_values import Row

TASKS = Registry()
TASK_FIELDS = (
    "ID", "PARENT_ID", "TITLE", "DESCRIPTION", "MARK", "PRIORITY", "STATUS", "GROUP_ID", "STAGE_ID", "CREATED_BY",
    "CREATED_DATE", "RESPONSIBLE_ID", "CHANGED_BY", "CHANGED_DATE", "STATUS_CHANGED_BY", "CLOSED_BY", "CLOSED_DATE",
    "DATE_START", "DEADLINE", "START_DATE_PLAN", "END_DATE_PLAN", "TIME_ESTIMATE", "AUDITORS", "ACCOMPLICES",
    "UF_CRM_TASK", "SUB_STATUS", "ACTIVITY_DATE", "TAGS", "COMMENTS_COUNT",
)  # fmt: skip


@TASKS.method("tasks.task.list", "task")
def _tasks(call: Call) -> Answer:
    names = {name: name for name in TASK_FIELDS}
    query = Query("task")
    query.conditions = Dialect({**names, "REAL_STATUS": "STATUS"}).conditions(old_filter(call))
    query.order = order_of(call.param("order"), names, on_unknown=_bad_task_order) or [("ID", True)]
    query.tests = own_tasks(call)
    page = controller_page(call, call.select(query))
    select = {str(name) for name in php.values(call.param("select") or [])}
    rows = [_task(call, row, select) for row in present(call, "task", page.ids)]
    return page.answer({"tasks": rows}, has_star=not select or "*" in select)


def own_tasks(call: Call) -> list[Callable[[Row], bool]]:
    """Whoever is no administrator sees his own."""
    me = call.caller.user_id
    return [] if call.switches.is_admin else [lambda row: me in (row.get("RESPONSIBLE_ID"), row.get("CREATED_BY"))]


def _bad_task_order(name: str) -> RestError:
    return RestError("0", f"Could not find description of {name} in Bitrix\\Tasks\\Internals\\TaskTable")


def _task(call: Call, row: Row, select: set[str]) -> Json:
    every = not select or "*" in select
    names = [n for n in row if n == "ID" or n in select or (every and n in TASK_FIELDS and not n.startswith("UF_"))]
    found = call.wire.task(row, names)
    if "UF_CRM_TASK" in names:
        found["ufCrmTask"] = found["ufCrmTask"] or False
    return {**found, "group": []} if every or "GROUP_ID" in select else found


@TASKS.method("tasks.task.get", "task")
def _task_get(call: Call) -> Answer:
    row = one(call, "task", call.integer("taskId"), missing=RestError("100", "Task not found"))
    return Answer({"task": _task(call, row, set())})


@TASKS.method("tasks.task.history.list", "task")
def _task_history(call: Call) -> Answer:
    row = one(call, "task", call.integer("taskId"), missing=RestError("100", "Task not found"))
    return Answer({"list": [call.wire.task(step, step) for step in row.get("HISTORY") or ()]})
