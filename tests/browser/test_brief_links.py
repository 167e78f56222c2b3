"""From a number of the brief to the same number on the page behind it, whatever was chosen there before."""

import pytest

pytestmark = pytest.mark.browser


def tiles(page):
    """Value by label, of one instant: between two questions a page may draw another tile."""
    part = "tile.querySelector('[data-testid=stMetric{}]').innerText".format
    pairs = f"tiles => tiles.map(tile => [{part('Label')}, {part('Value')}])"
    return dict(page.locator("[data-testid=stMetric]").evaluate_all(pairs))


def test_a_period_chosen_on_a_page_before_does_not_change_the_number_the_brief_leads_to(open_window):
    window = open_window()
    page = window.open("/clients?period=7d")
    window.settle()
    of_the_week = tiles(page)
    page.get_by_role("link", name="Сводка").click()
    page.wait_for_selector(".st-key-brief_tiles_3_open")
    window.settle()
    label, value = list(tiles(page).items())[-1]
    assert label not in of_the_week
    page.locator(".st-key-brief_tiles_3_open button").click()
    page.locator("a[href*='month=']").click()
    page.wait_for_url("**/clients?**")
    window.settle()
    assert tiles(page)[label] == value
