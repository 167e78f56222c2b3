"""What can be read of an amoCRM account: one generator per resource; how they walk their lists is in `walking`."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from connectors.amocrm import mapping, merges
from connectors.amocrm.access import WHERE_TO_CREATE
from connectors.amocrm.api import WARN_BEFORE, AmoApi
from connectors.amocrm.catalogs import catalogs, lead_records
from connectors.amocrm.conversations import CONTACT_CHATS, contact_chats, messages, talks
from connectors.amocrm.customers import customer_lists, customers, transactions
from connectors.amocrm.dictionaries import event_types, fields, roles, tags
from connectors.amocrm.events import ADDED, HISTORY, RELINKED, amount_records, event_records
from connectors.amocrm.events import RESOURCES as RESOURCES_OF_CARDS
from connectors.amocrm.mapping import CARDS
from connectors.amocrm.notes import REFUSED_NOTES, calls, notes, notes_on, refused_notes
from connectors.amocrm.reading import ROBOT, Reading, mentioned_user
from connectors.amocrm.requests import requests
from connectors.amocrm.sweep import SWEEP, swept_stream
from connectors.amocrm.walking import BY_ID, Query, ToRecords, if_readable, one, pages, stream, walk
from connectors.connector import Resource, Window, WindowKind
from connectors.errors import ForbiddenError, PayloadError, Phrase
from connectors.paging import Json, as_list, as_object, items_of, whole
from connectors.records import (
    Account,
    Activity,
    Call,
    Chat,
    ClientEmail,
    ClientPhone,
    Company,
    Contact,
    Customer,
    Deal,
    DealAmountChange,
    DealContact,
    DealInvoice,
    DealItem,
    DealOwnerChange,
    DealStageTransition,
    Department,
    FieldDef,
    FieldEnum,
    FieldRequired,
    Invoice,
    LossReason,
    Message,
    Notice,
    Payment,
    Pipeline,
    Product,
    Record,
    Request,
    Source,
    Stage,
    Stub,
    Task,
    TaskType,
    User,
    UserDepartment,
    Yield,
)
from connectors.walk import listed_whole, mapped, with_deletions

# Dimensions: read whole every time


def account_parts(api: AmoApi, account: Account, _: Window) -> Iterator[Yield]:
    """Groups of users and kinds of tasks, which come with the account."""
    reading, facts = api.reading(account), api.facts
    now = api.server_now()
    yield facts.account
    groups = [*listed_in(facts.body, "users_groups", one(mapping.department), reading)]
    kinds = [*listed_in(facts.body, "task_types", one(mapping.task_type), reading)]
    yield from groups
    yield from kinds
    group_keys = {(row.department_id,) for row in groups if isinstance(row, Department)}
    kind_keys = {(row.task_type_id,) for row in kinds if isinstance(row, TaskType)}
    yield from listed_whole(Department, group_keys, reading, now)
    yield from token_end(api.token_ends_at, now)
    yield from listed_whole(TaskType, kind_keys, reading, now)
    yield from reading.conclusions()


def listed_in(answer: Json, name: str, to_records: ToRecords, reading: Reading) -> Iterator[Yield]:
    """Records of a list that comes in one answer. Of an item that cannot be read nobody knows which row on hand it is:
    no row is taken as removed."""
    if as_object(answer.get("_embedded")).get(name) is None:
        return
    for item in items_of(answer, name, reading.odd):
        raw, *records = mapped(item, name, to_records, reading)
        reading.is_odd |= not records
        yield raw
        yield from records


def token_end(ends_at: datetime | None, now: datetime) -> Iterator[Notice]:
    """Weeks ahead: on its last day an unattended sync just stops."""
    if ends_at is not None and ends_at - now <= WARN_BEFORE:
        yield Notice(
            Phrase("The long-lived token ends on {day}. {advice}", day=f"{ends_at:%Y-%m-%d}", advice=WHERE_TO_CREATE)
        )


def users(api: AmoApi, account: Account, _: Window) -> Iterator[Yield]:
    """Users, whom only an administrator may list; without that right they are known by their numbers."""
    reading = api.reading(account)
    now = api.server_now()
    query = Query("/api/v4/users", "users", "users", api.settings.page_size, {"with": "role,group"})
    yield mentioned_user(account.account_id, ROBOT, is_active=True)
    listed = set()
    try:
        for page in pages(api, query, {}, reading):
            for user in page:
                yield from mapped(
                    user, "users", lambda item, to, raw_hash: mapping.user_records(item, to, raw_hash, now), reading
                )
                listed.add((f"user:{user.get('id')}",))
    except ForbiddenError as error:
        api.users_are_hidden = True
        yield Notice(Phrase("{error} Until then people are shown as numbers.", error=error.said))
    else:
        me = api.facts.body.get("current_user_id")
        if me and (f"user:{me}",) not in listed:
            reading.odd(Phrase("users: the list lacks the token's own owner, so nobody is taken as removed"))
        for listing in listed_whole(User, listed, reading, now):
            yield replace(listing, keys=listing.keys | {(ROBOT,)})
    yield from reading.conclusions()


def pipelines(api: AmoApi, account: Account, window: Window) -> Iterator[Yield]:
    """Pipelines with their stages, all in one answer; by their ids those that deals name and the list lacks."""
    if window.kind == "ids":
        yield from unlisted_pipelines(api, account, window)
        return
    reading = api.reading(account)
    answer = as_object(api.get("/api/v4/leads/pipelines"))
    listed = as_list(as_object(answer.get("_embedded")).get("pipelines"))
    keys: dict[type[Record], set[tuple[str, ...]]] = {Pipeline: set(), Stage: set()}
    api.pipelines = {whole(as_object(pipeline).get("id")) for pipeline in listed}
    for record in listed_in(answer, "pipelines", mapping.pipeline_records, reading):
        yield record
        if isinstance(record, Pipeline):
            keys[Pipeline].add((record.pipeline_id,))
        elif isinstance(record, Stage):
            keys[Stage].add((record.pipeline_id, record.stage_id))
    for kind, found in keys.items():
        yield from listed_whole(kind, found, reading, api.server_now())
    yield from reading.conclusions()


UNLISTED_PIPELINES = "pipelines/unlisted"
"""What `raw_record` calls them: no list speaks of them."""


def unlisted_pipelines(api: AmoApi, account: Account, window: Window) -> Iterator[Yield]:
    """Archived ones maybe, with their stages; of one that is gone only the number. Like all that is merely mentioned,
    they are no news of rows on hand."""
    reading = api.reading(account)
    for native_id in window.ids:
        pipeline = api.get(f"/api/v4/leads/pipelines/{native_id}", missing_ok=True)
        if pipeline:
            for item in mapped(pipeline, UNLISTED_PIPELINES, mapping.pipeline_records, reading):
                yield Stub(item) if isinstance(item, Record) else item
        else:
            yield from map(Stub, mapping.pipeline_records({"id": native_id}, reading, ""))
    yield from reading.conclusions()


def loss_reasons(api: AmoApi, account: Account, _: Window) -> Iterator[Yield]:
    """Why deals are lost, as the account's list says; reasons removed from it are known from deals."""
    return if_readable(listed_reasons(api, account), is_all=True)


def listed_reasons(api: AmoApi, account: Account) -> Iterator[Yield]:
    reading = api.reading(account)
    query = Query("/api/v4/leads/loss_reasons", "loss_reasons", "loss_reasons", api.settings.page_size)
    listed = set()
    for page in pages(api, query, {}, reading):
        for reason in page:
            yield from mapped(reason, "loss_reasons", one(mapping.loss_reason), reading)
            listed.add((f"loss_reason:{reason.get('id')}",))
    yield from listed_whole(LossReason, listed, reading, api.server_now())
    yield from reading.conclusions()


def sources(api: AmoApi, account: Account, _: Window) -> Iterator[Yield]:
    """Only the sources our own integration made, normally none; deals name the others."""
    query = Query("/api/v4/sources", "sources", "sources", api.settings.page_size)
    return if_readable(stream(api, account, Window("whole"), query, one(mapping.source)), is_all=True)


# Facts


def leads(api: AmoApi, account: Account, window: Window) -> Iterator[Yield]:
    """Deals with their contacts, custom values, tags, products and invoices."""
    query = Query(
        path="/api/v4/leads",
        collection="leads",
        entity="leads",
        limit=api.settings.page_size,
        params={"with": LEADS_WITH, BY_ID: "asc"},
    )
    if window.kind == "ids":
        api.goods.forget(window.ids)
    yield from swept_stream(api, account, window, query, lead_records)
    if api.goods.has_news:
        api.remember_goods()


LEADS_WITH = "contacts,catalog_elements,loss_reason,source_id,source,is_price_modified_by_robot"


def contacts(api: AmoApi, account: Account, window: Window) -> Iterator[Yield]:
    """Contacts with phones, e-mails, custom values and tags."""
    query = Query("/api/v4/contacts", "contacts", "contacts", api.settings.page_size, {BY_ID: "asc"})
    return swept_stream(api, account, window, query, mapping.contact_records)


def companies(api: AmoApi, account: Account, window: Window) -> Iterator[Yield]:
    """Companies with phones, e-mails, custom values and tags."""
    query = Query("/api/v4/companies", "companies", "companies", api.settings.page_size, {BY_ID: "asc"})
    return swept_stream(api, account, window, query, mapping.company_records)


def trash(api: AmoApi, account: Account, window: Window) -> Iterator[Yield]:
    """Deleted cards. Their rows are nearly empty, so only tombstones come of them, and the raw copies stay apart."""
    for word, kind in (("leads", Deal), ("contacts", Contact), ("companies", Company)):
        try:
            yield from trash_of(api, account, window, word, kind)
        except PayloadError as error:
            if word == "leads":
                raise
            yield Notice(
                Phrase("{error} What was deleted of {list} is known from events only.", error=error.said, list=word)
            )


def trash_of(api: AmoApi, account: Account, window: Window, word: str, kind: type[Record]) -> Iterator[Yield]:
    reading = api.reading(account)
    query = Query(
        path=f"/api/v4/{word}",
        collection=word,
        entity=f"{word}/trash",
        limit=api.settings.page_size,
        params={"with": "only_deleted", BY_ID: "asc"},
    )
    prefix, now = CARDS[word], api.server_now()
    for page in walk(api, query, SWEEP if window.kind == "sweep" else window, reading):
        binned = [row for row in page if row.get("is_deleted") is not False]  # what says neither is kept raw
        for row in binned:
            yield from mapped(
                row, query.entity, lambda row, to, _: (mapping.tombstone(row, kind, prefix, to, now=now),), reading
            )
        if page and not binned:
            reading.notice(
                Phrase("{list}: the trash cannot be listed apart; deletions are known from events only", list=word)
            )
            break
    yield from reading.conclusions()


def tasks(api: AmoApi, account: Account, window: Window) -> Iterator[Yield]:
    """Tasks. They can be filtered by change but not by creation, and not ordered by change."""
    query = Query("/api/v4/tasks", "tasks", "tasks", api.settings.page_size, {BY_ID: "asc"})
    return swept_stream(api, account, window, query, mapping.task_records)


def after_merges(api: AmoApi, account: Account, window: Window) -> Iterator[Yield]:
    """What hangs on cards that others were merged into: links, notes and tasks."""
    reading = api.reading(account)
    for kind in RESOURCES_OF_CARDS:
        for ids in merges.winners_of(kind, window):
            yield from merges.linked_cards(api, kind, ids, reading)
            yield from merges.tasks_of(api, account, kind, ids)
            yield from notes_on(api, account, merges.WORDS[kind], merges.on(ids))
    yield from reading.conclusions()


def events(api: AmoApi, account: Account, window: Window) -> Iterator[Yield]:
    """The history of deals, deletions and completions. The list has no order; its entries never change."""
    return if_readable(history(api, account, window), is_all=True, cost=NO_HISTORY)


NO_HISTORY = Phrase(
    "Until then there is no history of stages, owners and amounts, but for what differs from one sync to the next."
)


def history(api: AmoApi, account: Account, window: Window) -> Iterator[Yield]:
    """Changes of a custom field cannot be asked for together with other types."""
    types = [*HISTORY]
    if window.kind == "changed":
        types += [*ADDED, *(RELINKED if api.settings.reread_links else ())]
    query = Query(
        path="/api/v4/events",
        collection="events",
        entity="events",
        limit=api.settings.events_page_size,
        params={"filter[type]": ",".join(types)},
        changed="created_at",
    )
    yield from stream(api, account, window, query, event_records)
    if field_id := api.settings.amount_field_id:
        of_field = {"filter[type]": f"custom_field_{field_id}_value_changed"}
        amounts = replace(query, entity="events/amounts", params=of_field)
        yield from stream(api, account, window, amounts, amount_records)


CARD_WINDOWS: tuple[WindowKind, ...] = ("created", "changed", "ids", "sweep", "probe")
ACTIVITY_WINDOWS: tuple[WindowKind, ...] = ("changed_within", "changed", "ids", "sweep", "probe")

RESOURCES = with_deletions(
    Resource("account", account_parts, ("whole",), (Department, TaskType)),
    Resource("users", users, ("whole",), (User, UserDepartment), after=("account",)),
    Resource("roles", roles, ("whole",), ()),
    Resource("pipelines", pipelines, ("whole", "ids"), (Pipeline, Stage)),
    Resource("loss_reasons", loss_reasons, ("whole",), (LossReason,)),
    Resource("sources", sources, ("whole",), (Source,)),
    Resource("tags", tags, ("whole",), ()),
    Resource("event_types", event_types, ("whole",), ()),
    Resource("catalogs", catalogs, ("whole",), (Product, Invoice)),
    Resource("fields", fields, ("whole",), (FieldDef, FieldEnum, FieldRequired), after=("catalogs",)),
    Resource(
        "leads",
        leads,
        CARD_WINDOWS,
        (Deal, DealContact, DealItem, DealInvoice),
        is_core=True,
        after=("users", "pipelines", "loss_reasons", "sources", "fields", "catalogs"),
    ),
    Resource(
        "contacts",
        contacts,
        CARD_WINDOWS,
        (Contact, ClientPhone, ClientEmail),
        after=("users", "fields"),
    ),
    Resource("companies", companies, CARD_WINDOWS, (Company,), after=("users", "fields")),
    Resource("customers", customers, CARD_WINDOWS, (Customer,), after=("users", "fields")),
    Resource("trash", trash, ("changed", "sweep"), (), after=("leads", "contacts", "companies")),
    Resource("tasks", tasks, ACTIVITY_WINDOWS, (Task,), is_core=True, after=("users", "account")),
    Resource("calls", calls, ACTIVITY_WINDOWS, (Call,), is_core=True, after=("users",)),
    Resource("notes", notes, ACTIVITY_WINDOWS, (Activity, Message), after=("users",)),
    Resource("requests", requests, ("whole",), (Request,)),
    Resource("customer_lists", customer_lists, ("whole",), ()),
    Resource("transactions", transactions, ("changed", "sweep", "probe"), (Payment,), after=("users", "customers")),
    Resource(
        "events",
        events,
        ("created", "changed"),
        (DealStageTransition, DealOwnerChange, DealAmountChange),
        first_window=timedelta(days=7),
        is_core=True,
        after=("leads", "contacts", "companies", "customers", "trash", "tasks"),
        log_column="changed_at",
    ),
    Resource("talks", talks, ("changed", "ids", "sweep"), (Chat,), after=("leads", "contacts")),
    Resource(
        "messages",
        messages,
        ("created", "changed"),
        (Message,),
        first_window=timedelta(days=7),
        after=("users", "leads", "contacts", "talks"),
        log_column="sent_at",
        log_prefix="message:",
    ),
    Resource(CONTACT_CHATS, contact_chats, ("ids",), ()),
    Resource("merges", after_merges, ("ids",), ()),
    Resource(REFUSED_NOTES, refused_notes, ("ids",), ()),
)
"""In the order of 4.10 of the reference: what things are called before what happened, deletions last."""
