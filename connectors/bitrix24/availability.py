"""Which lists a portal does not give: a scope, a module, a right or the plan is missing.

Each is asked for once a run, all in one request. What is refused is told with what it costs, and the others go on.
"""

from collections.abc import Iterator, Mapping

from connectors.bitrix24.api import BitrixApi
from connectors.bitrix24.batching import Command
from connectors.bitrix24.reading import INVOICE
from connectors.errors import ConnectorError, ForbiddenError, MissingError, Phrase
from connectors.records import LeftOut, Notice, Record

CALLS, TASKS, USERS, DEPARTMENTS = "voximplant.statistic.get", "tasks.task.list", "user.get", "department.get"
TYPES, CATALOGUES, INVOICES = "crm.type.list", "catalog.catalog.list", "invoices"
SESSIONS = "imopenlines.session.history.get"
SCOPE_OF_SESSIONS = "imopenlines"
FIRST_PAGE = {"start": -1}
QUESTIONS: Mapping[str, Command] = {
    CALLS: Command(CALLS, {"SORT": "ID", "ORDER": "ASC", **FIRST_PAGE}),
    TASKS: Command(TASKS, {"select": ["ID"], "order": {"ID": "asc"}, **FIRST_PAGE}),
    USERS: Command(USERS, {"sort": "ID", "order": "ASC", **FIRST_PAGE}),
    DEPARTMENTS: Command(DEPARTMENTS, FIRST_PAGE),
    TYPES: Command(TYPES, FIRST_PAGE),
    CATALOGUES: Command(CATALOGUES, {"select": ["iblockId"], **FIRST_PAGE}),
    INVOICES: Command(
        "crm.item.list", {"entityTypeId": INVOICE, "select": ["id"], "order": {"id": "ASC"}, **FIRST_PAGE}
    ),
}


def empty(tables: str) -> Phrase:
    return Phrase("Until then these tables stay empty: {tables}.", tables=tables)


def with_cost(error: ConnectorError, *fills: type[Record]) -> Phrase:
    """Why something is not read now, and which tables miss it: they may have other lists to fill them."""
    tables = ", ".join(kind.table() for kind in fills)
    cost = Phrase("Until then nothing of it comes into these tables: {tables}.", tables=tables)
    return Phrase("{error} {cost}", error=error.said, cost=cost)


COSTS: Mapping[str, Phrase] = {
    CALLS: Phrase("Until then calls are known from activities only."),
    TASKS: Phrase("Until then tasks are known from activities only."),
    USERS: Phrase("Until then people are shown as numbers."),
    DEPARTMENTS: empty("department"),
    TYPES: empty("process_item, process_item_transition"),
    CATALOGUES: empty("product"),
    INVOICES: empty("invoice, payment"),
    SESSIONS: empty("chat"),
}
"""What is missing without a list."""


def closed(api: BitrixApi) -> Mapping[str, ConnectorError]:
    """The lists of `COSTS` this portal refuses, and why."""
    return api.book.refusals(lambda: refused(api))


def refused(api: BitrixApi) -> dict[str, ConnectorError]:
    errors = {name: outcome.error for name, outcome in api.batch(QUESTIONS).items()}
    scopes = api.facts.scopes
    if scopes and SCOPE_OF_SESSIONS not in scopes:  # sessions have no list that could be asked for
        errors[SESSIONS] = ForbiddenError(
            "{where}: the scope {scope} is missing. Tick it in the settings of the webhook or of the application.",
            where=api.facts.host,
            scope=SCOPE_OF_SESSIONS,
        )
    return {name: error for name, error in errors.items() if isinstance(error, ForbiddenError | MissingError)}


def left_out(api: BitrixApi, name: str) -> LeftOut:
    """A list of `COSTS` that is refused; what it costs is told once, by `costs`."""
    return LeftOut(closed(api)[name].said)


def costs(api: BitrixApi) -> Iterator[Notice]:
    """What cannot be read here, why, and what is missing therefore."""
    for name, error in closed(api).items():
        yield Notice(Phrase("{error} {cost}", error=error.said, cost=COSTS[name]))
