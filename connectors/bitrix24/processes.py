"""Smart processes: whatever else a company runs through stages. Never a sale.

https://apidocs.bitrix24.ru/api-reference/crm/universal/user-defined-object-types/index.html
"""

from collections.abc import Iterator

from connectors.bitrix24.deals import contacts_of, created
from connectors.bitrix24.fields import field_values
from connectors.bitrix24.reading import CLOSED, DEAL, Reading, prefixed
from connectors.bitrix24.values import moment, text
from connectors.money import currency_code, to_minor
from connectors.paging import Json
from connectors.records import FieldValue, OwnedSet, ProcessItem, Yield

COLUMNS = (
    "id", "title", "categoryId", "stageId", "stageSemanticId", "opportunity", "currencyId", "companyId", "contactId",
    "contactIds", f"parentId{DEAL}", "assignedById", "createdTime", "updatedTime", "movedTime",
)  # fmt: skip


def item_records(item: Json, reading: Reading, raw_hash: str, *, type_id: int) -> Iterator[Yield]:
    """An item of a smart process. Whether it has stages, amounts or clients is up to whoever made the process."""
    item_id = f"item:{type_id}:{item['id']}"
    code, semantics = item.get("stageId"), item.get("stageSemanticId")
    place = reading.stage(type_id, item.get("categoryId"), code, semantics) if code else None
    currency = currency_code(item["currencyId"]) if item.get("currencyId") else reading.currency
    contacts = contacts_of(item)
    yield ProcessItem(
        account_id=reading.account_id,
        source_updated_at=moment(item.get("updatedTime")),
        raw_hash=raw_hash,
        item_id=item_id,
        process_id=f"process:{type_id}",
        process_name=(reading.book.processes or {}).get(type_id) or f"#{type_id}",
        name=text(item.get("title")),
        pipeline_id=place and place[0],
        stage_id=place and place[1],
        responsible_user_id=reading.responsible(item.get("assignedById")),
        amount_minor=to_minor(item.get("opportunity"), currency),
        currency=currency,
        parent_deal_id=prefixed("deal", item.get(f"parentId{DEAL}")),
        company_id=prefixed("company", item.get("companyId")),
        main_contact_id=contacts[0] if contacts else None,
        created_at=created(item),
        closed_at=moment(item.get("movedTime")) if place and reading.kind(place, semantics) in CLOSED else None,
    )
    values = field_values(item, item_id, type_id, reading, raw_hash)
    yield OwnedSet(FieldValue, reading.account_id, item_id, ProcessItem, values)
