"""Derived tables: the only place where raw facts become clients, episodes, touches, stays and sales.

`build(tables, as_of, params)` is called for another `as_of` or mart parameter than the published one, `build_parts`
once a generation: large tables are worked on part by part (`Facts.spans`, `Facts.by_deals`, `calls.records`) and kept
in files (`Parts`), so that they need not fit into memory; a part of which nothing changed since the generation before
is taken over. Columns are fixed by `MARTS`. One module per family: `clients`, `stages`, `calls`, `touches`, `sales`;
each is pure Polars over the `Facts` of one account.
"""

from metrics.marts.assemble import build, build_parts
from metrics.marts.parts import InMemory, Parts
from metrics.marts.schema import DEFAULT_CALENDAR, FED_BY, MARTS, MartParams, Schema, instant

__all__ = [
    "DEFAULT_CALENDAR",
    "FED_BY",
    "MARTS",
    "InMemory",
    "MartParams",
    "Parts",
    "Schema",
    "build",
    "build_parts",
    "instant",
]
