"""Notes of the demo company that are no calls: what people wrote down, files, sms and mail."""

from collections.abc import Mapping, Sequence
from operator import itemgetter
from random import Random

from demo import office, words
from demo.model import COMPANY, CONTACT, DAY, LEAD, Deal, TextNote
from demo.office import Calendar
from demo.people import Draft

KINDS = {"common": 40, "attachment": 15, "sms_out": 18, "sms_in": 10, "amomail_message": 17}
"""Types of notes and how often they occur."""
LETTERS = frozenset({"sms_in", "sms_out", "amomail_message"})
"""Types that are messages to or from a client."""
MISSED_D, ANSWERED_EVERY = 33, 10
"""How far back missed calls were answered by sms, and how many of them."""


def make_notes(
    rng: Random,
    drafts: Sequence[Draft],
    deals: Sequence[Deal],
    calendar: Calendar,
    *,
    n: int,
    missed: Sequence[tuple[int, int]],
    first_id: int,
    now: int,
    started_at: int,
) -> list[TextNote]:
    """`n` notes at any time, and sms in answer to some missed calls of the last weeks; in order of time.

    missed: client and instant of each missed call. The cards they are on are still there.
    """
    newest = {deal.client_no: deal for deal in deals if not deal.deleted_at}
    with_cards = [draft for draft in drafts if draft.contact_ids]
    wished = [started_at + int(rng.random() * (now - 7_200 - started_at)) for _ in range(n)]
    drawn = [
        _drawn(rng, rng.choice(with_cards), newest, min(calendar.moment(rng, moment), now - 7_200)) for moment in wished
    ]
    recent = [(drafts[client_no], at) for client_no, at in missed if now - MISSED_D * DAY <= at < now - 7_200]
    for draft, at in recent[::ANSWERED_EVERY]:
        if draft.contact_ids:
            drawn.append((at + rng.randrange(30, 110), draft, CONTACT, draft.contact_ids[0], "sms_out", False))
    notes = []
    for number, (at, draft, kind, entity_id, note_type, is_from_client) in enumerate(sorted(drawn, key=itemgetter(0))):
        user = draft.user_at(at)
        by = office.ROBOT if is_from_client or (note_type == "common" and rng.random() < 0.1) else user
        params = _params(rng, note_type, income=is_from_client)
        notes.append(TextNote(first_id + number, kind, entity_id, at, at + 30, by, user, note_type, params))
    return notes


def _drawn(rng: Random, draft: Draft, newest: Mapping[int, Deal], at: int) -> tuple[int, Draft, int, int, str, bool]:
    """When, of whom, kind and id of the card, type, whether it came from the client."""
    deal = newest.get(draft.no)
    cards = [(CONTACT, draft.contact_ids[0])]
    cards += [(COMPANY, draft.company_id)] if draft.company_id else []
    cards += [(LEAD, deal.id)] if deal and deal.created_at <= at else []
    note_type = rng.choices([*KINDS], [*KINDS.values()])[0]
    is_mail_in = note_type == "amomail_message" and rng.random() < 0.6
    return at, draft, *rng.choice(cards), note_type, is_mail_in or note_type == "sms_in"


def _params(rng: Random, note_type: str, *, income: bool) -> dict[str, object]:
    text = rng.choice(words.COMMENTS)
    if note_type == "amomail_message":
        return {"thread_id": 1, "message_id": 1, "private": False, "income": income, "subject": "Окна",
                "content_summary": text, "attach_cnt": rng.randrange(2)}  # fmt: skip
    if note_type == "attachment":
        return {"version_uuid": "v", "file_uuid": "f", "file_name": "plan.pdf", "original_name": "План.pdf"}
    if note_type == "common":
        return {"text": text}
    return {"text": text if rng.random() < 0.8 else None, "phone": "+79990000000"}


def is_from_us(note: TextNote) -> bool:
    """Whether a letter went to the client."""
    return not note.params.get("income") if note.note_type == "amomail_message" else note.note_type == "sms_out"
