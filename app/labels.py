"""Names of cards: metrics work without personal data, pages show people by name."""

import narwhals.stable.v2 as nw
import polars as pl

from metrics.frames import FrameSet

NAMES: dict[str, tuple[str, str]] = {
    # kind in the id: its table of names and key
    "lead": ("deal_pii", "deal_id"),
    "deal": ("deal_pii", "deal_id"),
    "contact": ("contact_pii", "contact_id"),
    "company": ("company_pii", "company_id"),
}


def labelled(drilldown: pl.DataFrame, frames: FrameSet) -> pl.DataFrame:
    """`drilldown` with `label`: the client's name, else the card's own; null where there is none."""
    if drilldown.is_empty():
        return drilldown
    client, card = names(drilldown, "client_id", frames), names(drilldown, "entity_id", frames)
    return drilldown.with_columns(label=pl.coalesce(client, card, pl.col("label")))


def names(rows: pl.DataFrame, column: str, frames: FrameSet) -> pl.Series:
    """One name per row of `rows` for the card named in `column`; null where unknown or where names are not kept."""
    keys = rows.select("account_id", pl.col(column).alias("entity_id"))
    wanted = keys.unique().drop_nulls()
    found = [_read(frames, table, key, wanted) for table, key in set(NAMES.values()) if table in frames]
    if not found or wanted.is_empty():
        return pl.Series("label", [None] * rows.height, dtype=pl.String)
    known = pl.concat(found).unique(["account_id", "entity_id"], keep="any")
    return keys.join(known, on=["account_id", "entity_id"], how="left", maintain_order="left")["label"]


def _read(frames: FrameSet, table: str, key: str, wanted: pl.DataFrame) -> pl.DataFrame:
    ids = wanted["entity_id"].to_list()
    lazy = frames[table].filter(nw.col(key).is_in(ids)).select("account_id", entity_id=key, label="name")
    native: pl.DataFrame = lazy.collect("polars").to_native()
    return native.filter(pl.col("label").str.strip_chars() != "")
