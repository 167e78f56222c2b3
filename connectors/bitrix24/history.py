"""The history of stages: `crm.stagehistory.list`, to which rows are only added.

https://apidocs.bitrix24.ru/api-reference/crm/crm-stage-history-list.html

A row says where something came to, not where from, and not who moved it. A row of any type is such an arrival: created
(1; or 3 where it was created at an end), moved (2), moved to an end (3), moved to another pipeline (5). Rows of what is
deleted vanish with it: ours stay.
"""

from collections.abc import Iterator

from connectors.bitrix24.reading import DEAL, LEAD, Reading, card_id
from connectors.bitrix24.values import code_of, moment
from connectors.paging import Json
from connectors.records import DealStageTransition, ProcessItemTransition, Yield

CHANGES = "history:"


def history_records(row: Json, reading: Reading, raw_hash: str, *, type_id: int) -> Iterator[Yield]:
    """An arrival of a lead, a deal or an item of a smart process at a stage.

    Raises:
        ValueError: the row has no owner or no time.
    """
    at, owner = moment(row.get("CREATED_TIME")), card_id(type_id, row["OWNER_ID"])
    if at is None or owner is None:
        raise ValueError("an arrival of nobody, or at no time")
    code = code_of(row["STATUS_ID"] if type_id == LEAD else row["STAGE_ID"])
    semantics = row.get("STATUS_SEMANTIC_ID" if type_id == LEAD else "STAGE_SEMANTIC_ID")
    pipeline, stage = reading.stage(type_id, row.get("CATEGORY_ID"), code, semantics)
    common: Json = {
        "account_id": reading.account_id,
        "raw_hash": raw_hash,
        "change_id": f"{CHANGES}{type_id}:{int(row['ID']):012d}",  # as text in the order of numbers
        "changed_at": at,
        "to_pipeline_id": pipeline,
        "to_stage_id": stage,
        "origin": "event",
    }
    if type_id in (LEAD, DEAL):
        yield DealStageTransition(**common, deal_id=owner)
    else:
        yield ProcessItemTransition(**common, item_id=owner)
