"""What hung on the loser of a merge hangs on the winner now, and need not have changed its change time for that.

4.4 of the reference: links, notes and tasks are read again. Notes and tasks keep their ids.
"""

from collections.abc import Iterator
from typing import Any

from connectors.amocrm import mapping
from connectors.amocrm.api import AmoApi
from connectors.amocrm.reading import Reading
from connectors.amocrm.walking import BY_ID, IDS_AT_A_TIME, Query, by_ids, stream
from connectors.connector import Window
from connectors.paging import as_object
from connectors.records import Account, Reread, Yield

WORDS = {prefix: word for word, prefix in mapping.CARDS.items()}
LINKED = {"contact": ("leads",), "company": ("leads", "contacts"), "lead": (), "customer": ()}
"""What names the cards it is linked to in its own row, so that they are to be read again with it. A lead's row has its
contacts, and is read again anyway."""


def winner(kind: str, native_id: Any) -> str:
    """How the winner of a merge is asked for by an `ids` window of `merges`."""
    return f"{kind}:{native_id}"


def winners_of(kind: str, window: Window) -> list[tuple[str, ...]]:
    ids = [native_id for one, _, native_id in (name.partition(":") for name in window.ids) if one == kind]
    return [tuple(ids[n : n + IDS_AT_A_TIME]) for n in range(0, len(ids), IDS_AT_A_TIME)]


def linked_cards(api: AmoApi, kind: str, ids: tuple[str, ...], reading: Reading) -> Iterator[Reread]:
    words, word = LINKED[kind], WORDS[kind]
    query = Query(f"/api/v4/{word}", word, word, api.settings.page_size, {"with": ",".join(words), BY_ID: "asc"})
    for page in by_ids(api, query, ids, reading) if words else ():
        for name in words:
            cards = [
                str(number) for row in page for number in mapping.linked(as_object(row.get("_embedded")), name, reading)
            ]
            if cards:
                yield Reread(name, tuple(sorted(cards)))


def tasks_of(api: AmoApi, account: Account, kind: str, ids: tuple[str, ...]) -> Iterator[Yield]:
    params = {"filter[entity_type]": WORDS[kind], **on(ids), BY_ID: "asc"}
    query = Query("/api/v4/tasks", "tasks", "tasks", api.settings.page_size, params)
    return stream(api, account, Window("whole"), query, mapping.task_records)


def on(ids: tuple[str, ...]) -> dict[str, str]:
    """The filter of tasks and notes for those on some cards."""
    return {f"filter[entity_id][{position}]": native_id for position, native_id in enumerate(ids)}
