"""Lists as files. Whatever a CRM user typed into a name must stay text in a spreadsheet."""

import io
from collections.abc import Sequence

import polars as pl
import streamlit as st

from app import data
from app.i18n import _, language
from app.rights import LOCAL_OWNER
from app.spreadsheets import harmless
from app.ui import formats
from audit import Export, is_personal, note_export

Titled = tuple[str, str, str]
"""Column, heading, kind."""


WHO = "exported_by"
"""In the state of a session: the login of who looks."""


def buttons(rows: pl.DataFrame, columns: Sequence[Titled], *, key: str, currency: str) -> None:
    """Each click is written into the audit log before the file is made: without a line there is no file."""
    ready = plain(rows, columns, currency)
    # Asked now: the click is answered outside the run that knows the viewer.
    is_russian = language() == "ru"
    log, login = data.config().settings_path, str(st.session_state.get(WHO, LOCAL_OWNER.login))
    columns_of = [name for name, _title, _kind in columns]

    def noted(form: str) -> None:
        export = Export(f"list {key}", form, ready.height, is_personal(columns_of))
        note_export(log, export, author=login, to="browser")

    def as_csv() -> bytes:
        noted("csv")
        return csv(ready, is_russian=is_russian)

    def as_xlsx() -> bytes:
        noted("xlsx")
        return xlsx(ready)

    st.download_button(
        "CSV",
        as_csv,
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
        as_xlsx,
        file_name=f"{key}.xlsx",
        mime="application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        key=f"{key}_xlsx",
        on_click="ignore",
        icon=":material/download:",
        type="tertiary",
        help=_("The whole list as an Excel workbook"),
    )


def plain(rows: pl.DataFrame, columns: Sequence[Titled], currency: str) -> pl.DataFrame:
    """The columns a person sees, under their headings and as exact as on the screen; money to the kopeck."""
    return rows.select(_plain(*column, currency) for column in columns)


def _plain(name: str, title: str, kind: str, currency: str) -> pl.Expr:
    value, heading = pl.col(name), title
    match kind:
        case "money":
            value, heading = _rounded(value / 100, 2), f"{title}, {formats.sign(currency)}"
        case "rate":
            value, heading = _rounded(value * 100, 1), f"{title}, %"
        case "days" | "times":
            value = _rounded(value, 1)
        case "int":
            value = value.round(0).cast(pl.Int64, strict=False)
        case "phone":
            value = harmless(value.str.strip_prefix("tel:"))
        case "text" | "link":
            value = harmless(value.cast(pl.String))
    return value.alias(heading)


def _rounded(value: pl.Expr, digits: int) -> pl.Expr:
    """A decimal number: written with so many digits, whole ones too."""
    return value.round(digits).cast(pl.Decimal(38, digits), strict=False)


def csv(rows: pl.DataFrame, *, is_russian: bool) -> bytes:
    """As Excel expects it where people speak the language: semicolons and decimal commas, or commas and points.

    The byte order mark tells it that the text is Unicode.
    """
    text = rows.write_csv(
        separator=";" if is_russian else ",", decimal_comma=is_russian, datetime_format="%Y-%m-%d %H:%M"
    )
    return b"\xef\xbb\xbf" + text.encode()


def xlsx(rows: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    rows.write_excel(buffer, autofit=True, freeze_panes=(1, 0), dtype_formats={pl.Datetime: "dd.mm.yyyy hh:mm"})
    return buffer.getvalue()
