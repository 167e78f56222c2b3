"""C2 and C6: is a loss reason rising? Month by month, as a share of the deals decided in the month.

Complete local months only, by the day of the loss. The trend is tested over all months (S-CA), its slope is the median
of all pairwise slopes (S-SEN), and the last month is set beside the one before (S-NEWCOMBE).

Source: the metric catalogue, C2, C6. What a loss is: `metrics.losses`.
"""

from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any

import narwhals.stable.v2 as nw
import polars as pl
from pydantic import Field
from scipy import stats as scipy_stats

from metrics.losses import DECIDED_INPUTS, LossParams, decided, reason_key
from metrics.metric import Frames, Metric, MetricResult, Period, Text, drilldown_rows
from metrics.months import number_of
from metrics.people import group_key, of_population
from metrics.rates import MIN_N, low_n, rate_columns
from metrics.stats.rates import benjamini_hochberg, cochran_armitage, newcombe
from metrics.team import MAX_Q, compared

Lazy = nw.LazyFrame[Any]


class LossTrendParams(LossParams):
    """How far back, and when there is too little to say."""

    months: int = Field(default=6, ge=2, le=60)
    """Complete months looked at, the last one before the end of the period."""
    min_n: int = Field(default=MIN_N, ge=0)
    """With fewer decided deals a row is neither tested nor flagged."""


# --- reduce ----------------------------------------------------------------------------------------------------------


def window(period: Period, months: int) -> tuple[date, date]:
    """The first days of the first and of the month after the last of `months` complete ones up to the period's end."""
    end = number_of(period.period_to)
    return tuple(date(number // 12, number % 12 + 1, 1) for number in (end - months, end))  # type: ignore[return-value]


def reduce_reasons(frames: Frames, params: LossTrendParams, period: Period) -> dict[str, Lazy]:
    """Deals decided in the months."""
    deals = decided(frames, *window(period, params.months), pipeline_id=params.pipeline_id)
    return {"deals": deals, "clock": frames["clock"].select("account_id", "as_of_on")}


def reduce_price(frames: Frames, params: LossTrendParams, period: Period) -> dict[str, Lazy]:
    """Deals decided in the months, with the discount their items had, where it is in the account's currency."""
    collected = reduce_reasons(frames, params, period)
    currency = frames["account"].select("account_id", currency="base_currency")
    known = (
        frames["deal_item"].join(currency, on=["account_id", "currency"]).filter(~nw.col("discount_minor").is_null())
    )
    discounts = known.group_by("account_id", "deal_id").agg(discount_minor=nw.col("discount_minor").sum())
    return collected | {"deals": collected["deals"].join(discounts, on=["account_id", "deal_id"], how="left")}


# --- finish ----------------------------------------------------------------------------------------------------------


def _months_of(collected: dict[str, pl.DataFrame], params: LossTrendParams) -> pl.DataFrame:
    """Decided deals of months that are over in their account, with the month."""
    month = pl.col("outcome_local").dt.truncate("1mo").dt.date()
    is_over = pl.col("month").dt.offset_by("1mo") <= pl.col("as_of_on")
    return (
        of_population(collected["deals"], params.population)
        .join(collected["clock"], on="account_id")
        .with_columns(month=month)
        .filter(is_over)
        .sort("account_id", "outcome_epoch", "deal_id")
    )


def _by_month(deals: pl.DataFrame, hits: pl.DataFrame, groups: pl.DataFrame, by: Sequence[str] = ()) -> pl.DataFrame:
    """Per row of `groups` and month: `hits` (num) of the decided deals (den) of the month, zero months included.

    Args:
        groups: account_id and what a numerator is (a reason, a user). by: what of it keeps denominators apart too.
    """
    group = groups.columns[1:]
    den = deals.group_by(["account_id", *by, "month"]).agg(den=pl.len().cast(pl.Int64))
    num = hits.group_by(["account_id", *group, "month"]).agg(num=pl.len().cast(pl.Int64))
    dense = groups.unique().join(den, on=["account_id", *by], nulls_equal=True)
    return (
        dense.join(num, on=["account_id", *group, "month"], how="left", nulls_equal=True)
        .with_columns(pl.col("num").fill_null(0))
        .with_columns(*rate_columns())
        .sort(["account_id", *group, "month"], nulls_last=True)
    )


TREND: dict[str, pl.DataType] = {
    "num": pl.Int64(),
    "den": pl.Int64(),
    "rate": pl.Float64(),
    "ca_z": pl.Float64(),
    "ca_p": pl.Float64(),
    "slope": pl.Float64(),
    "last_rate": pl.Float64(),
    "previous_rate": pl.Float64(),
    "last_diff": pl.Float64(),
    "last_diff_lo": pl.Float64(),
    "last_diff_hi": pl.Float64(),
    "is_rising": pl.Boolean(),
}
"""slope: change of the share a month (0.01 = one percentage point)."""


def _trends(months: pl.DataFrame, group: list[str], params: LossTrendParams) -> pl.DataFrame:
    """One row per account and group with `TREND`, q over all rows that are tested, and flag."""
    keys = ["account_id", *group]
    rows = [
        dict(zip(keys, key, strict=True)) | _trend(part, params)
        for key, part in months.group_by(keys, maintain_order=True)
    ]
    table = pl.DataFrame(rows, schema={name: months.schema[name] for name in keys} | TREND)
    tested = table["ca_p"].is_not_null()
    q = table.filter(tested).with_columns(q=pl.Series(benjamini_hochberg(table.filter(tested)["ca_p"].to_numpy())))
    return (
        table.join(q.select(*keys, "q"), on=keys, how="left", nulls_equal=True, maintain_order="left")
        .with_columns(low_n("den", min_n=params.min_n), flag=pl.col("q") <= MAX_Q)
        .sort(["num", *keys], descending=[True, *(False for _ in keys)], nulls_last=True)
    )


def _trend(months: pl.DataFrame, params: LossTrendParams) -> dict[str, Any]:
    """What the months of one group say."""
    num, den = months["num"].to_numpy(), months["den"].to_numpy()
    total, cases = int(num.sum()), int(den.sum())
    found: dict[str, Any] = dict.fromkeys(TREND) | {"num": total, "den": cases, "rate": total / cases}
    number = months["month"].dt.year() * 12 + months["month"].dt.month()
    at = (number - number.min()).to_numpy()
    if months.height > 1:
        found["slope"] = float(scipy_stats.theilslopes(num / den, at).slope)
        found |= dict(zip(LAST, _last(num, den, at, params), strict=True))
    if cases >= params.min_n and (tested := cochran_armitage(*_spread(num, den, at))):
        found |= {"ca_z": tested[0], "ca_p": tested[1], "is_rising": tested[0] > 0}
    return found


LAST = ("last_rate", "previous_rate", "last_diff", "last_diff_lo", "last_diff_hi")


def _last(num: Any, den: Any, at: Any, params: LossTrendParams) -> Iterator[float | None]:
    """The last month and the one before, where both had decided deals."""
    is_beside = at[-1] - at[-2] == 1
    between = newcombe(int(num[-1]), int(den[-1]), int(num[-2]), int(den[-2])) if is_beside else None
    yield from (num[-1] / den[-1], num[-2] / den[-2]) if is_beside else (None, None)
    yield from between or (None, None, None)


def _spread(num: Any, den: Any, at: Any) -> tuple[list[float], list[float]]:
    """Counts by month with the months nobody decided anything in: their distance counts."""
    k, n = [0.0] * (int(at[-1]) + 1), [0.0] * (int(at[-1]) + 1)
    for where, hits, cases in zip(at, num, den, strict=True):
        k[int(where)], n[int(where)] = float(hits), float(cases)
    return k, n


def _drilldown(losses: pl.DataFrame) -> pl.DataFrame:
    return drilldown_rows(
        losses,
        entity_kind=pl.lit("deal"),
        entity_id="deal_id",
        event_at="outcome_at",
        value="amount_minor",
        value_unit=pl.lit("minor"),
        reason=pl.col("reason").fill_null("NO_REASON"),
    )


REASON = ["loss_reason_id", "reason", "category", "group_key"]


def finish_reasons(collected: dict[str, pl.DataFrame], params: LossTrendParams, period: Period) -> MetricResult:
    """A trend per reason, and its months."""
    deals = _months_of(collected, params)
    losses = deals.filter(outcome="lost").with_columns(reason_key())
    months = _by_month(deals, losses, losses.select("account_id", *REASON))
    return REASONS.result(
        params,
        period,
        tables={"trend": _trends(months, REASON, params), "months": months},
        drilldown=_drilldown(losses),
    )


USER = ["user_id", "user_active", "group_key"]


def finish_price(collected: dict[str, pl.DataFrame], params: LossTrendParams, period: Period) -> MetricResult:
    """Losses for the price: the whole account by month, and each manager beside the rest of the team."""
    deals = _months_of(collected, params).with_columns(group_key())
    losses = deals.filter(outcome="lost", category="price")
    money = losses.group_by("account_id", "month").agg(
        mean_amount_minor=pl.col("amount_minor").mean(),
        n_null_amount=pl.col("amount_minor").is_null().sum().cast(pl.Int64),
        mean_discount_minor=pl.col("discount_minor").mean(),
        n_discounted=pl.col("discount_minor").is_not_null().sum().cast(pl.Int64),
    )
    months = _by_month(deals, losses, deals.select("account_id"))
    mine = deals.group_by("account_id", *USER, "user_is_robot").agg(
        num=((pl.col("outcome") == "lost") & (pl.col("category") == "price")).sum().cast(pl.Int64),
        den=pl.len().cast(pl.Int64),
    )
    works_here = pl.col("user_active") & ~pl.col("user_is_robot")
    beside = compared(
        mine.with_columns(*rate_columns(), low_n("den", min_n=params.min_n)),
        "num",
        "den",
        within=["account_id"],
        tested=works_here & ~pl.col("low_n"),
        in_team=works_here,
    )
    return PRICE.result(
        params,
        period,
        tables={
            "trend": _trends(months, [], params),
            "months": months.join(money, on=["account_id", "month"], how="left", maintain_order="left").with_columns(
                pl.col("n_null_amount", "n_discounted").fill_null(0)
            ),
            "by_user": beside.drop("user_is_robot").sort(
                ["low_n", "diff", "den", "account_id", "user_id"],
                descending=[False, True, True, False, False],
                nulls_last=True,
            ),
            "user_months": _by_month(deals, losses, deals.select("account_id", *USER), USER),
        },
        drilldown=_drilldown(losses),
    )


RU_REASONS = Text(
    name="Динамика причин отказа",
    definition=(
        "Растёт ли причина отказа. По полным месяцам: какая доля завершённых сделок проиграна по этой причине, и есть "
        "ли устойчивый рост или падение за все месяцы, а не скачок одного."
    ),
    formula=(
        "Доля за месяц = проигрыши с причиной / все завершённые в этом месяце сделки. Рост проверяется по всем месяцам "
        "сразу (тест Кокрана — Армитиджа) с поправкой на число причин; наклон — медиана изменений доли за месяц."
    ),
    pitfalls=(
        "Месяц — тот, когда сделку проиграли, а не когда создали. Текущий неполный месяц не входит. Отметка ставится, "
        "когда случайность маловероятна (q ≤ 0,10); десять сделок в месяц — мало для выводов."
    ),
)
EN_REASONS = Text(
    name="Trend of loss reasons",
    definition=(
        "Is a loss reason rising? By complete months: which share of the deals decided was lost for it, and whether it "
        "rises or falls steadily over all months rather than jumps in one."
    ),
    formula=(
        "Share of a month = losses for the reason / all deals decided in the month. The trend is tested over all "
        "months (Cochran–Armitage) and corrected for the number of reasons; the slope is the median change a month."
    ),
    pitfalls=(
        "The month is that of the loss, not of the creation. The running month is left out. A flag means that chance "
        "is unlikely (q ≤ 0.10); ten deals a month are too few to conclude from."
    ),
)
RU_PRICE = Text(
    name="«Дорого» в динамике",
    definition=(
        "Какая доля сделок проиграна из-за цены, растёт ли она по месяцам и у кого она выше, чем у остальных. Рядом — "
        "средняя сумма таких сделок и скидка, которую в них успели дать."
    ),
    formula=(
        "Доля = проигрыши с причинами категории «цена» / все завершённые за месяц сделки. Менеджер сравнивается с "
        "остальными (точный тест Фишера, поправка на число людей)."
    ),
    pitfalls=(
        "После повышения цен доля растёт у всех: смотрите на разницу менеджера с командой. Какие причины — «цена», "
        "решает справочник причин: по словам «дорого», «цена», «бюджет» или как настроено. Скидки видны, если в "
        "сделках есть товары."
    ),
)
EN_PRICE = Text(
    name="“Too expensive” over time",
    definition=(
        "Which share of deals is lost for the price, whether it rises month by month, and with whom it is higher than "
        "with the others. Beside it the mean amount of such deals and the discount already given in them."
    ),
    formula=(
        "Share = losses with reasons of the category price / all deals decided in the month. A manager is compared "
        "with the others (Fisher's exact test, corrected for the number of people)."
    ),
    pitfalls=(
        "After a price rise everybody's share grows: look at the difference between a manager and the team. Which "
        "reasons mean the price is said by the table of reasons: by words, or as set. Discounts are seen where deals "
        "have products."
    ),
)

REASONS = Metric(
    id="C2",
    text={"ru": RU_REASONS, "en": EN_REASONS},
    params=LossTrendParams,
    inputs=DECIDED_INPUTS,
    resources=("deal", "user", "loss_reason"),
    subject={"trend": None, "months": None, "drilldown": "user_id"},
    semantics="flow",
    reduce=reduce_reasons,
    finish=finish_reasons,
    default_period_d=184,
    counted={"trend": ("num",)},
)
PRICE = Metric(
    id="C6",
    text={"ru": RU_PRICE, "en": EN_PRICE},
    params=LossTrendParams,
    inputs=(*DECIDED_INPUTS, "deal_item", "account"),
    resources=("deal", "user", "loss_reason"),
    subject={"trend": None, "months": None, "by_user": "user_id", "user_months": "user_id", "drilldown": "user_id"},
    semantics="flow",
    reduce=reduce_price,
    finish=finish_price,
    default_period_d=184,
    counted={"by_user": ("num",)},
)
METRICS = (REASONS, PRICE)
