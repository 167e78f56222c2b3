"""Columns of the derived tables, and the parameters they are built with.

Every table has `account_id` first. An instant `x` comes three ways (`instant`): `x_at` UTC, `x_local` wall time of the
account, `x_epoch` whole seconds since 1970.
"""

from typing import Literal

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from metrics.calendar import Calendar

Schema = dict[str, pl.DataType]

TEXT, INT, REAL, FLAG, DAY = pl.String(), pl.Int64(), pl.Float64(), pl.Boolean(), pl.Date()
UTC_INSTANT, WALL = pl.Datetime("us", "UTC"), pl.Datetime("us")


def instant(name: str) -> Schema:
    """The three columns of an instant."""
    return {f"{name}_at": UTC_INSTANT, f"{name}_local": WALL, f"{name}_epoch": INT}


MARTS: dict[str, Schema] = {
    # Grain: one card. Which client (merge root, R-CLIENT) a contact, company or deal belongs to.
    "client_member": {"account_id": TEXT, "entity_id": TEXT, "entity_kind": TEXT, "client_id": TEXT},
    # Grain: one client = merge root at company_else_contact grain; a deal without either is its own client.
    "client": {
        "account_id": TEXT,
        "client_id": TEXT,
        "kind": TEXT,  # company, contact, lead
        "responsible_user_id": TEXT,
        **instant("created"),  # earliest of the members
        **instant("first_touch"),  # first meaningful touch
        **instant("first_won"),
        "is_spam": FLAG,
        "is_stop_listed": FLAG,
        "is_deleted": FLAG,
    },
    # Grain: one deal not deleted at as_of. Outcome by R-OUTCOME; amounts in base currency, R-NULL applied.
    "deal_state": {
        "account_id": TEXT,
        "deal_id": TEXT,
        "client_id": TEXT,
        "entity_kind": TEXT,
        "pipeline_id": TEXT,
        "stage_id": TEXT,
        "outcome": TEXT,  # unsorted, open, won, lost
        "responsible_user_id": TEXT,
        "source_id": TEXT,
        "loss_reason_id": TEXT,
        "amount_minor": INT,
        **instant("created"),
        **instant("entered_pipeline"),  # first entry into the present pipeline
        **instant("outcome"),  # won_at or lost_at: entry into the last run of that kind; null while open
        "outcome_user_id": TEXT,  # responsible at the outcome, else the present one
        "lost_from_stage_id": TEXT,  # last open stage before the loss, same pipeline; null if none known
        "n_reopened": INT,
        "is_sales": FLAG,  # R-ENTITY: a deal in a pipeline whose purpose is sales, repeat or unset
    },
    # Grain: one call after R-DEDUP (inbound: legs joined into an episode; outbound: a deduplicated record).
    "call_episode": {
        "account_id": TEXT,
        "episode_id": TEXT,
        "direction": TEXT,
        "is_answered": FLAG,
        **instant("started"),
        "wait_s": INT,
        "talk_s": INT,
        "n_legs": INT,
        "user_id": TEXT,  # of the longest answered leg, else of the only user rung
        "rung_user_id": TEXT,  # the single user rung, null if several
        "n_rung": INT,
        "line": TEXT,
        "phone_key": TEXT,
        "phone_digits": INT,
        "client_id": TEXT,
        "thread_key": TEXT,  # one per caller: clients and phones that calls tie together; null for hidden numbers
        "deal_id": TEXT,
        "deal_rule": TEXT,  # named, binding, open_deal; null: none
        "card_kind": TEXT,  # the card the call was written on, for links
        "card_id": TEXT,
        "responsible_user_id": TEXT,  # the client's, now
        "is_internal": FLAG,
        "is_robot": FLAG,
        "is_spam": FLAG,
        "is_voicemail": FLAG,
        "has_recording": FLAG,
        "n_dup_removed": INT,
    },
    # Grain: one call record; to which episode it went.
    "call_episode_leg": {"account_id": TEXT, "call_id": TEXT, "episode_id": TEXT, "is_duplicate": FLAG},
    # Grain: one contact with a client (answered call, message, meeting), or an attempt at one.
    "touch": {
        "account_id": TEXT,
        "touch_id": TEXT,
        "client_id": TEXT,
        "user_id": TEXT,
        **instant("touched"),
        "kind": TEXT,  # call, message, meeting, visit
        "direction": TEXT,  # in, out; null for meetings
        "is_meaningful": FLAG,
        "is_attempt": FLAG,
        "weight": REAL,
        "deal_id": TEXT,
    },
    # Grain: one stay of a deal in a stage, numbered from 1. Chained by before/after; gaps are is_inferred rows.
    "stage_interval": {
        "account_id": TEXT,
        "deal_id": TEXT,
        "n": INT,
        "pipeline_id": TEXT,
        "stage_id": TEXT,
        "stage_kind": TEXT,
        "stage_sort": INT,
        **instant("entered"),  # null: unknown
        **instant("left"),  # null: still there
        "next_pipeline_id": TEXT,
        "next_stage_id": TEXT,
        "next_kind": TEXT,
        "visit_no": INT,  # of this stage by this deal, from 1
        "owner_user_id": TEXT,  # responsible when the stay began, else now
        "is_inferred": FLAG,  # the instant of entry is not recorded
        "is_truncated": FLAG,  # began before the stage history is complete
        "is_pass_through": FLAG,  # shorter than min_visit_s: reached, not entered
    },
    # Grain: one purchase on one basis (won_deal, payment, invoice_paid, shipment). valid_until: taken back at.
    "sale": {
        "account_id": TEXT,
        "sale_id": TEXT,
        "basis": TEXT,
        "client_id": TEXT,
        "deal_id": TEXT,
        "user_id": TEXT,
        **instant("sold"),
        "amount_minor": INT,
        "valid_from": UTC_INSTANT,
        "valid_until": UTC_INSTANT,
    },
    # Grain: one local day of one calendar. Working seconds before t of that day:
    # W(t) = before_s + clip(t - open_epoch, 0, close_epoch - open_epoch) + the same of the second pair (after lunch).
    # A day off has open = close. Elapsed working time is W(b) - W(a) under one calendar.
    "calendar_day": {
        "account_id": TEXT,
        "calendar_id": TEXT,
        "day": DAY,
        "is_working": FLAG,
        "before_s": INT,
        "open_epoch": INT,
        "close_epoch": INT,
        "open2_epoch": INT,
        "close2_epoch": INT,
    },
}

CARDS = ("contact", "company", "deal", "deal_contact", "merge_link")
MOVES = ("deal", "stage", "deal_stage_transition")
LOGS = ("deal_owner_change", "deal_amount_change")
FED_BY: dict[str, tuple[str, ...]] = {
    # mart: canonical tables it is made of, by which faults and later edits get into it. First touches and first sales
    # of a client come from those marts.
    "client_member": CARDS,
    "client": (*CARDS, *MOVES, "loss_reason"),
    "deal_state": (*CARDS, *MOVES, *LOGS, "fx_rate"),
    "call_episode": (*CARDS, *MOVES, "call", "client_phone", "loss_reason"),
    "call_episode_leg": ("call",),
    "touch": (*CARDS, *MOVES, "call", "client_phone", "message", "activity", "task"),
    "stage_interval": (*MOVES, "deal_owner_change"),
    "sale": (
        *CARDS,
        *MOVES,
        *LOGS,
        "fx_rate",
        "payment",
        "customer",
        "invoice",
        "deal_invoice",
        "sales_doc",
    ),
    "calendar_day": ("calendar_hours", "calendar_exception"),
}

DEFAULT_CALENDAR = "default"
"""The calendar of accounts that have none of their own."""


class MartParams(BaseModel):
    """Parameters that marts consume; they live in the config and in the manifest, not in metrics.

    client_grain: R-CLIENT. merge_mode: R-MERGE; `none` keeps merged cards apart. leg_gap_s: R-DEDUP step 3.
    min_visit_s: R-STAGE. min_talk_s: from how long on an answered call is a meaningful touch. zero_amount_is_null:
    R-NULL. calendars: working time by calendar_id; every account gets the days of each in its own time zone.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    client_grain: Literal["company_else_contact", "contact", "company"] = "company_else_contact"
    merge_mode: Literal["retro", "none"] = "retro"
    leg_gap_s: int = 5
    min_visit_s: int = 60
    min_talk_s: int = 10
    zero_amount_is_null: bool = True
    calendars: dict[str, Calendar] = Field(default_factory=lambda: {DEFAULT_CALENDAR: Calendar()})
