"""`voronka status`: freshness and completeness of the data, and what went wrong last.

Reads `status.json` and the manifest only, so that it never waits for a sync.
"""

import json
from collections.abc import Container, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl

from app.i18n import translated
from app.resources import part_name
from commands.output import tables_text
from commands.text import _, language
from config import Config
from warehouse.status import read_status

KILLED_AFTER = timedelta(minutes=5)
"""A running sync that has not moved for so long is no more."""


def state_of(config: Config) -> dict[str, Any]:
    """What is known without opening the warehouse.

    {data_dir, timezone, sync: status.json or null, publication: {generation, created_at, as_of, accounts, coverage,
    checks, rows} or null, accounts_without_data: [ids]}
    """
    published = manifest_of(config)
    seen = {account["account_id"] for account in (published or {}).get("accounts", [])}
    return {
        "data_dir": str(config.data_dir),
        "timezone": config.timezone,
        "sync": read_status(config.data_dir),
        "publication": None if published is None else _publication(published),
        "accounts_without_data": [entry.id for entry in config.accounts if entry.id not in seen and not entry.feeds],
    }


def manifest_of(config: Config) -> dict[str, Any] | None:
    """The newest publication's manifest; None before the first."""
    try:
        generation = (config.publication / "current").read_text("utf-8").strip()
        manifest: dict[str, Any] = json.loads((config.publication / generation / "manifest.json").read_text("utf-8"))
    except FileNotFoundError:
        return None
    return manifest


def _publication(manifest: dict[str, Any]) -> dict[str, Any]:
    kept = ("generation", "created_at", "as_of", "accounts", "coverage", "checks")
    rows = {name: table.get("rows") for name, table in manifest["tables"].items()}
    return {**{name: manifest.get(name) for name in kept}, "rows": rows}


def state_text(state: dict[str, Any], now: datetime | None = None) -> str:
    """The same for people: instants in the zones of their accounts."""
    moment = now or datetime.now(UTC)
    clocks = clocks_of(state, moment)
    return "\n".join([*_sync_lines(state["sync"], clocks), "", *_publication_lines(state, clocks)]) + "\n"


@dataclass(frozen=True)
class Clock:
    """How instants are told: wall time of `zone` with its offset, and how long before `now`."""

    zone: ZoneInfo
    now: datetime

    def day(self, text: str | None) -> str:
        return f"{datetime.fromisoformat(text).astimezone(self.zone):%Y-%m-%d}" if text else "—"

    def ago(self, text: str | None) -> str:
        """An instant with its age, as people read freshness."""
        if text is None:
            return "—"
        moment = datetime.fromisoformat(text)
        minutes = int((self.now - moment).total_seconds() // 60)
        age = (
            _("{n} min ago").format(n=minutes)
            if minutes < 120
            else _("{n} h ago").format(n=minutes // 60)
            if minutes < 48 * 60
            else _("{n} d ago").format(n=minutes // (24 * 60))
        )
        return f"{moment.astimezone(self.zone).isoformat(' ', 'minutes')} ({age})"


def clocks_of(state: dict[str, Any], now: datetime) -> dict[str, Clock]:
    """A clock for each account that was read; under "" that of the first, else of the configuration, for all others."""
    zones = {account["account_id"]: account["tz"] for account in (state["publication"] or {}).get("accounts") or ()}
    common = next(iter(zones.values()), state["timezone"])
    return {name: Clock(ZoneInfo(zone), now) for name, zone in {**zones, "": common}.items()}


def _sync_lines(sync: dict[str, Any] | None, clocks: Mapping[str, Clock]) -> list[str]:
    if sync is None:
        return [_("Nothing has been synced yet: run `voronka sync`.")]
    clock = clocks[""]
    killed = sync["state"] == "running" and clock.now - datetime.fromisoformat(sync["heartbeat_at"]) > KILLED_AFTER
    told = _("killed; the next run goes on where it stopped") if killed else _(STATES.get(sync["state"], sync["state"]))
    lines = [_("Last sync: {state}, began {started}.").format(state=told, started=clock.ago(sync["started_at"]))]
    for account in sync["accounts"]:
        if account.get("error"):
            lines.append(f"  ! {account['account_id']}: {translated(account['error'], _)}")
        rows = [
            (
                named(resource["resource"], {one["resource"] for one in account["resources"]}),
                _(STATES.get(resource["state"], resource["state"])),
                resource["n_read"],
                resource["n_written"],
                clocks.get(account["account_id"], clock).ago(resource["watermark"]),
                _remarks(resource, account.get("error")),
            )
            for resource in account["resources"]
        ]
        names = [_("resource"), _("state"), _("read"), _("written"), _("read up to"), _("remarks")]
        frame = pl.DataFrame(rows, schema=names, orient="row")
        lines += ["", tables_text({account["account_id"]: frame}, titled=True).rstrip()]
        lines += [f"  ! {check[language()]}" for check in account.get("checks") or ()]
    return lines


def named(resource: str, parts: Container[str]) -> str:
    """As the page calls it, in brackets as `--resource` does. parts: all resources of its account."""
    name = part_name(resource, parts, language())
    return resource if name == resource else f"{name} ({resource})"


def _remarks(resource: dict[str, Any], of_account: object) -> str:
    """What went wrong with a resource, but not what its whole account suffers from."""
    if resource["error"]:
        return "" if resource["error"] == of_account else translated(resource["error"], _)
    return "; ".join(translated(warning, _) for warning in resource.get("warnings") or ())


def _publication_lines(state: dict[str, Any], clocks: Mapping[str, Clock]) -> list[str]:
    published, clock = state["publication"], clocks[""]
    if published is None:
        return [_("Nothing is published yet: run `voronka publish` after a sync.")]
    lines = [
        _("Published: {generation}, knows everything up to {as_of}.").format(
            generation=published["generation"], as_of=clock.ago(published["as_of"])
        )
    ]
    stale = [account for account in published["accounts"] if account["is_stale"]]
    lines += [_why_stale(account, published["created_at"]).format(id=account["account_id"]) for account in stale]
    lines += [_("  ! Account {id} has no data yet.").format(id=missing) for missing in state["accounts_without_data"]]
    rows = [
        (row["account_id"], named(row["resource"], ()), of.day(row["complete_from"]), of.ago(row["watermark"]))
        for row in published["coverage"] or []
        for of in [clocks.get(row["account_id"], clock)]
    ]
    names = [_("account"), _("table"), _("complete since"), _("read up to")]
    lines += ["", tables_text({"": pl.DataFrame(rows, schema=names, orient="row")}, titled=False).rstrip()]
    found = [check for check in published["checks"] or [] if check["count"]]
    lines += [f"  ! {check[language()]} ({check['count']})" for check in found]
    return lines


def _why_stale(account: dict[str, Any], published_at: str) -> str:
    if account["watermark"] is None:
        return _("  ! Account {id} has never been read whole.")
    if datetime.fromisoformat(account["watermark"]) > datetime.fromisoformat(published_at):
        return _("  ! Account {id} was read by a clock that is ahead of this machine's: how fresh it is, is not known.")
    return _("  ! Account {id} has not been updated for long.")


STATES = {
    "waiting": "waiting",
    "running": "running",
    "done": "done",
    "failed": "failed",
    "skipped": "not asked for",
    "left_out": "not given by the CRM",
    "interrupted": "interrupted",
}
