"""The two copies of the demo company beside each other: every metric must say the same of both.

What one CRM cannot supply is in `OTHERWISE`, by metric, table, column and row, with the reason; the rest is compared
row by row, in any order, after amoCRM's ids were translated.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from demo import office
from demo.bitrix24_key import translated
from demo.compare import Comparison, Key, answer
from metrics.frames import FrameSet
from metrics.metric import find_metrics

OWN = frozenset({"account_id", "url", "episode_id", "thread_id", "sale_id", "call_id", "touch_id"})
"""Columns that name an account's own rows: calls are notes in one copy, rows of the statistics in the other."""


@dataclass(frozen=True)
class Otherwise:
    """What the copies cannot say alike, and the section of the reference (or the reason) why.

    tables: as `A1.total A1.by_user`. columns: which of them; none are whole rows. of: only in rows with these values.
    """

    tables: str
    why: str
    columns: str = ""
    of: Mapping[str, frozenset[Any]] = field(default_factory=dict)

    def tells_of(self, row: Mapping[str, Any]) -> bool:
        return all(row[name] in values for name, values in self.of.items())


TAKERS = {"user_id": frozenset({f"user:{office.HEAD}"})}
"""Whose requests that nobody has taken up yet are."""
ALONE = frozenset({"pipeline:1:0", "pipeline:2:3", None})
"""Pipelines that amoCRM has not or has archived; and what is said of all together."""
A1 = "A1.total A1.by_user A1.over_time A1.by_user_over_time"

OTHERWISE = (
    Otherwise("A3.threads A3.hidden", "2.4: notes of calls name no line", "line"),
    Otherwise("A2.by_line A6.by_line", "2.4: the same; the sums are in the other tables"),
    Otherwise(
        "A3.threads",
        "2.4: a call told twice hangs on several cards in amoCRM, here on those of its activity",
        "card_kind card_id",
    ),
    Otherwise(A1, "2.4: a call may hang on lead and contact in amoCRM; a PBX registers it once", "n_dup_removed"),
    Otherwise(A1, "of a call told twice amoCRM's notes may differ by a second", "talk_s_total talk_s_median"),
    Otherwise(A1, "a talk that was not measured is a 0 here", "n_answered_without_talk n_talk_unknown"),
    Otherwise("A7.by_user", "of a call told twice amoCRM's notes may differ by a second", "p90_s"),
    Otherwise("A11.basis", "the same", "aht_s"),
    Otherwise("A11.cells", "the same", "aht_s asa_s occupancy p_abandon sl wait_s"),
    Otherwise("A10.weeks", "the same", "raw team_median value", of={"series": frozenset({"talk_s_per_day"})}),
    Otherwise(
        "A10.series",
        "the same",
        "median_base median_recent ratio rz mk_z mk_p sen_slope break_p break_week",
        of={"series": frozenset({"talk_s_per_day"})},
    ),
    Otherwise("B2.clients", "4.9: tasks have no types, so what is no meeting is of one kind", "last_task_kind"),
    Otherwise(
        "B2.clients",
        "of tasks made in one second the smallest id counts; a meeting has another here",
        "last_task_due_at last_task_is_done",
    ),
    Otherwise(
        "B1.clients", "2.4: a request nobody has taken up is a lead, so a client", of={"kind": frozenset({"lead"})}
    ),
    Otherwise("B1.by_user E14.by_user E15.by_user", "2.4: the same", of=TAKERS),
    Otherwise("E15.by_user", "2.4: the same, in what the others do", "diff diff_lo diff_hi p q flag rest_rate"),
    Otherwise("C6.months", "2.4: amounts have no history", "n_discounted mean_discount_minor"),
    Otherwise("E14.total E14.by_source", "2.4: a request nobody has taken up is a lead", "n live_share"),
    Otherwise("E15.total E15.by_source", "2.4: the same", "n n_open rate ci_lo ci_hi low_n"),
    Otherwise(
        "E14.total E14.by_source E14.by_user",
        "REST names a person for what came in by itself (a robot acts as the administrator): it looks made by hand",
        "n_cold n_incoming n_unanswered n_slow num den rate ci_lo ci_hi low_n km_median_s km_p90_s wall_median_s "
        "diff diff_lo diff_hi p q flag rest_rate",
    ),
    Otherwise("E14.buckets", "the same: they are of what came in by itself"),
    Otherwise(
        "C5.stages E11.stages",
        "2.4: what comes in unsorted is a lead: deals have no such stage",
        "stage_sort n_born_here",
    ),
    Otherwise("E9.by_user", "2.4: the history of stages has no author"),
    Otherwise(
        "E16.findings",
        "2.4: leads have a pipeline of their own; and no pipeline can be archived",
        of={"pipeline_id": ALONE},
    ),
    Otherwise(
        "E13.summary E13.pairs",
        "the ids of pipelines are in the seed of what is drawn",
        "check_lo_minor check_hi_minor per_created_lo_minor per_created_hi_minor check_diff_lo_minor "
        "check_diff_hi_minor per_created_diff_lo_minor per_created_diff_hi_minor",
    ),
    Otherwise(
        "E18.total E18.components E18.pipelines E18.backtest",
        "what is drawn goes by the order of ids",
        "mean_minor p10_minor p50_minor p90_minor new_minor open_minor is_within",
    ),
    Otherwise(
        "E18.score",
        "the same",
        "n_within coverage ci_lo ci_hi bias wape pinball10_minor pinball50_minor pinball90_minor",
    ),
)


def twins(key: Key, frames: FrameSet, amocrm: str, bitrix24: str) -> Iterator[Comparison]:
    """Each table of each metric, of account `bitrix24` beside that of `amocrm`: how often each differing row is there.

    key: of the company, for its instant and days.
    """
    for metric_id in find_metrics():
        theirs, ours = (answer(metric_id, key, frames.accounts([one])).tables for one in (amocrm, bitrix24))
        for name in theirs.keys() | ours.keys():
            exceptions = [one for one in OTHERWISE if f"{metric_id}.{name}" in one.tables.split()]
            expected, found = (
                Counter(_rows(tables.get(name), exceptions, is_translated=tables is theirs))
                for tables in (theirs, ours)
            )
            yield Comparison(f"{metric_id} {name}", dict(expected - found), dict(found - expected))


def _rows(table: pl.DataFrame | None, exceptions: list[Otherwise], *, is_translated: bool) -> Iterator[str]:
    """What is compared of each row, as JSON."""
    if table is None:
        return
    for own in table.iter_rows(named=True):
        row: Any = translated(own) if is_translated else own
        told_of = [one for one in exceptions if one.tells_of(row)]
        if all(one.columns for one in told_of):
            left_out = OWN.union(*(one.columns.split() for one in told_of))
            yield json.dumps({name: row[name] for name in row if name not in left_out}, default=str, sort_keys=True)
