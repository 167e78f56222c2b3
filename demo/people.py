"""Clients of the demo company and their cards: persons, companies with several contacts, duplicates, spam."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from demo import office, words
from demo.model import COMPANY, CONTACT, DAY, DELETED, MERGED, CardEvent, Columns, Contact, Firm, Merge, User, Values

LIVES = (("once", 0.45), ("regular", 0.29), ("churner", 0.15), ("returned", 0.05), ("fresh", 0.06))
"""How clients buy, and how many of them do so."""


@dataclass
class Draft:
    """A client while he is being made up. quiet_from: nobody talks to him from then on."""

    no: int
    kind: str
    life: str
    user_id: int
    previous_user_id: int
    created_at: int
    handed_at: int = 0
    company_id: int = 0
    contact_ids: list[int] = field(default_factory=list)
    phones: list[int] = field(default_factory=list)
    quiet_from: int = 0
    is_kept: bool = False
    deal_times: list[int] = field(default_factory=list)
    calls: list[tuple[int, int]] = field(default_factory=list)
    lead_id: int = 0

    @property
    def root(self) -> str:
        """The id metrics know the client by: his company, else his contact, else his only deal."""
        if self.kind == "company":
            return f"company:{self.company_id}"
        return f"contact:{self.contact_ids[0]}" if self.kind == "contact" else f"lead:{self.lead_id}"

    def user_at(self, at: int) -> int:
        return self.previous_user_id if self.previous_user_id and at < self.handed_at else self.user_id


def draw_clients(rng: Random, *, n: int, started_at: int, now: int, users: Sequence[User]) -> list[Draft]:
    """`n` clients in the order they appeared. The leaver's are partly handed over to others, partly still his."""
    managers = users[1:]
    leaver = managers[office.LEAVER_NO]
    others = [m.id for m in managers if not m.left_at]
    drafts = []
    for _ in range(n):
        life = rng.choices([name for name, _ in LIVES], [share for _, share in LIVES])[0]
        if life == "fresh":
            created_at = now - int(rng.uniform(1, 90) * DAY)
        elif rng.random() < 0.4:
            created_at = started_at - int(rng.uniform(1, 600) * DAY)
        else:
            created_at = started_at + int(rng.random() * (now - started_at) * 0.94)
        manager = rng.choice(managers)
        user_id, previous, handed_at = manager.id, 0, 0
        if manager is leaver:
            if created_at > leaver.left_at - 10 * DAY:
                user_id = rng.choice(others)
            elif rng.random() < 0.55:
                previous, user_id = leaver.id, rng.choice(others)
                handed_at = leaver.left_at + int(rng.uniform(0.1, 4) * DAY)
        kind = "company" if rng.random() < 0.33 else "contact"
        drafts.append(Draft(0, kind, life, user_id, previous, created_at, handed_at))
    drafts.sort(key=lambda draft: draft.created_at)
    for number, draft in enumerate(drafts):
        draft.no = number
    return drafts


class Cards:
    """Makes contacts and companies with consecutive ids and phone numbers nobody else has."""

    def __init__(self, rng: Random, now: int) -> None:
        self.contacts: list[Contact] = []
        self.firms: list[Firm] = []
        self.events: Columns[CardEvent] = Columns(CardEvent, "bqqbq")
        self.merges: list[Merge] = []
        self._rng, self._now = rng, now
        self._n_phones = 0

    def phone(self) -> int:
        """A number of a range that is not given out: +7 999 0xx-xx-xx."""
        self._n_phones += 1
        return 79_990_000_000 + self._n_phones

    def contact(self, *, user_id: int, company_id: int, created_at: int, phones: Sequence[int]) -> Contact:
        rng = self._rng
        first, last = office.person(rng)
        number = 27_700_001 + len(self.contacts)
        if rng.random() < 0.15:
            first, last = f"{first} {last}", ""  # the whole name in the first field
        emails = (f"client{number}@example.{'org' if number % 3 else 'com'}",) if rng.random() < 0.4 else ()
        created_by = office.ROBOT if rng.random() < 0.4 else user_id
        updated_at = min(created_at + int(rng.expovariate(1 / (40 * DAY))), self._now - 3600)
        card = Contact(
            number, first, last, user_id, company_id, created_at, created_by, max(updated_at, created_at),
            typed(rng, phones), emails, self._contact_values(), self._tags(CONTACT, 0.08),
        )  # fmt: skip
        self.contacts.append(card)
        return card

    def firm(self, *, user_id: int, created_at: int, phones: Sequence[int]) -> Firm:
        rng = self._rng
        number = 27_705_001 + len(self.firms)  # overlaps the ids of contacts, as a key must hold the type
        name = f"{rng.choice(words.FORMS)} «{rng.choice(words.FIRM_FIRST)}{rng.choice(words.FIRM_LAST)}»"
        emails = (f"Office{number}@Example.org",) if rng.random() < 0.5 else ()
        updated_at = min(created_at + int(rng.expovariate(1 / (60 * DAY))), self._now - 3600)
        card = Firm(
            number, name, user_id, created_at, user_id, max(updated_at, created_at),
            typed(rng, phones), emails, self._firm_values(), self._tags(COMPANY, 0.1),
        )  # fmt: skip
        self.firms.append(card)
        return card

    def make(self, draft: Draft) -> None:
        """The cards of a client; their numbers and ids go back into the draft."""
        rng = self._rng
        if draft.kind == "company":
            office_phone = self.phone()
            firm = self.firm(user_id=draft.user_id, created_at=draft.created_at, phones=[office_phone])
            draft.company_id = firm.id
            draft.phones.append(office_phone)
        n_contacts = rng.choices((1, 2, 3, 4), (55, 25, 13, 7))[0] if draft.kind == "company" else 1
        for number in range(n_contacts):
            phones = [self.phone() for _ in range(2 if rng.random() < 0.12 else 1)]
            later = 0 if not number else int(rng.uniform(0, 0.5) * (self._now - draft.created_at))
            contact = self.contact(
                user_id=draft.user_id, company_id=draft.company_id, created_at=draft.created_at + later, phones=phones
            )
            draft.contact_ids.append(contact.id)
            draft.phones.append(phones[0])

    def spam(self, users: Sequence[int], n: int, *, started_at: int) -> None:
        """Contacts that were thrown away, a third of them also out of the trash; nothing hangs on them."""
        rng = self._rng
        for _ in range(n):
            created_at = started_at + int(rng.random() * (self._now - started_at) * 0.9)
            card = self.contact(user_id=rng.choice(users), company_id=0, created_at=created_at, phones=[self.phone()])
            deleted_at = created_at + int(rng.uniform(1, 5 * DAY))
            if deleted_at < self._now - DAY:
                self.contacts[-1] = card._replace(
                    deleted_at=deleted_at, updated_at=deleted_at, purged=rng.random() < 0.33
                )
                self.events.append((CONTACT, card.id, deleted_at, DELETED, card.user_id))

    def merge(self, drafts: Sequence[Draft], n: int) -> None:
        """Duplicates of living cards, merged into them; every tenth merge left no trace of the loser."""
        rng = self._rng
        seconds: set[int] = set()
        persons = [d for d in drafts if d.contact_ids and d.created_at < self._now - 60 * DAY]
        firms = [d for d in drafts if d.kind == "company" and d.created_at < self._now - 60 * DAY]
        if not persons:
            return
        for number in range(n):
            is_firm = number % 5 == 4 and bool(firms)
            draft = rng.choice(firms if is_firm else persons)
            into_id = draft.company_id if is_firm else draft.contact_ids[0]
            created_at = draft.created_at + int(rng.uniform(0.1, 0.6) * (self._now - draft.created_at))
            at = created_at + int(rng.uniform(0.05, 0.9) * (self._now - created_at))
            while any(second in seconds for second in range(at - 5, at + 6)):
                at -= 17  # merges apart in time: which loser goes with which winner is then evident
            seconds.add(at)
            created_at = min(created_at, at - 60)
            if is_firm:
                self.firm(user_id=draft.user_id, created_at=created_at, phones=[draft.phones[0]])
                loser_id, kind = self.firms[-1].id, COMPANY
                self.firms[-1] = self.firms[-1]._replace(deleted_at=at, updated_at=at, purged=True)
            else:
                self.contact(user_id=draft.user_id, company_id=0, created_at=created_at, phones=[draft.phones[-1]])
                loser_id, kind = self.contacts[-1].id, CONTACT
                self.contacts[-1] = self.contacts[-1]._replace(deleted_at=at, updated_at=at, purged=True)
            has_trace = number % 10 != 9
            self.merges.append(Merge(kind, loser_id, into_id, at, has_trace))
            self.events.append((kind, into_id, at, MERGED, draft.user_id))
            if has_trace:
                self.events.append((kind, loser_id, at, DELETED, draft.user_id))

    def _tags(self, kind: int, share: float) -> tuple[int, ...]:
        return (self._rng.choice(office.TAGS[kind]).id,) if self._rng.random() < share else ()

    def _contact_values(self) -> Values:
        rng = self._rng
        values: list[tuple[int, tuple[object, ...]]] = []
        if rng.random() < 0.45:
            is_garbage = rng.random() < 0.35
            values.append((office.POSITION, (rng.choice(words.GARBAGE if is_garbage else words.POSITIONS),)))
        if rng.random() < 0.1:
            values.append((office.BIRTHDAY, (rng.randrange(-400_000_000 // DAY, 1_000_000_000 // DAY) * DAY,)))
        if rng.random() < 0.2:
            values.append((office.ROLE, (991_001 + rng.randrange(3),)))
        return tuple(values)

    def _firm_values(self) -> Values:
        rng = self._rng
        values: list[tuple[int, tuple[object, ...]]] = []
        if rng.random() < 0.3:
            values.append((office.WEB, (f"https://firm{len(self.firms)}.example.org",)))
        if rng.random() < 0.5:
            values.append((office.ADDRESS, (f"ул. {rng.choice(words.STREETS)}, {rng.randrange(1, 150)}",)))
        if rng.random() < 0.6:
            values.append((office.INN, (str(7_700_000_000 + rng.randrange(10**8)),)))
        return tuple(values)


def typed(rng: Random, phones: Sequence[int]) -> tuple[str, ...]:
    """Numbers as people type them; now and then the same number twice in two spellings, or words instead."""
    written = [spelled(phone, rng.randrange(6)) for phone in phones]
    chance = rng.random()
    if chance < 0.03:
        written.append(spelled(phones[0], 5))
    elif chance < 0.04:
        written.append("нет номера")
    return tuple(written)


def spelled(phone: int, style: int) -> str:
    """One of the spellings seen in accounts."""
    digits = str(phone)
    area, a, b, c = digits[1:4], digits[4:7], digits[7:9], digits[9:11]
    return (
        f"+{digits}",
        digits,
        f"8{digits[1:]}",
        f"+7 ({area}) {a}-{b}-{c}",
        digits[1:],
        f"8 ({area}) {a}-{b}-{c}",
    )[style]
