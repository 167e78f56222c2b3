"""What a head of sales does in the morning, in a real browser on the demo company."""

import json
import re
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from pathlib import Path

import pytest
from playwright.sync_api import expect

import app
from app.page import find_pages

pytestmark = pytest.mark.browser

PAGES = [page.url for page in find_pages()]
WORDS = json.loads((Path(app.__file__).parent / "static" / "ru.json").read_text("utf-8"))
PHONE = (390, 844)
SEEN = """() => {
  const texts = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const parent = walker.currentNode.parentElement;
    if (!["SCRIPT", "STYLE", "NOSCRIPT"].includes(parent.tagName)) texts.push(walker.currentNode.nodeValue.trim());
  }
  for (const element of document.querySelectorAll("[placeholder], [aria-label], [title]"))
    for (const name of ["placeholder", "aria-label", "title"]) texts.push((element.getAttribute(name) || "").trim());
  return texts.filter(Boolean);
}"""


def address(url):
    return "/" if url == "brief" else f"/{url}"


def base_url(demo_dir):
    return re.search(r"base_url: (\S+)", (demo_dir / "config.yaml").read_text())[1]


def cells(page, key):
    """Raw values of the visible cells of a table, a row each."""
    table = page.locator(f".st-key-{key}_block")
    table.scroll_into_view_if_needed()
    table.locator("[role=gridcell]").first.wait_for(state="attached")
    rows = table.locator("[role=row]").all()
    found = [row.locator("[role=gridcell]").all_inner_texts() for row in rows]
    return [row for row in found if row]


def test_from_a_number_to_its_rows_and_from_a_row_to_the_card(open_window, demo_dir):
    window = open_window()
    page = window.open("/")
    number = page.locator(".st-key-brief_tiles_1 [data-testid=stMetricValue]").inner_text()
    page.locator(".st-key-brief_tiles_1_open button").click()
    page.wait_for_selector(".st-key-brief_forgotten_block")
    window.settle()
    if (everything := page.locator(".st-key-brief_forgotten_all label")).count():
        assert everything.inner_text().split()[-1] == number
    rows = cells(page, "brief_forgotten")
    card = rows[0][0]
    assert re.fullmatch(rf"{re.escape(base_url(demo_dir))}/(contacts|companies|leads)/detail/\d+", card)

    box = page.locator(".st-key-brief_forgotten_block canvas").first.bounding_box()
    spot = (box["x"] + 16, box["y"] + 33 + 16)  # the link in the first row; the canvas has to see the pointer first
    page.mouse.move(*spot)
    page.wait_for_timeout(200)
    with page.context.expect_event("request", lambda request: request.url == card):
        page.mouse.click(*spot)
    page.wait_for_timeout(300)
    assert set(window.outside) == {card}  # the only request to another host is the one a person asked for
    window.outside.clear()
    window.errors.clear()  # the guard cut that request off


def draws_everything_itself_and_fits(page, *, is_light):
    assert page.locator("h1").inner_text()
    colour = page.evaluate("getComputedStyle(document.querySelector('[data-testid=stApp]')).backgroundColor")
    brightness = sum(int(part) for part in re.findall(r"\d+", colour)[:3])
    assert (brightness > 600) == is_light
    for chart in page.locator("[data-testid=stEChartsChart]").all():
        expect(chart.locator("svg")).to_have_count(1)  # waits: a drawn chart is drawn anew when its fonts or theme come
    wide = page.evaluate(
        "[...document.querySelectorAll('[data-testid=stMain], html')].map(e => e.scrollWidth - e.clientWidth)"
    )
    assert max(wide) <= 0


@pytest.mark.parametrize("url", PAGES)
def test_a_page_draws_everything_itself_and_fits_a_phone_in_the_dark(open_window, url):
    page = open_window(scheme="dark", size=PHONE).open(address(url))
    draws_everything_itself_and_fits(page, is_light=False)


@pytest.mark.parametrize("url", PAGES)
def test_a_page_fits_a_laptop_and_no_english_words_of_the_framework_are_left(open_window, url):
    window = open_window()
    page = window.open(address(url))
    draws_everything_itself_and_fits(page, is_light=True)
    assert page.locator("html").get_attribute("lang") == "ru"
    for opener in ("stSelectbox", "stMultiSelect"):
        for box in page.locator(f"[data-testid={opener}] input").all():
            box.click()
            assert not english(page)
            page.keyboard.press("Escape")
    for popover in page.locator("[data-testid=stPopover] button:visible").all():
        popover.click()
        assert not english(page)
        page.keyboard.press("Escape")
    if (tables := page.locator("[data-testid=stDataFrame]:visible")).count():
        tables.first.hover()
    assert not english(page)


def english(page):
    """Words of the dictionary that a person would still see in English."""
    page.wait_for_timeout(150)  # the dictionary works after the page has changed
    same = {word for word, russian in WORDS.items() if word != russian}
    return [text for text in page.evaluate(SEEN) if text in same or text.split(": ")[0] in same]


def test_the_english_interface_is_one_click_away_and_stays_in_the_address(open_window):
    window = open_window()
    page = window.open("/calls")
    page.locator(".st-key-lang").get_by_text("en", exact=True).click()
    page.wait_for_url("**lang=en**")
    page.wait_for_function("() => document.documentElement.lang === 'en'")
    window.settle()
    assert page.locator("h1").inner_text() == "Calls"
    page.get_by_role("link", name="Funnel").click()
    page.wait_for_url("**/funnel**")
    window.settle()
    assert "lang=en" in page.url
    assert page.locator("h1").inner_text() == "Funnel"


def test_a_filter_goes_into_the_address_and_comes_back_with_it(open_window):
    window = open_window()
    page = window.open("/forgotten")
    everybody = page.locator("[data-testid=stMetricValue]").first.inner_text()
    manager = next(name for name in cells(page, "forgotten")[0][3:] if " " in name)
    page.locator(".st-key-manager input").click()
    page.keyboard.type(manager)  # the list is long and draws only what is in sight
    page.get_by_role("option", name=manager).click()
    page.keyboard.press("Escape")
    page.wait_for_url(re.compile(r"manager=user%3A\d+$"))
    window.settle()
    page.wait_for_function(
        f"() => document.querySelector('[data-testid=stMetricValue]').innerText !== {json.dumps(everybody)}"
    )
    chosen = page.locator("[data-testid=stMetricValue]").first.inner_text()

    again = open_window()
    again.open(page.url.removeprefix(again.url))
    expect(again.page.locator("[data-testid=stMetricValue]").first).to_have_text(chosen)


def test_filters_go_along_to_the_next_page(open_window):
    window = open_window()
    page = window.open("/calls?period=7d")
    page.get_by_role("link", name="Клиентская база").click()
    page.wait_for_url("**/clients?period=7d")
    window.settle()
    assert page.locator(".st-key-period input").input_value() == "Последние 7 дней"
    page.go_back()  # one step, though Streamlit opens a page in two
    page.wait_for_url("**/calls?period=7d")


def test_back_brings_the_filter_of_before(open_window):
    window = open_window()
    page = window.open("/calls")
    page.locator(".st-key-period input").click()
    page.get_by_role("option", name="Последние 7 дней").click()
    page.wait_for_url("**period=7d")
    page.locator(".st-key-period input").click()
    page.get_by_role("option", name="Прошлый месяц").click()
    page.wait_for_url("**period=last_month")
    window.settle()
    for chosen in ("Последние 7 дней", "Период: 30 дней"):
        page.go_back()
        page.wait_for_function(f"() => document.querySelector('.st-key-period input').value === {json.dumps(chosen)}")


def test_a_tile_brings_the_list_it_opens_into_sight(open_window):
    page = open_window(size=PHONE).open("/clients")
    opened = page.locator(".st-key-opened")
    assert opened.bounding_box()["y"] > PHONE[1] * 0.6
    page.locator(".st-key-client_tiles_0_open button").click()
    page.wait_for_url("**clients=active")
    assert 0 <= opened.bounding_box()["y"] < PHONE[1] / 2


def test_the_list_downloads_whole_as_a_workbook(open_window, tmp_path):
    window = open_window()
    page = window.open("/forgotten")
    tile = page.locator("[data-testid=stMetric]").filter(has_text="из ").filter(has_text="Забытые клиенты")
    number = tile.locator("[data-testid=stMetricValue]").inner_text()
    with page.expect_download() as download:
        page.locator(".st-key-forgotten_xlsx button:visible").click()
    file = tmp_path / "list.xlsx"
    download.value.save_as(file)
    with zipfile.ZipFile(file) as book:
        sheet = book.read("xl/worksheets/sheet1.xml").decode()
    assert len(re.findall(r"<row ", sheet)) == int(number) + 1  # and the heading


def test_a_definition_is_one_click_away(open_window):
    window = open_window()
    page = window.open("/calls")
    page.locator(".st-key-page_passport button").click()
    page.get_by_text("Формула.").wait_for()


def test_a_proxy_that_signs_nobody_in_opens_nothing(open_window):
    window = open_window(headers={"X-Forwarded-For": "10.0.0.7"})
    page = window.open("/")
    assert page.locator("[data-testid=stMetric]").count() == 0
    assert "прокси" in page.locator("[data-testid=stAlert]").inner_text().lower()


def test_the_morning_page_answers_to_its_name_and_keeps_what_was_asked(app_url):
    with urllib.request.urlopen(app_url + "/brief?lang=en") as answer:
        assert urllib.parse.urlsplit(answer.url).path == "/"
        assert "lang=en" in answer.url


def test_the_server_says_that_it_is_ready_and_allows_no_foreign_scripts(app_url):
    with urllib.request.urlopen(app_url + "/ready") as answer:
        assert json.load(answer)["status"] == "ok"
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(app_url + "/_stcore/metrics")
    with urllib.request.urlopen(app_url) as answer:
        assert answer.headers["content-security-policy"].startswith("default-src 'self'; script-src 'self' 'sha256-")
