"""Calls: statistics of telephony, and activities that people or other programs wrote down as calls.

https://apidocs.bitrix24.ru/api-reference/telephony/voximplant/statistics/voximplant-statistic-get.html

A row of the statistics names a lead, a contact or a company; the deal is known from the activity it names. What a call
is known by there, its activity has too: both make the same row, whoever may see only one of them.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from connectors.bitrix24.reading import COMPANY, CONTACT, LEAD, Reading, card_id
from connectors.bitrix24.values import many, moment, text
from connectors.errors import Phrase
from connectors.money import currency_code, to_minor
from connectors.paging import Json, as_object, whole
from connectors.phones import to_e164
from connectors.records import Call, Yield

OUT, IN, REDIRECTED, CALLBACK, ROBOT = range(1, 6)
"""`CALL_TYPE`."""
WAYS: Mapping[int | None, tuple[Any, Any]] = {
    OUT: ("out", "normal"),
    IN: ("in", "normal"),
    REDIRECTED: ("in", "redirect"),
    CALLBACK: ("out", "callback_request"),
    ROBOT: ("out", "robot"),
}
"""Direction and subtype."""
ANSWERED = "200"
NOT_REACHED: Mapping[str, Any] = {
    "486": "busy",
    "603": "declined",
    "603-S": "cancelled",
    "304": "no_answer",
    "480": "no_answer",
    "404": "wrong_number",
}
"""Of what goes out, so that 304 alone does not mean a missed call: a PBX that names no code gets it either way."""
ENTITIES = {"LEAD": LEAD, "CONTACT": CONTACT, "COMPANY": COMPANY}
VOXIMPLANT = "voximplant"
VOTES = range(1, 6)


def call_records(row: Json, reading: Reading, raw_hash: str) -> Iterator[Yield]:
    """A row of the statistics with `activity`: the one it names, as it was asked for it.

    Raises:
        ValueError: the call has no time.
    """
    started_at = moment(row.get("CALL_START_DATE"))
    if started_at is None:
        raise ValueError("a call without a time")
    direction, subtype = WAYS.get(whole(row.get("CALL_TYPE")), ("unknown", "unknown"))
    if direction == "unknown":
        what = Phrase("calls of the unknown type {type}", type=str(row.get("CALL_TYPE"))[:40])
        reading.unknown(what)
    unique = text(row.get("CALL_ID"))
    links = links_of(row, as_object(row.get("activity")))
    phone = text(row.get("PHONE_NUMBER"))
    seconds = whole(row.get("CALL_DURATION"))
    link = text(row.get("CALL_RECORD_URL"))
    vote = whole(row.get("CALL_VOTE"))
    yield Call(
        account_id=reading.account_id,
        raw_hash=raw_hash,
        call_id=call_id(unique or row["ID"]),
        external_uniq=unique,
        external_call_id=text(row.get("EXTERNAL_CALL_ID")),
        direction=direction,
        subtype=subtype,
        started_at=started_at,
        talk_s=seconds if seconds is None or seconds >= 0 else None,
        vote=vote if vote in VOTES else None,
        status=status(direction, str(row.get("CALL_FAILED_CODE") or ""), reading),
        user_id=reading.responsible(row.get("PORTAL_USER_ID")),
        phone_e164=dialled(phone, reading),
        phone_raw=phone,
        line=text(row.get("PORTAL_NUMBER")),
        recording_url=link if link and link.startswith(("http://", "https://")) else None,
        cost_minor=to_minor(row.get("COST"), currency_code(text(row.get("COST_CURRENCY")) or reading.currency)),
        provider=VOXIMPLANT,
        **links,
    )


def call_id(unique: Any) -> str:
    """Our id of a call by what telephony itself calls it."""
    return f"call:{unique}"


def status(direction: str, code: str, reading: Reading) -> Any:
    """What became of a call by its code, which is SIP's (metrics.md 2.4)."""
    if not code:
        reading.unknown(Phrase("calls without a code of their outcome"))
        return "unknown"
    if code == ANSWERED:
        return "answered"
    if direction == "in":
        return "missed" if code in reading.settings.missed_codes else "failed"
    return NOT_REACHED.get(code, "failed")


def dialled(phone: str | None, reading: Reading) -> str | None:
    """Telephony writes numbers with their country but without a plus."""
    return to_e164(phone, reading.region)


def links_of(row: Json, activity: Json) -> Json:
    """Whose call it was: the card the row names, and the deal or lead its activity hangs on."""
    named = card_id(ENTITIES.get(str(row.get("CRM_ENTITY_TYPE"))), row.get("CRM_ENTITY_ID"))
    cards = [*([named] if named else []), *cards_of(activity)]
    return card_columns(cards)


def cards_of(activity: Json) -> list[str]:
    """The cards an activity hangs on, its owner first. Ids repeat across types of cards: both together name one."""
    owner = card_id(activity.get("OWNER_TYPE_ID"), activity.get("OWNER_ID"))
    bound = [
        card_id(one.get("OWNER_TYPE_ID") or one.get("entityTypeId"), one.get("OWNER_ID") or one.get("entityId"))
        for one in map(as_object, many(activity.get("BINDINGS")))
    ]
    return list(dict.fromkeys(card for card in (owner, *bound) if card))


def card_columns(cards: list[str]) -> Json:
    """The first card as `entity_…`, and the first of each kind."""
    first = {card.partition(":")[0]: card for card in reversed(cards)}
    return {
        "entity_kind": cards[0].partition(":")[0] if cards else None,
        "entity_id": cards[0] if cards else None,
        "contact_id": first.get("contact"),
        "company_id": first.get("company"),
        "deal_id": first.get("deal") or first.get("lead"),
    }
