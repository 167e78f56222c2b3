"""`batch` of the emulated Bitrix24: commands read as PHP reads them, references to earlier results (2.4)."""

import re
from collections.abc import Callable
from typing import Any

from demo import bitrix24_php as php
from demo.bitrix24_errors import RestError

Json = dict[str, Any]
MAX_COMMANDS = 50
FORBIDDEN = {"batch", "download", "upload"}
PARTS = ("result", "error", "total", "next", "time")
REFERENCE = re.compile(rf"\$({'|'.join(PARTS)})(\[\S*)")


class Outcome:
    """What a command gave: the parts of its answer by name."""

    def __init__(self, **parts: Any) -> None:
        self.parts = parts


def run_batch(
    params: Json, run: Callable[[str, Json], Outcome], *, lists_numeric_keys: bool, may_go_on: Callable[[], bool]
) -> Json:
    """The `result` of a batch.

    run: one command, by method and parameters; raises RestError. may_go_on: whether there is time for another one.
    """
    halt = str(params.get("halt", 0)).lower() not in {"0", "", "false", "none"}
    found: dict[str, dict[str, Any]] = {part: {} for part in PARTS}
    for place, (key, command) in enumerate(php.items(params.get("cmd"))):
        if not isinstance(command, str):
            continue
        try:
            outcome = _checked(command, place, found, run)
        except RestError as error:
            text = "" if error.code == "insufficient_scope" else error.text
            found["error"][key] = {**error.body, "error_description": text}
            if halt:
                break
        else:
            for part, value in outcome.parts.items():
                if value is not None or part == "result":
                    found[part][key] = value
        if not may_go_on():
            break
    as_json = php.array if lists_numeric_keys else lambda values: values or []
    names = {part: "result" if part == "result" else f"result_{part}" for part in PARTS}
    return {names[part]: as_json(found[part]) for part in PARTS}


def _checked(command: str, place: int, found: Json, run: Callable[[str, Json], Outcome]) -> Outcome:
    if place >= MAX_COMMANDS:
        raise RestError("ERROR_BATCH_LENGTH_EXCEEDED", "Max batch length exceeded")
    method, params = parse_command(command)
    if method.lower() in FORBIDDEN:
        raise RestError("ERROR_BATCH_METHOD_NOT_ALLOWED", "Method is not allowed for batch usage")
    return run(method, resolved(params, found))


def parse_command(command: str) -> tuple[str, Json]:
    """Method and parameters; `#` ends the command, `+` is a space, every value is a text."""
    method, _, query = command.partition("#")[0].partition("?")
    return method, php.parse_str(query)


def resolved(value: Any, found: Json) -> Any:
    """The same parameters with what their references mean."""
    if isinstance(value, dict):
        return {key: resolved(inner, found) for key, inner in value.items()}
    if isinstance(value, list):
        return [resolved(inner, found) for inner in value]
    return _text(value, found) if isinstance(value, str) and "$" in value else value


def _text(text: str, found: Json) -> Any:
    if whole := REFERENCE.fullmatch(text):
        return _meant(whole, found)

    def put(reference: re.Match[str]) -> str:
        meant = _meant(reference, found)
        return reference[0] if isinstance(meant, dict | list) else str("" if meant is None else meant)

    return REFERENCE.sub(put, text)


def _meant(reference: re.Match[str], found: Json) -> Any:
    """The element at the path, or the deepest that is there."""
    element: Any = found[reference[1]]
    for part in reference[2].split("[")[1:]:
        try:
            element = php.element(element, part.rstrip("]"))
        except LookupError:
            break
    return element
