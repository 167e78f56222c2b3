"""Lists the source does not give: the run goes on without them, and nothing of them counts as read."""

from pathlib import Path

import httpx
import pytest
from amo_demo import company
from amo_fake import BLOCKED, problem
from demo_crm import DemoCrm, look, settings

from demo import office
from demo.amocrm_mutate import mutate

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


@pytest.mark.parametrize("status", [pytest.param(402, marks=pytest.mark.slow), 403])
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


MOVES = "SELECT deal_id, to_stage_id, changed_at FROM deal_stage_transition WHERE origin = 'event' ORDER BY ALL"


def test_without_the_right_to_events_histories_are_what_syncs_see_until_it_is_given(crm, tmp_path: Path):
    crm.before = refusing("/events", 403)
    run = crm.sync(tmp_path)
    assert run.is_well
    assert state_of(run, "events") == state_of(run, "messages") == "left_out"
    (told,) = run.accounts[0].resource("events").warnings
    assert "no right" in told
    assert "no history of stages" in told
    assert look(tmp_path, COVERED.format("deal_stage_transition")) == [(None,)]
    assert look(
        tmp_path, "SELECT count(*) = count(watermark) FROM sync_watermark WHERE is_core AND is_left_out IS NOT TRUE"
    ) == [(True,)]

    deal = next(one for one in crm.account.company.deals if not one.deleted_at and one.stage_id > office.LOST)
    to = next(stage for stage in office.OPEN_STAGES[deal.pipeline_id] if stage != deal.stage_id)
    crm.account.now += 3600
    mutate(crm.account, {"op": "move", "id": deal.id, "stage_id": to})
    crm.account.now += 3600
    assert crm.sync(tmp_path).is_well
    seen = f"SELECT to_stage_id, origin FROM deal_stage_transition WHERE deal_id = 'lead:{deal.id}'"
    assert look(tmp_path, seen) == [(f"status:{to}", "snapshot")]

    crm.before = lambda _: None
    crm.account.now += 3600
    assert state_of(crm.sync(tmp_path), "events") == "done"
    crm.sync(always := tmp_path / "always")
    assert look(tmp_path, MOVES) == look(always, MOVES) != []
    assert (f"status:{to}", "snapshot") not in look(tmp_path, seen)


@pytest.mark.parametrize(("answer", "said"), [(BLOCKED, "blocked"), (problem(402), "not paid")])
def test_a_block_or_an_unpaid_account_is_no_missing_right(crm, tmp_path: Path, answer: httpx.Response, said: str):
    crm.before = lambda request: answer if request.url.path.endswith("/events") else None
    run = crm.sync(tmp_path)
    assert not run.is_well
    assert said in run.accounts[0].error
    assert state_of(run, "events") == "failed"


@pytest.mark.parametrize(
    ("path", "resource"),
    [
        ("/leads/unsorted", "requests"),
        ("/talks", "talks"),
        ("/sources", "sources"),
        ("/leads/loss_reasons", "loss_reasons"),
    ],
)
def test_a_list_without_which_the_others_make_sense_is_left_out_where_there_is_no_right(
    crm, tmp_path: Path, path: str, resource: str
):
    crm.before = refusing(path, 403)
    run = crm.sync(tmp_path)
    assert run.is_well
    assert state_of(run, resource) == "left_out"
    crm.before = lambda _: None
    assert state_of(crm.sync(tmp_path), resource) == "done"


def test_customers_switched_on_later_are_read_from_the_beginning(tmp_path: Path):
    crm = DemoCrm(company(), customers_mode="disabled")
    assert state_of(crm.sync(tmp_path), "customers") == "left_out"
    on = DemoCrm(company())
    on.sync(tmp_path)
    n_there = sum(not row.deleted_at for row in on.account.company.customers)
    assert n_there
    assert look(tmp_path, CUSTOMERS) == [(n_there,)]


@pytest.mark.parametrize("status", [pytest.param(402, marks=pytest.mark.slow), 403])
def test_refused_notes_of_customers_stop_no_calls(crm, tmp_path: Path, status):
    crm.before = refusing("/customers/notes", status)
    run = crm.sync(tmp_path)
    assert run.is_well
    assert state_of(run, "calls") == "done"


CALL = "SELECT count(*) FROM call WHERE call_id = 'note:{}'"
NOTE = "SELECT count(*) FROM activity WHERE activity_id = 'note:{}'"


@pytest.mark.parametrize("status", [pytest.param(402, marks=pytest.mark.slow), 403])
def test_notes_of_customers_that_were_refused_are_read_from_the_beginning_when_they_are_given(
    crm, tmp_path: Path, status
):
    """Whether it was refused at first or one night only: the others' watermark has passed over what came meanwhile."""
    customer = {"entity": "customers", "id": crm.account.customers.ids[0]}
    told = []
    for refused in (True, False, True):
        call = mutate(crm.account, {"op": "call", **customer, "duration": 60})["id"]
        note = mutate(crm.account, {"op": "note", **customer, "text": "?"})["id"]
        told += [CALL.format(call), NOTE.format(note)]
        crm.before = refusing("/customers/notes", status) if refused else lambda _: None
        crm.account.now += 3600
        run = crm.sync(tmp_path)
        assert run.is_well
        assert (state_of(run, "calls"), state_of(run, "notes")) == ("done", "done")
        assert any("left out" in said for said in run.accounts[0].resource("calls").warnings) is refused
        crm.account.now += 3600
    assert [look(tmp_path, query) for query in told] == [[(1,)]] * 4 + [[(0,)]] * 2
    crm.before = lambda _: None
    crm.account.now += 86400
    for _ in range(2):
        assert crm.sync(tmp_path).is_well
    assert [look(tmp_path, query) for query in told] == [[(1,)]] * 6
    n_asked = len(crm.asked("/customers/notes"))
    crm.account.now += 86400
    crm.sync(tmp_path)
    whole = [entry for entry in crm.asked("/customers/notes")[n_asked:] if "updated_at" not in str(entry["query"])]
    assert not whole


def test_a_sweep_of_calls_goes_on_where_those_of_customers_are_refused(crm, tmp_path: Path):
    contact = mutate(crm.account, {"op": "create", "entity": "contacts"})["id"]
    ids = []
    for entity, card in (("contacts", contact), ("customers", crm.account.customers.ids[0])):
        ids.append(mutate(crm.account, {"op": "call", "entity": entity, "id": card, "duration": 60})["id"])
    crm.account.now += 3600
    crm.sync(tmp_path)
    crm.before = refusing("/customers/notes", 403)
    crm.account.now += 8 * 86400
    run = crm.sync(tmp_path)
    assert run.is_well
    assert [look(tmp_path, f"{CALL.format(one)} AND deleted_at IS NULL") for one in ids] == [[(1,)], [(1,)]]
    swept = (
        "SELECT count(*) FROM sync_sweep WHERE resource = 'calls' AND swept_at > (SELECT min(swept_at) FROM sync_sweep)"
    )
    assert look(tmp_path, swept) == [(1,)]


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
