"""Other streams: section 6.8 of the amoCRM reference."""

from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import httpx
import pytest
from amo_demo import DAY, Crm, published, rows

from connectors.amocrm.webhooks import hear
from connectors.connector import Heard
from demo.office import OPEN_STAGES, SALES
from metrics.evaluate import evaluate
from metrics.frames import open_frames
from metrics.metric import Period
from metrics.missed_calls import METRIC as MISSED_CALLS
from sync import inbox
from sync.publication import PUBLICATION

HOUR = timedelta(hours=1)


@pytest.mark.parametrize("status", ["null", "absent"])
def test_c98_a_talk_without_a_lead_or_a_status_is_stored(tmp_path: Path, status: str):
    crm = Crm()
    contact = crm.people("create", entity="contacts")["id"]
    number = crm.people("talk", contact_id=contact)["id"]

    def unsaid(_: httpx.URL, answer: Any) -> Any:
        for talk in answer.get("_embedded", {}).get("talks", ()):
            talk["status"] = None
            if status == "absent":
                del talk["status"]
        return answer

    crm.repaint = unsaid
    assert crm.synced(tmp_path).is_well
    found = f"SELECT contact_id, deal_id, status, closed_at FROM chat WHERE chat_id = 'talk:{number}'"
    assert rows(tmp_path, found) == [(f"contact:{contact}", None, None, None)]
    assert rows(tmp_path, "SELECT count(*) FROM chat") == [(len(crm.account.talks.ids),)]


@pytest.mark.parametrize(("value", "are_known"), [("id", False), ("id+talk_id+origin", True)])
def test_c99_without_a_list_of_talks_those_are_known_that_messages_name(tmp_path: Path, value: str, are_known: bool):
    crm = Crm(talks_list="404", chat_event_value=value)
    run = crm.synced(tmp_path)
    assert run.is_well
    (warning,) = run.account("main").resource("talks").warnings
    assert "cannot be listed" in warning
    messages = crm.account.company.messages
    assert rows(tmp_path, "SELECT count(*) FROM message WHERE message_id LIKE 'message:%'") == [(len(messages),)]
    named = len({*messages.column("talk_id")})
    assert rows(tmp_path, "SELECT count(*) FROM chat") == [(named * are_known,)]


def test_c100_sources_are_named_by_deals_where_their_own_list_is_empty(tmp_path: Path):
    crm = Crm()
    crm.synced(tmp_path)
    assert "/api/v4/sources" in {url.path for url in crm.asked}
    used = {deal.source_id for deal in crm.account.company.deals if not deal.deleted_at}
    names = {f"source:{source.id}": source.name for source in crm.account.company.sources if source.id in used}
    assert dict(rows(tmp_path, "SELECT source_id, name FROM source")) == names


@pytest.mark.parametrize("is_in_list", [False, True])
@pytest.mark.parametrize("accept_event", ["lead_status_changed", pytest.param("lead_added", marks=pytest.mark.slow)])
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


@pytest.mark.parametrize("stays", [pytest.param(True, marks=pytest.mark.slow), False])
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


def said_deleted(crm: Crm, root: str, number: int, **fields: str) -> Heard:
    """What a webhook about a deletion makes known."""
    said = {f"{root}[delete][0][id]": number, **{f"{root}[delete][0][{name}]": text for name, text in fields.items()}}
    return hear(urlencode({**said, "account[id]": crm.account.company.account_id}).encode())


@pytest.mark.parametrize("missing_by_id", [pytest.param(204, marks=pytest.mark.slow), 404])
def test_c108_what_a_webhook_calls_deleted_is_flagged_when_its_id_finds_nothing(tmp_path: Path, missing_by_id: int):
    """A bell only: the CRM is asked. Where it still has the card, nothing was deleted."""
    crm = Crm(missing_by_id=missing_by_id)
    gone, there = (crm.people("create", entity="leads")["id"] for _ in range(2))
    firm = crm.people("create", entity="companies")["id"]
    task = crm.people("task", entity="leads", id=there)["id"]
    crm.synced(tmp_path)
    crm.passes(HOUR)
    for entity, number in (("leads", gone), ("companies", firm)):
        crm.people("purge", entity=entity, id=number)  # which no event and no trash tells
    crm.account.tasks.put(crm.account.tasks.get(task)._replace(deleted_at=crm.account.now))
    for heard in (
        said_deleted(crm, "leads", gone),
        said_deleted(crm, "leads", there),
        said_deleted(crm, "contacts", firm, type="company"),
        said_deleted(crm, "task", task),
    ):
        inbox.note(tmp_path, "main", heard.ids)
    assert crm.synced(tmp_path).is_well
    deals = f"SELECT deleted_at FROM deal WHERE deal_id IN ('lead:{gone}', 'lead:{there}') ORDER BY deal_id"
    assert rows(tmp_path, deals) == [(crm.now,), (None,)]
    assert rows(tmp_path, f"SELECT deleted_at FROM company WHERE company_id = 'company:{firm}'") == [(crm.now,)]
    assert rows(tmp_path, f"SELECT deleted_at FROM task WHERE task_id = 'task:{task}'") == [(crm.now,)]


def said(crm: Crm, change: str, number: int, **fields: int) -> Heard:
    """What a webhook about a deal makes known, whatever it says of the deal."""
    told = {f"leads[{change}][0][{name}]": value for name, value in {"id": number, **fields}.items()}
    return hear(urlencode({**told, "account[id]": crm.account.company.account_id}).encode())


def test_c105_webhooks_that_come_late_twice_and_in_the_wrong_order_leave_what_the_api_says(tmp_path: Path):
    crm = Crm()
    moved, returned, gone = (crm.people("create", entity="leads")["id"] for _ in range(3))
    second, third = OPEN_STAGES[SALES][1:3]
    crm.synced(tmp_path)
    told = []
    for stage in (second, third):
        crm.passes(HOUR)
        crm.people("move", id=moved, stage_id=stage)
        told.append(said(crm, "status", moved, status_id=stage))
    crm.people("delete", entity="leads", id=gone)
    told.append(said(crm, "delete", gone))
    crm.people("delete", entity="leads", id=returned)
    told.append(said(crm, "delete", returned))
    crm.passes(HOUR)
    crm.people("restore", entity="leads", id=returned)
    told.append(said(crm, "restore", returned))
    there = ((moved, f"status:{third}", False), (returned, None, False), (gone, None, True))
    state = (
        f"SELECT deal_id, CASE deal_id WHEN 'lead:{moved}' THEN stage_id END, deleted_at IS NOT NULL FROM deal "
        f"WHERE deal_id IN ('lead:{moved}', 'lead:{returned}', 'lead:{gone}') ORDER BY deal_id"
    )
    newest_first = told[::-1]
    for some in (newest_first[:1], newest_first[1:], told):  # each lot before a sync, the last all over again
        for heard in some:
            inbox.note(tmp_path, "main", heard.ids)
        crm.passes(HOUR)
        assert crm.synced(tmp_path).is_well
        assert rows(tmp_path, state) == sorted((f"lead:{number}", *known) for number, *known in there)
        assert inbox.waiting(tmp_path, "main")[1] == {}


def test_c109_a_day_begins_at_the_accounts_midnight(tmp_path: Path):
    crm, day = Crm(), datetime(2026, 11, 19, tzinfo=UTC).date()
    begin, end = (datetime.combine(day + n * DAY, time(), ZoneInfo("Europe/Moscow")).astimezone(UTC) for n in range(2))
    second = timedelta(seconds=1)
    instants = {"before": begin - second, "first": begin, "last": end - second, "after": end}
    names = {}
    for n, (name, at) in enumerate(instants.items()):
        number, created_at = 79_160_000_000 + n, int(at.timestamp())
        contact = crm.people("create", entity="contacts", phones=[f"+{number}"])["id"]
        order = {"entity": "contacts", "id": contact, "phone": number, "duration": 0, "created_at": created_at}
        names[f"note:{crm.people('call', **order)['id']}"] = name
        names[f"lead:{crm.people('create', entity='leads', created_at=created_at)['id']}"] = name
    crm.passes(2 * DAY)
    crm.synced(tmp_path)
    deals = published(tmp_path, now=crm.now)("deal")
    days = {
        names[deal]: at.date() for deal, at in deals.select("deal_id", "created_local").iter_rows() if deal in names
    }
    assert days == {"before": day - DAY, "first": day, "last": day, "after": day + DAY}
    report = evaluate(MISSED_CALLS, open_frames(tmp_path / PUBLICATION), None, Period(crm.now, day, day + DAY))
    assert {names.get(thread) for thread in report.tables["threads"]["thread_id"]} - {None} == {"first", "last"}
