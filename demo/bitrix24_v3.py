"""REST 3.0 of the emulated Bitrix24, as far as a reader of tasks needs it (`bitrix24.md`, 2.7)."""

from typing import Any

from demo import bitrix24_php as php
from demo.bitrix24_calls import Answer, Call, Json, Registry
from demo.bitrix24_filters import Condition, Either, Query
from demo.bitrix24_tasks import TASK_FIELDS, own_tasks
from demo.bitrix24_values import Row
from demo.bitrix24_wire import camel

V3 = Registry()
DEFAULT_LIMIT, MAX_LIMIT = 50, 1000
STATUSES = {2: "pending", 3: "in_progress", 4: "supposedly_completed", 5: "completed", 6: "deferred"}
NAMES = {camel(name): name for name in TASK_FIELDS if not name.startswith("UF_")}
OPERATORS = {"=": "=", "!=": "!=", ">": ">", ">=": ">=", "<": "<", "<=": "<=", "in": "@", "between": "><"}
"""Those of REST 3.0 and their names in version 2."""
PREFIX = "BITRIX_REST_V3_EXCEPTION_"


class V3Error(Exception):
    """An answer in place of a result, in the manner of REST 3.0."""

    def __init__(self, code: str, message: str, status: int = 400, *, fields: tuple[str, ...] = ()) -> None:
        super().__init__(code)
        self.status = status
        self.body: Json = {"error": {"code": PREFIX + code, "message": message}}
        if fields:
            self.body["error"]["validation"] = [{"field": name, "message": message} for name in fields]


@V3.method("tasks.task.list", "task")
def _tasks(call: Call) -> Answer:
    query = Query("task", conditions=_conditions(call.param("filter") or []), tests=own_tasks(call))
    query.order = [
        (_known(name, "INVALIDORDEREXCEPTION"), str(way).upper() == "DESC")
        for name, way in php.items(call.param("order") or {})
    ]
    selection = call.select(query)
    offset, limit = _pagination(call.param("pagination") or {})
    ids = selection.first(limit, offset) if selection else []
    return Answer({"items": _written(call, ids)})


@V3.method("tasks.task.tail", "task")
def _tail(call: Call) -> Answer:
    """Rows beyond a value of a field, in its order."""
    cursor = call.param("cursor")
    if not isinstance(cursor, dict) or "field" not in cursor:
        raise V3Error("VALIDATION_REQUESTVALIDATIONEXCEPTION", "cursor is required", fields=("cursor",))
    field = _known(str(cursor["field"]), "INVALIDFILTEREXCEPTION")
    wanted = call.param("filter") or []
    if any(isinstance(triple, list) and triple and triple[0] == cursor["field"] for triple in wanted):
        raise V3Error("INVALIDFILTEREXCEPTION", "The cursor field must not be in the filter")
    descends = str(cursor.get("order", "ASC")).upper() == "DESC"
    beyond = Condition(field, "<" if descends else ">", cursor.get("value", 0))
    conditions = [*_conditions(wanted), beyond]
    selection = call.select(Query("task", conditions, [(field, descends)], tests=own_tasks(call)))
    ids = selection.first(_limit(cursor.get("limit", DEFAULT_LIMIT))) if selection else []
    return Answer({"items": _written(call, ids)})


@V3.method("tasks.task.get", "task")
def _task(call: Call) -> Answer:
    table = call.table("task")
    number = call.integer("id")
    if table is None or table.get(number) is None:
        raise V3Error("ENTITYNOTFOUNDEXCEPTION", "The entity was not found")
    return Answer({"item": _written(call, [number])[0]})


@V3.method("rest.scope.list")
def _scopes(_: Call) -> Answer:
    return Answer({method.name: list(method.scopes) for method in V3.values()})


def _documentation(_: Call) -> Answer:
    return Answer({"openapi": "3.0.0", "paths": {f"/{method.name}": {"post": {}} for method in V3.values()}})


V3.add("rest.documentation.openapi", (), _documentation)
V3.add("documentation", (), _documentation)


def _conditions(wanted: Any) -> list[Condition | Either]:
    """What a filter of triples asks for; tasks can be filtered by `id` only."""
    if not isinstance(wanted, list):
        raise V3Error("INVALIDFILTEREXCEPTION", "The filter must be an array")
    return [_condition(one) for one in wanted]


def _condition(one: Any) -> Condition | Either:
    if isinstance(one, dict):
        inner = _conditions(one.get("conditions") or [])
        is_or = str(one.get("logic", "and")).lower() == "or"
        return Either(tuple((condition,) for condition in inner) if is_or else (tuple(inner),))
    if not isinstance(one, list) or len(one) not in {2, 3}:
        raise V3Error("INVALIDFILTEREXCEPTION", "A condition is [field, operator, value]")
    field, operator, value = (one[0], "=", one[1]) if len(one) == 2 else one
    if field != "id":
        raise V3Error("UNKNOWNDTOPROPERTYEXCEPTION", f"Field {field} cannot be filtered by", fields=(str(field),))
    if str(operator).lower() not in OPERATORS:
        raise V3Error("UNKNOWNFILTEROPERATOREXCEPTION", f"Unknown operator {operator}")
    return Condition("ID", OPERATORS[str(operator).lower()], value)


def _known(name: str, otherwise: str) -> str:
    if name not in NAMES:
        raise V3Error(otherwise, f"Unknown field {name}")
    return NAMES[name]


def _pagination(wanted: Json) -> tuple[int, int]:
    limit = _limit(wanted.get("limit", DEFAULT_LIMIT))
    if "offset" in wanted:
        return php.integer(wanted["offset"]), limit
    return (max(php.integer(wanted.get("page", 1)), 1) - 1) * limit, limit


def _limit(wanted: Any) -> int:
    limit = php.integer(wanted)
    if limit <= 0:
        raise V3Error("INVALIDPAGINATIONEXCEPTION", "limit must be a positive number")
    return min(limit, MAX_LIMIT)


def _written(call: Call, ids: list[int]) -> list[Json]:
    """Without `select` there is nothing but the id."""
    table = call.table("task")
    select = [name for name in php.values(call.param("select") or []) if isinstance(name, str)]
    wanted = ["id", *(name for name in select if name in NAMES and name != "id")]
    for name in select:
        if "." in name and name.partition(".")[0] not in {"responsible", "creator"}:
            raise V3Error("INVALIDSELECTEXCEPTION", f"Unknown relation {name}")
    rows = (table.get(number) for number in ids) if table else ()
    return [{name: _value(call, row, NAMES[name]) for name in wanted if NAMES[name] in row} for row in rows if row]


def _value(call: Call, row: Row, name: str) -> Any:
    return STATUSES.get(row[name], "new") if name == "STATUS" else call.wire.values(row[name])
