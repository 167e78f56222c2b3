"""What spreadsheets do with text, for everything that writes CSV: the dashboard's lists and the command line."""

import polars as pl
from polars import selectors

FORMULA = r"^[=+\-@\t\r\n]"
"""A cell that begins so is run by Excel and LibreOffice: OWASP, CSV Injection."""

TEXTS = selectors.string() | selectors.categorical() | selectors.enum()


def harmless(text: pl.Expr) -> pl.Expr:
    """Text that stays text in a spreadsheet: strangers write into names through web forms."""
    return pl.when(text.str.contains(FORMULA)).then(pl.concat_str(pl.lit("'"), text)).otherwise(text)


def harmless_rows(rows: pl.DataFrame) -> pl.DataFrame:
    """`rows` with every text harmless."""
    return rows.with_columns(harmless(pl.col(name).cast(pl.String)).alias(name) for name in rows.select(TEXTS).columns)
