"""The queue of offline events that an application reads (`bitrix24.md`, section 7)."""

from typing import Any

from demo import bitrix24_php as php
from demo.bitrix24_calls import PAGE, Answer, Call, Json, Registry
from demo.bitrix24_errors import RestError

EVENTS = Registry()
KEPT_S = 2_952_000
DYNAMIC = "ONCRMDYNAMICITEM"


class OfflineQueue:
    """One row for each event and object, with the time of the last; reserved rows wait under their process."""

    def __init__(self, told: list[Any]) -> None:
        """`told`: what the portal notes, (event, entity type id, id, unix s); it only grows."""
        self._told, self._n_taken = told, 0
        self._rows: dict[tuple[str, str, str], Json] = {}
        self._n = 0

    def rows(self, now: int) -> list[Json]:
        """What is in the queue, with what was told since; too old ones are dropped."""
        for name, entity_type, number, at in self._told[self._n_taken :]:
            self._n += 1
            data = _data(name, entity_type, number)
            key = (name, str(data), "")
            known = self._rows.get(key)
            self._rows[key] = {
                "ID": known["ID"] if known else str(self._n),
                "TIMESTAMP_X": at,
                "EVENT_NAME": name,
                "EVENT_DATA": data,
                "EVENT_ADDITIONAL": False,
                "MESSAGE_ID": known["MESSAGE_ID"] if known else f"{self._n:032x}",
            }
        self._n_taken = len(self._told)
        self._rows = {key: row for key, row in self._rows.items() if row["TIMESTAMP_X"] > now - KEPT_S}
        return [row for (_, _, process), row in self._rows.items() if not process]

    def clear(self, rows: list[Json]) -> None:
        gone = {row["ID"] for row in rows}
        self._rows = {key: row for key, row in self._rows.items() if row["ID"] not in gone}

    def reserve(self, rows: list[Json], now: int) -> str:
        """Set rows aside; what happens to their objects from now on makes new rows."""
        self._n += 1
        process = f"{now:016x}{self._n:016x}"
        taken = {row["ID"] for row in rows}
        self._rows = {
            (name, data, process if row["ID"] in taken else held): row
            for (name, data, held), row in self._rows.items()
        }  # fmt: skip
        return process

    def reserved(self, process: str) -> list[Json]:
        return [row for (_, _, held), row in self._rows.items() if held == process]


def _data(name: str, entity_type: int, number: int) -> Json:
    """What an event holds of its object; of a task before and after, one of which may be a word."""
    fields: Json = {"ID": number}
    if name.startswith("ONTASK"):
        before, after = (name != "ONTASKADD", name != "ONTASKDELETE")
        return {"FIELDS_BEFORE": fields if before else "undefined", "FIELDS_AFTER": fields if after else "undefined"}
    return {"FIELDS": fields | {"ENTITY_TYPE_ID": entity_type} if name.startswith(DYNAMIC) else fields}


def _queue(call: Call) -> OfflineQueue:
    """The application's queue.

    Raises:
        RestError: for anybody but an administrator.
    """
    if not call.switches.is_admin:
        raise RestError("ACCESS_DENIED", "Access denied!")
    if call.engine.offline is None:
        call.engine.offline = OfflineQueue(getattr(call.engine.portal, "events", []))
    queue: OfflineQueue = call.engine.offline
    return queue


def _found(call: Call, queue: OfflineQueue) -> list[Json]:
    rows = queue.rows(call.engine.portal.now)
    for name, value in php.items(call.param("filter") or {}):
        wanted = {str(one) for one in php.values(value)}
        rows = [row for row in rows if str(row.get(name.lstrip("=@"))) in wanted]
    return sorted(rows, key=lambda row: (row["TIMESTAMP_X"], int(row["ID"])))


def _written(call: Call, rows: list[Json]) -> list[Json]:
    return [{**row, "TIMESTAMP_X": call.wire.instant(row["TIMESTAMP_X"])} for row in rows]


@EVENTS.method("event.offline.get", is_for_apps=True)
def _get(call: Call) -> Answer:
    """Without `clear=0` what is read is gone."""
    queue = _queue(call)
    clears = str(call.param("clear", "1")) not in {"0", "False"}
    if not clears and not call.switches.offline_extended:
        raise RestError("WRONG_LICENSE", "Offline events are available only in extended tariff")
    now = call.engine.portal.now
    asked_process = call.param("process_id")
    if asked_process:
        rows = queue.reserved(str(asked_process))
        return Answer({"process_id": str(asked_process), "events": _written(call, rows)})
    rows = [] if call.param("auth_connector") else _found(call, queue)
    rows = rows[: call.integer("limit") or PAGE]
    if clears:
        queue.clear(rows)
        return Answer({"process_id": None, "events": _written(call, rows)})
    return Answer({"process_id": queue.reserve(rows, now) if rows else None, "events": _written(call, rows)})


@EVENTS.method("event.offline.list", is_for_apps=True)
def _list(call: Call) -> Answer:
    """The queue as it is, fifty at a time; nothing is taken from it."""
    rows = _found(call, _queue(call))
    start = max(call.start, 0) // PAGE * PAGE
    following = start + PAGE if start + PAGE < len(rows) else None
    return Answer(_written(call, rows[start : start + PAGE]), len(rows), following)


@EVENTS.method("event.offline.clear", is_for_apps=True)
def _clear(call: Call) -> Answer:
    queue = _queue(call)
    rows = queue.reserved(str(call.param("process_id", "")))
    wanted = {str(one) for one in php.values(call.param("id") or [])}
    queue.clear([row for row in rows if not wanted or row["ID"] in wanted])
    return Answer(True)


@EVENTS.method("event.get", is_for_apps=True)
def _bindings(call: Call) -> Answer:
    return Answer([])
