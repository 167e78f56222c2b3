"""Who is one caller: clients and phone numbers that calls tie together (A3: a thread is of "a client phone/root").

One person is often on several cards, and the card of a new caller is made after his first call. A call back to the very
number that was missed is a call back, whichever card it was written on.
"""

from typing import NamedTuple

import numpy as np
import polars as pl
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

CLIENTS_PER_PHONE = 10
"""A number on calls with more clients than this is nobody's own: a switchboard, a made-up number. It ties none."""


def ties(episodes: pl.LazyFrame) -> pl.DataFrame:
    """client_id and phone_key that calls tie together. Extensions tie nobody."""
    outside = pl.col("phone_digits").fill_null(1) > 0
    tied = episodes.filter(~pl.col("is_internal").fill_null(False), outside).select("client_id", "phone_key")
    return tied.drop_nulls().unique().collect()


class Threads(NamedTuple):
    """Which key clients and phones have, where it is not their own."""

    of_client: pl.DataFrame
    """client_id, of_client."""
    of_phone: pl.DataFrame
    """phone_key, of_phone."""


def threads(tied: pl.DataFrame) -> Threads:
    """tied: `ties` of all episodes."""
    own = tied.unique().filter(pl.len().over("phone_key") <= CLIENTS_PER_PHONE).sort("client_id", "phone_key")
    keys = _components(own)
    renamed = keys.filter(pl.col("client_id") != pl.col("thread_key"))
    return Threads(
        renamed.select("client_id", of_client="thread_key").unique(),
        keys.select("phone_key", of_phone="thread_key").unique(),
    )


def with_thread_key(episodes: pl.DataFrame, known: Threads) -> pl.DataFrame:
    """`episodes` with `thread_key`: the smallest client of the connected component of client and phone, else the phone.

    Two calls have one key if a chain of calls leads from one to the other in which neighbours share client or phone.
    Numbers of more than `CLIENTS_PER_PHONE` clients tie nobody. Null without client and phone.
    """
    unknown = episodes.filter(pl.col("client_id").is_null()).select("phone_key").unique()
    of_phone = known.of_phone.join(unknown, on="phone_key", how="semi")  # all of them would be sorted in for each part
    return (
        episodes.join(known.of_client, on="client_id", how="left", maintain_order="left")
        .join(of_phone, on="phone_key", how="left", maintain_order="left")
        .with_columns(
            thread_key=pl.when(pl.col("client_id").is_null())
            .then(pl.coalesce("of_phone", "phone_key"))
            .otherwise(pl.coalesce("of_client", "client_id"))
        )
        .drop("of_client", "of_phone")
    )


def _components(ties: pl.DataFrame) -> pl.DataFrame:
    """`ties` with thread_key, the smallest client_id of the component."""
    if ties.is_empty():
        return ties.with_columns(thread_key=pl.lit(None, pl.String))
    client = ties["client_id"].rank("dense").to_numpy().astype(np.int64) - 1
    phone = ties["phone_key"].rank("dense").to_numpy().astype(np.int64) + client.max()
    size = int(phone.max()) + 1
    graph = coo_array((np.ones(ties.height, dtype=np.int8), (client, phone)), shape=(size, size))
    _, label = connected_components(graph, directed=False)
    return ties.with_columns(component=pl.Series(label[client])).with_columns(
        thread_key=pl.col("client_id").min().over("component")
    )
