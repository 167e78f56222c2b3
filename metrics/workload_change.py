"""A10: whose work on the phone, in chats and on tasks has fallen against his own past, beside the team.

A reason for a talk, neither a diagnosis nor a sanction. Each weekly number is divided by the team's median of it, so
that seasons and lulls, which all share, vanish. Source: the metric catalogue, A10; requirement 22.
"""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
import polars as pl
from pydantic import Field

from metrics.calendar import with_worked
from metrics.call_scope import IS_ANSWERED, in_period, in_scope, with_performer, with_receiver
from metrics.metric import Frames, Metric, MetricResult, Notice, Params, Period, Text, drilldown_rows
from metrics.people import of_population, people
from metrics.presence import PRESENCE_INPUTS, present_days
from metrics.stats.series import mann_kendall, pettitt, robust_z

Lazy = nw.LazyFrame[Any]

SERIES = {
    # series: numerator, denominator (None: a median of replies), 1 where a rise is bad, -1 where a fall is
    "attempts_per_day": ("n_out", "present_d", -1),
    "talk_s_per_day": ("talk_s", "present_d", -1),
    "dial_rate": ("n_out_answered", "n_out", -1),
    "missed_rate": ("n_missed", "n_in", 1),
    "reply_s": ("reply_s", None, 1),
    "tasks_on_time_share": ("n_on_time", "n_due", -1),
}
OF_CALLS = ("attempts_per_day", "talk_s_per_day")
"""Series in which somebody who does not work by phone would be a zero among peers."""
MIN_PEERS = 3
MISSING_WEEKS = 2
"""So many weeks of a series may be unknown."""
MAX_P = 0.05
AMBER, RED = 2, 3
"""So many fallen series are a signal."""


class WorkloadChangeParams(Params):
    """Which weeks are compared, and from when on a change counts."""

    base_weeks: int = Field(default=8, ge=4)
    """Weeks of the past that the recent ones are compared with."""
    recent_weeks: int = Field(default=4, ge=2)
    """The last whole weeks of the period."""
    min_days: int = Field(default=3, ge=1, le=7)
    """A week with fewer days at work is left out."""
    drop: float = Field(default=0.25, gt=0, lt=1)
    """A series has worsened if its median changed by at least this share."""
    population: tuple[str, ...] | None = None
    """Users whose rows are shown; None: everybody's. The team's medians are everybody's all the same."""


# --- reduce: what each person did, day by day ------------------------------------------------------------------------


def reduce(frames: Frames, params: WorkloadChangeParams, period: Period) -> dict[str, Lazy]:
    """Days at work, and per person and local day: calls, talk, tasks that were due; and every reply in a chat."""
    return {
        "people": people(frames).filter(~nw.col("user_is_robot")).select("account_id", "user_id", "user_active"),
        "present": present_days(frames),
        "calls": _calls(frames),
        "tasks": _tasks(frames),
        "replies": _replies(frames),
        "clock": frames["clock"].select("account_id", "as_of_on"),
    }


def _one(which: nw.Expr) -> nw.Expr:
    return nw.when(which.fill_null(False)).then(nw.lit(1)).otherwise(nw.lit(0)).cast(nw.Int64)


COUNTS = ("n_out", "n_out_answered", "n_in", "n_missed", "talk_s")


def _calls(frames: Frames) -> Lazy:
    """Per person and day `COUNTS`; inbound calls are his who answered or was the only one rung."""
    calls = in_period(in_scope(frames), frames).with_columns(
        day=nw.col("started_local").dt.date(), is_answered=IS_ANSWERED
    )
    outbound = with_performer(calls.filter(nw.col("direction") == "out"), frames)
    inbound = with_receiver(calls.filter(nw.col("direction") == "in"), frames)
    both = nw.concat(
        [
            rows.select("account_id", "user_id", "day", "direction", "is_answered", "talk_s")
            for rows in (outbound, inbound.filter(nw.col("attribution").is_in(["answered", "rung"])))
        ]
    )
    is_out, is_answered = nw.col("direction") == "out", nw.col("is_answered")
    marked = both.filter(~nw.col("user_id").is_null()).with_columns(
        n_out=_one(is_out),
        n_out_answered=_one(is_out & is_answered),
        n_in=_one(~is_out),
        n_missed=_one(~is_out & ~is_answered),
        talk_s=nw.when(is_answered).then(nw.col("talk_s")).otherwise(nw.lit(0)),
    )
    return marked.group_by("account_id", "user_id", "day").agg(
        **{name: nw.col(name).sum().cast(nw.Int64) for name in COUNTS}
    )


def _tasks(frames: Frames) -> Lazy:
    """Per person and day: tasks due then (n_due), and those completed by then (n_on_time)."""
    col = nw.col
    is_in_time = col("completed_epoch") <= col("due_epoch")
    is_that_day = col("due_is_allday").fill_null(False) & (
        col("completed_local").dt.date() <= col("due_local").dt.date()
    )
    now = frames["clock"].select("account_id", "as_of_epoch")
    was_there = (col("created_epoch") <= col("as_of_epoch")).fill_null(True) & (
        col("deleted_epoch") > col("as_of_epoch")
    ).fill_null(True)
    known = frames["task"].join(now, on="account_id").filter(~col("due_epoch").is_null(), was_there)
    due = in_period(known, frames, "due_epoch")
    on_time = _one(is_in_time.fill_null(False) | is_that_day.fill_null(False))
    return (
        due.filter(~col("responsible_user_id").is_null())
        .select("account_id", user_id="responsible_user_id", day=col("due_local").dt.date(), on_time=on_time)
        .group_by("account_id", "user_id", "day")
        .agg(n_due=nw.len().cast(nw.Int64), n_on_time=col("on_time").sum().cast(nw.Int64))
    )


CHAT = ["account_id", "chat_id"]
ORDER = ["sent_epoch", "message_id"]


def _replies(frames: Frames) -> Lazy:
    """Per answered turn of a client (his messages in a row) the working seconds until a person wrote: reply_s.

    A chat is the client's where messages do not say of which chat they are, as amoCRM's often do not.
    """
    col = nw.col
    messages = frames["message"].with_columns(chat_id=nw.coalesce("chat_id", "contact_id", "company_id", "deal_id"))
    spoken = in_period(
        messages.filter(
            ~col("chat_id").is_null(),
            col("author").is_in(["client", "user"]),
            ~col("channel").is_in(["email", "sms"]).fill_null(False),
        ),
        frames,
        "sent_epoch",
    )
    before = col("author").shift(1).over(*CHAT, order_by=ORDER)
    begins = (col("author") == "client") & ((col("before") != "client") | col("before").is_null())
    told = spoken.with_columns(before=before).with_columns(
        begin_epoch=nw.when(begins).then(col("sent_epoch")), begin_local=nw.when(begins).then(col("sent_local"))
    )
    turns = told.with_columns(
        **{
            name: col(name).fill_null(strategy="forward").over(*CHAT, order_by=ORDER)
            for name in ("begin_epoch", "begin_local")
        }
    )
    replies = turns.filter(col("author") == "user", col("before") == "client", ~col("user_id").is_null())
    calendar = frames["clock"].select("account_id", "calendar_id")
    timed = replies.join(calendar, on="account_id")
    for stem in ("begin", "sent"):
        timed = with_worked(
            timed, frames["calendar_day"], epoch=f"{stem}_epoch", local=f"{stem}_local", into=f"w_{stem}"
        )
    return timed.select(
        "account_id", "user_id", day=col("sent_local").dt.date(), reply_s=col("w_sent") - col("w_begin")
    )


# --- finish ----------------------------------------------------------------------------------------------------------


def finish(collected: dict[str, pl.DataFrame], params: WorkloadChangeParams, period: Period) -> MetricResult:
    """Per person and series how the last weeks compare with those before; who has a signal; and the weeks."""
    mondays = _mondays(collected["clock"], params, period)
    weeks = _weeks(_weekly(collected, mondays), params)
    series = _series(weeks, params)
    shown = of_population(series, params.population)
    return METRIC.result(
        params,
        period,
        tables={
            "signals": _signals(shown),
            "series": shown,
            "weeks": of_population(weeks, params.population).drop("n_peers").sort(*KEY, "week"),
            "compared": _compared(collected["calls"], mondays, params),
        },
        drilldown=_drilldown(of_population(weeks, params.population)),
        warnings=_too_short(collected["clock"], params, period),
    )


KEY = ["account_id", "user_id", "series"]
WEEKS: dict[str, pl.DataType] = {
    "account_id": pl.String(),
    "user_id": pl.String(),
    "user_active": pl.Boolean(),
    "series": pl.String(),
    "week": pl.Date(),
    "present_d": pl.Int64(),
    "raw": pl.Float64(),
    "team_median": pl.Float64(),
    "n_peers": pl.Int64(),
    "value": pl.Float64(),
    "group_key": pl.String(),
}


def whole_weeks(period_from: date, period_to: date, as_of_on: date, n: int) -> list[date]:
    """Mondays of the last `n` weeks that lie in the period as a whole and were over by `as_of`."""
    end = min(period_to, as_of_on)
    last = end - timedelta(days=end.weekday() + 7)
    mondays = [last - timedelta(weeks=back) for back in reversed(range(n))]
    return [monday for monday in mondays if monday >= period_from]


def _mondays(clock: pl.DataFrame, params: WorkloadChangeParams, period: Period) -> pl.DataFrame:
    """The weeks looked at: account_id, week."""
    n = params.base_weeks + params.recent_weeks
    rows = [
        (account_id, monday)
        for account_id, as_of_on in clock.iter_rows()
        for monday in whole_weeks(period.period_from, period.period_to, as_of_on, n)
    ]
    return pl.DataFrame(rows, schema={"account_id": pl.String, "week": pl.Date}, orient="row")


def _compared(calls: pl.DataFrame, mondays: pl.DataFrame, params: WorkloadChangeParams) -> pl.DataFrame:
    """Per account with calls: n_weeks looked at, the first one, the first of the recent ones, and the last."""
    working = _of_weeks(calls, mondays).select("account_id").unique()
    week = pl.col("week")
    return (
        mondays.join(working, on="account_id", how="semi")
        .group_by("account_id")
        .agg(
            n_weeks=pl.len().cast(pl.Int64),
            first_week=week.min(),
            recent_week=week.max().dt.offset_by(f"-{params.recent_weeks - 1}w"),
            last_week=week.max(),
        )
        .sort("account_id")
    )


def _of_weeks(rows: pl.DataFrame, mondays: pl.DataFrame) -> pl.DataFrame:
    """`rows` of those weeks, by their `day`, with `week`, its Monday."""
    return rows.with_columns(week=pl.col("day").dt.truncate("1w")).join(mondays, on=["account_id", "week"])


def _weeks(weekly: pl.DataFrame, params: WorkloadChangeParams) -> pl.DataFrame:
    """`WEEKS`: each person's number of each series and week, the team's median, and the one over the other.

    value is null in weeks with too few days at work or too few peers.
    """
    found = [_of_series(weekly, name, params) for name in SERIES]
    return pl.concat(found).select(*WEEKS).cast(pl.Schema(WEEKS)).sort(*KEY, "week")


def _weekly(collected: dict[str, pl.DataFrame], mondays: pl.DataFrame) -> pl.DataFrame:
    """One row per person who works here and week with a day at work: present_d, and sums of what he did."""
    by = ["account_id", "user_id", "week"]

    present = _of_weeks(collected["present"], mondays).group_by(by).agg(present_d=pl.len().cast(pl.Int64))
    calls = _of_weeks(collected["calls"], mondays).group_by(by).agg(pl.col(COUNTS).sum())
    tasks = _of_weeks(collected["tasks"], mondays).group_by(by).agg(pl.col("n_due", "n_on_time").sum())
    replies = _of_weeks(collected["replies"], mondays).group_by(by).agg(pl.col("reply_s").median())
    working = collected["people"].filter("user_active")
    joined = working.join(present, on=["account_id", "user_id"])
    for rows in (calls, tasks, replies):
        joined = joined.join(rows, on=by, how="left")
    has_calls = pl.col("n_out").is_not_null()
    return joined.with_columns(
        is_caller=has_calls.mean().over("account_id", "user_id") >= 0.5,
        **{name: pl.col(name).fill_null(0) for name in (*COUNTS, "n_due", "n_on_time")},
    )


def _of_series(weekly: pl.DataFrame, name: str, params: WorkloadChangeParams) -> pl.DataFrame:
    num, den, _ = SERIES[name]
    number = pl.col(num).cast(pl.Float64)
    raw = number if den is None else number / pl.when(pl.col(den) > 0).then(pl.col(den))
    is_peer = pl.col("present_d") >= params.min_days
    if name in OF_CALLS:
        is_peer &= pl.col("is_caller")
    week = ["account_id", "week"]
    known = weekly.with_columns(series=pl.lit(name), raw=raw).with_columns(peer=pl.when(is_peer).then("raw"))
    others = pl.col("peer").count().over(week).cast(pl.Int64) - pl.col("peer").is_not_null().cast(pl.Int64)
    compared = known.with_columns(team_median=pl.col("peer").median().over(week), n_peers=others)
    is_known = (pl.col("n_peers") >= MIN_PEERS) & (pl.col("team_median") > 0)
    return compared.with_columns(
        value=pl.when(is_known).then(pl.col("peer") / pl.col("team_median")),
        group_key=pl.format("{} {}", "user_id", "series"),
    )


CHANGED: dict[str, pl.DataType] = {
    "account_id": pl.String(),
    "user_id": pl.String(),
    "series": pl.String(),
    "group_key": pl.String(),
    "n_weeks": pl.Int64(),
    "median_base": pl.Float64(),
    "median_recent": pl.Float64(),
    "ratio": pl.Float64(),
    "rz": pl.Float64(),
    "mk_z": pl.Float64(),
    "mk_p": pl.Float64(),
    "sen_slope": pl.Float64(),
    "break_week": pl.Date(),
    "break_p": pl.Float64(),
    "degraded": pl.Boolean(),
}


def _series(weeks: pl.DataFrame, params: WorkloadChangeParams) -> pl.DataFrame:
    """`CHANGED`: one row per person and series; nulls where too few weeks are known."""
    rows = [
        {"account_id": account, "user_id": user, "series": name, "group_key": f"{user} {name}"}
        | _change(part["week"].to_list(), part["value"].to_list(), SERIES[name][2], params)
        for (account, user, name), part in weeks.sort(*KEY, "week").group_by(KEY, maintain_order=True)
    ]
    return pl.DataFrame(rows, schema=CHANGED).sort(KEY)


def _change(
    weeks: Sequence[date], values: Sequence[float | None], bad: int, params: WorkloadChangeParams
) -> dict[str, Any]:
    """How the last weeks of one series compare with those before. values: by week, null where not known.

    A break week is the first week of the new level.
    """
    known = [(week, value) for week, value in zip(weeks, values, strict=True) if value is not None]
    unknown = dict.fromkeys(name for name in CHANGED if name not in {*KEY, "group_key", "n_weeks"})
    nothing: dict[str, Any] = {"n_weeks": len(known), **unknown}
    if not weeks or len(known) < params.base_weeks + params.recent_weeks - MISSING_WEEKS:
        return nothing
    first_recent = weeks[-1] - timedelta(weeks=params.recent_weeks - 1)
    base = [value for week, value in known if week < first_recent]
    recent = [value for week, value in known if week >= first_recent]
    if not base or not recent:
        return nothing
    every = [value for _, value in known]
    was, now = float(np.median(base)), float(np.median(recent))
    ratio = now / was - 1 if was else None
    trend, broken = mann_kendall(every), pettitt(every)
    is_worse = ratio is not None and ratio * bad >= params.drop and trend.p < MAX_P
    return {
        "n_weeks": len(known),
        "median_base": was,
        "median_recent": now,
        "ratio": ratio,
        "rz": robust_z(now, base),
        "mk_z": trend.z,
        "mk_p": trend.p,
        "sen_slope": trend.slope,
        "break_week": known[broken[1]][0] if broken else None,
        "break_p": broken[2] if broken else None,
        "degraded": is_worse,
    }


def _signals(series: pl.DataFrame) -> pl.DataFrame:
    """Per person: series with enough weeks, those that have worsened, and the signal (amber, red, or null)."""
    n = pl.col("n_degraded")
    return (
        series.group_by("account_id", "user_id")
        .agg(
            n_series=pl.col("degraded").count().cast(pl.Int64),
            n_degraded=pl.col("degraded").fill_null(False).sum().cast(pl.Int64),
        )
        .with_columns(signal=pl.when(n >= RED).then(pl.lit("red")).when(n >= AMBER).then(pl.lit("amber")))
        .sort(["n_degraded", "n_series", "account_id", "user_id"], descending=[True, True, False, False])
    )


def _drilldown(weeks: pl.DataFrame) -> pl.DataFrame:
    """Every known week of every series; value = the person's number over the team's median."""
    return drilldown_rows(
        weeks.filter(pl.col("value").is_not_null()),
        entity_kind=pl.lit("week"),
        entity_id=pl.format("week:{}", "week"),
        client_id=pl.lit(None, pl.String),
        event_at=pl.lit(None, pl.Datetime("us", "UTC")),
        value_unit=pl.lit("n"),
        reason=pl.col("series").str.to_uppercase(),
    )


def _too_short(clock: pl.DataFrame, params: WorkloadChangeParams, period: Period) -> tuple[Notice, ...]:
    """Says where the period holds too few whole weeks."""
    n = params.base_weeks + params.recent_weeks
    found = [len(whole_weeks(period.period_from, period.period_to, day, n)) for day in clock["as_of_on"]]
    if not found or min(found) >= n - MISSING_WEEKS:
        return ()
    return (
        Notice(
            "few_weeks",
            f"В периоде только {min(found)} полных недель, нужно {n}: выберите период длиннее.",
            f"The period holds only {min(found)} whole weeks, {n} are needed: choose a longer one.",
        ),
    )


RU = Text(
    name="Сигнал выгорания",
    definition=(
        "У кого из менеджеров работа заметно изменилась к худшему против его же прошлого. Шесть недельных рядов: "
        "исходящие звонки и время разговоров за рабочий день, доля дозвонов, доля пропущенных, время ответа в чатах, "
        "доля задач, сделанных в срок. Каждое число делится на медиану команды за ту же неделю: сезон и затишье, общие "
        "для всех, уходят. Последние 4 недели сравниваются с 8 предыдущими. Ухудшились два ряда — жёлтый сигнал, три и "
        "больше — красный. Это повод поговорить, а не диагноз и не взыскание."
    ),
    formula=(
        "Изменение = медиана последних недель / медиана прежних − 1. Ряд ухудшился, если изменение не меньше 25 % в "
        "плохую сторону и за все 12 недель виден устойчивый ход вниз (Манн–Кендалл, p < 0,05). Недели, где человек был "
        "на работе меньше трёх дней, и недели без трёх коллег для сравнения не учитываются; нужны 10 недель из 12."
    ),
    pitfalls=(
        "Отпуск, передача клиентов, новая территория, обучение новичка выглядят так же: сначала спросите. Смена "
        "телефонии меняет числа у всех сразу — посмотрите медиану команды. Если отпуска не заведены в календарь, "
        "неделя отпуска выглядит падением. В маленькой команде медиану двигает один человек. Чаты, на которые не "
        "ответили, во время ответа не входят."
    ),
)
EN = Text(
    name="Burnout signal",
    definition=(
        "Whose work has changed for the worse against his own past. Six weekly series: outbound calls and talk time "
        "per day at work, share of calls that got through, share of missed calls, time to reply in chats, share of "
        "tasks done in time. Each number is divided by the team's median of that week: seasons and lulls, which all "
        "share, vanish. The last 4 weeks are compared with the 8 before. Two series for the worse are an amber signal, "
        "three or more a red one. A reason for a talk, neither a diagnosis nor a sanction."
    ),
    formula=(
        "Change = median of the last weeks / median of those before − 1. A series has worsened if the change is at "
        "least 25 % in the bad direction and all 12 weeks show a steady trend (Mann–Kendall, p < 0.05). Weeks with "
        "fewer than three days at work, and weeks without three colleagues to compare with, do not count; 10 weeks of "
        "12 are needed."
    ),
    pitfalls=(
        "A holiday, clients handed over, a new territory, teaching a newcomer look the same: ask first. A change of "
        "telephony moves everybody's numbers at once: look at the team's median. Where holidays are not entered, a "
        "week of holiday looks like a fall. In a small team one person moves the median. Chats nobody answered are not "
        "in the time to reply."
    ),
)

METRIC = Metric(
    id="A10",
    text={"ru": RU, "en": EN},
    params=WorkloadChangeParams,
    inputs=tuple(dict.fromkeys(("call_episode", "message", "task", *PRESENCE_INPUTS))),
    resources=("call", "user", "task"),
    subject={"signals": "user_id", "series": "user_id", "weeks": "user_id", "compared": None, "drilldown": "user_id"},
    semantics="flow",
    reduce=reduce,
    finish=finish,
    default_period_d=91,
    counted={"series": ("n_weeks",)},
)
