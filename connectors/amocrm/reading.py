"""What mapping needs to know about the account, and what it notices on the way through one window."""

import re
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

from connectors.amocrm.settings import AmoSettings
from connectors.errors import Phrase
from connectors.money import to_minor
from connectors.paging import Json, whole
from connectors.records import LossReason, MergeLink, TaskType, User, Yield
from connectors.walk import Walk

ROBOT = "user:0"
NOTHING_SAID = (None, "")
ID = re.compile(r"([a-z]+:)?[1-9][0-9]*")
"""The source's own; one of several kinds has its kind before it."""


@dataclass
class Goods:
    """What runs have read of catalogs. Ids are the source's own, as text.

    kinds: amoCRM's type of each catalog. prices: of each product in minor units, by price field; "" is the usual one.
    invoices_catalog_id: as the account's settings say. unpriced: (product, deal) where a deal was read before its
    product; has_news: some came since that was kept for later runs.
    """

    kinds: dict[str, str] = field(default_factory=dict)
    prices: dict[str, dict[str, int]] = field(default_factory=dict)
    invoices_catalog_id: str | None = None
    unpriced: set[tuple[str, str]] = field(default_factory=set)
    has_news: bool = False

    def wait_for(self, product: str, deal: Any) -> None:
        """A deal has a product nobody has read yet."""
        self.unpriced.add((product, str(deal)))
        self.has_news = True

    def priced(self) -> set[str]:
        """Deals that waited for products which are known now."""
        return {deal for product, deal in self.unpriced.copy() if product in self.prices}

    def forget(self, deals: Iterable[str]) -> None:
        """Nothing is waited for by these deals: they are about to be read again."""
        again = set(deals)
        gone = {pair for pair in self.unpriced.copy() if pair[1] in again}
        self.unpriced -= gone
        self.has_news |= bool(gone)


@dataclass(kw_only=True)
class Reading(Walk):
    """One walk over one window of one resource.

    zone: the account's. currency: ISO code of all its money. region: country for phones.
    task_kinds: canonical kind by task type id. users_are_hidden: the token may not list users.
    goods: what the run knows of catalogs. pipelines: ids of those listed; None: the list was not read in this run.
    """

    zone: tzinfo
    currency: str
    region: str
    settings: AmoSettings
    task_kinds: dict[int, str]
    users_are_hidden: bool = False
    goods: Goods = field(default_factory=Goods)
    pipelines: Container[Any] | None = None
    merges: list["CardEvent"] = field(default_factory=list)
    deletions: list["CardEvent"] = field(default_factory=list)

    def is_set(self, item: Json, name: str) -> bool | None:
        """Whether a flag is set: null is "no" as in PHP. None, and counted, for what is neither yes nor no."""
        value = item.get(name)
        answer = False if value is None else flag(value)
        if answer is None:
            self.notice(
                Phrase("values of {field} that are neither yes nor no count as unknown", field=name), is_unknown=True
            )
        return answer

    def number(self, kind: str, native_id: Any) -> int | None:
        """The source's number of what a row refers to: null and 0 refer to nothing; neither does, counted, what is no
        id."""
        found = whole(native_id)
        if found is None and native_id:
            self.notice(Phrase("ids of {kind} that cannot be read are left empty", kind=kind), is_unknown=True)
        return found if found and found > 0 else None

    def count(self, item: Json, name: str) -> int | None:
        """A whole number: null where none is said, and counted where what is said is none."""
        value = item.get(name)
        found = whole(value)
        if found is None and value not in NOTHING_SAID:
            self.notice(
                Phrase("values of {field} that are no whole numbers are left empty", field=name), is_unknown=True
            )
        return found

    def money(self, value: Any) -> int | None:
        """An amount in minor units of the account's currency; null as `count` has it."""
        minor = to_minor(value, self.currency)
        if minor is None and value not in NOTHING_SAID:
            self.notice(Phrase("amounts that cannot be read are left empty"), is_unknown=True)
        return minor

    def ref(self, prefix: str, native_id: Any) -> str | None:
        """Our id of what a row refers to, `number` with its kind."""
        number = self.number(prefix, native_id)
        return None if number is None else f"{prefix}:{number}"

    def author(self, native_id: Any) -> str | None:
        """`user:<n>` of who did something; 0 is the robot or the API."""
        user_id = ROBOT if whole(native_id) == 0 else self.ref("user", native_id)
        if user_id:
            active = self.users_are_hidden
            self.mention(User, user_id, lambda: mentioned_user(self.account_id, user_id, is_active=active))
        return user_id

    def loss_reason(self, native_id: Any) -> str | None:
        """`loss_reason:<n>`; one the list lacks any more is called by its number."""
        found = self.ref("loss_reason", native_id)
        if found:
            account_id, name = self.account_id, numbered(found)
            self.mention(LossReason, found, lambda: LossReason(account_id=account_id, loss_reason_id=found, name=name))
        return found

    def task_type(self, native_id: Any) -> str | None:
        """`task_type:<n>`; one the account does not list is called by its number."""
        found = self.ref("task_type", native_id)
        if found:
            account_id, name = self.account_id, numbered(found)
            self.mention(TaskType, found, lambda: TaskType(account_id=account_id, task_type_id=found, name=name))
        return found

    def responsible(self, native_id: Any) -> str | None:
        """`user:<n>` of who owns something; 0 is nobody."""
        return None if whole(native_id) == 0 else self.author(native_id)

    def pipeline(self, native_id: Any) -> Any:
        """`pipeline:<n>` as `known_as` has it; one the list lacks (an archived one may be) is asked for by its id, for
        its stages' names."""
        number = whole(native_id)
        if self.pipelines is not None and number and number > 0 and number not in self.pipelines:
            self.reread("pipelines", number)
        return known_as("pipeline", native_id)

    def reread(self, resource: str, native_id: Any) -> None:
        """Raises ValueError for what is no id: an address made of it would ask for something else."""
        if not ID.fullmatch(str(native_id)):
            raise ValueError("no id")
        super().reread(resource, native_id)

    def conclusions(self) -> Iterator[Yield]:
        yield from merge_links(self)
        yield from super().conclusions()


@dataclass(frozen=True)
class CardEvent:
    """A card was merged into or deleted. kind: the source's word; `contact`. raw_hash: of the event."""

    kind: str
    native_id: Any
    by: Any
    at: datetime
    raw_hash: str


MERGE_WITHIN_S = 2
MERGED_KINDS = {"lead": "deal", "contact": "contact", "company": "company", "customer": "customer"}


def merge_links(reading: Reading) -> Iterator[MergeLink]:
    """Pairs of a merge, which names the winner only, and the loser's deletion by the same person within 2 s.

    Of several merges that near, a loser's is the nearest in time. Where two winners are equally near, or one that fits
    got nobody at all, times do not tell who lost to whom: then nothing is written.
    """
    merges: dict[tuple[str, str, datetime], list[CardEvent]] = {}
    for merge in reading.merges:
        merges.setdefault((merge.kind, str(merge.by), merge.at), []).append(merge)
    fitting = [(loser, [*fitting_merges(loser, merges)]) for loser in reading.deletions]
    nearest = [winners(near[0]) if near else {} for _, near in fitting]
    taken = {(loser.kind, native_id) for (loser, _), found in zip(fitting, nearest, strict=True) for native_id in found}
    for (loser, near), found in zip(fitting, nearest, strict=True):
        if len(found) == 1 and all((loser.kind, native_id) in taken for some in near for native_id in winners(some)):
            ((native_id, merge),) = found.items()
            yield MergeLink(
                account_id=reading.account_id,
                raw_hash=merge.raw_hash,
                kind=MERGED_KINDS[merge.kind],
                from_id=f"{merge.kind}:{loser.native_id}",
                into_id=f"{merge.kind}:{native_id}",
                merged_at=merge.at,
            )
        elif found:
            reading.notice(Phrase("deleted cards that several merges close together may have taken are linked to none"))


def fitting_merges(
    loser: CardEvent, merges: Mapping[tuple[str, str, datetime], Sequence[CardEvent]]
) -> Iterator[list[CardEvent]]:
    """Merges that may have deleted a card, the nearest first, those that are equally near together."""
    for seconds in range(MERGE_WITHIN_S + 1):  # events have whole seconds
        moments = {loser.at - timedelta(seconds=seconds), loser.at + timedelta(seconds=seconds)}
        found = [merge for at in sorted(moments) for merge in merges.get((loser.kind, str(loser.by), at), ())]
        if equal := [merge for merge in found if merge.native_id != loser.native_id]:
            yield equal


def winners(merges: Iterable[CardEvent]) -> dict[Any, CardEvent]:
    return {merge.native_id: merge for merge in merges}


def mentioned_user(account_id: str, user_id: str, *, is_active: bool) -> User:
    if user_id == ROBOT:
        return User(account_id=account_id, user_id=ROBOT, name="Robot", is_active=True, is_robot=True)
    return User(account_id=account_id, user_id=user_id, name=numbered(user_id), is_active=is_active)


def numbered(our_id: str) -> str:
    """The name of what has none."""
    return f"#{our_id.partition(':')[2]}"


def at(value: Any) -> datetime | None:
    """Unix seconds (number or text) as an instant; null, 0 and nonsense are None."""
    seconds = value if type(value) in (int, float) else whole(value)
    try:
        return datetime.fromtimestamp(seconds, UTC) if seconds else None
    except (ValueError, OverflowError, OSError):
        return None


def sender(user_id: str | None) -> Any:
    """Who has sent what a user has: what nobody (0) sent, a robot did."""
    return {None: "unknown", ROBOT: "bot"}.get(user_id, "user")


def flag(value: Any) -> bool | None:
    """true, 1, "1" and their opposites; None for anything else."""
    return FLAGS.get(str(value).lower())


FLAGS = {"true": True, "1": True, "false": False, "0": False, "": False}


def known_as(prefix: str, native_id: Any) -> Any:
    """Our id of what the source numbers: null where it has no number, which a record that needs one refuses."""
    number = whole(native_id)
    return None if number is None else f"{prefix}:{number}"
