"""The demo company: an invented window maker with two years of work behind it, and truths planted in it.

`build` makes it from a seed; `answer_key` says what a right sync and right metrics must find in it. Nothing here knows
amoCRM's wire format (`demo.amocrm`) nor our own metrics.
"""

from datetime import UTC, datetime
from random import Random

from demo import catalogs, office
from demo.answer_key import answer_key
from demo.customers import make_customers
from demo.funnel import make_deals, plan_deals
from demo.model import DAY, CardEvent, Client, Columns, Company, Contact, Deal, Firm, Planted
from demo.notes import make_notes
from demo.office import MSK_S, Calendar
from demo.people import Cards, Draft, draw_clients
from demo.phone import FIRST_NOTE, NOTES_PER_CONVERSATION, Phone, call_everybody, numbered, wish_calls
from demo.todo import make_chats, make_requests, make_tasks

__all__ = ["Company", "answer_key", "build"]

N_CLIENTS, N_DEALS, N_CALLS, N_TASKS, N_CHATS, N_NOTES = 6_000, 20_000, 120_000, 40_000, 4_000, 400
N_CUSTOMERS = 400
N_INVOICES = 300
HISTORY_D = 548
LEFT_D_AGO = 75


def build(seed: int = 20260101, scale: float = 1.0, as_of: datetime = datetime(2026, 11, 21, tzinfo=UTC)) -> Company:
    """The company as it stands at `as_of` (with a time zone): the last things happened the day before.

    scale multiplies clients, deals, calls, tasks and chats; the number of managers grows with its root.
    """
    if as_of.tzinfo is None:
        raise ValueError("as_of needs a time zone")
    now = int(as_of.timestamp())
    now -= (now + MSK_S) % DAY  # from the local midnight on nothing has happened yet
    started_at, left_at = now - HISTORY_D * DAY, now - LEFT_D_AGO * DAY
    calendar = Calendar(started_at // DAY - 700, now // DAY)

    def dice(section: str) -> Random:
        return Random(f"{seed}:{section}")

    users = office.hire(dice("users"), scale=scale, left_at=left_at)
    managers = [user.id for user in users[1:]]
    leaver_id = managers[office.LEAVER_NO]
    drafts = draw_clients(
        dice("clients"), n=max(round(N_CLIENTS * scale), 20), started_at=started_at, now=now, users=users
    )
    cards = Cards(dice("cards"), now)
    for draft in drafts:
        cards.make(draft)
    cards.spam(managers, max(round(60 * scale), 3), started_at=started_at)
    cards.merge(drafts, max(round(120 * scale), 12))

    plan = plan_deals(dice("plan"), drafts, n=max(round(N_DEALS * scale), 60), started_at=started_at, now=now)
    _without_cards(dice("nobody"), plan, drafts, managers, leaver_id)
    deals = make_deals(dice("deals"), plan, calendar, now=now, started_at=started_at, leaver=(leaver_id, left_at))
    rng = dice("calls")
    phone = Phone(rng, calendar, now=now, started_at=started_at, managers=managers, left_at=left_at)
    n_conversations = round(N_CALLS * scale / NOTES_PER_CONVERSATION)
    wish_calls(
        rng, drafts, deals.deals, deals.moves, n=n_conversations, now=now, started_at=started_at, leaver_id=leaver_id
    )
    call_everybody(phone, drafts, deals.deals, rng)

    tired = (managers[office.BURNOUT_NO], phone.burnout_from)
    tasks = make_tasks(dice("tasks"), drafts, deals.deals, calendar, n=round(N_TASKS * scale), now=now, tired=tired)
    talks, messages = make_chats(
        dice("chats"), drafts, deals.deals, calendar, n=round(N_CHATS * scale), now=now, started_at=started_at
    )
    notes = make_notes(
        dice("notes"),
        drafts,
        deals.deals,
        calendar,
        n=max(round(N_NOTES * scale), 12),
        missed=[
            (one.client_no, one.at) for one in phone.conversations if one.is_in and not (one.is_answered or one.kind)
        ],
        first_id=FIRST_NOTE + len(phone.notes),
        now=now,
        started_at=started_at,
    )
    requests = make_requests(
        dice("requests"),
        n=max(round(40 * scale), 3),
        now=now,
        first_deal_id=18_800_001 + len(deals.deals),
        first_contact_id=27_700_001 + len(cards.contacts),
    )
    clients, firms, contacts = _settled(drafts, cards, deals.deals)
    customers, purchases = make_customers(
        dice("customers"), clients, n=max(round(N_CUSTOMERS * scale), 3), started_at=started_at, now=now
    )
    events = _joined(cards.events, deals.events)
    return Company(
        seed=seed,
        scale=scale,
        as_of=datetime.fromtimestamp(now, UTC),
        tz="Europe/Moscow",
        account_id=office.ACCOUNT_ID,
        name="Окна Волги",
        subdomain="volga",
        started_at=started_at,
        groups=office.GROUPS,
        users=users,
        pipelines=office.PIPELINES,
        loss_reasons=office.LOSS_REASONS,
        sources=office.SOURCES,
        task_types=office.TASK_TYPES,
        tags=office.TAGS,
        fields=office.FIELDS + catalogs.FIELDS,
        products=office.PRODUCTS,
        invoices=catalogs.make_invoices(dice("invoices"), deals.deals, n=max(round(N_INVOICES * scale), 30), now=now),
        clients=clients,
        contacts=contacts,
        firms=firms,
        deals=deals.deals,
        moves=deals.moves,
        owner_changes=deals.owner_changes,
        price_changes=deals.price_changes,
        card_events=events,
        merges=cards.merges,
        conversations=phone.conversations,
        calls=numbered(phone.notes),
        notes=notes,
        tasks=tasks,
        talks=talks,
        messages=messages,
        requests=requests,
        customers=customers,
        purchases=purchases,
        planted=Planted(
            lunch_user_id=managers[office.LUNCH_NO],
            leaver_user_id=leaver_id,
            burnout_user_id=managers[office.BURNOUT_NO],
            bottleneck=office.BOTTLENECK,
            doubtful_reason_ids=(office.NOT_REACHED,),
            doubtful_deal_ids=_doubtful(deals.deals, phone),
            garbage_field_ids=office.GARBAGE_FIELDS,
            burnout_from=phone.burnout_from,
            left_at=left_at,
        ),
    )


def _without_cards(
    rng: Random, plan: list[tuple[int, Draft]], drafts: list[Draft], managers: list[int], leaver_id: int
) -> None:
    """Some deals hang on no card at all: each is a client of its own."""
    others = [user for user in managers if user != leaver_id]
    for place in range(len(plan)):
        if rng.random() < 0.005:
            draft = Draft(len(drafts), "lead", "once", rng.choice(others), 0, plan[place][0])
            drafts.append(draft)
            plan[place] = (plan[place][0], draft)


def _settled(drafts: list[Draft], cards: Cards, deals: list[Deal]) -> tuple[list[Client], list[Firm], list[Contact]]:
    """Clients as planted; cards changed as late as their deals were opened."""
    earliest: dict[int, int] = {}
    for deal in deals:
        earliest[deal.client_no] = min(deal.created_at, earliest.get(deal.client_no, deal.created_at))
    clients = [
        Client(
            draft.no,
            draft.kind,
            draft.root,
            draft.user_id,
            draft.previous_user_id,
            min(draft.created_at, earliest.get(draft.no, draft.created_at))
            if draft.kind != "lead"
            else earliest[draft.no],
            draft.company_id,
            tuple(draft.contact_ids),
            tuple(draft.phones),
        )
        for draft in drafts
    ]
    return clients, cards.firms, cards.contacts


def _joined(first: Columns[CardEvent], second: Columns[CardEvent]) -> Columns[CardEvent]:
    for ours, more in zip(first.columns, second.columns, strict=True):
        ours.extend(more)
    at = first.column("at")
    return first.reordered(sorted(range(len(first)), key=at.__getitem__))


def _doubtful(deals: list[Deal], phone: Phone) -> tuple[int, ...]:
    """Deals lost as "could not be reached" although somebody had talked to the client for a minute or more."""
    spoken: dict[int, list[int]] = {}
    for conversation in phone.conversations:
        if conversation.talk_s >= 60 and not conversation.kind:
            spoken.setdefault(conversation.client_no, []).append(conversation.at)
    return tuple(
        deal.id
        for deal in deals
        if deal.loss_reason_id == office.NOT_REACHED
        and not deal.deleted_at
        and any(deal.created_at <= at < deal.closed_at for at in spoken.get(deal.client_no, ()))
    )
