"""E13: pipelines side by side, each pair on equal terms: deals as old, judged after as long.

A deal counts as what it had become `horizon_d` days after its start; younger deals are left out. A pair is tested only
where both are for sales. Where sources allow it the comparison is made within them as well (S-MH), and a difference
that turns round there is not flagged.

Source: the metric catalogue, E13.
"""

import zlib
from itertools import combinations
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
import polars as pl
from pydantic import Field

from metrics import funnel
from metrics.funnel import DAY_S, DEAL, MEMBER, PIPELINE
from metrics.funnel_scope import (
    FLAG,
    FUNNEL_INPUTS,
    FUNNEL_RESOURCES,
    INT,
    PIPELINE_COLUMNS,
    REAL,
    TEXT,
    FunnelParams,
    Lazy,
    cohort,
    deal_rows,
    in_order,
    pipeline_key,
    rates,
    scope,
    shaped,
    whole_minor,
)
from metrics.metric import Frames, Metric, MetricResult, Notice, Period, Text
from metrics.rates import MIN_N, low_n, rate_columns
from metrics.stats.bootstrap import percentile_limits, resampled_sums
from metrics.stats.rates import Floats, mantel_haenszel
from metrics.stats.survival import kaplan_meier, logrank
from metrics.team import MIN_EFFECT, compared

MIN_STRATA = 2
"""In fewer sources there is nothing to be turned round."""
SELLING = ("sales", "repeat")
PAIR = ["account_id", "pipeline_id", "other_pipeline_id"]


class PipelineComparisonParams(FunnelParams):
    """Which deals form the cohort, and after how long they are judged."""

    anchor: funnel.Anchor = "created"
    """What makes a deal one of the period: its creation, or its first entry into the pipeline."""
    horizon_d: int = Field(default=90, ge=1, le=3650)
    """A deal is judged so many days after its start; younger ones are left out."""
    bootstrap: int = Field(default=2000, ge=100, le=20_000)
    """How often deals are drawn anew for intervals of money."""
    seed: int = Field(default=20260101, ge=0)
    min_n: int = Field(default=MIN_N, ge=1)
    """Pipelines with fewer deals are shown but not compared."""
    min_effect: float = Field(default=MIN_EFFECT, ge=0, le=1)
    """A smaller difference of rates is never flagged (0.05 = five percentage points)."""


def reduce(frames: Frames, params: PipelineComparisonParams, period: Period) -> dict[str, Lazy]:
    """A row per deal of the cohort: how long it took, what it came to, where it came from."""
    col = nw.col
    seen = scope(frames, params)
    sources = seen.deals.select(*DEAL, "source_id")
    told = (
        cohort(seen, period, params.anchor)
        .join(sources, on=DEAL, how="left")
        .select(
            *MEMBER,
            "client_id",
            "user_id",
            "source_id",
            "amount_minor",
            "outcome",
            "ended_at",
            "age_s",
            ended_s=col("ended_epoch") - col("start_epoch"),
        )
    )
    purposes = frames["pipeline"].select(*PIPELINE, "purpose")
    return {"pipelines": seen.pipelines.join(purposes, on=PIPELINE, how="left"), "deals": told}


def finish(collected: dict[str, pl.DataFrame], params: PipelineComparisonParams, period: Period) -> MetricResult:
    """Each pipeline, each pair of those that sell, their sources, and the deals that were won in time."""
    named = collected["pipelines"].select(*PIPELINE, "pipeline_name", "pipeline_sort")
    everybody = _judged(collected["deals"], params)
    deals = everybody.filter("is_compared")
    totals = _counted(everybody, PIPELINE).join(collected["pipelines"], on=PIPELINE, how="inner")
    totals = totals.sort("account_id", "pipeline_sort", "pipeline_id", nulls_last=True)
    parts = dict(deals.group_by(PIPELINE))
    drawn = {key: _drawn(part, key, params) for key, part in parts.items()}
    numbers = [
        {**dict(zip(PIPELINE, key, strict=True)), **_times(part), **_money(part, drawn[key])}
        for key, part in parts.items()
    ]
    found = pl.DataFrame(numbers, schema={**dict.fromkeys(PIPELINE, TEXT), **dict.fromkeys(NUMBERS, REAL)})
    summary = (
        totals.join(found, on=PIPELINE, how="left", maintain_order="left")
        .with_columns(
            *rate_columns("won", "n"), pipeline_key(), low_n("n", min_n=params.min_n), semantics=pl.lit("cohort")
        )
        .with_columns(*rate_columns("won", "decided", "decided_"))
        .with_columns(whole_minor(pl.col(name)) for name in NUMBERS if name.endswith("_minor"))
    )
    pairs = _pairs(summary, parts, drawn, params)
    by_source = _counted(deals, [*PIPELINE, "source_id"]).with_columns(
        *rate_columns("won", "n"), low_n("n", min_n=params.min_n)
    )
    won = deals.filter(pl.col("judged") == "won").with_columns(pipeline_key())
    return METRIC.result(
        params,
        period,
        tables={
            "summary": in_order(summary.drop("pipeline_name", "pipeline_sort"), named).pipe(shaped, SUMMARY),
            "pairs": pairs.pipe(shaped, PAIRS),
            "by_source": in_order(by_source, named, "source_id").pipe(shaped, BY_SOURCE),
        },
        drilldown=deal_rows(
            won.sort(
                "account_id",
                "group_key",
                "amount_minor",
                "deal_id",
                descending=[False, False, True, False],
                nulls_last=True,
            ),
            event_at="ended_at",
            value="amount_minor",
            value_unit=pl.lit("minor"),
            reason=pl.lit("WON_IN_TIME"),
        ),
        warnings=_notices(summary, params),
    )


NUMBERS = (
    "cycle_median_d",
    "cycle_lo_d",
    "cycle_hi_d",
    "won_median_d",
    "check_minor",
    "check_lo_minor",
    "check_hi_minor",
    "per_created_minor",
    "per_created_lo_minor",
    "per_created_hi_minor",
)
SUMMARY: dict[str, pl.DataType] = {
    **PIPELINE_COLUMNS,
    "purpose": TEXT,
    "semantics": TEXT,
    "n": INT,
    "won": INT,
    "lost": INT,
    "n_open": INT,
    "n_moved": INT,
    "n_young": INT,
    "n_undated": INT,
    **rates(),
    "low_n": FLAG,
    "decided": INT,
    **rates("decided_"),
    **{name: INT if name.endswith("_minor") else REAL for name in NUMBERS},
    "n_null_amount": INT,
    "group_key": TEXT,
}
"""One row per pipeline. Of n deals judged after the horizon so many are won, lost, still open, or moved to another
pipeline; rate = won / n, decided_rate = won / (won + lost). n_young are left out for being younger, n_undated for an
end without a date. cycle_: days until half are decided (Kaplan–Meier); won_median_d of those won. check_: mean amount
of won deals; per_created_: money per deal created, won or not; n_null_amount won deals of unknown amount are in
neither."""
PAIRS: dict[str, pl.DataType] = {
    **PIPELINE_COLUMNS,
    "other_pipeline_id": TEXT,
    "other_pipeline_name": TEXT,
    "pair": TEXT,
    "rate": REAL,
    "other_rate": REAL,
    "diff": REAL,
    "diff_lo": REAL,
    "diff_hi": REAL,
    "p": REAL,
    "q": REAL,
    "flag": FLAG,
    "n_strata": INT,
    "mh_or": REAL,
    "mh_lo": REAL,
    "mh_hi": REAL,
    "mh_p": REAL,
    "cycle_chi2": REAL,
    "cycle_p": REAL,
    "check_diff_minor": INT,
    "check_diff_lo_minor": INT,
    "check_diff_hi_minor": INT,
    "per_created_diff_minor": INT,
    "per_created_diff_lo_minor": INT,
    "per_created_diff_hi_minor": INT,
}
"""One row per two pipelines for sales with enough deals: the first less the other. p by Fisher, q over all pairs; mh_:
odds ratio within n_strata sources both have; cycle_p: whether their times to a decision differ (log-rank)."""
BY_SOURCE: dict[str, pl.DataType] = {
    **PIPELINE_COLUMNS,
    "source_id": TEXT,
    "n": INT,
    "won": INT,
    "lost": INT,
    **rates(),
    "low_n": FLAG,
}


def _judged(deals: pl.DataFrame, params: PipelineComparisonParams) -> pl.DataFrame:
    """Deals with judged (won, lost, moved, open) and lasted_s, both at the horizon at the latest; is_compared."""
    horizon_s = params.horizon_d * DAY_S
    is_young = pl.col("age_s") < horizon_s
    has_ended = pl.col("outcome").is_in(["won", "lost", "moved"])
    is_undated = ~is_young & has_ended & pl.col("ended_s").is_null()
    in_time = has_ended & (pl.col("ended_s") <= horizon_s).fill_null(False)
    return deals.sort(*MEMBER).with_columns(
        is_young=is_young,
        is_undated=is_undated,
        is_compared=~is_young & ~is_undated,
        judged=pl.when(in_time).then("outcome").otherwise(pl.lit("open")),
        lasted_s=pl.when(in_time).then(pl.col("ended_s").clip(0)).otherwise(horizon_s),
    )


def _counted(deals: pl.DataFrame, by: list[str]) -> pl.DataFrame:
    def count(flag: pl.Expr) -> pl.Expr:
        return flag.sum().cast(pl.Int64)

    is_in, judged = pl.col("is_compared"), pl.col("judged")
    return deals.group_by(by).agg(
        n=count(is_in),
        won=count(is_in & (judged == "won")),
        lost=count(is_in & (judged == "lost")),
        decided=count(is_in & judged.is_in(["won", "lost"])),
        n_open=count(is_in & (judged == "open")),
        n_moved=count(is_in & (judged == "moved")),
        n_young=count(pl.col("is_young")),
        n_undated=count(pl.col("is_undated")),
        n_null_amount=count(is_in & (judged == "won") & pl.col("amount_minor").is_null()),
    )


def _times(deals: pl.DataFrame) -> dict[str, float | None]:
    curve = kaplan_meier(deals["lasted_s"].to_numpy(), _is_decided(deals))
    lo, hi = curve.quantile_ci()
    found: dict[str, Any] = {
        "cycle_median_d": curve.median,
        "cycle_lo_d": lo,
        "cycle_hi_d": hi,
        "won_median_d": deals.filter(pl.col("judged") == "won")["lasted_s"].median(),
    }
    return {name: None if value is None else float(value) / DAY_S for name, value in found.items()}


def _is_decided(deals: pl.DataFrame) -> Any:
    return deals["judged"].is_in(["won", "lost"]).to_numpy()


Drawn = dict[str, Floats]
"""Per draw the `check` and the money `per_created` deal; empty where fewer than two amounts are known."""


def _amounts(deals: pl.DataFrame) -> tuple[Floats, int]:
    """Known amounts of won deals, and of how many deals it is known what they brought."""
    won = deals.filter(pl.col("judged") == "won")["amount_minor"]
    return won.drop_nulls().cast(pl.Float64).to_numpy(), deals.height - won.null_count()


def _drawn(deals: pl.DataFrame, key: tuple[Any, ...], params: PipelineComparisonParams) -> Drawn:
    """Each pipeline is drawn by itself: what it shows does not hang on which others there are."""
    amounts, n = _amounts(deals)
    if amounts.size < 2:
        return {}
    rng = np.random.default_rng([params.seed, zlib.crc32("|".join(key).encode())])
    sums, sizes = resampled_sums(amounts, n, draws=params.bootstrap, rng=rng)
    return {"check": sums / np.where(sizes > 0, sizes, np.nan), "per_created": sums / n}


def _money(deals: pl.DataFrame, drawn: Drawn) -> dict[str, float | None]:
    """Means and their limits; none of it where no amount is known of what was won."""
    amounts, n = _amounts(deals)
    total = float(amounts.sum())
    is_unknown = n == 0 or (n < deals.height and not amounts.size)
    found = {
        "check_minor": total / amounts.size if amounts.size else None,
        "per_created_minor": None if is_unknown else total / n,
    }
    for name, draws in drawn.items():
        found |= _limits(name, draws)
    return found


def _limits(name: str, draws: Floats) -> dict[str, float | None]:
    lo, hi = percentile_limits(draws) or (None, None)
    return {f"{name}_lo_minor": lo, f"{name}_hi_minor": hi}


def _pairs(
    summary: pl.DataFrame,
    parts: dict[tuple[Any, ...], pl.DataFrame],
    drawn: dict[tuple[Any, ...], Drawn],
    params: PipelineComparisonParams,
) -> pl.DataFrame:
    sells = pl.col("purpose").is_in(SELLING) | pl.col("purpose").is_null()
    able = summary.filter(sells, ~pl.col("low_n"))
    rows = [
        _pair(one, other, parts, drawn, params)
        for _, own in able.group_by("account_id", maintain_order=True)
        for one, other in combinations(own.iter_rows(named=True), 2)
    ]
    schema: dict[str, pl.DataType] = {**dict.fromkeys((*PAIR, "pipeline_name", "other_pipeline_name"), TEXT)}
    schema |= {name: INT if name.endswith("_minor") else REAL for name in PAIRS if name not in schema}
    schema |= {"pair": TEXT, "n_strata": INT, **dict.fromkeys(("won", "n", "other_won", "other_n"), INT)}
    measured = [name for name in schema if name not in ("rate", "other_rate", *TESTED)]
    both = pl.DataFrame(rows, schema={name: schema[name] for name in measured})
    side = [both.select(*PAIR, k=f"{mark}won", n=f"{mark}n", is_first=pl.lit(mark == "")) for mark in ("", "other_")]
    beside = compared(
        pl.concat(side),
        "k",
        "n",
        within=PAIR,
        tested=pl.col("is_first"),
        min_effect=params.min_effect,
    ).filter("is_first")
    agrees = pl.col("mh_or").is_null() | ((pl.col("mh_or") > 1) == (pl.col("diff") > 0))
    told = beside.select(*PAIR, *TESTED, rate=pl.col("k") / pl.col("n"), other_rate="rest_rate")
    return both.join(told, on=PAIR, how="left", maintain_order="left").with_columns(flag=pl.col("flag") & agrees)


TESTED = ("diff", "diff_lo", "diff_hi", "p", "q", "flag")


def _pair(
    one: dict[str, Any],
    other: dict[str, Any],
    parts: dict[tuple[Any, ...], pl.DataFrame],
    drawn: dict[tuple[Any, ...], Drawn],
    params: PipelineComparisonParams,
) -> dict[str, Any]:
    keys = [tuple(row[name] for name in PIPELINE) for row in (one, other)]
    first, second = (parts[key] for key in keys)
    is_first = np.repeat([True, False], [first.height, second.height])
    lasted = np.concatenate([part["lasted_s"].to_numpy() for part in (first, second)])
    ended = np.concatenate([_is_decided(part) for part in (first, second)])
    chi2, p = logrank(lasted, ended, is_first) if ended.any() else (None, None)
    row = {
        "account_id": one["account_id"],
        "pair": f"{one['pipeline_id']}|{other['pipeline_id']}",
        **{name: one[name] for name in ("pipeline_id", "pipeline_name", "won", "n")},
        **{f"other_{name}": other[name] for name in ("pipeline_id", "pipeline_name", "won", "n")},
        **_within_sources(first, second, params),
        "cycle_chi2": chi2,
        "cycle_p": p,
    }
    for name in ("check", "per_created"):
        known = one[f"{name}_minor"] is not None and other[f"{name}_minor"] is not None
        row[f"{name}_diff_minor"] = one[f"{name}_minor"] - other[f"{name}_minor"] if known else None
        draws = [drawn[key].get(name) for key in keys]
        if all(draw is not None for draw in draws):
            limits = _limits(f"{name}_diff", draws[0] - draws[1])  # type: ignore[operator]
            row |= {limit: None if value is None else round(value) for limit, value in limits.items()}
    return row


def _within_sources(one: pl.DataFrame, other: pl.DataFrame, params: PipelineComparisonParams) -> dict[str, Any]:
    """The odds of winning, the first pipeline against the other, within sources with enough deals."""
    cells = [
        part.group_by("source_id").agg(won=(pl.col("judged") == "won").sum().cast(pl.Int64), n=pl.len().cast(pl.Int64))
        for part in (one, other)
    ]
    shared = cells[0].join(cells[1], on="source_id", nulls_equal=True, suffix="_other")
    strata = shared.filter(pl.col("n") + pl.col("n_other") >= params.min_n).sort("source_id", nulls_last=True)
    if strata.height < MIN_STRATA:
        return {"n_strata": strata.height}
    squares = strata.select(
        "won", not_won=pl.col("n") - pl.col("won"), won_2="won_other", not_won_2=pl.col("n_other") - pl.col("won_other")
    )
    found = mantel_haenszel(squares.to_numpy())
    odds = {"mh_or": found.odds_ratio, "mh_lo": found.lo, "mh_hi": found.hi, "mh_p": found.p} if found else {}
    return {"n_strata": strata.height, **odds}


def _notices(summary: pl.DataFrame, params: PipelineComparisonParams) -> tuple[Notice, ...]:
    days = params.horizon_d
    empty = summary.filter(pl.col("n") == 0)["pipeline_name"].drop_nulls().to_list()
    if not empty:
        return ()
    names = ", ".join(f"«{name}»" for name in empty)
    return (
        Notice(
            "all_young",
            f"Ни одной сделке периода нет ещё {days} дней: {names}. Возьмите период раньше или срок короче.",
            f"No deal of the period is {days} days old yet: {names}. Take an earlier period or a shorter horizon.",
        ),
    )


RU = Text(
    name="Сравнение воронок",
    definition=(
        "Воронки рядом и на равных: сделки, созданные за период, через одинаковое время после начала (90 дней). Доля "
        "выигранных, доля побед среди решённых, за сколько дней решается половина, средний чек и сколько денег даёт "
        "одна созданная сделка. Каждая пара воронок продаж сравнивается между собой."
    ),
    formula=(
        "Общая конверсия = выиграно за 90 дней / создано. Разница долей — с интервалом Ньюкомба и точным критерием "
        "Фишера, с поправкой на число пар; по возможности ещё и внутри источников (Мантель — Хензель). Цикл — "
        "по Каплану — Мейеру, разница циклов — логранговый критерий. Интервалы денег — бутстрепом."
    ),
    pitfalls=(
        "Воронка повторных продаж всегда «лучше» воронки новых: там другие клиенты, а не другая работа. Воронка "
        "квалификации передаёт сделки дальше и сама не выигрывает: отметьте её назначение. Сделки моложе срока не "
        "участвуют."
    ),
)
EN = Text(
    name="Pipeline comparison",
    definition=(
        "Pipelines side by side on equal terms: deals created in the period, each the same time after its start (90 "
        "days). The share won, the win rate of decided, the days until half are decided, the mean amount, and the "
        "money one created deal brings. Each pair of pipelines for sales is compared."
    ),
    formula=(
        "Overall conversion = won within 90 days / created. The difference of rates has Newcombe's interval and "
        "Fisher's exact test, corrected for the number of pairs; where possible also within sources "
        "(Mantel–Haenszel). Cycle by Kaplan–Meier, the difference of cycles by the log-rank test. Intervals of money "
        "are a bootstrap."
    ),
    pitfalls=(
        "A pipeline of repeat sales always “beats” one of new clients: other clients, not other work. A pipeline for "
        "qualification hands deals on and wins none itself: mark its purpose. Deals younger than the horizon take no "
        "part."
    ),
)

METRIC = Metric(
    id="E13",
    text={"ru": RU, "en": EN},
    params=PipelineComparisonParams,
    inputs=FUNNEL_INPUTS,
    resources=FUNNEL_RESOURCES,
    subject={"summary": None, "pairs": None, "by_source": None, "drilldown": "user_id"},
    semantics="cohort",
    reduce=reduce,
    finish=finish,
    default_period_d=365,
    counted={"summary": ("won",)},
    adds_up={"by_source": "summary"},
)
