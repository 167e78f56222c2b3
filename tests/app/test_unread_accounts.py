"""Pages over a publication that holds an account nobody has read yet, or none at all: never an honest-looking zero."""

import json

import pytest
import small_company

PAGES = ["brief", "calls", "forgotten", "funnel", "clients"]


@pytest.fixture(params=[{"accounts": [], "coverage": []}, {"unread_accounts": ["shop"]}], ids=["none", "one of two"])
def unread(request, data_dir):
    """A publication without rows, with what its manifest says of accounts."""
    folder = small_company.publish(data_dir, {name: [] for name in small_company.SCHEMAS})
    file = folder / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | request.param), "utf-8")


@pytest.mark.usefixtures("unread")
@pytest.mark.parametrize("url", PAGES)
def test_what_was_not_read_is_no_data_and_nothing_is_green(open_page, url):
    page = open_page(url)
    assert not page.exception
    assert any("Нет данных" in warning.value for warning in page.warning)
    assert [success.value for success in page.success] == []
    assert "0" not in [metric.value for metric in page.metric]
