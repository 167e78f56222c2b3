"""From the warehouse to what readers see: export, marts, seal."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl

from metrics.marts import MARTS, MartParams, Parts, build_parts
from warehouse import publish
from warehouse.checks import check, refuse_doubles
from warehouse.database import open_warehouse, said_plainly, writer_lock
from warehouse.publish import Draft, Local

PUBLICATION = "publication"


class Files(Parts):
    """Parts as files of a draft, and those of the generation before. held: a folder for what is not ready yet."""

    def __init__(self, draft: Draft, held: Path) -> None:
        self._draft, self._held = draft, held

    def before(self, mart: str, stamp: str) -> pl.LazyFrame | None:
        file = publish.before(self._draft, mart, stamp)
        return None if file is None else pl.scan_parquet(file)

    def take(self, mart: str, stamp: str, *, label: str = "") -> None:
        if not publish.take(self._draft, mart, stamp, part=label):
            raise FileNotFoundError(f"a part of {mart} in the generation before")

    def add(self, mart: str, rows: pl.DataFrame, *, label: str = "", stamp: str | None = None) -> None:
        publish.write(self._draft, mart, rows, part=label, stamp=stamp)

    def hold(self, rows: pl.DataFrame) -> pl.LazyFrame:
        file = self._held / f"{len(list(self._held.iterdir()))}.parquet"
        rows.write_parquet(file, compression="lz4")
        return pl.scan_parquet(file)

    def all(self, mart: str) -> pl.LazyFrame:
        return self._draft.scan(mart) if mart in self._draft.tables else pl.LazyFrame(schema=MARTS[mart])


def publish_all(
    data_dir: Path,
    *,
    local: Mapping[str, Local] | None = None,
    params: MartParams | None = None,
    settings_version: str | int = 0,
    full: bool = False,
    daily: int = 7,
    monthly: int = 12,
    now: datetime | None = None,
) -> dict[str, Any]:
    """Make a generation of what the warehouse holds: export → marts → write → seal. Returns its manifest.

    Args:
        local: the configured accounts, each with what the config says against the source: time zone, calendar,
            currency.
        params: what marts consume, calendars included.
        settings_version: of what people set in the app; goes into the manifest.
        full: link nothing from the generation before; what comes out must be the same.
        daily, monthly: how many generations of past days and months stay.

    Raises:
        LockedError: another process writes. WarehouseError: nothing was read yet, no room on the disk, damaged
            warehouse.
    """
    at, wanted = now or datetime.now(UTC), params or MartParams()
    with writer_lock(data_dir):
        engine = open_warehouse(data_dir)
        try:
            with engine.begin() as connection:
                refuse_doubles(connection)
            manifest = publish.describe(engine, now=at, local=local)
            draft = publish.begin(data_dir / PUBLICATION, now=at, full=full)
            try:
                publish.export(engine, draft, local=local)
                with engine.begin() as connection:
                    checks = check(connection, now=at)
                as_of = {a["account_id"]: datetime.fromisoformat(a["as_of"]) for a in manifest["accounts"]}
                tables = {name: draft.scan(name) for name in draft.tables if not name.endswith("_pii")}
                engine.dispose()  # what it holds in memory is needed now
                with said_plainly(data_dir), TemporaryDirectory(dir=draft.folder, prefix=".held-") as held:
                    build_parts(tables, as_of, wanted, Files(draft, Path(held)))
                manifest |= {
                    "mart_params": wanted.model_dump(mode="json"),
                    "settings_version": settings_version,
                    "checks": checks,
                }
                return publish.seal(draft, manifest, daily=daily, monthly=monthly)
            except BaseException:
                publish.abandon(draft)
                raise
        finally:
            engine.dispose()
