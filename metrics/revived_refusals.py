"""C9: of clients who refused, how many bought later — and whether those somebody called again did more often.

A refusal is the first loss of a client in the period who had never bought before; losses that say there never was a
client (spam, wrong number, duplicate) are none. Revived = a deal of his was won within the horizon, the same one opened
again or another. Rates are of clients whose horizon has passed; the curve (S-KM) uses the younger ones too.

Source: the metric catalogue, C9. What a loss is: `metrics.losses`.
"""

from typing import Any

import narwhals.stable.v2 as nw
import polars as pl
from pydantic import Field

from metrics.channels import calls_only_notices, message_coverage
from metrics.funnel import DAY_S
from metrics.loss_categories import DISQUALIFIED, loss_categories
from metrics.losses import DECIDED_INPUTS, NO_REASON, LossParams
from metrics.metric import Frames, Metric, MetricResult, Period, Text, drilldown_rows
from metrics.people import group_key, of_population, with_user_flags
from metrics.rates import MIN_N, low_n, rate_columns
from metrics.rows import latest
from metrics.stats.rates import newcombe
from metrics.stats.survival import kaplan_meier

Lazy = nw.LazyFrame[Any]

DEAL = ["account_id", "deal_id"]
CLIENT = ["account_id", "client_id"]


class RevivedRefusalsParams(LossParams):
    """How long a refused client is waited for."""

    horizon_d: int = Field(default=180, ge=1)
    """Days after the loss within which a win counts."""
    min_n: int = Field(default=MIN_N, ge=0)
    """Below so many clients whose horizon has passed a row is marked low_n."""


# --- reduce: one row per refused client ------------------------------------------------------------------------------


def reduce(frames: Frames, params: RevivedRefusalsParams, period: Period) -> dict[str, Lazy]:
    """Clients refused in the period with their first win after it and how often we tried to reach them till then."""
    col = nw.col
    deals = (
        frames["deal_state"]
        .filter(
            (col("entity_kind") == "deal").fill_null(True), col("is_sales").fill_null(True), ~col("client_id").is_null()
        )
        .select(
            *DEAL,
            "client_id",
            "pipeline_id",
            "amount_minor",
            "outcome",
            "outcome_at",
            "outcome_epoch",
            "loss_reason_id",
            user_id=nw.coalesce("outcome_user_id", "responsible_user_id"),
        )
    )
    asked = deals if params.pipeline_id is None else deals.filter(col("pipeline_id") == params.pipeline_id)
    ends = _ends(deals, frames)
    won = ends.filter(col("kind") == "won").group_by(*CLIENT).agg(won_epoch=col("ended_epoch").min())
    bounds = frames["clock"].select("account_id", "from_epoch", "to_epoch")
    lost = (
        ends.filter(col("kind") == "lost")
        .join(bounds, on="account_id")
        .filter(col("ended_epoch") >= col("from_epoch"), col("ended_epoch") < col("to_epoch"))
        .join(asked.drop("client_id", "outcome", "outcome_at", "outcome_epoch"), on=DEAL)
        .join(loss_categories(frames), on=["account_id", "loss_reason_id"], how="left")
        .filter(~col("category").is_in(list(DISQUALIFIED)).fill_null(False))
        .join(won, on=CLIENT, how="left")
        .filter((col("won_epoch") > col("ended_epoch")).fill_null(True))
        .with_columns(early=-col("ended_epoch"))
    )
    refused = latest(lost, CLIENT, by="early", row_id="deal_id").select(
        *CLIENT,
        "deal_id",
        "user_id",
        "amount_minor",
        "as_of_epoch",
        "won_epoch",
        category=nw.when(col("loss_reason_id").is_null())
        .then(nw.lit(NO_REASON))
        .otherwise(col("category").fill_null("other")),  # a reason no list has says something too
        lost_at=col("ended_at"),
        lost_epoch=col("ended_epoch"),
    )
    return {
        "refused": with_user_flags(refused.join(_tries(refused, frames, params), on=CLIENT, how="left"), frames),
        "coverage": message_coverage(frames),
    }


def _ends(deals: Lazy, frames: Frames) -> Lazy:
    """Every win and loss by `as_of`, of deals opened again too: DEAL, client_id, kind, ended_at, ended_epoch."""
    col = nw.col
    entered = (
        frames["stage_interval"]
        .filter(col("stage_kind").is_in(["won", "lost"]), ~col("entered_epoch").is_null())
        .select(*DEAL, kind="stage_kind", ended_at="entered_at", ended_epoch="entered_epoch")
        .join(deals.select(*DEAL, "client_id"), on=DEAL)
    )
    final = deals.filter(col("outcome").is_in(["won", "lost"])).select(
        *DEAL, "client_id", kind="outcome", ended_at="outcome_at", ended_epoch="outcome_epoch"
    )
    columns = [*DEAL, "client_id", "kind", "ended_at", "ended_epoch"]
    return (
        nw.concat([entered.select(*columns), final.select(*columns)], how="vertical")
        .unique(columns)
        .join(frames["clock"].select("account_id", "as_of_epoch"), on="account_id")
        .filter(col("ended_epoch") <= col("as_of_epoch"))
    )


def _tries(refused: Lazy, frames: Frames, params: RevivedRefusalsParams) -> Lazy:
    """Our touches and attempts after the refusal, within the horizon and before the win: CLIENT, n_tries."""
    col = nw.col
    is_ours = col("is_attempt").fill_null(False) | (
        col("is_meaningful").fill_null(False) & (col("direction") != "in").fill_null(True)
    )
    horizon = col("lost_epoch") + params.horizon_d * DAY_S
    return (
        frames["touch"]
        .filter(is_ours)
        .select(*CLIENT, "touched_epoch")
        .join(refused.select(*CLIENT, "lost_epoch", "won_epoch", "as_of_epoch"), on=CLIENT)
        .filter(
            col("touched_epoch") > col("lost_epoch"),
            col("touched_epoch") <= horizon,
            col("touched_epoch") <= col("as_of_epoch"),
            (col("touched_epoch") < col("won_epoch")).fill_null(True),
        )
        .group_by(*CLIENT)
        .agg(n_tries=nw.len().cast(nw.Int64))
    )


# --- finish ----------------------------------------------------------------------------------------------------------


def finish(collected: dict[str, pl.DataFrame], params: RevivedRefusalsParams, period: Period) -> MetricResult:
    """Revived shares in all, by reason category, by contacted again or not, by manager; and the refused."""
    horizon_s = params.horizon_d * DAY_S
    to_win = pl.col("won_epoch") - pl.col("lost_epoch")
    refused = (
        of_population(collected["refused"], params.population)
        .with_columns(
            group_key(),
            n_tries=pl.col("n_tries").fill_null(0),
            is_mature=pl.col("as_of_epoch") - pl.col("lost_epoch") >= horizon_s,
            is_revived=(to_win <= horizon_s).fill_null(False),
            days_to_win=to_win / DAY_S,
            known_s=pl.coalesce("won_epoch", "as_of_epoch") - pl.col("lost_epoch"),
        )
        .with_columns(is_contacted=pl.col("n_tries") > 0)
        .sort("amount_minor", "account_id", "client_id", descending=[True, False, False], nulls_last=True)
    )
    return METRIC.result(
        params,
        period,
        tables={
            "by_user": _rated(refused, ["user_id", "user_active", "group_key"], params),
            "total": _rated(refused, [], params),
            "by_category": _rated(refused, ["category"], params),
            "by_contact": _with_difference(_rated(refused, ["is_contacted"], params)),
            "clients": refused.select(*CLIENTS),
        },
        drilldown=drilldown_rows(
            refused.filter("is_mature", "is_revived"),
            entity_kind=pl.col("client_id").str.extract(r"^([a-z]+):"),
            entity_id="client_id",
            event_at="lost_at",
            value="days_to_win",
            value_unit=pl.lit("d"),
            reason=pl.lit("REVIVED"),
        ),
        warnings=calls_only_notices(
            collected["coverage"],
            ru="Клиент, которому писали после отказа, покажется неохваченным.",
            en="A client who was written to after the refusal will look as if nobody had tried.",
        ),
    )


CLIENTS = (
    *CLIENT,
    "user_id",
    "user_active",
    "deal_id",
    "category",
    "lost_at",
    "amount_minor",
    "n_tries",
    "is_contacted",
    "is_mature",
    "is_revived",
    "days_to_win",
    "group_key",
)


def _rated(refused: pl.DataFrame, by: list[str], params: RevivedRefusalsParams) -> pl.DataFrame:
    """Per account and group: clients refused (n_refused), those whose horizon has passed (den) and of them the revived
    (num); km_rate: revived within the horizon by the curve over all of them."""
    keys = ["account_id", *by]
    mature, revived = pl.col("is_mature"), pl.col("is_revived")
    table = refused.group_by(keys, maintain_order=True).agg(
        n_refused=pl.len().cast(pl.Int64),
        num=(mature & revived).sum().cast(pl.Int64),
        den=mature.sum().cast(pl.Int64),
        n_contacted=pl.col("is_contacted").sum().cast(pl.Int64),
        amount_minor=pl.col("amount_minor").sum(),
        known_s=pl.col("known_s"),
        is_won=pl.col("won_epoch").is_not_null(),
    )
    curve = [
        1 - kaplan_meier(known_s, is_won).at(params.horizon_d * DAY_S)
        for known_s, is_won in table.select("known_s", "is_won").iter_rows()
    ]
    return (
        table.drop("known_s", "is_won")
        .with_columns(*rate_columns(), low_n("den", min_n=params.min_n), km_rate=pl.Series(curve, dtype=pl.Float64))
        .sort(["den", "n_refused", *keys], descending=[True, True, *(False for _ in keys)], nulls_last=True)
    )


def _with_difference(table: pl.DataFrame) -> pl.DataFrame:
    """On the row of the contacted: their rate less that of the others (diff, diff_lo, diff_hi)."""
    rows = table.select("account_id", "is_contacted", "num", "den")
    pairs = rows.filter("is_contacted").join(rows.filter(~pl.col("is_contacted")), on="account_id", suffix="_not")
    schema = {"account_id": pl.String, "is_contacted": pl.Boolean} | dict.fromkeys(
        ("diff", "diff_lo", "diff_hi"), pl.Float64
    )
    found = [
        (account, True, *(newcombe(num, den, num_not, den_not) or (None, None, None)))
        for account, _, num, den, _, num_not, den_not in pairs.iter_rows()
    ]
    differences = pl.DataFrame(found, schema=schema, orient="row")
    return table.join(differences, on=["account_id", "is_contacted"], how="left", maintain_order="left")


RU = Text(
    name="Реанимация отказников",
    definition=(
        "Сколько отказавшихся клиентов купили позже, и чаще ли это те, кому после отказа звонили или писали. "
        "Отказник — клиент, который раньше не покупал и чья сделка за период проиграна; спам, ошибки и дубли не "
        "считаются."
    ),
    formula=(
        "Доля = купили в течение 180 дней после отказа (срок настраивается) / все отказники, у кого этот срок уже "
        "прошёл. Рядом — доля по кривой, в которую входят и недавние отказы."
    ),
    pitfalls=(
        "Отказники, с кем связались снова, — не случайная половина: звонят тем, в кого верят. Дубль, закрытый рядом с "
        "выигранной сделкой, — не реанимация. Недавние отказы ещё могут вернуться и в долю не входят."
    ),
)
EN = Text(
    name="Revived refusals",
    definition=(
        "How many clients who refused bought later, and whether they are more often those somebody called or wrote to "
        "after the refusal. A refusal: a client who had never bought before lost a deal in the period; spam, mistakes "
        "and duplicates do not count."
    ),
    formula=(
        "Share = bought within 180 days after the refusal (can be set) / all refused clients whose 180 days have "
        "passed. Beside it the share by the curve, which uses recent refusals too."
    ),
    pitfalls=(
        "Those who were contacted again are not a random half: people call whom they believe in. A duplicate closed "
        "beside a won deal is no revival. Recent refusals may still come back and are not in the share."
    ),
)

METRIC = Metric(
    id="C9",
    text={"ru": RU, "en": EN},
    params=RevivedRefusalsParams,
    inputs=(*DECIDED_INPUTS, "stage_interval", "touch", "coverage"),
    resources=("deal", "user", "loss_reason", "call"),
    subject={
        "by_user": "user_id",
        "total": None,
        "by_category": None,
        "by_contact": None,
        "clients": "user_id",
        "drilldown": "user_id",
    },
    semantics="cohort",
    reduce=reduce,
    finish=finish,
    default_period_d=365,
    counted={"by_user": ("num",)},
    adds_up={"by_user": "total", "by_category": "total", "by_contact": "total"},
)
