"""A2: which share of inbound calls nobody answered, by manager, line, hour and working time.

Which calls count and whose they are: `metrics.call_scope`. Source: the metric catalogue, A2.
"""

from typing import Any, Literal

import narwhals.stable.v2 as nw
import polars as pl
from pydantic import Field

from metrics.call_scope import (
    HOURS,
    IS_MISSED,
    SHORT_ABANDON_S,
    card,
    in_period,
    in_scope,
    is_short,
    with_hours,
    with_receiver,
)
from metrics.metric import Frames, Metric, MetricResult, Params, Period, Text, drilldown_rows
from metrics.people import group_key, of_population
from metrics.rates import MIN_N, low_n, ranked, rate_columns
from metrics.team import MIN_EFFECT, compared

Lazy = nw.LazyFrame[Any]


class MissedRateParams(Params):
    """Which inbound calls are looked at."""

    short_abandon_s: int = Field(default=SHORT_ABANDON_S, ge=0)
    """Unanswered calls of a known wait below so many seconds are neither missed nor counted."""
    hours: Literal["all", "in", "out"] = "all"
    """Calls of all hours, of working hours only, or of the others only."""
    min_effect: float = Field(default=MIN_EFFECT, ge=0, le=1)
    """A manager is flagged if his share differs from the others' by at least so much."""
    min_n: int = Field(default=MIN_N, ge=0)
    """Below so many calls a row is neither ranked nor compared."""
    population: tuple[str, ...] | None = None
    """Users whose calls are counted; None: everybody's. They are compared with everybody all the same."""


def reduce(frames: Frames, params: MissedRateParams, period: Period) -> dict[str, Lazy]:
    """Inbound calls of the period: counts per manager, line, local hour and kind of time; and the missed ones."""
    col = nw.col
    inbound = with_hours(in_period(in_scope(frames).filter(col("direction") == "in"), frames), frames)
    if params.hours != "all":
        is_in = (col("hours") == "in_hours").fill_null(False)
        inbound = inbound.filter(is_in if params.hours == "in" else ~is_in)
    judged = with_receiver(inbound, frames).with_columns(
        hour=col("started_local").dt.hour().cast(nw.Int64),
        is_missed=IS_MISSED & ~is_short(params.short_abandon_s),
        is_short=is_short(params.short_abandon_s),
    )
    counts = judged.group_by("account_id", "user_id", "user_active", "line", "hour", "hours").agg(
        n=nw.len().cast(nw.Int64),
        num=_count(col("is_missed")),
        n_short=_count(col("is_short")),
        n_rung=_count(col("is_missed") & (col("attribution") == "rung")),
        n_owner=_count(col("is_missed") & (col("attribution") == "owner")),
    )
    return {"counts": counts, "missed": judged.filter(col("is_missed")).select(*MISSED)}


def _count(which: nw.Expr) -> nw.Expr:
    return nw.when(which).then(nw.lit(1)).otherwise(nw.lit(0)).sum().cast(nw.Int64)


MISSED = (
    "account_id",
    "episode_id",
    "user_id",
    "attribution",
    "client_id",
    "deal_id",
    "card_kind",
    "card_id",
    "started_at",
    "wait_s",
    "hours",
)


def finish(collected: dict[str, pl.DataFrame], params: MissedRateParams, period: Period) -> MetricResult:
    """Shares of missed calls per manager, line, hour, working time and account; and the missed calls."""
    everybodys = collected["counts"].with_columns(group_key())
    counts = of_population(everybodys, params.population)
    is_of_team = pl.col("user_id").is_not_null() & pl.col("user_active")
    by_user = compared(
        _rated(everybodys, ["account_id", "user_id", "user_active", "group_key"], params),
        "num",
        "den",
        within=["account_id"],
        tested=~pl.col("low_n"),
        in_team=is_of_team,
        min_effect=params.min_effect,
    )
    by_hours = _rated(counts, ["account_id", "hours"], params)
    return METRIC.result(
        params,
        period,
        tables={
            "by_user": ranked(of_population(by_user, params.population), "rate", "den", "account_id", "user_id"),
            "total": _rated(counts, ["account_id"], params).sort("account_id"),
            "by_hours": by_hours.sort("account_id", pl.col("hours").replace_strict(PLACE, default=None)),
            "by_hour": _rated(counts, ["account_id", "hour"], params).sort("account_id", "hour"),
            "by_line": ranked(_rated(counts, ["account_id", "line"], params), "rate", "den", "account_id", "line"),
        },
        drilldown=_drilldown(of_population(collected["missed"], params.population)),
    )


PLACE = {hours: place for place, hours in enumerate(HOURS)}


def _rated(counts: pl.DataFrame, by: list[str], params: MissedRateParams) -> pl.DataFrame:
    """Per group: missed (num) of inbound calls (den), the rate; n_short left out of both; whose the missed ones are."""
    names = ("num", "den", "n_short", "n_rung", "n_owner")
    return (
        counts.with_columns(den=pl.col("n") - pl.col("n_short"))
        .group_by(by)
        .agg(pl.col(names).sum())
        .with_columns(*rate_columns(), low_n(min_n=params.min_n))
    )


def _drilldown(missed: pl.DataFrame) -> pl.DataFrame:
    """Missed calls, the oldest first; value = seconds the client waited, null where the telephony does not tell."""
    is_in = (pl.col("hours") == "in_hours").fill_null(True)
    return drilldown_rows(
        missed.with_columns(group_key()).sort("started_at", "account_id", "episode_id"),
        **card(),
        event_at="started_at",
        value="wait_s",
        value_unit=pl.lit("s"),
        reason=pl.when(is_in).then(pl.lit("MISSED_IN")).otherwise(pl.lit("MISSED_OUT_OF_HOURS")),
    )


RU = Text(
    name="Доля пропущенных звонков",
    definition=(
        "Какая часть входящих звонков осталась без ответа. Пропущен звонок, на который не ответил никто: если "
        "звонили три телефона и ответил один, клиента обслужили. Сообщение на автоответчик — пропущенный. Звонки, "
        "которые клиент сбросил раньше чем через 5 секунд, не считаются вовсе, если телефония говорит, сколько он "
        "ждал. Ночные и выходные звонки входят; рядом та же доля отдельно в рабочее и в нерабочее время."
    ),
    formula=(
        "Доля = пропущенные / входящие, с 95-процентным интервалом. Пропущенный числится за тем, у кого звонил "
        "телефон, если он звонил у одного; иначе за ответственным за клиента; иначе ни за кем. Менеджер сравнивается "
        "с остальными работающими: отличие отмечено, когда оно не меньше 5 процентных пунктов и случайностью "
        "объясняется плохо (q ≤ 0,10 с поправкой на число сравнений)."
    ),
    pitfalls=(
        "amoCRM видит только звонки с номеров из карточек, поэтому пропущенных на самом деле больше: сверьте с "
        "отчётом телефонии. Пропущенный группой записан на ответственного за клиента, даже если его телефон не "
        "звонил: сколько таких, сказано рядом. Отличие — повод посмотреть, а не вина: звонки распределяются не "
        "случайно. Спам, внутренние и роботы не считаются. Меньше десяти звонков не сравниваются."
    ),
)
EN = Text(
    name="Missed call rate",
    definition=(
        "Which share of inbound calls nobody answered. A call is missed if none answered: where three phones rang and "
        "one answered, the client was served. A message on the voice mail is a missed call. Calls the client gave up "
        "within 5 seconds do not count at all, where the telephony tells how long he waited. Calls at night and on "
        "days off are in; the same share stands beside, apart for working and other hours."
    ),
    formula=(
        "Rate = missed / inbound, with its 95 % interval. A missed call belongs to the one whose phone rang, if only "
        "one did; else to the client's responsible; else to nobody. A manager is compared with the others who work "
        "here: a difference is flagged if it is at least 5 percentage points and chance explains it badly (q ≤ 0.10, "
        "corrected for the number of comparisons)."
    ),
    pitfalls=(
        "amoCRM sees only calls of numbers that are on cards, so there are more missed calls than shown: compare with "
        "the telephony's report. A call missed by a group counts for the client's responsible even if his phone did "
        "not ring: how many such calls there are is said beside. A difference is a reason to look, not guilt: calls "
        "are not given out at random. Spam, internal calls and robots do not count. Fewer than ten calls are not "
        "compared."
    ),
)

METRIC = Metric(
    id="A2",
    text={"ru": RU, "en": EN},
    params=MissedRateParams,
    inputs=("call_episode", "user", "calendar_day"),
    resources=("call", "user"),
    subject={
        "by_user": "user_id",
        "total": None,
        "by_hours": None,
        "by_hour": None,
        "by_line": None,
        "drilldown": "user_id",
    },
    semantics="flow",
    reduce=reduce,
    finish=finish,
    counted={"by_user": ("num",)},
    adds_up={"by_user": "total", "by_hours": "total", "by_hour": "total", "by_line": "total"},
)
