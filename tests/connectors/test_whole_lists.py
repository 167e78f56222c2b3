"""What may be concluded from a list of a dimension: only a whole one says that what it lacks is gone."""

import httpx
import pytest
from amo_fake import ACCOUNT_BODY, LONG_LIVED, NOTHING, amo, of, page, read

from connectors.records import Listing, Notice

USERS, REASONS = "/api/v4/users", "/api/v4/leads/loss_reasons"
FIELDS = "/api/v4/{}/custom_fields"
SMALL_PAGES = LONG_LIVED.model_copy(update={"page_size": 50})


def named(first: int, last: int) -> list[dict]:
    return [{"id": n, "name": f"#{n}", "type": "text"} for n in range(first, last)]


@pytest.mark.parametrize("resource", ["users", "loss_reasons", "fields", "pipelines"])
@pytest.mark.parametrize("answer", [NOTHING, httpx.Response(200, json={"_embedded": {}})])
def test_an_empty_list_removes_nobody(resource, answer):
    paths = {USERS, REASONS, "/api/v4/leads/pipelines", *map(FIELDS.format, ("leads", "contacts", "companies"))}
    api, _ = amo(dict.fromkeys(paths, answer))
    assert not of(Listing, read(api, resource))


def test_a_list_of_fields_speaks_of_its_own_kind_and_an_empty_one_of_none():
    answers = {
        FIELDS.format(word): page("custom_fields", *named(n, n + 3)) for n, word in ((1, "leads"), (4, "contacts"))
    }
    api, _ = amo(answers)
    listed = {listing.among: len(listing.keys) for listing in of(Listing, read(api, "fields"))}
    assert listed == {("entity_kind", "deal"): 3, ("entity_kind", "contact"): 3}


@pytest.mark.parametrize(("resource", "path"), [("users", USERS), ("loss_reasons", REASONS)])
@pytest.mark.parametrize("is_first_page_there_again", [True, False])
def test_a_list_cut_in_the_middle_removes_nobody_and_is_told(resource, path, is_first_page_there_again):
    first = page(resource, *named(1, 51), has_next=True)
    api, _ = amo({path: [first, NOTHING, *[first] * is_first_page_there_again, NOTHING]}, settings=SMALL_PAGES)
    yielded = read(api, resource)
    assert not of(Listing, yielded)
    assert "came empty twice; 50 rows" in of(Notice, yielded)[0].text


def test_a_hiccup_in_the_middle_is_walked_again_and_then_the_list_is_whole():
    pages = [page("users", *named(1, 51), has_next=True), page("users", *named(51, 60))]
    api, _ = amo({USERS: [pages[0], NOTHING, *pages]}, settings=SMALL_PAGES)
    yielded = read(api, "users")
    assert len(of(Listing, yielded)[0].keys) == 60  # the robot too
    assert not of(Notice, yielded)


def test_a_list_without_the_tokens_owner_removes_nobody():
    api, _ = amo({USERS: page("users", *named(1, 4))}, account_body={**ACCOUNT_BODY, "current_user_id": 7})
    yielded = read(api, "users")
    assert not of(Listing, yielded)
    assert "lacks the token's own owner" in of(Notice, yielded)[0].text
