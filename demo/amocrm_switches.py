"""How the emulated amoCRM behaves where the reference is uncertain (`amocrm.md`, section 7): defaults first."""

from dataclasses import dataclass
from typing import Literal

Filters = Literal["true", "false", "error"]


@dataclass(frozen=True)
class Switches:
    """Each value is one of those the reference names. `limiter`: whether the rate limit is on (off for the demo)."""

    domain: Literal["amocrm.ru", "kommo.com"] = "amocrm.ru"
    limit_over_max: Literal["clamp", "400", "422"] = "clamp"
    events_max_limit: Literal[100, 250] = 100
    trash_is_filtered: bool = True
    missing_by_id: Literal[204, 404] = 204
    filters_enabled: Filters = "true"
    range_to_inclusive: bool = True
    next_on_last_full_page: bool = True
    next_missing_on: tuple[str, ...] = ()
    empty_object_as_list: bool = True
    embedded_when_empty_include: bool = True
    loss_reason_shape: Literal["array", "object"] = "array"
    closed_at_open: Literal["null", "0"] = "null"
    closed_at_after_reopen: Literal["null", "keep"] = "null"
    price_minor_units: bool = False
    links_bump_updated_at: bool = False
    link_told_of: Literal["lead", "contact"] = "lead"
    notes_bump_updated_at: bool = False
    tags_bump_updated_at: bool = False
    restore_bumps_updated_at: bool = False
    unsorted_leads_in_list: bool = False
    archived_pipelines_in_list: bool = True
    merge_emits_delete: bool = True
    merge_moves_notes: bool = True
    retry_after: Literal["body", "header", "none"] = "body"
    events_default_excludes_mail: bool = True
    catalogs_are_paged: bool = False
    talks_list: Literal["on", "404"] = "on"
    jwt_claims: Literal["full", "minimal", "opaque"] = "full"
    chat_event_value: Literal["id", "id+talk_id+origin"] = "id"
    customers_mode: Literal["periodicity", "segments", "disabled"] = "periodicity"
    deleted_transactions_in_list: bool = True
    transactions_id_filter: bool = True
    is_unsorted_on: bool = True
    accept_event: Literal["lead_status_changed", "lead_added"] = "lead_status_changed"
    limiter: bool = False
