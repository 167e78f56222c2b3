"""`voronka status`: freshness and completeness of the data, and what went wrong last.

Reads `status.json` and the manifest only, so that it never waits for a sync.
"""

import json
from collections import defaultdict
from collections.abc import Container, Mapping, Sequence
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
from warehouse.status import STALE_AFTER, read_status

KILLED_AFTER = timedelta(minutes=5)
"""A running sync that has not moved for so long is no more."""
MOST_NAMED = 6


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
    is_under_way = sync["state"] == "running" and not killed
    for account in sync["accounts"]:
        of = clocks.get(account["account_id"], clock)
        lines += ["", account["account_id"], *_account_lines(account, of, is_under_way=is_under_way)]
    return lines


def _account_lines(account: dict[str, Any], clock: Clock, *, is_under_way: bool) -> list[str]:
    """What failed, what is old, what was odd; then in a line each what is still to come, not given and well."""
    mine, resources = account.get("error"), account["resources"]
    failed, old, well = defaultdict[str, list[str]](list), defaultdict[str, list[str]](list), list[dict[str, Any]]()
    coming, left_out = list[str](), list[str]()
    names = {one["resource"]: named(one["resource"], {each["resource"] for each in resources}) for one in resources}
    for one in resources:
        name = names[one["resource"]]
        if sentence := _failure(one, clock):
            if one["error"] is None or one["error"] != mine:  # else the whole account suffers from it
                failed[sentence].append(name)
        elif is_under_way and one["state"] in {"waiting", "running"}:
            coming.append(name)
        elif one["state"] == "left_out":
            left_out.append(name)
        elif sentence := _age(one, clock):
            old[sentence].append(name)
        else:
            well.append(one)
    told = [mine] if mine else []
    lines = [f"  ! {translated(sentence, _)}" for sentence in (*told, *(account.get("warnings") or ()))]
    lines += [f"  ! {_few(some)}: {sentence}" for group in (failed, old) for sentence, some in group.items()]
    lines += [f"  ! {check[language()]}" for check in account.get("checks") or ()]
    lines += _compared(account.get("check"), clock)
    lines += [f"  {names[one['resource']]}: {remarks}" for one in resources if (remarks := _remarks(one))]
    lines += [_("  Still to come: {names}.").format(names=_few(coming))] if coming else []
    lines += [_("  Not given by the CRM: {names}.").format(names=", ".join(left_out))] if left_out else []
    return lines + ([_well(well, clock)] if well else [])


def _compared(check: dict[str, Any] | None, clock: Clock) -> list[str]:
    """When the account was compared with its CRM last, and what came of it; of lists those that differ or failed."""
    if check is None:
        return []
    told = [translated(one, _) for one in (check["error"], check["summary"], *check["notes"]) if one]
    at, mark = clock.ago(check["at"]), "" if check["state"] == "equal" else "! "
    lines = ["  " + mark + _("Compared {at}: {told}").format(at=at, told=" ".join(told))]
    names = {one["resource"] for one in check["lists"]}
    for one in check["lists"]:
        if one["error"] or one["differences"]:
            said = "; ".join(translated(sentence, _) for sentence in (one["error"], *one["told"]) if sentence)
            lines.append(f"  {mark}{named(one['resource'], names)}: {said}")
    if mark and check["lists"]:
        lines.append("  " + _("Which rows these are: `voronka check`, or the status page."))
    return lines


def _failure(one: dict[str, Any], clock: Clock) -> str:
    """What went wrong with a resource that was not read well since."""
    failure = one.get("failure") or {"at": None, "error": one["error"]}
    if not failure["error"]:
        return ""
    never, before = _("failed {at}, never read: {error}"), _("failed {at}, read up to {until}: {error}")
    return (before if one["watermark"] else never).format(
        at=clock.ago(failure["at"]), until=clock.ago(one["watermark"]), error=translated(failure["error"], _)
    )


def _age(one: dict[str, Any], clock: Clock) -> str:
    """That a resource is old or was never read."""
    if one["watermark"] is None:
        return _("never read")
    if clock.now - datetime.fromisoformat(one["watermark"]) <= STALE_AFTER:
        return ""
    return _("not current, read up to {until}").format(until=clock.ago(one["watermark"]))


def _well(some: Sequence[dict[str, Any]], clock: Clock) -> str:
    text = _("  In order: {n}, read up to {until}; objects read {n_read}, rows written {n_written}.")
    return text.format(
        n=len(some),
        until=clock.ago(min(one["watermark"] for one in some)),
        n_read=sum(one["n_read"] for one in some),
        n_written=sum(one["n_written"] for one in some),
    )


def _few(names: Sequence[str]) -> str:
    shown = ", ".join(names[:MOST_NAMED])
    more = len(names) - MOST_NAMED
    return _("{names} and {n} more").format(names=shown, n=more) if more > 0 else shown


def _remarks(one: dict[str, Any]) -> str:
    return "; ".join(translated(warning, _) for warning in one.get("warnings") or ())


def named(resource: str, parts: Container[str]) -> str:
    """As the page calls it, in brackets as `--resource` does. parts: all resources of its account."""
    name = part_name(resource, parts, language())
    return resource if name == resource else f"{name} ({resource})"


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
    found = [check for check in published["checks"] or [] if check["count"]]
    lines += [f"  ! {check[language()]} ({check['count']})" for check in found]
    rows = _coverage(published["coverage"] or [], clocks)
    names = [_("account"), _("complete since"), _("read up to"), _("tables")]
    return [*lines, "", tables_text({"": pl.DataFrame(rows, schema=names, orient="row")}, titled=False).rstrip()]


def _coverage(coverage: Sequence[dict[str, Any]], clocks: Mapping[str, Clock]) -> list[tuple[str, str, str, str]]:
    """Tables of an account that are alike, in a row each; most of them are counted only."""
    alike = defaultdict[tuple[str, str, str], list[str]](list)
    for row in coverage:
        account, of = row["account_id"], clocks.get(row["account_id"], clocks[""])
        alike[account, of.day(row["complete_from"]), of.ago(row["watermark"])].append(named(row["resource"], ()))
    places = sorted(alike, key=lambda place: (place[0], len(alike[place])))
    last = {place[0]: place for place in places}
    return [
        (*place, _("all others: {n}").format(n=n) if place == last[place[0]] and n > MOST_NAMED else ", ".join(some))
        for place in places
        for some in [alike[place]]
        for n in [len(some)]
    ]


def _why_stale(account: dict[str, Any], published_at: str) -> str:
    if account["watermark"] is None:
        return _("  ! Account {id} has never been read whole.")
    if datetime.fromisoformat(account["watermark"]) > datetime.fromisoformat(published_at):
        return _("  ! Account {id} was read by a clock that is ahead of this machine's: how fresh it is, is not known.")
    return _("  ! Account {id} has not been updated for long.")


STATES = {
    "running": "running",
    "done": "done",
    "failed": "failed",
    "interrupted": "interrupted",
}
