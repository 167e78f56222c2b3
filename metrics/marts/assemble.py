"""Puts the marts together, account by account."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

import polars as pl

from metrics.calendar import WorkingWeek, calendar_days, overridden
from metrics.marts.calls import episodes, legs_table, records, with_episode, without_doubles
from metrics.marts.clients import client_members, clients
from metrics.marts.facts import Facts, three_ways
from metrics.marts.links import Links, links, open_runs, with_client, with_deal
from metrics.marts.parts import InMemory, Parts
from metrics.marts.sales import sales, sales_won
from metrics.marts.schema import MARTS, MartParams
from metrics.marts.stages import deal_states, deals_then, moves, runs, stays
from metrics.marts.threads import Threads, threads, ties, with_thread_key
from metrics.marts.touches import other_records, other_touches, touches_by_call

SPAM_REASON = "(?i)спам|spam"
"""Loss reasons by which a client whose every deal was lost is spam (R-CALLSCOPE)."""
FIRST_DAY = date(2010, 1, 1)
"""Calendars do not begin earlier, whatever dates a source holds."""
DAYS_AHEAD = 400
"""How far after `as_of` calendars reach, for deadlines."""


ORDERS = {"call_episode": ("started_at", "episode_id"), "touch": ("touched_at", "touch_id")}
"""Of rows within an account, which `build` restores: parts are in order each."""


def build(
    tables: Mapping[str, pl.LazyFrame], as_of: datetime | Mapping[str, datetime], params: MartParams
) -> dict[str, pl.DataFrame]:
    """All of `MARTS` from published canonical tables, as of one instant or one per account.

    Accounts without an `as_of` are left out.
    """
    parts = InMemory()
    build_parts(tables, as_of, params, parts)
    built = {name: parts.all(name).collect() for name in MARTS}
    return built | {name: built[name].sort("account_id", *order) for name, order in ORDERS.items()}


def build_parts(
    tables: Mapping[str, pl.LazyFrame], as_of: datetime | Mapping[str, datetime], params: MartParams, parts: Parts
) -> None:
    """`build` in bounded memory: part by part into `parts`; those made before of the same are taken over."""
    accounts = tables["account"].select("account_id", "tz", "base_currency").sort("account_id").collect()
    for account_id, tz, currency in accounts.iter_rows():
        own = as_of if isinstance(as_of, datetime) else as_of.get(account_id)
        if own is not None:
            _of_account(Facts(account_id, tz, currency, own.astimezone(UTC), tables, params), parts)


def _of_account(facts: Facts, parts: Parts) -> None:
    def add(mart: str, rows: pl.DataFrame) -> None:
        parts.add(mart, _conform(rows, mart, facts))

    members = client_members(facts)
    deals = _deals(facts, members, parts)
    sold = sales(facts, deals.won, deals.known, members)
    client = (
        clients(members)
        .join(_spam(deals.lost), on="client_id", how="left")
        .with_columns(pl.col("is_spam").fill_null(False), is_stop_listed=pl.lit(False))
    )
    known = links(facts, _without_deleted(members, client), deals.known, deals.opened)
    _calls(facts, known, client, parts)
    _other_touches(facts, known, parts)
    touch = parts.all("touch").filter(pl.col("account_id") == facts.account_id)
    add("client_member", members.filter(pl.col("client_id").is_not_null()).sort("entity_id"))
    add("client", _with_firsts(client, touch, sold))
    add("sale", sold)
    add("calendar_day", _calendars(facts))


class Deals(NamedTuple):
    """What others ask of deals."""

    known: pl.DataFrame
    """deal_id, client_id, responsible_user_id."""
    opened: pl.DataFrame
    """`open_runs`."""
    lost: pl.DataFrame
    """`_lost_as_spam`."""
    won: pl.DataFrame
    """`sales_won`."""


def _deals(facts: Facts, members: pl.DataFrame, parts: Parts) -> Deals:
    """Add `stage_interval` and `deal_state`."""
    of_deal = members.select(deal_id="entity_id", client_id="client_id")
    found = []
    for some in facts.by_deals():
        moved = moves(some)
        deals = deals_then(some, moved).join(of_deal, on="deal_id", how="left", maintain_order="left")
        visits = stays(some, deals, moved)
        run = runs(visits, deals)
        state = deal_states(some, deals, visits, run)
        parts.add("stage_interval", _conform(visits, "stage_interval", facts))
        parts.add("deal_state", _conform(state, "deal_state", facts))
        known = deals.select("deal_id", "client_id", "responsible_user_id")
        found.append(Deals(known, open_runs(deals, run), _lost_as_spam(some, state), sales_won(some, deals, run)))
    return Deals(*(pl.concat(frames) for frames in zip(*found, strict=True)))


def _without_deleted(members: pl.DataFrame, client: pl.DataFrame) -> pl.DataFrame:
    """Cards of clients that are not deleted: calls of the others stay, without a client (R-DEL)."""
    deleted = client.filter("is_deleted").select("client_id")
    return members.join(deleted, on="client_id", how="anti")


def _calls(facts: Facts, known: Links, client: pl.DataFrame, parts: Parts) -> None:
    """Add `call_episode`, `call_episode_leg` and the touches by call."""
    owner = client.select("client_id", "responsible_user_id", "is_spam")
    tied, made = [], []
    for calls in records(facts):
        near = known.near(calls.rename({"entity_id": "card_id"}), "started_at")
        own = owner.join(near.clients(), on="client_id", how="semi")
        stamp, month = facts.digest(calls, *near, own), _month(calls["started_at"])
        episode = parts.before("call_episode", stamp)
        if episode is None:
            joined, leg = _episodes(facts, calls, near, own)
            parts.add("call_episode_leg", _conform(leg, "call_episode_leg", facts), label=month, stamp=stamp)
            touched = touches_by_call(joined, facts.params.min_talk_s)
            parts.add("touch", _conform(touched, "touch", facts), label=f"call.{month}", stamp=stamp)
            episode = parts.hold(_conform(joined, "call_episode", facts))
        else:
            parts.take("call_episode_leg", stamp, label=month)
            parts.take("touch", stamp, label=f"call.{month}")
        tied.append(ties(episode))
        made.append((episode, stamp, month))
    keys = threads(pl.concat(tied))
    for episode, stamp, month in made:
        if parts.before("call_episode", stamp) is not None and _are_same(episode, keys):
            parts.take("call_episode", stamp, label=month)
        else:
            parts.add("call_episode", with_thread_key(episode.collect(), keys), label=month, stamp=stamp)


def _episodes(facts: Facts, calls: pl.DataFrame, near: Links, owner: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """`call_episode` without its `thread_key` and `call_episode_leg`, of one part of the calls."""
    kept, became = without_doubles(calls)
    legs = with_episode(kept, facts.params.leg_gap_s)
    joined = episodes(legs)
    leg = legs_table(legs, became, joined).sort("call_id")
    doubles = leg.group_by("episode_id").agg(n_dup_removed=pl.col("is_duplicate").sum().cast(pl.Int64))
    placed = with_deal(with_client(joined, near, facts.params.client_grain), near, key="episode_id", at="started_at")
    episode = (
        placed.join(doubles, on="episode_id", how="left")
        .join(owner, on="client_id", how="left")
        .with_columns(pl.col("is_spam").fill_null(False), thread_key=pl.lit(None, pl.String))
        .sort("started_at", "episode_id")
    )
    return episode, leg


def _are_same(episode: pl.LazyFrame, keys: Threads) -> bool:
    """Whether the episodes have the keys they had."""
    had = episode.select("client_id", "phone_key", had="thread_key").collect()
    return with_thread_key(had, keys).filter(pl.col("thread_key").ne_missing(pl.col("had"))).is_empty()


def _other_touches(facts: Facts, known: Links, parts: Parts) -> None:
    for rows in other_records(facts):
        near = known.near(rows, "touched_at")
        stamp, label = facts.digest(rows, *near), f"other.{_month(rows['touched_at'])}"
        if parts.before("touch", stamp) is not None:
            parts.take("touch", stamp, label=label)
        else:
            touched = other_touches(rows, near, facts.params.client_grain)
            parts.add("touch", _conform(touched, "touch", facts), label=label, stamp=stamp)


def _month(instants: pl.Series) -> str:
    """The month in the middle, by which people call a part."""
    middle = instants.median()
    return f"{middle:%Y-%m}" if isinstance(middle, datetime) else "empty"


def _with_firsts(client: pl.DataFrame, touch: pl.LazyFrame, sold: pl.DataFrame) -> pl.DataFrame:
    meaningful = touch.filter("is_meaningful").group_by("client_id")
    first_touch = meaningful.agg(first_touch_at=pl.col("touched_at").min()).collect(engine="streaming")
    is_won = (pl.col("basis") == "won_deal") & pl.col("valid_until").is_null()
    first_won = sold.filter(is_won).group_by("client_id").agg(first_won_at=pl.col("sold_at").min())
    return client.join(first_touch, on="client_id", how="left", maintain_order="left").join(
        first_won, on="client_id", how="left", maintain_order="left"
    )


def _lost_as_spam(facts: Facts, state: pl.DataFrame) -> pl.DataFrame:
    """client_id and lost_as_spam of every deal; a lead that became a deal is judged as that."""
    names = facts.rows("loss_reason", ["loss_reason_id", "name"]).select(
        "loss_reason_id", reason_is_spam=pl.col("name").str.contains(SPAM_REASON)
    )
    is_spam = (pl.col("outcome") == "lost") & pl.col("reason_is_spam").fill_null(False)
    is_converted = (pl.col("entity_kind") == "lead") & (pl.col("outcome") == "won")
    return (
        state.filter(~is_converted.fill_null(False))
        .join(names, on="loss_reason_id", how="left")
        .filter(pl.col("client_id").is_not_null())
        .select("client_id", lost_as_spam=is_spam)
    )


def _spam(lost: pl.DataFrame) -> pl.DataFrame:
    """client_id and is_spam: every deal of the client was lost as spam."""
    return lost.group_by("client_id").agg(is_spam=pl.col("lost_as_spam").all())


def _calendars(facts: Facts) -> pl.DataFrame:
    """Days of every calendar in the account's time zone, from the year of its first fact on."""
    hours = facts.rows("calendar_hours", ["calendar_id", "isoweekday", "opens_s", "closes_s"])
    dated = facts.rows("calendar_exception", ["calendar_id", "day", "position", "opens_s", "closes_s"])
    today = facts.as_of.astimezone(ZoneInfo(facts.tz)).date()
    parts = []
    for calendar_id, calendar in sorted(facts.params.calendars.items()):
        is_own = pl.col("calendar_id") == calendar_id
        week = overridden(
            WorkingWeek.of(calendar),
            hours.filter(is_own).rows(named=True),
            dated.filter(is_own).rows(named=True),
        )
        parts.append(
            calendar_days(
                week,
                account_id=facts.account_id,
                calendar_id=calendar_id,
                tz=facts.tz,
                zone=calendar.timezone,
                first=_first_day(facts, today),
                last=today + timedelta(days=DAYS_AHEAD),
            )
        )
    return pl.concat(parts).drop("account_id")


def _first_day(facts: Facts, today: date) -> date:
    """The first of January of the year of the first deal, call, message or task."""
    sources = {"deal": "created_local", "call": "started_local", "message": "sent_local", "task": "created_local"}
    firsts = [
        facts.tables[table].filter(pl.col("account_id") == facts.account_id).select(pl.col(name).min()).collect().item()
        for table, name in sources.items()
    ]
    known: list[date] = [first.date() for first in firsts if first is not None]
    return max(min([*known, today]), FIRST_DAY).replace(month=1, day=1)


def _conform(frame: pl.DataFrame, mart: str, facts: Facts) -> pl.DataFrame:
    """`frame` with exactly the columns and types of the mart; an instant's wall time and epoch from its `_at`."""
    schema = MARTS[mart]
    stems = [name[:-3] for name in schema if name.endswith("_at") and f"{name[:-3]}_local" in schema]
    whole = frame.with_columns(
        pl.lit(facts.account_id).alias("account_id"), *(way for stem in stems for way in three_ways(stem, facts.tz))
    )
    return whole.select(pl.col(name).cast(kind) for name, kind in schema.items())
