"""B5: do clients who are touched more bring more money afterwards? An association, never a proof.

Touches come first: ours (a talk, a message, a meeting) in the `lag_d` days before a turning point, money in the
`lag_d` days after it, up to `as_of`. Touches on deals that were won already are left out: they serve an order, they do
not bring one. Looked at are clients who had been touched or had bought before the turning point.

Source: the metric catalogue, B5. What a touch is: `metrics.last_touch`.
"""

from typing import Any

import narwhals.stable.v2 as nw
import polars as pl
from pydantic import Field

from metrics.channels import calls_only_notices, message_coverage
from metrics.client_base import BASE_INPUTS, NEEDS_OWNER, client_base
from metrics.client_value import YEAR_S, SaleBasis, valid_sales
from metrics.funnel import DAY_S
from metrics.metric import Frames, Metric, MetricResult, Notice, Params, Period, Text, drilldown_rows
from metrics.people import group_key, of_population
from metrics.stats.ranks import median_interval, ordered_trend, partial_spearman, spearman
from metrics.stats.rates import benjamini_hochberg

Lazy = nw.LazyFrame[Any]

CLIENT = ["account_id", "client_id"]
BUCKETS = ((0, "0"), (1, "1"), (2, "2–3"), (4, "4–6"), (7, "7+"))
"""Touches from so many on, and how the bucket is called."""


class TouchesAndMoneyParams(Params):
    """How long before and after, and when there is too little to say."""

    lag_d: int = Field(default=90, ge=7, le=730)
    """Days of touches before the turning point, and of money after it."""
    sale_basis: SaleBasis = "won_deal"
    """What counts as money."""
    min_n: int = Field(default=20, ge=3)
    """With fewer clients a pair is shown but its p is neither corrected nor to be relied on."""
    seed: int = Field(default=20260101, ge=0)
    """Of the permutations where there are few clients."""
    population: tuple[str, ...] | None = None
    """Users whose clients are looked at; None: everybody's."""


# --- reduce: one row per client --------------------------------------------------------------------------------------


def reduce(frames: Frames, params: TouchesAndMoneyParams, period: Period) -> dict[str, Lazy]:
    """Clients known before the turning point with touches before it and money around it."""
    col = nw.col
    lag_s = params.lag_d * DAY_S
    turn = frames["clock"].select("account_id", turn_epoch=col("as_of_epoch") - lag_s)
    sold = valid_sales(frames, basis=params.sale_basis).join(turn, on="account_id").filter(~col("client_id").is_null())
    is_after = col("sold_epoch") >= col("turn_epoch")
    is_prior = ~is_after & (col("sold_epoch") >= col("turn_epoch") - YEAR_S)
    amount = col("amount_minor").fill_null(0)
    money = (
        sold.with_columns(
            after=nw.when(is_after).then(amount).otherwise(nw.lit(0)),
            n_after=nw.when(is_after & (col("amount_minor") > 0)).then(nw.lit(1)).otherwise(nw.lit(0)),
            prior=nw.when(is_prior).then(amount).otherwise(nw.lit(0)),
            early_epoch=nw.when(~is_after).then(col("sold_epoch")),
        )
        .group_by(*CLIENT)
        .agg(
            revenue_minor=col("after").sum().cast(nw.Int64),
            n_purchases=col("n_after").sum().cast(nw.Int64),
            prior_minor=col("prior").sum().cast(nw.Int64),
            first_sold_epoch=col("early_epoch").min(),
        )
    )
    touched = _touches(frames, turn, lag_s)
    clients = (
        client_base(frames, base="all")
        .join(turn, on="account_id")
        .join(touched, on=CLIENT, how="left")
        .join(money, on=CLIENT, how="left")
        .with_columns(
            known_epoch=nw.min_horizontal(
                col("first_touch_epoch").fill_null(col("first_sold_epoch")),
                col("first_sold_epoch").fill_null(col("first_touch_epoch")),
            )
        )
        .filter(col("known_epoch") < col("turn_epoch"))
    )
    return {
        "clients": clients.with_columns(tenure_s=col("turn_epoch") - col("known_epoch")).select(*ROW),
        "coverage": message_coverage(frames),
    }


ROW = (
    *CLIENT,
    "user_id",
    "user_active",
    "user_is_robot",
    "n_touches",
    "tenure_s",
    "prior_minor",
    "revenue_minor",
    "n_purchases",
)


def _touches(frames: Frames, turn: Lazy, lag_s: int) -> Lazy:
    """CLIENT, first_touch_epoch (any meaningful touch before the turning point), n_touches (ours within the lag)."""
    col = nw.col
    won = (
        frames["deal_state"].filter(col("outcome") == "won").select("account_id", "deal_id", won_epoch="outcome_epoch")
    )
    before = (
        frames["touch"]
        .filter(col("is_meaningful").fill_null(False), ~col("client_id").is_null())
        .join(turn, on="account_id")
        .filter(col("touched_epoch") < col("turn_epoch"))
        .join(won, on=["account_id", "deal_id"], how="left")
    )
    serves = (col("won_epoch") <= col("touched_epoch")).fill_null(False)
    is_ours = (col("direction") != "in").fill_null(True)
    counts = is_ours & ~serves & (col("touched_epoch") >= col("turn_epoch") - lag_s)
    return (
        before.with_columns(one=nw.when(counts).then(nw.lit(1)).otherwise(nw.lit(0)))
        .group_by(*CLIENT)
        .agg(first_touch_epoch=col("touched_epoch").min(), n_touches=col("one").sum().cast(nw.Int64))
    )


# --- finish ----------------------------------------------------------------------------------------------------------


def finish(collected: dict[str, pl.DataFrame], params: TouchesAndMoneyParams, period: Period) -> MetricResult:
    """How touches and money go together over clients and over managers, and money by number of touches."""
    filled = ("n_touches", "revenue_minor", "n_purchases", "prior_minor")
    clients = (
        of_population(collected["clients"], params.population)
        .with_columns(pl.col(*filled).fill_null(0))
        .with_columns(
            check_minor=pl.when(pl.col("n_purchases") > 0).then(pl.col("revenue_minor") / pl.col("n_purchases")),
            group_key=_bucket(),
        )
        .sort("revenue_minor", "account_id", "client_id", descending=[True, False, False])
    )
    managers = _managers(clients)
    as_clients = managers.rename({mean: name for name, mean in MEANS.items()})
    pairs = pl.concat([_pairs(clients, "client", params), _pairs(as_clients, "manager", params)])
    return METRIC.result(
        params,
        period,
        tables={
            "pairs": _corrected(pairs, params),
            "buckets": _buckets(clients),
            "managers": managers,
        },
        drilldown=drilldown_rows(
            clients,
            entity_kind=pl.col("client_id").str.extract(r"^([a-z]+):"),
            entity_id="client_id",
            event_at=pl.lit(None, pl.Datetime("us", "UTC")),
            value="revenue_minor",
            value_unit=pl.lit("minor"),
            reason=pl.lit("POINT"),
        ),
        warnings=(
            *((ASSOCIATION,) if clients.height else ()),
            *calls_only_notices(
                collected["coverage"],
                ru="Касания перепиской не видны: связь с деньгами посчитана по звонкам.",
                en="Touches by message are not seen: the association is that of calls.",
            ),
        ),
    )


ASSOCIATION = Notice(
    "association",
    "Это связь, а не причина: менеджеры чаще общаются с теми, кто и так покупает.",
    "This is an association, not a cause: managers are more in touch with those who buy anyway.",
)


def _bucket() -> pl.Expr:
    found = pl.lit(BUCKETS[0][1])
    for least, name in BUCKETS[1:]:
        found = pl.when(pl.col("n_touches") >= least).then(pl.lit(name)).otherwise(found)
    return found


PAIRS: dict[str, pl.DataType] = {
    "account_id": pl.String(),
    "unit": pl.String(),
    "pair": pl.String(),
    "n": pl.Int64(),
    "rho": pl.Float64(),
    "ci_lo": pl.Float64(),
    "ci_hi": pl.Float64(),
    "p": pl.Float64(),
    "partial_rho": pl.Float64(),
    "tau": pl.Float64(),
    "trend_p": pl.Float64(),
}
"""unit: client, manager. pair: touches with revenue, or with the average check of those who bought. partial_rho: with
tenure and earlier revenue taken out. tau, trend_p: whether money rises with the bucket of touches."""


def _pairs(rows: pl.DataFrame, unit: str, params: TouchesAndMoneyParams) -> pl.DataFrame:
    found = []
    for (account,), own in rows.group_by("account_id", maintain_order=True):
        for pair, money in (("revenue", "revenue_minor"), ("check", "check_minor")):
            known = own.filter(pl.col(money).is_not_null())
            found.append({"account_id": account, "unit": unit, "pair": pair} | _together(known, money, params))
    return pl.DataFrame(found, schema=PAIRS)


def _together(rows: pl.DataFrame, money: str, params: TouchesAndMoneyParams) -> dict[str, Any]:
    x, y = rows["n_touches"].to_numpy(), rows[money].to_numpy()
    whole = spearman(x, y, seed=params.seed)
    if whole is None:
        return {"n": rows.height}
    bucket = sum((rows["n_touches"] >= least).cast(pl.Int64) for least, _ in BUCKETS)
    trend = ordered_trend(bucket.to_numpy(), y)  # type: ignore[union-attr]
    return {
        "n": rows.height,
        "rho": whole.rho,
        "ci_lo": whole.lo,
        "ci_hi": whole.hi,
        "p": whole.p,
        "partial_rho": partial_spearman(x, y, [rows["tenure_s"].to_numpy(), rows["prior_minor"].to_numpy()]),
        "tau": trend and trend[0],
        "trend_p": trend and trend[1],
    }


def _corrected(pairs: pl.DataFrame, params: TouchesAndMoneyParams) -> pl.DataFrame:
    """`pairs` with low_n, and q over those with enough clients."""
    rows = pairs.with_columns(low_n=pl.col("n") < params.min_n).with_row_index("row")
    tested = rows.filter(~pl.col("low_n"), pl.col("p").is_not_null())
    q = tested.select("row", q=pl.Series(benjamini_hochberg(tested["p"].to_numpy()), dtype=pl.Float64))
    return (
        rows.join(q, on="row", how="left")
        .sort("account_id", "unit", "pair", descending=[False, False, True])
        .drop("row")
    )


MEANS = {
    "n_touches": "mean_touches",
    "tenure_s": "mean_tenure_s",
    "prior_minor": "mean_prior_minor",
    "revenue_minor": "mean_revenue_minor",
    "check_minor": "mean_check_minor",
}


def _managers(clients: pl.DataFrame) -> pl.DataFrame:
    """Per manager who works here: his clients, and means of what they were given and brought."""
    theirs = clients.filter(~NEEDS_OWNER, pl.col("user_id").is_not_null())
    found = theirs.group_by("account_id", "user_id", "user_active").agg(
        n=pl.len().cast(pl.Int64), **{mean: pl.col(name).mean() for name, mean in MEANS.items()}
    )
    return found.with_columns(group_key()).sort("n", "account_id", "user_id", descending=[True, False, False])


def _buckets(clients: pl.DataFrame) -> pl.DataFrame:
    """Per bucket of touches: clients, how many bought, and the median and mean of what they brought."""
    rows = []
    for (account, key), own in clients.group_by("account_id", "group_key", maintain_order=True):
        revenue = own["revenue_minor"]
        lo, hi = median_interval(revenue.to_numpy()) or (None, None)
        rows.append(
            {
                "account_id": account,
                "bucket": key,
                "n": own.height,
                "n_buyers": int((own["n_purchases"] > 0).sum()),
                "median_revenue_minor": revenue.median(),
                "ci_lo": lo,
                "ci_hi": hi,
                "mean_revenue_minor": revenue.mean(),
                "mean_check_minor": own["check_minor"].mean(),
                "group_key": key,
            }
        )
    return pl.DataFrame(rows, schema=BUCKET).sort("account_id", pl.col("bucket").cast(pl.Enum([b for _, b in BUCKETS])))


BUCKET: dict[str, pl.DataType] = {
    "account_id": pl.String(),
    "bucket": pl.String(),
    "n": pl.Int64(),
    "n_buyers": pl.Int64(),
    "median_revenue_minor": pl.Float64(),
    "ci_lo": pl.Float64(),
    "ci_hi": pl.Float64(),
    "mean_revenue_minor": pl.Float64(),
    "mean_check_minor": pl.Float64(),
    "group_key": pl.String(),
}

RU = Text(
    name="Связь касаний с деньгами",
    definition=(
        "Приносят ли больше денег те клиенты, с которыми больше общались. Сначала касания, потом деньги: наши касания "
        "за 90 дней и выручка за следующие 90 дней. Касания по уже выигранным сделкам не считаются: это исполнение "
        "заказа, а не продажа."
    ),
    formula=(
        "Ранговая корреляция Спирмена между числом касаний и выручкой (и средним чеком у купивших); отдельно — за "
        "вычетом стажа клиента и прошлой выручки. Рядом — медиана выручки по числу касаний."
    ),
    pitfalls=(
        "Связь — не причина: чаще звонят тем, кто и так покупает. Смотрите на связь за вычетом стажа и прошлой "
        "выручки. Меньше двадцати клиентов — не вывод. По менеджерам — только для раздумий: их мало."
    ),
)
EN = Text(
    name="Touches and money",
    definition=(
        "Do clients who are touched more bring more money? Touches first, money after: our touches in 90 days and "
        "revenue in the next 90. Touches on deals already won do not count: they serve an order."
    ),
    formula=(
        "Spearman's rank correlation of touches and revenue (and of the average check of those who bought); apart, "
        "with the client's age and earlier revenue taken out. Beside it the median revenue by number of touches."
    ),
    pitfalls=(
        "An association is no cause: people call those who buy anyway. Look at the one with age and earlier revenue "
        "taken out. Fewer than twenty clients are no ground. By manager it is food for thought only: there are few."
    ),
)

METRIC = Metric(
    id="B5",
    text={"ru": RU, "en": EN},
    params=TouchesAndMoneyParams,
    inputs=(*BASE_INPUTS, "touch", "sale", "coverage"),
    resources=("call", "deal", "user"),
    subject={"pairs": None, "buckets": None, "managers": "user_id", "drilldown": None},
    semantics="snapshot",
    reduce=reduce,
    finish=finish,
    default_period_d=180,
    reads_period=False,
    counted={"buckets": ("n",)},
)
