"""B6: how many touches and attempts lie between the creation of a deal and its end; won deals, with lost ones beside.

Counted are the client's touches from the deal's creation to its outcome. Won deals alone are survivors: lost ones of
the same period stand beside them.

Source: the metric catalogue, B6. What a touch is: `metrics.last_touch`.
"""

from collections.abc import Sequence
from typing import Any

import narwhals.stable.v2 as nw
import polars as pl
from pydantic import Field

from metrics.channels import calls_only_notices, message_coverage
from metrics.client_value import valid_sales
from metrics.metric import Frames, Metric, MetricResult, Params, Period, Text, drilldown_rows
from metrics.people import group_key, of_population, with_user_flags
from metrics.rates import MIN_N, low_n

Lazy = nw.LazyFrame[Any]

DEAL = ["account_id", "deal_id"]
CLIENT = ["account_id", "client_id"]


class TouchesBeforeSaleParams(Params):
    """Which deals are looked at."""

    pipeline_id: str | None = None
    """One pipeline; None: all that sell."""
    min_n: int = Field(default=MIN_N, ge=0)
    """Below so many deals a row is marked low_n."""
    population: tuple[str, ...] | None = None
    """Users whose deals are counted; None: everybody's. Touches by others count all the same."""


def reduce(frames: Frames, params: TouchesBeforeSaleParams, period: Period) -> dict[str, Lazy]:
    """Deals won or lost in the period with the touches of their client while they were open."""
    col = nw.col
    now = frames["clock"].select("account_id", "from_epoch", "to_epoch", "as_of_epoch")
    closed = (
        frames["deal_state"]
        .filter(
            (col("entity_kind") == "deal").fill_null(True),
            col("outcome").is_in(["won", "lost"]),
            col("is_sales").fill_null(True),
            *([] if params.pipeline_id is None else [col("pipeline_id") == params.pipeline_id]),
        )
        .join(now, on="account_id")
        .filter(
            col("outcome_epoch") >= col("from_epoch"),
            col("outcome_epoch") < col("to_epoch"),
            col("outcome_epoch") <= col("as_of_epoch"),
        )
        .join(_earlier_buyers(frames), on=CLIENT, how="left")
        .select(
            *DEAL,
            "client_id",
            "pipeline_id",
            "source_id",
            "outcome",
            "outcome_at",
            "outcome_epoch",
            "created_epoch",
            "amount_minor",
            user_id=nw.coalesce("outcome_user_id", "responsible_user_id"),
            is_repeat=(col("first_sold_epoch") < col("created_epoch")).fill_null(False),
        )
    )
    during = (
        closed.select(*DEAL, "client_id", "created_epoch", "outcome_epoch")
        .join(
            frames["touch"].select(*CLIENT, "touched_epoch", "is_meaningful", "is_attempt"),
            on=CLIENT,
        )
        .filter(col("touched_epoch") >= col("created_epoch"), col("touched_epoch") <= col("outcome_epoch"))
        .group_by(*DEAL)
        .agg(n_touches=_count("is_meaningful"), n_attempts=_count("is_attempt"))
    )
    return {
        "deals": with_user_flags(closed.join(during, on=DEAL, how="left"), frames).drop("created_epoch"),
        "coverage": message_coverage(frames),
    }


def _earlier_buyers(frames: Frames) -> Lazy:
    """account_id, client_id, first_sold_epoch of everybody who bought."""
    sold = valid_sales(frames, basis="won_deal").filter(~nw.col("client_id").is_null())
    return sold.group_by(*CLIENT).agg(first_sold_epoch=nw.col("sold_epoch").min())


def _count(flag: str) -> nw.Expr:
    return nw.when(nw.col(flag).fill_null(False)).then(nw.lit(1)).otherwise(nw.lit(0)).sum().cast(nw.Int64)


def finish(collected: dict[str, pl.DataFrame], params: TouchesBeforeSaleParams, period: Period) -> MetricResult:
    """Quartiles of touches per outcome; the same by manager, by source, and by first and repeat sale."""
    deals = (
        of_population(collected["deals"], params.population)
        .with_columns(pl.col("n_touches", "n_attempts").fill_null(0), group_key())
        .sort("account_id", "outcome_epoch", "deal_id")
    )
    return METRIC.result(
        params,
        period,
        tables={
            "by_user": _counted(deals, ["user_id", "user_active", "group_key"], params),
            "total": _counted(deals, [], params),
            "by_source": _counted(deals, ["source_id"], params),
            "by_repeat": _counted(deals, ["is_repeat"], params),
        },
        drilldown=drilldown_rows(
            deals.filter(outcome="won"),
            entity_kind=pl.lit("deal"),
            entity_id="deal_id",
            event_at="outcome_at",
            value="n_touches",
            value_unit=pl.lit("n"),
            reason=pl.lit("WON"),
        ),
        warnings=calls_only_notices(
            collected["coverage"],
            ru="Касаний в сделках с перепиской на самом деле больше.",
            en="Deals with messages had more touches than are seen.",
        ),
    )


def _counted(deals: pl.DataFrame, by: Sequence[str], params: TouchesBeforeSaleParams) -> pl.DataFrame:
    """Per account and group: won deals with quartiles of their touches and the median of attempts, and the same median
    of the lost ones. Groups without a won deal are left in: their lost ones say something too."""
    keys = ["account_id", *by]
    won, lost = pl.col("outcome") == "won", pl.col("outcome") == "lost"
    touches, attempts = pl.col("n_touches"), pl.col("n_attempts")
    counted = deals.group_by(keys).agg(
        n_won=won.sum().cast(pl.Int64),
        p25_touches=touches.filter(won).quantile(0.25, "linear"),
        median_touches=touches.filter(won).median(),
        p75_touches=touches.filter(won).quantile(0.75, "linear"),
        median_attempts=attempts.filter(won).median(),
        n_untouched=(won & (touches == 0)).sum().cast(pl.Int64),
        n_lost=lost.sum().cast(pl.Int64),
        lost_median_touches=touches.filter(lost).median(),
        lost_median_attempts=attempts.filter(lost).median(),
    )
    return counted.with_columns(low_n("n_won", min_n=params.min_n)).sort(
        ["n_won", *keys], descending=[True, *(False for _ in keys)], nulls_last=True
    )


RU = Text(
    name="Касаний до сделки",
    definition=(
        "Сколько раз успевают пообщаться с клиентом между созданием сделки и её выигрышем, и сколько звонков при этом "
        "остались без ответа. Рядом — то же по проигранным за этот период: без них видно только удачи."
    ),
    formula=(
        "По каждой сделке, закрытой за период: касания клиента от создания сделки до её закрытия. В таблице — медиана "
        "и четверти (25 % и 75 %)."
    ),
    pitfalls=(
        "Касания считаются по клиенту: разговор о другой его сделке в те же дни тоже войдёт. Ноль касаний у выигранной "
        "— сделку завели задним числом или общались мимо CRM. Больше касаний не значит «лучше»: трудные сделки требуют "
        "их больше."
    ),
)
EN = Text(
    name="Touches before a sale",
    definition=(
        "How often somebody is in touch with the client between the creation of a deal and its win, and how many calls "
        "went unanswered meanwhile. Beside it the same of deals lost in the period: without them only luck is seen."
    ),
    formula=(
        "For each deal closed in the period: touches of the client from the deal's creation to its end. The table "
        "shows the median and the quartiles (25 % and 75 %)."
    ),
    pitfalls=(
        "Touches are counted by client: a talk about another deal of his in those days counts too. A won deal without "
        "touches was entered afterwards, or talked about outside the CRM. More touches are not better: hard deals need "
        "more."
    ),
)

METRIC = Metric(
    id="B6",
    text={"ru": RU, "en": EN},
    params=TouchesBeforeSaleParams,
    inputs=("deal_state", "touch", "sale", "user", "coverage"),
    resources=("call", "deal", "user"),
    subject={"by_user": "user_id", "total": None, "by_source": None, "by_repeat": None, "drilldown": "user_id"},
    semantics="flow",
    reduce=reduce,
    finish=finish,
    default_period_d=90,
    adds_up={"by_user": "total", "by_source": "total", "by_repeat": "total"},
    counted={"by_user": ("n_won",)},
)
