"""What is wrong with the arguments, in the reader's language: Typer's own sentences are English.

They have no codes, so they are known by their beginnings; one that is not known is shown as Typer says it.
"""

import re
import sys
from typing import Any

import typer

from commands.text import _

UsageError: type[Exception] = typer.BadParameter.__mro__[1]
"""Of whichever Click this Typer brings along; Typer itself gives it no name."""

NO_OPTION = "There is no option {got}."
NO_OPTION_NEAR = "There is no option {got}. Did you mean {near}?"
AFTER_COMMAND = "The option {got} goes after the command: `voronka status {got} …`."
NO_COMMAND = "There is no command {got}."
NO_COMMAND_NEAR = "There is no command {got}. Did you mean {near}?"
NO_ARGUMENT = "{got} is missing."
NO_VALUE = "The option {got} needs a value."
NEEDS_NONE = "The option {got} takes no value."
TOO_MANY = "These arguments are too many: {got}."
ONE_OF = "{got} cannot be {value}. It may be {near}."
BAD_DAY = "{got} cannot be {value}. It must be a day such as 2026-11-21."
BAD_NUMBER = "{got} must be a number."
MORE = "`{command} --help` shows what there is."

SENTENCES = {
    r"No such option: (?P<got>--config)\b": AFTER_COMMAND,  # every command has it, what stands before them does not
    r"No such option: (?P<got>\S+) \(Possible options: (?P<near>[^)]+)\)": NO_OPTION_NEAR,
    r"No such option: (?P<got>\S+)": NO_OPTION,
    r"No such command '(?P<got>.*)'\. Did you mean (?P<near>[^?]+)\?": NO_COMMAND_NEAR,
    r"No such command '(?P<got>.*)'\.": NO_COMMAND,
    r"Missing argument '(?P<got>.*)'\.": NO_ARGUMENT,
    r"Option '(?P<got>.*)' requires an argument\.": NO_VALUE,
    r"Option '(?P<got>.*)' does not take a value\.": NEEDS_NONE,
    r"Got unexpected extra argument.*? \((?P<got>.*)\)": TOO_MANY,
    r"Invalid value for '(?P<got>.*?)': .*'(?P<value>.*)' is not one of (?P<near>.*)\.": ONE_OF,
    r"Invalid value for '(?P<got>.*?)': .*'(?P<value>.*)' does not match the formats?": BAD_DAY,
    r"Invalid value for '(?P<got>.*?)': .*\bvalid (?:integer|number|float)": BAD_NUMBER,
}


def told(message: str) -> str | None:
    """The sentence for one of Typer's; None where it is not known."""
    for pattern, template in SENTENCES.items():
        found = re.match(pattern, message)
        if found:
            return _(template).format(**found.groupdict())
    return None


def shown(error: Any) -> int:
    """Print a usage error; its exit code."""
    sentence = told(error.format_message())
    if sentence is None:
        error.show()
    else:
        more = [_(MORE).format(command=error.ctx.command_path)] if error.ctx else []
        print(sentence, *more, sep="\n", file=sys.stderr)  # noqa: T201
    return int(error.exit_code)
