"""A12: how many attempts it takes to reach a client, and after how many people give up.

Which calls count: `metrics.call_scope`. Source: the metric catalogue, A12.
"""

from collections.abc import Sequence
from typing import Any

import narwhals.stable.v2 as nw
import polars as pl
from pydantic import Field

from metrics.call_scope import HAS_THREAD_KEY, card, in_scope, is_conversation, with_performer
from metrics.funnel import DAY_S
from metrics.metric import Frames, Metric, MetricResult, Params, Period, Text, drilldown_rows
from metrics.people import group_key, of_population
from metrics.rates import MIN_N, low_n, ranked, rate_columns
from metrics.stats.survival import kaplan_meier
from metrics.team import MIN_EFFECT, compared

Lazy = nw.LazyFrame[Any]

CALLER = ["account_id", "thread_key"]
ORDER = ["started_epoch", "is_inbound", "episode_id"]


class AttemptsParams(Params):
    """When a client is reached, and when he is given up."""

    given_up_after_d: int = Field(default=7, ge=1)
    """So many days without another attempt, and the client is given up."""
    min_talk_s: int = Field(default=1, ge=0)
    """From how many seconds on an answered call reaches the client; 30 where switchboards answer."""
    min_effect: float = Field(default=MIN_EFFECT, ge=0, le=1)
    """A manager is flagged if his share of reached clients differs from the others' by at least so much."""
    min_n: int = Field(default=MIN_N, ge=0)
    """Below so many clients a row is neither ranked nor compared."""
    population: tuple[str, ...] | None = None
    """Users whose clients are counted; None: everybody's. They are compared with everybody all the same."""


# --- reduce: one row per client dialled ------------------------------------------------------------------------------


def reduce(frames: Frames, params: AttemptsParams, period: Period) -> dict[str, Lazy]:
    """Clients first dialled in the period, each with his attempts up to the first conversation; and the gaps."""
    series = _series(frames, params)
    return {
        "clients": _clients(series, frames, params).select(*CLIENTS),
        "gaps": series.filter(nw.col("attempt_no") > 1, nw.col("is_inbound") == 0).select(
            *CALLER, gap_s=nw.col("started_epoch") - nw.col("before_epoch")
        ),
    }


def _series(frames: Frames, params: AttemptsParams) -> Lazy:
    """Our calls to each client of the period until the first conversation or until he was given up, numbered from 1.

    The client's own call that was answered ends a series too, with `is_inbound` 1 and the number of attempts so far.
    """
    col = nw.col
    bounds = frames["clock"].select("account_id", "from_epoch", "to_epoch")
    is_talk = is_conversation(params.min_talk_s)
    events = (
        in_scope(frames)
        .filter(HAS_THREAD_KEY, (col("direction") == "out") | is_talk)
        .join(bounds, on="account_id")
        .filter(col("started_epoch") >= col("from_epoch"))
        .with_columns(
            is_inbound=_one(col("direction") == "in"), is_out=_one(col("direction") == "out"), talk=_one(is_talk)
        )
        .with_columns(attempt_no=_running("is_out"))
        .filter(col("attempt_no") >= 1)
        .with_columns(before_epoch=col("started_epoch").shift(1).over(*CALLER, order_by=ORDER), talks=_running("talk"))
        .with_columns(is_late=_one(col("started_epoch") - col("before_epoch") > params.given_up_after_d * DAY_S))
        .with_columns(breaks=_running("is_late"))
    )
    until_talk = col("talks") - col("talk") == 0
    begun = events.filter(until_talk & (col("breaks") == 0))
    first = begun.filter(col("attempt_no") == 1, col("is_inbound") == 0, col("started_epoch") < col("to_epoch"))
    return begun.join(first.select(*CALLER), on=CALLER, how="semi")


def _one(which: nw.Expr) -> nw.Expr:
    return nw.when(which.fill_null(False)).then(nw.lit(1)).otherwise(nw.lit(0)).cast(nw.Int64)


def _running(flag: str) -> nw.Expr:
    """How often `flag` was 1 up to this call. Cast: DuckDB adds integers up to a Decimal."""
    return nw.col(flag).cum_sum().over(*CALLER, order_by=ORDER).cast(nw.Int64)


def _clients(series: Lazy, frames: Frames, params: AttemptsParams) -> Lazy:
    """One row per client: who dialled him first and when, n_attempts, and what became of it (`state`)."""
    col = nw.col
    ended = series.group_by(*CALLER).agg(
        n_attempts=col("attempt_no").max(),
        n_reached=nw.when(col("is_inbound") == 0).then(col("talk")).otherwise(nw.lit(0)).max(),
        n_called_us=col("is_inbound").max(),
        last_epoch=col("started_epoch").max(),
    )
    first = series.filter(col("attempt_no") == 1, col("is_inbound") == 0)
    has_passed = col("as_of_epoch") - col("last_epoch") > params.given_up_after_d * DAY_S
    state = (
        nw.when(col("n_reached") == 1)
        .then(nw.lit("reached"))
        .when(col("n_called_us") == 1)
        .then(nw.lit("called_us"))
        .when(has_passed)
        .then(nw.lit("given_up"))
        .otherwise(nw.lit("trying"))
    )
    return with_performer(first, frames).join(ended, on=CALLER).with_columns(state=state)


CLIENTS = (
    "account_id",
    "thread_key",
    "episode_id",
    "user_id",
    "user_active",
    "client_id",
    "deal_id",
    "card_kind",
    "card_id",
    "started_at",
    "n_attempts",
    "state",
)


# --- finish ----------------------------------------------------------------------------------------------------------


def finish(collected: dict[str, pl.DataFrame], params: AttemptsParams, period: Period) -> MetricResult:
    """Attempts and shares per manager and account, the curve by attempt, and the clients given up."""
    everybodys = collected["clients"].with_columns(group_key())
    owners = everybodys.select(*CALLER, "user_id", "user_active", "group_key")
    gaps = collected["gaps"].join(owners, on=CALLER)
    clients, own_gaps = of_population(everybodys, params.population), of_population(gaps, params.population)
    is_of_team = pl.col("user_id").is_not_null() & pl.col("user_active")
    by_user = compared(
        _counted(everybodys, gaps, ["account_id", "user_id", "user_active", "group_key"], params),
        "num",
        "den",
        within=["account_id"],
        tested=~pl.col("low_n"),
        in_team=is_of_team,
        min_effect=params.min_effect,
    )
    shown = of_population(by_user, params.population)
    worst = ranked(shown.with_columns(_lost=1 - pl.col("rate")), "_lost", "den", "account_id", "user_id").drop("_lost")
    return METRIC.result(
        params,
        period,
        tables={
            "by_user": worst,
            "total": _counted(clients, own_gaps, ["account_id"], params).sort("account_id"),
            "curve": _curve(clients),
        },
        drilldown=_drilldown(clients),
    )


def _counted(clients: pl.DataFrame, gaps: pl.DataFrame, by: list[str], params: AttemptsParams) -> pl.DataFrame:
    """Per group: clients dialled (den), reached (num); given up after 1, 2, 3 or more attempts; attempts and gaps."""
    state, attempts = pl.col("state"), pl.col("n_attempts")
    given_up = state == "given_up"
    kinds = {"1": attempts == 1, "2": attempts == 2, "3_or_more": attempts >= 3}
    counts = clients.group_by(by).agg(
        den=pl.len().cast(pl.Int64),
        num=(state == "reached").sum().cast(pl.Int64),
        n_called_us=(state == "called_us").sum().cast(pl.Int64),
        n_trying=(state == "trying").sum().cast(pl.Int64),
        n_given_up=given_up.sum().cast(pl.Int64),
        **{f"n_given_up_after_{name}": (given_up & is_kind).sum().cast(pl.Int64) for name, is_kind in kinds.items()},
    )
    median_gap = gaps.group_by(by).agg(median_gap_s=pl.col("gap_s").median())
    return (
        counts.with_columns(
            *rate_columns(),
            low_n(min_n=params.min_n),
            **{f"given_up_after_{name}_share": pl.col(f"n_given_up_after_{name}") / pl.col("den") for name in kinds},
        )
        .join(_medians(clients, by), on=by, how="left", nulls_equal=True)
        .join(median_gap, on=by, how="left", nulls_equal=True)
    )


def _medians(clients: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
    """Per group the attempt by which half are reached (S-KM); null where half never are."""
    rows = [
        dict(zip(by, key, strict=True)) | {"km_median_attempts": _kaplan_meier(part).median}
        for key, part in clients.group_by(by, maintain_order=True)
    ]
    return pl.DataFrame(rows, schema={**{name: clients.schema[name] for name in by}, "km_median_attempts": pl.Float64})


def _kaplan_meier(clients: pl.DataFrame) -> Any:
    return kaplan_meier(clients["n_attempts"].to_numpy(), (clients["state"] == "reached").to_numpy())


CURVE: dict[str, pl.DataType] = {
    "account_id": pl.String(),
    "attempt": pl.Int64(),
    "at_risk": pl.Int64(),
    "reached": pl.Int64(),
    "reached_share": pl.Float64(),
}


def _curve(clients: pl.DataFrame) -> pl.DataFrame:
    """Per attempt that reached somebody: how many clients got so many attempts, how many were reached by this one.

    reached_share: share of clients reached by then, had nobody been given up (S-KM).
    """
    rows = []
    for (account_id,), part in clients.sort("account_id").group_by("account_id", maintain_order=True):
        curve = _kaplan_meier(part)
        for attempt, at_risk, reached, left in zip(
            curve.times, curve.at_risk, curve.events, curve.survival, strict=True
        ):
            rows.append((account_id, int(attempt), int(at_risk), int(reached), 1 - float(left)))
    return pl.DataFrame(rows, schema=CURVE, orient="row")


def _drilldown(clients: pl.DataFrame) -> pl.DataFrame:
    """Clients given up, those with the fewest attempts first; value = attempts."""
    given_up = clients.filter(pl.col("state") == "given_up")
    kind = pl.when(pl.col("n_attempts") >= 3).then(pl.lit("3_OR_MORE")).otherwise(pl.col("n_attempts").cast(pl.String))
    return drilldown_rows(
        given_up.sort("n_attempts", "started_at", "account_id", "episode_id"),
        **card(),
        event_at="started_at",
        value="n_attempts",
        value_unit=pl.lit("n"),
        reason=pl.lit("GIVEN_UP_AFTER_") + kind,
    )


RU = Text(
    name="Попытки до дозвона",
    definition=(
        "Сколько раз нужно позвонить клиенту, чтобы поговорить, и после скольких попыток бросают. Берутся клиенты, "
        "которым в периоде звонили хоть раз; попытки считаются с первого такого звонка до первого разговора, даже "
        "если он был уже после периода. Клиента бросили, если семь дней ему никто не звонил. Если он дозвонился сам, "
        "это отдельный исход. Клиент числится за тем, кто позвонил первым."
    ),
    formula=(
        "Доля дозвона = клиенты, с которыми поговорили / клиенты, которым звонили. Медиана попыток — по "
        "Каплану–Мейеру: к этой попытке дозваниваются до половины, брошенные учтены как незавершённые. Доли брошенных "
        "после одной, двух, трёх и более попыток — от всех, кому звонили. Перерыв — медиана времени между попытками."
    ),
    pitfalls=(
        "Разговор с секретарём засчитывается как дозвон, хотя нужного человека не было: для продаж компаниям поставьте "
        "не меньше 30 секунд. «Недозвон» после одной-двух попыток — причина отказа, которой верить рано. Если до "
        "половины не дозвонились никогда, медианы нет. Клиенты последних дней ещё в работе, они отдельно."
    ),
)
EN = Text(
    name="Attempts until reach",
    definition=(
        "How many calls it takes to talk to a client, and after how many attempts people give up. Clients called at "
        "least once in the period are looked at; attempts count from the first such call to the first conversation, "
        "even if that came after the period. A client is given up after seven days without another call. If he got "
        "through himself, that is an outcome of its own. A client belongs to who called him first."
    ),
    formula=(
        "Share reached = clients talked to / clients called. The median number of attempts is by Kaplan–Meier: by this "
        "attempt half are reached, with those given up as unfinished. Shares given up after one, two, three or more "
        "attempts are of all clients called. Gap: the median time between attempts."
    ),
    pitfalls=(
        "Talking to a switchboard counts as reached though the right person was not there: take at least 30 seconds "
        "when selling to companies. “Could not reach” after one or two attempts is a loss reason too early to believe. "
        "If half are never reached there is no median. Clients of the last days are still being called; they stand "
        "apart."
    ),
)

METRIC = Metric(
    id="A12",
    text={"ru": RU, "en": EN},
    params=AttemptsParams,
    inputs=("call_episode", "user"),
    resources=("call", "user"),
    subject={"by_user": "user_id", "total": None, "curve": None, "drilldown": "user_id"},
    semantics="cohort",
    reduce=reduce,
    finish=finish,
    counted={"by_user": ("n_given_up",)},
    adds_up={"by_user": "total"},
)
