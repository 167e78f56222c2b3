"""Tasks, chats and incoming requests of the demo company."""

from collections.abc import Sequence
from random import Random

from demo import office, words
from demo.model import COMPANY, CONTACT, DAY, LEAD, Columns, Deal, Message, Request, Talk, Task
from demo.office import MSK_S, Calendar
from demo.people import Draft

FIRST_TALK = 5_120
ORIGINS = ("telegram", "com.amocrm.amocrmwa", "avito", "vk", "instagram_business")


def make_tasks(
    rng: Random,
    drafts: Sequence[Draft],
    deals: Sequence[Deal],
    calendar: Calendar,
    *,
    n: int,
    now: int,
    tired: tuple[int, int],
) -> Columns[Task]:
    """`n` tasks in order of creation. `tired`: (user_id, since when) of the manager who is late with everything."""
    drawn: list[tuple[int, ...]] = []
    with_cards = [draft for draft in drafts if draft.contact_ids]
    started_at = now - 548 * DAY
    for _ in range(n):
        chance = rng.random()
        if chance < 0.82:
            deal = rng.choice(deals)
            kind, entity_id, user = LEAD, deal.id, deal.user_id
            last = min((deal.closed_at or now) + 2 * DAY, deal.created_at + 60 * DAY, now - 1_200)
            at = deal.created_at + int(rng.random() * max(last - deal.created_at, 0))
        else:
            draft = rng.choice(with_cards)
            at = max(draft.created_at, started_at)
            at += int(rng.random() * (now - 1_200 - at))
            user = draft.user_at(at)
            kind, entity_id = CONTACT, draft.contact_ids[0]
            if chance > 0.995:
                kind, entity_id = 0, 0
            elif draft.company_id and chance > 0.93:
                kind, entity_id = COMPANY, draft.company_id
        at = min(calendar.not_before(rng, at), now - 1_200)
        drawn.append(
            _task(rng, kind, entity_id, user=user, at=at, now=now, is_tired=user == tired[0] and at > tired[1])
        )
    drawn.sort(key=lambda row: row[5])
    tasks: Columns[Task] = Columns(Task, "ibiiiiiiiibbbi")
    for number, row in enumerate(drawn):
        tasks.append((4_100_001 + number, *row))
    return tasks


def _task(rng: Random, kind: int, entity_id: int, *, user: int, at: int, now: int, is_tired: bool) -> tuple[int, ...]:
    local = at + MSK_S
    day = local // DAY + rng.choice((0, 1, 1, 2, 3, 7, 14, 30))
    due_at = day * DAY + (86_340 if rng.random() < 0.4 else (9 + rng.randrange(9)) * 3600) - MSK_S
    due_at = max(due_at, at)
    chance = rng.random()
    done_at = 0
    if chance < (0.45 if is_tired else 0.8):
        done_at = at + 60 + int(rng.random() * max(due_at - at, 60))
    elif chance < 0.95:
        done_at = due_at + int(rng.expovariate(1 / ((6 if is_tired else 1.5) * DAY)))
    if done_at >= now - 600:
        done_at = 0
    deleted_at = 0
    updated_at = done_at or at
    if rng.random() < 0.005 and updated_at < now - 2 * DAY:
        deleted_at = updated_at + rng.randrange(60, DAY)
    type_id = rng.choices([kind.id for kind in office.TASK_TYPES], (60, 15, 12, 13))[0]
    result = rng.randrange(len(words.TASK_RESULTS)) if done_at else 0
    created_by = office.ROBOT if rng.random() < 0.2 else user
    is_logged = int(bool(done_at) and rng.random() < 0.985)
    text = rng.randrange(len(words.TASK_TEXTS))
    return (
        kind,
        entity_id,
        type_id,
        user,
        created_by,
        at,
        updated_at,
        due_at,
        done_at,
        is_logged,
        text,
        result,
        deleted_at,
    )


def make_chats(
    rng: Random,
    drafts: Sequence[Draft],
    deals: Sequence[Deal],
    calendar: Calendar,
    *,
    n: int,
    now: int,
    started_at: int,
) -> tuple[Columns[Talk], Columns[Message]]:
    """`n` chats with their messages. Bots answer some at once; some wait for an answer in vain."""
    talks: Columns[Talk] = Columns(Talk, "iiiiibbbbi")
    messages: Columns[Message] = Columns(Message, "iibi")
    newest = {deal.client_no: deal for deal in deals if not deal.deleted_at}
    with_cards = [draft for draft in drafts if draft.contact_ids]
    starts = sorted(started_at + int(rng.random() * (now - 7_200 - started_at)) for _ in range(n))
    for number, wished in enumerate(starts):
        draft = rng.choice(with_cards)
        at = min(calendar.moment(rng, wished), now - 7_200)
        deal = newest.get(draft.no)
        deal_id = deal.id if deal and deal.created_at <= at else 0
        talk_id = FIRST_TALK + number
        first_at, is_in, answered = at, 1, False
        for _ in range(rng.randrange(1, 13)):
            if at >= now - 600:
                break
            user = 0
            if not is_in:
                user = 0 if not answered and rng.random() < 0.15 else draft.user_at(at)
                answered = answered or bool(user)
            messages.append((talk_id, at, is_in, user))
            last = at
            at += int(rng.expovariate(1 / 900)) + 5
            is_in = int(rng.random() < 0.45)
        is_open = last > now - 5 * DAY and rng.random() < 0.6
        missed_at = 0 if answered else first_at + 3_600 if first_at + 3_600 < now else 0
        rate = rng.randrange(1, 11) if not is_open and rng.random() < 0.1 else 0
        talks.append(
            (
                talk_id,
                draft.contact_ids[0],
                deal_id,
                first_at,
                max(last, missed_at),
                rng.randrange(len(ORIGINS)),
                int(is_open),
                int(answered),
                rate,
                missed_at,
            )
        )
    return talks, messages


def make_requests(rng: Random, *, n: int, now: int, first_deal_id: int, first_contact_id: int) -> list[Request]:
    """`n` incoming requests of the last days that wait to be accepted, oldest first."""
    ages = sorted((rng.randrange(1_800, 5 * DAY) for _ in range(n)), reverse=True)
    return [
        Request(
            f"{rng.getrandbits(128):032x}",
            rng.choice(("sip", "forms", "forms", "chats", "mail")),
            rng.choice(office.SOURCES).id,
            office.SALES,
            now - age,
            first_deal_id + number,
            first_contact_id + number,
            79_990_900_000 + number,
        )
        for number, age in enumerate(ages)
    ]
