"""What people set is kept for ever, with author and time."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from metrics.frames import frames_from
from metrics.user_set import USER_SET, user_set_frames
from settings import JSON_TYPES, SettingsStore

MARCH = datetime(2026, 3, 1, tzinfo=UTC)
STAGE = ("stage", "main", "pipeline:1", "status:7")


@pytest.fixture
def store(tmp_path):
    return SettingsStore(tmp_path / "data" / "app.sqlite")


def test_the_last_value_counts_and_the_first_is_remembered(store):
    store.put(("app",), "language", "ru", author="anna", now=MARCH)
    store.put(("app",), "language", "en", author="boris", now=MARCH + timedelta(days=1))
    assert store.get(("app",), "language") == "en"
    assert store.get(("app",), "language", at=MARCH) == "ru"
    assert [(old.value, old.author) for old in store.history(("app",), "language")] == [("ru", "anna"), ("en", "boris")]


def test_a_null_takes_a_setting_back(store):
    store.put(("metric", "A3"), "window_s", 3600, author="anna")
    store.put(("metric", "A3"), "window_s", None, author="anna")
    assert store.get(("metric", "A3"), "window_s", 900) == 900
    assert store.of_scope(("metric", "A3")) == {}


def test_the_version_grows_with_every_value(store):
    assert store.version() == 0
    assert [store.put(("app",), "n", n, author="anna") for n in (1, 2)] == [1, 2]
    assert store.version() == 2


def test_neither_a_setting_nor_the_log_can_be_changed_or_removed(store):
    store.put(("app",), "n", 1, author="anna")
    for statement in ("UPDATE setting SET value = '2'", "DELETE FROM setting", "DELETE FROM audit"):
        with sqlite3.connect(store.path) as db, pytest.raises(sqlite3.IntegrityError, match="append-only"):
            db.execute(statement)


def test_every_setting_leaves_a_line_in_the_audit_log(store):
    store.put(("app",), "n", 1, author="anna", now=MARCH)
    store.log("export", author="boris", now=MARCH, metric="A3")
    assert [(line["author"], line["action"], line["done_at"]) for line in store.audit()] == [
        ("boris", "export", MARCH),
        ("anna", "set", MARCH),
    ]


def test_what_people_set_can_be_had_as_it_stood_at_a_version(store):
    scope = ("pipeline", "main", "pipeline:1")
    first = store.put(scope, "purpose", "sales", author="anna")
    store.put(scope, "purpose", None, author="anna")
    assert store.user_set() == {}
    assert [row["purpose"] for row in store.user_set(first)["pipeline"]] == ["sales"]
    assert store.user_set(0) == {}


def test_user_set_rows_carry_the_key_and_all_columns(store):
    store.put(STAGE, "is_kev", True, author="anna")
    store.put(STAGE, "sla_s", 86400, author="anna")
    (row,) = store.user_set()["stage"]
    assert (row["account_id"], row["pipeline_id"], row["stage_id"]) == ("main", "pipeline:1", "status:7")
    assert (row["is_kev"], row["sla_s"], row["sla_clock"]) == (True, 86400, None)


def test_other_scopes_are_no_rows(store):
    store.put(("app",), "language", "ru", author="anna")
    assert store.user_set() == {}


@pytest.mark.parametrize(
    ("scope", "key", "value"),
    [
        (STAGE, "is_key", True),
        (STAGE, "is_kev", "yes"),
        (STAGE, "sla_s", True),
        (("stage", "main", "status:7"), "is_kev", True),
        (("user", "main", "user:1"), "left_on", "01.03.2026"),
    ],
)
def test_a_column_that_people_do_not_set_or_of_a_wrong_type_is_refused(store, scope, key, value):
    with pytest.raises(ValueError, match=f"{scope[0]}|{value}"):
        store.put(scope, key, value, author="anna")
    assert store.version() == 0


def test_every_column_that_people_set_can_be_kept():
    assert {kind for table in USER_SET.values() for kind in table.columns.values()} <= set(JSON_TYPES)


def test_what_people_set_reaches_the_frames_with_its_type(store):
    store.put(("user", "main", "user:1"), "left_on", "2026-03-01", author="anna")
    users = pl.DataFrame({"account_id": ["main"] * 2, "user_id": ["user:1", "user:2"]})
    frames = frames_from({"user": users}, "polars", [], user_set=user_set_frames(store.user_set()))
    joined = frames["user"].collect("polars").to_native()
    assert dict(joined.select("user_id", "left_on").iter_rows()) == {"user:1": date(2026, 3, 1), "user:2": None}
    assert joined["role"].to_list() == [None, None]


def test_reading_makes_no_file_and_writing_makes_a_private_one(store):
    assert store.get(("app",), "language") is None
    assert not store.path.exists()
    store.put(("app",), "language", "ru", author="anna")
    assert store.path.stat().st_mode & 0o077 == 0


def test_lines_of_the_audit_log_that_are_old_or_too_many_go_and_no_others(store):
    for day in range(4):
        store.log("export", author="anna", now=MARCH + timedelta(days=day), n=day)
    assert store.prune_audit(before=MARCH + timedelta(days=1)) == 1
    assert store.prune_audit(most=2) == 1
    assert [line["detail"]["n"] for line in store.audit()] == [3, 2]
    assert [line["detail"]["n"] for line in store.audit(since=MARCH + timedelta(days=3))] == [3]
    with closing(sqlite3.connect(store.path)) as db, pytest.raises(sqlite3.IntegrityError, match="append-only"):
        db.execute("DELETE FROM audit")


def test_many_who_write_the_audit_log_at_once_lose_no_line(store):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: store.log("export", author="anna", n=n), range(40)))
    assert sorted(line["detail"]["n"] for line in store.audit()) == [*range(40)]
