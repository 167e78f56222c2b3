"""C1: why deals are lost — by reason, and each reason by manager, stage, month and source.

*Share* = losses for the reason among all losses of the group, those without a reason included. *Incidence* = the same
losses among all deals decided there: it does not fall when another reason grows.

Source: the metric catalogue, C1. What a loss is: `metrics.losses`.
"""

from typing import Any

import narwhals.stable.v2 as nw
import polars as pl
from pydantic import Field

from metrics.funnel import DAY_S
from metrics.losses import DEAL, DECIDED_INPUTS, STAGE, LossParams, decided, last_open_stays, reason_key
from metrics.metric import Frames, Metric, MetricResult, Period, Text, drilldown_rows
from metrics.people import of_population
from metrics.rates import MIN_N, low_n, rate_columns

Lazy = nw.LazyFrame[Any]


class LossReasonsParams(LossParams):
    """Which deals are looked at and when a group is too small."""

    min_n: int = Field(default=MIN_N, ge=0)
    """Below so many decided deals a row is marked low_n."""


def reduce(frames: Frames, params: LossReasonsParams, period: Period) -> dict[str, Lazy]:
    """Deals decided in the period, with the stage of those lost; and names of stages and sources."""
    closed = decided(frames, period.period_from, period.period_to, pipeline_id=params.pipeline_id)
    stages = last_open_stays(frames).select(*DEAL, stage_id="stage_id", stage_pipeline_id="pipeline_id")
    return {
        "deals": closed.join(stages, on=DEAL, how="left").drop("created_local", "outcome_epoch"),
        "stages": frames["stage"].select(*STAGE, stage_name="name", stage_sort="sort"),
        "sources": frames["source"].select("account_id", "source_id", source_name="name"),
        "clock": frames["clock"].select("account_id", "as_of_on"),
    }


def finish(collected: dict[str, pl.DataFrame], params: LossReasonsParams, period: Period) -> MetricResult:
    """Reasons of the whole account, and by each of four dimensions."""
    deals = (
        of_population(collected["deals"], params.population)
        .with_columns(
            reason_key(),
            is_lost=pl.col("outcome") == "lost",
            days=(pl.col("outcome_at") - pl.col("created_at")).dt.total_seconds() / DAY_S,
            month=pl.col("outcome_local").dt.truncate("1mo").dt.date(),
        )
        .sort("account_id", "outcome_at", "deal_id")
    )
    by_stage = _cells(deals, ["stage_pipeline_id", "stage_id"], params)
    by_month = _cells(deals, ["month"], params).join(collected["clock"], on="account_id", how="left")
    month_ends = pl.col("month").dt.offset_by("1mo")
    is_whole = (pl.col("month") >= period.period_from) & (month_ends <= period.period_to)
    return METRIC.result(
        params,
        period,
        tables={
            "reasons": _cells(deals, [], params),
            "by_user": _cells(deals, ["user_id", "user_active"], params),
            "by_stage": by_stage.join(
                collected["stages"],
                left_on=["account_id", "stage_pipeline_id", "stage_id"],
                right_on=STAGE,
                how="left",
                maintain_order="left",
            ).drop("stage_sort"),
            "by_month": by_month.with_columns(complete=is_whole & (month_ends <= pl.col("as_of_on"))).drop("as_of_on"),
            "by_source": _cells(deals, ["source_id"], params).join(
                collected["sources"], on=["account_id", "source_id"], how="left", maintain_order="left"
            ),
        },
        drilldown=drilldown_rows(
            deals.filter("is_lost"),
            entity_kind=pl.lit("deal"),
            entity_id="deal_id",
            event_at="outcome_at",
            value="amount_minor",
            value_unit=pl.lit("minor"),
            reason=pl.col("reason").fill_null("NO_REASON"),
        ),
    )


def _cells(deals: pl.DataFrame, by: list[str], params: LossReasonsParams) -> pl.DataFrame:
    """Per account, value of `by` and reason: losses (n) of all losses there (n_lost: share) and of all decided deals
    (den: rate, the incidence), money, amounts not known, and days from creation to loss (median)."""
    keys = ["account_id", *by]
    groups = deals.group_by(keys).agg(n_lost=pl.col("is_lost").sum().cast(pl.Int64), den=pl.len().cast(pl.Int64))
    cells = (
        deals.filter("is_lost")
        .group_by([*keys, "group_key", "loss_reason_id", "reason", "category"])
        .agg(
            n=pl.len().cast(pl.Int64),
            amount_minor=pl.col("amount_minor").sum(),
            n_null_amount=pl.col("amount_minor").is_null().sum().cast(pl.Int64),
            median_days=pl.col("days").median(),
        )
    )
    return (
        cells.join(groups, on=keys, how="left", nulls_equal=True)
        .with_columns(share=pl.col("n") / pl.col("n_lost"), num="n")
        .with_columns(*rate_columns(), low_n("den", min_n=params.min_n))
        .select(*keys, *CELL)
        .sort([*keys, "n", "group_key"], descending=[*(False for _ in keys), True, False], nulls_last=True)
    )


CELL = (
    "loss_reason_id",
    "reason",
    "category",
    "n",
    "n_lost",
    "share",
    "num",
    "den",
    "rate",
    "ci_lo",
    "ci_hi",
    "low_n",
    "amount_minor",
    "n_null_amount",
    "median_days",
    "group_key",
)

RU = Text(
    name="Причины отказа",
    definition=(
        "Почему сделки проиграны: по причинам и в разрезах — менеджер, этап, с которого потеряли, месяц, источник. "
        "Считаются сделки, чей последний исход за период — проигрыш; открытая заново сделка проигранной не считается. "
        "Менеджер — ответственный в день проигрыша."
    ),
    formula=(
        "Доля причины = проигрыши с этой причиной / все проигрыши (и без причины тоже). Частота = проигрыши с этой "
        "причиной / все завершённые сделки, выигранные и проигранные."
    ),
    pitfalls=(
        "Доля падает, когда растёт другая причина, частота — нет: людей и месяцы сравнивайте по частоте. Причину "
        "выбирает менеджер: «дорого» часто значит «не дожали», проверьте список на проверку отказов. Сумма — та, что "
        "стояла в сделке; где её нет, она не ноль, а неизвестна, такие посчитаны отдельно."
    ),
)
EN = Text(
    name="Loss reasons",
    definition=(
        "Why deals are lost: by reason, and by manager, stage they were lost from, month and source. Counted are deals "
        "whose last outcome in the period is a loss; a deal opened again is none. The manager is who was responsible "
        "on the day of the loss."
    ),
    formula=(
        "Share of a reason = losses for it / all losses, those without a reason included. Incidence = losses for it / "
        "all deals decided, won and lost."
    ),
    pitfalls=(
        "A share falls when another reason grows, incidence does not: compare people and months by incidence. The "
        "reason is chosen by the manager: “too expensive” often means “did not insist”, see the review list of "
        "refusals. The amount is what stood in the deal; where there is none it is not zero but unknown, those are "
        "counted apart."
    ),
)

METRIC = Metric(
    id="C1",
    text={"ru": RU, "en": EN},
    params=LossReasonsParams,
    inputs=(*DECIDED_INPUTS, "stage", "stage_interval", "source"),
    resources=("deal", "user", "loss_reason"),
    subject={
        "reasons": None,
        "by_user": "user_id",
        "by_stage": None,
        "by_month": None,
        "by_source": None,
        "drilldown": "user_id",
    },
    semantics="flow",
    reduce=reduce,
    finish=finish,
    default_period_d=90,
    counted={"reasons": ("n",)},
)
