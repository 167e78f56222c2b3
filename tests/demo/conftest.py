"""A small demo company and its emulated amoCRM, in process."""

import warnings
from collections.abc import Callable
from typing import Any

import pytest

warnings.filterwarnings("ignore", message="Using `httpx` with `starlette.testclient`")

from starlette.testclient import TestClient  # noqa: E402

from demo.amocrm import Switches, create_app  # noqa: E402
from demo.company import Company, build  # noqa: E402


@pytest.fixture(scope="session")
def company() -> Company:
    return build(scale=0.05)


class Clock:
    """Seconds that pass only when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Client:
    """Asks the emulated server as an integration would."""

    def __init__(self, company: Company, **switches: Any) -> None:
        self.clock = Clock()
        self.http = TestClient(create_app(company, Switches(**switches), timer=self.clock))
        self.token = "demo-token"

    def get(self, path: str, token: str | None = None) -> Any:
        return self.http.get(f"/api/v4/{path}", headers={"Authorization": f"Bearer {token or self.token}"})

    def rows(self, path: str) -> list[dict[str, Any]]:
        """The items of one page; none for 204."""
        answer = self.get(path)
        if answer.status_code == 204:
            assert answer.content == b""
            return []
        assert answer.status_code == 200, answer.text
        (items,) = answer.json()["_embedded"].values()
        found: list[dict[str, Any]] = items
        return found

    def walk(self, path: str, *, limit: int = 250) -> list[dict[str, Any]]:
        """All items of a list, page by page until 204."""
        found: list[dict[str, Any]] = []
        page = 1
        while items := self.rows(f"{path}{'&' if '?' in path else '?'}limit={limit}&page={page}"):
            found += items
            page += 1
        return found

    def mutate(self, **order: Any) -> dict[str, Any]:
        answer = self.http.post("/_emu/mutate", json=order)
        assert answer.status_code == 200, answer.text
        result: dict[str, Any] = answer.json()
        return result


@pytest.fixture
def open_client(company: Company) -> Callable[..., Client]:
    """Opens the small company, or another (`of`), under switches."""
    return lambda *, of=company, **switches: Client(of, **switches)


@pytest.fixture
def client(company: Company) -> Client:
    return Client(company)
