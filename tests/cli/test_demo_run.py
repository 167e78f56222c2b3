"""From a CRM's REST to a number on the screen: the demo, its answer key, and what it leaves in its folder."""

import json

import pytest
from demo_process import run_demo

from commands.run import last_sync
from config import ConfigError, load_config
from demo.compare import Comparison
from demo.run import prepare, table_of


def test_tables_and_metrics_equal_the_answer_key(demo):
    assert demo.done.returncode == 0, demo.done.stdout + demo.done.stderr
    assert "Everything equals the answer key." in demo.done.stdout
    assert "✗" not in demo.done.stdout
    for metric in ("A3", "B2", "E6", "D6"):
        assert f"✓  {metric}" in demo.done.stdout


def test_without_a_terminal_there_are_no_colours_and_no_bars(demo):
    assert "\x1b" not in demo.done.stdout + demo.done.stderr
    assert "main · leads:" in demo.done.stderr


def test_the_data_folder_is_closed_to_others_and_holds_no_token(demo):
    assert demo.folder.stat().st_mode & 0o077 == 0
    texts = [file for file in demo.folder.rglob("*") if file.suffix in (".json", ".yaml", ".log")]
    assert texts
    assert not any("demo-token" in file.read_text("utf-8") for file in texts)


def test_running_again_goes_on_with_what_is_there(demo):
    before = last_sync(load_config(demo.config))
    again = run_demo(demo.folder)
    assert again.returncode == 0, again.stdout + again.stderr
    after = last_sync(load_config(demo.config))
    assert before is not None
    assert after is not None
    assert after > before


def test_a_folder_with_other_peoples_data_is_refused(tmp_path):
    (tmp_path / "warehouse.duckdb").write_text("mine")
    with pytest.raises(ConfigError, match="--data-dir"):
        prepare(tmp_path, {"scale": 1.0})
    assert (tmp_path / "warehouse.duckdb").read_text() == "mine"


def test_a_company_of_another_day_begins_anew(tmp_path):
    folder = tmp_path / "demo"
    prepare(folder, {"as_of": "monday"})
    (folder / "warehouse.duckdb").write_text("of monday")
    prepare(folder, {"as_of": "monday"})
    assert (folder / "warehouse.duckdb").exists()
    prepare(folder, {"as_of": "tuesday"})
    assert not (folder / "warehouse.duckdb").exists()
    assert json.loads((folder / "demo.json").read_text()) == {"as_of": "tuesday"}


def test_a_difference_is_marked(monkeypatch):
    monkeypatch.setenv("VORONKA_LANG", "en")
    table = table_of([Comparison("deal", 2, 2), Comparison("call", 3, 2), Comparison("rate", 0.1 + 0.2, 0.3)])
    assert table[""].to_list() == ["✓", "✗", "✓"]


def test_two_crms_say_the_same_of_one_company(tmp_path):
    both = run_demo(tmp_path / "both", "--crm", "both")
    assert both.returncode == 0, both.stdout + both.stderr
    for title in ("main: Metrics", "bitrix24: Metrics", "Accounts beside each other"):
        assert title in both.stdout
    assert "✗" not in both.stdout
    texts = [file for file in (tmp_path / "both").rglob("*") if file.suffix in (".json", ".yaml", ".log")]
    assert not any("demosecret" in file.read_text("utf-8") for file in texts)
