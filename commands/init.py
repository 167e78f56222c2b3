"""`voronka init`: a first config.yaml out of a few answers. Never a secret, only the name of its variable."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from zoneinfo import available_timezones

import typer
import yaml
from pydantic import TypeAdapter, ValidationError

from commands.text import _
from config import ConfigError, Hours
from connectors.addresses import is_open

EXISTS = "{file} is there already. Move it away, or write elsewhere with --config."
BAD_CRM = "The CRM must be one of {known}."
BAD_URL = "The address of the account must look like https://example.amocrm.ru, without a path and without a token."
UNENCRYPTED = "The address must begin with https://: over http:// everybody on the way could read the token."
BAD_VARIABLE = (
    "The name of the environment variable must be capital letters, digits and _, such as AMOCRM_TOKEN. "
    "The secret itself never goes into the file."
)
BAD_HOURS = "The working hours must look like 09:00-18:00, or 09:00-13:00, 14:00-18:00 with a lunch break."
BAD_ZONE = "The time zone must be a name such as Europe/Moscow."

TEMPLATE = """\
# Every key and what it means: the README, and config.example.yaml. No secrets here.
{settings}"""


@dataclass(frozen=True)
class Crm:
    """What is asked about a CRM. variable: the usual name of the one with its secret; secret: its key of the account.
    has_address: whether the account says where it is; a webhook of Bitrix24 is an address itself."""

    variable: str
    secret: str
    has_address: bool = True


CRMS = {"amocrm": Crm("AMOCRM_TOKEN", "token_env"), "bitrix24": Crm("BITRIX24_WEBHOOK", "webhook_env", False)}


@dataclass(frozen=True)
class Answers:
    """What was asked. base_url: None where the secret says it."""

    crm: str
    base_url: str | None
    variable: str
    timezone: str
    hours: str
    country: str
    data_dir: str


def asked(given: str | None, question: str, default: str, check: Callable[[str], str] = str) -> str:
    """What was given as an option, else the answer to a question."""
    return check(typer.prompt(question, default=default) if given is None else given)


def ask(given: dict[str, str | None]) -> Answers:
    """Ask for all that was not given. Raises ConfigError for what would not work."""
    crm = asked(given["crm"], _("CRM: amocrm or bitrix24"), "amocrm", check_crm)
    of_crm = CRMS[crm]
    base_url = None
    if of_crm.has_address:
        address = _("Address of the amoCRM account")
        base_url = asked(given["base_url"], address, "https://example.amocrm.ru", check_base_url)
    secret = (
        _("Environment variable that will hold the long-lived token")
        if of_crm.has_address
        else _("Environment variable that will hold the address of the incoming webhook")
    )
    return Answers(
        crm,
        base_url,
        asked(given["variable"], secret, of_crm.variable, check_variable),
        asked(given["timezone"], _("Time zone"), "Europe/Moscow", check_timezone),
        asked(given["hours"], _("Working hours, Monday to Friday"), "09:00-18:00", check_hours),
        asked(given["country"], _("Country of the public holidays"), "RU"),
        asked(given["data_dir"], _("Folder for the data"), "data"),
    )


def check_crm(text: str) -> str:
    if text not in CRMS:
        raise ConfigError(BAD_CRM, known=", ".join(CRMS))
    return text


def check_base_url(text: str) -> str:
    """The scheme and host of an account; a path is cut where it only opens a page of the CRM."""
    parts = urlsplit(text if "//" in text else f"https://{text}")
    if parts.scheme not in ("https", "http") or not parts.hostname or parts.username or parts.query:
        raise ConfigError(BAD_URL)
    if not re.fullmatch(r"[A-Za-z0-9.-]+(:\d+)?", parts.netloc):
        raise ConfigError(BAD_URL)
    if is_open(f"{parts.scheme}://{parts.netloc}"):
        raise ConfigError(UNENCRYPTED)
    return f"{parts.scheme}://{parts.netloc}"


def check_variable(text: str) -> str:
    if not re.fullmatch(r"[A-Z_][A-Z0-9_]{0,63}", text):
        raise ConfigError(BAD_VARIABLE)
    return text


def check_timezone(text: str) -> str:
    if text not in available_timezones():
        raise ConfigError(BAD_ZONE)
    return text


def check_hours(text: str) -> str:
    try:
        return TypeAdapter(Hours).validate_python(text)
    except ValidationError:
        raise ConfigError(BAD_HOURS) from None


def check_free(file: Path) -> None:
    if file.exists():
        raise ConfigError(EXISTS, file=file)


def write(file: Path, answers: Answers) -> None:
    """Write the file, for its owner alone; one that exists is left as it is."""
    settings = {
        "data_dir": answers.data_dir,
        "timezone": answers.timezone,
        "calendar": {"country": answers.country or None, "hours": {"mon-fri": answers.hours}},
        "accounts": [
            {
                "id": "main",
                "connector": answers.crm,
                **({"base_url": answers.base_url} if answers.base_url else {}),
                CRMS[answers.crm].secret: answers.variable,
            }
        ],
        "schedule": {"sync": "0 3 * * *"},
    }
    text = TEMPLATE.format(settings=yaml.safe_dump(settings, sort_keys=False, allow_unicode=True))
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as handle:
            handle.write(text)
    except FileExistsError:
        raise ConfigError(EXISTS, file=file) from None
