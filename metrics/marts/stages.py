"""Stays of deals in stages (R-STAGE) and what became of each deal (R-OUTCOME)."""

from datetime import datetime, timedelta
from typing import Any

import polars as pl

from metrics.marts.facts import Facts, value_at
from metrics.marts.money import in_base

CLOSED = ("won", "lost")
PLACE = ("pipeline_id", "stage_id")
ECHO = timedelta(minutes=1)
"""Between a card and its history, which are written one after the other."""


def deals_then(facts: Facts, moved: pl.DataFrame) -> pl.DataFrame:
    """Deals alive at `as_of`, with pipeline, stage, responsible user and amount as they were then.

    What has changed since is undone from the change logs: the first change after `as_of` says what was before it.

    Args:
        moved: `moves`.
    """
    facts_of_deal = ["entity_kind", *PLACE, "responsible_user_id", "source_id", "loss_reason_id", "amount_minor"]
    instants = ["created_at", "closed_at", "source_updated_at"]
    deals = facts.alive("deal", ["deal_id", *facts_of_deal, "currency", *instants], at="created_at").with_columns(
        as_of=pl.lit(facts.as_of, pl.Datetime("us", "UTC")),
        closed_at=pl.when(pl.col("closed_at") <= facts.as_of).then("closed_at"),
    )
    undone = moved.filter(pl.col("from_stage_id").is_not_null(), pl.col("changed_at") > facts.as_of)
    undone = undone.sort("changed_at", "change_id")
    owners, amounts = owner_changes(facts), amount_changes(facts)
    stage = _stages(facts).select(*PLACE, kind_now="stage_kind")
    return (
        deals.with_columns(
            value_at(deals, undone, instant="as_of", was="from_pipeline_id", now="pipeline_id"),
            value_at(deals, undone, instant="as_of", was="from_stage_id", now="stage_id"),
            value_at(deals, owners, instant="as_of", was="from_user_id", now="responsible_user_id"),
            value_at(deals, amounts, instant="as_of", was="from_minor", now="amount_minor"),
        )
        .join(stage, on=PLACE, how="left")
        .sort("deal_id")
    )


def owner_changes(facts: Facts) -> pl.DataFrame:
    """Changes of the responsible user, in order: deal_id, changed_at, from_user_id."""
    rows = facts.rows("deal_owner_change", ["deal_id", "changed_at", "change_id", "from_user_id"])
    return rows.sort("changed_at", "change_id")


def amount_changes(facts: Facts) -> pl.DataFrame:
    """Changes of the amount, in order: deal_id, changed_at, from_minor."""
    rows = facts.rows("deal_amount_change", ["deal_id", "changed_at", "change_id", "from_minor"])
    return rows.sort("changed_at", "change_id")


def moves(facts: Facts) -> pl.DataFrame:
    """Moves in order of deal and instant.

    One that does not say where it came from came from where the move before it led; so did a snapshot, for more may
    have come to be known of the time before it since it was made.
    """
    columns = ["deal_id", "changed_at", "change_id", *_ends("from"), *_ends("to"), "origin"]
    rows = _without_echoes(facts.rows("deal_stage_transition", columns)).sort("deal_id", "changed_at", "change_id")
    is_told = pl.col("from_stage_id").is_not_null() & (pl.col("origin") != "snapshot")
    is_next = pl.col("deal_id") == pl.col("deal_id").shift(1)
    before = {f"from_{name}": pl.when(is_next).then(pl.col(f"to_{name}").shift(1)) for name in PLACE}
    told = {
        name: pl.when(is_told).then(name).otherwise(pl.coalesce(place, name)).alias(name)
        for name, place in before.items()
    }
    return rows.with_columns(**told)


def _without_echoes(moves: pl.DataFrame) -> pl.DataFrame:
    """A snapshot of a place that an event leads to at that very time says nothing new."""
    seen = moves.filter(pl.col("origin") == "snapshot")
    if seen.is_empty():
        return moves
    place = ["deal_id", *_ends("to")]
    told = moves.filter(pl.col("origin") == "event").select(*place, told_at="changed_at")
    echoes = seen.join(told, on=place).filter((pl.col("changed_at") - pl.col("told_at")).abs() <= ECHO)
    return moves.join(echoes.select("change_id"), on="change_id", how="anti")


def _stages(facts: Facts) -> pl.DataFrame:
    return facts.rows("stage", [*PLACE, "kind", "sort"]).rename({"kind": "stage_kind", "sort": "stage_sort"})


def stays(facts: Facts, deals: pl.DataFrame, moved: pl.DataFrame) -> pl.DataFrame:
    """One row per stay of `deals` (as `deals_then` gives them), in order of deal and n. moved: `moves`.

    A deal begins where its first move came from. Where a move does not start where the last one ended, or the last one
    does not end where the deal stands, a stay is missing: it is put in, its entry unknown (`is_inferred`).

    Returns:
        the columns of `stage_interval` without account and wall times, and begun_at: entered_at, else the latest it can
        have been.
    """
    known_from = facts.history_begins()
    past = moved.filter(pl.col("changed_at") <= facts.as_of)
    chain = chained(past.join(deals.select("deal_id"), on="deal_id", how="semi", maintain_order="left"))
    parts = [_beginnings(deals, chain, known_from), _gaps(chain), _entries(chain), _endings(deals, chain, facts)]
    visits = pl.concat(parts, how="diagonal_relaxed").sort("deal_id", "k", "part")
    place = pl.struct("deal_id", *PLACE)
    is_new = place.ne_missing(place.shift(1))
    owner_now = deals.select("deal_id", owner_user_id="responsible_user_id")
    merged = (
        visits.filter(is_new)
        .join(_stages(facts), on=PLACE, how="left", maintain_order="left")
        .join(owner_now, on="deal_id", how="left", maintain_order="left")
        .with_columns(stage_kind=pl.col("stage_kind").fill_null("unknown"))
    )
    owners = owner_changes(facts)
    return _numbered(merged, facts.params.min_visit_s).with_columns(
        value_at(merged, owners, instant="entered_at", was="from_user_id", now="owner_user_id"),
        is_truncated=pl.col("begun_at") < known_from,
    )


def _beginnings(deals: pl.DataFrame, moves: pl.DataFrame, known_from: datetime) -> pl.DataFrame:
    """Where each deal stood before its first recorded move; a deal that never moved, where it stands.

    It has stood there since its creation, if moves are complete since then. A closed deal without moves was brought in
    from elsewhere: it stands there since it was closed.
    """
    first = moves.filter(pl.col("k") == 0).select("deal_id", *_ends("from"), has_moved=pl.lit(True))
    joined = deals.join(first, on="deal_id", how="left", maintain_order="left").with_columns(
        has_moved=pl.col("has_moved").fill_null(False)
    )
    is_brought_in = ~pl.col("has_moved") & pl.col("kind_now").is_in(CLOSED) & pl.col("closed_at").is_not_null()
    is_known = pl.col("created_at") >= known_from
    since = pl.when(is_brought_in).then("closed_at").when(is_known).then("created_at")
    return joined.filter(~pl.col("has_moved") | pl.col("from_stage_id").is_not_null()).select(
        "deal_id",
        pl.lit(-1, pl.Int64).alias("k"),
        pl.lit(1).alias("part"),
        *(pl.when("has_moved").then(f"from_{name}").otherwise(name).alias(name) for name in PLACE),
        entered_at=since,
        begun_at=pl.coalesce(since, "created_at"),
        is_inferred=~is_known | (is_brought_in & (pl.col("closed_at") != pl.col("created_at"))),
    )


def _gaps(moves: pl.DataFrame) -> pl.DataFrame:
    """Places that moves start from though the move before ended elsewhere."""
    is_gap = (pl.col("k") > 0) & pl.col("from_stage_id").is_not_null() & ~_continues()
    return moves.filter(is_gap).select(
        "deal_id",
        "k",
        pl.lit(0).alias("part"),
        pipeline_id="from_pipeline_id",
        stage_id="from_stage_id",
        begun_at="changed_at",
        is_inferred=pl.lit(True),
    )


def _entries(moves: pl.DataFrame) -> pl.DataFrame:
    return moves.select(
        "deal_id",
        "k",
        pl.lit(1).alias("part"),
        pipeline_id="to_pipeline_id",
        stage_id="to_stage_id",
        entered_at="changed_at",
        begun_at="changed_at",
        is_inferred=pl.col("origin") != "event",  # a snapshot only shows that it had moved
    )


def _endings(deals: pl.DataFrame, moves: pl.DataFrame, facts: Facts) -> pl.DataFrame:
    """Where deals stand that by their moves should stand elsewhere."""
    last = moves.group_by("deal_id", maintain_order=True).last().select("deal_id", "changed_at", *_ends("to"))
    is_elsewhere = pl.any_horizontal(pl.col(name).ne_missing(pl.col(f"to_{name}")) for name in PLACE)
    is_closed = pl.col("kind_now").is_in(CLOSED) & (pl.col("closed_at") > pl.col("changed_at"))
    is_seen = (pl.col("source_updated_at") > pl.col("changed_at")) & (pl.col("source_updated_at") <= facts.as_of)
    closed = pl.when(is_closed).then("closed_at")
    return (
        deals.join(last, on="deal_id")
        .filter(is_elsewhere)
        .select(
            "deal_id",
            *PLACE,
            pl.lit(2**62, pl.Int64).alias("k"),
            pl.lit(1).alias("part"),
            entered_at=closed,
            begun_at=pl.coalesce(closed, pl.when(is_seen).then("source_updated_at"), "as_of"),
            is_inferred=pl.lit(True),
        )
    )


def _numbered(visits: pl.DataFrame, min_visit_s: int) -> pl.DataFrame:
    """Neighbours and numbers of stays already in order."""
    has_next = pl.col("deal_id") == pl.col("deal_id").shift(-1)

    def following(name: str) -> pl.Expr:
        return pl.when(has_next).then(pl.col(name).shift(-1))

    dwell_s = (pl.col("left_at") - pl.col("entered_at")).dt.total_microseconds() / 1_000_000
    return visits.with_columns(
        n=pl.int_range(1, pl.len() + 1, dtype=pl.Int64).over("deal_id"),
        visit_no=pl.int_range(1, pl.len() + 1, dtype=pl.Int64).over("deal_id", *PLACE),
        left_at=following("begun_at"),
        next_pipeline_id=following("pipeline_id"),
        next_stage_id=following("stage_id"),
        next_kind=following("stage_kind"),
    ).with_columns(is_pass_through=(dwell_s < min_visit_s).fill_null(False))


def _ends(side: str) -> tuple[str, str]:
    return f"{side}_pipeline_id", f"{side}_stage_id"


def _continues() -> pl.Expr:
    """The move starts where the one before it ended; not told counts as yes."""
    same = (pl.col("from_stage_id") == pl.col("to_stage_id").shift(1)) & (
        pl.col("from_pipeline_id").eq_missing(pl.col("to_pipeline_id").shift(1)) | pl.col("from_pipeline_id").is_null()
    )
    is_own = pl.col("deal_id") == pl.col("deal_id").shift(1)
    return pl.col("from_stage_id").is_null() | (same & is_own).fill_null(False)


def chained(moves: pl.DataFrame) -> pl.DataFrame:
    """Moves in the order they were made, numbered from 0 within their deal (`k`).

    Sources write whole seconds, and several moves of one second come in any order: those are put so that each starts
    where the last one ended.
    """
    ordered = moves.sort("deal_id", "changed_at", "change_id").with_columns(second=pl.col("changed_at").dt.epoch("s"))
    tie = ["deal_id", "second"]
    is_tied = pl.struct(tie).is_duplicated()
    wrong = ordered.filter(is_tied & ~_continues())  # the first of a deal included: it may not be the first
    if not wrong.is_empty():
        ordered = _rechained(ordered, wrong.select(tie).unique())
    return ordered.with_columns(k=pl.int_range(pl.len(), dtype=pl.Int64).over("deal_id")).drop("second")


def _rechained(ordered: pl.DataFrame, ties: pl.DataFrame) -> pl.DataFrame:
    """`ordered` with the few seconds in `ties` put into the order of their places."""
    indexed = ordered.with_row_index("row")
    rows = indexed.join(ties, on=ties.columns, how="semi", maintain_order="left")
    moved: list[tuple[int, int]] = []
    stands = _places_before(indexed, rows)
    for group in rows.partition_by(ties.columns, maintain_order=True):
        edges = list(group.select("row", *_ends("from"), *_ends("to")).iter_rows())
        chain = _chain(edges, stands.get(edges[0][0]))
        following = edges[-1][0] + 1
        if following in stands:  # of the same deal, and tied as well: it goes on from the new end
            stands[following] = chain[-1][3:]
        moved += zip((edge[0] for edge in chain), group["row"].to_list(), strict=True)
    new = pl.DataFrame(moved, schema={"row": pl.get_index_type(), "new_row": pl.get_index_type()}, orient="row")
    times = indexed.select(new_row="row", new_at="changed_at")
    return (
        indexed.join(new, on="row", how="left")
        .with_columns(new_row=pl.coalesce("new_row", "row"))
        .join(times, on="new_row")
        .with_columns(changed_at="new_at")
        .sort("new_row")
        .drop("row", "new_row", "new_at")
    )


def _places_before(indexed: pl.DataFrame, rows: pl.DataFrame) -> dict[int, tuple[str, str]]:
    """For rows of ties: where their deal stood after the row before."""
    before = indexed.select(
        "row", "deal_id", *(pl.col(name).shift(1).alias(name) for name in _ends("to")), last=pl.col("deal_id").shift(1)
    ).join(rows.select("row"), on="row", how="semi")
    known = before.filter(pl.col("deal_id") == pl.col("last"))
    return {row: (pipeline, stage) for row, _, pipeline, stage, _ in known.iter_rows()}


def _chain(edges: list[tuple[Any, ...]], stands: tuple[str, str] | None) -> list[tuple[Any, ...]]:
    """Edges (row, from, to) so that each starts where the last ended, as far as they do; else the earliest first."""
    if stands is None:
        ends = [edge[3:] for edge in edges]
        stands = next((edge[1:3] for edge in edges if edge[1:3] not in ends), None)
    left, chain = list(edges), []
    while left:
        following = next((edge for edge in left if edge[1:3] == stands), left[0])
        left.remove(following)
        chain.append(following)
        stands = following[3:]
    return chain


def runs(visits: pl.DataFrame, deals: pl.DataFrame) -> pl.DataFrame:
    """Unbroken runs of stays of one class: open, unsorted, won or lost.

    Returns:
        deal_id, outcome (the class), first_n, pipeline_id (where it began), begun_at, left_at (null: still so),
        is_last, entered_at: of a closed run the recorded entry, else what the source calls its closing.
    """
    kind = pl.col("stage_kind")
    classed = visits.with_columns(outcome=pl.when(kind == "unknown").then(pl.lit("open")).otherwise(kind))
    key = pl.struct("deal_id", "outcome")
    grouped = (
        classed.with_columns(run=key.ne_missing(key.shift(1)).cum_sum())
        .group_by("run", maintain_order=True)
        .agg(
            pl.col("deal_id", "outcome", "pipeline_id", "begun_at", "entered_at", "is_inferred").first(),
            first_n=pl.col("n").first(),
            left_at=pl.col("left_at").last(),
        )
    )
    closed = deals.select("deal_id", "closed_at")
    is_last = (pl.col("deal_id") != pl.col("deal_id").shift(-1)).fill_null(True)
    recorded = pl.when(~pl.col("is_inferred")).then("entered_at")
    return (
        grouped.with_columns(is_last=is_last)
        .join(closed, on="deal_id", how="left", maintain_order="left")
        .with_columns(
            entered_at=pl.when(pl.col("outcome").is_in(CLOSED))
            .then(pl.coalesce(recorded, pl.when("is_last").then("closed_at"), "entered_at"))
            .otherwise("entered_at")
        )
        .drop("closed_at", "run", "is_inferred")
    )


def deal_states(facts: Facts, deals: pl.DataFrame, visits: pl.DataFrame, run: pl.DataFrame) -> pl.DataFrame:
    """`deal_state` without account, client and wall times."""
    is_closed = pl.col("outcome").is_in(CLOSED)
    last = run.filter("is_last").select(
        "deal_id", "outcome", "first_n", outcome_at=pl.when(is_closed).then("entered_at")
    )
    reopened = (
        run.filter(is_closed & ~pl.col("is_last") & ~pl.col("outcome").shift(-1).is_in(CLOSED))
        .group_by("deal_id")
        .agg(n_reopened=pl.len().cast(pl.Int64))
    )
    here = visits.join(deals.select("deal_id", "pipeline_id", "created_at"), on=["deal_id", "pipeline_id"])
    entered = here.group_by("deal_id").agg(
        entered_pipeline_at=pl.coalesce("entered_at", pl.when(pl.col("n") == 1).then("created_at")).min()
    )
    before_loss = here.join(last, on="deal_id").filter(
        pl.col("outcome") == "lost", pl.col("stage_kind") == "open", pl.col("n") < pl.col("first_n")
    )
    lost_from = before_loss.sort("n").group_by("deal_id").agg(lost_from_stage_id=pl.col("stage_id").last())
    state = deals.with_columns(outcome_user_id="responsible_user_id")
    for part in (last, reopened, entered, lost_from):
        state = state.join(part, on="deal_id", how="left", maintain_order="left")
    return _with_amounts(state, facts).with_columns(
        value_at(state, owner_changes(facts), instant="outcome_at", was="from_user_id", now="outcome_user_id"),
        n_reopened=pl.col("n_reopened").fill_null(0),
        loss_reason_id=pl.when(pl.col("outcome") == "lost").then("loss_reason_id"),  # later losses have reasons too
        is_sales=pl.col("entity_kind") == "deal",
    )


def _with_amounts(state: pl.DataFrame, facts: Facts) -> pl.DataFrame:
    """Amounts at the outcome, in base currency; a zero of an open or lost deal is "not filled in" (R-NULL)."""
    then = value_at(state, amount_changes(facts), instant="outcome_at", was="from_minor", now="amount_minor")
    is_unfilled = (pl.col("amount_minor") == 0) & (pl.col("outcome") != "won") & facts.params.zero_amount_is_null
    dated = state.with_columns(
        then, day=pl.coalesce("outcome_at", "as_of").dt.convert_time_zone(facts.tz).dt.date()
    ).with_columns(amount_minor=pl.when(~is_unfilled).then("amount_minor"))
    return in_base(dated, facts, day="day").drop("day")
