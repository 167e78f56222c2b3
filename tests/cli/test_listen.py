"""`voronka listen`: what it takes, what it refuses, and that a sync reads again what was named."""

import asyncio
import errno
import os
import stat
import sys
import types
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
import uvicorn
from uvicorn.server import ServerState

from commands import listen
from commands.listen import listener
from config import ConfigError, load_config
from connectors.connector import find_connectors
from sync import inbox
from warehouse.database import private_folder
from warehouse.status import FILE, AccountStatus, RunStatus, write_status

NUMBER = "31004410"
OURS = f"&account[id]={NUMBER}"
AT = datetime(2026, 11, 2, tzinfo=UTC)
FORM = {"content-type": "application/x-www-form-urlencoded"}


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A data folder whose account `main` was synced before."""
    folder = tmp_path / "data"
    private_folder(folder)
    write_status(folder, RunStatus(1, "done", AT, AT, AT, [AccountStatus("main", NUMBER, "Volga", "done")]))
    return folder


@pytest.fixture
def app(tmp_path: Path, data_dir: Path):
    file = tmp_path / "config.yaml"
    account = "{id: main, connector: amocrm, base_url: 'https://volga.amocrm.ru', token_env: T}"
    file.write_text(f"data_dir: {data_dir}\naccounts: [{account}]\n", "utf-8")
    return listener(load_config(file, {name: one.settings for name, one in find_connectors().items()}))


@pytest.fixture
def post(app):
    async def send(body, path) -> int:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://listener") as client:
            return (await client.post(path, content=body, headers=FORM)).status_code

    return lambda body, path=app.state.paths["main"]: asyncio.run(send(body, path))


@pytest.fixture
def said_by_listen(app, voronka, tmp_path: Path, monkeypatch):
    """The command, and what it would have served."""

    def listening(*options: str, is_terminal: bool):
        started = []
        monkeypatch.setattr(listen.uvicorn, "run", lambda app, **_: started.append(app))
        monkeypatch.setattr(sys.stdout, "isatty", lambda: is_terminal)
        return voronka("listen", *options, "--config", tmp_path / "config.yaml"), started

    return listening


def named(data_dir: Path) -> dict[str, set[str]]:
    return inbox.waiting(data_dir, "main")[1]


def test_c104_three_leads_in_one_body_are_three_ids(post, data_dir):
    assert post("leads[update][0][id]=1&leads[update][1][id]=2&leads[status][0][id]=3" + OURS) == 200
    assert named(data_dir) == {"leads": {"1", "2", "3"}}


def test_c105_a_webhook_that_comes_twice_is_noted_once(post, data_dir):
    for _ in range(2):
        assert post("leads[add][0][id]=1" + OURS) == 200
    assert named(data_dir) == {"leads": {"1"}}


def test_c106_a_company_comes_among_contacts(post, data_dir):
    assert post("contacts[update][0][id]=5&contacts[update][0][type]=company&contacts[update][1][id]=6" + OURS) == 200
    assert named(data_dir) == {"companies": {"5"}, "contacts": {"6"}}


@pytest.mark.parametrize("path", ["/hook/main/wrong", "/hook/other/wrong", "/hook/main/" + "0" * 40])
def test_c107_a_wrong_secret_is_nobodys_address(post, data_dir, path):
    assert post("leads[add][0][id]=1" + OURS, path) == 404
    assert named(data_dir) == {}


def test_c107_another_account_is_answered_and_forgotten(post, data_dir):
    assert post("leads[add][0][id]=1&account[id]=999") == 200
    assert named(data_dir) == {}


@pytest.mark.parametrize("status", [None, AccountStatus("main"), AccountStatus("other", NUMBER)])
def test_while_the_number_is_not_known_the_crm_may_try_again(post, data_dir, status):
    (data_dir / FILE).unlink()
    if status:
        write_status(data_dir, RunStatus(2, "running", AT, AT, None, [status]))
    assert post("leads[add][0][id]=1" + OURS) == 503
    assert named(data_dir) == {}


@pytest.mark.parametrize(
    "body",
    [
        "",
        "leads[add][0][id]=1",
        "not a form",
        "leads[add][0][id]=\xff",
        "&".join(["a=1"] * 20_001),
        '{"leads": {"add": [{"id": 1}]}}',
    ],
)
def test_malformed_posts_change_nothing(post, data_dir, body):
    assert post(body.encode("latin-1")) == 400
    assert named(data_dir) == {}


@pytest.mark.parametrize("native_id", ["0", "-1", "1;DROP", "1" * 30, "../1", ""])
def test_only_ids_are_noted(post, data_dir, native_id):
    post(f"leads[add][0][id]={native_id}&contacts[add][0][id]=7" + OURS)
    assert named(data_dir) == {"contacts": {"7"}}


def test_a_body_without_end_is_not_kept(post, data_dir, monkeypatch):
    monkeypatch.setattr(listen, "MOST_BYTES", 100)
    assert post("leads[add][0][id]=1" + OURS + "&pad=" + "x" * 100) == 413
    assert named(data_dir) == {}


def test_a_note_rings_for_its_card(post, data_dir):
    assert post("contacts[note][0][note][element_id]=8&contacts[note][0][note][text]=secret" + OURS) == 200
    assert named(data_dir) == {"contacts": {"8"}}


def test_the_inbox_is_bounded_and_its_owners_only(post, data_dir, monkeypatch):
    monkeypatch.setattr(inbox, "ROOM", 2)
    assert post("leads[add][0][id]=1&leads[add][1][id]=2&leads[add][2][id]=3" + OURS) == 200
    assert post("leads[add][0][id]=4" + OURS) == 200
    assert named(data_dir) == {"leads": {"1", "2"}}
    for name in (inbox.FILE, listen.KEY):
        assert stat.S_IMODE((data_dir / name).stat().st_mode) == 0o600


def test_what_comes_while_a_sync_takes_over_stays(data_dir):
    inbox.note(data_dir, "main", {"leads": {"1", "2"}})
    last, _ = inbox.waiting(data_dir, "main")
    inbox.note(data_dir, "main", {"leads": {"2", "3"}})
    inbox.clear(data_dir, "main", last)
    assert named(data_dir) == {"leads": {"2", "3"}}


def test_the_addresses_stay_the_same(app, tmp_path, data_dir):
    config = load_config(tmp_path / "config.yaml", {name: one.settings for name, one in find_connectors().items()})
    assert listener(config).state.paths == app.state.paths


@pytest.mark.parametrize("key", [b"", b"0" * 63, b"0" * 65, b"g" * 64, b"0" * 64 + b"\n"])
def test_a_damaged_key_is_refused_with_a_sentence(data_dir, key):
    (data_dir / listen.KEY).write_bytes(key)
    with pytest.raises(ConfigError, match=r"listen\.key is damaged.*Restore it"):
        listen.secret_key(data_dir / listen.KEY)


def test_a_full_disk_leaves_no_key(data_dir, monkeypatch):
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    before = sorted(data_dir.iterdir())
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        listen.secret_key(data_dir / listen.KEY)
    assert sorted(data_dir.iterdir()) == before


def test_of_two_that_make_the_key_together_both_use_the_first(data_dir):
    file = data_dir / listen.KEY
    key = listen.secret_key(file)
    listen.make_key(file)
    assert listen.secret_key(file) == key
    assert sorted(one.name for one in data_dir.iterdir()) == [listen.KEY, FILE]


@pytest.mark.parametrize(
    ("options", "is_terminal", "shown_and_listens"),
    [((), False, (False, True)), ((), True, (True, True)), (("--addresses",), False, (True, False))],
)
def test_addresses_are_secrets_and_shown_to_who_asks(app, said_by_listen, options, is_terminal, shown_and_listens):
    said, started = said_by_listen(*options, is_terminal=is_terminal)
    assert said.code == 0
    assert (app.state.paths["main"] in said.out, bool(started)) == shown_and_listens
    assert app.state.paths["main"] not in said.err
    assert ("--addresses" in said.err) != shown_and_listens[0]


class Wire:
    """A connection's transport, of which only its end is noted."""

    def __init__(self) -> None:
        self.is_cut = False

    def abort(self) -> None:
        self.is_cut = True

    def get_extra_info(self, _name: str) -> None:
        return None


class Timer:
    def __init__(self) -> None:
        self.due: list[tuple[float, Callable[[], None]]] = []

    def call_later(self, delay: float, call: Callable[[], None]):
        self.due.append((delay, call))
        return types.SimpleNamespace(cancel=lambda: self.due.remove((delay, call)))


@pytest.fixture
def connect(app):
    """Opens a connection to the listener; its transport."""
    config, state, timer = uvicorn.Config(app), ServerState(), Timer()
    config.load()

    def opened() -> Wire:
        protocol, wire = listen.Short(config, state, {}, timer), Wire()
        protocol.connection_made(wire)
        return wire

    opened.timer = timer
    return opened


def test_a_connection_that_says_nothing_ends_by_itself(connect):
    wire = connect()
    [(delay, end)] = connect.timer.due
    end()
    assert (delay, wire.is_cut) == (listen.LONGEST_S, True)


def test_more_connections_than_there_are_webhooks_are_cut_at_once(connect):
    kept = [connect() for _ in range(listen.MOST_CONNECTIONS)]
    assert connect().is_cut
    assert not any(wire.is_cut for wire in kept)


def test_who_listens_to_other_machines_is_told_what_belongs_before_it(said_by_listen, tmp_path):
    said, _ = said_by_listen("--host", "0.0.0.0", is_terminal=False)
    assert "0.0.0.0 can be reached from other machines" in said.err
