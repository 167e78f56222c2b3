"""What each command prints, and the exit code it ends with."""

import io
import json
import logging
import re
import socket
import zipfile
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from xml.sax.saxutils import escape
from zoneinfo import ZoneInfo

import polars as pl
import pytest

import cli
from app.resources import part_name, resource_name
from commands.metric import Question, period_of
from commands.output import frames_as, shown
from commands.status import state_text
from commands.text import language_of
from connectors.connector import find_connectors
from demo.run import TOKEN_VARIABLE
from metrics.metric import find_metrics
from warehouse.database import writer_lock

JSON_SHAPE = {"metric_id", "generation", "params", "as_of", "from", "to", "semantics", "coverage", "warnings", "tables"}


@pytest.fixture
def on_demo(voronka, demo):
    return lambda *arguments: voronka(*arguments, "--config", demo.config)


@pytest.fixture
def config(tmp_path: Path):
    """Writes a configuration with one account; returns its path."""

    def config(base_url: str = "http://127.0.0.1:9", **more: object) -> Path:
        file = tmp_path / "config.yaml"
        account = {"id": "main", "connector": "amocrm", "base_url": base_url, "token_env": "SOME_TOKEN", **more}
        file.write_text(json.dumps({"data_dir": "data", "accounts": [account]}))
        return file

    return config


# Wrong configuration and arguments


def test_an_unknown_key_ends_with_2_and_one_sentence(voronka, config):
    said = voronka("sync", "--config", config(tokn_env="X"))
    assert (said.code, said.out, said.err.count("\n")) == (2, "", 1)
    assert "tokn_env" in said.err
    assert "token_env" in said.err


@pytest.mark.parametrize("command", ["sync", "publish", "status", "doctor", "scheduler", "app", "metric list", "sql x"])
def test_every_command_says_when_there_is_no_configuration(voronka, tmp_path, command):
    said = voronka(*command.split(), "--config", tmp_path / "none.yaml")
    if command == "metric list":
        assert said.code == 0  # the metrics are the same everywhere
    else:
        assert (said.code, said.out) == (2, "")
        assert "voronka init" in said.err


@pytest.mark.parametrize(("language", "word"), [("en", "taken"), ("ru", "занят")])
def test_a_taken_port_names_the_option_that_takes_another(voronka, config, monkeypatch, language, word):
    monkeypatch.setenv("VORONKA_LANG", language)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        said = voronka("app", "--port", other.getsockname()[1], "--config", config())
    assert said.code == 2
    assert word in said.err
    assert "--port 0" in said.err


def test_the_dashboard_says_where_it_opens_before_the_server_takes_over(voronka, config, monkeypatch):
    started = []
    monkeypatch.setattr("os.execve", lambda *arguments: started.append(arguments))
    said = voronka("app", "--port", 0, "--config", config())
    port = started[0][1][-1]
    assert said.out == f"The dashboard opens at http://127.0.0.1:{port}. Ctrl-C stops it.\n"


def test_an_unknown_account_or_resource_ends_with_2(voronka, config):
    assert voronka("sync", "mian", "--config", config()).code == 2
    said = voronka("sync", "--resource", "laeds", "--config", config())
    assert said.code == 2
    assert "`leads`" in said.err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("sync --fast", "Параметра --fast нет."),
        ("--config x.yaml status", "Параметр --config пишется после команды: `voronka status --config …`."),
        ("--config=x.yaml status", "Параметр --config пишется после команды: `voronka status --config …`."),
        ("metric --config x.yaml run A3", "Параметр --config пишется после команды: `voronka status --config …`."),
        ("sync --ful", "Параметра --ful нет. Может быть, --full?"),
        ("publsh", "Команды publsh нет. Может быть, 'publish'?"),
        ("sql", "Не хватает QUERY."),
        ("sync --resource", "После --resource нужно значение."),
        ("sync --full=1", "После --full значения не бывает."),
        ("status more", "Это лишнее: more."),
        ("metric run A3 --engine x", "--engine не может быть x. Бывает 'polars', 'duckdb', 'spark'."),
        ("metric run A3 --from 2026-13-01", "--from не может быть 2026-13-01. Нужен день, например 2026-11-21."),
        ("app --port x", "--port — это число."),
    ],
)
def test_wrong_arguments_are_said_in_russian(voronka, monkeypatch, arguments, sentence):
    monkeypatch.setenv("VORONKA_LANG", "ru")
    said = voronka(*arguments.split())
    assert (said.code, said.out, said.err.splitlines()[0]) == (2, "", sentence)


def test_an_unknown_level_of_the_log_is_a_sentence(voronka, monkeypatch, config):
    monkeypatch.setenv("VORONKA_LOG", "verbose")
    said = voronka("status", "--config", config())
    assert (said.code, said.err) == (2, "VORONKA_LOG is verbose, but it must be DEBUG, INFO, WARNING or ERROR.\n")


# The source


def test_a_missing_token_names_the_variable_and_writes_nothing(voronka, config, tmp_path, monkeypatch):
    monkeypatch.delenv("SOME_TOKEN", raising=False)
    said = voronka("sync", "--config", config())
    assert said.code == 1
    assert "SOME_TOKEN" in said.err
    assert "Traceback" not in said.err
    assert {file.name for file in (tmp_path / "data").iterdir()} <= {"state", "status.json", "sync.lock"}


@pytest.mark.parametrize(("language", "words"), [("ru", "Переменная окружения SOME_TOKEN пуста"), ("en", "is empty")])
def test_what_stops_an_account_is_said_once_and_in_the_users_language(voronka, config, monkeypatch, language, words):
    monkeypatch.delenv("SOME_TOKEN", raising=False)
    monkeypatch.setenv("VORONKA_LANG", language)
    file = config()
    said = voronka("sync", "--config", file)
    assert said.err.count("SOME_TOKEN") == 1
    assert words in said.err
    status = voronka("status", "--config", file).out
    assert status.count("SOME_TOKEN") == 1
    assert words in status


def test_after_a_first_sync_that_read_nothing_there_is_nothing_to_publish(voronka, config, tmp_path, monkeypatch):
    monkeypatch.delenv("SOME_TOKEN", raising=False)
    file = config()
    voronka("sync", "--config", file)
    said = voronka("publish", "--config", file)
    assert (said.code, said.out, said.err.count("\n")) == (1, "", 1)
    assert "nothing to publish" in said.err
    assert not (tmp_path / "data" / "publication").exists()
    assert voronka("metric", "run", "A3", "--config", file).code == 1


def test_a_token_is_never_printed(voronka, config, monkeypatch):
    monkeypatch.setenv("SOME_TOKEN", "s3cr3t-t0k3n-of-a-person")
    monkeypatch.setattr("connectors.http.RETRY_AFTER_S", (0, 0, 0))
    for command in ("sync", "doctor"):
        said = voronka(command, "--config", config())
        assert said.code == 1
        assert "s3cr3t" not in said.out + said.err


def test_what_flies_as_a_bug_shows_no_values(voronka, config, monkeypatch):
    def broken(*_args: object, **_kwargs: object) -> None:
        token = "s3cr3t-t0k3n"
        raise RuntimeError(len(token))

    monkeypatch.setattr("commands.run.run_sync", broken)
    with pytest.raises(RuntimeError):
        voronka("sync", "--config", config())
    assert cli.app.pretty_exceptions_enable is False  # Typer's would print local variables


def test_another_writer_ends_with_3(voronka, config, tmp_path, monkeypatch):
    monkeypatch.setenv("SOME_TOKEN", "t")
    file = config()
    with writer_lock(tmp_path / "data"):
        for command in ("sync", "publish"):
            assert voronka(command, "--config", file).code == 3


def test_a_full_disk_is_a_sentence(monkeypatch):
    monkeypatch.setenv("VORONKA_LANG", "en")
    told = cli.sentence(OSError(28, "No space left on device"))
    assert told is not None
    assert told[1] == 1
    assert "disk is full" in told[0]


def test_a_bug_is_not_made_into_a_sentence():
    assert cli.sentence(ZeroDivisionError()) is None


# Before the first publication


@pytest.mark.parametrize("command", [("metric", "run", "A3"), ("sql", "SELECT 1")])
def test_before_the_first_publication_readers_say_so(voronka, config, command):
    said = voronka(*command, "--config", config())
    assert (said.code, said.out) == (1, "")
    assert "voronka sync" in said.err


def test_status_before_everything_is_a_sentence(voronka, config):
    said = voronka("status", "--config", config())
    assert said.code == 0
    assert "Nothing has been synced yet" in said.out


# status


def test_status_of_a_good_night_is_short(on_demo):
    said = on_demo("status")
    assert said.code == 0
    for word in ("done", "  In order: ", "deal_stage_transition", "all others: "):
        assert word in said.out
    assert len(said.out.splitlines()) < 20


def state_with(sync=None, published=None):
    return {"timezone": "UTC", "sync": sync, "publication": published, "accounts_without_data": []}


def test_status_calls_resources_as_the_page_does_and_tells_local_time(monkeypatch):
    monkeypatch.setenv("VORONKA_LANG", "ru")
    at = "2026-03-01T21:30:00Z"
    read = {"state": "skipped", "n_read": 5, "n_written": 5, "watermark": None, "error": None}
    resources = [{"resource": name, **read} for name in ("leads", "trash", "of_a_newer_version")]
    resources.append({"resource": "calls", **read, "state": "done", "watermark": at})
    coverage = [{"account_id": "shop", "resource": "deal_owner_change", "complete_from": at, "watermark": at}]
    zones = {"main": "Europe/Moscow", "shop": "Asia/Omsk"}
    accounts = [{"account_id": name, "tz": tz, "is_stale": False, "watermark": at} for name, tz in zones.items()]
    sync = {
        "state": "done",
        "heartbeat_at": at,
        "started_at": at,
        "accounts": [{"account_id": name, "resources": resources} for name in zones],
    }
    published = {
        "generation": "g",
        "created_at": at,
        "as_of": at,
        "accounts": accounts,
        "coverage": coverage,
        "checks": [],
    }
    text = state_text(state_with(sync, published), datetime(2026, 3, 1, 22, tzinfo=UTC))
    for name in ("Сделки (leads)", "Удалённые сделки (trash)", "(deal_owner_change)", " of_a_newer_version:"):
        assert name in text.replace("\n", " ")
    moscow, omsk = "2026-03-02 00:30+03:00 (30 мин назад)", "2026-03-02 03:30+06:00 (30 мин назад)"
    assert (text.count(moscow), text.count(omsk)) == (2 + 1, 1 + 1)
    assert re.search(r"2026-03-02 +2026-03-02 03:30.+deal_owner_change\)", text)


def test_status_begins_with_what_failed_or_is_old(monkeypatch):
    """Also when the last run did not ask for it."""
    monkeypatch.setenv("VORONKA_LANG", "en")
    at, before, old = "2026-03-03T03:00:00Z", "2026-03-02T03:00:00Z", "2026-02-25T03:00:00Z"
    failure = {"at": before, "error": {"text": "down", "template": "down", "fields": {}}}
    more = {"n_read": 0, "n_written": 0, "error": None}
    resources = [
        {"resource": "leads", "state": "done", "watermark": at, **more},
        {"resource": "users", "state": "skipped", "watermark": before, **more},
        {"resource": "contacts", "state": "skipped", "watermark": old, **more},
        {"resource": "tasks", "state": "skipped", "watermark": None, **more},
        {"resource": "customers", "state": "left_out", "watermark": None, **more},
        {"resource": "calls", "state": "skipped", "watermark": old, "failure": failure, **more},
        {"resource": "notes", "state": "skipped", "watermark": old, "failure": failure, **more},
    ]
    accounts = [{"account_id": "main", "error": None, "resources": resources}]
    sync = {"state": "done", "heartbeat_at": at, "started_at": at, "accounts": accounts}
    text = state_text(state_with(sync), datetime(2026, 3, 3, 4, tzinfo=UTC))
    assert text.splitlines()[2:8] == [
        "main",
        "  ! Calls (calls), Notes (notes): failed 2026-03-02 03:00+00:00 (25 h ago), "
        "read up to 2026-02-25 03:00+00:00 (6 d ago): down",
        "  ! Contacts (contacts): not current, read up to 2026-02-25 03:00+00:00 (6 d ago)",
        "  ! Tasks (tasks): never read",
        "  Not given by the CRM: Customers (customers).",
        "  In order: 2, read up to 2026-03-02 03:00+00:00 (25 h ago); objects read 0, rows written 0.",
    ]


@pytest.mark.parametrize("code", ["ru", "en"])
def test_every_part_of_a_sync_has_a_name_for_people(code):
    parts = {resource.name for connector in find_connectors().values() for resource in connector.resources}
    assert {part for part in parts if resource_name(part, code) == part} == set()


def test_leads_are_deals_but_where_there_are_deals_too():
    assert part_name("leads", {"leads", "contacts"}, "ru") == part_name("deals", {"leads", "deals"}, "ru") == "Сделки"
    assert part_name("leads", {"leads", "deals"}, "ru") == "Лиды"


def test_status_for_programs_is_json(on_demo):
    state = json.loads(on_demo("status", "--json").out)
    assert state["sync"]["state"] == "done"
    assert state["publication"]["coverage"]
    assert state["accounts_without_data"] == []


@pytest.mark.parametrize(
    ("watermark", "words"),
    [
        (None, "never been read whole"),
        ("2026-03-02T00:00:00Z", "ahead of this machine's"),
        ("2026-02-01T00:00:00Z", "not been updated for long"),
    ],
)
def test_status_says_why_an_account_is_stale(monkeypatch, watermark, words):
    monkeypatch.setenv("VORONKA_LANG", "en")
    account = {"account_id": "main", "tz": "Europe/Moscow", "is_stale": True, "watermark": watermark}
    at = "2026-03-01T00:00:00Z"
    published = {"generation": "g", "created_at": at, "as_of": at, "accounts": [account], "coverage": [], "checks": []}
    text = state_text(
        {"timezone": "UTC", "sync": None, "publication": published, "accounts_without_data": []},
        datetime(2026, 3, 1, tzinfo=UTC),
    )
    assert words in text


# metric


def test_the_list_of_metrics_names_their_parameters(on_demo):
    entries = {entry["id"]: entry for entry in json.loads(on_demo("metric", "list", "--json").out)}
    assert {"A3", "B2", "D6", "E6"} <= set(entries)
    assert entries["A3"]["params"]["judge_after_s"] == 86_400
    assert entries["A3"]["name"]["ru"] in on_demo("metric", "list", "--json").out


def test_the_json_of_a_metric_has_its_fixed_shape(on_demo):
    plain = json.loads(on_demo("metric", "run", "A3", "--format", "json").out)
    assert set(plain) == JSON_SHAPE
    assert plain["tables"]["total"][0]["n_threads"] >= 0
    deep = json.loads(on_demo("metric", "run", "A3", "--format", "json", "--drilldown").out)
    assert set(deep) == JSON_SHAPE | {"drilldown"}


def test_the_numbers_are_the_answer_keys(on_demo, demo):
    key = json.loads((demo.folder / "answer_key.json").read_text())["A3"]
    first, end = key["period"]
    found = json.loads(on_demo("metric", "run", "A3", "--from", first, "--to", end, "--format", "json").out)
    assert [found["from"], found["to"]] == key["period"]
    (total,) = found["tables"]["total"] or [{f"n_{state}": 0 for state in key["states"]}]
    assert {state: total[f"n_{state}"] for state in key["states"]} == key["states"]


def test_both_engines_print_the_same(on_demo):
    one, other = (on_demo("metric", "run", "B2", "--format", "json", "--engine", e).out for e in ("polars", "duckdb"))
    assert json.loads(one)["tables"] == json.loads(other)["tables"]


def test_the_end_of_a_period_is_exclusive(on_demo):
    asked = ("metric", "run", "A3", "--from", "2026-01-05", "--to", "2026-01-05")
    said = on_demo(*asked)
    assert said.code == 2
    assert "exclusive" in said.err


def test_parameters_are_typed(on_demo):
    found = json.loads(on_demo("metric", "run", "B2", "--set", "n_days=7", "--format", "json").out)
    assert found["params"]["n_days"] == 7
    found = json.loads(on_demo("metric", "run", "A3", "--set", "population=[user:9101002]", "--format", "json").out)
    assert found["params"]["population"] == ["user:9101002"]
    found = json.loads(on_demo("metric", "run", "A3", "--set", "any_user=false", "--format", "json").out)
    assert found["params"]["any_user"] is False


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("metric", "run", "A33"), "A3"),
        (("metric", "run", "A3", "--set", "judge_after=1"), "`judge_after_s`"),
        (("metric", "run", "A3", "--set", "judge_after_s=soon"), "judge_after_s"),
        (("metric", "run", "A3", "--set", "judge_after_s"), "name=value"),
        (("metric", "run", "A3", "--set", "population=user:1"), "it must be a list"),
        (("metric", "run", "A3", "--set", "population=[user:9101]"), "`population`: the publication has no user:9101"),
        (("metric", "run", "B2", "--set", "base=x"), "it must be one of 'existing', 'buyers'"),
        (("metric", "run", "D6", "--set", "active_d=200"), "These parameters of D6"),
        (("metric", "run", "E6", "--set", "pipeline_id=продажа"), "Did you mean pipeline:7100101 (Продажи)"),
        (("metric", "run", "E6", "--set", "pipeline_id=7100102"), "pipeline:7100102"),
        (("sql", "SELECT 1", "--timeout", "-1"), "at most 86400 seconds, not -1."),
        (("sql", "SELECT sum(a.range) FROM range(99999999) a, range(9999) b", "--timeout", "0.2"), "longer than 0.2 s"),
        (("sql", "SELECT 1", "--output", "/nosuch/x.csv"), "/nosuch"),
        (("metric", "run", "A3", "--format", "csv", "--table", "total", "--output", "/nosuch/x.csv"), "/nosuch"),
        (("metric", "run", "B2", "--from", "2026-01-01"), "--as-of"),
        (("metric", "run", "B2", "--to", "2026-02-01"), "--as-of"),
        (("metric", "run", "A3", "--table", "by_users"), "by_user"),
        (("metric", "run", "A3", "--as-of", "yesterday"), "2026-11-21"),
        (("metric", "run", "A3", "--as-of", "2099-01-01"), "later"),
        (("metric", "run", "A3", "--account", "shop"), "main"),
        (("metric", "run", "A3", "--viewer", "nobody"), "viewers"),
        (("metric", "run", "A3", "--format", "csv", "--table", "total", "--drilldown"), "--table"),
    ],
)
def test_a_wrong_question_is_answered_by_what_would_be_right(on_demo, arguments, word):
    said = on_demo(*arguments)
    assert (said.code, said.out) == (2, "")
    assert word in said.err


@pytest.mark.parametrize(
    ("assignment", "sentence"),
    [
        ("D6 active_d=200", "Эти параметры метрики D6 не подходят друг к другу: active_d должно быть меньше churn_d"),
        ("A3 judge_after_s=abc", "Параметр `judge_after_s` метрики A3 не может быть 'abc': нужно целое число."),
        ("E6 pipeline_id=продажа", "`pipeline_id`: в публикации нет продажа. Может быть, pipeline:7100101 (Продажи)"),
    ],
)
def test_what_is_wrong_with_a_parameter_is_said_in_russian(on_demo, monkeypatch, assignment, sentence):
    monkeypatch.setenv("VORONKA_LANG", "ru")
    metric_id, text = assignment.split()
    assert on_demo("metric", "run", metric_id, "--set", text).err.startswith(sentence)


def test_the_list_of_metrics_says_what_parameters_may_be(on_demo):
    allowed = {entry["id"]: entry["allowed"] for entry in json.loads(on_demo("metric", "list", "--json").out)}
    assert allowed["B2"]["direction"] == "any | out"
    assert allowed["E6"]["gain_pp"] == "> 0, ≤ 1"
    assert "any | out" in on_demo("metric", "list").out


def test_a_viewer_of_an_unknown_department_is_no_viewer_of_nothing(voronka, demo, tmp_path):
    file = tmp_path / "config.yaml"
    viewer = {"login": "anna", "role": "head", "departments": ["department:1"]}
    file.write_text(json.dumps({"data_dir": str(demo.folder), "viewers": [viewer]}))
    said = voronka("metric", "run", "B2", "--viewer", "anna", "--config", file)
    assert (said.code, said.out) == (2, "")
    assert "department:512001" in said.err
    doctor = voronka("doctor", "--config", file)
    assert doctor.code == 1
    assert "✗ viewers, anna: `departments`: the publication has no department:1." in doctor.out


def test_an_earlier_instant_of_knowledge_rebuilds_the_marts(on_demo):
    now = json.loads(on_demo("metric", "run", "B2", "--format", "json").out)
    then = json.loads(on_demo("metric", "run", "B2", "--as-of", now["from"], "--format", "json").out)
    assert then["as_of"] < now["as_of"]
    assert then["tables"]["total"][0]["den"] < now["tables"]["total"][0]["den"]


def test_a_viewer_sees_own_rows_only(voronka, demo, tmp_path):
    key = json.loads((demo.folder / "answer_key.json").read_text())["B2"]
    user = max(key["by_user"], key=lambda user_id: key["by_user"][user_id]["den"])
    file = tmp_path / "config.yaml"
    viewer = {"login": "anna", "role": "manager", "user_id": user}
    file.write_text(json.dumps({"data_dir": str(demo.folder), "viewers": [viewer]}))
    found = json.loads(voronka("metric", "run", "B2", "--viewer", "anna", "--format", "json", "--config", file).out)
    assert {row["user_id"] for row in found["tables"]["by_user"]} == {user}
    assert {row["user_id"] for row in found["tables"]["clients"]} <= {user}


def test_files_of_every_format_can_be_read_back(on_demo, tmp_path):
    read = {
        "csv": pl.read_csv,
        "parquet": pl.read_parquet,
        "json": lambda file: pl.DataFrame(json.loads(file.read_text())),
    }
    for form, reader in read.items():
        file = tmp_path / f"answer.{form}"
        assert on_demo("sql", "SELECT deal_id, amount_minor FROM deal", "--format", form, "--output", file).out == ""
        assert reader(file).columns == ["deal_id", "amount_minor"]
    file = tmp_path / "a3.xlsx"
    on_demo("metric", "run", "A3", "--format", "xlsx", "--output", file)
    assert file.read_bytes()[:2] == b"PK"


def test_an_answer_says_what_it_is_of(on_demo):
    asked = ("metric", "run", "A3", "--set", "min_n=7")
    found = json.loads(on_demo(*asked, "--format", "json").out)
    as_of = datetime.fromisoformat(found["as_of"]).astimezone(ZoneInfo("Europe/Moscow"))
    last = date.fromisoformat(found["to"]) - timedelta(days=1)
    heading = [
        f"Metric: A3 · {find_metrics()['A3'].text['en'].name}",
        f"Period: {found['from']} to {last}, both included",
        f"As of: {as_of:%Y-%m-%d %H:%M}+03:00",
        f"Publication: {found['generation']}",
        "Parameters: min_n=7",
    ]
    assert on_demo(*asked).out.splitlines()[:5] == heading
    said = on_demo(*asked, "--format", "csv")
    assert said.err.splitlines()[:5] == heading
    assert said.out.startswith("account_id,")


def test_what_has_no_period_and_no_parameter_of_its_own_tells_none(on_demo):
    said = on_demo("metric", "run", "B2").out
    assert said.startswith("Metric: B2")
    assert not {"Period:", "Parameters:"} & set(said.split())


def test_a_workbook_begins_with_what_it_is_of(on_demo):
    book = zipfile.ZipFile(io.BytesIO(on_demo("metric", "run", "E6", "--format", "xlsx").raw))
    sheets = re.findall(r'<sheet name="(\w+)"', book.read("xl/workbook.xml").decode())
    texts = set(re.findall(r"<t[^>]*>([^<]*)", book.read("xl/sharedStrings.xml").decode()))
    assert sheets == ["about", "stages", "summary"]
    assert {"Metric", "Period", "As of", "Publication", "Definition", "Formula", "Warning", "deal"} <= texts
    assert escape(find_metrics()["E6"].text["en"].definition) in texts


@pytest.mark.parametrize("form", ["csv", "parquet", "json"])
def test_rows_of_a_user_have_the_name_in_every_format(on_demo, tmp_path, form):
    file = tmp_path / f"answer.{form}"
    on_demo("metric", "run", "B2", "--drilldown", "--format", form, "--output", file)
    rows = {
        "csv": pl.read_csv,
        "parquet": pl.read_parquet,
        "json": lambda file: pl.DataFrame(json.loads(file.read_text())["drilldown"], infer_schema_length=None),
    }[form](file)
    users = json.loads(on_demo("sql", "SELECT user_id, name FROM user", "--format", "json").out)
    names = {user["user_id"]: user["name"] for user in users} | {None: None}
    assert rows.columns[rows.columns.index("user_id") + 1] == "user_name"
    assert rows.height > 0
    assert all(names[user] == name for user, name in rows.select("user_id", "user_name").iter_rows())


def test_a_screen_gets_the_totals_first_and_of_long_tables_the_first_rows(on_demo, tmp_path):
    asked = ("metric", "run", "D6")
    n = len(json.loads(on_demo(*asked, "--format", "json").out)["tables"]["managers"])
    assert n > 20
    lines = on_demo(*asked).out.splitlines()
    assert lines[lines.index("managers") + 22] == f"… {n - 20} more: --table managers"
    assert len(on_demo(*asked, "--table", "managers").out.splitlines()) > n
    on_demo(*asked, "--output", tmp_path / "all.txt")
    assert len((tmp_path / "all.txt").read_text("utf-8").splitlines()) > n
    lines = on_demo("metric", "run", "B2").out.splitlines()
    assert lines.index("total") < lines.index("by_user")


def test_binary_formats_go_into_a_pipe_whole(on_demo):
    said = on_demo("metric", "run", "B2", "--format", "parquet", "--drilldown")
    assert "entity_id" in pl.read_parquet(io.BytesIO(said.raw)).columns


# sql


def test_sql_answers_and_refuses(on_demo):
    said = on_demo("sql", "SELECT count(*) AS n FROM deal", "--format", "csv")
    assert said.out.splitlines()[0] == "n"
    for query in ("SELECT * FROM contact_pii", "DELETE FROM deal", "SELECT 1; SELECT 2"):
        said = on_demo("sql", query)
        assert (said.code, said.out) == (2, "")


# init


def test_init_writes_what_was_answered_and_no_secret(voronka, tmp_path):
    file = tmp_path / "config.yaml"
    answers = ["--crm", "amocrm", "--base-url", "https://volga.amocrm.ru/leads/", "--token-env", "VOLGA_TOKEN"]
    answers += ["--timezone", "Asia/Omsk"]
    answers += ["--hours", "09:00-18:00", "--country", "RU", "--data-dir", "data"]
    said = voronka("init", *answers, "--config", file)
    assert said.code == 0
    assert "VOLGA_TOKEN" in said.out
    text = file.read_text()
    assert "https://volga.amocrm.ru\n" in text
    assert file.stat().st_mode & 0o077 == 0
    assert cli.connected(file).account("main").token_env == "VOLGA_TOKEN"


def test_init_for_bitrix24_asks_for_the_variable_of_the_webhook_and_for_no_address(voronka, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("bitrix24\nVOLGA_HOOK\n\n\n\n\n"))
    file = tmp_path / "config.yaml"
    said = voronka("init", "--config", file)
    assert (said.code, "VOLGA_HOOK" in said.out) == (0, True)
    account = cli.connected(file).account("main")
    assert (account.connector, account.webhook_env, account.base_url) == ("bitrix24", "VOLGA_HOOK", None)


def test_init_leaves_a_file_that_is_there(voronka, tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text("mine")
    said = voronka("init", *INIT, "--config", file)
    assert said.code == 2
    assert file.read_text() == "mine"


INIT = [
    "--crm",
    "amocrm",
    "--base-url",
    "https://x.amocrm.ru",
    "--token-env",
    "T",
    "--timezone",
    "UTC",
    "--hours",
    "off",
    "--country",
    "RU",
]
INIT += ["--data-dir", "d"]


def test_init_asks_nothing_where_a_file_is_there(voronka, tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text("mine")
    said = voronka("init", "--config", file)
    assert (said.code, said.out) == (2, "")
    assert "is there already" in said.err


def test_init_whose_answers_end_writes_nothing_and_says_so(voronka, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("amocrm\nhttps://x.amocrm.ru\n"))
    said = voronka("init", "--config", tmp_path / "config.yaml")
    assert said.code == 1
    assert "nothing was written" in said.err
    assert not (tmp_path / "config.yaml").exists()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--crm", "excel"),
        ("--base-url", "https://user:pass@volga.amocrm.ru"),
        ("--base-url", "https://volga.amocrm.ru/?token=1"),
        ("--base-url", "http://volga.amocrm.ru"),
        ("--token-env", "eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9.payload"),
        ("--timezone", "Omsk"),
        ("--hours", "nine to six"),
    ],
)
def test_init_refuses_what_would_not_work(voronka, tmp_path, option, value):
    said = voronka("init", *INIT, option, value, "--config", tmp_path / "config.yaml")
    assert said.code == 2
    assert not (tmp_path / "config.yaml").exists()
    assert "payload" not in said.err


# doctor


def test_the_doctor_looks_at_the_demo_account(voronka, demo, monkeypatch):
    from datetime import datetime

    from demo.run import AMOCRM, TOKEN, ZONE, demo_crms, local_midnight, write_config

    folder = demo.folder.parent / "doctor"
    folder.mkdir(mode=0o700, exist_ok=True)
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    with demo_crms(folder, [AMOCRM], scale=0.01, as_of=local_midnight(datetime.now(ZONE))) as (url,):
        said = voronka("doctor", "--config", write_config(folder, [(AMOCRM, url)]))
    for word in ("administrator", "Filters of the API are on", "log of events can be read", "answers"):
        assert word in said.out


# Language and cells


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({}, "ru"),
        ({"LANG": "C.UTF-8"}, "ru"),
        ({"LANG": "ru_RU.UTF-8"}, "ru"),
        ({"LANG": "en_US.UTF-8"}, "en"),
        ({"LANG": "de_DE.UTF-8"}, "en"),
        ({"LANG": "en_US.UTF-8", "VORONKA_LANG": "ru"}, "ru"),
        ({"LANG": "ru_RU.UTF-8", "LC_ALL": "en_GB.UTF-8"}, "en"),
    ],
)
def test_russian_unless_the_machine_speaks_another_language(env, expected):
    assert language_of(env) == expected


def test_cells_for_people(monkeypatch):
    monkeypatch.setenv("VORONKA_LANG", "en")
    assert [shown(value) for value in (None, True, 0.123456, 12345.678, "x", 7)] == [
        "—",
        "yes",
        "0.1235",
        "12345.7",
        "x",
        "7",
    ]


@pytest.mark.parametrize("kind", [pl.String, pl.Categorical, pl.Enum(["=HYPERLINK(1)", "ООО"])])
def test_text_stays_text_in_a_csv_that_a_spreadsheet_opens(kind):
    frame = pl.DataFrame({"label": pl.Series(["=HYPERLINK(1)", "ООО", None], dtype=kind), "n": [-1, -2, 3]})
    assert frames_as({"t": frame}, "csv").decode() == "label,n\n'=HYPERLINK(1),-1\nООО,-2\n,3\n"
    assert "'=" not in frames_as({"t": frame}, "json").decode()


def test_a_name_that_looks_like_a_formula_stays_text():
    book = frames_as({"t": pl.DataFrame({"label": ["=1+1", "http://x"]})}, "xlsx")
    sheet = zipfile.ZipFile(io.BytesIO(book)).read("xl/worksheets/sheet1.xml").decode()
    assert "<f>" not in sheet


def test_logs_go_to_standard_error(voronka, capfdbinary):
    voronka("metric", "list")
    handlers = [handler for handler in logging.getLogger().handlers if isinstance(handler, logging.StreamHandler)]
    assert all(getattr(handler.stream, "name", "") != "<stdout>" for handler in handlers)


def test_reading_writes_nothing(on_demo, demo):
    def files():
        kept = [file for file in demo.folder.rglob("*") if file.is_file() and "cache" not in file.parts]
        return {file: (file.stat().st_mtime_ns, file.stat().st_size) for file in kept}

    before = files()
    on_demo("metric", "run", "A3")
    on_demo("status")
    assert files() == before


def test_days_nobody_named_are_the_metrics_own():
    noon, zone = datetime(2026, 4, 8, 9, tzinfo=UTC), ZoneInfo("Europe/Moscow")
    asked = {"A3": (date(2026, 3, 9), date(2026, 4, 9)), "B2": (date(2026, 2, 7), date(2026, 4, 8))}
    for metric_id, days in asked.items():
        period = period_of(find_metrics()[metric_id], Question(metric_id), noon, zone)
        assert (period.period_from, period.period_to) == days
    until = Question("A3", period_to=date(2026, 4, 1))
    assert period_of(find_metrics()["A3"], until, noon, zone).period_from == date(2026, 3, 2)


def test_a_crm_cannot_feed_another_one(voronka, tmp_path: Path):
    crm = "{{id: {}, connector: bitrix24, webhook_env: HOOK{}}}"
    accounts = f"[{crm.format('main', '')}, {crm.format('shop', ', feeds: main')}]"
    file = tmp_path / "config.yaml"
    file.write_text(f"data_dir: {tmp_path}/data\naccounts: {accounts}\n", "utf-8")
    said = voronka("sync", "--config", file)
    assert (said.code, "shop is a CRM of its own and cannot feed main" in said.err) == (2, True)
