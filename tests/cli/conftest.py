"""The command as people call it, and one demo company synced through it for all tests of this folder."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from demo_process import run_demo

import cli
from commands import text


@dataclass(frozen=True)
class Said:
    """How a command ended: exit code, standard output (bytes), standard error."""

    code: int
    raw: bytes
    err: str

    @property
    def out(self) -> str:
        return self.raw.decode()


Voronka = Callable[..., Said]


@pytest.fixture
def voronka(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Voronka:
    """Runs a command in this process, as the console script does."""
    monkeypatch.setenv("VORONKA_LANG", "en")
    monkeypatch.delenv("VORONKA_CONFIG", raising=False)

    def voronka(*arguments: object) -> Said:
        capfdbinary.readouterr()
        monkeypatch.setattr(sys, "argv", ["voronka", *map(str, arguments)])
        try:
            cli.main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        out, err = capfdbinary.readouterr()
        return Said(code, out, err.decode())

    text.catalogue.cache_clear()
    return voronka


@dataclass(frozen=True)
class Demo:
    """A demo company in a folder, synced and compared with its answer key."""

    folder: Path
    done: subprocess.CompletedProcess[str]

    @property
    def config(self) -> Path:
        return self.folder / "config.yaml"


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    folder = tmp_path_factory.mktemp("demo") / "data"
    return Demo(folder, run_demo(folder))
