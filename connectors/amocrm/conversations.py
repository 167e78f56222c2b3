"""Chats: their messages, which only the change log tells of, and the talks these make up.

https://www.amocrm.ru/developers/content/crm_platform/events-and-notes
https://www.amocrm.ru/developers/content/crm_platform/talks-api

No message has its text. Events of mail say nothing but that there was one; mail is read as notes.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, get_args

from connectors.amocrm.api import AmoApi
from connectors.amocrm.events import named, value
from connectors.amocrm.mapping import created
from connectors.amocrm.reading import Reading, at, known_as, sender
from connectors.amocrm.walking import IDS_AT_A_TIME, Query, ToRecords, if_readable, one, pages, stream
from connectors.connector import Window
from connectors.errors import MissingError, Phrase
from connectors.paging import Json, as_object, key_of, until_settled
from connectors.records import Account, Channel, Chat, Direction, Listing, Message, Notice, Yield
from connectors.walk import kept_raw, mapped

TALKS = "talks"
CONTACT_CHATS = "contact_chats"
TALK_PREFIX = "talk:"
DIRECTIONS: Mapping[str, Direction] = {"incoming_chat_message": "in", "outgoing_chat_message": "out"}
"""Events that are messages."""
CHANNELS = {name: name for name in get_args(Channel)} | {
    "com.amocrm.amocrmwa": "whatsapp",
    "instagram_business": "instagram",
}
"""Channel by what amoCRM calls the origin of a chat."""


def messages(api: AmoApi, account: Account, window: Window) -> Iterator[Yield]:
    """Chat messages. Only as events of contacts can they be asked for, whatever card they then name.

    A message changes its talk, so later reads ask for that again; a first read does where talks cannot be listed.
    """
    query = Query(
        path="/api/v4/events",
        collection="events",
        entity="events/messages",
        limit=api.settings.events_page_size,
        params={"filter[type]": ",".join(DIRECTIONS), "filter[entity][]": "contact"},
        changed="created_at",
    )
    names_talks = window.kind == "changed" or not api.filters(TALKS)
    return if_readable(stream(api, account, window, query, message_of(names_talks=names_talks)), is_all=True)


def message_of(*, names_talks: bool) -> ToRecords:
    def to_records(event: Json, reading: Reading, raw_hash: str) -> Iterable[Yield]:
        if event.get("type") not in DIRECTIONS:
            return ()
        said = message(event, reading, raw_hash)
        if said.chat_id and names_talks:
            reading.reread(TALKS, said.chat_id.removeprefix(TALK_PREFIX))
        return (said,)

    return to_records


def message(event: Json, reading: Reading, raw_hash: str) -> Message:
    """The card is the talk's, with the contact beside it; if the deal was deleted since, it is the contact itself.

    What nobody (0) sent to a client was sent by a bot.
    """
    said = value(event, "after", "message")
    direction = DIRECTIONS[event["type"]]
    by, card, card_id = reading.author(event.get("created_by")), event.get("entity_type"), event.get("entity_id")
    linked_id = as_object(as_object(event.get("_embedded")).get("entity")).get("linked_talk_contact_id")
    return Message(
        account_id=reading.account_id,
        raw_hash=raw_hash,
        message_id=named("message", key_of(said)) or named("event", key_of(event)),
        chat_id=reading.ref("talk", said.get("talk_id")),
        channel=channel(said.get("origin"), reading),
        direction=direction,
        author="client" if direction == "in" else sender(by),
        sent_at=created(event),
        user_id=by if direction == "out" else None,
        contact_id=reading.ref("contact", linked_id or (card_id if card == "contact" else None)),
        company_id=reading.ref("company", card_id if card == "company" else None),
        deal_id=reading.ref("lead", card_id if card == "lead" else None),
    )


def channel(origin: Any, reading: Reading) -> Any:
    """Integrations make origins of their own: those are `other`; `unknown` where none is told."""
    if not origin:
        return "unknown"
    known = CHANNELS.get(str(origin))
    if known is None:
        what = Phrase("chats of the unknown origin {origin} are of another channel", origin=str(origin)[:40])
        reading.notice(what, is_unknown=True)
    return known or "other"


def talks(api: AmoApi, account: Account, window: Window) -> Iterator[Yield]:
    """Chats. Their list knows neither order nor change times.

    At first and in a sweep it is read whole. Later those in work are, which tells what was opened and what was closed,
    and those that had messages. In an account without the list, talks are known by the ids their messages name.
    """
    return if_readable(known_talks(api, account, window), is_all=True)


def known_talks(api: AmoApi, account: Account, window: Window) -> Iterator[Yield]:
    query = Query("/api/v4/talks", TALKS, TALKS, api.settings.page_size, key="talk_id")
    try:
        if window.kind == "ids":
            yield from stream(api, account, window, query, one(chat))
        else:
            yield from talk_list(api, account, query, is_queue=window.start is not None)
    except MissingError:
        api.ignores_filters(TALKS)
        yield Notice(Phrase("Talks cannot be listed here (404); only those are known whose messages name them."))
        if window.kind == "ids":
            yield from stream(api, account, window, query, one(chat))


def talk_list(api: AmoApi, account: Account, query: Query, *, is_queue: bool) -> Iterator[Yield]:
    """The whole list, or (is_queue) the talks in work and which they are."""
    reading = api.reading(account)
    params = {"filter[only_in_work]": 1} if is_queue else {}
    seen: set[Any] = set()
    for page in until_settled(lambda: pages(api, query, params, reading, seen=seen)):
        for talk in page:
            yield from mapped(talk, query.entity, one(chat), reading, key=query.key)
    if is_queue and not reading.is_odd:
        listed = frozenset((f"talk:{talk_id}",) for talk_id in seen)
        yield Listing(Chat, account.account_id, listed, api.server_now(), is_queue=True)
    yield from reading.conclusions()


def chat(talk: Json, reading: Reading, raw_hash: str) -> Chat:
    """A talk has no instant of its end: the last change stands in. A rating of 0 is none."""
    changed_at = at(talk.get("updated_at"))
    if contact := reading.number("contact", talk.get("contact_id")):
        reading.reread(CONTACT_CHATS, contact)
    is_in_work = reading.is_set(talk, "is_in_work") if "is_in_work" in talk else talk.get("status") != "closed"
    return Chat(
        account_id=reading.account_id,
        source_updated_at=changed_at,
        raw_hash=raw_hash,
        chat_id=known_as("talk", talk["talk_id"]),
        channel=channel(talk.get("origin"), reading),
        opened_at=created(talk),
        closed_at=changed_at if is_in_work is False else None,
        contact_id=None if contact is None else f"contact:{contact}",
        deal_id=reading.ref("lead", talk.get("entity_id") if talk.get("entity_type") == "lead" else None),
        source_id=reading.ref("source", talk.get("source_id")),
        status=talk.get("status") or None,
        missed_at=at(talk.get("missed_at")),
        rating=reading.count(talk, "rate") or None,
    )


def contact_chats(api: AmoApi, account: Account, window: Window) -> Iterator[Yield]:
    """Which chats contacts have, of those who have talks. A talk is a part of a chat and names its contact itself, so
    these links are kept raw."""
    return if_readable(chats_of(api, api.reading(account), window.ids))


def chats_of(api: AmoApi, reading: Reading, contacts: Sequence[str]) -> Iterator[Yield]:
    query = Query("/api/v4/contacts/chats", "chats", "contacts/chats", api.settings.page_size)
    for first in range(0, len(contacts), IDS_AT_A_TIME):
        some = contacts[first : first + IDS_AT_A_TIME]
        asked = {f"contact_id[{position}]": contact for position, contact in enumerate(some)}
        for page in pages(api, query, asked, reading):
            for link in page:
                yield from mapped(link, query.entity, kept_raw, reading)
    yield from reading.conclusions()
