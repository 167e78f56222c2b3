"""`voronka doctor`: what works and what does not, before the first night finds out.

Our side: configuration, folder, disk, age of the data. The source's side is looked at by its connector (`examine`).
"""

import os
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

from app.i18n import LANGUAGES, translated
from commands.metric import check_ids
from commands.status import manifest_of
from commands.text import catalogue, language
from config import Config, ConfigError
from connectors.connector import Connector, Finding, find_connectors
from connectors.errors import ConnectorError, Phrase
from metrics.frames import NoPublication, open_frames
from warehouse.database import private_folder

MIN_FREE_BYTES = 2 * 1024**3
CLOCK_SKEW = timedelta(minutes=2)


def of_folder(config: Config) -> Iterator[Finding]:
    """The data folder: ours to write, closed to others, with room for another copy of the publication."""
    folder = _existing(config.data_dir)
    if not os.access(folder, os.W_OK):
        yield Finding("folder", False, f"В папку {folder} нельзя писать.", f"The folder {folder} cannot be written.")
        return
    is_open = config.data_dir.exists() and stat.S_IMODE(config.data_dir.stat().st_mode) & 0o077
    if is_open:
        yield Finding(
            "folder",
            False,
            f"Папку {config.data_dir} могут читать другие пользователи машины: chmod 700 {config.data_dir}.",
            f"Other users of this machine can read {config.data_dir}: chmod 700 {config.data_dir}.",
        )
    else:
        yield Finding("folder", True, f"Данные лежат в {config.data_dir}.", f"The data are in {config.data_dir}.")
    free, needed = shutil.disk_usage(folder).free, max(MIN_FREE_BYTES, 2 * _size(config.warehouse_path))
    sizes = {"free": free / 1024**3, "needed": needed / 1024**3}
    yield Finding(
        "disk",
        free >= needed,
        "Свободно {free:.1f} ГБ, нужно {needed:.1f} ГБ.".format(**sizes),
        "{free:.1f} GB are free, {needed:.1f} GB are needed.".format(**sizes),
    )


def of_account(
    connector: Connector, settings: Any, *, env: Mapping[str, str], state_dir: Path, now: Callable[[], datetime]
) -> Iterator[Finding]:
    """One account: whether it answers, as whom, with which rights; and whether our clocks agree."""
    for folder in (state_dir.parent.parent, state_dir.parent, state_dir):
        private_folder(folder)
    try:
        api = connector.open_api(settings, env=env, ordinals=count(1).__next__, state_dir=str(state_dir))
    except ConnectorError as error:
        yield refused("open", error)
        return
    try:
        account = connector.account(api, settings)
        yield Finding(
            "account",
            True,
            f"Аккаунт «{account.name}» отвечает (номер {account.external_id}, пояс {account.tz}).",
            f"The account “{account.name}” answers (number {account.external_id}, zone {account.tz}).",
        )
        yield _clock(api.server_now(), now())
        if connector.examine is not None:
            yield from connector.examine(api, settings, env=env)
    except ConnectorError as error:
        yield refused("source", error)
    finally:
        api.close()


def refused(code: str, error: ConnectorError) -> Finding:
    """What the source could not do, as it says it itself."""
    return Finding(code, False, *said(error.said))


def said(phrase: Phrase) -> tuple[str, str]:
    """A sentence in Russian and in English."""
    ru, en = (translated(phrase, catalogue(code).gettext) for code in LANGUAGES)
    return ru, en


def of_data(manifest: Mapping[str, Any] | None, now: datetime) -> Iterator[Finding]:
    """Whether there is something to look at, and how old it is."""
    if manifest is None:
        yield Finding(
            "data",
            None,
            "Данных ещё нет: выполните `voronka sync` и `voronka publish`.",
            "There are no data yet: run `voronka sync` and `voronka publish`.",
        )
        return
    as_of = datetime.fromisoformat(manifest["as_of"])
    age_h = (now - as_of).total_seconds() / 3600
    yield Finding(
        "data",
        age_h <= 36,
        f"Данные на {as_of:%Y-%m-%d %H:%M} UTC, им {age_h:.0f} ч.",
        f"The data are as of {as_of:%Y-%m-%d %H:%M} UTC, {age_h:.0f} h old.",
    )


def of_viewers(config: Config) -> Iterator[Finding]:
    """Whether people and departments of `viewers` are in the publication: whoever has none of them sees empty pages."""
    try:
        frames = open_frames(config.publication)
    except NoPublication:
        return
    for viewer in config.viewers:
        try:
            check_ids(viewer, frames)
        except ConfigError as error:
            ru, en = said(Phrase(error.template, **error.fields))
            yield Finding("viewer", False, f"viewers, {viewer.login}: {ru}", f"viewers, {viewer.login}: {en}")


def _clock(server: datetime, now: datetime) -> Finding:
    off_s = (now - server).total_seconds()
    return Finding(
        "clock",
        abs(off_s) <= CLOCK_SKEW.total_seconds(),
        f"Часы этой машины и источника расходятся на {off_s:.0f} с.",
        f"The clocks of this machine and of the source differ by {off_s:.0f} s.",
    )


def now() -> datetime:
    return datetime.now(UTC)


def _existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def examine_all(config: Config, account_id: str | None) -> int:
    """Print every finding; 1 when something is wrong."""
    findings = list(of_folder(config))
    for entry in [config.account(account_id)] if account_id else config.accounts:
        state_dir = config.data_dir / "state" / entry.id
        connector = find_connectors()[entry.connector]
        findings += of_account(connector, entry, env=os.environ, state_dir=state_dir, now=now)
    findings += of_data(manifest_of(config), now())
    findings += of_viewers(config)
    for finding in findings:
        print(f"{MARKS[finding.is_ok]} {finding.ru if language() == 'ru' else finding.en}")  # noqa: T201
    return 1 if any(finding.is_ok is False for finding in findings) else 0


MARKS = {True: "✓", False: "✗", None: "·"}
