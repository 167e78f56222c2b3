"""A publication of a few dozen invented rows, written as the publication contract says: Parquet, manifest, pointer."""

import json
import random
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
from sqlalchemy import TIMESTAMP, Boolean, Date, Double, Table, Text

from metrics.marts import MARTS
from warehouse import models

MOSCOW = ZoneInfo("Europe/Moscow")
AS_OF = datetime(2026, 11, 22, tzinfo=MOSCOW).astimezone(UTC)
BASE_URL = "https://example.amocrm.ru"
NAMES = ("Анна Белова", "Борис Орлов", "Вера Соколова", "Глеб Титов", "Дарья Юсупова")
USERS = tuple(f"user:{number}" for number in range(1, len(NAMES) + 1))
STAGES = ("Новая заявка", "Квалификация", "Коммерческое предложение", "Договор и счёт")
FORMULA_NAME = '=HYPERLINK("http://evil.example","Ромашка")'
INTERNAL = {"synced_at", "raw_hash", "read_seq", "load_seq"}

Row = dict[str, Any]


def published(table: Table) -> dict[str, pl.DataType]:
    kinds: dict[type, pl.DataType] = {Text: pl.String(), Boolean: pl.Boolean(), Date: pl.Date(), Double: pl.Float64()}
    schema: dict[str, pl.DataType] = {}
    for column in table.columns:
        if column.name in INTERNAL or column.info.get("pii"):
            continue
        if isinstance(column.type, TIMESTAMP):
            schema[column.name] = pl.Datetime("us", "UTC")
            if column.name.endswith("_at") and column.name != "source_updated_at":
                schema |= {f"{column.name[:-3]}_local": pl.Datetime("us"), f"{column.name[:-3]}_epoch": pl.Int64()}
        else:
            schema[column.name] = kinds.get(type(column.type), pl.Int64())
    return schema


PII = {"deal_pii": "deal_id", "contact_pii": "contact_id", "company_pii": "company_id"}
DERIVED: dict[str, dict[str, pl.DataType]] = {
    "call": {"has_recording": pl.Boolean()},
    "deal": {"comment_letters": pl.Int64()},
}
SCHEMAS: dict[str, dict[str, pl.DataType]] = {
    **{
        name: published(table) | DERIVED.get(name, {})
        for name, table in models.metadata.tables.items()
        if name not in {"raw_record", "sync_state", "sync_run"}
    },
    **MARTS,
    **{name: {"account_id": pl.String(), key: pl.String(), "name": pl.String()} for name, key in PII.items()},
    **{
        name: {"account_id": pl.String(), key: pl.String(), "phone_e164": pl.String()}
        for name, key in (("client_phone_pii", "entity_id"), ("call_pii", "call_id"))
    },
}


def whole(table: str, rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """Every column of `table`: account `main`, wall times and seconds from the instants, flags false, else null."""
    schema = SCHEMAS[table]
    names = {name: None for row in rows for name in row}
    frame = pl.DataFrame([dict(row) for row in rows], schema={name: schema[name] for name in names})
    for name in [name for name in frame.columns if name.endswith("_at") and f"{name[:-3]}_epoch" in schema]:
        wall = pl.col(name).dt.convert_time_zone("Europe/Moscow").dt.replace_time_zone(None)
        frame = frame.with_columns(
            wall.alias(f"{name[:-3]}_local"), pl.col(name).dt.epoch("s").alias(f"{name[:-3]}_epoch")
        )
    missing = {
        name: pl.lit(_default(name, kind), dtype=kind) for name, kind in schema.items() if name not in frame.columns
    }
    return frame.with_columns(**missing).select(*schema)


def _default(name: str, kind: pl.DataType) -> Any:
    if name == "account_id":
        return "main"
    return name in {"is_active", "is_sales"} if kind == pl.Boolean() and name.startswith(("is_", "has_")) else None


def company(n_clients: int = 60, seed: int = 7) -> dict[str, list[Row]]:
    """Clients, deals with stays in stages, calls, touches and sales over a year and a half."""
    dice = random.Random(seed)
    tables: dict[str, list[Row]] = {name: [] for name in SCHEMAS}
    tables["account"] = [{"connector": "amocrm", "name": "Пример", "base_url": BASE_URL, "tz": "Europe/Moscow"}]
    tables["account"][0]["base_currency"] = "RUB"
    tables["user"] = [{"user_id": user, "name": name} for user, name in zip(USERS, NAMES, strict=True)]
    tables["department"] = [{"department_id": "department:1", "name": "Продажи", "head_user_id": USERS[0]}]
    tables["user_department"] = [
        {"user_id": user, "department_id": "department:1", "valid_from": AS_OF - timedelta(days=500)}
        for user in USERS[:3]
    ]
    tables["pipeline"] = [
        {"pipeline_id": "pipeline:1", "name": "Продажи", "entity_kind": "deal", "sort": 1},
        {"pipeline_id": "pipeline:2", "name": "Повторные", "entity_kind": "deal", "sort": 2},
    ]
    for pipeline in ("pipeline:1", "pipeline:2"):
        tables["stage"] += _stages(pipeline)
    for number in range(n_clients):
        _client(dice, tables, number)
    return tables


def _stages(pipeline: str) -> list[Row]:
    last = pipeline.split(":")[1]
    rows = [
        {"pipeline_id": pipeline, "stage_id": f"status:{last}{n}", "name": name, "sort": n * 10, "kind": "open"}
        for n, name in enumerate(STAGES, 1)
    ]
    won = {"pipeline_id": pipeline, "stage_id": "status:142", "name": "Успешно", "sort": 90, "kind": "won"}
    return [*rows, won, {**won, "stage_id": "status:143", "name": "Потеряно", "sort": 100, "kind": "lost"}]


def _client(dice: random.Random, tables: dict[str, list[Row]], number: int) -> None:
    client_id, user = f"contact:{number + 1}", USERS[number % len(USERS)]
    born = AS_OF - timedelta(days=dice.randint(90, 540), hours=dice.randint(1, 20))
    name = FORMULA_NAME if number == 0 else f"Клиент {number + 1}"
    tables["contact_pii"].append({"contact_id": client_id, "name": name})
    if number % 3:
        tables["client_phone_pii"].append({"entity_id": client_id, "phone_e164": f"+7999000{number:04}"})
    won_at = [
        _deal(dice, tables, number, part, client_id=client_id, user=user, born=born)
        for part in range(dice.randint(1, 4))
    ]
    wins = [one for one in won_at if one]
    tables["client"].append(
        {
            "client_id": client_id,
            "kind": "contact",
            "responsible_user_id": user,
            "created_at": born,
            "first_won_at": min(wins, default=None),
        }
    )
    tables["client_member"].append({"entity_id": client_id, "entity_kind": "contact", "client_id": client_id})
    _talk(dice, tables, number, client_id=client_id, user=user, born=born)


def _deal(
    dice: random.Random,
    tables: dict[str, list[Row]],
    number: int,
    part: int,
    *,
    client_id: str,
    user: str,
    born: datetime,
) -> datetime | None:
    """One deal walking up its stages; the instant of the win, if it was won."""
    deal_id, pipeline = f"lead:{100 * (number + 1) + part}", "pipeline:1" if part == 0 else "pipeline:2"
    created = born + timedelta(days=part * dice.randint(20, 80))
    if created > AS_OF - timedelta(days=2):
        return None
    line, amount = pipeline.split(":")[1], dice.randint(30, 400) * 100_000
    reached = dice.choices((1, 2, 3, 4, 5), (2, 3, 4, 1, 4))[0]
    moment, visits = created, []
    for stage in range(1, min(reached, 4) + 1):
        left = moment + timedelta(days=dice.randint(1, 14), hours=dice.randint(0, 20))
        visits.append((f"status:{line}{stage}", "open", stage * 10, moment, left))
        moment = left
    outcome = "won" if reached == 5 else "lost" if dice.random() < 0.75 else "open"
    if moment > AS_OF:
        outcome = "open"
    if outcome == "open":
        visits = [visit for visit in visits if visit[3] < AS_OF]
        visits[-1] = (*visits[-1][:4], None)
    else:
        final = ("status:142", "won", 90) if outcome == "won" else ("status:143", "lost", 100)
        visits.append((*final, moment, None))
    for n, (stage_id, kind, sort, entered, left) in enumerate(visits, 1):
        following = visits[n] if n < len(visits) else None
        tables["stage_interval"].append(
            {
                "deal_id": deal_id,
                "n": n,
                "pipeline_id": pipeline,
                "stage_id": stage_id,
                "stage_kind": kind,
                "stage_sort": sort,
                "entered_at": entered,
                "left_at": left,
                "next_pipeline_id": pipeline if following else None,
                "next_stage_id": following[0] if following else None,
                "next_kind": following[1] if following else None,
                "visit_no": 1,
                "owner_user_id": user,
            }
        )
    ended = None if outcome == "open" else moment
    shared = {"deal_id": deal_id, "pipeline_id": pipeline, "stage_id": visits[-1][0], "entity_kind": "deal"}
    shared |= {"responsible_user_id": user, "created_at": created, "amount_minor": amount}
    tables["deal"].append({**shared, "currency": "RUB", "main_contact_id": client_id, "closed_at": ended})
    tables["deal_state"].append(
        {**shared, "client_id": client_id, "outcome": outcome, "outcome_at": ended, "outcome_user_id": user}
        | {"entered_pipeline_at": created, "n_reopened": 0}
    )
    tables["deal_pii"].append({"deal_id": deal_id, "name": f"Сделка {deal_id[5:]}"})
    tables["client_member"].append({"entity_id": deal_id, "entity_kind": "lead", "client_id": client_id})
    if outcome != "won":
        return None
    tables["sale"].append(
        {
            "sale_id": f"sale:{deal_id}",
            "basis": "won_deal",
            "client_id": client_id,
            "deal_id": deal_id,
            "user_id": user,
            "sold_at": moment,
            "amount_minor": amount,
            "valid_from": moment,
        }
    )
    return moment


def _talk(
    dice: random.Random, tables: dict[str, list[Row]], number: int, *, client_id: str, user: str, born: datetime
) -> None:
    """Touches up to some day, and now and then a missed call with or without a callback."""
    silent_d = dice.choice((3, 20, 45, 75, 130, 220))
    talked = max(born, AS_OF - timedelta(days=silent_d, hours=5))
    touch = {"client_id": client_id, "user_id": user, "kind": "call", "direction": "out", "is_meaningful": True}
    tables["touch"].append({**touch, "touch_id": f"touch:{number}", "touched_at": talked, "weight": 1.0})
    if number % 2:
        return
    missed = AS_OF - timedelta(days=dice.randint(0, 55), hours=dice.randint(5, 12))
    called = {"client_id": client_id, "phone_key": f"key{number}", "phone_digits": 11, "card_kind": "contact"}
    called |= {"card_id": client_id, "responsible_user_id": user, "n_legs": 1, "n_dup_removed": 0}
    first = {"episode_id": f"e{number}", "direction": "in", "is_answered": False, "started_at": missed, "wait_s": 25}
    tables["call_episode"].append({**called, **first, "rung_user_id": user, "n_rung": 1})
    tables["call_pii"].append({"call_id": f"e{number}", "phone_e164": f"+7888000{number:04}"})
    back = dice.random()
    if back < 0.6:
        again = {"episode_id": f"e{number}b", "direction": "out", "is_answered": back < 0.4, "user_id": user}
        later = missed + timedelta(minutes=dice.randint(5, 90))
        tables["call_episode"].append({**called, **again, "started_at": later, "talk_s": 60 if back < 0.4 else 0})


def publish(
    data_dir: Path,
    tables: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
    *,
    generation: str = "20261121T210500-1",
    as_of: datetime = AS_OF,
    is_synced: bool = True,
    checks: Sequence[Mapping[str, Any]] = (),
) -> Path:
    """Writes a generation and moves the pointer; returns its folder."""
    folder = data_dir / "publication" / generation
    folder.mkdir(parents=True)
    filled = tables if tables is not None else company()
    listed = {}
    for name in SCHEMAS:
        frame = whole(name, filled.get(name, []))
        frame.write_parquet(folder / f"{name}.parquet")
        listed[name] = {"files": [{"name": f"{name}.parquet", "rows": frame.height}], "rows": frame.height}
    account = {"account_id": "main", "connector": "amocrm", "base_url": BASE_URL, "tz": "Europe/Moscow"}
    account |= {"base_currency": "RUB", "default_region": "RU", "calendar_id": "default", "is_stale": False}
    stamp = as_of.isoformat()
    since = (as_of - timedelta(days=540)).isoformat()
    coverage = [
        {"account_id": "main", "resource": name, "complete_from": since, "watermark": stamp}
        for name in SCHEMAS
        if name not in MARTS and not name.endswith("_pii") and is_synced
    ]
    manifest = {
        "generation": generation,
        "schema_version": "0001",
        "created_at": stamp,
        "as_of": stamp,
        "accounts": [{**account, "watermark": stamp, "as_of": stamp}],
        "coverage": coverage,
        "mart_params": {},
        "settings_version": 0,
        "tables": listed,
        "checks": list(checks),
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, ensure_ascii=False), "utf-8")
    (data_dir / "publication" / "current").write_text(generation, "utf-8")
    return folder
