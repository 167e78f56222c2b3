"""E12: how many deals get to the key stage (КЭВ: a meeting, a measurement, a demo), and how much oftener they are won.

The key stage is the one people marked; a pipeline without a mark has none, there a meeting that took place counts.

Source: the metric catalogue, E12.
"""

from typing import Any

import narwhals.stable.v2 as nw
import polars as pl
from pydantic import Field

from metrics import funnel
from metrics.funnel import DAY_S, DEAL, MEMBER, PIPELINE, STAGE
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
from metrics.metric import Frames, Metric, MetricResult, Notice, Period, Text
from metrics.people import group_key, with_user_flags
from metrics.rates import MIN_N, low_n, ranked, rate_columns
from metrics.stats.rates import fisher, newcombe
from metrics.team import COMPARED, compared


class KeyStageParams(FunnelParams):
    """Which deals form the cohort."""

    anchor: funnel.Anchor = "created"
    """What makes a deal one of the period: its creation, or its first entry into the pipeline."""
    mature_d: int = Field(default=60, ge=0)
    """Younger deals have had no time to be won: they are left out of the comparison."""
    min_n: int = Field(default=MIN_N, ge=0)
    """Below so many deals a rate is shown but neither ranked nor tested."""


def reduce(frames: Frames, params: KeyStageParams, period: Period) -> dict[str, Lazy]:
    """A row per deal of the cohort: when it got to the key stage, and what it came to."""
    col = nw.col
    seen = scope(frames, params)
    marked = frames["stage"].filter(col("is_kev").fill_null(False), col("kind") == "open").select(*STAGE)
    marked = marked.join(seen.rungs.select(*STAGE), on=STAGE, how="semi")
    reached = _reached(frames, seen, marked)
    lowest = seen.rungs.group_by(*PIPELINE).agg(lowest=col("stage_sort").min())
    rows = (
        cohort(seen, period, params.anchor).join(reached, on=MEMBER, how="left").join(lowest, on=PIPELINE, how="left")
    )
    is_qualified = col("has_won") | (col("top_sort") > col("lowest")).fill_null(False) | ~col("kev_epoch").is_null()
    told = rows.select(
        *MEMBER,
        "client_id",
        "user_id",
        "amount_minor",
        "outcome",
        "kev_at",
        "age_s",
        is_qualified=is_qualified,
        to_kev_s=nw.when(~col("kev_epoch").is_null()).then(col("kev_epoch") - col("start_epoch")),
    )
    return {
        "pipelines": seen.pipelines,
        "marked": marked.select(*PIPELINE).unique(PIPELINE),
        "deals": with_user_flags(told, frames),
    }


def _reached(frames: Frames, seen: Scope, marked: Lazy) -> Lazy:
    """MEMBER, kev_at, kev_epoch: of deals that really stood on a key stage, or met where none is marked."""
    col = nw.col
    stood = (
        seen.visits.filter(~col("is_pass_through").fill_null(False))
        .join(marked, on=STAGE, how="semi")
        .select(*MEMBER, kev_at="entered_at", kev_epoch="entered_epoch")
    )
    now = seen.clock.select("account_id", "as_of_epoch")
    met = frames["touch"].filter(
        col("kind").is_in(["meeting", "visit"]), col("is_meaningful").fill_null(False), ~col("deal_id").is_null()
    )
    meetings = (
        met.join(now, on="account_id", how="inner")
        .filter(col("touched_epoch") <= col("as_of_epoch"))
        .select(*DEAL, kev_at="touched_at", kev_epoch="touched_epoch")
        .join(seen.visits.select(*MEMBER).unique(MEMBER), on=DEAL, how="inner")
        .join(marked.select(*PIPELINE).unique(PIPELINE), on=PIPELINE, how="anti")
        .select(*MEMBER, "kev_at", "kev_epoch")
    )
    both = nw.concat([stood, meetings]).filter(~col("kev_epoch").is_null())
    return both.group_by(*MEMBER).agg(kev_at=col("kev_at").min(), kev_epoch=col("kev_epoch").min())


def finish(collected: dict[str, pl.DataFrame], params: KeyStageParams, period: Period) -> MetricResult:
    """How many got there and what it goes with, per pipeline and manager, and the deals that did."""
    deals = collected["deals"].with_columns(
        pipeline_key(),
        has_kev=pl.col("to_kev_s").is_not_null(),
        is_mature=(pl.col("age_s") >= params.mature_d * DAY_S) & pl.col("outcome").is_in(["won", "lost", "open"]),
    )
    weeks = max((period.period_to - period.period_from).days, 1) / 7
    summary = _with_difference(_counted(deals, PIPELINE)).with_columns(
        *rate_columns("to_kev_num", "to_kev_den", "to_kev_"),
        *rate_columns("kev_num", "kev_den", "kev_won_"),
        *rate_columns("nokev_num", "nokev_den", "nokev_won_"),
        low_n("to_kev_den", min_n=params.min_n),
        pipeline_key(),
    )
    by_user = (
        _counted(deals, ["account_id", "user_id", "user_active", "user_is_robot"])
        .with_columns(
            *rate_columns("to_kev_num", "to_kev_den"),
            low_n("to_kev_den", min_n=params.min_n),
            group_key(),
            kev_per_week=pl.col("to_kev_num") / weeks,
        )
        .sort("account_id", "user_id", nulls_last=True)
        .rename({"to_kev_num": "num", "to_kev_den": "den"})
    )
    beside = compared(
        by_user,
        "num",
        "den",
        within=["account_id"],
        tested=~pl.col("low_n"),
        in_team=pl.col("user_active") & ~pl.col("user_is_robot"),
    )
    return METRIC.result(
        params,
        period,
        tables={
            "summary": in_order(summary, collected["pipelines"]).pipe(shaped, SUMMARY),
            "by_user": ranked(beside, "rate", "den", "account_id", "user_id").pipe(shaped, BY_USER),
        },
        drilldown=deal_rows(
            deals.filter("has_kev").sort("account_id", "kev_at", "deal_id"),
            event_at="kev_at",
            value=pl.col("to_kev_s") / DAY_S,
            value_unit=pl.lit("d"),
            reason=pl.lit("KEV"),
        ),
        warnings=_notices(collected),
    )


SUMMARY: dict[str, pl.DataType] = {
    **PIPELINE_COLUMNS,
    "n": INT,
    "to_kev_num": INT,
    "to_kev_den": INT,
    **rates("to_kev_"),
    "low_n": FLAG,
    "to_kev_median_d": REAL,
    "kev_num": INT,
    "kev_den": INT,
    **rates("kev_won_"),
    "nokev_num": INT,
    "nokev_den": INT,
    **rates("nokev_won_"),
    "diff": REAL,
    "diff_lo": REAL,
    "diff_hi": REAL,
    "p": REAL,
    "group_key": TEXT,
}
"""One row per pipeline: to_kev_num of to_kev_den qualified deals (beyond the first stage, won, or with a key stage) got
to the key stage, half of them within to_kev_median_d days. Of the mature deals kev_num of kev_den with it are won,
nokev_num of nokev_den without it; diff with its 95 % limits, p by Fisher."""
BY_USER: dict[str, pl.DataType] = {
    "account_id": TEXT,
    "user_id": TEXT,
    "user_active": FLAG,
    "n": INT,
    "num": INT,
    "den": INT,
    **rates(),
    "low_n": FLAG,
    "kev_per_week": REAL,
    **COMPARED,
}


def _counted(deals: pl.DataFrame, by: list[str]) -> pl.DataFrame:
    has, mature, won = pl.col("has_kev"), pl.col("is_mature"), pl.col("outcome") == "won"

    def count(flag: pl.Expr) -> pl.Expr:
        return flag.sum().cast(pl.Int64)

    return deals.group_by(by).agg(
        n=pl.len().cast(pl.Int64),
        to_kev_num=count(has),
        to_kev_den=count(pl.col("is_qualified")),
        to_kev_median_d=pl.col("to_kev_s").median() / DAY_S,
        kev_num=count(has & mature & won),
        kev_den=count(has & mature),
        nokev_num=count(~has & mature & won),
        nokev_den=count(~has & mature),
    )


def _with_difference(table: pl.DataFrame) -> pl.DataFrame:
    def beside(kev_num: int, kev_den: int, nokev_num: int, nokev_den: int) -> dict[str, Any]:
        found = newcombe(kev_num, kev_den, nokev_num, nokev_den)
        if found is None:
            return dict.fromkeys(("diff", "diff_lo", "diff_hi", "p"))
        p = fisher([[kev_num, kev_den - kev_num], [nokev_num, nokev_den - nokev_num]])
        return {"diff": found[0], "diff_lo": found[1], "diff_hi": found[2], "p": p}

    rows = [beside(*row) for row in table.select("kev_num", "kev_den", "nokev_num", "nokev_den").iter_rows()]
    schema = dict.fromkeys(("diff", "diff_lo", "diff_hi", "p"), REAL)
    return pl.concat([table, pl.DataFrame(rows, schema=schema)], how="horizontal")


def _notices(collected: dict[str, pl.DataFrame]) -> tuple[Notice, ...]:
    looked_at = collected["deals"].select(PIPELINE).unique()
    without = looked_at.join(collected["marked"], on=PIPELINE, how="anti").join(collected["pipelines"], on=PIPELINE)
    if without.is_empty():
        return ()
    names = ", ".join(f"«{name}»" for name in without.sort("pipeline_sort", "pipeline_id")["pipeline_name"])
    return (
        Notice(
            "no_key_stage",
            f"Ключевой этап не отмечен, вместо него взяты состоявшиеся встречи: {names}.",
            f"No key stage is marked; meetings that took place are taken instead: {names}.",
        ),
    )


RU = Text(
    name="Конверсия в КЭВ и из КЭВ",
    definition=(
        "Какая доля сделок доходит до ключевого этапа воронки (встреча, замер, показ), за сколько дней, и насколько "
        "чаще выигрывают сделки с ним, чем без него. Сделки — созданные за период. Ключевой этап отмечаете вы; где он "
        "не отмечен, берутся состоявшиеся встречи."
    ),
    formula=(
        "В КЭВ = дошли до ключевого этапа / ушли дальше первого этапа. Победы с КЭВ и без — среди сделок не моложе 60 "
        "дней; разница с интервалом Ньюкомба и точным критерием Фишера."
    ),
    pitfalls=(
        "Это не причина: горячие клиенты доходят до встречи и сами. Встречи видны, только если их отмечают в сделке."
    ),
)
EN = Text(
    name="KEV conversion",
    definition=(
        "What share of deals gets to the key stage of the pipeline (a meeting, a measurement, a demo), in how many "
        "days, and how much oftener deals with it are won than those without. Deals are those created in the period. "
        "You mark the key stage; where none is marked, meetings that took place are taken."
    ),
    formula=(
        "To KEV = got to the key stage / went beyond the first stage. Wins with and without are among deals at least "
        "60 days old; the difference has Newcombe's interval and Fisher's exact test."
    ),
    pitfalls="Not a cause: hot clients get to a meeting anyway. Meetings are seen only where they are kept in deals.",
)

METRIC = Metric(
    id="E12",
    text={"ru": RU, "en": EN},
    params=KeyStageParams,
    inputs=(*FUNNEL_INPUTS, "touch", "user"),
    resources=FUNNEL_RESOURCES,
    subject={"summary": None, "by_user": "user_id", "drilldown": "user_id"},
    semantics="cohort",
    reduce=reduce,
    finish=finish,
    default_period_d=180,
    counted={"summary": ("to_kev_num",)},
)
