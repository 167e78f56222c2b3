"""A9: whether inbound calls are shared out by the time people work, and whether days bring the usual number.

Who was at work: `metrics.presence`; which days are known: `metrics.call_hours`. Source: the metric catalogue, A9.
"""

from typing import Any, Literal

import narwhals.stable.v2 as nw
import numpy as np
import polars as pl
from pydantic import Field
from scipy import stats as scipy_stats

from metrics.call_hours import day_frames, known_days, of_days
from metrics.call_scope import card, in_period, in_scope, with_receiver
from metrics.metric import Frames, Metric, MetricResult, Notice, Params, Period, Text, drilldown_rows
from metrics.people import group_key, of_population
from metrics.presence import PRESENCE_INPUTS, present_days
from metrics.stats.counts import SEED, count_limits, gini, goodness_of_fit
from metrics.stats.rates import benjamini_hochberg

Lazy = nw.LazyFrame[Any]


class CallUniformityParams(Params):
    """What an even share is, and when an uneven one is worth a look."""

    expected: Literal["staffed_time", "equal"] = "staffed_time"
    """Calls in proportion to working time without absences, or the same number for everybody."""
    max_p: float = Field(default=0.01, gt=0, le=1)
    """Chance explains a flagged distribution less often than this."""
    min_w: float = Field(default=0.1, ge=0)
    """A flagged distribution is at least so uneven (0.1 small, 0.3 middling, 0.5 large)."""
    seed: int = SEED
    """Of the simulation where few calls are to be expected."""
    population: tuple[str, ...] | None = None
    """Users whose rows are shown; None: everybody's. Shares are of everybody's calls all the same."""


def reduce(frames: Frames, params: CallUniformityParams, period: Period) -> dict[str, Lazy]:
    """Inbound calls of the period by whom they count for, seconds at work per person, and which days are known."""
    inbound = in_period(in_scope(frames).filter(nw.col("direction") == "in"), frames)
    present = present_days(frames).group_by("account_id", "user_id").agg(present_s=nw.col("working_s").sum())
    return {
        "calls": with_receiver(inbound, frames).with_columns(day=nw.col("started_local").dt.date()).select(*CALLS),
        "present": present.with_columns(nw.col("present_s").cast(nw.Int64)),
        **day_frames(frames),
    }


CALLS = (
    "account_id",
    "episode_id",
    "user_id",
    "user_active",
    "attribution",
    "client_id",
    "deal_id",
    "card_kind",
    "card_id",
    "started_at",
    "day",
    "talk_s",
)


def finish(collected: dict[str, pl.DataFrame], params: CallUniformityParams, period: Period) -> MetricResult:
    """Shares per person against the expected ones, the test per account, days against their weekday, and the calls."""
    calls = collected["calls"].with_columns(group_key())
    offered = calls.filter(pl.col("attribution").is_in(["answered", "rung"]))
    by_user, summary = _fitted(_received(offered, collected["present"]), params)
    days = known_days(collected, period)
    of_account = of_days(calls, days)
    known = _known_counts(of_account, days)
    return METRIC.result(
        params,
        period,
        tables={
            "by_user": of_population(by_user, params.population),
            "summary": _with_nobodys(summary, calls),
            "weekdays": _weekdays(known),
            "days": _days(known),
        },
        drilldown=_drilldown(of_population(offered, params.population)),
        warnings=_without_hours(summary) if params.expected == "staffed_time" else (),
    )


# --- whose calls -----------------------------------------------------------------------------------------------------


def _received(offered: pl.DataFrame, present: pl.DataFrame) -> pl.DataFrame:
    """Per person: calls answered by him or rung at him alone (n), and present_s (null where not known)."""
    return (
        offered.group_by("account_id", "user_id", "user_active", "group_key")
        .agg(n=pl.len().cast(pl.Int64))
        .join(present, on=["account_id", "user_id"], how="left")
        .sort("account_id", "user_id")
    )


FITTED = {"expected": pl.Float64(), "resid": pl.Float64(), "p": pl.Float64(), "q": pl.Float64()}
SUMMARY: dict[str, pl.DataType] = {
    "account_id": pl.String(),
    "basis": pl.String(),
    "n": pl.Int64(),
    "n_users": pl.Int64(),
    "chi2": pl.Float64(),
    "df": pl.Int64(),
    "p": pl.Float64(),
    "w": pl.Float64(),
    "gini": pl.Float64(),
    "is_simulated": pl.Boolean(),
    "seed": pl.Int64(),
    "flag": pl.Boolean(),
}


def _fitted(received: pl.DataFrame, params: CallUniformityParams) -> tuple[pl.DataFrame, pl.DataFrame]:
    """`received` with `FITTED`, and `SUMMARY` per account. Who has left is shown, but no part of the test."""
    parts, rows = [], []
    for (account_id,), part in received.group_by("account_id", maintain_order=True):
        team = part.filter("user_active")
        hours = team["present_s"].cast(pl.Float64).to_numpy()
        is_by_hours = params.expected == "staffed_time" and team.height > 0 and bool(np.all(hours > 0))
        weight = hours if is_by_hours else np.ones(team.height)
        counts = team["n"].to_numpy()
        expected = counts.sum() * weight / weight.sum() if team.height else weight
        fit = goodness_of_fit(counts, expected, seed=params.seed)
        resid = fit.resid if fit else np.full(team.height, np.nan)
        found = team.select("user_id").with_columns(
            expected=pl.Series(expected, dtype=pl.Float64),
            resid=pl.Series(resid, dtype=pl.Float64, nan_to_null=True),
            p=pl.Series(2 * scipy_stats.norm.sf(np.abs(resid)), dtype=pl.Float64, nan_to_null=True),
        )
        parts.append(part.join(found, on="user_id", how="left", maintain_order="left"))
        rows.append(
            {
                "account_id": account_id,
                "basis": "staffed_time" if is_by_hours else "equal",
                "n": int(counts.sum()),
                "n_users": team.height,
                "chi2": fit and fit.chi2,
                "df": fit and fit.df,
                "p": fit and fit.p,
                "w": fit and fit.w,
                "gini": gini(counts / weight),
                "is_simulated": fit and fit.is_simulated,
                "seed": params.seed,
                "flag": fit and fit.p < params.max_p and fit.w >= params.min_w,
            }
        )
    empty = {**received.schema, **{name: kind for name, kind in FITTED.items() if name != "q"}}
    whole = pl.concat(parts) if parts else pl.DataFrame(schema=empty)
    return _with_q(whole), pl.DataFrame(rows, schema=SUMMARY)


def _with_q(by_user: pl.DataFrame) -> pl.DataFrame:
    """`by_user` with q of every residual: one table, one family. Who stands out most comes first."""
    known = by_user.filter(pl.col("p").is_not_null()).select("account_id", "user_id", "p")
    q = known.with_columns(q=pl.Series(benjamini_hochberg(known["p"].to_numpy()), dtype=pl.Float64)).drop("p")
    return by_user.join(q, on=["account_id", "user_id"], how="left", nulls_equal=True).sort(
        [pl.col("resid").abs(), "n", "account_id", "user_id"], descending=[True, True, False, False], nulls_last=True
    )


def _with_nobodys(summary: pl.DataFrame, calls: pl.DataFrame) -> pl.DataFrame:
    """`summary` with n_nobodys: inbound calls that rang several people and were missed, or whose person is unknown."""
    is_nobodys = ~pl.col("attribution").is_in(["answered", "rung"])
    counts = calls.group_by("account_id").agg(n_nobodys=is_nobodys.sum().cast(pl.Int64))
    return (
        summary.join(counts, on="account_id", how="full", coalesce=True)
        .with_columns(pl.col("n", "n_users", "n_nobodys").fill_null(0))
        .sort("account_id")
    )


def _without_hours(summary: pl.DataFrame) -> tuple[Notice, ...]:
    equal = summary.filter(pl.col("basis") == "equal")["account_id"].sort().to_list()
    return tuple(
        Notice(
            "hours_unknown",
            f"Рабочее время не у всех сотрудников аккаунта «{account}» известно: ожидаемые доли взяты равными.",
            f"Not everybody's working time in account “{account}” is known: equal shares are expected.",
        )
        for account in equal
    )


# --- how many a day --------------------------------------------------------------------------------------------------

KIND_OF_DAY = ["account_id", "weekday", "is_working"]


def _known_counts(calls: pl.DataFrame, days: pl.DataFrame) -> pl.DataFrame:
    """Per known day of accounts with calls: n, with 0 on days without any."""
    counted = calls.group_by("account_id", "day").agg(n=pl.len().cast(pl.Int64))
    here = days.join(calls.select("account_id").unique(), on="account_id", how="semi")
    return here.join(counted, on=["account_id", "day"], how="left").with_columns(pl.col("n").fill_null(0))


def _weekdays(known: pl.DataFrame) -> pl.DataFrame:
    """Per weekday, holidays apart: days, mean and variance of calls a day, dispersion (1 as by chance, Poisson)."""
    n = pl.col("n")
    return (
        known.group_by(KIND_OF_DAY)
        .agg(days=pl.len().cast(pl.Int64), mean=n.mean(), variance=n.var())
        .with_columns(dispersion=pl.col("variance") / pl.when(pl.col("mean") > 0).then(pl.col("mean")))
        .sort(KIND_OF_DAY)
    )


def _days(known: pl.DataFrame) -> pl.DataFrame:
    """Every known day: n, the mean of its weekday, the limits within which 99 % of days lie, is_out."""
    kinds = _weekdays(known).filter(pl.col("days") > 1)
    limits = [count_limits(mean, variance) for mean, variance in kinds.select("mean", "variance").iter_rows()]
    bounds = kinds.select(*KIND_OF_DAY, "mean").with_columns(
        lo=pl.Series([lo for lo, _ in limits], dtype=pl.Int64), hi=pl.Series([hi for _, hi in limits], dtype=pl.Int64)
    )
    return (
        known.join(bounds, on=KIND_OF_DAY, how="left", nulls_equal=True)
        .with_columns(is_out=(pl.col("n") < pl.col("lo")) | (pl.col("n") > pl.col("hi")))
        .sort("account_id", "day")
    )


def _drilldown(offered: pl.DataFrame) -> pl.DataFrame:
    """Every call that counts for somebody, the oldest first; value = seconds of talk."""
    return drilldown_rows(
        offered.sort("started_at", "account_id", "episode_id"),
        **card(),
        event_at="started_at",
        value="talk_s",
        value_unit=pl.lit("s"),
        reason=pl.when(pl.col("attribution") == "answered").then(pl.lit("ANSWERED")).otherwise(pl.lit("MISSED_IN")),
    )


RU = Text(
    name="Равномерность распределения звонков",
    definition=(
        "Поровну ли достаются входящие звонки. Сравнивается, сколько звонков получил каждый (ответил сам или звонил "
        "телефон только у него), с тем, сколько пришлось бы на его рабочее время без отпусков и больничных. Вторая "
        "таблица — обычны ли дни: сколько звонков бывает в этот день недели и какие дни выбиваются."
    ),
    formula=(
        "Ожидаемое = все звонки × рабочее время сотрудника / рабочее время всех. Отклонение в стандартных ошибках: "
        "больше 2 по модулю заметно. Распределение отмечено, когда случайностью его не объяснить (p < 0,01) и оно "
        "заметно неровное (w ≥ 0,1). Джини: 0 — поровну, 1 — всё одному. Разброс по дням: 1 — как при случайных "
        "звонках, больше — бывают всплески."
    ),
    pitfalls=(
        "При тысячах звонков p мало всегда: смотрите на w. Неровность — не вина: очередь так настроена, кто-то "
        "работает с крупными клиентами. Если отпуска и график не заведены, рабочее время одинаково у всех. Звонки, "
        "пропущенные группой, никому не засчитаны, их число рядом. Уволенные показаны, но в сравнение не входят."
    ),
)
EN = Text(
    name="Uniformity of call distribution",
    definition=(
        "Whether inbound calls are shared out evenly. How many calls each got (answered himself, or only his phone "
        "rang) is compared with how many his working time without holidays and sick days would bring. The second "
        "table tells whether days are usual: how many calls this weekday brings, and which days stand out."
    ),
    formula=(
        "Expected = all calls × the person's working time / everybody's working time. The residual is in standard "
        "errors: beyond 2 either way is notable. A distribution is flagged if chance does not explain it (p < 0.01) "
        "and it is notably uneven (w ≥ 0.1). Gini: 0 all alike, 1 all to one. Dispersion of days: 1 as with calls at "
        "random, more means bursts."
    ),
    pitfalls=(
        "With thousands of calls p is always small: look at w. Uneven is not guilt: the queue is set up so, somebody "
        "looks after large clients. Where holidays and shifts are not entered, everybody's working time is the same. "
        "Calls missed by a group count for nobody; how many stands beside. Who has left is shown, but not compared."
    ),
)

METRIC = Metric(
    id="A9",
    text={"ru": RU, "en": EN},
    params=CallUniformityParams,
    inputs=("call_episode", "coverage", *PRESENCE_INPUTS),
    resources=("call", "user"),
    subject={"by_user": "user_id", "summary": None, "weekdays": None, "days": None, "drilldown": "user_id"},
    semantics="flow",
    reduce=reduce,
    finish=finish,
    counted={"by_user": ("n",)},
)
