"""Every message has its Russian text, and the catalogue holds nothing else."""

import ast
import re
from pathlib import Path

import app
from app import i18n
from app.page import SECTIONS

ROOT = Path(app.__file__).parent
MARKERS = {"_", "N_"}
PLURALS = {"plural", "count"}


def messages() -> set[str]:
    """Ids of all messages in the source: literal arguments of the marking functions."""
    found: set[str] = set(SECTIONS)
    for file in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Call):
                found |= _of_call(node)
    return found


def _of_call(call: ast.Call) -> set[str]:
    name = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
    texts = [arg.value for arg in call.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
    if name in MARKERS:
        return set(texts[:1])
    return {"\0".join(texts)} if name in PLURALS and len(texts) == 2 else set()


def russian() -> dict[str, str]:
    text = (i18n.LOCALE / "ru" / "LC_MESSAGES" / "voronka.po").read_text("utf-8")
    return {key: value for key, value in i18n.entries(text).items() if key}


def test_every_message_is_translated():
    assert messages() - set(russian()) == set()


def test_the_catalogue_has_no_dead_messages():
    assert set(russian()) - messages() == set()


def test_translations_keep_the_placeholders():
    for key, value in russian().items():
        fields = set(re.findall(r"\{\w+\}", key.split("\0")[0]))
        for form in value.split("\0"):
            assert set(re.findall(r"\{\w+\}", form)) == fields, key


def test_an_unknown_language_is_russian():
    i18n.use("xx")
    assert i18n.language() == "ru"
    assert i18n._("Calls") == "Звонки"


def test_continued_lines_and_escapes_of_a_po_file_are_read():
    text = 'msgid ""\n"two "\n"lines"\nmsgstr "две \\"строки\\"\\n"\n'
    assert i18n.entries(text) == {"two lines": 'две "строки"\n'}
