"""Shapes of the demo company: what was planted (clients, conversations, moves) and the cards amoCRM shows of it.

Few and rich things are lists of named tuples; many and small ones (moves, conversations, call notes, tasks, messages)
are `Columns`, so that ten times the company still fits into memory. All instants are whole seconds since 1970, UTC;
0 means "never" or "nobody". Money is in whole roubles, as amoCRM keeps it.
"""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, NamedTuple, TypeVar, cast, overload

Row = TypeVar("Row", bound=tuple[Any, ...])
DAY = 86_400


class Columns(Sequence[Row], Generic[Row]):
    """A sequence of named tuples of integers, kept column by column."""

    def __init__(self, row: type[Row], codes: str) -> None:
        """`codes`: an `array` type code for each field of `row`."""
        self._row = row
        self.columns = [array(code) for code in codes]

    def append(self, values: Sequence[int]) -> None:
        for column, value in zip(self.columns, values, strict=True):
            column.append(value)

    def column(self, name: str) -> "array[int]":
        return self.columns[self._row._fields.index(name)]  # type: ignore[attr-defined]

    def reordered(self, order: Sequence[int]) -> "Columns[Row]":
        """The same rows in another order."""
        result = Columns(self._row, "".join(column.typecode for column in self.columns))
        result.columns = [array(column.typecode, map(column.__getitem__, order)) for column in self.columns]
        return result

    def __len__(self) -> int:
        return len(self.columns[0])

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | Sequence[Row]:
        if isinstance(index, slice):
            return list(map(self._row._make, zip(*(column[index] for column in self.columns), strict=True)))  # type: ignore[attr-defined]
        return cast(Row, self._row._make([column[index] for column in self.columns]))  # type: ignore[attr-defined]

    def __iter__(self) -> Iterator[Row]:
        return map(self._row._make, zip(*self.columns, strict=True))  # type: ignore[attr-defined]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Columns) and self._row is other._row and self.columns == other.columns

    __hash__ = None  # type: ignore[assignment]


class Group(NamedTuple):
    """A department. amoCRM's default one has the id 0."""

    id: int
    name: str


class User(NamedTuple):
    """An employee. left_at: the day his access was switched off, 0 while he works here."""

    id: int
    name: str
    email: str
    group_id: int
    is_admin: bool
    left_at: int


class Stage(NamedTuple):
    """A status of a pipeline; kind: unsorted, open, won, lost."""

    id: int
    pipeline_id: int
    name: str
    sort: int
    color: str
    kind: str


class Pipeline(NamedTuple):
    """A funnel with its statuses, in order."""

    id: int
    name: str
    sort: int
    is_main: bool
    is_archived: bool
    stages: tuple[Stage, ...]


class Named(NamedTuple):
    """Something with an id and a name only: a loss reason, a source, a tag, a task type."""

    id: int
    name: str
    code: str = ""


class Field(NamedTuple):
    """A custom field. enums: (id, value, code) of its options. required: (pipeline_id, status_id) pairs."""

    id: int
    entity: str
    name: str
    type: str
    code: str = ""
    enums: tuple[tuple[int, str, str], ...] = ()
    required: tuple[tuple[int, int], ...] = ()
    is_api_only: bool = False


Values = tuple[tuple[int, tuple[Any, ...]], ...]
"""Custom field values: (field_id, values); an option of a list is given by its enum id."""


class Contact(NamedTuple):
    """A person's card. phones: as typed. purged: also gone from the trash (or merged away)."""

    id: int
    first_name: str
    last_name: str
    user_id: int
    company_id: int
    created_at: int
    created_by: int
    updated_at: int
    phones: tuple[str, ...]
    emails: tuple[str, ...]
    values: Values
    tags: tuple[int, ...]
    deleted_at: int = 0
    purged: bool = False


class Firm(NamedTuple):
    """A company's card."""

    id: int
    name: str
    user_id: int
    created_at: int
    created_by: int
    updated_at: int
    phones: tuple[str, ...]
    emails: tuple[str, ...]
    values: Values
    tags: tuple[int, ...]
    deleted_at: int = 0
    purged: bool = False


class Deal(NamedTuple):
    """A lead of amoCRM. client_no: whose it is. first_*: where it was born. price: None is "not filled".

    is_imported: it came with its past dates and without events. items: (element_id, quantity).
    """

    id: int
    client_no: int
    name: str
    price: int | None
    user_id: int
    first_pipeline_id: int
    first_stage_id: int
    pipeline_id: int
    stage_id: int
    loss_reason_id: int
    source_id: int
    created_by: int
    created_at: int
    updated_at: int
    closed_at: int
    company_id: int
    contact_ids: tuple[int, ...]
    main_contact_id: int
    is_imported: bool
    values: Values
    tags: tuple[int, ...]
    items: tuple[tuple[int, int], ...]
    deleted_at: int = 0
    restored_at: int = 0
    purged: bool = False


class Move(NamedTuple):
    """A deal went from one stage to another. is_logged: amoCRM has an event of it."""

    deal_id: int
    at: int
    from_pipeline_id: int
    from_stage_id: int
    to_pipeline_id: int
    to_stage_id: int
    by_user_id: int
    is_logged: int


class Change(NamedTuple):
    """The responsible user or the price of a card changed (-1: not filled). kind: an entity name."""

    entity_kind: int
    entity_id: int
    at: int
    before: int
    after: int
    by_user_id: int


class CardEvent(NamedTuple):
    """Something happened to a whole card: deleted, restored, merged (`entity_merged` of the winner)."""

    entity_kind: int
    entity_id: int
    at: int
    what: int
    by_user_id: int


LEAD, CONTACT, COMPANY, TASK, CUSTOMER = 1, 2, 3, 4, 12
ENTITIES = {LEAD: "lead", CONTACT: "contact", COMPANY: "company", TASK: "task", CUSTOMER: "customer"}
DELETED, RESTORED, MERGED = 1, 2, 3


class Merge(NamedTuple):
    """Card `from_id` was merged into `into_id`. has_trace: the loser's deletion is in the log beside the merge."""

    entity_kind: int
    from_id: int
    into_id: int
    at: int
    has_trace: bool


class Client(NamedTuple):
    """Who buys: a company, a person, or a deal nobody is linked to (kind lead). root: the id metrics know it by."""

    no: int
    kind: str
    root: str
    user_id: int
    previous_user_id: int
    created_at: int
    company_id: int
    contact_ids: tuple[int, ...]
    phones: tuple[int, ...]


class Conversation(NamedTuple):
    """What really happened: one attempt of two people to talk, however many notes the telephony wrote of it.

    kind: 0 a client with a number, 1 a hidden number, 2 between colleagues. is_in: the client called. n_rung: how many
    employees' phones rang; user_id is who talked, else the only one rung, 0 if several. talk_s: -1 not measured.
    """

    client_no: int
    at: int
    is_in: int
    is_answered: int
    talk_s: int
    user_id: int
    n_rung: int
    kind: int


class CallNote(NamedTuple):
    """A note of a call as the telephony wrote it. Meaning of the coded columns: see `demo.amocrm_cards.call_note`.

    duration -1: null; status 0: absent; phone 0: hidden; uniq 0: absent, negative: an array instead of a string.
    role: what it is in its conversation, `PLAIN`, `DOUBLE` (told once already) or `PASSED_ON` (to a colleague).
    """

    id: int
    entity_kind: int
    entity_id: int
    created_at: int
    updated_at: int
    created_by: int
    responsible_id: int
    call_responsible_id: int
    is_in: int
    duration: int
    status: int
    phone: int
    uniq: int
    provider: int
    style: int
    role: int = 0


PLAIN, DOUBLE, PASSED_ON = range(3)


class Task(NamedTuple):
    """A task. completed_at 0: not done; is_logged: its completion has an event. text, result: template numbers."""

    id: int
    entity_kind: int
    entity_id: int
    type_id: int
    user_id: int
    created_by: int
    created_at: int
    updated_at: int
    due_at: int
    completed_at: int
    is_logged: int
    text: int
    result: int
    deleted_at: int


class Customer(NamedTuple):
    """Who buys again and again, apart from deals. next_date: when the next purchase is expected."""

    id: int
    name: str
    contact_id: int
    company_id: int
    user_id: int
    status_id: int
    segment_id: int
    next_price: int
    next_date: int
    created_by: int
    created_at: int
    updated_at: int
    values: Values
    tags: tuple[int, ...]
    deleted_at: int = 0
    purged: bool = False


class Purchase(NamedTuple):
    """What a customer bought, which amoCRM calls a transaction. completed_at 0: nobody said when."""

    id: int
    customer_id: int
    price: int
    created_by: int
    completed_at: int
    created_at: int
    updated_at: int
    deleted_at: int = 0


class Talk(NamedTuple):
    """A chat. deal_id 0: none. origin: number of the channel. rate: 0 not rated."""

    id: int
    contact_id: int
    deal_id: int
    created_at: int
    updated_at: int
    origin: int
    is_in_work: int
    is_read: int
    rate: int
    missed_at: int


class Message(NamedTuple):
    """A chat message. user_id 0: the client, or a bot when outgoing."""

    talk_id: int
    at: int
    is_in: int
    user_id: int


class TextNote(NamedTuple):
    """A note that is no call."""

    id: int
    entity_kind: int
    entity_id: int
    created_at: int
    updated_at: int
    created_by: int
    responsible_id: int
    note_type: str
    params: dict[str, Any]


class Request(NamedTuple):
    """An incoming request nobody accepted yet; its lead and contact are in no ordinary list."""

    uid: str
    category: str
    source_id: int
    pipeline_id: int
    created_at: int
    deal_id: int
    contact_id: int
    phone: int


class Product(NamedTuple):
    """An element of the product catalogue; price in whole roubles."""

    id: int
    name: str
    sku: str
    price: int
    group: int


class Invoice(NamedTuple):
    """An element of the invoices catalogue. deal_id 0: on no deal."""

    id: int
    name: str
    deal_id: int
    created_at: int
    updated_at: int
    values: Values
    deleted_at: int


@dataclass(frozen=True)
class Planted:
    """Truths put there on purpose; ids are amoCRM's own."""

    lunch_user_id: int
    leaver_user_id: int
    burnout_user_id: int
    bottleneck: tuple[int, int]
    doubtful_reason_ids: tuple[int, ...]
    doubtful_deal_ids: tuple[int, ...]
    garbage_field_ids: tuple[int, ...]
    burnout_from: int
    left_at: int


@dataclass(frozen=True)
class Company:
    """The whole demo company, frozen: equal seeds give equal companies."""

    seed: int
    scale: float
    as_of: datetime
    tz: str
    account_id: int
    name: str
    subdomain: str
    started_at: int
    groups: list[Group]
    users: list[User]
    pipelines: list[Pipeline]
    loss_reasons: list[Named]
    sources: list[Named]
    task_types: list[Named]
    tags: dict[int, list[Named]]
    fields: list[Field]
    products: list[Product]
    invoices: list[Invoice]
    clients: list[Client]
    contacts: list[Contact]
    firms: list[Firm]
    deals: list[Deal]
    moves: Columns[Move]
    owner_changes: Columns[Change]
    price_changes: Columns[Change]
    card_events: Columns[CardEvent]
    merges: list[Merge]
    conversations: Columns[Conversation]
    calls: Columns[CallNote]
    notes: list[TextNote]
    tasks: Columns[Task]
    talks: Columns[Talk]
    messages: Columns[Message]
    requests: list[Request]
    customers: list[Customer]
    purchases: list[Purchase]
    planted: Planted

    @property
    def now(self) -> int:
        """`as_of` in whole seconds since 1970."""
        return int(self.as_of.timestamp())
