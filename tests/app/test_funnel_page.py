"""The funnel page: which deals are counted is said, and every number is its list."""

import re
from datetime import date
from types import SimpleNamespace

import polars as pl
import pytest
import small_company

from app.views import forgotten, funnel

UNSORTED_LOST = "lead:900001"


def with_a_deal_lost_at_once(tables):
    """`tables` and a deal that went to lost without standing on any stage."""
    moment = small_company.AS_OF - small_company.timedelta(days=100)
    shared = {"deal_id": UNSORTED_LOST, "pipeline_id": "pipeline:2", "stage_id": "status:143"}
    state = {**shared, "entity_kind": "deal", "responsible_user_id": "user:1", "created_at": moment}
    state |= {"amount_minor": 100, "client_id": "contact:1", "outcome": "lost", "outcome_at": moment, "n_reopened": 0}
    tables["deal_state"].append(state | {"entered_pipeline_at": moment})
    tables["stage_interval"].append(
        {**shared, "n": 1, "stage_kind": "lost", "stage_sort": 100, "entered_at": moment, "visit_no": 1}
    )
    return tables


@pytest.fixture
def many_deals(data_dir):
    small_company.publish(data_dir, with_a_deal_lost_at_once(small_company.company(n_clients=200, seed=2)))


def tile(page, label):
    return next(metric for metric in page.metric if metric.label == label)


def sentence(page):
    """The one below the headline."""
    texts = [text.value for text in page.markdown]
    return re.sub(r"\\", "", texts[next(n for n, text in enumerate(texts) if text.startswith("####")) + 1])


def stages_and_lost(page):
    """The two tables of the page."""
    stages, lost = page.dataframe
    return stages.value, lost.value


def numbers(text):
    return [int(number) for number in re.findall(r"\d+", text)]


@pytest.mark.usefixtures("many_deals")
def test_the_deals_of_the_year_add_up_and_open_to_their_list(open_page):
    page = open_page("funnel", stage="all")
    said = sentence(page)
    assert re.match(r"Сделок, созданных 22\.11\.2025 – 22\.09\.2026: ", said)
    assert "Сделки моложе 60 дней не в счёт" in said
    n, won, lost, n_open = numbers(said.split("2026: ")[1].split(". Сделки")[0])
    assert n == won + lost + n_open
    assert (tile(page, "Сделок в расчёте").value, tile(page, "Потерянные сделки").value) == (str(n), str(lost))
    page.toggle(key="lost_all").set_value(True).run()
    stages, rows = stages_and_lost(page)
    assert len(rows) == lost
    assert (rows["stage_name"] == "До первого этапа").sum() == 1
    assert stages["lost"].sum() == lost - 1
    assert "Закончились до первого этапа, в полосах их нет: 1." in " ".join(one.value for one in page.caption)


@pytest.mark.usefixtures("many_deals")
@pytest.mark.parametrize(
    ("period", "chosen", "counted"),
    [
        ("7d", "15.11.2026 – 21.11.2026", "24.08.2026 – 21.11.2026"),
        ("last_month", "01.10.2026 – 31.10.2026", "03.08.2026 – 31.10.2026"),
    ],
)
def test_events_instead_of_young_deals_are_said_with_their_dates(open_page, period, chosen, counted):
    page = open_page("funnel", period=period)
    said = sentence(page)
    assert said.startswith(f"Сделок, созданных {chosen} и не моложе 60 дней, меньше 30")
    assert f"произошло со сделками {counted}" in said
    closed, won, lost = numbers(said.split(counted)[1])
    assert closed == won + lost
    assert tile(page, "Закрыто сделок").value == str(closed)
    everything = " ".join(str(one.value) for kind in ("metric", "caption") for one in page.get(kind))
    everything += " ".join(metric.delta for metric in page.metric)
    assert "открыто" not in everything.lower()
    assert "последних" not in everything
    assert "n_open" not in stages_and_lost(page)[0]


@pytest.mark.usefixtures("many_deals")
@pytest.mark.parametrize("period", ["auto", "7d"])
def test_all_money_is_for_a_month(open_page, period):
    page = open_page("funnel", period=period)
    headline = next(text.value for text in page.markdown if text.value.startswith("####"))
    assert "теряет ≈" in headline
    worst = stages_and_lost(page)[0].set_index("rank").loc[1]
    loss, gain = re.search(r"≈ (.*) в месяц", headline)[1], tile(page, "+5 п.п. в узком месте")
    assert funnel.formats.short_money(worst["leak_minor"] * 100) == loss
    assert (funnel.formats.short_money(worst["gain_pp_minor"] * 100), "в месяц") == (gain.value, gain.delta)


def answer_of(period, **params):
    shown = {"min_cohort": 30, "mature_d": 60} | params
    return SimpleNamespace(
        result=SimpleNamespace(params=SimpleNamespace(**shown), period_from=period[0], period_to=period[1])
    )


def test_deals_moved_to_another_pipeline_are_told():
    year = date(2025, 11, 22), date(2026, 9, 23)
    top = {"semantics": "cohort", "since_on": year[0], "until_on": year[1]}
    top |= {"n": 1449, "won": 535, "lost": 851, "n_open": 55, "n_moved": 8}
    said = funnel.counted(answer_of(year), top)
    assert said.endswith("Выиграно 535, потеряно 851, ещё открыто 55, ушло в другие воронки 8.")


def test_a_manager_is_marked_where_chance_does_not_explain_it():
    people = pl.DataFrame(
        {"num": [25, 25, 24, 9], "ci_lo": [0.14, 0.14, 0.17, 0.5], "low_n": [False, False, False, True]}
    )
    total = {"num": 238, "den": 1238}
    assert forgotten.worse_than_all(people, total) == [False, False, False, False]
    assert forgotten.worse_than_all(people.with_columns(ci_lo=pl.lit(0.2)), total) == [True, True, True, False]
