"""What is chosen stands in the address in codes: alike in both languages, without names, and never silently ignored."""

import pytest
import small_company

from app.ui import address

CHOSEN = {
    "calls": {"period": "7d", "manager": "user:1", "state": "never"},
    "funnel": {"period": "last_month", "pipeline": "pipeline:1", "stage": "all"},
    "clients": {"period": "365d", "clients": "CHURNED", "month": "2026-09"},
    "forgotten": {"days": "30", "forgotten_all": "1"},
    "brief": {"list": "forgotten", "brief_forgotten_all": "1"},
}

pytestmark = pytest.mark.usefixtures("published")


def numbers(page):
    return [metric.value.translate({ord(","): "", ord("."): "", 160: ""}).rstrip("%") for metric in page.metric]


def lists(page):
    return [len(table.value) for table in page.dataframe]


def warned(page):
    return "\n".join(warning.value.replace("\\", "") for warning in page.warning)


@pytest.mark.parametrize("url", CHOSEN)
def test_a_link_survives_the_switch_of_the_language(open_page, url):
    russian = open_page(url, **CHOSEN[url])
    assert russian.query_params == CHOSEN[url]
    russian.session_state["lang"] = "en"
    russian.run()
    fresh = open_page(url, **CHOSEN[url], lang="en")
    for english in (russian, fresh):
        assert not english.exception
        assert not english.warning
        assert english.query_params == {**CHOSEN[url], "lang": "en"}
        assert lists(english) == lists(fresh)
    assert fresh.title[0].value != open_page(url).title[0].value


def test_what_is_chosen_goes_into_the_address_as_codes(open_page):
    page = open_page("calls")
    page.selectbox(key="period").set_value("90d")
    page.multiselect(key="manager").set_value(["user:2", "user:1"]).run()
    assert page.query_params == {"period": "90d", "manager": ["user:2", "user:1"]}
    page.selectbox(key="period").set_value("auto").run()
    assert page.query_params == {"manager": ["user:2", "user:1"]}


def test_namesakes_have_an_address_each(open_page, data_dir):
    tables = small_company.company()
    tables["user"][1]["name"] = tables["user"][0]["name"]
    small_company.publish(data_dir, tables, generation="20261122T030000-2")
    for user in ("user:1", "user:2"):
        assert open_page("calls", manager=user).multiselect(key="manager").value == [user]


@pytest.mark.parametrize(
    ("url", "key", "code", "shown"),
    [
        ("calls", "period", "7", "Период: 30 дней"),
        ("calls", "period", "Последние 7 дней", "Период: 30 дней"),
        ("calls", "manager", "Анна Белова", "Все менеджеры"),
        ("funnel", "pipeline", "pipeline:9", "Все воронки"),
        ("brief", "list", "../x", "Перезвонить"),
        ("forgotten", "days", "7", "60"),
        ("calls", "lang", "de", "ru"),
    ],
)
def test_a_value_nobody_knows_is_said_until_another_is_chosen(open_page, url, key, code, shown):
    page = open_page(url, **{key: code})
    assert not page.exception
    assert f"«{code}»" in warned(page)
    assert f"показано: {shown}" in warned(page)
    assert numbers(page) == numbers(open_page(url))
    assert f"«{code}»" in warned(page.run())


def test_the_sentence_about_an_unknown_value_goes_with_it(open_page):
    page = open_page("calls", period="7")
    page.selectbox(key="period").set_value("30d").run()
    assert not page.warning
    assert page.query_params == {"period": "30d"}


def test_of_two_managers_the_known_one_is_shown_and_the_other_is_said(open_page):
    page = open_page("calls", manager=["user:1", "user:99"])
    assert page.multiselect(key="manager").value == ["user:1"]
    assert "«user:99»" in warned(page)
    assert "показано: Анна Белова" in warned(page)


def test_dates_stand_in_the_address(open_page):
    page = open_page("calls", period="custom", dates="2026-10-01..2026-10-31")
    assert not page.warning
    assert [f"{day}" for day in page.date_input(key="dates").value] == ["2026-10-01", "2026-10-31"]
    assert "«2026-10-31..2026-10-01»" in warned(open_page("calls", period="custom", dates="2026-10-31..2026-10-01"))
    assert "«3000-01-01»" in warned(open_page("calls", period="custom", dates="3000-01-01"))


def test_no_state_at_all_is_a_choice_too(open_page):
    page = open_page("calls", state="")
    assert not page.warning
    assert lists(page)[0] >= lists(open_page("calls"))[0]
    assert page.query_params == {"state": ""}


def test_the_address_holds_only_what_the_page_takes(open_page):
    assert open_page("forgotten", period="7d", pipeline="pipeline:1", days="30").query_params == {"days": "30"}


def test_back_brings_what_the_address_says(open_page, monkeypatch):
    page = open_page("calls", period="7d")
    page.selectbox(key="period").set_value("90d").run()
    monkeypatch.setattr(address, "is_back", lambda: True)  # AppTest knows no history of a browser
    page.query_params["period"] = "7d"
    assert page.run().selectbox(key="period").value == "7d"
    del page.query_params["period"]
    assert page.run().selectbox(key="period").value == "auto"
