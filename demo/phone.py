"""Conversations of the demo company, and the notes a telephony writes of them, clean and dirty.

First comes what really happened (`Conversation`), then its traces: the same call on the contact and on the deal, legs
of a ring group, doubles without an id, hidden numbers. Whoever judges calls has to find the former from the latter.
"""

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from random import Random
from typing import NamedTuple

from demo import office
from demo.model import (
    COMPANY,
    CONTACT,
    DAY,
    DOUBLE,
    LEAD,
    PASSED_ON,
    PLAIN,
    CallNote,
    Columns,
    Conversation,
    Deal,
    Move,
)
from demo.office import MSK_S, Calendar
from demo.people import Draft

FIRST_NOTE = 66_500_001
FREE, TALKED, SHORT, ATTEMPT = range(4)
"""What a wished call must become: whatever chance gives, answered and long, answered but too short, unanswered."""
APART_S = 2_700
"""Between two conversations of one client, so that nothing can be taken for a leg or a double of another."""
NOTES_PER_CONVERSATION = 1.165
NULL_DURATION = -1


class Ring(NamedTuple):
    """One note of a call before it gets its number. written: when the telephony wrote it."""

    at: int
    written: int
    user: int
    is_in: int
    duration: int
    status: int
    phone: int
    uniq: int
    provider: int


class Phone:
    """Makes conversations and call notes, client by client."""

    def __init__(
        self, rng: Random, calendar: Calendar, *, now: int, started_at: int, managers: Sequence[int], left_at: int
    ) -> None:
        self._rng, self._calendar, self._now, self._started_at = rng, calendar, now, started_at
        self._lunch = managers[office.LUNCH_NO]
        self._burnout = managers[office.BURNOUT_NO]
        self._leaver = managers[office.LEAVER_NO]
        self._managers, self._left_at = managers, left_at
        self.burnout_from = now - 28 * DAY
        self.conversations: Columns[Conversation] = Columns(Conversation, "iibbiibb")
        self.notes: Columns[CallNote] = Columns(CallNote, "ibiiiiiibibqqbbb")
        self._n_uniq = 0
        self._old_uniqs: list[tuple[int, int]] = []

    def talk(self, draft: Draft, deals: Sequence[Deal]) -> None:
        """All conversations of one client in order of time, each with its notes."""
        rng = self._rng
        cards = Cards(draft, deals)
        free_at, ends_at = 0, draft.quiet_from or self._now
        quiet = False
        for wished_at, wished in sorted(draft.calls):
            wish = wished
            at = self._calendar.moment(rng, wished_at) if wish == FREE else wished_at
            if at < free_at:
                at = free_at + rng.randrange(60, 900)
            if not self._started_at <= at < self._now - 2_000 or quiet:
                continue
            if at >= ends_at and wish == FREE:
                if rng.random() > 0.15:
                    continue
                wish = SHORT if rng.random() < 0.4 else ATTEMPT  # an attempt or a few words are no touch
            free_at, quiet = self._one(draft, cards, at, wish)

    def _one(self, draft: Draft, cards: "Cards", at: int, wish: int) -> tuple[int, bool]:
        """One conversation. Returns when the client is free again, and whether all is silence from then on."""
        rng = self._rng
        owner = draft.user_at(at)
        is_orphan = owner == self._leaver and at >= self._left_at - 5 * DAY
        is_tired = owner == self._burnout and at >= self.burnout_from
        if is_tired and rng.random() < 0.5 + 0.4 * (at - self.burnout_from) / (self._now - self.burnout_from):
            return at, False  # from week to week more is left undone
        user = owner
        if is_orphan or rng.random() < 0.04:
            user = self._colleague(owner)
        is_in = wish == FREE and rng.random() < 0.36
        if is_in and not is_orphan and rng.random() < self._miss_chance(owner, at, is_tired):
            return self._missed(draft, cards, at, owner)
        if wish == ATTEMPT or (wish == FREE and not is_in and rng.random() < 0.36):
            self._attempt(draft, cards, at, user)
            return at + APART_S, False
        talk_s = rng.randrange(2, 10) if wish == SHORT or (wish == FREE and rng.random() < 0.05) else self._talk_s()
        if wish == FREE and is_tired:
            talk_s = max(talk_s // 2, 1)
        self._answered(draft, cards, at, user, is_in=bool(is_in), talk_s=talk_s)
        return at + talk_s + APART_S, False

    def _miss_chance(self, user: int, at: int, is_tired: bool) -> float:
        hour = (at + MSK_S) % DAY // 3600
        if not 9 <= hour < 18:
            return 0.6
        if user == self._lunch and hour == 13:
            return 0.85
        return 0.16 if is_tired else 0.06

    def _missed(self, draft: Draft, cards: "Cards", at: int, owner: int) -> tuple[int, bool]:
        """A missed call and what came of it."""
        rng = self._rng
        is_recent = at > self._now - 33 * DAY
        is_lunch = owner == self._lunch and (at + MSK_S) % DAY // 3600 == 13
        n_rung = rng.choice((2, 3)) if rng.random() < 0.12 and not is_lunch else 1
        self._record(draft, cards, at, is_in=1, is_answered=0, talk_s=0, user=owner, n_rung=n_rung)
        chance = rng.random() * (0.4 if is_lunch and is_recent else 1.0)
        again = at + APART_S + 60
        if chance < 0.17:
            return again, is_recent  # nobody ever called back
        if chance < 0.27:
            attempt_at = at + rng.randrange(300, 40_000)
            if attempt_at < self._now - 2_000:
                self._attempt(draft, cards, attempt_at, owner)
            return attempt_at + APART_S, is_recent
        if chance < 0.40:
            back_at = at + APART_S + rng.randrange(0, 7_000)
            if back_at < self._now - 2_000:
                self._answered(draft, cards, back_at, owner, is_in=True, talk_s=self._talk_s())
            return back_at + 2 * APART_S, False
        back_at = self._calendar.not_before(rng, at + int(rng.expovariate(1 / 2_400)) + 120)
        if back_at < self._now - 2_000:
            self._answered(draft, cards, back_at, owner, is_in=False, talk_s=self._talk_s())
        return back_at + 2 * APART_S, False

    def _attempt(self, draft: Draft, cards: "Cards", at: int, user: int) -> None:
        self._record(draft, cards, at, is_in=0, is_answered=0, talk_s=0, user=user, n_rung=1)

    def _answered(self, draft: Draft, cards: "Cards", at: int, user: int, *, is_in: bool, talk_s: int) -> None:
        self._record(draft, cards, at, is_in=int(is_in), is_answered=1, talk_s=talk_s, user=user, n_rung=1)

    def _talk_s(self) -> int:
        return min(int(10 + math.exp(self._rng.gauss(4.5, 0.9))), 1_800)

    def _colleague(self, user: int) -> int:
        """Somebody else who works here now."""
        others = [m for m in self._managers if m not in {user, self._leaver, self._lunch}]
        return self._rng.choice(others)

    def _record(
        self,
        draft: Draft,
        cards: "Cards",
        at: int,
        *,
        is_in: int,
        is_answered: int,
        talk_s: int,
        user: int,
        n_rung: int,
    ) -> None:
        rng = self._rng
        is_transfer = bool(is_answered and is_in and talk_s >= 60 and rng.random() < 0.015)
        is_unmeasured = is_answered and not is_transfer and talk_s >= 60 and rng.random() < 0.004
        is_voicemail = bool(not is_answered and is_in and n_rung == 1 and rng.random() < 0.08)
        rings = bool(is_answered and is_in and not is_transfer and not is_unmeasured and rng.random() < 0.09)
        rung = n_rung if not is_answered else 1
        truth_user = 0 if rung > 1 else user
        self.conversations.append(
            (draft.no, at, is_in, is_answered, -1 if is_unmeasured else talk_s, truth_user, rung, 0)
        )
        phone = rng.choice(draft.phones)
        card = cards.pick(rng, at)
        provider = rng.randrange(3)
        uniq = 0 if rng.random() < 0.05 else self._uniq(at, provider, is_in)
        written = at + talk_s + rng.randrange(1, 40)
        if rng.random() < 0.01:
            written = min(written + rng.randrange(3_600, 20 * 3_600), self._now - 60)
        status = self._status(is_answered, is_in, is_voicemail)
        duration = NULL_DURATION if is_unmeasured else talk_s
        if is_unmeasured:
            status = 4
        if is_voicemail:
            duration = rng.randrange(8, 40)
        ring = Ring(at, written, user, is_in, duration, status, phone, uniq, provider)
        if n_rung > 1 or rings:
            self._legs(card, ring, n_rung=n_rung, is_answered=rings)
        elif is_transfer:
            self._transfer(card, ring)
        else:
            self._note(card, ring)
            if not is_unmeasured and not is_voicemail:
                self._double(card, cards, ring)

    def _transfer(self, card: tuple[int, int], ring: Ring) -> None:
        """Two people talk to the client one after the other."""
        first = ring.duration // 3
        ring = ring._replace(status=4, uniq=ring.uniq or self._uniq(ring.at, ring.provider, ring.is_in))
        self._note(card, ring._replace(duration=first))
        other = self._colleague(ring.user)
        second = ring._replace(at=ring.at + first + 2, duration=ring.duration - first, user=other)
        self._note(card, second, role=PASSED_ON)

    def _legs(self, card: tuple[int, int], ring: Ring, *, n_rung: int, is_answered: bool) -> None:
        """A ring group: several phones ring a few seconds apart, the last may be answered."""
        rng = self._rng
        ring = ring._replace(uniq=ring.uniq or self._uniq(ring.at, ring.provider, ring.is_in))
        others = [m for m in self._managers if m not in {ring.user, self._leaver}]
        n_others = rng.randrange(1, 3) if is_answered else n_rung - 1
        leg_at = ring.at
        for other in rng.sample(others, min(n_others, len(others))):
            self._note(card, ring._replace(at=leg_at, user=other, duration=0, status=rng.choice((6, 0))))
            leg_at += rng.randrange(2, 5)
        if is_answered:
            self._note(card, ring._replace(at=leg_at))
        else:
            self._note(card, ring._replace(at=leg_at, duration=0, status=6))

    def _double(self, card: tuple[int, int], cards: "Cards", ring: Ring) -> None:
        """The same call once more: on the deal beside the contact, or by a second integration without an id."""
        rng = self._rng
        chance = rng.random()
        other = cards.deal_open_at(ring.at)
        if chance < 0.09 and ring.uniq > 0 and other and card[0] != LEAD:
            shift = rng.randrange(0, 30)
            again_at = ring._replace(at=ring.at + shift, written=ring.written + shift)
            self._note((LEAD, other), again_at, role=DOUBLE)
        elif chance < 0.11:
            shift = rng.randrange(0, 4)
            again = max(ring.duration - rng.randrange(0, 2), 1) if ring.duration >= 15 else ring.duration
            told = ring._replace(at=ring.at + shift, written=ring.written + shift, duration=again, uniq=0)
            self._note(card, told, role=DOUBLE)

    def _status(self, is_answered: int, is_in: int, is_voicemail: bool) -> int:
        chance = self._rng.random()
        if is_voicemail:
            return 1
        if is_answered:
            return 4 if chance < 0.85 else (0, 2, 8)[int(chance * 100) % 3]
        return (6, 6, 7, 0, 3, 4)[int(chance * 6)]  # 4: many integrations always send it

    def _uniq(self, at: int, provider: int, is_in: int) -> int:
        """An id of the telephony; now and then one it has used before, days ago."""
        rng = self._rng
        chance = rng.random()
        if chance < 0.003 and self._old_uniqs:
            old_at, old = rng.choice(self._old_uniqs)
            if abs(old_at - at) > DAY:
                return old
        self._n_uniq += 1
        if chance > 0.996:
            return -self._n_uniq
        if chance < 0.05 and len(self._old_uniqs) < 500:
            self._old_uniqs.append((at, self._n_uniq))
        return self._n_uniq

    def _note(self, card: tuple[int, int], ring: Ring, *, role: int = PLAIN) -> None:
        chance = self._rng.random()
        user, created_by, named = ring.user, ring.user, 0
        if chance < 0.1:
            created_by = office.ROBOT
        elif chance < 0.15:
            created_by, named = office.HEAD, user
        elif chance < 0.17:
            named = -1  # a name instead of an id
        kind, entity_id = card
        written, style = max(ring.written, ring.at), self._rng.randrange(128)
        _, _, _, is_in, *rest = ring
        self.notes.append((0, kind, entity_id, ring.at, written, created_by, user, named, is_in, *rest, style, role))

    def noise(self, draft: Draft, cards: "Cards", n: int) -> None:
        """Calls that are no conversation with a client: hidden numbers that rang in vain."""
        rng = self._rng
        for _ in range(n):
            at = self._calendar.moment(rng, self._started_at + int(rng.random() * (self._now - self._started_at)))
            user = draft.user_at(at)
            if not draft.created_at <= at < self._now - 2_000 or (user == self._leaver and at >= self._left_at):
                continue
            self.conversations.append((draft.no, at, 1, 0, 0, user, 1, 1))
            self._note(cards.pick(rng, at), Ring(at, at + 5, user, 1, 0, 6, 0, self._uniq(at, 0, 1), 0))

    def consult(self, draft: Draft, cards: "Cards", conversation: Conversation) -> None:
        """A word between colleagues some minutes before a long call to the client: written on his card all the same."""
        rng = self._rng
        at = conversation.at - rng.randrange(300, 900)
        user = conversation.user_id
        self.conversations.append((draft.no, at, 0, 1, 40, user, 1, 2))
        phone = 100 + rng.randrange(1, 40)
        self._note(cards.pick(rng, at), Ring(at, at + 45, user, 0, 40, 4, phone, self._uniq(at, 0, 0), 0))


class Cards:
    """Which cards of a client a call can be written on."""

    def __init__(self, draft: Draft, deals: Sequence[Deal]) -> None:
        self._draft = draft
        self._deals = [deal for deal in deals if not deal.deleted_at and not deal.restored_at]

    def pick(self, rng: Random, at: int) -> tuple[int, int]:
        """The contact mostly, else the company or the open deal."""
        chance = rng.random()
        if chance < 0.12 and (deal_id := self.deal_open_at(at)):
            return LEAD, deal_id
        if chance < 0.25 and self._draft.company_id:
            return COMPANY, self._draft.company_id
        return CONTACT, rng.choice(self._draft.contact_ids)

    def deal_open_at(self, at: int) -> int:
        """The newest deal open at `at`, 0 if none."""
        for deal in reversed(self._deals):
            if deal.created_at <= at and (not deal.closed_at or at < deal.closed_at):
                return deal.id
        return 0


def wish_calls(  # noqa: PLR0912 - one branch for each occasion to talk
    rng: Random, drafts: Sequence[Draft], deals: Sequence[Deal], moves: Columns[Move], *,
    n: int, now: int, started_at: int, leaver_id: int,
) -> None:  # fmt: skip
    """Plan when to talk to whom, about `n` conversations: around the moves of deals, and to keep in touch."""
    by_no = {draft.no: draft for draft in drafts}
    wished: list[tuple[Draft, int]] = []
    bases: dict[int, bool] = defaultdict(bool)
    owner_of = {deal.id: by_no[deal.client_no] for deal in deals}
    for deal in deals:
        draft = by_no[deal.client_no]
        if not draft.contact_ids:
            continue
        bases[draft.no] |= not deal.deleted_at
        wished.append((draft, deal.created_at + int(rng.expovariate(1 / 7_200)) + 120))
        until = deal.closed_at or min(deal.created_at + 40 * DAY, now)
        wished += [
            (draft, deal.created_at + int(rng.random() * (until - deal.created_at))) for _ in range(rng.randrange(3))
        ]
    for move in moves:
        draft = owner_of[move.deal_id]
        if draft.contact_ids and rng.random() < 0.45:
            wished.append((draft, move.at - rng.randrange(900, 9_000)))
    for draft in drafts:
        if not bases[draft.no]:
            continue
        draft.is_kept = rng.random() < (0.25 if draft.user_id == leaver_id else 0.8)
        if not draft.is_kept:
            draft.quiet_from = max(now - int(rng.uniform(62, 320) * DAY), started_at)
        at = max(draft.created_at, started_at) + rng.uniform(5, 50) * DAY
        while at < (draft.quiet_from or now):
            wished.append((draft, int(at)))
            at += rng.uniform(25, 55) * DAY
    share = n / len(wished) if wished else 0
    for draft, at in wished:
        for _ in range(int(share) + (rng.random() < share % 1)):
            draft.calls.append((at + rng.randrange(600), FREE))
    for draft in drafts:
        if draft.is_kept:
            first = max(now - 56 * DAY, draft.created_at + 3_600)
            at = first + int(rng.random() * max(now - DAY - first, 0))
            at += 9 * 3600 + rng.randrange(9 * 3600) - (at + MSK_S) % DAY
            draft.calls.append((max(at, first), TALKED))
        elif draft.quiet_from and rng.random() < 0.06:
            _edge(rng, draft, now)


def _edge(rng: Random, draft: Draft, now: int) -> None:
    """The last touch lies exactly on the border: 60 local days ago (not forgotten) or 61 (forgotten)."""
    days = rng.choice((60, 61))
    today = now - (now + MSK_S) % DAY
    at = today - days * DAY + 9 * 3600 + rng.randrange(9 * 3600)
    draft.quiet_from = min(at, now)
    draft.calls = [(when, wish) for when, wish in draft.calls if when < at - DAY]
    draft.calls.append((at, TALKED))


def call_everybody(phone: Phone, drafts: Sequence[Draft], deals: Sequence[Deal], rng: Random) -> None:
    """Talk to all clients, and add what the telephony writes besides."""
    of_client: dict[int, list[Deal]] = defaultdict(list)
    for deal in deals:
        of_client[deal.client_no].append(deal)
    for draft in drafts:
        if not draft.contact_ids:
            continue
        first = len(phone.conversations)
        own = of_client.get(draft.no, [])
        phone.talk(draft, own)
        if rng.random() < 0.05:
            cards = Cards(draft, own)
            phone.noise(draft, cards, 1)
            _consult(phone, draft, cards, first, rng)


def _consult(phone: Phone, draft: Draft, cards: Cards, first: int, rng: Random) -> None:
    at = phone.conversations.column("at")
    long = [
        number
        for number in range(first, len(phone.conversations))
        if (found := phone.conversations[number]).is_answered
        and not found.is_in
        and not found.kind
        and found.talk_s >= 60
        and found.user_id
    ]
    if not long:
        return
    chosen = rng.choice(long)
    times = sorted(at[first:])
    place = bisect_right(times, at[chosen] - 1)
    if place and at[chosen] - times[place - 1] < APART_S:
        return
    phone.consult(draft, cards, phone.conversations[chosen])


def numbered(notes: Columns[CallNote]) -> Columns[CallNote]:
    """The notes in the order they were written, with ids."""
    written = notes.column("updated_at")
    result = notes.reordered(sorted(range(len(notes)), key=written.__getitem__))
    ids = result.column("id")
    for number in range(len(ids)):
        ids[number] = FIRST_NOTE + number
    return result
