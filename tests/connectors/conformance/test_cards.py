"""Leads, contacts, companies: section 6.4 of the amoCRM reference."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import polars as pl
import pytest
from amo_demo import DAY, Crm, published, rows, shown
from amo_fake import (
    CHANGED,
    FIRST,
    LONG_LIVED,
    NOTHING,
    SEPTEMBER,
    SEPTEMBER_S,
    amo,
    contact,
    custom,
    event,
    lead,
    of,
    page,
    problem,
    read,
    rows_of,
)

from app.labels import labelled, user_names, with_names
from app.ui.tables import with_labels
from connectors.connector import Window
from connectors.records import (
    ClientEmail,
    ClientPhone,
    Company,
    Contact,
    Deal,
    DealContact,
    DealInvoice,
    DealItem,
    Department,
    EntityTag,
    FieldValue,
    Listing,
    LossReason,
    Notice,
    OwnedSet,
    Patch,
    Pipeline,
    RawRecord,
    Reread,
    Stage,
    Stub,
    TaskType,
    Tombstone,
    User,
    UserDepartment,
)
from demo import office
from demo.model import CONTACT
from metrics.frames import FrameSet
from metrics.loss_categories import loss_categories

HOUR = timedelta(hours=1)
LEADS = "/api/v4/leads"


def read_leads(*leads, **settings):
    api, _ = amo({LEADS: page("leads", *leads)}, settings=LONG_LIVED.model_copy(update=settings))
    return read(api, "leads", FIRST)


def deal(**changes) -> Deal:
    return of(Deal, read_leads(lead(1, **changes)))[0]


def test_c43_what_a_lead_does_not_say_is_null_and_not_zero():
    bare = deal(name="", price=None, responsible_user_id=0, custom_fields_values=None)
    assert (bare.name, bare.amount_minor, bare.responsible_user_id) == (None, None, None)
    assert deal(price=0).amount_minor == 0


def test_a_budget_with_minor_units_wins_over_the_whole_one():
    assert deal(price=145000, price_with_minor_units=144999.99).amount_minor == 14499999
    assert deal(price=145000).amount_minor == 14500000


def test_an_amount_may_stand_in_a_custom_field():
    amount = custom("monetary", {"value": "1 500,50"}, field_id=7)
    assert of(Deal, read_leads(lead(1, custom_fields_values=[amount]), amount_field_id=7))[0].amount_minor == 150050


def test_why_a_deal_was_lost_may_be_told_in_a_custom_field():
    comment = custom("textarea", {"value": "ушли к соседям"}, field_id=8)
    lost = of(Deal, read_leads(lead(1, custom_fields_values=[comment]), loss_comment_field_id=8))[0]
    assert lost.loss_comment == "ушли к соседям"


@pytest.mark.parametrize("still_open", [None, 0])
def test_c45_an_open_deal_has_no_close(still_open):
    assert deal(closed_at=still_open).closed_at is None
    assert deal(closed_at=SEPTEMBER_S).closed_at == datetime(2026, 9, 1, tzinfo=UTC)


@pytest.mark.parametrize("shape", [[], [{"id": 4203744, "name": "Дорого"}], {"id": 4203744, "name": "Дорого"}])
def test_c47_c48_a_loss_reason_comes_in_three_shapes_and_may_have_left_its_list(shape):
    yielded = read_leads(lead(1, loss_reason_id=4203744, _embedded={"loss_reason": shape}))
    assert of(Deal, yielded)[0].loss_reason_id == "loss_reason:4203744"
    named = [stub.record.name for stub in of(Stub, yielded) if type(stub.record) is LossReason]
    assert named == [*(["Дорого"] if shape else []), "#4203744"]  # of several stubs the first is stored


def test_c49_a_user_who_has_left_still_has_a_row():
    stubs = {stub.record.user_id: stub.record for stub in of(Stub, read_leads(lead(1, responsible_user_id=9101003)))}
    assert (stubs["user:9101003"].name, stubs["user:9101003"].is_active) == ("#9101003", False)
    assert stubs["user:0"].is_robot


def test_c50_the_main_contact_need_not_be_the_first():
    contacts = [{"id": 1, "is_main": False}, {"id": 2, "is_main": False}, {"id": 3, "is_main": True}]
    yielded = read_leads(lead(1, _embedded={"contacts": contacts}))
    assert of(Deal, yielded)[0].main_contact_id == "contact:3"
    members = [(row.contact_id, row.is_main, row.position) for row in rows_of(DealContact, yielded)]
    assert members == [("contact:1", False, 0), ("contact:2", False, 1), ("contact:3", True, 2)]


def test_c51_a_lead_without_a_client_is_a_deal():
    yielded = read_leads(lead(1, _embedded={}))
    assert (of(Deal, yielded)[0].company_id, of(Deal, yielded)[0].main_contact_id) == (None, None)
    kinds = [owned.kind for owned in of(OwnedSet, yielded)]  # empty, not absent
    assert kinds == [DealContact, FieldValue, EntityTag, DealItem, DealInvoice]


def test_a_deal_takes_its_company_source_tags_and_utm_marks():
    yielded = read_leads(
        lead(
            1,
            source_id=15500901,
            _embedded={
                "companies": [{"id": 5}],
                "tags": [{"id": 7, "name": "сайт"}, {"id": 8, "name": "сайт"}],
                "source": {"id": 15500901, "name": "Форма"},
            },
            custom_fields_values=[custom("tracking_data", {"value": "yandex"}, code="UTM_SOURCE")],
        )
    )
    deal = of(Deal, yielded)[0]
    assert (deal.company_id, deal.source_id, deal.utm_source, deal.utm_term) == (
        "company:5",
        "source:15500901",
        "yandex",
        None,
    )
    assert [row.tag for row in rows_of(EntityTag, yielded)] == ["сайт"]
    assert "Форма" in [stub.record.name for stub in of(Stub, yielded)]


def test_c52_the_trash_marks_and_overwrites_nothing():
    empty = {"id": 18800077, "name": None, "status_id": None, "created_at": None, "is_deleted": True}
    api, server = amo({LEADS: page("leads", {**empty, "updated_at": SEPTEMBER_S + 5})})
    yielded = read(api, "trash", CHANGED)
    assert of(Tombstone, yielded) == [
        Tombstone(Deal, "main", "lead:18800077", datetime(2026, 9, 1, 0, 0, 5, tzinfo=UTC), is_vague=True)
    ]
    assert not of(Deal, yielded)
    assert {raw.entity for raw in of(RawRecord, yielded)} == {"leads/trash"}
    assert server.asked(LEADS)[0]["with"] == "only_deleted"


def test_a_trash_that_shows_living_cards_deletes_nobody():
    api, server = amo({"/api/v4/contacts": page("contacts", contact(1), has_next=True)})
    yielded = read(api, "trash", CHANGED)
    assert not of(Tombstone, yielded)
    assert len(server.asked("/api/v4/contacts")) == 1
    assert "cannot be listed apart" in of(Notice, yielded)[0].text


def test_a_trash_of_companies_that_is_refused_leaves_the_others():
    api, _ = amo({"/api/v4/companies": problem(400)})
    assert "known from events only" in of(Notice, read(api, "trash", CHANGED))[0].text


def test_c53_a_deal_deleted_and_restored_is_read_again_whatever_the_order_of_events():
    restored = event("lead_restored", "e2", created_at=SEPTEMBER_S + 90)
    api, _ = amo({"/api/v4/events": page("events", restored, event("lead_deleted", "e1"))})
    yielded = read(api, "events", FIRST)
    assert of(Tombstone, yielded) == [Tombstone(Deal, "main", "lead:18800001", SEPTEMBER + timedelta(seconds=60))]
    assert of(Patch, yielded) == [
        Patch(Deal, "main", "lead:18800001", "restored_at", SEPTEMBER + timedelta(seconds=90))
    ]
    assert of(Reread, yielded) == [Reread("leads", ("18800001",))]


def client_of(*fields, contact_id: int = 1):
    api, _ = amo({"/api/v4/contacts": page("contacts", contact(contact_id, custom_fields_values=list(fields)))})
    return read(api, "contacts", FIRST)


def phones(*values: str):
    return client_of(custom("multitext", *[{"value": value} for value in values], code="PHONE"))


def test_c56_two_spellings_of_a_number_are_one_key():
    yielded = phones("8 (999) 123-45-67", "+79991234567")
    assert [(row.phone_e164, row.contact_id, row.entity_kind) for row in rows_of(ClientPhone, yielded)] == [
        ("+79991234567", "contact:1", "contact")
    ]


def test_c57_several_numbers_and_an_extension_in_one_value():
    rows = rows_of(ClientPhone, phones("8 999 123 45 67; 8-999-123-45-68 доб. 12", "спросить Ивана"))
    assert [row.phone_e164 for row in rows] == ["+79991234567", "+79991234568", None]
    assert rows[2].phone_raw == "спросить Ивана"


def test_e_mails_are_in_one_spelling():
    yielded = client_of(custom("multitext", {"value": " Ivan@Example.org "}, {"value": "нет"}, code="EMAIL"))
    assert [row.email_norm for row in rows_of(ClientEmail, yielded)] == ["ivan@example.org"]


def test_a_name_may_stand_in_its_parts_only():
    parted = contact(1, name="", first_name="Иван", last_name="Петров", _embedded={"companies": [{"id": 5}]})
    api, _ = amo({"/api/v4/contacts": page("contacts", parted)})
    row = of(Contact, read(api, "contacts", FIRST))[0]
    assert (row.name, row.company_id) == ("Иван Петров", "company:5")


def test_c59_a_company_and_a_contact_may_have_the_same_number():
    api, _ = amo({"/api/v4/contacts": page("contacts", contact(7)), "/api/v4/companies": page("companies", contact(7))})
    assert of(Contact, read(api, "contacts", FIRST))[0].contact_id == "contact:7"
    assert of(Company, read(api, "companies", FIRST))[0].company_id == "company:7"


def test_c46_c58_stages_are_keyed_by_pipeline_and_what_is_gone_is_not_dropped():
    statuses = [
        {"id": 60200001, "name": "Неразобранное", "sort": 10, "type": 1},
        {"id": 60200002, "name": "Контакт", "sort": 20, "type": 0, "color": "#99ccff"},
        {"id": 142, "name": "Куплено", "sort": 10000, "type": 0},
        {"id": 143, "name": "Отказ", "sort": 11000, "type": 0},
    ]
    pipelines = [
        {"id": 7100101, "name": None, "sort": 1, "is_archive": True, "_embedded": {"statuses": statuses}},
        {"id": 7100102, "name": "Повторные", "sort": 2, "_embedded": {"statuses": statuses[3:]}},
    ]
    api, _ = amo({"/api/v4/leads/pipelines": page("pipelines", *pipelines)})
    yielded = read(api, "pipelines")
    assert [(row.name, row.is_archived) for row in of(Pipeline, yielded)] == [("#7100101", True), ("Повторные", False)]
    assert [stage.kind for stage in of(Stage, yielded)] == ["unsorted", "open", "won", "lost", "lost"]
    keys = {listing.kind: listing.keys for listing in of(Listing, yielded)}
    assert ("pipeline:7100102", "status:143") in keys[Stage]
    assert keys[Pipeline] == {("pipeline:7100101",), ("pipeline:7100102",)}


def test_users_come_with_the_group_they_are_in_now():
    listed = [
        {"id": 1, "name": "Анна", "email": "a@example.org", "rights": {"is_active": True, "group_id": None}},
        {"id": 2, "name": "Борис", "rights": {"is_active": False, "group_id": 512001, "status_rights": None}},
    ]
    api, _ = amo({"/api/v4/users": page("users", *listed)})
    yielded = read(api, "users")
    assert [(user.user_id, user.is_active) for user in of(User, yielded)] == [
        ("user:0", True),
        ("user:1", True),
        ("user:2", False),
    ]
    groups = [(row.user_id, row.department_id) for row in rows_of(UserDepartment, yielded)]
    assert groups == [("user:1", "department:0"), ("user:2", "department:512001")]
    assert of(Listing, yielded)[0].keys == {("user:0",), ("user:1",), ("user:2",)}


def test_the_account_names_departments_and_kinds_of_tasks():
    api, _ = amo()
    yielded = read(api, "account")
    assert [row.department_id for row in of(Department, yielded)] == ["department:0", "department:512001"]
    assert [row.name for row in of(TaskType, yielded)] == ["Связаться", "Встреча", "Замер"]


def test_loss_reasons_are_a_snapshot():
    api, _ = amo({"/api/v4/leads/loss_reasons": page("loss_reasons", {"id": 4203744, "name": "Дорого", "sort": 4000})})
    yielded = read(api, "loss_reasons")
    assert [(row.loss_reason_id, row.name) for row in of(LossReason, yielded)] == [("loss_reason:4203744", "Дорого")]
    assert of(Listing, yielded)[0].keys == {("loss_reason:4203744",)}


# Whole syncs against the emulated account


class Told(NamedTuple):
    """What is published of a few odd deals, table by table and as the app reads it, and their ids."""

    table: Callable[[str], pl.DataFrame]
    ids: dict[str, str]
    frames: FrameSet


@pytest.fixture(scope="module")
def office_told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    crm, data_dir = Crm(), tmp_path_factory.mktemp("cards")
    lost = {"name": "Окна", "stage_id": office.LOST, "fields": {"loss_reason_id": 1}}
    deals = {
        "won without a date": {"stage_id": office.WON, "fields": {"closed_at": 0}},
        "lost": lost,
        "lost again": {**lost, "pipeline_id": office.REPEAT},
        "a leaver's": {"user_id": 9_999_999},
        "of nobody": {},
        "without a name": {"name": "", "price": None, "user_id": 0},
    }
    numbers = {name: crm.people("create", entity="leads", **order)["id"] for name, order in deals.items()}
    crm.passes(DAY)
    assert crm.synced(data_dir).is_well
    table = published(data_dir, now=crm.now)
    return Told(table, {name: f"lead:{number}" for name, number in numbers.items()}, shown(data_dir))


def one_of(table: pl.DataFrame, **wanted: Any) -> dict[str, Any]:
    return table.row(by_predicate=pl.all_horizontal(pl.col(n) == v for n, v in wanted.items()), named=True)


def test_c44_a_won_deal_without_a_date_is_won_when_it_was_brought_in(office_told):
    """The reference would take the change time; by R-OUTCOME a deal that never moved was won since it is there."""
    table, ids, _ = office_told
    state = one_of(table("deal_state"), deal_id=ids["won without a date"])
    assert state["outcome"] == "won"
    assert one_of(table("deal"), deal_id=ids["won without a date"])["closed_at"] is None
    assert state["outcome_at"] == state["created_at"]


def test_c46_a_loss_belongs_to_its_pipeline_and_joins_one_stage(office_told):
    table, ids, _ = office_told
    state = table("deal_state").filter(pl.col("deal_id").is_in([ids["lost"], ids["lost again"]]))
    joined = state.join(table("stage"), on=["account_id", "pipeline_id", "stage_id"]).sort("deal_id")
    assert joined.select("outcome", "name").rows() == [("lost", "Закрыто и не реализовано"), ("lost", "Отказ")]


def test_c43_a_deal_without_a_name_is_shown_by_its_number_and_its_amount_stays_unknown(office_told):
    """The reference writes `#id`; the app says also what kind of card it is."""
    table, ids, frames = office_told
    listed = pl.DataFrame({"account_id": "main", "client_id": None, "entity_id": list(ids.values()), "label": None})
    labels = dict(zip(ids, with_labels(labelled(listed, frames))["label"], strict=True))
    number = ids["without a name"].removeprefix("lead:")
    assert (labels["without a name"], labels["lost"]) == (f"Сделка {number}", "Окна")
    state = one_of(table("deal_state"), deal_id=ids["without a name"])
    assert (state["amount_minor"], state["responsible_user_id"]) == (None, None)


def test_c48_a_deal_lost_for_a_reason_that_was_removed_is_counted_under_its_number(office_told):
    """Pages show no single reasons, metrics their categories: the number is the name of its row."""
    table, ids, frames = office_told
    lost = one_of(table("deal_state"), deal_id=ids["lost"])
    assert (lost["loss_reason_id"], lost["outcome"]) == ("loss_reason:1", "lost")
    assert one_of(table("loss_reason"), loss_reason_id="loss_reason:1")["name"] == "#1"
    categories = loss_categories(frames).collect("polars").to_native()
    assert one_of(categories, loss_reason_id="loss_reason:1")["category"] == "other"


def test_c49_a_leavers_deal_is_kept_and_the_leaver_shown_by_number(office_told):
    """The reference adds "(deleted)"; pages tell by no name who has left, so the row says it."""
    table, ids, _ = office_told
    users = table("user")
    mine = table("deal_state").filter(pl.col("deal_id") == ids["a leaver's"])
    named = with_names(mine, user_names(users), of="responsible_user_id")
    assert named["user_name"].to_list() == ["#9999999"]
    assert one_of(users, user_id="user:9999999")["is_active"] is False


def test_c51_a_deal_without_a_client_is_counted(office_told):
    table, ids, _ = office_told
    assert one_of(table("deal_state"), deal_id=ids["of nobody"])["client_id"] == ids["of nobody"]


def test_c52_a_deleted_card_keeps_what_was_known_of_it(tmp_path: Path):
    crm = Crm()
    number = crm.people("create", entity="leads", name="Окна", price=5000)["id"]
    crm.synced(tmp_path)
    crm.passes(DAY)
    crm.people("delete", entity="leads", id=number, event=False)  # the trash alone tells
    crm.synced(tmp_path)
    known = f"SELECT name, amount_minor, deleted_at IS NOT NULL FROM deal WHERE deal_id = 'lead:{number}'"
    assert rows(tmp_path, known) == [("Окна", 500000, True)]


@pytest.mark.parametrize("bumps", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_c53_a_deal_deleted_and_restored_lives_and_both_moments_are_kept(tmp_path: Path, bumps: bool):
    crm = Crm(restore_bumps_updated_at=bumps)
    number = crm.people("create", entity="leads")["id"]
    crm.synced(tmp_path)
    crm.passes(DAY)
    crm.people("delete", entity="leads", id=number)
    crm.passes(HOUR)
    crm.people("restore", entity="leads", id=number)
    restored_at = crm.now
    crm.passes(HOUR)
    crm.synced(tmp_path)
    deal = f"SELECT deleted_at, restored_at FROM deal WHERE deal_id = 'lead:{number}'"
    assert rows(tmp_path, deal) == [(None, restored_at)]
    kinds = "SELECT json_extract_string(decode(body), '$.type') FROM raw_record WHERE entity = 'events'"
    assert {"lead_deleted", "lead_restored"} <= {kind for (kind,) in rows(tmp_path, kinds)}


@pytest.mark.parametrize("missing_by_id", [204, pytest.param(404, marks=pytest.mark.slow)])
def test_c54_c55_what_left_list_and_trash_is_found_gone(tmp_path: Path, missing_by_id: int):
    crm = Crm(missing_by_id=missing_by_id)
    contact_id = crm.people("create", entity="contacts")["id"]
    purged = {
        "deal": crm.people("create", entity="leads")["id"],
        "contact": contact_id,
        "company": crm.people("create", entity="companies")["id"],
    }
    crm.synced(tmp_path)
    crm.passes(DAY)
    for entity, number in zip(("leads", "contacts", "companies"), purged.values(), strict=True):
        crm.people("purge", entity=entity, id=number)
    crm.synced(tmp_path)
    gone = " UNION ALL ".join(
        f"SELECT deleted_at FROM {table} WHERE {table}_id LIKE '%:{number}'" for table, number in purged.items()
    )
    assert rows(tmp_path, gone) == [(None,)] * 3  # nothing tells
    crm.passes(8 * DAY)
    crm.synced(tmp_path)
    assert rows(tmp_path, gone) == [(crm.now,)] * 3


def test_a_call_and_a_task_that_vanish_alone_are_found_gone_and_those_of_a_deleted_card_are_not(tmp_path: Path):
    crm = Crm()
    kept, doomed = (crm.people("create", entity="contacts")["id"] for _ in range(2))
    alone, along = (crm.people("call", entity="contacts", id=card, duration=60)["id"] for card in (kept, doomed))
    task = crm.people("task", entity="contacts", id=kept)["id"]
    crm.synced(tmp_path)
    crm.passes(8 * DAY)
    notes = crm.account.notes[CONTACT]
    for number in (alone, along):
        notes.put(notes.get(number)._replace(entity_kind=-1))
    crm.account.tasks.put(crm.account.tasks.get(task)._replace(deleted_at=1))
    crm.people("delete", entity="contacts", id=doomed)
    crm.synced(tmp_path)
    calls = f"SELECT deleted_at FROM call WHERE call_id IN ('note:{alone}', 'note:{along}') ORDER BY call_id"
    assert rows(tmp_path, calls) == [(crm.now,), (None,)]
    assert rows(tmp_path, f"SELECT deleted_at FROM task WHERE task_id = 'task:{task}'") == [(crm.now,)]


def test_a_sweep_reads_cards_with_what_hangs_on_them(tmp_path: Path):
    """Its pages are paid for; a bare one would say of every deal that it has no contact."""
    crm = Crm()
    crm.synced(tmp_path)
    n = len(crm.asked)
    crm.passes(8 * DAY)
    crm.synced(tmp_path)
    asked = [url.params for url in crm.asked[n:] if url.path == LEADS]
    assert all("with" in params for params in asked)
    assert any(params["order[id]"] == "asc" and "filter" not in str(params) for params in asked)


def test_a_card_the_token_may_no_longer_see_is_not_deleted():
    api, _ = amo({f"{LEADS}/5": problem(403)})
    yielded = read(api, "leads", Window("probe", ids=("5",)))
    assert not of(Tombstone, yielded)
    assert "may not see any more" in of(Notice, yielded)[0].text


def test_c59_both_are_stored_where_a_company_has_the_number_of_a_contact(tmp_path: Path):
    crm = Crm()
    number = crm.people("create", entity="contacts")["id"]
    crm.account.companies.next_id = number
    assert crm.people("create", entity="companies")["id"] == number
    crm.synced(tmp_path)
    found = (
        f"SELECT contact_id FROM contact WHERE contact_id LIKE '%:{number}' UNION ALL SELECT company_id FROM company"
    )
    assert {(f"contact:{number}",), (f"company:{number}",)} <= set(rows(tmp_path, found))


@pytest.mark.parametrize("archived_pipelines_in_list", [pytest.param(True, marks=pytest.mark.slow), False])
def test_c58_a_pipeline_that_was_archived_before_the_first_sync_has_its_names(
    tmp_path: Path, archived_pipelines_in_list: bool
):
    crm = Crm(archived_pipelines_in_list=archived_pipelines_in_list)
    number = crm.people("create", entity="leads", pipeline_id=office.ARCHIVED)["id"]
    for _ in range(2):  # in the second run no deal names it
        crm.passes(DAY)
        assert crm.synced(tmp_path).is_well
    found = (
        "SELECT p.name, p.is_archived, p.deleted_at, s.name FROM deal d JOIN pipeline p USING (account_id, pipeline_id)"
        f" JOIN stage s USING (account_id, pipeline_id, stage_id) WHERE deal_id = 'lead:{number}'"
    )
    assert rows(tmp_path, found) == [("Старая воронка", True, None, "Дозаказ")]


@pytest.mark.parametrize("missing_by_id", [204, 404])
def test_a_pipeline_that_only_a_deal_remembers_is_its_number(missing_by_id: int):
    api, _ = amo({"/api/v4/leads/pipelines/9": problem(404) if missing_by_id == 404 else NOTHING, LEADS: NOTHING})
    read(api, "pipelines")
    stubs = [stub.record for stub in of(Stub, read(api, "pipelines", Window("ids", ids=("9",))))]
    assert [(row.pipeline_id, row.name) for row in stubs] == [("pipeline:9", "#9")]


def test_a_pipeline_the_list_lacks_is_asked_for_by_its_id_and_others_are_not():
    listed = httpx.Response(200, json={"_embedded": {"pipelines": [{"id": 7100101, "name": "Продажи"}]}})
    api, _ = amo({"/api/v4/leads/pipelines": listed, LEADS: page("leads", lead(1), lead(2, pipeline_id=7100104))})
    assert not of(Reread, read(api, "leads", FIRST))  # nobody knows what the list has
    read(api, "pipelines")
    assert of(Reread, read(api, "leads", FIRST)) == [Reread("pipelines", ("7100104",))]


@pytest.mark.parametrize("archived_pipelines_in_list", [pytest.param(True, marks=pytest.mark.slow), False])
def test_c58_an_archived_pipeline_and_a_stage_that_is_gone_still_name_old_history(
    tmp_path: Path, archived_pipelines_in_list: bool
):
    crm = Crm(archived_pipelines_in_list=archived_pipelines_in_list)
    gone, kept = office.OPEN_STAGES[office.REPEAT][:2]
    number = crm.people("create", entity="leads", pipeline_id=office.REPEAT, stage_id=gone)["id"]
    crm.passes(HOUR)
    crm.people("move", id=number, stage_id=kept)
    crm.synced(tmp_path)
    crm.account.company = replace(
        crm.account.company,
        pipelines=tuple(
            row._replace(name=None, is_archived=True, stages=tuple(s for s in row.stages if s.id != gone))
            if row.id == office.REPEAT
            else row
            for row in crm.account.company.pipelines
        ),
    )
    crm.passes(DAY)
    assert crm.synced(tmp_path).is_well
    pipeline = (
        f"SELECT is_archived OR deleted_at IS NOT NULL FROM pipeline WHERE pipeline_id = 'pipeline:{office.REPEAT}'"
    )
    assert rows(tmp_path, pipeline) == [(True,)]
    stages = (
        f"SELECT deleted_at IS NOT NULL FROM stage WHERE stage_id IN ('status:{gone}', 'status:{kept}') ORDER BY sort"
    )
    assert rows(tmp_path, stages)[0] == (True,)
    table = published(tmp_path, now=crm.now)
    stays = table("stage_interval").filter(pl.col("deal_id") == f"lead:{number}").sort("n")
    named = stays.join(table("stage"), on=["account_id", "pipeline_id", "stage_id"], how="left")
    assert named.height == 2
    assert named["name"].null_count() == 0
