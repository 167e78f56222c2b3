"""What no list has and is asked for row by row, a page of rows at a time.

An answer is put into its row under a name of its own, so that the raw copy holds all that records are made of.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping

from connectors.bitrix24.api import BitrixApi
from connectors.bitrix24.availability import SESSIONS, with_cost
from connectors.bitrix24.batching import Command
from connectors.bitrix24.goods import LETTERS
from connectors.bitrix24.paging import List, by_start, keyset
from connectors.bitrix24.reading import COMPANY, CONTACT, DEAL, INVOICE, LEAD, Reading
from connectors.bitrix24.values import ref
from connectors.errors import ConnectorError, ForbiddenError, MissingError, PayloadError, Phrase
from connectors.paging import Json, as_list, as_object
from connectors.records import Activity, Chat, DealItem, Message, Payment, Record

PAGE = 50
"""Rows of an answer; one that is full may not be the end."""
LINES = List("crm.item.productrow.list", rows="productRows", key="id", cursor="id")
COMMENTS = List("crm.timeline.comment.list")
OWNERS = {LEAD: "lead", DEAL: "deal", CONTACT: "contact", COMPANY: "company"}
"""What methods call the owner of something, in capitals or not."""
PARTS: Mapping[str, type[Record]] = {
    "lines": DealItem,
    "comments": Activity,
    "payments": Payment,
    "history": Message,
    "chats": Chat,
}
"""What the answers put into rows become."""


def with_answers(
    api: BitrixApi,
    rows: Iterable[Json],
    name: str,
    ask: Callable[[Json], Command],
    reading: Reading,
    *,
    is_all: bool = False,
) -> Iterator[Json]:
    """Each row with what was asked for it; None where that was refused, which is told. Where a right is missing it is
    noted as `refused`, too.

    is_all: a row is nothing without it.

    Raises what is worth asking again, and what all of several rows were refused with: one odd card stops nothing. That
    there is no right is raised so only where `is_all`.
    """
    asked = list(rows)
    commands = {f"k{number}": ask(row) for number, row in enumerate(asked)}
    outcomes = api.batch(commands)
    odd = {key: error for key, outcome in outcomes.items() if (error := outcome.error) and is_odd(error)}
    denied = [error for outcome in outcomes.values() if isinstance(error := outcome.error, ForbiddenError)]
    if is_all and len(denied) == len(asked) > 1:
        raise denied[0]
    is_general = len(odd) == len(asked) > 1
    for error in odd.values():
        if is_general or not isinstance(error, PayloadError):
            raise error
    for row, (key, outcome) in zip(asked, outcomes.items(), strict=True):
        if key in odd:
            reading.notice(Phrase("{list}: could not be read for single rows", list=commands[key].method))
        elif isinstance(outcome.error, ForbiddenError):
            reading.notice(with_cost(outcome.error, PARTS[name]))
            reading.refused.add(str(row["id"] if "id" in row else row["ID"]))
        yield {**row, name: outcome.result}


def is_odd(error: ConnectorError) -> bool:
    """Whether it says neither that there is no right, nor that there is no such row."""
    return not isinstance(error, ForbiddenError | MissingError)


def with_activities(api: BitrixApi, calls: Iterable[Json], reading: Reading) -> Iterator[Json]:
    """Calls with the activities they name, fifty of these to a question."""
    rows = list(calls)
    ids = sorted({number for row in rows if (number := ref(row.get("CRM_ACTIVITY_ID")))})
    parts = [ids[n : n + PAGE] for n in range(0, len(ids), PAGE)]
    known: dict[int, Json] = {}
    denied: set[int] = set()
    outcomes = api.batch({f"p{n}": activities(part) for n, part in enumerate(parts)})
    for part, outcome in zip(parts, outcomes.values(), strict=True):
        if isinstance(outcome.error, ForbiddenError | MissingError):
            reading.notice(Phrase("{error} Calls do not name their deals.", error=outcome.error.said))
            denied.update(part)
        elif outcome.error is not None:
            raise outcome.error
        known |= {ref(row.get("ID")) or 0: row for row in map(as_object, as_list(outcome.result))}
    for row in rows:
        number = ref(row.get("CRM_ACTIVITY_ID")) or 0
        activity = known.get(number)
        if number in denied:
            reading.refused.add(str(row["ID"]))
        yield {**row, "activity": activity} if activity else row


def activities(ids: list[int]) -> Command:
    columns = ["ID", "OWNER_TYPE_ID", "OWNER_ID", "BINDINGS"]
    asked = {"select": columns, "filter": {"@ID": ids}, "order": {"ID": "ASC"}, "start": -1}
    return Command("crm.activity.list", asked)


def with_lines(type_id: int) -> Callable[[BitrixApi, Iterable[Json], Reading], Iterator[Json]]:
    """Leads or deals with their lines of products. Which have any, nobody says in advance."""

    def complete(api: BitrixApi, cards: Iterable[Json], reading: Reading) -> Iterator[Json]:
        typed = ({**card, "entityTypeId": type_id} for card in cards)
        for card in with_answers(api, typed, "lines", lines, reading, is_all=True):
            if card["lines"] is not None:
                rows = as_list(as_object(card["lines"]).get(LINES.rows))
                if len(rows) == PAGE:
                    rows = [row for page in keyset(api, LINES, lines_on(card)) for row in page]
                yield {**card, "lines": rows}

    return complete


def lines(card: Json) -> Command:
    return Command(LINES.method, {"filter": lines_on(card), "order": {"id": "asc"}, "start": -1})


def lines_on(card: Json) -> Json:
    return {"=ownerType": LETTERS[card["entityTypeId"]], "=ownerId": card["id"]}


def with_payments(api: BitrixApi, invoices: Iterable[Json], reading: Reading) -> Iterator[Json]:
    return with_answers(api, invoices, "payments", payments, reading)


def payments(invoice: Json) -> Command:
    return Command("crm.item.payment.list", {"entityId": invoice["id"], "entityTypeId": INVOICE})


def with_comments(type_id: int) -> Callable[[BitrixApi, Iterable[Json], Reading], Iterator[Json]]:
    """Cards of an entity type with their comments; those without any are left out."""

    def complete(api: BitrixApi, cards: Iterable[Json], reading: Reading) -> Iterator[Json]:
        typed = ({**card, "entityTypeId": type_id} for card in cards)
        for card in with_answers(api, typed, "comments", comments, reading, is_all=True):
            rows = as_list(card["comments"])
            if len(rows) == PAGE:
                rows = [row for page in by_start(api, COMMENTS, comments_on(card)) for row in page]
            if rows:
                yield {**card, "comments": rows}

    return complete


def comments(card: Json) -> Command:
    return Command(COMMENTS.method, comments_on(card))


def comments_on(card: Json) -> Json:
    on = {"ENTITY_ID": card["id"], "ENTITY_TYPE": OWNERS[card["entityTypeId"]]}
    return {"filter": on, "order": {"ID": "ASC"}}


def with_history(api: BitrixApi, activities: Iterable[Json], reading: Reading) -> Iterator[Json]:
    """Activities of open lines with what was said in their sessions, and with the chats of their cards: only those name
    the connector."""
    told = with_answers(api, activities, "history", history, reading)
    return with_answers(api, told, "chats", chats, reading)


def history(activity: Json) -> Command:
    return Command(SESSIONS, {"SESSION_ID": ref(activity.get("ASSOCIATED_ENTITY_ID")) or 0})


def chats(activity: Json) -> Command:
    owner = OWNERS.get(ref(activity.get("OWNER_TYPE_ID")) or 0, "contact").upper()
    asked = {"CRM_ENTITY_TYPE": owner, "CRM_ENTITY": activity.get("OWNER_ID"), "ACTIVE_ONLY": "N"}
    return Command("imopenlines.crm.chat.get", asked)
