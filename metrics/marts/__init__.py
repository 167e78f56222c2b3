"""Derived tables: the only place where raw facts become clients, episodes, touches, stays and sales.

`build(tables, as_of, params)` is called once a generation, and again for another `as_of` or mart parameter. Columns are
fixed by `MARTS`. One module per family: `clients`, `stages`, `calls`, `touches`, `sales`; each is pure Polars over the
`Facts` of one account.
"""

from metrics.marts.assemble import build
from metrics.marts.schema import DEFAULT_CALENDAR, FED_BY, MARTS, MartParams, Schema, instant

__all__ = ["DEFAULT_CALENDAR", "FED_BY", "MARTS", "MartParams", "Schema", "build", "instant"]
