"""B4: how much of his base a manager reaches in a period, and how many days the rest would take at his pace.

The base of a manager are the clients he is responsible for at `as_of`: CRMs keep no history of who was responsible for
a client, only for a deal. A client is covered by a meaningful touch in the period by anyone.

Source: the metric catalogue, B4. What a touch is: `metrics.last_touch`.
"""

from typing import Any

import narwhals.stable.v2 as nw
import polars as pl
from pydantic import Field

from metrics.channels import calls_only_notices, message_coverage
from metrics.client_base import BASE_INPUTS, NEEDS_OWNER, Base, client_base
from metrics.client_value import revenue_12m
from metrics.metric import Frames, Metric, MetricResult, Notice, Params, Period, Text, drilldown_rows
from metrics.people import group_key, of_population
from metrics.presence import PRESENCE_INPUTS, present_days
from metrics.rates import MIN_N, low_n, rate_columns

Lazy = nw.LazyFrame[Any]

CLIENT = ["account_id", "client_id"]
USER = ["account_id", "user_id"]


class BaseCoverageParams(Params):
    """Whose clients, and how much of a base should be reached in the period."""

    base: Base = "existing"
    """existing: at least one won or open deal; buyers: a won one; open: an open one; all: every client."""
    target_coverage: float = Field(default=1.0, gt=0, le=1)
    """The share of the base that should be touched in the period."""
    min_n: int = Field(default=MIN_N, ge=0)
    """Below so many clients a row is not ranked."""
    population: tuple[str, ...] | None = None
    """Users whose clients are counted; None: everybody's. Touches by others count all the same."""


def reduce(frames: Frames, params: BaseCoverageParams, period: Period) -> dict[str, Lazy]:
    """Clients of the base with what touched them in the period, and how many days people were at work."""
    col = nw.col
    bounds = frames["clock"].select("account_id", "from_epoch", "to_epoch", "as_of_epoch")
    clients = client_base(frames, base=params.base)
    touched = (
        frames["touch"]
        .filter(col("is_meaningful").fill_null(False), ~col("client_id").is_null())
        .join(bounds, on="account_id")
        .filter(
            col("touched_epoch") >= col("from_epoch"),
            col("touched_epoch") < col("to_epoch"),
            col("touched_epoch") <= col("as_of_epoch"),
        )
        .select(*CLIENT, "touched_at", by_user_id="user_id")
        .join(clients.select(*CLIENT, "user_id"), on=CLIENT)
        .with_columns(is_own=(col("by_user_id") == col("user_id")).fill_null(False))
        .group_by(*CLIENT)
        .agg(
            n_touches=nw.len().cast(nw.Int64),
            n_own=nw.when(col("is_own")).then(nw.lit(1)).otherwise(nw.lit(0)).sum().cast(nw.Int64),
            last_touch_at=col("touched_at").max(),
        )
    )
    return {
        "clients": clients.join(touched, on=CLIENT, how="left")
        .join(revenue_12m(frames), on=CLIENT, how="left")
        .drop("as_of_on", "created_on"),
        "days": present_days(frames).group_by(*USER).agg(present_days=nw.len().cast(nw.Int64)),
        "coverage": message_coverage(frames),
    }


def finish(collected: dict[str, pl.DataFrame], params: BaseCoverageParams, period: Period) -> MetricResult:
    """Coverage, pace and days to cover per manager, and the clients nobody touched."""
    clients = of_population(collected["clients"], params.population).with_columns(
        pl.col("n_touches", "n_own", "revenue_12m_minor").fill_null(0), group_key()
    )
    silent = clients.filter(n_touches=0).sort(
        ["revenue_12m_minor", "account_id", "client_id"], descending=[True, False, False]
    )
    theirs = clients.filter(~NEEDS_OWNER)
    by_user = (
        _rated(theirs, [*USER, "user_active", "group_key"], params)
        .join(collected["days"], on=USER, how="left")
        .with_columns(*_pace(params))
        .sort(["low_n", "rate", "den", "account_id", "user_id"], descending=[False, False, True, False, False])
    )
    return METRIC.result(
        params,
        period,
        tables={
            "by_user": by_user,
            "reassign": _counted(clients.filter(NEEDS_OWNER), [*USER, "user_active", "group_key"]).sort(
                ["den", "account_id", "user_id"], descending=[True, False, False]
            ),
            "total": _rated(theirs, ["account_id"], params).sort("account_id"),
            "clients": silent.select(*CLIENT_TABLE),
        },
        drilldown=drilldown_rows(
            silent,
            entity_kind=pl.col("client_id").str.extract(r"^([a-z]+):"),
            entity_id="client_id",
            event_at="last_touch_at",
            value="revenue_12m_minor",
            value_unit=pl.lit("minor"),
            reason=pl.lit("NOT_TOUCHED"),
        ),
        warnings=(
            *calls_only_notices(
                collected["coverage"],
                ru="Клиент, с которым только переписываются, покажется неохваченным.",
                en="A client who is only written to will look untouched.",
            ),
            *((CURRENT_OWNER,) if clients.height else ()),
        ),
    )


CURRENT_OWNER = Notice(
    "owner_current",
    "Клиенты распределены по нынешним ответственным: кто отвечал за клиента раньше, CRM не хранит.",
    "Clients stand under who is responsible now: the CRM keeps no record of who was before.",
)

CLIENT_TABLE = ("account_id", "client_id", "kind", "user_id", "user_active", "revenue_12m_minor", "group_key")


def _counted(clients: pl.DataFrame, by: list[str]) -> pl.DataFrame:
    """Per group: clients (den), touched (num), touched by the responsible himself, left untouched and their money."""
    touched = pl.col("n_touches") > 0
    return clients.group_by(by).agg(
        num=touched.sum().cast(pl.Int64),
        den=pl.len().cast(pl.Int64),
        n_own=(pl.col("n_own") > 0).sum().cast(pl.Int64),
        n_not_touched=(~touched).sum().cast(pl.Int64),
        not_touched_minor=pl.col("revenue_12m_minor").filter(~touched).sum(),
    )


def _rated(clients: pl.DataFrame, by: list[str], params: BaseCoverageParams) -> pl.DataFrame:
    own_share = pl.col("n_own") / pl.when(pl.col("num") > 0).then(pl.col("num"))
    return _counted(clients, by).with_columns(
        *rate_columns(), low_n("den", min_n=params.min_n), own_share=own_share.cast(pl.Float64)
    )


def _pace(params: BaseCoverageParams) -> list[pl.Expr]:
    """pace: clients touched per day at work; days_to_cover: the rest of the target at that pace; capacity_gap: clients
    a day short of reaching the target within the period. Null where nobody knows the days at work, or nobody was
    touched."""
    days = pl.when(pl.col("present_days") > 0).then(pl.col("present_days"))
    pace = pl.col("num") / days
    wanted = params.target_coverage * pl.col("den")
    left = pl.max_horizontal(wanted - pl.col("num"), pl.lit(0.0))
    return [
        pace.cast(pl.Float64).alias("pace"),
        (left / pl.when(pace > 0).then(pace)).cast(pl.Float64).alias("days_to_cover"),
        (wanted / days - pace).cast(pl.Float64).alias("capacity_gap"),
    ]


RU = Text(
    name="Охват базы",
    definition=(
        "С какой долей своих действующих клиентов менеджер (или кто-то за него) пообщался за период, и сколько рабочих "
        "дней уйдёт на остальных при том же темпе. Клиент охвачен, если за период было хотя бы одно касание: разговор "
        "от 10 секунд, сообщение от человека или встреча."
    ),
    formula=(
        "Охват = охваченные клиенты / все клиенты менеджера. Темп = охваченные / его рабочие дни без отпусков и "
        "больничных. Дней до полного охвата = неохваченные / темп. Не хватает в день = клиенты / рабочие дни − темп."
    ),
    pitfalls=(
        "Пять касаний одного клиента — один охваченный клиент. Ответственные — нынешние: истории ответственных за "
        "клиента CRM не хранит. Клиенты уволенных вынесены в список «передать». Большая база с низким охватом — "
        "повод раздать клиентов, а не только торопить человека."
    ),
)
EN = Text(
    name="Base coverage",
    definition=(
        "Which share of his existing clients a manager (or somebody for him) was in touch with in the period, and how "
        "many working days the others would take at that pace. A client is covered by at least one touch in the "
        "period: a talk of 10 seconds or more, a message by a person, or a meeting."
    ),
    formula=(
        "Coverage = clients touched / all clients of the manager. Pace = clients touched / his working days without "
        "leave. Days to cover = clients not touched / pace. Short per day = clients / working days − pace."
    ),
    pitfalls=(
        "Five touches of one client cover one client. Responsible is who is now: CRMs keep no history of that for "
        "clients. Clients of people who have left are in “reassign”. A large base with a low coverage is a reason to "
        "hand clients over, not only to hurry somebody."
    ),
)

METRIC = Metric(
    id="B4",
    text={"ru": RU, "en": EN},
    params=BaseCoverageParams,
    inputs=(*BASE_INPUTS, *(name for name in PRESENCE_INPUTS if name not in BASE_INPUTS), "touch", "sale", "coverage"),
    resources=("call", "deal", "user"),
    subject={"by_user": "user_id", "reassign": "user_id", "total": None, "clients": "user_id", "drilldown": "user_id"},
    semantics="snapshot",
    reduce=reduce,
    finish=finish,
    default_period_d=30,
    counted={"by_user": ("n_not_touched",), "reassign": ("n_not_touched",)},
    adds_up={"by_user": "total"},
)
