"""E18: how much money this month or quarter will bring, between which bounds, and how earlier forecasts came out.

Source: the metric catalogue, E18. Chances within the time left: `metrics.prospects`; sums: `metrics.stats.forecast`.
"""

from calendar import timegm
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time
from typing import Any, Literal

import narwhals.stable.v2 as nw
import numpy as np
import polars as pl
from pydantic import Field

from metrics.frames import SALES_PURPOSES
from metrics.funnel import DAY_S, PIPELINE, STAGE
from metrics.funnel_scope import (
    DAY,
    FUNNEL_INPUTS,
    FUNNEL_RESOURCES,
    INT,
    PIPELINE_COLUMNS,
    REAL,
    TEXT,
    Lazy,
    Scope,
    deal_rows,
    in_order,
    pipeline_key,
    scope,
    shaped,
    whole_minor,
)
from metrics.metric import Frames, Metric, MetricResult, Notice, Period, Text
from metrics.months import number_of
from metrics.prospects import (
    LOOKBACK_S,
    Landmarks,
    entries,
    landmarks,
    lives,
    n_decided,
    new_odds,
    seconds,
    stays,
    stood,
    with_prospects,
)
from metrics.stage_odds import OddsParams, imputed, odds, odds_inputs, standing_deals
from metrics.stats.forecast import SHARES, arrivals, bootstrap_sums, chance_draws, open_money, score
from metrics.stats.rates import Floats

WEEK_S = 7 * DAY_S
WEEKS = 13
ENOUGH_DECIDED = 50
"""Below so many deals decided within a year E17 stands in."""
ENOUGH_ALIKE = 5
"""So many deals that once stood as long tell of a deal: how little they tell is drawn. To ask for more would liken
cards nobody has worked on for months to fresh ones."""
ENOUGH_AMOUNTS = 10
ENOUGH_ORIGINS = 8
JUDGED_ORIGINS = 12
BACKTEST_SIMS = 1000


class RevenueForecastParams(OddsParams):
    """What is forecast, against which target, and how much is drawn."""

    horizon: Literal["month", "quarter"] = "month"
    """Up to the end of which calendar period."""
    sims: int = Field(default=10_000, ge=100, le=100_000)
    """How often the rest of the period is drawn."""
    seed: int = Field(default=20260101, ge=0)
    target_minor: int | None = Field(default=None, ge=0)
    """Money the whole period should bring, in minor units of the account's currency; None: there is no target."""
    origins: int = Field(default=12, ge=8, le=36)
    """So many earlier periods are forecast again from what was known then."""


def reduce(frames: Frames, params: RevenueForecastParams, period: Period) -> dict[str, Lazy]:
    """Open deals, wins and all stays of the pipelines that sell (R-ENTITY), and changes of amounts."""
    seen = _selling(scope(frames, params), frames)
    won = seen.deals.filter(nw.col("outcome") == "won")
    now = seen.clock.select("account_id", "as_of_epoch", "as_of_local")
    changes = frames["deal_amount_change"].join(now, on="account_id", how="inner")
    facts = ["created_local", "outcome", "outcome_local", "amount_minor"]
    return {
        "clock": now,
        "rungs": seen.rungs,
        "pipelines": seen.pipelines,
        "open": standing_deals(seen),
        "deals": seen.deals.select("account_id", "deal_id", *facts),
        "wins": won.select(*PIPELINE, "deal_id", "created_local", "outcome_local", "amount_minor"),
        "stays": stays(seen.visits),
        "changes": changes.filter(nw.col("changed_epoch") <= nw.col("as_of_epoch")).select(
            "account_id", "deal_id", "change_id", "changed_local", "from_minor", "to_minor"
        ),
        **odds_inputs(seen, params),
    }


def _selling(seen: Scope, frames: Frames) -> Scope:
    purpose = nw.col("purpose")
    sells = frames["pipeline"].filter(purpose.is_in(list(SALES_PURPOSES)) | purpose.is_null()).select(*PIPELINE)

    def of_sales(rows: Lazy) -> Lazy:
        return rows.join(sells, on=PIPELINE, how="semi")

    return replace(
        seen,
        deals=of_sales(seen.deals),
        visits=of_sales(seen.visits),
        rungs=of_sales(seen.rungs),
        pipelines=of_sales(seen.pipelines),
    )


@dataclass(frozen=True)
class Known:
    """All there is of one account; every function that takes an instant looks no further than it.

    open: deals that stand on a rung now. deals: created_s, ended_s, amount_minor as it is now or was at the outcome.
    wins: pipeline_id, deal_id, created_s, won_s, amount_minor. lives, arrived, landmarks: of `metrics.prospects`.
    changes: of amounts, in order. early_odds, early_wins: what E17 takes.
    """

    now_s: int
    rungs: pl.DataFrame
    open: pl.DataFrame
    deals: pl.DataFrame
    wins: pl.DataFrame
    lives: pl.DataFrame
    arrived: pl.DataFrame
    landmarks: Landmarks
    changes: pl.DataFrame
    early_odds: pl.DataFrame
    early_wins: pl.DataFrame


def finish(collected: dict[str, pl.DataFrame], params: RevenueForecastParams, period: Period) -> MetricResult:
    """The forecast of each account, its parts and pipelines, and how the same forecast did in earlier periods."""
    early_odds = odds(collected["rungs"], collected["reached"], params)
    parts: dict[str, list[dict[str, Any]]] = {
        "total": [],
        "components": [],
        "pipelines": [],
        "backtest": [],
        "score": [],
    }
    rows: list[pl.DataFrame] = []
    warned: list[Notice] = []
    for account, as_of in collected["clock"].sort("account_id").select("account_id", "as_of_local").iter_rows():
        known = _known(collected, early_odds, account, as_of)
        if known.deals.is_empty():
            continue
        start_s, end_s = _bounds(as_of, params.horizon, 0)
        origin = Origin(known.now_s, start_s, end_s)
        draws = _forecast(known, origin, params, params.sims)
        told = {"account_id": account}
        parts["total"].append(told | _total(draws, known, origin, params))
        parts["components"] += [told | row for row in _components(draws)]
        parts["pipelines"] += [told | row for row in _pipelines(draws)]
        rows.append(draws.deals)
        if draws.basis == "simulated":
            tried = list(_backtest(known, origin, as_of, params))
            parts["backtest"] += [told | row for row in tried]
            parts["score"] += [told | row for row in _scored(tried)]
        warned += _notices(account, draws, known, parts["score"])
    pipelines = in_order(pl.DataFrame(parts["pipelines"], schema=_given(PIPELINES)), collected["pipelines"])
    return METRIC.result(
        params,
        period,
        tables={
            **{name: pl.DataFrame(parts[name], schema=TABLES[name]) for name in ("total", "components")},
            "pipelines": pipelines.with_columns(pipeline_key()).pipe(shaped, PIPELINES),
            **{name: pl.DataFrame(parts[name], schema=TABLES[name]) for name in ("backtest", "score")},
        },
        drilldown=_drilldown(pl.concat(rows) if rows else pl.DataFrame(schema=DEALS)),
        warnings=tuple(warned),
    )


QUANTILES: dict[str, pl.DataType] = dict.fromkeys(("mean_minor", "p10_minor", "p50_minor", "p90_minor"), INT)
COUNTS: dict[str, pl.DataType] = {"n_open": INT, "n_imputed": INT, "n_won": INT}
TOTAL: dict[str, pl.DataType] = {
    "account_id": TEXT,
    "first_on": DAY,
    "end_on": DAY,
    "basis": TEXT,
    **COUNTS,
    "already_minor": INT,
    **QUANTILES,
    "target_minor": INT,
    "p_target": REAL,
}
"""One row per account: money of the whole period [first_on, end_on), what is already won (already_minor) included.
basis: simulated, or e17 where too few deals are decided: then without new business and without timing."""
COMPONENTS: dict[str, pl.DataType] = {"account_id": TEXT, "component": TEXT, **QUANTILES}
"""already_won, open_deals, new_business (null: not known). Means add up to the total's, quantiles do not."""
PIPELINES: dict[str, pl.DataType] = {
    **PIPELINE_COLUMNS,
    **COUNTS,
    "already_minor": INT,
    "open_minor": INT,
    "new_minor": INT,
    **QUANTILES,
    "group_key": TEXT,
}
BACKTEST: dict[str, pl.DataType] = {
    "account_id": TEXT,
    "first_on": DAY,
    "end_on": DAY,
    "origin_local": pl.Datetime("us"),
    "n_open_then": INT,
    **QUANTILES,
    "actual_minor": INT,
    "is_within": pl.Boolean(),
}
"""One row per earlier period, forecast with as much time left as now, from what was known at origin_local."""
SCORE: dict[str, pl.DataType] = {
    "account_id": TEXT,
    "n_origins": INT,
    "n_within": INT,
    **dict.fromkeys(("coverage", "ci_lo", "ci_hi", "bias", "wape"), REAL),
    **dict.fromkeys(("pinball10_minor", "pinball50_minor", "pinball90_minor"), INT),
}
"""coverage: share of the earlier periods whose money lay within their 80 % interval."""
TABLES = {"total": TOTAL, "components": COMPONENTS, "backtest": BACKTEST, "score": SCORE}
DEALS: dict[str, pl.DataType] = {
    "account_id": TEXT,
    "pipeline_id": TEXT,
    "deal_id": TEXT,
    "client_id": TEXT,
    "user_id": TEXT,
    "entered_at": pl.Datetime("us", "UTC"),
    "is_imputed": pl.Boolean(),
    "expected": REAL,
}


def _given(schema: dict[str, pl.DataType]) -> dict[str, pl.DataType]:
    return {name: kind for name, kind in schema.items() if name not in ("pipeline_name", "group_key")}


def _known(collected: Mapping[str, pl.DataFrame], early_odds: pl.DataFrame, account: str, as_of: datetime) -> Known:
    own = {name: rows.filter(account_id=account) for name, rows in collected.items() if "account_id" in rows.columns}
    deals = own["deals"].with_columns(created_s=seconds("created_local"), ended_s=seconds("outcome_local"))
    now_s, lived = _second(as_of), lives(own["stays"])
    standing = own["open"].join(deals.select("deal_id", "created_s"), on="deal_id").sort("deal_id")
    since = pl.coalesce(seconds("entered_local"), "created_s")  # of unknown entry: as old as the deal
    return Known(
        now_s=now_s,
        rungs=own["rungs"],
        open=standing.with_columns(age_s=pl.max_horizontal(pl.lit(0), now_s - since)),
        deals=deals.select("deal_id", "created_s", "ended_s", "amount_minor"),
        wins=own["wins"]
        .with_columns(won_s=seconds("outcome_local"), created_s=seconds("created_local"))
        .filter(pl.col("won_s").is_not_null())
        .sort("won_s", "deal_id"),
        lives=lived,
        arrived=entries(lived),
        landmarks=landmarks(lived, own["rungs"]),
        changes=own["changes"].with_columns(changed_s=seconds("changed_local")).sort("changed_s", "change_id"),
        early_odds=early_odds.filter(account_id=account),
        early_wins=own["won_amounts"],
    )


# Calendar.


@dataclass(frozen=True)
class Origin:
    """Where a forecast stands: at now_s within [start_s, end_s), wall seconds."""

    now_s: int
    start_s: int
    end_s: int

    @property
    def left_s(self) -> int:
        return self.end_s - self.now_s


def _bounds(as_of: datetime, horizon: str, back: int) -> tuple[int, int]:
    """First and end second of the period that `as_of` is in, or of one `back` periods ago."""
    length = 1 if horizon == "month" else 3
    first = number_of(as_of.date()) // length * length - back * length
    return _second(_month(first)), _second(_month(first + length))


def _month(number: int) -> datetime:
    return datetime.combine(date(number // 12, number % 12 + 1, 1), time.min)


def _second(wall: datetime) -> int:
    return timegm(wall.timetuple())


def _wall(second: int) -> datetime:
    return datetime.fromtimestamp(second, UTC).replace(tzinfo=None)


# The forecast.


@dataclass(frozen=True)
class Draws:
    """Money by pipeline, one number per simulation. new: empty where new business is not forecast."""

    basis: str
    already: dict[str, float]
    n_won: dict[str, int]
    open: dict[str, Floats]
    new: dict[str, Floats]
    deals: pl.DataFrame
    n_unpriced: int

    def of(self, pipeline: str) -> Floats:
        parts = [part[pipeline] for part in (self.open, self.new) if pipeline in part]
        return np.asarray(sum(parts, start=np.zeros(1)) + self.already.get(pipeline, 0.0))

    @property
    def pipelines(self) -> list[str]:
        return sorted({*self.already, *self.open, *self.new})

    @property
    def total(self) -> Floats:
        return np.asarray(sum((self.of(name) for name in self.pipelines), start=np.zeros(1)))


def _forecast(known: Known, origin: Origin, params: RevenueForecastParams, sims: int) -> Draws:
    """At `as_of`: what is open now; without enough history by E17."""
    if n_decided(known.lives, origin.now_s) >= ENOUGH_DECIDED:
        standing = _prospects(known, known.open, origin, params)
        if not standing["trials"].is_null().any():
            return _drawn(known, origin, standing, seed=params.seed, sims=sims)
    chances = known.early_odds.select(
        *STAGE, successes=pl.col("wins").cast(pl.Float64), trials=pl.col("decided").cast(pl.Float64)
    ).with_columns(cell=pl.concat_str("pipeline_id", "stage_id", separator="|"))
    priced = imputed(known.open, known.early_wins).join(chances, on=STAGE, how="left", maintain_order="left")
    return _drawn(known, origin, priced, seed=params.seed, sims=sims, basis="e17")


def _prospects(known: Known, standing: pl.DataFrame, origin: Origin, params: RevenueForecastParams) -> pl.DataFrame:
    return with_prospects(
        standing.with_columns(
            amount=pl.col("amount_minor").cast(pl.Float64), is_imputed=pl.col("amount_minor").is_null()
        ),
        known.landmarks,
        now_s=origin.now_s,
        horizon_s=origin.left_s,
        min_known=ENOUGH_ALIKE,
    )


def _drawn(
    known: Known,
    origin: Origin,
    standing: pl.DataFrame,
    *,
    seed: int,
    sims: int,
    basis: str = "simulated",
) -> Draws:
    """Draw what `standing` deals (cell, successes, trials, amount) bring, and what comes new."""
    is_simulated = basis == "simulated"
    rng = np.random.default_rng([seed, origin.now_s])
    recent = known.wins.filter(
        pl.col("won_s").is_between(origin.now_s - LOOKBACK_S, origin.now_s), pl.col("amount_minor").is_not_null()
    )
    ratios = _ratios(known, recent, origin) if is_simulated else np.ones(1)
    cells = standing.unique("cell", keep="first", maintain_order=True).sort("cell").with_row_index("cell_no")
    chances = chance_draws(cells["successes"], cells["trials"], sims, rng)
    placed = standing.join(cells.select("cell", "cell_no"), on="cell", how="left", maintain_order="left")
    opened: dict[str, Floats] = {}
    told = []
    for (pipeline,), part in placed.group_by("pipeline_id", maintain_order=True):
        pool = _pool(recent, str(pipeline))
        opened[str(pipeline)] = _open_sums(part, chances, pool, ratios, rng)
        one = np.mean(pool) if pool.size else None
        value = pl.coalesce(pl.col("amount") * float(np.mean(ratios)), pl.lit(one, pl.Float64))
        told.append(part.with_columns(expected=value * (pl.col("successes") + 0.5) / (pl.col("trials") + 1)))
    already = known.wins.filter(pl.col("won_s") >= origin.start_s, pl.col("won_s") <= origin.now_s)
    return Draws(
        basis=basis,
        already={
            row[0]: float(row[1]) for row in already.group_by("pipeline_id").agg(pl.col("amount_minor").sum()).rows()
        },
        n_won=dict(already.group_by("pipeline_id").len().rows()),
        open=opened,
        new=_new(known, origin, recent, sims, rng) if is_simulated else {},
        deals=_told(pl.concat(told) if told else placed.with_columns(expected=pl.lit(None, pl.Float64))),
        n_unpriced=sum(part.filter(pl.col("expected").is_null()).height for part in told),
    )


def _told(deals: pl.DataFrame) -> pl.DataFrame:
    missing = [pl.lit(None, kind).alias(name) for name, kind in DEALS.items() if name not in deals.columns]
    return deals.with_columns(missing).pipe(shaped, DEALS)


def _open_sums(deals: pl.DataFrame, chances: Floats, pool: Floats, ratios: Floats, rng: np.random.Generator) -> Floats:
    """Deals of known amount by it; others take an amount of an earlier win."""
    priced, unpriced = deals.filter(pl.col("amount").is_not_null()), deals.filter(pl.col("amount").is_null())
    total = open_money(priced["amount"].to_numpy(), priced["cell_no"].to_numpy(), chances, rng, ratios)
    if not pool.size:
        return total
    for cell, n in unpriced.group_by("cell_no").len().sort("cell_no").rows():
        total = total + bootstrap_sums(rng.binomial(n, chances[cell]), pool, rng)
    return total


def _pool(recent: pl.DataFrame, pipeline: str) -> Floats:
    """Amounts of wins of the year before: of the pipeline, of all where it has few."""
    own = recent.filter(pipeline_id=pipeline)
    chosen = own if own.height >= ENOUGH_AMOUNTS else recent
    return chosen["amount_minor"].cast(pl.Float64).to_numpy()


def _new(known: Known, origin: Origin, recent: pl.DataFrame, sims: int, rng: np.random.Generator) -> dict[str, Floats]:
    """Money of deals that are not there yet, by pipeline."""
    came = known.arrived.filter(pl.col("entered_s") <= origin.now_s)
    first_s = came["entered_s"].min()
    weeks = 0 if first_s is None else min(WEEKS, (origin.now_s - int(first_s)) // WEEK_S)  # type: ignore[arg-type]
    chances = new_odds(known.arrived, now_s=origin.now_s, horizon_s=origin.left_s)
    found: dict[str, Floats] = {}
    for pipeline, successes, trials in chances.select("pipeline_id", "successes", "trials").sort("pipeline_id").rows():
        pool = _pool(recent, pipeline)
        age = (origin.now_s - came.filter(pipeline_id=pipeline)["entered_s"].to_numpy()) // WEEK_S
        weekly = np.bincount(age[age < weeks], minlength=weeks) if weeks else np.zeros(0)
        n = arrivals(weekly, origin.left_s / WEEK_S, sims, rng)
        won = rng.binomial(n, chance_draws([successes], [trials], sims, rng)[0])
        if pool.size:
            found[pipeline] = bootstrap_sums(won, pool, rng)
    return found


# Amounts as they were.


def _own_amounts(known: Known, rows: pl.DataFrame, instant: str) -> Floats:
    """What the log says the amount of each of `rows` (deal_id) was at `instant`, in the deal's own currency; NaN where
    it was not filled in, 1 where nothing was ever logged (then it has always been what it is)."""
    changes = known.changes.select("deal_id", "changed_s", "to_minor", is_later=pl.lit(True))
    before = known.changes.unique("deal_id", keep="first", maintain_order=True).select("deal_id", "from_minor")
    joined = (
        rows.select("deal_id", instant)
        .with_row_index("row")
        .sort(instant)
        .join_asof(
            changes, left_on=instant, right_on="changed_s", by="deal_id", strategy="backward", check_sortedness=False
        )
        .join(before.with_columns(is_logged=pl.lit(True)), on="deal_id", how="left")
        .sort("row")
    )
    amount = pl.when(pl.col("is_later").is_not_null()).then("to_minor").otherwise("from_minor").cast(pl.Float64)
    filled = pl.when(amount > 0).then(amount).otherwise(float("nan"))
    told = pl.when(pl.col("is_logged").is_not_null()).then(filled).otherwise(1.0)
    return joined.select(amount=told.fill_null(float("nan")))["amount"].to_numpy()


def _ratios(known: Known, recent: pl.DataFrame, origin: Origin) -> Floats:
    """Final amount over that half of the time left earlier, of each of the `recent` wins."""
    if known.changes.is_empty() or recent.is_empty():
        return np.ones(1)
    earlier = pl.max_horizontal("created_s", pl.col("won_s") - origin.left_s // 2)
    rows = recent.with_columns(earlier_s=earlier)
    ratios = _own_amounts(known, rows, "won_s") / _own_amounts(known, rows, "earlier_s")
    ratios = ratios[np.isfinite(ratios)]
    return ratios if ratios.size and (ratios != 1).any() else np.ones(1)


def _then(known: Known, origin: Origin) -> pl.DataFrame:
    """Deals open at an earlier origin, with their amounts then."""
    rows = stood(known.lives, origin.now_s).join(known.rungs.select(STAGE), on=STAGE, how="semi")
    rows = rows.join(known.deals, on="deal_id", how="inner").sort("deal_id").with_columns(origin_s=pl.lit(origin.now_s))
    settled = rows.with_columns(told_s=pl.coalesce("ended_s", pl.lit(known.now_s)))
    ratio = _own_amounts(known, settled, "origin_s") / _own_amounts(known, settled, "told_s")
    amount = pl.col("amount_minor") * pl.Series(ratio, dtype=pl.Float64)
    return rows.with_columns(amount_minor=pl.when(amount.is_not_nan() & (amount > 0)).then(amount))


# The backtest.


def _backtest(known: Known, origin: Origin, as_of: datetime, params: RevenueForecastParams) -> Iterable[dict[str, Any]]:
    """Earlier periods, the latest first, each with as much time left as now; those with too little history left out."""
    for back in range(1, params.origins + 1):
        start_s, end_s = _bounds(as_of, params.horizon, back)
        then = Origin(max(start_s, end_s - origin.left_s), start_s, end_s)
        if n_decided(known.lives, then.now_s) < ENOUGH_DECIDED:
            continue
        standing = _prospects(known, _then(known, then), then, params)
        if standing["trials"].is_null().any():
            continue
        money = _drawn(known, then, standing, seed=params.seed, sims=min(params.sims, BACKTEST_SIMS)).total
        came = known.wins.filter(pl.col("won_s") >= start_s, pl.col("won_s") < end_s)["amount_minor"].sum()
        told = _quantiles(money)
        yield {
            "first_on": _wall(start_s).date(),
            "end_on": _wall(end_s).date(),
            "origin_local": _wall(then.now_s),
            "n_open_then": standing.height,
            **told,
            "actual_minor": int(came),
            "is_within": told["p10_minor"] <= came <= told["p90_minor"],
        }


def _scored(rows: list[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    quantiles = np.array([[row[f"p{share * 100:.0f}_minor"] for share in SHARES] for row in rows]).reshape(-1, 3)
    result = score([row["mean_minor"] for row in rows], quantiles, [row["actual_minor"] for row in rows])
    if result is not None:
        names = ("pinball10_minor", "pinball50_minor", "pinball90_minor")
        yield {
            "n_origins": result.n,
            "n_within": result.n_within,
            **{name: getattr(result, name) for name in ("coverage", "ci_lo", "ci_hi", "bias", "wape")},
            **{name: round(loss) for name, loss in zip(names, result.pinball, strict=True)},
        }


# Tables.


def _quantiles(money: Floats) -> dict[str, int]:
    p10, p50, p90 = np.quantile(money, SHARES)
    return {
        "mean_minor": round(float(money.mean())),
        "p10_minor": round(float(p10)),
        "p50_minor": round(float(p50)),
        "p90_minor": round(float(p90)),
    }


def _total(draws: Draws, known: Known, origin: Origin, params: RevenueForecastParams) -> dict[str, Any]:
    money = draws.total
    return {
        "first_on": _wall(origin.start_s).date(),
        "end_on": _wall(origin.end_s).date(),
        "basis": draws.basis,
        "n_open": draws.deals.height,
        "n_imputed": int(draws.deals["is_imputed"].sum()),
        "n_won": sum(draws.n_won.values()),
        "already_minor": round(sum(draws.already.values())),
        **_quantiles(money),
        "target_minor": params.target_minor,
        "p_target": None if params.target_minor is None else float((money >= params.target_minor).mean()),
    }


def _components(draws: Draws) -> Iterable[dict[str, Any]]:
    yield {"component": "already_won", **_quantiles(np.array([sum(draws.already.values())]))}
    yield {"component": "open_deals", **_quantiles(np.asarray(sum(draws.open.values(), start=np.zeros(1))))}
    is_known = draws.basis == "simulated"
    new = np.asarray(sum(draws.new.values(), start=np.zeros(1)))
    yield {"component": "new_business", **(_quantiles(new) if is_known else {})}


def _pipelines(draws: Draws) -> Iterable[dict[str, Any]]:
    counts = {
        row[0]: row[1:] for row in draws.deals.group_by("pipeline_id").agg(pl.len(), pl.col("is_imputed").sum()).rows()
    }
    for name in draws.pipelines:
        n_open, n_imputed = counts.get(name, (0, 0))
        new = draws.new.get(name, np.zeros(1)) if draws.basis == "simulated" else None
        yield {
            "pipeline_id": name,
            "n_open": n_open,
            "n_imputed": n_imputed,
            "n_won": draws.n_won.get(name, 0),
            "already_minor": round(draws.already.get(name, 0.0)),
            "open_minor": round(float(draws.open.get(name, np.zeros(1)).mean())),
            "new_minor": None if new is None else round(float(new.mean())),
            **_quantiles(draws.of(name)),
        }


def _drilldown(deals: pl.DataFrame) -> pl.DataFrame:
    """Open deals, those that are expected to bring most first; value = amount times the chance to be won in time."""
    ordered = deals.sort("account_id", "expected", "deal_id", descending=[False, True, False], nulls_last=True)
    return deal_rows(
        ordered.with_columns(pipeline_key()),
        event_at="entered_at",
        value=whole_minor(pl.col("expected")),
        value_unit=pl.lit("minor"),
        reason=pl.when("is_imputed").then(pl.lit("AMOUNT_IMPUTED")).otherwise(pl.lit("OPEN")),
    )


def _notices(account: str, draws: Draws, known: Known, scores: list[dict[str, Any]]) -> Iterable[Notice]:
    if draws.basis == "e17":
        yield Notice(
            "too_few_decided",
            f"В аккаунте «{account}» за год решено меньше {ENOUGH_DECIDED} сделок с известной историей: вместо "
            "прогноза показана взвешенная воронка (E17), без сроков и новых сделок.",
            f"Fewer than {ENOUGH_DECIDED} deals of known history were decided within a year in account “{account}”: "
            "instead of a forecast the weighted pipeline (E17) is shown, without timing and new business.",
        )
        return
    if draws.n_unpriced:
        yield Notice(
            "no_won_money",
            "Выигранных сделок с суммой за год нет: открытые сделки без суммы в деньги не вошли.",
            "No deal won within a year has an amount: open deals without one are not in the money.",
        )
    if known.changes.is_empty():
        yield Notice(
            "amounts_of_now",
            "История сумм пуста: проверка на прошлом взяла нынешние суммы сделок и может выглядеть лучше, чем есть.",
            "The history of amounts is empty: the backtest took present amounts and may look better than it is.",
        )
    own = [row for row in scores if row["account_id"] == account]
    n = own[0]["n_origins"] if own else 0
    if n < ENOUGH_ORIGINS:
        yield Notice(
            "backtest_short",
            f"Проверить прогноз можно только на {n} прошлых периодах (надо хотя бы {ENOUGH_ORIGINS}): истории мало, "
            "границам верьте с оглядкой.",
            f"The forecast can be tried on {n} earlier periods only ({ENOUGH_ORIGINS} are needed): there is little "
            "history, take the bounds with care.",
        )
    if n >= JUDGED_ORIGINS and not 0.65 <= own[0]["coverage"] <= 0.95:
        yield Notice(
            "interval_off",
            f"На прошлых периодах в границы 80 % попало {own[0]['n_within']} из {n}: границам верить нельзя.",
            f"Of {n} earlier periods {own[0]['n_within']} came within the 80% bounds: they are not to be trusted.",
        )


RU = Text(
    name="Прогноз выручки",
    definition=(
        "Сколько денег принесёт текущий месяц (или квартал): уже выигранное, плюс открытые сделки, которые успеют "
        "закрыться, плюс новые, которых ещё нет. Показаны среднее и границы: с вероятностью 80 % итог между P10 и P90."
    ),
    formula=(
        "Остаток периода разыгран много раз. Открытая сделка выигрывает с вероятностью, с какой за столько же времени "
        "выигрывали сделки, простоявшие на этом этапе столько же (Аален — Йохансен, прошлый год); сама вероятность "
        "тоже разыграна: Бета(побед + ½, остальных + ½). Сумма × случайное отношение итоговой суммы к прежней; без "
        "суммы — сумма случайной выигранной. Новые сделки: поток 13 недель × шанс успеть × сумма случайной выигранной. "
        "Проверка: те же расчёты на прошлые периоды, с тем же остатком времени, только по известному тогда."
    ),
    pitfalls=(
        "Сделки считаются независимыми, сезон и новые акции не учтены. Смотрите на проверку: если в границы 80 % "
        "прошлые периоды попадают редко, границы узки. Удалённые с тех пор сделки в проверку не попадают. Карточки, "
        "которые никто не ведёт, прогноз почти не поднимают: их возраст учтён."
    ),
)
EN = Text(
    name="Revenue forecast",
    definition=(
        "How much money this month (or quarter) will bring: what is won already, plus open deals that make it in time, "
        "plus new ones that are not there yet. The mean and bounds are shown: with 80% probability it ends up between "
        "P10 and P90."
    ),
    formula=(
        "The rest of the period is drawn many times. An open deal is won with the chance that deals had which stood on "
        "its stage for as long, within as much time (Aalen–Johansen, the last year); the chance itself is drawn too: "
        "Beta(wins + ½, others + ½). Amount × a random ratio of final to earlier amounts; without an amount that of a "
        "random win. New deals: the flow of 13 weeks × the chance to make it × the amount of a random win. "
        "Backtest: the same for earlier periods with as much time left, from what was known then only."
    ),
    pitfalls=(
        "Deals are taken as independent; seasons and new campaigns are not known. Look at the backtest: if earlier "
        "periods seldom fall within the 80% bounds, the bounds are too narrow. Deals deleted since are not in the "
        "backtest. Cards nobody works on hardly raise the forecast: their age is taken into account."
    ),
)

METRIC = Metric(
    id="E18",
    text={"ru": RU, "en": EN},
    params=RevenueForecastParams,
    inputs=(*FUNNEL_INPUTS, "deal_amount_change"),
    resources=FUNNEL_RESOURCES,
    subject={
        "total": None,
        "components": None,
        "pipelines": None,
        "backtest": None,
        "score": None,
        "drilldown": "user_id",
    },
    semantics="snapshot",
    reduce=reduce,
    finish=finish,
    default_period_d=365,
    reads_period=False,
    counted={"pipelines": ("n_open",)},
    adds_up={"pipelines": "total"},
)
