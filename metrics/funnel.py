"""What the funnel metrics (E1–E6 and the rest of E) mean by member, reached, entered, stay and flow.

Two halves. Functions over lazy frames (`members`, `stays`, `entries` …) run inside any engine; functions over Polars
frames (`ladder_table`, `stay_table`) work on what those leave: a row per stage, or one number per stay.

The member of a funnel is a deal *in a pipeline*: a deal moved elsewhere leaves the first cohort as `moved` and joins
the second as a `transfer` (R-COHORT). A rung is an open stage of today's pipeline; unsorted, won and lost are no rungs.
"""

from datetime import date, datetime, time
from typing import Any, Literal

import narwhals.stable.v2 as nw
import polars as pl

from metrics.stats.survival import kaplan_meier

Lazy = nw.LazyFrame[Any]

PIPELINE = ["account_id", "pipeline_id"]
STAGE = [*PIPELINE, "stage_id"]
MEMBER = [*PIPELINE, "deal_id"]
DEAL = ["account_id", "deal_id"]
DAY_S = 86_400


def start_of(day: date) -> datetime:
    """The first wall-clock moment of a local day: what `_local` columns are compared with."""
    return datetime.combine(day, time.min)


def ladder(stages: Lazy, clock: Lazy) -> Lazy:
    """One row per rung: the open stages of each pipeline that exist at `as_of` (R-DEL).

    Returns:
        account_id, pipeline_id, stage_id, stage_name, stage_sort, is_filter (False where nobody said).
    """
    exists = nw.col("deleted_at").is_null() | (nw.col("deleted_at") > nw.col("as_of_at"))
    return (
        stages.filter(nw.col("kind") == "open")
        .join(clock.select("account_id", "as_of_at"), on="account_id", how="inner")
        .filter(exists)
        .select(*STAGE, stage_name="name", stage_sort="sort", is_filter=nw.col("is_filter").fill_null(False))
    )


def seen(deals: Lazy, visits: Lazy, clock: Lazy) -> tuple[Lazy, Lazy]:
    """Deals (no leads, R-ENTITY) and their stays as far as `as_of` sees them: a stay that ends later is open."""
    now = clock.select("account_id", "as_of_epoch")
    known = deals.filter(nw.col("entity_kind") == "deal").join(now, on="account_id", how="inner")
    begun = visits.join(now, on="account_id", how="inner").filter(
        (nw.col("entered_epoch") <= nw.col("as_of_epoch")) | nw.col("entered_epoch").is_null()
    )
    is_past = nw.col("left_epoch") <= nw.col("as_of_epoch")
    return (
        known.filter(nw.col("created_epoch") <= nw.col("as_of_epoch")).drop("as_of_epoch"),
        begun.with_columns(left_epoch=nw.when(is_past).then(nw.col("left_epoch"))).drop("as_of_epoch"),
    )


Anchor = Literal["created", "entered_pipeline"]


def members(deals: Lazy, visits: Lazy, *, anchor: Anchor = "created") -> Lazy:
    """One row per deal and pipeline it has been in.

    Args:
        deals: rows of `deal_state`.
        visits: rows of `stage_interval`.
        anchor: where a member starts: at the deal's creation, or at its first entry into the pipeline.

    Returns:
        account_id, pipeline_id, deal_id, client_id, user_id (responsible), amount_minor;
        entry: `created`, or `transfer` from another pipeline;
        start_local, start_epoch: by `anchor` (creation where the entry is not recorded);
        outcome: unsorted, open, won, lost, or `moved` to another pipeline;
        ended_at, ended_local, ended_epoch: the outcome's instant (`moved`: only ended_epoch), null while open;
        top_sort: sort of the highest open stage visited, null if none; has_won: was in a won stage, ever: such a deal
        reached every rung, whatever became of it later; is_truncated: part of its way is older than the stage history.
    """
    is_open, is_won = nw.col("stage_kind") == "open", nw.col("stage_kind") == "won"
    been = visits.group_by(*MEMBER).agg(
        first_n=nw.col("n").min(),
        entered_local=nw.col("entered_local").min(),
        entered_epoch=nw.col("entered_epoch").min(),
        left_epoch=nw.col("left_epoch").max(),
        top_sort=nw.when(is_open).then(nw.col("stage_sort")).max(),
        n_truncated=nw.when(nw.col("is_truncated").fill_null(False)).then(nw.lit(1)).otherwise(nw.lit(0)).max(),
        n_won=nw.when(is_won).then(nw.lit(1)).otherwise(nw.lit(0)).max(),
    )
    facts = deals.select(
        *DEAL,
        "client_id",
        "amount_minor",
        "created_local",
        "created_epoch",
        "outcome_at",
        "outcome_local",
        "outcome_epoch",
        now_pipeline_id="pipeline_id",
        now_outcome="outcome",
        user_id="responsible_user_id",
    )
    is_here = nw.col("pipeline_id") == nw.col("now_pipeline_id")

    def start(kind: str) -> nw.Expr:
        created, entered_at = nw.col(f"created_{kind}"), nw.col(f"entered_{kind}")
        return created if anchor == "created" else nw.coalesce(entered_at, created)

    return been.join(facts, on=DEAL, how="inner").select(
        *MEMBER,
        "client_id",
        "user_id",
        "amount_minor",
        "top_sort",
        is_truncated=nw.col("n_truncated") == 1,
        entry=nw.when(nw.col("first_n") == 1).then(nw.lit("created")).otherwise(nw.lit("transfer")),
        start_local=start("local"),
        start_epoch=start("epoch"),
        outcome=nw.when(is_here).then(nw.col("now_outcome")).otherwise(nw.lit("moved")),
        ended_at=nw.when(is_here).then(nw.col("outcome_at")),
        ended_local=nw.when(is_here).then(nw.col("outcome_local")),
        ended_epoch=nw.when(is_here).then(nw.col("outcome_epoch")).otherwise(nw.col("left_epoch")),
        has_won=(nw.col("n_won") == 1) | (is_here & (nw.col("now_outcome") == "won")),
    )


def standing(rows: Lazy, *also: str) -> Lazy:
    """How many members stopped how high, and with which outcome: all that the ladder needs, a few hundred rows.

    Args:
        rows: members, already cut to a cohort. also: further columns to keep apart.

    Returns:
        account_id, pipeline_id, *also, top_sort, has_won, outcome; n, n_amount (amount known), amount_minor (the sum).
    """
    grouped = rows.group_by(*PIPELINE, *also, "top_sort", "has_won", "outcome").agg(
        n=nw.len().cast(nw.Int64),
        n_amount=nw.col("amount_minor").count().cast(nw.Int64),
        amount_minor=nw.col("amount_minor").sum().cast(nw.Int64),
    )
    return grouped.select(
        *PIPELINE, *also, "top_sort", "has_won", "outcome", "n", "n_amount", nw.col("amount_minor").fill_null(0)
    )


def entered(rows: Lazy, visits: Lazy) -> Lazy:
    """How many of the members `rows` really stood on each stage (E2 `entered`; pass-throughs did not, R-STAGE).

    Returns:
        account_id, pipeline_id, stage_id, entered.
    """
    stood = visits.filter(nw.col("stage_kind") == "open", ~nw.col("is_pass_through").fill_null(False))
    return (
        stood.select(*MEMBER, "stage_id")
        .unique([*MEMBER, "stage_id"])
        .join(rows.select(*MEMBER), on=MEMBER, how="inner")
        .group_by(*STAGE)
        .agg(entered=nw.len().cast(nw.Int64))
    )


def stays(visits: Lazy, clock: Lazy, *, per_visit: bool = False) -> Lazy:
    """How long deals stood on open stages (E5); who still stands there is censored at `as_of`.

    Only known durations: pass-throughs, stays whose entry is not recorded and stays begun before the history is
    complete are left out. In total mode a deal with any such stay on the stage is left out there whole: a part is
    not a total.

    Args:
        visits: rows of `stage_interval`. per_visit: a row for each stay; otherwise one for a deal's total on the stage.

    Returns:
        account_id, pipeline_id, stage_id, deal_id; dwell_s Int64 seconds; is_open: still there, dwell_s is a minimum.
    """
    is_unknown = (
        nw.col("is_inferred").fill_null(False)
        | nw.col("is_truncated").fill_null(False)
        | nw.col("entered_epoch").is_null()
    )
    begun = (
        visits.filter(nw.col("stage_kind") == "open", ~nw.col("is_pass_through").fill_null(False))
        .join(clock.select("account_id", "as_of_epoch"), on="account_id", how="inner")
        .select(
            *STAGE,
            "deal_id",
            n_unknown=nw.when(is_unknown).then(nw.lit(1)).otherwise(nw.lit(0)),
            n_open=nw.when(nw.col("left_epoch").is_null()).then(nw.lit(1)).otherwise(nw.lit(0)),
            dwell_s=nw.coalesce("left_epoch", "as_of_epoch") - nw.col("entered_epoch"),
        )
    )
    if not per_visit:
        begun = begun.group_by(*STAGE, "deal_id").agg(
            n_unknown=nw.col("n_unknown").max(), n_open=nw.col("n_open").max(), dwell_s=nw.col("dwell_s").sum()
        )
    return begun.filter(nw.col("n_unknown") == 0).select(
        *STAGE, "deal_id", dwell_s=nw.col("dwell_s").cast(nw.Int64), is_open=nw.col("n_open") == 1
    )


def first_reaches(visits: Lazy, rungs: Lazy) -> Lazy:
    """When each deal first reached each rung: entered it or a higher one, or won.

    A rung nobody dated (only stays without a recorded entry) is left out.

    Returns:
        account_id, pipeline_id, stage_id, deal_id, reached_local (wall time of the account), reached_epoch.
    """
    higher = (nw.col("stage_kind") == "open") & (nw.col("stage_sort") >= nw.col("rung_sort"))
    return (
        visits.filter(~nw.col("entered_local").is_null())
        .select(*MEMBER, "stage_kind", "stage_sort", "entered_local", "entered_epoch")
        .join(rungs.select(*STAGE, rung_sort="stage_sort"), on=PIPELINE, how="inner")
        .filter(higher | (nw.col("stage_kind") == "won"))
        .group_by(*STAGE, "deal_id")
        .agg(reached_local=nw.col("entered_local").min(), reached_epoch=nw.col("entered_epoch").min())
    )


def flow(visits: Lazy, rungs: Lazy, since: date, until: date) -> Lazy:
    """Deals that first reached each rung in the local days [since, until), whenever they were created (E3).

    Returns:
        account_id, pipeline_id, stage_id, reached.
    """
    in_window = (nw.col("reached_local") >= start_of(since)) & (nw.col("reached_local") < start_of(until))
    return first_reaches(visits, rungs).filter(in_window).group_by(*STAGE).agg(reached=nw.len().cast(nw.Int64))


def snapshot(deals: Lazy, rungs: Lazy) -> Lazy:
    """Open deals by the stage they stand on (E1): a stock, never a conversion.

    Returns:
        account_id, pipeline_id, stage_id, n, n_null_amount, amount_minor.
    """
    return (
        deals.filter(nw.col("outcome") == "open")
        .join(rungs.select(*STAGE), on=STAGE, how="inner")
        .group_by(*STAGE)
        .agg(
            n=nw.len().cast(nw.Int64),
            n_amount=nw.col("amount_minor").count().cast(nw.Int64),
            amount_minor=nw.col("amount_minor").sum().cast(nw.Int64),
        )
        .select(*STAGE, "n", n_null_amount=nw.col("n") - nw.col("n_amount"), amount_minor=nw.col("amount_minor"))
    )


def fates(rows: Lazy, clock: Lazy) -> Lazy:
    """How each member ended and after how long (E4): durations for the competing outcomes of S-AJ.

    Returns:
        account_id, pipeline_id, deal_id, lasted_s, outcome (open and unsorted are censored at `as_of`).
    """
    joined = rows.join(clock.select("account_id", "as_of_epoch"), on="account_id", how="inner")
    lasted_s = nw.coalesce("ended_epoch", "as_of_epoch") - nw.col("start_epoch")
    return joined.select(*MEMBER, "outcome", lasted_s=lasted_s)


# The finishing half: Polars, a row per stage.

REACHED_ALL = 2**62
"""Above every sort."""


def stopped_at(rows: pl.DataFrame, rungs: pl.DataFrame) -> pl.DataFrame:
    """`rows` (with top_sort, has_won) and the rung each got to: stage_id, null for who never stood on one.

    A stage deleted since counts as the rung below it; who has ever won stands on the last.
    """
    height = pl.when("has_won").then(REACHED_ALL).otherwise("top_sort")
    at_rung = rungs.select(*STAGE, rung_sort="stage_sort").sort("rung_sort", "stage_id")
    placed = (
        rows.with_columns(height=height)
        .filter(pl.col("height").is_not_null())
        .sort("height")
        .join_asof(
            at_rung, left_on="height", right_on="rung_sort", by=PIPELINE, strategy="backward", check_sortedness=False
        )
    )
    lower = rows.filter(height.is_null()).with_columns(stage_id=pl.lit(None, pl.String))
    return pl.concat([placed.drop("height", "rung_sort"), lower.select(placed.drop("height", "rung_sort").columns)])


def ladder_table(rungs: pl.DataFrame, counts: pl.DataFrame) -> pl.DataFrame:
    """The cohort funnel (E2, mode reached), one row per rung of the pipelines in `counts`.

    Args:
        rungs: collected `ladder`. counts: collected `standing` of one cohort.

    Returns:
        the columns of `rungs`; reached (highest stage at or above the rung, or won); lost, n_open, n_moved: members
        that got no higher and ended so; won: of the whole pipeline. In the order of pipelines and rungs.
    """
    at_least = (
        rungs.select(*STAGE, "stage_sort")
        .join(counts, on=PIPELINE)
        .filter(pl.col("has_won") | (pl.col("top_sort") >= pl.col("stage_sort")))
        .group_by(STAGE)
        .agg(reached=pl.col("n").sum())
    )
    ended = (
        stopped_at(counts, rungs)
        .group_by(STAGE)
        .agg(
            lost=pl.col("n").filter(pl.col("outcome") == "lost").sum(),
            n_open=pl.col("n").filter(pl.col("outcome").is_in(["open", "unsorted"])).sum(),
            n_moved=pl.col("n").filter(pl.col("outcome") == "moved").sum(),
        )
    )
    won = counts.group_by(PIPELINE).agg(won=pl.col("n").filter(pl.col("outcome") == "won").sum())
    return (
        rungs.join(won, on=PIPELINE)
        .join(at_least, on=STAGE, how="left")
        .join(ended, on=STAGE, how="left")
        .with_columns(pl.col("reached", "lost", "n_open", "n_moved").fill_null(0).cast(pl.Int64))
        .sort(*PIPELINE, "stage_sort", "stage_id")
    )


def with_conversion(table: pl.DataFrame) -> pl.DataFrame:
    """`table` of rungs in order (reached, won) with what the next step took on.

    num: reached the next rung, of the last rung won; conv = num / reached, null where nobody reached; tail: from the
    next rung to a win (1 on the last rung); p_win = conv · tail.
    """
    num = pl.col("reached").shift(-1).over(PIPELINE).fill_null(pl.col("won"))
    conv = pl.col("num") / pl.when(pl.col("reached") > 0).then(pl.col("reached"))
    after = pl.col("conv").fill_null(0.0).shift(-1, fill_value=1.0)
    return (
        table.with_columns(num=num)
        .with_columns(conv=conv)
        .with_columns(tail=after.cum_prod(reverse=True).over(PIPELINE))
        .with_columns(p_win=pl.col("conv") * pl.col("tail"))
    )


STAY_TABLE: dict[str, pl.DataType] = {
    "stays_n": pl.Int64(),
    "stays_open": pl.Int64(),
    "km_median_d": pl.Float64(),
    "km_lo_d": pl.Float64(),
    "km_hi_d": pl.Float64(),
    "naive_median_d": pl.Float64(),
}


def stay_table(rows: pl.DataFrame, by: list[str]) -> pl.DataFrame:
    """Median time to leave, by Kaplan–Meier with who still stands there as censored, and the naive one beside it.

    The naive median (of finished stays only) halves the truth exactly where deals get stuck.

    Args:
        rows: collected `stays`: dwell_s, is_open. by: what to keep apart.

    Returns:
        by, and `STAY_TABLE`: counts of stays, days. km_* null where half have not left yet.
    """
    parts = [_stay_row(dict(zip(by, key, strict=True)), part) for key, part in rows.group_by(by, maintain_order=True)]
    return pl.DataFrame(parts, schema={**{name: rows.schema[name] for name in by}, **STAY_TABLE}).sort(by)


def _stay_row(key: dict[str, Any], rows: pl.DataFrame) -> dict[str, Any]:
    left = ~rows["is_open"]
    curve = kaplan_meier(rows["dwell_s"].to_numpy(), left.to_numpy())
    lo, hi = curve.quantile_ci()
    return {
        **key,
        "stays_n": rows.height,
        "stays_open": rows.height - int(left.sum()),
        "km_median_d": _days(curve.median),
        "km_lo_d": _days(lo),
        "km_hi_d": _days(hi),
        "naive_median_d": _days(rows.filter(left)["dwell_s"].median()),
    }


def _days(seconds: Any) -> float | None:
    return None if seconds is None else float(seconds) / DAY_S
