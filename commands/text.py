"""The command line in Russian or English.

Russian is the default; another locale of the machine (`LANG=en_US.UTF-8`) or `VORONKA_LANG=en` means English. Message
ids are the English sentences; the Russian ones are in `cli.po`, beside the catalogue of the dashboard.
"""

import gettext
import os
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Literal

from app import i18n
from app.i18n import LOCALE, translated
from connectors.errors import Phrase
from metrics.metric import Notice

Language = Literal["ru", "en"]

NAMELESS = ("", "C", "POSIX")
"""Locales that name no language: a container, a cron job."""


def language_of(env: Mapping[str, str]) -> Language:
    """The language the environment asks for."""
    chosen = env.get("VORONKA_LANG") or env.get("LC_ALL") or env.get("LC_MESSAGES") or env.get("LANG") or ""
    name = chosen.partition(".")[0].partition("_")[0]
    return "ru" if name in NAMELESS or name.lower() == "ru" else "en"


def language() -> Language:
    return language_of(os.environ)


def _(message: str) -> str:
    """`message` in the language of whoever runs the command."""
    return catalogue(language()).gettext(message) if message else ""


def said(template: str, fields: Mapping[str, object]) -> str:
    """A sentence out of a template, its phrases translated as well."""
    return translated(Phrase(template, **fields), _)


def say(text: str) -> None:
    """A result, on standard output."""
    print(text, flush=True)  # noqa: T201


def note(text: str) -> None:
    """What is going on, on standard error."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201


def warn(notices: Iterable[Notice]) -> None:
    """What a reader needs to judge a result, on standard error."""
    for notice in notices:
        note(f"! {notice.ru if language() == 'ru' else notice.en}")


@cache
def catalogue(code: Language, path: Path | None = None) -> gettext.NullTranslations:
    """Translations into `code`; English needs none."""
    if code == "en":
        return gettext.NullTranslations()
    return i18n.translations(path or LOCALE / code / "LC_MESSAGES" / "cli.po", code)
