"""`voronka demo`: the whole straight line on an invented company, from a CRM's REST to a number on the screen.

Starts the demo CRM, writes a configuration for it, syncs through the real connector, publishes, and then either
compares everything with the answer key or opens the dashboard. Running it again goes on with what is there; a company
of another day or size begins anew (only in a folder that this command made).
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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
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
from commands.text import _
from config import ConfigError, load_config
from connectors.connector import find_connectors
from demo import compare
from metrics.frames import open_frames

TOKEN_VARIABLE = "VORONKA_DEMO_TOKEN"
TOKEN = "demo-token"
ZONE = ZoneInfo("Europe/Moscow")
MARK = "demo.json"
KEY = "answer_key.json"
START_S = 120
"""How long the demo CRM may take to build its company."""

NOT_OURS = "{folder} holds something else than a demo. Name another folder with --data-dir."


class DemoError(Exception):
    """A part of the demo did not start; the text says which and why."""


def run_demo(data_dir: Path, *, port: int, scale: float, sync_only: bool, browser: bool) -> int:
    """The exit code: 0, or 1 when a number differs from the answer key (with `sync_only`) or a resource failed."""
    signal.signal(signal.SIGTERM, _as_interrupt)  # or the demo CRM would outlive us
    folder = data_dir.absolute()
    as_of = local_midnight(datetime.now(ZONE))
    prepare(folder, {"scale": scale, "as_of": as_of.isoformat(), "company": fingerprint()})
    with demo_crm(folder, scale=scale, as_of=as_of) as url:
        file = write_config(folder, url)
        os.environ[TOKEN_VARIABLE] = TOKEN
        config = load_config(file, {name: found.settings for name, found in find_connectors().items()})
        begun = time.monotonic()
        with stop_on_signals() as stop:  # DuckDB must not be interrupted in the middle of a commit
            if told(sync_with(config, stop=stop)):
                return 1
        publish_with(config)
        note(_("Synced and published in {seconds:.0f} s.").format(seconds=time.monotonic() - begun))
        if sync_only:
            return report(folder)
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


def write_config(folder: Path, url: str) -> Path:
    """The configuration of the demo account: like a real one, but without a limit to the pace."""
    account = {
        "id": "main",
        "connector": "amocrm",
        "base_url": url,
        "token_env": TOKEN_VARIABLE,
        "requests_per_second": 1000,
    }
    file = folder / "config.yaml"
    # The CRM answers at once, so the processor is the limit: more threads would only wait for each other.
    content = {"data_dir": str(folder), "accounts": [account], "sync": {"windows_in_parallel": 2}}
    file.write_text(yaml.safe_dump(content, sort_keys=False), "utf-8")
    return file


@contextmanager
def demo_crm(folder: Path, *, scale: float, as_of: datetime) -> Iterator[str]:
    """The demo amoCRM as a process of its own, on a free port of loopback; yields its address."""
    arguments = [sys.executable, "-m", "demo.amocrm", "--port", "0", "--scale", str(scale)]
    arguments += ["--as-of", as_of.isoformat(), "--key-out", str(folder / KEY)]
    with open(folder / "demo_crm.log", "w", encoding="utf-8") as log:
        server = subprocess.Popen(
            arguments,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=Path(__file__).parent.parent,
            start_new_session=True,  # Ctrl-C reaches us; we stop it after the dashboard
        )
        try:
            note(_("Building the demo company and starting its CRM…"))
            yield ready(server, log.name)
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


def report(folder: Path) -> int:
    """Print what was found beside the answer key; 1 when anything differs."""
    key = json.loads((folder / KEY).read_text("utf-8"))
    frames = open_frames(folder / "publication")
    rows, answers = compare.counts(key, frames.manifest), compare.metrics(key, frames)
    say(tables_text({_("Rows per table"): table_of(rows), _("Metrics"): table_of(answers)}, titled=True))
    different = [row.what for row in (*rows, *answers) if not row.is_equal]
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


def say(text: str) -> None:
    """A result, on standard output."""
    print(text, flush=True)  # noqa: T201


def note(text: str) -> None:
    """What is going on, on standard error."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201


def brief(value: Any) -> str:
    match value:
        case dict() | list():
            text = json.dumps(value, ensure_ascii=False, default=str, sort_keys=True)
            return text if len(text) <= 60 else text[:57] + "…"
        case float():
            return f"{value:.6g}"
        case _:
            return str(value)
