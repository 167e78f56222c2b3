"""How likely deals are to be won within a time, as it was known at any instant: what became of earlier deals.

One table of `lives` serves every instant: a stay, how the deal's time in the pipeline ended after it, and when. Whoever
looks from `now_s` cuts it there and sees nothing of what came later. Instants (`_s`) are seconds of the account's wall
time, so that months are those of the account.

The chance of a deal that has stood on a stage for so long is taken from the deals that once stood there as long: from
that moment on, the share won within the horizon with losses and moves elsewhere as competing outcomes (S-AJ) and those
still open as censored. Anderson, Cain & Gelber 1983 (landmarks); Aalen & Johansen 1978.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import narwhals.stable.v2 as nw
import numpy as np
import polars as pl
from numpy.typing import NDArray

from metrics.funnel import DAY_S, MEMBER, PIPELINE, STAGE
from metrics.funnel_scope import Lazy
from metrics.stage_odds import LOOKBACK_D
from metrics.stats.rates import Floats
from metrics.stats.survival import shares_by

Whole = NDArray[np.int64]

LANDMARKS_D = (0, 1, 2, 4, 7, 14, 30, 60, 120, 240, 480)
"""Ages at which earlier deals are looked at: one that has stood for 10 days is likened to those that stood for 7."""
LOOKBACK_S = LOOKBACK_D * DAY_S


def stays(visits: Lazy) -> Lazy:
    """What `lives` needs of `stage_interval`."""
    names = ["deal_id", "n", "stage_kind", "next_pipeline_id", "next_kind", "entered_local", "left_local"]
    is_known = ~(
        nw.col("is_inferred").fill_null(False)
        | nw.col("is_truncated").fill_null(False)
        | nw.col("is_pass_through").fill_null(False)
    )
    return visits.with_columns(left_local=nw.when(~nw.col("left_epoch").is_null()).then(nw.col("left_local"))).select(
        *STAGE, *names, is_known=is_known
    )


# The finishing half.


def seconds(local: str) -> pl.Expr:
    """Seconds of wall time."""
    return pl.col(local).dt.epoch("s")


def lives(rows: pl.DataFrame) -> pl.DataFrame:
    """Collected `stays`, in order, with entered_s, left_s (null: still there), and of the deal's time in the pipeline
    fate (won, lost, moved; null: none yet) and fate_s, when."""
    is_left = pl.col("left_s").is_not_null()
    goes_elsewhere = (pl.col("next_pipeline_id") != pl.col("pipeline_id")).fill_null(False)
    ends = ["won", "lost"]
    ending = (
        pl.when(is_left & goes_elsewhere)
        .then(pl.lit("moved"))
        .when(is_left & pl.col("next_kind").is_in(ends))
        .then("next_kind")
    )
    is_end = pl.col("stage_kind").is_in(ends)
    return (
        rows.sort(*MEMBER, "n")
        .with_columns(entered_s=seconds("entered_local"), left_s=seconds("left_local"))
        .with_columns(fate=ending)
        .with_columns(fate_s=pl.when(pl.col("fate").is_not_null()).then("left_s"))
        .with_columns(pl.col("fate", "fate_s").backward_fill().over(MEMBER))
        .with_columns(
            fate=pl.when(is_end).then("stage_kind").otherwise("fate"),
            fate_s=pl.when(is_end).then("entered_s").otherwise("fate_s"),
        )
        .select(*STAGE, "deal_id", "stage_kind", "is_known", "entered_s", "left_s", "fate", "fate_s")
    )


def entries(known: pl.DataFrame) -> pl.DataFrame:
    """Of `lives` the first sorted stay of each deal in each pipeline; those of unknown beginning left out."""
    first = known.filter(pl.col("stage_kind") != "unsorted").unique(MEMBER, keep="first", maintain_order=True)
    return first.filter(pl.col("entered_s").is_not_null(), "is_known")


def stood(known: pl.DataFrame, now_s: int) -> pl.DataFrame:
    """Of `lives` the stays on open stages that lasted at `now_s`, one per deal, with age_s."""
    is_there = (pl.col("entered_s") <= now_s) & (pl.col("left_s").is_null() | (pl.col("left_s") > now_s))
    there = known.filter(pl.col("stage_kind") == "open", is_there).sort("deal_id", "entered_s")
    return there.unique("deal_id", keep="last", maintain_order=True).with_columns(age_s=now_s - pl.col("entered_s"))


def n_decided(known: pl.DataFrame, now_s: int) -> int:
    """Deals won or lost in the year before `now_s`."""
    ended = known.filter(
        pl.col("fate").is_in(["won", "lost"]), pl.col("fate_s").is_between(now_s - LOOKBACK_S, now_s, closed="right")
    )
    return ended["deal_id"].n_unique()


@dataclass(frozen=True)
class Landmarks:
    """Stays of earlier deals, once for each landmark they lasted to, in order of since_s, the instant of it.

    fate_s: `NEVER` where there is none. cells: per way of likening deals, the number of each row's cell. keys: likewise
    the columns of a cell, its landmark_s and cell_no, its place in the table.
    """

    since_s: Whole
    fate_s: Whole
    is_won: NDArray[np.bool_]
    cells: tuple[Whole, ...]
    keys: tuple[pl.DataFrame, ...]
    places: pl.DataFrame


NEVER = 2**62
SAMPLE = 200_000
"""Of more stays than this, those of evenly chosen deals tell enough."""
LIKENED = (STAGE, ["account_id", "place"], ["account_id"])
"""To deals on the same stage; else in the same place of all pipelines; else on any."""


def landmarks(known: pl.DataFrame, rungs: pl.DataFrame) -> Landmarks:
    """What `with_prospects` looks chances up in, from `lives`."""
    place = pl.int_range(pl.len()).over(PIPELINE)
    places = rungs.sort(*PIPELINE, "stage_sort", "stage_id").select(*STAGE, place=place)
    at = pl.DataFrame({"landmark_s": [day * DAY_S for day in LANDMARKS_D]}, schema={"landmark_s": pl.Int64})
    stayed = known.filter(pl.col("stage_kind") == "open", "is_known", pl.col("entered_s").is_not_null())
    every = -(-stayed.height // SAMPLE)
    chosen = stayed if every <= 1 else stayed.filter(pl.col("deal_id").rank("dense") % every == 0)
    rows = (
        chosen.join(places, on=STAGE)
        .join(at, how="cross")
        .with_columns(since_s=pl.col("entered_s") + pl.col("landmark_s"))
        .filter(pl.col("left_s").is_null() | (pl.col("left_s") > pl.col("since_s")))
        .sort("since_s")
    )
    cells, keys = [], []
    for by in LIKENED:
        named = [*by, "landmark_s"]
        key = rows.select(named).unique().sort(named).with_row_index("cell_no")
        keys.append(key)
        cells.append(rows.join(key, on=named, how="left", maintain_order="left")["cell_no"].to_numpy().astype(np.int64))
    return Landmarks(
        rows["since_s"].to_numpy(),
        rows["fate_s"].fill_null(NEVER).to_numpy(),
        (rows["fate"] == "won").fill_null(False).to_numpy(),
        tuple(cells),
        tuple(keys),
        places,
    )


def with_prospects(
    standing: pl.DataFrame, earlier: Landmarks, *, now_s: int, horizon_s: int, min_known: int
) -> pl.DataFrame:
    """`standing` deals (STAGE, age_s) with cell (who shares a chance), successes and trials within `horizon_s`.

    Of the ways of `LIKENED` the first that `min_known` deals tell of, at the highest landmark not above the age. Null
    where nothing is known at all.
    """
    rows = standing.join(earlier.places, on=STAGE, how="left", maintain_order="left").with_row_index("row")
    seen = slice(*np.searchsorted(earlier.since_s, (now_s - LOOKBACK_S, now_s + 1)))
    watched = _Watched.of(earlier.since_s[seen], earlier.fate_s[seen], earlier.is_won[seen], now_s)
    found, missing = [], rows
    for by, cells, keys in zip(LIKENED, earlier.cells, earlier.keys, strict=True):
        successes, trials = watched.odds(cells[seen], [horizon_s], keys.height)
        table = keys.with_columns(
            cell=pl.concat_str(pl.lit("|".join(by)), *by, "landmark_s", separator="|"),
            successes=pl.Series(successes, dtype=pl.Float64),
            trials=pl.Series(trials, dtype=pl.Float64),
        ).filter(pl.col("trials") >= min_known)
        near = (
            missing.select("row", *by, "age_s")
            .sort("age_s")
            .join_asof(
                table.drop("cell_no").sort("landmark_s"),
                left_on="age_s",
                right_on="landmark_s",
                by=by,
                strategy="backward",
                check_sortedness=False,
            )
            .filter(pl.col("trials").is_not_null())
        )
        found.append(near.select("row", "cell", "successes", "trials"))
        missing = missing.join(near, on="row", how="anti")
        if missing.is_empty():
            break
    return rows.join(pl.concat(found), on="row", how="left", maintain_order="left").drop("row", "place")


def new_odds(arrived: pl.DataFrame, *, now_s: int, horizon_s: int, parts: int = 8) -> pl.DataFrame:
    """PIPELINE, successes, trials: of deals that come at any time within `horizon_s`, those won before its end.

    arrived: `entries`.
    """
    came = arrived.filter(pl.col("entered_s").is_between(now_s - LOOKBACK_S, now_s))
    keys = came.select(PIPELINE).unique().sort(PIPELINE).with_row_index("cell_no")
    cells = came.join(keys, on=PIPELINE, how="left", maintain_order="left")["cell_no"].to_numpy().astype(np.int64)
    is_won = (came["fate"] == "won").fill_null(False).to_numpy()
    watched = _Watched.of(came["entered_s"].to_numpy(), came["fate_s"].fill_null(NEVER).to_numpy(), is_won, now_s)
    horizons = [horizon_s * (part + 0.5) / parts for part in range(parts)]
    successes, trials = watched.odds(cells, horizons, keys.height)
    return keys.with_columns(
        successes=pl.Series(successes, dtype=pl.Float64), trials=pl.Series(trials, dtype=pl.Float64)
    ).drop("cell_no")


@dataclass(frozen=True)
class _Watched:
    """How long deals have been watched, whether their fate is known, and whether it is a win."""

    lasted_s: Whole
    is_over: NDArray[np.bool_]
    is_won: NDArray[np.bool_]

    @staticmethod
    def of(since_s: Whole, fate_s: Whole, is_won: NDArray[np.bool_], now_s: int) -> "_Watched":
        """As far as `now_s` knows."""
        return _Watched(np.minimum(fate_s, now_s) - since_s, fate_s <= now_s, is_won)

    def odds(self, cells: Whole, horizons_s: Sequence[float], n: int) -> tuple[Floats, Floats]:
        """successes and trials of each of `n` cells: trials are decided or were watched long enough; the mean of S-AJ
        over the horizons is the share of them that succeeded."""
        if not n:
            return np.zeros(0), np.zeros(0)
        trials = np.bincount(cells, self.is_over | (self.lasted_s >= max(horizons_s)), n)
        shares = shares_by(cells, self.lasted_s, self.is_over, self.is_won, horizons=horizons_s, n=n).mean(axis=1)
        return np.nan_to_num(shares) * trials, trials.astype(np.float64)
