"""Twenty accounts of both kinds in one configuration: each reads within its own limits, and none waits for another.

Nothing here is measured. That accounts do not wait for each other is told by events: where one of them must not end
before all others have, a sync in which they did wait for it could not end.
"""

import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from fake_source import RESOURCES, FakeSource, filled
from sync_words import tables_of

from commands import run
from commands.progress import SyncProgress
from config import Config, load_config
from connectors.amocrm.access import account_pace
from connectors.amocrm.settings import AmoSettings
from connectors.bitrix24.access import portal_pace
from connectors.bitrix24.settings import BitrixSettings
from connectors.connector import Connector, Resource, Settings, Window
from connectors.errors import CredentialsError, RetriableError
from connectors.records import Account
from warehouse.status import RunStatus

KINDS = {"amocrm": RESOURCES, "bitrix24": RESOURCES[:3]}
IDS = [f"{kind}-{n}" for n in range(10) for kind in KINDS]
PATIENCE_S = 120.0
"""After which a test that would wait for ever fails."""
PARALLEL = 3


def sources() -> dict[str, FakeSource]:
    """A source for each account, with a number and a deal of its own."""
    found = {}
    for n, account_id in enumerate(IDS):
        found[account_id] = source = filled()
        source.number = str(31000000 + n)
        source.add(100 + n, source.things[2].created_at)
    return found


def connector(sources: Mapping[str, FakeSource], resources: tuple[Resource, ...]) -> Connector:
    def open_source(
        settings: Settings, *, env: Mapping[str, str], ordinals: Callable[[], int], state_dir: str
    ) -> FakeSource:
        source = sources[settings.id]
        source.ordinals = ordinals
        return source

    def read_account(api: FakeSource, settings: Settings) -> Account:
        api.answer("account", Window("whole"))
        return Account(
            account_id=settings.id, connector=settings.connector, name=settings.id, base_url="https://fake.example",
            external_id=api.number, tz="Europe/Moscow", base_currency="RUB", default_region="RU",
            created_at=api.opened_at,
        )  # fmt: skip

    return Connector(Settings, open_source, read_account, resources)


@pytest.fixture
def config(data_dir: Path) -> Config:
    return configured(data_dir, IDS)


def configured(data_dir: Path, ids: list[str]) -> Config:
    data_dir.parent.mkdir(parents=True, exist_ok=True)
    file = data_dir.parent / "config.yaml"
    entries = "".join(f"\n  - {{id: {one}, connector: {one.partition('-')[0]}}}" for one in ids)
    file.write_text(f"data_dir: {data_dir}\nsync: {{windows_in_parallel: {PARALLEL}}}\naccounts:{entries}\n")
    return load_config(file, dict.fromkeys(KINDS, Settings))


def synced(config: Config, sources: Mapping[str, FakeSource], monkeypatch: pytest.MonkeyPatch) -> RunStatus:
    """One sync of the whole configuration."""
    kinds = {kind: connector(sources, resources) for kind, resources in KINDS.items()}
    monkeypatch.setattr(run, "find_connectors", lambda: kinds)
    return run.sync_with(config)


def deals_of(data_dir: Path) -> dict[str, int]:
    counts = dict.fromkeys(IDS, 0)
    for row in tables_of(data_dir)["deal"]:
        counts[row[0]] += 1
    return counts


class Written:
    """Accounts of which everything was written, as the writer tells the progress; `wait` for all of some."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.whole: set[tuple[str, str]] = set()
        self.news = threading.Condition()
        monkeypatch.setattr(SyncProgress, "__call__", lambda _self, *moved: self.move(*moved))

    def move(self, account_id: str, resource: str, done: int, total: int | None) -> None:
        with self.news:
            if done == total:
                self.whole.add((account_id, resource))
                self.news.notify_all()

    def wait(self, ids: set[str]) -> bool:
        wanted = {(one, resource.name) for one in ids for resource in KINDS[one.partition("-")[0]]}
        with self.news:
            return self.news.wait_for(lambda: wanted <= self.whole, PATIENCE_S)


def test_every_account_reads_at_the_same_time(config: Config, monkeypatch: pytest.MonkeyPatch):
    """No account gets past its first request before all twenty have sent theirs."""
    everyone, crms = threading.Barrier(len(IDS)), sources()

    def first_of(source: FakeSource) -> Callable[[str, Window], None]:
        return lambda name, _window: everyone.wait(PATIENCE_S) and None if name == "account" else None

    for source in crms.values():
        source.before_page = first_of(source)
    assert synced(config, crms, monkeypatch).is_well
    assert deals_of(config.data_dir) == dict.fromkeys(IDS, 9)


@pytest.mark.slow
@pytest.mark.parametrize(("hanging", "at"), [("amocrm-0", "account"), ("bitrix24-0", "deals")])
def test_an_account_that_hangs_holds_nobody_up(config: Config, monkeypatch: pytest.MonkeyPatch, hanging: str, at: str):
    """It gets no answer before everything of all others is in the warehouse."""
    crms, written, waited = sources(), Written(monkeypatch), []

    def hang(name: str, _window: Window) -> None:
        if name == at:
            waited.append(written.wait({*IDS} - {hanging}))

    crms[hanging].before_page = hang
    assert synced(config, crms, monkeypatch).is_well
    assert waited != []
    assert all(waited)
    assert deals_of(config.data_dir) == dict.fromkeys(IDS, 9)


@pytest.mark.slow
def test_accounts_that_fail_leave_the_others_whole(config: Config, monkeypatch: pytest.MonkeyPatch):
    crms = sources()
    failing: dict[str, tuple[str, Exception]] = {
        "amocrm-3": ("account", CredentialsError("The token was revoked.")),
        "bitrix24-4": ("users", RetriableError("The service is down.")),
        "amocrm-5": ("deals", RuntimeError("a bug")),
    }
    for account_id, (at, error) in failing.items():
        crms[account_id].failing[at] = error
    done = synced(config, crms, monkeypatch)
    assert {one.account_id for one in done.accounts if one.state == "failed"} == {*failing}
    assert {one.account_id for one in done.accounts if one.state == "done"} == {*IDS} - {*failing}
    assert {name: n for name, n in deals_of(config.data_dir).items() if name not in failing} == dict.fromkeys(
        {*IDS} - {*failing}, 9
    )


@pytest.mark.slow
def test_each_account_asks_for_no_more_at_once_than_it_may(config: Config, monkeypatch: pytest.MonkeyPatch):
    crms = sources()
    most: dict[str, int] = {}
    for account_id, source in crms.items():
        source.answer = counted(source, lambda n, name=account_id: most.update({name: max(n, most.get(name, 0))}))
    assert synced(config, crms, monkeypatch).is_well
    assert {*most} == {*IDS}
    assert max(most.values()) <= PARALLEL


def counted(source: FakeSource, tell: Callable[[int], object]) -> Callable[[str, Window], None]:
    """Tell how many requests are on their way to a source, whenever one begins."""
    answer, lock, n = source.answer, threading.Lock(), 0

    def answers(name: str, window: Window) -> None:
        nonlocal n
        with lock:
            n += 1
            tell(n)
        try:
            answer(name, window)
        finally:
            with lock:
                n -= 1

    return answers


def test_among_others_an_account_reads_what_it_reads_alone(
    config: Config, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    assert synced(config, sources(), monkeypatch).is_well
    together = tables_of(config.data_dir)
    own = {row[0]: row[1] for row in together["deal"] if int(row[1].partition(":")[2]) >= 100}
    assert own == {account_id: f"lead:{100 + n}" for n, account_id in enumerate(IDS)}
    one = "bitrix24-7"
    alone = configured(tmp_path / one / "data", [one])
    assert synced(alone, sources(), monkeypatch).is_well
    mine = {name: [row for row in rows if row[0] == one] for name, rows in together.items()}
    assert {name: rows for name, rows in mine.items() if rows} == tables_of(alone.data_dir)


def test_a_pause_one_account_was_given_holds_no_other(tmp_path: Path):
    """Each has a pace of its own; only accounts of one portal share it, for the portal counts them together."""
    paces = {}
    for n in range(10):
        amo = AmoSettings(id=f"amocrm-{n}", connector="amocrm", base_url=f"https://a{n}.amocrm.ru", token_env="T")
        paces[amo.id] = account_pace(amo, str(tmp_path / "state" / amo.id))
        bitrix = BitrixSettings(id=f"bitrix24-{n}", connector="bitrix24", webhook_env="W")
        paces[bitrix.id] = portal_pace(bitrix, f"https://b{n}.bitrix24.ru", str(tmp_path / "state" / bitrix.id))
    for one in ("amocrm-0", "bitrix24-0"):
        paces[one].pause(600)
    for name, pace in paces.items():
        pace._sleep = sleepless
        if name in ("amocrm-0", "bitrix24-0"):
            with pytest.raises(AssertionError, match="asleep"):
                pace.wait()
        else:
            pace.wait()
    shared = BitrixSettings(id="twin", connector="bitrix24", webhook_env="W")
    twin = portal_pace(shared, "https://b0.bitrix24.ru", str(tmp_path / "state" / "twin"))
    twin._sleep = sleepless
    with pytest.raises(AssertionError, match="asleep"):
        twin.wait()


def sleepless(_seconds: float) -> None:
    raise AssertionError("asleep")
