"""The funnel definitions on a real application funnel: BPI Challenge 2012, doi 10.4121/uuid:3926db30 (catalogue, 5.4).

13 087 loan applications. A_SUBMITTED creates, four A_ stages follow, A_APPROVED is won, A_DECLINED and A_CANCELLED are
lost. The expected numbers were computed by an independent implementation.
"""

import gzip
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import narwhals.stable.v2 as nw
import polars as pl
import pytest

from metrics import funnel
from metrics.funnel import DAY_S
from metrics.stats.survival import aalen_johansen, kaplan_meier

pytestmark = [pytest.mark.validation, pytest.mark.slow]

RUNGS = ("PARTLYSUBMITTED", "PREACCEPTED", "ACCEPTED", "FINALIZED")
KINDS = dict.fromkeys(RUNGS, "open") | {"APPROVED": "won", "DECLINED": "lost", "CANCELLED": "lost"}
ZONE = "Europe/Amsterdam"


def events(log: Path) -> Iterator[tuple[str, int, str, datetime]]:
    """(case, amount, activity, instant) in the order of the log."""
    with gzip.open(log) as file:
        for _, element in ElementTree.iterparse(file):
            if element.tag.rpartition("}")[2] != "trace":
                continue
            known = {child.get("key"): child.get("value") for child in element if child.get("key")}
            for event in element:
                if event.tag.rpartition("}")[2] == "event":
                    told = {child.get("key"): child.get("value") for child in event}
                    at = datetime.fromisoformat(told["time:timestamp"] or "").astimezone(UTC)
                    yield known["concept:name"] or "", int(known["AMOUNT_REQ"] or 0), told["concept:name"] or "", at
            element.clear()


@pytest.fixture(scope="module")
def log(bpic2012: Path) -> pl.DataFrame:
    schema = {"case": pl.String, "amount": pl.Int64, "activity": pl.String, "at": pl.Datetime("us", "UTC")}
    return pl.DataFrame(list(events(bpic2012)), schema=schema, orient="row")


def ways(name: str) -> list[pl.Expr]:
    """An instant as marts carry it."""
    local = pl.col(f"{name}_at").dt.convert_time_zone(ZONE).dt.replace_time_zone(None)
    return [local.alias(f"{name}_local"), pl.col(f"{name}_at").dt.epoch("s").alias(f"{name}_epoch")]


class Funnel:
    """The log as marts, and what the funnel makes of it."""

    def __init__(self, log: pl.DataFrame) -> None:
        self.as_of = log["at"].max()
        steps = log.filter(pl.col("activity").str.starts_with("A_")).with_columns(
            stage_id=pl.col("activity").str.strip_prefix("A_")
        )
        key = {"account_id": pl.lit("main"), "pipeline_id": pl.lit("loan")}
        visits = (
            steps.filter(pl.col("stage_id").is_in(list(KINDS)))
            .select(
                **key,
                deal_id="case",
                stage_id="stage_id",
                stage_kind=pl.col("stage_id").replace_strict(KINDS),
                stage_sort=pl.col("stage_id").replace_strict(
                    {n: i for i, n in enumerate(KINDS)}, return_dtype=pl.Int64
                ),
                n=pl.int_range(pl.len()).over("case") + 1,
                entered_at="at",
                left_at=pl.col("at").shift(-1).over("case"),
                is_inferred=False,
                is_truncated=False,
                is_pass_through=False,
            )
            .with_columns(*ways("entered"), *ways("left"))
        )
        last = visits.group_by("deal_id").agg(pl.col("stage_id", "stage_kind", "entered_at").last())
        deals = (
            steps.group_by("case", maintain_order=True)
            .agg(pl.col("amount").first(), created_at=pl.col("at").min())
            .join(last, left_on="case", right_on="deal_id")
            .select(
                **key,
                deal_id="case",
                client_id="case",
                entity_kind=pl.lit("deal"),
                stage_id="stage_id",
                outcome="stage_kind",
                responsible_user_id=pl.lit(None, pl.String),
                amount_minor="amount",
                created_at="created_at",
                outcome_at=pl.when(pl.col("stage_kind") != "open").then("entered_at"),
            )
            .with_columns(*ways("created"), *ways("outcome"))
        )
        now = {"account_id": ["main"], "as_of_at": [self.as_of], "as_of_epoch": [int(self.as_of.timestamp())]}  # type: ignore[union-attr]
        self.clock = lazy(pl.DataFrame(now))
        self.rungs = pl.DataFrame(
            {
                "account_id": "main",
                "pipeline_id": "loan",
                "stage_id": RUNGS,
                "stage_name": RUNGS,
                "stage_sort": range(4),
                "is_filter": False,
            },
            schema_overrides={"stage_sort": pl.Int64},
        )
        self.deals, self.visits = funnel.seen(lazy(deals), lazy(visits), self.clock)
        self.members = funnel.members(self.deals, self.visits)
        self.rows = collect(self.members)

    def stay(self, stage_id: str) -> dict[str, Any]:
        rows = collect(funnel.stays(self.visits, self.clock))
        return funnel.stay_table(rows, funnel.STAGE).filter(pl.col("stage_id") == stage_id).row(0, named=True)


def lazy(frame: pl.DataFrame) -> funnel.Lazy:
    return nw.from_native(frame.lazy())


def collect(frame: funnel.Lazy) -> pl.DataFrame:
    collected: pl.DataFrame = frame.collect("polars").to_native()
    return collected


@pytest.fixture(scope="module")
def loans(log: pl.DataFrame) -> Funnel:
    return Funnel(log)


def test_the_log_is_the_one_meant(log: pl.DataFrame) -> None:
    assert (log.height, log["case"].n_unique()) == (262_200, 13_087)
    assert log["at"].max() == datetime(2012, 3, 14, 15, 4, 54, 681_000, tzinfo=UTC)


def test_outcomes_and_money(loans: Funnel) -> None:
    money = loans.rows.group_by("outcome").agg(n=pl.len(), amount=pl.col("amount_minor").sum())
    assert {row[0]: row[1:] for row in money.iter_rows()} == {
        "won": (2_246, 35_290_338),
        "lost": (7_635 + 2_807, 135_640_430),
        "open": (399, 6_703_743),
    }


def test_reached_and_step_rates(loans: Funnel) -> None:
    table = funnel.with_conversion(funnel.ladder_table(loans.rungs, collect(funnel.standing(loans.members))))
    assert table["reached"].to_list() == [13_087, 7_367, 5_113, 5_015]
    assert table["won"].to_list() == [2_246] * 4
    assert table["conv"].to_list() == pytest.approx([0.562925, 0.694041, 0.980833, 0.447856], abs=1e-6)
    assert table["p_win"][0] == pytest.approx(0.171621, abs=1e-6)
    assert table["lost"].to_list() == [5_719 + 1, 1_085 + 1_100, 29 + 66, 802 + 1_640]
    assert table["n_open"].to_list() == [0, 69, 3, 327]


def test_stays(loans: Funnel) -> None:
    finalized, preaccepted = loans.stay("FINALIZED"), loans.stay("PREACCEPTED")
    names = ("km_median_d", "km_lo_d", "km_hi_d", "naive_median_d")
    assert [finalized[name] for name in names] == pytest.approx(
        [15.130483, 14.868611, 15.785262, 14.560643], abs=SECOND_D
    )
    assert preaccepted["km_median_d"] == pytest.approx(0.295303, abs=SECOND_D)
    assert preaccepted["naive_median_d"] == pytest.approx(0.281787, abs=SECOND_D)
    assert finalized["stays_open"] == 327


SECOND_D = 1.5 / DAY_S
"""Marts carry whole seconds."""


def test_time_to_an_outcome(loans: Funnel) -> None:
    rows = collect(funnel.fates(loans.members, loans.clock)).with_columns(days=pl.col("lasted_s") / DAY_S)
    curve = kaplan_meier(rows["days"].to_numpy(), (rows["outcome"] != "open").to_numpy())
    assert curve.median == pytest.approx(0.810206, abs=SECOND_D)
    causes = [None if outcome == "open" else outcome for outcome in rows["outcome"]]
    incidence = aalen_johansen(rows["days"].to_numpy(), causes)
    assert incidence.at(30, "won") == pytest.approx(0.161889, abs=1e-4)
    assert incidence.at(30, "lost") == pytest.approx(0.712811, abs=1e-4)
    assert incidence.open_at(30) == pytest.approx(0.125300, abs=1e-4)
    won = rows.filter(pl.col("outcome") == "won")["days"]
    assert won.median() == pytest.approx(14.436643, abs=SECOND_D)
    assert won.mean() == pytest.approx(16.658856, abs=SECOND_D)


def test_monthly_cohorts_are_cut_in_local_time(loans: Funnel) -> None:
    month = pl.col("start_local").dt.strftime("%b")
    cohorts = loans.rows.group_by(month=month).agg(
        n=pl.len(), won=(pl.col("outcome") == "won").sum(), still=(pl.col("outcome") == "open").sum()
    )
    assert {row[0]: row[1:] for row in cohorts.iter_rows()} == {
        "Oct": (2_393, 500, 0),
        "Nov": (2_940, 460, 0),
        "Dec": (2_122, 376, 0),
        "Jan": (2_747, 487, 20),
        "Feb": (2_885, 423, 379),
    }, "cut in UTC, a September of one application would appear"
