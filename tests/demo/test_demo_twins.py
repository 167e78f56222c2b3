"""What is compared of the two copies of the demo company, and what is left out of it."""

import polars as pl
import pytest

from demo import twins
from demo.twins import Otherwise, _rows

TABLE = pl.DataFrame(
    {
        "account_id": ["main", "main"],
        "pipeline_id": ["pipeline:7100101", "pipeline:7100102"],
        "n": [1, 2],
        "at": [3, 4],
    }
)
SALES = '"pipeline_id": "pipeline:2:0"'
AGAIN = '"pipeline_id": "pipeline:2:1"'


@pytest.mark.parametrize(
    ("exceptions", "compared"),
    [
        ((), [f'{{"at": 3, "n": 1, {SALES}}}', f'{{"at": 4, "n": 2, {AGAIN}}}']),
        ((Otherwise("A1.total", "", "n at"),), [f"{{{SALES}}}", f"{{{AGAIN}}}"]),
        (
            (Otherwise("A1.total", "", "at", of={"pipeline_id": frozenset({"pipeline:2:0"})}),),
            [f'{{"n": 1, {SALES}}}', f'{{"at": 4, "n": 2, {AGAIN}}}'],
        ),
        (
            (Otherwise("A1.total", "", of={"n": frozenset({1})}), Otherwise("A1.total", "", "n")),
            [f'{{"at": 4, {AGAIN}}}'],
        ),
        ((Otherwise("A1.total", ""),), []),
    ],
)
def test_only_the_columns_and_the_rows_that_an_exception_names_are_left_out(
    exceptions: tuple[Otherwise, ...], compared: list[str]
) -> None:
    assert list(_rows(TABLE, list(exceptions), is_translated=True)) == compared


def test_every_exception_has_its_reason() -> None:
    assert all(one.why and one.tables for one in twins.OTHERWISE)
