"""The demo company as canonical tables, without a server and a sync in between: what marts and metrics get of it."""

from datetime import UTC, datetime
from typing import Any

import polars as pl
from published import ALWAYS, SCHEMAS, canonical, whole

from demo.counts import phone_key
from demo.model import COMPANY, CONTACT, LEAD, Company
from demo.notes import LETTERS, is_from_us

KINDS = {LEAD: "lead", CONTACT: "contact", COMPANY: "company"}


def demo_tables(company: Company) -> dict[str, pl.LazyFrame]:
    """Every canonical table of the company, published columns."""
    begins = datetime.fromtimestamp(company.started_at, UTC)
    tables: dict[str, Any] = {
        "account": [{"account_id": "main", "connector": "amocrm", "tz": company.tz, "base_currency": "RUB"}],
        "coverage": [
            {"resource": name, "complete_from": begins, "watermark": ALWAYS} for name in SCHEMAS if name != "coverage"
        ],
        "user": [
            {"user_id": f"user:{user.id}", "name": user.name, "is_active": not user.left_at} for user in company.users
        ],
        "pipeline": [
            {"pipeline_id": f"pipeline:{one.id}", "name": one.name, "entity_kind": "deal", "sort": one.sort}
            for one in company.pipelines
        ],
        "stage": [
            {
                "pipeline_id": f"pipeline:{stage.pipeline_id}",
                "stage_id": f"status:{stage.id}",
                "name": stage.name,
                "sort": stage.sort,
                "kind": stage.kind,
            }
            for pipeline in company.pipelines
            for stage in pipeline.stages
        ],
        "loss_reason": [{"loss_reason_id": f"loss_reason:{r.id}", "name": r.name} for r in company.loss_reasons],
        **_cards(company),
        **_logs(company),
        "call": _calls(company),
        "message": _messages(company),
        "task": _tasks(company),
    }
    return canonical(tables, company.tz)


def _instant(second: int) -> datetime | None:
    return datetime.fromtimestamp(second, UTC) if second else None


def _cards(company: Company) -> dict[str, Any]:
    deals, contacts, firms = company.deals, company.contacts, company.firms
    phones = {
        (f"{kind}:{card.id}", phone_key(phone)): f"{kind}:{card.id}"
        for kind, cards in (("contact", contacts), ("company", firms))
        for card in cards
        for phone in card.phones
    }
    return {
        "deal": [
            {
                "deal_id": f"lead:{deal.id}",
                "entity_kind": "deal",
                "pipeline_id": f"pipeline:{deal.pipeline_id}",
                "stage_id": f"status:{deal.stage_id}",
                "responsible_user_id": f"user:{deal.user_id}",
                "amount_minor": None if deal.price is None else deal.price * 100,
                "currency": "RUB",
                "company_id": f"company:{deal.company_id}" if deal.company_id else None,
                "main_contact_id": f"contact:{deal.main_contact_id}" if deal.main_contact_id else None,
                "source_id": f"source:{deal.source_id}" if deal.source_id else None,
                "loss_reason_id": f"loss_reason:{deal.loss_reason_id}" if deal.loss_reason_id else None,
                "created_at": _instant(deal.created_at),
                "closed_at": _instant(deal.closed_at),
                "deleted_at": _instant(deal.deleted_at),
            }
            for deal in deals
        ],
        "deal_contact": [
            {
                "deal_id": f"lead:{deal.id}",
                "contact_id": f"contact:{number}",
                "is_main": number == deal.main_contact_id,
                "position": position,
            }
            for deal in deals
            for position, number in enumerate(deal.contact_ids)
        ],
        "contact": [
            {
                "contact_id": f"contact:{card.id}",
                "company_id": f"company:{card.company_id}" if card.company_id else None,
                "responsible_user_id": f"user:{card.user_id}",
                "created_at": _instant(card.created_at),
                "deleted_at": _instant(card.deleted_at),
            }
            for card in contacts
        ],
        "company": [
            {
                "company_id": f"company:{card.id}",
                "responsible_user_id": f"user:{card.user_id}",
                "created_at": _instant(card.created_at),
                "deleted_at": _instant(card.deleted_at),
            }
            for card in firms
        ],
        "client_phone": [{"entity_id": entity_id, "phone_key": key} for (entity_id, key) in phones],
        "merge_link": [
            {
                "kind": KINDS[link.entity_kind],
                "from_id": f"{KINDS[link.entity_kind]}:{link.from_id}",
                "into_id": f"{KINDS[link.entity_kind]}:{link.into_id}",
                "merged_at": _instant(link.at),
            }
            for link in company.merges
        ],
    }


def _frame(columns: Any, names: tuple[str, ...]) -> pl.DataFrame:
    return pl.DataFrame({name: pl.Series(name, columns.column(name), dtype=pl.Int64) for name in names})


def _id(kind: str, name: str) -> pl.Expr:
    return pl.when(pl.col(name) != 0).then(pl.format(f"{kind}:{{}}", name))


def _at(name: str) -> pl.Expr:
    return pl.from_epoch(name, "s").cast(pl.Datetime("us")).dt.replace_time_zone("UTC")


def _logs(company: Company) -> dict[str, pl.DataFrame]:
    places = ("from_pipeline_id", "from_stage_id", "to_pipeline_id", "to_stage_id")
    moves = _frame(company.moves, ("deal_id", "at", *places, "is_logged")).with_row_index("no")
    change = ("entity_kind", "entity_id", "at", "before", "after")
    owners = _frame(company.owner_changes, change).with_row_index("no").filter(pl.col("entity_kind") == LEAD)
    prices = _frame(company.price_changes, change).with_row_index("no").filter(pl.col("entity_kind") == LEAD)

    def amount(name: str) -> pl.Expr:
        return pl.when(pl.col(name) >= 0).then(pl.col(name) * 100)

    return {
        "deal_stage_transition": moves.filter(pl.col("is_logged") == 1).select(
            change_id=pl.format("event:{}", pl.col("no").cast(pl.String).str.zfill(9)),
            deal_id=_id("lead", "deal_id"),
            changed_at=_at("at"),
            **{name: _id("pipeline" if "pipeline" in name else "status", name) for name in places},
            origin=pl.lit("event"),
        ),
        "deal_owner_change": owners.select(
            change_id=pl.format("event:o{}", "no"),
            deal_id=_id("lead", "entity_id"),
            changed_at=_at("at"),
            from_user_id=_id("user", "before"),
            to_user_id=_id("user", "after"),
            origin=pl.lit("event"),
        ),
        "deal_amount_change": prices.select(
            change_id=pl.format("event:p{}", "no"),
            deal_id=_id("lead", "entity_id"),
            changed_at=_at("at"),
            from_minor=amount("before"),
            to_minor=amount("after"),
            currency=pl.lit("RUB"),
            origin=pl.lit("event"),
        ),
    }


def _messages(company: Company) -> list[dict[str, Any]]:
    """Chats, sms and mail."""
    talks = {talk.id: talk for talk in company.talks}
    said = [
        (f"message:{number}", message.at, message.is_in, message.user_id, CONTACT, talks[message.talk_id].contact_id)
        for number, message in enumerate(company.messages)
    ]
    said += [
        (f"note:{note.id}", note.created_at, not is_from_us(note), note.created_by, note.entity_kind, note.entity_id)
        for note in company.notes
        if note.note_type in LETTERS
    ]
    return [
        {
            "message_id": message_id,
            "channel": "unknown",
            "direction": "in" if is_in else "out",
            "author": "client" if is_in else "user" if by else "bot",
            "sent_at": _instant(at),
            "user_id": None if is_in else f"user:{by}",
            {CONTACT: "contact_id", COMPANY: "company_id", LEAD: "deal_id"}[kind]: f"{KINDS[kind]}:{number}",
        }
        for message_id, at, is_in, by, kind, number in said
    ]


def _tasks(company: Company) -> list[dict[str, Any]]:
    to_meet = {kind.id for kind in company.task_types if kind.code == "MEETING"}
    return [
        {
            "task_id": f"task:{task.id}",
            "kind": "meeting" if task.type_id in to_meet else "other",
            "entity_kind": {LEAD: "deal"}.get(task.entity_kind, KINDS.get(task.entity_kind)),
            "entity_id": f"{KINDS[task.entity_kind]}:{task.entity_id}" if task.entity_kind else None,
            "responsible_user_id": f"user:{task.user_id}",
            "created_at": _instant(task.created_at),
            "due_at": _instant(task.due_at),
            "is_completed": bool(task.completed_at),
            "completed_at": _instant(task.completed_at),
            "deleted_at": _instant(task.deleted_at),
        }
        for task in company.tasks
    ]


def _calls(company: Company) -> pl.DataFrame:
    names = ("id", "entity_kind", "entity_id", "created_at", "created_by", "responsible_id", "call_responsible_id")
    notes = _frame(company.calls, (*names, "is_in", "duration", "status", "phone", "uniq", "provider"))
    kind = pl.col("entity_kind").replace_strict(KINDS, return_dtype=pl.String)
    card = pl.concat_str(kind, pl.lit(":"), "entity_id")
    talk = pl.when(pl.col("duration") >= 0).then("duration")
    is_in = pl.col("is_in") == 1
    missed = pl.when(is_in).then(pl.lit("missed")).otherwise(pl.lit("no_answer"))
    said = pl.col("status").replace_strict({1: "voicemail", 5: "wrong_number", 7: "busy"}, default=None)
    heard = pl.when(talk.is_null() & (pl.col("status") != 4)).then(missed).otherwise(pl.lit("answered"))
    status = pl.when((talk == 0) | (pl.col("status") == 6)).then(missed).otherwise(pl.coalesce(said, heard))
    told = ("call_responsible_id", "created_by", "responsible_id")
    user = pl.coalesce(pl.when(pl.col(name) > 0).then(name) for name in told)
    digits = pl.col("phone").cast(pl.String).str.len_chars().cast(pl.Int64)
    rows = notes.select(
        call_id=pl.format("note:{}", "id"),
        external_uniq=pl.when(pl.col("uniq") > 0).then(pl.format("u{}", "uniq")),
        direction=pl.when(is_in).then(pl.lit("in")).otherwise(pl.lit("out")),
        subtype=pl.lit("normal"),
        started_at=_at("created_at"),
        talk_s=talk,
        status=status,
        user_id=pl.format("user:{}", user),
        phone_key=pl.when(pl.col("phone") >= 10**9).then(pl.col("phone").cast(pl.String)),
        phone_digits=pl.when(pl.col("phone") > 0).then(digits).otherwise(0),
        entity_kind=kind,
        entity_id=card,
        contact_id=pl.when(kind == "contact").then(card),
        company_id=pl.when(kind == "company").then(card),
        deal_id=pl.when(kind == "lead").then(card),
        provider=pl.col("provider").cast(pl.String),
        has_recording=pl.col("duration") > 0,
    )
    return whole("call", rows, company.tz)
