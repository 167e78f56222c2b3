"""E17: what the open deals are worth, each by the chance to be won from where it stands.

Source: the metric catalogue, E17. Chances: `metrics.stage_odds`.
"""

from collections.abc import Iterable
from typing import Any

import polars as pl
from pydantic import Field

from metrics.funnel import PIPELINE, STAGE
from metrics.funnel_scope import (
    FLAG,
    FUNNEL_INPUTS,
    FUNNEL_RESOURCES,
    INT,
    PIPELINE_COLUMNS,
    REAL,
    STAGE_COLUMNS,
    TEXT,
    Lazy,
    deal_rows,
    in_order,
    in_stage_order,
    only_with_deals,
    pipeline_key,
    scope,
    shaped,
    stage_key,
    whole_minor,
)
from metrics.metric import Frames, Metric, MetricResult, Notice, Period, Text
from metrics.people import group_key, with_user_flags
from metrics.stage_odds import OddsParams, imputed, odds, odds_inputs, standing_deals, with_odds
from metrics.stats.forecast import sum_quantiles


class WeightedPipelineParams(OddsParams):
    """Which deals the chances come from, and the seed of what is drawn."""

    seed: int = Field(default=20260101, ge=0)
    """Of the draws where there are too many deals for exact quantiles."""


def reduce(frames: Frames, params: WeightedPipelineParams, period: Period) -> dict[str, Lazy]:
    """Open deals, what became of earlier ones stage by stage, and what was won."""
    seen = scope(frames, params)
    return {
        "rungs": seen.rungs,
        "pipelines": seen.pipelines,
        "deals": with_user_flags(standing_deals(seen), frames).drop("entered_local", "entered_epoch"),
        **odds_inputs(seen, params),
    }


def finish(collected: dict[str, pl.DataFrame], params: WeightedPipelineParams, period: Period) -> MetricResult:
    """Money by stage, pipeline and manager, and the open deals behind it."""
    chances = odds(collected["rungs"], collected["reached"], params)
    deals = with_odds(imputed(collected["deals"], collected["won_amounts"]), chances).with_columns(stage_key())
    deals = deals.sort("account_id", "deal_id")  # sums of floats hang on the order of their parts
    pipelines = collected["pipelines"]
    rungs = only_with_deals(collected["rungs"], deals)
    stages = (
        rungs.join(_summed(deals, STAGE), on=STAGE, how="left", maintain_order="left")
        .join(chances, on=STAGE, how="left", maintain_order="left")
        .with_columns(pl.col("n", "n_imputed", "amount_minor", "weighted_minor").fill_null(0))
        .with_columns(pl.col("sd_minor").fill_null(0.0))
    )
    summary = _summed(deals, PIPELINE, seed=params.seed).with_columns(pipeline_key())
    return METRIC.result(
        params,
        period,
        tables={
            "stages": in_stage_order(stages, pipelines).pipe(shaped, STAGES),
            "summary": in_order(summary, pipelines).pipe(shaped, SUMMARY),
            "total": _summed(deals, ["account_id"], seed=params.seed).sort("account_id").pipe(shaped, TOTAL),
            "by_user": _by_user(deals).pipe(shaped, BY_USER),
        },
        drilldown=_drilldown(deals),
        warnings=tuple(_notices(deals, chances, pipelines)),
    )


_MONEY: dict[str, pl.DataType] = {
    "n": INT,
    "n_imputed": INT,
    "amount_minor": INT,
    "weighted_minor": INT,
    "sd_minor": REAL,
}
STAGES: dict[str, pl.DataType] = {
    **STAGE_COLUMNS,
    **_MONEY,
    "p": REAL,
    "wins": INT,
    "decided": INT,
    "p_basis": TEXT,
    "group_key": TEXT,
}
"""One row per stage: n open deals, n_imputed of them at the median won amount; p = chance to be won from here."""
SUMMARY: dict[str, pl.DataType] = {
    **PIPELINE_COLUMNS,
    **_MONEY,
    "p10_minor": INT,
    "p50_minor": INT,
    "p90_minor": INT,
    "group_key": TEXT,
}
TOTAL: dict[str, pl.DataType] = {
    name: kind for name, kind in SUMMARY.items() if name not in ("pipeline_id", "pipeline_name", "group_key")
}
BY_USER: dict[str, pl.DataType] = {
    "account_id": TEXT,
    "user_id": TEXT,
    "user_active": FLAG,
    **_MONEY,
    "group_key": TEXT,
}


def _summed(deals: pl.DataFrame, by: list[str], seed: int | None = None) -> pl.DataFrame:
    """Per group the mean and the spread of what its deals bring, and with a `seed` the quantiles."""
    variance = (pl.col("amount") ** 2 * pl.col("p") * (1 - pl.col("p"))).sum()
    table = deals.group_by(by, maintain_order=True).agg(
        n=pl.len().cast(pl.Int64),
        n_imputed=pl.col("is_imputed").sum().cast(pl.Int64),
        amount_minor=whole_minor(pl.col("amount").sum()),
        weighted_minor=whole_minor(pl.col("weighted").sum()),
        sd_minor=variance.sqrt(),
    )
    if seed is None:
        return table
    rows = [
        {**dict(zip(by, key, strict=True)), **_quantiles(part.drop_nulls(["amount", "p"]), seed)}
        for key, part in deals.sort("account_id", "deal_id").group_by(by, maintain_order=True)
    ]
    schema = {name: deals.schema[name] for name in by} | dict.fromkeys(("p10_minor", "p50_minor", "p90_minor"), REAL)
    quantiles = pl.DataFrame(rows, schema=schema).with_columns(
        whole_minor(pl.col("p10_minor", "p50_minor", "p90_minor"))
    )
    return table.join(quantiles, on=by, how="left", maintain_order="left")


def _quantiles(deals: pl.DataFrame, seed: int) -> dict[str, Any]:
    found = sum_quantiles(deals["amount"].to_numpy(), deals["p"].to_numpy(), (0.1, 0.5, 0.9), seed=seed)
    return dict(zip(("p10_minor", "p50_minor", "p90_minor"), found, strict=True))


def _by_user(deals: pl.DataFrame) -> pl.DataFrame:
    owned = deals.with_columns(group_key())
    table = _summed(owned, ["account_id", "user_id", "user_active", "group_key"])
    return table.sort(
        "weighted_minor", "n", "account_id", "user_id", descending=[True, True, False, False], nulls_last=True
    )


def _drilldown(deals: pl.DataFrame) -> pl.DataFrame:
    """Open deals, the dearest by chance first; value = amount times chance."""
    by, falling = ["account_id", "weighted", "deal_id"], [False, True, False]
    return deal_rows(
        deals.sort(by, descending=falling, nulls_last=True),
        event_at="entered_at",
        value="weighted",
        value_unit=pl.lit("minor"),
        reason=pl.when("is_imputed").then(pl.lit("AMOUNT_IMPUTED")).otherwise(pl.lit("OPEN")),
    )


def _notices(deals: pl.DataFrame, chances: pl.DataFrame, pipelines: pl.DataFrame) -> Iterable[Notice]:
    asked = deals.select(STAGE).unique()
    borrowed = chances.join(asked, on=STAGE, how="semi").filter(pl.col("p_basis") != "stage")
    if not borrowed.is_empty():
        names = pipelines.join(borrowed.select(PIPELINE).unique(), on=PIPELINE, how="semi").sort("pipeline_sort")
        told = ", ".join(f"«{name}»" for name in names["pipeline_name"])
        yield Notice(
            "odds_of_all_pipelines",
            f"На части этапов решённых сделок мало, вероятность взята по всем воронкам: {told}.",
            f"On some stages too few deals are decided; their chance is that of all pipelines: {told}.",
        )
    if deals["amount"].null_count():
        yield Notice(
            "no_won_money",
            "Выигранных сделок с суммой нет: открытые сделки без суммы в деньги не вошли.",
            "No won deal has an amount: open deals without one are not in the money.",
        )


RU = Text(
    name="Взвешенная воронка",
    definition=(
        "Сколько денег ждать от открытых сделок, если каждую умножить на вероятность выиграть с её этапа. Вероятность "
        "— из ваших же данных: какая доля сделок, дошедших до этапа за последний год и уже решённых, была выиграна."
    ),
    formula=(
        "p этапа = (выиграно + 0,5) / (решено + 1). Ожидание = сумма (сумма сделки × p). Разброс = корень из суммы "
        "(сумма² × p × (1 − p)). Сделка без суммы считается по медиане выигранных."
    ),
    pitfalls=(
        "Сделки считаются независимыми: один крупный клиент с тремя сделками делает разброс больше показанного. Это не "
        "прогноз месяца: когда сделка будет выиграна, здесь не учтено (смотрите E18). Где решённых сделок мало, "
        "вероятность взята по всем воронкам — об этом сказано."
    ),
)
EN = Text(
    name="Weighted pipeline",
    definition=(
        "How much money the open deals promise if each is multiplied by its chance to be won from its stage. The "
        "chance is of your own data: what share of the deals that reached the stage in the last year and are decided "
        "was won."
    ),
    formula=(
        "p of a stage = (won + 0.5) / (decided + 1). Expected = sum of amount × p. Spread = root of the sum of "
        "amount² × p × (1 − p). A deal without an amount is taken at the median of the won."
    ),
    pitfalls=(
        "Deals are taken as independent: one large client with three deals makes the spread wider than shown. It is no "
        "forecast of a month: when a deal will be won is not asked here (see E18). Where few deals are decided the "
        "chance is that of all pipelines, and this is said."
    ),
)

METRIC = Metric(
    id="E17",
    text={"ru": RU, "en": EN},
    params=WeightedPipelineParams,
    inputs=(*FUNNEL_INPUTS, "user"),
    resources=FUNNEL_RESOURCES,
    subject={"stages": None, "summary": None, "total": None, "by_user": "user_id", "drilldown": "user_id"},
    semantics="snapshot",
    reduce=reduce,
    finish=finish,
    default_period_d=365,
    reads_period=False,
    counted={"stages": ("n",)},
    adds_up={"stages": "total", "summary": "total", "by_user": "total"},
)
