"""C4: money lost with the deals of a period — as it stood in them, and as much of it as could be expected.

Expected = amount × the chance to be won from the stage the deal was lost from, so that ten millions lost on the first
stage do not hide three hundred thousand lost on the last. Amounts that are obviously made up (1 rouble, 999 999 999)
are left out of both and counted.

Source: the metric catalogue, C4, E17. What a loss is: `metrics.losses`. Chances: `metrics.stage_odds`.
"""

from typing import Any

import narwhals.stable.v2 as nw
import polars as pl
from pydantic import Field

from metrics.funnel_scope import FUNNEL_INPUTS, FUNNEL_RESOURCES, scope, whole_minor
from metrics.losses import DEAL, DECIDED_INPUTS, STAGE, decided, last_open_stays, reason_key
from metrics.metric import Frames, Metric, MetricResult, Period, Text, drilldown_rows
from metrics.people import group_key, of_population
from metrics.stage_odds import OddsParams, odds, odds_inputs, with_odds

Lazy = nw.LazyFrame[Any]

MINOR = 100
"""Minor units in one, of the currencies people type round numbers in."""


class MoneyLostParams(OddsParams):
    """Which deals are looked at, which the chances come from, and which amounts are no amounts."""

    placeholders: tuple[int, ...] = Field(default=(1, 111_111, 999_999, 9_999_999, 99_999_999, 999_999_999))
    """Whole amounts people enter to fill a field: left out of all sums and counted."""


def reduce(frames: Frames, params: MoneyLostParams, period: Period) -> dict[str, Lazy]:
    """Deals lost in the period with the stage they were lost from, and what became of earlier deals stage by stage."""
    everyone = params.model_copy(update={"population": None})
    seen = scope(frames, everyone)
    deals = decided(frames, period.period_from, period.period_to, pipeline_id=params.pipeline_id)
    lost = deals.filter(nw.col("outcome") == "lost").drop("created_local", "outcome_local")
    stays = last_open_stays(frames).select(*DEAL, stage_id="stage_id")
    return {
        "lost": lost.join(stays, on=DEAL, how="left"),
        "rungs": seen.rungs,
        "reached": odds_inputs(seen, everyone)["reached"],
    }


def finish(collected: dict[str, pl.DataFrame], params: MoneyLostParams, period: Period) -> MetricResult:
    """Money lost in all, by manager, by stage and by reason; and the deals, dearest first."""
    lost = of_population(collected["lost"], params.population)
    is_placeholder = pl.col("amount_minor").is_in([whole * MINOR for whole in params.placeholders]).fill_null(False)
    known = lost.with_columns(
        group_key(),
        is_placeholder=is_placeholder,
        amount=pl.when(~is_placeholder).then(pl.col("amount_minor").cast(pl.Float64)),
    )
    priced = with_odds(known, odds(collected["rungs"], collected["reached"], params)).sort(
        ["amount", "account_id", "deal_id"], descending=[True, False, False], nulls_last=True
    )
    names = collected["rungs"].select(*STAGE, "stage_name")
    by_stage = _summed(priced, ["pipeline_id", "stage_id"])
    return METRIC.result(
        params,
        period,
        tables={
            "by_user": _summed(priced, ["user_id", "user_active", "group_key"]),
            "total": _summed(priced, []),
            "by_stage": by_stage.join(names, on=STAGE, how="left", maintain_order="left"),
            "by_reason": _summed(priced.with_columns(reason_key()), ["loss_reason_id", "reason", "category"]),
        },
        drilldown=drilldown_rows(
            priced,
            entity_kind=pl.lit("deal"),
            entity_id="deal_id",
            event_at="outcome_at",
            value="amount",
            value_unit=pl.lit("minor"),
            reason=pl.when("is_placeholder").then(pl.lit("AMOUNT_PLACEHOLDER")).otherwise(pl.lit("LOST")),
        ),
    )


def _summed(lost: pl.DataFrame, by: list[str]) -> pl.DataFrame:
    """Per account and group: losses (n), their money and the money to be expected, dearest first.

    n_null_amount, n_placeholder: losses without an amount, or with one that is none; n_no_chance: with an amount, but
    no stage to take a chance from, in amount_minor and not in expected_minor.
    """
    keys = ["account_id", *by]
    no_chance = pl.col("amount").is_not_null() & pl.col("p").is_null()
    return (
        lost.group_by(keys)
        .agg(
            n=pl.len().cast(pl.Int64),
            amount_minor=whole_minor(pl.col("amount").sum()),
            expected_minor=whole_minor(pl.col("weighted").sum()),
            n_null_amount=pl.col("amount_minor").is_null().sum().cast(pl.Int64),
            n_placeholder=pl.col("is_placeholder").sum().cast(pl.Int64),
            n_no_chance=no_chance.sum().cast(pl.Int64),
        )
        .sort(["expected_minor", "n", *keys], descending=[True, True, *(False for _ in keys)], nulls_last=True)
    )


RU = Text(
    name="Потерянные деньги",
    definition=(
        "Сколько денег было в проигранных сделках и какую их часть можно было ожидать. Ожидаемое — сумма сделки, "
        "умноженная на шанс выиграть с этапа, с которого её потеряли: десять миллионов на первом этапе — это ещё не "
        "десять миллионов."
    ),
    formula=(
        "Сумма = суммы проигранных за период сделок. Ожидаемое = сумма × (выиграно + ½) / (решено + 1) среди сделок, "
        "дошедших до этого этапа за год."
    ),
    pitfalls=(
        "Суммы-заглушки (1 ₽, 999 999 999) не входят и посчитаны отдельно, как и сделки без суммы. Сделка, потерянная "
        "без этапа, входит в сумму, но не в ожидаемое. Это оценка порядка, а не долг менеджера."
    ),
)
EN = Text(
    name="Money lost",
    definition=(
        "How much money stood in the deals that were lost, and which part of it could be expected. Expected is the "
        "amount times the chance to win from the stage the deal was lost from: ten millions on the first stage are not "
        "yet ten millions."
    ),
    formula=(
        "Amount = sum over the deals lost in the period. Expected = amount × (won + ½) / (decided + 1) among deals "
        "that got to that stage within a year."
    ),
    pitfalls=(
        "Placeholders (1, 999 999 999) are left out and counted apart, as are deals without an amount. A deal lost "
        "without a stage is in the amount but not in the expected. This is an order of magnitude, not a manager's debt."
    ),
)

METRIC = Metric(
    id="C4",
    text={"ru": RU, "en": EN},
    params=MoneyLostParams,
    inputs=(*DECIDED_INPUTS, *(name for name in FUNNEL_INPUTS if name not in DECIDED_INPUTS)),
    resources=(*FUNNEL_RESOURCES, "user", "loss_reason"),
    subject={"by_user": "user_id", "total": None, "by_stage": None, "by_reason": None, "drilldown": "user_id"},
    semantics="flow",
    reduce=reduce,
    finish=finish,
    default_period_d=90,
    counted={"by_user": ("n",)},
    adds_up={"by_user": "total", "by_stage": "total", "by_reason": "total"},
)
