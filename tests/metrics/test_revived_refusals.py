"""C9: clients who refused and bought later."""

from datetime import date

import pytest
from decided_deals import AS_OF, answered, deal, moscow, stays
from engines import on_every_engine

from metrics.metric import Period
from metrics.revived_refusals import METRIC

YEAR = Period(AS_OF, date(2025, 5, 1), date(2026, 4, 30))


def refused(number, at="2025-08-01", **more):
    return deal(number, "lost", "price", created_at=moscow("2025-07-01"), outcome_at=moscow(at), **more)


def bought(number, client, at, **more):
    return deal(
        number,
        "won",
        client_id=f"contact:{client}",
        created_at=moscow("2025-07-20"),
        outcome_at=moscow(at),
        **more,
    )


def call(client, at, **more):
    kind = {"is_meaningful": True, "direction": "out"} | more
    return {"touch_id": f"{client}@{at}", "client_id": f"contact:{client}", "touched_at": moscow(at), **kind}


def asked(engine, rows, period=YEAR, touch=(), stage_interval=(), **params):
    return answered(METRIC, engine, rows, period=period, touch=touch, stage_interval=stage_interval, params=params)


def total(result):
    return result.tables["total"].row(0, named=True)


@on_every_engine
def test_c9_the_example_of_the_catalogue(engine):
    rows = [refused(n) for n in range(200)]
    rows += [bought(1000 + n, n, "2025-10-01") for n in (*range(20), *range(100, 104))]
    result = asked(engine, rows, touch=[call(n, "2025-09-01") for n in range(100)])
    row = total(result)
    assert (row["num"], row["den"], row["rate"], row["km_rate"]) == pytest.approx((24, 200, 0.12, 0.12))
    by_contact = {row["is_contacted"]: row for row in result.tables["by_contact"].iter_rows(named=True)}
    assert [(by_contact[flag]["num"], by_contact[flag]["den"]) for flag in (True, False)] == [(20, 100), (4, 100)]
    found = by_contact[True]
    assert (found["diff"], found["diff_lo"], found["diff_hi"]) == pytest.approx((0.16, 0.071416, 0.252102), abs=1e-6)
    assert by_contact[False]["diff"] is None
    assert result.drilldown.height == 24


def test_who_bought_before_is_no_refusal(polars_engine):
    assert asked(polars_engine, [refused(1), bought(2, 1, "2025-07-25")]).tables["total"].is_empty()


def test_a_win_after_the_horizon_does_not_count(polars_engine):
    rows = [refused(1, "2025-08-01"), bought(2, 1, "2026-02-05")]
    assert total(asked(polars_engine, rows))["num"] == 0
    assert total(asked(polars_engine, rows, horizon_d=190))["num"] == 1


def test_a_recent_refusal_is_not_in_the_share_but_in_the_curve(polars_engine):
    rows = [refused(1, "2026-04-01"), bought(2, 1, "2026-04-10"), refused(3, "2025-08-01")]
    row = total(asked(polars_engine, rows))
    assert (row["n_refused"], row["num"], row["den"], row["km_rate"]) == (2, 0, 1, 0.5)


def test_the_same_deal_opened_again_and_won_is_a_revival(polars_engine):
    way = stays(1, ("l", "lost", 110), ("new", "open", 10), ("w", "won", 100), days=3)
    rows = [deal(1, "won", created_at=moscow("2026-04-01"), outcome_at=moscow("2026-04-08"), loss_reason_id=None)]
    result = asked(polars_engine, rows, stage_interval=way, horizon_d=10)
    assert (total(result)["num"], total(result)["den"]) == (1, 1)
    assert result.tables["clients"].select("category", "days_to_win").rows() == [("none", 6.0)]


def test_spam_and_duplicates_are_no_refusals(polars_engine):
    rows = [refused(1, loss_reason_id="loss_reason:spam"), bought(2, 1, "2025-10-01")]
    assert asked(polars_engine, rows).tables["total"].is_empty()


def test_a_reason_that_no_list_has_is_not_none(polars_engine):
    rows = [refused(1, loss_reason_id="loss_reason:gone"), refused(2, loss_reason_id=None)]
    clients = asked(polars_engine, rows).tables["clients"].sort("client_id")
    assert clients["category"].to_list() == ["other", "none"]


def test_the_first_refusal_of_the_period_counts_once(polars_engine):
    rows = [refused(1, "2025-08-01", client_id="contact:1"), refused(2, "2025-09-01", client_id="contact:1")]
    result = asked(polars_engine, rows)
    assert total(result)["n_refused"] == 1
    assert result.tables["clients"]["deal_id"].to_list() == ["lead:1"]


def test_only_what_we_did_between_refusal_and_win_is_a_contact(polars_engine):
    rows = [refused(1, "2025-08-01"), bought(2, 1, "2025-10-01")]

    def tries(*touches):
        return asked(polars_engine, rows, touch=touches).tables["clients"]["n_tries"].to_list()

    assert tries(call(1, "2025-07-31"), call(1, "2025-10-02"), call(1, "2025-09-01", direction="in")) == [0]
    assert tries(call(1, "2025-09-01", is_meaningful=False, is_attempt=True)) == [1]
