"""What becomes of Bitrix24's rows: rules beyond the conformance cases."""

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from bitrix_rows import ACTIVITY, CALL, DEAL, become, field, of, only, reading, stubs, unknowns

from connectors.bitrix24.activities import activity_records
from connectors.bitrix24.availability import TASKS
from connectors.bitrix24.calls import call_records
from connectors.bitrix24.comments import comment_records
from connectors.bitrix24.conversations import session_records
from connectors.bitrix24.currencies import rate
from connectors.bitrix24.deals import deal_records, lead_records
from connectors.bitrix24.fields import infos
from connectors.bitrix24.goods import line_records
from connectors.bitrix24.invoices import invoice_records
from connectors.bitrix24.reading import Book
from connectors.bitrix24.stages import status_records
from connectors.bitrix24.tasks import task_records
from connectors.records import (
    Activity,
    Call,
    Chat,
    Deal,
    DealContact,
    DealItem,
    DealStageTransition,
    FieldValue,
    FxRate,
    Invoice,
    LossReason,
    MergeLink,
    Message,
    OwnedSet,
    Payment,
    Request,
    Source,
    Stage,
    Task,
    TaskLink,
    User,
)
from connectors.walk import mapped

LOST = {"stageId": "LOSE", "stageSemanticId": "F"}
REASONS = field("ufCrm_1", "enumeration", o3157="Дорого")
BY_FIELD = {"loss_reason_fields": {"deal": "UF_CRM_1"}}


def without(*methods: str) -> Any:
    """A reading of a portal that refuses some lists."""
    return replace(reading(), closed=lambda: methods)


def activity(provider: str, **changes: Any) -> dict[str, Any]:
    return ACTIVITY | {"PROVIDER_ID": provider, "TYPE_ID": "6"} | changes


def acted(row: dict[str, Any], walk: Any = None) -> list[Any]:
    return become(activity_records, row, walk, key="ID")


# Leads and deals


def test_a_deal_has_its_contacts_the_main_one_first():
    found = become(deal_records, DEAL | {"contactId": 91})
    assert [(row.contact_id, row.is_main) for row in of(DealContact, found)] == [
        ("contact:91", True),
        ("contact:84", False),
    ]
    assert only(Deal, found).main_contact_id == "contact:91"


def test_a_deal_closed_when_it_was_last_moved_and_open_ones_are_not_closed():
    assert only(Deal, become(deal_records, DEAL | LOST)).closed_at == datetime(2026, 8, 20, 15, 39, 59, tzinfo=UTC)
    assert only(Deal, become(deal_records, DEAL)).closed_at is None


def test_a_lead_says_when_it_was_closed():
    junk = {"stageId": "JUNK", "stageSemanticId": "F", "dateClosed": "2026-08-19T12:00:00+03:00"}
    lead = only(Deal, become(lead_records, DEAL | junk))
    assert (lead.entity_kind, lead.deal_id, lead.pipeline_id) == ("lead", "lead:410", "pipeline:1:0")
    assert lead.closed_at == datetime(2026, 8, 19, 9, tzinfo=UTC)


def test_a_card_is_a_snapshot_of_its_last_move():
    seen = only(DealStageTransition, become(deal_records, DEAL))
    assert (seen.origin, seen.to_stage_id, seen.changed_at) == (
        "snapshot",
        "stage:NEW",
        datetime(2026, 8, 20, 15, 39, 59, tzinfo=UTC),
    )
    again = only(DealStageTransition, become(deal_records, DEAL | {"updatedTime": "2026-08-21T18:40:00+03:00"}))
    assert again.change_id == seen.change_id


@pytest.mark.parametrize(
    ("named", "client"),
    [
        ({}, "company:9"),
        ({"companyId": 0}, "contact:84"),
        ({"companyId": 0, "contactIds": [], "contactId": 0}, "deal:410"),
    ],
)
def test_the_lead_of_a_deal_is_the_deals_client(named: dict[str, Any], client: str):
    found = become(deal_records, DEAL | {"leadId": 7} | named)
    link = only(MergeLink, found)
    assert (link.from_id, link.into_id) == ("lead:7", client)
    assert only(Deal, found).parent_lead_id == "lead:7"


def test_people_and_sources_no_list_has_get_rows():
    found = become(deal_records, DEAL)
    assert {user.user_id for user in stubs(User, found)} == {"user:5", "user:1"}
    assert [source.source_id for source in stubs(Source, found)] == ["source:WEB"]


def test_nobody_is_robot_as_an_author_and_no_one_as_an_owner():
    deal = only(Deal, become(deal_records, DEAL | {"assignedById": 0, "createdBy": "0"}))
    assert (deal.responsible_user_id, deal.created_by) == (None, "user:0")


# Why deals are lost


def test_without_a_field_the_failure_stage_is_the_reason():
    assert only(Deal, become(deal_records, DEAL | LOST)).loss_reason_id == "loss:stage:LOSE"


def test_with_a_field_its_option_is_the_reason():
    found = become(deal_records, DEAL | LOST | {"ufCrm_1": 3157}, reading(REASONS, **BY_FIELD))
    assert only(Deal, found).loss_reason_id == "loss:field:UF_CRM_1:3157"


def test_with_a_field_a_stage_of_ones_own_is_the_reason_and_the_usual_one_is_none():
    lost = DEAL | LOST
    assert only(Deal, become(deal_records, lost, reading(REASONS, **BY_FIELD))).loss_reason_id is None
    own = only(Deal, become(deal_records, lost | {"stageId": "APOLOGY"}, reading(REASONS, **BY_FIELD)))
    assert own.loss_reason_id == "loss:stage:APOLOGY"


@pytest.mark.parametrize(
    ("lost", "settings", "reason_id", "name"),
    [
        ({"ufCrm_1": 9999}, BY_FIELD, "loss:field:UF_CRM_1:9999", "#9999"),
        ({"stageId": "C4:GONE"}, {}, "loss:stage:C4:GONE", "#C4:GONE"),
    ],
)
def test_an_option_or_a_stage_since_deleted_is_a_reason_called_by_its_id(
    lost: Any, settings: Any, reason_id: str, name: str
):
    walk = reading(REASONS, **settings)
    deal = only(Deal, list(mapped(DEAL | LOST | lost, "sample", deal_records, walk)))
    (row,) = stubs(LossReason, list(walk.conclusions()))
    assert (deal.loss_reason_id, row.loss_reason_id, row.name) == (reason_id, reason_id, name)


def test_a_reopened_deal_has_no_reason_though_it_keeps_the_option():
    found = become(deal_records, DEAL | {"ufCrm_1": 3157}, reading(REASONS, **BY_FIELD))
    assert only(Deal, found).loss_reason_id is None
    assert only(FieldValue, found).value_text == "Дорого"


@pytest.mark.parametrize("kind", ["string", "crm_status", "text"])
def test_what_is_written_in_the_field_is_the_reason(kind: str):
    walk = reading(field("ufCrm_1", kind), **BY_FIELD)
    found = [
        item
        for said in ("Дорого", " дорого ", "Не дозвонились")
        for item in mapped(DEAL | LOST | {"ufCrm_1": said}, "sample", deal_records, walk)
    ]
    first, again, other = (deal.loss_reason_id for deal in of(Deal, found))
    assert first == again != other
    reasons = stubs(LossReason, list(walk.conclusions()))
    assert {row.loss_reason_id: row.name for row in reasons} == {first: "Дорого", other: "Не дозвонились"}


@pytest.mark.parametrize(("kind", "value"), [("string", "  "), ("double", "12"), ("money", "12|RUB"), ("string", None)])
def test_a_field_without_words_gives_no_reason(kind: str, value: Any):
    walk = reading(field("ufCrm_1", kind), **BY_FIELD)
    found = become(deal_records, DEAL | LOST | {"ufCrm_1": value}, walk)
    assert (only(Deal, found).loss_reason_id, stubs(LossReason, found)) == (None, [])


def test_each_failure_stage_is_a_reason_of_its_own():
    status = {"ID": "1", "ENTITY_ID": "DEAL_STAGE", "NAME": "Конкурент", "SEMANTICS": "F", "STATUS_ID": "RIVAL"}
    found = become(status_records, status, key="ID")
    assert only(LossReason, found).loss_reason_id == "loss:stage:RIVAL"
    assert only(Stage, found).kind == "lost"
    process = status | {"ENTITY_ID": "DYNAMIC_147_STAGE_3"}
    assert of(LossReason, become(status_records, process, key="ID")) == []


# Custom fields


@pytest.mark.parametrize(
    ("kind", "value", "columns"),
    [
        ("string", "текст", {"value_text": "текст"}),
        ("double", "12.5", {"value_num": 12.5}),
        ("money", "1500.50|RUB", {"value_num": 1500.5, "value_text": "RUB"}),
        ("date", "2024-09-08T19:00:00-05:00", {"value_date": date(2024, 9, 9)}),
        ("datetime", "2026-08-01T10:00:01+03:00", {"value_ts": datetime(2026, 8, 1, 7, 0, 1, tzinfo=UTC)}),
        ("crm", "D_410", {"value_text": "D_410"}),
        ("hologram", {"a": 1}, {"value_text": '{"a":1}'}),
    ],
)
def test_values_of_custom_fields(kind: str, value: Any, columns: dict[str, Any]):
    row = only(FieldValue, become(deal_records, DEAL | {"ufCrm_1": value}, reading(field("ufCrm_1", kind))))
    assert {name: getattr(row, name) for name in columns} == columns


def test_only_fields_of_users_are_custom():
    answer = {"fields": {"title": {"upperName": "TITLE", "type": "string"}, "ufCrm_1": {"upperName": "UF_CRM_1"}}}
    assert list(infos(answer)) == ["ufCrm_1"]


# Calls


def test_a_call_is_about_the_deal_its_activity_hangs_on():
    about = {"OWNER_TYPE_ID": "2", "OWNER_ID": "410", "BINDINGS": [{"OWNER_TYPE_ID": "3", "OWNER_ID": "797"}]}
    call = only(Call, become(call_records, CALL | {"activity": about}, key="ID"))
    assert (call.entity_id, call.contact_id, call.deal_id) == ("contact:797", "contact:797", "deal:410")
    lead = only(Call, become(call_records, CALL | {"CRM_ENTITY_TYPE": "LEAD"}, key="ID"))
    assert (lead.deal_id, lead.contact_id) == ("lead:797", None)


def test_a_call_of_telephony_is_mentioned_by_its_activity_under_the_id_its_statistics_give_it():
    (mentioned,) = stubs(Call, found := acted(activity("VOXIMPLANT_CALL", ORIGIN_ID=f"VI_{CALL['CALL_ID']}")))
    assert of(Call, found) == []
    real = only(Call, become(call_records, CALL, key="ID"))
    same = ("call_id", "external_uniq", "provider")
    assert [getattr(mentioned, name) for name in same] == [getattr(real, name) for name in same]
    assert (mentioned.status, mentioned.contact_id) == ("answered", "contact:15")


def test_a_call_without_an_id_of_telephony_has_its_number():
    assert only(Call, become(call_records, CALL | {"CALL_ID": ""}, key="ID")).call_id == "call:7"


def test_a_call_that_is_only_planned_is_something_to_do():
    planned = activity("CRM_CALL_TRACKER", COMPLETED="N")
    assert (of(Call, acted(planned)), only(Task, acted(planned)).kind) == ([], "call")


# Activities


@pytest.mark.parametrize(
    ("provider", "channel"), [("CRM_EMAIL", "email"), ("CRM_SMS", "sms"), ("CRM_WHATSAPP", "whatsapp")]
)
def test_letters_and_messengers_are_messages(provider: str, channel: str):
    got = only(Message, acted(activity(provider)))
    assert (got.channel, got.direction, got.author, got.user_id) == (channel, "in", "client", None)
    sent = only(Message, acted(activity(provider, DIRECTION="2")))
    assert (sent.direction, sent.author, sent.user_id) == ("out", "user", "user:505")


def test_a_meeting_is_a_task_and_is_done_when_it_is_completed():
    planned, held = (only(Task, acted(activity("CRM_MEETING", COMPLETED=flag))) for flag in "NY")
    assert (planned.kind, planned.is_completed, planned.completed_at) == ("meeting", False, None)
    assert (held.is_completed, held.completed_is_estimate) == (True, True)
    old = only(Task, acted(activity("", TYPE_ID="1")))
    assert old.kind == "meeting"


def test_a_filled_form_is_a_request_until_somebody_is_done_with_it():
    waiting, over = (only(Request, acted(activity("CRM_WEBFORM", COMPLETED=flag))) for flag in "NY")
    assert (waiting.category, waiting.processed_at) == ("form", None)
    assert over.processed_at == datetime(2026, 8, 20, 10, 40, tzinfo=UTC)


@pytest.mark.parametrize("provider", ["CRM_TASKS_TASK", "TASKS"])
def test_a_task_is_taken_from_the_list_of_tasks_else_from_activities(provider: str):
    row = activity(provider, ASSOCIATED_ENTITY_ID="8017")
    assert (of(Task, acted(row)), stubs(Task, acted(row))) == ([], [])
    found = acted(row, without(TASKS))
    assert (only(Task, found).task_id, only(TaskLink, found).task_id) == ("task:8017", "task:8017")
    unnumbered = activity(provider, ASSOCIATED_ENTITY_ID="0")
    assert only(Task, acted(unnumbered, without(TASKS))).task_id == "activity:20"


def test_a_task_that_is_over_is_mentioned_for_the_list_may_hide_it():
    found = acted(activity("CRM_TASKS_TASK", ASSOCIATED_ENTITY_ID="8017", COMPLETED="Y"))
    assert [(task.task_id, task.is_completed) for task in stubs(Task, found)] == [("task:8017", True)]
    assert [(link.task_id, link.entity_id) for link in stubs(TaskLink, found)] == [("task:8017", "contact:15")]
    assert of(Task, found) == of(TaskLink, found) == []


def test_an_unknown_provider_is_told_and_kept():
    found = acted(activity("HOLOGRAM", COMPLETED="Y"))
    assert only(Activity, found).kind == "other"
    assert unknowns(found) == ["activities of the unknown provider HOLOGRAM"]


# Tasks

TASK = {
    "id": "8017",
    "title": "Call back",
    "status": "3",
    "createdDate": "2026-06-04T16:15:55+03:00",
    "changedDate": "2026-06-05T10:00:00+03:00",
    "closedDate": None,
    "deadline": "2026-06-04T19:00:00+03:00",
    "responsibleId": "547",
    "createdBy": "5",
    "ufCrmTask": ["D_410", "C_84", "T80_6", "X_1"],
}


def test_a_task_hangs_on_all_its_cards():
    found = become(task_records, TASK)
    assert [row.entity_id for row in of(TaskLink, found)] == ["deal:410", "contact:84", "item:128:6"]
    assert only(Task, found).entity_id == "deal:410"


@pytest.mark.parametrize("nothing", [False, [], None, ""])
def test_a_task_may_hang_on_nothing(nothing: Any):
    assert of(TaskLink, become(task_records, TASK | {"ufCrmTask": nothing})) == []


def test_a_completed_task_was_when_it_was_closed():
    done = only(Task, become(task_records, TASK | {"status": "5", "closedDate": "2026-06-05T09:00:00+03:00"}))
    assert (done.is_completed, done.completed_is_estimate) == (True, False)
    assert done.completed_at == datetime(2026, 6, 5, 6, tzinfo=UTC)
    unsaid = only(Task, become(task_records, TASK | {"status": "5"}))
    assert (unsaid.completed_at, unsaid.completed_is_estimate) == (datetime(2026, 6, 5, 7, tzinfo=UTC), True)


def test_times_of_tasks_are_the_employees_wall_time_whatever_offset_stands_beside_them():
    """Told in summer of a day in winter."""
    walk = reading()
    walk.task_zone = ZoneInfo("Europe/Berlin")
    task = only(Task, become(task_records, TASK | {"deadline": "2026-01-15T12:00:00+02:00"}, walk))
    assert task.due_at == datetime(2026, 1, 15, 11, tzinfo=UTC)


# Money


INVOICE = DEAL | {
    "id": 3,
    "categoryId": 1,
    "stageId": "DT31_1:S",
    "stageSemanticId": None,
    "accountNumber": "3653",
    "begindate": "2026-08-01T03:00:00+03:00",
    "closedate": "2026-08-15T03:00:00+03:00",
    "parentId2": 410,
    "opportunity": 1000,
}
HALF = {"id": 1036, "paid": "Y", "datePaid": "2026-08-05T12:00:00+03:00", "sum": 500, "currency": "RUB"}


def invoiced(*payments: dict[str, Any], **changes: Any) -> list[Any]:
    return become(invoice_records, INVOICE | {"payments": list(payments)} | changes)


def test_an_invoice_is_dated_and_names_its_deal():
    invoice = only(Invoice, invoiced())
    assert (invoice.issued_on, invoice.due_on) == (date(2026, 8, 1), date(2026, 8, 15))
    assert (invoice.deal_id, invoice.amount_minor, invoice.status) == ("deal:410", 100_000, "issued")


def test_an_invoice_is_paid_by_its_stage_and_partly_by_its_payments():
    assert only(Invoice, invoiced(HALF)).status == "partially_paid"
    assert only(Invoice, invoiced(HALF, stageId="DT31_1:P")).status == "paid"
    payment = only(Payment, invoiced(HALF))
    assert (payment.invoice_id, payment.amount_minor, payment.is_planned) == ("invoice:3", 50_000, False)


def test_a_payment_that_was_not_made_is_none():
    assert of(Payment, invoiced(HALF | {"paid": "N", "datePaid": None})) == []


def test_lines_of_a_deal_are_in_its_currency_and_replaced_whole():
    row = {"id": 5, "productId": 450, "productName": "Дверь", "price": 899.1, "quantity": 3, "discountSum": 10}
    found = become(line_records, {"id": 410, "entityTypeId": 2, "currencyId": "USD", "lines": [row]})
    line = only(DealItem, found)
    assert (line.price_minor, line.sum_minor, line.discount_minor, line.currency) == (89_910, 269_730, 3_000, "USD")
    empty = become(line_records, {"id": 410, "entityTypeId": 2, "currencyId": "USD", "lines": []})
    assert [(item.owner_id, item.rows) for item in empty if isinstance(item, OwnedSet)] == [("deal:410", [])]


def test_a_rate_is_what_one_unit_costs_in_the_base_currency():
    tenge = {"CURRENCY": "KZT", "AMOUNT_CNT": "100", "AMOUNT": "15.4200", "BASE": "N"}

    def of_today(row: Any, walk: Any, raw_hash: str) -> Any:
        return rate(row, walk, raw_hash, day=date(2026, 8, 20))

    assert only(FxRate, become(of_today, tenge, key="CURRENCY")).rate_to_base == pytest.approx(0.1542)
    assert of(FxRate, become(of_today, tenge | {"CURRENCY": "RUB"}, key="CURRENCY")) == []


# What people say


def test_a_session_is_a_chat_with_its_messages():
    users = {"5": {"id": 5}, "900": {"id": 900, "connector": True}, "77": {"id": 77, "bot": True}}
    said = {
        str(n): {"id": str(n), "senderid": sender, "date": f"2026-08-20T12:00:0{n}+03:00", "text": "…"}
        for n, sender in enumerate(["0", "900", "5", "77"], start=1)
    }
    session = ACTIVITY | {
        "ASSOCIATED_ENTITY_ID": "321",
        "history": {"chatId": 1763, "message": said, "users": users},
        "chats": [{"CHAT_ID": "1763", "CONNECTOR_ID": "telegrambot"}],
    }
    found = become(session_records, session, reading(book=Book(employees=frozenset({"user:5"}))), key="ID")
    chat = only(Chat, found)
    assert (chat.chat_id, chat.channel, chat.contact_id, chat.closed_at) == (
        "session:321",
        "telegram",
        "contact:15",
        None,
    )
    assert [(row.author, row.direction, row.user_id) for row in of(Message, found)] == [
        ("bot", "out", None),
        ("client", "in", None),
        ("user", "out", "user:5"),
        ("bot", "out", None),
    ]
    unlisted = of(Message, become(session_records, session, key="ID"))
    assert [row.author for row in unlisted] == ["bot", "client", "unknown", "bot"]


def test_a_comment_is_a_note_on_its_card():
    comment = {"ID": "999", "CREATED": "2026-08-20T12:00:00+03:00", "COMMENT": "дорого", "AUTHOR_ID": "5"}
    note = only(Activity, become(comment_records, {"id": 410, "entityTypeId": 2, "comments": [comment]}))
    assert (note.activity_id, note.kind, note.deal_id, note.user_id) == ("comment:999", "note", "deal:410", "user:5")
