"""The funnel metrics on a public CRM data set: Maven Analytics, "CRM Sales Opportunities" (catalogue, 5.5).

8 800 opportunities of 30 agents under 6 managers. Prospecting ones have no date: what is timed are the 8 300 engaged.
"""

from datetime import UTC, date, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from published import ALWAYS, SCHEMAS, whole
from scipy import stats as scipy_stats

from metrics import cohort_funnel, conversion_in_time, period_flow, stage_duration
from metrics.evaluate import evaluate
from metrics.frames import FrameSet, frames_from
from metrics.metric import Metric, MetricResult, Period

pytestmark = [pytest.mark.validation, pytest.mark.slow]

AS_OF = datetime(2017, 12, 31, tzinfo=UTC)
ACCOUNT = {"account_id": "main", "connector": "files", "tz": "UTC", "base_currency": "USD", "calendar_id": "default"}
EVER = Period(AS_OF, date(2016, 1, 1), date(2018, 1, 1))


@pytest.fixture(scope="module")
def opportunities(maven_crm: Path) -> pl.DataFrame:
    file = maven_crm / "sales_pipeline.csv"
    assert sha256(file.read_bytes()).hexdigest().startswith("02f44c2ccd46a1c7")
    teams = pl.read_csv(maven_crm / "sales_teams.csv").select("sales_agent", "manager")
    return pl.read_csv(file, try_parse_dates=True).join(teams, on="sales_agent", how="left")


def of_people(opportunities: pl.DataFrame, who: str) -> FrameSet:
    """The engaged opportunities as deals of the people in column `who`."""

    def at(name: str) -> pl.Expr:
        return pl.col(name).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")

    kinds = {"Won": "won", "Lost": "lost", "Engaging": "open"}
    engaged = opportunities.filter(pl.col("engage_date").is_not_null())
    outcome = pl.col("deal_stage").replace_strict(kinds)
    place = {"pipeline_id": pl.lit("p"), "deal_id": pl.col("opportunity_id")}
    deals = engaged.select(
        **place,
        entity_kind=pl.lit("deal"),
        client_id="opportunity_id",
        stage_id=outcome,
        outcome=outcome,
        amount_minor=(pl.col("close_value") * 100).cast(pl.Int64),
        created_at=at("engage_date"),
        outcome_at=at("close_date"),
        responsible_user_id=who,
        outcome_user_id=who,
    )
    stood = engaged.select(
        **place,
        n=pl.lit(1),
        stage_id=pl.lit("open"),
        stage_kind=pl.lit("open"),
        stage_sort=pl.lit(1),
        entered_at=at("engage_date"),
        left_at=at("close_date"),
        next_kind=pl.when(outcome != "open").then(outcome),
    )
    ended = engaged.filter(outcome != "open").select(
        **place,
        n=pl.lit(2),
        stage_id=outcome,
        stage_kind=outcome,
        stage_sort=pl.lit(10_000),
        entered_at=at("close_date"),
    )
    stages = [
        {"pipeline_id": "p", "stage_id": k, "name": k, "sort": n, "kind": k}
        for n, k in enumerate(("open", "won", "lost"), 1)
    ]
    given: dict[str, Any] = {
        "deal_state": deals,
        "stage_interval": pl.concat([stood, ended], how="diagonal"),
        "stage": stages,
        "pipeline": [{"pipeline_id": "p", "name": "Opportunities", "sort": 1}],
        "user": [{"user_id": name} for name in opportunities[who].unique().sort()],
        "account": [ACCOUNT],
        "coverage": [{"resource": "deal_stage_transition", "watermark": ALWAYS}],
    }
    full = {name: whole(name, given.get(name, []), "UTC") for name in SCHEMAS}
    return frames_from(full, "polars", [{**ACCOUNT, "base_url": "", "as_of": AS_OF}])


def ask(metric: Metric, frames: FrameSet, **params: Any) -> MetricResult:
    return evaluate(metric, frames, metric.params(**params), EVER)


@pytest.fixture(scope="module")
def by_manager(opportunities: pl.DataFrame) -> FrameSet:
    return of_people(opportunities, "manager")


def test_the_data_are_those_meant(opportunities: pl.DataFrame) -> None:
    assert dict(opportunities.group_by("deal_stage").len().iter_rows()) == {
        "Won": 4_238,
        "Lost": 2_473,
        "Engaging": 1_589,
        "Prospecting": 500,
    }
    assert opportunities["account"].null_count() == 1_425


def test_win_rate_of_decided_and_money(by_manager: FrameSet) -> None:
    row = ask(cohort_funnel.METRIC, by_manager).tables["summary"].row(0, named=True)
    assert (row["n"], row["won"], row["lost"], row["n_open"]) == (8_300, 4_238, 2_473, 1_589)
    found = (row["decided_rate"], row["decided_ci_lo"], row["decided_ci_hi"])
    assert found == pytest.approx((0.631501, 0.619887, 0.642964), abs=1e-6)
    assert row["won_minor"] == 1_000_553_400


def test_time_from_engaging_to_closing(by_manager: FrameSet) -> None:
    row = ask(stage_duration.METRIC, by_manager, tau_d=120).tables["stages"].row(0, named=True)
    assert (row["n"], row["n"] - row["n_open"]) == (8_300, 6_711)
    assert (row["km_median_d"], row["ci_lo_d"], row["ci_hi_d"], row["naive_median_d"]) == (69, 67, 70, 45)
    assert row["rmst_d"] == pytest.approx(61.324411, abs=1e-6)


def test_won_and_lost_by_day(by_manager: FrameSet) -> None:
    table = ask(conversion_in_time.METRIC, by_manager, horizons_d=(30, 60)).tables["horizons"]
    found = [value for row in table.select("cif_won", "cif_lost").iter_rows() for value in row]
    assert found == pytest.approx([0.218995, 0.162206, 0.264733, 0.185501], abs=1e-6)


def test_the_flow_of_a_month_swings_with_quarter_ends(by_manager: FrameSet) -> None:
    table = ask(period_flow.METRIC, by_manager).tables["months"].filter(pl.col("month").dt.year() == 2017)
    found = {month.month: (won, won + lost) for month, won, lost in table.select("month", "won", "lost").iter_rows()}
    expected = {3: (531, 647), 4: (285, 586), 6: (531, 641), 7: (308, 627)}
    assert {month: found[month] for month in expected} == expected


def chi2(table: pl.DataFrame) -> tuple[float, float]:
    counts = table.select("num", lost=pl.col("den") - pl.col("num")).to_numpy()
    found = scipy_stats.chi2_contingency(counts, correction=False)
    return float(found.statistic), float(found.pvalue)


def test_managers_do_not_differ(by_manager: FrameSet) -> None:
    table = ask(cohort_funnel.METRIC, by_manager).tables["by_user"]
    rates = dict(table.select("user_id", "rate").iter_rows())
    assert rates["Melvin Marxen"] == pytest.approx(0.622003, abs=1e-6)
    assert rates["Cara Losch"] == pytest.approx(0.644295, abs=1e-6)
    assert chi2(table) == pytest.approx((2.436024, 0.786098), abs=1e-6)
    assert not table["flag"].any()


def test_of_thirty_agents_nobody_is_flagged(opportunities: pl.DataFrame) -> None:
    table = ask(cohort_funnel.METRIC, of_people(opportunities, "sales_agent")).tables["by_user"]
    assert table.height == 30
    assert chi2(table) == pytest.approx((33.347712, 0.263937), abs=1e-6)
    assert table.filter(pl.col("p") < 0.05).height == 3
    assert table["q"].min() == pytest.approx(0.303818, abs=1e-6)
    assert not table["flag"].any()
