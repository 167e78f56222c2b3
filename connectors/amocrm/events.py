"""The change log of an account: what makes history of stages, owners and amounts, deletions, merges, completions.

https://www.amocrm.ru/developers/content/crm_platform/events-and-notes

An event's values are lists of objects with one telling key each; unknown keys and several elements are normal.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from connectors.amocrm.mapping import ENTITY_KINDS
from connectors.amocrm.merges import winner
from connectors.amocrm.reading import ID, CardEvent, Reading, at, known_as
from connectors.paging import Json, as_list, as_object, key_of, whole
from connectors.records import (
    Activity,
    Company,
    Contact,
    Customer,
    Deal,
    DealAmountChange,
    DealOwnerChange,
    DealStageTransition,
    Patch,
    Record,
    Task,
    Tombstone,
    Yield,
)

CARD_RECORDS: dict[str, type[Record]] = {
    "lead": Deal,
    "contact": Contact,
    "company": Company,
    "customer": Customer,
    "task": Task,
}
RESOURCES = {"lead": "leads", "contact": "contacts", "company": "companies", "customer": "customers"}
WITH_A_TRASH = ("lead", "contact", "company")


def event_records(event: Json, reading: Reading, raw_hash: str) -> list[Yield]:
    """What an event says in our words; an event of a type without a meaning for us says nothing.

    Raises:
        ValueError: the event has no time, names no card, or lacks the values its type should have.
    """
    handle = HANDLERS.get(str(event.get("type")))
    return [] if handle is None else handled(event, handle, reading, raw_hash)


def amount_records(event: Json, reading: Reading, raw_hash: str) -> list[Yield]:
    """What a change of the field that holds the amount says; raises as `event_records` does."""
    return handled(event, field_amount_changed, reading, raw_hash)


def handled(event: Json, handle: "Handler", reading: Reading, raw_hash: str) -> list[Yield]:
    moment = at(event.get("created_at"))
    if moment is None:
        raise ValueError("an event without a time")
    if not ID.fullmatch(str(event["entity_id"])):
        raise ValueError("an event of nothing")
    return handle(event, moment, reading, raw_hash)


def stage_changed(event: Json, moment: datetime, reading: Reading, raw_hash: str) -> list[Yield]:
    after, before = value(event, "after", "lead_status"), value(event, "before", "lead_status")
    if "id" not in after or "pipeline_id" not in after:
        raise ValueError("a stage change without the stage")
    return [
        DealStageTransition(
            **common(event, moment, reading, raw_hash),
            from_pipeline_id=reading.pipeline(before["pipeline_id"]) if before.get("pipeline_id") else None,
            from_stage_id=reading.ref("status", before.get("id")),
            to_pipeline_id=reading.pipeline(after["pipeline_id"]),
            to_stage_id=known_as("status", after["id"]),
        )
    ]


def responsible_changed(event: Json, moment: datetime, reading: Reading, raw_hash: str) -> list[Yield]:
    """A deal's new owner; 0 is nobody. The owners of other cards have no history table."""
    if event.get("entity_type") != "lead":
        return []
    after, before = value(event, "after", "responsible_user"), value(event, "before", "responsible_user")
    return [
        DealOwnerChange(
            **common(event, moment, reading, raw_hash),
            from_user_id=reading.responsible(before.get("id")),
            to_user_id=reading.responsible(after.get("id")),
        )
    ]


def amount_changed(event: Json, moment: datetime, reading: Reading, raw_hash: str) -> list[Yield]:
    """The budget of a deal changed, which is its amount unless a custom field is."""
    if event.get("entity_type") != "lead" or reading.settings.amount_field_id:
        return []
    after, before = value(event, "after", "sale_field_value"), value(event, "before", "sale_field_value")
    return [amount_change(common(event, moment, reading, raw_hash), before.get("sale"), after.get("sale"), reading)]


def field_amount_changed(event: Json, moment: datetime, reading: Reading, raw_hash: str) -> list[Yield]:
    """The custom field that holds the amount changed; the side without a value was or is empty."""
    field_id = reading.settings.amount_field_id
    sides = {side: value(event, side, "custom_field_value") for side in ("before", "after")}
    named = {whole(found.get("field_id")) for found in sides.values() if found}
    if event.get("entity_type") != "lead" or named != {field_id}:
        return []
    before, after = (sides[side].get("text") for side in ("before", "after"))
    return [amount_change(common(event, moment, reading, raw_hash), before, after, reading)]


def amount_change(of_any: Json, before: Any, after: Any, reading: Reading) -> DealAmountChange:
    return DealAmountChange(
        **of_any,
        from_minor=reading.money(before),
        to_minor=reading.money(after),
        currency=reading.currency,
    )


def deleted(event: Json, moment: datetime, reading: Reading, raw_hash: str) -> list[Yield]:
    """A card or task was deleted. Cards are asked for again: the list, read last, knows whether they came back."""
    kind = card_kind(event)
    native_id = event["entity_id"]
    if kind in RESOURCES:
        reading.reread(RESOURCES[kind], native_id)
        reading.deletions.append(CardEvent(kind, native_id, event.get("created_by"), moment, raw_hash))
    return [Tombstone(CARD_RECORDS[kind], reading.account_id, f"{kind}:{native_id}", moment)]


def note_deleted(event: Json, moment: datetime, reading: Reading, _: str) -> list[Yield]:
    """A note a person wrote was deleted; of other kinds only a sweep can tell."""
    found = value(event, "after", "note") or value(event, "before", "note")
    note_id = reading.ref("note", found.get("id"))
    return [Tombstone(Activity, reading.account_id, note_id, moment)] if note_id else []


def restored(event: Json, moment: datetime, reading: Reading, _: str) -> list[Yield]:
    """A card came back: its reading anew lifts the tombstone, whichever event is read first."""
    kind = card_kind(event)
    native_id = event["entity_id"]
    reading.reread(RESOURCES[kind], native_id)
    if kind != "lead":
        return []
    return [Patch(Deal, reading.account_id, f"lead:{native_id}", "restored_at", moment)]


def completed(event: Json, moment: datetime, reading: Reading, _: str) -> list[Yield]:
    """The task itself does not say when it was completed."""
    return [Patch(Task, reading.account_id, f"task:{event['entity_id']}", "completed_at", moment)]


def merged(event: Json, moment: datetime, reading: Reading, raw_hash: str) -> list[Yield]:
    """Names the winner only; who lost is concluded from deletions when the walk is over."""
    kind = str(event.get("entity_type"))
    if kind in RESOURCES:
        reading.reread(RESOURCES[kind], event["entity_id"])
        reading.merges.append(CardEvent(kind, event["entity_id"], event.get("created_by"), moment, raw_hash))
        reading.reread("merges", winner(kind, event["entity_id"]))
    return []


def relinked(event: Json, _: datetime, reading: Reading, __: str) -> list[Yield]:
    """Links and tags may change without the card's change time moving. A link may be told of one of its ends only, and
    stand in the row of the other."""
    ends = [(event.get("entity_type"), event["entity_id"])]
    for element in map(as_object, (*as_list(event.get("value_after")), *as_list(event.get("value_before")))):
        other = as_object((as_object(element.get("link")) or as_object(element.get("unlink"))).get("entity"))
        ends.append((other.get("type"), other.get("id")))
    for kind, native_id in ends:
        resource = RESOURCES.get(str(kind))
        if resource and (number := reading.number(str(kind), native_id)):
            reading.reread(resource, number)
    return []


def purchased(event: Json, _: datetime, reading: Reading, __: str) -> list[Yield]:
    """Names purchases, of which no list tells when they were added."""
    for element in as_list(event.get("value_after")):
        if number := reading.number("transaction", as_object(as_object(element).get("transaction")).get("id")):
            reading.reread("transactions", number)
    return []


Handler = Callable[[Json, datetime, Reading, str], list[Yield]]

HISTORY: dict[str, Handler] = {
    "lead_status_changed": stage_changed,
    "entity_responsible_changed": responsible_changed,
    "sale_field_changed": amount_changed,
    "entity_merged": merged,
    "task_completed": completed,
    "task_deleted": deleted,
    "common_note_deleted": note_deleted,
    **{f"{kind}_deleted": deleted for kind in RESOURCES},
    **{f"{kind}_restored": restored for kind in WITH_A_TRASH},
}
"""Asked for always."""

ADDED: dict[str, Handler] = {"transaction_added": purchased}
"""Asked for by later reads only: a first read has just read these lists whole."""

RELINKED: dict[str, Handler] = {
    **{f"{kind}_{change}": relinked for kind in ("entity", *ENTITY_KINDS) for change in ("linked", "unlinked")},
    "entity_tag_added": relinked,
    "entity_tag_deleted": relinked,
}
"""Asked for by later reads only: a first read has just seen every card with its links."""

HANDLERS = {**HISTORY, **ADDED, **RELINKED}


def common(event: Json, moment: datetime, reading: Reading, raw_hash: str) -> Json:
    """The columns every change of a deal has."""
    return {
        "account_id": reading.account_id,
        "raw_hash": raw_hash,
        "change_id": named("event", key_of(event)),
        "deal_id": known_as("lead", event["entity_id"]),
        "changed_at": moment,
        "by_user_id": reading.author(event.get("created_by")),
        "origin": "event",
    }


def value(event: Json, side: str, key: str) -> Json:
    """The object under `key` in `value_before` or `value_after`; empty where there is none."""
    for element in as_list(event.get(f"value_{side}")):
        if found := as_object(as_object(element).get(key)):
            return found
    return {}


def card_kind(event: Json) -> str:
    """`lead` of `lead_deleted`: the type names the kind of card, as `entity_type` does."""
    return str(event["type"]).rpartition("_")[0]


def named(prefix: str, native_id: int | str | None) -> Any:
    """Our id of what the source names by a text: null where it does not, which a record that needs one refuses."""
    return f"{prefix}:{native_id}" if native_id else None
