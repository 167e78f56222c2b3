"""E9: deals sent back to an earlier stage, and deals reopened after they were won or lost.

Source: the metric catalogue, E9. A stay shorter than a minute is a card dropped by mistake: leaving it is no move.
"""

import narwhals.stable.v2 as nw
import polars as pl
from pydantic import Field

from metrics.funnel import DAY_S, DEAL, MEMBER, PIPELINE
from metrics.funnel_scope import (
    FLAG,
    FUNNEL_INPUTS,
    FUNNEL_RESOURCES,
    INT,
    PIPELINE_COLUMNS,
    REAL,
    TEXT,
    FunnelParams,
    Lazy,
    Scope,
    cohort,
    deal_rows,
    in_order,
    pipeline_key,
    rates,
    scope,
    shaped,
)
from metrics.metric import Frames, Metric, MetricResult, Period, Text
from metrics.people import with_user_flags
from metrics.rates import MIN_N, low_n, rate_columns

KINDS = {"back": "SENT_BACK", "reopened": "REOPENED"}


class BackMovesParams(FunnelParams):
    """Which deals are looked at."""

    min_n: int = Field(default=MIN_N, ge=0)
    """Below so many deals a rate says little."""


def reduce(frames: Frames, params: BackMovesParams, period: Period) -> dict[str, Lazy]:
    """The cohort's size, every move back of its deals, and the days its deals stood on stages once more."""
    seen = scope(frames, params)
    rows = cohort(seen, period)
    own = rows.select(*MEMBER)
    again = seen.visits.filter(nw.col("stage_kind") == "open", nw.col("visit_no") > 1)
    again = again.join(seen.clock.select("account_id", "as_of_epoch"), on="account_id", how="inner").with_columns(
        again_s=nw.coalesce("left_epoch", "as_of_epoch") - nw.col("entered_epoch")
    )
    members = rows.select(*MEMBER, "client_id", "user_id", "amount_minor")
    return {
        "pipelines": seen.pipelines,
        "stages": frames["stage"].select(*PIPELINE, "stage_id", stage_name="name"),
        "size": rows.group_by(*PIPELINE).agg(den=nw.len().cast(nw.Int64)),
        "again": again.join(own, on=MEMBER, how="semi")
        .group_by(*MEMBER)
        .agg(again_s=nw.col("again_s").sum().cast(nw.Int64)),
        "moves": with_user_flags(moves_back(seen, frames).join(members, on=MEMBER, how="inner"), frames, "by_user_id"),
    }


def moves_back(seen: Scope, frames: Frames) -> Lazy:
    """Back-moves and reopenings: MEMBER, n, kind, from_stage_id, to_stage_id, moved_at, by_user_id."""
    col = nw.col
    stood = seen.visits.filter(~col("is_pass_through").fill_null(False))
    order = {"order_by": ["n"]}
    was = stood.with_columns(
        was_pipeline_id=col("pipeline_id").shift(1).over(*DEAL, **order),
        was_stage_id=col("stage_id").shift(1).over(*DEAL, **order),
        was_kind=col("stage_kind").shift(1).over(*DEAL, **order),
        was_sort=col("stage_sort").shift(1).over(*DEAL, **order),
    )
    is_open = col("stage_kind") == "open"
    same = col("was_pipeline_id") == col("pipeline_id")
    is_back = (is_open & same & (col("was_kind") == "open") & (col("stage_sort") < col("was_sort"))).fill_null(False)
    is_reopened = (is_open & col("was_kind").is_in(["won", "lost"])).fill_null(False)
    moves = was.with_columns(
        kind=nw.when(is_reopened).then(nw.lit("reopened")).when(is_back).then(nw.lit("back"))
    ).filter(~col("kind").is_null())
    authors = (
        frames["deal_stage_transition"]
        .select(
            *DEAL,
            "by_user_id",
            pipeline_id="to_pipeline_id",
            stage_id="to_stage_id",
            entered_epoch="changed_epoch",
        )
        .group_by(*MEMBER, "stage_id", "entered_epoch")
        .agg(by_user_id=col("by_user_id").min())
    )
    return moves.join(authors, on=[*MEMBER, "stage_id", "entered_epoch"], how="left").select(
        *MEMBER,
        "n",
        "kind",
        "by_user_id",
        from_stage_id="was_stage_id",
        to_stage_id="stage_id",
        moved_at="entered_at",
    )


def finish(collected: dict[str, pl.DataFrame], params: BackMovesParams, period: Period) -> MetricResult:
    """How many deals went back or were reopened, from where to where, who moved them, and the deals themselves."""
    pipelines, moves = collected["pipelines"], collected["moves"].with_columns(pipeline_key())
    first = moves.sort("account_id", "moved_at", "deal_id", "n", nulls_last=True)
    deals = first.unique([*MEMBER, "kind"], keep="first", maintain_order=True)
    return METRIC.result(
        params,
        period,
        tables={
            "summary": in_order(_summary(collected, moves, params), pipelines).pipe(shaped, SUMMARY),
            "pairs": in_order(
                _pairs(collected, moves), pipelines, "n_deals_falling", "from_stage_id", "to_stage_id"
            ).pipe(shaped, PAIRS),
            "by_user": _by_user(moves).pipe(shaped, BY_USER),
        },
        drilldown=deal_rows(
            deals,
            event_at="moved_at",
            value="amount_minor",
            value_unit=pl.lit("minor"),
            reason=pl.col("kind").replace_strict(KINDS, return_dtype=TEXT),
        ),
    )


SUMMARY: dict[str, pl.DataType] = {
    **PIPELINE_COLUMNS,
    "den": INT,
    "back_num": INT,
    **rates("back_"),
    "reopened_num": INT,
    **rates("reopened_"),
    "low_n": FLAG,
    "n_back_moves": INT,
    "n_reopenings": INT,
    "again_median_d": REAL,
    "again_d": REAL,
    "group_key": TEXT,
}
"""One row per pipeline: den deals of the cohort, back_num sent back at least once, reopened_num left won or lost at
least once. again_*: days that deals sent back stood on stages once more, the median deal and in all."""
PAIRS: dict[str, pl.DataType] = {
    **PIPELINE_COLUMNS,
    "segment": TEXT,
    "from_stage_id": TEXT,
    "from_stage_name": TEXT,
    "to_stage_id": TEXT,
    "to_stage_name": TEXT,
    "n_moves": INT,
    "n_deals": INT,
}
"""segment: back or reopened."""
BY_USER: dict[str, pl.DataType] = {
    "account_id": TEXT,
    "user_id": TEXT,
    "user_active": FLAG,
    "user_is_robot": FLAG,
    "n_back_moves": INT,
    "n_reopenings": INT,
}
"""Who moved the card, where the source says; robots are named, they are often the rule that does it."""


def _summary(collected: dict[str, pl.DataFrame], moves: pl.DataFrame, params: BackMovesParams) -> pl.DataFrame:
    is_back = pl.col("kind") == "back"
    told = moves.group_by(PIPELINE).agg(
        back_num=pl.col("deal_id").filter(is_back).n_unique().cast(pl.Int64),
        reopened_num=pl.col("deal_id").filter(~is_back).n_unique().cast(pl.Int64),
        n_back_moves=is_back.sum().cast(pl.Int64),
        n_reopenings=(~is_back).sum().cast(pl.Int64),
    )
    went_back = moves.filter(is_back).select(MEMBER).unique()
    again = collected["again"].join(went_back, on=MEMBER, how="semi").group_by(PIPELINE)
    days = again.agg(again_median_d=pl.col("again_s").median() / DAY_S, again_d=pl.col("again_s").sum() / DAY_S)
    counts = ["back_num", "reopened_num", "n_back_moves", "n_reopenings"]
    return (
        collected["size"]
        .join(told, on=PIPELINE, how="left")
        .join(days, on=PIPELINE, how="left")
        .with_columns(pl.col(counts).fill_null(0))
        .with_columns(
            *rate_columns("back_num", "den", "back_"),
            *rate_columns("reopened_num", "den", "reopened_"),
            low_n("den", min_n=params.min_n),
            pipeline_key(),
        )
    )


def _pairs(collected: dict[str, pl.DataFrame], moves: pl.DataFrame) -> pl.DataFrame:
    names = collected["stages"]
    counted = moves.group_by(*PIPELINE, "kind", "from_stage_id", "to_stage_id").agg(
        n_moves=pl.len().cast(pl.Int64), n_deals=pl.col("deal_id").n_unique().cast(pl.Int64)
    )
    for end in ("from", "to"):
        named = names.rename({"stage_id": f"{end}_stage_id", "stage_name": f"{end}_stage_name"})
        counted = counted.join(named, on=[*PIPELINE, f"{end}_stage_id"], how="left")
    return counted.with_columns(n_deals_falling=-pl.col("n_deals")).rename({"kind": "segment"})


def _by_user(moves: pl.DataFrame) -> pl.DataFrame:
    is_back = pl.col("kind") == "back"
    return (
        moves.rename({"user_id": "owner_id", "by_user_id": "user_id"})
        .group_by("account_id", "user_id", "user_active", "user_is_robot")
        .agg(n_back_moves=is_back.sum().cast(pl.Int64), n_reopenings=(~is_back).sum().cast(pl.Int64))
        .sort(
            "n_back_moves",
            "n_reopenings",
            "account_id",
            "user_id",
            descending=[True, True, False, False],
            nulls_last=True,
        )
    )


RU = Text(
    name="Возвраты по воронке",
    definition=(
        "Какая доля сделок хотя бы раз возвращалась на более ранний этап своей воронки и какая доля была открыта "
        "заново после выигрыша или отказа; с какого этапа на какой возвращают, кто это делает и сколько дней сделки "
        "проводят на этапах повторно. Сделки — созданные за период."
    ),
    formula=(
        "Доля возвратов = сделки с возвратом / все сделки воронки. Доля переоткрытых — так же. Повторные дни = время "
        "на этапах, где сделка уже бывала."
    ),
    pitfalls=(
        "Карточку перетащили по ошибке и вернули в течение минуты — это не возврат. Частые возвраты на один этап чаще "
        "говорят о плохом этапе, чем о плохом менеджере. Кто двигал карточку, известно не во всех системах."
    ),
)
EN = Text(
    name="Back-moves and reopenings",
    definition=(
        "What share of deals was sent back to an earlier stage of its pipeline at least once, and what share was "
        "reopened after it was won or lost; from which stage to which, by whom, and how many days deals spend on "
        "stages once more. Deals are those created in the period."
    ),
    formula=(
        "Share sent back = deals with a back-move / all deals of the pipeline. Reopened likewise. Days again = time on "
        "stages where the deal had been before."
    ),
    pitfalls=(
        "A card dropped by mistake and put back within a minute is no back-move. Frequent returns to one stage tell "
        "of a bad stage more often than of a bad manager. Not every system says who moved the card."
    ),
)

METRIC = Metric(
    id="E9",
    text={"ru": RU, "en": EN},
    params=BackMovesParams,
    inputs=(*FUNNEL_INPUTS, "deal_stage_transition", "user"),
    resources=FUNNEL_RESOURCES,
    subject={"summary": None, "pairs": None, "by_user": "user_id", "drilldown": "user_id"},
    semantics="cohort",
    reduce=reduce,
    finish=finish,
    default_period_d=180,
    counted={"summary": ("back_num", "reopened_num")},
)
