"""Chats: their messages, which only the change log tells of, and the talks these make up.

https://www.amocrm.ru/developers/content/crm_platform/events-and-notes
https://www.amocrm.ru/developers/content/crm_platform/talks-api

No message has its text. Events of mail say nothing but that there was one; mail is read as notes.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, get_args

from connectors.amocrm.api import AmoApi
from connectors.amocrm.events import prefixed, value
from connectors.amocrm.mapping import created
from connectors.amocrm.reading import Reading, at
from connectors.amocrm.walking import Query, ToRecords, one, pages, stream
from connectors.connector import Window
from connectors.errors import MissingError, Phrase
from connectors.paging import Json, as_object, until_settled, whole
from connectors.records import Account, Channel, Chat, Direction, Listing, Message, Notice, Yield
from connectors.walk import mapped

TALKS = "talks"
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
    return stream(api, account, window, query, message_of(names_talks=names_talks))


def message_of(*, names_talks: bool) -> ToRecords:
    def to_records(event: Json, reading: Reading, raw_hash: str) -> Iterable[Yield]:
        if event.get("type") not in DIRECTIONS:
            return ()
        talk_id = value(event, "after", "message").get("talk_id")
        if talk_id and names_talks:
            reading.reread(TALKS, talk_id)
        return (message(event, reading, raw_hash),)

    return to_records


def message(event: Json, reading: Reading, raw_hash: str) -> Message:
    """The card is the talk's, with the contact beside it; if the deal was deleted since, it is the contact itself.

    What nobody (0) sent to a client was sent by a bot.
    """
    said = value(event, "after", "message")
    direction = DIRECTIONS[event["type"]]
    by, card, card_id = event.get("created_by"), event.get("entity_type"), event.get("entity_id")
    linked_id = as_object(as_object(event.get("_embedded")).get("entity")).get("linked_talk_contact_id")
    return Message(
        account_id=reading.account_id,
        raw_hash=raw_hash,
        message_id=f"message:{said['id']}" if said.get("id") else f"event:{event['id']}",
        chat_id=prefixed("talk", said.get("talk_id")),
        channel=channel(said.get("origin"), reading),
        direction=direction,
        author="client" if direction == "in" else "user" if by else "bot",
        sent_at=created(event),
        user_id=reading.author(by) if direction == "out" else None,
        contact_id=prefixed("contact", linked_id or (card_id if card == "contact" else None)),
        company_id=prefixed("company", card_id if card == "company" else None),
        deal_id=prefixed("lead", card_id if card == "lead" else None),
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
    is_in_work = talk.get("is_in_work", talk.get("status") != "closed")
    source_id = whole(talk.get("source_id"))
    return Chat(
        account_id=reading.account_id,
        source_updated_at=changed_at,
        raw_hash=raw_hash,
        chat_id=f"talk:{talk['talk_id']}",
        channel=channel(talk.get("origin"), reading),
        opened_at=created(talk),
        closed_at=None if is_in_work else changed_at,
        contact_id=prefixed("contact", talk.get("contact_id")),
        deal_id=prefixed("lead", talk.get("entity_id") if talk.get("entity_type") == "lead" else None),
        source_id=f"source:{source_id}" if source_id and source_id > 0 else None,
        status=talk.get("status") or None,
        missed_at=at(talk.get("missed_at")),
        rating=whole(talk.get("rate")) or None,
    )
