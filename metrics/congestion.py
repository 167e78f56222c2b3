"""E7: stages where deals pile up now, and why those that have stood there too long do not move.

A stage is congested if more deals stand there than is ever usual and more come than go, or if too many of them are
older than nine tenths of its stays used to get. A stay whose entry is not recorded counts from the end of the one
before.

Source: the metric catalogue, E7; the limit is the median + k·1.4826·MAD of day-end stocks (S-RZ), the expected stock by
Little's law. Little 1961, https://doi.org/10.1287/opre.9.3.383
"""

from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
import polars as pl
from pydantic import Field

from metrics import funnel
from metrics.channels import calls_only_notices, message_coverage
from metrics.client_tasks import client_tasks
from metrics.funnel import DAY_S, DEAL, STAGE
from metrics.funnel_scope import (
    DAY,
    FLAG,
    FUNNEL_INPUTS,
    FUNNEL_RESOURCES,
    INT,
    REAL,
    STAGE_COLUMNS,
    TEXT,
    FunnelParams,
    Lazy,
    Scope,
    deal_rows,
    in_order,
    in_stage_order,
    only_with_deals,
    scope,
    shaped,
    stage_key,
)
from metrics.metric import Frames, Metric, MetricResult, Notice, Period, Text
from metrics.rates import MIN_N, rate_columns
from metrics.stage_odds import standing_deals
from metrics.stats.series import TO_SIGMA, robust_z
from metrics.stats.survival import kaplan_meier

FLOW_D = 28
"""Inflow and outflow are counted over so many days; a shorter history of stocks says nothing of what is usual."""
LOOKBACK_D = 365
"""How long stays use to last is learnt from those begun so many days ago or later."""
CLIENT = ["account_id", "client_id"]


class CongestionParams(FunnelParams):
    """What is too many, and what is too long."""

    weeks: int = Field(default=12, ge=4, le=104)
    """What is usual is learnt from the day-end stocks of so many weeks."""
    k: float = Field(default=3, gt=0, le=10)
    """More than so many robust standard deviations over the median is too many."""
    stale_share: float = Field(default=0.25, gt=0, le=1)
    """A stage is congested if more than this share of its deals is older than nine tenths of its stays."""
    min_deals: int = Field(default=5, ge=1)
    """A stage with fewer deals is not congested; nor one with fewer than so many beyond the median."""
    silent_d: int = Field(default=14, ge=1, le=365)
    """Nothing between us and the client for so many days is silence."""
    tau_d: int = Field(default=90, ge=1, le=3650)
    """The mean time on a stage is taken within so many days (RMST)."""
    min_n: int = Field(default=MIN_N, ge=2)
    """Fewer finished stays do not tell how long is too long."""


def reduce(frames: Frames, params: CongestionParams, period: Period) -> dict[str, Lazy]:
    """What `verdicts` needs, and what was done about the deals that stand."""
    seen = scope(frames, params)
    inputs = stock_inputs(frames, seen, params)
    tasks = client_tasks(frames).select(*CLIENT, "next_task_on")
    told = inputs["deals"].join(_contacts(frames, params), on=CLIENT, how="left").join(tasks, on=CLIENT, how="left")
    return {**inputs, "pipelines": seen.pipelines, "messages": message_coverage(frames), "deals": told}


def stock_inputs(frames: Frames, seen: Scope, params: CongestionParams) -> dict[str, Lazy]:
    """Rungs, changes of their stocks by day, flows, times of stays, and the deals that stand."""
    visits = _dated(frames, seen)
    now = seen.clock.select("account_id", "as_of_epoch")
    lately = seen.visits.join(now, on="account_id", how="inner").filter(
        nw.col("entered_epoch") >= nw.col("as_of_epoch") - LOOKBACK_D * DAY_S
    )
    standing = standing_deals(seen).join(now, on="account_id", how="inner")
    return {
        "rungs": seen.rungs,
        "clock": seen.clock.select("account_id", "as_of_on"),
        "known": frames["coverage"]
        .filter(nw.col("resource") == "deal_stage_transition")
        .select("account_id", "complete_from"),
        "days": _by_day(visits),
        "flows": _flows(visits.join(now, on="account_id", how="inner")),
        "stays": funnel.stays(lately.drop("as_of_epoch"), seen.clock, per_visit=True).select(
            *STAGE, "dwell_s", "is_open"
        ),
        "deals": standing.with_columns(age_s=nw.col("as_of_epoch") - nw.col("entered_epoch")).drop(
            "entered_local", "entered_epoch", "as_of_epoch"
        ),
    }


def _dated(frames: Frames, seen: Scope) -> Lazy:
    """Stays on rungs: STAGE, deal_id, next_kind, begun_local, begun_epoch, left_local, left_epoch (null: still there).

    begun: the entry, or where it is not recorded the end of the stay before, or the creation of the deal.
    """
    col = nw.col
    rows = seen.visits.filter(~col("is_pass_through").fill_null(False)).join(
        seen.rungs.select(*STAGE), on=STAGE, how="semi"
    )
    kept = (*STAGE, "deal_id", "next_kind", "left_local", "left_epoch")
    known = rows.filter(~col("entered_epoch").is_null()).select(
        *kept, begun_local="entered_local", begun_epoch="entered_epoch"
    )
    before = frames["stage_interval"].select(
        *DEAL, n=col("n") + 1, before_local=col("left_local"), before_epoch=col("left_epoch")
    )
    made = seen.deals.select(*DEAL, "created_local", "created_epoch")
    unknown = (
        rows.filter(col("entered_epoch").is_null())
        .join(before, on=[*DEAL, "n"], how="left")
        .join(made, on=DEAL, how="inner")
        .select(
            *kept,
            begun_local=nw.coalesce("before_local", "created_local"),
            begun_epoch=nw.coalesce("before_epoch", "created_epoch"),
        )
    )
    return nw.concat([known, unknown])


def _by_day(visits: Lazy) -> Lazy:
    """STAGE, day, change: how many more came than went on a local day."""
    came = visits.select(*STAGE, day=nw.col("begun_local").dt.date(), change=nw.lit(1))
    gone = visits.filter(~nw.col("left_epoch").is_null()).select(
        *STAGE, day=nw.col("left_local").dt.date(), change=nw.lit(-1)
    )
    return nw.concat([came, gone]).group_by(*STAGE, "day").agg(change=nw.col("change").sum().cast(nw.Int64))


def _flows(visits: Lazy) -> Lazy:
    """STAGE; inflow, outflow: stays begun and ended in the last `FLOW_D` days; outflow_lost: ended by a loss."""
    col = nw.col
    since = col("as_of_epoch") - FLOW_D * DAY_S
    one, none = nw.lit(1), nw.lit(0)
    has_left = (col("left_epoch") > since).fill_null(False)
    is_lost = has_left & (col("next_kind") == "lost").fill_null(False)
    return (
        visits.with_columns(
            came=nw.when(col("begun_epoch") > since).then(one).otherwise(none),
            gone=nw.when(has_left).then(one).otherwise(none),
            lost=nw.when(is_lost).then(one).otherwise(none),
        )
        .group_by(*STAGE)
        .agg(
            inflow=col("came").sum().cast(nw.Int64),
            outflow=col("gone").sum().cast(nw.Int64),
            outflow_lost=col("lost").sum().cast(nw.Int64),
        )
    )


def _contacts(frames: Frames, params: CongestionParams) -> Lazy:
    """Per client of the last `silent_d` days: n_touches, n_attempts (calls nobody answered)."""
    col = nw.col
    age_s = col("as_of_epoch") - col("touched_epoch")
    one, none = nw.lit(1), nw.lit(0)
    return (
        frames["touch"]
        .join(frames["clock"].select("account_id", "as_of_epoch"), on="account_id")
        .filter(~col("client_id").is_null(), age_s >= 0, age_s <= params.silent_d * DAY_S)
        .with_columns(
            touch=nw.when(col("is_meaningful").fill_null(False)).then(one).otherwise(none),
            attempt=nw.when(col("is_attempt").fill_null(False)).then(one).otherwise(none),
        )
        .group_by(*CLIENT)
        .agg(n_touches=col("touch").sum().cast(nw.Int64), n_attempts=col("attempt").sum().cast(nw.Int64))
    )


# The finishing half.


def finish(collected: dict[str, pl.DataFrame], params: CongestionParams, period: Period) -> MetricResult:
    """Each stage beside its own past, the stock day by day, and the deals that have stood too long."""
    pipelines, stocks = collected["pipelines"], stocks_by_day(collected, params)
    deals = _with_stale(collected, params).with_columns(stage_key(), cause=_cause())
    judged = verdicts(collected, stocks, params).join(_causes(deals), on=STAGE, how="left", maintain_order="left")
    table = judged.with_columns(pl.col(CAUSES).fill_null(0))
    stale = deals.filter("is_stale")
    return METRIC.result(
        params,
        period,
        tables={
            "stages": in_stage_order(table, pipelines).pipe(shaped, STAGES),
            "days": in_order(stocks, pipelines, "stage_sort", "stage_id", "day").pipe(shaped, DAYS),
        },
        drilldown=deal_rows(
            stale.sort("account_id", "age_s", "deal_id", descending=[False, True, False]),
            event_at="entered_at",
            value=pl.col("age_s") / DAY_S,
            value_unit=pl.lit("d"),
            reason=pl.col("cause").str.strip_prefix("n_").str.to_uppercase(),
        ),
        warnings=(
            *_short_history(table),
            *calls_only_notices(
                collected["messages"],
                ru="Сделка, по которой только переписываются, покажется забытой.",
                en="A deal whose client is only written to will look forgotten.",
            ),
        ),
    )


CAUSES = ("n_unreached", "n_waiting_task", "n_no_touch", "n_in_touch")
STAGES: dict[str, pl.DataType] = {
    **STAGE_COLUMNS,
    "semantics": TEXT,
    "stock": INT,
    "stock_median": REAL,
    "ucl": REAL,
    "rz": REAL,
    "n_days": INT,
    "inflow": INT,
    "outflow": INT,
    "outflow_lost": INT,
    "little_stock": REAL,
    "little_ratio": REAL,
    "p90_d": REAL,
    "p90_basis": TEXT,
    "num": INT,
    "den": INT,
    "stale_share": REAL,
    "stale_ci_lo": REAL,
    "stale_ci_hi": REAL,
    "is_over": FLAG,
    "is_stale": FLAG,
    "congested": FLAG,
    **dict.fromkeys(CAUSES, INT),
    "group_key": TEXT,
}
"""One row per stage. stock: deals that stand there now, beside the median and the upper limit of n_days day-ends; rz:
robust standard deviations off the median. little_stock: what inflow and the usual time there would keep there, and
little_ratio = stock / it. num of den deals (of known age) are stale: older than p90_d, by which nine tenths of stays
are over (p90_basis `km`; `finished`: of those that are over, for more than a tenth never are). n_*: the stale by cause.
congested: is_over or is_stale; null where neither can be told."""
DAYS: dict[str, pl.DataType] = {**STAGE_COLUMNS, "day": DAY, "stock": INT, "group_key": TEXT}
"""The stock at the end of each complete local day that is known."""


def stocks_by_day(collected: dict[str, pl.DataFrame], params: CongestionParams) -> pl.DataFrame:
    """Rungs by day with stock; no days before the stage was first used or before the stage history is complete."""
    rungs = only_with_deals(collected["rungs"], collected["days"])
    changes = collected["days"].sort(*STAGE, "day").with_columns(stock=pl.col("change").cum_sum().over(STAGE))
    known = collected["known"].group_by("account_id").agg(known_on=pl.col("complete_from").max().dt.date())
    back = pl.DataFrame({"back": list(range(params.weeks * 7, 0, -1))}, schema={"back": INT})
    grid = (
        rungs.join(collected["clock"], on="account_id")
        .join(known, on="account_id", how="left")
        .join(back, how="cross")
        .with_columns(day=(pl.col("as_of_on") - pl.duration(days="back")).cast(pl.Date))
        .filter((pl.col("day") > pl.col("known_on")).fill_null(True))
        .sort("day")
    )
    placed = grid.join_asof(
        changes.select(*STAGE, "day", "stock").sort("day"), on="day", by=STAGE, check_sortedness=False
    )
    return placed.filter(pl.col("stock").is_not_null()).sort(*STAGE, "day").with_columns(stage_key())


def _past(stocks: pl.DataFrame, params: CongestionParams) -> pl.DataFrame:
    """STAGE, n_days, stock_median, ucl, past (the stocks); median and limit null of less than `FLOW_D` days."""
    stock = pl.col("stock")
    is_known = pl.len() >= FLOW_D
    off = (stock - stock.median()).abs().median()
    return stocks.group_by(STAGE).agg(
        n_days=pl.len().cast(pl.Int64),
        stock_median=pl.when(is_known).then(stock.median()),
        ucl=pl.when(is_known).then(stock.median() + params.k * TO_SIGMA * off),
        past=pl.when(is_known).then(stock.implode()),
    )


def _usual(collected: dict[str, pl.DataFrame], params: CongestionParams) -> pl.DataFrame:
    """STAGE, p90_s, p90_basis, rmst_s of stages with enough finished stays."""
    of_rungs = collected["stays"].join(collected["rungs"].select(STAGE), on=STAGE, how="semi")
    rows = [
        {**dict(zip(STAGE, key, strict=True)), **_times(part, params)}
        for key, part in of_rungs.group_by(STAGE)
        if (~part["is_open"]).sum() >= params.min_n
    ]
    return pl.DataFrame(rows, schema={**dict.fromkeys(STAGE, TEXT), "p90_s": REAL, "p90_basis": TEXT, "rmst_s": REAL})


def _times(stays: pl.DataFrame, params: CongestionParams) -> dict[str, Any]:
    dwell_s, left = stays["dwell_s"].to_numpy(), (~stays["is_open"]).to_numpy()
    curve = kaplan_meier(dwell_s, left)
    p90 = curve.quantile(0.9)
    return {
        "p90_s": float(np.quantile(dwell_s[left], 0.9)) if p90 is None else p90,
        "p90_basis": "finished" if p90 is None else "km",
        "rmst_s": curve.rmst(params.tau_d * DAY_S),
    }


def _with_stale(collected: dict[str, pl.DataFrame], params: CongestionParams) -> pl.DataFrame:
    """Standing deals with is_stale; null where the age of the deal or the usual time is not known."""
    usual = _usual(collected, params).select(*STAGE, "p90_s")
    deals = collected["deals"].join(usual, on=STAGE, how="left", maintain_order="left")
    return deals.with_columns(is_stale=pl.col("age_s") > pl.col("p90_s"))


def _cause() -> pl.Expr:
    """One of `CAUSES`: nobody answers, else a task is planned, else silence; the rest is talk that moves nothing."""
    is_touched = pl.col("n_touches").fill_null(0) > 0
    return (
        pl.when(~is_touched & (pl.col("n_attempts").fill_null(0) > 0))
        .then(pl.lit("n_unreached"))
        .when(pl.col("next_task_on").is_not_null())
        .then(pl.lit("n_waiting_task"))
        .when(~is_touched)
        .then(pl.lit("n_no_touch"))
        .otherwise(pl.lit("n_in_touch"))
    )


def _causes(deals: pl.DataFrame) -> pl.DataFrame:
    """STAGE; the stale deals by cause."""
    counts = {name: (pl.col("is_stale") & (pl.col("cause") == name)).sum().cast(pl.Int64) for name in CAUSES}
    return deals.group_by(STAGE).agg(**counts)


def verdicts(collected: dict[str, pl.DataFrame], stocks: pl.DataFrame, params: CongestionParams) -> pl.DataFrame:
    """Rungs with the columns of `STAGES` but for the causes. collected: `stock_inputs`; stocks: `stocks_by_day`."""
    standing = (
        _with_stale(collected, params)
        .group_by(STAGE)
        .agg(
            stock=pl.len().cast(pl.Int64),
            num=pl.col("is_stale").sum().cast(pl.Int64),
            den=pl.col("is_stale").is_not_null().sum().cast(pl.Int64),
        )
    )
    table = only_with_deals(collected["rungs"], collected["days"])
    for part in (standing, collected["flows"], _usual(collected, params), _past(stocks, params)):
        table = table.join(part, on=STAGE, how="left", maintain_order="left")
    counts = pl.col("stock", "inflow", "outflow", "outflow_lost", "num", "den")
    return _verdicts(table.with_columns(counts.fill_null(0)), params)


def _verdicts(table: pl.DataFrame, params: CongestionParams) -> pl.DataFrame:
    stock, median = pl.col("stock"), pl.col("stock_median")
    little = pl.col("inflow") / FLOW_D * pl.col("rmst_s") / DAY_S
    rz = [
        None if past is None else robust_z(now, past)
        for now, past in zip(table["stock"].to_list(), table["past"].to_list(), strict=True)
    ]
    is_many = (stock > pl.col("ucl")) & (stock - median >= params.min_deals)
    return (
        table.with_columns(
            *rate_columns(prefix="stale_"),
            semantics=pl.lit("snapshot"),
            rz=pl.Series(rz, dtype=pl.Float64),
            p90_d=pl.col("p90_s") / DAY_S,
            little_stock=little,
            little_ratio=stock / pl.when(little > 0).then(little),
            is_over=is_many & (pl.col("inflow") > pl.col("outflow")),
        )
        .rename({"stale_rate": "stale_share"})
        .with_columns(
            is_stale=(pl.col("stale_share") > params.stale_share) & (stock >= params.min_deals),
        )
        .with_columns(congested=pl.col("is_over") | pl.col("is_stale"))
    )


def _short_history(table: pl.DataFrame) -> tuple[Notice, ...]:
    if table.filter(pl.col("stock_median").is_null()).is_empty():
        return ()
    return (
        Notice(
            "short_history",
            f"Для части этапов история короче {FLOW_D} дней: обычный остаток неизвестен, судить о заторе рано.",
            f"Some stages have a history of less than {FLOW_D} days: what is usual there is not known yet.",
        ),
    )


RU = Text(
    name="Затор",
    definition=(
        "На каких этапах сделки скопились сверх обычного и почему застрявшие не двигаются: не дозвониться; ждут "
        "запланированной задачи; с клиентом никто не связывался; общение идёт, а сделка стоит — значит, не снято "
        "возражение. Каждый этап сравнивается с собственным прошлым."
    ),
    formula=(
        "Обычный остаток — медиана остатков на конец дня за 12 недель; верхняя граница = медиана + 3 · 1,4826 · MAD. "
        "Затор, если остаток выше границы и за 4 недели пришло больше, чем ушло, или если больше четверти сделок стоят "
        "дольше, чем 90 % прежних стоянок (сделок не меньше пяти). Ожидаемый остаток = приток в день × среднее время "
        "на этапе."
    ),
    pitfalls=(
        "Массовая чистка (робот закрыл сотню старых сделок) выглядит как отток: смотрите, сколько ушло в отказ. Задача "
        "на будущее может прятать забытую сделку, если её всё время переносят. Звонки и задачи считаются по клиенту, а "
        "не по одной сделке. Если на этапе всегда лежит несколько очень старых сделок, доля застрявших велика "
        "постоянно: о новом говорит остаток выше границы."
    ),
)
EN = Text(
    name="Congestion",
    definition=(
        "On which stages deals have piled up beyond what is usual, and why those that are stuck do not move: the "
        "client cannot be reached; a planned task is waited for; nobody has been in touch; there is talk and the deal "
        "stands still, so an objection is not handled. Each stage is compared with its own past."
    ),
    formula=(
        "The usual stock is the median of day-end stocks of 12 weeks; the upper limit = median + 3 · 1.4826 · MAD. "
        "Congested if the stock is over the limit and more came than went in 4 weeks, or if more than a quarter of the "
        "deals are older than 90% of stays used to last (five deals at least). Expected stock = inflow per day × mean "
        "time on the stage."
    ),
    pitfalls=(
        "A clean-up (a robot closed a hundred old deals) looks like outflow: see how many were lost. A task in the "
        "future may hide a forgotten deal if it is put off again and again. Calls and tasks are counted by client, not "
        "by deal. Where a stage always keeps a few very old deals, much of it is stale all the time: what is new is "
        "told by the stock over its limit."
    ),
)

METRIC = Metric(
    id="E7",
    text={"ru": RU, "en": EN},
    params=CongestionParams,
    inputs=(*FUNNEL_INPUTS, "touch", "task", "task_link", "client_member", "coverage"),
    resources=(*FUNNEL_RESOURCES, "call", "task"),
    subject={"stages": None, "days": None, "drilldown": "user_id"},
    semantics="snapshot",
    reduce=reduce,
    finish=finish,
    default_period_d=30,
    reads_period=False,
    counted={"stages": ("num",)},
)
