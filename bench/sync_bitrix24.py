"""How well the Bitrix24 connector uses what it is given: the server time, the number of requests, the memory.

    python bench/sync_bitrix24.py [--deals 100000] [--page-s 0.06] [--real] [--million] [--only limits,company,peers]

* `limits`   the documented limits on, every page of 50 taking `--page-s` of server time: deals are read until several
             periods' time is used up, against what the reference's arithmetic allows (9.2 of bitrix24.md); refusals
* `company`  a whole first sync of the demo company, the limits on: no refusals
* `peers`    public clients (`peers_bitrix24.txt`, an environment of their own) read the same deals from the same
             server, the limits on, while people change, delete and add some: who reads how fast, loses or doubles what.
             They keep nothing: beside them stands our reading, mapped and not
* `--million`  peak memory of a first sync of 100 000, of 300 000 and of 1 000 000 deals

The server's minute is `--minute` seconds long and its limit so much shorter too: 48 s of server time in 60 s instead of
480 s in 600 s. `--real` leaves both as they are. Every measurement is a process of its own.
"""

import argparse
import json
import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from math import ceil
from pathlib import Path
from typing import Any

from apparatus import AS_OF, BENCH, alone, apart, clients, knob, outcome, server, sync, told

PAGE = 50
LIMIT_S, MINUTE_S, N_MINUTES = 480.0, 60.0, 10
WINDOWS = 8
CLIENTS = ("fast-bitrix24", "b24pysdk")
OURS = {"Voronka, read": "bare", "Voronka, read and mapped": "mapped"}
EVERY = 8
"""Of how many commands people change something before one."""
DELETED = 30


# --- measured, each in a process of its own ---


def measure_sync(url: str, *resources: str) -> dict[str, Any]:
    """A first sync at the documented pace; of some resources, or of all."""
    from demo.run import BITRIX24

    with tempfile.TemporaryDirectory(prefix="voronka-bench-") as made:
        return sync(Path(made), BITRIX24, url, parallel=4, resources=resources, requests_per_second=2, burst=50)


def measure_fast_sync(url: str, *resources: str) -> dict[str, Any]:
    """The same without any pace."""
    from demo.run import BITRIX24

    with tempfile.TemporaryDirectory(prefix="voronka-bench-") as made:
        return sync(Path(made), BITRIX24, url, parallel=2, resources=resources)


def measure_reading(url: str, how: str = "mapped", limit_s: str = "480") -> dict[str, Any]:
    """Deals read and thrown away, in the windows of a first sync, at the documented pace. how: mapped, or as they
    came."""
    from itertools import count

    from commands.run import collecting_rarely
    from connectors.bitrix24 import CONNECTOR
    from connectors.bitrix24.lists import DEALS
    from connectors.bitrix24.paging import walk
    from connectors.bitrix24.reading import DEAL
    from connectors.bitrix24.walking import reading_of, with_fields
    from demo.run import BITRIX24
    from sync.plan import by_number

    given = {"phone_country": "RU", "operating_limit_s": float(limit_s)}
    settings = CONNECTOR.settings(id="bench", connector="bitrix24", webhook_env="W", **given)
    ordinals = count(1)
    (address,) = BITRIX24.environment(url).values()
    with tempfile.TemporaryDirectory(prefix="voronka-bench-") as state:
        begun = time.perf_counter()
        api = CONNECTOR.open_api(
            settings, env={"W": address}, ordinals=lambda: next(ordinals), state_dir=f"{state}/bench"
        )
        account = CONNECTOR.account(api, settings)
        deals = next(one for one in CONNECTOR.resources if one.name == "deals")
        assert deals.spans is not None
        windows = [window for part, span in deals.spans(api).items() for window in by_number(part, span, None)]

        def mapped(window: Any) -> list[int]:
            return [int(one.native_id) for one in deals.read(api, account, window) if is_deal(one)]

        def as_they_came(window: Any) -> list[int]:
            listing = with_fields(DEALS, reading_of(api, account, DEAL))
            return [int(row[DEALS.key]) for page in walk(api, listing, window) for row in page]

        with collecting_rarely(), ThreadPoolExecutor(WINDOWS) as pool:  # as a sync does
            ids = pool.map({"mapped": mapped, "bare": as_they_came}[how], windows)
            found = [number for part in ids for number in part]
        return {"seconds": time.perf_counter() - begun, "ids": found}


def is_deal(item: Any) -> bool:
    return bool(type(item).__name__ == "RawRecord" and item.entity == "crm.item.list/2")


MEASURES = {"sync": measure_sync, "fast_sync": measure_fast_sync, "reading": measure_reading}


# --- servers ---


def portal(deals: int, *more: str, **switches: Any) -> AbstractContextManager[str]:
    return server("bench/deal_portal.py", str(deals), "--switches", json.dumps(switches), *more)


def demo(scale: float, **switches: Any) -> AbstractContextManager[str]:
    from demo.run import SECRET

    options = ["--scale", str(scale), "--as-of", AS_OF.isoformat(), "--secret", SECRET, "--limit"]
    return server("-m", "demo.bitrix24", *options, "--switches", json.dumps(switches))


def costly(page_s: float, minute_s: float) -> dict[str, Any]:
    """Switches of a portal on which every page takes as long as it costs."""
    return {
        "page_cost_s": page_s,
        "costs_are_slept": True,
        "op_bucket_s": minute_s,
        "op_limit_s": LIMIT_S * minute_s / MINUTE_S,
    }


def refusals(url: str) -> tuple[int, int]:
    """How many commands were refused for their server time, and how many requests for their number."""
    log = told(url, "log")
    return log["over_time"], sum(one["status"] == 503 for one in log["requests"])


# --- the table ---


def limits(deals: int, page_s: float, minute_s: float) -> None:
    limit_s = LIMIT_S * minute_s / MINUTE_S
    with portal(deals, "--limit", **costly(page_s, minute_s)) as url:
        found = apart(__file__, "reading", url, "mapped", limit_s)
        over_time, over_rate = refusals(url)
    assert len(set(found["ids"])) == len(found["ids"]) == deals, (len(found["ids"]), deals)
    server_s = ceil(deals / PAGE) * page_s
    n_full = ceil(server_s / limit_s) - 1
    least_s = n_full * minute_s * N_MINUTES + (server_s - n_full * limit_s) / WINDOWS
    print(
        f"limits     {deals:,} deals, {page_s:g} s a page, {limit_s:g} s in {minute_s * N_MINUTES:g} s: "
        f"{found['seconds']:.1f} s, {deals / found['seconds']:,.0f} deals a second; the least is {least_s:.1f} s: "
        f"{least_s / found['seconds']:.1%} (sustained {40 / page_s:,.0f} a second: "
        f"{deals / found['seconds'] / (40 / page_s):.1%}); refused: {over_time} for time, {over_rate} for number",
        flush=True,
    )


def company(scale: float, page_s: float, minute_s: float) -> None:
    with demo(scale, **costly(page_s, minute_s)) as url:
        found = apart(__file__, "sync", url)
        requests = len(told(url, "log")["requests"])
        over_time, over_rate = refusals(url)
    print(
        f"company    scale {scale:g}: {found['objects']:,} objects in {found['seconds']:.1f} s, {requests} requests; "
        f"refused: {over_time} for time, {over_rate} for number; peak {found['peak_mb']:,.0f} MB",
        flush=True,
    )


def peers(deals: int, page_s: float) -> None:
    with clients("peers_bitrix24.txt") as python:
        if python is None:
            print(f"peers      {len(CLIENTS)} clients skipped: they cannot be installed here", flush=True)
            return
        for changes in (False, True):
            print(
                f"peers      {deals:,} deals, {page_s:g} s a page, {'changing' if changes else 'at rest'}", flush=True
            )
            for name in (*OURS, *CLIENTS):
                with portal(deals, "--limit", **costly(page_s, MINUTE_S)) as url:
                    there = disturb(url, deals) if changes else set(range(first(), first() + deals))
                    if name in OURS:
                        found = apart(__file__, "reading", url, OURS[name])
                    else:
                        found = outcome([python, BENCH / "peers.py", name, url])
                    over_time, over_rate = refusals(url)
                print(f"           {name:<26}{told_of(found, there)}; refused: {over_time}, {over_rate}", flush=True)


def first() -> int:
    from demo.bitrix24_past import FIRST_DEAL

    return FIRST_DEAL


def disturb(url: str, deals: int) -> set[int]:
    """Let people change deals while they are read: some of the first are deleted, some change, new ones come. Returns
    the ids of those that are there from the beginning to the end."""
    gone = set(range(first() + 10, first() + 10 + DELETED))
    for n, number in enumerate(sorted(gone)):
        orders = [
            {"what": "delete", "table": "deal", "id": number},
            {"what": "update", "table": "deal", "id": number + deals // 2, "fields": {"TITLE": f"Changed {n}"}},
            {"what": "add", "table": "deal", "fields": {"TITLE": f"New {n}"}},
        ]
        knob(url, "script", {"method": "crm.item.list", "nth": EVERY * (n + 1), "orders": orders})
    return set(range(first(), first() + deals)) - gone


def told_of(found: dict[str, Any], there: set[int]) -> str:
    if "error" in found:
        return f"reads nothing: {found['error']}"
    ids = found["ids"]
    return (
        f"{len(ids) / found['seconds']:>9,.0f} deals a second ({found['seconds']:.1f} s), "
        f"lost {len(there - set(ids))}, doubled {len(ids) - len(set(ids))}"
    )


def million() -> None:
    for deals in (100_000, 300_000, 1_000_000):
        with portal(deals) as url:
            found = apart(__file__, "fast_sync", url, "deals", "history")
        print(
            f"memory     {deals:,} deals and their history, {found['rows']:,} rows: {found['seconds']:.0f} s, "
            f"{found['rows'] / found['cpu_s']:,.0f} rows a second of processor, peak {found['peak_mb']:,.0f} MB",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--deals", type=int, default=100_000)
    parser.add_argument("--page-s", type=float, default=0.06)
    parser.add_argument("--minute", type=float, default=6.0)
    parser.add_argument("--real", action="store_true")
    parser.add_argument("--scale", type=float, default=0.1, help="of the company")
    parser.add_argument("--million", action="store_true", help="also the memory of 1 000 000 deals (half an hour)")
    parser.add_argument("--only", default="limits,company,peers")
    chosen = parser.parse_args()
    minute_s = MINUTE_S if chosen.real else chosen.minute
    print(f"{os.cpu_count()} cores")
    for name in filter(None, chosen.only.split(",")):
        if name == "limits":
            limits(chosen.deals, chosen.page_s, minute_s)
        elif name == "company":
            company(chosen.scale, chosen.page_s, minute_s)
        else:
            peers(20_000, chosen.page_s)
    if chosen.million:
        million()


if __name__ == "__main__" and not alone(MEASURES):
    main()
