"""As of (R-ASOF): what is computed for an earlier instant equals what was published then, on an unchanged source."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from demo_tables import demo_tables
from polars.testing import assert_frame_equal
from published import SCHEMAS, canonical, set_by_people

from demo.company import build
from demo.earlier import company_then
from metrics import marts
from metrics.evaluate import evaluate, made_from
from metrics.frames import EVENT, frames_from
from metrics.history import LOGGED, NOW_ONLY
from metrics.metric import Period, find_metrics

NOW = datetime(2026, 11, 20, 21, tzinfo=UTC)  # midnight in Moscow
THEN = datetime(2026, 10, 21, 12, 30, tzinfo=UTC)
ZONE = ZoneInfo("Europe/Moscow")


@pytest.fixture(scope="module")
def company():
    return build(scale=0.02, as_of=NOW)


def published(company, as_of):
    """A publication of the company at `as_of`, in memory."""
    tables = {name: frame.collect() for name, frame in demo_tables(company).items()}
    built = marts.build({name: frame.lazy() for name, frame in tables.items()}, as_of, marts.MartParams())
    account = {"account_id": "main", "connector": "amocrm", "base_url": "https://x", "tz": "Europe/Moscow"}
    account |= {"base_currency": "RUB", "calendar_id": "default", "as_of": as_of}
    frames = frames_from({**tables, **built}, "polars", [account], user_set=set_by_people(tables["stage"]))
    frames.manifest["as_of"] = as_of
    return frames


@pytest.fixture(scope="module")
def generations(company):
    """The publication of that day, and one of thirty days later."""
    return published(company_then(company, THEN), THEN), published(company, NOW)


METRICS = find_metrics()
LONG_BEFORE = THEN - timedelta(days=200)
OF_EACH_FAMILY = {metric_id[0]: metric_id for metric_id in METRICS}.values()
"""The last metric of each: `make test` asks these where most of the work is the same for all."""


def of_a_day_before_both(metric_id):
    marks = [] if metric_id in OF_EACH_FAMILY else [pytest.mark.slow]
    return pytest.param(METRICS[metric_id], LONG_BEFORE, id=f"{metric_id} of a day before both", marks=marks)


@pytest.mark.parametrize(
    ("metric", "at"),
    [
        *(pytest.param(metric, THEN, id=f"{metric.id} of that day") for metric in METRICS.values()),
        *map(of_a_day_before_both, METRICS),
    ],
)
def test_what_is_computed_for_a_past_day_is_what_was_published_then(metric, at, generations):
    earlier, later = generations
    period = Period(at, *metric.default_period(at.astimezone(ZONE)))
    then, now = (evaluate(metric, frames, None, period) for frames in (earlier, later))
    assert at != THEN or then.drilldown.height > 0
    for name, table in then.tables.items():
        assert_frame_equal(now.tables[name], table, check_exact=True)
    assert_frame_equal(now.drilldown, then.drilldown, check_exact=True)


@pytest.mark.parametrize("mart", marts.MARTS)
def test_the_marts_of_a_past_day_are_those_that_were_published_then(mart, generations):
    earlier, later = generations
    then, now = (frames.at(THEN)[mart].collect().to_native() for frames in (earlier, later))
    if mart == "calendar_day":
        then, now = (frame.filter(pl.col("day") <= THEN.date()) for frame in (then, now))
    assert_frame_equal(now, then, check_exact=True)


def built(tables, as_of=THEN):
    return marts.build(canonical(tables), as_of, marts.MartParams())


BEFORE, AFTER = THEN - timedelta(days=2), THEN + timedelta(days=2)


def test_a_card_was_on_no_company_and_no_contact_that_were_made_later():
    tables = {
        "contact": [
            {"contact_id": "contact:1", "company_id": "company:1", "created_at": BEFORE},
            {"contact_id": "contact:2", "created_at": AFTER},
        ],
        "company": [{"company_id": "company:1", "created_at": AFTER}],
        "deal": [{"deal_id": "lead:1", "entity_kind": "deal", "main_contact_id": "contact:2", "created_at": BEFORE}],
        "deal_contact": [
            {"deal_id": "lead:1", "contact_id": "contact:2", "is_main": True},
            {"deal_id": "lead:1", "contact_id": "contact:1", "position": 1},
        ],
    }
    members = built(tables)["client_member"].select("entity_id", "client_id")
    assert dict(members.iter_rows()) == {"contact:1": "contact:1", "lead:1": "contact:1"}
    assert built(tables, AFTER)["client_member"]["client_id"].to_list() == [
        "company:1",
        "company:1",
        "contact:2",
        "contact:2",
    ]


def test_an_invoice_that_was_paid_later_was_no_sale_then():
    invoice = {"invoice_id": "invoice:1", "issued_on": BEFORE.date(), "amount_minor": 100, "currency": "RUB"}
    payment = {"payment_id": "payment:1", "invoice_id": "invoice:1", "paid_at": AFTER, "amount_minor": 100}
    tables = {"invoice": [{**invoice, "status": "paid"}], "payment": [payment]}
    assert built(tables)["sale"].is_empty()
    assert built(tables, AFTER)["sale"].filter(basis="invoice_paid")["sold_at"].to_list() == [AFTER]


def test_a_deal_that_is_lost_since_had_no_reason_then():
    place = {"pipeline_id": "p", "stage_id": "lost"}
    move = {"deal_id": "lead:1", "change_id": "1", "changed_at": AFTER, "from_pipeline_id": "p", "from_stage_id": "new"}
    tables = {
        "stage": [{"pipeline_id": "p", "stage_id": "new", "kind": "open"}, {**place, "kind": "lost"}],
        "deal": [{"deal_id": "lead:1", "entity_kind": "deal", "created_at": BEFORE, "loss_reason_id": "r", **place}],
        "deal_stage_transition": [{**move, "to_pipeline_id": "p", "to_stage_id": "lost", "origin": "event"}],
    }
    assert built(tables)["deal_state"].select("outcome", "loss_reason_id").rows() == [("open", None)]
    assert built(tables, AFTER)["deal_state"].select("outcome", "loss_reason_id").rows() == [("lost", "r")]


class Read(dict):
    """Tables that remember which of them were asked for."""

    def __init__(self, tables):
        super().__init__(tables)
        self.names = set()

    def __getitem__(self, name):
        self.names.add(name)
        return super().__getitem__(name)


def test_every_table_that_marts_and_metrics_are_made_of_says_what_of_it_has_no_history():
    tables = Read(canonical({}))
    marts.build(tables, THEN, marts.MartParams())
    fed = {table for mart in marts.MARTS for table in marts.FED_BY[mart]}
    assert tables.names - fed == {"account", "coverage"}
    read = tables.names.union(*(made_from(metric) for metric in find_metrics().values())) - set(marts.MARTS)
    assert read <= set(NOW_ONLY) <= set(SCHEMAS)
    assert {table for table, said in NOW_ONLY.items() if said is None} & set(EVENT) == {*LOGGED, "merge_link"}


OF_FIRSTS = [f"{stem}_{way}" for stem in ("first_touch", "first_won") for way in ("at", "local", "epoch")]
"""Columns of `client` that come from other marts."""


def test_a_mart_names_the_tables_it_is_made_of(company):
    tables = {name: frame.collect().lazy() for name, frame in demo_tables(company).items()}
    whole = marts.build(tables, NOW, marts.MartParams())
    for table in NOW_ONLY.keys() - {"account", "coverage"}:
        without = marts.build({**tables, table: tables[table].clear()}, NOW, marts.MartParams())
        changed = {
            mart
            for mart, frame in whole.items()
            if mart != "calendar_day"
            and not frame.drop(OF_FIRSTS, strict=False).equals(without[mart].drop(OF_FIRSTS, strict=False))
        }
        assert {mart for mart in changed if table not in marts.FED_BY[mart]} == set(), table


@pytest.mark.parametrize(
    ("metric", "named", "not_named"),
    [
        ("A3", ("правки звонков", "телефоны клиентов"), ("правки платежей", "названия и порядок воронок")),
        ("B2", ("ответственные за клиентов", "сроки, виды и ответственные задач"), ("правки платежей",)),
        ("D6", ("источники, причины отказа",), ("сроки, виды",)),
        ("E6", ("виды и порядок этапов", "суммы сделок"), ("правки звонков", "телефоны")),
    ],
)
def test_a_result_of_a_past_day_names_what_it_takes_as_now(metric, named, not_named, generations):
    _, later = generations
    found = find_metrics()[metric]
    result = evaluate(found, later, None, Period(THEN, *found.default_period(THEN.astimezone(ZONE))))
    (notice,) = [notice for notice in result.warnings if notice.code == "facts_of_now"]
    assert all(words in notice.ru for words in named)
    assert not any(words in notice.ru for words in not_named)


def test_logs_that_are_read_are_not_named_among_what_has_no_history(generations):
    _, later = generations
    metric = find_metrics()["E6"]
    period = Period(THEN, *metric.default_period(THEN.astimezone(ZONE)))
    later.manifest["coverage"].extend({"account_id": "main", "resource": log} for log in LOGGED)
    try:
        texts = [
            notice.ru for notice in evaluate(metric, later, None, period).warnings if notice.code == "facts_of_now"
        ]
    finally:
        later.manifest["coverage"].clear()
    assert "суммы сделок" not in texts[0]


@pytest.mark.parametrize("metric", find_metrics().values(), ids=lambda metric: metric.id)
def test_before_the_first_data_there_is_no_data_not_zero(metric, generations, company):
    _, later = generations
    at = datetime(2020, 1, 1, tzinfo=UTC)
    result = evaluate(metric, later, None, Period(at, *metric.default_period(at.astimezone(ZONE))))
    assert any(notice.code == "no_data" and "первое, что известно" in notice.ru for notice in result.warnings)
