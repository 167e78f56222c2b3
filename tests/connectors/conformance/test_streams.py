"""Other streams: section 6.8 of the amoCRM reference."""

from datetime import timedelta
from pathlib import Path

import pytest
from amo_demo import DAY, Crm, published, rows

HOUR = timedelta(hours=1)


@pytest.mark.parametrize("is_in_list", [False, True])
@pytest.mark.parametrize("accept_event", ["lead_status_changed", "lead_added"])
def test_c101_a_request_that_was_accepted_is_kept_as_such_with_its_lead(
    tmp_path: Path, accept_event: str, is_in_list: bool
):
    crm = Crm(accept_event=accept_event, unsorted_leads_in_list=is_in_list)
    crm.synced(tmp_path)
    crm.passes(HOUR)
    accepted, declined = (crm.people("request", accepted=said)["uid"] for said in (True, False))
    crm.passes(HOUR)
    assert crm.synced(tmp_path).is_well
    found = rows(
        tmp_path,
        "SELECT request_id, processed_at, d.deal_id IS NOT NULL AND d.deleted_at IS NULL FROM request r "
        "LEFT JOIN deal d USING (account_id, deal_id) ORDER BY received_at",
    )
    waiting = next(iter(crm.account.requests))
    assert found == [
        (f"request:{accepted}", crm.now, True),
        (f"request:{declined}", crm.now, False),
        (f"request:{waiting}", None, is_in_list),
    ]


@pytest.mark.parametrize(("mode", "is_asked"), [("disabled", False), ("segments", True), ("periodicity", True)])
def test_c102_customers_are_asked_about_only_where_the_account_has_them(tmp_path: Path, mode: str, is_asked: bool):
    crm = Crm(customers_mode=mode)
    crm.synced(tmp_path)
    crm.passes(DAY)
    assert crm.synced(tmp_path, full=True).is_well
    asked = {url.path for url in crm.asked if url.path.startswith("/api/v4/customers")}
    assert ({"/api/v4/customers", "/api/v4/customers/notes", "/api/v4/customers/transactions"} <= asked) is is_asked
    assert bool(asked) is is_asked


@pytest.mark.parametrize("stays", [True, False])
def test_c103_a_deleted_purchase_is_no_sale(tmp_path: Path, stays: bool):
    crm = Crm(deleted_transactions_in_list=stays)
    customer_id = crm.account.customers.ids[0]
    mistake, kept = (crm.people("purchase", id=customer_id, price=100)["id"] for _ in range(2))
    crm.passes(DAY)
    crm.synced(tmp_path)
    sold = published(tmp_path, now=crm.now)("sale")["sale_id"]
    assert {f"transaction:{mistake}", f"transaction:{kept}"} <= {*sold}
    crm.people("purchase", purchase_id=mistake, deleted=True)
    crm.passes(DAY)
    crm.synced(tmp_path, full=True)  # no event tells: the next sweep does
    sold = published(tmp_path, now=crm.now)("sale")["sale_id"]
    assert {f"transaction:{mistake}", f"transaction:{kept}"} & {*sold} == {f"transaction:{kept}"}
