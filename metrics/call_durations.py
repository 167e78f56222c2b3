"""A7: how long answered calls last, manager by manager: dialling for five seconds and endless talks.

Which calls count: `metrics.call_scope`. Source: the metric catalogue, A7. Adjusted residuals: Haberman 1973,
https://doi.org/10.2307/2529686.
"""

from itertools import pairwise
from typing import Any, Literal

import narwhals.stable.v2 as nw
import polars as pl
from pydantic import Field, field_validator

from metrics.call_scope import IS_ANSWERED, card, in_period, in_scope, with_performer
from metrics.metric import Frames, Metric, MetricResult, Params, Period, Text, drilldown_rows
from metrics.people import group_key, of_population
from metrics.rates import MIN_N, low_n

Lazy = nw.LazyFrame[Any]


class CallDurationsParams(Params):
    """Where the buckets begin, and which calls are looked at."""

    edges: tuple[int, ...] = Field(default=(0, 1, 10, 30, 60, 180, 600), min_length=2)
    """First second of each bucket, rising from 0; the last has no end."""
    direction: Literal["in", "out", "any"] = "out"
    """Calls we made, calls we got, or both."""
    min_n: int = Field(default=MIN_N, ge=0)
    """Below so many calls a manager's row is marked."""
    population: tuple[str, ...] | None = None
    """Users whose calls are shown; None: everybody's. Residuals are against everybody all the same."""

    @field_validator("edges")
    @classmethod
    def _rising(cls, edges: tuple[int, ...]) -> tuple[int, ...]:
        if edges[0] != 0 or any(later <= earlier for earlier, later in pairwise(edges)):
            raise ValueError("edges must begin with 0 and rise")
        return edges


def reduce(frames: Frames, params: CallDurationsParams, period: Period) -> dict[str, Lazy]:
    """Answered calls of the period with their length and person."""
    calls = in_scope(frames).filter(IS_ANSWERED)
    if params.direction != "any":
        calls = calls.filter(nw.col("direction") == params.direction)
    return {"calls": with_performer(in_period(calls, frames), frames).select(*CALLS)}


CALLS = (
    "account_id",
    "episode_id",
    "user_id",
    "user_active",
    "client_id",
    "deal_id",
    "card_kind",
    "card_id",
    "started_at",
    "talk_s",
)


def finish(collected: dict[str, pl.DataFrame], params: CallDurationsParams, period: Period) -> MetricResult:
    """Calls per manager and bucket with residuals, medians per manager, the account's buckets, and every call."""
    known = collected["calls"].with_columns(_bucket(params.edges), owner=group_key())
    calls = known.filter(pl.col("talk_s").is_not_null()).with_columns(
        group_key=pl.format("{} {}", "owner", "bucket_from_s")
    )
    cells = of_population(_cells(calls, params), params.population)
    shown, all_shown = (of_population(frame, params.population) for frame in (calls, known))
    return METRIC.result(
        params,
        period,
        tables={
            "cells": cells,
            "by_user": _spread(all_shown, ["account_id", "user_id", "user_active"], params),
            "total": _spread(all_shown, ["account_id"], params),
            "buckets": _shares(shown, ["account_id"], params.edges),
        },
        drilldown=_drilldown(shown),
    )


def _bucket(edges: tuple[int, ...]) -> pl.Expr:
    """`bucket_from_s`: the first second of the bucket; null where the length is not known."""
    bucket = pl.lit(None, pl.Int64)
    for edge in edges:
        bucket = pl.when(pl.col("talk_s") >= edge).then(pl.lit(edge, pl.Int64)).otherwise(bucket)
    return bucket.alias("bucket_from_s")


def _shares(calls: pl.DataFrame, by: list[str], edges: tuple[int, ...]) -> pl.DataFrame:
    """Per group every bucket, empty ones too: bucket_from_s, bucket_to_s (exclusive, null: no end), n, share."""
    buckets = pl.DataFrame(
        {"bucket_from_s": list(edges), "bucket_to_s": [*edges[1:], None]},
        schema={"bucket_from_s": pl.Int64, "bucket_to_s": pl.Int64},
    )
    counted = calls.group_by(*by, "bucket_from_s").agg(n=pl.len().cast(pl.Int64))
    return (
        calls.select(by)
        .unique()
        .join(buckets, how="cross")
        .join(counted, on=[*by, "bucket_from_s"], how="left", nulls_equal=True)
        .with_columns(pl.col("n").fill_null(0))
        .with_columns(share=pl.col("n") / pl.col("n").sum().over(by))
        .sort(*by, "bucket_from_s", nulls_last=True)
    )


def _cells(calls: pl.DataFrame, params: CallDurationsParams) -> pl.DataFrame:
    """Buckets per manager with resid: by how many standard errors a cell exceeds what the others' habits would give."""
    n, by_row = pl.col("n"), ["account_id", "owner"]
    row, column = n.sum().over(by_row), n.sum().over("account_id", "bucket_from_s")
    whole = n.sum().over("account_id")
    expected = row * column / whole
    spread = (expected * (1 - row / whole) * (1 - column / whole)).sqrt()
    shares = _shares(calls, ["account_id", "user_id", "user_active", "owner"], params.edges)
    return (
        shares.with_columns(
            resid=pl.when(spread > 0).then((n - expected) / spread),
            low_n=row < params.min_n,
            group_key=pl.format("{} {}", "owner", "bucket_from_s"),
        )
        .drop("owner")
        .sort("account_id", "user_id", "bucket_from_s", nulls_last=True)
    )


def _spread(calls: pl.DataFrame, by: list[str], params: CallDurationsParams) -> pl.DataFrame:
    """Per group: calls of a known length (n), n_talk_unknown, median_s and p90_s."""
    talk = pl.col("talk_s")
    return (
        calls.group_by(by)
        .agg(
            n=talk.count().cast(pl.Int64),
            n_talk_unknown=talk.null_count().cast(pl.Int64),
            median_s=talk.median(),
            p90_s=talk.quantile(0.9, interpolation="linear"),
        )
        .with_columns(low_n("n", min_n=params.min_n))
        .sort(by, nulls_last=True)
    )


def _drilldown(calls: pl.DataFrame) -> pl.DataFrame:
    """Every call of a known length, the shortest first; value = seconds of talk."""
    return drilldown_rows(
        calls.sort("talk_s", "started_at", "account_id", "episode_id"),
        **card(),
        event_at="started_at",
        value="talk_s",
        value_unit=pl.lit("s"),
        reason=pl.lit("ANSWERED"),
    )


RU = Text(
    name="Когорты по длительности",
    definition=(
        "Как распределены состоявшиеся разговоры каждого менеджера по длине: 0 секунд, 1–9, 10–29, 30–59, минута–три, "
        "три–десять минут, дольше десяти (границы настраиваются). По умолчанию исходящие. Видно, кто «прозванивает» "
        "базу по пять секунд и у кого разговоры тянутся без конца."
    ),
    formula=(
        "Доля = звонки менеджера этой длины / все его разговоры известной длины. Отклонение сравнивает с тем, что было "
        "бы, если бы все говорили одинаково: больше +2 — таких звонков у него заметно больше, меньше −2 — заметно "
        "меньше. Рядом медиана и длина, короче которой 90 % разговоров."
    ),
    pitfalls=(
        "Некоторые телефонии пишут в длительность и гудки: проверьте, что у звонков без ответа стоит 0. «Отвечен, ноль "
        "секунд» — первая корзина — обычно ошибка записи. Короткий звонок не всегда плох: «перезвоните вечером» "
        "занимает восемь секунд. Отклонение не говорит, хорошо это или плохо, — послушайте звонки из списка. Разговоры "
        "без записанной длины не входят, их число рядом."
    ),
)
EN = Text(
    name="Duration cohorts",
    definition=(
        "How each manager's conversations spread over lengths: 0 seconds, 1–9, 10–29, 30–59, one to three minutes, "
        "three to ten, longer than ten (the edges can be set). Outbound unless asked otherwise. It shows who dials "
        "through the base for five seconds each, and whose talks never end."
    ),
    formula=(
        "Share = the manager's calls of this length / all his conversations of a known length. The residual compares "
        "with everybody talking alike: above +2 he has notably more such calls, below −2 notably fewer. Beside stand "
        "the median and the length that 90 % of the talks stay below."
    ),
    pitfalls=(
        "Some telephonies count the ringing into the duration: check that unanswered calls have 0. “Answered, zero "
        "seconds”, the first bucket, is mostly a fault of the record. A short call is not always bad: “call me in the "
        "evening” takes eight seconds. A residual does not say whether that is good or bad: listen to calls of the "
        "list. Conversations without a recorded length are left out; how many stands beside."
    ),
)

METRIC = Metric(
    id="A7",
    text={"ru": RU, "en": EN},
    params=CallDurationsParams,
    inputs=("call_episode", "user"),
    resources=("call", "user"),
    subject={"cells": "user_id", "by_user": "user_id", "total": None, "buckets": None, "drilldown": "user_id"},
    semantics="flow",
    reduce=reduce,
    finish=finish,
    counted={"cells": ("n",)},
    adds_up={"cells": "total", "by_user": "total", "buckets": "total"},
)
