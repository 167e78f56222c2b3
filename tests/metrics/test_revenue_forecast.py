"""E18: money of the running period, its bounds, and what the same forecast said earlier."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import numpy as np
import polars as pl
import pytest
from engines import on_every_engine
from funnel_paths import KINDS, RUNGS, answer, path, stages

from metrics.metric import MetricResult, Period
from metrics.prospects import landmarks, lives, with_prospects
from metrics.revenue_forecast import METRIC
from metrics.stats.forecast import SINGLE, arrivals, bootstrap_sums, chance_draws, open_money, score
from metrics.stats.survival import aalen_johansen, shares_by
from metrics.weighted_pipeline import METRIC as WEIGHTED

FOUR = np.array([1_000_000.0, 500_000, 200_000, 2_000_000]), np.array([0.2, 0.5, 0.8, 0.1])
SIMS = 10_000
MAY_10 = datetime(2026, 5, 10, 9, tzinfo=UTC)


def drawn(seed: int) -> Any:
    return np.random.default_rng(seed)


# Formulas.


def test_e18_the_example_of_the_catalogue() -> None:
    amounts, p = FOUR
    money = open_money(amounts, range(4), np.repeat(p[:, None], SIMS, axis=1), drawn(20260101))
    assert abs(money.mean() - 810_000) <= 23_021.9
    assert money.std() == pytest.approx(767_398.2, rel=0.03)


def test_many_small_deals_bring_what_as_many_single_ones_would() -> None:
    """The dearest are drawn one by one, the rest by their number: mean and spread are those of E17."""
    amounts = drawn(1).lognormal(10, 0.5, SINGLE * 4)
    money = open_money(amounts, np.arange(amounts.size) % 2, np.full((2, SIMS), [[0.1], [0.3]]), drawn(2))
    p = np.where(np.arange(amounts.size) % 2, 0.3, 0.1)
    assert money.mean() == pytest.approx((amounts * p).sum(), rel=0.01)
    assert money.std() == pytest.approx(np.sqrt((amounts**2 * p * (1 - p)).sum()), rel=0.05)


def test_forecast_intervals_of_80_percent_cover_76_to_84_of_100_simulated_months() -> None:
    """5.8 (3): chances are not known, only what became of 40 earlier deals; new deals come beside the open ones."""
    rng, hits = drawn(5), 0
    for _ in range(500):
        p, rate = rng.beta(2, 5), rng.gamma(20, 0.5)
        amounts, pool = rng.lognormal(10, 0.7, 30), rng.lognormal(10, 0.7, 200)
        chances = chance_draws([rng.binomial(40, p)], [40], 300, rng)
        n = rng.binomial(arrivals(rng.poisson(rate, 13), 2.0, 300, rng), chances[0])
        forecast = open_money(amounts, np.zeros(30), chances, rng) + bootstrap_sums(n, pool, rng)
        came = (amounts * (rng.random(30) < p)).sum()
        came += rng.lognormal(10, 0.7, rng.binomial(rng.poisson(2 * rate), p)).sum()
        low, high = np.quantile(forecast, (0.1, 0.9))
        hits += bool(low <= came <= high)
    assert 0.76 <= hits / 500 <= 0.84


def test_arrivals_vary_as_the_weeks_did() -> None:
    calm, wild = np.full(13, 10), np.array([0, 30] * 6 + [10])
    quiet, loud = (arrivals(weeks, 4.0, SIMS, drawn(3)) for weeks in (calm, wild))
    assert quiet.mean() == pytest.approx(40, rel=0.02)
    assert quiet.var() == pytest.approx(40 + 16 * 10 / 13, rel=0.06)  # of the count and of its mean
    spread = wild.var(ddof=1)
    assert loud.mean() == pytest.approx(4 * wild.mean(), rel=0.03)
    assert loud.var() == pytest.approx(4 * spread + 16 * spread / 13, rel=0.08)


def test_the_score_of_forecasts() -> None:
    told = score([100, 200], [[50, 100, 150], [150, 200, 250]], [100, 300])
    assert told is not None
    assert (told.n, told.n_within, told.bias, told.wape) == (2, 1, -0.25, 0.25)
    assert told.pinball == pytest.approx((0.1 * (50 + 150) / 2, 0.5 * 100 / 2, (0.1 * 50 + 0.9 * 50) / 2))
    assert score([], [], []) is None


def test_shares_of_many_groups_are_those_of_each() -> None:
    rng = drawn(4)
    groups, t = rng.integers(0, 3, 200), rng.integers(0, 12, 200)
    causes = np.array(["won", "lost", None], dtype=object)[rng.integers(0, 3, 200)]
    found = shares_by(groups, t, causes != None, causes == "won", horizons=(0, 5, 11), n=4)  # noqa: E711
    for group in range(3):
        curve = aalen_johansen(t[groups == group], causes[groups == group])
        assert found[group] == pytest.approx([curve.at(horizon, "won") for horizon in (0, 5, 11)])
    assert np.isnan(found[3]).all()


# What deals promise, by what became of earlier ones.


def known_of(*paths: dict[str, Any]) -> pl.DataFrame:
    rows = [visit | {"account_id": "main", "is_known": True} for one in paths for visit in one["visits"]]
    for visit, after in zip(rows, [*rows[1:], None], strict=True):
        goes_on = after is not None and after["deal_id"] == visit["deal_id"]
        visit["next_pipeline_id"], visit["next_kind"] = (
            (after["pipeline_id"], after["stage_kind"]) if after is not None and goes_on else (None, None)
        )
        for name in ("entered", "left"):
            at = visit.pop(f"{name}_at")
            visit[f"{name}_local"] = at and at.replace(tzinfo=None)
    return lives(pl.DataFrame(rows, infer_schema_length=None))


def chance(known: pl.DataFrame, age_d: float, horizon_d: float, *, at: datetime = MAY_10) -> tuple[float, float]:
    standing = pl.DataFrame({"account_id": ["main"], "pipeline_id": ["p"], "stage_id": ["1"]})
    rungs = pl.DataFrame({**standing.to_dict(as_series=False), "stage_sort": [10]})
    now_s = int(at.timestamp())
    asked = standing.with_columns(age_s=pl.lit(int(age_d * 86_400)))
    earlier = landmarks(known, rungs)
    row = with_prospects(asked, earlier, now_s=now_s, horizon_s=int(horizon_d * 86_400), min_known=5)
    return row["successes"].item(), row["trials"].item()


def test_a_chance_is_of_deals_that_stood_there_as_long_and_of_the_time_left() -> None:
    """Ten were won after 3 days, ten lost after 20: whoever still stands after a week has lost."""
    start = MAY_10 - timedelta(days=100)
    quick = [path(f"w{n}", "1W", start=start, hours=72) for n in range(10)]
    slow = [path(f"l{n}", "1L", start=start, hours=480) for n in range(10)]
    known = known_of(*quick, *slow)
    assert chance(known, 0, 30) == pytest.approx((10, 20))
    assert chance(known, 0, 2) == (0, 20)
    assert chance(known, 8, 30) == pytest.approx((0, 10))


def test_what_happens_later_is_not_known_then() -> None:
    start = MAY_10 - timedelta(days=10)
    known = known_of(*(path(f"w{n}", "1W", start=start, hours=24 * (n + 1)) for n in range(20)))
    successes, trials = chance(known, 0, 30, at=start + timedelta(days=5))
    assert (successes / trials, trials) == pytest.approx((5 / 20, 5))  # fifteen are not decided yet
    cut = known.with_columns(
        pl.when(pl.col(name) <= int((start + timedelta(days=5)).timestamp())).then(pl.col(name)).alias(name)
        for name in ("left_s", "fate_s")
    )
    assert chance(cut, 0, 30, at=start + timedelta(days=5)) == (successes, trials)


# The metric.


def company(deals: int, *, until: datetime, days: int, seed: int = 1) -> list[dict[str, Any]]:
    """Deals that come at any time, stand on two stages for random lengths and are won in a third of cases."""
    rng, rows = Random(seed), []
    for number in range(deals):
        created = until - timedelta(seconds=rng.randrange(days * 86_400))
        steps, now = [("1", created)], created
        for stage in "2W":
            now += timedelta(days=rng.expovariate(1 / 6) + 0.01)
            if rng.random() < 0.42:
                steps.append(("L", now))
                break
            steps.append((stage, now))
        rows.append({"deal_id": f"d{number}", "steps": steps, "amount": round(rng.lognormvariate(11, 0.6))})
    return rows


def told(deals: Sequence[dict[str, Any]], as_of: datetime) -> list[dict[str, Any]]:
    """`deals` as a source tells of them at `as_of`."""
    rows = []
    for deal in deals:
        steps = [step for step in deal["steps"] if step[1] <= as_of]
        if not steps:
            continue
        visits = [
            {
                "deal_id": deal["deal_id"],
                "n": n,
                "pipeline_id": "p",
                "stage_id": mark,
                "stage_kind": KINDS.get(mark, "open"),
                "stage_sort": RUNGS.get(mark, 10_000),
                "entered_at": at,
                "left_at": after[1] if after else None,
                "next_pipeline_id": "p" if after else None,
                "next_kind": KINDS.get(after[0], "open") if after else None,
            }
            for n, ((mark, at), after) in enumerate(zip(steps, [*steps[1:], None], strict=True), start=1)
        ]
        last, at = steps[-1]
        state = path(deal["deal_id"], last, start=steps[0][1], amount_minor=deal["amount"])["state"]
        rows.append({"state": state | {"outcome_at": at if last in KINDS else None}, "visits": visits})
    return rows


def forecast(engine: Any, deals: Sequence[dict[str, Any]], as_of: datetime = MAY_10, **options: Any) -> MetricResult:
    period = Period(as_of, as_of.date() - timedelta(days=365), as_of.date())
    return answer(METRIC, engine, *told(deals, as_of), ladder=stages("12"), period=period, **options)


@pytest.fixture(scope="module")
def three_years() -> list[dict[str, Any]]:
    return company(1_800, until=MAY_10 + timedelta(days=40), days=3 * 365)


def test_an_earlier_origin_says_what_was_said_then(polars_engine: Any, three_years: list[dict[str, Any]]) -> None:
    """Not one number of the backtest knows what came later."""
    result = forecast(polars_engine, three_years, sims=1000)
    for row in result.tables["backtest"].head(3).iter_rows(named=True):
        then = row["origin_local"].replace(tzinfo=UTC) - timedelta(hours=3)  # the account's clock is Moscow's
        total = forecast(polars_engine, three_years, then, sims=1000).tables["total"].row(0, named=True)
        names = ("first_on", "end_on", "mean_minor", "p10_minor", "p50_minor", "p90_minor")
        assert [total[name] for name in names] == [row[name] for name in names]
        assert total["n_open"] == row["n_open_then"] > 0


def test_the_interval_covers_what_came(polars_engine: Any, three_years: list[dict[str, Any]]) -> None:
    result = forecast(polars_engine, three_years, origins=30, sims=1000)
    row = result.tables["score"].row(0, named=True)
    assert row["n_origins"] >= 24
    assert 0.65 <= row["coverage"] <= 0.95
    assert abs(row["bias"]) < 0.1
    assert row["ci_lo"] < row["coverage"] < row["ci_hi"]
    assert row["n_within"] == result.tables["backtest"]["is_within"].sum()


def test_parts_add_up_and_deals_stand_behind_them(polars_engine: Any, three_years: list[dict[str, Any]]) -> None:
    result = forecast(polars_engine, three_years, target_minor=0)
    total = result.tables["total"].row(0, named=True)
    assert total["basis"] == "simulated"
    assert (total["first_on"].isoformat(), total["end_on"].isoformat()) == ("2026-05-01", "2026-06-01")
    means = dict(result.tables["components"].select("component", "mean_minor").rows())
    assert sum(means.values()) == pytest.approx(total["mean_minor"], abs=3)
    assert means["already_won"] == total["already_minor"] > 0
    assert means["new_business"] > 0
    assert total["p10_minor"] < total["p50_minor"] < total["p90_minor"]
    assert total["p_target"] == 1
    assert result.drilldown.height == total["n_open"]
    assert result.drilldown["value"].sum() == pytest.approx(means["open_deals"], rel=0.05)


def test_a_quarter_ends_with_its_last_month(polars_engine: Any, three_years: list[dict[str, Any]]) -> None:
    total = forecast(polars_engine, three_years, horizon="quarter", sims=500).tables["total"].row(0, named=True)
    assert (total["first_on"].isoformat(), total["end_on"].isoformat()) == ("2026-04-01", "2026-07-01")


@on_every_engine
def test_with_few_decided_deals_it_is_the_weighted_pipeline_and_says_so(engine: Any) -> None:
    settled = [path(f"{mark}{n}", f"1{mark}", amount_minor=1_000) for mark in "WL" for n in range(15)]
    standing = [path("a", "1", amount_minor=5_000), path("b", "1", amount_minor=None)]
    result = answer(METRIC, engine, *settled, *standing, ladder=stages("1"))
    total = result.tables["total"].row(0, named=True)
    weighted = (
        answer(WEIGHTED, engine, *settled, *standing, ladder=stages("1")).tables["total"]["weighted_minor"].item()
    )
    assert total["basis"] == "e17"
    assert total["mean_minor"] == pytest.approx(weighted, rel=0.05)
    assert [notice.code for notice in result.warnings] == ["too_few_decided"]
    assert result.tables["components"].filter(component="new_business")["mean_minor"].to_list() == [None]
    assert result.tables["backtest"].is_empty()


@on_every_engine
def test_amounts_are_those_of_the_origin(engine: Any, three_years: list[dict[str, Any]]) -> None:
    """Every deal was doubled a day before its end: earlier forecasts took the half, and know that it doubles."""
    few = three_years[::3]
    changes = [
        {
            "deal_id": deal["deal_id"],
            "change_id": f"event:{deal['deal_id']}",
            "changed_at": deal["steps"][-1][1] - timedelta(minutes=5),
            "from_minor": deal["amount"] // 2,
            "to_minor": deal["amount"],
            "currency": "RUB",
            "origin": "event",
        }
        for deal in few
        if deal["steps"][-1][0] in KINDS
    ]
    plain = forecast(engine, few, sims=500)
    logged = forecast(engine, few, sims=500, more={"deal_amount_change": changes})
    assert "amounts_of_now" in [notice.code for notice in plain.warnings]
    assert "amounts_of_now" not in [notice.code for notice in logged.warnings]
    one, other = (dict(r.tables["components"].select("component", "mean_minor").rows()) for r in (plain, logged))
    assert other["open_deals"] == pytest.approx(2 * one["open_deals"], rel=0.15)
    means = [r.tables["backtest"]["mean_minor"].mean() for r in (plain, logged)]
    assert means[1] == pytest.approx(means[0], rel=0.1)


def test_pipelines_that_sell_nothing_are_left_out(polars_engine: Any, three_years: list[dict[str, Any]]) -> None:
    few = told(three_years[::4], MAY_10)
    others = told([deal | {"deal_id": f"{deal['deal_id']}q"} for deal in three_years[1::4]], MAY_10)
    for one in others:
        for row in (one["state"], *one["visits"]):
            row["pipeline_id"] = "q"
    purposes = {"pipeline": [{"account_id": "main", "pipeline_id": "q", "purpose": "warming"}]}
    period = Period(MAY_10, MAY_10.date() - timedelta(days=365), MAY_10.date())
    ladder = [*stages("12"), *stages("12", "q")]
    alone, beside, both = (
        answer(METRIC, polars_engine, *rows, ladder=ladder, period=period, sims=500, user_set=told_by_people)
        for rows, told_by_people in ((few, {}), ([*few, *others], purposes), ([*few, *others], {}))
    )
    assert beside.tables["total"].equals(alone.tables["total"])
    assert both.tables["total"]["mean_minor"].item() > 1.2 * alone.tables["total"]["mean_minor"].item()


def test_a_few_cards_nobody_works_on_are_not_likened_to_fresh_ones(polars_engine: Any) -> None:
    """Half of the deals are won within three days; eight have stood for a hundred."""
    settled = [path(f"{mark}{n}", f"1{mark}", hours=72, amount_minor=1_000) for mark in "WL" for n in range(30)]
    dead = [path(f"dead{n}", "1", amount_minor=1_000) for n in range(8)]
    result = answer(METRIC, polars_engine, *settled, *dead, ladder=stages("1"))
    assert result.tables["total"]["basis"].item() == "simulated"
    assert result.drilldown["value"].to_list() == [round(1_000 * 0.5 / 9)] * 8
