"""Whatever the program writes is for its owner only, also where the system would give it to everybody."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[1]
NIGHT = """
import os, sys
os.umask(0)
from pathlib import Path
from datetime import datetime, timedelta
import cli
from connectors.records import Account, Contact
from settings import SettingsStore
from sync import inbox, publish_all
from warehouse.database import open_warehouse, personal_key, writer_lock
from warehouse.load import Loader
from warehouse.status import RunStatus, write_status

data_dir = Path(sys.argv[1])
now = datetime.fromisoformat("2026-03-02T12:00:00+00:00")
with writer_lock(data_dir):
    engine = open_warehouse(data_dir)
    with engine.begin() as connection:
        account = Account(account_id="main", connector="amocrm", name="Acme", base_url="https://a.example.org",
            external_id="1", tz="Europe/Moscow", base_currency="RUB", default_region="RU")
        reads = [account, Contact(account_id="main", contact_id="contact:1", created_at=now)]
        loader = Loader(connection, key=personal_key(data_dir, connection))
        loader.load(enumerate(reads, 1), load_seq=1, synced_at=now)
        connection.exec_driver_sql("INSERT INTO sync_watermark (account_id, resource, table_name, target_account_id, "
            "is_core, complete_from, watermark) VALUES ('main', 'leads', 'deal', 'main', true, ?, ?)", (now, now))
    engine.dispose()
write_status(data_dir, RunStatus(1, "done", now, now))
inbox.note(data_dir, "main", {"contacts": ["1"]})
SettingsStore(data_dir / "app.sqlite").log("looked", author="anna")
publish_all(data_dir, now=now)
config = data_dir / "config.yaml"
def run(*arguments):
    sys.argv = ["voronka", *arguments, "--config", str(config)]
    try:
        cli.main()
    except SystemExit as end:
        assert not end.code, (arguments, end.code)
run("listen", "--addresses")
run("sql", "SELECT count(*) FROM contact", "--output", str(data_dir / "answer.csv"), "--format", "csv")
run("metric", "run", "D6", "--as-of", "2026-03-01", "--format", "json", "--output", str(data_dir / "answer.json"))
run("forget", "contact:1", "--yes")
"""


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder that was written to in all ways, by a process whose files everybody may read."""
    folder = tmp_path_factory.mktemp("open") / "data"
    folder.mkdir()
    account = "{id: main, connector: amocrm, base_url: 'https://a.example.org', token_env: TOKEN}"
    (folder / "config.yaml").write_text(f"data_dir: {folder}\naccounts: [{account}]\n")
    (folder / "config.yaml").chmod(0o600)
    environment = {**os.environ, "TOKEN": "t", "VORONKA_LANG": "en"}
    done = subprocess.run(
        [sys.executable, "-c", NIGHT, str(folder)],
        cwd=HOUSE,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_every_file_and_folder_is_for_its_owner_only(data_dir: Path):
    found = {path.relative_to(data_dir): stat.S_IMODE(path.stat().st_mode) for path in [data_dir, *data_dir.rglob("*")]}
    assert len(found) > 50
    assert {str(path): oct(mode) for path, mode in found.items() if mode & 0o077} == {}


def test_what_was_published_nobody_changes(data_dir: Path):
    files = [*(data_dir / "publication").rglob("*.parquet"), *(data_dir / "publication").rglob("manifest.json")]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o400}
