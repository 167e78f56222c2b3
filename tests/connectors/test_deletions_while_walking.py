"""What people do during a walk moves rows from page to page and loses none: the demo's pages are counted too."""

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import count
from random import Random

import httpx
import pytest
from amo_fake import OCTOBER, SEPTEMBER, problem
from demo_crm import unpaced

from connectors.amocrm import walking
from connectors.amocrm.api import AmoApi, account, open_api
from connectors.amocrm.resources import RESOURCES
from connectors.amocrm.settings import AmoSettings
from connectors.amocrm.slips import Turned, doubtful
from connectors.connector import Window
from connectors.records import Notice, RawRecord
from demo.amocrm import create_app
from demo.amocrm_mutate import mutate
from demo.company import build
from demo.model import CONTACT, TextNote

SETTINGS = AmoSettings(
    id="main",
    connector="amocrm",
    base_url="https://testserver",
    token_env="TOKEN",
    requests_per_second=1e6,
    page_size=20,
)
EVENTS = "/api/v4/events"
ENTITY = {"leads": "leads", "contacts": "contacts", "tasks": "tasks", "calls": "contacts/notes"}
LISTS = sorted(ENTITY)
CHANGING = ("calls", "tasks")
"""Lists whose first read goes by change time."""


@pytest.fixture(scope="module")
def company():
    return build(scale=0.01)


class Crm(httpx.BaseTransport):
    """The emulated amoCRM in this process. `people` is called before each answer with its number; see `delete`."""

    def __init__(self, company) -> None:
        app = create_app(company)
        self.account = app.state.server.account
        self.asked: list[httpx.URL] = []
        self.people = lambda n: None
        self.refuses_the_log = False
        self._app = httpx.ASGITransport(app)
        self._loop = asyncio.new_event_loop()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return self._loop.run_until_complete(self._answer(request))

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == EVENTS and self.refuses_the_log:
            return problem(403, title="Forbidden")
        if request.url.path != "/api/v4/account":
            self.asked.append(request.url)
            self.people(len(self.asked))
        answer = await self._app.handle_async_request(request)
        return httpx.Response(answer.status_code, headers=answer.headers, content=await answer.aread())

    def close(self) -> None:
        self._loop.close()

    def ids(self, name: str) -> list[int]:
        table = self.account.notes[CONTACT] if name == "calls" else getattr(self.account, name)
        return [number for number in table.ids if not isinstance(table.get(number), TextNote)]

    def change(self, name: str, native_id: int) -> None:
        """A minute later somebody changes a row: it leaves every window of change times that lies in the past."""
        self.account.now += 60
        table = self.account.notes[CONTACT] if name == "calls" else getattr(self.account, name)
        table.put(table.get(native_id)._replace(updated_at=self.account.now))

    def delete(self, name: str, native_id: int) -> None:
        """Into the trash; a call goes with the contact it hangs on."""
        if name != "calls":
            mutate(self.account, {"op": "delete", "entity": name, "id": native_id})
            return
        notes = self.account.notes[CONTACT]
        note = notes.get(native_id)
        if not self.account.contacts.get(note.entity_id).deleted_at:
            mutate(self.account, {"op": "delete", "entity": "contacts", "id": note.entity_id})
        notes.put(note._replace(entity_kind=-1))


def opened(crm: Crm) -> AmoApi:
    return open_api(
        SETTINGS,
        env={"TOKEN": "demo-token"},
        ordinals=count(1).__next__,
        state_dir="/nonexistent",
        transport=crm,
        pace=unpaced(),
    )


def walked(crm: Crm, name: str) -> tuple[list[int], list[Notice]]:
    """Ids a first read shows, in its order, and what was noticed."""
    api = opened(crm)
    resource = next(resource for resource in RESOURCES if resource.name == name)
    me = account(api, SETTINGS)
    yielded = list(resource.read(api, me, Window(resource.windows[0], end=api.server_now())))
    ids = [int(raw.native_id) for raw in yielded if isinstance(raw, RawRecord) and raw.entity == ENTITY[name]]
    of_the_walk = [notice for notice in yielded if isinstance(notice, Notice) and "without prices" not in notice.text]
    return ids, of_the_walk  # nobody has read the catalogs here


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("per_page", [1, 3])
def test_rows_that_slip_onto_a_page_already_read_are_found(company, name, per_page):
    crm = Crm(company)
    there = crm.ids(name)
    doomed = iter(there[: 3 * per_page])

    def people(n: int) -> None:
        if n in (2, 3, 4):
            for _ in range(per_page):
                crm.delete(name, next(doomed))

    crm.people = people
    ids, notices = walked(crm, name)
    assert len(there) > 80
    assert sorted(ids) == there  # those deleted had been read before
    assert not notices


@pytest.mark.parametrize("name", CHANGING)
@pytest.mark.parametrize("is_changed_again", [False, True])
def test_rows_that_slip_because_others_were_changed_are_found(company, name, is_changed_again):
    crm = Crm(company)
    there = crm.ids(name)
    seen_and_changed = there[:9]

    def people(n: int) -> None:
        if n in (2, 3, 4):
            for native_id in seen_and_changed[3 * (n - 2) : 3 * (n - 1)]:
                crm.change(name, native_id)
        if n == 6 and is_changed_again:
            for native_id in seen_and_changed:
                crm.change(name, native_id)

    crm.people = people
    ids, notices = walked(crm, name)
    assert sorted(set(ids)) == there
    assert not notices


@pytest.mark.parametrize("name", CHANGING)
@pytest.mark.parametrize("seed", range(5))
def test_a_first_read_by_change_time_and_the_one_that_catches_up_lose_nothing(company, name, seed, monkeypatch):
    monkeypatch.setattr(walking, "TRAIL", 3)
    crm, chance = Crm(company), Random(seed)
    there = crm.ids(name)
    began = datetime.fromtimestamp(crm.account.now, UTC)

    def people(n: int) -> None:
        for native_id in chance.sample(there, chance.randrange(3)):
            crm.change(name, native_id)

    crm.people = people
    ids, _ = walked(crm, name)
    crm.people = lambda n: None
    api = opened(crm)
    resource = next(resource for resource in RESOURCES if resource.name == name)
    later = list(resource.read(api, account(api, SETTINGS), Window("changed", began)))
    ids += [int(raw.native_id) for raw in later if isinstance(raw, RawRecord) and raw.entity == ENTITY[name]]
    assert sorted(set(ids)) == there


@pytest.mark.parametrize("name", ["leads", "calls"])
def test_what_is_deleted_while_slipped_rows_are_looked_for_is_seen_too(company, name):
    crm = Crm(company)
    there = crm.ids(name)
    doomed = iter(there[:40])
    gone = set()

    def people(n: int) -> None:
        if len(crm.asked) > 1 and crm.asked[-2].path != EVENTS and len(gone) < 12:
            gone.add(number := next(doomed))
            crm.delete(name, number)

    crm.people = people
    ids, _ = walked(crm, name)
    assert set(there) - gone <= set(ids)
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("name", LISTS)
def test_a_long_walk_asks_the_log_on_its_way(company, name, monkeypatch):
    monkeypatch.setattr(walking, "TRAIL", 2)
    crm = Crm(company)
    there = crm.ids(name)
    doomed = iter(there)
    crm.people = lambda n: crm.delete(name, next(doomed)) if n in (2, 3, 5) else None
    ids, _ = walked(crm, name)
    assert sorted(ids) == there


@pytest.mark.parametrize("name", LISTS)
def test_a_quiet_walk_costs_one_look_at_the_log(company, name):
    crm = Crm(company)
    ids, _ = walked(crm, name)
    pages = [url for url in crm.asked if url.path.endswith(ENTITY[name])]
    looks = [url for url in pages if "from" in str(url)]
    lists = 3 if name == "calls" else 1  # notes of contacts, of leads, of companies, each a walk
    assert len([url for url in crm.asked if url.path == EVENTS]) == lists
    assert len(looks) == (name in CHANGING)
    assert len(pages) - len(looks) == -(-len(ids) // 20) + (len(ids) % 20 == 0)


def test_without_the_log_every_page_is_looked_at_again(company):
    crm = Crm(company)
    there = crm.ids("tasks")
    crm.refuses_the_log = True
    crm.people = lambda n: crm.delete("tasks", there[0]) if n == 2 else None
    ids, notices = walked(crm, "tasks")
    assert sorted(ids) == there
    assert "pages were read twice" in notices[0].text


def test_only_pages_turned_at_that_moment_are_looked_at_again():
    trail = [Turned(n, 50, 50 * n, 50 * n + 49, SEPTEMBER + timedelta(minutes=n)) for n in range(1, 6)]
    moment = SEPTEMBER + timedelta(minutes=3, seconds=20)
    (found,) = doubtful(trail, [(moment, moment)])
    assert [turned.number for turned in found] == [3, 4]
    assert not list(doubtful(trail, [(OCTOBER, OCTOBER)]))
    assert len(list(doubtful(trail, None))) == 4


def test_pages_of_two_walks_or_two_sizes_are_no_neighbours():
    pages = [Turned(*place, 1, 50, SEPTEMBER) for place in ((2, 50), (1, 50), (2, 25))]
    assert not list(doubtful(pages, None))
