"""Lists: typed columns, a link to the CRM card in each row, the first ten rows until somebody asks for all."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl
import streamlit as st

from app import labels
from app.i18n import _, language
from app.page import View
from app.ui import address, exports, formats

Kind = Literal["text", "int", "days", "money", "rate", "times", "moment", "day", "link", "phone"]
Width = Literal["small", "medium", "large"] | int
FIRST = 10
ROW_PX = 33
TALLEST_PX = 640
CARD_PX, CLIENT_PX, DAYS_PX, PHONE_PX = 32, 126, 64, 108


@dataclass(frozen=True)
class Column:
    """A column of a list: its name in the frame, its heading (already translated), and what it holds.

    money: minor units; rate: 0..1; moment: wall time; days (a length) and times (how many times as much): shown with
    one digit after the point; link and phone: an address, `tel:+7…` of a phone.
    """

    name: str
    title: str
    kind: Kind = "text"
    width: Width | None = None
    help: str | None = None


def show_cards(
    view: View, rows: pl.DataFrame, facts: Sequence[Column], *, key: str, alt: str, is_to_call: bool = False
) -> None:
    """A list of clients or their deals: the card, whose it is, the first of `facts`, the manager, the other facts.

    A phone shows the first 330 px: what is decided by has to be the first fact.

    Args:
        rows: with url, label, entity_id and user_id, to call also phone; sorted, the most urgent first.
        is_to_call: with the phone after the first fact, where one is known at all.
    """
    named = with_labels(with_names(rows, view.users))
    has_phones = is_to_call and named["phone"].is_not_null().any()
    columns = [
        Column("url", _("Card"), "link", width=CARD_PX),
        Column("label", _("Client"), width=CLIENT_PX),
        facts[0],
        *([Column("phone", _("Phone"), "phone", width=PHONE_PX)] if has_phones else []),
        Column("user_name", _("Manager")),
        *facts[1:],
    ]
    shown = named.with_columns(phone=pl.format("tel:{}", "phone")) if has_phones else named
    show(shown, columns, key=key, alt=alt, currency=view.publication.currency)


def show(rows: pl.DataFrame, columns: Sequence[Column], *, key: str, alt: str, currency: str = "RUB") -> None:
    """The list with its exports. Rows come sorted: the most urgent first."""
    with st.container(key=f"{key}_block"):
        _draw(rows, columns, key=key, alt=alt, currency=currency)


def _draw(rows: pl.DataFrame, columns: Sequence[Column], *, key: str, alt: str, currency: str) -> None:
    more = _("Show all {n}").format(n=formats.number(rows.height))
    is_all = rows.height <= FIRST or _wants_all(more, key=f"{key}_all")
    shown = rows if is_all else rows.head(FIRST)
    st.dataframe(
        arrow(shown, columns, currency),
        key=f"{key}_table",
        hide_index=True,
        column_config={column.name: _config(column, currency) for column in columns},
        column_order=[column.name for column in columns],
        row_height=ROW_PX,
        height=min(ROW_PX * (shown.height + 1) + 3, TALLEST_PX),
        placeholder="",
        alt=alt,
    )
    with st.container(horizontal=True, vertical_alignment="center"):
        if rows.height > FIRST:
            st.toggle(more, key=f"{key}_all")
        st.space("stretch")
        exports.buttons(rows, [(c.name, c.title, c.kind) for c in columns], key=key, currency=currency)


def _wants_all(label: str, *, key: str) -> bool:
    """Whether the toggle below the list is on; the list has to know first."""
    first = _("the first {n}").format(n=FIRST)
    address.keep(key, label, False, read={"1": True}.__getitem__, write=lambda _on: "1", shown=lambda _on: first)
    return bool(st.session_state[key])


def arrow(rows: pl.DataFrame, columns: Sequence[Column], currency: str) -> object:
    """The shown columns as an Arrow table: Streamlit passes it on without pandas."""
    picked = rows.select(_shown(column) for column in columns)
    return picked.to_arrow(compat_level=pl.CompatLevel.oldest())  # the browser does not read string views


def _shown(column: Column) -> pl.Expr:
    value = pl.col(column.name)
    if column.kind == "money":
        return (value / 100).round(0)
    if column.kind in ("days", "times"):
        return value.round(1)
    if column.kind == "rate":
        return value * 100
    return value


def _config(column: Column, currency: str) -> Any:
    """How the browser shows the column; the type of configuration differs by kind."""
    russian = language() == "ru"
    title = f"{column.title}, {formats.sign(currency)}" if column.kind == "money" else column.title
    if column.kind == "link":
        title = ""  # as narrow as its icon
    kinds: dict[Kind, tuple[Any, dict[str, Any]]] = {
        "text": (st.column_config.TextColumn, {}),
        "link": (st.column_config.LinkColumn, {"display_text": ":material/open_in_new:", "pinned": True}),
        "phone": (st.column_config.LinkColumn, {"display_text": r"tel:\+?(.*)"}),
        "int": (st.column_config.NumberColumn, {"format": "localized"}),
        "days": (st.column_config.NumberColumn, {"format": "localized"}),
        "times": (st.column_config.NumberColumn, {"format": "localized"}),
        "money": (st.column_config.NumberColumn, {"format": "localized"}),
        "rate": (st.column_config.NumberColumn, {"format": "%.0f %%"}),
        "moment": (st.column_config.DatetimeColumn, {"format": "DD.MM.YYYY HH:mm" if russian else "YYYY-MM-DD HH:mm"}),
        "day": (st.column_config.DateColumn, {"format": "DD.MM.YYYY" if russian else "YYYY-MM-DD"}),
    }
    make, options = kinds[column.kind]
    return make(title, width=column.width, help=column.help, **options)


def with_names(rows: pl.DataFrame, names: dict[str, str]) -> pl.DataFrame:
    """`rows` with the name of the user in `user_id`; nobody is «не назначен»."""
    return labels.with_names(rows, names, nobody=_("not assigned"))


def with_labels(rows: pl.DataFrame, label: str = "label", of: str = "entity_id") -> pl.DataFrame:
    """`label` filled for cards without a name: what kind of card and its number, so that a person can find it."""
    kinds = {"lead": _("Deal"), "deal": _("Deal"), "contact": _("Contact"), "company": _("Company")}
    kind = (
        pl.col(of)
        .str.extract(r"^([a-z]+):")
        .replace_strict(kinds, default=_("Number not in the CRM"), return_dtype=pl.String)
    )
    bare = pl.concat_str(kind, pl.lit(" "), pl.col(of).str.extract(r":(.*)$"), ignore_nulls=True)
    return rows.with_columns(pl.coalesce(label, bare, pl.lit(_("Number not in the CRM"))).alias(label))


def with_local(rows: pl.DataFrame, zone: str, *, of: str = "event_at", into: str = "event_local") -> pl.DataFrame:
    """`rows` with the instant as wall time."""
    return rows.with_columns(pl.col(of).dt.convert_time_zone(zone).dt.replace_time_zone(None).alias(into))
