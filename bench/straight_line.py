"""How fast the straight line is, how much memory it takes, and what plain loops over the same pages take.

    python bench/straight_line.py [SCALE ...]      default: 1 10

Every stage is a process of its own, so that its peak memory is its own. The demo CRM runs without a limit, on loopback,
in one more process. Beside our stages, in the same run, stand hand-written loops that do the least anybody could:

* `download`  the lists the sync reads, page by page with httpx and json, the bodies thrown away: how fast reading can
  be (events of every type, so more objects: rates are compared per object)
* `to one Parquet`  the same, every object as a line of JSON in one Parquet file: how fast keeping can be
* `groupby`  for A3, a dictionary loop over the calls of the published table

Results are printed as a table (standard output), progress to standard error.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from apparatus import AS_OF, alone, apart, sync

METRICS = ("A3", "B2", "E6", "D6")
LISTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("/api/v4/leads", {"with": "contacts,catalog_elements,loss_reason,source"}),
    ("/api/v4/leads/unsorted", {}),
    ("/api/v4/contacts", {}),
    ("/api/v4/companies", {}),
    ("/api/v4/customers", {"with": "contacts,companies"}),
    ("/api/v4/customers/transactions", {}),
    ("/api/v4/tasks", {}),
    ("/api/v4/leads/notes", {}),
    ("/api/v4/contacts/notes", {}),
    ("/api/v4/companies/notes", {}),
    ("/api/v4/talks", {}),
    ("/api/v4/events", {"limit": 100}),
)


# --- stages: each runs in a process of its own and returns what it has to say ---


def stage_sync(folder: str, url: str) -> dict[str, Any]:
    from demo.run import AMOCRM

    return sync(Path(folder), AMOCRM, url)


def stage_publish(folder: str, _url: str) -> dict[str, Any]:
    from sync import publication

    seconds = {"marts": 0.0}
    build = publication.build

    def timed(*args: Any, **kwargs: Any) -> Any:
        begun = time.perf_counter()
        built = build(*args, **kwargs)
        seconds["marts"] = time.perf_counter() - begun
        return built

    publication.build = timed
    begun = time.perf_counter()
    manifest: Any = publication.publish_all(Path(folder), full=True)
    rows = sum(table["rows"] for table in manifest["tables"].values())
    return {"seconds": time.perf_counter() - begun, "marts": seconds["marts"], "rows": rows}


def stage_metric(folder: str, _url: str, metric_id: str, engine: Any) -> dict[str, Any]:
    from demo.compare import answer
    from metrics.frames import open_frames
    from metrics.metric import find_metrics

    find_metrics()  # imports are not what is measured
    key = json.loads((Path(folder) / "answer_key.json").read_text("utf-8"))
    begun = time.perf_counter()
    result = answer(metric_id, key, open_frames(Path(folder) / "publication", engine))
    return {"seconds": time.perf_counter() - begun, "rows": result.drilldown.height}


def stage_download(_folder: str, url: str) -> dict[str, Any]:
    begun, objects = time.perf_counter(), sum(1 for _ in plain_pages(url))
    return {"seconds": time.perf_counter() - begun, "objects": objects}


def stage_keep(folder: str, url: str) -> dict[str, Any]:
    import polars as pl

    begun = time.perf_counter()
    lines = [json.dumps(item, ensure_ascii=False) for item in plain_pages(url)]
    pl.DataFrame({"json": lines}).write_parquet(Path(folder) / "plain.parquet")
    return {"seconds": time.perf_counter() - begun, "objects": len(lines)}


def stage_loop(folder: str, _url: str) -> dict[str, Any]:
    """Missed calls nobody returned, the way a script would count them: no windows, no legs, no merges."""
    import polars as pl

    files = sorted((Path(folder) / "publication").glob("*/call.*.parquet"))
    begun = time.perf_counter()
    calls = pl.read_parquet(files, columns=["started_epoch", "direction", "status", "phone_key"])
    waiting: dict[str, int] = {}
    for row in sorted(calls.drop_nulls().iter_rows()):
        is_missed = row[1] == "in" and row[2] == "missed"
        if is_missed:
            waiting.setdefault(row[3], row[0])
        elif row[2] == "answered":
            waiting.pop(row[3], None)
    return {"seconds": time.perf_counter() - begun, "rows": len(waiting)}


def plain_pages(url: str) -> Iterator[Any]:
    import httpx

    with httpx.Client(
        base_url=url, headers={"Authorization": "Bearer demo-token"}, trust_env=False, timeout=60
    ) as client:
        for path, params in LISTS:
            for page in range(1, 1_000_000):
                answer = client.get(path, params={"limit": 250, **params, "page": page})
                if answer.status_code == 204:
                    break
                answer.raise_for_status()
                for items in json.loads(answer.content)["_embedded"].values():
                    yield from items


STAGES: dict[str, Callable[..., dict[str, Any]]] = {
    "sync": stage_sync,
    "publish": stage_publish,
    "metric": stage_metric,
    "download": stage_download,
    "keep": stage_keep,
    "loop": stage_loop,
}


# --- the run ---


@contextmanager
def crm(folder: Path, scale: float) -> Iterator[str]:
    from demo.run import AMOCRM, demo_crms

    with demo_crms(folder, [AMOCRM], scale=scale, as_of=AS_OF) as (url,):
        yield url


def measure(scale: float) -> None:
    """Each line is printed as its stage ends: a long run that is cut off still says what it saw."""
    print(f"\nscale {scale:g}, {os.cpu_count()} cores")
    print(f"{'stage':<28}{'seconds':>10}{'per second':>14}{'CPU s':>9}{'peak MB':>10}", flush=True)
    with tempfile.TemporaryDirectory(prefix="voronka-bench-") as made:
        folder = Path(made)
        with crm(folder, scale) as url:
            synced = show("sync", apart(__file__, "sync", folder, url), "objects")
            show("sync again, nothing new", apart(__file__, "sync", folder, url), "objects")
            download = show("download (plain loop)", apart(__file__, "download", folder, url), "objects")
            keep = show("to one Parquet (plain loop)", apart(__file__, "keep", folder, url), "objects")
        print(f"{synced['objects']:,} objects of the CRM, {synced['rows']:,} rows;", end=" ")
        print(f"objects per second: sync / download = 1 / {slower(synced, download):.1f}", end=", ")
        print(f"sync / one Parquet = 1 / {slower(synced, keep):.1f}", flush=True)
        published = show("publish, marts included", apart(__file__, "publish", folder, url), "rows")
        print(f"{'  of which marts':<28}{published['marts']:>10.2f}")
        show("A3 by a plain loop", apart(__file__, "loop", folder, url))
        for metric_id in METRICS:
            for engine in ("polars", "duckdb"):
                show(f"{metric_id} on {engine}", apart(__file__, "metric", folder, url, metric_id, engine))


def slower(ours: dict[str, Any], theirs: dict[str, Any]) -> float:
    """How many times longer ours takes per object."""
    return float(ours["seconds"] / ours["objects"] / (theirs["seconds"] / theirs["objects"]))


def show(name: str, found: dict[str, Any], counted: str | None = None) -> dict[str, Any]:
    rate = f"{found[counted] / found['seconds']:,.0f}" if counted else ""
    print(f"{name:<28}{found['seconds']:>10.2f}{rate:>14}{found['cpu_s']:>9.1f}{found['peak_mb']:>10.0f}", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scales", nargs="*", type=float, default=[1.0, 10.0])
    chosen = parser.parse_args()
    for scale in chosen.scales:
        measure(scale)


if __name__ == "__main__" and not alone(STAGES):
    main()
