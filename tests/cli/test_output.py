"""Results for people and programs: nothing is cut, no kind fails, nothing reaches the terminal as an order."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import polars as pl
import pytest

from commands.output import csv, deliver, frames_as, tables_text
from config import ConfigError

LONG = "Нет прав на раздел «Звонки»: включите его в интеграции и запустите загрузку ещё раз."


def wide_frame(**more: list[object]) -> pl.DataFrame:
    known = {"user_id": ["user:9101002", "user:9101003"]} | {f"n_of_kind_{n}": [1234567 + n, 7] for n in range(12)}
    return pl.DataFrame(known | {"share": [0.123456, 0.5]} | more)


def shown(frame: pl.DataFrame, width: int) -> str:
    return tables_text({"t": frame}, titled=False, width=width)


@pytest.mark.parametrize("width", [40, 80, 120, 400])
def test_no_number_and_no_name_is_ever_cut(width):
    text = shown(wide_frame(), width)
    for word in (
        "user:9101002",
        *(f"n_of_kind_{n}" for n in range(12)),
        *(str(1234567 + n) for n in range(12)),
        "0.1235",
    ):
        assert word in text.split()
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width


def test_what_fits_is_a_table_and_what_does_not_is_a_block_for_each_row():
    assert shown(wide_frame(), 400).count("n_of_kind_0") == 1
    assert shown(wide_frame(), 120).count("n_of_kind_0") == 2
    assert "2 / 2" in shown(wide_frame(), 120)


def test_long_texts_are_folded_before_a_table_is_given_up():
    text = shown(pl.DataFrame({"resource": ["calls"], "n_read": [1234567], "remarks": [LONG]}), 80)
    assert text.splitlines()[0].split() == ["resource", "n_read", "remarks"]
    assert "1234567" in text
    assert "".join(text.split()).endswith("".join(LONG.split()[-2:]))


def test_a_table_without_rows_keeps_its_names_however_narrow():
    for width in (40, 400):
        assert "n_of_kind_11" in shown(wide_frame().clear(), width)


def test_a_pipe_gets_every_column_whole():
    assert len(tables_text({"t": wide_frame()}, titled=False).splitlines()) == 3


def test_what_a_terminal_would_obey_is_not_shown():
    text = shown(pl.DataFrame({"\x1b[31mname": ["ООО \x1b]0;x\x07«Рога»\x9b2J\u202e", "a\r\tb"]}), 80)
    assert not set(text) & set("\x1b\x07\x9b\r\t\u202e")
    assert "«Рога»" in text


KINDS = pl.DataFrame(
    {
        "list": [[1, 2]],
        "struct": [{"a": "ё", "b": Decimal("1.5")}],
        "bytes": [b"ab"],
        "length": [timedelta(days=3)],
        "wall": [datetime(2026, 3, 1, 12)],  # noqa: DTZ001
        "at": [datetime(2026, 3, 1, 9, tzinfo=UTC)],
        "no_number": [float("nan")],
        "sum": [Decimal(12)],
    }
)


def test_every_kind_goes_into_every_format():
    for form in ("table", "csv", "json", "parquet", "xlsx"):
        assert frames_as({"t": KINDS}, form)


def test_csv_writes_lists_as_json_and_wall_times_without_an_offset():
    header, row = csv(KINDS).decode().splitlines()
    assert header.startswith("list,struct,bytes,length,wall,at")
    assert row.startswith(
        '"[1,2]","{""a"":""ё"",""b"":1.5}",6162,"3 days, 0:00:00",2026-03-01T12:00:00,2026-03-01T09:00:00+0000'
    )


def test_whole_sums_are_whole_numbers_in_json():
    (row,) = json.loads(frames_as({"t": KINDS}, "json"))
    assert (row["sum"], type(row["sum"]), row["no_number"]) == (12, int, None)


def test_a_place_that_cannot_be_written_to_is_a_sentence(tmp_path):
    (tmp_path / "file").touch()
    for place in (tmp_path / "nosuch" / "x.csv", tmp_path / "file" / "x.csv", tmp_path):
        with pytest.raises(ConfigError, match="--output"):
            deliver(b"x", place, is_text=True)
