"""Rules of the house that no single part can hold: who may import whom, what every part must have."""

import ast
import re
import subprocess
import sys
import tomllib
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

import cli
from app import data
from connectors.records import Record
from metrics.evaluate import evaluate
from metrics.frames import frames_from
from metrics.marts import MARTS
from metrics.metric import Metric, Period, find_metrics
from warehouse import status
from warehouse.models import key_of, metadata
from warehouse.publish import DERIVED

HOUSE = Path(__file__).parent.parent
OURS = {
    "app",
    "audit",
    "commands",
    "connectors",
    "demo",
    "metrics",
    "warehouse",
    "cli",
    "config",
    "explorer",
    "scheduler",
    "settings",
    "sync",
}
MAY_IMPORT: dict[str, set[str]] = {
    "audit": {"settings"},
    "settings": {"metrics"},  # the columns people fill
    "config": {"connectors", "metrics"},  # phrases; the type of the mart parameters
    "explorer": set(),
    "scheduler": {"config"},
}


def imports_of(file: Path) -> set[str]:
    """Top-level names a module imports, wherever in the file."""
    nodes = list(ast.walk(ast.parse(file.read_text("utf-8"))))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    named = {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    return {name.partition(".")[0] for name in plain | named}


def test_the_contracts_between_the_parts_hold():
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as lint; lint()", "--no-cache"],
        cwd=HOUSE,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", sorted(MAY_IMPORT))
def test_modules_at_the_top_import_only_what_they_may(name):
    assert imports_of(HOUSE / f"{name}.py") & OURS - {name} <= MAY_IMPORT[name]


def test_only_the_command_line_imports_the_scheduler():
    files = [file for part in OURS for file in (*HOUSE.glob(f"{part}.py"), *HOUSE.glob(f"{part}/**/*.py"))]
    guests = {file.relative_to(HOUSE).parts[0] for file in files if "scheduler" in imports_of(file)}
    assert guests <= {"cli.py", "commands"}


def test_the_publish_and_the_dashboard_call_the_same_age_stale():
    assert status.STALE_AFTER == data.STALE_AFTER


def test_every_record_has_a_table_with_its_columns():
    for record in Record.__subclasses__():
        table = metadata.tables.get(record.table())
        assert table is not None, f"{record.__name__} has no table {record.table()}"
        missing = set(record.model_fields) - {column.name for column in table.columns}
        assert not missing, f"{record.table()} lacks {missing}"


def test_every_record_is_keyed_by_its_account_first():
    assert {key_of(metadata.tables[record.table()])[0] for record in Record.__subclasses__()} == {"account_id"}


def test_every_mart_begins_with_the_account():
    assert {next(iter(columns)) for columns in MARTS.values()} == {"account_id"}


@pytest.mark.parametrize("metric", find_metrics().values(), ids=list(find_metrics()))
def test_every_metric_answers_on_no_data(metric: Metric):
    accounts = [{"account_id": "main", "connector": "amocrm", "base_url": "https://x", "tz": "Europe/Moscow"}]
    empty = {name: pl.DataFrame(schema=schema_of(name)) for name in metric.inputs}
    period = Period(datetime(2026, 3, 1, tzinfo=UTC), date(2026, 2, 1), date(2026, 3, 1))
    result = evaluate(metric, frames_from(empty, "polars", accounts), None, period)
    assert result.drilldown.is_empty()
    assert "no_data" in {notice.code for notice in result.warnings}


def schema_of(name: str) -> dict[str, pl.DataType]:
    """Columns of a published table: a mart's, or a canonical table's with the three forms of its instants."""
    if name in MARTS:
        return MARTS[name]
    kinds = {
        "TEXT": pl.String(),
        "BIGINT": pl.Int64(),
        "DOUBLE": pl.Float64(),
        "BOOLEAN": pl.Boolean(),
        "DATE": pl.Date(),
    }
    schema: dict[str, pl.DataType] = {}
    for column in metadata.tables[name].columns:
        kind = str(column.type).upper()
        if kind.startswith("TIMESTAMP"):
            stem = column.name.removesuffix("_at")
            schema |= {
                column.name: pl.Datetime("us", "UTC"),
                f"{stem}_local": pl.Datetime("us"),
                f"{stem}_epoch": pl.Int64(),
            }
        elif kind in kinds:
            schema[column.name] = kinds[kind]
    return schema | dict.fromkeys(DERIVED.get(name, ()), pl.Int64())


@pytest.mark.parametrize("metric", find_metrics().values(), ids=list(find_metrics()))
def test_every_metric_explains_itself_in_both_languages(metric: Metric):
    assert set(metric.text) == {"ru", "en"}
    for text in metric.text.values():
        assert all((text.name, text.definition, text.formula, text.pitfalls))


README_COMMAND = re.compile(r"^(?:\$ )?voronka ((?:metric )?[a-z]+)", re.MULTILINE)
README_TARGET = re.compile(r"\bmake ([a-z][a-z-]*)")


@pytest.mark.parametrize("name", ["README.md", "README.ru.md"])
def test_the_readme_names_only_commands_that_exist(name):
    text = (HOUSE / name).read_text("utf-8")
    blocks = "\n".join(re.findall(r"```(?:sh|console|cron)?\n(.*?)```", text, re.DOTALL))
    commands = set(README_COMMAND.findall(blocks)) | set(re.findall(r"`voronka ((?:metric )?[a-z]+)", text))
    assert commands, "a README without commands"
    for command in commands:
        done = CliRunner().invoke(cli.app, [*command.split(), "--help"])
        assert done.exit_code == 0, f"voronka {command}: {done.output}"
    targets = set(re.findall(r"^([a-z-]+):", (HOUSE / "Makefile").read_text(), re.MULTILINE))
    assert set(README_TARGET.findall(blocks)) <= targets


@pytest.mark.parametrize("name", ["README.md", "README.ru.md"])
def test_the_readme_explains_every_key_of_the_configuration(name):
    from config import Config

    text = (HOUSE / name).read_text("utf-8")
    assert {key for key in Config.model_fields if f"`{key}" not in text} == set()


def test_every_package_is_built_into_the_wheel():
    project = tomllib.loads((HOUSE / "pyproject.toml").read_text())
    included = set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["include"])
    assert {pattern.removesuffix("/**").removesuffix(".py") for pattern in included} == OURS
