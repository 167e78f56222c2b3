"""The canonical schema as SQLAlchemy tables: one per record, then raw copies and the state of the sync.

Every key starts with `account_id`. What is written in batches has its key by the loader's doing, not by an index: see
decision 0007. Columns marked `personal` (`info={"pii": True}`) leave the warehouse only in `_pii`
files; of those marked `guarded` only the values of fields that are about a person do (see `warehouse.publish`). Columns
marked `loaded` are computed by the loader: HMAC keys of phones and e-mails, so that the rest of the
house can join by them without seeing a number. No ENUM, LIST, STRUCT, TIME or unsigned types: other engines read these
files. Migrations are written by hand; `tests/warehouse` compares them with this module.
"""

from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, Date, Double, LargeBinary, MetaData, Sequence, Table, Text
from sqlalchemy.types import TIMESTAMP

metadata = MetaData()

Instant = TIMESTAMP(timezone=True)


def key(name: str, kind: Any = Text, *, loaded: bool = False) -> Column[Any]:
    return Column(name, kind, nullable=False, info={"key": True, "loaded": loaded})


def indexed(name: str, kind: Any = Text) -> Column[Any]:
    """A part of the key of a small table that is written row by row."""
    return Column(name, kind, primary_key=True, nullable=False, autoincrement=False, info={"key": True})


def column(name: str, kind: Any = Text, *, null: bool = False, loaded: bool = False) -> Column[Any]:
    return Column(name, kind, nullable=null, info={"loaded": loaded})


def personal(name: str, kind: Any = Text, *, null: bool = False) -> Column[Any]:
    return Column(name, kind, nullable=null, info={"pii": True})


def guarded(name: str, kind: Any) -> Column[Any]:
    return Column(name, kind, info={"guarded": True})


def canonical(name: str, *columns: Column[Any], owner: str | None = None) -> Table:
    """A table of records: `account_id`, the columns, and what the loader keeps about every row.

    read_seq: ordinal of the response the row was read in; a smaller one never overwrites it. load_seq: ordinal of the
    load that last changed the row. owner: for sets replaced whole, the column that names their owner.
    """
    return Table(
        name,
        metadata,
        key("account_id"),
        *columns,
        Column("source_updated_at", Instant),
        Column("synced_at", Instant, nullable=False),
        Column("raw_hash", Text, nullable=False),
        Column("read_seq", BigInteger, nullable=False),
        Column("load_seq", BigInteger, nullable=False),
        info={"owner": owner},
    )


def key_of(table: Table) -> tuple[str, ...]:
    """The columns no two rows of a table agree in."""
    return tuple(column.name for column in table.columns if column.info.get("key"))


account = canonical(
    "account",
    column("connector"),
    column("name"),
    column("base_url"),
    column("external_id"),
    column("tz"),
    column("base_currency"),
    column("default_region"),
    column("calendar_id", null=True),
    column("created_at", Instant, null=True),
)

department = canonical(
    "department",
    key("department_id"),
    column("name"),
    column("parent_id", null=True),
    column("head_user_id", null=True),
    column("deleted_at", Instant, null=True),
)

user = canonical(
    "user",
    key("user_id"),
    column("name"),
    personal("email", null=True),
    column("is_active", Boolean),
    column("is_robot", Boolean),
    column("deleted_at", Instant, null=True),
)

user_department = canonical(
    "user_department",
    key("user_id"),
    key("department_id"),
    key("valid_from", Instant),
    column("valid_to", Instant, null=True),
    column("is_main", Boolean),
)

user_alias = canonical(
    "user_alias",
    key("system"),
    key("external_id"),
    column("user_id", null=True),
    personal("name", null=True),
    column("extension", null=True),
    personal("email", null=True),
)

user_absence = canonical(
    "user_absence",
    key("user_id"),
    key("first_day", Date),
    column("end_day", Date),
    column("kind"),
)

calendar_hours = canonical(
    "calendar_hours",
    key("calendar_id"),
    key("isoweekday", BigInteger),
    key("opens_s", BigInteger),
    column("closes_s", BigInteger),
)

calendar_exception = canonical(
    "calendar_exception",
    key("calendar_id"),
    key("day", Date),
    key("position", BigInteger),
    column("opens_s", BigInteger, null=True),
    column("closes_s", BigInteger, null=True),
)

pipeline = canonical(
    "pipeline",
    key("pipeline_id"),
    column("name"),
    column("entity_kind"),
    column("sort", BigInteger),
    column("is_archived", Boolean),
    column("deleted_at", Instant, null=True),
)

stage = canonical(
    "stage",
    key("pipeline_id"),
    key("stage_id"),
    column("name"),
    column("sort", BigInteger),
    column("kind"),
    column("color", null=True),
    column("deleted_at", Instant, null=True),
)

loss_reason = canonical(
    "loss_reason",
    key("loss_reason_id"),
    column("name"),
    column("sort", BigInteger, null=True),
    column("deleted_at", Instant, null=True),
)

source = canonical(
    "source",
    key("source_id"),
    column("name"),
    column("deleted_at", Instant, null=True),
)

product = canonical(
    "product",
    key("product_id"),
    column("name"),
    column("sku", null=True),
    column("category", null=True),
    column("unit", null=True),
    column("cost_minor", BigInteger, null=True),
    column("currency", null=True),
    column("deleted_at", Instant, null=True),
)

fx_rate = canonical(
    "fx_rate",
    key("day", Date),
    key("currency"),
    column("rate_to_base", Double),
)

field_def = canonical(
    "field_def",
    key("field_id"),
    column("entity_kind"),
    column("name"),
    column("code", null=True),
    column("type"),
    column("is_api_only", Boolean),
    column("removed_at", Instant, null=True),
    column("was_type", null=True),
    column("retyped_at", Instant, null=True),
)

field_enum = canonical(
    "field_enum",
    key("field_id"),
    key("enum_id"),
    column("name"),
    column("sort", BigInteger, null=True),
    owner="field_id",
)

field_required = canonical(
    "field_required",
    key("field_id"),
    key("pipeline_id"),
    key("stage_id"),
    owner="field_id",
)

task_type = canonical(
    "task_type",
    key("task_type_id"),
    column("name"),
    column("code", null=True),
    column("deleted_at", Instant, null=True),
)

company = canonical(
    "company",
    key("company_id"),
    personal("name", null=True),
    column("responsible_user_id", null=True),
    column("created_at", Instant),
    column("created_by", null=True),
    column("is_my_company", Boolean),
    column("deleted_at", Instant, null=True),
)

contact = canonical(
    "contact",
    key("contact_id"),
    personal("name", null=True),
    column("company_id", null=True),
    column("responsible_user_id", null=True),
    column("created_at", Instant),
    column("created_by", null=True),
    column("deleted_at", Instant, null=True),
)

client_phone = canonical(
    "client_phone",
    key("entity_id"),
    key("phone_key", loaded=True),
    column("entity_kind"),
    column("contact_id", null=True),
    column("company_id", null=True),
    personal("phone_e164", null=True),
    personal("phone_raw"),
    column("phone_digits", BigInteger, loaded=True),
    owner="entity_id",
)

client_email = canonical(
    "client_email",
    key("entity_id"),
    key("email_key", loaded=True),
    column("entity_kind"),
    column("contact_id", null=True),
    column("company_id", null=True),
    personal("email_norm"),
    owner="entity_id",
)

merge_link = canonical(
    "merge_link",
    key("kind"),
    key("from_id"),
    column("into_id"),
    column("merged_at", Instant),
)

deal = canonical(
    "deal",
    key("deal_id"),
    column("entity_kind"),
    personal("name", null=True),
    column("pipeline_id"),
    column("stage_id"),
    column("responsible_user_id", null=True),
    column("created_by", null=True),
    column("amount_minor", BigInteger, null=True),
    column("currency"),
    column("company_id", null=True),
    column("main_contact_id", null=True),
    column("parent_lead_id", null=True),
    column("source_id", null=True),
    column("utm_source", null=True),
    column("utm_medium", null=True),
    column("utm_campaign", null=True),
    column("utm_content", null=True),
    column("utm_term", null=True),
    column("loss_reason_id", null=True),
    personal("loss_comment", null=True),
    column("created_at", Instant),
    column("closed_at", Instant, null=True),
    column("expected_close_on", Date, null=True),
    column("is_repeat", Boolean, null=True),
    column("restored_at", Instant, null=True),
    column("deleted_at", Instant, null=True),
)

deal_contact = canonical(
    "deal_contact",
    key("deal_id"),
    key("contact_id"),
    column("is_main", Boolean),
    column("position", BigInteger),
    owner="deal_id",
)

deal_stage_transition = canonical(
    "deal_stage_transition",
    key("change_id"),
    column("deal_id"),
    column("changed_at", Instant),
    column("from_pipeline_id", null=True),
    column("from_stage_id", null=True),
    column("to_pipeline_id"),
    column("to_stage_id"),
    column("by_user_id", null=True),
    column("origin"),
)

deal_owner_change = canonical(
    "deal_owner_change",
    key("change_id"),
    column("deal_id"),
    column("changed_at", Instant),
    column("from_user_id", null=True),
    column("to_user_id", null=True),
    column("by_user_id", null=True),
    column("origin"),
)

deal_amount_change = canonical(
    "deal_amount_change",
    key("change_id"),
    column("deal_id"),
    column("changed_at", Instant),
    column("from_minor", BigInteger, null=True),
    column("to_minor", BigInteger, null=True),
    column("currency"),
    column("by_user_id", null=True),
    column("origin"),
)

deal_item = canonical(
    "deal_item",
    key("deal_item_id"),
    column("deal_id"),
    column("product_id", null=True),
    personal("name", null=True),
    column("qty", Double),
    column("price_minor", BigInteger, null=True),
    column("discount_minor", BigInteger, null=True),
    column("sum_minor", BigInteger, null=True),
    column("currency"),
    column("price_is_current", Boolean),
    owner="deal_id",
)

process_item = canonical(
    "process_item",
    key("item_id"),
    column("process_id"),
    column("process_name"),
    personal("name", null=True),
    column("pipeline_id", null=True),
    column("stage_id", null=True),
    column("responsible_user_id", null=True),
    column("amount_minor", BigInteger, null=True),
    column("currency", null=True),
    column("parent_deal_id", null=True),
    column("company_id", null=True),
    column("main_contact_id", null=True),
    column("created_at", Instant),
    column("closed_at", Instant, null=True),
    column("deleted_at", Instant, null=True),
)

process_item_transition = canonical(
    "process_item_transition",
    key("change_id"),
    column("item_id"),
    column("changed_at", Instant),
    column("from_pipeline_id", null=True),
    column("from_stage_id", null=True),
    column("to_pipeline_id"),
    column("to_stage_id"),
    column("by_user_id", null=True),
    column("origin"),
)

call = canonical(
    "call",
    key("call_id"),
    column("external_uniq", null=True),
    column("external_call_id", null=True),
    column("call_group_id", null=True),
    column("direction"),
    column("subtype"),
    column("is_internal", Boolean),
    column("started_at", Instant),
    column("wait_s", BigInteger, null=True),
    column("talk_s", BigInteger, null=True),
    column("vote", BigInteger, null=True),
    column("status"),
    column("user_id", null=True),
    personal("phone_e164", null=True),
    personal("phone_raw", null=True),
    column("phone_key", null=True, loaded=True),
    column("phone_digits", BigInteger, loaded=True),
    column("line", null=True),
    column("entity_kind", null=True),
    column("entity_id", null=True),
    column("contact_id", null=True),
    column("company_id", null=True),
    column("deal_id", null=True),
    personal("recording_url", null=True),
    column("cost_minor", BigInteger, null=True),
    column("provider", null=True),
    column("deleted_at", Instant, null=True),
)

message = canonical(
    "message",
    key("message_id"),
    column("chat_id", null=True),
    column("channel"),
    column("direction"),
    column("author"),
    column("sent_at", Instant),
    column("user_id", null=True),
    column("contact_id", null=True),
    column("company_id", null=True),
    column("deal_id", null=True),
    personal("text", null=True),
    column("has_file", Boolean),
    column("deleted_at", Instant, null=True),
)

chat = canonical(
    "chat",
    key("chat_id"),
    column("channel"),
    column("opened_at", Instant),
    column("closed_at", Instant, null=True),
    column("operator_user_id", null=True),
    column("contact_id", null=True),
    column("company_id", null=True),
    column("deal_id", null=True),
    column("source_id", null=True),
    column("status", null=True),
    column("missed_at", Instant, null=True),
    column("rating", BigInteger, null=True),
    personal("first_line", null=True),
    column("deleted_at", Instant, null=True),
)

task = canonical(
    "task",
    key("task_id"),
    column("kind"),
    column("task_type_id", null=True),
    column("entity_kind", null=True),
    column("entity_id", null=True),
    column("responsible_user_id", null=True),
    column("created_by", null=True),
    personal("text", null=True),
    column("created_at", Instant),
    column("due_at", Instant, null=True),
    column("due_is_allday", Boolean),
    column("completed_at", Instant, null=True),
    column("completed_is_estimate", Boolean),
    column("is_completed", Boolean),
    personal("result", null=True),
    column("deleted_at", Instant, null=True),
)

task_link = canonical(
    "task_link",
    key("task_id"),
    key("entity_id"),
    column("entity_kind"),
    owner="task_id",
)

activity = canonical(
    "activity",
    key("activity_id"),
    column("kind"),
    column("done_at", Instant),
    column("user_id", null=True),
    column("contact_id", null=True),
    column("company_id", null=True),
    column("deal_id", null=True),
    personal("text", null=True),
    column("deleted_at", Instant, null=True),
)

request = canonical(
    "request",
    key("request_id"),
    column("category"),
    column("source_id", null=True),
    column("received_at", Instant),
    column("processed_at", Instant, null=True),
    column("status", null=True),
    column("deal_id", null=True),
    column("contact_id", null=True),
    column("user_id", null=True),
    personal("phone_e164", null=True),
    column("phone_key", null=True, loaded=True),
    column("deleted_at", Instant, null=True),
)

customer = canonical(
    "customer",
    key("customer_id"),
    column("contact_id", null=True),
    column("company_id", null=True),
    column("status_id", null=True),
    column("responsible_user_id", null=True),
    column("next_on", Date, null=True),
    column("next_minor", BigInteger, null=True),
    column("created_at", Instant),
    column("deleted_at", Instant, null=True),
)

sales_doc = canonical(
    "sales_doc",
    key("doc_id"),
    column("kind"),
    column("number", null=True),
    column("doc_at", Instant),
    column("contact_id", null=True),
    column("company_id", null=True),
    column("deal_id", null=True),
    column("user_id", null=True),
    column("amount_minor", BigInteger),
    column("currency"),
    column("status", null=True),
    column("deleted_at", Instant, null=True),
)

field_value = canonical(
    "field_value",
    key("entity_id"),
    key("field_id"),
    key("position", BigInteger),
    column("entity_kind"),
    personal("value_text", null=True),
    guarded("value_num", Double),
    guarded("value_ts", Instant),
    guarded("value_date", Date),
    column("enum_id", null=True),
    column("enum_code", null=True),
    column("set_at", Instant, null=True),
    column("set_by", null=True),
    owner="entity_id",
)

entity_tag = canonical(
    "entity_tag",
    key("entity_id"),
    key("tag"),
    column("entity_kind"),
    column("tag_id", null=True),
    owner="entity_id",
)

invoice = canonical(
    "invoice",
    key("invoice_id"),
    column("deal_id", null=True),
    column("contact_id", null=True),
    column("company_id", null=True),
    column("number", null=True),
    column("issued_on", Date),
    column("due_on", Date, null=True),
    column("amount_minor", BigInteger),
    column("currency"),
    column("status"),
    column("business_line", null=True),
    column("deleted_at", Instant, null=True),
)

deal_invoice = canonical(
    "deal_invoice",
    key("deal_id"),
    key("invoice_id"),
    owner="deal_id",
)

payment = canonical(
    "payment",
    key("payment_id"),
    column("invoice_id", null=True),
    column("deal_id", null=True),
    column("contact_id", null=True),
    column("company_id", null=True),
    column("customer_id", null=True),
    column("paid_at", Instant),
    column("amount_minor", BigInteger),
    column("currency"),
    column("direction"),
    column("category", null=True),
    column("business_line", null=True),
    column("is_planned", Boolean),
    column("deleted_at", Instant, null=True),
)

ad_cost = canonical(
    "ad_cost",
    key("provider"),
    key("day", Date),
    key("campaign_id"),
    column("campaign_name"),
    column("source_id", null=True),
    column("cost_minor", BigInteger),
    column("currency"),
    column("clicks", BigInteger, null=True),
    column("impressions", BigInteger, null=True),
    column("vat_included", Boolean, null=True),
)

target = canonical(
    "target",
    key("scope_kind"),
    key("scope_id"),
    key("metric"),
    key("grain"),
    key("period", Date),
    column("value_num", Double, null=True),
    column("value_minor", BigInteger, null=True),
    column("currency", null=True),
)

transcript = canonical(
    "transcript",
    key("subject_id"),
    key("seq", BigInteger),
    column("subject_kind"),
    column("speaker"),
    column("start_s", Double, null=True),
    column("end_s", Double, null=True),
    personal("text"),
)

checklist_item = canonical(
    "checklist_item",
    key("checklist_id"),
    key("item_id"),
    column("name"),
    column("weight", Double),
    column("is_critical", Boolean),
)

checklist_mark = canonical(
    "checklist_mark",
    key("subject_id"),
    key("item_id"),
    key("rater"),
    key("rater_id"),
    column("value", Double, null=True),
    column("marked_at", Instant),
)

coverage = canonical(
    "coverage",
    key("resource"),
    column("complete_from", Instant, null=True),
    column("watermark", Instant, null=True),
)

metric_series = canonical(
    "metric_series",
    key("metric_id"),
    key("group_key"),
    key("day", Date),
    column("value", Double, null=True),
    column("num", BigInteger, null=True),
    column("den", BigInteger, null=True),
)

report_snapshot = canonical(
    "report_snapshot",
    key("report_id"),
    column("metric_id"),
    column("sent_at", Instant),
    column("body"),
)

CANONICAL: tuple[Table, ...] = tuple(metadata.tables.values())
"""Tables of records: what is published. Those below are the sync's own."""

raw_record = Table(
    "raw_record",
    metadata,
    key("account_id"),
    key("entity"),
    key("native_id"),
    key("raw_hash"),
    Column("body", LargeBinary, nullable=False),  # JSON; DuckDB packs it: 158 bytes of a 415-byte call, zlib made 271
    Column("first_read_seq", BigInteger, nullable=False),
    Column("last_read_seq", BigInteger, nullable=False),
)

# What tells this warehouse from every other one, in a single row. key_fingerprint: of the key of the hashes in it
# (`database.personal_key`). published: the generation last exported from it, whose files alone are known to hold
# rows of its past; a warehouse made anew, or an older one restored, may give the same ordinals to other rows.
identity = Table(
    "identity",
    metadata,
    indexed("warehouse_id"),
    Column("key_fingerprint", Text),
    Column("published", Text),
)

# The latest word on whether a row is deleted. Kept apart from the row, because it may be read before the row is, and so
# that which of the two was read later decides, in whatever order they are committed. row_id: the key, joined by "/".
tombstone = Table(
    "tombstone",
    metadata,
    key("account_id"),
    key("table_name"),
    key("row_id"),
    Column("deleted_at", Instant),  # null: came back
    Column("read_seq", BigInteger, nullable=False),
)

# The latest instant another resource knows for a patched column of a row; laid over the row whenever it is read again.
patch = Table(
    "patch",
    metadata,
    key("account_id"),
    key("table_name"),
    key("row_id"),
    key("column_name"),
    Column("patched_at", Instant, nullable=False),
)

# What each deal said at the last sync, and since which one. What differs at the next is a change, whether or not a log
# of the source tells of it (`sightings`).
deal_seen = Table(
    "deal_seen",
    metadata,
    key("account_id"),
    key("deal_id"),
    column("pipeline_id", null=True),
    column("stage_id", null=True),
    column("responsible_user_id", null=True),
    column("amount_minor", BigInteger, null=True),
    column("stage_seen_at", Instant),
    column("owner_seen_at", Instant),
    column("amount_seen_at", Instant),
)

# When the deals of an account were last compared with a log of their changes, and the load of that look.
deal_look = Table(
    "deal_look",
    metadata,
    indexed("account_id"),
    indexed("table_name"),
    Column("looked_at", Instant, nullable=False),
    Column("load_seq", BigInteger, nullable=False),
)

# Who answered to an account of the config at its first sync; another number later is refused.
sync_account = Table(
    "sync_account",
    metadata,
    indexed("account_id"),
    Column("connector", Text, nullable=False),
    Column("external_id", Text, nullable=False),
    Column("target_account_id", Text, nullable=False),  # differs for a source that feeds another account
    Column("viewer", Text),  # whose rights it was last read with; null: not known
    Column("shape", Text),  # the settings that what is on hand was read with (`sync.shaping`); null: not known
    Column("raw_whole_since", Instant),  # superseded raw versions from before are gone (`warehouse.raw`); null: none is
)

# How far each resource was read, one row per table it fills; `coverage` is made of it.
sync_watermark = Table(
    "sync_watermark",
    metadata,
    indexed("account_id"),
    indexed("resource"),
    indexed("table_name"),
    Column("target_account_id", Text, nullable=False),
    Column("is_core", Boolean, nullable=False),
    Column("complete_from", Instant),
    Column("watermark", Instant),  # null: never read whole
    Column("has_others", Boolean),  # other resources know, if less of each, all that it fills the table with
    Column("is_left_out", Boolean),  # the source did not give it when last asked: nothing waits for it
)

# A window of a walk that is not finished yet: done ones are skipped when a killed run resumes.
sync_state = Table(
    "sync_state",
    metadata,
    indexed("account_id"),
    indexed("resource"),
    indexed("window_key"),
    Column("run_id", BigInteger, nullable=False),
    Column("started_at", Instant, nullable=False),  # of the run that read it, by the server's clock
    Column("done_at", Instant, nullable=False),
)

# The greatest number each numbered list of a resource had when it was last read: what is above it is new.
sync_number = Table(
    "sync_number",
    metadata,
    indexed("account_id"),
    indexed("resource"),
    indexed("part"),
    Column("number", BigInteger, nullable=False),
)

# Ids a walk asked to be read again, until that has happened.
sync_reread = Table(
    "sync_reread",
    metadata,
    indexed("account_id"),
    indexed("resource"),
    indexed("native_id"),
    Column("run_id", BigInteger, nullable=False),
)

# The last sweep of a resource: all rows on hand looked for at the source.
sync_sweep = Table(
    "sync_sweep",
    metadata,
    indexed("account_id"),
    indexed("resource"),
    Column("swept_at", Instant, nullable=False),  # start of its run, by the server's clock
    Column("viewer", Text),  # who was shown all rows on hand, the deleted ones apart; null: not known
    Column("met", Text),  # who read at the last sweep
    Column("n_missing", BigInteger, nullable=False),  # rows it did not show and that were not taken as deleted
)

# One row per resource and run: what was read, what became of it.
sync_run = Table(
    "sync_run",
    metadata,
    indexed("run_id", BigInteger),
    indexed("account_id"),
    indexed("resource"),
    Column("started_at", Instant, nullable=False),
    Column("finished_at", Instant),
    Column("status", Text, nullable=False),  # running, done, failed
    Column("n_read", BigInteger, nullable=False),
    Column("n_written", BigInteger, nullable=False),
    Column("n_unknown", BigInteger, nullable=False),  # enum values kept as `unknown`
    Column("error", Text),
)

# Whom nobody may bring back: keyed hashes of phones, e-mails, cards and of what hangs on them (`suppression`). person:
# the hash that was asked for, the same for all that belongs to one person; n_stopped: what a later reading brought.
forgotten = Table(
    "forgotten",
    metadata,
    indexed("kind"),
    indexed("hash"),
    Column("person", Text, nullable=False),
    Column("forgotten_at", Instant, nullable=False),
    Column("n_stopped", BigInteger, nullable=False),
)

run_ids = Sequence("run_id", metadata=metadata)
