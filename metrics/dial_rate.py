"""A6: how many of the calls that ring him a manager answers, and how many of those he dials are answered.

Which calls count: `metrics.call_scope`. Source: the metric catalogue, A6.
"""

from collections.abc import Sequence
from typing import Any

import narwhals.stable.v2 as nw
import polars as pl
from pydantic import Field

from metrics.call_scope import HAS_THREAD_KEY, card, in_period, in_scope, is_conversation, with_performer, with_receiver
from metrics.metric import Frames, Metric, MetricResult, Params, Period, Text, drilldown_rows
from metrics.people import group_key, of_population
from metrics.rates import MIN_N, low_n, rate_columns
from metrics.team import COMPARED, MIN_EFFECT, compared

Lazy = nw.LazyFrame[Any]


class DialRateParams(Params):
    """When a call is a conversation, and when a difference is worth a look."""

    min_talk_s: int = Field(default=1, ge=0)
    """An outbound call answered for so many seconds reached somebody; where no length is known, any answered one."""
    min_effect: float = Field(default=MIN_EFFECT, ge=0, le=1)
    """A manager is flagged if his rate differs from the others' by at least so much."""
    min_n: int = Field(default=MIN_N, ge=0)
    """Below so many calls a rate is not compared."""
    population: tuple[str, ...] | None = None
    """Users whose calls are counted; None: everybody's. They are compared with everybody all the same."""


def reduce(frames: Frames, params: DialRateParams, period: Period) -> dict[str, Lazy]:
    """Outbound calls of the period with what came of them, and counts of inbound ones by who was rung."""
    return {"dialled": _dialled(frames, params).select(*DIALLED), "rung": _rung(frames)}


def _dialled(frames: Frames, params: DialRateParams) -> Lazy:
    """Outbound calls with is_reached, and is_open: a person with a number whom nobody has talked to since."""
    col = nw.col
    calls = in_scope(frames).with_columns(
        caller=nw.when(HAS_THREAD_KEY).then(col("thread_key")),
        is_reached=(col("direction") == "out") & is_conversation(params.min_talk_s),
        talked_epoch=nw.when(is_conversation(params.min_talk_s)).then(col("started_epoch")),
    )
    last_talk = (
        calls.filter(~col("caller").is_null()).group_by("account_id", "caller").agg(last_talk=col("talked_epoch").max())
    )
    is_later = (col("last_talk") > col("started_epoch")).fill_null(False)
    outbound = in_period(calls.filter(col("direction") == "out"), frames)
    return (
        with_performer(outbound, frames)
        .join(last_talk, on=["account_id", "caller"], how="left")
        .with_columns(
            is_open=~col("is_reached") & ~is_later,
            hour=col("started_local").dt.hour().cast(nw.Int64),
        )
    )


DIALLED = (
    "account_id",
    "episode_id",
    "user_id",
    "user_active",
    "line",
    "hour",
    "client_id",
    "caller",
    "deal_id",
    "card_kind",
    "card_id",
    "started_at",
    "is_reached",
    "is_open",
)


def _rung(frames: Frames) -> Lazy:
    """Inbound calls (n_in) and answered ones (n_in_answered) per person who answered, or was the only one rung."""
    inbound = in_period(in_scope(frames).filter(nw.col("direction") == "in"), frames)
    answered = nw.when(nw.col("attribution") == "answered").then(nw.lit(1)).otherwise(nw.lit(0))
    return (
        with_receiver(inbound, frames)
        .filter(nw.col("attribution").is_in(["answered", "rung"]))
        .group_by("account_id", "user_id", "user_active")
        .agg(n_in=nw.len().cast(nw.Int64), n_in_answered=answered.sum().cast(nw.Int64))
    )


# --- finish ----------------------------------------------------------------------------------------------------------


def finish(collected: dict[str, pl.DataFrame], params: DialRateParams, period: Period) -> MetricResult:
    """Rates per manager beside the team's, per line, hour and account; and outbound calls that led to nothing."""
    everybodys = collected["dialled"].with_columns(group_key())
    of_user = ["account_id", "user_id", "user_active", "group_key"]
    by_user = _beside_team(_whole(everybodys, collected["rung"].with_columns(group_key()), of_user, params), params)
    dialled = of_population(everybodys, params.population)
    rung = of_population(collected["rung"], params.population)
    return METRIC.result(
        params,
        period,
        tables={
            "by_user": of_population(by_user, params.population),
            "total": _whole(dialled, rung, ["account_id"], params).sort("account_id"),
            "by_line": _rated(_outbound(dialled, ["account_id", "line"]), params).sort(
                "account_id", "line", nulls_last=True
            ),
            "by_hour": _rated(_outbound(dialled, ["account_id", "hour"]), params).sort("account_id", "hour"),
        },
        drilldown=_drilldown(dialled),
    )


def _outbound(dialled: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
    """Per group: outbound calls, answered ones, people dialled and reached, calls that led to nothing since.

    n_to_clients: calls to a number, of which attempts_per_reach is made; one number dialled by two people is in both.
    """
    caller, reached = pl.col("caller"), pl.col("is_reached")
    return dialled.group_by(by).agg(
        n_out=pl.len().cast(pl.Int64),
        n_out_answered=reached.sum().cast(pl.Int64),
        n_not_reached=pl.col("is_open").sum().cast(pl.Int64),
        n_to_clients=caller.count().cast(pl.Int64),
        clients_dialled=caller.drop_nulls().n_unique().cast(pl.Int64),
        clients_reached=caller.filter(reached).drop_nulls().n_unique().cast(pl.Int64),
    )


def _rated(counts: pl.DataFrame, params: DialRateParams) -> pl.DataFrame:
    reached = pl.when(pl.col("clients_reached") > 0).then("clients_reached")
    return counts.with_columns(
        *rate_columns("n_out_answered", "n_out", "dial_"),
        *rate_columns("clients_reached", "clients_dialled", "reach_"),
        low_n("n_out", min_n=params.min_n),
        attempts_per_reach=pl.col("n_to_clients") / reached,
    )


def _whole(dialled: pl.DataFrame, rung: pl.DataFrame, by: list[str], params: DialRateParams) -> pl.DataFrame:
    """Outbound and inbound calls of each group of `by` in one row."""
    inbound = rung.group_by(by).agg(pl.col("n_in", "n_in_answered").sum())
    both = _outbound(dialled, by).join(inbound, on=by, how="full", coalesce=True, nulls_equal=True)
    counts = [name for name, kind in both.schema.items() if kind == pl.Int64]
    return _rated(both.with_columns(pl.col(counts).fill_null(0)), params).with_columns(
        *rate_columns("n_in_answered", "n_in", "answer_"), low_n("n_in", min_n=params.min_n).alias("answer_low_n")
    )


RATES = {"dial": ("n_out_answered", "n_out", "low_n"), "answer": ("n_in_answered", "n_in", "answer_low_n")}


def _beside_team(by_user: pl.DataFrame, params: DialRateParams) -> pl.DataFrame:
    """Both rates of each person beside those of the others who work here: one family of comparisons (R-TEST)."""
    is_of_team = pl.col("user_id").is_not_null() & pl.col("user_active")
    ordered = by_user.sort(
        ["low_n", "dial_rate", "n_out", "account_id", "user_id"],
        descending=[False, False, True, False, False],
        nulls_last=True,
    )
    rows = [
        ordered.select("account_id", rate=pl.lit(name), num=num, den=den, tested=~pl.col(few), team=is_of_team)
        for name, (num, den, few) in RATES.items()
    ]
    found = compared(
        pl.concat(rows),
        "num",
        "den",
        within=["account_id", "rate"],
        tested=pl.col("tested"),
        in_team=pl.col("team"),
        min_effect=params.min_effect,
    )
    beside = [
        found.filter(pl.col("rate") == name).select(pl.col(column).alias(f"{name}_{column}") for column in COMPARED)
        for name in RATES
    ]
    return pl.concat([ordered, *beside], how="horizontal")


def _drilldown(dialled: pl.DataFrame) -> pl.DataFrame:
    """Outbound calls without an answer after which nobody talked to the client either, the oldest first."""
    return drilldown_rows(
        dialled.filter("is_open").sort("started_at", "account_id", "episode_id"),
        **card(),
        event_at="started_at",
        value=pl.lit(1.0),
        value_unit=pl.lit("n"),
        reason=pl.lit("NOT_REACHED"),
    )


RU = Text(
    name="Ответ и дозвон по менеджерам",
    definition=(
        "Четыре числа о каждом менеджере. Ответ — на какую часть звонков, звонивших ему, он ответил. Дозвон — какая "
        "часть его исходящих закончилась разговором. Охват — до скольких из клиентов, которым он звонил, он "
        "дозвонился хоть раз. Попыток на дозвон — сколько исходящих приходится на одного такого клиента. "
        "Автоответчик — не разговор."
    ),
    formula=(
        "Ответ = отвеченные им / (отвеченные им + пропущенные, когда звонил телефон только у него). Дозвон = "
        "исходящие с разговором от 1 секунды / исходящие. Охват = клиенты, до которых дозвонился / клиенты, которым "
        "звонил. Каждый сравнивается с остальными работающими, отличие отмечено от 5 процентных пунктов при q ≤ 0,10."
    ),
    pitfalls=(
        "Низкий дозвон в обед или с номера, который телефоны клиентов помечают как спам, — беда линии, а не человека: "
        "смотрите таблицы по линиям и часам. Кому достались холодные номера, тот дозванивается реже. Звонки, "
        "пропущенные группой, в ответ не входят: чей это был звонок, неизвестно. Список — исходящие без ответа, "
        "после которых с клиентом так никто и не поговорил. Меньше десяти звонков не сравниваются."
    ),
)
EN = Text(
    name="Answer rate and dial-through rate by manager",
    definition=(
        "Four numbers of each manager. Answer: which share of the calls that rang him he answered. Dial-through: which "
        "share of his outbound calls ended in a conversation. Reach: how many of the clients he called he got through "
        "to at least once. Attempts per reach: how many outbound calls one such client took. A voice mail is no "
        "conversation."
    ),
    formula=(
        "Answer = answered by him / (answered by him + missed when only his phone rang). Dial-through = outbound calls "
        "with a conversation of 1 second or more / outbound calls. Reach = clients got through to / clients called. "
        "Each is compared with the others who work here; a difference is flagged from 5 percentage points at q ≤ 0.10."
    ),
    pitfalls=(
        "A low dial-through at lunch time, or from a number that clients' phones mark as spam, is a problem of the "
        "line, not of the person: see the tables by line and hour. Who was given cold numbers gets through less often. "
        "Calls missed by a group are not in the answer rate: nobody knows whose they were. The list holds outbound "
        "calls without an answer after which nobody has talked to the client. Fewer than ten calls are not compared."
    ),
)

METRIC = Metric(
    id="A6",
    text={"ru": RU, "en": EN},
    params=DialRateParams,
    inputs=("call_episode", "user"),
    resources=("call", "user"),
    subject={"by_user": "user_id", "total": None, "by_line": None, "by_hour": None, "drilldown": "user_id"},
    semantics="flow",
    reduce=reduce,
    finish=finish,
    counted={"by_user": ("n_not_reached",)},
    adds_up={"by_user": "total", "by_line": "total", "by_hour": "total"},
)
