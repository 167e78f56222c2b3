"""E6: which stage loses most money and time."""

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from engines import on_every_engine
from funnel_paths import path, stages, tables
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from metrics.bottleneck import METRIC, BottleneckParams, quarters_before
from metrics.evaluate import evaluate
from metrics.metric import DRILLDOWN, MetricResult, Period

NOW = datetime(2026, 10, 31, 21, tzinfo=UTC)
"""Midnight of 1 November in Moscow."""
YEAR = Period(NOW, date(2025, 11, 1), date(2026, 11, 1))
SPRING = datetime(2026, 3, 2, 9, tzinfo=UTC)
V = 50_000_00


def deals(marks: str, count: int, start: datetime = SPRING, **rest: Any) -> list[dict[str, Any]]:
    """`count` deals of one path, of 50 000 roubles each."""
    prefix = rest.pop("prefix", "")
    return [
        path(f"{prefix}{marks}:{start:%y%m%d}:{number}", marks, start=start, **{"amount_minor": V, **rest})
        for number in range(count)
    ]


# Reached 400, 240, 120, 60, won 30.
EXAMPLE = tables(
    *deals("1L", 160),
    *deals("12L", 120),
    *deals("123L", 60),
    *deals("1234L", 30),
    *deals("1234W", 30),
    ladder=stages("1234"),
)


def run(engine: Any, given_tables: Mapping[str, Any], period: Period = YEAR, **params: Any) -> MetricResult:
    user_set = params.pop("user_set", None)
    frames = engine.frames(given_tables, as_of=period.as_of, user_set=user_set)
    return evaluate(METRIC, frames, BottleneckParams(**params), period)


def column(result: MetricResult, name: str, table: str = "stages") -> dict[str, Any]:
    """Values of a column by stage (of the only pipeline)."""
    return dict(result.tables[table].sort("stage_id").select("stage_id", name).iter_rows())


def codes(result: MetricResult) -> set[str]:
    return {notice.code for notice in result.warnings}


@on_every_engine
def test_the_example_of_the_catalogue(engine: Any) -> None:
    result = run(engine, EXAMPLE)
    assert column(result, "n") == {"1": 400, "2": 240, "3": 120, "4": 60}
    assert column(result, "tail") == pytest.approx({"1": 0.125, "2": 0.25, "3": 0.5, "4": 1.0})
    million = 100_000_000
    assert column(result, "leak_minor") == {"1": million, "2": 1.5 * million, "3": 1.5 * million, "4": 1.5 * million}
    assert column(result, "gain_pp_minor") == {"1": 125_000_00, "2": 150_000_00, "3": 150_000_00, "4": 150_000_00}
    assert column(result, "conv") == {"1": 0.6, "2": 0.5, "3": 0.5, "4": 0.5}
    assert result.tables["stages"]["semantics"].unique().to_list() == ["cohort"]


def test_rate_intervals_are_wilsons(engine: Any) -> None:
    row = run(engine, EXAMPLE).tables["stages"].filter(pl.col("stage_id") == "4").row(0, named=True)
    assert (row["num"], row["n"], row["low_n"]) == (30, 60, False)
    assert (row["ci_lo"], row["ci_hi"]) == pytest.approx((0.3773502, 0.6226498), abs=1e-6)


def test_delay_prices_days_by_amount_and_chance(engine: Any) -> None:
    # One day on each stage passed; won money ahead of stage 4 is half of 50 000, of 60 deals, 0.05 % a day.
    assert column(run(engine, EXAMPLE), "delay_minor")["4"] == round(60 * 50_000_00 * 0.5 * 0.0005)
    assert column(run(engine, EXAMPLE), "delay_minor")["1"] == round(400 * 50_000_00 * 30 / 400 * 0.0005)


def test_the_score_weighs_leak_and_delay(engine: Any) -> None:
    shares = {"1": (1.0 / 5.5, 0.25), "2": (1.5 / 5.5, 0.25), "3": (1.5 / 5.5, 0.25), "4": (1.5 / 5.5, 0.25)}
    score = {stage: 0.7 * leak + 0.3 * delay for stage, (leak, delay) in shares.items()}
    assert column(run(engine, EXAMPLE), "score") == pytest.approx(score)


def test_of_equal_scores_the_stage_with_more_deals_comes_first(engine: Any) -> None:
    table = run(engine, EXAMPLE).tables["stages"]
    assert table.select("stage_id", "rank").rows() == [("2", 1), ("3", 2), ("4", 3), ("1", 4)]


def test_the_summary_names_the_stage_and_its_price_a_month(engine: Any) -> None:
    row = run(engine, EXAMPLE).tables["summary"].row(0, named=True)
    # Deals of 1 November to 1 September are old enough: 305 of the 365 days.
    months = (date(2026, 9, 2) - date(2025, 11, 1)).days / (365.25 / 12)
    assert (row["stage_id"], row["stage_name"], row["pipeline_name"]) == ("2", "Этап 2", "Воронка p")
    assert row["months"] == pytest.approx(months)
    assert (row["since_on"], row["until_on"]) == (date(2025, 11, 1), date(2026, 9, 2))
    assert row["leak_month_minor"] == round(1_500_000_00 / months)
    assert row["gain_pp_month_minor"] == round(150_000_00 / months)
    assert (row["n"], row["won"], row["lost"], row["n_open"], row["won_mean_minor"]) == (400, 30, 370, 0, V)


def test_the_drilldown_is_the_lost_deals_of_the_top_stage(engine: Any) -> None:
    result = run(engine, EXAMPLE)
    top = result.tables["stages"].row(0, named=True)
    assert result.drilldown["group_key"].unique().to_list() == [top["group_key"]]
    assert (result.drilldown.height, top["lost"]) == (120, 120)
    row = result.drilldown.row(0, named=True)
    assert (row["reason"], row["value"], row["value_unit"], row["user_id"]) == (
        "LOST_HERE",
        float(V),
        "minor",
        "user:1",
    )
    assert row["event_at"] == SPRING + timedelta(days=2)
    assert result.drilldown.schema == pl.Schema(DRILLDOWN)


def test_every_stage_opens_to_its_lost_deals_when_asked(engine: Any) -> None:
    assert_drilldown_counts(run(engine, EXAMPLE, drill="all"))


def assert_drilldown_counts(result: MetricResult) -> None:
    found = Counter(result.drilldown.select("account_id", "group_key").rows())
    table = result.tables["stages"].filter(pl.col("lost") > 0)
    assert found == Counter(
        {(account, key): lost for account, key, lost in table.select("account_id", "group_key", "lost").iter_rows()}
    )


def test_the_most_valuable_lost_deal_comes_first(engine: Any) -> None:
    dear = path("dear", "1L", start=SPRING, amount_minor=900 * V)
    unknown = path("unknown", "1L", start=SPRING, amount_minor=None)
    given_tables = tables(unknown, *deals("1L", 40), *deals("1W", 20), dear, ladder=stages("1"))
    ids = run(engine, given_tables).drilldown["entity_id"].to_list()
    assert (ids[0], ids[-1]) == ("dear", "unknown")


def test_young_deals_are_left_out_and_counted(engine: Any) -> None:
    young = datetime(2026, 9, 2, 9, tzinfo=UTC)  # 59.5 days before as_of
    result = run(engine, tables(*deals("1L", 30), *deals("1W", 30), *deals("1", 20, young), ladder=stages("1")))
    row = result.tables["summary"].row(0, named=True)
    assert (row["n"], row["mature_share"]) == (60, 0.75)


def test_maturity_is_a_matter_of_seconds(engine: Any) -> None:
    edge = NOW - timedelta(days=60)
    old = tables(
        *deals("1W", 30), *deals("1L", 1, edge), *deals("1L", 1, edge + timedelta(seconds=1)), ladder=stages("1")
    )
    assert column(run(engine, old), "n") == {"1": 31}


def test_the_period_is_of_local_days(engine: Any) -> None:
    first = datetime(2025, 10, 31, 21, tzinfo=UTC)  # midnight of 1 November in Moscow
    before = first - timedelta(seconds=1)
    known = tables(*deals("1W", 30, first), *deals("1W", 7, before), ladder=stages("1"))
    assert column(run(engine, known), "n") == {"1": 30}


def test_filters_are_ranked_apart(engine: Any) -> None:
    filters = pl.DataFrame({"account_id": ["main"], "pipeline_id": ["p"], "stage_id": ["2"], "is_filter": [True]})
    table = run(engine, EXAMPLE, user_set={"stage": filters}).tables["stages"]
    assert table.select("stage_id", "is_filter", "rank").rows() == [
        ("3", False, 1),
        ("4", False, 2),
        ("1", False, 3),
        ("2", True, 1),
    ]
    assert table.filter("is_filter")["leak_share"].to_list() == [1.0]


def test_each_pipeline_is_ranked_apart(engine: Any) -> None:
    other = deals("1L", 40, pipelines=["q"], prefix="q") + deals("1W", 40, pipelines=["q"], prefix="q")
    ladder = [*stages("1234"), *stages("1", "q")]
    first = deals("1L", 160) + deals("12L", 120) + deals("1234W", 30)
    result = run(engine, tables(*first, *other, ladder=ladder))
    assert result.tables["summary"]["pipeline_id"].to_list() == ["p", "q"]
    assert result.tables["stages"].filter(pl.col("pipeline_id") == "q")["rank"].to_list() == [1]
    assert result.tables["stages"].filter(pl.col("rank") == 1).height == 2
    assert set(result.drilldown["group_key"]) == {"p|1", "q|1"} or set(result.drilldown["group_key"]) == {"p|2", "q|1"}
    only = run(engine, tables(*first, *other, ladder=ladder), pipeline_id="q")
    assert_frame_equal(only.tables["stages"], result.tables["stages"].filter(pl.col("pipeline_id") == "q"))


def test_a_stage_few_deals_reached_is_shown_and_not_ranked(engine: Any) -> None:
    result = run(engine, tables(*deals("1L", 40), *deals("12L", 4), *deals("12W", 5), ladder=stages("12")))
    assert column(result, "low_n") == {"1": False, "2": True}
    assert column(result, "rank") == {"1": 1, "2": None}


def test_a_small_cohort_gives_way_to_a_larger_flow(engine: Any) -> None:
    recent = datetime(2026, 9, 20, 9, tzinfo=UTC)
    known = tables(
        *deals("12L", 5), *deals("12W", 5), *deals("1L", 30, recent), *deals("12W", 20, recent), ladder=stages("12")
    )
    result = run(engine, known)
    assert set(result.tables["stages"]["semantics"]) == {"flow"}
    assert column(result, "n") == {"1": 50, "2": 20}
    assert column(result, "lost") == {"1": 30, "2": 0}
    assert column(result, "conv") == {"1": 0.4, "2": 1.0}
    assert column(result, "entered") == {"1": None, "2": None}
    row = result.tables["summary"].row(0, named=True)
    assert row["months"] == pytest.approx(90 / (365.25 / 12))
    assert (row["since_on"], row["until_on"]) == (date(2026, 8, 3), date(2026, 11, 1))
    assert (row["n"], row["won"], row["lost"], row["n_open"], row["n_moved"]) == (50, 20, 30, None, None)
    notice = next(notice for notice in result.warnings if notice.code == "flow_instead_of_cohort")
    assert "с 03.08.2026 по 31.10.2026" in notice.ru
    assert_drilldown_counts(run(engine, known, drill="all"))


def test_a_flow_may_let_out_more_than_came_in(engine: Any) -> None:
    slow = deals("12W", 25, datetime(2026, 7, 20, 9, tzinfo=UTC), hours=24 * 50)  # entered 2 and won in the window
    result = run(engine, tables(*slow, *deals("1", 4, datetime(2026, 9, 20, 9, tzinfo=UTC)), ladder=stages("12")))
    assert column(result, "semantics")["1"] == "cohort", "25 mature deals against 4: the cohort holds more"
    result = run(
        engine, tables(*slow, *deals("1", 4, datetime(2026, 9, 20, 9, tzinfo=UTC)), ladder=stages("12")), mature_d=200
    )
    assert column(result, "conv") == {"1": 25 / 4, "2": 1.0}
    assert column(result, "ci_hi")["1"] is None


def test_a_small_cohort_stays_where_nothing_flows(engine: Any) -> None:
    result = run(engine, tables(*deals("1L", 5), *deals("1W", 6), ladder=stages("1")))
    assert result.tables["summary"]["semantics"].to_list() == ["cohort"]


def test_without_won_money_there_is_no_ranking_and_it_says_so(engine: Any) -> None:
    result = run(engine, tables(*deals("1L", 40), *deals("12L", 40), ladder=stages("12")))
    assert column(result, "leak_minor") == {"1": None, "2": None}
    assert column(result, "rank") == {"1": None, "2": None}
    assert result.tables["summary"]["leak_month_minor"].to_list() == [None]
    assert result.drilldown.is_empty()
    assert "no_won_money" in codes(result)


def test_a_won_deal_of_unknown_amount_is_left_out_of_the_mean(engine: Any) -> None:
    known = tables(
        *deals("1W", 20), *deals("1W", 20, amount_minor=None, prefix="x"), *deals("1L", 10), ladder=stages("1")
    )
    assert run(engine, known).tables["summary"]["won_mean_minor"].to_list() == [V]


def test_a_moved_deal_is_neither_lost_nor_open(engine: Any) -> None:
    known = tables(*deals("1|1W", 20), *deals("1W", 40), ladder=[*stages("1"), *stages("1", "p1")])
    table = run(engine, known).tables["stages"]
    assert table.select("pipeline_id", "n", "lost", "n_open", "n_moved", "num").rows() == [
        ("p", 60, 0, 0, 20, 40),
        ("p1", 20, 0, 0, 0, 20),
    ]


def test_a_deal_lost_before_the_first_stage_is_in_the_list_of_all(engine: Any) -> None:
    known = tables(*deals("UL", 2), *deals("1L", 40), *deals("1W", 40), ladder=stages("1"))
    result = run(engine, known, drill="all")
    row = result.tables["summary"].row(0, named=True)
    assert (row["n"], row["lost"], column(result, "n")["1"]) == (82, 42, 80)
    assert Counter(result.drilldown["group_key"]) == {"p|": 2, "p|1": 40}
    assert set(run(engine, known).drilldown["group_key"]) == {"p|1"}


def test_unsorted_requests_are_counted_apart(engine: Any) -> None:
    row = run(engine, tables(*deals("U", 7), *deals("1W", 40), ladder=stages("1"))).tables["summary"].row(0, named=True)
    assert (row["n"], row["n_unsorted"]) == (40, 7)


def test_the_stay_is_kaplan_meiers_with_open_deals(engine: Any) -> None:
    done, still = deals("1W", 30, hours=24 * 10), deals("1", 30, NOW - timedelta(days=100))
    row = run(engine, tables(*done, *still, ladder=stages("1"))).tables["stages"].row(0, named=True)
    assert (row["stays_n"], row["stays_open"], row["naive_median_d"]) == (60, 30, 10.0)
    assert row["km_median_d"] == 10.0
    assert row["km_hi_d"] is None


def test_the_benchmark_is_the_four_quarters_before(engine: Any) -> None:
    quarters = [datetime(2024, 10, 5, 9, tzinfo=UTC) + timedelta(days=91 * number) for number in range(4)]
    past = [deal for begun in quarters for deal in (*deals("1L", 6, begun), *deals("1W", 14, begun))]
    known = tables(*past, *deals("1L", 14), *deals("1W", 56), ladder=stages("1"))
    row = run(engine, known).tables["stages"].row(0, named=True)
    assert (row["benchmark_n"], row["benchmark_conv"]) == (80, 0.7)
    assert row["vs_benchmark"] == pytest.approx(0.1)
    assert row["vs_lo"] < 0 < row["vs_hi"], "ten points on so few deals may be chance"


def test_newcombe_of_the_catalogue(engine: Any) -> None:
    quarters = [datetime(2024, 10, 5, 9, tzinfo=UTC) + timedelta(days=91 * number) for number in range(4)]
    past = [deal for begun in quarters for deal in (*deals("1L", 8, begun), *deals("1W", 12, begun))]
    row = run(engine, tables(*past, *deals("1L", 14), *deals("1W", 56), ladder=stages("1"))).tables["stages"]
    assert row.select("vs_benchmark", "vs_lo", "vs_hi").row(0) == pytest.approx((0.2, 0.052431, 0.333873), rel=1e-5)


@pytest.mark.parametrize("gap", ["missing quarter", "truncated"])
def test_a_short_history_is_no_benchmark(engine: Any, gap: str) -> None:
    quarters = [datetime(2024, 10, 5, 9, tzinfo=UTC) + timedelta(days=91 * number) for number in range(4)]
    past = [deal for begun in quarters[1 if gap == "missing quarter" else 0 :] for deal in deals("1W", 20, begun)]
    if gap == "truncated":
        past[0]["visits"][0]["is_truncated"] = True
    row = run(engine, tables(*past, *deals("1W", 40), ladder=stages("1"))).tables["stages"].row(0, named=True)
    assert (row["benchmark_n"], row["vs_benchmark"], row["vs_lo"]) == (None, None, None)


def test_quarters_before_a_day() -> None:
    edges = [date(2025, 1, 1), date(2025, 4, 1), date(2025, 7, 1), date(2025, 10, 1), date(2026, 1, 1)]
    assert quarters_before(date(2026, 1, 1)) == edges
    assert quarters_before(date(2026, 3, 31)) == edges


def test_a_population_cuts_deals(engine: Any) -> None:
    mine = deals("1L", 20, responsible_user_id="user:7", prefix="m") + deals(
        "1W", 20, responsible_user_id="user:7", prefix="m"
    )
    result = run(engine, tables(*mine, *deals("1W", 40), ladder=stages("1")), population=("user:7",))
    assert column(result, "n") == {"1": 40}
    assert set(result.drilldown["user_id"]) == {"user:7"}


# Properties -----------------------------------------------------------------------------------------------------------


def same(left: MetricResult, right: MetricResult) -> None:
    for name, table in right.tables.items():
        assert_frame_equal(left.tables[name], table, rel_tol=1e-9, abs_tol=0)
    assert_frame_equal(left.drilldown, right.drilldown)


def test_without_deals_the_tables_are_empty_with_their_columns(engine: Any) -> None:
    full = run(engine, EXAMPLE)
    for empty in (run(engine, {}), run(engine, tables(ladder=stages("1234")))):
        for name, table in empty.tables.items():
            assert table.is_empty()
            assert table.schema == full.tables[name].schema
        assert empty.drilldown.is_empty()


def test_before_the_first_deal_there_is_nothing(engine: Any) -> None:
    early = Period(datetime(2025, 6, 1, tzinfo=UTC), date(2024, 6, 1), date(2025, 6, 1))
    assert run(engine, EXAMPLE, early).tables["stages"].is_empty()


def test_the_order_of_rows_changes_nothing(engine: Any) -> None:
    same(run(engine, {name: rows[::-1] for name, rows in EXAMPLE.items()}), run(engine, EXAMPLE))


def test_what_happens_after_as_of_changes_nothing(engine: Any) -> None:
    later = tables(*deals("12W", 9, NOW + timedelta(days=1)), ladder=stages("1"))
    more = {**EXAMPLE, **{name: [*EXAMPLE[name], *later[name]] for name in ("deal_state", "stage_interval")}}
    same(run(engine, more), run(engine, EXAMPLE))


def test_money_in_another_currency_changes_only_money(engine: Any) -> None:
    dearer = {
        **EXAMPLE,
        "deal_state": [{**row, "amount_minor": row["amount_minor"] * 90} for row in EXAMPLE["deal_state"]],
    }
    left, right = run(engine, dearer).tables["stages"], run(engine, EXAMPLE).tables["stages"]
    money = [name for name in right.columns if name.endswith("_minor")]
    assert_frame_equal(left, right.with_columns(pl.col(money) * 90), rel_tol=1e-9, abs_tol=0)


PATHS = st.lists(
    st.tuples(
        st.text("1234", min_size=1, max_size=5),
        st.sampled_from(["", "W", "L", "|1", "|12W", "|2L"]),
        st.integers(0, 700),
        st.integers(1, 1500),
        st.one_of(st.none(), st.integers(0, 10**9)),
    ),
    max_size=25,
)


def tables_of(rows: list[tuple[str, str, int, int, int | None]]) -> dict[str, Any]:
    born = datetime(2024, 11, 1, 9, tzinfo=UTC)
    known = [
        path(
            f"d{number}",
            "".join(dict.fromkeys(marks)) + end,
            start=born + timedelta(days=day),
            hours=hours,
            amount_minor=amount,
        )
        for number, (marks, end, day, hours, amount) in enumerate(rows)
    ]
    return tables(*known, ladder=[*stages("1234"), *stages("1234", "p1")])


def test_engines_agree_on_many_deals(polars_engine: Any, engine: Any) -> None:
    marks = ["1L", "12L", "13W", "1234W", "124|12W", "2|1L", "4", "31", "U"]
    known = [
        path(
            f"d{n}",
            marks[n % 9],
            start=NOW - timedelta(days=n * 37 % 700, seconds=n),
            hours=n % 400,
            amount_minor=n * 7919 % 10**6,
        )
        for n in range(600)
    ]
    given_tables = tables(*known, ladder=[*stages("1234"), *stages("1234", "p1")])
    same(run(engine, given_tables, drill="all"), run(polars_engine, given_tables, drill="all"))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=PATHS, min_cohort=st.sampled_from([0, 10]))
def test_random_funnels_narrow_and_add_up(polars_engine: Any, rows: list[Any], min_cohort: int) -> None:
    result = run(polars_engine, tables_of(rows), drill="all", min_cohort=min_cohort, min_n=0)
    assert_drilldown_counts(result)
    cohort = result.tables["stages"].filter(pl.col("semantics") == "cohort").sort("pipeline_id", "stage_id")
    for (_pipeline,), rungs in cohort.group_by("pipeline_id"):
        assert rungs["n"].is_sorted(descending=True)
        stopped = rungs["lost"] + rungs["n_open"] + rungs["n_moved"]
        assert (rungs["n"] == rungs["num"] + stopped).all(), "who reached a stage went on, was lost, moved or is there"
        assert (rungs["entered"] <= rungs["n"]).all()
    for row in result.tables["summary"].filter(pl.col("semantics") == "cohort").iter_rows(named=True):
        assert row["n"] == row["won"] + row["lost"] + row["n_open"] + row["n_moved"]
    assert result.drilldown.height == result.tables["summary"]["lost"].sum()
    ranked = result.tables["stages"].filter(pl.col("rank").is_not_null())
    assert (
        ranked.group_by("pipeline_id")
        .agg(pl.col("leak_share").sum())
        .filter(pl.col("leak_share") > 1 + 1e-9)
        .is_empty()
    )
