"""Lists the source does not give: the run goes on without them, and nothing of them counts as read."""

from pathlib import Path

import httpx
import pytest
from amo_demo import company
from amo_fake import problem
from demo_crm import DemoCrm, look, settings

CUSTOMERS = "SELECT count(*) FROM customer"
COVERED = "SELECT watermark FROM coverage WHERE resource = '{}'"


@pytest.fixture
def crm() -> DemoCrm:
    return DemoCrm(company())


def refusing(part: str, status: int, *, after: int = 0):
    """An answer for requests whose path has `part`, when so many were let through."""
    asked = []

    def before(request: httpx.Request) -> httpx.Response | None:
        if part not in request.url.path:
            return None
        asked.append(request)
        return problem(status) if len(asked) > after else None

    return before


def state_of(run, resource: str) -> str:
    return run.accounts[0].resource(resource).state


@pytest.mark.parametrize("status", [402, 403])
def test_what_was_refused_at_first_is_read_from_the_beginning_when_it_is_given(crm, tmp_path: Path, status):
    crm.before = refusing("/customers", status)
    run = crm.sync(tmp_path)
    assert run.is_well
    assert state_of(run, "customers") == state_of(run, "transactions") == "left_out"
    assert look(tmp_path, COVERED.format("customer")) in ([], [(None,)])
    crm.before = lambda _: None
    assert state_of(crm.sync(tmp_path), "customers") == "done"
    n_there = sum(not row.deleted_at for row in crm.account.company.customers)
    assert look(tmp_path, CUSTOMERS) == [(n_there,)]
    assert look(tmp_path, "SELECT count(*) > 0 FROM payment") == [(True,)]


def test_customers_switched_on_later_are_read_from_the_beginning(tmp_path: Path):
    crm = DemoCrm(company(), customers_mode="disabled")
    assert state_of(crm.sync(tmp_path), "customers") == "left_out"
    on = DemoCrm(company())
    on.sync(tmp_path)
    n_there = sum(not row.deleted_at for row in on.account.company.customers)
    assert n_there
    assert look(tmp_path, CUSTOMERS) == [(n_there,)]


@pytest.mark.parametrize("status", [402, 403])
def test_refused_notes_of_customers_stop_no_calls(crm, tmp_path: Path, status):
    crm.before = refusing("/customers/notes", status)
    run = crm.sync(tmp_path)
    assert run.is_well
    assert state_of(run, "calls") == "done"


def test_a_list_refused_in_the_middle_has_failed(crm, tmp_path: Path):
    crm.before = refusing("/customers/transactions", 403, after=1)
    run = crm.sync(tmp_path, settings(page_size=2), resources=["customers", "transactions"])
    assert state_of(run, "transactions") == "failed"
    assert not run.is_well


def test_messages_are_not_complete_where_notes_were_not_read(crm, tmp_path: Path):
    """Mail and sms are notes."""

    def before(request: httpx.Request) -> httpx.Response | None:
        is_other = request.url.path.endswith("/leads/notes") and "call_in" not in str(request.url)
        return problem(403) if is_other else None

    crm.before = before
    run = crm.sync(tmp_path)
    assert (state_of(run, "notes"), state_of(run, "messages")) == ("failed", "done")
    assert look(tmp_path, COVERED.format("message")) == [(None,)]


PRICES = "SELECT deal_item_id, price_minor, sum_minor FROM deal_item ORDER BY ALL"


@pytest.mark.parametrize("how", ["failing", "not asked for", "refused"])
def test_deals_read_without_catalogs_keep_the_prices_of_their_products(crm, tmp_path: Path, how):
    crm.sync(tmp_path)
    prices = look(tmp_path, PRICES)
    assert any(price for _, price, _ in prices)
    crm.before = refusing("/catalogs", {"failing": 500, "refused": 403}[how]) if how != "not asked for" else crm.before
    crm.sync(tmp_path, full=True, resources=["leads"] if how == "not asked for" else None)
    assert look(tmp_path, PRICES) == prices


def test_products_of_an_account_whose_catalogs_were_never_read_say_that_they_lack_prices(crm, tmp_path: Path):
    crm.before = refusing("/catalogs", 500)
    run = crm.sync(tmp_path)
    assert any("without prices" in warning for warning in run.accounts[0].resource("leads").warnings)
