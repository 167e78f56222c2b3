"""C3 and C8: whose losses differ from the team's, and who closes deals without a reason."""

import pytest
from decided_deals import answered, deals
from engines import on_every_engine

from metrics.loss_managers import DISCIPLINE, REASONS


def mine(user, k, n, **more):
    """`n` decided deals of a user, `k` of them lost for the price."""
    who = {"outcome_user_id": user, **more}
    return (k, {"reason": "price", **who}), (n - k, {"outcome": "won", **who})


def priced(result):
    rows = result.tables["by_user"].filter(reason="Дорого")
    return {row["user_id"]: row for row in rows.iter_rows(named=True)}


EXAMPLE = deals(*mine("user:1", 18, 60), *mine("user:2", 10, 70), *mine("user:3", 9, 65), *mine("user:4", 8, 75))


@on_every_engine
def test_c3_the_example_of_the_catalogue(engine):
    found = priced(answered(REASONS, engine, EXAMPLE))
    assert [found[f"user:{n}"]["p"] for n in (1, 2, 3, 4)] == pytest.approx(
        [0.0029613, 0.5821628, 0.5695142, 0.1435465], abs=1e-6
    )
    assert [found[f"user:{n}"]["q"] for n in (1, 2, 3, 4)] == pytest.approx(
        [0.0118454, 0.5821628, 0.5821628, 0.2870930], abs=1e-6
    )
    assert [found[f"user:{n}"]["eb_rate"] for n in (1, 2, 3, 4)] == pytest.approx(
        [0.266667, 0.148148, 0.145098, 0.119298], abs=1e-6
    )
    assert [found[f"user:{n}"]["flag"] for n in (1, 2, 3, 4)] == [True, False, False, False]


def test_a_difference_that_turns_round_within_sources_is_not_flagged(polars_engine):
    """Simpson: crude 26 % against 61 %, and a little better within each source."""
    one, two = {"source_id": "source:1"}, {"source_id": "source:2"}
    rows = deals(
        *mine("user:1", 8, 10, **one),
        *mine("user:2", 70, 100, **one),
        *mine("user:1", 18, 90, **two),
        *mine("user:2", 3, 20, **two),
    )
    found = priced(answered(REASONS, polars_engine, rows))["user:1"]
    assert found["p"] == pytest.approx(2.1e-07, rel=0.05)
    assert (found["n_strata"], found["mh_or"], found["mh_p"]) == pytest.approx((2, 1.533708, 0.412542), abs=1e-6)
    assert not found["flag"]


def test_in_one_source_there_is_nothing_to_stratify(polars_engine):
    found = priced(answered(REASONS, polars_engine, EXAMPLE))["user:1"]
    assert (found["n_strata"], found["mh_or"]) == (None, None)


def test_who_has_left_a_robot_and_nobody_are_shown_but_neither_tested_nor_the_rest(polars_engine):
    robot = [*({"user_id": f"user:{n}"} for n in (1, 2)), {"user_id": "user:left", "is_active": False}]
    people = [*robot, {"user_id": "user:bot", "is_robot": True}]
    rows = deals(
        *mine("user:1", 5, 20),
        *mine("user:2", 2, 20),
        *mine("user:left", 20, 20),
        *mine("user:bot", 20, 20),
        *mine(None, 20, 20),
    )
    found = priced(answered(REASONS, polars_engine, rows, user=people))
    assert {user: row["p"] is None for user, row in found.items()} == {
        "user:1": False,
        "user:2": False,
        "user:left": True,
        "user:bot": True,
        None: True,
    }
    assert found["user:1"]["rest_rate"] == 2 / 20


def test_who_has_few_deals_is_shown_but_not_tested(polars_engine):
    rows = deals(*mine("user:1", 5, 20), *mine("user:2", 9, 9))
    found = priced(answered(REASONS, polars_engine, rows))
    assert (found["user:2"]["low_n"], found["user:2"]["p"]) == (True, None)
    assert found["user:1"]["rest_rate"] == 1


def test_every_loss_is_a_row_of_its_manager_and_reason(polars_engine):
    rows = deals((2, {"reason": "price"}), (1, {"reason": None}), (1, {"outcome": "won"}))
    result = answered(REASONS, polars_engine, rows)
    assert dict(result.tables["by_user"].select("group_key", "num").iter_rows()) == {
        "user:1|loss_reason:price": 2,
        "user:1|none": 1,
    }
    assert sorted(result.drilldown["group_key"]) == ["user:1|loss_reason:price"] * 2 + ["user:1|none"]


# --- C8 --------------------------------------------------------------------------------------------------------------


@on_every_engine
def test_c8_the_example_of_the_catalogue(engine):
    rows = deals((5, {}), (7, {"reason": "whim"}), (28, {"reason": "price"}), (10, {"outcome": "won"}))
    result = answered(DISCIPLINE, engine, rows)
    row = result.tables["by_user"].row(0, named=True)
    assert (row["num"], row["den"], row["rate"], row["n_no_reason"]) == (12, 40, 0.3, 5)
    assert result.drilldown.height == 12


def test_who_states_fewer_reasons_than_the_others_is_flagged(polars_engine):
    two = {"outcome_user_id": "user:2"}
    rows = deals((18, {}), (2, {"reason": "price"}), (1, two), (19, {"reason": "price", **two}))
    flags = answered(DISCIPLINE, polars_engine, rows).tables["by_user"].select("user_id", "flag").rows()
    assert flags == [("user:1", True), ("user:2", True)]
    big = answered(DISCIPLINE, polars_engine, rows, params={"min_effect": 0.9})
    assert big.tables["by_user"]["flag"].to_list() == [False, False]
