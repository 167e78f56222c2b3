"""amoCRM's words to ours: each function turns one object of the API into canonical records.

Owner rows come first, then the sets that hang on them. What an object lacks stays null: 0 and null are different
amounts, and what an amount of 0 means is a metric's question.
"""

import math
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from connectors.amocrm.reading import NOTHING_SAID, Reading, at, flag, known_as
from connectors.amocrm.values import as_text, field_values, filled, to_number
from connectors.cards import contact_points
from connectors.errors import Phrase
from connectors.paging import Json, as_list, as_object, whole
from connectors.phones import to_e164
from connectors.records import (
    Call,
    Company,
    Contact,
    Deal,
    DealContact,
    Department,
    Direction,
    EntityTag,
    FieldValue,
    LossReason,
    OwnedSet,
    Pipeline,
    Record,
    Source,
    Stage,
    Stub,
    Task,
    TaskLink,
    TaskType,
    Tombstone,
    User,
    UserDepartment,
    Yield,
)

WON, LOST = 142, 143
"""Status ids that every pipeline has."""
UNSORTED_TYPE = 1
CARDS = {"leads": "lead", "contacts": "contact", "companies": "company", "customers": "customer"}
"""Path word to the prefix of our ids."""
ENTITY_KINDS = {"lead": "deal", "contact": "contact", "company": "company", "customer": "customer"}
"""Prefix of our ids to `entity_kind`: what amoCRM calls a lead is a deal."""
UTM_COLUMNS = {code: code.lower() for code in ("UTM_SOURCE", "UTM_MEDIUM", "UTM_CAMPAIGN", "UTM_CONTENT", "UTM_TERM")}
TASK_KINDS = {"FOLLOW_UP": "follow_up", "MEETING": "meeting", "CALL": "call", "LETTER": "email", "MAIL": "email"}
LAST_MINUTE_S = 86_340
"""23:59 local: the deadline of a task that is due some time that day."""


# Dimensions


def department(group: Json, reading: Reading, raw_hash: str) -> Department:
    return Department(
        account_id=reading.account_id,
        raw_hash=raw_hash,
        department_id=known_as("department", group["id"]),
        name=as_text(group.get("name")) or f"#{group['id']}",
    )


def task_type(kind: Json, reading: Reading, raw_hash: str) -> TaskType:
    return TaskType(
        account_id=reading.account_id,
        raw_hash=raw_hash,
        task_type_id=known_as("task_type", kind["id"]),
        name=as_text(kind.get("name")) or f"#{kind['id']}",
        code=as_text(kind.get("code")),
    )


def user_records(user: Json, reading: Reading, raw_hash: str, now: datetime) -> list[Yield]:
    """A user and the group he is in now: null is the default one, 0. Where none is told of, nothing changes."""
    user_id = known_as("user", user["id"])
    rights = as_object(user.get("rights"))
    groups = as_list(as_object(user.get("_embedded")).get("groups"))
    group = as_object(groups[0]).get("id") if groups else rights.get("group_id")
    common: Json = {"account_id": reading.account_id, "user_id": user_id, "raw_hash": raw_hash}
    row = User(
        **common,
        name=as_text(user.get("name")) or f"#{user['id']}",
        email=as_text(user.get("email")),
        is_active=rights.get("is_active") is None or reading.is_set(rights, "is_active") is not False,
    )
    department_id = reading.ref("department", group) if group else "department:0"
    if department_id is None or not (groups or "group_id" in rights):
        return [row]
    membership = UserDepartment(**common, department_id=department_id, valid_from=now, is_main=True)
    return [row, OwnedSet(UserDepartment, reading.account_id, user_id, User, (membership,))]


def pipeline_records(pipeline: Json, reading: Reading, raw_hash: str) -> list[Record]:
    """A pipeline and its stages. Its name can be null."""
    pipeline_id = known_as("pipeline", pipeline["id"])
    common: Json = {"account_id": reading.account_id, "pipeline_id": pipeline_id, "raw_hash": raw_hash}
    statuses = as_list(as_object(pipeline.get("_embedded")).get("statuses"))
    return [
        Pipeline(
            **common,
            name=as_text(pipeline.get("name")) or f"#{pipeline['id']}",
            entity_kind="deal",
            sort=reading.count(pipeline, "sort") or 0,
            is_archived=reading.is_set(pipeline, "is_archive") is True,
        ),
        *(
            Stage(
                **common,
                stage_id=known_as("status", status.get("id")),
                name=as_text(status.get("name")) or f"#{status['id']}",
                sort=reading.count(status, "sort") or 0,
                kind=stage_kind(status),
                color=as_text(status.get("color")),
            )
            for status in map(as_object, statuses)
        ),
    ]


def stage_kind(status: Json) -> Any:
    number = whole(status["id"])
    if number in (WON, LOST):
        return "won" if number == WON else "lost"
    return "unsorted" if whole(status.get("type")) == UNSORTED_TYPE else "open"


def loss_reason(reason: Json, reading: Reading, raw_hash: str) -> LossReason:
    return LossReason(
        account_id=reading.account_id,
        raw_hash=raw_hash,
        source_updated_at=at(reason.get("updated_at")),
        loss_reason_id=known_as("loss_reason", reason["id"]),
        name=as_text(reason.get("name")) or f"#{reason['id']}",
        sort=reading.count(reason, "sort"),
    )


def source(listed: Json, reading: Reading, raw_hash: str) -> Source:
    return Source(
        account_id=reading.account_id,
        raw_hash=raw_hash,
        source_id=known_as("source", listed["id"]),
        name=as_text(listed.get("name")) or f"#{listed['id']}",
    )


# Cards


def deal_records(lead: Json, reading: Reading, raw_hash: str) -> list[Yield]:
    """A lead with its contacts, custom values, tags, and the names of things that only leads name.

    https://www.amocrm.ru/developers/content/crm_platform/leads-api
    """
    account_id = reading.account_id
    settings = reading.settings
    deal_id = known_as("lead", lead["id"])
    embedded = as_object(lead.get("_embedded"))
    contacts = linked(embedded, "contacts", reading)
    main_id = main_of(contacts, reading)
    values = field_values(lead, deal_id, "deal", reading, raw_hash)
    deal = Deal(
        account_id=account_id,
        source_updated_at=at(lead.get("updated_at")),
        raw_hash=raw_hash,
        deal_id=deal_id,
        entity_kind="deal",
        name=as_text(lead.get("name")),
        pipeline_id=reading.pipeline(lead.get("pipeline_id")),
        stage_id=known_as("status", lead.get("status_id")),
        responsible_user_id=reading.responsible(lead.get("responsible_user_id")),
        created_by=reading.author(lead.get("created_by")),
        amount_minor=amount(lead, values, reading),
        currency=reading.currency,
        company_id=first_id(embedded, "companies", reading),
        main_contact_id=known_as("contact", main_id),
        source_id=reading.ref("source", lead.get("source_id")),
        loss_reason_id=reading.loss_reason(lead.get("loss_reason_id")),
        loss_comment=text_of(values, settings.loss_comment_field_id) if settings.loss_comment_field_id else None,
        created_at=created(lead),
        closed_at=at(lead.get("closed_at")),
        deleted_at=removed_at(lead, reading),
        **utm(lead),
    )
    members = [
        DealContact(
            account_id=account_id,
            raw_hash=raw_hash,
            deal_id=deal_id,
            contact_id=f"contact:{number}",
            is_main=number == main_id,
            position=position,
        )
        for position, number in enumerate(contacts)
    ]
    return [
        deal,
        OwnedSet(DealContact, account_id, deal_id, Deal, members),
        OwnedSet(FieldValue, account_id, deal_id, Deal, values),
        OwnedSet(EntityTag, account_id, deal_id, Deal, tags(embedded, deal_id, "deal", reading, raw_hash)),
        *named_by_lead(embedded, reading, raw_hash),
    ]


def amount(lead: Json, values: list[FieldValue], reading: Reading) -> int | None:
    """The budget in minor units: of the chosen custom field, else exact where the account has it, else whole."""
    if reading.settings.amount_field_id:
        field_id = f"field:{reading.settings.amount_field_id}"
        chosen = [value.value_num for value in values if value.field_id == field_id and value.value_num is not None]
        if chosen:
            return reading.money(chosen[0])
    exact = lead.get("price_with_minor_units")
    return reading.money(lead.get("price") if exact is None else exact)


def text_of(values: list[FieldValue], native_field_id: int) -> str | None:
    field_id = f"field:{native_field_id}"
    texts = [value.value_text for value in values if value.field_id == field_id and value.value_text]
    return "\n".join(texts) or None


def utm(lead: Json) -> Json:
    """The utm columns from the fields that carry their codes."""
    found: Json = {}
    for field, items in filled(lead):
        column = UTM_COLUMNS.get(str(field.get("field_code")))
        if column and items[0].get("value") is not None:
            found[column] = str(items[0]["value"])
    return found


def named_by_lead(embedded: Json, reading: Reading, raw_hash: str) -> Iterable[Yield]:
    """Sources, which no list names for us, and loss reasons, which may have left theirs."""
    origin = as_object(embedded.get("source"))
    if reading.number("source", origin.get("id")):
        yield Stub(source(origin, reading, raw_hash))
    reasons = embedded.get("loss_reason")
    for reason in [reasons] if isinstance(reasons, dict) and "id" in reasons else as_list(reasons):
        if reading.number("loss_reason", as_object(reason).get("id")):
            yield Stub(loss_reason(reason, reading, raw_hash))


def contact_records(contact: Json, reading: Reading, raw_hash: str) -> list[Yield]:
    """https://www.amocrm.ru/developers/content/crm_platform/contacts-api"""
    account_id = reading.account_id
    contact_id = known_as("contact", contact["id"])
    company_id = first_id(as_object(contact.get("_embedded")), "companies", reading)
    names = " ".join(str(contact[key]) for key in ("first_name", "last_name") if contact.get(key))
    return [
        Contact(
            account_id=account_id,
            source_updated_at=at(contact.get("updated_at")),
            raw_hash=raw_hash,
            contact_id=contact_id,
            name=as_text(contact.get("name")) or names or None,
            company_id=company_id,
            responsible_user_id=reading.responsible(contact.get("responsible_user_id")),
            created_at=created(contact),
            created_by=reading.author(contact.get("created_by")),
            deleted_at=removed_at(contact, reading),
        ),
        *card_sets(contact, contact_id, Contact, reading, raw_hash, contact_id=contact_id, company_id=company_id),
    ]


def company_records(company: Json, reading: Reading, raw_hash: str) -> list[Yield]:
    """https://www.amocrm.ru/developers/content/crm_platform/companies-api"""
    account_id = reading.account_id
    company_id = known_as("company", company["id"])
    return [
        Company(
            account_id=account_id,
            source_updated_at=at(company.get("updated_at")),
            raw_hash=raw_hash,
            company_id=company_id,
            name=as_text(company.get("name")),
            responsible_user_id=reading.responsible(company.get("responsible_user_id")),
            created_at=created(company),
            created_by=reading.author(company.get("created_by")),
            deleted_at=removed_at(company, reading),
        ),
        *card_sets(company, company_id, Company, reading, raw_hash, contact_id=None, company_id=company_id),
    ]


def card_sets(
    card: Json, entity_id: str, kind: type[Record], reading: Reading, raw_hash: str, **clients: str | None
) -> list[OwnedSet]:
    """What hangs on a client's card: phones, e-mails, custom values, tags."""
    account_id = reading.account_id
    entity_kind = entity_id.partition(":")[0]
    embedded = as_object(card.get("_embedded"))
    return [
        *contact_points(
            texts_of(card, "PHONE"),
            texts_of(card, "EMAIL"),
            owner=kind,
            region=reading.region,
            account_id=account_id,
            raw_hash=raw_hash,
            entity_id=entity_id,
            **clients,
        ),
        OwnedSet(
            FieldValue, account_id, entity_id, kind, field_values(card, entity_id, entity_kind, reading, raw_hash)
        ),
        OwnedSet(EntityTag, account_id, entity_id, kind, tags(embedded, entity_id, entity_kind, reading, raw_hash)),
    ]


def texts_of(card: Json, code: str) -> list[str]:
    """The non-empty values of the fields with a code, as text."""
    return [
        str(item["value"])
        for field, items in filled(card)
        if field.get("field_code") == code
        for item in items
        if item.get("value")
    ]


def tags(embedded: Json, entity_id: str, entity_kind: str, reading: Reading, raw_hash: str) -> list[EntityTag]:
    """A card's tags; the same name twice is one tag."""
    named = {str(tag["name"]): tag for tag in map(as_object, as_list(embedded.get("tags"))) if tag.get("name")}
    return [
        EntityTag(
            account_id=reading.account_id,
            raw_hash=raw_hash,
            entity_id=entity_id,
            entity_kind=entity_kind,
            tag=name,
            tag_id=reading.ref("tag", tag.get("id")),
        )
        for name, tag in named.items()
    ]


def linked(embedded: Json, name: str, reading: Reading) -> dict[int, Json]:
    """The linked things of a name by their numbers, in order; whatever has no id is none."""
    things = map(as_object, as_list(embedded.get(name)))
    return {number: thing for thing in things if (number := reading.number(name, thing.get("id")))}


def main_of(contacts: dict[int, Json], reading: Reading) -> int | None:
    """The main one of linked contacts: the first where none is marked."""
    marked = (number for number, contact in contacts.items() if reading.is_set(contact, "is_main"))
    return next(marked, next(iter(contacts), None))


def first_id(embedded: Json, name: str, reading: Reading) -> str | None:
    """Our id of the first card of a kind that is linked."""
    number = next(iter(linked(embedded, name, reading)), None)
    return None if number is None else f"{CARDS[name]}:{number}"


def removed_at(item: Json, reading: Reading) -> datetime | None:
    """When what calls itself deleted was: nobody says, its last change is the nearest."""
    return at(item.get("updated_at")) or created(item) if reading.is_set(item, "is_deleted") else None


def created(item: Json) -> datetime:
    """When a card, task or note came to be; its last change where the API does not say.

    Raises:
        ValueError: neither is known, so it has no place in time.
    """
    moment = at(item.get("created_at")) or at(item.get("updated_at"))
    if moment is None:
        raise ValueError("no time of creation")
    return moment


def tombstone(row: Json, kind: type[Record], prefix: str, reading: Reading, *, now: datetime) -> Tombstone:
    """A row of the trash says only its id and when it was last touched: nothing else of the card may change.

    Raises ValueError for a row that does not say that it is deleted, or which it is.
    """
    number = reading.number(prefix, row["id"])
    if number is None or not flag(row.get("is_deleted")):
        raise ValueError("a row of the trash that is not deleted")
    gone_at = at(row.get("updated_at")) or now
    return Tombstone(kind, reading.account_id, f"{prefix}:{number}", gone_at, is_vague=True)


# Tasks and calls


def task_records(task: Json, reading: Reading, raw_hash: str) -> list[Yield]:
    """A task. When it was completed only an event says; until one is read its last change stands in, flagged.

    https://www.amocrm.ru/developers/content/crm_platform/tasks-api
    """
    account_id = reading.account_id
    task_id = known_as("task", task["id"])
    prefix = CARDS.get(str(task.get("entity_type")))
    entity_id = reading.ref(prefix, task.get("entity_id")) if prefix else None
    entity_kind: Any = ENTITY_KINDS[prefix] if prefix and entity_id else None
    type_id = reading.number("task_type", task.get("task_type_id"))
    due_at = at(task.get("complete_till"))
    updated_at = at(task.get("updated_at"))
    is_completed: Any = reading.is_set(task, "is_completed")  # a task that does not say is refused
    row = Task(
        account_id=account_id,
        source_updated_at=updated_at,
        raw_hash=raw_hash,
        task_id=task_id,
        kind=task_kind(type_id, reading),
        task_type_id=reading.task_type(type_id),
        entity_kind=entity_kind,
        entity_id=entity_id,
        responsible_user_id=reading.responsible(task.get("responsible_user_id")),
        created_by=reading.author(task.get("created_by")),
        text=as_text(task.get("text")),
        created_at=created(task),
        due_at=due_at,
        due_is_allday=due_at is not None and not task.get("duration") and is_last_minute(due_at, reading),
        completed_at=updated_at if is_completed else None,
        completed_is_estimate=bool(is_completed),
        is_completed=is_completed,
        result=as_text(as_object(task.get("result")).get("text")),
    )
    if entity_id is None:
        return [row, OwnedSet(TaskLink, account_id, task_id, Task)]
    link = TaskLink(
        account_id=account_id, raw_hash=raw_hash, task_id=task_id, entity_id=entity_id, entity_kind=entity_kind
    )
    return [row, OwnedSet(TaskLink, account_id, task_id, Task, (link,))]


def task_kind(type_id: int | None, reading: Reading) -> Any:
    """The account's own kinds are `other`; what a person makes of them is a setting."""
    return reading.task_kinds.get(type_id or 0, "unknown")


def is_last_minute(moment: datetime, reading: Reading) -> bool:
    local = moment.astimezone(reading.zone)
    return local.hour * 3600 + local.minute * 60 >= LAST_MINUTE_S


def call_record(note: Json, prefix: str, reading: Reading, raw_hash: str) -> Call:
    """A call, from a note on a card of the kind `prefix`.

    https://www.amocrm.ru/developers/content/crm_platform/events-and-notes
    """
    params = as_object(note.get("params"))
    entity_id = reading.ref(prefix, note["entity_id"])
    direction: Direction = "in" if note["note_type"] == "call_in" else "out"
    talk_s = length(params, reading)
    raw_phone = params.get("phone")
    phone = str(raw_phone) if raw_phone and not isinstance(raw_phone, list | dict) else None
    uniq, link, provider = params.get("uniq"), params.get("link"), params.get("source")
    updated_at = at(note.get("updated_at"))
    return Call(
        account_id=reading.account_id,
        source_updated_at=updated_at,
        raw_hash=raw_hash,
        call_id=known_as("note", note["id"]),
        external_uniq=(uniq.strip() or None) if isinstance(uniq, str) else None,  # an array was seen: no key
        direction=direction,
        subtype="normal",
        started_at=created(note),
        talk_s=talk_s,
        status=call_status(
            direction, talk_s, reading.count(params, "call_status"), reading.settings.zero_talk_is_missed
        ),
        user_id=call_user(note, params, reading),
        phone_e164=to_e164(phone, reading.region),
        phone_raw=phone,
        entity_kind=ENTITY_KINDS[prefix],
        entity_id=entity_id,
        contact_id=entity_id if prefix == "contact" else None,
        company_id=entity_id if prefix == "company" else None,
        deal_id=entity_id if prefix == "lead" else None,
        recording_url=link if isinstance(link, str) and link.startswith(("http://", "https://")) else None,
        provider=str(provider) if provider and isinstance(provider, str | int) else None,
    )


def length(params: Json, reading: Reading) -> int | None:
    """Of a talk, in whole seconds; a part of one is one, for there was a talk."""
    said = params.get("duration")
    found = to_number(said)
    if found is not None and found >= 0:
        return math.ceil(found)
    if said not in NOTHING_SAID:
        reading.notice(Phrase("lengths of calls that cannot be read are left empty"), is_unknown=True)
    return None


VOICEMAIL, LATER, ABSENT, TALKED, WRONG_NUMBER, NO_ANSWER, BUSY = range(1, 8)
"""`call_status` of a note."""
SAID = {VOICEMAIL: "voicemail", WRONG_NUMBER: "wrong_number", BUSY: "busy"}


def call_status(direction: str, talk_s: int | None, code: int | None, zero_talk_is_missed: bool) -> Any:
    """What became of a call: its length decides first, because many PBXs always send "talked" (metrics.md 2.0)."""
    not_answered = "missed" if direction == "in" else "no_answer"
    if (talk_s == 0 and zero_talk_is_missed) or code == NO_ANSWER:
        return not_answered
    if code in SAID:
        return SAID[code]
    if talk_s is not None:
        return "answered" if talk_s > 0 or code == TALKED else not_answered
    if code in (LATER, ABSENT):
        return not_answered
    return "answered" if code == TALKED else "unknown"


def call_user(note: Json, params: Json, reading: Reading) -> str | None:
    """Whose call it was: who the PBX names, else the note's author, else its owner. 0 is nobody."""
    named = whole(params.get("call_responsible"))
    return reading.responsible(named or note.get("created_by") or note.get("responsible_user_id"))
