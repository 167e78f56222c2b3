"""`voronka demo`: the whole straight line on an invented company, from a CRM's REST to a number on the screen.

Starts the demo CRMs (one company, an account in each), writes a configuration for them, syncs through the real
connectors, publishes, and then either compares everything with the answer keys or opens the dashboard. Running it again
goes on with what is there; a company of another day or size begins anew (only in a folder that this command made).
"""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import webbrowser
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener
from zoneinfo import ZoneInfo

import polars as pl
import yaml

from app import launch
from commands.output import tables_text
from commands.run import publish_with, stop_on_signals, sync_with, told
from commands.text import _, note, say
from config import ConfigError, load_config
from connectors.connector import find_connectors
from demo import compare
from demo.bitrix24_setup import LOSS_FIELD
from demo.twins import twins
from metrics.frames import open_frames

TOKEN_VARIABLE, WEBHOOK_VARIABLE = "VORONKA_DEMO_TOKEN", "VORONKA_DEMO_WEBHOOK"
TOKEN, SECRET = "demo-token", "demosecret"
ZONE = ZoneInfo("Europe/Moscow")
MARK = "demo.json"
START_S = 120
"""How long the demo CRM may take to build its company."""

NOT_OURS = "{folder} holds something else than a demo. Name another folder with --data-dir."


@dataclass(frozen=True)
class Crm:
    """A demo CRM: the module that serves it, what its account says in the configuration, and where its key lies.

    secret: the variable its connector asks for; `{url}` in its value is the CRM's address. names_itself: whether the
    account has the address too. options: of the module.
    """

    module: str
    account: Mapping[str, Any]
    secret: tuple[str, str]
    key: str
    names_itself: bool = True
    options: tuple[str, ...] = ()

    def of_config(self, url: str) -> dict[str, Any]:
        """The account: like a real one, but without a limit to the pace."""
        return {**self.account, **({"base_url": url} if self.names_itself else {}), "requests_per_second": 1000}

    def environment(self, url: str) -> dict[str, str]:
        variable, value = self.secret
        return {variable: value.format(url=url)}


AMOCRM = Crm(
    "demo.amocrm",
    {"id": "main", "connector": "amocrm", "token_env": TOKEN_VARIABLE},
    (TOKEN_VARIABLE, TOKEN),
    "answer_key.json",
)
BITRIX24 = Crm(
    "demo.bitrix24",
    {
        "id": "bitrix24",
        "connector": "bitrix24",
        "webhook_env": WEBHOOK_VARIABLE,
        "phone_country": "RU",  # a loopback address tells none
        "burst": 1000,
        "loss_reason_fields": {"deal": LOSS_FIELD},
    },
    (WEBHOOK_VARIABLE, f"{{url}}/rest/1/{SECRET}/"),
    "answer_key.bitrix24.json",
    names_itself=False,  # a webhook is an address
    options=("--secret", SECRET),
)
CRMS = {"amocrm": [AMOCRM], "bitrix24": [BITRIX24], "both": [AMOCRM, BITRIX24]}


class DemoError(Exception):
    """A part of the demo did not start; the text says which and why."""


def run_demo(data_dir: Path, *, crm: str, port: int, scale: float, sync_only: bool, browser: bool) -> int:
    """The exit code: 0, or 1 when a number differs from the answer key (with `sync_only`) or a resource failed."""
    signal.signal(signal.SIGTERM, _as_interrupt)  # or the demo CRM would outlive us
    folder = data_dir.absolute()
    as_of = local_midnight(datetime.now(ZONE))
    crms = CRMS[crm]
    prepare(folder, {"crm": crm, "scale": scale, "as_of": as_of.isoformat(), "company": fingerprint()})
    with demo_crms(folder, crms, scale=scale, as_of=as_of) as urls:
        file = write_config(folder, zip(crms, urls, strict=True))
        for one, url in zip(crms, urls, strict=True):
            os.environ.update(one.environment(url))
        config = load_config(file, {name: found.settings for name, found in find_connectors().items()})
        begun = time.monotonic()
        with stop_on_signals() as stop:  # DuckDB must not be interrupted in the middle of a commit
            if told(sync_with(config, stop=stop)):
                return 1
        publish_with(config)
        note(_("Synced and published in {seconds:.0f} s.").format(seconds=time.monotonic() - begun))
        if sync_only:
            return report(folder, crms)
        return dashboard(file, port=port, browser=browser)


def local_midnight(now: datetime) -> datetime:
    """The beginning of today: the company's data end yesterday."""
    return now.replace(hour=0, minute=0, second=0, microsecond=0)


def fingerprint() -> str:
    """Changes when the program that makes the company up does: another version may make up another company."""
    sources = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.blake2b(b"".join(file.read_bytes() for file in sources), digest_size=8).hexdigest()


def prepare(folder: Path, wanted: dict[str, Any]) -> None:
    """Make the folder, or empty it of another company. A folder with other people's data is refused."""
    mark = folder / MARK
    if folder.exists() and any(folder.iterdir()):
        if not mark.exists():
            raise ConfigError(NOT_OURS, folder=folder)
        if json.loads(mark.read_text("utf-8")) == wanted:
            return
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    mark.write_text(json.dumps(wanted), "utf-8")


def write_config(folder: Path, running: Iterable[tuple[Crm, str]]) -> Path:
    """The configuration of the demo accounts. running: the CRMs with their addresses."""
    file = folder / "config.yaml"
    accounts = [crm.of_config(url) for crm, url in running]
    # The CRM answers at once, so the processor is the limit: more threads would only wait for each other.
    content = {"data_dir": str(folder), "accounts": accounts, "sync": {"windows_in_parallel": 2}}
    file.write_text(yaml.safe_dump(content, sort_keys=False), "utf-8")
    return file


@contextmanager
def demo_crms(folder: Path, crms: Sequence[Crm], *, scale: float, as_of: datetime) -> Iterator[list[str]]:
    """The demo CRMs as processes of their own, on free ports of loopback; yields their addresses, in order."""
    note(_("Building the demo company and starting its CRM…"))
    with ExitStack() as running:
        servers = [running.enter_context(started(folder, crm, scale=scale, as_of=as_of)) for crm in crms]
        yield [ready(server, log) for server, log in servers]


@contextmanager
def started(folder: Path, crm: Crm, *, scale: float, as_of: datetime) -> "Iterator[tuple[subprocess.Popen[str], str]]":
    """A CRM that is being started, and its log."""
    arguments = [sys.executable, "-m", crm.module, "--port", "0", "--scale", str(scale)]
    arguments += ["--as-of", as_of.isoformat(), "--key-out", str(folder / crm.key), *crm.options]
    with open(folder / f"{crm.module}.log", "w", encoding="utf-8") as log:
        server = subprocess.Popen(
            arguments,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=Path(__file__).parent.parent,
            start_new_session=True,  # Ctrl-C reaches us; we stop it after the dashboard
        )
        try:
            yield server, log.name
        finally:
            stop(server)


def ready(server: "subprocess.Popen[str]", log: str) -> str:
    """The address the server says it listens on."""
    assert server.stdout is not None
    timer = threading.Timer(START_S, server.kill)
    timer.start()
    try:
        for line in server.stdout:
            if line.startswith("READY "):
                threading.Thread(target=server.stdout.read, daemon=True).start()  # or a full pipe would stop it
                return line.removeprefix("READY ").strip()
    finally:
        timer.cancel()
    raise DemoError(_("The demo CRM did not start; see {log}.").format(log=log))


def dashboard(file: Path, *, port: int, browser: bool) -> int:
    """The dashboard until Ctrl-C or SIGTERM."""
    free = free_port(port)
    arguments, environment = launch.command(free, config=file)
    server = subprocess.Popen(arguments, env=environment, start_new_session=True, stdout=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{free}"
        wait_for(url, server)
        say(_("The dashboard is open at {url}. Ctrl-C stops it.").format(url=url))
        if browser and sys.stdout.isatty():
            webbrowser.open(url)
        return server.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        stop(server)


def free_port(wanted: int) -> int:
    """The wanted port of loopback, or any free one when it is taken."""
    for port in (wanted, 0):
        with suppress(OSError):
            return launch.free_port(port)
    raise DemoError(_("No port of this machine is free for the dashboard."))


def _as_interrupt(_number: int, _frame: Any) -> None:
    raise KeyboardInterrupt


def wait_for(url: str, server: "subprocess.Popen[Any]", seconds: float = 60) -> None:
    """Until the dashboard answers."""
    direct = build_opener(ProxyHandler({}))  # a proxy of the environment cannot reach our loopback
    until = time.monotonic() + seconds
    while time.monotonic() < until and server.poll() is None:
        try:
            with direct.open(f"{url}/_stcore/health", timeout=5):
                return
        except (URLError, OSError):
            time.sleep(0.2)
    raise DemoError(_("The dashboard did not start at {url}.").format(url=url))


def stop(server: "subprocess.Popen[Any]") -> None:
    """End a process we started, kindly first."""
    if server.poll() is None:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def report(folder: Path, crms: Sequence[Crm]) -> int:
    """Print what was found in each account beside its answer key, and what two say beside each other; 1 when anything
    differs."""
    published = open_frames(folder / "publication")
    tables: dict[str, pl.DataFrame] = {}
    different: list[str] = []
    for crm in crms:
        account_id = crm.account["id"]
        key = json.loads((folder / crm.key).read_text("utf-8"))
        frames = published.accounts([account_id])
        rows, answers = compare.counts(key, frames), compare.metrics(key, frames)
        named = {_("Rows per table"): rows, _("Metrics"): answers}
        tables |= {f"{account_id}: {title}": table_of(found) for title, found in named.items()}
        different += [f"{account_id} {row.what}" for row in (*rows, *answers) if not row.is_equal]
    if len(crms) > 1:
        key = json.loads((folder / AMOCRM.key).read_text("utf-8"))
        beside = list(twins(key, published, *(crm.account["id"] for crm in crms)))
        tables[_("Accounts beside each other")] = table_of(beside)
        different += [row.what for row in beside if not row.is_equal]
    say(tables_text(tables, titled=True))
    if different:
        say(_("Differ from the answer key: {names}.").format(names=", ".join(different)))
        return 1
    say(_("Everything equals the answer key."))
    return 0


def table_of(rows: Sequence[compare.Comparison]) -> pl.DataFrame:
    """Comparisons for people; long values are told by their size."""
    return pl.DataFrame(
        {
            "": ["✓" if row.is_equal else "✗" for row in rows],
            _("what"): [row.what for row in rows],
            _("answer key"): [brief(row.expected) for row in rows],
            _("found"): [brief(row.found) for row in rows],
        }
    )


def brief(value: Any) -> str:
    match value:
        case dict() | list():
            text = json.dumps(value, ensure_ascii=False, default=str, sort_keys=True)
            return text if len(text) <= 60 else text[:57] + "…"
        case float():
            return f"{value:.6g}"
        case _:
            return str(value)
