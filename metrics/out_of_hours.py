"""A5: calls missed in the evening, at night and on days off, the clients lost by them, and the money at risk.

Missed calls are those of A2, clients nobody reached come from the missed threads of A3 (`metrics.missed_threads`), the
chance of a sale from competing outcomes (S-AJ, E4). Source: the metric catalogue, A5.
"""

from typing import Any

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
    with_outsiders,
    with_receiver,
)
from metrics.channels import calls_only_notices, message_coverage
from metrics.funnel import DAY_S, fates
from metrics.metric import Frames, Metric, MetricResult, Notice, Params, Period, Text, drilldown_rows
from metrics.missed_threads import missed_threads
from metrics.people import of_population
from metrics.rates import MIN_N, low_n, rate_columns
from metrics.stats.survival import aalen_johansen

Lazy = nw.LazyFrame[Any]


class OutOfHoursParams(Params):
    """When a client counts as lost, and which deals tell what he was worth."""

    contact_days: int = Field(default=2, ge=0)
    """Lost = no contact by the end of so many working days after the day of the missed call."""
    short_abandon_s: int = Field(default=SHORT_ABANDON_S, ge=0)
    """Unanswered calls of a known wait below so many seconds are neither missed nor counted."""
    horizon_d: int = Field(default=90, ge=1)
    """A deal is won or it is not, within so many days of its creation."""
    deals_d: int = Field(default=365, ge=1)
    """Deals created, and deals won, in so many days before `as_of` tell the conversion and the mean amount."""
    min_n: int = Field(default=MIN_N, ge=0)
    """Below so many deals the conversion says nothing, and money at risk is not known."""
    population: tuple[str, ...] | None = None
    """Users whose calls are counted; None: everybody's. The conversion is everybody's all the same."""


# --- reduce ----------------------------------------------------------------------------------------------------------


def reduce(frames: Frames, params: OutOfHoursParams, period: Period) -> dict[str, Lazy]:
    """Inbound calls counted by kind of time, missed threads with what became of them, and deals with their fates."""
    return {
        "counts": _counts(frames, params),
        "threads": _threads(frames).select(*THREADS),
        "deals": _deals(frames, params),
        "won": _won(frames, params),
        "coverage": message_coverage(frames),
    }


def _counts(frames: Frames, params: OutOfHoursParams) -> Lazy:
    """Inbound calls (n) and missed ones (num) per manager and kind of time."""
    inbound = in_period(in_scope(frames).filter(nw.col("direction") == "in"), frames)
    counted = with_receiver(with_hours(inbound, frames), frames).filter(~is_short(params.short_abandon_s))
    missed = nw.when(IS_MISSED).then(nw.lit(1)).otherwise(nw.lit(0))
    return counted.group_by("account_id", "user_id", "hours").agg(
        n=nw.len().cast(nw.Int64), num=missed.sum().cast(nw.Int64)
    )


def _threads(frames: Frames) -> Lazy:
    """Missed threads begun in the period, with `hours`, is_new, and how many working days later was the contact.

    contact_days, known_days: working days that began after the day of the missed call, up to the day of the contact,
    and of `as_of`.
    """
    col = nw.col
    begun = in_period(missed_threads(frames), frames, "first_missed_epoch")
    now = frames["clock"].select("account_id", "as_of_local")
    threads = with_hours(begun, frames, "first_missed").join(now, on="account_id")
    for stem in ("first_missed", "resolved", "as_of"):
        threads = _with_working_day_no(threads, frames, stem)
    return _with_first_call(threads, frames).with_columns(
        caller=nw.coalesce("client_id", "phone_key"),
        contact_days=col("resolved_no") - col("first_missed_no"),
        known_days=col("as_of_no") - col("first_missed_no"),
        open_s=nw.coalesce("resolved_epoch", "as_of_epoch") - col("first_missed_epoch"),
    )


def _with_working_day_no(rows: Lazy, frames: Frames, stem: str) -> Lazy:
    """`rows` with `<stem>_no`: how many working days there were up to that local day, this one included."""
    calendar = frames["clock"].select("account_id", "calendar_id")
    is_working = nw.when(nw.col("is_working")).then(nw.lit(1)).otherwise(nw.lit(0))
    numbered = (
        frames["calendar_day"]
        .join(calendar, on=["account_id", "calendar_id"])
        .select("account_id", "day", one=is_working)
        .with_columns(day_no=nw.col("one").cum_sum().over("account_id", order_by="day").cast(nw.Int64))
        .select("account_id", day="day", **{f"{stem}_no": nw.col("day_no")})
    )
    return (
        rows.with_columns(day=nw.col(f"{stem}_local").dt.date())
        .join(numbered, on=["account_id", "day"], how="left")
        .drop("day")
    )


def _with_first_call(threads: Lazy, frames: Frames) -> Lazy:
    """`threads` with is_new: before it there was no call with this caller, no other contact and no sale."""
    col = nw.col
    calls = with_outsiders(frames).select("account_id", "thread_key", "started_epoch", thread_id="episode_id")
    first = calls.group_by("account_id", "thread_key").agg(first_call_epoch=col("started_epoch").min())
    of_thread = calls.drop("started_epoch").join(first, on=["account_id", "thread_key"]).drop("thread_key")
    known = frames["client"].select("account_id", "client_id", "first_touch_epoch", "first_won_epoch")
    begin = col("first_missed_epoch")
    was_there = (
        (col("first_call_epoch") < begin).fill_null(False)
        | (col("first_touch_epoch") < begin).fill_null(False)
        | (col("first_won_epoch") < begin).fill_null(False)
    )
    return (
        threads.join(of_thread, on=["account_id", "thread_id"], how="left")
        .join(known, on=["account_id", "client_id"], how="left")
        .with_columns(is_new=~was_there)
    )


THREADS = (
    "account_id",
    "thread_id",
    "user_id",
    "client_id",
    "caller",
    "deal_id",
    "card_kind",
    "card_id",
    "hours",
    "state",
    "first_missed_at",
    "is_new",
    "contact_days",
    "known_days",
    "open_s",
)


def _sold_by_us(frames: Frames) -> Lazy:
    """Deals of pipelines that sell (R-ENTITY), with `as_of_epoch`."""
    now = frames["clock"].select("account_id", "as_of_epoch")
    is_sale = (nw.col("entity_kind") == "deal") & nw.col("is_sales")
    return frames["deal_state"].filter(is_sale).join(now, on="account_id")


def _deals(frames: Frames, params: OutOfHoursParams) -> Lazy:
    """How each recent deal ended and after how long (E4); a deal is one, whatever pipelines it went through."""
    since = nw.col("as_of_epoch") - params.deals_d * DAY_S
    recent = _sold_by_us(frames).filter(nw.col("created_epoch") >= since)
    members = recent.drop("as_of_epoch").with_columns(start_epoch="created_epoch", ended_epoch="outcome_epoch")
    return fates(members, frames["clock"]).select("account_id", "outcome", "lasted_s")


def _won(frames: Frames, params: OutOfHoursParams) -> Lazy:
    """Number and sum of recent wins of a known amount."""
    is_recent = nw.col("outcome_epoch") >= nw.col("as_of_epoch") - params.deals_d * DAY_S
    won = _sold_by_us(frames).filter(nw.col("outcome") == "won", is_recent, ~nw.col("amount_minor").is_null())
    return won.group_by("account_id").agg(
        n_won=nw.len().cast(nw.Int64), won_minor=nw.col("amount_minor").sum().cast(nw.Int64)
    )


# --- finish ----------------------------------------------------------------------------------------------------------


def finish(collected: dict[str, pl.DataFrame], params: OutOfHoursParams, period: Period) -> MetricResult:
    """Missed calls and lost clients per kind of time, together for all time outside hours, and the threads."""
    threads = _judged(of_population(collected["threads"], params.population), params.contact_days)
    counts = of_population(collected["counts"], params.population).with_columns(group_key=HOURS_KEY)
    worth = _worth(collected["deals"], collected["won"], params)
    is_out = pl.col("hours").is_in(HOURS[1:])
    classes = _counted(counts, threads, worth, ["account_id", "hours", "group_key"], params)
    return METRIC.result(
        params,
        period,
        tables={
            "classes": classes.sort("account_id", pl.col("hours").replace_strict(PLACE, default=None)),
            "out_of_hours": _counted(counts.filter(is_out), threads.filter(is_out), worth, ["account_id"], params),
            "conversion": worth.sort("account_id"),
        },
        drilldown=_drilldown(threads.filter(is_out)),
        warnings=(
            *calls_only_notices(
                collected["coverage"],
                ru="Клиент, которому только написали, считается потерянным.",
                en="A client who was only written to counts as lost.",
            ),
            *_unknown_money(classes, worth),
        ),
    )


PLACE = {hours: place for place, hours in enumerate(HOURS)}
HOURS_KEY = pl.col("hours").fill_null("unknown")


def _judged(threads: pl.DataFrame, contact_days: int) -> pl.DataFrame:
    """`threads` with is_pending (it is too early to tell) and is_lost: nobody was in touch in time."""
    in_time = (pl.col("contact_days") <= contact_days).fill_null(False)
    is_early = (pl.col("known_days") <= contact_days).fill_null(True)
    return threads.with_columns(group_key=HOURS_KEY, is_pending=~in_time & is_early, is_lost=~in_time & ~is_early)


def _worth(deals: pl.DataFrame, won: pl.DataFrame, params: OutOfHoursParams) -> pl.DataFrame:
    """Per account with recent deals: n, conversion within the horizon (S-AJ), mean_won_minor, low_n."""
    rows = [
        {"account_id": account, "n": part.height, "conversion": _conversion(part, params.horizon_d)}
        for (account,), part in deals.group_by("account_id", maintain_order=True)
    ]
    found = pl.DataFrame(rows, schema={"account_id": pl.String, "n": pl.Int64, "conversion": pl.Float64})
    return found.join(won, on="account_id", how="left").select(
        "account_id",
        "n",
        "conversion",
        pl.col("n_won").fill_null(0),
        (pl.col("won_minor") / pl.col("n_won")).alias("mean_won_minor"),
        low_n("n", min_n=params.min_n),
    )


def _conversion(deals: pl.DataFrame, horizon_d: int) -> float:
    ended = pl.when(pl.col("outcome").is_in(["won", "lost"])).then("outcome")
    causes = deals.select(cause=ended)["cause"].to_list()
    return aalen_johansen(deals["lasted_s"].to_numpy(), causes).at(horizon_d * DAY_S, "won")


def _counted(
    counts: pl.DataFrame, threads: pl.DataFrame, worth: pl.DataFrame, by: list[str], params: OutOfHoursParams
) -> pl.DataFrame:
    """Per group of `by`: calls (den) and missed ones (num), clients lost, how many of those called for the first time.

    n_listed: threads outside working hours, as in the drill-down. money_at_risk_minor: null where nobody can tell.
    """
    lost, is_out = pl.col("is_lost"), pl.col("hours").is_in(HOURS[1:])
    clients = threads.group_by(by).agg(
        n_listed=is_out.sum().cast(pl.Int64),
        n_pending=pl.col("is_pending").sum().cast(pl.Int64),
        n_clients=pl.col("caller").n_unique().cast(pl.Int64),
        lost_clients=pl.col("caller").filter(lost).n_unique().cast(pl.Int64),
        new_callers=pl.col("caller").filter(lost & pl.col("is_new")).n_unique().cast(pl.Int64),
    )
    names = ("n_listed", "n_pending", "n_clients", "lost_clients", "new_callers")
    is_known = ~pl.col("worth_low_n")
    money = pl.when(is_known).then(pl.col("new_callers") * pl.col("conversion") * pl.col("mean_won_minor"))
    known = worth.select("account_id", "conversion", "mean_won_minor", worth_low_n="low_n")
    return (
        counts.group_by(by)
        .agg(den=pl.col("n").sum(), num=pl.col("num").sum())
        .join(clients, on=by, how="full", coalesce=True, nulls_equal=True)
        .with_columns(pl.col("num", "den", *names).fill_null(0))
        .with_columns(*rate_columns(), low_n(min_n=params.min_n), *rate_columns("new_callers", "lost_clients", "new_"))
        .join(known, on="account_id", how="left")
        .with_columns(money_at_risk_minor=money.round(0, mode="half_to_even").cast(pl.Int64))
        .drop("conversion", "mean_won_minor", "worth_low_n")
        .sort(by, nulls_last=True)
    )


def _unknown_money(classes: pl.DataFrame, worth: pl.DataFrame) -> tuple[Notice, ...]:
    """Says of which accounts nobody can tell what the lost callers were worth."""
    is_known = ~pl.col("low_n") & pl.col("mean_won_minor").is_not_null()
    known = worth.filter(is_known)["account_id"].to_list()
    silent = classes.filter(~pl.col("account_id").is_in(known))["account_id"].unique().sort()
    return tuple(
        Notice(
            "money_unknown",
            f"Денег под риском в аккаунте «{account}» не посчитать: за год слишком мало сделок.",
            f"Money at risk of account “{account}” cannot be told: it had too few deals in a year.",
        )
        for account in silent
    )


def _drilldown(threads: pl.DataFrame) -> pl.DataFrame:
    """Threads begun outside working hours, the oldest first; value = hours until a contact, or so far."""
    reason = (
        pl.when(pl.col("is_lost") & pl.col("is_new"))
        .then(pl.lit("LOST_NEW_CALLER"))
        .when("is_lost")
        .then(pl.lit("LOST_CLIENT"))
        .when("is_pending")
        .then(pl.lit("PENDING"))
        .otherwise(pl.lit("REACHED"))
    )
    return drilldown_rows(
        threads.sort("first_missed_at", "account_id", "thread_id"),
        **card(),
        event_at="first_missed_at",
        value=pl.col("open_s") / 3600,
        value_unit=pl.lit("h"),
        reason=reason,
    )


RU = Text(
    name="Пропущенные в нерабочее время и выходные",
    definition=(
        "Сколько звонков пришло вечером, ночью и в выходные, сколько из них пропущено и скольких клиентов так "
        "потеряли. Вечер и ночь — рабочий день вне рабочих часов; выходной — день без рабочих часов по календарю. "
        "Клиент потерян, если до конца второго рабочего дня после пропущенного звонка с ним никто не связался: ни мы "
        "не дозвонились и не написали, ни он сам. Впервые звонивший — с ним раньше не было ни звонка, ни другого "
        "общения, ни покупки."
    ),
    formula=(
        "Доля пропущенных = пропущенные / входящие, отдельно для каждого времени. Деньги под риском = потерянные "
        "впервые звонившие × доля сделок, выигранных за 90 дней (с учётом ещё не завершённых) × средняя сумма "
        "выигранной сделки; сделки — за последний год."
    ),
    pitfalls=(
        "Проверьте календарь и часовой пояс: рабочая суббота после переноса праздника — рабочий день, а чужой "
        "часовой пояс превращает утро в ночь. Деньги под риском — оценка: звонящие ночью могут покупать реже "
        "остальных. Если сделок меньше десяти, денег не видно вовсе — это не ноль. Впервые звонивший виден, только "
        "если история звонков загружена. Скрытые номера входят в число пропущенных, но не клиентов."
    ),
)
EN = Text(
    name="Out-of-hours and weekend missed",
    definition=(
        "How many calls came in the evening, at night and on days off, how many of them were missed, and how many "
        "clients were lost by that. Evening and night: a working day outside its hours; a day off: a day without any "
        "in the calendar. A client is lost if by the end of the second working day after the missed call there was no "
        "contact: neither did we get through or write, nor did he get through himself. A first-time caller had no call "
        "before, no other contact and no purchase."
    ),
    formula=(
        "Missed rate = missed / inbound, for each kind of time. Money at risk = lost first-time callers × share of "
        "deals won within 90 days (unfinished ones accounted for) × mean amount of a won deal; deals of the last year."
    ),
    pitfalls=(
        "Check calendar and time zone: a Saturday worked for a transferred holiday is a working day, and a wrong zone "
        "turns mornings into nights. Money at risk is an estimate: who calls at night may buy less often than others. "
        "With fewer than ten deals no money is shown; that is not zero. A first-time caller is seen only where the "
        "history of calls is loaded. Hidden numbers are among the missed calls, but not among the clients."
    ),
)

METRIC = Metric(
    id="A5",
    text={"ru": RU, "en": EN},
    params=OutOfHoursParams,
    inputs=("call_episode", "touch", "user", "coverage", "calendar_day", "client", "deal_state"),
    resources=("call", "user", "deal"),
    subject={"classes": None, "out_of_hours": None, "conversion": None, "drilldown": "user_id"},
    semantics="cohort",
    reduce=reduce,
    finish=finish,
    counted={"classes": ("n_listed",)},
)
