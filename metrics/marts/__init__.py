"""Derived tables: the only place where raw facts become clients, episodes, touches, stays and sales.

`build(tables, as_of, params)` is called for another `as_of` or mart parameter than the published one, `build_lazily`
once a generation: large tables are worked on part by part (`Facts.spans`, `Facts.by_deals`, `calls.records`) and kept
in files (`Parts`), so that they need not fit into memory. Columns are fixed by `MARTS`. One module per family:
`clients`, `stages`, `calls`, `touches`, `sales`; each is pure Polars over the `Facts` of one account.
"""

from metrics.marts.assemble import build, build_lazily
from metrics.marts.schema import DEFAULT_CALENDAR, FED_BY, MARTS, MartParams, Schema, instant

__all__ = ["DEFAULT_CALENDAR", "FED_BY", "MARTS", "MartParams", "Schema", "build", "build_lazily", "instant"]
