"""An id the source does not let itself be asked for holds up no other."""

from collections.abc import Callable
from pathlib import Path

import pytest
from fake_source import FakeSource, account, filled
from sync_words import Look

from connectors.connector import Window
from connectors.errors import PayloadError
from sync import inbox, sync

LEFT = "SELECT native_id FROM sync_reread ORDER BY 1"


@pytest.fixture
def source(data_dir: Path) -> FakeSource:
    """A source that was read; deals have come to another stage since then, which no change time tells."""
    source = filled()
    sync(data_dir, [account(source)])
    for thing in source.things.values():
        thing.stage = 12
    return source


def refusing(*ids: str) -> Callable[[str, Window], None]:
    def before_page(name: str, window: Window) -> None:
        if window.kind == "ids" and {*ids} & {*window.ids}:
            raise PayloadError("refused with 400")

    return before_page


@pytest.mark.parametrize("others", [(), ("2", "3", "6", "7")])
def test_an_id_the_source_refuses_is_named_and_left_out_and_the_others_are_read(
    data_dir: Path, look: Look, source: FakeSource, others: tuple[str, ...]
):
    inbox.note(data_dir, "main", {"deals": [*others, "5"]})
    source.before_page = refusing("5")
    run = sync(data_dir, [account(source)])
    assert run.is_well
    (told,) = [text for text in run.account("main").resource("deals").warnings if "refuses" in text]
    assert "1 ids" in told
    assert "(5). refused with 400" in told
    read = look("SELECT deal_id FROM deal WHERE stage_id = 'status:12' ORDER BY 1")
    assert read == [(f"lead:{one}",) for one in others]
    assert look(LEFT) == []


def test_where_many_ids_are_refused_it_is_not_about_them_and_all_stay_asked_for(
    data_dir: Path, look: Look, source: FakeSource, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("sync.reader.MOST_REFUSED", 2)
    ids = ("2", "3", "5", "6")
    inbox.note(data_dir, "main", {"deals": ids})
    source.before_page = refusing(*ids)
    run = sync(data_dir, [account(source)])
    assert "400" in str(run.account("main").resource("deals").error)
    assert look(LEFT) == [(one,) for one in ids]
