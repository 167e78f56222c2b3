"""A1: how many calls there were, how many were answered and how long people talked.

Which calls count: `metrics.call_scope`. A call is an inbound episode or a deduplicated outbound record. Source: the
metric catalogue, A1.
"""

from typing import Any, Literal

import narwhals.stable.v2 as nw
import polars as pl

from metrics.call_scope import HAS_THREAD_KEY, IS_ANSWERED, card, in_period, with_outsiders, with_performer
from metrics.metric import Frames, Metric, MetricResult, Params, Period, Text, drilldown_rows
from metrics.people import group_key, of_population

Lazy = nw.LazyFrame[Any]


class CallTotalsParams(Params):
    """How calls are counted."""

    grain: Literal["day", "week", "month"] = "day"
    """Buckets of the table over time: local days, ISO weeks from Monday, calendar months."""
    count_attempts: bool = True
    """Outbound calls nobody answered count as calls; else only answered ones do."""
    population: tuple[str, ...] | None = None
    """Users whose calls are counted; None: everybody's, and those of nobody."""


def reduce(frames: Frames, params: CallTotalsParams, period: Period) -> dict[str, Lazy]:
    """Every external call of the period, robots' and spam included and marked; and each account's day of `as_of`."""
    calls = in_period(with_outsiders(frames), frames).with_columns(
        is_answered=IS_ANSWERED,
        is_hidden=~HAS_THREAD_KEY,
        is_spam=nw.col("is_spam").fill_null(False),
        is_robot=nw.col("is_robot").fill_null(False),
    )
    return {
        "calls": with_performer(calls, frames).select(*CALLS),
        "now": frames["clock"].select("account_id", "as_of_on"),
    }


CALLS = (
    "account_id",
    "episode_id",
    "user_id",
    "user_active",
    "client_id",
    "thread_key",
    "deal_id",
    "card_kind",
    "card_id",
    "direction",
    "is_answered",
    "is_hidden",
    "is_spam",
    "is_robot",
    "started_at",
    "started_local",
    "talk_s",
    "n_dup_removed",
)


def finish(collected: dict[str, pl.DataFrame], params: CallTotalsParams, period: Period) -> MetricResult:
    """Counts per manager, per bucket, per both and per account; and every call."""
    known = of_population(collected["calls"], params.population)
    of_robots = known.filter("is_robot").group_by("account_id").agg(n_robot=_count(pl.lit(True)))
    calls = known.filter(~pl.col("is_robot"))
    if not params.count_attempts:
        calls = calls.filter((pl.col("direction") == "in") | pl.col("is_answered"))
    calls = calls.with_columns(group_key(), _bucket(params.grain).alias(params.grain))
    by_user = _counted(calls, ["account_id", "user_id", "user_active", "group_key"])
    total = _counted(calls, ["account_id"]).join(of_robots, on="account_id", how="full", coalesce=True)
    counts = [name for name in total.columns if name.startswith("n_")]
    return METRIC.result(
        params,
        period,
        tables={
            "by_user": by_user.sort(
                ["n_calls", "talk_s_total", "account_id", "user_id"],
                descending=[True, True, False, False],
                nulls_last=True,
            ),
            "total": total.with_columns(pl.col(counts).fill_null(0)).sort("account_id"),
            "over_time": _over_time(calls, collected["now"], params, period, ["account_id"]),
            "by_user_over_time": _over_time(
                calls, collected["now"], params, period, ["account_id", "user_id", "user_active"]
            ),
        },
        drilldown=_drilldown(calls),
    )


def _count(which: pl.Expr) -> pl.Expr:
    return which.sum().cast(pl.Int64)


def _counted(calls: pl.DataFrame, by: list[str]) -> pl.DataFrame:
    """Calls per group. Spam and hidden numbers are in all counts, n_spam and n_hidden say how many of them."""
    is_in, answered, talk = pl.col("direction") == "in", pl.col("is_answered"), pl.col("talk_s")
    of_a_caller = pl.col("thread_key").filter(~pl.col("is_hidden") & ~pl.col("is_spam"))
    return calls.group_by(by).agg(
        n_calls=pl.len().cast(pl.Int64),
        n_in=_count(is_in),
        n_in_answered=_count(is_in & answered),
        n_out=_count(~is_in),
        n_out_answered=_count(~is_in & answered),
        n_unique_clients=of_a_caller.drop_nulls().n_unique().cast(pl.Int64),
        # A sum of nothing known is not known, and of no answered call it is nothing.
        talk_s_total=pl.when((answered & talk.is_not_null()).any() | ~answered.any()).then(talk.filter(answered).sum()),
        talk_s_median=talk.filter(answered).median(),
        n_talk_unknown=_count(answered & talk.is_null()),
        n_answered_without_talk=_count(answered & (talk == 0).fill_null(False)),
        n_spam=_count(pl.col("is_spam")),
        n_hidden=_count(pl.col("is_hidden")),
        n_dup_removed=pl.col("n_dup_removed").fill_null(0).sum().cast(pl.Int64),
    )


BUCKET = {"day": "1d", "week": "1w", "month": "1mo"}


def _bucket(grain: str) -> pl.Expr:
    """The first local day of the bucket a call is in."""
    return pl.col("started_local").dt.date().dt.truncate(BUCKET[grain])


def _over_time(
    calls: pl.DataFrame, now: pl.DataFrame, params: CallTotalsParams, period: Period, by: list[str]
) -> pl.DataFrame:
    """Calls per bucket; complete: the bucket lies in the period and before the day of `as_of` as a whole (R-PERIOD)."""
    first = pl.col(params.grain)
    end = first.dt.offset_by(BUCKET[params.grain])
    is_whole = (first >= period.period_from) & (end <= period.period_to) & (end <= pl.col("as_of_on"))
    counted = _counted(calls, [*by, params.grain]).join(now, on="account_id")
    return counted.with_columns(complete=is_whole).drop("as_of_on").sort([*by, params.grain], nulls_last=True)


def _drilldown(calls: pl.DataFrame) -> pl.DataFrame:
    """Every call counted, the oldest first; value = seconds of talk."""
    way = pl.when(pl.col("direction") == "in").then(pl.lit("IN_")).otherwise(pl.lit("OUT_"))
    outcome = pl.when("is_answered").then(pl.lit("ANSWERED")).otherwise(pl.lit("UNANSWERED"))
    return drilldown_rows(
        calls.sort("started_at", "account_id", "episode_id"),
        **card(),
        event_at="started_at",
        value="talk_s",
        value_unit=pl.lit("s"),
        reason=way + outcome,
    )


RU = Text(
    name="Количество и длительность звонков",
    definition=(
        "Сколько было звонков, входящих и исходящих, на сколько ответили и сколько говорили. Звонок — это один "
        "разговор или одна попытка: запись, которую телефония сделала дважды (в сделке и в контакте), считается один "
        "раз, а телефоны, звонившие вместе в группе, — один входящий звонок. Внутренние звонки и роботы не "
        "считаются: роботы показаны отдельным числом. Спам и скрытые номера входят в итоги, рядом сказано, сколько "
        "их."
    ),
    formula=(
        "Входящие, отвеченные входящие, исходящие, отвеченные исходящие — число звонков. Звонивших — число разных "
        "клиентов и номеров без карточки. Время разговора — сумма по отвеченным; медиана — половина отвеченных "
        "разговоров короче её. Звонок числится за тем, кто говорил, без ответа — за единственным, у кого звонил "
        "телефон."
    ),
    pitfalls=(
        "Не сравнивайте с отчётом телефонии: amoCRM видит только звонки с номеров, которые есть в карточках. "
        "«Отвечен, но ноль секунд» — ошибка телефонии, такие звонки сосчитаны отдельно. Где длительность не записана, "
        "она неизвестна, а не ноль: сумма — только по известным. Пропущенный в группе ничей и числится без менеджера. "
        "Сумма звонивших по менеджерам больше общей: один клиент говорит с разными людьми."
    ),
)
EN = Text(
    name="Call totals",
    definition=(
        "How many calls there were, inbound and outbound, how many were answered and how long people talked. A call is "
        "one conversation or one attempt: a record the telephony wrote twice (on a deal and on a contact) counts once, "
        "phones that rang together in a group are one inbound call. Internal calls and robots do not count; robots are "
        "shown as a number of their own. Spam and hidden numbers are in the totals, with how many they are beside."
    ),
    formula=(
        "Inbound, answered inbound, outbound, answered outbound: numbers of calls. Callers: different clients, and "
        "numbers without a card. Talk time: the sum over answered calls; its median: half of the answered calls were "
        "shorter. A call belongs to who talked, an unanswered one to the only one whose phone rang."
    ),
    pitfalls=(
        "Do not compare with the telephony's report: amoCRM sees only calls of numbers that are on cards. “Answered "
        "with zero seconds” is a fault of the telephony; such calls are counted apart. Where no duration is written it "
        "is unknown, not zero: the sum is of the known ones. A call missed by a group is nobody's and stands without a "
        "manager. Callers of managers add up to more than the total: one client talks to several people."
    ),
)

METRIC = Metric(
    id="A1",
    text={"ru": RU, "en": EN},
    params=CallTotalsParams,
    inputs=("call_episode", "user"),
    resources=("call", "user"),
    subject={
        "by_user": "user_id",
        "total": None,
        "over_time": None,
        "by_user_over_time": "user_id",
        "drilldown": "user_id",
    },
    semantics="flow",
    reduce=reduce,
    finish=finish,
    counted={"by_user": ("n_calls",)},
)
