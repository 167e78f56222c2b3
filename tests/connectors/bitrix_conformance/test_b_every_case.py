"""Section 10 of the Bitrix24 reference has 75 cases; each has a test that is named by its number."""

import ast
import re
from pathlib import Path

HERE = Path(__file__).parent
CASE = re.compile(r"test_b([0-9]{2})_")


def named() -> set[int]:
    """Numbers in the names of all functions that pytest collects here."""
    functions = (node for file in HERE.glob("test_b_*.py") for node in ast.parse(file.read_text("utf-8")).body)
    names = (node.name for node in functions if isinstance(node, ast.FunctionDef))
    return {int(found[1]) for name in names if (found := CASE.match(name))}


def test_every_case_of_bitrix24_has_a_test():
    assert set(range(1, 76)) - named() == set()
