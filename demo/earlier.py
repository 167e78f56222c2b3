"""The demo company as it was at an earlier instant: what happened since is taken back by its own logs, in plain Python.

What no log tells (who is responsible for a client, which company a contact is of) stays as it is: it never changed.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any

from demo.model import LEAD, Change, Columns, Company, Deal, Move

CLOSED = ("won", "lost")
BORN_LATER = 1
"""`deleted_at` of a card that is still to be made: it keeps its place, and nobody sees it."""


def company_then(company: Company, at: datetime) -> Company:
    """The company as its CRM showed it at `at`."""
    now = int(at.timestamp())
    kinds = {(stage.pipeline_id, stage.id): stage.kind for line in company.pipelines for stage in line.stages}
    moves = _by_deal(company.moves, "deal_id")
    owners = _by_deal((one for one in company.owner_changes if one.entity_kind == LEAD), "entity_id")
    prices = _by_deal((one for one in company.price_changes if one.entity_kind == LEAD), "entity_id")
    deals = [
        _deal_then(deal, moves[deal.id], owners[deal.id], prices[deal.id], kinds, now)
        for deal in company.deals
        if deal.created_at <= now
    ]
    return replace(
        company,
        as_of=at,
        deals=deals,
        contacts=[_undeleted(card, now) for card in company.contacts if card.created_at <= now],
        firms=[_undeleted(card, now) for card in company.firms if card.created_at <= now],
        tasks=_kept(company.tasks, (_task_then(task, now) for task in company.tasks if task.created_at <= now)),
        moves=_until(company.moves, "at", now),
        owner_changes=_until(company.owner_changes, "at", now),
        price_changes=_until(company.price_changes, "at", now),
        merges=[merge for merge in company.merges if merge.at <= now],
        calls=_until(company.calls, "created_at", now),
        messages=_until(company.messages, "at", now),
        notes=[note for note in company.notes if note.created_at <= now],
    )


def served_then(company: Company, at: datetime) -> Company:
    """`company_then` for a demo server: every row at its place, since ids and ids of events are made of places.

    Nothing of the log is later than the company's `as_of`; a card that was not made yet is gone, also from the trash.
    """
    then, now = company_then(company, at), int(at.timestamp())

    def at_their_places(rows: list[Any], kept: list[Any]) -> list[Any]:
        known = {row.id: row._replace(updated_at=min(row.updated_at, now - 3600)) for row in kept}
        return [known.get(row.id) or row._replace(deleted_at=BORN_LATER, purged=True) for row in rows]

    return replace(
        then,
        calls=_kept(company.calls, (_hung_then(call, now) for call in company.calls)),
        notes=[_hung_then(note, now) for note in company.notes],
        deals=at_their_places(company.deals, then.deals),
        contacts=at_their_places(company.contacts, then.contacts),
        firms=at_their_places(company.firms, then.firms),
        moves=company.moves,
        owner_changes=company.owner_changes,
        price_changes=company.price_changes,
        messages=company.messages,
    )


def _hung_then(note: Any, now: int) -> Any:
    """A note that was not written yet hangs on no card."""
    return note if note.created_at <= now else note._replace(entity_kind=0)


def _by_deal(rows: Iterable[Any], key: str) -> dict[int, list[Any]]:
    found = defaultdict(list)
    for row in rows:
        found[getattr(row, key)].append(row)
    return found


def _deal_then(  # noqa: PLR0917
    deal: Deal,
    moves: list[Move],
    owners: list[Change],
    prices: list[Change],
    kinds: dict[tuple[int, int], str],
    now: int,
) -> Deal:
    later = [move for move in moves if move.at > now]
    place = (later[0].from_pipeline_id, later[0].from_stage_id) if later else (deal.pipeline_id, deal.stage_id)
    is_closed = kinds[place] in CLOSED
    past = [move.at for move in moves if move.at <= now]
    closed_at = deal.closed_at if deal.closed_at <= now else past[-1] if is_closed and past else 0
    owner = next((change.before for change in owners if change.at > now), deal.user_id)
    price = next((change.before for change in prices if change.at > now), -1 if deal.price is None else deal.price)
    then: Deal = _undeleted(deal, now)._replace(
        pipeline_id=place[0],
        stage_id=place[1],
        closed_at=closed_at if is_closed else 0,
        loss_reason_id=deal.loss_reason_id if kinds[place] == "lost" else 0,
        user_id=owner,
        price=None if price < 0 else price,
    )
    return then


def _undeleted(row: Any, now: int) -> Any:
    return row._replace(deleted_at=0) if row.deleted_at > now else row


def _task_then(task: Any, now: int) -> Any:
    open_then = _undeleted(task, now)
    if task.completed_at > now:
        open_then = open_then._replace(completed_at=0, result=0, is_logged=0)
    return open_then._replace(updated_at=min(task.updated_at, now - 3600))


def _until(rows: "Columns[Any]", instant: str, now: int) -> "Columns[Any]":
    return rows.reordered([place for place, at in enumerate(rows.column(instant)) if at <= now])


def _kept(columns: "Columns[Any]", rows: Iterable[Any]) -> "Columns[Any]":
    kept = columns.reordered([])
    for row in rows:
        kept.append(row)
    return kept
