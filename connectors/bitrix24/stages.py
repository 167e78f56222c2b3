"""Pipelines, stages and other directories: `crm.category.list` and `crm.status.list`.

https://apidocs.bitrix24.ru/api-reference/crm/status/index.html

A directory is a flat list of codes with an `ENTITY_ID` that says whose they are. Codes of stages repeat: leads and the
first pipeline of deals both have `NEW`, so a stage is known with its pipeline only.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from connectors.bitrix24.reading import (
    DEAL,
    INVOICE,
    KINDS,
    LEAD,
    SEMANTICS,
    Place,
    Reading,
    kind_of_stage,
    pipeline_id,
)
from connectors.bitrix24.values import code_of, text
from connectors.paging import Json, whole
from connectors.records import LossReason, Pipeline, Source, Stage, Yield

SOURCES = "SOURCE"
LEADS_PIPELINE = "Лиды"
"""Leads have no pipeline that would have a name; this is what the product calls them."""
STAGES = re.compile(
    r"(?P<kind>STATUS|DEAL_STAGE|SMART_INVOICE_STAGE|DYNAMIC_(?P<type>[0-9]+)_STAGE)(_(?P<category>[0-9]+))?"
)
TYPES = {"STATUS": LEAD, "DEAL_STAGE": DEAL, "SMART_INVOICE_STAGE": INVOICE}
PLAIN_FAILURES = ("LOSE", "JUNK", "FAIL", "D")
"""Codes of the failure stages that every pipeline has from the start: they say that it failed, not why."""


class Directory(NamedTuple):
    """The stages of which pipeline a directory holds."""

    type_id: int
    category: int


def directory(entity_id: Any) -> Directory | None:
    found = STAGES.fullmatch(str(entity_id))
    if found is None:
        return None
    type_id = int(found["type"]) if found["type"] else TYPES[found["kind"]]
    return Directory(type_id, int(found["category"] or 0))


def category_records(category: Json, reading: Reading, raw_hash: str, *, type_id: int) -> Iterator[Yield]:
    """A pipeline of an entity type. What is not a lead or a deal is no sale: its kind is unknown to us."""
    kind: Any = KINDS[type_id] if type_id == DEAL else "unknown"
    yield Pipeline(
        account_id=reading.account_id,
        raw_hash=raw_hash,
        pipeline_id=pipeline_id(type_id, category["id"]),
        name=text(category.get("name")) or f"#{category['id']}",
        entity_kind=kind,
        sort=whole(category.get("sort")) or 0,
    )


def kinds(statuses: Iterable[Json]) -> dict[Place, str]:
    """What each stage means, by the ids of its pipeline and of itself."""
    return {
        (pipeline_id(*found), f"stage:{status.get('STATUS_ID')}"): kind_of_stage(status.get("SEMANTICS"))
        for status in statuses
        if (found := directory(status.get("ENTITY_ID")))
    }


def leads_pipeline(reading: Reading) -> Pipeline:
    """What stands for the pipeline that leads do not have."""
    return Pipeline(
        account_id=reading.account_id,
        pipeline_id=pipeline_id(LEAD, 0),
        name=LEADS_PIPELINE,
        entity_kind="lead",
        sort=0,
    )


def status_records(status: Json, reading: Reading, raw_hash: str) -> Iterator[Yield]:
    """An entry of a directory: a stage, with the reason for a loss that a failure stage is; or a source."""
    code, name = code_of(status["STATUS_ID"]), text(status.get("NAME")) or text(status.get("NAME_INIT"))
    if status.get("ENTITY_ID") == SOURCES:
        yield Source(
            account_id=reading.account_id, raw_hash=raw_hash, source_id=f"source:{code}", name=name or f"#{code}"
        )
        return
    found = directory(status.get("ENTITY_ID"))
    if found is None:
        return
    sort = whole(status.get("SORT")) or 0
    yield Stage(
        account_id=reading.account_id,
        raw_hash=raw_hash,
        pipeline_id=pipeline_id(*found),
        stage_id=f"stage:{code}",
        name=name or f"#{code}",
        sort=sort,
        kind=kind_of_stage(status.get("SEMANTICS")),
        color=text(status.get("COLOR")),
    )
    if SEMANTICS.get(str(status.get("SEMANTICS"))) == "lost" and found.type_id in (LEAD, DEAL):
        yield LossReason(
            account_id=reading.account_id,
            raw_hash=raw_hash,
            loss_reason_id=stage_reason(code),
            name=name or f"#{code}",
            sort=sort,
        )


def stage_reason(code: Any) -> str:
    """The failure stage as the reason."""
    return f"loss:stage:{code}"


def field_reason(field: str, enum_id: Any) -> str:
    """An option of a list field as the reason."""
    return f"loss:field:{field}:{enum_id}"


def text_reason(field: str, said: str) -> str:
    """What somebody wrote as the reason: however it is spaced, in capitals or not, it is the same one."""
    digest = hashlib.blake2b(" ".join(said.casefold().split()).encode(), digest_size=8).hexdigest()
    return f"loss:field:{field}:text:{digest}"


def is_plain_failure(code: Any) -> bool:
    return str(code).rpartition(":")[2] in PLAIN_FAILURES
