"""BPI Challenge 2012 (loan applications) as a funnel: doi 10.4121/uuid:3926db30-f712-4394-aebc-75976070e91f."""

import gzip
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import iterparse

STAGES = {
    "A_PARTLYSUBMITTED": "open",
    "A_PREACCEPTED": "open",
    "A_ACCEPTED": "open",
    "A_FINALIZED": "open",
    "A_APPROVED": "won",
    "A_DECLINED": "lost",
    "A_CANCELLED": "lost",
}
AS_OF = datetime(2012, 3, 14, 15, 4, 54, 681_000, tzinfo=UTC)


def applications(path: Path) -> dict[str, Any]:
    """`deal`, `stage`, `deal_stage_transition` of the log: an application is a deal, A_* events its moves."""
    deals, moves = [], []
    with gzip.open(path) as log:
        for _, trace in iterparse(log):
            if not trace.tag.endswith("}trace") and trace.tag != "trace":
                continue
            deal, steps = _application(trace)
            deals.append(deal)
            moves += steps
            trace.clear()
    stage = [
        {"pipeline_id": "loan", "stage_id": name, "kind": kind, "sort": n, "name": name}
        for n, (name, kind) in enumerate(STAGES.items())
    ]
    return {"deal": deals, "deal_stage_transition": moves, "stage": stage}


def _application(trace: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    facts = _attributes(trace)
    events = [_attributes(event) for event in trace if event.tag.endswith("event")]
    passed = [(_instant(event["time:timestamp"]), event["concept:name"]) for event in events]
    created = next(at for at, name in passed if name == "A_SUBMITTED")
    steps = [(at, name) for at, name in passed if name in STAGES]
    number = facts["concept:name"]
    deal = {
        "deal_id": f"lead:{number}",
        "entity_kind": "deal",
        "pipeline_id": "loan",
        "stage_id": steps[-1][1],
        "amount_minor": int(facts["AMOUNT_REQ"]) * 100,
        "currency": "EUR",
        "created_at": created,
    }
    places = [None, *(name for _, name in steps)]
    moves = [
        {
            "change_id": f"{number}:{n:03}",
            "deal_id": f"lead:{number}",
            "changed_at": at,
            "from_pipeline_id": "loan" if places[n] else None,
            "from_stage_id": places[n],
            "to_pipeline_id": "loan",
            "to_stage_id": name,
            "origin": "event",
        }
        for n, (at, name) in enumerate(steps)
    ]
    return deal, moves


def _attributes(node: Any) -> dict[str, str]:
    return {child.get("key"): child.get("value") for child in node if child.get("key")}


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
