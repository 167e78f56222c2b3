"""The interface in the viewer's language: gettext catalogues read straight from their .po files.

Message ids are English; Russian is the default language. Reading .po at start keeps the catalogue one text file: no
compiled copy that can be older than it.
"""

import gettext
import io
import re
import struct
from ast import literal_eval
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Literal

Language = Literal["ru", "en"]
LANGUAGES: tuple[Language, ...] = ("ru", "en")
LOCALE = Path(__file__).parent / "locale"

_language: ContextVar[Language] = ContextVar("language", default="ru")


def use(language: str) -> None:
    """Speak `language` until the end of this script run; an unknown one means Russian."""
    _language.set("en" if language == "en" else "ru")


def language() -> Language:
    return _language.get()


def _(message: str) -> str:
    """`message` in the viewer's language."""
    return catalogue(language()).gettext(message) if message else ""


def N_(message: str) -> str:  # noqa: N802 — gettext's own name for it
    """Marks a message that is translated later, where it is shown."""
    return message


def plural(one: str, many: str, n: int) -> str:
    """The form of a phrase that fits `n`, with `{n}` still to be filled."""
    return catalogue(language()).ngettext(one, many, n)


@cache
def catalogue(code: Language) -> gettext.GNUTranslations:
    return translations(LOCALE / code / "LC_MESSAGES" / "voronka.po", code)


def translations(file: Path, code: Language) -> gettext.GNUTranslations:
    """The messages of a catalogue, and behind them what connectors, the sync and the warehouse say."""
    own = _read(file)
    if code != "en":  # in which they speak
        own.add_fallback(_read(LOCALE / code / "LC_MESSAGES" / "sources.po"))
    return own


def _read(file: Path) -> gettext.GNUTranslations:
    return gettext.GNUTranslations(io.BytesIO(compiled(entries(file.read_text("utf-8")))))


def translated(said: object, translate: Callable[[str], str]) -> str:
    """A sentence of a connector, the sync or the warehouse: a `Phrase`, or what `status.json` keeps of one."""
    template, fields = getattr(said, "template", None), getattr(said, "fields", None)
    if isinstance(said, Mapping):
        template, fields = said.get("template"), said.get("fields")
    if template is None:
        return str(said)
    return translate(template).format(**{name: translated(value, translate) for name, value in (fields or {}).items()})


ENTRY = re.compile(r'^(msgid|msgid_plural|msgstr(?:\[\d\])?)\s+(".*")$|^(".*")$', re.MULTILINE)


def entries(text: str) -> dict[str, str]:
    """Messages of a .po file as gettext stores them: plural ids and forms joined by NUL."""
    found: dict[str, str] = {}
    fields: dict[str, str] = {}
    current = ""

    def keep() -> None:
        if "msgid" in fields:
            ids = [fields["msgid"]] + ([fields["msgid_plural"]] if "msgid_plural" in fields else [])
            forms = [value for name, value in sorted(fields.items()) if name.startswith("msgstr")]
            if any(forms):
                found["\0".join(ids)] = "\0".join(forms)
        fields.clear()

    for match in ENTRY.finditer(text):
        name, value, continued = match.groups()
        if name == "msgid":
            keep()
        if name:
            current = name
        fields[current] = fields.get(current, "") + literal_eval(value or continued)
    keep()
    return found


def compiled(messages: dict[str, str]) -> bytes:
    """A .mo image of `messages`: two tables of lengths and offsets, then the strings.

    GNU gettext manual, "The Format of GNU MO Files".
    """
    pairs = sorted((key.encode(), value.encode()) for key, value in messages.items())
    start = 7 * 4 + 16 * len(pairs)
    strings = b""
    tables: list[list[int]] = [[], []]
    for column in (0, 1):
        for pair in pairs:
            tables[column] += [len(pair[column]), start + len(strings)]
            strings += pair[column] + b"\0"
    n = len(pairs)
    header = struct.pack("<7I", 0x950412DE, 0, n, 28, 28 + 8 * n, 0, 0)
    return header + struct.pack(f"<{4 * n}I", *tables[0], *tables[1]) + strings
