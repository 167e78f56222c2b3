"""Canonical tables made anew of the raw objects on hand, without asking the source: after a mapping or a setting of it
has changed.

Every version of every object goes through the function its resource reads with (`Connector.replay`), in the order of
the last reading that showed it, and is loaded as a sync loads it, into tables beside the warehouse (`shadow`). Which
of two versions stays is decided by `read_seq`, as ever: an object that was A, then B, then A again, is A.

What raw objects do not say is not made anew:
- tombstones and patches are kept in tables of their own and laid over rows as ever; those of events are found again,
  those of sweeps, listings and webhooks stay;
- mentions (`Stub`) stay, as they do when everything is read again; new ones are added;
- what was seen of deals (`deal_seen`) and the changes that no log tells of (`seen:…`) stay: they are differences
  between two syncs. Where a deal is mapped otherwise now, what was seen of it goes with it;
- rows valid from an instant of reading on (`keeps_history`), and kinds a connector keeps (rates of a day), stay;
- rows that were never an object of the source, and rows of versions that the retention has dropped, stay;
- listings, sweeps, what is to be read again and how far everything was read are the sync's own, and stay.

Rows that stay the same keep their `load_seq`, so that the next publish links what they are in.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from threading import Event

import orjson
from sqlalchemy import Connection

from connectors.connector import Replay
from connectors.errors import Phrase
from connectors.records import RECORDS, Account, Notice, OwnedSet, Record, Reread, Yield
from sync import shaping
from sync.events import SyncAccount
from sync.writer import give_back
from warehouse import raw, state
from warehouse.database import WarehouseError, open_warehouse, personal_key, said_plainly, writer_lock
from warehouse.load import STUB_SEQ, Loader, Read
from warehouse.shadow import Rebuilt, Shadow

MEMORY_LIMIT = "1GB"  # of DuckDB: it sorts all versions and compares whole tables, and spills what does not fit

Progress = Callable[[str, int, int], None]
"""Called with the account, versions done and all versions."""


@dataclass
class Remapped:
    """What became of one account. n_objects: versions of objects read. unknown: versions by a name that this program
    makes nothing of. notices: what could not be read as it should be. whole_since: superseded versions from before are
    gone; None: none is. still_mixed: settings that also decide what is asked for, and have changed."""

    account_id: str
    n_objects: int = 0
    tables: Sequence[Rebuilt] = ()
    unknown: Counter[str] = field(default_factory=Counter)
    notices: Counter[Phrase] = field(default_factory=Counter)
    whole_since: datetime | None = None
    still_mixed: tuple[str, ...] = ()


def remap(
    data_dir: Path,
    accounts: Sequence[SyncAccount],
    *,
    progress: Progress | None = None,
    stop: Event | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Iterator[Remapped]:
    """Make the rows of each account anew, one account after the other; each is replaced whole or not at all.

    stop: set from elsewhere to end before the next account is replaced.

    Raises:
        LockedError: another process writes. WarehouseError: two accounts of one connector cannot be told apart, or the
            disk is full; ConnectorError: raw objects that cannot be understood with the settings as they are.
    """
    with writer_lock(data_dir), said_plainly(data_dir):
        engine = open_warehouse(data_dir, memory_limit=MEMORY_LIMIT)
        try:
            with engine.connect() as connection:
                for target, sources in by_target(accounts).items():
                    done = one(
                        connection, data_dir, target, sources, progress=progress, stop=stop or Event(), now=now()
                    )
                    if done is None:
                        return
                    yield done
        finally:
            engine.dispose()


def by_target(accounts: Iterable[SyncAccount]) -> Mapping[str, list[SyncAccount]]:
    """Whose objects lie together: those of an account and of those that feed it."""
    found: dict[str, list[SyncAccount]] = {}
    for account in sorted(accounts, key=lambda account: account.feeds is not None):
        others = found.setdefault(account.target, [])
        if any(other.settings.connector == account.settings.connector for other in others):
            raise WarehouseError(
                "Objects of {one} and {other} lie together in {target} and cannot be told apart. Run voronka sync "
                "--full instead.",
                one=others[0].account_id,
                other=account.account_id,
                target=account.target,
            )
        others.append(account)
    return found


def one(
    connection: Connection,
    data_dir: Path,
    target: str,
    sources: Sequence[SyncAccount],
    *,
    progress: Progress | None,
    stop: Event,
    now: datetime,
) -> Remapped | None:
    """An account with all that feeds it; None where it was stopped, and nothing has changed."""
    with connection.begin():
        account, entities = state.account(connection, target), raw.entities(connection, target)
        done = Remapped(target, whole_since=raw.whole_since(connection, target))
        key = personal_key(data_dir, connection)
    if account is None:
        return done
    replays = {
        source.account_id: source.connector.replay(source.settings, account, entities)
        for source in sources
        if source.connector.replay is not None
    }
    kept = frozenset[type[Record]]().union(*(replay.kept for replay in replays.values()))
    kept |= {kind for kind in RECORDS.values() if kind.keeps_history}
    if all(source.feeds for source in sources):
        kept |= {Account}  # who feeds it does not say who it is
    with connection.begin():
        load_seq = state.start_run(connection, now=now) << 32
        known = [name for name in entities if any(replay.knows(name) for replay in replays.values())]
        shadow = Shadow(connection, target, entities=known, kept=kept)
    with shadow.open(data_dir):
        with connection.begin():
            loader = Loader(connection, key=key)
        for reads in batches(connection, target, [*replays.values()], done, of=shadow.home):
            if stop.is_set():
                return None
            with connection.begin():
                loader.load(wanted(reads, done, kept), load_seq=load_seq, synced_at=now)
            give_back()
            if progress is not None:
                progress(target, done.n_objects, sum(entities.values()))
        with connection.begin():
            done.tables = shadow.replace(load_seq=load_seq)
            for source in sources:
                read_with = shaping.remapped(state.shape(connection, source.account_id), source.settings)
                state.know_shape(connection, source.account_id, read_with.shape)
                done.still_mixed += tuple(read_with.changed)
    return done


def batches(
    connection: Connection, target: str, replays: Sequence[Replay], done: Remapped, *, of: str
) -> Iterator[list[Read]]:
    """What becomes of all versions on hand, batch by batch, and last what is known only when all were seen.

    No batch has two versions of one object: of the sets that belong to it a load looks at the last, and what an earlier
    one had may have to stay.
    """
    context = frozenset[str]().union(*(replay.context for replay in replays))
    last = STUB_SEQ
    for versions in raw.versions(connection, target, context, of=of):
        for batch in each_once(versions):
            yield [(version.seq, item) for version in batch for item in made(version, replays, done)]
        last = max(last, *(version.seq for version in versions))
    yield [(last, item) for replay in replays for item in replay.conclusions()]


def each_once(versions: Iterable[raw.Version]) -> Iterator[list[raw.Version]]:
    """Versions in their order, in parts that have each object once."""
    part: list[raw.Version] = []
    seen: set[tuple[str, str]] = set()
    for version in versions:
        name = version.raw.entity, version.raw.native_id
        if name in seen and not version.is_told:
            yield part
            part, seen = [], set()
        part.append(version)
        if not version.is_told:
            seen.add(name)
    yield part


def made(version: raw.Version, replays: Sequence[Replay], done: Remapped) -> Iterator[Yield]:
    """What one version becomes; nothing of one that others are only to be read by."""
    replay = next((replay for replay in replays if replay.knows(version.raw.entity)), None)
    if not version.is_told:
        done.n_objects += 1
        done.unknown[version.raw.entity] += replay is None
    if replay is None:
        return
    item = orjson.loads(version.raw.body)
    if version.is_told:
        replay.learn(version.raw, item)
    else:
        yield from replay.records(version.raw, item)


def wanted(reads: Iterable[Read], done: Remapped, kept: Collection[type[Record]]) -> Iterator[Read]:
    """What is to be loaded: rows, sets, mentions, tombstones and patches, but of kinds that stay as they are."""
    for seq, item in reads:
        if isinstance(item, Notice):
            done.notices[item.text] += item.n if item.is_unknown else 0
        elif kind_of(item) not in kept and not isinstance(item, Reread):
            yield seq, item


def kind_of(item: Yield) -> type[Record] | None:
    if isinstance(item, Record):
        return type(item)
    return item.kind if isinstance(item, OwnedSet) else None
