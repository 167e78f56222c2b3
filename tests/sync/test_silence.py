"""While a source is silent nothing that was read waits for it to speak again."""

import queue
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from sync.events import AccountDone
from sync.run import Run


@pytest.mark.parametrize("is_late", [True, False])
def test_what_was_read_is_committed_in_time_while_the_source_is_silent(is_late: bool):
    told: list[str] = []
    writer = SimpleNamespace(
        is_late=lambda: is_late,
        commit=lambda: told.append("commit"),
        heartbeat=lambda: None,
        take=lambda event: told.append("take"),
    )
    answers = iter([queue.Empty(), AccountDone("main")])

    def get(timeout: float) -> AccountDone:
        answer = next(answers)
        if isinstance(answer, queue.Empty):
            raise answer
        return answer

    run = Run(Path(), (), None, lambda: None, threading.Event())
    run._write(writer, SimpleNamespace(get=get), 1)
    assert told == [*(["commit"] if is_late else []), "take", "commit"]
