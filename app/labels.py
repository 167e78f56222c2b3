"""Names and phones of cards, names of users: metrics work without them, people are shown by name and number."""

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


def user_names(users: pl.DataFrame) -> dict[str, str]:
    """User id → name, unique: namesakes get their number."""
    if users.is_empty():
        return {}
    is_twin = pl.col("name").is_duplicated()
    number = pl.col("user_id").str.replace("user:", "", literal=True)
    shown = pl.when(is_twin).then(pl.format("{} ({})", "name", number)).otherwise("name")
    return dict(users.select("user_id", shown.alias("name")).sort("name").iter_rows())


def with_names(
    rows: pl.DataFrame, names: dict[str, str], *, nobody: str | None = None, of: str = "user_id"
) -> pl.DataFrame:
    """`rows` with `user_name` of the user in `of`; a user the CRM never listed keeps his id, no user is `nobody`."""
    shown = pl.col(of).replace_strict(names, default=pl.col(of), return_dtype=pl.String)
    return rows.with_columns(user_name=pl.coalesce(shown, pl.lit(nobody, pl.String)))


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


def phones(rows: pl.DataFrame, frames: FrameSet) -> pl.Series:
    """A phone per row: the one its missed call (`thread_id`) came from, else the client's; null where none is kept."""
    call = pl.col("thread_id") if "thread_id" in rows.columns else pl.lit(None, pl.String)
    keys = rows.select("account_id", "client_id", call_id=call)
    found = keys.join(_of_calls(keys, frames), on=["account_id", "call_id"], how="left", maintain_order="left").join(
        _of_clients(keys, frames), on=["account_id", "client_id"], how="left", maintain_order="left"
    )
    return found.select(phone=pl.coalesce("called_from", "own"))["phone"]


def _of_calls(keys: pl.DataFrame, frames: FrameSet) -> pl.DataFrame:
    """account_id, call_id, called_from. A thread is called after the first leg of the missed call that began it."""
    ids = keys["call_id"].drop_nulls().unique().to_list()
    if "call_pii" not in frames or not ids:
        return pl.DataFrame(schema={"account_id": pl.String, "call_id": pl.String, "called_from": pl.String})
    of_these = frames["call_pii"].filter(nw.col("call_id").is_in(ids))
    native: pl.DataFrame = (
        of_these.select("account_id", "call_id", called_from="phone_e164").collect("polars").to_native()
    )
    return native


def _of_clients(keys: pl.DataFrame, frames: FrameSet) -> pl.DataFrame:
    """account_id, client_id, own: a phone of the client's own card, else of another card that belongs to the client."""
    ids = keys["client_id"].drop_nulls().unique().to_list()
    if "client_phone_pii" not in frames or not ids:
        return pl.DataFrame(schema={"account_id": pl.String, "client_id": pl.String, "own": pl.String})
    cards = (
        frames["client_member"].filter(nw.col("client_id").is_in(ids)).select("account_id", "client_id", "entity_id")
    )
    known = (
        frames["client_phone_pii"].join(cards, on=["account_id", "entity_id"]).filter(~nw.col("phone_e164").is_null())
    )
    native: pl.DataFrame = (
        known.select("account_id", "client_id", "entity_id", own="phone_e164").collect("polars").to_native()
    )
    is_other_card = pl.col("entity_id") != pl.col("client_id")
    ordered = native.sort("account_id", "client_id", is_other_card, "entity_id", "own")
    return ordered.unique(["account_id", "client_id"], keep="first", maintain_order=True).drop("entity_id")
