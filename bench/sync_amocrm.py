"""How well the amoCRM connector uses what it is given: the pace, the latency, the processor, the memory.

    python bench/sync_amocrm.py [--leads 20000] [--million] [--only pace,latency,processor,peers]

* `pace`       the documented limit on (7 requests a second): requests per second of a whole first sync, 429s earned
* `latency`    no limit, 50 ms an answer: a first sync with windows in parallel against one window at a time
* `processor`  canonical rows per second of processor time: client, mapping, raw copies and load together, leads with
               ten custom fields, the server in another process; peak memory (`--million`: of 1 000 000 leads)
* `peers`      public clients (`peers.txt`, in an environment of their own) read the same leads from the same server;
               they keep nothing, so beside the sync stands our reading without the load

Every measurement is a process of its own. Servers: the demo amoCRM, and for leads alone `lead_server.py`.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

HOUSE = Path(__file__).parent.parent
sys.path.insert(0, str(HOUSE))

AS_OF = datetime(2026, 11, 21, tzinfo=ZoneInfo("Europe/Moscow"))
CEILING = 7.0
LATENCY_S = 0.05
WINDOWS = 16
CLIENTS = ("aioamocrm", "amocrm-api-wrapper", "amocrm-api")


# --- measured, each in a process of its own ---


def measure_sync(url: str, parallel: int, pace: float) -> dict[str, Any]:
    """A first sync: objects, rows, processor time, peak memory."""
    import yaml

    from commands.run import sync_with
    from config import load_config
    from connectors.connector import find_connectors
    from demo.run import AMOCRM, TOKEN, TOKEN_VARIABLE, write_config

    with tempfile.TemporaryDirectory(prefix="voronka-bench-") as made:
        file = write_config(Path(made), [(AMOCRM, url)])
        content = yaml.safe_load(file.read_text("utf-8"))
        content["accounts"][0]["requests_per_second"] = pace
        content["sync"]["windows_in_parallel"] = parallel
        file.write_text(yaml.safe_dump(content), "utf-8")
        config = load_config(file, {name: found.settings for name, found in find_connectors().items()})
        before = spent()
        begun = time.perf_counter()
        run = sync_with(config, env={TOKEN_VARIABLE: TOKEN})
        seconds = time.perf_counter() - begun
        assert run.is_well, run
    resources = [one for account in run.accounts for one in account.resources]
    return {
        "seconds": seconds,
        "cpu_s": spent() - before,
        "objects": sum(one.n_read for one in resources),
        "rows": sum(one.n_written for one in resources),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def measure_reading(url: str) -> dict[str, Any]:
    """Leads read, mapped and thrown away, in as many windows at once as a sync has."""
    from concurrent.futures import ThreadPoolExecutor
    from datetime import UTC
    from itertools import count

    from connectors.amocrm import CONNECTOR
    from sync.plan import first_windows

    settings = CONNECTOR.settings(
        id="main", connector="amocrm", base_url=url, token_env="T", requests_per_second=100_000
    )
    ordinals = count(1)
    with tempfile.TemporaryDirectory(prefix="voronka-bench-") as state:
        begun = time.perf_counter()
        api = CONNECTOR.open_api(settings, env={"T": "demo-token"}, ordinals=lambda: next(ordinals), state_dir=state)
        account = CONNECTOR.account(api, settings)
        leads = next(one for one in CONNECTOR.resources if one.name == "leads")
        assert account.created_at is not None
        windows = first_windows(leads, begin=account.created_at, start=datetime.now(UTC))
        with ThreadPoolExecutor(WINDOWS) as pool:
            n = sum(pool.map(lambda window: sum(is_lead(one) for one in leads.read(api, account, window)), windows))
        return {"seconds": time.perf_counter() - begun, "leads": n}


def is_lead(item: Any) -> bool:
    return bool(type(item).__name__ == "RawRecord" and item.entity == "leads")


def spent() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


MEASURES: dict[str, Callable[..., dict[str, Any]]] = {"sync": measure_sync, "reading": measure_reading}


# --- servers ---


@contextmanager
def server(*arguments: str) -> Iterator[str]:
    with subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, text=True, cwd=HOUSE) as process:
        assert process.stdout is not None
        try:
            url = next(line for line in process.stdout if line.startswith("READY ")).split()[1]
            threading.Thread(target=process.stdout.read, daemon=True).start()
            yield url
        finally:
            process.terminate()


def demo(scale: float, *more: str) -> Any:
    return server("-m", "demo.amocrm", "--scale", str(scale), "--as-of", AS_OF.isoformat(), *more)


def knob(url: str, door: str, body: dict[str, Any]) -> None:
    """Set something of the demo server."""
    request = urllib.request.Request(f"{url}/_emu/{door}", json.dumps(body).encode(), method="POST")
    request.add_header("Content-Type", "application/json")
    urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request).close()


def asked(url: str) -> list[dict[str, Any]]:
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"{url}/_emu/log") as answer:
        found: Any = json.load(answer)
    return list(found["requests"] if isinstance(found, dict) else found)


# --- the table ---


def apart(name: str, *arguments: object) -> dict[str, Any]:
    command = [sys.executable, __file__, "--measure", name, *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=HOUSE)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def pace(scale: float) -> None:
    with demo(scale, "--limit") as url:
        found = apart("sync", url, 4, CEILING)
        requests = [one for one in asked(url) if one["path"].startswith("/api/")]
    refused = sum(one.get("status") == 429 for one in requests)
    rate = len(requests) / found["seconds"]
    print(
        f"pace       {len(requests)} requests in {found['seconds']:.1f} s: {rate:.2f} a second, "
        f"{rate / CEILING:.1%} of the {CEILING:g} allowed; answered with 429: {refused}",
        flush=True,
    )


def latency(scale: float) -> None:
    with demo(scale) as url:
        knob(url, "fault", {"path": "/api/*", "nth": 1, "times": 0, "delay": LATENCY_S})
        alone = apart("sync", url, 1, 100_000)
        many = apart("sync", url, WINDOWS, 100_000)
    print(
        f"latency    {LATENCY_S * 1000:.0f} ms an answer: one window at a time {alone['seconds']:.1f} s, "
        f"{WINDOWS} at a time {many['seconds']:.1f} s = {alone['seconds'] / many['seconds']:.1f}×",
        flush=True,
    )


def processor(leads: int) -> None:
    with server("bench/lead_server.py", str(leads)) as url:
        found = apart("sync", url, 2, 100_000)
    print(
        f"processor  {leads:,} leads, {found['rows']:,} rows: {found['rows'] / found['cpu_s']:,.0f} rows a second of "
        f"processor, {found['seconds']:.1f} s of clock, peak {found['peak_mb']:,.0f} MB",
        flush=True,
    )


def peers(leads: int) -> None:
    with tempfile.TemporaryDirectory(prefix="voronka-peers-") as made:
        python = Path(made) / "bin" / "python"
        venv.create(made, with_pip=True)
        install = [python, "-m", "pip", "install", "-q", "-r", HOUSE / "bench" / "peers.txt"]
        if subprocess.run(install, check=False).returncode:
            print(f"peers      {len(CLIENTS)} clients skipped: they cannot be installed here", flush=True)
            return
        with server("bench/lead_server.py", str(leads)) as url:
            ours = {"sync": apart("sync", url, 4, 100_000), "reading and mapping": apart("reading", url)}
            theirs = {}
            for client in CLIENTS:
                theirs[client] = outcome([python, HOUSE / "bench" / "peers.py", client, url])
    best = ours["reading and mapping"]["seconds"]
    for name, found in ours.items():
        print(f"peers      Voronka, {name:<20}{leads / found['seconds']:>9,.0f} leads a second", flush=True)
    for client, found in theirs.items():
        if "error" in found:
            print(f"peers      {client:<29} reads nothing: {found['error']}", flush=True)
            continue
        assert found["leads"] == leads, (client, found)
        rate = leads / found["seconds"]
        print(
            f"peers      {client:<29}{rate:>9,.0f} leads a second: ours is {found['seconds'] / best:.2f}×", flush=True
        )


def outcome(command: list[Any]) -> dict[str, Any]:
    """What a client printed, or the last line of its traceback."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"error": done.stderr.strip().splitlines()[-1]}
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--leads", type=int, default=20_000)
    parser.add_argument("--scale", type=float, default=0.1, help="of the company, for pace and latency")
    parser.add_argument("--million", action="store_true", help="also the memory of 1 000 000 leads (minutes)")
    parser.add_argument("--only", default="pace,latency,processor,peers")
    chosen = parser.parse_args()
    print(f"{os.cpu_count()} cores")
    for name in chosen.only.split(","):
        if name in ("pace", "latency"):
            {"pace": pace, "latency": latency}[name](chosen.scale)
        else:
            {"processor": processor, "peers": peers}[name](chosen.leads)
    if chosen.million:
        processor(1_000_000)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        name, url, *rest = sys.argv[2:]
        numbers = [int(rest[0]), float(rest[1])] if rest else []
        print(json.dumps(MEASURES[name](url, *numbers)))
    else:
        main()
