"""What is exported, erased and restored leaves a line of who, when and what, and without a line it is not done."""

import json
import shutil
from datetime import datetime

import pytest

from connectors.records import Account, Contact
from settings import SettingsStore
from sync import publish_all
from warehouse.database import open_warehouse, personal_key
from warehouse.load import Loader

NOON = datetime.fromisoformat("2026-03-02T12:00:00+00:00")
PHONE = "+79991234567"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A published account with a contact."""
    data_dir = tmp_path_factory.mktemp("made") / "data"
    engine = open_warehouse(data_dir)
    named = {"connector": "amocrm", "name": "Acme", "base_url": "https://a.example.org", "external_id": "1"}
    account = Account(account_id="main", **named, tz="Europe/Moscow", base_currency="RUB", default_region="RU")
    with engine.begin() as connection:
        reads = [account, Contact(account_id="main", contact_id="contact:1", name="Anna Karenina", created_at=NOON)]
        loader = Loader(connection, key=personal_key(data_dir, connection))
        loader.load(enumerate(reads, 1), load_seq=1, synced_at=NOON)
        connection.exec_driver_sql(
            "INSERT INTO sync_watermark (account_id, resource, table_name, target_account_id, is_core, complete_from, "
            "watermark) VALUES ('main', 'leads', 'deal', 'main', true, ?, ?)",
            (NOON, NOON),
        )
    engine.dispose()
    publish_all(data_dir, now=NOON)
    return data_dir


@pytest.fixture
def config(made, tmp_path):
    shutil.copytree(made, tmp_path / "data")
    file = tmp_path / "config.yaml"
    file.write_text("data_dir: data\n")
    return file


def lines(config):
    found = SettingsStore(config.parent / "data" / "app.sqlite").audit()
    return [(line["action"], line["detail"]) for line in reversed(found)]


def test_an_answer_in_a_file_leaves_a_line_without_the_question(voronka, config, tmp_path):
    query = f"SELECT contact_id FROM contact WHERE contact_id <> '{PHONE}'"
    voronka("sql", query, "--format", "csv", "--output", tmp_path / "a.csv", "--config", config)
    ((action, said),) = lines(config)
    assert (action, said["what"], said["tables"], said["form"], said["rows"]) == (
        "export",
        "sql",
        ["contact"],
        "csv",
        1,
    )
    assert said["to"] == str(tmp_path / "a.csv")
    assert PHONE not in json.dumps(said)


def test_rows_behind_a_metric_are_written_down_as_personal_and_a_look_at_it_is_not(voronka, config):
    asked = ("metric", "run", "D6", "--as-of", "2026-03-01", "--config", config)
    voronka(*asked)
    voronka(*asked, "--format", "json", "--drilldown")
    ((_, said),) = lines(config)
    assert (said["what"], said["form"], said["is_personal"], said["to"]) == ("D6", "json", True, "pipe")
    assert "drilldown" in said["tables"]


def test_where_no_line_can_be_written_nothing_is_exported(voronka, config, tmp_path):
    (config.parent / "data" / "app.sqlite").mkdir()
    said = voronka("sql", "SELECT 1", "--format", "csv", "--output", tmp_path / "a.csv", "--config", config)
    assert (said.code, said.out, (tmp_path / "a.csv").exists()) == (1, "", False)
    assert "audit log" in said.err
    assert "Traceback" not in said.err


def test_what_is_not_confirmed_is_not_written_down(voronka, config):
    voronka("forget", "contact:1", "--config", config)
    assert lines(config) == []
    voronka("forget", "contact:1", "--yes", "--config", config)
    ((action, said),) = lines(config)
    assert (action, said["rows"]) == ("forget", 1)
    assert "contact:" not in str(said)


def test_a_restore_loses_no_line(voronka, config, tmp_path):
    voronka("backup", tmp_path / "b.tar", "--config", config)
    voronka("sql", "SELECT 1", "--format", "csv", "--output", tmp_path / "a.csv", "--config", config)
    assert voronka("restore", tmp_path / "b.tar", "--force", "--config", config).code == 0
    assert [action for action, _ in lines(config)] == ["backup", "export", "restore"]
    assert lines(config)[0][1]["file"] == str(tmp_path / "b.tar")


def test_the_log_is_shown_to_people_and_to_programs(voronka, config, tmp_path):
    assert "Nothing was exported" in voronka("audit", "--config", config).err
    voronka("backup", tmp_path / "b.tar", "--config", config)
    assert f"file={tmp_path / 'b.tar'}" in voronka("audit", "--config", config).out
    (line,) = json.loads(voronka("audit", "--json", "--config", config).out)
    assert (line["action"], sorted(line)) == ("backup", ["action", "author", "detail", "done_at"])
