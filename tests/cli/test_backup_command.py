"""`voronka backup` and `voronka restore`, as people call them."""

from pathlib import Path
from typing import Any

import pytest

from warehouse.database import open_warehouse, writer_lock


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "config.yaml"
    file.write_text("data_dir: data\n")
    open_warehouse(tmp_path / "data").dispose()
    return file


def test_a_backup_says_what_is_in_it_and_a_restore_what_comes_next(voronka: Any, config: Path, tmp_path: Path):
    made = voronka("backup", tmp_path / "backup.tar", "--config", config)
    assert (made.code, made.err) == (0, "")
    assert "Backed up to" in made.out
    assert "personal data, tokens" in made.out
    other = tmp_path / "other.yaml"
    other.write_text("data_dir: elsewhere\n")
    done = voronka("restore", tmp_path / "backup.tar", "--config", other)
    assert (done.code, done.err) == (0, "")
    assert "Now: `voronka publish`" in done.out
    assert "What was there" not in done.out


def test_a_restore_over_a_warehouse_asks_for_force_and_says_where_the_old_one_is(
    voronka: Any, config: Path, tmp_path: Path
):
    voronka("backup", tmp_path / "backup.tar", "--config", config)
    said = voronka("restore", tmp_path / "backup.tar", "--config", config)
    assert said.code == 1
    assert "--force" in said.err
    done = voronka("restore", tmp_path / "backup.tar", "--force", "--config", config)
    assert done.code == 0
    assert str(tmp_path / "data" / "before-restore-") in done.out


def test_while_another_process_writes_the_exit_code_says_so(voronka: Any, config: Path, tmp_path: Path):
    with writer_lock(tmp_path / "data"):
        assert voronka("backup", tmp_path / "backup.tar", "--config", config).code == 3


def test_a_foreign_file_is_a_sentence(voronka: Any, config: Path):
    said = voronka("restore", config, "--force", "--config", config)
    assert (said.code, said.out) == (1, "")
    assert "is no whole backup" in said.err
