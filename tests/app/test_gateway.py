"""The gateway by itself: rights hold whatever a page asks, and one screen keeps to one generation."""

from datetime import timedelta

import pytest
import small_company

from app import asgi, data
from app.page import find_pages
from app.rights import LOCAL_OWNER, Viewer
from metrics.metric import find_metrics

BORIS = Viewer("boris", "manager", frozenset({"user:2"}))


@pytest.fixture
def publication(published):
    return data.current()


def owners(answer):
    return set(answer.result.drilldown["user_id"]) | set(answer.table("threads")["user_id"])


def test_a_page_that_asks_for_others_gets_nothing(publication):
    assert owners(data.run(publication, BORIS, "A3", users=frozenset({"user:1"}))) == set()


def test_a_page_that_asks_for_everybody_gets_what_the_viewer_may_see(publication):
    assert owners(data.run(publication, BORIS, "A3")) == {"user:2"}
    assert len(owners(data.run(publication, LOCAL_OWNER, "A3"))) > 1


@pytest.mark.parametrize(("passed_s", "n_days"), [(0, 0), (1, 1), (86_399, 1)])
def test_whom_to_call_back_holds_the_running_day_once_it_runs(data_dir, passed_s, n_days):
    small_company.publish(data_dir, as_of=small_company.AS_OF + timedelta(seconds=passed_s))
    publication = data.current()
    first, end = data.default_period(publication, data.metric("A3"))
    assert (publication.today - first, end - publication.today) == (timedelta(days=30), timedelta(days=n_days))
    assert data.default_period(publication, data.metric("B2"))[1] == publication.today


SILENT_HERE = {"E8": "no stage has a deadline", "E15": "no leads, and no pipeline for them"}
"""Metrics the small company has nothing for."""


@pytest.mark.parametrize("metric_id", find_metrics())
def test_days_change_the_answer_of_a_metric_unless_it_says_that_it_reads_none(publication, metric_id):
    today = publication.today
    periods = [(today - timedelta(days=n), today - timedelta(days=m)) for n, m in ((400, 0), (100, 60))]
    one, other = (data.run(publication, LOCAL_OWNER, metric_id, period=period).result for period in periods)
    if metric_id in SILENT_HERE:
        assert all(table.is_empty() for table in one.tables.values())
        return
    is_same = all(one.tables[name].equals(other.tables[name]) for name in one.tables)
    assert is_same == (not data.metric(metric_id).reads_period)


@pytest.mark.usefixtures("published")
def test_what_pages_are_about_is_computed_before_somebody_asks(monkeypatch):
    asked = set()
    monkeypatch.setattr(data, "run", lambda _p, _v, metric_id, **how: asked.add((metric_id, "as_of" in how)))
    assert asgi.warm_up("a generation of before") == data.current().generation
    pages = [page for page in find_pages() if page.metric_id]
    assert asked == {(page.metric_id, False) for page in pages} | {("A3", True)}


def test_cutting_one_viewers_answer_leaves_the_others_whole(publication):
    before = data.run(publication, LOCAL_OWNER, "A3").table("by_user")
    data.run(publication, BORIS, "A3")
    assert data.run(publication, LOCAL_OWNER, "A3").table("by_user").equals(before)


def test_a_publication_in_hand_keeps_answering_after_a_new_one(publication, published):
    before = data.run(publication, LOCAL_OWNER, "B2").table("total")
    small_company.publish(published, small_company.company(n_clients=20), generation="20261122T030000-2")
    assert data.run(publication, LOCAL_OWNER, "B2").table("total").equals(before)
    assert data.current().generation != publication.generation


def test_names_come_from_the_personal_tables_and_links_from_the_account(publication):
    rows = data.run(publication, LOCAL_OWNER, "B2").table("clients")
    assert rows["label"].str.starts_with("Клиент").sum() >= rows.height - 1
    assert rows["url"].str.starts_with(small_company.BASE_URL).all()


def test_a_missed_call_is_returned_to_the_number_it_came_from(publication):
    threads = data.run(publication, LOCAL_OWNER, "A3").table("threads")
    assert (threads["phone"] == "+7888000" + threads["thread_id"].str.slice(1).str.zfill(4)).all()


def test_a_client_is_called_on_a_phone_of_his_cards_his_own_first(publication, published):
    silent, reached = data.run(publication, LOCAL_OWNER, "B2").table("clients")["client_id"][:2]
    tables = small_company.company()
    tables["client_phone_pii"] = [
        {"entity_id": silent, "phone_e164": None},
        {"entity_id": reached, "phone_e164": "+79990000002"},
        {"entity_id": "company:1", "phone_e164": "+79990000901"},
        {"entity_id": "company:2", "phone_e164": "+79990000902"},
    ]
    for card, client_id in (("company:1", silent), ("company:2", reached)):
        tables["client_member"].append({"entity_id": card, "entity_kind": "company", "client_id": client_id})
    small_company.publish(published, tables, generation="20261122T030000-2")
    rows = data.run(data.current(), LOCAL_OWNER, "B2").table("clients").select("client_id", "phone")
    assert dict(rows.drop_nulls().iter_rows()) == {silent: "+79990000901", reached: "+79990000002"}


def test_without_personal_tables_everything_still_answers(data_dir):
    tables = {name: rows for name, rows in small_company.company().items() if not name.endswith("_pii")}
    small_company.publish(data_dir, tables)
    assert data.run(data.current(), LOCAL_OWNER, "B2").table("clients")["label"].is_null().all()


def test_what_people_set_acts_at_once(publication):
    before = data.run(publication, LOCAL_OWNER, "B2").table("total")["den"].sum()
    client = data.run(publication, LOCAL_OWNER, "B2").table("clients")["client_id"][0]
    data.settings_store().put(("client", "main", client), "is_spam", True, author="olga")
    assert data.run(publication, LOCAL_OWNER, "B2").table("total")["den"].sum() == before - 1
