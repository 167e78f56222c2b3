"""How the emulated Bitrix24 behaves where the reference is uncertain (`bitrix24.md`, section 11): defaults first.

What only cloud portals have (limits, costs, the `operating` keys) is off under `flavour="box"`. Seconds are those of
the server's timer.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Switches:
    """`limiter`: whether the cloud refuses anything at all (off for the demo)."""

    flavour: Literal["cloud", "box"] = "cloud"
    limiter: bool = False
    rate_x: float = 50
    """Requests the bucket holds."""
    rate_y: float = 2
    """Requests a second that drain from it."""
    rate_count_rejected: bool = False
    rate_step_drain: bool = True
    retry_after: bool = False
    op_enabled: bool = True
    op_limit_s: float = 480
    op_bucket_s: float = 60
    op_n_buckets: int = 10
    op_billing: Literal["nested", "envelope"] = "nested"
    op_min_recorded_s: float = 0.1
    """A request that takes a method no longer than this is free."""
    op_webhook_batch_shared: bool = False
    op_reset_iso: bool = False
    page_cost_s: float = 0.0
    cost_per_page_s: Mapping[str, float] = field(default_factory=dict)
    """Server time of one call of a method where it differs from `page_cost_s`."""
    count_cost_s: float = 0.0
    star_cost_s: float = 0.0
    offset_cost_s: float = 0.0
    """Server time of each page that `start` passes over."""
    costs_are_slept: bool = False
    """Whether an answer takes as long as it costs; else only the meter knows."""
    timeout_s: float = 60
    is_overloaded: bool = False
    """Whether the vendor blocked the whole portal."""
    clock_runs: bool = False
    """Whether the portal's clock goes on with the server's timer; else it stands still."""
    clock_skew_s: int = 0
    server_zone: str = "Europe/Moscow"
    user_zone: str = "Europe/Moscow"
    out_of_range_page: Literal["first", "empty"] = "first"
    negative_start_total: Literal["absent", "0"] = "absent"
    """What universal lists say of the total under `start=-1`."""
    unknown_filter: Literal["400", "drop"] = "400"
    """What universal lists make of an unknown filter."""
    status_mode: Literal["code", "documentation"] = "code"
    time_int: bool = False
    history_current_category_only: bool = False
    history_ids_as_text: bool = False
    batch_numeric_keys_list: bool = True
    shuffle_without_order: bool = True
    empty_multiple: Literal["false", "null", "text", "list"] = "false"
    """What a user field of several values is in an old list while it has none."""
    empty_item_as_list: bool = True
    """Whether `useOriginalUfNames` with named fields gives rows without a value as `[]`."""
    has_files: bool = False
    """Whether deals have a user field with a file, whose addresses hold the secret of whoever asks."""
    scopes: tuple[str, ...] = (
        "crm", "task", "telephony", "user", "user_basic", "department", "imopenlines", "im", "catalog",
        "userfieldconfig",
    )  # fmt: skip
    denied_methods: tuple[str, ...] = ()
    """Patterns of methods that the caller has no right to."""
    hidden_categories: tuple[int, ...] = ()
    """Deal pipelines the caller lost the right to see."""
    telephony_rights: Literal["all", "own", "none"] = "all"
    bindings_in_activity_list: bool = False
    absent_methods: tuple[str, ...] = ()
    """Patterns of methods whose module the portal lacks."""
    offline_extended: bool = True
    """Whether the tariff has `rest_offline_extended`."""
    access_survives_refresh: bool = True
    is_admin: bool = True
    tariff: Literal["commercial", "free"] = "commercial"
    portal: Literal["open", "closed", "deleted"] = "open"
    moved_to: str = ""
    """The host a renamed portal answers 302 to."""
