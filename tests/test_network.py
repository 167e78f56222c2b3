"""Nothing but the configured hosts is contacted: no command and no page looks anything up anywhere else."""

import re
import socket
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import streamlit
import yaml
from streamlit.testing.v1 import AppTest
from streamlit.util import calc_hash

import cli
from app import data
from app.page import find_pages
from app.shell import content_policy

HOUSE = Path(__file__).parents[1]
CONFIGURED = "crm.example.org"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The hosts that were asked for; none of them is reached."""
    hosts: list[str] = []

    def refuse(host: Any) -> None:
        hosts.append(str(host))
        raise OSError("the network is not there")

    def connect(_socket: socket.socket, address: Any) -> None:
        if not isinstance(address, str | bytes):  # a path is a socket of this machine
            refuse(address[0])

    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *_, **__: refuse(host))
    monkeypatch.setattr(socket, "gethostbyname", refuse)
    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket.socket, "connect_ex", connect)
    return hosts


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TOKEN", "a-token")
    monkeypatch.setenv("VORONKA_DATA_DIR", str(tmp_path / "data"))
    account = {"id": "main", "connector": "amocrm", "base_url": f"https://{CONFIGURED}", "token_env": "TOKEN"}
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump({"data_dir": str(tmp_path / "data"), "accounts": [account]}))
    monkeypatch.setenv("VORONKA_CONFIG", str(file))
    return file


LOCAL = [
    ("status",),
    ("publish",),
    ("metric", "list"),
    ("metric", "run", "A3"),
    ("sql", "SELECT 1"),
    ("listen", "--addresses"),
    ("forget", "--list"),
    ("forget", "+79991234567", "--yes"),
    ("--help",),
]


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr("sys.argv", ["voronka", *arguments])
    with suppress(SystemExit):
        cli.main()


@pytest.mark.usefixtures("config")
@pytest.mark.parametrize("arguments", LOCAL, ids=" ".join)
def test_a_command_that_needs_no_crm_contacts_nobody(
    asked: list[str], monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
):
    run(monkeypatch, *arguments)
    assert asked == []


@pytest.mark.usefixtures("config")
@pytest.mark.slow
def test_the_doctor_asks_the_configured_host_only(asked: list[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("time.sleep", lambda _: None)
    run(monkeypatch, "doctor")
    assert set(asked) == {CONFIGURED}


@pytest.mark.usefixtures("config")
@pytest.mark.parametrize("url", [page.url for page in find_pages()])
def test_a_page_contacts_nobody(asked: list[str], url: str):
    page = AppTest.from_file(str(Path(data.__file__).parent / "main.py"), default_timeout=60)
    page._page_hash = calc_hash(url)
    page.run()
    assert not page.exception
    assert asked == []


def test_the_server_reports_to_nobody_and_browsers_may_ask_nobody_else():
    options = tomllib.loads((HOUSE / "app" / ".streamlit" / "config.toml").read_text("utf-8"))
    assert options["browser"]["gatherUsageStats"] is False
    page = (Path(streamlit.__file__).parent / "static" / "index.html").read_bytes()
    policy = content_policy(page, "127.0.0.1:8501")
    assert set(re.findall(r"[a-z]+://[^\s;]+", policy)) == {"ws://127.0.0.1:8501", "wss://127.0.0.1:8501"}
    assert "*" not in policy
    assert "https:" not in policy


LOADED = re.compile(rb"""(?:src|href)=["'](?:https?:)?//|url\(["']?(?:https?:)?//|@import\s+["'](?:https?:)?//""")
"""What makes a browser ask another host by itself; links that people click are not among it."""


def test_our_pages_name_nothing_that_is_loaded_from_elsewhere():
    ours = [path for path in (HOUSE / "app").rglob("*") if path.suffix in (".py", ".js", ".css", ".html", ".toml")]
    assert ours
    assert {str(path.relative_to(HOUSE)): found for path in ours if (found := LOADED.findall(path.read_bytes()))} == {}
