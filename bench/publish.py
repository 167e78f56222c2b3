"""Publish and marts of a large company, beside hand-written DuckDB SQL that writes the same Parquet.

    python bench/publish.py [--deals 10000,100000] [--large]

For each size (ten calls, five moves, three messages and a task for a deal; `large_company.py`):

* `ours`     a full publish: canonical tables, marts, months, manifest; seconds of clock and of processor, peak memory
* `SQL`      `publish.sql`, by somebody who knows this one company: no merges, deletions, changed owners or gaps, and no
             second publication. The same tables, months and order of rows; every table is compared with ours, all
             columns of every row
* `nightly`  a publish after one call, message, task and deal in sixty of the last two months came anew and one deal in
             a hundred was edited, a third of those still open lost; and the full one after it, which must be equal

Ratios are of processor time: clocks of busy machines differ. `--large`: 1 000 000 deals.
"""

import argparse
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from apparatus import BENCH, alone, apart

SMALL, LARGE = "10000,100000", 1_000_000
SQL_MEMORY = "3GB"
MARTS = {
    # table: order of its rows
    "client_member": "entity_id",
    "client": "client_id",
    "deal_state": "deal_id",
    "call_episode": "started_at, episode_id",
    "call_episode_leg": "call_id",
    "touch": "touched_at, touch_id",
    "stage_interval": "deal_id, n",
    "sale": "sold_at, sale_id",
}
MART_MONTHS = {"call_episode": "started_at", "touch": "touched_at"}


# --- measured, each in a process of its own ---


def measure_fill(folder: str, deals: str) -> dict[str, Any]:
    from large_company import fill

    from warehouse.database import open_warehouse

    engine = open_warehouse(Path(folder))
    with engine.begin() as connection:
        fill(connection, deals=int(deals))
    engine.dispose()
    return {}


def measure_ours(folder: str, full: str) -> dict[str, Any]:
    from large_company import AS_OF

    from sync import publish_all

    begun, cpu_s = time.perf_counter(), time.process_time()
    publish_all(Path(folder), now=AS_OF, full=full == "full")
    return {"seconds": time.perf_counter() - begun, "busy_s": time.process_time() - cpu_s}


def measure_sql(folder: str, into: str) -> dict[str, Any]:
    import duckdb
    from large_company import AS_OF

    from warehouse.models import CANONICAL

    begun, cpu_s = time.perf_counter(), time.process_time()
    Path(into).mkdir()
    config: dict[str, Any] = {"memory_limit": SQL_MEMORY, "temp_directory": f"{into}/.tmp"}
    with duckdb.connect(f"{folder}/warehouse.duckdb", read_only=True, config=config) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"SET VARIABLE as_of = TIMESTAMPTZ '{AS_OF.isoformat()}'")
        for table in CANONICAL:
            copy_canonical(connection, table, Path(into))
        for statement in (BENCH / "publish.sql").read_text("utf-8").split(";\n"):
            connection.execute(statement)
        for name, order in MARTS.items():
            columns = [row[0] for row in connection.execute(f"DESCRIBE {name}").fetchall()]
            instants = [one for one in columns if one.endswith("_at")]
            copy(connection, name, f"'main' AS account_id, *{three_ways(instants)}", order, Path(into) / name)
    return {"seconds": time.perf_counter() - begun, "busy_s": time.process_time() - cpu_s}


def copy_canonical(connection: Any, table: Any, into: Path) -> None:
    from warehouse.columns import BOOKKEEPING
    from warehouse.models import key_of
    from warehouse.publish import DERIVED, MONTHS

    apart = [one.name for one in table.columns if one.info.get("pii") or one.info.get("guarded")]
    plain = [one.name for one in table.columns if one.name not in {*apart, *BOOKKEEPING[1:]}]
    instants = [one for one in plain if one.endswith("_at") and one != "source_updated_at"]
    derived = "".join(f", {sql} AS {name}" for name, sql in DERIVED.get(table.name, {}).items())
    order = ", ".join(f'"{name}"' for name in (*filter(None, [MONTHS.get(table.name)]), *key_of(table)))
    columns = ", ".join(f'"{name}"' for name in plain)
    copy(connection, table.name, f"{columns}{three_ways(instants)}{derived}", order, into / table.name)
    if apart:
        columns = ", ".join(f'"{name}"' for name in (*key_of(table), *apart))
        copy(connection, table.name, columns, order, into / f"{table.name}_pii")


def three_ways(instants: list[str]) -> str:
    return "".join(
        f", timezone('Europe/Moscow', {one}) AS {one[:-3]}_local, epoch({one})::BIGINT AS {one[:-3]}_epoch"
        for one in instants
        if not one.startswith("valid_")
    )


def copy(connection: Any, table: str, columns: str, order: str, into: Path) -> None:
    from warehouse.publish import MONTHS

    into.mkdir()
    cut = (MONTHS | MART_MONTHS).get(table)
    months: list[Any] = [None]
    if cut:
        found = connection.execute(f"SELECT DISTINCT date_trunc('month', {cut}) FROM {table} ORDER BY 1").fetchall()
        months = [row[0] for row in found] or [None]
    for month in months:
        within = (
            "" if month is None else f"WHERE {cut} >= '{month}' AND {cut} < '{month}'::TIMESTAMPTZ + INTERVAL 1 MONTH"
        )
        file = into / f"{'all' if month is None else f'{month:%Y-%m}'}.parquet"
        connection.execute(
            f'COPY (SELECT {columns} FROM "{table}" t {within} ORDER BY {order}) '
            f"TO '{file}' (FORMAT parquet, COMPRESSION zstd)"
        )


def measure_difference(folder: str, other: str) -> dict[str, Any]:
    """Tables of the newest generation that are not those of `other`: a generation, or what the SQL wrote."""
    import duckdb

    from warehouse.publish import read_manifest

    publication = Path(folder) / "publication"
    manifest: Any = read_manifest(publication)
    wrong = []
    with duckdb.connect(config={"memory_limit": SQL_MEMORY}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for name in manifest["tables"]:
            ours = files_of(publication / manifest["generation"], name)
            theirs = files_of(Path(other), name)
            if not theirs or name == "field_value":  # calendars are no SQL, and the company has no fields of its own
                continue
            columns = connection.execute("DESCRIBE SELECT * FROM read_parquet($f)", {"f": ours}).fetchall()
            row = ", ".join(f'"{column[0]}"::VARCHAR' for column in columns)
            query = f"SELECT count(*), sum(hash({row})::HUGEINT) FROM read_parquet($f)"
            if connection.execute(query, {"f": ours}).fetchall() != connection.execute(query, {"f": theirs}).fetchall():
                wrong.append(name)
    return {"wrong": wrong}


def files_of(folder: Path, table: str) -> list[str]:
    """Of a generation, or of what the SQL wrote."""
    if (folder / "manifest.json").exists():
        told: Any = json.loads((folder / "manifest.json").read_bytes())
        return [f"{folder}/{file['name']}" for file in told["tables"][table]["files"]]
    return sorted(map(str, (folder / table).glob("*.parquet")))


def measure_night(folder: str) -> dict[str, Any]:
    """New rows of the last two months, edited deals, and some of them lost, as a sync leaves them."""
    from large_company import AS_OF

    from warehouse.database import open_warehouse

    now = f"TIMESTAMPTZ '{AS_OF.isoformat()}'"
    loaded = "2 AS load_seq, 2 AS read_seq"
    statements = [
        f"INSERT INTO {table} SELECT * REPLACE ({other}{key} || 'n' AS {key}, {at} + INTERVAL 20 MINUTE AS {at}, "
        f"{loaded}) FROM {table} WHERE {at} BETWEEN {now} - INTERVAL 60 DAY AND {now} - INTERVAL 1 HOUR "
        f"AND hash({key}) % 60 = 0"
        for table, key, at, other in NEW
    ]
    statements += [
        "INSERT INTO deal_stage_transition BY NAME SELECT 'lost:' || deal_id AS change_id, deal_id, account_id, "
        f"{now} - INTERVAL 1 HOUR AS changed_at, pipeline_id AS from_pipeline_id, stage_id AS from_stage_id, "
        f"pipeline_id AS to_pipeline_id, 'status:143' AS to_stage_id, 'event' AS origin, 'h' AS raw_hash, {loaded}, "
        "synced_at "
        "FROM deal WHERE hash(deal_id) % 300 = 0 AND closed_at IS NULL",
        f"UPDATE deal SET stage_id = 'status:143', closed_at = {now} - INTERVAL 1 HOUR "
        "WHERE hash(deal_id) % 300 = 0 AND closed_at IS NULL",
        "UPDATE deal SET amount_minor = coalesce(amount_minor, 0) + 100, load_seq = 2, read_seq = 2, "
        "responsible_user_id = 'user:1' WHERE hash(deal_id) % 100 = 0",
    ]
    engine = open_warehouse(Path(folder))
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    engine.dispose()
    return {}


NEW = (
    # table, key, instant, and what else a copy of a row has of its own
    ("call", "call_id", "started_at", "external_uniq || 'n' AS external_uniq, "),
    ("message", "message_id", "sent_at", ""),
    ("task", "task_id", "created_at", ""),
    ("deal", "deal_id", "created_at", ""),
)
"""One row in sixty of the last two months comes anew."""


MEASURES: dict[str, Callable[..., dict[str, Any]]] = {
    "fill": measure_fill,
    "ours": measure_ours,
    "sql": measure_sql,
    "difference": measure_difference,
    "night": measure_night,
}


# --- the table ---


def measured(folder: Path, deals: int, before: dict[str, Any] | None) -> dict[str, Any]:
    """One size; prints its row. before: what a size before it took."""
    apart(__file__, "fill", folder, deals)
    ours = apart(__file__, "ours", folder, "full")
    sql = apart(__file__, "sql", folder, folder / "sql")
    differs(folder, folder / "sql", deals)
    shutil.rmtree(folder / "sql")
    apart(__file__, "night", folder)
    nightly = apart(__file__, "ours", folder, "linked")
    linked = newest(folder)
    again = apart(__file__, "ours", folder, "full")
    differs(folder, linked, deals)
    growth = ""
    if before is not None:
        growth = f"{ours['busy_s'] / before['busy_s']:.1f}× for {deals / before['deals']:g}× the rows"
    print(
        f"{deals:>9,} deals  ours {ours['busy_s']:8.1f} s ({ours['seconds']:.1f} of clock, {ours['peak_mb']:,.0f} MB)  "
        f"SQL {sql['busy_s']:8.1f} s ({sql['seconds']:.1f} of clock, {sql['peak_mb']:,.0f} MB)  "
        f"ratio {ours['busy_s'] / sql['busy_s']:.2f}  nightly {nightly['busy_s'] / again['busy_s']:.0%}  {growth}",
        flush=True,
    )
    return {**ours, "deals": deals}


def newest(folder: Path) -> Path:
    return folder / "publication" / (folder / "publication" / "current").read_text()


def differs(folder: Path, other: Path, deals: int) -> None:
    wrong = apart(__file__, "difference", folder, other)["wrong"]
    assert not wrong, f"{deals} deals: {', '.join(wrong)} differ from {other.name}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--deals", default=SMALL, help="sizes, each ten times the one before")
    parser.add_argument("--large", action="store_true", help=f"also {LARGE:,} deals, {LARGE * 10:,} calls")
    parser.add_argument("--folder", type=Path, help="where the warehouses are made; a temporary folder by default")
    chosen = parser.parse_args()
    print(f"{os.cpu_count()} cores; processor time", flush=True)
    before = None
    for deals in [*map(int, chosen.deals.split(",")), *([LARGE] if chosen.large else [])]:
        with tempfile.TemporaryDirectory(prefix="voronka-bench-", dir=chosen.folder) as made:
            before = measured(Path(made), deals, before)


if __name__ == "__main__" and not alone(MEASURES):
    main()
