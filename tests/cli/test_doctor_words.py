"""What the doctor says of a source that refuses."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from commands.doctor import of_account
from connectors.connector import Finding, find_connectors
from connectors.errors import CredentialsError

NOW = datetime(2026, 3, 5, tzinfo=UTC)
DELETED = CredentialsError("{where}: the portal was deleted or closed.", where="main")


class Api:
    def close(self) -> None: ...


def refuse(*_: Any, **__: Any) -> Any:
    raise DELETED


def findings(tmp_path: Path, **changes: Any) -> list[Finding]:
    connector = replace(find_connectors()["bitrix24"], **changes)
    return list(of_account(connector, None, env={}, state_dir=tmp_path / "data" / "state" / "main", now=lambda: NOW))


@pytest.mark.parametrize("changes", [{"open": refuse}, {"open": lambda *_, **__: Api(), "account": refuse}])
def test_the_doctor_says_what_a_source_refuses_in_the_language_of_who_asks(tmp_path: Path, changes: Any):
    (found,) = findings(tmp_path, **changes)
    assert found.is_ok is False
    assert found.en == "main: the portal was deleted or closed."
    assert found.ru == "main: портал удалён или закрыт."
