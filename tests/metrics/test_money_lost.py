"""C4: money lost, as it stood in the deals and as could be expected of it."""

import polars as pl
from decided_deals import answered, deal, moscow, stays
from engines import on_every_engine

from metrics.money_lost import METRIC

NEW, OFFER, LOST = ("new", "open", 10), ("offer", "open", 20), ("l", "lost", 110)
STAGES = [
    {"pipeline_id": "pipeline:1", "stage_id": stage, "kind": kind, "sort": sort, "name": stage.upper()}
    for stage, kind, sort in (NEW, OFFER, LOST)
]


def earlier(first, outcome, stage, n):
    """`n` deals of last year that got to `stage` and were decided."""
    rows, visits = [], []
    for number in range(first, first + n):
        rows.append(
            deal(number, outcome, created_at=moscow("2025-09-01"), outcome_at=moscow("2025-09-20"), amount_minor=1)
        )
        one = stays(number, stage)[0]
        visits.append(one | {"entered_at": moscow("2025-09-02"), "left_at": moscow("2025-09-20")})
    return rows, visits


def asked(engine, rows, visits, **params):
    return answered(METRIC, engine, rows, stage=STAGES, stage_interval=visits, params=params)


@on_every_engine
def test_c4_the_example_of_the_catalogue(engine):
    """A million lost early, 300 thousand late; the chances are 0.098 and 0.7, for no counts give 0.1 and 0.6."""
    rows, visits = [deal(1, amount_minor=100_000_000), deal(2, amount_minor=30_000_000)], []
    visits += [*stays(1, NEW, LOST), *stays(2, OFFER, LOST)]
    past = [(100, "won", NEW, 1), (200, "lost", NEW, 40), (300, "won", OFFER, 3), (400, "lost", OFFER, 1)]
    for group in past:
        more, way = earlier(*group)
        rows, visits = [*rows, *more], [*visits, *way]
    result = asked(engine, rows, visits, min_decided=1)
    chance = {"new": (1 + 3 + 0.5) / (41 + 4 + 1), "offer": (3 + 0.5) / (4 + 1)}
    row = result.tables["total"].row(0, named=True)
    assert (row["n"], row["amount_minor"]) == (2, 130_000_000)
    assert row["expected_minor"] == round(100_000_000 * chance["new"] + 30_000_000 * chance["offer"])
    assert result.drilldown["entity_id"].to_list() == ["lead:1", "lead:2"]


def test_amounts_that_are_none_are_counted_and_not_summed(polars_engine):
    rows = [deal(1, amount_minor=100), deal(2, amount_minor=99_999_999_900), deal(3), deal(4, amount_minor=700)]
    visits = [visit for n in (1, 2, 3, 4) for visit in stays(n, NEW, LOST)]
    row = asked(polars_engine, rows, visits).tables["total"].row(0, named=True)
    assert (row["n"], row["n_placeholder"], row["n_null_amount"], row["amount_minor"]) == (4, 2, 1, 700)
    whole = asked(polars_engine, rows, visits, placeholders=()).tables["total"].row(0, named=True)
    assert whole["amount_minor"] == 100 + 99_999_999_900 + 700


def test_a_deal_without_a_stage_has_an_amount_but_nothing_to_expect(polars_engine):
    row = asked(polars_engine, [deal(1, amount_minor=700)], stays(1, LOST)).tables["by_stage"].row(0, named=True)
    assert (row["stage_id"], row["amount_minor"], row["expected_minor"], row["n_no_chance"]) == (None, 700, 0, 1)


def test_chances_come_from_everybodys_deals_whoever_is_asked_for(polars_engine):
    rows = [deal(1, amount_minor=1000), deal(2, amount_minor=5000, outcome_user_id="user:2")]
    more, way = earlier(100, "won", NEW, 9)
    visits = [*stays(1, NEW, LOST), *stays(2, NEW, LOST), *way]
    result = asked(polars_engine, [*rows, *more], visits, min_decided=1, population=("user:2",))
    assert result.tables["total"].select("n", "amount_minor", "expected_minor").rows() == [(1, 5000, 4750)]
    assert result.tables["by_user"].filter(pl.col("user_id") != "user:2").is_empty()
