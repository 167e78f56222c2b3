"""What the morning pages say of calls, forgotten clients and leavers: each number compared like with like, found again
on the page it leads to, and with what may make it wrong in sight."""

import shutil
from datetime import timedelta

import pytest
import small_company
from small_company import AS_OF, NAMES, USERS

from app import i18n
from app.ui import states
from metrics.frames import open_frames
from metrics.marts import MARTS
from warehouse.checks import GATES

LINKS = {
    "calls": "period=auto",
    "forgotten": "",
    "lost": "period=auto&pipeline=",
    "left": "period=auto&clients=CHURNED",
}


def captions(page):
    return "\n".join(caption.value for caption in page.caption)


def tile(page, label):
    return next(metric for metric in page.metric if metric.label == label)


def cards(page):
    return next(table.value for table in page.dataframe if "url" in table.value)


# --- calls -----------------------------------------------------------------------------------------------------------


def call(client, ago, **other):
    """A missed call of a client to Anna, unless `other` says otherwise."""
    card = f"contact:{client}"
    missed = {"direction": "in", "subtype": "normal", "status": "missed", "user_id": USERS[0], "has_recording": False}
    who = {"phone_key": f"key{client}", "phone_digits": 11, "contact_id": card, "entity_kind": "contact"}
    return {**missed, **who, "entity_id": card, "started_at": AS_OF - ago, **other}


ANSWERED = {"direction": "out", "status": "answered", "talk_s": 60}


def publish_calls(data_dir, calls, sales=()):
    """A company of which only calls and sales are known; its marts are what its calls say."""
    tables = {name: [] for name in small_company.SCHEMAS}
    for name in ("account", "user"):
        tables[name] = small_company.company(n_clients=0)[name]
    known = {"created_at": AS_OF - timedelta(days=300), "responsible_user_id": USERS[0]}
    tables["contact"] = [{"contact_id": card, **known} for card in sorted({one["contact_id"] for one in calls})]
    tables["call"] = [{"call_id": f"call:{number}", **one} for number, one in enumerate(calls)]
    folder = small_company.publish(data_dir, tables)
    built = open_frames(data_dir / "publication").at(AS_OF)
    for mart in MARTS:
        shutil.copy(built.sources[mart][0], folder / f"{mart}.parquet")
    sold = [
        {"client_id": card, "sale_id": f"sale:{card}", "basis": "won_deal", "user_id": USERS[0]}
        | {"sold_at": AS_OF - timedelta(days=30), "valid_from": AS_OF - timedelta(days=30), "amount_minor": amount}
        for card, amount in sales
    ]
    small_company.whole("sale", sold).write_parquet(folder / "sale.parquet")


@pytest.fixture
def slow_callbacks(data_dir):
    """Whoever was missed is called back after 25 days: of the last month nobody was yet."""
    missed = [(1, 45), (2, 40), (3, 2), (4, 3), (5, 5)]
    calls = [call(client, timedelta(days=ago)) for client, ago in missed]
    back = [call(client, timedelta(days=ago - 25), **ANSWERED) for client, ago in missed if ago > 25]
    publish_calls(data_dir, calls + back)


@pytest.mark.usefixtures("slow_callbacks")
@pytest.mark.parametrize("url", ["brief", "calls"])
def test_the_days_before_are_judged_by_what_was_known_as_long_after_them(open_page, url):
    unreached = tile(open_page(url), "Остались без ответа")
    assert (unreached.value, unreached.delta) == ("3", "+1")
    assert "23.09.2026 – 22.10.2026, по данным на 23.10.2026" in unreached.help


@pytest.mark.usefixtures("slow_callbacks")
@pytest.mark.parametrize("period", ["7d", "365d"])  # before the one nobody called, of the other's not all is known
def test_days_that_are_not_known_whole_are_not_compared_with(open_page, period):
    page = open_page("calls", period=period)
    assert tile(page, "Остались без ответа").value == "3"
    assert not any(metric.delta.startswith(("+", "-")) for metric in page.metric)


@pytest.mark.parametrize("url", ["brief", "calls"])
def test_who_has_waited_for_less_than_a_day_is_called_first(open_page, data_dir, url):
    calls = [call(1, timedelta(days=3)), call(2, timedelta(hours=5)), call(3, timedelta(days=2))]
    publish_calls(data_dir, calls, sales=[("contact:1", 1_000_00), ("contact:3", 9_000_00)])
    page = open_page(url)
    assert cards(page)["label"].tolist() == ["Контакт 2", "Контакт 3", "Контакт 1"]
    assert "Сначала те, кто ждёт меньше суток: 1." in captions(page)


@pytest.mark.parametrize(
    ("lang", "label", "note"), [("ru", "Обращения", "из 2 обращений"), ("en", "Missed threads", "of 2 threads")]
)
def test_what_is_counted_is_called_threads_for_a_client_may_have_two(open_page, data_dir, lang, label, note):
    missed = [call(1, timedelta(days=20)), call(1, timedelta(days=2))]
    publish_calls(data_dir, [*missed, call(1, timedelta(days=10), **ANSWERED)])
    i18n.use(lang)
    assert tile(open_page("calls", lang=lang), label).value == "2"
    assert open_page("brief", lang=lang).metric[0].delta == note


# --- the brief and where it leads ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("published")
def test_the_brief_says_its_periods_and_offers_no_filter_that_some_tiles_would_not_obey(open_page):
    page = open_page("brief")
    assert "Звонки: 23.10.2026 – 21.11.2026. Забытые клиенты: на 22.11.2026." in captions(page)
    assert "сделки, созданные 22.11.2025 – 21.11.2026" in captions(page)
    assert not page.selectbox
    assert [box.key for box in page.multiselect] == ["manager"]


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize("listed", LINKS)
def test_a_link_of_the_brief_carries_the_period_of_its_number(open_page, listed):
    link = open_page("brief", list=listed).get("page_link")[0].proto
    assert link.query_string.startswith(LINKS[listed])
    if listed == "left":
        assert link.query_string.endswith("&month=2026-10")


@pytest.mark.usefixtures("published")
def test_each_number_of_the_brief_stands_on_the_page_behind_it(open_page):
    unreached, forgotten, bottleneck, left = open_page("brief").metric
    for number, url in ((unreached, "calls"), (forgotten, "forgotten"), (left, "clients")):
        assert tile(open_page(url), number.label).value == number.value
    assert any(bottleneck.value in text.value for text in open_page("funnel").markdown)


# --- forgotten -------------------------------------------------------------------------------------------------------


@pytest.fixture
def anna_has_left(data_dir):
    tables = small_company.company()
    tables["user"][0]["is_active"] = False
    small_company.publish(data_dir, tables)


@pytest.mark.usefixtures("anna_has_left")
def test_the_clients_of_who_has_left_are_listed_when_only_his_are_asked_for(open_page):
    page = open_page("forgotten", manager=USERS[0])
    assert not page.success
    assert set(cards(page)["user_name"]) == {NAMES[0]}
    brief = open_page("brief", manager=USERS[0], list="forgotten")
    assert int(tile(brief, "Забытые клиенты").value) == len(cards(page)) == len(cards(brief))
    assert tile(brief, "Забытые клиенты").delta == "передать: менеджер уволен"


@pytest.mark.usefixtures("anna_has_left")
def test_clients_to_hand_over_are_told_to_stand_beside_the_number(open_page):
    page = open_page("forgotten")
    total, waiting = tile(page, "Забытые клиенты").value, tile(page, "Передать другим")
    assert waiting.delta == f"сверх этих {total}"
    assert f"Ещё {waiting.value}: в {total} забытых выше они не входят." in captions(page)


# --- clients ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("event", ["CHURNED", "REACTIVATED", "NEW"])
def test_clients_of_events_come_by_the_money_at_stake(open_page, data_dir, event):
    small_company.publish(data_dir, small_company.company(n_clients=200, seed=2))
    page = open_page("clients", clients=event)
    if any(toggle.key == "clients_all" for toggle in page.toggle):
        page.toggle(key="clients_all").set_value(True).run()
    rows = cards(page)
    gone = rows[rows["state_name"] == "ушёл"]
    assert rows["state_name"].tolist()[: len(gone)] == ["ушёл"] * len(gone)
    assert rows["revenue_minor"][len(gone) :].is_monotonic_decreasing
    if event == "CHURNED":
        once = gone[~gone["label"].duplicated(keep=False)]  # who left twice has in the first row the days of the first
        assert len(once) > 1
        assert (once["revenue_minor"] * once["value"]).is_monotonic_decreasing


@pytest.mark.parametrize("period", ["auto", "last_month"])
def test_only_the_running_month_is_called_now(open_page, data_dir, period):
    small_company.publish(data_dir, small_company.company(n_clients=200, seed=2))
    page = open_page("clients", period=period)
    said = " ".join(metric.label for metric in page.metric) + str([chart.proto for chart in page.get("echarts_chart")])
    assert ("сейчас" in said.lower()) == (period == "auto")
    assert ("На 31.10.2026: активных" in said) == (period == "last_month")


# --- what may make a number wrong ------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["brief", "calls", "forgotten"])
def test_that_messages_are_missing_is_said_in_sight(open_page, data_dir, url):
    small_company.publish(data_dir)  # its `coverage` names no messages
    page = open_page(url)
    said = [caption.value for caption in page.caption if "Переписка" in caption.value]
    assert len(said) == 1
    assert said[0].count("Переписка") == 1
    assert ("считается необработанным" in said[0]) == (url in ("brief", "calls"))
    assert ("покажется забытым" in said[0]) == (url in ("brief", "forgotten"))
    assert not any("Переписка" in text.value for text in page.markdown)


@pytest.mark.parametrize(
    ("url", "is_told"), [("calls", False), ("forgotten", False), ("clients", False), ("funnel", True)]
)
def test_inexact_times_in_stages_are_told_where_such_times_are_shown(open_page, data_dir, url, is_told):
    gate = next(gate for gate in GATES if gate.code == "transitions_broken")
    found = {"code": gate.code, "tables": list(gate.tables), "ru": gate.ru.format(count=3), "en": gate.en}
    small_company.publish(data_dir, checks=[{**found, "account_id": "main", "count": 3, "sample": []}])
    assert any(states.escaped(found["ru"]) in text.value for text in open_page(url).markdown) == is_told
