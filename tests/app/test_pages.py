"""Every page: with data, without, with one that cannot be read, as each role."""

import json
import shutil
from datetime import timedelta

import pytest
import small_company

from app import data, i18n
from app.page import find_pages

PAGES = [page.url for page in find_pages()]
METRIC_PAGES = [page.url for page in find_pages() if page.render is not None]


def texts(page):
    """Everything a page says, in one string."""
    kinds = ("title", "caption", "markdown", "info", "warning", "error", "success", "subheader", "metric", "text")
    return "\n".join(str(getattr(e, "value", "")) + str(getattr(e, "label", "")) for k in kinds for e in page.get(k))


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize("url", PAGES)
def test_a_page_opens_on_a_company(open_page, url):
    page = open_page(url)
    assert not page.exception
    assert not page.error
    assert page.title[0].value


@pytest.mark.parametrize("url", PAGES)
def test_before_the_first_publication_a_page_says_what_to_do(open_page, url):
    page = open_page(url)
    assert not page.exception
    assert "voronka sync" in page.info[0].value


@pytest.mark.parametrize("url", PAGES)
def test_a_publication_without_a_single_row_is_no_traceback(open_page, data_dir, url):
    small_company.publish(data_dir, {name: [] for name in small_company.SCHEMAS})
    page = open_page(url)
    assert not page.exception
    assert not page.error


@pytest.mark.parametrize("url", METRIC_PAGES)
def test_what_was_never_synced_reads_no_data_not_zero(open_page, data_dir, url):
    small_company.publish(data_dir, {name: [] for name in small_company.SCHEMAS}, is_synced=False)
    page = open_page(url)
    assert not page.exception
    assert any("Нет данных" in warning.value for warning in page.warning)
    assert "0" not in [metric.value for metric in page.metric]


@pytest.mark.parametrize("url", [page.url for page in find_pages() if "period" in page.filters])
@pytest.mark.parametrize(("dates", "is_before"), [("2024-01-01..2024-02-01", True), ("2025-05-20..2025-06-05", False)])
def test_nothing_found_in_days_before_the_data_is_no_all_clear(open_page, data_dir, url, dates, is_before):
    small_company.publish(data_dir, {name: [] for name in small_company.SCHEMAS})
    page = open_page(url, period="custom", dates=dates)
    assert not page.exception
    assert [success.value for success in page.success] == []
    assert any("Нет данных" in warning.value for warning in page.warning) == is_before


def test_nothing_found_in_days_that_are_known_is_good_news(open_page, data_dir):
    small_company.publish(data_dir, {name: [] for name in small_company.SCHEMAS})
    page = open_page("calls", period="custom", dates="2026-10-01..2026-10-31")
    assert "За период пропущенных нет." in page.success[0].value


@pytest.mark.parametrize(("passed_h", "name"), [(0, "Период: 30 дней"), (10, "30 дней и сегодня")])
def test_the_period_nobody_chose_says_whether_today_is_in_it(open_page, data_dir, passed_h, name):
    small_company.publish(data_dir, as_of=small_company.AS_OF + timedelta(hours=passed_h))
    assert open_page("calls").selectbox(key="period").options[:3] == [name, "Последние 7 дней", "Последние 30 дней"]
    assert open_page("funnel").selectbox(key="period").options[0] == "Период: 365 дней"


@pytest.mark.parametrize(("passed_h", "is_offered"), [(0, False), (10, True)])
def test_a_day_of_which_nothing_is_known_yet_cannot_be_chosen(open_page, data_dir, passed_h, is_offered):
    small_company.publish(data_dir, as_of=small_company.AS_OF + timedelta(hours=passed_h))
    page = open_page("calls", period="custom", dates="2026-11-01..2026-11-22")
    assert any("2026-11-22" in warning.value.replace("\\", "") for warning in page.warning) != is_offered


@pytest.mark.parametrize("url", PAGES)
def test_a_publication_that_cannot_be_read_is_a_sentence(open_page, published, url):
    for file in published.glob("publication/*/deal_state.parquet"):
        file.unlink()
    page = open_page(url)
    assert not page.exception
    assert "voronka publish" in page.error[0].value


def test_a_broken_manifest_is_a_sentence(open_page, published):
    for file in published.glob("publication/*/manifest.json"):
        file.write_text("{", "utf-8")
    assert "voronka publish" in open_page("brief").error[0].value


@pytest.mark.usefixtures("published")
def test_a_metric_that_is_not_installed_is_said_aloud(open_page, monkeypatch):
    monkeypatch.setattr(data, "find_metrics", dict)
    page = open_page("calls")
    assert "A3" in page.error[0].value


@pytest.mark.usefixtures("published")
def test_a_number_of_the_brief_opens_its_rows_and_each_row_its_card(open_page):
    page = open_page("brief")
    page.button(key="brief_tiles_1_open").click().run()
    rows = page.dataframe[0].value
    forgotten = page.metric[1]
    assert forgotten.label == "Забытые клиенты"
    page.toggle(key="brief_forgotten_all").set_value(True).run()
    rows = page.dataframe[0].value
    assert len(rows) == int(forgotten.value)
    assert rows["url"].str.fullmatch(rf"{small_company.BASE_URL}/contacts/detail/\d+").all()


@pytest.mark.usefixtures("published")
def test_a_long_list_shows_ten_rows_until_asked_for_all(open_page):
    page = open_page("forgotten")
    assert len(page.dataframe[0].value) == 10
    page.toggle(key="forgotten_all").set_value(True).run()
    assert len(page.dataframe[0].value) == int(page.metric[0].value)


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize(("url", "first"), [("calls", "open_d"), ("forgotten", "days_since"), ("brief", "open_d")])
def test_a_list_of_whom_to_call_has_the_number_within_the_width_of_a_phone(open_page, url, first):
    rows = next(table.value for table in open_page(url).dataframe if "url" in table.value)
    assert list(rows)[:5] == ["url", "label", first, "phone", "user_name"]
    assert rows["phone"].dropna().str.fullmatch(r"tel:\+7\d{10}").all()
    assert rows["phone"].notna().any()


@pytest.mark.parametrize("url", ["calls", "forgotten", "brief"])
def test_where_phones_are_not_kept_there_is_no_column_of_them(open_page, data_dir, url):
    small_company.publish(
        data_dir, {name: rows for name, rows in small_company.company().items() if not name.endswith("_pii")}
    )
    page = open_page(url)
    assert not page.exception
    assert not any("phone" in table.value for table in page.dataframe)


@pytest.fixture
def many_buyers(data_dir):
    small_company.publish(data_dir, small_company.company(n_clients=200, seed=2))


def opened(page, number):
    """The clients a tile of the client base opens, all of them."""
    page.button(key=f"client_tiles_{number}_open").click().run()
    assert not page.exception
    if any(toggle.key == "clients_all" for toggle in page.toggle):
        page.toggle(key="clients_all").set_value(True).run()
    return next(table.value for table in page.dataframe if "url" in table.value)


@pytest.mark.usefixtures("many_buyers")
@pytest.mark.parametrize(
    ("lang", "labels", "as_of"),
    [
        ("ru", ("Активных сейчас", "В зоне риска сейчас"), "На 22.11.2026."),
        ("en", ("Active clients now", "At risk now"), "As of 2026-11-22."),
    ],
)
def test_the_clients_behind_active_and_at_risk_now_can_be_listed(open_page, lang, labels, as_of):
    i18n.use(lang)  # AppTest formats the options of a list itself when it clicks
    page = open_page("clients", lang=lang)
    for number, days in enumerate([range(91), range(91, 181)]):
        rows, tile = opened(page, number), page.metric[number]
        assert (tile.label, int(tile.value)) == (labels[number], len(rows))
        assert rows["days_since"].isin(days).all()
        assert rows["url"].str.fullmatch(rf"{small_company.BASE_URL}/contacts/detail/\d+").all()
        assert as_of in [caption.value for caption in page.caption]


@pytest.mark.usefixtures("many_buyers")
@pytest.mark.parametrize("number", [2, 3])
def test_the_clients_who_left_or_came_back_in_a_month_can_be_listed(open_page, number):
    page = open_page("clients")
    opened(page, 0)  # a state has no month to choose: the choice goes, and has to come back with the right one
    assert len(opened(page, number)) == int(page.metric[number].value)


@pytest.mark.usefixtures("many_buyers")
def test_the_clients_of_a_past_period_are_not_called_those_of_now(open_page):
    page = open_page("clients", period="last_month")
    rows, tile = opened(page, 0), page.metric[0]
    assert (tile.label, int(tile.value)) == ("Активных на конец окт\N{NO-BREAK SPACE}26", len(rows))
    assert "На 31.10.2026." in [caption.value for caption in page.caption]


@pytest.mark.usefixtures("published")
def test_filters_come_from_the_address(open_page):
    everybody = open_page("calls")
    page = open_page("calls", manager="user:1", period="7d")
    assert not page.exception
    assert page.multiselect(key="manager").value == ["user:1"]
    assert page.selectbox(key="period").value == "7d"
    assert int(page.metric[0].value) < int(everybody.metric[0].value)


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize(
    "params", [{"manager": "Eve"}, {"period": "2026-13-01"}, {"pipeline": "../x"}, {"list": "nope"}]
)
def test_a_hand_made_address_is_the_page_without_that_filter(open_page, params):
    page = open_page("brief", **params)
    assert not page.exception
    assert [metric.value for metric in page.metric] == [metric.value for metric in open_page("brief").metric]


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize("url", PAGES)
def test_the_english_interface_is_english(open_page, url):
    page = open_page(url, lang="en")
    assert not page.exception
    own = [page.title[0].value, page.caption[0].value, *(metric.label for metric in page.metric)]
    assert not any("а" <= letter <= "я" for letter in "".join(own).lower())


@pytest.mark.usefixtures("published")
def test_the_funnel_says_since_when_its_history_is_complete(open_page):
    assert "История этапов полна с 31.05.2025." in [caption.value for caption in open_page("funnel").caption]


def test_old_data_are_called_stale(open_page, published, monkeypatch):
    monkeypatch.setattr(data, "now", lambda: small_company.AS_OF + timedelta(days=3))
    assert "Устарели:" in texts(open_page("brief"))


def test_a_new_generation_is_shown_without_a_restart(open_page, published):
    page = open_page("brief")
    before = page.metric[1].value
    small_company.publish(published, small_company.company(n_clients=20), generation="20261122T030000-2")
    page.run()
    assert not page.exception
    assert page.metric[1].value != before


# --- rights ----------------------------------------------------------------------------------------------------------

VIEWERS = """
viewers:
  - {login: olga, role: owner}
  - {login: head, role: head, departments: ["department:1"]}
  - {login: boris, role: manager, user_id: "user:2"}
"""


@pytest.fixture
def people(published):
    (published / "config.yaml").write_text(VIEWERS, "utf-8")
    return published


@pytest.mark.usefixtures("people")
@pytest.mark.parametrize("url", PAGES)
@pytest.mark.parametrize(
    ("login", "others"),
    [("boris", {"Анна Белова", "Вера Соколова", "Дарья Юсупова"}), ("head", {"Глеб Титов", "Дарья Юсупова"})],
)
def test_nobody_sees_the_rows_of_others(open_page, url, login, others):
    page = open_page(url, user={"login": login})
    assert not page.exception
    shown = {name for table in page.dataframe for name in table.value.get("user_name", [])}
    filters = {name for box in page.multiselect for name in box.options}
    charts = " ".join(
        json.dumps(json.loads(chart.proto.spec), ensure_ascii=False) for chart in page.get("echarts_chart")
    )
    assert not shown & others
    assert not filters & others
    assert not any(name in charts for name in others)


@pytest.mark.usefixtures("people")
def test_where_people_are_listed_an_unknown_visitor_sees_nothing(open_page):
    page = open_page("brief")
    assert not page.exception
    assert not page.metric


def test_a_visitor_past_the_proxy_with_the_secret_sees_nothing(open_page, people, monkeypatch):
    monkeypatch.setenv("VORONKA_PROXY_SECRET", "s3cret")
    page = open_page("brief", user={"login": "olga"})
    assert not page.exception
    assert not page.metric


@pytest.mark.usefixtures("people")
def test_a_filter_in_the_address_gives_no_rights(open_page):
    page = open_page("calls", user={"login": "boris"}, manager="user:1")
    own = open_page("calls", user={"login": "boris"})
    assert "Борис Орлов" in page.warning[0].value
    assert [metric.value for metric in page.metric] == [metric.value for metric in own.metric]


@pytest.mark.usefixtures("people")
def test_a_manager_has_no_funnel_page(open_page):
    assert open_page("funnel", user={"login": "boris"}).title[0].value == "Сводка"


@pytest.mark.usefixtures("people")
def test_a_stranger_sees_a_sentence_and_nothing_else(open_page):
    page = open_page("brief", user={"login": "eve"})
    assert "eve" in page.error[0].value
    assert not page.metric
    assert not page.dataframe


@pytest.mark.usefixtures("people")
def test_a_role_in_the_request_counts_for_nothing(open_page):
    page = open_page("funnel", user={"login": "boris", "role": "owner"})
    assert page.title[0].value == "Сводка"


# --- status ----------------------------------------------------------------------------------------------------------


def run_status(state="failed", heartbeat_min=0, **resource):
    known = {
        "resource": "deal",
        "state": "failed",
        "n_read": 5,
        "n_written": 3,
        "error": {"template": "{where}: the answer is not JSON.", "fields": {"where": "amoCRM"}},
        "warnings": [],
    }
    beat = small_company.AS_OF + timedelta(hours=5) - timedelta(minutes=heartbeat_min)
    return {
        "run_id": 1,
        "state": state,
        "started_at": small_company.AS_OF.isoformat(),
        "heartbeat_at": beat.isoformat(),
        "finished_at": None,
        "accounts": [{"account_id": "main", "state": state, "error": None, "resources": [{**known, **resource}]}],
    }


def test_the_status_page_shows_what_failed(open_page, published):
    (published / "status.json").write_text(json.dumps(run_status()), "utf-8")
    page = open_page("status")
    assert "ответ — не JSON" in page.error[0].value
    assert "Сделки" in page.error[0].value


def test_the_status_page_shows_what_differs_from_the_crm(open_page, published):
    told = {"template": "all rows compared one by one: {n}", "fields": {"n": "7"}}
    row = {
        "kind": "amount",
        "what": {"template": "another amount", "fields": {}},
        "id": "lead:7",
        "here": "1",
        "there": "2",
    }
    leads = {"resource": "leads", "error": None, "told": [told], "notes": [], "differences": {"amount": 1}}
    check = {"at": small_company.AS_OF.isoformat(), "error": None, "summary": told, "notes": [], "state": "differs"}
    check["lists"] = [{**leads, "sample": [{**row, "url": "https://volga.amocrm.ru/leads/detail/7"}]}]
    status = run_status("done", error=None)
    status["accounts"][0]["check"] = check
    (published / "status.json").write_text(json.dumps(status), "utf-8")
    page = open_page("status")
    assert any("все строки сверены поштучно" in one.value for one in page.warning)
    assert any("lead:7" in str(frame.value.to_dict()) for frame in page.dataframe)
    check |= {"state": "equal", "lists": []}
    (published / "status.json").write_text(json.dumps(status), "utf-8")
    assert any("все строки сверены поштучно" in one.value for one in open_page("status").success)


def test_what_failed_before_and_was_not_read_since_is_shown_once_for_all_it_befell(open_page, published):
    status = run_status("done", error=None)
    at = (small_company.AS_OF - timedelta(hours=19)).isoformat()
    error = {"template": "{where}: the answer is not JSON.", "fields": {"where": "amoCRM"}}
    (deals,) = status["accounts"][0]["resources"]
    deals |= {"state": "skipped", "failure": {"at": at, "error": error}}
    status["accounts"][0]["resources"].append({**deals, "resource": "task"})
    (published / "status.json").write_text(json.dumps(status), "utf-8")
    (told,) = open_page("status").error
    assert "Сделки, Задачи" in told.value
    assert "24\u202fч назад" in told.value.replace("\u00a0", "\u202f")
    assert "ответ — не JSON" in told.value


def test_a_sync_that_fell_silent_is_called_broken_off(open_page, published):
    status = run_status("running", 90, error=None)
    (published / "status.json").write_text(json.dumps(status), "utf-8")
    assert "оборвалась" in open_page("status").warning[0].value


def test_deleted_deals_are_called_marked_not_unwritten(open_page, published):
    status = run_status("done", resource="trash", n_read=101, n_written=0, error=None)
    status["accounts"][0]["resources"][0]["state"] = "done"
    (published / "status.json").write_text(json.dumps(status), "utf-8")
    rows = next(table.value for table in open_page("status").dataframe if "n_read" in table.value)
    assert rows.loc[0, ["resource", "state", "n_read"]].to_list() == ["Удалённые сделки", "отмечены удалёнными", 101]
    assert rows["n_written"].isna().all()


def test_what_a_source_answered_oddly_is_told_below_the_last_sync(open_page, published):
    warning = {"template": "{list}: items that are not objects were left out", "fields": {"list": "tasks"}}
    status = run_status("done", resource="tasks", error=None, warnings=[warning])
    (published / "status.json").write_text(json.dumps(status), "utf-8")
    page = open_page("status")
    assert "К сведению: 1" in [one.label for one in page.expander]
    assert "Задачи** — tasks\\: " in texts(page)
    assert not page.error


def test_a_sync_without_remarks_speaks_of_none(open_page, published):
    (published / "status.json").write_text(json.dumps(run_status("done", error=None)), "utf-8")
    assert not any(one.label.startswith("К сведению") for one in open_page("status").expander)


def test_a_manager_sees_the_age_of_the_data_and_nothing_of_the_machinery(open_page, people):
    (people / "status.json").write_text(json.dumps(run_status()), "utf-8")
    page = open_page("status", user={"login": "boris"})
    assert [metric.label for metric in page.metric] == ["Данные на", "Свежесть"]
    assert not page.error
    told = texts(page) + "".join(table.value.to_csv() for table in page.dataframe)
    assert small_company.BASE_URL not in told
    assert "example.amocrm.ru" not in told
    assert "Задачи" in told


@pytest.mark.usefixtures("published")
def test_the_company_is_called_by_its_name(open_page):
    assert "Пример" in texts(open_page("brief"))
    assert "example.amocrm.ru" not in texts(open_page("brief"))


@pytest.mark.usefixtures("published")
def test_tables_nobody_speaks_of_are_one_click_away(open_page):
    shown, ours = [table.value["resource"] for table in open_page("status").dataframe if "rows" in table.value]
    assert {"Сделки", "Этапы"} <= set(shown)
    assert not {"Карточки клиентов", "Части звонков"} & set(shown)
    assert "Карточки клиентов" in set(ours)


def test_a_torn_status_file_is_no_traceback(open_page, published):
    (published / "status.json").write_text("{", "utf-8")
    assert not open_page("status").exception


def test_checks_of_the_data_are_listed(open_page, data_dir):
    check = {"code": "future", "ru": "Сделки из будущего", "en": "Deals of the future", "count": 14, "sample": []}
    small_company.publish(data_dir, checks=[check])
    assert "Сделки из будущего" in texts(open_page("status"))


def test_a_mistake_in_the_configuration_is_a_sentence(open_page, published):
    (published / "config.yaml").write_text("timezon: Europe/Moscow", "utf-8")
    page = open_page("brief")
    assert not page.exception
    assert "timezone" in texts(page)


def test_leftovers_of_another_generation_do_not_matter(open_page, published):
    shutil.copytree(next(published.glob("publication/2026*")), published / "publication" / "20200101T000000-0")
    assert not open_page("brief").error
