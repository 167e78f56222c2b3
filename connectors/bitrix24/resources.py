"""What can be read of a Bitrix24 account, and in which order. How its lists are walked is in `walking`."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

from connectors.bitrix24 import availability
from connectors.bitrix24.activities import KINDS as OF_ACTIVITIES
from connectors.bitrix24.activities import activity_records
from connectors.bitrix24.api import BitrixApi
from connectors.bitrix24.calls import call_records
from connectors.bitrix24.comments import comment_records
from connectors.bitrix24.contacts import company_records, contact_records
from connectors.bitrix24.conversations import session_records
from connectors.bitrix24.deals import BARE, deal_records, lead_records, says
from connectors.bitrix24.details import (
    COMMENTS,
    LINES,
    OWNERS,
    with_activities,
    with_comments,
    with_history,
    with_lines,
    with_payments,
)
from connectors.bitrix24.directories import (
    access,
    currencies,
    departments,
    fields,
    pipelines,
    processes,
    products,
    users,
)
from connectors.bitrix24.events import events
from connectors.bitrix24.goods import line_records
from connectors.bitrix24.history import CHANGES, history_records
from connectors.bitrix24.invoices import invoice_records
from connectors.bitrix24.lists import (
    ACTIVITIES,
    CALLS,
    DEALS,
    INVOICES,
    SESSIONS,
    TASKS,
    WITH_LINES,
    history_of,
    item_list,
    owned_by,
    touched,
)
from connectors.bitrix24.processes import COLUMNS as OF_PROCESS
from connectors.bitrix24.processes import item_records
from connectors.bitrix24.reading import COMPANY, CONTACT, DEAL, INVOICE, LEAD
from connectors.bitrix24.tasks import task_records
from connectors.bitrix24.walking import Queries, Query, read, spans_of
from connectors.connector import Resource, Window, WindowKind
from connectors.paging import Json
from connectors.records import (
    Account,
    Activity,
    Call,
    Chat,
    ClientEmail,
    ClientPhone,
    Company,
    Contact,
    Deal,
    DealContact,
    DealItem,
    DealStageTransition,
    Department,
    FieldDef,
    FieldEnum,
    FxRate,
    Invoice,
    LossReason,
    Message,
    Payment,
    Pipeline,
    ProcessItem,
    ProcessItemTransition,
    Product,
    Record,
    Request,
    Source,
    Stage,
    Task,
    User,
    UserDepartment,
    Yield,
)
from connectors.walk import with_deletions

ITEMS = "crm.item.list"
CARDS: tuple[WindowKind, ...] = ("numbered", "changed", "ids", "sweep", "probe")
ADDITIONS: tuple[WindowKind, ...] = ("numbered", "ids")
MORE: tuple[WindowKind, ...] = ("numbered", "changed", "ids")


def one(query: Query) -> Queries:
    """A resource of one list."""
    return lambda api: {"": query}


HISTORY, OF_LINES, OF_COMMENTS = "history", "lines", "comments"
SALES: Json = {"bare": BARE, "says": says, "past": (HISTORY, OF_LINES, OF_COMMENTS)}
LEADS_AS = Query(item_list(LEAD), f"{ITEMS}/1", lead_records, "lead", (Deal,), LEAD, **SALES)
DEALS_AS = Query(DEALS, f"{ITEMS}/2", deal_records, "deal", (Deal,), DEAL, **SALES)
CONTACTS_AS = Query(
    item_list(CONTACT), f"{ITEMS}/3", contact_records, "contact", (Contact,), CONTACT, past=(OF_COMMENTS,)
)
COMPANIES_AS = Query(
    item_list(COMPANY), f"{ITEMS}/4", company_records, "company", (Company,), COMPANY, past=(OF_COMMENTS,)
)
INVOICES_AS = Query(
    INVOICES,
    f"{ITEMS}/31",
    invoice_records,
    "invoice",
    (Invoice,),
    INVOICE,
    complete=with_payments,
    needs=availability.INVOICES,
)
ACTIVITIES_AS = Query(
    ACTIVITIES,
    ACTIVITIES.method,
    activity_records,
    "activity",
    OF_ACTIVITIES,
    bare=(
        "ID",
        "TYPE_ID",
        "PROVIDER_ID",
        "ORIGIN_ID",
        "COMPLETED",
        "SETTINGS",
        "CREATED",
        "DIRECTION",
        "ASSOCIATED_ENTITY_ID",
    ),
)
TASKS_AS = Query(TASKS, TASKS.method, task_records, "task", (Task,), outlives_cards=True)
CALLS_AS = Query(CALLS, CALLS.method, call_records, complete=with_activities, pages_at_once=50)
SESSIONS_AS = Query(
    SESSIONS, availability.SESSIONS, session_records, complete=with_history, needs=availability.SESSIONS
)


def line_lists(api: BitrixApi) -> dict[str, Query]:
    """Of leads and deals; those of each entity type are a part."""
    return {
        str(type_id): Query(listing, f"{LINES.method}/{type_id}", line_records, complete=with_lines(type_id))
        for type_id, listing in WITH_LINES.items()
        if api.settings.product_rows
    }


def comment_lists(api: BitrixApi) -> dict[str, Query]:
    """Of cards something has happened on; those of each entity type are a part."""
    return {
        str(type_id): Query(
            touched(type_id), f"{COMMENTS.method}/{type_id}", comment_records, complete=with_comments(type_id)
        )
        for type_id in OWNERS
        if api.settings.comments
    }


def process_lists(api: BitrixApi) -> dict[str, Query]:
    """Items of smart processes; those of each are a part."""
    return {
        str(type_id): Query(
            item_list(type_id, OF_PROCESS),
            f"{ITEMS}/{type_id}",
            partial(item_records, type_id=type_id),
            f"item:{type_id}",
            (ProcessItem,),
            type_id,
            past=(HISTORY,),
        )
        for type_id in processes(api)
    }


def history_lists(api: BitrixApi) -> dict[str, Query]:
    """Moves of leads, deals and items of smart processes; those of each entity type are a part."""
    return {
        str(type_id): Query(
            history_of(type_id), f"crm.stagehistory.list/{type_id}", partial(history_records, type_id=type_id)
        )
        for type_id in (LEAD, DEAL, *processes(api))
    }


def history(api: BitrixApi, account: Account, window: Window, **known_as: Any) -> Iterator[Yield]:
    """Moves. Those asked for by id are of the cards with these ids, all of them: `2:410` is a deal."""
    if window.kind != "ids":
        return read(history_lists, api, account, window, **known_as)

    owners: dict[str, list[str]] = {}
    for named in window.ids:
        part, _, owner = named.partition(":")
        owners.setdefault(part, []).append(owner)

    def of_owners(api: BitrixApi) -> dict[str, Query]:
        return {
            part: replace(query, listing=owned_by(query.listing, owners[part]))
            for part, query in history_lists(api).items()
            if part in owners
        }

    return read(of_owners, api, account, Window("numbered"), **known_as)


def calls(api: BitrixApi, account: Account, window: Window, **known_as: Any) -> Iterator[Yield]:
    """Statistics of telephony. A row is written when a call is over; its vote, record and comment come later, and
    nothing says so: the last days are read again."""
    if window.start is not None:
        window = replace(window, start=window.start - timedelta(days=api.settings.calls_window_d))
    return read(one(CALLS_AS), api, account, window, **known_as)


def listed(
    name: str,
    queries: Queries,
    windows: tuple[WindowKind, ...],
    fills: tuple[type[Record], ...],
    *,
    lane: str = ITEMS,
    reader: Callable[..., Iterator[Yield]] | None = None,
    **more: Any,
) -> Resource:
    """A resource of lists that are walked by number. lane: the method, whose server time is granted apart."""
    asked = partial(reader or partial(read, queries), resource=name, fills=fills)
    return Resource(name, asked, windows, fills, spans=partial(spans_of, queries), lane=lane, **more)


SET_UP = ("users", "pipelines", "fields")
RESOURCES = with_deletions(
    Resource("access", access, ("whole",), ()),
    Resource("departments", departments, ("whole",), (Department,), after=("access",)),
    Resource("users", users, ("whole",), (User, UserDepartment), after=("access", "departments")),
    Resource("pipelines", pipelines, ("whole",), (Pipeline, Stage, Source, LossReason), after=("access",)),
    Resource("fields", fields, ("whole",), (FieldDef, FieldEnum), after=("access", "pipelines")),
    Resource("currencies", currencies, ("whole",), (FxRate,), after=("access",)),
    Resource("products", products, ("whole",), (Product,), after=("access",)),
    listed("leads", one(LEADS_AS), CARDS, (Deal, DealContact), is_core=True, past_of=Deal, after=SET_UP),
    listed("deals", one(DEALS_AS), CARDS, (Deal, DealContact), is_core=True, past_of=Deal, after=SET_UP),
    listed("contacts", one(CONTACTS_AS), CARDS, (Contact, ClientPhone, ClientEmail), past_of=Contact, after=SET_UP),
    listed("companies", one(COMPANIES_AS), CARDS, (Company, ClientPhone, ClientEmail), past_of=Company, after=SET_UP),
    listed("invoices", one(INVOICES_AS), CARDS, (Invoice, Payment), after=SET_UP),
    listed("processes", process_lists, CARDS, (ProcessItem,), past_of=ProcessItem, after=SET_UP),
    listed(
        HISTORY,
        history_lists,
        ADDITIONS,
        (DealStageTransition, ProcessItemTransition),
        lane="crm.stagehistory.list",
        reader=history,
        is_core=True,
        after=("leads", "deals", "processes"),
        log_column="changed_at",
        log_prefix=CHANGES,
    ),
    listed(OF_LINES, line_lists, MORE, (DealItem,), lane=LINES.method, after=("leads", "deals", "products")),
    listed(
        "activities",
        one(ACTIVITIES_AS),
        CARDS,
        (Activity, Message, Request, Task, Call),
        lane=ACTIVITIES.method,
        is_core=True,
        after=("users",),
    ),
    listed("tasks", one(TASKS_AS), CARDS, (Task,), lane=TASKS.method, is_core=True, after=("users",), has_others=True),
    listed(
        "calls",
        one(CALLS_AS),
        MORE,
        (Call,),
        lane=CALLS.method,
        reader=calls,
        is_core=True,
        after=("users",),
        has_others=True,
    ),
    listed("conversations", one(SESSIONS_AS), MORE, (Chat, Message), lane=availability.SESSIONS, after=("users",)),
    listed(OF_COMMENTS, comment_lists, MORE, (Activity,), lane=COMMENTS.method, after=SET_UP),
    Resource("events", events, ("changed",), (), after=("leads", "deals", "contacts", "companies", "tasks")),
)
"""What things are called before what happened, deletions last."""
