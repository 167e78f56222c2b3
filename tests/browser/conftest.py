"""The demo company, synced and published for real, behind a running dashboard, and a headless Chromium on it.

Chromium is Debian's package; Playwright downloads nothing. Where it is missing these tests are skipped with a word how
to install it, except on CI, where they fail.
"""

import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Route, sync_playwright

from app.launch import command, free_port

ROOT = Path(__file__).parents[2]
SCALE = "0.02"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
START_S = 60
SETTLED = """() => {
    const over = document.querySelector("[data-testid=stApp][data-test-script-state=notRunning]");
    const busy = document.querySelector("[data-testid=stEChartsChart]:not([aria-busy=false])");
    window.settledFor = over && !busy ? window.settledFor + 1 : 0;
    return window.settledFor >= 4;
}"""
LAPTOP, PHONE = (1366, 900), (390, 844)


@pytest.fixture(scope="session")
def demo_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small demo company, synced through the real connector and published."""
    folder = tmp_path_factory.mktemp("demo") / "data"
    arguments = ["demo", "--sync-only", "--scale", SCALE, "--data-dir", str(folder)]
    done = subprocess.run(
        [sys.executable, "-m", "cli", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="session")
def app_url(demo_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a dashboard started as `voronka app` starts it."""
    log = tmp_path_factory.mktemp("app") / "server.log"
    port = free_port(0)
    arguments, environment = command(port, config=demo_dir / "config.yaml")
    with log.open("w") as out:
        server = subprocess.Popen(
            arguments, env={**environment, "PYTHONUNBUFFERED": "1"}, stdout=out, stderr=subprocess.STDOUT
        )
    try:
        yield _address(server, port, log)
    finally:
        server.terminate()
        server.wait(10)


def _address(server: "subprocess.Popen[bytes]", port: int, log: Path) -> str:
    url = f"http://127.0.0.1:{port}"
    end = time.monotonic() + START_S
    while time.monotonic() < end and server.poll() is None:
        try:
            with urllib.request.urlopen(url + "/_stcore/health", timeout=2) as answer:
                if answer.read() == b"ok":
                    return url
        except OSError:
            pass
        time.sleep(0.1)
    raise AssertionError(log.read_text())


@pytest.fixture(scope="module")  # while it lives its event loop runs in this thread, and other tests start loops too
def chromium() -> Iterator[Browser]:
    executable = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if executable is None:
        message = "Chromium is not installed: apt-get install chromium, or name it in CHROMIUM."
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        yield browser
        browser.close()


@dataclass
class Window:
    """One browser window on the dashboard, and what it asked of others."""

    page: Page
    url: str
    outside: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def open(self, path: str) -> Page:
        self.page.goto(self.url + path)
        self.settle()
        return self.page

    def settle(self) -> None:
        """Until the script has run and the charts are drawn; for some looks on end, for the browser draws in pieces."""
        self.page.evaluate("window.settledFor = 0")
        self.page.wait_for_function(SETTLED, polling=50, timeout=60_000)


@pytest.fixture
def open_window(chromium: Browser, app_url: str) -> Iterator[Any]:
    """`open_window(width=…)`: a fresh window. At the end none may have met an error or asked a foreign host."""
    opened: list[tuple[BrowserContext, Window]] = []

    def fresh(size: tuple[int, int] = LAPTOP, scheme: str = "light", headers: dict[str, str] | None = None) -> Window:
        context = chromium.new_context(
            viewport={"width": size[0], "height": size[1]},
            locale="ru-RU",
            timezone_id="Europe/Moscow",
            reduced_motion="reduce",
            color_scheme=scheme,
            extra_http_headers=headers,
        )
        window = Window(context.new_page(), app_url)
        context.route("**/*", lambda route: _guard(route, window))
        window.page.on("pageerror", lambda error: window.errors.append(str(error)))
        window.page.on("console", lambda message: _note(message, window))
        opened.append((context, window))
        return window

    yield fresh
    for context, window in opened:
        context.close()
        assert not window.outside
        assert not window.errors


def _guard(route: Route, window: Window) -> None:
    if route.request.url.startswith((window.url, "data:", "blob:")):
        route.continue_()
    else:
        window.outside.append(route.request.url)
        route.abort()


def _note(message: Any, window: Window) -> None:
    """Errors of the console, blocked scripts included."""
    if message.type == "error":
        window.errors.append(message.text)
