"""E6 and D6 against the demo company's answer key, along the whole straight line: REST → warehouse → marts → metric."""

from collections import Counter
from datetime import timedelta

import polars as pl
import pytest

from metrics.bottleneck import METRIC as BOTTLENECK
from metrics.client_flows import METRIC as FLOWS
from metrics.evaluate import evaluate
from metrics.metric import Period

NAMES = ("active", "at_risk", "churned", "new", "churned_n", "reactivated_n")


def test_every_stage_loses_what_was_planted(frames, key, answer):
    stages = answer(BOTTLENECK, frames, days=365).tables["stages"]
    found = {
        (row["pipeline_id"], row["stage_id"]): (row["n"], row["lost"], row["conv"], row["tail"], row["leak_minor"])
        for row in stages.iter_rows(named=True)
    }
    for pipeline in key["E6_by_pipeline"]:
        for planted in pipeline["stages"]:
            n, lost, conv, tail, leak_minor = found.pop((pipeline["pipeline_id"], planted["stage_id"]))
            assert (n, lost, conv) == (planted["reached"], planted["lost"], planted["conv"])
            assert tail == pytest.approx(planted["tail"])
            assert leak_minor == pytest.approx(planted["leak_minor"], abs=0.5)
    assert not found, "no stage beside those of the key"


def test_the_top_stage_is_the_planted_bottleneck(frames, key, answer):
    result = answer(BOTTLENECK, frames, days=365)
    top = dict(result.tables["summary"].select("pipeline_id", "stage_id").iter_rows())
    assert top[key["E6"]["pipeline_id"]] == key["bottleneck_stage_id"]
    summary = {row["pipeline_id"]: row for row in result.tables["summary"].iter_rows(named=True)}
    for planted in key["E6_by_pipeline"]:
        row = summary[planted["pipeline_id"]]
        assert (row["n"] + row["n_unsorted"], row["won"], row["n_moved"]) == (
            planted["n"],
            planted["won"],
            planted["moved"],
        )
        assert row["won_mean_minor"] == pytest.approx(planted["mean_won_minor"], abs=0.5)


def test_the_lost_deals_can_be_opened(frames, answer):
    result = answer(BOTTLENECK, frames, days=365)
    top = result.tables["stages"].filter(pl.col("rank") == 1)
    assert Counter(result.drilldown["group_key"]) == dict(top.select("group_key", "lost").iter_rows())
    assert result.drilldown["url"].str.contains("^https://testserver/leads/detail/[0-9]+$").all()


def test_client_flows_are_those_that_were_planted(frames, key, answer):
    months = answer(FLOWS, frames, days=FLOWS.default_period_d).tables["months"]
    found = {str(row["month"]): {name: row[name] for name in NAMES} for row in months.iter_rows(named=True)}
    assert found == {row["month"]: {name: row[name] for name in NAMES} for row in key["D6"]["months"]}
    assert months["complete"].to_list() == [True] * 12 + [False]


def test_every_client_of_an_event_can_be_opened(frames, answer):
    result = answer(FLOWS, frames, days=FLOWS.default_period_d)
    reasons = Counter(result.drilldown["reason"])
    totals = result.tables["months"].sum().row(0, named=True)
    assert reasons == {"NEW": totals["new"], "CHURNED": totals["churned_n"], "REACTIVATED": totals["reactivated_n"]}
    assert result.drilldown["url"].str.contains("^https://testserver/(companies|contacts|leads)/detail/[0-9]+$").all()


def test_every_client_of_a_state_can_be_opened(frames, key, answer):
    clients = answer(FLOWS, frames, days=FLOWS.default_period_d).tables["clients"]
    planted = {state: key["D6"]["months"][-1][state] for state in ("active", "at_risk", "churned")}
    assert Counter(clients["state"]) == planted
    assert clients["url"].str.contains("^https://testserver/(companies|contacts|leads)/detail/[0-9]+$").all()


@pytest.mark.parametrize("frames", ["polars"], indirect=True)
@pytest.mark.parametrize("metric", [BOTTLENECK, FLOWS], ids=lambda metric: metric.id)
def test_the_past_can_be_asked(frames, answer, metric):
    """As of half a year ago the answer is another one, from marts rebuilt for that day."""
    now = answer(metric, frames, days=metric.default_period_d)
    back = timedelta(days=180)
    then = Period(now.as_of - back, now.period_from - back, now.period_to - back)
    past = evaluate(metric, frames, None, then)
    assert not past.drilldown.is_empty()
    assert past.drilldown["event_at"].max() <= then.as_of
    assert not past.drilldown.equals(now.drilldown)
