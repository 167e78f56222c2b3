"""A4: how soon clients who did not get through are called back, and how often within the promised time.

What a missed thread is: `metrics.missed_threads`. Source: the metric catalogue, A4.
"""

from collections.abc import Sequence
from typing import Any

import narwhals.stable.v2 as nw
import polars as pl
from pydantic import Field

from metrics.calendar import with_worked
from metrics.call_scope import card, in_period
from metrics.channels import calls_only_notices, message_coverage
from metrics.metric import Frames, Metric, MetricResult, Params, Period, Text, drilldown_rows
from metrics.missed_threads import missed_threads
from metrics.people import group_key, of_population
from metrics.rates import MIN_N, low_n, ranked, rate_columns
from metrics.stats.survival import kaplan_meier
from metrics.team import MIN_EFFECT, compared

Lazy = nw.LazyFrame[Any]


class CallbackParams(Params):
    """What closes a thread, and how soon somebody has to react."""

    sla_s: int = Field(default=900, ge=0)
    """Working seconds within which the first attempt or message has to come."""
    messages_close: bool = True
    """An outbound message by a person closes a thread, and is a reaction."""
    any_user: bool = True
    """Anybody's call or message counts; else only one by the manager of the client's latest missed call."""
    min_effect: float = Field(default=MIN_EFFECT, ge=0, le=1)
    """A manager is flagged if his share in time differs from the others' by at least so much."""
    min_n: int = Field(default=MIN_N, ge=0)
    """Below so many threads a row is neither ranked nor compared."""
    population: tuple[str, ...] | None = None
    """Users whose threads are counted; None: everybody's. They are compared with everybody all the same."""


# --- reduce: one row per thread, with working and wall seconds -------------------------------------------------------


def reduce(frames: Frames, params: CallbackParams, period: Period) -> dict[str, Lazy]:
    """Threads whose first missed call fell into the period, with the seconds until each thing happened."""
    threads = missed_threads(frames, messages_close=params.messages_close, any_user=params.any_user)
    begun = in_period(threads, frames, "first_missed_epoch")
    return {
        "threads": _timed(_with_calendar(begun, frames), frames).select(*THREADS),
        "coverage": message_coverage(frames),
    }


def _with_calendar(threads: Lazy, frames: Frames) -> Lazy:
    """`threads` with `calendar_id`: the manager's own where he has one, else the account's."""
    own = frames["user"].select("account_id", "user_id", own_calendar="calendar_id")
    usual = frames["clock"].select("account_id", "as_of_local", account_calendar="calendar_id")
    return (
        threads.join(own, on=["account_id", "user_id"], how="left")
        .join(usual, on="account_id")
        .with_columns(calendar_id=nw.coalesce("own_calendar", "account_calendar"))
    )


INSTANTS = {"first_missed": "begin", "first_outbound": "outbound", "resolved": "resolved", "as_of": "now"}


def _timed(threads: Lazy, frames: Frames) -> Lazy:
    """`threads` with working (`_work_s`) and wall (`_wall_s`) seconds from the first missed call.

    `outbound_*`: to our first attempt or message; `resolved_*`: to the contact that closed it; `now_*`: to `as_of`.
    """
    for stem, short in INSTANTS.items():
        threads = with_worked(
            threads,
            frames["calendar_day"],
            epoch=f"{stem}_epoch",
            local=f"{stem}_local",
            into=f"w_{short}",
        )
    later = [(stem, short) for stem, short in INSTANTS.items() if short != "begin"]
    return threads.with_columns(
        **{f"{short}_work_s": nw.col(f"w_{short}") - nw.col("w_begin") for _, short in later},
        **{f"{short}_wall_s": nw.col(f"{stem}_epoch") - nw.col("first_missed_epoch") for stem, short in later},
    )


THREADS = (
    "account_id",
    "thread_id",
    "client_id",
    "user_id",
    "user_active",
    "deal_id",
    "card_kind",
    "card_id",
    "state",
    "first_missed_at",
    "first_outbound_at",
    "resolved_at",
    "n_attempts",
    *(f"{short}_{kind}_s" for short in ("outbound", "resolved", "now") for kind in ("work", "wall")),
)


# --- finish ----------------------------------------------------------------------------------------------------------


def finish(collected: dict[str, pl.DataFrame], params: CallbackParams, period: Period) -> MetricResult:
    """Times and shares per manager and account, the threads, and those nobody reacted to in time."""
    everybodys = _judged(collected["threads"], params.sla_s)
    threads = of_population(everybodys, params.population)
    is_of_team = pl.col("user_id").is_not_null() & pl.col("user_active")
    by_user = compared(
        _counted(everybodys, ["account_id", "user_id", "user_active", "group_key"], params),
        "num",
        "den",
        within=["account_id"],
        tested=~pl.col("low_n"),
        in_team=is_of_team,
        min_effect=params.min_effect,
    )
    return METRIC.result(
        params,
        period,
        tables={
            "by_user": _slowest_first(of_population(by_user, params.population)),
            "total": _counted(threads, ["account_id"], params).sort("account_id"),
            "threads": threads.with_columns(**card())
            .select(*THREAD_TABLE)
            .sort("account_id", "first_missed_at", "thread_id"),
        },
        drilldown=_drilldown(threads),
        warnings=calls_only_notices(
            collected["coverage"],
            ru="Клиент, которому ответили сообщением, считается ждущим ответа.",
            en="A client who was answered by a message counts as waiting.",
        )
        if params.messages_close
        else (),
    )


THREAD_TABLE = (
    *(name for name in THREADS if not name.startswith("card_")),
    "sla_state",
    "group_key",
    "entity_kind",
    "entity_id",
)


def _judged(threads: pl.DataFrame, sla_s: int) -> pl.DataFrame:
    """`threads` with sla_state: in_time, late, none (no reaction at all), or null: not judged.

    Not judged are threads whose deadline is still to come, and those the client closed himself before it.
    """
    is_due = pl.col("now_work_s") >= sla_s
    by_client = (pl.col("state") == "client_recovered") & (pl.col("resolved_work_s") < sla_s)
    is_judged = (is_due & ~by_client.fill_null(False)).fill_null(False)
    has_reacted = pl.col("outbound_work_s").is_not_null()
    state = (
        pl.when(~is_judged)
        .then(pl.lit(None, pl.String))
        .when(has_reacted & (pl.col("outbound_work_s") <= sla_s))
        .then(pl.lit("in_time"))
        .when(has_reacted)
        .then(pl.lit("late"))
        .otherwise(pl.lit("none"))
    )
    return threads.with_columns(group_key(), sla_state=state)


def _counted(threads: pl.DataFrame, by: Sequence[str], params: CallbackParams) -> pl.DataFrame:
    """Per group: threads (n), the rate within the deadline (num of den), n_breached, and the times."""
    counts = (
        threads.group_by(by)
        .agg(
            n=pl.len().cast(pl.Int64),
            num=(pl.col("sla_state") == "in_time").sum().cast(pl.Int64),
            den=pl.col("sla_state").count().cast(pl.Int64),
            n_breached=pl.col("sla_state").is_in(["late", "none"]).sum().cast(pl.Int64),
        )
        .with_columns(*rate_columns(), low_n(min_n=params.min_n))
    )
    return counts.join(_times(threads, by), on=by, how="left", nulls_equal=True)


TIMES: dict[str, pl.DataType] = {
    "km_median_attempt_s": pl.Float64(),
    "km_lo_attempt_s": pl.Float64(),
    "km_hi_attempt_s": pl.Float64(),
    "p90_attempt_s": pl.Float64(),
    "km_median_attempt_wall_s": pl.Float64(),
    "km_median_contact_s": pl.Float64(),
    "p90_contact_s": pl.Float64(),
    "km_median_contact_wall_s": pl.Float64(),
}


def _times(threads: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
    """`TIMES` per group, by Kaplan–Meier: who was not called back yet, or called again himself, is censored then."""
    rows = [
        dict(zip(by, key, strict=True)) | _times_of(part) for key, part in threads.group_by(by, maintain_order=True)
    ]
    return pl.DataFrame(rows, schema={**{name: threads.schema[name] for name in by}, **TIMES})


def _times_of(threads: pl.DataFrame) -> dict[str, float | None]:
    work, wall = (_curves(threads, kind) for kind in ("work", "wall"))
    lo, hi = work["attempt"].quantile_ci()
    return {
        "km_median_attempt_s": work["attempt"].median,
        "km_lo_attempt_s": lo,
        "km_hi_attempt_s": hi,
        "p90_attempt_s": work["attempt"].quantile(0.9),
        "km_median_attempt_wall_s": wall["attempt"].median,
        "km_median_contact_s": work["contact"].median,
        "p90_contact_s": work["contact"].quantile(0.9),
        "km_median_contact_wall_s": wall["contact"].median,
    }


def _curves(threads: pl.DataFrame, kind: str) -> dict[str, Any]:
    """S-KM of the time to our first reaction (attempt) and to the contact we made (contact)."""
    reacted, resolved, now = (pl.col(f"{what}_{kind}_s") for what in ("outbound", "resolved", "now"))
    is_ours = pl.col("state").is_in(["called_back", "messaged"])
    known = threads.select(
        attempt=pl.coalesce(reacted, resolved, now),
        has_attempt=reacted.is_not_null(),
        contact=pl.coalesce(resolved, now),
        has_contact=is_ours,
    ).drop_nulls()
    return {
        what: kaplan_meier(known[what].to_numpy(), known[f"has_{what}"].to_numpy()) for what in ("attempt", "contact")
    }


def _slowest_first(by_user: pl.DataFrame) -> pl.DataFrame:
    """Who is in time least comes first (R-SORT); the ranks of `ranked` are of a rate that is bad when high."""
    late = pl.col("n_breached") / pl.when(pl.col("den") > 0).then(pl.col("den"))
    return ranked(by_user.with_columns(_late=late), "_late", "den", "account_id", "user_id").drop("_late")


def _drilldown(threads: pl.DataFrame) -> pl.DataFrame:
    """Threads that breached the deadline, the oldest first; value = working seconds to the reaction, or so far."""
    breached = threads.filter(pl.col("sla_state").is_in(["late", "none"]))
    reasons = {"late": "LATE_CALLBACK", "none": "NO_CALLBACK"}
    return drilldown_rows(
        breached.sort("first_missed_at", "account_id", "thread_id"),
        **card(),
        event_at="first_missed_at",
        value=pl.coalesce("outbound_work_s", "resolved_work_s", "now_work_s"),
        value_unit=pl.lit("s"),
        reason=pl.col("sla_state").replace_strict(reasons, return_dtype=pl.String),
    )


RU = Text(
    name="Время перезвона, SLA перезвона",
    definition=(
        "Как быстро перезванивают клиентам, которые не дозвонились. Отсчёт идёт от первого пропущенного звонка "
        "клиента, в рабочих секундах: позвонили в 17:50, а день кончается в 18:00 — к 9:20 утра прошло полчаса. "
        "Реакция — первая наша попытка дозвониться или сообщение от человека; контакт — когда дозвонились или "
        "написали. Срок (SLA) по умолчанию 15 рабочих минут."
    ),
    formula=(
        "Доля в срок = обращения с реакцией не позже срока / обращения, срок которых уже прошёл, кроме тех, где "
        "клиент до срока дозвонился сам. Медиана времени — по Каплану–Мейеру: обращения, где реакции ещё нет или "
        "клиент дозвонился сам, учтены как незавершённые, а не выброшены. Рядом календарное время."
    ),
    pitfalls=(
        "Среднее только по состоявшимся перезвонам скрывает те, которых не было: здесь они в знаменателе. Если "
        "реакции нет у половины, медианы нет — это не ноль. Обращение числится за тем, у кого звонил телефон, если "
        "звонил у одного; иначе за ответственным клиента; за уволенного отвечает нынешний ответственный. Время "
        "считается по календарю менеджера, если он задан, иначе по календарю аккаунта: проверьте часы и праздники."
    ),
)
EN = Text(
    name="Callback time and callback SLA",
    definition=(
        "How soon clients who did not get through are called back. Counted from the client's first missed call in "
        "working seconds: called at 17:50 with the day ending at 18:00, half an hour has passed by 9:20 next morning. "
        "A reaction is our first attempt to call, or a message by a person; a contact is getting through or writing. "
        "The deadline (SLA) is 15 working minutes unless set otherwise."
    ),
    formula=(
        "Share in time = threads with a reaction by the deadline / threads whose deadline has passed, except those "
        "where the client got through himself before it. The median time is by Kaplan–Meier: threads without a "
        "reaction yet, or closed by the client himself, count as unfinished instead of being dropped. Wall-clock time "
        "stands beside."
    ),
    pitfalls=(
        "A mean of the callbacks that were made hides those that were not: here they are in the denominator. If half "
        "have no reaction there is no median; that is not zero. A thread belongs to the one whose phone rang, if only "
        "one did; else to the client's responsible; for who has left the present responsible answers. Time runs by "
        "the manager's calendar where one is set, else by the account's: check hours and holidays."
    ),
)

METRIC = Metric(
    id="A4",
    text={"ru": RU, "en": EN},
    params=CallbackParams,
    inputs=("call_episode", "touch", "user", "coverage", "calendar_day"),
    resources=("call", "user"),
    subject={"by_user": "user_id", "total": None, "threads": "user_id", "drilldown": "user_id"},
    semantics="cohort",
    reduce=reduce,
    finish=finish,
    includes_today=True,
    counted={"by_user": ("n_breached",)},
    adds_up={"by_user": "total"},
)
