"""Reconciliation: the warehouse against the CRM itself, within so many requests of each account.

What differs is asked to be read again by the next sync; what came of it all is kept in the status.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from itertools import count
from math import ceil
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
from sqlalchemy import Connection

from connectors.connector import Api, Comparable
from connectors.errors import ConnectorError, CredentialsError, Phrase
from connectors.money import exponent
from connectors.records import Account, Deal
from metrics.links import card_url
from sync.comparison import Budget, Compared, Comparison, Differing, Shown, Side, touched
from sync.events import SyncAccount
from sync.identity import sees_all, sight
from sync.slices import shares
from warehouse import state
from warehouse.checks import check as check_gates
from warehouse.database import (
    WAREHOUSE,
    WarehouseError,
    open_warehouse,
    personal_key,
    private_folder,
    said_plainly,
    writer_lock,
)
from warehouse.on_hand import on_hand
from warehouse.status import iso, write_check
from warehouse.suppression import Suppression

log = logging.getLogger("voronka.check")

MOST_REQUESTS = 200
"""Of an account."""
FOR_ROWS = 0.5
"""Of the requests, where they do not do for all rows; the others count."""
SAMPLE = 50
"""Differing rows that are kept of each kind and list."""
DELETIONS = "deletions"

KINDS: Mapping[str, Phrase] = {
    "missing_here": Phrase("in the CRM only"),
    "missing_there": Phrase("not in the CRM"),
    "gone": Phrase("not in the CRM any more, which does not say since when"),
    "stage": Phrase("another stage"),
    "amount": Phrase("another amount"),
    "owner": Phrase("another owner"),
    "created": Phrase("another time of creation"),
}

Json = dict[str, Any]
Names = Mapping[tuple[str, str], tuple[str, str]]
"""Name and kind of stages, by our ids of pipeline and stage."""


@dataclass(frozen=True)
class Hand:
    """What is on hand of an account. lists: rows by list, and up to when they were read; None: never whole."""

    known: state.KnownAccount
    lists: Mapping[str, tuple[pl.DataFrame, datetime | None]]
    stages: Names
    history: Sequence[Json]
    is_forgotten: Callable[[str], bool]


@dataclass
class Outcome:
    """What came of an account. asked: ids to be read again, by resource."""

    result: Json
    asked: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))


def reconcile(
    data_dir: Path,
    accounts: Sequence[SyncAccount],
    *,
    overlap: timedelta,
    most_requests: int = MOST_REQUESTS,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> dict[str, Json]:
    """Compare the accounts with their CRMs; by account, what the status keeps of it.

    overlap: how far before its watermark the next sync reads again: what has changed since then is no difference.

    Raises:
        LockedError: another process writes. WarehouseError: nothing was synced yet.
    """
    private_folder(data_dir)
    with writer_lock(data_dir), said_plainly(data_dir):
        if not (data_dir / WAREHOUSE).exists():
            raise WarehouseError("Nothing has been synced yet: run `voronka sync`.")
        engine = open_warehouse(data_dir)
        try:
            with engine.connect() as connection:
                hands = [_hand(connection, account, data_dir, now()) for account in accounts]

                def look(pair: tuple[SyncAccount, Hand]) -> Outcome:
                    return _checked(*pair, data_dir, overlap=overlap, most_requests=most_requests, now=now)

                with ThreadPoolExecutor(max(1, len(accounts))) as threads:
                    outcomes = list(threads.map(look, zip(accounts, hands, strict=True)))
                for account, outcome in zip(accounts, outcomes, strict=True):
                    with connection.begin():
                        state.ask_again(connection, account.account_id, outcome.asked.items(), run_id=0)
                    write_check(data_dir, account.account_id, outcome.result)
        finally:
            engine.dispose()
    return {account.account_id: outcome.result for account, outcome in zip(accounts, outcomes, strict=True)}


def key_of(one: Comparable) -> str:
    return f"{one.resource}/{one.prefix}"


def _hand(connection: Connection, account: SyncAccount, data_dir: Path, now: datetime) -> Hand:
    with connection.begin():
        read_to = state.watermarks(connection, account.account_id)
        lists = {
            key_of(one): (
                on_hand(connection, account.target, one.kind, one.prefix),
                read_to.get(one.resource),
            )
            for one in account.connector.comparables
        }
        found = connection.exec_driver_sql(
            "SELECT s.pipeline_id, s.stage_id, coalesce(p.name, s.pipeline_id) || ' · ' || s.name, s.kind FROM stage s "
            "LEFT JOIN pipeline p USING (account_id, pipeline_id) WHERE s.account_id = ? ORDER BY 1, 2",
            (account.target,),
        )
        stages = {(row[0], row[1]): (row[2], row[3]) for row in found.fetchall()}
        gates = check_gates(connection, now=now, codes={"history_differs"}, account_id=account.target)
        forgotten = Suppression(connection, key=personal_key(data_dir, connection))
        known = state.known_account(connection, account.account_id)

    def is_forgotten(card: str) -> bool:
        return forgotten.owner("card", account.target, card) is not None

    return Hand(known, lists, stages, gates, is_forgotten)


def _checked(
    account: SyncAccount,
    hand: Hand,
    data_dir: Path,
    *,
    overlap: timedelta,
    most_requests: int,
    now: Callable[[], datetime],
) -> Outcome:
    """Never raises: what went wrong is told."""
    n_requests = 0
    ordinals = count(1)

    def ordinal() -> int:
        nonlocal n_requests
        n_requests = next(ordinals)
        return n_requests

    api: Api | None = None
    outcome = Outcome({"at": iso(now()), "state": "failed", "error": None, "summary": None, "notes": [], "lists": []})
    try:
        state_dir = data_dir / "state" / account.account_id
        private_folder(state_dir.parent)
        private_folder(state_dir)
        api = account.connector.open_api(account.settings, env=account.env, ordinals=ordinal, state_dir=str(state_dir))
        budget = Budget(most_requests, lambda: n_requests)
        _look(api, account, hand, outcome, budget=budget, overlap=overlap)
    except ConnectorError as error:
        outcome.result["error"] = error.said
    except Exception as error:
        log.exception("%s: a bug in the check", account.account_id)
        outcome.result["error"] = _bug(error)
    finally:
        if api is not None:
            api.close()
    outcome.result["n_requests"] = n_requests
    return outcome


def _look(api: Api, account: SyncAccount, hand: Hand, outcome: Outcome, *, budget: Budget, overlap: timedelta) -> None:
    result = outcome.result
    who = account.connector.account(api, account.settings)
    if hand.known.number not in (None, who.external_id):
        result["error"] = state.other_account(account.account_id, str(hand.known.number), who.external_id)
        return
    viewer = account.connector.viewer(api) if account.connector.viewer else ""
    if sight(hand.known.viewer, viewer) != "same":
        result["error"] = Phrase(
            "The token of {account} belongs to somebody else than at the last sync, or their rights are others: what "
            "they do not see would count as missing, so nothing was compared. Run voronka sync first.",
            account=account.account_id,
        )
        return
    if viewer and not sees_all(viewer):
        result["notes"].append(Phrase("The token's owner is no administrator: only what they may see was compared."))
    who = who.model_copy(update={"account_id": account.target})
    read = {key: (rows, until - overlap) for key, (rows, until) in hand.lists.items() if until}

    @cache
    def happened() -> Collection[str] | None:
        return touched(api, who, account.connector, min(end for _, end in read.values()))

    zone, share = ZoneInfo(who.tz or "UTC"), account.settings.vanish_share
    compared = [
        *_compare(
            Side(api, who, account.connector, budget, zone, share, happened, hand.is_forgotten), read, hand.stages
        )
    ]
    for one in compared:
        result["lists"].append(_told(one, who, hand.stages))
        for resource, ids in _to_read_again(one, account):
            outcome.asked[resource].update(ids)
    result["summary"] = _summary(compared)
    result["history"] = [*hand.history]
    result["cells"] = [cell for one in compared if one.comparable.kind is Deal for cell in _cells(one, hand, who)]
    result["outcomes"] = _outcomes(compared, hand)
    result["n_asked"] = sum(map(len, outcome.asked.values()))
    result["state"] = _verdict(compared)


def _verdict(compared: Sequence[Compared]) -> str:
    if any(difference.kind != "gone" for one in compared for difference in one.found):
        return "differs"
    return "failed" if any(one.error for one in compared) else "equal"


def _compare(side: Side, read: Mapping[str, tuple[pl.DataFrame, datetime]], known: Names) -> Iterator[Compared]:
    """Each list by itself: one that fails does not stop the others. read: rows by list, and what is newer than they."""
    comparables, most = side.connector.comparables, side.budget.most
    costs = [
        ceil(read[key_of(one)][0].height / one.page(side.api)) if key_of(one) in read else 0 for one in comparables
    ]
    is_enough = sum(costs) <= most * (1 + FOR_ROWS) / 2
    given = costs if is_enough else shares(costs, int(most * FOR_ROWS))
    for one, pages in zip(comparables, given, strict=True):
        if key_of(one) not in read:
            error = Phrase("Never read whole, so there is nothing to compare.")
            yield Compared(one, error=error)
            continue
        rows, end = read[key_of(one)]
        stages = [place for place in known if _is_of(place, rows)] if one.kind is Deal else []
        comparison = Comparison(side, one, rows, end - one.settles, pages, end.toordinal(), stages)
        try:
            yield comparison.run()
        except CredentialsError:
            raise
        except ConnectorError as error:
            yield Compared(one, n_here=rows.height, error=error.said)
        except Exception as error:
            log.exception("%s, %s: a bug in the check", side.account.account_id, one.resource)
            yield Compared(one, n_here=rows.height, error=_bug(error))


def _is_of(place: tuple[str, str], rows: pl.DataFrame) -> bool:
    """Whether a list has rows in a pipeline: leads and deals may have stages each of their own."""
    return rows["pipeline_id"].eq(place[0]).any()


def _bug(error: Exception) -> Phrase:
    return Phrase("An error in the program ({error}); the log has the details.", error=type(error).__name__)


def _to_read_again(one: Compared, account: SyncAccount) -> Iterator[tuple[str, set[str]]]:
    """What is gone is looked for by name: a list that does not show it would say nothing."""
    resource = one.comparable.resource
    gone = {found.native_id for found in one.found if found.there is None}
    yield resource, {found.native_id for found in one.found} - gone
    if any(known.name == DELETIONS for known in account.connector.resources):
        yield DELETIONS, {f"{resource}/{native_id}" for native_id in gone}


def _summary(compared: Sequence[Compared]) -> Phrase:
    n_rows = [(one.comparable.kind is Deal, one.n_read + one.n_counted) for one in compared]
    return Phrase(
        "{deals} deals and {others} other rows compared with the CRM: {n} differences ({newer} newer than the last "
        "sync).",
        deals=_number(sum(n for is_deal, n in n_rows if is_deal)),
        others=_number(sum(n for is_deal, n in n_rows if not is_deal)),
        n=_number(sum(found.kind != "gone" for one in compared for found in one.found)),
        newer=_number(sum(one.n_newer for one in compared)),
    )


def _told(one: Compared, who: Account, stages: Names) -> Json:
    kinds: dict[str, list[Differing]] = defaultdict(list)
    for found in one.found:
        kinds[found.kind].append(found)
    return {
        "resource": one.comparable.resource,
        "table": one.comparable.kind.table(),
        "n_here": one.n_here,
        "n_read": one.n_read,
        "n_counted": one.n_counted,
        "is_whole": one.is_whole,
        "n_newer": one.n_newer,
        "differences": {kind: len(some) for kind, some in kinds.items()},
        "sample": [_shown(found, who, stages) for some in kinds.values() for found in some[:SAMPLE]],
        "told": [
            *_extent(one),
            *(Phrase("{what}: {n}", what=KINDS[kind], n=len(some)) for kind, some in kinds.items()),
        ],
        "notes": one.notes,
        "error": one.error,
    }


def _extent(one: Compared) -> Iterator[Phrase]:
    """How much was compared."""
    if one.is_whole:
        yield Phrase("all rows compared one by one: {n}", n=_number(one.n_read))
    else:
        yield Phrase(
            "of {n} rows compared one by one: {n_read}, by their number: {n_counted}",
            n=_number(one.n_here),
            n_read=_number(one.n_read),
            n_counted=_number(one.n_counted),
        )
    if one.n_newer:
        yield Phrase("newer than the last sync: {n}", n=_number(one.n_newer))


def _number(n: int) -> str:
    return f"{n:,}".replace(",", "\u00a0")


def _shown(one: Differing, who: Account, stages: Names) -> Json:
    return {
        "kind": one.kind,
        "what": KINDS[one.kind],
        "id": one.id,
        "url": card_url({"connector": who.connector, "base_url": who.base_url}, one.id),
        "here": one.here and _value(one.kind, one.here, stages),
        "there": one.there and _value(one.kind, one.there, stages),
    }


def _value(kind: str, row: Shown, stages: Names) -> str:
    """What a row says of what differs; of one that is on one side only, its stage or when it was created."""
    match kind:
        case "amount":
            return _money(row["amount_minor"], row["currency"])
        case "owner":
            return row["owner"] or "—"
        case "created":
            return str(iso(row["created_at"]))
        case "stage":
            return _stage(row, stages)
    return f"{iso(row['created_at'])}{', ' + _stage(row, stages) if row['stage_id'] else ''}"


def _stage(row: Shown, stages: Names) -> str:
    place = row["pipeline_id"], row["stage_id"]
    return stages[place][0] if place in stages else " · ".join(place)


def _money(minor: int | None, currency: str | None) -> str:
    return "—" if minor is None else f"{Decimal(minor).scaleb(-exponent(currency or ''))} {currency or ''}".rstrip()


Cell = tuple[str, str, str]
"""Month of creation, pipeline, stage."""


def _cells(one: Compared, hand: Hand, who: Account) -> Iterator[Json]:
    """Months of creation by pipeline and stage that hold other deals or sums there than here."""
    zone = ZoneInfo(who.tz or "UTC")

    def cell_of(row: Shown) -> Cell:
        return f"{row['created_at'].astimezone(zone):%Y-%m}", row["pipeline_id"], row["stage_id"]

    rows, _ = hand.lists[key_of(one.comparable)]
    deltas = _deltas(one, cell_of)
    month = pl.col("created_at").dt.convert_time_zone(who.tz or "UTC").dt.strftime("%Y-%m")
    held = {
        (cell[0], cell[1], cell[2]): (n, amount)
        for *cell, n, amount in rows.filter("is_alive")
        .group_by(month, "pipeline_id", "stage_id")
        .agg(n=pl.len(), amount=pl.col("amount_minor").sum())
        .iter_rows()
    }
    for cell, (n, amount) in sorted(deltas.items())[:SAMPLE]:
        if n or amount:
            n_here, amount_here = held.get(cell, (0, 0))
            yield {
                "month": cell[0],
                "stage": _stage({"pipeline_id": cell[1], "stage_id": cell[2]}, hand.stages),
                "n_here": n_here,
                "n_there": n_here + n,
                "amount_minor_here": amount_here,
                "amount_minor_there": amount_here + amount,
            }


def _deltas(one: Compared, key: Callable[[Shown], Any]) -> dict[Any, tuple[int, int]]:
    """How many rows and how much money more there than here, by key."""
    sums: dict[Any, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for found in {found.id: found for found in one.found if found.kind != "gone"}.values():
        for row, sign in ((found.there, 1), (found.here, -1)):
            if row:
                n, amount = sums[key(row)]
                sums[key(row)] = n + sign, amount + sign * (row["amount_minor"] or 0)
    return sums


def _outcomes(compared: Iterable[Compared], hand: Hand) -> Json:
    """Deals that are open, won and lost, here and there as far as was compared."""
    totals: dict[str, list[int]] = defaultdict(lambda: [0, 0])

    def kind_of(row: Shown) -> str:
        return hand.stages.get((row["pipeline_id"], row["stage_id"]), ("", "open"))[1]

    for one in compared:
        if one.comparable.kind is not Deal or one.error:
            continue
        rows, _ = hand.lists[key_of(one.comparable)]
        places = rows.filter("is_alive").group_by("pipeline_id", "stage_id").len()
        for row in places.iter_rows(named=True):
            for side in (0, 1):
                totals[kind_of(row)][side] += row["len"]
        for kind, (n, _amount) in _deltas(one, kind_of).items():
            totals[kind][1] += n
    return {kind: {"n_here": here, "n_there": there} for kind, (here, there) in sorted(totals.items())}
