"""Lists as files: readable by a spreadsheet, and harmless in it."""

import io
import zipfile
from datetime import date, datetime
from decimal import Decimal

import polars as pl
import pytest

from app.ui import exports
from audit import AuditError
from settings import SettingsStore

COLUMNS = [("name", "Клиент", "text"), ("paid", "Купил", "money"), ("days", "Дней", "int")]


def rows(*names):
    return pl.DataFrame({"name": names, "paid": [12_345] * len(names), "days": [3] * len(names)})


@pytest.mark.parametrize("name", ["=1+1", "+7 900", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1"])
def test_a_name_that_looks_like_a_formula_stays_text(name):
    assert exports.plain(rows(name), COLUMNS, "RUB")["Клиент"].to_list() == ["'" + name]


def test_an_ordinary_name_and_numbers_are_left_alone():
    ready = exports.plain(rows("Ромашка"), COLUMNS, "RUB")
    assert ready.to_dicts() == [{"Клиент": "Ромашка", "Купил, ₽": Decimal("123.45"), "Дней": 3}]


EXACT = pl.DataFrame(
    {
        "paid": [32_970_000, None],
        "whole": [91.0, None],
        "waits": [1.1436574074074073, 2.0],
        "share": [0.12345, 1.0],
        "day": [date(2026, 11, 22), None],
        "at": [datetime.fromisoformat("2026-11-22T09:05"), None],
    }
)
KINDS = [("paid", "money"), ("whole", "int"), ("waits", "days"), ("share", "rate"), ("day", "day"), ("at", "moment")]


@pytest.mark.parametrize(
    ("is_russian", "lines"),
    [
        (
            True,
            [
                "paid, ₽;whole;waits;share, %;day;at",
                "329700,00;91;1,1;12,3;2026-11-22;2026-11-22 09:05",
                ";;2,0;100,0;;",
            ],
        ),
        (
            False,
            [
                '"paid, ₽",whole,waits,"share, %",day,at',
                "329700.00,91,1.1,12.3,2026-11-22,2026-11-22 09:05",
                ",,2.0,100.0,,",
            ],
        ),
    ],
)
def test_excel_opens_the_csv_in_the_language_of_its_settings(is_russian, lines):
    text = exports.csv(exports.plain(EXACT, [(name, name, kind) for name, kind in KINDS], "RUB"), is_russian=is_russian)
    assert text.startswith(b"\xef\xbb\xbf")
    assert text.decode("utf-8-sig").splitlines() == lines


def test_the_workbook_holds_no_formula():
    book = exports.xlsx(exports.plain(rows("=1+1"), COLUMNS, "RUB"))
    with zipfile.ZipFile(io.BytesIO(book)) as parts:
        sheet = parts.read("xl/worksheets/sheet1.xml").decode()
        texts = parts.read("xl/sharedStrings.xml").decode()
    assert "<f>" not in sheet
    assert "'=1+1" in texts


def test_a_phone_is_text_not_a_link_and_not_a_number():
    phones = pl.DataFrame({"phone": ["tel:+79990000001", None]})
    assert exports.plain(phones, [("phone", "Телефон", "phone")], "RUB")["Телефон"].to_list() == ["'+79990000001", None]


@pytest.fixture
def clicks(monkeypatch, data_dir):
    """What the buttons of a list make when they are clicked, by their label."""
    made = {}
    monkeypatch.setattr(exports.st, "download_button", lambda label, data, **_: made.__setitem__(label, data))
    monkeypatch.setattr(exports.st, "session_state", {exports.WHO: "boris"})
    exports.buttons(rows("Ромашка", "Лютик").rename({"name": "label"}), LABELLED, key="calls", currency="RUB")
    return made


LABELLED = [("label", "Клиент", "text"), ("paid", "Купил", "money")]


def test_a_click_is_written_down_with_who_and_how_many_and_without_the_rows(clicks, data_dir):
    store = SettingsStore(data_dir / "app.sqlite")
    assert store.audit() == []
    clicks["CSV"]()
    clicks["XLSX"]()
    lines = store.audit()
    assert [(line["author"], line["action"], line["detail"]["form"]) for line in lines] == [
        ("boris", "export", "xlsx"),
        ("boris", "export", "csv"),
    ]
    assert {(line["detail"]["rows"], line["detail"]["is_personal"]) for line in lines} == {(2, True)}
    assert "Ромашка" not in str(lines)


def test_a_click_that_cannot_be_written_down_makes_no_file(clicks, data_dir):
    (data_dir / "app.sqlite").mkdir()
    with pytest.raises(AuditError):
        clicks["CSV"]()
