"""What people set about rows of published tables: which columns there are, and how what was set becomes frames."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import polars as pl


@dataclass(frozen=True)
class UserColumns:
    """Columns of a published table that people fill: its key, and the columns with their types."""

    key: tuple[str, ...]
    columns: Mapping[str, pl.DataType]


USER_SET: dict[str, UserColumns] = {
    "stage": UserColumns(
        ("account_id", "pipeline_id", "stage_id"),
        {
            "is_kev": pl.Boolean(),
            "sla_s": pl.Int64(),
            "sla_clock": pl.String(),
            "funnel_style": pl.String(),
            "is_technical": pl.Boolean(),
            "is_filter": pl.Boolean(),
        },
    ),
    "pipeline": UserColumns(("account_id", "pipeline_id"), {"purpose": pl.String()}),
    "user": UserColumns(
        ("account_id", "user_id"),
        {
            "role": pl.String(),
            "hired_on": pl.Date(),
            "left_on": pl.Date(),
            "tz": pl.String(),
            "calendar_id": pl.String(),
        },
    ),
    "source": UserColumns(("account_id", "source_id"), {"channel": pl.String(), "is_paid": pl.Boolean()}),
    "loss_reason": UserColumns(("account_id", "loss_reason_id"), {"category": pl.String()}),
    "product": UserColumns(("account_id", "product_id"), {"business_line": pl.String()}),
    "task_type": UserColumns(("account_id", "task_type_id"), {"kind": pl.String()}),
    # Here the mart has a first opinion and what people say overrides it.
    "client": UserColumns(("account_id", "client_id"), {"is_spam": pl.Boolean(), "is_stop_listed": pl.Boolean()}),
}
"""On a published table these columns always exist, null until somebody sets them."""


def user_set_frames(rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, pl.DataFrame]:
    """Rows per table (`SettingsStore.user_set()`) as `open_frames` takes them."""
    return {
        table: pl.DataFrame([_typed(table, row) for row in values], infer_schema_length=None)
        for table, values in rows.items()
    }


def _typed(table: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with its days, ISO text so far, as dates."""
    days = {name for name, kind in USER_SET[table].columns.items() if kind == pl.Date() and row.get(name) is not None}
    return {name: date.fromisoformat(value) if name in days else value for name, value in row.items()}
