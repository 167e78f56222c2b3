"""Parts of marts: what is worked on at a time fits into memory, and what was worked on before is taken over.

A part is what a function makes of frames that hold all it may see. Their digest is the part's stamp: equal frames,
parameters and definitions make equal rows, so those of the publication before stand for them.
"""

import hashlib
from functools import cache
from pathlib import Path
from typing import Protocol

import polars as pl

from metrics.marts.schema import MARTS

Rows = dict[str, list[tuple[str | None, pl.DataFrame]]]


class Parts(Protocol):
    """Marts in the making."""

    def before(self, mart: str, stamp: str) -> pl.LazyFrame | None:
        """Rows of the part of that stamp, as they were when it was made last; None: it is to be made."""

    def take(self, mart: str, stamp: str, *, label: str = "") -> None:
        """Add the part that `before` found."""

    def add(self, mart: str, rows: pl.DataFrame, *, label: str = "", stamp: str | None = None) -> None:
        """Add a part. label: for people, of a part among others. Without a stamp it is made anew each time."""

    def hold(self, rows: pl.DataFrame) -> pl.LazyFrame:
        """The rows, out of memory where it is short, until the marts are made."""

    def all(self, mart: str) -> pl.LazyFrame:
        """What was added."""


class InMemory(Parts):
    """Parts as frames. last: what was made before."""

    def __init__(self, last: "InMemory | None" = None) -> None:
        self.rows: Rows = {}
        self._known = {
            (mart, stamp): rows for mart, found in (last.rows if last else {}).items() for stamp, rows in found
        }

    def before(self, mart: str, stamp: str) -> pl.LazyFrame | None:
        found = self._known.get((mart, stamp))
        return None if found is None else found.lazy()

    def take(self, mart: str, stamp: str, *, label: str = "") -> None:
        self.add(mart, self._known[mart, stamp], label=label, stamp=stamp)

    def add(self, mart: str, rows: pl.DataFrame, *, label: str = "", stamp: str | None = None) -> None:
        self.rows.setdefault(mart, []).append((stamp, rows))

    def hold(self, rows: pl.DataFrame) -> pl.LazyFrame:
        return rows.lazy()

    def all(self, mart: str) -> pl.LazyFrame:
        found = [rows.lazy() for _, rows in self.rows.get(mart, [])]
        return pl.concat(found) if found else pl.LazyFrame(schema=MARTS[mart])


def digest(words: str, *frames: pl.DataFrame) -> str:
    """Of `words`, of the rows of `frames` in any order, and of the definitions of the marts."""
    said = [words, _definitions(), *(f"{one.height}:{one.hash_rows().sum()}:{one.schema}" for one in frames)]
    return hashlib.blake2b("\n".join(said).encode(), digest_size=16).hexdigest()


@cache
def _definitions() -> str:
    """Digest of the text of this package, and the engine: whatever is written otherwise there may count otherwise."""
    texts = [file.read_bytes() for file in sorted(Path(__file__).parent.glob("*.py"))]
    return f"{pl.__version__}:{hashlib.blake2b(b''.join(texts), digest_size=16).hexdigest()}"
