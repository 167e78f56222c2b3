"""`voronka diff`: which publications are compared, what is said of those that are not there, and what is shown."""

import json
import os
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from commands.diff import chosen, generation_named, plain
from config import ConfigError, load_config
from metrics.frames import made_at
from metrics.marts import MartParams
from metrics.row_changes import PARTS
from settings import SettingsStore
from sync import publish_all

MOSCOW = ZoneInfo("Europe/Moscow")
KNOWN = ["20261120T200000-000000", "20261120T213000-000000", "20261121T030000-000000"]


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("20261121", KNOWN[2]),
        (KNOWN[0], KNOWN[0]),
        ("20261120T21", KNOWN[1]),
        ("2026-11-20", KNOWN[0]),  # half past nine in the evening is the next day in Moscow
        ("2026-11-21", KNOWN[2]),
    ],
)
def test_a_generation_is_known_by_its_beginning_and_by_its_local_day(said, name):
    assert generation_named(said, KNOWN, MOSCOW) == name


@pytest.mark.parametrize(
    ("said", "word"), [("20261120", "begins several"), ("2025-01-01", "retention"), ("x", "20261120T200000")]
)
def test_a_generation_that_is_not_there_is_answered_by_those_that_are(said, word):
    with pytest.raises(ConfigError) as error:
        generation_named(said, KNOWN, MOSCOW)
    assert word in error.value.template.format(**error.value.fields)


def test_the_older_is_compared_with_the_newer_whatever_was_named_first():
    assert chosen([], KNOWN, MOSCOW) == (KNOWN[1], KNOWN[2])
    assert chosen(["20261120T20"], KNOWN, MOSCOW) == (KNOWN[0], KNOWN[2])
    assert chosen(["20261121", "20261120T20"], KNOWN, MOSCOW) == (KNOWN[0], KNOWN[2])
    for named, known in ((["20261121"], KNOWN), ([], KNOWN[:1])):
        with pytest.raises(ConfigError):
            chosen(named, known, MOSCOW)
    assert made_at(KNOWN[0]) == datetime(2026, 11, 20, 20, tzinfo=UTC)


def test_numbers_are_written_without_zeros_at_their_end():
    kind = pl.Decimal(38, 12)
    frame = pl.DataFrame({"a": ["100", "0", "-0.25", None]}, {"a": pl.String}).cast({"a": kind})
    assert plain(frame)["a"].to_list() == ["100", "0", "-0.25", None]


@pytest.fixture(scope="module")
def published_twice(demo):
    """The demo company published once more, a silent parameter of the marts being another; the second is the newest."""
    first = demo.folder / "publication" / "current"
    now = made_at(first.read_text().strip()) + timedelta(seconds=5)
    before = first.read_text().strip()
    calendars = MartParams.model_validate(
        json.loads((first.parent / before / "manifest.json").read_text())["mart_params"]
    )
    publish_all(demo.folder, params=calendars.model_copy(update={"client_grain": "contact"}), now=now)
    yield before, first.read_text().strip()
    os.replace(_pointer(first, before), first)


def _pointer(current, name):
    beside = current.with_name(".current")
    beside.write_text(name)
    return beside


def test_the_parts_of_every_number_sum_to_its_change(voronka, demo, published_twice):
    told = json.loads(voronka("diff", "--format", "json", "--config", demo.config).raw)
    assert (told["older"]["generation"], told["newer"]["generation"]) == published_twice
    numbers = [number for metric in told["metrics"] for number in metric["numbers"]]
    assert numbers
    for number in numbers:
        assert sum(number[part] for part in PARTS) == pytest.approx(number["change"], abs=1e-9)
        assert number["redefined"] == pytest.approx(number["change"], abs=1e-9)


def test_people_get_the_parts_that_are_there_and_the_rows_behind(voronka, demo, published_twice):
    said = voronka("diff", *published_twice, "--metric", "B2", "--config", demo.config)
    assert said.code == 0, said.err
    assert "redefined" in said.out
    assert "deleted" not in said.out.split("Rows behind")[0]
    assert "/detail/" in said.out
    rows = voronka("diff", "--metric", "B2", "--drilldown", "--format", "csv", "--config", demo.config)
    assert rows.out.startswith("metric_id,part,how,account_id,")
    numbers = pl.read_csv(voronka("diff", "--metric", "B2", "--format", "csv", "--config", demo.config).raw)
    assert numbers.schema["change"] == numbers.schema["redefined"] == pl.Float64


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["1", "2", "3"], "3"),
        (["19990101"], "There is no publication 19990101"),
        (["--set", "n_days=30"], "needs one `--metric`"),
        (["--account", "shop"], "no account shop"),
        (["--metric", "B2", "--from", "2026-01-01"], "has no period"),
    ],
)
def test_a_wrong_question_of_diff_is_a_sentence(voronka, demo, published_twice, arguments, word):
    said = voronka("diff", *arguments, "--config", demo.config)
    assert said.code == 2
    assert word in said.err
    assert not list(demo.folder.glob(".diff-*"))


def test_what_people_set_since_shows_in_the_current_publication_only(voronka, demo, published_twice):
    pipelines = pl.read_parquet(demo.folder / "publication" / published_twice[1] / "pipeline.parquet")
    store = SettingsStore(load_config(demo.config).settings_path)
    for account_id, pipeline_id in pipelines.select("account_id", "pipeline_id").iter_rows():
        store.put(("pipeline", account_id, pipeline_id), "purpose", "warming", author="anna")
    try:
        told = json.loads(voronka("diff", "--metric", "D6", "--format", "json", "--config", demo.config).raw)
    finally:
        for account_id, pipeline_id in pipelines.select("account_id", "pipeline_id").iter_rows():
            store.put(("pipeline", account_id, pipeline_id), "purpose", None, author="anna")
    revenue = [one for one in told["metrics"][0]["numbers"] if one["number"] == "revenue_minor"]
    assert revenue
    assert {(one["after"] or 0, one["redefined"] + one["before"]) for one in revenue if one["table"] == "months"} == {
        (0, 0)
    }
