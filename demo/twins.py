"""The two copies of the demo company beside each other: every metric must say the same of both.

What one CRM cannot supply is in `OTHERWISE`, by metric, table and column, with the reason; the rest is compared row by
row, in any order, after amoCRM's ids were translated.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl

from demo.bitrix24_key import translated
from demo.compare import Comparison, Key, answer
from metrics.frames import FrameSet
from metrics.metric import find_metrics

OWN = frozenset({"account_id", "url", "episode_id", "thread_id", "sale_id", "call_id", "touch_id"})
"""Columns that name an account's own rows: calls are notes in one copy, rows of the statistics in the other."""
OTHERWISE: Mapping[str, str] = {
    "A3.threads.line": "2.4: notes of calls name no line",
    "A3.hidden.line": "2.4: notes of calls name no line",
    "A3.threads.card_kind": "2.4: a call told twice hangs on several cards in amoCRM, here on those of its activity",
    "A3.threads.card_id": "2.4: the same",
    "B2.clients.last_task_kind": "4.9: tasks have no types, so what is no meeting is of one kind",
    "B2.clients.last_task_due_at": "of tasks made in one second the smallest id counts; a meeting has another here",
    "B2.clients.last_task_is_done": "the same",
}
"""By metric, table and column: what the copies cannot say alike, and the section of the reference why."""


def twins(key: Key, frames: FrameSet, amocrm: str, bitrix24: str) -> Iterator[Comparison]:
    """Each table of each metric, of account `bitrix24` beside that of `amocrm`: how often each differing row is there.

    key: of the company, for its instant and days.
    """
    for metric_id in find_metrics():
        theirs, ours = (answer(metric_id, key, frames.accounts([one])).tables for one in (amocrm, bitrix24))
        for name in theirs.keys() | ours.keys():
            left_out = OWN | {
                column.rpartition(".")[2] for column in OTHERWISE if column.startswith(f"{metric_id}.{name}.")
            }
            expected, found = (
                Counter(_rows(tables.get(name), left_out, is_translated=tables is theirs)) for tables in (theirs, ours)
            )
            yield Comparison(f"{metric_id} {name}", dict(expected - found), dict(found - expected))


def _rows(table: pl.DataFrame | None, left_out: frozenset[str], *, is_translated: bool) -> Iterator[str]:
    if table is None:
        return
    for row in table.iter_rows(named=True):
        told: Any = {name: value for name, value in row.items() if name not in left_out}
        yield json.dumps(translated(told) if is_translated else told, default=str, sort_keys=True)
