"""Tasks: `tasks.task.list`.

https://apidocs.bitrix24.ru/api-reference/tasks/tasks-task-list.html

Dates come in the zone of the webhook's user with the offset that holds today, in rows of last winter too: what is told
is his wall time.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from connectors.bitrix24.activities import kind_of, task_links
from connectors.bitrix24.reading import COMPANY, CONTACT, DEAL, INVOICE, LEAD, Reading, card_id
from connectors.bitrix24.values import many, moment, text
from connectors.paging import Json
from connectors.records import Task, Yield

COLUMNS = (
    "ID", "TITLE", "STATUS", "REAL_STATUS", "CREATED_DATE", "CHANGED_DATE", "CLOSED_DATE", "DEADLINE",
    "RESPONSIBLE_ID", "CREATED_BY", "UF_CRM_TASK",
)  # fmt: skip
COMPLETED = "5"
CARD = re.compile(r"(?P<type>T[0-9a-fA-F]+|[A-Z]+)_(?P<number>[0-9]+)")
TYPES: Mapping[str, int] = {"L": LEAD, "D": DEAL, "C": CONTACT, "CO": COMPANY, "SI": INVOICE}
"""Entity type by its letters in references."""


def task_records(task: Json, reading: Reading, raw_hash: str) -> Iterator[Yield]:
    """A task with the cards it is about."""
    task_id = f"task:{task['id']}"
    cards = [card for value in many(task.get("ufCrmTask")) if (card := card_of(value))]
    created_at = told(task.get("createdDate"), reading)
    if created_at is None:
        raise ValueError("a task without a time")
    closed_at, changed_at = told(task.get("closedDate"), reading), told(task.get("changedDate"), reading)
    is_over = str(task.get("status")) == COMPLETED
    yield Task(
        account_id=reading.account_id,
        source_updated_at=changed_at,
        raw_hash=raw_hash,
        task_id=task_id,
        kind="todo",
        entity_kind=kind_of(cards[0]) if cards else None,
        entity_id=cards[0] if cards else None,
        responsible_user_id=reading.responsible(task.get("responsibleId")),
        created_by=reading.author(task.get("createdBy")),
        text=text(task.get("title")),
        created_at=created_at,
        due_at=told(task.get("deadline"), reading),
        completed_at=(closed_at or changed_at) if is_over else None,
        completed_is_estimate=is_over and closed_at is None,
        is_completed=is_over,
    )
    yield task_links(dict.fromkeys(cards), task_id, reading, raw_hash)


def card_of(value: Any) -> str | None:
    """`D_410` is a deal; smart processes have their number in hexadecimal: `T80_6` is of type 128."""
    found = CARD.fullmatch(str(value))
    if found is None:
        return None
    letters = found["type"]
    type_id = TYPES.get(letters) or (int(letters[1:], 16) if letters[0] == "T" and letters[1:] else None)
    return card_id(type_id, found["number"])


def told(value: Any, reading: Reading) -> datetime | None:
    """The instant of a date of a task."""
    instant = moment(value)
    if instant is None or reading.task_zone is None:
        return instant
    wall = datetime.fromisoformat(value).replace(tzinfo=reading.task_zone)
    return wall.astimezone(UTC)
