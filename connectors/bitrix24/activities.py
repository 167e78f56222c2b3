"""Activities: whatever stands in the timeline of a card and was or is to be done.

https://apidocs.bitrix24.ru/api-reference/crm/timeline/activities/activity-base/crm-activity-list.html

What one is, its provider says; types are of older times. Calls of telephony and tasks have lists of their own, which
know more of them but may not be given, or hide what is other people's: here they get the same ids, so that nothing is
lost, or there twice. Chats of open lines are read from their sessions.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from connectors.bitrix24.calls import VOXIMPLANT, call_id, card_columns, cards_of
from connectors.bitrix24.reading import Reading
from connectors.bitrix24.values import flag, moment, ref, text
from connectors.errors import Phrase
from connectors.paging import Json, as_object, whole
from connectors.records import (
    Activity,
    Call,
    Message,
    OwnedSet,
    Record,
    Request,
    Stub,
    Task,
    TaskLink,
    Tombstone,
    Yield,
)

COLUMNS = (
    "ID", "OWNER_ID", "OWNER_TYPE_ID", "TYPE_ID", "PROVIDER_ID", "PROVIDER_TYPE_ID", "ASSOCIATED_ENTITY_ID", "SUBJECT",
    "CREATED", "LAST_UPDATED", "START_TIME", "END_TIME", "DEADLINE", "COMPLETED", "STATUS", "RESPONSIBLE_ID",
    "DIRECTION", "SETTINGS", "ORIGIN_ID", "AUTHOR_ID", "EDITOR_ID", "PROVIDER_PARAMS", "BINDINGS",
)  # fmt: skip
MEETING, CALL, TASK, MAIL = range(1, 5)
"""`TYPE_ID`; what is of type 6 is known by its provider."""
SESSIONS = "IMOPENLINES_SESSION"
ORIGIN = "VI_"
"""What `ORIGIN_ID` puts before the id of the call of telephony that an activity was made for."""
TASK_PROVIDERS = ("CRM_TASKS_TASK", "TASKS")
DIRECTIONS: Mapping[int | None, Any] = {1: "in", 2: "out"}


class Meaning(NamedTuple):
    """What activities of a provider are to us. kinds: of the rows with the activity's own id that it may become."""

    kinds: tuple[type[Record], ...]
    to_records: Callable[[Json, Reading, str], Iterable[Yield]]


def activity_records(activity: Json, reading: Reading, raw_hash: str) -> Iterable[Yield]:
    """What an activity is now. One that was changed may have been something else before: a call that was planned, and
    took place. That is no more."""
    meaning = meaning_of(activity)
    if meaning is None:
        provider = str(activity.get("PROVIDER_ID") or activity.get("TYPE_ID"))[:40]
        reading.unknown(Phrase("activities of the unknown provider {provider}", provider=provider))
        meaning = OTHERS
    became = set()
    for item in meaning.to_records(activity, reading, raw_hash):
        became.add(type(item))
        yield item
    changed_at = moment(activity.get("LAST_UPDATED"))
    if reading.is_again and changed_at and changed_at > created(activity):
        for kind in meaning.kinds:
            if kind not in became:
                yield Tombstone(kind, reading.account_id, row_id(activity), changed_at)


def meaning_of(activity: Json) -> Meaning | None:
    if telephony_id(activity):
        return TELEPHONY
    named = PROVIDERS.get(str(activity.get("PROVIDER_ID")))
    return named or TYPES.get(whole(activity.get("TYPE_ID")))


def telephony_id(activity: Json) -> str | None:
    """What telephony itself calls the call an activity was made for."""
    origin = text(activity.get("ORIGIN_ID")) or ""
    return text(origin.removeprefix(ORIGIN)) if origin.startswith(ORIGIN) else None


def mentioned_call(activity: Json, reading: Reading, raw_hash: str) -> Iterator[Yield]:
    """A call of telephony: a row only where its statistics give none, for they may not be read, or show only the calls
    of some."""
    unique = telephony_id(activity)
    known_by = {"call_id": call_id(unique), "external_uniq": unique, "provider": VOXIMPLANT}
    yield Stub(a_call(activity, reading, raw_hash, **known_by))


def call(activity: Json, reading: Reading, raw_hash: str) -> Iterator[Yield]:
    """A call that a person or another program wrote down. One that is only planned is something to do."""
    if not (is_missed(activity) or is_completed(activity)):
        yield from task_of("call")(activity, reading, raw_hash)
        return
    origin, provider = text(activity.get("ORIGIN_ID")), text(activity.get("PROVIDER_ID"))
    yield a_call(activity, reading, raw_hash, call_id=row_id(activity), external_uniq=origin, provider=provider)


def a_call(activity: Json, reading: Reading, raw_hash: str, **known_by: Any) -> Call:
    """Nobody says how long it was: its end is a plan."""
    direction = DIRECTIONS.get(whole(activity.get("DIRECTION")), "unknown")
    missed: Any = "missed" if direction == "in" else "no_answer"
    return Call(
        **common(activity, reading, raw_hash),
        **known_by,
        direction=direction,
        subtype="normal",
        started_at=happened(activity),
        status=missed if is_missed(activity) else "answered",
        user_id=reading.responsible(activity.get("RESPONSIBLE_ID")),
        **card_columns(cards_of(activity)),
    )


def is_missed(activity: Json) -> bool:
    return flag(as_object(activity.get("SETTINGS")).get("MISSED_CALL")) is True


def message_in(channel: Any) -> Callable[[Json, Reading, str], Iterator[Yield]]:
    """A mail, or what was sent by a messenger. What no person (0) sent was sent by a robot."""

    def to_records(activity: Json, reading: Reading, raw_hash: str) -> Iterator[Yield]:
        direction = DIRECTIONS.get(whole(activity.get("DIRECTION")), "unknown")
        by = reading.author(activity.get("RESPONSIBLE_ID")) if direction == "out" else None
        authors: Any = {"in": "client", "out": "bot" if by in (None, "user:0") else "user"}
        yield Message(
            **common(activity, reading, raw_hash),
            message_id=row_id(activity),
            channel=channel,
            direction=direction,
            author=authors.get(direction, "unknown"),
            sent_at=happened(activity),
            user_id=by,
            text=text(activity.get("SUBJECT")),
            **clients(activity),
        )

    return to_records


def task_of(kind: Any) -> Callable[[Json, Reading, str], Iterator[Yield]]:
    """Something to do, by a deadline or without one."""

    def to_records(activity: Json, reading: Reading, raw_hash: str) -> Iterator[Yield]:
        task = a_task(activity, kind, row_id(activity), reading, raw_hash)
        yield task
        yield task_links(cards_of(activity), task.task_id, reading, raw_hash)

    return to_records


def a_task(activity: Json, kind: Any, task_id: str, reading: Reading, raw_hash: str) -> Task:
    """When it was completed is not told: its last change stands in."""
    cards, is_over = cards_of(activity), is_completed(activity)
    return Task(
        **common(activity, reading, raw_hash),
        task_id=task_id,
        kind=kind,
        entity_kind=kind_of(cards[0]) if cards else None,
        entity_id=cards[0] if cards else None,
        responsible_user_id=reading.responsible(activity.get("RESPONSIBLE_ID")),
        created_by=reading.author(activity.get("AUTHOR_ID")),
        text=text(activity.get("SUBJECT")),
        created_at=created(activity),
        due_at=moment(activity.get("DEADLINE")),
        completed_at=moment(activity.get("LAST_UPDATED")) if is_over else None,
        completed_is_estimate=is_over,
        is_completed=is_over,
    )


def task_links(cards: Iterable[str], task_id: str, reading: Reading, raw_hash: str) -> OwnedSet:
    links = [
        TaskLink(
            account_id=reading.account_id, raw_hash=raw_hash, task_id=task_id, entity_id=card, entity_kind=kind_of(card)
        )
        for card in cards
    ]
    return OwnedSet(TaskLink, reading.account_id, task_id, Task, links)


LINKED = ("lead", "deal", "contact", "company")


def kind_of(card: str) -> Any:
    prefix = card.partition(":")[0]
    return prefix if prefix in LINKED else "process_item" if prefix == "item" else "unknown"


def web_form(activity: Json, reading: Reading, raw_hash: str) -> Iterator[Yield]:
    """A filled form on a site; somebody is done with it when the activity is."""
    links = clients(activity)
    is_over = is_completed(activity)
    yield Request(
        **common(activity, reading, raw_hash),
        request_id=row_id(activity),
        category="form",
        received_at=created(activity),
        processed_at=moment(activity.get("LAST_UPDATED")) if is_over else None,
        deal_id=links["deal_id"],
        contact_id=links["contact_id"],
        user_id=reading.responsible(activity.get("RESPONSIBLE_ID")),
    )


def other(activity: Json, reading: Reading, raw_hash: str) -> Iterator[Yield]:
    """Something that happened, and is neither talk nor work to count."""
    if is_completed(activity):
        yield done(activity, "other", reading, raw_hash)


def visit(activity: Json, reading: Reading, raw_hash: str) -> Iterator[Yield]:
    if is_completed(activity):
        yield done(activity, "visit", reading, raw_hash)


def other_task(activity: Json, reading: Reading, raw_hash: str) -> Iterator[Yield]:
    """A task that the list of tasks has too, where that is read; but who is no administrator misses those of others
    there. A mention does for them once they are over: nothing would tell of one that is deleted while it is open, which
    would stay so for ever."""
    number, is_listed = ref(activity.get("ASSOCIATED_ENTITY_ID")), reading.reads("tasks.task.list")
    task_id = f"task:{number}" if number else row_id(activity)
    task = a_task(activity, "todo", task_id, reading, raw_hash)
    links = task_links(cards_of(activity), task_id, reading, raw_hash)
    if not is_listed:
        yield from (task, links)
    elif number and task.is_completed:
        yield from map(Stub, (task, *links.rows))


def nothing(*_: Any) -> Iterable[Yield]:
    return ()


def done(activity: Json, kind: Any, reading: Reading, raw_hash: str) -> Activity:
    return Activity(
        **common(activity, reading, raw_hash),
        activity_id=row_id(activity),
        kind=kind,
        done_at=happened(activity),
        user_id=reading.responsible(activity.get("RESPONSIBLE_ID")),
        text=text(activity.get("SUBJECT")),
        **clients(activity),
    )


def common(activity: Json, reading: Reading, raw_hash: str) -> Json:
    changed_at = moment(activity.get("LAST_UPDATED"))
    return {"account_id": reading.account_id, "source_updated_at": changed_at, "raw_hash": raw_hash}


def clients(activity: Json) -> Json:
    columns = card_columns(cards_of(activity))
    return {name: columns[name] for name in ("contact_id", "company_id", "deal_id")}


def row_id(activity: Json) -> str:
    return f"activity:{activity['ID']}"


def is_completed(activity: Json) -> bool:
    return flag(activity.get("COMPLETED")) is True


def created(activity: Json) -> datetime:
    """Raises ValueError where no time is told at all."""
    at = moment(activity.get("CREATED")) or moment(activity.get("START_TIME")) or moment(activity.get("LAST_UPDATED"))
    if at is None:
        raise ValueError("an activity without a time")
    return at


def happened(activity: Json) -> datetime:
    return moment(activity.get("START_TIME")) or created(activity)


MEETINGS = Meaning((Task,), task_of("meeting"))
"""When a meeting is over, marts take it as one that has taken place."""
CALLS = Meaning((Call, Task), call)
TELEPHONY = Meaning((), mentioned_call)
MAILS = Meaning((Message,), message_in("email"))
TASKS = Meaning((), other_task)
OTHERS = Meaning((Activity,), other)
PROVIDERS: Mapping[str, Meaning] = {
    **dict.fromkeys(("CRM_MEETING", "CRM_CALENDAR_SHARING", "ZOOM"), MEETINGS),
    **dict.fromkeys(("VOXIMPLANT_CALL", "CRM_CALL_TRACKER", "CRM_CALL"), CALLS),
    **dict.fromkeys(("CRM_EMAIL", "EMAIL"), MAILS),
    **dict.fromkeys(TASK_PROVIDERS, TASKS),
    "CRM_SMS": Meaning((Message,), message_in("sms")),
    "CRM_WHATSAPP": Meaning((Message,), message_in("whatsapp")),
    "CRM_TELEGRAM": Meaning((Message,), message_in("telegram")),
    "CRM_NOTIFICATION": Meaning((Message,), message_in("other")),
    "CRM_TODO": Meaning((Task,), task_of("todo")),
    "CRM_WEBFORM": Meaning((Request,), web_form),
    "VISIT_TRACKER": Meaning((Activity,), visit),
    SESSIONS: Meaning((), nothing),
    **dict.fromkeys(
        (
            "CRM_DELIVERY", "CRM_PAYMENT", "CRM_DOCUMENT", "CRM_REQUEST", "REST_APP", "CONFIGURABLE_REST_APP",
            "CALL_LIST", "CRM_EXTERNAL_CHANNEL", "CRM_REPEAT_SALE", "CRM_TASKS_TASK_COMMENT",
        ),
        OTHERS,
    ),
}  # fmt: skip
TYPES: Mapping[int | None, Meaning] = {MEETING: MEETINGS, CALL: CALLS, TASK: TASKS, MAIL: MAILS, 5: MEETINGS}
"""Of what names no provider known here."""
KINDS: tuple[type[Record], ...] = (Call, Activity, Message, Task, Request)
"""What an activity may have become."""
