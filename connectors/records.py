"""Canonical records: the vocabulary connectors speak and the warehouse stores.

One frozen model per warehouse table, in the order of the catalogue (`metrics.md`, section 2 and 2.0). A record holds
what the source says, in our words: ids as `<kind>:<native>`, instants in UTC, money in minor units. What is computed
from it at load (HMAC keys, read and load ordinals) belongs to `warehouse/models.py`.

Besides records a resource yields `OwnedSet` (all rows that belong to one owner, replaced whole), `Tombstone` (touches
`deleted_at` only), `Patch` (one instant of a row that another resource knows), `Stub` (a row only where there is none),
`Listing` (all ids there are now), `Shown` (a page of ids, of a list too long for that), `Reread` (ids to fetch again)
and `Notice` (something a person should know).
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import cache
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from connectors.errors import Phrase


def _utc(value: datetime) -> datetime:
    if value.tzinfo is UTC:  # as nearly all are
        return value
    if value.tzinfo is None:
        raise ValueError("an instant needs a time zone")
    return value.astimezone(UTC)


Instant = Annotated[datetime, AfterValidator(_utc)]
"""A moment in time; naive datetimes are refused, others are turned to UTC."""

Whole = Annotated[int, Field(ge=-(2**63), lt=2**63)]
"""An integer that a column of 64 bits can hold: one absurd number must not stop a whole load."""

Direction = Literal["in", "out", "unknown"]
Origin = Literal["event", "snapshot", "unknown"]
CardKind = Literal["lead", "contact", "company", "customer", "unknown"]
DealKind = Literal["lead", "deal", "unknown"]
Channel = Literal[
    "whatsapp",
    "telegram",
    "vk",
    "avito",
    "site_chat",
    "email",
    "sms",
    "instagram",
    "facebook",
    "viber",
    "max",
    "ok",
    "other",
    "unknown",
]


class Record(BaseModel):
    """A row of the canonical schema. `raw_hash` names the version of the raw record it was mapped from."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    owner: ClassVar[str | None] = None
    """For rows that belong to an owner: the column that names it."""
    patched: ClassVar[Mapping[str, str | None]] = {}
    """Instants that only another resource knows (see `Patch`), each with the flag that calls it an estimate, or None.

    A row read later without the instant (no flag: null; with one: the flag is up) leaves an exact one on hand as it is.
    """
    keeps_history: ClassVar[bool] = False
    """Rows valid from an instant on: an `OwnedSet` of them is a snapshot, to be compared with the rows still open."""
    ended: ClassVar[str | None] = None
    """The column that says since when the source no longer lists a row, where that is not its deletion."""
    remembered: ClassVar[Mapping[str, tuple[str, str]]] = {}
    """Columns of which the row keeps what it said before it changed, and since when it says another thing: those two
    columns are the loader's, no source fills them."""
    outlives: ClassVar[tuple[str, str] | None] = None
    """For rows of a set: the table, and the column here with its key, of what they are values of. When the source no
    longer lists that, its rows leave the source with it, and stay here."""

    account_id: str
    source_updated_at: Instant | None = None
    raw_hash: str = ""

    @classmethod
    def table(cls) -> str:
        """The table's name: `DealContact` is stored in `deal_contact`."""
        return _snake_case(cls.__name__)


@cache
def _snake_case(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


class RawRecord(NamedTuple):
    """One object of the source as it came, so that a mapping can be replayed without calling the CRM.

    A tuple, because there is one for every object ever read.
    """

    account_id: str
    entity: str
    """What the source calls it: `leads`, `contacts/notes`."""
    native_id: str
    raw_hash: str
    body: bytes
    """Canonical JSON: keys sorted, so that equal objects have equal hashes."""

    @classmethod
    def of(cls, account_id: str, entity: str, native_id: object, content: Any) -> "RawRecord":
        body = orjson.dumps(content, option=orjson.OPT_SORT_KEYS)
        digest = hashlib.blake2b(body, digest_size=16).hexdigest()
        return cls(account_id, entity, str(native_id), digest, body)


@dataclass(frozen=True)
class OwnedSet:
    """All rows of `kind` that belong to one owner; whatever the warehouse had for that owner is replaced.

    `owner_table` is the record the set hangs on (yielded before it): a set read earlier than the owner's row on hand
    is ignored, as an earlier reading never wins.
    """

    kind: type[Record]
    account_id: str
    owner_id: str
    owner_table: type[Record]
    rows: Sequence[Record] = ()


@dataclass(frozen=True)
class Tombstone:
    """`kind` with that id was deleted at `deleted_at`, or came back (None). Nothing else of the row changes.

    is_vague: `deleted_at` only says when it was found gone. A row known to be deleted keeps its instant.
    """

    kind: type[Record]
    account_id: str
    id: str
    deleted_at: datetime | None
    is_vague: bool = False


@dataclass(frozen=True)
class Patch:
    """`column` (one of `kind.patched`) of row `id` is `at`: known from an event, while the row itself does not say it.

    The latest instant wins, in whatever order events are read; the column's estimate flag, if it has one, goes down.
    No row with that id: nothing happens.
    """

    kind: type[Record]
    account_id: str
    id: str
    column: str
    at: datetime


@dataclass(frozen=True)
class Stub:
    """A row made from a mere mention (a user who has left, a removed loss reason): stored where there is no row yet, or
    only one from a mention that says an older `source_updated_at`."""

    record: Record


@dataclass(frozen=True)
class Listing:
    """Every key of `kind` the source listed at `at`: rows on hand that are not among them were removed then.

    keys: values of the key columns after `account_id`, one tuple a row. Only for lists that are read whole
    (dimensions). A removed row gets `deleted_at` (or `removed_at`) unless it has one, and loses `is_active` where the
    table has it; it is never dropped, history refers to it. is_queue: rows leave the list by being dealt with, so an
    empty one is as good as any. among: a column and its value, where only such rows were listed.
    """

    kind: type[Record]
    account_id: str
    keys: frozenset[tuple[str, ...]]
    at: datetime
    is_queue: bool = False
    among: tuple[str, str] | None = None

    @property
    def scope(self) -> tuple[str, str]:
        """The column, and its value, of the rows on hand that the list speaks of."""
        return self.among or ("account_id", self.account_id)


@dataclass(frozen=True)
class Shown:
    """A page of a sweep: rows `<prefix>:<id>` of `kind` that the source shows now, by its own `ids`.

    When the sweep is over, the sync reads again what it showed and the warehouse lacks, and probes the reverse.
    outlives_cards: such rows stay in the list when the card they hang on is deleted; others leave it with the card, and
    happened all the same. says: by column, of each of `ids`, what may change without a change time: what says another
    thing than on hand is read again too. `contact_ids` of deals are their contacts, sorted, with commas between.
    """

    kind: type[Record]
    account_id: str
    prefix: str
    ids: Sequence[str]
    outlives_cards: bool = False
    says: Mapping[str, Sequence[Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Reread:
    """The source's own ids of `resource`, to be read by an `ids` window once the run's other windows are done."""

    resource: str
    ids: tuple[str, ...]


@dataclass(frozen=True)
class Notice:
    """Something a person should know that stopped nothing; `n` times. Never holds personal data.

    is_unknown: a value we have no word for was kept as `unknown`, or a whole object only raw (counted in the run log).
    """

    text: Phrase
    n: int = 1
    is_unknown: bool = False


@dataclass(frozen=True)
class LeftOut:
    """The source does not give this resource now: no right, not in the plan, switched off. The run goes on without it,
    and its first read that is let in goes on where the last one ended; one that was never let in, at the beginning.

    why: what a person is told with the day since when nothing of it has come.
    """

    why: Phrase | None = None


Yield = Record | RawRecord | OwnedSet | Tombstone | Patch | Stub | Listing | Shown | Reread | Notice | LeftOut
"""What a resource may yield."""


class Account(Record):
    """The CRM account a config entry names. One row per account."""

    connector: str
    name: str
    base_url: str
    external_id: str
    tz: str
    base_currency: str
    default_region: str
    calendar_id: str | None = None
    created_at: Instant | None = None


class Department(Record):
    """A group of users."""

    department_id: str
    name: str
    parent_id: str | None = None
    head_user_id: str | None = None
    deleted_at: Instant | None = None


class User(Record):
    """A person, robot or leaver who owns or does things. Leavers stay."""

    user_id: str
    name: str
    email: str | None = None
    is_active: bool
    is_robot: bool = False
    deleted_at: Instant | None = None


class UserDepartment(Record):
    """A user's membership of a department from an instant on; built from snapshots."""

    keeps_history = True

    user_id: str
    department_id: str
    valid_from: Instant
    valid_to: Instant | None = None
    is_main: bool


class UserAlias(Record):
    """The same person in another system (a PBX, MoySklad)."""

    system: str
    external_id: str
    user_id: str | None = None
    name: str | None = None
    extension: str | None = None
    email: str | None = None


class UserAbsence(Record):
    """Days a user was away; end_day is exclusive."""

    user_id: str
    first_day: date
    end_day: date
    kind: Literal["vacation", "sick", "other", "unknown"]


class CalendarHours(Record):
    """Weekly working hours; seconds since local midnight."""

    calendar_id: str
    isoweekday: Whole
    opens_s: Whole
    closes_s: Whole


class CalendarException(Record):
    """A dated exception to the weekly hours; both ends null means a day off."""

    calendar_id: str
    day: date
    position: Whole
    opens_s: Whole | None = None
    closes_s: Whole | None = None


class Pipeline(Record):
    """A funnel."""

    pipeline_id: str
    name: str
    entity_kind: DealKind
    sort: Whole
    is_archived: bool = False
    deleted_at: Instant | None = None


class Stage(Record):
    """A stage of a pipeline; amoCRM reuses 142 and 143 in every pipeline."""

    pipeline_id: str
    stage_id: str
    name: str
    sort: Whole
    kind: Literal["unsorted", "open", "won", "lost", "unknown"]
    color: str | None = None
    deleted_at: Instant | None = None


class LossReason(Record):
    """Why a deal was lost, as the source lists it."""

    loss_reason_id: str
    name: str
    sort: Whole | None = None
    deleted_at: Instant | None = None


class Source(Record):
    """Where a deal came from."""

    source_id: str
    name: str
    deleted_at: Instant | None = None


class Product(Record):
    """Something sold."""

    product_id: str
    name: str
    sku: str | None = None
    category: str | None = None
    unit: str | None = None
    cost_minor: Whole | None = None
    currency: str | None = None
    deleted_at: Instant | None = None


class FxRate(Record):
    """Base-currency units per one unit of `currency` on a local day."""

    day: date
    currency: str
    rate_to_base: float


class FieldDef(Record):
    """A custom field. removed_at: the source no longer lists it, its values stay. was_type: before it was changed, seen
    at retyped_at: of that type are values of cards that were not read since."""

    remembered = {"type": ("was_type", "retyped_at")}

    field_id: str
    entity_kind: Literal[
        "lead",
        "deal",
        "contact",
        "company",
        "customer",
        "product",
        "invoice",
        "process_item",
        "user",
        "unknown",
    ]
    name: str
    code: str | None = None
    type: Literal[
        "text", "number", "date", "birthday", "enum", "multi", "bool", "phone", "email", "url", "other", "unknown"
    ]
    is_api_only: bool = False
    removed_at: Instant | None = None
    was_type: str | None = None
    retyped_at: Instant | None = None


class FieldEnum(Record):
    """An option of a list field."""

    owner = "field_id"

    field_id: str
    enum_id: str
    name: str
    sort: Whole | None = None


class FieldRequired(Record):
    """The stage from which a field is mandatory."""

    owner = "field_id"

    field_id: str
    pipeline_id: str
    stage_id: str


class TaskType(Record):
    """A kind of task as the source names it."""

    task_type_id: str
    name: str
    code: str | None = None
    deleted_at: Instant | None = None


class Company(Record):
    """A company card."""

    company_id: str
    name: str | None = None
    responsible_user_id: str | None = None
    created_at: Instant
    created_by: str | None = None
    is_my_company: bool = False
    deleted_at: Instant | None = None


class Contact(Record):
    """A person's card."""

    contact_id: str
    name: str | None = None
    company_id: str | None = None
    responsible_user_id: str | None = None
    created_at: Instant
    created_by: str | None = None
    deleted_at: Instant | None = None


class ClientPhone(Record):
    """A phone number of a card; phone_key is the HMAC of its E.164 form."""

    owner = "entity_id"

    entity_id: str
    entity_kind: CardKind
    contact_id: str | None = None
    company_id: str | None = None
    phone_e164: str | None = None
    phone_raw: str


class ClientEmail(Record):
    """An e-mail address of a card; email_key is the HMAC of its normal form."""

    owner = "entity_id"

    entity_id: str
    entity_kind: CardKind
    contact_id: str | None = None
    company_id: str | None = None
    email_norm: str


class MergeLink(Record):
    """Card from_id was merged into into_id."""

    kind: str
    from_id: str
    into_id: str
    merged_at: Instant


class Deal(Record):
    """A deal, or a lead where the source keeps leads apart. Money in minor units."""

    patched = {"restored_at": None}

    deal_id: str
    entity_kind: DealKind
    name: str | None = None
    pipeline_id: str
    stage_id: str
    responsible_user_id: str | None = None
    created_by: str | None = None
    amount_minor: Whole | None = None
    currency: str
    company_id: str | None = None
    main_contact_id: str | None = None
    parent_lead_id: str | None = None
    source_id: str | None = None
    utm_source: str | None = None
    utm_medium: str | None = None
    utm_campaign: str | None = None
    utm_content: str | None = None
    utm_term: str | None = None
    loss_reason_id: str | None = None
    loss_comment: str | None = None
    created_at: Instant
    closed_at: Instant | None = None
    expected_close_on: date | None = None
    is_repeat: bool | None = None
    restored_at: Instant | None = None
    deleted_at: Instant | None = None


class DealContact(Record):
    """A contact of a deal."""

    owner = "deal_id"

    deal_id: str
    contact_id: str
    is_main: bool
    position: Whole


class DealStageTransition(Record):
    """A move of a deal to a stage, as the source recorded it."""

    change_id: str
    deal_id: str
    changed_at: Instant
    from_pipeline_id: str | None = None
    from_stage_id: str | None = None
    to_pipeline_id: str
    to_stage_id: str
    by_user_id: str | None = None
    origin: Origin


class DealOwnerChange(Record):
    """The responsible user of a deal changed; null means nobody."""

    change_id: str
    deal_id: str
    changed_at: Instant
    from_user_id: str | None = None
    to_user_id: str | None = None
    by_user_id: str | None = None
    origin: Origin


class DealAmountChange(Record):
    """The amount of a deal changed."""

    change_id: str
    deal_id: str
    changed_at: Instant
    from_minor: Whole | None = None
    to_minor: Whole | None = None
    currency: str
    by_user_id: str | None = None
    origin: Origin


class DealItem(Record):
    """A product line of a deal."""

    owner = "deal_id"

    deal_item_id: str
    deal_id: str
    product_id: str | None = None
    name: str | None = None
    qty: float
    price_minor: Whole | None = None
    discount_minor: Whole | None = None
    sum_minor: Whole | None = None
    currency: str
    price_is_current: bool = False


class ProcessItem(Record):
    """An item of a smart process or another non-sales list; never revenue."""

    item_id: str
    process_id: str
    process_name: str
    name: str | None = None
    pipeline_id: str | None = None
    stage_id: str | None = None
    responsible_user_id: str | None = None
    amount_minor: Whole | None = None
    currency: str | None = None
    parent_deal_id: str | None = None
    company_id: str | None = None
    main_contact_id: str | None = None
    created_at: Instant
    closed_at: Instant | None = None
    deleted_at: Instant | None = None


class ProcessItemTransition(Record):
    """A move of a process item to a stage."""

    change_id: str
    item_id: str
    changed_at: Instant
    from_pipeline_id: str | None = None
    from_stage_id: str | None = None
    to_pipeline_id: str
    to_stage_id: str
    by_user_id: str | None = None
    origin: Origin


class Call(Record):
    """One call record as the source wrote it, before R-DEDUP. wait_s, talk_s in seconds."""

    call_id: str
    external_uniq: str | None = None
    external_call_id: str | None = None
    call_group_id: str | None = None
    direction: Direction
    subtype: Literal["normal", "callback_request", "redirect", "robot", "unknown"]
    is_internal: bool = False
    started_at: Instant
    wait_s: Whole | None = None
    talk_s: Whole | None = None
    vote: Whole | None = None
    status: Literal[
        "answered",
        "missed",
        "no_answer",
        "busy",
        "declined",
        "cancelled",
        "voicemail",
        "wrong_number",
        "failed",
        "unknown",
    ]
    user_id: str | None = None
    phone_e164: str | None = None
    phone_raw: str | None = None
    line: str | None = None
    entity_kind: str | None = None
    entity_id: str | None = None
    contact_id: str | None = None
    company_id: str | None = None
    deal_id: str | None = None
    recording_url: str | None = None
    cost_minor: Whole | None = None
    provider: str | None = None
    deleted_at: Instant | None = None


class Message(Record):
    """A chat, mail or sms message."""

    message_id: str
    chat_id: str | None = None
    channel: Channel
    direction: Direction
    author: Literal["client", "user", "bot", "broadcast", "unknown"]
    sent_at: Instant
    user_id: str | None = None
    contact_id: str | None = None
    company_id: str | None = None
    deal_id: str | None = None
    text: str | None = None
    has_file: bool = False
    deleted_at: Instant | None = None


class Chat(Record):
    """A conversation in a channel. closed_at: null while it is in work."""

    ended = "closed_at"

    chat_id: str
    channel: Channel
    opened_at: Instant
    closed_at: Instant | None = None
    operator_user_id: str | None = None
    contact_id: str | None = None
    company_id: str | None = None
    deal_id: str | None = None
    source_id: str | None = None
    status: str | None = None
    missed_at: Instant | None = None
    rating: Whole | None = None
    first_line: str | None = None
    deleted_at: Instant | None = None


class Task(Record):
    """Something to be done by a deadline. completed_is_estimate: the instant is the last change, not the event."""

    patched = {"completed_at": "completed_is_estimate"}

    task_id: str
    kind: Literal["call", "meeting", "follow_up", "email", "proposal", "todo", "other", "unknown"]
    task_type_id: str | None = None
    entity_kind: str | None = None
    entity_id: str | None = None
    responsible_user_id: str | None = None
    created_by: str | None = None
    text: str | None = None
    created_at: Instant
    due_at: Instant | None = None
    due_is_allday: bool = False
    completed_at: Instant | None = None
    completed_is_estimate: bool = False
    is_completed: bool
    result: str | None = None
    deleted_at: Instant | None = None


class TaskLink(Record):
    """A card a task hangs on."""

    owner = "task_id"

    task_id: str
    entity_id: str
    entity_kind: Literal["lead", "deal", "contact", "company", "customer", "process_item", "unknown"]


class Activity(Record):
    """A completed human action other than a call or a message."""

    activity_id: str
    kind: Literal["meeting", "proposal", "invoice_sent", "visit", "note", "other", "unknown"]
    done_at: Instant
    user_id: str | None = None
    contact_id: str | None = None
    company_id: str | None = None
    deal_id: str | None = None
    text: str | None = None
    deleted_at: Instant | None = None


class Request(Record):
    """An incoming request before it became a deal (amoCRM unsorted, web forms). processed_at: null while it waits."""

    ended = "processed_at"

    request_id: str
    category: Literal["sip", "mail", "form", "chat", "unknown"]
    source_id: str | None = None
    received_at: Instant
    processed_at: Instant | None = None
    status: str | None = None
    deal_id: str | None = None
    contact_id: str | None = None
    user_id: str | None = None
    phone_e164: str | None = None
    deleted_at: Instant | None = None


class Customer(Record):
    """A regular customer of amoCRM's customers mode."""

    customer_id: str
    contact_id: str | None = None
    company_id: str | None = None
    status_id: str | None = None
    responsible_user_id: str | None = None
    next_on: date | None = None
    next_minor: Whole | None = None
    created_at: Instant
    deleted_at: Instant | None = None


class SalesDoc(Record):
    """An order, shipment or return of an accounting system."""

    doc_id: str
    kind: Literal["order", "shipment", "return", "unknown"]
    number: str | None = None
    doc_at: Instant
    contact_id: str | None = None
    company_id: str | None = None
    deal_id: str | None = None
    user_id: str | None = None
    amount_minor: Whole
    currency: str
    status: str | None = None
    deleted_at: Instant | None = None


class FieldValue(Record):
    """A value of a custom field; booleans are 0 and 1 in value_num."""

    owner = "entity_id"
    outlives = ("field_def", "field_id")

    entity_id: str
    field_id: str
    position: Whole
    entity_kind: str
    value_text: str | None = None
    value_num: float | None = None
    value_ts: Instant | None = None
    value_date: date | None = None
    enum_id: str | None = None
    enum_code: str | None = None
    set_at: Instant | None = None
    set_by: str | None = None


class EntityTag(Record):
    """A tag of a card."""

    owner = "entity_id"

    entity_id: str
    tag: str
    entity_kind: str
    tag_id: str | None = None


class Invoice(Record):
    """A bill."""

    invoice_id: str
    deal_id: str | None = None
    contact_id: str | None = None
    company_id: str | None = None
    number: str | None = None
    issued_on: date
    due_on: date | None = None
    amount_minor: Whole
    currency: str
    status: Literal["draft", "issued", "partially_paid", "paid", "cancelled", "unknown"]
    business_line: str | None = None
    deleted_at: Instant | None = None


class DealInvoice(Record):
    """An invoice of a deal, where the deal names its invoices. A bill may be on several deals."""

    owner = "deal_id"

    deal_id: str
    invoice_id: str


class Payment(Record):
    """Money that came or went; a negative amount is a refund. customer_id: where the source names only a `Customer`."""

    payment_id: str
    invoice_id: str | None = None
    deal_id: str | None = None
    contact_id: str | None = None
    company_id: str | None = None
    customer_id: str | None = None
    paid_at: Instant
    amount_minor: Whole
    currency: str
    direction: Literal["income", "expense", "unknown"]
    category: str | None = None
    business_line: str | None = None
    is_planned: bool = False
    deleted_at: Instant | None = None


class AdCost(Record):
    """What a campaign cost on a day."""

    provider: str
    day: date
    campaign_id: str
    campaign_name: str
    source_id: str | None = None
    cost_minor: Whole
    currency: str
    clicks: Whole | None = None
    impressions: Whole | None = None
    vat_included: bool | None = None


class Target(Record):
    """A plan for a scope and period; period is its first day."""

    scope_kind: str
    scope_id: str
    metric: str
    grain: str
    period: date
    value_num: float | None = None
    value_minor: Whole | None = None
    currency: str | None = None


class Transcript(Record):
    """A turn of a recorded conversation."""

    subject_id: str
    seq: Whole
    subject_kind: Literal["call", "chat", "unknown"]
    speaker: Literal["manager", "client", "unknown"]
    start_s: float | None = None
    end_s: float | None = None
    text: str


class ChecklistItem(Record):
    """A criterion of a quality checklist."""

    checklist_id: str
    item_id: str
    name: str
    weight: float
    is_critical: bool = False


class ChecklistMark(Record):
    """A mark given to a call or chat, 0..1; null is not applicable."""

    subject_id: str
    item_id: str
    rater: str
    rater_id: str
    value: float | None = None
    marked_at: Instant


class Coverage(Record):
    """Since when a resource is complete and up to when it was read."""

    resource: str
    complete_from: Instant | None = None
    watermark: Instant | None = None


class MetricSeries(Record):
    """A stored daily value of a metric."""

    metric_id: str
    group_key: str
    day: date
    value: float | None = None
    num: Whole | None = None
    den: Whole | None = None


class ReportSnapshot(Record):
    """A report as it was sent, JSON."""

    report_id: str
    metric_id: str
    sent_at: Instant
    body: str


RECORDS: dict[str, type[Record]] = {kind.table(): kind for kind in Record.__subclasses__()}
"""Table name to record."""
