"""Notes on cards: calls, mail, sms, and what people and services wrote.

https://www.amocrm.ru/developers/content/crm_platform/events-and-notes

Each kind of card has a list of its own, asked for by types: calls by one resource, all others by another, so that no
note is read twice. A type nobody here knows is not asked for.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from connectors.amocrm.api import AmoApi
from connectors.amocrm.mapping import CARDS, call_record, created
from connectors.amocrm.reading import ROBOT, Reading, at, flag, known_as, sender
from connectors.amocrm.sweep import probed_notes, swept
from connectors.amocrm.walking import BY_ID, Query, ToRecords, if_readable, stream
from connectors.connector import Window
from connectors.errors import ForbiddenError, MissingError, Phrase
from connectors.paging import Json, as_object
from connectors.records import Account, Activity, Call, LeftOut, Message, Record, Reread, Yield


class Meaning(NamedTuple):
    """What notes of a type are to us. to_record: note, prefix of the card's id, reading, raw hash → the record."""

    kind: type[Record]
    to_record: Callable[[Json, str, Reading, str], Record]


Types = Mapping[str, Meaning]
EXTRA = "customers"
"""Cards not every plan has: what is refused of them stops nothing else."""
REFUSED_NOTES = "refused_notes"


def calls(api: AmoApi, account: Account, window: Window) -> Iterator[Yield]:
    """Calls, which are notes on cards: mostly on contacts, even where the screen shows them with a deal."""
    return noted(api, account, window, CALLS, "notes")


def notes(api: AmoApi, account: Account, window: Window) -> Iterator[Yield]:
    """Mail and sms as messages, all other notes as activities."""
    return noted(api, account, window, OTHERS, "other_notes")


def notes_on(api: AmoApi, account: Account, word: str, cards: Mapping[str, str]) -> Iterator[Yield]:
    """All notes on some cards of a kind. cards: the filter that names them."""
    for types, entity in all_types():
        query = note_list(api, word, types, entity, cards)
        yield from stream(api, account, Window("whole"), query, of_types(types, CARDS[word]))


def refused_notes(api: AmoApi, account: Account, window: Window) -> Iterator[Yield]:
    """Lists that were refused, whole: those they are read with have gone on meanwhile. Asked for until they are given;
    who asked has told that they are not."""
    for types, entity in all_types():
        query = note_list(api, EXTRA, types, entity)
        if query.entity not in window.ids:
            continue
        try:
            if not api.facts.has_customers:
                yield LeftOut()
            else:
                yield from stream(api, account, Window("whole"), query, of_types(types, CARDS[EXTRA]))
        except (ForbiddenError, MissingError):
            yield LeftOut()


def all_types() -> tuple[tuple[Types, str], ...]:
    """All notes we know, by the two resources that read them, each with what it calls its lists."""
    return (CALLS, "notes"), (OTHERS, "other_notes")


def noted(api: AmoApi, account: Account, window: Window, types: Types, entity: str) -> Iterator[Yield]:
    words = ["contacts", "leads", "companies"] + [EXTRA] * api.facts.has_customers
    queries = {word: note_list(api, word, types, entity) for word in words}
    if window.kind == "probe":
        kinds = dict.fromkeys(meaning.kind for meaning in types.values())
        yield from probed_notes(api, account, window.ids, [*queries.values()], [*kinds])
        return
    for word, query in queries.items():
        to_records = of_types(types, CARDS[word])
        if window.kind == "sweep":
            read = swept(api, account, query, to_records, kind_of=lambda note: kind_of(note, types))
        else:
            read = stream(api, account, window, query, to_records)
        later = Reread(REFUSED_NOTES, (query.entity,))
        yield from if_readable(read, later=later) if word == EXTRA else read


def note_list(api: AmoApi, word: str, types: Types, entity: str, params: Mapping[str, str] | None = None) -> Query:
    asked = {f"filter[note_type][{number}]": name for number, name in enumerate(types)}
    whole_query = {**asked, **(params or {}), BY_ID: "asc"}
    return Query(f"/api/v4/{word}/notes", "notes", f"{word}/{entity}", api.settings.page_size, whole_query)


def of_types(types: Types, prefix: str) -> ToRecords:
    """The filter by type may be ignored: notes of the other resource are passed over, of unknown types kept raw."""

    def to_records(note: Json, reading: Reading, raw_hash: str) -> Iterable[Yield]:
        name = type_of(note)
        if name in types:
            return (types[name].to_record(note, prefix, reading, raw_hash),)
        if name not in CALLS and name not in OTHERS:
            what = Phrase("{list}: notes of the unknown type {type} are kept raw only", list="notes", type=name[:40])
            reading.notice(what, is_unknown=True)
        return ()

    return to_records


def kind_of(note: Json, types: Types) -> type[Record] | None:
    return types[name].kind if (name := type_of(note)) in types else None


def type_of(note: Json) -> str:
    return str(note.get("note_type"))


# Mapping


def mail(note: Json, prefix: str, reading: Reading, raw_hash: str) -> Message:
    params = as_object(note.get("params"))
    is_in = flag(params.get("income"))
    return message(
        note,
        reading,
        channel="email",
        direction="unknown" if is_in is None else "in" if is_in else "out",
        text=params.get("content_summary") or params.get("subject"),
        has_file=bool(reading.count(params, "attach_cnt")),
        **common(note, prefix, reading, raw_hash),
    )


def sms(note: Json, prefix: str, reading: Reading, raw_hash: str) -> Message:
    return message(
        note,
        reading,
        channel="sms",
        direction="in" if type_of(note) == "sms_in" else "out",
        text=as_object(note.get("params")).get("text"),
        **common(note, prefix, reading, raw_hash),
    )


def message(note: Json, reading: Reading, *, direction: Any, text: Any, **columns: Any) -> Message:
    """Who wrote it goes by the direction; what nobody (0) sent was sent by a robot."""
    by = reading.author(note.get("created_by")) if direction == "out" else None
    authors: Any = {"in": "client", "out": sender(by)}
    return Message(
        message_id=known_as("note", note["id"]),
        direction=direction,
        author=authors.get(direction, "unknown"),
        sent_at=created(note),
        user_id=by,
        text=text_of(text),
        **columns,
    )


def activity(note: Json, prefix: str, reading: Reading, raw_hash: str) -> Activity:
    """A note a person wrote is a note; what services and robots write is something other."""
    by = reading.author(note.get("created_by"))
    return Activity(
        activity_id=known_as("note", note["id"]),
        kind="note" if by not in (None, ROBOT) and type_of(note) in BY_PEOPLE else "other",
        done_at=created(note),
        user_id=by,
        text=text_of(as_object(note.get("params")).get("text")),
        **common(note, prefix, reading, raw_hash),
    )


def text_of(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def common(note: Json, prefix: str, reading: Reading, raw_hash: str) -> Json:
    """The columns every note has. No column names a regular customer; such a note hangs on nothing."""
    card = {"contact": "contact_id", "company": "company_id", "lead": "deal_id"}.get(prefix)
    named = {card: reading.ref(prefix, note["entity_id"])} if card else {}
    changed_at = at(note.get("updated_at"))
    return {"account_id": reading.account_id, "source_updated_at": changed_at, "raw_hash": raw_hash, **named}


CALLS: Types = dict.fromkeys(("call_in", "call_out"), Meaning(Call, call_record))
BY_PEOPLE = ("common", "attachment", "dropbox_attachment", "geolocation")
BY_SERVICES = (
    "service_message",
    "extended_service_message",
    "message_cashier",
    "invoice_paid",
    "bill_paid",
    "site_visit",
    "targeting_in",
    "targeting_out",
    "transaction",
    "zoom_meeting",
    "ai_result",
)
OTHERS: Types = {
    "amomail_message": Meaning(Message, mail),
    **dict.fromkeys(("sms_in", "sms_out"), Meaning(Message, sms)),
    **dict.fromkeys((*BY_PEOPLE, *BY_SERVICES), Meaning(Activity, activity)),
}
"""What the reference describes. `chat` and `link_followed` are names without a meaning, and are not asked for."""
