"""How likely a deal is to be won from the stage it stands on, by what became of earlier deals that got there.

p = (wins + ½) / (decided + 1) among deals that reached the stage within the last year, long enough ago to be decided,
and that were won or lost since. Where fewer than `min_decided` were, the stages in the same place of all pipelines
stand in. Deals without an amount are taken at the median won amount (`is_imputed`).

Source: the metric catalogue, E17.
"""

import narwhals.stable.v2 as nw
import polars as pl
from pydantic import Field

from metrics import funnel
from metrics.funnel import DAY_S, DEAL, MEMBER, PIPELINE, STAGE
from metrics.funnel_scope import FunnelParams, Lazy, Scope

LOOKBACK_D = 365


class OddsParams(FunnelParams):
    """Which earlier deals the odds are taken from."""

    mature_d: int = Field(default=60, ge=0)
    """Deals that reached the stage later than so many days ago have had no time to be decided: they are left out."""
    min_decided: int = Field(default=20, ge=1)
    """Below so many decided deals the same place in all pipelines is taken."""


def odds_inputs(seen: Scope, params: OddsParams) -> dict[str, Lazy]:
    """What `odds` and `imputed` need: `reached` (STAGE, outcome, n) and `won_amounts` (one row per deal won)."""
    now = seen.clock.select("account_id", "as_of_epoch")
    known_since = nw.col("as_of_epoch") - LOOKBACK_D * DAY_S
    decided = seen.deals.filter(nw.col("outcome").is_in(["won", "lost"])).select(
        *DEAL, "pipeline_id", "outcome", "outcome_epoch", "amount_minor"
    )
    reached = (
        funnel.first_reaches(seen.visits, seen.rungs)
        .join(now, on="account_id", how="inner")
        .filter(
            nw.col("reached_epoch") >= known_since,
            nw.col("reached_epoch") <= nw.col("as_of_epoch") - params.mature_d * DAY_S,
        )
        .join(decided.select(*MEMBER, "outcome"), on=MEMBER, how="inner")
        .group_by(*STAGE, "outcome")
        .agg(n=nw.len().cast(nw.Int64))
    )
    won = decided.filter(nw.col("outcome") == "won", ~nw.col("amount_minor").is_null())
    recent = won.join(now, on="account_id", how="inner").filter(nw.col("outcome_epoch") >= known_since)
    return {"reached": reached, "won_amounts": recent.select(*PIPELINE, "amount_minor")}


def standing_deals(seen: Scope) -> Lazy:
    """Open deals on the stage they stand on: STAGE, deal_id, client_id, user_id, amount_minor; entered_at, _local,
    _epoch: since when, null where that is not recorded."""
    here = seen.visits.filter(nw.col("left_epoch").is_null()).select(
        *STAGE, "deal_id", "entered_at", "entered_local", "entered_epoch"
    )
    open_deals = seen.deals.filter(nw.col("outcome") == "open").select(
        *STAGE, "deal_id", "client_id", "amount_minor", user_id="responsible_user_id"
    )
    return open_deals.join(seen.rungs.select(*STAGE), on=STAGE, how="inner").join(
        here, on=[*STAGE, "deal_id"], how="left"
    )


# The finishing half.


def odds(rungs: pl.DataFrame, reached: pl.DataFrame, params: OddsParams) -> pl.DataFrame:
    """One row per rung: STAGE, wins, decided, p, p_basis (`stage`, or `all_pipelines` for want of deals)."""
    place = pl.int_range(pl.len()).over(PIPELINE)
    n = pl.col("n")
    counts = reached.group_by(STAGE).agg(wins=n.filter(pl.col("outcome") == "won").sum(), decided=n.sum())
    table = (
        rungs.sort(*PIPELINE, "stage_sort", "stage_id")
        .with_columns(place=place)
        .join(counts, on=STAGE, how="left", maintain_order="left")
        .with_columns(pl.col("wins", "decided").fill_null(0).cast(pl.Int64))
    )
    everywhere = [pl.col(name).sum().over("account_id", "place") for name in ("wins", "decided")]
    is_few = pl.col("decided") < params.min_decided
    return (
        table.with_columns(all_wins=everywhere[0], all_decided=everywhere[1])
        .with_columns(
            p_basis=pl.when(is_few & (pl.col("all_decided") > pl.col("decided")))
            .then(pl.lit("all_pipelines"))
            .otherwise(pl.lit("stage"))
        )
        .with_columns(
            pl.when(pl.col("p_basis") == "stage").then(name).otherwise(f"all_{name}").alias(name)
            for name in ("wins", "decided")
        )
        .with_columns(p=(pl.col("wins") + 0.5) / (pl.col("decided") + 1))
        .select(*STAGE, "wins", "decided", "p", "p_basis")
    )


def imputed(deals: pl.DataFrame, won_amounts: pl.DataFrame) -> pl.DataFrame:
    """`deals` with amount (Float64: known, else the median won one of the pipeline, else of the account) and
    is_imputed; amount null where nothing was ever won."""
    of_pipeline = won_amounts.group_by(PIPELINE).agg(pipeline_median=pl.col("amount_minor").median())
    of_account = won_amounts.group_by("account_id").agg(account_median=pl.col("amount_minor").median())
    return (
        deals.join(of_pipeline, on=PIPELINE, how="left", maintain_order="left")
        .join(of_account, on="account_id", how="left", maintain_order="left")
        .with_columns(
            amount=pl.coalesce(pl.col("amount_minor").cast(pl.Float64), "pipeline_median", "account_median"),
            is_imputed=pl.col("amount_minor").is_null(),
        )
        .drop("pipeline_median", "account_median")
    )


def with_odds(deals: pl.DataFrame, table: pl.DataFrame) -> pl.DataFrame:
    """`deals` (STAGE, amount) with p, and weighted = amount · p."""
    joined = deals.join(table.select(*STAGE, "p"), on=STAGE, how="left", maintain_order="left")
    return joined.with_columns(weighted=pl.col("amount") * pl.col("p"))
