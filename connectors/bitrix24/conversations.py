"""Chats of open lines. No method lists them: an activity names each session that was saved to a card, and a session has
its messages.

https://apidocs.bitrix24.ru/api-reference/imopenlines/index.html
"""

from collections.abc import Iterator, Mapping
from typing import Any

from connectors.bitrix24.activities import clients, created, is_completed
from connectors.bitrix24.reading import Reading, prefixed
from connectors.bitrix24.values import flag, moment, ref, text
from connectors.errors import Phrase
from connectors.paging import Json, as_list, as_object
from connectors.records import Chat, Message, Yield

CHANNELS: Mapping[str, Any] = {
    "livechat": "site_chat",
    "telegrambot": "telegram",
    "vkgroup": "vk",
    "vkgrouporder": "vk",
    "facebook": "facebook",
    "facebookcomments": "facebook",
    "fbinstagram": "instagram",
    "fbinstagramdirect": "instagram",
    "viber": "viber",
    "avito": "avito",
    "ok": "ok",
    "whatsappbytwilio": "whatsapp",
    "whatsappbyedna": "whatsapp",
    "notifications": "other",
}
"""Channel by the connector of an open line; connectors of other makers have names of their own."""
SYSTEM = "0"


def session_records(activity: Json, reading: Reading, raw_hash: str) -> Iterator[Yield]:
    """A session, as its activity tells of it, with `history`: what was said, and `chats` of its card, which name the
    connector they came through."""
    history = as_object(activity.get("history"))
    chats = map(as_object, as_list(activity["chats"]))
    through = {str(chat.get("CHAT_ID")): text(chat.get("CONNECTOR_ID")) for chat in chats}
    channel = channel_of(through.get(str(history.get("chatId"))), reading)
    common: Json = {
        "account_id": reading.account_id,
        "raw_hash": raw_hash,
        "chat_id": session_id(activity),
        "channel": channel,
        **clients(activity),
    }
    changed_at = moment(activity.get("LAST_UPDATED"))
    is_over = is_completed(activity)
    yield Chat(
        **common,
        source_updated_at=changed_at,
        opened_at=created(activity),
        closed_at=changed_at if is_over else None,
        operator_user_id=reading.responsible(activity.get("RESPONSIBLE_ID")),
        status="closed" if is_over else "in_work",
    )
    users = {str(user.get("id")): user for user in map(as_object, as_list(history.get("users")))}
    for said in sorted(map(as_object, as_list(history.get("message"))), key=lambda said: ref(said.get("id")) or 0):
        yield from message(said, users, common, reading)


def message(said: Json, users: Json, common: Json, reading: Reading) -> Iterator[Message]:
    """What was said, once. users: of the session, by id."""
    sent_at = moment(said.get("date"))
    if sent_at is None:
        reading.notice(Phrase("messages without a time are kept raw only"))
        return
    author, direction = sender(said, users, reading)
    yield Message(
        **common,
        message_id=f"message:{said['id']}",
        direction=direction,
        author=author,
        sent_at=sent_at,
        user_id=prefixed("user", said.get("senderid")) if author == "user" else None,
        text=text(said.get("text")),
        has_file=bool(as_object(said.get("params")).get("FILE_ID")),
    )


def sender(said: Json, users: Json, reading: Reading) -> tuple[Any, Any]:
    """Who wrote, and which way it went: the guest of the open line, an employee, a bot, or 0, the system."""
    number = str(said.get("senderid"))
    user = as_object(users.get(number))
    if number == SYSTEM or flag(user.get("bot")):
        return "bot", "out"
    if flag(user.get("connector")):
        return "client", "in"
    employees = reading.book.employees
    if employees is None:
        return "unknown", "unknown"
    return ("user", "out") if f"user:{number}" in employees else ("client", "in")


def session_id(activity: Json) -> str:
    """Raises ValueError where an activity names none."""
    number = ref(activity.get("ASSOCIATED_ENTITY_ID"))
    if number is None:
        raise ValueError("a chat without a session")
    return f"session:{number}"


def channel_of(connector: str | None, reading: Reading) -> Any:
    if not connector:
        return "unknown"
    known = CHANNELS.get(connector)
    if known is None:
        reading.unknown(Phrase("chats of the unknown connector {name} are of another channel", name=connector[:40]))
    return known or "other"
