"""Whose client and which deal a row is of: by the cards it names, by its phone, by the deals open then (R-ATTR)."""

from datetime import UTC, datetime
from typing import NamedTuple

import polars as pl

from metrics.marts.facts import Facts

CARDS = ("contact_id", "company_id", "deal_id", "card_id")
"""Columns by which calls and touches name cards."""
NEVER = datetime(1, 1, 1, tzinfo=UTC)


class Links(NamedTuple):
    """What is known of the cards, phones and deals of an account."""

    members: pl.DataFrame
    """entity_id, client_id."""
    phones: pl.DataFrame
    """phone_key, client_of_phone."""
    deals: pl.DataFrame
    """deal_id."""
    opened: pl.DataFrame
    """`open_runs`."""

    def near(self, rows: pl.DataFrame, at: str) -> "Links":
        """No more than `rows` (columns of `CARDS`, phone_key, instant `at`) can meet, nor later than the last of them.

        What `with_client` and `with_deal` find is the same; what becomes of other clients, or later, changes nothing.
        """
        named = pl.concat([rows.select(entity_id=name) for name in CARDS]).unique()
        members = self.members.join(named, on="entity_id", how="semi")
        phones = self.phones.join(rows.select("phone_key").unique(), on="phone_key", how="semi")
        first, last = rows[at].min() or NEVER, rows[at].max() or NEVER
        left = pl.col("left_at")
        met = self.opened.filter(pl.col("since") <= last, left.is_null() | (left > first))
        near = Links(members, phones, self.deals.join(rows.select("deal_id").unique(), on="deal_id", how="semi"), met)
        return near._replace(
            opened=met.join(near.clients(), on="client_id", how="semi").with_columns(
                left_at=pl.when(left <= last).then(left)
            )
        )

    def clients(self) -> pl.DataFrame:
        """client_id of those that cards and phones lead to."""
        of_phones = self.phones.select(client_id="client_of_phone")
        return pl.concat([self.members.select("client_id"), of_phones]).unique()


def links(facts: Facts, members: pl.DataFrame, deals: pl.DataFrame, opened: pl.DataFrame) -> Links:
    """members: of the clients that are not deleted. deals: deal_id of those that are there. opened: `open_runs`."""
    members = members.select("entity_id", "client_id")
    return Links(members, _phone_owners(members, facts), deals.select("deal_id"), opened)


def _phone_owners(members: pl.DataFrame, facts: Facts) -> pl.DataFrame:
    """phone_key and client_of_phone, for phones of exactly one client."""
    phones = facts.rows("client_phone", ["entity_id", "phone_key"])
    return (
        phones.join(members, on="entity_id")
        .filter(pl.col("client_id").is_not_null())
        .group_by("phone_key")
        .agg(client_of_phone=pl.col("client_id").min(), n=pl.col("client_id").n_unique())
        .filter(pl.col("n") == 1)
        .drop("n")
    )


def open_runs(deals: pl.DataFrame, run: pl.DataFrame) -> pl.DataFrame:
    """When each deal was open: open_id, its client_id and created_at, since, left_at (null: still open).

    Args:
        deals: deal_id, client_id, created_at. run: `stages.runs`.
    """
    first = pl.col("first_n") == 1
    return (
        run.filter(pl.col("outcome").is_in(["open", "unsorted"]))
        .join(deals.select("deal_id", "client_id", "created_at"), on="deal_id")
        .select(
            "client_id",
            "created_at",
            "left_at",
            open_id="deal_id",
            since=pl.when(first).then("created_at").otherwise("begun_at"),
        )
    )


def with_client(rows: pl.DataFrame, known: Links, client_grain: str) -> pl.DataFrame:
    """`rows` with `client_id`: of the cards named; else (a PBX knows none) of the only client who has this phone."""
    found = rows
    for name in ("company_id", "contact_id", "deal_id", "card_id"):
        of_card = known.members.select(pl.col("entity_id").alias(name), pl.col("client_id").alias(f"client_of_{name}"))
        found = found.join(of_card, on=name, how="left", maintain_order="left")
    first = ("contact_id", "deal_id", "company_id", "card_id")
    order = first if client_grain == "contact" else ("company_id", "contact_id", "deal_id", "card_id")
    is_unnamed = pl.all_horizontal(pl.col(name).is_null() for name in order)
    return (
        found.join(known.phones, on="phone_key", how="left", maintain_order="left")
        .with_columns(
            client_id=pl.coalesce(*(f"client_of_{name}" for name in order), pl.when(is_unnamed).then("client_of_phone"))
        )
        .drop(*(f"client_of_{name}" for name in order), "client_of_phone")
    )


def with_deal(rows: pl.DataFrame, known: Links, *, key: str, at: str) -> pl.DataFrame:
    """`rows` with `deal_id` and `deal_rule` (R-ATTR): the deal named, else the client's newest deal open then.

    Args:
        rows: has `key` (unique), client_id, deal_id as named, instant `at`.
    """
    alive = known.deals.with_columns(is_alive=pl.lit(True))
    named = rows.join(alive, on="deal_id", how="left", maintain_order="left").with_columns(
        deal_id=pl.when("is_alive").then("deal_id")
    )
    asked = named.filter(pl.col("deal_id").is_null() & pl.col("client_id").is_not_null()).select(key, "client_id", at)
    is_open = (pl.col("since") <= pl.col(at)) & (pl.col("left_at").is_null() | (pl.col("left_at") > pl.col(at)))
    newest = (
        asked.lazy()
        .join(known.opened.lazy(), on="client_id")
        .filter(is_open)
        .sort("created_at", "open_id")
        .group_by(key)
        .agg(open_id=pl.col("open_id").last())
        .collect()
    )
    return (
        named.join(newest, on=key, how="left", maintain_order="left")
        .with_columns(
            deal_rule=pl.when(pl.col("deal_id").is_not_null())
            .then(pl.lit("named"))
            .when(pl.col("open_id").is_not_null())
            .then(pl.lit("open_deal")),
            deal_id=pl.coalesce("deal_id", "open_id"),
        )
        .drop("open_id", "is_alive")
    )
