"""A3: missed calls that nobody returned, and whom to call back today.

What a missed thread is: `metrics.missed_threads`. Source: the metric catalogue, A3.
"""

from typing import Any

import narwhals.stable.v2 as nw
import polars as pl
from pydantic import Field

from metrics.call_scope import HAS_THREAD_KEY, IS_MISSED, card, in_period, in_scope
from metrics.channels import calls_only_notices, message_coverage
from metrics.client_value import revenue_12m
from metrics.metric import Frames, Metric, MetricResult, Params, Period, Text, drilldown_rows
from metrics.missed_threads import STATES, missed_threads, with_manager
from metrics.people import group_key, of_population
from metrics.rates import MIN_N, low_n, ranked, rate_columns

Lazy = nw.LazyFrame[Any]

UNREACHED = {"never": "NEVER_CALLED_BACK", "attempted_only": "ATTEMPTED_ONLY"}
"""Judged threads without a contact: the drill-down, with the rule code of each."""


class MissedCallsParams(Params):
    """What closes a thread and when it is judged."""

    judge_after_s: int = Field(default=86_400, ge=0)
    """Wall seconds a thread may stay open before it counts for or against anybody."""
    messages_close: bool = True
    """An outbound message by a person closes a thread."""
    any_user: bool = True
    """Anybody's call or message closes a thread; else only one by the manager of the client's latest missed call."""
    min_n: int = Field(default=MIN_N, ge=0)
    """Below so many judged threads a row is not ranked."""
    population: tuple[str, ...] | None = None
    """Users whose threads are counted; None: everybody's. Contacts by others close threads all the same."""


def reduce(frames: Frames, params: MissedCallsParams, period: Period) -> dict[str, Lazy]:
    """Threads whose first missed call fell into the period, missed calls from hidden numbers, and what is synced."""
    threads = missed_threads(
        frames,
        judge_after_s=params.judge_after_s,
        messages_close=params.messages_close,
        any_user=params.any_user,
    )
    begun = in_period(threads, frames, "first_missed_epoch")
    hidden = in_period(in_scope(frames).filter(IS_MISSED & ~HAS_THREAD_KEY), frames)
    return {
        "threads": begun.join(revenue_12m(frames), on=["account_id", "client_id"], how="left").select(*THREADS),
        "hidden": with_manager(hidden, frames).select(*HIDDEN, user_id="manager_id"),
        "coverage": message_coverage(frames),
    }


THREADS = (
    "account_id",
    "thread_id",
    "client_id",
    "phone_key",
    "user_id",
    "user_active",
    "attribution",
    "state",
    "first_missed_at",
    "first_missed_local",
    "first_missed_epoch",
    "as_of_epoch",
    "n_missed",
    "n_attempts",
    "resolved_at",
    "resolved_epoch",
    "resolved_by_user_id",
    "line",
    "deal_id",
    "card_kind",
    "card_id",
    "revenue_12m_minor",
)
HIDDEN = ("account_id", "episode_id", "started_at", "started_local", "wait_s", "line", "attribution")


def finish(collected: dict[str, pl.DataFrame], params: MissedCallsParams, period: Period) -> MetricResult:
    """Counts and rates per manager and account, the threads themselves, and whom to call back."""
    threads = of_population(collected["threads"], params.population).with_columns(
        group_key(),
        _is_worth_known(),
        waited_s=pl.col("resolved_epoch") - pl.col("first_missed_epoch"),
        open_h=pl.when(pl.col("resolved_at").is_null()).then(_hours_open()),
    )
    hidden = of_population(collected["hidden"], params.population).sort("account_id", "started_at", "episode_id")
    by_user = _rated(threads, ["account_id", "user_id", "user_active", "group_key"], params)
    listed = _listed(threads)
    return METRIC.result(
        params,
        period,
        tables={
            "by_user": ranked(by_user, "never_rate", "n_judged", "account_id", "user_id"),
            "total": _total(threads, hidden, params),
            "threads": listed.select(*THREAD_TABLE),
            "hidden": hidden,
        },
        drilldown=_drilldown(listed),
        warnings=calls_only_notices(
            collected["coverage"],
            ru="Клиент, которому ответили сообщением, считается необработанным.",
            en="A client who was answered by a message counts as not reached.",
        )
        if params.messages_close
        else (),
    )


THREAD_TABLE = (
    *(name for name in THREADS if not name.endswith("_epoch")),
    "waited_s",
    "open_h",
    "entity_kind",
    "entity_id",
    "group_key",
)


def _is_worth_known() -> pl.Expr:
    """A client without sales brought 0; of a number without a client nothing is known."""
    return pl.when(pl.col("client_id").is_not_null()).then(pl.col("revenue_12m_minor").fill_null(0))


def _hours_open() -> pl.Expr:
    return (pl.col("as_of_epoch") - pl.col("first_missed_epoch")) / 3600


def _rated(threads: pl.DataFrame, by: list[str], params: MissedCallsParams) -> pl.DataFrame:
    """Threads per group: how many in each state, and the two rates among the judged."""
    states = [(pl.col("state") == state).sum().cast(pl.Int64).alias(f"n_{state}") for state in STATES]
    return (
        threads.group_by(by)
        .agg(pl.len().cast(pl.Int64).alias("n_threads"), *states)
        .with_columns(
            n_judged=pl.col("n_threads") - pl.col("n_pending"),
            n_not_reached=pl.col("n_never") + pl.col("n_attempted_only"),
        )
        .with_columns(
            *rate_columns("n_never", "n_judged", "never_"),
            *rate_columns("n_not_reached", "n_judged", "not_reached_"),
            low_n("n_judged", min_n=params.min_n),
        )
    )


def _total(threads: pl.DataFrame, hidden: pl.DataFrame, params: MissedCallsParams) -> pl.DataFrame:
    """One row per account that had missed calls in the period; `n_hidden` = those without a number."""
    n_hidden = hidden.group_by("account_id").agg(pl.len().cast(pl.Int64).alias("n_hidden"))
    counted = _rated(threads, ["account_id"], params).join(n_hidden, on="account_id", how="full", coalesce=True)
    counts = [name for name in counted.columns if name.startswith("n_")]
    return counted.with_columns(pl.col(counts).fill_null(0), pl.col("low_n").fill_null(True)).sort("account_id")


def _listed(threads: pl.DataFrame) -> pl.DataFrame:
    """Threads with the card to open: the client's, else the deal's, else the one the call was written on.

    Most valuable clients first, then whoever waits longest.
    """
    return threads.with_columns(**card()).sort(
        ["revenue_12m_minor", "first_missed_epoch", "account_id", "thread_id"],
        descending=[True, False, False, False],
        nulls_last=True,
    )


def _drilldown(listed: pl.DataFrame) -> pl.DataFrame:
    """Threads nobody got through to, in the order of `_listed`; value = hours since the first missed call."""
    return drilldown_rows(
        listed.filter(pl.col("state").is_in(UNREACHED)),
        event_at="first_missed_at",
        value="open_h",
        value_unit=pl.lit("h"),
        reason=pl.col("state").replace_strict(UNREACHED, return_dtype=pl.String),
    )


RU = Text(
    name="Пропущенные без перезвона",
    definition=(
        "Сколько клиентов не дозвонились до нас и так и не услышали ответа. Обращение начинается с первого "
        "пропущенного звонка клиента; его повторные пропущенные попадают в то же обращение. Закрывает обращение "
        "самое раннее из трёх: мы дозвонились клиенту, клиент перезвонил сам и ему ответили, сотрудник написал "
        "клиенту. Если этого не случилось за сутки, обращение осталось без ответа: «мы не дозвонились», когда попытки "
        "были, и «никто не перезвонил», когда не было ни одной. Моложе суток — «ждёт»."
    ),
    formula=(
        "Доля «никто не перезвонил» = обращения без единой попытки / обращения, кроме ждущих. "
        "Доля без ответа = («никто не перезвонил» + «мы не дозвонились») / обращения, кроме ждущих."
    ),
    pitfalls=(
        "Перезвон на другой номер того же клиента засчитывается, если номер записан в его карточке. Скрытые номера "
        "показаны отдельно: перезвонить на них нельзя. amoCRM видит только звонки с номеров, которые есть в карточках, "
        "поэтому пропущенных на самом деле может быть больше: сверьте с отчётом телефонии. Обращение числится за тем, "
        "у кого звонил телефон, если звонил один; иначе за ответственным клиента. Меньше десяти обращений — не повод "
        "сравнивать людей."
    ),
)
EN = Text(
    name="Missed and never called back",
    definition=(
        "How many clients failed to reach us and never heard back. A thread begins with a client's first missed call; "
        "his further missed calls join it. The earliest of three closes it: we got through to the client, the client "
        "called again and was answered, an employee wrote to the client. If none happened within a day the client was "
        "never reached: “tried, not reached” when somebody tried, “nobody called back” when nobody did. Younger than a "
        "day is “waiting”."
    ),
    formula=(
        "Share nobody called back = threads without a single attempt / threads except waiting. "
        "Share not reached = (nobody called back + tried, not reached) / threads except waiting."
    ),
    pitfalls=(
        "A callback to another number of the same client counts if the number is on his card. Hidden numbers are shown "
        "apart: nobody can call them back. amoCRM sees only calls of numbers that are on cards, so there may be more "
        "missed calls than shown: compare with the telephony report. A thread belongs to the one whose phone rang, if "
        "only one rang; else to the client's responsible. Fewer than ten threads are no ground to compare people."
    ),
)

METRIC = Metric(
    id="A3",
    text={"ru": RU, "en": EN},
    params=MissedCallsParams,
    inputs=("call_episode", "touch", "sale", "user", "coverage"),
    resources=("call", "user"),
    subject={"by_user": "user_id", "total": None, "threads": "user_id", "hidden": "user_id", "drilldown": "user_id"},
    semantics="cohort",
    reduce=reduce,
    finish=finish,
    default_period_d=30,
    includes_today=True,
    counted={"by_user": ("n_not_reached",)},
    adds_up={"by_user": "total"},
)
