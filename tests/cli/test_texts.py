"""Every sentence of the command line is there in Russian."""

import ast
import re
from pathlib import Path

import pytest

from app.i18n import LOCALE, entries

HOUSE = Path(__file__).parents[2]
FILES = [
    HOUSE / "cli.py",
    HOUSE / "config.py",
    HOUSE / "explorer.py",
    HOUSE / "demo/run.py",
    *sorted((HOUSE / "commands").glob("*.py")),
]
NOT_SENTENCES = {"TEMPLATE", "DEFAULT_PATH", "PATH_VARIABLE", "TOKEN_VARIABLE", "TOKEN", "MARK", "KEY", "DAY", "_SPAN"}
NOT_SENTENCES |= {"NAMELESS", "WEEKDAYS", "BINARY", "MARKS"}


def sentences(file: Path) -> set[str]:
    """What a module says: arguments of `_`, templates in its constants, and refusals of configuration values."""
    tree = ast.parse(file.read_text("utf-8"))
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("_", "ValueError"):
            found |= {argument.value for argument in node.args if isinstance(argument, ast.Constant)}
    for node in tree.body:
        if isinstance(node, ast.Assign):
            found |= set(constants(node))
    return {text for text in found if isinstance(text, str)}


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
INTERNAL = {"five fields are needed", "days of the week are 0 to 7", "{msg}"}
"""Caught where they are raised; nobody sees them."""


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_sentence_has_its_russian(file):
    assert sentences(file) - set(RUSSIAN) - INTERNAL == set()


def test_translations_keep_the_places_for_values():
    for english, russian in RUSSIAN.items():
        if english:
            assert set(re.findall(r"\{(\w+)", english)) == set(re.findall(r"\{(\w+)", russian)), english


def test_no_translation_is_left_without_its_sentence():
    said = set().union(*(sentences(file) for file in FILES))
    assert set(RUSSIAN) - said - {""} == set()
