"""What must be found in the demo company: row counts of a complete sync, and the four metrics by plain Python.

Computed from what was planted (conversations, messages, moves, clients), never from call notes or events and never with
our own metrics, so that both sides can be wrong only on their own. Rules are the catalogue's (`metrics.md`): R-CLIENT,
R-MERGE, R-DEDUP, R-OUTCOME, R-USER; A3, B2, D6, E2, E6.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

from demo import office
from demo.counts import counts
from demo.model import COMPANY, CONTACT, DAY, LEAD, Company, Conversation, Deal, Move
from demo.notes import LETTERS, is_from_us
from demo.office import LOST, MSK_S, OPEN_STAGES, WON

A3_DAYS, JUDGE_AFTER_S = 30, 86_400
B2_DAYS, MEANINGFUL_S = 60, 10
E6_DAYS, MATURE_D = 365, 60
D6_ACTIVE_D, D6_CHURN_D, D6_MONTHS = 90, 180, 13
STATES = ("called_back", "client_recovered", "messaged", "attempted_only", "never", "pending")
EPOCH = date(1970, 1, 1)


class Written(NamedTuple):
    """A message between a person of ours and a client: what bots write is none."""

    client_no: int
    at: int
    is_in: bool


TalksOf = dict[int, list[Conversation]]
MovesOf = dict[int, list[Move]]


def answer_key(company: Company) -> dict[str, Any]:
    """Everything a sync and the metrics of this company must come to, ready for JSON.

    Users are `user:<id>`, clients their R-CLIENT roots, money in minor units. B2 `num`, `den`, `by_user` and
    `forgotten` leave out clients of people who left: those are in `reassign` and `reassign_forgotten`.
    """
    planted = company.planted
    talks, moves = of_clients(company), moves_by_deal(company)
    return {
        "seed": company.seed,
        "scale": company.scale,
        "as_of": company.as_of.astimezone(UTC).isoformat(),
        "tz": company.tz,
        "account_id": company.account_id,
        "counts": counts(company),
        "A3": missed_threads(company, talks),
        "B2": forgotten_clients(company, talks),
        "E6": bottleneck(company, moves, planted.bottleneck[0]),
        "E6_by_pipeline": [
            bottleneck(company, moves, pipeline_id) for pipeline_id in OPEN_STAGES if pipeline_id != office.ARCHIVED
        ],
        "D6": client_flows(company, moves),
        "lunch_user_id": f"user:{planted.lunch_user_id}",
        "leaver_user_id": f"user:{planted.leaver_user_id}",
        "burnout_user_id": f"user:{planted.burnout_user_id}",
        "burnout_from": datetime.fromtimestamp(planted.burnout_from, UTC).isoformat(),
        "bottleneck_stage_id": f"status:{planted.bottleneck[1]}",
        "doubtful_reason_ids": [f"loss_reason:{number}" for number in planted.doubtful_reason_ids],
        "doubtful_deal_ids": [f"lead:{number}" for number in planted.doubtful_deal_ids],
        "garbage_field_ids": [f"field:{number}" for number in planted.garbage_field_ids],
    }


def local_day(at: int) -> int:
    """Days since 1970 of the local date of an instant."""
    return (at + MSK_S) // DAY


def as_date(day: int) -> date:
    return EPOCH + timedelta(days=day)


def of_clients(company: Company) -> dict[int, list[Conversation]]:
    """Conversations with the clients themselves, in order of time, by client."""
    found: dict[int, list[Conversation]] = defaultdict(list)
    for conversation in company.conversations:
        if not conversation.kind:
            found[conversation.client_no].append(conversation)
    for talks in found.values():
        talks.sort(key=lambda talk: talk.at)
    return found


def clients_by_card(company: Company) -> dict[tuple[int, int], int]:
    """Number of the client by kind and id of each card that is still there."""
    cards = {(LEAD, deal.id): deal.client_no for deal in company.deals if not deal.deleted_at}
    for client in company.clients:
        cards |= {(CONTACT, number): client.no for number in client.contact_ids}
        if client.company_id:
            cards[COMPANY, client.company_id] = client.no
    return cards


def written(company: Company) -> Iterator[Written]:
    """All that people wrote: chats, sms and mail. A person of ours has an id, a bot has none."""
    cards = clients_by_card(company)
    client_of_talk = {talk.id: cards[CONTACT, talk.contact_id] for talk in company.talks}
    for message in company.messages:
        if message.is_in or message.user_id:
            yield Written(client_of_talk[message.talk_id], message.at, bool(message.is_in))
    for note in company.notes:
        if note.note_type in LETTERS and (note.created_by or not is_from_us(note)):
            yield Written(cards[note.entity_kind, note.entity_id], note.created_at, not is_from_us(note))


def meetings(company: Company) -> Iterator[tuple[int, int]]:
    """Client and instant of each meeting that took place: a task to meet, done."""
    cards = clients_by_card(company)
    to_meet = {kind.id for kind in company.task_types if kind.code == "MEETING"}
    for task in company.tasks:
        client_no = cards.get((task.entity_kind, task.entity_id))
        if task.type_id in to_meet and task.completed_at and not task.deleted_at and client_no is not None:
            yield client_no, task.completed_at


def missed_threads(company: Company, talks_of: TalksOf) -> dict[str, Any]:
    """A3: threads whose first missed call lies in the last 30 complete local days, by what became of them.

    A thread counts for the only employee rung by its first call, else (a ring group, a leaver) for the client's
    responsible.
    """
    today = local_day(company.now)
    first_day = today - A3_DAYS
    by_user: dict[str, Counter[str]] = defaultdict(Counter)
    unresolved = []
    spam = spam_clients(company)
    answers: dict[int, list[int]] = defaultdict(list)
    for letter in written(company):
        if not letter.is_in:
            answers[letter.client_no].append(letter.at)
    for client_no, talks in talks_of.items():
        if client_no in spam:
            continue
        client = company.clients[client_no]
        for first, state in threads(talks, company.now, answers[client_no]):
            if not first_day <= local_day(first.at) < today:
                continue
            is_known = first.user_id and first.user_id != company.planted.leaver_user_id
            user_id = first.user_id if is_known else client.user_id
            by_user[f"user:{user_id}"][state] += 1
            if state in {"never", "attempted_only", "pending"}:
                unresolved.append({"client_id": client.root, "state": state})
    states = {state: sum(found[state] for found in by_user.values()) for state in STATES}
    judged = sum(states.values()) - states["pending"]
    return {
        "period": [as_date(first_day).isoformat(), as_date(today).isoformat()],
        "states": states,
        "by_user": {user: {state: found[state] for state in STATES} for user, found in sorted(by_user.items())},
        "never_rate": states["never"] / judged if judged else None,
        "not_reached_rate": (states["never"] + states["attempted_only"]) / judged if judged else None,
        "lunch_user_id": f"user:{company.planted.lunch_user_id}",
        "unresolved": sorted(unresolved, key=lambda row: (row["client_id"], row["state"])),
    }


def spam_clients(company: Company) -> set[int]:
    """Clients whose every deal was lost as spam: their missed calls are nobody's fault (R-CALLSCOPE)."""
    reasons = {reason.id for reason in company.loss_reasons if reason.name == "Спам"}
    is_spam: dict[int, bool] = {}
    for deal in company.deals:
        if not deal.deleted_at:
            lost_as_spam = deal.stage_id == LOST and deal.loss_reason_id in reasons
            is_spam[deal.client_no] = is_spam.get(deal.client_no, True) and lost_as_spam
    return {client_no for client_no, whole in is_spam.items() if whole}


def threads(talks: Sequence[Conversation], now: int, answers: Sequence[int] = ()) -> Iterator[tuple[Conversation, str]]:
    """Missed threads of one client: the missed call that opened each, and its state at `now`.

    answers: when people of ours wrote to the client.
    """
    first: Conversation | None = None
    is_attempted = False
    events: list[tuple[int, Conversation | None]] = [
        *((talk.at, talk) for talk in talks),
        *((at, None) for at in answers),
    ]
    for _, talk in sorted(events, key=lambda event: (event[0], event[1] is None)):
        if talk is None:
            if first is not None:
                yield first, "messaged"
                first = None
        elif first is None:
            if talk.is_in and not talk.is_answered:
                first, is_attempted = talk, False
        elif talk.is_answered:
            yield first, "client_recovered" if talk.is_in else "called_back"
            first = None
        elif not talk.is_in:
            is_attempted = True
    if first is not None:
        if now - first.at < JUDGE_AFTER_S:
            yield first, "pending"
        else:
            yield first, "attempted_only" if is_attempted else "never"


def forgotten_clients(company: Company, talks_of: TalksOf) -> dict[str, Any]:
    """B2: clients with a won or an open deal nobody has really talked to for more than 60 local days."""
    today = local_day(company.now)
    has_deal = {deal.client_no for deal in company.deals if not deal.deleted_at and deal.stage_id != LOST}
    by_user: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    lists: dict[bool, list[str]] = {True: [], False: []}
    totals = {True: [0, 0], False: [0, 0]}
    touches = last_touches(company, talks_of)
    for client in company.clients:
        if client.no not in has_deal:
            continue
        days = today - local_day(touches.get(client.no, client.created_at))
        is_forgotten, has_left = days > B2_DAYS, client.user_id == company.planted.leaver_user_id
        totals[has_left][0] += is_forgotten
        totals[has_left][1] += 1
        if not has_left:
            by_user[f"user:{client.user_id}"][0] += is_forgotten
            by_user[f"user:{client.user_id}"][1] += 1
        if is_forgotten:
            lists[has_left].append(client.root)
    return {
        "n_days": B2_DAYS,
        "num": totals[False][0],
        "den": totals[False][1],
        "by_user": {user: {"num": num, "den": den} for user, (num, den) in sorted(by_user.items())},
        "reassign": {"num": totals[True][0], "den": totals[True][1]},
        "forgotten": sorted(lists[False]),
        "reassign_forgotten": sorted(lists[True]),
    }


def last_touches(company: Company, talks_of: TalksOf) -> dict[int, int]:
    """When somebody last really talked to, wrote to, heard from or met each client; without those nobody ever did."""
    touched = [
        *((no, talk.at) for no, talks in talks_of.items() for talk in talks if is_meaningful(talk)),
        *((letter.client_no, letter.at) for letter in written(company)),
        *meetings(company),
    ]
    last: dict[int, int] = {}
    for client_no, at in touched:
        last[client_no] = max(at, last.get(client_no, at))
    return last


def is_meaningful(talk: Conversation) -> bool:
    return bool(talk.is_answered) and talk.talk_s >= MEANINGFUL_S


def moves_by_deal(company: Company) -> dict[int, list[Move]]:
    """All moves of each deal, in order, whether amoCRM has an event of them or not."""
    found: dict[int, list[Move]] = defaultdict(list)
    for move in company.moves:
        found[move.deal_id].append(move)
    return found


def bottleneck(company: Company, moves: MovesOf, pipeline_id: int) -> dict[str, Any]:
    """E6: what losses at each stage of a pipeline cost, over deals created in the last 365 complete local days.

    Members are deals created at least 60 days ago that ever were in the pipeline; one that went on to another pipeline
    stays a member, neither won nor lost. leak = lost * tail * V, in minor units (not rounded).
    """
    today = local_day(company.now)
    first_day, last_at = today - E6_DAYS, company.now - MATURE_D * DAY
    stages = OPEN_STAGES[pipeline_id]
    reached, lost = [0] * len(stages), [0] * len(stages)
    won_prices: list[int] = []
    n = n_open = n_moved = 0
    for deal in company.deals:
        if deal.deleted_at or not (first_day <= local_day(deal.created_at) < today and deal.created_at <= last_at):
            continue
        visited = {(deal.first_pipeline_id, deal.first_stage_id)}
        visited |= {(move.to_pipeline_id, move.to_stage_id) for move in moves.get(deal.id, ())}
        if not any(pipeline == pipeline_id for pipeline, _ in visited):
            continue
        n += 1
        is_here = deal.pipeline_id == pipeline_id
        top = max((i for i, stage in enumerate(stages) if (pipeline_id, stage) in visited), default=-1)
        if (pipeline_id, WON) in visited:
            top = len(stages) - 1
        for i in range(top + 1):
            reached[i] += 1
        if not is_here:
            n_moved += 1
        elif deal.stage_id == WON:
            won_prices.append(deal.price or 0)
        elif deal.stage_id == LOST:
            if top >= 0:
                lost[top] += 1
        else:
            n_open += 1
    n_won = len(won_prices)
    value = 100 * sum(won_prices) / n_won if n_won else 0.0
    after = [*reached[1:], n_won]
    conv = [after[i] / reached[i] if reached[i] else None for i in range(len(stages))]
    tail = [1.0] * len(stages)
    for i in range(len(stages) - 2, -1, -1):
        tail[i] = tail[i + 1] * (conv[i + 1] or 0.0)
    leaks = [lost[i] * tail[i] * value for i in range(len(stages))]
    rows = [
        {
            "stage_id": f"status:{stages[i]}",
            "reached": reached[i],
            "lost": lost[i],
            "conv": conv[i],
            "tail": tail[i],
            "leak_minor": leaks[i],
        }
        for i in range(len(stages))
    ]
    return {
        "pipeline_id": f"pipeline:{pipeline_id}",
        "period": [as_date(first_day).isoformat(), as_date(today).isoformat()],
        "mature_d": MATURE_D,
        "n": n,
        "won": n_won,
        "open": n_open,
        "moved": n_moved,
        "mean_won_minor": value,
        "bottleneck_stage_id": f"status:{stages[leaks.index(max(leaks))]}",
        "stages": rows,
    }


def won_at(deal: Deal, moves: list[Move]) -> int:
    """When the deal was won for good; an imported one when it was closed."""
    return next((move.at for move in reversed(moves) if move.to_stage_id == WON), deal.closed_at)


def client_flows(company: Company, moves: MovesOf) -> dict[str, Any]:
    """D6 by month: stocks at the month's last day (of the running month: at the date of as_of), and events in it."""
    sales: dict[int, list[int]] = defaultdict(list)
    for deal in company.deals:
        if deal.stage_id == WON and not deal.deleted_at:
            sales[deal.client_no].append(local_day(won_at(deal, moves.get(deal.id, []))))
    today = local_day(company.now)
    first = as_date(today).replace(day=1)
    starts = [_months_before(first, back) for back in range(D6_MONTHS - 1, -1, -1)]
    rows = {start: Counter[str]() for start in starts}
    for days in sales.values():
        days.sort()
        for start in starts:
            _count_month(rows[start], days, start, today)
    names = ("active", "at_risk", "churned", "new", "churned_n", "reactivated_n")
    return {
        "A": D6_ACTIVE_D,
        "C": D6_CHURN_D,
        "months": [{"month": start.isoformat(), **{name: rows[start][name] for name in names}} for start in starts],
    }


def _count_month(row: Counter[str], days: list[int], start: date, today: int) -> None:
    first = (start - EPOCH).days
    last = min((_months_before(start, -1) - EPOCH).days - 1, today)
    past = [day for day in days if day <= last]
    if not past:
        return
    since = last - past[-1]
    row["active" if since <= D6_ACTIVE_D else "at_risk" if since <= D6_CHURN_D else "churned"] += 1
    row["new"] += first <= past[0]
    for i, day in enumerate(past):
        following = past[i + 1] if i + 1 < len(past) else None
        gone_on = day + D6_CHURN_D + 1
        row["churned_n"] += first <= gone_on <= last and (following is None or following >= gone_on)
        row["reactivated_n"] += following is not None and first <= following <= last and following - day > D6_CHURN_D


def _months_before(start: date, back: int) -> date:
    month = start.year * 12 + start.month - 1 - back
    return date(month // 12, month % 12 + 1, 1)
