"""How well the amoCRM connector uses what it is given: the pace, the latency, the processor, the memory.

    python bench/sync_amocrm.py [--leads 20000] [--million] [--only pace,latency,processor,peers]

* `pace`       the documented limit on (7 requests a second): requests per second of a whole first sync, 429s earned
* `latency`    no limit, 50 ms an answer: a first sync with windows in parallel against one window at a time; by full
               pages, where the processor is as busy as the network, and by small ones, where waiting is nearly all
               there is. Nothing can be faster than the processor of the client, nor than the longest walk, whose
               pages wait for each other: both are printed beside it
* `processor`  canonical rows per second of processor time: client, mapping, raw copies and load together, leads with
               ten custom fields, the server in another process; peak memory (`--million`: of 1 000 000 leads)
* `peers`      public clients (`peers_amocrm.txt`, an environment of their own) read the same leads from the same
               server, at once and at 50 ms an answer; they keep nothing, so beside the sync stands our reading, mapped
               and not

Every measurement is a process of its own. Servers: the demo amoCRM, and for leads alone `lead_server.py`.
"""

import argparse
import os
import re
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from apparatus import AS_OF, BENCH, alone, apart, clients, knob, outcome, server, sync, told

CEILING = 7.0
LATENCY_S = 0.05
WINDOWS = 16
FULL_PAGE, SMALL_PAGE = 250, 25
MOST_EVENTS = 100
CLIENTS = ("aioamocrm", "amocrm-api-wrapper", "amocrm-api")


# --- measured, each in a process of its own ---


def measure_sync(url: str, parallel: str, pace: str, page: str = str(FULL_PAGE)) -> dict[str, Any]:
    """A first sync. begun_cpu_s: processor that was spent before it began: on starting Python and on its imports."""
    from demo.run import AMOCRM

    settings: dict[str, Any] = {"page_size": int(page), "events_page_size": min(int(page), MOST_EVENTS)}
    with tempfile.TemporaryDirectory(prefix="voronka-bench-") as made:
        begun_cpu_s = time.process_time()
        found = sync(Path(made), AMOCRM, url, parallel=int(parallel), requests_per_second=float(pace), **settings)
        return {**found, "begun_cpu_s": begun_cpu_s}


def measure_reading(url: str, how: str) -> dict[str, Any]:
    """Leads read and thrown away, in as many windows at once as a sync has. how: mapped, or as they came."""
    from concurrent.futures import ThreadPoolExecutor
    from datetime import UTC, datetime
    from itertools import count

    from commands.run import collecting_rarely
    from connectors.amocrm import CONNECTOR
    from connectors.amocrm.walking import Query, walk
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
        query = Query("/api/v4/leads", "leads", "leads", settings.page_size, {"with": "contacts"})

        def mapped(window: Any) -> int:
            return sum(is_lead(one) for one in leads.read(api, account, window))

        def as_they_came(window: Any) -> int:
            return sum(map(len, walk(api, query, window, api.reading(account))))

        assert account.created_at is not None
        windows = first_windows(leads, begin=account.created_at, start=datetime.now(UTC))
        with collecting_rarely(), ThreadPoolExecutor(WINDOWS) as pool:  # as a sync does
            n = sum(pool.map({"mapped": mapped, "bare": as_they_came}[how], windows))
        return {"seconds": time.perf_counter() - begun, "leads": n}


def is_lead(item: Any) -> bool:
    return bool(type(item).__name__ == "RawRecord" and item.entity == "leads")


MEASURES: dict[str, Callable[..., dict[str, Any]]] = {"sync": measure_sync, "reading": measure_reading}


# --- servers ---


def demo(scale: float, *more: str) -> Any:
    return server("-m", "demo.amocrm", "--scale", str(scale), "--as-of", AS_OF.isoformat(), *more)


# --- the table ---


def pace(scale: float) -> None:
    with demo(scale, "--limit") as url:
        found = apart(__file__, "sync", url, 4, CEILING)
        requests = asked(url)
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
        for page in (FULL_PAGE, SMALL_PAGE):
            n = len(asked(url))
            single = apart(__file__, "sync", url, 1, 100_000, page)
            n_single, n = len(asked(url)) - n, len(asked(url))
            many = apart(__file__, "sync", url, WINDOWS, 100_000, page)
            walks = Counter(of_walk(one) for one in asked(url)[n:])
            n_many, longest = walks.total(), max(walks.values())
            cpu_s = many["cpu_s"] - many["begun_cpu_s"]
            print(
                f"latency    {LATENCY_S * 1000:.0f} ms an answer, pages of {page}: one window at a time "
                f"{single['seconds']:.1f} s ({n_single} requests, {n_single * LATENCY_S:.1f} s of waiting), "
                f"{WINDOWS} at a time {many['seconds']:.1f} s ({n_many} requests) "
                f"= {single['seconds'] / many['seconds']:.1f}×; "
                f"the client's processor {cpu_s:.1f} s, {cpu_s / n_many * 1000:.1f} ms a request: "
                f"no more than {single['seconds'] / cpu_s:.1f}× on one core; the longest walk {longest} pages, "
                f"{longest * LATENCY_S:.1f} s: no more than {single['seconds'] / (longest * LATENCY_S):.1f}×",
                flush=True,
            )


def asked(url: str) -> list[dict[str, Any]]:
    return [one for one in told(url, "log")["requests"] if one["path"].startswith("/api/")]


def of_walk(request: dict[str, Any]) -> tuple[str, str]:
    """What the pages of one walk have in common."""
    return request["path"], re.sub(r"\bpage=\d+", "", request["query"])


def processor(leads: int) -> None:
    with server("bench/lead_server.py", str(leads)) as url:
        found = apart(__file__, "sync", url, 2, 100_000)
    print(
        f"processor  {leads:,} leads, {found['rows']:,} rows: {found['rows'] / found['cpu_s']:,.0f} rows a second of "
        f"processor, {found['seconds']:.1f} s of clock, peak {found['peak_mb']:,.0f} MB",
        flush=True,
    )


def peers(leads: int) -> None:
    with clients("peers_amocrm.txt") as python:
        if python is None:
            print(f"peers      {len(CLIENTS)} clients skipped: they cannot be installed here", flush=True)
            return
        for delay in (0, LATENCY_S):
            with server("bench/lead_server.py", str(leads), str(delay)) as url:
                ours = {
                    "read": apart(__file__, "reading", url, "bare"),
                    "read and mapped": apart(__file__, "reading", url, "mapped"),
                    "whole sync": apart(__file__, "sync", url, WINDOWS, 100_000),
                }
                theirs = {client: outcome([python, BENCH / "peers.py", client, url]) for client in CLIENTS}
            compare(leads, delay, ours, theirs)


def compare(leads: int, delay: float, ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    print(f"peers      {leads:,} leads, {delay * 1000:.0f} ms an answer; ours beside each: read, and mapped as well")
    assert all(ours[name]["leads"] >= leads for name in ("read", "read and mapped"))  # bounds of windows are inclusive
    for name, found in ours.items():
        print(f"           Voronka, {name:<20}{leads / found['seconds']:>9,.0f} leads a second", flush=True)
    for client, found in theirs.items():
        if "error" in found:
            print(f"           {client:<29} reads nothing: {found['error']}", flush=True)
            continue
        assert len(set(found["ids"])) == leads, (client, len(found["ids"]))
        bare, mapped = (found["seconds"] / ours[name]["seconds"] for name in ("read", "read and mapped"))
        rate = leads / found["seconds"]
        print(f"           {client:<29}{rate:>9,.0f} leads a second: {bare:.2f}×, {mapped:.2f}×", flush=True)


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


if __name__ == "__main__" and not alone(MEASURES):
    main()
