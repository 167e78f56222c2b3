"""The state of the emulated account: tables, event log, clock; what `/_emu/mutate` changes and the API reads."""

from dataclasses import replace
from typing import Any

from demo.amocrm_cards import Painter
from demo.amocrm_events import EventLog
from demo.amocrm_oauth import OAuth
from demo.amocrm_store import Cache, Joined, Table
from demo.amocrm_switches import Switches
from demo.customers import FIRST_CUSTOMER, FIRST_PURCHASE
from demo.model import COMPANY, CONTACT, CUSTOMER, LEAD, Company, Deal, Purchase, Request
from demo.phone import FIRST_NOTE
from demo.todo import FIRST_TALK

FIRST_LEAD, FIRST_CONTACT, FIRST_FIRM, FIRST_TASK = 18_800_001, 27_700_001, 27_705_001, 4_100_001


class Account:
    """One emulated account. `now` stands still until `/_emu/clock` moves it."""

    def __init__(self, company: Company, switches: Switches, *, token: str) -> None:
        self.company, self.token = company, token
        self.now = company.now
        self.switches = switches
        self.cache = Cache()
        pending = [pending_lead(request) for request in company.requests] if switches.unsorted_leads_in_list else []
        self.leads = Table([*company.deals, *pending], first_id=FIRST_LEAD, is_listed=lambda row: not row.deleted_at)
        self.contacts = Table(company.contacts, first_id=FIRST_CONTACT, is_listed=lambda row: not row.deleted_at)
        self.companies = Table(company.firms, first_id=FIRST_FIRM, is_listed=lambda row: not row.deleted_at)
        self.tasks = Table(company.tasks, first_id=FIRST_TASK, is_listed=lambda row: not row.deleted_at)
        self.notes = {
            kind: Table(Joined(company.calls, company.notes), first_id=FIRST_NOTE, is_listed=_hangs_on(kind))
            for kind in (LEAD, CONTACT, COMPANY)
        }
        self.notes[CUSTOMER] = Table((), first_id=FIRST_NOTE, is_listed=_hangs_on(CUSTOMER))
        self.customers = Table(company.customers, first_id=FIRST_CUSTOMER, is_listed=lambda row: not row.deleted_at)
        keeps_deleted = switches.deleted_transactions_in_list
        self.purchases = Table(
            company.purchases, first_id=FIRST_PURCHASE, is_listed=lambda row: keeps_deleted or not row.deleted_at
        )
        self.requests = {request.uid: request for request in company.requests}
        self.leads.next_id = FIRST_LEAD + len(company.deals) + len(company.requests)
        self.contacts.next_id = FIRST_CONTACT + len(company.contacts) + len(company.requests)
        self.talks = Table(company.talks, first_id=FIRST_TALK, is_listed=lambda row: True)
        self.events = EventLog(company, switches)
        self.oauth = OAuth(company, switches, long_lived=token, now=self.now)
        self.painter = Painter(company, switches)
        self.painter.closest_task = self._closest_task
        self.painter.last_closed = _reopened(company) if switches.closed_at_after_reopen == "keep" else {}
        self._links: tuple[tuple[int, int], dict[tuple[int, int], list[int]]] | None = None
        self._purchases: tuple[int, dict[int, list[Purchase]]] | None = None
        self._closest: tuple[int, dict[tuple[int, int], int]] | None = None

    def card_table(self, entity: str) -> Table | None:
        """The table of `leads`, `contacts`, `companies` or `customers`; None where those are switched off."""
        tables = {"leads": self.leads, "contacts": self.contacts, "companies": self.companies}
        if self.switches.customers_mode != "disabled":
            tables["customers"] = self.customers
        return tables.get(entity)

    def purchases_of(self, customer_id: int) -> list[Purchase]:
        """What a customer bought, the deleted included."""
        if self._purchases is None or self._purchases[0] != self.purchases.version:
            found: dict[int, list[Purchase]] = {}
            for number in self.purchases.ids:
                row: Purchase = self.purchases.get(number)  # type: ignore[assignment]
                found.setdefault(row.customer_id, []).append(row)
            self._purchases = (self.purchases.version, found)
        return self._purchases[1].get(customer_id, [])

    def linked(self, kind: int, number: int) -> list[int]:
        """Leads of a contact or company; with `-COMPANY`, contacts of a company."""
        versions = (self.leads.version, self.contacts.version)
        if self._links is None or self._links[0] != versions:
            self._links = (versions, self._all_links())
        return self._links[1].get((kind, number), [])

    def _all_links(self) -> dict[tuple[int, int], list[int]]:
        found: dict[tuple[int, int], list[int]] = {}
        for number in self.leads.ids:
            deal = self.leads.get(number)
            for contact_id in deal.contact_ids:  # type: ignore[union-attr]
                found.setdefault((CONTACT, contact_id), []).append(number)
            found.setdefault((COMPANY, deal.company_id), []).append(number)  # type: ignore[union-attr]
        for number in self.contacts.ids:
            company_id = self.contacts.get(number).company_id  # type: ignore[union-attr]
            found.setdefault((-COMPANY, company_id), []).append(number)
        return found

    def _closest_task(self, kind: int, number: int) -> int | None:
        if self._closest is None or self._closest[0] != self.tasks.version:
            dues: dict[tuple[int, int], int] = {}
            for task_id in self.tasks.ids:
                task = self.tasks.get(task_id)
                if task is not None and not task.completed_at and task.entity_kind:
                    key = (task.entity_kind, task.entity_id)
                    dues[key] = min(task.due_at, dues.get(key, task.due_at))
            self._closest = (self.tasks.version, dues)
        return self._closest[1].get((kind, number))

    def switched(self, **changes: Any) -> "Account":
        """The account made anew under other switches; what was changed in it is forgotten."""
        return Account(self.company, replace(self.switches, **changes), token=self.token)


def _hangs_on(kind: int) -> Any:
    return lambda row: row.entity_kind == kind


def pending_lead(request: Request) -> Deal:
    """The lead of a request nobody accepted yet."""
    from demo.office import UNSORTED_STAGE

    stage = UNSORTED_STAGE[request.pipeline_id]
    at = request.created_at
    return Deal(
        request.deal_id, -1, "", None, 0, request.pipeline_id, stage, request.pipeline_id, stage, 0, request.source_id,
        0, at, at, 0, 0, (), 0, False, (), (), (),
    )  # fmt: skip


def _reopened(company: Company) -> dict[int, int]:
    """When deals that are open now were last closed."""
    closed: dict[int, int] = {}
    for move in company.moves:
        if move.to_stage_id in {142, 143}:
            closed[move.deal_id] = move.at
    return {deal.id: closed[deal.id] for deal in company.deals if deal.id in closed and not deal.closed_at}
