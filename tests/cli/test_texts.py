"""Every sentence of the command line is there in Russian."""

import ast
import inspect
import re
from pathlib import Path

import pytest

from app.i18n import LOCALE, entries
from connectors.connector import find_connectors
from connectors.errors import SpokenError
from metrics.metric import find_metrics
from warehouse.database import TROUBLES

HOUSE = Path(__file__).parents[2]
FILES = [
    HOUSE / "audit.py",
    HOUSE / "cli.py",
    HOUSE / "config.py",
    HOUSE / "explorer.py",
    HOUSE / "demo/run.py",
    *sorted((HOUSE / "commands").glob("*.py")),
]
NOT_SENTENCES = {"TEMPLATE", "DEFAULT_PATH", "PATH_VARIABLE", "TOKEN_VARIABLE", "TOKEN", "MARK", "KEY", "DAY", "_SPAN"}
NOT_SENTENCES |= {"NAMELESS", "WEEKDAYS", "BINARY", "MARKS", "OF_TABLE", "BOUNDS", "KINDS", "DRILLDOWN", "TOTALS"}


def errors_of(kind: type[Exception]) -> list[type[Exception]]:
    return [one for child in kind.__subclasses__() for one in (child, *errors_of(child))]


def phrases() -> set[str]:
    """Templates of phrases and errors in connectors, the sync and the warehouse."""
    found = set(TROUBLES.values())
    for file in [file for part in ("connectors", "sync", "warehouse") for file in (HOUSE / part).rglob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in SPOKEN:
                found |= {one.value for one in node.args[:1] if isinstance(one, ast.Constant)}
    return found - {""}


def sentences(file: Path) -> set[str]:
    """What a module says: arguments of `_`, templates in its constants, and refusals of configuration values."""
    tree = ast.parse(file.read_text("utf-8"))
    found = arguments(tree, "_", "ValueError")
    for node in tree.body:
        if isinstance(node, ast.Assign):
            found |= set(constants(node))
    return {text for text in found if isinstance(text, str)}


def arguments(tree: ast.AST, *functions: str) -> set[object]:
    """Constants that a module gives to these functions."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    return {one.value for call in calls if call.func.id in functions for one in call.args if is_constant(one)}


def is_constant(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant)


def refusals() -> set[object]:
    """What parameters of metrics and keys of accounts say of each other."""
    files = {inspect.getsourcefile(model) for model in [metric.params for metric in find_metrics().values()] + KEYS}
    return set().union(*(arguments(ast.parse(Path(str(file)).read_text("utf-8")), "ValueError") for file in files))


def constants(node: ast.Assign) -> list[object]:
    target = node.targets[0]
    parts = target.elts if isinstance(target, ast.Tuple) else [target]
    names = {part.id for part in parts if isinstance(part, ast.Name)}
    if names & NOT_SENTENCES or not all(name.isupper() for name in names):
        return []
    values = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
    if isinstance(node.value, ast.Dict):
        values = node.value.values
    return [value.value for value in values if isinstance(value, ast.Constant)]


RUSSIAN = entries((LOCALE / "ru" / "LC_MESSAGES" / "cli.po").read_text("utf-8"))
OF_SOURCES = entries((LOCALE / "ru" / "LC_MESSAGES" / "sources.po").read_text("utf-8"))
KEYS = [connector.settings for connector in find_connectors().values()]
SPOKEN = {"Phrase", *(error.__name__ for error in errors_of(SpokenError))}
INTERNAL = {"five fields are needed", "days of the week are 0 to 7", "{msg}"}
"""Caught where they are raised; nobody sees them."""


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_sentence_has_its_russian(file):
    assert sentences(file) - set(RUSSIAN) - INTERNAL == set()


def test_what_parameters_and_keys_say_of_each_other_has_its_russian():
    assert refusals() - set(RUSSIAN) == set()


def test_everything_a_source_says_has_its_russian_and_nothing_else_has():
    assert phrases() == set(OF_SOURCES) - {""}


def test_errors_of_sources_are_templates_and_never_ready_made_texts():
    for file in [file for part in ("connectors", "sync", "warehouse") for file in (HOUSE / part).rglob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in SPOKEN:
                assert not any(isinstance(one, ast.JoinedStr) for one in node.args), f"{file.name}:{node.lineno}"


def test_translations_keep_the_places_for_values():
    for english, russian in [*RUSSIAN.items(), *OF_SOURCES.items()]:
        if english:
            assert set(re.findall(r"\{(\w+)", english)) == set(re.findall(r"\{(\w+)", russian)), english


def test_no_translation_is_left_without_its_sentence():
    said = set().union(*(sentences(file) for file in FILES), refusals())
    assert set(RUSSIAN) - said - {""} == set()
