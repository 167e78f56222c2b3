"""C3 and C8: whose losses differ from the rest of the team — for one reason (C3), and in stating no reason at all (C8).

A difference is no verdict: deals are not given out at random. Where sources and pipelines allow it the comparison is
made within them as well (S-MH), and a difference that turns round there is not flagged.

Source: the metric catalogue, C3, C8. What a loss is: `metrics.losses`. The comparison: `metrics.team`.
"""

from typing import Any

import narwhals.stable.v2 as nw
import polars as pl
from pydantic import Field

from metrics.losses import DECIDED_INPUTS, NO_REASON, UNSTATED, LossParams, decided
from metrics.metric import Frames, Metric, MetricResult, Period, Text, drilldown_rows
from metrics.people import UNASSIGNED, group_key, of_population
from metrics.rates import MIN_N, low_n, rate_columns
from metrics.stats.rates import mantel_haenszel, shrunken
from metrics.team import MIN_EFFECT, compared

Lazy = nw.LazyFrame[Any]

USER = ["account_id", "user_id", "user_active", "user_is_robot"]
REASON = ["loss_reason_id", "reason", "category"]
STRATUM = ["source_id", "pipeline_id"]
MIN_STRATA = 2
"""In fewer strata there is nothing to be turned round."""


class LossTeamParams(LossParams):
    """Who is tested and which difference matters."""

    min_n: int = Field(default=MIN_N, ge=1)
    """A manager with fewer deals is shown but not tested."""
    min_effect: float = Field(default=MIN_EFFECT, ge=0, le=1)
    """A smaller difference of rates is never flagged (0.05 = five percentage points)."""


def reduce(frames: Frames, params: LossTeamParams, period: Period) -> dict[str, Lazy]:
    """Deals decided in the period."""
    deals = decided(frames, period.period_from, period.period_to, pipeline_id=params.pipeline_id)
    return {"deals": deals.drop("created_local", "outcome_local")}


WORKS_HERE = pl.col("user_active").fill_null(False) & ~pl.col("user_is_robot").fill_null(False)
"""Who is compared and who is the team: people who work here. Deals of nobody are nobody's."""


def _deals(collected: dict[str, pl.DataFrame], params: LossTeamParams) -> pl.DataFrame:
    return of_population(collected["deals"], params.population).sort("account_id", "outcome_epoch", "deal_id")


# --- C3 --------------------------------------------------------------------------------------------------------------


def finish_reasons(collected: dict[str, pl.DataFrame], params: LossTeamParams, period: Period) -> MetricResult:
    """Each manager and reason beside the rest of the team."""
    deals = _deals(collected, params)
    losses = deals.filter(outcome="lost")
    cells = _cells(deals, losses, USER)
    table = compared(
        cells.with_columns(*rate_columns(), low_n("den", min_n=params.min_n)),
        "num",
        "den",
        within=["account_id", "loss_reason_id"],
        tested=WORKS_HERE & (pl.col("den") >= params.min_n),
        in_team=WORKS_HERE,
        min_effect=params.min_effect,
    )
    judged = _with_shrunken(table).join(
        _stratified(deals, losses, table, params), on=[*USER, *REASON], how="left", nulls_equal=True
    )
    agrees = pl.col("mh_or").is_null() | ((pl.col("mh_or") > 1) == (pl.col("diff") > 0))
    return REASONS.result(
        params,
        period,
        tables={
            "by_user": judged.with_columns(flag=pl.col("flag") & agrees, group_key=_cell_key())
            .drop("user_is_robot")
            .sort(
                ["flag", "q", "den", "account_id", "user_id", "loss_reason_id"],
                descending=[True, False, True, False, False, False],
                nulls_last=True,
            )
        },
        drilldown=_drilldown(losses, _cell_key()),
    )


def _cell_key() -> pl.Expr:
    """`group_key` of a manager and a reason."""
    user, reason = pl.col("user_id").fill_null(UNASSIGNED), pl.col("loss_reason_id").fill_null(NO_REASON)
    return pl.concat_str(user, pl.lit("|"), reason).alias("group_key")


def _cells(deals: pl.DataFrame, losses: pl.DataFrame, who: list[str]) -> pl.DataFrame:
    """Per row of `who` and reason of its account: losses for it (num) of the decided deals (den); zeros included."""
    den = deals.group_by(who).agg(den=pl.len().cast(pl.Int64))
    num = losses.group_by([*who, *REASON]).agg(num=pl.len().cast(pl.Int64))
    reasons = losses.select("account_id", *REASON).unique()
    return (
        den.join(reasons, on="account_id")
        .join(num, on=[*who, *REASON], how="left", nulls_equal=True)
        .with_columns(pl.col("num").fill_null(0))
        .sort([*who, "loss_reason_id"], nulls_last=True)
    )


def _with_shrunken(table: pl.DataFrame) -> pl.DataFrame:
    """`eb_rate`: the rate drawn to that of all, by which small groups may be ranked (S-EB)."""
    over = ["account_id", "loss_reason_id"]
    means = table.with_columns(mean=pl.col("num").sum().over(over) / pl.col("den").sum().over(over))
    rates = shrunken(means["num"].to_numpy(), means["den"].to_numpy(), means["mean"].to_numpy())
    return table.with_columns(eb_rate=pl.Series(rates, dtype=pl.Float64))


MH: dict[str, pl.DataType] = {
    "n_strata": pl.Int64(),
    "mh_or": pl.Float64(),
    "mh_lo": pl.Float64(),
    "mh_hi": pl.Float64(),
    "mh_p": pl.Float64(),
}


def _stratified(deals: pl.DataFrame, losses: pl.DataFrame, table: pl.DataFrame, params: LossTeamParams) -> pl.DataFrame:
    """`MH` of each tested row: odds against the rest of the team within sources and pipelines with enough deals."""
    team, of_team = deals.filter(WORKS_HERE), losses.filter(WORKS_HERE)
    cells = _cells(team, of_team, [*USER, *STRATUM])
    of_stratum = ["account_id", *STRATUM, "loss_reason_id"]
    cells = cells.with_columns(
        rest_num=pl.col("num").sum().over(of_stratum) - pl.col("num"),
        rest_den=pl.col("den").sum().over(of_stratum) - pl.col("den"),
    ).filter(pl.col("den") + pl.col("rest_den") >= params.min_n, pl.col("rest_den") > 0)
    tested = table.filter(pl.col("p").is_not_null()).select(*USER, *REASON)
    rows = [
        dict(zip([*USER, *REASON], key, strict=True)) | _odds(part)
        for key, part in tested.join(cells, on=[*USER, *REASON], nulls_equal=True).group_by(
            [*USER, *REASON], maintain_order=True
        )
        if part.height >= MIN_STRATA
    ]
    return pl.DataFrame(rows, schema={name: table.schema[name] for name in (*USER, *REASON)} | MH)


def _odds(strata: pl.DataFrame) -> dict[str, Any]:
    squares = strata.select("num", pl.col("den") - pl.col("num"), "rest_num", pl.col("rest_den") - pl.col("rest_num"))
    found = mantel_haenszel(squares.to_numpy())
    known = {"mh_or": found.odds_ratio, "mh_lo": found.lo, "mh_hi": found.hi, "mh_p": found.p} if found else {}
    return dict.fromkeys(MH) | {"n_strata": strata.height} | known


# --- C8 --------------------------------------------------------------------------------------------------------------


def finish_discipline(collected: dict[str, pl.DataFrame], params: LossTeamParams, period: Period) -> MetricResult:
    """Losses without a reason that says anything, per manager."""
    losses = _deals(collected, params).filter(outcome="lost").with_columns(group_key())
    table = compared(
        _unstated(losses, [*USER, "group_key"], params),
        "num",
        "den",
        within=["account_id"],
        tested=WORKS_HERE & ~pl.col("low_n"),
        in_team=WORKS_HERE,
        min_effect=params.min_effect,
    )
    return DISCIPLINE.result(
        params,
        period,
        tables={
            "by_user": table.drop("user_is_robot").sort(
                ["low_n", "rate", "den", "account_id", "user_id"],
                descending=[False, True, True, False, False],
                nulls_last=True,
            ),
            "total": _unstated(losses, ["account_id"], params).sort("account_id"),
        },
        drilldown=_drilldown(losses.filter(pl.col("category").is_in(UNSTATED)), group_key()),
    )


def _unstated(losses: pl.DataFrame, by: list[str], params: LossTeamParams) -> pl.DataFrame:
    """Per group: losses (den), those without a reason or with “other” (num), and the former alone."""
    counted = losses.group_by(by).agg(
        num=pl.col("category").is_in(UNSTATED).sum().cast(pl.Int64),
        den=pl.len().cast(pl.Int64),
        n_no_reason=(pl.col("category") == NO_REASON).sum().cast(pl.Int64),
    )
    return counted.with_columns(*rate_columns(), low_n("den", min_n=params.min_n))


def _drilldown(losses: pl.DataFrame, key: pl.Expr) -> pl.DataFrame:
    return drilldown_rows(
        losses.with_columns(key),
        entity_kind=pl.lit("deal"),
        entity_id="deal_id",
        event_at="outcome_at",
        value="amount_minor",
        value_unit=pl.lit("minor"),
        reason=pl.col("reason").fill_null("NO_REASON"),
    )


RU_REASONS = Text(
    name="Отказы менеджера и команды",
    definition=(
        "У кого какая причина отказа встречается чаще или реже, чем у остальных. Каждый менеджер сравнивается с "
        "командой без него по каждой причине; отдельно — внутри одинаковых источников и воронок, чтобы плохие заявки "
        "не сошли за плохую работу."
    ),
    formula=(
        "Частота = проигрыши менеджера с причиной / его завершённые сделки. Отличие отмечено, если случайность "
        "маловероятна с учётом всех сравнений (q ≤ 0,10), разница не меньше 5 процентных пунктов и внутри источников "
        "и воронок она в ту же сторону."
    ),
    pitfalls=(
        "«Отличается» не значит «виноват»: заявки раздают не случайно. Меньше десяти завершённых сделок не "
        "сравнивается. Уволенные, роботы и сделки без ответственного в сравнении не участвуют. Для рейтинга небольших "
        "групп — сглаженная частота."
    ),
)
EN_REASONS = Text(
    name="A manager's losses and the team's",
    definition=(
        "Who has which loss reason more or less often than the others. Every manager is compared with the team without "
        "him for each reason; and once more within the same sources and pipelines, so that bad leads are not taken for "
        "bad work."
    ),
    formula=(
        "Incidence = the manager's losses for the reason / his decided deals. A difference is flagged if chance is "
        "unlikely given all comparisons (q ≤ 0.10), if it is at least 5 percentage points, and if it has the same sign "
        "within sources and pipelines."
    ),
    pitfalls=(
        "“Differs” is not “guilty”: leads are not given out at random. Fewer than ten decided deals are not compared. "
        "People who have left, robots and deals of nobody take no part. To rank small groups there is the shrunken "
        "rate."
    ),
)
RU_DISCIPLINE = Text(
    name="Заполняемость причин отказа",
    definition=(
        "Какая доля проигранных сделок закрыта без причины или с причиной, которая ничего не говорит («другое»), и кто "
        "в этом отличается от остальных."
    ),
    formula="Доля = проигрыши без причины или с категорией «другое» / все проигрыши менеджера за период.",
    pitfalls=(
        "Причина, для которой не задана категория и по названию она не угадана, тоже считается «другим»: задайте "
        "категории в настройках. Проигрыши, закрытые роботом, числятся за ответственным."
    ),
)
EN_DISCIPLINE = Text(
    name="Loss reasons filled in",
    definition=(
        "Which share of lost deals was closed without a reason, or with one that says nothing (“other”), and who "
        "differs from the others in that."
    ),
    formula="Share = losses without a reason or of category “other” / all losses of the manager in the period.",
    pitfalls=(
        "A reason without a category, whose name does not tell it either, counts as “other”: set categories. Losses "
        "that a robot closed stand under the responsible."
    ),
)

REASONS = Metric(
    id="C3",
    text={"ru": RU_REASONS, "en": EN_REASONS},
    params=LossTeamParams,
    inputs=DECIDED_INPUTS,
    resources=("deal", "user", "loss_reason"),
    subject={"by_user": "user_id", "drilldown": "user_id"},
    semantics="flow",
    reduce=reduce,
    finish=finish_reasons,
    default_period_d=90,
    counted={"by_user": ("num",)},
)
DISCIPLINE = Metric(
    id="C8",
    text={"ru": RU_DISCIPLINE, "en": EN_DISCIPLINE},
    params=LossTeamParams,
    inputs=DECIDED_INPUTS,
    resources=("deal", "user", "loss_reason"),
    subject={"by_user": "user_id", "total": None, "drilldown": "user_id"},
    semantics="flow",
    reduce=reduce,
    finish=finish_discipline,
    default_period_d=90,
    counted={"by_user": ("num",)},
    adds_up={"by_user": "total"},
)
METRICS = (REASONS, DISCIPLINE)
