"""What happened in the demo company as Bitrix24 keeps it: stage history, leads that became deals, activities in order.

Only orders and places are held here, in arrays; the rows are painted from them on demand. Bitrix24 writes history rows
when something is registered: those of a deal that was a lead begin with its conversion, those of a deal brought in
closed with its closing. Rows of deleted deals are gone.
"""

from array import array
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from demo import office
from demo.bitrix24_setup import LEAD_STATUSES, PLACES, SEMANTICS, UNSORTED, Place
from demo.bitrix24_values import Instant, Row
from demo.model import (
    DOUBLE,
    LEAD,
    CallNote,
    Company,
    Deal,
    Message,
    Move,
    Talk,
    Task,
)
from demo.notes import LETTERS

FIRST_DEAL = 18_800_001
CREATED, MOVED, FINISHED, PIPELINE_CHANGED = 1, 2, 3, 5
"""`TYPE_ID` of a history row."""
NEW, _, CONVERTED, _ = (code for code, _, _ in LEAD_STATUSES)
CALL, MEETING, LETTER, SESSION, FORM = range(5)
"""What an activity is of."""
TO_MEET = next(kind.id for kind in office.TASK_TYPES if kind.code == "MEETING")
SAME_CALL_S = 30
"""How much later a call is told once more on the deal."""


class Turns(NamedTuple):
    """What stands for each row of a history, and its instant, in order of time."""

    codes: "array[int]"
    instants: "array[int]"


class Activities(NamedTuple):
    """Kind and place (in its list of the company) of each activity, in order of creation."""

    kinds: "array[int]"
    places: "array[int]"
    updated: "array[int]"


class Past:
    """The history of one company."""

    def __init__(self, company: Company) -> None:
        self._company = company
        self._first_move = _starts(company.moves.column("deal_id"), FIRST_DEAL, len(company.deals))
        first_talk = company.talks[0].id if len(company.talks) else 0
        self._first_message = _starts(company.messages.column("talk_id"), first_talk, len(company.talks))
        self._told_on_deals = dict(self._doubles_on_deals())
        self.lead_deals = array("i", (place for place, deal in enumerate(company.deals) if self._was_lead(deal)))
        self.deal_turns = self._deal_turns()
        self.lead_turns = self._lead_turns()
        self.activities = self._activities()

    # --- deals

    def moves(self, deal: Deal) -> Sequence[Move]:
        place = deal.id - FIRST_DEAL
        return self._company.moves[self._first_move[place] : self._first_move[place + 1]]

    def is_from_lead(self, deal: Deal) -> bool:
        """Whether it came in unsorted: as a lead that waited to be taken up."""
        return deal.first_stage_id in UNSORTED

    def _was_lead(self, deal: Deal) -> bool:
        return self.is_from_lead(deal) and not deal.deleted_at

    def accepted_at(self, deal: Deal) -> int:
        """When the lead became the deal."""
        return self.moves(deal)[0].at

    def moved_at(self, deal: Deal) -> int:
        moves = self.moves(deal)
        return moves[-1].at if moves else self._registered_at(deal)

    def moved_by(self, deal: Deal) -> int:
        moves = self.moves(deal)
        return (moves[-1].by_user_id if moves else deal.created_by) or office.HEAD

    def _registered_at(self, deal: Deal) -> int:
        """When its history begins."""
        if self.is_from_lead(deal):
            return self.accepted_at(deal)
        return deal.closed_at if deal.is_imported and deal.closed_at else deal.created_at

    def _deal_turns(self) -> Turns:
        """Deals registered (-1 and below: their places) and their moves (their numbers), in order of time."""
        company, first = self._company, self._first_move
        codes, instants = array("i"), array("i")
        at = company.moves.column("at")
        for place, deal in enumerate(company.deals):
            if deal.deleted_at:
                continue
            codes.append(-1 - place)
            instants.append(self._registered_at(deal))
            begin = first[place] + self.is_from_lead(deal)  # the first move of a lead's deal is its beginning
            codes.extend(range(begin, first[place + 1]))
            instants.extend(at[begin : first[place + 1]])
        return _ordered(codes, instants)

    def deal_turn(self, number: int) -> Row:
        """A row of the history of deals, numbered from 1."""
        code = self.deal_turns.codes[number - 1]
        if code < 0:
            deal = self._company.deals[-1 - code]
            move = self.moves(deal)[0] if self.is_from_lead(deal) else None
            key = (move.to_pipeline_id, move.to_stage_id) if move else (deal.first_pipeline_id, deal.first_stage_id)
            return turn_row(number, deal.id, self._registered_at(deal), PLACES[key])
        move = self._company.moves[code]
        place = PLACES[move.to_pipeline_id, move.to_stage_id]
        before = PLACES[move.from_pipeline_id, move.from_stage_id]
        return turn_row(number, move.deal_id, move.at, place, before)

    # --- leads

    def _lead_turns(self) -> Turns:
        """Leads of deals that came in (twice their place) and were converted (the odd numbers), requests (below 0)."""
        codes, instants = array("i"), array("i")
        for place in self.lead_deals:
            deal = self._company.deals[place]
            codes.extend((2 * place, 2 * place + 1))
            instants.extend((deal.created_at, self.accepted_at(deal)))
        for number, request in enumerate(self._company.requests):
            codes.append(-1 - number)
            instants.append(request.created_at)
        return _ordered(codes, instants)

    def lead_turn(self, number: int) -> Row:
        code = self.lead_turns.codes[number - 1]
        if code < 0:
            request = self._company.requests[-1 - code]
            return lead_turn_row(number, request.deal_id, request.created_at, NEW)
        deal = self._company.deals[code // 2]
        if code % 2:
            return lead_turn_row(number, deal.id, self.accepted_at(deal), CONVERTED, NEW)
        return lead_turn_row(number, deal.id, deal.created_at, NEW)

    # --- activities

    def _activities(self) -> Activities:
        company = self._company
        kinds, places, created, updated = array("b"), array("i"), array("i"), array("i")

        def add(kind: int, place: int, created_at: int, updated_at: int) -> None:
            kinds.append(kind)
            places.append(place)
            created.append(created_at)
            updated.append(updated_at)

        calls = (company.calls.column(name) for name in ("role", "created_at", "duration", "status"))
        for place, (role, at, duration, status) in enumerate(zip(*calls, strict=True)):
            if role != DOUBLE:
                add(CALL, place, at, at + (0 if status == 1 else max(duration, 0)))
        for place, task in self._meetings():
            add(MEETING, place, task.created_at, task.updated_at)
        for place, note in enumerate(company.notes):
            if note.note_type in LETTERS:
                add(LETTER, place, note.created_at, note.updated_at)
        for place, talk in enumerate(company.talks):
            add(SESSION, place, talk.created_at, talk.updated_at)
        for place, request in enumerate(company.requests):
            if request.category == "forms":
                add(FORM, place, request.created_at, request.created_at)
        order = sorted(range(len(kinds)), key=created.__getitem__)
        return Activities(
            *(array(column.typecode, map(column.__getitem__, order)) for column in (kinds, places, updated))
        )

    def _meetings(self) -> Iterator[tuple[int, Task]]:
        """Meetings on cards that are still there."""
        company = self._company
        gone = {deal.id for deal in company.deals if deal.deleted_at}
        for place, task in enumerate(company.tasks):
            is_on_gone = task.entity_kind == LEAD and task.entity_id in gone
            if is_meeting(task) and not task.deleted_at and not is_on_gone:
                yield place, task

    def deal_called_about(self, note: CallNote) -> int:
        """The deal that the same call was told on once more, 0 if none."""
        at, deal_id = self._told_on_deals.get((note.uniq, note.phone), (0, 0))
        return deal_id if 0 <= at - note.created_at <= SAME_CALL_S else 0

    def _doubles_on_deals(self) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
        for note in self._company.calls:
            if note.role == DOUBLE and note.entity_kind == LEAD and note.uniq > 0:
                yield (note.uniq, note.phone), (note.created_at, note.entity_id)

    # --- chats

    def messages(self, talk: Talk) -> tuple[int, Sequence[Message]]:
        """The place of its first message of all, and its messages."""
        place = talk.id - self._company.talks[0].id
        first, end = self._first_message[place], self._first_message[place + 1]
        return first, self._company.messages[first:end]

    def operator(self, talk: Talk) -> int:
        """Who of ours wrote last, 0 if only a bot did."""
        _, messages = self.messages(talk)
        return next((message.user_id for message in reversed(messages) if message.user_id), 0)


def is_meeting(task: Task) -> bool:
    """Whether it is an activity of its card here: a task to meet. Without a card it stays a task."""
    return task.type_id == TO_MEET and bool(task.entity_kind)


def _starts(owners: "array[int]", first: int, n: int) -> "array[int]":
    """Where the rows of each of `n` consecutive owners begin, and where the last one's end. `owners` ascend."""
    counts = array("i", bytes(4 * (n + 1)))
    for owner in owners:
        counts[owner - first + 1] += 1
    for place in range(1, n + 1):
        counts[place] += counts[place - 1]
    return counts


def _ordered(codes: "array[int]", instants: "array[int]") -> Turns:
    order = sorted(range(len(codes)), key=instants.__getitem__)
    return Turns(array("i", map(codes.__getitem__, order)), array("q", map(instants.__getitem__, order)))


def turn_row(number: int, owner_id: int, at: int, place: Place, before: Place | None = None) -> Row:
    """A row of the stage history of an item that has categories."""
    is_moved = before is not None and before.category_id != place.category_id
    return {
        "ID": number,
        "TYPE_ID": PIPELINE_CHANGED if is_moved else kind_of_turn(place.semantics, is_first=before is None),
        "OWNER_ID": owner_id,
        "CREATED_TIME": Instant(at),
        "CATEGORY_ID": place.category_id,
        "STAGE_SEMANTIC_ID": place.semantics,
        "STAGE_ID": place.code,
    }


def lead_turn_row(number: int, owner_id: int, at: int, status: str, before: str | None = None) -> Row:
    semantics = SEMANTICS.get(status, "P")
    return {
        "ID": number,
        "TYPE_ID": kind_of_turn(semantics, is_first=before is None),
        "OWNER_ID": owner_id,
        "CREATED_TIME": Instant(at),
        "STATUS_SEMANTIC_ID": semantics,
        "STATUS_ID": status,
    }


def kind_of_turn(semantics: str, *, is_first: bool) -> int:
    """What is created closed has no row of its creation."""
    if semantics != "P":
        return FINISHED
    return CREATED if is_first else MOVED
