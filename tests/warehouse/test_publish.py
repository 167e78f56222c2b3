"""Generations: what is in them, what readers may see, what a publish that dies leaves."""

import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest
from sqlalchemy import Engine
from warehouse_words import NOON, contacts, deal, load, stage, tags, task, user

from connectors.records import (
    Account,
    Call,
    Company,
    Contact,
    Deal,
    DealStageTransition,
    FieldDef,
    FieldValue,
    OwnedSet,
    Tombstone,
)
from warehouse import publish, state
from warehouse.checks import check
from warehouse.database import WAREHOUSE, WarehouseError, open_warehouse
from warehouse.models import CANONICAL
from warehouse.publish import Draft, Local


def wall(*parts: int) -> datetime:
    """A wall time, without a zone."""
    return datetime(*parts)  # noqa: DTZ001


NIGHT = datetime(2026, 3, 10, 3, 0, 0, 5, tzinfo=UTC)
MARCH, FEBRUARY = NOON, NOON - timedelta(days=20)
SECRETS = ("Ivan", "79161234567", "9161234567", "ivan@example.org", "https://pbx.example/1.mp3", "too expensive")


def account(account_id: str = "main", **fields: Any) -> Account:
    known = {
        "account_id": account_id, "connector": "amocrm", "name": "Fake", "base_url": "https://fake.example",
        "external_id": "1", "tz": "Europe/Moscow", "base_currency": "RUB", "default_region": "RU",
    }  # fmt: skip
    return Account(**(known | fields))


def call(number: int, at: datetime, **fields: Any) -> Call:
    known = {
        "account_id": "main", "call_id": f"note:{number}", "direction": "in", "subtype": "normal", "status": "missed",
        "started_at": at, "raw_hash": str(sorted(fields.items())),
    }  # fmt: skip
    return Call(**(known | fields))


def move(number: int, to: str, at: datetime, *, origin: str | None = None, lead: int = 1) -> DealStageTransition:
    return DealStageTransition(
        account_id="main", change_id=f"event:{number}", deal_id=f"lead:{lead}", changed_at=at, origin="event",
        from_pipeline_id="pipeline:1", from_stage_id=origin, to_pipeline_id="pipeline:1", to_stage_id=to,
    )  # fmt: skip


@pytest.fixture
def publication(tmp_path: Path) -> Path:
    return tmp_path / "data" / "publication"


def read(engine: Engine, account_id: str = "main", **core: datetime | None) -> None:
    """The account was opened; its core resources (deals, unless named) were read up to these instants, or never."""
    reached = core or {"deals": NIGHT}
    resources = [state.Filled(name, (), is_core=True) for name in reached]
    with engine.begin() as connection:
        state.know_resources(connection, account_id, target=account_id, resources=resources)
        done = [state.ReadWhole(account_id, name, to, NOON) for name, to in reached.items() if to is not None]
        state.read_whole(connection, done)


@pytest.fixture
def filled(engine: Engine) -> Engine:
    read(engine)
    secret = {"name": "Ivan", "loss_comment": "Ivan: too expensive!"}
    recorded = {"phone_e164": "+79161234567", "phone_raw": "8 9161234567", "recording_url": "https://pbx.example/1.mp3"}
    load(
        engine,
        (1, account()),
        (1, user(1, email="ivan@example.org")),
        (1, stage()),
        (1, deal(1, **secret)),
        (1, tags(1, "vip")),
        (1, task(1, text="call Ivan", result="Ivan")),
        (1, call(1, FEBRUARY, **recorded)),
        (1, call(2, MARCH)),
    )
    return engine


def make(engine: Engine, publication: Path, now: datetime = NIGHT, **options: Any) -> dict[str, Any]:
    draft = publish.begin(publication, now=now, full=options.pop("full", False))
    publish.export(engine, draft, local=options.get("local"))
    for name, frame in options.get("marts", {}).items():
        publish.write(draft, name, frame)
    return publish.seal(draft, publish.describe(engine, now=now, local=options.get("local")))


@contextmanager
def opened(data_dir: Path) -> Iterator[Engine]:
    engine = open_warehouse(data_dir)
    yield engine
    engine.dispose()


def current(publication: Path) -> Path:
    return publication / (publication / "current").read_text()


def table(publication: Path, name: str) -> pl.DataFrame:
    manifest = publish.read_manifest(publication) or {}
    return pl.concat([pl.read_parquet(current(publication) / f["name"]) for f in manifest["tables"][name]["files"]])


def everything(publication: Path) -> dict[str, list[tuple[Any, ...]]]:
    manifest = publish.read_manifest(publication) or {}
    return {name: sorted(map(str, table(publication, name).rows())) for name in manifest["tables"]}


def test_personal_data_is_in_the_files_that_say_so_and_nowhere_else(filled: Engine, publication: Path):
    manifest = make(filled, publication)
    for name in manifest["tables"]:
        text = str(table(publication, name).rows())
        found = [secret for secret in SECRETS if secret in text]
        assert not found or name.endswith("_pii"), f"{name} shows {found}"
    assert table(publication, "deal_pii").columns == ["account_id", "deal_id", "name", "loss_comment"]
    assert table(publication, "call_pii")["phone_e164"].to_list() == ["+79161234567", None]


def test_what_may_be_known_of_texts_is_published(filled: Engine, publication: Path):
    make(filled, publication)
    assert table(publication, "deal")["comment_letters"].to_list() == [16]
    assert table(publication, "task").select("text_len", "result_len").rows() == [(9, 4)]
    assert table(publication, "call")["has_recording"].to_list() == [True, False]


def test_a_field_without_any_value_is_empty(engine: Engine, publication: Path):
    values = [
        FieldValue(
            account_id="main", entity_id="lead:1", field_id=f"field:{n}", position=0, entity_kind="deal", **value
        )
        for n, value in enumerate(({"value_text": "  "}, {"value_num": 0.0}, {"enum_id": "5"}, {}))
    ]
    load(engine, (1, account()), (1, deal(1)), (1, OwnedSet(FieldValue, "main", "lead:1", Deal, values)))
    read(engine)
    make(engine, publication)
    assert table(publication, "field_value").sort("field_id")["is_empty"].to_list() == [True, False, False, True]


@pytest.mark.parametrize(
    ("field", "is_open"),
    [
        (("deal", "number", "Площадь, м²"), True),
        (("deal", "number", "Длинна рулона, инновации"), True),
        (("deal", "number", "VAT, %", "UF_CRM_TAX"), True),
        (("deal", "date", "Дата монтажа"), True),
        (("company", "bool", "ИНН проверен"), True),
        (("contact", "number", "Размер обуви"), True),
        (("deal", "birthday", "Праздник"), False),
        (("contact", "date", "Праздник"), False),
        (("deal", "date", "День рождения"), False),
        (("company", "number", "ИНН"), False),
        (("company", "number", "Реквизиты (ОГРН)"), False),
        (("company", "number", "Налоговый номер", "UF_CRM_INN"), False),
        (("contact", "number", "Номер паспорта"), False),
        (("contact", "number", "СНИЛС"), False),
        (("company", "number", "VAT id"), False),
        (("contact", "number", "Второй телефон"), False),
        (None, False),
    ],
)
def test_numbers_and_dates_about_a_person_are_published_apart(
    engine: Engine, publication: Path, field: tuple[str, ...] | None, is_open: bool
):
    known = {"account_id": "main", "field_id": "field:1"}
    value = FieldValue(
        **known, entity_id="lead:1", position=0, entity_kind="deal", value_num=7700000001.0, value_date=NOON.date(),
        value_ts=NOON,
    )  # fmt: skip
    load(engine, (1, account()), (1, deal(1)), (1, OwnedSet(FieldValue, "main", "lead:1", Deal, [value])))
    if field is not None:
        said = dict(zip(("entity_kind", "type", "name", "code"), field, strict=False))
        load(engine, (1, FieldDef.model_validate(known | said)))
    read(engine)
    make(engine, publication)
    values = (7700000001.0, NOON, NOON.date())
    names = ("value_num", "value_ts", "value_date")
    assert table(publication, "field_value").select(names).row(0) == (values if is_open else (None, None, None))
    assert table(publication, "field_value")["is_empty"].to_list() == [False]
    assert table(publication, "field_value_pii").select(names).row(0) == values


def test_an_instant_comes_three_ways_in_the_accounts_time(filled: Engine, publication: Path):
    make(filled, publication)
    first = table(publication, "deal").select("created_at", "created_local", "created_epoch").row(0)
    assert first == (NOON, wall(2026, 3, 2, 15), int(NOON.timestamp()))


def test_the_configs_zone_wins_over_the_sources(filled: Engine, publication: Path):
    manifest = make(filled, publication, local={"main": Local(tz="Asia/Omsk", calendar_id="main")})
    assert table(publication, "deal")["created_local"].to_list() == [wall(2026, 3, 2, 18)]
    assert table(publication, "account").select("tz", "calendar_id", "base_currency").row(0) == (
        "Asia/Omsk",
        "main",
        "RUB",
    )
    assert [(a["tz"], a["calendar_id"]) for a in manifest["accounts"]] == [("Asia/Omsk", "main")]


def test_what_the_loader_keeps_for_itself_is_not_published(filled: Engine, publication: Path):
    manifest = make(filled, publication)
    kept = {"raw_hash", "read_seq", "load_seq", "synced_at"}
    assert [name for name in manifest["tables"] if kept & set(table(publication, name).columns)] == []


def test_every_table_is_there_even_without_rows_and_the_manifest_counts_them(filled: Engine, publication: Path):
    manifest = make(filled, publication)
    assert {t.name for t in CANONICAL} <= set(manifest["tables"])
    for name, entry in manifest["tables"].items():
        assert table(publication, name).height == entry["rows"] == sum(file["rows"] for file in entry["files"])
    assert {file["name"] for entry in manifest["tables"].values() for file in entry["files"]} | {
        "manifest.json"
    } == set(os.listdir(current(publication)))


def test_types_are_those_every_engine_reads(filled: Engine, publication: Path):
    manifest = make(filled, publication)
    allowed = {pl.String, pl.Int64, pl.Float64, pl.Boolean, pl.Date, pl.Datetime("us", "UTC"), pl.Datetime("us")}
    used = {t for name in manifest["tables"] for t in table(publication, name).dtypes}
    assert used <= allowed


def test_files_are_read_only_and_folders_their_owners(filled: Engine, publication: Path):
    make(filled, publication)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in current(publication).iterdir()}
    assert modes == {0o400}
    assert stat.S_IMODE(publication.stat().st_mode) == stat.S_IMODE(current(publication).stat().st_mode) == 0o700


def test_a_month_in_which_nothing_changed_is_linked_and_a_changed_one_written(filled: Engine, publication: Path):
    make(filled, publication)
    before = current(publication)
    load(filled, (2, call(3, MARCH)), load_seq=2)
    make(filled, publication, NIGHT + timedelta(days=1))
    same = {
        name: (before / name).stat().st_ino == (current(publication) / name).stat().st_ino
        for name in ("call.2026-02.parquet", "call.2026-03.parquet", "call_pii.2026-02.parquet")
    }
    assert same == {"call.2026-02.parquet": True, "call.2026-03.parquet": False, "call_pii.2026-02.parquet": True}


def test_an_edit_of_an_old_row_rewrites_its_month(filled: Engine, publication: Path):
    make(filled, publication)
    load(filled, (2, call(1, FEBRUARY, talk_s=60)), load_seq=2)
    make(filled, publication, NIGHT + timedelta(days=1))
    assert table(publication, "call").sort("started_at")["talk_s"].to_list() == [60, None]


def test_a_row_that_left_its_month_leaves_the_file_too(filled: Engine, publication: Path):
    make(filled, publication)
    load(filled, (2, call(1, MARCH)), load_seq=2)
    manifest = make(filled, publication, NIGHT + timedelta(days=1))
    assert [file["name"] for file in manifest["tables"]["call"]["files"]] == ["call.2026-03.parquet"]


def test_a_new_warehouse_takes_nothing_over_from_the_publication_of_a_former_one(publication: Path):
    for user_id in ("user:1", "user:2"):
        with opened(publication.parent) as fresh:
            load(fresh, (1, account()), (1, call(1, FEBRUARY, user_id=user_id)))
            read(fresh)
            make(fresh, publication, NIGHT)
        (publication.parent / WAREHOUSE).unlink()
        assert table(publication, "call")["user_id"].to_list() == [user_id]


def test_each_warehouse_has_an_id_of_its_own_and_keeps_it(tmp_path: Path):
    ids = []
    for folder in ("a", "b", "a"):
        with opened(tmp_path / folder) as one:
            load(one, (1, account()))
            read(one)
            ids.append(publish.describe(one, now=NIGHT)["warehouse_id"])
    assert ids[0] == ids[2] != ids[1]


def test_a_restored_backup_takes_nothing_over_from_what_was_published_after_it(tmp_path: Path, publication: Path):
    file, backup = publication.parent / WAREHOUSE, tmp_path / "backup.duckdb"
    with opened(publication.parent) as before:
        load(before, (1, account()), (1, call(1, FEBRUARY)))
        read(before)
        make(before, publication, NIGHT)
    shutil.copyfile(file, backup)
    with opened(publication.parent) as lost:
        load(lost, (2, call(1, FEBRUARY, user_id="user:1")), load_seq=2)
        make(lost, publication, NIGHT + timedelta(days=1))
    shutil.copyfile(backup, file)
    with opened(publication.parent) as restored:
        load(restored, (2, call(1, FEBRUARY, user_id="user:2")), load_seq=2)
        make(restored, publication, NIGHT + timedelta(days=2))
    assert table(publication, "call")["user_id"].to_list() == ["user:2"]


def test_another_time_zone_rewrites_every_month(filled: Engine, publication: Path):
    make(filled, publication)
    make(filled, publication, NIGHT + timedelta(days=1), local={"main": Local(tz="Asia/Omsk")})
    assert table(publication, "call")["started_local"].max() == wall(2026, 3, 2, 18)


def touches(*names: str) -> pl.DataFrame:
    return pl.DataFrame({"account_id": "main", "touch_id": names})


def taken(publication: Path, engine: Engine, stamp: str) -> bool:
    """Whether a part of a mart with this stamp is taken over by the next generation, or written."""
    draft = publish.begin(publication, now=NIGHT + timedelta(days=1))
    publish.export(engine, draft)
    found = publish.before(draft, "touch", stamp) is not None
    assert publish.take(draft, "touch", stamp, part="2026-02") is found
    if not found:
        publish.write(draft, "touch", touches("new"), part="2026-02", stamp=stamp)
    publish.seal(draft, publish.describe(engine, now=NIGHT))
    return found


@pytest.fixture
def parted(filled: Engine, publication: Path) -> Engine:
    """Published with a mart of two parts, of which the second has a stamp."""
    draft = publish.begin(publication, now=NIGHT)
    publish.export(filled, draft)
    for name, stamp in (("old", None), ("stamped", "s")):
        publish.write(draft, "touch", touches(name), part="2026-02", stamp=stamp)
    publish.seal(draft, publish.describe(filled, now=NIGHT))
    return filled


def test_parts_of_a_mart_are_files_even_if_people_call_them_the_same(parted: Engine, publication: Path):
    files = (publish.read_manifest(publication) or {})["tables"]["touch"]["files"]
    assert [file["name"] for file in files] == ["touch.2026-02.parquet", "touch.2026-02.2.parquet"]
    assert table(publication, "touch")["touch_id"].to_list() == ["old", "stamped"]


def test_a_part_of_a_mart_is_linked_by_its_stamp_whatever_its_name_was(parted: Engine, publication: Path):
    before = current(publication) / "touch.2026-02.2.parquet"
    assert taken(publication, parted, "s")
    assert (current(publication) / "touch.2026-02.parquet").stat().st_ino == before.stat().st_ino
    assert table(publication, "touch")["touch_id"].to_list() == ["stamped"]


def test_a_part_of_another_stamp_is_written(parted: Engine, publication: Path):
    assert not taken(publication, parted, "other")
    assert table(publication, "touch")["touch_id"].to_list() == ["new"]


def test_a_part_is_written_when_files_are_to_be_of_another_format(
    parted: Engine, publication: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(publish, "FORMAT", publish.FORMAT + 1)
    assert not taken(publication, parted, "s")


def test_a_part_whose_file_is_gone_is_written(parted: Engine, publication: Path):
    (current(publication) / "touch.2026-02.2.parquet").unlink()
    assert not taken(publication, parted, "s")


def test_an_incremental_publish_equals_a_full_one(filled: Engine, publication: Path):
    make(filled, publication)
    load(filled, (2, call(3, MARCH)), (2, call(1, FEBRUARY, talk_s=7)), (2, deal(1)), (2, tags(1)), load_seq=2)
    make(filled, publication, NIGHT + timedelta(days=1))
    incremental = everything(publication)
    make(filled, publication, NIGHT + timedelta(days=2), full=True)
    assert everything(publication) == incremental


def test_a_month_has_all_its_instants_and_none_of_its_neighbours(filled: Engine, publication: Path):
    edges = [datetime(2026, month, 1, tzinfo=UTC) - timedelta(microseconds=off) for month in (2, 3) for off in (0, 1)]
    load(filled, *((2, call(10 + n, at)) for n, at in enumerate(edges)), load_seq=2)
    make(filled, publication)
    manifest = make(filled, publication, NIGHT + timedelta(days=1))
    files = manifest["tables"]["call"]["files"]
    assert [(file["name"], file["rows"]) for file in files] == [
        ("call.2026-01.parquet", 1), ("call.2026-02.parquet", 3), ("call.2026-03.parquet", 2)
    ]  # fmt: skip


def test_once_a_week_everything_is_written_anew(filled: Engine, publication: Path):
    """Should a stamp ever have missed a change, it does not last."""
    nights = []
    for day in range(8):
        manifest = make(filled, publication, NIGHT + timedelta(days=day))
        nights.append((manifest["full_at"] == manifest["created_at"], is_linked(publication)))
    assert nights == [(True, False), *[(False, True)] * 6, (True, False)]


@pytest.mark.parametrize("full_at", [None, "2027-01-01T00:00:00Z"])
def test_when_nobody_knows_how_old_the_files_are_they_are_written_anew(
    filled: Engine, publication: Path, full_at: str | None
):
    make(filled, publication)
    file = current(publication) / publish.MANIFEST
    known = orjson.loads(file.read_bytes())
    file.chmod(0o600)
    file.write_bytes(orjson.dumps({name: said for name, said in (known | {"full_at": full_at}).items() if said}))
    manifest = make(filled, publication, NIGHT + timedelta(hours=1))
    assert manifest["full_at"] == manifest["created_at"]
    assert not is_linked(publication)


def is_linked(publication: Path) -> bool:
    """Whether an old month's file was taken over, when the newest generation was made."""
    return (current(publication) / "call.2026-02.parquet").stat().st_nlink > 1


def test_where_links_are_impossible_files_are_copied(
    filled: Engine, publication: Path, monkeypatch: pytest.MonkeyPatch
):
    def refuse(*_: Any) -> None:
        raise OSError("no links here")

    make(filled, publication)
    monkeypatch.setattr(os, "link", refuse)
    make(filled, publication, NIGHT + timedelta(days=1))
    assert table(publication, "call").height == 2
    assert {stat.S_IMODE(path.stat().st_mode) for path in current(publication).iterdir()} == {0o400}


class Killed(BaseException):
    pass


@pytest.mark.parametrize("step", ["export", "describe", "replace_file", "sync_folder"])
def test_a_publish_that_dies_leaves_readers_what_they_had_and_the_next_clears_it(
    filled: Engine, publication: Path, monkeypatch: pytest.MonkeyPatch, step: str
):
    make(filled, publication)
    before = (current(publication).name, everything(publication))

    def die(*_: Any, **__: Any) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(publish, step, die)
        with pytest.raises(Killed):
            make(filled, publication, NIGHT + timedelta(days=1))
    assert (current(publication).name, everything(publication)) == before
    manifest = make(filled, publication, NIGHT + timedelta(days=2))
    assert current(publication).name == manifest["generation"]
    assert before[0] in publish.generations(publication)
    assert [name for name in os.listdir(publication) if name.startswith(".")] == []


def test_a_publish_that_dies_in_the_middle_of_a_table_leaves_nothing_that_lasts(filled: Engine, publication: Path):
    draft = publish.begin(publication, now=NIGHT)
    (draft.folder / "deal.parquet").write_bytes(b"half a file")
    assert publish.read_manifest(publication) is None
    make(filled, publication, NIGHT + timedelta(minutes=1))
    assert [path.name for path in publication.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("pointer", [None, "", "20260310T030000-000005"], ids=["lost", "empty", "turned back"])
def test_a_lost_pointer_costs_no_old_generation(filled: Engine, publication: Path, pointer: str | None):
    made = [make(filled, publication, NIGHT + timedelta(days=day))["generation"] for day in range(3)]
    (publication / "current").unlink()
    if pointer is not None:
        (publication / "current").write_text(pointer)
    made.append(make(filled, publication, NIGHT + timedelta(days=3))["generation"])
    assert publish.generations(publication) == made
    assert current(publication).name == made[-1]


def test_a_broken_manifest_costs_no_old_generation(filled: Engine, publication: Path):
    make(filled, publication)
    manifest = current(publication) / "manifest.json"
    manifest.chmod(0o600)
    manifest.write_text("{")
    make(filled, publication, NIGHT + timedelta(days=1))
    assert len(publish.generations(publication)) == 2


def test_a_reader_keeps_the_generation_it_opened(filled: Engine, publication: Path):
    make(filled, publication)
    mine = current(publication)
    frame = pl.scan_parquet(mine / "deal.parquet")
    for day in range(1, 3):
        load(filled, (1 + day, deal(1 + day)), load_seq=1 + day)
        make(filled, publication, NIGHT + timedelta(days=day))
    assert frame.collect().height == 1
    assert table(publication, "deal").height == 3


def test_a_clock_that_went_back_still_gives_a_newer_name(filled: Engine, publication: Path):
    first = make(filled, publication)["generation"]
    second = make(filled, publication, NIGHT - timedelta(days=30))["generation"]
    third = make(filled, publication, NIGHT - timedelta(days=30))["generation"]
    assert first < second < third == (publication / "current").read_text()


def test_too_little_room_is_refused_before_anything_is_written(
    filled: Engine, publication: Path, monkeypatch: pytest.MonkeyPatch
):
    make(filled, publication)
    usage = type("Usage", (), {"free": 10})
    monkeypatch.setattr(publish.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(WarehouseError, match=r"Free some space and publish again; the data shown stays"):
        publish.begin(publication, now=NIGHT + timedelta(days=1))
    assert len(publish.generations(publication)) == 1


def test_a_full_disk_in_the_middle_is_a_sentence(filled: Engine, publication: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    draft = publish.begin(publication, now=NIGHT)
    monkeypatch.setattr(publish, "_copy", full)
    with pytest.raises(WarehouseError, match="is full"):
        publish.export(filled, draft)


def kept(instants: list[datetime], now: datetime) -> list[datetime]:
    made_at = {publish.instant_name(at): at for at in instants}
    found = publish.keep(made_at, now=now, daily=7, monthly=12)
    return [at for at in instants if publish.instant_name(at) in found]


def test_the_newest_three_stay_and_what_is_younger_than_two_hours():
    often = [NIGHT - timedelta(minutes=25 * n) for n in range(10)]
    assert kept(often, NIGHT)[:5] == often[:5]
    assert often[6] not in kept(often, NIGHT)


def test_one_a_day_stays_for_a_week_and_one_a_month_for_a_year():
    nightly = [NIGHT - timedelta(days=n) for n in range(500)]
    found = kept(nightly, NIGHT)
    assert found[:7] == nightly[:7]
    assert [at.strftime("%Y-%m-%d") for at in found[7:10]] == ["2026-02-28", "2026-01-31", "2025-12-31"]
    assert len(found) == 7 + 11


def test_old_generations_go_when_a_new_one_is_published(filled: Engine, publication: Path):
    for minutes in range(0, 50, 10):
        make(filled, publication, NIGHT + timedelta(minutes=minutes))
    assert len(publish.generations(publication)) == 5
    make(filled, publication, NIGHT + timedelta(hours=8))
    assert len(publish.generations(publication)) == 3


Row = dict[str, Any]


def settled(*watermarks: datetime, part_read: datetime | None = None) -> tuple[datetime, list[tuple[bool, datetime]]]:
    accounts: list[Row] = [{"watermark": mark, "reached": mark} for mark in watermarks]
    accounts += [{"watermark": None, "reached": part_read}] if part_read else []
    as_of = publish.settle(accounts, now=NIGHT)
    return as_of, [(account["is_stale"], account["as_of"]) for account in accounts]


HOUR = timedelta(hours=1)


def test_as_of_is_the_smallest_watermark_of_those_that_are_not_stale():
    fresh, fresher, stale = NIGHT - 3 * HOUR, NIGHT - HOUR, NIGHT - 48 * HOUR
    assert settled(fresh, fresher, stale) == (fresh, [(False, fresh), (False, fresh), (True, stale)])


def test_an_account_that_was_never_read_whole_is_stale_and_holds_nobody_back():
    fresh, earlier, later = NIGHT - 2 * HOUR, NIGHT - 3 * HOUR, NIGHT - HOUR
    assert settled(fresh, part_read=earlier) == (fresh, [(False, fresh), (True, earlier)])
    assert settled(fresh, part_read=later) == (fresh, [(False, fresh), (True, fresh)])


def test_what_was_read_in_part_is_as_of_then_and_never_of_now():
    part_read = NIGHT - HOUR
    assert settled(part_read=part_read) == (part_read, [(True, part_read)])


def test_when_all_are_stale_the_newest_word_is_the_as_of():
    older, newer = NIGHT - timedelta(days=9), NIGHT - timedelta(days=3)
    assert settled(older, newer) == (newer, [(True, older), (True, newer)])


def test_an_account_read_by_a_clock_that_is_ahead_is_stale():
    fresh, ahead = NIGHT - HOUR, NIGHT + HOUR
    assert settled(fresh, ahead) == (fresh, [(False, fresh), (True, fresh)])
    assert settled(ahead) == (ahead, [(True, ahead)])
    within = NIGHT + timedelta(minutes=9)  # the sync believes clocks that differ so little
    assert settled(within) == (within, [(False, within)])


def test_an_accounts_watermark_waits_for_all_its_core_resources(filled: Engine):
    read(filled, deals=NIGHT, calls=None)
    found = publish.describe(filled, now=NIGHT)
    assert [(one["watermark"], one["as_of"]) for one in found["accounts"]] == [(None, "2026-03-10T03:00:00.000005Z")]
    read(filled, deals=NIGHT, calls=NIGHT - HOUR)
    assert [a["watermark"] for a in publish.describe(filled, now=NIGHT)["accounts"]] == ["2026-03-10T02:00:00.000005Z"]


def test_accounts_of_which_nothing_was_read_are_named_and_their_rows_are_not_counted(filled: Engine):
    load(filled, (1, account("opened")))
    read(filled, "opened", deals=None)
    found = publish.describe(filled, now=NIGHT, local={"main": Local(), "opened": Local(), "shop": Local()})
    assert [one["account_id"] for one in found["accounts"]] == ["main"]
    assert found["unread_accounts"] == ["opened", "shop"]
    assert {row["account_id"] for row in found["coverage"]} <= {"main"}


def test_a_warehouse_of_which_no_account_was_read_has_nothing_to_publish(engine: Engine):
    load(engine, (1, account()))
    read(engine, deals=None)
    with pytest.raises(WarehouseError, match="voronka sync"):
        publish.describe(engine, now=NIGHT, local={"main": Local()})


Found = Callable[[], dict[str, tuple[int, list[str]]]]


@pytest.fixture
def found(engine: Engine) -> Found:
    def run() -> dict[str, tuple[int, list[str]]]:
        with engine.begin() as connection:
            return {c["code"]: (c["count"], c["sample"]) for c in check(connection, now=NIGHT)}

    return run


def test_a_warehouse_in_order_has_no_findings(engine: Engine, found: Found):
    later = MARCH + timedelta(hours=1)
    moves = (move(1, "status:10", MARCH, origin="status:9"), move(2, "status:11", later, origin="status:10"))
    load(engine, (1, stage()), (1, stage("status:11")), (1, deal(1, stage_id="status:11")), *((1, m) for m in moves))
    assert found() == {}


def test_what_is_known_to_be_deleted_is_no_gap(engine: Engine, found: Found):
    """Cards in the trash are not read; that they are there is known all the same."""
    gone = [
        Tombstone(kind, "main", f"{word}:404", MARCH)
        for kind, word in ((Deal, "lead"), (Company, "company"), (Contact, "contact"))
    ]
    of_nobody = contacts(1, 404)
    rows = [(1, stage()), (1, deal(1, company_id="company:404")), (1, of_nobody), (1, move(1, "status:10", MARCH))]
    load(engine, *rows, (1, move(2, "status:10", MARCH, lead=404)))
    assert {code: n for code, (n, _) in found().items()} == {"orphan_links": 2, "orphan_moves": 1}
    load(engine, *((2, one) for one in gone))
    assert found() == {}


def test_contradictions_are_counted_with_examples(engine: Engine, found: Found):
    later, last = MARCH + timedelta(hours=1), MARCH + timedelta(hours=2)
    broken = deal(1, company_id="company:404", stage_id="status:404", closed_at=FEBRUARY)
    load(
        engine,
        (1, broken),
        (1, stage()),
        (1, move(1, "status:10", MARCH)),
        (1, move(2, "status:12", later, origin="status:11")),
        (1, call(1, NIGHT + timedelta(days=1))),
        (1, move(3, "status:12", last, origin="status:12", lead=404)),
    )
    assert found() == {
        "orphan_links": (1, ["lead:1 → company:404"]),
        "orphan_moves": (1, ["event:3 → lead:404"]),
        "stage_absent": (1, ["lead:1"]),
        "transitions_broken": (1, ["event:2"]),
        "history_differs": (1, ["lead:1"]),
        "closed_before_created": (1, ["lead:1"]),
        "future_timestamps": (1, ["note:1"]),
    }


def test_a_draft_tells_what_was_written(filled: Engine, publication: Path):
    draft: Draft = publish.begin(publication, now=NIGHT)
    publish.export(filled, draft)
    assert draft.scan("call").collect().height == 2
