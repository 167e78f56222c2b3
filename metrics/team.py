"""A manager (or segment) beside the rest of the team (R-TEST): differs, not "is guilty".

All rows of one table are one family of comparisons: q by Benjamini–Hochberg. Leads are not given out at random, so a
difference is a reason to look, not a verdict.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from metrics.stats.rates import benjamini_hochberg, fisher, newcombe

MAX_Q = 0.10
"""At most this share of those flagged is chance."""
MIN_EFFECT = 0.05
"""Smaller differences of rates are of no use to anybody, however sure."""

COMPARED: dict[str, pl.DataType] = {
    "rest_rate": pl.Float64(),
    "diff": pl.Float64(),
    "diff_lo": pl.Float64(),
    "diff_hi": pl.Float64(),
    "p": pl.Float64(),
    "q": pl.Float64(),
    "flag": pl.Boolean(),
}


def compared(
    table: pl.DataFrame,
    num: str,
    den: str,
    *,
    within: Sequence[str],
    tested: pl.Expr,
    in_team: pl.Expr | None = None,
    min_effect: float = MIN_EFFECT,
    prefix: str = "",
) -> pl.DataFrame:
    """`table` with each row's rate num/den beside that of the other rows of its team.

    Args:
        table: a row per member of a team. within: what makes a team (account, and a reason or a stage).
        tested: which rows are tested (enough cases, still working here). in_team: which of them and of the others are
            the rest of the team; where None, all rows (R-USER: who has left is not).
        min_effect: a smaller difference is never flagged. prefix: of the new columns.

    Returns:
        `table` in its order, with `COMPARED`: the rest's rate, the difference and its 95 % limits (Newcombe), p of the
        two-sided Fisher test, q over all tested rows of the table, flag. Null where not tested or nobody is the rest.
    """
    in_team = pl.lit(True) if in_team is None else in_team.fill_null(False)
    teams = table.select(
        *within,
        k=num,
        n=den,
        is_tested=tested.fill_null(False) & in_team & (pl.col(den) > 0),
        in_team=in_team,
    )
    own = [pl.when("in_team").then(name).otherwise(0) for name in ("k", "n")]
    rest = [part.sum().over(within) - part for part in own]
    rows = teams.with_columns(rest_k=rest[0], rest_n=rest[1]).select("k", "n", "rest_k", "rest_n", "is_tested")
    found = pl.DataFrame([_beside(**row) for row in rows.to_dicts()], schema=COMPARED)
    marked = found.with_columns(q=_adjusted(found["p"]))
    is_flag = (pl.col("q") <= MAX_Q) & (pl.col("diff").abs() >= min_effect)
    named = marked.with_columns(flag=is_flag).rename({name: f"{prefix}{name}" for name in COMPARED})
    return pl.concat([table, named], how="horizontal")


def _beside(k: int, n: int, rest_k: int, rest_n: int, *, is_tested: bool) -> dict[str, Any]:
    between = newcombe(k, n, rest_k, rest_n) if is_tested else None
    if between is None:
        return dict.fromkeys(COMPARED)
    diff, lo, hi = between
    p = fisher([[k, n - k], [rest_k, rest_n - rest_k]])
    return {"rest_rate": rest_k / rest_n, "diff": diff, "diff_lo": lo, "diff_hi": hi, "p": p, "q": None, "flag": None}


def _adjusted(p: pl.Series) -> pl.Series:
    """q of each p that is known."""
    values = p.cast(pl.Float64).to_numpy()
    q = np.full(values.size, np.nan)
    known = ~np.isnan(values)
    q[known] = benjamini_hochberg(values[known])
    return pl.Series(q, nan_to_null=True)
