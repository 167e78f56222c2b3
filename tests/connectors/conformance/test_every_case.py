"""Section 6 of the amoCRM reference has 110 cases; each has a test that is named by its number."""

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parents[2]
CASES = re.compile(r"test_((?:c\d+_)+)")


def named() -> set[int]:
    """Numbers in the names of all functions that pytest collects."""
    found = set()
    for file in TESTS.rglob("test_*.py"):
        for node in ast.parse(file.read_text("utf-8")).body:
            if isinstance(node, ast.FunctionDef) and (cases := CASES.match(node.name)):
                found |= {int(case) for case in re.findall(r"\d+", cases[1])}
    return found


def test_every_case_has_a_test():
    assert set(range(1, 111)) - named() == set()
