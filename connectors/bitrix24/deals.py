"""Leads and deals, which are rows of one table here: a lead is what comes before a deal.

https://apidocs.bitrix24.ru/api-reference/crm/universal/object-fields.html
"""

from collections.abc import Iterator
from typing import Any

from connectors.bitrix24.fields import field_id, field_values
from connectors.bitrix24.multifields import multifields
from connectors.bitrix24.reading import CLOSED, DEAL, KINDS, LEAD, Reading, prefixed
from connectors.bitrix24.stages import field_reason, is_plain_failure, stage_reason, text_reason
from connectors.bitrix24.values import code_of, day, flag, many, moment, ref, text
from connectors.money import currency_code, to_minor
from connectors.paging import Json
from connectors.records import (
    Deal,
    DealContact,
    DealStageTransition,
    FieldValue,
    LossReason,
    MergeLink,
    OwnedSet,
    Record,
    Yield,
)

COLUMNS = (
    "id", "title", "categoryId", "stageId", "stageSemanticId", "opportunity", "currencyId", "companyId", "contactId",
    "contactIds", "leadId", "assignedById", "createdBy", "createdTime", "updatedTime", "movedTime", "closedate",
    "sourceId", "isRecurring", "isReturnCustomer", "utmSource", "utmMedium", "utmCampaign", "utmContent", "utmTerm",
)  # fmt: skip
"""Of a deal. A lead is read with all it has (`*`): only so do its phones come."""
BARE = (
    "id", "isRecurring", "createdTime", "categoryId", "stageId", "stageSemanticId", "assignedById", "opportunity",
    "currencyId", "companyId", "contactId", "contactIds",
)  # fmt: skip
"""Enough to see what has changed without a word: robots, imports and bound contacts do not move `updatedTime`."""
QUIET = ("stage_id", "responsible_user_id", "amount_minor", "company_id")
UTM = {f"utm_{word}": f"utm{word.capitalize()}" for word in ("source", "medium", "campaign", "content", "term")}


def lead_records(lead: Json, reading: Reading, raw_hash: str) -> Iterator[Yield]:
    """A lead with its contacts, phones and custom values."""
    yield from sale_records(lead, LEAD, reading, raw_hash)
    yield from multifields(lead, f"lead:{lead['id']}", Deal, reading, raw_hash)


def deal_records(deal: Json, reading: Reading, raw_hash: str) -> Iterator[Yield]:
    """A deal with its contacts and custom values. A template that deals are made of again and again is none."""
    if is_template(deal):
        return
    yield from sale_records(deal, DEAL, reading, raw_hash)
    if ref(deal.get("leadId")):
        yield conversion(deal, reading, raw_hash)


def is_template(deal: Json) -> bool:
    return flag(deal.get("isRecurring")) is True


def sale_records(item: Json, type_id: int, reading: Reading, raw_hash: str) -> Iterator[Yield]:
    """What leads and deals have in common. What stands at an end was closed when it was moved last: so says the history
    of stages too, which marts go by. CLOSEDATE is a plan that people write."""
    account_id, kind, created_at = reading.account_id, KINDS[type_id], created(item)
    deal_id = f"{kind}:{item['id']}"
    code, semantics = code_of(item["stageId"]), item.get("stageSemanticId")
    pipeline, stage = reading.stage(type_id, item.get("categoryId"), code, semantics)
    currency = currency_code(item["currencyId"]) if item.get("currencyId") else reading.currency
    values = field_values(item, deal_id, type_id, reading, raw_hash)
    moved_at = moment(item.get("movedTime"))
    outcome = reading.kind((pipeline, stage), semantics)
    contacts = contacts_of(item)
    entity_kind: Any = kind
    yield Deal(
        account_id=account_id,
        source_updated_at=moment(item.get("updatedTime")),
        raw_hash=raw_hash,
        deal_id=deal_id,
        entity_kind=entity_kind,
        name=text(item.get("title")),
        pipeline_id=pipeline,
        stage_id=stage,
        responsible_user_id=reading.responsible(item.get("assignedById")),
        created_by=reading.author(item.get("createdBy")),
        amount_minor=to_minor(item.get("opportunity"), currency),
        currency=currency,
        company_id=prefixed("company", item.get("companyId")),
        main_contact_id=contacts[0] if contacts else None,
        parent_lead_id=prefixed("lead", item.get("leadId")) if type_id == DEAL else None,
        source_id=reading.source(item.get("sourceId")),
        loss_reason_id=loss_reason(code, values, kind, reading) if outcome == "lost" else None,
        created_at=created_at,
        closed_at=(moment(item.get("dateClosed")) or moved_at) if outcome in CLOSED else None,
        expected_close_on=day(item.get("closedate")),
        is_repeat=flag(item.get("isReturnCustomer")),
        **utm(item),
    )
    members = [
        DealContact(
            account_id=account_id,
            raw_hash=raw_hash,
            deal_id=deal_id,
            contact_id=contact_id,
            is_main=position == 0,
            position=position,
        )
        for position, contact_id in enumerate(contacts)
    ]
    yield OwnedSet(DealContact, account_id, deal_id, Deal, members)
    yield OwnedSet(FieldValue, account_id, deal_id, Deal, values)
    if moved_at:
        yield DealStageTransition(
            account_id=account_id,
            raw_hash=raw_hash,
            change_id=f"snap:{deal_id}:{int(moved_at.timestamp())}",
            deal_id=deal_id,
            changed_at=moved_at,
            to_pipeline_id=pipeline,
            to_stage_id=stage,
            origin="snapshot",
        )


def says(item: Json, deal: Record) -> Json:
    """What may change without `updatedTime`."""
    contacts = ",".join(sorted(contacts_of(item)))
    return {**{column: getattr(deal, column) for column in QUIET}, "contact_ids": contacts}


def utm(item: Json) -> Json:
    return {column: text(item.get(name)) for column, name in UTM.items()}


def contacts_of(item: Json) -> list[str]:
    """Contacts, the main one first: which that is only the obsolete single field says."""
    main = ref(item.get("contactId"))
    numbers = [number for value in many(item.get("contactIds")) if (number := ref(value))]
    return [f"contact:{number}" for number in dict.fromkeys([main, *numbers]) if number]


def created(item: Json) -> Any:
    """When a card came to be; its last change where that is not told.

    Raises:
        ValueError: neither is known, so it has no place in time.
    """
    at = moment(item.get("createdTime")) or moment(item.get("updatedTime"))
    if at is None:
        raise ValueError("no time of creation")
    return at


def loss_reason(code: str, values: list[FieldValue], kind: str, reading: Reading) -> str | None:
    """Why it failed: the option of the field that is named for it, or what is written there, else the failure stage.
    Where there is a field, the stage every pipeline has from the start is no reason: somebody has not given one."""
    field = reading.settings.loss_reason_fields.get(kind)
    if field is None:
        return mentioned_reason(stage_reason(code), f"#{code}", reading)
    for value in values:
        if value.field_id != field_id(kind, field):
            continue
        if value.enum_id:
            return mentioned_reason(field_reason(field, value.enum_id), f"#{value.enum_id}", reading)
        if value.value_num is None and (said := (value.value_text or "").strip()):
            return mentioned_reason(text_reason(field, said), said, reading)
    return None if is_plain_failure(code) else mentioned_reason(stage_reason(code), f"#{code}", reading)


def mentioned_reason(reason_id: str, name: str, reading: Reading) -> str:
    """What is written, and an option or a stage since deleted, has its row from here: no list has it."""
    reading.mention(
        LossReason,
        reason_id,
        lambda: LossReason(account_id=reading.account_id, loss_reason_id=reason_id, name=name),
    )
    return reason_id


def conversion(deal: Json, reading: Reading, raw_hash: str) -> MergeLink:
    """The lead a deal was made of is the deal's client from then on (R-ATTR)."""
    clients = [prefixed("company", deal.get("companyId")), *contacts_of(deal), f"deal:{deal['id']}"]
    return MergeLink(
        account_id=reading.account_id,
        raw_hash=raw_hash,
        kind="lead",
        from_id=f"lead:{deal['leadId']}",
        into_id=next(filter(None, clients)),
        merged_at=created(deal),
    )
