"""Lists as files. Whatever a CRM user typed into a name must stay text in a spreadsheet."""

import io
from collections.abc import Sequence

import polars as pl
import streamlit as st

from app.i18n import _
from app.spreadsheets import harmless
from app.ui import formats

Titled = tuple[str, str, str]
"""Column, heading, kind."""


def buttons(rows: pl.DataFrame, columns: Sequence[Titled], *, key: str, currency: str) -> None:
    ready = plain(rows, columns, currency)
    st.download_button(
        "CSV",
        lambda: csv(ready),
        file_name=f"{key}.csv",
        mime="text/csv",
        key=f"{key}_csv",
        on_click="ignore",
        icon=":material/download:",
        type="tertiary",
        help=_("The whole list as CSV, for Excel too"),
    )
    st.download_button(
        "XLSX",
        lambda: xlsx(ready),
        file_name=f"{key}.xlsx",
        mime="application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        key=f"{key}_xlsx",
        on_click="ignore",
        icon=":material/download:",
        type="tertiary",
        help=_("The whole list as an Excel workbook"),
    )


def plain(rows: pl.DataFrame, columns: Sequence[Titled], currency: str) -> pl.DataFrame:
    """The columns a person sees, under their headings: money in whole units, text harmless."""
    return rows.select(_plain(*column, currency) for column in columns)


def _plain(name: str, title: str, kind: str, currency: str) -> pl.Expr:
    value = pl.col(name)
    if kind == "money":
        return (value / 100).alias(f"{title}, {formats.sign(currency)}")
    if kind in ("text", "link"):
        return harmless(value.cast(pl.String)).alias(title)
    return value.alias(title)


def csv(rows: pl.DataFrame) -> bytes:
    """Semicolons and a byte order mark: what Excel with Russian settings opens right."""
    return b"\xef\xbb\xbf" + rows.write_csv(separator=";", datetime_format="%Y-%m-%d %H:%M").encode()


def xlsx(rows: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    rows.write_excel(buffer, autofit=True, freeze_panes=(1, 0), dtype_formats={pl.Datetime: "dd.mm.yyyy hh:mm"})
    return buffer.getvalue()
