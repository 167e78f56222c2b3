"""A small warehouse with generations, what their readers see, and what is to be the same whatever went wrong."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
from warehouse_words import contact, deal, stage, task, user

from connectors.records import Account, Call, ClientPhone, DealStageTransition
from metrics.frames import FrameSet, open_frames
from sync.publication import PUBLICATION, publish_all
from warehouse import state
from warehouse.database import open_warehouse, personal_key
from warehouse.load import Loader
from warehouse.publish import generations, read_manifest

NIGHT = datetime(2026, 3, 10, 3, tzinfo=UTC)
DAY = timedelta(days=1)
PHONE, NAME = "+79161234567", "Аксинья Вербицкая"


def account(account_id: str = "main") -> Account:
    return Account(
        account_id=account_id, connector="amocrm", name="Fake", base_url=f"https://{account_id}.example",
        external_id=account_id, tz="Europe/Moscow", base_currency="RUB", default_region="RU",
    )  # fmt: skip


def call(number: int, at: datetime, account_id: str = "main") -> Call:
    return Call(
        account_id=account_id, call_id=f"note:{number}", direction="in", subtype="normal", status="missed",
        started_at=at, raw_hash=f"call {number}", phone_e164=PHONE, phone_raw=PHONE, contact_id="contact:1",
    )  # fmt: skip


def moved(number: int, at: datetime) -> DealStageTransition:
    return DealStageTransition(
        account_id="main", change_id=f"event:{number}", deal_id=f"lead:{number}", changed_at=at, origin="event",
        from_pipeline_id="pipeline:1", from_stage_id=None, to_pipeline_id="pipeline:1", to_stage_id="status:10",
    )  # fmt: skip


def read(data_dir: Path, number: int) -> None:
    """What a sync would do in the night `number`: deals, calls and transitions of two months, all with the number."""
    night = NIGHT + number * DAY
    engine = open_warehouse(data_dir)
    try:
        with engine.begin() as connection:
            key = personal_key(data_dir, connection)
            resources = [state.Filled("deals", (), is_core=True)]
            state.know_resources(connection, "main", target="main", resources=resources)
            state.read_whole(connection, [state.ReadWhole("main", "deals", night, night)])
            reads = [account(), user(1), stage(), contact(1, name=NAME), deal(number, name=NAME, amount_minor=number)]
            reads += [
                ClientPhone(
                    account_id="main", entity_id="contact:1", entity_kind="contact", phone_raw=PHONE, phone_e164=PHONE
                )
            ]
            reads += [task(number, text=NAME), call(number, night - DAY), call(1000 + number, night - 30 * DAY)]
            reads += [moved(number, night - DAY), call(9999, NIGHT - 60 * DAY)]  # the last: a month that stays as it is
            loader = Loader(connection, key=key)
            loader.load(enumerate(reads, 100 * number), load_seq=number, synced_at=night)
    finally:
        engine.dispose()


def published(data_dir: Path | str, number: int, *, hours: int = 0) -> None:
    """The publication of the night `number`, so many hours later."""
    publish_all(Path(data_dir), now=NIGHT + number * DAY + timedelta(hours=hours))


# --- what readers see -------------------------------------------------------------------------------------------------

ONE_A_NIGHT = ("deal", "deal_pii", "task", "deal_stage_transition", "deal_state", "stage_interval")
"""Tables with one row more after each night."""


def night_seen(frames: FrameSet) -> int:
    """Which night a generation is of, which all its tables have to agree on."""
    frames = frames.accounts(["main"])
    heights = {name: height(frames, name) for name in ONE_A_NIGHT}
    heights |= {name: (height(frames, name) - 1) // 2 for name in ("call", "call_pii", "call_episode")}
    numbers = {*heights.values()}
    assert len(numbers) == 1, f"{frames.generation}: {heights}"
    return numbers.pop()


def height(frames: FrameSet, table: str) -> int:
    return int(frames[table].collect("polars").shape[0])


def everything(data_dir: Path) -> dict[str, list[str]]:
    """What readers are shown, table by table; personal tables too."""
    frames = open_frames(data_dir / PUBLICATION)
    found = {name: pl.read_parquet(source) for name, source in frames.sources.items()}
    assert {name: frame.height for name, frame in found.items()} == {
        name: entry["rows"] for name, entry in frames.manifest["tables"].items()
    }
    return {name: sorted(map(str, frame.rows())) for name, frame in found.items()}


def told(data_dir: Path) -> dict[str, Any]:
    """The manifest without what differs between two publications of the same."""
    manifest = read_manifest(data_dir / PUBLICATION) or {}
    ours = ("generation", "created_at", "full_at", "tables", "warehouse_id")
    return {name: value for name, value in manifest.items() if name not in ours}


def assert_generations_are_whole(data_dir: Path) -> None:
    """All that are in sight, the one the pointer names among them, and nothing lies beside them."""
    publication = data_dir / PUBLICATION
    names = generations(publication)
    for name in names:
        night_seen(open_frames(publication, generation=name))
    assert (publication / "current").read_text() in names
    assert {path.name for path in publication.iterdir()} == {*names, "current"}
