"""An amoCRM of a few rows: the transport is the seam, nothing leaves the process and nobody sleeps."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Any

import httpx

from connectors.amocrm.api import AmoApi, account, open_api
from connectors.amocrm.resources import RESOURCES
from connectors.amocrm.settings import AmoSettings
from connectors.connector import Resource, Window
from connectors.http import Pace
from connectors.records import OwnedSet, Yield

HOST = "https://volga.amocrm.ru"
SEPTEMBER = datetime(2026, 9, 1, tzinfo=UTC)
SEPTEMBER_S = 1788220800
OCTOBER = datetime(2026, 10, 1, tzinfo=UTC)
WHOLE = Window("whole")
FIRST = Window("created", SEPTEMBER, OCTOBER)
CHANGED = Window("changed", SEPTEMBER)
FROM_THE_BEGINNING = Window("changed")
LONG_LIVED = AmoSettings(id="main", connector="amocrm", base_url=HOST, token_env="AMO_TOKEN")
OAUTH = AmoSettings(
    id="main",
    connector="amocrm",
    base_url=HOST,
    client_id_env="AMO_ID",
    client_secret_env="AMO_SECRET",
    redirect_uri="https://analytics.example.org/oauth/amo",
)
ENV = {"AMO_TOKEN": "long-lived-token", "AMO_ID": "client-id", "AMO_SECRET": "client-secret"}
ACCOUNT_BODY = {
    "id": 31004410,
    "name": "Volga Windows",
    "country": "RU",
    "currency": "RUB",
    "created_at": 1672531200,
    "customers_mode": "disabled",
    "is_api_filter_enabled": True,
    "_embedded": {
        "users_groups": [{"id": 0, "name": "Отдел продаж"}, {"id": 512001, "name": "Повторные продажи"}],
        "task_types": [
            {"id": 1, "name": "Связаться", "code": "FOLLOW_UP"},
            {"id": 2, "name": "Встреча", "code": "MEETING"},
            {"id": 2740010, "name": "Замер", "code": None},
        ],
        "datetime_settings": {"timezone": "Europe/Moscow"},
    },
}
NOTHING = httpx.Response(204)
BLOCKED = httpx.Response(403, html="<html><h1>403 Forbidden</h1>nginx</html>")

Answer = httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]


class FakeTime:
    """A clock that only sleeping moves; `sleeps` remembers how long each sleep was."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.sleeps: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.now += seconds


@dataclass
class Server:
    """Answers by path, each path's in order, the last for ever; 204 elsewhere. `requests` is its log."""

    answers: dict[str, list[Answer]]
    requests: list[httpx.Request] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    time: FakeTime = field(default_factory=FakeTime)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        self.times.append(self.time.now)
        waiting = self.answers.get(request.url.path, [NOTHING])
        answer = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        if isinstance(answer, Exception):
            raise answer
        return fresh(answer(request) if callable(answer) else answer)

    def asked(self, path: str) -> list[httpx.QueryParams]:
        return [request.url.params for request in self.requests if request.url.path == path]


def fresh(answer: httpx.Response) -> httpx.Response:
    """A copy: a response can be read once. One that is still to come stays as it is."""
    if not answer.is_closed:
        return answer
    return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)


def amo(
    answers: dict[str, Answer | list[Answer]] | None = None,
    *,
    settings: AmoSettings = LONG_LIVED,
    state_dir: Any = "/nonexistent",
    unix_now: float = SEPTEMBER_S,
    account_body: dict[str, Any] | None = None,
    env: dict[str, str] = ENV,
    pace: Pace | None = None,
) -> tuple[AmoApi, Server]:
    """An opened API and the server behind it."""
    scripted: dict[str, list[Answer]] = {"/api/v4/account": [httpx.Response(200, json=account_body or ACCOUNT_BODY)]}
    scripted |= {path: answer if isinstance(answer, list) else [answer] for path, answer in (answers or {}).items()}
    server = Server(scripted)
    api = open_api(
        settings,
        env=env,
        ordinals=count(1).__next__,
        state_dir=str(state_dir),
        transport=httpx.MockTransport(server),
        pace=pace or Pace(settings.requests_per_second, clock=server.time, sleep=server.time.sleep),
        clock=lambda: unix_now,
    )
    return api, server


def read(api: AmoApi, resource: str, window: Window = WHOLE) -> list[Yield]:
    """All that a resource yields."""
    return list(reading(api, resource, window))


def reading(api: AmoApi, resource: str, window: Window) -> Iterator[Yield]:
    chosen = next(candidate for candidate in RESOURCES if candidate.name == resource)
    return chosen.read(api, account(api, api.settings), window)


def first_of(resource: Resource) -> Window:
    """A window of a first read."""
    return Window(resource.windows[0], SEPTEMBER, OCTOBER)


def of(kind: type, yielded: Iterable[Yield]) -> list[Any]:
    """The yielded things of one type."""
    return [thing for thing in yielded if type(thing) is kind]


def rows_of(kind: type, yielded: Iterable[Yield]) -> list[Any]:
    """Rows of the yielded owned sets of one record type."""
    return [row for thing in yielded if isinstance(thing, OwnedSet) and thing.kind is kind for row in thing.rows]


def page(collection: str, *items: Any, has_next: bool = False, next_href: str = f"{HOST}/x?page=9") -> httpx.Response:
    links = {"next": {"href": next_href}} if has_next else {}
    return httpx.Response(
        200,
        json={"_links": links, "_embedded": {collection: list(items)}},
        headers={"Content-Type": "application/hal+json"},
    )


def problem(status: int, **said: Any) -> httpx.Response:
    return httpx.Response(status, json={"status": status, **said}, headers={"Content-Type": "application/problem+json"})


def lead(native_id: int, **changes: Any) -> dict[str, Any]:
    return {
        "id": native_id,
        "name": "Окна",
        "price": 145000,
        "responsible_user_id": 9101002,
        "status_id": 60200002,
        "pipeline_id": 7100101,
        "loss_reason_id": None,
        "created_by": 0,
        "created_at": SEPTEMBER_S + 60,
        "updated_at": SEPTEMBER_S + 120,
        "closed_at": None,
        "is_deleted": False,
        "custom_fields_values": None,
        "_embedded": {"tags": [], "companies": [], "contacts": [], "loss_reason": []},
        **changes,
    }


def contact(native_id: int, **changes: Any) -> dict[str, Any]:
    return {
        "id": native_id,
        "name": "Иван Петров",
        "responsible_user_id": 9101002,
        "created_by": 0,
        "created_at": SEPTEMBER_S + 60,
        "updated_at": SEPTEMBER_S + 120,
        "is_deleted": False,
        "custom_fields_values": None,
        "_embedded": {"tags": [], "companies": []},
        **changes,
    }


def task(native_id: int, **changes: Any) -> dict[str, Any]:
    return {
        "id": native_id,
        "created_by": 9101001,
        "created_at": SEPTEMBER_S + 60,
        "updated_at": SEPTEMBER_S + 120,
        "responsible_user_id": 9101002,
        "entity_id": 18800001,
        "entity_type": "leads",
        "duration": 0,
        "is_completed": False,
        "task_type_id": 1,
        "text": "Перезвонить",
        "result": [],
        "complete_till": SEPTEMBER_S + 9 * 3600,
        **changes,
    }


def call(native_id: int, *, note_type: str = "call_in", **changes: Any) -> dict[str, Any]:
    """`params` of the note by keyword, its own fields with `note_` before them."""
    own = {key.removeprefix("note_"): changes.pop(key) for key in list(changes) if key.startswith("note_")}
    return {
        "id": native_id,
        "entity_id": 27700001,
        "created_by": 9101002,
        "responsible_user_id": 9101001,
        "created_at": SEPTEMBER_S + 60,
        "updated_at": SEPTEMBER_S + 120,
        "note_type": note_type,
        "params": {"uniq": "u-1", "duration": 60, "source": "PBX", "phone": "79991234567", "call_status": 4, **changes},
        **own,
    }


def event(kind: str, native_id: Any, entity_id: int = 18800001, **changes: Any) -> dict[str, Any]:
    return {
        "id": str(native_id),
        "type": kind,
        "entity_id": entity_id,
        "entity_type": "lead",
        "created_by": 9101002,
        "created_at": SEPTEMBER_S + 60,
        "value_after": [],
        "value_before": [],
        **changes,
    }


def stage_event(native_id: Any, before: tuple[int, int], after: tuple[int, int], **changes: Any) -> dict[str, Any]:
    """`before` and `after` are (pipeline, status)."""
    sides = {
        f"value_{side}": [{"lead_status": {"id": status, "pipeline_id": pipeline}}]
        for side, (pipeline, status) in {"before": before, "after": after}.items()
    }
    return event("lead_status_changed", native_id, **{**sides, **changes})


def custom(field_type: str, *values: Any, code: str | None = None, field_id: int = 780101) -> dict[str, Any]:
    return {"field_id": field_id, "field_code": code, "field_type": field_type, "values": list(values)}
