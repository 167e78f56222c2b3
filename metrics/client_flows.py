"""D6: client flows — new, active, at risk, churned and reactivated clients, month by month.

At local date t a buyer whose last purchase was r days ago is active (r ≤ A), at risk (A < r ≤ C) or churned (r > C).
In a month a client is *new* at his first purchase; *churned* when the day last purchase + C + 1 falls into it and
nothing was bought before that day; *reactivated* by a purchase more than C days after the one before. One client may
churn and come back in one month: both count. Hence buyers = active + at risk + churned, and churned at the
end = at the start + churned − reactivated.

The months' events open to their clients in the drill-down, the stocks at the end of the period in the table `clients`.

A *purchase occasion* is a client's local day with purchases. D1 (last purchase) stands on the same occasions: `buyers`.

Source: the metric catalogue, D intro, D1, D6.
"""

from datetime import date, timedelta
from typing import Any

import narwhals.stable.v2 as nw
import polars as pl
from pydantic import Field, model_validator

from metrics.client_value import SaleBasis, valid_sales
from metrics.metric import Frames, Metric, MetricResult, Notice, Params, Period, Text, drilldown_rows
from metrics.people import of_population, people
from metrics.rates import MIN_N, low_n, rate_columns

Lazy = nw.LazyFrame[Any]

CLIENT = ["account_id", "client_id"]
EPOCH_DAY = date(1970, 1, 1).toordinal()
STATES = ("active", "at_risk", "churned")
EVENTS = {"new": "NEW", "churned_n": "CHURNED", "reactivated_n": "REACTIVATED"}
"""Column of the month table → rule code of its drill-down rows."""
REVENUE = ("new", "active", "at_risk", "reactivated", "returned")
"""What the buyer was just before the purchase; `returned`: refunds, and purchases that were refunded whole."""


class ClientFlowsParams(Params):
    """When a buyer counts as at risk and as churned."""

    active_d: int = Field(default=90, ge=1)
    """A: up to so many days after the last purchase a client is active."""
    churn_d: int = Field(default=180, ge=31)
    """C: beyond so many days he is churned. At least 31, so that a client churns at most once a month."""
    personal: bool = False
    """Everybody's own rhythm instead: A = 2, C = 4 median gaps between his purchases (at least 30 and 60 days)."""
    sale_basis: SaleBasis = "won_deal"
    """What counts as a sale."""
    min_n: int = Field(default=MIN_N, ge=0)
    """Rates over fewer clients are marked low_n."""
    population: tuple[str, ...] | None = None
    """Responsible users whose clients are counted; None: everybody's."""

    @model_validator(mode="after")
    def _at_risk_comes_before_churned(self) -> "ClientFlowsParams":
        if self.active_d >= self.churn_d:
            raise ValueError("active_d must be smaller than churn_d: a client is at risk before he is churned")
        return self


# --- Purchase occasions: shared with D1 -----------------------------------------------------------------------------


def day_number(name: str) -> nw.Expr:
    """Whole days since 1970-01-01 of a wall time: engines agree on no type for the difference of dates."""
    past = nw.col(name).dt.year().cast(nw.Int64) - 1
    leap = past // 4 - past // 100 + past // 400
    # `year` and `ordinal_day` are narrow integers in some engines: cast before multiplying.
    return (past * 365 + leap + nw.col(name).dt.ordinal_day().cast(nw.Int64) - EPOCH_DAY).cast(nw.Int64)


def sales_seen(frames: Frames, *, basis: SaleBasis) -> Lazy:
    """Sales of one basis as known at `as_of`.

    Returns:
        account_id, sale_id, client_id, deal_id, sold_at, amount_minor, day (number of the local day).
    """
    return valid_sales(frames, basis=basis).select(
        "account_id", "sale_id", "client_id", "deal_id", "sold_at", "amount_minor", day=day_number("sold_local")
    )


def with_refunds(sales: Lazy) -> Lazy:
    """`sales` with is_refunded: the deal's sales and refunds add up to nothing, so none of them was a purchase."""
    net = nw.col("amount_minor").sum().over("account_id", "deal_id")
    is_refunded = ~nw.col("deal_id").is_null() & (net <= 0)
    return sales.with_columns(is_refunded=is_refunded.fill_null(False))


def occasions(sales: Lazy) -> Lazy:
    """One row per client and local day on which he bought something that stayed bought.

    A deal refunded whole is no purchase, whenever the refund came. A refund that names no deal is set off against the
    purchases of its day.

    Args:
        sales: `sales_seen`.

    Returns:
        account_id, client_id, day; bought_at (UTC, the first sale), amount_minor (net);
        gap_d: days since the client's occasion before, null for the first; next_day: of the next, null for the last.
    """
    amount = nw.col("amount_minor")
    counts = (amount > 0) | nw.col("deal_id").is_null()
    days = (
        with_refunds(sales)
        .filter(~nw.col("client_id").is_null(), ~nw.col("is_refunded"), counts.fill_null(False))
        .group_by(*CLIENT, "day")
        .agg(bought_at=nw.when(amount > 0).then(nw.col("sold_at")).min(), amount_minor=amount.sum())
        .with_columns(amount_minor=amount.cast(nw.Int64))
        .filter(amount > 0)
    )
    previous = nw.col("day").shift(1).over(*CLIENT, order_by=["day"])
    following = nw.col("day").shift(-1).over(*CLIENT, order_by=["day"])
    return days.with_columns(gap_d=nw.col("day") - previous, next_day=following)


def buyers(bought: Lazy) -> Lazy:
    """One row per client who ever bought (D1): his last purchase and his rhythm.

    Args:
        bought: `occasions` of everybody, whoever asks: who bought less than three times has the account's rhythm.

    Returns:
        account_id, client_id, first_day, last_day (day numbers), last_sale_at (UTC), n_sales (occasions),
        revenue_minor; median_gap_d: the client's own (Float64, null for one occasion); usual_gap_d: that from three
        purchases on, else the account's (null where nobody bought twice).
    """
    usual_gap = nw.coalesce(nw.when(nw.col("n_sales") >= 3).then(nw.col("median_gap_d")), nw.col("account_gap_d"))
    return (
        # A window: joined back, the engines would read all sales a second time.
        bought.with_columns(account_gap_d=nw.col("gap_d").median().over("account_id"))
        .group_by(*CLIENT)
        .agg(
            first_day=nw.col("day").min(),
            last_day=nw.col("day").max(),
            last_sale_at=nw.col("bought_at").max(),
            n_sales=nw.len().cast(nw.Int64),
            revenue_minor=nw.col("amount_minor").sum(),
            median_gap_d=nw.col("gap_d").median(),
            account_gap_d=nw.col("account_gap_d").max(),
        )
        .with_columns(nw.col("revenue_minor").cast(nw.Int64), nw.col("median_gap_d", "account_gap_d").cast(nw.Float64))
        .with_columns(usual_gap_d=usual_gap)
        .drop("account_gap_d")
    )


def local_today(clock: Lazy) -> Lazy:
    """One row per account: account_id, today (number of the local day of `as_of`)."""
    return clock.select("account_id", today=day_number("as_of_local"))


def with_overdue(people_who_bought: Lazy, days: Lazy) -> Lazy:
    """`buyers` with how long ago (D1): days_since, is_lapsing; the ratio itself is `OVERDUE_RATIO`.

    days_since: local dates up to `today` of `days` (`local_today`). Lapsing: overdue ratio ≥ 2 and days_since ≥ 30.
    """
    is_lapsing = (nw.col("days_since") >= nw.col("usual_gap_d") * 2) & (nw.col("days_since") >= 30)
    return (
        people_who_bought.join(days, on="account_id", how="inner")
        .with_columns(days_since=nw.col("today") - nw.col("last_day"))
        .with_columns(is_lapsing=is_lapsing.fill_null(False))
        .drop("today")
    )


OVERDUE_RATIO = (pl.col("days_since") / pl.col("usual_gap_d")).alias("overdue_ratio")
"""For the finishing step, on collected `with_overdue`."""


# --- reduce ---------------------------------------------------------------------------------------------------------


def reduce(frames: Frames, params: ClientFlowsParams, period: Period) -> dict[str, Lazy]:
    """Stocks and revenue per month and manager; a row per event and per client; counts behind the warnings."""
    clock = frames["clock"]
    everybody = _clients(frames)
    clients = of_population(everybody, params.population)
    sold = sales_seen(frames, basis=params.sale_basis)
    of_clients = sold.join(everybody.select(*CLIENT), on=CLIENT, how="semi")
    # Thresholds before the population: how long a client may be silent does not depend on who asks.
    everyone = _with_thresholds(occasions(of_clients), params)
    bought = everyone.join(clients, on=CLIENT, how="inner")
    months = _months(clock, period)
    return {
        "months": months,
        "stocks": _stocks(bought, months),
        "clients": _clients_at_the_end(of_clients, everyone, bought, _end(clock, period)),
        "events": _events(bought, months),
        "revenue": _revenue(of_clients, bought, clients, months),
        "gaps": _gaps(bought),
        "left_out": _left_out(sold),
        "undated": _undated(frames, params),
        "people": people(frames),
        "accounts": frames["account"].select("account_id", currency="base_currency"),
        "clock": clock.select("account_id", "tz", "as_of_on", today=day_number("as_of_local")),
    }


def _clients(frames: Frames) -> Lazy:
    """Clients that still exist, with who is responsible now: the history of a client's owners is not kept."""
    return (
        frames["client"]
        .filter(~nw.col("is_deleted").fill_null(False))
        .select(*CLIENT, "kind", user_id="responsible_user_id")
    )


def _with_thresholds(bought: Lazy, params: ClientFlowsParams) -> Lazy:
    """Occasions with active_d and churn_d of their client, whole days; constant over time, so that stocks add up."""
    if not params.personal:
        return bought.with_columns(
            active_d=nw.lit(params.active_d, dtype=nw.Int64), churn_d=nw.lit(params.churn_d, dtype=nw.Int64)
        )
    # A median of whole days is a multiple of a half, so twice and four times it are whole.
    limits = (
        buyers(bought)
        .select(
            *CLIENT,
            active_d=nw.max_horizontal(nw.lit(PERSONAL_MIN_D[0]), (nw.col("usual_gap_d") * 2).cast(nw.Int64)),
            churn_d=nw.max_horizontal(nw.lit(PERSONAL_MIN_D[1]), (nw.col("usual_gap_d") * 4).cast(nw.Int64)),
            is_known=~nw.col("usual_gap_d").is_null(),
        )
        .select(
            *CLIENT,
            active_d=nw.when(nw.col("is_known"))
            .then(nw.col("active_d"))
            .otherwise(nw.lit(params.active_d))
            .cast(nw.Int64),
            churn_d=nw.when(nw.col("is_known"))
            .then(nw.col("churn_d"))
            .otherwise(nw.lit(params.churn_d))
            .cast(nw.Int64),
        )
    )
    return bought.join(limits, on=CLIENT, how="inner")


PERSONAL_MIN_D = (30, 60)


def months_covering(period: Period) -> list[tuple[date, date]]:
    """First and last local day of each calendar month that [period_from, period_to) touches."""
    first, months = period.period_from.replace(day=1), []
    while first < period.period_to:
        following = (first + timedelta(days=31)).replace(day=1)
        months.append((first, following - timedelta(days=1)))
        first = following
    return months


def _number(day: date) -> int:
    return day.toordinal() - EPOCH_DAY


def _months(clock: Lazy, period: Period) -> Lazy:
    """One row per account and month: month_no (0: the day before the first month, for its opening stock), first, last.

    `last` is the day of the stocks: the month's last day, in the running month the local day of `as_of`, to which all
    "days since" of the catalogue are counted. Months not yet begun are left out.
    """
    spans = months_covering(period)
    edges = [(_number(first), _number(last)) for first, last in spans]
    opening = [(edges[0][0] - 1, edges[0][0] - 1)] if edges else [(0, -1)]
    now = local_today(clock)
    rows = [
        now.select(
            "account_id",
            month_no=nw.lit(number, dtype=nw.Int64),
            first=nw.lit(first, dtype=nw.Int64),
            last=nw.min_horizontal(nw.lit(last, dtype=nw.Int64), nw.col("today")).cast(nw.Int64),
            is_complete=nw.col("today") > last,
        )
        for number, (first, last) in enumerate([*opening, *edges])
    ]
    return nw.concat(rows).filter(nw.col("first") <= nw.col("last"))


def _states(bought: Lazy, months: Lazy) -> Lazy:
    """One row per month end and client who had bought by then: his last occasion, and `state` on that day."""
    since = nw.col("last") - nw.col("day")
    is_last = nw.col("next_day").is_null() | (nw.col("next_day") > nw.col("last"))
    state = (
        nw.when(since <= nw.col("active_d"))
        .then(nw.lit("active"))
        .when(since <= nw.col("churn_d"))
        .then(nw.lit("at_risk"))
        .otherwise(nw.lit("churned"))
    )
    return (
        bought.join(months, on="account_id", how="inner")
        .filter(nw.col("day") <= nw.col("last"), is_last)
        .with_columns(state=state)
    )


def _stocks(bought: Lazy, months: Lazy) -> Lazy:
    """How many buyers per month end, manager and state: account_id, month_no, user_id, state, n."""
    states = _states(bought, months).group_by("account_id", "month_no", "user_id", "state")
    return states.agg(n=nw.len().cast(nw.Int64))


def _end(clock: Lazy, period: Period) -> Lazy:
    """The day of the last stocks, as in `_months`: account_id, last. None where no month shown has begun."""
    spans = months_covering(period)
    first, last = (_number(spans[0][0]), _number(spans[-1][1])) if spans else (0, -1)
    end = nw.min_horizontal(nw.lit(last, dtype=nw.Int64), nw.col("today")).cast(nw.Int64)
    return local_today(clock).select("account_id", last=end).filter(nw.col("last") >= first)


def _clients_at_the_end(sold: Lazy, everyone: Lazy, bought: Lazy, end: Lazy) -> Lazy:
    """One row per client who had bought by the day `end`: his state, purchases and rhythm as of that day.

    Args:
        sold: `sales_seen`: revenue is all of them, refunds of a part of a deal included.
        everyone: occasions of all clients: the account's usual gap does not depend on who asks.
        bought: those of the clients asked about, with their manager and thresholds.
        end: one row per account: account_id, last (day number).
    """

    def by_then(rows: Lazy) -> Lazy:
        return rows.join(end, on="account_id", how="inner").filter(nw.col("day") <= nw.col("last"))

    revenue = by_then(sold).group_by(*CLIENT).agg(revenue_minor=nw.col("amount_minor").sum().cast(nw.Int64))
    rhythm = with_overdue(buyers(by_then(everyone)), end.rename({"last": "today"})).drop("revenue_minor")
    return (
        _states(bought, end)
        .select(*CLIENT, "kind", "user_id", "last", "state", "active_d", "churn_d")
        .join(rhythm, on=CLIENT, how="inner")
        .join(revenue, on=CLIENT, how="inner")
    )


def _events(bought: Lazy, months: Lazy) -> Lazy:
    """One row per event in the months shown, with its client, manager, day and gap."""
    col = nw.col
    left = col("next_day").is_null() | (col("next_day") - col("day") > col("churn_d"))
    came_back = (col("gap_d") > col("churn_d")).fill_null(False)
    nothing = nw.lit(None, dtype=nw.Int64)

    def event(rows: Lazy, name: str, *, event_day: nw.Expr, away_d: nw.Expr) -> Lazy:
        return rows.select(
            *CLIENT,
            "kind",
            "user_id",
            "bought_at",
            event=nw.lit(name),
            event_day=event_day,
            away_d=away_d,
            returned_day=col("next_day") if name == "churned_n" else nothing,
        )

    happened = nw.concat(
        [
            event(bought.filter(col("gap_d").is_null()), "new", event_day=col("day"), away_d=nothing),
            event(
                bought.filter(left), "churned_n", event_day=col("day") + col("churn_d") + 1, away_d=col("churn_d") + 1
            ),
            event(bought.filter(came_back), "reactivated_n", event_day=col("day"), away_d=col("gap_d")),
        ]
    )
    return (
        happened.join(months.filter(col("month_no") > 0), on="account_id", how="inner")
        .filter(col("event_day") >= col("first"), col("event_day") <= col("last"))
        .drop("first", "last", "is_complete")
    )


def _revenue(sold: Lazy, bought: Lazy, clients: Lazy, months: Lazy) -> Lazy:
    """Money per month, manager and what the buyer was before the purchase (`REVENUE`)."""
    col = nw.col
    before = (
        nw.when(col("gap_d").is_null())
        .then(nw.lit("new"))
        .when(col("gap_d") <= col("active_d"))
        .then(nw.lit("active"))
        .when(col("gap_d") <= col("churn_d"))
        .then(nw.lit("at_risk"))
        .otherwise(nw.lit("reactivated"))
    )
    known = bought.select(*CLIENT, "day", buyer_was=before)
    is_purchase = ~col("buyer_was").is_null() & (col("amount_minor") > 0) & ~col("is_refunded")
    return (
        with_refunds(sold)
        .filter(~col("amount_minor").is_null())
        .join(clients.select(*CLIENT, "user_id"), on=CLIENT, how="inner")
        .join(known, on=[*CLIENT, "day"], how="left")
        .with_columns(buyer_was=nw.when(is_purchase).then(col("buyer_was")).otherwise(nw.lit("returned")))
        .join(months.filter(col("month_no") > 0), on="account_id", how="inner")
        .filter(col("day") >= col("first"), col("day") <= col("last"))
        .group_by("account_id", "month_no", "user_id", "buyer_was")
        .agg(amount_minor=col("amount_minor").sum())
        .with_columns(amount_minor=col("amount_minor").cast(nw.Int64))
    )


def _gaps(bought: Lazy) -> Lazy:
    """Per account, how many gaps between purchases there are and how many of them look like churn."""
    is_long = nw.when(nw.col("gap_d") > nw.col("churn_d")).then(nw.lit(1)).otherwise(nw.lit(0))
    gaps = bought.filter(~nw.col("gap_d").is_null()).select("account_id", is_long=is_long)
    return (
        gaps.group_by("account_id")
        .agg(n_gaps=nw.len().cast(nw.Int64), n_long=nw.col("is_long").sum())
        .with_columns(nw.col("n_long").cast(nw.Int64))
    )


def _left_out(sold: Lazy) -> Lazy:
    """Per account, sales that cannot count: of no known client, or of no known amount."""
    no_client = nw.when(nw.col("client_id").is_null()).then(nw.lit(1)).otherwise(nw.lit(0))
    no_amount = nw.when(nw.col("amount_minor").fill_null(0) == 0).then(nw.lit(1)).otherwise(nw.lit(0))
    return (
        sold.select("account_id", n_no_client=no_client, n_no_amount=no_amount)
        .group_by("account_id")
        .agg(nw.col("n_no_client").sum(), nw.col("n_no_amount").sum())
        .with_columns(nw.col("n_no_client").cast(nw.Int64), nw.col("n_no_amount").cast(nw.Int64))
    )


def _undated(frames: Frames, params: ClientFlowsParams) -> Lazy:
    """Per account, won deals whose day nobody knows: no purchase can be made of them."""
    is_won = (nw.col("outcome") == "won") & nw.col("is_sales") & nw.lit(params.sale_basis == "won_deal")
    return (
        frames["deal_state"]
        .filter(is_won, nw.col("outcome_epoch").is_null())
        .group_by("account_id")
        .agg(n_undated=nw.len().cast(nw.Int64))
    )


# --- finish ---------------------------------------------------------------------------------------------------------


def finish(collected: dict[str, pl.DataFrame], params: ClientFlowsParams, period: Period) -> MetricResult:
    """The month table, the same per manager, and the clients behind the last stocks and behind every event."""
    spans = months_covering(period)
    months = _table(collected, [], spans, params)
    managers = _with_user_active(_table(collected, ["user_id"], spans, params), collected["people"]).with_columns(
        owner_source=pl.lit("current"),
        moved_in_n=pl.lit(None, pl.Int64),
        moved_out_n=pl.lit(None, pl.Int64),
    )
    return METRIC.result(
        params,
        period,
        tables={
            "months": months.sort("account_id", "month").select(*MONTHS),
            "managers": managers.sort("account_id", "month", "user_id", nulls_last=True).select(*MANAGERS),
            "clients": _client_table(collected),
        },
        drilldown=_drilldown(collected, spans),
        warnings=(
            *_broken(months),
            *_owners_of_now(managers),
            *_left_out_notices(collected),
            *_long_gaps(collected, params),
        ),
    )


MONTHS: dict[str, pl.DataType] = {
    "account_id": pl.String(),
    "month": pl.Date(),
    "complete": pl.Boolean(),
    "stock_on": pl.Date(),
    "active_start": pl.Int64(),
    "at_risk_start": pl.Int64(),
    "churned_start": pl.Int64(),
    "buyers_start": pl.Int64(),
    "new": pl.Int64(),
    "churned_n": pl.Int64(),
    "reactivated_n": pl.Int64(),
    "active": pl.Int64(),
    "at_risk": pl.Int64(),
    "churned": pl.Int64(),
    "buyers": pl.Int64(),
    "churn_num": pl.Int64(),
    "churn_den": pl.Int64(),
    "churn_rate": pl.Float64(),
    "churn_ci_lo": pl.Float64(),
    "churn_ci_hi": pl.Float64(),
    "churn_low_n": pl.Boolean(),
    "reactivation_num": pl.Int64(),
    "reactivation_den": pl.Int64(),
    "reactivation_rate": pl.Float64(),
    "reactivation_ci_lo": pl.Float64(),
    "reactivation_ci_hi": pl.Float64(),
    "reactivation_low_n": pl.Boolean(),
    "revenue_minor": pl.Int64(),
    "revenue_new_minor": pl.Int64(),
    "revenue_active_minor": pl.Int64(),
    "revenue_at_risk_minor": pl.Int64(),
    "revenue_reactivated_minor": pl.Int64(),
    "revenue_returned_minor": pl.Int64(),
    "group_key": pl.String(),
}
"""One row per month. `_start` and bare names are stocks on the day before the month and on `stock_on`; new, churned_n
and reactivated_n are the month's events. The running month has complete=false."""

MANAGERS: dict[str, pl.DataType] = {
    "account_id": pl.String(),
    "month": pl.Date(),
    "user_id": pl.String(),
    "user_active": pl.Boolean(),
    **{name: kind for name, kind in MONTHS.items() if name not in {"account_id", "month", "group_key"}},
    "owner_source": pl.String(),
    "moved_in_n": pl.Int64(),
    "moved_out_n": pl.Int64(),
    "group_key": pl.String(),
}
"""The month table per responsible manager. owner_source `current`: the responsible of now, for want of a history; then
nobody moves in or out."""


CLIENTS: dict[str, pl.DataType] = {
    "account_id": pl.String(),
    "entity_kind": pl.String(),
    "entity_id": pl.String(),
    "url": pl.String(),
    "client_id": pl.String(),
    "user_id": pl.String(),
    "user_active": pl.Boolean(),
    "state": pl.String(),
    "stock_on": pl.Date(),
    "last_sale_on": pl.Date(),
    "days_since": pl.Int64(),
    "n_sales": pl.Int64(),
    "revenue_minor": pl.Int64(),
    "currency": pl.String(),
    "median_gap_d": pl.Float64(),
    "usual_gap_d": pl.Float64(),
    "overdue_ratio": pl.Float64(),
    "active_d": pl.Int64(),
    "churn_d": pl.Int64(),
    "group_key": pl.String(),
}
"""One row per client who had bought by `stock_on`, the last day of the period that has stocks; all is as of that day.

state: one of `STATES`: active up to active_d days after the last purchase, at risk up to churn_d. n_sales: purchase
occasions. revenue_minor: everything sold to him less refunds, in `currency`, the account's. median_gap_d, usual_gap_d:
days between purchases, his own median and the one he is expected to keep (`buyers`). group_key: the month in
whose stocks he is counted.
"""


def _client_table(collected: dict[str, pl.DataFrame]) -> pl.DataFrame:
    """`CLIENTS`: those who brought most come first, of equals those who have been silent longest."""
    return (
        _with_user_active(collected["clients"], collected["people"])
        .join(collected["accounts"], on="account_id", how="left")
        .with_columns(
            OVERDUE_RATIO,
            entity_kind="kind",
            entity_id="client_id",
            url=pl.lit(None, pl.String),
            stock_on=_day("last"),
            last_sale_on=_day("last_day"),
            group_key=_group_key(_day("last")),
        )
        .sort(["revenue_minor", "days_since", "account_id", "client_id"], descending=[True, True, False, False])
        .select(*CLIENTS)
    )


def _with_user_active(rows: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    """`rows` with user_active: null without a manager, true for one the source never listed."""
    is_named = pl.col("user_id").is_not_null()
    flags = known.select("account_id", "user_id", "user_active")
    return rows.join(flags, on=["account_id", "user_id"], how="left").with_columns(
        user_active=pl.when(is_named).then(pl.col("user_active").fill_null(True))
    )


def _day(number: str) -> pl.Expr:
    """The date of a day number."""
    return pl.col(number).cast(pl.Int32).cast(pl.Date)


def _first_days(spans: list[tuple[date, date]]) -> pl.DataFrame:
    """month_no and the month's first day."""
    return pl.DataFrame(
        {"month_no": range(1, len(spans) + 1), "month": [first for first, _ in spans]},
        schema={"month_no": pl.Int64, "month": pl.Date},
    )


def _table(
    collected: dict[str, pl.DataFrame], by: list[str], spans: list[tuple[date, date]], params: ClientFlowsParams
) -> pl.DataFrame:
    """Months of every account (and manager) that has ever had a buyer."""
    in_state = [pl.col("n").filter(pl.col("state") == name).sum().alias(name) for name in STATES]
    stocks = collected["stocks"].group_by("account_id", *by, "month_no").agg(*in_state)
    rows = (
        collected["stocks"]
        .select("account_id", *by)
        .unique()
        .join(collected["months"], on="account_id")
        .join(stocks, on=["account_id", *by, "month_no"], how="left", nulls_equal=True)
        .join(_counts(collected, by), on=["account_id", *by, "month_no"], how="left", nulls_equal=True)
        .join(_money(collected, by), on=["account_id", *by, "month_no"], how="left", nulls_equal=True)
        .with_columns(pl.col(*STATES, *EVENTS, *REVENUE_COLUMNS).fill_null(0))
        .sort("account_id", *by, "month_no", nulls_last=True)
    )
    previous = [pl.col(name).shift(1).over("account_id", *by).alias(f"{name}_start") for name in STATES]
    return (
        rows.with_columns(*previous)
        .filter(pl.col("month_no") > 0)
        .join(_first_days(spans), on="month_no")
        .with_columns(
            complete="is_complete",
            stock_on=_day("last"),
            buyers=pl.sum_horizontal(STATES),
            buyers_start=pl.sum_horizontal(f"{name}_start" for name in STATES),
            churn_num="churned_n",
            churn_den=pl.col("active_start") + pl.col("at_risk_start"),
            reactivation_num="reactivated_n",
            reactivation_den="churned_start",
            group_key=_group_key(pl.col("month")),
        )
        .with_columns(
            *rate_columns("churn_num", "churn_den", "churn_"),
            *rate_columns("reactivation_num", "reactivation_den", "reactivation_"),
            low_n("churn_den", min_n=params.min_n).alias("churn_low_n"),
            low_n("reactivation_den", min_n=params.min_n).alias("reactivation_low_n"),
        )
    )


REVENUE_COLUMNS = ("revenue_minor", *(f"revenue_{name}_minor" for name in REVENUE))


def _group_key(day: pl.Expr) -> pl.Expr:
    """`group_key` of a month, and of what is counted in it."""
    return day.dt.strftime("%Y-%m")


def _counts(collected: dict[str, pl.DataFrame], by: list[str]) -> pl.DataFrame:
    events = collected["events"].group_by("account_id", *by, "month_no")
    return events.agg((pl.col("event") == name).sum().cast(pl.Int64).alias(name) for name in EVENTS)


def _money(collected: dict[str, pl.DataFrame], by: list[str]) -> pl.DataFrame:
    amount = pl.col("amount_minor")
    parts = [amount.filter(pl.col("buyer_was") == name).sum().alias(f"revenue_{name}_minor") for name in REVENUE]
    return collected["revenue"].group_by("account_id", *by, "month_no").agg(amount.sum().alias("revenue_minor"), *parts)


def _drilldown(collected: dict[str, pl.DataFrame], spans: list[tuple[date, date]]) -> pl.DataFrame:
    """Clients per event, oldest first. value: days without a purchase; of who churned, up to his return or to now."""
    away = pl.when(pl.col("event") == "churned_n").then(
        pl.coalesce("returned_day", "today") - (pl.col("event_day") - pl.col("away_d"))
    )
    events = (
        _with_event_at(collected["events"], collected["clock"])
        .join(_first_days(spans), on="month_no")
        .join(collected["clock"].select("account_id", "today"), on="account_id")
        .with_columns(reason=pl.col("event").replace_strict(EVENTS, return_dtype=pl.String))
        .sort("account_id", "month", "event_at", "reason", "client_id")
    )
    return drilldown_rows(
        events,
        entity_kind="kind",
        entity_id="client_id",
        value=pl.coalesce(away, "away_d"),
        value_unit=pl.lit("d"),
        group_key=_group_key(pl.col("month")),
    )


def _with_event_at(events: pl.DataFrame, clock: pl.DataFrame) -> pl.DataFrame:
    """`events` with event_at: the purchase; of a churn, the midnight its day begins with."""
    midnights = [
        events.filter(pl.col("account_id") == account).with_columns(midnight=_midnight(tz))
        for account, tz in clock.select("account_id", "tz").iter_rows()
    ]
    known = pl.concat([events.clear().with_columns(midnight=_midnight("UTC")), *midnights])
    is_churn = pl.col("event") == "churned_n"
    return known.with_columns(event_at=pl.when(is_churn).then("midnight").otherwise("bought_at"))


def _midnight(tz: str) -> pl.Expr:
    """When `event_day` begins in `tz`; where clocks skip midnight, an hour later."""
    day = _day("event_day").cast(pl.Datetime("us"))

    def in_zone(wall: pl.Expr) -> pl.Expr:
        return wall.dt.replace_time_zone(tz, ambiguous="earliest", non_existent="null")

    return pl.coalesce(in_zone(day), in_zone(day + pl.duration(hours=1))).dt.convert_time_zone("UTC")


def _broken(months: pl.DataFrame) -> tuple[Notice, ...]:
    """The identities hold by construction; a broken one is a defect and is said aloud."""
    churned = pl.col("churned_start") + pl.col("churned_n") - pl.col("reactivated_n")
    buyers_end = pl.col("buyers_start") + pl.col("new")
    broken = months.filter((pl.col("churned") != churned) | (pl.col("buyers") != buyers_end))
    if broken.is_empty():
        return ()
    which = ", ".join(sorted({f"{month:%Y-%m}" for month in broken["month"]}))
    return (
        Notice(
            "client_flows_do_not_add_up",
            f"Потоки клиентов не сходятся с остатками ({which}). Это ошибка программы, сообщите о ней.",
            f"Client flows do not add up with the stocks ({which}). This is a defect, please report it.",
        ),
    )


def _owners_of_now(managers: pl.DataFrame) -> tuple[Notice, ...]:
    if managers.is_empty():
        return ()
    return (
        Notice(
            "owner_source_current",
            "История ответственных за клиентов не хранится: все месяцы отнесены к нынешнему ответственному.",
            "The history of clients' responsible users is not kept: all months are counted for the present one.",
        ),
    )


def _left_out_notices(collected: dict[str, pl.DataFrame]) -> tuple[Notice, ...]:
    total = collected["left_out"].sum()
    n_no_client, n_no_amount = (int(total[name].item() or 0) for name in ("n_no_client", "n_no_amount"))
    n_undated = int(collected["undated"]["n_undated"].sum())
    texts = {
        "sales_without_date": (
            n_undated,
            f"Выигранные сделки, у которых неизвестна дата, не считаются покупками: {n_undated}.",
            f"Won deals of unknown date do not count as purchases: {n_undated}.",
        ),
        "sales_without_client": (
            n_no_client,
            f"Продажи без клиента не участвуют в потоках: {n_no_client}.",
            f"Sales without a client are left out: {n_no_client}.",
        ),
        "sales_without_amount": (
            n_no_amount,
            f"Продажи без суммы не считаются покупками: {n_no_amount}. Заполните бюджет выигранных сделок.",
            f"Sales without an amount do not count as purchases: {n_no_amount}. Fill in the amounts of won deals.",
        ),
    }
    return tuple(Notice(code, ru, en) for code, (count, ru, en) in texts.items() if count)


def _long_gaps(collected: dict[str, pl.DataFrame], params: ClientFlowsParams) -> tuple[Notice, ...]:
    """Where more than a tenth of the gaps exceed C, C is below their 90 % quantile: ordinary buyers look churned."""
    gaps = collected["gaps"].filter(pl.col("n_long") * 10 > pl.col("n_gaps"), pl.col("n_gaps") >= params.min_n)
    if gaps.is_empty() or params.personal:
        return ()
    return (
        Notice(
            "churn_threshold_short",
            f"Больше десятой части перерывов между покупками длиннее {params.churn_d} дней: обычные клиенты выглядят "
            "ушедшими. Увеличьте порог оттока или включите личный ритм.",
            f"More than a tenth of the gaps between purchases exceed {params.churn_d} days: ordinary clients look "
            f"churned. "
            "Raise the churn threshold or use personal rhythm.",
        ),
    )


METRIC = Metric(
    id="D6",
    text={
        "ru": Text(
            name="Потоки клиентов: новые, активные, в зоне риска, ушедшие, вернувшиеся",
            definition="Кто из покупателей покупает, кто замолчал и кто вернулся — по месяцам и по менеджерам; и "
            "список клиентов с их состоянием на конец периода.",
            formula="Активный — последняя покупка не более 90 дней назад, в зоне риска — 91–180 дней, ушедший — "
            "больше 180. "
            "Отток = ушли за месяц ÷ (активные + в зоне риска на начало). Возврат = вернулись ÷ ушедшие на начало. "
            "Ушедших на конец = на начало + ушли − вернулись.",
            pitfalls="Если у вас покупают раз в год, порог 180 дней объявит ушедшими всех: увеличьте его или включите "
            "личный "
            "ритм (2 и 4 обычных перерыва клиента). Возвращённые целиком покупки не считаются. Текущий месяц не "
            "закончен.",
        ),
        "en": Text(
            name="Client flows: new, active, at risk, churned, reactivated",
            definition="Which buyers are buying, which have gone quiet and which came back, by month and by manager; "
            "and the list of clients with their state at the end of the period.",
            formula="Active: last purchase at most 90 days ago; at risk: 91–180 days; churned: more than 180. "
            "Churn rate = churned in the month ÷ (active + at risk at its start). Reactivation rate = reactivated ÷ "
            "churned "
            "at its start. Churned at the end = at the start + churned − reactivated.",
            pitfalls="Where people buy once a year, 180 days calls everybody churned: raise it or use personal rhythm "
            "(2 and 4 "
            "usual gaps of the client). Purchases refunded whole do not count. The running month is not over.",
        ),
    },
    params=ClientFlowsParams,
    inputs=("sale", "client", "user", "deal_state", "account"),
    resources=("deal", "deal_stage_transition"),
    counted={"months": ("new", "churned_n", "reactivated_n")},
    subject={"months": None, "managers": "user_id", "clients": "user_id", "drilldown": "user_id"},
    semantics="flow",
    reduce=reduce,
    finish=finish,
    # From any day this reaches the same month of the year before and no further: 13 months with the running one.
    default_period_d=366,
)
