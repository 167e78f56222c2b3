"""B3: in which months a client was touched and in which nobody was in touch: density, holes, and whom we dropped.

Looked at are the last `months` complete local months, for each client from the month of his first touch on. A hole is
a month without a meaningful touch; a client is *dropped* when the holes at the end are `min_hole` or more and at least
`MIN_LIVELY` months had touches before them.

Source: the metric catalogue, B3. What a touch is: `metrics.last_touch`.
"""

from typing import Any

import narwhals.stable.v2 as nw
import polars as pl
from pydantic import Field

from metrics.channels import calls_only_notices, message_coverage
from metrics.client_base import BASE_INPUTS, NEEDS_OWNER, Base, client_base
from metrics.client_value import revenue_12m
from metrics.metric import Frames, Metric, MetricResult, Params, Period, Text, drilldown_rows
from metrics.months import first_day, month_no
from metrics.people import group_key, of_population
from metrics.rates import MIN_N, low_n, ranked, rate_columns

Lazy = nw.LazyFrame[Any]

CLIENT = ["account_id", "client_id"]
MIN_LIVELY = 3
"""Fewer months with touches are no rhythm that could have been broken off."""


class TouchDensityParams(Params):
    """How far back, and how long a silence is a client dropped."""

    months: int = Field(default=12, ge=2, le=60)
    """Complete months looked at."""
    min_hole: int = Field(default=2, ge=1)
    """Dropped = so many months without a touch up to the last complete one."""
    base: Base = "all"
    """existing: at least one won or open deal; buyers: a won one; open: an open one; all: every client."""
    min_n: int = Field(default=MIN_N, ge=0)
    """Below so many clients a row is not ranked."""
    population: tuple[str, ...] | None = None
    """Users whose clients are counted; None: everybody's. Touches by others count all the same."""


def reduce(frames: Frames, params: TouchDensityParams, period: Period) -> dict[str, Lazy]:
    """Clients of the base that were ever touched, and their touches by month."""
    col = nw.col
    now = frames["clock"].select("account_id", "as_of_epoch", last=month_no(nw.col("as_of_on")) - 1)
    touched = (
        frames["touch"]
        .filter(col("is_meaningful").fill_null(False), ~col("client_id").is_null())
        .join(now, on="account_id")
        .filter(col("touched_epoch") <= col("as_of_epoch"))
        .with_columns(month_no=month_no(col("touched_local")))
        .filter(col("month_no") <= col("last"))
    )
    known = (
        touched.group_by(*CLIENT)
        .agg(first=col("month_no").min(), last=col("last").max())
        .with_columns(first=nw.max_horizontal(col("first"), col("last") - (params.months - 1)))
    )
    clients = client_base(frames, base=params.base).join(known, on=CLIENT, how="inner")
    by_month = (
        touched.filter(col("month_no") > col("last") - params.months)
        .group_by(*CLIENT, "month_no")
        .agg(n=nw.len().cast(nw.Int64))
        .join(clients.select(*CLIENT), on=CLIENT, how="inner")
    )
    return {
        "clients": clients.join(revenue_12m(frames), on=CLIENT, how="left").drop("as_of_on", "created_on"),
        "months": by_month,
        "coverage": message_coverage(frames),
    }


def finish(collected: dict[str, pl.DataFrame], params: TouchDensityParams, period: Period) -> MetricResult:
    """The dropped with what they were worth, shares per manager, and the months themselves."""
    clients = _judged(of_population(collected["clients"], params.population), collected["months"], params)
    dropped = clients.filter("is_dropped").sort(
        ["revenue_12m_minor", "n_touched_months", "account_id", "client_id"], descending=[True, True, False, False]
    )
    by_user = _rated(clients.filter(~NEEDS_OWNER), ["account_id", "user_id", "user_active", "group_key"], params)
    return METRIC.result(
        params,
        period,
        tables={
            "by_user": ranked(by_user, "rate", "den", "account_id", "user_id"),
            "reassign": _counted(
                clients.filter(NEEDS_OWNER), ["account_id", "user_id", "user_active", "group_key"]
            ).sort(["num", "den", "account_id", "user_id"], descending=[True, True, False, False]),
            "total": _rated(clients.filter(~NEEDS_OWNER), ["account_id"], params).sort("account_id"),
            "clients": clients.select(*CLIENT_TABLE).sort(
                ["is_dropped", "trailing_hole", "account_id", "client_id"], descending=[True, True, False, False]
            ),
            "months": _matrix(clients, collected["months"]),
        },
        drilldown=drilldown_rows(
            dropped,
            entity_kind=pl.col("client_id").str.extract(r"^([a-z]+):"),
            entity_id="client_id",
            event_at=pl.lit(None, pl.Datetime("us", "UTC")),
            value="trailing_hole",
            value_unit=pl.lit("n"),
            reason=pl.lit("DROPPED"),
        ),
        warnings=calls_only_notices(
            collected["coverage"],
            ru="Месяцы, когда клиенту только писали, покажутся дырками.",
            en="Months in which a client was only written to will look like holes.",
        ),
    )


CLIENT_TABLE = (
    "account_id",
    "client_id",
    "kind",
    "user_id",
    "user_active",
    "is_dropped",
    "n_months",
    "n_touched_months",
    "n_holes",
    "longest_hole",
    "trailing_hole",
    "mean_per_month",
    "revenue_12m_minor",
    "group_key",
)


def _judged(clients: pl.DataFrame, months: pl.DataFrame, params: TouchDensityParams) -> pl.DataFrame:
    """Clients with their holes. The ends of a silence are the month before the first one looked at, months with
    touches, and the month after the last one."""
    silence = pl.col("month_no").diff().over(CLIENT) - 1
    ends = pl.concat(
        [
            months.select(*CLIENT, "month_no"),
            clients.select(*CLIENT, month_no=pl.col("first") - 1),
            clients.select(*CLIENT, month_no=pl.col("last") + 1),
        ]
    )
    holes = (
        ends.sort(*CLIENT, "month_no")
        .with_columns(silence=silence)
        .group_by(CLIENT, maintain_order=True)
        .agg(longest_hole=pl.col("silence").max(), trailing_hole=pl.col("silence").last())
    )
    counted = months.group_by(CLIENT).agg(n_touched_months=pl.len().cast(pl.Int64), n=pl.col("n").sum())
    is_dropped = (pl.col("trailing_hole") >= params.min_hole) & (pl.col("n_touched_months") >= MIN_LIVELY)
    return (
        clients.join(holes, on=CLIENT, how="left")
        .join(counted, on=CLIENT, how="left")
        .with_columns(
            pl.col("n_touched_months", "n").fill_null(0),
            group_key(),
            revenue_12m_minor=pl.col("revenue_12m_minor").fill_null(0),
            n_months=pl.col("last") - pl.col("first") + 1,
        )
        .with_columns(
            n_holes=pl.col("n_months") - pl.col("n_touched_months"),
            mean_per_month=pl.col("n") / pl.col("n_months"),
            is_dropped=is_dropped,
        )
    )


def _counted(clients: pl.DataFrame, by: list[str]) -> pl.DataFrame:
    """Per group: clients (den), dropped (num), their money, and the mean of touches a month."""
    return clients.group_by(by).agg(
        num=pl.col("is_dropped").sum().cast(pl.Int64),
        den=pl.len().cast(pl.Int64),
        mean_per_month=pl.col("n").sum() / pl.col("n_months").sum(),
        mean_holes=pl.col("n_holes").mean(),
        revenue_12m_minor=pl.col("revenue_12m_minor").filter("is_dropped").sum(),
    )


def _rated(clients: pl.DataFrame, by: list[str], params: TouchDensityParams) -> pl.DataFrame:
    return _counted(clients, by).with_columns(*rate_columns(), low_n("den", min_n=params.min_n))


def _matrix(clients: pl.DataFrame, months: pl.DataFrame) -> pl.DataFrame:
    """One row per client and month looked at, holes included: user_id, month (its first day), n."""
    dense = clients.select(*CLIENT, "user_id", month_no=pl.int_ranges(pl.col("first"), pl.col("last") + 1)).explode(
        "month_no", empty_as_null=False
    )
    return (
        dense.join(months, on=[*CLIENT, "month_no"], how="left")
        .sort(*CLIENT, "month_no")
        .select(*CLIENT, "user_id", month=first_day(pl.col("month_no")), n=pl.col("n").fill_null(0))
    )


RU = Text(
    name="Плотность касаний и дырки",
    definition=(
        "В какие месяцы с клиентом общались, а в какие нет. Смотрим полные месяцы за год (настраивается), для каждого "
        "клиента — с месяца первого касания. Дырка — месяц без единого касания. Брошенный клиент — общались хотя бы "
        "в трёх месяцах, а последние два месяца и больше (порог настраивается) — тишина."
    ),
    formula=(
        "Доля брошенных = брошенные / все клиенты менеджера, с которыми когда-либо общались. Среднее в месяц = "
        "касания / полные месяцы."
    ),
    pitfalls=(
        "Месяцы до первого касания — не дырки, текущий неполный месяц тоже. Касание любого контакта компании — "
        "касание компании. Кого касались раз в полгода, тот не брошен: трёх месяцев с касаниями у него нет. Клиенты "
        "уволенных вынесены в список «передать»."
    ),
)
EN = Text(
    name="Touch density and holes",
    definition=(
        "In which months somebody was in touch with a client and in which nobody was. Looked at are the complete "
        "months of the last year (can be set), for each client from the month of his first touch. A hole is a month "
        "without a touch. A client is dropped when at least three months had touches and the last two or more (the "
        "limit can be set) had none."
    ),
    formula=(
        "Share dropped = dropped / all clients of the manager that were ever touched. Mean a month = touches / "
        "complete months."
    ),
    pitfalls=(
        "Months before the first touch are no holes, nor is the running month. A touch of any contact of a company is "
        "a touch of the company. Who is touched twice a year is not dropped: he has no three months with touches. "
        "Clients of people who have left are in “reassign”."
    ),
)

METRIC = Metric(
    id="B3",
    text={"ru": RU, "en": EN},
    params=TouchDensityParams,
    inputs=(*BASE_INPUTS, "touch", "sale", "coverage"),
    resources=("call", "deal", "user"),
    subject={
        "by_user": "user_id",
        "reassign": "user_id",
        "total": None,
        "clients": "user_id",
        "months": "user_id",
        "drilldown": "user_id",
    },
    semantics="snapshot",
    reduce=reduce,
    finish=finish,
    default_period_d=365,
    reads_period=False,
    counted={"by_user": ("num",), "reassign": ("num",)},
    adds_up={"by_user": "total"},
)
