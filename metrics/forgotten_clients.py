"""B2: clients nobody has been in touch with for more than `n_days`, and whom to call first.

Source: the metric catalogue, B2. What a touch is: `metrics.last_touch`.
"""

from typing import Any

import narwhals.stable.v2 as nw
import polars as pl
import polars.selectors as cs
from pydantic import Field

from metrics.channels import calls_only_notices, message_coverage
from metrics.client_base import BASE_INPUTS, NEEDS_OWNER, Base, client_base
from metrics.client_tasks import client_tasks
from metrics.client_value import revenue_12m
from metrics.last_touch import TouchDirection, days_since, last_touch
from metrics.metric import Frames, Metric, MetricResult, Params, Period, Text, drilldown_rows
from metrics.people import group_key, of_population
from metrics.rates import MIN_N, low_n, ranked, rate_columns

Lazy = nw.LazyFrame[Any]


class ForgottenClientsParams(Params):
    """Who is looked at and how long a silence is too long."""

    n_days: int = Field(default=60, ge=0)
    """Forgotten = more than so many local days since the last touch."""
    base: Base = "existing"
    """existing: at least one won or open deal; buyers: a won one; open: an open one; all: every client."""
    direction: TouchDirection = "any"
    """any: the client's own calls and messages count too; out: only what came from us."""
    min_n: int = Field(default=MIN_N, ge=0)
    """Below so many clients a row is not ranked."""
    population: tuple[str, ...] | None = None
    """Users whose clients are counted; None: everybody's. Touches by others count all the same."""


# --- reduce: one row per client of the base --------------------------------------------------------------------------


def reduce(frames: Frames, params: ForgottenClientsParams, period: Period) -> dict[str, Lazy]:
    """Clients of the base with their last touch, tasks and money; and whether messages were synced."""
    clients = client_base(frames, base=params.base)
    for facts in (last_touch(frames, direction=params.direction), client_tasks(frames), revenue_12m(frames)):
        clients = clients.join(facts, on=["account_id", "client_id"], how="left")
    return {
        "clients": clients.with_columns(last_touch_on=nw.col("last_touch_local").dt.date()).select(*CLIENTS),
        "coverage": message_coverage(frames),
    }


CLIENTS = (
    "account_id",
    "client_id",
    "kind",
    "user_id",
    "user_active",
    "user_is_robot",
    "as_of_on",
    "created_on",
    "last_touch_on",
    "last_touch_at",
    "last_touch_kind",
    "last_touch_direction",
    "last_touch_user_id",
    "last_outbound_at",
    "last_attempt_at",
    "n_open_tasks",
    "next_task_on",
    "last_task_kind",
    "last_task_due_at",
    "last_task_is_done",
    "revenue_12m_minor",
)


# --- finish ----------------------------------------------------------------------------------------------------------


def finish(collected: dict[str, pl.DataFrame], params: ForgottenClientsParams, period: Period) -> MetricResult:
    """Shares per manager, what to hand over, how long the silence is, and the list in the order to call."""
    clients = _judged(collected["clients"], params)
    forgotten = _by_priority(clients.filter("is_forgotten"))
    theirs = clients.filter(~NEEDS_OWNER)
    by_user = _rated(theirs, ["account_id", "user_id", "user_active", "group_key"], params)
    return METRIC.result(
        params,
        period,
        tables={
            "by_user": ranked(by_user, "rate", "den", "account_id", "user_id"),
            "reassign": _reassign(clients),
            "total": _total(clients, params),
            "segments": _segments(clients, params),
            "clients": forgotten.select(*CLIENT_TABLE),
        },
        drilldown=_drilldown(forgotten),
        warnings=calls_only_notices(
            collected["coverage"],
            ru="Клиент, с которым только переписываются, покажется забытым.",
            en="A client who is only written to will look forgotten.",
        ),
    )


CLIENT_TABLE = (
    "account_id",
    "client_id",
    "kind",
    "user_id",
    "user_active",
    "days_since",
    "never",
    "segment",
    "priority",
    "revenue_12m_minor",
    "last_touch_at",
    "last_touch_kind",
    "last_touch_direction",
    "last_touch_user_id",
    "last_outbound_at",
    "last_attempt_at",
    "has_next_task",
    "next_task_on",
    "n_open_tasks",
    "last_task_kind",
    "last_task_due_at",
    "last_task_is_done",
    "group_key",
)


def segment_edges(n_days: int) -> tuple[int, int, int]:
    """Last days before each segment: 60 gives 61–90, 91–180 and more than 180."""
    return n_days, n_days * 3 // 2, n_days * 3


def _judged(clients: pl.DataFrame, params: ForgottenClientsParams) -> pl.DataFrame:
    """Clients with days_since, never, is_forgotten and segment (1 to 3, null where not forgotten)."""
    rows = of_population(clients, params.population)
    first, second, third = segment_edges(params.n_days)
    days = pl.col("days_since")
    return rows.with_columns(
        days_since=days_since(),
        never=pl.col("last_touch_at").is_null(),
        has_next_task=pl.col("next_task_on").is_not_null(),
        n_open_tasks=pl.col("n_open_tasks").fill_null(0),
        revenue_12m_minor=pl.col("revenue_12m_minor").fill_null(0),
        group_key=group_key(),
    ).with_columns(
        is_forgotten=(days > first).fill_null(False),
        segment=pl.when(days > third).then(3).when(days > second).then(2).when(days > first).then(1).cast(pl.Int64),
    )


def _by_priority(forgotten: pl.DataFrame) -> pl.DataFrame:
    """The list to call: priority = money of the last 12 months × how long the silence ranks in the account (0..1].

    Clients who brought nothing follow by length of silence.
    """
    rank = pl.col("days_since").rank("max").over("account_id") / pl.len().over("account_id")
    return forgotten.with_columns(priority=(pl.col("revenue_12m_minor") * rank).cast(pl.Float64)).sort(
        ["priority", "days_since", "account_id", "client_id"], descending=[True, True, False, False]
    )


def _counted(clients: pl.DataFrame, by: list[str]) -> pl.DataFrame:
    """Per group: clients (den), forgotten (num) and by kind of silence; money of the forgotten."""
    forgotten = pl.col("is_forgotten")
    return clients.group_by(by).agg(
        num=forgotten.sum().cast(pl.Int64),
        den=pl.len().cast(pl.Int64),
        n_never=(forgotten & pl.col("never")).sum().cast(pl.Int64),
        **{f"n_segment_{n}": (pl.col("segment") == n).sum().cast(pl.Int64) for n in (1, 2, 3)},
        n_next_task=(forgotten & pl.col("has_next_task")).sum().cast(pl.Int64),
        revenue_12m_minor=pl.col("revenue_12m_minor").filter(forgotten).sum(),
    )


def _rated(clients: pl.DataFrame, by: list[str], params: ForgottenClientsParams) -> pl.DataFrame:
    return _counted(clients, by).with_columns(*rate_columns(), low_n("den", min_n=params.min_n))


def _total(clients: pl.DataFrame, params: ForgottenClientsParams) -> pl.DataFrame:
    """Per account the clients people answer for; those to hand over stand beside them, in no rate (R-USER)."""
    left = clients.group_by("account_id").agg(
        reassign_num=(NEEDS_OWNER & pl.col("is_forgotten")).sum().cast(pl.Int64),
        reassign_den=NEEDS_OWNER.sum().cast(pl.Int64),
    )
    counted = left.join(_counted(clients.filter(~NEEDS_OWNER), ["account_id"]), on="account_id", how="left")
    numbers = cs.exclude("account_id")
    rated = counted.with_columns(numbers.fill_null(0)).with_columns(*rate_columns(), low_n("den", min_n=params.min_n))
    return rated.select(pl.exclude("reassign_num", "reassign_den"), "reassign_num", "reassign_den").sort("account_id")


def _reassign(clients: pl.DataFrame) -> pl.DataFrame:
    """Clients of those who have left and of robots: counts without a rate, nobody is measured by them."""
    block = clients.filter(NEEDS_OWNER)
    counted = _counted(block, ["account_id", "user_id", "user_active", "user_is_robot", "group_key"])
    return counted.sort(["num", "den", "account_id", "user_id"], descending=[True, True, False, False])


def _segments(clients: pl.DataFrame, params: ForgottenClientsParams) -> pl.DataFrame:
    """Per account three rows: days_from..days_to (null: no end) of silence, clients of `total` and their money."""
    first, second, third = segment_edges(params.n_days)
    edges = pl.DataFrame(
        {"segment": [1, 2, 3], "days_from": [first + 1, second + 1, third + 1], "days_to": [second, third, None]},
        schema=dict.fromkeys(("segment", "days_from", "days_to"), pl.Int64),
    )
    counted = (
        clients.filter(~NEEDS_OWNER)
        .group_by("account_id", "segment")
        .agg(num=pl.len().cast(pl.Int64), revenue_12m_minor=pl.col("revenue_12m_minor").sum())
    )
    return (
        clients.select("account_id")
        .unique()
        .join(edges, how="cross")
        .join(counted, on=["account_id", "segment"], how="left")
        .with_columns(pl.col("num", "revenue_12m_minor").fill_null(0))
        .sort("account_id", "segment")
    )


def _drilldown(forgotten: pl.DataFrame) -> pl.DataFrame:
    """The forgotten in the order to call; value = days since the last touch, or since the card was created."""
    return drilldown_rows(
        forgotten,
        entity_kind=pl.col("client_id").str.extract(r"^([a-z]+):"),
        entity_id="client_id",
        event_at="last_touch_at",
        value="days_since",
        value_unit=pl.lit("d"),
        reason=pl.when("never").then(pl.lit("NEVER")).otherwise(pl.lit("FORGOTTEN")),
    )


RU = Text(
    name="Забытые клиенты",
    definition=(
        "С кем из действующих клиентов давно никто не общался. Действующий — у него есть хотя бы одна выигранная "
        "или открытая сделка. Общение — разговор от 10 секунд, сообщение от человека в любую сторону, "
        "состоявшаяся встреча; рассылки, боты и звонки без ответа не в счёт. Забытый — если с последнего общения "
        "прошло больше 60 дней (порог настраивается); если не общались ни разу, дни идут с создания карточки."
    ),
    formula=(
        "Доля забытых = клиенты, у которых дней с последнего общения больше порога / все действующие клиенты "
        "менеджера. Порядок обзвона = выручка клиента за последние 12 месяцев × место по длине молчания."
    ),
    pitfalls=(
        "Компания с пятью контактами — один клиент: поговорили с любым, значит, с ней общались. Поставленная на "
        "будущее задача не снимает клиента со списка, она показана рядом. Клиенты уволенных вынесены в отдельный "
        "список «передать» и не портят долю другим. Если переписка не загружена, забытым покажется тот, с кем "
        "только переписываются. Удалённые, спам, стоп-лист и закрытые как ошибочные обращения не считаются."
    ),
)
EN = Text(
    name="Forgotten clients",
    definition=(
        "Which existing clients nobody has talked to for long. Existing = at least one won or open deal. A touch "
        "is a talk of 10 seconds or more, a message by a person in either direction, a meeting that took place; "
        "mailings, bots and unanswered calls are none. Forgotten = more than 60 days since the last touch (the "
        "limit can be set); if there never was one, days are counted from the creation of the card."
    ),
    formula=(
        "Share of forgotten = clients with more days since the last touch than the limit / all existing clients "
        "of the manager. Order of calling = the client's revenue of the last 12 months × how his silence ranks."
    ),
    pitfalls=(
        "A company with five contacts is one client: a talk with any of them is a touch. A task planned for later"
        " does not take a client off the list, it is shown beside him. Clients of people who have left are a list"
        " of their own, “reassign”, and spoil nobody's share. Where messages are not synced, a client who is only"
        " written to looks forgotten. Deleted clients, spam, the stop list and requests closed as mistaken are "
        "left out."
    ),
)

METRIC = Metric(
    id="B2",
    text={"ru": RU, "en": EN},
    params=ForgottenClientsParams,
    inputs=(*BASE_INPUTS, "client_member", "touch", "sale", "task", "task_link", "coverage"),
    resources=("call", "deal", "task", "user"),
    subject={
        "by_user": "user_id",
        "reassign": "user_id",
        "total": None,
        "segments": None,
        "clients": "user_id",
        "drilldown": "user_id",
    },
    semantics="snapshot",
    reduce=reduce,
    finish=finish,
    default_period_d=60,
    reads_period=False,
)
