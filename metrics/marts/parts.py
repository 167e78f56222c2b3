"""Large tables, a part at a time: what is worked on fits into memory whatever the size of the account."""

from pathlib import Path

import polars as pl

from metrics.marts.schema import MARTS


class Parts:
    """Rows of one mart of one account, added part by part and read lazily: kept in memory, or in files of `folder`."""

    def __init__(self, mart: str, folder: Path | None) -> None:
        self._mart, self._folder = mart, folder
        self._held: list[pl.LazyFrame] = []

    def add(self, rows: pl.DataFrame) -> None:
        if self._folder is None:
            self._held.append(rows.lazy())
        elif not rows.is_empty():
            file = self._folder / f"{self._mart}.{len(self._held)}.parquet"
            rows.write_parquet(file, compression="lz4", row_group_size=ROW_GROUP)
            self._held.append(pl.scan_parquet(file))

    def all(self) -> pl.LazyFrame:
        return pl.concat(self._held) if self._held else pl.LazyFrame(schema=MARTS[self._mart])


ROW_GROUP = 1 << 16
"""Small ones: a reader of a month skips the others."""
