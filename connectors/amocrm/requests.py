"""Incoming requests that nobody has accepted or declined yet: what amoCRM calls "unsorted".

https://www.amocrm.ru/developers/content/crm_platform/unsorted-api
"""

from collections.abc import Iterator
from typing import Any

from connectors.amocrm.api import AmoApi
from connectors.amocrm.events import named
from connectors.amocrm.mapping import created, first_id
from connectors.amocrm.reading import Reading
from connectors.amocrm.walking import Query, if_readable, one, pages
from connectors.connector import Window
from connectors.errors import Phrase
from connectors.paging import Json, as_object, key_of, until_settled
from connectors.phones import to_e164
from connectors.records import Account, Listing, Request, Yield
from connectors.walk import mapped

CATEGORIES = {"sip": "sip", "mail": "mail", "forms": "form", "chats": "chat"}


def requests(api: AmoApi, account: Account, _: Window) -> Iterator[Yield]:
    """The requests that wait. One that has left the list was dealt with: its lead says how."""
    if api.facts.has_requests:
        yield from if_readable(waiting(api, account), is_all=True)


def waiting(api: AmoApi, account: Account) -> Iterator[Yield]:
    """Walked until nothing new is found: what is accepted meanwhile moves the others to pages already read."""
    reading = api.reading(account)
    query = Query(
        path="/api/v4/leads/unsorted",
        collection="unsorted",
        entity="leads/unsorted",
        limit=api.settings.page_size,
        params={"order[created_at]": "asc"},
        key="uid",
    )
    seen: set[Any] = set()
    for page in until_settled(lambda: pages(api, query, {}, reading, seen=seen)):
        for item in page:
            yield from mapped(item, query.entity, one(request), reading, key=query.key)
    if not reading.is_odd:
        keys = frozenset((request_id(uid),) for uid in seen)
        yield Listing(Request, account.account_id, keys, api.server_now(), is_queue=True)
    yield from reading.conclusions()


def request_id(uid: int | str | None) -> Any:
    return named("request", uid)


def request(item: Json, reading: Reading, raw_hash: str) -> Request:
    """A request and the cards it will be when it is accepted. `source_uid` is the sender's own name for itself, not the
    number of a source, so it stays in the raw copy, as all does that people wrote."""
    named, embedded = str(item.get("category")), as_object(item.get("_embedded"))
    category: Any = CATEGORIES.get(named, "unknown")
    if category == "unknown":
        reading.notice(Phrase("requests of the unknown category {category}", category=named[:40]), is_unknown=True)
    return Request(
        account_id=reading.account_id,
        raw_hash=raw_hash,
        request_id=request_id(key_of(item, "uid")),
        category=category,
        received_at=created(item),
        deal_id=first_id(embedded, "leads", reading),
        contact_id=first_id(embedded, "contacts", reading),
        phone_e164=phone(category, as_object(item.get("metadata")), reading.region),
    )


def phone(category: str, metadata: Json, region: str) -> str | None:
    """The number of who called or wrote. Messengers number their users too: there only a plus makes it a phone."""
    written = (str(metadata[key]) for key in ("phone", "from") if isinstance(metadata.get(key), str | int))
    numbers = (to_e164(text, region) for text in written if category == "sip" or text.lstrip().startswith("+"))
    return next(filter(None, numbers), None)
