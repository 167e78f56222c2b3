"""Pages over a publication that holds an account nobody has read yet, or none at all: never an honest-looking zero."""

import json

import pytest
import small_company

PAGES = ["brief", "calls", "forgotten", "funnel", "clients"]


def publish(data_dir, rows, *, generation="20261121T210500-1", **said):
    """A publication of those rows, with what its manifest says of accounts."""
    folder = small_company.publish(data_dir, rows, generation=generation)
    file = folder / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | said), "utf-8")


@pytest.mark.parametrize("url", PAGES)
def test_what_was_not_read_is_no_data_and_nothing_is_green(open_page, data_dir, url):
    publish(data_dir, {name: [] for name in small_company.SCHEMAS}, accounts=[], coverage=[])
    page = open_page(url)
    assert not page.exception
    assert any("Нет данных" in warning.value for warning in page.warning)
    assert [success.value for success in page.success] == []
    assert "0" not in [metric.value for metric in page.metric]


@pytest.mark.parametrize("url", PAGES)
def test_where_one_account_of_two_was_not_read_nothing_found_is_no_reason_to_rest(open_page, data_dir, url):
    publish(data_dir, {name: [] for name in small_company.SCHEMAS}, unread_accounts=["shop"])
    page = open_page(url)
    assert not page.exception
    assert any("shop" in warning.value for warning in page.warning)
    assert [success.value for success in page.success] == []


def test_numbers_of_the_accounts_that_were_read_stay(open_page, published):
    numbers = [metric.value for metric in open_page("brief").metric]
    publish(published, None, generation="20261121T220500-2", unread_accounts=["shop"])
    page = open_page("brief")
    assert [metric.value for metric in page.metric] == numbers
    assert any("shop" in warning.value for warning in page.warning)


def test_the_status_page_lists_an_account_that_was_not_read(open_page, data_dir):
    publish(data_dir, None, unread_accounts=["shop"])
    assert any("shop" in str(table.value) for table in open_page("status").dataframe)
