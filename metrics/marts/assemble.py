"""Puts the marts together, account by account."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl

from metrics.calendar import WorkingWeek, calendar_days, overridden
from metrics.marts.calls import episodes, legs_table, records, with_client, with_deal, with_episode, without_doubles
from metrics.marts.clients import client_members, clients
from metrics.marts.facts import Facts, three_ways
from metrics.marts.sales import sales
from metrics.marts.schema import MARTS, MartParams
from metrics.marts.stages import deal_states, deals_then, runs, stays
from metrics.marts.threads import with_thread_key
from metrics.marts.touches import touches

SPAM_REASON = "(?i)спам|spam"
"""Loss reasons by which a client whose every deal was lost is spam (R-CALLSCOPE)."""
FIRST_DAY = date(2010, 1, 1)
"""Calendars do not begin earlier, whatever dates a source holds."""
DAYS_AHEAD = 400
"""How far after `as_of` calendars reach, for deadlines."""


def build(
    tables: Mapping[str, pl.LazyFrame], as_of: datetime | Mapping[str, datetime], params: MartParams
) -> dict[str, pl.DataFrame]:
    """All of `MARTS` from published canonical tables, as of one instant or one per account.

    Accounts without an `as_of` are left out.
    """
    accounts = tables["account"].select("account_id", "tz", "base_currency").sort("account_id").collect()
    parts = []
    for account_id, tz, currency in accounts.iter_rows():
        own = as_of if isinstance(as_of, datetime) else as_of.get(account_id)
        if own is not None:
            parts.append(_of_account(Facts(account_id, tz, currency, own.astimezone(UTC), tables, params)))
    empty = {name: pl.DataFrame(schema=schema) for name, schema in MARTS.items()}
    return {name: pl.concat([empty[name], *(part[name] for part in parts)]) for name in MARTS}


def _of_account(facts: Facts) -> dict[str, pl.DataFrame]:
    members = client_members(facts)
    of_deal = members.select(deal_id="entity_id", client_id="client_id")
    deals = deals_then(facts).join(of_deal, on="deal_id", how="left", maintain_order="left")
    visits = stays(facts, deals)
    run = runs(visits, deals)
    state = deal_states(facts, deals, visits, run)
    sold = sales(facts, deals, run, members)
    client = clients(members)
    reachable = _without_deleted(members, client)
    episode, legs = _calls(facts, reachable, deals, run)
    touch = touches(facts, episode, reachable, deals, run)
    client = _with_firsts(client, touch, sold).join(_spam(facts, state), on="client_id", how="left")
    flagged = client.with_columns(is_spam=pl.col("is_spam").fill_null(False), is_stop_listed=pl.lit(False))
    owner = flagged.select("client_id", "responsible_user_id", "is_spam")
    episode = episode.join(owner, on="client_id", how="left", maintain_order="left").with_columns(
        pl.col("is_spam").fill_null(False)
    )
    parts = {
        "client_member": members.filter(pl.col("client_id").is_not_null()).sort("entity_id"),
        "client": flagged,
        "deal_state": state,
        "call_episode": episode,
        "call_episode_leg": legs.sort("call_id"),
        "touch": touch.sort("touched_at", "touch_id"),
        "stage_interval": visits,
        "sale": sold,
        "calendar_day": _calendars(facts),
    }
    return {name: _conform(frame, name, facts) for name, frame in parts.items()}


def _without_deleted(members: pl.DataFrame, client: pl.DataFrame) -> pl.DataFrame:
    """Cards of clients that are not deleted: calls of the others stay, without a client (R-DEL)."""
    deleted = client.filter("is_deleted").select("client_id")
    return members.join(deleted, on="client_id", how="anti")


def _calls(
    facts: Facts, members: pl.DataFrame, deals: pl.DataFrame, run: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """`call_episode` before what clients tell of it, and `call_episode_leg`."""
    kept, became = without_doubles(records(facts))
    legs = with_episode(kept, facts.params.leg_gap_s)
    joined = episodes(legs)
    leg = legs_table(legs, became, joined)
    doubles = leg.group_by("episode_id").agg(n_dup_removed=pl.col("is_duplicate").sum().cast(pl.Int64))
    linked = with_client(joined, members, facts)
    placed = with_deal(linked, deals, run, key="episode_id", at="started_at")
    counted = placed.join(doubles, on="episode_id", how="left").sort("started_at", "episode_id")
    return with_thread_key(counted), leg


def _with_firsts(client: pl.DataFrame, touch: pl.DataFrame, sold: pl.DataFrame) -> pl.DataFrame:
    first_touch = touch.filter("is_meaningful").group_by("client_id").agg(first_touch_at=pl.col("touched_at").min())
    is_won = (pl.col("basis") == "won_deal") & pl.col("valid_until").is_null()
    first_won = sold.filter(is_won).group_by("client_id").agg(first_won_at=pl.col("sold_at").min())
    return client.join(first_touch, on="client_id", how="left").join(first_won, on="client_id", how="left")


def _spam(facts: Facts, state: pl.DataFrame) -> pl.DataFrame:
    """client_id and is_spam: every deal of the client was lost as spam; a lead that became a deal is judged as that."""
    names = facts.rows("loss_reason", ["loss_reason_id", "name"]).select(
        "loss_reason_id", reason_is_spam=pl.col("name").str.contains(SPAM_REASON)
    )
    is_spam = (pl.col("outcome") == "lost") & pl.col("reason_is_spam").fill_null(False)
    is_converted = (pl.col("entity_kind") == "lead") & (pl.col("outcome") == "won")
    return (
        state.filter(~is_converted.fill_null(False))
        .join(names, on="loss_reason_id", how="left")
        .filter(pl.col("client_id").is_not_null())
        .group_by("client_id")
        .agg(is_spam=is_spam.all())
    )


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
