"""Small companies drawn from a seed, as canonical tables: what every metric must hold on, whatever happened."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from published import ALWAYS, SCHEMAS

Row = dict[str, Any]
Tables = dict[str, list[Row]]

BEGIN = datetime(2026, 1, 5, 6, tzinfo=UTC)
END = datetime(2026, 5, 1, tzinfo=UTC)
AS_OF = datetime(2026, 3, 31, 21, tzinfo=UTC)
"""Midnight in Moscow. What happens later is drawn too: `known_at` takes it away."""
RATE = 50
"""Roubles for a dollar, on any day."""

USERS = ("user:1", "user:2", "user:3", "user:4")
PLACES = [
    ("pipeline:1", "status:1", "open", 10, "Звонок"),
    ("pipeline:1", "status:2", "open", 20, "КП отправлено"),
    ("pipeline:1", "status:3", "open", 30, "Клиент думает"),
    ("pipeline:1", "status:142", "won", 10_000, "Успех"),
    ("pipeline:1", "status:143", "lost", 11_000, "Отказ"),
    ("pipeline:2", "status:9", "unsorted", 5, "Неразобранное"),
    ("pipeline:2", "status:4", "open", 10, "Квалификация"),
    ("pipeline:2", "status:5", "open", 20, "Встреча назначена"),
    ("pipeline:2", "status:142", "won", 10_000, "Успех"),
    ("pipeline:2", "status:143", "lost", 11_000, "Отказ"),
]
SORTED = [place[:2] for place in PLACES if place[2] != "unsorted"]
CONTACTS = [f"contact:{number}" for number in range(1, 6)]


@dataclass
class Draw:
    """What is drawn of one seed, and the instants it is drawn at."""

    rng: Random
    tables: Tables = field(default_factory=dict)

    def when(self, since: datetime = BEGIN) -> datetime:
        """Any second up to `END`; whole hours now and then, so that events meet."""
        at = since + timedelta(seconds=self.rng.randrange(max(int((END - since).total_seconds()), 1)))
        return (
            at.replace(minute=0, second=0) if self.rng.random() < 0.3 and at.replace(minute=0, second=0) > since else at
        )

    def maybe(self, values: Any, chance: float = 0.8) -> Any:
        return self.rng.choice(list(values)) if self.rng.random() < chance else None

    def gone(self, since: datetime, chance: float = 0.08) -> datetime | None:
        return self.when(since) if self.rng.random() < chance else None

    def add(self, table: str, row: Row) -> None:
        self.tables.setdefault(table, []).append(row)


def company(seed: int) -> Tables:
    """A company: two pipelines, four users (one has left, one is a robot), about a dozen deals and what befell."""
    draw = Draw(Random(seed))
    draw.tables |= {
        "user": [
            {"user_id": user, "name": user, "is_active": user != "user:3", "is_robot": user == "user:4"}
            for user in USERS
        ],
        "pipeline": [
            {"pipeline_id": f"pipeline:{n}", "name": f"Воронка {n}", "entity_kind": "deal", "sort": n} for n in (1, 2)
        ],
        "stage": [
            {"pipeline_id": pipeline, "stage_id": stage, "kind": kind, "sort": sort, "name": name}
            for pipeline, stage, kind, sort, name in PLACES
        ],
        "loss_reason": [
            {"loss_reason_id": f"loss_reason:{n}", "name": name} for n, name in enumerate(("Дорого", "Спам"))
        ],
        "source": [{"source_id": f"source:{n}", "name": f"Источник {n}"} for n in range(2)],
        "coverage": [{"resource": name, "complete_from": None, "watermark": ALWAYS} for name in SCHEMAS],
    }
    _cards(draw)
    for number in range(draw.rng.randint(1, 24)):
        _deal(draw, f"lead:{number + 1}")
    for number in range(draw.rng.randint(0, 30)):
        _call(draw, number)
    for number in range(draw.rng.randint(0, 12)):
        _message(draw, number)
        _task(draw, number)
    return draw.tables


def _cards(draw: Draw) -> None:
    draw.add("company", {"company_id": "company:1", "created_at": BEGIN, "responsible_user_id": "user:1"})
    for contact in CONTACTS:
        owner, firm = draw.rng.choice(USERS), draw.maybe(["company:1"], 0.3)
        row = {"contact_id": contact, "created_at": BEGIN, "responsible_user_id": owner, "company_id": firm}
        draw.add("contact", row | {"deleted_at": draw.gone(BEGIN)})
        draw.add("client_phone", {"entity_id": contact, "entity_kind": "contact", "phone_key": f"k{contact[-1]}"})
    if draw.rng.random() < 0.5:
        one, two = draw.rng.sample(CONTACTS, 2)
        draw.add("merge_link", {"kind": "contact", "from_id": one, "into_id": two, "merged_at": draw.when()})


def _deal(draw: Draw, deal_id: str) -> None:
    born = draw.when()
    place = draw.rng.choice([placed[:2] for placed in PLACES if placed[2] in ("open", "unsorted")])
    owner, amount = draw.maybe(USERS, 0.9), draw.maybe([0, 5_000, 10_000, 250_000], 0.9)
    client = draw.maybe(CONTACTS)
    now = born
    for step in range(draw.rng.randint(0, 5)):
        now = draw.when(now)
        target = draw.rng.choice(SORTED)
        ends = dict(
            zip(("from_pipeline_id", "from_stage_id", "to_pipeline_id", "to_stage_id"), (*place, *target), strict=True)
        )
        row = {"change_id": f"event:{deal_id}:{step}", "deal_id": deal_id, "changed_at": now, "origin": "event"}
        if target != place:
            draw.add("deal_stage_transition", row | ends | {"by_user_id": draw.maybe(USERS)})
            place = target
        if client and draw.rng.random() < 0.2:  # who is responsible for a client has no history
            new = draw.maybe(USERS, 0.9)
            draw.add("deal_owner_change", row | {"from_user_id": owner, "to_user_id": new})
            owner = new
        if draw.rng.random() < 0.2:
            cost = draw.maybe([5_000, 20_000], 0.9)
            draw.add("deal_amount_change", row | {"from_minor": amount, "to_minor": cost, "currency": "RUB"})
            amount = cost
    is_closed = place[1] in ("status:142", "status:143")
    row = {
        "deal_id": deal_id,
        "entity_kind": "deal",
        "pipeline_id": place[0],
        "stage_id": place[1],
        "responsible_user_id": owner,
        "created_by": draw.maybe(USERS, 0.5),
        "amount_minor": amount,
        "currency": "RUB",
        "main_contact_id": client,
        "source_id": draw.maybe(["source:0", "source:1"]),
        "loss_reason_id": draw.maybe(["loss_reason:0", "loss_reason:1"]) if place[1] == "status:143" else None,
        "created_at": born,
        "closed_at": now if is_closed else None,
        "deleted_at": draw.gone(now),
    }
    draw.add("deal", row)
    if client:
        draw.add("deal_contact", {"deal_id": deal_id, "contact_id": client, "is_main": True, "position": 0})
    if place[0] == "pipeline:2" and draw.rng.random() < 0.3:
        asked = {"request_id": f"request:{deal_id}", "category": "form", "received_at": born, "deal_id": deal_id}
        draw.add("request", asked)


def _call(draw: Draw, number: int) -> None:
    at, contact = draw.when(), draw.maybe(CONTACTS)
    is_in, is_answered = draw.rng.random() < 0.5, draw.rng.random() < 0.5
    missed = "missed" if is_in else "no_answer"
    row = {
        "call_id": f"note:{number}",
        "direction": "in" if is_in else "out",
        "subtype": "normal",
        "started_at": at,
        "talk_s": draw.rng.choice([3, 60, 400]) if is_answered else 0,
        "wait_s": draw.maybe([5, 40], 0.5),
        "status": "answered" if is_answered else missed,
        "user_id": draw.maybe(USERS, 0.9),
        "phone_key": f"k{contact[-1]}" if contact else draw.maybe(["k9"], 0.5),
        "phone_digits": 11,
        "contact_id": contact,
        "entity_kind": "contact" if contact else None,
        "entity_id": contact,
        "deal_id": draw.maybe([deal["deal_id"] for deal in draw.tables["deal"]], 0.3),
        "deleted_at": draw.gone(at),
    }
    draw.add("call", row)


def _message(draw: Draw, number: int) -> None:
    at, is_in = draw.when(), draw.rng.random() < 0.5
    row = {"message_id": f"message:{number}", "channel": "whatsapp", "sent_at": at, "contact_id": draw.maybe(CONTACTS)}
    author = "client" if is_in else draw.rng.choice(["user", "bot"])
    user = None if is_in else draw.maybe(USERS, 0.9)
    draw.add("message", row | {"direction": "in" if is_in else "out", "author": author, "user_id": user})


def _task(draw: Draw, number: int) -> None:
    at = draw.when()
    done = draw.when(at) if draw.rng.random() < 0.5 else None
    row = {
        "task_id": f"task:{number}",
        "kind": draw.rng.choice(["call", "meeting", "other"]),
        "entity_kind": "deal",
        "entity_id": draw.rng.choice(draw.tables["deal"])["deal_id"],
        "responsible_user_id": draw.maybe(USERS),
        "created_at": at,
        "due_at": draw.when(at),
        "completed_at": done,
        "is_completed": done is not None,
        "deleted_at": draw.gone(at),
    }
    draw.add("task", row)


# --- the same company otherwise told ---------------------------------------------------------------------------------

BORN = {
    "contact": "created_at",
    "company": "created_at",
    "deal": "created_at",
    "task": "created_at",
    "call": "started_at",
    "message": "sent_at",
    "request": "received_at",
    "merge_link": "merged_at",
    "deal_stage_transition": "changed_at",
    "deal_owner_change": "changed_at",
    "deal_amount_change": "changed_at",
}


def known_at(tables: Tables, as_of: datetime) -> Tables:
    """What a source would have told at `as_of`: nothing later, no deletion since, deals as they stood."""
    seen = {
        name: [dict(row) for row in rows if name not in BORN or row[BORN[name]] <= as_of]
        for name, rows in tables.items()
    }
    deals = {row["deal_id"] for row in seen.get("deal", [])}
    for name in ("deal_contact", "request", *(log for log in BORN if log.startswith("deal_"))):
        seen[name] = [row for row in seen.get(name, []) if row["deal_id"] in deals]
    for rows in seen.values():
        for row in rows:
            for instant in ("deleted_at", "completed_at"):
                if row.get(instant) is not None and row[instant] > as_of:
                    row[instant] = None
                    row.update({"is_completed": False} if instant == "completed_at" else {})
    return seen | {"deal": [_deal_then(row, tables, as_of) for row in seen.get("deal", [])]}


def _deal_then(deal: Row, tables: Tables, as_of: datetime) -> Row:
    """A deal with place, owner and amount before the first change after `as_of`."""
    was = {
        "deal_stage_transition": {"pipeline_id": "from_pipeline_id", "stage_id": "from_stage_id"},
        "deal_owner_change": {"responsible_user_id": "from_user_id"},
        "deal_amount_change": {"amount_minor": "from_minor"},
    }
    then = dict(deal)
    for log, columns in was.items():
        later = [row for row in tables.get(log, []) if row["deal_id"] == deal["deal_id"] and row["changed_at"] > as_of]
        if later:
            then |= {name: later[0][before] for name, before in columns.items()}
    entries = [
        row["changed_at"] for row in tables.get("deal_stage_transition", []) if row["deal_id"] == deal["deal_id"]
    ]
    if then["stage_id"] in ("status:142", "status:143"):
        then["closed_at"] = max(at for at in entries if at <= as_of)
    else:
        then |= {"closed_at": None, "loss_reason_id": None}
    return then


def shuffled(tables: Tables, seed: int) -> Tables:
    rng = Random(seed)
    return {name: rng.sample(rows, len(rows)) for name, rows in tables.items()}


def in_dollars(tables: Tables) -> Tables:
    """The same deals with their amounts in dollars, and the rate of every day."""
    days = range((END - BEGIN).days + 2)
    rates = [{"day": (BEGIN + timedelta(days=n)).date(), "currency": "USD", "rate_to_base": float(RATE)} for n in days]

    def told(row: Row, *names: str) -> Row:
        priced = {name: None if row[name] is None else row[name] // RATE for name in names}
        return row | priced | {"currency": "USD"}

    return tables | {
        "deal": [told(row, "amount_minor") for row in tables["deal"]],
        "deal_amount_change": [told(row, "from_minor", "to_minor") for row in tables.get("deal_amount_change", [])],
        "fx_rate": rates,
    }


OTHERWISE: Mapping[str, Callable[[Tables], Tables]] = {
    "whatever the order of rows": lambda tables: shuffled(tables, 1),
    "whatever happens or is deleted later": lambda tables: known_at(tables, AS_OF),
    "whatever the currency": in_dollars,
}
