"""E15: how many leads become deals, how many are thrown out and why.

Two kinds of leads: leads of their own kind (Bitrix24), converted when they are won, thrown out when lost; and deals
that begin among unsorted requests or in a qualification pipeline (amoCRM), converted when they come to an open
stage of another pipeline, or of their own where they were unsorted, and thrown out when lost before.

Source: the metric catalogue, E15.
"""

import narwhals.stable.v2 as nw
import polars as pl
from pydantic import Field

from metrics.funnel import DAY_S, DEAL
from metrics.funnel_scope import FLAG, INT, REAL, TEXT, FunnelParams, Lazy, deal_rows, in_period, rates, shaped
from metrics.loss_categories import loss_categories
from metrics.metric import Frames, Metric, MetricResult, Period, Text
from metrics.people import group_key, of_population, with_user_flags
from metrics.rates import MIN_N, low_n, ranked, rate_columns
from metrics.team import COMPARED, compared

CLIENT = ["account_id", "client_id"]


class LeadConversionParams(FunnelParams):
    """Which leads are counted and when they are judged."""

    horizon_d: int = Field(default=30, ge=1)
    """Converted within so many days; only leads at least so old are in the rate with a horizon."""
    dup_window_d: int = Field(default=7, ge=0)
    """A further lead of the same client within so many days is the same lead."""
    min_n: int = Field(default=MIN_N, ge=0)
    """Below so many leads a rate is shown but neither ranked nor tested."""


def reduce(frames: Frames, params: LeadConversionParams, period: Period) -> dict[str, Lazy]:
    """A row per lead of the period: what became of it and when."""
    col = nw.col
    now = frames["clock"].select("account_id", "as_of_epoch")
    leads = of_population(_leads(frames), params.population).join(now, on="account_id", how="inner")
    if params.pipeline_id is not None:
        leads = leads.filter(col("born_pipeline_id") == params.pipeline_id)
    before = col("created_epoch").shift(1).over(*CLIENT, order_by=["created_epoch", "deal_id"])
    first = leads.filter(col("created_epoch") <= col("as_of_epoch")).with_columns(last_epoch=before)
    is_again = (col("created_epoch") - col("last_epoch") <= params.dup_window_d * DAY_S).fill_null(False)
    told = first.with_columns(is_again=is_again).filter(in_period(period, "created_local"))
    reasons = loss_categories(frames)
    return {
        "leads": with_user_flags(
            told.join(reasons, on=["account_id", "loss_reason_id"], how="left").select(
                *DEAL,
                "client_id",
                "user_id",
                "source_id",
                "entity_kind",
                "amount_minor",
                "created_at",
                "state",
                "is_again",
                "category",
                age_s=col("as_of_epoch") - col("created_epoch"),
                took_s=col("done_epoch") - col("created_epoch"),
            ),
            frames,
        )
    }


def _leads(frames: Frames) -> Lazy:
    """Every lead with its state at `as_of` (converted, disqualified, open) and when it was converted."""
    col = nw.col
    now = frames["clock"].select("account_id", "as_of_epoch")
    visits = frames["stage_interval"].join(now, on="account_id", how="inner")
    visits = visits.filter((col("entered_epoch") <= col("as_of_epoch")) | col("entered_epoch").is_null())
    born = visits.filter(col("n") == 1).select(*DEAL, born_pipeline_id="pipeline_id", born_kind="stage_kind")
    to_qualify = frames["pipeline"].filter(col("purpose") == "qualification")
    to_qualify = to_qualify.select("account_id", born_pipeline_id="pipeline_id", qualifies=nw.lit(True))
    came = visits.join(born, on=DEAL, how="inner").filter(
        col("stage_kind").is_in(["open", "won"]),
        (col("pipeline_id") != col("born_pipeline_id")) | (col("born_kind") == "unsorted"),
    )
    arrived = came.group_by(*DEAL).agg(arrived_epoch=col("entered_epoch").min())
    is_lead = col("entity_kind") == "lead"
    is_request = (col("born_kind") == "unsorted").fill_null(False) | col("qualifies").fill_null(False)
    done_epoch = nw.when(is_lead).then(nw.when(col("outcome") == "won").then(col("outcome_epoch")))
    state = (
        nw.when(~col("done_epoch").is_null())
        .then(nw.lit("converted"))
        .when(col("outcome") == "lost")
        .then(nw.lit("disqualified"))
        .when(col("outcome") == "won")
        .then(nw.lit("converted"))
        .otherwise(nw.lit("open"))
    )
    return (
        frames["deal_state"]
        .join(born, on=DEAL, how="left")
        .join(to_qualify, on=["account_id", "born_pipeline_id"], how="left")
        .filter(is_lead | is_request)
        .join(arrived, on=DEAL, how="left")
        .with_columns(done_epoch=done_epoch.otherwise(col("arrived_epoch")), user_id=col("responsible_user_id"))
        .with_columns(state=state)
    )


def finish(collected: dict[str, pl.DataFrame], params: LeadConversionParams, period: Period) -> MetricResult:
    """The rates in all, by source and by manager; why leads are thrown out; and the leads that were converted."""
    known = collected["leads"].with_columns(group_key())
    leads = known.filter(~pl.col("is_again"))
    repeats = known.group_by("account_id").agg(n_again=pl.col("is_again").sum().cast(pl.Int64))
    total = repeats.join(_rated(leads, ["account_id"], params), on="account_id", how="left").sort("account_id")
    counts = [name for name in total.columns if name.startswith("n") and name != "n_again"]
    by_user = _rated(leads, ["account_id", "user_id", "user_active", "user_is_robot", "group_key"], params)
    beside = compared(
        by_user.sort("account_id", "user_id", nulls_last=True),
        "num",
        "n",
        within=["account_id"],
        tested=~pl.col("low_n"),
        in_team=pl.col("user_active") & ~pl.col("user_is_robot"),
    )
    converted = leads.filter(state="converted").sort("account_id", "created_at", "deal_id")
    return METRIC.result(
        params,
        period,
        tables={
            "total": total.with_columns(pl.col(counts).fill_null(0)).pipe(shaped, TOTAL),
            "by_source": _rated(leads, ["account_id", "source_id"], params)
            .sort("account_id", "source_id", nulls_last=True)
            .pipe(shaped, BY_SOURCE),
            "by_user": ranked(beside, "rate", "n", "account_id", "user_id").pipe(shaped, BY_USER),
            "reasons": _reasons(leads).pipe(shaped, REASONS),
        },
        drilldown=deal_rows(
            converted,
            event_at="created_at",
            value=pl.col("took_s") / DAY_S,
            value_unit=pl.lit("d"),
            reason=pl.lit("CONVERTED"),
        ).with_columns(entity_kind=pl.Series(converted["entity_kind"], dtype=pl.String)),
    )


COUNTS: dict[str, pl.DataType] = {
    "n": INT,
    "num": INT,
    **rates(),
    "low_n": FLAG,
    "n_disqualified": INT,
    "n_open": INT,
    "n_decided": INT,
    **rates("decided_"),
    "num_horizon": INT,
    "n_horizon": INT,
    **rates("horizon_"),
}
TOTAL: dict[str, pl.DataType] = {"account_id": TEXT, **COUNTS, "n_again": INT}
"""num of n leads were converted; n_disqualified thrown out, n_open neither. decided_rate: converted of both ends.
horizon_rate: num_horizon of n_horizon leads old enough, within the horizon. n_again: further leads of the same client,
not counted."""
BY_SOURCE: dict[str, pl.DataType] = {"account_id": TEXT, "source_id": TEXT, **COUNTS}
BY_USER: dict[str, pl.DataType] = {
    "account_id": TEXT,
    "user_id": TEXT,
    "user_active": FLAG,
    **COUNTS,
    **COMPARED,
    "group_key": TEXT,
}
REASONS: dict[str, pl.DataType] = {"account_id": TEXT, "segment": TEXT, "n": INT, "share": REAL}
"""Leads thrown out by the category of their reason (segment; null: none given)."""


def _rated(leads: pl.DataFrame, by: list[str], params: LeadConversionParams) -> pl.DataFrame:
    horizon_s = params.horizon_d * DAY_S
    is_converted, is_old = pl.col("state") == "converted", pl.col("age_s") >= horizon_s

    def count(flag: pl.Expr) -> pl.Expr:
        return flag.fill_null(value=False).sum().cast(pl.Int64)

    table = leads.group_by(by).agg(
        n=pl.len().cast(pl.Int64),
        num=count(is_converted),
        n_disqualified=count(pl.col("state") == "disqualified"),
        n_open=count(pl.col("state") == "open"),
        num_horizon=count(is_converted & is_old & (pl.col("took_s") <= horizon_s)),
        n_horizon=count(is_old),
    )
    return table.with_columns(n_decided=pl.col("num") + pl.col("n_disqualified")).with_columns(
        *rate_columns("num", "n"),
        *rate_columns("num", "n_decided", "decided_"),
        *rate_columns("num_horizon", "n_horizon", "horizon_"),
        low_n("n", min_n=params.min_n),
    )


def _reasons(leads: pl.DataFrame) -> pl.DataFrame:
    out = leads.filter(state="disqualified").group_by("account_id", segment="category").agg(n=pl.len().cast(pl.Int64))
    shares = out.with_columns(share=pl.col("n") / pl.col("n").sum().over("account_id"))
    return shares.sort("account_id", "n", "segment", descending=[False, True, False], nulls_last=True)


RU = Text(
    name="Лид → сделка",
    definition=(
        "Какая доля лидов становится сделками, сколько отсеяно и почему. Лид — карточка лида (Битрикс24), "
        "неразобранная заявка или сделка в воронке квалификации (amoCRM). Конверсия — лид сконвертирован или дошёл до "
        "открытого этапа воронки продаж. Второй лид того же клиента в течение 7 дней — тот же лид."
    ),
    formula=(
        "Конверсия = стали сделками / все лиды. Среди решённых = стали сделками / (стали сделками + отсеяны). За 30 "
        "дней — только по лидам не моложе 30 дней."
    ),
    pitfalls=(
        "Отсев как «спам» и «дубль» зависит от прилежания: смотрите причины. Заявки, созданные сразу в воронке продаж, "
        "лидами не считаются: отметьте воронку квалификации в настройках."
    ),
)
EN = Text(
    name="Lead to deal conversion",
    definition=(
        "What share of leads becomes deals, how many are thrown out and why. A lead is a lead card (Bitrix24), an "
        "unsorted request or a deal in a qualification pipeline (amoCRM). Converted = the lead is won, or came to an "
        "open stage of a sales pipeline. A second lead of the same client within 7 days is the same lead."
    ),
    formula=(
        "Conversion = became deals / all leads. Of decided = became deals / (became deals + thrown out). Within 30 "
        "days: only leads at least 30 days old."
    ),
    pitfalls=(
        "What is thrown out as spam or duplicate hangs on diligence: look at the reasons. Requests created in the "
        "sales pipeline itself are no leads: mark the qualification pipeline in the settings."
    ),
)

METRIC = Metric(
    id="E15",
    text={"ru": RU, "en": EN},
    params=LeadConversionParams,
    inputs=("deal_state", "stage_interval", "pipeline", "loss_reason", "user"),
    resources=("deal", "deal_stage_transition", "pipeline"),
    subject={"total": None, "by_source": None, "by_user": "user_id", "reasons": None, "drilldown": "user_id"},
    semantics="cohort",
    reduce=reduce,
    finish=finish,
    default_period_d=90,
    counted={"by_user": ("num",)},
    adds_up={"by_user": "total", "by_source": "total"},
)
