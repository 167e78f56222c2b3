"""What the README gives to be pasted works as it stands."""

import os
import re
import subprocess
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[2]
VORONKA = """#!/bin/sh
echo "$1 $AMOCRM_TOKEN" >> said
exit $(cat "$1.code")
"""


@pytest.fixture(params=["README.md", "README.ru.md"])
def readme(request):
    return (HOUSE / request.param).read_text("utf-8")


def blocks(readme: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)


@pytest.fixture
def night(readme, tmp_path):
    """Runs the line of cron as cron does, with a `voronka` that ends as it is told; returns its exit code."""
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    command = tmp_path / ".venv" / "bin" / "voronka"
    command.write_text(VORONKA)
    command.chmod(0o700)

    def night(**codes: int) -> int:
        for name, code in codes.items():
            (tmp_path / f"{name}.code").write_text(str(code))
        (line,) = blocks(readme, "cron")
        assert "%" not in line  # cron would end the command there
        shell = line.split(maxsplit=5)[5].replace("/srv/voronka", str(tmp_path))
        return subprocess.run(["env", "-i", "PATH=/usr/bin:/bin", "sh", "-c", shell], check=False).returncode

    return night


@pytest.mark.parametrize(("sync", "publish", "code"), [(0, 0, 0), (1, 0, 1), (3, 3, 3), (0, 1, 1), (1, 2, 2)])
def test_the_night_of_cron_knows_the_token_publishes_and_ends_with_what_failed(night, tmp_path, sync, publish, code):
    (tmp_path / "secrets.env").write_text("AMOCRM_TOKEN='a b$c'\n")
    assert night(sync=sync, publish=publish) == code
    assert (tmp_path / "said").read_text().splitlines() == ["sync a b$c", "publish a b$c"]


def test_without_the_secrets_the_night_reads_nothing(night, tmp_path):
    assert night(sync=0, publish=0) != 0
    assert not (tmp_path / "said").exists()


def test_the_line_that_writes_the_secrets_writes_them_for_their_owner(readme, tmp_path):
    (line,) = [block for block in blocks(readme, "sh") if "secrets.env" in block]
    subprocess.run(["sh", "-c", line], env={**os.environ, "AMOCRM_TOKEN": "a b$c"}, cwd=tmp_path, check=True)
    file = tmp_path / "secrets.env"
    assert file.read_text() == "AMOCRM_TOKEN='a b$c'\n"
    assert file.stat().st_mode & 0o077 == 0


def test_the_python_of_the_readme_runs(readme, demo, capsys):
    (code,) = blocks(readme, "python")
    exec(code.replace('"data/publication"', repr(str(demo.folder / "publication"))), {})
    assert "outcome" in capsys.readouterr().out


def test_the_readme_says_all_that_init_asks(readme):
    source = (HOUSE / "commands" / "init.py").read_text("utf-8")
    asked = len(re.findall(r"asked\(given\[", source))
    assert asked == 7
    line = re.search(r"voronka init +#(.*?)\n +#(.*)", readme)
    assert line is not None
    assert len(re.split(r",| and | и ", f"{line[1]} {line[2]}".partition(";")[0])) == asked
