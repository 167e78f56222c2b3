"""The emulated event log: millions of events kept as three columns, painted only for the page asked for.

An event is (instant, type, reference); the reference is a place in the company's own lists. What `/_emu/mutate` adds is
kept whole. The list is newest first; within a second the order of events says nothing about their ids, as in life.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from demo.amocrm_switches import Switches
from demo.model import COMPANY, CONTACT, CUSTOMER, DELETED, ENTITIES, LEAD, MERGED, RESTORED, TASK, Company
from demo.todo import ORIGINS

Json = dict[str, Any]
NAMES = dict(ENTITIES)
KINDS = {name: kind for kind, name in ENTITIES.items()}
PATHS = {LEAD: "leads", CONTACT: "contacts", COMPANY: "companies", TASK: "tasks", CUSTOMER: "customers"}

OWN_TYPES = (
    "lead_added", "contact_added", "company_added", "lead_status_changed", "entity_responsible_changed",
    "sale_field_changed", "lead_deleted", "contact_deleted", "company_deleted", "lead_restored", "contact_restored",
    "company_restored", "entity_merged", "task_added", "task_completed", "task_deleted", "incoming_call",
    "outgoing_call", "incoming_chat_message", "outgoing_chat_message", "incoming_mail",
)  # fmt: skip
FURTHER_TYPES = (
    "lead_linked", "contact_linked", "company_linked", "entity_linked", "entity_unlinked", "name_field_changed",
    "custom_field_value_changed", "entity_tag_added", "entity_tag_deleted", "task_text_changed", "task_type_changed",
    "task_deadline_changed", "task_result_added", "common_note_added", "common_note_deleted", "service_note_added",
    "talk_created", "talk_closed", "outgoing_mail", "customer_added", "customer_status_changed",
    "customer_deleted", "transaction_added",
    "incoming_sms", "outgoing_sms", "attachment_note_added",
)  # fmt: skip
TYPES = OWN_TYPES + FURTHER_TYPES
CODES = {name: code for code, name in enumerate(TYPES)}
NOTE_EVENTS = {
    "common": "common_note_added",
    "attachment": "attachment_note_added",
    "sms_in": "incoming_sms",
    "sms_out": "outgoing_sms",
}
"""Type of a note to the event of its birth. Events of mail are described nowhere."""
MAIL = {CODES["incoming_mail"], CODES["outgoing_mail"]}
ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
SPREAD = 0x9E3779B97F4A7C15F39D
WHATS = {
    (LEAD, DELETED): "lead_deleted", (CONTACT, DELETED): "contact_deleted", (COMPANY, DELETED): "company_deleted",
    (LEAD, RESTORED): "lead_restored", (CONTACT, RESTORED): "contact_restored", (COMPANY, RESTORED): "company_restored",
    (LEAD, MERGED): "entity_merged", (CONTACT, MERGED): "entity_merged", (COMPANY, MERGED): "entity_merged",
}  # fmt: skip


def event_id(at: int, code: int, reference: int) -> str:
    """26 characters that look like a ULID: the time, then something unordered but unique."""
    tail = ((code << 44 | reference) * SPREAD) % (1 << 80)
    number = at * 1000 << 80 | tail
    return "".join(ALPHABET[number >> shift & 31] for shift in range(125, -1, -5))


class EventLog:
    """All events of the account, oldest first inside."""

    def __init__(self, company: Company, switches: Switches) -> None:
        self._company, self._switches = company, switches
        self.extras: list[Json] = []
        self.version = 0
        at, code, reference = array("i"), array("b"), array("q")
        for instant, name, place in _all(company, switches):
            if instant <= company.now:
                at.append(instant)
                code.append(CODES[name])
                reference.append(place)
        order = sorted(range(len(at)), key=at.__getitem__)
        self.at = array("i", map(at.__getitem__, order))
        self.code = array("b", map(code.__getitem__, order))
        self.reference = array("q", map(reference.__getitem__, order))
        self._painters = self._by_type()

    def add(self, name: str, at: int, body: Json) -> None:
        """Something new happened; `body` holds entity_type, entity_id, created_by, value_after, value_before."""
        place = bisect_right(self.at, at)
        self.at.insert(place, at)
        self.code.insert(place, CODES[name])
        self.reference.insert(place, (1 << 40) + len(self.extras))
        self.extras.append(body)
        self.version += 1

    def window(self, low: int | None, high: int | None) -> range:
        """Places of events with low <= instant <= high."""
        first = 0 if low is None else bisect_left(self.at, low)
        last = len(self.at) if high is None else bisect_right(self.at, high)
        return range(first, max(first, last))

    def newest_first(self, places: range, codes: set[int] | None) -> Sequence[int]:
        """The places of a window whose type is one of `codes`."""
        backwards = places[::-1]
        if codes is None:
            return backwards
        code = self.code
        return [place for place in backwards if code[place] in codes]

    def find(self, number: str) -> int | None:
        """The place of the event with that id."""
        try:
            value = 0
            for letter in number:
                value = value << 5 | ALPHABET.index(letter)
        except ValueError:
            return None
        at = (value >> 80) // 1000
        if len(number) != 26 or at >= 2**31:
            return None
        return next((p for p in self.window(at, at) if self.id_at(p) == number), None)

    def id_at(self, place: int) -> str:
        return event_id(self.at[place], self.code[place], self.reference[place])

    def body(self, place: int) -> Json:
        """entity_type, entity_id, created_by, value_after, value_before (and linked_talk_contact_id) of an event."""
        reference = self.reference[place]
        if reference >= 1 << 40:
            return self.extras[reference - (1 << 40)]
        return self._painters[self.code[place]](reference)

    def event(self, place: int, base: str, name_of: Callable[[str, int], str | None] | None = None) -> Json:
        """The event as the API shows it."""
        number, body = self.id_at(place), self.body(place)
        entity_type, entity_id = body["entity_type"], body["entity_id"]
        path = PATHS.get(KINDS.get(entity_type, 0), "leads")
        entity: Json = {"id": entity_id, "_links": {"self": {"href": f"{base}/api/v4/{path}/{entity_id}"}}}
        if "linked_talk_contact_id" in body:
            entity["linked_talk_contact_id"] = body["linked_talk_contact_id"]
        if name_of and (name := name_of(entity_type, entity_id)) is not None:
            entity["name"] = name
        return {
            "id": number,
            "type": self._type(place, body),
            "entity_id": entity_id,
            "entity_type": entity_type,
            "created_by": body["created_by"],
            "created_at": self.at[place],
            "value_after": body["value_after"],
            "value_before": body["value_before"],
            "account_id": self._company.account_id,
            "_links": {"self": {"href": f"{base}/api/v4/events/{number}"}},
            "_embedded": {"entity": entity},
        }

    def _type(self, place: int, body: Json) -> str:
        """The name of an event's type; that of a change of a custom field names the field."""
        name = TYPES[self.code[place]]
        if name != "custom_field_value_changed":
            return name
        return of_field(next(iter(fields_of(body)), 0))

    def _by_type(self) -> dict[int, Callable[[int], Json]]:
        company = self._company

        def added(rows: Sequence[Any], kind: int) -> Callable[[int], Json]:
            return lambda place: body(
                NAMES[kind], rows[place].id, rows[place].created_by, after=[{"note": {"id": 40_000_000 + place}}]
            )

        def status(place: int) -> Json:
            move = company.moves[place]
            return body(
                "lead",
                move.deal_id,
                move.by_user_id,
                after=[{"lead_status": {"id": move.to_stage_id, "pipeline_id": move.to_pipeline_id}}],
                before=[{"lead_status": {"id": move.from_stage_id, "pipeline_id": move.from_pipeline_id}}],
            )

        def owner(place: int) -> Json:
            change = company.owner_changes[place]
            return body(
                NAMES[change.entity_kind],
                change.entity_id,
                change.by_user_id,
                after=[{"responsible_user": {"id": change.after}}],
                before=[{"responsible_user": {"id": change.before}}],
            )

        def sale(place: int) -> Json:
            change = company.price_changes[place]
            before = None if change.before < 0 else change.before
            return body(
                "lead",
                change.entity_id,
                change.by_user_id,
                after=[{"sale_field_value": {"sale": change.after}}],
                before=[{"sale_field_value": {"sale": before}}],
            )

        def card(place: int) -> Json:
            event = company.card_events[place]
            return body(NAMES[event.entity_kind], event.entity_id, event.by_user_id)

        def task(place: int) -> Json:
            row = company.tasks[place]
            return body("task", row.id, row.created_by)

        def done(place: int) -> Json:
            row = company.tasks[place]
            return body("task", row.id, row.user_id)

        def call(place: int) -> Json:
            note = company.calls[place]
            return body(NAMES[note.entity_kind], note.entity_id, note.created_by, after=[{"note": {"id": note.id}}])

        def note(place: int) -> Json:
            row = company.notes[place]
            return body(NAMES[row.entity_kind], row.entity_id, row.created_by, after=[{"note": {"id": row.id}}])

        def purchase(place: int) -> Json:
            row = company.purchases[place]
            return body("customer", row.customer_id, row.created_by, after=[{"transaction": {"id": row.id}}])

        def mail(place: int) -> Json:
            return body("contact", company.contacts[place].id, 0)

        cards = {CODES[name]: card for name in WHATS.values()} | {CODES[name]: note for name in NOTE_EVENTS.values()}
        return cards | {
            CODES["lead_added"]: added(company.deals, LEAD),
            CODES["contact_added"]: added(company.contacts, CONTACT),
            CODES["company_added"]: added(company.firms, COMPANY),
            CODES["customer_added"]: added(company.customers, CUSTOMER),
            CODES["transaction_added"]: purchase,
            CODES["lead_status_changed"]: status,
            CODES["entity_responsible_changed"]: owner,
            CODES["sale_field_changed"]: sale,
            CODES["task_added"]: task,
            CODES["task_completed"]: done,
            CODES["task_deleted"]: done,
            CODES["incoming_call"]: call,
            CODES["outgoing_call"]: call,
            CODES["incoming_chat_message"]: self._message,
            CODES["outgoing_chat_message"]: self._message,
            CODES["incoming_mail"]: mail,
        }

    def _message(self, place: int) -> Json:
        """A chat message: on the deal of its talk, if that is still there, with the contact beside it."""
        company = self._company
        message = company.messages[place]
        talk = company.talks[message.talk_id - company.talks.column("id")[0]]
        value: Json = {"id": f"00000000-0000-4000-b000-{place:012d}"}
        if self._switches.chat_event_value != "id":
            value |= {"talk_id": talk.id, "origin": ORIGINS[talk.origin]}
        on_deal = talk.deal_id
        entity = ("lead", talk.deal_id) if on_deal else ("contact", talk.contact_id)
        found = body(*entity, message.user_id, after=[{"message": value}])
        if on_deal:
            found["linked_talk_contact_id"] = talk.contact_id
        return found


def body(
    entity_type: str, entity_id: int, by: int, *, after: list[Json] | None = None, before: list[Json] | None = None
) -> Json:
    """What an event says besides its id, type and time."""
    return {
        "entity_type": entity_type,
        "entity_id": entity_id,
        "created_by": by,
        "value_after": after or [],
        "value_before": before or [],
    }


def of_field(field_id: int) -> str:
    """The type of changes of one custom field."""
    return f"custom_field_{field_id}_value_changed"


def fields_of(body: Json) -> set[int]:
    """The custom fields that the values of an event name."""
    values = (*body["value_after"], *body["value_before"])
    return {value["custom_field_value"]["field_id"] for value in values if "custom_field_value" in value}


def _all(company: Company, switches: Switches) -> Iterator[tuple[int, str, int]]:  # noqa: PLR0912 - a list of what is logged
    """Every event of the company: instant, type, place in its list. Imported deals came without any."""
    for place, deal in enumerate(company.deals):
        if not deal.is_imported:
            yield deal.created_at, "lead_added", place
    for place, contact in enumerate(company.contacts):
        yield contact.created_at, "contact_added", place
        if place % 200 == 7 and contact.updated_at > company.started_at:
            yield contact.updated_at, "incoming_mail", place
    for place, firm in enumerate(company.firms):
        yield firm.created_at, "company_added", place
    moves = company.moves
    for place, (at, is_logged) in enumerate(zip(moves.column("at"), moves.column("is_logged"), strict=True)):
        if is_logged:
            yield at, "lead_status_changed", place
    for place, at in enumerate(company.owner_changes.column("at")):
        yield at, "entity_responsible_changed", place
    for place, at in enumerate(company.price_changes.column("at")):
        yield at, "sale_field_changed", place
    losers = set() if switches.merge_emits_delete else {(merge.entity_kind, merge.from_id) for merge in company.merges}
    for place, event in enumerate(company.card_events):
        if (event.entity_kind, event.entity_id) not in losers:
            yield event.at, WHATS[event.entity_kind, event.what], place
    for place, task in enumerate(company.tasks):
        yield task.created_at, "task_added", place
        if task.is_logged:
            yield task.completed_at, "task_completed", place
        if task.deleted_at:
            yield task.deleted_at, "task_deleted", place
    calls = company.calls
    for place, (at, is_in) in enumerate(zip(calls.column("created_at"), calls.column("is_in"), strict=True)):
        yield at, "incoming_call" if is_in else "outgoing_call", place
    for place, note in enumerate(company.notes):
        if name := NOTE_EVENTS.get(note.note_type):
            yield note.created_at, name, place
    if switches.customers_mode != "disabled":
        for place, customer in enumerate(company.customers):
            yield customer.created_at, "customer_added", place
        for place, purchase in enumerate(company.purchases):
            yield purchase.created_at, "transaction_added", place
    messages = company.messages
    for place, (at, is_in) in enumerate(zip(messages.column("at"), messages.column("is_in"), strict=True)):
        yield at, "incoming_chat_message" if is_in else "outgoing_chat_message", place
