"""Marts and survival formulas on a real funnel nobody here made (metrics.md 5.4)."""

from itertools import pairwise

import polars as pl
import pytest
from bpic import AS_OF, applications
from published import canonical

from metrics.marts import MartParams, build
from metrics.stats.survival import aalen_johansen, kaplan_meier

pytestmark = [pytest.mark.validation, pytest.mark.slow]
DAY_S = 86_400
RUNGS = ["A_PARTLYSUBMITTED", "A_PREACCEPTED", "A_ACCEPTED", "A_FINALIZED"]


@pytest.fixture(scope="module")
def loans(bpic2012):
    tables = applications(bpic2012)
    account = [{"account_id": "main", "tz": "Europe/Amsterdam", "base_currency": "EUR"}]
    return build(canonical(tables, "Europe/Amsterdam", account), AS_OF, MartParams())


def days(expression):
    return expression.dt.total_microseconds() / 1e6 / DAY_S


def stays(loans, stage):
    """Days each deal stood on a stage, and whether it has left; short visits count, as in the published numbers."""
    rows = loans["stage_interval"].filter(stage_id=stage)
    left = pl.coalesce("left_at", pl.lit(AS_OF, pl.Datetime("us", "UTC")))
    return rows.select(lasted=days(left - pl.col("entered_at")), has_left=pl.col("left_at").is_not_null())


def lives(loans):
    """Days from submission to the outcome, and the outcome (None while open)."""
    end = pl.coalesce("outcome_at", pl.lit(AS_OF, pl.Datetime("us", "UTC")))
    outcome = pl.when(pl.col("outcome").is_in(["won", "lost"])).then("outcome")
    return loans["deal_state"].select(lasted=days(end - pl.col("created_at")), outcome=outcome)


def test_every_application_has_the_published_outcome(loans):
    counts = dict(loans["deal_state"].group_by("outcome").len().iter_rows())
    assert counts == {"won": 2246, "lost": 7635 + 2807, "open": 399}
    assert loans["deal_state"]["n_reopened"].sum() == 0


def test_as_many_reached_each_stage_as_published(loans):
    visits = loans["stage_interval"]
    reached = [visits.filter(stage_id=stage)["deal_id"].n_unique() for stage in [*RUNGS, "A_APPROVED"]]
    assert reached == [13_087, 7_367, 5_113, 5_015, 2_246]
    rates = [after / before for before, after in pairwise(reached)]
    assert rates == pytest.approx([0.562925, 0.694041, 0.980833, 0.447856], abs=1e-6)


def test_losses_are_blamed_on_the_published_stages(loans):
    lost = loans["deal_state"].filter(outcome="lost").group_by("lost_from_stage_id", "stage_id").len()
    found = {(source, target): n for source, target, n in lost.iter_rows()}
    expected = [(5719, 1), (1085, 1100), (29, 66), (802, 1640)]
    assert [(found[rung, "A_DECLINED"], found[rung, "A_CANCELLED"]) for rung in RUNGS] == expected
    standing = loans["stage_interval"].filter(pl.col("left_at").is_null(), stage_kind="open")
    assert dict(standing.group_by("stage_id").len().iter_rows()) == {
        "A_PREACCEPTED": 69,
        "A_ACCEPTED": 3,
        "A_FINALIZED": 327,
    }


def test_money_by_outcome_is_the_published(loans):
    money = loans["deal_state"].group_by("outcome").agg(pl.col("amount_minor").sum() / 100)
    assert dict(money.iter_rows()) == {"won": 35_290_338, "lost": 135_640_430, "open": 6_703_743}
    assert loans["sale"]["amount_minor"].mean() / 100 == pytest.approx(15_712.528, abs=1e-3)


def test_time_to_an_outcome_has_the_published_median(loans):
    rows = lives(loans)
    curve = kaplan_meier(rows["lasted"], rows["outcome"].is_not_null())
    assert curve.median == pytest.approx(0.810206, abs=1e-6)
    assert rows.filter(pl.col("outcome").is_not_null())["lasted"].median() == pytest.approx(0.660845, abs=1e-6)
    won = rows.filter(outcome="won")["lasted"]
    assert (won.median(), won.mean()) == pytest.approx((14.436643, 16.658856), abs=1e-6)


def test_stays_have_the_published_medians(loans):
    preaccepted = stays(loans, "A_PREACCEPTED")
    assert kaplan_meier(preaccepted["lasted"], preaccepted["has_left"]).median == pytest.approx(0.295303, abs=1e-6)
    finalized = stays(loans, "A_FINALIZED")
    curve = kaplan_meier(finalized["lasted"], finalized["has_left"])
    assert curve.median == pytest.approx(15.130483, abs=1e-6)
    assert curve.quantile_ci() == pytest.approx((14.868611, 15.785262), abs=1e-6)
    assert finalized.filter("has_left")["lasted"].median() == pytest.approx(14.560643, abs=1e-6)


def test_competing_outcomes_at_thirty_days_are_the_published(loans):
    rows = lives(loans)
    curve = aalen_johansen(rows["lasted"], rows["outcome"].to_list())
    found = (curve.at(30, "won"), curve.at(30, "lost"), curve.open_at(30))
    assert found == pytest.approx((0.161889, 0.712811, 0.125300), abs=1e-6)


def test_cohorts_are_cut_at_local_midnights(loans):
    """In UTC a September with one application appears."""
    month = pl.col("created_local").dt.truncate("1mo").dt.date()
    is_won, is_open = pl.col("outcome") == "won", pl.col("outcome") == "open"
    table = loans["deal_state"].group_by(month.alias("month")).agg(pl.len(), is_won.sum(), is_open.sum().alias("open"))
    assert [row[1:] for row in table.sort("month").iter_rows()] == [
        (2393, 500, 0),
        (2940, 460, 0),
        (2122, 376, 0),
        (2747, 487, 20),
        (2885, 423, 379),
    ]
