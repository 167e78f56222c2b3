"""The state of the demo Bitrix24: its lists, its clock, its events; what mutations change and methods read.

Ids are those of the amoCRM twin wherever both have the object: deals are its leads, contacts, companies, users and
tasks keep theirs (but a task to meet is an activity), a call has the id of the first note of it. Leads are what was
unsorted there: one that became a deal has the deal's id, a request that waits the id its deal would have had.
"""

from array import array
from collections.abc import Callable, Iterable

from demo import office
from demo.bitrix24_cards import (
    FIRST_PAYMENT,
    FIRST_ROW,
    OWN_COMPANY,
    PROVIDERS,
    Painter,
    Turn,
    invoice_turns,
    paid_invoices,
)
from demo.bitrix24_past import CALL, FIRST_DEAL, LETTER, MEETING, SESSION, Past, Turns, is_meeting, turn_row
from demo.bitrix24_setup import (
    INVOICE_CATEGORY,
    INVOICE_TYPE,
    PROCESS_CATEGORY,
    PROCESS_TYPE,
    SEMANTICS,
    Place,
    currencies,
    deal_categories,
    departments,
    only_category,
    statuses,
    types,
    user_field_rows,
)
from demo.bitrix24_switches import Switches
from demo.bitrix24_table import Table, named_by
from demo.bitrix24_values import Row
from demo.model import DOUBLE, Company, Deal
from demo.notes import LETTERS
from demo.office import WON

__all__ = ["Portal", "Table"]

FIRST_ACTIVITY = 44_000_001
INSTALLED_EVERY = 8
"""Of how many deals won by sales one is an item of the smart process."""


class Portal:
    """One emulated portal. `now` stands still until `/_emu/clock` moves it."""

    def __init__(self, company: Company, switches: Switches) -> None:
        self.company, self.switches = company, switches
        self.now = company.now
        self.user = office.HEAD
        """Whose webhook it is."""
        self.events: list[tuple[str, int, int, int]] = []
        """What was told since: name, entity type, id, instant."""
        self._past = Past(company)
        self._painter = Painter(company, self._past, has_files=switches.has_files)
        self._activity_of = self._activities_of_calls()
        self._tables = {**self._cards(), **self._items(), **self._work(), **self._directories()}

    def table(self, name: str) -> Table | None:
        return self._tables.get(name)

    def names(self) -> Iterable[str]:
        """Of all tables."""
        return self._tables.keys()

    # --- leads, deals, contacts, companies, and their history

    def _cards(self) -> dict[str, Table]:
        company, painter, past = self.company, self._painter, self._past
        contacts = [(row.id, row.updated_at) for row in company.contacts if not row.deleted_at]
        firms = [
            (OWN_COMPANY, company.started_at),
            *((row.id, row.updated_at) for row in company.firms if not row.deleted_at),
        ]
        deals = [(row.id, row.updated_at) for row in company.deals if not row.deleted_at]
        leads = [(FIRST_DEAL + place, past.accepted_at(company.deals[place])) for place in past.lead_deals]
        leads += [(request.deal_id, request.created_at) for request in company.requests]
        after_leads = FIRST_DEAL + len(company.deals) + len(company.requests)
        first_contact, first_firm = company.contacts[0].id, company.firms[0].id
        return {
            "deal": _stamped(
                deals, lambda number: painter.deal(company.deals[number - FIRST_DEAL]), next_id=after_leads
            ),
            "lead": _stamped(leads, self._lead, next_id=after_leads),
            "contact": _stamped(
                contacts,
                lambda number: painter.contact(company.contacts[number - first_contact]),
                next_id=first_contact + len(company.contacts) + len(company.requests),
            ),
            "company": _stamped(
                firms,
                lambda number: (
                    painter.own_company() if number == OWN_COMPANY else painter.firm(company.firms[number - first_firm])
                ),
                next_id=first_firm + len(company.firms),
            ),
            "stagehistory:1": _history(past.lead_turns, past.lead_turn),
            "stagehistory:2": _history(past.deal_turns, past.deal_turn),
        }

    def _lead(self, number: int) -> Row:
        place = number - FIRST_DEAL
        n_deals = len(self.company.deals)
        if place < n_deals:
            return self._painter.lead_of_deal(self.company.deals[place])
        return self._painter.lead_of_request(self.company.requests[place - n_deals])

    # --- bills, the smart process, goods

    def _items(self) -> dict[str, Table]:
        company, painter = self.company, self._painter
        bills = {invoice.id: invoice for invoice in company.invoices if not invoice.deleted_at}
        bill_turns = {number: invoice_turns(invoice) for number, invoice in bills.items()}
        sold = dict(enumerate(self._installed(), start=1))
        put_in = {number: painter.process_turns(deal) for number, deal in sold.items()}
        lines = [(deal, place) for deal in company.deals if not deal.deleted_at for place in range(len(deal.items))]
        line_ids = array("q", range(FIRST_ROW, FIRST_ROW + len(lines)))
        payments = [painter.payment(bill, FIRST_PAYMENT + n) for n, bill in enumerate(paid_invoices([*bills.values()]))]
        return {
            f"item:{INVOICE_TYPE}": _item_table(bill_turns, lambda number: painter.invoice(bills[number])),
            f"item:{PROCESS_TYPE}": _item_table(put_in, lambda number: painter.installation(sold[number], number)),
            f"stagehistory:{INVOICE_TYPE}": _turns(bill_turns, INVOICE_CATEGORY),
            f"stagehistory:{PROCESS_TYPE}": _turns(put_in, PROCESS_CATEGORY),
            "payment": Table.of(payments, owners=named_by("ENTITY_TYPE_ID", "ENTITY_ID")),
            "product": Table(array("q", (product.id for product in company.products)), painter.product),
            "productrow": Table(
                line_ids,
                lambda number: painter.product_row(*lines[number - FIRST_ROW], number),
                owners=named_by("OWNER_TYPE", "OWNER_ID"),
            ),
        }

    def _installed(self) -> Iterable[Deal]:
        for deal in self.company.deals:
            is_sold = deal.stage_id == WON and deal.pipeline_id == office.SALES and not deal.deleted_at
            if is_sold and deal.id % INSTALLED_EVERY == 0:
                yield deal

    # --- what people do

    def _work(self) -> dict[str, Table]:
        company, painter, past = self.company, self._painter, self._past
        calls, activities = company.calls, past.activities
        roles, ids, starts = (calls.column(name) for name in ("role", "id", "created_at"))
        heard = [place for place, role in enumerate(roles) if role != DOUBLE]
        tasks = [place for place, task in enumerate(company.tasks) if not (task.deleted_at or is_meeting(task))]
        task_ids, task_changes = company.tasks.column("id"), company.tasks.column("updated_at")
        first_call, first_task = ids[0], task_ids[0]
        comments = [painter.comment(note) for note in company.notes if note.note_type not in LETTERS]
        talks = {talk.id: place for place, talk in enumerate(company.talks)}
        return {
            "call": Table(
                array("q", map(ids.__getitem__, heard)),
                lambda number: painter.call(calls[number - first_call], self._activity_of[number - first_call]),
                stamp="CALL_START_DATE",
                changed=array("q", map(starts.__getitem__, heard)),
                next_id=first_call + len(calls) + len(company.notes),
            ),
            "activity": Table(
                array("q", range(FIRST_ACTIVITY, FIRST_ACTIVITY + len(activities.kinds))),
                self._activity,
                stamp="LAST_UPDATED",
                changed=array("q", activities.updated),
                told={"PROVIDER_ID": self._provider},
            ),
            "task": Table(
                array("q", map(task_ids.__getitem__, tasks)),
                lambda number: painter.task(company.tasks[number - first_task]),
                stamp="CHANGED_DATE",
                changed=array("q", map(task_changes.__getitem__, tasks)),
                next_id=first_task + len(company.tasks),
            ),
            "comment": Table.of(comments, owners=named_by("ENTITY_TYPE", "ENTITY_ID")),
            "session": Table(
                array("q", talks),
                lambda number: painter.session(talk := company.talks[talks[number]], *past.messages(talk)),
                owners=lambda row: [("CONTACT", row["CONTACT_ID"]), ("DEAL", row["DEAL_ID"])],
            ),
        }

    def _activity(self, number: int) -> Row:
        place = number - FIRST_ACTIVITY
        kind, of = self._past.activities.kinds[place], self._past.activities.places[place]
        company, painter = self.company, self._painter
        if kind == CALL:
            return painter.call_activity(number, company.calls[of])
        if kind == MEETING:
            return painter.meeting(number, company.tasks[of])
        if kind == LETTER:
            return painter.letter(number, company.notes[of])
        if kind == SESSION:
            return painter.session_activity(number, company.talks[of])
        return painter.web_form(number, company.requests[of])

    def _provider(self, number: int) -> str:
        """The `PROVIDER_ID` of an activity."""
        known = PROVIDERS.get(self._past.activities.kinds[number - FIRST_ACTIVITY])
        return known or str(self._activity(number)["PROVIDER_ID"])

    def _activities_of_calls(self) -> "array[int]":
        """Id of the activity of each call, by the call's place."""
        found = array("i", bytes(4 * len(self.company.calls)))
        activities = self._past.activities
        for place, (kind, of) in enumerate(zip(activities.kinds, activities.places, strict=True)):
            if kind == CALL:
                found[of] = FIRST_ACTIVITY + place
        return found

    # --- what everything refers to

    def _directories(self) -> dict[str, Table]:
        company = self.company
        return {
            "user": Table.of([self._painter.user(user) for user in company.users]),
            "department": Table.of(departments(company)),
            "status": Table.of(statuses(company)),
            "category:2": Table.of(deal_categories(company)),
            f"category:{INVOICE_TYPE}": Table.of(only_category(INVOICE_CATEGORY, INVOICE_TYPE)),
            f"category:{PROCESS_TYPE}": Table.of(only_category(PROCESS_CATEGORY, PROCESS_TYPE)),
            "type": Table.of(types()),
            "currency": Table.of(currencies(company)),
            **{
                f"userfield:{card}": Table.of(user_field_rows(company, card, has_files=self.switches.has_files))
                for card in ("lead", "deal", "contact", "company")
            },
        }


def _stamped(rows: list[tuple[int, int]], paint: Callable[[int], Row], *, next_id: int) -> Table:
    """A table of cards from ids and the instants they were changed."""
    ids, changed = array("q", (number for number, _ in rows)), array("q", (at for _, at in rows))
    return Table(ids, paint, stamp="DATE_MODIFY", changed=changed, next_id=next_id)


def _item_table(turns: dict[int, list[Turn]], paint: Callable[[int], Row]) -> Table:
    changed = array("q", (of_item[-1].at for of_item in turns.values()))
    return Table(array("q", turns), paint, stamp="UPDATED_TIME", changed=changed)


def _history(turns: Turns, paint: Callable[[int], Row]) -> Table:
    """Rows numbered in the order they were written."""
    ids = array("q", range(1, len(turns.codes) + 1))
    return Table(ids, paint, stamp="CREATED_TIME", changed=turns.instants, owners=named_by("OWNER_ID"))


def _turns(turns: dict[int, list[Turn]], category_id: int) -> Table:
    """The history of few items."""

    def place(turn: Turn) -> Place:
        return Place(category_id, turn.code, SEMANTICS[turn.code])

    found = sorted((turn.at, number, step) for number, of_item in turns.items() for step, turn in enumerate(of_item))
    rows = [
        turn_row(row_id, number, at, place(turns[number][step]), place(turns[number][step - 1]) if step else None)
        for row_id, (at, number, step) in enumerate(found, start=1)
    ]
    return Table.of(rows, stamp="CREATED_TIME", owners=named_by("OWNER_ID"))
