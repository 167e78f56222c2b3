"""E14: how fast new leads are answered, and what becomes of those answered sooner and later.

The clock of a lead starts with its creation, or with the form or request that it was made of if that came earlier, and
stops at the first call or message by a person (`attempt`), or at the first talk or reply of the client (`contact`).

Source: the metric catalogue, E14.
"""

from typing import Any, Literal

import narwhals.stable.v2 as nw
import polars as pl
from pydantic import Field

from metrics.calendar import with_working_time
from metrics.channels import calls_only_notices, message_coverage
from metrics.funnel import DEAL
from metrics.funnel_scope import FLAG, INT, REAL, TEXT, FunnelParams, Lazy, deal_rows, rates, shaped
from metrics.metric import Frames, Metric, MetricResult, Period, Text
from metrics.people import group_key, of_population, with_user_flags
from metrics.rates import MIN_N, low_n, ranked, rate_columns
from metrics.stage_clock import with_calendar
from metrics.stats.survival import kaplan_meier
from metrics.team import COMPARED, compared

CLIENT = ["account_id", "client_id"]
BUCKETS: dict[str, float] = {"1m": 60, "5m": 300, "30m": 1800, "4h": 14_400, "1d": 86_400, "later": float("inf")}
"""Ends of the response times whose conversion is shown, seconds of the chosen clock."""


class SpeedToLeadParams(FunnelParams):
    """What an answer is and by which clock it is timed."""

    clock: Literal["business", "wall"] = "business"
    """Working time of the responsible person's calendar (else the account's), or all hours."""
    sla_s: int = Field(default=300, ge=1)
    """In time is an answer within so many seconds."""
    policy: Literal["attempt", "contact"] = "attempt"
    """An answer is our first call or message, or the first talk or reply of the client after one."""
    live_window_s: int = Field(default=1800, ge=0)
    """A lead created so soon after the start of an answered inbound call was born from it."""
    min_n: int = Field(default=MIN_N, ge=0)
    """Below so many judged leads a rate is shown but neither ranked nor tested."""


LIVE_AHEAD_S = 60
"""Telephony may create the card a moment before it writes the call."""


def reduce(frames: Frames, params: SpeedToLeadParams, period: Period) -> dict[str, Lazy]:
    """One row per lead of the period: how it began, when it was answered, in working and in all seconds."""
    col = nw.col
    leads = _leads(frames, params)
    within = (col("start_epoch") >= col("from_epoch")) & (col("start_epoch") < col("to_epoch"))
    answered = leads.filter(within).join(_answers(leads, frames, params), on=DEAL, how="left")
    ended = answered.with_columns(
        end_epoch=nw.coalesce("answer_epoch", "as_of_epoch"), end_local=nw.coalesce("answer_local", "as_of_local")
    )
    timed = with_working_time(
        with_calendar(ended, frames), frames["calendar_day"], start="start", end="end", into="business_s"
    )
    is_live = (col("start_epoch") - col("heard_epoch") <= params.live_window_s).fill_null(False) | (
        col("heard_next_epoch") - col("start_epoch") <= LIVE_AHEAD_S
    ).fill_null(False)
    origin = (
        nw.when(is_live).then(nw.lit("live")).when(col("is_cold")).then(nw.lit("cold")).otherwise(nw.lit("incoming"))
    )
    rows = timed.select(
        *DEAL,
        "client_id",
        "user_id",
        "source_id",
        "entity_kind",
        "outcome",
        "start_at",
        origin=origin,
        is_answered=~col("answer_epoch").is_null(),
        wall_s=col("end_epoch") - col("start_epoch"),
        business_s=col("business_s"),
    )
    return {"leads": with_user_flags(rows, frames), "coverage": message_coverage(frames)}


def _leads(frames: Frames, params: SpeedToLeadParams) -> Lazy:
    """Leads, and deals that were not made of one: DEAL, client, responsible, start_*, is_cold, and the clock."""
    col = nw.col
    told = frames["deal"].select(*DEAL, "created_by", "parent_lead_id")
    asked = (
        frames["request"]
        .filter(~col("deal_id").is_null())
        .group_by(*DEAL)
        .agg(
            asked_at=col("received_at").min(),
            asked_local=col("received_local").min(),
            asked_epoch=col("received_epoch").min(),
        )
    )
    clients = frames["client"].select(*CLIENT, client_is_spam=col("is_spam").fill_null(False))
    clock = frames["clock"].select("account_id", "as_of_epoch", "as_of_local", "from_epoch", "to_epoch")
    rows = (
        of_population(frames["deal_state"], params.population, "responsible_user_id")
        .join(told, on=DEAL, how="left")
        .join(asked, on=DEAL, how="left")
        .join(clients, on=CLIENT, how="left")
        .join(clock, on="account_id", how="inner")
        .filter(
            col("parent_lead_id").is_null(),
            col("created_epoch") <= col("as_of_epoch"),
            ~col("client_is_spam").fill_null(False),
        )
    )
    if params.pipeline_id is not None:
        rows = rows.filter(col("pipeline_id") == params.pipeline_id)
    was_asked = (col("asked_epoch") < col("created_epoch")).fill_null(False)
    authored = with_user_flags(rows, frames, "created_by")
    by_hand = (~col("created_by").is_null() & ~col("user_is_robot").fill_null(False)).fill_null(False)
    return authored.select(
        *DEAL,
        "client_id",
        "source_id",
        "entity_kind",
        "outcome",
        "as_of_epoch",
        "as_of_local",
        "from_epoch",
        "to_epoch",
        user_id="responsible_user_id",
        is_cold=by_hand & col("asked_epoch").is_null(),
        **{
            f"start_{way}": nw.when(was_asked).then(col(f"asked_{way}")).otherwise(col(f"created_{way}"))
            for way in ("at", "local", "epoch")
        },
    )


def _answers(leads: Lazy, frames: Frames, params: SpeedToLeadParams) -> Lazy:
    """Per lead answer_local, answer_epoch (null: none yet), and the answered inbound calls just before and after."""
    col = nw.col
    starts = leads.select(
        *DEAL, "client_id", epoch="start_epoch", local="start_local", kind=nw.lit("lead"), row_id="deal_id"
    )
    now = frames["clock"].select("account_id", "as_of_epoch")
    touched = with_user_flags(frames["touch"], frames).join(now, on="account_id", how="inner")
    touches = touched.filter(
        col("kind").is_in(["call", "message"]),
        col("touched_epoch") <= col("as_of_epoch"),
        ~col("user_is_robot").fill_null(False),
    ).select(
        "account_id",
        "client_id",
        deal_id=nw.lit(None, dtype=nw.String),
        epoch="touched_epoch",
        local="touched_local",
        kind=nw.concat_str(
            "kind", nw.when(col("is_attempt")).then(nw.lit("attempt")).otherwise(col("direction")), separator="_"
        ),
        row_id="touch_id",
    )
    columns = ["account_id", "deal_id", "client_id", "epoch", "local", "kind", "row_id"]
    order = {"order_by": ["epoch", "row_id"]}
    events = nw.concat([starts.select(*columns), touches.select(*columns)])
    heard = nw.when(col("kind") == "call_in").then(col("epoch"))
    told = events.with_columns(
        heard_epoch=heard.fill_null(strategy="forward").over(*CLIENT, **order),
        heard_next_epoch=heard.fill_null(strategy="backward").over(*CLIENT, **order),
    )
    if params.policy == "attempt":
        is_answer = col("kind").is_in(["call_attempt", "call_out", "call_in", "message_out"])
        found = _next(told, {"answer": is_answer}, order)
    else:
        # A message counts where the client wrote back: the first reply after our first message.
        replied = _next(told, {"reply": col("kind") == "message_in"}, order)
        is_message = (col("kind") == "message_out") & ~col("reply_epoch").is_null()
        at = {f"reply_{way}": nw.when(is_message).then(col(f"reply_{way}")) for way in ("epoch", "local")}
        filled = replied.with_columns(**at).with_columns(
            **{name: col(name).fill_null(strategy="backward").over(*CLIENT, **order) for name in at}
        )
        talked = _next(filled, {"talk": col("kind").is_in(["call_out", "call_in"])}, order)
        by_talk = (col("talk_epoch") <= col("reply_epoch")).fill_null(False) | col("reply_epoch").is_null()
        found = talked.with_columns(
            **{
                f"answer_{way}": nw.when(by_talk).then(col(f"talk_{way}")).otherwise(col(f"reply_{way}"))
                for way in ("epoch", "local")
            }
        )
    return found.filter(col("kind") == "lead").select(
        *DEAL, "answer_epoch", "answer_local", "heard_epoch", "heard_next_epoch"
    )


def _next(events: Lazy, kinds: dict[str, nw.Expr], order: dict[str, Any]) -> Lazy:
    """`events` with <name>_epoch and <name>_local: of the client's next event of the kind, the row itself included."""
    for name, is_kind in kinds.items():
        events = events.with_columns(
            **{
                f"{name}_{way}": nw.when(is_kind)
                .then(nw.col(way))
                .fill_null(strategy="backward")
                .over("account_id", "client_id", **order)
                for way in ("epoch", "local")
            }
        )
    return events


def finish(collected: dict[str, pl.DataFrame], params: SpeedToLeadParams, period: Period) -> MetricResult:
    """Speed by manager, source and in all, wins by response time, and the leads answered late or not at all."""
    leads = _judged(collected["leads"], params)
    by_user = _rated(leads, ["account_id", "user_id", "user_active", "user_is_robot", "group_key"], params)
    beside = compared(
        by_user.sort("account_id", "user_id", nulls_last=True),
        "num",
        "den",
        within=["account_id"],
        tested=~pl.col("low_n"),
        in_team=pl.col("user_active") & ~pl.col("user_is_robot"),
    )
    slow = leads.filter("is_slow").sort("account_id", "response_s", "deal_id", descending=[False, True, False])
    return METRIC.result(
        params,
        period,
        tables={
            "by_user": ranked(beside, "rate", "den", "account_id", "user_id").pipe(shaped, BY_USER),
            "by_source": _rated(leads, ["account_id", "source_id"], params)
            .sort("account_id", "source_id", nulls_last=True)
            .pipe(shaped, BY_SOURCE),
            "total": _rated(leads, ["account_id"], params).sort("account_id").pipe(shaped, TOTAL),
            "buckets": _buckets(leads, params).pipe(shaped, BY_BUCKET),
        },
        drilldown=deal_rows(
            slow,
            event_at="start_at",
            value=pl.col("response_s").cast(pl.Float64),
            value_unit=pl.lit("s"),
            reason=pl.when("is_answered").then(pl.lit("SLOW")).otherwise(pl.lit("UNANSWERED")),
        ).with_columns(entity_kind=pl.Series(slow["entity_kind"], dtype=pl.String)),
        warnings=calls_only_notices(
            collected["coverage"],
            ru="Лид, которому ответили сообщением, считается неотвеченным.",
            en="A lead who was answered by a message counts as not answered.",
        ),
    )


def _judged(leads: pl.DataFrame, params: SpeedToLeadParams) -> pl.DataFrame:
    """Leads with response_s by the chosen clock (so far, where nobody has answered) and how each counts."""
    is_incoming = pl.col("origin") == "incoming"
    timed = leads.with_columns(group_key(), response_s=pl.col(f"{params.clock}_s"))
    in_time = pl.col("is_answered") & (pl.col("response_s") <= params.sla_s)
    is_due = pl.col("is_answered") | (pl.col("response_s") >= params.sla_s)
    is_judged = (is_incoming & is_due & pl.col("response_s").is_not_null()).fill_null(False)
    return timed.with_columns(
        is_incoming=is_incoming, is_judged=is_judged, is_in_time=is_judged & in_time
    ).with_columns(is_slow=pl.col("is_judged") & ~pl.col("is_in_time"))


SPEED: dict[str, pl.DataType] = {
    "n": INT,
    "n_live": INT,
    "n_cold": INT,
    "n_incoming": INT,
    "n_unanswered": INT,
    "live_share": REAL,
    "km_median_s": REAL,
    "km_p90_s": REAL,
    "wall_median_s": REAL,
    "num": INT,
    "den": INT,
    **rates(),
    "low_n": FLAG,
    "n_slow": INT,
}
BY_USER: dict[str, pl.DataType] = {
    "account_id": TEXT,
    "user_id": TEXT,
    "user_active": FLAG,
    **SPEED,
    **COMPARED,
    "group_key": TEXT,
}
"""n leads = n_live (born from an answered call) + n_cold (made by hand) + n_incoming. num of den were answered in time;
den leaves out those too young to be late. km_*: response time by the chosen clock, the unanswered censored;
wall_median_s: the same in all hours. n_slow = den - num."""
BY_SOURCE: dict[str, pl.DataType] = {"account_id": TEXT, "source_id": TEXT, **SPEED}
TOTAL: dict[str, pl.DataType] = {"account_id": TEXT, **SPEED}
BY_BUCKET: dict[str, pl.DataType] = {
    "account_id": TEXT,
    "source_id": TEXT,
    "bucket": TEXT,
    "n": INT,
    "num": INT,
    "den": INT,
    **rates(),
    "low_n": FLAG,
}
"""Incoming leads of a source by how soon they were answered (none: not yet): num won of den decided."""


def _rated(leads: pl.DataFrame, by: list[str], params: SpeedToLeadParams) -> pl.DataFrame:
    def count(flag: pl.Expr) -> pl.Expr:
        return flag.sum().cast(pl.Int64)

    table = leads.group_by(by).agg(
        n=pl.len().cast(pl.Int64),
        n_live=count(pl.col("origin") == "live"),
        n_cold=count(pl.col("origin") == "cold"),
        n_incoming=count(pl.col("is_incoming")),
        n_unanswered=count(pl.col("is_incoming") & ~pl.col("is_answered")),
        live_share=(pl.col("origin") == "live").mean(),
        num=count(pl.col("is_in_time")),
        den=count(pl.col("is_judged")),
        n_slow=count(pl.col("is_slow")),
    )
    incoming = leads.filter("is_incoming", pl.col("response_s").is_not_null())
    rows = [
        {**dict(zip(by, key, strict=True)), **_curve(part)} for key, part in incoming.group_by(by, maintain_order=True)
    ]
    schema = {name: leads.schema[name] for name in by} | dict.fromkeys(
        ("km_median_s", "km_p90_s", "wall_median_s"), REAL
    )
    times = pl.DataFrame(rows, schema=schema)
    return table.join(times, on=by, how="left", nulls_equal=True).with_columns(
        *rate_columns(), low_n("den", min_n=params.min_n)
    )


def _curve(leads: pl.DataFrame) -> dict[str, float | None]:
    is_event = leads["is_answered"].to_numpy()
    chosen = kaplan_meier(leads["response_s"].to_numpy(), is_event)
    wall = kaplan_meier(leads["wall_s"].to_numpy(), is_event)
    return {"km_median_s": chosen.median, "km_p90_s": chosen.quantile(0.9), "wall_median_s": wall.median}


def _buckets(leads: pl.DataFrame, params: SpeedToLeadParams) -> pl.DataFrame:
    """By source, for faster answers go to hotter sources."""
    names = list(BUCKETS)
    ends = [pl.when(pl.col("response_s") <= end).then(pl.lit(name)) for name, end in BUCKETS.items()]
    bucket = pl.when("is_answered").then(pl.coalesce(ends)).otherwise(pl.lit("none"))
    place = {name: number for number, name in enumerate([*names, "none"])}
    decided = pl.col("outcome").is_in(["won", "lost"])
    return (
        leads.filter("is_incoming", pl.col("response_s").is_not_null())
        .with_columns(bucket=bucket)
        .group_by("account_id", "source_id", "bucket")
        .agg(
            n=pl.len().cast(pl.Int64),
            num=(pl.col("outcome") == "won").sum().cast(pl.Int64),
            den=decided.sum().cast(pl.Int64),
        )
        .with_columns(
            *rate_columns(),
            low_n("den", min_n=params.min_n),
            place=pl.col("bucket").replace_strict(place, return_dtype=pl.Int64),
        )
        .sort("account_id", "source_id", "place", nulls_last=True)
    )


RU = Text(
    name="Скорость первого ответа, доля ≤5 минут",
    definition=(
        "За сколько новому лиду отвечают в первый раз и какой доле — за пять минут. Часы идут с создания лида или с "
        "заявки, из которой он сделан, до первого звонка или сообщения человека (или до первого разговора — на выбор). "
        "Лид, родившийся из принятого звонка, уже «живой»: он не в счёт, показана его доля. Заведённые вручную — тоже."
    ),
    formula=(
        "Доля в срок = отвечено за 5 минут / (отвечено + ждут дольше 5 минут). Время — рабочее, рядом и календарное; "
        "медиана по Каплану — Мейеру, неотвеченные не выброшены. Доля побед по скорости ответа — внутри источника."
    ),
    pitfalls=(
        "Автоответы и роботы ответом не считаются. Быстрее отвечают на горячие источники, поэтому сравнивайте скорость "
        "и победы внутри одного источника. Если переписка не загружена, ответ сообщением не виден."
    ),
)
EN = Text(
    name="Speed to lead",
    definition=(
        "How soon a new lead gets a first answer, and what share within five minutes. The clock runs from the "
        "creation of the lead, or the request it was made of, to the first call or message by a person (or the first "
        "talk, as chosen). A lead born from an answered call is “live” and left out, its share is shown; so are those "
        "made by hand."
    ),
    formula=(
        "Share in time = answered within 5 minutes / (answered + waiting longer than 5 minutes). Working time, all "
        "hours beside; the median is Kaplan–Meier, the unanswered are not thrown away. Wins by speed are within a "
        "source."
    ),
    pitfalls=(
        "Auto-replies and robots are no answer. Hotter sources are answered faster, so compare speed and wins within "
        "one source. Where messages are not synced an answer by message is not seen."
    ),
)

METRIC = Metric(
    id="E14",
    text={"ru": RU, "en": EN},
    params=SpeedToLeadParams,
    inputs=("deal_state", "deal", "request", "touch", "client", "user", "calendar_day", "coverage"),
    resources=("deal", "call", "user"),
    subject={"by_user": "user_id", "by_source": None, "total": None, "buckets": None, "drilldown": "user_id"},
    semantics="cohort",
    reduce=reduce,
    finish=finish,
    default_period_d=30,
    counted={"by_user": ("n_slow",)},
    adds_up={"by_user": "total", "by_source": "total"},
)
