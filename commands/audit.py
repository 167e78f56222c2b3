"""`voronka audit`: who exported, erased, removed or restored what, and when; and how commands write that down."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

import audit
from audit import Export, os_user
from commands.output import deliver, tables_text, to_json
from commands.text import _, note
from config import Config
from settings import SettingsStore

MOST = 100_000
"""Lines that are shown."""

NOTHING = "Nothing was exported, erased, removed or restored in these days."


def run_audit(config: Config, *, days: int, as_json: bool) -> int:
    """Show the log of the last days, the newest first."""
    since = datetime.now(UTC) - timedelta(days=days)
    found = [line for line in SettingsStore(config.settings_path).audit(MOST, since=since) if line["action"] != "set"]
    if as_json:
        deliver(to_json(found), None, is_text=True)
    elif found:
        deliver(tables_text({"": table_of(found)}, titled=False).encode(), None, is_text=True)
    else:
        note(_(NOTHING))
    return 0


def table_of(lines: list[dict[str, Any]]) -> pl.DataFrame:
    """For people: when, who, what, and the rest of what is known in one column."""
    names = [_("when"), _("who"), _("what"), _("of what")]
    rows = [(line["done_at"], line["author"], line["action"], told(line["detail"])) for line in lines]
    kinds = [pl.Datetime("us", "UTC"), pl.String(), pl.String(), pl.String()]
    return pl.DataFrame(rows, schema=dict(zip(names, kinds, strict=True)), orient="row")


def told(detail: dict[str, Any]) -> str:
    """`what=A3 form=csv is_personal=True rows=15 tables=drilldown to=/home/anna/a3.csv`"""
    texts = {name: ",".join(map(str, value)) if isinstance(value, list) else value for name, value in detail.items()}
    names = sorted(texts, key=lambda name: (name != "what", name))
    return " ".join(f"{name}={texts[name]}" for name in names if texts[name] not in ("", None, False))


def noted(config: Config, action: str, **detail: object) -> None:
    """Write down what the person at this command is about to do. Raises AuditError."""
    audit.note(config.settings_path, action, author=os_user(), **detail)


def leaving(config: Config, export: Export) -> Callable[[str], None]:
    """For `output.deliver`: writes an export down, once it is known where it goes."""
    return lambda to: audit.note_export(config.settings_path, export, author=os_user(), to=to)
